"""CuPy, found and loaded when a GPU is first asked for, with a sentence about what to do where it cannot be used.

One source serves NVIDIA's GPUs and AMD's: CuPy exists for CUDA and for ROCm, and both are the device "cuda", as in
PyTorch.
"""

from __future__ import annotations

import functools
import importlib.metadata
import os
import re
import threading
from collections.abc import Callable
from types import ModuleType
from typing import Any

from . import compat

EXTRAS = (
    "install the extra that fits: pip install 'tinygrad_edu[cuda12]' (NVIDIA, driver for CUDA 12), "
    "'tinygrad_edu[cuda13]' (NVIDIA, driver for CUDA 13) or 'tinygrad_edu[rocm]' (AMD, ROCm 7)"
)
_WHEEL = re.compile(r"cupy(-cuda\w+|-rocm-\w+-\w+)?", re.IGNORECASE)

on_load: list[Callable[[], None]] = []  # called once CuPy is loaded, to let the kernels register
array_types: set[type] = set()  # the types of arrays on a GPU: empty until CuPy is loaded
several = False  # whether there is more than one GPU: known once CuPy is loaded
_tf32 = os.environ.get("CUPY_TF32", "0") not in ("", "0")  # what CuPy is told once it is loaded; it heeds the same


class _Current(threading.local):
    index = 0  # the GPU that "cuda" without a number means, in this thread


_current = _Current()


def wheels() -> list[str]:
    """The names of the CuPy packages that are installed: they all are the module `cupy`, so one alone can work."""
    names = {d.metadata["Name"] or "" for d in importlib.metadata.distributions()}
    return sorted(name for name in names if _WHEEL.fullmatch(name.replace("_", "-")))


@functools.cache
def cupy() -> ModuleType:
    """CuPy, with a GPU that it can use. RuntimeError: there is none, or not both; it says what to do."""
    global several
    found = wheels()
    if len(found) > 1:
        raise RuntimeError(
            f"several CuPy packages are installed ({', '.join(found)}), and each breaks the others; remove them all "
            f"(pip uninstall {' '.join(found)}) and {EXTRAS}"
        )
    try:
        import cupy as cp
    except ModuleNotFoundError as error:
        if error.name != "cupy":
            raise
        raise RuntimeError(f"device 'cuda' needs CuPy, which is not installed; {EXTRAS}") from None
    except Exception as error:
        if isinstance(error, OSError) and error.filename is not None:
            raise RuntimeError(
                f"CuPy has no folder to keep compiled kernels in ({error}); name one that can be written in the "
                "variable CUPY_CACHE_DIR of the environment"
            ) from error
        # A library that it needs is missing or of another version.
        raise RuntimeError(f"CuPy is installed but cannot be loaded ({error}); {_another(found)}") from error
    _check_driver(cp, found)
    several = cp.cuda.runtime.getDeviceCount() > 1
    array_types.add(cp.ndarray)
    if _tf32 != _computes_in_tf32(cp):
        _compute_in_tf32(cp, _tf32)
    for call in on_load:
        call()
    return cp


def _another(found: list[str]) -> str:
    """What to do where the CuPy that is installed is not the one for this machine."""
    return f"remove it (pip uninstall {' '.join(found or ['cupy'])}) and {EXTRAS}"


def _check_driver(cp: Any, found: list[str]) -> None:
    """RuntimeError: no driver, one that is too old for this CuPy, or no GPU."""
    try:
        if cp.cuda.runtime.getDeviceCount() > 0:
            return
        why = "it found none"
    except cp.cuda.runtime.CUDARuntimeError as error:
        why = str(error)
        if "InsufficientDriver" in why:
            built = "ROCm" if cp.cuda.runtime.is_hip else f"CUDA {cp.cuda.runtime.runtimeGetVersion() // 1000}"
            raise RuntimeError(
                f"the GPU's driver is missing or older than CuPy ({cp.__version__}, for {built}) needs: {why}; update "
                f"the driver, or take the CuPy for the one that there is: {_another(found)}"
            ) from None
    raise RuntimeError(f"device 'cuda' needs a GPU that CuPy can use ({why}); use device='cpu'")


def is_available() -> bool:
    """Whether there is a GPU to compute on, and CuPy for it."""
    try:
        cupy()
    except RuntimeError:
        return False
    return True


def count() -> int:
    """The number of GPUs; 0 without CuPy."""
    return _count() if is_available() else 0


@functools.cache
def _count() -> int:
    return int(cupy().cuda.runtime.getDeviceCount())


def checked_index(index: int | None) -> int:
    """This GPU's index, that of the current one for None. RuntimeError: there is none of this index."""
    cupy()
    if index is None:
        return _current.index
    if not 0 <= index < _count():
        there = "one GPU, 'cuda:0'" if _count() == 1 else f"{_count()} GPUs, 'cuda:0' to 'cuda:{_count() - 1}'"
        raise RuntimeError(f"device 'cuda:{index}' does not exist: CuPy found {there}; use what there is")
    return index


def set_current(index: int) -> None:
    """What "cuda" without a number means from now on, in this thread."""
    _current.index = checked_index(index)


def use(index: int | None) -> ModuleType:
    """The array module of this GPU, on which CuPy computes from now on in this thread: it makes its results there."""
    module = _module(_current.index if index is None else index)
    enter(module)
    return module


def enter(module: Any) -> None:
    """Let CuPy compute on the GPU of this array module. Nothing for another module, or where there is one GPU."""
    if several and module in _index:
        cupy().cuda.Device(_index[module]).use()


_index: dict[ModuleType, int] = {}  # by array module, its GPU


@functools.cache
def _module(index: int) -> ModuleType:
    module = compat.array_module(cupy())
    _index[module] = index
    return module


def has_bfloat16() -> bool:
    """Whether the current GPU has instructions for bfloat16: NVIDIA's from compute capability 8.0 on, and AMD's."""
    cp = cupy()
    return bool(cp.cuda.runtime.is_hip or int(cp.cuda.Device(_current.index).compute_capability) >= 80)


def ran_out(error: MemoryError) -> int | None:
    """The GPU whose memory ran out by this error; None: it was the CPU's."""
    return int(cupy().cuda.runtime.getDevice()) if type(error).__module__.startswith("cupy") else None


def allow_tf32(allowed: bool) -> None:
    """Whether products of two float32 matrices may round their factors to TF32: 10 bits, and several times as fast.

    Stacks of matrices are multiplied in float32 by CuPy in any case. A GPU without TF32 warns.
    """
    global _tf32
    _tf32 = bool(allowed)
    if array_types:
        _compute_in_tf32(cupy(), _tf32)


def tf32_allowed() -> bool:
    """Whether they do; before CuPy is loaded, whether they will."""
    return _computes_in_tf32(cupy()) if array_types else _tf32


_DEFAULT, _TF32 = 1, 7  # of CuPy's compute types, whose names are not public


def _compute_in_tf32(cp: Any, wanted: bool) -> None:
    cp._core.set_compute_type("float32", _TF32 if wanted else _DEFAULT)


def _computes_in_tf32(cp: Any) -> bool:
    return bool(cp._core.get_compute_type("float32") == _TF32)
