"""RMSprop."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ..backend.device import array_module, of_array
from .optimizer import Group, Optimizer, blocks, check_not_negative, count_step, zeros_state


def rmsprop_update(p: Any, g: Any, v: Any, mean: Any, buf: Any, *, lr: float, alpha: float, eps: float,
                   weight_decay: float, momentum: float) -> None:  # fmt: skip
    """One step of RMSprop on arrays of one shape, in place.

    v: running mean of g^2; mean: that of g, to subtract its square from v (centered), or None; buf: momentum, or None.
    v = alpha v + (1 - alpha) g^2;   p = p - lr g / (sqrt(v) + eps)
    """
    xp = array_module(of_array(p))
    a, b = xp.empty_like(p), xp.empty_like(p)
    if weight_decay:
        g = xp.add(g, xp.multiply(p, weight_decay, out=b), out=b)

    xp.multiply(g, g, out=a)
    a *= 1 - alpha
    v *= alpha
    v += a

    if mean is not None:
        xp.subtract(g, mean, out=a)
        a *= 1 - alpha
        mean += a
        v = xp.subtract(v, xp.multiply(mean, mean, out=a), out=a)
    xp.sqrt(v, out=a)
    a += eps
    if buf is None:
        xp.multiply(g, -lr, out=b)
        b /= a
        p += b
    else:
        buf *= momentum
        buf += xp.divide(g, a, out=a)
        p += xp.multiply(buf, -lr, out=a)


class RMSprop(Optimizer):
    """Gradient descent with each gradient divided by its running root mean square.

    centered divides by the standard deviation instead; momentum averages the divided gradients. maximize ascends.
    foreach and capturable choose among PyTorch's implementations and change nothing here.

    Source: Tieleman and Hinton 2012, lecture 6.5; centered: Graves 2013, arXiv:1308.0850.
    ValueError: an option out of range.
    """

    _shaped_as_parameter = ("square_avg", "grad_avg", "momentum_buffer")

    def __init__(self, params: Iterable[Any], lr: float = 1e-2, alpha: float = 0.99, eps: float = 1e-8,
                 weight_decay: float = 0, momentum: float = 0, centered: bool = False, capturable: bool = False,
                 foreach: bool | None = None, maximize: bool = False) -> None:  # fmt: skip
        options = {"lr": lr, "alpha": alpha, "eps": eps, "weight_decay": weight_decay, "momentum": momentum}
        super().__init__(params, {**options, "centered": centered, "maximize": maximize})

    def _check(self, group: Group) -> None:
        check_not_negative(group, lr="learning rate", eps="epsilon value", alpha="alpha value")
        check_not_negative(group, momentum="momentum value", weight_decay="weight_decay value")

    def _update(self, p: Any, g: Any, state: dict[str, Any], group: Group) -> None:
        used = {"square_avg": True, "grad_avg": group["centered"], "momentum_buffer": group["momentum"] > 0}
        names = [name for name in self._shaped_as_parameter if used[name]]
        if not state:
            state.update(zeros_state(p, *names))
        count_step(state)
        options = {name: group[name] for name in ("alpha", "eps", "weight_decay", "momentum")}
        for block_p, block_g, *rest in blocks(p, g, *(state[name]._array for name in names)):
            averages = dict(zip(names, rest, strict=True))
            rmsprop_update(
                block_p, block_g, averages["square_avg"], averages.get("grad_avg"), averages.get("momentum_buffer"),
                lr=float(group["lr"]), **options,
            )  # fmt: skip
