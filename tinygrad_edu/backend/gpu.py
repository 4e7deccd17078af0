"""CuPy, found and loaded when a GPU is first asked for, with a sentence about what to do where it cannot be used.

One source serves NVIDIA's GPUs and AMD's: CuPy exists for CUDA and for ROCm, and both are the device "cuda", as in
PyTorch.
"""

from __future__ import annotations

import functools
import importlib.metadata
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
    except Exception as error:  # a library that it needs is missing or of another version
        raise RuntimeError(f"CuPy is installed but cannot be loaded ({error}); {EXTRAS}") from error
    _check_driver(cp)
    array_types.add(cp.ndarray)
    for call in on_load:
        call()
    return cp


def _check_driver(cp: Any) -> None:
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
                f"the driver, or {EXTRAS}"
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
        raise RuntimeError(f"device 'cuda:{index}' does not exist: CuPy found {_count()}, numbered from 0")
    return index


def set_current(index: int) -> None:
    """What "cuda" without a number means from now on, in this thread."""
    _current.index = checked_index(index)


def use(index: int | None) -> ModuleType:
    """The array module of GPUs, computing on this one from now on: results of array operations are made there."""
    if _count() > 1:
        cupy().cuda.Device(_current.index if index is None else index).use()
    return _module()


@functools.cache
def _module() -> ModuleType:
    return compat.array_module(cupy())
