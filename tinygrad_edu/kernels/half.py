"""Operations on float16 on the CPU: they run in float32, by the kernels for it, and the result is rounded.

Meaning: see ops/. Processors have no fast arithmetic in float16; NumPy's product of matrices, which adds up in float32
as well, takes 60 times as long as this. It needs no Numba.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import dispatch
from ..autograd.engine import owner
from ..ops import activation, attention, convolution, linalg, normalization
from ..ops.op import Op

_HALF = np.dtype(np.float16)
_OPS: tuple[type[Op], ...] = (
    linalg.Linear, linalg.Matmul, linalg.Einsum, attention.Attention, convolution.Convolution,
    convolution.ConvolutionTransposed, activation.Gelu, activation.GeluTanh, activation.Silu, activation.Sigmoid,
    activation.Tanh, normalization.Softmax, normalization.LogSoftmax, normalization.LayerNorm, normalization.RmsNorm,
)  # fmt: skip


class Half(Op):
    """The twin of an op for float16."""

    def __init__(self, op: type[Op], smallest: int) -> None:
        self.op, self.name, self.smallest = op, op.name, smallest

    def accepts(self, *arrays: Any, **attrs: Any) -> bool:
        """Whether all floating inputs are float16."""
        return all(x.dtype == _HALF for x in arrays if isinstance(x, np.ndarray) and x.dtype.kind == "f")

    def forward(self, xp: Any, *arrays: Any, **attrs: Any) -> tuple[Any, tuple[Any, ...]]:  # type: ignore[override]
        wide = [_wide(x) for x in arrays]
        pair = dispatch.select(self.op, wide[0], wide, attrs)
        y, saved = pair.forward(xp, *wide, **attrs)
        # Inputs are kept in float16, which loses nothing and takes half of the memory.
        given = {id(owner(w)) for w, x in zip(wide, arrays, strict=True) if w is not x}
        return _narrow(y), (pair, *(_narrow(s) if _is_array(s) and id(owner(s)) in given else s for s in saved))

    def backward(self, xp: Any, saved: tuple[Any, ...], gy: Any) -> Any:  # type: ignore[override]
        pair, *kept = saved
        found = pair.backward(xp, tuple(_wide(s) for s in kept), _wide(gy))
        return tuple(map(_later_narrow, found)) if isinstance(found, tuple) else _later_narrow(found)


def _is_array(x: Any) -> bool:
    return isinstance(x, np.ndarray)


def _wide(x: Any) -> Any:
    return x.astype(np.float32) if _is_array(x) and x.dtype == _HALF else x


def _narrow(x: Any) -> Any:
    return x.astype(_HALF) if x.dtype.kind == "f" else x


def _later_narrow(g: Any) -> Any:
    """A gradient, or the function that computes it, in float16."""
    if callable(g):
        return lambda: _narrow(g())
    return None if g is None else _narrow(g)


def register(smallest: int) -> None:
    """Let these twins run from now on, on so many elements or more."""
    for op in _OPS:
        dispatch.register_half(op, Half(op, smallest))
