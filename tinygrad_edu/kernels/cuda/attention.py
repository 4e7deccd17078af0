"""Attention in tiles, without the (L, S) matrix of weights. Meaning: see ops/attention.py."""

from __future__ import annotations

from typing import Any

import cupy as cp
import numpy as np

from ...ops import attention as ops
from . import dropout as drop
from .source import accumulated, kernel, number
from .twin import Twin, fits, plain

_HEADS = np.dtype([("batch", np.int64), ("head", np.int64), ("row", np.int64)])
_SIZES = np.dtype([(name, np.int32) for name in ("heads", "queries", "keys", "channels", "value_channels")])
_THREADS = 256
_MOST_HEADS = 65535  # of all batch entries together: blocks along the second axis of a grid

# By the bytes of a number that kernels compute in, and the channels (up to so many): queries and keys of a tile,
# forward and backward. With them no kernel needs more than the 48 KiB of shared memory that every GPU gives a block.
_TILES = {
    (4, 32): ((64, 64), (32, 32)),
    (4, 64): ((64, 48), (32, 32)),
    (4, 128): ((32, 32), (16, 16)),
    (8, 32): ((32, 32), (16, 16)),
    (8, 64): ((32, 32), (16, 16)),
}


def constants(size: int, channels: int, backward: bool) -> dict[str, int]:
    """What the kernels are compiled with."""
    queries, keys = _TILES[size, channels][backward]
    return {"CHANNELS": channels, "QUERIES": queries, "KEYS": keys}


def unit(backward: bool) -> str:
    """The files of the kernels."""
    return f"{drop.MASK}+tiles+attend{'_backward' if backward else ''}"


def _channels(q: Any, v: Any) -> int | None:
    """How many channels the tiles have in shared memory. None: too many."""
    needed, size = max(q.shape[-1], v.shape[-1]), np.dtype(accumulated(q.dtype)).itemsize
    return min((channels for bytes, channels in _TILES if bytes == size and channels >= needed), default=None)


def _launch(name: str, backward: bool, blocks: int, args: tuple[Any, ...], q: Any, v: Any) -> None:
    size, channels = np.dtype(accumulated(q.dtype)).itemsize, _channels(q, v)
    assert channels is not None  # as accepted
    function = kernel(unit(backward), name, q.dtype.name, **constants(size, channels, backward))
    function((blocks, q.shape[0] * q.shape[1]), (_THREADS,), args)


def _tiles(q: Any, v: Any, backward: bool) -> tuple[int, int]:
    """How many tiles of queries, and of keys."""
    queries, keys = _TILES[np.dtype(accumulated(q.dtype)).itemsize, _channels(q, v) or 0][backward]
    return -(-q.shape[2] // queries), -(-v.shape[2] // keys)


def _with_strides(x: Any) -> tuple[Any, Any]:
    """(B, NH, T, n) as two arguments of a kernel."""
    return x, np.array(tuple(stride // x.itemsize for stride in x.strides[:3]), _HEADS)


def _given(q: Any, k: Any, v: Any, scale: float, is_causal: bool, dropout: Any) -> tuple[Any, ...]:
    """The arguments that all kernels begin with."""
    arrays = [argument for x in (q, k, v) for argument in _with_strides(x)]
    mask = drop.mask(q.dtype, *(dropout or ()))
    return *arrays, mask, _sizes(q, v), number(scale, q.dtype), np.bool_(is_causal)


def _sizes(q: Any, v: Any) -> Any:
    return np.array((q.shape[1], q.shape[2], v.shape[2], q.shape[3], v.shape[3]), _SIZES)


class Attention(Twin):
    """Saves y, and two numbers for each query in the place of its weights. What is dropped is drawn again in backward.
    """

    op = ops.Attention

    @staticmethod
    def accepts(q: Any, k: Any, v: Any, bias: Any, *, scale: float, is_causal: bool, dropout: Any = None) -> bool:
        """Without a bias, all of the same heads (B, NH, ...)."""
        return (
            bias is None and fits(q, k, v) and k.size > 0 and v.size > 0
            and q.ndim == k.ndim == v.ndim == 4
            and q.shape[:2] == k.shape[:2] == v.shape[:2] and q.shape[0] * q.shape[1] <= _MOST_HEADS
            and _channels(q, v) is not None
        )  # fmt: skip

    @staticmethod
    def forward(
        xp: Any, q: Any, k: Any, v: Any, bias: Any, *, scale: float, is_causal: bool, dropout: Any = None
    ) -> Any:
        q, k, v = map(_with_rows, (q, k, v))
        y = _empty_like_tokens(q, v.shape[3])
        stats = cp.empty((2, *q.shape[:3]), accumulated(q.dtype))
        settings = scale, is_causal, dropout
        args = *_given(q, k, v, *settings), *_with_strides(y), *stats
        _launch("attend", False, _tiles(q, v, False)[0], args, q, v)
        return y, (q, k, v, y, stats, settings)

    @staticmethod
    def backward(xp: Any, saved: Any, gy: Any) -> Any:
        q, k, v, y, stats, settings = saved
        gy, along = _with_rows(gy), cp.empty(q.shape[:3], stats.dtype)
        args = *_with_strides(y), *_with_strides(gy), _sizes(q, v), along
        _launch("sum_along", True, -(-q.shape[2] // 16), args, q, v)
        gq, gk, gv = _empty_gradients(q, k, v)
        args = *_given(q, k, v, *settings), *stats, along, *_with_strides(gy)
        of_queries, of_keys = _tiles(q, v, True)
        _launch("attend_backward_q", True, of_queries, (*args, *_with_strides(gq)), q, v)
        _launch("attend_backward_kv", True, of_keys, (*args, *_with_strides(gk), *_with_strides(gv)), q, v)
        return gq, gk, gv, None


def _with_rows(x: Any) -> Any:
    """The array, or a copy of it whose rows have no gaps."""
    return x if x.shape[-1] == 1 or x.strides[-1] == x.itemsize else plain(x)


def _empty_like_tokens(x: Any, n: int) -> Any:
    """(B, NH, T, n) in the memory of (B, T, NH, n), for x (B, NH, T, ...)."""
    return cp.empty((x.shape[0], x.shape[2], x.shape[1], n), x.dtype).transpose(0, 2, 1, 3)


def _empty_gradients(q: Any, k: Any, v: Any) -> Any:
    """Arrays like q, k and v; parts of one (B, T, 3, NH, n) if they are alike, as one projection gives them."""
    if q.shape == k.shape == v.shape:
        B, NH, T, n = q.shape
        return cp.empty((B, T, 3, NH, n), q.dtype).transpose(2, 0, 3, 1, 4)
    return tuple(_empty_like_tokens(x, x.shape[3]) for x in (q, k, v))
