"""The benchmark of training steps on the GPU runs from end to end, and compares the same with the same."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import gpu_step

ROOT = Path(__file__).parents[2]


def test_a_toy_is_measured():
    program = [sys.executable, "benchmarks/gpu_step.py", "--quick"]
    run = subprocess.run(program, cwd=ROOT, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    for precision in ("float32", "bfloat16"):
        row = re.search(rf"\| toy \| {precision} \| ours \| ([\d.]+) \| ([\d,]+) \| \d+% \| ([\d.]+) \|", run.stdout)
        assert row and all(float(n.replace(",", "")) > 0 for n in row.groups())
    missing = gpu_step.torch_missing()
    assert ("| toy | float32 | torch-compile |" in run.stdout) == (missing is None)
    assert missing is None or f"PyTorch is left out: {missing}" in run.stderr


def test_other_losses_are_refused(monkeypatch):
    losses = iter([4.0, 4.0001, 4.1])

    def apart(name, *rest):
        return {"rate": 1e9} if name == "product" else {"seconds": 0.5, "bytes": 1e6, "loss": next(losses)}

    monkeypatch.setattr(gpu_step, "apart", apart)
    with pytest.raises(SystemExit, match=r"toy, float32: loss 4\.1 of torch-compile, 4\.0 of ours"):
        gpu_step.measure("toy", "float32", list(gpu_step.CONTESTANTS), 1, 64)
