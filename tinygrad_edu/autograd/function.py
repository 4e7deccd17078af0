"""`Function`: an operation of the reader's own, with forward and backward written on Tensors."""

from __future__ import annotations

import functools
import weakref
from typing import Any

from ..backend import gpu
from ..backend.device import require_one_device
from . import modes
from .engine import Leaf, Node
from .higher import Mirror


class Context:
    """What a Function's forward keeps for its backward. Any attribute may be set on it."""

    def __init__(self, needs: tuple[bool, ...]) -> None:
        self.needs_input_grad = needs
        self._saved: tuple[tuple[Any, int], ...] = ()
        self._places: list[int] = []  # the identity of each saved tensor while apply() runs
        self._origins: list[Any] = []  # for each, what connects it to the graph when backward is recorded
        self._non_differentiable: set[int] = set()
        self._materialize = True

    def save_for_backward(self, *tensors: Any) -> None:
        """Keep tensors for backward. A change of one in place is then noticed."""
        # Detached, since keeping an output itself would tie output, node and context into a cycle.
        self._saved = tuple((None, 0) if t is None else (t.detach(), t._version) for t in tensors)
        self._places = [id(t) for t in tensors]

    def _find_origins(self, args: tuple[Any, ...], outputs: list[Any], op: FunctionCall) -> None:
        """Note which saved tensors are inputs and which are outputs: only these depend on the graph."""
        inputs = {id(a): a._graph_node() for a, needed in zip(args, self.needs_input_grad, strict=True) if needed}
        made = {
            id(y): functools.partial(op.output, i)
            for i, y in enumerate(outputs)
            if y.is_floating_point() and id(y) not in self._non_differentiable
        }
        self._origins = [inputs.get(place) or made.get(place) for place in self._places]

    @property
    def saved_tensors(self) -> tuple[Any, ...]:
        """The tensors given to `save_for_backward`. RuntimeError: one was changed in place since.

        Where the backward pass is recorded, saved inputs and outputs are connected to the graph.
        """
        for t, version in self._saved:
            if t is not None and t._version != version:
                raise RuntimeError(
                    f"a tensor of shape {tuple(t.shape)} given to save_for_backward was changed in place afterwards "
                    f"(it is at version {t._version}, expected {version}); save a clone()"
                )
        if not modes.state.recording or not self._origins:
            return tuple(t for t, _ in self._saved)
        return tuple(_connected(t, origin) for (t, _), origin in zip(self._saved, self._origins, strict=True))

    def mark_non_differentiable(self, *tensors: Any) -> None:
        """Declare outputs that never need a gradient, such as indices."""
        self._non_differentiable = {id(t) for t in tensors}

    def set_materialize_grads(self, value: bool) -> None:
        """Whether backward receives zeros (default) or None for an output that nothing depends on."""
        self._materialize = value


def _connected(t: Any, origin: Any) -> Any:
    """A saved tensor with the node it came from: a node, or for an output a function that makes one."""
    if t is None or origin is None:
        return t
    if isinstance(origin, Leaf):
        return origin.tensor
    node = origin if isinstance(origin, Node) else origin(t)
    return t._result(t._array, node)._share_memory_of(t)


class FunctionCall:
    """Presents one call of a Function to the engine as an op pair."""

    broadcasts = may_alias = False
    observed = True
    node: weakref.ref[Node]  # not the node itself, which holds this

    def __init__(self, function: type[Function], outputs: list[Any], inputs: tuple[Any, ...]) -> None:
        self.name, self.function = function.__name__, function
        self.devices = [a.device if hasattr(a, "_array") else None for a in inputs]
        self.wrap = outputs[0]._result
        self.outputs = [(t.shape, t._array.dtype) for t in outputs]

    def output(self, index: int, y: Any) -> Node:
        """A node that picks one output."""
        pick = FunctionOutput(self.name, index, len(self.outputs))
        # With the output as a constant, so that nobody has to run forward again to know it.
        a = y._array
        return Node(pick, pick, y._xp, {}, (), (self.node(),), a.shape, a.dtype, (a,), [(y._memory, y._memory.count)])

    def move(self, node: Node, ctx: Context, standing_for: dict[Node, Node]) -> None:
        """Belong to this node from now on, one of those that stand for others in the graph: see utils/checkpoint.py."""
        node.op = node.pair = self
        self.node = weakref.ref(node)
        ctx._origins = [standing_for.get(origin, origin) for origin in ctx._origins]

    def backward(self, xp: Any, saved: tuple[Context], gy: _Parts) -> tuple[Any, ...]:
        (ctx,) = saved
        recorded = isinstance(xp, Mirror)
        grads = []
        for i, (shape, dtype) in enumerate(self.outputs):
            g = gy.parts.get(i)
            if g is None and ctx._materialize:
                g = xp.zeros(shape, dtype)
            grads.append(None if g is None else g.tensor if recorded else self.wrap(g))
        with modes.enable_grad() if recorded else modes.no_grad():
            found = self.function.backward(ctx, *grads)
        found = list(found) if isinstance(found, tuple) else [found]
        while len(found) > len(self.devices) and found[-1] is None:
            del found[-1]  # for arguments of forward that were left at their defaults
        if len(found) != len(self.devices):
            raise RuntimeError(
                f"{self.name}.backward returned {len(found)} gradients, expected {len(self.devices)}: one for "
                "each argument of forward after ctx (None for arguments that are not tensors)"
            )
        for i, g in enumerate(found):
            if g is not None and not hasattr(g, "_array"):
                raise TypeError(
                    f"{self.name}.backward returned a {type(g).__name__} as gradient {i}, expected a Tensor or None"
                )
            if g is not None and gpu.array_types and (place := self.devices[i]) is not None:
                require_one_device(f"{self.name}.backward, whose gradient {i} has to be where its input is", (place, g))
        # Views, since the engine adds into arrays that nobody else holds, and the reader's code may hold these.
        return tuple(None if g is None else xp.wrap(g) if recorded else g._array.view() for g in found)


class _Parts:
    """The gradients of several outputs on their way to the one node that made them."""

    shape: tuple[int, ...] = ()
    dtype = None

    def __init__(self, parts: dict[int, Any], outputs: int) -> None:
        self.parts, self.outputs = parts, outputs

    def __add__(self, other: _Parts) -> _Parts:
        merged = dict(self.parts)
        for i, g in other.parts.items():
            merged[i] = merged[i] + g if i in merged else g
        return _Parts(merged, self.outputs)

    def arrays(self) -> Any:
        """What observers are told: an array, or for several outputs a tuple of arrays, None where nothing arrived."""
        found = tuple(getattr(g, "tensor", g) for g in map(self.parts.get, range(self.outputs)))
        found = tuple(getattr(g, "_array", g) for g in found)
        return found[0] if len(found) == 1 else found


class FunctionOutput:
    """The op that picks output `index` of a Function."""

    broadcasts = may_alias = observed = False

    def __init__(self, name: str, index: int, outputs: int) -> None:
        self.name, self.index, self.outputs = name, index, outputs

    def forward(self, xp: Any, y: Any) -> tuple[Any, tuple[()]]:
        return y, ()

    def backward(self, xp: Any, saved: tuple[()], gy: Any) -> _Parts:
        return _Parts({self.index: gy}, self.outputs)


class Function:
    """Base class of an operation with a gradient of its own.

    class Square(Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x)
            return x * x

        @staticmethod
        def backward(ctx, gy):
            (x,) = ctx.saved_tensors
            return 2 * x * gy

    y = Square.apply(x)
    """

    @staticmethod
    def forward(ctx: Any, *args: Any) -> Any:
        """Compute the output (a Tensor or a tuple of them) from the arguments of `apply`."""
        raise NotImplementedError("a Function defines forward(ctx, *args) as a static method")

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        """Return one gradient per argument of forward from one gradient per output."""
        raise NotImplementedError("a Function defines backward(ctx, *grads) as a static method")

    @classmethod
    def apply(cls, *args: Any) -> Any:
        """Run forward and record it."""
        is_tensor = tuple(hasattr(a, "_array") for a in args)
        needs = tuple(t and a.requires_grad for t, a in zip(is_tensor, args, strict=True))
        ctx = Context(needs)
        if modes.state.observers:
            modes.tell("starting", cls)
        with modes.no_grad():
            result = cls.forward(ctx, *args)
        outputs = list(result) if isinstance(result, tuple) else [result]
        for i, y in enumerate(outputs):
            if not hasattr(y, "_array"):
                raise TypeError(f"{cls.__name__}.forward must return a Tensor or a tuple of Tensors, got {type(y)}")
            if any(y is a for a in args):  # returning an argument unchanged must still give a tensor of its own
                outputs[i] = y.detach()
        if modes.state.observers:
            arrays = tuple(y._array for y in outputs)
            told = tuple(getattr(a, "_array", a) for a in args), arrays[0] if len(arrays) == 1 else arrays
            modes.tell("computed", cls, cls, {}, *told)
        if modes.state.recording and any(needs):
            parents = tuple(a._graph_node() if n else None for a, n in zip(args, needs, strict=True))
            op = FunctionCall(cls, outputs, args)
            node = Node(op, op, outputs[0]._xp, {}, (ctx,), parents, _Parts.shape, _Parts.dtype)
            op.node = weakref.ref(node)
            ctx._find_origins(args, outputs, op)
            if modes.state.observers:
                modes.tell("recorded", node, *told)
            for i, y in enumerate(outputs):
                if id(y) not in ctx._non_differentiable and y.is_floating_point():
                    outputs[i] = y._result(y._array, op.output(i, y))._share_memory_of(y)
                    if modes.state.observers:
                        modes.tell("picked", outputs[i]._node)
        return tuple(outputs) if isinstance(result, tuple) else outputs[0]
