"""Attention."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from ..dispatch import apply
from ..ops import attention as ops
from .arguments import require_tensor
from .dropout import check_probability, keep_mask
from .linalg import same_dtype

if TYPE_CHECKING:
    from ..tensor import Tensor


def scaled_dot_product_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
) -> Tensor:
    """softmax(query key' * scale + mask) value: (..., L, E), (..., S, E), (..., S, Ev) -> (..., L, Ev).

    scale: 1 / sqrt(E) if not given. attn_mask broadcasts to (..., L, S): boolean, True where a query may look at a
    key, or floating, added to the scores. is_causal: query i looks at the keys 0 .. i. dropout_p: share of the
    weights that is dropped, always. A query that may look at nothing gets zeros.
    Source: Vaswani et al. 2017, arXiv:1706.03762, equation 1.
    """
    name = "scaled_dot_product_attention"
    for argument, x in ("query", query), ("key", key), ("value", value):
        require_tensor(name, argument, x)
    same_dtype(name, query=query, key=key, value=value)
    check_probability(name, dropout_p)
    q, k = query._array, key._array
    if scale is None:
        scale = 1 / math.sqrt(q.shape[-1])
    bias = attn_mask
    if bias is not None and bias._array.dtype.kind == "b":
        xp = bias._xp
        bias = bias._result(xp.where(bias._array, q.dtype.type(0), q.dtype.type(-xp.inf)))
    keep = None
    if dropout_p > 0:
        keep = query._result(keep_mask((*q.shape[:-1], k.shape[-2]), dropout_p, q.dtype))
    return apply(ops.Attention, query, key, value, bias, keep, scale=scale, is_causal=is_causal)
