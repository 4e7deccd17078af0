"""Adadelta."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ..backend.device import array_module, of_array
from .optimizer import Group, Optimizer, blocks, check_not_negative, count_step, zeros_state


def adadelta_update(p: Any, g: Any, v: Any, u: Any, *, lr: float, rho: float, eps: float, weight_decay: float) -> None:
    """One step of Adadelta on arrays of one shape, in place; v and u: running means of g^2 and of the changes' squares.

    v = rho v + (1 - rho) g^2;   d = g sqrt(u + eps) / sqrt(v + eps);   u = rho u + (1 - rho) d^2;   p = p - lr d
    """
    xp = array_module(of_array(p))
    a, d = xp.empty_like(p), xp.empty_like(p)
    if weight_decay:
        g = xp.add(g, xp.multiply(p, weight_decay, out=d), out=d)
    xp.multiply(g, g, out=a)
    a *= 1 - rho
    v *= rho
    v += a

    xp.add(u, eps, out=a)
    xp.sqrt(a, out=a)
    d = xp.multiply(g, a, out=d)
    xp.add(v, eps, out=a)
    d /= xp.sqrt(a, out=a)

    xp.multiply(d, d, out=a)
    a *= 1 - rho
    u *= rho
    u += a
    d *= lr
    p -= d


class Adadelta(Optimizer):
    """Gradient descent whose steps have the size of the recent steps: the rate needs no tuning.

    rho is the decay of both running means. maximize ascends. foreach, capturable and differentiable choose among
    PyTorch's implementations and change nothing here.

    Source: Zeiler 2012, arXiv:1212.5701, algorithm 1. ValueError: an option out of range.
    """

    _shaped_as_parameter = ("square_avg", "acc_delta")

    def __init__(self, params: Iterable[Any], lr: float = 1.0, rho: float = 0.9, eps: float = 1e-6,
                 weight_decay: float = 0, foreach: bool | None = None, *, capturable: bool = False,
                 maximize: bool = False, differentiable: bool = False) -> None:  # fmt: skip
        options = {"lr": lr, "rho": rho, "eps": eps, "weight_decay": weight_decay, "maximize": maximize}
        super().__init__(params, options)

    def _check(self, group: Group) -> None:
        check_not_negative(group, lr="learning rate", eps="epsilon value", weight_decay="weight_decay value")
        if not 0 <= group["rho"] <= 1:
            raise ValueError(f"Invalid rho value: {group['rho']}")

    def _update(self, p: Any, g: Any, state: dict[str, Any], group: Group) -> None:
        if not state:
            state.update(zeros_state(p, "square_avg", "acc_delta"))
        count_step(state)
        options = {name: group[name] for name in ("rho", "eps", "weight_decay")}
        for piece in blocks(p, g, state["square_avg"]._array, state["acc_delta"]._array):
            adadelta_update(*piece, lr=float(group["lr"]), **options)
