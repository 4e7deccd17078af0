"""Choosing and running the pair of functions behind an op: attributes, twins, views, errors."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import tinygrad_edu as tg
from tinygrad_edu import dispatch
from tinygrad_edu.autograd import observe
from tinygrad_edu.dispatch import apply, cannot_broadcast, register_twin, use_kernels
from tinygrad_edu.ops.op import Op


class Scale(Op):
    """y = x * factor, or x itself where the factor is 1."""

    name, may_alias = "scale", True

    @staticmethod
    def forward(xp, x, *, factor):
        return (x if factor == 1 else x * factor), (factor,)

    @staticmethod
    def backward(xp, saved, gy):
        (factor,) = saved
        return gy * factor


class FusedScale:
    """A twin for vectors that also counts how it is used, and saves something else than its reference."""

    saved_for = None
    used: list[str] = []

    @staticmethod
    def accepts(x, *, factor):
        return x.ndim == 1

    @staticmethod
    def forward(xp, x, *, factor):
        FusedScale.used.append("forward")
        return x * factor, (2 * factor,)

    @staticmethod
    def backward(xp, saved, gy):
        FusedScale.used.append("backward")
        (doubled,) = saved
        return gy * (doubled / 2)


@pytest.fixture
def twin(monkeypatch):
    """FusedScale, registered during one test."""
    monkeypatch.setattr(dispatch, "_twins", {})
    monkeypatch.setattr(FusedScale, "used", [])
    register_twin(Scale, "cpu", FusedScale)
    return FusedScale


def test_apply_runs_and_records_an_op():
    x = tg.tensor([1.0, 2.0], requires_grad=True)
    y = apply(Scale, x, factor=3.0)
    assert y.tolist() == [3.0, 6.0]
    node = y.grad_fn
    assert (node.op, node.pair, node.attrs, node.saved) == (Scale, Scale, {"factor": 3.0}, (3.0,))
    assert (node.shape, node.dtype, node.constants) == ((2,), np.float32, (None,))
    assert repr(node) == "<ScaleBackward0>"
    y.sum().backward()
    assert x.grad.tolist() == [3.0, 3.0]


def test_inputs_may_be_arrays_and_numbers_beside_a_tensor():
    class Sum3(Op):
        name = "sum3"

        @staticmethod
        def forward(xp, a, b, c):
            return a + b + c, ()

        @staticmethod
        def backward(xp, saved, gy):
            return gy, gy, gy

    x = tg.tensor([1.0, 2.0], requires_grad=True)
    y = apply(Sum3, np.ones(2, np.float32), x, 3.0)
    assert y.tolist() == [5.0, 6.0]
    array, nothing, number = y.grad_fn.constants  # with these the forward can be run again
    assert (array.tolist(), nothing, number) == ([1.0, 1.0], None, 3.0)
    y.sum().backward()
    assert x.grad.tolist() == [1.0, 1.0]
    with pytest.raises(AssertionError, match="sum3 needs at least one Tensor"):
        apply(Sum3, 1.0, 2.0, 3.0)


def test_numpy_scalars_become_tensors():
    y = tg.tensor([1.0, 2.0], requires_grad=True).sum()
    assert isinstance(y._array, np.ndarray) and y.shape == ()


def test_an_op_without_gradient_is_not_recorded():
    class Sign(Op):
        name, differentiable = "sign_of", False

        @staticmethod
        def forward(xp, x):
            return xp.sign(x), ()

    assert not apply(Sign, tg.ones(2, requires_grad=True)).requires_grad


def test_views_share_the_version_counter_and_copies_do_not():
    x = tg.ones(3)
    same, other = apply(Scale, x, factor=1), apply(Scale, x, factor=2.0)
    x.add_(1.0)
    assert (same._version, other._version) == (1, 0)
    recorded = apply(Scale, tg.ones(3, requires_grad=True) * 1.0, factor=1)
    assert recorded.grad_fn is not None


@pytest.mark.usefixtures("fused")
def test_a_twin_runs_where_it_is_registered_and_accepts(twin):
    x = tg.tensor([1.0, 2.0], requires_grad=True)
    y = apply(Scale, x, factor=3.0)
    assert y.grad_fn.pair is twin and y.grad_fn.op is Scale and twin.used == ["forward"]
    y.sum().backward()
    assert twin.used == ["forward", "backward"] and x.grad.tolist() == [3.0, 3.0]
    assert apply(Scale, tg.ones(2, 2, requires_grad=True), factor=3.0).grad_fn.pair is Scale


@pytest.mark.usefixtures("fused")
def test_the_reference_can_be_asked_for(twin):
    x = tg.ones(2, requires_grad=True)
    with use_kernels("reference"):
        reference = apply(Scale, x, factor=3.0)
        with use_kernels("auto"):
            fused = apply(Scale, x, factor=3.0)
        assert apply(Scale, x, factor=3.0).grad_fn.pair is Scale
    assert (reference.grad_fn.pair, fused.grad_fn.pair) == (Scale, twin)
    reference.sum().backward()  # a node remembers the pair that ran
    fused.sum().backward()
    assert twin.used == ["forward", "backward"]
    with pytest.raises(ZeroDivisionError), use_kernels("reference"):
        raise ZeroDivisionError
    assert apply(Scale, x, factor=3.0).grad_fn.pair is twin


def test_use_kernels_refuses_other_words():
    with pytest.raises(ValueError, match="expected 'auto' or 'reference', got 'fast'"), use_kernels("fast"):
        pass


@pytest.mark.parametrize("value, expected", [(None, True), ("auto", True), ("reference", False)])
def test_the_environment_variable_chooses_for_a_whole_program(value, expected):
    environment = {k: v for k, v in os.environ.items() if k != "TINYGRAD_EDU_KERNELS"}
    if value is not None:
        environment["TINYGRAD_EDU_KERNELS"] = value
    code = "from tinygrad_edu import dispatch; print(dispatch._use_twins)"
    root = Path(__file__).parents[1]
    done = subprocess.run([sys.executable, "-c", code], cwd=root, env=environment, capture_output=True, text=True)
    assert done.stdout.strip() == str(expected), done.stderr


def test_only_what_wanted_gradients_use_is_saved(twin):
    class Product(Op):
        name, broadcasts, saved_for = "product", True, ((1,), (0,))

        @staticmethod
        def forward(xp, a, b):
            return a * b, (a, b)

        @staticmethod
        def backward(xp, saved, gy):
            a, b = saved
            return lambda: gy * b, lambda: gy * a

    a, b = tg.tensor([1.0, 2.0], requires_grad=True), tg.tensor([3.0, 4.0])
    assert [s is None for s in apply(Product, a, b).grad_fn.saved] == [True, False]
    assert [s is None for s in apply(Product, b, a).grad_fn.saved] == [False, True]
    assert [s is None for s in apply(Product, a, a).grad_fn.saved] == [False, False]
    apply(Product, a, b).sum().backward()
    assert a.grad.tolist() == [3.0, 4.0]


def test_shapes_that_do_not_broadcast_are_explained():
    with pytest.raises(RuntimeError) as caught:
        tg.ones(2, 1, 3) + tg.ones(4, 5)
    assert str(caught.value) == (
        "add: the size of tensor a (3) must match the size of tensor b (5) at non-singleton dimension 2; "
        "got shapes (2, 1, 3), (4, 5)"
    )
    assert "do not fit together" in cannot_broadcast("matmul", [(2, 3), (2, 3)])


def test_other_errors_of_an_op_pass_unchanged():
    class Fails(Op):
        name = "fails"

        @staticmethod
        def forward(xp, x):
            raise ValueError("as it is")

    with pytest.raises(ValueError, match="^as it is$"):
        apply(Fails, tg.ones(2))


def test_numpy_does_not_warn_of_values_that_are_not_finite():
    """They are values here as in PyTorch; warnings are errors in these tests."""
    x = tg.tensor([0.0, -1.0, 1e38], requires_grad=True)
    ((x / 0.0) * x * x).log().sum().backward()
    with np.errstate(all="raise"):
        assert tg.isnan(x * float("inf"))[0].item()
        with pytest.raises(FloatingPointError):
            np.float32(1) / np.float32(0)  # and NumPy's own setting is as it was


def test_observers_are_told_of_arrays():
    told = []

    class Observer:
        def recorded(self, node, inputs, y):
            told.append((node.op.name, [type(i) for i in inputs], type(y)))

        def propagated(self, node, gy, gradients):
            told.append((node.op.name, type(gy), [type(g) for g in gradients]))

    x = tg.tensor([1.0, 2.0], requires_grad=True)
    with observe(Observer()) as observer:
        assert isinstance(observer, Observer)
        (x * 2.0).sum().backward()
    array = np.ndarray
    assert told == [
        ("mul", [array, float], array),
        ("sum", [array], array),
        ("sum", array, [array]),
        ("mul", array, [array, type(None)]),
    ]


def test_the_sizes_that_do_not_fit_are_named_among_three_inputs():
    condition, x, y = tg.zeros(3, dtype=tg.bool), tg.zeros(3), tg.zeros(4)
    with pytest.raises(RuntimeError, match=r"tensor a \(3\) must match the size of tensor b \(4\)"):
        tg.where(condition, x, y)
