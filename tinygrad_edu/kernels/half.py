"""Operations on float16 and bfloat16: they run in float32, by the kernels for it, and the result is rounded.

Meaning: see ops/. Processors have no fast arithmetic in float16; NumPy's product of matrices, which adds up in float32
as well, takes 60 times as long as this. Of bfloat16, which is no type of their own, NumPy and CuPy make float32 as soon
as a number takes part, so every op that computes gets a twin, wherever no kernel reads it as it is. It needs no Numba.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

from .. import dispatch
from ..autograd.engine import owner, sum_to
from ..autograd.unfinished import Unfinished
from ..backend.device import is_array
from ..backend.dtypes import bfloat16, is_floating
from ..ops import (
    activation,
    attention,
    convolution,
    elementwise,
    embedding,
    indexing,
    linalg,
    normalization,
    shape,
    special,
    transfer,
)
from ..ops.op import Op

_OPS: tuple[type[Op], ...] = (
    linalg.Linear, linalg.Matmul, linalg.Einsum, attention.Attention, convolution.Convolution,
    convolution.ConvolutionTransposed, activation.Gelu, activation.GeluTanh, activation.Silu, activation.Sigmoid,
    activation.Tanh, normalization.Softmax, normalization.LogSoftmax, normalization.LayerNorm, normalization.RmsNorm,
)  # fmt: skip
# They move numbers and compute nothing, so that bfloat16 is as good as any, or tell it from other types.
_MOVES: tuple[type[Op], ...] = (
    elementwise.Cast, indexing.Slice, shape.Reshape, shape.Permute, shape.Expand, shape.Cat, shape.Contiguous,
    special.Nextafter, transfer.ToDevice,
)  # fmt: skip
# These move numbers forward and add them up backward.
_PICKS: tuple[type[Op], ...] = (
    embedding.Embedding, indexing.Index, indexing.Gather, shape.Diagonal, shape.Unfold,
)  # fmt: skip


class Half(Op):
    """The twin of an op for a type of two bytes."""

    def __init__(self, op: type[Op], dtype: Any, smallest: int = 0) -> None:
        self.op, self.name, self.dtype, self.smallest = op, op.name, np.dtype(dtype), smallest

    def accepts(self, *arrays: Any, **attrs: Any) -> bool:
        """Whether all floating inputs are of the type."""
        return all(x.dtype == self.dtype for x in arrays if is_array(x) and is_floating(x.dtype))

    def forward(self, xp: Any, *arrays: Any, **attrs: Any) -> tuple[Any, tuple[Any, ...]]:  # type: ignore[override]
        if self.op in _PICKS:
            wide, pair = list(arrays), self.op
        else:
            wide = [self._wide(x) for x in arrays]
            pair = dispatch.select(self.op, next(filter(is_array, wide)), wide, attrs)
        y, saved = pair.forward(xp, *wide, **attrs)
        y = y.finish() if isinstance(y, Unfinished) else y
        # Inputs are kept as they are, which loses nothing and takes half of the memory.
        given = {id(w): x for w, x in zip(wide, arrays, strict=True) if w is not x}
        kept = (given[id(s)] if id(s) in given else s.astype(self.dtype) if is_array(s) and id(owner(s)) in given else s
                for s in saved)  # fmt: skip
        narrow = is_floating(y.dtype) and self.accepts(*arrays)
        shapes = tuple(x.shape if self._is_narrow(x) else None for x in arrays)
        return y.astype(self.dtype, copy=False) if narrow else y, (pair, shapes, *kept)

    def backward(self, xp: Any, saved: tuple[Any, ...], gy: Any) -> Any:  # type: ignore[override]
        pair, shapes, *kept = saved
        found = pair.backward(xp, tuple(map(self._wide, kept)), self._wide(gy))
        found = found if isinstance(found, tuple) else (found,)
        return tuple(map(self._fitted, found, shapes))

    def _is_narrow(self, x: Any) -> bool:
        return is_array(x) and x.dtype == self.dtype

    def _wide(self, x: Any) -> Any:
        return x.astype(np.float32) if self._is_narrow(x) else x

    def _fitted(self, g: Any, shape: tuple[int, ...] | None) -> Any:
        """A gradient, or the function that computes it, rounded for an input of this shape (None: of another type)."""
        if g is None or shape is None:
            return g
        if callable(g):
            return lambda: self._fitted(g(), shape)
        if self.op.broadcasts and g.shape != shape:  # added up before it is rounded
            g = sum_to(g, shape)
        return g.astype(self.dtype)


def register(smallest: int) -> None:
    """Let these twins run from now on, those of float16 on so many elements or more."""
    for op in _OPS:
        dispatch.register_half(op, Half(op, np.float16, smallest))
    dispatch.register_bfloat16(functools.cache(lambda op: op if op in _MOVES else Half(op, bfloat16.dtype)))
