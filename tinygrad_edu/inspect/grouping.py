"""What the page shows of a graph at first: its operations in the modules that ran them, and repeats folded.

Children of a group are named by keys: "o12" is the operation 12, "p3" the parameter 3, "g5" the group 5. A group of
more than MOST children is divided until none has more, so that a graph of any size opens.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from .record import OpRecord, ParameterRecord

if TYPE_CHECKING:
    from .trace import Trace

MOST = 48  # children that are shown next to each other
PERIOD = 32  # the longest series of operations whose repetition is looked for


@dataclass(slots=True)
class Group:
    """Operations that are shown as one until it is opened."""

    id: int
    kind: str
    """"trace" is all of it, "module" the call of a module, "repeat" several groups alike, "round" one round of a loop,
    "part" a part of a long list, "aside" operations that nothing depends on, "inside" those that a Function ran, and
    "backward" those that ran during backward."""
    label: str
    parent: int | None = None
    path: str = ""
    module: str = ""
    children: list[str] = field(default_factory=list)
    ops: int = 0
    """Number of operations in it, at any depth."""


@dataclass(slots=True)
class Grouping:
    """The groups, the first of which holds everything; parents may come later than their children."""

    groups: list[Group] = field(default_factory=list)
    names: dict[int, str] = field(default_factory=dict)
    """Operations that are all that their module does, and the module's name."""
    notes: list[str] = field(default_factory=list)
    """What was folded, in words."""

    def add(self, kind: str, label: str, parent: int | None, path: str = "", module: str = "") -> Group:
        group = Group(len(self.groups), kind, label, parent, path, module)
        self.groups.append(group)
        return group


def group(trace: Trace) -> Grouping:
    """Group the operations of a trace."""
    return _Grouper(trace).run()


class _Grouper:
    def __init__(self, trace: Trace) -> None:
        self.trace = trace
        self.result = Grouping()
        self.top = self.result.add("trace", "all operations", None)
        self.alike: dict[object, int] = {}  # numbers for groups and operations; those alike have the same
        self.number_of: dict[str, int] = {}  # by key
        self.home: dict[int, int] = {}  # the group of each operation, before folding

    def run(self) -> Grouping:
        self.calls()
        self.operations()
        self.inputs()
        made = len(self.result.groups)
        for group in reversed(self.result.groups[:made]):  # those inside before those around
            self.finish(group)
        for group in list(self.result.groups):
            self.divide(group)
        self.count()
        return self.result

    # ---- who ran what ------------------------------------------------------------------------------------------------

    def calls(self) -> None:
        """One group for each call of a module."""
        groups = self.result
        seen: Counter[str] = Counter()
        often = Counter(call.path for call in self.trace.calls)
        self.of_call: list[Group] = []
        for call in self.trace.calls:
            above = self.top if call.parent is None else self.of_call[call.parent]
            label = call.path.removeprefix(above.path + ".") if above.path else call.path
            label = label or call.module
            seen[call.path] += 1
            if often[call.path] > 1:
                label += f" #{seen[call.path]}"
            self.of_call.append(groups.add("module", label, above.id, call.path, call.module))

    def operations(self) -> None:
        """Put the operations, and the calls of modules, into their groups in the order in which they ran."""
        ops, groups = self.trace.ops, self.result
        special: dict[object, Group] = {}
        aside = self._unused(ops)
        placed = {0}
        for op in sorted(ops, key=lambda op: (not op.before, op.id)):
            home = self.top if op.call is None else self.of_call[op.call]
            if op.inside is not None:
                around = self.home.get(op.inside, home.id)
                key: object = ("inside", op.inside)
                label = f"inside {ops[op.inside].name}"
                home = special.get(key) or special.setdefault(key, groups.add("inside", label, around))
            elif op.during is not None:
                home = special.get("backward") or special.setdefault(
                    "backward", groups.add("backward", "during backward", 0)
                )
            elif op.id in aside:
                key = ("aside", home.id)
                home = special.get(key) or special.setdefault(key, groups.add("aside", "beside the graph", home.id))
            chain = [home]
            while chain[-1].id not in placed and chain[-1].parent is not None:
                chain.append(groups.groups[chain[-1].parent])
            for inner, outer in zip(chain, chain[1:]):  # noqa: B905  # one fewer pairs than groups
                outer.children.append(f"g{inner.id}")
                placed.add(inner.id)
            home.children.append(f"o{op.id}")
            self.home[op.id] = home.id
            self.number_of[f"o{op.id}"] = self._number(("op", op.name, tuple(op.shape)))

    @staticmethod
    def _unused(ops: Sequence[OpRecord]) -> set[int]:
        """Operations outside the graph on whose outputs nothing in the graph depends: checks and printing."""
        if not any(op.graph for op in ops):
            return set()
        needed = {x.op for op in ops if op.graph for x in op.inputs if x.op is not None}
        unused = set()
        for op in reversed(ops):
            if op.graph or op.id in needed:
                needed.update(x.op for x in op.inputs if x.op is not None)
            else:
                unused.add(op.id)
        return unused

    def inputs(self) -> None:
        """Put the values that come from outside next to the operations that use them, but for a module's own."""
        users: dict[int, list[OpRecord]] = {}
        for op in self.trace.ops:
            if self.result.groups[self.home[op.id]].kind != "aside":
                for x in op.inputs:
                    if x.parameter is not None:
                        users.setdefault(x.parameter, []).append(op)
        found: dict[int, list[str]] = {}
        for p in self.trace.parameters:
            if (p.name or p.names) and p.id in users and not all(_owns(op, p) for op in users[p.id]):
                found.setdefault(self._around(users[p.id]), []).append(f"p{p.id}")
        for place, keys in found.items():
            self.result.groups[place].children[:0] = keys
            for key in keys:
                self.number_of[key] = self._number(key)

    def _around(self, ops: Sequence[OpRecord]) -> int:
        """The innermost group around all of these, and around a module that is one of them only."""
        chains = []
        for home in {self.home[op.id] for op in ops}:
            chain = [home]
            while (above := self.result.groups[chain[-1]].parent) is not None:
                chain.append(above)
            chains.append(chain[::-1])
        common = 0
        for level in zip(*chains):  # noqa: B905  # as far as the shortest goes
            if len(set(level)) > 1:
                break
            common = level[0]
        inner = self.result.groups[common]
        return inner.parent if self._is_one(inner) and inner.parent is not None else common

    @staticmethod
    def _is_one(group: Group) -> bool:
        """Whether a group is a module within another, of a single operation."""
        return group.kind == "module" and bool(group.parent) and [key[0] for key in group.children] == ["o"]

    # ---- what is alike -----------------------------------------------------------------------------------------------

    def _number(self, what: object) -> int:
        return self.alike.setdefault(what, len(self.alike))

    def finish(self, group: Group) -> None:
        """Fold the repeats among a group's children, and know what it is alike to."""
        for i, key in enumerate(group.children):  # a module of one operation is shown as that operation
            inner = self.result.groups[int(key[1:])] if key[0] == "g" else None
            if inner is not None and self._is_one(inner):
                (only,) = inner.children
                group.children[i] = only
                self.result.names[int(only[1:])] = inner.label
                self.number_of[only] = self._number(("only", inner.module, self.number_of[only]))
                inner.children, inner.parent = [], None
        self.number_of[f"g{group.id}"] = self._number(
            (group.kind, group.module, *(self.number_of[key] for key in group.children))
        )
        self.fold(group, 1)
        if len(group.children) > MOST:
            self.fold(group, PERIOD)

    def fold(self, group: Group, longest: int) -> None:
        """Make one group of children that repeat: of modules alike, or of a series of at most `longest` children."""
        keys = group.children
        numbers = [self.number_of[key] for key in keys]
        folded: list[str] = []
        i = 0
        while i < len(keys):
            period, times = self._repeat(keys, numbers, i, longest)
            if times > 1:
                folded.append(self._folded(group, keys[i : i + period * times], period, times))
                i += period * times
            else:
                folded.append(keys[i])
                i += 1
        group.children = folded

    @staticmethod
    def _repeat(keys: list[str], numbers: list[int], i: int, longest: int) -> tuple[int, int]:
        """The period and the times of the longest repetition that begins here."""
        best = (1, 1)
        for period in range(1, longest + 1):
            if longest == 1 and keys[i][0] != "g":  # single operations next to each other stay as they are
                break
            j = i + period
            while j < len(keys) and numbers[j] == numbers[j - period]:
                j += 1
            times = (j - i) // period
            if times >= (2 if longest == 1 else 3) and times * period > best[0] * best[1]:
                best = (period, times)
        return best

    def _folded(self, group: Group, keys: list[str], period: int, times: int) -> str:
        repeat = self.result.add("repeat", "", group.id, group.path)
        if period == 1 and keys[0][0] == "g":
            members = [self.result.groups[int(key[1:])] for key in keys]
            repeat.module = members[0].module
            repeat.label = f"{members[0].label} … {members[-1].label}"
            for member in members:
                member.parent = repeat.id
            repeat.children = keys
        else:
            inside = self._words(keys[:period])
            repeat.label = inside
            for n in range(times):
                part = self.result.add("round", f"round {n + 1}", repeat.id, group.path)
                self._take(part, keys[n * period : (n + 1) * period])
                repeat.children.append(f"g{part.id}")
        self.number_of[f"g{repeat.id}"] = self._number(("repeat", times, self.number_of[keys[0]]))
        repeat_words = "modules" if repeat.module else "rounds"
        self.result.notes.append(f"{repeat.label}: {times:,} {repeat_words} alike are shown as one.")
        return f"g{repeat.id}"

    def _take(self, group: Group, keys: list[str]) -> None:
        group.children = keys
        for key in keys:
            if key[0] == "g":
                self.result.groups[int(key[1:])].parent = group.id

    def divide(self, group: Group) -> None:
        """Divide the children among as few groups as possible."""
        if (n := len(group.children)) <= MOST:
            return
        self.result.notes.append(f"{group.path or group.label}: {n:,} nodes next to each other are shown in parts.")
        while (n := len(group.children)) > MOST:
            parts = -(-n // MOST)
            bounds = [n * i // parts for i in range(parts + 1)]
            keys = []
            for start, stop in zip(bounds, bounds[1:]):  # noqa: B905  # one fewer pairs than bounds
                inside = group.children[start:stop]
                part = self.result.add("part", self._range(inside), group.id, group.path)
                self._take(part, inside)
                keys.append(f"g{part.id}")
            group.children = keys

    def _range(self, keys: list[str]) -> str:
        """What stands in a part of a list."""
        first, last = (self._label(key) for key in (keys[0], keys[-1]))
        first, last = first.split(" … ")[0], last.split(" … ")[-1]
        return f"{first} … {last}"

    def _label(self, key: str) -> str:
        number = int(key[1:])
        if key[0] == "o":
            return f"{number} {self.trace.ops[number].name}"
        return self.result.groups[number].label if key[0] == "g" else self.trace.parameters[number].name

    def _words(self, keys: list[str]) -> str:
        names = [
            self.trace.ops[int(key[1:])].name if key[0] == "o" else self._label(key).split(" #")[0] for key in keys
        ]
        return ", ".join(names[:3]) + (" …" if len(names) > 3 else "")

    def count(self) -> None:
        """Count operations, and say what stands beside the graph."""
        groups = self.result.groups
        for holder in groups:
            held = sum(key[0] == "o" for key in holder.children)
            place: int | None = holder.id
            while held and place is not None:
                groups[place].ops += held
                place = groups[place].parent
        for g in groups:
            if g.kind == "aside":
                self.result.notes.append(f"{g.ops:,} operations whose results nothing in the graph uses stand aside.")


def _owns(op: OpRecord, p: ParameterRecord) -> bool:
    """Whether it belongs to the module that an operation ran in."""
    return op.call is not None and p.owned and any(name.rpartition(".")[0] == op.path for name in (p.name, *p.names))
