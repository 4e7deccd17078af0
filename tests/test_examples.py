"""The programs in examples/, run as a person runs them."""

from __future__ import annotations

import math
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
    def example(*args: str, name: str = "train_shakespeare") -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "TINYGRAD_EDU_DATA": str(data_dir), "NO_COLOR": "1"}
        environment["TINYGRAD_EDU_CACHE"] = str(tmp_path / "cache")
        program = ROOT / f"examples/{name}.py"
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


def test_inspect_graph(run, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    done = run("--steps=2", "--n-layer=2", "--n-embd=16", "--page=my.html", name="inspect_graph")
    assert done.returncode == 0, done.stderr
    known = "tinygrad_edu: compiling kernels", "shakespeare: ", "  "  # of another edition it is told where it is from
    assert not [line for line in done.stderr.splitlines() if not line.startswith(known)], done.stderr
    shown = done.stdout
    assert max(map(len, shown.splitlines())) <= 80
    losses = [float(loss) for loss in re.findall(r"^step +\d+: loss (\d\.\d{3})$", shown, re.M)]
    assert len(losses) == 2 and losses[1] < losses[0] < math.log(65) + 0.3
    headings = re.findall(r"^(.+)\n-+$", shown, re.M)
    assert headings == [
        "What ran", "Where the gradient of wte.weight comes from", "What it keeps in memory, and how long",
        "Why does h.1.attn.c_attn.weight get no gradient?",
    ]  # fmt: skip
    summary, receipt, ledger, explained = re.split(r"^.+\n-+\n", shown, flags=re.M)[1:]
    assert "h.0 … h.1 ×2" in summary and "scaled_dot_product" in summary
    assert "also lm_head.weight: 2 contributions" in receipt and "embedding in wte" in receipt
    assert "linear in lm_head" in receipt and "`.grad` holds exactly this." in receipt
    assert "L=2 B=8 T=32 C=16 NH=4 V=65" in ledger and re.search(r"^qkv +L B T 3C +2,8,32,48 ", ledger, re.M)
    lines = (ROOT / "examples/inspect_graph.py").read_text("utf-8").splitlines()
    (cut,) = (i for i, line in enumerate(lines, 1) if ".detach()" in line)
    assert f"inspect_graph.py:{cut} cut it off" in " ".join(explained.split())
    assert "Fix: Leave out detach()" in explained
    page = (tmp_path / "my.html").read_text("utf-8")
    assert page.startswith("<!doctype html>") and "scaled_dot_product_attention" in page


def test_inspect_graph_says_what_is_wrong(run) -> None:  # type: ignore[no-untyped-def]
    for options, message in (
        (["--steps=0"], "error: --steps must be 1 or more, got 0\n"),
        (["--n-embd=65"], "error: --n-embd 65 is not divisible by --n-head 4; "),
        (["--steps=1", "--page=graph.jpg"], "error: save: 'graph.jpg' does not say what to write; "),
    ):
        done = run(*options, name="inspect_graph")
        assert done.returncode == 1 and message in done.stderr, done.stderr
    shown = run("--help", name="inspect_graph")
    assert shown.returncode == 0 and "--block-size INT" in shown.stdout and "Look into a GPT" in shown.stdout
