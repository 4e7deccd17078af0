"""Softmax and its relatives; bringing vectors to a standard scale."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ..autograd.modes import no_grad
from ..autograd.unfinished import form, waiting
from ..backend import dtypes
from ..dispatch import apply
from ..ops import normalization as ops
from .arguments import cast, dim_indices, numpy_names, require_tensor, sizes
from .elementwise import add, clamp, div, mul, neg, pow, rsqrt, square, sub
from .pooling import avg_pool2d
from .precision import autocasts
from .reduction import mean, norm
from .shape import flatten, pad, reshape

if TYPE_CHECKING:
    from ..tensor import Tensor


def _over_dim(op: Any, input: Tensor, dim: int | None, dtype: Any) -> Tensor:
    """Apply an op of the softmax kind over one dimension."""
    require_tensor(op.name, "input", input)
    if dim is None:
        dim = 0 if input._array.ndim in (0, 1, 3) else 1
        warnings.warn(f"{op.name}: no dim was given, so dim={dim} is used; pass the dim that is meant", stacklevel=5)
    if dtype is not None:
        input = cast(input, dtypes.as_dtype(dtype))
    _require_floating(op.name, input)
    return apply(op, input, axis=dim_indices(dim, input._array.ndim))


def _require_floating(name: str, input: Tensor) -> None:
    if not dtypes.is_floating((form(input) if waiting else input._array).dtype):
        raise NotImplementedError(f"{name}: expected a floating dtype, got {input.dtype.name}; convert it by .float()")


@autocasts
@numpy_names
def softmax(input: Tensor, dim: int | None = None, *, dtype: Any = None) -> Tensor:
    """exp(x) / sum(exp(x)), the sum over dim: numbers from 0 to 1 that sum to 1 along it.

    Shapes: (...) -> (...); with dim=-1 each of the B * T rows of (B, T, C) sums to 1.
    dim: give it; None warns and takes 0 for tensors of 0, 1 or 3 dimensions, else 1. dtype converts the input first.
    The maximum is subtracted first, so nothing overflows. IndexError: no such dim; NotImplementedError: integers.
    """
    return _over_dim(ops.Softmax, input, dim, dtype)


@autocasts
@numpy_names
def log_softmax(input: Tensor, dim: int | None = None, *, dtype: Any = None) -> Tensor:
    """log(softmax(x)) = x - log(sum(exp(x))), the sum over dim; exact where softmax itself would round to 0.

    Shapes, dim, dtype and errors as of `softmax`.
    """
    return _over_dim(ops.LogSoftmax, input, dim, dtype)


@autocasts
@numpy_names
def softmin(input: Tensor, dim: int | None = None, *, dtype: Any = None) -> Tensor:
    """softmax(-x) over dim; arguments and errors as of `softmax`."""
    return _over_dim(ops.Softmax, neg(input), dim, dtype)


@autocasts
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


@autocasts
def rms_norm(
    input: Tensor, normalized_shape: Sequence[int], weight: Tensor | None = None, eps: float | None = None
) -> Tensor:
    """x / sqrt(mean(x^2) + eps) * weight over the last axes, whose sizes are normalized_shape.

    eps: if not given, the machine epsilon of the dtype, of float32 for a shorter one.
    Source: Zhang and Sennrich 2019, arXiv:1910.07467.
    """
    if eps is None:
        require_tensor("rms_norm", "input", input)
        _require_floating("rms_norm", input)
        eps = dtypes.finfo(dtypes.promote_types(input.dtype, dtypes.float32)).eps
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
    known = form(input) if waiting else input._array
    wanted, shape = sizes((normalized_shape,)), known.shape
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
        if p is not None and p._array.dtype != known.dtype:
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


# ---- over the batch, over groups of channels -------------------------------------------------------------------------


@autocasts
def batch_norm(
    input: Tensor, running_mean: Tensor | None, running_var: Tensor | None, weight: Tensor | None = None,
    bias: Tensor | None = None, training: bool = False, momentum: float = 0.1, eps: float = 1e-5,
) -> Tensor:  # fmt: skip
    """(x - mean) / sqrt(var + eps) * weight + bias for each channel of the input (B, C, ...).

    training: mean and var (which divides by n) are those of the channel in this batch, over all axes but C; the running
    statistics (C), if given, move towards them by momentum, with the var that divides by n - 1. Otherwise the running
    statistics take their place. ValueError: a single value per channel in training.
    Source: Ioffe and Szegedy 2015, arXiv:1502.03167.
    """
    _check_channels("batch_norm", input, weight, bias, running_mean, running_var)
    if not training and running_mean is None:
        raise RuntimeError("batch_norm: running_mean must be defined in evaluation mode, got None")
    shape = input._array.shape
    if training and math.prod(shape) == shape[1]:
        raise ValueError(f"batch_norm: expected more than 1 value per channel when training, got input size {shape}")
    dims = (0, *range(2, len(shape)))
    return _standardised(input, dims, running_mean, running_var, weight, bias, training, momentum, eps)


@autocasts
def instance_norm(
    input: Tensor, running_mean: Tensor | None = None, running_var: Tensor | None = None, weight: Tensor | None = None,
    bias: Tensor | None = None, use_input_stats: bool = True, momentum: float = 0.1, eps: float = 1e-5,
) -> Tensor:  # fmt: skip
    """`batch_norm` of each example by itself: the statistics are over the spatial axes of the input (B, C, ...) alone.

    use_input_stats: take them from the input and move the running ones; otherwise take those.
    ValueError: a single spatial element. Source: Ulyanov et al. 2016, arXiv:1607.08022.
    """
    require_tensor("instance_norm", "input", input)
    shape = input._array.shape
    if use_input_stats and math.prod(shape[2:]) == 1:
        raise ValueError(f"instance_norm: expected more than 1 spatial element when training, got input size {shape}")
    _check_channels("instance_norm", input, weight, bias, running_mean, running_var)
    if not use_input_stats and running_mean is None:
        raise RuntimeError(
            "instance_norm: expected running_mean and running_var to be defined when use_input_stats is false"
        )
    dims = tuple(range(2, len(shape)))
    return _standardised(input, dims, running_mean, running_var, weight, bias, use_input_stats, momentum, eps)


def _standardised(
    input: Tensor, dims: tuple[int, ...], running_mean: Tensor | None, running_var: Tensor | None,
    weight: Tensor | None, bias: Tensor | None, from_input: bool, momentum: float, eps: float,
) -> Tensor:  # fmt: skip
    """Channels shifted and scaled by statistics over the dims or by the running ones; these follow the former."""
    if from_input:
        average = mean(input, dims, keepdim=True)
        centred = sub(input, average)
        spread = mean(square(centred), dims, keepdim=True)
        if running_mean is not None and running_var is not None and input._array.size:
            n = input._array.size // average._array.size
            with no_grad():
                for running, of_batch in ((running_mean, average), (running_var, mul(spread, n / (n - 1)))):
                    running.lerp_(reshape(mean(of_batch, 0), running._array.shape), momentum)
    else:
        assert running_mean is not None and running_var is not None
        centred, spread = sub(input, _beside(running_mean, input)), _beside(running_var, input)
    scale = rsqrt(add(spread, eps))
    return _affine(centred, scale, weight, bias)


@autocasts
def group_norm(
    input: Tensor, num_groups: int, weight: Tensor | None = None, bias: Tensor | None = None, eps: float = 1e-5
) -> Tensor:
    """(x - mean) / sqrt(var + eps) * weight + bias, mean and var being those of a group of channels in one example.

    Shapes: input (B, C, ...); weight and bias (C) or None. RuntimeError: num_groups does not divide C.
    Source: Wu and He 2018, arXiv:1803.08494.
    """
    _check_channels("group_norm", input, weight, bias)
    batch, channels, *size = input._array.shape
    if num_groups < 1 or channels % num_groups:
        raise RuntimeError(
            f"group_norm: expected number of channels in input to be divisible by num_groups, but got input of shape "
            f"{list(input.shape)} and num_groups={num_groups}"
        )
    per_group = channels // num_groups * math.prod(size)
    if batch * per_group == 1:
        raise ValueError(f"group_norm: expected more than 1 value per group, got input size {list(input.shape)}")
    groups = reshape(input, batch, num_groups, per_group)
    y = reshape(apply(ops.LayerNorm, groups, None, None, eps=eps), input._array.shape)
    return _affine(y, None, weight, bias)


def local_response_norm(input: Tensor, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0) -> Tensor:
    """x / (k + alpha * mean of x^2 over `size` neighbouring channels)^beta; beyond the channels' ends x is 0.

    Shapes: input (B, C, ...) of three or more dimensions. Source: Krizhevsky, Sutskever, Hinton 2012, section 3.3.
    """
    require_tensor("local_response_norm", "input", input)
    if input._array.ndim < 3:
        raise ValueError(f"local_response_norm: expected an input of 3 or more dimensions, got {input._array.ndim}")
    if input._array.size == 0:
        return input
    batch, channels, *rest = input._array.shape
    squares = reshape(square(input), batch, 1, channels, math.prod(rest))
    neighbours = pad(squares, (0, 0, size // 2, (size - 1) // 2))
    average = reshape(avg_pool2d(neighbours, (size, 1), stride=1), input._array.shape)
    return div(input, pow(add(mul(average, alpha), k), beta))


def _affine(x: Tensor, scale: Tensor | None, weight: Tensor | None, bias: Tensor | None) -> Tensor:
    """x * scale * weight + bias, where weight and bias belong to the channels."""
    if weight is not None:
        w = _beside(weight, x)
        scale = w if scale is None else mul(scale, w)
    y = x if scale is None else mul(x, scale)
    return y if bias is None else add(y, _beside(bias, x))


def _beside(of_channels: Tensor, x: Tensor) -> Tensor:
    """One number for each channel, in the shape that broadcasts against x (B, C, ...)."""
    return reshape(of_channels, x._array.shape[1], *(1,) * (x._array.ndim - 2))


def _check_channels(
    name: str, input: Tensor, weight: Tensor | None, bias: Tensor | None, running_mean: Tensor | None = None,
    running_var: Tensor | None = None,
) -> None:  # fmt: skip
    """The input is (B, C, ...), and all that belongs to channels has one element for each and the input's dtype."""
    require_tensor(name, "input", input)
    if input._array.ndim < 2:
        raise RuntimeError(f"{name}: expected at least 2 dimensions for input, (B, C, ...), got {input._array.ndim}")
    _require_floating(name, input)
    if (running_mean is None) != (running_var is None):
        raise ValueError(f"{name}: running_mean and running_var must either both be None or neither be None")
    channels = input._array.shape[1]
    given = {"weight": weight, "bias": bias, "running_mean": running_mean, "running_var": running_var}
    for argument, p in given.items():
        if p is None:
            continue
        if p._array.size != channels:
            raise RuntimeError(f"{name}: {argument} should contain {channels} elements, not {p._array.size}")
        if p._array.dtype != input._array.dtype:
            raise RuntimeError(
                f"{name}: expected {argument} to have the dtype of input, {input.dtype.name}, got {p.dtype.name}; "
                "convert one of them with .to(dtype)"
            )
