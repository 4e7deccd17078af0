"""What an op is: two pure functions on arrays."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


class Op:
    """Base class of the primitives.

    `forward(xp, *arrays, **attrs) -> (y, saved)` computes the output and the tuple of values that backward needs;
    `backward(xp, saved, gy)` returns the gradient of each input (a tuple if there are several; None where there is
    no gradient). An entry may be a function without arguments: it is called only if that input requires grad.
    `xp` is the array module, so an op never asks which device it is on. Nothing given to an op is changed.
    """

    name: str
    differentiable = True
    observed = True  # observers are told of it
    broadcasts = False  # inputs are broadcast against each other; the engine sums their gradients back
    may_alias = False  # the output may be a view of the first input
    saved_for: tuple[tuple[int, ...], ...] | None = None  # for each saved value, the inputs whose gradients use it

    # As backward, but called once what was saved is needed no more: it may write into what nobody else holds.
    last_backward: Callable[[Any, tuple[Any, ...], Any], Any] | None = None

    @staticmethod
    def forward(xp: Any, *arrays: Any, **attrs: Any) -> tuple[Any, tuple[Any, ...]]:
        raise NotImplementedError

    @staticmethod
    def backward(xp: Any, saved: tuple[Any, ...], gy: Any) -> Any:
        raise NotImplementedError
