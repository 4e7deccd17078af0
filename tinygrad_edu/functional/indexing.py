"""Picking elements by position or mask, replacing them, and finding positions."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..autograd.modes import is_grad_enabled
from ..backend import transfers
from ..backend.device import module_of, quiet
from ..backend.dtypes import finfo, is_floating
from ..dispatch import apply
from ..ops import indexing as ops
from .arguments import all_below, cast, dim_index, on_tensor, ready, require_tensor
from .precision import autocasts
from .shape import broadcast_shapes, expand, flatten, reshape

if TYPE_CHECKING:
    from ..tensor import Tensor

# ---- x[index] ------------------------------------------------------------------------------------------------------


class Place:
    """What `x[index]` means: a view of x (`basic`: integers, slices and new axes), then arrays that pick from the view.

    The arrays (`indices`, integer Tensors or arrays) belong to the axes `axes` of the view. As in PyTorch, an integer
    is part of the view also beside arrays, and a mask stands for the positions where it is true.
    """

    def __init__(self, input: Tensor, index: Any) -> None:
        shape = input._array.shape
        entries: list[Any] = []
        used = 0  # dimensions of x
        for e in index if isinstance(index, tuple) else (index,):
            if type(e) is int or type(e) is slice:
                used += 1
            else:
                e = _entry(input, e)
                used += _consumed(e)
            entries.append(e)
        if used > len(shape):
            raise IndexError(
                f"too many indices for tensor of dimension {len(shape)}: got {used}"
                if shape
                else "invalid index of a 0-dim tensor. Use `tensor.item()` to convert a 0-dim tensor to a number"
            )
        basic: list[Any] = []
        axes: list[int] = []
        self.indices: list[Any] = []
        dim = axis = 0  # the dimension of x, and the axis of the view, that the next entry belongs to
        for e in entries:
            if type(e) is int:
                basic.append(_inside(e, shape[dim], dim))
                dim += 1
            elif type(e) is slice:
                basic.append(_forward_slice(e, shape[dim]))
                dim, axis = dim + 1, axis + 1
            elif e is None:
                basic.append(None)
                axis += 1
            elif e is Ellipsis:
                whole, used = len(shape) - used, len(shape)  # a second Ellipsis stands for nothing
                basic += [slice(None)] * whole
                dim, axis = dim + whole, axis + whole
            elif _consumed(e) == 0:  # x[True] has a new dimension of size 1, x[False] an empty one
                basic.append(None)
                axes.append(axis)
                self.indices.append(input._xp.zeros(int(_array(e)), np.int64))
                axis += 1
            else:
                picks = _positions(e, shape, dim) if _is_mask(e) else [_checked(e, shape, dim)]
                basic += [slice(None)] * len(picks)
                axes += range(axis, axis + len(picks))
                self.indices += picks
                dim, axis = dim + len(picks), axis + len(picks)
        self.axes = tuple(axes)
        self.basic = (*basic, ...)
        self._shape = _common_shape(self.indices) if axes else ()

    def view(self, input: Tensor) -> Tensor:
        """The view of x; x itself where the arrays pick from all of it."""
        picks_from_all = self.indices and all(b == slice(None) for b in self.basic[:-1])
        return input if picks_from_all else apply(ops.Slice, input, place=self.basic)

    def of(self, input: Tensor) -> Tensor:
        """x[index]."""
        view = self.view(input)
        return apply(ops.Index, view, *self.indices, axes=self.axes) if self.indices else view

    def replaced(self, input: Tensor, value: Tensor, accumulate: bool = False) -> Tensor:
        """A copy of x with x[index] = value, or with accumulate=True x[index] += value."""
        view = self.view(input)
        value = _spread(value, self._picked_shape(view._array.shape))
        if self.indices:
            value = apply(ops.IndexAdd if accumulate else ops.IndexPut, view, value, *self.indices, axes=self.axes)
        return value if view is input else apply(ops.SliceScatter, input, value, place=self.basic)

    def write(self, array: Any, value: Any) -> None:
        """x[index] = value, a number or an array, straight into the array."""
        view = array[self.basic]
        if array.dtype.kind in "iu" and not hasattr(value, "dtype"):
            value = _number("x[...] = value", array.dtype, value)
        picked = ops.on_axes(view.ndim, self.axes, [_array(i) for i in self.indices])
        try:
            with quiet:
                view[(*picked, ...)] = value
        except ValueError:
            raise RuntimeError(_does_not_fit(value.shape, self._picked_shape(view.shape))) from None

    def _picked_shape(self, view_shape: tuple[int, ...]) -> tuple[int, ...]:
        if not self.indices:
            return view_shape
        rest = [n for i, n in enumerate(view_shape) if i not in self.axes]
        first = ops.first_index_axis(self.axes)
        return (*rest[:first], *self._shape, *rest[first:])


def _entry(input: Tensor, e: Any) -> Any:
    """One entry of an index as None, Ellipsis, a slice, an int, or an array or Tensor of integers or booleans."""
    if e is None or e is Ellipsis:
        return e
    if isinstance(e, (bool, np.bool_)):
        return input._xp.asarray(e)
    if isinstance(e, np.integer):
        return int(e)
    if not hasattr(e, "_array") and not hasattr(e, "dtype"):
        if not isinstance(e, (Sequence, range)) or isinstance(e, (str, bytes)):
            raise IndexError(
                "only integers, slices (`:`), ellipsis (`...`), None and long or bool tensors are valid indices (got "
                f"{type(e).__name__})"
            )
        e = input._xp.asarray(e, dtype=np.int64 if len(e) == 0 else None)
    array = _array(e)
    if array.dtype not in (np.bool_, np.int64, np.int32):
        raise IndexError(
            f"tensors used as indices must be int64, int32 or bool tensors, got {array.dtype}; convert with .long(), "
            "or with .bool() if it is a mask"
        )
    if array.ndim == 0 and array.dtype.kind == "i":
        return int(array)
    if isinstance(array, np.ndarray) and input.is_cuda:  # as in PyTorch, an index may be on the CPU
        return transfers.to_device(array, input.device)
    return e


def _array(x: Any) -> Any:
    return getattr(x, "_array", x)


def _consumed(entry: Any) -> int:
    """How many dimensions of the tensor an entry uses up."""
    if entry is None or entry is Ellipsis:
        return 0
    if isinstance(entry, (int, slice)):
        return 1
    return _array(entry).ndim if _is_mask(entry) else 1


def _is_mask(entry: Any) -> bool:
    return _array(entry).dtype.kind == "b"


def _inside(index: int, n: int, dim: int) -> int:
    if not -n <= index < n:
        raise IndexError(f"index {index} is out of bounds for dimension {dim} with size {n}")
    return index % n


def _forward_slice(s: slice, n: int) -> slice:
    start, stop, step = s.indices(n)
    if step < 0:
        raise ValueError("step must be greater than zero")
    return slice(None) if start == 0 and stop == n and step == 1 else slice(start, stop, step)


def _positions(mask: Any, shape: tuple[int, ...], dim: int) -> list[Any]:
    """The indices, one array per dimension, where a mask is true."""
    array = _array(mask)
    for i, n in enumerate(array.shape):
        if n != shape[dim + i]:
            raise IndexError(
                f"The shape of the mask {list(array.shape)} at index {i} does not match the shape of the indexed "
                f"tensor {list(shape)} at index {dim + i}"
            )
    module_of(array)  # which computes there from now on
    return list(array.nonzero())


def _checked(index: Any, shape: tuple[int, ...], dim: int) -> Any:
    """The index, if all its elements are inside the dimension."""
    require_in_range(_array(index), shape[dim], dim)
    return index


class IndexOutOfRange(IndexError, RuntimeError):
    """Both, since PyTorch raises now the one and now the other where an index is out of range."""


def require_in_range(index: Any, size: int, dim: int, *, negative: bool = True) -> None:
    """IndexOutOfRange unless every element of the array `index` is an index of a dimension of this size."""
    if not all_below(index, size, low=-size if negative else 0, name=f"dimension {dim}"):
        low, high = int(index.min()), int(index.max())
        if high >= size or low < (-size if negative else 0):
            wrong = high if high >= size else low
            raise IndexOutOfRange(f"index {wrong} is out of bounds for dimension {dim} with size {size}")


def _common_shape(indices: list[Any]) -> tuple[int, ...]:
    shapes = [_array(i).shape for i in indices]
    try:
        return broadcast_shapes(*shapes)
    except RuntimeError:
        raise IndexError(
            "shape mismatch: indexing tensors could not be broadcast together with shapes "
            + ", ".join(str(list(s)) for s in shapes)
        ) from None


def _spread(value: Tensor, shape: tuple[int, ...]) -> Tensor:
    """The value expanded to the shape of what it replaces; leading dimensions of size 1 beyond that are dropped."""
    have = value._array.shape
    while len(have) > len(shape) and have[0] == 1:
        have = have[1:]
    if len(have) > len(shape) or any(n not in (1, m) for n, m in zip(have[::-1], shape[::-1], strict=False)):
        raise RuntimeError(_does_not_fit(value._array.shape, shape))
    return expand(reshape(value, have), shape)


def _does_not_fit(value: Any, shape: Any) -> str:
    return (
        f"shape mismatch: value tensor of shape {list(value)} cannot be broadcast to indexing result of shape "
        f"{list(shape)}"
    )


def getitem(input: Tensor, index: Any) -> Tensor:
    """x[index]: a view for integers, slices, None and Ellipsis; a copy as soon as arrays or masks pick elements.

    IndexError: an index out of range or of a kind that cannot be one; ValueError: a slice with a step below 1.
    """
    return Place(input, index).of(input)


# ---- along one dimension -------------------------------------------------------------------------------------------


@on_tensor
def index_select(input: Tensor, dim: int, index: Tensor) -> Tensor:
    """The slices along dim that a vector of indices (N) names: (B, T, C) with dim 1 gives (B, N, C)."""
    at = _index_argument("index_select", input, dim, index)
    if not input._array.ndim:
        return reshape(apply(ops.Index, flatten(input), _vector(index), axes=(0,)), ())
    return apply(ops.Index, input, _vector(index), axes=(at,))


@on_tensor
def index_add(input: Tensor, dim: int, index: Tensor, source: Tensor, *, alpha: float = 1) -> Tensor:
    """A copy with alpha * source[i] added to slice index[i] along a dimension; repeated indices add up."""
    at = _index_argument("index_add", input, dim, index)
    _require_same_dtype("index_add", input, source)
    source = _slices("index_add", input, at, index, source)
    if alpha != 1:
        from .elementwise import mul

        source = mul(source, alpha)
    return _on_vector(ops.IndexAdd, input, source, index, at)


@autocasts
@on_tensor
def index_copy(input: Tensor, dim: int, index: Tensor, source: Tensor) -> Tensor:
    """A copy with source[i] in the place of slice index[i] along a dimension."""
    at = _index_argument("index_copy", input, dim, index)
    _require_same_dtype("index_copy", input, source)
    return _on_vector(ops.IndexPut, input, _slices("index_copy", input, at, index, source), index, at)


@on_tensor
def index_fill(input: Tensor, dim: int, index: Tensor, value: Any) -> Tensor:
    """A copy with every element of the slices that index names along a dimension set to one value."""
    at = _index_argument("index_fill", input, dim, index)
    source = expand(_scalar("index_fill", input, value), _slices_shape(input, at, index))
    return _on_vector(ops.IndexPut, input, source, index, at)


def _on_vector(op: Any, input: Tensor, source: Tensor, index: Tensor, at: int) -> Tensor:
    """An op that writes slices named by a vector of indices."""
    if input._array.ndim:
        return apply(op, input, source, _vector(index), axes=(at,))
    return reshape(apply(op, flatten(input), source, _vector(index), axes=(0,)), ())


def _slices_shape(input: Tensor, at: int, index: Tensor) -> tuple[int, ...]:
    """The shape of the slices that a vector of indices names."""
    shape = input._array.shape
    return (*shape[:at], index._array.size, *shape[at + 1 :])


def _vector(x: Tensor) -> Tensor:
    """A 0-d tensor as one of shape (1,), others as they are."""
    return x if x._array.ndim else flatten(x)


def _index_argument(name: str, input: Tensor, dim: int, index: Any) -> int:
    """The dimension, after checking a vector of indices into it."""
    require_tensor(name, "index", index)
    at = dim_index(dim, input._array.ndim)
    array = index._array
    if array.dtype not in (np.int64, np.int32):
        raise RuntimeError(f"{name}(): Expected dtype int32 or int64 for index, got {index.dtype}")
    if array.ndim > 1:
        raise IndexError(f"{name}(): Index is supposed to be a vector, but got dim: {array.ndim}")
    require_in_range(array, input._array.shape[at] if input._array.ndim else 1, at, negative=name == "index_fill")
    return at


def _require_same_dtype(name: str, input: Tensor, source: Tensor) -> None:
    require_tensor(name, "source", source)
    if source.dtype != input.dtype:
        raise RuntimeError(f"{name}(): self ({input.dtype}) and source ({source.dtype}) must have the same dtype")


def _slices(name: str, input: Tensor, at: int, index: Tensor, source: Tensor) -> Tensor:
    """The source, checked to be as many slices of the input as there are indices."""
    expected, shape = _slices_shape(input, at, index), source._array.shape
    if shape != expected and not (index._array.size == 1 and len(expected) == 1 and shape == ()):
        raise RuntimeError(
            f"{name}(): source has shape {list(shape)}, expected {list(expected)}: one slice along dimension {at} for "
            "each index"
        )
    return reshape(source, expected)


def _scalar(name: str, input: Tensor, value: Any) -> Tensor:
    """A number or 0-d tensor as a 0-d tensor of the input's dtype."""
    if hasattr(value, "_array"):
        if value._array.ndim:
            raise RuntimeError(
                f"{name} only supports a 0-dimensional value tensor, but got tensor with {value._array.ndim} "
                "dimension(s)."
            )
        return cast(value, input.dtype)
    return input._result(input._xp.asarray(_number(name, input._array.dtype, value), input._array.dtype))


def _number(name: str, dtype: Any, value: Any) -> Any:
    """A Python number, rounded or cut to one that an array of this dtype can hold (-1 as uint8 is 255)."""
    if isinstance(value, np.generic):
        value = value.item()
    if not isinstance(value, (bool, int, float)):
        raise TypeError(f"{name}(): argument 'value' must be Tensor or Number, not {type(value).__name__}")
    if is_floating(dtype):
        fits = not math.isfinite(value) or abs(value) <= finfo(dtype).max
    elif dtype.kind == "b":
        fits = True
    else:
        fits = math.isfinite(value) and (abs(int(value)) <= np.iinfo(dtype).max or int(value) == np.iinfo(dtype).min)
    if not fits:
        raise RuntimeError(f"{name}(): value {value} cannot be converted to type {dtype} without overflow")
    return np.array(value).astype(dtype).item()


# ---- one index per element -----------------------------------------------------------------------------------------


@on_tensor
def gather(input: Tensor, dim: int, index: Tensor, *, sparse_grad: bool = False) -> Tensor:
    """Elements picked along one dimension: for dim 1, y[i, j, k] = x[i, index[i, j, k], k].

    The index has as many dimensions as the input, and in the others is no larger. RuntimeError: it is not so, or an
    index is out of range.
    """
    at = _gather_arguments("gather", input, dim, index)
    if input._array.ndim and index._array.ndim:
        return apply(ops.Gather, input, index, axis=at)
    return reshape(apply(ops.Gather, _vector(input), _vector(index), axis=at), index.shape)


@on_tensor
def scatter(
    input: Tensor, dim: int, index: Tensor, src: Any = None, *, value: Any = None, reduce: Any = None
) -> Tensor:
    """A copy with elements replaced along one dimension: for dim 1, y[i, index[i, j, k], k] = src[i, j, k].

    src: a tensor no smaller than the index in any dimension, or one number for all (also as `value`).
    reduce: "add" or "multiply" combines with what is there instead; has no gradient for "multiply".
    """
    at = _gather_arguments("scatter", input, dim, index)
    src = value if src is None else src
    if not hasattr(src, "_array"):
        src = expand(_scalar("scatter", input, src), index.shape)
    _scatter_source("scatter", input, index, src)
    if reduce not in (None, "add", "multiply"):
        raise RuntimeError(f"reduce argument must be either add or multiply, got {reduce!r}")
    if reduce == "multiply" and is_grad_enabled() and (input.requires_grad or src.requires_grad):
        raise RuntimeError("scatter(reduce='multiply') has no gradient; call it under no_grad() or on detach()")
    op = {None: ops.Scatter, "add": ops.ScatterAdd, "multiply": ops.ScatterMultiply}[reduce]
    return _scattered(op, input, at, index, src)


@autocasts
@on_tensor
def scatter_add(input: Tensor, dim: int, index: Tensor, src: Tensor) -> Tensor:
    """A copy with elements added along one dimension: for dim 1, y[i, index[i, j, k], k] += src[i, j, k]."""
    at = _gather_arguments("scatter_add", input, dim, index)
    require_tensor("scatter_add", "src", src)
    _scatter_source("scatter_add", input, index, src)
    return _scattered(ops.ScatterAdd, input, at, index, src)


def _scattered(op: Any, input: Tensor, at: int, index: Tensor, src: Tensor) -> Tensor:
    """An op that writes along one dimension."""
    index, src = _vector(index), _vector(src)
    if src.shape != index.shape:
        src = apply(ops.Slice, src, place=tuple(slice(n) for n in index.shape))
    return reshape(apply(op, _vector(input), index, src, axis=at), input.shape)


def _gather_arguments(name: str, input: Tensor, dim: int, index: Any) -> int:
    """The dimension, after checking an index array of the input's rank."""
    require_tensor(name, "index", index)
    at = dim_index(dim, input._array.ndim)
    shape, array = input._array.shape or (1,), index._array
    if array.dtype not in (np.int64, np.int32):
        raise RuntimeError(f"{name}(): Expected dtype int32/int64 for index, got {index.dtype}")
    if max(array.ndim, 1) != len(shape):
        raise RuntimeError(
            f"{name}(): Index tensor must have the same number of dimensions as input tensor, got {array.ndim} and "
            f"{input._array.ndim}"
        )
    for d, n in enumerate(array.shape):
        if d != at and n > shape[d]:
            raise RuntimeError(
                f"{name}(): Size does not match at dimension {d} expected index {list(array.shape)} to be no larger "
                f"than self {list(shape)} apart from dimension {at}"
            )
    require_in_range(array, shape[at], at, negative=False)
    return at


def _scatter_source(name: str, input: Tensor, index: Tensor, src: Tensor) -> None:
    if src.dtype != input.dtype:
        raise RuntimeError(f"{name}(): Expected self.dtype to be equal to src.dtype, got {input.dtype} and {src.dtype}")
    if max(src._array.ndim, 1) != max(index._array.ndim, 1):
        raise RuntimeError(
            f"{name}(): Index tensor must have the same number of dimensions as src tensor, got {index._array.ndim} "
            f"and {src._array.ndim}"
        )
    if any(n > m for n, m in zip(index._array.shape, src._array.shape, strict=False)):
        raise RuntimeError(
            f"{name}(): Expected index {list(index.shape)} to be no larger than src {list(src.shape)} in any dimension"
        )


@on_tensor
def take_along_dim(input: Tensor, indices: Tensor, dim: int | None = None) -> Tensor:
    """`gather` after broadcasting input and indices in the other dimensions; without dim, from the flattened input."""
    require_tensor("take_along_dim", "indices", indices)
    if dim is None:
        return gather(flatten(input), 0, flatten(indices))
    at = dim_index(dim, input._array.ndim)
    if input._array.ndim != indices._array.ndim:
        raise RuntimeError(
            f"take_along_dim(): input and indices should have the same number of dimensions, but got "
            f"{input._array.ndim} dimensions for input, and {indices._array.ndim} dimensions for indices"
        )
    a, b = list(input.shape), list(indices.shape)
    others = list(broadcast_shapes(a[:at] + [1] + a[at + 1 :], b[:at] + [1] + b[at + 1 :]))
    shapes = [others[:at] + [own[at]] + others[at + 1 :] for own in (a, b)]
    return gather(expand(input, shapes[0]), at, expand(indices, shapes[1]))


@on_tensor
def take(input: Tensor, index: Tensor) -> Tensor:
    """The elements at these positions of the flattened input, in the shape of the index."""
    require_tensor("take", "index", index)
    if index._array.dtype != np.int64:
        raise RuntimeError(f"take(): Expected a long tensor for index, but got {index.dtype}")
    require_in_range(index._array, input._array.size, 0)
    return reshape(apply(ops.Index, flatten(input), _vector(index), axes=(0,)), index.shape)


# ---- several indices, masks ----------------------------------------------------------------------------------------


@autocasts
@on_tensor
def index_put(input: Tensor, indices: Sequence[Tensor], values: Tensor, accumulate: bool = False) -> Tensor:
    """A copy with x[indices] = values, or with accumulate=True x[indices] += values, where repeated indices add up."""
    require_tensor("index_put", "values", values)
    if values.dtype != input.dtype:
        raise RuntimeError(
            f"Index put requires the source and destination dtypes match, got {input.dtype} for the destination and "
            f"{values.dtype} for the source."
        )
    return Place(input, tuple(indices)).replaced(input, values, accumulate)


@on_tensor
def masked_fill(input: Tensor, mask: Tensor, value: Any) -> Tensor:
    """The value (a number or 0-d tensor) where the mask is true, the input elsewhere; mask and input broadcast.

    `scores.masked_fill(mask == 0, -inf)` with mask (T, T) hides places of scores (B, H, T, T). RuntimeError: the mask
    is not boolean, or the shapes do not broadcast.
    """
    require_tensor("masked_fill", "mask", mask)
    if mask._array.dtype.kind != "b":
        raise RuntimeError(f"masked_fill only supports boolean masks, but got mask with dtype {mask.dtype}")
    if hasattr(value, "_array"):
        return apply(ops.MaskedFill, input, mask, _scalar("masked_fill", input, value))
    return apply(ops.MaskedFill, input, mask, _number("masked_fill", input._array.dtype, value))


@on_tensor
def masked_select(input: Tensor, mask: Tensor) -> Tensor:
    """The elements where the mask is true, in one dimension; input and mask are broadcast."""
    require_tensor("masked_select", "mask", mask)
    if mask._array.dtype.kind != "b":
        raise RuntimeError(f"masked_select: expected BoolTensor for mask, got {mask.dtype}")
    shape = broadcast_shapes(input.shape, mask.shape)
    return getitem(expand(input, shape), expand(mask, shape))


# ---- positions and counts ------------------------------------------------------------------------------------------


@on_tensor
def nonzero(input: Tensor, *, as_tuple: bool = False) -> Any:
    """The indices of the elements that are not zero, one row for each; as_tuple=True gives one vector per dimension."""
    xp = input._xp
    if as_tuple:
        return tuple(input._result(i) for i in xp.atleast_1d(input._array).nonzero())
    return input._result(xp.argwhere(input._array))


@on_tensor
def argwhere(input: Tensor) -> Tensor:
    """The indices of the elements that are not zero, one row for each."""
    return nonzero(input)


def one_hot(tensor: Tensor, num_classes: int = -1) -> Tensor:
    """y (..., num_classes), int64: 1 at the place that each class index names, 0 elsewhere.

    num_classes: one more than the largest index, if not given. RuntimeError: an index negative or too large.
    """
    require_tensor("one_hot", "tensor", tensor)
    array, xp = tensor._array, tensor._xp
    if array.dtype != np.int64:
        raise RuntimeError(f"one_hot is only applicable to index tensor of type int64, got {tensor.dtype}")
    if not array.size:
        if num_classes <= 0:
            raise RuntimeError("Can not infer total number of classes from empty tensor.")
        return tensor._result(xp.zeros((*array.shape, num_classes), np.int64))
    if array.min() < 0:
        raise RuntimeError(f"Class values must be non-negative, got {array.min()}.")
    if num_classes == -1:
        num_classes = int(array.max()) + 1
    elif num_classes < 1:
        raise RuntimeError(f"num_classes should be positive, got {num_classes}")
    elif array.max() >= num_classes:
        raise RuntimeError(f"Class values must be smaller than num_classes ({num_classes}), got {array.max()}.")
    return tensor._result((array[..., None] == xp.arange(num_classes)).astype(np.int64))


@on_tensor
def bincount(input: Tensor, weights: Tensor | None = None, minlength: int = 0) -> Tensor:
    """How often each number 0, 1, ... occurs in a vector of them; with weights, the sum of the weights of each."""
    array = ready(input)
    if array.ndim != 1 or array.dtype.kind not in "iu" or (array.size and array.min() < 0):
        raise (RuntimeError if array.dtype.kind in "iu" else NotImplementedError)(
            f"bincount only supports 1-d non-negative integral inputs, got {input.dtype} of shape {tuple(input.shape)}"
        )
    if minlength < 0:
        raise RuntimeError(f"minlength should be >= 0, got {minlength}")
    if weights is None:
        return input._result(input._xp.bincount(array, minlength=minlength))
    if weights.shape != input.shape:
        raise RuntimeError(
            f"weights should be 1-d and have the same length as input, got {tuple(weights.shape)} for "
            f"{tuple(input.shape)}"
        )
    length = max(minlength, int(array.max()) + 1 if array.size else 0)
    kind = weights._array.dtype if weights._array.dtype == np.float32 else np.dtype(np.float64)
    return input._result(ops.add_rows(input._xp, length, array.astype(np.int64), weights._array.astype(kind)))
