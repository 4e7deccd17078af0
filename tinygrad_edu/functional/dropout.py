"""Dropout: forgetting at random, for regularisation."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import kernels
from .arguments import require_tensor
from .elementwise import mul

if TYPE_CHECKING:
    from ..tensor import Tensor


def check_probability(name: str, p: float) -> None:
    """ValueError unless p lies between 0 and 1."""
    if not 0 <= p <= 1:
        raise ValueError(f"{name}: dropout probability has to be between 0 and 1, but got {p}")


def keep_mask(xp: Any, shape: tuple[int, ...], p: float, dtype: Any) -> Any:
    """An array with 0 at a random share p of the places and 1 / (1 - p) at the others, so that means stay."""
    from ..random import default_generator  # it stands on Tensor, and Tensor on the functions

    stream, n, value = default_generator.stream, math.prod(shape), 1 / (1 - p) if p < 1 else 0.0
    # A uniform float32 number is 24 random bits, the first of 32. It is at least p where the 32 are at least this.
    smallest = math.ceil(float(np.float32(p)) * 2**24) << 8
    mask = kernels.random_mask(stream, n, smallest, value) if dtype == "float32" and xp is np else None
    if mask is None:
        mask = (stream.halves(n, xp) >= smallest) * dtype.type(value)
    return mask.reshape(shape)


def dropout(input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    """While training, set each element to 0 with probability p and multiply the others by 1 / (1 - p).

    ValueError: p is not a probability. Source: Srivastava et al. 2014, "Dropout: a simple way to prevent neural
    networks from overfitting".
    """
    return _dropped("dropout", input, p, training, inplace, None)


def dropout1d(input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    """`dropout` of whole channels: input (B, C, L) or (C, L). Neighbouring elements would tell what one alone held.

    Source: Tompson et al. 2015, arXiv:1411.4280.
    """
    return _dropped("dropout1d", input, p, training, inplace, {2: 1, 3: 2})


def dropout2d(input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    """`dropout` of whole channels: input (B, C, H, W), or as in `dropout1d` (B, C, L)."""
    return _dropped("dropout2d", input, p, training, inplace, {3: 2, 4: 2})


def dropout3d(input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    """`dropout` of whole channels: input (B, C, D, H, W) or (C, D, H, W)."""
    return _dropped("dropout3d", input, p, training, inplace, {4: 1, 5: 2})


def _dropped(
    name: str, input: Tensor, p: float, training: bool, inplace: bool, axes_of: dict[int, int] | None
) -> Tensor:
    """axes_of: by the input's number of dimensions, how many of its first ones are dropped apart; None: all."""
    require_tensor(name, "input", input)
    check_probability(name, p)
    if axes_of is None and (not training or p == 0):
        return input
    shape = input._array.shape
    if axes_of is not None:
        if len(shape) not in axes_of:
            few, many = axes_of
            raise RuntimeError(f"{name}: expected {few}D or {many}D input, but received a {len(shape)}D input")
        apart = axes_of[len(shape)]
        shape = shape[:apart] + (1,) * (len(shape) - apart)
    if not training or p == 0:
        return input
    if input._array.dtype.kind != "f":
        raise RuntimeError(f"{name}: expected a floating input, got {input.dtype.name}; convert it with .float()")
    mask = input._result(keep_mask(input._xp, shape, p, input._array.dtype))
    return input.mul_(mask) if inplace else mul(input, mask)
