"""Softmax and its relatives; bringing vectors to a standard scale."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ..backend import dtypes
from ..dispatch import apply
from ..ops import normalization as ops
from .arguments import cast, dim_indices, require_tensor, sizes
from .elementwise import clamp, div, neg
from .reduction import norm
from .shape import flatten, reshape

if TYPE_CHECKING:
    from ..tensor import Tensor


def _over_dim(op: Any, input: Tensor, dim: int | None, dtype: Any) -> Tensor:
    """Apply an op of the softmax kind over one dimension."""
    require_tensor(op.name, "input", input)
    if dim is None:
        dim = 0 if input._array.ndim in (0, 1, 3) else 1
        warnings.warn(f"{op.name}: no dim was given, so dim={dim} is used; pass the dim that is meant", stacklevel=3)
    if dtype is not None:
        input = cast(input, dtypes.as_dtype(dtype))
    _require_floating(op.name, input)
    return apply(op, input, axis=dim_indices(dim, input._array.ndim))


def _require_floating(name: str, input: Tensor) -> None:
    if input._array.dtype.kind != "f":
        raise NotImplementedError(f"{name}: expected a floating dtype, got {input.dtype.name}; convert it by .float()")


def softmax(input: Tensor, dim: int | None = None, *, dtype: Any = None) -> Tensor:
    """exp(x) / sum(exp(x)) over dim: positive numbers that sum to 1. dtype converts the input first."""
    return _over_dim(ops.Softmax, input, dim, dtype)


def log_softmax(input: Tensor, dim: int | None = None, *, dtype: Any = None) -> Tensor:
    """log(softmax(x)) = x - log(sum(exp(x))) over dim, exact where softmax itself would round to 0."""
    return _over_dim(ops.LogSoftmax, input, dim, dtype)


def softmin(input: Tensor, dim: int | None = None, *, dtype: Any = None) -> Tensor:
    """softmax(-x) over dim."""
    return _over_dim(ops.Softmax, neg(input), dim, dtype)


def layer_norm(
    input: Tensor,
    normalized_shape: Sequence[int],
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
) -> Tensor:
    """(x - mean) / sqrt(var + eps) * weight + bias over the last axes, whose sizes are normalized_shape.

    weight and bias have that shape too; var divides by the number of elements. RuntimeError: shapes that do not fit.
    Source: Ba, Kiros, Hinton 2016, arXiv:1607.06450.
    """
    return _normalised(ops.LayerNorm, input, normalized_shape, eps, weight=weight, bias=bias)


def rms_norm(
    input: Tensor, normalized_shape: Sequence[int], weight: Tensor | None = None, eps: float | None = None
) -> Tensor:
    """x / sqrt(mean(x^2) + eps) * weight over the last axes, whose sizes are normalized_shape.

    eps: the machine epsilon of the dtype if not given. Source: Zhang and Sennrich 2019, arXiv:1910.07467.
    """
    if eps is None:
        require_tensor("rms_norm", "input", input)
        _require_floating("rms_norm", input)
        eps = dtypes.finfo(input.dtype).eps
    return _normalised(ops.RmsNorm, input, normalized_shape, eps, weight=weight)


def _normalised(
    op: Any, input: Tensor, normalized_shape: Sequence[int], eps: float, **parameters: Tensor | None
) -> Tensor:
    """Apply a normalising op, which works on one axis, to the last axes as if they were one."""
    require_tensor(op.name, "input", input)
    _require_floating(op.name, input)
    if not isinstance(normalized_shape, Sequence):
        raise TypeError(
            f"{op.name}(): argument 'normalized_shape' must be a tuple of ints, not "
            f"{type(normalized_shape).__name__}; write ({normalized_shape},)"
        )
    wanted, shape = sizes((normalized_shape,)), input._array.shape
    if not wanted or shape[-len(wanted) :] != wanted:
        raise RuntimeError(
            f"{op.name}: given normalized_shape={list(wanted)}, expected input with shape {['*', *wanted]}, but got "
            f"{list(shape)}; normalized_shape must be the input's last sizes, at least one"
        )
    for argument, p in parameters.items():
        if p is not None and p._array.shape != wanted:
            raise RuntimeError(
                f"{op.name}: expected {argument} of the shape normalized_shape={list(wanted)}, got {list(p.shape)}"
            )
        if p is not None and p._array.dtype != input._array.dtype:
            raise RuntimeError(
                f"{op.name}: expected {argument} to have the dtype of input, {input.dtype.name}, got {p.dtype.name}; "
                "convert one of them with .to(dtype)"
            )
    if len(wanted) == 1:
        return apply(op, input, *parameters.values(), eps=eps)
    flat = [None if p is None else flatten(p) for p in parameters.values()]
    x = reshape(input, (*shape[: -len(wanted)], math.prod(wanted)))
    return reshape(apply(op, x, *flat, eps=eps), shape)


def normalize(input: Tensor, p: float = 2.0, dim: int = 1, eps: float = 1e-12) -> Tensor:
    """x / max(norm(x, p), eps) over dim: vectors of length 1."""
    return div(input, clamp(norm(input, p, dim, keepdim=True), min=eps))
