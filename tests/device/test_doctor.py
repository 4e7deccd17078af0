"""The doctor on a machine with a GPU, a real one or an emulated one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from tinygrad_edu import doctor
from tinygrad_edu.backend import gpu

ROOT = Path(__file__).parents[2]


def report(**environment: str) -> tuple[int, dict[str, dict]]:
    """Exit status, and what was found by the names of the checks."""
    program = [sys.executable, "-m", "tinygrad_edu.doctor", "--json"]
    run = subprocess.run(program, cwd=ROOT, env={**os.environ, **environment}, capture_output=True, text=True)
    assert "Traceback" not in run.stdout + run.stderr
    return run.returncode, {check["check"]: check for check in json.loads(run.stdout)["checks"]}


def with_a_failing_step(**environment: str) -> dict:
    """What is found of the step on the GPU, which must be broken."""
    status, found = report(**environment)
    assert status == 1 and found["step, cuda"]["level"] == "broken", found
    return found["step, cuda"]


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


def test_a_full_memory_is_told_from_a_damaged_installation():
    step = with_a_failing_step(CUPY_GPU_MEMORY_LIMIT="300000")
    assert "the GPU's memory is full: " in step["says"] and "smi" in step["fix"][0]


def test_a_kernel_that_does_not_compile_is_told():
    try:
        gpu.cupy().RawKernel("no such language", "f").compile()
    except Exception as error:
        found = doctor._gpu_failure(error, ("the rest",))
    assert found.says.startswith("a kernel does not compile: ") and found.fix == ("the rest",)


def test_no_folder_for_compiled_kernels_is_broken(tmp_path):
    (tmp_path / "file").touch()
    status, found = report(CUPY_CACHE_DIR=str(tmp_path / "file" / "below"))
    assert status == 1 and "compiled kernels cannot be kept: " in found["CuPy"]["says"]
    assert found["CuPy"]["fix"][0].startswith("export CUPY_CACHE_DIR=")


PROGRAM = """
import tinygrad_edu as tg
x = tg.ones(64, 64, device="cuda", requires_grad=True)
tg.nn.functional.gelu(x, approximate="tanh").sum().backward()
print(x.grad.sum().item())
"""


def test_a_damaged_cache_is_compiled_anew(tmp_path):
    def run() -> str:
        environment = {**os.environ, "CUPY_CACHE_DIR": str(tmp_path)}
        return subprocess.run(
            [sys.executable, "-c", PROGRAM], cwd=ROOT, env=environment, capture_output=True, text=True, check=True
        ).stdout

    first = run()
    files = sorted(file for file in tmp_path.iterdir() if file.is_file())
    whole = [file.read_bytes() for file in files]
    assert len(files) >= 3
    damages = (lambda b: b[: len(b) // 2], lambda b: b"", lambda b: bytes(len(b)), lambda b: b[:-99] + b"garbage" * 20)
    for number, (file, content) in enumerate(zip(files, whole, strict=True)):
        file.write_bytes(damages[number % len(damages)](content))
    assert run() == first
    assert [len(file.read_bytes()) for file in files] == [len(content) for content in whole]
