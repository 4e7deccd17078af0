"""`testing.check` finds what is wrong with an operation, and names the mistake."""

from __future__ import annotations

import numpy as np
import pytest

import tinygrad_edu as tg
from tinygrad_edu.ops.op import Op
from tinygrad_edu.testing import CheckError, check
from tinygrad_edu.testing.diagnosis import NOTHING_FITS, Setting, diagnose, diagnose_arrays

torch = pytest.importorskip("torch")
RNG = np.random.default_rng(0)


def randn(*shape):
    return np.asarray(RNG.standard_normal(shape))


def operation(forward, backward):
    """A Function with this forward(*tensors) and backward(gy, output, *tensors)."""

    class Mine(tg.Function):
        @staticmethod
        def forward(ctx, *xs):
            y = forward(*xs)
            ctx.save_for_backward(y, *xs)
            return y

        @staticmethod
        def backward(ctx, gy):
            y, *xs = ctx.saved_tensors
            return backward(gy, y, *xs)

    return Mine


def found(fn, inputs, torch_fn=None):
    """The diagnosis of an operation that must be found wrong."""
    with pytest.raises(CheckError) as caught:
        check(fn, torch_fn, inputs)
    assert all(part in str(caught.value) for part in caught.value.diagnosis.split("; "))
    return caught.value.diagnosis


# ---- right operations pass -------------------------------------------------------------------------------------------


def softmax(x):
    e = (x - x.amax(-1, keepdim=True)).exp()
    return e / e.sum(-1, keepdim=True)


@pytest.mark.parametrize(
    "fn, torch_fn, inputs",
    [
        (softmax, lambda x: torch.softmax(x, -1), [randn(3, 4)]),
        (lambda x, y: (x * y, x + y), lambda x, y: (x * y, x + y), [randn(3, 1), randn(4)]),
        (lambda x, i: x[i], lambda x, i: x[i], [randn(5, 2), np.array([0, 3, 3])]),
        (lambda xs, d: tg.cat(xs, d), lambda xs, d: torch.cat(xs, d), [[randn(2, 3), randn(1, 3)], 0]),
        (tg.relu, torch.relu, [np.array([0.0, -1.0, 2.0])]),
        (tg.exp, torch.exp, [tg.randn(3)]),
        (tg.exp, None, [randn(2, 3)]),
        (operation(lambda x: x.exp(), lambda gy, y, x: gy * y), torch.exp, [randn(4)]),
        (operation(lambda x: x.exp(), lambda gy, y, x: gy * y).apply, torch.exp, [randn(4)]),
        (tg.exp, torch.exp, [np.array(0.3)]),
        (tg.exp, torch.exp, [np.zeros((0, 3))]),
        (lambda x: x.T @ x, lambda x: x.T @ x, [randn(4, 3)]),
    ],
)
def test_right_operations_pass(fn, torch_fn, inputs):
    result = check(fn, torch_fn, inputs)
    assert result and result.passed and result.diagnosis is None
    assert "all checks pass" in repr(result) and "not contiguous" in repr(result)
    assert ("PyTorch" in repr(result)) == (torch_fn is not None)


class Cube(Op):
    name = "cube"

    @staticmethod
    def forward(xp, x):
        return x * x * x, (x,)

    @staticmethod
    def backward(xp, saved, gy):
        return lambda: 3 * saved[0] ** 2 * gy


class WrongCube(Cube):
    @staticmethod
    def backward(xp, saved, gy):
        return -3 * saved[0] ** 2 * gy


def test_op_classes_are_checked_too():
    assert check(Cube, lambda x: x**3, [randn(3, 2)])
    assert found(WrongCube, [randn(3, 2)]) == "wrong sign"


def test_the_inputs_stay_as_they_are_and_choose_what_is_checked():
    x, y = tg.randn(3), tg.randn(3, requires_grad=True)
    wrong_for_x = operation(lambda x, y: x * y, lambda gy, out, x, y: (gy, gy * x))
    kept = x.tolist()
    assert check(wrong_for_x, inputs=[x, y])
    assert x.tolist() == kept and y.grad is None and not x.requires_grad
    assert not check(wrong_for_x, inputs=[x, y.detach()], raise_exception=False)


# ---- every known mistake is named ------------------------------------------------------------------------------------

X, Y, BIAS, SQUARE = randn(3, 4), randn(3, 4), randn(4), randn(4, 4)
W = randn(4, 5)


def normalised(x):
    centred = x - x.mean(-1, keepdim=True)
    return centred / (centred.pow(2).mean(-1, keepdim=True) + 1e-5).sqrt()


def layer_norm(backward):
    def complete(gy, y, x):
        rstd = 1 / ((x - x.mean(-1, keepdim=True)).pow(2).mean(-1, keepdim=True) + 1e-5).sqrt()
        return backward(gy, y, rstd)

    return operation(normalised, complete)


def first_row_only(gy, y, x, b):
    return gy, gy[-1]


def overwritten(gy, y, table, index):
    g = np.zeros(table.shape)
    for row, i in enumerate(index.tolist()):
        g[i] = gy[row].numpy()  # not +=
    return tg.from_numpy(g).to(gy.dtype), None


PLANTED = {
    "not summed": (
        operation(lambda x, b: x + b, lambda gy, y, x, b: (gy, gy)),
        [X, BIAS],
        "not summed after broadcasting",
    ),
    "not summed, first row": (operation(lambda x, b: x + b, first_row_only), [X, BIAS], "`=` where `+=` was needed"),
    "wrong axis": (
        operation(lambda x, b: x * b, lambda gy, y, x, b: (gy * b, (gy * x).sum(1))),
        [SQUARE, BIAS],
        "summed over the wrong axis",
    ),
    "wrong axis and shape": (
        operation(lambda x, b: x + b, lambda gy, y, x, b: (gy, gy.sum(1))),
        [X, BIAS],
        "summed over the wrong axis",
    ),
    "mean for sum": (
        operation(lambda x, b: x + b, lambda gy, y, x, b: (gy, gy.mean(0))),
        [X, BIAS],
        "the mean over axes (0,) was taken instead of the sum",
    ),
    "transposed": (
        operation(lambda x, w: x @ w, lambda gy, y, x, w: (gy @ w.T, gy.T @ x)),
        [X, W],
        "transposed",
    ),
    "transposed square": (
        operation(lambda x: x * x, lambda gy, y, x: (2 * gy * x).T),
        [SQUARE],
        "transposed",
    ),
    "factor 2": (operation(lambda x: x * x, lambda gy, y, x: gy * x), [X], "multiply by 2"),
    "factor ln 2": (operation(lambda x: tg.exp2(x), lambda gy, y, x: gy * y), [X], "multiply by ln 2"),
    "factor N of a mean": (
        operation(lambda x: x.mean(), lambda gy, y, x: gy.expand(*x.shape)),
        [X],
        "divide by 12, the number of elements",
    ),
    "overwritten": (
        operation(lambda t, i: t[i], overwritten),
        [randn(5, 3), np.array([1, 3, 1, 0, 3])],
        "only the last use of each element was counted: `=` where `+=` was needed",
    ),
    "one of two uses": (
        operation(lambda x: x.sin() + x * 3, lambda gy, y, x: gy * x.cos()),
        [X],
        "only one of the 2 uses of the input was counted (the first): `=` where `+=` was needed",
    ),
    "sign": (operation(lambda x, y: x - y, lambda gy, out, x, y: (gy, gy)), [X, Y], "wrong sign"),
    "input for output": (
        operation(lambda x: x.tanh(), lambda gy, y, x: gy * (1 - x * x)),
        [randn(4, 5)],
        "used the input where the output was needed",
    ),
    "input for output, exp": (
        operation(lambda x: x.exp(), lambda gy, y, x: gy * x),
        [randn(4, 5)],
        "used the input where the output was needed",
    ),
    "output for input": (
        operation(lambda x: x.sin(), lambda gy, y, x: gy * y.cos()),
        [X],
        "used the output where the input was needed",
    ),
    "mean term": (
        layer_norm(lambda g, y, r: (g - y * (g * y).mean(-1, keepdim=True)) * r),
        [X],
        "forgot the mean term",
    ),
    "variance term": (layer_norm(lambda g, y, r: (g - g.mean(-1, keepdim=True)) * r), [X], "forgot the variance term"),
    "both terms": (layer_norm(lambda g, y, r: g * r), [X], "forgot the mean term and the variance term"),
    "softmax": (operation(softmax, lambda gy, y, x: gy * y), [X], "forgot the term y * sum(gy * y) over axis 1"),
    "round-off": (
        operation(lambda x: x.exp(), lambda gy, y, x: (gy.float() * y.float()).double()),
        [X],
        "float32 round-off only",
    ),
    "swapped": (
        operation(lambda x, y: x * y, lambda gy, out, x, y: (gy * x, gy * y)),
        [X, Y],
        "two gradients are swapped",
    ),
    "mask": (operation(lambda x: x.relu(), lambda gy, y, x: gy), [X], "missing mask"),
    "no cotangent": (operation(lambda x: x * x, lambda gy, y, x: 2 * x), [X], "the incoming gradient was not used"),
    "zero": (operation(lambda x: x * x, lambda gy, y, x: gy * 0), [X], "it is zero"),
}


IN_TORCH = {
    "overwritten": lambda t, i: t[i],
    "transposed": lambda x, w: x @ w,
    "one of two uses": lambda x: x.sin() + x * 3,
    "round-off": torch.exp,
    "softmax": lambda x: torch.softmax(x, -1),
    "not summed": torch.add,
    "wrong axis": torch.mul,
    "mean term": lambda x: torch.nn.functional.layer_norm(x, (4,)),
}


@pytest.mark.parametrize("mistake", sorted(PLANTED.keys() - {"round-off"}))  # which finite differences cannot see
def test_a_planted_mistake_is_named(mistake):
    fn, inputs, words = PLANTED[mistake]
    assert words in found(fn, inputs)


@pytest.mark.parametrize("mistake", IN_TORCH)
def test_a_planted_mistake_is_named_by_comparison_with_torch(mistake):
    fn, inputs, words = PLANTED[mistake]
    assert words in found(fn, inputs, IN_TORCH[mistake])


def test_what_no_known_mistake_explains_is_said_so():
    odd = operation(lambda x: x * x, lambda gy, y, x: gy * (2 * x + 0.1 * x.abs()))
    assert found(odd, [X]) == NOTHING_FITS


def test_where_several_mistakes_fit_all_are_named():
    g = np.array([[1.0, 2.0], [2.0, 3.0]])
    ambiguous = diagnose(g, 0, Setting([g, g], [np.array([[1.0, 2.0], [0.0, 3.0]]), g]))
    assert ambiguous == "this is the gradient of input 1: two gradients are swapped"
    symmetric = np.array([[0.0, 2.0], [2.0, 0.0]])
    text = diagnose(
        symmetric, 0, Setting([g] * 3, [np.array([[1.0, 0.0], [0.0, 1.0]]), symmetric, 2 * symmetric / 2 + 1e-9])
    )
    assert text.startswith("2 mistakes fit these inputs, and others would tell them apart: ")
    assert "input 1" in text and "input 2" in text


def test_a_term_of_a_normalisation_is_not_named_twice():
    assert found(*PLANTED["mean term"][:2]).startswith("forgot the mean term: the mean over axis 1 moves with x")
    axes = found(*PLANTED["wrong axis"][:2])
    assert "over the axes (1,) of the result, but the input was repeated along (0,)" in axes


def test_a_right_gradient_has_no_diagnosis():
    assert diagnose_arrays(X, X) == NOTHING_FITS


def test_the_message_names_operation_inputs_worst_element_and_all_three_values():
    with pytest.raises(CheckError) as caught:
        check(operation(lambda x: x * x, lambda gy, y, x: gy * x), lambda x: x * x, [X], name="square")
    text = str(caught.value)
    assert text.startswith(
        "square(float64[3, 4]): WRONG\n  the gradient of input 0 is wrong in 12 of 12 elements; worst at ["
    )
    got, by_torch, numerical = (
        float(text.partition(f"{word} ")[2].split(",")[0].split()[0]) for word in ("got", "PyTorch", "numerical")
    )
    assert got == pytest.approx(by_torch / 2) and numerical == pytest.approx(by_torch, rel=1e-8)
    assert (
        not caught.value.result
        and caught.value.result.diagnosis == "missing factor: it is 0.5 times the right one; multiply by 2"
    )


def test_values_shapes_and_dtypes_are_compared_first():
    with pytest.raises(CheckError, match=r"output 0 in float64: 12 of 12 elements differ; worst .* PyTorch gives"):
        check(lambda x: x.exp() + 0.01, torch.exp, [X])
    with pytest.raises(CheckError, match=r"output 0 in float64: shape \(3,\), PyTorch gives \(3, 1\)"):
        check(lambda x: x.sum(1), lambda x: x.sum(1, keepdim=True), [X])
    with pytest.raises(CheckError, match="1 outputs, PyTorch gives 2"):
        check(lambda x: x * 1, lambda x: (x, x), [X])


def test_float32_must_stay_and_be_accurate():
    with pytest.raises(CheckError, match="float32 inputs, but output 0 is float64"):
        check(lambda x: x.double() * 2, inputs=[X])
    with pytest.raises(
        CheckError, match="in float32 at .* in float64 .*\n.*float32 round-off only: in float64 it is right"
    ):
        check(lambda x: (x.exp() + 1e5) - 1e5, inputs=[X])
    with pytest.raises(CheckError, match="in float32: ZeroDivisionError"):
        check(lambda x: x * (1 if x.dtype == tg.float64 else 1 / 0), inputs=[X])


class Memory(Op):
    """Reads the memory under its input instead of the elements."""

    name = "memory"

    @staticmethod
    def forward(xp, x):
        return xp.asarray(x.ravel("K").reshape(x.shape)) * 2, ()

    @staticmethod
    def backward(xp, saved, gy):
        return gy.ravel("K").reshape(gy.shape) * 2


def test_inputs_that_are_not_contiguous_are_tried():
    with pytest.raises(CheckError, match="inputs not contiguous .with its axes in reverse order in memory.: output 0"):
        check(Memory, inputs=[SQUARE])


def test_lists_of_floats_are_arrays():
    result = check(lambda x, w: (x * w).sum(-1), inputs=[[[1.0, 2.0], [0.5, 3]], [0.25, -1.5]])
    assert result.passed and result.inputs == "float64[2, 2], float64[2]"
    assert check(lambda xs: tg.cat(xs), inputs=[[X, [[1.0, 2.0, 3.0, 4.0]]]])  # within a list of arrays too
    assert check(lambda x, sizes: x.reshape(sizes), inputs=[X, [2, 6]])  # integers are settings
    with pytest.raises(ValueError, match="has the length 2 and data.1. has the length 1"):
        check(tg.exp, inputs=[[[1.0, 2.0], [3.0]]])


def test_inputs_are_a_list():
    for bare in (X, tg.ones(3, 4)):
        with pytest.raises(TypeError, match=r"inputs must be a list of arrays, got float\d\d\[3, 4\]; .*inputs=\[x\]"):
            check(tg.exp, inputs=bare)


def test_torch_fn_without_torch_says_what_to_do(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ImportError, match="torch_fn needs PyTorch: pip install torch, or leave it out"):
        check(tg.exp, torch.exp, inputs=[X])
    assert check(tg.exp, inputs=[X])


def test_what_cannot_be_checked():
    with pytest.raises(ValueError, match="no input is floating"):
        check(tg.exp, inputs=[np.arange(3)])
    with pytest.raises(TypeError, match="expected a function, an autograd.Function or an op class"):
        check(int, inputs=[X])
    with pytest.raises(TypeError, match="returned no Tensor but float"):
        check(lambda x: 1.0, inputs=[X])
    with pytest.raises(CheckError, match="no output is floating"):
        check(lambda x: x.argmax(), inputs=[X])
    with pytest.raises(CheckError, match="infinities or NaN"):
        check(tg.exp, inputs=[np.array([1e3])])
    with pytest.raises(CheckError, match="does not give the same result twice"):
        check(lambda x: x * tg.rand(3, 4), inputs=[X])


class Broadcast(Op):
    """A sum whose gradients are left in the shape of the result."""

    name = "broadcast"

    @staticmethod
    def forward(xp, a, b):
        return a + b, ()

    @staticmethod
    def backward(xp, saved, gy):
        return gy, lambda: gy


class OnlyContiguous(Cube):
    @staticmethod
    def forward(xp, x):
        if not x.flags.c_contiguous:
            raise ValueError("only C order")
        return Cube.forward(xp, x)


def test_gradients_that_the_engine_refuses():
    assert "not summed after broadcasting" in found(Broadcast, [X, BIAS])
    unsummed = PLANTED["not summed"][0]
    with pytest.raises(CheckError, match="returned a gradient of shape") as caught:
        check(lambda x, b: unsummed.apply(x, b), inputs=[X, BIAS])  # what it returned is out of reach
    assert caught.value.diagnosis is None


def test_a_gradient_that_is_lost():
    assert "it is zero" in found(lambda x: (x * x).detach() + 0 * x, [X], lambda x: x * x)
    assert "it is zero" in found(lambda x: (x * x).detach(), [X])
    some = operation(lambda x: x * x, lambda gy, y, x: 2 * gy * x * (x > 0))
    assert "elements are 0 that should not be" in found(some, [X])


def test_an_input_that_is_not_used_and_one_without_gradient_in_torch():
    assert check(lambda x, y: x * 2 + 0 * y, lambda x, y: x * 2, [X, Y])
    assert check(lambda x: x.floor() + 0 * x, lambda x: x.detach().floor(), [X])


def test_where_finite_differences_say_nothing_torch_does():
    result = check(tg.exp, torch.exp, [np.array([1e3, 1.0])])
    assert result.passed and "no gradcheck" in repr(result)


def test_large_inputs_are_checked_along_random_directions():
    assert check(lambda x: x @ x, inputs=[randn(30, 30)])
    with pytest.raises(CheckError, match="Along a random direction"):
        check(operation(lambda x: x * x, lambda gy, y, x: gy * x), inputs=[randn(600, 600)])


def test_an_operation_that_refuses_a_layout():
    with pytest.raises(CheckError, match="inputs not contiguous .*: ValueError: only C order"):
        check(OnlyContiguous, inputs=[X])


def test_gradients_in_float32_are_compared_with_torch():
    def careless(gy, y, x):
        return gy * y * (1.001 if x.dtype == tg.float32 else 1)

    with pytest.raises(CheckError, match="the gradient of input 0 in float32"):
        check(operation(lambda x: x.exp(), careless), torch.exp, [X])
