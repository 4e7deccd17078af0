"""Running a trace again: do the reference ops give the values that were recorded?"""

from __future__ import annotations

import functools
import importlib
import pkgutil
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import ops
from ..autograd.engine import sum_to, whole
from ..backend.device import quiet
from ..backend.dtypes import finfo, is_floating, wide
from ..ops.op import Op
from .record import BackwardRecord, InputRecord, OpRecord, decode_attribute

if TYPE_CHECKING:
    from .trace import Trace

# How many times the rounding error of the reference itself a value may be off: another order of summation, or another
# formula in a fused kernel, rounds differently, and not always for the better.
BAND = 8
_UNKNOWN: Any = object()


@dataclass
class Validation:
    """What `Trace.validate` found."""

    operations: int = 0
    """Forwards that were run again and gave the recorded output."""
    gradients: int = 0
    """Gradients that were computed again and were those recorded."""
    skipped: int = 0
    """Operations that cannot be run again: Functions of the reader's own, and what ran before the trace."""
    worst: float = 0.0
    """The largest difference from the reference in float64, as a share of what rounding explains."""
    where: str = ""
    """The operation that it is of."""

    def __str__(self) -> str:
        text = f"{self.operations} operations and {self.gradients} gradients reproduced by the reference ops"
        text += f"; the farthest off, by {self.worst:.0%} of what rounding explains, is {self.where}" * bool(self.worst)
        return text + f"; {self.skipped} operations cannot be run again" * bool(self.skipped)


def validate(trace: Trace) -> Validation:
    """See `Trace.validate`."""
    if trace.values != "full":
        raise ValueError(
            f'validate: the trace was recorded with values="{trace.values}", but to run it again takes all values; '
            'record it with values="full"'
        )
    result = Validation()
    steps: dict[int, list[BackwardRecord]] = {}
    for step in trace.backward:
        if step.op is not None:
            steps.setdefault(step.op, []).append(step)
    for op in trace.ops:
        arrays = [_array(trace, x) for x in op.inputs]
        attrs = {name: decode_attribute(a, name) for name, a in op.attrs.items()}
        kind = reference_ops().get(op.name)
        if kind is None or op.value is None or op.before or any(a is _UNKNOWN for a in arrays):
            result.skipped += 1
            continue
        where = f"{op.name} (operation {op.id}, {op.path or 'outside modules'}, {trace.location(op)})"
        try:
            comparisons = list(_again(kind, op, arrays, attrs, steps.get(op.id, [])))
        except (TypeError, ValueError, IndexError, AttributeError, ArithmeticError) as error:
            raise ValueError(f"validate: {where} cannot be run on its recorded inputs: {error}") from error
        for what, recorded, reference, otherwise in comparisons:
            off = _off(recorded, reference, otherwise)
            if off > 1:
                raise ValueError(
                    f"validate: {what} of {where} is not what the reference op computes from the recorded inputs: it "
                    f"is off by {off:.3g} times what rounding explains; either a kernel is wrong, the trace was "
                    "changed, or an input was changed in place after it was recorded"
                )
            if off > result.worst:
                result.worst, result.where = off, where
        result.operations += 1
        result.gradients += len(comparisons) - 1
    return result


def _again(
    kind: type[Op], op: OpRecord, arrays: list[Any], attrs: dict[str, Any], steps: list[BackwardRecord]
) -> Iterator[tuple[str, Any, Any, Any]]:
    """(what, recorded, by the reference, the same in the other precision) of the output and of each gradient."""
    arrays = [wide(x) if hasattr(x, "dtype") else x for x in arrays]
    with quiet:
        y, saved = kind.forward(np, *arrays, **attrs)
        otherwise, saved_otherwise = kind.forward(np, *map(_otherwise, arrays), **attrs)
        yield "the output", op.value.full, y, otherwise  # type: ignore[union-attr]
        for step in steps:
            if step.incoming is None or not step.gradients:
                continue
            gy = wide(step.incoming.full)
            found = kind.backward(np, saved, gy)
            found_otherwise = kind.backward(np, saved_otherwise, _otherwise(gy))
            for g in step.gradients:
                shape = arrays[g.input].shape
                pair = (_gradient(kind, values, g.input, shape) for values in (found, found_otherwise))
                yield f"the gradient of input {g.input}", g.value.full, *pair  # type: ignore[union-attr]


def _gradient(kind: type[Op], found: Any, place: int, shape: tuple[int, ...]) -> Any:
    g = found[place] if isinstance(found, tuple) else found
    g = whole(g() if callable(g) else g, np)
    return sum_to(g, shape) if g.shape != shape and kind.broadcasts else g


def _off(recorded: Any, reference: Any, otherwise: Any) -> float:
    """How far a value is from the more exact one of two, as a share of what rounding explains.

    What rounding does to this operation is seen from the two precisions; of float64 it is that of float32, scaled.
    """
    reference, otherwise = np.asarray(reference), np.asarray(otherwise)
    if recorded.shape != reference.shape:
        return np.inf
    if not is_floating(recorded.dtype):
        return 0.0 if np.array_equal(recorded, reference) else np.inf
    double = recorded.dtype == np.float64
    with quiet:
        finite = np.isfinite(otherwise) & np.isfinite(reference)
        if not np.array_equal(recorded[~finite], reference[~finite], equal_nan=True):
            return np.inf
        if not finite.any():
            return 0.0
        eps, scale = finfo(recorded.dtype).eps, np.finfo(np.float64).eps / np.finfo(np.float32).eps
        recorded, reference, otherwise = (np.asarray(a, np.float64)[finite] for a in (recorded, reference, otherwise))
        exact = reference if double else otherwise
        rounding = np.abs(reference - otherwise).max() * (scale if double else 1.0)
        return float(np.abs(recorded - exact).max() / (BAND * (rounding + eps * np.abs(exact).max()) or 1.0))


def _otherwise(x: Any) -> Any:
    """The array in float64, or if it is in float64 in float32."""
    if not hasattr(x, "dtype") or not is_floating(x.dtype):
        return x
    return x.astype(np.float32 if x.dtype == np.float64 else np.float64)


def _array(trace: Trace, x: InputRecord) -> Any:
    """The value of an input: an array, a number or None; _UNKNOWN if it is not in the trace."""
    if x.op is not None:
        value = trace.ops[x.op].value if x.output == 0 else None
    elif x.parameter is not None:
        value = trace.parameters[x.parameter].value
    else:
        return x.number
    return _UNKNOWN if value is None or value.full is None else value.full


@functools.cache
def reference_ops() -> dict[str, type[Op]]:
    """The ops by name."""
    for module in pkgutil.iter_modules(ops.__path__):
        importlib.import_module(f"{ops.__name__}.{module.name}")
    found, waiting = {}, [Op]
    while waiting:
        for kind in waiting.pop().__subclasses__():
            waiting.append(kind)
            if kind.__module__.startswith(ops.__name__) and hasattr(kind, "name"):
                found[kind.name] = kind
    return found
