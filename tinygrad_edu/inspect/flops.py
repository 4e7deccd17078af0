"""How many floating-point operations an op takes, forwards and backwards, by formulas on its shapes.

Products of matrices are counted exactly, a multiplication and an addition each as one. Elementwise functions count one
per element of the output, whatever it costs to find an exponential; reductions one per element of the input; softmax
and the norms as many as their formulas have steps. Moving, joining and indexing elements counts nothing, adding them up
again one each. Backward counts only the gradients that are wanted. Masked attention counts as a whole, as the reference
computes it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

Shape = Sequence[int]
Shapes = Sequence[Shape | None]  # None for an input that is absent or a number
Wanted = Sequence[bool]  # which inputs' gradients backward computes
Counts = tuple[int, int]


def flops(name: str, inputs: Shapes, output: Shape, attrs: dict[str, Any], wanted: Wanted) -> Counts | None:
    """The operations of the op's forward, and of its backward. None: no formula is known."""
    size, read = math.prod(output), max((math.prod(s) for s in inputs if s is not None), default=0)
    if name in _PRODUCTS:
        return _PRODUCTS[name](inputs, output, attrs, wanted)
    if name in _MOVING:
        return 0, 0
    if name in _ADDED_BACK:
        return 0, size
    if name in _ADDED_IN:
        return read, 0
    if name in _STEPS_PER_INPUT:
        forward, backward = _STEPS_PER_INPUT[name]
        return forward * read, backward * read
    if name in _STEPS_PER_OUTPUT:
        forward, backward = _STEPS_PER_OUTPUT[name]
        return forward * size, backward * size
    if name in _ELEMENTWISE:
        summed = sum(w and s is not None and math.prod(s) < size for s, w in zip(inputs, wanted, strict=True))
        passed_on = name in ("add", "sub", "cast", "clone")
        return size, size * (summed + (0 if passed_on else sum(wanted)))
    return None


def _linear(inputs: Shapes, output: Shape, attrs: dict[str, Any], wanted: Wanted) -> Counts:
    x, weight, bias = inputs
    assert x is not None and weight is not None
    product, rows = 2 * math.prod(x) * weight[0], math.prod(output)
    forward = product + (rows if bias is not None else 0)
    return forward, product * sum(wanted[:2]) + (rows if bias is not None and wanted[2] else 0)


def _matmul(inputs: Shapes, output: Shape, attrs: dict[str, Any], wanted: Wanted) -> Counts:
    a = inputs[0]
    assert a is not None
    product = 2 * math.prod(output) * a[-1]
    return product, product * sum(wanted)


def _einsum(inputs: Shapes, output: Shape, attrs: dict[str, Any], wanted: Wanted) -> Counts:
    letters = attrs["subscripts"].split("->")[0].split(",")
    sizes = {c: n for word, shape in zip(letters, inputs, strict=True) for c, n in zip(word, shape or (), strict=False)}
    product = len(inputs) * math.prod(sizes.values())
    return product, product * sum(wanted)


def _attention(inputs: Shapes, output: Shape, attrs: dict[str, Any], wanted: Wanted) -> Counts:
    query, key, value = inputs[:3]
    assert query is not None and key is not None and value is not None
    batch = math.prod(output[:-2])
    weights = batch * query[-2] * key[-2]
    scores, mix = 2 * weights * query[-1], 2 * weights * value[-1]
    softmax = 6 * weights  # with the scale
    return scores + mix + softmax, mix * (1 + wanted[2]) + scores * sum(wanted[:2]) + 5 * weights


def _convolution(inputs: Shapes, output: Shape, attrs: dict[str, Any], wanted: Wanted) -> Counts:
    x, weight = inputs[:2]
    assert x is not None and weight is not None
    product = 2 * math.prod(output) * math.prod(weight[1:])
    return product, product * sum(wanted[:2])


def _transposed(inputs: Shapes, output: Shape, attrs: dict[str, Any], wanted: Wanted) -> Counts:
    x, weight = inputs[:2]
    assert x is not None and weight is not None
    product = 2 * math.prod(x) * math.prod(weight[1:])
    return product, product * sum(wanted[:2])


_PRODUCTS: dict[str, Callable[[Shapes, Shape, dict[str, Any], Wanted], Counts]] = {
    "linear": _linear,
    "matmul": _matmul,
    "einsum": _einsum,
    "scaled_dot_product_attention": _attention,
    "convolution": _convolution,
    "convolution_transposed": _transposed,
}
_MOVING = frozenset(
    "reshape permute slice slice_scatter cat contiguous pad flip roll tril triu diagonal diag_embed index_put scatter "
    "masked_fill clone cast to_device median".split()
)
_ADDED_BACK = frozenset(
    "expand index gather embedding unfold windows".split()
)  # backward adds up what forward repeated
_ADDED_IN = frozenset("index_add scatter_add scatter_multiply add_windows".split())
_STEPS_PER_INPUT = {
    "sum": (1, 0), "mean": (1, 1), "prod": (1, 2), "amax": (1, 1), "amin": (1, 1), "argmax": (1, 0), "argmin": (1, 0),
    "any": (1, 0), "all": (1, 0), "var": (4, 2), "std": (4, 2), "norm": (2, 1), "logsumexp": (4, 2),
    "argmedian": (1, 0), "max_pool_index": (1, 0), "cross_entropy": (4, 2), "nll_loss": (0, 0),
}  # fmt: skip
_STEPS_PER_OUTPUT = {
    "softmax": (5, 4), "log_softmax": (5, 4), "layer_norm": (7, 12), "rms_norm": (4, 9), "cumsum": (1, 1),
    "cumprod": (1, 3), "lstm_state": (6, 14), "lstm_hidden": (3, 6), "gru_state": (8, 16),
}  # fmt: skip
_ELEMENTWISE = frozenset(
    "add sub mul div remainder fmod neg abs lerp pow integer_pow sqrt rsqrt exp exp2 expm1 log log1p log2 "
    "log10 sin cos tan asin acos atan atan2 sinh cosh sign floor ceil trunc round floor_divide trunc_divide "
    "clamp maximum minimum where eq ne lt le gt ge isnan isinf isfinite logical_and logical_or logical_xor "
    "logical_not bitwise_and bitwise_or bitwise_xor bitwise_not relu leaky_relu elu hardtanh sigmoid "
    "logsigmoid softplus tanh silu gelu gelu_tanh erf erfc acosh asinh atanh hypot logaddexp logaddexp2 xlogy "
    "copysign heaviside nextafter gcd lcm bitwise_left_shift bitwise_right_shift dropout huber_loss "
    "binary_cross_entropy binary_cross_entropy_with_logits kl_div".split()
)
