"""Sums and means of many elements, over the first axes, the last ones or all. Meaning: see ops/reduction.py.

A sum is made of the sums of blocks, and those in the same way. The blocks are the same for any number of threads.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ...ops import reduction as ops
from .. import WORTH
from .arithmetic import f32
from .compiling import kernel
from .twin import Twin, fits

_WIDTH = 4096  # columns in a block
_HEIGHT = 128  # rows in a block


@kernel("float32[:, ::1], float32[:, ::1]")
def _sum_along_rows(first, last, x, y):
    """y[i, b] = the sum of block b of row i."""
    for k in range(first, last):
        i, b = k // y.shape[1], k % y.shape[1]
        block, total = x[i, b * _WIDTH : (b + 1) * _WIDTH], f32(0)
        for j in range(block.size):
            total += block[j]
        y[i, b] = total


@kernel("float32[:, ::1], float32[:, ::1]")
def _sum_over_rows(first, last, x, y):
    """y[b] = the sum of the rows of block b."""
    parts = (y.shape[1] + _WIDTH - 1) // _WIDTH
    for k in range(first, last):
        b, left = k // parts, k % parts * _WIDTH
        out = y[b, left : left + _WIDTH]
        out[:] = 0
        for i in range(b * _HEIGHT, min((b + 1) * _HEIGHT, x.shape[0])):
            row = x[i, left : left + _WIDTH]
            for j in range(row.size):
                out[j] += row[j]


def total(x: Any, axis: tuple[int, ...], keepdims: bool) -> Any:
    """The sum along the first axes, or the last ones."""
    shape = [1 if i in axis else n for i, n in enumerate(x.shape) if keepdims or i not in axis]
    kept = math.prod(shape)
    if max(axis) == x.ndim - 1:
        y = x.reshape(kept, -1)
        while y.shape[1] > 1:
            parts, y = y, np.empty((kept, -(-y.shape[1] // _WIDTH)), np.float32)
            _sum_along_rows(y.size, parts, y)
    else:
        y = x.reshape(-1, kept)
        while len(y) > 1:
            parts, y = y, np.empty((-(-len(y) // _HEIGHT), kept), np.float32)
            _sum_over_rows(len(y) * -(-kept // _WIDTH), parts, y)
    return y.reshape(shape)


class Sum(Twin):
    op = ops.Sum
    backward = ops.Sum.backward

    @staticmethod
    def accepts(x: Any, *, axis: tuple[int, ...], keepdims: bool) -> bool:
        return WORTH["sum"](x, axis=axis, keepdims=keepdims) and fits(x)

    @staticmethod
    def forward(xp: Any, x: Any, *, axis: tuple[int, ...], keepdims: bool) -> Any:
        return total(x, axis, keepdims), (x.shape, axis)


class Mean(Twin):
    op = ops.Mean
    accepts, backward = Sum.accepts, ops.Mean.backward

    @staticmethod
    def forward(xp: Any, x: Any, *, axis: tuple[int, ...], keepdims: bool) -> Any:
        y = total(x, axis, keepdims)
        n = x.size // y.size
        return y / n, (x.shape, axis, n)
