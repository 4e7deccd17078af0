"""Arithmetic that Numba would compile to slow calls, written so that loops over it become vector instructions.

Constants are float32: a bare 0.5 would widen everything to float64. No function here may be compiled with sums
reordered (fastmath), for each relies on the order of its own.
"""

from __future__ import annotations

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from .compiling import part

f32 = np.float32
LOG2_E = 1.4426950408889634
_LOG2_E, _LN2 = f32(LOG2_E), f32(1 / LOG2_E)
_LN2_HIGH, _LN2_LOW = f32(0.693359375), f32(-2.12194440e-4)  # ln 2 = high + low; n * high is exact
_C2, _C3, _C4 = f32(0.49999994), f32(0.16666521), f32(0.041668389)
_C5, _C6 = f32(0.0083687454), f32(0.0013814541)
_LARGEST, _SMALLEST = f32(88.72284), f32(-103.972084)  # beyond them exp is infinite, or 0
# Added to a number below 2**22, this rounds it to an integer n and leaves n + 127 in the lowest bits of the sum.
_ROUNDING = f32(1.5 * 2**23 + 127)
_joined = part(fastmath={"contract"})  # a * b + c in one rounding: twice as fast


@intrinsic
def _power_of_two(typing_context, rounded):
    """2**n for rounded = n + _ROUNDING: the lowest bits become the exponent; 0 for n = -127, inf for n = 128."""

    def generate(context, builder, signature, values):
        integer = ir.IntType(32)
        bits = builder.shl(builder.bitcast(values[0], integer), ir.Constant(integer, 23))
        return builder.bitcast(bits, ir.FloatType())

    return types.float32(types.float32), generate


@_joined
def _exp_near_0(r):
    """e**r for |r| <= ln 2 / 2, by the polynomial whose largest relative error is least, 3e-9."""
    return ((((_C6 * r + _C5) * r + _C4) * r + _C3) * r + _C2) * (r * r) + r + f32(1)


@_joined
def exp(x):
    """e**x to within 2 units in the last place; inf, 0 and NaN as they should be.

    e**x = 2**n e**r with n = round(x / ln 2) and |r| <= ln 2 / 2. 2**n is multiplied in two halves, so that results
    from the smallest subnormal number to the largest number come out right.
    Source: Moshier, Cephes Mathematical Library, expf.
    """
    y = _SMALLEST if x < _SMALLEST else x  # in this order NaN stays NaN
    y = _LARGEST + f32(1) if y > _LARGEST else y
    n = (y * _LOG2_E + _ROUNDING) - _ROUNDING
    e = _exp_near_0((y - n * _LN2_HIGH) - n * _LN2_LOW)
    half = n * f32(0.5) + _ROUNDING
    return e * _power_of_two(half) * _power_of_two(n - (half - _ROUNDING) + _ROUNDING)


@_joined
def exp2(x):
    """2**x to within 2 units in the last place, NaN for NaN; but 0 below 2**-126.5 and inf from 2**127.5 on.

    Faster than `exp`, as one multiplication by 2**n is enough.
    """
    y = f32(-127) if x < f32(-127) else x
    y = f32(128) if y > f32(128) else y
    rounded = y + _ROUNDING
    return _exp_near_0((y - (rounded - _ROUNDING)) * _LN2) * _power_of_two(rounded)


@part()
def minus(a, b):
    """a - b before anything else: with fastmath a - b - c could become a - (b + c), which loses a small c."""
    return a - b


@part()
def rsqrt(x):
    """1 / sqrt(x), which is 0 for infinity; with fastmath it would be an approximation that gives NaN there."""
    return f32(1) / np.sqrt(x)


@intrinsic
def maximum(typing_context, a, b):
    """The larger of two float32 numbers; NaN if one is. Over a row it becomes vector instructions, unlike `max`."""

    def generate(context, builder, signature, values):
        f = ir.FloatType()
        return builder.call(builder.module.declare_intrinsic("llvm.maximum", [f], ir.FunctionType(f, [f, f])), values)

    return types.float32(types.float32, types.float32), generate
