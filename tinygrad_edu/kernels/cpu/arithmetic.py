"""Arithmetic that Numba would compile to slow calls, written so that loops over it become vector instructions.

Constants are float32: a bare 0.5 would widen everything to float64. No function here may be compiled with sums
reordered (fastmath), for each relies on the order of its own.
"""

from __future__ import annotations

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

f32 = np.float32
_LOG2_E = f32(1.44269504088896341)
_LN2_HIGH, _LN2_LOW = f32(0.693359375), f32(-2.12194440e-4)  # ln 2 = high + low; n * high is exact
_P0, _P1, _P2 = f32(1.9875691500e-4), f32(1.3981999507e-3), f32(8.3334519073e-3)
_P3, _P4, _P5 = f32(4.1665795894e-2), f32(1.6666665459e-1), f32(5.0000001201e-1)
_LARGEST, _SMALLEST = f32(88.72284), f32(-103.972084)  # beyond them exp is infinite, or 0


@intrinsic
def _power_of_two(typing_context, n):
    """2**n for an integral float32 n between -126 and 127, by writing the exponent's bits."""

    def generate(context, builder, signature, values):
        integer = ir.IntType(32)
        exponent = builder.add(builder.fptosi(values[0], integer), ir.Constant(integer, 127))
        return builder.bitcast(builder.shl(exponent, ir.Constant(integer, 23)), ir.FloatType())

    return types.float32(types.float32), generate


@njit("float32(float32)", error_model="numpy", fastmath={"contract"})  # a * b + c in one rounding: twice as fast
def exp(x):
    """e**x to within 2 units in the last place; inf, 0 and NaN as they should be.

    e**x = 2**n e**r with n = round(x / ln 2) and |r| <= ln 2 / 2; e**r by a polynomial. 2**n is multiplied in two
    halves, so that results down to the smallest subnormal number come out right.
    Source: Moshier, Cephes Mathematical Library, expf.
    """
    y = min(max(x, _SMALLEST), _LARGEST + f32(1))
    n = np.floor(y * _LOG2_E + f32(0.5))
    r = (y - n * _LN2_HIGH) - n * _LN2_LOW
    e = ((((_P0 * r + _P1) * r + _P2) * r + _P3) * r + _P4) * r + _P5
    e = e * r * r + r + f32(1)
    half = np.floor(n * f32(0.5))
    e = e * _power_of_two(half) * _power_of_two(n - half)
    return x if x != x else e  # NaN


@njit("float32(float32, float32)", error_model="numpy")
def minus(a, b):
    """a - b before anything else: with fastmath a - b - c could become a - (b + c), which loses a small c."""
    return a - b


@njit("float32(float32)", error_model="numpy")
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
