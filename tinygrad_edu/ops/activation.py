"""Activations: the functions that make a network more than one linear map."""

from __future__ import annotations

import math

from ..autograd.higher import Mirror
from .erf import Erfc, erfcx
from .op import Op


def logistic(xp, x):
    """1 / (1 + e^-x): accurate for either sign, since 1 is never subtracted from."""
    return _logistic_of_minus(xp, -x)


def _logistic_of_minus(xp, x):
    if isinstance(xp, Mirror):
        return xp.apply(Sigmoid, -x)
    return 1 / (1 + xp.exp(x))


def log_logistic(xp, x):
    """ln(1 / (1 + e^-x)) = min(x, 0) - ln(1 + e^-|x|), where nothing overflows."""
    if isinstance(xp, Mirror):
        return xp.apply(Logsigmoid, x)
    return xp.minimum(x, 0) - xp.log1p(xp.exp(-xp.abs(x)))


class Relu(Op):
    """y = max(x, 0). The gradient at 0 is 0."""

    name = "relu"

    @staticmethod
    def forward(xp, x):
        y = xp.maximum(x, 0)
        return y, (y,)

    @staticmethod
    def backward(xp, saved, gy):
        (y,) = saved
        return xp.where(y != 0, gy, 0)  # not a product, in which an infinite gy would become NaN


class LeakyRelu(Op):
    """y = x if x > 0 else slope * x."""

    name = "leaky_relu"

    @staticmethod
    def forward(xp, x, *, slope):
        return xp.where(x > 0, x, x * slope), (x, slope)

    @staticmethod
    def backward(xp, saved, gy):
        x, slope = saved
        return xp.where(x > 0, gy, gy * slope)


class Elu(Op):
    """y = x if x > 0 else alpha (e^x - 1).

    Source: Clevert, Unterthiner, Hochreiter 2016, arXiv:1511.07289.
    """

    name = "elu"

    @staticmethod
    def forward(xp, x, *, alpha):
        return xp.where(x > 0, x, alpha * xp.expm1(x)), (x, alpha)

    @staticmethod
    def backward(xp, saved, gy):
        x, alpha = saved
        return gy * xp.where(x > 0, 1, alpha * xp.exp(x))


class Hardtanh(Op):
    """y = x limited to [low, high]. The gradient is 0 beyond the limits and at them."""

    name = "hardtanh"

    @staticmethod
    def forward(xp, x, *, low, high):
        return xp.minimum(xp.maximum(x, low), high), (x, low, high)

    @staticmethod
    def backward(xp, saved, gy):
        x, low, high = saved
        return xp.where((x <= low) | (x >= high), 0, gy)


class Sigmoid(Op):
    """y = 1 / (1 + e^-x)."""

    name = "sigmoid"

    @staticmethod
    def forward(xp, x):
        y = logistic(xp, x)
        return y, (y,)

    @staticmethod
    def backward(xp, saved, gy):
        (y,) = saved
        return gy * (y * (1 - y))


class Logsigmoid(Op):
    """y = ln sigmoid(x)."""

    name = "logsigmoid"

    @staticmethod
    def forward(xp, x):
        return log_logistic(xp, x), (x,)

    @staticmethod
    def backward(xp, saved, gy):
        (x,) = saved
        return gy * logistic(xp, -x)


class Softplus(Op):
    """y = ln(1 + e^(beta x)) / beta, and x itself where beta x is above the threshold."""

    name = "softplus"

    @staticmethod
    def forward(xp, x, *, beta, threshold):
        bx = beta * x
        y = (xp.maximum(bx, 0) + xp.log1p(xp.exp(-xp.abs(bx)))) / beta  # where nothing overflows
        return xp.where(bx > threshold, x, y), (x, beta, threshold)

    @staticmethod
    def backward(xp, saved, gy):
        x, beta, threshold = saved
        bx = beta * x
        return xp.where(bx > threshold, gy, gy * logistic(xp, bx))


class Tanh(Op):
    """y = tanh x."""

    name = "tanh"

    @staticmethod
    def forward(xp, x):
        y = xp.tanh(x)
        return y, (y,)

    @staticmethod
    def backward(xp, saved, gy):
        (y,) = saved
        return gy * (1 - y * y)


class Silu(Op):
    """y = x s with s = sigmoid(x).

    dy/dx = s + x s (1 - s) = s + y (1 - s).
    Source: Elfwing, Uchibe, Doya 2018, arXiv:1702.03118.
    """

    name = "silu"

    @staticmethod
    def forward(xp, x):
        s = logistic(xp, x)
        y = x * s
        return y, (s, y)

    @staticmethod
    def backward(xp, saved, gy):
        s, y = saved
        return gy * (s + y * (1 - s))


class Gelu(Op):
    """y = x Phi(x), where Phi(x) = erfc(-x / sqrt(2)) / 2 is the normal distribution function.

    dy/dx = Phi(x) + x phi(x), with the normal density phi(x) = e^(-x^2 / 2) / sqrt(2 pi).
    Source: Hendrycks and Gimpel 2016, arXiv:1606.08415.
    """

    name = "gelu"

    @staticmethod
    def forward(xp, x):
        phi = _normal_distribution(xp, x)
        return x * phi, (x, phi)

    @staticmethod
    def backward(xp, saved, gy):
        x, phi = saved
        return gy * (phi + x * (xp.exp(-0.5 * x * x) / math.sqrt(2 * math.pi)))


def _normal_distribution(xp, x):
    """Phi(x)."""
    if isinstance(xp, Mirror):
        return xp.apply(Erfc, x * -math.sqrt(0.5)) * 0.5
    v = x.astype("float32") if x.dtype == "float16" else x
    beyond = xp.exp(v * v * -0.5) * erfcx(xp.abs(v) * math.sqrt(0.5)) * 0.5  # Phi(-|x|)
    return xp.where(v < 0, beyond, 1 - beyond).astype(x.dtype, copy=False)


class GeluTanh(Op):
    """y = x (1 + tanh u) / 2 with u = sqrt(2 / pi) (x + 0.044715 x^3).

    As (1 + tanh u) / 2 = sigmoid(2 u), it is y = x s with s = sigmoid(2 u): one exponential, no tanh, and exact for
    negative x, where 1 + tanh u would cancel. With v = 2 u = x (a + b x^2): dy/dx = s + x s (1 - s) (a + 3 b x^2).
    Source: Hendrycks and Gimpel 2016, arXiv:1606.08415.
    """

    name = "gelu_tanh"
    a = 2 * math.sqrt(2 / math.pi)
    b = 0.044715 * a

    @staticmethod
    def forward(xp, x):
        a, b = GeluTanh.a, GeluTanh.b
        s = _logistic_of_minus(xp, (x * x * -b - a) * x)
        return x * s, (x, s)

    @staticmethod
    def backward(xp, saved, gy):
        x, s = saved
        a, b = GeluTanh.a, GeluTanh.b
        return ((x * x * (3 * b) + a) * x * (1 - s) + 1) * s * gy
