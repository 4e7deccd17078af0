"""How far apart, or how much alike, vectors are."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..backend.dtypes import is_floating
from .arguments import promote, require_tensor
from .elementwise import add, clamp, div, gt, logical_not, mul, sqrt, square, sub, where
from .indexing import masked_fill
from .linalg import matmul, require_same_dtype
from .precision import autocasts
from .reduction import norm, sum
from .shape import broadcast_tensors, transpose, unsqueeze

if TYPE_CHECKING:
    from ..tensor import Tensor


@autocasts
def cosine_similarity(x1: Tensor, x2: Tensor, dim: int = 1, eps: float = 1e-8) -> Tensor:
    """sum(x1 x2) / (max(|x1|, eps) max(|x2|, eps)) over dim: the cosine of the angle between vectors."""
    require_tensor("cosine_similarity", "x1", x1)
    require_tensor("cosine_similarity", "x2", x2)
    a, b = promote(x1, x2)
    if not is_floating(a._array.dtype):
        raise RuntimeError(f"cosine_similarity: expected a floating dtype, got {a.dtype.name}; convert with .float()")
    a, b = broadcast_tensors(a, b)
    length_a, length_b = (clamp(norm(x, 2, dim, keepdim=True), min=eps) for x in (a, b))
    return sum(mul(div(a, length_a), div(b, length_b)), dim)


def pairwise_distance(x1: Tensor, x2: Tensor, p: float = 2.0, eps: float = 1e-6, keepdim: bool = False) -> Tensor:
    """The p-norm of x1 - x2 + eps over the last dimension: (B, C), (B, C) -> (B); eps keeps it away from 0."""
    require_tensor("pairwise_distance", "x1", x1)
    require_tensor("pairwise_distance", "x2", x2)
    difference = add(sub(x1, x2), eps)
    return norm(difference, p, -1 if difference._array.ndim else None, keepdim)


@autocasts
def cdist(x1: Tensor, x2: Tensor, p: float = 2.0, compute_mode: str = "use_mm_for_euclid_dist_if_necessary") -> Tensor:
    """The p-norm distance of each vector of x1 to each of x2: (..., P, C), (..., R, C) -> (..., P, R).

    For p = 2 and more than 25 vectors |a - b|^2 is computed as |a|^2 + |b|^2 - 2 a b, which needs no memory for the
    P * R differences and is less exact for near vectors. compute_mode: "use_mm_for_euclid_dist" does so always,
    "donot_use_mm_for_euclid_dist" never. RuntimeError: shapes or dtypes that do not fit, p below 0.
    """
    modes = "use_mm_for_euclid_dist_if_necessary", "use_mm_for_euclid_dist", "donot_use_mm_for_euclid_dist"
    if compute_mode not in modes:
        raise ValueError(f"{compute_mode} is not a valid value for compute_mode; use one of {', '.join(modes)}")
    for argument, x in ("x1", x1), ("x2", x2):
        require_tensor("cdist", argument, x)
        if not is_floating(x._array.dtype):
            raise RuntimeError(f"cdist only supports floating-point dtypes, {argument} got: {x.dtype}")
        if x._array.ndim < 2:
            raise RuntimeError(f"cdist only supports at least 2D tensors, {argument} got: {x._array.ndim}D")
    require_same_dtype("cdist", x1=x1, x2=x2)
    a, b = x1._array.shape, x2._array.shape
    if a[-1] != b[-1]:
        raise RuntimeError(f"cdist: x1 and x2 must have the same number of columns. x1: {a[-1]} x2: {b[-1]}")
    if p < 0:
        raise RuntimeError(f"cdist only supports non-negative p values, got {p}")
    many = compute_mode == modes[1] or (compute_mode == modes[0] and max(a[-2], b[-2]) > 25)
    if p == 2 and many:
        return _euclidean_by_products(x1, x2)
    return norm(sub(unsqueeze(x1, -2), unsqueeze(x2, -3)), p, -1)


def _euclidean_by_products(x1: Tensor, x2: Tensor) -> Tensor:
    lengths = add(sum(square(x1), -1, keepdim=True), unsqueeze(sum(square(x2), -1), -2))
    squares = sub(lengths, mul(matmul(x1, transpose(x2, -2, -1)), 2))
    apart = gt(squares, 0)  # elsewhere the distance is 0, without a gradient
    return masked_fill(sqrt(where(apart, squares, 1)), logical_not(apart), 0)


@autocasts
def pdist(input: Tensor, p: float = 2.0) -> Tensor:
    """The p-norm distance of each two of N vectors, (N, C) -> (N (N - 1) / 2): 0 to 1, 0 to 2, ... 1 to 2, ..."""
    require_tensor("pdist", "input", input)
    if input._array.ndim != 2:
        raise RuntimeError(f"pdist only supports 2D tensors, got: {input._array.ndim}D")
    if not is_floating(input._array.dtype):
        raise RuntimeError(f"pdist only supports floating-point dtypes, got {input.dtype}")
    if p < 0:
        raise RuntimeError(f"pdist only supports non-negative p values, got {p}")
    i, j = input._xp.triu_indices(len(input._array), 1)
    return norm(sub(input[i], input[j]), p, -1)
