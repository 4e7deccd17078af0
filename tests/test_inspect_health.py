"""health: what is usual, what is not, and that asking changes nothing."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

import tinygrad_edu as tg
import tinygrad_edu.nn.functional as F
from gpt import GPT
from gpt.config import GPTConfig, TrainConfig, preset
from gpt.trainer import Trainer
from tinygrad_edu import nn
from tinygrad_edu.inspect.health import CHECKS, Finding, Health, health


def numbers(*shape, seed=0):
    return tg.randn(*shape, generator=tg.Generator().manual_seed(seed))


def classifier(activation, inputs=10, hidden=50):
    tg.manual_seed(0)
    net = nn.Sequential(nn.Linear(inputs, hidden), activation, nn.Linear(hidden, 5))
    x, y = numbers(32, inputs), tg.arange(32) % 5
    return net, lambda: F.cross_entropy(net(x), y)


@pytest.fixture
def laptop():
    tg.manual_seed(0)
    model = GPT(preset("laptop").model)
    x, y = (tg.randint(0, 65, (2, 16), generator=tg.Generator().manual_seed(i)) for i in (1, 2))
    return model, lambda: model(x, y)[1]


def text(found):
    """In one line."""
    return " ".join(str(found).split())


def warned(found, check):
    return {f.where for f in found.of(check) if not f.ok}


def test_a_new_gpt_is_looked_at_in_every_way(laptop):
    model, loss = laptop
    found = health(model, loss, tg.optim.SGD(model.parameters(), lr=0.1))
    assert {f.check for f in found.findings} == {"loss", "update", "gradient", "dead", "attention", "residual"}
    assert len(found.of("attention")) == 16 and len(found.of("residual")) == 8
    assert {f.where for f in found.of("residual")} == {f"h.{i}" for i in range(4)}
    assert [f.where for f in found.of("dead")] == [f"h.{i}.mlp.gelu" for i in range(4)]
    assert {f.where for f in found.of("gradient")} == {f"h.{i}" for i in range(4)}
    assert all(f.value > 0.999 for f in found.of("attention"))  # as usual before training
    assert {f.check for f in found.warnings} <= {"update"}
    assert found.of("loss")[0].value == pytest.approx(loss().item(), rel=1e-5)


def test_nothing_is_changed_by_asking(laptop):
    model, loss = laptop
    optimizer = tg.optim.AdamW(model.parameters(), lr=1e-3)
    loss().backward()
    optimizer.step()
    weights = [p.detach().clone() for p in model.parameters()]
    grads = [p.grad.clone() for p in model.parameters()]
    state = {i: {k: np.array(v) for k, v in entry.items()} for i, entry in optimizer.state_dict()["state"].items()}
    health(model, loss, optimizer)
    assert all(bool((p == w).all()) for p, w in zip(model.parameters(), weights, strict=True))
    assert all(bool((p.grad == g).all()) for p, g in zip(model.parameters(), grads, strict=True))
    for i, entry in optimizer.state_dict()["state"].items():
        for k, v in entry.items():
            np.testing.assert_array_equal(np.array(v), state[i][k])


@pytest.mark.parametrize("kind", ["sgd", "adam"])
def test_the_update_is_the_step_that_the_optimizer_then_makes(kind):
    net, loss = classifier(nn.Tanh())
    optimizer = tg.optim.SGD(net.parameters(), lr=0.01, momentum=0.9) if kind == "sgd" else tg.optim.Adam(
        net.parameters(), lr=1e-3
    )  # fmt: skip
    schedule = tg.optim.lr_scheduler.StepLR(optimizer, 1)  # which ties itself to optimizer.step
    for _ in range(2):
        found = {f.where: f.value for f in health(net, loss, optimizer).of("update")}
        before = {name: p.detach().numpy().copy() for name, p in net.named_parameters()}
        optimizer.zero_grad()
        loss().backward()
        optimizer.step()
        schedule.step()
        assert set(found) == {"0.weight", "2.weight"}
        for name, value in found.items():
            p = dict(net.named_parameters())[name].detach().numpy()
            assert value == pytest.approx(np.linalg.norm(p - before[name]) / np.linalg.norm(before[name]), rel=1e-4)


@pytest.mark.parametrize("lr, words", [(10.0, "lower the learning rate"), (1e-9, "raise the learning rate")])
def test_steps_of_the_wrong_size(lr, words):
    net, loss = classifier(nn.Tanh())
    found = health(net, loss, tg.optim.SGD(net.parameters(), lr=lr))
    assert warned(found, "update") == {"0.weight", "2.weight"}
    assert words in text(found)
    assert warned(health(net, loss, tg.optim.SGD(net.parameters(), lr=1e-2)), "update") == set()


@pytest.mark.parametrize("activation", [nn.ReLU(), nn.GELU(), nn.GELU(approximate="tanh"), nn.SiLU()])
def test_dead_units_are_counted(activation):
    net, loss = classifier(activation)
    assert warned(health(net, loss), "dead") == set()
    with tg.no_grad():
        net[0].bias[:20] = -100.0
    found = health(net, loss)
    assert [f.value for f in found.of("dead")] == pytest.approx([0.4])
    assert warned(found, "dead") == {"1"} and "do not learn" in found.warnings[0].sentence


@pytest.mark.parametrize("activation, bias", [(nn.Tanh(), 4.0), (nn.Tanh(), -4.0), (nn.Sigmoid(), 9.0)])
def test_saturated_units_are_counted(activation, bias):
    net, loss = classifier(activation)
    assert warned(health(net, loss), "saturation") == set()
    with tg.no_grad():
        net[0].weight.zero_()
        net[0].bias[:25] = bias
    found = health(net, loss)
    assert [f.value for f in found.of("saturation")] == pytest.approx([0.5])
    assert warned(found, "saturation") == {"1"}


def test_the_bengio_network():
    table, W1 = numbers(27, 10, seed=1).requires_grad_(), numbers(30, 200, seed=2).requires_grad_()
    W2 = numbers(200, 27, seed=3).requires_grad_()
    X, Y = (tg.randint(0, 27, s, generator=tg.Generator().manual_seed(4)) for s in ((32, 3), (32,)))

    class Bengio(nn.Module):
        def __init__(self):
            super().__init__()
            self.table, self.W1, self.W2 = nn.Parameter(table), nn.Parameter(W1), nn.Parameter(W2)

        def forward(self, X):
            return tg.tanh(self.table[X].view(-1, 30) @ self.W1) @ self.W2

    model = Bengio()
    found = health(model, F.cross_entropy(model(X), Y))
    # As the course says of this initialisation: flat tanh, and logits much worse than guessing.
    h = np.tanh((table[X].view(-1, 30) @ W1).detach().numpy())
    assert [f.value for f in found.of("saturation")] == pytest.approx([float((np.abs(h) > 0.97).mean())], abs=1e-3)
    assert warned(found, "saturation") == {"model"} and warned(found, "loss")
    assert "worse than guessing" in text(found)


def test_attention_entropy_of_each_head(laptop):
    model, loss = laptop
    C = model.config.n_embd
    with tg.no_grad():
        model.h[2].attn.c_attn.weight[: 2 * C] *= 1e4  # queries and keys
        model.h[1].attn.c_attn.weight[: 2 * C] *= 10
    found = {f.where: f for f in health(model, loss).of("attention")}
    assert all("one other alone" in found[f"h.2.attn head {i}"].sentence for i in range(4))
    assert all(found[f"h.1.attn head {i}"].ok for i in range(4))
    assert all("where other heads choose" in found[f"h.0.attn head {i}"].sentence for i in range(4))


@pytest.mark.parametrize("is_causal", [True, False])
def test_attention_entropy_is_that_of_the_definition(is_causal):
    class Attend(nn.Module):
        def __init__(self):
            super().__init__()
            self.q = nn.Parameter(numbers(2, 3, 5, 4, seed=1))

        def forward(self):
            return F.scaled_dot_product_attention(self.q, k, v, is_causal=is_causal).sum()

    k, v = numbers(2, 3, 5, 4, seed=2), numbers(2, 3, 5, 4, seed=3)
    model = Attend()
    values = [f.value for f in health(model, model()).of("attention")]
    scores = (model.q.detach().numpy() @ k.numpy().swapaxes(-1, -2)).astype(np.float64) / 2
    expected = []
    for head in range(3):
        rows = []
        for b in range(2):
            for i in range(1 if is_causal else 0, 5):
                s = scores[b, head, i, : i + 1] if is_causal else scores[b, head, i]
                p = np.exp(s) / np.exp(s).sum()
                rows.append(-(p * np.log(p)).sum() / math.log(len(p)))
        expected.append(np.mean(rows))
    assert values == pytest.approx(expected, rel=1e-4)


def test_a_branch_that_drowns_the_stream(laptop):
    model, loss = laptop
    with tg.no_grad():
        model.h[2].mlp.c_proj.weight *= 1e4
    found = health(model, loss)
    assert warned(found, "residual") == {"h.2"}
    assert "drowns the stream" in text(found)


class Wave(nn.Module):
    def forward(self, x):
        return tg.sin(20 * x)


@pytest.mark.parametrize("activation, words", [(nn.Sigmoid, "vanishes"), (Wave, "explodes")])
def test_gradients_that_vanish_and_explode(activation, words):
    tg.manual_seed(0)
    net = nn.Sequential(*(layer for _ in range(8) for layer in (nn.Linear(10, 10), activation())))
    found = health(net, (net(numbers(8, 10)) * numbers(8, 10, seed=1)).mean())
    assert "0" in warned(found, "gradient") and "14" not in warned(found, "gradient")
    assert words in text(found)


def test_parameters_without_a_gradient_and_with_nan():
    inner, loss = classifier(nn.Tanh())
    net = nn.ModuleDict({"net": inner, "unused": nn.Linear(2, 2)})
    with tg.no_grad():
        inner[2].bias[0] = math.nan
    found = health(net, loss)
    assert {"unused.weight", "unused.bias"} <= warned(found, "gradient")
    assert "net.2.bias" in warned(found, "finite") and "go back to a checkpoint" in text(found)
    net["unused"].requires_grad_(False)
    assert not {"unused.weight", "unused.bias"} & warned(health(net, loss), "gradient")


def test_what_it_looks_like(laptop):
    model, loss = laptop
    found = health(model, loss)
    assert max(map(len, str(found).split("\n"))) <= 80
    assert str(found).startswith("Health of GPT: ") and str(found).endswith("how large its steps are.")
    assert repr(found) == f"<Health of GPT: {len(found.findings)} findings, {len(found.warnings)} warnings>"
    assert found.ok and not Health("x", [Finding("dead", "y", 1, (0, 0.1), "It is.")], "").ok
    for name in found.of("loss"), found.of("dead"):
        assert f"  ok  {CHECKS[name[0].check]}: " in str(found)
    page = Health("<b>", [Finding("dead", "<i>", 1, (0, 0.1), "<script>")], "<u>")._repr_html_()
    assert not any(tag in page for tag in ("<i>", "<script>", "<u>")) and "&lt;script&gt;" in page
    with pytest.raises(KeyError, match="no check 'alive'; expected one of finite"):
        found.of("alive")


def test_bad_input_is_named_with_the_fix(laptop):
    model, loss = laptop
    with pytest.raises(TypeError, match="expected model to be a Module, got function"):
        health(loss, model)
    with pytest.raises(TypeError, match="got tuple; a model that returns"):
        health(model, lambda: (1, loss()))
    with pytest.raises(RuntimeError, match="has no history"):
        health(model, tg.ones(1).sum())
    spent = loss()
    spent.backward()
    with pytest.raises(RuntimeError, match="freed by backward"):
        health(model, spent)


# ---- in a training run -----------------------------------------------------------------------------------------------


@pytest.fixture
def tiny(data_dir, tmp_path):
    text = (data_dir / "tinyshakespeare.txt").read_text(encoding="utf-8")[:5000]
    (tmp_path / "text.txt").write_text(text, encoding="utf-8", newline="\n")
    return TrainConfig(
        dataset=str(tmp_path / "text.txt"), out_dir=str(tmp_path / "run"), batch_size=3, max_iters=4,
        eval_interval=2, eval_iters=2, log_interval=1, warmup_iters=2, sample_tokens=0, health=True,
        model=GPTConfig(block_size=8, n_layer=2, n_head=2, n_embd=16, dropout=0.2, bias=False),
    )  # fmt: skip


def test_the_trainer_says_it_at_evaluations(tiny, capsys, monkeypatch):
    monkeypatch.setattr("gpt.report.plot", lambda *args: None)  # which takes longer than all the rest
    Trainer.start(tiny).run()
    said = capsys.readouterr().err
    assert said.count("Health of GPT: ") == 3  # before, and after steps 2 and 4
    assert said.count("update / weight") >= 3


def test_the_step_of_two_optimizers_together(tiny):
    trainer = Trainer.start(replace(tiny, optimizer="muon", model=replace(tiny.model, dropout=0.0)))
    found = {f.where: f.value for f in trainer.health().of("update")}
    x, y = next(trainer.evaluation_batches("train"))
    before = {name: p.detach().numpy().copy() for name, p in trainer.model.named_parameters()}
    trainer.model(x, y)[1].backward()
    trainer.optimizer.step()
    assert {"wte.weight", "h.0.attn.c_attn.weight"} <= set(found)
    for name, value in found.items():
        p = trainer.model.get_parameter(name).detach().numpy()
        assert value == pytest.approx(np.linalg.norm(p - before[name]) / np.linalg.norm(before[name]), rel=1e-4)


def test_training_goes_on_as_if_it_had_not_been_asked(tiny):
    asked, not_asked = Trainer.start(tiny), Trainer.start(tiny)
    losses = []
    tg.manual_seed(5)
    for step in asked:
        losses.append(step.loss)
        asked.health()
    tg.manual_seed(5)
    assert [step.loss for step in not_asked] == losses
    assert asked.model.training
