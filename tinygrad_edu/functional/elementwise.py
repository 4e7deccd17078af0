"""Arithmetic, exponentials, rounding and comparisons, element by element, with broadcasting."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from ..autograd.modes import no_grad
from ..backend import dtypes, gpu
from ..backend.device import require_one_device
from ..dispatch import apply
from ..ops import elementwise as ops
from ..ops import erf as erf_ops
from .arguments import Number, cast, is_tensor, operand, pair, promote, ready, require_tensor, to_floating
from .precision import autocasts

if TYPE_CHECKING:
    from ..tensor import Tensor


def _floating(op: Any, input: Tensor) -> Tensor:
    """Apply an op of one input that computes in floating point."""
    require_tensor(op.name, "input", input)
    return apply(op, to_floating(input))


def _floating_pair(a: Any, b: Any) -> tuple[Any, Any]:
    a, b = pair(a, b)
    return (to_floating(a) if hasattr(a, "_array") else a), (to_floating(b) if hasattr(b, "_array") else b)


def _kind(x: Any) -> str:
    """The kind of number that x is or holds: 'b', 'i', 'u' or 'f'."""
    if hasattr(x, "_array"):
        return dtypes.kind_of(x._array.dtype)
    if hasattr(x, "dtype"):  # an array or a number of NumPy's
        return dtypes.kind_of(dtypes.as_dtype(x.dtype).dtype)
    return "b" if isinstance(x, bool) else "i" if isinstance(x, int) else "f"


def _tensors(name: str, input: Any, other: Any) -> tuple[Tensor, Tensor]:
    """Both operands of a function that takes no numbers, checked."""
    require_tensor(name, "input", input)
    require_tensor(name, "other", other)
    return input, other


def _not_for_bool(name: str, *operands: Any) -> None:
    if all(_kind(x) == "b" for x in operands):
        raise NotImplementedError(f"{name}: not implemented for bool; convert the tensor first, for example by .int()")


# ---- arithmetic ----------------------------------------------------------------------------------------------------


def add(input: Any, other: Any, *, alpha: Number = 1) -> Tensor:
    """input + alpha * other, element by element. The shapes broadcast: (B, T, C) and (C) or (T, 1) give (B, T, C).

    Numbers do not change a tensor's dtype within its kind. RuntimeError: shapes that do not broadcast.
    """
    a, b = pair(input, other if alpha == 1 else _times(other, alpha, input))
    return apply(ops.Add, a, b)


def sub(input: Any, other: Any, *, alpha: Number = 1) -> Tensor:
    """input - alpha * other. RuntimeError: one of them is boolean."""
    if "b" in (_kind(input), _kind(other)):
        raise RuntimeError(
            "Subtraction, the `-` operator, with a bool tensor is not supported. Use `~` or `logical_not()` to "
            "invert a mask, and `^` or `logical_xor()` to compare two"
        )
    a, b = pair(input, other if alpha == 1 else _times(other, alpha, input))
    return apply(ops.Sub, a, b)


def _times(other: Any, alpha: Number, input: Any) -> Any:
    if isinstance(alpha, float) and "f" not in (_kind(input), _kind(other)):
        raise RuntimeError(
            f"For integral input tensors, argument alpha must not be a floating point number, got {alpha}"
        )
    return mul(other, alpha) if hasattr(other, "_array") else other * alpha


def mul(input: Any, other: Any) -> Tensor:
    """input * other, element by element; shapes and errors as of `add`. The matrix product is `matmul`."""
    a, b = pair(input, other)
    return apply(ops.Mul, a, b)


def div(input: Any, other: Any, *, rounding_mode: str | None = None) -> Tensor:
    """input / other; integers are divided as floats.

    rounding_mode: None; "trunc" rounds the quotient towards 0 and "floor" down, both keeping integers integers.
    """
    if rounding_mode is None:
        return apply(ops.Div, *_floating_pair(input, other))
    if rounding_mode == "floor":
        return floor_divide(input, other)
    if rounding_mode == "trunc":
        return apply(ops.TruncDivide, *_division("div", input, other))
    raise RuntimeError(f"div expected rounding_mode to be one of None, 'trunc', or 'floor' but found {rounding_mode!r}")


def floor_divide(input: Any, other: Any) -> Tensor:
    """The largest integer that is not above input / other. RuntimeError: an integer divided by zero."""
    return apply(ops.FloorDivide, *_division("floor_divide", input, other))


def remainder(input: Any, other: Any) -> Tensor:
    """input - other * floor(input / other), with the sign of other. RuntimeError: an integer divided by zero."""
    return apply(ops.Remainder, *_division("remainder", input, other))


def fmod(input: Any, other: Any) -> Tensor:
    """input - other * trunc(input / other), with the sign of input. RuntimeError: an integer divided by zero."""
    return apply(ops.Fmod, *_division("fmod", input, other))


def _division(name: str, input: Any, other: Any) -> tuple[Any, Any]:
    """Both operands of a division that keeps integers integers, checked."""
    a, b = pair(input, other)
    _not_for_bool(name, a, b)
    if "f" not in (_kind(a), _kind(b)) and not (ready(b).all() if hasattr(b, "_array") else b):
        raise RuntimeError(f"ZeroDivisionError: {name} of integers by zero")
    return a, b


def neg(input: Tensor) -> Tensor:
    """-input. RuntimeError: on booleans."""
    require_tensor("neg", "input", input)
    if _kind(input) == "b":
        raise RuntimeError(
            "Negation, the `-` operator, on a bool tensor is not supported. If you are trying to invert a mask, use "
            "the `~` or `logical_not()` operator instead"
        )
    return apply(ops.Neg, input)


def positive(input: Tensor) -> Tensor:
    """input itself. RuntimeError: on booleans."""
    require_tensor("positive", "input", input)
    if _kind(input) == "b":
        raise RuntimeError("The `+` operator, on a bool tensor is not supported")
    return input


def abs(input: Tensor) -> Tensor:
    """The absolute value."""
    require_tensor("abs", "input", input)
    _not_for_bool("abs", input)
    return apply(ops.Abs, input)


@autocasts
def reciprocal(input: Tensor) -> Tensor:
    """1 / input."""
    require_tensor("reciprocal", "input", input)
    return div(1, input)


def square(input: Tensor) -> Tensor:
    """input * input; booleans are squared as integers."""
    require_tensor("square", "input", input)
    x = cast(input, dtypes.int64) if _kind(input) == "b" else input
    return apply(ops.Mul, x, x)


def lerp(input: Tensor, end: Tensor, weight: Any) -> Tensor:
    """input + weight * (end - input). RuntimeError: tensors of different dtypes, or of integers."""
    require_tensor("lerp", "input", input)
    for name, x in (("end", end), ("weight", weight)):
        if hasattr(x, "_array"):
            if x.dtype != input.dtype:
                raise RuntimeError(f"lerp: expected dtype {input.dtype} for `{name}` but got dtype {x.dtype}")
        elif name == "end":
            require_tensor("lerp", "end", x)
    if _kind(input) != "f":
        raise NotImplementedError(f"lerp: not implemented for {input.dtype}; convert the tensors first, as by .float()")
    return apply(ops.Lerp, input, end, operand(input, weight))


@autocasts
def addcmul(input: Tensor, tensor1: Tensor, tensor2: Tensor, *, value: Number = 1) -> Tensor:
    """input + value * tensor1 * tensor2."""
    _three_tensors("addcmul", input, tensor1, tensor2)
    return add(input, mul(tensor1 if value == 1 else mul(tensor1, value), tensor2))


@autocasts
def addcdiv(input: Tensor, tensor1: Tensor, tensor2: Tensor, *, value: Number = 1) -> Tensor:
    """input + value * tensor1 / tensor2. RuntimeError: both of integers."""
    _three_tensors("addcdiv", input, tensor1, tensor2)
    if "f" not in (_kind(tensor1), _kind(tensor2)):
        raise RuntimeError("addcdiv: the division of two integer tensors is not supported; convert one to float first")
    return add(input, div(tensor1 if value == 1 else mul(tensor1, value), tensor2))


def _three_tensors(name: str, *tensors: Any) -> None:
    for argument, x in zip(("input", "tensor1", "tensor2"), tensors, strict=True):
        require_tensor(name, argument, x)
    _not_for_bool(name, *tensors)


# ---- powers, exponentials, logarithms ------------------------------------------------------------------------------


@autocasts
def pow(input: Any, exponent: Any) -> Tensor:
    """input to the power of exponent; either may be a number. 0^0 is 1.

    RuntimeError: integers to a negative number; a tensor of negative exponents rounds them towards 0.
    """
    a, b = pair(input, exponent)
    if "f" in (_kind(a), _kind(b)):
        return apply(ops.Pow, a, b)
    _not_for_bool("pow", a, b)
    if hasattr(b, "_array"):
        return apply(ops.IntegerPow, a, b)
    if b < 0:
        raise RuntimeError(f"Integers to negative integer powers are not allowed, got the exponent {b}")
    return apply(ops.Pow, a, b)


def sqrt(input: Tensor) -> Tensor:
    """The square root; NaN of negative numbers."""
    return _floating(ops.Sqrt, input)


@autocasts
def rsqrt(input: Tensor) -> Tensor:
    """1 / sqrt(input)."""
    return _floating(ops.Rsqrt, input)


@autocasts
def exp(input: Tensor) -> Tensor:
    """e to the power of each element. Shapes: (...) -> (...); integers give float32."""
    return _floating(ops.Exp, input)


def exp2(input: Tensor) -> Tensor:
    """2 to the power of each element."""
    return _floating(ops.Exp2, input)


@autocasts
def expm1(input: Tensor) -> Tensor:
    """exp(input) - 1, exact also for small elements."""
    return _floating(ops.Expm1, input)


@autocasts
def log(input: Tensor) -> Tensor:
    """The natural logarithm of each element: -inf of 0, NaN of negative numbers; integers give float32."""
    return _floating(ops.Log, input)


@autocasts
def log1p(input: Tensor) -> Tensor:
    """log(1 + input), exact also for small elements."""
    return _floating(ops.Log1p, input)


@autocasts
def log2(input: Tensor) -> Tensor:
    """The logarithm to base 2."""
    return _floating(ops.Log2, input)


@autocasts
def log10(input: Tensor) -> Tensor:
    """The logarithm to base 10."""
    return _floating(ops.Log10, input)


# ---- trigonometric and hyperbolic functions ------------------------------------------------------------------------


def sin(input: Tensor) -> Tensor:
    """The sine of an angle in radians."""
    return _floating(ops.Sin, input)


def cos(input: Tensor) -> Tensor:
    """The cosine of an angle in radians."""
    return _floating(ops.Cos, input)


@autocasts
def tan(input: Tensor) -> Tensor:
    """The tangent of an angle in radians."""
    return _floating(ops.Tan, input)


@autocasts
def asin(input: Tensor) -> Tensor:
    """The inverse sine, in [-pi/2, pi/2]."""
    return _floating(ops.Asin, input)


@autocasts
def acos(input: Tensor) -> Tensor:
    """The inverse cosine, in [0, pi]."""
    return _floating(ops.Acos, input)


def atan(input: Tensor) -> Tensor:
    """The inverse tangent, in [-pi/2, pi/2]."""
    return _floating(ops.Atan, input)


@autocasts
def atan2(input: Tensor, other: Tensor) -> Tensor:
    """The angle of the point (other, input), in [-pi, pi]."""
    return apply(ops.Atan2, *_floating_pair(*_tensors("atan2", input, other)))


@autocasts
def sinh(input: Tensor) -> Tensor:
    """The hyperbolic sine."""
    return _floating(ops.Sinh, input)


@autocasts
def cosh(input: Tensor) -> Tensor:
    """The hyperbolic cosine."""
    return _floating(ops.Cosh, input)


def erf(input: Tensor) -> Tensor:
    """The error function: 2 / sqrt(pi) times the integral of exp(-t^2) from 0 to each element."""
    return _floating(erf_ops.Erf, input)


def erfc(input: Tensor) -> Tensor:
    """1 - erf(input), exact also where that difference is tiny."""
    return _floating(erf_ops.Erfc, input)


# ---- rounding and limits -------------------------------------------------------------------------------------------


def _whole(op: Any, input: Tensor, **attrs: Any) -> Tensor:
    """Apply an op that rounds; integers need no rounding."""
    require_tensor(op.name, "input", input)
    _not_for_bool(op.name, input)
    return apply(op, input, **attrs) if _kind(input) == "f" else clone(input)


def floor(input: Tensor) -> Tensor:
    """The largest integer that is not above each element."""
    return _whole(ops.Floor, input)


def ceil(input: Tensor) -> Tensor:
    """The smallest integer that is not below each element."""
    return _whole(ops.Ceil, input)


def trunc(input: Tensor) -> Tensor:
    """Each element without its fraction."""
    return _whole(ops.Trunc, input)


def round(input: Tensor, *, decimals: int = 0) -> Tensor:
    """The nearest number of this many decimals; of two equally near, the even one."""
    if decimals and _kind(input) != "f":
        raise NotImplementedError(f"round: decimals={decimals} needs a floating tensor, got {input.dtype}")
    return _whole(ops.Round, input, decimals=decimals)


def sign(input: Tensor) -> Tensor:
    """-1, 0 or 1 for each element; 0 for NaN."""
    require_tensor("sign", "input", input)
    return clone(input) if _kind(input) == "b" else apply(ops.Sign, input)


def clamp(input: Tensor, min: Any = None, max: Any = None) -> Tensor:
    """min(max(input, min), max): input limited to [min, max], each a number, a tensor that broadcasts, or None.

    Where min > max the result is max. RuntimeError: neither limit is given.
    """
    require_tensor("clamp", "input", input)
    if min is None and max is None:
        raise RuntimeError("clamp: at least one of 'min' or 'max' must not be None")
    limits = [operand(input, limit) for limit in (min, max) if limit is not None]
    x, *limits = promote(input, *limits)
    _not_for_bool("clamp", x)
    if min is None:
        limits.insert(0, -math.inf if _kind(x) == "f" else dtypes.iinfo(x.dtype).min)
    if max is None:
        limits.append(math.inf if _kind(x) == "f" else dtypes.iinfo(x.dtype).max)
    return apply(ops.Clamp, x, *limits)


def clamp_min(input: Tensor, min: Any) -> Tensor:
    """input, at least min."""
    return clamp(input, min, None)


def clamp_max(input: Tensor, max: Any) -> Tensor:
    """input, at most max."""
    return clamp(input, None, max)


def maximum(input: Tensor, other: Tensor) -> Tensor:
    """The larger of each two elements, which broadcast; NaN if either is. Equal ones share the gradient."""
    return apply(ops.Maximum, *pair(*_tensors("maximum", input, other)))


def minimum(input: Tensor, other: Tensor) -> Tensor:
    """The smaller of each two elements; NaN if either is."""
    return apply(ops.Minimum, *pair(*_tensors("minimum", input, other)))


# ---- choosing ------------------------------------------------------------------------------------------------------


def where(condition: Tensor, input: Any = None, other: Any = None) -> Any:
    """input where the condition holds, else other, element by element; the three broadcast, numbers are taken too.

    condition: bool, for example `x > 0`. Without input and other, the indices of True, one tensor for each dimension.
    RuntimeError: the condition is not bool, or the shapes do not broadcast.
    """
    require_tensor("where", "condition", condition)
    if input is None and other is None:
        return tuple(condition._result(i) for i in ready(condition).nonzero())
    if condition.dtype != dtypes.bool_:
        raise RuntimeError(
            f"where expected condition to be a boolean tensor, but got a tensor with dtype {condition.dtype}; "
            "compare it, for example with != 0"
        )
    a, b = operand(condition, input), operand(condition, other)
    target = dtypes.result_type(*(getattr(x, "_array", x) for x in (a, b)))
    # A number becomes an array first: NumPy then refuses one that the dtype cannot hold.
    branches = (cast(x, target) if is_tensor(x) else condition._xp.asarray(x, target.dtype) for x in (a, b))
    return apply(ops.Where, condition, *branches)


def nan_to_num(input: Tensor, nan: float = 0.0, posinf: float | None = None, neginf: float | None = None) -> Tensor:
    """input with NaN, infinity and minus infinity replaced; None means the largest and the lowest finite number."""
    require_tensor("nan_to_num", "input", input)
    if _kind(input) != "f":
        return clone(input)
    info = dtypes.finfo(input.dtype)
    high, low = info.max if posinf is None else posinf, info.min if neginf is None else neginf
    with no_grad():
        replaced = where(eq(input, math.inf), high, where(eq(input, -math.inf), low, where(isnan(input), nan, input)))
    return where(isfinite(input), input, replaced)


# ---- comparisons ---------------------------------------------------------------------------------------------------


def eq(input: Any, other: Any) -> Tensor:
    """Whether each two elements are equal, as booleans; shapes and errors as of `add`. `equal` gives one answer."""
    return apply(ops.Eq, *pair(input, other))


def ne(input: Any, other: Any) -> Tensor:
    """Whether each two elements differ."""
    return apply(ops.Ne, *pair(input, other))


def lt(input: Any, other: Any) -> Tensor:
    """Whether each element is less than the other."""
    return apply(ops.Lt, *pair(input, other))


def le(input: Any, other: Any) -> Tensor:
    """Whether each element is less than or equal to the other."""
    return apply(ops.Le, *pair(input, other))


def gt(input: Any, other: Any) -> Tensor:
    """Whether each element is greater than the other."""
    return apply(ops.Gt, *pair(input, other))


def ge(input: Any, other: Any) -> Tensor:
    """Whether each element is greater than or equal to the other."""
    return apply(ops.Ge, *pair(input, other))


def equal(input: Tensor, other: Tensor) -> bool:
    """Whether both tensors have the same shape and the same elements."""
    _tensors("equal", input, other)
    if gpu.array_types:
        require_one_device("equal", (input, other))
    return input.shape == other.shape and bool((ready(input) == other._array).all())


def isclose(input: Tensor, other: Tensor, rtol: float = 1e-05, atol: float = 1e-08, equal_nan: bool = False) -> Tensor:
    """Whether |input - other| <= atol + rtol * |other|, or both are the same infinity.

    equal_nan: whether two NaNs are close. RuntimeError: different dtypes.
    """
    _tensors("isclose", input, other)
    if input.dtype != other.dtype:
        raise RuntimeError(f"isclose: both tensors must have one dtype, got {input.dtype} and {other.dtype}")
    with no_grad():
        close = eq(input, other)
        if _kind(input) == "f":
            allowed = add(mul(abs(other), rtol), atol)
            near = le(abs(sub(input, other)), allowed)
            close = logical_or(close, logical_and(near, isfinite(allowed)))
            if equal_nan:
                close = logical_or(close, logical_and(isnan(input), isnan(other)))
        elif _kind(input) != "b":
            near = le(abs(sub(to_floating(input), to_floating(other))), add(mul(abs(other), rtol), atol))
            close = logical_or(close, near)
    return close


def allclose(input: Tensor, other: Tensor, rtol: float = 1e-05, atol: float = 1e-08, equal_nan: bool = False) -> bool:
    """Whether every two elements are close, as `isclose` decides."""
    return bool(isclose(input, other, rtol, atol, equal_nan)._array.all())


def isnan(input: Tensor) -> Tensor:
    """Whether each element is NaN."""
    require_tensor("isnan", "input", input)
    return apply(ops.IsNan, input)


def isinf(input: Tensor) -> Tensor:
    """Whether each element is infinite, of either sign."""
    require_tensor("isinf", "input", input)
    return apply(ops.IsInf, input)


def isfinite(input: Tensor) -> Tensor:
    """Whether each element is neither infinite nor NaN."""
    require_tensor("isfinite", "input", input)
    return apply(ops.IsFinite, input)


# ---- logic ---------------------------------------------------------------------------------------------------------


def logical_and(input: Tensor, other: Tensor) -> Tensor:
    """Whether both elements are other than zero."""
    return apply(ops.LogicalAnd, *_tensors("logical_and", input, other))


def logical_or(input: Tensor, other: Tensor) -> Tensor:
    """Whether either element is other than zero."""
    return apply(ops.LogicalOr, *_tensors("logical_or", input, other))


def logical_xor(input: Tensor, other: Tensor) -> Tensor:
    """Whether exactly one of the elements is other than zero."""
    return apply(ops.LogicalXor, *_tensors("logical_xor", input, other))


def logical_not(input: Tensor) -> Tensor:
    """Whether each element is zero."""
    require_tensor("logical_not", "input", input)
    return apply(ops.LogicalNot, input)


def bitwise_and(input: Any, other: Any) -> Tensor:
    """The bits set in both; for booleans, logical and. NotImplementedError: on floating tensors."""
    return apply(ops.BitwiseAnd, *_bits("bitwise_and", input, other))


def bitwise_or(input: Any, other: Any) -> Tensor:
    """The bits set in either; for booleans, logical or. NotImplementedError: on floating tensors."""
    return apply(ops.BitwiseOr, *_bits("bitwise_or", input, other))


def bitwise_xor(input: Any, other: Any) -> Tensor:
    """The bits set in exactly one; for booleans, logical xor. NotImplementedError: on floating tensors."""
    return apply(ops.BitwiseXor, *_bits("bitwise_xor", input, other))


def _bits(name: str, input: Any, other: Any) -> tuple[Any, Any]:
    a, b = pair(input, other)
    if "f" in (_kind(a), _kind(b)):
        raise NotImplementedError(f"{name}: expected integers or booleans, got {_dtype(input)} and {_dtype(other)}")
    return a, b


def _dtype(x: Any) -> Any:
    return getattr(x, "dtype", type(x).__name__)


def bitwise_not(input: Tensor) -> Tensor:
    """Every bit inverted; for booleans, logical not. NotImplementedError: on floating tensors."""
    require_tensor("bitwise_not", "input", input)
    if _kind(input) == "f":
        raise NotImplementedError(f"bitwise_not: expected integers or booleans, got {input.dtype}")
    return apply(ops.BitwiseNot, input)


def invert(input: Tensor) -> Tensor:
    """`~input`. TypeError: on floating tensors."""
    if _kind(input) == "f":
        raise TypeError(f"~ (operator.invert) is only implemented on integer and boolean tensors, got {input.dtype}")
    return bitwise_not(input)


# ---- copies --------------------------------------------------------------------------------------------------------


def clone(input: Tensor) -> Tensor:
    """The same numbers in memory of their own."""
    require_tensor("clone", "input", input)
    return apply(ops.Clone, input)


# Other names of the same.
subtract, multiply, divide, true_divide = sub, mul, div, div
negative, absolute = neg, abs
clip = clamp
arcsin, arccos, arctan, arctan2, fix = asin, acos, atan, atan2, trunc
greater, greater_equal, less, less_equal, not_equal = gt, ge, lt, le, ne
