"""Two GPUs: the tests of two_gpus.py in a process that has two. The emulation has one, and gets a second for it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tinygrad_edu import cuda

HERE = Path(__file__).parent


def environment(folder: Path) -> dict[str, str]:
    """That of a process with two GPUs."""
    if cuda.device_count() > 1:
        return {**os.environ}
    if "CUPY_ON_CPU" not in os.environ:
        pytest.skip("a second GPU: this machine has one, and it is not the emulated one")
    library = str(folder / "second_gpu.so")
    source = str(HERE / "second_gpu.cpp")
    subprocess.run(["g++", "-std=c++17", "-O1", "-shared", "-fPIC", "-o", library, source, "-ldl"], check=True)
    return {**os.environ, "LD_PRELOAD": library}


def test_what_holds_for_one_gpu_holds_for_two(tmp_path: Path):
    program = [sys.executable, "-m", "pytest", "-q", str(HERE / "two_gpus.py")]
    run = subprocess.run(program, cwd=HERE.parents[1], env=environment(tmp_path), capture_output=True, text=True)
    assert run.returncode == 0 and " passed" in run.stdout and "skipped" not in run.stdout, run.stdout + run.stderr
