"""What rounding is relative to: how large a result would be if nothing in it cancelled out.

The rounding of a sum is that of its terms, however little they leave: where a gradient of attention is a difference of
nearly equal numbers, few of its digits mean anything. Sizes here are root mean squares, estimated from the statistics
that a trace keeps and the formulas of the operations; an estimate too small would take rounding for a difference.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from .record import BackwardRecord, GradientRecord, OpRecord, ValueRecord
from .trace import Trace

_PRODUCTS = ("linear", "matmul", "einsum", "convolution", "convolution_transposed")
_STEEP = ("exp", "exp2", "sinh", "cosh", "sin", "cos", "tan", "softmax", "cumprod")  # f(x (1 + e)) is f(x) (1 + x e)
_FLAT = ("log", "log2", "log10", "log_softmax", "logsumexp", "cross_entropy")  # f(x (1 + e)) is f(x) + e, or f(x) + x e


def size(value: ValueRecord | None) -> float:
    """The root mean square of the finite elements."""
    finite = 0 if value is None else value.size - value.nans - value.infs
    return (value.norm or 0.0) / math.sqrt(finite) if value is not None and finite else 0.0


def terms_of_output(op: OpRecord) -> float:
    """How many terms make one element of the output."""
    return max(1.0, (op.flops or 0) / max(1, math.prod(op.shape)))


def terms_of_gradient(op: OpRecord, step: BackwardRecord, gradient: GradientRecord) -> float:
    """How many terms make one element of what backward hands to an input."""
    elements = max(1, math.prod(op.inputs[gradient.input].shape))
    return max(1.0, (step.flops or 0) / elements, math.prod(op.shape) / elements)


def of_output(trace: Trace, op: OpRecord) -> float:
    """The size of the output of an operation, if nothing cancelled out."""
    out = size(op.value)
    inputs = [_input(trace, op, i) for i in range(len(op.inputs))]
    sizes = [_size_of(trace, op, i) for i in range(len(op.inputs))]
    first = inputs[0] if inputs else None
    if op.name in _PRODUCTS:
        product = math.sqrt(terms_of_output(op) / 2) * math.prod(sizes[: len(inputs) if op.name == "einsum" else 2])
        return max(out, product, *sizes[2:])
    if op.name == "scaled_dot_product_attention":
        return max(out, sizes[2])
    if op.name in ("layer_norm", "rms_norm") and first is not None and first.std:
        return out * max(1.0, sizes[0] / first.std)
    if op.name in _STEEP:
        return out * max(1.0, _largest(first))
    if op.name in _FLAT:
        return max(out, 1.0, _largest(first))
    if op.name in ("var", "std"):
        return max(out, sizes[0] if op.name == "std" else sizes[0] ** 2)
    return max(out, *sizes) if op.name in ("add", "sub", "sum", "mean", "cumsum", "lerp", "index_add") else out


def of_gradient(trace: Trace, op: OpRecord, step: BackwardRecord, gradient: GradientRecord) -> float:
    """The size of what backward hands to an input, if nothing cancelled out."""
    i, coming = gradient.input, size(step.incoming)
    rule = _GRADIENTS.get(op.name)
    if rule is not None:
        coming *= rule(trace, op, i)
    elements = max(1, math.prod(op.inputs[i].shape))
    if op.name in _PRODUCTS:
        others = [_size_of(trace, op, j) for j in range(len(op.inputs)) if j != i and (j < 2 or op.name == "einsum")]
        coming *= math.sqrt(terms_of_gradient(op, step, gradient) / 2) * (math.prod(others) if i < 2 else 1.0)
    elif math.prod(op.shape) > elements:  # summed over what broadcasting had repeated, or gathered many times
        coming *= math.sqrt(math.prod(op.shape) / elements)
        if op.name in ("mul", "div"):
            coming *= _size_of(trace, op, 1 - i) if op.name == "mul" or i else 1.0
    elif rule is None:
        return size(gradient.value)
    return max(size(gradient.value), coming)


def _attention(trace: Trace, op: OpRecord, i: int) -> float:
    """Of queries and keys: scale · P (gy·v - their mean) times the other."""
    if i > 1:
        return 1.0
    scale = op.attrs.get("scale") or 1 / math.sqrt(op.inputs[0].shape[-1])
    return abs(scale) * math.sqrt(op.shape[-1]) * _size_of(trace, op, 2) * _size_of(trace, op, 1 - i)


def _norm(trace: Trace, op: OpRecord, i: int) -> float:
    """Of the input: (gy w - their mean - ...) / std."""
    x = _input(trace, op, 0)
    return (_size_of(trace, op, 1) or 1.0) / x.std if i == 0 and x is not None and x.std else 1.0


# The size of a gradient per size of the one that comes in, where subtractions make it small.
_GRADIENTS: dict[str, Callable[[Trace, OpRecord, int], float]] = {
    "scaled_dot_product_attention": _attention,
    "softmax": lambda trace, op, i: size(op.value),
    "log_softmax": lambda trace, op, i: 1.0,
    "cross_entropy": lambda trace, op, i: 1 / math.sqrt(max(1, op.inputs[0].shape[-1])),
    "layer_norm": _norm,
    "rms_norm": _norm,
    "var": lambda trace, op, i: _size_of(trace, op, 0) * math.prod(op.shape) / max(1, math.prod(op.inputs[0].shape)),
}


def _input(trace: Trace, op: OpRecord, i: int) -> ValueRecord | None:
    x = op.inputs[i]
    if x.op is not None:
        return trace.ops[x.op].value
    return None if x.parameter is None else trace.parameters[x.parameter].value


def _size_of(trace: Trace, op: OpRecord, i: int) -> float:
    if i >= len(op.inputs):
        return 0.0
    number = op.inputs[i].number
    return size(_input(trace, op, i)) if number is None else abs(float(number))


def _largest(value: ValueRecord | None) -> float:
    return 0.0 if value is None else max(abs(value.min or 0.0), abs(value.max or 0.0))
