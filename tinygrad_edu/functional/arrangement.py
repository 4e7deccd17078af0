"""Tensors of at least so many dimensions, stacked, split and flipped as NumPy does it; and all pairs of elements."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from .arguments import is_tensor, on_tensor, require_tensor
from .indexing import index_select
from .shape import (
    cat,
    diag,
    flatten,
    flip,
    meshgrid,
    pad,
    reshape,
    split,
    stack,
    tensor_split,
    transpose,
    unsqueeze,
    vstack,
)

if TYPE_CHECKING:
    from ..tensor import Tensor


def _each(name: str, tensors: tuple[Any, ...], make: Any) -> Any:
    """`make` of one tensor, or a tuple of those of several, given apart or in one sequence."""
    if len(tensors) == 1 and is_tensor(tensors[0]):
        return make(tensors[0])
    given = tensors[0] if len(tensors) == 1 else tensors
    for x in given:
        require_tensor(name, "tensors", x)
    return tuple(make(x) for x in given)


def atleast_1d(*tensors: Any) -> Any:
    """The tensor, or each of several, with at least one dimension."""
    return _each("atleast_1d", tensors, lambda x: x if x._array.ndim else reshape(x, 1))


def atleast_2d(*tensors: Any) -> Any:
    """The tensor, or each of several, with at least two dimensions; new ones come first."""
    return _each("atleast_2d", tensors, _with_two)


def _with_two(x: Tensor) -> Tensor:
    return x if x._array.ndim > 1 else reshape(x, 1, -1)


def atleast_3d(*tensors: Any) -> Any:
    """The tensor, or each of several, with at least three dimensions; (N,) becomes (1, N, 1), (M, N) (M, N, 1)."""
    return _each("atleast_3d", tensors, lambda x: x if x._array.ndim > 2 else unsqueeze(_with_two(x), -1))


def dstack(tensors: Sequence[Tensor]) -> Tensor:
    """Joined along the third dimension; see `atleast_3d`."""
    return cat(_each("dstack", tuple(tensors), atleast_3d) if len(tensors) > 1 else [atleast_3d(*tensors)], 2)


def column_stack(tensors: Sequence[Tensor]) -> Tensor:
    """Joined along the columns; a tensor of at most one dimension is one column."""
    for x in tensors:
        require_tensor("column_stack", "tensors", x)
    return cat([x if x._array.ndim > 1 else reshape(x, -1, 1) for x in tensors], 1)


row_stack = vstack


@on_tensor
def hsplit(input: Tensor, indices_or_sections: int | Sequence[int]) -> tuple[Tensor, ...]:
    """Pieces along the columns: dimension 1, or dimension 0 of a one-dimensional tensor. Views."""
    return _split("hsplit", input, indices_or_sections, 1, 0 if input._array.ndim == 1 else 1)


@on_tensor
def vsplit(input: Tensor, indices_or_sections: int | Sequence[int]) -> tuple[Tensor, ...]:
    """Pieces along the rows. Views."""
    return _split("vsplit", input, indices_or_sections, 2, 0)


@on_tensor
def dsplit(input: Tensor, indices_or_sections: int | Sequence[int]) -> tuple[Tensor, ...]:
    """Pieces along the third dimension. Views."""
    return _split("dsplit", input, indices_or_sections, 3, 2)


def _split(name: str, input: Tensor, indices_or_sections: Any, ndim: int, dim: int) -> tuple[Tensor, ...]:
    if input._array.ndim < ndim:
        raise RuntimeError(f"{name} requires a tensor with at least {ndim} dimension(s), got one with {input.ndim}")
    n = input._array.shape[dim]
    if isinstance(indices_or_sections, int) and (indices_or_sections <= 0 or n % indices_or_sections):
        raise RuntimeError(f"{name}: the size {n} of dimension {dim} is not divisible into {indices_or_sections} parts")
    return tensor_split(input, indices_or_sections, dim)


def split_with_sizes(input: Tensor, split_sizes: Sequence[int], dim: int = 0) -> tuple[Tensor, ...]:
    """Pieces of these sizes along a dimension. Views."""
    return split(input, list(split_sizes), dim)


@on_tensor
def fliplr(input: Tensor) -> Tensor:
    """The columns in reverse order. RuntimeError: fewer than two dimensions."""
    if input._array.ndim < 2:
        raise RuntimeError(f"fliplr: input must be >= 2-d, got {input.ndim}-d")
    return flip(input, 1)


@on_tensor
def flipud(input: Tensor) -> Tensor:
    """The rows in reverse order. RuntimeError: no dimension."""
    if not input._array.ndim:
        raise RuntimeError("flipud: input must be >= 1-d, got 0-d")
    return flip(input, 0)


@on_tensor
def adjoint(input: Tensor) -> Tensor:
    """The last two dimensions exchanged (numbers here are real). A view. RuntimeError: one dimension."""
    if input._array.ndim == 1:
        raise RuntimeError("adjoint: is only supported on matrices or batches of matrices, got 1-D tensor")
    return transpose(input, -2, -1) if input._array.ndim else transpose(input, 0, 0)


@on_tensor
def diagflat(input: Tensor, offset: int = 0) -> Tensor:
    """The square matrix with all elements of input on its diagonal."""
    return diag(flatten(input), offset)


def block_diag(*tensors: Any) -> Tensor:
    """Matrices along the diagonal of one matrix, zeros elsewhere; (N,) counts as a row. RuntimeError: above two."""
    for x in tensors:
        require_tensor("block_diag", "tensors", x)
        if x._array.ndim > 2:
            raise RuntimeError(f"block_diag: tensors must have 2 or fewer dimensions, got {x.ndim}")
    blocks = [_with_two(x) for x in tensors]
    width, rows, left = sum(b._array.shape[1] for b in blocks), [], 0
    for block in blocks:
        n = block._array.shape[1]
        rows.append(pad(block, (left, width - left - n)))
        left += n
    return cat(rows, 0)


def cartesian_prod(*tensors: Any) -> Tensor:
    """Every combination of one element of each vector, as rows (N, number of vectors); of one vector, itself."""
    for x in tensors:
        require_tensor("cartesian_prod", "tensors", x)
        if x._array.ndim != 1:
            raise RuntimeError(f"cartesian_prod: expected one-dimensional tensors, got {x.ndim} dimensions")
    if len(tensors) == 1:
        return tensors[0]
    return stack([flatten(g) for g in meshgrid(*tensors, indexing="ij")], 1)


@on_tensor
def combinations(input: Tensor, r: int = 2, with_replacement: bool = False) -> Tensor:
    """Every choice of r elements of a vector, as rows, in the order of their positions."""
    if input._array.ndim != 1:
        raise RuntimeError(f"combinations: expected a one-dimensional tensor, got {input.ndim} dimensions")
    if r < 0:
        raise RuntimeError(f"combinations: expected a non-negative number of elements to choose, got {r}")
    choose = itertools.combinations_with_replacement if with_replacement else itertools.combinations
    if r == 0:
        return input._result(input._xp.zeros(0, input._array.dtype))
    chosen = list(choose(range(input._array.size), r))
    places = input._result(input._xp.array(chosen, "int64").reshape(-1))
    return reshape(index_select(input, 0, places), len(chosen), r)
