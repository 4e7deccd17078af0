"""Layers of convolution, pooling, padding and resizing, beside PyTorch's, and a network made of them."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from test_nn import both, compare, load_from, normal, same_error, same_text

import tinygrad_edu as tg
from tinygrad_edu import nn
from tinygrad_edu.nn import functional as F
from tinygrad_edu.testing import assert_close

torch.set_num_threads(1)

CASES = {
    "Conv1d": [
        ((2, 4, 3), {}, (2, 2, 7)), ((2, 4, 3, 2, 1, 2, 2), {"bias": False}, (2, 2, 7)),
        ((2, 3, 2), {"padding": "same", "padding_mode": "replicate"}, (2, 5)),
    ],
    "Conv2d": [
        ((3, 4, 3), {}, (2, 3, 5, 6)), ((3, 4, (3, 2), (2, 1), (1, 0)), {}, (2, 3, 5, 6)),
        ((4, 6, 2), {"groups": 2, "dilation": 2}, (1, 4, 5, 5)),
        ((2, 3, 3), {"padding": "same", "dilation": (1, 2)}, (1, 2, 5, 6)),
        ((2, 3, 3), {"padding": "valid"}, (2, 5, 6)),
        *(((2, 3, 3), {"padding": (1, 2), "padding_mode": mode}, (1, 2, 5, 6))
          for mode in ("zeros", "reflect", "replicate", "circular")),
        ((2, 3, (2, 3)), {"padding": "same", "padding_mode": "circular"}, (1, 2, 5, 6)),
    ],
    "Conv3d": [((2, 3, 2), {"stride": 2, "padding": 1, "padding_mode": "circular"}, (1, 2, 3, 4, 5))],
    "ConvTranspose1d": [((2, 3, 3), {}, (2, 2, 4)), ((2, 4, 3, 3, 1, 2), {"groups": 2}, (2, 4))],
    "ConvTranspose2d": [
        ((2, 3, 3), {}, (2, 2, 4, 3)), ((2, 3, 3, 2, 1, 1), {"bias": False}, (1, 2, 4, 3)),
        ((2, 4, (2, 3)), {"dilation": 2, "groups": 2, "output_padding": (0, 1), "stride": 2}, (1, 2, 4, 3)),
    ],
    "ConvTranspose3d": [((2, 3, 2, 2), {}, (1, 2, 2, 3, 2))],
    "MaxPool1d": [((2,), {}, (2, 3, 7)), ((3, 2, 1), {"ceil_mode": True}, (3, 7))],
    "MaxPool2d": [((2,), {}, (2, 3, 5, 6)), (((2, 3), 2, (1, 0), (1, 2)), {}, (2, 3, 5, 6))],
    "MaxPool3d": [((2, 1), {}, (1, 2, 3, 4, 3))],
    "AvgPool1d": [((2,), {}, (2, 3, 7)), ((3, 2, 1), {"count_include_pad": False}, (3, 7))],
    "AvgPool2d": [((2,), {}, (2, 3, 5, 6)), ((3, 2, 1, True, False), {}, (2, 3, 5, 6)),
                  ((2,), {"divisor_override": 3}, (2, 3, 5, 6))],
    "AvgPool3d": [((2, 1), {}, (1, 2, 3, 4, 3))],
    "LPPool1d": [((2, 3), {}, (2, 3, 7))],
    "LPPool2d": [((2, (2, 3)), {"ceil_mode": True}, (2, 3, 5, 6))],
    "AdaptiveAvgPool1d": [((3,), {}, (2, 3, 7))],
    "AdaptiveAvgPool2d": [((1,), {}, (2, 3, 5, 6)), (((3, None),), {}, (3, 5, 6))],
    "AdaptiveAvgPool3d": [((2,), {}, (1, 2, 3, 4, 3))],
    "AdaptiveMaxPool1d": [((3,), {}, (2, 3, 7))],
    "AdaptiveMaxPool2d": [((1,), {}, (2, 3, 5, 6)), (((None, 4),), {}, (3, 5, 6))],
    "AdaptiveMaxPool3d": [((2,), {}, (1, 2, 3, 4, 3))],
    "ConstantPad1d": [((2, 1.5), {}, (2, 3, 4)), (((1, -1), 2), {}, (4,))],
    "ConstantPad2d": [((1, -1.0), {}, (2, 3, 4)), (((0, 1, 2, -1), 0.5), {}, (2, 3, 4, 2))],
    "ConstantPad3d": [((1, 0.5), {}, (2, 2, 3, 2))],
    "ZeroPad1d": [((2,), {}, (2, 3))],
    "ZeroPad2d": [((1,), {}, (2, 3, 3)), (((1, 2, 3, 4),), {}, (1, 2, 3, 3))],
    "ZeroPad3d": [(((1, 0, 2, 0, 0, 1),), {}, (1, 2, 2, 2, 2))],
    "ReflectionPad1d": [((2,), {}, (2, 3, 4)), (((1, 3),), {}, (3, 4))],
    "ReflectionPad2d": [((2,), {}, (2, 3, 4, 3)), (((1, 0, 2, 1),), {}, (2, 4, 3))],
    "ReflectionPad3d": [((1,), {}, (1, 2, 2, 3, 2))],
    "ReplicationPad1d": [((2,), {}, (2, 3, 4))],
    "ReplicationPad2d": [(((1, 0, 2, 5),), {}, (2, 3, 4, 3))],
    "ReplicationPad3d": [((1,), {}, (1, 2, 2, 3, 2))],
    "CircularPad1d": [((2,), {}, (2, 3, 4))],
    "CircularPad2d": [(((1, 0, 2, 3),), {}, (2, 3, 4, 3))],
    "CircularPad3d": [((1,), {}, (1, 2, 2, 3, 2))],
    "Upsample": [
        ((), {"scale_factor": 2}, (1, 2, 3, 4)), (((5, 3),), {"mode": "bilinear"}, (1, 2, 3, 4)),
        ((), {"scale_factor": (2, 1.5), "mode": "bicubic", "align_corners": True}, (1, 2, 3, 4)),
        ((7,), {"mode": "linear"}, (1, 2, 4)),
        ((), {"scale_factor": 1.7, "recompute_scale_factor": True, "mode": "bilinear"}, (1, 2, 3, 4)),
    ],
    "PixelShuffle": [((2,), {}, (2, 4, 3, 2))],
    "PixelUnshuffle": [((3,), {}, (2, 3, 6))],
    "Unfold": [((2,), {}, (2, 3, 4, 3)), (((2, 3), 1, (0, 1), 2), {}, (3, 4, 5))],
    "Fold": [((3, 2), {}, (2, 4, 4)), (((4, 5), (2, 3), 1, (0, 1), 2), {}, (6, 6))],
}  # fmt: skip


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    "name, args, kwargs, shape", [(name, *case) for name, cases in CASES.items() for case in cases],
    ids=lambda x: x if isinstance(x, str) else "",
)  # fmt: skip
@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel lengths:UserWarning")  # PyTorch
def test_layer(name, args, kwargs, shape, dtype):
    compare(name, args, kwargs, [normal(*shape)], dtype)


def test_every_layer_of_these_families_is_compared():
    families = ("convolution", "pooling", "padding", "vision")
    public = {
        name for name, x in vars(nn).items()
        if isinstance(x, type) and x.__module__ in {f"tinygrad_edu.nn.{family}" for family in families}
    }  # fmt: skip
    assert public == set(CASES)


@pytest.mark.parametrize("name, args, shape", [
    ("MaxPool1d", (2,), (2, 3, 6)), ("MaxPool2d", (2, 1), (2, 3, 6, 5)), ("MaxPool3d", (2,), (1, 2, 4, 4, 4)),
    ("AdaptiveMaxPool1d", (4,), (2, 3, 6)), ("AdaptiveMaxPool2d", (4,), (2, 3, 6, 5)),
    ("AdaptiveMaxPool3d", (3,), (1, 2, 4, 4, 4)),
])  # fmt: skip
def test_max_pooling_tells_where(name, args, shape):
    x = normal(*shape).astype("float32")
    theirs, ours = both(lambda lib: getattr(lib.nn, name)(*args, return_indices=True)(lib.tensor(x)))
    assert ours[0].tolist() == theirs[0].tolist() and ours[1].tolist() == theirs[1].tolist()
    assert ours[1].dtype == tg.int64
    flat = x.reshape(*x.shape[: -len(ours[0].shape) + 2], -1)
    picked = np.take_along_axis(flat, ours[1].flatten(2).numpy(), 2)
    assert (picked == ours[0].flatten(2).numpy()).all()


# ---- settings --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("make, match", [
    (lambda m, x: m.Conv2d(3, 4, 3, groups=2), "in_channels must be divisible by groups, got 3 and 2"),
    (lambda m, x: m.Conv2d(4, 3, 3, groups=2), "out_channels must be divisible by groups, got 3 and 2"),
    (lambda m, x: m.Conv2d(4, 4, 3, groups=0), "groups must be a positive integer, got 0"),
    (lambda m, x: m.Conv2d(4, 4, 3, padding="full"), "invalid padding string 'full'"),
    (lambda m, x: m.Conv2d(4, 4, 3, stride=2, padding="same"), "not supported for strided convolutions"),
    (lambda m, x: m.Conv2d(4, 4, 3, padding_mode="mirror"), "padding_mode='mirror'"),
    (lambda m, x: m.ConvTranspose2d(4, 4, 3, padding_mode="circular"), 'Only "zeros" padding mode'),
    (lambda m, x: m.ConvTranspose2d(2, 2, 3, 2)(x(1, 2, 5, 5), output_size=(13, 12)), "from (11, 11) to (12, 12)"),
    (lambda m, x: m.ConvTranspose2d(2, 2, 3, 2)(x(1, 2, 5, 5), output_size=(1, 13, 12)), "must have 2 or 4 elements"),
    (lambda m, x: m.Conv2d(2, 2, 3)(x(1, 3, 5, 5)), "to have 2 channels, but got 3"),
    (lambda m, x: m.CircularPad1d(1)(x(1, 2, 3, 3)), "expected 2D or 3D input, got 4D"),
    (lambda m, x: m.CircularPad2d(1)(x(3, 3)), "expected 3D or 4D input, got 2D"),
    (lambda m, x: m.Upsample()(x(1, 2, 3)), "either size or scale_factor"),
])  # fmt: skip
def test_settings_that_make_no_sense_are_refused(make, match):
    assert match in same_error(lambda lib: make(lib.nn, lib.zeros))[0]


@pytest.mark.parametrize("output_size", [(11, 12), (1, 3, 12, 11), [12, 12]])
def test_transposed_convolution_to_a_size(output_size):
    x = normal(1, 2, 5, 5).astype("float32")
    twin, layer = both(lambda lib: lib.nn.ConvTranspose2d(2, 3, 3, stride=2))
    load_from(twin, layer)
    expected, y = twin(torch.tensor(x), output_size), layer(tg.tensor(x), output_size)
    assert y.shape == expected.shape == (1, 3, *output_size[-2:])
    np.testing.assert_allclose(y.detach().numpy(), expected.detach().numpy(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("make, fan_in", [
    (lambda lib: lib.nn.Conv2d(6, 40, (3, 5), groups=2), 3 * 15),
    (lambda lib: lib.nn.Conv1d(8, 50, 3), 8 * 3),
    (lambda lib: lib.nn.ConvTranspose2d(40, 6, 3, groups=2), 3 * 9),
])  # fmt: skip
def test_weights_start_uniform_within_one_over_the_root_of_fan_in(make, fan_in):
    bound = 1 / math.sqrt(fan_in)
    for layer in both(make):
        weight, bias = layer.weight.detach().numpy(), layer.bias.detach().numpy()
        assert 0.97 * bound < np.abs(weight).max() <= bound and np.abs(bias).max() <= bound
        assert abs(weight.std() * math.sqrt(3) / bound - 1) < 0.1


def test_convolution_without_input_channels():
    with pytest.warns(UserWarning, match="zero-element"):
        layer = nn.Conv1d(0, 2, 3)
    assert layer(tg.zeros(1, 0, 5)).shape == (1, 2, 3) and layer.bias.tolist() == [0.0, 0.0]


def test_a_convolution_is_a_product_with_unfolded_windows():
    x, w = tg.randn(2, 3, 6, 5), tg.randn(4, 3, 3, 2)
    columns = F.unfold(x, (3, 2), padding=1, stride=2)
    y = (w.reshape(4, -1) @ columns).reshape(2, 4, 3, 3)
    assert_close(F.conv2d(x, w, padding=1, stride=2), y, rtol=1e-5, atol=1e-5)


def test_folding_what_was_unfolded_counts_each_element_once_for_every_window_it_is_in():
    x = tg.randn(1, 2, 5, 5, dtype=tg.float64)
    counts = F.fold(F.unfold(tg.ones_like(x), 3), 5, 3)
    assert counts[0, 0].tolist()[0] == [1, 2, 3, 2, 1] and counts.amax() == 9
    assert_close(F.fold(F.unfold(x, 3), 5, 3), x * counts)


def test_graphs_hold_what_gradients_need_and_no_more():
    """A frozen weight needs no input, and an input without gradient no weight."""
    x, w = tg.randn(1, 2, 4, 4), tg.randn(3, 2, 3, 3)
    for wanted, kept in ((x, [False, True]), (w, [True, False])):
        wanted.requires_grad_()
        for function in (F.conv2d, lambda a, b: F.conv_transpose2d(a, b.swapaxes(0, 1))):
            node = function(x, w)._node
            assert [s is not None for s in node.saved[:2]] == kept
        wanted.requires_grad_(False)


def test_a_window_that_holds_only_padding_is_refused():
    """PyTorch reads and writes beyond the input there."""
    with pytest.raises(RuntimeError, match="wholly on the padding of axis 2 of size 1"):
        F.max_pool1d(tg.zeros(1, 1, 1), 2, 1, padding=1, dilation=2)


def test_the_gradient_of_nearest_goes_where_the_value_came_from():
    """In PyTorch it does not, where the factor is not the quotient of the sizes."""
    x = tg.tensor([[[3.0, 4.0]]], requires_grad=True)
    y = F.interpolate(x, scale_factor=1.2)
    assert y.tolist() == torch.nn.functional.interpolate(torch.tensor([[[3.0, 4.0]]]), scale_factor=1.2).tolist()
    y.backward(tg.tensor([[[0.5, 2.0]]]))
    assert y.tolist() == [[[3.0, 3.0]]] and x.grad.tolist() == [[[2.5, 0.0]]]


def test_dropout_of_channels():
    for layer, shape in (
        (nn.Dropout1d, (40, 50, 3)),
        (nn.Dropout2d, (40, 50, 2, 2)),
        (nn.Dropout3d, (40, 50, 1, 2, 2)),
    ):
        drop = layer(0.25)
        y = drop(tg.ones(*shape)).flatten(2).numpy()
        assert (y == y[..., :1]).all()  # a channel as a whole
        assert set(np.unique(y).tolist()) == {0.0, np.float32(1 / 0.75).item()}
        assert abs((y[..., 0] != 0).mean() - 0.75) < 4 * math.sqrt(0.25 * 0.75 / 2000)
        assert drop.eval()(tg.ones(2, 3, *shape[2:])).tolist() == tg.ones(2, 3, *shape[2:]).tolist()
        same_text(lambda lib, name=layer.__name__: getattr(lib.nn, name)(0.25, inplace=True))
        with pytest.raises(ValueError, match="between 0 and 1"):
            layer(1.5)
    whole = nn.Dropout1d()(tg.ones(200, 3))  # without a batch the first axis is that of channels
    assert 50 < (whole.sum(1) == 0).sum() < 150 and set(whole.sum(1).tolist()) == {0.0, 6.0}
    x = tg.ones(4, 8, 3)
    assert nn.Dropout2d(inplace=True)(x) is x and (x == 0).any()


@pytest.mark.parametrize("function, shape", [("dropout1d", (2, 3, 4, 5)), ("dropout1d", (3,))])
def test_dropout_of_channels_refuses_other_dimensions(function, shape):
    message, _ = same_error(lambda lib: getattr(lib.nn.functional, function)(lib.zeros(*shape)))
    assert f"expected 2D or 3D input, but received a {len(shape)}D input" in message


# ---- a network -------------------------------------------------------------------------------------------------------


def make_net(lib):
    class Digits(lib.nn.Module):
        def __init__(self):
            super().__init__()
            self.features = lib.nn.Sequential(
                lib.nn.Conv2d(1, 6, 3, padding=1), lib.nn.BatchNorm2d(6), lib.nn.ReLU(), lib.nn.MaxPool2d(2),
                lib.nn.Conv2d(6, 8, 3, stride=2, groups=2), lib.nn.GroupNorm(2, 8), lib.nn.ReLU(),
                lib.nn.AdaptiveAvgPool2d((2, 2)),
            )  # fmt: skip
            self.head = lib.nn.Linear(32, 10)

        def forward(self, x):
            return self.head(self.features(x).flatten(1))

    return Digits()


def test_a_small_network_trains_as_its_twin():
    twin, net = both(make_net)
    load_from(twin, net)
    x, target = normal(20, 8, 1, 12, 12).astype("float32"), np.random.randint(0, 10, (20, 8))
    losses = []
    for lib, model in ((torch, twin), (tg, net)):
        optimizer = lib.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
        run = []
        for images, labels in zip(x, target, strict=True):
            loss = lib.nn.functional.cross_entropy(model(lib.tensor(images)), lib.tensor(labels))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            run.append(loss.item())
        model.eval()
        run.append(lib.nn.functional.cross_entropy(model(lib.tensor(x[0])), lib.tensor(target[0])).item())
        losses.append(run)
    np.testing.assert_allclose(losses[1], losses[0], rtol=1e-4)
