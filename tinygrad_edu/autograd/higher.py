"""Backward passes that are recorded (`create_graph=True`), so that gradients can be differentiated again.

No op has formulas for this. A node's own backward is run with Tensors in the place of arrays, and with a `Mirror` in
the place of the array module, so that what it computes enters the graph. What the op saved must then depend on the
graph too. An input or the output that was saved is connected to the node it came from; anything else, such as the
deviation from a mean, is computed anew by running the op's forward in the same way.

Since nodes keep no output, the values of inputs are computed again from the leaves, each once for a backward pass: it
costs about one more forward pass, and a second one for ops that save values made on the way.
"""

from __future__ import annotations

from collections.abc import Container
from typing import Any

from ..backend import gpu
from ..backend.dtypes import is_floating
from .engine import Leaf, Node, whole
from .memory import memory_of


class Mirror:
    """An `xp` whose functions compute on Tensors; `mirror.py` has it. Ops ask `isinstance(xp, Mirror)` where they must.
    """

    xp: Any  # the array module that it stands for

    def __init__(self, xp: Any, tensor: Any) -> None:
        self.xp = xp
        self.tensor = tensor  # makes a Tensor of an array, and of the node that computed it

    def wrap(self, tensor: Any) -> Any:
        """The Tensor with an array's methods; its `tensor` is the Tensor again."""
        raise NotImplementedError

    def apply(self, op: Any, *inputs: Any, **attrs: Any) -> Any:
        """The output of an op on what `wrap` returned, on arrays and on numbers."""
        raise NotImplementedError


class _Run:
    """One forward run again. Every input is an array object of its own, so that a saved value tells what it is."""

    def __init__(self, inputs: list[Any], tensors: list[Any], y: Any, saved: tuple[Any, ...], output: Any) -> None:
        self.inputs, self.y, self.saved = inputs, y, saved
        self.tensors = tensors  # the inputs as Tensors connected to the graph; None for constants
        self.output = output  # the same for y


class Recorder:
    """Computes the gradients of one backward pass on Tensors."""

    def __init__(self, mirror: Mirror) -> None:
        self.mirror = mirror
        self._runs: dict[Node, _Run] = {}

    def gradients(self, node: Node, gy: Any, wanted: Container[Node | Leaf]) -> list[Any]:
        """`Node.gradients`, recorded: Tensors from a Tensor."""
        node.check_usable()
        self.mirror.xp = node.xp  # a graph may go from one device to another
        saved = self._saved(node)
        gpu.enter(node.xp)
        given = self.mirror.wrap(gy) if hasattr(gy, "_array") else gy
        try:
            found = node.fitted(node.op.backward(self.mirror, saved, given), wanted)
            return [getattr(whole(g, self.mirror), "tensor", g) for g in found]
        except NotImplementedError as error:
            raise NotImplementedError(
                f"{node.op.name} ({node.location}) has a gradient, but no gradient of its gradient: {error}"
            ) from error

    def _saved(self, node: Node) -> tuple[Any, ...]:
        """What the node saved, connected to the graph."""
        saved = node.saved or ()
        if node.pair is node.op and not any(map(_floating, saved)):
            return saved
        run = self._run(node)
        wide = node.computes_wide  # what it saved is not what the op saves on Tensors
        known = {id(x): self._constant(x) if wide and _floating(x) else x for x in run.inputs}
        known |= {id(x): self.mirror.wrap(t) for x, t in zip(run.inputs, run.tensors, strict=True) if t is not None}
        known[id(run.y)] = self.mirror.wrap(run.output)
        if not wide and all(id(s) in known or not _floating(s) for s in run.saved):
            return tuple(known.get(id(s), s) for s in run.saved)
        again = node.op.forward(self.mirror, *(known[id(x)] for x in run.inputs), **node.attrs)[1]
        return again if wide else tuple(known.get(id(s), a) for s, a in zip(run.saved, again, strict=True))

    def _constant(self, x: Any) -> Any:
        return self.mirror.wrap(self.mirror.tensor(x, None))

    def _run(self, node: Node) -> _Run:
        """The node's forward, run again, after those of its parents."""
        waiting = [node]
        while waiting:
            node = waiting[-1]
            missing = [p for p, c in node.inputs() if isinstance(p, Node) and c is None and p not in self._runs]
            waiting += missing
            if not missing:
                waiting.pop()
                if node not in self._runs:
                    self._runs[node] = self._forward(node)
        return self._runs[node]

    def _forward(self, node: Node) -> _Run:
        inputs, tensors, kept = [], [], []
        for parent, constant in node.inputs():
            t = None
            if constant is None and parent is not None:
                t = parent.tensor if isinstance(parent, Leaf) else self._runs[parent].output
            x = constant if t is None else t._array
            inputs.append(x.view() if hasattr(x, "strides") else x)
            tensors.append(t)
            if t is None or isinstance(parent, Leaf):
                kept.append(x)  # not computed anew
        node.check_unchanged(kept)
        gpu.enter(node.xp)
        pair = node.pair if node.computes_wide else node.op
        y, saved = pair.forward(node.xp, *inputs, **node.attrs)
        output = self.mirror.tensor(node.xp.asarray(y), node)
        if node.op.may_alias and tensors[0] is not None and memory_of(output._array) is memory_of(tensors[0]._array):
            output._share_memory_of(tensors[0])
        return _Run(inputs, tensors, y, saved, output)


def _floating(x: Any) -> bool:
    return hasattr(x, "strides") and is_floating(x.dtype)
