"""Checks of values on a GPU that nobody waits for: what is wrong is reported when a value is next read.

Asking "are all indices in range?" would make the CPU wait for the GPU in every step. Instead the GPU notes what it
finds, and the note is read together with the next value that the program reads (a loss, say), as PyTorch does it.
"""

from __future__ import annotations

import functools
from typing import Any

from . import gpu

_sentences: list[str] = [""]  # what each number noted on a GPU means
_notes: dict[int, Any] = {}  # for each GPU, the array with its note: it stays, as graphs write to it too
_expected: set[int] = set()  # GPUs with checks that were not read yet


def in_range(indices: Any, low: int, high: int, ignored: int | None, sentence: str) -> None:
    """Let the GPU check that all of these integers are in low .. high - 1, or are the one that is ignored."""
    if sentence not in _sentences:
        _sentences.append(sentence)
    cp, device = gpu.cupy(), indices.device.id
    gpu.use(device)
    prepare(device)
    expect(device)
    allowed = low if ignored is None else ignored
    _kernel(cp)(indices, low, high, allowed, ignored is not None, _sentences.index(sentence), _notes[device])


def prepare(device: int) -> None:
    """Have the note of this GPU, which is the current one."""
    if device not in _notes:
        _notes[device] = gpu.cupy().zeros(1, "int32")


def expect(device: int) -> None:
    """Checks of this GPU may have failed: to be read."""
    _expected.add(device)


@functools.cache
def _kernel(cp: Any) -> Any:
    return cp.ElementwiseKernel(
        "T index, int64 low, int64 high, int64 allowed, bool ignores, int32 number",
        "raw int32 note",
        "if ((index < low || index >= high) && !(ignores && index == allowed)) note[0] = number;",
        "tinygrad_edu_in_range",
    )  # fmt: skip


def read() -> None:
    """IndexError: a check since the last reading has failed."""
    if not _expected:
        return
    found = []
    while _expected:
        note = _notes[_expected.pop()]
        found.append(int(note.get()[0]))
        if found[-1]:
            with note.device:
                note.fill(0)
    for number in found:
        if number:
            raise IndexError(f"{_sentences[number]} (found by the GPU, and reported when a value was next read)")
