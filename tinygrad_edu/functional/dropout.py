"""Dropout: forgetting at random, for regularisation."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .arguments import require_tensor
from .elementwise import mul

if TYPE_CHECKING:
    from ..tensor import Tensor


def check_probability(name: str, p: float) -> None:
    """ValueError unless p lies between 0 and 1."""
    if not 0 <= p <= 1:
        raise ValueError(f"{name}: dropout probability has to be between 0 and 1, but got {p}")


def keep_mask(shape: tuple[int, ...], p: float, dtype: Any) -> Any:
    """An array with 0 at a random share p of the places and 1 / (1 - p) at the others, so that means stay."""
    from ..random import default_generator  # it stands on Tensor, and Tensor on the functions

    keep = default_generator.stream.uniform(shape, "float32") >= p
    return keep * dtype.type(1 / (1 - p) if p < 1 else 0)


def dropout(input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    """While training, set each element to 0 with probability p and multiply the others by 1 / (1 - p).

    ValueError: p is not a probability. Source: Srivastava et al. 2014, "Dropout: a simple way to prevent neural
    networks from overfitting".
    """
    require_tensor("dropout", "input", input)
    check_probability("dropout", p)
    if not training or p == 0:
        return input
    if input._array.dtype.kind != "f":
        raise RuntimeError(f"dropout: expected a floating input, got {input.dtype.name}; convert it with .float()")
    mask = input._result(keep_mask(input._array.shape, p, input._array.dtype))
    return input.mul_(mask) if inplace else mul(input, mask)
