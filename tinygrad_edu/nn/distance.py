"""Distances and similarities as modules. Formulas: the functions in `functional/distance.py`."""

from __future__ import annotations

from ..functional import distance
from ..tensor import Tensor
from .module import Module


class CosineSimilarity(Module):
    """x1 . x2 / (|x1| |x2|) over dim, each norm at least eps: 1 means the same direction."""

    def __init__(self, dim: int = 1, eps: float = 1e-8) -> None:
        super().__init__()
        self.dim, self.eps = dim, eps

    def forward(self, x1: Tensor, x2: Tensor) -> Tensor:
        return distance.cosine_similarity(x1, x2, self.dim, self.eps)


class PairwiseDistance(Module):
    """The p-norm of x1 - x2 + eps over the last dimension: (B, C), (B, C) -> (B), or (B, 1) with keepdim."""

    def __init__(self, p: float = 2.0, eps: float = 1e-6, keepdim: bool = False) -> None:
        super().__init__()
        self.norm, self.eps, self.keepdim = p, eps, keepdim

    def forward(self, x1: Tensor, x2: Tensor) -> Tensor:
        return distance.pairwise_distance(x1, x2, self.norm, self.eps, self.keepdim)
