"""Muon against PyTorch's, and its orthogonalisation against the definition."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import tinygrad_edu as te
from tests.test_optim import assert_close, assert_same, make, parameter, set_gradients, twins
from tinygrad_edu.kernels import SMALLEST, stacked_product
from tinygrad_edu.optim.muon import orthogonalized
from tinygrad_edu.tensor import made

TOLERANCE = {"float32": 2e-6, "float64": 1e-13}
SHAPES = [(4, 5), (5, 4), (6, 6), (48, 16), (5, 4), (1, 7), (7, 1), (0, 2)]
COEFFICIENTS = (3.4445, -4.775, 2.0315)

CASES = [
    {"lr": 0.02},
    {"lr": 0.02, "weight_decay": 0.0, "momentum": 0.9, "nesterov": False},
    {"lr": 1e-2, "weight_decay": 0.3, "adjust_lr_fn": "match_rms_adamw"},
    {"lr": 0.02, "adjust_lr_fn": "original", "ns_steps": 7, "ns_coefficients": (2.0, -1.5, 0.5)},
    {"lr": 0.02, "ns_steps": 0, "momentum": 0.0},
    {"lr": 0.02, "ns_steps": 2, "eps": 100.0},
]


@pytest.fixture
def unrounded(monkeypatch):
    """PyTorch's Muon without its rounding to bfloat16."""
    monkeypatch.setattr(torch.Tensor, "bfloat16", torch.Tensor.clone)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("options", CASES, ids=str)
def test_twenty_steps_equal_pytorch(options, dtype, unrounded):
    rng = np.random.default_rng(1)
    ours = [parameter(rng.standard_normal(s).astype(dtype)) for s in SHAPES]
    theirs = [torch.tensor(p.detach().numpy(), requires_grad=True) for p in ours]
    opt, rival = te.optim.Muon(ours, **options), torch.optim.Muon(theirs, **options)
    for _ in range(20):
        set_gradients(rng, ours, theirs)
        before = [p._array.copy() for p in ours]
        with torch.no_grad():  # every step from the same place, so that a wrong one cannot hide behind the others
            for p, q in zip(ours, theirs, strict=True):
                q.copy_(torch.from_numpy(p._array))
        opt.step()
        rival.step()
        for p, q, b in zip(ours, theirs, before, strict=True):
            moved = q.detach().numpy() - b
            scale = np.abs(q.detach().numpy()).max(initial=0.0)
            np.testing.assert_allclose(p._array - b, moved, rtol=0, atol=TOLERANCE[dtype] * scale)
            assert p._array.dtype == dtype
    assert list(opt.state_dict()["state"]) == list(rival.state_dict()["state"])
    for p, q in zip(ours, theirs, strict=True):  # the state too, under PyTorch's names
        assert opt.state[p].keys() == rival.state[q].keys()
        assert_close(opt.state[p]["momentum_buffer"]._array, rival.state[q]["momentum_buffer"].numpy(), dtype)


def test_pytorch_as_it_is_differs_by_the_rounding_of_bfloat16():
    rng = np.random.default_rng(2)
    ours, theirs = parameter(np.zeros((96, 32), "float32")), torch.zeros(96, 32, requires_grad=True)
    opt, rival = te.optim.Muon([ours], lr=1.0), torch.optim.Muon([theirs], lr=1.0)
    set_gradients(rng, [ours], [theirs])
    opt.step()
    rival.step()
    difference = np.linalg.norm(ours._array - theirs.detach().numpy()) / np.linalg.norm(ours._array)
    assert 1e-5 < difference < 2e-2


def definition(x, coefficients, steps, eps):
    """The iteration as Jordan et al. write it, on one matrix (R, C)."""
    a, b, c = coefficients
    if len(x) > x.shape[1]:
        return definition(x.T, coefficients, steps, eps).T
    x = x / max(np.linalg.norm(x), eps)
    for _ in range(steps):
        gram = x @ x.T
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x


@pytest.mark.parametrize("steps", [1, 3, 4, 5, 9])
@pytest.mark.parametrize("shape", [(32, 32), (32, 96), (128, 32)])
@pytest.mark.parametrize("spectrum", ["even", "falling", "few"])
def test_products_of_gram_matrices_are_as_accurate_as_the_definition(shape, spectrum, steps):
    rng = np.random.default_rng(3)
    u, _, v = np.linalg.svd(rng.standard_normal(shape), full_matrices=False)
    values = {"even": np.ones(32), "falling": np.logspace(0, -6, 32), "few": np.where(np.arange(32) < 5, 1, 1e-9)}
    x = 1e-3 * (u * values[spectrum]) @ v
    exact = definition(x, COEFFICIENTS, steps, 1e-7)

    def error(found):
        return np.linalg.norm(found - exact) / np.linalg.norm(exact)

    x = x.astype("float32")
    found = orthogonalized(np.stack([rng.standard_normal(shape).astype("float32"), x]), COEFFICIENTS, steps, 1e-7)[1]
    assert found.dtype == "float32"
    assert error(found) < max(3 * error(definition(x, COEFFICIENTS, steps, 1e-7)), 1e-5)  # bfloat16 rounds at 4e-3


def test_singular_values_come_near_one():
    x = np.random.default_rng(4).standard_normal((2, 40, 20))
    values = np.linalg.svd(orthogonalized(x, COEFFICIENTS, 5, 1e-7), compute_uv=False)
    assert 0.6 < values.min() and values.max() < 1.3


def test_a_gradient_of_zeros_only_decays():
    p = parameter(np.ones((3, 2), "float32"))
    p.grad = made(np.zeros((3, 2), "float32"))
    te.optim.Muon([p], lr=0.5, weight_decay=0.1).step()
    np.testing.assert_array_equal(p._array, np.float32(0.95) * np.ones((3, 2), "float32"))


def test_a_bad_gradient_spoils_its_own_matrix_only():
    a, b = parameter(np.ones((3, 2), "float32")), parameter(np.ones((3, 2), "float32"))
    a.grad, b.grad = made(np.full((3, 2), np.nan, "float32")), made(np.eye(3, 2, dtype="float32"))
    te.optim.Muon([a, b]).step()
    assert np.isnan(a._array).all() and np.isfinite(b._array).all()


def test_a_resumed_run_equals_an_uninterrupted_one():
    rng = np.random.default_rng(5)
    start = [rng.standard_normal(s).astype("float32") for s in SHAPES]
    gradients = [[rng.standard_normal(s).astype("float32") for s in SHAPES] for _ in range(6)]

    def train(params, opt, steps):
        for step in steps:
            for p, g in zip(params, gradients[step], strict=True):
                p.grad = made(g.copy())
            opt.step()

    whole = [parameter(a) for a in start]
    train(whole, te.optim.Muon(whole, lr=0.05), range(6))
    first = [parameter(a) for a in start]
    opt = te.optim.Muon(first, lr=0.05)
    train(first, opt, range(3))
    second = [parameter(p._array) for p in first]
    resumed = te.optim.Muon(second, lr=3.0)
    resumed.load_state_dict(opt.state_dict())
    train(second, resumed, range(3, 6))
    for a, b in zip(whole, second, strict=True):
        assert np.array_equal(a._array, b._array)


def test_the_state_passes_from_pytorch(unrounded):
    rng = np.random.default_rng(6)
    ours, theirs, _, _ = twins([rng.standard_normal(s).astype("float32") for s in SHAPES[:3]], "SGD", {"lr": 0.1})
    rival = torch.optim.Muon(theirs, lr=0.02)
    for _ in range(3):
        set_gradients(rng, ours, theirs)
        rival.step()
    state = rival.state_dict()
    mine = te.optim.Muon(ours, lr=1.0)
    assert mine.state_dict()["param_groups"][0].keys() == state["param_groups"][0].keys()
    state["state"] = {i: {k: made(v.numpy().copy()) for k, v in e.items()} for i, e in state["state"].items()}
    mine.load_state_dict(state)
    for p, q in zip(ours, theirs, strict=True):
        p._array[:] = q.detach().numpy()
    set_gradients(rng, ours, theirs)
    mine.step()
    rival.step()
    assert_same(ours, theirs, "float32")


def test_groups_have_options_of_their_own(unrounded):
    rng = np.random.default_rng(7)
    arrays = [rng.standard_normal((4, 3)) for _ in range(3)]
    ours, theirs = [parameter(a) for a in arrays], [torch.tensor(a, requires_grad=True) for a in arrays]
    both = []
    for library, ps in ((te, ours), (torch, theirs)):
        opt = library.optim.Muon([{"params": ps[:1], "lr": 0.5}, {"params": ps[1]}], lr=0.01)
        opt.add_param_group({"params": ps[2:], "momentum": 0.5, "ns_steps": 3})
        both.append(opt)
    for _ in range(3):
        set_gradients(rng, ours, theirs)
        for opt in both:
            opt.step()
    for p, q in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(p._array, q.detach().numpy(), rtol=0, atol=1e-12)


def test_strided_parameters_and_gradients():
    rng = np.random.default_rng(8)
    base, g = rng.standard_normal((30, 20)), rng.standard_normal((20, 30))
    strided, plain = made(base.copy().T, requires_grad=True), parameter(base.T)
    for p in (strided, plain):
        opt = te.optim.Muon([p], lr=0.1)
        for _ in range(3):
            p.grad = made(g if p is strided else np.asfortranarray(g))
            opt.step()
    np.testing.assert_allclose(strided._array, plain._array, rtol=0, atol=1e-12)
    assert strided._array.flags.f_contiguous


def test_float16_is_computed_in_float32():
    rng = np.random.default_rng(9)
    values, gradient = rng.standard_normal((6, 4)).astype("float16"), rng.standard_normal((6, 4)).astype("float16")
    short, long = parameter(values), parameter(values.astype("float32"))
    short.grad, long.grad = made(gradient), made(gradient.astype("float32"))
    te.optim.Muon([short]).step()
    te.optim.Muon([long]).step()
    assert short._array.dtype == "float16"
    np.testing.assert_allclose(short._array, long._array, rtol=0, atol=5e-3)


@pytest.mark.parametrize("options", [
    {"lr": -1}, {"momentum": -0.1}, {"weight_decay": -0.1}, {"adjust_lr_fn": "best"},
])  # fmt: skip
def test_options_out_of_range_are_refused_as_in_pytorch(options):
    with pytest.raises(ValueError) as expected:
        torch.optim.Muon([torch.ones(1, 1)], **options)
    with pytest.raises(ValueError) as found:
        make("Muon", [parameter(np.ones((1, 1)))], options)
    assert str(found.value) == str(expected.value)


@pytest.mark.parametrize("options, message", [
    ({"ns_steps": 100}, "from 0 to 99"), ({"ns_steps": -1}, "from 0 to 99"),
    ({"ns_coefficients": (1.0, 2.0)}, "exactly 3 values"), ({"lr": float("nan")}, "Learning rate"),
])  # fmt: skip
def test_options_that_can_never_work_are_refused_at_once(options, message):
    with pytest.raises(ValueError, match=message):
        make("Muon", [parameter(np.ones((1, 1)))], options)


@pytest.mark.parametrize("shape", [(), (3,), (2, 2, 2)])
def test_only_matrices_are_taken(shape):
    with pytest.raises(ValueError) as expected:
        torch.optim.Muon([torch.ones(shape)])
    with pytest.raises(ValueError) as found:
        te.optim.Muon([parameter(np.ones(shape))])
    assert str(found.value) == str(expected.value).replace("torch", "tinygrad_edu")


@pytest.mark.parametrize("shape", [(128, 128), (160, 128), (128, 160)])
def test_the_kernels_compute_the_same(shape):
    rng = np.random.default_rng(10)
    stack = rng.standard_normal((3, *shape)).astype("float32")
    assert stack.size >= SMALLEST
    found = orthogonalized(stack, COEFFICIENTS, 5, 1e-7)
    with te.use_kernels("reference"):
        expected = orthogonalized(stack, COEFFICIENTS, 5, 1e-7)
    np.testing.assert_allclose(found, expected, rtol=0, atol=2e-6)


def test_stacked_products_of_matrices_and_their_transposes():
    rng = np.random.default_rng(11)
    a, b = rng.standard_normal((5, 70, 60)).astype("float32"), rng.standard_normal((5, 60, 90)).astype("float32")
    for left in (a, a.swapaxes(1, 2).copy().swapaxes(1, 2), a[:, ::-1], a.astype("float64")):
        for right in (b, b.swapaxes(1, 2).copy().swapaxes(1, 2)):
            found = stacked_product(left, right)
            np.testing.assert_allclose(found, left @ right, rtol=0, atol=1e-4)
            assert found.dtype == left.dtype
