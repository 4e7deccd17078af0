"""Looking up rows of a table."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..dispatch import apply
from ..ops import embedding as ops
from .arguments import require_tensor

if TYPE_CHECKING:
    from ..tensor import Tensor


def embedding(input: Tensor, weight: Tensor, padding_idx: int | None = None) -> Tensor:
    """The rows of weight (V, C) that the integers of input (...) name: (..., C).

    The row padding_idx gets no gradient. IndexError: an index outside 0 .. V-1.
    """
    require_tensor("embedding", "input", input)
    require_tensor("embedding", "weight", weight)
    indices, vocabulary = input._array, weight._array.shape[0]
    if indices.dtype.kind not in "iu":
        raise RuntimeError(f"embedding: expected integer indices, got {input.dtype.name}; convert them with .long()")
    if weight._array.ndim != 2:
        raise RuntimeError(f"embedding: 'weight' must be 2-D, (vocabulary, channels), got shape {tuple(weight.shape)}")
    if padding_idx is not None and padding_idx < 0:
        padding_idx += vocabulary
    if indices.size and not 0 <= indices.min() <= indices.max() < vocabulary:
        bad = indices[(indices < 0) | (indices >= vocabulary)][0]
        raise IndexError(f"embedding: index {bad} is out of range for a vocabulary of {vocabulary} rows (0 .. {vocabulary - 1})")
    return apply(ops.Embedding, weight, input, padding_idx=padding_idx)
