"""Where a NaN or an infinity comes from: the operation that made it from finite numbers, and what its operands were.

`detect_anomaly` stops a backward pass at the first gradient that is NaN, and names that operation.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from ..backend.dtypes import finfo, is_floating
from .engine import Leaf, Node
from .function import FunctionCall, FunctionOutput
from .modes import observe, state
from .replay import Values


@dataclass(frozen=True)
class Origin:
    """Where the first NaN or infinity of a computation comes from."""

    kind: str
    """"forward": an operation made it; "data": an input held it; "backward": the derivative of an operation did."""
    node: Node
    """The operation that made it, or the first that used what held it."""
    what: str
    """What it did, to be read after the operation's name."""
    fix: str
    input: int | None = None
    """Which input held it, or was differentiated."""
    source: Node | None = None
    """The operation that put infinities in which met in this one, such as a mask."""
    then: Node | None = None
    """The operation that made NaN of the infinities of this one."""

    def __str__(self) -> str:
        source = f" (the infinities come from {_placed(self.source)})" if self.source else ""
        then = f" ({_placed(self.then)} made NaN of it)" if self.then else ""
        return f"{_placed(self.node)} {self.what}{source}{then}. {self.fix}"


def _placed(node: Node) -> str:
    return f"{node.op.name} at {node.location}"


class _NanObserver:
    infinite = ""  # where the first infinite gradient of this pass came from

    def walking(self, roots: list[Node | Leaf]) -> None:
        self.infinite = ""

    def propagated(self, node: Node, gy: Any, gradients: list[Any]) -> None:
        for i, g in enumerate(gradients):
            if hasattr(g, "dtype") and has_nan(g):
                cause = self.infinite or _cause(node, gy, i)
                raise RuntimeError(
                    f"{node.name()} returned nan values as the gradient of input {i}; the forward operation is "
                    f"{_placed(node)}. {cause}"
                )
            if hasattr(g, "dtype") and not self.infinite and has_infinity(g):
                self.infinite = _cause(node, gy, i)  # now, for its values will be gone


def _cause(node: Node, gy: Any, i: int) -> str:
    """Why this node's gradient for input i is not finite, in words."""
    try:
        found = find_origin(node, Values([node]), gy, i)
    except RuntimeError as error:  # the values are not there any more
        return f"The cause cannot be looked up: {error}"
    return f"The cause: {found}" if found else "Its operands are finite, its incoming gradient is not"


class detect_anomaly(observe):
    """Within it, RuntimeError when a gradient is NaN: it names the operation, and the forward value at fault.

    Every gradient is scanned, so use it to find a fault, not while training. check_nan=False looks for no NaN; that
    errors name the line of the forward operation needs no mode here.
    """

    def __init__(self, check_nan: bool = True) -> None:
        super().__init__(_NanObserver() if check_nan else None)


class set_detect_anomaly:
    """Detect anomalies from here on (mode=True) or no longer, in this thread; as a context manager, within it alone.

    check_nan: see `detect_anomaly`.
    """

    def __init__(self, mode: bool, check_nan: bool = True) -> None:
        self._outside = state.observers
        others = tuple(o for o in state.observers if not isinstance(o, _NanObserver))
        state.observers = (*others, _NanObserver()) if mode and check_nan else others

    def __enter__(self) -> None: ...

    def __exit__(self, *exc: object) -> None:
        state.observers = self._outside


# ---- finding it ------------------------------------------------------------------------------------------------------


def has_nan(x: Any) -> bool:
    """Whether an array or a number holds a NaN."""
    if hasattr(x, "dtype"):
        return is_floating(x.dtype) and bool((x != x).any())
    return x != x


def has_infinity(x: Any) -> bool:
    """Whether an array or a number holds an infinity."""
    if hasattr(x, "dtype"):
        return is_floating(x.dtype) and bool((abs(x) == math.inf).any())
    return isinstance(x, float) and math.isinf(x)


def is_finite(x: Any) -> bool:
    """Whether an array or a number holds neither."""
    return not has_nan(x) and not has_infinity(x)


def find_origin(node: Node, values: Values, gy: Any, i: int) -> Origin | None:
    """Why this node's gradient for input i is not finite; None if the values do not tell."""
    found = first_nonfinite(values)
    if found is None and all(map(is_finite, gy if isinstance(gy, tuple) else (gy,))):
        found = _of_derivative(node, values.inputs(node), gy, i)
    return found


def first_nonfinite(values: Values) -> Origin | None:
    """The origin of the first NaN among the values, or if there is none of the first infinity.

    An infinity that stands in a constant, such as the -inf of a mask, is meant, and so is what follows from it, as long
    as it gives no NaN.
    """
    known = [(node, values.of(node), values.inputs(node)) for node in values.nodes if values.of(node) is not None]
    for node, y, inputs in known:
        if has_nan(y):
            return _held(node, inputs, has_nan) or _made(node, inputs, y, values)
    for node, y, inputs in known:
        if has_infinity(y):
            if not any(map(has_infinity, inputs)):
                return _made(node, inputs, y, values)
            if found := _held(node, _learned(node, inputs), has_infinity):
                return found
    return None


def _learned(node: Node, inputs: list[Any]) -> list[Any]:
    """The inputs that are leaves, None in the places of the others: an infinity in these is never meant."""
    return [x if isinstance(p, Leaf) else None for p, x in zip(node.parents, inputs, strict=False)]


def _held(node: Node, inputs: list[Any], bad: Callable[[Any], bool]) -> Origin | None:
    """The origin if an input from outside has it already: whatever is older than this node has not."""
    for i, x in enumerate(inputs):
        if bad(x):
            what = f"got {_count(x)} from outside, as its input {i}"
            return Origin("data", node, what, "Look at where that was made: an earlier step, or the data.", i)
    return None


def _source(node: Node, values: Values) -> Node | None:
    """Where the infinities among a node's inputs come from: what made them, or put them in as a constant."""
    found = None
    while True:
        inputs = zip(node.parents, values.inputs(node), strict=False)
        step = next((p for p, x in inputs if isinstance(p, Node) and has_infinity(x)), None)
        if step is None:
            return found
        node = found = step


# ---- and saying it ---------------------------------------------------------------------------------------------------

Words = tuple[str, str]  # what happened, and the fix


def _made(node: Node, inputs: list[Any], y: Any, values: Values) -> Origin:
    """How an operation made a NaN or an infinity from inputs that had none of the kind."""
    bad = (y != y) if has_nan(y) else (abs(y) == math.inf)
    explain = _FORWARD.get(node.op.name)
    found = explain(node, inputs, y) if explain is not None else None
    infinite = any(map(has_infinity, inputs))
    if isinstance(node.op, FunctionOutput):
        found = "its forward is your own", "Look at the forward of this Function."
    elif found is None and infinite:
        found = "infinities met in it, and inf - inf and 0 * inf have no value", "Keep the values before it finite."
    elif found is None and not has_nan(y):
        largest = max(map(_largest, inputs))
        found = (
            f"it overflowed, for its operands reach {largest:.4g} and {y.dtype} ends at {_limit(y.dtype):.4g}",
            "Scale the values down before it" + (", or compute in float32." if y.dtype.itemsize == 2 else "."),
        )
    what, fix = found or ("it is not defined for these operands", "Look at its operands.")
    operands = _operands(node.xp, inputs, y, bad) if node.op.broadcasts or len(inputs) == 1 else ""
    where = f" at {_index(bad)}" if y.ndim else ""
    source = _source(node, values) if infinite else None
    if source is not None:
        before = values.inputs(source)
        if held := _held(source, _learned(source, before), has_infinity):
            return held
        if not any(map(has_infinity, before)):
            return replace(_made(source, before, values.of(source), values), then=node)
    return Origin("forward", node, f"made {_count(y)}, first{where}{operands}: {what}", fix, source=source)


def _of_derivative(node: Node, inputs: list[Any], gy: Any, i: int) -> Origin:
    """How a backward made a NaN or an infinity from finite values and a finite gradient."""
    explain = _BACKWARD.get(node.op.name)
    found = explain(inputs, i) if explain is not None else None
    if isinstance(node.op, FunctionCall):
        found = "its backward is your own", "Look at the backward of this Function."
    what, fix = found or (
        f"it overflowed, for the incoming gradient reaches {_largest(gy):.4g}, "
        f"an operand {max(map(_largest, inputs)):.4g}",
        "Scale the loss or the values down" + (", or compute in float32." if gy.dtype.itemsize == 2 else "."),
    )
    return Origin("backward", node, f"has no finite gradient there: {what}", fix, i)


def _largest(x: Any) -> float:
    """The largest magnitude among the finite values."""
    if not hasattr(x, "dtype"):
        return abs(x) if x is not None and math.isfinite(x) else 0.0
    size = abs(x[(x == x) & (abs(x) != math.inf)] if is_floating(x.dtype) else x)
    return float(size.max()) if size.size else 0.0


def _limit(dtype: Any) -> float:
    return finfo(dtype).max


def _count(x: Any) -> str:
    """How many NaNs or infinities there are: "3 NaN of 12 values"."""
    if not hasattr(x, "dtype"):
        return "NaN" if x != x else f"{x}"
    n = int((x != x).sum())
    if n:
        what = "NaN"
    else:
        n, below = int((abs(x) == math.inf).sum()), int((x == -math.inf).sum())
        what = "-inf" if below == n else "inf" if not below else "inf and -inf"
    return what if x.size == 1 else f"{n:,} {what} among {x.size:,} values"


def _index(bad: Any) -> str:
    """Where the first one is: "[2, 0]"."""
    flat = int(bad.reshape(-1).argmax())
    place = []
    for n in reversed(bad.shape):
        flat, k = divmod(flat, n)
        place.append(k)
    return str(place[::-1])


def _operands(xp: Any, inputs: list[Any], y: Any, bad: Any) -> str:
    """The operands there: " from 0.0 and 0.0"; nothing if elements do not belong to each other."""
    flat, found = int(bad.reshape(-1).argmax()), []
    for x in inputs:
        if x is None:
            continue
        if hasattr(x, "shape"):
            try:
                x = xp.broadcast_to(x, y.shape).reshape(-1)[flat].item()
            except ValueError:
                return ""
        found.append(f"{x:.5g}" if isinstance(x, float) else str(x))
    return f" from {' and '.join(found)}" if found else ""


def _zeros(x: Any) -> str:
    """How many elements are 0."""
    return "" if x.size == 1 else f" ({int((x == 0).sum()):,} of {x.size:,} inputs are 0)"


def _log(node: Node, inputs: list[Any], y: Any) -> Words | None:
    x = inputs[0] + 1 if node.op.name == "log1p" else inputs[0]
    if bool((x < 0).any()):
        return (
            f"the logarithm of a negative number has no value (the smallest is {float(x.min()):.4g})",
            "Give it positive numbers: take abs() or softplus() first, or clamp(min=1e-12).",
        )
    if bool((x == 0).any()):
        return (
            f"the logarithm of 0 is -inf{_zeros(x)}",
            "Keep 0 out: clamp(min=1e-12) first; for probabilities use log_softmax() or logsigmoid(), which never "
            "reach 0.",
        )
    return None


def _xlogy(node: Node, inputs: list[Any], y: Any) -> Words | None:
    return _log(node, inputs[1:], y) if hasattr(inputs[1], "dtype") else None


def _div(node: Node, inputs: list[Any], y: Any) -> Words | None:
    a, b = (node.xp.asarray(x) for x in inputs)
    if not bool((b == 0).any()):
        return None
    both = bool(((a == 0) & (b == 0)).any())
    what = "0 / 0 has no value" if both else "a division by 0"
    fix = "Keep the divisor away from 0: add a small eps to it."
    if b.ndim == 0 and not hasattr(inputs[1], "dtype"):
        what += "; a mean over nothing divides by 0"
        fix = "Leave out what is empty: if every target is ignore_index, skip the batch."
    return what, fix


def _sqrt(node: Node, inputs: list[Any], y: Any) -> Words | None:
    x = inputs[0]
    if bool((x < 0).any()):
        return (
            f"the square root of a negative number has no value (the smallest is {float(x.min()):.4g})",
            "Keep it from below 0: clamp(min=0), or var() in the place of mean(x^2) - mean(x)^2.",
        )
    if node.op.name == "rsqrt":
        return f"1 / sqrt(0) is inf{_zeros(x)}", "Add a small eps under the root."
    return None


def _pow(node: Node, inputs: list[Any], y: Any) -> Words | None:
    a, b = (node.xp.asarray(x) for x in inputs)
    if bool(((a < 0) & (b != node.xp.floor(b))).any()):
        return (
            "a negative number to a power that is no whole number has no value",
            "Take abs() of the base first, or use a whole number.",
        )
    if bool(((a == 0) & (b < 0)).any()):
        return "0 to a negative power is inf", "Keep the base away from 0: add a small eps to it."
    return None


def _exp(node: Node, inputs: list[Any], y: Any) -> Words | None:
    limit = _limit(y.dtype)
    ends = {"exp2": math.log2(limit)}.get(node.op.name, math.log(limit))
    return (
        f"it overflowed: the largest input is {_largest(inputs[0]):.4g}, and in {y.dtype} it overflows above "
        f"{ends:.4g}",
        "Subtract the largest value first; softmax(), logsumexp() and cross_entropy() do that for you.",
    )


def _domain(inside: str) -> Callable[..., Words | None]:
    def explain(node: Node, inputs: list[Any], y: Any) -> Words | None:
        x = inputs[0]
        return (
            f"it is finite only for {inside}, and inputs go from {float(x.min()):.4g} to {float(x.max()):.4g}",
            "Bring its input into that range first, with clamp().",
        )

    return explain


def _softmax(node: Node, inputs: list[Any], y: Any) -> Words | None:
    x, axis = inputs[0], node.attrs["axis"]
    if bool((x == math.inf).any()):
        return "a score of +inf gives inf - inf", "Look at where the scores are made: they must be finite or -inf."
    hidden = (x == -math.inf).all(axis=axis)
    n = int(hidden.sum())
    if n and node.op.name == "log_softmax" and not has_nan(y):
        return None
    if n:
        return (
            f"{n:,} of {hidden.size:,} rows hold -inf alone: everything in them is masked",
            "Leave one place of every row unmasked, or use scaled_dot_product_attention(), which gives such rows 0.",
        )
    return None


def _cast(node: Node, inputs: list[Any], y: Any) -> Words | None:
    return (
        f"the number does not fit: values reach {_largest(inputs[0]):.6g}, and {y.dtype} ends at {_limit(y.dtype):.6g}",
        "Keep it in float32, or scale it down first (a GradScaler does so for the loss).",
    )


def _spread(node: Node, inputs: list[Any], y: Any) -> Words | None:
    return (
        "it divides by the number of values less the correction, which is 0",
        "Give it more than one value along the axis, or correction=0.",
    )


def _mean(node: Node, inputs: list[Any], y: Any) -> Words | None:
    if inputs[0].size:
        return None
    return "the mean of no values is 0 / 0", "Leave out what is empty."


_FORWARD: dict[str, Callable[..., Words | None]] = {
    "log": _log, "log2": _log, "log10": _log, "log1p": _log, "xlogy": _xlogy,
    "div": _div, "sqrt": _sqrt, "rsqrt": _sqrt, "pow": _pow,
    "exp": _exp, "exp2": _exp, "expm1": _exp, "sinh": _exp, "cosh": _exp,
    "asin": _domain("-1 <= x <= 1"), "acos": _domain("-1 <= x <= 1"), "atanh": _domain("-1 < x < 1"),
    "acosh": _domain("x >= 1"),
    "softmax": _softmax, "log_softmax": _softmax, "cast": _cast, "var": _spread, "std": _spread, "mean": _mean,
}  # fmt: skip


def _at_zero(words: str, fix: str) -> Callable[..., Words | None]:
    def explain(inputs: list[Any], i: int) -> Words | None:
        return (words + _zeros(inputs[0]), fix) if bool((inputs[0] == 0).any()) else None

    return explain


def _of_log(inputs: list[Any], i: int) -> Words | None:
    return _at_zero("1 / x is infinite at 0", "Keep 0 out: clamp(min=1e-12) first.")(inputs, i)


def _of_div(inputs: list[Any], i: int) -> Words | None:
    b = inputs[1]
    least = float(abs(b).min())
    return (
        f"it divides by the {'divisor' if i == 0 else 'square of the divisor'}, of which the smallest is {least:.4g}",
        "Keep the divisor away from 0: add a small eps to it.",
    )


def _of_pow(inputs: list[Any], i: int) -> Words | None:
    a, b = inputs
    if i == 0 and bool((a == 0).any()):
        power = b if not hasattr(b, "dtype") else float(b.min())
        return (
            f"x^{power:g} has an infinite slope at 0",
            "Keep the base away from 0: add a small eps to it.",
        )
    return None


def _of_arc(inputs: list[Any], i: int) -> Words | None:
    if bool((abs(inputs[0]) == 1).any()):
        return "its slope is infinite at -1 and 1", "Keep its input inside: clamp(-1 + 1e-6, 1 - 1e-6)."
    return None


_EPS = "Add a small eps under the root: sqrt(x + 1e-12)."
_BACKWARD: dict[str, Callable[..., Words | None]] = {
    "sqrt": _at_zero("1 / (2 sqrt(x)) is infinite at 0", _EPS),
    "rsqrt": _at_zero("its slope is infinite at 0", _EPS),
    "log": _of_log, "log2": _of_log, "log10": _of_log, "div": _of_div, "pow": _of_pow,
    "asin": _of_arc, "acos": _of_arc, "atanh": _of_arc,
}  # fmt: skip
