"""Layers of products. The bias may wait for the next kernel, and backward keeps the ones that it sums rows with.

Meaning: see ops/linalg.py.
"""

from __future__ import annotations

import functools
from typing import Any

import cupy as cp

from ...backend import capture
from ...ops import linalg as ops
from ...ops.linalg import rows
from .sums import biased
from .twin import Twin, fits


@functools.lru_cache(maxsize=8)
def _ones(n: int, dtype: Any, device: int, stream: int) -> Any:
    """Ones, made once: filled in this stream of work, so that no other may read them."""
    return cp.ones(n, dtype)


def _in_bfloat16(*sizes: int) -> bool:
    """Whether CuPy multiplies matrices of these sizes in bfloat16, adding up in float32.

    On AMD's GPUs the attempt ends the program, and the product of a row and a column is added up in bfloat16.
    """
    return not cp.cuda.runtime.is_hip and all(n > 1 for n in sizes)


class Linear(Twin):
    op, saved_for = ops.Linear, ops.Linear.saved_for

    @staticmethod
    def accepts(x: Any, weight: Any, bias: Any) -> bool:
        if x.dtype.name == "bfloat16":
            return fits(x, weight, bias) and _in_bfloat16(*weight.shape)
        return bias is not None and fits(x, weight, bias)

    @staticmethod
    def forward(xp: Any, x: Any, weight: Any, bias: Any) -> Any:
        product, saved = ops.Linear.forward(xp, x, weight, None)
        return product if bias is None else biased(product, bias), saved

    @staticmethod
    def backward(xp: Any, saved: Any, gy: Any) -> Any:
        g = rows(gy)

        def of_bias() -> Any:
            # What is made in a graph is the graph's.
            made = _ones if capture.current() is None else _ones.__wrapped__
            return made(len(g), g.dtype, g.device.id, cp.cuda.get_current_stream().ptr) @ g

        return *ops.Linear.backward(xp, saved, gy)[:2], of_bias


class Matmul(Twin):
    """In bfloat16 alone: all others are the readable op's, and stacks of such matrices are multiplied in float32."""

    op, saved_for = ops.Matmul, ops.Matmul.saved_for
    forward, backward = ops.Matmul.forward, ops.Matmul.backward

    @staticmethod
    def accepts(a: Any, b: Any) -> bool:
        narrow = a.dtype.name == "bfloat16" and a.ndim >= 2 == b.ndim and fits(a, b)
        return narrow and _in_bfloat16(len(ops.rows(a)), *b.shape)
