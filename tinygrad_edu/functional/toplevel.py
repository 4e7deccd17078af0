"""PyTorch's top-level functions whose arguments are not those of nn.functional's, and in-place forms as functions.

`torch.dropout(input, p, train)` is such a function, beside `torch.nn.functional.dropout(input, p=0.5, training=True)`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from . import dropout as of_dropout
from . import embedding as of_embedding
from .arguments import require_tensor

if TYPE_CHECKING:
    from ..tensor import Tensor


def dropout(input: Tensor, p: float, train: bool) -> Tensor:
    """If train is true, set each element to 0 with probability p and multiply the others by 1 / (1 - p).

    RuntimeError: p is not a probability. See `nn.functional.dropout`.
    """
    if not 0 <= p <= 1:
        raise RuntimeError(f"dropout probability has to be between 0 and 1, but got {p}")
    return of_dropout.dropout(input, p, train)


def embedding(
    weight: Tensor, indices: Tensor, padding_idx: int = -1, scale_grad_by_freq: bool = False, sparse: bool = False
) -> Tensor:
    """The rows of weight (V, C) that the integers of indices (...) name: (..., C). The weight comes first here.

    padding_idx: a row that gets no gradient; -1: none. See `nn.functional.embedding`, which takes the indices first.
    """
    padding = None if padding_idx == -1 else padding_idx
    return of_embedding.embedding(indices, weight, padding, scale_grad_by_freq=scale_grad_by_freq, sparse=sparse)


def relu_(input: Tensor) -> Tensor:
    """`relu`, written into the input, which is returned."""
    require_tensor("relu_", "input", input)
    return input.relu_()


def clamp_(input: Tensor, min: Any = None, max: Any = None) -> Tensor:
    """`clamp`, written into the input, which is returned."""
    require_tensor("clamp_", "input", input)
    return input.clamp_(min, max)
