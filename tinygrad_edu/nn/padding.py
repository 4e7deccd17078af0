"""Padding layers: elements added at both ends of the last one, two or three axes.

padding: one width for all ends, or (before, after) of the last axis, then of the one before it, and so on; a negative
width cuts off. Shapes: (B, C, *size) or (C, *size). See `nn.functional.pad`.
"""

from __future__ import annotations

from typing import Any

from ..functional.shape import pad
from ..tensor import Tensor
from .module import Module


class _Pad(Module):
    axes: int
    mode: str

    def __init__(self, padding: Any) -> None:
        super().__init__()
        self.padding = (padding,) * (2 * self.axes) if isinstance(padding, int) else tuple(padding)

    def forward(self, input: Tensor) -> Tensor:
        return pad(input, self.padding, self.mode)

    def extra_repr(self) -> str:
        return f"{self.padding}"


class _ConstantPad(_Pad):
    def __init__(self, padding: Any, value: float) -> None:
        super().__init__(padding)
        self.value = value

    def forward(self, input: Tensor) -> Tensor:
        return pad(input, self.padding, "constant", self.value)

    def extra_repr(self) -> str:
        return f"padding={self.padding}, value={self.value}"


class ConstantPad1d(_ConstantPad):
    """Pad the last axis with a number."""

    axes = 1


class ConstantPad2d(_ConstantPad):
    """Pad the last two axes with a number."""

    axes = 2


class ConstantPad3d(_ConstantPad):
    """Pad the last three axes with a number."""

    axes = 3


class _ZeroPad(_ConstantPad):
    def __init__(self, padding: Any) -> None:
        super().__init__(padding, 0.0)

    def extra_repr(self) -> str:
        return f"{self.padding}"


class ZeroPad1d(_ZeroPad):
    """Pad the last axis with zeros."""

    axes = 1


class ZeroPad2d(_ZeroPad):
    """Pad the last two axes with zeros."""

    axes = 2


class ZeroPad3d(_ZeroPad):
    """Pad the last three axes with zeros."""

    axes = 3


class _ReflectionPad(_Pad):
    mode = "reflect"


class ReflectionPad1d(_ReflectionPad):
    """Continue the last axis by its mirror image, the end itself not repeated: 1 2 3 -> 2 1 2 3 2."""

    axes = 1


class ReflectionPad2d(_ReflectionPad):
    """`ReflectionPad1d` of the last two axes."""

    axes = 2


class ReflectionPad3d(_ReflectionPad):
    """`ReflectionPad1d` of the last three axes."""

    axes = 3


class _ReplicationPad(_Pad):
    mode = "replicate"


class ReplicationPad1d(_ReplicationPad):
    """Continue the last axis by its first and last elements: 1 2 3 -> 1 1 2 3 3."""

    axes = 1


class ReplicationPad2d(_ReplicationPad):
    """`ReplicationPad1d` of the last two axes."""

    axes = 2


class ReplicationPad3d(_ReplicationPad):
    """`ReplicationPad1d` of the last three axes."""

    axes = 3


class _CircularPad(_Pad):
    mode = "circular"

    def forward(self, input: Tensor) -> Tensor:
        if input.ndim not in (self.axes + 1, self.axes + 2):
            raise ValueError(
                f"{self._get_name()}: expected {self.axes + 1}D or {self.axes + 2}D input, got {input.ndim}D input"
            )
        return super().forward(input)


class CircularPad1d(_CircularPad):
    """Continue the last axis from its other end: 1 2 3 -> 3 1 2 3 1."""

    axes = 1


class CircularPad2d(_CircularPad):
    """`CircularPad1d` of the last two axes."""

    axes = 2


class CircularPad3d(_CircularPad):
    """`CircularPad1d` of the last three axes."""

    axes = 3
