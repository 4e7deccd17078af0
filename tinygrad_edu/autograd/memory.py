"""Where arrays lie: whose memory they show, and gradients of neighbouring slices that are neighbours in memory too.

An op may lay its gradients out as its inputs lie, such as those of queries, keys and values in the memory of one
projection. Put together without a copy they are the gradient of what the slices were taken from.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from ..backend import gpu
from ..backend.device import address


def owner(array: Any) -> Any:
    """The array that owns the memory of this one, or stands nearest to what does (a file, a buffer)."""
    base = array.base
    while hasattr(base, "base"):
        array, base = base, base.base
    return array


def memory_of(array: Any) -> Any:
    """What stands for the memory of this array: one object for all arrays that show it."""
    # CuPy's arrays with strides of their own have no base, so that no array owns what they show.
    return array.data.mem if type(array) in gpu.array_types else owner(array)


class _Range(NamedTuple):
    """A part that fills a range of one axis, and all of the others."""

    axis: int
    start: int
    stop: int
    values: Any


def joined(a: Any, b: Any, xp: Any) -> Any:
    """One part in the place of two: an array if they make up the whole, None if they cannot be joined."""
    ranges = [r for r in (_range(a), _range(b)) if r is not None]
    if len(ranges) < 2 or ranges[0].axis != ranges[1].axis:
        return None
    first, second = sorted(ranges, key=lambda r: r.start)
    axis, x, y = first.axis, first.values, second.values
    if first.stop != second.start or memory_of(x) is not memory_of(y):
        return None
    stride, rest = divmod(address(y) - address(x), x.shape[axis])
    strides = _with(x.strides, axis, stride)
    for z in x, y:
        if rest or strides != (_with(z.strides, axis, stride) if z.shape[axis] == 1 else z.strides):
            return None
    values = xp.lib.stride_tricks.as_strided(x, _with(x.shape, axis, second.stop - first.start), strides)
    if values.shape == a.shape:
        return values
    return type(a)(a.shape, (*(slice(None),) * axis, slice(first.start, second.stop)), values)


def _range(part: Any) -> _Range | None:
    """Where a part lies, if it is x[:, i] or x[:, i:j] with any number of whole axes before."""
    place: tuple[Any, ...] = getattr(part, "place", ())
    place = place[:-1] if place[-1:] == (Ellipsis,) else place
    axis = len(place) - 1
    if axis < 0 or any(entry != slice(None) for entry in place[:-1]) or not hasattr(part.values, "strides"):
        return None
    last, values = place[-1], part.values
    if isinstance(last, int):
        last %= part.shape[axis]
        last, values = slice(last, last + 1), values.reshape(_with(part.shape, axis, 1))
    if not isinstance(last, slice) or not values.size:
        return None
    start, stop, step = last.indices(part.shape[axis])
    return _Range(axis, start, stop, values) if step == 1 else None


def _with(sizes: tuple[int, ...], axis: int, size: int) -> tuple[int, ...]:
    return (*sizes[:axis], size, *sizes[axis + 1 :])
