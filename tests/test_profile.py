"""`python -m gpt train --profile`: what it says is what was measured, and no run is touched."""

from __future__ import annotations

import json
import math
import re
from dataclasses import replace
from pathlib import Path

import pytest

from gpt import cli, profile
from gpt.config import GPTConfig, TrainConfig
from gpt.trainer import Trainer


@pytest.fixture
def config(data_dir: Path, tmp_path: Path) -> TrainConfig:
    text = (data_dir / "tinyshakespeare.txt").read_text("utf-8")[:5000]
    (tmp_path / "text.txt").write_text(text, "utf-8", newline="\n")
    return TrainConfig(
        dataset=str(tmp_path / "text.txt"), out_dir=str(tmp_path / "run"), batch_size=3, max_iters=4, eval_interval=2,
        eval_iters=1, warmup_iters=1, sample_tokens=0, gradient_accumulation_steps=2,
        model=GPTConfig(block_size=8, n_layer=3, n_head=2, n_embd=16, dropout=0.1),
    )  # fmt: skip


@pytest.fixture(autouse=True)
def _few_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(profile, "MOST", 4)
    monkeypatch.setattr("gpt.report.plot", lambda *args: None)


def options(config: TrainConfig) -> list[str]:
    shape = ["--n-layer", "3", "--n-head", "2", "--n-embd", "16", "--block-size", "8"]
    steps = [
        "--batch-size",
        "3",
        "--max-iters",
        "4",
        "--eval-interval",
        "2",
        "--eval-iters",
        "1",
        "--warmup-iters",
        "1",
    ]
    return [*shape, *steps, "--sample-tokens", "0", "--dataset", config.dataset, "--out-dir", config.out_dir]


def test_the_parts_make_up_the_step(config: TrainConfig):
    trainer, said = Trainer.start(config), []
    before = vars(trainer.optimizer).copy()
    found = profile.profile(trainer, said.append)
    assert len(found.steps) == 4 and len(found.traced) == 3
    assert tuple(found.parts) == profile.PARTS and all(seconds > 0 for seconds in found.parts.values())
    assert sum(found.parts.values()) == pytest.approx(sum(found.steps) / 4)
    assert found.tokens == 3 * 8 * 2 and trainer.step == profile.WARM_UP + 4 + 3
    assert said == ["warming up: 5 steps", said[1], "tracing 3 steps"] and said[1].startswith("measuring 4 steps")
    # nothing is left of the clock
    assert "forward" not in vars(trainer.model) and vars(trainer.optimizer).keys() == before.keys()
    assert type(trainer.batches).__name__ == "TokenBatches"
    assert trainer.update().number == profile.WARM_UP + 8


def test_the_traced_steps_are_the_trainers(config: TrainConfig):
    found = profile.profile(Trainer.start(config))
    t = found.trace
    assert sum(op.name == "cross_entropy" for op in t.ops) == 3 * 2  # steps and micro-batches
    assert max(s.walk for s in t.backward) + 1 == 3 * 2
    forward = [span for span in found.spans if span.name == "forward"]
    assert len(forward) == 3 * 2
    for op in t.ops:
        if op.call is not None:  # in a module, and so within a forward
            assert any(f.start <= op.start + 1e-3 and op.start < f.start + f.seconds + 1e-3 for f in forward)
    assert sum(op.seconds for op in t.ops if op.call is not None) < sum(f.seconds for f in forward)
    backward = sum(span.seconds for span in found.spans if span.name == "backward")
    assert 0 < sum(s.seconds or 0.0 for s in t.backward) < backward


def test_the_report_reads_well(config: TrainConfig):
    found = profile.profile(Trainer.start(config))
    lines = str(found).splitlines()
    assert max(map(len, lines)) <= 80
    assert re.fullmatch(r"A step takes [\d.]+ ms \(median of 4; [\d.]+ to [\d.]+\):", lines[0])
    shares = [float(line.split("%")[0].split()[-1]) for line in lines[4:9]]
    assert sum(shares) == pytest.approx(100, abs=0.3)
    (blocks,) = (line for line in lines if "h.0 … h.2 ×3" in line)
    assert "3×8×16" in blocks
    linear = next(line.split() for line in lines if line.startswith("linear"))
    assert linear[1] == str((3 * 4 + 1) * 2)  # calls in one step


def test_the_chrome_trace_has_the_parts_around_the_operations(config: TrainConfig, tmp_path: Path):
    found = profile.profile(Trainer.start(config))
    found.save(tmp_path / "p.json")
    events = json.loads((tmp_path / "p.json").read_text())["traceEvents"]
    parts = [e for e in events if e.get("cat") == "phase"]
    assert {e["name"] for e in parts} == {"data", "forward", "backward", "optimizer"}
    backward = [e for e in parts if e["name"] == "backward"]
    steps = [e for e in events if e.get("cat") == "backward"]
    assert len(steps) > 100
    for e in steps:
        assert any(b["ts"] <= e["ts"] and e["ts"] + e["dur"] <= b["ts"] + b["dur"] + 1 for b in backward)


def test_the_command_prints_and_leaves_a_run_alone(config: TrainConfig, capsys: pytest.CaptureFixture[str]):
    assert cli.main(["train", *options(config)]) == 0
    folder = Path(config.out_dir)
    before = {p: p.read_bytes() for p in folder.rglob("*") if p.is_file()}
    capsys.readouterr()
    for more in ([], ["--resume", config.out_dir]):
        args = ["train", "--profile", *(more or options(config))]
        assert cli.main(args) == 0
        out, err = capsys.readouterr()
        assert "A step takes" in out and "backward" in out and "ui.perfetto.dev" in out and "measuring" in err
        assert "A sample" not in out
        made = folder / profile.TRACE
        assert json.loads(made.read_text())["traceEvents"]
        made.unlink()
        assert {p: p.read_bytes() for p in folder.rglob("*") if p.is_file()} == before


def test_a_new_folder_gets_the_profile_alone(config: TrainConfig, capsys: pytest.CaptureFixture[str]):
    assert cli.main(["train", "--profile", *options(config)]) == 0
    assert [p.name for p in Path(config.out_dir).iterdir()] == [profile.TRACE]


def test_a_run_that_diverges_says_so(config: TrainConfig, capsys: pytest.CaptureFixture[str]):
    trainer = Trainer.start(replace(config, learning_rate=1e30, warmup_iters=0, grad_clip=0.0))
    with pytest.raises(ArithmeticError, match="step"):
        profile.profile(trainer)
    assert math.isfinite(trainer.elapsed) and type(trainer.batches).__name__ == "TokenBatches"
