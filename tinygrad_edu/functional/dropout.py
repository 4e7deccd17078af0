"""Dropout: forgetting at random, for regularisation."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from ..backend.dtypes import is_floating
from ..dispatch import apply
from ..ops import dropout as ops
from .arguments import require_tensor

if TYPE_CHECKING:
    from ..tensor import Tensor


def check_probability(name: str, p: float) -> None:
    """ValueError unless p lies between 0 and 1."""
    if not 0 <= p <= 1:
        raise ValueError(f"{name}: dropout probability has to be between 0 and 1, but got {p}")


def position_of_mask(shape: tuple[int, ...], xp: Any) -> tuple[int, int]:
    """The (seed, counter) of the default stream from which a mask of this shape is drawn; the stream goes on behind it.
    """
    from ..random import stream_of  # it stands on Tensor, and Tensor on the functions

    return stream_of(None, xp).pass_over(-(-math.prod(shape) // 2))  # two numbers of a word


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
    apart = None
    if axes_of is not None:
        ndim = input._array.ndim
        if ndim not in axes_of:
            few, many = axes_of
            raise RuntimeError(f"{name}: expected {few}D or {many}D input, but received a {ndim}D input")
        apart = axes_of[ndim]
    if not training or p == 0:
        return input
    if not is_floating(input._array.dtype):
        raise RuntimeError(f"{name}: expected a floating input, got {input.dtype.name}; convert it with .float()")
    seed, counter = position_of_mask(ops.mask_shape(input._array.shape, apart), input._xp)

    def drop(x: Tensor) -> Tensor:
        return apply(ops.Dropout, x, p=p, seed=seed, counter=counter, apart=apart)

    return input._rewrite(name + "_", drop) if inplace else drop(input)
