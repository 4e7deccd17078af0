"""How the CPU's kernels are compiled: by Numba, once for each machine, and kept in a folder between runs.

A kernel is an ordinary Python function with loops; `kernel` marks it, and its first call loads it from the folder. If
it is not there, another process compiles it into the folder first. For Numba's code differs in the last bits of sums
between the process that compiled it and those that load it later, and a program's results must not depend on which it
is. Besides, several processes compile faster than one.

The folder's name holds a hash of the kernels' sources and of all that their machine code depends on. In it each kernel
has a folder of its own, which is put in its place when it is complete, with a hash of its files: LLVM ends the process
that loads a damaged one, so a kernel whose files have another hash is compiled anew.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import importlib
import inspect
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import llvmlite.binding
import numba

from . import sharing

HERE = Path(__file__).parent
# All that lets sums be reordered and joined with products. Not "nnan" and "ninf": NaN and infinity stay what they are.
FASTMATH = {"reassoc", "contract", "arcp", "nsz"}
# Decorator of what is compiled with the kernel that calls it.
part = functools.partial(
    numba.njit, error_model="numpy", fastmath=False, no_cpython_wrapper=True, no_cfunc_wrapper=True
)
# What a training step of a GPT uses, (module, kernel), those that take longest to compile first.
OF_A_STEP = (
    ("attention", "_attend"),
    ("attention", "_attend_backward"),
    ("normalization", "_normalise_backward"),
    ("random", "_mask"),
    ("compiling", "share_out"),
    ("blas", "_multiply"),
    ("normalization", "_normalise"),
    ("loss", "_cross_entropy"),
    ("update", "_adam"),
    ("loss", "_cross_entropy_backward"),
    ("linear", "_sum_rows"),
    ("embedding", "_add_rows"),
    ("stacks", "_multiply"),
    ("update", "_square_sums"),
    ("update", "_scale"),
    ("activation", "_gelu_tanh_backward"),
    ("activation", "_gelu_tanh"),
)
_workers: list[subprocess.Popen[bytes]] = []  # the processes that compile for this one


def _fingerprint() -> str:
    """A hash of the sources, of Numba and of the processor."""
    sources = sorted(HERE.glob("*.py"))
    made_of = [path.read_text("utf-8") for path in sources]
    made_of += [f"{path} {path.stat().st_mtime}" for path in sources]  # by which Numba knows its files again
    made_of += [numba.__version__, llvmlite.__version__, platform.python_version()]
    made_of += [llvmlite.binding.get_host_cpu_name(), llvmlite.binding.get_host_cpu_features().flatten()]
    return hashlib.sha256("\0".join(made_of).encode()).hexdigest()[:16]


@functools.cache
def cache_folder() -> Path | None:
    """Where compiled kernels are kept: beside the sources, else in the user's cache; None if neither can be written."""
    fingerprint = _fingerprint()
    user = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "tinygrad_edu"
    named = os.environ.get("NUMBA_CACHE_DIR")
    for parent in [Path(named)] if named else [HERE / "__pycache__", user]:
        folder = parent / f"kernels-{fingerprint}"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=folder):
                pass
        except OSError:
            continue
        for old in parent.glob("kernels-*"):
            if old != folder and time.time() - old.stat().st_mtime > _OLD:
                shutil.rmtree(old, ignore_errors=True)
        return folder
    return None


_OLD = 30 * 24 * 3600  # seconds after which a folder of other sources, or another machine, is deleted


def _home(folder: Path, module: str, name: str) -> Path:
    """The folder of one kernel."""
    return folder / f"{module}.{name}"


def _hash_of(home: Path) -> str:
    """A hash of a kernel's files as they are."""
    files = sorted(home.glob("*/*.nb[ci]"))
    return hashlib.sha256(b"".join([file.read_bytes() for file in files])).hexdigest()


def _is_whole(home: Path) -> bool:
    """Whether a kernel's files are there, as they were when it was compiled."""
    try:
        return (home / "hash").read_text("ascii", "replace") == _hash_of(home)
    except OSError:
        return False


@contextlib.contextmanager
def _numba_writes_to(folder: Path | None) -> Iterator[None]:
    """Numba reads the setting when it decorates; other code of the user keeps its own."""
    before, numba.config.CACHE_DIR = numba.config.CACHE_DIR, "" if folder is None else str(folder)
    try:
        yield
    finally:
        numba.config.CACHE_DIR = before


class Compiled:
    """A function for one explicit signature, loaded or compiled when it is first needed."""

    def __init__(self, function: Callable[..., Any], signature: str) -> None:
        self.function, self.signature = function, signature
        self.module, self.name = function.__module__.rpartition(".")[2], function.__name__
        self.compiled: Any = None

    def load(self) -> None:
        """Take the machine code from the folder; have it compiled into it first if need be."""
        folder = cache_folder()
        if folder is not None:
            home = _home(folder, self.module, self.name)
            while not _is_whole(home) and any(worker.poll() is None for worker in _workers):
                time.sleep(0.01)
            if not _is_whole(home):
                with contextlib.suppress(OSError, subprocess.SubprocessError):
                    _started([(self.module, self.name)]).wait()
        self.compile()

    def compile(self) -> Any:
        """The compiled function; Numba takes it from the folder if it is there, else it is put there."""
        folder = cache_folder()
        try:
            home = folder and _home(folder, self.module, self.name)
            self.compiled = self._by_numba(home) if home is None or _is_whole(home) else self._compile_into(home)
        except OSError:  # the folder is gone or full
            self.compiled = self._by_numba(None)
        return self.compiled

    def _compile_into(self, home: Path) -> Any:
        """The function, compiled now, and its files in their place, unless another process was first."""
        with tempfile.TemporaryDirectory(dir=home.parent) as folder:
            fresh = Path(folder, home.name)
            compiled = self._by_numba(fresh)
            (fresh / "hash").write_text(_hash_of(fresh), "ascii")
            if not _is_whole(home):
                shutil.rmtree(home, ignore_errors=True)
                with contextlib.suppress(OSError):
                    fresh.rename(home)
        return compiled

    def _by_numba(self, folder: Path | None) -> Any:
        with _numba_writes_to(folder):
            return self.decorated({"error_model": "numpy", "cache": folder is not None})

    def decorated(self, options: dict[str, Any]) -> Any:
        """What Numba's decorator makes of the function."""
        raise NotImplementedError


class _ShareOut(Compiled):
    """Decorator of the one function by which all kernels share their tasks out."""

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__(function, "void(int64, int64, int64, int64)")

    def compile(self) -> Any:
        sharing.POOL[0] = super().compile().address
        return self.compiled

    def decorated(self, options: dict[str, Any]) -> Any:
        return numba.cfunc(self.signature, parallel=True, **options)(self.function)


@_ShareOut
def share_out(task, n, parts, record):
    """Call the task for each of `parts` parts of range(n), on as many threads."""
    if parts == 1:
        sharing.call(task, 0, n, record)
    else:
        for part in numba.prange(parts):
            sharing.call(task, part * n // parts, (part + 1) * n // parts, record)


_POOL = sharing.POOL.ctypes.data


class Kernel(Compiled):
    """A function of (first, last, ...) that does the tasks from `first` on and before `last`. It is called with the
    number of all tasks in the place of these two; the tasks are shared out among the threads."""

    def __init__(self, function: Callable[..., Any], signature: str, launch: Callable[..., Any]) -> None:
        super().__init__(function, signature)
        self.launch = launch

    def __call__(self, n: int, *args: Any) -> None:
        if self.compiled is None:
            if share_out.compiled is None:
                share_out.load()
            self.load()
        self.compiled(0, n, _POOL, *args)

    def decorated(self, options: dict[str, Any]) -> Any:
        """One function for Python and for the threads: given a pool it launches itself, without one it does tasks. Two
        functions, one calling the other, would be optimised twice. It is written out, as Numba takes no *args here."""
        names = ", ".join(list(inspect.signature(self.function).parameters)[2:])
        source = f"""def {self.name}(_first, _last, _pool, {names}):
            if _pool:
                _launch(_pool, _last, ({names},))
            else:
                _function(_first, _last, {names})"""
        made = {"_launch": self.launch, "_function": part(inline="always")(self.function)}
        made["__name__"] = self.function.__module__
        exec(compile(source, self.function.__code__.co_filename, "exec"), made)
        signature = f"void(int64, int64, int64, {self.signature})"
        return numba.njit(signature, fastmath=FASTMATH, no_cfunc_wrapper=True, **options)(made[self.name])


def kernel(signature: str, launch: Callable[..., Any] = sharing.launch) -> Callable[[Callable[..., Any]], Kernel]:
    """Decorator: make a function of (first, last, ...) a kernel; the signature is that of the rest."""
    return lambda function: Kernel(function, signature, launch)


def compile_all(names: Iterable[tuple[str, str]]) -> None:
    """Compile these kernels, (module, name) each, into the folder."""
    for module, name in names:
        getattr(importlib.import_module(f"{__package__}.{module}"), name).compile()


def _started(names: Sequence[tuple[str, str]]) -> subprocess.Popen[bytes]:
    """A process that compiles these kernels. It goes on when this one is interrupted: its work is not lost."""
    paths = [str(HERE.parents[2]), os.environ.get("PYTHONPATH")]
    return subprocess.Popen(
        [sys.executable, "-c", f"from {__name__} import compile_all; compile_all({list(names)!r})"],
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))},
    )  # fmt: skip


def start(names: Sequence[tuple[str, str]] = OF_A_STEP) -> None:
    """On a machine's first use, say that there is something to wait for, and let other processes begin to compile."""
    folder = cache_folder()
    if folder is None:
        return
    missing = [(module, name) for module, name in names if not _is_whole(_home(folder, module, name))]
    if not missing or _another_has_started(folder / "started"):
        return
    print("tinygrad_edu: compiling kernels for this machine (once, some seconds)", file=sys.stderr, flush=True)
    count = min(4, os.cpu_count() or 1)
    with contextlib.suppress(OSError):
        _workers.extend(_started(missing[i::count]) for i in range(count))


def _another_has_started(marker: Path) -> bool:
    """Whether another process compiles just now; if not, this one does from here on."""
    try:
        marker.touch(exist_ok=False)
    except FileExistsError:
        if time.time() - marker.stat().st_mtime < _PATIENCE:
            return True
        marker.touch()
    return False


_PATIENCE = 60  # seconds after which processes that were started elsewhere are taken to have failed


def prepare() -> None:
    """Compile every kernel there is, and wait for it."""
    modules = [importlib.import_module(f"{__package__}.{path.stem}") for path in sorted(HERE.glob("[!_]*.py"))]
    kernels = {value for module in modules for value in vars(module).values() if isinstance(value, Compiled)}
    start(sorted((k.module, k.name) for k in kernels))
    for worker in _workers:
        worker.wait()
