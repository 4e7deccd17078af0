"""What happens to all parameters at once: Adam's step, the norm of the gradients, and their scaling.

Each is one pass over memory for all tensors together, however many there are. A kernel gets the addresses of the
arrays; blocks of `_BLOCK` elements are shared out among the threads. Meaning: see optim/adam.py and
nn/utils/parameters.py.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import numpy as np
from llvmlite import ir
from numba import carray, types
from numba.extending import intrinsic

from .arithmetic import f32
from .compiling import kernel
from .twin import is_plain

_BLOCK = 1 << 14  # elements


@intrinsic
def _floats_at(typing_context, address):
    """The address as a pointer to float32."""

    def generate(context, builder, signature, values):
        return builder.inttoptr(values[0], ir.FloatType().as_pointer())

    return types.CPointer(types.float32)(types.int64), generate


def accept(*lists: Sequence[Any]) -> bool:
    """Whether these are all arrays of a kind that the kernels can read."""
    return all(is_plain(a) for arrays in lists for a in arrays)


def _addresses(*lists: Sequence[Any]) -> Any:
    """Where the arrays begin, (arrays, lists)."""
    return np.array([[a.__array_interface__["data"][0] for a in arrays] for arrays in lists], np.int64).T.copy()


@functools.lru_cache(maxsize=64)
def _blocks(sizes: tuple[int, ...]) -> Any:
    """For every block: (number of the array, first element, number of elements)."""
    return np.array(
        [(k, start, min(_BLOCK, size - start)) for k, size in enumerate(sizes) for start in range(0, size, _BLOCK)],
        np.int64,
    )


def _blocks_of(arrays: Sequence[Any]) -> Any:
    return _blocks(tuple([a.size for a in arrays]))


@kernel("int64[:, ::1], int64[:, ::1], float32[:, ::1], float32, float32, float32, float32, float32, float32")
def _adam(first, last, addresses, blocks, factors, share1, beta2, share2, eps, decay, shrink):
    for b in range(first, last):
        k, start, n = blocks[b, 0], blocks[b, 1], blocks[b, 2]
        p = carray(_floats_at(addresses[k, 0] + 4 * start), n)
        g = carray(_floats_at(addresses[k, 1] + 4 * start), n)
        m = carray(_floats_at(addresses[k, 2] + 4 * start), n)
        v = carray(_floats_at(addresses[k, 3] + 4 * start), n)
        rate, root = factors[k, 0], factors[k, 1]  # lr / (1 - beta1^step), 1 / sqrt(1 - beta2^step)
        for i in range(n):
            x = g[i] + decay * p[i]
            m[i] += share1 * (x - m[i])
            v[i] = beta2 * v[i] + share2 * x * x
            p[i] = shrink * p[i] - rate * m[i] / (np.sqrt(v[i]) * root + eps)


def adam(
    p: Sequence[Any], g: Sequence[Any], m: Sequence[Any], v: Sequence[Any], steps: Sequence[int], *,
    lr: float, betas: tuple[float, float], eps: float, weight_decay: float, decoupled: bool,
) -> None:  # fmt: skip
    """`optim.adam.adam_update` of all these arrays, each at a step of its own."""
    beta1, beta2 = betas
    factors = np.array([(lr / (1 - beta1**t), (1 - beta2**t) ** -0.5) for t in steps], np.float32)
    shrink = 1 - lr * weight_decay if decoupled else 1.0
    decay = 0.0 if decoupled else weight_decay
    # 1 - beta rounded to float32, not float32's 1 minus float32's beta: that would be off by 5e-5 of itself.
    blocks = _blocks_of(p)
    _adam(len(blocks), _addresses(p, g, m, v), blocks, factors, 1 - beta1, beta2, 1 - beta2, eps, decay, shrink)


@kernel("int64[:, ::1], int64[:, ::1], float64[::1]")
def _square_sums(first, last, addresses, blocks, sums):
    for b in range(first, last):
        x = carray(_floats_at(addresses[blocks[b, 0], 0] + 4 * blocks[b, 1]), blocks[b, 2])
        total = f32(0)
        for i in range(x.size):
            total += x[i] * x[i]
        sums[b] = total


def square_sum(arrays: Sequence[Any]) -> float:
    """The sum of the squares of all elements: float32 within a block, float64 over the blocks."""
    blocks = _blocks_of(arrays)
    sums = np.empty(len(blocks))
    _square_sums(len(blocks), _addresses(arrays), blocks, sums)
    return float(sums.sum())


@kernel("int64[:, ::1], int64[:, ::1], float32")
def _scale(first, last, addresses, blocks, factor):
    for b in range(first, last):
        x = carray(_floats_at(addresses[blocks[b, 0], 0] + 4 * blocks[b, 1]), blocks[b, 2])
        for i in range(x.size):
            x[i] *= factor


def scale(arrays: Sequence[Any], factor: float) -> None:
    """Multiply all arrays in place."""
    blocks = _blocks_of(arrays)
    _scale(len(blocks), _addresses(arrays), blocks, factor)
