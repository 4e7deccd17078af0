"""Softmax and its relatives; layer normalisation."""

from __future__ import annotations

import math

from .op import Op


class Softmax(Op):
    """y = exp(x) / sum(exp(x)) over an axis."""

    name = "softmax"

    @staticmethod
    def forward(xp, x, *, axis):
        e = xp.exp(below_zero(xp, x, axis))
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
        s = below_zero(xp, x, axis)
        y = s - xp.log(xp.exp(s).sum(axis=axis, keepdims=True))
        return y, (y, axis)

    @staticmethod
    def backward(xp, saved, gy):
        y, axis = saved
        return gy - xp.exp(y) * gy.sum(axis=axis, keepdims=True)


def below_zero(xp, x, axis):
    """x minus its maximum over an axis: softmax stays the same, and exp cannot overflow."""
    return x - xp.max(x, axis=axis, keepdims=True, initial=-xp.inf)


class LayerNorm(Op):
    """Normalise the last axis, then scale and shift.

    Shapes: x (..., C), weight (C,) or None, bias (C,) or None -> y (..., C).
    y = xhat * weight + bias, xhat = (x - mean) * rstd, rstd = 1 / sqrt(var + eps); var divides by C.
    Saved: xhat, rstd and weight; x itself may be freed.
    Source: Ba, Kiros, Hinton 2016, arXiv:1607.06450.
    """

    name = "layer_norm"

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
        scaled = gy * xhat

        def grad_x():
            g = gy if weight is None else gy * weight  # dL/dxhat
            from_mean = mean(xp, gy, weight)  # x also moved the mean
            from_var = mean(xp, scaled, weight)  # ... and the variance
            return (g - from_mean - xhat * from_var) * rstd

        return grad_x, lambda: sum_rows(xp, scaled), lambda: sum_rows(xp, gy)


class RmsNorm(Op):
    """Divide the last axis by its root mean square, then scale.

    Shapes: x (..., C), weight (C,) or None -> y (..., C).
    y = xhat * weight, xhat = x * rstd, rstd = 1 / sqrt(mean(x^2) + eps).
    Source: Zhang and Sennrich 2019, arXiv:1910.07467, equation 4.
    """

    name = "rms_norm"

    @staticmethod
    def forward(xp, x, weight, *, eps):
        rstd = 1 / xp.sqrt(mean(xp, x * x) + eps)
        xhat = x * rstd
        return xhat if weight is None else xhat * weight, (xhat, rstd, weight)

    @staticmethod
    def backward(xp, saved, gy):
        xhat, rstd, weight = saved
        scaled = gy * xhat

        def grad_x():
            g = gy if weight is None else gy * weight  # dL/dxhat
            from_square = mean(xp, scaled, weight)  # x also moved the mean square
            return (g - xhat * from_square) * rstd

        return grad_x, lambda: sum_rows(xp, scaled)


# Both sums as products with a vector: on the CPU that is several times faster than .mean(axis=-1) and .sum(axis=0).


def mean(xp, x, weight=None):
    """The mean of x, or of x * weight, over the last axis, which stays with size 1."""
    share = 1 / max(x.shape[-1], 1)
    vector = xp.full(x.shape[-1], share, x.dtype) if weight is None else weight * share
    return (x @ vector)[..., None]


def sum_rows(xp, x):
    """The sum over all axes but the last."""
    n = math.prod(x.shape[:-1])
    return xp.ones(n, x.dtype) @ x.reshape(n, x.shape[-1])
