"""Less usual functions of elements: inverse hyperbolic ones, stable sums of logarithms, angles, whole numbers."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from ..backend import dtypes
from ..dispatch import apply
from ..ops import special as ops
from .arguments import Number, cast, is_tensor, pair, require_tensor, to_floating
from .elementwise import (
    clamp,
    div,
    eq,
    ge,
    isinf,
    isnan,
    log,
    log1p,
    logical_and,
    logical_or,
    lt,
    mul,
    neg,
    pow,
    sign,
    sin,
    sub,
    trunc,
    where,
)

if TYPE_CHECKING:
    from ..tensor import Tensor


def _floating(op: Any, input: Tensor) -> Tensor:
    """Apply an op of one input that computes in floating point."""
    require_tensor(op.name, "input", input)
    return apply(op, to_floating(input))


def _tensors(name: str, input: Any, other: Any) -> tuple[Any, Any]:
    """Both operands, which must be tensors, in the dtype that they are computed in."""
    require_tensor(name, "input", input)
    require_tensor(name, "other", other)
    return pair(input, other)


def _kind(x: Any) -> str:
    return dtypes.kind_of(x._array.dtype)


# ---- inverse hyperbolic functions, angles ----------------------------------------------------------------------------


def acosh(input: Tensor) -> Tensor:
    """The inverse hyperbolic cosine; NaN below 1."""
    return _floating(ops.Acosh, input)


def asinh(input: Tensor) -> Tensor:
    """The inverse hyperbolic sine."""
    return _floating(ops.Asinh, input)


def atanh(input: Tensor) -> Tensor:
    """The inverse hyperbolic tangent; infinite at -1 and 1, NaN beyond."""
    return _floating(ops.Atanh, input)


def deg2rad(input: Tensor) -> Tensor:
    """Angles in degrees as radians."""
    require_tensor("deg2rad", "input", input)
    return mul(to_floating(input), math.pi / 180)


def rad2deg(input: Tensor) -> Tensor:
    """Angles in radians as degrees."""
    require_tensor("rad2deg", "input", input)
    return mul(to_floating(input), 180 / math.pi)


def hypot(input: Tensor, other: Tensor) -> Tensor:
    """sqrt(input^2 + other^2), without overflow. NotImplementedError: of integers."""
    a, b = _tensors("hypot", input, other)
    if _kind(a) != "f":
        raise NotImplementedError(f"hypot: not implemented for {a.dtype}; convert the tensors first, as by .float()")
    return apply(ops.Hypot, a, b)


def sinc(input: Tensor) -> Tensor:
    """sin(pi x) / (pi x), and 1 at 0."""
    require_tensor("sinc", "input", input)
    x = to_floating(input)
    at_zero = eq(x, 0)
    angle = mul(where(at_zero, 1, x), math.pi)
    return where(at_zero, 1, div(sin(angle), angle))


# ---- logarithms ------------------------------------------------------------------------------------------------------


def logaddexp(input: Tensor, other: Tensor) -> Tensor:
    """log(exp(input) + exp(other)), without overflow. NotImplementedError: of integers."""
    return apply(ops.Logaddexp, *_of_floats("logaddexp", input, other))


def logaddexp2(input: Tensor, other: Tensor) -> Tensor:
    """log2(2^input + 2^other), without overflow. NotImplementedError: of integers."""
    return apply(ops.Logaddexp2, *_of_floats("logaddexp2", input, other))


def _of_floats(name: str, input: Tensor, other: Tensor) -> tuple[Any, Any]:
    a, b = _tensors(name, input, other)
    if _kind(a) != "f":
        raise NotImplementedError(f"{name}: not implemented for {a.dtype}; convert the tensors first, as by .float()")
    return a, b


def xlogy(input: Any, other: Any) -> Tensor:
    """input * log(other), where 0 * log(other) is 0; either may be a number."""
    a, b = pair(input, other)
    return apply(ops.Xlogy, *_floating_tensors(a, b))


def _floating_tensors(a: Any, b: Any) -> tuple[Tensor, ...]:
    """Both operands as floating tensors, a number in the dtype of the other."""
    like = to_floating(a if is_tensor(a) else b)
    full, dtype = like._xp.full, like._array.dtype
    return tuple(to_floating(x) if is_tensor(x) else like._result(full((), x, dtype)) for x in (a, b))


def logit(input: Tensor, eps: float | None = None) -> Tensor:
    """log(p / (1 - p)), the inverse of the sigmoid; eps limits p to [eps, 1 - eps] first."""
    require_tensor("logit", "input", input)
    p = to_floating(input)
    if p.itemsize < 4:  # 1 - eps could be 1
        return cast(logit(cast(p, dtypes.float32), eps), p.dtype)
    if eps is not None:
        p = clamp(p, eps, 1 - eps)
    return sub(log(p), log1p(neg(p)))


# ---- parts and signs -------------------------------------------------------------------------------------------------


def frac(input: Tensor) -> Tensor:
    """What is left of each element without its whole part, with its sign. NotImplementedError: of integers."""
    require_tensor("frac", "input", input)
    if _kind(input) != "f":
        raise NotImplementedError(f"frac: not implemented for {input.dtype}, whose elements are whole")
    return sub(input, trunc(input))


def sgn(input: Tensor) -> Tensor:
    """`sign`: numbers here are real."""
    return sign(input)


def signbit(input: Tensor) -> Tensor:
    """Whether each element has a minus sign, -0.0 included."""
    require_tensor("signbit", "input", input)
    return input._result(input._xp.asarray(input._xp.signbit(input._array))) if _kind(input) == "f" else lt(input, 0)


def copysign(input: Tensor, other: Any) -> Tensor:
    """The size of input with the sign of other, a tensor or a number."""
    require_tensor("copysign", "input", input)
    return apply(ops.Copysign, *_floating_tensors(*pair(input, other)))


def heaviside(input: Tensor, values: Tensor) -> Tensor:
    """0 where input < 0, values where it is 0, 1 where it is above. RuntimeError: different dtypes."""
    require_tensor("heaviside", "input", input)
    require_tensor("heaviside", "values", values)
    if input.dtype != values.dtype:
        raise RuntimeError(f"heaviside: input and values must have one dtype, got {input.dtype} and {values.dtype}")
    return apply(ops.Heaviside, input, values)


def nextafter(input: Tensor, other: Tensor) -> Tensor:
    """The number next to each element in the direction of other. NotImplementedError: of integers."""
    return apply(ops.Nextafter, *_of_floats("nextafter", input, other))


def isposinf(input: Tensor) -> Tensor:
    """Whether each element is plus infinity."""
    require_tensor("isposinf", "input", input)
    return logical_and(isinf(input), ge(input, 0))


def isneginf(input: Tensor) -> Tensor:
    """Whether each element is minus infinity."""
    require_tensor("isneginf", "input", input)
    return logical_and(isinf(input), lt(input, 0))


def isreal(input: Tensor) -> Tensor:
    """True everywhere: numbers here are real."""
    require_tensor("isreal", "input", input)
    return input._result(input._xp.ones(input._array.shape, "bool"))


# ---- two operands ----------------------------------------------------------------------------------------------------


def fmax(input: Tensor, other: Tensor) -> Tensor:
    """The larger of each two elements; the other one where one is NaN. Of equal ones, the gradient goes to input."""
    a, b = _tensors("fmax", input, other)
    return where(logical_or(ge(a, b), isnan(b)), a, b)


def fmin(input: Tensor, other: Tensor) -> Tensor:
    """The smaller of each two elements; the other one where one is NaN. Of equal ones, the gradient goes to input."""
    a, b = _tensors("fmin", input, other)
    return where(logical_or(ge(b, a), isnan(b)), a, b)


def float_power(input: Any, exponent: Any) -> Tensor:
    """input to the power of exponent, computed in float64; either may be a number."""
    if not is_tensor(input) and not is_tensor(exponent):
        require_tensor("float_power", "input", input)
    double = (cast(x, dtypes.float64) if is_tensor(x) else float(x) for x in (input, exponent))
    return pow(*double)


def ldexp(input: Tensor, other: Tensor) -> Tensor:
    """input * 2^other."""
    require_tensor("ldexp", "input", input)
    require_tensor("ldexp", "other", other)
    factor = pow(2.0, other)
    whole = _kind(other) != "f" and _kind(input) == "f"
    return mul(input, cast(factor, input.dtype) if whole else factor)


def rsub(input: Tensor, other: Any, *, alpha: Number = 1) -> Tensor:
    """other - alpha * input."""
    require_tensor("rsub", "input", input)
    return sub(other, input, alpha=alpha)


def _whole(name: str, input: Any, other: Any) -> tuple[Any, Any]:
    a, b = pair(input, other)
    kinds = [x._array.dtype.kind for x in (a, b) if is_tensor(x)]
    if not set(kinds) <= set("iu"):
        raise NotImplementedError(f"{name}: expected tensors of integers, got {getattr(a, 'dtype', a)}")
    return a, b


def gcd(input: Tensor, other: Tensor) -> Tensor:
    """The greatest common divisor of each two integers."""
    _tensors("gcd", input, other)
    return apply(ops.Gcd, *_whole("gcd", input, other))


def lcm(input: Tensor, other: Tensor) -> Tensor:
    """The least common multiple of each two integers."""
    _tensors("lcm", input, other)
    return apply(ops.Lcm, *_whole("lcm", input, other))


def bitwise_left_shift(input: Any, other: Any) -> Tensor:
    """input * 2^other, of integers."""
    return apply(ops.LeftShift, *_whole("bitwise_left_shift", input, other))


def bitwise_right_shift(input: Any, other: Any) -> Tensor:
    """input / 2^other rounded down, of integers."""
    return apply(ops.RightShift, *_whole("bitwise_right_shift", input, other))


def detach(input: Tensor) -> Tensor:
    """The same memory without the history: no gradient flows through the result."""
    require_tensor("detach", "input", input)
    return input.detach()


def conj(input: Tensor) -> Tensor:
    """input itself: numbers here are real."""
    require_tensor("conj", "input", input)
    return input


# Other names of the same.
arccosh, arcsinh, arctanh = acosh, asinh, atanh
