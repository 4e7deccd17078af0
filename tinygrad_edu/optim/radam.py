"""RAdam."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

from ..backend.device import array_module, of_array
from .optimizer import Group, Optimizer, blocks, check_not_negative, count_step, zeros_state


def radam_update(p: Any, g: Any, m: Any, v: Any, *, lr: float, betas: tuple[float, float], eps: float,
                 weight_decay: float, step: int) -> None:  # fmt: skip
    """One step of RAdam on arrays of one shape, in place; m and v: running means of g and g^2.

    m = b1 m + (1 - b1) g;   v = b2 v + (1 - b2) g^2;   n: how many squares v effectively averages
    p = p - lr m / (1 - b1^step), times rectification(n) sqrt(1 - b2^step) / (sqrt(v) + eps) once n > 5
    """
    xp = array_module(of_array(p))
    a, b = xp.empty_like(p), xp.empty_like(p)
    if weight_decay:
        g = xp.add(g, xp.multiply(p, weight_decay, out=b), out=b)
    xp.subtract(g, m, out=a)
    a *= 1 - betas[0]
    m += a
    xp.multiply(g, g, out=a)
    a *= 1 - betas[1]
    v *= betas[1]
    v += a

    rate, correction = lr / (1 - betas[0] ** step), 1 - betas[1] ** step
    longest = 2 / (1 - betas[1]) - 1
    n = longest - 2 * step * betas[1] ** step / correction
    if n > 5:
        xp.sqrt(v, out=a)
        a += eps
        xp.divide(m, a, out=a)
        rectification = math.sqrt((n - 4) * (n - 2) * longest / ((longest - 4) * (longest - 2) * n))
        a *= rate * rectification * math.sqrt(correction)
    else:
        xp.multiply(m, rate, out=a)
    p -= a


class RAdam(Optimizer):
    """Adam that trusts its mean of squares only after enough steps, so that it needs no warm-up.

    decoupled_weight_decay shrinks the parameters as AdamW does. maximize ascends. foreach, capturable and
    differentiable choose among PyTorch's implementations and change nothing here.

    Source: Liu et al. 2020, arXiv:1908.03265, algorithm 2. ValueError: an option out of range.
    """

    _shaped_as_parameter = ("exp_avg", "exp_avg_sq")

    def __init__(self, params: Iterable[Any], lr: float = 1e-3, betas: tuple[float, float] = (0.9, 0.999),
                 eps: float = 1e-8, weight_decay: float = 0, decoupled_weight_decay: bool = False, *,
                 foreach: bool | None = None, maximize: bool = False, capturable: bool = False,
                 differentiable: bool = False) -> None:  # fmt: skip
        options = {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay, "maximize": maximize}
        super().__init__(params, {**options, "decoupled_weight_decay": decoupled_weight_decay})

    def _check(self, group: Group) -> None:
        check_not_negative(group, lr="learning rate", eps="epsilon value", weight_decay="weight_decay value")
        for i, beta in enumerate(group["betas"]):
            if not 0 <= beta < 1:
                raise ValueError(f"Invalid beta parameter at index {i}: {beta}")

    def _update(self, p: Any, g: Any, state: dict[str, Any], group: Group) -> None:
        if not state:
            state.update(zeros_state(p, "exp_avg", "exp_avg_sq"))
        step, lr, decay = count_step(state), float(group["lr"]), group["weight_decay"]
        if group["decoupled_weight_decay"]:
            p *= 1 - lr * decay
            decay = 0
        options = {name: group[name] for name in ("betas", "eps")}
        for piece in blocks(p, g, state["exp_avg"]._array, state["exp_avg_sq"]._array):
            radam_update(*piece, lr=lr, weight_decay=decay, step=step, **options)
