"""Activations in one pass over memory. Meaning: see ops/activation.py."""

from __future__ import annotations

from typing import Any

import cupy as cp
import numpy as np

from ...ops import activation as ops
from .source import blocks_for, kernel
from .sums import Biased, taken
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
        y = cp.empty(x.shape, x.dtype)
        with taken(x) as (x, bias, _, total):
            if total is None:
                cls._launch("forward", x, y)
            else:
                cls._launch("forward_biased", np.uint32(x.shape[-1]), bias, x, y)
        return y, (y if cls.saves_y else x,)

    @classmethod
    def backward(cls, xp: Any, saved: Any, gy: Any) -> Any:
        gx = cp.empty(gy.shape, gy.dtype)
        cls._launch("backward", saved[0], plain(gy), gx)
        return gx

    @classmethod
    def _launch(cls, name: str, *arrays: Any) -> None:
        n, dtype = arrays[-1].size, arrays[-1].dtype.name
        kernel("activation", name, dtype, ACTIVATION=cls.function)(
            (blocks_for(n, _THREADS),), (_THREADS,), (np.int64(n), *arrays)
        )


class GeluTanh(_Activation):
    op, function, takes = ops.GeluTanh, "gelu_tanh", (Biased,)


class Gelu(_Activation):
    op, function, takes = ops.Gelu, "gelu", (Biased,)


class Silu(_Activation):
    op, function, takes = ops.Silu, "silu", (Biased,)


class Sigmoid(_Activation):
    op, function, saves_y = ops.Sigmoid, "sigmoid", True


class Tanh(_Activation):
    op, function, saves_y = ops.Tanh, "hyperbolic_tangent", True
