"""Products of matrices by the kernels' own threads. Meaning: see ops/linalg.py."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...ops import linalg as ops
from ...ops.linalg import rows
from .. import WORTH
from .blas import product
from .compiling import kernel
from .twin import Twin, fits, is_plain, plain

_WIDTH, _HEIGHT = 128, 64


@kernel("float32[:, ::1], float32[::1]")
def _sum_rows(first, last, x, y):
    """y = the sum of all rows. Columns are shared out, so that the result does not depend on the number of threads."""
    for part in range(first, last):
        total = y[part * _WIDTH : (part + 1) * _WIDTH]
        total[:] = 0
        block = np.empty(total.size, np.float32)
        for top in range(0, x.shape[0], _HEIGHT):  # sums of sums: fewer roundings for each element
            block[:] = 0
            for i in range(top, min(top + _HEIGHT, x.shape[0])):
                row = x[i, part * _WIDTH : (part + 1) * _WIDTH]
                for j in range(block.size):
                    block[j] += row[j]
            for j in range(total.size):
                total[j] += block[j]


def sum_rows(x: Any) -> Any:
    """The sum of the rows of a contiguous float32 matrix."""
    y = np.empty(x.shape[1], np.float32)
    _sum_rows(-(-x.shape[1] // _WIDTH), x, y)
    return y


class Linear(Twin):
    op, saved_for = ops.Linear, ops.Linear.saved_for

    @staticmethod
    def accepts(x: Any, weight: Any, bias: Any) -> bool:
        return WORTH["linear"](x, weight, bias) and fits(x, weight, bias)

    @staticmethod
    def forward(xp: Any, x: Any, weight: Any, bias: Any) -> Any:
        r = rows(x)
        y = product(r, weight.T, bias)
        return y.reshape(*x.shape[:-1], len(weight)), (r, weight)

    @staticmethod
    def backward(xp: Any, saved: Any, gy: Any) -> Any:
        r, weight = saved
        g = plain(rows(gy))
        return (
            lambda: product(g, weight).reshape(*gy.shape[:-1], weight.shape[1]),
            lambda: product(g.T, r),
            lambda: sum_rows(g),
        )


class Matmul(Twin):
    """Of matrices, and of a stack and one matrix."""

    op = ops.Matmul
    saved_for = (1,), (0,)

    @staticmethod
    def accepts(a: Any, b: Any) -> bool:
        return WORTH["matmul"](a, b) and fits(a) and (is_plain(b) or is_plain(b.T))

    @staticmethod
    def forward(xp: Any, a: Any, b: Any) -> Any:
        r = rows(a)
        return product(r, b).reshape(*a.shape[:-1], b.shape[1]), (r, b)

    @staticmethod
    def backward(xp: Any, saved: Any, gy: Any) -> Any:
        r, b = saved
        g = plain(rows(gy))
        return lambda: product(g, b.T).reshape(*gy.shape[:-1], b.shape[0]), lambda: product(r.T, g)
