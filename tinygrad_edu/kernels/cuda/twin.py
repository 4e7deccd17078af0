"""What CUDA's twins share."""

from __future__ import annotations

from typing import Any

import cupy as cp

from ..twin import Twin as Twin
from .source import TYPES
from .sums import Sum


def fits(x: Any, *others: Any) -> bool:
    """Whether a kernel can read all of these: arrays of one floating dtype, not empty; the others may be None.

    x may be a sum that waits too: only twins with this type of sum in `takes` are given one.
    """
    return (
        (type(x) is cp.ndarray or isinstance(x, Sum)) and x.dtype.name in TYPES and x.size > 0
        and all(o is None or type(o) is cp.ndarray and o.dtype == x.dtype for o in others)
    )  # fmt: skip


def plain(x: Any) -> Any:
    """The array in the order of memory: itself, a copy, or None."""
    return None if x is None else cp.ascontiguousarray(x)
