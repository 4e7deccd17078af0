"""Other shapes, orders and joinings of the same elements."""

from __future__ import annotations

import itertools

from ..autograd.higher import Mirror
from .indexing import add_rows
from .op import Op


class Reshape(Op):
    """y = x, its elements in row-major order laid out in another shape. A view where the memory allows it."""

    name, may_alias = "reshape", True

    @staticmethod
    def forward(xp, x, *, shape):
        return x.reshape(shape), (x.shape,)

    @staticmethod
    def backward(xp, saved, gy):
        (shape,) = saved
        return gy.reshape(shape)


class Permute(Op):
    """y = x with its axes in another order: axis i of y is axis `axes[i]` of x."""

    name, may_alias = "permute", True

    @staticmethod
    def forward(xp, x, *, axes):
        return x.transpose(axes), (axes,)

    @staticmethod
    def backward(xp, saved, gy):
        (axes,) = saved
        back = [0] * len(axes)
        for i, axis in enumerate(axes):
            back[axis] = i
        return gy.transpose(back)


class Expand(Op):
    """y = x repeated along its axes of size 1 and along new leading axes, without a copy."""

    name, may_alias, broadcasts = "expand", True, True

    @staticmethod
    def forward(xp, x, *, shape):
        return xp.broadcast_to(x, shape), ()

    @staticmethod
    def backward(xp, saved, gy):
        return gy  # the engine sums it over the repeated axes


class Cat(Op):
    """y = the arrays joined along an axis."""

    name = "cat"

    @staticmethod
    def forward(xp, *arrays, axis):
        return xp.concatenate(arrays, axis=axis), (axis, tuple(a.shape[axis] for a in arrays))

    @staticmethod
    def backward(xp, saved, gy):
        axis, lengths = saved
        before = (slice(None),) * axis
        ends = itertools.accumulate(lengths)
        return tuple(gy[(*before, slice(end - n, end))] for n, end in zip(lengths, ends, strict=True))


class Contiguous(Op):
    """y = x, copied into row-major memory."""

    name = "contiguous"

    @staticmethod
    def forward(xp, x):
        return xp.array(x, order="C"), ()

    @staticmethod
    def backward(xp, saved, gy):
        return gy


class Pad(Op):
    """y = x between `widths[i] = (before, after)` elements of `value` along each axis i."""

    name = "pad"

    @staticmethod
    def forward(xp, x, *, widths, value):
        return xp.pad(x, widths, constant_values=value), (widths, x.shape)

    @staticmethod
    def backward(xp, saved, gy):
        widths, shape = saved
        return gy[tuple(slice(before, before + n) for (before, _), n in zip(widths, shape, strict=True))]


class Flip(Op):
    """y = x in reverse order along the axes."""

    name = "flip"

    @staticmethod
    def forward(xp, x, *, axes):
        return xp.array(xp.flip(x, axes), order="C"), (axes,)

    @staticmethod
    def backward(xp, saved, gy):
        (axes,) = saved
        return xp.flip(gy, axes)


class Roll(Op):
    """y = x with its elements moved on by `shifts` along the axes; those leaving at the end enter at the start."""

    name = "roll"

    @staticmethod
    def forward(xp, x, *, shifts, axes):
        return xp.roll(x, shifts, axes), (shifts, axes)

    @staticmethod
    def backward(xp, saved, gy):
        shifts, axes = saved
        return xp.roll(gy, tuple(-s for s in shifts), axes)


class Tril(Op):
    """y = x on and below the diagonal k of its last two axes, 0 above it."""

    name = "tril"

    @staticmethod
    def forward(xp, x, *, k):
        return xp.tril(x, k), (k,)

    @staticmethod
    def backward(xp, saved, gy):
        (k,) = saved
        return xp.tril(gy, k)


class Triu(Op):
    """y = x on and above the diagonal k of its last two axes, 0 below it."""

    name = "triu"

    @staticmethod
    def forward(xp, x, *, k):
        return xp.triu(x, k), (k,)

    @staticmethod
    def backward(xp, saved, gy):
        (k,) = saved
        return xp.triu(gy, k)


class Diagonal(Op):
    """y (..., n) = the diagonal of two axes of x, `offset` places above the main one. A view."""

    name, may_alias = "diagonal", True

    @staticmethod
    def forward(xp, x, *, offset, axis1, axis2):
        return _diagonal(xp, x, offset, axis1, axis2), (x.shape, offset, axis1, axis2)

    @staticmethod
    def backward(xp, saved, gy):
        shape, offset, axis1, axis2 = saved
        return _with_diagonal(xp, shape, gy, offset, axis1, axis2)


class DiagEmbed(Op):
    """y = zeros but for x (..., n), which stands on a diagonal of the two new axes; as small as fits, or of a shape."""

    name = "diag_embed"

    @staticmethod
    def forward(xp, x, *, offset, axis1, axis2, shape=None):
        if shape is None:
            n = x.shape[-1] + abs(offset)
            shape = list(x.shape[:-1])
            for axis in sorted((axis1, axis2)):
                shape.insert(axis, n)
        return _with_diagonal(xp, shape, x, offset, axis1, axis2), (offset, axis1, axis2)

    @staticmethod
    def backward(xp, saved, gy):
        return _diagonal(xp, gy, *saved)


def _diagonal(xp, x, offset, axis1, axis2):
    """A view of the diagonal that may be written to, which NumPy by itself does not give."""
    if isinstance(xp, Mirror):
        return xp.apply(Diagonal, x, offset=offset, axis1=axis1, axis2=axis2)
    y = x.diagonal(offset, axis1, axis2)
    if hasattr(x.flags, "writeable"):
        y.flags.writeable = x.flags.writeable
    return y


def _with_diagonal(xp, shape, values, offset, axis1, axis2):
    """Zeros with these values on the diagonal."""
    if isinstance(xp, Mirror):
        return xp.apply(DiagEmbed, values, offset=offset, axis1=axis1, axis2=axis2, shape=shape)
    y = xp.zeros(shape, values.dtype)
    _diagonal(xp, y, offset, axis1, axis2)[...] = values
    return y


class Unfold(Op):
    """y (..., windows, ..., size) = the windows of `size` elements that start every `step` along an axis. A view."""

    name, may_alias = "unfold", True

    @staticmethod
    def forward(xp, x, *, axis, size, step):
        windows = xp.lib.stride_tricks.sliding_window_view(x, size, axis)
        return windows[(slice(None),) * axis + (slice(None, None, step),)], (x.shape[axis], axis, size, step)

    @staticmethod
    def backward(xp, saved, gy):
        length, axis, size, step = saved
        # An element lies in several windows: sum the gradient over all its places.
        places = xp.arange(gy.shape[axis])[:, None] * step + xp.arange(size)
        rows = xp.moveaxis(gy, (axis, -1), (0, 1))
        gx = add_rows(xp, length, places.reshape(-1), rows.reshape(-1, *rows.shape[2:]))
        return xp.moveaxis(gx, 0, axis)
