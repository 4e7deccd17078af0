"""Statistics beside mean and variance: quantiles, running extremes, differences, histograms, covariance."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ..backend import dtypes, transfers
from .arguments import Dim, dim_index, is_tensor, on_tensor, ready, require_tensor, to_floating
from .elementwise import clamp, clone, div, isnan, lerp, logical_not, logical_xor, mul, ne, sqrt, sub, where
from .indexing import gather
from .linalg import matmul
from .precision import autocasts
from .reduction import any, mean, nansum, norm, sum
from .shape import cat, diagonal, flatten, movedim, narrow, reshape, squeeze, transpose, unsqueeze
from .sorting import ValuesAndIndices, searchsorted, sort
from .special import logaddexp

if TYPE_CHECKING:
    from ..tensor import Tensor


# ---- without NaN ---------------------------------------------------------------------------------------------------


@on_tensor
def nanmean(input: Tensor, dim: Dim = None, keepdim: bool = False, *, dtype: Any = None) -> Tensor:
    """The mean along dim of the elements that are not NaN. RuntimeError: not a floating tensor."""
    if not dtypes.is_floating(input._array.dtype):
        raise RuntimeError(f"nanmean(): expected input to have floating point dtype but got {input.dtype}")
    count = sum(logical_not(isnan(input)), dim, keepdim)
    return div(nansum(input, dim, keepdim, dtype=dtype), count)


@on_tensor
def nanmedian(input: Tensor, dim: int | None = None, keepdim: bool = False) -> Any:
    """The median, the lower of two, of the elements that are not NaN; along dim, its (values, indices)."""
    x, at = (flatten(input), 0) if dim is None else (input, dim_index(dim, input.ndim))
    if not x.ndim:
        return ValuesAndIndices(x, x._result(x._xp.zeros((), np.int64)))
    ordered = sort(x, at)  # NaN last
    count = sum(logical_not(isnan(x)), at, keepdim=True)
    place = clamp((count - 1) // 2, min=0)
    values, indices = gather(ordered.values, at, place), gather(ordered.indices, at, place)
    if dim is None:
        return squeeze(values, 0)
    return ValuesAndIndices(values, indices) if keepdim else ValuesAndIndices(squeeze(values, at), squeeze(indices, at))


# ---- quantiles -----------------------------------------------------------------------------------------------------

_BETWEEN = ("linear", "lower", "higher", "midpoint", "nearest")


@autocasts
@on_tensor
def quantile(
    input: Tensor, q: Any, dim: int | None = None, keepdim: bool = False, *, interpolation: str = "linear"
) -> Tensor:
    """The value below which the share q of the elements along dim lies; NaN if one of them is.

    q: a number, or a tensor (Q,) of them, whose dimension comes first in the result. Between two elements the result is
    interpolated: "linear", "lower", "higher", "midpoint" or "nearest". RuntimeError: q outside [0, 1], other dtypes.
    """
    return _quantile("quantile", input, q, dim, keepdim, interpolation, ignore_nan=False)


@autocasts
@on_tensor
def nanquantile(
    input: Tensor, q: Any, dim: int | None = None, keepdim: bool = False, *, interpolation: str = "linear"
) -> Tensor:
    """`quantile` of the elements that are not NaN."""
    return _quantile("nanquantile", input, q, dim, keepdim, interpolation, ignore_nan=True)


def _quantile(name: str, input: Tensor, q: Any, dim: Any, keepdim: bool, how: str, ignore_nan: bool) -> Tensor:
    if input.dtype not in (dtypes.float32, dtypes.float64):
        raise RuntimeError(f"{name}() input tensor must be either float or double dtype, got {input.dtype}")
    if not input.numel():
        raise RuntimeError(f"{name}() input tensor must be non-empty")
    if how not in _BETWEEN:
        raise RuntimeError(f"{name}() interpolation must be one of {', '.join(_BETWEEN)}, but got {how!r}")
    if is_tensor(q) and (q.dtype != input.dtype or q.ndim > 1):
        raise RuntimeError(f"{name}() q must be a number or a vector of {input.dtype}, got {q.dtype} {tuple(q.shape)}")
    shares = np.asarray(transfers.to_host(q._array) if is_tensor(q) else q, input._array.dtype)
    if not ((shares >= 0) & (shares <= 1)).all():
        raise RuntimeError(f"{name}() q must be in the range [0, 1] but got {q}")
    at = None if dim is None else dim_index(dim, input.ndim)
    x = flatten(input) if at is None or not input.ndim else movedim(input, at, -1)
    ordered = sort(x, -1).values  # NaN last
    count = sum(logical_not(isnan(x)), -1, keepdim=True)
    last = (clamp(count, min=1) if ignore_nan else where(count < x.shape[-1], 0 * count + x.shape[-1], count)) - 1
    rank = mul(input._result(transfers.to_device(shares.reshape(-1), input.device)), last)  # (..., Q)
    if not ignore_nan:  # the last element is NaN if any is
        rank = where(any(isnan(x), -1, keepdim=True), last.to(rank.dtype), rank)
    if how != "linear" and how != "midpoint":
        rank = {"lower": rank.floor, "higher": rank.ceil, "nearest": rank.round}[how]()
    below = rank.floor()
    weight = where(ne(rank, below), 0.5, 0.0).to(rank.dtype) if how == "midpoint" else sub(rank, below)
    low, high = (gather(ordered, -1, place.long()) for place in (below, rank.ceil()))
    found = movedim(lerp(low, high, weight), -1, 0)  # (Q, ...)
    if keepdim:
        shape = [1] * input.ndim if at is None else [1 if d == at else n for d, n in enumerate(input.shape)]
        found = reshape(found, (-1, *shape))
    return found if shares.ndim else squeeze(found, 0)


# ---- running extremes, differences, sums over a curve ----------------------------------------------------------------


@on_tensor
def cummax(input: Tensor, dim: int) -> ValuesAndIndices:
    """The largest of each element and those before it along dim, and where it was last found: (values, indices)."""
    return _running_extreme(input, dim, "maximum")


@on_tensor
def cummin(input: Tensor, dim: int) -> ValuesAndIndices:
    """The smallest of each element and those before it along dim, and where it was last found: (values, indices)."""
    return _running_extreme(input, dim, "minimum")


def _running_extreme(input: Tensor, dim: int, extreme: str) -> ValuesAndIndices:
    at, x, xp = dim_index(dim, input.ndim), input._array, input._xp
    if not x.ndim:
        return ValuesAndIndices(input.clone(), input._result(xp.zeros((), np.int64)))
    running = getattr(xp, extreme).accumulate(x, axis=at)
    place = xp.arange(x.shape[at]).reshape([-1 if d == at else 1 for d in range(x.ndim)])
    indices = input._result(xp.maximum.accumulate(xp.where((x == running) | (x != x), place, 0), axis=at))
    return ValuesAndIndices(gather(input, at, indices), indices)


@on_tensor
def logcumsumexp(input: Tensor, dim: int) -> Tensor:
    """log of the sum of exp of each element and those before it along dim, without overflow.

    In about log2(n) steps, each of which joins sums of twice as many elements. NotImplementedError: of integers.
    """
    at = dim_index(dim, input.ndim)
    if not dtypes.is_floating(input._array.dtype):
        raise NotImplementedError(f"logcumsumexp: not implemented for {input.dtype}; convert it first, as by .float()")
    if not input.ndim:
        return clone(input)
    y, n, reach = clone(input), input.shape[at], 1
    while reach < n:
        joined = logaddexp(narrow(y, at, reach, n - reach), narrow(y, at, 0, n - reach))
        y, reach = cat([narrow(y, at, 0, reach), joined], at), 2 * reach
    return y


@on_tensor
def diff(
    input: Tensor, n: int = 1, dim: int = -1, prepend: Tensor | None = None, append: Tensor | None = None
) -> Tensor:
    """The n-th difference of neighbours along dim: x[i + 1] - x[i], n times; of booleans, whether they differ.

    prepend, append: values before and after the input. RuntimeError: a 0-d tensor, a negative n.
    """
    if not input.ndim:
        raise RuntimeError("diff expects input to be at least one-dimensional")
    if n < 0:
        raise RuntimeError(f"order must be non-negative but got {n}")
    x = cat([part for part in (prepend, input, append) if part is not None], dim)
    at = dim_index(dim, x.ndim)
    for _ in range(min(n, x.shape[at])):
        size = max(x.shape[at] - 1, 0)
        later, earlier = narrow(x, at, x.shape[at] - size, size), narrow(x, at, 0, size)
        x = logical_xor(later, earlier) if x.dtype == dtypes.bool_ else sub(later, earlier)
    return x


def trapezoid(y: Tensor, x: Tensor | None = None, *, dx: float = 1, dim: int = -1) -> Tensor:
    """The integral of y over x along dim by the trapezoid rule; without x, over steps of dx."""
    return sum(_strips("trapezoid", y, x, dx, dim), dim)


def cumulative_trapezoid(y: Tensor, x: Tensor | None = None, *, dx: float = 1, dim: int = -1) -> Tensor:
    """The integral of y from the first point to each of the following ones; see `trapezoid`."""
    return _strips("cumulative_trapezoid", y, x, dx, dim).cumsum(dim)


def _strips(name: str, y: Tensor, x: Tensor | None, dx: float, dim: int) -> Tensor:
    require_tensor(name, "y", y)
    at = dim_index(dim, y.ndim)
    n = y.shape[at]
    both = narrow(y, at, 1, n - 1) + narrow(y, at, 0, n - 1) if n else y
    if x is None:
        return mul(both, dx / 2)
    step = diff(x, dim=-1 if x.ndim == 1 else dim)
    if x.ndim == 1 and y.ndim > 1:
        step = reshape(step, [-1 if d == at else 1 for d in range(y.ndim)])
    return mul(both, div(step, 2))


trapz = trapezoid


# ---- counts ----------------------------------------------------------------------------------------------------------


@on_tensor
def histc(input: Tensor, bins: int = 100, min: float = 0, max: float = 0) -> Tensor:
    """How many elements fall into each of `bins` equal intervals from min to max; both 0: of the elements themselves.

    Elements outside are not counted. RuntimeError: not floating, no bins, min > max, infinite limits.
    """
    x = ready(input).reshape(-1)
    if not dtypes.is_floating(x.dtype):
        raise NotImplementedError(
            f"histc: not implemented for {input.dtype}; convert it first, for example by .float()"
        )
    if bins <= 0:
        raise RuntimeError(f"histc: bins must be > 0, got {bins}")
    low, high = (x.min().item(), x.max().item()) if min == max and x.size else (min, max)
    if not (np.isfinite(low) and np.isfinite(high)):
        raise RuntimeError(f"histc: range of [{low}, {high}] is not finite")
    if low > high:
        raise RuntimeError(f"histc: max must be larger than min, got min={low} and max={high}")
    low, high = (low - 1, high + 1) if low == high else (low, high)
    inside = x[(x >= low) & (x <= high)].astype(np.float64)
    xp = input._xp
    place = xp.minimum(((inside - float(low)) * (bins / (float(high) - float(low)))).astype(np.int64), bins - 1)
    return input._result(xp.bincount(place, minlength=bins).astype(x.dtype))


def bucketize(input: Any, boundaries: Tensor, *, out_int32: bool = False, right: bool = False) -> Any:
    """The index of the interval between sorted boundaries that each element falls into.

    right=False: boundaries[i - 1] < x <= boundaries[i]; right=True: boundaries[i - 1] <= x < boundaries[i].
    """
    require_tensor("bucketize", "boundaries", boundaries)
    if boundaries.ndim != 1:
        raise RuntimeError(f"boundaries tensor must be 1 dimension, but got dim({boundaries.ndim})")
    return searchsorted(boundaries, input, out_int32=out_int32, right=right)


# ---- covariance, distances -------------------------------------------------------------------------------------------


@on_tensor
def cov(
    input: Tensor, *, correction: int = 1, fweights: Tensor | None = None, aweights: Tensor | None = None
) -> Tensor:
    """The covariances (V, V) of variables in rows (V, N) of observations; of a vector, its variance.

    fweights: how often each observation counts, whole numbers (N,); aweights: how much it counts (N,).
    correction: what is taken off the number of observations. RuntimeError: more than two dimensions.
    """
    if input.ndim > 2:
        raise RuntimeError(f"cov(): expected input to have two or fewer dimensions but got {input.ndim} dimensions")
    if input.dtype == dtypes.bool_:
        raise RuntimeError("cov(): bool dtype is not supported for input")
    x = to_floating(input if input.ndim == 2 else reshape(input, 1, -1))
    if fweights is not None and fweights.dtype.is_floating_point:
        raise RuntimeError(f"cov(): expected fweights to have integral dtype but got {fweights.dtype}")
    if aweights is not None and not aweights.dtype.is_floating_point:
        raise RuntimeError(f"cov(): expected aweights to have floating point dtype but got {aweights.dtype}")
    weights = [w.to(x.dtype) for w in (fweights, aweights) if w is not None]
    w = weights[0] if len(weights) == 1 else mul(*weights) if weights else None
    if w is None:
        total: Any = x.shape[1]
        centred = sub(x, mean(x, 1, keepdim=True)) if x.shape[1] else x
        weighted, norm_factor = centred, total - correction
    else:
        total = sum(w)
        centred = sub(x, div(sum(mul(x, w), 1, keepdim=True), total))
        weighted = mul(centred, w)
        lost = div(sum(mul(w, aweights)), total) if aweights is not None else 1
        norm_factor = sub(total, mul(lost, correction) if is_tensor(lost) else correction)
    least = clamp(norm_factor, min=0) if is_tensor(norm_factor) else max(norm_factor, 0)
    found = div(matmul(weighted, transpose(centred, 0, 1)), least)
    return found if input.ndim == 2 and input.shape[0] != 1 else squeeze(found)


@on_tensor
def corrcoef(input: Tensor) -> Tensor:
    """The correlations (V, V) of variables in rows (V, N), limited to [-1, 1]; of a vector, 1."""
    if input.ndim > 2:
        raise RuntimeError(f"corrcoef(): expected input to have two or fewer dimensions but got {input.ndim}")
    c = cov(input)
    if not c.ndim:
        return div(c, c)
    spread = sqrt(diagonal(c))
    return clamp(div(div(c, unsqueeze(spread, 1)), unsqueeze(spread, 0)), -1, 1)


@autocasts
@on_tensor
def dist(input: Tensor, other: Tensor, p: float = 2) -> Tensor:
    """The p-norm of input - other."""
    require_tensor("dist", "other", other)
    return norm(sub(input, other), p)
