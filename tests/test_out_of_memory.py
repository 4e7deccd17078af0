"""When memory runs out, the error says what was computed, who holds how much, and what to change."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import tinygrad_edu as tg
from tinygrad_edu import nn
from tinygrad_edu.autograd.exhausted import held, out_of_memory

HUGE = 1 << 40  # elements; the operating system refuses so many


def test_forward_says_what_it_was_computing_and_who_holds_the_memory():
    model = nn.Sequential(nn.Linear(1000, 1000, bias=False), nn.Tanh())
    optimizer = tg.optim.AdamW(model.parameters())
    before = held()
    model(tg.randn(500, 1000)).sum().backward()
    optimizer.step()
    y = model(tg.randn(3000, 1000))
    now = held()
    gained = {name: size - before[name] for name, size in now.items()}
    assert gained["gradients"] == 4_000_000
    assert 8_000_000 <= gained["optimizer state"] < 8_001_000
    assert gained["saved by tanh"] == gained["saved by linear"] == 12_000_000  # the weight counts as a parameter
    assert now["parameters"] >= 4_000_000
    wide = tg.zeros(1).expand(HUGE)
    with pytest.raises(tg.OutOfMemoryError) as caught:
        wide * 2
    message = str(caught.value)
    assert message.startswith(f"out of memory in mul of ({HUGE},): Unable to allocate 4.00 TiB for an array with shape")
    assert "gradients 4 MB" in message and "saved by tanh 12 MB" in message and "recompute() around" in message
    assert isinstance(caught.value, MemoryError) and isinstance(caught.value, RuntimeError)
    assert y.requires_grad


def test_backward_says_it_too():
    x = tg.zeros(1, requires_grad=True)
    y = x.expand(HUGE)[:1]
    with pytest.raises(tg.OutOfMemoryError, match=r"memory in the backward of expand \(.*out_of_memory.py:\d+\): "):
        y.sum().backward()


CREATED: dict[str, Callable[[], Any]] = {
    "zeros": lambda: tg.zeros(HUGE),
    "ones": lambda: tg.ones_like(tg.zeros(1).expand(HUGE)),
    "full": lambda: tg.full((HUGE,), 2.0),
    "arange": lambda: tg.arange(HUGE),
    "linspace": lambda: tg.linspace(0, 1, HUGE),
    "eye": lambda: tg.eye(HUGE >> 10),
    "rand": lambda: tg.rand(HUGE),
    "randn": lambda: tg.randn(HUGE),
    "randint": lambda: tg.randint(0, 9, (HUGE,)),
    "randperm": lambda: tg.randperm(HUGE),
    "tensor": lambda: tg.tensor(np.broadcast_to(np.float32(1), HUGE)),
    "Tensor.__init__": lambda: tg.Tensor(HUGE),
    "Tensor.new_ones": lambda: tg.ones(1).new_ones(HUGE),
    "Tensor.__deepcopy__": lambda: copy.deepcopy(tg.zeros(1).expand(HUGE)),
}


@pytest.mark.parametrize("name", CREATED)
def test_making_a_tensor_says_it(name: str):
    with pytest.raises(tg.OutOfMemoryError, match=rf"^out of memory in {name}: Unable to allocate .*To need less, use"):
        CREATED[name]()


def _no_memory(*args: Any, **kwargs: Any) -> Any:
    raise MemoryError("Unable to allocate it")


@pytest.mark.parametrize("name", "SGD Adam AdamW NAdam RAdam Adamax Adagrad Adadelta RMSprop Muon".split())
@pytest.mark.parametrize("where", ["its state", "its update"])
def test_an_optimizer_says_it(name: str, where: str, monkeypatch: pytest.MonkeyPatch):
    w = tg.ones(2, 2, requires_grad=True)
    optimizer = getattr(tg.optim, name)([w], lr=0.1, **({"momentum": 0.9} if name == "SGD" else {}))
    (w * w).sum().backward()
    if where == "its state":
        monkeypatch.setattr(np, "zeros", _no_memory)
    else:
        monkeypatch.setattr(type(optimizer), "_update_group", _no_memory)
    before = w._version
    with pytest.raises(tg.OutOfMemoryError, match=rf"^out of memory in {name}.step: Unable .* gradients "):
        optimizer.step()
    assert w._version > before  # what was saved of it may be out of date


def test_what_else_an_optimizer_and_clipping_allocate(monkeypatch: pytest.MonkeyPatch):
    w = tg.ones(2, 2, requires_grad=True)
    optimizer = tg.optim.AdamW([w])
    w.sum().backward()
    optimizer.step()
    state = optimizer.state_dict()
    monkeypatch.setattr(np, "array", _no_memory)
    with pytest.raises(tg.OutOfMemoryError, match="in Optimizer.load_state_dict: "):
        optimizer.load_state_dict(state)
    monkeypatch.setattr(np, "zeros_like", _no_memory)
    with pytest.raises(tg.OutOfMemoryError, match="in Optimizer.zero_grad: "):
        optimizer.zero_grad(set_to_none=False)
    monkeypatch.setattr("tinygrad_edu.nn.utils.parameters._power_sum", _no_memory)
    with pytest.raises(tg.OutOfMemoryError, match="in clip_grad_norm_: "):
        tg.nn.utils.clip_grad_norm_([w], 1.0)


def test_gradients_that_find_no_memory(monkeypatch: pytest.MonkeyPatch):
    w = tg.ones(3, requires_grad=True)
    monkeypatch.setattr(tg.Tensor, "_accumulate_grad", _no_memory)
    with pytest.raises(tg.OutOfMemoryError, match="^out of memory in adding up a gradient: "):
        (w * 2).sum().backward()
    with pytest.raises(tg.OutOfMemoryError, match="^out of memory in backward: "):
        (w * 2).sum().backward(inputs=[w])


def test_changes_in_place_say_it(monkeypatch: pytest.MonkeyPatch):
    x = tg.ones(3)
    monkeypatch.setattr("tinygrad_edu.backend.random.Stream.normal", _no_memory)
    with pytest.raises(tg.OutOfMemoryError, match=r"^out of memory in normal_ of \(3,\): "):
        x.normal_()
    y = tg.zeros(1, requires_grad=True).expand(HUGE)
    monkeypatch.setattr(tg.Tensor, "_check_may_change", lambda *args: None)
    with pytest.raises(tg.OutOfMemoryError, match=rf"^out of memory in add_ of \({HUGE},\): "):
        y.add_(1)


def test_it_is_told_once(monkeypatch: pytest.MonkeyPatch):
    def forward(xp: Any, x: Any) -> Any:
        raise MemoryError

    monkeypatch.setattr("tinygrad_edu.ops.elementwise.Exp.forward", staticmethod(forward))
    x = tg.zeros(3, requires_grad=True)
    with pytest.raises(tg.OutOfMemoryError, match=r"out of memory in exp of \(3,\): the array library gave no details"):
        x.exp()
    first = out_of_memory("one", MemoryError("so much."))
    assert out_of_memory("another", first) is first
    assert str(first).startswith("out of memory in one: so much. Held now: ")
