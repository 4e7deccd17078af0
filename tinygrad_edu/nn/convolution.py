"""Convolution layers. Formulas, shapes and sources: the functions in `functional/convolution.py`.

kernel_size, stride, padding, dilation and output_padding are one integer, or one for each spatial axis. Weight and bias
start uniform on +-1 / sqrt(weight.size(1) * places in the kernel).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from ..creation import empty
from ..functional import convolution
from ..functional.shape import pad
from ..functional.windows import per_axis
from ..tensor import Tensor
from . import init
from .module import Module
from .parameter import Parameter

_PADDING_MODES = ("zeros", "reflect", "replicate", "circular")


class _ConvolutionBase(Module):
    """The settings and parameters of a convolution or transposed convolution over `axes` spatial axes."""

    axes: int
    transposed: bool
    bias: Parameter | None
    padding: Any  # a width for each axis, "valid" or "same"

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: Any, stride: Any, padding: Any, dilation: Any,
        output_padding: Any, groups: int, bias: bool, padding_mode: str, device: Any, dtype: Any,
    ) -> None:  # fmt: skip
        super().__init__()
        if groups <= 0:
            raise ValueError(f"groups must be a positive integer, got {groups}")
        for name, channels in ("in_channels", in_channels), ("out_channels", out_channels):
            if channels % groups:
                raise ValueError(f"{name} must be divisible by groups, got {channels} and {groups}")
        if padding_mode not in _PADDING_MODES:
            raise ValueError(f"padding_mode must be one of {_PADDING_MODES}, but got padding_mode='{padding_mode}'")
        self.in_channels, self.out_channels = in_channels, out_channels
        self.kernel_size = self._per_axis("kernel_size", kernel_size)
        self.stride = self._per_axis("stride", stride)
        self.padding = padding if isinstance(padding, str) else self._per_axis("padding", padding)
        self.dilation = self._per_axis("dilation", dilation)
        self.output_padding = self._per_axis("output_padding", output_padding)
        self.groups, self.padding_mode = groups, padding_mode
        if isinstance(padding, str):
            if padding not in ("valid", "same"):
                raise ValueError(f"invalid padding string {padding!r}, should be 'valid' or 'same'")
            if padding == "same" and self.stride != (1,) * self.axes:
                raise ValueError(f"padding='same' is not supported for strided convolutions, got stride={self.stride}")
        sides = (in_channels, out_channels) if self.transposed else (out_channels, in_channels)
        shape = (sides[0], sides[1] // groups, *self.kernel_size)
        self.weight = Parameter(empty(shape, device=device, dtype=dtype))
        self.register_parameter("bias", Parameter(empty(out_channels, device=device, dtype=dtype)) if bias else None)
        self.reset_parameters()

    def _per_axis(self, argument: str, value: Any) -> tuple[int, ...]:
        return per_axis(self._get_name(), argument, value, self.axes)

    def reset_parameters(self) -> None:
        """Draw weight and bias anew."""
        init.kaiming_uniform_(self.weight, a=math.sqrt(5))  # this slope makes the bound 1 / sqrt(fan in)
        if self.bias is not None:
            fan_in = math.prod(self.weight.shape[1:])
            bound = 1 / math.sqrt(fan_in) if fan_in > 0 else 0.0
            init.uniform_(self.bias, -bound, bound)

    def extra_repr(self) -> str:
        zeros, ones = (0,) * self.axes, (1,) * self.axes
        parts = [f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, stride={self.stride}"]
        for name, plain in {"padding": zeros, "dilation": ones, "output_padding": zeros, "groups": 1}.items():
            if getattr(self, name) != plain:
                parts.append(f"{name}={getattr(self, name)}")
        if self.bias is None:
            parts.append("bias=False")
        if self.padding_mode != "zeros":
            parts.append(f"padding_mode={self.padding_mode}")
        return ", ".join(parts)


class _Convolution(_ConvolutionBase):
    transposed = False

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: Any, stride: Any = 1, padding: Any = 0,
        dilation: Any = 1, groups: int = 1, bias: bool = True, padding_mode: str = "zeros", device: Any = None,
        dtype: Any = None,
    ) -> None:  # fmt: skip
        super().__init__(
            in_channels, out_channels, kernel_size, stride, padding, dilation, 0, groups, bias, padding_mode, device,
            dtype,
        )  # fmt: skip

    def forward(self, input: Tensor) -> Tensor:
        function = (convolution.conv1d, convolution.conv2d, convolution.conv3d)[self.axes - 1]
        padding: Any = self.padding
        if self.padding_mode != "zeros":
            input, padding = pad(input, self._around(), mode=self.padding_mode), 0
        return function(input, self.weight, self.bias, self.stride, padding, self.dilation, self.groups)

    def _around(self) -> list[int]:
        """How much to pad before and after each axis, the last one first, as `pad` takes it."""
        before, after = convolution.padding_widths(
            self._get_name(), self.padding, self.kernel_size, self.stride, self.dilation
        )
        return [width for pair in zip(before[::-1], after[::-1], strict=True) for width in pair]


class Conv1d(_Convolution):
    """y = the convolution of x with weight, plus bias.

    Shapes: x (B, in_channels, L) or (in_channels, L) -> y (B, out_channels, M); weight (out_channels, in_channels /
    groups, kernel), bias (out_channels). padding: a width, "valid" or "same"; padding_mode: what it is filled with,
    "zeros", "reflect", "replicate" or "circular".
    """

    axes = 1


class Conv2d(_Convolution):
    """`Conv1d` over two axes: x (B, in_channels, H, W) or (in_channels, H, W)."""

    axes = 2


class Conv3d(_Convolution):
    """`Conv1d` over three axes: x (B, in_channels, D, H, W) or (in_channels, D, H, W)."""

    axes = 3


class _TransposedConvolution(_ConvolutionBase):
    transposed = True

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: Any, stride: Any = 1, padding: Any = 0,
        output_padding: Any = 0, groups: int = 1, bias: bool = True, dilation: Any = 1, padding_mode: str = "zeros",
        device: Any = None, dtype: Any = None,
    ) -> None:  # fmt: skip
        if padding_mode != "zeros":
            raise ValueError(f'Only "zeros" padding mode is supported for {type(self).__name__}, got "{padding_mode}"')
        super().__init__(
            in_channels, out_channels, kernel_size, stride, padding, dilation, output_padding, groups, bias,
            padding_mode, device, dtype,
        )  # fmt: skip

    def forward(self, input: Tensor, output_size: Sequence[int] | None = None) -> Tensor:
        """output_size: of the sizes that the convolution of these settings would take to the input's, the one meant."""
        function = (
            convolution.conv_transpose1d, convolution.conv_transpose2d, convolution.conv_transpose3d
        )[self.axes - 1]  # fmt: skip
        extra = self.output_padding if output_size is None else self._extra(input, output_size)
        return function(
            input, self.weight, self.bias, self.stride, self.padding, extra, self.groups, self.dilation
        )  # fmt: skip

    def _extra(self, input: Tensor, output_size: Sequence[int]) -> tuple[int, ...]:
        """The output padding that leads to this size."""
        wanted = tuple(output_size)
        if len(wanted) == input.ndim:
            wanted = wanted[-self.axes :]
        if len(wanted) != self.axes:
            raise ValueError(
                f"{self._get_name()}: for {input.ndim}D input, output_size must have {self.axes} or {input.ndim} "
                f"elements, got {len(wanted)}"
            )
        settings = zip(
            input.shape[-self.axes :], self.stride, self.padding, self.kernel_size, self.dilation, strict=True
        )  # fmt: skip
        smallest = tuple((n - 1) * s - 2 * p + d * (k - 1) + 1 for n, s, p, k, d in settings)
        extra = tuple(w - least for w, least in zip(wanted, smallest, strict=True))
        if any(not 0 <= e < s for e, s in zip(extra, self.stride, strict=True)):
            largest = tuple(least + s - 1 for least, s in zip(smallest, self.stride, strict=True))
            raise ValueError(
                f"{self._get_name()}: requested an output size of {wanted}, but valid sizes range from {smallest} to "
                f"{largest} for an input of {tuple(input.shape[-self.axes :])}"
            )
        return extra


class ConvTranspose1d(_TransposedConvolution):
    """y = the transposed convolution of x with weight, plus bias: what `Conv1d` does to gradients.

    Shapes: x (B, in_channels, L) or (in_channels, L) -> y (B, out_channels, M); weight (in_channels, out_channels /
    groups, kernel), bias (out_channels).
    """

    axes = 1


class ConvTranspose2d(_TransposedConvolution):
    """`ConvTranspose1d` over two axes: x (B, in_channels, H, W) or (in_channels, H, W)."""

    axes = 2


class ConvTranspose3d(_TransposedConvolution):
    """`ConvTranspose1d` over three axes: x (B, in_channels, D, H, W) or (in_channels, D, H, W)."""

    axes = 3
