"""Adam and AdamW."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ..backend.device import array_module, of_array
from ..kernels import fused_update
from ..tensor import Tensor
from .optimizer import Group, Optimizer, blocks, check_not_negative, count_step, joined, write_parts, zeros_state


def adam_update(p: Any, g: Any, m: Any, v: Any, v_max: Any, *, step: int, lr: float, betas: tuple[float, float],
                eps: float, weight_decay: float, decoupled: bool) -> None:  # fmt: skip
    """One step of Adam on arrays of one shape, in place.

    m, v (..., like p): running means of g and g^2; v_max: the largest v so far (AMSGrad), or None.
        m = m + (1 - beta1) (g - m)          v = beta2 v + (1 - beta2) g^2
        p = p - lr m / (1 - beta1^step) / (sqrt(v / (1 - beta2^step)) + eps)
    """
    xp = array_module(of_array(p))
    beta1, beta2 = betas
    a, b = xp.empty_like(p), xp.empty_like(p)  # the results on the way, so that no other memory is touched
    if weight_decay:
        if decoupled:
            p *= 1 - lr * weight_decay
        else:
            g = xp.add(g, xp.multiply(p, weight_decay, out=b), out=b)

    xp.subtract(g, m, out=a)
    a *= 1 - beta1
    m += a

    xp.multiply(g, g, out=a)
    a *= 1 - beta2
    v *= beta2
    v += a

    if v_max is not None:
        v = xp.maximum(v_max, v, out=v_max)
    xp.sqrt(v, out=a)
    a /= (1 - beta2**step) ** 0.5
    a += eps
    xp.multiply(m, -lr / (1 - beta1**step), out=b)
    b /= a
    p += b


class Adam(Optimizer):
    """Adam: steps of size lr along the mean gradient, divided by the root mean square of the gradient.

    weight_decay adds an L2 penalty to the gradient (`AdamW` decouples it). amsgrad divides by the largest mean square
    so far. maximize ascends. foreach, capturable and fused choose among PyTorch's implementations and change nothing
    here.

    Source: Kingma and Ba 2015, arXiv:1412.6980; AMSGrad: Reddi et al. 2018, arXiv:1904.09237.
    ValueError: an option out of range.
    """

    _decoupled = False
    _shaped_as_parameter = ("exp_avg", "exp_avg_sq", "max_exp_avg_sq")

    def __init__(self, params: Iterable[Any], lr: float = 1e-3, betas: tuple[float, float] = (0.9, 0.999),
                 eps: float = 1e-8, weight_decay: float = 0, amsgrad: bool = False, *, foreach: bool | None = None,
                 maximize: bool = False, capturable: bool = False, fused: bool | None = None) -> None:  # fmt: skip
        options = {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay, "amsgrad": amsgrad}
        super().__init__(params, {**options, "maximize": maximize})

    def _check(self, group: Group) -> None:
        check_not_negative(group, lr="learning rate", eps="epsilon value", weight_decay="weight_decay value")
        for i in (0, 1):
            if not 0 <= group["betas"][i] < 1:
                raise ValueError(f"Invalid beta parameter at index {i}: {group['betas'][i]}")

    def _update_group(self, members: list[tuple[Tensor, Any]], group: Group) -> None:
        if not members:
            return
        names = self._shaped_as_parameter[: 3 if group["amsgrad"] else 2]
        states = [self.state[p] for p, _ in members]
        for (p, _), state in zip(members, states, strict=True):
            if not state:
                state.update(zeros_state(p._array, *names))
        steps = [count_step(state) for state in states]
        arrays = [[p._array for p, _ in members], [g for _, g in members]]
        arrays += [[state[name]._array for state in states] for name in names]
        options = {
            "lr": float(group["lr"]), "betas": group["betas"], "eps": group["eps"],
            "weight_decay": group["weight_decay"], "decoupled": self._decoupled,
        }  # fmt: skip
        fused = None if group["amsgrad"] else fused_update(*arrays)
        if fused is not None:
            fused.adam(*arrays, steps, **options)
            return
        one = joined(*arrays) if len(set(steps)) == 1 else None
        for step, *own in zip(steps, *arrays, strict=True) if one is None else [(steps[0], *one)]:
            for piece in blocks(*own):
                adam_update(*piece, *() if group["amsgrad"] else (None,), step=step, **options)
        if one is not None:
            for i in (0, *range(2, len(arrays))):  # all but the gradients
                write_parts(one[i], arrays[i])


class AdamW(Adam):
    """Adam with decoupled weight decay: the parameter shrinks by lr * weight_decay, whatever its gradient.

    Source: Loshchilov and Hutter 2019, arXiv:1711.05101. Options as in `Adam`.
    """

    _decoupled = True

    def __init__(self, params: Iterable[Any], lr: float = 1e-3, betas: tuple[float, float] = (0.9, 0.999),
                 eps: float = 1e-8, weight_decay: float = 1e-2, amsgrad: bool = False, *, foreach: bool | None = None,
                 maximize: bool = False, capturable: bool = False, fused: bool | None = None) -> None:  # fmt: skip
        super().__init__(params, lr, betas, eps, weight_decay, amsgrad, maximize=maximize)
