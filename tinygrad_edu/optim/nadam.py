"""NAdam."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ..backend.device import array_module, of_array
from ..tensor import made
from .optimizer import Group, Optimizer, blocks, check_not_negative, count_step, zeros_state


def nadam_update(p: Any, g: Any, m: Any, v: Any, *, now: float, ahead: float, betas: tuple[float, float], eps: float,
                 weight_decay: float, step: int) -> None:  # fmt: skip
    """One step of NAdam on arrays of one shape, in place; now and ahead weigh the gradient and its running mean.

    m = b1 m + (1 - b1) g;   v = b2 v + (1 - b2) g^2;   p = p - (now g + ahead m) / (sqrt(v / (1 - b2^step)) + eps)
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

    xp.multiply(v, 1 / (1 - betas[1] ** step), out=a)
    xp.sqrt(a, out=a)
    a += eps
    g = xp.multiply(g, now, out=b)
    g /= a
    p -= g
    xp.divide(m, a, out=a)
    a *= ahead
    p -= a


class NAdam(Optimizer):
    """Adam that looks ahead along its momentum, as Nesterov does.

    The momentum of step t is b1 (1 - 0.5 * 0.96^(t momentum_decay)). decoupled_weight_decay shrinks the parameters as
    AdamW does. maximize ascends. foreach, capturable and differentiable choose among PyTorch's implementations and
    change nothing here.

    Source: Dozat 2016, "Incorporating Nesterov momentum into Adam". ValueError: an option out of range.
    """

    _shaped_as_parameter = ("exp_avg", "exp_avg_sq")

    def __init__(self, params: Iterable[Any], lr: float = 2e-3, betas: tuple[float, float] = (0.9, 0.999),
                 eps: float = 1e-8, weight_decay: float = 0, momentum_decay: float = 4e-3,
                 decoupled_weight_decay: bool = False, *, foreach: bool | None = None, maximize: bool = False,
                 capturable: bool = False, differentiable: bool = False) -> None:  # fmt: skip
        options = {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay, "maximize": maximize}
        options |= {"momentum_decay": momentum_decay, "decoupled_weight_decay": decoupled_weight_decay}
        super().__init__(params, options)

    def _check(self, group: Group) -> None:
        check_not_negative(group, lr="learning rate", eps="epsilon value", weight_decay="weight_decay value")
        check_not_negative(group, momentum_decay="momentum_decay value")
        for i, beta in enumerate(group["betas"]):
            if not 0 <= beta < 1:
                raise ValueError(f"Invalid beta parameter at index {i}: {beta}")

    def _update(self, p: Any, g: Any, state: dict[str, Any], group: Group) -> None:
        if not state:
            state.update(zeros_state(p, "exp_avg", "exp_avg_sq"))
            state["mu_product"] = made(array_module(of_array(p)).ones((), dtype=p.dtype))
        step, lr, decay = count_step(state), float(group["lr"]), group["weight_decay"]
        if group["decoupled_weight_decay"]:
            p *= 1 - lr * decay
            decay = 0
        mu, following = (
            group["betas"][0] * (1 - 0.5 * 0.96 ** (t * group["momentum_decay"])) for t in (step, step + 1)
        )
        product = state["mu_product"]._array
        product *= mu
        now, ahead = lr * (1 - mu) / (1 - float(product)), lr * following / (1 - float(product) * following)
        options = {name: group[name] for name in ("betas", "eps")}
        for piece in blocks(p, g, state["exp_avg"]._array, state["exp_avg_sq"]._array):
            nadam_update(*piece, now=now, ahead=ahead, weight_decay=decay, step=step, **options)
