"""One backward pass, watched: what gradient each operation hands to each of its inputs on the way to one tensor."""

from __future__ import annotations

import math
from collections.abc import Container
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..autograd.engine import Leaf, Node, in_backward_order, run_backward
from ..autograd.modes import state
from ..backend.device import quiet
from ..tensor import Tensor
from .values import on_host


def check(name: str, loss: Any, p: Any) -> None:
    """TypeError, RuntimeError: not a loss of one element, or not a tensor whose gradient could be asked for."""
    if not isinstance(loss, Tensor):
        hint = "pass the loss itself"
        if isinstance(loss, tuple):
            hint = "a model that returns (logits, loss) has the loss at [1]"
        elif isinstance(loss, (int, float)):
            hint = "loss.item() has no history, so pass the loss itself"
        raise TypeError(f"inspect.{name}: expected loss to be a Tensor, got {type(loss).__name__}; {hint}")
    if not isinstance(p, Tensor):
        hint = "pass one of its parameters" if hasattr(p, "parameters") else "pass a parameter, or a tensor on the way"
        raise TypeError(f"inspect.{name}: expected p to be a Tensor, got {type(p).__name__}; {hint}")
    if loss.numel() != 1:
        raise RuntimeError(
            f"inspect.{name}: expected a loss of one element, got shape {tuple(loss.shape)}; call .mean() or .sum() "
            "first"
        )


def check_history(name: str, loss: Tensor) -> None:
    """RuntimeError: the loss was computed without a graph."""
    if not loss.requires_grad:
        raise RuntimeError(
            f"inspect.{name}: the loss has no history: it was computed under no_grad(), from nothing that requires "
            "grad, or was detached. inspect.explain(lambda: ..., p), with the computation of the loss as a function, "
            "finds where"
        )


def check_kept(name: str, loss: Tensor) -> None:
    """RuntimeError: a backward pass has freed the graph."""
    for node in in_backward_order([loss._graph_node()]):
        if isinstance(node, Node) and node.is_freed:
            raise RuntimeError(
                f"inspect.{name}: the graph of this loss was freed by backward(); ask before backward(), pass "
                "retain_graph=True to it, or compute the loss again"
            )


@dataclass
class Edge:
    """What an operation handed to one of its inputs."""

    node: Node
    input: int
    parent: Node | Leaf
    norm: float
    """NaN or infinite if the gradient is not finite."""
    incoming: float
    """The norm of the gradient that arrived at the operation."""
    gradient: Any = None
    """A copy, where it was asked for."""


class Flow:
    """A backward pass from a loss to one target, which leaves no `.grad` behind and frees nothing.

    keep: the nodes and leaves of which each gradient handed to them is kept; of a node, `incoming` has what arrived.
    """

    def __init__(self, loss: Tensor, target: Node | Leaf, keep: Container[Node | Leaf] = ()) -> None:
        root = loss._graph_node()
        self.target, self.keep = target, keep
        self.order = in_backward_order([root], [target])
        """The nodes on the way, from the loss to the target."""
        self.edges: list[Edge] = []
        """In the order of the pass."""
        self.incoming: dict[Node, Any] = {}
        self.stopped: list[tuple[Node, int]] = []
        """Inputs on the way that an operation gave no gradient at all."""
        self._useful = set(self.order)
        outside, state.observers = state.observers, (self,)
        try:
            with quiet:
                seed = root.xp.ones(loss._array.shape, loss._array.dtype)
                captured = run_backward([(root, seed)], retain_graph=True, targets=[target])
        finally:
            state.observers = outside
        self.total: Any = captured.get(target)
        """The target's gradient, an array; None if none arrived."""

    def propagated(self, node: Node, gy: Any, gradients: list[Any]) -> None:
        parts = [g for g in (gy if isinstance(gy, tuple) else (gy,)) if g is not None]
        incoming = math.hypot(*map(norm, parts))
        if node in self.keep:
            self.incoming[node] = gy if isinstance(gy, tuple) else gy.copy()
        for i, (parent, g) in enumerate(zip(node.parents, gradients, strict=True)):
            if parent is None or parent not in self._useful:
                continue
            if g is None:
                self.stopped.append((node, i))
                continue
            kept = g.copy() if parent in self.keep or node in self.keep else None
            self.edges.append(Edge(node, i, parent, norm(g), incoming, kept))


def norm(g: Any) -> float:
    """The Euclidean norm, added up in float64 piece by piece. NaN or infinite if an element is."""
    flat = on_host(g).reshape(-1)
    total = 0.0
    with np.errstate(all="ignore"):
        for start in range(0, flat.size, 1 << 16):
            piece = flat[start : start + (1 << 16)].astype(np.float64)
            total += float(piece @ piece)
        if total == 0 or math.isinf(total):  # squares under- and overflow before norms do
            top = float(np.abs(flat).max(initial=0))
            return top * math.sqrt(float(np.square(flat / top, dtype=np.float64).sum())) if 0 < top < math.inf else top
    return math.sqrt(total) if total > 0 else math.nan
