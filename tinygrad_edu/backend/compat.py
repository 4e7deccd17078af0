"""The array module of a GPU: CuPy, with the few parts of NumPy's interface that ops use and CuPy lacks."""

from __future__ import annotations

import functools
import math
import types
from typing import Any

import numpy as np

# As NumPy and Python divide: what is left has the sign of b, and the quotient is that of a without what is left.
_DIVISION = """
T left = fmod(a, b);
T quotient = (a - left) / b;
if (left != 0 && (b < 0) != (left < 0)) { left += b; quotient -= T(1); }
"""
_QUOTIENT = """
if (b == T(0)) { y = a / b; }
else if (quotient == T(0)) { y = copysign(T(0), a / b); }
else { y = floor(quotient); if (quotient - y > T(0.5)) y += T(1); }
"""
_LEFT = "y = b == T(0) ? T(NAN) : left != 0 ? left : copysign(T(0), b);"


def array_module(cp: Any) -> types.ModuleType:
    """CuPy's names in a module of their own, some of them replaced by what follows."""
    xp = types.ModuleType("tinygrad_edu.backend.cupy", "CuPy as the ops see it.")
    vars(xp).update({name: value for name, value in vars(cp).items() if not name.startswith("__")})
    xp.__getattr__ = lambda name: getattr(cp, name)  # type: ignore[method-assign]

    def initial_too(reduce: Any, larger: Any, of_equal: Any) -> Any:
        """`max` or `min` that starts from `initial`, which also is the result where there is nothing."""

        def reduced(x: Any, axis: Any = None, keepdims: bool = False, initial: Any = None) -> Any:
            if initial is None:
                return reduce(x, axis=axis, keepdims=keepdims)
            if x.size:
                y = reduce(x, axis=axis, keepdims=keepdims)
                return y if initial == of_equal else larger(y, x.dtype.type(initial))
            return cp.full(np.empty(x.shape, x.dtype).sum(axis, keepdims=keepdims).shape, initial, x.dtype)

        return reduced

    def where(condition: Any, *values: Any) -> Any:
        return cp.where(cp.asarray(condition) if isinstance(condition, (bool, np.bool_)) else condition, *values)

    def all_(x: Any, *args: Any, **kwargs: Any) -> Any:
        return cp.all(x if hasattr(x, "shape") else cp.asarray(x), *args, **kwargs)

    def rounded(x: Any, decimals: int = 0) -> Any:
        if not decimals or x.dtype.kind != "f":
            return cp.round(x, decimals)
        factor = 10.0 ** abs(decimals)
        return cp.rint(x * factor) / factor if decimals > 0 else cp.rint(x / factor) * factor

    def full(shape: Any, value: Any, dtype: Any = None) -> Any:
        y = cp.full(shape, value, dtype)
        # CuPy fills with 0 for -0.0.
        return cp.copysign(y, -1.0).astype(y.dtype, copy=False) if value == 0 and math.copysign(1.0, value) < 0 else y

    def isin(a: Any, b: Any, **kwargs: Any) -> Any:
        return cp.isin(cp.asarray(a), cp.asarray(b), **kwargs)

    @functools.cache
    def division(name: str, wanted: str) -> Any:
        return cp.ElementwiseKernel("T a, T b", "T y", _DIVISION + wanted, f"tinygrad_edu_{name}")

    def divided(name: str, wanted: str) -> Any:
        def function(a: Any, b: Any) -> Any:
            dtype = cp.result_type(a, b)
            if dtype not in (np.float32, np.float64):
                return getattr(cp, name)(a, b)
            a, b = (x.astype(dtype, copy=False) if hasattr(x, "astype") else dtype.type(x) for x in (a, b))
            return division(name, wanted)(a, b)

        return function

    class Accumulating:
        """A function of two arrays with `accumulate`, in as many steps as the length has binary digits."""

        def __init__(self, function: Any) -> None:
            self.function, self.at = function, function.at

        def __call__(self, *args: Any, **kwargs: Any) -> Any:
            return self.function(*args, **kwargs)

        def accumulate(self, x: Any, axis: int) -> Any:
            y, reach = cp.moveaxis(x, axis, 0).copy(), 1
            while reach < len(y):
                y[reach:] = self.function(y[reach:], y[:-reach])
                reach *= 2
            return cp.moveaxis(y, 0, axis)

    class Multiply:
        """`multiply` with `at`, whose repeated indices multiply again and again: one product for each place."""

        def __call__(self, *args: Any, **kwargs: Any) -> Any:
            return cp.multiply(*args, **kwargs)

        @staticmethod
        def at(whole: Any, place: Any, values: Any) -> None:
            flat = cp.arange(whole.size).reshape(whole.shape)[place]
            values = cp.broadcast_to(cp.asarray(values, whole.dtype), flat.shape).reshape(-1)
            flat = flat.reshape(-1)
            order = cp.argsort(flat, kind="stable")
            rank = cp.arange(flat.size) - cp.searchsorted(flat[order], flat[order])  # which of its place's values it is
            for turn in range(int(rank.max()) + 1 if flat.size else 0):
                chosen = order[rank == turn]
                cp.put(whole, flat[chosen], whole.reshape(-1)[flat[chosen]] * values[chosen])

    xp.max = xp.amax = initial_too(cp.max, cp.maximum, -np.inf)  # type: ignore[attr-defined]
    xp.min = xp.amin = initial_too(cp.min, cp.minimum, np.inf)  # type: ignore[attr-defined]
    xp.where, xp.all, xp.multiply = where, all_, Multiply()  # type: ignore[attr-defined]
    xp.maximum, xp.minimum = Accumulating(cp.maximum), Accumulating(cp.minimum)  # type: ignore[attr-defined]
    xp.floor_divide = divided("floor_divide", _QUOTIENT)  # type: ignore[attr-defined]
    xp.remainder = divided("remainder", _LEFT)  # type: ignore[attr-defined]
    xp.round, xp.full, xp.isin = rounded, full, isin  # type: ignore[attr-defined]
    return xp
