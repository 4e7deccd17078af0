"""Picking elements by position, and its reverse: putting or summing elements at positions."""

from __future__ import annotations

import math

from ..autograd.engine import Part
from .op import Op


def add_rows_to(xp, whole, index, rows):
    """Add each row to the row of `whole` (n_rows, ...) that its index names; index (N,), rows (N, ...), in order."""
    if whole.dtype.kind == "V":  # bfloat16 is added up in float32
        total = whole.astype("float32")
        add_rows_to(xp, total, index, rows.astype("float32"))
        whole[...] = total.astype(whole.dtype)
        return
    if not whole.flags.c_contiguous:  # whose flat form would be a copy
        xp.add.at(whole, index, rows)
        return
    width = math.prod(rows.shape[1:])
    # One flat index per element: NumPy adds at a flat index at the speed of memory, at rows of indices far slower.
    at = index.reshape(-1, 1) * width + xp.arange(width)
    xp.add.at(whole.reshape(-1), at.reshape(-1), rows.reshape(-1))


def add_rows(xp, n_rows, index, rows):
    """y (n_rows, ...): the sum of the rows that carry each index, in their order; zero where there is none."""
    y = xp.zeros((n_rows, *rows.shape[1:]), rows.dtype)
    add_rows_to(xp, y, index, rows)
    return y


class SlicePart(Part):
    """A gradient with values at one place, made of slices and integers, and zeros elsewhere."""

    def __init__(self, shape, place, values):
        self.shape, self.dtype, self.place, self.values = shape, values.dtype, place, values

    def add_to(self, whole):
        whole[self.place] += self.values

    def astype(self, dtype):
        return SlicePart(self.shape, self.place, self.values.astype(dtype))


class RowsPart(Part):
    """A gradient of n_rows rows that is the sum of the rows that carry each index, and zero where there is none."""

    def __init__(self, xp, n_rows, index, rows):
        self.shape, self.dtype = (n_rows, *rows.shape[1:]), rows.dtype
        self.xp, self.index, self.rows = xp, index, rows

    def add_to(self, whole):
        add_rows_to(self.xp, whole, self.index, self.rows)

    def astype(self, dtype):
        return type(self)(self.xp, self.shape[0], self.index, self.rows.astype(dtype))


def _replaced(xp, x, place, values):
    """x, with other values at one place."""
    y = xp.array(x)
    y[place] = values
    return y


def _multiplied(xp, x, place, values):
    """x, multiplied by values at one place, as often as the place names an element."""
    y = xp.array(x)
    xp.multiply.at(y, place, values)
    return y


class Slice(Op):
    """y = x[place], where `place` is a tuple of integers, slices, None and Ellipsis. A view."""

    name, may_alias = "slice", True

    @staticmethod
    def forward(xp, x, *, place):
        return x[place], (x.shape, place)

    @staticmethod
    def backward(xp, saved, gy):
        shape, place = saved
        return SlicePart(shape, place, gy)


class SliceScatter(Op):
    """y = x, but with y[place] = values."""

    name = "slice_scatter"

    @staticmethod
    def forward(xp, x, values, *, place):
        return _replaced(xp, x, place, values), (place,)

    @staticmethod
    def backward(xp, saved, gy):
        (place,) = saved
        return lambda: _replaced(xp, gy, place, 0), lambda: gy[place]


# Index arrays belong to the axes `axes` of x, one array each, and are broadcast against each other. As in NumPy and
# PyTorch, the axes of the result that they make (the index axes) stand where `axes` stand if these are neighbours,
# and first if they are not.


def on_axes(ndim, axes, indices):
    """The index tuple that has these arrays on their axes and takes the others whole."""
    place = [slice(None)] * ndim
    for axis, index in zip(axes, indices, strict=True):
        place[axis] = index
    return tuple(place)


def first_index_axis(axes):
    return axes[0] if axes[-1] - axes[0] == len(axes) - 1 else 0


def _add_at(xp, shape, axes, indices, values):
    """Zeros of a shape to which the values are added at x[indices]; repeated indices add up."""
    rank = max(i.ndim for i in indices)
    sizes = tuple(shape[a] for a in axes)
    flat = xp.ravel_multi_index(tuple(indices), sizes, mode="wrap")  # which counts negative indices from the end
    first = first_index_axis(axes)
    rows = xp.moveaxis(values, range(first, first + rank), range(rank))
    rest = rows.shape[rank:]
    y = add_rows(xp, math.prod(sizes), flat.reshape(-1), rows.reshape(flat.size, *rest))
    return xp.moveaxis(y.reshape(*sizes, *rest), range(len(axes)), axes)


class Index(Op):
    """y = x[indices]: the elements (or rows) that arrays of indices pick along the axes `axes`. A copy."""

    name = "index"

    @staticmethod
    def forward(xp, x, *indices, axes):
        if len(axes) == 1:
            y = x.take(indices[0], axes[0])  # the same as below, faster
        else:
            y = x[on_axes(x.ndim, axes, indices)]
        return y, (x.shape, axes, *indices)

    @staticmethod
    def backward(xp, saved, gy):
        shape, axes, *indices = saved
        return lambda: _add_at(xp, shape, axes, indices, gy), *(None for _ in indices)


class IndexPut(Op):
    """y = x, but with y[indices] = values; among values for the same element the last one stays."""

    name = "index_put"

    @staticmethod
    def forward(xp, x, values, *indices, axes):
        return _replaced(xp, x, on_axes(x.ndim, axes, indices), values), (axes, *indices)

    @staticmethod
    def backward(xp, saved, gy):
        axes, *indices = saved
        place = on_axes(gy.ndim, axes, indices)
        return lambda: _replaced(xp, gy, place, 0), lambda: gy[place], *(None for _ in indices)


class IndexAdd(Op):
    """y = x, but with values added to y[indices]; values for the same element add up."""

    name = "index_add"

    @staticmethod
    def forward(xp, x, values, *indices, axes):
        return x + _add_at(xp, x.shape, axes, indices, values), (axes, *indices)

    @staticmethod
    def backward(xp, saved, gy):
        axes, *indices = saved
        return gy, lambda: gy[on_axes(gy.ndim, axes, indices)], *(None for _ in indices)


# In gather and scatter the index array has the rank of x and picks along one axis. Along the others element i of the
# index belongs to element i of x; its sizes may be smaller there. The values have the shape of the index.


def _along(xp, index, axis):
    """The index tuple that picks along one axis."""
    open_grid = xp.ogrid[tuple(slice(n) for n in index.shape)]
    return tuple(index if a == axis else g for a, g in enumerate(open_grid))


class Gather(Op):
    """y[i, j, k] = x[i, index[i, j, k], k] for axis 1, and likewise for another axis."""

    name = "gather"

    @staticmethod
    def forward(xp, x, index, *, axis):
        return x[_along(xp, index, axis)], (x.shape, index, axis)

    @staticmethod
    def backward(xp, saved, gy):
        shape, index, axis = saved
        return lambda: _add_at(xp, shape, range(len(shape)), _along(xp, index, axis), gy), None


class Scatter(Op):
    """y = x, but with y[i, index[i, j, k], k] = values[i, j, k] for axis 1, and likewise for another axis."""

    name = "scatter"

    @staticmethod
    def forward(xp, x, index, values, *, axis):
        return _replaced(xp, x, _along(xp, index, axis), values), (index, axis)

    @staticmethod
    def backward(xp, saved, gy):
        place = _along(xp, *saved)
        return lambda: _replaced(xp, gy, place, 0), None, lambda: gy[place]


class ScatterAdd(Op):
    """y = x, but with values[i, j, k] added to y[i, index[i, j, k], k] for axis 1; repeated indices add up."""

    name = "scatter_add"

    @staticmethod
    def forward(xp, x, index, values, *, axis):
        return x + _add_at(xp, x.shape, range(x.ndim), _along(xp, index, axis), values), (index, axis)

    @staticmethod
    def backward(xp, saved, gy):
        return gy, None, lambda: gy[_along(xp, *saved)]


class ScatterMultiply(Op):
    """y = x, but with y[i, index[i, j, k], k] multiplied by values[i, j, k] for axis 1. It has no gradient."""

    name, differentiable = "scatter_multiply", False

    @staticmethod
    def forward(xp, x, index, values, *, axis):
        return _multiplied(xp, x, _along(xp, index, axis), values), ()


class MaskedFill(Op):
    """y = value where the mask is true, x elsewhere."""

    name, broadcasts = "masked_fill", True

    @staticmethod
    def forward(xp, x, mask, value):
        return xp.where(mask, value, x), (mask,)

    @staticmethod
    def backward(xp, saved, gy):
        (mask,) = saved
        zero = gy.dtype.type(0)
        return lambda: xp.where(mask, zero, gy), None, lambda: xp.where(mask, gy, zero)
