"""Softmax and its relatives; normalisation."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ..backend import dtypes
from ..dispatch import apply
from ..ops import normalization as ops
from .arguments import cast, dim_indices, require_tensor

if TYPE_CHECKING:
    from ..tensor import Tensor


def _over_dim(op: Any, input: Tensor, dim: int | None, dtype: Any) -> Tensor:
    """Apply an op of the softmax kind over one dimension."""
    require_tensor(op.name, "input", input)
    if dim is None:
        dim = 0 if input._array.ndim in (0, 1, 3) else 1
        warnings.warn(f"{op.name}: no dim was given, using dim={dim}; pass dim to say which one is meant", stacklevel=3)
    if dtype is not None:
        input = cast(input, dtypes.as_dtype(dtype))
    if input._array.dtype.kind != "f":
        raise RuntimeError(f"{op.name}: expected a floating dtype, got {input.dtype.name}; pass dtype=float32")
    return apply(op, input, axis=dim_indices(dim, input._array.ndim))


def softmax(input: Tensor, dim: int | None = None, *, dtype: Any = None) -> Tensor:
    """exp(x) / sum(exp(x)) over `dim`: positive numbers that sum to 1. `dtype` converts the input first."""
    return _over_dim(ops.Softmax, input, dim, dtype)


def log_softmax(input: Tensor, dim: int | None = None, *, dtype: Any = None) -> Tensor:
    """log(softmax(x)) = x - log(sum(exp(x))) over `dim`, exact where softmax itself would round to 0."""
    return _over_dim(ops.LogSoftmax, input, dim, dtype)


def layer_norm(
    input: Tensor,
    normalized_shape: Sequence[int],
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
) -> Tensor:
    """(x - mean) / sqrt(var + eps) * weight + bias, over the last axes, whose sizes are normalized_shape.

    weight and bias have the shape normalized_shape. var divides by the number of elements.
    """
    require_tensor("layer_norm", "input", input)
    shape = _checked_shape("layer_norm", input, normalized_shape, weight=weight, bias=bias)
    if len(shape) == 1:
        return apply(ops.LayerNorm, input, weight, bias, eps=eps)
    from .shape import reshape

    def flat(p: Tensor | None) -> Tensor | None:
        return None if p is None else reshape(p, (-1,))

    lead = input._array.shape[: -len(shape)]
    x = reshape(input, (*lead, math.prod(shape)))
    return reshape(apply(ops.LayerNorm, x, flat(weight), flat(bias), eps=eps), input._array.shape)


def _checked_shape(name: str, input: Tensor, normalized_shape: Sequence[int], **parameters: Tensor | None) -> tuple[int, ...]:
    """normalized_shape as a tuple, checked against the input and the parameters."""
    shape = tuple(int(n) for n in normalized_shape)
    if not shape or tuple(input._array.shape[-len(shape) :]) != shape:
        raise RuntimeError(
            f"{name}: given normalized_shape={list(shape)}, expected an input of shape {['*', *shape]}, got "
            f"{list(input._array.shape)}"
        )
    for argument, p in parameters.items():
        if p is not None and p._array.shape != shape:
            raise RuntimeError(f"{name}: expected {argument} of shape {list(shape)} as normalized_shape, got {list(p._array.shape)}")
        if p is not None and p._array.dtype != input._array.dtype:
            raise RuntimeError(
                f"{name}: expected {argument} to have the dtype of input, {input.dtype.name}, got {p.dtype.name}; convert "
                "one of them with .to(dtype)"
            )
    return shape
