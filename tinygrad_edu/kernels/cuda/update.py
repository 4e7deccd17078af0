"""What happens to all parameters at once: Adam's step, the norm of the gradients, and their scaling.

A launch takes the addresses of up to `_LISTED` arrays as its arguments: none are copied to the device, and a model of
any size takes few launches. Meaning: see optim/adam.py and nn/utils/parameters.py.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import cupy as cp
import numpy as np

from .source import kernel, number

_THREADS = 256
_BLOCK = {4: 1 << 13, 1: 1 << 16}  # elements of a block, by the number of lists: each block of `clip` reads all sums
_LISTED = {4: 110, 1: 330}  # by the number of lists: so many that the arguments stay below 4 KiB, which every GPU takes


def accept(*lists: Sequence[Any]) -> bool:
    """Whether these are all arrays that the kernels can read: on one GPU, of one dtype that updates are computed in."""
    first = lists[0][0]
    return first.dtype.name in ("float32", "float64") and all(
        type(a) is cp.ndarray and a.dtype == first.dtype and a.flags.c_contiguous and a.size < 2**32
        and a.data.device_id == first.data.device_id
        for arrays in lists for a in arrays
    )  # fmt: skip


def constants(lists: int) -> dict[str, int]:
    """What the kernels for so many lists are compiled with."""
    return {"LISTS": lists, "LISTED": _LISTED[lists], "BLOCK": _BLOCK[lists]}


def _launch(file: str, name: str, *lists: Sequence[Any], numbers: Sequence[Any]) -> None:
    """Run a kernel over all these arrays, as many at a time as it takes."""
    function = kernel(f"arrays+{file}", name, lists[0][0].dtype.name, **constants(len(lists)))
    for blocks, table in _tables(*lists):
        function((blocks,), (_THREADS,), (table, *numbers))


def _tables(*lists: Sequence[Any]) -> Iterator[tuple[int, Any]]:
    """(blocks, the arrays as the kernels' struct), one for each launch."""
    listed = _LISTED[len(lists)]
    kind = np.dtype([("at", np.uint64, (len(lists), listed)), ("size", np.uint32, listed)], align=True)
    filled = [arrays for arrays in zip(*lists, strict=True) if arrays[0].size]
    for start in range(0, len(filled), listed):
        some = filled[start : start + listed]
        table = np.zeros((), kind)
        table["at"][:, : len(some)] = np.array([[a.data.ptr for a in arrays] for arrays in some], np.uint64).T
        table["size"][: len(some)] = [arrays[0].size for arrays in some]
        yield sum(_blocks(arrays[0], len(lists)) for arrays in some), table


def _blocks(a: Any, lists: int) -> int:
    return -(-a.size // _BLOCK[lists])


def adam(
    p: Sequence[Any], g: Sequence[Any], m: Sequence[Any], v: Sequence[Any], steps: Sequence[int], *,
    lr: float, betas: tuple[float, float], eps: float, weight_decay: float, decoupled: bool,
) -> None:  # fmt: skip
    """`optim.adam.adam_update` of all these arrays, those at the same step together."""
    beta1, beta2 = betas
    shrink = 1 - lr * weight_decay if decoupled else 1.0
    decay = 0.0 if decoupled else weight_decay
    for t in dict.fromkeys(steps):
        together = [[a for a, step in zip(arrays, steps, strict=True) if step == t] for arrays in (p, g, m, v)]
        rate, root = lr / (1 - beta1**t), (1 - beta2**t) ** -0.5
        # 1 - beta is rounded here, not computed from the rounded beta: that would be off by 5e-5 of itself.
        values = (rate, root, 1 - beta1, beta2, 1 - beta2, eps, decay, shrink)
        _launch("adam", "adam", *together, numbers=[number(value, p[0].dtype) for value in values])


def _square_sums(arrays: Sequence[Any]) -> Any:
    """The sum of the squares of each block, in float64."""
    sums = cp.empty(sum(_blocks(a, 1) for a in arrays))
    function, first = kernel("arrays+norm", "square_sums", arrays[0].dtype.name, **constants(1)), 0
    for blocks, table in _tables(arrays):
        function((blocks,), (_THREADS,), (table, np.int32(first), sums))
        first += blocks
    return sums


def square_sum(arrays: Sequence[Any]) -> float:
    """The sum of the squares of all elements. The processor waits for it."""
    return float(_square_sums(arrays).sum())


def clip(arrays: Sequence[Any], most: float) -> Any:
    """Scale all arrays in place so that their norm is at most this; its value before, 0-d in float64, on the device."""
    sums, norm = _square_sums(arrays), cp.zeros(())
    _launch("norm", "clip", arrays, numbers=[sums, np.int32(sums.size), np.float64(most), norm])
    return norm


def scale(arrays: Sequence[Any], factor: float) -> None:
    """Multiply all arrays in place."""
    _launch("norm", "scale", arrays, numbers=[number(factor, arrays[0].dtype)])
