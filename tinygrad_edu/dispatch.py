"""One operation, end to end: choose the pair of functions to run, run it, record it.

`apply(op, x, w, axis=0)` is the only way that a value is computed from Tensors. The pair is the op itself (its
reference forward and backward, in `ops/`) unless a kernel in `kernels/` has registered a faster twin for the device.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from .autograd import unfinished
from .autograd.engine import Node
from .autograd.exhausted import out_of_memory
from .autograd.memory import memory_of
from .autograd.modes import state, tell, values_are_seen
from .autograd.unfinished import Unfinished, wait, waiting
from .backend.device import IGNORED, errors, is_array, module_of, of_array, require_one_device
from .backend.dtypes import is_floating
from .backend.gpu import array_types
from .ops import transfer

_twins: dict[str, dict[str, Any]] = {}  # op name -> device type -> fused twin
_halves: dict[str, Any] = {}  # op name -> the twin for float16 on the CPU
_smallest: dict[str, float] = {}  # op name -> the least number of elements that any of its twins takes
_pair_of: Callable[[Any], Any] = lambda op: op  # noqa: E731  # of an op, what runs where it meets bfloat16
_NEVER = float("inf")
_use_twins = os.environ.get("TINYGRAD_EDU_KERNELS", "auto") != "reference"


def register_twin(op: Any, device: str, pair: Any) -> None:
    """Let `pair` run in the place of `op` on this kind of device wherever `pair.accepts(*arrays, **attrs)`.

    With an attribute `smallest` it is only asked if the first Tensor has so many elements.
    """
    _twins.setdefault(op.name, {})[device] = pair
    _smallest[op.name] = min([getattr(twin, "smallest", 0) for twin in _twins[op.name].values()])


def register_half(op: Any, pair: Any) -> None:
    """Let `pair` run in the place of `op` on float16 on the CPU; all else as for `register_twin`."""
    _halves[op.name] = pair
    _smallest[op.name] = min(_smallest.get(op.name, _NEVER), pair.smallest)


def register_bfloat16(pair_of: Callable[[Any], Any]) -> None:
    """Let `pair_of(op)` run in the place of every op that meets bfloat16 and has no twin that takes it."""
    global _pair_of
    _pair_of = pair_of


def forget_twins() -> None:
    """Run the readable ops from now on: no kernel can be used, or not any more."""
    _twins.clear()


def twins_in_use() -> bool:
    """Whether fused code may run."""
    return _use_twins and bool(_twins)


@contextlib.contextmanager
def use_kernels(which: str) -> Iterator[None]:
    """Within it run fused kernels where there are any ("auto") or the readable ops alone ("reference").

    The environment variable TINYGRAD_EDU_KERNELS sets the same for a whole program.
    """
    global _use_twins
    if which not in ("auto", "reference"):
        raise ValueError(f"use_kernels: expected 'auto' or 'reference', got {which!r}")
    outside, _use_twins = _use_twins, which == "auto"
    try:
        yield
    finally:
        _use_twins = outside


def select(op: Any, first: Any, arrays: list[Any], attrs: dict[str, Any]) -> Any:
    """The pair to run for this op on these arrays, of which `first` is a Tensor's."""
    if not _use_twins:
        return readable(op, first, arrays)
    device = of_array(first).type
    half = device == "cpu" and first.dtype.char == "e"
    twin = _halves.get(op.name) if half else _twins.get(op.name, {}).get(device)
    if twin is None or first.size < getattr(twin, "smallest", 0) or not twin.accepts(*arrays, **attrs):
        return readable(op, first, arrays)
    return twin


def readable(op: Any, first: Any, arrays: Sequence[Any]) -> Any:
    """The op itself; where it meets bfloat16, the same computed in float32."""
    met = first.dtype.kind != "f" and any(hasattr(x, "dtype") and x.dtype.char == "E" for x in arrays)
    return _pair_of(op) if met else op


def apply(op: Any, *inputs: Any, **attrs: Any) -> Any:
    """Run `op` on the inputs (Tensors, arrays or Python numbers; at least one Tensor) and return a Tensor.

    The operation is recorded when recording is on and an input requires grad. Attributes are the op's settings, such
    as an axis; they are recorded too.
    """
    if array_types and op is not transfer.ToDevice:
        inputs = on_one_device(op, finished(op, inputs, attrs) if waiting else inputs)
    record = state.recording and op.differentiable
    arrays: list[Any] = []
    parents: list[Any] = []  # of each input, where its gradient goes; None if it takes none
    versions: list[Any] = []
    maker = None  # the first Tensor
    for x in inputs:
        if hasattr(x, "_array"):
            arrays.append(x._array)
            if maker is None:
                maker = x
            if record:
                memory = x._memory
                versions.append((memory, memory.count))
                parents.append(x._origin() if memory.recorded else x._graph_node() if x._requires_grad else x._node)
        else:
            arrays.append(x)
            parents.append(None)
    assert maker is not None, f"{op.name} needs at least one Tensor"
    first = maker._array
    xp = module_of(first)
    if first.size >= _smallest.get(op.name, _NEVER):
        pair = select(op, first, arrays, attrs)
    else:
        pair = op if first.dtype.kind == "f" else readable(op, first, arrays)
    observed = state.observers
    if observed:
        tell("starting", op)
    outside = errors.set(IGNORED)
    try:
        y, saved = pair.forward(xp, *arrays, **attrs)
    except ValueError as error:
        if op.broadcasts:
            raise RuntimeError(cannot_broadcast(op.name, [getattr(a, "shape", ()) for a in arrays])) from error
        raise
    except MemoryError as error:
        shapes = ", ".join(str(tuple(a.shape)) for a in arrays if hasattr(a, "shape"))
        raise out_of_memory(f"{op.name} of {shapes}", error) from error
    finally:
        errors.reset(outside)
    waits = False
    if op is transfer.ToDevice:
        xp = module_of(y)
    elif not isinstance(y, xp.ndarray):
        if isinstance(y, Unfinished):
            y, waits = (y.finish(), False) if observed and values_are_seen() else (y, True)
        else:  # reductions to a single number return NumPy scalars
            y = xp.asarray(y)
    if observed:
        tell("computed", op, pair, attrs, tuple(arrays), y)
    result = wait(maker._result(y)) if waits else maker._result(y)
    if op.may_alias and memory_of(y) is memory_of(first):  # a view counts in-place changes together with what it shows
        result._share_memory_of(maker)
    dtype = y.dtype
    if not any(parents) or not is_floating(dtype):  # integers have no gradient
        return result

    constants: tuple[Any, ...] = (None,) * len(parents)  # a parent can make its value again
    if None in parents:
        constants = tuple([None if parent else x for x, parent in zip(arrays, parents, strict=True)])
        if pair.saved_for is not None:  # keep only what the gradients that are wanted use
            saved = tuple(
                [s if any(parents[i] for i in users) else None for s, users in zip(saved, pair.saved_for, strict=True)]
            )
    if saved:
        memory = result._memory
        versions.append((memory, memory.count))
    node = Node(op, pair, xp, attrs, saved, tuple(parents), y.shape, dtype, constants, versions)
    result._node = node
    if observed:
        tell("recorded", node, tuple(arrays), y)
    return result


def finished(op: Any, inputs: tuple[Any, ...], attrs: dict[str, Any]) -> tuple[Any, ...]:
    """The inputs, after all that waits has been finished: but for the youngest, if this op takes it unfinished.

    Then what stands for its array is in the place of the array, in a Tensor that only the op gets to see.
    """
    with unfinished.lock:
        tensor = unfinished.youngest()
        if tensor is not None and any(x is tensor for x in inputs) and not values_are_seen():
            part, recorded = tensor._unfinished, state.recording and any(getattr(x, "requires_grad", 0) for x in inputs)
            arrays = [part if x is tensor else getattr(x, "_array", x) for x in inputs]
            # A graph has to know it by its node, for the constants that it keeps are arrays.
            if (tensor._node is not None or not recorded) and part.goes_into(op, arrays, attrs):
                taken = tensor._result(part, tensor._node)._share_memory_of(tensor)
                return tuple(taken if x is tensor else x for x in inputs)
        unfinished.finish()
        return inputs


def on_one_device(op: Any, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
    """The inputs, with 0-d Tensors of the CPU taken to where the others are. RuntimeError: others differ in device."""
    devices = [of_array(getattr(x, "_array", x)) if is_array(getattr(x, "_array", x)) else None for x in inputs]
    found = list(dict.fromkeys(d for d in devices if d is not None))
    if len(found) < 2:
        return inputs
    large = list(dict.fromkeys(d for d, x in zip(devices, inputs, strict=True) if d is not None and x.ndim))
    large = large or [d for d in found if d.type != "cpu"][:1]
    moved = tuple(
        apply(transfer.ToDevice, x, device=large[0])
        if d is not None and d != large[0] and d.type == "cpu" and not x.ndim and hasattr(x, "_array") else x
        for d, x in zip(devices, inputs, strict=True)
    )  # fmt: skip
    require_one_device(op.name, [x for x in moved if is_array(getattr(x, "_array", x))])
    return moved


def cannot_broadcast(name: str, shapes: list[tuple[int, ...]]) -> str:
    """The sentence that explains why these shapes do not broadcast."""
    ndim = max(len(s) for s in shapes)
    padded = [(1,) * (ndim - len(s)) + tuple(s) for s in shapes]
    for axis in reversed(range(ndim)):
        sizes = list(dict.fromkeys(s[axis] for s in padded if s[axis] != 1))
        if len(sizes) > 1:
            return (
                f"{name}: the size of tensor a ({sizes[0]}) must match the size of tensor b ({sizes[1]}) at "
                f"non-singleton dimension {axis}; got shapes {', '.join(str(tuple(s)) for s in shapes)}"
            )
    return f"{name}: shapes {', '.join(str(tuple(s)) for s in shapes)} do not fit together"
