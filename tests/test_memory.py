"""Memory: freed arrays are used again without a visit to the operating system."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tinygrad_edu.backend import memory

PROGRAM = """
import resource, sys
import tinygrad_edu as tg
from tinygrad_edu import nn

model = nn.Sequential(nn.Linear(256, 1024), nn.GELU(), nn.Linear(1024, 256))
x = tg.randn(512, 256)

def step():
    model(x).square().mean().backward()
    model.zero_grad()

for _ in range(5):
    step()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
    step()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def page_faults(keep: str) -> int:
    """The page faults of ten steady steps, each of which makes more than 10 MB of arrays."""
    environment = {**os.environ, "TINYGRAD_EDU_KEEP_MEMORY": keep, "OPENBLAS_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, "-c", PROGRAM], env=environment, capture_output=True, text=True, check=True)
    return int(done.stdout)


@pytest.mark.skipif(not memory._is_glibc(), reason="the setting exists in glibc alone")
def test_steady_steps_fetch_no_pages():
    assert page_faults(keep="1") < 200
    assert page_faults(keep="0") > 2000  # what the setting saves, and proof that the count would show it


def test_another_c_library_is_left_alone(monkeypatch):
    monkeypatch.setattr(os, "confstr", lambda name: "musl 1.2")
    assert memory.keep_freed_memory() is False
    monkeypatch.delattr(os, "confstr")
    assert memory.keep_freed_memory() is False
