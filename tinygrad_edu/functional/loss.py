"""Losses: how far predictions are from their targets."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..dispatch import apply
from ..ops import loss as ops
from .arguments import require_tensor

if TYPE_CHECKING:
    from ..tensor import Tensor


def reduced(loss: Tensor, reduction: str) -> Tensor:
    """The losses of all elements ("none"), their sum, or their mean."""
    if reduction == "none":
        return loss
    from . import reduction as reductions

    if reduction == "sum":
        return reductions.sum(loss)
    if reduction == "mean":
        return reductions.mean(loss)
    raise ValueError(f"{reduction!r} is not a valid value for reduction; use 'none', 'mean' or 'sum'")


def cross_entropy(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    *,
    ignore_index: int = -100,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> Tensor:
    """The negative log-probability that softmax(input) gives to the target classes."""
    require_tensor("cross_entropy", "input", input)
    require_tensor("cross_entropy", "target", target)
    rows = apply(
        ops.CrossEntropy, input, target, weight, ignore_index=ignore_index, label_smoothing=label_smoothing,
    )  # fmt: skip
    if reduction != "mean":
        return reduced(rows, reduction)
    counts = target._array != ignore_index
    total = counts.sum() if weight is None else (weight._array[target._array * counts] * counts).sum()
    return reduced(rows, "sum") / float(total)
