"""Traces: what they record of real models, that it is true, and what they refuse."""

from __future__ import annotations

import copy
import gc
import json
import math
import random
import sys
import threading
import weakref
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tinygrad_edu as tg
from gpt.config import GPTConfig, preset
from gpt.model import GPT
from tinygrad_edu import dispatch, inspect, nn
from tinygrad_edu.autograd.engine import Leaf, Node, in_backward_order, owner
from tinygrad_edu.autograd.modes import state
from tinygrad_edu.inspect import record, recorder
from tinygrad_edu.inspect.flops import flops
from tinygrad_edu.inspect.replay import reference_ops
from tinygrad_edu.inspect.text import tree
from tinygrad_edu.inspect.values import BINS, COUNTED, Looker
from tinygrad_edu.nn import functional as F

sys.path.append(str(Path(__file__).parents[1] / "examples"))
from text_classifier import MeanOfWords, Options  # noqa: E402

B, T, V = 12, 64, 65


def laptop(**changes: Any) -> GPT:
    """The model of the laptop preset, on the characters of Shakespeare."""
    return GPT(replace(preset("laptop").model, vocab_size=V, **changes))


def ids(batch: int = B, length: int = T, most: int = V) -> tuple[tg.Tensor, tg.Tensor]:
    return tg.randint(0, most, (batch, length)), tg.randint(0, most, (batch, length))


@pytest.fixture(scope="module")
def gpt() -> tuple[GPT, inspect.Trace]:
    """A step of the laptop preset with all its values."""
    tg.manual_seed(1)
    model = laptop()
    x, y = ids(4)
    with inspect.trace("full") as t:
        _, loss = model(x, y)
        loss.backward()
    return model, t


def bengio() -> dict[str, tg.Tensor]:
    """The parameters of Bengio's network: 27 letters, 3 before, 10 dimensions, 200 hidden."""
    shapes = {"C": (27, 10), "W1": (30, 200), "b1": (200,), "W2": (200, 27), "b2": (27,)}
    return {name: (tg.randn(shape) * 0.3).requires_grad_() for name, shape in shapes.items()}


def traced_bengio(values: str = "full") -> tuple[dict[str, tg.Tensor], inspect.Trace]:
    parameters = bengio()
    C, W1, b1, W2, b2 = parameters.values()
    X, Y = tg.randint(0, 27, (32, 3)), tg.randint(0, 27, (32,))
    with inspect.trace(values) as t:
        h = tg.tanh(C[X].view(-1, 30) @ W1 + b1)
        F.cross_entropy(h @ W2 + b2, Y).backward()
    return parameters, t


def traced_classifier() -> tuple[nn.Module, inspect.Trace]:
    model = MeanOfWords(500, Options(embedding_dimension=16))
    words, good = tg.randint(0, 500, (8, 20)), tg.randint(0, 2, (8,)).float()
    with inspect.trace("full") as t:
        F.binary_cross_entropy_with_logits(model(words), good).backward()
    return model, t


def named(t: inspect.Trace, path: str) -> list[inspect.OpRecord]:
    return [op for op in t.ops if op.path == path]


# ---- operations ------------------------------------------------------------------------------------------------------


class Tiny(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.hidden = nn.Linear(3, 4)
        self.out = nn.Linear(4, 2)

    def forward(self, x: tg.Tensor) -> tg.Tensor:
        return self.out(F.relu(self.hidden(x)) + 1.5)


def test_every_operation_has_a_record():
    model, x = Tiny(), tg.randn(5, 3)
    with inspect.trace() as t:
        loss = (model(x) ** 2).sum()
        loss.backward()
    assert [(op.id, op.name, op.path, op.shape, op.dtype) for op in t.ops] == [
        (0, "linear", "hidden", [5, 4], "float32"),
        (1, "relu", "", [5, 4], "float32"),
        (2, "add", "", [5, 4], "float32"),
        (3, "linear", "out", [5, 2], "float32"),
        (4, "pow", "", [5, 2], "float32"),
        (5, "sum", "", [], "float32"),
    ]
    parameters = ["x", "hidden.weight", "hidden.bias", "out.weight", "out.bias"]
    assert [p.name for p in t.parameters] == parameters
    assert [p.kind for p in t.parameters] == ["constant"] + ["parameter"] * 4
    first, _, add, second, power, total = t.ops
    assert [(i.parameter, i.op, i.gradient) for i in first.inputs] == [
        (0, None, False),
        (1, None, True),
        (2, None, True),
    ]
    assert [(i.op, i.number, i.gradient) for i in add.inputs] == [(1, None, True), (None, 1.5, False)]
    assert [i.op for i in second.inputs] == [2, None, None] and power.inputs[1].number == 2
    assert total.attrs == {"axis": {"tuple": [0, 1]}, "keepdims": False}
    assert all(op.graph and op.seconds > 0 and op.start >= 0 for op in t.ops)
    assert sorted(op.start for op in t.ops) == [op.start for op in t.ops]
    assert [(c.path, c.module, c.parent) for c in t.calls] == [
        ("", "Tiny", None),
        ("hidden", "Linear", 0),
        ("out", "Linear", 0),
    ]
    assert [t.calls[op.call].path for op in t.ops[:4]] == ["hidden", "", "", "out"] and total.call is None


def test_the_users_line_and_the_expression_on_it_are_known():
    model, x = Tiny(), tg.randn(5, 3)
    with inspect.trace("none") as t:
        π = model(x).sum()  # a letter of two bytes before the expression
    line = t.lines[t.ops[1].line]
    assert line.text == "return self.out(F.relu(self.hidden(x)) + 1.5)" and line.function == "Tiny.forward"
    assert line.text[slice(*line.columns)] == "F.relu(self.hidden(x))"
    assert t.location(t.ops[1]) == str(line) and str(line).startswith(__file__ if "/" not in line.file else line.file)
    assert Path(line.file).name == Path(__file__).name
    last = t.lines[t.ops[-1].line]
    assert last.text[slice(*last.columns)] == "model(x).sum()" and π.shape == ()


def test_names_of_modules_and_tied_parameters(gpt: tuple[GPT, inspect.Trace]):
    model, t = gpt
    paths = {path for path, _ in model.named_modules()}
    assert {op.path for op in t.ops if op.call is not None} <= paths
    (product,) = named(t, "h.3.attn.c_attn")
    assert product.name == "linear" and product.shape == [4, T, 3 * 128]
    names = {name for name, _ in model.named_parameters()}
    assert {p.name for p in t.parameters if p.kind == "parameter"} == names
    shared = t.parameter("wte.weight")
    assert shared.names == ["wte.weight", "lm_head.weight"] and t.parameter("lm_head.weight") is shared
    assert named(t, "lm_head")[0].inputs[1].parameter == shared.id == named(t, "wte")[0].inputs[0].parameter
    with pytest.raises(KeyError, match="no parameter 'wpe'; it has .*wpe.weight"):
        t.parameter("wpe")


def test_names_where_there_are_no_modules():
    C = tg.randn(27, 10).requires_grad_()
    weights = bengio()
    X = tg.tensor([[1, 2, 3]])
    with inspect.trace("none") as t:
        (C[X].view(-1, 30) @ weights["W1"]).sum().backward()
    by_shape = {tuple(p.shape): p.name for p in t.parameters}
    assert by_shape == {(27, 10): "C", (1, 3): "X", (30, 200): ""} and t.ops[0].path == ""


def test_names_of_several_models_and_of_unregistered_modules():
    class Holder(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.parts = [nn.Linear(3, 3)]  # in a plain list, so not registered

        def forward(self, x: tg.Tensor) -> tg.Tensor:
            return self.parts[0](x)

    a, b, holder, loss = Tiny(), Tiny(), Holder(), nn.MSELoss()
    x = tg.randn(5, 3)
    with inspect.trace("none") as t:
        loss(a(holder(x)), b(x))
    assert [op.path for op in t.ops if op.name == "linear"] == [
        "Holder.Linear", "Tiny.hidden", "Tiny.out", "Tiny_2.hidden", "Tiny_2.out"
    ]  # fmt: skip
    assert t.ops[-1].path == "MSELoss"
    assert {"Tiny.hidden.weight", "Tiny_2.hidden.weight"} <= {p.name for p in t.parameters}
    with inspect.trace("none") as t:
        loss(a(x), tg.zeros(5, 2))
    assert {op.path for op in t.ops} == {"", "hidden", "out", "MSELoss"}  # one model and a loss


def test_a_module_called_twice_has_two_calls():
    layer = nn.Linear(4, 4)
    with inspect.trace("none") as t:
        layer(layer(tg.randn(2, 4)))
    assert [(c.path, c.module) for c in t.calls] == [("", "Linear")] * 2 and [op.call for op in t.ops] == [0, 1]


def test_what_is_not_in_the_graph_is_recorded_and_cuts_show():
    x = tg.randn(3, requires_grad=True)
    with inspect.trace("none") as t:
        a = x * 2.0
        with tg.no_grad():
            b = a + 1.0
        c = a.detach() * x + b
        place = c.argmax()
        c.sum().backward()
    mul, plus, product, add, argmax, _ = t.ops
    assert [op.graph for op in t.ops] == [True, False, True, True, False, True] and place.item() in (0, 1, 2)
    assert (product.inputs[0].op, product.inputs[0].gradient) == (mul.id, False)  # cut by detach()
    assert (add.inputs[1].op, add.inputs[1].gradient) == (plus.id, False)  # cut by no_grad()
    assert plus.differentiable and not argmax.differentiable
    assert [i.gradient for i in plus.inputs] == [False, False]


def test_views_and_new_memory():
    x = tg.randn(4, 6)
    with inspect.trace("none") as t:
        x.view(6, 4).t().contiguous() * 2.0
    assert [(op.name, op.view, op.bytes) for op in t.ops] == [
        ("reshape", True, 0), ("permute", True, 0), ("contiguous", False, 96), ("mul", False, 96)
    ]  # fmt: skip


class Halves(tg.Function):
    """x -> its two halves; a Function that computes with operations of its own."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x[:2] * 1.0, x[2:] * 3.0

    @staticmethod
    def backward(ctx, first, second):
        (x,) = ctx.saved_tensors
        return tg.cat([first, second * 3.0])


def test_functions_of_the_readers_own():
    x = tg.randn(4, requires_grad=True)
    with inspect.trace("full") as t:
        a, b = Halves.apply(x * 1.0)
        (a * b).sum().backward()
    whole = next(op for op in t.ops if op.name == "Halves")
    inside = [op for op in t.ops if op.inside == whole.id]
    assert [op.name for op in inside] == ["slice", "mul", "slice", "mul"]
    product = t.ops[whole.id + 1]
    assert [(i.op, i.output, i.gradient) for i in product.inputs] == [(whole.id, 0, True), (whole.id, 1, True)]
    assert whole.saved_bytes == 16 and [s.op for s in whole.saved] == [0]  # x * 1.0, which nothing else keeps
    assert whole.seconds >= 0 and sum(op.seconds for op in inside) > 0
    step = next(s for s in t.backward if s.op == whole.id)
    during = [op for op in t.ops if op.during is not None]
    assert {op.name for op in during} == {"mul", "cat"} and {op.during for op in during} == {step.id}
    check = t.validate()
    assert check.skipped == 2 and check.operations == len(t.ops) - 2  # the Function, and what took its second output


def test_a_recorded_backward_pass_can_itself_be_followed():
    x = tg.randn(3, requires_grad=True)
    with inspect.trace("full") as t:
        (g,) = tg.autograd.grad((x * x * x).sum(), x, create_graph=True)
        g.sum().backward()
    assert {s.walk for s in t.backward} == {0, 1}
    assert any(op.during is not None and op.graph for op in t.ops)
    np.testing.assert_allclose(t.parameter("x").gradient.full, 6 * x.detach().numpy(), rtol=1e-6)


def test_a_graph_from_before_the_trace():
    x = tg.randn(3, requires_grad=True)
    y = (x * 2.0).exp()
    with inspect.trace("full") as t:
        (y + 1.0).sum().backward()
    add, mul, exp, total = t.ops
    assert (mul.name, mul.before, exp.name, exp.before, total.before) == ("mul", True, "exp", True, False)
    assert add.inputs[0].op == exp.id and exp.inputs[0].op == mul.id and mul.seconds is None
    np.testing.assert_array_equal(exp.value.full, y.detach().numpy())
    assert [t.ops[s.op].name for s in t.backward if s.op is not None] == ["sum", "add", "exp", "mul"]
    assert t.validate().skipped == 2


def test_graph_reads_the_nodes():
    model = laptop()
    _, loss = model(*ids(2))
    t = inspect.graph(loss)
    assert all(op.before and op.value is None for op in t.ops) and not t.backward
    assert sum(op.name == "linear" for op in t.ops) == 4 * 4 + 1
    assert {p.name for p in t.parameters if p.kind == "parameter"} == {name for name, _ in model.named_parameters()}
    assert "linear" in t.table(by="op")
    loss.backward()
    with pytest.raises(RuntimeError, match="was freed by backward.*retain_graph=True"):
        inspect.graph(loss)
    with pytest.raises(RuntimeError, match="has no history"):
        inspect.graph(tg.ones(2))
    with pytest.raises(TypeError, match="expected a Tensor, got int"):
        inspect.graph(3)
    first, _ = Halves.apply(tg.randn(4, requires_grad=True))
    assert [op.name for op in inspect.graph(first).ops] == ["Halves"]


# ---- gradients -------------------------------------------------------------------------------------------------------


def contributions(t: inspect.Trace, p: inspect.ParameterRecord) -> list[np.ndarray]:
    """What steps of backward handed to a parameter, in order."""
    return [
        g.value.full
        for step in t.backward
        if step.op is not None
        for g in step.gradients
        if t.ops[step.op].inputs[g.input].parameter == p.id
    ]


def test_what_is_handed_on_adds_up(gpt: tuple[GPT, inspect.Trace]):
    model, t = gpt
    for name, tensor in model.named_parameters():
        p = t.parameter(name)
        np.testing.assert_array_equal(p.gradient.full, tensor.grad.numpy(), err_msg=name)
        np.testing.assert_allclose(sum(contributions(t, p)), tensor.grad.numpy(), rtol=1e-4, atol=1e-7, err_msg=name)
    assert len(contributions(t, t.parameter("wte.weight"))) == 2  # of the head and of the embedding
    # and so it does on the way, for what goes into each operation
    for step in t.backward:
        if step.op is not None and step.op != t.backward[0].op:
            handed = [
                g.value.full
                for s in t.backward[: step.id]
                if s.op is not None
                for g in s.gradients
                if t.ops[s.op].inputs[g.input].op == step.op
            ]
            np.testing.assert_allclose(sum(handed), step.incoming.full, rtol=1e-4, atol=1e-7)


def test_both_walks_are_in_order(gpt: tuple[GPT, inspect.Trace]):
    _, t = gpt
    steps = [s.op for s in t.backward if s.op is not None]
    assert steps == sorted((op.id for op in t.ops if op.graph), reverse=True)
    starts = [s.start for s in t.backward]
    assert starts == sorted(starts) and starts[0] > t.ops[-1].start and all(s.walk == 0 for s in t.backward)
    arrivals = [s.parameter for s in t.backward if s.parameter is not None]
    assert len(arrivals) == len(set(arrivals)) == sum(p.kind == "parameter" for p in t.parameters)


def test_two_passes_add_to_the_same_gradient():
    x = tg.randn(4, requires_grad=True)
    with inspect.trace("full") as t:
        for factor in (2.0, 3.0):
            (x * factor).sum().backward()
    first, second = (s for s in t.backward if s.parameter is not None)
    assert (first.walk, second.walk) == (0, 1)
    assert second.incoming.full.tolist() == [3.0] * 4 and second.total.full.tolist() == [5.0] * 4
    assert first.total.full.tolist() == [2.0] * 4 == first.incoming.full.tolist()


def test_axes_over_which_broadcasting_summed():
    x, scale, bias = tg.randn(2, 3, 4), tg.randn(3, 1, requires_grad=True), tg.randn(4, requires_grad=True)
    a, b = tg.randn(5, 2, 3, requires_grad=True), tg.randn(3, 4, requires_grad=True)
    with inspect.trace("none") as t:
        ((x * scale + bias).sum() + (a @ b).sum()).backward()
    summed = {t.parameters[p].name: g.summed for p, g in _handed(t)}
    assert summed == {"scale": [0, 2], "bias": [0, 1], "a": [], "b": [0]}


def _handed(t: inspect.Trace) -> Iterator[tuple[int, inspect.GradientRecord]]:
    for step in t.backward:
        for g in step.gradients:
            parameter = t.ops[step.op].inputs[g.input].parameter
            if parameter is not None:
                yield parameter, g


# ---- memory ----------------------------------------------------------------------------------------------------------


def kept_by_graph(loss: tg.Tensor, model: nn.Module) -> int:
    """Bytes that the graph keeps alive, found by walking it: every piece of memory once, without the parameters'."""
    parameters = {id(owner(p._array)) for p in model.parameters()}
    found = {}
    for node in in_backward_order([loss._node]):
        if isinstance(node, Leaf):
            continue
        for x in (*node.saved, *node.constants):
            if hasattr(x, "strides"):
                found[id(owner(x))] = owner(x)
    return sum(x.nbytes for key, x in found.items() if key not in parameters)


@pytest.mark.parametrize("dropout", [0.0, 0.1])
@pytest.mark.parametrize("kernels", ["auto", "reference"])
def test_saved_memory_is_what_the_graph_keeps(dropout: float, kernels: str):
    with dispatch.use_kernels(kernels):
        model = laptop(dropout=dropout)
        x, y = ids(4)
        with inspect.trace("none") as t:
            _, loss = model(x, y)
        given = sum(p.bytes for p in t.parameters if p.name in ("x", "y") or (p.kind == "constant" and not p.name))
        held = sum(op.saved_bytes for op in t.ops)
        kept = kept_by_graph(loss, model)
        outside = kept - held  # what the caller, not the graph, had: ids, targets and masks
        assert 0 <= outside <= given and held > 20 * x.nbytes


def test_shared_memory_counts_once():
    x = tg.randn(10, requires_grad=True)
    with inspect.trace("none") as t:
        y = x.exp()
        y * y.view(2, 5).view(10) + y.sqrt()
    exp, *_, mul, root, _ = t.ops
    assert exp.saved_bytes == 40 and exp.saved[0].op == exp.id
    assert mul.saved_bytes == 0 and {s.op for s in mul.saved} == {exp.id}
    assert root.saved_bytes == 40 and root.saved[0].op == root.id


# ---- work ------------------------------------------------------------------------------------------------------------


def test_flops_of_the_products_are_exact(gpt: tuple[GPT, inspect.Trace]):
    model, t = gpt
    tokens, C = 4 * T, 128
    for op in t.ops:
        if op.name == "linear":
            rows, width = op.inputs[1].shape
            bias = rows * tokens if op.inputs[2].parameter is not None else 0
            assert op.flops == 2 * tokens * rows * width + bias
            (step,) = (s for s in t.backward if s.op == op.id)
            assert step.flops == 4 * tokens * rows * width + bias
    attention = [op for op in t.ops if op.name == "scaled_dot_product_attention"]
    scores = 4 * 4 * T * T  # B NH T T
    assert [op.flops for op in attention] == [4 * scores * (C // 4) + 6 * scores] * 4
    total = sum(op.flops for op in t.ops) + sum(s.flops for s in t.backward if s.op is not None)
    assert total == pytest.approx(model.estimate_flops(4, T), rel=0.02)


def test_flops_of_each_kind_of_op():
    x = (4, 6)
    both = [True, True]
    assert flops("matmul", [(5, 4, 6), (6, 3)], (5, 4, 3), {}, [True, False]) == (720, 720)
    assert flops("matmul", [(6,), (6,)], (), {}, both) == (12, 24)
    assert flops("einsum", [x, (6, 3)], (4, 3), {"subscripts": "ij,jk->ik"}, both) == (144, 288)
    assert flops("convolution", [(2, 3, 8, 8), (5, 3, 3, 3)], (2, 5, 6, 6), {}, both) == (2 * 360 * 27, 4 * 360 * 27)
    assert flops("add", [x, (6,)], x, {}, both) == (24, 24)  # the second's gradient is summed
    assert flops("mul", [x, x], x, {}, both) == (24, 48)
    assert flops("tanh", [x], x, {}, [True]) == (24, 24) == flops("tanh", [x], x, {}, [True])
    assert flops("sum", [x], (), {}, [True]) == (24, 0)
    assert flops("softmax", [x], x, {}, [True]) == (120, 96)
    assert flops("permute", [x], (6, 4), {}, [True]) == (0, 0)
    assert flops("embedding", [(10, 6), (4,)], (4, 6), {}, [True, False]) == (0, 24)
    assert flops("unheard_of", [x], x, {}, [True]) is None


def test_every_op_has_a_formula():
    shapes = [(4, 6), (6, 4), (6, 4), None, None]
    attrs = {"subscripts": "ij,jk->ik"}
    unknown = {
        name
        for name in reference_ops()
        if flops(name, shapes[: 2 if name == "einsum" else 3], (4, 6), attrs, [True] * 3) is None
    }
    assert unknown == {"ctc_loss"}


# ---- values ----------------------------------------------------------------------------------------------------------


def looked_at(x: np.ndarray, level: str = "full") -> inspect.ValueRecord:
    looker = Looker(level)
    found = looker.look(x)
    looker.finish()
    return found


rng = np.random.default_rng(0)
ARRAYS = {
    "normal": rng.standard_normal((40, 50)).astype(np.float32),
    "large mean": (rng.standard_normal(5000) * 1e-3 + 1000).astype(np.float32),
    "several chunks": (rng.standard_normal(300_000) * 3 + 7).astype(np.float32),
    "chunks that differ": np.repeat(np.float32([1e3, -2e3, 5e2]), 150_000),
    "float64": rng.standard_normal(777),
    "float16": rng.standard_normal((33, 3)).astype(np.float16),
    "float16, overflowing sums": np.full(1000, 60000, np.float16),
    "float32, overflowing squares": np.float32([1e30, -3e30, 2e30]),
    "zeros": np.zeros((3, 4), np.float32),
    "constant": np.full(10, 0.1, np.float32),
    "some zeros": np.float32([0.0, -0.0, 1.0, -2.0, 0.0]),
    "positive": np.float32([1.0, 2.0]),
    "NaN and infinity": np.float32([1.0, np.nan, np.inf, -np.inf, 3.0, np.nan, 0.0]),
    "nothing finite": np.float32([np.nan, np.inf]),
    "integers": np.arange(-5, 100),
    "bytes": np.arange(200, dtype=np.uint8),
    "booleans": np.array([True, False, True]),
    "empty": np.zeros((0, 3), np.float32),
    "one number": np.array(3.5, np.float32),
    "transposed": rng.standard_normal((20, 30)).astype(np.float32).T,
    "sliced": rng.standard_normal((20, 30)).astype(np.float32)[::2, ::3],
    "reversed": rng.standard_normal(50).astype(np.float32)[::-1],
    "repeated": np.broadcast_to(rng.standard_normal(5).astype(np.float32), (7, 5)),
}


@pytest.mark.parametrize("name", ARRAYS)
def test_statistics(name: str):
    x = ARRAYS[name]
    found = looked_at(x)
    exact = x.astype(np.float64)
    finite = exact[np.isfinite(exact)]
    assert (found.size, found.nans, found.infs) == (x.size, np.isnan(exact).sum(), np.isinf(exact).sum())
    assert found.zeros == (exact == 0).sum()
    if not finite.size:
        assert found.min is found.max is found.mean is found.std is found.norm is None and found.histogram == []
        return
    assert (found.min, found.max) == (finite.min(), finite.max())
    size = np.abs(finite).max()
    assert found.mean == pytest.approx(finite.mean(), rel=1e-6, abs=1e-6 * size)
    assert found.std == pytest.approx(finite.std(), rel=2e-5, abs=2e-7 * size)
    assert found.norm == pytest.approx(np.linalg.norm(finite), rel=1e-5)
    counts, _ = np.histogram(finite, BINS, (found.min, found.max))
    if found.min < found.max and x.size <= COUNTED:
        assert sum(found.histogram) == finite.size and np.abs(np.cumsum(found.histogram) - np.cumsum(counts)).max() <= 1
    elif found.min < found.max:
        assert COUNTED // 2 < sum(found.histogram) <= COUNTED
        share = np.abs(np.array(found.histogram) / sum(found.histogram) - counts / finite.size)
        assert share.max() < 0.06
    else:
        assert sum(found.histogram) == found.histogram[0] == min(finite.size, COUNTED)


def test_samples_are_corners():
    small, large = rng.standard_normal((16, 16)), rng.standard_normal((3, 20, 30))
    np.testing.assert_array_equal(looked_at(small, "sample").sample, small)
    np.testing.assert_array_equal(looked_at(large, "sample").sample, large[:1, :8, :8])
    np.testing.assert_array_equal(looked_at(large[0, 0].repeat(20), "sample").sample, large[0, 0].repeat(20)[:8])
    assert looked_at(small, "stats").sample is None and looked_at(small, "sample").full is None
    assert looked_at(small, "none") is None
    x = small.copy()
    kept = looked_at(x)
    x[0, 0] = 99.0
    assert kept.full[0, 0] == small[0, 0] == kept.sample[0, 0]  # copies


def test_values_are_those_of_the_tensors(gpt: tuple[GPT, inspect.Trace]):
    model, t = gpt
    (head,) = named(t, "lm_head")
    exact = head.value.full.astype(np.float64)
    assert head.value.mean == pytest.approx(exact.mean(), abs=1e-7)
    assert head.value.std == pytest.approx(exact.std(), rel=1e-5)
    for step in t.backward:
        full = step.incoming.full.astype(np.float64)
        assert step.incoming.max == full.max() and step.incoming.min == full.min()
        assert step.incoming.std == pytest.approx(full.std(), rel=1e-4, abs=1e-12)
        assert sum(step.incoming.histogram) > 0


def test_levels_keep_what_they_say():
    x, y = ids(2)
    model = laptop()
    for level in ("none", "stats", "sample"):
        with inspect.trace(level) as t:
            model(x, y)[1].backward()
        values = [op.value for op in t.ops] + [s.incoming for s in t.backward] + [p.value for p in t.parameters]
        assert {value is not None for value in values} == {level != "none"}
        if level != "none":
            assert {value.sample is not None for value in values} == {level == "sample"}
            assert {value.full is not None for value in values} == {False}


# ---- what tracing leaves alone ---------------------------------------------------------------------------------------


def test_tracing_changes_no_number_and_keeps_nothing_alive():
    x, y = ids(2)
    plain, seen = laptop(), laptop()
    seen.load_state_dict(plain.state_dict())
    plain(x, y)[1].backward()
    with inspect.trace("full") as t:
        logits, loss = seen(x, y)
        hidden = weakref.ref(logits._array)
        loss.backward()
    for (name, p), q in zip(plain.named_parameters(), seen.parameters(), strict=True):
        np.testing.assert_array_equal(p.grad.numpy(), q.grad.numpy(), err_msg=name)
    gc.disable()
    try:
        del logits, loss
        assert hidden() is None and t.ops
    finally:
        gc.enable()
    assert state.observers == ()


def test_other_threads_are_left_alone():
    x = tg.randn(3)
    with inspect.trace("none") as t:
        thread = threading.Thread(target=lambda: x * 2.0)
        thread.start()
        thread.join()
        x * 3.0
    assert len(t.ops) == 1


def test_an_exception_ends_the_trace_but_not_what_is_known():
    x = tg.randn(3, requires_grad=True)
    with pytest.raises(RuntimeError, match="must match"), inspect.trace() as t:
        y = x * 2.0
        y + tg.ones(4)
    assert [op.name for op in t.ops] == ["mul"] and t.error.startswith("RuntimeError: add: the size of tensor a (3)")
    assert state.observers == () and "The block ended in RuntimeError" in t.summary()


class Failing(tg.Function):
    @staticmethod
    def forward(ctx, x):
        raise ValueError("no")


def test_an_operation_that_fails_does_not_confuse_those_after_it():
    with inspect.trace("none") as t:
        for broken in (lambda: tg.ones(3) + tg.ones(4), lambda: Failing.apply(tg.ones(3))):
            with pytest.raises((RuntimeError, ValueError)):
                broken()
        tg.ones(2) * 2.0
    assert [(op.name, op.inside) for op in t.ops] == [("mul", None)] and t.ops[0].seconds > 0


@pytest.mark.parametrize("use", [
    lambda t: t.summary(), lambda t: t.table(), lambda t: t.ops, lambda t: t.save("x.json"), lambda t: t.error,
    lambda t: t.validate(), lambda t: t.parameter("x"), lambda t: t.to_dict(),
])  # fmt: skip
def test_a_trace_used_before_it_ended(use: Callable[[inspect.Trace], object]):
    with inspect.trace() as t, pytest.raises(RuntimeError, match="still being recorded.*after the `with` block"):
        use(t)
    assert t.ops == [] and "Trace: 0 operations" in repr(t)


def test_misuse_is_told():
    with pytest.raises(ValueError, match="values must be one of none, stats, sample, full, got 'all'"):
        inspect.trace("all")
    with pytest.raises(ValueError, match="got Linear; run the model in its block"):
        inspect.trace(nn.Linear(2, 2))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="sample, full, got NoneType$"):
        inspect.trace(values=None)  # type: ignore[arg-type]
    with inspect.trace("none"), pytest.raises(RuntimeError, match="traces do not nest"):
        inspect.trace().__enter__()
    assert state.observers == ()
    x = tg.randn(3, requires_grad=True)
    y = x.exp().sum()
    y.backward()
    with inspect.trace() as t, pytest.raises(RuntimeError, match="a second time.*retain_graph=True"):
        y.backward()
    assert [op.before for op in t.ops] == [True, True]
    with pytest.raises(AttributeError, match="no attribute 'opps'"):
        _ = t.opps
    assert "recorded" in repr(object.__new__(inspect.Trace))


def test_a_backward_that_fails_does_not_confuse_what_follows():
    class Wrong(tg.Function):
        @staticmethod
        def forward(ctx, x):
            return x * 1.0

        @staticmethod
        def backward(ctx, gy):
            raise ValueError("wrong")

    x = tg.randn(3, requires_grad=True)
    with inspect.trace() as t:
        with pytest.raises(ValueError, match="wrong"):
            Wrong.apply(x).sum().backward()
        (x * 2.0).sum().backward()
    assert [op.during for op in t.ops] == [None] * len(t.ops) and t.backward[-1].walk == 1
    assert x.grad.tolist() == [2.0] * 3 == t.parameter("x").gradient.sample.tolist()


def test_a_longer_block_with_an_optimizer():
    model = Tiny()
    optimizer = tg.optim.AdamW(model.parameters(), lr=0.1)
    x = tg.randn(5, 3)
    with inspect.trace("full") as t:
        for _ in range(3):
            optimizer.zero_grad()
            model(x).sum().backward()
            optimizer.step()
    assert [p.name for p in t.parameters].count("out.weight") == 3  # changed in place between its uses
    assert t.validate().operations == len(t.ops)


# ---- running it again ------------------------------------------------------------------------------------------------


def double_gpt() -> inspect.Trace:
    model = laptop(dropout=0.1).double()
    with inspect.trace("full") as t:
        model(*ids(2))[1].backward()
    return t


@pytest.mark.parametrize("make", [
    lambda: traced_bengio()[1], lambda: traced_classifier()[1], double_gpt
], ids=["bengio", "classifier", "float64 gpt"])  # fmt: skip
def test_a_trace_runs_again(make: Callable[[], inspect.Trace]):
    t = make()
    check = t.validate()
    assert check.operations == len(t.ops) and check.skipped == 0 and check.worst <= 1
    assert check.gradients == sum(len(s.gradients) for s in t.backward)


def test_the_laptop_preset_runs_again(gpt: tuple[GPT, inspect.Trace], tmp_path: Path):
    _, t = gpt
    check = t.validate()
    assert check.operations == len(t.ops) and check.gradients > len(t.ops) and 0 < check.worst <= 1
    assert "reproduced by the reference ops; the farthest off" in str(check)
    t.save(tmp_path / "t.json")
    assert inspect.load(tmp_path / "t.json").validate() == check


def test_a_wrong_value_is_found(gpt: tuple[GPT, inspect.Trace]):
    t = copy.deepcopy(gpt[1])
    (op,) = named(t, "h.2.mlp.c_fc")
    op.value.full[1, 2, 3] += 1e-3
    with pytest.raises(ValueError, match=rf"the output of linear \(operation {op.id}, h.2.mlp.c_fc, .*model.py:\d+\)"):
        t.validate()
    op.value.full[1, 2, 3] = np.nan
    with pytest.raises(ValueError, match="inf times what rounding explains"):
        t.validate()


def test_a_wrong_gradient_is_found(gpt: tuple[GPT, inspect.Trace]):
    t = copy.deepcopy(gpt[1])
    (op,) = named(t, "h.1.ln_2")
    (step,) = (s for s in t.backward if s.op == op.id)
    step.gradients[1].value.full *= 1.001
    with pytest.raises(ValueError, match="the gradient of input 1 of layer_norm"):
        t.validate()


def test_a_wrong_kernel_is_found(monkeypatch: pytest.MonkeyPatch):
    from tinygrad_edu.ops.activation import Tanh

    class Careless(Tanh):
        smallest = 0
        accepts = staticmethod(lambda *arrays, **attrs: True)

        @staticmethod
        def forward(xp, x):
            y = xp.clip(x - x * x * x / 3, -1, 1)
            return y, (y,)

    monkeypatch.setattr(dispatch, "_twins", {name: dict(twins) for name, twins in dispatch._twins.items()})
    monkeypatch.setattr(dispatch, "_smallest", dict(dispatch._smallest))
    dispatch.register_twin(Tanh, "cpu", Careless)
    with dispatch.use_kernels("auto"):
        _, t = traced_bengio()
    assert [op.kernel for op in t.ops if op.name == "tanh"] == ["Careless"]
    with pytest.raises(
        ValueError, match=r"the output of tanh \(operation \d+, outside modules, .*either a kernel is wrong"
    ):
        t.validate()


def test_only_all_values_can_run_again():
    _, t = traced_bengio("sample")
    with pytest.raises(ValueError, match='recorded with values="sample".*values="full"'):
        t.validate()


# ---- files -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("level", ["none", "stats", "sample", "full"])
def test_a_file_holds_all_of_it(level: str, tmp_path: Path):
    _, t = traced_bengio(level)
    t.save(tmp_path / "t.json")
    assert (tmp_path / "t.safetensors").exists() == (level == "full")
    again = inspect.load(tmp_path / "t.json")
    assert again.to_dict() == t.to_dict()
    if level == "full":
        for ours, theirs in zip(t.ops, again.ops, strict=True):
            assert ours.value.full.dtype == theirs.value.full.dtype
            np.testing.assert_array_equal(ours.value.full, theirs.value.full)
    json.loads((tmp_path / "t.json").read_text(), parse_constant=lambda name: pytest.fail(name))  # strict JSON


def test_not_a_number_and_odd_attributes_survive(tmp_path: Path):
    x = tg.tensor([[1.0, -1.0], [0.0, 2.0]], requires_grad=True)
    with inspect.trace("full") as t:
        y = x.log()[..., :: -1 if False else 1][:, None]
        tg.where(x > 0, y[:, 0], -math.inf).clamp(-math.inf, 3.0).half().sum().backward()
    t.save(tmp_path / "t.json")
    again = inspect.load(tmp_path / "t.json")
    assert again.to_dict() == t.to_dict() and again.ops[0].value.nans == 1 and again.ops[0].value.infs == 1
    assert again.validate().operations == len(t.ops)


def test_attributes_come_back():
    for value in (
        None,
        True,
        3,
        -2.5,
        "same",
        (1, (2, None)),
        [1, 2],
        slice(None, 3, 2),
        ...,
        math.inf,
        np.dtype("int64"),
    ):
        assert record.decode_attribute(json.loads(json.dumps(record.encode_attribute(value)))) == value
    assert math.isnan(record.decode_attribute(record.encode_attribute(math.nan)))
    assert record.decode_attribute(record.encode_attribute(np.float32)) == np.dtype("float32")
    assert isinstance(record.decode_attribute(record.encode_attribute(object())), record.Opaque)


@pytest.fixture
def saved(tmp_path: Path) -> tuple[Path, dict[str, Any]]:
    with inspect.trace() as t:
        F.cross_entropy(Tiny()(tg.randn(5, 3)), tg.tensor([0, 1, 1, 0, 1])).backward()
    path = tmp_path / "t.json"
    t.save(path)
    return path, json.loads(path.read_text())


def change(document: Any, place: str, value: Any) -> None:
    *keys, last = [int(k) if k.isdigit() else k for k in place.split("/")]
    for key in keys:
        document = document[key]
    if value is ...:
        del document[last]
    else:
        document[last] = value


@pytest.mark.parametrize(("place", "value", "says"), [
    ("format", 2, "format 2, this version reads 1"),
    ("format", ..., "no field 'format'"),
    ("ops/0/name", ..., "'name' is missing"),
    ("ops/0/name", 3, "ops[0].name: expected a string, got 3"),
    ("ops/0/id", 5, "ops[0].id is 5, expected 0"),
    ("ops/0/secret", 1, "unknown field 'secret'"),
    ("ops/0/inputs/0/op", 10**6, "is 1000000, but there are"),
    ("ops/1/inputs/0/op", -1, "is -1, but there are"),
    ("ops/1/inputs/0/op", 4, "which ran later"),
    ("ops/0/line", 99, "ops[0].line is 99"),
    ("ops/0/shape", [32, "3"], "ops[0].shape[1]: expected an integer, got '3'"),
    ("ops/0/shape", [2**62, 2**62], "but its array has shape"),
    ("ops/0/graph", 1, "expected true or false, got 1"),
    ("ops/0/seconds", "soon", "expected a number, got 'soon'"),
    ("ops/0/seconds", -1.0, "seconds is -1.0, expected a number from 0"),
    ("backward/0/start", "inf", "start is inf, expected a number from 0"),
    ("ops/0/value/size", -1, "has size -1"),
    ("ops/0/value/sample/shape", [10**9, 10**9], "do not make an array of shape"),
    ("ops/0/value/sample/values", ["x"], "expected a number, got 'x'"),
    ("ops/0/value/sample/dtype", "object", "expected one of bool, uint8"),
    ("ops/0/attrs", [], "expected an object, got []"),
    ("backward/0/parameter", 0, "both op and parameter"),
    ("backward/0/gradients/0/input", 7, "input is 7"),
    ("backward", {}, "expected a list, got {}"),
    ("parameters/0", "p", "parameters[0]: expected an object, got 'p'"),
    ("ops/0/value/full", "op.0.value", "full values of the trace stand in this file"),
])  # fmt: skip
def test_damaged_files_are_refused(saved: tuple[Path, dict[str, Any]], place: str, value: Any, says: str):
    path, document = saved
    change(document, place, value)
    path.write_text(json.dumps(document))
    with pytest.raises((ValueError, FileNotFoundError)) as error:
        inspect.load(path)
    assert says in str(error.value) and path.stem in str(error.value)


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b"7", b'{"format": 1', b"\xff\xfe", b"[" * 100_000, b"PK\x03\x04", b"null"]
)
def test_what_is_no_trace_is_refused(tmp_path: Path, content: bytes):
    path = tmp_path / "t.json"
    path.write_bytes(content)
    with pytest.raises(ValueError, match="t.json is (truncated, damaged or )?no trace"):
        inspect.load(path)
    with pytest.raises(FileNotFoundError):
        inspect.load(tmp_path / "absent.json")


def test_a_file_cut_anywhere_is_refused(saved: tuple[Path, dict[str, Any]]):
    path, _ = saved
    whole = path.read_bytes()
    for end in random.sample(range(len(whole)), 50):
        path.write_bytes(whole[:end])
        with pytest.raises(ValueError, match="truncated"):
            inspect.load(path)


def test_no_change_of_a_file_does_more_than_a_value_error(saved: tuple[Path, dict[str, Any]]):
    """Anything may stand anywhere: loading, and showing what loads, ends well or in a sentence."""
    path, document = saved
    text = json.dumps(document)

    def places(x: Any) -> Iterator[tuple[Any, Any]]:
        for key, inner in x.items() if isinstance(x, dict) else enumerate(x) if isinstance(x, list) else ():
            yield x, key
            yield from places(inner)

    loaded = 0
    for _ in range(400):
        changed = json.loads(text)
        holder, key = random.choice(list(places(changed)))
        holder[key] = random.choice([None, -1, 10**30, 1.5, "nan", "\x1b[31m", [], {}, [[]], {"a": 1}, True, 1e308])
        path.write_text(json.dumps(changed))
        try:
            t = inspect.load(path)
        except ValueError:
            continue
        loaded += 1
        shown = t.summary(color=False) + t.table(color=False)
        assert "\x1b" not in shown
        t.save(path.with_name("x.chrome.json"))
    assert 0 < loaded < 400


def test_values_of_another_trace_are_refused(tmp_path: Path):
    _, t = traced_bengio()
    t.save(tmp_path / "a.json")
    t.save(tmp_path / "b.json")
    (tmp_path / "b.safetensors").replace(tmp_path / "a.safetensors")
    with pytest.raises(ValueError, match="a.safetensors beside it belongs to another trace"):
        inspect.load(tmp_path / "a.json")
    (tmp_path / "a.safetensors").unlink()
    with pytest.raises(FileNotFoundError, match="full values of the trace"):
        inspect.load(tmp_path / "a.json")


def test_a_file_is_written_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    _, t = traced_bengio("none")
    t.save(tmp_path / "t.json")
    before = (tmp_path / "t.json").read_bytes()
    monkeypatch.setattr("os.replace", lambda *args: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(OSError, match="No space left"):
        t.save(tmp_path / "t.json")
    assert (tmp_path / "t.json").read_bytes() == before and [p.name for p in tmp_path.iterdir()] == ["t.json"]
    with pytest.raises(ValueError, match="'t.xyz' does not say what to write; use a name that ends in .*json"):
        t.save(tmp_path / "t.xyz")


# ---- text ------------------------------------------------------------------------------------------------------------


def test_running_statistics_are_not_taken_for_the_output_of_a_module():
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.ReLU())
    with inspect.trace("none") as t:
        model(tg.ones(5, 3)).sum().backward()
    assert t.ops[-1].graph and any(op.path == "1" and op.shape == [] for op in t.ops)  # counts the batches, at the end
    (whole,) = (child for child in tree(t).children if child.module == "Sequential")
    assert [child.shape for child in whole.children] == [[5, 4]] * 3
    with inspect.trace("none") as t, tg.no_grad():
        nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2))(tg.ones(5, 3))
    assert tree(t).children[0].shape == [5, 2]


def test_the_summary_is_the_tree_of_modules(gpt: tuple[GPT, inspect.Trace]):
    model, t = gpt
    lines = t.summary(color=False).splitlines()
    assert max(map(len, lines)) <= 80
    labels = [line[:26].strip(" │├└") for line in lines[1 : lines.index("")]]
    assert labels[:5] == ["GPT", "wte", "wpe", "h.0 … h.3 ×4", "ln_1"] and "c_attn" in labels
    assert any(label.startswith("scaled_dot_product") for label in labels)
    columns = next(line for line in lines if "c_attn" in line)[26:].split()
    assert columns[0] == "4×64×384" and columns[1] == "197k" and columns[5] == "1.6M"
    unfolded = t.summary(fold=False, color=False)
    assert "×4 " not in unfolded and all(f"h.{i} " in unfolded for i in range(4))
    top = tree(t)
    (whole,) = (child for child in top.children if child.module == "GPT")
    assert whole.totals.parameters == sum(p.numel() for p in model.parameters())
    assert whole.totals.forward == pytest.approx(sum(op.seconds for op in t.ops))
    assert whole.totals.saved == sum(op.saved_bytes for op in t.ops)
    blocks = next(child for child in whole.children if child.count == 4)
    assert sum(c.totals.flops for c in blocks.children) == blocks.totals.flops
    assert "×N: N modules alike" in t.summary()


def test_only_blocks_alike_are_folded():
    class Deep(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = nn.ModuleList([nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 5), nn.Linear(5, 4), nn.ReLU()])

        def forward(self, x: tg.Tensor) -> tg.Tensor:
            for layer in self.layers:
                x = layer(x)
            return x

    model = Deep()
    with inspect.trace("none") as t:
        model(tg.randn(2, 4))
    (deep,) = tree(t).children
    assert [(c.label, c.last, c.count) for c in deep.children] == [
        ("layers.0", "layers.1", 2), ("layers.2", "", 1), ("layers.3", "", 1), ("layers.4", "", 1)
    ]  # fmt: skip
    assert "No backward pass was recorded" in t.summary()


def test_summaries_without_modules_and_without_operations():
    _, t = traced_bengio("none")
    assert "operations" in t.summary() and "tanh" in t.table()
    with inspect.trace("none") as empty:
        pass
    assert "operations" in empty.summary() and empty.table().startswith("operation")


def test_tables_are_sorted(gpt: tuple[GPT, inspect.Trace]):
    _, t = gpt
    for sort in ("time", "forward", "backward", "flops", "bytes", "saved", "name", "order"):
        lines = t.table(sort=sort, color=False).splitlines()
        assert max(map(len, lines)) <= 80 and lines[21].startswith(f"{len(t.ops) - 20} more")
    rows = t.table(sort="saved", rows=3, color=False).splitlines()[1:4]
    largest = sorted(t.ops, key=lambda op: -op.saved_bytes)[:3]
    assert [int(row.split()[0]) for row in rows] == [op.id for op in largest]
    assert t.table(sort="order", rows=2, color=False).splitlines()[1].startswith("0 ")
    by_op = t.table(by="op", sort="flops", color=False).splitlines()
    assert by_op[1].split()[:2] == ["linear", "17"]
    assert t.table(by="module", sort="flops", rows=1, color=False).splitlines()[1].split()[1] == "1"
    with pytest.raises(ValueError, match="sort must be one of order, .* got 'size'"):
        t.table(sort="size")
    with pytest.raises(ValueError, match="by must be one of operation, op, module, got 'line'"):
        t.table(by="line")


def test_colours_only_where_they_are_wanted(gpt: tuple[GPT, inspect.Trace], monkeypatch: pytest.MonkeyPatch):
    _, t = gpt
    assert "\x1b" not in t.summary() + t.table()  # pytest's output is no terminal
    assert "\x1b[1m" in t.summary(color=True)
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    assert "\x1b" in t.summary() and "\x1b" in t.table()
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b" not in t.summary() + t.table()


# ---- Chrome traces ---------------------------------------------------------------------------------------------------


def test_chrome_traces_nest(gpt: tuple[GPT, inspect.Trace], tmp_path: Path):
    _, t = gpt
    t.save(tmp_path / "t.chrome.json")
    events = json.loads((tmp_path / "t.chrome.json").read_text())["traceEvents"]
    spans = [e for e in events if e["ph"] == "X"]
    operations = [e for e in spans if e["cat"] == "forward"]
    assert [e["name"] for e in operations] == [op.name for op in t.ops]
    assert sum(e["cat"] == "backward" for e in spans) == sum(s.op is not None for s in t.backward)
    open_: list[float] = []
    for e in sorted(spans, key=lambda e: (e["ts"], -e["dur"])):  # as a viewer puts them on one track
        while open_ and open_[-1] <= e["ts"] + 1e-3:
            open_.pop()
        assert not open_ or e["ts"] + e["dur"] <= open_[-1] + 1e-2, e
        open_.append(e["ts"] + e["dur"])
    fc = next(e for e in operations if e["args"].get("module") == "h.2.mlp.c_fc")
    around = [e for e in spans if e["cat"] == "module" and e["ts"] <= fc["ts"] < e["ts"] + e["dur"]]
    assert [e["name"] for e in around] == ["GPT", "h.2", "h.2.mlp", "h.2.mlp.c_fc"]
    assert fc["args"]["line"].endswith(t.location(t.ops[fc["args"]["operation"]]))
    arrows = [e for e in events if e["ph"] in "sf"]
    assert len(arrows) == 2 * sum(s.op is not None for s in t.backward)
    memory = [e["args"]["bytes"] for e in events if e["ph"] == "C"]
    assert max(memory) <= sum(op.saved_bytes for op in t.ops) and memory[-1] == 0 and min(memory) >= 0


# ---- large -----------------------------------------------------------------------------------------------------------


def test_viewers_can_add_what_they_need(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(recorder, "FORWARD_DETAILS", [lambda op, inputs, y: {"first": float(y.flat[0])}])
    monkeypatch.setattr(
        recorder, "BACKWARD_DETAILS", [lambda op, step, node, gy, gradients: {"saved": len(node.saved)}]
    )
    _, t = traced_bengio("sample")
    assert t.ops[0].details == {"first": t.ops[0].value.sample.flat[0]}
    assert all("saved" in s.details for s in t.backward if s.op is not None)
    _, t = traced_bengio("stats")
    assert t.ops[0].details == {}


def test_a_long_chain(tmp_path: Path):
    x = tg.randn(2, requires_grad=True)
    with inspect.trace("stats") as t:
        y = x
        for _ in range(5_000):
            y = y * 1.0
        y.sum().backward()
    assert len(t.ops) == 5_001 and len(t.backward) == 5_002
    t.save(tmp_path / "t.json")
    assert len(inspect.load(tmp_path / "t.json").ops) == 5_001
    assert len(t.table().splitlines()) < 30 and len(t.summary().splitlines()) < 10


@pytest.mark.slow
def test_gpt2_124m(tmp_path: Path):
    model = GPT(GPTConfig())
    with inspect.trace("sample") as t:
        model(*ids(1, T, 50257))[1].backward()
    assert "h.0 … h.11 ×12" in t.summary()
    assert t.parameter("wte.weight").names == ["wte.weight", "lm_head.weight"]
    t.save(tmp_path / "t.json")
    assert (tmp_path / "t.json").stat().st_size < 5e6
    assert inspect.load(tmp_path / "t.json").to_dict() == t.to_dict()


def test_nodes_are_the_only_source(gpt: tuple[GPT, inspect.Trace]):
    """Ops contain nothing for inspection: every record's operation is a node's, in the graph's own order."""
    model, _ = gpt
    with inspect.trace("none") as t:
        _, loss = model(*ids(2))
    nodes = [n for n in reversed(in_backward_order([loss._node])) if isinstance(n, Node)]
    assert [op.name for op in t.ops if op.graph] == [n.op.name for n in nodes]
    assert [t.location(op).rpartition(":")[2] for op in t.ops if op.graph] == [
        n.location.rpartition(":")[2] for n in nodes
    ]


def test_parameters_of_modules_are_known_under_no_grad_too():
    model = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2))
    model[1].weight.requires_grad_(False)
    x = tg.randn(5, 3, requires_grad=True)
    with inspect.trace() as t, tg.no_grad():
        model(x)
    kinds = {p.name: (p.kind, p.owned) for p in t.parameters}
    own = {f"{i}.{name}": ("parameter", True) for i in (0, 1) for name in ("weight", "bias")}
    assert kinds == {**own, "x": ("constant", False)}
