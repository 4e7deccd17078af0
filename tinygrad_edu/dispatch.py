"""One operation, end to end: choose the pair of functions to run, run it, record it.

`apply(op, x, w, axis=0)` is the only way that a value is computed from Tensors. The pair is the op itself (its
reference forward and backward, in `ops/`) unless a kernel in `kernels/` has registered a faster twin for the device.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from typing import Any

from .autograd.engine import Node, owner
from .autograd.modes import state, tell
from .backend.device import Device, array_module, of_array, quiet

_twins: dict[tuple[str, str], Any] = {}  # (op name, device type) -> fused twin
_use_twins = os.environ.get("TINYGRAD_EDU_KERNELS", "auto") != "reference"


def register_twin(op: Any, device: str, pair: Any) -> None:
    """Let `pair` run in the place of `op` on this kind of device wherever `pair.accepts(*arrays, **attrs)`."""
    _twins[op.name, device] = pair


def forget_twins() -> None:
    """Run the readable ops from now on: no kernel can be used, or not any more."""
    _twins.clear()


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


def select(op: Any, device: Device, arrays: list[Any], attrs: dict[str, Any]) -> Any:
    """The pair to run for this op on these arrays."""
    twin = _twins.get((op.name, device.type)) if _use_twins else None
    return twin if twin is not None and twin.accepts(*arrays, **attrs) else op


def apply(op: Any, *inputs: Any, **attrs: Any) -> Any:
    """Run `op` on the inputs (Tensors, arrays or Python numbers; at least one Tensor) and return a Tensor.

    The operation is recorded when recording is on and an input requires grad. Attributes are the op's settings, such
    as an axis; they are recorded too.
    """
    arrays, needs, memories = [], [], []
    maker = None
    record = state.recording and op.differentiable
    for x in inputs:
        if hasattr(x, "_array"):
            arrays.append(x._array)
            memories.append(x._memory)
            needs.append(record and x._takes_part())
            if maker is None:
                maker = x
        else:
            arrays.append(x)
            needs.append(False)
    assert maker is not None, f"{op.name} needs at least one Tensor"
    device = of_array(maker._array)
    xp = array_module(device)
    pair = select(op, device, arrays, attrs) if _twins else op
    if state.observers:
        tell("starting", op)
    try:
        with quiet:
            y, saved = pair.forward(xp, *arrays, **attrs)
    except ValueError as error:
        if op.broadcasts:
            raise RuntimeError(cannot_broadcast(op.name, [getattr(a, "shape", ()) for a in arrays])) from error
        raise
    if not isinstance(y, xp.ndarray):  # reductions to a single number return NumPy scalars
        y = xp.asarray(y)
    if state.observers:
        tell("computed", op, pair, attrs, tuple(arrays), y)

    if True not in needs or y.dtype.kind != "f":  # integers have no gradient
        result = maker._result(y)
        if op.may_alias:
            _share_memory(result, maker)
        return result

    if pair.saved_for is not None and False in needs:  # keep only what the gradients that are wanted use
        saved = tuple(
            s if any(needs[i] for i in users) else None for s, users in zip(saved, pair.saved_for, strict=True)
        )
    parents = tuple([x._graph_node() if n else None for x, n in zip(inputs, needs, strict=True)])
    constants = tuple([None if n else a for a, n in zip(arrays, needs, strict=True)])
    node = Node(op, pair, xp, attrs, saved, parents, y.shape, y.dtype, constants)
    result = maker._result(y, node)
    if op.may_alias:
        _share_memory(result, maker)
    node.versions = [(memory, memory.count) for memory in memories]
    if saved:
        node.versions.append((result._memory, result._memory.count))
    if state.observers:
        tell("recorded", node, tuple(arrays), y)
    return result


def _share_memory(view: Any, of: Any) -> None:
    """Let a view count in-place changes together with the tensor whose memory it shows."""
    if owner(view._array) is owner(of._array):
        view._share_memory_of(of)


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
