"""Products of matrices and vectors."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..dispatch import apply
from ..ops import linalg as ops
from .arguments import require_tensor

if TYPE_CHECKING:
    from ..tensor import Tensor


def same_dtype(name: str, **tensors: Tensor | None) -> None:
    """RuntimeError unless all tensors given have one dtype, and not bool."""
    given = {argument: x.dtype for argument, x in tensors.items() if x is not None}
    first, *others = given
    for other in others:
        if given[other] != given[first]:
            raise RuntimeError(
                f"{name}: expected {first} and {other} to have the same dtype, but got: {given[first].name} != "
                f"{given[other].name}; convert one of them with .to(dtype)"
            )
    if given[first].name == "bool":
        raise NotImplementedError(f"{name}: not implemented for bool; convert to a number type, as with .float()")


def matmul(input: Tensor, other: Tensor) -> Tensor:
    """The matrix product over the last axis of input and the second-last of other.

    (..., N, K) @ (..., K, M) -> (..., N, M), the axes before broadcast. A vector on the left is a row, on the right a
    column: (K,) @ (..., K, M) -> (..., M), (..., N, K) @ (K,) -> (..., N), (K,) @ (K,) -> ().
    Raises RuntimeError if the sizes or dtypes do not fit.
    """
    require_tensor("matmul", "input", input)
    require_tensor("matmul", "other", other)
    a, b = input._array, other._array
    if a.ndim == 0 or b.ndim == 0:
        raise RuntimeError(f"both arguments to matmul need to be at least 1D, but they are {a.ndim}D and {b.ndim}D; use mul")
    same_dtype("matmul", input=input, other=other)
    inner = b.shape[-2 if b.ndim > 1 else 0]
    if a.shape[-1] != inner:
        raise RuntimeError(
            f"matmul: shapes cannot be multiplied ({tuple(a.shape)} and {tuple(b.shape)}): the last size of input is "
            f"{a.shape[-1]} and the {'second-last' if b.ndim > 1 else 'only'} size of other is {inner}; make them equal, "
            "for example by transposing one"
        )
    return apply(ops.MatMul, input, other)


def linear(input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """input @ weight.T + bias: (..., I), (O, I), (O,) -> (..., O).

    Raises RuntimeError if the sizes or dtypes do not fit.
    """
    require_tensor("linear", "input", input)
    require_tensor("linear", "weight", weight)
    same_dtype("linear", input=input, weight=weight, bias=bias)
    x, w = input._array, weight._array
    if x.ndim == 0 or w.ndim != 2 or x.shape[-1] != w.shape[1]:
        raise RuntimeError(
            f"linear: shapes cannot be multiplied ({tuple(x.shape)} and {tuple(w.shape)}): expected an input (..., I) and "
            f"a weight (O, I) with the same I"
        )
    if bias is not None and bias._array.shape != w.shape[:1]:
        raise RuntimeError(f"linear: expected a bias of shape {w.shape[:1]} for a weight {w.shape}, got {bias._array.shape}")
    return apply(ops.Linear, input, weight, bias)


def matrix_operator(input: Tensor, other: Any) -> Tensor:
    """`input @ other`."""
    return matmul(input, other) if hasattr(other, "_array") else NotImplemented
