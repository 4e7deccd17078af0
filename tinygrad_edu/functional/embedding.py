"""Looking up rows of a table."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..autograd.modes import no_grad
from ..dispatch import apply
from ..ops import embedding as ops
from .arguments import require_tensor
from .elementwise import where
from .reduction import norm

if TYPE_CHECKING:
    from ..tensor import Tensor


def embedding(
    input: Tensor,
    weight: Tensor,
    padding_idx: int | None = None,
    max_norm: float | None = None,
    norm_type: float = 2.0,
    scale_grad_by_freq: bool = False,
    sparse: bool = False,
) -> Tensor:
    """The rows of weight (V, C) that the integers of input (...) name: (..., C).

    padding_idx: a row that gets no gradient. max_norm: first shorten, in place, the rows that are looked up and whose
    norm_type-norm is larger. scale_grad_by_freq: divide the gradient of a row by how often it is looked up.
    IndexError: an index outside 0 .. V-1.
    """
    require_tensor("embedding", "input", input)
    require_tensor("embedding", "weight", weight)
    if weight._array.ndim != 2:
        raise RuntimeError(f"embedding: 'weight' must be 2-D, (vocabulary, channels), got shape {tuple(weight.shape)}")
    indices, vocabulary = input._array, len(weight._array)
    if indices.dtype.kind not in "iu":
        raise RuntimeError(f"embedding: expected integer indices, got {input.dtype.name}; convert them with .long()")
    if sparse:
        raise NotImplementedError("embedding: sparse gradients are not supported; use sparse=False")
    if padding_idx is not None:
        if not -vocabulary <= padding_idx < vocabulary:
            raise AssertionError(f"embedding: padding_idx {padding_idx} must be a row of weight, 0 .. {vocabulary - 1}")
        padding_idx %= vocabulary
    if indices.size and not 0 <= indices.min() <= indices.max() < vocabulary:
        bad = indices[(indices < 0) | (indices >= vocabulary)][0]
        raise IndexError(f"embedding: index {bad} is out of range for the {vocabulary} rows of weight")
    if max_norm is not None:
        _shorten_rows(weight, input, max_norm, norm_type)
    return apply(ops.Embedding, weight, input, padding_idx=padding_idx, by_frequency=scale_grad_by_freq)


def _shorten_rows(weight: Tensor, input: Tensor, max_norm: float, norm_type: float) -> None:
    """Scale the rows that are named and longer than max_norm down to that length, in place."""
    index = weight._xp.unique(input._array)
    with no_grad():
        rows = weight._result(weight._array[index])
        length = norm(rows, norm_type, 1, keepdim=True)
        weight._array[index] = where(length > max_norm, rows * (max_norm / (length + 1e-7)), rows)._array
        weight._changed()
