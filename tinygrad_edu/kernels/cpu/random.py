"""Random bits on all threads: the same as `backend/philox.py` takes from NumPy, since Philox can start anywhere.

Source: Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3", Philox-4x64-10 (section 4.3).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ...backend import philox
from .compiling import kernel, part

_M0, _M1 = np.uint64(0xD2E7470EE14C6C93), np.uint64(0xCA5A826395121157)
_W0, _W1 = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xBB67AE8584CAA73B)
_LOW, _HALF = np.uint64(0xFFFFFFFF), np.uint64(32)
_PART = 1024  # numbers of 32 bits, of which eight come from one step


@part()
def _high(a, b):
    """The upper 64 bits of the product of two 64-bit words, from products of their halves, which become vectors."""
    low = (a & _LOW) * (b & _LOW)
    middle = (a >> _HALF) * (b & _LOW) + (low >> _HALF)
    return (a >> _HALF) * (b >> _HALF) + (middle >> _HALF) + (((a & _LOW) * (b >> _HALF) + (middle & _LOW)) >> _HALF)


@part()
def _words(key, counter, first, words):
    """The words that Philox makes from `first` steps after this counter on, four at each step."""
    for i in range(words.size // 4):
        steps = first + np.uint64(i)
        c0 = counter[0] + steps
        c1 = counter[1] + np.uint64(c0 < steps)
        c2 = counter[2] + np.uint64(c0 < steps and c1 == 0)
        c3 = counter[3] + np.uint64(c0 < steps and c1 == 0 and c2 == 0)
        k0, k1 = key[0], key[1]
        for _ in range(10):
            high0, low0 = _high(_M0, c0), _M0 * c0
            high1, low1 = _high(_M1, c2), _M1 * c2
            c0, c1 = high1 ^ c1 ^ k0, low1
            c2, c3 = high0 ^ c3 ^ k1, low0
            k0, k1 = k0 + _W0, k1 + _W1
        words[4 * i] = c0
        words[4 * i + 1] = c1
        words[4 * i + 2] = c2
        words[4 * i + 3] = c3


@kernel("uint64[::1], uint64[::1], uint32, float32, float32[::1]")
def _mask(first, last, key, counter, smallest, value, mask):
    """mask = value where 32 random bits are at least `smallest`, and 0 elsewhere."""
    for i in range(first, last):
        out = mask[i * _PART : (i + 1) * _PART]
        words = np.empty(_PART // 2, np.uint64)
        _words(key, counter, np.uint64(i * (_PART // 8) + 1), words)
        bits = words.view(np.uint32)
        for j in range(out.size):
            out[j] = value if bits[j] >= smallest else np.float32(0)


def mask(seed: int, counter: int, n: int, smallest: int, value: float) -> Any:
    """n numbers, `value` where the 32 bits from this position of a stream on are at least `smallest`, else 0."""
    if smallest == 2**32:
        return np.zeros(n, np.float32)
    y = np.empty(n, np.float32)
    place = philox.place(seed, counter)
    _mask(-(-n // _PART), place["key"], place["counter"], smallest, value, y)
    return y
