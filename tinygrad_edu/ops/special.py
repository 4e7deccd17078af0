"""Less usual operations, element by element: inverse hyperbolic functions, stable sums of logarithms, whole numbers."""

from __future__ import annotations

import math

from .op import Op


class Acosh(Op):
    """y = arcosh x, for x >= 1; dy/dx = 1 / sqrt(x^2 - 1)."""

    name = "acosh"

    @staticmethod
    def forward(xp, x):
        return xp.arccosh(x), (x,)

    @staticmethod
    def backward(xp, saved, gy):
        (x,) = saved
        return gy / xp.sqrt((x - 1) * (x + 1))  # as a product, exact near 1


class Asinh(Op):
    """y = arsinh x; dy/dx = 1 / sqrt(x^2 + 1)."""

    name = "asinh"

    @staticmethod
    def forward(xp, x):
        return xp.arcsinh(x), (x,)

    @staticmethod
    def backward(xp, saved, gy):
        (x,) = saved
        return gy / xp.sqrt(x * x + 1)


class Atanh(Op):
    """y = artanh x, for |x| <= 1; dy/dx = 1 / (1 - x^2)."""

    name = "atanh"

    @staticmethod
    def forward(xp, x):
        return xp.arctanh(x), (x,)

    @staticmethod
    def backward(xp, saved, gy):
        (x,) = saved
        return gy / ((1 - x) * (1 + x))


class Hypot(Op):
    """y = sqrt(a^2 + b^2), without overflow on the way."""

    name, broadcasts = "hypot", True

    @staticmethod
    def forward(xp, a, b):
        y = xp.hypot(a, b)
        return y, (a, b, y)

    @staticmethod
    def backward(xp, saved, gy):
        a, b, y = saved
        return lambda: gy * (a / y), lambda: gy * (b / y)


class Logaddexp(Op):
    """y = log(e^a + e^b), without overflow. Each input's gradient is its share of the sum."""

    name, broadcasts = "logaddexp", True

    @staticmethod
    def forward(xp, a, b):
        return xp.logaddexp(a, b), (a, b)

    @staticmethod
    def backward(xp, saved, gy):
        a, b = saved
        return lambda: gy / (1 + xp.exp(b - a)), lambda: gy / (1 + xp.exp(a - b))


class Logaddexp2(Op):
    """y = log2(2^a + 2^b), without overflow."""

    name, broadcasts = "logaddexp2", True

    @staticmethod
    def forward(xp, a, b):
        return xp.logaddexp2(a, b), (a, b)

    @staticmethod
    def backward(xp, saved, gy):
        a, b = saved
        return lambda: gy / (1 + xp.exp((b - a) * math.log(2))), lambda: gy / (1 + xp.exp((a - b) * math.log(2)))


class Xlogy(Op):
    """y = a log b, where 0 log b is 0 (NaN for b = NaN). The gradient of a at a = 0, b <= 0 is 0."""

    name, broadcasts = "xlogy", True

    @staticmethod
    def forward(xp, a, b):
        return xp.where((a == 0) & ~xp.isnan(b), 0, a * xp.log(b)), (a, b)

    @staticmethod
    def backward(xp, saved, gy):
        a, b = saved
        return lambda: gy * xp.where((a == 0) & (b <= 0), 0, xp.log(b)), lambda: gy * a / b


class Copysign(Op):
    """y = |a| with the sign of b. The gradient of a at 0 is 0."""

    name, broadcasts = "copysign", True

    @staticmethod
    def forward(xp, a, b):
        y = xp.copysign(a, b)
        return y, (a, y)

    @staticmethod
    def backward(xp, saved, gy):
        a, y = saved
        return lambda: gy * xp.where(a == 0, 0, y / a), lambda: xp.zeros_like(gy)


class _Whole(Op):
    """An operation without gradient."""

    differentiable, broadcasts = False, True


class Heaviside(_Whole):
    """y = 0 where a < 0, b where a = 0, 1 where a > 0."""

    name = "heaviside"

    @staticmethod
    def forward(xp, a, b):
        return xp.where(a == 0, b, (a > 0).astype(b.dtype)), ()


class Nextafter(_Whole):
    """y = the number next to a in the direction of b."""

    name = "nextafter"

    @staticmethod
    def forward(xp, a, b):
        return xp.nextafter(a, b), ()


class Gcd(_Whole):
    """y = the greatest common divisor."""

    name = "gcd"

    @staticmethod
    def forward(xp, a, b):
        return xp.gcd(a, b), ()


class Lcm(_Whole):
    """y = the least common multiple."""

    name = "lcm"

    @staticmethod
    def forward(xp, a, b):
        return xp.lcm(a, b), ()


class LeftShift(_Whole):
    """y = the bits of a moved b places up."""

    name = "bitwise_left_shift"

    @staticmethod
    def forward(xp, a, b):
        return xp.left_shift(a, b), ()


class RightShift(_Whole):
    """y = the bits of a moved b places down, the sign kept."""

    name = "bitwise_right_shift"

    @staticmethod
    def forward(xp, a, b):
        return xp.right_shift(a, b), ()
