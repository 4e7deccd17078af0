"""Windows of an array, cut out side by side, and their reverse: windows added where they overlap.

Everything that slides a window over pictures or signals (convolution, pooling, unfold) is built on the two functions
here. Their sizes: x (..., *size), one size per spatial axis; windows (..., *kernel, *out). Place k of window i holds
x[i * stride + k * dilation], on each spatial axis.
"""

from __future__ import annotations

import itertools

from ..autograd.higher import Mirror
from .op import Op


def windows(xp, x, kernel, stride, dilation):
    """All windows of x, as a view of its memory: x (..., *size) -> (..., *kernel, *out)."""
    n = len(kernel)
    if isinstance(xp, Mirror):
        return xp.apply(Windows, x, kernel=tuple(kernel), stride=stride, dilation=dilation)
    spans = tuple(d * (k - 1) + 1 for k, d in zip(kernel, dilation, strict=True))
    dense = xp.lib.stride_tricks.sliding_window_view(x, spans, tuple(range(-n, 0)))  # (..., *starts, *spans)
    chosen = dense[(..., *(slice(None, None, step) for step in (*stride, *dilation)))]
    return xp.moveaxis(chosen, range(-n, 0), range(-2 * n, -n))


def add_windows(xp, parts, size, stride, dilation):
    """Every element of the windows added to the place it was cut from: (..., *kernel, *out) -> (..., *size).

    It is the transpose of `windows`: the sum over x * add_windows(parts) is the sum over windows(x) * parts.
    """
    n = len(size)
    if isinstance(xp, Mirror):
        return xp.apply(AddWindows, parts, size=tuple(size), stride=stride, dilation=dilation)
    lead, kernel, out = parts.shape[: -2 * n], parts.shape[-2 * n : -n], parts.shape[-n:]
    x = xp.zeros((*lead, *size), parts.dtype)
    whole = (slice(None),) * n
    for place in itertools.product(*map(range, kernel)):  # all windows at once, one place in them after the other
        starts = (k * d for k, d in zip(place, dilation, strict=True))
        at = (slice(a, a + (m - 1) * s + 1, s) for a, m, s in zip(starts, out, stride, strict=True))
        x[(..., *at)] += parts[(..., *place, *whole)]
    return x


class Windows(Op):
    """y (..., *kernel, *out) = all windows of x (..., *size), copied out."""

    name = "windows"

    @staticmethod
    def forward(xp, x, *, kernel, stride, dilation):
        y = xp.array(windows(xp, x, kernel, stride, dilation), order="C")
        return y, (x.shape[-len(kernel) :], stride, dilation)

    @staticmethod
    def backward(xp, saved, gy):
        return add_windows(xp, gy, *saved)


class AddWindows(Op):
    """y (..., *size) = the windows x (..., *kernel, *out), added where they overlap."""

    name = "add_windows"

    @staticmethod
    def forward(xp, x, *, size, stride, dilation):
        n = len(size)
        return add_windows(xp, x, size, stride, dilation), (x.shape[-2 * n : -n], stride, dilation)

    @staticmethod
    def backward(xp, saved, gy):
        return xp.array(windows(xp, gy, *saved), order="C")
