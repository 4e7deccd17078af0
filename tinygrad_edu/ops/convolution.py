"""Convolution over any number of spatial axes.

Three functions carry it. Each is linear in both of its arguments, and each is one product of matrices:

    y = correlate(x, weight)        windows of x times the weight
    x = spread(y, weight)           its transpose in x: every y paints the weight onto x
    weight = match(x, y)            its transpose in the weight: which x stood where for which y

So the gradients of a convolution are the other two, and a transposed convolution is `spread` with the gradients
`correlate` and `match`. Shapes: x (B, C, *size), y (B, O, *out), weight (O, C / groups, *kernel). Channels of x meet
those of y within their group only: C = (groups, C / groups), O = (groups, O / groups).

Source: Dumoulin and Visin 2016, arXiv:1603.07285.
"""

from __future__ import annotations

import math

from .op import Op
from .windows import add_windows, windows


def correlate(xp, x, weight, stride, dilation, groups):
    """y[b, o, i] = sum over c and k of x[b, c, i * stride + k * dilation] * weight[o, c, k]."""
    kernel = weight.shape[2:]
    columns, out = _columns(xp, x, kernel, stride, dilation, groups)
    y = _matrix(weight, groups) @ columns  # (B, groups, O / groups, number of windows)
    return y.reshape(len(x), len(weight), *out)


def spread(xp, y, weight, size, stride, dilation, groups):
    """x[b, c, i * stride + k * dilation] = sum over o of y[b, o, i] * weight[o, c, k], places that meet added."""
    batch, _, *out = y.shape
    per_group, *kernel = weight.shape[1:]
    columns = _matrix(weight, groups).swapaxes(-1, -2) @ _rows(y, groups)
    parts = columns.reshape(batch, groups * per_group, *kernel, *out)
    return add_windows(xp, parts, size, stride, dilation)


def match(xp, x, y, kernel, stride, dilation, groups):
    """weight[o, c, k] = sum over b and i of x[b, c, i * stride + k * dilation] * y[b, o, i]."""
    columns, _ = _columns(xp, x, kernel, stride, dilation, groups)
    weight = (_rows(y, groups) @ columns.swapaxes(-1, -2)).sum(axis=0)
    return weight.reshape(y.shape[1], x.shape[1] // groups, *kernel)


def _columns(xp, x, kernel, stride, dilation, groups):
    """The windows of x as columns of a matrix per group, (B, groups, C / groups * places, windows), and `out`."""
    cut = windows(xp, x, kernel, stride, dilation)
    out = cut.shape[-len(kernel) :]
    return cut.reshape(len(x), groups, x.shape[1] // groups * math.prod(kernel), math.prod(out)), out


def _matrix(weight, groups):
    """(O, C / groups, *kernel) -> (groups, O / groups, C / groups * places)."""
    return weight.reshape(groups, len(weight) // groups, math.prod(weight.shape[1:]))


def _rows(y, groups):
    """(B, O, *out) -> (B, groups, O / groups, windows)."""
    return y.reshape(len(y), groups, y.shape[1] // groups, math.prod(y.shape[2:]))


class Convolution(Op):
    """y = correlate(x, weight).

    Shapes: x (B, C, *size), weight (O, C / groups, *kernel) -> y (B, O, *out).
    """

    name = "convolution"
    saved_for = (1,), (0,), (0, 1), (0, 1), (0, 1)

    @staticmethod
    def forward(xp, x, weight, *, stride, dilation, groups):
        how = stride, dilation, groups
        return correlate(xp, x, weight, *how), (x, weight, x.shape[2:], weight.shape[2:], how)

    @staticmethod
    def backward(xp, saved, gy):
        x, weight, size, kernel, how = saved
        return lambda: spread(xp, gy, weight, size, *how), lambda: match(xp, x, gy, kernel, *how)


class ConvolutionTransposed(Op):
    """y = spread(x, weight), as large as the windows reach.

    Shapes: x (B, O, *out), weight (O, C / groups, *kernel) -> y (B, C, *size), size = (out - 1) * stride +
    (kernel - 1) * dilation + 1. The letters are those of the convolution that it transposes.
    """

    name = "convolution_transposed"
    saved_for = (1,), (0,), (0, 1), (0, 1)

    @staticmethod
    def forward(xp, x, weight, *, stride, dilation, groups):
        kernel, how = weight.shape[2:], (stride, dilation, groups)
        size = tuple(
            (m - 1) * s + (k - 1) * d + 1 for m, k, s, d in zip(x.shape[2:], kernel, stride, dilation, strict=True)
        )
        return spread(xp, x, weight, size, *how), (x, weight, kernel, how)

    @staticmethod
    def backward(xp, saved, gy):
        x, weight, kernel, how = saved
        return lambda: correlate(xp, gy, weight, *how), lambda: match(xp, gy, x, kernel, *how)
