"""Devices: where an array lives, which array module computes on it, and how values get from one to another.

CuPy is imported when a GPU is first asked for, not before. Until then every array is NumPy's.
"""

from __future__ import annotations

import contextvars
import threading
from collections.abc import Iterable, Iterator, Sequence
from types import ModuleType
from typing import Any

import numpy as np

from . import gpu


class _Default(threading.local):
    device: Any = None  # where tensors are made if no device is named; None: the CPU


_default = _Default()


class Device:
    """A place to compute: `Device("cpu")` or `Device("cuda", 0)`. Equal to another of the same type and index.

    `Device(1)` is `Device("cuda", 1)`. In a `with` statement it is where tensors are made unless a device is named.
    """

    __slots__ = ("type", "index", "_outside")

    def __init__(self, type: Any, index: int | None = None) -> None:
        self.type: str
        self.index: int | None
        if isinstance(type, Device):
            self.type, self.index = type.type, type.index
            return
        if isinstance(type, int) and not isinstance(type, bool):
            type, index = "cuda", type
        if isinstance(type, str) and ":" in type:
            type, _, number = type.partition(":")
            if index is not None or not number.isdigit():
                raise RuntimeError(f"invalid device string {f'{type}:{number}'!r}; write 'cpu', 'cuda' or 'cuda:1'")
            index = int(number)
        if type not in ("cpu", "cuda"):
            raise RuntimeError(f"unknown device {type!r}; expected 'cpu', 'cuda' or a GPU's number, as in 'cuda:1'")
        if index is not None and index < 0:
            raise RuntimeError(f"the number of a device must not be negative, got {index}; the first GPU is 'cuda:0'")
        self.type, self.index = type, index

    def __repr__(self) -> str:
        return f"device(type={self.type!r}" + (")" if self.index is None else f", index={self.index})")

    def __str__(self) -> str:
        return self.type if self.index is None else f"{self.type}:{self.index}"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Device) and (self.type, self.index) == (other.type, other.index)

    def __hash__(self) -> int:
        return hash((self.type, self.index))

    def __enter__(self) -> Device:
        as_device(self)
        self._outside = [*getattr(self, "_outside", ()), _default.device]
        _default.device = self
        return self

    def __exit__(self, *exc: object) -> None:
        _default.device = self._outside.pop()


CPU = Device("cpu")


def set_default_device(device: Any) -> None:
    """Make tensors on this device where none is named, in this thread; None: on the CPU.

    RuntimeError: the device cannot be used here.
    """
    _default.device = None if device is None else as_device(device)


def as_device(device: Any) -> Device:
    """The device named (None: the default one), checked to be usable here. RuntimeError: it is not."""
    if device is None:
        device = _default.device
        if device is None:
            return CPU
    chosen = device if isinstance(device, Device) else Device(device)
    return CPU if chosen.type == "cpu" else Device("cuda", gpu.checked_index(chosen.index))


def of_array(array: Any) -> Device:
    """The device that an array lives on."""
    if type(array) is np.ndarray or type(array) not in gpu.array_types:
        return CPU
    return Device("cuda", array.device.id)


def array_module(device: Device) -> ModuleType:
    """The module with NumPy's interface that computes on this device (the `xp` of every op)."""
    return np if device is CPU or device.type == "cpu" else gpu.use(device.index)


def module_of(array: Any) -> Any:
    """The array module of the device that an array lives on."""
    return np if type(array) is np.ndarray else array_module(of_array(array))


def in_turn(arrays: Iterable[Any]) -> Iterator[Any]:
    """Each of the arrays while its device is the one that computes."""
    for array in arrays:
        module_of(array)
        yield array


def is_array(x: Any) -> bool:
    """Whether x is an array of some device; a NumPy scalar is none."""
    return isinstance(x, np.ndarray) or type(x) in gpu.array_types


def require_one_device(name: str, values: Sequence[Any]) -> None:
    """RuntimeError, naming both devices, unless these Tensors or arrays, or the devices of some, are on one."""
    devices = (x if isinstance(x, Device) else of_array(getattr(x, "_array", x)) for x in values)
    found = sorted({str(d) for d in devices}, reverse=True)[:2][::-1]
    if len(found) > 1:
        raise RuntimeError(
            f"Expected all tensors to be on the same device, but found at least two devices, {found[1]} and "
            f"{found[0]}! ({name}); move one of them with .to({found[1]!r}), an array with tensor(array, "
            f"device={found[1]!r})"
        )


def address(array: Any) -> int:
    """Where in memory the first element of an array is."""
    return array.data.ptr if type(array) in gpu.array_types else array.__array_interface__["data"][0]


def _error_state() -> tuple[contextvars.ContextVar[Any], Any]:
    """Where NumPy keeps what it does about overflow and NaN, and the value that stands for "nothing".

    It is a context variable that only `np.errstate` sets, which takes as long as some operations on a small array. The
    value that it sets serves again and again.
    """
    outside = contextvars.copy_context()
    with np.errstate(all="ignore"):
        ((variable, value),) = [(v, x) for v, x in contextvars.copy_context().items() if outside.get(v) is not x]
    return variable, value


# `token = errors.set(IGNORED)` ... `errors.reset(token)` is `with quiet` at half the price.
errors, IGNORED = _error_state()


class _Quiet(threading.local):
    """Within it, no warnings for overflow, division by zero or NaN: they are values here, as in PyTorch."""

    def __init__(self) -> None:
        self._tokens: list[contextvars.Token[Any]] = []  # of nested uses in this thread

    def __enter__(self) -> None:
        self._tokens.append(errors.set(IGNORED))

    def __exit__(self, *exc: Any) -> None:
        errors.reset(self._tokens.pop())


quiet = _Quiet()
