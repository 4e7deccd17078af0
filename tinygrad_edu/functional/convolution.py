"""Convolution and transposed convolution of signals, pictures and volumes.

Sizes: input (B, C, *size) or (C, *size) with 1, 2 or 3 spatial axes. stride, padding, dilation and output_padding are
one integer, or one for each spatial axis.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..dispatch import apply
from ..ops import convolution as ops
from .arguments import require_tensor
from .elementwise import add
from .linalg import require_same_dtype
from .precision import autocasts
from .shape import reshape
from .windows import Sizes, as_given, counts, in_batch, padded, per_axis

if TYPE_CHECKING:
    from ..tensor import Tensor


@autocasts
def conv1d(
    input: Tensor, weight: Tensor, bias: Tensor | None = None, stride: Any = 1, padding: Any = 0, dilation: Any = 1,
    groups: int = 1,
) -> Tensor:  # fmt: skip
    """y[o, i] = sum over c and k of input[c, i * stride + k * dilation - padding] * weight[o, c, k] + bias[o].

    Shapes: input (B, C, L) or (C, L), weight (O, C / groups, K), bias (O) -> (B, O, M). padding: zeros on both sides,
    or "valid" for none, or "same" for as many as keep L. groups: channels are cut into so many parts, and outputs of a
    part see its inputs only. RuntimeError: sizes or dtypes that do not fit. Source: Dumoulin and Visin 2016,
    arXiv:1603.07285.
    """
    return _convolved("conv1d", 1, input, weight, bias, stride, padding, dilation, groups)


@autocasts
def conv2d(
    input: Tensor, weight: Tensor, bias: Tensor | None = None, stride: Any = 1, padding: Any = 0, dilation: Any = 1,
    groups: int = 1,
) -> Tensor:  # fmt: skip
    """`conv1d` over two axes: input (B, C, H, W) or (C, H, W), weight (O, C / groups, KH, KW), bias (O)."""
    return _convolved("conv2d", 2, input, weight, bias, stride, padding, dilation, groups)


@autocasts
def conv3d(
    input: Tensor, weight: Tensor, bias: Tensor | None = None, stride: Any = 1, padding: Any = 0, dilation: Any = 1,
    groups: int = 1,
) -> Tensor:  # fmt: skip
    """`conv1d` over three axes: input (B, C, D, H, W) or (C, D, H, W), weight (O, C / groups, KD, KH, KW), bias (O)."""
    return _convolved("conv3d", 3, input, weight, bias, stride, padding, dilation, groups)


@autocasts
def conv_transpose1d(
    input: Tensor, weight: Tensor, bias: Tensor | None = None, stride: Any = 1, padding: Any = 0,
    output_padding: Any = 0, groups: int = 1, dilation: Any = 1,
) -> Tensor:  # fmt: skip
    """The transpose of `conv1d`: every input paints the weight onto the output, where it is added up.

    y[o, i * stride + k * dilation - padding] = sum over c of input[c, i] * weight[c, o, k] + bias[o].
    Shapes: input (B, C, L) or (C, L), weight (C, O / groups, K), bias (O) -> (B, O, M) with M = (L - 1) * stride -
    2 * padding + dilation * (K - 1) + output_padding + 1. output_padding says which of the sizes that `conv1d` takes to
    L is meant. RuntimeError: sizes or dtypes that do not fit. Source: Dumoulin and Visin 2016, arXiv:1603.07285.
    """
    return _transposed("conv_transpose1d", 1, input, weight, bias, stride, padding, output_padding, groups, dilation)


@autocasts
def conv_transpose2d(
    input: Tensor, weight: Tensor, bias: Tensor | None = None, stride: Any = 1, padding: Any = 0,
    output_padding: Any = 0, groups: int = 1, dilation: Any = 1,
) -> Tensor:  # fmt: skip
    """`conv_transpose1d` over two axes: input (B, C, H, W) or (C, H, W), weight (C, O / groups, KH, KW), bias (O)."""
    return _transposed("conv_transpose2d", 2, input, weight, bias, stride, padding, output_padding, groups, dilation)


@autocasts
def conv_transpose3d(
    input: Tensor, weight: Tensor, bias: Tensor | None = None, stride: Any = 1, padding: Any = 0,
    output_padding: Any = 0, groups: int = 1, dilation: Any = 1,
) -> Tensor:  # fmt: skip
    """`conv_transpose1d` over three axes: input (B, C, D, H, W) or (C, D, H, W), weight (C, O / groups, KD, KH, KW)."""
    return _transposed("conv_transpose3d", 3, input, weight, bias, stride, padding, output_padding, groups, dilation)


def _convolved(
    name: str, n: int, input: Tensor, weight: Tensor, bias: Tensor | None, stride: Any, padding: Any, dilation: Any,
    groups: int,
) -> Tensor:  # fmt: skip
    x, stride, dilation = _checked(name, n, input, weight, bias, stride, dilation, groups)
    _, per_group, *kernel = weight._array.shape
    _require_channels(name, input, x._array.shape[1], weight, per_group * groups)
    x = padded(x, *padding_widths(name, padding, tuple(kernel), stride, dilation))
    size = x._array.shape[2:]
    if min(counts(size, tuple(kernel), stride, dilation, (0,) * n)) < 1:
        raise RuntimeError(
            f"{name}: calculated padded input size per channel: {size}. Kernel size: {tuple(kernel)}, dilation: "
            f"{dilation}. The kernel, dilated, can't be greater than the padded input"
        )
    y = apply(ops.Convolution, x, weight, stride=stride, dilation=dilation, groups=groups)
    return as_given(_with_bias(name, y, bias), x._array.ndim == input._array.ndim)


def _transposed(
    name: str, n: int, input: Tensor, weight: Tensor, bias: Tensor | None, stride: Any, padding: Any,
    output_padding: Any, groups: int, dilation: Any,
) -> Tensor:  # fmt: skip
    x, stride, dilation = _checked(name, n, input, weight, bias, stride, dilation, groups)
    padding = per_axis(name, "padding", padding, n, at_least=0)
    extra = per_axis(name, "output_padding", output_padding, n, at_least=0)
    if any(e >= max(s, d) for e, s, d in zip(extra, stride, dilation, strict=True)):
        raise RuntimeError(
            f"{name}: output padding must be smaller than either stride or dilation, but got output_padding={extra}, "
            f"stride={stride}, dilation={dilation}"
        )
    _require_channels(name, input, x._array.shape[1], weight, weight._array.shape[0])
    y = apply(ops.ConvolutionTransposed, x, weight, stride=stride, dilation=dilation, groups=groups)
    y = padded(y, (0,) * n, extra)
    if any(size <= 2 * p for size, p in zip(y._array.shape[2:], padding, strict=True)):
        raise RuntimeError(
            f"{name}: output size is too small: of {tuple(y.shape[2:])}, padding={padding} on both sides would leave "
            "nothing"
        )
    outside = tuple(-p for p in padding)
    y = padded(y, outside, outside)
    return as_given(_with_bias(name, y, bias), x._array.ndim == input._array.ndim)


# ---- checks ----------------------------------------------------------------------------------------------------------


def _checked(
    name: str, n: int, input: Tensor, weight: Tensor, bias: Tensor | None, stride: Any, dilation: Any, groups: int
) -> tuple[Tensor, Sizes, Sizes]:
    """The input with a batch axis, stride and dilation for each axis; what both directions require is checked."""
    require_tensor(name, "input", input)
    require_tensor(name, "weight", weight)
    if bias is not None:
        require_tensor(name, "bias", bias)
    x, w = in_batch(name, input, n), weight._array.shape
    if len(w) != n + 2 or 0 in (w[0], *w[2:]):
        raise RuntimeError(
            f"{name}: expected a weight of {n + 2} dimensions with at least one output and one place, but got weight "
            f"of size {list(w)}"
        )
    require_same_dtype(name, input=input, weight=weight, bias=bias)
    if isinstance(groups, bool) or not isinstance(groups, int):
        raise TypeError(f"{name}(): argument 'groups' must be int, not {type(groups).__name__}")
    if groups < 1:
        raise RuntimeError(f"{name}: non-positive groups is not supported, got {groups}")
    if w[0] % groups:
        raise RuntimeError(
            f"{name}: given groups={groups}, expected weight to be divisible by it at dimension 0: {list(w)}"
        )
    if 0 in x._array.shape[2:]:
        raise RuntimeError(f"{name}: expected an input without axes of size 0 but the batch, got {list(input.shape)}")
    stride = per_axis(name, "stride", stride, n, at_least=1)
    return x, stride, per_axis(name, "dilation", dilation, n, at_least=1)


def _require_channels(name: str, input: Tensor, channels: int, weight: Tensor, expected: int) -> None:
    if channels != expected:
        raise RuntimeError(
            f"{name}: given weight of size {list(weight.shape)}, expected input{list(input.shape)} to have {expected} "
            f"channels, but got {channels} channels instead"
        )


def padding_widths(name: str, padding: Any, kernel: Sizes, stride: Sizes, dilation: Sizes) -> tuple[Sizes, Sizes]:
    """How many zeros to put before and after each spatial axis."""
    n = len(kernel)
    if padding == "same":
        if stride != (1,) * n:
            raise RuntimeError(f"{name}: padding='same' is not supported for strided convolutions, got stride={stride}")
        total = [d * (k - 1) for k, d in zip(kernel, dilation, strict=True)]
        return tuple(t // 2 for t in total), tuple(t - t // 2 for t in total)
    if isinstance(padding, str) and padding != "valid":
        raise RuntimeError(f"{name}: invalid padding string {padding!r}; expected 'valid' or 'same'")
    both = (0,) * n if padding == "valid" else per_axis(name, "padding", padding, n, at_least=0)
    return both, both


def _with_bias(name: str, y: Tensor, bias: Tensor | None) -> Tensor:
    if bias is None:
        return y
    outputs, ndim = y._array.shape[1], y._array.ndim
    if bias._array.shape != (outputs,):
        raise RuntimeError(f"{name}: expected bias of size [{outputs}], one for each output, got {list(bias.shape)}")
    return add(y, reshape(bias, outputs, *(1,) * (ndim - 2)))
