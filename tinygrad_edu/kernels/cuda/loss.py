"""Cross-entropy without an array beside the logits. Meaning: see ops/loss.py."""

from __future__ import annotations

from typing import Any

import cupy as cp
import numpy as np

from ...ops import loss as ops
from ..twin import holds_alone
from .source import accumulated, kernel, threads_for
from .twin import Twin, fits, plain


class CrossEntropy(Twin):
    """Saves the logits as they are, and two numbers for each row. The gradient takes their place in memory if it can:
    with a large vocabulary they are the largest array of a model."""

    op = ops.CrossEntropy

    @staticmethod
    def accepts(x: Any, target: Any, weight: Any, *, ignore_index: int, label_smoothing: float) -> bool:
        return fits(x) and weight is None and not label_smoothing

    @staticmethod
    def forward(xp: Any, x: Any, target: Any, weight: Any, *, ignore_index: int, label_smoothing: float) -> Any:
        x = plain(x)
        n, classes = x.shape
        target = target.astype(np.int64, order="C")  # a copy, which nobody can change before backward
        y = cp.empty(n, x.dtype)
        peak, total = cp.empty((2, n), accumulated(x.dtype))
        kernel("loss", "cross_entropy", x.dtype.name)(
            (n,), (threads_for(classes, 512),),
            (x, target, np.int64(ignore_index), np.int32(classes), y, peak, total),
        )  # fmt: skip
        return y, (x, target, ignore_index, peak, total)

    @staticmethod
    def backward(xp: Any, saved: Any, gy: Any) -> Any:
        return _gradient(saved, gy, in_place=False)

    @staticmethod
    def last_backward(xp: Any, saved: Any, gy: Any) -> Any:
        return _gradient(saved, gy, in_place=holds_alone(cp, saved))


def _gradient(saved: Any, gy: Any, in_place: bool) -> Any:
    x, target, ignored, peak, total = saved
    n, classes = x.shape
    gx = x if in_place else cp.empty_like(x)
    kernel("loss", "cross_entropy_backward", x.dtype.name)(
        (n,), (threads_for(classes, 512),),
        (x, target, np.int64(ignored), np.int32(classes), peak, total, plain(gy), gx),
    )  # fmt: skip
    return gx, None, None
