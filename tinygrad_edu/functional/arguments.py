"""Checks and conversions that every function's arguments go through."""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeGuard, TypeVar

import numpy as np

from ..autograd.unfinished import alike, waiting
from ..backend import dtypes, gpu, promises
from ..backend.device import is_array, module_of
from ..dispatch import apply
from ..ops import elementwise as ops

if TYPE_CHECKING:
    from ..tensor import Tensor

Number = bool | int | float
# The Python numbers that leave an array of each kind in its dtype.
_WEAK: dict[str, tuple[type, ...]] = {
    "f": (float, int, bool), "V": (float, int, bool), "i": (int, bool), "u": (int, bool), "b": (bool,),
}  # fmt: skip
Dim = int | Sequence[int] | None
F = TypeVar("F", bound=Callable[..., Any])


def is_tensor(x: Any) -> TypeGuard[Tensor]:
    """Whether x is a Tensor."""
    return hasattr(x, "_array")


def require_tensor(name: str, argument: str, x: Any) -> None:
    """TypeError unless x is a Tensor."""
    if not hasattr(x, "_node"):  # asking for the array would end its wait
        raise TypeError(f"{name}(): argument '{argument}' must be Tensor, not {type(x).__name__}")


def numpy_names(function: F) -> F:
    """Let a function understand `axis` and `keepdims` for `dim` and `keepdim`, as PyTorch does."""

    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        if kwargs:
            _rename(kwargs)
        return function(*args, **kwargs)

    return wrapper  # type: ignore[return-value]  # wraps keeps the signature


def _rename(kwargs: dict[str, Any]) -> None:
    for numpy_name, name in ("axis", "dim"), ("keepdims", "keepdim"):
        if numpy_name in kwargs:
            kwargs[name] = kwargs.pop(numpy_name)


def on_tensor(function: F) -> F:
    """Check that the first argument, `input`, is a Tensor, and understand NumPy's names of arguments."""
    name = function.__name__

    @functools.wraps(function)
    def wrapper(input: Any, *args: Any, **kwargs: Any) -> Any:
        require_tensor(name, "input", input)
        if kwargs:
            _rename(kwargs)
        return function(input, *args, **kwargs)

    return wrapper  # type: ignore[return-value]


def cast(x: Tensor, dtype: dtypes.dtype) -> Tensor:
    """x in another dtype; x itself if it has that dtype already."""
    return x if x._array.dtype == dtype.dtype else apply(ops.Cast, x, dtype=dtype.dtype)


def to_floating(x: Tensor) -> Tensor:
    """x in the default floating dtype if it holds integers or booleans (what sqrt, mean and division compute in)."""
    return x if dtypes.is_floating(x._array.dtype) else cast(x, dtypes.get_default_dtype())


def operand(like: Tensor, x: Any) -> Tensor | Number:
    """x as something to compute with: a Tensor, or a Python number, which never promotes within its category."""
    if hasattr(x, "_array") or type(x) in (float, int, bool):
        return x
    if isinstance(x, np.generic):
        return x.item()
    if is_array(x):
        return like._result(x)
    raise TypeError(f"expected a Tensor, a number or an array, got {type(x).__name__}")


def promote(*operands: Any) -> tuple[Any, ...]:
    """The operands with their tensors cast to the one dtype that PyTorch would compute in."""
    target = dtypes.result_type(*(getattr(x, "_array", x) for x in operands))
    return tuple(cast(x, target) if hasattr(x, "_array") else x for x in operands)


def pair(a: Any, b: Any) -> tuple[Any, Any]:
    """Two operands ready for one op: a Tensor and a Tensor or number, in the dtype that PyTorch would compute in."""
    if waiting and alike(a, b):
        return a, b
    if hasattr(a, "_array"):
        dtype = a._array.dtype
        if hasattr(b, "_array"):
            if b._array.dtype == dtype:
                return a, b
        elif type(b) in _WEAK[dtype.kind]:
            return a, b
        return promote(a, operand(a, b))
    if not hasattr(b, "_array"):
        raise TypeError(f"expected at least one Tensor, got {type(a).__name__} and {type(b).__name__}")
    return promote(operand(b, a), b)


def dim_index(dim: Any, ndim: int) -> int:
    """A dimension as a non-negative index. IndexError: out of range; TypeError: not an integer."""
    if isinstance(dim, bool) or not isinstance(dim, (int, np.integer)):
        raise TypeError(f"dim must be an int, got {type(dim).__name__}")
    n = max(ndim, 1)  # a 0-d tensor may be asked for dim 0 or -1
    if not -n <= dim < n:
        raise IndexError(f"Dimension out of range (expected to be in range of [{-n}, {n - 1}], but got {dim})")
    return int(dim) % n


def dim_indices(dim: Dim, ndim: int) -> tuple[int, ...]:
    """Dimensions as a tuple of different non-negative indices; None or () means all of them."""
    if type(dim) is int or (dim is not None and not isinstance(dim, Sequence)):
        dim = (dim,)
    if not dim:
        return tuple(range(ndim))
    dims = tuple([dim_index(d, ndim) for d in dim])
    if len(set(dims)) != len(dims):
        raise RuntimeError(f"dim {tuple(dim)} appears multiple times in the list of dims")
    return dims if ndim else ()


def ready(tensor: Any) -> Any:
    """The array of a tensor, to be computed with outside of ops: its device is the one that computes from now on."""
    if gpu.several:
        module_of(tensor._array)
    return tensor._array


def all_below(indices: Any, n: int, *, low: int = 0, ignored: int | None = None, name: str = "index") -> bool:
    """Whether all integers of an array are in 0 .. n-1. As unsigned numbers negative ones are larger than any other.

    On a GPU the answer is True: nobody waits for it. If one is not in low .. n-1, nor `ignored`, the next reading of a
    value raises.
    """
    if type(indices) is not np.ndarray and type(indices) in gpu.array_types:
        promises.in_range(indices, low, n, ignored, f"{name}: an index is out of bounds, expected {low} .. {n - 1}")
        return True
    return not indices.size or int(indices.view(f"u{indices.itemsize}").max()) < n


def sizes(args: tuple[Any, ...]) -> tuple[int, ...]:
    """A shape given as separate integers or as one sequence."""
    if len(args) == 1 and type(args[0]) is not int and isinstance(args[0], Sequence):
        args = tuple(args[0])
    for n in args:
        if type(n) is not int:
            return tuple([_size(n) for n in args])
    return args


def _size(n: Any) -> int:
    if isinstance(n, bool) or not hasattr(n, "__index__"):
        raise TypeError(f"a size must be an int, got {n!r} of type {type(n).__name__}")
    return operator.index(n)
