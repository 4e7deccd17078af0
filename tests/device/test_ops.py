"""The op table on the GPU: results and gradients of every record are those of the CPU, from the readable ops there."""

from __future__ import annotations

from typing import Any

import pytest

from tinygrad_edu import dispatch, manual_seed
from tinygrad_edu.tensor import made
from tinygrad_edu.testing.op_table import (
    EXACT,
    OURS,
    TOLERANCE,
    Call,
    Library,
    _compare,
    about,
    cases,
    dtypes_of,
    records,
)  # fmt: skip

RECORDS = [record for family in records().values() for record in family]


class OnGpu(Library):
    """The same library, with the tensors of the samples on the GPU."""

    def __init__(self) -> None:
        super().__init__("tinygrad_edu")

    def tensor(self, array: Any, requires_grad: bool) -> Any:
        return made(array).cuda().requires_grad_(requires_grad)

    def array(self, tensor: Any) -> Any:
        return tensor.detach().cpu()._array


def _tolerances(kind: str, precision: str) -> tuple[Any, Any]:
    """Of results and gradients."""
    return (EXACT, EXACT) if kind == "exact" else (TOLERANCE[kind, precision], TOLERANCE["gradient", precision])


def _called(library: Library, record: Any, sample: Any, dtype: str | None) -> Call:
    manual_seed(0)
    return Call(library, record, sample, dtype)


@pytest.mark.parametrize("record", RECORDS, ids=lambda r: r.name)
def test_results_and_gradients_are_those_of_the_cpu(record):
    gpu = OnGpu()
    for sample, name in cases(record):
        for dtype in dtypes_of(sample):
            with about(f"{name} in {dtype or 'its own dtypes'}"):
                with dispatch.use_kernels("reference"):
                    expected = _called(OURS, record, sample, dtype)
                    gradients = expected.backward()
                found = _called(gpu, record, sample, dtype)
                for y, z in zip(found.outputs, expected.outputs, strict=True):
                    assert y.is_cuda, "a result of tensors on the GPU is on the CPU"
                    assert y.requires_grad == z.requires_grad
                of_result, of_gradient = _tolerances(record.kind, expected.precision)
                _compare("result", found.values, expected.values, of_result)
                for i, (g, h) in enumerate(zip(found.backward(), gradients, strict=True)):
                    _compare(f"gradient of tensor {i}", g, h, of_gradient)
