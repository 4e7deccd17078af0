"""Mixed precision: in which dtype each function computes where `amp.autocast` is on.

The lists are PyTorch's, one for each kind of device: https://pytorch.org/docs/stable/amp.html#op-specific-behavior. A
function of a list carries `@autocasts`; what it calls itself is part of it, and is not cast again. All others take
their operands as they come.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, TypeVar

import numpy as np

from ..autograd.modes import state
from ..backend import dtypes
from .arguments import cast

F = TypeVar("F", bound=Callable[..., Any])

LOW = "low"  # operands are cast to autocast's dtype: fast where products of matrices take the time
FLOAT32 = "float32"  # to float32: where a small range or few digits would do harm
WIDEST = "widest"  # to the widest dtype among them
ROUNDED = "rounded"  # to float32, and the result to the dtype of the first: parameters of norms may stay float32
REFUSED = "refused"

_PRODUCTS = """
    addbmm addmm baddbmm bmm conv1d conv2d conv3d conv_transpose1d conv_transpose2d conv_transpose3d linear matmul mm
    prelu scaled_dot_product_attention vecdot
"""
_LOSSES = """
    binary_cross_entropy_with_logits cosine_embedding_loss cross_entropy hinge_embedding_loss huber_loss kl_div l1_loss
    margin_ranking_loss mse_loss multi_margin_loss multilabel_margin_loss nll_loss poisson_nll_loss smooth_l1_loss
    soft_margin_loss triplet_margin_loss
"""
_CPU = {
    LOW: _PRODUCTS,
    FLOAT32: _LOSSES + """
        adaptive_avg_pool3d adaptive_max_pool3d avg_pool3d binary_cross_entropy cdist ctc_loss max_pool3d nanquantile
        prod quantile trace
    """,
    WIDEST: "cat index_copy stack",
    ROUNDED: "batch_norm group_norm instance_norm layer_norm rms_norm",
}  # fmt: skip
_CUDA = {
    LOW: _PRODUCTS + "addmv addr chain_matmul einsum gru_cell lstm_cell multi_dot mv rnn_relu_cell rnn_tanh_cell",
    FLOAT32: _LOSSES + """
        acos asin cdist cosh cosine_similarity cumprod cumsum dist exp expm1 group_norm layer_norm log log10 log1p log2
        log_softmax logsumexp matrix_norm norm pdist pow prod reciprocal rms_norm rsqrt sinh softmax softmin softplus
        sum tan vector_norm
    """,
    WIDEST: "addcdiv addcmul atan2 bilinear cross dot index_put scatter_add tensordot vdot",
    ROUNDED: "batch_norm instance_norm",
    REFUSED: "binary_cross_entropy",
}  # fmt: skip
# By kind of device, the rule of each function.
RULES = {
    device: {name: rule for rule, names in lists.items() for name in names.split()}
    for device, lists in (("cpu", _CPU), ("cuda", _CUDA))
}


class Casting(NamedTuple):
    """What autocast does on one kind of device."""

    dtype: dtypes.dtype
    rules: Mapping[str, str]


_ever = False  # whether autocast was ever on: before that, functions need not ask in each call


def set_casts(casts: Mapping[str, Casting] | None) -> None:
    """Cast so from now on in this thread, by kind of device; None: not at all."""
    global _ever
    _ever = _ever or casts is not None
    state.autocast = casts


def autocasts(function: F) -> F:
    """Let autocast choose the dtype of the tensors that are given to this function of one of the lists."""
    name = function.__name__

    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        if not _ever or state.autocast is None:
            return function(*args, **kwargs)
        casts = state.autocast
        tensors = [x for x in _each((*args, *kwargs.values())) if _may_be_cast(x)]
        casting = casts.get(tensors[0].device.type) if tensors else None
        rule = casting and casting.rules.get(name)
        if casting is None or rule is None or (rule == FLOAT32 and kwargs.get("dtype") is not None):
            return function(*args, **kwargs)
        if rule == REFUSED:
            raise RuntimeError(
                f"{name} is unsafe to autocast: in {casting.dtype.name} the logarithms overflow; use "
                "binary_cross_entropy_with_logits (or BCEWithLogitsLoss) instead, or turn autocast off around it"
            )
        wanted = dtypes.float32
        if rule == LOW or (rule == WIDEST and all(x.dtype == casting.dtype for x in tensors)):
            wanted = casting.dtype
        state.autocast = None
        try:
            y = function(*(_cast(x, wanted) for x in args), **{k: _cast(x, wanted) for k, x in kwargs.items()})
            return cast(y, tensors[0].dtype) if rule == ROUNDED else y
        finally:
            state.autocast = casts

    return wrapper  # type: ignore[return-value]  # wraps keeps the signature


def _each(values: tuple[Any, ...]) -> list[Any]:
    """The values, and those within the sequences among them."""
    return [x for value in values for x in (value if isinstance(value, (list, tuple)) else (value,))]


def _may_be_cast(x: Any) -> bool:
    """Whether this is a tensor of floating numbers; who takes float64 wants it."""
    return hasattr(x, "_array") and dtypes.is_floating(x._array.dtype) and x._array.dtype.itemsize < 8


def _cast(x: Any, dtype: dtypes.dtype) -> Any:
    if type(x) in (list, tuple):
        return type(x)(_cast(y, dtype) for y in x)
    if isinstance(x, np.ndarray) and dtypes.is_floating(x.dtype) and x.itemsize < 8:  # as in `array @ tensor`
        return x.astype(dtype.dtype, copy=False)
    return cast(x, dtype) if _may_be_cast(x) else x
