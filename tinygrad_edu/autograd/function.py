"""`Function`: an operation of the reader's own, with forward and backward written on Tensors."""

from __future__ import annotations

from typing import Any

from . import modes
from .engine import Node


class Context:
    """What a Function's forward keeps for its backward. Any attribute may be set on it."""

    def __init__(self, needs: tuple[bool, ...]) -> None:
        self.needs_input_grad = needs
        self._saved: tuple[tuple[Any, int], ...] = ()
        self._non_differentiable: set[int] = set()
        self._materialize = True

    def save_for_backward(self, *tensors: Any) -> None:
        """Keep tensors for backward. A change of one in place is then noticed."""
        # Detached, since keeping an output itself would tie output, node and context into a cycle.
        self._saved = tuple((None, 0) if t is None else (t.detach(), t._version) for t in tensors)

    @property
    def saved_tensors(self) -> tuple[Any, ...]:
        """The tensors given to `save_for_backward`. RuntimeError: one was changed in place since."""
        for t, version in self._saved:
            if t is not None and t._version != version:
                raise RuntimeError(
                    f"a tensor of shape {tuple(t.shape)} given to save_for_backward was changed in place afterwards "
                    f"(it is at version {t._version}, expected {version}); save a clone()"
                )
        return tuple(t for t, _ in self._saved)

    def mark_non_differentiable(self, *tensors: Any) -> None:
        """Declare outputs that never need a gradient, such as indices."""
        self._non_differentiable = {id(t) for t in tensors}

    def set_materialize_grads(self, value: bool) -> None:
        """Whether backward receives zeros (default) or None for an output that nothing depends on."""
        self._materialize = value


class _UserOp:
    """Presents one call of a Function to the engine as an op pair."""

    broadcasts = may_alias = False

    def __init__(self, function: type[Function], outputs: list[Any], tensor_inputs: tuple[bool, ...]) -> None:
        self.name, self.function, self.tensor_inputs = function.__name__, function, tensor_inputs
        self.wrap = outputs[0]._result
        self.outputs = [(t.shape, t._array.dtype) for t in outputs]

    def backward(self, xp: Any, saved: tuple[Context], gy: _Parts) -> tuple[Any, ...]:
        (ctx,) = saved
        grads = []
        for i, (shape, dtype) in enumerate(self.outputs):
            g = gy.parts.get(i)
            if g is None and ctx._materialize:
                g = xp.zeros(shape, dtype)
            grads.append(None if g is None else self.wrap(g))
        with modes.no_grad():
            found = self.function.backward(ctx, *grads)
        found = list(found) if isinstance(found, tuple) else [found]
        while len(found) > len(self.tensor_inputs) and found[-1] is None:
            del found[-1]  # for arguments of forward that were left at their defaults
        if len(found) != len(self.tensor_inputs):
            raise RuntimeError(
                f"{self.name}.backward returned {len(found)} gradients, expected {len(self.tensor_inputs)}: one for "
                "each argument of forward after ctx (None for arguments that are not tensors)"
            )
        for i, g in enumerate(found):
            if g is not None and not hasattr(g, "_array"):
                raise TypeError(
                    f"{self.name}.backward returned a {type(g).__name__} as gradient {i}, expected a Tensor or None"
                )
        # Views, since the engine adds into arrays that nobody else holds, and the reader's code may hold these.
        return tuple(None if g is None else g._array.view() for g in found)


class _Parts:
    """The gradients of several outputs on their way to the one node that made them."""

    shape: tuple[int, ...] = ()
    dtype = None

    def __init__(self, parts: dict[int, Any]) -> None:
        self.parts = parts

    def __add__(self, other: _Parts) -> _Parts:
        merged = dict(self.parts)
        for i, g in other.parts.items():
            merged[i] = merged[i] + g if i in merged else g
        return _Parts(merged)


class _Output:
    """The op that picks output `index` of a Function."""

    broadcasts = may_alias = False

    def __init__(self, name: str, index: int) -> None:
        self.name, self.index = name, index

    def backward(self, xp: Any, saved: tuple[()], gy: Any) -> _Parts:
        return _Parts({self.index: gy})


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
        with modes.no_grad():
            result = cls.forward(ctx, *args)
        outputs = list(result) if isinstance(result, tuple) else [result]
        for i, y in enumerate(outputs):
            if not hasattr(y, "_array"):
                raise TypeError(f"{cls.__name__}.forward must return a Tensor or a tuple of Tensors, got {type(y)}")
            if any(y is a for a in args):  # returning an argument unchanged must still give a tensor of its own
                outputs[i] = y.detach()
        if modes.state.recording and any(needs):
            parents = tuple(a._graph_node() if n else None for a, n in zip(args, needs, strict=True))
            op = _UserOp(cls, outputs, is_tensor)
            node = Node(op, op, outputs[0]._xp, {}, (ctx,), parents, _Parts.shape, _Parts.dtype)
            for i, y in enumerate(outputs):
                if id(y) not in ctx._non_differentiable and y.is_floating_point():
                    pick = _Output(op.name, i)
                    picked = Node(pick, pick, y._xp, {}, (), (node,), y._array.shape, y._array.dtype)
                    outputs[i] = y._result(y._array, picked)._share_memory_of(y)
        return tuple(outputs) if isinstance(result, tuple) else outputs[0]
