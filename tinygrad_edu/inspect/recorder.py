"""`trace`: records the operations that run inside it."""

from __future__ import annotations

import datetime
import functools
import itertools
import linecache
import os
import platform
import sys
import weakref
from collections.abc import Callable, Iterator
from inspect import CO_OPTIMIZED
from time import perf_counter
from types import CodeType, FrameType
from typing import Any

import numpy as np

from .. import dispatch
from ..autograd.engine import Leaf, Node, _user_line, in_backward_order
from ..autograd.memory import memory_of, owner
from ..autograd.modes import observe, state
from ..tensor import Tensor
from .flops import flops
from .record import (
    BackwardRecord,
    CallRecord,
    GradientRecord,
    InputRecord,
    MachineRecord,
    OpRecord,
    ParameterRecord,
    SavedRecord,
    SourceLine,
    ValueRecord,
    encode_attribute,
)
from .trace import Trace
from .values import LEVELS, Level, Looker, same_values

_Held = OpRecord | SavedRecord | ParameterRecord  # what memory belongs to
Forward = Callable[[OpRecord, tuple[Any, ...], Any], dict[str, Any]]
Backward = Callable[[OpRecord, BackwardRecord, Node, Any, list[Any]], dict[str, Any]]
# What viewers want to know beyond the records, while the arrays are there; called with values="sample" and "full". They
# return what is added to `details`, as plain JSON values: (operation, inputs, output), and (operation, step, node,
# incoming gradient, gradients handed on).
FORWARD_DETAILS: list[Forward] = []
BACKWARD_DETAILS: list[Backward] = []


class trace:
    """Record every operation that runs inside it, forward and backward, in this thread.

        with inspect.trace(values="sample") as t:
            _, loss = model(x, y)
            loss.backward()
        print(t.summary())

    values: what is kept of each output and gradient. "none": nothing but shapes, times and memory; "stats": statistics,
    such as min, max and mean; "sample": these, and a corner of the array, or all of a small one; "full": all of it.

    Operations under no_grad are recorded too, marked as not in the graph. What optimizers and in-place arithmetic do
    under no_grad is no operation, and is not. The graph keeps its life: a trace holds copies, not what backward frees.
    If the block ends in an exception the trace holds what ran until then, and its text in `error`.

    ValueError: another word for values. RuntimeError: a trace within a trace.
    """

    def __init__(self, values: Level = "sample") -> None:
        if values not in LEVELS:
            got = repr(values) if isinstance(values, str) else type(values).__name__
            got += "; run the model in its block" if callable(values) else ""
            raise ValueError(f"inspect.trace: values must be one of {', '.join(LEVELS)}, got {got}")
        self.values = values

    def __enter__(self) -> Trace:
        if any(isinstance(o, Recorder) for o in state.observers):
            raise RuntimeError(
                "inspect.trace: a trace is being recorded already, and traces do not nest; end it first, or use one "
                "trace around both parts"
            )
        self._recorder = Recorder(self.values)
        self._observe = observe(self._recorder)
        self._trace: Trace = object.__new__(Trace)  # without its fields: it says itself that it is not finished
        self._observe.__enter__()
        return self._trace

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        self._observe.__exit__()
        self._trace.__dict__.update(self._recorder.finish(error, sys._getframe(1)))


def graph(tensor: Tensor) -> Trace:
    """The graph that a tensor hangs in, read from its nodes: without times and values.

    RuntimeError: a tensor without history, or one whose graph was freed by backward().
    """
    node = tensor._node if isinstance(tensor, Tensor) else None
    if not isinstance(tensor, Tensor):
        raise TypeError(f"inspect.graph: expected a Tensor, got {type(tensor).__name__}")
    if node is None:
        raise RuntimeError(
            "inspect.graph: the tensor has no history: it was made by the user, or computed under no_grad() or from "
            "nothing that requires grad"
        )
    if any(isinstance(n, Node) and n.op.observed and n.is_freed for n in in_backward_order([node])):
        raise RuntimeError(
            "inspect.graph: the graph of this tensor was freed by backward(); look at it before, pass "
            "retain_graph=True, or record forward and backward with inspect.trace()"
        )
    recorder = Recorder("none")
    recorder.walking([node])
    return Trace(**recorder.finish(None, sys._getframe(1)))


class _Frame:
    """A forward or backward function that is running."""

    __slots__ = ("what", "start", "inner", "first")

    def __init__(self, what: Any, first: int) -> None:
        self.what, self.first = what, first
        self.inner = 0.0  # seconds spent in others that it called, and on recording these
        self.start = perf_counter()


class Recorder:
    """The observer behind a trace."""

    def __init__(self, values: Level) -> None:
        self.looker = Looker(values)
        self.detailed = values in ("sample", "full")
        self.ops: list[OpRecord] = []
        self.steps: list[BackwardRecord] = []
        self.parameters: list[ParameterRecord] = []
        self.walk = self._walks = 0  # the present backward pass, and how many began
        self._calls: dict[int, tuple[int, Any]] = {}  # by identity of the scope: its number, and the scope
        self._lines: dict[tuple[CodeType, int], int] = {}
        self._running: list[_Frame] = []
        self._of_node: dict[int, int] = {}  # operations by birth of their node
        self._of_array: dict[int, tuple[Any, int | None, int | None]] = {}  # (weak reference, operation, parameter)
        self._memory: dict[int, list[Any]] = {}  # by owner: [weak reference, operation, parameter, counted?]
        self._tensors: dict[int, Any] = {}  # of parameters: their tensors, or weak references to their arrays
        self._handed: dict[tuple[str, int], list[Any]] = {}  # [number, the array's identity, its record]
        self._outside: list[tuple[int, Any, int]] = []  # the same of passes around this one, and what was running there
        self.began = perf_counter()

    # ---- forward ---------------------------------------------------------------------------------------------------

    def starting(self, op: Any) -> None:
        self._running.append(_Frame(op, len(self.ops)))

    def computed(self, op: Any, pair: Any, attrs: dict[str, Any], inputs: tuple[Any, ...], y: Any) -> None:
        now = perf_counter()
        while (frame := self._running.pop()).what is not op:  # one that an exception has ended
            pass
        user_function = not hasattr(op, "name")
        outputs = y if isinstance(y, tuple) else (y,)
        record = OpRecord(
            len(self.ops), op.__name__ if user_function else op.name, "", list(outputs[0].shape),
            _name(outputs[0].dtype), attrs={k: encode_attribute(v) for k, v in attrs.items()},
            call=self._call(state.scope), line=self._line(_user_line()), graph=False,
            differentiable=getattr(op, "differentiable", True), kernel=_kernel(op, pair),
            start=frame.start - self.began, seconds=now - frame.start - frame.inner,
        )  # fmt: skip
        if self._running and self._running[-1].what is None:
            record.during = self._running[-1].first
        if user_function:
            for inner in self.ops[frame.first :]:
                inner.inside = record.id if inner.inside is None else inner.inside
        record.inputs = [self._input(x) for x in inputs]
        record.view = not user_function and op.may_alias and memory_of(y) is memory_of(inputs[0])
        same = self._record_of(record.inputs[0]) if record.view else None
        record.value = self.looker.look(outputs[0], same, inputs[0] if record.view else None)
        self.ops.append(record)
        for array in outputs:
            self._remember(array, record.id, None, record)
            if not record.view:
                record.bytes += array.nbytes
        if self.detailed:
            for detail in FORWARD_DETAILS:
                record.details |= detail(record, inputs, y)
        self._charge(frame.start)

    def recorded(self, node: Node, inputs: tuple[Any, ...], y: Any) -> None:
        start = perf_counter()
        record = self.ops[-1]
        record.graph = True
        self._of_node[node.born] = record.id
        for x, array, parent in zip(record.inputs, inputs, node.parents, strict=True):
            if parent is not None:
                self._connect(x, parent)
                if x.op is not None and (before := self.ops[x.op]).before and before.value is None:
                    before.value = self.looker.look(array)
        record.saved = list(self._saved(node))
        self._charge(start)

    def _connect(self, x: InputRecord, parent: Node | Leaf) -> None:
        """Say where an input came from, by the graph."""
        x.gradient, x.output = True, 0
        x.shape, x.dtype = list(parent.shape), _name(parent.dtype) if parent.dtype is not None else x.dtype
        if isinstance(parent, Leaf):
            x.op, x.parameter = None, self._parameter_of(parent)
            return
        if not parent.op.observed:  # it picks an output of a Function
            x.output, parent = parent.op.index, parent.parents[0]  # type: ignore[assignment]
        assert isinstance(parent, Node)
        x.op, x.parameter = self.known(parent), None

    def known(self, node: Node) -> int:
        """The number of a node's operation; it and all before it are added now if they ran before the trace."""
        if node.born not in self._of_node:
            for n in reversed(in_backward_order([node])):
                if isinstance(n, Node) and n.op.observed and n.born not in self._of_node:
                    self._add_before(n)
        return self._of_node[node.born]

    def _add_before(self, node: Node) -> None:
        record = OpRecord(
            len(self.ops), node.op.name, "", list(node.shape), _name(node.dtype) if node.dtype is not None else "",
            attrs={k: encode_attribute(v) for k, v in node.attrs.items()}, call=self._call(node.scope),
            line=self._line(node.where), kernel=_kernel(node.op, node.pair), before=True,
        )  # fmt: skip
        self._of_node[node.born] = record.id
        self.ops.append(record)
        for parent, constant in zip(node.parents, node.constants or (None,) * len(node.parents), strict=True):
            x = self._input(constant)
            if parent is not None:
                self._connect(x, parent)
            record.inputs.append(x)
        record.saved = list(self._saved(node))

    def _input(self, x: Any) -> InputRecord:
        """Where an input came from, as far as its array tells."""
        if not hasattr(x, "dtype") or not hasattr(x, "shape"):
            if isinstance(x, (bool, int, float)):
                return InputRecord(number=x)
            return InputRecord()
        found = InputRecord(shape=list(x.shape), dtype=_name(x.dtype))
        reference, op, parameter = self._of_array.get(id(x), (None, None, None))
        if reference is None or reference() is not x:
            op, parameter = None, self._new_parameter(x)
        elif parameter is not None and self.looker.level == "full" and self._has_changed(parameter, x):
            parameter = self._new_parameter(x)
        found.op, found.parameter = op, parameter
        return found

    def _has_changed(self, parameter: int, array: Any) -> bool:
        """Whether an optimizer, say, has changed the array in place since its value was recorded."""
        value = self.parameters[parameter].value
        return value is not None and value.full is not None and not same_values(array, value.full)

    def _new_parameter(self, array: Any) -> int:
        number = len(self.parameters)
        record = ParameterRecord(number, "constant", "", list(array.shape), _name(array.dtype), array.nbytes)
        record.value = self.looker.look(array)
        self.parameters.append(record)
        self._remember(array, None, number, record)
        self._tensors[number] = _weakly(array)
        return number

    def _parameter_of(self, leaf: Leaf) -> int:
        number = self._input(leaf.tensor._array).parameter
        if number is None:  # the array of an output that was detached and made a leaf
            number = self._new_parameter(leaf.tensor._array)
        self.parameters[number].kind = "parameter"
        self._tensors[number] = leaf.tensor
        return number

    def _remember(self, array: Any, op: int | None, parameter: int | None, record: _Held) -> None:
        self._of_array[id(array)] = _weakly(array), op, parameter
        of = owner(array) if hasattr(array, "base") else array
        known = self._memory.get(id(of))
        if known is None or known[0]() is not of:
            self._memory[id(of)] = [_weakly(of, self._freed(record)), op, parameter, parameter is not None]

    def _freed(self, record: _Held) -> Callable[[Any], None]:
        """What enters into a record that its memory has been let go."""
        ops, steps = self.ops, self.steps  # not self, which holds the weak reference that holds this
        return lambda _: setattr(record, "freed", len(ops) + len(steps))

    def _saved(self, node: Node) -> Iterator[SavedRecord]:
        """What a node keeps, each array once; and the inputs that it keeps to run forward again, if not among these."""
        seen: set[int] = set()
        kept: set[int] = set()  # owners
        for x in itertools.chain(_arrays(node.saved), _arrays(node.constants)):
            of = owner(x)
            if id(x) in seen or (id(of) in kept and any(x is c for c in node.constants or ())):
                continue
            seen.add(id(x))
            kept.add(id(of))
            record = SavedRecord(list(x.shape), _name(x.dtype), x.nbytes, 0)
            known = self._memory.get(id(of))
            if known is None or known[0]() is not of:
                known = self._memory[id(of)] = [_weakly(of, self._freed(record)), None, None, False]
            record.held = 0 if known[3] else of.nbytes
            record.op, record.parameter = known[1], known[2]
            known[3] = True
            yield record

    # ---- backward --------------------------------------------------------------------------------------------------

    def walking(self, roots: list[Node | Leaf]) -> None:
        self._outside.append((self.walk, self._handed, len(self._running)))
        self.walk, self._handed = self._walks, {}
        self._walks += 1
        for root in roots:
            while isinstance(root, Node) and not root.op.observed:
                root = root.parents[0]  # type: ignore[assignment]
            if isinstance(root, Node):
                self.known(root)

    def walked(self) -> None:
        self.walk, self._handed, running = self._outside.pop()
        del self._running[running:]  # what an exception has ended

    def propagating(self, node: Node) -> None:
        self._running.append(_Frame(None, len(self.steps)))

    def propagated(self, node: Node, gy: Any, gradients: Any) -> None:
        now = perf_counter()
        while (frame := self._running.pop()).what is not None:
            pass
        op = self.ops[self.known(node)]
        arrived = next((g for g in gy if g is not None), None) if isinstance(gy, tuple) else gy
        incoming = self._incoming("op", op.id, arrived)
        step = BackwardRecord(
            len(self.steps), self.walk, op.id, start=frame.start - self.began,
            seconds=now - frame.start - frame.inner, incoming=incoming,
        )  # fmt: skip
        for i, x in enumerate(op.inputs):
            if not (x.gradient and gradients.given(i)):
                continue
            g = gradients[i] if self.looker.level != "none" else None
            value = self.looker.look(g, incoming, arrived)
            step.gradients.append(GradientRecord(i, value, _summed(node, x.shape)))
            key = ("op", x.op) if x.op is not None else ("parameter", x.parameter or 0)
            handed = self._handed.setdefault(key, [0, 0, None])
            handed[:] = handed[0] + 1, id(g), value
        self.steps.append(step)
        if self.detailed:
            for detail in BACKWARD_DETAILS:
                step.details |= detail(op, step, node, gy, gradients)
        self._charge(frame.start)

    def arrived(self, leaf: Leaf, gy: Any) -> None:
        start = perf_counter()
        number = self._parameter_of(leaf)
        incoming = self._incoming("parameter", number, gy)
        total = self.looker.look(leaf.tensor._grad._array, incoming, gy)
        self.steps.append(
            BackwardRecord(
                len(self.steps), self.walk, parameter=number, start=start - self.began, incoming=incoming, total=total
            )
        )
        self.parameters[number].gradient = total
        self._charge(start)

    def _incoming(self, kind: str, number: int, gy: Any) -> ValueRecord | None:
        """The record of the gradient that arrived; that of the one which was handed on if there was but one."""
        count, identity, value = self._handed.get((kind, number), (0, 0, None))
        return value if count == 1 and identity == id(gy) else self.looker.look(gy)

    # ---- places ----------------------------------------------------------------------------------------------------

    def _charge(self, start: float) -> None:
        """What ran since then, and what recording took, is not the time of the function that called it."""
        if self._running:
            self._running[-1].inner += perf_counter() - start

    def _record_of(self, x: InputRecord) -> ValueRecord | None:
        if x.op is not None:
            return self.ops[x.op].value
        return None if x.parameter is None else self.parameters[x.parameter].value

    def _call(self, scope: Any) -> int | None:
        if scope is None:
            return None
        if id(scope) not in self._calls:
            self._call(scope[0])  # so that callers come first
            self._calls[id(scope)] = len(self._calls), scope
        return self._calls[id(scope)][0]

    def _line(self, where: tuple[CodeType, int]) -> int:
        return self._lines.setdefault(where, len(self._lines))

    # ---- the end ---------------------------------------------------------------------------------------------------

    def finish(self, error: BaseException | None, frame: FrameType) -> dict[str, Any]:
        """The fields of the Trace."""
        seconds = perf_counter() - self.began
        self._memory.clear()  # and with it the weak references: what is let go from now on is not entered
        self.looker.finish()
        scopes = [scope for _, scope in self._calls.values()]
        paths = _paths(scopes)
        calls = []
        for number, scope in self._calls.values():
            parent = None if scope[0] is None else self._calls[id(scope[0])][0]
            calls.append(CallRecord(number, paths[id(scope)], type(scope[1]).__name__, parent))
        lines, place = _unique([_source_line(*where) for where in self._lines])
        for op in self.ops:
            op.line = None if op.line is None else place[op.line]
            op.path = "" if op.call is None else calls[op.call].path
        for op in self.ops:
            shapes = [x.shape if x.op is not None or x.parameter is not None else None for x in op.inputs]
            counts = flops(op.name, shapes, op.shape, op.attrs, [x.gradient for x in op.inputs])
            op.flops, op.details["backward_flops"] = counts or (None, None)
        for step in self.steps:
            if step.op is not None:
                step.flops = self.ops[step.op].details["backward_flops"]
        for op in self.ops:
            del op.details["backward_flops"]
        self._name_parameters([scope[1] for scope in scopes], paths, scopes, frame)
        return {
            "format": 1,
            "values": self.looker.level,
            "made": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            "seconds": seconds,
            "machine": _machine(),
            "ops": self.ops,
            "backward": self.steps,
            "calls": calls,
            "parameters": self.parameters,
            "lines": lines,
            "error": "" if error is None else f"{type(error).__name__}: {error}",
        }

    def _name_parameters(self, modules: list[Any], paths: dict[int, str], scopes: list[Any], frame: FrameType) -> None:
        parameters: dict[int, list[str]] = {}  # by array
        buffers: dict[int, str] = {}
        for scope in scopes:
            if scope[0] is None:
                prefix = paths[id(scope)]
                for name, p in scope[1].named_parameters(prefix, remove_duplicate=False):
                    names = parameters.setdefault(id(p._array), [])
                    names += [] if name in names else [name]
                for name, b in scope[1].named_buffers(prefix):
                    buffers.setdefault(id(b._array), name)
        variables = _variables(frame)
        for record in self.parameters:
            kept = self._tensors[record.id]
            array = kept._array if isinstance(kept, Tensor) else kept()
            if id(array) in parameters:
                names = parameters[id(array)]
                record.name, record.names = names[0], names if len(names) > 1 else []
                record.kind, record.owned = "parameter", True
            elif id(array) in buffers:
                record.name, record.kind, record.owned = buffers[id(array)], "buffer", True
            elif array is not None:
                record.name = variables.get(id(array)) or variables.get((id(owner(array)), array.size), "")


def _weakly(x: Any, when_gone: Callable[[Any], None] | None = None) -> Any:
    try:
        return weakref.ref(x, when_gone)
    except TypeError:
        return lambda: None


def _arrays(saved: Any) -> Iterator[Any]:
    """The arrays among what a node keeps; a Function keeps tensors in its context."""
    for x in saved or ():
        if isinstance(x, (tuple, list)):
            yield from _arrays(x)
        elif hasattr(x, "strides") and hasattr(x, "nbytes"):
            yield getattr(x, "_array", x)
        elif hasattr(x, "needs_input_grad"):
            yield from (t._array for t, _ in x._saved if t is not None)


@functools.cache
def _name(dtype: Any) -> str:
    return dtype.name  # which NumPy makes anew each time


def _kernel(op: Any, pair: Any) -> str:
    return "" if pair is op else getattr(pair, "__name__", op.name)


def _summed(node: Node, shape: list[int]) -> list[int]:
    """The axes of a node's output over which the gradient of an input of this shape was summed: see GradientRecord."""
    if not getattr(node.op, "broadcasts", False):
        return []
    output, matrix = node.shape, 2 if node.op.name in ("matmul", "scaled_dot_product_attention") else 0
    axes = range(max(len(output) - matrix, 0))
    extra = len(output) - len(shape)
    return [i for i in axes if i < extra or (shape[i - extra] == 1 and output[i] > 1)]


def _paths(scopes: list[Any]) -> dict[int, str]:
    """The path of the module of each scope, by the scope's identity; callers come before the called."""
    roots: list[Any] = []
    for scope in scopes:
        if scope[0] is None and not any(scope[1] is root for root in roots):
            roots.append(scope[1])
    large = [root for root in roots if next(root.children(), None) is not None]
    names: dict[int, str] = {}
    taken: dict[str, int] = {}
    for root in roots:
        kind = type(root).__name__
        taken[kind] = taken.get(kind, 0) + 1
        numbered = kind if taken[kind] == 1 else f"{kind}_{taken[kind]}"
        names[id(root)] = "" if len(roots) == 1 or large == [root] else numbered
    known: dict[int, str] = {}
    for root in roots:
        for path, module in root.named_modules(prefix=names[id(root)]):
            known.setdefault(id(module), path)
    paths: dict[int, str] = {}
    for scope in scopes:
        outside, module = scope
        path = known.get(id(module))
        if path is None:  # not registered in its caller
            path = ".".join(filter(None, [paths.get(id(outside), ""), type(module).__name__]))
        paths[id(scope)] = path
    return paths


def _variables(frame: FrameType) -> dict[Any, str]:
    """The names of the tensors in a frame's variables, local ones first: by array, and by memory and size."""
    found: dict[Any, str] = {}
    here = frame.f_locals
    for values in (here, frame.f_globals):
        for name, value in values.items():
            array = value._array if isinstance(value, Tensor) else value
            if hasattr(type(array), "strides"):  # the type, since modules answer to any name, if only to say no
                found.setdefault(id(array), name)
                found.setdefault((id(owner(array)), array.size), name)
    if frame.f_code.co_flags & CO_OPTIMIZED and sys.version_info < (3, 13):
        here.clear()  # a copy, which the frame would keep, and with it every tensor that the function forgets later
    return found


def _source_line(code: CodeType, instruction: int) -> SourceLine:
    line, end, start, stop = next(itertools.islice(code.co_positions(), instruction // 2, None))
    here, file = os.getcwd() + os.sep, code.co_filename
    found = SourceLine(file.removeprefix(here), line or 0, code.co_qualname)
    whole = linecache.getline(file, found.line).rstrip()
    found.text = whole.lstrip()[:200]
    if start is not None and stop is not None and found.text:
        indent, encoded = len(whole) - len(whole.lstrip()), whole.encode()  # positions are counted in UTF-8 bytes
        ends = start, stop if end == line else len(encoded)
        found.columns = [max(len(encoded[:n].decode(errors="ignore")) - indent, 0) for n in ends]
    return found


def _unique(lines: list[SourceLine]) -> tuple[list[SourceLine], list[int]]:
    """The lines without repetitions, and where each is among them."""
    places: dict[tuple[Any, ...], int] = {}
    found = [places.setdefault((s.file, s.line, s.function, *s.columns), len(places)) for s in lines]
    return [lines[found.index(i)] for i in range(len(places))], found


def _machine() -> MachineRecord:
    version = sys.modules[__name__.partition(".")[0]].__version__
    return MachineRecord(
        platform.python_version(), np.__version__, version, f"{platform.system()} {platform.machine()}",
        os.cpu_count() or 0, "auto" if dispatch.twins_in_use() else "reference",
    )  # fmt: skip
