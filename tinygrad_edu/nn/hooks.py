"""Hooks: functions that look into a module while it runs, forwards or backwards."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ..autograd.function import Function
from ..tensor import RemovableHandle, Tensor

if TYPE_CHECKING:
    from .module import Module


class Hook:
    """A registered hook; an object of its own, so that removing one of two equal functions removes the right one."""

    __slots__ = ("call", "with_kwargs")

    def __init__(self, call: Callable[..., Any], with_kwargs: bool = False) -> None:
        self.call, self.with_kwargs = call, with_kwargs


def register(hooks: list[Hook], hook: Hook, prepend: bool) -> RemovableHandle:
    """Put a hook last in the list, or first; the handle returned takes it out again."""
    hooks.insert(0 if prepend else len(hooks), hook)
    return RemovableHandle(hooks, hook)


def call_with_hooks(module: Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """`module.forward(*args, **kwargs)` with the module's hooks around it."""
    for hook in tuple(module._forward_pre_hooks):
        if hook.with_kwargs:
            replaced = hook.call(module, args, kwargs)
            if replaced is not None:
                if not isinstance(replaced, tuple) or len(replaced) != 2:
                    raise RuntimeError(
                        f"forward pre-hook must return None or a tuple of (new_args, new_kwargs), but got {replaced!r}"
                    )
                args, kwargs = replaced
        else:
            replaced = hook.call(module, args)
            if replaced is not None:
                args = replaced if isinstance(replaced, tuple) else (replaced,)
    watch = _BackwardWatch(module) if module._backward_hooks else None
    if watch is not None:
        args = watch.inputs(args)
    result = module.forward(*args, **kwargs)
    for hook in tuple(module._forward_hooks):
        given = (args, kwargs, result) if hook.with_kwargs else (args, result)
        replaced = hook.call(module, *given)
        if replaced is not None:
            result = replaced
    return result if watch is None else watch.outputs(result)


class _Tap(Function):
    """Passes tensors through unchanged; when backward arrives, their gradients become what `see(gradients)` returns."""

    @staticmethod
    def forward(ctx: Any, see: Callable[[Any], Any], *tensors: Tensor) -> tuple[Tensor, ...]:
        ctx.see = see
        ctx.set_materialize_grads(False)
        return tensors

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Any, ...]:
        return None, *ctx.see(grads)


class _BackwardWatch:
    """Follows one call of a module backwards: gradients enter at its outputs and leave at its inputs."""

    def __init__(self, module: Module) -> None:
        self.module = module
        self.grad_output: tuple[Tensor | None, ...] = ()

    def inputs(self, args: tuple[Any, ...]) -> tuple[Any, ...]:
        """The positional arguments, with a tap on those that take a gradient."""
        self.arity, self.taking = len(args), _differentiable(args)

        def leave(grads: tuple[Any, ...]) -> list[Any]:
            grad_input = self._call_hooks(_spread(grads, self.taking, self.arity))
            return [grad_input[i] for i in self.taking]

        return _tapped(args, self.taking, leave)

    def outputs(self, result: Any) -> Any:
        """The module's output, with a tap on every tensor in it that a gradient comes back to."""
        values = result if isinstance(result, tuple) else (result,)
        if not isinstance(result, (Tensor, tuple)):
            warnings.warn(
                "For backward hooks to be called, module output should be a Tensor or a tuple of Tensors but received "
                f"{type(result)}",
                stacklevel=4,
            )
        places = _differentiable(values)

        def enter(grads: tuple[Any, ...]) -> tuple[Any, ...]:
            self.grad_output = _spread(grads, places, len(values))
            if not self.taking:
                self._call_hooks((None,) * self.arity)
            return grads

        tapped = _tapped(values, places, enter)
        return tapped if isinstance(result, tuple) else tapped[0]

    def _call_hooks(self, grad_input: tuple[Any, ...]) -> tuple[Any, ...]:
        for hook in tuple(self.module._backward_hooks):
            replaced = hook.call(self.module, grad_input, self.grad_output)
            if replaced is not None:
                replaced = replaced if isinstance(replaced, tuple) else (replaced,)
                if len(replaced) != len(grad_input):
                    raise RuntimeError(
                        f"Backward hook returned an invalid number of grad_input, got {len(replaced)}, but expected "
                        f"{len(grad_input)}"
                    )
                grad_input = replaced
        return grad_input


def _differentiable(values: tuple[Any, ...]) -> list[int]:
    return [i for i, value in enumerate(values) if isinstance(value, Tensor) and value.requires_grad]


def _spread(grads: tuple[Any, ...], places: list[int], n: int) -> tuple[Any, ...]:
    """The gradients in their places among n values, None elsewhere."""
    found = dict(zip(places, grads, strict=True))
    return tuple(found.get(i) for i in range(n))


def _tapped(values: tuple[Any, ...], places: list[int], see: Callable[[Any], Any]) -> tuple[Any, ...]:
    if not places:
        return values
    passed = dict(zip(places, _Tap.apply(see, *(values[i] for i in places)), strict=True))
    return tuple(passed.get(i, value) for i, value in enumerate(values))
