"""Tensors from data, and tensors of a given shape or range."""

from __future__ import annotations

import functools
import math
import sys
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np

from .autograd.exhausted import allocates
from .backend import dtypes, gpu, transfers
from .backend.device import array_module, as_device
from .functional.arguments import Number, require_tensor, sizes
from .tensor import Tensor, made


def _array_of(data: Any, dtype: Any, device: Any, copy: bool) -> Any:
    """The data as an array of the dtype PyTorch would infer."""
    if type(data) in gpu.array_types:
        data = made(data)
    if isinstance(data, Tensor) and device is None:
        device = data.device
    place = as_device(device)
    if not isinstance(data, (Tensor, Sequence, np.ndarray, np.generic, bool, int, float, complex, type(None))):
        data = np.asarray(data)  # what else NumPy reads: array.array, memoryview, data frames
    wanted = dtypes.as_dtype(dtype) if dtype is not None else _inferred(data) or dtypes.get_default_dtype()
    try:
        if isinstance(data, Tensor):
            array = transfers.to_device(data._array, place)
            return array.astype(wanted.dtype, copy=copy and array is data._array)
        array = (np.array if copy else np.asarray)(_without_tensors(data), dtype=wanted.dtype)
        return transfers.to_device(array, place)
    except OverflowError as error:
        raise ValueError(f"a number does not fit into {wanted}: {error}") from None
    except ValueError as error:
        raise ValueError(_ragged(data) or f"expected numbers, or sequences of them: {error}") from None


def _ragged(data: Any, place: str = "data") -> str | None:
    """The first place where nested sequences differ in shape, in words; None if there is none."""
    if not isinstance(data, Sequence):
        return None
    for i, item in enumerate(data):
        inner = _ragged(item, f"{place}[{i}]")
        if inner:
            return inner
    shapes = [np.shape(_without_tensors(item)) for item in data]
    for i, shape in enumerate(shapes):
        if shape != shapes[0]:
            first, other = (
                "is a number" if not s else f"has the length {s[0]}" if len(s) == 1 else f"has the shape {s}"
                for s in (shapes[0], shape)
            )
            return (
                f"sequences must be of equal length at every level, but {place}[0] {first} and {place}[{i}] {other}; "
                "pad the shorter ones"
            )
    return None


def _inferred(data: Any) -> dtypes.dtype | None:
    """The dtype of numbers, arrays, tensors and nested sequences of them; None if there is no number."""
    if isinstance(data, (Tensor, np.ndarray, np.generic)) or type(data) in gpu.array_types:
        return dtypes.as_dtype(getattr(data, "_array", data).dtype)
    if isinstance(data, (bool, int, float)):
        return dtypes.as_dtype(next(t for t in (bool, int, float) if isinstance(data, t)))
    if isinstance(data, (str, bytes, complex)) or not isinstance(data, Sequence):
        error = TypeError if isinstance(data, (str, bytes, complex)) else RuntimeError
        raise error(f"could not infer the dtype of {type(data).__name__}; give numbers, booleans, arrays or tensors")
    found = [d for d in (map(dtypes.as_dtype, set(map(type, data))) if _plain(data) else map(_inferred, data)) if d]
    return functools.reduce(dtypes.promote_types, found) if found else None


def _plain(data: Sequence[Any]) -> bool:
    """Whether a sequence holds Python numbers alone."""
    return set(map(type, data)) <= {bool, int, float}


def _without_tensors(data: Any) -> Any:
    """The data with arrays of the CPU in the places of tensors, and of arrays on a GPU."""
    if isinstance(data, Tensor) or type(data) in gpu.array_types:
        return transfers.to_host(getattr(data, "_array", data))
    if isinstance(data, Sequence) and not _plain(data):
        return [_without_tensors(d) for d in data]
    return data


@allocates
def tensor(data: Any, *, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
    """A new tensor with a copy of the data: a number, nested sequences of equal length at every level, or an array.

    dtype: for Python floats the default (float32), for integers int64, for booleans bool; arrays keep theirs; a mixture
    takes what holds them all. requires_grad: the tensor is a leaf whose `.grad` backward fills.
    ValueError: sequences of unequal lengths; TypeError, RuntimeError: text, None and other things that are no numbers.
    """
    if isinstance(data, Tensor):
        warnings.warn(
            "to copy construct from a tensor, it is recommended to use sourceTensor.detach().clone()", stacklevel=3
        )
    return made(_array_of(data, dtype, device, copy=True), requires_grad)


@allocates
def as_tensor(data: Any, dtype: Any = None, device: Any = None) -> Tensor:
    """The data as a tensor, without a copy where none is needed; a tensor keeps its history."""
    if isinstance(data, Tensor):
        return data.to(device=device, dtype=dtype)
    return made(_array_of(data, dtype, device, copy=False))


asarray = as_tensor


def from_numpy(ndarray: Any) -> Tensor:
    """A tensor that shares the memory of a NumPy array."""
    if not isinstance(ndarray, np.ndarray):
        kind = type(ndarray)
        raise TypeError(f"expected np.ndarray (got {kind.__module__}.{kind.__name__}); use as_tensor for other data")
    dtypes.as_dtype(ndarray.dtype)
    if any(s < 0 for s in ndarray.strides):
        raise ValueError("at least one stride of the array is negative; pass array.copy()")
    return made(ndarray)


def _made_of(fill: Any, size: tuple[Any, ...], dtype: Any, device: Any, requires_grad: bool) -> Tensor:
    xp = array_module(as_device(device))
    shape = sizes(size)
    if any(n < 0 for n in shape):
        raise RuntimeError(f"trying to create a tensor with a negative dimension: {list(shape)}")
    d = dtypes.get_default_dtype() if dtype is None else dtypes.as_dtype(dtype)
    if math.prod(shape) * d.itemsize > sys.maxsize:
        raise RuntimeError(f"a tensor of shape {list(shape)} has more bytes than can be counted; use smaller sizes")
    return made(xp.full(shape, fill, d.dtype) if fill else xp.zeros(shape, d.dtype), requires_grad)


@allocates
def zeros(*size: Any, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
    """A tensor of zeros in the given shape.

    size: integers or one sequence, `zeros(2, 3)` or `zeros((2, 3))`; no integer, `zeros(())`, makes a 0-d tensor.
    dtype: float32 unless given or set otherwise (`set_default_dtype`). requires_grad: record what is done with it.
    RuntimeError: a negative size; TypeError: a size that is not an integer.
    """
    return _made_of(0, size, dtype, device, requires_grad)


@allocates
def ones(*size: Any, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
    """A tensor of ones in the given shape: `ones(2, 3)` or `ones((2, 3))`. Arguments and errors as of `zeros`."""
    return _made_of(1, size, dtype, device, requires_grad)


@allocates
def empty(*size: Any, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
    """A tensor in the given shape to be written before it is read. Arguments and errors as of `zeros`.

    It holds zeros here, so that reading it too early is at least repeatable.
    """
    return _made_of(0, size, dtype, device, requires_grad)


@allocates
def full(size: Any, fill_value: Number, *, dtype: Any = None, device: Any = None,
         requires_grad: bool = False) -> Tensor:  # fmt: skip
    """fill_value everywhere, in the shape `size`: `full((2, 3), 1.5)`.

    size: a sequence, or one integer for a vector. dtype: that of the number unless given (floats: float32, integers:
    int64, booleans: bool). Errors as of `zeros`.
    """
    if isinstance(fill_value, Tensor):
        dtype, fill_value = dtype or fill_value.dtype, fill_value.item()
    return _made_of(fill_value, (size,), type(fill_value) if dtype is None else dtype, device, requires_grad)


def zeros_like(input: Tensor, *, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
    """Zeros in the shape and dtype of the input."""
    return zeros(input.shape, dtype=dtype or input.dtype, device=_like(input, device), requires_grad=requires_grad)


def ones_like(input: Tensor, *, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
    """Ones in the shape and dtype of the input."""
    return ones(input.shape, dtype=dtype or input.dtype, device=_like(input, device), requires_grad=requires_grad)


def empty_like(input: Tensor, *, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
    """Memory in the shape and dtype of the input; see `empty`."""
    return empty(input.shape, dtype=dtype or input.dtype, device=_like(input, device), requires_grad=requires_grad)


def full_like(input: Tensor, fill_value: Number, *, dtype: Any = None, device: Any = None,
              requires_grad: bool = False) -> Tensor:  # fmt: skip
    """This number everywhere, in the shape and dtype of the input."""
    place = _like(input, device)
    return full(input.shape, fill_value, dtype=dtype or input.dtype, device=place, requires_grad=requires_grad)


def _like(input: Tensor, device: Any) -> Any:
    return input.device if device is None else device


@allocates
def arange(start: Number | None = None, end: Number | None = None, step: Number = 1, *, dtype: Any = None,
           device: Any = None, requires_grad: bool = False) -> Tensor:  # fmt: skip
    """The numbers start, start + step, ... before end, as a vector of ceil((end - start) / step).

    `arange(5)` is 0 .. 4, `arange(1, 2, 0.25)` has four. dtype: int64, or float32 if one of the three is a float,
    unless given. RuntimeError: step is 0 or leads away from end.
    """
    if end is None:
        start, end = None, start
    if end is None:
        raise TypeError("arange: missing the end")
    start, end, step = (x.item() if isinstance(x, Tensor) else x for x in (0 if start is None else start, end, step))
    if dtype is not None and not dtypes.as_dtype(dtype).is_floating_point:
        start, end, step = int(start), int(end), int(step)
    if step == 0:
        raise RuntimeError("arange: step must be nonzero")
    if (end - start) * step < 0:
        raise RuntimeError(f"arange: upper bound {end} and lower bound {start} are inconsistent with step sign {step}")
    if dtype is None:
        dtype = dtypes.get_default_dtype() if any(isinstance(x, float) for x in (start, end, step)) else dtypes.int64
    d = dtypes.as_dtype(dtype).dtype
    n = int(np.ceil((end - start) / step))
    xp = array_module(as_device(device))
    values = start + xp.arange(n, dtype=np.float64 if dtypes.is_floating(d) else np.int64) * step
    return made(values.astype(d, copy=False), requires_grad)


@allocates
def linspace(start: Number, end: Number, steps: int, *, dtype: Any = None, device: Any = None,
             requires_grad: bool = False) -> Tensor:  # fmt: skip
    """`steps` equally spaced numbers from start to end, both included, as a vector. RuntimeError: steps is negative."""
    if steps < 0:
        raise RuntimeError(f"linspace: number of steps must be non-negative, got {steps}")
    d = dtypes.get_default_dtype() if dtype is None else dtypes.as_dtype(dtype)
    xp = array_module(as_device(device))
    return made(xp.linspace(start, end, steps).astype(d.dtype), requires_grad)


@allocates
def logspace(start: Number, end: Number, steps: int, base: float = 10.0, *, dtype: Any = None, device: Any = None,
             requires_grad: bool = False) -> Tensor:  # fmt: skip
    """base to the power of `steps` equally spaced exponents from start to end."""
    d = dtypes.get_default_dtype() if dtype is None else dtypes.as_dtype(dtype)
    xp = array_module(as_device(device))
    return made((base ** xp.linspace(start, end, steps)).astype(d.dtype), requires_grad)


@allocates
def eye(n: int, m: int | None = None, *, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
    """Ones on the diagonal of an (n, m) matrix, zeros elsewhere; m is n unless given. RuntimeError: a negative size."""
    d = dtypes.get_default_dtype() if dtype is None else dtypes.as_dtype(dtype)
    if n < 0 or (m is not None and m < 0):
        raise RuntimeError(f"eye: the sizes must not be negative, got {n}" + ("" if m is None else f" and {m}"))
    xp = array_module(as_device(device))
    return made(xp.eye(n, m, dtype=d.dtype), requires_grad)


@allocates
def tril_indices(row: int, col: int, offset: int = 0, *, dtype: Any = dtypes.int64, device: Any = None) -> Tensor:
    """The indices (2, N) of the elements of a (row, col) matrix on and below a diagonal, row by row."""
    return _triangle(np.tril_indices, "tril_indices", row, col, offset, dtype, device)


@allocates
def triu_indices(row: int, col: int, offset: int = 0, *, dtype: Any = dtypes.int64, device: Any = None) -> Tensor:
    """The indices (2, N) of the elements of a (row, col) matrix on and above a diagonal, row by row."""
    return _triangle(np.triu_indices, "triu_indices", row, col, offset, dtype, device)


def _triangle(find: Any, name: str, row: int, col: int, offset: int, dtype: Any, device: Any) -> Tensor:
    if row < 0 or col < 0:
        raise RuntimeError(f"{name}: row and col must be non-negative, got {row} and {col}")
    indices = np.stack(find(row, offset, col)).astype(dtypes.as_dtype(dtype).dtype)
    return made(transfers.to_device(indices, as_device(device)))


def scalar_tensor(s: Number, *, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
    """A 0-d tensor of a number, in the default floating dtype unless one is given."""
    return full((), s, dtype=dtypes.get_default_dtype() if dtype is None else dtype, device=device,
                requires_grad=requires_grad)  # fmt: skip


def frombuffer(buffer: Any, *, dtype: Any, count: int = -1, offset: int = 0, requires_grad: bool = False) -> Tensor:
    """A vector that shares the memory of a buffer such as a bytearray: `count` elements from byte `offset` on.

    ValueError: an empty buffer, an offset or length that does not fit.
    """
    return made(np.frombuffer(buffer, dtypes.as_dtype(dtype).dtype, count, offset), requires_grad)


def _of_type(dtype: dtypes.dtype, name: str) -> Any:
    def constructor(*data: Any) -> Tensor:
        return Tensor(*data, dtype=dtype)

    constructor.__name__ = constructor.__qualname__ = name
    constructor.__doc__ = f"`Tensor(...)` of dtype {dtype.name}: of data, or of a shape given as integers."
    return constructor


# PyTorch's old constructors, which course notebooks still use.
FloatTensor, DoubleTensor, HalfTensor = (
    _of_type(dtypes.float32, "FloatTensor"), _of_type(dtypes.float64, "DoubleTensor"),
    _of_type(dtypes.float16, "HalfTensor"),
)  # fmt: skip
LongTensor, IntTensor, ShortTensor = (
    _of_type(dtypes.int64, "LongTensor"), _of_type(dtypes.int32, "IntTensor"), _of_type(dtypes.int16, "ShortTensor")
)  # fmt: skip
CharTensor, ByteTensor, BoolTensor = (
    _of_type(dtypes.int8, "CharTensor"), _of_type(dtypes.uint8, "ByteTensor"), _of_type(dtypes.bool_, "BoolTensor")
)  # fmt: skip


def is_tensor(obj: Any) -> bool:
    """Whether obj is a Tensor."""
    return isinstance(obj, Tensor)


def numel(input: Tensor) -> int:
    """The number of elements."""
    return input.numel()


def is_floating_point(input: Tensor) -> bool:
    """Whether the tensor holds floating numbers."""
    require_tensor("is_floating_point", "input", input)
    return input.is_floating_point()


def is_complex(input: Tensor) -> bool:
    """False: numbers here are real."""
    require_tensor("is_complex", "input", input)
    return False


def is_nonzero(input: Tensor) -> bool:
    """Whether the one element of the tensor is not zero. RuntimeError: not exactly one element."""
    require_tensor("is_nonzero", "input", input)
    return bool(input)


def result_type(tensor1: Any, tensor2: Any) -> dtypes.dtype:
    """The dtype that an operation on these two, tensors or numbers, computes in."""
    return dtypes.result_type(*(getattr(x, "_array", x) for x in (tensor1, tensor2)))


def can_cast(from_: Any, to: Any) -> bool:
    """Whether a conversion stays within its kind: not from floating numbers to integers, nor from those to bool."""
    return dtypes.as_dtype(from_).category <= dtypes.as_dtype(to).category


def typename(obj: Any) -> str:
    """The name of an object's type, a tensor's with its dtype: "tinygrad_edu.FloatTensor"."""
    if isinstance(obj, Tensor):
        return f"tinygrad_edu.{_OLD_NAMES[obj.dtype]}"
    kind = obj if isinstance(obj, type) else type(obj)
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


_OLD_NAMES = {
    dtypes.float32: "FloatTensor", dtypes.float64: "DoubleTensor", dtypes.float16: "HalfTensor",
    dtypes.int64: "LongTensor", dtypes.int32: "IntTensor", dtypes.int16: "ShortTensor", dtypes.int8: "CharTensor",
    dtypes.uint8: "ByteTensor", dtypes.bool_: "BoolTensor", dtypes.bfloat16: "BFloat16Tensor",
}  # fmt: skip
