"""Pooling: where in each window the maximum lies. All else about pooling is a composition."""

from __future__ import annotations

import functools
import itertools

from .op import Op
from .windows import windows


class MaxPoolIndex(Op):
    """y = the index of each window's maximum, the first of equals; a NaN counts as the maximum.

    Shapes: x (..., *size), index (*size) -> y (..., *out). `index` says what number each spatial place of x goes by.
    """

    name, differentiable = "max_pool_index", False

    @staticmethod
    def forward(xp, x, index, *, kernel, stride, dilation):
        how, places = (kernel, stride, dilation), list(itertools.product(*map(range, kernel)))
        cut, numbers = xp.ascontiguousarray(windows(xp, x, *how)), windows(xp, index, *how)
        whole = (slice(None),) * len(kernel)
        parts = [cut[(..., *place, *whole)] for place in places]
        largest = functools.reduce(xp.maximum, parts)
        # Walk through the places, in all windows at once; y moves on with the walk until the maximum is met.
        searching, y = xp.ones(largest.shape, bool), xp.zeros(largest.shape, "int64") + numbers[places[0]]
        for part, here, following in zip(parts, places, places[1:], strict=False):
            searching = searching & (part != largest) & (part == part)  # NaN differs even from itself
            y = y + searching * (numbers[following] - numbers[here])
        return y, ()
