"""What every optimizer shares: groups of parameters, their state, and the walk over both."""

from __future__ import annotations

import copy
import warnings
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain
from typing import Any

import numpy as np

from ..autograd.exhausted import allocates, out_of_memory
from ..autograd.modes import enable_grad, no_grad
from ..autograd.unfinished import finish, waiting
from ..backend import capture, gpu, transfers
from ..backend.device import array_module, module_of, of_array, quiet
from ..tensor import Tensor, made

Group = dict[str, Any]
Members = list[tuple[Tensor, Any]]
# Elements per block of an update: the six arrays that Adam touches then stay in the second-level cache (64 KiB each).
BLOCK = 16384


class Optimizer:
    """Base class of the optimizers.

    params: tensors, `(name, tensor)` pairs as `named_parameters()` gives, or dicts of options with such a list under
    "params". `defaults` holds the options that a group does not set.

    A subclass defines `_update(p, g, state, group)` on arrays, or a `step` of its own as in PyTorch. In memory the
    state belongs to the parameter objects; `state_dict` numbers the parameters in order, so that it fits another
    process.

    TypeError, ValueError: not tensors, no tensors, not leaves, the same one in two groups, an option out of range.
    """

    # The names of the state's tensors that have the shape of their parameter.
    _shaped_as_parameter: tuple[str, ...] = ()
    _can_be_captured = False  # whether a replay of a graph does what a step does

    def __init__(self, params: Iterable[Any], defaults: dict[str, Any]) -> None:
        if isinstance(params, Tensor):
            raise TypeError(
                "params argument given to the optimizer should be an iterable of Tensors or dicts, but got a Tensor; "
                "write [tensor]"
            )
        if callable(getattr(params, "parameters", None)):
            raise TypeError(
                f"params argument given to the optimizer should be an iterable of Tensors or dicts, but got the module "
                f"{type(params).__name__}; write model.parameters()"
            )
        self.defaults = defaults
        self.state: defaultdict[Any, dict[str, Any]] = defaultdict(dict)
        self.param_groups: list[Group] = []
        self._stepped = False  # a schedule warns if it moves before the optimizer does
        given = list(params)
        if not given:
            raise ValueError(
                "optimizer got an empty parameter list; was the iterator model.parameters() used up already?"
            )
        for group in given if isinstance(given[0], dict) else [{"params": given}]:
            self.add_param_group(group)

    def add_param_group(self, param_group: Group) -> None:
        """Add a group: a dict of "params" and of the options that differ from the defaults."""
        if not isinstance(param_group, dict):
            raise TypeError(f"param_group must be a dict, but got {type(param_group)}")
        params = param_group["params"]
        if isinstance(params, set):
            raise TypeError(
                "optimizer parameters need to be organized in ordered collections, but the ordering of tensors in "
                "sets will change between runs; use a list instead"
            )
        params = [params] if isinstance(params, Tensor) else list(params)
        group = {**param_group, "params": params}
        names = [p[0] for p in params if isinstance(p, tuple)]
        if names:
            if len(names) != len(params):
                raise ValueError("all optimizer params should be with/without names; some param names are missing")
            group["param_names"] = names
            group["params"] = params = [p for _, p in params]
        for p in params:
            if not isinstance(p, Tensor):
                raise TypeError(f"optimizer can only optimize Tensors, but one of the params is {type(p).__name__}")
            if not p.is_leaf:
                raise ValueError("can't optimize a non-leaf Tensor; pass the leaf it comes from, or detach() it")
        for name, default in self.defaults.items():
            group.setdefault(name, default)
        self._check(group)

        if len(set(params)) != len(params):
            warnings.warn("optimizer contains a parameter group with duplicate parameters", stacklevel=3)
        for other in self.param_groups:
            if ("param_names" in group) != ("param_names" in other):
                raise ValueError("all optimizer param groups should be with/without names")
            if not set(params).isdisjoint(other["params"]):
                raise ValueError("some parameters appear in more than one parameter group")
        self.param_groups.append(group)

    def _check(self, group: Group) -> None:
        """ValueError: an option of the group is out of range."""

    def _update(self, p: Any, g: Any, state: dict[str, Any], group: Group) -> None:
        """Change the array `p` in place by its gradient `g`; `state` is this parameter's dict, empty at first."""
        raise NotImplementedError(f"{type(self).__name__} must define _update or step")

    @no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Update every parameter that has a gradient. Returns the loss if a closure computes it.

        RuntimeError: a gradient of another shape, dtype or device than its parameter, or state on another device;
        nothing is updated then.
        OutOfMemoryError: there is no memory for its state, or for what it computes; some parameters may be updated.
        """
        loss = None
        if closure is not None:
            with enable_grad():
                loss = closure()
        if capture.under_way and (recorder := capture.recorder()) is not None:
            if not self._can_be_captured:
                recorder.refuse(f"{type(self).__name__} computes on the CPU what launches are given; use AdamW or Adam")
            recorder.stepping(self)
        ready = [
            ([(p, self._gradient(p, i, group)) for i, p in enumerate(group["params"]) if p.grad is not None], group)
            for group in self.param_groups
        ]
        if gpu.array_types:
            self._check_state()
        if waiting:
            finish()
        try:
            with quiet:
                for together in _by_device(ready):
                    self._update_groups(
                        [([(p, -g) for p, g in members] if group.get("maximize") else members, group)
                         for members, group in together]
                    )  # fmt: skip
        except MemoryError as error:
            raise out_of_memory(f"{type(self).__name__}.step", error) from error
        finally:  # also where an error ended it half way
            for p, _ in chain.from_iterable(members for members, _ in ready):
                p._changed()
        self._stepped = True
        return loss

    def _update_groups(self, groups: Sequence[tuple[Members, Group]]) -> None:
        """Change the parameters on one device of all groups, each given with the array of its gradient."""
        for members, group in groups:
            self._update_group(members, group)

    def _update_group(self, members: Members, group: Group) -> None:
        """The same for one group."""
        for p, g in members:
            self._update(p._array, g, self.state[p], group)

    def _gradient(self, p: Tensor, i: int, group: Group) -> Any:
        g = p.grad._array  # type: ignore[union-attr]
        if g.shape != p._array.shape or g.dtype != p._array.dtype or _moved(g, p._array):
            raise RuntimeError(
                f"{type(self).__name__}: parameter {_name(i, group)} has shape {tuple(p.shape)} and dtype {p.dtype}, "
                f"on {p.device}, but its gradient has shape {tuple(g.shape)} and dtype {g.dtype}, on {of_array(g)}; "
                "call zero_grad() and backward() again"
            )
        return g

    def _check_state(self) -> None:
        """RuntimeError: a parameter was moved to another device, and its state was not."""
        for group in self.param_groups:
            for i, p in enumerate(group["params"]):
                state = self.state.get(p, {})
                for kept in map(state.get, self._shaped_as_parameter):
                    if isinstance(kept, Tensor) and p.grad is not None and _moved(kept._array, p._array):
                        raise RuntimeError(
                            f"{type(self).__name__}: the state of parameter {_name(i, group)} is on {kept.device}, but "
                            f"the parameter was moved to {p.device}; make the optimizer after moving the model, or "
                            "move its state too: optimizer.load_state_dict(optimizer.state_dict())"
                        )

    @allocates
    def zero_grad(self, set_to_none: bool = True) -> None:
        """Drop the gradients of all parameters, or with set_to_none=False fill them with zeros."""
        for p in chain.from_iterable(group["params"] for group in self.param_groups):
            if set_to_none:
                p.grad = None
            elif p.grad is not None:
                p.grad = made(p._xp.zeros_like(p.grad._array))

    def state_dict(self) -> dict[str, Any]:
        """`{"state": {number: {...}}, "param_groups": [...]}`, parameters numbered in order; tensors are not copied."""
        number: dict[Tensor, int] = {}
        for p in chain.from_iterable(group["params"] for group in self.param_groups):
            number.setdefault(p, len(number))
        groups = [{**group, "params": [number[p] for p in group["params"]]} for group in self.param_groups]
        return {"state": {number[p]: dict(entries) for p, entries in self.state.items()}, "param_groups": groups}

    @allocates
    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from what `state_dict` returned. Tensors are copied, in the dtype of their parameter.

        ValueError: other groups, or state of another shape, than this optimizer's; nothing is changed then.
        """
        if not isinstance(state_dict, dict) or not {"state", "param_groups"} <= state_dict.keys():
            raise ValueError("load_state_dict: expected a dict with 'state' and 'param_groups', as state_dict() gives")
        saved = state_dict["param_groups"]
        if len(saved) != len(self.param_groups):
            raise ValueError(
                f"loaded state dict has a different number of parameter groups: {len(saved)}, this optimizer has "
                f"{len(self.param_groups)}"
            )
        parameter: dict[Any, Tensor] = {}
        groups = []
        for i, (old, new) in enumerate(zip(self.param_groups, saved, strict=True)):
            if len(old["params"]) != len(new["params"]):
                raise ValueError(
                    "loaded state dict contains a parameter group that doesn't match the size of optimizer's group: "
                    f"group {i} has {len(new['params'])} parameters, here it has {len(old['params'])}"
                )
            parameter.update(zip(new["params"], old["params"], strict=True))
            options = {name: copy.deepcopy(value) for name, value in new.items() if name != "params"}
            names = {"param_names": old["param_names"]} if "param_names" in old else {}
            groups.append({**self.defaults, **names, **options, "params": old["params"]})
        state: defaultdict[Any, dict[str, Any]] = defaultdict(dict)
        for index, p in parameter.items():
            if index in state_dict["state"]:
                entries = state_dict["state"][index]
                state[p] = {name: self._loaded(index, name, value, p) for name, value in entries.items()}
        self.state, self.param_groups = state, groups

    def _loaded(self, index: Any, name: str, value: Any, p: Tensor) -> Any:
        """A value of the state as this optimizer keeps it: tensors in memory of their own."""
        if name == "step":
            return made(np.array(float(value), dtype="float32"))
        if not isinstance(value, Tensor):
            return copy.deepcopy(value)
        if name in self._shaped_as_parameter and value.shape != p.shape:
            raise ValueError(
                f"load_state_dict: {name} of parameter {index} has shape {tuple(value.shape)}, but the parameter has "
                f"shape {tuple(p.shape)}; was the state saved for another model?"
            )
        array = transfers.to_device(value._array, p.device)
        return made(p._xp.array(array, dtype=p._array.dtype, order="C"))

    def __repr__(self) -> str:
        lines = [f"{type(self).__name__} ("]
        for i, group in enumerate(self.param_groups):
            lines.append(f"Parameter Group {i}")
            lines += [f"    {name}: {group[name]}" for name in sorted(group) if name != "params"]
        return "\n".join(lines) + "\n)"


def _name(i: int, group: Group) -> str:
    """What to call parameter i of a group."""
    return group["param_names"][i] if "param_names" in group else f"number {i} of its group"


def _moved(a: Any, b: Any) -> bool:
    """Whether two arrays are on different devices."""
    return type(a) is not type(b) or (gpu.several and of_array(a) != of_array(b))


def _by_device(groups: list[tuple[Members, Group]]) -> Iterator[list[tuple[Members, Group]]]:
    """The parameters of one device after those of another, while arrays are computed on it."""
    if not gpu.several:
        yield groups
        return
    for device in dict.fromkeys(p.device for members, _ in groups for p, _ in members):
        array_module(device)
        yield [([(p, g) for p, g in members if p.device == device], group) for members, group in groups]


def zeros_state(p: Any, *names: str) -> dict[str, Any]:
    """The state of a parameter before its first update: a step count and zeros in its shape under each name."""
    xp = module_of(p)
    state = {"step": made(np.zeros((), dtype="float32"))}  # on the CPU, where it is read
    return state | {name: made(xp.zeros(p.shape, dtype=p.dtype)) for name in names}


def count_step(state: dict[str, Any]) -> int:
    """One more step; returns how many there are now."""
    array = state["step"]._array
    array[...] = int(array) + 1
    return int(array)


def joined(*lists: Sequence[Any]) -> list[Any] | None:
    """The elements of all arrays of each list, in one array; None unless there are several and they fit into a block.

    An update of many small arrays costs calls, not arithmetic: of all together it costs as many as of one.
    """
    first = lists[0]
    if len(first) < 2 or sum([a.size for a in first]) > BLOCK or len({a.dtype for a in first}) > 1:
        return None
    xp = module_of(first[0])
    return [xp.concatenate(arrays, axis=None) for arrays in lists]


def write_parts(one: Any, arrays: Sequence[Any]) -> None:
    """Write what `joined` has put into one array back into the arrays."""
    start = 0
    for a in arrays:
        a[...] = one[start : start + a.size].reshape(a.shape)
        start += a.size


def blocks(*arrays: Any) -> Iterator[Any]:
    """The same elements of each array, one block after another, as views.

    All operations of an update find their block in the cache; over whole large arrays each would go to main memory,
    which takes about three times as long.
    """
    n = arrays[0].size
    if n <= BLOCK or not all(a.flags.c_contiguous for a in arrays):
        yield arrays
        return
    flat = [a.reshape(-1) for a in arrays]
    for start in range(0, n, BLOCK):
        yield [a[start : start + BLOCK] for a in flat]


def check_not_negative(group: Group, **meaning: str) -> None:
    """ValueError: one of these options is negative or NaN."""
    for name, what in meaning.items():
        if not group[name] >= 0:
            raise ValueError(f"Invalid {what}: {group[name]}")
