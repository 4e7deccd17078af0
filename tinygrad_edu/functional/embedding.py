"""Looking up rows of a table."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from ..autograd.modes import no_grad
from ..dispatch import apply
from ..ops import embedding as ops
from .arguments import all_below, ready, require_tensor
from .elementwise import div, mul, where
from .indexing import index_add, index_select, masked_fill
from .linalg import require_same_dtype
from .reduction import max, norm
from .shape import reshape, unsqueeze

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
    if not all_below(indices, vocabulary, name="embedding"):
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


def embedding_bag(
    input: Tensor,
    weight: Tensor,
    offsets: Tensor | None = None,
    max_norm: float | None = None,
    norm_type: float = 2.0,
    scale_grad_by_freq: bool = False,
    mode: str = "mean",
    sparse: bool = False,
    per_sample_weights: Tensor | None = None,
    include_last_offset: bool = False,
    padding_idx: int | None = None,
) -> Tensor:
    """The "mean", "sum" or "max" of the rows of weight (V, C) that each bag of indices names: (B, C).

    input: (B, L), bags of one size; or (N), all bags one after another, with offsets (B) saying where each starts, and
    with include_last_offset in one more entry where the last one ends. An empty bag gives zeros.
    per_sample_weights, of the shape of input: a factor for each row, in mode "sum". padding_idx: an index that does
    not count. max_norm, norm_type, scale_grad_by_freq: as in `embedding`.
    ValueError, RuntimeError: shapes and indices that do not fit.
    """
    _check_bags(input, weight, offsets, scale_grad_by_freq, mode, sparse, per_sample_weights, padding_idx)
    xp, (vocabulary, width) = weight._xp, weight._array.shape
    index, shape = input._array.reshape(-1), input._array.shape
    if offsets is None:
        bags, bag = shape[0], xp.repeat(xp.arange(shape[0]), shape[1])  # which bag each index belongs to
    else:
        starts = offsets._array
        if include_last_offset and len(starts):
            starts, index = starts[:-1], index[: starts[-1]]
        bags, index = len(starts), index if len(starts) else index[:0]
        bag = xp.searchsorted(starts, xp.arange(len(index)), side="right") - 1
    counts = xp.flatnonzero(index != (-1 if padding_idx is None else padding_idx % vocabulary))
    index, bag = index[counts], bag[counts]
    sizes = xp.bincount(bag, minlength=bags)
    rows = embedding(weight._result(index), weight, None, max_norm, norm_type, scale_grad_by_freq)
    if per_sample_weights is not None:
        rows = mul(rows, unsqueeze(index_select(reshape(per_sample_weights, -1), 0, weight._result(counts)), 1))
    if mode == "max" and len(index):
        return _largest(rows, sizes)
    total = index_add(weight._result(xp.zeros((bags, width), weight._array.dtype)), 0, weight._result(bag), rows)
    if mode == "sum":
        return total
    return div(total, weight._result(xp.maximum(sizes, 1)[:, None].astype(weight._array.dtype)))


def _largest(rows: Tensor, sizes: Any) -> Tensor:
    """The largest elements of each bag: rows (N, C), one bag after another, and their sizes (B,) -> (B, C)."""
    xp = rows._xp
    places = xp.arange(sizes.max())
    inside = places < sizes[:, None]
    row = xp.where(inside, (sizes.cumsum() - sizes)[:, None] + places, 0)
    spread = masked_fill(rows[rows._result(row)], rows._result(~inside[..., None]), -math.inf)
    return masked_fill(max(spread, 1).values, rows._result(sizes[:, None] == 0), 0)


def _check_bags(
    input: Tensor, weight: Tensor, offsets: Tensor | None, scale_grad_by_freq: bool, mode: str, sparse: bool,
    per_sample_weights: Tensor | None, padding_idx: int | None,
) -> None:  # fmt: skip
    name = "embedding_bag"
    require_tensor(name, "input", input)
    require_tensor(name, "weight", weight)
    index, w = ready(input), weight._array
    if w.ndim != 2:
        raise ValueError(f"{name}: weight has to be a 2D Tensor, (vocabulary, channels), but got shape {w.shape}")
    if index.ndim not in (1, 2):
        raise ValueError(f"{name}: input has to be 1D or 2D Tensor, but got shape {index.shape}")
    if mode not in ("sum", "mean", "max"):
        raise ValueError(f"{name}: mode has to be one of sum, mean or max, got {mode!r}")
    if mode == "max" and scale_grad_by_freq:
        raise ValueError(f"{name}: max mode does not support scaling the gradient by the frequency")
    if sparse:
        raise NotImplementedError(f"{name}: sparse gradients are not supported; use sparse=False")
    if per_sample_weights is not None:
        require_tensor(name, "per_sample_weights", per_sample_weights)
        if per_sample_weights._array.shape != index.shape:
            raise ValueError(
                f"{name}: per_sample_weights must have the same shape as the input, {index.shape}, got "
                f"{per_sample_weights._array.shape}"
            )
        if mode != "sum":
            raise NotImplementedError(f"{name}: per_sample_weights is only supported for mode='sum', got {mode!r}")
        require_same_dtype(name, weight=weight, per_sample_weights=per_sample_weights)
    if index.dtype.kind not in "iu":
        raise RuntimeError(f"{name}: expected integer indices, got {input.dtype.name}; convert them with .long()")
    if padding_idx is not None and not -len(w) <= padding_idx < len(w):
        raise RuntimeError(f"{name}: padding_idx must be a row of weight, 0 .. {len(w) - 1}, but got {padding_idx}")
    if index.size and not 0 <= index.min() <= index.max() < len(w):
        bad = index[(index < 0) | (index >= len(w))][0]
        raise RuntimeError(f"{name}: index {bad} is out of range for the {len(w)} rows of weight")
    if index.ndim == 2:
        if offsets is not None:
            raise ValueError(f"{name}: if input is 2D, then offsets has to be None, as its rows are the bags")
        return
    if offsets is None or offsets._array.ndim != 1:
        got = "None" if offsets is None else f"shape {offsets._array.shape}"
        raise ValueError(f"{name}: offsets has to be a 1D Tensor for an input of 1 dimension, but got {got}")
    starts = offsets._array
    if starts.dtype.kind not in "iu":
        raise RuntimeError(f"{name}: expected integer offsets, got {offsets.dtype.name}; convert them with .long()")
    if len(starts) and (starts[0] != 0 or starts[-1] > len(index) or (starts[1:] < starts[:-1]).any()):
        raise RuntimeError(
            f"{name}: offsets has to start from 0, not decrease, and not be greater than input's length {len(index)}; "
            f"got {starts.tolist()}"
        )
