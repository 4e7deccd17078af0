"""Picking elements by position, and its reverse: putting or summing elements at positions."""

from __future__ import annotations

import math


def add_rows(xp, n_rows, index, rows):
    """y (n_rows, ...): the sum of the rows that carry each index, in their order; zero where there is none.

    Shapes: index (N,), integers in [0, n_rows); rows (N, ...).
    """
    width = math.prod(rows.shape[1:])
    y = xp.zeros(n_rows * width, rows.dtype)
    # One flat index per element: NumPy adds at a flat index at the speed of memory, at rows of indices far slower.
    at = index.reshape(-1, 1) * width + xp.arange(width)
    xp.add.at(y, at.reshape(-1), rows.reshape(-1))
    return y.reshape(n_rows, *rows.shape[1:])
