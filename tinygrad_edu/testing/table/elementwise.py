"""Records of functional/elementwise.py."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..records import Constant, ErrorSample, OpRecord, Sample

Rng = np.random.Generator
EXTREMES = np.array([0.0, -0.0, np.inf, -np.inf, np.nan, 1e30, -1e30, 1e-30, 60.0, -60.0])
INTEGERS = np.array([[3, -2, 0], [7, 1, -5]])
MASK = np.array([[True, False, True], [False, False, True]])
WEIRD = np.array([np.nan, np.inf, -np.inf, 1.5, 0.0])


def layouts(make: Callable[[tuple[int, ...]], Any]) -> list[Any]:
    """Arrays of every layout: ordinary, 0-d, empty, of size 1, transposed, strided, reversed."""
    return [
        make((3, 4)),
        make(()),
        make((0, 3)),
        make((1, 1)),
        make((4, 3)).T,
        make((6, 2))[::2],
        make((5,))[::-1],
    ]


def unary(
    low: float = -3.0,
    high: float = 3.0,
    *,
    extremes: bool = True,
    booleans: bool = True,
    more: tuple[Sample, ...] = (),
) -> Callable[[Rng], list[Sample]]:
    """Samples of a function of one tensor, whose interesting arguments lie between low and high."""

    def samples(rng: Rng) -> list[Sample]:
        found = [Sample(x) for x in layouts(lambda shape: np.asarray(rng.uniform(low, high, shape)))]
        found += [Sample(rng.uniform(low, high, 20).astype(np.float16))]
        found += [Sample(EXTREMES)] if extremes else []
        found += [Sample(INTEGERS), Sample(np.array([1, 2], np.uint8))]
        found += [Sample(MASK)] if booleans else []
        return found + list(more)

    return samples


def pairs(
    low: float = 0.5,
    high: float = 3.0,
    *,
    signs: bool = True,
    numbers: bool = True,
    booleans: bool = True,
    more: tuple[Sample, ...] = (),
) -> Callable[[Rng], list[Sample]]:
    """Samples of a function of two tensors, or of a tensor and a number, with absolute values from low to high."""

    def samples(rng: Rng) -> list[Sample]:
        def make(*shape: int) -> Any:
            return np.asarray(rng.uniform(low, high, shape) * (rng.choice([-1, 1], shape) if signs else 1))

        x = make(3, 3)
        found = [
            Sample(make(3, 4), make(3, 4)),
            Sample(make(2, 1, 4), make(3, 1)),
            Sample(make(4), make(3, 4)),
            Sample(make(), make(2, 3)),
            Sample(make(), make()),
            Sample(make(0, 3), make(1, 3)),
            Sample(make(1, 1), make(3)),
            Sample(make(4, 3).T, make(6, 4)[::2]),
            Sample(x, x),
            Sample(make(3).astype(np.float32), make(3)),
            Sample(make(3).astype(np.float32), make()),
        ]
        if numbers:
            found += [Sample(make(2, 3), 2.5), Sample(make(2, 3), 2), Sample(make(), 1.5)]
        found += [
            Sample(INTEGERS, np.array([[2, -3, 5]])),
            Sample(np.array([7, 100], np.uint8), np.array([2, 3], np.uint8)),
            Sample(np.array([7, 100], np.int8), np.array([2, -3])),
            Sample(INTEGERS, make(3)),
            Sample(INTEGERS, make(3).astype(np.float16)),
            *([Sample(INTEGERS, 2), Sample(INTEGERS, 2.5)] if numbers else []),
        ]
        if booleans:
            found += [Sample(MASK, np.array([True, True, True])), Sample(MASK, INTEGERS), Sample(MASK, make(3))]
        return found + list(more)

    return samples


def _does_not_broadcast(rng: Rng) -> list[ErrorSample]:
    return [
        ErrorSample(np.ones((2, 3)), np.ones((2, 4)), error=RuntimeError, match=r"size of tensor a \(3\) must match"),
        ErrorSample(np.ones(3), "a", error=TypeError, match="str"),
    ]


def _not_a_tensor(rng: Rng) -> list[ErrorSample]:
    return [ErrorSample([1.0], error=TypeError, match="must be Tensor, not list")]


def _division_by_zero(rng: Rng) -> list[ErrorSample]:
    zero = np.array([1, 0, 2])
    return [
        ErrorSample(INTEGERS, 0, error=RuntimeError, match="ZeroDivisionError"),
        ErrorSample(INTEGERS, zero, error=RuntimeError, match="ZeroDivisionError"),
        *_does_not_broadcast(rng),
    ]


def _of_zero(rng: Rng) -> list[Sample]:
    """Divisions of and by 0, infinity and NaN."""
    return [Sample(WEIRD[:, None], WEIRD), Sample(WEIRD, 0.0), Sample(WEIRD, -2.0)]


def _divisions(rng: Rng) -> list[Sample]:
    found = pairs(booleans=False)(rng) + _of_zero(rng)
    return found + [Sample(np.array([7, -7, 7, -7]), np.array([2, 2, -2, -2])), Sample(np.array([-7.5, 7.5]), 2)]


def _refuses_booleans(rng: Rng) -> list[ErrorSample]:
    return [ErrorSample(MASK, error=RuntimeError, match="bool"), *_not_a_tensor(rng)]


def _add_samples(rng: Rng) -> list[Sample]:
    x, y = rng.standard_normal((2, 3)), rng.standard_normal(3)
    with_alpha = [Sample(x, y, alpha=2.5), Sample(x, 3, alpha=-2), Sample(INTEGERS, INTEGERS, alpha=3)]
    return [*pairs(booleans=False)(rng), *with_alpha, Sample(WEIRD[:, None], WEIRD)]


def _in_place_samples(rng: Rng) -> list[Sample]:
    x = rng.standard_normal((2, 3))
    others = (rng.uniform(1, 2, 3), np.asarray(1.5), 2.5, 2, x[0] + 3, np.array([1, 2, 3], np.float32))
    return [Sample(x, other) for other in others] + [Sample(x.T, x.T), Sample(np.asarray(1.0), 2), Sample(x[:0], x[0])]


def _alpha_errors(rng: Rng) -> list[ErrorSample]:
    return [
        ErrorSample(INTEGERS, INTEGERS, alpha=2.5, error=RuntimeError, match="alpha"),
        *_does_not_broadcast(rng),
    ]


def _sub_errors(rng: Rng) -> list[ErrorSample]:
    return [
        ErrorSample(MASK, MASK, error=RuntimeError, match="logical_xor"),
        ErrorSample(np.ones(3), True, error=RuntimeError, match="logical_not"),
        *_alpha_errors(rng),
    ]


def _div_samples(rng: Rng) -> list[Sample]:
    found = pairs()(rng) + _of_zero(rng)
    for mode in ("floor", "trunc"):
        found += [Sample(*s.args, rounding_mode=mode) for s in _divisions(rng)]
    return found


def _div_errors(rng: Rng) -> list[ErrorSample]:
    return [
        ErrorSample(INTEGERS, 2, rounding_mode="up", error=RuntimeError, match="rounding_mode"),
        ErrorSample(INTEGERS, 0, rounding_mode="trunc", error=RuntimeError, match="ZeroDivisionError"),
        *_does_not_broadcast(rng),
    ]


def _pow_samples(rng: Rng) -> list[Sample]:
    x, positive = rng.standard_normal((2, 3)), rng.uniform(0.5, 2, (2, 3))
    found = pairs(signs=False, booleans=False)(rng)
    found += [Sample(x, n) for n in (0, 1, 2, 3, 4, 5, -1, -2, 0.0, 2.0, 3.0)]
    found += [Sample(positive, p) for p in (0.5, -0.5, 2.5, 1 / 3)]
    zeros = np.array([0.0, 0.0, 0.0, 0.0, 2.0, -2.0, 1.0])
    found += [
        Sample(zeros, np.array([0.0, 1.0, 2.0, 0.5, 0.0, 2.0, -1.0])),
        Sample(np.zeros(3), np.array([-0.5, -1.0, -2.0])),
        Sample(np.array([0.0, 2.0]), 0),
        Sample(np.array([0.0, 2.0]), 1),
        Sample(2.0, x),
        Sample(0.0, np.array([0.0, 1.0, 2.0])),
        Sample(3, np.array([0, 1, 4])),
        Sample(2.5, np.array([0, 1, -2])),
        Sample(INTEGERS, np.array([[2, 0, 3]])),
        Sample(np.array([1, -1, -1, 2, -3]), np.array([-1, -2, -3, -1, -2])),
        Sample(MASK, 2),
    ]
    return found


def _pow_errors(rng: Rng) -> list[ErrorSample]:
    return [
        ErrorSample(INTEGERS, -1, error=RuntimeError, match="negative integer powers"),
        ErrorSample(MASK, MASK, error=NotImplementedError, match="bool"),
        *_does_not_broadcast(rng),
    ]


def _clamp_samples(rng: Rng) -> list[Sample]:
    x, low, high = rng.standard_normal((3, 4)), rng.standard_normal(4) - 1, rng.standard_normal((3, 1)) + 1
    at_the_limits = np.array([-1.0, 0.0, 1.0, -2.0, 2.0, np.nan])
    return [
        Sample(x, -0.5, 0.5),
        Sample(x, min=-0.5),
        Sample(x, max=0.5),
        Sample(x, None, 0.5),
        Sample(x, low, high),
        Sample(x, min=low),
        Sample(x, max=high),
        Sample(at_the_limits, -1, 1),
        Sample(at_the_limits, min=0),
        Sample(at_the_limits, max=0.0),
        Sample(at_the_limits, np.zeros(6), np.ones(6)),
        Sample(x, 1.0, -1.0),
        Sample(x, np.full(4, 1.0), np.full(4, -1.0)),
        Sample(x, np.full((3, 4), 0.1), np.full((3, 4), 0.1)),  # no room between the limits
        Sample(np.asarray(0.3), 0.5, 1),
        Sample(np.asarray(0.3), np.asarray(0.5), np.asarray(1.0)),
        Sample(np.ones((0, 3)), 0, 1),
        Sample(x.T[::2], -0.5, 0.5),
        Sample(INTEGERS, -1, 2),
        Sample(INTEGERS, 0.5),
        Sample(INTEGERS, max=2),
        Sample(INTEGERS, np.array([0, 1, 2]), np.array([2.5, 2.5, 2.5])),
        Sample(np.array([3, 200], np.uint8), 5, 100),
    ]


def _one_limit(rng: Rng) -> list[Sample]:
    x, limit = rng.standard_normal((3, 4)), rng.standard_normal(4)
    return [
        Sample(x, 0.5),
        Sample(x, limit),
        Sample(limit, x),
        Sample(np.array([-1.0, 0.0, 1.0, np.nan]), 0),
        Sample(np.array([-1.0, 0.0, 1.0]), np.asarray(0.0)),
        Sample(x.T, 0.0),
        Sample(np.ones((0, 3)), 1),
        Sample(INTEGERS, 1),
        Sample(INTEGERS, 0.5),
        Sample(np.array([3, 200], np.uint8), 50),
    ]


def _clamp_errors_of_one(rng: Rng) -> list[ErrorSample]:
    return [
        ErrorSample(np.ones(3), np.ones(2), error=RuntimeError, match="must match"),
        ErrorSample(np.ones(3), "a", error=TypeError, match="str"),
    ]


def _clamp_errors(rng: Rng) -> list[ErrorSample]:
    return [ErrorSample(INTEGERS, error=RuntimeError, match="must not be None"), *_clamp_errors_of_one(rng)]


def _points(rng: Rng) -> list[Sample]:
    return [*pairs(numbers=False, booleans=False)(rng), Sample(WEIRD[1:], np.array([0.0, 1.0, -1.0, 2.0]))]


def _points_on_axes(rng: Rng) -> list[Sample]:
    axes = np.array([0.0, 1.0, -1.0, 0.0, -0.0])
    return [Sample(axes[:, None], axes), Sample(axes, axes[::-1])]


def _ties(rng: Rng) -> list[Sample]:
    x = rng.integers(-2, 3, (3, 4)).astype(float)
    return [
        Sample(x, rng.integers(-2, 3, 4).astype(float)),
        Sample(WEIRD[:, None], WEIRD),
        *pairs(numbers=False)(rng),
    ]


def _maximum_errors(rng: Rng) -> list[ErrorSample]:
    return [
        ErrorSample(np.ones(3), 2.0, error=TypeError, match="must be Tensor, not float"),
        *_does_not_broadcast(rng)[:1],
    ]


def _where_samples(rng: Rng) -> list[Sample]:
    x, y = rng.standard_normal((2, 3)), rng.standard_normal(3)
    return [
        Sample(MASK, x, y),
        Sample(MASK[:, None], y, np.asarray(1.5)),
        Sample(MASK, x, 2.0),
        Sample(MASK, 2, x),
        Sample(MASK, 1, 0),
        Sample(MASK, 1.0, 0),
        Sample(MASK, True, False),
        Sample(MASK, INTEGERS, 2.5),
        Sample(MASK, INTEGERS, x),
        Sample(MASK, x.astype(np.float32), y),
        Sample(MASK, INTEGERS, np.array([1, 2, 3], np.int8)),
        Sample(np.asarray(True), np.asarray(1.0), np.asarray(2.0)),
        Sample(MASK[:0], x[:0], y),
        Sample(MASK.T, rng.standard_normal((3, 2)), x.T),
        Sample(MASK, np.full((2, 3), np.nan), x),
        Sample(MASK),
        Sample(INTEGERS),
    ]


def _where_errors(rng: Rng) -> list[ErrorSample]:
    return [
        ErrorSample(INTEGERS, np.ones(3), 2.0, error=RuntimeError, match="boolean tensor"),
        ErrorSample(MASK, np.ones(2), 2.0, error=RuntimeError, match="must match"),
        ErrorSample([True], np.ones(2), 2.0, error=TypeError, match="must be Tensor, not list"),
    ]


def _lerp_samples(rng: Rng) -> list[Sample]:
    x, y = rng.standard_normal((2, 3)), rng.standard_normal((2, 3))
    return [
        *(Sample(x, y, w) for w in (0.0, 0.3, 0.5, 0.7, 1.0, 2.0, -1.0, 1)),
        Sample(x, y[0], rng.uniform(0, 1, (2, 1))),
        Sample(x, y, np.asarray(0.3)),
        Sample(np.asarray(1.0), np.asarray(2.0), 0.25),
        Sample(x.T, y.T, rng.uniform(0, 1, (3, 1))),
        Sample(x[:0], y[:0], 0.5),
    ]


def _lerp_errors(rng: Rng) -> list[ErrorSample]:
    return [
        ErrorSample(np.ones(3), INTEGERS, 0.5, error=RuntimeError, match="expected dtype"),
        ErrorSample(np.ones(3), np.ones(2), 0.5, error=RuntimeError, match="must match"),
        ErrorSample(np.ones(3), 2.0, 0.5, error=TypeError, match="must be Tensor, not float"),
    ]


def _three(rng: Rng) -> list[Sample]:
    x, y, z = rng.standard_normal((2, 3)), rng.standard_normal(3), rng.uniform(0.5, 2, (2, 1))
    return [
        Sample(x, y, z),
        Sample(x, y, z, value=0.5),
        Sample(x, y, z, value=-2),
        Sample(np.asarray(1.0), y, z),
        Sample(np.asarray(1.0), np.asarray(2.0), np.asarray(3.0), value=3.0),
        Sample(x.T, z.T, z[:1]),
        Sample(x[:0], y, z[:0]),
        Sample(x, INTEGERS, z),
    ]


def _addcdiv_errors(rng: Rng) -> list[ErrorSample]:
    return [ErrorSample(np.ones((2, 3)), INTEGERS, INTEGERS, error=RuntimeError, match="integer")]


def _round_samples(rng: Rng) -> list[Sample]:
    halves = np.array([0.5, 1.5, 2.5, -0.5, -1.5, 2.4999, 1e10, np.inf, np.nan])
    return [
        *unary(booleans=False)(rng),
        Sample(halves),
        Sample(halves * 0.1, decimals=1),
        Sample(rng.uniform(-100, 100, 20), decimals=2),
        Sample(rng.uniform(-1000, 1000, 20), decimals=-2),
    ]


def _round_errors(rng: Rng) -> list[ErrorSample]:
    return [
        ErrorSample(INTEGERS, decimals=1, error=NotImplementedError, match="decimals"),
        *_refuses_booleans(rng),
    ]


def _comparisons(rng: Rng) -> list[Sample]:
    x = rng.integers(-2, 3, (3, 4)).astype(float)
    return [
        Sample(x, rng.integers(-2, 3, 4).astype(float)),
        Sample(x, 0),
        Sample(x, 1.0),
        Sample(WEIRD[:, None], WEIRD),
        Sample(np.array([3, 200], np.uint8), 100),
        Sample(np.array([3, 200], np.uint8), 2.5),
        *pairs()(rng),
    ]


def _closeness(rng: Rng) -> list[Sample]:
    x = rng.standard_normal((3, 4))
    near = x * (1 + 1e-6)
    return [
        Sample(x, x),
        Sample(x, near),
        Sample(x, near, rtol=1e-8, atol=0.0),
        Sample(x, x + 1e-3, atol=1e-2),
        Sample(x, near[0]),
        Sample(WEIRD, WEIRD),
        Sample(WEIRD, WEIRD, equal_nan=True),
        Sample(WEIRD[:, None], WEIRD, rtol=1.0),
        Sample(INTEGERS, INTEGERS + 1),
        Sample(INTEGERS, INTEGERS + 1, atol=1.0),
        Sample(MASK, MASK[:1]),
        Sample(x[:0], x[:0]),
        Sample(np.asarray(1.0), np.asarray(1.0)),
    ]


def _closeness_errors(rng: Rng) -> list[ErrorSample]:
    return [
        ErrorSample(np.ones(3), INTEGERS, error=RuntimeError, match="dtype"),
        ErrorSample(np.ones(3), 1.0, error=TypeError, match="must be Tensor, not float"),
    ]


def _equal_samples(rng: Rng) -> list[Sample]:
    x = rng.standard_normal((3, 4))
    return [
        Sample(x, x.copy()),
        Sample(x, x + 1),
        Sample(x, x[0]),
        Sample(x[:0], x[:0]),
        Sample(WEIRD, WEIRD.copy()),
        Sample(INTEGERS, INTEGERS.copy()),
        Sample(np.asarray(2.0), np.asarray(2.0)),
    ]


def _bits(rng: Rng) -> list[Sample]:
    return [
        Sample(INTEGERS, np.array([5, -6, 1])),
        Sample(INTEGERS, 5),
        Sample(MASK, MASK[:1]),
        Sample(MASK, True),
        Sample(MASK, 3),
        Sample(MASK, INTEGERS),
        Sample(np.array([3, 200], np.uint8), np.array([7, 9], np.int16)),
        Sample(INTEGERS.T, INTEGERS.T),
        Sample(INTEGERS[:0], INTEGERS[:0]),
        Sample(np.asarray(6), np.asarray(3)),
    ]


def _bits_errors(rng: Rng) -> list[ErrorSample]:
    return [
        ErrorSample(np.ones(3), 1, error=NotImplementedError, match="expected integers or booleans"),
        ErrorSample(INTEGERS, np.ones(3), error=NotImplementedError, match="expected integers or booleans"),
        ErrorSample(INTEGERS, np.ones((2, 2), int), error=RuntimeError, match="must match"),
    ]


def _not_samples(rng: Rng) -> list[Sample]:
    return [Sample(INTEGERS), Sample(MASK.T), Sample(np.array([3, 200], np.uint8)), Sample(np.asarray(5))]


def _not_errors(error: type[Exception]) -> Callable[[Rng], list[ErrorSample]]:
    return lambda rng: [ErrorSample(np.ones(3), error=error, match="integer")]


def _nan_to_num_samples(rng: Rng) -> list[Sample]:
    return [
        *unary(booleans=False)(rng),
        Sample(WEIRD),
        Sample(WEIRD, nan=2.0),
        Sample(WEIRD, nan=-1.0, posinf=5.0, neginf=-6.0),
    ]


def _operator_samples(rng: Rng) -> list[Sample]:
    x = rng.uniform(0.5, 2, (2, 3))
    return [Sample(x, 2), Sample(x, 2.5), Sample(x, -3.5), Sample(INTEGERS * 2 + 1, 2.5), Sample(x.T, 1)]


def _operator(name: str, symbol: Callable[[Any, Any], Any], differentiable: bool = True) -> list[OpRecord]:
    """Records of `tensor op number` and of `number op tensor`."""

    def forward(module: Any, x: Any, number: Any) -> Any:
        return symbol(x, number)

    def reflected(module: Any, x: Any, number: Any) -> Any:
        return symbol(number, x)

    return [
        OpRecord(f"Tensor.__{place}{name}__", _operator_samples, differentiable=differentiable, torch=run, ours=run)
        for place, run in (("", forward), ("r", reflected))
    ]


def _slope_of_pow(library: Any, a: Any, b: Any) -> Any:
    """PyTorch's own gradient is a constant 0 where b = 0, so that its next one is wrong there."""
    if library.__name__ == "torch":
        return b * library.exp((b - 1) * library.log(a))
    a = a.clone().requires_grad_()
    return library.autograd.grad(library.pow(a, b).sum(), a, create_graph=True)[0]


RECORDS = [
    OpRecord(
        "pow (second derivative)",
        lambda rng: [Sample(Constant(np.array([2.0, 0.5, 3.0])), np.array([0.0, 0.0, 2.5]))],
        torch=_slope_of_pow,
        ours=_slope_of_pow,
        gradcheck=False,
        note="it is a derivative itself, which needs a graph; its own is compared with PyTorch's",
    ),
    # arithmetic
    OpRecord("add", _add_samples, _alpha_errors),
    OpRecord("Tensor.add_", _in_place_samples, _alpha_errors),
    *(OpRecord(f"Tensor.{name}_", _in_place_samples) for name in ("mul", "div", "sub")),
    *(OpRecord(name, _add_samples, _sub_errors) for name in ("sub", "subtract")),
    *(
        OpRecord(name, pairs(more=(Sample(WEIRD[:, None], WEIRD),)), _does_not_broadcast)
        for name in ("mul", "multiply")
    ),
    *(OpRecord(name, _div_samples, _div_errors) for name in ("div", "divide")),
    OpRecord("true_divide", pairs(), _does_not_broadcast),
    OpRecord("floor_divide", _divisions, _division_by_zero, differentiable=False),
    OpRecord("remainder", _divisions, _division_by_zero),
    OpRecord("fmod", _divisions, _division_by_zero),
    *(OpRecord(name, unary(booleans=False), _refuses_booleans) for name in ("neg", "negative", "positive")),
    *(OpRecord(name, unary(booleans=False), _refuses_booleans) for name in ("abs", "absolute")),
    OpRecord("reciprocal", unary(), _not_a_tensor),
    OpRecord("square", unary(), _not_a_tensor),
    OpRecord("lerp", _lerp_samples, _lerp_errors),
    OpRecord("addcmul", _three),
    OpRecord("addcdiv", _three, _addcdiv_errors),
    *_operator("add", lambda a, b: a + b),
    *_operator("sub", lambda a, b: a - b),
    *_operator("mul", lambda a, b: a * b),
    *_operator("truediv", lambda a, b: a / b),
    *_operator("floordiv", lambda a, b: a // b, differentiable=False),
    *_operator("mod", lambda a, b: a % b, differentiable=False),
    *_operator("pow", lambda a, b: a**b),
    # powers, exponentials, logarithms
    OpRecord("pow", _pow_samples, _pow_errors),
    OpRecord("sqrt", unary(low=0.1, high=5.0), _not_a_tensor),
    OpRecord("rsqrt", unary(low=0.1, high=5.0), _not_a_tensor),
    *(OpRecord(name, unary(), _not_a_tensor) for name in ("exp", "exp2", "expm1")),
    *(OpRecord(name, unary(low=0.1, high=5.0), _not_a_tensor) for name in ("log", "log2", "log10")),
    OpRecord("log1p", unary(low=-0.9, high=4.0), _not_a_tensor),
    # trigonometric and hyperbolic functions
    *(OpRecord(name, unary(extremes=False), _not_a_tensor) for name in ("sin", "cos", "tan")),
    *(OpRecord(name, unary(low=-0.9, high=0.9), _not_a_tensor) for name in ("asin", "arcsin", "acos", "arccos")),
    *(OpRecord(name, unary(), _not_a_tensor) for name in ("atan", "arctan", "sinh", "cosh")),
    *(OpRecord(name, _points, _maximum_errors) for name in ("atan2", "arctan2")),
    OpRecord("atan2", _points_on_axes, gradcheck=False, note="the angle jumps on the negative axis and at (0, 0)"),
    *(OpRecord(name, unary(), _not_a_tensor) for name in ("erf", "erfc")),
    # rounding and limits
    *(OpRecord(name, unary(booleans=False), _refuses_booleans) for name in ("floor", "ceil", "trunc", "fix")),
    OpRecord("round", _round_samples, _round_errors),
    OpRecord("sign", unary(), _not_a_tensor),
    *(OpRecord(name, _clamp_samples, _clamp_errors) for name in ("clamp", "clip")),
    *(OpRecord(name, _one_limit, _clamp_errors_of_one) for name in ("clamp_min", "clamp_max")),
    OpRecord("maximum", _ties, _maximum_errors),
    OpRecord("minimum", _ties, _maximum_errors),
    # choosing
    OpRecord("where", _where_samples, _where_errors),
    OpRecord("nan_to_num", _nan_to_num_samples, _not_a_tensor),
    # comparisons and logic
    *(
        OpRecord(name, _comparisons, _does_not_broadcast, differentiable=False)
        for name in ("eq", "ne", "lt", "le", "gt", "ge")
        + ("not_equal", "less", "less_equal", "greater", "greater_equal")
    ),
    *(
        OpRecord(f"Tensor.__{name}__", _comparisons, differentiable=False)
        for name in ("eq", "ne", "lt", "le", "gt", "ge")
    ),
    OpRecord("equal", _equal_samples, differentiable=False),
    OpRecord("isclose", _closeness, _closeness_errors, differentiable=False),
    OpRecord("allclose", _closeness, _closeness_errors, differentiable=False),
    *(
        OpRecord(name, unary(), _not_a_tensor, differentiable=False)
        for name in ("isnan", "isinf", "isfinite", "logical_not")
    ),
    *(
        OpRecord(name, pairs(numbers=False), _maximum_errors, differentiable=False)
        for name in ("logical_and", "logical_or", "logical_xor")
    ),
    *(
        OpRecord(name, _bits, _bits_errors, differentiable=False)
        for name in ("bitwise_and", "bitwise_or", "bitwise_xor") + ("Tensor.__and__", "Tensor.__or__", "Tensor.__xor__")
    ),
    OpRecord("bitwise_not", _not_samples, _not_errors(NotImplementedError), differentiable=False),
    OpRecord("Tensor.__invert__", _not_samples, _not_errors(TypeError), differentiable=False),
    # copies
    OpRecord("clone", unary(), _not_a_tensor, kind="exact"),
]
