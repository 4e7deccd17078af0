"""Activations in one pass over memory. Meaning: see ops/activation.py."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import prange

from ...ops import activation as ops
from .arithmetic import exp, f32
from .compiling import kernel
from .twin import Twin, fits

_A, _B, _3B = f32(ops.GeluTanh.a), f32(ops.GeluTanh.b), f32(3 * ops.GeluTanh.b)


@kernel("void(float32[::1], float32[::1])")
def _gelu_tanh(x, y):
    for i in prange(x.size):
        y[i] = x[i] / (f32(1) + exp(-(x[i] * (_A + _B * x[i] * x[i]))))


@kernel("void(float32[::1], float32[::1], float32[::1])")
def _gelu_tanh_backward(x, gy, gx):
    for i in prange(x.size):
        square = x[i] * x[i]
        s = f32(1) / (f32(1) + exp(-(x[i] * (_A + _B * square))))
        gx[i] = ((square * _3B + _A) * x[i] * (f32(1) - s) + f32(1)) * s * gy[i]


class GeluTanh(Twin):
    """Saves x alone: a second exponential costs less than a second array."""

    op = ops.GeluTanh

    @staticmethod
    def accepts(x: Any) -> bool:
        return fits(x)

    @staticmethod
    def forward(xp: Any, x: Any) -> Any:
        y = np.empty_like(x)
        _gelu_tanh(x.reshape(-1), y.reshape(-1))
        return y, (x,)

    @staticmethod
    def backward(xp: Any, saved: Any, gy: Any) -> Any:
        (x,) = saved
        gx = np.empty_like(x)
        _gelu_tanh_backward(x.reshape(-1), np.ascontiguousarray(gy).reshape(-1), gx.reshape(-1))
        return gx
