"""A module beside its twin in PyTorch: the same weights, inputs and random cotangents must give the same numbers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch

import tinygrad_edu as tg

torch.set_num_threads(1)
# Both libraries round each in its own order; a gradient is a sum of a few hundred products.
TOLERANCE = {"float32": {"rtol": 2e-4, "atol": 2e-5}, "float64": {"rtol": 1e-11, "atol": 1e-12}}


def normal(*shape: int) -> np.ndarray:
    return np.random.standard_normal(shape)


def tensors(lib: Any, arrays: list[Any], dtype: str) -> list[Any]:
    """Leaf tensors of the arrays; floating ones in this dtype, requiring grad."""
    cast = [x.astype(dtype) if isinstance(x, np.ndarray) and x.dtype.kind == "f" else x for x in arrays]
    return [
        lib.tensor(x, requires_grad=x.dtype.kind == "f") if isinstance(x, np.ndarray) else x
        for x in cast
    ]  # fmt: skip


def in_both(make: Any, dtype: str = "float32") -> tuple[Any, Any]:
    """The module `make(library)` gives with PyTorch and with this framework, of one text and the same weights."""
    twin, module = make(torch).to(getattr(torch, dtype)), make(tg).to(getattr(tg, dtype))
    assert repr(module) == repr(twin)
    state = {key: value.numpy() for key, value in twin.state_dict().items()}
    assert [(k, tuple(v.shape)) for k, v in module.state_dict().items()] == [(k, v.shape) for k, v in state.items()]
    assert [k for k, _ in module.named_parameters()] == [k for k, _ in twin.named_parameters()]
    module.load_state_dict({key: tg.tensor(value) for key, value in state.items()})
    return twin, module


def flat(x: Any) -> Iterator[Any]:
    """The floating tensors in nested sequences."""
    if isinstance(x, (tuple, list)):
        for item in x:
            yield from flat(item)
    elif isinstance(x, (torch.Tensor, tg.Tensor)) and x.is_floating_point():
        yield x


def close(got: Any, expected: Any, dtype: str, what: str = "") -> None:
    assert (got is None) == (expected is None), what
    if expected is not None:
        assert got.dtype.name == str(expected.dtype).removeprefix("torch."), what
        np.testing.assert_allclose(got.detach().numpy(), expected.detach().numpy(), **TOLERANCE[dtype], err_msg=what)


def compare(make: Any, call: Any, arrays: list[Any], dtype: str) -> None:
    """`call(library, module, *tensors)` in both: the outputs, and all gradients for a random cotangent of each."""
    twin, module = in_both(make, dtype)
    theirs, ours = tensors(torch, arrays, dtype), tensors(tg, arrays, dtype)
    expected, got = list(flat(call(torch, twin, *theirs))), list(flat(call(tg, module, *ours)))
    assert len(got) == len(expected) > 0
    for i, (y, z) in enumerate(zip(got, expected, strict=True)):
        assert tuple(y.shape) == tuple(z.shape)
        close(y, z, dtype, f"output {i}")
    cotangents = [np.asarray(normal(*z.shape), dtype) for z in expected]
    torch.autograd.backward(expected, [torch.tensor(g) for g in cotangents])
    tg.autograd.backward(got, [tg.tensor(g) for g in cotangents])
    for i, (x, w) in enumerate(zip(flat(ours), flat(theirs), strict=True)):
        close(x.grad, w.grad, dtype, f"gradient of input {i}")
    for (name, p), q in zip(module.named_parameters(), twin.parameters(), strict=True):
        close(p.grad, q.grad, dtype, f"gradient of {name}")


def same_error(make: Any) -> str:
    """`make(library)` fails with PyTorch's class of error, or a subclass, here too; the message here is returned."""
    with pytest.raises(Exception) as theirs:
        make(torch)
    with pytest.raises(type(theirs.value)) as ours:
        make(tg)
    return str(ours.value)
