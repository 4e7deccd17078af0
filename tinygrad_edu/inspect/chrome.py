"""A trace's times as a Chrome trace, which ui.perfetto.dev and chrome://tracing open.

One track has the operations, inside the modules that they ran in, forward and then backward, with an arrow from each
operation to its step of backward. A counter shows the memory kept for backward. Format: "Trace Event Format", Google.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

from ..serialization import atomic_write
from .record import BackwardRecord, OpRecord

if TYPE_CHECKING:
    from .trace import Trace

_PROCESS, _TRACK = 1, 1


class Span(NamedTuple):
    """A named stretch of time that a caller adds, such as the optimizer's step."""

    name: str
    start: float
    """Seconds after the trace began."""
    seconds: float


def write(trace: Trace, path: str | os.PathLike[str], spans: Iterable[Span] = ()) -> None:
    """Write the file, whole or not at all."""
    document = {"displayTimeUnit": "ms", "traceEvents": list(events(trace, spans))}
    with atomic_write(path) as file:
        file.write(json.dumps(document, allow_nan=False, separators=(",", ":")).encode())


def events(trace: Trace, spans: Iterable[Span] = ()) -> Iterator[dict[str, Any]]:
    """The events, those that contain others first."""
    for kind, name in ("process_name", "tinygrad_edu"), ("thread_name", "operations"):
        yield {"ph": "M", "pid": _PROCESS, "tid": _TRACK, "name": kind, "args": {"name": name}}
    for span in spans:
        yield _complete(span.name, "phase", span.start, span.seconds)
    ran = [op for op in trace.ops if op.start is not None and not op.before]
    steps = [step for step in trace.backward if step.op is not None and step.start is not None]
    yield from _modules(trace, [(op, op) for op in ran], "")
    yield from _modules(trace, [(trace.ops[step.op or 0], step) for step in steps], " backward")
    started: set[int] = set()
    for op in ran:
        yield _complete(op.name, "forward", op.start or 0.0, op.seconds or 0.0, **_facts(trace, op, op.flops))
    for step in steps:
        op = trace.ops[step.op or 0]
        yield _complete(
            f"{op.name} backward", "backward", step.start or 0.0, step.seconds or 0.0, **_facts(trace, op, step.flops)
        )
        if op.start is not None and not op.before:
            if op.id not in started:
                started.add(op.id)
                yield _event("s", op.start, id=op.id, name="backward", cat="backward of")
            yield _event("f", step.start or 0.0, id=op.id, name="backward", cat="backward of", bp="e")
    yield from _memory(ran, steps)


def _modules(
    trace: Trace, work: list[tuple[OpRecord, OpRecord | BackwardRecord]], suffix: str
) -> Iterator[dict[str, Any]]:
    """A span for each stretch of work inside one call of a module, callers before the called."""
    open_: list[tuple[int, float]] = []  # calls, and when they began
    done: list[dict[str, Any]] = []
    end = 0.0
    for op, what in [*work, (None, None)]:
        chain: list[int] = []
        call = None if op is None else op.call
        while call is not None:
            chain.insert(0, call)
            call = trace.calls[call].parent
        same = 0
        while same < min(len(open_), len(chain)) and open_[same][0] == chain[same]:
            same += 1
        for number, began in reversed(open_[same:]):
            record = trace.calls[number]
            done.append(_complete((record.path or record.module) + suffix, "module", began, end - began))
        del open_[same:]
        if what is not None:
            open_ += [(number, what.start or 0.0) for number in chain[same:]]
            end = (what.start or 0.0) + (what.seconds or 0.0)
    yield from sorted(done, key=lambda e: (e["ts"], -e["dur"]))


def _memory(ran: list[OpRecord], steps: list[BackwardRecord]) -> Iterator[dict[str, Any]]:
    """The counter of memory kept for backward: an operation adds what it alone keeps, its backward gives it back."""
    held = {op.id: op.saved_bytes for op in ran if op.saved_bytes}
    changes = [((op.start or 0.0) + (op.seconds or 0.0), op.saved_bytes) for op in ran if op.id in held]
    for step in steps:
        changes.append(((step.start or 0.0) + (step.seconds or 0.0), -held.pop(step.op or 0, 0)))
    now = 0
    for time, change in sorted(changes):
        now += change
        if change:
            yield {**_event("C", time, name="saved for backward"), "args": {"bytes": now}}


def _facts(trace: Trace, op: OpRecord, flops: int | None) -> dict[str, Any]:
    facts = {
        "operation": op.id, "module": op.path, "output": f"{op.shape} {op.dtype}", "line": trace.location(op),
        "inputs": [x.shape for x in op.inputs if x.op is not None or x.parameter is not None], "flops": flops,
        "kernel": op.kernel,
    }  # fmt: skip
    return {name: fact for name, fact in facts.items() if fact not in (None, "", [])}


def _complete(name: str, category: str, start: float, seconds: float, **facts: Any) -> dict[str, Any]:
    return {**_event("X", start, name=name, cat=category), "dur": _microseconds(seconds), "args": facts}


def _event(phase: str, time: float, **fields: Any) -> dict[str, Any]:
    return {"ph": phase, "pid": _PROCESS, "tid": _TRACK, "ts": _microseconds(time), **fields}


def _microseconds(seconds: float) -> float:
    return round(seconds * 1e6, 3)
