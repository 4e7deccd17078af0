"""Dropout that keeps no mask: it is drawn again in backward. Meaning: see ops/dropout.py."""

from __future__ import annotations

import math
from typing import Any

import cupy as cp
import numpy as np

from ...backend import philox
from ...backend.random import keeping
from ...ops import dropout as ops
from .source import accumulated, blocks_for, kernel
from .twin import Twin, fits, plain

MASK = "../../backend/philox+mask"  # the files of what a kernel needs that draws a mask
UNIT, CONSTANTS = f"{MASK}+dropout", {"THREADS": 256}
_SPAN = 8 * CONSTANTS["THREADS"]


def mask(dtype: Any, p: float = 0.0, seed: int = 0, counter: int = 0) -> Any:
    """A mask as an argument of a kernel for arrays of this dtype; by default the one that keeps everything."""
    record = np.dtype([("place", philox.PLACE), ("smallest", np.uint32), ("value", accumulated(dtype))], align=True)
    smallest, value = keeping(p)
    if smallest == 2**32:  # nothing is kept
        smallest, value = smallest - 1, 0.0
    if dtype == np.float16:  # so is the mask on the CPU
        value = float(np.float16(value))
    return np.array((philox.place(seed, counter), smallest, value), record)


class Dropout(Twin):
    """Saves where the mask is drawn from, and no array."""

    op = ops.Dropout

    @staticmethod
    def accepts(x: Any, *, p: float, seed: int, counter: int, apart: int | None = None) -> bool:
        return fits(x)

    @staticmethod
    def forward(xp: Any, x: Any, *, p: float, seed: int, counter: int, apart: int | None = None) -> Any:
        saved = x.size // math.prod(ops.mask_shape(x.shape, apart)), p, seed, counter
        return _multiplied(x, *saved), saved

    @staticmethod
    def backward(xp: Any, saved: Any, gy: Any) -> Any:
        return _multiplied(gy, *saved)


def _multiplied(x: Any, each: int, *drawn: Any) -> Any:
    """x times the mask, of which each number is for so many elements."""
    x, y = plain(x), cp.empty(x.shape, x.dtype)
    args = np.int64(x.size), np.int64(each), mask(x.dtype, *drawn), x, y
    kernel(UNIT, "dropout", x.dtype.name, **CONSTANTS)((blocks_for(x.size, _SPAN),), (CONSTANTS["THREADS"],), args)
    return y
