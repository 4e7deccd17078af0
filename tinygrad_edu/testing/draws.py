"""Random inputs that are the same on every platform and NumPy version, so that stored results can be compared."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..backend.random import Stream

_GRID = 2.0**20


class Draws:
    """The part of `numpy.random.Generator` that samples use, over our own streams.

    Floating numbers are multiples of 2**-20. So the last bit of a logarithm or tangent, in which platforms differ,
    does not show, and float32 holds most of them exactly.
    """

    def __init__(self, seed: int) -> None:
        self._stream = Stream(seed)

    def standard_normal(self, size: Any = ()) -> Any:
        return np.asarray(np.round(self._stream.normal(_shape(size), np.float64) * _GRID) / _GRID)

    def uniform(self, low: Any = 0.0, high: Any = 1.0, size: Any = ()) -> Any:
        u = self._stream.uniform(_shape(size), np.float64)
        return np.asarray(np.floor((low + (high - low) * u) * _GRID) / _GRID)

    def random(self, size: Any = ()) -> Any:
        return self.uniform(size=size)

    def integers(self, low: int, high: int | None = None, size: Any = ()) -> Any:
        low, high = (0, low) if high is None else (low, high)
        return self._stream.integers(low, high, _shape(size))

    def permutation(self, n: int) -> Any:
        return self._stream.permutation(n)

    def choice(self, a: Sequence[Any], size: Any = ()) -> Any:
        return np.asarray(a)[self._stream.integers(0, len(a), _shape(size))]

    def dirichlet(self, alpha: Any, size: Any = ()) -> Any:
        """Shares that add up to 1, for an alpha of ones alone: exponential numbers divided by their sum."""
        if not np.all(np.asarray(alpha) == 1):
            raise NotImplementedError("Draws.dirichlet: only an alpha of ones; scale other shares by hand")
        e = -np.log1p(-self._stream.uniform((*_shape(size), len(alpha)), np.float64))
        return np.round(e / e.sum(axis=-1, keepdims=True) * _GRID) / _GRID


def _shape(size: Any) -> tuple[int, ...]:
    return (int(size),) if isinstance(size, (int, np.integer)) else tuple(size)
