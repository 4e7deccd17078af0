"""The programs in examples/, run as a person runs them."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from gpt import checkpoint
from gpt.report import read_metrics

ROOT = Path(__file__).parents[1]
SHORT = ["--n-layer=1", "--n-embd=16", "--block-size=16", "--max-iters=6", "--eval-iters=2",
         "--final-eval-iters=2", "--warmup-iters=2", "--sample-tokens=20"]  # fmt: skip


@pytest.fixture
def run(data_dir: Path, tmp_path: Path) -> object:
    def example(*args: str) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "TINYGRAD_EDU_DATA": str(data_dir)}
        environment["TINYGRAD_EDU_CACHE"] = str(tmp_path / "cache")
        program = ROOT / "examples/train_shakespeare.py"
        return subprocess.run(
            [sys.executable, str(program), *args], capture_output=True, text=True, env=environment, cwd=tmp_path
        )

    return example


def test_train_shakespeare(run, data_dir: Path, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    folder = tmp_path / "runs/shakespeare"
    done = run(*SHORT)
    assert done.returncode == 0, done.stderr
    assert "step     6: train" in done.stderr and "char tokenizer" in done.stderr
    shown = r"\nA sample:\n\n(.{500})(?:\.\.\.)?\n\nLoss:    (.*)\nMore:    python -m gpt sample .* --prompt ROMEO:\n"
    sample = re.fullmatch(shown, done.stdout, re.DOTALL)
    assert sample, done.stdout
    assert (tmp_path / sample[2]).read_bytes().startswith(b"\x89PNG")
    saved = checkpoint.load(folder)
    assert saved.step == 6 and saved.config.model.n_layer == 1
    whole = (data_dir / "tinyshakespeare.txt").read_text("utf-8")
    assert saved.tokenizer.n_vocab == len(set(whole))

    again = run(*SHORT)
    assert again.returncode == 1 and again.stdout == ""
    assert again.stderr.startswith("error: runs/shakespeare holds a finished run of 6 steps: go on with it by --resume")

    longer = run("--resume", "runs/shakespeare", "--max-iters", "8", "--log-interval=1")
    assert longer.returncode == 0, longer.stderr
    assert [row["step"] for row in read_metrics(folder)] == [0, 6, 7, 8]

    further = run(*SHORT, "--init-from", "runs/shakespeare", "--out-dir=second", "--dropout=0.1", "--max-iters=1")
    assert further.returncode == 0, further.stderr
    first, last = read_metrics(tmp_path / "second")[0], read_metrics(folder)[-1]
    assert first["val_loss"] == last["val_loss"]  # dropout is off in evaluation, and the batches are the same


def test_the_options_are_those_of_the_command_line(run) -> None:  # type: ignore[no-untyped-def]
    shown = run("--help")
    assert shown.returncode == 0
    assert "--preset {laptop-fast,laptop,full-fast,full,gpt2}" in shown.stdout
    assert "python examples/train_shakespeare.py" in shown.stdout
    wrong = run("--n_layr=3")
    assert wrong.returncode == 2 and "--n-layer" in wrong.stderr
