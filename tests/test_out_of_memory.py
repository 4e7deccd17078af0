"""When memory runs out, the error says what was computed, who holds how much, and what to change."""

from __future__ import annotations

from typing import Any

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
