"""Recomputation: the same numbers as without it, bit for bit, and less memory."""

from __future__ import annotations

import gc
import itertools
import weakref
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import tinygrad_edu as tg
from gpt.config import GPTConfig, TrainConfig
from gpt.model import GPT
from gpt.plan import plan
from gpt.trainer import Trainer
from tinygrad_edu import inspect, nn, recompute
from tinygrad_edu.autograd import Node
from tinygrad_edu.autograd.engine import in_backward_order, owner
from tinygrad_edu.nn import functional as F
from tinygrad_edu.utils.checkpoint import CheckpointError, checkpoint, checkpoint_sequential

modes = pytest.mark.parametrize("kernels", ["reference", "auto"])
SHAPE = GPTConfig(block_size=16, vocab_size=37, n_layer=3, n_head=2, n_embd=32, dropout=0.2)


def plainly(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    return function(*args, **kwargs)


def bytes_held(y: tg.Tensor) -> int:
    """Bytes that the nodes of a graph keep, each piece of memory once."""
    nodes = [n for n in in_backward_order([y._graph_node()]) if isinstance(n, Node)]
    kept = itertools.chain(*(itertools.chain(n.saved or (), n.constants or ()) for n in nodes))
    return sum({id(owner(x)): owner(x).nbytes for x in kept if hasattr(x, "strides")}.values())


def same(a: Any, b: Any) -> bool:
    return np.array_equal(np.asarray(a), np.asarray(b))


class Counted:
    """A function that counts its calls."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function, self.calls = function, 0

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        self.calls += 1
        return self.function(*args, **kwargs)


# ---- the same numbers ------------------------------------------------------------------------------------------------


def gpt_steps(on: bool) -> tuple[list[float], list[Any], Any]:
    """Losses of three micro-batches, the gradients, and the random number that would come next."""
    tg.manual_seed(7)
    model = GPT(SHAPE)
    model.recompute = on
    losses = []
    for _ in range(3):
        x = tg.randint(0, 37, (4, 16))
        loss = model(x, x)[1]
        loss.backward()
        losses.append(loss.item())
    return losses, [p.grad.numpy() for p in model.parameters()], tg.rand(4)


@modes
def test_a_gpt_with_dropout_is_the_same_bit_for_bit(kernels: str):
    with tg.use_kernels(kernels):
        losses, gradients, drawn = gpt_steps(False)
        other_losses, other_gradients, other_drawn = gpt_steps(True)
    assert losses == other_losses
    assert all(map(same, gradients, other_gradients))
    assert same(drawn, other_drawn)


def several(call: Callable[..., Any]) -> list[Any]:
    """Gradients through a function of several inputs and outputs that captures a parameter and an intermediate."""
    tg.manual_seed(3)
    layer, x, y = nn.Linear(5, 5), tg.randn(4, 5, requires_grad=True), tg.randn(4, 5, requires_grad=True)
    before = (x * 2).tanh()

    def function(a: tg.Tensor, pair: tuple[tg.Tensor, int], *, scale: float) -> tuple[Any, ...]:
        h = F.dropout(layer(a).exp(), 0.4) * before
        return h.sin(), {"b": (h + pair[0]).sigmoid()}, scale, h.argmax()

    first, rest, scale, at = call(function, before, (y, 1), scale=0.5)
    assert scale == 0.5 and not at.requires_grad
    (first.square().sum() * scale + rest["b"].log().sum()).backward()
    return [first.detach(), rest["b"].detach(), at, x.grad, y.grad, layer.weight.grad, layer.bias.grad, tg.rand(2)]


@modes
def test_several_outputs_and_captured_tensors(kernels: str):
    with tg.use_kernels(kernels):
        assert all(map(same, several(plainly), several(recompute)))


def nested(call: Callable[..., Any]) -> tuple[list[int], list[Any]]:
    tg.manual_seed(5)
    layers = [nn.Linear(6, 6) for _ in range(3)]
    x = tg.randn(3, 6, requires_grad=True)

    def inner(z: tg.Tensor) -> tg.Tensor:
        return F.dropout(layers[0](z).tanh(), 0.3)

    inner_counted = Counted(inner)

    def middle(z: tg.Tensor) -> tg.Tensor:
        return call(inner_counted, layers[1](z).exp()).sin() + call(inner_counted, z)

    middle_counted = Counted(middle)

    def outer(z: tg.Tensor) -> tg.Tensor:
        return layers[2](call(middle_counted, z.cos())).square()

    outer_counted = Counted(outer)
    call(outer_counted, x).sum().backward()
    gradients = [x.grad, *(p.grad for layer in layers for p in layer.parameters())]
    return [c.calls for c in (outer_counted, middle_counted, inner_counted)], gradients


def test_regions_within_each_other():
    calls, gradients = nested(plainly)
    assert calls == [1, 1, 2]
    calls, others = nested(recompute)
    assert calls == [2, 3, 8]  # every level runs again for each that is around it, and once for itself
    assert all(map(same, gradients, others))


def test_a_sequence_in_segments():
    model = nn.Sequential(*(nn.Sequential(nn.Linear(4, 4), nn.Tanh(), nn.Dropout(0.5)) for _ in range(5)))
    x = tg.randn(3, 4)
    found = []
    for run in (model, lambda x: checkpoint_sequential(model, 2, x), lambda x: checkpoint_sequential(model, 5, x)):
        tg.manual_seed(1)
        model.zero_grad()
        y = run(x)
        y.sum().backward()
        found.append([y.detach(), *(p.grad for p in model.parameters())])
    assert all(map(same, found[0], found[1])) and all(map(same, found[0], found[2]))
    for segments in (0, 6):
        with pytest.raises(ValueError, match=f"expected from 1 to 5 segments for 5 functions, got {segments}"):
            checkpoint_sequential(model, segments, x)


def test_pytorchs_name_and_arguments():
    x = tg.randn(3, requires_grad=True)
    y = tg.utils.checkpoint.checkpoint(torch_style, x, use_reentrant=False, preserve_rng_state=True, power=3)
    y.backward()
    assert same(x.grad, 3 * x.detach().square())
    again = Counted(torch_style)
    checkpoint(again, x, use_reentrant=True).backward()
    assert again.calls == 2


def torch_style(x: tg.Tensor, power: int = 2) -> tg.Tensor:
    return (x * x.square()).sum() if power == 3 else x.exp().sum()


def test_dropout_differs_where_the_random_state_is_not_kept():
    x = tg.ones(1000, requires_grad=True)
    for preserve, equal in ((True, True), (False, False)):
        x.grad = None
        y = recompute(lambda z: F.dropout(z, 0.5) * z, x, preserve_rng_state=preserve)
        kept = y.detach() != 0
        before = tg.get_rng_state()
        y.sum().backward()
        assert same(x.grad != 0, kept) is equal
        assert same(tg.get_rng_state(), before) is equal  # what follows is not disturbed


def test_without_recording_there_is_nothing_to_run_again():
    function = Counted(torch_style)
    x = tg.randn(3, requires_grad=True)
    with tg.no_grad():
        assert not recompute(function, x).requires_grad
    assert recompute(function, x.detach()).requires_grad is False
    assert function.calls == 2


# ---- memory ----------------------------------------------------------------------------------------------------------


def test_only_inputs_are_kept_and_all_is_freed():
    seen: list[weakref.ref[Any]] = []
    x, w = tg.randn(50, 40, requires_grad=True), tg.randn(40, 40, requires_grad=True)

    def function(z: tg.Tensor) -> tg.Tensor:
        a = z @ w
        b = a.tanh()
        seen.append(weakref.ref(b._array))  # tanh saves its output
        return b.exp()

    def region() -> Any:
        return recompute(lambda z: function(z), x * 2)

    gc.disable()  # reference counting alone has to do
    try:
        y = region()
        assert seen[0]() is None
        loss = y.sum()
        of_region = [n for n in in_backward_order([y._node]) if isinstance(n, Node) and n.again]
        assert len(of_region) == 3
        held = weakref.ref(of_region[0].again[0])  # type: ignore[index]
        given = weakref.ref(held().args[0]._array)  # type: ignore[union-attr]
        del of_region, y
        assert given() is not None
        loss.backward()
        assert len(seen) == 2 and seen[1]() is None
        assert held() is None and given() is None  # while the loss, and so the graph, is still there
        assert loss.grad_fn is not None

        y = region()  # and a graph that no backward goes through
        held = weakref.ref(y._node.again[0])
        del y
        assert held() is None and seen[2]() is None
    finally:
        gc.enable()


@modes
def test_a_gpt_keeps_little(kernels: str):
    shape = replace(SHAPE, n_layer=6, n_embd=64, vocab_size=11)
    x = tg.randint(0, 11, (8, 16))
    held = {}
    with tg.use_kernels(kernels):
        for on in (False, True):
            model = GPT(shape)
            model.recompute = on
            held[on] = bytes_held(model(x, x)[1]) - sum(p.nbytes for p in model.parameters())
    stream = 4 * 8 * 16 * 64
    # Bytes saved are those of the ends and, for each block, its input, which the region holds.
    assert held[False] > 6 * 10 * stream
    assert held[True] + 6 * stream < held[False] / 5


def test_a_trace_and_a_plan_say_what_is_kept():
    x = tg.randint(0, 37, (4, 16))
    model = GPT(SHAPE)
    saved, ops = {}, {}
    for on in (False, True):
        model.recompute = on
        with inspect.trace(values="none") as trace:
            model(x, x)[1].backward()
        saved[on] = sum(op.saved_bytes for op in trace.ops)
        ops[on] = [(op.name, op.graph) for op in trace.ops]
    assert ops[True] == ops[False]  # what ran again is no part of the graph
    assert saved[True] < saved[False] / 3
    config = TrainConfig(model=replace(SHAPE, n_layer=12, n_embd=64), batch_size=64, sample_tokens=0)
    plans = [plan(replace(config, recompute=on), seconds=0.0) for on in (False, True)]
    if plans[0].memory is not None and plans[1].memory is not None:
        assert plans[0].memory - plans[1].memory > 11 * 10 * 4 * 64 * 16 * 64 * 0.8


# ---- a graph like any other ------------------------------------------------------------------------------------------


def test_hooks_are_called_once_and_gradients_of_what_lies_between_can_be_had():
    x, w = tg.randn(4, requires_grad=True), tg.randn(4, requires_grad=True)
    called, between = [], []

    def function(z: tg.Tensor) -> tg.Tensor:
        h = (z * w).tanh()
        if not between:
            h.register_hook(lambda g: called.append(g))
            h.retain_grad()
            between.append(h)
        return h.exp()

    y = recompute(function, x)
    y.sum().backward()
    assert len(called) == 1 and same(between[0].grad, y.detach())
    y = recompute(function, x)
    gx, gw = tg.autograd.grad(y.sum(), (x, w))
    assert same(gx, x.grad) and same(gw, w.grad)


def test_a_second_backward_needs_the_graph_kept_as_always():
    x = tg.randn(4, requires_grad=True)
    function = Counted(lambda z: z.tanh().exp())
    y = recompute(function, x).sum()
    y.backward(retain_graph=True)
    first = x.grad.clone()
    y.backward()
    assert same(x.grad, 2 * first) and function.calls == 2
    with pytest.raises(RuntimeError, match="a second time: its saved values were freed"):
        y.backward()
    assert function.calls == 2


def test_backward_through_one_output_and_then_the_other():
    x = tg.randn(4, requires_grad=True)
    a, b = recompute(lambda z: (z.exp().sin(), z.tanh().cos()), x)
    a.sum().backward()
    b.sum().backward()
    first = x.grad
    x.grad = None
    x.exp().sin().sum().backward()
    x.tanh().cos().sum().backward()
    assert same(x.grad, first)


class Cube(tg.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: tg.Tensor) -> tuple[tg.Tensor, tg.Tensor]:
        ctx.save_for_backward(x)
        return x * x * x, x + 0

    @staticmethod
    def backward(ctx: Any, g: tg.Tensor, h: tg.Tensor) -> tg.Tensor:
        (x,) = ctx.saved_tensors
        return 3 * x * x * g + h


def higher(call: Callable[..., Any]) -> list[Any]:
    tg.manual_seed(2)
    x, w = (tg.randn(4, 4, dtype=tg.float64, requires_grad=True) for _ in range(2))
    between = []

    def inner(z: tg.Tensor) -> tg.Tensor:
        cube, copy = Cube.apply((z @ w).tanh())
        return cube * copy

    def function(z: tg.Tensor) -> tg.Tensor:
        h = z.sin()
        between.append(h)
        return call(inner, h).exp()

    y = call(function, x).sum()
    gx, gh = tg.autograd.grad(y, (x, between[0]), create_graph=True)
    return [gx, gh, *tg.autograd.grad(gx.square().sum() + gh.cos().sum(), (x, w, between[0]))]


def test_derivatives_of_derivatives_and_functions_of_ones_own():
    assert all(map(same, (g.detach() for g in higher(plainly)), (g.detach() for g in higher(recompute))))


def test_memory_of_a_function_of_ones_own_is_dropped_too():
    arrays: list[weakref.ref[Any]] = []

    class Watched(tg.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: tg.Tensor) -> tg.Tensor:
            y = x.exp()
            arrays.append(weakref.ref(y._array))
            ctx.save_for_backward(y)
            return y

        @staticmethod
        def backward(ctx: Any, g: tg.Tensor) -> tg.Tensor:
            return g * ctx.saved_tensors[0]

    x = tg.randn(4, requires_grad=True)
    y = recompute(lambda z: Watched.apply(z).sum(), x)
    assert arrays[0]() is None
    y.backward()
    assert same(x.grad, x.detach().exp())


def test_in_place_changes_and_views_within_the_function():
    def function(z: tg.Tensor) -> tg.Tensor:
        h = z * 2
        h[0] = z[1] * z[2]
        h.mul_(z)
        return h[1:].exp()

    x = tg.randn(4, 3, requires_grad=True)
    recompute(function, x).sum().backward()
    first, x.grad = x.grad, None
    function(x).sum().backward()
    assert same(x.grad, first)


def test_explanations_look_through_it():
    x, w = tg.randn(4, requires_grad=True), tg.zeros(4, requires_grad=True)
    loss = recompute(lambda z: (z * w).tanh() * w, x).sum()
    assert inspect.explain(loss, x).state == "zero"
    loss.backward()
    assert not x.grad.any()


# ---- what goes wrong -------------------------------------------------------------------------------------------------


def test_what_is_no_function_is_refused():
    x = tg.randn(3, requires_grad=True)
    with pytest.raises(TypeError, match=r"a function and then its arguments, got Tensor .* recompute\(block, x\)"):
        recompute(x.exp(), x)


def test_a_function_that_does_something_else_the_second_time():
    x = tg.randn(3, requires_grad=True)
    calls = itertools.count()

    def other_count(z: tg.Tensor) -> tg.Tensor:
        return z.exp().exp() if next(calls) % 2 else z.exp()

    def other_op(z: tg.Tensor) -> tg.Tensor:
        return z.tanh() if next(calls) % 2 else z.exp()

    def other_shape(z: tg.Tensor) -> tg.Tensor:
        return tg.cat([z] * (1 + next(calls) % 2)).exp()

    for function, words in (
        (other_count, "other_count computed 1 operations the first time and 2 when"),
        (other_op, r"exp of shape \(3,\) and dtype float32 the first time and tanh of shape"),
        (other_shape, r"cat of shape \(3,\) .* and cat of shape \(6,\)"),
    ):
        y = recompute(function, x).sum()
        with pytest.raises(CheckpointError, match=words):
            y.backward()


def test_what_was_changed_in_place_since_is_noticed():
    x, w = tg.randn(3, requires_grad=True), tg.randn(3, requires_grad=True)
    given = x * 1
    y = recompute(lambda z: z.exp(), given)
    given.add_(1)
    with pytest.raises(RuntimeError, match=r"given to <lambda> was changed in place afterwards \(it is at version 1"):
        y.sum().backward()
    y = recompute(lambda z: (z + w).exp(), x)
    with tg.no_grad():
        w += 1
    with pytest.raises(RuntimeError, match=r"a value that add \(.*\) reads was changed in place after the first run"):
        y.sum().backward()


def test_an_error_in_the_second_run_leaves_everything_as_it_was():
    x = tg.randn(3, requires_grad=True)
    calls = itertools.count()

    def function(z: tg.Tensor) -> tg.Tensor:
        if next(calls) == 1:
            raise ZeroDivisionError("the second time")
        return F.dropout(z, 0.5).exp().sum()

    y = recompute(function, x)
    before = tg.get_rng_state()
    with pytest.raises(ZeroDivisionError, match="the second time"):
        y.backward()
    assert same(tg.get_rng_state(), before) and tg.is_grad_enabled()
    y.backward()  # and the third time it goes well
    assert x.grad is not None


# ---- training --------------------------------------------------------------------------------------------------------


def test_a_run_with_the_option_is_the_same_run(tmp_path: Any):
    (tmp_path / "text.txt").write_text("To be, or not to be, that is the question.\n" * 40, encoding="utf-8")
    found = {}
    for on in (False, True):
        config = TrainConfig(
            dataset=str(tmp_path / "text.txt"), model=SHAPE, recompute=on, max_iters=4, batch_size=4,
            gradient_accumulation_steps=2, eval_iters=1, out_dir=str(tmp_path / str(on)),
        )  # fmt: skip
        trainer = Trainer.start(config)
        assert trainer.model.recompute is on
        found[on] = [(step.loss, step.grad_norm) for step in trainer]
        trainer.save(tmp_path / str(on) / "latest")
    assert found[False] == found[True]
    assert Trainer.resume(tmp_path / "False", recompute=True, max_iters=5).model.recompute
