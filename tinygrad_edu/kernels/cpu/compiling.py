"""How the CPU's kernels are compiled: by Numba, once for each machine, and kept in a folder between runs.

A kernel is an ordinary Python function with loops; `kernel` compiles it for one explicit signature when its module is
imported. The folder's name holds a hash of the kernels' sources, so that a changed file never meets an old machine
code; Numba itself compiles anew for another CPU or another version of Numba.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numba

HERE = Path(__file__).parent
# All that lets sums be reordered and joined with products. Not "nnan" and "ninf": NaN and infinity stay what they are.
FASTMATH = {"reassoc", "contract", "arcp", "nsz"}


@functools.cache
def cache_folder() -> Path | None:
    """Where compiled kernels are kept: beside the sources, else in the user's cache; None if neither can be written."""
    sources = hashlib.sha256(b"".join(p.read_bytes() for p in sorted(HERE.glob("*.py")))).hexdigest()[:16]
    user = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "tinygrad_edu"
    named = os.environ.get("NUMBA_CACHE_DIR")
    for parent in [Path(named)] if named else [HERE / "__pycache__", user]:
        folder = parent / f"kernels-{sources}"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=folder):
                pass
        except OSError:
            continue
        for old in parent.glob("kernels-*"):
            if old != folder:
                shutil.rmtree(old, ignore_errors=True)  # of sources that are no more
        return folder
    return None


@contextlib.contextmanager
def _numba_writes_to(folder: Path | None) -> Iterator[None]:
    """Numba reads the setting when it decorates; other code of the user keeps its own."""
    before, numba.config.CACHE_DIR = numba.config.CACHE_DIR, "" if folder is None else str(folder)  # type: ignore[attr-defined]
    try:
        yield
    finally:
        numba.config.CACHE_DIR = before  # type: ignore[attr-defined]


def kernel(signature: str, *, parallel: bool = True) -> Callable[[Callable[..., Any]], Any]:
    """Decorator: compile a function for one signature, or take it from the folder. `prange` runs on all threads."""

    def compiled(function: Callable[..., Any]) -> Any:
        folder = cache_folder()
        with _numba_writes_to(folder):
            return numba.njit(
                signature, parallel=parallel, fastmath=FASTMATH, error_model="numpy", cache=folder is not None
            )(function)

    return compiled
