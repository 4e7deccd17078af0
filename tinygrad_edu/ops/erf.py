"""The error function, which NumPy lacks.

For a >= 0 let erfcx(a) = e^(a^2) erfc(a). It falls smoothly from 1 like 1 / a, so (1 + 2 a) erfcx(a) is nearly
constant, and as a function of t = (a - 3) / (a + 3), which maps [0, inf] to [-1, 1], a short polynomial: the method
of Shepherd and Laframboise 1981, "Chebyshev approximation of (1 + 2x) exp(x^2) erfc x", Math. Comp. 36, 249-253. It
keeps its relative accuracy however far out a is. Below 1, where 1 - erfc(a) would cancel, erf(a) / a is a polynomial
in a^2.

The coefficients, lowest power first, are Chebyshev expansions computed with 60 digits (mpmath), cut where the rest is
below a quarter of the last digit of the dtype, and written out as powers.
"""

from __future__ import annotations

import math

from .op import Op

# (1 + 2 a) erfcx(a) in powers of t
_FAR = {
    "float32": (
        1.2530080563677553, -0.1356210694002736, -0.047562156927520076, 0.1296441143440814, -0.1192752752822409,
        0.06831656777114085, -0.02376357643949504, 0.0024991168696069477, 0.001875079123772353,
        -0.0007264536790340485, -9.254516686923966e-05, 7.731024224076895e-05,
    ),
    "float64": (
        1.2530080582697296, -0.13562110612458117, -0.0475622943534492, 0.1296451587027594, -0.11927366341538638,
        0.0683080273440099, -0.02377051491717134, 0.0025293918156939696, 0.0018886903449991718,
        -0.0007798322696543306, -0.00010515971958448065, 0.0001250993424583729, 4.949196649968345e-06,
        -2.0100542268525612e-05, -7.308281468783614e-07, 3.472370944977168e-06, 3.5576086684080595e-07,
        -6.166011460398726e-07, -1.4047654315428462e-07, 1.0183620603842736e-07, 4.1064013667940355e-08,
        -1.3312919661038687e-08, -8.217595058711455e-09, 9.862533510345587e-10, 8.393734858690877e-10,
    ),
}  # fmt: skip
# erf(a) / a in powers of a^2, for a <= 1
_NEAR = {
    "float32": (
        1.1283791658815026, -0.3761262690358044, 0.11283597463488053, -0.026854328796067244,
        0.005189311942686617, -0.0008018854992786387, 7.882497110086663e-05,
    ),
    "float64": (
        1.1283791670955126, -0.37612638903183543, 0.1128379167094513, -0.026866170643256995,
        0.005223977607269946, -0.0008548325982543225, 0.00012055295112667001, -1.4924740785377576e-05,
        1.6447471190594618e-06, -1.6208829856810202e-07, 1.3721520406351094e-08, -7.798543850549947e-10,
    ),
}  # fmt: skip


def _polynomial(coefficients, x):
    y = coefficients[-1]
    for c in reversed(coefficients[:-1]):
        y = y * x + c
    return y


def _computing_dtype(x):
    return "float64" if x.dtype == "float64" else "float32"


def erfcx(a):
    """e^(a^2) erfc(a) of a >= 0 in float32 or float64."""
    t = 1 - 6 / (a + 3)  # (a - 3) / (a + 3), also for infinite a
    return _polynomial(_FAR[_computing_dtype(a)], t) / (1 + 2 * a)


class Erf(Op):
    """y = 2 / sqrt(pi) times the integral of e^(-t^2) from 0 to x."""

    name = "erf"

    @staticmethod
    def forward(xp, x):
        v = x.astype(_computing_dtype(x), copy=False)
        a = xp.abs(v)
        near = v * _polynomial(_NEAR[_computing_dtype(x)], v * v)
        far = xp.copysign(1 - xp.exp(-v * v) * erfcx(a), v)
        return xp.where(a < 1, near, far).astype(x.dtype, copy=False), (x,)

    @staticmethod
    def backward(xp, saved, gy):
        (x,) = saved
        return gy * (2 / math.sqrt(math.pi) * xp.exp(-x * x))


class Erfc(Op):
    """y = 1 - erf(x), exact also where that difference is tiny."""

    name = "erfc"

    @staticmethod
    def forward(xp, x):
        v = x.astype(_computing_dtype(x), copy=False)
        a = xp.abs(v)
        # e^(-a^2) would multiply the rounding error of a^2 by a^2: so a = head + rest, with head^2 exact.
        head = xp.trunc(xp.minimum(a, 32) * 16) / 16
        y = xp.exp(-head * head) * xp.exp(-(a - head) * (a + head)) * erfcx(a)
        return xp.where(v < 0, 2 - y, y).astype(x.dtype, copy=False), (x,)

    @staticmethod
    def backward(xp, saved, gy):
        (x,) = saved
        return -gy * (2 / math.sqrt(math.pi) * xp.exp(-x * x))
