"""Arithmetic, exponentials, rounding and comparisons, element by element, with broadcasting."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..dispatch import apply
from ..ops import elementwise as ops
from .arguments import pair, to_floating

if TYPE_CHECKING:
    from ..tensor import Tensor


def add(input: Tensor, other: Any, *, alpha: float = 1) -> Tensor:
    """input + alpha * other."""
    return apply(ops.Add, *pair(input, other if alpha == 1 else mul(other, alpha)))


def sub(input: Tensor, other: Any, *, alpha: float = 1) -> Tensor:
    """input - alpha * other."""
    return apply(ops.Sub, *pair(input, other if alpha == 1 else mul(other, alpha)))


def mul(input: Tensor, other: Any) -> Tensor:
    """input * other."""
    return apply(ops.Mul, *pair(input, other))


def div(input: Tensor, other: Any) -> Tensor:
    """input / other; integers are divided as floats."""
    a, b = pair(input, other)
    return apply(ops.Div, to_floating(a), b)


def exp(input: Tensor) -> Tensor:
    """e to the power of each element."""
    return apply(ops.Exp, to_floating(input))
