"""Where a value leaves the graph: a computation is run again, and watched for detach(), no_grad(), item() and the like.

The graph alone holds no trace of what was cut from it. So the operations, recorded or not, and the calls by which
numbers leave a tensor are written down while they happen, and followed from a tensor to the loss by their memory.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import CodeType, FrameType
from typing import Any

from .. import creation
from ..autograd.engine import _PACKAGE, Leaf, Node, _user_line, owner
from ..autograd.modes import state
from ..backend.dtypes import is_floating
from ..tensor import Tensor
from .names import Names, code_line

# The calls by which numbers leave a tensor, and those by which numbers become one.
_EXITS: dict[CodeType, str] = {
    Tensor.detach.__code__: "detach()",
    Tensor.detach_.__code__: "detach_()",
    Tensor.data.fget.__code__: ".data",  # type: ignore[attr-defined]
    Tensor.numpy.__code__: ".numpy()",
    Tensor.__array__.__code__: "np.asarray()",
    Tensor.item.__code__: ".item()",
    Tensor.tolist.__code__: ".tolist()",
    Tensor.__float__.__code__: "float()",
    Tensor.__int__.__code__: "int()",
    Tensor.__bool__.__code__: "a Python condition (if, while, and, or)",
}
_ENTRIES: dict[CodeType, str] = {
    creation.tensor.__code__: "tensor()",
    creation.as_tensor.__code__: "as_tensor()",
    creation.from_numpy.__code__: "from_numpy()",
}


@dataclass
class Event:
    """One operation, or one call by which numbers left a tensor or became one."""

    name: str
    inputs: tuple[Any, ...]
    outputs: tuple[Any, ...]
    line: str
    kind: str = "op"
    """"op", "exit" or "entry"."""
    recording: bool = True
    differentiable: bool = True
    scope: Any = None
    node: Node | None = None


@dataclass(frozen=True)
class Cut:
    """Where the way from a tensor to the loss is interrupted."""

    cause: str
    what: str
    fix: str
    event: Event
    """What interrupts it."""


class Watch:
    """Runs a function and writes down what happens. It keeps every array alive that it sees."""

    names: Names  # to be set before questions are asked

    def __init__(self, function: Callable[[], Any]) -> None:
        self.events: list[Event] = []
        outside, profile = state.observers, sys.getprofile()
        state.observers = (*outside, self)
        sys.setprofile(self._profile)
        try:
            self.result = function()
        finally:
            sys.setprofile(profile)
            state.observers = outside

    def computed(self, op: Any, pair: Any, attrs: dict[str, Any], inputs: tuple[Any, ...], y: Any) -> None:
        name = op.name if hasattr(op, "name") else op.__name__
        outputs = y if isinstance(y, tuple) else (y,)
        where, differentiable = code_line(*_user_line()), getattr(op, "differentiable", True)
        self.events.append(Event(name, inputs, outputs, where, "op", state.recording, differentiable, state.scope))

    def recorded(self, node: Node, inputs: tuple[Any, ...], y: Any) -> None:
        self.events[-1].node = node

    def _profile(self, frame: FrameType, event: str, result: Any) -> None:
        """Called by Python at every call and return in this thread."""
        code, caller = frame.f_code, frame.f_back
        if event != "return" or caller is None:
            return
        if code in _EXITS and not caller.f_code.co_filename.startswith(_PACKAGE):
            array = frame.f_locals["self"]._array
            self.events.append(Event(_EXITS[code], (array,), (_plain(result),), _line(caller), "exit"))
        elif code in _ENTRIES and isinstance(result, Tensor):
            given = next(iter(frame.f_locals.values()))
            self.events.append(Event(_ENTRIES[code], tuple(_flat(given)), (result._array,), _line(frame), "entry"))

    # ---- following the numbers -------------------------------------------------------------------------------------

    def cuts(self, p: Tensor, loss: Tensor) -> list[Cut]:
        """Where the ways from p to the loss are interrupted, in the order of time. [] if the loss does not use p."""
        depends, leads = self._dependent_on(p), self._leading_to(loss)
        connected: set[Node | Leaf] = {p._graph_node()} if p.requires_grad else set()
        alive = {id(p._array)} if p.requires_grad else set()  # arrays of tensors that are connected to p
        found: list[Cut] = []
        for i, e in enumerate(self.events):
            if depends.isdisjoint(_tokens(e.inputs)):
                continue
            if e.node is not None and not connected.isdisjoint(e.node.parents):
                connected.add(e.node)
                alive |= set(map(id, e.outputs))
                beside = zip(e.inputs, e.node.parents, strict=False)
                found += [self._detached(x, e) for x, q in beside if i in leads and q is None and id(x) in alive]
            elif i in leads and e.kind == "exit" and e.name not in _VIEWS and id(e.inputs[0]) in alive:
                found.append(self._left(e))
            elif i in leads and e.kind != "exit" and any(id(x) in alive for x in e.inputs):
                found.append(self._reason(e, alive))
        if not found and id(loss._array) in alive and loss._node is None:
            found.append(self._detached(loss._array, None))
        return found

    def departures(self, p: Tensor, loss: Tensor) -> list[Cut]:
        """Where numbers computed from p were lost sight of: they left for Python or NumPy, and did not come back."""
        depends, leads = self._dependent_on(p), self._leading_to(loss)
        known = {t for e in self.events for t in _tokens(e.outputs)}
        back = next(
            (
                e for i, e in enumerate(self.events)
                if i in leads and e.kind == "entry" and known.isdisjoint(_tokens(e.inputs))
            ),
            None,
        )  # fmt: skip
        exits = [e for e in self.events if e.kind == "exit" and e.name not in _VIEWS[:2]]
        return [self._left(e, back) for e in exits if not depends.isdisjoint(_tokens(e.inputs))]

    def used(self, p: Tensor) -> Event | None:
        """The first operation that p's numbers went into."""
        memory = set(_tokens((p._array,)))
        return next((e for e in self.events if e.kind == "op" and not memory.isdisjoint(_tokens(e.inputs))), None)

    def _dependent_on(self, p: Tensor) -> set[int]:
        """What was computed from p's numbers, by `_tokens`."""
        depends = set(_tokens((p._array,)))
        for e in self.events:
            if not depends.isdisjoint(_tokens(e.inputs)):
                depends.update(_tokens(e.outputs))
        return depends

    def _leading_to(self, loss: Tensor) -> set[int]:
        """The events that the loss's number was computed by."""
        needed, leads = set(_tokens((loss._array,))), set()
        for i in reversed(range(len(self.events))):
            if not needed.isdisjoint(_tokens(self.events[i].outputs)):
                leads.add(i)
                needed.update(_tokens(self.events[i].inputs))
        return leads

    # ---- saying it -------------------------------------------------------------------------------------------------

    def place(self, e: Event) -> str:
        """Operation, module and line."""
        path = self.names.path(e)
        return f"{e.name}{' in ' + path if path else ''} ({e.line})"

    def _reason(self, e: Event, alive: set[int]) -> Cut:
        if e.kind == "entry":
            x = next(x for x in e.inputs if id(x) in alive)
            if any(c.kind == "exit" and c.outputs[0] is x for c in self.events):
                return self._detached(x, e)
            what = f"{e.name} at {e.line} copies the numbers of a tensor without its history"
            return Cut("left", what, "Use the tensor itself, or its clone().", e)
        if not e.recording:
            what = f"{self.place(e)} ran under no_grad(), so it was not recorded"
            return Cut("no_grad", what, "Compute it outside of no_grad(), or in enable_grad().", e)
        dtype = e.outputs[0].dtype
        if e.name == "cast" and not is_floating(dtype):
            what = f"{self.place(e)} made {dtype} of it, and integers have no gradient"
            fix = "Stay in floating point; to choose by index use gather() or a softmax-weighted sum."
            return Cut("integer", what, fix, e)
        if not e.differentiable or not is_floating(dtype):
            what = f"{self.place(e)} gives {dtype} and has no gradient: it does not follow small changes of its input"
            fix = "Put something smooth in its place: softmax() for argmax(), sigmoid() for a comparison."
            return Cut("integer", what, fix, e)
        return self._detached(next(x for x in e.inputs if id(x) in alive), e)

    def _detached(self, x: Any, used: Event | None) -> Cut:
        """A tensor's numbers are used without its history, by an operation or, None, as the loss."""
        user = "the loss" if used is None else self.place(used)
        memory = set(_tokens((x,)))
        left = [e for e in self.events if e.kind == "exit" and not memory.isdisjoint(_tokens(e.inputs))]
        if not left:
            by = used or self.events[-1]
            return Cut("detach", f"{user} uses its numbers without its history", "Use the tensor itself.", by)
        by = next((e for e in left if "detach" not in e.name), left[0])
        what = f"{by.name} at {by.line} cut it off; {user} uses the numbers without their history"
        fix = f"Leave out {by.name}, or keep it for what is only looked at."
        return Cut("detach" if "detach" in by.name else "left", what, fix, by)

    def _left(self, e: Event, back: Event | None = None) -> Cut:
        used = next((u for u in self.events if u.kind != "exit" and any(x is e.outputs[0] for x in u.inputs)), back)
        what = f"{e.name} at {e.line} made plain numbers of it"
        if used is not None:
            what += f", and plain numbers went into {self.place(used)}"
        fix = f"Compute with tensors all the way: leave out {e.name}, or keep it for what is only looked at."
        return Cut("left", what, fix, e)


_VIEWS = ("detach()", "detach_()", ".data", ".numpy()", "np.asarray()")  # exits by which the memory stays the same


def _plain(x: Any) -> Any:
    return x._array if isinstance(x, Tensor) else x


def _flat(given: Any) -> Iterator[Any]:
    """A value, and those in it if it is a list, with arrays in the places of tensors."""
    yield _plain(given)
    for x in given if isinstance(given, (list, tuple)) else ():
        yield from _flat(x)


def _tokens(values: Any) -> Iterator[int]:
    """What a value is known by: an array by the memory it lies in, a Python number or list by itself."""
    for x in values:
        if hasattr(x, "strides") and hasattr(x, "base"):
            yield id(owner(x))
        elif isinstance(x, (float, list)):  # small integers are shared by all that use them
            yield id(x)


def _line(frame: FrameType) -> str:
    while frame.f_code.co_filename.startswith(_PACKAGE) and frame.f_back is not None:
        frame = frame.f_back
    return code_line(frame.f_code, frame.f_lasti)
