"""Activations: the functions that make a network more than one linear map."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ..autograd.unfinished import form, waiting
from ..backend import dtypes
from ..dispatch import apply
from ..ops import activation as ops
from .arguments import dim_index, require_tensor, to_floating
from .elementwise import abs, add, clamp, div, expm1, le, mul, sub
from .indexing import masked_fill, scatter
from .normalization import softmax
from .precision import autocasts
from .reduction import argmax
from .shape import chunk, reshape

if TYPE_CHECKING:
    from ..tensor import Tensor


def _require_floating(name: str, input: Tensor) -> None:
    require_tensor(name, "input", input)
    if not dtypes.is_floating((form(input) if waiting else input._array).dtype):
        raise NotImplementedError(f"{name}: expected a floating tensor, got {input.dtype}")


def _activation(op: Any, input: Tensor, inplace: bool, **attrs: Any) -> Tensor:
    """Apply an op of one floating input, or write its result into the input."""
    _require_floating(op.name, input)
    return _apply(op, input, inplace, **attrs)


def _apply(op: Any, input: Tensor, inplace: bool, **attrs: Any) -> Tensor:
    if not inplace:
        return apply(op, input, **attrs)
    return input._rewrite(op.name + "_", lambda x: apply(op, x, **attrs))


def _composed(name: str, input: Tensor, inplace: bool, function: Callable[[Tensor], Tensor]) -> Tensor:
    """Compute a function of one floating input, or write its result into the input."""
    _require_floating(name, input)
    return input._rewrite(name + "_", function) if inplace else function(input)


def relu(input: Tensor, inplace: bool = False) -> Tensor:
    """max(input, 0), also of integers; the gradient at 0 is 0."""
    require_tensor("relu", "input", input)
    if input._array.dtype.kind == "b":
        raise RuntimeError("Boolean inputs not supported for relu")
    return _apply(ops.Relu, input, inplace)


def relu6(input: Tensor, inplace: bool = False) -> Tensor:
    """min(max(input, 0), 6)."""
    return hardtanh(input, 0.0, 6.0, inplace)


def hardtanh(input: Tensor, min_val: float = -1.0, max_val: float = 1.0, inplace: bool = False) -> Tensor:
    """input limited to [min_val, max_val]; the gradient at the limits is 0, unlike `clamp`'s."""
    require_tensor("hardtanh", "input", input)
    kind = input._array.dtype.kind
    if kind == "b":
        raise RuntimeError("Bool inputs not supported for hardtanh")
    if min_val > max_val:
        raise ValueError(f"hardtanh: min_val must not be above max_val, got {min_val} and {max_val}")
    low, high = (min_val, max_val) if dtypes.is_floating(input._array.dtype) else (int(min_val), int(max_val))
    return _apply(ops.Hardtanh, input, inplace, low=low, high=high)


def leaky_relu(input: Tensor, negative_slope: float = 0.01, inplace: bool = False) -> Tensor:
    """input where it is positive, else negative_slope * input."""
    return _activation(ops.LeakyRelu, input, inplace, slope=negative_slope)


def elu(input: Tensor, alpha: float = 1.0, inplace: bool = False) -> Tensor:
    """input where it is positive, else alpha * (exp(input) - 1) (Clevert et al. 2016, arXiv:1511.07289)."""
    return _activation(ops.Elu, input, inplace, alpha=alpha)


def silu(input: Tensor, inplace: bool = False) -> Tensor:
    """input * sigmoid(input), also called swish (Elfwing et al. 2018, arXiv:1702.03118)."""
    return _activation(ops.Silu, input, inplace)


def gelu(input: Tensor, approximate: str = "none") -> Tensor:
    """input * Phi(input) with the normal distribution function Phi (Hendrycks and Gimpel 2016, arXiv:1606.08415).

    approximate: "none" computes Phi(x) = (1 + erf(x / sqrt(2))) / 2; "tanh", as in GPT-2, takes
    (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))) / 2 for it.
    """
    if approximate not in ("none", "tanh"):
        raise RuntimeError(f"approximate argument must be either 'none' or 'tanh', got {approximate!r}")
    return _activation(ops.GeluTanh if approximate == "tanh" else ops.Gelu, input, inplace=False)


@autocasts
def softplus(input: Tensor, beta: float = 1.0, threshold: float = 20.0) -> Tensor:
    """log(1 + exp(beta * input)) / beta, and input itself where beta * input is above the threshold."""
    return _activation(ops.Softplus, input, inplace=False, beta=beta, threshold=threshold)


def logsigmoid(input: Tensor) -> Tensor:
    """log(sigmoid(input)), also where the sigmoid underflows."""
    return _activation(ops.Logsigmoid, input, inplace=False)


def sigmoid(input: Tensor) -> Tensor:
    """1 / (1 + exp(-input)), between 0 and 1. Integers give float32."""
    require_tensor("sigmoid", "input", input)
    return apply(ops.Sigmoid, to_floating(input))


def tanh(input: Tensor) -> Tensor:
    """The hyperbolic tangent (exp(x) - exp(-x)) / (exp(x) + exp(-x)), between -1 and 1. Integers give float32."""
    require_tensor("tanh", "input", input)
    return apply(ops.Tanh, to_floating(input))


# ---- further shapes of the same idea ---------------------------------------------------------------------------------


def glu(input: Tensor, dim: int = -1) -> Tensor:
    """a * sigmoid(b) with a and b the two halves of the input along dim (Dauphin et al. 2017, arXiv:1612.08083).

    RuntimeError: the size along dim is odd.
    """
    require_tensor("glu", "input", input)
    shape = input._array.shape
    if not shape:
        raise RuntimeError("glu does not support scalars because halving size must be even")
    at = dim_index(dim, len(shape))
    if shape[at] % 2:
        raise RuntimeError(f"glu: Halving dimension must be even, but dimension {at} is size {shape[at]}")
    _require_floating("glu", input)
    a, b = chunk(input, 2, at)
    return mul(a, sigmoid(b))


def mish(input: Tensor, inplace: bool = False) -> Tensor:
    """input * tanh(softplus(input)) (Misra 2020, arXiv:1908.08681)."""
    return _composed("mish", input, inplace, lambda x: mul(x, tanh(softplus(x))))


def selu(input: Tensor, inplace: bool = False) -> Tensor:
    """scale * elu(input, alpha) with the two constants that keep mean 0 and variance 1 from layer to layer.

    Source: Klambauer et al. 2017, arXiv:1706.02515, equation 14.
    """
    alpha, scale = 1.6732632423543772848170429916717, 1.0507009873554804934193349852946
    return _composed("selu", input, inplace, lambda x: mul(elu(x, alpha), scale))


def celu(input: Tensor, alpha: float = 1.0, inplace: bool = False) -> Tensor:
    """input where it is positive, else alpha * (exp(input / alpha) - 1) (Barron 2017, arXiv:1704.07483)."""
    if alpha == 0:
        raise RuntimeError("ZeroDivisionError: alpha cannot be 0 for CELU")
    return _composed("celu", input, inplace, lambda x: add(relu(x), mul(expm1(div(clamp(x, max=0), alpha)), alpha)))


def hardsigmoid(input: Tensor, inplace: bool = False) -> Tensor:
    """A line in the place of the sigmoid: min(max(input + 3, 0), 6) / 6."""
    return _composed("hardsigmoid", input, inplace, lambda x: div(relu6(add(x, 3)), 6))


def hardswish(input: Tensor, inplace: bool = False) -> Tensor:
    """input * hardsigmoid(input) (Howard et al. 2019, arXiv:1905.02244)."""
    return _composed("hardswish", input, inplace, lambda x: mul(x, hardsigmoid(x)))


def softsign(input: Tensor) -> Tensor:
    """input / (1 + |input|)."""
    return div(input, add(abs(input), 1))


def tanhshrink(input: Tensor) -> Tensor:
    """input - tanh(input)."""
    return sub(input, tanh(input))


def softshrink(input: Tensor, lambd: float = 0.5) -> Tensor:
    """input moved by lambd towards 0, and 0 where it is nearer than that. RuntimeError: lambd is negative."""
    _require_floating("softshrink", input)
    if lambd < 0:
        raise RuntimeError(f"softshrink: lambd must not be negative, but found {lambd}")
    return sub(input, clamp(input, -lambd, lambd))


def hardshrink(input: Tensor, lambd: float = 0.5) -> Tensor:
    """input where |input| > lambd, else 0."""
    _require_floating("hardshrink", input)
    return masked_fill(input, le(abs(input), lambd), 0)


def threshold(input: Tensor, threshold: float, value: float, inplace: bool = False) -> Tensor:
    """input where it is above the threshold, else value; also of integers, with both rounded towards 0."""
    require_tensor("threshold", "input", input)
    kind = input._array.dtype.kind
    if kind == "b":
        raise NotImplementedError("threshold: not implemented for bool; convert the tensor, for example by .int()")
    if not dtypes.is_floating(input._array.dtype):
        threshold, value = int(threshold), int(value)

    def function(x: Tensor) -> Tensor:
        return masked_fill(x, le(x, threshold), value)

    return input._rewrite("threshold_", function) if inplace else function(input)


@autocasts
def prelu(input: Tensor, weight: Tensor) -> Tensor:
    """input where it is positive, else weight * input, with a weight that learns (He et al. 2015, arXiv:1502.01852).

    weight: one number, or (C,) for an input (B, C, ...). RuntimeError: another number of weights than channels.
    """
    _require_floating("prelu", input)
    require_tensor("prelu", "weight", weight)
    x, w = input._array, weight._array
    if w.dtype != x.dtype:
        raise RuntimeError(f"prelu: Type promoting not supported. Got {input.dtype} and {weight.dtype}")
    if w.ndim > 1:
        raise RuntimeError(f"prelu: Expected `weight` to be a scalar or 1D tensor, but got: ndim = {w.ndim}")
    if w.size != 1:
        channels = x.shape[1] if x.ndim > 1 else 1
        if w.size != channels or not x.ndim:
            raise RuntimeError(
                f"prelu: Mismatch of parameter numbers and input channel size. Found parameter numbers = {w.size} and "
                f"channel size = {channels} in an input of shape {x.shape}"
            )
        weight = reshape(weight, (-1, *(1 for _ in x.shape[2:])))
    else:
        weight = reshape(weight, ())
    return add(relu(input), mul(weight, clamp(input, max=0)))


# ---- by chance -------------------------------------------------------------------------------------------------------


def rrelu(
    input: Tensor, lower: float = 1.0 / 8, upper: float = 1.0 / 3, training: bool = False, inplace: bool = False
) -> Tensor:
    """leaky_relu with the slope (lower + upper) / 2; while training a random slope on [lower, upper) for each element.

    RuntimeError: lower is above upper. Source: Xu et al. 2015, arXiv:1505.00853.
    """
    if lower > upper:
        raise RuntimeError(
            f"rrelu: Lower bound should be less than or equal to the upper bound, got {lower} and {upper}"
        )
    if not training:
        return leaky_relu(input, (lower + upper) / 2, inplace)
    _require_floating("rrelu", input)
    x = input._array
    slopes = lower + (upper - lower) * _uniform(input._xp, x.shape)
    factors = input._result(input._xp.where(x > 0, 1, slopes).astype(x.dtype))
    return _composed("rrelu", input, inplace, lambda x: mul(x, factors))


def gumbel_softmax(logits: Tensor, tau: float = 1, hard: bool = False, eps: float = 1e-10, dim: int = -1) -> Tensor:
    """softmax((logits + g) / tau) over dim with g from the Gumbel distribution: a class drawn at random, softly.

    hard: the output is one-hot, its gradient that of the soft one. eps has no effect, as in PyTorch.
    Source: Jang, Gu, Poole 2017, arXiv:1611.01144; Maddison, Mnih, Teh 2017, arXiv:1611.00712.
    """
    _require_floating("gumbel_softmax", logits)
    xp, dtype = logits._xp, logits._array.dtype
    smallest = dtypes.finfo(logits.dtype).tiny
    exponential = xp.maximum(-xp.log1p(-_uniform(xp, logits._array.shape)), smallest)
    gumbels = logits._result((-xp.log(exponential)).astype(dtype))
    soft = softmax(div(add(logits, gumbels), tau), dim)
    if not hard:
        return soft
    drawn = argmax(soft, dim, keepdim=True)
    one_hot = scatter(soft._result(xp.zeros_like(soft._array)), dim, drawn, 1.0)
    return add(sub(one_hot, soft.detach()), soft)


def _uniform(xp: Any, shape: tuple[int, ...]) -> Any:
    """A float64 array of numbers uniform on [0, 1) from the default generator."""
    from ..random import stream_of  # it stands on Tensor, and Tensor on the functions

    return stream_of(None, xp).uniform(shape, "float64", xp)
