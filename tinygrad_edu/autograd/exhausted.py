"""When memory runs out: what was being computed, what holds the memory, and what to change."""

from __future__ import annotations

import functools
import gc
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from ..backend import gpu
from .engine import Node
from .memory import memory_of

_MOST = 6  # entries of the list of who holds what
_Function = TypeVar("_Function", bound=Callable[..., Any])


class OutOfMemoryError(RuntimeError, MemoryError):
    """There is no memory for the result of an operation; the message says who holds how much."""


def allocates(function: _Function) -> _Function:
    """The same function, but where memory runs out in it, its `OutOfMemoryError` names the function."""

    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        try:
            return function(*args, **kwargs)
        except MemoryError as error:
            raise out_of_memory(function.__qualname__, error) from error

    return wrapper  # type: ignore[return-value]


def out_of_memory(what: str, error: MemoryError) -> OutOfMemoryError:
    """The error to raise for one of the array library's while `what` was computed."""
    if isinstance(error, OutOfMemoryError):  # of an operation within this one
        return error
    said = str(error).rstrip(".") or "the array library gave no details"
    totals = held(gpu.ran_out(error))
    sizes = [f"{name} {_size(size)}" for name, size in totals.most_common(_MOST)]
    rest = sum(totals.values()) - sum(size for _, size in totals.most_common(_MOST))
    sizes += [f"others {_size(rest)}"] if rest else []
    kept = sum(size for name, size in totals.items() if name.startswith("saved by "))
    advice = "use smaller batches (and gradient accumulation)"
    if 2 * kept > sum(totals.values()):
        advice += ", recompute() around the blocks, or autocast to float16"
    elif totals:
        advice += ", a smaller model, or an optimizer with less state"
    return OutOfMemoryError(
        f"out of memory in {what}: {said}. Held now: {', '.join(sizes) or 'nothing'}. To need less, {advice}"
    )


def held(device: int | None = None) -> Counter[str]:
    """Bytes held by parameters, by gradients, by optimizers and by what each kind of operation saved for backward.

    device: the GPU whose memory is meant; None: that of the CPU. Each piece of memory counts once, for the first of
    these that holds it. It looks at every object of the process.
    """
    found: dict[int, tuple[str, Any]] = {}
    objects = gc.get_objects()
    for holders in (_parameters, _gradients, _optimizers, _saved):
        for name, array in holders(objects):
            if (array.device.id if type(array) in gpu.array_types else None) == device:
                memory = memory_of(array)
                found.setdefault(id(memory), (name, memory))
    totals: Counter[str] = Counter()
    for name, memory in found.values():
        totals[name] += memory.size if device is not None else memory.nbytes
    return totals


def _instances(objects: list[Any], attribute: str) -> Iterator[Any]:
    """The objects whose class has this attribute. Their classes are those of layers above, so that names have to do."""
    return (x for x in objects if hasattr(type(x), attribute) and type(x).__module__.startswith("tinygrad_edu"))


def _parameters(objects: list[Any]) -> Iterator[tuple[str, Any]]:
    return (("parameters", t._array) for t in _instances(objects, "_accumulate_grad") if t._requires_grad)


def _gradients(objects: list[Any]) -> Iterator[tuple[str, Any]]:
    return (("gradients", t._grad._array) for t in _instances(objects, "_accumulate_grad") if t._grad is not None)


def _optimizers(objects: list[Any]) -> Iterator[tuple[str, Any]]:
    for optimizer in _instances(objects, "add_param_group"):
        for entries in optimizer.state.values():
            yield from (("optimizer state", x._array) for x in entries.values() if hasattr(x, "_array"))


def _saved(objects: list[Any]) -> Iterator[tuple[str, Any]]:
    for node in objects:
        if type(node) is Node:
            for x in (*(node.saved or ()), *(node.constants or ())):
                if hasattr(x, "strides") and hasattr(x, "nbytes"):
                    yield f"saved by {node.op.name}", getattr(x, "_array", x)


def _size(size: float) -> str:
    for unit in ("bytes", "KB", "MB"):
        if size < 1000:
            return f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:.3g} GB"
