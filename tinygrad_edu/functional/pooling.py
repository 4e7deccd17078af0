"""Pooling: a summary (largest element, mean, norm) of every window of a signal, picture or volume.

Sizes: input (B, C, *size) or (C, *size) with 1, 2 or 3 spatial axes. kernel_size, stride, padding and dilation are one
integer, or one for each spatial axis; stride is kernel_size unless given. With ceil_mode a last window that only partly
lies on the input counts too. The adaptive functions take the output's size instead, None where it is the input's:
window i of m covers the elements from floor(i n / m) up to ceil((i + 1) n / m) of n.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from ..backend.dtypes import is_floating
from ..dispatch import apply
from ..ops import indexing as indexing_ops
from ..ops import pooling as ops
from ..ops import windows as windows_ops
from .arguments import on_tensor
from .elementwise import abs, div, eq, mul, neg, pow, where
from .indexing import gather
from .precision import autocasts
from .reduction import mean, sum
from .shape import reshape, unflatten
from .windows import Sizes, as_given, in_batch, padded, per_axis

if TYPE_CHECKING:
    from ..tensor import Tensor

# ---- max -------------------------------------------------------------------------------------------------------------


@on_tensor
def max_pool1d(
    input: Tensor, kernel_size: Any, stride: Any = None, padding: Any = 0, dilation: Any = 1, ceil_mode: bool = False,
    return_indices: bool = False,
) -> Any:  # fmt: skip
    """The largest element of every window: (B, C, L) -> (B, C, M). Padding, at most half a window, never is.

    return_indices: also give where it is, as an index into the spatial axes, flattened. Of equal ones the first is
    taken; the gradient goes to it alone. RuntimeError: sizes that do not fit.
    """
    return _max_pool("max_pool1d", 1, input, kernel_size, stride, padding, dilation, ceil_mode, return_indices)


@on_tensor
def max_pool2d(
    input: Tensor, kernel_size: Any, stride: Any = None, padding: Any = 0, dilation: Any = 1, ceil_mode: bool = False,
    return_indices: bool = False,
) -> Any:  # fmt: skip
    """`max_pool1d` over two axes: (B, C, H, W) -> (B, C, OH, OW)."""
    return _max_pool("max_pool2d", 2, input, kernel_size, stride, padding, dilation, ceil_mode, return_indices)


@autocasts
@on_tensor
def max_pool3d(
    input: Tensor, kernel_size: Any, stride: Any = None, padding: Any = 0, dilation: Any = 1, ceil_mode: bool = False,
    return_indices: bool = False,
) -> Any:  # fmt: skip
    """`max_pool1d` over three axes: (B, C, D, H, W) -> (B, C, OD, OH, OW)."""
    return _max_pool("max_pool3d", 3, input, kernel_size, stride, padding, dilation, ceil_mode, return_indices)


def _max_pool(
    name: str, n: int, input: Tensor, kernel_size: Any, stride: Any, padding: Any, dilation: Any, ceil_mode: bool,
    return_indices: bool,
) -> Any:  # fmt: skip
    dtype, xp = input._array.dtype, input._xp
    if dtype.kind == "b":
        raise NotImplementedError(f"{name}: not implemented for bool; convert to numbers, for example by .float()")
    x, grid = _laid_out(name, n, input, kernel_size, stride, padding, dilation, ceil_mode)
    size = x._array.shape[2:]
    for axis, (length, k, s, p, d, m) in enumerate(zip(size, *grid[:4], grid.out, strict=True), 2):
        places = xp.arange(m)[:, None] * s - p + xp.arange(k) * d
        if not ((places >= 0) & (places < length)).any(axis=1).all():
            raise RuntimeError(
                f"{name}: a window with kernel_size={k}, padding={p}, dilation={d} lies wholly on the padding of axis "
                f"{axis} of size {length}; use less padding or dilation"
            )
    lowest = -math.inf if is_floating(dtype) else int(xp.iinfo(dtype).min)
    around = padded(x.detach(), grid.padding, grid.after, lowest)
    # Only a window of nothing but -inf finds its maximum in the padding before the first element. Its first place on
    # the input is meant: the smallest index that is a whole number of dilations further.
    at = [xp.arange(-p, n + q) for p, n, q in zip(grid.padding, size, grid.after, strict=True)]
    origin = [xp.where(i < 0, i % d, i) for i, d in zip(at, grid.dilation, strict=True)]
    return _maxima(x, around, origin, grid.kernel, grid.stride, grid.dilation, x is input, return_indices)


def _maxima(
    x: Tensor, stretched: Tensor, origin: list[Any], kernel: Sizes, stride: Sizes, dilation: Sizes, had_batch: bool,
    return_indices: bool,
) -> Any:  # fmt: skip
    """The maxima of windows of a tensor that was made from x, and their indices in x, its spatial axes flattened.

    origin: for each axis of the stretched tensor, the index in x that each place comes from.
    """
    batch, channels, *size = x._array.shape
    number = x._xp.zeros((), "int64")
    for i, length in zip(origin, size, strict=True):
        number = number[..., None] * length + i
    indices = apply(ops.MaxPoolIndex, stretched, number, kernel=kernel, stride=stride, dilation=dilation)
    flat = reshape(indices, batch, channels, math.prod(indices._array.shape[2:]))
    values = gather(reshape(x, batch, channels, math.prod(size)), 2, flat)
    values, indices = (as_given(y, had_batch) for y in (reshape(values, indices._array.shape), indices))
    return (values, indices) if return_indices else values


# ---- average and norm ------------------------------------------------------------------------------------------------


@on_tensor
def avg_pool1d(
    input: Tensor, kernel_size: Any, stride: Any = None, padding: Any = 0, ceil_mode: bool = False,
    count_include_pad: bool = True,
) -> Tensor:  # fmt: skip
    """The mean of every window: (B, C, L) -> (B, C, M). padding: zeros, at most half a window, on both sides.

    count_include_pad: whether these zeros count as elements. Integers are rounded towards 0. RuntimeError: sizes that
    do not fit.
    """
    return _avg_pool("avg_pool1d", 1, input, kernel_size, stride, padding, ceil_mode, count_include_pad, None)


@on_tensor
def avg_pool2d(
    input: Tensor, kernel_size: Any, stride: Any = None, padding: Any = 0, ceil_mode: bool = False,
    count_include_pad: bool = True, divisor_override: int | None = None,
) -> Tensor:  # fmt: skip
    """`avg_pool1d` over two axes: (B, C, H, W) -> (B, C, OH, OW). divisor_override: divide the sums by this instead."""
    return _avg_pool(
        "avg_pool2d", 2, input, kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override
    )


@autocasts
@on_tensor
def avg_pool3d(
    input: Tensor, kernel_size: Any, stride: Any = None, padding: Any = 0, ceil_mode: bool = False,
    count_include_pad: bool = True, divisor_override: int | None = None,
) -> Tensor:  # fmt: skip
    """`avg_pool2d` over three axes: (B, C, D, H, W) -> (B, C, OD, OH, OW)."""
    return _avg_pool(
        "avg_pool3d", 3, input, kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override
    )


def _avg_pool(
    name: str, n: int, input: Tensor, kernel_size: Any, stride: Any, padding: Any, ceil_mode: bool,
    count_include_pad: bool, divisor_override: int | None,
) -> Tensor:  # fmt: skip
    xp, dtype = input._xp, input._array.dtype
    if not is_floating(dtype) and dtype.name != "int64":
        raise NotImplementedError(f"{name}: not implemented for {dtype.name}; convert the input by .float()")
    if divisor_override == 0:
        raise RuntimeError(
            f"{name}: divisor must be not zero; leave divisor_override out to divide by the window's size"
        )
    x, grid = _laid_out(name, n, input, kernel_size, stride, padding, 1, ceil_mode)
    total = _sums(x, grid)
    if divisor_override is not None:
        divisor: Any = divisor_override
    else:
        divisor = xp.ones((), dtype)
        for size, k, s, p, m in zip(x._array.shape[2:], grid.kernel, grid.stride, grid.padding, grid.out, strict=True):
            start = xp.arange(m) * s - p
            end = xp.minimum(start + k, size + p)
            if not count_include_pad:
                start, end = xp.maximum(start, 0), xp.minimum(end, size)
            divisor = divisor[..., None] * (end - start).astype(dtype)  # one axis after the other
        divisor = input._result(divisor)
    y = div(total, divisor, rounding_mode=None if is_floating(dtype) else "trunc")
    return as_given(y, x is input)


def _sums(x: Tensor, grid: _Grid) -> Tensor:
    """The sum of every window."""
    n = len(grid.kernel)
    cut = apply(
        windows_ops.Windows, padded(x, grid.padding, grid.after), kernel=grid.kernel, stride=grid.stride,
        dilation=grid.dilation,
    )  # fmt: skip
    return sum(cut, tuple(range(2, 2 + n)))


@on_tensor
def lp_pool1d(input: Tensor, norm_type: float, kernel_size: Any, stride: Any = None, ceil_mode: bool = False) -> Tensor:
    """(sum of x^p)^(1/p) of every window, with p = norm_type: (B, C, L) -> (B, C, M). The gradient where it is 0 is 0.

    p = inf and -inf give the largest and the smallest |x|. As in PyTorch a window that lies only partly on the input is
    scaled up to the full number of elements, and x, not |x|, is raised to p.
    """
    return _lp_pool("lp_pool1d", 1, input, norm_type, kernel_size, stride, ceil_mode)


@on_tensor
def lp_pool2d(input: Tensor, norm_type: float, kernel_size: Any, stride: Any = None, ceil_mode: bool = False) -> Tensor:
    """`lp_pool1d` over two axes: (B, C, H, W) -> (B, C, OH, OW)."""
    return _lp_pool("lp_pool2d", 2, input, norm_type, kernel_size, stride, ceil_mode)


def _lp_pool(
    name: str, n: int, input: Tensor, norm_type: float, kernel_size: Any, stride: Any, ceil_mode: bool
) -> Tensor:
    if math.isinf(norm_type):
        turned = abs(input) if norm_type > 0 else neg(abs(input))
        largest = _max_pool(name, n, turned, kernel_size, stride, 0, 1, ceil_mode, False)
        return largest if norm_type > 0 else neg(largest)
    average = _avg_pool(name, n, pow(input, norm_type), kernel_size, stride, 0, ceil_mode, True, None)
    total = mul(average, math.prod(per_axis(name, "kernel_size", kernel_size, n)))
    return pow(where(eq(total, 0), 0.0, total), 1 / norm_type)


# ---- windows that are fitted to the output's size --------------------------------------------------------------------


@on_tensor
def adaptive_avg_pool1d(input: Tensor, output_size: Any) -> Tensor:
    """The means of output_size windows that together cover the input: (B, C, L) -> (B, C, output_size)."""
    return _adaptive_avg_pool("adaptive_avg_pool1d", 1, input, output_size)


@on_tensor
def adaptive_avg_pool2d(input: Tensor, output_size: Any) -> Tensor:
    """`adaptive_avg_pool1d` over two axes: (B, C, H, W) -> (B, C, *output_size)."""
    return _adaptive_avg_pool("adaptive_avg_pool2d", 2, input, output_size)


@autocasts
@on_tensor
def adaptive_avg_pool3d(input: Tensor, output_size: Any) -> Tensor:
    """`adaptive_avg_pool1d` over three axes: (B, C, D, H, W) -> (B, C, *output_size)."""
    return _adaptive_avg_pool("adaptive_avg_pool3d", 3, input, output_size)


@on_tensor
def adaptive_max_pool1d(input: Tensor, output_size: Any, return_indices: bool = False) -> Any:
    """The largest elements of output_size windows that together cover the input: (B, C, L) -> (B, C, output_size).

    return_indices: also give where they are, as indices into the spatial axes, flattened. Of equal ones the first is
    taken; the gradient goes to it alone.
    """
    return _adaptive_max_pool("adaptive_max_pool1d", 1, input, output_size, return_indices)


@on_tensor
def adaptive_max_pool2d(input: Tensor, output_size: Any, return_indices: bool = False) -> Any:
    """`adaptive_max_pool1d` over two axes: (B, C, H, W) -> (B, C, *output_size)."""
    return _adaptive_max_pool("adaptive_max_pool2d", 2, input, output_size, return_indices)


@autocasts
@on_tensor
def adaptive_max_pool3d(input: Tensor, output_size: Any, return_indices: bool = False) -> Any:
    """`adaptive_max_pool1d` over three axes: (B, C, D, H, W) -> (B, C, *output_size)."""
    return _adaptive_max_pool("adaptive_max_pool3d", 3, input, output_size, return_indices)


def _adaptive_avg_pool(name: str, n: int, input: Tensor, output_size: Any) -> Tensor:
    x, out = _adapted(name, n, input, output_size)
    y = x
    for axis, m in enumerate(out, 2):  # the mean over a box is the mean along one axis of the means along the others
        size = y._array.shape[axis]
        if size % m == 0:
            y = mean(unflatten(y, axis, (m, size // m)), axis + 1)
        else:
            starts, ends, positions = _regions(y._xp, size, m)
            inside = y._result((positions < ends[:, None]).reshape(*positions.shape, *(1,) * (n + 1 - axis)))
            lengths = y._result((ends - starts).astype(y._array.dtype).reshape(m, *(1,) * (n + 1 - axis)))
            elements = apply(indexing_ops.Index, y, y._xp.minimum(positions, size - 1), axes=(axis,))
            y = div(sum(where(inside, elements, 0.0), axis + 1), lengths)
    return as_given(y, x is input)


def _adaptive_max_pool(name: str, n: int, input: Tensor, output_size: Any, return_indices: bool) -> Any:
    x, out = _adapted(name, n, input, output_size)
    xp, stretched, origin, kernel = x._xp, x.detach(), [], []
    for axis, m in enumerate(out, 2):
        # Windows of one length side by side: shorter ones repeat their last element, which changes no maximum.
        _, ends, positions = _regions(xp, x._array.shape[axis], m)
        origin.append(xp.minimum(positions, ends[:, None] - 1).reshape(-1))
        kernel.append(positions.shape[1])
        stretched = apply(indexing_ops.Index, stretched, origin[-1], axes=(axis,))
    return _maxima(x, stretched, origin, tuple(kernel), tuple(kernel), (1,) * n, x is input, return_indices)


def _adapted(name: str, n: int, input: Tensor, output_size: Any) -> tuple[Tensor, Sizes]:
    """The input with a batch axis, and the size of the output along each axis."""
    x = in_batch(name, input, n)
    if not is_floating(x._array.dtype):
        raise NotImplementedError(f"{name}: not implemented for {x._array.dtype}; convert the input by .float()")
    size = x._array.shape[2:]
    if 0 in size:
        raise RuntimeError(f"{name}: expected input to have non-zero spatial sizes, but got {list(input.shape)}")
    given = output_size if isinstance(output_size, Sequence) else (output_size,) * n
    if len(given) == n:
        given = [size[i] if m is None else m for i, m in enumerate(given)]
    return x, per_axis(name, "output_size", given, n, at_least=1)


def _regions(xp: Any, size: int, m: int) -> tuple[Any, Any, Any]:
    """Starts and ends (excluded) of m windows that together cover an axis, and every position that they could reach.

    Shapes: (m), (m), (m, length of the longest).
    """
    i = xp.arange(m)
    starts, ends = i * size // m, -(-(i + 1) * size // m)
    return starts, ends, starts[:, None] + xp.arange((ends - starts).max())


# ---- reading arguments -----------------------------------------------------------------------------------------------


class _Grid(NamedTuple):
    """Where the windows lie: along each axis the settings, the number of windows, and the padding after the end."""

    kernel: Sizes
    stride: Sizes
    padding: Sizes
    dilation: Sizes
    out: Sizes
    after: Sizes


def _laid_out(
    name: str, n: int, input: Tensor, kernel_size: Any, stride: Any, padding: Any, dilation: Any, ceil_mode: bool
) -> tuple[Tensor, _Grid]:
    """The input with a batch axis, and where the windows lie on it."""
    x = in_batch(name, input, n)
    size = x._array.shape[2:]
    if 0 in x._array.shape[1:]:
        raise RuntimeError(
            f"{name}: expected no size of 0 other than the batch, but got input of size {list(input.shape)}"
        )
    kernel = per_axis(name, "kernel_size", kernel_size, n, at_least=1)
    steps = per_axis(name, "stride", kernel if stride in (None, [], ()) else stride, n, at_least=1)
    padding = per_axis(name, "padding", padding, n, at_least=0)
    dilation = per_axis(name, "dilation", dilation, n, at_least=1)
    if any(2 * p > k for p, k in zip(padding, kernel, strict=True)):
        raise RuntimeError(
            f"{name}: padding should be at most half of the kernel size, but got padding={padding} and "
            f"kernel_size={kernel}"
        )
    out, after = [], []
    for length, k, s, p, d in zip(size, kernel, steps, padding, dilation, strict=True):
        span = (k - 1) * d + 1
        room = length + 2 * p - span
        m = (-(-room // s) if ceil_mode else room // s) + 1
        if ceil_mode and (m - 1) * s >= length + p:
            m -= 1  # the last window has to start on the input or in the padding before it
        if m < 1:
            raise RuntimeError(
                f"{name}: given input size {tuple(size)} and kernel_size={kernel}, padding={padding}, "
                f"dilation={dilation}, no window fits; the output size is too small"
            )
        out.append(m)
        after.append(max((m - 1) * s + span - p - length, 0))
    return x, _Grid(kernel, steps, padding, dilation, tuple(out), tuple(after))
