"""The distributions that parameters start from."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

import tinygrad_edu as tg
from tinygrad_edu import nn
from tinygrad_edu.backend.random import Stream
from tinygrad_edu.nn import init

torch.set_num_threads(1)


def drawn(fill, *shape, seed=0, **kwargs):
    """The numbers that `fill` puts into a parameter, after checking that it does so in place and unrecorded."""
    p = nn.Parameter(tg.zeros(*shape))
    returned = fill(p, generator=tg.Generator().manual_seed(seed), **kwargs)
    assert returned is p and p.is_leaf and p.requires_grad
    return p.detach().numpy()


def cdf(z):
    return np.vectorize(lambda x: 0.5 * (1 + math.erf(x / math.sqrt(2))))(z)


def distance(sample, cumulative):
    """Kolmogorov-Smirnov distance of a sample from a distribution, times sqrt(n): above 1.95 once in 1,000 samples."""
    x = np.sort(np.asarray(sample, np.float64).ravel())
    n, expected = x.size, cumulative(x)
    return math.sqrt(n) * max((np.arange(1, n + 1) / n - expected).max(), (expected - np.arange(n) / n).max())


def is_uniform(x, bound):
    assert np.abs(x).max() <= bound and np.abs(x).max() > 0.99 * bound
    assert distance(x, lambda v: (v / bound + 1) / 2) < 1.95


def is_normal(x, std, mean=0.0):
    assert distance(x, lambda v: cdf((v - mean) / std)) < 1.95


def test_uniform_and_normal():
    x = drawn(init.uniform_, 80, 50, a=-2.0, b=1.0)
    is_uniform(x + 0.5, 1.5)
    is_normal(drawn(init.normal_, 80, 50, mean=3.0, std=0.5), 0.5, 3.0)


def test_constants():
    t = nn.Parameter(tg.zeros(2, 3))
    assert init.constant_(t, 1.5) is t and t.tolist() == [[1.5] * 3] * 2
    assert init.ones_(t).tolist() == [[1] * 3] * 2 and init.zeros_(t).tolist() == [[0] * 3] * 2
    assert init.eye_(t).tolist() == [[1, 0, 0], [0, 1, 0]]
    assert t.requires_grad and t.is_leaf


def test_xavier():
    is_uniform(drawn(init.xavier_uniform_, 60, 100), math.sqrt(6 / 160))
    is_uniform(drawn(init.xavier_uniform_, 30, 10, 3, 5, gain=2.0), 2 * math.sqrt(6 / (150 + 450)))
    is_normal(drawn(init.xavier_normal_, 60, 100), math.sqrt(2 / 160))
    is_normal(drawn(init.xavier_normal_, 60, 100, gain=0.5), 0.5 * math.sqrt(2 / 160))


def test_kaiming():
    is_uniform(drawn(init.kaiming_uniform_, 60, 100), math.sqrt(6 / 100))
    is_uniform(drawn(init.kaiming_uniform_, 60, 100, mode="fan_out", nonlinearity="relu"), math.sqrt(6 / 60))
    is_uniform(drawn(init.kaiming_uniform_, 60, 100, a=math.sqrt(5)), 1 / math.sqrt(100))
    is_normal(drawn(init.kaiming_normal_, 60, 100, nonlinearity="linear"), 1 / math.sqrt(100))
    is_normal(drawn(init.kaiming_normal_, 30, 10, 3, 5, mode="fan_out", a=1.0), 1 / math.sqrt(450))


@pytest.mark.parametrize("mean, std, a, b", [
    (0.0, 1.0, -2.0, 2.0), (0.0, 0.02, -2.0, 2.0), (1.0, 2.0, 0.0, 2.5), (0.0, 1.0, 0.6, 9.0), (0.0, 1.0, 4.0, 1e9),
    (3.0, 0.5, -1e9, 1.0), (0.0, 1.0, 1.0, 1.001),
])  # fmt: skip
def test_trunc_normal(mean, std, a, b):
    x = drawn(init.trunc_normal_, 50, 80, mean=mean, std=std, a=a, b=b).astype(np.float64)
    slack = 1e-6 * max(1.0, min(abs(a), abs(b)))  # rounding to float32
    assert x.min() >= a - slack and x.max() <= b + slack
    tails = [math.erfc(s * (v - mean) / std / math.sqrt(2)) for v in (a, b) for s in (1, -1)]
    # P(a < X < x) / P(a < X < b), from the smaller tail, so that nothing cancels
    if a > mean:

        def survival(v):
            return np.vectorize(lambda t: math.erfc((t - mean) / std / math.sqrt(2)))(v)

        assert distance(x, lambda v: (tails[0] - survival(v)) / (tails[0] - tails[2])) < 1.95
    else:

        def below(v):
            return np.vectorize(lambda t: math.erfc(-(t - mean) / std / math.sqrt(2)))(v)

        assert distance(x, lambda v: (below(v) - tails[1]) / (tails[3] - tails[1])) < 1.95


@pytest.mark.parametrize("shape", [(5, 5), (4, 9), (9, 4), (6, 2, 4), (1, 3)])
@pytest.mark.parametrize("gain", [1.0, 0.3])
def test_orthogonal(shape, gain):
    x = drawn(init.orthogonal_, *shape, gain=gain).astype(np.float64).reshape(shape[0], -1)
    product = x @ x.T if x.shape[0] <= x.shape[1] else x.T @ x
    np.testing.assert_allclose(product, gain**2 * np.eye(len(product)), atol=1e-6)


def test_orthogonal_matrices_are_uniform():
    """Of a uniformly random rotation, the first entry is symmetric about 0 with variance 1 / n, and so is the trace."""
    found = np.array([drawn(init.orthogonal_, 3, 3, seed=s) for s in range(400)], np.float64)
    assert abs((found[:, 0, 0] ** 2).mean() - 1 / 3) < 4 * 0.3 / 20
    assert abs(found[:, 0, 0].mean()) < 4 * math.sqrt(1 / 3) / 20
    assert abs(np.trace(found, axis1=1, axis2=2).mean()) < 4 / 20


def test_the_generator_decides():
    for fill in (init.uniform_, init.normal_, init.trunc_normal_, init.xavier_uniform_, init.xavier_normal_,
                 init.kaiming_uniform_, init.kaiming_normal_, init.orthogonal_):  # fmt: skip
        assert (drawn(fill, 3, 4, seed=5) == drawn(fill, 3, 4, seed=5)).all()
        assert (drawn(fill, 3, 4, seed=5) != drawn(fill, 3, 4, seed=6)).any()
        tg.manual_seed(5)
        assert (drawn(fill, 3, 4, seed=5) == fill(tg.zeros(3, 4)).numpy()).all()


@pytest.mark.parametrize("dtype", ["float16", "float64"])
def test_other_dtypes(dtype):
    for fill in (init.trunc_normal_, init.orthogonal_, init.kaiming_uniform_, init.eye_, init.xavier_normal_):
        t = tg.zeros(4, 6, dtype=getattr(tg, dtype))
        assert fill(t).dtype.name == dtype and t.numpy().any()


@pytest.mark.parametrize("args", [
    ("linear",), ("conv2d",), ("conv_transpose3d",), ("sigmoid",), ("tanh",), ("relu",), ("leaky_relu",),
    ("leaky_relu", 0.2), ("leaky_relu", 2), ("selu",),
])  # fmt: skip
def test_calculate_gain(args):
    assert init.calculate_gain(*args) == pytest.approx(torch.nn.init.calculate_gain(*args), rel=1e-15)


@pytest.mark.parametrize("act, match", [
    (lambda i, t: i.calculate_gain("swish"), "Unsupported nonlinearity swish"),
    (lambda i, t: i.calculate_gain("leaky_relu", True), "negative_slope True not a valid number"),
    (lambda i, t: i.eye_(t(3)), "2 dimensions"),
    (lambda i, t: i.xavier_uniform_(t(3)), "fewer than 2 dimensions"),
    (lambda i, t: i.kaiming_normal_(t(3)), "fewer than 2 dimensions"),
    (lambda i, t: i.kaiming_normal_(t(3, 3), mode="fan_avg"), "Mode fan_avg not supported"),
    (lambda i, t: i.orthogonal_(t(3)), "2 or more dimensions"),
])  # fmt: skip
def test_mistakes_raise_what_pytorch_raises(act, match):
    with pytest.raises(ValueError):
        act(torch.nn.init, torch.zeros)
    with pytest.raises(ValueError, match=match):
        act(init, tg.zeros)


@pytest.mark.parametrize("kwargs", [{"std": 0.0}, {"std": -1.0}, {"a": 2.0, "b": 2.0}, {"std": math.nan}])
def test_trunc_normal_refuses_an_empty_distribution(kwargs):
    with pytest.raises(ValueError, match="expected std > 0 and a < b"):
        init.trunc_normal_(tg.zeros(3), **kwargs)


def test_nothing_to_fill():
    for fill in (init.kaiming_uniform_, init.kaiming_normal_):
        with pytest.warns(UserWarning, match="zero-element"):
            fill(tg.zeros(0, 3))
    for fill in (init.orthogonal_, init.trunc_normal_):
        assert fill(tg.zeros(0, 3)).shape == (0, 3)


def test_layers_start_as_in_pytorch():
    """The same distributions: those of PyTorch's documentation, each checked against samples of both libraries."""
    tg.manual_seed(7)
    torch.manual_seed(7)
    for lib in (tg, torch):
        linear, tall = lib.nn.Linear(25, 400), lib.nn.Linear(4, 3000)
        is_uniform(linear.weight.detach().numpy(), 1 / 5)
        is_uniform(linear.bias.detach().numpy(), 1 / 5)
        is_uniform(tall.bias.detach().numpy(), 1 / 2)
        bilinear = lib.nn.Bilinear(16, 9, 40)
        is_uniform(bilinear.weight.detach().numpy(), 1 / 4)
        table = lib.nn.Embedding(100, 40, padding_idx=3).weight.detach().numpy()
        assert not table[3].any()
        is_normal(np.delete(table, 3, axis=0), 1.0)
        norm = lib.nn.LayerNorm((2, 3))
        assert norm.weight.tolist() == [[1] * 3] * 2 and norm.bias.tolist() == [[0] * 3] * 2
        assert lib.nn.RMSNorm(3).weight.tolist() == [1] * 3


def test_an_empty_layer_can_be_made():
    with pytest.warns(UserWarning, match="zero-element"):
        layer = nn.Linear(0, 3)
    assert layer.bias.tolist() == [0, 0, 0]


def test_no_init_leaves_tensors_and_the_random_stream_alone():
    t, before = tg.full((3, 3), 7.0), tg.get_rng_state().tolist()
    with init.no_init():
        with init.no_init():
            nn.Linear(3, 4), nn.Embedding(3, 4)
        for fill in (init.normal_, init.uniform_, init.zeros_, init.ones_, init.eye_, init.orthogonal_,
                     init.trunc_normal_, init.xavier_normal_, init.xavier_uniform_, init.kaiming_normal_,
                     init.kaiming_uniform_):  # fmt: skip
            assert fill(t) is t
    assert t.tolist() == [[7] * 3] * 3 and tg.get_rng_state().tolist() == before
    with pytest.raises(KeyError), init.no_init():
        raise KeyError
    assert init.zeros_(t).tolist() == [[0] * 3] * 3


@pytest.mark.parametrize("n", [1, 2, 8191, 8192, 8193, 20001])
def test_normal_numbers_are_the_box_muller_transform_of_the_uniform_ones(n):
    """As the textbook has it, with a sine and a cosine; 8,192 numbers are made at a time."""
    drawn, stream, expected = Stream(3).normal((n,), np.float64), Stream(3), []
    for start in range(0, n, 8192):
        size = min(8192, n - start)
        u = stream.uniform((2, (size + 1) // 2), np.float64)
        radius, angle = np.sqrt(-2 * np.log1p(-u[0])), 2 * np.pi * u[1]
        expected.append(np.stack((radius * np.cos(angle), radius * np.sin(angle)), axis=1).ravel()[:size])
    np.testing.assert_allclose(drawn, np.concatenate(expected), rtol=0, atol=2e-15)
    assert np.array_equal(Stream(3).normal((n,), np.float32), drawn.astype(np.float32))
