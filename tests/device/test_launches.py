"""How many kernels a training step launches, counted: one that is launched anew shows here."""

from __future__ import annotations

import pytest

from tests.device import launches
from tinygrad_edu.backend import gpu


@pytest.fixture(scope="module")
def counted():
    """By kernels, then phase: what a block launches."""
    try:
        gpu.cupy()
        return {kernels: launches.per_block(kernels) for kernels in ("reference", "auto")}
    except RuntimeError as error:
        pytest.skip(f"the count of launches: {error}")


def test_what_a_block_launches(counted):
    fused = {phase: found.total() for phase, found in counted["auto"].items()}
    assert fused == {"forward": 9, "backward": 22, "update": 0}
    assert counted["auto"]["forward"]["product"] == 4 and counted["auto"]["forward"]["attend"] == 1
    update = launches.of_model("auto", 2)["update"]  # for parameters that decay and others, of all blocks
    assert update.total() == 4 and {"square_sums", "clip", "adam"} < update.keys()
    for phase, found in counted["reference"].items():
        assert fused[phase] < found.total() / 2, phase
