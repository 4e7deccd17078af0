"""Looking up rows of a table."""

from __future__ import annotations

from .indexing import add_rows
from .op import Op


class Embedding(Op):
    """y = weight[indices]; the row `padding_idx` gets no gradient.

    Shapes: weight (V, C), indices (...) -> y (..., C).
    """

    name = "embedding"

    @staticmethod
    def forward(xp, weight, indices, *, padding_idx=None):
        return weight.take(indices, axis=0), (indices, len(weight), padding_idx)

    @staticmethod
    def backward(xp, saved, gy):
        indices, n_rows, padding_idx = saved
        if padding_idx is not None:
            gy = gy * (indices != padding_idx)[..., None]
        return add_rows(xp, n_rows, indices.reshape(-1), gy.reshape(-1, gy.shape[-1])), None
