"""Layers that standardise channels by statistics over a batch, or over one example, and remember them.

Formulas and sources: `batch_norm` and `instance_norm` in `functional/normalization.py`.
"""

from __future__ import annotations

import warnings
from typing import Any

from ..creation import empty, ones, tensor, zeros
from ..functional.normalization import batch_norm, instance_norm
from ..functional.shape import squeeze, unsqueeze
from ..tensor import Tensor
from . import init
from .module import Module
from .parameter import Parameter


class _ChannelNorm(Module):
    """What both kinds share: weight and bias (num_features), running statistics, how many batches went into them."""

    dims: tuple[int, ...]  # how many dimensions an input may have
    weight: Parameter | None
    bias: Parameter | None
    running_mean: Tensor | None
    running_var: Tensor | None
    num_batches_tracked: Tensor | None

    def __init__(
        self, num_features: int, eps: float, momentum: float | None, affine: bool, track_running_stats: bool,
        device: Any, dtype: Any, bias: bool,
    ) -> None:  # fmt: skip
        super().__init__()
        self.num_features, self.eps, self.momentum = num_features, eps, momentum
        self.affine, self.track_running_stats = affine, track_running_stats
        for name, present in ("weight", affine), ("bias", affine and bias):
            param = Parameter(empty(num_features, device=device, dtype=dtype)) if present else None
            self.register_parameter(name, param)
        kept = track_running_stats
        self.register_buffer("running_mean", zeros(num_features, device=device, dtype=dtype) if kept else None)
        self.register_buffer("running_var", ones(num_features, device=device, dtype=dtype) if kept else None)
        self.register_buffer("num_batches_tracked", tensor(0, device=device) if kept else None)
        self.reset_parameters()

    def reset_running_stats(self) -> None:
        """Forget what was seen: mean 0, variance 1, no batches."""
        if self.running_mean is not None and self.running_var is not None and self.num_batches_tracked is not None:
            init.zeros_(self.running_mean)
            init.ones_(self.running_var)
            self.num_batches_tracked.zero_()

    def reset_parameters(self) -> None:
        """Set weight to ones and bias to zeros, and forget the running statistics."""
        self.reset_running_stats()
        if self.weight is not None:
            init.ones_(self.weight)
        if self.bias is not None:
            init.zeros_(self.bias)

    def _check_input_dim(self, input: Tensor) -> None:
        if input.ndim not in self.dims:
            expected = " or ".join(f"{n}D" for n in self.dims)
            raise ValueError(f"{self._get_name()}: expected {expected} input (got {input.ndim}D input)")

    def extra_repr(self) -> str:
        return (
            f"{self.num_features}, eps={self.eps}, momentum={self.momentum}, affine={self.affine}, "
            f"bias={self.bias is not None}, track_running_stats={self.track_running_stats}"
        )


class _BatchNorm(_ChannelNorm):
    def __init__(
        self, num_features: int, eps: float = 1e-5, momentum: float | None = 0.1, affine: bool = True,
        track_running_stats: bool = True, device: Any = None, dtype: Any = None, *, bias: bool = True,
    ) -> None:  # fmt: skip
        super().__init__(num_features, eps, momentum, affine, track_running_stats, device, dtype, bias)

    def forward(self, input: Tensor) -> Tensor:
        self._check_input_dim(input)
        mean, var, momentum = self.running_mean, self.running_var, self.momentum
        if self.training and not self.track_running_stats:
            mean = var = None
        tracked = self.num_batches_tracked if self.training and mean is not None else None
        if momentum is None:  # then all batches count the same
            momentum = 0.0 if tracked is None else 1 / (int(tracked) + 1)
        from_batch = self.training or mean is None
        y = batch_norm(input, mean, var, self.weight, self.bias, from_batch, momentum, self.eps)
        if tracked is not None:
            tracked.add_(1)
        return y


class BatchNorm1d(_BatchNorm):
    """y = (x - mean) / sqrt(var + eps) * weight + bias for each channel.

    In training mean and var are those of the batch, and the running ones move towards them by momentum (None: they
    become the mean over all batches); in evaluation the running ones are used.
    Shapes: x (B, num_features) or (B, num_features, L) -> y the same; weight, bias, running_mean, running_var
    (num_features); num_batches_tracked (). Source: Ioffe and Szegedy 2015, arXiv:1502.03167.
    """

    dims = (2, 3)


class BatchNorm2d(_BatchNorm):
    """`BatchNorm1d` for x (B, num_features, H, W)."""

    dims = (4,)


class BatchNorm3d(_BatchNorm):
    """`BatchNorm1d` for x (B, num_features, D, H, W)."""

    dims = (5,)


class _InstanceNorm(_ChannelNorm):
    def __init__(
        self, num_features: int, eps: float = 1e-5, momentum: float = 0.1, affine: bool = False,
        track_running_stats: bool = False, device: Any = None, dtype: Any = None, *, bias: bool = True,
    ) -> None:  # fmt: skip
        super().__init__(num_features, eps, momentum, affine, track_running_stats, device, dtype, bias)

    def forward(self, input: Tensor) -> Tensor:
        self._check_input_dim(input)
        at = input.ndim - self.dims[0]
        if input.shape[at] != self.num_features:
            message = f"{self._get_name()}: input's size at dim={at} is {input.shape[at]}, num_features is "
            if self.affine:
                raise ValueError(f"{message}{self.num_features}; they must be equal")
            warnings.warn(f"{message}{self.num_features}, which is not used as affine=False", stacklevel=2)
        if at == 0:
            return squeeze(self._normalised(unsqueeze(input, 0)), 0)
        return self._normalised(input)

    def _normalised(self, input: Tensor) -> Tensor:
        from_input = self.training or not self.track_running_stats
        momentum = 0.0 if self.momentum is None else self.momentum
        return instance_norm(
            input, self.running_mean, self.running_var, self.weight, self.bias, from_input, momentum, self.eps
        )


class InstanceNorm1d(_InstanceNorm):
    """`BatchNorm1d` of each example by itself: mean and var are over the spatial axes of one channel of one example.

    Shapes: x (B, num_features, L) or (num_features, L) -> y the same. Without affine there are no weight and bias,
    without track_running_stats no running statistics. Source: Ulyanov et al. 2016, arXiv:1607.08022.
    """

    dims = (2, 3)


class InstanceNorm2d(_InstanceNorm):
    """`InstanceNorm1d` for x (B, num_features, H, W) or (num_features, H, W)."""

    dims = (3, 4)


class InstanceNorm3d(_InstanceNorm):
    """`InstanceNorm1d` for x (B, num_features, D, H, W) or (num_features, D, H, W)."""

    dims = (4, 5)
