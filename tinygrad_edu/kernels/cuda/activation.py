"""Activations in one pass over memory. Meaning: see ops/activation.py."""

from __future__ import annotations

from typing import Any

import cupy as cp
import numpy as np

from ...ops import activation as ops
from .source import blocks_for, kernel
from .twin import Twin, fits, plain

_THREADS = 256


class _Activation(Twin):
    """Saves x alone, as computing an exponential again costs less than a second array; or y alone."""

    function: str  # in activation.cu
    saves_y = False

    @staticmethod
    def accepts(x: Any) -> bool:
        return fits(x)

    @classmethod
    def forward(cls, xp: Any, x: Any) -> Any:
        x, y = plain(x), cp.empty(x.shape, x.dtype)
        cls._launch("forward", x, y)
        return y, (y if cls.saves_y else x,)

    @classmethod
    def backward(cls, xp: Any, saved: Any, gy: Any) -> Any:
        gx = cp.empty(gy.shape, gy.dtype)
        cls._launch("backward", saved[0], plain(gy), gx)
        return gx

    @classmethod
    def _launch(cls, name: str, *arrays: Any) -> None:
        n = arrays[0].size
        kernel("activation", name, arrays[0].dtype.name, ACTIVATION=cls.function)(
            (blocks_for(n, _THREADS),), (_THREADS,), (np.int64(n), *arrays)
        )


class GeluTanh(_Activation):
    op, function = ops.GeluTanh, "gelu_tanh"


class Gelu(_Activation):
    op, function = ops.Gelu, "gelu"


class Silu(_Activation):
    op, function = ops.Silu, "silu"


class Sigmoid(_Activation):
    op, function, saves_y = ops.Sigmoid, "sigmoid", True


class Tanh(_Activation):
    op, function, saves_y = ops.Tanh, "hyperbolic_tangent", True
