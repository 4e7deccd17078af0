"""When the GPU's memory runs out, the error says in what, and who holds how much there."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

import tinygrad_edu as tg
from tinygrad_edu.backend import gpu

N = 1 << 20  # elements: 4 MB in float32


@pytest.fixture
def full() -> Iterator[Callable[[], None]]:
    """A function after which the GPU has no memory for anything large."""
    pool = gpu.cupy().get_default_memory_pool()
    gc.collect()  # what errors of tests before still hold
    tg.cuda.empty_cache()

    def fill() -> None:
        tg.cuda.empty_cache()
        pool.set_limit(size=pool.used_bytes() + N)

    yield fill
    pool.set_limit(size=0)


CREATED: dict[str, Callable[[], Any]] = {
    "zeros": lambda: tg.zeros(N, device="cuda"),
    "full": lambda: tg.full((N,), 2.0, device="cuda"),
    "arange": lambda: tg.arange(N, device="cuda"),
    "randn": lambda: tg.randn(N, device="cuda"),
    "rand": lambda: tg.rand(N, device="cuda"),
    "tensor": lambda: tg.tensor(np.ones(N, np.float32), device="cuda"),
    r"to_device of \(1048576,\)": lambda: tg.ones(N).to("cuda"),
    r"to_device of \(1024, 1024\)": lambda: tg.nn.Linear(1024, 1024, bias=False).to("cuda"),
    "Tensor.new_zeros": lambda: tg.ones(1, device="cuda").new_zeros(N),
    r"add of \(1, 1024\), \(1024, 1\)": lambda: tg.ones(1, 1024, device="cuda") + tg.ones(1024, 1, device="cuda"),
}


@pytest.mark.parametrize("name", CREATED)
def test_making_a_tensor_says_it(name: str, full: Callable[[], None]):
    kept = tg.zeros(N // 2, device="cuda", requires_grad=True)
    here = tg.zeros(N, requires_grad=True)  # of no interest there
    full()
    with pytest.raises(
        tg.cuda.OutOfMemoryError, match=rf"^out of memory in {name}: Out of memory allocating"
    ) as caught:
        CREATED[name]()
    assert "parameters 2.1 MB" in str(caught.value) and "To need less, use smaller batches" in str(caught.value)
    assert kept.is_cuda and not here.is_cuda


@pytest.mark.parametrize("name", "SGD Adam AdamW NAdam RAdam Adamax Adagrad Adadelta RMSprop Muon".split())
def test_an_optimizer_says_it(name: str, full: Callable[[], None]):
    w = tg.zeros(1024, 1024, device="cuda", requires_grad=True)
    w.grad = tg.ones(1024, 1024, device="cuda")
    optimizer = getattr(tg.optim, name)([w], lr=0.1, **({"momentum": 0.9} if name == "SGD" else {}))
    full()
    with pytest.raises(tg.OutOfMemoryError, match=rf"^out of memory in {name}.step: .* parameters 4.19 MB") as caught:
        optimizer.step()
    assert "gradients 4.19 MB" in str(caught.value)
    gpu.cupy().get_default_memory_pool().set_limit(size=0)
    optimizer.step()
    assert w.isfinite().all()


def test_backward_says_it(full: Callable[[], None]):
    w = tg.zeros(N, device="cuda", requires_grad=True)
    y = (w.exp() * 3).sum()
    full()
    with pytest.raises(tg.OutOfMemoryError, match=r"memory in the backward of (mul|exp) \(.*saved by exp 4.19 MB"):
        y.backward()


def test_a_gradient_that_is_kept_apart_says_it(full: Callable[[], None]):
    w = tg.zeros(N, device="cuda", requires_grad=True)
    g = tg.ones(N, device="cuda")
    full()
    with pytest.raises(tg.OutOfMemoryError, match="memory in adding up a gradient: .*parameters 4.19 MB"):
        w.backward(g)
    assert w.grad is None
    gpu.cupy().get_default_memory_pool().set_limit(size=0)
    w.backward(g)
    full()
    w.backward(g)  # in place, for which there is memory
    assert w.grad[0].item() == 2


def test_clipping_says_it(full: Callable[[], None]):
    w = tg.zeros(N, device="cuda", requires_grad=True)
    w.grad = tg.ones(N, device="cuda")
    full()
    with pytest.raises(tg.OutOfMemoryError, match="^out of memory in clip_grad_norm_: "):
        tg.nn.utils.clip_grad_norm_([w], 1.0, norm_type=3.0)
