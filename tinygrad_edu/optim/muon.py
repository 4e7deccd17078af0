"""Muon."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable
from typing import Any

from ..backend.device import array_module, of_array
from ..kernels import stacked_product
from ..tensor import Tensor, made
from .optimizer import Group, Optimizer

# Newton-Schulz iterations that are made on the Gram matrix at a time. Each of them enlarges what rounding has left in
# the directions of small singular values up to a^2 = 12 times, so that a fourth would cost accuracy.
TOGETHER = 3


def orthogonalized(x: Any, coefficients: tuple[float, float, float], steps: int, eps: float) -> Any:
    """A stack of matrices (N, R, C) with all singular values brought near 1 by the quintic Newton-Schulz iteration.

    x = x / max(|x|, eps), then `steps` times x = (a I + b A + c A A) x, where A = x x^T.

    Every factor is a polynomial of the same A, so they are multiplied with each other first, which costs products of
    the small side only: A becomes P A P as x becomes P x. The small side is C where R > C, and x is multiplied from
    the right.
    """
    xp = array_module(of_array(x))
    tall = x.shape[1] > x.shape[2]
    x = x / xp.maximum(xp.sqrt((x * x).sum((1, 2), keepdims=True)), eps)
    while steps:
        count = min(steps, TOGETHER)
        steps -= count
        transposed = x.swapaxes(1, 2)
        gram = stacked_product(transposed, x) if tall else stacked_product(x, transposed)
        product = _product(gram, coefficients, count)
        x = stacked_product(x, product) if tall else stacked_product(product, x)
    return x


def _product(gram: Any, coefficients: tuple[float, float, float], count: int) -> Any:
    """The product of the first `count` factors of the iteration that begins at x x^T = gram, (N, M, M)."""
    a, b, c = coefficients
    product = None
    for left in reversed(range(count)):
        inner = c * gram
        _diagonal(inner)[:] += b
        factor = stacked_product(gram, inner)
        _diagonal(factor)[:] += a  # a I + b A + c A A
        product = factor if product is None else stacked_product(factor, product)
        if left:
            gram = stacked_product(stacked_product(factor, gram), factor)
    return product


def _diagonal(x: Any) -> Any:
    """The diagonals of a stack of square matrices (N, M, M), as a view (N, M)."""
    return x.reshape(len(x), -1)[:, :: x.shape[1] + 1]


class Muon(Optimizer):
    """Momentum, orthogonalised: each step moves a matrix by the nearest to an orthogonal matrix, times lr.

        B = B + (1 - momentum) (g - B);   U = g + momentum (B - g) if nesterov, else B
        p = p - lr weight_decay p - lr s NS(U)

    NS: `ns_steps` Newton-Schulz iterations with `ns_coefficients`, which bring all singular values near 1.
    adjust_lr_fn: the factor s of a matrix (R, C). "original", the default: sqrt(max(1, R / C)). "match_rms_adamw":
    0.2 sqrt(max(R, C)), with which AdamW's learning rates and decay fit.

    For the matrices of hidden layers; embeddings, the head and vectors are for AdamW. NS is computed in the
    parameter's dtype (float32 for shorter ones), where PyTorch rounds to bfloat16.

    Source: Jordan et al. 2024, "Muon: An optimizer for hidden layers in neural networks"; adjustment and decay: Liu et
    al. 2025, arXiv:2502.16982. ValueError: an option out of range, a parameter that is no matrix.
    """

    _shaped_as_parameter = ("momentum_buffer",)

    def __init__(self, params: Iterable[Any], lr: float = 1e-3, weight_decay: float = 0.1, momentum: float = 0.95,
                 nesterov: bool = True, ns_coefficients: tuple[float, float, float] = (3.4445, -4.775, 2.0315),
                 eps: float = 1e-7, ns_steps: int = 5, adjust_lr_fn: str | None = None) -> None:  # fmt: skip
        options = {"lr": lr, "weight_decay": weight_decay, "momentum": momentum, "nesterov": nesterov, "eps": eps}
        newton_schulz = {"ns_coefficients": ns_coefficients, "ns_steps": ns_steps, "adjust_lr_fn": adjust_lr_fn}
        super().__init__(params, {**options, **newton_schulz})

    def _check(self, group: Group) -> None:
        if isinstance(group["lr"], Tensor) and group["lr"].numel() != 1:
            raise ValueError("Tensor lr must be 1-element")
        for name, what in (("lr", "Learning rate"), ("momentum", "momentum"), ("weight_decay", "weight decay")):
            if not group[name] >= 0:
                raise ValueError(f"{what} should be >= 0 but is: {group[name]}")
        if group["adjust_lr_fn"] not in (None, "original", "match_rms_adamw"):
            raise ValueError(f"Adjust learning rate function {group['adjust_lr_fn']} is not supported")
        if not 0 <= group["ns_steps"] < 100:
            raise ValueError(f"ns_steps should be from 0 to 99 but is: {group['ns_steps']}")
        if len(group["ns_coefficients"]) != 3:
            raise ValueError(f"ns_coefficients should be exactly 3 values but is: {group['ns_coefficients']}")
        for p in group["params"]:
            if p.dim() != 2:
                raise ValueError(f"Muon only supports 2D parameters whereas we found a parameter with size: {p.shape}")

    def _update_group(self, members: list[tuple[Tensor, Any]], group: Group) -> None:
        alike = defaultdict(list)  # matrices of one shape are orthogonalised in one stack
        for p, g in members:
            if not self.state[p]:
                self.state[p]["momentum_buffer"] = made(p._xp.zeros(p._array.shape, dtype=p._array.dtype))
            alike[p._array.shape, p._array.dtype].append((p, g))
        for stack in alike.values():
            self._update_stack(stack, group)

    def _update_stack(self, members: list[tuple[Tensor, Any]], group: Group) -> None:
        first, _ = members[0]
        xp, (rows, columns), dtype = array_module(of_array(first._array)), first._array.shape, first._array.dtype
        momentum, lr = group["momentum"], float(group["lr"])
        updates = xp.empty((len(members), rows, columns), dtype if dtype.itemsize > 2 else "float32")
        for update, (p, g) in zip(updates, members, strict=True):
            buffer = self.state[p]["momentum_buffer"]._array
            buffer += (1 - momentum) * (g - buffer)
            update[:] = g + momentum * (buffer - g) if group["nesterov"] else buffer
        updates = orthogonalized(updates, group["ns_coefficients"], group["ns_steps"], group["eps"])
        if group["adjust_lr_fn"] == "match_rms_adamw":
            updates *= lr * 0.2 * math.sqrt(max(rows, columns))
        else:
            updates *= lr * math.sqrt(max(1, rows / max(1, columns)))
        for update, (p, _) in zip(updates, members, strict=True):
            p._array *= 1 - lr * group["weight_decay"]
            p._array -= update.astype(dtype, copy=False)
