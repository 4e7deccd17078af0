"""What the twins of all devices share."""

from __future__ import annotations

import functools
import sys
from typing import Any

import numpy as np

from ..ops.op import Op


class Twin(Op):
    """A pair of compiled functions with the meaning of `op`; see `dispatch.register_twin`.

    It may assume what `accepts` has checked.
    """

    op: type[Op]

    @staticmethod
    def accepts(*arrays: Any, **attrs: Any) -> bool:
        raise NotImplementedError


def holds_alone(xp: Any, saved: Any) -> bool:
    """Whether the first saved array can be reached through this tuple only, so that its memory may be used anew.

    Whoever could still look at it (a tensor, a view, another node) holds a reference, and Python counts them. False for
    memory that is not `xp`'s own, whose users Python does not know.
    """
    alone = _references(saved) in _alone(xp)
    owner = saved[0] if saved[0].base is None else saved[0].base
    return alone and type(owner) is xp.ndarray and owner.flags.owndata


@functools.cache
def _alone(xp: Any) -> tuple[Any, ...]:
    """The counts for an array that only its tuple refers to, with memory of its own and as another's only view.

    There are none in a free-threaded Python, which spreads its counts over threads.
    """
    if not getattr(sys, "_is_gil_enabled", lambda: True)():
        return ()
    return _references((xp.empty((1, 1)),)), _references((xp.empty(1).reshape(1, 1),))


def _references(saved: Any) -> tuple[int, ...]:
    """How many references there are to the first saved array, to the one whose memory it shows (0: none), and to that
    memory, which CuPy's views with strides of their own share without a base."""
    x = saved[0]
    counts = sys.getrefcount(x), 0 if x.base is None else sys.getrefcount(x.base)
    return counts if isinstance(x, np.ndarray) else (*counts, sys.getrefcount(x.data), sys.getrefcount(x.data.mem))
