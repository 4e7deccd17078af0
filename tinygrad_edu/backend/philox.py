"""The bits of Philox-4x64-10 on a GPU: those of NumPy's `Philox`, one block of four words by each thread.

Source: Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3".
"""

from __future__ import annotations

import functools
from typing import Any

_TEXT = r"""
typedef unsigned long long Word;

extern "C" __global__ void philox(Word k0, Word k1, Word c0, Word c1, Word c2, Word c3, long long n, Word* y) {
    const long long i = (long long)blockIdx.x * blockDim.x + threadIdx.x;
    if (4 * i >= n) return;
    // The counter of this block: NumPy counts up before it makes one.
    Word x0 = c0 + 1 + i;
    Word carry = x0 < c0;
    Word x1 = c1 + carry; carry = carry && x1 == 0;
    Word x2 = c2 + carry; carry = carry && x2 == 0;
    Word x3 = c3 + carry;
    for (int round = 0; round < 10; ++round) {
        const Word low0 = 0xD2E7470EE14C6C93ULL * x0, high0 = __umul64hi(0xD2E7470EE14C6C93ULL, x0);
        const Word low1 = 0xCA5A826395121157ULL * x2, high1 = __umul64hi(0xCA5A826395121157ULL, x2);
        x0 = high1 ^ x1 ^ k0; x1 = low1;
        x2 = high0 ^ x3 ^ k1; x3 = low0;
        k0 += 0x9E3779B97F4A7C15ULL;
        k1 += 0xBB67AE8584CAA73BULL;
    }
    const Word words[4] = {x0, x1, x2, x3};
    for (int j = 0; j < 4 && 4 * i + j < n; ++j) y[4 * i + j] = words[j];
}
"""
_THREADS = 128


@functools.cache
def _kernel(xp: Any) -> Any:
    return xp.RawKernel(_TEXT, "philox")


def words(xp: Any, key: Any, counter: Any, n: int) -> Any:
    """The n 64-bit words that NumPy's Philox of this key gives after this counter, as an array of CuPy (`xp`)."""
    y = xp.empty(n, "uint64")
    if n:
        arguments = (*key, *counter, xp.int64(n), y)
        _kernel(xp)((-(-n // (4 * _THREADS)),), (_THREADS,), arguments)
    return y
