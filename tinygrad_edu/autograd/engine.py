"""Reverse-mode automatic differentiation: the nodes of the graph, and the walk back through them.

A forward operation that has to be differentiated leaves a `Node`: what ran, what it saved, and the nodes of its
inputs. A tensor that the user made with `requires_grad=True` ends the graph in a `Leaf`. `run_backward` carries
gradients from the outputs to the leaves.

This file names no array library: arrays are anything with `+`, `sum`, `reshape`, `shape` and `dtype`.
"""

from __future__ import annotations

import itertools
import operator
import sys
from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from pathlib import Path
from types import CodeType
from typing import Any

from ..backend import dtypes, gpu
from .memory import joined, memory_of
from .memory import owner as owner
from .modes import state, tell

_PACKAGE = str(Path(__file__).parents[1])
_clock = itertools.count()  # a node is always younger than its parents: sorting by birth orders the graph


class Version:
    """Counts the in-place changes of one piece of memory; shared by all tensors that look at it."""

    # Class attributes, as most memory is never changed.
    count = 0
    owner = 0  # id of what stands for the memory, set when it is first changed
    recorded = 0  # the count at the last change that entered a graph
    recorded_before = 0  # and at the one before it

    def add(self, array: Any) -> None:
        """Count a change made through this array."""
        self.count += 1
        self.owner = id(memory_of(array))


class Node:
    """One recorded operation. It holds what backward needs, never its output's data."""

    __slots__ = (
        "op", "pair", "xp", "attrs", "saved", "versions", "parents", "constants", "shape", "dtype",
        "born", "scope", "where", "hooks", "retain", "again", "__weakref__",
    )  # fmt: skip

    def __init__(
        self, op: Any, pair: Any, xp: Any, attrs: dict[str, Any], saved: tuple[Any, ...] | None,
        parents: tuple[Node | Leaf | None, ...], shape: tuple[int, ...], dtype: Any, constants: tuple[Any, ...] = (),
        versions: Sequence[tuple[Version, int]] = (),
    ) -> None:  # fmt: skip
        self.op, self.pair, self.xp, self.attrs = op, pair, xp, attrs
        self.saved = saved  # None once backward has used and freed it
        # The memory of the inputs and the output, with its version, to notice when a saved value was changed.
        self.versions = versions
        self.parents = parents  # one per input; None where no gradient is wanted
        # The inputs that have no parent, else None: with them the forward can be re-run. Freed together with saved.
        self.constants: tuple[Any, ...] | None = constants
        self.shape, self.dtype = shape, dtype
        self.born = next(_clock)
        self.scope = state.scope
        self.where = _user_line()
        self.hooks: list[Callable[[Any], Any]] | None = None
        self.retain: Callable[[Any], None] | None = None
        # Where what was saved can be had again if it was dropped and not yet used: see utils/checkpoint.py.
        self.again: tuple[Any, int] | None = None

    def name(self) -> str:
        """The name as PyTorch writes it: `MulBackward0` for `mul`."""
        return "".join(part.capitalize() for part in self.op.name.split("_")) + "Backward0"

    @property
    def computes_wide(self) -> bool:
        """Whether it computed bfloat16 in float32, which the pair does and the op does not."""
        return getattr(self.dtype, "kind", None) == "V"

    @property
    def next_functions(self) -> tuple[tuple[Node | Leaf | None, int], ...]:
        """The nodes that the gradient goes to next, as PyTorch lists them."""
        return tuple((parent, 0) for parent in self.parents)

    @property
    def location(self) -> str:
        """`file:line` of the user's code that called this operation."""
        code, instruction = self.where
        line = next(itertools.islice(code.co_positions(), instruction // 2, None))[0]
        return f"{code.co_filename}:{line}"

    def __repr__(self) -> str:
        return f"<{self.name()}>"

    def gradients(self, gy: Any, wanted: Container[Node | Leaf], last: bool = False) -> list[Any]:
        """The gradient of each input whose parent is wanted, in that input's shape; None for the others.

        last: the saved values are not needed again, so that a pair with a `last_backward` may write into them.
        """
        self.check_usable()
        saved, backward = self.saved, self.pair.backward
        if last and getattr(self.pair, "last_backward", None) is not None:
            backward = self.pair.last_backward
            self.free()  # before it runs: nobody may meet what it leaves half done
        return self.fitted(backward(self.xp, saved, gy), wanted)

    def check_usable(self) -> None:
        """RuntimeError: what was saved is freed, or was changed since."""
        if self.saved is None:
            self.recall()
        if self.saved:
            self.check_unchanged(self.saved)

    def inputs(self) -> Iterator[tuple[Node | Leaf | None, Any]]:
        """Each input's parent, and its value where that is kept. RuntimeError: the values are freed."""
        self.recall()
        return zip(self.parents, self.constants or (), strict=True)

    def free(self) -> None:
        """Forget what backward used. A node that saved nothing can go through another backward."""
        if self.saved:
            self.saved = None
        self.constants = self.again = None

    def drop(self, region: Any, place: int) -> None:
        """Forget the same for now: `region.run()` brings it back, to the node at this place in the region."""
        self.free()
        self.again = region, place

    @property
    def is_freed(self) -> bool:
        """Whether what was saved is gone for good."""
        return self.constants is None and self.again is None

    def recall(self) -> None:
        """Bring back what was dropped. RuntimeError: it is freed."""
        while self.constants is None:  # what comes back from an outer region may be dropped by an inner one
            if self.again is None:
                raise self.freed()
            self.again[0].run()

    def freed(self) -> RuntimeError:
        return RuntimeError(
            f"backward through {self.op.name} ({self.location}) a second time: its saved values were freed by "
            "the first; pass retain_graph=True to the first backward, or compute the loss again"
        )

    def fitted(self, found: Any, wanted: Container[Node | Leaf]) -> list[Any]:
        """What the op's backward returned as `gradients` gives it."""
        if not isinstance(found, tuple):
            found = (found,)
        if len(found) != len(self.parents):
            raise RuntimeError(
                f"{self.op.name}: backward returned {len(found)} gradients for {len(self.parents)} inputs"
            )
        gradients: list[Any] = []
        for g, parent in zip(found, self.parents, strict=True):
            if parent is None or parent not in wanted:
                gradients.append(None)
                continue
            if callable(g):
                g = g()
            if g is not None and (g.shape != parent.shape or g.dtype != parent.dtype):
                g = self._fit(g, parent)
            gradients.append(g)
        return gradients

    def _fit(self, g: Any, parent: Node | Leaf) -> Any:
        """Undo broadcasting; anything else that does not fit is a mistake in the op."""
        if self.op.broadcasts:
            g = sum_to(g, parent.shape)
        if g.shape != parent.shape or g.dtype != parent.dtype:
            raise RuntimeError(
                f"{self.op.name}: backward returned a gradient of shape {tuple(g.shape)} and dtype {g.dtype} for an "
                f"input of shape {tuple(parent.shape)} and dtype {parent.dtype}"
            )
        return g

    def check_unchanged(self, values: Iterable[Any]) -> None:
        """RuntimeError: one of these values was changed in place after it was used or computed here."""
        for version, count in self.versions:
            changed = version.count != count
            if changed and any(hasattr(s, "strides") and id(memory_of(s)) == version.owner for s in values):
                raise RuntimeError(
                    f"a value that {self.op.name} ({self.location}) saved for backward was changed in place "
                    f"afterwards (it is at version {version.count}, expected {count}); use the out-of-place form of "
                    "the change, or change a clone()"
                )


class Part:
    """A gradient that is zero except in places, as that of `x[0]` is: it is added into its whole in these places only.

    An op returns one in the place of an array, so that a tensor used slice by slice, or a table of which few rows were
    read, costs what was used of it.
    """

    shape: tuple[int, ...]
    dtype: Any

    def add_to(self, whole: Any) -> None:
        """Add the values to an array of the whole gradient's shape."""
        raise NotImplementedError

    def astype(self, dtype: Any) -> Part:
        """The same in another dtype."""
        raise NotImplementedError


class Leaf:
    """The end of the graph at a tensor that the user made: its gradient is added to the tensor's `.grad`."""

    __slots__ = ("tensor", "shape", "dtype", "born", "__weakref__")
    parents: tuple[()] = ()
    next_functions: tuple[()] = ()
    retain = None

    def __init__(self, tensor: Any, shape: tuple[int, ...], dtype: Any) -> None:
        self.tensor, self.shape, self.dtype = tensor, shape, dtype
        self.born = next(_clock)

    @property
    def hooks(self) -> list[Callable[[Any], Any]] | None:
        return self.tensor._hooks

    @property
    def xp(self) -> Any:
        return self.tensor._xp

    @property
    def variable(self) -> Any:
        """The tensor whose gradient is accumulated."""
        return self.tensor

    def name(self) -> str:
        return "AccumulateGrad"

    def __repr__(self) -> str:
        return "<AccumulateGrad>"


def _user_line() -> tuple[CodeType, int]:
    """Where the running operation was called from: the innermost frame outside this package."""
    frame = sys._getframe(3)  # what called `apply`
    while _is_ours[frame.f_code.co_filename] and (caller := frame.f_back) is not None:
        frame = caller
    return frame.f_code, frame.f_lasti


class _IsOurs(dict[str, bool]):
    """By file name, whether it is one of this package."""

    def __missing__(self, filename: str) -> bool:
        self[filename] = filename.startswith(_PACKAGE)
        return self[filename]


_is_ours = _IsOurs()


def sum_to(g: Any, shape: tuple[int, ...]) -> Any:
    """Undo broadcasting: sum the gradient over the axes along which the input of this shape was repeated."""
    extra = g.ndim - len(shape)
    axes = tuple(range(extra)) + tuple(i + extra for i, n in enumerate(shape) if n == 1)
    return dtypes.wide(g).sum(axis=axes).reshape(shape).astype(g.dtype, copy=False)


def in_backward_order(roots: Iterable[Node | Leaf], targets: Sequence[Node | Leaf] = ()) -> list[Node | Leaf]:
    """The nodes reachable from the roots, each before its parents; with targets, only those that lead to one."""
    seen: set[Node | Leaf] = set()
    stack = list(roots)
    while stack:
        node = stack.pop()
        if node not in seen:
            seen.add(node)
            for parent in node.parents:
                if parent is not None:
                    stack.append(parent)
    oldest_first = sorted(seen, key=operator.attrgetter("born"))
    if targets:
        useful = set(targets)
        for node in oldest_first:
            if not useful.isdisjoint(node.parents):
                useful.add(node)
        oldest_first = [n for n in oldest_first if n in useful]
    return oldest_first[::-1]


class _Pending:
    """The gradients on their way to each node, added up as they arrive."""

    def __init__(self, recorded: bool) -> None:
        self.recorded = recorded  # gradients are Tensors, and never changed in place
        self.sums: dict[Node | Leaf, Any] = {}
        self.owned: set[Node | Leaf] = set()  # nodes whose sum is a buffer of the engine's own, safe to add into

    def add(self, node: Node | Leaf, g: Any, fresh: bool) -> None:
        """Add a gradient to a node's sum; a fresh one is an array that nobody else holds."""
        if node not in self.sums:
            self.sums[node] = g
            if fresh:
                self.owned.add(node)
        elif isinstance(g, Part) or isinstance(self.sums[node], Part):
            self._add_part(node, g)
        elif node in self.owned and g.shape:
            self.sums[node] += g
        else:
            self.sums[node] = self.sums[node] + g
            if not self.recorded:
                self.owned.add(node)

    def _add_part(self, node: Node | Leaf, g: Any) -> None:
        """Add to a sum where either is a Part."""
        held = self.sums[node]
        if isinstance(held, Part):
            both = joined(held, g, node.xp) if isinstance(g, Part) else None
            if both is not None:
                self.sums[node] = both
                return
            held = whole(held, node.xp)
        elif node not in self.owned or not g.shape:  # arithmetic on 0-d arrays gives NumPy scalars
            held = node.xp.array(held)
        if isinstance(g, Part):
            g.add_to(held)
        else:
            held += g
        self.sums[node] = held
        self.owned.add(node)

    def take(self, node: Node | Leaf) -> tuple[Any, bool]:
        """The sum of a node that all gradients have reached, and whether the engine owns it."""
        gy = self.sums.pop(node)
        if isinstance(gy, Part):
            gy = whole(gy, node.xp)
            self.owned.add(node)
        if not self.recorded and not gy.shape and gy.dtype is not None:
            gy = node.xp.asarray(gy)
        return gy, node in self.owned


def run_backward(
    roots: Sequence[tuple[Node | Leaf, Any]],
    *,
    retain_graph: bool = False,
    targets: Sequence[Node | Leaf] = (),
    recorder: Any = None,
) -> dict[Node | Leaf, Any]:
    """Carry the gradients of the roots back through the graph.

    Without targets, gradients arrive in the leaves' `.grad`. With targets, nothing is stored in any tensor and the
    targets' gradients are returned. With a recorder (see higher.py), all gradients are Tensors, and what is computed
    enters the graph.
    """
    if not state.observers:
        return _walk(roots, retain_graph, targets, recorder)
    tell("walking", [node for node, _ in roots])
    try:
        return _walk(roots, retain_graph, targets, recorder)
    finally:
        tell("walked")


def _walk(
    roots: Sequence[tuple[Node | Leaf, Any]], retain_graph: bool, targets: Sequence[Node | Leaf], recorder: Any
) -> dict[Node | Leaf, Any]:
    pending = _Pending(recorded=recorder is not None)
    captured: dict[Node | Leaf, Any] = {}
    for node, seed in roots:
        pending.add(node, seed, fresh=False)
    order = in_backward_order([node for node, _ in roots], targets)
    wanted = set(order)
    observed = bool(state.observers)
    try:
        for node in order:
            if node not in pending.sums:  # every path to it ended in an op without a gradient
                continue
            if gpu.several:
                gpu.enter(node.xp)
            gy, owned = pending.take(node)
            if node.hooks:
                for hook in tuple(node.hooks):
                    replaced = hook(gy)
                    gy = gy if replaced is None else replaced
                owned = False  # a hook may have kept it
                gpu.enter(node.xp)  # and have computed on another GPU
            if targets:
                if node in targets:
                    captured[node] = gy
            elif isinstance(node, Leaf):
                node.tensor._accumulate_grad(gy, owned=owned)
                if observed:
                    tell("arrived", node, _plain(gy))
            elif node.retain is not None:
                node.retain(gy)
            if isinstance(node, Leaf) or (targets and wanted.isdisjoint(node.parents)):  # nothing further back
                continue
            if observed and node.op.observed:
                tell("propagating", node)
            if recorder is None:
                gradients = node.gradients(gy, wanted, last=not retain_graph)
            else:
                gradients = recorder.gradients(node, gy, wanted)
            if observed and node.op.observed:
                tell("propagated", node, _plain(gy), _Handed(gradients, node.xp))
            for parent, g in zip(node.parents, gradients, strict=True):
                if g is not None and parent is not None:
                    pending.add(parent, g, fresh=recorder is None and _is_fresh(g, gy, gradients, node.saved))
            if not retain_graph:
                node.free()
    except MemoryError as error:
        from .exhausted import out_of_memory  # it stands on this module

        what = f"the backward of {node.op.name} ({node.location})" if isinstance(node, Node) else "adding up a gradient"
        raise out_of_memory(what, error) from error
    return captured


def whole(g: Any, xp: Any) -> Any:
    """A gradient as an array."""
    if not isinstance(g, Part):
        return g
    array = xp.zeros(g.shape, g.dtype)
    g.add_to(array)
    return array


class _Handed(Sequence[Any]):
    """Gradients as observers are told them: arrays, also of a Part, but that is made only for those who look at it."""

    def __init__(self, gradients: list[Any], xp: Any) -> None:
        self._gradients, self._xp = gradients, xp

    def __len__(self) -> int:
        return len(self._gradients)

    def __getitem__(self, i: Any) -> Any:
        return _plain(whole(self._gradients[i], self._xp))

    def given(self, i: int) -> bool:
        """Whether there is a gradient of input i."""
        return self._gradients[i] is not None


def _plain(g: Any) -> Any:
    """A gradient as observers are told it: an array, or a tuple of them for a Function of several outputs."""
    return g.arrays() if hasattr(g, "arrays") else getattr(g, "_array", g)


def _is_fresh(g: Any, gy: Any, gradients: list[Any], saved: tuple[Any, ...] | None) -> bool:
    """Whether nobody else can hold this array, so that the engine may add into it."""
    if g is gy or getattr(g, "base", g) is not None:
        return False
    for s in saved or ():
        if s is g:
            return False
    mine = memory_of(g)
    if mine is not g and any(hasattr(s, "strides") and memory_of(s) is mine for s in (gy, *(saved or ()))):
        return False  # on a GPU an array without a base may be a view
    times = 0
    for other in gradients:
        if other is g:
            times += 1
        elif hasattr(other, "strides") and memory_of(other) is mine:
            return False
    return times == 1
