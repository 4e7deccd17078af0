"""The GPU, as PyTorch programs ask for it. This version computes on the CPU alone and says so."""

from __future__ import annotations

from typing import TYPE_CHECKING as _TYPE_CHECKING
from typing import Any, NoReturn

from .. import absent as _absent
from .. import random
from . import amp as amp

_MISSING = "this version of tinygrad_edu computes on the CPU alone; ask cuda.is_available() first, and use device='cpu'"


def is_available() -> bool:
    """Whether there is a GPU to compute on: not in this version."""
    return False


def device_count() -> int:
    """The number of GPUs to compute on: 0 in this version."""
    return 0


def is_initialized() -> bool:
    """Whether the GPU was used already: never in this version."""
    return False


def is_bf16_supported(including_emulation: bool = True) -> bool:
    """Whether bfloat16 can be computed with: no."""
    return False


def manual_seed(seed: int) -> None:
    """Nothing without a GPU. TypeError: the seed is not an integer."""
    random.Generator().manual_seed(seed)


def manual_seed_all(seed: int) -> None:
    """Nothing without a GPU. TypeError: the seed is not an integer."""
    manual_seed(seed)


def empty_cache() -> None:
    """Nothing without a GPU."""


def memory_allocated(device: Any = None) -> int:
    """Bytes in use on the GPU: 0 without one."""
    return 0


def memory_reserved(device: Any = None) -> int:
    """Bytes held on the GPU: 0 without one."""
    return 0


def max_memory_allocated(device: Any = None) -> int:
    """The most bytes that were in use on the GPU: 0 without one."""
    return 0


def max_memory_reserved(device: Any = None) -> int:
    """The most bytes that were held on the GPU: 0 without one."""
    return 0


def reset_peak_memory_stats(device: Any = None) -> None:
    """RuntimeError: there is no GPU."""
    _refuse("reset_peak_memory_stats")


def synchronize(device: Any = None) -> None:
    """Wait for the GPU. RuntimeError: there is none."""
    _refuse("synchronize")


def current_device() -> int:
    """The index of the GPU in use. RuntimeError: there is none."""
    _refuse("current_device")


def set_device(device: Any) -> None:
    """Choose a GPU. RuntimeError: there is none."""
    _refuse("set_device")


def get_device_name(device: Any = None) -> str:
    """The name of a GPU. RuntimeError: there is none."""
    _refuse("get_device_name")


def get_device_properties(device: Any = None) -> Any:
    """What a GPU can do. RuntimeError: there is none."""
    _refuse("get_device_properties")


def get_device_capability(device: Any = None) -> tuple[int, int]:
    """The compute capability of a GPU. RuntimeError: there is none."""
    _refuse("get_device_capability")


def _refuse(name: str) -> NoReturn:
    raise RuntimeError(f"cuda.{name}: {_MISSING}")


if not _TYPE_CHECKING:  # for type checkers an absent name stays an error
    __getattr__ = _absent.getter("cuda")
