"""Golden files: PyTorch's results and gradients for the op table, stored so that it can be checked without PyTorch.

One file per family of functions, `golden/<family>.npz`: all numbers in one float64 array, and an index of them in JSON.
The inputs are not stored: they follow from the samples and our own random streams. Inputs are rounded to float32, so
that the results in float64 are the reference for both dtypes.
`python -m tinygrad_edu.testing --write-golden` writes them anew where PyTorch is installed.
"""

from __future__ import annotations

import io
import json
import os
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from .op_table import OURS, Call, Library, cases, dtypes_of, records
from .outcome import Leaf, mismatch, outcome
from .records import OpRecord

FOLDER = Path(__file__).parent / "golden"
FORMAT = 1
NUMBERS = 150  # at most this many numbers are stored for a record, unless its smallest sample has more


class StaleGolden(AssertionError):
    """The golden files were made from other samples than the table now has."""


def keyed(found: list[OpRecord]) -> Iterator[tuple[str, OpRecord]]:
    """Each record of a family with a name that only it has."""
    count: dict[str, int] = {}
    for record in found:
        n = count[record.name] = count.get(record.name, 0) + 1
        yield record.name if n == 1 else f"{record.name} #{n}", record


def fingerprint(call: Call, words: str) -> int:
    """A number that changes with the inputs of a call, the same for float32 and float64."""
    found = zlib.crc32(words.encode())
    for array in call.before:
        if array.dtype == np.float64 and call.dtype:
            with np.errstate(over="ignore"):
                array = array.astype(np.float32)
        found = zlib.crc32(np.ascontiguousarray(array).tobytes(), found)
    return found


def _words(sample: Any) -> str:
    return f"{sample!r} {[a.strides for a in sample.args if isinstance(a, np.ndarray)]}"


class Golden:
    """The stored results of one family."""

    def __init__(self, family: str) -> None:
        """FileNotFoundError: there are none for this family. ValueError: the file is damaged or of another format."""
        path = FOLDER / f"{family}.npz"
        with np.load(path, allow_pickle=False) as stored:
            self.values, raw = stored["values"], stored["index"].tobytes()
        index = json.loads(raw)
        if index.get("format") != FORMAT:
            raise ValueError(f"{path} has format {index.get('format')}, expected {FORMAT}; write it anew")
        self.torch: str = index["torch"]
        self.records: dict[str, Any] = index["records"]

    def outcome(self, key: str, i: int, sample: Any, dtype: str | None, ours: Call) -> list[Leaf] | None:
        """What PyTorch gave for sample i of a record, or None where that is not stored."""
        entry = self.records.get(key)
        if entry is None:
            raise StaleGolden(f"no golden values for {key}; write them with --write-golden where PyTorch is installed")
        stored = entry.get(str(i))
        if stored is None or str(dtype) not in stored["forms"]:
            return None
        reference = "None" if dtype is None else "float64"
        if fingerprint(ours, _words(sample)) != stored["inputs"][reference]:
            raise StaleGolden(
                f"the golden values of {key}, sample {i}, were made from other inputs; write them anew with "
                "--write-golden where PyTorch is installed"
            )
        at = stored["at"][reference]
        found = []
        for label, form in stored["forms"][str(dtype)]:
            shape = _shape_of(form)
            if shape is None:
                found.append(Leaf(label, form))
                continue
            n = int(np.prod(shape, dtype=int))
            array = self.values[at : at + n].reshape(shape)
            at += n
            with np.errstate(all="ignore"):
                found.append(Leaf(label, form, array.astype("float64" if form == "float" else form.partition("[")[0])))
        return found


def _shape_of(form: str) -> tuple[int, ...] | None:
    """The shape of what has numbers: "float32[2, 3]" or "float"."""
    if form == "float":
        return ()
    dtype, bracket, shape = form.partition("[")
    if not bracket or dtype not in np.sctypeDict:
        return None
    return tuple(json.loads(bracket + shape))


def write(progress: Any = None) -> dict[str, int]:
    """Write the golden files of all families; returns their sizes in bytes."""
    sizes, found = {}, records()
    FOLDER.mkdir(exist_ok=True)
    for family, members in found.items():
        values: list[Any] = []
        index = {
            "format": FORMAT,
            "torch": Library("torch").module.__version__,
            "records": {key: _chosen(record, values) for key, record in keyed(members)},
        }
        sizes[family] = _write(FOLDER / f"{family}.npz", values, index)
        if progress:
            progress(family)
    for path in FOLDER.glob("*.npz"):
        if path.stem not in found:
            path.unlink()
    return sizes


def _write(path: Path, values: list[Any], index: dict[str, Any]) -> int:
    buffer = io.BytesIO()
    flat = np.concatenate([np.asarray(v, np.float64).reshape(-1) for v in values] or [np.zeros(0)])
    raw = np.frombuffer(json.dumps(index, separators=(",", ":")).encode(), np.uint8)
    np.savez_compressed(buffer, values=flat, index=raw)
    beside = path.with_suffix(".tmp")
    beside.write_bytes(buffer.getvalue())
    os.replace(beside, path)
    return path.stat().st_size


def _chosen(record: OpRecord, values: list[Any]) -> dict[str, Any]:
    """The samples of a record to store: the first with a gradient, then others in order while there is room."""
    made = [(i, _outcomes(record, sample)) for i, (sample, _) in enumerate(cases(record))]
    made = [(i, entry) for i, entry in made if entry["forms"]]
    sized = [(i, entry, sum(v.size for v in _numbers(entry))) for i, entry in made]
    telling = [s for s in sized if s[2] and (not record.differentiable or _has_gradient(s[1]))] or sized
    first = next((s for s in telling if s[2] <= NUMBERS), min(telling, key=lambda s: s[2], default=None))
    room, chosen = NUMBERS, {}
    for i, entry, size in ([first] if first else []) + [s for s in sized if s is not first]:
        if room >= size or (first and i == first[0]):
            room -= size
            chosen[i] = entry
    start = sum(v.size for v in values)
    for i in sorted(chosen):
        for dtype, leaves in chosen[i].pop("leaves").items():
            chosen[i]["at"][dtype] = start
            for leaf in leaves:
                if leaf.values is not None:
                    values.append(leaf.values)
                    start += leaf.values.size
    return {str(i): chosen[i] for i in sorted(chosen)}


def _outcomes(record: OpRecord, sample: Any) -> dict[str, Any]:
    """PyTorch's results for a sample, in each dtype in which they can be stored."""
    entry: dict[str, Any] = {"forms": {}, "inputs": {}, "at": {}, "leaves": {}}
    torch = Library("torch")
    found = {d: outcome(Call(torch, record, sample, d, single=True), record.differentiable) for d in dtypes_of(sample)}
    for dtype in (d for d in (None, "float64") if d in found):
        ours = Call(OURS, record, sample, dtype, single=True)
        entry["inputs"][str(dtype)] = fingerprint(ours, _words(sample))
        entry["forms"][str(dtype)] = [(leaf.label, leaf.form) for leaf in found[dtype]]
        entry["leaves"][str(dtype)] = found[dtype]
    if "float32" in found:
        single, double = found["float32"], found["float64"]
        with np.errstate(all="ignore"):
            rounded = [
                Leaf(t.label, t.form, None if t.values is None else s.values.astype(t.values.dtype))
                for s, t in zip(double, single, strict=True)
                if (s.values is None) == (t.values is None)
            ]
        if len(rounded) == len(single) and not mismatch(single, rounded, record.kind, "float32"):
            entry["forms"]["float32"] = [(leaf.label, leaf.form) for leaf in single]
    return entry


def _numbers(entry: dict[str, Any]) -> list[Any]:
    return [leaf.values for leaves in entry["leaves"].values() for leaf in leaves if leaf.values is not None]


def _has_gradient(entry: dict[str, Any]) -> bool:
    return any(leaf.is_gradient and leaf.values is not None for x in entry["leaves"].values() for leaf in x)
