"""Accuracy beyond what agreement with PyTorch asks: tails, long sums, float16, and dtypes that must not widen."""

from __future__ import annotations

import math

import numpy as np
import pytest

import tinygrad_edu as tg
import tinygrad_edu.nn.functional as F

FLOATS = ["float32", "float64"]


def digits_lost(got, exact):
    """The largest error in units of the last place of the exact value."""
    exact = np.asarray(exact, np.float64)
    return float(np.max(np.abs(got.astype(np.float64) - exact) / np.spacing(np.abs(exact).astype(got.dtype))))


def gelu(x):
    return x * math.erfc(-x / math.sqrt(2)) / 2


def gelu_tanh(x):
    return x / (1 + math.exp(-2 * math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


def softplus(x):
    return max(x, 0.0) + math.log1p(math.exp(-abs(x)))


# For each function: its exact value, where it is tried, and how many units in the last place it may be off. In GELU's
# tails the exponent of e^(-x^2 / 2) is itself rounded, here and in the exact value, and the error grows with it.
SPECIAL = {
    "erf": (tg.erf, math.erf, (-7, 7), 3),
    "erfc": (tg.erfc, math.erfc, (-7, 9), 6),
    "sigmoid": (tg.sigmoid, lambda x: 1 / (1 + math.exp(-x)), (-80, 80), 4),
    "tanh": (tg.tanh, math.tanh, (-20, 20), 3),
    "silu": (F.silu, lambda x: x / (1 + math.exp(-x)), (-80, 80), 4),
    "softplus": (lambda x: F.softplus(x, threshold=1e9), softplus, (-80, 80), 5),
    "logsigmoid": (F.logsigmoid, lambda x: -softplus(-x), (-80, 80), 5),
    "gelu": (F.gelu, gelu, (-3, 12), 20),
    "gelu, tail": (F.gelu, gelu, (-10, -3), 200),
    "gelu_tanh": (lambda x: F.gelu(x, approximate="tanh"), gelu_tanh, (-3, 12), 20),
    "gelu_tanh, tail": (lambda x: F.gelu(x, approximate="tanh"), gelu_tanh, (-8, -3), 150),
}


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("name", SPECIAL)
def test_functions_keep_their_digits(name, dtype):
    function, exact, (low, high), allowed = SPECIAL[name]
    x = np.concatenate([np.linspace(low, high, 2001), np.logspace(-20, 0, 101)]).astype(dtype)
    x = x[x != 0]
    assert digits_lost(function(tg.tensor(x)).numpy(), [exact(float(v)) for v in x]) < allowed


def test_small_arguments_keep_their_digits():
    x = np.logspace(-30, -1, 200)
    for function, exact in ((tg.expm1, math.expm1), (tg.log1p, math.log1p), (tg.erf, math.erf)):
        assert digits_lost(function(tg.tensor(x)).numpy(), [exact(v) for v in x]) < 3


@pytest.mark.parametrize("function", [tg.sum, tg.mean])
@pytest.mark.parametrize(
    ("shape", "order", "dim"),
    [
        ((100_000, 4), "C", 0),
        ((4, 100_000), "F", 1),
        ((300, 500, 4), "C", (0, 1)),
        ((300, 500, 4), "C", None),
        ((100_000, 4), "F", 0),
        ((129, 3), "C", 0),
    ],
)
def test_long_sums_in_float32_are_as_good_as_pairwise(function, shape, order, dim):
    x = np.asarray(np.random.default_rng(0).random(shape), np.float32, order=order)
    got = function(tg.from_numpy(x), dim).numpy()
    exact = getattr(x.astype(np.float64), function.__name__)(axis=dim)
    assert np.max(np.abs(got / exact - 1)) < 5e-7  # adding 100,000 rows one by one is off by 1e-5


def test_a_running_sum_does_not_drift():
    x = np.full(1_000_000, 0.1, np.float32)
    exact = np.cumsum(x.astype(np.float64))
    assert np.max(np.abs(tg.from_numpy(x).cumsum(0).numpy() / exact - 1)) < 1e-7


def test_half_precision_is_summed_in_float32():
    ones = tg.ones(5000, 2, dtype=tg.float16)  # 2048 + 1 is 2048 in float16
    assert ones.sum(0).tolist() == [5000.0, 5000.0]
    large = tg.full((300, 300), 600.0, dtype=tg.float16)  # whose sum is beyond float16
    assert large.mean().item() == 600.0
    assert large.var().item() == 0.0
    assert (large / 600).norm().item() == 300.0


def test_a_variance_of_numbers_far_from_zero():
    x = np.float32(1e6) + np.arange(4, dtype=np.float32)
    assert tg.from_numpy(x).var().item() == pytest.approx(5 / 3, rel=1e-6)


def test_extreme_terms_do_not_overflow():
    assert tg.logsumexp(tg.tensor([1000.0, 1000.0]), 0).item() == pytest.approx(1000 + math.log(2))
    assert tg.logsumexp(tg.tensor([-math.inf, -math.inf]), 0).item() == -math.inf
    assert tg.logsumexp(tg.tensor([math.inf, 0.0]), 0).item() == math.inf
    assert F.softplus(tg.tensor([-200.0, 200.0]), threshold=1e9).tolist() == pytest.approx([0.0, 200.0])
    assert tg.sigmoid(tg.tensor([-200.0, 200.0])).tolist() == [0.0, 1.0]
    assert tg.isfinite(F.gelu(tg.tensor([-1e30, 1e30]), approximate="tanh")).all()


def test_products_with_zeros_have_exact_gradients():
    x = tg.tensor([[2.0, 0.0, 3.0, 5.0], [0.0, 4.0, 0.0, 1.0]], dtype=tg.float64, requires_grad=True)
    x.prod(1).backward(tg.tensor([0.5, -2.0], dtype=tg.float64))
    assert x.grad.tolist() == [[0, 15, 0, 0], [0, 0, 0, 0]]
    x.grad = None
    # y = (2, 0, 0, 0) and (0, 0, 0, 0): each gradient is the sum over the later products without that factor
    x.cumprod(1).backward(tg.tensor([[1.0, 10.0, 100.0, 1000.0]] * 2, dtype=tg.float64))
    assert x.grad.tolist() == [[1, 20 + 600 + 30000, 0, 0], [1 + 40, 0, 0, 0]]


def test_one_number_in_float16_or_float32_stays_so():
    """Results of one element are NumPy scalars on the way, which must not promote."""
    functions = [
        tg.exp, tg.sqrt, tg.square, tg.sum, tg.mean, tg.prod, tg.amax, tg.logsumexp, tg.norm, tg.erf, tg.erfc,
        tg.sigmoid, tg.rsqrt, tg.log2, tg.log10, tg.exp2, tg.reciprocal, F.gelu, F.silu, F.elu, F.softplus,
        lambda x: F.gelu(x, approximate="tanh"), lambda x: x**2.5, lambda x: 2.5**x, lambda x: x * 0.1, lambda x: 1 / x,
        lambda x: tg.lerp(x, x, 0.3), lambda x: tg.where(x > 0, x, 1.0),
        F.leaky_relu, lambda x: x.clamp(0, 1.5), lambda x: x // 0.3,
    ]  # fmt: skip
    for dtype in (tg.float16, tg.float32):
        for function in functions:
            x = tg.tensor(0.7, dtype=dtype, requires_grad=True)
            y = function(x, 0) if function is tg.logsumexp else function(x)
            y.backward(tg.tensor(1.3, dtype=dtype).reshape(y.shape))
            assert y.dtype == dtype and x.grad.dtype == dtype
