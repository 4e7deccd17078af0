"""Gradient clipping, and parameters as one vector."""

from __future__ import annotations

import functools
import math
import warnings
from collections.abc import Iterable
from typing import Any

from ...autograd.exhausted import allocates
from ...autograd.modes import no_grad
from ...autograd.unfinished import finish, waiting
from ...backend.device import in_turn, quiet
from ...backend.dtypes import promote_types
from ...functional.shape import cat
from ...kernels import fused_update
from ...tensor import Tensor

Tensors = Tensor | Iterable[Tensor]
_BLOCK = 1 << 16  # elements per dot product: few enough for float32 sums to stay exact to rounding


def _gradients(parameters: Tensors) -> list[Tensor]:
    listed = [parameters] if isinstance(parameters, Tensor) else list(parameters)
    if not listed and not isinstance(parameters, (list, tuple)):
        warnings.warn("`parameters` is an empty generator, no gradient clipping will occur.", stacklevel=3)
    return [p.grad for p in listed if p.grad is not None]


def _power_sum(array: Any, p: float) -> float:
    """The sum of |x|^p: for p = 2 one pass of dot products, added up in float64."""
    flat = array.ravel(order="K")
    if p != 2:
        return float((abs(flat.astype("float64")) ** p).sum())
    total = 0.0
    for start in range(0, flat.size, _BLOCK):
        block = flat[start : start + _BLOCK]
        if block.itemsize < 4:  # squares of float16 overflow
            block = block.astype("float32")
        total += float(block.dot(block))
    return total


def _maximum(values: list[float]) -> float:
    """The largest, or NaN if any is NaN, which Python's max would overlook."""
    return math.nan if any(map(math.isnan, values)) else max(values, default=0.0)


def _total_norm(tensors: list[Tensor], norm_type: float, error_if_nonfinite: bool) -> float:
    p = float(norm_type)
    if not p > 0:
        raise ValueError(f"norm_type must be positive or inf, got {norm_type}")
    arrays = [t._array for t in tensors if t.numel()]
    with quiet:
        if math.isinf(p):
            total = _maximum([float(abs(a).max()) for a in in_turn(arrays)])
        elif p == 2 and arrays and (fused := fused_update(arrays)) is not None:
            total = math.sqrt(fused.square_sum(arrays))
        else:
            total = sum(_power_sum(a, p) for a in in_turn(arrays)) ** (1.0 / p)
    if error_if_nonfinite and not math.isfinite(total):
        raise RuntimeError(
            f"The total norm of order {p} for gradients from `parameters` is non-finite ({total}), so it cannot be "
            "clipped. To disable this error and scale the gradients by the non-finite norm anyway, set "
            "`error_if_nonfinite=False`"
        )
    return total


def _as_tensor(norm: float, like: list[Tensor]) -> Tensor:
    """The norm in the dtype that these tensors promote to."""
    if not like:
        return Tensor([norm]).reshape(())
    with quiet:  # it may overflow float16
        return like[0]._result(
            like[0]._xp.asarray(norm, functools.reduce(promote_types, {t.dtype for t in like}).dtype)
        )


@allocates
def get_total_norm(tensors: Tensors, norm_type: float = 2.0, error_if_nonfinite: bool = False) -> Tensor:
    """The norm of all tensors seen as one vector, (sum |x|^p)^(1/p), or max |x| for norm_type=inf.

    RuntimeError: it is NaN or infinite and error_if_nonfinite is set. ValueError: norm_type is not positive.
    """
    listed = [tensors] if isinstance(tensors, Tensor) else list(tensors)
    return _as_tensor(_total_norm(listed, norm_type, error_if_nonfinite), listed)


@no_grad()
@allocates
def clip_grad_norm_(
    parameters: Tensors, max_norm: float, norm_type: float = 2.0, error_if_nonfinite: bool = False
) -> Tensor:
    """Scale the gradients down together so that their norm is at most max_norm; returns the norm they had.

    g *= min(1, max_norm / (norm + 1e-6)), with the norm over all gradients as one vector. Parameters without a
    gradient are passed over. RuntimeError: the norm is not finite and error_if_nonfinite is set.
    """
    gradients = _gradients(parameters)
    if waiting:
        finish()
    arrays = [gradient._array for gradient in gradients]
    fused = fused_update(arrays) if arrays else None
    if fused is not None and float(norm_type) == 2 and not error_if_nonfinite and hasattr(fused, "clip"):
        # On a GPU, and nothing waits for the norm.
        on_device = fused.clip(arrays, float(max_norm))
        for gradient in gradients:
            gradient._changed()
        return gradients[0]._result(on_device.astype(arrays[0].dtype))
    norm = _total_norm(gradients, norm_type, error_if_nonfinite)
    scale = float(max_norm) / (norm + 1e-6)
    if not scale >= 1.0:  # also for NaN, which then shows in every gradient, as in PyTorch
        if fused is not None:
            fused.scale(arrays, scale)
        else:
            with quiet:
                for array in in_turn(arrays):
                    array *= scale
        for gradient in gradients:
            gradient._changed()
    return _as_tensor(norm, gradients)


@no_grad()
def clip_grad_value_(parameters: Tensors, clip_value: float) -> None:
    """Cut every element of the gradients to [-clip_value, clip_value]."""
    for gradient in _gradients(parameters):
        gradient.clamp_(-float(clip_value), float(clip_value))


def parameters_to_vector(parameters: Iterable[Tensor]) -> Tensor:
    """All elements of the parameters, one after another, in one vector. Gradients flow through it."""
    return cat([p.reshape(-1) for p in parameters])


@no_grad()
def vector_to_parameters(vec: Tensor, parameters: Iterable[Tensor]) -> None:
    """Copy slices of a vector into the parameters, in the order of `parameters_to_vector`.

    TypeError: vec is not a Tensor. RuntimeError: it has not exactly as many elements as the parameters; then nothing
    is changed.
    """
    if not isinstance(vec, Tensor):
        raise TypeError(f"vector_to_parameters: expected a Tensor, got {type(vec).__name__}")
    listed = list(parameters)
    expected = sum(p.numel() for p in listed)
    if tuple(vec.shape) != (expected,):
        raise RuntimeError(
            f"vector_to_parameters: expected a vector of {expected} elements, got shape {tuple(vec.shape)}"
        )
    start = 0
    for p in listed:
        p.copy_(vec[start : start + p.numel()].reshape(p.shape))
        start += p.numel()
