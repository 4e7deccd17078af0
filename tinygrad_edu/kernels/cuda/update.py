"""What happens to all parameters at once: Adam's step, the norm of the gradients, and their scaling.

A launch is told where its arrays are by its arguments: nothing is copied to the device, and a model of any size takes
few launches. Meaning: see optim/adam.py and nn/utils/parameters.py.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import cupy as cp
import numpy as np

from ...backend import capture
from .source import accumulated, kernel, number

_THREADS = 256
_BLOCK = {4: 1 << 13, 1: 1 << 16}  # elements of a block, by the number of lists: each block of `clip` reads all sums
# How many arrays a launch takes, by the number of lists: as offsets of 32 bits, and as addresses. So many that all
# arguments stay below 4 KiB, which every GPU takes.
_LISTED = {4: (180, 100), 1: (500, 330)}
_REACH = 2**32  # what offsets stay below
_KINDS = 4  # sets of numbers that a launch of Adam takes
_NUMBERS = 8  # in each

Options = dict[str, Any]


def accept(*lists: Sequence[Any]) -> bool:
    """Whether these are all arrays that the kernels can read: on one GPU, of one dtype that updates are computed in."""
    first = lists[0][0]
    return first.dtype.name in ("float32", "float64") and all(
        type(a) is cp.ndarray and a.dtype == first.dtype and a.flags.c_contiguous and a.size < 2**32
        and a.data.device_id == first.data.device_id
        for arrays in lists for a in arrays
    )  # fmt: skip


def constants(lists: int, wide: bool = False) -> dict[str, int]:
    """What the kernels for so many lists are compiled with. wide: for addresses, not offsets."""
    return {
        "LISTS": lists, "LISTED": _LISTED[lists][wide], "BLOCK": _BLOCK[lists], "WIDE": int(wide), "KINDS": _KINDS,
    }  # fmt: skip


class _Launch(NamedTuple):
    """What one launch works on."""

    wide: bool
    blocks: int
    table: Any  # the arrays, as the kernels' struct
    members: list[int]  # their places in the lists


def _launches(*lists: Sequence[Any]) -> Iterator[_Launch]:
    """What launches do together, so that each array has been in one. Empty arrays are in none."""
    filled = [i for i, a in enumerate(lists[0]) if a.size]
    if not filled:
        return
    at = np.array([[arrays[i].data.ptr for i in filled] for arrays in lists], np.uint64)
    lowest = at.min()
    differing = int(np.bitwise_or.reduce(at - lowest, axis=None))
    shift = (differing & -differing).bit_length() - 1 if differing else 0  # all are a multiple of 1 << shift apart
    offsets = (at - lowest) >> np.uint64(shift)
    wide = bool(offsets.max() >= _REACH)
    listed = _LISTED[len(lists)][wide]
    size = ("size", np.uint32, listed)
    shape = len(lists), listed
    kind = [("at", np.uint64, shape), size] if wide else [
        ("lowest", np.uint64), ("shift", np.uint32), ("at", np.uint32, shape), size
    ]  # fmt: skip
    for start in range(0, len(filled), listed):
        members = filled[start : start + listed]
        table = np.zeros((), np.dtype(kind, align=True))
        table["at"][:, : len(members)] = (at if wide else offsets)[:, start : start + listed]
        table["size"][: len(members)] = [lists[0][i].size for i in members]
        if not wide:
            table["lowest"], table["shift"] = lowest, shift
        yield _Launch(wide, sum(_blocks(lists[0][i], len(lists)) for i in members), table, members)


def _blocks(a: Any, lists: int) -> int:
    return -(-a.size // _BLOCK[lists])


def _run(file: str, name: str, lists: Sequence[Sequence[Any]], launch: _Launch, *arguments: Any) -> None:
    function = kernel(f"arrays+{file}", name, lists[0][0].dtype.name, **constants(len(lists), launch.wide))
    function((launch.blocks,), (_THREADS,), (launch.table, *arguments))


# ---- Adam ------------------------------------------------------------------------------------------------------------


def adam(
    p: Sequence[Any], g: Sequence[Any], m: Sequence[Any], v: Sequence[Any], steps: Sequence[int], **options: Any
) -> None:
    """`optim.adam.adam_update` of all these arrays, with these options."""
    adam_of_groups(p, g, m, v, steps, [0] * len(p), [options])


def adam_of_groups(
    p: Sequence[Any], g: Sequence[Any], m: Sequence[Any], v: Sequence[Any], steps: Sequence[int], of: Sequence[int],
    options: Sequence[Options],
) -> Noted | None:  # fmt: skip
    """The same for arrays of several groups: `of` says for each array which options are its own.

    In a capture the numbers come from memory, into which the result writes them before each replay.
    """
    noted = None if capture.current() is None else Noted(steps, of, p[0].dtype)
    kinds, numbers = _kinds(steps, of), _numbers(steps, of, options)
    for first in range(0, len(numbers), _KINDS):
        some = [i for i, kind in enumerate(kinds) if first <= kind < first + _KINDS]
        lists = [[arrays[i] for i in some] for arrays in (p, g, m, v)]
        rows = numbers[first : first + _KINDS]
        memory = np.uint64(0) if noted is None else noted.memory(first)
        for launch in _launches(*lists):
            table = _table([kinds[some[i]] - first for i in launch.members], rows, p[0].dtype, launch.wide)
            _run("adam", "adam", lists, launch, table, memory)
    return noted


class Noted:
    """The numbers that captured launches of Adam read from memory."""

    def __init__(self, steps: Sequence[int], of: Sequence[int], dtype: Any) -> None:
        self._of, self._kinds, self._dtype = of, _kinds(steps, of), dtype
        with cp.cuda.using_allocator(None):  # not memory that launches of the graph have used for something else before
            self._memory = cp.empty((-(-(max(self._kinds) + 1) // _KINDS) * _KINDS, _NUMBERS), accumulated(dtype))

    def memory(self, first: int) -> Any:
        """Where the launches of the kinds from this one on are to read."""
        return self._memory[first:]

    def serves(self, steps: Sequence[int]) -> bool:
        """Whether the launches would do these steps: arrays that shared their numbers still do."""
        return _kinds(steps, self._of) == self._kinds

    def write(self, steps: Sequence[int], options: Sequence[Options]) -> None:
        """Put the numbers of these steps and options there, in the current stream."""
        numbers = _numbers(steps, self._of, options)
        function = kernel("arrays+adam", "note", self._dtype.name, **constants(4))
        for first in range(0, len(numbers), _KINDS):
            table = _table([], numbers[first : first + _KINDS], self._dtype, False)
            function((1,), (_KINDS,), (table, self.memory(first)))


def _kinds(steps: Sequence[int], of: Sequence[int]) -> list[int]:
    """For each array, the number of its kind: those of a group at the same step have the same numbers."""
    number_of = {kind: i for i, kind in enumerate(dict.fromkeys(zip(of, steps, strict=True)))}
    return [number_of[kind] for kind in zip(of, steps, strict=True)]


def _numbers(steps: Sequence[int], of: Sequence[int], options: Sequence[Options]) -> list[tuple[float, ...]]:
    """What each kind computes with."""
    return [_numbers_at(step, **options[group]) for group, step in dict.fromkeys(zip(of, steps, strict=True))]


def _numbers_at(
    step: int, *, lr: float, betas: tuple[float, float], eps: float, weight_decay: float, decoupled: bool
) -> tuple[float, ...]:
    """As the struct of the kernel."""
    beta1, beta2 = betas
    rate, root = lr / (1 - beta1**step), (1 - beta2**step) ** -0.5
    decay, shrink = (0.0, 1 - lr * weight_decay) if decoupled else (weight_decay, 1.0)
    # 1 - beta is rounded later, not computed from the rounded beta: that would be off by 5e-5 of itself.
    return rate, root, 1 - beta1, beta2, 1 - beta2, eps, decay, shrink


def _table(kinds: Sequence[int], numbers: Sequence[tuple[float, ...]], dtype: Any, wide: bool) -> Any:
    """The kernel's struct of kinds."""
    fields: Any = [("numbers", accumulated(dtype), (_KINDS, _NUMBERS)), ("of", np.uint8, _LISTED[4][wide])]
    table = np.zeros((), np.dtype(fields, align=True))
    table["numbers"][: len(numbers)] = numbers
    table["of"][: len(kinds)] = kinds
    return table


# ---- the norm of all gradients ---------------------------------------------------------------------------------------


def _square_sums(arrays: Sequence[Any]) -> Any:
    """The sum of the squares of each block, in float64."""
    sums, first = cp.empty(sum(_blocks(a, 1) for a in arrays)), 0
    for launch in _launches(arrays):
        _run("norm", "square_sums", [arrays], launch, np.int32(first), sums)
        first += launch.blocks
    return sums


def square_sum(arrays: Sequence[Any]) -> float:
    """The sum of the squares of all elements. The processor waits for it."""
    return float(_square_sums(arrays).sum())


def clip(arrays: Sequence[Any], most: float) -> Any:
    """Scale all arrays in place so that their norm is at most this; its value before, 0-d in float64, on the device."""
    sums, norm = _square_sums(arrays), cp.zeros(())
    for launch in _launches(arrays):
        _run("norm", "clip", [arrays], launch, sums, np.int32(sums.size), np.float64(most), norm)
    return norm


def scale(arrays: Sequence[Any], factor: float) -> None:
    """Multiply all arrays in place."""
    for launch in _launches(arrays):
        _run("norm", "scale", [arrays], launch, number(factor, arrays[0].dtype))
