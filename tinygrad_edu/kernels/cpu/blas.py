"""NumPy's own matrix product, called from compiled kernels: one thread multiplies one block of the result.

NumPy's BLAS has threads of its own. When they and the kernels' threads take turns, each set keeps the cores busy while
it waits, and a step becomes several times slower. So the kernels call the library's single-threaded product from their
own threads. The library is set to one thread during such a call only; other NumPy code is served as before.

This needs OpenBLAS, which NumPy's wheels for Linux and Windows bring. With another BLAS (Accelerate, MKL) `find()` says
None, and products stay with `np.matmul`.
"""

from __future__ import annotations

import ctypes
import functools
from typing import Any, NamedTuple

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic
from threadpoolctl import threadpool_info

from .. import shared_out
from . import threads
from .compiling import kernel
from .sharing import launch

ROW_MAJOR, PLAIN, TRANSPOSED = 101, 111, 112  # values of the CBLAS enumerations


class Blas(NamedTuple):
    """Addresses of three functions in the BLAS that NumPy uses."""

    sgemm: int
    get_threads: int
    set_threads: int


def find() -> Blas | None:
    """The BLAS that NumPy has loaded, if its functions can be called with 64-bit sizes; else None."""
    for library in threadpool_info():
        if library.get("internal_api") == "openblas" and library.get("threading_layer") == "pthreads":
            functions = ctypes.CDLL(library["filepath"])
            for prefix in ("scipy_", ""):
                names = "cblas_sgemm64_", "openblas_get_num_threads64_", "openblas_set_num_threads64_"
                found = [getattr(functions, prefix + name, None) for name in names]
                if all(found):
                    return Blas(*(ctypes.cast(f, ctypes.c_void_p).value or 0 for f in found))  # type: ignore[arg-type]
    return None


def _c_function(builder: Any, address: Any, result: ir.Type, arguments: list[ir.Type]) -> Any:
    return builder.inttoptr(address, ir.FunctionType(result, arguments).as_pointer())


_INT, _LONG, _FLOAT, _POINTER = ir.IntType(32), ir.IntType(64), ir.FloatType(), ir.IntType(8).as_pointer()


@intrinsic
def sgemm(typing_context, function, trans_a, trans_b, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc):
    """C (m, n) = alpha op(A) op(B) + beta C, all row-major; a, b and c are addresses, sizes in elements."""

    def generate(context, builder, signature, values):
        function, trans_a, trans_b, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc = values
        matrix = [_POINTER, _LONG]
        order = [_INT, _INT, _INT, _LONG, _LONG, _LONG, _FLOAT, *matrix, *matrix, _FLOAT, *matrix]
        call = _c_function(builder, function, ir.VoidType(), order)
        kind = [builder.trunc(t, _INT) for t in (trans_a, trans_b)]
        a, b, c = (builder.inttoptr(p, _POINTER) for p in (a, b, c))
        builder.call(call, [_INT(ROW_MAJOR), *kind, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc])
        return context.get_dummy_value()

    i, f = types.int64, types.float32
    return types.void(i, i, i, i, i, i, f, i, i, i, i, f, i, i), generate


@intrinsic
def call_get(typing_context, function):
    """The value of an `int f(void)`."""

    def generate(context, builder, signature, values):
        value = builder.call(_c_function(builder, values[0], _INT, []), [])
        return builder.sext(value, _LONG)

    return types.int64(types.int64), generate


@intrinsic
def call_set(typing_context, function, value):
    """Call a `void f(int)`."""

    def generate(context, builder, signature, values):
        builder.call(_c_function(builder, values[0], ir.VoidType(), [_INT]), [builder.trunc(values[1], _INT)])
        return context.get_dummy_value()

    return types.void(types.int64, types.int64), generate


@njit(inline="always")
def launch_with_blas(pool, n, arguments):
    """`launch` in a function whose first arguments are a `Blas`, which has one thread meanwhile."""
    before = call_get(arguments[1])
    call_set(arguments[2], 1)
    launch(pool, n, arguments)
    call_set(arguments[2], before)


@kernel(
    "int64, int64, int64, float32[:, :], float32[:, :], float32[::1], float32[:, ::1], int64, int64", launch_with_blas
)
def _multiply(first, last, function, get_threads, set_threads, a, b, bias, y, n_rows, n_columns):
    """y = a b + bias in n_rows * n_columns blocks, each by one thread; an empty bias is none."""
    f32 = np.float32
    n, m, k = y.shape[0], y.shape[1], a.shape[1]
    # An axis of size 1 may have any stride, so the other one is looked at too.
    a_is_plain = a.strides[1] == 4 and a.strides[0] >= 4 * k
    b_is_plain = b.strides[1] == 4 and b.strides[0] >= 4 * m
    trans_a, trans_b = (PLAIN if a_is_plain else TRANSPOSED), (PLAIN if b_is_plain else TRANSPOSED)
    lda, ldb = a.strides[0 if a_is_plain else 1] // 4, b.strides[0 if b_is_plain else 1] // 4
    beta = f32(0) if bias.size == 0 else f32(1)
    for block in range(first, last):
        top, bottom = block // n_columns * n // n_rows, (block // n_columns + 1) * n // n_rows
        left, right = block % n_columns * m // n_columns, (block % n_columns + 1) * m // n_columns
        if bias.size:
            for i in range(top, bottom):
                row, part = y[i, left:right], bias[left:right]
                for j in range(row.size):
                    row[j] = part[j]
        sgemm(
            function, trans_a, trans_b, bottom - top, right - left, k,
            f32(1), a.ctypes.data + top * a.strides[0], lda, b.ctypes.data + left * b.strides[1], ldb,
            beta, y.ctypes.data + (top * m + left) * 4, m,
        )  # fmt: skip


_NO_BIAS = np.empty(0, np.float32)
BLAS = find()


def product(a: Any, b: Any, bias: Any = None) -> Any:
    """a @ b + bias for matrices of float32 that are contiguous or the transpose of one that is."""
    (n, k), m = a.shape, b.shape[1]
    if BLAS is None or not n * m * k:
        y = a @ b
        return y if bias is None else np.add(y, bias, out=y)
    y = np.empty((n, m), np.float32)
    rows, columns = blocks(n, m, threads.number() if shared_out(a, m) else 1)
    _multiply(rows * columns, *BLAS, a, b, _NO_BIAS if bias is None else bias, y, rows, columns)
    return y


@functools.lru_cache(maxsize=1024)
def blocks(n: int, m: int, count: int) -> tuple[int, int]:
    """Into how many rows and columns of blocks to cut an (n, m) result for `count` threads.

    Each block reads its rows of a and its columns of b anew, so the best cut is the one with the least border.
    """
    cuts = [(rows, count // rows) for rows in range(1, count + 1) if count % rows == 0]
    return min(cuts, key=lambda cut: n * cut[1] + m * cut[0])
