"""`compare`: two traces op by op, and the first difference that rounding does not explain."""

from __future__ import annotations

import datetime
import html
import math
import os
import platform
import sys
import textwrap
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any

import numpy as np

from ..backend.dtypes import as_dtype, finfo
from ..serialization import atomic_write
from .record import (
    BackwardRecord,
    CallRecord,
    GradientRecord,
    InputRecord,
    MachineRecord,
    OpRecord,
    ParameterRecord,
    ValueRecord,
)
from .rounding import of_gradient, of_output, size, terms_of_gradient, terms_of_output
from .text import _cut
from .trace import Trace
from .values import LEVELS, Level, Looker

OWN = 8.0  # times eps sqrt(terms): what an operation may add of its own
GAIN = 16.0  # times the difference of its inputs: how much an operation may enlarge that
MODULE = "module"  # the name of the records of `torch_trace`
_EQUAL = 1e-12  # the band of what has to be equal
_SHOWN = 8  # of the elements and of the rows that are farthest apart
_LISTED = 5000  # rows on the page


@dataclass
class Row:
    """Two values of the same place, and how far apart they are."""

    kind: str
    """"output", "gradient" (of an operation's output), "handed" (by backward to an input), "value" or ".grad" of a
    parameter."""
    what: str
    """What it is the value of, in words."""
    shape: list[int]
    a: ValueRecord
    b: ValueRecord
    difference: float
    """The largest |a - b| / (rms(b) + |b|) of an element; inf where only one is NaN or infinite."""
    band: float
    """How much of that rounding explains."""
    op: int | None = None
    """The operation, in the first trace."""
    note: str = ""
    """What differs already before the operation runs: its inputs, numbers or settings; and where it is in the code."""

    @property
    def beyond(self) -> float:
        """The difference as a multiple of the band; 1 or less is rounding, or follows from what is not finite."""
        return self.difference / self.band if self.difference and math.isfinite(self.band) else 0.0

    @property
    def where(self) -> str:
        """What it is and of what, in words."""
        return self.what if self.kind in ("output", "handed") else f"{self.kind} of {self.what}"

    def elements(self, count: int = _SHOWN) -> list[tuple[list[int], float, float]]:
        """The elements that are farthest apart, (index, a, b), as far as both traces hold elements."""
        x, y = _held(self.a, self.b)
        if x is None or y is None:
            return []
        relative = _relative(x, y, size(self.b)).reshape(-1)
        order = np.argsort(-relative, kind="stable")[:count]
        places = [np.unravel_index(i, x.shape) for i in order if relative[i] > 0]
        return [([int(i) for i in place], float(x[place]), float(y[place])) for place in places]


@dataclass
class Comparison:
    """What `compare` found; `print` it, or `save("difference.html")`."""

    names: tuple[str, str]
    rows: list[Row] = field(default_factory=list)
    """In the order in which the values came about: forward, then backward, then the parameters' .grad."""

    @property
    def first(self) -> Row | None:
        """The first row beyond rounding; None if there is none."""
        return next((row for row in self.rows if row.beyond > 1), None)

    @property
    def agree(self) -> bool:
        """Whether rounding explains all differences."""
        return self.first is None

    def enter(
        self, kind: str, what: str, shape: list[int], a: ValueRecord, b: ValueRecord, band: float, eps: float,
        op: int | None = None, note: str = "",
    ) -> float:  # fmt: skip
        """Add a row; returns the difference. eps: 0 of integers, which have to be equal."""
        row = Row(kind, what, shape, a, b, _difference(a, b), band if eps else _EQUAL, op, note)
        self.rows.append(row)
        return row.difference

    def worst(self, rows: int = _SHOWN) -> list[Row]:
        """The rows farthest beyond their bands, or nearest to them."""
        return sorted(self.rows, key=lambda row: -row.beyond)[:rows]

    def __str__(self) -> str:
        lines = textwrap.wrap(self._verdict(), 80)
        if (first := self.first) is not None:
            lines += ["", f"{'':<24} {self.names[0]:>20.20} {self.names[1]:>20.20}"]
            lines += [f"{name:<24.24} {x:>20} {y:>20}" for name, x, y in _side_by_side(first)]
        lines += ["", f"{'farthest apart':<46} {'difference':>10} {'band':>10} {'times':>10}"]
        for row in self.worst():
            lines.append(f"{_cut(row.where, 46):<46} {row.difference:>10.2g} {row.band:>10.2g} {row.beyond:>10.3g}")
        return "\n".join(lines)

    def _verdict(self) -> str:
        first = self.first
        if first is None:
            count = sum(row.kind == "output" for row in self.rows)
            nearest = max((row.beyond for row in self.rows), default=0.0)
            return (
                f"{self.names[0]} and {self.names[1]} agree: {count} outputs and {len(self.rows) - count} gradients, "
                f"and rounding explains every difference (at most {nearest:.0%} of the band)."
            )
        before = self.rows.index(first)
        what = first.where if first.kind in ("output", "handed") else f"the {first.where}"
        apart = "one is not finite where the other is" if math.isinf(first.difference) else (
            f"they differ by {first.difference:.2g} of its size, {first.beyond:,.3g} times what rounding explains"
        )  # fmt: skip
        note = f"{first.note} " if first.note else ""
        return f"The first difference is at {what}: {apart}. {note}The {before} values before it agree."

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the comparison as one self-contained HTML page. ValueError: a name with another ending."""
        if not str(path).endswith(".html"):
            raise ValueError(f"save: a comparison is written as a page; use a name that ends in .html, got {path}")
        with atomic_write(path) as file:
            file.write(
                f'<!doctype html>\n<html lang="en"><meta charset="utf-8"><title>{_e(self.names[0])} and '
                f"{_e(self.names[1])}</title>\n<style>{_STYLE}</style>\n<main>{self._repr_html_()}</main>\n</html>\n".encode()
            )

    def _repr_html_(self) -> str:
        parts = [f"<h1>{_e(self.names[0])} and {_e(self.names[1])}</h1><p>{_e(self._verdict())}</p>"]
        if (first := self.first) is not None:
            rows = [list(cells) for cells in _side_by_side(first)]
            parts.append(_table(f"There: {first.where}", ["", *self.names], rows))
        head = ["what", "kind", "shape", "difference", "band", "times the band"]
        all_ = "Everything in order" + f", the first {_LISTED:,} of {len(self.rows):,}" * (len(self.rows) > _LISTED)
        for title, found in ("Farthest apart", self.worst()), (all_, self.rows[:_LISTED]):
            rows = [
                [row.what, row.kind, "×".join(map(str, row.shape)) or "scalar", f"{row.difference:.3g}",
                 f"{row.band:.3g}", f"{row.beyond:.3g}"]
                for row in found
            ]  # fmt: skip
            parts.append(_table(title, head, rows, [row.beyond > 1 for row in found]))
        return "\n".join(parts)


_STYLE = """
:root { color-scheme: light dark; font: 15px/1.5 system-ui, sans-serif }
main { max-width: 64rem; margin: 2rem auto; padding: 0 1rem; overflow-x: auto }
table { border-collapse: collapse; width: 100%; margin: 2rem 0 }
caption { text-align: left; font-size: 1.2rem; font-weight: 600 }
th, td { text-align: left; padding: .2rem .6rem; border-bottom: 1px solid #8884; font-variant-numeric: tabular-nums }
tbody th { font-weight: normal }
tr.beyond > * { background: #d552; font-weight: 600 }
"""


def _table(title: str, head: list[str], rows: list[list[str]], beyond: list[bool] | None = None) -> str:
    """A table, each row of which begins with its name."""
    top = "".join(f'<th scope="col">{_e(cell)}</th>' for cell in head)
    body = ""
    for i, (name, *cells) in enumerate(rows):
        mark = ' class="beyond"' if beyond and beyond[i] else ""
        body += f'<tr{mark}><th scope="row">{_e(name)}</th>{"".join(f"<td>{_e(cell)}</td>" for cell in cells)}</tr>\n'
    return f"<table><caption>{_e(title)}</caption><thead><tr>{top}</tr></thead>\n<tbody>{body}</tbody></table>"


def _e(x: str) -> str:
    return html.escape(x)


def _side_by_side(row: Row) -> Iterator[tuple[str, str, str]]:
    for name in ("mean", "std", "min", "max", "nans", "infs"):
        x, y = getattr(row.a, name), getattr(row.b, name)
        if name not in ("nans", "infs") or x or y:
            yield name, *_pair("-" if v is None else f"{v:.9g}" for v in (x, y))
    for place, *values in row.elements():
        yield str(place), *_pair(f"{v:.9g}" for v in values)


def _pair(texts: Iterable[str]) -> tuple[str, str]:
    a, b = texts
    return a, b


def compare(a: Trace, b: Trace, names: tuple[str, str] = ("a", "b")) -> Comparison:
    """Compare two traces of the same computation value by value, in the order in which the values came about.

    Two runs, two dtypes, fused kernels and the reference, two devices; or a trace of ours and one that `torch_trace`
    made, which are compared by module. What the traces hold of both arrays is compared: all elements, samples, or
    statistics.

    The band of an operation: (8 eps sqrt(n) + 16 d) c. eps is that of the coarser dtype; n the terms that make one
    element, counted by its FLOPs; d the largest difference found at its inputs, apart from parameters, whose values are
    given and have to be equal to rounding; c how much larger the result would be if nothing in it cancelled out, as
    estimated by rounding.py. Integers have to be equal.

    ValueError: traces that do not match, with the first operation that differs in name or shape; traces without values.
    """
    for trace, name in ((a, names[0]), (b, names[1])):
        if not isinstance(trace, Trace):
            raise TypeError(f"compare: expected two traces, {name} is {type(trace).__name__}")
        if trace.values == "none":
            raise ValueError(f'compare: {name} was recorded with values="none"; record it with "stats" or more')
    result = Comparison(names)
    if _by_module(a) and not _by_module(b):
        _modules(result, b, a, swapped=True)
    elif _by_module(b) and not _by_module(a):
        _modules(result, a, b)
    else:
        _operations(result, a, b)
    return result


def _by_module(trace: Trace) -> bool:
    return bool(trace.ops) and all(op.name == MODULE for op in trace.ops)


# ---- operation by operation ------------------------------------------------------------------------------------------


def _operations(result: Comparison, a: Trace, b: Trace) -> None:
    """Enter forward and backward in the order in which they ran in the first trace."""
    walk = _Walk(result, a, b, _twins(result.names, a, b))
    forward = [op for op in reversed(a.ops) if op.during is None]
    for step in a.backward:
        while forward and _ran_before(forward[-1], step):
            walk.operation(forward.pop())
        walk.step(step)
    for op in [*reversed(forward), *(op for ops in walk.within.values() for op in ops)]:
        walk.operation(op)


def _ran_before(op: OpRecord, step: BackwardRecord) -> bool:
    return op.start is None or step.start is None or op.start < step.start


class _Walk:
    """Enters rows, and knows how far apart the values are that the next ones come from."""

    def __init__(self, result: Comparison, a: Trace, b: Trace, twins: dict[int, OpRecord]) -> None:
        self.result, self.a, self.b, self.twins = result, a, b, twins
        self.apart: dict[int, float] = {}  # the output of each operation
        # What has been handed to each operation or parameter: sizes, and how far apart they are.
        self.handed: dict[tuple[str, int | None], list[tuple[float, float]]] = {}
        self.differ: dict[int, str] = {}  # parameters that differ by more than rounding, and their names
        self.within: dict[int, list[OpRecord]] = {}  # operations by the step of backward that ran them
        self.inside: dict[int, list[int]] = {}  # and by the Function whose forward ran them
        for op in a.ops:
            if op.during is not None:
                self.within.setdefault(op.during, []).append(op)
            if op.inside is not None:
                self.inside.setdefault(op.inside, []).append(op.id)
        self.pairs: dict[int, int] = {}  # the number that each parameter has in the second trace
        for op in a.ops:
            for i, j in zip(op.inputs, twins[op.id].inputs if op.id in twins else (), strict=False):
                if i.parameter is not None and j.parameter is not None and i.parameter not in self.pairs:
                    self.pairs[i.parameter] = j.parameter
                    if _differ(p := a.parameters[i.parameter], b.parameters[j.parameter]):
                        self.differ[p.id] = _called(p)
        steps = {(step.walk, step.op, step.parameter): step for step in b.backward}
        self.others = {
            step.id: steps.get((
                step.walk, None if step.op is None else twins[step.op].id,
                None if step.parameter is None else self.pairs.get(step.parameter),
            )) for step in a.backward if step.op is None or step.op in twins
        }  # fmt: skip

    def operation(self, x: OpRecord, step: OpRecord | None = None, incoming: float = 0.0) -> None:
        """Enter the output of an operation; of one that backward of another ran, with what came in there."""
        y = self.twins.get(x.id)
        if y is None or x.value is None or y.value is None:
            return
        before = [i.op for i in x.inputs if i.op is not None] + self.inside.get(x.id, [])
        given = max([incoming, *(self.apart.get(op, 0.0) for op in before)])
        eps = max(_eps(x.dtype), _eps(y.dtype))
        band = (OWN * eps * math.sqrt(terms_of_output(x)) + GAIN * given) * _ratio(of_output(self.a, x), x.value)
        what = _named(x) + (f", in backward of {_named(step)}" if step else "")
        self.apart[x.id] = self.result.enter(
            "output", what, x.shape, x.value, y.value, band, eps, x.id, self._note(x, y)
        )

    def _note(self, x: OpRecord, y: OpRecord) -> str:
        """What of an operation differs already before it runs."""
        bad = [self.differ[i.parameter] for i in x.inputs if i.parameter in self.differ]
        notes = [f"Its input {' and '.join(dict.fromkeys(bad))} differs already."] if bad else []
        given: list[tuple[str, Any, Any]] = []
        if x.name == y.name:
            given += [("It is given", i.number, j.number) for i, j in zip(x.inputs, y.inputs, strict=False)]
            given += [(f"Its {name} is", x.attrs.get(name), y.attrs.get(name)) for name in {**x.attrs, **y.attrs}]
        given += [("It ran as", *_pair(f"the kernel {op.kernel}" if op.kernel else "the readable op" for op in (x, y)))]
        names = self.result.names
        notes += [f"{what} {p} in {names[0]}, {q} in {names[1]}." for what, p, q in given if p != q]
        return " ".join([*notes, *self._place(x)])

    def _place(self, op: OpRecord) -> list[str]:
        """Where an operation is in the code, if that is known."""
        return [f"It runs at {line}."] if (line := self.a.location(op)) else []

    def step(self, step: BackwardRecord) -> None:
        """Enter a step of backward: what came in, the operations that it ran, and what it handed on."""
        if step.id not in self.others:
            return
        other = self.others[step.id]
        if step.parameter is not None:
            if other is not None and step.total is not None and other.total is not None:
                p, q = self.a.parameters[step.parameter], self.b.parameters[self.pairs[step.parameter]]
                eps = max(_eps(p.dtype), _eps(q.dtype))
                band = self._sum(("parameter", p.id), step.total, eps)
                self.result.enter(".grad", _called(p), p.shape, step.total, other.total, band, eps)
            return
        assert step.op is not None
        op = self.a.ops[step.op]
        eps = max(_eps(op.dtype), _eps(self.twins[op.id].dtype))
        incoming = 0.0
        if other is not None and step.incoming is not None and other.incoming is not None:
            band = self._sum(("op", op.id), step.incoming, eps)
            incoming = self.result.enter(
                "gradient", _named(op), op.shape, step.incoming, other.incoming, band, eps, op.id
            )
        ran = self.within.pop(step.id, [])
        for inner in ran:
            self.operation(inner, op, incoming)
        before = [op.id, *(x.op for x in op.inputs if x.op is not None), *(inner.id for inner in ran)]
        given = max([incoming, *(self.apart.get(i, 0.0) for i in before)])
        for g, h in zip(step.gradients, other.gradients if other else [], strict=False):
            if g.input != h.input or g.value is None or h.value is None or g.value.size != h.value.size:
                continue
            x, terms = op.inputs[g.input], terms_of_gradient(op, step, g)
            what = f"backward of {_named(op)} to input {g.input}"
            band = (OWN * eps * math.sqrt(terms) + GAIN * given) * _ratio(of_gradient(self.a, op, step, g), g.value)
            note = " ".join(self._place(op))
            apart = self.result.enter("handed", what, x.shape, g.value, h.value, band, eps, op.id, note)
            to = ("parameter", x.parameter) if x.op is None else ("op", x.op)
            self.handed.setdefault(to, []).append((size(g.value), apart))

    def _sum(self, to: tuple[str, int | None], total: ValueRecord, eps: float) -> float:
        """The band of a sum of what has been handed on."""
        handed = self.handed.get(to, [])
        own = max([OWN * eps * rms for rms, _ in handed], default=0.0)
        given = max([GAIN * rms * apart for rms, apart in handed], default=0.0)
        return OWN * eps + (own + given) / (size(total) or math.inf)


def _ratio(uncancelled: float, value: ValueRecord) -> float:
    """How much larger a value would be."""
    return max(1.0, uncancelled / (size(value) or math.inf))


def _twins(names: tuple[str, str], a: Trace, b: Trace) -> dict[int, OpRecord]:
    """The operation of the second trace for each of the first, by number.

    On a GPU a program does not wait for numbers: there, checks are missing, and the mean of a loss is a sum divided by
    a count that was never read. So checks may be missing in either, and a mean may be a sum and a division.

    ValueError: the first operation that is another one.
    """
    found: dict[int, OpRecord] = {}
    checks, other_checks = _checks(a), _checks(b)
    i = j = 0
    while i < len(a.ops) or j < len(b.ops):
        x, y = (ops[k] if k < len(ops) else None for ops, k in ((a.ops, i), (b.ops, j)))
        if x and y and (x.name, x.shape) == (y.name, y.shape):
            found[x.id], i, j = y, i + 1, j + 1
        elif x and x.id in checks:
            i += 1
        elif y and y.id in other_checks:
            j += 1
        elif x and x.name == "mean" and (division := _of_sum(b.ops[j : j + 2], x.shape)):
            found[x.id], i, j = division, i + 1, j + 2
        elif y and y.name == "mean" and (division := _of_sum(a.ops[i : i + 2], y.shape)):
            found[division.id], i, j = y, i + 2, j + 1
        elif x and y:
            raise ValueError(
                f"compare: the traces do not match: operation {x.id} is {_whole(a, x)} in {names[0]} and "
                f"{_whole(b, y)} in {names[1]}; compare runs of the same model on batches of the same shape"
            )
        else:
            longer, trace, extra = (names[0], a, a.ops[i]) if x else (names[1], b, b.ops[j])
            raise ValueError(
                f"compare: the traces do not match: {names[0]} has {len(a.ops)} operations, {names[1]} {len(b.ops)}; "
                f"the first that only {longer} has is {_whole(trace, extra)}"
            )
    return found


def _of_sum(ops: list[OpRecord], shape: list[int]) -> OpRecord | None:
    """The second of two operations, if it divides the first, a sum."""
    if [op.name for op in ops] != ["sum", "div"] or ops[1].inputs[0].op != ops[0].id or ops[1].shape != shape:
        return None
    return ops[1]


def _checks(trace: Trace) -> set[int]:
    """The operations that give integers or bools which no other one uses: what the program looked at itself."""
    used = {i.op for op in trace.ops for i in op.inputs}
    return {op.id for op in trace.ops if op.id not in used and "float" not in op.dtype}


# ---- module by module ------------------------------------------------------------------------------------------------


def _modules(result: Comparison, ours: Trace, theirs: Trace, swapped: bool = False) -> None:
    """Compare the outputs of modules, by their paths; then the gradients of these, and of the parameters."""

    def enter(kind: str, what: str, mine: ValueRecord, other: ValueRecord, *more: Any) -> float:
        return result.enter(kind, what, shape, *((other, mine) if swapped else (mine, other)), *more)

    inside: dict[str, dict[int, list[OpRecord]]] = {}  # of each module, by call, all operations, those of modules in it
    for op in ours.ops:
        call = op.call
        while call is not None:
            inside.setdefault(ours.calls[call].path, {}).setdefault(call, []).append(op)
            call = ours.calls[call].parent
    left = {path: iter(calls.values()) for path, calls in inside.items()}
    found: dict[int, OpRecord] = {}  # ours by the number of theirs
    worst = 0.0
    differ = [name for p, q in _same_parameters(ours, theirs) if _differ(p, q) for name in {p.name, *p.names}]
    for other in theirs.ops:
        if other.path not in inside or other.value is None:
            continue
        shape, called = other.shape, other.path or "the model"
        if (ops := next(left[other.path], None)) is None:
            raise ValueError(
                f"compare: the traces do not match: PyTorch calls {called} more often than we do, "
                f"{len(inside[other.path])} times; trace as many steps in both"
            )
        mine = next((op for op in reversed(ops) if op.shape == shape and op.value is not None), None)
        if mine is None or mine.value is None:
            raise ValueError(
                f"compare: the traces do not match: {called} gives {tuple(shape)} in the module of PyTorch, and ours "
                f"no output of that shape; the last is {_whole(ours, ops[-1])}"
            )
        eps = max(_eps(mine.dtype), _eps(other.dtype))
        terms = sum(terms_of_output(op) for op in ops if op.graph)
        ratio = max(_ratio(of_output(ours, op), op.value) for op in ops if op.value is not None and op.id <= mine.id)
        band = (OWN * eps * math.sqrt(terms) + GAIN * worst) * ratio
        bad = [name.rpartition(".")[2] for name in differ if name.rpartition(".")[0] == other.path]
        note = f"Its {' and '.join(bad)} differs already." if bad else ""
        what = f"{called} ({other.attrs.get('module', MODULE)})"
        worst = max(worst, enter("output", what, mine.value, other.value, band, eps, mine.id, note))
        found[other.id] = mine
    if not found:
        known = ", ".join(list(inside)[:5]) or "none"
        their = ", ".join(op.path for op in theirs.ops[:5])
        raise ValueError(
            f"compare: the traces do not match: no module has the same path in both; ours are {known} ..., those of "
            f"the module of PyTorch {their} ...; give torch_trace a function `names` that turns theirs into ours"
        )
    incoming = {step.op: step.incoming for step in ours.backward if step.op is not None}
    uncancelled: dict[tuple[str, int | None], float] = {}  # the largest of what is handed to each place
    for step in ours.backward:
        for g in step.gradients:
            assert step.op is not None
            x = ours.ops[step.op].inputs[g.input]
            to = ("parameter", x.parameter) if x.op is None else ("op", x.op)
            uncancelled[to] = max(uncancelled.get(to, 0.0), of_gradient(ours, ours.ops[step.op], step, g))
    for step in theirs.backward:
        assert step.op is not None
        if (mine := found.get(step.op)) is None or step.incoming is None or (value := incoming.get(mine.id)) is None:
            continue
        if value.size == step.incoming.size:
            shape, eps = mine.shape, max(_eps(mine.dtype), _eps(theirs.ops[step.op].dtype))
            what = f"the output of {theirs.ops[step.op].path or 'the model'}"
            ratio = _ratio(uncancelled.get(("op", mine.id), 0.0), value)
            band = (OWN * eps * math.sqrt(terms_of_output(mine)) + GAIN * worst) * ratio
            worst = max(worst, enter("gradient", what, value, step.incoming, band, eps, mine.id))
    for p, q in _same_parameters(ours, theirs):
        if p.gradient is not None and q.gradient is not None:
            shape, eps = p.shape, max(_eps(p.dtype), _eps(q.dtype))
            ratio = _ratio(uncancelled.get(("parameter", p.id), 0.0), p.gradient)
            band = (OWN * eps * math.sqrt(max(shape, default=1)) + GAIN * worst) * ratio
            enter(".grad", p.name, p.gradient, q.gradient, band, eps)


def _same_parameters(ours: Trace, theirs: Trace) -> Iterator[tuple[ParameterRecord, ParameterRecord]]:
    named = {name: q for q in theirs.parameters for name in [q.name, *q.names]}
    for p in ours.parameters:
        q = next((named[name] for name in [p.name, *p.names] if name in named), None)
        if p.kind == "parameter" and q is not None and q.shape == p.shape:
            yield p, q


# ---- two values ------------------------------------------------------------------------------------------------------


def _differ(p: ParameterRecord, q: ParameterRecord) -> bool:
    """Whether two parameters start with values that differ by more than their dtypes do."""
    if p.value is None or q.value is None or p.value.size != q.value.size:
        return False
    return _difference(p.value, q.value) > 2 * max(_eps(p.dtype), _eps(q.dtype))


def _difference(a: ValueRecord, b: ValueRecord) -> float:
    """The largest |a - b| / (rms(b) + |b|) as far as it is known."""
    if (a.nans, a.infs) != (b.nans, b.infs):
        return math.inf
    rms, worst = size(b), 0.0
    for name in ("min", "max", "mean", "std"):
        x, y = getattr(a, name), getattr(b, name)
        if x is not None and y is not None and x != y:
            whole = rms + (abs(y) if name in ("min", "max") else 0.0)
            worst = max(worst, abs(x - y) / whole if whole else math.inf)
    x, y = _held(a, b)
    return worst if x is None or y is None else max(worst, float(_relative(x, y, rms).max(initial=0.0)))


def _held(a: ValueRecord, b: ValueRecord) -> tuple[np.ndarray | None, np.ndarray | None]:
    """The elements that both records hold: all, or those of the sample."""
    x, y = (a.full, b.full) if a.full is not None and b.full is not None else (a.sample, b.sample)
    if x is None or y is None or isinstance(x, str) or isinstance(y, str) or x.shape != y.shape:
        return None, None
    return np.asarray(x, np.float64), np.asarray(y, np.float64)


def _relative(x: np.ndarray, y: np.ndarray, rms: float) -> np.ndarray:
    """|x - y| / (rms + |y|), element by element; inf where only one is finite, or each another infinity."""
    with np.errstate(all="ignore"):
        relative = np.where((x == y) | (np.isnan(x) & np.isnan(y)), 0.0, np.abs(x - y) / (rms + np.abs(y)))
    return np.where(np.isnan(relative), math.inf, relative)


def _eps(dtype: str) -> float:
    """The rounding unit of a dtype, 0 of integers and booleans."""
    return finfo(as_dtype(dtype)).eps if "float" in dtype else 0.0


def _called(p: ParameterRecord) -> str:
    return p.name or f"a {p.kind} of shape {tuple(p.shape)}"


def _named(op: OpRecord) -> str:
    return f"{op.name} in {op.path}" if op.path else f"{op.name} (operation {op.id})"


def _whole(trace: Trace, op: OpRecord) -> str:
    line = trace.location(op)
    return f"{op.name} of shape {tuple(op.shape)}" + f" in {op.path}" * bool(op.path) + f" ({line})" * bool(line)


# ---- PyTorch's modules -----------------------------------------------------------------------------------------------


class torch_trace:
    """Record what the modules within a module of PyTorch give, by their names, as a trace for `compare`.

        with inspect.torch_trace(twin, values="full") as theirs:
            twin(x, y)[1].backward()
        print(inspect.compare(ours, theirs, ("ours", "PyTorch")))

    It works by forward hooks, and hooks on their outputs for the gradients. names: turns the path of a module or
    parameter of theirs into ours, or into None to leave it out. Of outputs in a tuple the first is taken.
    """

    def __init__(
        self, module: Any, values: Level = "sample", names: Callable[[str], str | None] = lambda name: name
    ) -> None:
        torch = sys.modules.get("torch")  # who has such a module has imported it
        if torch is None or not isinstance(module, torch.nn.Module):
            raise TypeError(f"torch_trace: expected a torch.nn.Module, got {type(module).__name__}")
        if values not in LEVELS:
            raise ValueError(f"torch_trace: values must be one of {', '.join(LEVELS)}, got {values!r}")
        self.module, self.values, self.names = module, values, names

    def __enter__(self) -> Trace:
        self._looker, self._start = Looker(self.values), perf_counter()
        self._ops: list[OpRecord] = []
        self._calls: list[CallRecord] = []
        self._backward: list[BackwardRecord] = []
        self._handles: list[Any] = []
        self._tensors: dict[str, list[str]] = {}
        for path, module in self.module.named_modules():
            name = self.names(path)
            if name is not None:
                hook = lambda module, inputs, output, name=name: self._ran(name, module, output)  # noqa: E731
                self._handles.append(module.register_forward_hook(hook))
        self._parameters: list[tuple[ParameterRecord, Any]] = []
        for path, p in self.module.named_parameters():
            name = self.names(path)
            if name is not None:
                array = _array(p)
                record = ParameterRecord(
                    len(self._parameters), "parameter", name, list(array.shape), array.dtype.name, array.nbytes,
                    value=self._looker.look(array), owned=True,
                )  # fmt: skip
                self._parameters.append((record, p))
        self._trace: Trace = object.__new__(Trace)
        return self._trace

    def _ran(self, path: str, module: Any, output: Any) -> None:
        found = _first_tensor(output)
        if found is None:
            return
        array, number = _array(found), len(self._ops)
        self._calls.append(CallRecord(number, path, type(module).__name__))
        record = OpRecord(
            number, MODULE, path, list(array.shape), array.dtype.name, call=number, bytes=array.nbytes,
            attrs={"module": type(module).__name__}, value=self._looker.look(array),
            inputs=[InputRecord(gradient=True, shape=list(array.shape), dtype=array.dtype.name)],
        )  # fmt: skip
        self._ops.append(record)
        if found.requires_grad:
            self._handles.append(found.register_hook(lambda gradient: self._came(number, gradient)))

    def _came(self, op: int, gradient: Any) -> None:
        step = BackwardRecord(len(self._backward), 0, op, incoming=self._looker.look(_array(gradient)))
        step.gradients = [GradientRecord(0)]
        self._backward.append(step)

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        for handle in self._handles:
            handle.remove()
        for record, p in self._parameters:
            if p.grad is not None:
                record.gradient = self._looker.look(_array(p.grad))
        self._looker.finish()
        trace = Trace(
            1, self.values, datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            perf_counter() - self._start,
            MachineRecord(platform.python_version(), np.__version__, "", platform.platform(), os.cpu_count() or 0),
            self._ops, self._backward, self._calls, [record for record, _ in self._parameters],
            error="" if error is None else f"{type(error).__name__}: {error}",
        )  # fmt: skip
        self._trace.__dict__.update(vars(trace))


def _first_tensor(output: Any) -> Any:
    """The tensor that an output is, or the first within it."""
    if hasattr(output, "register_hook") and hasattr(output, "detach"):
        return output
    parts = output.values() if isinstance(output, dict) else output if isinstance(output, (tuple, list)) else ()
    return next((found for part in parts if (found := _first_tensor(part)) is not None), None)


def _array(tensor: Any) -> np.ndarray:
    tensor = tensor.detach().cpu()
    return (tensor.float() if str(tensor.dtype) == "torch.bfloat16" else tensor).numpy().copy()
