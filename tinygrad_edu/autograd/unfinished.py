"""Results that a launch on the GPU has still to finish. It waits for the next operation, which may do it on the way.

A twin may return an `Unfinished` in the place of an array. The Tensor made of it has no `_array`: whoever asks for that
has it finished first, so that nobody can meet half-done memory. The next operation finishes what waits before anything
else, or takes it unfinished if its twin can; so does whatever changes memory in place, since operands must stay as they
are. See docs/decisions/0016-a-launch-waits-for-the-next-op.md.
"""

from __future__ import annotations

import threading
import weakref
from typing import Any

lock = threading.RLock()  # one thread may finish what another began
waiting: list[weakref.ref[Any]] = []  # Tensors, the youngest last; empty in a program without a GPU
may_wait = True  # see `wait_no_more`


class Unfinished:
    """Stands for an array whose last launch waits. It has the array's shape, ndim, size, dtype and device."""

    shape: tuple[int, ...]
    ndim: int
    size: int
    dtype: Any
    device: Any
    operands: tuple[Any, ...] = ()  # what it is made of; empty once it is finished
    array: Any = None  # what it stands for, once that is finished
    tensor: weakref.ref[Any] | None = None  # whose array it will be

    def compute(self) -> Any:
        """Launch what is missing; returns the array."""
        raise NotImplementedError

    def goes_into(self, op: Any, arrays: list[Any], attrs: dict[str, Any]) -> bool:
        """Whether the op takes it unfinished, in the places where it stands in `arrays`."""
        raise NotImplementedError

    def finish(self) -> Any:
        """The array, finished now if it was not yet."""
        with lock:
            if self.array is None:
                self.become(self.compute())
            return self.array

    def become(self, array: Any) -> None:
        """Note that this array is finished now."""
        self.array, self.operands = array, ()

    @property
    def is_needed(self) -> bool:
        """Whether anybody has met the array, or still can."""
        return self.array is not None or (self.tensor is not None and self.tensor() is not None)


def wait(result: Any) -> Any:
    """Let this Tensor, made of an Unfinished, have its array only when it is asked for; returns the Tensor."""
    with lock:
        result._unfinished = result._array
        del result._array
        result._unfinished.tensor = weakref.ref(result)
        waiting.append(result._unfinished.tensor)
    return result


def array_of(tensor: Any) -> Any:
    """The array of a Tensor that has none yet, finished now. None: it waits for nothing."""
    with lock:
        unfinished = tensor.__dict__.get("_unfinished")
        if unfinished is not None:
            tensor._array = unfinished.finish()
            del tensor._unfinished
        return tensor.__dict__.get("_array")  # another thread may have been faster


def finish() -> None:
    """Finish all that waits and can still be met."""
    with lock:
        for reference in tuple(waiting):  # the oldest first: the younger ones are made of them
            tensor = reference()
            if tensor is not None:
                array_of(tensor)
        waiting.clear()


def wait_no_more() -> None:
    """Let no launch wait from now on: code that is not ours may change memory, and nobody would notice."""
    global may_wait
    may_wait = False
    finish()


def youngest() -> Any:
    """The Tensor that began to wait last, if it still does; None otherwise."""
    tensor = waiting[-1]() if waiting else None
    return tensor if tensor is not None and "_unfinished" in tensor.__dict__ else None


def form(x: Any) -> Any:
    """What knows the shape and dtype of a Tensor: its array, or what stands for that. It finishes nothing."""
    return x.__dict__.get("_unfinished") or x._array


def alike(a: Any, b: Any) -> bool:
    """Whether both are Tensors of one dtype. It finishes nothing."""
    return hasattr(a, "_node") and hasattr(b, "_node") and form(a).dtype == form(b).dtype
