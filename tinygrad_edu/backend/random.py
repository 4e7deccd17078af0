"""Random numbers that are the same on every platform, NumPy version and device.

NumPy promises stable streams only for the raw bits of its bit generators, not for `random()` or
`standard_normal()`. So the bits come from NumPy's Philox, whose state is just (key, counter), and the few lines
that turn bits into numbers are here. Philox is counter-based: any device can compute any part of the stream.
Numbers are made on the device of the array module `xp`, the same on each but for the rounding of its logarithm.

Source of the bits: Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3" (Philox-4x64-10).
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Sequence
from typing import Any

import ml_dtypes
import numpy as np

from . import capture, philox

Shape = Sequence[int]
_CHUNK = 1 << 13  # normal numbers made at a time: what is computed on the way stays in the processor's cache
_passing = threading.Lock()
# A kernel's way to draw the mask of `keep_mask` in float32 on the CPU: (seed, counter, n, smallest, value) -> the mask,
# or None where it does not.
fused_mask: Callable[[int, int, int, int, float], Any] | None = None


class Stream:
    """A stream of random numbers, fixed by its seed and position."""

    def __init__(self, seed: int) -> None:
        self.reseed(seed)

    def reseed(self, seed: int) -> None:
        """Start the stream of this seed from its beginning."""
        self.seed, self.counter = int(seed), 0

    def state(self) -> tuple[int, int]:
        """(seed, counter): everything needed to go on from here."""
        return self.seed, self.counter

    def restore(self, seed: int, counter: int) -> None:
        """Go on from a position given by `state`."""
        self.seed, self.counter = seed, counter

    def pass_over(self, n: int) -> tuple[int, int]:
        """Pass over n words, in whole blocks, so that the position is just the counter; the position before them."""
        capture.refuse(
            "it draws random numbers, as dropout does, and a replay would draw the same again; switch dropout off, or "
            "draw them before the call and pass them"
        )
        with _passing:  # no two threads get the same numbers
            before = self.counter
            self.counter = (before + (n + philox.BLOCK - 1) // philox.BLOCK) % 2**256
        return self.seed, before

    def words(self, n: int, xp: Any = np) -> Any:
        """n random 64-bit words."""
        return philox.words(xp, *self.pass_over(n), n)

    def halves(self, n: int, xp: Any = np) -> Any:
        """n random 32-bit words: the halves of 64-bit words, the lower one first."""
        return _halves(self.words(-(-n // 2), xp))[:n]

    def uniform(self, shape: Shape, dtype: Any, xp: Any = np) -> Any:
        """Uniform on [0, 1): 53 random bits for float64, 24 for float32, 11 for float16, 8 for bfloat16.

        One draw per element.
        """
        n, dtype = math.prod(shape), np.dtype(dtype)
        if dtype == np.float64:
            u = (self.words(n, xp) >> np.uint64(11)) * 2.0**-53
        else:
            halves = self.halves(n, xp)
            digits = ml_dtypes.finfo(dtype).nmant + 1
            u = (halves >> np.uint32(32 - digits)).astype(dtype) * dtype.type(2.0**-digits)
        return u.reshape(shape)

    def normal(self, shape: Shape, dtype: Any, xp: Any = np) -> Any:
        """Standard normal by the Box-Muller transform, computed in float64 and rounded once."""
        n = math.prod(shape)
        if xp is np:
            z = np.empty(n, dtype)
            for start in range(0, n, _CHUNK):
                part = z[start : start + _CHUNK]
                part[...] = self._normals(1, part.size, np)[0]
            return z.reshape(shape)
        # The same chunks, all whole ones at once.
        whole = n // _CHUNK
        chunks = [self._normals(whole, _CHUNK, xp).reshape(-1)] if whole else []
        if rest := n % _CHUNK:
            chunks.append(self._normals(1, rest, xp)[0])
        z = xp.concatenate(chunks) if chunks else xp.empty(0)
        return z.astype(dtype).reshape(shape)

    def _normals(self, chunks: int, n: int, xp: Any) -> Any:
        """Chunks of n normal numbers (chunks, n), as float64."""
        u = self.uniform((chunks, 2, -(-n // 2)), np.float64, xp)
        radius = xp.sqrt(-2.0 * xp.log1p(-u[:, 0]))  # 1 - u is in (0, 1], so the logarithm is finite
        # Cosine and sine of an angle are 2 / (1 + t^2) - 1 and 2 t / (1 + t^2), with t the tangent of its half.
        t = xp.tan(np.pi * u[:, 1])
        scaled = 2.0 * radius / (1.0 + t * t)
        return xp.stack((scaled - radius, scaled * t), axis=-1).reshape(chunks, -1)[:, :n]

    def integers(self, low: int, high: int, shape: Shape, xp: Any = np) -> Any:
        """Integers uniform on [low, high), as int64, by multiplication of 32 or 64 random bits with the range.

        The bias is below (high - low) / 2**64, unmeasurable for any range used here.
        """
        n, span = math.prod(shape), high - low
        words = self.words(n, xp)
        if span <= 2**32:
            mid = (words & np.uint64(0xFFFFFFFF)) * np.uint64(span) >> np.uint64(32)
            top = (words >> np.uint64(32)) * np.uint64(span)
            scaled = (top + mid) >> np.uint64(32)
        else:
            scaled = words % np.uint64(span)
        return (scaled.astype(np.int64) + low).reshape(shape)

    def permutation(self, n: int, xp: Any = np) -> Any:
        """A random order of 0 .. n-1 (int64): the order that sorts n random words."""
        return xp.argsort(self.words(n, xp), kind="stable").astype(np.int64, copy=False)


def _halves(words: Any) -> Any:
    return words.astype("<u8", copy=False).view("<u4")


# ---- dropout ---------------------------------------------------------------------------------------------------------


def keep_mask(xp: Any, shape: Shape, dtype: Any, p: float, seed: int, counter: int) -> Any:
    """An array with 0 at a random share p of the places and 1 / (1 - p) at the others, so that means stay.

    It is drawn from this position of a stream on, so that it can be drawn again.
    """
    n, (smallest, value) = math.prod(shape), keeping(p)
    mask = fused_mask(seed, counter, n, smallest, value) if fused_mask and xp is np and dtype == np.float32 else None
    if mask is None:
        halves = _halves(philox.words(xp, seed, counter, -(-n // 2)))[:n]
        mask = (halves >= smallest) * np.dtype(dtype).type(value)
    return mask.reshape(shape)


def keeping(p: float) -> tuple[int, float]:
    """The smallest 32 random bits that dropout keeps a number at, and the factor that the number then gets."""
    # A uniform float32 number is 24 random bits, the first of 32. It is at least p where the 32 are at least this.
    smallest = math.ceil(float(np.float32(p)) * 2**24) << 8
    return smallest, 1 / (1 - p) if p < 1 else 0.0
