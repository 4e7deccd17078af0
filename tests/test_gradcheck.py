"""gradcheck finds wrong gradients, says where they are, and refuses what it cannot judge."""

from __future__ import annotations

import re

import numpy as np
import pytest

import tinygrad_edu as tg
from tinygrad_edu.autograd import Function
from tinygrad_edu.testing import GradcheckError, gradcheck
from tinygrad_edu.testing.gradcheck import FULL_LIMIT

BOTH = pytest.mark.parametrize("fast_mode", [False, True])


def randn(*shape, requires_grad=True):
    return tg.randn(*shape, dtype=tg.float64, requires_grad=requires_grad)


def cube(backward):
    """x -> x**3 with the given gradient formula."""

    class Cube(Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x)
            return x * x * x

        @staticmethod
        def backward(ctx, gy):
            (x,) = ctx.saved_tensors
            return backward(x, gy)

    return Cube.apply


# ---- right gradients pass --------------------------------------------------------------------------------------------


@BOTH
@pytest.mark.parametrize(
    "func, inputs",
    [
        (tg.exp, lambda: randn(2, 3)),
        (tg.mul, lambda: (randn(2, 3), randn(3))),
        (tg.div, lambda: (randn(2, 1, 3), 3.0 + randn(2, 1).detach().requires_grad_())),
        (tg.softmax, lambda: (randn(3, 4), 0)),
        (tg.matmul, lambda: (randn(2, 3, 4), randn(4, 2))),
        (cube(lambda x, gy: 3 * x * x * gy), lambda: randn(2, 3)),
        (lambda x, y: (x * y, x + y), lambda: (randn(3), randn(3))),
        (lambda x: [x * 2.0, (x * x).long()], lambda: randn(3)),  # an output without gradient beside one with
        (lambda x, i: x[i] * 2.0, lambda: (randn(4), tg.tensor([3, 0, 3]))),
        (lambda xs: tg.cat(xs, 1), lambda: ([randn(2, 1), randn(2, 3)],)),
        (tg.exp, lambda: randn()),
        (tg.exp, lambda: randn(0, 3)),
        (tg.mul, lambda: (randn(2, 0), randn(1, 1))),
        (tg.exp, lambda: randn(3, 2).detach().T.requires_grad_()),
        (tg.exp, lambda: tg.from_numpy(np.linspace(0.1, 2.0, 10)[::3]).requires_grad_()),
        (tg.exp, lambda: randn(3) * 2.0),  # not a leaf
        (lambda x: x * x, lambda: randn(3)),
        (lambda x: tg.exp(x).sum(), lambda: randn(2, 3)),
        (lambda x: tg.floor(x), lambda: randn(5)),
    ],
)  # fmt: skip
def test_right_gradients_pass(func, inputs, fast_mode):
    assert gradcheck(func, inputs(), fast_mode=fast_mode) is True


@BOTH
def test_the_same_tensor_given_twice(fast_mode):
    x = randn(3)
    assert gradcheck(tg.mul, (x, x), fast_mode=fast_mode)


def test_inputs_without_requires_grad_are_constants():
    x, w = randn(3), randn(3, requires_grad=False)
    assert gradcheck(lambda x, w: x * w.detach(), (x, w))


@pytest.mark.parametrize("slope", [0.0, 0.4, 1.0])
def test_any_slope_between_left_and_right_passes_at_a_kink(slope):
    class Relu(Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x)
            return tg.where(x > 0, x, 0.0)

        @staticmethod
        def backward(ctx, gy):
            (x,) = ctx.saved_tensors
            return tg.where(x > 0, 1.0, tg.where(x < 0, 0.0, slope)) * gy

    at_the_kink = tg.tensor([-1.0, 0.0, 2.0], dtype=tg.float64, requires_grad=True)
    assert gradcheck(Relu.apply, at_the_kink)


def test_a_slope_outside_fails_at_a_kink():
    x = tg.tensor([-1.0, 0.0, 2.0], dtype=tg.float64, requires_grad=True)

    class Abs(Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x)
            return abs(x)

        @staticmethod
        def backward(ctx, gy):
            (x,) = ctx.saved_tensors
            return tg.where(x < 0, -1.0, tg.where(x > 0, 1.0, 1.5)) * gy

    with pytest.raises(GradcheckError, match=r"input 0\[1\].* the slope is -1 to the left and 1 to the right"):
        gradcheck(Abs.apply, x)


def test_nothing_is_left_behind():
    x = randn(2, 3)
    y = tg.exp(x)
    before = x.detach().numpy().copy()
    gradcheck(tg.exp, x)
    assert x.grad is None and x.detach().numpy().tobytes() == before.tobytes() and x._version == 0
    y.backward(tg.ones(2, 3, dtype=tg.float64))  # a graph made before is whole
    np.testing.assert_array_equal(x.grad.numpy(), np.exp(before))


def test_inputs_are_restored_when_the_function_raises():
    x, calls = randn(3), []
    before = x.detach().numpy().copy()

    def fails_later(x):
        calls.append(x)
        if len(calls) == 4:
            raise KeyError("here")
        return x * x

    with pytest.raises(KeyError):
        gradcheck(fails_later, x)
    assert x.detach().numpy().tobytes() == before.tobytes()


def test_it_records_also_under_no_grad():
    with tg.no_grad():
        assert gradcheck(tg.exp, randn(3))


# ---- wrong gradients fail --------------------------------------------------------------------------------------------


WRONG = {
    "a factor missing": lambda x, gy: x * x * gy,
    "the wrong sign": lambda x, gy: -3 * x * x * gy,
    "the incoming gradient forgotten": lambda x, gy: 3 * x * x,
    "none at all": lambda x, gy: None,
    "one element forgotten": lambda x, gy: 3 * x * x * gy * tg.tensor([1.0, 1.0, 0.0], dtype=tg.float64),
    "slightly off": lambda x, gy: 3.01 * x * x * gy,
}


@BOTH
@pytest.mark.parametrize("mistake", WRONG)
def test_wrong_gradients_fail(mistake, fast_mode):
    with pytest.raises(GradcheckError, match="wrong gradient for input 0"):
        gradcheck(cube(WRONG[mistake]), randn(3), fast_mode=fast_mode)
    assert gradcheck(cube(WRONG[mistake]), randn(3), fast_mode=fast_mode, raise_exception=False) is False


@BOTH
def test_a_mistake_that_a_cotangent_of_ones_would_hide(fast_mode):
    """For ones the right gradient of softmax is zero, and so is this wrong one: it lacks a minus sign."""

    class Softmax(Function):
        @staticmethod
        def forward(ctx, x):
            y = tg.softmax(x, -1)
            ctx.save_for_backward(y)
            return y

        @staticmethod
        def backward(ctx, gy):
            (y,) = ctx.saved_tensors
            return y * ((gy * y).sum(-1, keepdim=True) - gy)

    x = randn(2, 4)
    (g,) = tg.autograd.grad(Softmax.apply(x), x, tg.ones(2, 4, dtype=tg.float64))
    assert np.abs(g.numpy()).max() < 1e-15
    with pytest.raises(GradcheckError):
        gradcheck(Softmax.apply, x, fast_mode=fast_mode)


class Scale(Function):
    """x * w, with 10% too much gradient for the last element of w."""

    @staticmethod
    def forward(ctx, x, w):
        ctx.save_for_backward(x, w)
        return x * w

    @staticmethod
    def backward(ctx, gy):
        x, w = ctx.saved_tensors
        return gy * w, gy * x * tg.tensor([[1.0, 1.0], [1.0, 1.1]], dtype=tg.float64)


def test_the_message_names_function_input_element_and_both_values():
    x, w = (tg.tensor([[1.0, 2.0], [3.0, 4.0]], dtype=tg.float64, requires_grad=True) for _ in range(2))
    with pytest.raises(GradcheckError) as caught:
        gradcheck(Scale.apply, (x, w))
    message = str(caught.value)
    assert message.startswith("gradcheck of Scale.apply: wrong gradient for input 1. 1 of 16 entries")
    assert "input 1[1, 1], output 0[1, 1]" in message
    analytical, numerical, ratio = (float(v) for v in re.findall(r"(?:cal|ratio) ([-\d.e]*\d)", message))
    assert (analytical, numerical, ratio) == pytest.approx((4.4, 4.0, 1.1), rel=1e-6)


def test_the_message_of_the_fast_mode_names_the_worst_element():
    x, w = randn(2, 2), randn(2, 2)
    with pytest.raises(
        GradcheckError, match=r"Scale.apply: wrong gradient for input 1. Along a random direction"
    ) as caught:
        gradcheck(Scale.apply, (x, w), fast_mode=True)
    assert re.search(r"worst element is input 1\[1, 1\]: .* ratio 1\.1$", str(caught.value))


def test_the_worst_element_of_a_large_input_is_among_those_looked_at():
    def backward(x, gy):
        return 2 * x * x * gy

    with pytest.raises(GradcheckError, match=r"worst element is input 0\[\d+, \d+\]: .* ratio 0\.66666"):
        gradcheck(cube(backward), randn(40, 50))


def test_an_input_inside_a_list_is_named_by_its_place():
    def half_cut(pair):
        return pair[0] * pair[1].detach()

    with pytest.raises(GradcheckError, match=r"half_cut: wrong gradient for input 0\[1\]"):
        gradcheck(half_cut, ([randn(2), randn(2)],))


def test_a_second_output_is_named():
    def two(x):
        return x * 2.0, cube(lambda x, gy: gy)(x)

    with pytest.raises(GradcheckError, match=r"output 1\["):
        gradcheck(two, randn(3))


@BOTH
def test_a_gradient_cut_by_mistake_fails(fast_mode):
    with pytest.raises(GradcheckError, match="analytical 0, numerical"):
        gradcheck(lambda x: (x * x).detach(), randn(3), fast_mode=fast_mode)


def test_tolerances_and_step_are_used():
    slightly_off = cube(lambda x, gy: 3.01 * x * x * gy)
    assert gradcheck(slightly_off, randn(3), rtol=0.01)
    assert gradcheck(slightly_off, randn(3), atol=1.0)
    right = cube(lambda x, gy: 3 * x * x * gy)
    with pytest.raises(GradcheckError):  # the error of central differences is eps**2 here
        gradcheck(right, tg.zeros(2, dtype=tg.float64, requires_grad=True), eps=0.1, fast_mode=True)


def test_small_problems_get_the_full_jacobian_and_large_ones_a_direction():
    def calls(n):
        count = 0

        def f(x):
            nonlocal count
            count += 1
            return x * x

        gradcheck(f, randn(n))
        return count

    small, large = FULL_LIMIT // 2, FULL_LIMIT // 2 + 1
    assert calls(small) == 2 * small + 2  # two for each element, one to record, one to see that it repeats
    assert calls(large) == 2 + 2


# ---- what cannot be checked ------------------------------------------------------------------------------------------


def test_float32_is_refused_with_the_reason():
    x = tg.randn(3, requires_grad=True)
    with pytest.raises(
        ValueError, match=r"exp: input 0 is float32, expected float64: .* drowns .* use|with \.double\(\)"
    ):
        gradcheck(tg.exp, x)
    with pytest.raises(ValueError, match=r"input 1 is float32"):
        gradcheck(tg.mul, (randn(3), x))


def test_nothing_to_check_is_an_error():
    with pytest.raises(ValueError, match="no input requires grad"):
        gradcheck(tg.exp, randn(3, requires_grad=False))
    with pytest.raises(ValueError, match="no input requires grad"):
        gradcheck(tg.exp, ())


def test_a_step_that_computes_in_float32_is_reported():
    with pytest.raises(GradcheckError, match="output 0 of .* is float32 although its inputs are float64"):
        gradcheck(lambda x: x.float() * 2.0, randn(3))


def test_random_results_are_reported():
    with pytest.raises(GradcheckError, match="not give the same result twice"):
        gradcheck(lambda x: x * tg.rand(3, dtype=tg.float64), randn(3))
    assert gradcheck(lambda x: x + 1e-13 * tg.rand(3, dtype=tg.float64), randn(3), nondet_tol=1e-12)


def test_a_random_backward_is_reported():
    noisy = cube(lambda x, gy: 3 * x * x * gy * (1 + 1e-9 * tg.rand(3, dtype=tg.float64)))
    with pytest.raises(GradcheckError, match="not give the same result twice"):
        gradcheck(noisy, randn(3))


def test_changed_inputs_are_reported():
    def careless(x):
        x.data[0] = 7.0
        return x * x

    with pytest.raises(GradcheckError, match="careless changed input 0 in its forward"):
        gradcheck(careless, randn(3))

    def backward(x, gy):
        x.data[0] += 1.0
        return 3 * x * x * gy

    with pytest.raises(GradcheckError):
        gradcheck(cube(backward), randn(3))


def test_a_function_that_returns_no_tensor_is_reported():
    with pytest.raises(GradcheckError, match="returned no Tensor but float"):
        gradcheck(lambda x: 1.0, randn(3))


@BOTH
def test_points_where_differences_say_nothing_are_reported(fast_mode):
    def at(*values):
        return tg.tensor(values, dtype=tg.float64, requires_grad=True)

    with pytest.raises(GradcheckError, match="holds infinities or NaN at this input"):
        gradcheck(tg.exp, at(1.0, 1000.0), fast_mode=fast_mode)
    with pytest.raises(GradcheckError, match="holds 1e\\+30, where a step of 1e-06 is lost in rounding"):
        gradcheck(lambda x: x * 2.0, at(1.0, 1e30), fast_mode=fast_mode)
    with pytest.raises(GradcheckError, match="not finite for input 0"):
        gradcheck(tg.sqrt, at(1.0, 0.0), fast_mode=fast_mode)
    with pytest.raises(GradcheckError, match="elements of input 0 share memory"):
        gradcheck(tg.exp, at(1.0).detach().expand(3).requires_grad_(), fast_mode=fast_mode)
