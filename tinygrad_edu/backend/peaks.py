"""The most memory of a GPU that was in use at once."""

from __future__ import annotations

import functools
from typing import Any

from . import gpu


class Peaks:
    """By GPU, the most bytes in use and held (in use, or kept for what comes next) since they were set anew."""

    def __init__(self) -> None:
        self.used: dict[int, int] = {}
        self.held: dict[int, int] = {}


@functools.cache
def watched() -> Peaks:
    """Follow CuPy's memory from now on: it calls a hook at every allocation, in the thread that asks for this first."""
    cp, peaks = gpu.cupy(), Peaks()

    class Hook(cp.cuda.memory_hook.MemoryHook):  # type: ignore[name-defined]
        name = "tinygrad_edu"

        def malloc_postprocess(self, *, device_id: int, **about: Any) -> None:
            pool = cp.get_default_memory_pool()
            peaks.used[device_id] = max(peaks.used.get(device_id, 0), pool.used_bytes())
            peaks.held[device_id] = max(peaks.held.get(device_id, 0), pool.total_bytes())

    Hook().__enter__()
    return peaks
