"""Data types with PyTorch's names, and PyTorch's promotion rules on top of NumPy's types.

Inside the framework arrays carry NumPy dtypes; the `dtype` objects below are what users see and pass.
"""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np

BOOL, INTEGER, FLOATING = 0, 1, 2
# By NumPy's kind. It knows bfloat16 once ml_dtypes is imported, and calls its kind V.
_CATEGORY = {"b": BOOL, "u": INTEGER, "i": INTEGER, "f": FLOATING, "V": FLOATING}


class dtype:
    """A data type such as `tinygrad_edu.float32`. NumPy accepts it wherever it accepts a dtype."""

    __slots__ = ("name", "dtype", "category")

    def __init__(self, name: str) -> None:
        self.name = name
        self.dtype = np.dtype(name)  # the attribute by which NumPy understands this object
        self.category = _CATEGORY[self.dtype.kind]

    @property
    def itemsize(self) -> int:
        """Bytes per element."""
        return self.dtype.itemsize

    @property
    def is_floating_point(self) -> bool:
        return self.category == FLOATING

    @property
    def is_signed(self) -> bool:
        return self.dtype.kind in "ifV"

    @property
    def is_complex(self) -> bool:
        return False

    def __repr__(self) -> str:
        return f"tinygrad_edu.{self.name}"

    def __reduce__(self) -> str:
        return self.name

    def __eq__(self, other: object) -> bool:
        if self is other:
            return True
        if isinstance(other, dtype):
            return self.dtype == other.dtype
        return isinstance(other, (np.dtype, type)) and self.dtype == other

    def __hash__(self) -> int:
        return hash(self.dtype)


bool_ = dtype("bool")
uint8 = dtype("uint8")
int8 = dtype("int8")
int16 = dtype("int16")
int32 = dtype("int32")
int64 = dtype("int64")
float16 = dtype("float16")
bfloat16 = dtype("bfloat16")
float32 = dtype("float32")
float64 = dtype("float64")

ALL = (bool_, uint8, int8, int16, int32, int64, float16, bfloat16, float32, float64)
_BY_NUMPY = {d.dtype: d for d in ALL}
_BY_PYTHON = {bool: bool_, int: int64, float: float32}  # what a Python number becomes as a tensor

_default = float32


def is_floating(dtype: Any) -> bool:
    """Whether this dtype of an array holds floating numbers."""
    return dtype.kind in "fV"


def kind_of(dtype: Any) -> str:
    """The kind of number that this dtype of an array holds: 'b', 'i', 'u' or 'f'."""
    return "f" if dtype.kind == "V" else dtype.kind


def wide(array: Any) -> Any:
    """The array, in float32 if it is bfloat16, with which array libraries can do little by themselves."""
    return array.astype(np.float32) if array.dtype.kind == "V" else array


def get_default_dtype() -> dtype:
    """The floating type given to Python floats and to true division of integers (float32 unless changed)."""
    return _default


def set_default_dtype(d: dtype) -> None:
    """Set the default floating type. TypeError: not a floating type."""
    global _default
    if not isinstance(d, dtype) or not d.is_floating_point:
        raise TypeError(f"set_default_dtype: expected a floating dtype such as float32, got {d!r}")
    _default = d
    _BY_PYTHON[float] = d


def as_dtype(d: Any) -> dtype:
    """The framework's dtype for a dtype of ours, of NumPy, or a Python type. TypeError: no such type."""
    if isinstance(d, dtype):
        return d
    if isinstance(d, type) and d in _BY_PYTHON:
        return _BY_PYTHON[d]
    try:
        return _BY_NUMPY[np.dtype(d)]
    except (TypeError, KeyError):
        names = ", ".join(t.name for t in ALL)
        raise TypeError(f"unsupported dtype {d!r}; use one of {names}") from None


def of_array(array: Any) -> dtype:
    """The framework's dtype of an array."""
    return _BY_NUMPY[array.dtype]


def _promote(a: dtype, b: dtype) -> dtype:
    """The smallest type that holds both, a floating type winning over any integer (int64 + float16 = float16)."""
    if a.category != b.category:
        return a if a.category > b.category else b
    if {a, b} == {float16, bfloat16}:  # neither holds the other
        return float32
    return _BY_NUMPY[np.promote_types(a.dtype, b.dtype)]


def promote_types(type1: dtype, type2: dtype) -> dtype:
    """The result dtype of an operation between tensors of these two dtypes."""
    return _promote(as_dtype(type1), as_dtype(type2))


def result_type(*operands: Any) -> dtype:
    """The dtype an operation between these operands computes in.

    Operands are arrays or Python numbers. Arrays with axes decide within a category (bool < integer <
    floating); 0-d arrays, and after them Python numbers, count only when they raise the category.
    """
    best: list[dtype | None] = [None, None, None]  # from arrays with axes, 0-d arrays, Python numbers
    for x in operands:
        if type(x) in _BY_PYTHON:
            rank, t = 2, _BY_PYTHON[type(x)]
        else:
            rank, t = (0 if x.ndim else 1), _BY_NUMPY[x.dtype]
        have = best[rank]
        best[rank] = t if have is None else _promote(have, t)
    result: dtype | None = None
    for found in best:
        if found is not None and (result is None or found.category > result.category):
            result = found
    assert result is not None, "result_type needs at least one operand"
    return result


class finfo:
    """Limits of a floating type: `eps`, `max`, `min`, `tiny`, `smallest_normal`, `resolution`, `bits`."""

    def __init__(self, type: dtype | None = None) -> None:
        d = as_dtype(_default if type is None else type)
        if not d.is_floating_point:
            raise TypeError(f"finfo: expected a floating dtype, got {d!r}; use iinfo for integers")
        info = ml_dtypes.finfo(d.dtype)  # which is NumPy's for NumPy's types
        self.dtype, self.bits = d.name, info.bits
        self.eps, self.max, self.min = float(info.eps), float(info.max), float(info.min)
        self.tiny = self.smallest_normal = float(info.tiny)
        self.resolution = float(info.resolution)


class iinfo:
    """Limits of an integer type: `max`, `min`, `bits`."""

    def __init__(self, type: dtype) -> None:
        d = as_dtype(type)
        if d.category != INTEGER:
            raise TypeError(f"iinfo: expected an integer dtype, got {d!r}; use finfo for floating types")
        info = np.iinfo(d.dtype)
        self.dtype, self.bits, self.max, self.min = d.name, info.bits, int(info.max), int(info.min)
