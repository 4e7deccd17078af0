"""Softmax and its relatives; layer normalisation."""

from __future__ import annotations

from .op import Op


def shifted(xp, x, axis):
    """x minus its maximum over an axis, so that exp cannot overflow."""
    return x - x.max(axis=axis, keepdims=True, initial=-xp.inf)


class Softmax(Op):
    """y = exp(x) / sum(exp(x)) over an axis."""

    name = "softmax"

    @staticmethod
    def forward(xp, x, *, axis):
        e = xp.exp(shifted(xp, x, axis))
        y = e / e.sum(axis=axis, keepdims=True)
        return y, (y, axis)

    @staticmethod
    def backward(xp, saved, gy):
        y, axis = saved
        return y * (gy - (gy * y).sum(axis=axis, keepdims=True))


class LogSoftmax(Op):
    """y = x - log(sum(exp(x))) over an axis."""

    name = "log_softmax"

    @staticmethod
    def forward(xp, x, *, axis):
        s = shifted(xp, x, axis)
        y = s - xp.log(xp.exp(s).sum(axis=axis, keepdims=True))
        return y, (y, axis)

    @staticmethod
    def backward(xp, saved, gy):
        y, axis = saved
        return gy - xp.exp(y) * gy.sum(axis=axis, keepdims=True)


class LayerNorm(Op):
    """Normalise the last axis, then scale and shift.

    Shapes: x (..., C), weight (C,) or None, bias (C,) or None -> y (..., C).
    y = xhat * weight + bias, xhat = (x - mean) * rstd, rstd = 1 / sqrt(var + eps); var divides by C.
    Source: Ba, Kiros, Hinton 2016, arXiv:1607.06450.
    """

    name = "layer_norm"
    saved_for = (0, 1), (0,), (0,)

    @staticmethod
    def forward(xp, x, weight, bias, *, eps):
        centred = x - mean(xp, x)
        rstd = 1 / xp.sqrt(mean(xp, centred * centred) + eps)
        xhat = centred * rstd
        y = xhat if weight is None else xhat * weight
        return y if bias is None else y + bias, (xhat, rstd, weight)

    @staticmethod
    def backward(xp, saved, gy):
        xhat, rstd, weight = saved

        def grad_x():
            g = gy if weight is None else gy * weight  # dL/dxhat
            from_mean = mean(xp, g)  # x also moved the mean
            from_var = mean(xp, g * xhat)  # ... and the variance
            return rstd * (g - from_mean - xhat * from_var)

        return grad_x, lambda: sum_rows(xp, gy * xhat), lambda: sum_rows(xp, gy)


def mean(xp, x):
    """The mean over the last axis, which stays with size 1. As a product it is several times faster than x.mean()."""
    size = x.shape[-1]
    return (x.reshape(-1, size) @ xp.full(size, 1 / size, x.dtype)).reshape(*x.shape[:-1], 1)


def sum_rows(xp, x):
    """The sum over all axes but the last. As a product it is faster than x.sum()."""
    rows = x.reshape(-1, x.shape[-1])
    return xp.ones(len(rows), x.dtype) @ rows
