"""What CUDA's twins share."""

from __future__ import annotations

from typing import Any

import cupy as cp

from ...ops.op import Op
from .source import TYPES


class Twin(Op):
    """A pair of compiled functions with the meaning of `op`; see `dispatch.register_twin`.

    It may assume what `accepts` has checked. Arrays in another order than memory's are copied into that order.
    """

    op: type[Op]

    @staticmethod
    def accepts(*arrays: Any, **attrs: Any) -> bool:
        raise NotImplementedError


def fits(x: Any, *others: Any) -> bool:
    """Whether a kernel can read all of these: arrays of one floating dtype, not empty; the others may be None."""
    return (
        type(x) is cp.ndarray and x.dtype.name in TYPES and x.size > 0
        and all(o is None or type(o) is cp.ndarray and o.dtype == x.dtype for o in others)
    )  # fmt: skip


def plain(x: Any) -> Any:
    """The array in the order of memory: itself, a copy, or None."""
    return None if x is None else cp.ascontiguousarray(x)
