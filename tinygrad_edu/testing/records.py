"""The form of the op table: what one record says about one public function.

A record names a function under the name that PyTorch gives it too, and gives sample calls. From it follow the checks of
forward, gradient, dtype and errors. The records themselves are in `table/`, one file per family of functions.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np


class Sample:
    """One call: arguments in which arrays (also inside lists and tuples) stand for tensors.

    Floating arrays are the differentiable inputs; the checks cast them to the dtype being tested. Strides are kept, so
    `x.T` is a non-contiguous input. An array that is used twice is one tensor used twice. A dtype is written as a
    `DType`, and a floating array that must not require grad as a `Constant`.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.args, self.kwargs = args, kwargs

    def __repr__(self) -> str:
        parts = [_short(a) for a in self.args] + [f"{k}={_short(v)}" for k, v in self.kwargs.items()]
        return ", ".join(parts)


class ErrorSample(Sample):
    """A call that must raise: the same error class as PyTorch (or a subclass), with `match` in our message."""

    def __init__(self, *args: Any, error: type[Exception], match: str, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.error, self.match = error, match


@dataclass(frozen=True)
class DType:
    """A dtype by name, given to each library in its own form."""

    name: str


@dataclass(frozen=True, eq=False)
class Constant:
    """A floating array given as a tensor that does not require grad."""

    array: np.ndarray

    def __repr__(self) -> str:
        return f"Constant({_short(self.array)})"


@dataclass(frozen=True)
class OpRecord:
    """What the table knows about one function."""

    name: str  # dotted name below the package, the same in PyTorch: "add", "nn.functional.softmax", "Tensor.view"
    samples: Callable[[np.random.Generator], list[Sample]]
    errors: Callable[[np.random.Generator], list[ErrorSample]] = lambda rng: []
    differentiable: bool = True  # False: outputs are compared, nothing else
    torch: Callable[..., Any] | None = None  # called as torch(module, *args) where PyTorch has no function of that name
    ours: Callable[..., Any] | None = None  # the same for this framework
    kind: str = "elementwise"  # the tolerance: "elementwise", "reduction" (sums, products of matrices) or "exact"
    gradcheck: bool = True  # False only where finite differences do not apply, with the reason in `note`
    gradgradcheck: bool = True  # False only where there is no second derivative to check, with the reason in `note`
    note: str = ""


def _short(x: Any) -> str:
    if isinstance(x, np.ndarray):
        return f"{x.dtype}{list(x.shape)}"
    return repr(x)
