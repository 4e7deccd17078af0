"""Other shapes and orders of the same elements, repeating, joining, splitting and padding."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ..backend import dtypes
from ..dispatch import apply
from ..ops import indexing as indexing_ops
from ..ops import shape as ops
from .arguments import Dim, dim_index, dim_indices, numpy_names, on_tensor, promote, require_tensor, sizes
from .precision import autocasts

if TYPE_CHECKING:
    from ..tensor import Tensor

# ---- the same elements in the same order ---------------------------------------------------------------------------


@on_tensor
def reshape(input: Tensor, *sizes: Any, shape: Any = None) -> Tensor:
    """The same elements, in row-major order, in another shape: `x.reshape(B, T, -1)` or `x.reshape((B, T, -1))`.

    One size may be -1: it becomes what makes the number of elements fit. The result shares the memory where the layout
    allows it (a view), and is a copy otherwise. RuntimeError: the shape does not hold the same number of elements.
    """
    return apply(ops.Reshape, input, shape=_resolved(_integers(sizes, shape), input._array.size))


def _integers(separate: tuple[Any, ...], named: Any) -> tuple[int, ...]:
    """Integers given one by one, as one sequence, or by name."""
    return sizes(separate if named is None else (named,))


def _resolved(shape: tuple[int, ...], numel: int) -> tuple[int, ...]:
    """The shape with its -1 replaced by the size that makes it hold numel elements."""
    if math.prod(shape) == numel and min(shape, default=0) >= 0:
        return shape
    for i, n in enumerate(shape):
        if n < -1:
            raise RuntimeError(f"invalid shape dimension {n} at index {i} of shape {list(shape)}")
    if shape.count(-1) > 1:
        raise RuntimeError(f"only one dimension can be inferred, got shape {list(shape)}")
    if -1 in shape:
        rest = -math.prod(shape)  # of the other sizes
        if rest == 0 and numel == 0:
            raise RuntimeError(
                f"cannot reshape tensor of 0 elements into shape {list(shape)} because the unspecified dimension size "
                "-1 can be any value and is ambiguous"
            )
        if rest and numel % rest == 0:
            return tuple([numel // rest if n == -1 else n for n in shape])
    raise RuntimeError(f"shape '{list(shape)}' is invalid for input of size {numel}")


@on_tensor
def view(input: Tensor, *sizes: Any, size: Any = None) -> Tensor:
    """The same memory in another shape, as `reshape` (one size may be -1) but never a copy: `x.view(B, -1)`.

    Given a dtype instead, the same bits read as numbers of that dtype. RuntimeError: the number of elements differs, or
    the memory is not laid out so that this is possible, as after `transpose`; use `reshape`.
    """
    if len(sizes) == 1 and isinstance(sizes[0], dtypes.dtype):
        return _bits(input, sizes[0])
    result = reshape(input, *sizes, shape=size)
    if result._memory is not input._memory:
        raise RuntimeError(
            "view size is not compatible with input tensor's size and stride (at least one dimension spans across two "
            "contiguous subspaces). Use .reshape(...) instead."
        )
    return result


def _bits(input: Tensor, dtype: dtypes.dtype) -> Tensor:
    try:
        return input._result(input._array.view(dtype.dtype))._share_memory_of(input)
    except ValueError:
        raise RuntimeError(
            f"view: a tensor of {input.dtype}, shape {tuple(input.shape)} and strides {input.stride()} cannot be read "
            f"as {dtype}: the last dimension must be without gaps and hold a whole number of the new elements"
        ) from None


@on_tensor
def reshape_as(input: Tensor, other: Tensor) -> Tensor:
    """`reshape` to the shape of other."""
    return reshape(input, other.shape)


@on_tensor
def view_as(input: Tensor, other: Tensor) -> Tensor:
    """`view` in the shape of other."""
    return view(input, other.shape)


@on_tensor
def flatten(input: Tensor, start_dim: int = 0, end_dim: int = -1) -> Tensor:
    """The dimensions from start_dim to end_dim (both included) as one: (B, C, H, W) from dim 1 on is (B, C * H * W).

    A 0-d tensor becomes one of shape (1,). RuntimeError: start_dim after end_dim.
    """
    shape = input._array.shape
    start, end = dim_index(start_dim, len(shape)), dim_index(end_dim, len(shape))
    if start > end:
        raise RuntimeError(
            f"flatten() has invalid args: start_dim cannot come after end_dim, got {start_dim} and {end_dim}"
        )
    flat = *shape[:start], math.prod(shape[start : end + 1]), *shape[end + 1 :]
    return apply(ops.Reshape, input, shape=flat)


@on_tensor
def ravel(input: Tensor) -> Tensor:
    """All elements in one dimension."""
    return contiguous(reshape(input, -1))


@on_tensor
def unflatten(input: Tensor, dim: int, sizes: Sequence[int]) -> Tensor:
    """One dimension as several of these sizes, of which one may be -1."""
    shape = input._array.shape
    at = dim_index(dim, len(shape))
    if len(sizes) == 0:
        raise RuntimeError("unflatten: sizes must be non-empty")
    try:
        resolved = _resolved(tuple(sizes), shape[at])
    except RuntimeError:
        raise RuntimeError(
            f"unflatten: Provided sizes {list(sizes)} don't multiply up to the size of dim {dim} ({shape[at]}) in the "
            "input tensor"
        ) from None
    return reshape(input, *shape[:at], *resolved, *shape[at + 1 :])


@on_tensor
def squeeze(input: Tensor, dim: Dim = None) -> Tensor:
    """Without its dimensions of size 1, all of them or those among `dim`: (B, 1, C) becomes (B, C). A view.

    A dimension in `dim` of another size stays. IndexError: no such dimension.
    """
    shape = input._array.shape
    if dim is None:
        dims = tuple(range(len(shape)))
    else:
        dims = dim_indices(dim, len(shape)) if not isinstance(dim, Sequence) or len(dim) else ()
    return reshape(input, tuple(n for i, n in enumerate(shape) if n != 1 or i not in dims))


@on_tensor
def unsqueeze(input: Tensor, dim: int) -> Tensor:
    """With a dimension of size 1 inserted at place dim: (B, C) with dim 1 becomes (B, 1, C). A view.

    -1 is the last place. IndexError: dim outside -n-1 .. n for n dimensions.
    """
    shape = input._array.shape
    at = dim_index(dim, len(shape) + 1)
    return reshape(input, *shape[:at], 1, *shape[at:])


@on_tensor
def contiguous(input: Tensor) -> Tensor:
    """The tensor itself if its elements lie in row-major order without gaps, else a copy in which they do."""
    return input if input._array.flags.c_contiguous else apply(ops.Contiguous, input)


# ---- the dimensions in another order -------------------------------------------------------------------------------


@on_tensor
def permute(input: Tensor, *order: Any, dims: Any = None) -> Tensor:
    """The dimensions in another order: dimension i of the result is dimension `dims[i]` of the input. A view.

    `x.permute(0, 2, 1)` makes (B, C, T) of (B, T, C). RuntimeError: not every dimension once; IndexError: none such.
    """
    order = _integers(order, dims)
    ndim = input._array.ndim
    if len(order) != ndim:
        raise RuntimeError(
            f"permute: number of dimensions in the tensor input does not match the length of the desired "
            f"ordering of dimensions i.e. input.dim() = {ndim} is not equal to len(dims) = {len(order)}"
        )
    axes = tuple(dim_index(d, ndim) for d in order)
    if len(set(axes)) != ndim:
        raise RuntimeError(f"permute(): duplicate dims are not allowed, got {order}")
    return apply(ops.Permute, input, axes=axes)


@on_tensor
def transpose(input: Tensor, dim0: int, dim1: int) -> Tensor:
    """Dimensions dim0 and dim1 exchanged: `transpose(x, 1, 2)` makes (B, C, T) of (B, T, C). A view.

    IndexError: no such dimension.
    """
    ndim = input._array.ndim
    a, b = dim_index(dim0, ndim), dim_index(dim1, ndim)
    axes = list(range(ndim))
    if ndim:
        axes[a], axes[b] = b, a
    return apply(ops.Permute, input, axes=tuple(axes))


swapaxes = swapdims = transpose


@on_tensor
def t(input: Tensor) -> Tensor:
    """A matrix transposed; tensors of fewer dimensions as they are. RuntimeError: more than two dimensions."""
    if input._array.ndim > 2:
        raise RuntimeError(f"t() expects a tensor with <= 2 dimensions, but self is {input._array.ndim}D")
    return apply(ops.Permute, input, axes=tuple(reversed(range(input._array.ndim))))


@on_tensor
def movedim(input: Tensor, source: int | Sequence[int], destination: int | Sequence[int]) -> Tensor:
    """Dimensions moved to other places, the others keeping their order. A view."""
    ndim = input._array.ndim
    sources = (source,) if not isinstance(source, Sequence) else tuple(source)
    targets = (destination,) if not isinstance(destination, Sequence) else tuple(destination)
    if len(sources) != len(targets):
        raise RuntimeError(
            f"movedim: Invalid source or destination dims: source ({list(sources)} dims) should contain the same "
            f"number of dims as destination ({list(targets)} dims)"
        )
    pairs = []
    for name, given in (("source", sources), ("destination", targets)):
        dims = [dim_index(d, ndim) for d in given]
        if len(set(dims)) != len(dims):
            raise RuntimeError(f"movedim: repeated dim in `{name}` ({list(given)})")
        pairs.append(dims)
    if not ndim:
        return apply(ops.Permute, input, axes=())
    axes = [a for a in range(ndim) if a not in pairs[0]]
    for target, axis in sorted(zip(pairs[1], pairs[0], strict=True)):
        axes.insert(target, axis)
    return apply(ops.Permute, input, axes=tuple(axes))


moveaxis = movedim

# ---- repeated ------------------------------------------------------------------------------------------------------


@on_tensor
def expand(input: Tensor, *sizes: Any, size: Any = None) -> Tensor:
    """Dimensions of size 1 repeated to a larger size without copying, new ones put in front; -1 keeps a size. A view.

    `x.expand(B, T, -1)` makes (B, T, C) of (T, C) or (1, T, C). RuntimeError: a dimension of another size than 1 would
    change.
    """
    old, new = input._array.shape, _integers(sizes, size)
    extra = len(new) - len(old)
    if extra < 0:
        raise RuntimeError(
            f"expand: the number of sizes provided ({len(new)}) must be greater or equal to the number of dimensions "
            f"in the tensor ({len(old)}); got size {list(new)} for a tensor of shape {list(old)}"
        )
    target = []
    for i, n in enumerate(new):
        have = old[i - extra] if i >= extra else None
        if n == -1 and have is None:
            raise RuntimeError(
                f"expand: The expanded size of the tensor (-1) isn't allowed in a leading, non-existing dimension {i}"
            )
        if n != -1 and (n < 0 or have not in (n, 1, None)):
            raise RuntimeError(
                f"The expanded size of the tensor ({n}) must match the existing size ({have}) at non-singleton "
                f"dimension {i}.  Target sizes: {list(new)}.  Tensor sizes: {list(old)}"
            )
        target.append(have if n == -1 and have is not None else n)
    if math.prod(target) == input._array.size:  # nothing is repeated
        return reshape(input, target)
    return apply(ops.Expand, input, shape=tuple(target))


@on_tensor
def expand_as(input: Tensor, other: Tensor) -> Tensor:
    """`expand` to the shape of other."""
    return expand(input, other.shape)


@on_tensor
def broadcast_to(input: Tensor, size: Sequence[int]) -> Tensor:
    """The same as `expand(size)`."""
    return expand(input, size)


def broadcast_tensors(*tensors: Any) -> tuple[Tensor, ...]:
    """The tensors expanded to the one shape that they broadcast to."""
    given = _several("broadcast_tensors", tensors)
    shape = broadcast_shapes(*(x._array.shape for x in given))
    return tuple(expand(x, shape) for x in given)


def broadcast_shapes(*shapes: Any) -> tuple[int, ...]:
    """The shape that these shapes broadcast to. RuntimeError: they do not fit together."""
    target: list[int] = []
    for shape in shapes:
        shape = (shape,) if isinstance(shape, int) else tuple(shape)
        target = [1] * (len(shape) - len(target)) + target
        for i, n in enumerate(reversed(shape), 1):
            if n != 1:
                if target[-i] not in (1, n):
                    raise RuntimeError(
                        f"shape mismatch: {', '.join(str(tuple(s)) for s in shapes)} cannot be broadcast together"
                    )
                target[-i] = n
    return tuple(target)


@on_tensor
def repeat(input: Tensor, *times: Any, repeats: Any = None) -> Tensor:
    """The whole tensor repeated this often along each dimension; further repeats come first, as new dimensions."""
    times, shape = _integers(times, repeats), input._array.shape
    if len(times) < len(shape):
        raise RuntimeError(
            "Number of dimensions of repeat dims can not be smaller than number of dimensions of tensor: got "
            f"{list(times)} for a tensor of shape {list(shape)}"
        )
    if any(n < 0 for n in times):
        raise RuntimeError(f"repeat: Trying to create tensor with negative dimension, got repeats {list(times)}")
    shape = (1,) * (len(times) - len(shape)) + shape
    # (A, B) -> (1, A, 1, B) -> (rows, A, columns, B) -> (rows * A, columns * B)
    apart = reshape(input, tuple(n for size in shape for n in (1, size)))
    spread = expand(apart, tuple(n for pair in zip(times, shape, strict=True) for n in pair))
    return _owning(reshape(spread, tuple(n * size for n, size in zip(times, shape, strict=True))), input)


def _owning(result: Tensor, input: Tensor) -> Tensor:
    """The result, in memory of its own where it still shares that of the input."""
    return apply(ops.Contiguous, result) if result._memory is input._memory else result


@on_tensor
def tile(input: Tensor, *times: Any, dims: Any = None) -> Tensor:
    """As `repeat`, but missing repeats of leading dimensions are 1."""
    times = _integers(times, dims)
    return repeat(input, (1,) * (input._array.ndim - len(times)) + times)


@on_tensor
def repeat_interleave(
    input: Tensor, repeats: Any = None, dim: int | None = None, *, output_size: int | None = None
) -> Tensor:
    """Each element (with dim: each slice along it) repeated `repeats` times in a row.

    repeats: an integer, or a tensor with one number for each. Without repeats, the input holds the numbers and the
    result the indices 0, 0, 1, ... that they stand for.
    """
    xp = input._xp
    if repeats is None:
        counts = _counts(input._array)
        return input._result(xp.repeat(xp.arange(counts.size), counts))
    if dim is None:
        input, dim = flatten(input), 0
    at = dim_index(dim, input._array.ndim)
    if not input._array.ndim:
        input = flatten(input)
    n = input._array.shape[at]
    given = repeats._array if hasattr(repeats, "_array") else xp.asarray(repeats)
    counts = _counts(given.reshape(-1) if given.size == 1 else given)
    if counts.size not in (1, n):
        raise RuntimeError(
            f"repeats must have the same size as input along dim, but got repeats.size(0) = {counts.size} and "
            f"input.size({at}) = {n}"
        )
    index = xp.repeat(xp.arange(n), counts)
    if output_size is not None and output_size != index.size:
        raise RuntimeError(f"repeat_interleave: output_size is {output_size}, but the repeats give {index.size}")
    return apply(indexing_ops.Index, input, index, axes=(at,))


def _counts(repeats: Any) -> Any:
    if repeats.ndim != 1:
        raise RuntimeError(f"repeat_interleave: repeats must be 0-dim or 1-dim, got {repeats.ndim} dimensions")
    if repeats.dtype.kind != "i":
        raise RuntimeError(f"repeat_interleave: repeats has to be Long or Int tensor, got {repeats.dtype}")
    if repeats.size and repeats.min() < 0:
        raise RuntimeError(f"repeat_interleave: repeats can not be negative, got {repeats.min()}")
    return repeats


# ---- joined and split ----------------------------------------------------------------------------------------------


def _several(name: str, tensors: Any) -> tuple[Tensor, ...]:
    """Tensors given separately or as one sequence."""
    given = tensors[0] if len(tensors) == 1 and isinstance(tensors[0], (list, tuple)) else tensors
    return _sequence(name, given)


def _sequence(name: str, tensors: Any) -> tuple[Tensor, ...]:
    if not isinstance(tensors, (list, tuple)):
        raise TypeError(f"{name}(): argument 'tensors' must be tuple of Tensors, not {type(tensors).__name__}")
    for i, x in enumerate(tensors):
        if not hasattr(x, "_array"):
            raise TypeError(f"{name}(): expected Tensor as element {i} in argument 'tensors', got {type(x).__name__}")
    return tuple(tensors)


@autocasts
@numpy_names
def cat(tensors: Sequence[Tensor], dim: int = 0) -> Tensor:
    """The tensors joined along an existing dimension: (B, S, C) and (B, T, C) along dim 1 give (B, S + T, C).

    Their other sizes must be equal; dtypes are promoted. As in PyTorch, a tensor of shape (0,) fits beside any other.
    RuntimeError: sizes that differ, a 0-d tensor; ValueError: no tensors. `stack` makes a new dimension.
    """
    given = _sequence("cat", tensors)
    if not given:
        raise ValueError("cat(): expected a non-empty list of Tensors")
    for i, x in enumerate(given):
        if x._array.ndim == 0:
            raise RuntimeError(f"zero-dimensional tensor (at position {i}) cannot be concatenated; use stack()")
    given = promote(*given)
    first = next((x._array.shape for x in given if x._array.shape != (0,)), (0,))
    at = dim_index(dim, len(first))
    nothing = first[:at] + (0,) + first[at + 1 :]
    for i, x in enumerate(given):
        shape = x._array.shape
        if shape == (0,):
            continue
        if len(shape) != len(first):
            raise RuntimeError(f"Tensors must have same number of dimensions: got {len(first)} and {len(shape)}")
        if shape[:at] + shape[at + 1 :] != first[:at] + first[at + 1 :]:
            wrong = next(d for d in range(len(shape)) if d != at and shape[d] != first[d])
            raise RuntimeError(
                f"Sizes of tensors must match except in dimension {at}. Expected size {first[wrong]} in dimension "
                f"{wrong} but got size {shape[wrong]} for tensor number {i} in the list."
            )
    joined = (reshape(x, nothing) if x._array.shape == (0,) else x for x in given)
    return apply(ops.Cat, *joined, axis=at)


concatenate = concat = cat


@autocasts
@numpy_names
def stack(tensors: Sequence[Tensor], dim: int = 0) -> Tensor:
    """Tensors of one shape joined along a new dimension: n of (B, C) give (n, B, C), with dim 1 (B, n, C).

    RuntimeError: shapes that differ, no tensors. `cat` joins along a dimension that is there.
    """
    given = _sequence("stack", tensors)
    if not given:
        raise RuntimeError("stack expects a non-empty TensorList")
    for i, x in enumerate(given):
        if x._array.shape != given[0]._array.shape:
            raise RuntimeError(
                f"stack expects each tensor to be equal size, but got {list(given[0].shape)} at entry 0 and "
                f"{list(x.shape)} at entry {i}"
            )
    at = dim_index(dim, given[0]._array.ndim + 1)
    return apply(ops.Cat, *(unsqueeze(x, at) for x in promote(*given)), axis=at)


def hstack(tensors: Sequence[Tensor]) -> Tensor:
    """Joined along the columns: dimension 1, or dimension 0 of one-dimensional tensors."""
    given = [x if x._array.ndim else flatten(x) for x in _sequence("hstack", tensors)]
    return cat(given, 0 if given and given[0]._array.ndim == 1 else 1)


def vstack(tensors: Sequence[Tensor]) -> Tensor:
    """Joined along the rows; a one-dimensional tensor is one row."""
    return cat([x if x._array.ndim > 1 else reshape(x, 1, -1) for x in _sequence("vstack", tensors)], 0)


@on_tensor
def narrow(input: Tensor, dim: int, start: Any, length: int) -> Tensor:
    """The `length` elements from `start` on along a dimension. A view.

    IndexError: start outside; RuntimeError: start + length outside.
    """
    at = _existing_dim("narrow", input, dim)
    n, begin = input._array.shape[at], int(start)
    if not -n <= begin <= n:
        raise IndexError(f"Dimension out of range (expected to be in range of [{-n}, {n}], but got {begin})")
    begin += n if begin < 0 else 0
    if length < 0:
        raise RuntimeError(f"narrow(): length must be non-negative, got {length}")
    if begin + length > n:
        raise RuntimeError(f"start ({begin}) + length ({length}) exceeds dimension size ({n}).")
    return _part(input, at, begin, begin + length)


def _part(input: Tensor, at: int, begin: int, end: int) -> Tensor:
    return apply(indexing_ops.Slice, input, place=(slice(None),) * at + (slice(begin, end, 1), ...))


def _existing_dim(name: str, input: Tensor, dim: int) -> int:
    if not input._array.ndim:
        raise RuntimeError(f"{name}() cannot be applied to a 0-dim tensor.")
    return dim_index(dim, input._array.ndim)


@on_tensor
def select(input: Tensor, dim: int, index: int) -> Tensor:
    """The slice at one index of a dimension, without that dimension. A view."""
    if not input._array.ndim:
        raise IndexError("select() cannot be applied to a 0-dim tensor.")
    at = dim_index(dim, input._array.ndim)
    n = input._array.shape[at]
    if not -n <= index < n:
        raise IndexError(
            f"select(): index {index} out of range for tensor of size {list(input.shape)} at dimension {at}"
        )
    return apply(indexing_ops.Slice, input, place=(slice(None),) * at + (int(index) % n, ...))


@on_tensor
def unbind(input: Tensor, dim: int = 0) -> tuple[Tensor, ...]:
    """All slices along a dimension, without that dimension. Views."""
    if not input._array.ndim:
        raise IndexError("Dimension specified as 0 but tensor has no dimensions")
    at = dim_index(dim, input._array.ndim)
    return tuple(select(input, at, i) for i in range(input._array.shape[at]))


@numpy_names
def split(tensor: Tensor, split_size_or_sections: int | Sequence[int], dim: int = 0) -> tuple[Tensor, ...]:
    """Pieces of one size (the last may be smaller), or of the given sizes, along a dimension. Views.

    `split(x, C, dim=-1)` makes three (B, T, C) of (B, T, 3 * C). RuntimeError: sizes that do not add up.
    """
    require_tensor("split", "tensor", tensor)
    at = _existing_dim("split", tensor, dim)
    n = tensor._array.shape[at]
    if isinstance(split_size_or_sections, int):
        size = split_size_or_sections
        if size < 0 or (size == 0 and n):
            raise RuntimeError(f"split expects split_size be positive, but got split_size={size}")
        lengths = [min(size, n - i) for i in range(0, n, size)] if n else [0]
    else:
        lengths = list(split_size_or_sections)
        if sum(lengths) != n or any(length < 0 for length in lengths):
            raise RuntimeError(
                f"split_with_sizes expects split_sizes to sum exactly to {n} (input tensor's size at dimension {at}), "
                f"but got split_sizes={lengths}"
            )
    return _pieces(tensor, at, lengths)


def _pieces(tensor: Tensor, at: int, lengths: Sequence[int]) -> tuple[Tensor, ...]:
    pieces, begin = [], 0
    for length in lengths:
        pieces.append(_part(tensor, at, begin, begin + length))
        begin += length
    return tuple(pieces)


@on_tensor
def chunk(input: Tensor, chunks: int, dim: int = 0) -> tuple[Tensor, ...]:
    """`chunks` pieces of equal size (the last may be smaller, or there be fewer) along a dimension. Views.

    `q, k, v = x.chunk(3, dim=-1)` makes three (B, T, C) of (B, T, 3 * C).
    """
    at = _existing_dim("chunk", input, dim)
    if chunks <= 0:
        raise RuntimeError(f"chunk expects `chunks` to be greater than 0, got: {chunks}")
    n = input._array.shape[at]
    if n == 0:
        return _pieces(input, at, [0] * chunks)
    return split(input, -(-n // chunks), at)


@on_tensor
def tensor_split(input: Tensor, indices_or_sections: Any, dim: int = 0) -> tuple[Tensor, ...]:
    """Pieces along a dimension: this many of nearly equal size, or those between these indices. Views."""
    at = _existing_dim("tensor_split", input, dim)
    n = input._array.shape[at]
    if hasattr(indices_or_sections, "tolist"):
        indices_or_sections = indices_or_sections.tolist()
    if isinstance(indices_or_sections, int):
        count = indices_or_sections
        if count <= 0:
            raise RuntimeError(f"number of sections must be larger than 0, got {count}")
        return _pieces(input, at, [n // count + (i < n % count) for i in range(count)])
    bounds = [slice(i).indices(n)[1] for i in indices_or_sections]
    return tuple(_part(input, at, a, max(a, b)) for a, b in zip([0, *bounds], [*bounds, n], strict=True))


# ---- turned, cut to a triangle, diagonals --------------------------------------------------------------------------


@on_tensor
def flip(input: Tensor, *axes: Any, dims: Any = None) -> Tensor:
    """In reverse order along the dimensions."""
    given = _integers(axes, dims)
    reverse = dim_indices(given, input._array.ndim) if given else ()
    return apply(ops.Flip, input, axes=reverse) if reverse else apply(ops.Contiguous, input)


@on_tensor
def roll(input: Tensor, shifts: int | Sequence[int], dims: Dim = None) -> Tensor:
    """Elements moved on by `shifts`, those leaving at the end entering at the start; without dims as if flattened."""
    by = tuple(shifts) if isinstance(shifts, Sequence) else (shifts,)
    if dims is None or (isinstance(dims, Sequence) and not dims):
        if len(by) != 1:
            raise RuntimeError(f"shifts and dimensions must align. shifts: {len(by)}, dims:0")
        flat = reshape(input, input._array.size)
        return reshape(apply(ops.Roll, flat, shifts=by, axes=(0,)), input.shape)
    given = tuple(dims) if isinstance(dims, Sequence) else (dims,)
    if len(by) != len(given):
        raise RuntimeError(f"shifts and dimensions must align. shifts: {len(by)}, dims:{len(given)}")
    return apply(ops.Roll, input, shifts=by, axes=tuple(dim_index(d, input._array.ndim) for d in given))


@on_tensor
def rot90(input: Tensor, k: int = 1, dims: Sequence[int] = (0, 1)) -> Tensor:
    """Turned by k quarter turns in the plane of two dimensions, from the first towards the second."""
    ndim = input._array.ndim
    if len(dims) != 2:
        raise RuntimeError(f"expected total rotation dims == 2, but got dims = {len(dims)}")
    if ndim < 2:
        raise RuntimeError(f"expected total dims >= 2, but got total dims = {ndim}")
    a, b = (dim_index(d, ndim) for d in dims)
    if a == b:
        raise RuntimeError(f"expected rotation dims to be different, but got dim0 = {dims[0]} and dim1 = {dims[1]}")
    if k % 4 == 0:
        return apply(ops.Contiguous, input)
    if k % 4 == 2:
        return flip(input, (a, b))
    return transpose(flip(input, b), a, b) if k % 4 == 1 else flip(transpose(input, a, b), b)


@on_tensor
def tril(input: Tensor, diagonal: int = 0) -> Tensor:
    """The last two dimensions on and below a diagonal, 0 above it: (..., N, M) -> (..., N, M).

    diagonal: 0 is the main one, 1 the next above it. `tril(ones(T, T))` is the mask of causal attention.
    """
    _require_matrix("tril", input)
    return apply(ops.Tril, input, k=diagonal)


@on_tensor
def triu(input: Tensor, diagonal: int = 0) -> Tensor:
    """The last two dimensions on and above a diagonal, 0 below it; `diagonal` counts from the main one upwards."""
    _require_matrix("triu", input)
    return apply(ops.Triu, input, k=diagonal)


def _require_matrix(name: str, input: Tensor) -> None:
    if input._array.ndim < 2:
        raise RuntimeError(f"{name}: input tensor must have at least 2 dimensions, got shape {tuple(input.shape)}")


@on_tensor
def diagonal(input: Tensor, offset: int = 0, dim1: int = 0, dim2: int = 1) -> Tensor:
    """A diagonal of two dimensions, as the last dimension; `offset` counts from the main one upwards. A view."""
    a, b = (dim_index(d, input._array.ndim) for d in (dim1, dim2))
    if a == b:
        raise RuntimeError(f"diagonal dimensions cannot be identical {dim1}, {dim2}")
    return apply(ops.Diagonal, input, offset=offset, axis1=a, axis2=b)


@on_tensor
def diag_embed(input: Tensor, offset: int = 0, dim1: int = -2, dim2: int = -1) -> Tensor:
    """Zero matrices in two new dimensions with the last dimension on a diagonal: the reverse of `diagonal`."""
    ndim = input._array.ndim + 1
    a, b = dim_index(dim1, ndim), dim_index(dim2, ndim)
    if a == b:
        raise RuntimeError(f"diagonal dimensions cannot be identical {dim1}, {dim2}")
    return apply(ops.DiagEmbed, input, offset=offset, axis1=a, axis2=b)


@on_tensor
def diag(input: Tensor, diagonal: int = 0) -> Tensor:
    """The matrix with this vector on a diagonal, or the diagonal of this matrix."""
    if input._array.ndim == 1:
        return diag_embed(input, diagonal)
    if input._array.ndim == 2:
        return apply(ops.Contiguous, apply(ops.Diagonal, input, offset=diagonal, axis1=0, axis2=1))
    raise RuntimeError(f"diag(): Supports 1D or 2D tensors. Got {input._array.ndim}D")


@on_tensor
def unfold(input: Tensor, dimension: int, size: int, step: int) -> Tensor:
    """The windows of `size` elements that start every `step` along a dimension; each window in a new last dimension.

    Shapes: (..., N, ...) -> (..., (N - size) // step + 1, ..., size). A view.
    """
    array = input._array
    at = dim_index(dimension, array.ndim)
    n = array.shape[at] if array.ndim else 1
    if not 0 <= size <= n:
        raise RuntimeError(f"maximum size for tensor at dimension {at} is {n} but size is {size}")
    if step <= 0:
        raise RuntimeError(f"step is {step} but must be > 0")
    if not array.ndim:
        return narrow(flatten(input), 0, 0, size)
    return apply(ops.Unfold, input, axis=at, size=size, step=step)


def meshgrid(*tensors: Any, indexing: str = "ij") -> tuple[Tensor, ...]:
    """The coordinates of a grid: each vector expanded along the dimensions of the others.

    indexing: "ij", dimension i belongs to vector i; "xy", the first two are exchanged, as in pictures.
    """
    given = _several("meshgrid", tensors)
    if indexing not in ("ij", "xy"):
        raise RuntimeError(f'meshgrid: indexing must be one of "xy" or "ij", but received: {indexing}')
    if not given:
        raise RuntimeError("meshgrid expects a non-empty TensorList")
    for x in given:
        if x._array.ndim > 1:
            raise RuntimeError(f"meshgrid: Expected 0D or 1D tensor in the tensor list but got shape {list(x.shape)}")
        if x.dtype != given[0].dtype:
            raise RuntimeError("meshgrid expects all tensors to have the same dtype")
    swap = indexing == "xy" and len(given) > 1
    places = [1, 0, *range(2, len(given))] if swap else range(len(given))
    shape = [0] * len(given)
    for place, x in zip(places, given, strict=True):
        shape[place] = x._array.size
    grids = []
    for place, x in zip(places, given, strict=True):
        alone = [1] * len(given)
        alone[place] = shape[place]
        grids.append(expand(reshape(x, alone), shape))
    return tuple(grids)


# ---- padded --------------------------------------------------------------------------------------------------------


@on_tensor
def pad(input: Tensor, pad: Sequence[int], mode: str = "constant", value: float | None = None) -> Tensor:
    """Elements added (or, for negative numbers, cut off) at both ends of the last dimensions.

    pad: (before, after) of the last dimension, then of the one before it, and so on.
    mode: "constant" (value, 0 by default), "reflect", "replicate" or "circular"; all but "constant" pad the last 1, 2
    or 3 dimensions of a tensor that has one or two more.
    """
    widths = sizes((pad,))
    ndim = input._array.ndim
    if len(widths) % 2:
        raise RuntimeError(f"Padding length must be divisible by 2, got {len(widths)} numbers")
    if len(widths) > 2 * ndim:
        raise RuntimeError(
            f"Padding length should be less than or equal to two times the input dimension. Got padding length "
            f"{len(widths)} and input of dimension {ndim}"
        )
    pairs = list(zip(widths[::2], widths[1::2], strict=True))[::-1]  # of the last len(pairs) dimensions, in order
    if mode == "constant":
        return _pad_constant(input, [(0, 0)] * (ndim - len(pairs)) + pairs, 0 if value is None else value)
    if mode not in ("reflect", "replicate", "circular"):
        raise NotImplementedError(f"Unrecognised padding mode {mode}")
    if value not in (None, 0):
        raise RuntimeError(f'Padding mode "{mode}" doesn\'t take in value argument')
    if not 1 <= len(pairs) <= 3 or ndim - len(pairs) not in (1, 2):
        raise NotImplementedError(
            "Only 2D, 3D, 4D, 5D padding with non-constant padding are supported for now: pad the last 1, 2 or 3 "
            f"dimensions of a tensor with one or two more; got {ndim} dimensions and pad={list(widths)}"
        )
    for axis, (before, after) in enumerate(pairs, ndim - len(pairs)):
        input = _pad_with_own(input, axis, before, after, mode)
    return input


def _pad_constant(input: Tensor, widths: list[tuple[int, int]], value: float) -> Tensor:
    kept = [_kept(input, axis, *width) for axis, width in enumerate(widths)]
    if any(w < 0 for pair in widths for w in pair):
        input = apply(indexing_ops.Slice, input, place=tuple(slice(first, last) for first, last in kept))
    grown = tuple((max(before, 0), max(after, 0)) for before, after in widths)
    return apply(ops.Pad, input, widths=grown, value=value)


def _kept(input: Tensor, axis: int, before: int, after: int) -> tuple[int, int]:
    """The first and last (excluded) index of what negative padding leaves of a dimension."""
    n = input._array.shape[axis]
    first, last = max(-before, 0), n - max(-after, 0)
    if last < first:
        raise RuntimeError(
            f"The input size {n}, plus negative padding {before} and {after}, resulted in a negative output size, "
            f"which is invalid. Check dimension {axis} of your input."
        )
    return first, last


def _pad_with_own(input: Tensor, axis: int, before: int, after: int, mode: str) -> Tensor:
    """One dimension continued beyond its ends by its own elements."""
    n, xp = input._array.shape[axis], input._xp
    first, last = _kept(input, axis, before, after)
    if first == last:
        raise RuntimeError(f"pad: nothing is left of dimension {axis} of size {n} that could continue it")
    at = xp.arange(-before, n + after)
    if mode == "reflect":
        if max(before, after) >= n:
            raise RuntimeError(
                f"Padding size should be less than the corresponding input dimension, but got: padding ({before}, "
                f"{after}) at dimension {axis} of input {list(input.shape)}"
            )
        at = (n - 1) - abs((n - 1) - abs(at))
    elif mode == "replicate":
        at = at.clip(0, n - 1)
    else:
        if max(before, after) > n:
            raise RuntimeError(
                f"Padding value causes wrapping around more than once: padding ({before}, {after}) at dimension {axis} "
                f"of input {list(input.shape)}"
            )
        at = first + (at - first) % (last - first)  # what is cut off does not come back at the other end
    return apply(indexing_ops.Index, input, at, axes=(axis,))
