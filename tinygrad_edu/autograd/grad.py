"""Starting a backward pass: into the leaves (`backward`) or for chosen tensors (`grad`)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..backend.device import quiet
from .engine import run_backward


def backward(tensors: Any, grad_tensors: Any = None, retain_graph: bool = False) -> None:
    """Add the gradient of the tensors to the `.grad` of every leaf they depend on.

    grad_tensors: the gradient of the loss with respect to each tensor; may be left out for tensors of one element.
    RuntimeError: a tensor of several elements without a gradient, one without a graph, or a graph already freed.
    """
    with quiet:
        run_backward(_roots(_tuple(tensors), grad_tensors), retain_graph=retain_graph)


def grad(
    outputs: Any,
    inputs: Any,
    grad_outputs: Any = None,
    retain_graph: bool = False,
    allow_unused: bool = False,
) -> tuple[Any, ...]:
    """The gradients of the outputs (weighted by grad_outputs, and added up) with respect to each input.

    No `.grad` is touched. RuntimeError: an input that does not require grad, or, unless allow_unused=True (then its
    gradient is None), one that the outputs do not depend on.
    """
    targets = []
    for i, t in enumerate(_tuple(inputs)):
        if not t.requires_grad:
            raise RuntimeError(f"grad: input {i} does not require grad; call requires_grad_() before it is used")
        targets.append(t._graph_node())
    with quiet:
        captured = run_backward(_roots(_tuple(outputs), grad_outputs), retain_graph=retain_graph, targets=targets)
    result = []
    for i, (t, node) in enumerate(zip(_tuple(inputs), targets, strict=True)):
        if node not in captured and not allow_unused:
            raise RuntimeError(
                f"grad: input {i} of shape {tuple(t.shape)} was not used in the graph of the outputs; pass "
                "allow_unused=True to get None for it"
            )
        result.append(t._result(captured[node]) if node in captured else None)
    return tuple(result)


def _tuple(x: Any) -> tuple[Any, ...]:
    return tuple(x) if isinstance(x, Sequence) else (x,)


def _roots(outputs: tuple[Any, ...], gradients: Any) -> list[tuple[Any, Any]]:
    """The node and seed gradient of each output, checked."""
    seeds = (None,) * len(outputs) if gradients is None else _tuple(gradients)
    if len(seeds) != len(outputs):
        raise RuntimeError(f"got {len(seeds)} gradients for {len(outputs)} outputs; pass one for each")
    roots = []
    for y, seed in zip(outputs, seeds, strict=True):
        if not y.requires_grad:
            raise RuntimeError(
                "backward: the tensor does not require grad and has no grad_fn; it was computed from nothing that "
                "requires grad, or under no_grad()"
            )
        if seed is None:
            if y.numel() != 1:
                raise RuntimeError(
                    f"grad can be implicitly created only for scalar outputs, but the output has shape "
                    f"{tuple(y.shape)}; call .sum() or .mean() first, or pass gradient= of that shape"
                )
            seed = y._xp.ones(y.shape, y._array.dtype)
        else:
            if tuple(seed.shape) != tuple(y.shape):
                raise RuntimeError(
                    f"backward: the gradient has shape {tuple(seed.shape)} but the output has shape {tuple(y.shape)}"
                )
            seed = seed._array.astype(y._array.dtype, copy=False)
        roots.append((y._graph_node(), seed))
    return roots
