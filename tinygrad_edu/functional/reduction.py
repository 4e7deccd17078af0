"""Reductions along dimensions: sums, means, extremes, norms; and running sums and products.

Everywhere `dim` is one dimension, several, or None for all; `keepdim` keeps them with size 1. NumPy's names `axis` and
`keepdims` are understood too.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from ..backend import dtypes
from ..dispatch import apply
from ..ops import reduction as ops
from .arguments import Dim, cast, dim_index, dim_indices, on_tensor, to_floating
from .elementwise import abs, clone, isnan, maximum, minimum, ne, where
from .indexing import gather
from .precision import autocasts
from .shape import squeeze
from .sorting import ValuesAndIndices

if TYPE_CHECKING:
    from ..tensor import Tensor


class MinMax(NamedTuple):
    """The smallest and the largest element."""

    min: Any
    max: Any


def _summable(input: Tensor, dtype: Any) -> Tensor:
    """input in the dtype that it is added or multiplied up in: integers and booleans as int64."""
    if dtype is not None:
        return cast(input, dtypes.as_dtype(dtype))
    return input if dtypes.is_floating(input._array.dtype) else cast(input, dtypes.int64)


def _require_floating(name: str, input: Tensor) -> None:
    if not dtypes.is_floating(input._array.dtype):
        raise RuntimeError(
            f"{name}(): could not infer output dtype. Input dtype must be a floating point dtype, got {input.dtype}; "
            "convert it first, for example by .float()"
        )


def _require_elements(name: str, input: Tensor, dim: Any, error: type[Exception] = RuntimeError) -> None:
    """There is no largest or smallest of nothing."""
    if dim is None or (isinstance(dim, Sequence) and len(dim) == 0):
        if input.numel() == 0:
            raise error(f"{name}(): Expected reduction dim to be specified for input.numel() == 0.")
        return
    for d in dim_indices(dim, input.ndim):
        if input.shape[d] == 0:
            raise IndexError(f"{name}(): Expected reduction dim {d} to have non-zero size.")


# ---- sums and products ---------------------------------------------------------------------------------------------


@autocasts
@on_tensor
def sum(input: Tensor, dim: Dim = None, keepdim: bool = False, *, dtype: Any = None) -> Tensor:
    """The sum over dim: (B, T, C) with dim 1 gives (B, C), with keepdim (B, 1, C), without dim a 0-d tensor.

    dim: one, several, or None for all. Integers and booleans give int64, unless dtype says otherwise. IndexError: no
    such dim.
    """
    return apply(ops.Sum, _summable(input, dtype), axis=dim_indices(dim, input._array.ndim), keepdims=keepdim)


@on_tensor
def mean(input: Tensor, dim: Dim = None, keepdim: bool = False, *, dtype: Any = None) -> Tensor:
    """The sum over dim divided by the number of elements; NaN of none. Shapes and dim as of `sum`.

    RuntimeError: integers or booleans without a floating dtype, such as dtype=float32.
    """
    x = input if dtype is None else cast(input, dtypes.as_dtype(dtype))
    _require_floating("mean", x)
    return apply(ops.Mean, x, axis=dim_indices(dim, x._array.ndim), keepdims=keepdim)


@autocasts
@on_tensor
def prod(input: Tensor, dim: int | None = None, keepdim: bool = False, *, dtype: Any = None) -> Tensor:
    """The product along dim, or of all elements. Integers and booleans give int64, unless dtype says otherwise."""
    axis = tuple(range(input.ndim)) if dim is None else dim_indices(dim_index(dim, input.ndim), input.ndim)
    return apply(ops.Prod, _summable(input, dtype), axis=axis, keepdims=keepdim)


@on_tensor
def nansum(input: Tensor, dim: Dim = None, keepdim: bool = False, *, dtype: Any = None) -> Tensor:
    """The sum along dim with NaN counted as zero."""
    return sum(where(isnan(input), 0, input), dim, keepdim, dtype=dtype)


@on_tensor
def count_nonzero(input: Tensor, dim: Dim = None) -> Tensor:
    """The number of elements along dim that are not zero."""
    return sum(ne(input, 0), dim)


@autocasts
@on_tensor
def cumsum(input: Tensor, dim: int, *, dtype: Any = None) -> Tensor:
    """The running sum along dim: y[i] = x[0] + ... + x[i], in the input's shape. Integers and booleans give int64."""
    return _running(ops.Cumsum, input, dim, dtype)


@autocasts
@on_tensor
def cumprod(input: Tensor, dim: int, *, dtype: Any = None) -> Tensor:
    """The product of each element and those before it along dim."""
    return _running(ops.Cumprod, input, dim, dtype)


def _running(op: Any, input: Tensor, dim: int, dtype: Any) -> Tensor:
    x, axis = _summable(input, dtype), dim_index(dim, input.ndim)
    return apply(op, x, axis=axis) if x.ndim else clone(x)


# ---- extremes ------------------------------------------------------------------------------------------------------


@on_tensor
def amax(input: Tensor, dim: Dim = None, keepdim: bool = False) -> Tensor:
    """The largest element along dim; equal ones share the gradient. RuntimeError, IndexError: there is none."""
    _require_elements("amax", input, dim)
    return apply(ops.Amax, input, axis=dim_indices(dim, input._array.ndim), keepdims=keepdim)


@on_tensor
def amin(input: Tensor, dim: Dim = None, keepdim: bool = False) -> Tensor:
    """The smallest element along dim; equal ones share the gradient. RuntimeError, IndexError: there is none."""
    _require_elements("amin", input, dim)
    return apply(ops.Amin, input, axis=dim_indices(dim, input._array.ndim), keepdims=keepdim)


@on_tensor
def aminmax(input: Tensor, *, dim: int | None = None, keepdim: bool = False) -> MinMax:
    """The smallest and the largest element along dim, as (min, max)."""
    _require_elements("aminmax", input, dim)
    return MinMax(amin(input, dim, keepdim), amax(input, dim, keepdim))


@on_tensor
def argmax(input: Tensor, dim: int | None = None, keepdim: bool = False) -> Tensor:
    """The index (int64) of the largest element along dim, the first of equals: (B, C) with dim -1 gives (B).

    Without dim, the index into the flattened input. IndexError: no elements, or no such dim.
    """
    _require_elements("argmax", input, dim, IndexError)
    return _arg(ops.Argmax, input, dim, keepdim)


@on_tensor
def argmin(input: Tensor, dim: int | None = None, keepdim: bool = False) -> Tensor:
    """The index (int64) of the smallest element along dim, the first of equals; without dim, in the flattened input."""
    _require_elements("argmin", input, dim, IndexError)
    return _arg(ops.Argmin, input, dim, keepdim)


def _arg(op: Any, input: Tensor, dim: int | None, keepdim: bool) -> Tensor:
    axis = None if dim is None else dim_index(dim, input.ndim)
    return apply(op, input, axis=axis if input.ndim else None, keepdims=keepdim)


@on_tensor
def max(input: Tensor, dim: Any = None, keepdim: bool = False, *, other: Any = None) -> Any:
    """The largest element; with an integer dim, the largest along it and where they are; with a tensor, of each two.

    max(x): 0-d. max(x, dim): a pair (values, indices), (B, T, C) with dim 1 giving (B, C) each, (B, 1, C) with keepdim;
    indices are int64. max(x, y): as `maximum`. Without dim equal elements share the gradient; with dim it goes to the
    element at the index. RuntimeError, IndexError: no elements.
    """
    return _extreme("max", input, dim if other is None else other, keepdim, amax, argmax, maximum)


@on_tensor
def min(input: Tensor, dim: Any = None, keepdim: bool = False, *, other: Any = None) -> Any:
    """The smallest element; with an integer dim, the smallest along it and where they are; with a tensor, of each two.

    Shapes, gradients and errors as of `max`.
    """
    return _extreme("min", input, dim if other is None else other, keepdim, amin, argmin, minimum)


def _extreme(name: str, input: Tensor, dim: Any, keepdim: bool, of_all: Any, arg: Any, of_two: Any) -> Any:
    if dim is None:
        _require_elements(name, input, None)
        return of_all(input)
    if hasattr(dim, "_array"):
        return of_two(input, dim)
    _require_elements(name, input, dim_index(dim, input.ndim))
    return _pick(input, arg(input, dim, keepdim=True), dim, keepdim)


def _pick(input: Tensor, index: Tensor, dim: int, keepdim: bool) -> ValuesAndIndices:
    """The elements at these indices along dim (of size 1 there), and the indices."""
    values = gather(input, dim, index)
    return ValuesAndIndices(values, index) if keepdim else ValuesAndIndices(squeeze(values, dim), squeeze(index, dim))


@on_tensor
def median(input: Tensor, dim: int | None = None, keepdim: bool = False) -> Any:
    """The median, the lower of two; along dim, its (values, indices). NaN if an element is NaN."""
    if dim is None:
        return apply(ops.Median, input)
    axis = dim_index(dim, input.ndim)
    _require_elements("median", input, axis)
    return _pick(input, apply(ops.Argmedian, input, axis=axis) if input.ndim else argmin(input), dim, keepdim)


# ---- spread and size -----------------------------------------------------------------------------------------------


def _spread(op: Any, input: Tensor, dim: Any, unbiased: bool | None, keepdim: bool, correction: float | None) -> Tensor:
    if not dtypes.is_floating(input._array.dtype):
        raise RuntimeError(f"{op.name}: std and var only support floating point dtypes, got {input.dtype}")
    if isinstance(dim, bool):  # var(x, False) is var(x, unbiased=False)
        dim, unbiased = None, dim
    if correction is None:
        correction = 0 if unbiased is False else 1
    return apply(op, input, axis=dim_indices(dim, input.ndim), keepdims=keepdim, correction=correction)


@on_tensor
def var(
    input: Tensor,
    dim: Any = None,
    unbiased: bool | None = None,
    keepdim: bool = False,
    *,
    correction: float | None = None,
) -> Tensor:
    """The variance over dim: sum((x - mean)^2) / (n - correction). Shapes and dim as of `sum`.

    correction: 1 by default (Bessel's); unbiased=False is the same as correction=0. RuntimeError: not floating.
    """
    return _spread(ops.Var, input, dim, unbiased, keepdim, correction)


@on_tensor
def std(
    input: Tensor,
    dim: Any = None,
    unbiased: bool | None = None,
    keepdim: bool = False,
    *,
    correction: float | None = None,
) -> Tensor:
    """The standard deviation over dim, the root of `var`, with its arguments. The gradient where it is 0 is 0."""
    return _spread(ops.Std, input, dim, unbiased, keepdim, correction)


@on_tensor
def var_mean(
    input: Tensor,
    dim: Any = None,
    unbiased: bool | None = None,
    keepdim: bool = False,
    *,
    correction: float | None = None,
) -> tuple[Tensor, Tensor]:
    """The variance and the mean along dim."""
    spread = var(input, dim, unbiased, keepdim, correction=correction)
    return spread, mean(input, None if isinstance(dim, bool) else dim, keepdim)


@on_tensor
def std_mean(
    input: Tensor,
    dim: Any = None,
    unbiased: bool | None = None,
    keepdim: bool = False,
    *,
    correction: float | None = None,
) -> tuple[Tensor, Tensor]:
    """The standard deviation and the mean along dim."""
    spread = std(input, dim, unbiased, keepdim, correction=correction)
    return spread, mean(input, None if isinstance(dim, bool) else dim, keepdim)


@autocasts
@on_tensor
def norm(
    input: Tensor, p: float | str | None = "fro", dim: Dim = None, keepdim: bool = False, dtype: Any = None
) -> Tensor:
    """The p-norm (sum of |x|^p)^(1/p) along dim; 'fro' is 2. The gradient at zero is 0.

    p = inf and -inf give the largest and the smallest |x|, p = 0 the number of elements that are not zero.
    """
    x = input if dtype is None else cast(input, dtypes.as_dtype(dtype))
    _require_floating("norm", x)
    if p is None or p == "fro":
        p = 2
    if isinstance(p, str):
        raise RuntimeError(f"norm: p must be a number or 'fro', got {p!r}")
    if p == math.inf:
        return amax(abs(x), dim, keepdim)
    if p == -math.inf:
        return amin(abs(x), dim, keepdim)
    return apply(ops.Norm, x, p=p, axis=dim_indices(dim, x._array.ndim), keepdims=keepdim)


@autocasts
@on_tensor
def logsumexp(input: Tensor, dim: int | Sequence[int], keepdim: bool = False) -> Tensor:
    """log(sum(exp(x))) over dim, without overflow: the maximum is taken out first. Shapes and dim as of `sum`."""
    if dim is None:
        raise TypeError("logsumexp(): argument 'dim' must be an int or a tuple of ints, not NoneType")
    return apply(ops.Logsumexp, to_floating(input), axis=dim_indices(dim, input._array.ndim), keepdims=keepdim)


# ---- logic ---------------------------------------------------------------------------------------------------------


@on_tensor
def any(input: Tensor, dim: Dim = None, keepdim: bool = False) -> Tensor:
    """Whether any element along dim is not zero (uint8 for uint8, else bool)."""
    return _logic(ops.Any, input, dim, keepdim)


@on_tensor
def all(input: Tensor, dim: Dim = None, keepdim: bool = False) -> Tensor:
    """Whether all elements along dim are not zero (uint8 for uint8, else bool)."""
    return _logic(ops.All, input, dim, keepdim)


def _logic(op: Any, input: Tensor, dim: Dim, keepdim: bool) -> Tensor:
    found = apply(op, input, axis=dim_indices(dim, input._array.ndim), keepdims=keepdim)
    return cast(found, dtypes.uint8) if input.dtype == dtypes.uint8 else found
