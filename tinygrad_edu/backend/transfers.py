"""Copies between the memory of the CPU and that of a GPU. All of them are made here, and counted.

They are what slows a program on a GPU down without being seen: each makes the CPU wait for the GPU, or the GPU for the
CPU. So nothing copies by itself but what has to: `.to()`, `.cpu()`, `.item()`, printing, data that a tensor is made of.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from . import capture, gpu, promises
from .device import CPU, Device, array_module, of_array


@dataclass
class Count:
    """Copies to GPUs and from them, and their bytes."""

    to_device: int = 0
    to_host: int = 0
    bytes: int = 0


total = Count()  # since the program started


@contextlib.contextmanager
def counted() -> Iterator[Count]:
    """Count the copies that are made inside: `with counted() as count: ...`, then `count.to_host`."""
    before, inside = Count(**vars(total)), Count()
    try:
        yield inside
    finally:
        for name, value in vars(total).items():
            setattr(inside, name, value - getattr(before, name))


def to_host(array: Any) -> Any:
    """The array in the CPU's memory; itself if it is there."""
    if type(array) not in gpu.array_types:
        return array
    capture.refuse(
        "it reads a value from the GPU, as item(), float(), if and print do; return the Tensor and read it after that"
    )
    copied = array.get()
    promises.read()
    total.to_host += 1
    total.bytes += copied.nbytes
    return copied


def to_device(array: Any, device: Device) -> Any:
    """The array on this device; itself if it is there."""
    if of_array(array) == device:
        return array
    if device == CPU:
        return to_host(array)
    xp = array_module(device)
    if type(array) not in gpu.array_types:
        capture.refuse(capture.COPIES)
        total.to_device += 1
        total.bytes += array.nbytes
    return xp.array(array)


def copy_into(target: Any, array: Any) -> None:
    """Write an array of any device over one of a GPU."""
    if type(array) in gpu.array_types:
        target[...] = array
        return
    total.to_device += 1
    total.bytes += array.nbytes
    target.set(np.asarray(array, order="C"))
