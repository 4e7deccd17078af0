"""Cross-entropy without an array beside the logits. Meaning: see ops/loss.py."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...ops import loss as ops
from ..twin import holds_alone
from .arithmetic import exp, f32, maximum, minus
from .compiling import kernel
from .twin import Twin, fits, plain

_WIDTH = 1024  # columns whose exponentials are added up at a time: sums of sums have fewer roundings


@kernel("float32[:, ::1], int64[::1], int64, float32[::1], float32[::1], float32[::1]")
def _cross_entropy(first, last, x, target, ignored, y, peak, total):
    for i in range(first, last):
        row = x[i]
        top, sums = f32(-np.inf), f32(0)
        for j in range(row.size):
            top = maximum(top, row[j])
        for left in range(0, row.size, _WIDTH):
            part = row[left : left + _WIDTH]
            part_sum = f32(0)
            for j in range(part.size):
                part_sum += exp(part[j] - top)
            sums += part_sum
        y[i] = f32(0) if target[i] == ignored else minus(np.log(sums), minus(row[target[i]], top))
        peak[i], total[i] = top, sums


@kernel("float32[:, ::1], int64[::1], int64, float32[::1], float32[::1], float32[::1], float32[:, ::1], boolean")
def _cross_entropy_backward(first, last, x, target, ignored, peak, total, gy, gx, gx_is_x):
    for i in range(first, last):
        g = f32(0) if target[i] == ignored else gy[i]
        row, out = x[i], gx[i]
        top, share = peak[i], g / total[i]
        if gx_is_x:  # with two names for one array the loop would not become vector instructions
            for j in range(row.size):
                row[j] = exp(row[j] - top) * share
        else:
            for j in range(row.size):
                out[j] = exp(row[j] - top) * share
        if target[i] != ignored:
            out[target[i]] -= g


class CrossEntropy(Twin):
    """Saves the logits as they are, and two numbers for each row. The gradient takes their place in memory if it can:
    with a large vocabulary they are the largest array of a model."""

    op = ops.CrossEntropy

    @staticmethod
    def accepts(x: Any, target: Any, weight: Any, *, ignore_index: int, label_smoothing: float) -> bool:
        return fits(x) and x.shape[1] > 0 and weight is None and not label_smoothing

    @staticmethod
    def forward(xp: Any, x: Any, target: Any, weight: Any, *, ignore_index: int, label_smoothing: float) -> Any:
        target = target.astype(np.int64)  # a copy, which nobody can change before backward
        y, peak, total = np.empty((3, len(x)), np.float32)
        _cross_entropy(len(x), x, target, ignore_index, y, peak, total)
        return y, (x, target, ignore_index, peak, total)

    @staticmethod
    def backward(xp: Any, saved: Any, gy: Any) -> Any:
        return _gradient(saved, gy, in_place=False)

    @staticmethod
    def last_backward(xp: Any, saved: Any, gy: Any) -> Any:
        return _gradient(saved, gy, in_place=saved[0].flags.writeable and holds_alone(np, saved))


def _gradient(saved: Any, gy: Any, in_place: bool) -> Any:
    x, target, ignored, peak, total = saved
    gx = x if in_place else np.empty_like(x)
    _cross_entropy_backward(len(x), x, target, ignored, peak, total, plain(gy), gx, in_place)
    return gx, None, None
