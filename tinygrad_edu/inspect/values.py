"""What a trace keeps of an array: statistics in one pass over it, a sample of its elements, or all of them."""

from __future__ import annotations

import functools
import math
from typing import Any, Literal

import numpy as np

from ..backend.device import quiet
from ..backend.dtypes import is_floating
from .record import ValueRecord

Level = Literal["none", "stats", "sample", "full"]
LEVELS = ("none", "stats", "sample", "full")

WHOLE = 256  # an array of at most so many elements is its own sample
CORNER = 8  # the sides of the corner block of a larger one
COUNTED = 1024  # about so many elements of an array enter its histogram
BINS = 16
_CHUNK = 1 << 17  # elements looked at together: few enough to stay in the cache for the whole pass
_ROW = 1 << 12  # elements added up in their own precision


class Looker:
    """Makes ValueRecords at one level. Histograms are counted at the end, of all arrays in one go."""

    def __init__(self, level: Level) -> None:
        self.level = level
        self._sampled: list[tuple[ValueRecord, np.ndarray]] = []

    def look(self, array: Any, same: ValueRecord | None = None, as_: Any = None) -> ValueRecord | None:
        """The record of an array. `same`, if given, is that of an array which may have the same elements: of `as_`."""
        if self.level == "none":
            return None
        x = on_host(array)
        with quiet:
            return self._look(x, same, as_)

    def _look(self, x: np.ndarray, same: ValueRecord | None, as_: Any) -> ValueRecord:
        if same is not None and (as_ is None or same_elements(x, on_host(as_))):
            record = ValueRecord(
                same.size, same.min, same.max, same.mean, same.std, same.zeros, same.nans, same.infs, same.histogram
            )
        else:
            flat = in_memory_order(x)
            record = statistics(flat)
            if record.min is not None:
                self._sampled.append((record, spread(flat)))
        if self.level != "stats":
            record.sample = corner(x)
        if self.level == "full":
            record.full = x.copy()
        return record

    def finish(self) -> None:
        """Fill in the histograms."""
        by_length: dict[int, list[tuple[ValueRecord, np.ndarray]]] = {}
        for record, x in self._sampled:
            by_length.setdefault(len(x), []).append((record, x))
        self._sampled = []
        for group in by_length.values():
            limits = np.array([(record.min, record.max) for record, _ in group])
            with quiet:
                found = histograms(np.stack([x for _, x in group]), limits[:, :1], limits[:, 1:])
            for (record, _), counts in zip(group, found, strict=True):
                record.histogram[:] = counts  # in place: records of the same elements share the list


def on_host(array: Any) -> np.ndarray:
    """The array as NumPy's; one on a GPU comes over."""
    return np.asarray(array.get() if hasattr(array, "get") else array)


def all_on_host(inputs: list[Any]) -> list[Any]:
    """The inputs of an operation, the arrays among them as NumPy's."""
    return [on_host(x) if hasattr(x, "shape") else x for x in inputs]


def same_values(x: Any, y: np.ndarray) -> bool:
    """Whether all elements are equal; NaN is equal to NaN."""
    return np.array_equal(on_host(x), y, equal_nan=is_floating(y.dtype))


def statistics(flat: np.ndarray) -> ValueRecord:
    """All of a ValueRecord but histogram and elements, of an array of one axis.

    Mean and squared deviation are found chunk by chunk and joined as in Chan, Golub and LeVeque 1983, "Algorithms for
    computing the sample variance", equation 2.1b, so that neither a large mean nor a large array costs accuracy.
    """
    record = ValueRecord(flat.size)
    if not is_floating(flat.dtype):
        flat = flat.astype(np.float64)
    elif flat.dtype.itemsize < 4:
        flat = flat.astype(np.float32)
    n, mean, squares, low, high = 0, 0.0, 0.0, math.inf, -math.inf
    for start in range(0, flat.size, _CHUNK):
        chunk = flat[start : start + _CHUNK]
        total, square = _sums(chunk)
        if not math.isfinite(square):  # of a NaN, an infinity, or too large numbers
            record.nans += int(np.count_nonzero(np.isnan(chunk)))
            record.infs += int(np.count_nonzero(np.isinf(chunk)))
            chunk = chunk[np.isfinite(chunk)].astype(np.float64)
            if not len(chunk):
                continue
            total, square = float(chunk.sum()), float(chunk @ chunk)
        m = len(chunk)
        low_here, high_here = float(np.minimum.reduce(chunk)), float(np.maximum.reduce(chunk))
        low, high = min(low, low_here), max(high, high_here)
        if low_here <= 0 <= high_here:
            record.zeros += int(np.count_nonzero(chunk == 0))
        average = total / m
        deviation = square - total * average
        if deviation < square / 4:  # what is left would be mostly rounding errors
            average = float(np.mean(chunk, dtype=np.float64))
            centred = chunk - chunk.dtype.type(average)
            deviation = float(centred @ centred)
        difference = average - mean
        mean += difference * m / (n + m)
        squares += deviation + difference * difference * n * m / (n + m)
        n += m
    if n:
        record.min, record.max, record.mean, record.std = low, high, mean, math.sqrt(squares / n)
    return record


def _sums(chunk: np.ndarray) -> tuple[float, float]:
    """The sum of the elements and of their squares: products of rows, at the speed of BLAS, added up in float64."""
    cut = len(chunk) // _ROW * _ROW
    rows, rest, ones = chunk[:cut].reshape(-1, _ROW), chunk[cut:], _ones(chunk.dtype)
    total = np.add.reduce(rows @ ones, dtype=np.float64) + float(rest @ ones[: len(rest)])
    square = np.add.reduce(np.vecdot(rows, rows), dtype=np.float64) + float(rest @ rest)
    return float(total), float(square)


@functools.cache
def _ones(dtype: np.dtype) -> np.ndarray:
    return np.ones(_ROW, dtype)


def in_memory_order(x: np.ndarray) -> np.ndarray:
    """The elements in one row, in the order of memory: a view where there are no gaps between them."""
    if x.flags.c_contiguous:
        return x.reshape(-1)
    return x.transpose(sorted(range(x.ndim), key=lambda axis: -abs(x.strides[axis]))).reshape(-1)


def same_elements(x: np.ndarray, y: np.ndarray) -> bool:
    """Whether two arrays show the same elements of memory, maybe in another order or shape. It may miss some."""
    if x is y:
        return True
    if x.size != y.size or x.dtype != y.dtype or not x.size:
        return False
    if x.base is not y and y.base is not x and (x.base is None or x.base is not y.base):
        return False
    bounds = np.lib.array_utils.byte_bounds(x)
    return bounds == np.lib.array_utils.byte_bounds(y) and bounds[1] - bounds[0] == x.nbytes


def spread(flat: np.ndarray) -> np.ndarray:
    """The finite elements of a small array, or about COUNTED evenly spaced ones of a larger, as float32 or float64."""
    step = -(-flat.size // COUNTED)
    # Odd, so that it visits all columns of a matrix whose rows have a power of two elements.
    flat = flat[:: step + (step % 2 == 0 and step > 1)]
    flat = flat.astype(np.float64 if flat.dtype.itemsize == 8 or not is_floating(flat.dtype) else np.float32)
    finite = np.isfinite(flat)
    return flat if finite.all() else flat[finite]


def histograms(rows: np.ndarray, low: np.ndarray, high: np.ndarray) -> list[list[int]]:
    """For each row, how many elements lie in each of BINS equal bins from its low to its high, each (N, 1)."""
    if not rows.shape[1]:
        return [[0] * BINS] * len(rows)
    width = high / BINS - low / BINS  # no overflow
    bins = ((rows - low) / np.where(width > 0, width, 1)).astype(np.int64)
    bins = np.clip(bins, 0, BINS - 1) + BINS * np.arange(len(rows))[:, None]
    return np.bincount(bins.reshape(-1), minlength=BINS * len(rows)).reshape(-1, BINS).tolist()


def corner(x: np.ndarray) -> np.ndarray:
    """The sample of an array: see ValueRecord.sample."""
    if x.size <= WHOLE:
        return x.copy()
    first = (slice(0, 1),) * (x.ndim - 2)
    return x[(*first, *(slice(0, CORNER),) * min(x.ndim, 2))].copy()
