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

        def malloc_postprocess(self, **about: Any) -> None:
            # CuPy would name the device that was current when its pools were made, not that of this memory.
            pool, device = cp.get_default_memory_pool(), cp.cuda.runtime.getDevice()
            peaks.used[device] = max(peaks.used.get(device, 0), pool.used_bytes())
            peaks.held[device] = max(peaks.held.get(device, 0), pool.total_bytes())

    Hook().__enter__()
    return peaks
