"""Dropout: forgetting at random while training."""

from __future__ import annotations

from ..functional.dropout import check_probability, dropout
from ..tensor import Tensor
from .module import Module


class Dropout(Module):
    """While training, set each element to 0 with probability p and scale the others by 1 / (1 - p); else y = x.

    Source: Srivastava et al. 2014. ValueError: p is not between 0 and 1.
    """

    def __init__(self, p: float = 0.5, inplace: bool = False) -> None:
        super().__init__()
        check_probability("Dropout", p)
        self.p, self.inplace = p, inplace

    def forward(self, input: Tensor) -> Tensor:
        return dropout(input, self.p, self.training, self.inplace)

    def extra_repr(self) -> str:
        return f"p={self.p}, inplace={self.inplace}"
