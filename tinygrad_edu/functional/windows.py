"""Windows sliding over signals (B, C, L), pictures (B, C, H, W) and volumes (B, C, D, H, W).

`unfold` cuts them out and `fold` adds them back; convolution and pooling share the reading of arguments below.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ..dispatch import apply
from ..ops import windows as ops
from .arguments import on_tensor
from .shape import pad, reshape, unsqueeze

if TYPE_CHECKING:
    from ..tensor import Tensor

Sizes = tuple[int, ...]

# ---- reading arguments -----------------------------------------------------------------------------------------------


def per_axis(name: str, argument: str, value: Any, n: int, *, at_least: int | None = None) -> Sizes:
    """A setting for each of n spatial axes, given as one integer for all or as one for each.

    TypeError: something else than integers. RuntimeError: another number of them, or one below `at_least`.
    """
    given = tuple(value) if isinstance(value, Sequence) and not isinstance(value, str) else (value,)
    for v in given:
        if isinstance(v, bool) or not hasattr(v, "__index__"):
            raise TypeError(f"{name}(): argument '{argument}' must be tuple of ints, not {type(v).__name__}")
    if len(given) not in (1, n):
        raise RuntimeError(f"{name}: expected {argument} to be one int or {n}, one for each axis, got {list(given)}")
    if at_least is not None and min(given) < at_least:
        raise RuntimeError(f"{name}: {argument} must be at least {at_least}, but got {value}")
    return tuple(int(v) for v in given) * (n // len(given))


def in_batch(name: str, input: Tensor, n: int) -> Tensor:
    """The input (B, C, *size) with n spatial axes; one without a batch axis gets one of size 1."""
    ndim = input._array.ndim
    if ndim not in (n + 1, n + 2):
        raise RuntimeError(
            f"Expected {n + 1}D (unbatched) or {n + 2}D (batched) input to {name}, but got input of size: "
            f"{list(input.shape)}"
        )
    return input if ndim == n + 2 else unsqueeze(input, 0)


def as_given(result: Tensor, had_batch: bool) -> Tensor:
    """The result, without the batch axis if the input had none."""
    return result if had_batch else reshape(result, result._array.shape[1:])


def counts(size: Sizes, kernel: Sizes, stride: Sizes, dilation: Sizes, padding: Sizes) -> Sizes:
    """How many windows there are along each axis; less than one where a window is larger than the axis."""
    axes = zip(size, kernel, stride, dilation, padding, strict=True)
    return tuple((n + 2 * p - (k - 1) * d - 1) // s + 1 for n, k, s, d, p in axes)


def padded(input: Tensor, before: Sizes, after: Sizes, value: float = 0) -> Tensor:
    """The input with elements of this value around its last axes; the input itself if there are none to add."""
    if not any(before) and not any(after):
        return input
    return pad(input, [w for pair in zip(before[::-1], after[::-1], strict=True) for w in pair], value=value)


# ---- cut out and added back ------------------------------------------------------------------------------------------


@on_tensor
def unfold(input: Tensor, kernel_size: Any, dilation: Any = 1, padding: Any = 0, stride: Any = 1) -> Tensor:
    """The windows of pictures as columns: (B, C, H, W) or (C, H, W) -> (B, C * places in a window, windows).

    padding: zeros on both sides of each axis. Also called im2col; it makes a convolution a product of matrices.
    RuntimeError: no window fits.
    """
    kernel, stride, dilation, padding = _settings("unfold", kernel_size, stride, dilation, padding)
    x = in_batch("unfold", input, 2)
    batch, channels, *size = x._array.shape
    out = counts(tuple(size), kernel, stride, dilation, padding)
    if channels == 0 or min(out) < 1:
        raise RuntimeError(
            f"unfold: input of size {list(input.shape)} with kernel_size={kernel}, dilation={dilation}, "
            f"padding={padding} has {channels} channels and {out} windows along its axes; expected at least one of each"
        )
    cut = apply(ops.Windows, padded(x, padding, padding), kernel=kernel, stride=stride, dilation=dilation)
    return as_given(reshape(cut, batch, channels * math.prod(kernel), math.prod(out)), x is input)


@on_tensor
def fold(
    input: Tensor, output_size: Any, kernel_size: Any, dilation: Any = 1, padding: Any = 0, stride: Any = 1
) -> Tensor:
    """The reverse of `unfold`: columns put back to where they were cut from, and added where windows overlap.

    Shapes: (B, C * places in a window, windows), or without B, -> (B, C, *output_size).
    RuntimeError: numbers of rows or columns that do not fit the other sizes.
    """
    kernel, stride, dilation, padding = _settings("fold", kernel_size, stride, dilation, padding)
    size = per_axis("fold", "output_size", output_size, 2)
    x = in_batch("fold", input, 1)
    batch, rows, columns = x._array.shape
    if rows == 0 or rows % math.prod(kernel):
        raise RuntimeError(
            f"fold: expected a multiple of the product of kernel_size={kernel} as the second-last size, got {rows}"
        )
    out = tuple(max(m, 0) for m in counts(size, kernel, stride, dilation, padding))
    if math.prod(out) != columns:
        raise RuntimeError(
            f"fold: given output_size={size}, kernel_size={kernel}, dilation={dilation}, padding={padding}, "
            f"stride={stride}, expected {' * '.join(map(str, out))} = {math.prod(out)} windows as the last size, got "
            f"{columns}"
        )
    parts = reshape(x, batch, rows // math.prod(kernel), *kernel, *out)
    whole = tuple(n + 2 * p for n, p in zip(size, padding, strict=True))
    y = apply(ops.AddWindows, parts, size=whole, stride=stride, dilation=dilation)
    outside = tuple(-p for p in padding)
    return as_given(padded(y, outside, outside), x is input)


def _settings(name: str, kernel_size: Any, stride: Any, dilation: Any, padding: Any) -> tuple[Sizes, ...]:
    return (
        per_axis(name, "kernel_size", kernel_size, 2, at_least=1),
        per_axis(name, "stride", stride, 2, at_least=1),
        per_axis(name, "dilation", dilation, 2, at_least=1),
        per_axis(name, "padding", padding, 2, at_least=0),
    )
