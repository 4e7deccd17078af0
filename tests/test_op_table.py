"""Every public function against PyTorch and against finite differences, from the records of the op table."""

from __future__ import annotations

import importlib
import inspect
import pkgutil

import numpy as np
import pytest

import tinygrad_edu as tg
from tinygrad_edu import dispatch, ops
from tinygrad_edu.ops.elementwise import Exp
from tinygrad_edu.ops.op import Op
from tinygrad_edu.testing import op_table
from tinygrad_edu.testing.records import Constant, DType, ErrorSample, OpRecord, Sample

FAMILIES = op_table.records()
RECORDS = [pytest.param(r, id=f"{family}-{r.name}") for family, records in FAMILIES.items() for r in records]
DIFFERENTIABLE = [p for p in RECORDS if p.values[0].differentiable]
IN_PLACE = [p for p in RECORDS if op_table.has_in_place_form(p.values[0])]
SMOOTH = [p for p in DIFFERENTIABLE if p.values[0].gradcheck]
TWICE = [p for p in SMOOTH if p.values[0].gradgradcheck]


@pytest.mark.parametrize("record", RECORDS)
def test_forward_as_in_torch(record):
    op_table.check_forward(record)


@pytest.mark.parametrize("record", DIFFERENTIABLE)
def test_gradient_as_in_torch(record):
    op_table.check_gradient(record)


@pytest.mark.parametrize("record", SMOOTH)
def test_gradient_as_finite_differences(record):
    op_table.check_finite_differences(record)


@pytest.mark.parametrize("record", TWICE)
def test_second_derivatives_as_finite_differences(record):
    op_table.check_second_differences(record)


@pytest.mark.parametrize("record", RECORDS)
def test_misuse_is_refused_as_in_torch(record):
    op_table.check_errors(record)


@pytest.mark.parametrize("record", IN_PLACE)
def test_the_in_place_form_equals_the_function(record):
    op_table.check_in_place(record)


# ---- nothing is left out ---------------------------------------------------------------------------------------------


def modules_of(package):
    return [importlib.import_module(f"{package.__name__}.{m.name}") for m in pkgutil.iter_modules(package.__path__)]


def test_every_op_is_differentiated_by_some_record():
    """The gradient checks run each record's backward; here it is seen which ops that reaches."""
    every = {c for m in modules_of(ops) for c in vars(m).values() if isinstance(c, type) and issubclass(c, Op)}
    named = {c for c in every if "name" in vars(c) and c.differentiable}  # a class without a name is a shared base
    reached = set().union(*(op_table.ops_run_backward(p.values[0]) for p in DIFFERENTIABLE))
    assert len(named) > 50
    assert sorted(c.name for c in named - reached) == ["to_device"]  # needs a GPU: tests/device/test_devices.py


# Public functions that no record can describe, and where they are tested.
WITHOUT_RECORD = {
    "dropout": "random: test_nn.py",
    "gumbel_softmax": "random: test_nn_surface.py",
    "broadcast_shapes": "takes and gives shapes: test_tensor.py",
    "rmatmul": "only as an operator: test_tensor.py",
}


def test_every_public_function_has_a_record():
    described = {p.values[0].name.partition("(")[0].strip() for p in RECORDS}
    found = {op_table.resolve(tg, name) for name in described if op_table.exists(tg, name)}
    public = {
        function
        for namespace in (tg, tg.nn.functional, tg.Tensor)
        for function in vars(namespace).values()
        if inspect.isfunction(function) and function.__module__.startswith("tinygrad_edu.functional")
    }
    # Other signatures of functions that have records; test_surface.py compares them with PyTorch's.
    public = {f for f in public if f.__module__ != "tinygrad_edu.functional.toplevel"}
    assert len(public) > 150
    assert sorted(f.__name__ for f in public - found if f.__name__ not in WITHOUT_RECORD) == []


def test_every_in_place_method_has_a_function_with_a_record():
    """`check_in_place` then tests it. The others, which have no function, are tested in test_tensor.py."""
    checked = {f"{p.values[0].name}_" for p in IN_PLACE}
    methods = {n for n in vars(tg.Tensor) if n[-1] == "_" and n[0] != "_"}
    own = {"copy_", "fill_", "zero_", "normal_", "uniform_", "bernoulli_", "random_", "exponential_", "detach_"}
    assert sorted(methods - checked - own - {"requires_grad_"}) == []


def test_records_that_are_not_checked_by_differences_say_why():
    unchecked = [p.values[0] for p in DIFFERENTIABLE if not (p.values[0].gradcheck and p.values[0].gradgradcheck)]
    assert [r.name for r in unchecked if not r.note] == []


# ---- the checks can fail ---------------------------------------------------------------------------------------------


def record(ours, *samples, name="exp", **kwargs):
    return OpRecord(name, lambda rng: list(samples), ours=lambda t, *a, **k: ours(*a, **k), **kwargs)


X = Sample(np.linspace(0.1, 1.0, 6).reshape(2, 3))


class Doubled(tg.Function):
    """exp with twice its gradient."""

    @staticmethod
    def forward(ctx, x):
        ctx.y = x.exp()
        return ctx.y

    @staticmethod
    def backward(ctx, gy):
        return 2 * ctx.y * gy


def careless(x):
    y = x.exp()
    x._array[0] += 1.0
    return y


def careless_later(x):
    y = x.exp() * 1.0
    y.register_hook(lambda g: x._array.fill(0.0))
    return y


def lends_its_output(x):
    y = tg.zeros_like(x)
    x.grad = y
    return x.exp(), y


def test_a_right_record_passes_every_check():
    right = record(tg.exp, X, errors=lambda rng: [ErrorSample("x", error=TypeError, match="Tensor")])
    for check in (op_table.check_forward, op_table.check_gradient, op_table.check_finite_differences):
        check(right)
    op_table.check_errors(right)


@pytest.mark.parametrize(
    "wrong, message",
    [
        (record(lambda x: x.exp() * 1.001, X), r"result: 6 of 6 elements differ; worst at \(1, 2\): .* expected"),
        (record(lambda x: x.exp().double(), X), "dtype float64, expected float32"),
        (record(lambda x: x.exp()[None], X), r"shape \(1, 2, 3\), expected \(2, 3\)"),
        (record(lambda x: x.exp().detach(), X), "output 0 has requires_grad=False, in PyTorch True"),
        (record(lambda x: [x.exp()], X), "got"),
        (record(lambda x: 1.0, X), "got 1.0"),
        (record(careless, X), "forward changed tensor 0"),
        (
            record(lambda x: x * 1.0, X, name="t", torch=lambda t, x: x.view(2, 3)),
            "does not share memory with tensor 0",
        ),
        (
            record(lambda x: x.view(2, 3), X, name="t", torch=lambda t, x: x * 1.0),
            "shares memory with tensor 0, in PyTorch",
        ),
        (
            record(lambda x: x.data, X, name="t", torch=lambda t, x: x.data),
            "shares memory with tensor 0, but not its version counter",
        ),
        (record(lambda x: {"a": x.exp()}, X, name="t", torch=lambda t, x: {"a": x}), "result a: 6 of 6"),
        (record(lambda x: 2, X, name="t", torch=lambda t, x: 3), "got 2, PyTorch gives 3"),
        (record(lambda x: 2.0, X, name="t", torch=lambda t, x: 2.1), "1 of 1 elements differ"),
        (record(lambda x: x.dtype, X, name="t", torch=lambda t, x: t.int32), "got 'float32', PyTorch gives 'int32'"),
        (record(tg.exp), "has no samples"),
    ],
)
def test_the_forward_check_finds(wrong, message):
    with pytest.raises(AssertionError, match=message):
        op_table.check_forward(wrong)


@pytest.mark.parametrize(
    "wrong, message",
    [
        (record(Doubled.apply, X), r"gradient of tensor 0: 6 of 6 elements differ"),
        (record(careless_later, X), "backward changed tensor 0"),
        (record(lambda x: x.exp().detach(), X, name="t", torch=lambda t, x: x.exp()), "gradient of tensor 0: got None"),
        (
            record(lends_its_output, X, torch=lambda t, x: (x.exp(), t.zeros_like(x))),
            "shares memory with another array",
        ),
        (record(tg.exp, Sample(np.arange(3))), "no sample compares a gradient"),
    ],
)
def test_the_gradient_check_finds(wrong, message):
    with pytest.raises(AssertionError, match=message):
        op_table.check_gradient(wrong)


def test_the_gradient_check_tries_each_input_alone():
    def only_together(x, w):
        both = x.requires_grad and w.requires_grad
        return x * w if both else x * w + (x - x.detach()) + (w - w.detach())

    a, b = np.linspace(0.1, 1.0, 6).reshape(2, 3)
    with pytest.raises(AssertionError, match="gradient of tensor 0, wanted alone"):
        op_table.check_gradient(record(only_together, Sample(a, b), name="mul"))


def test_the_difference_check_finds():
    with pytest.raises(tg.testing.GradcheckError, match="gradcheck of exp: wrong gradient"):
        op_table.check_finite_differences(record(Doubled.apply, X))
    with pytest.raises(AssertionError, match="finite differences apply to no sample: .*infinities"):
        op_table.check_finite_differences(record(tg.exp, Sample(np.array([1e3]))))


def test_the_error_check_finds():
    def refusing(ours, error, match):
        misuse = ErrorSample(np.ones(3), np.ones(4), error=error, match=match)
        return record(ours, name="add", errors=lambda rng: [misuse])

    op_table.check_errors(refusing(tg.add, RuntimeError, "must match"))
    with pytest.raises(AssertionError, match="the message is .* expected to match 'unknown'"):
        op_table.check_errors(refusing(tg.add, RuntimeError, "unknown"))
    with pytest.raises(AssertionError, match="the record says TypeError, but PyTorch gives RuntimeError"):
        op_table.check_errors(refusing(tg.add, TypeError, ""))
    with pytest.raises(AssertionError, match="expected RuntimeError as in PyTorch, got KeyError"):
        op_table.check_errors(refusing(lambda a, b: {}["x"], RuntimeError, ""))
    with pytest.raises(AssertionError, match="expected RuntimeError as in PyTorch, got tensor"):
        op_table.check_errors(refusing(lambda a, b: a, RuntimeError, ""))


def test_errors_name_the_sample():
    with pytest.raises(AssertionError) as caught:
        op_table.check_forward(record(lambda x: x, X))
    assert caught.value.__notes__ == ["at exp(float64[2, 3]) [sample 0] in float32"]


def test_samples_become_tensors_of_the_wanted_kind():
    x, mask = np.arange(12.0).reshape(3, 4), np.ones(3, bool)
    sample = Sample([x.T, x[::2, ::-1]], x, Constant(x[0]), mask, {"k": (x,)}, DType("float16"), 3, flag=x)
    assert op_table.dtypes_of(sample) == ["float32", "float64"]
    call = op_table.Call(op_table.OURS, record(lambda *a, **k: None, name="any"), sample, "float32")
    (first, second), third, constant, made_mask, nested, dtype, three = call.args
    assert (first.stride(), second.stride(), first.is_contiguous()) == ((1, 4), (8, -1), False)
    assert first.tolist() == x.T.tolist() and second.tolist() == x[::2, ::-1].tolist()
    assert third is nested["k"][0] is call.kwargs["flag"] and third is not first
    assert third.requires_grad and third.dtype == tg.float32 and not np.shares_memory(third._array, x)
    assert (constant.requires_grad, constant.dtype) == (False, tg.float32)
    assert (made_mask.dtype, made_mask.requires_grad, dtype, three) == (tg.bool, False, tg.float16, 3)


def test_mixed_floating_types_are_also_run_as_they_are():
    half, single = np.ones(2, np.float16), np.ones(2, np.float32)
    assert op_table.dtypes_of(Sample(half, single)) == ["float32", "float64", None]
    assert op_table.dtypes_of(Sample(half)) == ["float32", "float64", None]
    assert op_table.dtypes_of(Sample(single)) == ["float32", "float64"]
    assert op_table.dtypes_of(Sample(np.ones(2, int), 2.0)) == [None]


def test_names_that_do_not_exist():
    assert not op_table.exists(tg, "nn.nothing") and not op_table.exists(tg, "softmax.of")
    assert op_table.resolve(tg, "nn.functional.softmax") is tg.softmax


@pytest.mark.parametrize(
    "y_of, gx_of, message",
    [
        (np.exp, lambda y, gy: gy * y, None),
        (lambda x: np.exp(x) * 1.001, lambda y, gy: gy * y, "result"),
        (np.exp, lambda y, gy: gy * y * y, "gradient of tensor 0"),
        (lambda x: np.exp(x, out=x), lambda y, gy: gy * y, "a twin changed"),
    ],
)
def test_the_check_of_twins_finds(y_of, gx_of, message, monkeypatch):
    """A fused twin of exp, right or wrong."""

    class Twin:
        saved_for = None
        ran: list[str] = []

        @staticmethod
        def accepts(x):
            return True

        @staticmethod
        def forward(xp, x):
            Twin.ran.append("forward")
            y = y_of(x)
            return y, (y.copy(),)

        @staticmethod
        def backward(xp, saved, gy):
            Twin.ran.append("backward")
            return gx_of(saved[0], gy)

    monkeypatch.setattr(dispatch, "_twins", {})
    dispatch.register_twin(Exp, "cpu", Twin)
    (exp,) = (r for r in FAMILIES["elementwise"] if r.name == "exp")
    if message is None:
        op_table.check_twins(exp)
    else:
        with pytest.raises(AssertionError, match=message):
            op_table.check_twins(exp)
    assert {"forward", "backward"} == set(Twin.ran)
