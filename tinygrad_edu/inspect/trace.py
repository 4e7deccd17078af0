"""A finished trace: what is in it, and writing and reading it."""

from __future__ import annotations

import errno
import importlib
import json
import math
import os
import secrets
from collections.abc import Iterator, Sized
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np

from ..serialization import atomic_write
from ..serialization import load as load_tensors
from ..serialization import save as save_tensors
from ..tensor import made
from . import record, text
from .record import (
    FORMAT,
    BackwardRecord,
    CallRecord,
    MachineRecord,
    OpRecord,
    ParameterRecord,
    SourceLine,
    ValueRecord,
)
from .replay import Validation, validate

LARGEST = 1 << 30  # bytes of a file that is read
_MOST = 1e18  # of anything that is counted or measured
# What `save` writes by the ending of the name: (module, function), called with the trace and the path.
WRITERS = {
    ".chrome.json": ("chrome", "write"),
    ".dot": ("exports", "write_dot"),
    ".explorer.json": ("exports", "write_model_explorer"),
    ".gv": ("exports", "write_dot"),
    ".html": ("page", "write"),
    ".json": ("trace", "write_json"),
    ".mmd": ("exports", "write_mermaid"),
    ".png": ("exports", "write_png"),
    ".svg": ("exports", "write_svg"),
}


def writer(path: str | os.PathLike[str]) -> tuple[str, str]:
    """What writes a file of this name, a module and its function. ValueError: an ending that no form has."""
    name = Path(path).name
    for ending in sorted(WRITERS, key=len, reverse=True):
        if name.endswith(ending):
            return WRITERS[ending]
    raise ValueError(f"save: {name!r} does not say what to write; use a name that ends in {' or '.join(WRITERS)}")


@dataclass
class Trace:
    """What `inspect.trace` recorded: the operations, the steps of backward, and what they worked on.

    Everything is a plain dataclass with documented fields; see record.py.
    """

    format: int
    values: str
    """What was kept of each array: "none", "stats", "sample" or "full"."""
    made: str
    """When, in ISO 8601."""
    seconds: float
    """How long the block took, recording included."""
    machine: MachineRecord
    ops: list[OpRecord] = field(default_factory=list)
    """In the order in which they ran (those from before the trace apart)."""
    backward: list[BackwardRecord] = field(default_factory=list)
    """In the order in which they ran."""
    calls: list[CallRecord] = field(default_factory=list)
    parameters: list[ParameterRecord] = field(default_factory=list)
    lines: list[SourceLine] = field(default_factory=list)
    error: str = field(default_factory=str)
    """The exception that ended the block, if one did."""

    def __getattr__(self, name: str) -> Any:
        if name in _FIELDS:
            raise RuntimeError(
                f"the trace is still being recorded, so it has no {name} yet; use it after the `with` block"
            )
        raise AttributeError(f"'Trace' object has no attribute {name!r}", name=name, obj=self)

    def __repr__(self) -> str:
        if "ops" not in self.__dict__:
            return "<Trace, still being recorded>"
        return (
            f"<Trace: {len(self.ops)} operations, {len(self.backward)} steps of backward, values={self.values!r}, "
            f"{self.seconds * 1e3:.1f} ms>"
        )

    # ---- looking into it -------------------------------------------------------------------------------------------

    def location(self, op: OpRecord) -> str:
        """`file:line` of the user's code that called an operation."""
        return "" if op.line is None else str(self.lines[op.line])

    def parameter(self, name: str) -> ParameterRecord:
        """The parameter or other outside value of this name. KeyError: there is none."""
        for p in self.parameters:
            if name == p.name or name in p.names:
                return p
        known = ", ".join(p.name for p in self.parameters if p.name)
        raise KeyError(f"the trace has no parameter {name!r}; it has {known or 'none with a name'}")

    def summary(self, fold: bool = True, color: bool | None = None) -> str:
        """The tree of modules: output, parameters, FLOPs, times, new memory, and memory saved for backward.

        Blocks alike are one line, "h.0 … h.11 ×12", with their figures added up; fold=False shows each.
        80 columns. color: None for colours on a terminal only, and not where the variable NO_COLOR is set.
        """
        return text.summary(self, fold, color)

    def table(self, sort: str = "time", by: str = "operation", rows: int = 20, color: bool | None = None) -> str:
        """The operations one by one, or added up by="op" or by="module"; at most so many rows, then what is left.

        sort: "order" (as they ran), "name", or the largest first of "time", "forward", "backward", "flops", "bytes"
        (new memory) or "saved" (for backward). ValueError: another word.
        """
        return text.table(self, sort, by, rows, color)

    # ---- checking it -----------------------------------------------------------------------------------------------

    def validate(self) -> Validation:
        """Run every recorded operation again, on its recorded inputs, with the readable reference ops; needs
        values="full".

        Returns what was reproduced, and how closely. ValueError: an output or a gradient is not what the reference
        computes, beyond rounding; the message names the first such operation and its line.
        """
        return validate(self)

    # ---- writing and reading ---------------------------------------------------------------------------------------

    def save(self, path: str | os.PathLike[str], **options: Any) -> None:
        """Write the trace in the form that the name's ending says, whole or not at all.

        .json: all of it, for `inspect.load`; with values="full" the arrays go into a .safetensors file beside it.
        .chrome.json: its times, for Perfetto or chrome://tracing. .html: a page to look through and step through, for
        any browser. ValueError: another ending.

        Pictures: .svg, .png (drawn by Matplotlib), .dot or .gv (Graphviz), .mmd (Mermaid). They take level="module" or
        "op", and fold=False to draw each of several blocks alike. .explorer.json: for Google's Model Explorer.
        """
        module, function = writer(path)
        getattr(importlib.import_module(f".{module}", __package__), function)(self, path, **options)

    def _repr_html_(self) -> str:
        """The page, for notebooks."""
        from .page import notebook

        return notebook(self)

    def to_dict(self) -> dict[str, Any]:
        """The JSON form, without full values."""
        return record.encode(self)


_FIELDS = {f.name for f in fields(Trace)}


def write_json(trace: Trace, path: str | os.PathLike[str]) -> None:
    """Write `Trace.save`'s .json."""
    arrays: dict[str, Any] = {}
    replaced: list[tuple[ValueRecord, Any]] = []
    try:
        for name, value, _ in values_of(trace):
            if isinstance(value.full, np.ndarray):
                arrays[name] = made(value.full)
                replaced.append((value, value.full))
                value.full = name  # type: ignore[assignment]  # in a file the name stands for the array
        document = record.encode(trace)
    finally:
        for value, full in replaced:
            value.full = full
    if arrays:
        document["tensors"] = token = secrets.token_hex(16)  # so that the two files are known to belong together
        save_tensors({"trace": token, "arrays": arrays}, Path(path).with_suffix(".safetensors"))
    with atomic_write(path) as file:
        file.write(json.dumps(document, allow_nan=False, separators=(",", ":")).encode())


def values_of(trace: Trace) -> Iterator[tuple[str, ValueRecord, list[int] | None]]:
    """The name that each kept value has in a file, its record, and its shape where that is known."""
    for op in trace.ops:
        if op.value is not None:
            yield f"op.{op.id}.value", op.value, op.shape
    for step in trace.backward:
        shape = trace.ops[step.op].shape if step.op is not None else trace.parameters[step.parameter or 0].shape
        if step.incoming is not None:
            yield f"backward.{step.id}.incoming", step.incoming, shape if step.parameter is not None else None
        if step.total is not None:
            yield f"backward.{step.id}.total", step.total, shape
        for gradient in step.gradients:
            if gradient.value is not None:
                inputs = trace.ops[step.op or 0].inputs
                yield f"backward.{step.id}.gradient.{gradient.input}", gradient.value, inputs[gradient.input].shape
    for p in trace.parameters:
        if p.value is not None:
            yield f"parameter.{p.id}.value", p.value, p.shape
        if p.gradient is not None:
            yield f"parameter.{p.id}.gradient", p.gradient, p.shape


def load(path: str | os.PathLike[str]) -> Trace:
    """Read a trace that `Trace.save("....json")` wrote. Nothing in the file is executed.

    FileNotFoundError: no such file, or the .safetensors file with its values is not beside it. ValueError: a file that
    is truncated, damaged, too large, of another version or no trace.
    """
    path = Path(path)
    if (size := path.stat().st_size) > LARGEST:
        raise ValueError(f"{path} is too large for a trace: {size:,} bytes, at most {LARGEST:,} are read")
    try:
        document = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is truncated, damaged or no trace: {error}") from None
    if not isinstance(document, dict) or "format" not in document:
        raise ValueError(f"{path} is no trace: it has no field 'format'")
    if document["format"] != FORMAT:
        raise ValueError(
            f"{path} is a trace of format {document['format']!r}, this version reads {FORMAT}; record it again, or use "
            "the version of tinygrad_edu that wrote it"
        )
    token = document.pop("tensors", None)
    try:
        trace: Trace = record.decode(Trace, document, "trace")
        _check(trace)
        _attach(trace, token, path.with_suffix(".safetensors"))
    except ValueError as error:
        raise ValueError(f"{path} is damaged: {error}") from None
    return trace


def _check(trace: Trace) -> None:
    """ValueError: a record refers to one that is not there, or sizes contradict each other."""

    def place(where: str, number: int | None, records: Sized) -> None:
        if number is not None and not 0 <= number < len(records):
            raise ValueError(f"{where} is {number}, but there are {len(records)}")

    def amounts(where: str, one: Any, *names: str) -> None:
        for name in names:
            value = getattr(one, name)
            if value is not None and not 0 <= value < _MOST:
                raise ValueError(f"{where}.{name} is {value}, expected a number from 0 to {_MOST:.0e}")

    amounts("trace", trace, "seconds")
    for name in ("ops", "backward", "calls", "parameters"):
        for i, one in enumerate(getattr(trace, name)):
            if one.id != i:
                raise ValueError(f"{name}[{i}].id is {one.id}, expected {i}")
    for p in trace.parameters:
        amounts(f"parameters[{p.id}]", p, "bytes", "freed")
    for op in trace.ops:
        where = f"ops[{op.id}]"
        amounts(where, op, "bytes", "freed", "flops", "start", "seconds")
        for name, records in ("call", trace.calls), ("line", trace.lines), ("inside", trace.ops):
            place(f"{where}.{name}", getattr(op, name), records)
        place(f"{where}.during", op.during, range(len(trace.backward) + 1))
        for i, x in enumerate(op.inputs):
            place(f"{where}.inputs[{i}].op", x.op, trace.ops)
            place(f"{where}.inputs[{i}].parameter", x.parameter, trace.parameters)
            if x.op is not None and x.op >= op.id and not trace.ops[x.op].before:
                raise ValueError(f"{where}.inputs[{i}].op is {x.op}, which ran later")
        for i, saved in enumerate(op.saved):
            amounts(f"{where}.saved[{i}]", saved, "bytes", "held", "freed")
            place(f"{where}.saved[{i}].op", saved.op, trace.ops)
            place(f"{where}.saved[{i}].parameter", saved.parameter, trace.parameters)
    for call in trace.calls:
        place(f"calls[{call.id}].parent", call.parent, range(call.id))
    for step in trace.backward:
        where = f"backward[{step.id}]"
        amounts(where, step, "flops", "start", "seconds")
        place(f"{where}.op", step.op, trace.ops)
        place(f"{where}.parameter", step.parameter, trace.parameters)
        if (step.op is None) == (step.parameter is None):
            raise ValueError(f"{where} has both op and parameter, or neither")
        for i, gradient in enumerate(step.gradients):
            place(f"{where}.gradients[{i}].input", gradient.input, [] if step.op is None else trace.ops[step.op].inputs)
    for name, value, shape in values_of(trace):
        if value.size < 0 or (shape is not None and value.size != math.prod(shape)):
            raise ValueError(f"{name} has size {value.size}, but its array has shape {shape}")
        if value.sample is not None and (isinstance(value.sample, str) or value.sample.size > value.size):
            raise ValueError(f"{name} has a sample that is larger than its array")


def _attach(trace: Trace, token: Any, path: Path) -> None:
    """Put the arrays of the .safetensors file into their records."""
    wanted = [(name, value, shape) for name, value, shape in values_of(trace) if value.full is not None]
    if not wanted:
        return
    if not path.is_file():
        raise FileNotFoundError(
            errno.ENOENT, "the full values of the trace stand in this file, which is not here", str(path)
        )
    stored = load_tensors(path)
    if not isinstance(stored, dict) or stored.get("trace") != token or not isinstance(stored.get("arrays"), dict):
        raise ValueError(f"{path.name} beside it belongs to another trace")
    for name, value, shape in wanted:
        array = stored["arrays"].get(value.full)
        if array is None or array.numel() != value.size or (shape is not None and list(array.shape) != shape):
            raise ValueError(f"{path.name} does not hold {name} in the shape that the trace says")
        value.full = array._array
