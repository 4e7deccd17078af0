"""Gradient checkpointing: memory for time. What a function saves for backward is dropped, and made again when needed.

The function's operations enter the graph as always, so gradients go the same way and are added up in the same order as
without it: they are equal bit for bit. Only the arrays are gone. The first node that backward reaches has the function
run again, and every node takes over what its operation saved this time.

Source: Chen et al. 2016, "Training Deep Nets with Sublinear Memory Cost", arXiv:1604.06174.
"""

from __future__ import annotations

import contextlib
import functools
import weakref
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from ..autograd.engine import Node
from ..autograd.function import FunctionCall
from ..autograd.modes import state
from ..random import default_generator
from ..tensor import Tensor


class CheckpointError(RuntimeError):
    """The function did not compute the second time what it computed the first time."""


def checkpoint(
    function: Callable[..., Any], *args: Any, use_reentrant: bool = False, preserve_rng_state: bool = True,
    **kwargs: Any,
) -> Any:  # fmt: skip
    """`function(*args, **kwargs)`, which keeps only its inputs for backward and runs again when backward gets there.

    It must compute the same each time. Tensors that it captures, such as parameters, get their gradients too.
    Checkpoints may stand within each other. preserve_rng_state: let dropout draw the same numbers again.
    use_reentrant is accepted and changes nothing: this is PyTorch's non-reentrant form.
    TypeError: the function cannot be called. In backward, CheckpointError: it computed something else the second time;
    RuntimeError: something that it reads was changed in place since.
    """
    if not callable(function):
        raise TypeError(
            f"recompute: expected a function and then its arguments, got {type(function).__name__} as the function; "
            "write recompute(block, x), not recompute(block(x))"
        )
    if not state.recording:
        return function(*args, **kwargs)
    return _Region(function, args, kwargs, preserve_rng_state).first()


def recompute(function: Callable[..., Any], *args: Any, preserve_rng_state: bool = True, **kwargs: Any) -> Any:
    """Call `function(*args, **kwargs)` so that it saves only its inputs for backward, and runs again there.

    A shorter name of `utils.checkpoint.checkpoint`, which see: `x = recompute(block, x)`.
    """
    return checkpoint(function, *args, preserve_rng_state=preserve_rng_state, **kwargs)


def checkpoint_sequential(
    functions: Sequence[Callable[..., Any]], segments: int, input: Any, use_reentrant: bool = False,
    preserve_rng_state: bool = True,
) -> Any:  # fmt: skip
    """The functions (or the modules of a Sequential) one after another, in so many segments, each a checkpoint.

    The last segment is run as it is, since backward begins there. ValueError: not from 1 segment to one per function.
    """
    steps = list(functions)
    if not 1 <= segments <= len(steps):
        raise ValueError(
            f"checkpoint_sequential: expected from 1 to {len(steps)} segments for {len(steps)} functions, "
            f"got {segments}"
        )
    size = len(steps) // segments
    for start in range(0, size * (segments - 1), size):
        part = functools.partial(_in_turn, steps[start : start + size])
        input = checkpoint(part, input, use_reentrant=use_reentrant, preserve_rng_state=preserve_rng_state)
    return _in_turn(steps[size * (segments - 1) :], input)


def _in_turn(functions: Sequence[Callable[..., Any]], x: Any) -> Any:
    for function in functions:
        x = function(x)
    return x


class _Region:
    """One call of a function whose saved values are dropped: what is needed to run it again, and the nodes it left.

    The nodes hold the region, so that it lives as long as one of them may need it.
    """

    sees_values = False

    def __init__(
        self, function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], preserve_rng_state: bool
    ) -> None:
        self.function, self.args, self.kwargs = function, args, kwargs
        given = [x for x in (*args, *kwargs.values()) if isinstance(x, Tensor)]
        self.versions = [(x._memory, x._memory.count) for x in given]
        self.autocast = state.autocast
        self.rng = default_generator.get_state() if preserve_rng_state else None
        self.nodes: list[weakref.ref[Node]] = []

    def first(self) -> Any:
        """The function's result the first time."""
        return self._called((self, *state.observers))  # before the others, who are to see what the node really keeps

    def recorded(self, node: Node, inputs: tuple[Any, ...], y: Any) -> None:
        self.picked(node)

    def picked(self, node: Node) -> None:
        node.drop(self, len(self.nodes))
        self.nodes.append(weakref.ref(node))

    def run(self) -> None:
        """Run the function again, and give every node that has not been used yet what it saved."""
        for memory, count in self.versions:
            if memory.count != count:
                raise RuntimeError(
                    f"recompute: a tensor given to {self._name} was changed in place afterwards (it is at version "
                    f"{memory.count}, expected {count}), so it cannot run again for backward; give it a clone(), or "
                    "use the out-of-place form of the change"
                )
        again = _Nodes()
        with _random_numbers_from(self.rng):
            self._called((again,))  # nobody else: these operations are not part of the graph
        if len(again.nodes) != len(self.nodes):
            raise self._different(f"{len(self.nodes)} operations", f"{len(again.nodes)}")
        pairs = [(old, new) for reference, new in zip(self.nodes, again.nodes, strict=True) if (old := reference())]
        of_new = {new: old for old, new in pairs}
        for old, new in pairs:
            self._check_same(old, new)
            if old.again is not None and old.again[0] is self:
                _take_over(old, new, of_new)

    def _called(self, observers: tuple[Any, ...]) -> Any:
        """The function's result; what it records is told to these observers."""
        outside = state.observers, state.recording, state.autocast
        state.observers, state.recording, state.autocast = observers, True, self.autocast
        try:
            return self.function(*self.args, **self.kwargs)
        finally:
            state.observers, state.recording, state.autocast = outside

    def _check_same(self, old: Node, new: Node) -> None:
        """RuntimeError: the second time the operation was another one, or read something that was changed since."""
        if (old.op.name, old.shape, old.dtype) != (new.op.name, new.shape, new.dtype):
            raise self._different(*(f"{n.op.name} of shape {tuple(n.shape)} and dtype {n.dtype}" for n in (old, new)))
        for (memory, count), (other, later) in zip(old.versions, new.versions, strict=False):
            if memory is other and count != later:
                raise RuntimeError(
                    f"recompute: a value that {old.op.name} ({old.location}) reads was changed in place after the "
                    f"first run (it is at version {later}, expected {count}), so the second gives something else; call "
                    "backward() before the change, or use the out-of-place form"
                )

    def _different(self, before: str, now: str) -> CheckpointError:
        return CheckpointError(
            f"recompute: {self._name} computed {before} the first time and {now} when it ran again for backward; it "
            "has to do the same each time, so do not let it depend on counters, the time, train() or eval() in between"
        )

    @property
    def _name(self) -> str:
        return getattr(self.function, "__name__", type(self.function).__name__)


class _Nodes:
    """An observer that keeps the nodes recorded."""

    sees_values = False

    def __init__(self) -> None:
        self.nodes: list[Node] = []

    def recorded(self, node: Node, inputs: tuple[Any, ...], y: Any) -> None:
        self.nodes.append(node)

    def picked(self, node: Node) -> None:
        self.nodes.append(node)


@contextlib.contextmanager
def _random_numbers_from(state: Tensor | None) -> Iterator[None]:
    """Within it the default generator goes on from this state; afterwards it is where it was. None leaves it alone."""
    if state is None:
        yield
        return
    outside = default_generator.get_state()
    default_generator.set_state(state)
    try:
        yield
    finally:
        default_generator.set_state(outside)


def _take_over(old: Node, new: Node, of_new: dict[Node, Node]) -> None:
    """Let a node stand in the graph with what the same operation saved this time."""
    old.pair, old.saved, old.versions, old.constants = new.pair, new.saved, new.versions, new.constants
    old.again = new.again
    if new.again is not None:  # it was dropped again, by a region within this one
        region, place = new.again
        region.nodes[place] = weakref.ref(old)
    if isinstance(new.op, FunctionCall) and new.saved:
        new.op.move(old, new.saved[0], of_new)
