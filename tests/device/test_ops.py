"""The op table on the GPU: results and gradients of every record are those of the CPU, from the readable ops there."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tinygrad_edu import arange, dispatch, manual_seed, tensor
from tinygrad_edu.backend.device import Device
from tinygrad_edu.nn import functional as F
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
    """The same library, with the tensors of the samples on a GPU."""

    def __init__(self, device: str) -> None:
        super().__init__("tinygrad_edu")
        self.device = Device(device)

    def tensor(self, array: Any, requires_grad: bool) -> Any:
        return made(array).to(self.device).requires_grad_(requires_grad)

    def array(self, tensor: Any) -> Any:
        return tensor.detach().cpu()._array


def _tolerances(kind: str, precision: str) -> tuple[Any, Any]:
    """Of results and gradients."""
    if kind == "exact":
        return EXACT, EXACT
    if precision == "float64":  # the CPU's own readable op is the measure, not another library's order of operations
        return (TOLERANCE["elementwise", "float64"],) * 2
    return TOLERANCE[kind, precision], TOLERANCE["gradient", precision]


def _called(library: Library, record: Any, sample: Any, dtype: str | None) -> Call:
    manual_seed(0)
    return Call(library, record, sample, dtype)


def compare(gpu: OnGpu, record: Any, dtypes: tuple[str, ...] | None = None) -> None:
    """Results and gradients of a record's samples there are those of the CPU; dtypes: by default `dtypes_of`."""
    for sample, name in cases(record):
        for dtype in dtypes or dtypes_of(sample):
            with about(f"{name} in {dtype or 'its own dtypes'}"):
                with dispatch.use_kernels("reference"):
                    expected = _called(OURS, record, sample, dtype)
                    gradients = expected.backward()
                found = _called(gpu, record, sample, dtype)
                for y, z in zip(found.outputs, expected.outputs, strict=True):
                    assert y.device == gpu.device, f"a result of tensors on {gpu.device} is on {y.device}"
                    assert y.requires_grad == z.requires_grad
                of_result, of_gradient = _tolerances(record.kind, expected.precision)
                _compare("result", found.values, expected.values, of_result)
                for i, (g, h) in enumerate(zip(found.backward(), gradients, strict=True)):
                    _compare(f"gradient of tensor {i}", g, h, of_gradient)


@pytest.mark.parametrize("record", RECORDS, ids=lambda r: r.name)
def test_results_and_gradients_are_those_of_the_cpu(record):
    compare(OnGpu("cuda:0"), record)


@pytest.mark.parametrize("record", RECORDS, ids=lambda r: r.name)
def test_results_and_gradients_in_bfloat16_are_those_of_the_cpu(record):
    if "quantile" not in record.name:  # it takes float32 and float64 alone
        compare(OnGpu("cuda:0"), record, ("bfloat16",))


LONG = 20_000
# A function, and the shapes of its inputs; `terms` gives, with absolute values, what its result was added up from.
SUMS: dict[str, tuple[Any, Any, list[tuple[int, ...]]]] = {
    "sum": (lambda x: x.sum(), lambda x: abs(x).sum(), [(LONG,)]),
    "mean": (lambda x: x.mean(0), lambda x: abs(x).mean(0), [(LONG, 3)]),
    "cumsum": (lambda x: x.cumsum(-1), lambda x: np.cumsum(abs(x), -1), [(2, LONG)]),
    "product": (lambda x, y: x @ y, lambda x, y: abs(x) @ abs(y), [(3, LONG), (LONG, 5)]),
    "norm": (lambda x: x.norm(), lambda x: np.sqrt((x * x).sum()), [(LONG,)]),
    "variance": (lambda x: x.var(), lambda x: (x * x).mean() + 1, [(LONG,)]),
    "layer_norm": (lambda x: F.layer_norm(x, (LONG,)), lambda x: 1 + abs(x), [(2, LONG)]),
    "rows": (
        lambda x: F.embedding(arange(LONG, device=x.device) % 2, x).sum(0),
        lambda x: abs(x).sum(0) * LONG,
        [(2, 3)],
    ),
}


@pytest.mark.parametrize("name", SUMS)
def test_long_sums_in_float64(name: str):
    """To 1e-12 of the sum of the terms' absolute values: what cancels among them is no measure of rounding."""
    function, terms, shapes = SUMS[name]
    draws = np.random.default_rng(4)
    arrays = [draws.standard_normal(shape) for shape in shapes]
    found = {}
    for device in ("cpu", "cuda"):
        inputs = [tensor(a, device=device, requires_grad=True) for a in arrays]
        with dispatch.use_kernels("auto" if device == "cuda" else "reference"):
            y = function(*inputs)
            cotangent = np.random.default_rng(5).standard_normal(tuple(y.shape))
            y.backward(tensor(cotangent, device=device))
        found[device] = [y.detach().cpu().numpy(), *(x.grad.cpu().numpy() for x in inputs)]
    scales = [np.broadcast_to(terms(*arrays), found["cpu"][0].shape)]
    scales += [np.broadcast_to(abs(g).max(), g.shape) for g in found["cpu"][1:]]
    for g, e, scale in zip(found["cuda"], found["cpu"], scales, strict=True):
        assert (abs(g - e) <= 1e-12 * scale).all(), (abs(g - e) / scale).max()
