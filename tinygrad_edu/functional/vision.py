"""Pictures, signals and volumes in another size: interpolation, and channels exchanged for pixels.

Each axis is resized on its own, by taps: every output element is a weighted sum of a few input elements. Interpolation
over several axes is one axis after the other.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from ..backend.dtypes import is_floating
from ..dispatch import apply
from ..ops import indexing as indexing_ops
from .arguments import on_tensor
from .elementwise import add, clone, mul
from .pooling import adaptive_avg_pool1d, adaptive_avg_pool2d, adaptive_avg_pool3d
from .shape import permute, reshape

if TYPE_CHECKING:
    from ..tensor import Tensor

# ---- interpolation ---------------------------------------------------------------------------------------------------

_SMOOTH = {"linear": 1, "bilinear": 2, "trilinear": 3, "bicubic": 2}  # modes that mix elements: their number of axes
_MODES = ("nearest", "nearest-exact", "area", *_SMOOTH)


@on_tensor
def interpolate(
    input: Tensor, size: Any = None, scale_factor: Any = None, mode: str = "nearest", align_corners: bool | None = None,
    recompute_scale_factor: bool | None = None, antialias: bool = False,
) -> Tensor:  # fmt: skip
    """The input (B, C, *sizes) with 1, 2 or 3 spatial axes resized to `size` or by `scale_factor`.

    mode: "nearest", "nearest-exact" (which rounds as other libraries do), "area" (means, as in adaptive_avg_pool),
    "linear" (one axis), "bilinear", "bicubic" (two), "trilinear" (three). align_corners: let the first and the last
    elements of both sizes coincide, not the outer edges of them. recompute_scale_factor: use the quotient of the sizes,
    which were rounded to integers, as the factor. antialias: when shrinking, widen the kernel ("bilinear", "bicubic").
    ValueError: arguments that contradict each other. NotImplementedError: a mode that does not fit the input.
    Source of bicubic: Keys 1981, "Cubic convolution interpolation", with a = -0.75, or -0.5 if antialiased.
    """
    x, n = input, input._array.ndim - 2
    if mode not in _MODES or not 1 <= n <= 3 or _SMOOTH.get(mode, n) != n:
        fits = f"{_SMOOTH[mode]} spatial axes" if mode in _SMOOTH else "1, 2 or 3 spatial axes"
        expected = f"an input (B, C, *sizes) with {fits}" if mode in _MODES else f"one of the modes {', '.join(_MODES)}"
        raise NotImplementedError(f"interpolate: expected {expected}, got {n + 2}D input and mode {mode!r}")
    if align_corners is not None and mode not in _SMOOTH:
        raise ValueError(
            f"interpolate: align_corners can only be set with the modes {', '.join(_SMOOTH)}, not {mode!r}"
        )
    if antialias and mode not in ("bilinear", "bicubic"):
        raise ValueError(f"interpolate: antialias is restricted to the modes bilinear and bicubic, got {mode!r}")
    out, factors = _wanted_sizes(x, size, scale_factor, recompute_scale_factor)
    if mode == "area":
        return (adaptive_avg_pool1d, adaptive_avg_pool2d, adaptive_avg_pool3d)[n - 1](x, out)
    if not is_floating(x._array.dtype) and (mode in _SMOOTH or x._array.dtype.kind == "b"):
        raise NotImplementedError(f"interpolate: {mode} is not implemented for {x.dtype.name}; convert it by .float()")
    for axis, (m, factor) in enumerate(zip(out, factors, strict=True), 2):
        x = _resized(x, axis, m, factor, mode, bool(align_corners), antialias)
    return _fresh(x, input)


@on_tensor
def upsample(
    input: Tensor, size: Any = None, scale_factor: Any = None, mode: str = "nearest", align_corners: bool | None = None
) -> Tensor:
    """`interpolate`, under its old name."""
    warnings.warn("`nn.functional.upsample` is deprecated. Use `nn.functional.interpolate` instead.", stacklevel=3)
    return interpolate(input, size, scale_factor, mode, align_corners)


def _wanted_sizes(
    input: Tensor, size: Any, scale_factor: Any, recompute: bool | None
) -> tuple[tuple[int, ...], tuple[float | None, ...]]:
    """The output's size along each spatial axis, and the factor to compute positions with (None: that of the sizes)."""
    sizes = input._array.shape[2:]
    n = len(sizes)
    if (size is None) == (scale_factor is None):
        raise ValueError("interpolate: either size or scale_factor should be defined, and only one of them")
    if size is not None and recompute:
        raise ValueError("interpolate: recompute_scale_factor is not meaningful with an explicit size")
    given = scale_factor if size is None else size
    if isinstance(given, Sequence) and len(given) != n:
        raise ValueError(f"interpolate: expected one number or {n}, one for each spatial axis, got {given}")
    each = tuple(given) if isinstance(given, Sequence) else (given,) * n
    if size is None:
        out = tuple(math.floor(length * factor) for length, factor in zip(sizes, each, strict=True))
        factors = (None,) * n if recompute else each
    else:
        for m in each:
            if isinstance(m, bool) or not hasattr(m, "__index__"):
                raise TypeError(f"interpolate: size must be an int or ints, got {size!r}; a factor is scale_factor")
        out, factors = tuple(int(m) for m in each), (None,) * n
    if min(out) < 1 or 0 in sizes or 0 in input._array.shape[1:]:
        raise RuntimeError(
            f"interpolate: input and output sizes should be greater than 0, but got input {list(input.shape)} and "
            f"output {list(out)}"
        )
    return out, factors


def _resized(
    x: Tensor, axis: int, m: int, factor: float | None, mode: str, align_corners: bool, antialias: bool
) -> Tensor:
    """One axis with m elements."""
    xp, n = x._xp, x._array.shape[axis]
    if m == n and (antialias or mode in ("linear", "bilinear", "trilinear")):
        return x  # as in PyTorch, whatever the factor
    kind = xp.dtype(xp.float64 if x._array.dtype == xp.float64 else xp.float32)  # of positions, as in PyTorch
    if align_corners:
        step = kind.type(n - 1) / kind.type(m - 1) if m > 1 else kind.type(0)
    else:
        step = kind.type(1 / factor) if factor else kind.type(n) / kind.type(m)
    i = xp.arange(m).astype(kind)
    if mode.startswith("nearest"):
        at = i * step if mode == "nearest" else (i + kind.type(0.5)) * step
        return _picked(x, axis, xp.minimum(at.astype("int64"), n - 1))
    filter, reach = (_cubic, 2) if mode == "bicubic" else (_triangle, 1)
    if antialias:
        taps = _smoothing_taps(xp, n, step, (i + kind.type(0.5)) * step, filter, reach)
    else:
        at = i * step if align_corners else (i + kind.type(0.5)) * step - kind.type(0.5)
        at = at if mode == "bicubic" else xp.maximum(at, 0)
        first = xp.minimum(xp.floor(at).astype("int64"), n - 1)
        between = xp.clip(at - first, 0, 1).astype(kind)
        taps = [(first + j, filter(xp, between - j, -0.75)) for j in range(1 - reach, 1 + reach)]
    parts = [mul(_picked(x, axis, xp.clip(at, 0, n - 1)), _along(x, axis, weight)) for at, weight in taps]
    total = parts[0]
    for part in parts[1:]:
        total = add(total, part)
    return total


def _picked(x: Tensor, axis: int, index: Any) -> Tensor:
    return apply(indexing_ops.Index, x, index, axes=(axis,))


def _along(x: Tensor, axis: int, weight: Any) -> Tensor:
    """One weight for each element of an axis, in the tensor's dtype."""
    return x._result(weight.astype(x._array.dtype).reshape(-1, *(1,) * (x._array.ndim - 1 - axis)))


def _triangle(xp: Any, distance: Any, a: float) -> Any:
    """The weight of an element at this distance in linear interpolation."""
    return xp.maximum(1 - abs(distance), 0)


def _cubic(xp: Any, distance: Any, a: float) -> Any:
    """The weight of an element at this distance in cubic convolution."""
    t = abs(distance)
    near = ((a + 2) * t - (a + 3)) * t * t + 1
    far = ((a * t - 5 * a) * t + 8 * a) * t - 4 * a
    return xp.where(t <= 1, near, xp.where(t < 2, far, 0)).astype(t.dtype)


def _smoothing_taps(
    xp: Any, n: int, step: Any, centre: Any, filter: Callable[..., Any], reach: int
) -> list[tuple[Any, Any]]:
    """Taps over all elements within reach of a kernel as wide as the step between outputs, or 1 if that is less."""
    widen = max(step, step.dtype.type(1))
    first = xp.maximum((centre - reach * widen + 0.5).astype("int64"), 0)
    last = xp.minimum((centre + reach * widen + 0.5).astype("int64"), n)
    places = [first + j for j in range(int((last - first).max()))]
    weights = [xp.where(at < last, filter(xp, (at - centre + step.dtype.type(0.5)) / widen, -0.5), 0) for at in places]
    total = sum(weights)
    return [(at, weight / total) for at, weight in zip(places, weights, strict=True)]


# ---- channels and pixels exchanged -----------------------------------------------------------------------------------


@on_tensor
def pixel_shuffle(input: Tensor, upscale_factor: int) -> Tensor:
    """Channels turned into pixels: (..., C * r^2, H, W) -> (..., C, H * r, W * r) with r = upscale_factor.

    Source: Shi et al. 2016, arXiv:1609.05158. RuntimeError: channels that r^2 does not divide.
    """
    r = _factor("pixel_shuffle", input, "upscale_factor", upscale_factor)
    *lead, channels, height, width = input._array.shape
    if channels % (r * r):
        raise RuntimeError(
            f"pixel_shuffle expects its input's channels to be divisible by the square of upscale_factor, but "
            f"input.size(-3)={channels} is not divisible by {r * r}"
        )
    parts = reshape(input, *lead, channels // (r * r), r, r, height, width)
    k = len(lead)
    apart = permute(parts, *range(k), k, k + 3, k + 1, k + 4, k + 2)  # (..., C, H, r, W, r)
    return _fresh(reshape(apart, *lead, channels // (r * r), height * r, width * r), input)


@on_tensor
def pixel_unshuffle(input: Tensor, downscale_factor: int) -> Tensor:
    """The reverse of `pixel_shuffle`: (..., C, H * r, W * r) -> (..., C * r^2, H, W) with r = downscale_factor."""
    r = _factor("pixel_unshuffle", input, "downscale_factor", downscale_factor)
    *lead, channels, height, width = input._array.shape
    if height % r or width % r:
        raise RuntimeError(
            f"pixel_unshuffle expects height and width to be divisible by downscale_factor, but got {height} and "
            f"{width}, and downscale_factor={r}"
        )
    parts = reshape(input, *lead, channels, height // r, r, width // r, r)
    k = len(lead)
    apart = permute(parts, *range(k), k, k + 2, k + 4, k + 1, k + 3)  # (..., C, r, r, H, W)
    return _fresh(reshape(apart, *lead, channels * r * r, height // r, width // r), input)


def _factor(name: str, input: Tensor, argument: str, factor: Any) -> int:
    if isinstance(factor, bool) or not hasattr(factor, "__index__"):
        raise TypeError(f"{name}(): argument '{argument}' must be int, not {type(factor).__name__}")
    if input._array.ndim < 3:
        raise RuntimeError(f"{name} expects input to have at least 3 dimensions, but got {input._array.ndim}")
    if factor < 1:
        raise RuntimeError(f"{name} expects a positive {argument}, but got {factor}")
    return int(factor)


def _fresh(result: Tensor, input: Tensor) -> Tensor:
    """The result, in memory of its own where it would share the input's."""
    return clone(result) if result._memory is input._memory else result
