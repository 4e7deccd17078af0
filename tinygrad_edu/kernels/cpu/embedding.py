"""Gradients of tables of which few rows were read. Meaning: see ops/embedding.py."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...ops import embedding as ops
from ...ops.indexing import RowsPart
from .compiling import kernel
from .twin import Twin, fits, is_plain, plain

_WIDTH = 64


@kernel("float32[:, ::1], int64[::1], float32[:, ::1]")
def _add_rows(first, last, whole, index, rows):
    """Columns are shared out, so that each element gets its terms in their order, however many threads there are."""
    for part in range(first, last):
        for i in range(index.size):
            to = whole[index[i], part * _WIDTH : (part + 1) * _WIDTH]
            row = rows[i, part * _WIDTH : (part + 1) * _WIDTH]
            for j in range(to.size):
                to[j] += row[j]


class _RowsPart(RowsPart):
    def add_to(self, whole: Any) -> None:
        if is_plain(whole):
            _add_rows(-(-whole.shape[1] // _WIDTH), whole, np.array(self.index, np.int64), plain(self.rows))
        else:
            super().add_to(whole)


class Embedding(Twin):
    op = ops.Embedding
    forward = ops.Embedding.forward

    @staticmethod
    def accepts(weight: Any, indices: Any, *, padding_idx: int | None = None, by_frequency: bool = False) -> bool:
        return fits(weight) and padding_idx is None and not by_frequency

    @staticmethod
    def backward(xp: Any, saved: Any, gy: Any) -> Any:
        indices, n_rows, *_ = saved
        return _RowsPart(xp, n_rows, indices.reshape(-1), gy.reshape(indices.size, gy.shape[-1])), None
