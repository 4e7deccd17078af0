"""Modules of further activations, losses, distances and bags of embeddings beside PyTorch's; what chance decides."""

from __future__ import annotations

import itertools
import math
import re

import numpy as np
import pytest
import torch
from twin import compare, in_both, normal, same_error, tensors

import tinygrad_edu as tg
from tinygrad_edu import nn
from tinygrad_edu.nn import functional as F
from tinygrad_edu.testing import gradcheck

DTYPES = ["float32", "float64"]
ACTIVATIONS = {
    "CELU": [(), (0.5,)],
    "GLU": [(), (0,)],
    "Hardshrink": [(), (1.5,)],
    "Hardswish": [()],
    "Mish": [()],
    "PReLU": [(), (4,), (1, 0.1)],
    "RReLU": [(0.2, 0.2)],
    "SELU": [()],
    "Softmin": [(1,)],
    "Softshrink": [(), (1.5,)],
    "Softsign": [()],
    "Tanhshrink": [()],
    "Threshold": [(0.5, -2.0)],
}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name, args", [(n, a) for n, cases in ACTIVATIONS.items() for a in cases])
def test_an_activation(name, args, dtype):
    compare(lambda lib: getattr(lib.nn, name)(*args), lambda lib, m, x: m(x), [2 * normal(6, 4)], dtype)


def test_hardsigmoid():
    """In float32 only, since PyTorch's gradient in float64 has the 1/6 of float32."""
    compare(lambda lib: lib.nn.Hardsigmoid(), lambda lib, m, x: m(x), [2 * normal(6, 4)], "float32")


def test_softmax2d():
    for shape in ((2, 3, 4, 5), (3, 4, 5)):
        compare(lambda lib: lib.nn.Softmax2d(), lambda lib, m, x: m(x), [normal(*shape)], "float64")
    assert "got 2D" in same_error(lambda lib: lib.nn.Softmax2d()(lib.zeros(2, 3)))


@pytest.mark.parametrize("name, args", [
    ("CELU", ()), ("Hardsigmoid", ()), ("Hardswish", ()), ("Mish", ()), ("RReLU", ()), ("SELU", ()),
    ("Threshold", (0.5, -2.0)),
])  # fmt: skip
def test_inplace_activations_overwrite_their_input(name, args):
    assert repr(getattr(nn, name)(*args, inplace=True)) == repr(getattr(torch.nn, name)(*args, inplace=True))
    values = [-4.0, -0.5, 0.25, 7.0]
    expected = getattr(nn, name)(*args).eval()(tg.tensor(values))
    x = tg.tensor(values)
    assert getattr(nn, name)(*args, inplace=True).eval()(x) is x and x.tolist() == expected.tolist()


def test_prelu_starts_and_restarts():
    module = nn.PReLU(3, init=0.1)
    assert np.allclose(module.weight.detach().numpy(), 0.1) and module.weight.dtype == tg.float32
    with tg.no_grad():
        module.weight.zero_()
    module.reset_parameters()
    assert np.allclose(module.weight.detach().numpy(), 0.1)


# ---- by chance -------------------------------------------------------------------------------------------------------


def test_rrelu_draws_a_slope_for_each_negative_element():
    x = -tg.ones(20000, requires_grad=True)
    y = F.rrelu(x, 0.1, 0.5, training=True)
    slopes = -y.detach().numpy()
    assert 0.1 <= slopes.min() < 0.101 and 0.499 < slopes.max() <= 0.5 and abs(slopes.mean() - 0.3) < 0.003
    gy = tg.randn(20000)
    (gx,) = tg.autograd.grad(y, x, gy)
    np.testing.assert_allclose(gx.numpy(), slopes * gy.numpy(), rtol=1e-6)
    positive = tg.rand(100)
    module = nn.RReLU(inplace=True)
    assert (module(positive.clone()) == positive).all()
    tg.manual_seed(1)
    first = module(-positive)
    tg.manual_seed(1)
    assert (nn.RReLU()(-positive) == first).all() and not (nn.RReLU()(-positive) == first).all()


@pytest.mark.parametrize("tau", [1.0, 0.5])
def test_gumbel_softmax_draws_classes_with_their_probabilities(tau):
    logits = tg.tensor([0.0, 1.0, -1.0, 2.0])
    drawn = F.gumbel_softmax(logits.expand(20000, 4), tau=tau, hard=True)
    assert set(drawn.unique().tolist()) == {0.0, 1.0} and (drawn.sum(-1) == 1).all()
    p = logits.softmax(0).numpy()
    assert (abs(drawn.mean(0).numpy() - p) < 4 * np.sqrt(p * (1 - p) / 20000)).all()


def test_gumbel_softmax_is_differentiable():
    logits, gy = tg.randn(5, 3, requires_grad=True), tg.randn(5, 3)
    tg.manual_seed(1)
    soft = F.gumbel_softmax(logits, tau=0.7, dim=0)
    np.testing.assert_allclose(soft.sum(0).detach().numpy(), 1.0, rtol=1e-6)
    (expected,) = tg.autograd.grad(soft, logits, gy)
    tg.manual_seed(1)
    hard = F.gumbel_softmax(logits, tau=0.7, hard=True, dim=0)
    assert (hard.round() == (soft == soft.amax(0))).all()
    np.testing.assert_allclose(tg.autograd.grad(hard, logits, gy)[0].numpy(), expected.numpy(), rtol=1e-5, atol=1e-7)
    # softmax's own gradient, divided by the temperature
    s, g = soft.detach().numpy(), gy.numpy()
    np.testing.assert_allclose(expected.numpy(), s * (g - (s * g).sum(0)) / 0.7, rtol=1e-4, atol=1e-6)
    assert F.gumbel_softmax(tg.tensor(3.0), hard=True).tolist() == 1.0
    assert F.gumbel_softmax(tg.zeros(1000).half()).isfinite().all()
    assert "out of range" in same_error(lambda lib: lib.nn.functional.gumbel_softmax(lib.zeros(2, 3), dim=5))
    assert "floating" in same_error(lambda lib: lib.nn.functional.gumbel_softmax(lib.ones(2).long()))


# ---- losses and distances --------------------------------------------------------------------------------------------

SIGNS = np.array([1, -1, 1, -1, 1])
LOSSES = {
    "CosineEmbeddingLoss": ([{}, {"margin": 0.3}], lambda: [normal(5, 4), normal(5, 4), SIGNS]),
    "GaussianNLLLoss": ([{}, {"full": True}], lambda: [normal(5, 4), normal(5, 4), np.random.rand(5, 4) + 0.1]),
    "HingeEmbeddingLoss": ([{}, {"margin": 0.3}], lambda: [normal(5), SIGNS]),
    "MarginRankingLoss": ([{}, {"margin": 0.3}], lambda: [normal(5), normal(5), SIGNS]),
    "MultiLabelMarginLoss": ([{}], lambda: [normal(2, 3), np.array([[0, -1, 2], [2, 1, -1]])]),
    "MultiLabelSoftMarginLoss": ([{}], lambda: [normal(5, 4), np.random.randint(0, 2, (5, 4))]),
    "MultiMarginLoss": ([{}, {"p": 2, "margin": 0.5}], lambda: [normal(5, 4), np.array([0, 3, 1, 2, 2])]),
    "PoissonNLLLoss": ([{}, {"full": True, "eps": 1e-4}], lambda: [normal(5), np.array([0, 1, 2, 5, 3])]),
    "SoftMarginLoss": ([{}], lambda: [normal(5), SIGNS]),
    "TripletMarginLoss": (
        [{}, {"margin": 0.5, "p": 1.0, "eps": 1e-3, "swap": True}], lambda: [normal(5, 4) for _ in range(3)],
    ),
    "TripletMarginWithDistanceLoss": ([{}, {"margin": 3.0, "swap": True}], lambda: [normal(5, 4) for _ in range(3)]),
}  # fmt: skip
LOSS_CASES = [(n, {**s, **r}) for n, (cases, _) in LOSSES.items() for s in cases for r in ({}, {"reduction": "none"})]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name, settings", LOSS_CASES, ids=str)
def test_a_loss(name, settings, dtype):
    compare(lambda lib: getattr(lib.nn, name)(**settings), lambda lib, m, *x: m(*x), LOSSES[name][1](), dtype)


def test_ctc_loss():
    targets, lengths = np.array([[1, 2, 2], [3, 1, 0]]), np.array([3, 2])

    def call(lib, module, x):
        return module(x.log_softmax(-1), lib.tensor(targets), lib.tensor([6, 5]), lib.tensor(lengths))

    for settings in ({}, {"blank": 4, "reduction": "sum", "zero_infinity": True}):
        compare(lambda lib, settings=settings: lib.nn.CTCLoss(**settings), call, [normal(6, 2, 5)], "float64")


def test_ctc_loss_is_the_sum_over_all_alignments():
    """The definition, by listing every path through 4 steps."""
    x = tg.tensor(normal(4, 3)).log_softmax(-1)
    p, total = x.exp().numpy(), 0.0
    for path in itertools.product(range(3), repeat=4):
        read = [c for c, _ in itertools.groupby(path) if c != 0]
        if read == [2, 1]:
            total += math.prod(p[t, c] for t, c in enumerate(path))
    loss = F.ctc_loss(x, tg.tensor([2, 1]), [4], [2], reduction="sum")
    assert math.isclose(loss.item(), -math.log(total), rel_tol=1e-12)


def test_ctc_loss_refuses_classes_that_do_not_exist():
    """PyTorch reads beyond its memory."""
    with pytest.raises(RuntimeError, match=r"classes, 0 .. 2, got 1, 3"):
        F.ctc_loss(tg.zeros(4, 3), tg.tensor([1, 3]), [4], [2])


def test_ctc_loss_has_the_gradient_of_its_formula():
    """Also where the log-probabilities do not come from log_softmax."""
    x = tg.tensor(normal(5, 2, 4), requires_grad=True)
    gradcheck(lambda x: F.ctc_loss(x, tg.tensor([[1, 1], [2, 3]]), [5, 4], [2, 2], reduction="none"), [x])


def test_a_triplet_loss_with_a_distance_of_its_own():
    def make(lib):
        return lib.nn.TripletMarginWithDistanceLoss(distance_function=lib.nn.CosineSimilarity(), margin=0.7)

    compare(make, lambda lib, m, *x: m(*x), [normal(5, 4) for _ in range(3)], "float64")


@pytest.mark.parametrize("name", ["MultiMarginLoss", "MultiLabelSoftMarginLoss"])
def test_weights_of_a_loss_are_buffers(name):
    weight = np.array([0.5, 2.0, 1.0])
    target = np.array([0, 2]) if name == "MultiMarginLoss" else np.array([[0, 1, 1], [1, 0, 1]])

    def make(lib):
        return getattr(lib.nn, name)(weight=lib.tensor(weight))

    compare(make, lambda lib, m, x: m(x, lib.tensor(target)), [normal(2, 3)], "float64")
    assert list(make(tg).state_dict()) == ["weight"]


@pytest.mark.parametrize("settings", [{}, {"p": 1.0, "eps": 0.1, "keepdim": True}])
def test_pairwise_distance(settings):
    x, y = normal(5, 4), normal(5, 4)
    compare(lambda lib: lib.nn.PairwiseDistance(**settings), lambda lib, m, *x: m(*x), [x, y], "float64")


@pytest.mark.parametrize("make, match", [
    (lambda nn: nn.TripletMarginLoss(margin=0), "greater than 0, got 0"),
    (lambda nn: nn.TripletMarginWithDistanceLoss(margin=-1), "greater than 0, got -1"),
    (lambda nn: nn.MultiMarginLoss(p=3), "got 3"),
    (lambda nn: nn.EmbeddingBag(3, 2, padding_idx=3), "got 3 for 3"),
    (lambda nn: nn.EmbeddingBag.from_pretrained(nn.Parameter()), r"2 dimensions, got shape \(0,\)"),
    (lambda nn: nn.EmbeddingBag(3, 2, _weight=nn.Parameter()), r"table \(3, 2\), got \(0,\)"),
])  # fmt: skip
def test_settings_that_make_no_sense_are_refused(make, match):
    assert re.search(match, same_error(lambda lib: make(lib.nn)))


def test_soft_margin_does_not_overflow():
    """Where PyTorch gives infinity."""
    x = tg.tensor([-200.0, 200.0], requires_grad=True)
    y = F.soft_margin_loss(x, tg.ones(2), reduction="none")
    assert y.tolist() == [200.0, 0.0]
    assert tg.autograd.grad(y, x, tg.tensor([2.0, 3.0]))[0].tolist() == [-2.0, 0.0]


# ---- bags of embeddings ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("settings", [
    {}, {"mode": "sum"}, {"mode": "max"}, {"padding_idx": 2}, {"mode": "max", "padding_idx": -1}, {"max_norm": 1.0},
    {"max_norm": 0.5, "norm_type": 1.0, "mode": "sum"}, {"include_last_offset": True},
], ids=str)  # fmt: skip
def test_a_bag(settings, dtype):
    offsets = [0, 2, 2, 5, 7] if settings.get("include_last_offset") else [0, 2, 2, 5]
    index = np.array([0, 2, 5, 5, 1, 2, 2])

    def make(lib):
        return lib.nn.EmbeddingBag(6, 4, **settings)

    compare(make, lambda lib, m: m(lib.tensor(index), lib.tensor(offsets)), [], dtype)
    compare(make, lambda lib, m: m(lib.tensor(index[:6].reshape(2, 3))), [], dtype)
    compare(make, lambda lib, m: m(lib.tensor(index), offsets=lib.tensor(offsets)), [], dtype)


def test_a_bag_of_weighted_rows():
    index = np.array([[0, 2, 5], [5, 1, 2]])

    def call(lib, module, weights):
        return module(lib.tensor(index), per_sample_weights=weights)

    compare(lambda lib: lib.nn.EmbeddingBag(6, 4, mode="sum"), call, [normal(2, 3)], "float64")


def test_a_bag_scales_gradients_by_frequency():
    """PyTorch 2.13 takes the frequency of another row for some of them."""
    plain, scaled = nn.EmbeddingBag(6, 4), nn.EmbeddingBag(6, 4, scale_grad_by_freq=True)
    assert repr(scaled) == repr(torch.nn.EmbeddingBag(6, 4, scale_grad_by_freq=True))
    index, gy = tg.tensor([[0, 5, 1], [5, 5, 2]]), tg.randn(2, 4)
    for module in (plain, scaled):
        module(index).backward(gy)
    times = np.array([1, 1, 1, 1, 1, 3])[:, None]
    np.testing.assert_allclose(scaled.weight.grad.numpy() * times, plain.weight.grad.numpy(), rtol=1e-6)


def test_a_bag_from_pretrained_shares_the_table():
    table = tg.randn(4, 3)
    frozen, learning = nn.EmbeddingBag.from_pretrained(table), nn.EmbeddingBag.from_pretrained(table, False, mode="max")
    assert not frozen.weight.requires_grad and learning.weight.requires_grad and learning.mode == "max"
    assert np.shares_memory(frozen.weight.numpy(), table.numpy())
    np.testing.assert_allclose(frozen(tg.tensor([[2, 3]]))[0].numpy(), (table[2:].sum(0) / 2).numpy(), rtol=1e-6)
    values = nn.EmbeddingBag(1000, 30, padding_idx=3).weight.detach().numpy()
    assert not values[3].any() and abs(values.std() - 1) < 0.02


def test_offsets_that_decrease_are_refused():
    with pytest.raises(RuntimeError, match=r"not decrease.*got \[0, 3, 2\]"):
        F.embedding_bag(tg.tensor([0, 1, 2, 3]), tg.zeros(4, 2), tg.tensor([0, 3, 2]))
    with pytest.raises(NotImplementedError, match="sparse gradients are not supported"):
        F.embedding_bag(tg.tensor([[0]]), tg.zeros(4, 2), sparse=True)


def test_a_classifier_of_bags_learns_as_in_torch():
    """50 steps of mean-pooled embeddings of texts of different lengths, from the same weights: the same losses."""
    rng = np.random.default_rng(0)
    texts = [rng.integers(0, 30, n) for n in rng.integers(1, 12, 40)]
    labels = np.array([int((t < 5).any()) for t in texts])
    offsets = np.cumsum([0, *map(len, texts[:-1])])

    def make(lib):
        return lib.nn.ModuleDict({"words": lib.nn.EmbeddingBag(30, 8), "head": lib.nn.Linear(8, 2)})

    def losses(lib, model):
        optimizer = lib.optim.Adam(model.parameters(), lr=0.05)
        index, starts, target = tensors(lib, [np.concatenate(texts), offsets, labels], "float32")
        found = []
        for _ in range(50):
            loss = lib.nn.functional.cross_entropy(model["head"](model["words"](index, starts)), target)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            found.append(loss.item())
        return found

    twin, model = in_both(make)
    expected, found = losses(torch, twin), losses(tg, model)
    assert expected[-1] < 0.3 * expected[0] and not math.isnan(expected[-1])
    np.testing.assert_allclose(found, expected, rtol=1e-4)
