"""Softmax and its logarithm over the last axis, a row for each block. Meaning: see ops/normalization.py."""

from __future__ import annotations

from typing import Any

import cupy as cp
import numpy as np

from ...ops import normalization as ops
from ...ops.linalg import rows
from .source import kernel, threads_for
from .twin import Twin, fits, plain


class _OverLastAxis(Twin):
    in_logarithms: bool

    @staticmethod
    def accepts(x: Any, *, axis: Any) -> bool:
        return axis in (x.ndim - 1, (x.ndim - 1,)) and fits(x)

    @classmethod
    def forward(cls, xp: Any, x: Any, *, axis: Any) -> Any:
        y = cp.empty(x.shape, x.dtype)
        cls._launch("softmax", [plain(x)], y)
        return y, (y,)

    @classmethod
    def backward(cls, xp: Any, saved: Any, gy: Any) -> Any:
        gx = cp.empty(gy.shape, gy.dtype)
        cls._launch("softmax_backward", [saved[0], plain(gy)], gx)
        return gx

    @classmethod
    def _launch(cls, name: str, given: list[Any], y: Any) -> None:
        n, columns = rows(y).shape
        kernel("softmax", name, y.dtype.name)(
            (n,), (threads_for(columns),), (*given, np.int32(columns), np.bool_(cls.in_logarithms), y)
        )


class Softmax(_OverLastAxis):
    op, in_logarithms = ops.Softmax, False


class LogSoftmax(_OverLastAxis):
    op, in_logarithms = ops.LogSoftmax, True
