"""Activations in one pass over memory. Meaning: see ops/activation.py."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ...ops import activation as ops
from ...ops.erf import _FAR
from .arithmetic import LOG2_E, exp, exp2, f32
from .compiling import Kernel, kernel, part
from .twin import Twin, fits, plain

_FORWARD, _BACKWARD = "float32[::1], float32[::1]", "float32[::1], float32[::1], float32[::1]"


class _Activation(Twin):
    """Saves x alone, as computing an exponential again costs less than a second array; or y alone."""

    compute: Kernel  # of x and y
    differentiate: Kernel  # of what is saved, gy and gx
    saves_y = False

    @staticmethod
    def accepts(x: Any) -> bool:
        return fits(x)

    @classmethod
    def forward(cls, xp: Any, x: Any) -> Any:
        y = np.empty_like(x)
        cls.compute(x.size, x.reshape(-1), y.reshape(-1))
        return y, (y if cls.saves_y else x,)

    @classmethod
    def backward(cls, xp: Any, saved: Any, gy: Any) -> Any:
        gx = np.empty(gy.shape, np.float32)
        cls.differentiate(gy.size, saved[0].reshape(-1), plain(gy).reshape(-1), gx.reshape(-1))
        return gx


_A, _3B = f32(ops.GeluTanh.a), f32(3 * ops.GeluTanh.b)
_A2, _B2 = f32(-LOG2_E * ops.GeluTanh.a), f32(-LOG2_E * ops.GeluTanh.b)  # for a power of 2


@kernel(_FORWARD)
def _gelu_tanh(first, last, x, y):
    x, y = x[first:last], y[first:last]
    for i in range(x.size):
        y[i] = x[i] / (f32(1) + exp2(x[i] * (_A2 + _B2 * x[i] * x[i])))


@kernel(_BACKWARD)
def _gelu_tanh_backward(first, last, x, gy, gx):
    x, gy, gx = x[first:last], gy[first:last], gx[first:last]
    for i in range(x.size):
        square = x[i] * x[i]
        s = f32(1) / (f32(1) + exp2(x[i] * (_A2 + _B2 * square)))
        gx[i] = ((square * _3B + _A) * x[i] * (f32(1) - s) + f32(1)) * s * gy[i]


class GeluTanh(_Activation):
    op, compute, differentiate = ops.GeluTanh, _gelu_tanh, _gelu_tanh_backward


_F = tuple(map(f32, _FAR["float32"]))
_SQRT_HALF, _DENSITY_0 = f32(math.sqrt(0.5)), f32(1 / math.sqrt(2 * math.pi))
_FAR_OUT = f32(100)  # where e^(-x^2 / 2) is 0, and infinity would give inf / inf


@part(forceinline=True)  # else loops over it would not become vector instructions
def _normal(x):
    """The normal distribution function of x, and e^(-x^2 / 2). See ops/erf.py for the polynomial."""
    e = exp2(f32(-0.5 * LOG2_E) * x * x)
    a = min(abs(x), _FAR_OUT) * _SQRT_HALF
    t = f32(1) - f32(6) / (a + f32(3))
    p = ((((_F[11] * t + _F[10]) * t + _F[9]) * t + _F[8]) * t + _F[7]) * t + _F[6]
    p = (((((p * t + _F[5]) * t + _F[4]) * t + _F[3]) * t + _F[2]) * t + _F[1]) * t + _F[0]
    beyond = f32(0.5) * e * p / (f32(1) + f32(2) * a)
    return (beyond if x < f32(0) else f32(1) - beyond), e


@kernel(_FORWARD)
def _gelu(first, last, x, y):
    x, y = x[first:last], y[first:last]
    for i in range(x.size):
        phi, e = _normal(x[i])
        y[i] = x[i] * phi


@kernel(_BACKWARD)
def _gelu_backward(first, last, x, gy, gx):
    x, gy, gx = x[first:last], gy[first:last], gx[first:last]
    for i in range(x.size):
        phi, e = _normal(x[i])
        gx[i] = gy[i] * (phi + x[i] * (e * _DENSITY_0))


class Gelu(_Activation):
    op, compute, differentiate = ops.Gelu, _gelu, _gelu_backward


@kernel(_FORWARD)
def _sigmoid(first, last, x, y):
    x, y = x[first:last], y[first:last]
    for i in range(x.size):
        y[i] = f32(1) / (f32(1) + exp(-x[i]))


@kernel(_BACKWARD)
def _sigmoid_backward(first, last, y, gy, gx):
    y, gy, gx = y[first:last], gy[first:last], gx[first:last]
    for i in range(y.size):
        gx[i] = gy[i] * (y[i] * (f32(1) - y[i]))


class Sigmoid(_Activation):
    op, compute, differentiate, saves_y = ops.Sigmoid, _sigmoid, _sigmoid_backward, True


@kernel(_FORWARD)
def _silu(first, last, x, y):
    x, y = x[first:last], y[first:last]
    for i in range(x.size):
        y[i] = x[i] / (f32(1) + exp(-x[i]))


@kernel(_BACKWARD)
def _silu_backward(first, last, x, gy, gx):
    x, gy, gx = x[first:last], gy[first:last], gx[first:last]
    for i in range(x.size):
        s = f32(1) / (f32(1) + exp(-x[i]))
        gx[i] = gy[i] * (s + x[i] * s * (f32(1) - s))


class Silu(_Activation):
    op, compute, differentiate = ops.Silu, _silu, _silu_backward


@kernel(_BACKWARD)
def _tanh_backward(first, last, y, gy, gx):
    y, gy, gx = y[first:last], gy[first:last], gx[first:last]
    for i in range(y.size):
        gx[i] = gy[i] * (f32(1) - y[i] * y[i])


class Tanh(_Activation):
    """Forward is NumPy's, which is fast."""

    op, differentiate = ops.Tanh, _tanh_backward
    forward = ops.Tanh.forward
