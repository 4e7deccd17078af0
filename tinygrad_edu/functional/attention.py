"""Attention."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from ..backend.dtypes import is_floating
from ..dispatch import apply
from ..ops import attention as ops
from .arguments import cast, require_tensor
from .dropout import position_of_mask
from .linalg import require_same_dtype
from .precision import autocasts
from .shape import broadcast_shapes, repeat_interleave

if TYPE_CHECKING:
    from ..tensor import Tensor

NAME = "scaled_dot_product_attention"


@autocasts
def scaled_dot_product_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Tensor:
    """softmax(query key' * scale + mask) value: (..., L, E), (..., S, E), (..., S, Ev) -> (..., L, Ev).

    attn_mask: broadcast to (..., L, S); boolean, True where a query may look at a key, or floating, added to the
    scores. is_causal: query i looks at the keys 0 .. i (together with attn_mask, only at what both allow). A query that
    may look at nothing gets zeros. dropout_p: the share of the weights that is dropped, in evaluation too. scale:
    1 / sqrt(E) if not given. enable_gqa: each head of key and value (the axis before L) serves several of query.
    RuntimeError: shapes or dtypes that do not fit. Source: Vaswani et al. 2017, arXiv:1706.03762, equation 1.
    """
    for argument, x in ("query", query), ("key", key), ("value", value):
        require_tensor(NAME, argument, x)
    require_same_dtype(NAME, query=query, key=key, value=value)
    if not 0 <= dropout_p <= 1:
        raise RuntimeError(f"{NAME}: dropout probability has to be between 0 and 1, but got {dropout_p}")
    if enable_gqa:
        key, value = _repeated_heads(query, key), _repeated_heads(query, value)
    shape = _weights_shape(query, key, value)
    bias = None if attn_mask is None else _bias(query, attn_mask, shape)
    if scale is None:
        scale = 1 / math.sqrt(max(query._array.shape[-1], 1))
    dropout = (dropout_p, *position_of_mask(shape, query._xp)) if dropout_p > 0 else None
    return apply(ops.Attention, query, key, value, bias, scale=scale, is_causal=is_causal, dropout=dropout)


def _weights_shape(query: Tensor, key: Tensor, value: Tensor) -> tuple[int, ...]:
    """(..., L, S), or an error if the three shapes do not fit."""
    q, k, v = query._array.shape, key._array.shape, value._array.shape
    got = f"got query {q}, key {k}, value {v}"
    if min(len(q), len(k), len(v)) < 2:
        raise RuntimeError(f"{NAME}: expected query, key and value of at least 2 dimensions, {got}")
    if q[-1] != k[-1]:
        raise RuntimeError(f"{NAME}: the last sizes of query and key, {q[-1]} and {k[-1]}, must be equal; {got}")
    if k[-2] != v[-2]:
        raise RuntimeError(f"{NAME}: key and value must be for the same number of keys, not {k[-2]} and {v[-2]}; {got}")
    try:
        batch = broadcast_shapes(q[:-2], k[:-2], v[:-2])
    except RuntimeError:
        raise RuntimeError(f"{NAME}: the sizes before the last two must be equal or broadcast; {got}") from None
    return (*batch, q[-2], k[-2])


def _bias(query: Tensor, mask: Tensor, shape: tuple[int, ...]) -> Tensor:
    """The mask as something to add to the scores."""
    m, dtype = mask._array, query._array.dtype
    sizes = zip(m.shape[::-1], shape[::-1], strict=False)
    if m.ndim > len(shape) or any(n not in (1, size) for n, size in sizes):
        raise RuntimeError(f"{NAME}: attn_mask of shape {m.shape} does not broadcast to (..., L, S) = {shape}")
    if is_floating(m.dtype):
        return cast(mask, query.dtype)
    if m.dtype.kind != "b":
        raise RuntimeError(f"{NAME}: expected attn_mask to be bool or floating, got {mask.dtype.name}; use .bool()")
    return mask._result(mask._xp.where(m, dtype.type(0), dtype.type(-math.inf)).astype(dtype, copy=False))


def _repeated_heads(query: Tensor, x: Tensor) -> Tensor:
    """key or value with as many heads as query."""
    q, n = query._array.shape, x._array.shape
    if len(q) < 3 or len(n) < 3 or n[-3] == 0 or q[-3] % n[-3]:
        raise RuntimeError(
            f"{NAME}: with enable_gqa the number of heads in key and value must divide the number of heads in query; "
            f"got shapes {n} and {q}, whose third-last sizes are the heads"
        )
    return x if n[-3] == q[-3] else repeat_interleave(x, q[-3] // n[-3], dim=-3)
