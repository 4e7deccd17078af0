"""Adagrad."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ..backend.device import array_module, of_array
from .optimizer import Group, Optimizer, blocks, check_not_negative, count_step, zeros_state


def adagrad_update(p: Any, g: Any, total: Any, *, lr: float, weight_decay: float, eps: float) -> None:
    """One step of Adagrad on arrays of one shape, in place; total: the sum of g^2 so far.

    total = total + g^2;   p = p - lr g / (sqrt(total) + eps)
    """
    xp = array_module(of_array(p))
    a, b = xp.empty_like(p), xp.empty_like(p)
    if weight_decay:
        g = xp.add(g, xp.multiply(p, weight_decay, out=b), out=b)
    total += xp.multiply(g, g, out=a)
    xp.sqrt(total, out=a)
    a += eps
    xp.multiply(g, -lr, out=b)
    b /= a
    p += b


class Adagrad(Optimizer):
    """Gradient descent with each gradient divided by the root of the sum of all its squares so far.

    lr_decay divides the rate by 1 + lr_decay (step - 1); initial_accumulator_value is where the sums start. maximize
    ascends. foreach, differentiable and fused choose among PyTorch's implementations and change nothing here.

    Source: Duchi, Hazan and Singer 2011, "Adaptive subgradient methods". ValueError: an option out of range.
    """

    _shaped_as_parameter = ("sum",)

    def __init__(self, params: Iterable[Any], lr: float = 1e-2, lr_decay: float = 0, weight_decay: float = 0,
                 initial_accumulator_value: float = 0, eps: float = 1e-10, foreach: bool | None = None, *,
                 maximize: bool = False, differentiable: bool = False, fused: bool | None = None) -> None:  # fmt: skip
        options = {"lr": lr, "lr_decay": lr_decay, "eps": eps, "weight_decay": weight_decay, "maximize": maximize}
        super().__init__(params, {**options, "initial_accumulator_value": initial_accumulator_value})

    def _check(self, group: Group) -> None:
        check_not_negative(group, lr="learning rate", lr_decay="lr_decay value", weight_decay="weight_decay value")
        check_not_negative(group, initial_accumulator_value="initial_accumulator_value value", eps="epsilon value")

    def _update(self, p: Any, g: Any, state: dict[str, Any], group: Group) -> None:
        if not state:
            state.update(zeros_state(p, "sum"))
            state["sum"]._array.fill(group["initial_accumulator_value"])
        lr = float(group["lr"]) / (1 + (count_step(state) - 1) * group["lr_decay"])
        for piece in blocks(p, g, state["sum"]._array):
            adagrad_update(*piece, lr=lr, weight_decay=group["weight_decay"], eps=group["eps"])
