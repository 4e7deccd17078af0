"""explain: planted faults, each named with the operation, the line and the fix."""

from __future__ import annotations

import inspect as python_inspect
import itertools

import numpy as np
import pytest

import tinygrad_edu as tg
import tinygrad_edu.nn.functional as F
from gpt import GPT
from gpt.config import preset
from tinygrad_edu import nn
from tinygrad_edu.inspect.explain import TINY, Explanation, explain

FAULTS = []


def fault(state, cause, op, *words):
    """A function that returns (loss or a function that computes it, tensor). The line at fault ends in `# here`."""

    def register(function):
        FAULTS.append(pytest.param(function, state, cause, op, words, id=function.__name__))
        return function

    return register


def numbers(*shape, seed=0, scale=1.0):
    return tg.randn(*shape, generator=tg.Generator().manual_seed(seed)) * scale


def layer(seed=0, inputs=4, outputs=8):
    lin = nn.Linear(inputs, outputs)
    with tg.no_grad():
        lin.weight.copy_(numbers(outputs, inputs, seed=seed))
        lin.bias.copy_(numbers(outputs, seed=seed + 1))
    return lin


def gpt(**changes):
    tg.manual_seed(0)
    model = GPT(preset("laptop").model)
    x, y = (tg.randint(0, 65, (2, 16), generator=tg.Generator().manual_seed(i)) for i in (1, 2))
    return model, x, y


def leaf(*values, dtype=tg.float32):
    return tg.tensor(values, dtype=dtype, requires_grad=True)


# ---- no gradient -----------------------------------------------------------------------------------------------------


@fault("none", "requires_grad", "", "does not require one", "requires_grad_()")
def frozen():
    lin = layer().requires_grad_(False)
    w = numbers(8).requires_grad_()
    return (lin(numbers(3, 4)) * w).sum(), lin.weight


@fault("none", "integer", "", "int64", ".float()")
def integers():
    return leaf(1.0).sum(), tg.tensor([1, 2])


@fault("none", "not_used", "", "loss does not depend on it", "as a function", "w")
def unused_known_from_the_graph():
    w = leaf(1.0)
    return (w * 2).sum(), leaf(2.0)


@fault("none", "not_used", "", "No operation used it", "called in forward()")
def unused():
    model, x, y = gpt()
    model.extra = nn.Linear(2, 2)
    return lambda: model(x, y)[1], model.extra.weight


@fault("none", "not_used", "linear", "nothing that came of it went into the loss")
def result_dropped():
    lin, w = layer(), numbers(4).requires_grad_()

    def loss():
        x = numbers(3, 4)
        lin(x)  # here
        return (x * w).sum()

    return loss, lin.weight


@fault("none", "detach", "", "detach() at", "mul", "Leave out detach()")
def detached():
    lin, w = layer(), numbers(8).requires_grad_()

    def loss():
        h = lin(numbers(3, 4)).detach()  # here
        return (h * w).sum()

    return loss, lin.weight


@fault("none", "detach", "", "the loss uses the numbers without their history")
def loss_detached():
    lin = layer()
    return lambda: lin(numbers(3, 4)).sum().detach(), lin.weight  # here


@fault("none", "detach", "linear", "uses its numbers without its history", "leave out detach()")
def detached_known_from_the_graph():
    lin, x = layer(), numbers(3, 4).requires_grad_()
    return F.linear(x, lin.weight.detach()).sum(), lin.weight  # here


@fault("none", "detach", "", "detach() at", "linear in h.1.mlp.inner.c_fc (gpt/model.py")
def branch_of_a_real_model_detached():
    class Cut(nn.Module):
        def __init__(self, inner):
            super().__init__()
            self.inner = inner

        def forward(self, x):
            return self.inner(x.detach())  # here

    model, x, y = gpt()
    model.h[1].mlp = Cut(model.h[1].mlp)
    return lambda: model(x, y)[1], model.h[1].ln_2.weight


@fault("none", "no_grad", "linear", "linear in Linear", "ran under no_grad()", "outside of no_grad()")
def under_no_grad():
    lin, w = layer(), numbers(8).requires_grad_()

    def loss():
        with tg.no_grad():
            h = lin(numbers(3, 4))  # here
        return (h * w).sum()

    return loss, lin.weight


@fault("none", "left", "", ".data at", "Leave out .data")
def through_data():
    lin, w = layer(), numbers(8).requires_grad_()

    def loss():
        h = lin(numbers(3, 4)).data  # here
        return (h * w).sum()

    return loss, lin.weight


@fault("none", "left", "", ".numpy() at", "tensor()", "Compute with tensors")
def through_numpy():
    lin, w = layer(), numbers(8).requires_grad_()

    def loss():
        h = np.tanh(lin(numbers(3, 4)).detach().numpy())  # here
        return (tg.tensor(h) * w).sum()

    return loss, lin.weight


@fault("none", "left", "", ".numpy() at", "mul")
def through_numpy_and_back():
    lin, w = layer(), numbers(8).requires_grad_()

    def loss():
        h = lin(numbers(3, 4)).detach().numpy()  # here
        return (tg.from_numpy(h) * w).sum()

    return loss, lin.weight


@fault("none", "left", "", ".item() at", "mul", "leave out .item()")
def through_item():
    lin, w = layer(), numbers(8).requires_grad_()

    def loss():
        scale = lin(numbers(3, 4)).mean().item()  # here
        return (w * scale).sum()

    return loss, lin.weight


@fault("none", "left", "", "tensor() at", "copies the numbers", "clone()")
def copied_by_tensor():
    lin, w = layer(), numbers(8).requires_grad_()

    def loss():
        h = tg.tensor([lin(numbers(1, 4)).sum()])  # here
        return (h * w).sum()

    return loss, lin.weight


@fault("none", "integer", "cast", "cast", "int64", "gather()")
def cast_to_integer():
    lin, table = layer(), numbers(8, 2).requires_grad_()

    def loss():
        index = lin(numbers(3, 4)).abs().long().clamp(0, 7)  # here
        return table[index].sum()

    return loss, lin.weight


@fault("none", "integer", "argmax", "argmax", "softmax() for argmax()")
def through_argmax():
    lin, table = layer(), numbers(8, 2).requires_grad_()

    def loss():
        best = lin(numbers(3, 4)).argmax(-1)  # here
        return F.embedding(best, table).sum()

    return loss, lin.weight


@fault("none", "integer", "gt", "gt", "bool", "sigmoid() for a comparison")
def through_a_comparison():
    lin, w = layer(), numbers(8).requires_grad_()

    def loss():
        return ((lin(numbers(3, 4)) > 0) * w).sum()  # here

    return loss, lin.weight


@fault("none", "copy", "", "a copy of it", "one and the same tensor")
def copied():
    lin = layer()
    other = lin.weight.detach().clone().requires_grad_()
    return (numbers(3, 4) @ other.T).sum(), lin.weight


@fault("none", "not_a_leaf", "linear", "it is no leaf", "retain_grad()")
def computed_tensor():
    h = layer()(numbers(3, 4))  # here
    return (h * h).mean(), h


@fault("none", "no_gradient", "Half", "has none for its input 0", "backward of this Function")
def function_that_returns_none():
    class Half(tg.Function):
        @staticmethod
        def forward(ctx, x, y):
            return x + y

        @staticmethod
        def backward(ctx, g):
            return None, g

    x, y = leaf(1.0), leaf(2.0)
    return Half.apply(x, y).sum(), x  # here


# ---- zero ------------------------------------------------------------------------------------------------------------


@fault("zero", "dead_relu", "relu", "only inputs <= 0", "all 24 inputs are <= 0", "leaky_relu()")
def dead_relu():
    lin = layer()
    with tg.no_grad():
        lin.bias.fill_(-100.0)
    return F.relu(lin(numbers(3, 4))).sum(), lin.weight  # here


@fault("zero", "saturated", "tanh", "is saturated", "all 24 inputs", "smaller initial weights")
def saturated_tanh():
    lin = layer()
    with tg.no_grad():
        lin.bias.fill_(100.0)
    return (F.tanh(lin(numbers(3, 4))) * numbers(3, 8)).sum(), lin.weight  # here


@fault("tiny", "saturated", "sigmoid", "passes on only", "is saturated", "binary_cross_entropy_with_logits()")
def saturated_sigmoid():
    lin = layer()
    with tg.no_grad():
        lin.bias.fill_(-28.0)
    return (F.sigmoid(lin(numbers(3, 4))) * numbers(3, 8)).sum(), lin.weight  # here


@fault("zero", "saturated", "softmax", "all but 1", "all 3 rows", "temperature")
def saturated_softmax():
    lin = layer()
    return (F.softmax(lin(numbers(3, 4)) * 1e6, -1) * numbers(3, 8)).sum(), lin.weight  # here


@fault("tiny", "saturated", "scaled_dot_product_attention", "in each row", "normalise queries and keys")
def saturated_attention():
    q, k, v = (numbers(2, 6, 8, seed=i) for i in range(3))
    q = (q * 1e4).requires_grad_()
    y = F.scaled_dot_product_attention(q, k, v, is_causal=True)  # here
    return (y * numbers(2, 6, 8, seed=3)).sum(), q


@fault("zero", "saturated", "clamp", "beyond its limits", "widen the limits")
def clamped():
    lin = layer()
    return lin(numbers(3, 4)).clamp(50, 60).sum(), lin.weight  # here


@fault("zero", "constant", "softmax", "their sum is always 1")
def sum_of_a_softmax():
    lin = layer()
    return F.softmax(lin(numbers(3, 4)).double() * 0 + 1, -1).sum(), lin.weight  # here


@fault("zero", "constant", "softmax", "axis of size 1", "dim of the classes")
def softmax_over_the_wrong_axis():
    lin = layer(outputs=1)
    return (F.softmax(lin(numbers(3, 4)), 1) * numbers(3, 1)).sum(), lin.weight  # here


@fault("tiny", "constant", "layer_norm", "the sum of what it normalised is always 0")
def sum_of_a_layer_norm():
    lin, norm = layer(), nn.LayerNorm(8)
    return norm(lin(numbers(3, 4))).sum(), lin.weight  # here


@fault("zero", "masked", "where", "takes the other value everywhere", "all 24 places", "Look at the mask")
def masked_by_where():
    lin = layer()
    return tg.where(tg.zeros(3, 8) > 1, lin(numbers(3, 4)), 0.0).sum(), lin.weight  # here


@fault("zero", "masked", "masked_fill", "wherever a gradient arrives", "8 of 24 places")
def masked_where_it_matters():
    lin = layer()
    mask = tg.arange(3)[:, None] == tg.zeros(1, 8)
    return lin(numbers(3, 4)).masked_fill(mask, 0.0)[0].sum(), lin.weight  # here


@fault("zero", "masked", "mul", "a constant that is all zeros")
def multiplied_by_an_empty_mask():
    lin = layer()
    return (lin(numbers(3, 4)) * tg.zeros(3, 8)).sum(), lin.weight  # here


@fault("zero", "dropout", "dropout", "drops everything", "probability p")
def dropped():
    lin = layer()
    return nn.Dropout(1.0)(lin(numbers(3, 4))).sum(), lin.weight  # here


@fault("zero", "dropout", "dropout", "0 wherever a gradient arrives", "are 0")
def dropped_where_it_counts():
    lin = layer()
    tg.manual_seed(1337)  # drops the third element, and others
    y = nn.functional.dropout(lin(numbers(3, 4)).flatten()[:8], 0.5)  # here
    return y[y == 0].sum(), lin.weight


@fault("zero", "times_zero", "mul", "the number 0")
def multiplied_by_zero():
    lin = layer()
    return lin(numbers(3, 4)).sum() * 0.0, lin.weight  # here


@fault("zero", "zero_weights", "linear", "h.1.mlp.c_proj", "which is all zeros", "small random numbers")
def zero_projection():
    model, x, y = gpt()
    with tg.no_grad():
        model.h[1].mlp.c_proj.weight.zero_()
    return model(x, y)[1], model.h[1].mlp.c_fc.weight


@fault("zero", "zero_input", "linear", "the output of relu", "all zeros")
def zero_activations():
    first, second = layer(), layer(inputs=8)
    with tg.no_grad():
        first.bias.fill_(-100.0)
    return second(F.relu(first(numbers(3, 4)))).sum(), second.weight  # here


@fault("zero", "ignored", "cross_entropy", "all 32 are ignore_index = -1", "skip a batch", "made NaN")
def every_target_ignored():
    model, x, _ = gpt()
    return model(x, tg.full((2, 16), -1))[1], model.wte.weight


@fault("zero", "at_minimum", "mul", "at its minimum", "Prediction and target are equal")
def loss_at_its_minimum():
    lin, x = layer(), numbers(3, 4)
    return F.mse_loss(lin(x), lin(x).detach()), lin.weight  # here


@fault("zero", "at_minimum", "cross_entropy", "probability of all but 1")
def classes_all_certain():
    x, t = numbers(5, 4), tg.tensor([0, 1, 2, 3, 0])
    logits = (x * 0 + 300 * tg.eye(4)[t]).requires_grad_()
    return F.cross_entropy(logits, t), logits  # here


@fault("zero", "step_function", "round", "step function", "straight through")
def rounded():
    lin = layer()
    return (lin(numbers(3, 4)).round() * numbers(3, 8)).sum(), lin.weight  # here


@fault("zero", "not_chosen", "maximum", "takes the other operand")
def never_the_larger():
    lin = layer()
    return tg.maximum(lin(numbers(3, 4)), tg.full((3, 8), 1e3)).sum(), lin.weight  # here


@fault("zero", "overwritten", "slice_scatter", "writes other values over it", "was replaced")
def overwritten():
    lin = layer()
    y = lin(numbers(3, 4))
    y[1:] = 0.0  # here
    return y[1:].sum(), lin.weight


@fault("zero", "cancelled", "", "2 contributions cancel each other at it", "norm 0", "x - x")
def cancelled():
    lin, x = layer(), numbers(3, 4)
    return (lin(x) - lin(x)).sum(), lin.weight


@fault("zero", "hook", "", "a hook on", "replaced it by zero", "remove the hook")
def hooked():
    lin = layer()
    h = lin(numbers(3, 4))
    h.register_hook(lambda g: g * 0)
    return h.sum(), lin.weight


@fault("zero", "underflow", "mul", "float16 cannot hold", "GradScaler")
def underflowed():
    x = tg.full((3,), 1e-4, dtype=tg.float16, requires_grad=True)
    y = x * 1e-4  # here
    return (y * 1e-4).sum(), x


# ---- NaN and infinity ------------------------------------------------------------------------------------------------


@fault("inf", "forward_value", "log", "the logarithm of 0 is -inf (1 of 2 inputs", "at [0] from 0", "log_softmax()")
def log_of_zero():
    x = leaf(0.0, 1.0)
    return x.log().sum(), x  # here


@fault("nan", "forward_value", "log", "negative number", "(the smallest is -2)")
def log_of_a_negative_number():
    x = leaf(-2.0, 1.0)
    return (x.log() ** 2).sum(), x  # here


@fault("nan", "forward_value", "log", "The loss itself is finite", "log(where(mask, x, 1))")
def nan_hidden_by_where():
    x = leaf(0.0, 1.0)
    logs = x.log()  # here
    return tg.where(x > 0, logs, 0.0).sum(), x


@fault("nan", "forward_value", "div", "0 / 0 has no value", "first at [1] from 0 and 0", "add a small eps")
def zero_by_zero():
    x = leaf(1.0, 0.0)
    return (x / x).sum(), x  # here


@fault("inf", "forward_value", "div", "a division by 0")
def division_by_zero():
    x = leaf(1.0, 2.0)
    return (x / tg.tensor([1.0, 0.0])).sum(), x  # here


@fault("nan", "infinite_slope", "sqrt", "1 / (2 sqrt(x)) is infinite at 0", "sqrt(x + 1e-12)")
def root_at_zero():
    x = leaf(0.0, 1.0)
    return (x * x).sqrt().sum(), x  # here


@fault("nan", "overflow", "exp", "the largest input is 90", "above 88.72", "div (", "then made NaN", "Subtract the")
def exp_overflow():
    x = leaf(1.0, 90.0)
    e = x.exp()  # here
    return (e / e.sum()).sum(), x


@fault("huge", "overflow", "mul", "the loss is inf", "float16 ends at 6.55e+04", "compute in float32")
def half_precision_overflow():
    x = leaf(300.0, 1e3, dtype=tg.float16)
    return (x * x).sum(), x  # here


@fault("huge", "overflow", "cast", "does not fit: values reach 100000", "float16 ends at 65504", "Keep it in float32")
def number_too_large_for_half_precision():
    x = leaf(100.0, 1.0)
    return (x * 1000).half().sum(), x  # here


@fault("nan", "forward_value", "softmax", "hold -inf alone", "come from masked_fill", "one place of every row unmasked")
def row_masked_entirely():
    x = numbers(2, 3).requires_grad_()
    mask = tg.tensor([[True, False, True], [True, True, True]])
    scores = (x * 2).masked_fill(mask, -float("inf"))
    p = F.softmax(scores, -1)  # here
    w = numbers(3).requires_grad_()
    return (p @ w).sum(), w


@fault("nan", "input_value", "layer_norm", "128 inf", "as h.2.ln_1.weight", "cross_entropy")
def infinite_weight():
    model, x, y = gpt()
    with tg.no_grad():
        model.h[2].ln_1.weight.fill_(float("inf"))
    return model(x, y)[1], model.wte.weight


@fault("nan", "input_value", "mul", "1 NaN among 2 values from outside")
def nan_in_the_data():
    w = leaf(1.0, 1.0)
    return (w * tg.tensor([1.0, float("nan")])).sum(), w  # here


@fault("nan", "forward_value", "var", "less the correction, which is 0", "correction=0")
def variance_of_one_number():
    x = numbers(3, 1).requires_grad_()
    return x.var(1).sum(), x  # here


# ---- tiny and huge ---------------------------------------------------------------------------------------------------


@fault("tiny", "vanishing", "sigmoid", "20 x sigmoid shrink it", "on average; least, ", "residual connections")
def vanishing():
    layers = [layer(seed=i, inputs=8) for i in range(20)]
    net = nn.Sequential(*itertools.chain.from_iterable((lin, nn.Sigmoid()) for lin in layers))
    return (net(numbers(4, 8)) ** 2).mean(), layers[0].weight


@fault("huge", "exploding", "linear", "20 x linear make it", "It grows most, ", "clip_grad_norm_()")
def exploding():
    net = nn.Sequential(*(layer(seed=i, inputs=8) for i in range(20)))
    return net(numbers(4, 8)).mean(), net[0].weight


@fault("huge", "amplified", "div", "1e+12 times larger", "1e-06 to 1e-06", "away from 0")
def amplified():
    x = leaf(1e-6, 1e-6)
    return (1 / x).sum(), x  # here


@fault("tiny", "shrunk", "mul", "a constant of at most 1.0e-12")
def shrunk():
    x = leaf(1.0, 2.0)
    return (x * 1e-12).sum(), x  # here


@fault("tiny", "small_weights", "linear", "root mean square", "Initialise")
def small_weights():
    first, second = layer(), layer(inputs=8)
    with tg.no_grad():
        second.weight.mul_(1e-10)
    return second(first(numbers(3, 4))).sum(), first.weight  # here


@pytest.mark.parametrize("make, state, cause, op, words", FAULTS)
def test_planted_faults_are_named(make, state, cause, op, words):
    loss, p = make()
    before = p.grad
    found = explain(loss, p)
    assert (found.state, found.cause, found.op) == (state, cause, op)
    text = "\n".join([found.verdict, *found.evidence, found.fix])
    assert [word for word in words if word not in text] == []
    assert found.verdict.endswith(".") and found.fix.endswith(".")
    assert max(map(len, str(found).split("\n"))) <= 80
    assert p.grad is before
    lines, first = python_inspect.getsourcelines(make)
    marked = [first + i for i, line in enumerate(lines) if line.endswith("# here\n")]
    if marked:
        assert found.location.endswith(f"test_inspect_explain.py:{marked[0]}")
    elif op and "gpt" in python_inspect.getsource(make):
        assert found.location.partition(":")[0].endswith("gpt/model.py")


def test_at_least_twelve_causes_are_planted():
    assert len({param.values[2] for param in FAULTS}) >= 12


# ---- nothing wrong ---------------------------------------------------------------------------------------------------


def test_an_ordinary_gradient_is_said_to_be_one():
    model, x, y = gpt()
    found = explain(model(x, y)[1], model.wpe.weight)
    assert (found.state, found.cause, found.name) == ("ordinary", "ordinary", "wpe.weight")
    model(x, y)[1].backward()
    g = model.wpe.weight.grad.numpy()
    assert found.norm == pytest.approx(float(np.linalg.norm(g.astype(np.float64))), rel=1e-5)
    zeros = int((g == 0).sum())
    assert zeros and f"{zeros:,} of its elements" in str(found).replace("\n    ", " ")
    assert "not looked up" in str(found)


def test_every_parameter_of_a_real_model_is_ordinary_and_nothing_is_left_behind():
    model, x, y = gpt()
    loss = model(x, y)[1]
    assert {explain(loss, p).state for p in model.parameters()} == {"ordinary"}
    assert all(p.grad is None for p in model.parameters())
    loss.backward()  # the graph is still there
    assert all(p.grad is not None for p in model.parameters())


def test_the_bengio_network_with_saturated_units():
    """The initialisation that the course warns of: tanh at its flat ends."""
    table, W1 = numbers(27, 10, seed=1).requires_grad_(), numbers(30, 200, seed=2, scale=1e3).requires_grad_()
    W2 = numbers(200, 27, seed=3).requires_grad_()
    X = tg.randint(0, 27, (32, 3), generator=tg.Generator().manual_seed(4))
    Y = tg.randint(0, 27, (32,), generator=tg.Generator().manual_seed(5))
    loss = F.cross_entropy(tg.tanh(table[X].view(-1, 30) @ W1) @ W2, Y)
    found = explain(loss, W2)
    assert (found.state, found.name) == ("ordinary", "W2")
    with tg.no_grad():
        W1 *= 1e6
    found = explain(F.cross_entropy(tg.tanh(table[X].view(-1, 30) @ W1) @ W2, Y), table)
    assert (found.state, found.cause, found.op, found.name) == ("zero", "saturated", "tanh", "table")


def test_a_way_that_is_cut_is_named_beside_one_that_is_not():
    x = leaf(1.0, 2.0)
    found = explain(lambda: (x * x.detach()).sum(), x)
    assert found.state == "ordinary" and "One way to it is cut, though: detach() at" in found.evidence[-1]
    assert "cut" not in str(explain(lambda: (x * x).sum(), x))


def test_the_thresholds_are_those_documented():
    """A gradient just above the root mean square that counts as tiny, and one just below."""
    for factor, state in ((1.01, "ordinary"), (0.99, "tiny")):
        x = leaf(1.0, 1.0, dtype=tg.float64)
        assert explain((x * (TINY * factor)).sum(), x).state == state


def test_explain_is_not_disturbed_by_other_observers():
    x = leaf(0.0, 1.0)
    with tg.autograd.detect_anomaly():
        found = explain((x * x).sqrt().sum(), x)
    assert found.state == "nan"


# ---- what it looks like ----------------------------------------------------------------------------------------------


def test_notebooks_show_it_escaped():
    found = Explanation("<b>", "zero", "x", "a < b", ("<script>alert(1)</script>",), "use <=")
    page = found._repr_html_()
    assert "<script>" not in page and "&lt;script&gt;" in page and "a &lt; b" in page and "use &lt;=" in page
    assert repr(found) == "<Explanation: <b>, zero, x>"


# ---- bad input -------------------------------------------------------------------------------------------------------


def freed():
    x = leaf(1.0)
    loss = (x * x).sum()
    loss.backward()
    return loss, x


def changed():
    x = leaf(1.0)
    loss = (x * x).sum()
    with tg.no_grad():
        x += 1
    return loss, x


@pytest.mark.parametrize(
    "make, error, words",
    [
        (lambda: (1.5, leaf(1.0)), TypeError, "got float; loss.item\\(\\) has no history"),
        (lambda: ((leaf(1.0), leaf(1.0)), leaf(1.0)), TypeError, "got tuple; a model that returns"),
        (lambda: (nn.Linear(1, 1), leaf(1.0)), TypeError, "got a module; pass its loss"),
        (lambda: (lambda: None, leaf(1.0)), TypeError, "got NoneType"),
        (lambda: (leaf(1.0).sum(), nn.Linear(1, 1)), TypeError, "expected p to be a Tensor, got Linear; pass one of"),
        (lambda: (leaf(1.0).sum(), "wte"), TypeError, "expected p to be a Tensor, got str"),
        (lambda: (leaf(1.0, 2.0) * 2, leaf(1.0)), RuntimeError, r"got shape \(2,\); call .mean\(\) or .sum\(\)"),
        (lambda: (tg.ones(1).sum(), leaf(1.0)), RuntimeError, "has no history.*lambda"),
        (freed, RuntimeError, "freed by backward\\(\\).*retain_graph=True"),
        (changed, RuntimeError, "changed in place afterwards"),
    ],
)
def test_bad_input_is_named_with_the_fix(make, error, words):
    with pytest.raises(error, match=words):
        explain(*make())


def test_an_error_in_the_function_passes_through_and_leaves_nothing_behind():
    import sys

    def fails():
        raise KeyError("mine")

    before = sys.getprofile(), tg.autograd.modes.state.observers
    with pytest.raises(KeyError, match="mine"):
        explain(fails, leaf(1.0))
    assert (sys.getprofile(), tg.autograd.modes.state.observers) == before


def test_a_freed_graph_still_tells_what_is_not_connected():
    loss, _ = freed()
    assert explain(loss, leaf(2.0)).cause == "not_used"
