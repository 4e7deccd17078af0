"""Products of matrices while a graph is captured.

CuPy does not call cuBLAS in a capture, though cuBLAS can be captured. So `a @ b` of arrays calls it from here then, the
library that CuPy has loaded, with memory of its own to work in.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import math
import sys
from collections.abc import Iterator
from typing import Any

import cupy as cp
import numpy as np

from ...backend import capture, gpu

# By dtype: cudaDataType_t, cublasComputeType_t and the dtype of the factors alpha and beta.
_TYPES = {
    "float16": (2, 68, np.float32), "bfloat16": (14, 68, np.float32), "float32": (0, 68, np.float32),
    "float64": (1, 70, np.float64),
}  # fmt: skip
_IN_TF32 = 77
_WORKSPACE = 32 << 20  # bytes, what cuBLAS asks for on the largest GPUs
_DEFAULT_ALGORITHM = -1


@contextlib.contextmanager
def captured(stream: int) -> Iterator[None]:
    """Within it products can be captured in this stream."""
    if not refused_by_cupy():
        yield
        return
    blas, handle = library(), cp.cuda.device.get_cublas_handle()
    workspace = cp.empty(_WORKSPACE, np.uint8)  # of the graph: it lives as long
    _check(blas.cublasSetStream_v2(ctypes.c_void_p(handle), ctypes.c_void_p(stream)))
    _check(blas.cublasSetWorkspace_v2(
        ctypes.c_void_p(handle), ctypes.c_void_p(workspace.data.ptr), ctypes.c_size_t(_WORKSPACE)
    ))  # fmt: skip
    _check(blas.cublasSetPointerMode_v2(ctypes.c_void_p(handle), ctypes.c_int(0)))  # alpha and beta are the CPU's
    by_cupy = cp.ndarray.__matmul__

    def product_of(a: Any, b: Any) -> Any:
        ours = capture.current() is not None and type(b) is cp.ndarray and a.dtype == b.dtype
        return product(blas, handle, a, b) if ours and a.dtype.name in _TYPES else by_cupy(a, b)

    cp.ndarray.__matmul__ = product_of
    try:
        yield
    finally:
        del cp.ndarray.__matmul__  # what it inherits


def refused_by_cupy() -> bool:
    """Whether CuPy refuses products in a capture: for NVIDIA's GPUs."""
    return not cp.cuda.runtime.is_hip


@functools.cache
def library() -> Any:
    """cuBLAS, which CuPy has loaded."""
    major = cp.cuda.cublas.getVersion(cp.cuda.device.get_cublas_handle()) // 10000
    return ctypes.CDLL(f"cublas64_{major}.dll" if sys.platform == "win32" else f"libcublas.so.{major}")


def _check(status: int) -> None:
    if status:
        raise RuntimeError(f"cuBLAS answers with status {status}")


def product(blas: Any, handle: int, a: Any, b: Any) -> Any:
    """a @ b of arrays of one dtype; the axes before the last two broadcast."""
    left, right = a[None] if a.ndim == 1 else a, b[:, None] if b.ndim == 1 else b
    if left.shape[-1] != right.shape[-2]:
        raise ValueError(f"matmul: shapes {a.shape} and {b.shape} do not fit together")
    batch = np.broadcast_shapes(left.shape[:-2], right.shape[:-2])
    (n, k), m = left.shape[-2:], right.shape[-1]
    y = cp.empty((*batch, n, m), a.dtype) if k else cp.zeros((*batch, n, m), a.dtype)
    if y.size and k:
        kind, compute, scalar = _TYPES[a.dtype.name]
        compute = _IN_TF32 if a.dtype == np.float32 and not batch and gpu.tf32_allowed() else compute
        (left, *of_left), (right, *of_right) = _as_columns(left, batch), _as_columns(right, batch)
        one, zero = (np.array(x, scalar) for x in (1, 0))
        # cuBLAS goes down columns: to it rows are columns, and y is the product of b and a transposed.
        _check(blas.cublasGemmStridedBatchedEx(
            ctypes.c_void_p(handle), ctypes.c_int(of_right[0]), ctypes.c_int(of_left[0]),
            ctypes.c_int(m), ctypes.c_int(n), ctypes.c_int(k), ctypes.c_void_p(one.ctypes.data),
            *_operand(right, kind, *of_right[1:]), *_operand(left, kind, *of_left[1:]),
            ctypes.c_void_p(zero.ctypes.data), *_operand(y, kind, m, n * m),
            ctypes.c_int(math.prod(batch)), ctypes.c_int(compute), ctypes.c_int(_DEFAULT_ALGORITHM),
        ))  # fmt: skip
    y = y[..., 0, :] if a.ndim == 1 else y
    return y[..., 0] if b.ndim == 1 else y


def _operand(x: Any, kind: int, leading: int, apart: int) -> tuple[Any, ...]:
    return ctypes.c_void_p(x.data.ptr), ctypes.c_int(kind), ctypes.c_int(leading), ctypes.c_longlong(apart)


def _as_columns(x: Any, batch: tuple[int, ...]) -> tuple[Any, int, int, int]:
    """x as cuBLAS can read it, whether it is to transpose that (1) or not (0), how many elements one column is after
    another, and one matrix after another."""
    rows, columns = x.shape[-2:]
    if x.shape[:-2] != batch and math.prod(x.shape[:-2]) != 1:
        x = cp.broadcast_to(x, (*batch, rows, columns))
    apart = 0 if math.prod(x.shape[:-2]) == 1 else rows * columns
    down, along = (stride // x.itemsize for stride in x.strides[-2:])
    if x.ndim == 2 and along == 1 and down >= columns:
        return x, 0, down, apart
    if x.ndim == 2 and down == 1 and along >= rows:
        return x, 1, along, apart
    if x.swapaxes(-1, -2).flags.c_contiguous:
        return x, 1, rows, apart
    return cp.ascontiguousarray(x), 0, columns, apart
