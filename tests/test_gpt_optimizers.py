"""Several optimizers as one."""

from __future__ import annotations

import numpy as np
import pytest

import tinygrad_edu as tg
from gpt.optimizers import Together


def parameters() -> list[tg.Tensor]:
    rng = np.random.default_rng(0)
    return [tg.tensor(rng.standard_normal((3, 4)), requires_grad=True) for _ in range(4)]


def together(ps: list[tg.Tensor], lr: float = 0.1) -> Together:
    return Together(tg.optim.Muon(ps[:1], lr=lr), tg.optim.AdamW([{"params": ps[1:3]}, {"params": ps[3:]}], lr=lr))


def set_gradients(ps: list[tg.Tensor], seed: int) -> None:
    rng = np.random.default_rng(seed)
    for p in ps:
        p.grad = tg.tensor(rng.standard_normal((3, 4)))


def test_every_optimizer_steps_its_own() -> None:
    ps, qs = parameters(), parameters()
    both, muon, adamw = together(ps), tg.optim.Muon(qs[:1], lr=0.1), tg.optim.AdamW(qs[1:], lr=0.1)
    for seed in (1, 2):
        set_gradients(ps, seed)
        set_gradients(qs, seed)
        for optimizer in (both, muon, adamw):
            optimizer.step()
    assert all(tg.equal(p, q) for p, q in zip(ps, qs, strict=True))
    both.zero_grad(set_to_none=False)
    assert all(p.grad is not None and not p.grad.any() for p in ps)
    both.zero_grad()
    assert all(p.grad is None for p in ps)


def test_options_of_groups_hold_for_the_next_step() -> None:
    ps = parameters()
    both, before = together(ps), [p.detach().clone() for p in ps]
    set_gradients(ps, 1)
    for group in both.param_groups:
        group["lr"] = 0.0
    both.step()
    assert all(tg.equal(p.detach(), b) for p, b in zip(ps, before, strict=True))


def test_the_state_is_one_and_goes_on_elsewhere() -> None:
    ps, qs = parameters(), parameters()
    first, second = together(ps), together(qs, lr=5.0)
    set_gradients(ps, 1)
    first.step()
    state = first.state_dict()
    assert list(state["state"]) == [0, 1, 2, 3] and [g["params"] for g in state["param_groups"]] == [[0], [1, 2], [3]]
    assert "momentum_buffer" in state["state"][0] and "exp_avg" in state["state"][3]
    for p, q in zip(ps, qs, strict=True):
        q.data = p.detach().clone()
    second.load_state_dict(state)
    assert [g["lr"] for g in second.param_groups] == [0.1] * 3
    for parameters_of, optimizer in ((ps, first), (qs, second)):
        set_gradients(parameters_of, 2)
        optimizer.step()
    assert all(tg.equal(p, q) for p, q in zip(ps, qs, strict=True))


def test_the_state_of_other_optimizers_is_refused() -> None:
    ps = parameters()
    with pytest.raises(ValueError, match="different number of parameter groups: 1, these optimizers have 3"):
        together(ps).load_state_dict(tg.optim.AdamW(parameters()).state_dict())
