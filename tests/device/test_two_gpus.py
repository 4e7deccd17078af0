"""Two GPUs: the tests of two_gpus.py in a process that has two. The emulation has one, and gets a second for it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.device.preloaded import assert_passes, compiled
from tinygrad_edu import cuda


def test_what_holds_for_one_gpu_holds_for_two(tmp_path: Path):
    if cuda.device_count() > 1:
        assert_passes("two_gpus.py", None)
    elif "CUPY_ON_CPU" in os.environ:
        assert_passes("two_gpus.py", compiled("second_gpu.cpp", tmp_path))
    else:
        pytest.skip("a second GPU: this machine has one, and it is not the emulated one")
