"""Pooling layers. Formulas, shapes and sources: the functions in `functional/pooling.py`."""

from __future__ import annotations

from typing import Any

from ..functional import pooling
from ..functional.windows import per_axis
from ..tensor import Tensor
from .module import Module


class _MaxPool(Module):
    def __init__(
        self, kernel_size: Any, stride: Any = None, padding: Any = 0, dilation: Any = 1, return_indices: bool = False,
        ceil_mode: bool = False,
    ) -> None:  # fmt: skip
        super().__init__()
        self.kernel_size, self.stride = kernel_size, kernel_size if stride is None else stride
        self.padding, self.dilation = padding, dilation
        self.return_indices, self.ceil_mode = return_indices, ceil_mode

    def _settings(self) -> tuple[Any, ...]:
        return self.kernel_size, self.stride, self.padding, self.dilation, self.ceil_mode, self.return_indices

    def extra_repr(self) -> str:
        return (
            f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}, dilation={self.dilation}, "
            f"ceil_mode={self.ceil_mode}"
        )


class MaxPool1d(_MaxPool):
    """y = the largest element of every window: (B, C, L) or (C, L) -> (B, C, M). return_indices: (y, where it is)."""

    def forward(self, input: Tensor) -> Any:
        return pooling.max_pool1d(input, *self._settings())


class MaxPool2d(_MaxPool):
    """`MaxPool1d` over two axes: (B, C, H, W) or (C, H, W)."""

    def forward(self, input: Tensor) -> Any:
        return pooling.max_pool2d(input, *self._settings())


class MaxPool3d(_MaxPool):
    """`MaxPool1d` over three axes: (B, C, D, H, W) or (C, D, H, W)."""

    def forward(self, input: Tensor) -> Any:
        return pooling.max_pool3d(input, *self._settings())


class _AvgPool(Module):
    def extra_repr(self) -> str:
        return f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}"


class AvgPool1d(_AvgPool):
    """y = the mean of every window: (B, C, L) or (C, L) -> (B, C, M)."""

    def __init__(
        self, kernel_size: Any, stride: Any = None, padding: Any = 0, ceil_mode: bool = False,
        count_include_pad: bool = True,
    ) -> None:  # fmt: skip
        super().__init__()
        self.kernel_size = per_axis("AvgPool1d", "kernel_size", kernel_size, 1)
        self.stride = self.kernel_size if stride is None else per_axis("AvgPool1d", "stride", stride, 1)
        self.padding = per_axis("AvgPool1d", "padding", padding, 1)
        self.ceil_mode, self.count_include_pad = ceil_mode, count_include_pad

    def forward(self, input: Tensor) -> Tensor:
        return pooling.avg_pool1d(
            input, self.kernel_size, self.stride, self.padding, self.ceil_mode, self.count_include_pad
        )


class _AvgPoolWithDivisor(_AvgPool):
    def __init__(
        self, kernel_size: Any, stride: Any = None, padding: Any = 0, ceil_mode: bool = False,
        count_include_pad: bool = True, divisor_override: int | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        self.kernel_size, self.stride = kernel_size, kernel_size if stride is None else stride
        self.padding, self.ceil_mode = padding, ceil_mode
        self.count_include_pad, self.divisor_override = count_include_pad, divisor_override

    def _settings(self) -> tuple[Any, ...]:
        return (
            self.kernel_size, self.stride, self.padding, self.ceil_mode, self.count_include_pad, self.divisor_override
        )  # fmt: skip


class AvgPool2d(_AvgPoolWithDivisor):
    """`AvgPool1d` over two axes: (B, C, H, W) or (C, H, W). divisor_override: divide the sums by this instead."""

    def forward(self, input: Tensor) -> Tensor:
        return pooling.avg_pool2d(input, *self._settings())


class AvgPool3d(_AvgPoolWithDivisor):
    """`AvgPool2d` over three axes: (B, C, D, H, W) or (C, D, H, W)."""

    def forward(self, input: Tensor) -> Tensor:
        return pooling.avg_pool3d(input, *self._settings())


class _LPPool(Module):
    def __init__(self, norm_type: float, kernel_size: Any, stride: Any = None, ceil_mode: bool = False) -> None:
        super().__init__()
        self.norm_type, self.kernel_size, self.stride, self.ceil_mode = norm_type, kernel_size, stride, ceil_mode

    def extra_repr(self) -> str:
        return (
            f"norm_type={self.norm_type}, kernel_size={self.kernel_size}, stride={self.stride}, "
            f"ceil_mode={self.ceil_mode}"
        )


class LPPool1d(_LPPool):
    """y = (sum of x^norm_type)^(1 / norm_type) of every window: (B, C, L) or (C, L) -> (B, C, M)."""

    def forward(self, input: Tensor) -> Tensor:
        return pooling.lp_pool1d(input, self.norm_type, self.kernel_size, self.stride, self.ceil_mode)


class LPPool2d(_LPPool):
    """`LPPool1d` over two axes: (B, C, H, W) or (C, H, W)."""

    def forward(self, input: Tensor) -> Tensor:
        return pooling.lp_pool2d(input, self.norm_type, self.kernel_size, self.stride, self.ceil_mode)


class _Adaptive(Module):
    def extra_repr(self) -> str:
        return f"output_size={self.output_size}"


class _AdaptiveAvgPool(_Adaptive):
    def __init__(self, output_size: Any) -> None:
        super().__init__()
        self.output_size = output_size


class AdaptiveAvgPool1d(_AdaptiveAvgPool):
    """y = the means of output_size windows that together cover the input: (B, C, L) -> (B, C, output_size)."""

    def forward(self, input: Tensor) -> Tensor:
        return pooling.adaptive_avg_pool1d(input, self.output_size)


class AdaptiveAvgPool2d(_AdaptiveAvgPool):
    """`AdaptiveAvgPool1d` over two axes; in output_size None keeps a size: (B, C, H, W) -> (B, C, *output_size)."""

    def forward(self, input: Tensor) -> Tensor:
        return pooling.adaptive_avg_pool2d(input, self.output_size)


class AdaptiveAvgPool3d(_AdaptiveAvgPool):
    """`AdaptiveAvgPool2d` over three axes: (B, C, D, H, W) -> (B, C, *output_size)."""

    def forward(self, input: Tensor) -> Tensor:
        return pooling.adaptive_avg_pool3d(input, self.output_size)


class _AdaptiveMaxPool(_Adaptive):
    def __init__(self, output_size: Any, return_indices: bool = False) -> None:
        super().__init__()
        self.output_size, self.return_indices = output_size, return_indices


class AdaptiveMaxPool1d(_AdaptiveMaxPool):
    """y = the largest elements of output_size windows that together cover the input: (B, C, L) -> (B, C, output_size).

    return_indices: (y, where they are).
    """

    def forward(self, input: Tensor) -> Any:
        return pooling.adaptive_max_pool1d(input, self.output_size, self.return_indices)


class AdaptiveMaxPool2d(_AdaptiveMaxPool):
    """`AdaptiveMaxPool1d` over two axes; in output_size None keeps a size: (B, C, H, W) -> (B, C, *output_size)."""

    def forward(self, input: Tensor) -> Any:
        return pooling.adaptive_max_pool2d(input, self.output_size, self.return_indices)


class AdaptiveMaxPool3d(_AdaptiveMaxPool):
    """`AdaptiveMaxPool2d` over three axes: (B, C, D, H, W) -> (B, C, *output_size)."""

    def forward(self, input: Tensor) -> Any:
        return pooling.adaptive_max_pool3d(input, self.output_size, self.return_indices)
