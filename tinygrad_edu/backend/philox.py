"""The bits of Philox-4x64-10 at any place of a stream, by NumPy's `Philox` or, the same ones, on a GPU.

A place is two integers, a seed (Philox's key, 128 bits) and a counter (256 bits) of blocks of four words.
Source: Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3".
"""

from __future__ import annotations

import functools
import threading
from pathlib import Path
from typing import Any

import numpy as np

BLOCK = 4  # words of 64 bits that Philox makes per step of its counter
PLACE = np.dtype([("key", np.uint64, 2), ("counter", np.uint64, 4)])  # as kernels take it
_KERNEL = """
extern "C" __global__ void write_words(Place place, long long n, Word* y)
{
    const long long block = (long long)blockIdx.x * blockDim.x + threadIdx.x;
    if (4 * block >= n) return;
    Word words[4];
    philox(place, block, words);
    for (int i = 0; i < 4 && 4 * block + i < n; i++) y[4 * block + i] = words[i];
}
"""
_THREADS = 128


def words(xp: Any, seed: int, counter: int, n: int) -> Any:
    """The n 64-bit words from this place on, as an array of NumPy or CuPy (`xp`)."""
    if xp is np:
        return _here.generator.words(seed, counter, n)
    y = xp.empty(n, "uint64")
    if n:
        _kernel(xp)((-(-n // (BLOCK * _THREADS)),), (_THREADS,), (place(seed, counter), xp.int64(n), y))
    return y


def place(seed: int, counter: int) -> Any:
    """The place as a record of words, the lowest first."""
    key = [seed >> shift & 2**64 - 1 for shift in (0, 64)]
    return np.array((key, [counter >> shift & 2**64 - 1 for shift in (0, 64, 128, 192)]), PLACE)


class _Generator:
    """NumPy's generator. It goes on from where it stands, and is moved if that is elsewhere."""

    __slots__ = ("bits", "counter", "seed")

    def __init__(self) -> None:
        self.bits, self.seed, self.counter = np.random.Philox(0), 0, -1

    def words(self, seed: int, counter: int, n: int) -> Any:
        blocks = (n + BLOCK - 1) // BLOCK
        if counter != self.counter or seed != self.seed:
            at = place(seed, counter)
            self.bits.state = {
                "bit_generator": "Philox", "state": {"key": at["key"], "counter": at["counter"]},
                "buffer": np.zeros(BLOCK, np.uint64), "buffer_pos": BLOCK, "has_uint32": 0, "uinteger": 0,
            }  # fmt: skip
            self.seed = seed
        self.counter = -1  # it stands nowhere until the words are made
        found = self.bits.random_raw(blocks * BLOCK)
        self.counter = counter + blocks
        return found[:n]


class _Here(threading.local):
    def __init__(self) -> None:
        self.generator = _Generator()


_here = _Here()  # a generator for each thread


@functools.cache
def _kernel(xp: Any) -> Any:
    return xp.RawKernel(Path(__file__).with_suffix(".cu").read_text(encoding="utf-8") + _KERNEL, "write_words")
