"""What is going on while a GPU's work is captured into a graph, or the step before is watched to that end.

A graph repeats launches with the arguments that they had. What a step decides or computes on the CPU is not done again,
so those who do such things ask here: they `refuse`, or leave with the recorder what each replay has to do before.
See docs/decisions/0017.
"""

from __future__ import annotations

import contextlib
import copy
import threading
from collections.abc import Callable, Iterator
from operator import is_
from typing import Any, NamedTuple

from . import gpu

# Why, in words that several need.
COPIES = "it copies values from the CPU to the GPU, which would stay what they are now; pass them as arguments"
IN_PLACE = "it changes a Tensor of the CPU in place, which a replay would not do; move it to the GPU"
ARGUMENT = "it changes an argument in place, and a graph has a copy of that; change a clone(), or what is no argument"
# Of a module, where its parts are kept.
_REGISTRIES = ("_parameters", "_buffers", "_modules", "_forward_pre_hooks", "_forward_hooks", "_backward_hooks")


class CannotCapture(Exception):
    """A graph would do something else than the step. The message goes on after "it cannot be captured: "."""


class Known(NamedTuple):
    """What a step is known to change or to run, by id."""

    leaves: dict[int, Any]  # tensors that receive gradients
    optimizers: dict[int, Any]
    modules: dict[int, Any]  # with those within them


NOTHING = Known({}, {}, {})


class Recorder:
    """What a step does that its graph depends on.

    capturing: False while a step runs as it is, and is only watched: nothing is refused then, but noted. known: from
    such a run, or from another capture.
    """

    def __init__(self, capturing: bool, known: Known = NOTHING) -> None:
        self.capturing = capturing
        self.refused: str | None = None  # why, also if the step has caught the exception
        self.leaves, self.optimizers, self.modules = map(dict, known)
        # The gradients and the memory of the leaves as they were before the step.
        self.gradients = {key: p._grad for key, p in self.leaves.items()}
        self._arrays = {key: p._array for key, p in self.leaves.items()}
        self._options = {key: _options(optimizer) for key, optimizer in self.optimizers.items()}
        self.read: set[int] = set()  # ids of those arrays among them that were used
        self._modules = [_Kept(module) for module in self.modules.values()]  # as they were before the step
        self._running: dict[int, Any] = {}  # those that run, with those within them, by id
        self.arguments: set[int] = set()  # ids of what counts the changes of copies that replace the caller's Tensors
        self.changed: dict[int, Any] = {}  # what counts the changes of memory that was changed in place, by id
        self.checks: list[Callable[[], bool]] = []  # whether a replay would do what the step does
        self.preparations: list[Callable[[], None]] = []  # what a replay does before
        self.chunks: list[Any] = []  # the memory of the graph
        self._used: dict[int, Any] = {}  # other memory, which must not be given to anybody else

    def owns(self, array: Any) -> bool:
        """Whether an array is in the memory of the graph."""
        return any(chunk.ptr <= array.data.ptr < chunk.ptr + chunk.mem.size for chunk in self.chunks)

    # ---- what it is told -------------------------------------------------------------------------------------------

    def arriving(self, leaf: Any) -> None:
        """A gradient is about to be added to this tensor's."""
        if type(leaf._array) not in gpu.array_types:
            self.refuse("it trains a Tensor on the CPU; move the model to the GPU")
        elif not (self.capturing and self.owns(leaf._array)):
            self.watch(leaf)

    def watch(self, leaf: Any) -> None:
        """The step depends on this tensor's gradient."""
        if id(leaf) not in self.leaves:
            self.leaves[id(leaf)], self.gradients[id(leaf)], self._arrays[id(leaf)] = leaf, leaf._grad, leaf._array

    def stepping(self, optimizer: Any) -> None:
        """This optimizer is about to take a step."""
        options = self._options.setdefault(id(optimizer), _options(optimizer))
        self.optimizers[id(optimizer)] = optimizer
        for group in optimizer.param_groups:
            for p in group["params"]:
                self.watch(p)
        if options != _options(optimizer):
            self.refuse("it changes an option of its optimizer, as lr, which a replay would not; do so between calls")

    def running(self, module: Any) -> None:
        """This module is about to run."""
        if id(module) not in self._running:
            parts = {id(part): part for part in module.modules()}
            self._running.update(parts)
            self.modules.update(parts)

    def changing(self, tensor: Any) -> None:
        """This tensor was changed in place."""
        if id(tensor._memory) in self.arguments:
            self.refuse(ARGUMENT)
        self.changed[id(tensor._memory)] = tensor._memory

    def using(self, array: Any) -> None:
        """An array is read by what is captured."""
        self.read.add(id(array))
        if not self.owns(array):
            self._used[id(array.data.mem)] = array.data.mem

    def refuse(self, why: str) -> None:
        """CannotCapture, unless the step is only watched."""
        if self.capturing or why is not COPIES:  # what is watched copies its arguments, which lie in the graph then
            self.refused = self.refused or why
        if self.capturing:
            raise CannotCapture(why)

    # ---- what it knows ---------------------------------------------------------------------------------------------

    @property
    def known(self) -> Known:
        return Known(self.leaves, self.optimizers, self.modules)

    def finish(self) -> None:
        """The step is done: hold on to what a replay needs to find as it was. CannotCapture: it left other memory."""
        needed = []
        for key, leaf in self.leaves.items():
            before = self.gradients[key]
            if leaf._array is not self._arrays[key]:
                self.refuse("it gives a parameter other memory (.data = ...), which a replay would not; use copy_")
            # A gradient that was there and that the step has dropped unread may be another one at a replay.
            if before is None or leaf._grad is before or id(before._array) in self.read:
                needed.append((leaf, before))
        for module in self._modules:
            if not module.has_its_parts():
                name = type(module.module).__name__
                self.refuse(f"it replaces or freezes a parameter, buffer, module or hook of {name}; change it in place")
        kept = [(leaf, self._arrays[key], leaf.requires_grad) for key, leaf in self.leaves.items()]
        self.gradients.clear()
        self.checks.append(lambda: all(leaf._grad is before for leaf, before in needed))
        self.checks.append(lambda: all(leaf._array is a and leaf.requires_grad == grad for leaf, a, grad in kept))
        known = {id(module.module): module for module in self._modules}
        for module in self._modules:
            module.finish()
        self._modules = [known.get(key) or _Kept(module) for key, module in self._running.items()]
        self.checks.append(lambda: all(module.holds() for module in self._modules))

    def restore(self) -> None:
        """Give tensors, optimizers and modules the memory, the gradients and the options that they had before."""
        for key, leaf in self.leaves.items():
            leaf._grad, leaf._array = self.gradients[key], self._arrays[key]
        for key, optimizer in self.optimizers.items():
            for group, options in zip(optimizer.param_groups, self._options[key], strict=True):
                group.update(options)
        for module in self._modules:
            module.restore()


class _Kept:
    """What a module computes with: its attributes, and what is registered in it."""

    def __init__(self, module: Any) -> None:
        self.module = module
        self._attributes = dict(vars(module))
        self._registries = [(vars(module)[name], copy.copy(vars(module)[name])) for name in _REGISTRIES]
        tensors = [t for _, kept in self._registries[:2] for t in kept.values() if t is not None]
        self._tensors = [(t, t._array, t._requires_grad) for t in tensors]

    def finish(self) -> None:
        """The step is done: what it sets itself, such as a count of its calls, may be anything, but for switches."""
        now = vars(self.module)
        for name, x in [*self._attributes.items()]:
            if type(x) is not bool and not (name in now and _same(now[name], x)):
                del self._attributes[name]

    def holds(self) -> bool:
        """Whether the module is as it was. Changes within an attribute, such as a list, are not seen."""
        kept = self._attributes
        now = [*map(vars(self.module).get, kept)]
        return (all(map(is_, now, kept.values())) or all(map(_same, now, kept.values()))) and self.has_its_parts()

    def has_its_parts(self) -> bool:
        """Whether what is registered in the module is as it was."""
        return all(_alike(live, kept) for live, kept in self._registries if live or kept) and all(
            t._array is array and t._requires_grad == grad for t, array, grad in self._tensors
        )

    def restore(self) -> None:
        """Make the module what it was."""
        own = vars(self.module)
        own.clear()
        own.update(self._attributes)
        for live, kept in self._registries:
            live.clear()
            (live.update if isinstance(live, dict) else live.extend)(kept)
        for t, array, grad in self._tensors:
            t._array, t._requires_grad = array, grad


def _alike(live: Any, kept: Any) -> bool:
    """Whether two dicts or lists have the same objects in the same order."""
    values = (live.values(), kept.values()) if isinstance(live, dict) else (live, kept)
    return len(live) == len(kept) and all(map(is_, *values))


def _same(a: Any, b: Any) -> bool:
    """Whether these are one object, or equal numbers or strings, or tuples of such."""
    if a is b:
        return True
    if type(a) is not type(b):
        return False
    if isinstance(a, tuple):
        return len(a) == len(b) and all(map(_same, a, b))
    return isinstance(a, (int, float, str)) and a == b


def _options(optimizer: Any) -> list[dict[str, Any]]:
    return [{name: x for name, x in group.items() if name != "params"} for group in optimizer.param_groups]


class _Thread(threading.local):
    recorder: Recorder | None = None


_thread = _Thread()
_counting = threading.Lock()
under_way = 0  # how many recorders there are in all threads: without any, nobody needs to ask further


def recorder() -> Recorder | None:
    """Who is to be told of gradients and changes in this thread."""
    return _thread.recorder


def current() -> Recorder | None:
    """The recorder of the capture in this thread."""
    found = _thread.recorder
    return found if found is not None and found.capturing else None


def refuse(why: str) -> None:
    """CannotCapture: this must not be in a graph. Nothing where none is captured."""
    if under_way and _thread.recorder is not None:
        _thread.recorder.refuse(why)


@contextlib.contextmanager
def told(recorder: Recorder) -> Iterator[None]:
    """Within it the recorder is told what happens in this thread."""
    global under_way
    outside, _thread.recorder = _thread.recorder, recorder
    with _counting:
        under_way += 1
    try:
        yield
    finally:
        with _counting:
            under_way -= 1
        _thread.recorder = outside
