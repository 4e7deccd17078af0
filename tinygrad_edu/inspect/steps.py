"""Stepping through a trace: the numbers of one element of each operation, forward and backward.

They are looked up while a trace with values="sample" or "full" is recorded, and stand in the records' `details`. The
element is the one of the output that is largest in magnitude in the last row of the record's sample; see
`element.chosen`. Backward follows the same element.

`op.details["element"]`, forward:

- `index`: the element's place in the output, a list; `value`: the element
- `text`: lines of text: first the formula, in letters and then in numbers, and below it what its letters stand for
- `exact`: true if a formula is known; false if the operation's own backward was asked for the derivatives
- `uses`: the elements of the inputs that are followed, each with `input` (the place among the operation's inputs),
  `name`, `index`, `value`, `slope` (the local derivative dy[index] / dx[index]), `formula` (of the slope), `terms` (a
  list of [place in the output, slope]: the first outputs that the input's element goes into, this one first) and
  `count` (how many outputs those are in all; null: not known)

`step.details["element"]`, backward:

- `index`: as above; `incoming`: the gradient that arrives there; `text`: lines of text
- `uses`: one for each use above whose input gets a gradient, with `input`, `name`, `index`, `slope`, `share`
  (incoming · slope: what this element hands on), `terms` (a list of [place, incoming, slope], as above), `count`, and
  `total`, the input's gradient there: the sum of incoming · slope over all places. For a tensor with a `.grad` also
  `before` and `after`: the sum there so far, and with `total`.

All numbers are rounded to DIGITS digits; NaN and infinities are strings, as everywhere in a trace.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import numpy as np

from ..autograd.engine import Leaf, Node
from ..autograd.modes import state
from ..backend.device import quiet
from . import formulas, recorder
from .element import factor, place, products, short
from .record import BackwardRecord, OpRecord, decode_attribute
from .text import BOLD, DIM, _clean, _painter

if TYPE_CHECKING:
    from .trace import Trace

DIGITS = 9  # of numbers: as many as tell any two in float32 apart


def number(x: Any) -> float | str:
    """A number as it stands in a trace."""
    rounded = float(f"{float(x):.{DIGITS}g}")
    return rounded if np.isfinite(rounded) else str(rounded)


def forward(op: OpRecord, inputs: tuple[Any, ...], y: Any) -> dict[str, Any]:
    """The element of an operation: see above."""
    attrs = {name: decode_attribute(a, name) for name, a in op.attrs.items()}
    with quiet:
        element = formulas.explain(op.name, attrs, inputs, y[0] if isinstance(y, tuple) else y)
    if element is None:
        return {}
    uses = []
    for u in element.uses:
        terms = [[list(i), number(slope)] for i, slope in u.terms]
        uses.append({
            "input": u.input, "name": u.name, "index": list(u.index), "value": number(u.value), "slope": terms[0][1],
            "formula": u.formula, "terms": terms, "count": u.count,
        })  # fmt: skip
    return {
        "element": {
            "index": list(element.index), "value": number(element.value), "text": element.lines, "exact": element.exact,
            "uses": uses,
        }
    }  # fmt: skip


def backward(op: OpRecord, step: BackwardRecord, node: Node, gy: Any, gradients: Any) -> dict[str, Any]:
    """The gradient of the element that forward followed, and what it hands on."""
    element = op.details.get("element")
    gy = gy[0] if isinstance(gy, tuple) else gy
    if element is None or gy is None:
        return {}
    incoming = number(gy[tuple(element["index"])])
    y = place("y", element["index"])
    lines = [f"dL/d{y} = {short(incoming)} arrives"]
    lines += [line for line in element["text"] if not line.startswith((f"{y} = ", "= "))]  # what letters stand for
    uses = []
    for k in dict.fromkeys(use["input"] for use in element["uses"]):
        if not op.inputs[k].gradient or (gradient := gradients[k]) is None:
            continue
        parent = node.parents[k]
        so_far = _so_far(parent, step.walk, gradient) if isinstance(parent, Leaf) else None
        for use in element["uses"]:
            if use["input"] == k:
                with quiet:
                    uses.append(_handed(use, incoming, gy, gradient, so_far))
                lines += _lines(uses[-1], incoming, use["formula"], "" if element["exact"] else op.name)
    return {"element": {"index": element["index"], "incoming": incoming, "text": lines, "uses": uses}}


def _handed(use: dict[str, Any], incoming: float | str, gy: Any, gradient: Any, so_far: Any) -> dict[str, Any]:
    """What reaches one element of an input."""
    at = tuple(use["index"])
    share = float(incoming) * float(use["slope"])
    if use["slope"] == 0 and np.isfinite(float(gradient[at])):  # not inf·0, of an operation that chooses
        share = 0.0
    record = {
        "input": use["input"], "name": use["name"], "index": use["index"], "slope": use["slope"],
        "share": number(share), "terms": [[i, number(gy[tuple(i)]), slope] for i, slope in use["terms"]],
        "count": use["count"], "total": number(gradient[at]),
    }  # fmt: skip
    if so_far is not None:
        before = so_far[at] if so_far is not _NOTHING else gradient.dtype.type(0)
        record |= {"before": number(before), "after": number(before + gradient[at])}
    return record


def _lines(handed: dict[str, Any], incoming: float | str, formula: str, asked: str) -> Iterator[str]:
    """The same as text. formula: of the slope; asked: the operation whose own backward gave the slope, if any did."""
    where, slope, count = place(handed["name"], handed["index"]), handed["slope"], handed["count"]
    derived = "" if formula in ("", short(slope)) else f"{formula} = "
    yield f"dy/d{where} = {derived}{short(slope)}" + f", by {asked}'s own backward" * bool(asked)
    product = "" if slope == handed["share"] == 0 else f"{short(incoming)}·{factor(slope)} = "
    yield f"{where} gets {product}{short(handed['share'])}"
    if count is None:
        yield f"from all y: dL/d{where} = {short(handed['total'])}"
    elif count > 1:
        terms = products(*zip(*((gy, s) for _, gy, s in handed["terms"]), strict=True))
        terms += ["…"] * (count > len(terms))
        yield f"from all {count:,} y that use {where}: dL/d{where} = {' + '.join(terms)} = {short(handed['total'])}"
    if "after" in handed:
        grad = place(f"{handed['name']}.grad", handed["index"])
        yield f"{grad} becomes {short(handed['before'])} + {factor(handed['total'])} = {short(handed['after'])}"


# ---- the running sums ------------------------------------------------------------------------------------------------

_NOTHING: Any = ()


class _Sums:
    """What has been handed to the tensors with a `.grad` in one backward pass."""

    def __init__(self, walk: int, ops: list[OpRecord]) -> None:
        self.walk = walk
        self.sums: dict[Leaf, Any] = {}
        self.uses: dict[int, int] = {}
        """How many operations hand a gradient to each parameter."""
        for op in ops:
            for x in op.inputs:
                if x.parameter is not None and x.gradient:
                    self.uses[x.parameter] = self.uses.get(x.parameter, 0) + 1


_running: WeakKeyDictionary[Any, _Sums] = WeakKeyDictionary()  # by recorder


def _so_far(leaf: Leaf, walk: int, gradient: Any) -> Any:
    """A tensor's `.grad`, with what this pass has handed to it before; this gradient is added for the next time."""
    watching = next(o for o in state.observers if isinstance(o, recorder.Recorder))
    sums = _running.get(watching)
    if sums is None or sums.walk != walk:
        sums = _running[watching] = _Sums(walk, watching.ops)
    grad = leaf.tensor._grad
    before = sums.sums.get(leaf, _NOTHING if grad is None else grad._array)
    if sums.uses.get(watching._parameter_of(leaf), 0) > 1:  # else nobody will ask again
        sums.sums[leaf] = gradient.copy() if before is _NOTHING else before + gradient
    return before


recorder.FORWARD_DETAILS.append(forward)
recorder.BACKWARD_DETAILS.append(backward)


# ---- as text ---------------------------------------------------------------------------------------------------------


def walk(trace: Trace, start: int = 0, op: str | int = "", stop: int | None = None, color: bool | None = None) -> None:
    """Print a trace step by step as it ran, forward and then backward, with the numbers of one element of each
    operation: y is its output, x or other letters are its inputs, and L is what backward began at.

    start, stop: the first step to print, and the one before which to end, counted over both passes; op: only operations
    of this name, in the module of this path or below it, or of this number. ValueError: there is no such step.
    """
    for line in walked(trace, start, op, stop, color):
        print(line)


def walked(
    trace: Trace, start: int = 0, op: str | int = "", stop: int | None = None, color: bool | None = None
) -> Iterator[str]:
    """The lines that `walk` prints."""
    steps: list[tuple[int, OpRecord | BackwardRecord]] = list(enumerate([*trace.ops, *trace.backward]))
    op, stop = str(op), len(steps) if stop is None else stop
    if not steps:
        raise ValueError("walk: the trace has no steps; run the model inside `with inspect.trace() as t:`")
    if not 0 <= start < len(steps):
        raise ValueError(f"walk: there are {len(steps)} steps, from 0 to {len(steps) - 1}, got {start} to start from")
    if stop <= start:
        raise ValueError(f"walk: expected a stop after the start, step {start}, got {stop}")
    chosen = [(n, s) for n, s in steps[start:stop] if not op or _is_of(trace, s, op)]
    if not chosen:
        known = ", ".join(dict.fromkeys(o.name for o in trace.ops))
        since = f" from {start} on" if start else ""
        raise ValueError(f"walk: no step{since} is of {op!r}; give a name ({known}), a module or a number")
    paint = _painter(color)
    for n, step in chosen:
        lines = _forward_lines(trace, step) if isinstance(step, OpRecord) else _backward_lines(trace, step)
        head, *rest = map(_clean, lines)
        yield paint(f"{n}  {head}", BOLD)
        yield from (paint(f"   {line}", DIM) if i == 0 else f"   {line}" for i, line in enumerate(rest))


def _is_of(trace: Trace, step: OpRecord | BackwardRecord, wanted: str) -> bool:
    if isinstance(step, BackwardRecord):
        if step.op is None:
            return wanted in (trace.parameters[step.parameter or 0].name, *trace.parameters[step.parameter or 0].names)
        step = trace.ops[step.op]
    return wanted in (step.name, str(step.id)) or step.path == wanted or step.path.startswith(f"{wanted}.")


def _where(trace: Trace, op: OpRecord) -> str:
    parts = [f"{op.name} (operation {op.id})", f"in {op.path}" if op.path else "", trace.location(op)]
    return "  ".join(filter(None, parts))


def _forward_lines(trace: Trace, op: OpRecord) -> list[str]:
    inputs = [_input(trace, x) for x in op.inputs]
    lines = [_where(trace, op), f"({', '.join(i for i in inputs if i)}) -> {op.shape} {op.dtype}"]
    return lines + _texts(op.details, lambda: 'no numbers: record it with values="sample"')


def _input(trace: Trace, x: Any) -> str:
    if x.op is not None:
        return f"{x.op} {trace.ops[x.op].name} {x.shape}"
    if x.parameter is not None:
        return f"{trace.parameters[x.parameter].name or 'an array'} {x.shape}"
    return "" if x.number is None else str(x.number)


def _backward_lines(trace: Trace, step: BackwardRecord) -> list[str]:
    if step.op is None:
        p = trace.parameters[step.parameter or 0]
        lines = [f"arrival in {p.name or 'a tensor'}.grad", f"{p.shape} {p.dtype}"]
        if step.incoming is not None and step.total is not None and step.incoming.norm is not None:
            lines.append(f"a gradient of norm {short(step.incoming.norm)}; .grad has norm {short(step.total.norm)} now")
        return lines
    op = trace.ops[step.op]
    inputs = [
        f"input {g.input}: " + (_input(trace, op.inputs[g.input]) or "a number")
        + (f", summed over axes {g.summed}" if g.summed else "")
        for g in step.gradients
    ]  # fmt: skip
    lines = [f"backward of {_where(trace, op)}", f"to {'; '.join(inputs) or 'nothing'}"]
    return lines + _texts(step.details, lambda: "no numbers")


def _texts(details: dict[str, Any], missing: Any) -> list[str]:
    """The text in details, which may have come from a file."""
    element = details.get("element")
    text = element.get("text") if isinstance(element, dict) else None
    return [str(line) for line in text] if isinstance(text, list) else [missing()]
