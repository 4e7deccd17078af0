"""Tensors from data, and tensors of a given shape or range."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from .backend import dtypes
from .backend.device import array_module, as_device
from .functional.arguments import Number, cast, sizes
from .tensor import Tensor, made


def _array_of(data: Any, dtype: Any, device: Any, copy: bool) -> Any:
    """The data as an array of the dtype PyTorch would infer."""
    xp = array_module(as_device(device))
    wanted = None if dtype is None else dtypes.as_dtype(dtype).dtype
    if isinstance(data, Tensor):
        data = data._array
    elif isinstance(data, (list, tuple)):
        data = _stacked(data)
    try:
        array = np.asarray(data) if not isinstance(data, np.ndarray) else data
    except ValueError as error:
        raise ValueError(f"expected a sequence of equal length at every level: {error}") from None
    if array.dtype.kind == "f" and wanted is None and not isinstance(data, (np.ndarray, np.generic)):
        wanted = dtypes.get_default_dtype().dtype  # Python floats
    if array.size == 0 and wanted is None and isinstance(data, (list, tuple)):
        wanted = dtypes.get_default_dtype().dtype
    if wanted is None:
        wanted = dtypes.as_dtype(array.dtype).dtype
    if array.dtype.kind not in "biuf":
        raise TypeError(f"cannot make a tensor from data of type {array.dtype}; give numbers or booleans")
    return xp.array(array, dtype=wanted, copy=True) if copy else xp.asarray(array, dtype=wanted)


def _stacked(data: Any) -> Any:
    """Nested sequences with the tensors and arrays in them turned into nested lists, where there are any."""
    if isinstance(data, Tensor):
        return data._array
    if isinstance(data, (list, tuple)) and data and not isinstance(data[0], (int, float)):
        parts = [_stacked(d) for d in data]
        return np.stack(parts) if isinstance(parts[0], (np.ndarray, np.generic)) else parts
    return data


def tensor(data: Any, *, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
    """A new tensor with a copy of the data: numbers, nested sequences, arrays.

    Python floats become the default dtype (float32), integers int64, booleans bool; arrays keep their dtype.
    """
    if isinstance(data, Tensor):
        warnings.warn(
            "to copy construct from a tensor, it is recommended to use sourceTensor.detach().clone()", stacklevel=2
        )
    return made(_array_of(data, dtype, device, copy=True), requires_grad)


def as_tensor(data: Any, dtype: Any = None, device: Any = None) -> Tensor:
    """The data as a tensor, without a copy where none is needed; a tensor keeps its history."""
    if isinstance(data, Tensor):
        as_device(device)
        return data if dtype is None else cast(data, dtypes.as_dtype(dtype))
    return made(_array_of(data, dtype, device, copy=False))


asarray = as_tensor


def from_numpy(ndarray: Any) -> Tensor:
    """A tensor that shares the memory of a NumPy array."""
    if not isinstance(ndarray, np.ndarray):
        raise TypeError(f"expected np.ndarray (got {type(ndarray).__name__})")
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
    return made(xp.full(shape, fill, d.dtype) if fill else xp.zeros(shape, d.dtype), requires_grad)


def zeros(*size: Any, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
    """Zeros in this shape."""
    return _made_of(0, size, dtype, device, requires_grad)


def ones(*size: Any, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
    """Ones in this shape."""
    return _made_of(1, size, dtype, device, requires_grad)


def empty(*size: Any, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
    """Memory in this shape, to be written before it is read. It holds zeros here, so that a mistake is repeatable."""
    return _made_of(0, size, dtype, device, requires_grad)


def full(size: Any, fill_value: Number, *, dtype: Any = None, device: Any = None,
         requires_grad: bool = False) -> Tensor:  # fmt: skip
    """This number everywhere, in its own dtype unless one is given."""
    if isinstance(fill_value, Tensor):
        dtype, fill_value = dtype or fill_value.dtype, fill_value.item()
    return _made_of(fill_value, (size,), type(fill_value) if dtype is None else dtype, device, requires_grad)


def zeros_like(input: Tensor, *, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
    """Zeros in the shape and dtype of the input."""
    return zeros(input.shape, dtype=dtype or input.dtype, device=device, requires_grad=requires_grad)


def ones_like(input: Tensor, *, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
    """Ones in the shape and dtype of the input."""
    return ones(input.shape, dtype=dtype or input.dtype, device=device, requires_grad=requires_grad)


def empty_like(input: Tensor, *, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
    """Memory in the shape and dtype of the input; see `empty`."""
    return empty(input.shape, dtype=dtype or input.dtype, device=device, requires_grad=requires_grad)


def full_like(input: Tensor, fill_value: Number, *, dtype: Any = None, device: Any = None,
              requires_grad: bool = False) -> Tensor:  # fmt: skip
    """This number everywhere, in the shape and dtype of the input."""
    return full(input.shape, fill_value, dtype=dtype or input.dtype, device=device, requires_grad=requires_grad)


def arange(start: Number, end: Number | None = None, step: Number = 1, *, dtype: Any = None, device: Any = None,
           requires_grad: bool = False) -> Tensor:  # fmt: skip
    """start, start + step, ... below end; `arange(end)` starts at 0. int64 unless one of them is a float."""
    start, end = (0, start) if end is None else (start, end)
    start, end, step = (x.item() if isinstance(x, Tensor) else x for x in (start, end, step))
    if step == 0:
        raise RuntimeError("arange: step must be nonzero")
    if (end - start) * step < 0:
        raise RuntimeError(f"arange: upper bound {end} and lower bound {start} are inconsistent with step sign {step}")
    if dtype is None:
        dtype = dtypes.get_default_dtype() if any(isinstance(x, float) for x in (start, end, step)) else dtypes.int64
    d = dtypes.as_dtype(dtype).dtype
    n = int(np.ceil((end - start) / step))
    xp = array_module(as_device(device))
    values = start + xp.arange(n, dtype=np.float64 if d.kind == "f" else np.int64) * step
    return made(values.astype(d, copy=False), requires_grad)


def linspace(start: Number, end: Number, steps: int, *, dtype: Any = None, device: Any = None,
             requires_grad: bool = False) -> Tensor:  # fmt: skip
    """`steps` equally spaced numbers from start to end, both included."""
    if steps < 0:
        raise RuntimeError(f"linspace: number of steps must be non-negative, got {steps}")
    d = dtypes.get_default_dtype() if dtype is None else dtypes.as_dtype(dtype)
    xp = array_module(as_device(device))
    return made(xp.linspace(start, end, steps).astype(d.dtype), requires_grad)


def logspace(start: Number, end: Number, steps: int, base: float = 10.0, *, dtype: Any = None, device: Any = None,
             requires_grad: bool = False) -> Tensor:  # fmt: skip
    """base to the power of `steps` equally spaced exponents from start to end."""
    d = dtypes.get_default_dtype() if dtype is None else dtypes.as_dtype(dtype)
    xp = array_module(as_device(device))
    return made((base ** xp.linspace(start, end, steps)).astype(d.dtype), requires_grad)


def eye(n: int, m: int | None = None, *, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
    """Ones on the diagonal of an (n, m) matrix, zeros elsewhere."""
    d = dtypes.get_default_dtype() if dtype is None else dtypes.as_dtype(dtype)
    xp = array_module(as_device(device))
    return made(xp.eye(n, m, dtype=d.dtype), requires_grad)


def is_tensor(obj: Any) -> bool:
    """Whether obj is a Tensor."""
    return isinstance(obj, Tensor)


def numel(input: Tensor) -> int:
    """The number of elements."""
    return input.numel()
