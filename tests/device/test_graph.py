"""Graphs: the tests of captured_steps.py where there are some. The emulated GPU gets them by graphs.cpp."""

from __future__ import annotations

import os
import warnings
from pathlib import Path

import pytest

import tinygrad_edu as tg
from tests.device.preloaded import assert_passes, compiled
from tinygrad_edu import nn, optim


def test_captured_steps(tmp_path: Path):
    emulated = "CUPY_ON_CPU" in os.environ
    assert_passes("captured_steps.py", compiled("graphs.cpp", tmp_path) if emulated else None)


@pytest.mark.skipif("CUPY_ON_CPU" not in os.environ, reason="a GPU without graphs: this machine's may have them")
def test_without_graphs_the_step_runs_as_it_is():
    def trained(wrap):
        tg.manual_seed(0)
        model = nn.Linear(4, 3).to("cuda")
        optimizer = optim.AdamW(model.parameters(), lr=0.1)

        def step(x):
            optimizer.zero_grad()
            loss = model(x.to("cuda")).pow(2).sum()
            loss.backward()
            optimizer.step()
            return loss

        step = wrap(step)
        return [step(tg.full((2, 4), float(i))).item() for i in range(6)], model.weight.detach().cpu()

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        losses, weight = trained(tg.cuda.graph)
    (warning,) = [w for w in caught if "cuda.graph" in str(w.message)]
    assert "step runs as it is from now on, as it cannot be captured: CuPy has no graphs for this GPU" in str(
        warning.message
    )
    expected, same = trained(lambda step: step)
    assert losses == expected and tg.equal(weight, same)
