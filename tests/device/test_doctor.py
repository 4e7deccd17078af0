"""The doctor on a machine with a GPU, a real one or an emulated one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def report(**environment: str) -> tuple[int, dict[str, dict]]:
    """Exit status, and what was found by the names of the checks."""
    program = [sys.executable, "-m", "tinygrad_edu.doctor", "--json"]
    run = subprocess.run(program, cwd=ROOT, env={**os.environ, **environment}, capture_output=True, text=True)
    assert "Traceback" not in run.stdout + run.stderr
    return run.returncode, {check["check"]: check for check in json.loads(run.stdout)["checks"]}


def loss(step: dict) -> float:
    """The loss that a timed step says."""
    return float(step["says"].rpartition(" ")[2])


def test_the_gpu_is_found_computes_and_gives_the_losses_of_the_cpu():
    _, found = report()
    assert "the extra" in found["GPU"]["says"]
    for name in ("GPU", "CuPy", "step, cuda"):
        assert found[name]["level"] == "ok", found[name]
    assert abs(loss(found["step, cuda"]) - loss(found["step, readable"])) < 1e-3


def test_a_second_wheel_beside_one_that_works_is_broken(tmp_path):
    info = tmp_path / "cupy_cuda11x-13.6.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: cupy-cuda11x\nVersion: 13.6.0\n")
    paths = [str(tmp_path), os.environ.get("PYTHONPATH")]
    status, found = report(PYTHONPATH=os.pathsep.join(filter(None, paths)))
    assert status == 1 and found["CuPy"]["level"] == "broken"
    assert "together" in found["CuPy"]["says"] and "cupy-cuda11x" in found["CuPy"]["fix"][0]
