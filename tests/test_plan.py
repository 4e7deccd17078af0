"""`gpt.plan`: what is measured is drawn out rightly, memory is counted rightly, and a run tells how far off it was."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

import tinygrad_edu as tg
from gpt import GPT, cli
from gpt import plan as planning
from gpt.config import PRESETS, GPTConfig, TrainConfig
from gpt.ledger import ledger
from gpt.plan import Plan, Timing, plan, plan_for
from gpt.report import PLOT_SHARE
from gpt.trainer import Trainer
from tinygrad_edu import dispatch

SHAPE = GPTConfig(block_size=64, vocab_size=97, n_layer=4, n_head=2, n_embd=48)
CONFIG = TrainConfig(
    model=SHAPE, batch_size=12, max_iters=100, warmup_iters=1, eval_interval=40, eval_iters=2, sample_tokens=5,
    final_eval_iters=6,
)  # fmt: skip
modes = pytest.mark.parametrize(
    "kernels",
    [pytest.param("auto", marks=pytest.mark.skipif(not dispatch._twins, reason="no fused kernels here")), "reference"],
)


class Clock:
    """A clock that stands still but for what is added to it."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class Ticks(Clock):
    """A clock that goes on by a millisecond whenever it is read."""

    def __call__(self) -> float:
        self.now += 1e-3
        return self.now


# ---- drawing out -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 2, 7, 64, 1000])
@pytest.mark.parametrize("rounds", [1, 4])
@pytest.mark.parametrize(("fixed", "each"), [(0.0, 0.01), (0.3, 0.01), (0.001, 0.2), (0.5, 0.0)])
def test_what_is_a_line_is_drawn_out_exactly(size: int, rounds: int, fixed: float, each: float):
    clock, sizes = Clock(), []

    def work(n: int) -> None:
        sizes.append(n)
        clock.now += fixed + each * n

    timing = Timing(work, size, 1.0, clock)
    for _ in range(rounds):
        timing.go(1 / rounds)
    assert set(sizes) == {*timing.times, 1} and max(sizes) == timing.n <= size
    assert timing.seconds == pytest.approx(fixed + each * size)
    assert timing.n == size or timing.n >= planning.FEW
    known = [fixed + each * n for n in timing.times]  # each size twice in any case
    assert clock.now <= 1.0 + 2 * sum(known) + known[0]
    assert timing.n == size or 2 * (fixed + each * (timing.n + 1)) * planning.TIMES > 1.0  # as much as fits


def test_slow_moments_do_not_count():
    clock, calls = Clock(), []

    def work(n: int) -> None:
        calls.append(n)
        # The first loads kernels, and the first of each size finds memory.
        clock.now += 5.0 if len(calls) == 1 else 0.2 if calls.count(n) < 3 and n == 1 or len(calls) == 9 else 0.001 * n

    timing = Timing(work, 12, 2.0, clock)
    timing.go()
    assert timing.seconds == pytest.approx(0.012) and timing.n == 12
    assert len(calls) > 50


# ---- the plan --------------------------------------------------------------------------------------------------------


@pytest.fixture
def lines(monkeypatch: pytest.MonkeyPatch) -> dict[str, float]:
    """Nothing is measured: each part takes what stands here."""
    seconds = {
        "block_step": 0.002, "ends_step": 0.003, "update": 0.0005, "block_evaluated": 0.0007, "ends_evaluated": 0.0011,
        "sample": 0.01,
    }  # fmt: skip

    class Known(Timing):
        def go(self, share: float = 1.0) -> None:
            name = getattr(self.work, "__qualname__", "").split(".")
            self.work(1)
            self.times[1] = [math.inf, seconds[name[1] if name[-1] == "work" else name[-1]] / self.size]

    monkeypatch.setattr(planning, "Timing", Known)
    return seconds


def test_the_parts_make_the_run(lines: dict[str, float]):
    found = plan(replace(CONFIG, gradient_accumulation_steps=3))
    updates = 0.0005 * (4 * block_parameters() + ends_parameters()) / (block_parameters() + ends_parameters())
    assert found.parts == {
        "blocks": pytest.approx(3 * 4 * 0.002), "ends": pytest.approx(3 * 0.003), "update": pytest.approx(updates),
    }  # fmt: skip
    assert found.step == pytest.approx(sum(found.parts.values()))
    assert found.tokens_per_second == pytest.approx(3 * 12 * 64 / found.step)
    batch = 2 * (4 * 0.0007 + 0.0011)
    assert found.evaluation == pytest.approx(2 * batch + 0.01 + updates)
    # evaluations before the first step and after 40, 80 and 100, the last on more batches
    rest = 3 * found.evaluation + 6 * batch + 0.01 + updates
    assert found.seconds == pytest.approx((100 * found.step + rest) * (1 + PLOT_SHARE))


def test_a_run_that_goes_on_has_less_before_it(lines: dict[str, float]):
    found = plan(CONFIG, step=80)
    batch = 2 * (4 * 0.0007 + 0.0011)
    last = 6 * batch + 0.01 + found.parts["update"]
    assert found.seconds == pytest.approx((20 * found.step + last) * (1 + PLOT_SHARE))
    assert plan(CONFIG, step=100).seconds == 0.0


def block_parameters() -> int:
    return sum(p.numel() for p in GPT(SHAPE).h[0].parameters())


def ends_parameters() -> int:
    return sum(p.numel() for p in GPT(SHAPE).parameters()) - 4 * block_parameters()


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_memory_is_that_of_the_arrays(optimizer: str, monkeypatch: pytest.MonkeyPatch):
    config = replace(CONFIG, optimizer=optimizer)
    model = GPT(SHAPE)
    made = model.configure_optimizers(0.1, 1e-3, (0.9, 0.99), muon=optimizer == "muon")
    for p in model.parameters():
        p.grad = tg.zeros_like(p)
    made.step()
    weights = 4 * sum(p.numel() for p in model.parameters())
    entries = made.state_dict()["state"].values()
    state = sum(4 * x.numel() for entry in entries for x in entry.values() if isinstance(x, tg.Tensor))

    parts = planning._Parts(config)
    parts.once()
    for memory, copy in ((10**12, weights + state), (weights, 0), (None, weights + state)):
        monkeypatch.setattr(planning, "free_memory", lambda memory=memory: memory)
        on_the_way = 4 * 12 * 64 * (8 * 48 - 97)
        assert parts.memory() == pytest.approx(2 * weights + state + copy + on_the_way, rel=1e-3)


@modes
@pytest.mark.parametrize("dropout", [0.0, 0.1])
def test_what_is_kept_for_backward_is_the_ledgers_peak(kernels: str, dropout: float):
    shape = replace(SHAPE, dropout=dropout)
    with tg.use_kernels(kernels):
        parts = planning._Parts(replace(CONFIG, model=shape))
        predicted = 4 * parts.kept(parts.block_step, 12) + parts.kept(parts.ends_step, 6) * 2
        measured = ledger(shape, 12).peak[1]
    assert predicted == pytest.approx(measured, rel=0.1)


def test_a_plan_is_made_of_what_the_clock_says_and_draws_no_random_number():
    config = replace(CONFIG, model=replace(SHAPE, dropout=0.1), optimizer="muon")
    before = tg.get_rng_state()
    found = plan(config, seconds=0.0, clock=Ticks())
    assert bool((tg.get_rng_state() == before).all())
    assert all(math.isfinite(x) and x > 0 for x in (found.step, found.seconds, found.evaluation, found.took))
    assert found.memory is None or found.memory > 16 * sum(p.numel() for p in GPT(SHAPE).parameters())
    text = str(found)
    assert "a step" in text and "tokens/s" in text and max(map(len, text.splitlines())) <= 80
    assert len(found.line()) < 100


def test_a_run_that_is_too_large_for_the_machine_is_planned_and_said_to_be():
    found = plan(replace(CONFIG, batch_size=10**9), seconds=0.02)  # its batch alone would be 12 TB
    assert found.memory is None or found.memory > 1e13
    if found.memory is not None and found.available is not None:
        assert f"memory            {found.memory / 1e9:.2f} GB, MORE THAN the " in str(found)
        assert f"at most {found.memory / 1e9:.2f} GB, MORE THAN the " in found.line()
        assert "MORE" not in str(replace(found, memory=found.available))


# ---- a run and its plan ----------------------------------------------------------------------------------------------

MADE = Plan(0.01, 5000.0, 0.5, 20.0, 400_000_000, {"blocks": 0.008, "ends": 0.001, "update": 0.001}, 0.3)


@pytest.fixture
def run(data_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """The options of a short run."""
    monkeypatch.setattr("gpt.report.plot", lambda *args: None)
    (tmp_path / "text.txt").write_text((data_dir / "tinyshakespeare.txt").read_text("utf-8")[:5000], "utf-8")
    yield [
        "--dataset", str(tmp_path / "text.txt"), "--out-dir", str(tmp_path / "run"), "--n-layer=1", "--n-head=2",
        "--n-embd=16", "--block-size=8", "--batch-size=3", "--max-iters=4", "--eval-interval=2", "--eval-iters=1",
        "--final-eval-iters=1", "--warmup-iters=1", "--sample-tokens=4", "--dropout=0.1",
    ]  # fmt: skip


def test_a_run_says_how_far_off_its_plan_was(run: list[str], tmp_path: Path, capsys, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setattr("gpt.trainer.plan_for", lambda trainer: MADE)
    assert cli.main(["train", *run]) == 0
    said = capsys.readouterr().err
    assert "plan     10 ms a step, 5,000 tokens/s, 20 s in all, at most 400 MB of memory\n" in said
    assert re.search(
        r"^plan     step 10 ms, was .* \([+-]\d+%\); run 20 s, was .*; memory 400 MB, was .*\)$", said, re.M
    )
    kept = json.loads((tmp_path / "run/run.json").read_text("utf-8"))["plan"]
    assert {**MADE.to_dict(), "was": kept["was"]} == kept
    assert kept["was"].keys() == {"step", "seconds", "memory"} and kept["was"]["step"] > 0


def test_the_plan_can_be_switched_off_and_changes_nothing(run: list[str], tmp_path: Path, capsys, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setattr(planning, "LEAST", 0.0)  # so that even this run is planned
    assert cli.main(["train", *run]) == 0
    assert "plan " in capsys.readouterr().err
    planned = (tmp_path / "run/metrics.csv").read_text("utf-8").splitlines()
    assert cli.main(["train", *run, "--no-plan", "--overwrite"]) == 0
    assert "plan " not in capsys.readouterr().err
    assert json.loads((tmp_path / "run/run.json").read_text("utf-8"))["plan"] is None
    without = (tmp_path / "run/metrics.csv").read_text("utf-8").splitlines()
    losses = [[line.split(",")[:6] for line in lines] for lines in (planned, without)]
    assert losses[0] == losses[1]


def test_a_short_run_is_not_planned(run: list[str], capsys) -> None:  # type: ignore[no-untyped-def]
    options = cli.parse(cli.Train, run, "gpt train")
    assert plan_for(Trainer.start(options.training)) is None


def test_every_preset_can_be_planned_in_a_share_of_its_run(monkeypatch: pytest.MonkeyPatch):
    seconds = []
    monkeypatch.setattr(planning, "plan", lambda config, **settings: seconds.append(settings["seconds"]))
    for config in PRESETS.values():
        tokens = config.batch_size * config.gradient_accumulation_steps * config.model.block_size
        parameters = 12 * config.model.n_layer * config.model.n_embd**2
        model = type("Model", (), {"estimate_flops": lambda self, batch, n=6 * parameters * tokens: n})()
        plan_for(type("Trainer", (), {"config": config, "model": model, "step": 0})())  # type: ignore[arg-type]
    assert len(seconds) == len(PRESETS) and all(planning.LEAST <= s <= planning.SECONDS for s in seconds)


def test_the_command(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch):
    asked: list[TrainConfig] = []
    monkeypatch.setattr(planning, "plan", lambda config: asked.append(config) or MADE)
    for options in ([], ["--preset=full", "--batch-size=3"], ["--preset", "gpt2"], ["--tokenizer", "byte"]):
        assert cli.main(["plan", *options]) == 0
    shown = capsys.readouterr().out
    assert shown.count("5,000 tokens/s") == 4 and "Measured on this machine" in shown
    assert asked[0] == PRESETS["laptop-fast"] and asked[2] == PRESETS["gpt2"]
    assert asked[1] == replace(PRESETS["full"], batch_size=3) and asked[3].model.vocab_size == 256
    assert cli.main(["plan", "--init-from", "nowhere"]) == 1
    assert "there is no model 'nowhere'" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        cli.main(["plan", "--n-head=3"])
    assert "--n-embd 128 is not divisible by --n-head 3" in capsys.readouterr().err
