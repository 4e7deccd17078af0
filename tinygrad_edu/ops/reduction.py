"""Reductions along axes: sums, products, extremes, norms; and running sums and products."""

from __future__ import annotations

import math

from ..autograd.higher import Mirror
from .op import Op

# Reductions take `axis`, a tuple of axes, and `keepdims`. Backward starts by giving gy its reduced axes back, of size
# 1, whether they were kept or not: `gy.reshape(kept)` with the shape made by this function.


def _kept(shape, axis):
    return tuple([1 if i in axis else n for i, n in enumerate(shape)])


def _size(x, axis):
    return math.prod(x.shape[i] for i in axis)


_BLOCK = 128


def total(xp, x, axis, keepdims=False):
    """The sum along the axes, to the accuracy of pairwise summation; of float16, in float32.

    NumPy sums pairwise along memory only. Across memory it adds row after row, with an error that grows with their
    number; so an axis of many rows is summed in blocks, then the sums of the blocks in the same way.
    """
    if isinstance(xp, Mirror):
        return xp.apply(Sum, x, axis=axis, keepdims=keepdims)
    dtype = "float32" if x.dtype == "float16" else x.dtype
    if len(axis) == x.ndim:  # everything: all of it can be taken along memory
        y = x.ravel("K").sum(dtype=dtype)
        return y.reshape((1,) * x.ndim) if keepdims else y
    for i in axis:
        while x.shape[i] > _BLOCK and x.strides[i] != x.itemsize:
            rows, rest = xp.split(x, [x.shape[i] // _BLOCK * _BLOCK], axis=i)
            blocks = rows.reshape(x.shape[:i] + (-1, _BLOCK) + x.shape[i + 1 :])
            parts = xp.sum(blocks, axis=i + 1, dtype=dtype), xp.sum(rest, axis=i, dtype=dtype, keepdims=True)
            x = xp.concatenate(parts, axis=i)
    return x.sum(axis=axis, keepdims=keepdims, dtype=dtype)


def _like(y, x):
    """y in the dtype of x."""
    return y if y.dtype == x.dtype else y.astype(x.dtype)


class Sum(Op):
    """y = the sum along the axes."""

    name = "sum"

    @staticmethod
    def forward(xp, x, *, axis, keepdims):
        return _like(total(xp, x, axis, keepdims), x), (x.shape, axis)

    @staticmethod
    def backward(xp, saved, gy):
        shape, axis = saved
        return xp.broadcast_to(gy.reshape(_kept(shape, axis)), shape)


class Mean(Op):
    """y = the sum along the axes, divided by the number of elements summed."""

    name = "mean"

    @staticmethod
    def forward(xp, x, *, axis, keepdims):
        n = _size(x, axis)
        return _like(total(xp, x, axis, keepdims) / n, x), (x.shape, axis, n)

    @staticmethod
    def backward(xp, saved, gy):
        shape, axis, n = saved
        return xp.broadcast_to(gy.reshape(_kept(shape, axis)) / n, shape)


class Prod(Op):
    """y = the product along the axes.

    dy/dx_i is the product of all others: that of those before it times that of those after it. Nothing is divided, so
    it is exact also where an x is 0.
    """

    name = "prod"

    @staticmethod
    def forward(xp, x, *, axis, keepdims):
        return xp.prod(x, axis=axis, keepdims=keepdims, dtype=x.dtype), (x, axis)

    @staticmethod
    def backward(xp, saved, gy):
        x, axis = saved
        others = tuple(i for i in range(x.ndim) if i not in axis)
        rows = xp.transpose(x, others + axis)
        shape = rows.shape
        rows = rows.reshape([x.shape[i] for i in others] + [_size(x, axis)])
        first = xp.ones_like(rows[..., :1])
        before = xp.cumprod(xp.concatenate([first, rows[..., :-1]], axis=-1), axis=-1)
        after = xp.cumprod(xp.concatenate([first, rows[..., :0:-1]], axis=-1), axis=-1)[..., ::-1]
        back = [(others + axis).index(i) for i in range(x.ndim)]
        return gy.reshape(_kept(x.shape, axis)) * xp.transpose((before * after).reshape(shape), back)


def _shared_among_equals(xp, saved, gy):
    """The gradient of a value picked from x, in equal parts to all elements equal to it (or all NaN, if it is NaN)."""
    x, y, axis = saved
    kept = _kept(x.shape, axis)
    y = y.reshape(kept)
    chosen = (x == y) | xp.isnan(x)  # where x holds NaN, y is NaN
    return xp.where(chosen, gy.reshape(kept) / xp.sum(chosen, axis=axis, keepdims=True, dtype=x.dtype), 0)


class Amax(Op):
    """y = the largest element along the axes. Equal ones share the gradient."""

    name = "amax"

    @staticmethod
    def forward(xp, x, *, axis, keepdims):
        y = xp.asarray(xp.max(x, axis=axis, keepdims=keepdims))
        return y, (x, y, axis)

    backward = staticmethod(_shared_among_equals)


class Amin(Op):
    """y = the smallest element along the axes. Equal ones share the gradient."""

    name = "amin"

    @staticmethod
    def forward(xp, x, *, axis, keepdims):
        y = xp.asarray(xp.min(x, axis=axis, keepdims=keepdims))
        return y, (x, y, axis)

    backward = staticmethod(_shared_among_equals)


class Argmax(Op):
    """y = the index of the first of the largest elements along the axis (None: in the flattened x)."""

    name, differentiable = "argmax", False

    @staticmethod
    def forward(xp, x, *, axis, keepdims):
        return xp.argmax(x, axis=axis, keepdims=keepdims), ()


class Argmin(Op):
    """y = the index of the first of the smallest elements along the axis (None: in the flattened x)."""

    name, differentiable = "argmin", False

    @staticmethod
    def forward(xp, x, *, axis, keepdims):
        return xp.argmin(x, axis=axis, keepdims=keepdims), ()


class Any(Op):
    """y = whether any element along the axes is other than 0."""

    name, differentiable = "any", False

    @staticmethod
    def forward(xp, x, *, axis, keepdims):
        return xp.any(x, axis=axis, keepdims=keepdims), ()


class All(Op):
    """y = whether all elements along the axes are other than 0."""

    name, differentiable = "all", False

    @staticmethod
    def forward(xp, x, *, axis, keepdims):
        return xp.all(x, axis=axis, keepdims=keepdims), ()


class Var(Op):
    """y = the mean of (x - mean)^2 along the axes, with n - correction in the place of n (but never less than 0).

    dy/dx = 2 (x - mean) / (n - correction): the mean moves with x, but the deviations add up to 0.
    """

    name = "var"

    @staticmethod
    def forward(xp, x, *, axis, keepdims, correction):
        deviation = x - (total(xp, x, axis, keepdims=True) / _size(x, axis)).astype(x.dtype)
        n = max(_size(x, axis) - correction, 0)
        y = total(xp, deviation * deviation, axis, keepdims) / n
        return y.astype(x.dtype), (deviation, n, _kept(x.shape, axis))

    @staticmethod
    def backward(xp, saved, gy):
        deviation, n, kept = saved
        return gy.reshape(kept) * 2 / n * deviation


class Std(Op):
    """y = sqrt(var(x)). The gradient where y = 0 is 0.

    dy/dx = (x - mean) / (y (n - correction)).
    """

    name = "std"

    @staticmethod
    def forward(xp, x, *, axis, keepdims, correction):
        y, (deviation, n, kept) = Var.forward(xp, x, axis=axis, keepdims=keepdims, correction=correction)
        y = xp.sqrt(y)
        return y, (deviation, n, y, kept)

    @staticmethod
    def backward(xp, saved, gy):
        deviation, n, y, kept = saved
        y = y.reshape(kept)
        return gy.reshape(kept) / (xp.where(y == 0, xp.inf, y) * n) * deviation


class Norm(Op):
    """y = (sum of |x|^p)^(1/p) along the axes; for p = 0 the number of x that are not 0. The gradient at x = 0 is 0.

    dy/dx = sign(x) (|x| / y)^(p - 1).
    """

    name = "norm"

    @staticmethod
    def forward(xp, x, *, p, axis, keepdims):
        if p == 2:
            y = xp.sqrt(total(xp, x * x, axis, keepdims=True))
        elif p == 0:
            y = xp.sum(x != 0, axis=axis, keepdims=True)
        else:
            y = total(xp, xp.abs(x) ** p, axis, keepdims=True) ** (1 / p)
        y = y.astype(x.dtype)
        y = y if keepdims else xp.squeeze(y, axis)
        return y, (x, y, p, _kept(x.shape, axis))

    @staticmethod
    def backward(xp, saved, gy):
        x, y, p, kept = saved
        if p == 0:
            return None
        gy, y = gy.reshape(kept), y.reshape(kept)
        y = xp.where(y == 0, xp.inf, y)
        if p == 2:
            return gy / y * x
        return xp.where(x == 0, 0, gy * xp.sign(x) * (xp.abs(x) / y) ** (p - 1))


class Logsumexp(Op):
    """y = ln(sum of e^x) along the axes, with the largest x taken out first so that nothing overflows.

    dy/dx = e^(x - y).
    """

    name = "logsumexp"

    @staticmethod
    def forward(xp, x, *, axis, keepdims):
        top = xp.max(x, axis=axis, keepdims=True, initial=-math.inf)
        top = xp.where(xp.isinf(top), 0, top)  # inf - inf would be NaN
        y = (xp.log(total(xp, xp.exp(x - top), axis, keepdims=True)) + top).astype(x.dtype)
        return (y if keepdims else xp.squeeze(y, axis)), (x, y)

    @staticmethod
    def backward(xp, saved, gy):
        x, y = saved
        return gy.reshape(y.shape) * xp.exp(x - y)


class Cumsum(Op):
    """y_i = x_0 + ... + x_i along the axis, added up in float64."""

    name = "cumsum"

    @staticmethod
    def forward(xp, x, *, axis):
        return _cumsum(xp, x, axis), (axis,)

    @staticmethod
    def backward(xp, saved, gy):
        (axis,) = saved
        return xp.flip(_cumsum(xp, xp.flip(gy, axis), axis), axis)


def _cumsum(xp, x, axis):
    """The running sum, in float64 if x is floating: a running sum in float32 loses a digit every few thousand terms."""
    return xp.cumsum(x, axis=axis, dtype="float64" if x.dtype.kind == "f" else x.dtype).astype(x.dtype)


class Cumprod(Op):
    """y_i = x_0 ... x_i along the axis.

    dL/dx_i = x_0 ... x_(i-1) r_i, where r_i = gy_i + x_(i+1) r_(i+1) gathers what later elements contribute. Nothing
    is divided, so it is exact also where an x is 0.
    """

    name = "cumprod"

    @staticmethod
    def forward(xp, x, *, axis):
        return _cumprod(xp, x, axis), (x, axis)

    @staticmethod
    def backward(xp, saved, gy):
        x, axis = saved
        x, r = xp.moveaxis(x, axis, -1), xp.moveaxis(gy, axis, -1)
        one = xp.ones_like(x[..., :1])
        before = _cumprod(xp, xp.concatenate([one, x[..., :-1]], axis=-1), -1)
        # r_i = r + factor r_(i+step), where r already gathers the next `step` elements; each round doubles the step.
        factor = xp.concatenate([x[..., 1:], one], axis=-1)  # the last one meets only padding
        step = 1
        while step < x.shape[-1]:
            pad = xp.zeros_like(x[..., :step])
            r = r + factor * xp.concatenate([r[..., step:], pad], axis=-1)
            factor = factor * xp.concatenate([factor[..., step:], pad], axis=-1)
            step *= 2
        return xp.moveaxis(before * r, -1, axis)


def _cumprod(xp, x, axis):
    return xp.cumprod(x, axis=axis, dtype="float64" if x.dtype.kind == "f" else x.dtype).astype(x.dtype)


class Argmedian(Op):
    """y = the index of the lower median along the axis, or of the first NaN; of shape x with 1 at the axis."""

    name, differentiable = "argmedian", False

    @staticmethod
    def forward(xp, x, *, axis):
        order = xp.argsort(x, axis=axis, kind="stable")  # NaNs come last
        middle = xp.take(order, [(x.shape[axis] - 1) // 2], axis=axis)
        nan = xp.isnan(x)
        first_nan = xp.argmax(nan, axis=axis, keepdims=True)
        return xp.where(xp.any(nan, axis=axis, keepdims=True), first_nan, middle), ()


class Median(Op):
    """y = the lower median of all elements; NaN if one is. Equal ones share the gradient."""

    name = "median"

    @staticmethod
    def forward(xp, x):
        flat = xp.sort(x.reshape(-1))  # NaNs come last
        y = xp.asarray(xp.where(xp.isnan(flat[-1]), flat[-1], flat[(x.size - 1) // 2]))
        return y, (x, y, tuple(range(x.ndim)))

    backward = staticmethod(_shared_among_equals)
