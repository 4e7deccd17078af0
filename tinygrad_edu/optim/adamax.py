"""Adamax."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ..backend.device import array_module, of_array
from .optimizer import Group, Optimizer, blocks, check_not_negative, count_step, zeros_state


def adamax_update(p: Any, g: Any, m: Any, u: Any, *, lr: float, betas: tuple[float, float], eps: float,
                  weight_decay: float, step: int) -> None:  # fmt: skip
    """One step of Adamax on arrays of one shape, in place; m: running mean of g; u: its largest size, decaying.

    m = b1 m + (1 - b1) g;   u = max(b2 u, |g| + eps);   p = p - lr / (1 - b1^step) m / u
    """
    xp = array_module(of_array(p))
    a, b = xp.empty_like(p), xp.empty_like(p)
    if weight_decay:
        g = xp.add(g, xp.multiply(p, weight_decay, out=b), out=b)
    xp.subtract(g, m, out=a)
    a *= 1 - betas[0]
    m += a
    xp.abs(g, out=a)
    a += eps
    u *= betas[1]
    xp.maximum(u, a, out=u)
    xp.divide(m, u, out=a)
    a *= lr / (1 - betas[0] ** step)
    p -= a


class Adamax(Optimizer):
    """Adam with the largest recent size of the gradient in the place of its root mean square.

    maximize ascends. foreach, differentiable and capturable choose among PyTorch's implementations and change nothing
    here.

    Source: Kingma and Ba 2015, arXiv:1412.6980, algorithm 2. ValueError: an option out of range.
    """

    _shaped_as_parameter = ("exp_avg", "exp_inf")

    def __init__(self, params: Iterable[Any], lr: float = 2e-3, betas: tuple[float, float] = (0.9, 0.999),
                 eps: float = 1e-8, weight_decay: float = 0, foreach: bool | None = None, *, maximize: bool = False,
                 differentiable: bool = False, capturable: bool = False) -> None:  # fmt: skip
        options = {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay, "maximize": maximize}
        super().__init__(params, options)

    def _check(self, group: Group) -> None:
        check_not_negative(group, lr="learning rate", eps="epsilon value", weight_decay="weight_decay value")
        for i, beta in enumerate(group["betas"]):
            if not 0 <= beta < 1:
                raise ValueError(f"Invalid beta parameter at index {i}: {beta}")

    def _update(self, p: Any, g: Any, state: dict[str, Any], group: Group) -> None:
        if not state:
            state.update(zeros_state(p, "exp_avg", "exp_inf"))
        step = count_step(state)
        options = {name: group[name] for name in ("betas", "eps", "weight_decay")}
        for piece in blocks(p, g, state["exp_avg"]._array, state["exp_inf"]._array):
            adamax_update(*piece, lr=float(group["lr"]), step=step, **options)
