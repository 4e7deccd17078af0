"""Looking up rows of a table."""

from __future__ import annotations

from .indexing import RowsPart
from .op import Op


class Embedding(Op):
    """y = weight[indices].

    Shapes: weight (V, C), indices (...) -> y (..., C). The row `padding_idx` gets no gradient; with `by_frequency` the
    gradient of a row is divided by the number of times that it was looked up.
    """

    name = "embedding"

    @staticmethod
    def forward(xp, weight, indices, *, padding_idx=None, by_frequency=False):
        return weight.take(indices, axis=0), (indices, len(weight), padding_idx, by_frequency)

    @staticmethod
    def backward(xp, saved, gy):
        indices, n_rows, padding_idx, by_frequency = saved
        index = indices.reshape(-1)
        g = gy.reshape(len(index), gy.shape[-1])
        if by_frequency:
            g = g / xp.bincount(index)[index, None].astype(g.dtype)
        if padding_idx is not None:
            g = g * (index != padding_idx)[:, None]
        return RowsPart(xp, n_rows, index, g), None
