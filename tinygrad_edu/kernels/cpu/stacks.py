"""Products of stacks of matrices, each by one of the kernels' threads."""

from __future__ import annotations

from typing import Any

import numpy as np

from .blas import BLAS, PLAIN, TRANSPOSED, launch_with_blas, sgemm
from .compiling import kernel

_FLOAT32 = np.dtype(np.float32)


def accept(a: Any, b: Any) -> bool:
    """Whether the kernel can multiply these: stacks (N, R, K) and (N, K, C) of float32 matrices that are contiguous or
    the transpose of ones that are."""
    return BLAS is not None and _is_stack(a) and _is_stack(b)


def _is_stack(x: Any) -> bool:
    return x.dtype == _FLOAT32 and x.ndim == 3 and (x.flags.c_contiguous or x.swapaxes(1, 2).flags.c_contiguous)


@kernel(
    "int64, int64, int64, float32[:, :, :], float32[:, :, :], float32[:, :, ::1], boolean, boolean", launch_with_blas
)
def _multiply(first, last, function, get_threads, set_threads, a, b, y, a_is_plain, b_is_plain):
    n, m, k = y.shape[1], y.shape[2], a.shape[2]
    for i in range(first, last):
        sgemm(
            function, PLAIN if a_is_plain else TRANSPOSED, PLAIN if b_is_plain else TRANSPOSED, n, m, k,
            np.float32(1), a.ctypes.data + i * a.strides[0], k if a_is_plain else n,
            b.ctypes.data + i * b.strides[0], m if b_is_plain else k,
            np.float32(0), y.ctypes.data + 4 * i * n * m, m,
        )  # fmt: skip


def product(a: Any, b: Any) -> Any:
    """a @ b."""
    assert BLAS is not None  # as accepted
    y = np.empty((len(a), a.shape[1], b.shape[2]), np.float32)
    _multiply(len(a), *BLAS, a, b, y, a.flags.c_contiguous, b.flags.c_contiguous)
    return y
