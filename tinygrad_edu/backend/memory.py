"""Memory that comes back every step should not be fetched from the operating system every step.

A training step frees and asks for the same arrays again and again. The C library gives large ones back to the system at
once, and every page of the next one is then fetched and cleared anew: a fifth of a small model's step. With glibc
(Linux) two settings keep freed memory in the process. Elsewhere nothing is changed.

The setting holds for the whole process, which keeps the memory of its largest moment until it ends. The environment
variable TINYGRAD_EDU_KEEP_MEMORY=0 leaves the C library as it is.
"""

from __future__ import annotations

import ctypes
import os

# From malloc.h: how much free memory at the end of the heap is kept, and from what size arrays live outside the heap.
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
_LARGEST = 2**31 - 1  # the settings are C ints


def keep_freed_memory() -> bool:
    """Keep freed memory for the next allocation. Returns whether the C library took the setting."""
    if os.environ.get("TINYGRAD_EDU_KEEP_MEMORY", "1") == "0" or not _is_glibc():
        return False
    mallopt = ctypes.CDLL(None).mallopt
    in_heap = mallopt(M_MMAP_THRESHOLD, _LARGEST // 2) or mallopt(M_MMAP_THRESHOLD, 2**25)  # older limit: 32 MiB
    return bool(in_heap) and bool(mallopt(M_TRIM_THRESHOLD, _LARGEST))


def _is_glibc() -> bool:
    try:
        return (os.confstr("CS_GNU_LIBC_VERSION") or "").startswith("glibc")
    except (AttributeError, ValueError, OSError):  # no confstr (Windows), or a system without this name
        return False
