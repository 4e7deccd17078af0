"""Gradients of tables of which few rows were read. Meaning: see ops/embedding.py."""

from __future__ import annotations

from typing import Any

import cupy as cp
import numpy as np

from ...ops import embedding as ops
from ...ops.indexing import RowsPart
from .source import kernel, threads_for
from .twin import Twin, fits, plain


class _RowsPart(RowsPart):
    def add_to(self, whole: Any) -> None:
        if not (whole.flags.c_contiguous and fits(whole, self.rows) and self.rows.size):
            super().add_to(whole)
            return
        index = self.index.astype(np.int64, order="C")
        n, columns = self.rows.shape
        kernel("embedding", "add_rows", whole.dtype.name)(
            (n,), (threads_for(columns),),
            (index, cp.argsort(index, kind="stable"), plain(self.rows), np.int64(n), np.int32(columns), whole),
        )  # fmt: skip


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
