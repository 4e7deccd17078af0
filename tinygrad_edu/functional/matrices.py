"""More products of matrices, distances between points, and norms of vectors and matrices."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ..backend import dtypes
from .arguments import Dim, Number, cast, dim_index, dim_indices, require_tensor
from .elementwise import abs, add, clone, mul, where
from .linalg import bmm, chain_matmul, matmul, outer, require_same_dtype
from .precision import autocasts
from .reduction import amax, amin, norm, sum
from .shape import broadcast_tensors, diagonal, reshape, stack, unbind

if TYPE_CHECKING:
    from ..tensor import Tensor


# ---- products --------------------------------------------------------------------------------------------------------


@autocasts
def addbmm(input: Tensor, batch1: Tensor, batch2: Tensor, *, beta: Number = 1, alpha: Number = 1) -> Tensor:
    """beta * input + alpha * the sum over the batch of batch1 @ batch2. (N, P) + (B, N, M) @ (B, M, P) -> (N, P)."""
    require_tensor("addbmm", "input", input)
    return _plus(input, beta, sum(bmm(batch1, batch2), 0), alpha)


@autocasts
def addr(input: Tensor, vec1: Tensor, vec2: Tensor, *, beta: Number = 1, alpha: Number = 1) -> Tensor:
    """beta * input + alpha * outer(vec1, vec2). (N, M) + (N,) x (M,) -> (N, M)."""
    require_tensor("addr", "input", input)
    return _plus(input, beta, outer(vec1, vec2), alpha)


def _plus(input: Tensor, beta: Number, product: Tensor, alpha: Number) -> Tensor:
    scaled = product if alpha == 1 else mul(product, alpha)
    if beta == 0:  # then NaN in the input does not matter
        input = where(input._result(input._xp.zeros(input._array.shape, "bool")), input, 0)
    return add(input if beta == 1 else mul(input, beta), scaled)


ger = outer


def matrix_power(input: Tensor, n: int) -> Tensor:
    """The product of n copies of a square matrix (..., N, N), by repeated squaring; n = 0 gives the identity.

    RuntimeError: not square, a negative n (there is no inverse here).
    """
    require_tensor("matrix_power", "input", input)
    if input.ndim < 2 or input.shape[-1] != input.shape[-2]:
        raise RuntimeError(f"matrix_power: expected square matrices (..., N, N), got shape {tuple(input.shape)}")
    if n < 0:
        raise RuntimeError(f"matrix_power: n must not be negative, since matrices are not inverted here; got {n}")
    if n == 0:
        xp, shape = input._xp, input._array.shape
        identity = input._result(xp.eye(shape[-1], dtype=input._array.dtype))
        return where(input._result(xp.zeros(shape, "bool")), input, identity)
    if n == 1:
        return clone(input)
    half = matrix_power(input, n // 2) if n > 3 else input
    squared = matmul(half, half)
    return matmul(squared, input) if n % 2 else squared


@autocasts
def multi_dot(tensors: Sequence[Tensor]) -> Tensor:
    """The product of two or more matrices in the cheapest order; the first and last may be vectors."""
    given = list(tensors)
    if len(given) < 2:
        raise RuntimeError(f"multi_dot(): expected at least 2 tensors but got {len(given)}")
    row, column = given[0].ndim == 1, given[-1].ndim == 1
    matrices = [reshape(given[0], 1, -1) if row else given[0], *given[1:-1],
                reshape(given[-1], -1, 1) if column else given[-1]]  # fmt: skip
    found = chain_matmul(*matrices)
    return reshape(found, [n for n, dropped in zip(found.shape, (row, column), strict=True) if not dropped])


@autocasts
def vecdot(x: Tensor, y: Tensor, *, dim: int = -1) -> Tensor:
    """The dot products of vectors along dim, broadcast."""
    require_tensor("vecdot", "x", x)
    require_tensor("vecdot", "y", y)
    return sum(mul(x, y), dim)


@autocasts
def cross(input: Tensor, other: Tensor, dim: int | None = None) -> Tensor:
    """The cross product of vectors of three elements along dim (by default the first of size 3).

    RuntimeError: the dimension does not have size 3.
    """
    require_tensor("cross", "input", input)
    require_tensor("cross", "other", other)
    require_same_dtype("cross", input=input, other=other)
    a, b = broadcast_tensors(input, other)
    if dim is None:
        found = next((d for d, n in enumerate(a.shape) if n == 3), None)
        if found is None:
            raise RuntimeError(f"no dimension of size 3 in input, whose shape is {tuple(a.shape)}")
        dim = found
    at = dim_index(dim, a.ndim)
    if a.shape[at] != 3:
        raise RuntimeError(f"linalg.cross: inputs dimension {dim} must have length 3. Got {a.shape[at]}")
    (a1, a2, a3), (b1, b2, b3) = unbind(a, at), unbind(b, at)
    return stack([a2 * b3 - a3 * b2, a3 * b1 - a1 * b3, a1 * b2 - a2 * b1], at)


def linalg_cross(input: Tensor, other: Tensor, *, dim: int = -1) -> Tensor:
    """The cross product of vectors of three elements along dim. RuntimeError: it does not have size 3."""
    return cross(input, other, dim)


def linalg_diagonal(A: Tensor, *, offset: int = 0, dim1: int = -2, dim2: int = -1) -> Tensor:
    """The diagonals of matrices. A view."""
    return diagonal(A, offset, dim1, dim2)


# ---- norms -----------------------------------------------------------------------------------------------------------


@autocasts
def vector_norm(x: Tensor, ord: float = 2, dim: Dim = None, keepdim: bool = False, *, dtype: Any = None) -> Tensor:
    """The ord-norm (sum of |x|^ord)^(1/ord) along dim, or of all elements; see `norm`."""
    require_tensor("linalg.vector_norm", "x", x)
    x = x if dtype is None else cast(x, dtypes.as_dtype(dtype))
    if not dtypes.is_floating(x._array.dtype):
        raise RuntimeError(f"linalg.vector_norm: Expected a floating point tensor as input. Got {x.dtype}")
    return norm(x, ord, dim, keepdim)


@autocasts
def matrix_norm(
    A: Tensor, ord: Any = "fro", dim: Sequence[int] = (-2, -1), keepdim: bool = False, *, dtype: Any = None
) -> Tensor:
    """The norm of matrices: "fro", the root of the sum of squares; or the largest (ord > 0) or smallest sum of |A|.

    ord: 1 and -1 sum columns, inf and -inf rows. ValueError: an ord that needs singular values (2, -2, "nuc").
    RuntimeError: not a matrix.
    """
    require_tensor("linalg.matrix_norm", "A", A)
    A = A if dtype is None else cast(A, dtypes.as_dtype(dtype))
    if not dtypes.is_floating(A._array.dtype) or A.ndim < 2:
        raise RuntimeError(f"linalg.matrix_norm: expected a floating matrix, got {A.dtype} {tuple(A.shape)}")
    rows, columns = (dim_index(d, A.ndim) for d in dim)
    if rows == columns:
        raise RuntimeError(f"linalg.matrix_norm: dims must be different, got {tuple(dim)}")
    if ord == "fro":
        return norm(A, 2, (rows, columns), keepdim)
    summed = {1: rows, -1: rows, math.inf: columns, -math.inf: columns}
    if ord not in summed:
        raise ValueError(f"linalg.matrix_norm: ord={ord!r} is not offered; use 'fro', 1, -1, inf or -inf")
    sums = sum(abs(A), summed[ord], keepdim=True)
    found = (amax if ord > 0 else amin)(sums, columns if summed[ord] == rows else rows, True)
    return found if keepdim else reshape(found, [n for d, n in enumerate(A.shape) if d not in (rows, columns)])


def linalg_norm(A: Tensor, ord: Any = None, dim: Dim = None, keepdim: bool = False, *, dtype: Any = None) -> Tensor:
    """The norm of a vector or matrix: without ord, the root of the sum of squares; else by the number of dimensions.

    One dimension (or an integer dim): `vector_norm`; two: `matrix_norm`.
    """
    require_tensor("linalg.norm", "A", A)
    dims = None if dim is None else dim_indices(dim, A.ndim)
    if ord is None:
        return vector_norm(A, 2, dim, keepdim, dtype=dtype)
    if len(dims or A.shape) == 2:
        return matrix_norm(A, ord, dims or (0, 1), keepdim, dtype=dtype)
    if dims is None and A.ndim > 2:
        raise RuntimeError(
            f"linalg.norm: If dim is not specified but ord is, the input must be 1D or 2D. Got {A.ndim}D."
        )
    return vector_norm(A, ord, dim, keepdim, dtype=dtype)
