"""Products of matrices by the kernels' own threads. Meaning: see ops/linalg.py."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import prange

from ...ops import linalg as ops
from ...ops.linalg import rows
from .blas import product
from .compiling import kernel
from .twin import Twin, fits


@kernel("void(float32[:, ::1], float32[::1])")
def _sum_rows(x, y):
    """y = the sum of all rows. Columns are shared out, so that the result does not depend on the number of threads."""
    width = 64
    for part in prange((x.shape[1] + width - 1) // width):
        left, right = part * width, min((part + 1) * width, x.shape[1])
        y[left:right] = 0
        for top in range(0, x.shape[0], 64):  # sums of sums: the rounding error grows with the root of the rows at most
            block = np.zeros(width, np.float32)
            for i in range(top, min(top + 64, x.shape[0])):
                for j in range(right - left):
                    block[j] += x[i, left + j]
            for j in range(right - left):
                y[left + j] += block[j]


def sum_rows(x: Any) -> Any:
    """The sum of the rows of a contiguous float32 matrix."""
    y = np.empty(x.shape[1], np.float32)
    _sum_rows(x, y)
    return y


class Linear(Twin):
    op = ops.Linear
    saved_for = ops.Linear.saved_for

    @staticmethod
    def accepts(x: Any, weight: Any, bias: Any) -> bool:
        return fits(x, weight, bias)

    @staticmethod
    def forward(xp: Any, x: Any, weight: Any, bias: Any) -> Any:
        r = rows(x)
        y = product(r, weight.T, bias)
        return y.reshape(*x.shape[:-1], len(weight)), (r, weight)

    @staticmethod
    def backward(xp: Any, saved: Any, gy: Any) -> Any:
        r, weight = saved
        g = np.ascontiguousarray(rows(gy))
        return (
            lambda: product(g, weight).reshape(*gy.shape[:-1], weight.shape[1]),
            lambda: product(g.T, r),
            lambda: sum_rows(g),
        )
