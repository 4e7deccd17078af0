"""Devices: where an array lives and which array module computes on it."""

from __future__ import annotations

import contextvars
import threading
from types import ModuleType
from typing import Any

import numpy as np


class Device:
    """A place to compute: `Device("cpu")` or `Device("cuda", 0)`. Equal to another of the same type and index."""

    __slots__ = ("type", "index")

    def __init__(self, type: str | Device, index: int | None = None) -> None:
        self.type: str
        self.index: int | None
        if isinstance(type, Device):
            self.type, self.index = type.type, type.index
            return
        if isinstance(type, str) and ":" in type:
            type, _, number = type.partition(":")
            if index is not None or not number.isdigit():
                raise RuntimeError(f"invalid device string {type}:{number!r}; write 'cpu', 'cuda' or 'cuda:1'")
            index = int(number)
        if type not in ("cpu", "cuda"):
            raise RuntimeError(f"unknown device {type!r}; expected 'cpu' or 'cuda'")
        self.type, self.index = type, index

    def __repr__(self) -> str:
        return f"device(type={self.type!r}" + (")" if self.index is None else f", index={self.index})")

    def __str__(self) -> str:
        return self.type if self.index is None else f"{self.type}:{self.index}"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Device) and (self.type, self.index) == (other.type, other.index)

    def __hash__(self) -> int:
        return hash((self.type, self.index))


CPU = Device("cpu")


def as_device(device: Any) -> Device:
    """The device named, checked to be usable here. RuntimeError: it is not."""
    chosen = CPU if device is None else Device(device)
    if chosen.type != "cpu":
        raise RuntimeError(f"device {str(chosen)!r} is not available in this version; use device='cpu'")
    return CPU


def of_array(array: Any) -> Device:
    """The device that an array lives on."""
    return CPU


def array_module(device: Device) -> ModuleType:
    """The module with NumPy's interface that computes on this device (the `xp` of every op)."""
    return np


def address(array: Any) -> int:
    """Where in memory the first element of an array is."""
    return array.__array_interface__["data"][0]


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
