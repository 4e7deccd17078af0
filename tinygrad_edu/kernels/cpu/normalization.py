"""Normalising rows without arrays in between. Meaning: see ops/normalization.py."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

from ...ops import normalization as ops
from ...ops.linalg import rows
from .arithmetic import f32, rsqrt
from .compiling import kernel
from .twin import Twin, fits, plain

_HEIGHT = 32  # rows whose shares in the gradients of weight and bias one thread adds up, however many threads there are


@kernel("float32[:, ::1], float32[::1], float32[::1], float32, boolean, float32[:, ::1], float32[::1], float32[::1]")
def _normalise(first, last, x, weight, bias, eps, centred, y, mean, rstd):
    """Layer norm; not centred: the mean counts as 0."""
    share = 1 / x.shape[1]  # in float64, so that the mean of equal numbers is the number itself
    for i in range(first, last):
        row, out = x[i], y[i]
        centre, squares = f32(0), f32(0)
        if centred:
            for j in range(row.size):
                centre += row[j]
        centre = f32(centre * share)
        for j in range(row.size):
            squares += (row[j] - centre) * (row[j] - centre)
        r = rsqrt(f32(squares * share) + eps)
        for j in range(row.size):
            out[j] = (row[j] - centre) * r * weight[j] + bias[j]
        mean[i], rstd[i] = centre, r


@kernel(
    "float32[:, ::1], float32[::1], float32[::1], float32[::1], boolean, float32[:, ::1], float32[:, ::1],"
    "float32[:, :, ::1]"
)
def _normalise_backward(first, last, x, mean, rstd, weight, centred, gy, gx, parts):
    """All gradients in one pass: that of x, and in `parts` those of weight and bias from each _HEIGHT rows."""
    share = f32(1) / f32(x.shape[1])
    for part in range(first, last):
        gweight, gbias = parts[part, 0], parts[part, 1]
        for j in range(gweight.size):
            gweight[j] = gbias[j] = f32(0)
        for i in range(part * _HEIGHT, min((part + 1) * _HEIGHT, x.shape[0])):
            row, g, out = x[i], gy[i], gx[i]
            centre, r = mean[i], rstd[i]
            from_mean, from_var = f32(0), f32(0)
            for j in range(row.size):
                xhat = (row[j] - centre) * r
                from_mean += g[j] * weight[j]
                from_var += g[j] * weight[j] * xhat
                gweight[j] += g[j] * xhat
                gbias[j] += g[j]
            from_mean = from_mean * share if centred else f32(0)
            from_var *= share
            for j in range(row.size):
                out[j] = (g[j] * weight[j] - from_mean - (row[j] - centre) * r * from_var) * r


@functools.lru_cache(maxsize=64)
def _constant(size: int, value: int) -> Any:
    return np.full(size, value, np.float32)


def _forward(x: Any, weight: Any, bias: Any, eps: float, centred: bool) -> Any:
    """Saves x and two numbers for each row."""
    r, y = rows(x), np.empty_like(x)
    n, size = r.shape
    mean, rstd = np.empty(n, np.float32), np.empty(n, np.float32)
    weight = _constant(size, 1) if weight is None else weight
    _normalise(n, r, weight, _constant(size, 0) if bias is None else bias, eps, centred, rows(y), mean, rstd)
    return y, (r, mean, rstd, weight)


def _backward(saved: Any, gy: Any, centred: bool) -> Any:
    """The gradients of x, weight and bias, all computed as soon as one is asked for."""

    @functools.cache
    def gradients() -> Any:
        r, mean, rstd, weight = saved
        gx, parts = np.empty(gy.shape, np.float32), np.empty((-(-len(r) // _HEIGHT), 2, len(weight)), np.float32)
        _normalise_backward(len(parts), r, mean, rstd, weight, centred, rows(plain(gy)), rows(gx), parts)
        return gx, parts

    return lambda: gradients()[0], lambda: gradients()[1][:, 0].sum(axis=0), lambda: gradients()[1][:, 1].sum(axis=0)


class LayerNorm(Twin):
    op = ops.LayerNorm

    @staticmethod
    def accepts(x: Any, weight: Any, bias: Any, *, eps: float) -> bool:
        return fits(x, weight, bias)

    @staticmethod
    def forward(xp: Any, x: Any, weight: Any, bias: Any, *, eps: float) -> Any:
        return _forward(x, weight, bias, eps, centred=True)

    @staticmethod
    def backward(xp: Any, saved: Any, gy: Any) -> Any:
        return _backward(saved, gy, centred=True)


class RmsNorm(Twin):
    op = ops.RmsNorm

    @staticmethod
    def accepts(x: Any, weight: Any, *, eps: float) -> bool:
        return fits(x, weight)

    @staticmethod
    def forward(xp: Any, x: Any, weight: Any, *, eps: float) -> Any:
        return _forward(x, weight, None, eps, centred=False)

    @staticmethod
    def backward(xp: Any, saved: Any, gy: Any) -> Any:
        return _backward(saved, gy, centred=False)[:2]
