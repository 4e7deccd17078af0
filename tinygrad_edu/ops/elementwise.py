"""Arithmetic, powers, exponentials, rounding and comparisons, element by element."""

from __future__ import annotations

import math

from .op import Op

# ---- arithmetic ----------------------------------------------------------------------------------------------------


class Add(Op):
    """y = a + b."""

    name, broadcasts = "add", True

    @staticmethod
    def forward(xp, a, b):
        return a + b, ()

    @staticmethod
    def backward(xp, saved, gy):
        return gy, gy


class Sub(Op):
    """y = a - b."""

    name, broadcasts = "sub", True

    @staticmethod
    def forward(xp, a, b):
        return a - b, ()

    @staticmethod
    def backward(xp, saved, gy):
        return gy, lambda: -gy


class Mul(Op):
    """y = a * b."""

    name, broadcasts = "mul", True
    saved_for = (1,), (0,)  # a serves the gradient of b, and b that of a

    @staticmethod
    def forward(xp, a, b):
        return a * b, (a, b)

    @staticmethod
    def backward(xp, saved, gy):
        a, b = saved
        return lambda: gy * b, lambda: gy * a


class Div(Op):
    """y = a / b."""

    name, broadcasts = "div", True
    saved_for = (1,), (0, 1)

    @staticmethod
    def forward(xp, a, b):
        return a / b, (a, b)

    @staticmethod
    def backward(xp, saved, gy):
        a, b = saved
        return lambda: gy / b, lambda: -gy * ((a / b) / b)  # in this order, b * b cannot overflow


class Remainder(Op):
    """y = a - b * floor(a / b): what is left of a, with the sign of b."""

    name, broadcasts = "remainder", True
    saved_for = (1,), (1,)

    @staticmethod
    def forward(xp, a, b):
        return xp.remainder(a, b), (a, b)

    @staticmethod
    def backward(xp, saved, gy):
        a, b = saved
        return gy, lambda: -gy * xp.floor_divide(a, b)


class Fmod(Op):
    """y = a - b * trunc(a / b): what is left of a, with the sign of a."""

    name, broadcasts = "fmod", True
    saved_for = (1,), (1,)

    @staticmethod
    def forward(xp, a, b):
        return xp.fmod(a, b), (a, b)

    @staticmethod
    def backward(xp, saved, gy):
        a, b = saved
        return gy, lambda: -gy * xp.trunc(a / b)


class Neg(Op):
    """y = -x."""

    name = "neg"

    @staticmethod
    def forward(xp, x):
        return -x, ()

    @staticmethod
    def backward(xp, saved, gy):
        return -gy


def _sign(x):
    """-1, 0 or 1; 0 for NaN, where NumPy's `sign` is NaN."""
    return (x > 0).astype(x.dtype) - (x < 0).astype(x.dtype)


class Abs(Op):
    """y = |x|. The gradient at 0 is 0."""

    name = "abs"

    @staticmethod
    def forward(xp, x):
        return xp.abs(x), (x,)

    @staticmethod
    def backward(xp, saved, gy):
        (x,) = saved
        return gy * _sign(x)


class Lerp(Op):
    """y = a + w (b - a), computed from the nearer end, so that w = 0 gives a and w = 1 gives b exactly."""

    name, broadcasts = "lerp", True
    saved_for = (2,), (2,), (0, 1)

    @staticmethod
    def forward(xp, a, b, w):
        way = b - a
        return xp.where(abs(w) < 0.5, a + w * way, b - way * (1 - w)), (a, b, w)

    @staticmethod
    def backward(xp, saved, gy):
        a, b, w = saved
        return lambda: gy * (1 - w), lambda: gy * w, lambda: gy * (b - a)


# ---- powers and roots ----------------------------------------------------------------------------------------------


def _power(a, b):
    """a^b; the cube is two products, which is exact enough and many times faster than a general power."""
    return a * a * a if type(b) in (int, float) and b == 3 else a**b


class Pow(Op):
    """y = a^b. The gradient of a is 0 where b = 0, that of b is 0 where a = 0 and b >= 0."""

    name, broadcasts = "pow", True
    saved_for = (0, 1), (0, 1), (1,)

    @staticmethod
    def forward(xp, a, b):
        y = _power(a, b)
        return y, (a, b, y)

    @staticmethod
    def backward(xp, saved, gy):
        a, b, y = saved

        def of_base():
            if type(b) in (int, float):
                return gy * (b * _power(a, b - 1)) if b else xp.zeros_like(gy)
            return gy * (b * a ** (xp.where((a == 0) & (b == 0), 1, b) - 1))

        def of_exponent():
            base = xp.asarray(a, y.dtype)
            return gy * (y * xp.log(xp.where((base == 0) & (b >= 0), 1, base)))

        return of_base, of_exponent


class IntegerPow(Op):
    """y = a^b of integers, rounded towards 0 where b is negative."""

    name, broadcasts, differentiable = "integer_pow", True, False

    @staticmethod
    def forward(xp, a, b):
        whole = a ** xp.maximum(b, 0)
        sign = xp.where(b % 2 == 0, 1, a)
        return xp.where(b >= 0, whole, xp.where(abs(a) == 1, sign, 0)).astype(whole.dtype), ()


class Sqrt(Op):
    """y = sqrt(x)."""

    name = "sqrt"

    @staticmethod
    def forward(xp, x):
        y = xp.sqrt(x)
        return y, (y,)

    @staticmethod
    def backward(xp, saved, gy):
        (y,) = saved
        return gy / (2 * y)


class Rsqrt(Op):
    """y = 1 / sqrt(x)."""

    name = "rsqrt"

    @staticmethod
    def forward(xp, x):
        y = 1 / xp.sqrt(x)
        return y, (y,)

    @staticmethod
    def backward(xp, saved, gy):
        (y,) = saved
        return gy * (-0.5 * y * y * y)


# ---- exponentials and logarithms -----------------------------------------------------------------------------------


class Exp(Op):
    """y = e^x."""

    name = "exp"

    @staticmethod
    def forward(xp, x):
        y = xp.exp(x)
        return y, (y,)

    @staticmethod
    def backward(xp, saved, gy):
        (y,) = saved
        return gy * y


class Exp2(Op):
    """y = 2^x."""

    name = "exp2"

    @staticmethod
    def forward(xp, x):
        y = xp.exp2(x)
        return y, (y,)

    @staticmethod
    def backward(xp, saved, gy):
        (y,) = saved
        return gy * y * math.log(2)


class Expm1(Op):
    """y = e^x - 1, exact also for small x."""

    name = "expm1"

    @staticmethod
    def forward(xp, x):
        y = xp.expm1(x)
        return y, (y,)

    @staticmethod
    def backward(xp, saved, gy):
        (y,) = saved
        return gy * (y + 1)


class Log(Op):
    """y = ln x."""

    name = "log"

    @staticmethod
    def forward(xp, x):
        return xp.log(x), (x,)

    @staticmethod
    def backward(xp, saved, gy):
        (x,) = saved
        return gy / x


class Log1p(Op):
    """y = ln(1 + x), exact also for small x."""

    name = "log1p"

    @staticmethod
    def forward(xp, x):
        return xp.log1p(x), (x,)

    @staticmethod
    def backward(xp, saved, gy):
        (x,) = saved
        return gy / (x + 1)


class Log2(Op):
    """y = log x to base 2."""

    name = "log2"

    @staticmethod
    def forward(xp, x):
        return xp.log2(x), (x,)

    @staticmethod
    def backward(xp, saved, gy):
        (x,) = saved
        return gy / (x * math.log(2))


class Log10(Op):
    """y = log x to base 10."""

    name = "log10"

    @staticmethod
    def forward(xp, x):
        return xp.log10(x), (x,)

    @staticmethod
    def backward(xp, saved, gy):
        (x,) = saved
        return gy / (x * math.log(10))


# ---- trigonometric and hyperbolic functions ------------------------------------------------------------------------


class Sin(Op):
    """y = sin x."""

    name = "sin"

    @staticmethod
    def forward(xp, x):
        return xp.sin(x), (x,)

    @staticmethod
    def backward(xp, saved, gy):
        (x,) = saved
        return gy * xp.cos(x)


class Cos(Op):
    """y = cos x."""

    name = "cos"

    @staticmethod
    def forward(xp, x):
        return xp.cos(x), (x,)

    @staticmethod
    def backward(xp, saved, gy):
        (x,) = saved
        return -gy * xp.sin(x)


class Tan(Op):
    """y = tan x."""

    name = "tan"

    @staticmethod
    def forward(xp, x):
        y = xp.tan(x)
        return y, (y,)

    @staticmethod
    def backward(xp, saved, gy):
        (y,) = saved
        return gy * (1 + y * y)


class Asin(Op):
    """y = arcsin x."""

    name = "asin"

    @staticmethod
    def forward(xp, x):
        return xp.arcsin(x), (x,)

    @staticmethod
    def backward(xp, saved, gy):
        (x,) = saved
        return gy / xp.sqrt((1 - x) * (1 + x))  # this product, unlike 1 - x * x, is exact near |x| = 1


class Acos(Op):
    """y = arccos x."""

    name = "acos"

    @staticmethod
    def forward(xp, x):
        return xp.arccos(x), (x,)

    @staticmethod
    def backward(xp, saved, gy):
        (x,) = saved
        return -gy / xp.sqrt((1 - x) * (1 + x))


class Atan(Op):
    """y = arctan x."""

    name = "atan"

    @staticmethod
    def forward(xp, x):
        return xp.arctan(x), (x,)

    @staticmethod
    def backward(xp, saved, gy):
        (x,) = saved
        return gy / (x * x + 1)


class Atan2(Op):
    """y = the angle of the point (b, a), in (-pi, pi]. The gradient at (0, 0) is 0."""

    name, broadcasts = "atan2", True

    @staticmethod
    def forward(xp, a, b):
        return xp.arctan2(a, b), (a, b)

    @staticmethod
    def backward(xp, saved, gy):
        a, b = saved
        square = a * a + b * b
        scaled = xp.where(square == 0, 0, gy / square)
        return lambda: scaled * b, lambda: -scaled * a


class Sinh(Op):
    """y = sinh x."""

    name = "sinh"

    @staticmethod
    def forward(xp, x):
        return xp.sinh(x), (x,)

    @staticmethod
    def backward(xp, saved, gy):
        (x,) = saved
        return gy * xp.cosh(x)


class Cosh(Op):
    """y = cosh x."""

    name = "cosh"

    @staticmethod
    def forward(xp, x):
        return xp.cosh(x), (x,)

    @staticmethod
    def backward(xp, saved, gy):
        (x,) = saved
        return gy * xp.sinh(x)


# ---- steps: pieces of constants or of slope one --------------------------------------------------------------------


class _Step(Op):
    """Base of functions that are constant in pieces: their gradient is 0."""

    @staticmethod
    def backward(xp, saved, gy):
        return xp.zeros_like(gy)


class Sign(_Step):
    """y = -1, 0 or 1; 0 for NaN."""

    name = "sign"

    @staticmethod
    def forward(xp, x):
        return _sign(x), ()


class Floor(_Step):
    """y = the largest integer that is not above x."""

    name = "floor"

    @staticmethod
    def forward(xp, x):
        return xp.floor(x), ()


class Ceil(_Step):
    """y = the smallest integer that is not below x."""

    name = "ceil"

    @staticmethod
    def forward(xp, x):
        return xp.ceil(x), ()


class Trunc(_Step):
    """y = x without its fraction."""

    name = "trunc"

    @staticmethod
    def forward(xp, x):
        return xp.trunc(x), ()


class Round(_Step):
    """y = the number of this many decimals that is nearest to x; of two equally near, the even one."""

    name = "round"

    @staticmethod
    def forward(xp, x, *, decimals):
        return xp.round(x, decimals), ()


class FloorDivide(Op):
    """y = floor(a / b), rounded down from the exact quotient. The gradient is 0."""

    name, broadcasts = "floor_divide", True

    @staticmethod
    def forward(xp, a, b):
        return xp.floor_divide(a, b), ()

    @staticmethod
    def backward(xp, saved, gy):
        return lambda: xp.zeros_like(gy), lambda: xp.zeros_like(gy)


class TruncDivide(Op):
    """y = a / b without its fraction. The gradient is 0."""

    name, broadcasts = "trunc_divide", True

    @staticmethod
    def forward(xp, a, b):
        if xp.result_type(a, b).kind == "f":
            return xp.trunc(a / b), ()
        return (a - xp.fmod(a, b)) // b, ()  # integers: exact also where a / b would be rounded

    @staticmethod
    def backward(xp, saved, gy):
        return lambda: xp.zeros_like(gy), lambda: xp.zeros_like(gy)


class Clamp(Op):
    """y = x limited to [low, high]. The gradient goes to x within the limits and at them, else to the limit."""

    name, broadcasts = "clamp", True

    @staticmethod
    def forward(xp, x, low, high):
        return xp.minimum(xp.maximum(x, low), high), (x, low, high)

    @staticmethod
    def backward(xp, saved, gy):
        x, low, high = saved
        return (
            lambda: xp.where((x >= low) & (x <= high), gy, 0),
            lambda: xp.where((x < low) & (low < high), gy, 0),
            lambda: xp.where((x > high) | (high < low), gy, 0),
        )


class Maximum(Op):
    """y = max(a, b). Where they are equal each receives half of the gradient."""

    name, broadcasts = "maximum", True

    @staticmethod
    def forward(xp, a, b):
        return xp.maximum(a, b), (a, b)

    @staticmethod
    def backward(xp, saved, gy):
        a, b = saved
        return _towards(xp, gy, a, b), _towards(xp, gy, b, a)


class Minimum(Op):
    """y = min(a, b). Where they are equal each receives half of the gradient."""

    name, broadcasts = "minimum", True

    @staticmethod
    def forward(xp, a, b):
        return xp.minimum(a, b), (a, b)

    @staticmethod
    def backward(xp, saved, gy):
        a, b = saved
        return _towards(xp, gy, b, a), _towards(xp, gy, a, b)


def _towards(xp, gy, larger, smaller):
    """The gradient of the one that was chosen for being larger; nothing if it was smaller, half if equal."""
    return lambda: xp.where(larger == smaller, gy / 2, xp.where(larger < smaller, 0, gy))


class Where(Op):
    """y = a where the condition holds, else b."""

    name, broadcasts = "where", True
    saved_for = ((1, 2),)

    @staticmethod
    def forward(xp, condition, a, b):
        return xp.where(condition, a, b), (condition,)

    @staticmethod
    def backward(xp, saved, gy):
        (condition,) = saved
        return None, lambda: xp.where(condition, gy, 0), lambda: xp.where(condition, 0, gy)


# ---- questions: results without a gradient -------------------------------------------------------------------------


class _Question(Op):
    """Base of comparisons and of logic."""

    broadcasts, differentiable = True, False


class Eq(_Question):
    """y = (a == b)."""

    name = "eq"

    @staticmethod
    def forward(xp, a, b):
        return a == b, ()


class Ne(_Question):
    """y = (a != b)."""

    name = "ne"

    @staticmethod
    def forward(xp, a, b):
        return a != b, ()


class Lt(_Question):
    """y = (a < b)."""

    name = "lt"

    @staticmethod
    def forward(xp, a, b):
        return a < b, ()


class Le(_Question):
    """y = (a <= b)."""

    name = "le"

    @staticmethod
    def forward(xp, a, b):
        return a <= b, ()


class Gt(_Question):
    """y = (a > b)."""

    name = "gt"

    @staticmethod
    def forward(xp, a, b):
        return a > b, ()


class Ge(_Question):
    """y = (a >= b)."""

    name = "ge"

    @staticmethod
    def forward(xp, a, b):
        return a >= b, ()


class IsNan(_Question):
    """y = whether x is NaN."""

    name = "isnan"

    @staticmethod
    def forward(xp, x):
        return xp.isnan(x), ()


class IsInf(_Question):
    """y = whether x is infinite."""

    name = "isinf"

    @staticmethod
    def forward(xp, x):
        return xp.isinf(x), ()


class IsFinite(_Question):
    """y = whether x is neither infinite nor NaN."""

    name = "isfinite"

    @staticmethod
    def forward(xp, x):
        return xp.isfinite(x), ()


class LogicalAnd(_Question):
    """y = whether both a and b are other than 0."""

    name = "logical_and"

    @staticmethod
    def forward(xp, a, b):
        return xp.logical_and(a, b), ()


class LogicalOr(_Question):
    """y = whether a or b is other than 0."""

    name = "logical_or"

    @staticmethod
    def forward(xp, a, b):
        return xp.logical_or(a, b), ()


class LogicalXor(_Question):
    """y = whether one of a and b is other than 0, and only one."""

    name = "logical_xor"

    @staticmethod
    def forward(xp, a, b):
        return xp.logical_xor(a, b), ()


class LogicalNot(_Question):
    """y = whether x is 0."""

    name = "logical_not"

    @staticmethod
    def forward(xp, x):
        return xp.logical_not(x), ()


class BitwiseAnd(_Question):
    """y = a & b, bit by bit."""

    name = "bitwise_and"

    @staticmethod
    def forward(xp, a, b):
        return a & b, ()


class BitwiseOr(_Question):
    """y = a | b, bit by bit."""

    name = "bitwise_or"

    @staticmethod
    def forward(xp, a, b):
        return a | b, ()


class BitwiseXor(_Question):
    """y = a ^ b, bit by bit."""

    name = "bitwise_xor"

    @staticmethod
    def forward(xp, a, b):
        return a ^ b, ()


class BitwiseNot(_Question):
    """y = x with every bit inverted."""

    name = "bitwise_not"

    @staticmethod
    def forward(xp, x):
        return ~x, ()


# ---- the same numbers, stored anew ---------------------------------------------------------------------------------


class Cast(Op):
    """y = x in another dtype."""

    name = "cast"

    @staticmethod
    def forward(xp, x, *, dtype):
        return x.astype(dtype), (x.dtype,)

    @staticmethod
    def backward(xp, saved, gy):
        (dtype,) = saved
        return gy.astype(dtype)


class Clone(Op):
    """y = x, in memory of its own."""

    name = "clone"

    @staticmethod
    def forward(xp, x):
        return xp.array(x), ()

    @staticmethod
    def backward(xp, saved, gy):
        return gy
