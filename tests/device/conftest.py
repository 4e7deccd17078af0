"""Tests on the GPU that CuPy finds here: a real one, or an emulated one. Without any they are reported as not run."""

from __future__ import annotations

import functools
from collections.abc import Iterator

import pytest

from tinygrad_edu.backend import gpu


@functools.cache
def _missing() -> str | None:
    """Why nothing can run on a GPU here; None if it can."""
    try:
        gpu.cupy()
    except RuntimeError as error:
        return f"the GPU: {error}"
    return None


@pytest.fixture(autouse=True)
def _gpu() -> Iterator[None]:
    reason = _missing()
    if reason is not None:
        pytest.skip(reason)
    yield
