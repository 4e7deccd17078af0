"""Starting a backward pass: into the leaves (`backward`) or for chosen tensors (`grad`)."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

from ..backend import gpu
from ..backend.device import quiet, require_one_device
from .engine import Leaf, Node, run_backward
from .exhausted import allocates
from .higher import Recorder
from .modes import enable_grad


@allocates
def backward(
    tensors: Any,
    grad_tensors: Any = None,
    retain_graph: bool | None = None,
    create_graph: bool = False,
    inputs: Any = None,
) -> None:
    """Add the gradient of the tensors to the `.grad` of every leaf they depend on, or of the `inputs` alone.

    grad_tensors: the gradient of the loss with respect to each tensor; may be left out for tensors of one element.
    retain_graph: keep what was saved, for another pass through the same graph. By default what create_graph is.
    create_graph: record the pass itself, so that the gradients can be differentiated again.
    RuntimeError: a tensor of several elements without a gradient, one with a gradient on another device, one without a
    graph, or a graph already freed. TypeError: a gradient that is no tensor.
    """
    if create_graph:
        warnings.warn(
            "Using backward() with create_graph=True will create a reference cycle between a tensor and its gradient; "
            "use autograd.grad, or set .grad to None afterwards",
            stacklevel=4,
        )
    if inputs is None:
        _run(tensors, grad_tensors, retain_graph, create_graph, ())
        return
    chosen = _tuple(inputs)
    if not chosen:
        raise RuntimeError("backward: inputs is empty; leave it out to reach every leaf")
    targets = _nodes("backward", chosen)
    captured = _run(tensors, grad_tensors, retain_graph, create_graph, targets)
    for t, node in zip(chosen, targets, strict=True):
        if node in captured:
            t._accumulate_grad(captured[node], owned=False)


@allocates
def grad(
    outputs: Any,
    inputs: Any,
    grad_outputs: Any = None,
    retain_graph: bool | None = None,
    create_graph: bool = False,
    only_inputs: bool = True,
    allow_unused: bool | None = None,
    *,
    materialize_grads: bool = False,
) -> tuple[Any, ...]:
    """The gradients of the outputs (weighted by grad_outputs, and added up) with respect to each input.

    No `.grad` is touched. retain_graph and create_graph: as for `backward`. materialize_grads: zeros, where
    allow_unused=True gives None. RuntimeError: an input that does not require grad, or, unless allow_unused=True or
    materialize_grads=True, one that the outputs do not depend on.
    """
    if not only_inputs:
        raise ValueError("grad: only_inputs=False is not supported; backward() adds gradients into all leaves")
    if materialize_grads and allow_unused is False:
        raise ValueError("grad: materialize_grads=True gives zeros for unused inputs; leave allow_unused out")
    chosen = _tuple(inputs)
    targets = _nodes("grad", chosen)
    captured = _run(outputs, grad_outputs, retain_graph, create_graph, targets)
    result = []
    for i, (t, node) in enumerate(zip(chosen, targets, strict=True)):
        g = captured.get(node)
        if g is None and materialize_grads:
            g = t._xp.zeros(t.shape, t._array.dtype)
        if g is None and not allow_unused:
            raise RuntimeError(
                f"grad: input {i} of shape {tuple(t.shape)} was not used in the graph of the outputs; pass "
                "allow_unused=True to get None for it"
            )
        result.append(g if g is None or hasattr(g, "_array") else t._result(g))
    return tuple(result)


def _run(
    outputs: Any, gradients: Any, retain_graph: bool | None, create_graph: bool, targets: Sequence[Node | Leaf]
) -> dict[Node | Leaf, Any]:
    """The backward pass; the gradients of the targets."""
    roots = _roots(_tuple(outputs), gradients)
    retain = create_graph if retain_graph is None else retain_graph
    if not create_graph:
        arrays = [(y._graph_node(), seed._array.astype(y._array.dtype, copy=False)) for y, seed in roots]
        with quiet:
            return run_backward(arrays, retain_graph=retain, targets=targets)
    with quiet, enable_grad():
        tensors = [(y._graph_node(), seed.to(y.dtype)) for y, seed in roots]
        recorder = Recorder(roots[0][0]._mirror)
        return run_backward(tensors, retain_graph=retain, targets=targets, recorder=recorder)


def _tuple(x: Any) -> tuple[Any, ...]:
    return (x,) if hasattr(x, "_node") or not isinstance(x, Sequence) else tuple(x)


def _nodes(name: str, inputs: tuple[Any, ...]) -> list[Node | Leaf]:
    for i, t in enumerate(inputs):
        if not t.requires_grad:
            raise RuntimeError(f"{name}: input {i} does not require grad; call requires_grad_() before it is used")
    return [t._graph_node() for t in inputs]


def _roots(outputs: tuple[Any, ...], gradients: Any) -> list[tuple[Any, Any]]:
    """Each output and its seed gradient, a tensor, checked."""
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
            seed = y._result(y._xp.ones(y.shape, y._array.dtype))
        elif not hasattr(seed, "_array"):
            kind = type(seed)
            raise TypeError(
                f"backward: gradients can be either Tensors or None, but got {kind.__module__}.{kind.__name__}; write "
                "tensor(gradient)"
            )
        elif tuple(seed.shape) != tuple(y.shape):
            raise RuntimeError(
                f"backward: the gradient has shape {tuple(seed.shape)} but the output has shape {tuple(y.shape)}"
            )
        if gpu.array_types and seed.device != y.device:
            if seed.ndim or not seed.is_cpu:
                require_one_device("backward, whose gradient has to be where its output is", (y, seed))
            seed = seed.to(y.device)  # numbers of the CPU go along, as in an operation
        roots.append((y, seed))
    return roots
