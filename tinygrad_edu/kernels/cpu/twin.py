"""What the CPU's twins share."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import smallest_for, twin

_FLOAT32 = np.dtype(np.float32)


class Twin(twin.Twin):
    """It runs on float32 only."""

    smallest: int

    def __init_subclass__(cls) -> None:
        if hasattr(cls, "op"):  # else it is what some twins share
            cls.smallest = smallest_for(cls.op.name)


def fits(x: Any, *others: Any) -> bool:
    """Whether a kernel can read all of these: float32 in memory order; the others may be None."""
    return is_plain(x) and all(other is None or is_plain(other) for other in others)


def is_plain(x: Any) -> bool:
    """Whether this is a float32 array whose elements lie in order in memory that may be written."""
    # Equal, not identical: arrays that were read from a file or unpickled have a dtype object of their own, and so has
    # what is computed from them.
    return type(x) is np.ndarray and x.dtype == _FLOAT32 and x.flags.c_contiguous and x.flags.writeable


def plain(g: Any) -> Any:
    """A gradient as kernels take it: itself, or a copy if it is a view of another order or of a repeated element."""
    return g if g.flags.c_contiguous and g.flags.writeable else g.copy()
