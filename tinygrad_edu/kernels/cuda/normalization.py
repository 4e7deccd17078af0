"""Normalising rows in one pass over memory. Meaning: see ops/normalization.py."""

from __future__ import annotations

import functools
from typing import Any

import cupy as cp
import numpy as np

from ...ops import normalization as ops
from ...ops.linalg import rows
from .source import accumulated, kernel, number, threads_for
from .sums import Biased, Residual, taken
from .twin import Twin, fits, plain

_PARTS = 512  # blocks of the backward; each leaves its share of the gradients of weight and bias
EACH = {2: 24, 4: 24, 8: 16}  # by bytes of a number: the most columns that a thread keeps in registers


def _accepts(x: Any, *others: Any) -> bool:
    return fits(x, *others) and x.shape[-1] <= 256 * EACH[x.dtype.itemsize]


def _forward(x: Any, weight: Any, bias: Any, eps: float, centred: bool) -> Any:
    """Saves x and two numbers for each row."""
    weight, bias = plain(weight), plain(bias)
    columns = x.shape[-1]
    n = x.size // columns
    y = cp.empty(x.shape, x.dtype)
    mean, rstd = cp.empty((2, n), accumulated(x.dtype))
    with taken(x) as terms:
        kernel("normalization", "normalise", x.dtype.name, EACH=1)(
            (n,), (threads_for(columns),),
            (*terms, weight, bias, np.int32(columns), number(eps, x.dtype), np.bool_(centred), y, mean, rstd),
        )  # fmt: skip
    return y, (rows(terms.result), mean, rstd, weight)


def _backward(saved: Any, gy: Any, centred: bool) -> Any:
    """The gradients of x, weight and bias, all computed as soon as one is asked for."""

    @functools.cache
    def gradients() -> Any:
        r, mean, rstd, weight = saved
        n, columns = r.shape
        threads, blocks = threads_for(columns), min(n, _PARTS)
        gx, parts = cp.empty(gy.shape, r.dtype), cp.empty((blocks, 2, columns), mean.dtype)
        kernel("normalization", "normalise_backward", r.dtype.name, EACH=-(-columns // threads))(
            (blocks,), (threads,),
            (r, mean, rstd, weight, plain(gy), np.int64(n), np.int32(columns), np.bool_(centred), gx, parts),
        )  # fmt: skip
        return gx, parts

    @functools.cache
    def of_parameters() -> Any:
        parts = gradients()[1]
        blocks, _, columns = parts.shape
        y = cp.empty(columns, gy.dtype), cp.empty(columns, gy.dtype)
        kernel("normalization", "add_parts", gy.dtype.name, EACH=1)(
            (-(-2 * columns // 32),), (32, 8), (parts, np.int32(blocks), np.int32(columns), *y)
        )
        return y

    return lambda: gradients()[0], lambda: of_parameters()[0], lambda: of_parameters()[1]


class LayerNorm(Twin):
    op, takes = ops.LayerNorm, (Biased, Residual)

    @staticmethod
    def accepts(x: Any, weight: Any, bias: Any, *, eps: float) -> bool:
        return _accepts(x, weight, bias)

    @staticmethod
    def forward(xp: Any, x: Any, weight: Any, bias: Any, *, eps: float) -> Any:
        return _forward(x, weight, bias, eps, centred=True)

    @staticmethod
    def backward(xp: Any, saved: Any, gy: Any) -> Any:
        return _backward(saved, gy, centred=True)


class RmsNorm(Twin):
    op, takes = ops.RmsNorm, (Biased, Residual)

    @staticmethod
    def accepts(x: Any, weight: Any, *, eps: float) -> bool:
        return _accepts(x, weight)

    @staticmethod
    def forward(xp: Any, x: Any, weight: Any, *, eps: float) -> Any:
        return _forward(x, weight, None, eps, centred=False)

    @staticmethod
    def backward(xp: Any, saved: Any, gy: Any) -> Any:
        return _backward(saved, gy, centred=False)[:2]
