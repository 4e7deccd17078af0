"""Stochastic gradient descent."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ..backend.device import array_module, of_array
from ..tensor import made
from .optimizer import Group, Optimizer, blocks, check_not_negative


def sgd_update(p: Any, g: Any, buf: Any = None, *, lr: float, momentum: float = 0, dampening: float = 0,
               weight_decay: float = 0, nesterov: bool = False) -> None:  # fmt: skip
    """One step of gradient descent on arrays of one shape, in place; buf is the running sum of gradients, or None.

    g = g + weight_decay p;   buf = momentum buf + (1 - dampening) g;   p = p - lr buf
    """
    if weight_decay:
        g = g + weight_decay * p
    if buf is not None:
        buf *= momentum
        buf += (1 - dampening) * g
        g = g + momentum * buf if nesterov else buf
    p -= lr * g


class SGD(Optimizer):
    """Gradient descent, with optional momentum.

    As in PyTorch the first step starts the momentum buffer from the gradient itself, undampened. nesterov looks ahead
    along the momentum. maximize ascends. foreach and fused choose among PyTorch's implementations and change nothing
    here.

    Source: Sutskever et al. 2013, "On the importance of initialization and momentum in deep learning".
    ValueError: an option out of range.
    """

    _shaped_as_parameter = ("momentum_buffer",)

    def __init__(self, params: Iterable[Any], lr: float = 1e-3, momentum: float = 0, dampening: float = 0,
                 weight_decay: float = 0, nesterov: bool = False, *, maximize: bool = False,
                 foreach: bool | None = None, fused: bool | None = None) -> None:  # fmt: skip
        options = {"lr": lr, "momentum": momentum, "dampening": dampening, "weight_decay": weight_decay}
        super().__init__(params, {**options, "nesterov": nesterov, "maximize": maximize})

    def _check(self, group: Group) -> None:
        check_not_negative(group, lr="learning rate", momentum="momentum value", weight_decay="weight_decay value")
        if group["nesterov"] and (group["momentum"] == 0 or group["dampening"] != 0):
            raise ValueError("Nesterov momentum requires a momentum and zero dampening")

    def _update(self, p: Any, g: Any, state: dict[str, Any], group: Group) -> None:
        arrays, momentum, dampening = [p, g], group["momentum"], group["dampening"]
        if momentum:
            if state.get("momentum_buffer") is None:
                state["momentum_buffer"] = made(array_module(of_array(p)).zeros(p.shape, dtype=p.dtype))
                dampening = 0
            arrays.append(state["momentum_buffer"]._array)
        for piece in blocks(*arrays):
            sgd_update(
                *piece, lr=float(group["lr"]), momentum=momentum, dampening=dampening,
                weight_decay=group["weight_decay"], nesterov=group["nesterov"],
            )  # fmt: skip
