"""Layers that standardise channels, beside PyTorch's: statistics, state, training and evaluation."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from test_nn import both, compare, load_from, normal, same_error

import tinygrad_edu as tg
from tinygrad_edu import nn
from tinygrad_edu.nn import functional as F
from tinygrad_edu.testing import assert_close

torch.set_num_threads(1)

SHAPES = {
    "BatchNorm1d": [(4, 3), (4, 3, 5)],
    "BatchNorm2d": [(4, 3, 2, 5)],
    "BatchNorm3d": [(2, 3, 2, 1, 4)],
    "InstanceNorm1d": [(4, 3, 5), (3, 5)],
    "InstanceNorm2d": [(4, 3, 2, 5), (3, 2, 5)],
    "InstanceNorm3d": [(2, 3, 2, 1, 4), (3, 2, 1, 4)],
}
SETTINGS = [
    {}, {"affine": False}, {"affine": True, "bias": False}, {"track_running_stats": False},
    {"affine": True, "track_running_stats": True, "momentum": 0.3, "eps": 0.1},
    {"momentum": None, "track_running_stats": True},
]  # fmt: skip
CASES = [(name, shape, kwargs) for name, shapes in SHAPES.items() for shape in shapes for kwargs in SETTINGS]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name, shape, kwargs", CASES)
def test_statistics_over_several_steps_then_evaluation(name, shape, kwargs, dtype):
    tolerance = {"rtol": 2e-5, "atol": 2e-5} if dtype == "float32" else {"rtol": 1e-11, "atol": 1e-11}
    twin, layer = both(lambda lib: getattr(lib.nn, name)(3, **kwargs, dtype=getattr(lib, dtype)))
    assert repr(layer) == repr(twin)
    assert list(layer.state_dict()) == list(twin.state_dict())
    rng = np.random.default_rng(0)
    if layer.affine:
        twin.weight.data.copy_(torch.tensor(rng.standard_normal(3)))
    load_from(twin, layer)
    for mode in ("train", "train", "train", "eval", "train", "eval"):
        x, gy = (rng.standard_normal(shape).astype(dtype) * 3 + 1 for _ in range(2))
        theirs, ours = torch.tensor(x, requires_grad=True), tg.tensor(x, requires_grad=True)
        getattr(twin, mode)(), getattr(layer, mode)()
        expected, y = twin(theirs), layer(ours)
        np.testing.assert_allclose(y.detach().numpy(), expected.detach().numpy(), **tolerance)
        expected.backward(torch.tensor(gy)), y.backward(tg.tensor(gy))
        for a, b in zip([ours, *layer.parameters()], [theirs, *twin.parameters()], strict=True):
            np.testing.assert_allclose(a.grad.numpy(), b.grad.numpy(), **tolerance)
        for (key, a), b in zip(layer.state_dict().items(), twin.state_dict().values(), strict=True):
            np.testing.assert_allclose(a.numpy(), b.numpy(), **tolerance, err_msg=key)
            assert (a.dtype.name, tuple(a.shape)) == (str(b.dtype).removeprefix("torch."), tuple(b.shape)), key


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name, args, kwargs, shape", [
    ("GroupNorm", (3, 6), {}, (2, 6, 4)),
    ("GroupNorm", (1, 4, 0.1), {"bias": False}, (2, 4, 2, 3)),
    ("GroupNorm", (4, 4), {"affine": False}, (2, 4, 3)),
    ("LocalResponseNorm", (2,), {}, (2, 5, 3)),
    ("LocalResponseNorm", (3, 0.5, 0.5, 2.0), {}, (2, 5, 2, 3)),
])  # fmt: skip
def test_layers_without_memory(name, args, kwargs, shape, dtype):
    compare(name, args, kwargs, [3 * normal(*shape) + 1], dtype)


@pytest.mark.parametrize("make, match", [
    (lambda m, x: m.BatchNorm1d(3)(x(2, 3, 4, 4)), "expected 2D or 3D input (got 4D input)"),
    (lambda m, x: m.BatchNorm2d(3)(x(2, 3, 4)), "expected 4D input (got 3D input)"),
    (lambda m, x: m.BatchNorm3d(3)(x(2, 3, 4, 4)), "expected 5D input (got 4D input)"),
    (lambda m, x: m.BatchNorm2d(3)(x(2, 4, 4, 4)), "should contain 4 elements, not 3"),
    (lambda m, x: m.BatchNorm1d(3)(x(1, 3)), "more than 1 value per channel"),
    (lambda m, x: m.InstanceNorm1d(3)(x(2, 3, 4, 4)), "expected 2D or 3D input (got 4D input)"),
    (lambda m, x: m.InstanceNorm2d(3)(x(4, 4)), "expected 3D or 4D input (got 2D input)"),
    (lambda m, x: m.InstanceNorm1d(3, affine=True)(x(2, 4, 5)), "dim=1 is 4, num_features is 3; they must be equal"),
    (lambda m, x: m.InstanceNorm1d(3)(x(2, 3, 1)), "more than 1 spatial element"),
    (lambda m, x: m.GroupNorm(3, 4), "num_channels (4) must be divisible by num_groups (3)"),
])  # fmt: skip
def test_misuse_is_refused(make, match):
    assert match in same_error(lambda lib: make(lib.nn, lib.zeros))[0]


def test_refused_batches_leave_no_trace():
    layer = nn.BatchNorm1d(3)
    before = {k: v.tolist() for k, v in layer.state_dict().items()}
    for bad in (tg.zeros(2, 4), tg.zeros(1, 3), tg.zeros(2, 3, dtype=tg.float64), tg.zeros(2, 3, 1, 1)):
        with pytest.raises((RuntimeError, ValueError)):
            layer(bad)
    assert {k: v.tolist() for k, v in layer.state_dict().items()} == before


def test_a_wrong_number_of_features_that_is_not_used_is_only_mentioned():
    with pytest.warns(UserWarning, match="dim=1 is 4, num_features is 3, which is not used"):
        assert nn.InstanceNorm1d(3)(tg.randn(2, 4, 5)).shape == (2, 4, 5)


def test_statistics_can_be_frozen_and_reset():
    twin, layer = both(lambda lib: lib.nn.BatchNorm2d(2))
    x = normal(3, 2, 4, 4).astype("float32") + 2
    for lib, m in ((torch, twin), (tg, layer)):
        m(lib.tensor(x))
        m.track_running_stats = False
        m(lib.tensor(2 * x))  # statistics of the batch, none kept
    for key, value in twin.state_dict().items():
        np.testing.assert_allclose(layer.state_dict()[key].numpy(), value.numpy(), rtol=1e-5)
    layer.reset_running_stats()
    assert layer.running_mean.tolist() == [0, 0] and layer.running_var.tolist() == [1, 1]
    assert layer.num_batches_tracked.item() == 0
    with tg.no_grad():
        layer.weight.fill_(3), layer.bias.fill_(3)
    layer.reset_parameters()
    assert layer.weight.tolist() == [1, 1] and layer.bias.tolist() == [0, 0]
    group = nn.GroupNorm(1, 2)
    with tg.no_grad():
        group.weight.fill_(3), group.bias.fill_(3)
    group.reset_parameters()
    assert group.weight.tolist() == [1, 1] and group.bias.tolist() == [0, 0]
    nn.GroupNorm(1, 2, affine=False).reset_parameters()


def test_running_statistics_have_no_history_and_change_no_graph():
    layer = nn.BatchNorm1d(3)
    x = tg.randn(5, 3, requires_grad=True)
    y = layer(x)
    assert layer.running_mean.grad_fn is None and not layer.running_var.requires_grad
    layer(tg.randn(5, 3))  # moves the statistics again
    y.backward(tg.randn(5, 3))
    assert x.grad is not None
    x.grad = None
    scale = 1 / (layer.running_var + layer.eps).sqrt()
    z = layer.eval()(x)
    layer.train()(tg.randn(5, 3))  # what evaluation used is not what it is now
    gz = tg.randn(5, 3)
    z.backward(gz)
    assert_close(x.grad, gz * scale)


def test_an_empty_batch_moves_no_statistics():
    layer = nn.BatchNorm2d(3)
    assert layer(tg.zeros(0, 3, 2, 2)).shape == (0, 3, 2, 2)
    assert layer.running_mean.tolist() == [0, 0, 0] and layer.running_var.tolist() == [1, 1, 1]


def test_standardised_channels_have_mean_0_and_variance_1():
    x = tg.randn(50, 3, 7) * 5 + 40
    y = F.batch_norm(x, None, None, training=True)
    assert_close(y.mean((0, 2)), tg.zeros(3), rtol=0, atol=1e-5)
    assert_close(y.var((0, 2), correction=0), tg.ones(3), rtol=1e-5, atol=0)
