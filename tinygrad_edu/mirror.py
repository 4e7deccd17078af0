"""NumPy's interface on Tensors: given it as `xp`, an op's forward and backward, written for arrays, record a graph.

That is how `create_graph=True` works: there is one set of formulas, and here each NumPy name in them means the op
that computes it. Values that no gradient flows through (comparisons, indices, masks) stay arrays.
"""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np

from .autograd import higher
from .dispatch import apply
from .ops import activation, elementwise, indexing, linalg, reduction, shape


class Array:
    """A Tensor with an array's methods.

    Writing into it (`a[i] = v`) puts another Tensor in its place, so code that fills an array it has just made works.
    Views are apart: writing into one does not write into what it was taken of.
    """

    __slots__ = ("tensor",)
    __array_ufunc__ = None  # NumPy then leaves `ndarray + Array` to this class
    flags = SimpleNamespace(c_contiguous=False)  # so that nobody writes through a view

    def __init__(self, tensor: Any) -> None:
        self.tensor = tensor

    shape = property(lambda self: self.tensor._array.shape)
    dtype = property(lambda self: self.tensor._array.dtype)
    ndim = property(lambda self: self.tensor._array.ndim)
    size = property(lambda self: self.tensor._array.size)
    T = property(lambda self: self.transpose(range(self.ndim)[::-1]))

    def __len__(self) -> int:
        return len(self.tensor._array)

    def reshape(self, *shape_: Any) -> Array:
        wanted = shape_[0] if len(shape_) == 1 and not isinstance(shape_[0], int) else shape_
        return _apply(shape.Reshape, self, shape=self.tensor._array.reshape(wanted).shape)

    def transpose(self, axes: Any) -> Array:
        return _apply(shape.Permute, self, axes=tuple(axes))

    def swapaxes(self, a: int, b: int) -> Array:
        axes = list(range(self.ndim))
        axes[a], axes[b] = axes[b], axes[a]
        return self.transpose(axes)

    def astype(self, dtype: Any, copy: bool = True) -> Array:
        return self if self.dtype == dtype else _apply(elementwise.Cast, self, dtype=np.dtype(dtype))

    def sum(self, axis: Any = None, keepdims: bool = False) -> Array:
        return _apply(reduction.Sum, self, axis=_axes(axis, self.ndim), keepdims=keepdims)

    def __getitem__(self, place: Any) -> Array:
        axes, indices = _indexed(place)
        if indices:
            return _apply(indexing.Index, self, *indices, axes=axes)
        return _apply(indexing.Slice, self, place=_tuple(place))

    def __setitem__(self, place: Any, values: Any) -> None:
        axes, indices = _indexed(place)
        if indices:
            self.tensor = _apply(indexing.IndexPut, self, values, *indices, axes=axes).tensor
        else:
            self.tensor = _apply(indexing.SliceScatter, self, values, place=_tuple(place)).tensor

    # A comparison has no gradient: its result is an array.

    def __eq__(self, other: Any) -> Any:
        return self.tensor._array == _plain(other)

    def __ne__(self, other: Any) -> Any:
        return self.tensor._array != _plain(other)

    def __lt__(self, other: Any) -> Any:
        return self.tensor._array < _plain(other)

    def __le__(self, other: Any) -> Any:
        return self.tensor._array <= _plain(other)

    def __gt__(self, other: Any) -> Any:
        return self.tensor._array > _plain(other)

    def __ge__(self, other: Any) -> Any:
        return self.tensor._array >= _plain(other)

    __hash__ = None  # type: ignore[assignment]

    def __neg__(self) -> Array:
        return _apply(elementwise.Neg, self)

    def __abs__(self) -> Array:
        return _apply(elementwise.Abs, self)

    def __add__(self, other: Any) -> Array:
        return _apply(elementwise.Add, self, other)

    def __radd__(self, other: Any) -> Array:
        return _apply(elementwise.Add, other, self)

    def __sub__(self, other: Any) -> Array:
        return _apply(elementwise.Sub, self, other)

    def __rsub__(self, other: Any) -> Array:
        return _apply(elementwise.Sub, other, self)

    def __mul__(self, other: Any) -> Array:
        return _apply(elementwise.Mul, self, other)

    def __rmul__(self, other: Any) -> Array:
        return _apply(elementwise.Mul, other, self)

    def __truediv__(self, other: Any) -> Array:
        return _apply(elementwise.Div, self, other)

    def __rtruediv__(self, other: Any) -> Array:
        return _apply(elementwise.Div, other, self)

    def __pow__(self, other: Any) -> Array:
        return _apply(elementwise.Pow, self, other)

    def __rpow__(self, other: Any) -> Array:
        return _apply(elementwise.Pow, other, self)

    def __matmul__(self, other: Any) -> Array:
        return _apply(linalg.Matmul, self, other)

    def __rmatmul__(self, other: Any) -> Array:
        return _apply(linalg.Matmul, other, self)


def _tensor(x: Any) -> Any:
    return x.tensor if isinstance(x, Array) else x


def _plain(x: Any) -> Any:
    return x.tensor._array if isinstance(x, Array) else x


def _apply(op: Any, *inputs: Any, **attrs: Any) -> Array:
    return Array(apply(op, *map(_tensor, inputs), **attrs))


def _tuple(x: Any) -> tuple[Any, ...]:
    return x if isinstance(x, tuple) else (x,)


def _axes(axis: Any, ndim: int) -> tuple[int, ...]:
    return tuple(range(ndim)) if axis is None else tuple(a % ndim for a in _tuple(axis))


def _indexed(place: Any) -> tuple[tuple[int, ...], list[Any]]:
    """The axes of an index tuple that hold arrays, and these arrays; the other axes are taken whole."""
    found = [(axis, index) for axis, index in enumerate(_tuple(place)) if hasattr(index, "strides")]
    return tuple(axis for axis, _ in found), [index for _, index in found]


# Functions whose gradient is found through an op that takes the same arguments.
_OPS = {
    "abs": elementwise.Abs, "arccos": elementwise.Acos, "arcsin": elementwise.Asin, "arctan": elementwise.Atan,
    "arctan2": elementwise.Atan2, "clip": elementwise.Clamp, "cos": elementwise.Cos, "cosh": elementwise.Cosh,
    "exp": elementwise.Exp, "exp2": elementwise.Exp2, "expm1": elementwise.Expm1, "log": elementwise.Log,
    "log10": elementwise.Log10, "log1p": elementwise.Log1p, "log2": elementwise.Log2, "maximum": elementwise.Maximum,
    "minimum": elementwise.Minimum, "sin": elementwise.Sin, "sinh": elementwise.Sinh, "sqrt": elementwise.Sqrt,
    "tan": elementwise.Tan, "tanh": activation.Tanh, "where": elementwise.Where,
}  # fmt: skip
# Functions without a gradient, or with none but 0: their results are arrays.
_CONSTANT = {
    "arange", "bincount", "ceil", "floor", "floor_divide", "full", "inf", "isfinite", "isinf", "isnan", "ogrid",
    "ones", "ones_like", "ravel_multi_index", "round", "sign", "trunc",
}  # fmt: skip


class Mirror(higher.Mirror):
    """The stand-in for an array module, whose functions take and return `Array`s."""

    def __init__(self, xp: Any, tensor: Callable[..., Any]) -> None:
        super().__init__(xp, tensor)
        self.add = SimpleNamespace(at=_add_at)

    def __getattr__(self, name: str) -> Any:
        """A function of the tables above. NotImplementedError: the mirror lacks it."""
        if name in _OPS:
            return self._either(name, lambda *inputs: _apply(_OPS[name], *inputs))
        if name in _CONSTANT:
            found = getattr(self.xp, name)
            if not callable(found):
                return found
            return lambda *args, **kwargs: found(*map(_plain, args), **kwargs)
        raise NotImplementedError(f"xp.{name} is not available where a backward pass is recorded")

    def _either(self, name: str, on_tensors: Callable[..., Array]) -> Callable[..., Any]:
        """A function on Tensors where an argument is one, else NumPy's."""

        def function(*args: Any, **kwargs: Any) -> Any:
            chosen = on_tensors if any(isinstance(a, Array) for a in args) else getattr(self.xp, name)
            return chosen(*args, **kwargs)

        return function

    def apply(self, op: Any, *inputs: Any, **attrs: Any) -> Any:
        if any(isinstance(x, Array) for x in inputs):
            return _apply(op, *inputs, **attrs)
        return op.forward(self.xp, *inputs, **attrs)[0]

    def wrap(self, tensor: Any) -> Array:
        return Array(tensor)

    def zeros(self, shape: Any, dtype: Any) -> Array:
        return Array(self.tensor(self.xp.zeros(shape, dtype)))

    def zeros_like(self, x: Any) -> Array:
        return self.zeros(x.shape, x.dtype)

    def array(self, x: Any, order: str | None = None) -> Any:
        return Array(_tensor(x)) if isinstance(x, Array) else self.xp.array(x, order=order)

    def asarray(self, x: Any, dtype: Any = None) -> Any:
        if isinstance(x, Array):
            return x if dtype is None else x.astype(dtype)
        return self.xp.asarray(x, dtype)

    def sum(self, x: Any, axis: Any = None, keepdims: bool = False, dtype: Any = None) -> Any:
        if isinstance(x, Array):
            return x.sum(axis, keepdims)
        return self.xp.sum(x, axis=axis, keepdims=keepdims, dtype=dtype)

    def max(self, x: Any, axis: Any, keepdims: bool, initial: Any) -> Any:
        axes = _axes(axis, x.ndim)
        if not isinstance(x, Array) or not all(x.shape[a] for a in axes):
            return self.xp.max(_plain(x), axis=axes, keepdims=keepdims, initial=initial)
        return _apply(reduction.Amax, x, axis=axes, keepdims=keepdims)

    def cumsum(self, x: Any, axis: int, dtype: Any = None) -> Any:
        return self._either("cumsum", lambda x, axis, dtype: _apply(reduction.Cumsum, x, axis=axis))(x, axis, dtype)

    def cumprod(self, x: Any, axis: int, dtype: Any = None) -> Any:
        return self._either("cumprod", lambda x, axis, dtype: _apply(reduction.Cumprod, x, axis=axis))(x, axis, dtype)

    def einsum(self, subscripts: str, *arrays: Any, optimize: bool = True) -> Any:
        return _apply(linalg.Einsum, *arrays, subscripts=subscripts)

    def concatenate(self, arrays: Any, axis: int = 0) -> Any:
        if not any(isinstance(a, Array) for a in arrays):
            return self.xp.concatenate(arrays, axis=axis)
        return _apply(shape.Cat, *arrays, axis=axis % arrays[0].ndim)

    def broadcast_to(self, x: Any, shape_: Any) -> Any:
        return self._either("broadcast_to", lambda x, s: _apply(shape.Expand, x, shape=tuple(s)))(x, shape_)

    def squeeze(self, x: Any, axis: Any) -> Any:
        gone = _axes(axis, x.ndim)
        return x.reshape(tuple(n for i, n in enumerate(x.shape) if i not in gone))

    def transpose(self, x: Any, axes: Any) -> Any:
        return x.transpose(axes)

    def moveaxis(self, x: Any, source: Any, destination: Any) -> Any:
        start = _axes(source if isinstance(source, int) else tuple(source), x.ndim)
        end = _axes(destination if isinstance(destination, int) else tuple(destination), x.ndim)
        order = [n for n in range(x.ndim) if n not in start]
        for to, axis in sorted(zip(end, start, strict=True)):
            order.insert(to, axis)
        return x.transpose(order)

    def flip(self, x: Any, axis: Any) -> Any:
        return self._either("flip", lambda x, axis: _apply(shape.Flip, x, axes=_axes(axis, x.ndim)))(x, axis)

    def roll(self, x: Any, shifts: Any, axes: Any) -> Any:
        return self._either("roll", lambda x, s, a: _apply(shape.Roll, x, shifts=s, axes=a))(x, shifts, axes)

    def tril(self, x: Any, k: int) -> Any:
        return self._either("tril", lambda x, k: _apply(shape.Tril, x, k=k))(x, k)

    def triu(self, x: Any, k: int) -> Any:
        return self._either("triu", lambda x, k: _apply(shape.Triu, x, k=k))(x, k)


def _add_at(whole: Array, index: Any, rows: Any) -> None:
    whole.tensor = _apply(indexing.IndexAdd, whole, rows, index, axes=(0,)).tensor
