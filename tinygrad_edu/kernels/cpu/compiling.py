"""How the CPU's kernels are compiled: by Numba, once for each machine, and kept in a folder between runs.

A kernel is an ordinary Python function with loops; `kernel` marks it, and its first call compiles it. The folder's
name holds a hash of the kernels' sources, so that a changed file never meets old machine code; Numba itself compiles
anew for another CPU or another version of Numba.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import hashlib
import importlib
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
    before, numba.config.CACHE_DIR = numba.config.CACHE_DIR, "" if folder is None else str(folder)
    try:
        yield
    finally:
        numba.config.CACHE_DIR = before


class Kernel:
    """A function that is compiled for one explicit signature when it is first called, or taken from the folder."""

    def __init__(self, function: Callable[..., Any], signature: str) -> None:
        self.function, self.signature = function, signature
        self.compiled: Any = None

    def __call__(self, *args: Any) -> Any:
        if self.compiled is None:
            self.compile()
        return self.compiled(*args)

    def compile(self) -> Any:
        """The compiled function."""
        folder = cache_folder()
        with _numba_writes_to(folder):
            self.compiled = numba.njit(
                self.signature, parallel=True, fastmath=FASTMATH, error_model="numpy", cache=folder is not None
            )(self.function)
        return self.compiled


def kernel(signature: str) -> Callable[[Callable[..., Any]], Kernel]:
    """Decorator: make a function a kernel. Its loops over `prange` are shared out among the threads.

    Unpack at most three values in one assignment: of longer ones Numba makes a tuple, forgets that `row` in it is a
    part of `x`, and may drop what is written into it.
    """
    return lambda function: Kernel(function, signature)


# What a training step of a GPT uses, in the order of use: (module, kernel).
OF_A_STEP = (
    ("linear", "_sum_rows"),
)


def start() -> None:
    """On a machine's first use, say that there is something to wait for, and let a second process compile as well.

    It begins at the end of the list while this one begins at its start; what both need is compiled once.
    """
    folder = cache_folder()
    if folder is None:
        return
    try:
        os.close(os.open(folder / "compiling", os.O_CREAT | os.O_EXCL | os.O_WRONLY))
    except FileExistsError:
        return
    print("tinygrad_edu: compiling kernels for this machine (once, some seconds)", file=sys.stderr, flush=True)
    if (os.cpu_count() or 1) > 1:
        paths = [str(HERE.parents[2]), os.environ.get("PYTHONPATH")]
        helper = subprocess.Popen(
            [sys.executable, "-c", f"from {__name__} import compile_from_the_end; compile_from_the_end()"],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))},
        )  # fmt: skip
        atexit.register(lambda: (helper.terminate(), helper.wait()))


def compile_from_the_end() -> None:
    """Compile all kernels of a training step, the last first."""
    for module, name in reversed(OF_A_STEP):
        getattr(importlib.import_module(f"{__package__}.{module}"), name).compile()
