"""A trace as text, for a terminal of 80 columns: the tree of modules, and tables of operations."""

from __future__ import annotations

import math
import os
import sys
import textwrap
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from .record import CallRecord, OpRecord

if TYPE_CHECKING:
    from .trace import Trace

WIDTH = 80
OUTSIDE = "(outside modules)"
BOLD, DIM, RESET = "\x1b[1m", "\x1b[2m", "\x1b[0m"
SORTS = ("order", "name", "time", "forward", "backward", "flops", "bytes", "saved")
GROUPS = ("operation", "op", "module")


@dataclass
class Totals:
    """The figures of one operation, or of several added up."""

    calls: float = 0
    forward: float = 0.0
    """Seconds."""
    backward: float = 0.0
    flops: float = 0
    """Of forward and backward."""
    bytes: float = 0
    saved: float = 0
    parameters: float = 0
    """Elements of the parameters, each counted once."""

    @property
    def time(self) -> float:
        return self.forward + self.backward

    def __iadd__(self, other: Totals) -> Totals:
        for name in vars(self):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        return self


def totals_of(trace: Trace, steps: int = 1) -> list[Totals]:
    """Those of each operation of a trace, without parameters; of a trace of several steps, a step's share."""
    found = [
        Totals(1, op.seconds or 0.0, 0.0, op.flops or 0, op.bytes, op.saved_bytes) if not op.before else Totals()
        for op in trace.ops
    ]
    for step in trace.backward:
        if step.op is not None:
            found[step.op].backward += step.seconds or 0.0
            found[step.op].flops += step.flops or 0
    if steps > 1:
        found = [Totals(*(figure / steps for figure in vars(t).values())) for t in found]
    return found


def grouped(trace: Trace, key: Callable[[OpRecord], str], steps: int = 1) -> dict[str, Totals]:
    """The totals of the operations that have the same key."""
    found: dict[str, Totals] = {}
    for op, totals in zip(trace.ops, totals_of(trace, steps), strict=True):
        group = found.setdefault(key(op), Totals())
        group += totals
    return found


# ---- the tree --------------------------------------------------------------------------------------------------------


@dataclass
class Branch:
    """A module in the tree, or several alike next to each other, or what a module computes by itself."""

    label: str
    path: str
    module: str
    totals: Totals = field(default_factory=Totals)
    """With everything below."""
    shape: list[int] | None = None
    """Of the last output."""
    aside: bool = False
    """Whether that is a value outside the graph, which the next output replaces in any case."""
    children: list[Branch] = field(default_factory=list)
    ops: list[str] = field(default_factory=list)
    """What tells whether two are alike: the operations and their shapes."""
    times: dict[str, float] = field(default_factory=dict)
    """What it computes by itself: seconds by name of the op."""
    last: str = ""
    """The label of the last of several."""
    count: int = 1

    def alike(self, other: Branch) -> bool:
        same = self.module == other.module and self.ops == other.ops and len(self.children) == len(other.children)
        return same and all(a.alike(b) for a, b in zip(self.children, other.children, strict=True))

    def join(self, other: Branch) -> None:
        """Add the figures of one that is alike."""
        self.totals += other.totals
        for a, b in zip(self.children, other.children, strict=True):
            a.join(b)


def tree(trace: Trace, fold: bool = True, steps: int = 1) -> Branch:
    """The modules of a trace by which called which, each path once. fold: repeated blocks alike become one branch."""
    top = Branch("", "", "")
    branches: dict[str, Branch] = {}  # by path
    of_call: list[Branch] = []
    for call in trace.calls:
        above = top if call.parent is None else of_call[call.parent]
        of_call.append(branches.get(call.path) or branches.setdefault(call.path, _branch(call, above)))
    line: list[Branch]
    for op, totals in zip(trace.ops, totals_of(trace, steps), strict=True):
        if op.before:
            continue
        aside = not op.graph and op.differentiable  # such as running statistics: no output depends on it
        branch = top if op.call is None else of_call[op.call]
        own = next((c for c in branch.children if not c.path), None)
        if own is None:
            own = Branch("", "", "")
            branch.children.append(own)
        line = [own, branch]
        parent = None if op.call is None else trace.calls[op.call].parent
        while parent is not None and (above := of_call[parent]) not in line:
            line.append(above)
            parent = trace.calls[parent].parent
        for one in [*line, top] if branch is not top else line:
            one.totals += totals
            if one.shape is None or one.aside or not aside:
                one.shape, one.aside = op.shape, aside
        own.ops.append(f"{op.name}{op.shape}")
        own.times[op.name] = own.times.get(op.name, 0.0) + totals.time
    for p in trace.parameters:
        if p.kind == "parameter":
            n = math.prod(p.shape)
            owners = [b for path, b in branches.items() if _is_below(p.name.rpartition(".")[0], path)]
            for one in [top, *owners]:
                one.totals.parameters += n
    _tidy(top, fold)
    return top


def _branch(call: CallRecord, above: Branch) -> Branch:
    label = call.path.removeprefix(above.path + ".") if above.path else call.path
    branch = Branch(label or call.module, call.path or call.module, call.module)
    above.children.append(branch)
    return branch


def _is_below(path: str, other: str) -> bool:
    return not other or path == other or path.startswith(other + ".")


def _tidy(branch: Branch, fold: bool) -> None:
    """Name what a module computes by itself, and fold its children."""
    folded: list[Branch] = []
    modules = [c for c in branch.children if c.path]
    for child in branch.children:
        if not child.path:
            branch.ops = child.ops
            if not modules or not child.totals.time:
                continue
            heaviest = sorted(child.times, key=child.times.__getitem__, reverse=True)
            child.label = ", ".join(heaviest)
            child.ops = []
        _tidy(child, fold)
        before = folded[-1] if folded else None
        if fold and before is not None and child.path and before.path and before.alike(child):
            before.join(child)
            before.count, before.last = before.count + 1, child.label
        else:
            folded.append(child)
    branch.children = folded


def summary(trace: Trace, fold: bool = True, color: bool | None = None, steps: int = 1) -> str:
    """See `Trace.summary`; of a trace of several steps, a step's share."""
    paint = _painter(color)
    top = tree(trace, fold, steps)
    rows: list[tuple[str, Branch]] = []

    def walk(branch: Branch, before: str) -> None:
        for child in branch.children:
            last = child is branch.children[-1]
            rows.append((before + ("└ " if last else "├ "), child))
            walk(child, before + ("  " if last else "│ "))

    roots = [c for c in top.children if c.path]
    for root in roots:
        rows.append(("", root))
        walk(root, "")
    for own in top.children:
        if not own.path:
            own.label = OUTSIDE if roots else own.label or "operations"
            rows.append(("", own))
    if len(rows) > 1 and len(top.children) > 1:
        top.label, top.shape = "all", None
        rows.append(("", top))
    elif not rows:
        top.label = "operations"
        rows.append(("", top))
    lines = [paint(_line("module", "output", _HEADS), BOLD)]
    for prefix, branch in rows:
        times = f" … {_clean(branch.last)} ×{branch.count}" if branch.count > 1 else ""
        room = max(_LABEL - len(prefix) - len(times), 1)
        label = _cut(_clean(branch.label), room) + times
        shape = "" if branch.shape is None else _shape(branch.shape)
        text = _line(_cut(prefix + label, _LABEL), shape, _figures(branch.totals))
        lines.append(paint(prefix, DIM) + text[len(prefix) :] if branch.path or prefix == "" else paint(text, DIM))
    lines += _notes(trace, any(b.count > 1 for _, b in rows))
    return "\n".join(lines)


def _notes(trace: Trace, folded: bool) -> list[str]:
    notes = ["act and saved: bytes of new memory for outputs, and of what is kept for backward."]
    if folded:
        notes.append("×N: N modules alike, their figures added up.")
    if not trace.backward:
        notes.append("No backward pass was recorded.")
    if trace.error:
        notes.append(f"The block ended in {_clean(trace.error)}")
    return ["", *(line for note in notes for line in textwrap.wrap(note, WIDTH))]


_LABEL, _SHAPE, _FIGURE = 26, 12, 7
_HEADS = ["params", "FLOPs", "fwd ms", "bwd ms", "act", "saved"]


def _line(label: str, shape: str, figures: Iterable[str]) -> str:
    return f"{label:<{_LABEL}}{_cut(shape, _SHAPE - 1):>{_SHAPE}}" + "".join(f"{f:>{_FIGURE}}" for f in figures)


def _figures(t: Totals) -> list[str]:
    return [
        _count(t.parameters), _count(t.flops), _time(t.forward), _time(t.backward), _count(t.bytes), _count(t.saved)
    ]  # fmt: skip


# ---- tables ----------------------------------------------------------------------------------------------------------


def table(
    trace: Trace,
    sort: str = "time",
    by: str = "operation",
    rows: int = 20,
    color: bool | None = None,
    steps: int = 1,
    notes: bool = True,
) -> str:
    """See `Trace.table`; of a trace of several steps, a step's share."""
    if sort not in SORTS:
        raise ValueError(f"table: sort must be one of {', '.join(SORTS)}, got {sort!r}")
    if by not in GROUPS:
        raise ValueError(f"table: by must be one of {', '.join(GROUPS)}, got {by!r}")
    paint = _painter(color)
    entries: list[tuple[str, str, str, Totals]]
    if by == "operation":
        heads, widths = ("operation", "module", "output"), (18, 16, 11)
        entries = [
            (f"{op.id} {op.name}", _module(trace, op), _shape(op.shape), totals)
            for op, totals in zip(trace.ops, totals_of(trace, steps), strict=True)
        ]
    else:
        heads, widths = (by, "calls", "share"), (28, 8, 9)
        groups = grouped(trace, (lambda op: op.name) if by == "op" else (lambda op: _module(trace, op)), steps)
        whole = sum(t.time for t in groups.values()) or 1.0
        entries = [(key, f"{t.calls:,.6g}", f"{t.time / whole:.1%}", t) for key, t in groups.items()]
    if sort == "name":
        entries.sort(key=lambda e: e[0].lstrip("0123456789 "))
    elif sort != "order":
        entries.sort(key=lambda e: -getattr(e[3], sort))
    lines = [paint(_row(heads, widths, _HEADS[1:]), BOLD)]
    lines += [_row(texts, widths, _figures(t)[1:]) for *texts, t in entries[:rows]]
    rest = Totals()
    for *_, t in entries[rows:]:
        rest += t
    if len(entries) > rows:
        lines.append(_row((f"{len(entries) - rows:,} more", "", ""), widths, _figures(rest)[1:]))
    return "\n".join([*lines, *(_notes(trace, False) if notes else [])])


def _module(trace: Trace, op: OpRecord) -> str:
    return OUTSIDE if op.call is None else op.path or trace.calls[op.call].module


def _row(texts: Sequence[str], widths: Sequence[int], figures: Iterable[str]) -> str:
    first, second, third = (_cut(_clean(t), w - 1) for t, w in zip(texts, widths, strict=True))
    return f"{first:<{widths[0]}}{second:<{widths[1]}}{third:>{widths[2]}}" + "".join(f"{f:>7}" for f in figures)


# ---- figures ---------------------------------------------------------------------------------------------------------


def _shape(shape: Sequence[int]) -> str:
    return "×".join(map(str, shape)) or "scalar"


def _count(n: float) -> str:
    """At most six characters: 0, 999, 12.3k, 123M."""
    if not n:
        return "-"
    for unit in ("", "k", "M", "G", "T", "P"):
        if n < 999.5 or unit == "P":
            return f"{n:.0f}{unit}" if unit == "" or n >= 99.95 else f"{n:.1f}{unit}"
        n /= 1000
    raise AssertionError


def _time(seconds: float) -> str:
    """In milliseconds, at most six characters."""
    ms = seconds * 1e3
    return "-" if not ms else f"{ms:.3f}" if ms < 9.9995 else f"{ms:.2f}" if ms < 99.995 else f"{ms:.0f}"


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else text[: max(width - 1, 0)] + "…"


def _clean(text: str) -> str:
    """The text as a terminal may be given it: names come from files too."""
    return "".join(c if c.isprintable() else "?" for c in text)


def _painter(color: bool | None) -> Callable[[str, str], str]:
    """Puts a text into a style, where colours are wanted: on a terminal, unless NO_COLOR says not to."""
    if color is None:
        color = sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
    return (lambda text, style: f"{style}{text}{RESET}") if color else (lambda text, style: text)
