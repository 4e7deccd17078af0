"""What a call of the op table gave, as a flat list that can be compared and stored; how far two such lists differ."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ..backend.dtypes import is_floating
from .compare import difference
from .op_table import EXACT, TOLERANCE, Call


@dataclass(frozen=True)
class Leaf:
    """One array, number or other thing among the results and gradients of a call."""

    label: str  # "result", "result 0", "gradient of input 1"
    form: str  # what must be equal: dtype and shape of an array, "float", or the repr of anything else
    values: Any = None  # the numbers, which must be close

    @property
    def is_gradient(self) -> bool:
        return self.label.startswith("gradient")


def outcome(call: Call, differentiable: bool) -> list[Leaf]:
    """The results of a call and, for random cotangents, the gradients of its inputs."""
    found = list(_leaves("result", call.values))
    if differentiable and any(y.requires_grad for y in call.outputs):
        for i, g in enumerate(call.backward()):
            if call.leaves[i].requires_grad:
                found += _leaves(f"gradient of input {i}", g)
    return found


def _leaves(label: str, x: Any) -> Any:
    if isinstance(x, (tuple, dict)):
        for key in x if isinstance(x, dict) else range(len(x)):
            yield from _leaves(f"{label} {key}", x[key])
    elif isinstance(x, np.ndarray):
        yield Leaf(label, f"{x.dtype}{list(x.shape)}", x)
    elif isinstance(x, float):
        yield Leaf(label, "float", np.asarray(x))
    else:
        yield Leaf(label, repr(x))


def ulps(got: Any, expected: Any, precision: str, of_sums: bool, floor: float = 0.0) -> float:
    """The worst error of an element in units in the last place (ULP) of a dtype.

    One ULP is the distance from the scale of an element to the next larger number of the dtype. The scale is the
    element's own expected magnitude (where that is 0, the largest in the array). For sums and gradients (of_sums) it is
    at least the largest expected magnitude in the array, and at least the floor: for gradients the largest cotangent.
    For where the terms of a sum cancel, what is left is small, but the rounding is that of the terms.
    """
    if not is_floating(got.dtype):
        return 0.0 if np.array_equal(got, expected) else float("inf")
    with np.errstate(all="ignore"):
        a, b = got.astype(np.float64), expected.astype(np.float64)
        size = np.abs(b)
        largest = np.where(np.isfinite(b), size, 0).max(initial=floor)
        size = np.maximum(size, largest) if of_sums else np.where(size == 0, largest or 1.0, size)
        limits = np.finfo(precision)
        size = np.clip(size, float(limits.tiny), float(limits.max))
        unit = np.ldexp(float(limits.eps), np.frexp(size)[1] - 1)
        error = np.where((a == b) | (np.isnan(a) & np.isnan(b)), 0.0, np.abs(a - b) / unit)
    error[~np.isfinite(error)] = np.inf
    return float(error.max(initial=0.0))


def mismatch(got: list[Leaf], expected: list[Leaf], kind: str, precision: str) -> tuple[str, Leaf, Leaf] | None:
    """None if two outcomes agree within the table's tolerance, else what differs in words, and where."""
    if [x.label for x in got] != [x.label for x in expected]:
        first = Leaf("result", "")
        return f"got {[x.label for x in got]}, PyTorch gives {[x.label for x in expected]}", first, first
    for ours, theirs in zip(got, expected, strict=True):
        if ours.form != theirs.form:
            return f"{ours.label}: got {ours.form}, PyTorch gives {theirs.form}", ours, theirs
        if ours.values is None:
            continue
        tolerance = EXACT if kind == "exact" else TOLERANCE["gradient" if ours.is_gradient else kind, precision]
        found = difference(ours.values, theirs.values, *tolerance, equal_nan=True)
        if found:
            return f"{ours.label}: {found}", ours, theirs
    return None
