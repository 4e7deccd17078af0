"""Activations: the functions that make a network more than one linear map."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..dispatch import apply
from ..ops import activation as ops
from .arguments import require_tensor, to_floating

if TYPE_CHECKING:
    from ..tensor import Tensor


def _activation(op: Any, input: Tensor, inplace: bool, **attrs: Any) -> Tensor:
    """Apply an op of one floating input, or write its result into the input."""
    require_tensor(op.name, "input", input)
    if input._array.dtype.kind != "f":
        raise NotImplementedError(f"{op.name}: expected a floating tensor, got {input.dtype}")
    return _apply(op, input, inplace, **attrs)


def _apply(op: Any, input: Tensor, inplace: bool, **attrs: Any) -> Tensor:
    if not inplace:
        return apply(op, input, **attrs)
    return input._rewrite(op.name + "_", lambda x: apply(op, x, **attrs))


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
    low, high = (min_val, max_val) if kind == "f" else (int(min_val), int(max_val))
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


def softplus(input: Tensor, beta: float = 1.0, threshold: float = 20.0) -> Tensor:
    """log(1 + exp(beta * input)) / beta, and input itself where beta * input is above the threshold."""
    return _activation(ops.Softplus, input, inplace=False, beta=beta, threshold=threshold)


def logsigmoid(input: Tensor) -> Tensor:
    """log(sigmoid(input)), also where the sigmoid underflows."""
    return _activation(ops.Logsigmoid, input, inplace=False)


def sigmoid(input: Tensor) -> Tensor:
    """1 / (1 + exp(-input))."""
    require_tensor("sigmoid", "input", input)
    return apply(ops.Sigmoid, to_floating(input))


def tanh(input: Tensor) -> Tensor:
    """The hyperbolic tangent."""
    require_tensor("tanh", "input", input)
    return apply(ops.Tanh, to_floating(input))
