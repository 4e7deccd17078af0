"""From the text of a `.cu` file to a kernel that can be launched.

A kernel is compiled when it is first needed, for the type of its arrays and for what it takes as constants; CuPy keeps
the result on disk. The text is C++ that NVIDIA's and AMD's compilers both read: no warp is assumed to have 32 threads.
"""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import cupy as cp
import numpy as np

# By dtype: the type in memory (T), the type that kernels compute in (A), and the latter's dtype.
TYPES = {
    "float16": ("float16", "float", np.float32),
    "bfloat16": ("bfloat16", "float", np.float32),
    "float32": ("float", "float", np.float32),
    "float64": ("double", "double", np.float64),
}
_FOLDER = Path(__file__).parent
LARGEST_GRID = 1 << 16  # blocks of a kernel that goes over its elements in strides


@functools.cache
def _file(name: str) -> str:
    return (_FOLDER / f"{name}.cu").read_text(encoding="utf-8")


def text(file: str, dtype: str, **constants: Any) -> str:
    """All the text that the compiler is given: of the file, or of several whose names are joined by +."""
    in_memory, computed, _ = TYPES[dtype]
    lines = [f"#include <cupy/{in_memory}.cuh>"] if in_memory.endswith("16") else []
    lines += [f"typedef {in_memory} T;", f"typedef {computed} A;"]
    lines += [f"#define {name} {value}" for name, value in constants.items()]
    return "\n".join([*lines, *map(_file, ["common", *file.split("+")])])


@functools.cache
def kernel(file: str, name: str, dtype: str, **constants: Any) -> Any:
    """The function `name` of the file, for arrays of this dtype; to be called with blocks, threads and arguments."""
    return cp.RawKernel(text(file, dtype, **constants), name)


def accumulated(dtype: Any) -> Any:
    """The dtype that kernels compute in."""
    return TYPES[np.dtype(dtype).name][2]


def number(x: float, dtype: Any) -> Any:
    """A number as a kernel of this dtype takes it."""
    return accumulated(dtype)(x)


def threads_for(columns: int, largest: int = 256) -> int:
    """How many threads a block has that shares a row of so many columns: whole warps of 32 or 64."""
    return min(largest, -(-columns // 64) * 64)


def blocks_for(elements: int, threads: int) -> int:
    """How many blocks a kernel has that goes over its elements in strides."""
    return min(LARGEST_GRID, -(-elements // threads))
