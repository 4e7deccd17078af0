"""Softmax and its logarithm over the last axis, a row at a time. Meaning: see ops/normalization.py."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...ops import normalization as ops
from ...ops.linalg import rows
from .arithmetic import exp, f32, maximum, minus
from .compiling import kernel
from .twin import Twin, fits, plain

_WIDTH = 1024  # columns that are added up at a time: sums of sums have fewer roundings


@kernel("float32[:, ::1], boolean, float32[:, ::1]")
def _softmax(first, last, x, in_logarithms, y):
    for i in range(first, last):
        row, out = x[i], y[i]
        top, total = f32(-np.inf), f32(0)
        for j in range(row.size):
            top = maximum(top, row[j])
        for left in range(0, row.size, _WIDTH):
            part, out_part, part_total = row[left : left + _WIDTH], out[left : left + _WIDTH], f32(0)
            for j in range(part.size):
                out_part[j] = exp(part[j] - top)
                part_total += out_part[j]
            total += part_total
        if in_logarithms:
            log_total = np.log(total)
            for j in range(row.size):
                out[j] = minus(minus(row[j], top), log_total)
        else:
            share = f32(1) / total
            for j in range(row.size):
                out[j] *= share


@kernel("float32[:, ::1], boolean, float32[:, ::1], float32[:, ::1]")
def _softmax_backward(first, last, y, in_logarithms, gy, gx):
    for i in range(first, last):
        row, g, out = y[i], gy[i], gx[i]
        total = f32(0)
        for left in range(0, row.size, _WIDTH):
            part, g_part, part_total = row[left : left + _WIDTH], g[left : left + _WIDTH], f32(0)
            if in_logarithms:
                for j in range(part.size):
                    part_total += g_part[j]
            else:
                for j in range(part.size):
                    part_total += g_part[j] * part[j]
            total += part_total
        if in_logarithms:
            for j in range(row.size):
                out[j] = g[j] - exp(row[j]) * total
        else:
            for j in range(row.size):
                out[j] = row[j] * (g[j] - total)


class _OverLastAxis(Twin):
    in_logarithms: bool

    @staticmethod
    def accepts(x: Any, *, axis: Any) -> bool:
        return axis in (x.ndim - 1, (x.ndim - 1,)) and fits(x)

    @classmethod
    def forward(cls, xp: Any, x: Any, *, axis: Any) -> Any:
        y = np.empty_like(x)
        r = rows(x)
        _softmax(len(r), r, cls.in_logarithms, rows(y))
        return y, (y,)

    @classmethod
    def backward(cls, xp: Any, saved: Any, gy: Any) -> Any:
        (y,) = saved
        gx = np.empty_like(y)
        r = rows(y)
        _softmax_backward(len(r), r, cls.in_logarithms, rows(plain(gy)), rows(gx))
        return gx


class Softmax(_OverLastAxis):
    op, in_logarithms = ops.Softmax, False


class LogSoftmax(_OverLastAxis):
    op, in_logarithms = ops.LogSoftmax, True
