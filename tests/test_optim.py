"""Optimizers against PyTorch's, from the same parameters and gradients."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch

import tinygrad_edu as te
from tinygrad_edu.optim import SGD, Adam, AdamW, Optimizer, RMSprop
from tinygrad_edu.optim.optimizer import BLOCK
from tinygrad_edu.tensor import Tensor, made

# A few roundings of the largest number on the way: the update is computed in PyTorch's order, so that only its fused
# multiply-adds differ.
TOLERANCE = {"float32": 1e-6, "float64": 1e-14}
SHAPES = [(), (3,), (4, 5), (0, 2), (BLOCK + 77,), (3, BLOCK)]

CASES = [
    ("SGD", {"lr": 0.1}),
    ("SGD", {"lr": 0.1, "weight_decay": 0.05, "maximize": True}),
    ("SGD", {"lr": 0.1, "momentum": 0.9}),
    ("SGD", {"lr": 0.1, "momentum": 0.9, "dampening": 0.3, "weight_decay": 0.1}),
    ("SGD", {"lr": 0.1, "momentum": 0.8, "nesterov": True, "weight_decay": 0.1}),
    ("Adam", {"lr": 0.01}),
    ("Adam", {"lr": 0.01, "weight_decay": 0.1, "amsgrad": True, "betas": (0.8, 0.99)}),
    ("Adam", {"lr": 0.01, "maximize": True, "eps": 1e-3}),
    ("Adam", {"lr": 0.01, "betas": (0.3, 0.5)}),
    ("AdamW", {"lr": 0.01}),
    ("AdamW", {"lr": 0.01, "weight_decay": 0.2, "amsgrad": True, "betas": (0.9, 0.95)}),
    ("AdamW", {"lr": 0.01, "weight_decay": 0.0, "betas": (0.0, 0.9)}),
    ("RMSprop", {"lr": 0.01}),
    ("RMSprop", {"lr": 0.01, "momentum": 0.9, "weight_decay": 0.1, "alpha": 0.9}),
    ("RMSprop", {"lr": 0.01, "centered": True, "eps": 1e-4}),
    ("RMSprop", {"lr": 0.01, "centered": True, "momentum": 0.5, "maximize": True, "eps": 1e-4}),
]


def parameter(array: np.ndarray) -> Tensor:
    return made(array.copy(), requires_grad=True)


def twins(arrays, name, options):
    """The same parameters and optimizer here and in PyTorch."""
    ours = [parameter(a) for a in arrays]
    theirs = [torch.tensor(a, requires_grad=True) for a in arrays]
    return (
        ours, theirs, getattr(te.optim, name)(ours, **options),
        getattr(torch.optim, name)(theirs, foreach=False, **options),
    )  # fmt: skip


def set_gradients(rng, ours, theirs):
    for p, q in zip(ours, theirs, strict=True):
        g = rng.standard_normal(p.shape).astype(p._array.dtype)
        p.grad, q.grad = made(g.copy()), torch.tensor(g)


def assert_close(found, expected, dtype):
    scale = np.abs(expected).max(initial=1.0)
    np.testing.assert_allclose(found, expected, rtol=0, atol=TOLERANCE[dtype] * scale)
    assert found.dtype == expected.dtype


def assert_same(ours, theirs, dtype):
    for p, q in zip(ours, theirs, strict=True):
        assert_close(p._array, q.detach().numpy(), dtype)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name, options", CASES, ids=lambda x: str(x))
def test_twenty_steps_equal_pytorch(name, options, dtype):
    rng = np.random.default_rng(1)
    ours, theirs, opt, rival = twins([rng.standard_normal(s).astype(dtype) for s in SHAPES], name, options)
    for _ in range(20):
        set_gradients(rng, ours, theirs)
        opt.step()
        rival.step()
    assert_same(ours, theirs, dtype)
    for p, q in zip(ours, theirs, strict=True):  # the state too, under PyTorch's names
        assert opt.state[p].keys() == {k for k, v in rival.state[q].items() if v is not None}
        for key, value in opt.state[p].items():
            assert_close(value._array, rival.state[q][key].numpy(), dtype)


@pytest.mark.parametrize("name, options", [CASES[3], CASES[6], CASES[10], CASES[15]], ids=lambda x: str(x))
def test_a_resumed_run_equals_an_uninterrupted_one(name, options):
    rng = np.random.default_rng(2)
    start = [rng.standard_normal(s).astype("float32") for s in SHAPES]
    gradients = [[rng.standard_normal(s).astype("float32") for s in SHAPES] for _ in range(10)]

    def train(params, opt, steps):
        for step in steps:
            for p, g in zip(params, gradients[step], strict=True):
                p.grad = made(g.copy())
            opt.step()

    whole = [parameter(a) for a in start]
    train(whole, make(name, whole, options), range(10))

    first = [parameter(a) for a in start]
    opt = make(name, first, options)
    train(first, opt, range(4))
    saved = opt.state_dict()
    second = [parameter(p._array) for p in first]
    resumed = make(name, second, {"lr": 5.0})
    resumed.load_state_dict(saved)
    assert {k: v for k, v in resumed.param_groups[0].items() if k != "params"} == {
        k: v for k, v in opt.param_groups[0].items() if k != "params"
    }
    train(first, opt, range(4, 10))  # the loaded state is a copy: this does not disturb it
    train(second, resumed, range(4, 10))
    for a, b, c in zip(whole, first, second, strict=True):
        assert np.array_equal(a._array, b._array) and np.array_equal(a._array, c._array)


def make(name, params, options) -> Optimizer:
    return getattr(te.optim, name)(params, **options)


@pytest.mark.parametrize("name, options", [CASES[4], CASES[6], CASES[10], CASES[15]], ids=lambda x: str(x))
def test_the_state_has_pytorchs_layout_and_passes_between_them(name, options):
    rng = np.random.default_rng(3)
    ours, theirs, opt, rival = twins([rng.standard_normal(s).astype("float32") for s in SHAPES[:3]], name, options)
    for _ in range(3):
        set_gradients(rng, ours, theirs)
        opt.step()
        rival.step()
    mine, yours = opt.state_dict(), rival.state_dict()
    assert mine["state"].keys() == yours["state"].keys()
    assert [g["params"] for g in mine["param_groups"]] == [g["params"] for g in yours["param_groups"]]
    for key, value in mine["param_groups"][0].items():
        assert yours["param_groups"][0][key] == value
    # PyTorch's state continues here.
    yours["state"] = {
        i: {k: made(v.numpy().copy()) for k, v in entries.items()} for i, entries in yours["state"].items()
    }
    fresh = make(name, ours, {"lr": 1.0})
    fresh.load_state_dict(yours)
    for _ in range(3):
        set_gradients(rng, ours, theirs)
        fresh.step()
        rival.step()
    assert_same(ours, theirs, "float32")


@pytest.mark.parametrize("name", ["SGD", "Adam", "AdamW", "RMSprop"])
def test_groups_have_options_of_their_own(name):
    rng = np.random.default_rng(4)
    arrays = [rng.standard_normal((3, 2)) for _ in range(3)]
    ours, theirs = [parameter(a) for a in arrays], [torch.tensor(a, requires_grad=True) for a in arrays]
    both = []
    for library, ps in ((te, ours), (torch, theirs)):
        groups = [{"params": ps[:1], "lr": 0.5}, {"params": ps[1]}]
        opt = getattr(library.optim, name)(groups, lr=0.01, weight_decay=0.1)
        opt.add_param_group({"params": ps[2:], "weight_decay": 0.0})
        both.append(opt)
    for _ in range(5):
        set_gradients(rng, ours, theirs)
        both[0].param_groups[0]["lr"] *= 0.9
        both[1].param_groups[0]["lr"] *= 0.9
        for opt in both:
            opt.step()
    assert_same(ours, theirs, "float64")


@pytest.mark.parametrize("name", ["SGD", "AdamW", "RMSprop"])
def test_strided_parameters_and_gradients(name):
    rng = np.random.default_rng(5)
    base, g = rng.standard_normal((300, 200)), rng.standard_normal((200, 300))
    strided = made(base.copy().T, requires_grad=True)
    plain = parameter(base.T)
    options = {"lr": 0.1, "weight_decay": 0.1} | ({} if name == "AdamW" else {"momentum": 0.9})
    for p in (strided, plain):
        opt = make(name, [p], options)
        for _ in range(3):
            p.grad = made(g if p is strided else np.asfortranarray(g))
            opt.step()
    assert np.array_equal(strided._array, plain._array)
    assert strided._array.flags.f_contiguous


def test_the_memory_of_parameters_gradients_and_moments():
    p = parameter(np.ones((2, 3), "float32"))
    array, g = p._array, np.full((2, 3), 0.5, "float32")
    p.grad = made(g)
    opt = AdamW([p], weight_decay=0.1)
    opt.step()
    moment = opt.state[p]["exp_avg"]._array
    opt.step()
    assert p._array is array and opt.state[p]["exp_avg"]._array is moment  # changed where they lie
    assert (g == 0.5).all()
    assert p._version == 2  # backward notices a value it saved before


def test_parameters_without_gradient_are_left_alone():
    used, unused = parameter(np.ones(2)), parameter(np.ones(2))
    opt = Adam([used, unused])
    used.grad = made(np.ones(2))
    opt.step()
    assert (unused._array == 1).all() and (used._array != 1).all()
    assert list(opt.state_dict()["state"]) == [0]


def test_zero_grad():
    a, b = parameter(np.ones(2)), parameter(np.ones(2))
    opt = SGD([a, b])
    a.grad = made(np.ones(2))
    held = a.grad
    opt.zero_grad(set_to_none=False)
    assert (a.grad._array == 0).all() and b.grad is None
    assert (held._array == 1).all()
    opt.zero_grad()
    assert a.grad is None


def test_step_evaluates_a_closure_with_recording_on():
    p = parameter(np.array([2.0]))
    opt = SGD([p], lr=0.1)

    @te.no_grad()
    def run():
        def closure():
            opt.zero_grad()
            loss = p * p
            loss.backward()
            return loss

        return opt.step(closure)

    assert run().item() == 4.0
    np.testing.assert_allclose(p._array, 2.0 - 0.1 * 4.0)


def test_infinite_and_nan_gradients_pass_through_without_warnings():
    ours, theirs, opt, rival = twins([np.ones(3, "float32")], "AdamW", {})
    g = np.array([np.inf, np.nan, 1e30], "float32")
    ours[0].grad, theirs[0].grad = made(g), torch.tensor(g)
    opt.step()
    rival.step()
    np.testing.assert_array_equal(np.isnan(ours[0]._array), theirs[0].detach().isnan().numpy())


def test_options_that_choose_an_implementation_are_accepted():
    p = [parameter(np.ones(2))]
    AdamW(p, fused=True, foreach=None, capturable=False)
    Adam(p, fused=False)
    SGD(p, foreach=True, fused=None)
    RMSprop(p, foreach=False, capturable=False)


def test_named_parameters():
    p, q = parameter(np.ones(2)), parameter(np.ones(3))
    opt = SGD([("w", p), ("b", q)])
    assert opt.param_groups[0]["param_names"] == ["w", "b"]
    q._array = np.ones(4)
    q._grad = made(np.ones(3))
    with pytest.raises(RuntimeError, match=r"parameter b has shape \(4,\).*gradient has shape \(3,\)"):
        opt.step()
    with pytest.raises(ValueError, match="with/without names"):
        SGD([("w", p), q])
    with pytest.raises(ValueError, match="with/without names"):
        opt.add_param_group({"params": [parameter(np.ones(1))]})


def test_a_bad_gradient_changes_nothing():
    p, q = parameter(np.ones(2)), parameter(np.ones(2))
    p.grad = made(np.ones(2))
    q._grad = made(np.ones(2, "float32"))
    opt = Adam([p, q])
    with pytest.raises(RuntimeError, match="number 1 of its group.*float64.*float32"):
        opt.step()
    assert (p._array == 1).all() and not opt.state


def test_parameters_that_cannot_be_optimized_are_refused_as_in_pytorch():
    p = parameter(np.ones(2))
    q = torch.ones(2, requires_grad=True)
    for ours, theirs in (
        (p, q), ([], []), ([p, 3], [q, 3]), ([p * 2], [q * 2]), ([{"params": {p}}], [{"params": {q}}]),
        ([{"params": [p]}, {"params": [p]}], [{"params": [q]}, {"params": [q]}]),
        ([{"params": [p]}, 5], [{"params": [q]}, 5]),
    ):  # fmt: skip
        with pytest.raises((TypeError, ValueError)) as expected:
            torch.optim.SGD(theirs)
        with pytest.raises(expected.type) as found:
            SGD(ours)
        assert str(found.value)[:25] == str(expected.value)[:25]
    with pytest.warns(UserWarning, match="duplicate parameters"):
        SGD([p, p])


@pytest.mark.parametrize("name, options", [
    ("SGD", {"lr": -1}), ("SGD", {"momentum": -0.1}), ("SGD", {"weight_decay": -0.1}), ("SGD", {"nesterov": True}),
    ("Adam", {"lr": -1}), ("Adam", {"eps": -1e-8}), ("Adam", {"betas": (1.0, 0.9)}), ("Adam", {"betas": (0.9, -0.1)}),
    ("AdamW", {"weight_decay": -1.0}), ("AdamW", {"lr": float("nan")}),
    ("RMSprop", {"lr": -1}), ("RMSprop", {"eps": -1.0}), ("RMSprop", {"alpha": -1.0}), ("RMSprop", {"momentum": -1.0}),
    ("RMSprop", {"weight_decay": -1.0}),
])  # fmt: skip
def test_options_out_of_range_are_refused_as_in_pytorch(name, options):
    with pytest.raises(ValueError) as expected:
        getattr(torch.optim, name)([torch.ones(1)], **options)
    with pytest.raises(ValueError) as found:
        make(name, [parameter(np.ones(1))], options)
    assert str(found.value) == str(expected.value)
    with pytest.raises(ValueError, match="Invalid|Nesterov"):  # also where only one group has the option
        make(name, [{"params": [parameter(np.ones(1))], **options}], {})


def test_state_of_another_model_is_refused_and_changes_nothing():
    p, other = parameter(np.ones((2, 3))), parameter(np.ones((3, 2)))
    for x in (p, other):
        x.grad = made(np.ones(x.shape))
    opt, saved = AdamW([p], lr=0.5), AdamW([other], lr=0.1)
    opt.step()
    saved.step()
    before = copy.deepcopy(opt.state[p]["exp_avg"]._array)
    two = [parameter(np.ones(1)), parameter(np.ones(1))]
    for state, message in (
        (saved.state_dict(), r"exp_avg of parameter 0 has shape \(3, 2\), but the parameter has shape \(2, 3\)"),
        (AdamW(two).state_dict(), "match the size of optimizer's group: group 0 has 2 parameters, here it has 1"),
        (AdamW([{"params": t} for t in two]).state_dict(), "different number of parameter groups: 2, .* has 1"),
        ({"state": {}}, "'state' and 'param_groups'"),
        ([], "'state' and 'param_groups'"),
    ):
        with pytest.raises(ValueError, match=message):
            opt.load_state_dict(state)
    assert opt.param_groups[0]["lr"] == 0.5 and np.array_equal(opt.state[p]["exp_avg"]._array, before)


def test_a_loaded_state_takes_the_dtype_of_the_parameters():
    p = parameter(np.ones(2, "float64"))
    p.grad = made(np.ones(2, "float64"))
    opt = Adam([p])
    opt.step()
    half = parameter(np.ones(2, "float32"))
    fresh = Adam([half])
    saved = opt.state_dict()
    saved["state"][0]["step"] = 1  # older files hold a number
    fresh.load_state_dict(saved)
    assert fresh.state[half]["exp_avg"].dtype == te.float32
    assert fresh.state[half]["step"]._array.dtype == "float32" and fresh.state[half]["step"].shape == ()


def test_an_optimizer_of_the_readers_own():
    class Sign(Optimizer):
        def __init__(self, params, lr=0.1):
            super().__init__(params, {"lr": lr})

        def _update(self, p, g, state, group):
            state["calls"] = state.get("calls", 0) + 1
            p -= group["lr"] * np.sign(g)

    p = parameter(np.zeros(2))
    opt = Sign([p])
    p.grad = made(np.array([3.0, -4.0]))
    opt.step()
    np.testing.assert_allclose(p._array, [-0.1, 0.1])
    fresh = Sign([p])
    fresh.load_state_dict(opt.state_dict())
    assert fresh.state[p] == {"calls": 1}
    with pytest.raises(NotImplementedError, match="must define _update or step"):
        bare = Optimizer([p], {})
        bare.step()


def test_repr_is_pytorchs():
    ours = SGD([parameter(np.ones(1))], lr=0.5, momentum=0.9)
    expected = repr(torch.optim.SGD([torch.ones(1)], lr=0.5, momentum=0.9)).splitlines()
    skipped = ("differentiable", "foreach", "fused")
    assert repr(ours).splitlines() == [line for line in expected if line.strip().split(":")[0] not in skipped]


@pytest.mark.parametrize("name", ["SGD", "AdamW"])
def test_a_module_in_place_of_its_parameters_is_named(name):
    with pytest.raises(TypeError, match=r"but got the module Linear; write model.parameters\(\)$"):
        getattr(te.optim, name)(te.nn.Linear(2, 2), lr=1)
    with pytest.raises(TypeError):
        getattr(torch.optim, name)(torch.nn.Linear(2, 2), lr=1)
