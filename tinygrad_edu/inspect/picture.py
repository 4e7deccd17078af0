"""A trace as a picture: boxes for modules or operations, arrows for what flows, frames around modules.

level="module": a module without modules in it is one box, as is an operation that another module runs by itself; views,
such as reshapes, are left out. level="op": each operation and each parameter is a box. Blocks alike that follow each
other are drawn once, "h.0 … h.11 ×12", unless fold is False.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from .kinds import chief
from .record import InputRecord, OpRecord
from .text import _clean, _count, _cut, _shape

if TYPE_CHECKING:
    from .trace import Trace

Level = Literal["module", "op"]
LEVELS = ("module", "op")
LARGEST = 2_000  # boxes in one picture
_LABEL = 40  # characters of a line in a box
_VIEWS = ("reshape", "permute", "slice", "expand", "contiguous", "cast", "clone", "to_device")


@dataclass
class Box:
    """A module or an operation, or a value that no operation made."""

    key: str
    kind: str
    """That of its operations, see kinds.py; "parameter" requires grad, "value" is any other that no operation made."""
    lines: list[str]
    frame: int = 0
    op: int | None = None
    """The last of its operations."""


@dataclass
class Frame:
    """A module with boxes in it; frame 0 is around everything."""

    id: int
    label: str
    parent: int | None = None


@dataclass
class Arrow:
    source: str
    target: str
    gradient: bool
    """Whether backward goes back along it."""


@dataclass
class Picture:
    title: str
    boxes: dict[str, Box] = field(default_factory=dict)
    """By their keys, callers of arrows first."""
    frames: list[Frame] = field(default_factory=list)
    arrows: list[Arrow] = field(default_factory=list)


def picture(trace: Trace, level: Level = "module", fold: bool = True) -> Picture:
    """What is drawn of a trace. ValueError: another word for level, or more boxes than a picture can show."""
    if level not in LEVELS:
        raise ValueError(f"save: level must be one of {', '.join(LEVELS)}, got {level!r}")
    return _Drawer(trace, level, fold).draw()


class _Drawer:
    def __init__(self, trace: Trace, level: Level, fold: bool) -> None:
        self.trace, self.level = trace, level
        self.kept = _kept(trace)
        self.chains = [_chain(trace, op) for op in trace.ops]
        self.same = list(range(len(trace.ops)))
        """The operation that is drawn in the place of each."""
        self.times: dict[int, tuple[int, str]] = {}
        """Of a call that is drawn in the place of several: how many, and the last one's name."""
        if fold:
            self._fold()
        self.inner = {call.parent for call in trace.calls}
        """Calls in which others were made."""
        self.boxes: dict[str, Box] = {}
        self.frames = [Frame(0, "")]
        self.frame_of: dict[int, int] = {}
        self.key_of: dict[int, str] = {}

    def draw(self) -> Picture:
        drawn = [op for op in self.trace.ops if op.id in self.kept and self.same[op.id] == op.id]
        groups: dict[str, list[OpRecord]] = {}
        for op in drawn:
            if not self._is_passed(op):
                self.key_of[op.id] = key = self._key(op)
                groups.setdefault(key, []).append(op)
        if len(groups) > LARGEST:
            hint = 'level="module"' if self.level == "op" else "a page, t.save('graph.html')"
            raise ValueError(f"save: a picture of {len(groups):,} boxes cannot be read; use {hint} instead")
        for key, ops in groups.items():
            self._add(key, ops)
        arrows: dict[tuple[str, str], Arrow] = {}
        for op in drawn:
            target = self.key_of.get(op.id)
            for x in op.inputs if target is not None else ():
                source, gradient = self._source(x, x.gradient)
                if source is None or source == target:
                    continue
                arrow = arrows.setdefault((source, target or ""), Arrow(source, target or "", gradient))
                arrow.gradient |= gradient
        order = {key: i for i, key in enumerate(self.boxes)}
        first = {key: ops[0].id for key, ops in groups.items()}
        found = [
            a for a in arrows.values()
            if a.source not in first or first[a.source] < first[a.target]  # else it comes from the round before
        ]  # fmt: skip
        found.sort(key=lambda a: (order[a.target], order[a.source]))
        self._place_values(found)
        roots = [call.module for call in self.trace.calls if call.parent is None]
        title = ", ".join(dict.fromkeys(roots)) or "operations"
        return Picture(_cut(_clean(title), 2 * _LABEL), self.boxes, self.frames, found)

    # ---- boxes -----------------------------------------------------------------------------------------------------

    def _box_call(self, op: OpRecord) -> int | None:
        """The call that an operation is drawn as: one in which no others were made, and which has a caller."""
        call = op.call
        if self.level == "op" or call is None or call in self.inner or self.trace.calls[call].parent is None:
            return None
        return call

    def _key(self, op: OpRecord) -> str:
        call = self._box_call(op)
        return f"op{op.id}" if call is None else f"call{call}"

    def _is_passed(self, op: OpRecord) -> bool:
        """Whether it is left out: a view between others."""
        view = op.view or op.name in _VIEWS
        return self.level == "module" and view and self._box_call(op) is None and bool(op.inputs)

    def _add(self, key: str, ops: list[OpRecord]) -> None:
        last = ops[-1]
        call = self._box_call(last)
        if call is None:
            lines = [last.name]
            frame = self._frame(last.call)
        else:
            record = self.trace.calls[call]
            above = self.trace.calls[record.parent].path if record.parent is not None else ""
            name = record.path.removeprefix(f"{above}.") or record.module
            if call in self.times:
                n, end = self.times[call]
                name = f"{name} … {end} ×{n}" if end != name else f"{name} ×{n}"
            kinds = ", ".join(dict.fromkeys(op.name for op in ops if op.name not in _VIEWS))
            lines = [name, kinds if kinds and kinds != name else record.module]
            frame = self._frame(record.parent)
        lines.append(_shape(last.shape))
        if self.level == "module" and (n := self._parameters(ops)):
            lines[-1] += f"  {_count(n)} parameters"
        lines = [_cut(_clean(line), _LABEL) for line in lines]
        self.boxes[key] = Box(key, chief(op.name for op in ops), lines, frame, last.id)

    def _parameters(self, ops: list[OpRecord]) -> int:
        numbers = {x.parameter for op in ops for x in op.inputs if x.parameter is not None}
        records = (self.trace.parameters[n] for n in numbers)
        return sum(math.prod(p.shape) for p in records if p.kind == "parameter")

    def _frame(self, call: int | None) -> int:
        """The frame of a call; the model itself has none."""
        if call is None or self.trace.calls[call].parent is None:
            return 0
        if call not in self.frame_of:
            record = self.trace.calls[call]
            parent = self._frame(record.parent)
            above = self.trace.calls[record.parent or 0].path
            name = record.path.removeprefix(f"{above}.") or record.module
            if call in self.times:
                n, end = self.times[call]
                name = f"{name} … {end} ×{n}" if end != name else f"{name} ×{n}"
            label = name if name.startswith(record.module) else f"{name}  {record.module}"
            self.frame_of[call] = len(self.frames)
            self.frames.append(Frame(len(self.frames), _cut(_clean(label), _LABEL), parent))
        return self.frame_of[call]

    # ---- arrows ----------------------------------------------------------------------------------------------------

    def _source(self, x: InputRecord, gradient: bool) -> tuple[str | None, bool]:
        """The box that an input comes from, through what is left out; and whether a gradient goes back there."""
        while x.op is not None:
            op = self.trace.ops[self.same[x.op]]
            if op.id in self.key_of:
                return self.key_of[op.id], gradient
            if not op.inputs:
                return None, gradient
            x = op.inputs[0]
            gradient = gradient and x.gradient
        if x.parameter is None:
            return None, gradient
        p = self.trace.parameters[x.parameter]
        if self.level == "module" and p.owned:
            return None, gradient
        if p.kind == "constant" and not p.name:  # such as a mask, or the positions 0, 1, 2 ...
            return None, gradient
        key = f"value{p.id}"
        if key not in self.boxes:
            names = " = ".join(p.names) if p.names else p.name or "a tensor"
            kind = "parameter" if p.kind == "parameter" else "value"
            self.boxes[key] = Box(key, kind, [_cut(_clean(names), _LABEL), f"{_shape(p.shape)} {_clean(p.dtype)}"])
        return key, gradient

    def _place_values(self, arrows: list[Arrow]) -> None:
        """Put parameters into the innermost frame around all that use them, and values from outside beside that."""
        around: dict[str, list[int]] = {}  # frames around all users, the outermost first
        for arrow in arrows:
            if self.boxes[arrow.source].op is None:
                chain = self._frames_around(self.boxes[arrow.target].frame)
                common = zip(around.setdefault(arrow.source, chain), chain, strict=False)
                around[arrow.source] = [a for a, b in common if a == b]
        for key, chain in around.items():
            box = self.boxes[key]
            box.frame = chain[-1] if box.kind == "parameter" or len(chain) == 1 else chain[-2]

    def _frames_around(self, frame: int | None) -> list[int]:
        found = []
        while frame is not None:
            found.append(frame)
            frame = self.frames[frame].parent
        return found[::-1]

    # ---- folding ---------------------------------------------------------------------------------------------------

    def _fold(self) -> None:
        """Draw runs of calls that do the same, made by the same caller one after the other, as the first of them."""
        trace = self.trace
        ops: list[list[int]] = [[] for _ in trace.calls]
        for op in trace.ops:
            for number in self.chains[op.id] if op.id in self.kept else ():
                ops[number].append(op.id)
        children: dict[int | None, list[int]] = {}
        for call in trace.calls:
            if ops[call.id]:
                children.setdefault(call.parent, []).append(call.id)
        waiting = list(children.get(None, ()))
        while waiting:
            calls = children.get(waiting.pop(), [])
            looks = [self._look(call, ops[call]) for call in calls]
            i = 0
            while i < len(calls):
                j = i + 1
                while j < len(calls) and looks[j] == looks[i]:
                    for first, again in zip(ops[calls[i]], ops[calls[j]], strict=True):
                        self.same[again] = first
                    j += 1
                if j - i > 1:
                    above = trace.calls[trace.calls[calls[i]].parent or 0].path
                    self.times[calls[i]] = j - i, trace.calls[calls[j - 1]].path.removeprefix(f"{above}.")
                waiting.append(calls[i])
                i = j

    def _look(self, call: int, ops: list[int]) -> tuple[object, ...]:
        """What is equal of calls that do the same."""
        record = self.trace.calls[call]
        depth = len(record.path)
        return record.module, tuple(
            (op.name, tuple(op.shape), op.path[depth:]) for op in (self.trace.ops[i] for i in ops)
        )


def _chain(trace: Trace, op: OpRecord) -> list[int]:
    """The calls that an operation ran in, the innermost first."""
    found = []
    call = op.call
    while call is not None:
        found.append(call)
        call = trace.calls[call].parent
    return found


def _kept(trace: Trace) -> set[int]:
    """The operations that are drawn: those in the graph, or all if there is none, and what they are made of."""
    wanted = [op.id for op in trace.ops if op.graph and op.during is None and op.inside is None]
    if not wanted:
        used = {x.op for op in trace.ops for x in op.inputs}
        wanted = [op.id for op in trace.ops if op.id in used or any(x.op is not None for x in op.inputs)]
    found = set(wanted or range(len(trace.ops)))
    while wanted:
        for x in trace.ops[wanted.pop()].inputs:
            if x.op is not None and x.op not in found:
                found.add(x.op)
                wanted.append(x.op)
    return found
