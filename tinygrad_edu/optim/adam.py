"""Adam and AdamW."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from ..backend import capture
from ..backend.device import array_module, of_array
from ..kernels import fused_update
from .optimizer import (
    Group,
    Members,
    Optimizer,
    blocks,
    check_not_negative,
    count_step,
    joined,
    write_parts,
    zeros_state,
)


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


def _next_steps(states: Sequence[dict[str, Any]]) -> list[int]:
    return [int(state["step"]._array) + 1 for state in states]


class Adam(Optimizer):
    """Adam: steps of size lr along the mean gradient, divided by the root mean square of the gradient.

    weight_decay adds an L2 penalty to the gradient (`AdamW` decouples it). amsgrad divides by the largest mean square
    so far. maximize ascends. foreach, capturable and fused choose among PyTorch's implementations and change nothing
    here.

    Source: Kingma and Ba 2015, arXiv:1412.6980; AMSGrad: Reddi et al. 2018, arXiv:1904.09237.
    ValueError: an option out of range.
    """

    _decoupled = False
    _can_be_captured = True
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

    def _update_groups(self, groups: Sequence[tuple[Members, Group]]) -> None:
        """On a GPU the groups together where a kernel takes them, else one after another."""
        members = [member for some, _ in groups for member in some]
        if not members:
            return
        if members[0][0].is_cuda and not any(group["amsgrad"] for _, group in groups):
            names = self._shaped_as_parameter[:2]
            states = self._states(members, names)
            arrays = self._arrays(members, states, names)
            fused = fused_update(*arrays)
            if fused is not None:
                of = [i for i, (some, _) in enumerate(groups) for _ in some]
                self._update_fused(fused, members, states, arrays, of)
                return
        capture.refuse("the readable Adam computes on the CPU what its launches are given; use float32 without amsgrad")
        super()._update_groups(groups)

    def _update_fused(
        self, fused: Any, members: Members, states: list[dict[str, Any]], arrays: list[list[Any]], of: list[int]
    ) -> None:
        """All of these by a module of kernels, each with the options of the group of which `of` is the number."""
        groups, recorder = self.param_groups, capture.current()
        if recorder is None:
            steps = [count_step(state) for state in states]
            fused.adam_of_groups(*arrays, steps, of, [self._options(group) for group in groups])
            return
        # Steps are counted by the replays, each of which writes down the numbers of its own.
        noted = fused.adam_of_groups(*arrays, _next_steps(states), of, [self._options(group) for group in groups])
        for p, _ in members:
            recorder.using(p.grad._array)  # type: ignore[union-attr]
        moments = list(zip(states, *arrays[2:], strict=True))
        modes = [(group, group["maximize"]) for group in groups]

        def holds() -> bool:
            return (
                self.param_groups is groups and len(groups) == len(modes)
                and all(self.state.get(p) is state for (p, _), state in zip(members, states, strict=True))
                and all(state["exp_avg"]._array is m and state["exp_avg_sq"]._array is v for state, m, v in moments)
                and all(group["maximize"] == mode and not group["amsgrad"] for group, mode in modes)
                and noted.serves(_next_steps(states))
            )  # fmt: skip

        def prepare() -> None:
            steps = [count_step(state) for state in states]
            noted.write(steps, [self._options(group) for group in groups])

        recorder.checks.append(holds)
        recorder.preparations.append(prepare)

    def _states(self, members: Members, names: Sequence[str]) -> list[dict[str, Any]]:
        """The state of each parameter, zeros at first."""
        states = [self.state[p] for p, _ in members]
        for (p, _), state in zip(members, states, strict=True):
            if not state:
                capture.refuse("a parameter has its first gradient, and its moments would be zero again at each replay")
                state.update(zeros_state(p._array, *names))
        return states

    @staticmethod
    def _arrays(members: Members, states: list[dict[str, Any]], names: Sequence[str]) -> list[list[Any]]:
        """The parameters, their gradients, and what the states have under each name."""
        arrays = [[p._array for p, _ in members], [g for _, g in members]]
        return arrays + [[state[name]._array for state in states] for name in names]

    def _options(self, group: Group) -> dict[str, Any]:
        """What `adam_update` takes besides arrays and the step."""
        return {
            "lr": float(group["lr"]), "betas": group["betas"], "eps": group["eps"],
            "weight_decay": group["weight_decay"], "decoupled": self._decoupled,
        }  # fmt: skip

    def _update_group(self, members: Members, group: Group) -> None:
        if not members:
            return
        names = self._shaped_as_parameter[: 3 if group["amsgrad"] else 2]
        states = self._states(members, names)
        steps = [count_step(state) for state in states]
        arrays, options = self._arrays(members, states, names), self._options(group)
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
