"""Several optimizers that train a model together, each its own parameters, used as one."""

from __future__ import annotations

from typing import Any

from tinygrad_edu.optim import Optimizer


class Together:
    """`Together(muon, adamw)`: steps, groups and state of these optimizers as if they were one.

    state_dict has the layout of one optimizer's: the parameters are numbered through all of them.
    """

    def __init__(self, *optimizers: Optimizer) -> None:
        self.optimizers = optimizers

    @property
    def param_groups(self) -> list[dict[str, Any]]:
        """The groups of all; options changed in them hold for the next step."""
        return [group for optimizer in self.optimizers for group in optimizer.param_groups]

    def step(self) -> None:
        """Update every parameter that has a gradient."""
        for optimizer in self.optimizers:
            optimizer.step()

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Drop the gradients of all parameters, or with set_to_none=False fill them with zeros."""
        for optimizer in self.optimizers:
            optimizer.zero_grad(set_to_none)

    def state_dict(self) -> dict[str, Any]:
        """`{"state": {number: {...}}, "param_groups": [...]}`; tensors are not copied."""
        state: dict[int, Any] = {}
        groups: list[dict[str, Any]] = []
        for optimizer in self.optimizers:
            before, part = sum(len(group["params"]) for group in groups), optimizer.state_dict()
            state |= {before + number: entries for number, entries in part["state"].items()}
            groups += [{**g, "params": [before + number for number in g["params"]]} for g in part["param_groups"]]
        return {"state": state, "param_groups": groups}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from what `state_dict` returned. ValueError: other groups, or state of another shape."""
        groups = list(state_dict["param_groups"])
        if len(groups) != len(self.param_groups):
            raise ValueError(
                f"loaded state dict has a different number of parameter groups: {len(groups)}, these optimizers have "
                f"{len(self.param_groups)}"
            )
        for optimizer in self.optimizers:
            own = [groups.pop(0) for _ in optimizer.param_groups]
            optimizer.load_state_dict({"state": state_dict["state"], "param_groups": own})
