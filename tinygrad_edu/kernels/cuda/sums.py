"""Sums that wait for the kernel which reads them next: a product's bias, and what is added to both.

Each rounds as the op that it belongs to. Meaning: see ops/linalg.py and ops/elementwise.py.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any, NamedTuple

import cupy as cp

from ...autograd import unfinished
from ...autograd.exhausted import out_of_memory
from ...autograd.unfinished import Unfinished
from ...dispatch import select
from ...ops.elementwise import Add


class Terms(NamedTuple):
    """What a kernel has to add up before it reads its input: total = other + (first + bias).

    bias (of a row) and other may be None, and with total None first is all there is.
    """

    first: Any
    bias: Any = None
    other: Any = None
    total: Any = None

    @property
    def result(self) -> Any:
        """The array that the kernel reads."""
        return self.first if self.total is None else self.total


class Sum(Unfinished):
    """A sum that waits, of these operands; the first is an array of its shape."""

    __array_priority__ = 1000  # `array + sum` is the sum's to compute

    def __init__(self, array: Any, *others: Any) -> None:
        self.shape, self.ndim, self.size, self.dtype = array.shape, array.ndim, array.size, array.dtype
        self.device, self.operands = array.device, (array, *others)

    def terms(self) -> Terms:
        """What is to be added up."""
        raise NotImplementedError

    def added(self) -> Any:
        """The array, computed by launches of its own."""
        raise NotImplementedError

    def compute(self) -> Any:
        try:
            if _is_current(self.device):
                return self.added()
            with self.device, cp.cuda.Stream.null:
                y = self.added()
                cp.cuda.Stream.null.synchronize()  # the stream that goes on from here does not wait for that one
            return y
        except MemoryError as error:
            raise out_of_memory(f"a sum of shape {tuple(self.shape)}", error) from error

    def goes_into(self, op: Any, arrays: list[Any], attrs: dict[str, Any]) -> bool:
        takes = getattr(select(op, self, arrays, attrs), "takes", ())
        return _is_current(self.device) and arrays[0] is self and type(self) in takes


class Biased(Sum):
    """product + bias, written over the product."""

    def terms(self) -> Terms:
        product, bias = self.operands
        return Terms(product, cp.ascontiguousarray(bias), None, product)

    def added(self) -> Any:
        product, bias = self.operands
        return cp.add(product, bias, out=product)

    def goes_into(self, op: Any, arrays: list[Any], attrs: dict[str, Any]) -> bool:
        if op is not Add:
            return super().goes_into(op, arrays, attrs)
        other = arrays[0] if arrays[1] is self else arrays[1]
        return (
            type(other) is cp.ndarray and other.shape == self.shape and other.dtype == self.dtype
            and other.flags.c_contiguous and other.device == self.device and _is_current(self.device)
        )  # fmt: skip

    def __add__(self, other: Any) -> Sum:
        return Residual(other, self)

    __radd__ = __add__


class Residual(Sum):
    """other + part, a biased product, and written over it unless it is needed by itself."""

    def terms(self) -> Terms:
        other, part = self.operands
        if part.is_needed:
            return Terms(part.finish(), None, other, cp.empty_like(other))
        return part.terms()._replace(other=other)

    def added(self) -> Any:
        other, part = self.operands
        needed, y = part.is_needed, part.finish()
        return cp.add(other, y, out=None if needed else y)


def biased(product: Any, bias: Any) -> Any:
    """product + bias, which nobody else holds: a sum that waits if it may, else the array."""
    y = Biased(product, bias)
    can = unfinished.may_wait and product.size and product.flags.c_contiguous and _is_current(product.device)
    return y if can else y.added()


def _is_current(device: Any) -> bool:
    """Whether work goes into this device's default stream, the only one whose order is known to all."""
    return cp.cuda.get_current_stream().ptr == 0 and cp.cuda.runtime.getDevice() == device.id


@contextlib.contextmanager
def taken(x: Any) -> Iterator[Terms]:
    """What a kernel has to add up for its input x, an array or a sum that waits: launched inside, it is finished."""
    if not isinstance(x, Sum):
        yield Terms(cp.ascontiguousarray(x))
        return
    with unfinished.lock:
        if x.array is not None:  # another thread has finished it
            yield Terms(x.array)
            return
        terms = x.terms()
        yield terms
        x.become(terms.result)
