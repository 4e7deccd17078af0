"""Arithmetic, powers, exponentials and comparisons, element by element."""

from __future__ import annotations

from .op import Op


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
