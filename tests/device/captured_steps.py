"""Steps captured into graphs; run by test_graph.py, on an NVIDIA GPU or on the emulated one with graphs before it.

Work in a capture is not done, memory of its own is NaN until a replay has written it, and each replay does what was
captured, with the arguments of then: what is baked in shows.
"""

from __future__ import annotations

import ast
import contextlib
import ctypes
import gc
import re
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import cupy as cp
import numpy as np
import pytest

import tinygrad_edu as tg
from gpt.config import GPTConfig, TrainConfig
from gpt.model import GPT
from gpt.trainer import Trainer
from tinygrad_edu import nn, optim
from tinygrad_edu.backend import transfers
from tinygrad_edu.cuda import graphs
from tinygrad_edu.kernels.cuda import blas

SIZE = GPTConfig(block_size=16, vocab_size=65, n_layer=2, n_head=2, n_embd=32)


@contextlib.contextmanager
def captured(times: int) -> Iterator[None]:
    """Within it steps are captured so often, and none is given up."""
    made = graphs._Captured.__init__
    count = 0

    def counting(*args: Any) -> None:
        nonlocal count
        count += 1
        made(*args)

    with mock.patch.object(graphs._Captured, "__init__", counting), warnings.catch_warnings():
        warnings.simplefilter("error")
        yield
    assert count == times


class Training:
    """A small model, its optimizer, and a step."""

    def __init__(self, make: Callable[..., Any] = optim.AdamW, **options: Any) -> None:
        tg.manual_seed(2)
        self.model = nn.Sequential(nn.Linear(5, 7), nn.GELU(), nn.LayerNorm(7), nn.Linear(7, 3)).to("cuda")
        first, *others = self.model.parameters()
        groups = [{"params": [first], "weight_decay": 0.1}, {"params": others, "lr": 0.02}]
        self.optimizer = make(groups, **{"lr": 0.01, **options})
        self.seen, self.calls = tg.zeros(1), 0

    def step(self, x: tg.Tensor) -> tg.Tensor:
        self.optimizer.zero_grad()
        loss = (self.model(x.to("cuda")) ** 2).mean()
        loss.backward()
        self.optimizer.step()
        return loss

    def numbers(self) -> list[np.ndarray]:
        """All that training changes."""
        states = [value for state in self.optimizer.state.values() for value in state.values()]
        gradients = [p.grad for p in self.model.parameters() if p.grad is not None]
        return [np.array(t.detach().cpu().numpy()) for t in (*self.model.parameters(), *gradients, *states)]


def batch(i: int, rows: int = 4) -> tg.Tensor:
    return tg.from_numpy(np.random.default_rng(i).standard_normal((rows, 5)).astype("f"))


def same(a: list[np.ndarray], b: list[np.ndarray]) -> None:
    assert len(a) == len(b)
    for x, y in zip(a, b, strict=True):
        np.testing.assert_allclose(x, y, rtol=1e-6, atol=1e-7)


def compare(each: Callable[[Training, Any, int], float], times: int, steps: int = 9, **options: Any) -> None:
    """A loop of this body comes to the same with a graph, which is captured so often, as without one."""
    plain, graphed = Training(**options), Training(**options)
    expected = [each(plain, plain.step, i) for i in range(steps)]
    step = tg.cuda.graph(graphed.step)
    with captured(times):
        found = [each(graphed, step, i) for i in range(steps)]
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    same(graphed.numbers(), plain.numbers())


# ---- training --------------------------------------------------------------------------------------------------------


def test_a_gpt_is_trained_as_without_a_graph():
    def trained(wrap: Callable[[Any], Any]) -> tuple[list[tuple[float, float]], list[np.ndarray]]:
        model = GPT(SIZE, tg.Generator().manual_seed(1)).to("cuda")
        optimizer = model.configure_optimizers(0.1, 1e-2, (0.9, 0.95))
        schedule = optim.lr_scheduler.CosineAnnealingLR(optimizer, 8)

        def step(x: tg.Tensor, y: tg.Tensor) -> tuple[tg.Tensor, tg.Tensor]:
            optimizer.zero_grad()
            loss = model(x.to("cuda"), y.to("cuda"))[1]
            loss.backward()
            norm = nn.utils.clip_grad_norm_(model.parameters(), 0.5)
            optimizer.step()
            return loss, norm

        step, found = wrap(step), []
        for i in range(8):
            tokens = tg.from_numpy(np.random.default_rng(i).integers(0, 65, (4, 17)))
            loss, norm = step(tokens[:, :-1], tokens[:, 1:])
            schedule.step()
            found.append((loss.item(), norm.item()))
        return found, [p.detach().cpu().numpy() for p in model.parameters()]

    expected, plain = trained(lambda step: step)
    with captured(1):
        found, graphed = trained(tg.cuda.graph)
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    for a, b in zip(graphed, plain, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


def test_the_loop_in_the_documentation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """It trains as the trainer does."""
    monkeypatch.setattr("gpt.report.plot", lambda *args: None)
    (tmp_path / "text.txt").write_text("To be, or not to be, that is the question: " * 30, encoding="utf-8")
    config = TrainConfig(
        dataset=str(tmp_path / "text.txt"), out_dir=str(tmp_path / "run"), batch_size=3, max_iters=7, warmup_iters=2,
        optimizer="adamw", device="cuda", model=GPTConfig(block_size=8, n_layer=1, n_head=2, n_embd=16, dropout=0.0),
    )  # fmt: skip
    page = (Path(__file__).parents[2] / "docs/gpu.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"^```python notest\n(.*?)^```", page, re.DOTALL | re.MULTILINE)
    names: dict[str, Any] = {}
    body = [node for node in ast.parse(code).body if isinstance(node, (ast.Import, ast.ImportFrom, ast.FunctionDef))]
    exec(compile(ast.Module(body, []), "gpu.md", "exec"), names)
    plain, graphed = Trainer.start(config), Trainer.start(config)
    with captured(1):
        last = names["train"](graphed)
    assert last == pytest.approx([step.loss for step in plain][-1], rel=1e-5)
    for a, b in zip(graphed.model.parameters(), plain.model.parameters(), strict=True):
        np.testing.assert_allclose(a.detach().cpu().numpy(), b.detach().cpu().numpy(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["Adam", "AdamW"])
def test_what_the_optimizer_computes_on_the_cpu_is_that_of_each_step(name: str):
    """Steps, rates, betas and decay of each group, changed between calls."""

    def each(training: Training, step: Any, i: int) -> float:
        first, second = training.optimizer.param_groups
        first["lr"], second["betas"], second["weight_decay"] = 0.03 / (i + 1), (0.5 + 0.05 * i, 0.99), 0.1 * i
        return step(batch(i)).item()

    compare(each, 1, make=getattr(optim, name), maximize=name == "Adam")


def test_parameters_of_many_groups_and_of_different_steps():
    def each(training: Training, step: Any, i: int) -> float:
        loss = step(batch(i)).item()
        if i == 0:
            for p in list(training.model.parameters())[1:]:  # as if these came later
                training.optimizer.state[p]["step"].zero_()
        return loss

    compare(each, 1)

    def many(params: Any, **options: Any) -> Any:
        every = [p for group in params for p in group["params"]]
        return optim.AdamW([{"params": [p], "lr": 0.01 * (i + 1)} for i, p in enumerate(every)], **options)

    compare(lambda training, step, i: step(batch(i)).item(), 1, make=many)  # more kinds than a launch takes


def test_another_order_within_the_step():
    """Gradients that are dropped at the end, and ones that add up, in the step and outside of it."""

    class Dropping(Training):
        def step(self, x: tg.Tensor) -> tg.Tensor:
            loss = (self.model(x.to("cuda")) ** 2).mean()
            loss.backward()
            nn.utils.clip_grad_norm_(self.model.parameters(), 0.1)
            self.optimizer.step()
            self.optimizer.zero_grad()
            return loss

    class Adding(Training):
        def step(self, x: tg.Tensor) -> tg.Tensor:
            loss = (self.model(x.to("cuda")) ** 2).mean()
            loss.backward()
            return loss

    for kind in (Dropping, Adding):
        plain, graphed = kind(), kind()
        step = tg.cuda.graph(graphed.step)
        with captured(2 if kind is Adding else 1):  # the first of the gradients that add up has a graph of its own
            for i in range(15):
                assert step(batch(i)).item() == pytest.approx(plain.step(batch(i)).item(), rel=1e-5)
                if kind is Adding and i % 3 == 2:
                    for training in (plain, graphed):
                        training.optimizer.step()
                        training.optimizer.zero_grad()
                same(graphed.numbers(), plain.numbers())


def test_two_updates_in_a_step_and_replays_in_another_stream():
    class Twice(Training):
        def step(self, x: tg.Tensor) -> tg.Tensor:
            super().step(x)
            self.optimizer.step()
            return super().step(x * 2)

    plain, graphed = Twice(), Twice()
    step, stream = tg.cuda.graph(graphed.step), tg.cuda.Stream()
    with captured(1):
        for i in range(8):
            for training in (plain, graphed):
                training.optimizer.param_groups[0]["lr"] = 0.01 * (i + 1)
            expected = plain.step(batch(i)).item()
            with stream if i > 5 else contextlib.nullcontext():
                assert step(batch(i)).item() == pytest.approx(expected, rel=1e-5)
            tg.cuda.synchronize()
    assert {float(state["step"]) for state in graphed.optimizer.state.values()} == {24.0}
    same(graphed.numbers(), plain.numbers())


def test_an_update_alone():
    """backward() is outside: the graph reads gradients that must be where they were."""
    plain, graphed = Training(), Training()

    def updates(training: Training) -> Callable[[], None]:
        def update() -> None:
            nn.utils.clip_grad_norm_(training.model.parameters(), 0.1)
            training.optimizer.step()
            training.optimizer.zero_grad(set_to_none=False)

        return update

    both = [(plain, updates(plain)), (graphed, tg.cuda.graph(updates(graphed)))]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for i in range(8):
            for training, update in both:
                (training.model(batch(i).to("cuda")) ** 2).mean().backward()
                update()
            same(graphed.numbers(), plain.numbers())


def test_buffers_are_changed_in_place():
    def trained(wrap: Callable[[Any], Any]) -> list[np.ndarray]:
        tg.manual_seed(0)
        norm = nn.BatchNorm1d(5).to("cuda")

        def forward(x: tg.Tensor) -> tg.Tensor:
            with tg.no_grad():
                return norm(x)

        forward = wrap(forward)
        outputs = [forward(batch(i).to("cuda")).cpu().numpy() for i in range(6)]
        return [*outputs, *(b.cpu().numpy() for b in norm.buffers())]

    with captured(1):
        found = trained(tg.cuda.graph)
    same(found, trained(lambda step: step))


# ---- what comes back, and what goes in -------------------------------------------------------------------------------


def test_arguments_and_results_of_any_form():
    @tg.cuda.graph
    def step(x: Any, *, scale: float, both: bool = False) -> Any:
        a, (b, c) = x["a"], x["rest"]
        return {"sum": a.cuda() + b.cuda() * scale, "more": (c, None) if both else [c * 2]}

    def called(i: int, **options: Any) -> None:
        a, b, c = batch(i), batch(i + 1), tg.full((3,), float(i), device="cuda")
        found = step({"a": a, "rest": (b, c)}, **options)
        np.testing.assert_allclose(found["sum"].cpu().numpy(), (a + b * options["scale"]).numpy(), rtol=1e-6)
        if options.get("both"):
            assert type(found["more"]) is tuple and found["more"][1] is None and found["more"][0].tolist() == [i] * 3
        else:
            assert type(found["more"]) is list and found["more"][0].tolist() == [2 * i] * 3

    with captured(3):
        for i in range(6):
            called(i, scale=2.0)
        called(7, scale=3.0)
        called(8, scale=3.0)
        called(9, scale=3.0, both=True)
        called(10, scale=2.0)


def test_other_shapes_and_dtypes_have_graphs_of_their_own():
    @tg.cuda.graph
    def double(x: tg.Tensor) -> tg.Tensor:
        return x * 2

    with captured(3):
        for i in range(4):
            double(batch(i).cuda())
        for i in range(3):
            for x in (batch(i), batch(i, 6), batch(i).double()):
                found = double(x.cuda())
                assert found.dtype == x.dtype and tg.equal(found.cpu(), x * 2)


def test_only_so_many_graphs(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(graphs, "MOST_GRAPHS", 2)
    monkeypatch.setattr(graphs, "MOST_CAPTURES", 4)
    step = tg.cuda.graph(lambda x: x * 2)
    with captured(4):
        for rows in (1, 1, 1, 1, 2, 3, 3, 2, 1):  # the oldest goes
            assert tg.equal(step(batch(0, rows).cuda()).cpu(), batch(0, rows) * 2)
    with pytest.warns(UserWarning, match="captured 4 times already"):
        assert tg.equal(step(batch(0, 4).cuda()).cpu(), batch(0, 4) * 2)


def test_the_next_call_overwrites_what_came_back():
    step = tg.cuda.graph(lambda x: x * 2)
    xs = [tg.full((3,), float(i), device="cuda") for i in range(6)]
    for x in xs[:4]:
        step(x)
    found = step(xs[4])
    kept = found.clone()
    square = found.requires_grad_() * found
    assert found.tolist() == [8.0] * 3
    assert step(xs[5]).data_ptr() == found.data_ptr()
    assert found.tolist() == [10.0] * 3 and kept.tolist() == [8.0] * 3
    with pytest.raises(RuntimeError, match="changed in place"):  # and backward() notices
        square.sum().backward()


def test_a_view_of_an_argument_may_come_back():
    step = tg.cuda.graph(lambda x: (x[1], x.t()))
    for i in range(6):
        row, turned = step(batch(i).cuda())
        assert tg.equal(row.cpu(), batch(i)[1]) and tg.equal(turned.cpu(), batch(i).t())


def test_the_batch_is_all_that_is_copied():
    training = Training()
    step = tg.cuda.graph(training.step)
    for i in range(4):
        step(batch(i))
    with transfers.counted() as count:
        step(batch(5))
    assert (count.to_device, count.to_host) == (1, 0)


# ---- memory ----------------------------------------------------------------------------------------------------------


def test_nobody_else_gets_memory_of_the_graph():
    """Nor is it that of others: what was there between calls is neither read nor overwritten."""
    training, plain = Training(), Training()
    step = tg.cuda.graph(training.step)
    others: list[tuple[tg.Tensor, float]] = []
    for i in range(12):
        assert step(batch(i)).item() == pytest.approx(plain.step(batch(i)).item(), rel=1e-5)
        others += [(tg.full((n,), float(i), device="cuda"), float(i)) for n in (1, 4, 12, 28, 35, 128, 1024)]
        gc.collect()
        if i % 3 == 0:
            tg.cuda.empty_cache()
    for x, value in others:
        assert x.tolist() == [value] * x.numel()
    same(training.numbers(), plain.numbers())


def test_what_a_step_reads_stays_until_the_graph_goes():
    mask = tg.tensor([1.0, 0.0, 2.0, 3.0], device="cuda")
    holder = [mask]
    step = tg.cuda.graph(lambda x: x * holder[0])
    x = tg.ones(4, device="cuda")
    for _ in range(5):
        step(x).requires_grad_()  # a new Tensor each time, of the same memory
    assert not step(x).requires_grad
    del mask
    holder[0] = tg.zeros(4, device="cuda")  # unknown to the graph, as documented
    gc.collect()
    taken = [tg.full((4,), 9.0, device="cuda") for _ in range(8)]
    assert step(x).tolist() == [1.0, 0.0, 2.0, 3.0] and len(taken) == 8
    freed = cp.get_default_memory_pool().used_bytes()
    del step
    gc.collect()
    assert cp.get_default_memory_pool().used_bytes() < freed


def test_memory_that_runs_out_in_a_capture_is_not_taken_from_the_graph(monkeypatch: pytest.MonkeyPatch):
    """A pool that runs short frees what is unused by now, which launches of the graph have used."""
    fetch, calls = cp.cuda.memory._malloc, []

    def scarce(size: int) -> Any:
        calls.append(size)
        if len(calls) == 3:
            raise cp.cuda.runtime.CUDARuntimeError(2)
        return fetch(size)

    step = tg.cuda.graph(lambda x: ((x * 2) @ (x * 3)).sum() + (x @ x).sum())
    x = tg.from_numpy(np.random.default_rng(0).standard_normal((200, 200)).astype("f")).cuda()
    expected = [step(x).item() for _ in range(3)][0]
    monkeypatch.setattr(cp.cuda.memory, "_malloc", scarce)
    found = [step(x).item() for _ in range(3)]
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    assert len(calls) >= 3


# ---- when the graph no longer fits -----------------------------------------------------------------------------------


def test_a_loaded_state_and_parameters_elsewhere_are_captured_anew():
    def each(training: Training, step: Any, i: int) -> float:
        if i == 5:
            training.optimizer.load_state_dict(training.optimizer.state_dict())
        if i == 7:
            for p in training.model.parameters():
                p.data = p.data.clone()
        return step(batch(i)).item()

    compare(each, 3)


def test_modes_are_part_of_what_was_captured():
    def each(training: Training, step: Any, i: int) -> float:
        training.model.train(i < 6)
        return step(batch(i)).item()

    compare(each, 2)

    step = tg.cuda.graph(lambda x: x @ x)
    x = tg.ones(4, 4, device="cuda", dtype=tg.float32)
    with captured(2):
        for i in range(7):
            with tg.autocast("cuda", dtype=tg.float16, enabled=i >= 5):
                assert step(x).dtype == (tg.float16 if i >= 5 else tg.float32)


def freezes(training: Training) -> None:
    training.model[0].weight.requires_grad_(False)


def freezes_all_but_one(training: Training) -> None:
    training.model.requires_grad_(False)
    training.model[3].bias.requires_grad_()


def replaces_a_parameter(training: Training) -> None:
    training.model[0].bias = nn.Parameter(tg.ones(7, device="cuda"))


def replaces_a_module(training: Training) -> None:
    training.model[1] = nn.ReLU()


def replaces_a_buffer(training: Training) -> None:
    training.model[4].mask = tg.full((3,), 3.0, device="cuda")


def moves_a_buffer(training: Training) -> None:
    training.model[4].mask.data = tg.full((3,), 3.0, device="cuda")


def replaces_an_attribute(training: Training) -> None:
    training.model[4].other = tg.full((3,), 3.0, device="cuda")


def sets_a_number(training: Training) -> None:
    training.model[4].scale = 3.0


def sets_a_number_within_a_list(training: Training) -> None:
    training.model[4].parts[0].scale = 3.0


def hooks(training: Training) -> None:
    training.model[3].register_forward_hook(lambda module, args, y: y * 3)


def hooks_before(training: Training) -> None:
    training.model[3].register_forward_pre_hook(lambda module, args: args[0] * 3)


def hooks_backward(training: Training) -> None:
    training.model[3].register_full_backward_hook(lambda module, grads, outputs: (grads[0] * 3,))


class Scale(nn.Module):
    """It has all that can be changed, and counts its calls."""

    def __init__(self, *parts: nn.Module) -> None:
        super().__init__()
        self.scale, self.calls = 2.0, 0
        self.register_buffer("mask", tg.ones(3))
        self.other: Any = 1.0
        self.last: Any = None
        self.parts = nn.ModuleList(parts)

    def forward(self, x: tg.Tensor) -> tg.Tensor:
        self.calls += 1
        for part in self.parts:
            x = part.forward(x)
        self.last = x * self.scale * self.mask * self.other
        return self.last


class Scaled(Training):
    """A model whose last part is of the user's making."""

    def __init__(self, make: Callable[..., Any] = optim.AdamW, **options: Any) -> None:
        super().__init__(make, **options)
        self.model.append(Scale(Scale()).to("cuda"))


CHANGES = [
    freezes, freezes_all_but_one, replaces_a_parameter, replaces_a_module, replaces_a_buffer, moves_a_buffer,
    replaces_an_attribute, sets_a_number, sets_a_number_within_a_list, hooks, hooks_before, hooks_backward,
]  # fmt: skip


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
def test_what_changes_in_a_model_is_captured_anew(change: Callable[[Training], None]):
    plain, graphed = Scaled(), Scaled()
    step = tg.cuda.graph(graphed.step)
    # Gradients of a parameter that the optimizer does not know add up, and the first has a graph of its own.
    with captured(3 if change is replaces_a_parameter else 2):
        for i in range(9):
            if i == 6:
                change(plain)
                change(graphed)
            assert step(batch(i)).item() == pytest.approx(plain.step(batch(i)).item(), rel=1e-5)
    same(graphed.numbers(), plain.numbers())


def test_what_was_frozen_is_trained_again():
    def each(training: Training, step: Any, i: int) -> float:
        training.model[0].weight.requires_grad_(not 4 <= i < 7)
        return step(batch(i)).item()

    compare(each, 2)


def test_what_is_within_a_step_and_what_is_the_same_is_not_captured_anew():
    """Hooks, modes and replacements that the step takes back, counts, and numbers that are equal."""

    def each(training: Training, x: tg.Tensor) -> tg.Tensor:
        model, factor = training.model, 2.0
        hook = model[3].register_forward_hook(lambda module, args, y: y * factor)
        was, model[0].bias = model[0].bias, nn.Parameter(model[0].bias.detach() * 2)
        model.eval()
        with tg.no_grad():
            seen = model(x.to("cuda")).sum()
        model.train()
        hook.remove()
        model[0].bias = was
        return training.step(x).detach() + seen

    plain, graphed = Scaled(), Scaled()
    step = tg.cuda.graph(lambda x: each(graphed, x))
    with captured(1):
        for i in range(8):
            graphed.model[4].scale = float(str(plain.model[4].scale))
            graphed.model(batch(i).to("cuda"))  # which counts and notes
            assert step(batch(i)).item() == pytest.approx(each(plain, batch(i)).item(), rel=1e-5)
    same(graphed.numbers(), plain.numbers())


def test_dropout_that_begins_draws_numbers():
    drop = nn.Dropout(0.0)
    step = tg.cuda.graph(lambda x: drop(x) * 2)
    x = tg.ones(100, device="cuda")
    with captured(1):
        for _ in range(5):
            assert step(x).tolist() == [2.0] * 100
    drop.p = 0.5
    with pytest.warns(UserWarning, match="it draws random numbers"):
        assert set(step(x).tolist()) == {0.0, 4.0}


def test_while_somebody_looks_the_step_runs_as_it_is():
    training = Training()
    step = tg.cuda.graph(training.step)
    for i in range(5):
        step(batch(i))
    with tg.inspect.trace() as t:
        step(batch(5))
    assert re.match(r"<Trace: [1-9]\d* operations", repr(t))
    with pytest.raises(RuntimeError, match="nan"), tg.autograd.detect_anomaly():
        step(batch(6) * float("nan"))


def test_indices_out_of_range_are_reported_after_a_replay():
    table = tg.arange(6.0, device="cuda").reshape(3, 2)
    step = tg.cuda.graph(lambda i: nn.functional.embedding(i, table))
    for _ in range(5):
        assert step(tg.tensor([0, 2], device="cuda")).tolist() == [[0, 1], [4, 5]]
    for _ in range(2):
        bad = step(tg.tensor([0, 7], device="cuda"))
        with pytest.raises(IndexError, match="out of (range|bounds)"):
            bad.tolist()
        assert step(tg.tensor([1, 1], device="cuda")).tolist() == [[2, 3], [2, 3]]


# ---- what a graph must not hold --------------------------------------------------------------------------------------


def reads(training: Training, x: tg.Tensor) -> Any:
    loss = training.step(x)
    if loss > 1e9:
        raise AssertionError
    return loss


def draws(training: Training, x: tg.Tensor) -> Any:
    return training.step(nn.functional.dropout(x.to("cuda"), 0.5))


def draws_on_the_cpu(training: Training, x: tg.Tensor) -> Any:
    return training.step(x + tg.rand(4, 5, device=x.device))


def copies(training: Training, x: tg.Tensor) -> Any:
    return training.step(x.to("cuda") * tg.tensor([2.0]).to("cuda"))


def copies_a_number(training: Training, x: tg.Tensor) -> Any:
    return training.step(x.to("cuda") * tg.tensor(2.0))


def copies_within_cupy(training: Training, x: tg.Tensor) -> Any:
    return training.step(tg.Tensor._result(x.to("cuda")._array[np.array([3, 2, 1, 0])]))


def scales(training: Training, x: tg.Tensor) -> Any:
    scaler = tg.amp.GradScaler("cuda", init_scale=2.0)
    training.optimizer.zero_grad()
    loss = (training.model(x.to("cuda")) ** 2).mean()
    scaler.scale(loss).backward()
    scaler.step(training.optimizer)
    scaler.update()
    return loss


def schedules(training: Training, x: tg.Tensor) -> Any:
    loss = training.step(x)
    optim.lr_scheduler.StepLR(training.optimizer, 100).step()
    return loss


def sets_the_rate(training: Training, x: tg.Tensor) -> Any:
    training.optimizer.param_groups[0]["lr"] *= 0.9
    return training.step(x)


def counts_on_the_cpu(training: Training, x: tg.Tensor) -> Any:
    training.seen.add_(1)
    return training.step(x)


def returns_a_number(training: Training, x: tg.Tensor) -> Any:
    return training.step(x), training.optimizer.param_groups[0]["lr"]


def returns_a_graph(training: Training, x: tg.Tensor) -> Any:
    training.step(x)
    return training.model(x.to("cuda")).sum()


def catches_all(training: Training, x: tg.Tensor) -> Any:
    loss = training.step(x)
    with contextlib.suppress(Exception):
        loss.item()
    return loss


def gives_other_memory(training: Training, x: tg.Tensor) -> Any:
    loss = training.step(x)
    for p in training.model.parameters():
        p.data = p.data * 0.5
    return loss


def returns_to_the_cpu(training: Training, x: tg.Tensor) -> Any:
    training.step(x)
    return x


def replaces_its_buffer(training: Training, x: tg.Tensor) -> Any:
    norm = training.model[2]
    if not training.calls:
        training.calls += 1
        norm.register_buffer("mean", tg.zeros(3, device="cuda"))
    norm.mean = norm.mean + 1
    return training.step(x).detach() * norm.mean


def freezes_itself(training: Training, x: tg.Tensor) -> Any:
    loss = training.step(x)
    weight = training.model[0].weight
    weight.requires_grad_(not weight.requires_grad)
    return loss


def draws_later(training: Training, x: tg.Tensor) -> Any:
    training.calls += 1
    return training.step(nn.functional.dropout(x.to("cuda"), 0.5) if training.calls > 3 else x)


def reads_later(training: Training, x: tg.Tensor) -> Any:
    training.calls += 1
    loss = training.step(x)
    if training.calls > 3:
        loss.item()
    return loss


def changes_stream(training: Training, x: tg.Tensor) -> Any:
    with tg.cuda.Stream():
        return training.step(x)


def waits(training: Training, x: tg.Tensor) -> Any:
    loss = training.step(x)
    cp.cuda.get_current_stream().synchronize()
    return loss


REFUSED = {
    reads: "it reads a value from the GPU",
    draws: "it draws random numbers",
    draws_on_the_cpu: "it draws random numbers",
    copies: "it copies values from the CPU to the GPU",
    copies_a_number: "it copies values from the CPU to the GPU",
    copies_within_cupy: "it copies values from the CPU to the GPU",
    scales: "GradScaler decides on the CPU",
    schedules: "it moves a schedule",
    sets_the_rate: "it changes an option of its optimizer",
    counts_on_the_cpu: "it changes a Tensor of the CPU in place",
    returns_a_number: "it returns 0.01",
    returns_a_graph: r"backward\(\) could still go through",
    catches_all: "it reads a value from the GPU",
    gives_other_memory: "it gives a parameter other memory",
    replaces_its_buffer: "it replaces or freezes a parameter, buffer, module or hook of LayerNorm",
    freezes_itself: "it replaces or freezes a parameter, buffer, module or hook of Linear",
    returns_to_the_cpu: "it returns a Tensor of the CPU",
    reads_later: "it reads a value from the GPU",
    draws_later: "it draws random numbers",
    changes_stream: "it uses a stream of its own",
    waits: "CUDARuntimeError",
}


def first(x: Any) -> float:
    return (x[0] if isinstance(x, tuple) else x).sum().item()


@pytest.mark.parametrize("work", REFUSED, ids=lambda work: work.__name__)
def test_what_a_graph_would_get_wrong_runs_as_it_is(work: Any):
    """One warning says why; all then is as if nobody had tried."""
    plain, graphed = Training(), Training()
    tg.manual_seed(5)
    expected = [work(plain, batch(i)) for i in range(7)]
    expected = [first(x) for x in expected]
    drawn = tg.rand(1).item()
    step = tg.cuda.graph(lambda x: work(graphed, x))
    tg.manual_seed(5)
    found = []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for i in range(7):
            found.append(first(step(batch(i))))
            assert i < 3 or caught
    (warning,) = [w for w in caught if "cuda.graph" in str(w.message)]
    assert re.search(f"runs as it is from now on, as it cannot be captured: .*{REFUSED[work]}", str(warning.message))
    assert warning.filename == __file__
    assert tg.rand(1).item() == drawn
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    same([graphed.seen.numpy(), *graphed.numbers()], [plain.seen.numpy(), *plain.numbers()])


@pytest.mark.parametrize("make", [optim.SGD, optim.NAdam, optim.RAdam, lambda p, **o: optim.Adam(p, amsgrad=True, **o)])
def test_other_optimizers_run_as_they_are(make: Any):
    plain, graphed = Training(make), Training(make)
    step = tg.cuda.graph(graphed.step)
    for i in range(6):
        plain.step(batch(i))
        if i == 2:
            with pytest.warns(UserWarning, match="use (AdamW or Adam|float32 without amsgrad)"):
                step(batch(i))
        else:
            step(batch(i))
    same(graphed.numbers(), plain.numbers())


def test_arguments_that_cannot_be_kept():
    step = tg.cuda.graph(lambda x: x * 2)  # on the CPU, where x is
    step(tg.ones(()))
    step(tg.ones(()))
    with pytest.warns(UserWarning, match="it returns a Tensor of the CPU"):
        assert step(tg.ones(())).is_cpu
    step = tg.cuda.graph(lambda x: x.cuda() * 2)
    assert [step(tg.tensor(float(i))).item() for i in range(6)] == [0, 2, 4, 6, 8, 10]

    for given, why in [
        (np.ones(3), "an argument is a ndarray"),
        (tg.ones(3, device="cuda", requires_grad=True), "an argument requires grad"),
    ]:
        step = tg.cuda.graph(lambda x: tg.zeros(1, device="cuda"))
        for _ in range(3):
            step(given)
        with pytest.warns(UserWarning, match=why):
            step(given)
    with pytest.raises(TypeError, match="expected a function to capture, got int"):
        tg.cuda.graph(3)  # type: ignore[arg-type]


@pytest.mark.parametrize("part", [lambda x: x, lambda x: x[0], lambda x: x.t().detach()])
def test_an_argument_that_is_changed_in_place(part: Any):
    def step(x: tg.Tensor) -> tg.Tensor:
        part(x).add_(1)
        return x * 2

    graphed = tg.cuda.graph(step)
    expected, found = batch(0).cuda(), batch(0).cuda()
    for _ in range(3):
        assert tg.equal(graphed(found), step(expected))
    with pytest.warns(UserWarning, match="it changes an argument in place"):
        graphed(found)
    step(expected)
    assert tg.equal(graphed(found), step(expected)) and tg.equal(found, expected)


def test_an_argument_of_the_cpu_may_be_changed_on_the_gpu():
    """There it is a copy, with a graph and without; one of the GPU is none, and has a graph of its own."""
    step = tg.cuda.graph(lambda x: x.to("cuda").add_(1))
    x = tg.ones(3)
    with captured(1):
        for _ in range(6):
            assert step(x).tolist() == [2.0] * 3 and x.tolist() == [1.0] * 3
    x = x.cuda()
    with pytest.warns(UserWarning, match="it changes an argument in place"):
        assert step(x).tolist() == x.tolist() == [2.0] * 3


def test_one_tensor_twice_is_one():
    def step(x: tg.Tensor, y: tg.Tensor) -> tuple[tg.Tensor, tg.Tensor]:
        z = x * 3 if x is y else x * y
        return z, z

    step = tg.cuda.graph(step)
    x, y = tg.full((3,), 5.0, device="cuda"), tg.full((3,), 7.0, device="cuda")
    with captured(2):
        for _ in range(6):
            a, b = step(x, x)
            assert a is b and a.tolist() == [15.0] * 3
            a, b = step(x, y)
            assert a is b and a.tolist() == [35.0] * 3


def test_a_model_of_the_cpu_runs_as_it_is():
    model = nn.Linear(5, 3)
    optimizer = optim.AdamW(model.parameters())

    def step(x: tg.Tensor) -> tg.Tensor:
        optimizer.zero_grad()
        loss = model(x).sum()
        loss.backward()
        optimizer.step()
        return loss

    graphed = tg.cuda.graph(step)
    for i in range(2):
        graphed(batch(i))
    with pytest.warns(UserWarning, match="step runs as it is .* it trains a Tensor on the CPU"):
        graphed(batch(2))
    graphed(batch(3))
    assert graphed.__name__ == "step" and graphed(batch(4)).is_cpu
    assert {float(s["step"]) for s in optimizer.state.values()} == {5.0}


def test_an_interrupted_capture_leaves_all_as_it_was():
    training = Training()
    hit = []

    def step(x: tg.Tensor) -> tg.Tensor:
        loss = training.step(x)
        if len(hit) == 3:
            hit.append(1)
            raise KeyboardInterrupt
        hit.append(1)
        return loss

    graphed = tg.cuda.graph(step)
    for i in range(3):
        graphed(batch(i))
    before = training.numbers()
    with pytest.raises(KeyboardInterrupt):
        graphed(batch(3))
    same(training.numbers(), before)
    plain = Training()
    for i in (0, 1, 2, 4, 5):
        expected = plain.step(batch(i)).item()
    with captured(1):
        graphed(batch(4))
        assert graphed(batch(5)).item() == pytest.approx(expected, rel=1e-5)


# ---- cuBLAS, which CuPy does not call in a capture -------------------------------------------------------------------


class AsCublas:
    """cuBLAS's functions by hipBLAS, whose numbers for what to do are others."""

    _KINDS = {68: 2, 70: 7, 77: 2}

    def __init__(self) -> None:
        self.calls: list[str] = []
        self._hip = ctypes.CDLL(None)

    def cublasSetStream_v2(self, handle: Any, stream: Any) -> int:
        self.calls.append("stream")
        return self._hip.hipblasSetStream(handle, stream)

    def cublasSetWorkspace_v2(self, handle: Any, workspace: Any, size: Any) -> int:
        self.calls.append("workspace")
        return 0

    def cublasSetPointerMode_v2(self, handle: Any, mode: Any) -> int:
        self.calls.append("mode")
        return 0  # as it is

    def cublasGemmStridedBatchedEx(self, handle: Any, ta: Any, tb: Any, *rest: Any) -> int:
        self.calls.append("product")
        *given, compute, how = rest
        turned = [ctypes.c_int(111 + t.value) for t in (ta, tb)]
        return self._hip.hipblasGemmStridedBatchedEx(
            handle, *turned, *given, ctypes.c_int(self._KINDS[compute.value]), how
        )


@pytest.fixture
def cublas(monkeypatch: pytest.MonkeyPatch) -> Any:
    if not cp.cuda.runtime.is_hip:
        return blas.library()
    library = AsCublas()
    monkeypatch.setattr(blas, "refused_by_cupy", lambda: True)
    monkeypatch.setattr(blas, "library", lambda: library)
    return library


SHAPES = [
    ((3, 4), (4, 5)), ((4,), (4, 5)), ((3, 4), (4,)), ((4,), (4,)), ((2, 3, 4), (2, 4, 5)), ((2, 3, 4), (4, 5)),
    ((3, 4), (2, 4, 5)), ((2, 1, 3, 4), (6, 4, 5)), ((1, 4), (4, 1)), ((3, 1), (1, 5)), ((3, 0), (0, 5)),
    ((0, 4), (4, 5)),
]  # fmt: skip


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_products_by_cublas(cublas: Any, dtype: str):
    rng = np.random.default_rng(0)

    def layouts(shape: tuple[int, ...]) -> Iterator[Any]:
        x = cp.asarray(rng.standard_normal(shape).astype(dtype))
        yield x
        if x.ndim > 1:
            yield cp.ascontiguousarray(x.swapaxes(-1, -2)).swapaxes(-1, -2)
            wide = cp.zeros((*shape[:-1], shape[-1] + 3), dtype)
            wide[..., : shape[-1]] = x
            yield wide[..., : shape[-1]]
            yield cp.repeat(x, 2, axis=-1)[..., ::2]

    handle = cp.cuda.device.get_cublas_handle()
    for left, right in SHAPES:
        for a in layouts(left):
            for b in layouts(right):
                found = blas.product(cublas, handle, a, b)
                expected = cp.asnumpy(a).astype("d") @ cp.asnumpy(b).astype("d")
                assert found.dtype == dtype and found.shape == expected.shape
                near = 1e-2 if dtype == "float16" else 1e-5
                np.testing.assert_allclose(cp.asnumpy(found), expected, rtol=near, atol=near)


def test_a_captured_step_calls_cublas(cublas: Any):
    by_cupy = cp.ndarray.__matmul__
    compare(lambda training, step, i: step(batch(i)).item(), 1)
    assert cp.ndarray.__matmul__ is by_cupy
    if cp.cuda.runtime.is_hip:
        assert cublas.calls == ["stream", "workspace", "mode"] + ["product"] * cublas.calls.count("product")
        assert cublas.calls.count("product") >= 6
