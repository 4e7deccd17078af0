"""What a forward pass computed, computed again: nodes keep no output, but they know how to make it from the leaves."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from typing import Any, cast

from ..backend import gpu
from ..backend.device import quiet
from .engine import Leaf, Node, in_backward_order
from .function import FunctionCall, FunctionOutput


class Values:
    """The value of every node that the roots depend on, by the reference ops.

    Random draws are inputs, so the numbers are those of the first time (to rounding, where a fused kernel ran).
    RuntimeError: the graph was freed, or a leaf or another input was changed in place since.
    """

    def __init__(self, roots: Iterable[Node | Leaf]) -> None:
        self.nodes = [n for n in reversed(in_backward_order(roots)) if isinstance(n, Node)]  # the oldest first
        self._known: dict[Node, Any] = {}
        with quiet:
            for node in self.nodes:
                self._known[node] = self._computed(node)

    def before(self, node: Node) -> Values:
        """The values of a node and of all that it depends on."""
        part = copy.copy(self)
        reached = set(in_backward_order([node]))
        part.nodes = [n for n in self.nodes if n in reached]
        return part

    def of(self, node: Node | Leaf) -> Any:
        """The value of a node, an array; None for the node of a Function, whose outputs have nodes of their own."""
        return node.tensor._array if isinstance(node, Leaf) else self._known[node]

    def inputs(self, node: Node) -> list[Any]:
        """What a node was computed from: arrays, numbers, and None for an optional input that was not given.

        Of a Function only the inputs that take a gradient are known; they stand at its outputs too.
        """
        if isinstance(node.op, FunctionOutput):
            return self.inputs(cast(Node, node.parents[0]))
        if isinstance(node.op, FunctionCall):
            return [None if p is None else self.of(p) for p in node.parents]
        return [self.of(p) if c is None and p is not None else c for p, c in node.inputs()]

    def _computed(self, node: Node) -> Any:
        node.recall()
        if isinstance(node.op, FunctionCall):
            return None
        if isinstance(node.op, FunctionOutput):
            return cast(tuple[Any, ...], node.constants)[0]
        inputs = self.inputs(node)
        given = [x for x, p in zip(inputs, node.parents, strict=True) if not isinstance(p, Node)]
        node.check_unchanged(given)
        gpu.enter(node.xp)
        pair = node.pair if node.computes_wide else node.op
        return node.xp.asarray(pair.forward(node.xp, *inputs, **node.attrs)[0])
