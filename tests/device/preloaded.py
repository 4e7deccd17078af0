"""Tests in a process of their own, before whose emulated GPU something is put that it lacks."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent


def assert_passes(tests: str, library: Path | None) -> None:
    """All tests of this file pass in another process, and none is left out; `library` is loaded there first."""
    preload = {} if library is None else {"LD_PRELOAD": str(library)}
    program = [sys.executable, "-m", "pytest", "-q", str(HERE / tests)]
    run = subprocess.run(program, cwd=HERE.parents[1], env={**os.environ, **preload}, capture_output=True, text=True)
    assert run.returncode == 0 and " passed" in run.stdout and "skipped" not in run.stdout, run.stdout + run.stderr


def compiled(source: str, folder: Path) -> Path:
    """The library made of a C++ file beside this one."""
    library = folder / "library.so"
    command = ["g++", "-std=c++17", "-O1", "-shared", "-fPIC", "-o", str(library), str(HERE / source), "-ldl"]
    subprocess.run(command, check=True)
    return library
