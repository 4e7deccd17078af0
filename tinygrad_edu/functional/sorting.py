"""Sorting, the largest elements, and search in sorted values."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ..backend.dtypes import wide
from .arguments import dim_index, on_tensor, require_tensor
from .indexing import gather
from .shape import flatten, reshape

if TYPE_CHECKING:
    from ..tensor import Tensor


class ValuesAndIndices(NamedTuple):
    """Values and where they came from along the dimension."""

    values: Tensor
    indices: Tensor


def _picked(input: Tensor, at: int, indices: Any) -> ValuesAndIndices:
    positions = input._result(indices)
    return ValuesAndIndices(gather(input, at, positions), positions)


def _order(xp: Any, array: Any, axis: int, descending: bool) -> Any:
    """The indices that sort an array. Equal elements keep their order; NaN counts as the largest."""
    array = wide(array)
    if not descending:
        return xp.argsort(array, axis=axis, kind="stable")
    # Sorting the reversed array upwards and reading the result backwards keeps equal elements in order as well.
    backwards = xp.flip(xp.argsort(xp.flip(array, axis), axis=axis, kind="stable"), axis)
    return array.shape[axis] - 1 - backwards


@on_tensor
def sort(input: Tensor, dim: int = -1, descending: bool = False, *, stable: bool = False) -> ValuesAndIndices:
    """(values, indices) in ascending or descending order along a dimension.

    Equal elements keep their order whether or not it is asked for; NaN counts as the largest.
    """
    at = dim_index(dim, input._array.ndim)
    if not input._array.ndim:
        values, indices = sort(flatten(input), 0)
        return ValuesAndIndices(reshape(values, ()), reshape(indices, ()))
    return _picked(input, at, _order(input._xp, input._array, at, descending))


@on_tensor
def argsort(input: Tensor, dim: int = -1, descending: bool = False, *, stable: bool = False) -> Tensor:
    """The indices that sort the input along a dimension; see `sort`."""
    at = dim_index(dim, input._array.ndim)
    if not input._array.ndim:
        return input._result(input._xp.zeros((), np.int64))
    return input._result(_order(input._xp, input._array, at, descending))


@on_tensor
def msort(input: Tensor) -> Tensor:
    """Sorted along the first dimension."""
    return sort(input, 0).values


@on_tensor
def topk(input: Tensor, k: int, dim: int = -1, largest: bool = True, sorted: bool = True) -> ValuesAndIndices:
    """(values, indices) of the k largest (or smallest) elements along dim, in order: (B, C) -> (B, k) each.

    indices are int64. RuntimeError: k is negative or larger than the dimension.
    """
    at = dim_index(dim, input._array.ndim)
    if not input._array.ndim:
        values, indices = topk(flatten(input), k)
        return ValuesAndIndices(reshape(values, values.shape[: k and 0]), reshape(indices, indices.shape[: k and 0]))
    n, xp = input._array.shape[at], input._xp
    if not 0 <= k <= n:
        raise RuntimeError(f"selected index k out of range: k is {k}, the dimension has size {n}")
    array = xp.moveaxis(wide(input._array), at, -1)
    if 0 < k < n:  # take the k of interest apart first: cheaper than sorting all
        part = xp.argpartition(array, n - k if largest else k - 1, -1)
        part = xp.sort(part[..., n - k :] if largest else part[..., :k], -1)
        order = _order(xp, xp.take_along_axis(array, part, -1), -1, largest)
        indices = xp.take_along_axis(part, order, -1)
    else:
        indices = _order(xp, array, -1, largest)[..., :k]
    return _picked(input, at, xp.moveaxis(indices, -1, at))


@on_tensor
def kthvalue(input: Tensor, k: int, dim: int = -1, keepdim: bool = False) -> ValuesAndIndices:
    """(values, indices) of the k-th smallest element along a dimension; k counts from 1."""
    at = dim_index(dim, input._array.ndim)
    n = input._array.shape[at] if input._array.ndim else 1
    if not 1 <= k <= n:
        raise RuntimeError(f"kthvalue(): selected number k out of range for dimension {at}: k is {k}, size is {n}")
    if not input._array.ndim:
        return sort(input)
    order = _order(input._xp, input._array, at, False)
    picked = _picked(input, at, order[(slice(None),) * at + (slice(k - 1, k),)])
    if keepdim:
        return picked
    shape = input.shape[:at] + input.shape[at + 1 :]
    return ValuesAndIndices(reshape(picked.values, shape), reshape(picked.indices, shape))


@on_tensor
def unique(
    input: Tensor,
    sorted: bool = True,
    return_inverse: bool = False,
    return_counts: bool = False,
    dim: int | None = None,
) -> Any:
    """The different elements (with dim: the different slices along it) in ascending order.

    Also, if asked for, the place of each input element among them, and how often each occurs. Each NaN is different.
    """
    array, xp = wide(input._array), input._xp
    axis = None if dim is None else dim_index(dim, array.ndim)
    found, inverse, counts = xp.unique(
        array, return_inverse=True, return_counts=True, axis=axis if array.ndim else None, equal_nan=False
    )
    parts = [found.astype(input._array.dtype, copy=False)]
    if return_inverse:
        parts.append(inverse.reshape(array.shape if axis is None else (array.shape[axis],)))
    if return_counts:
        parts.append(counts)
    results = tuple(input._result(xp.asarray(p)) for p in parts)
    return results if len(results) > 1 else results[0]


def searchsorted(
    sorted_sequence: Tensor,
    input: Any,
    *,
    out_int32: bool = False,
    right: bool = False,
    side: str | None = None,
    sorter: Tensor | None = None,
) -> Tensor:
    """Where each value would be inserted into a sorted sequence: before equal elements, or after them (right=True).

    The sequence has one dimension, or the same leading dimensions as the values: then each row is searched in its own.
    sorter: indices that sort the sequence, if it is not sorted.
    """
    require_tensor("searchsorted", "sorted_sequence", sorted_sequence)
    if side not in (None, "left", "right"):
        raise RuntimeError(f"searchsorted(): side can only be 'left' or 'right' but got {side}")
    if side == "left" and right:
        raise RuntimeError("searchsorted(): side and right can't be set to opposites, got side of left while right")
    sequence, xp = wide(sorted_sequence._array), sorted_sequence._xp
    values = wide(input._array) if hasattr(input, "_array") else xp.asarray(input)
    at_right = "right" if right or side == "right" else "left"
    if sequence.ndim == 0 or (sequence.ndim > 1 and sequence.shape[:-1] != values.shape[:-1]):
        raise RuntimeError(
            "searchsorted(): boundaries tensor should be 1 dimension or the first N-1 dimensions of boundaries tensor "
            f"and input value tensor must match, got {tuple(sequence.shape)} and {tuple(values.shape)}"
        )
    if sorter is not None:
        sequence = xp.take_along_axis(sequence, sorter._array, -1)
    if sequence.ndim == 1:
        found = xp.searchsorted(sequence, values, at_right)
    else:
        n = math.prod(values.shape[:-1])
        rows = zip(sequence.reshape(n, sequence.shape[-1]), values.reshape(n, values.shape[-1]), strict=True)
        found = xp.asarray([xp.searchsorted(s, v, at_right) for s, v in rows]).reshape(values.shape)
    return sorted_sequence._result(xp.asarray(found, np.int32 if out_int32 else np.int64))


def isin(elements: Any, test_elements: Any, *, assume_unique: bool = False, invert: bool = False) -> Tensor:
    """Whether each element is among the test elements (invert=True: is not). One of the two may be a number."""
    maker = elements if hasattr(elements, "_array") else test_elements
    a, b = (wide(x._array) if hasattr(x, "_array") else x for x in (elements, test_elements))
    return maker._result(maker._xp.asarray(maker._xp.isin(a, b, assume_unique=assume_unique, invert=invert)))
