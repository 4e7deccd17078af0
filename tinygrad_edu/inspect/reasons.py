"""Why an operation hands on nothing, or next to nothing, of the gradient that arrives: what its operands say."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..autograd.engine import Leaf, Node, sum_to, whole
from ..autograd.replay import Values
from ..backend.device import quiet
from ..backend.dtypes import finfo, is_floating
from ..ops.attention import Attention
from ..ops.dropout import Dropout
from ..ops.normalization import Softmax
from .names import Names
from .values import all_on_host, on_host


@dataclass(frozen=True)
class Reason:
    """Why: `what` is to be read after the operation's name."""

    cause: str
    what: str
    fix: str
    facts: tuple[str, ...] = ()


@dataclass
class _At:
    """An operation, with all that is known about it."""

    node: Node
    i: int
    """The input whose gradient is asked about."""
    inputs: list[Any]
    y: Any
    gy: Any
    names: Names

    @property
    def x(self) -> Any:
        return self.inputs[self.i]


FLAT = Reason("flat", "has a slope of 0 at these operands", "Look at its operands.")


def reason(node: Node, i: int, values: Values, gy: Any, names: Names) -> Reason:
    """Why the gradient that `node` hands to its input i is zero or tiny."""
    y = values.of(node)
    if y is None or isinstance(gy, tuple):
        return Reason("own_backward", "has a backward of your own that gives zero", "Look at its backward.")
    at = _At(node, i, all_on_host(values.inputs(node)), on_host(y), on_host(gy), names)
    explain = _REASONS.get(node.op.name)
    with np.errstate(all="ignore"):
        found = explain(at) if explain is not None else None
        if found is None:
            found = _underflow(at)
    return found or FLAT


def exact(node: Node, i: int, inputs: list[Any], gy: Any) -> Any:
    """The gradient of input i computed again in float64; None where the op cannot be run so."""
    inputs = all_on_host(inputs)
    wide = [x.astype(np.float64) if hasattr(x, "dtype") and is_floating(x.dtype) else x for x in inputs]
    try:
        with quiet:
            _, saved = node.op.forward(np, *wide, **node.attrs)
            found = node.op.backward(np, saved, on_host(gy).astype(np.float64))
            g = found[i] if isinstance(found, tuple) else found
            g = whole(g() if callable(g) else g, np)
        return sum_to(g, inputs[i].shape) if node.op.broadcasts and g.shape != inputs[i].shape else g
    except (TypeError, ValueError, RuntimeError, AttributeError, IndexError):  # an op that needs the dtype that it had
        return None


def _underflow(at: _At) -> Reason | None:
    g = exact(at.node, at.i, at.inputs, at.gy)
    if g is None or not g.any():
        return None
    largest = float(np.abs(g).max())
    limits = finfo(at.gy.dtype)
    smallest = limits.tiny * limits.eps
    if largest > smallest:
        return None
    return Reason(
        "underflow",
        f"gives gradients up to {largest:.1e}, which {at.gy.dtype} cannot hold: its smallest number is {smallest:.1e}",
        "Compute in float32, or scale the loss up as amp.GradScaler does.",
    )


def _where_it_counts(at: _At) -> Any:
    """The elements at which a gradient arrives."""
    return at.gy != 0


def _part(n: int, of: int, what: str = "inputs") -> str:
    return f"all {of:,} {what}" if n == of else f"{n:,} of {of:,} {what} ({n / max(of, 1):.1%})"


def _range(x: Any) -> str:
    return f"from {float(x.min()):.4g} to {float(x.max()):.4g}" if x.size else "nowhere"


def _relu(at: _At) -> Reason | None:
    x, counts = at.x, _where_it_counts(at)
    dead = x <= 0
    if not dead[counts].all():
        return None
    n = int(dead.sum())
    where = "has only inputs <= 0" if n == x.size else "has only inputs <= 0 where a gradient arrives"
    return Reason(
        "dead_relu", f"{where}, and there its slope is 0",
        "Lower the learning rate, look at the bias before it, initialise again, or use leaky_relu() or gelu(), whose "
        "slope is not 0 there.", (f"{_part(n, x.size)} are <= 0; they go {_range(x)}.",),
    )  # fmt: skip


def _limited(at: _At) -> Reason | None:
    x = at.x
    return Reason(
        "saturated", "has only inputs beyond its limits, where it is constant",
        "Scale its input down, or widen the limits.", (f"Its inputs go {_range(x)}.",),
    )  # fmt: skip


_SLOPES: dict[str, Callable[[Any], Any]] = {
    "sigmoid": lambda x: 0.25 / np.cosh(x / 2) ** 2,
    "tanh": lambda x: 1 / np.cosh(x) ** 2,
    "erf": lambda x: 2 / math.sqrt(math.pi) * np.exp(-x * x),
}


def _saturated(at: _At) -> Reason | None:
    x = at.x.astype(np.float64)
    slope = _SLOPES[at.node.op.name](np.clip(x, -300, 300))
    counts = np.abs(slope[_where_it_counts(at)])
    if not counts.size or counts.mean() > 0.05:
        return None
    beyond = int((slope < 0.05).sum())
    return Reason(
        "saturated", f"is saturated: its mean slope is {counts.mean():.1e}",
        "Make its input smaller: smaller initial weights, normalisation before it, a lower learning rate"
        + ("; for a loss use binary_cross_entropy_with_logits()." if at.node.op.name == "sigmoid" else "."),
        (f"{_part(beyond, x.size)} lie where its slope is below 0.05; they go {_range(x)}.",),
    )  # fmt: skip


def _softmax(at: _At) -> Reason | None:
    axis = at.node.attrs["axis"]
    axes = axis if isinstance(axis, tuple) else (axis,)
    if math.prod(at.x.shape[a] for a in axes if at.x.ndim) == 1:
        where = f"an axis of size 1 (dim {axes[0]} of {tuple(at.x.shape)})" if axes else "one number"
        return Reason(
            "constant", f"runs over {where}, so it gives "
            f"{'1' if at.node.op.name == 'softmax' else '0'} whatever its input is",
            "Give it the dim of the classes.",
        )  # fmt: skip
    p = at.y if at.node.op.name == "softmax" else np.exp(at.y)
    top = p.max(axis=axis)
    spread = at.gy.max(axis=axis) - at.gy.min(axis=axis)
    if at.node.op.name == "softmax" and (spread <= 1e-6 * np.abs(at.gy).max()).all():
        return Reason(
            "constant", "gets the same gradient for all its outputs, and their sum is always 1: the loss does not "
            "depend on its input", "Use the outputs differently: a sum or mean over all of them is constant.",
        )  # fmt: skip
    return _peaked("", top, float(top.min()))


def _peaked(of: str, top: Any, least: float) -> Reason | None:
    certain = int((top > 1 - 1e-6).sum())
    if certain < 0.5 * top.size:
        return None
    return Reason(
        "saturated", f"is saturated: {of}one probability of each row is all but 1, and its slope there is all but 0",
        "Make the scores smaller: divide by sqrt of their dimension, normalise queries and keys, or raise the "
        "temperature.", (f"{_part(certain, top.size, 'rows')} have a probability above 1 - 1e-6; the least certain row "
        f"has {least:.6f}.",),
    )  # fmt: skip


def probabilities(inputs: list[Any], attrs: dict[str, Any]) -> Any:
    """The weights of `scaled_dot_product_attention`, before dropout: (..., L, S)."""
    q, k, _, bias = inputs
    eye = np.broadcast_to(np.eye(k.shape[-2], dtype=q.dtype), (*k.shape[:-2], k.shape[-2], k.shape[-2]))
    with quiet:  # with the identity for v the op gives its weights
        return Attention.forward(np, q, k, eye, bias, **(attrs | {"dropout": None}))[0]


def _attention(at: _At) -> Reason | None:
    if at.i == 2:
        return _zero_operand(at, [0]) or None
    p = probabilities(at.inputs, at.node.attrs)
    rows = p[..., 1:, :] if at.node.attrs.get("is_causal") and p.shape[-2] > 1 else p  # row 0 sees one key
    if p.shape[-1] == 1:
        return Reason("constant", "has one key only, so its weight is always 1", "Give it more than one token.")
    top = rows.max(axis=-1)
    found = _peaked("in each row ", top, float(top.min()))
    return found or _zero_operand(at, [1] if at.i == 0 else [0])


def _zero_operand(at: _At, others: list[int]) -> Reason | None:
    """One of the other operands is all zeros."""
    for j in others:
        other = at.inputs[j]
        parent = at.node.parents[j]
        array = np.asarray(other)
        if array.any():
            continue
        who = at.names.tensor(parent.tensor) if isinstance(parent, Leaf) else ""
        if who:
            return Reason(
                "zero_weights", f"multiplies it by {who}, which is all zeros",
                f"Initialise {who} with small random numbers. If zero is meant, as in a projection that starts at 0, "
                "wait: it gets a gradient itself, and after its first update this one has a gradient too.",
            )  # fmt: skip
        if isinstance(parent, Node):
            return Reason(
                "zero_input", f"multiplies it by the output of {at.names.place(parent)}, which is all zeros",
                "Look at what made it zero, such as a ReLU, a mask or dropout.",
            )  # fmt: skip
        if array.ndim == 0:
            return Reason("times_zero", "multiplies it by the number 0", "Leave out the factor 0.")
        return Reason("masked", "multiplies it by a constant that is all zeros", "Look at the mask, or the data.")
    return None


def _hidden(at: _At, word: str, factors: Any) -> Reason:
    n = int((factors == 0).sum())
    return Reason(
        word, "multiplies it by 0 wherever a gradient arrives",
        "Look at the mask: it hides all that the loss looks at.", (f"{_part(n, factors.size, 'factors')} are 0.",),
    )  # fmt: skip


def _dropout(at: _At) -> Reason | None:
    if at.node.attrs["p"] == 1:
        return Reason("dropout", "drops everything", "Lower the probability p of dropout: at 1 nothing is left.")
    mask = Dropout.forward(np, np.ones_like(at.gy), **at.node.attrs)[0]
    return None if mask[_where_it_counts(at)].any() else _hidden(at, "dropout", mask)


def _mul(at: _At) -> Reason | None:
    found = _zero_operand(at, [1 - at.i])
    if found is not None:
        return found
    other = np.broadcast_to(np.asarray(at.inputs[1 - at.i]), at.gy.shape)
    if not other[_where_it_counts(at)].any():
        return _hidden(at, "masked", other)
    if at.node.parents[1 - at.i] is None:
        size = float(np.abs(other).max())
        if size < 1e-4:
            return Reason("shrunk", f"multiplies it by a constant of at most {size:.1e}", "Leave out the factor.")
    return None


def _matmul(at: _At) -> Reason | None:
    others = [j for j in (0, 1) if j != at.i] if at.i < 2 else []
    found = _zero_operand(at, others)
    if found is not None or not others:
        return found
    other, parent = at.inputs[others[0]], at.node.parents[others[0]]
    rms = math.sqrt(float(np.square(other, dtype=np.float64).mean())) if other.size else 0.0
    if isinstance(parent, Leaf) and rms < 1e-4:
        who = at.names.tensor(parent.tensor)
        return Reason(
            "small_weights", f"multiplies it by {who}, whose root mean square is {rms:.1e}",
            f"Initialise {who} larger: about 1 / sqrt(inputs) keeps the size of what passes.",
        )  # fmt: skip
    return None


def _chosen(at: _At) -> Reason | None:
    """where and masked_fill: the other value was chosen."""
    condition = at.inputs[0] if at.node.op.name == "where" else ~at.inputs[1].astype(bool)
    shown = condition if at.i in (0, 1) else ~condition
    shown = np.broadcast_to(shown, at.gy.shape)
    n = int((~shown).sum())
    where = "everywhere" if n == shown.size else "wherever a gradient arrives"
    return Reason(
        "masked", f"takes the other value {where}", "Look at the mask: it hides all of this that the loss looks at.",
        (f"{_part(n, shown.size, 'places')} are masked.",),
    )  # fmt: skip


def _classes(at: _At) -> Reason | None:
    """cross_entropy and nll_loss."""
    target = at.inputs[1]
    ignored = target == at.node.attrs["ignore_index"]
    if ignored[_where_it_counts(at)].all():
        return Reason(
            "ignored", f"leaves out every target: all {target.size:,} are ignore_index = "
            f"{at.node.attrs['ignore_index']}",
            "Look at the targets: skip a batch without any, or pass another ignore_index.",
        )  # fmt: skip
    if at.node.op.name == "cross_entropy":
        if at.x.shape[1] == 1:
            return Reason("constant", "has one class, whose probability is always 1", "Give it two logits or more.")
        p = Softmax.forward(np, at.x, axis=1)[0]
        certain = p[np.arange(len(target)), np.where(ignored, 0, target)][~ignored]
        if (certain > 1 - 1e-6).mean() > 0.5:
            return Reason(
                "at_minimum", "is at its minimum: every target has a probability of all but 1",
                "There is nothing left to learn from this batch: see whether the target is among the inputs.",
                (f"The least probable target has {float(certain.min()):.6f}.",),
            )  # fmt: skip
    return None


def _step(at: _At) -> Reason | None:
    return Reason(
        "step_function", "is a step function: its slope is 0 everywhere",
        "Put something smooth in its place, or pass the gradient straight through: x + (round(x) - x).detach().",
    )  # fmt: skip


def _at_minimum(at: _At) -> Reason | None:
    """Losses of a difference, and squares: x is zero wherever a gradient arrives."""
    x = at.x - at.inputs[1] if at.node.op.name == "huber_loss" else at.x
    x = np.broadcast_to(x, at.gy.shape) if np.ndim(x) <= at.gy.ndim else x
    if at.node.op.name == "pow":
        power = np.asarray(at.inputs[1])
        if at.i == 0 and power.ndim == 0 and power == 0:
            return Reason("constant", "has the exponent 0, so it gives 1 whatever its input is", "Change it.")
        if at.i == 1:
            return None
    if x.shape == at.gy.shape and not x[_where_it_counts(at)].any():
        return Reason(
            "at_minimum", "has only zeros as its input, where its slope is 0: the loss is at its minimum",
            "Prediction and target are equal: see whether the target is among the inputs, or compared with itself.",
        )  # fmt: skip
    return None


def _spread(at: _At) -> Reason | None:
    """var and std."""
    if np.ptp(at.x):
        return None
    return Reason("at_minimum", "gets equal numbers alone, where its slope is 0", "Look at what made them equal.")


def _square(at: _At) -> Reason | None:
    """x * x is written as mul or pow."""
    if at.node.parents[0] is at.node.parents[1] and not np.asarray(at.inputs[0])[_where_it_counts(at)].any():
        return _at_minimum(at)
    return _mul(at)


def _picked(at: _At) -> Reason | None:
    return Reason(
        "not_chosen", "picks other elements than those that a gradient arrives at",
        "Look at the indices: what the loss looks at does not come from this tensor.",
    )  # fmt: skip


def _overwritten(at: _At) -> Reason | None:
    """Operations that put values in the place of others: input 0 is what was there before."""
    if at.i:
        return _picked(at)
    return Reason(
        "overwritten", "writes other values over it wherever a gradient arrives",
        "Look at the indices: all of it that the loss looks at was replaced.",
    )  # fmt: skip


def _lerp(at: _At) -> Reason | None:
    weight = np.asarray(at.inputs[2])
    if at.i < 2 and (weight == (1, 0)[at.i]).all():
        what = f"has the weight {float(weight.flat[0]):g}, which takes the other end alone"
        return Reason("times_zero", what, "Give it a weight between 0 and 1.")
    return None


def _larger(at: _At) -> Reason | None:
    return Reason(
        "not_chosen", "takes the other operand wherever a gradient arrives",
        "Look at both operands: this one is never the one that is taken.",
        (f"Its operands go {_range(np.asarray(at.inputs[0]))} and {_range(np.asarray(at.inputs[1]))}.",),
    )  # fmt: skip


def _norm(at: _At) -> Reason | None:
    x = at.inputs[0]
    if at.i < 2 and not (np.ptp(x, axis=-1).any() if at.node.op.name == "layer_norm" else x.any()):
        return Reason(
            "constant", "gets rows of equal numbers, which it turns to zeros", "Look at what makes the rows constant."
        )
    if at.i:
        return None
    if at.node.op.name == "layer_norm" and at.node.parents[0] is not None:
        weight = at.inputs[1]
        g = at.gy if weight is None else at.gy * weight
        if (np.ptp(g, axis=-1) <= 1e-5 * np.abs(g).max()).all():
            return Reason(
                "constant", "gets the same gradient for all channels, and the sum of what it normalised is always 0: "
                "the loss does not depend on its input", "Use its outputs differently: their sum or mean is constant.",
            )  # fmt: skip
    weight = at.inputs[1]
    return _zero_operand(at, [1]) if weight is not None else None


_REASONS: dict[str, Callable[[_At], Reason | None]] = {
    "relu": _relu, "hardtanh": _limited, "clamp": _limited,
    "sigmoid": _saturated, "tanh": _saturated, "erf": _saturated,
    "softmax": _softmax, "log_softmax": _softmax, "scaled_dot_product_attention": _attention,
    "mul": _square, "dropout": _dropout, "div": lambda at: None if at.i == 0 else _zero_operand(at, [0]),
    "matmul": _matmul, "linear": _matmul, "einsum": _matmul, "embedding": _picked,
    "where": _chosen, "masked_fill": _chosen, "cross_entropy": _classes, "nll_loss": _classes,
    "sign": _step, "floor": _step, "ceil": _step, "trunc": _step, "round": _step,
    "floor_divide": _step, "trunc_divide": _step,
    "pow": _at_minimum, "huber_loss": _at_minimum, "abs": _at_minimum, "norm": _at_minimum,
    "var": _spread, "std": _spread,
    "index": _picked, "gather": _picked, "slice": _picked, "tril": _picked, "triu": _picked,
    "maximum": _larger, "minimum": _larger,
    "index_put": _overwritten, "slice_scatter": _overwritten, "scatter": _overwritten, "lerp": _lerp,
    "copysign": lambda at: _step(at) if at.i else None,
    "layer_norm": _norm, "rms_norm": _norm,
}  # fmt: skip
