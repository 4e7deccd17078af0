"""Cross-entropy without an array beside the logits. Meaning: see ops/loss.py."""

from __future__ import annotations

import functools
import sys
from typing import Any

import cupy as cp
import numpy as np

from ...ops import loss as ops
from .source import accumulated, kernel, threads_for
from .twin import Twin, fits, plain


def _references(saved: Any) -> tuple[int, int]:
    """How many references there are to the first saved array, and to the array whose memory it shows, or 0."""
    return sys.getrefcount(saved[0]), 0 if saved[0].base is None else sys.getrefcount(saved[0].base)


@functools.cache
def _alone() -> Any:
    """The counts for an array that only its tuple refers to. None: free-threaded Python spreads counts over threads."""
    return _references((cp.empty(1).reshape(1, 1),)) if getattr(sys, "_is_gil_enabled", lambda: True)() else None


def _holds_alone(saved: Any) -> bool:
    """Whether the first saved array can be reached through this tuple only, so that its memory may be used anew.

    Whoever could still look at it (a tensor, a view, another node) holds a reference, and Python counts them.
    """
    if _alone() is None:
        return False
    of_array, of_base = _references(saved)
    memory = saved[0] if saved[0].base is None else saved[0].base
    return type(memory) is cp.ndarray and of_array == _alone()[0] and of_base in (0, _alone()[1])


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
        return _gradient(saved, gy, _holds_alone(saved))


def _gradient(saved: Any, gy: Any, in_place: bool) -> Any:
    x, target, ignored, peak, total = saved
    n, classes = x.shape
    gx = x if in_place else cp.empty_like(x)
    kernel("loss", "cross_entropy_backward", x.dtype.name)(
        (n,), (threads_for(classes, 512),),
        (x, target, np.int64(ignored), np.int32(classes), peak, total, plain(gy), gx),
    )  # fmt: skip
    return gx, None, None
