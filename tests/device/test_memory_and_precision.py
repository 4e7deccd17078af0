"""Recomputation and mixed precision on the GPU."""

from __future__ import annotations

from typing import Any

import pytest

import tinygrad_edu as tg
from gpt.config import GPTConfig
from gpt.model import GPT
from tinygrad_edu import nn

SHAPE = GPTConfig(block_size=8, vocab_size=13, n_layer=2, n_head=2, n_embd=16, dropout=0.2)


def same(a: Any, b: Any) -> bool:
    return bool((a == b).all())


def step(recompute: bool) -> tuple[float, list[Any], Any]:
    """The loss of a GPT with dropout, its gradients, and the random numbers that come next."""
    tg.manual_seed(4)
    model = GPT(SHAPE).to("cuda")
    model.recompute = recompute
    x = tg.randint(0, 13, (2, 8), device="cuda")
    loss = model(x, x)[1]
    loss.backward()
    return loss.item(), [p.grad for p in model.parameters()], tg.rand(3, device="cuda")


@pytest.mark.parametrize("kernels", ["reference", "auto"])
def test_recomputation_changes_no_bit(kernels: str):
    with tg.use_kernels(kernels):
        loss, gradients, drawn = step(False)
        other_loss, others, other_drawn = step(True)
    assert loss == other_loss and all(map(same, gradients, others)) and same(drawn, other_drawn)


def test_autocast_and_the_scaler():
    tg.manual_seed(4)
    model = nn.Sequential(nn.Linear(8, 16), nn.LayerNorm(16), nn.Linear(16, 4)).to("cuda")
    optimizer, scaler = tg.optim.AdamW(model.parameters(), lr=0.01), tg.amp.GradScaler("cuda", init_scale=2.0**10)
    x, target = tg.randn(6, 8, device="cuda"), tg.randint(0, 4, (6,), device="cuda")
    plain = nn.functional.cross_entropy(model(x), target).item()
    with tg.autocast("cuda", dtype=tg.float16):
        hidden = model[0](x)
        assert hidden.dtype == tg.float16 and model[1](hidden).dtype == tg.float32
        assert hidden.softmax(-1).dtype == hidden.exp().dtype == hidden.sum().dtype == tg.float32
        loss = nn.functional.cross_entropy(model(x), target)
    assert loss.dtype == tg.float32 and loss.item() == pytest.approx(plain, rel=1e-2)
    scaler.scale(loss).backward()
    assert {p.grad.dtype for p in model.parameters()} == {tg.float32}
    before = [p.detach().clone() for p in model.parameters()]
    scaler.step(optimizer)
    scaler.update()
    assert not any(map(same, before, model.parameters())) and scaler.get_scale() == 2.0**10
    after = [p.detach().clone() for p in model.parameters()]
    model[0].weight.grad[0, 0] = float("inf")
    scaler.step(optimizer)
    scaler.update()
    assert all(map(same, after, model.parameters())) and scaler.get_scale() == 2.0**9
