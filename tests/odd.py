"""Arrays on which a kernel that is nearly right goes wrong."""

from __future__ import annotations

import numpy as np


def odd_rows(shape, rng):
    """Numbers with rows of infinities, NaN, equal and huge values, signed zeros and the smallest numbers there are."""
    x = rng.standard_normal(shape).astype(np.float32)
    x[0, 3], x[1, 2], x[2, 1], x[3], x[4], x[5] = np.inf, -np.inf, np.nan, -np.inf, 1e15 * x[4], 2.0
    x[6, :4] = 0.0, -0.0, 1e-40, -1e-40
    x[7], x[8, ::2], x[9] = -np.nan, -1e36, np.linspace(-120, 120, shape[1])
    x[10, 1:] = -np.inf
    return x
