"""Attention in tiles, without the (L, S) matrix of weights. Meaning: see ops/attention.py.

A tile is _QUERIES queries of one head. Its scores stand in memory as (keys, _QUERIES): with the queries side by side,
the largest score and the sum of each are found without sums across a vector. Keys are taken in blocks of
_KEYS, because OpenBLAS is fastest at products of up to a million multiplications. In causal attention a tile reads no
key after its last query.
Source: Dao et al. 2022, arXiv:2205.14135: the backward computes the weights again from the largest score and the sum.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

from ...backend.random import keep_mask
from ...ops import attention as ops
from . import threads
from .arithmetic import LOG2_E, exp2, f32, maximum
from .blas import BLAS, PLAIN, TRANSPOSED, launch_with_blas, sgemm
from .compiling import FASTMATH, kernel, part
from .twin import Twin

_QUERIES, _KEYS = 32, 128
_part = functools.partial(part, fastmath=FASTMATH)


@_part
def _product(function, alpha, a, transposed, b, beta, c):
    """c = alpha a b + beta c, or with a' in the place of a; the rows of each have no gaps."""
    m, n, k = c.shape[0], c.shape[1], b.shape[0]
    lda, ldb, ldc = max(a.strides[0] // 4, a.shape[1]), max(b.strides[0] // 4, n), max(c.strides[0] // 4, n)
    sgemm(
        function, TRANSPOSED if transposed else PLAIN, PLAIN, m, n, k,
        alpha, a.ctypes.data, lda, b.ctypes.data, ldb, beta, c.ctypes.data, ldc,
    )  # fmt: skip


@_part()
def _transpose(x, y):
    """y (n, _QUERIES) = x' for x of at most _QUERIES rows, and zeros beside it."""
    for i in range(y.shape[0]):
        row = y[i]
        for j in range(x.shape[0]):
            row[j] = x[j, i]
        for j in range(x.shape[0], row.size):
            row[j] = 0


@_part()
def _scores(function, scale, k, q, first, s):
    """s (keys, _QUERIES) = scale k q / ln 2, for powers of 2; key i is hidden from the queries before first + i."""
    _product(function, scale * f32(LOG2_E), k, False, q, f32(0), s)
    for i in range(max(1 - first, 0), s.shape[0]):
        for j in range(first + i):
            s[i, j] = -np.inf


@_part()
def _drop(keep, weights):
    """weights (keys, queries) *= keep (queries, keys)."""
    for i in range(keep.shape[1]):
        row = weights[i]
        for j in range(keep.shape[0]):
            row[j] *= keep[j, i]


@_part()
def _find_largest(s, largest):
    for i in range(s.shape[0]):
        row = s[i]
        for j in range(largest.size):
            largest[j] = maximum(largest[j], row[j])


@_part()
def _exponentials(s, largest, total, block):
    """s becomes e = 2**(s - largest), and total += the sum over the keys, which the block takes up first."""
    block[:] = 0
    for i in range(s.shape[0]):
        row = s[i]
        for j in range(row.size):
            row[j] = exp2(row[j] - largest[j])
        for j in range(row.size):
            block[j] += row[j]
    for j in range(block.size):
        total[j] += block[j]


@_part(inline="always")
def _attend_head(function, q, k, v, keep, scale, is_causal, y, h, stats, first_tile, step):
    tiles, _, width = stats.shape  # a constant width would be unrolled before it could be vectorised
    e, turned = np.empty((k.shape[0], width), np.float32), np.empty((q.shape[1], width), np.float32)
    block = np.empty(width, np.float32)
    for tile in range(first_tile, tiles, step):
        top, bottom = tile * width, min((tile + 1) * width, q.shape[0])
        end = min(bottom, k.shape[0]) if is_causal else k.shape[0]
        largest, r = stats[tile, 0], stats[tile, 1]
        largest[:] = -np.inf
        r[:] = 0
        _transpose(q[top:bottom], turned)
        for left in range(0, end, _KEYS):
            s = e[left : min(left + _KEYS, end)]
            _scores(function, scale, k[left : left + len(s)], turned, left - top if is_causal else -end, s)
            _find_largest(s, largest)
        for j in range(width):
            largest[j] = f32(0) if largest[j] == -np.inf else largest[j]
        for left in range(0, end, _KEYS):
            right = min(left + _KEYS, end)
            _exponentials(e[left:right], largest, r, block)
            if keep.size:
                _drop(keep[top:bottom, left:right], e[left:right])
            _product(
                function, f32(1), e[left:right, : bottom - top], True, v[left:right], f32(left > 0), y[top:bottom, h]
            )
        for j in range(width):
            r[j] = f32(1) / (f32(1) if r[j] == 0 else r[j])
        for i in range(top, bottom):
            row, factor = y[i, h], r[i - top]
            for j in range(row.size):
                row[j] *= factor


@_part()
def _softmax_backward(p, gp, largest, r, along):
    """The scores in p become the weights, and their gradient in gp that of the scores."""
    for i in range(p.shape[0]):
        weights, row = p[i], gp[i]
        for j in range(weights.size):
            weights[j] = exp2(weights[j] - largest[j]) * r[j]
            row[j] = weights[j] * (row[j] - along[j])


@_part(inline="always")
def _attend_head_backward(function, q, k, v, keep, scale, is_causal, y, h, stats, gy, gq, gk, gv):
    tiles, _, width = stats.shape
    p_block, gs_block = np.empty((_KEYS, width), np.float32), np.empty((_KEYS, width), np.float32)
    turned, turned_gy = np.empty((q.shape[1], width), np.float32), np.empty((v.shape[1], width), np.float32)
    along = np.zeros(width, np.float32)
    gk[:] = 0
    gv[:] = 0
    for tile in range(tiles):
        top, bottom = tile * width, min((tile + 1) * width, q.shape[0])
        end = min(bottom, k.shape[0]) if is_causal else k.shape[0]
        largest, r = stats[tile, 0], stats[tile, 1]
        _transpose(q[top:bottom], turned)
        _transpose(gy[top:bottom, h], turned_gy)
        for i in range(top, bottom):
            row, y_row = gy[i, h], y[i, h]
            total = f32(0)
            for j in range(row.size):
                total += row[j] * y_row[j]
            along[i - top] = total
        for left in range(0, end, _KEYS):
            right = min(left + _KEYS, end)
            p, gs = p_block[: right - left], gs_block[: right - left]
            _scores(function, scale, k[left:right], turned, left - top if is_causal else -end, p)
            _product(function, f32(1), v[left:right], False, turned_gy, f32(0), gs)
            if keep.size:
                _drop(keep[top:bottom, left:right], gs)
            _softmax_backward(p, gs, largest, r, along)
            if keep.size:
                _drop(keep[top:bottom, left:right], p)
            p, gs = p[:, : bottom - top], gs[:, : bottom - top]
            _product(function, scale, gs, True, k[left:right], f32(left > 0), gq[top:bottom])
            _product(function, scale, gs, False, q[top:bottom], f32(1), gk[left:right])
            _product(function, f32(1), p, False, gy[top:bottom, h], f32(1), gv[left:right])


_HEADS, _TOKENS = "float32[:, :, :, :]", "float32[:, :, :, ::1]"  # (B, NH, T, n) and (B, T, NH, n)
_FIRST = f"int64, int64, int64, {', '.join([_HEADS] * 4)}, float32, boolean, {_TOKENS}, float32[:, :, :, :, ::1]"


@kernel(f"{_FIRST}, int64", launch_with_blas)
def _attend(first, last, function, get_threads, set_threads, q, k, v, keep, scale, is_causal, y, stats, pieces):
    """y; stats (B, NH, tiles, 2, _QUERIES): the largest score of each query, and 1 / sum(2**(score - largest))."""
    NH = q.shape[1]
    for task in range(first, last):
        b, h = task // pieces // NH, task // pieces % NH
        _attend_head(
            function, q[b, h], k[b, h], v[b, h], keep[b, h] if keep.size else keep[0, 0], scale, is_causal,
            y[b], h, stats[b, h], task % pieces, pieces,
        )  # fmt: skip


@kernel(f"{_FIRST}, {_TOKENS}, {_HEADS}, {_HEADS}, {_HEADS}", launch_with_blas)
def _attend_backward(
    first, last, function, get_threads, set_threads, q, k, v, keep, scale, is_causal, y, stats, gy, gq, gk, gv
):
    NH = q.shape[1]
    for task in range(first, last):
        b, h = task // NH, task % NH
        _attend_head_backward(
            function, q[b, h], k[b, h], v[b, h], keep[b, h] if keep.size else keep[0, 0], scale, is_causal,
            y[b], h, stats[b, h], gy[b], gq[b, h], gk[b, h], gv[b, h],
        )  # fmt: skip


_NO_KEEP = np.empty((1, 1, 0, 0), np.float32)


class Attention(Twin):
    """Saves y, and two numbers for each query in the place of its weights."""

    op = ops.Attention

    @staticmethod
    def accepts(q: Any, k: Any, v: Any, bias: Any, *, scale: float, is_causal: bool, dropout: Any = None) -> bool:
        """Without a bias, all of the same heads (B, NH, ...); rows in order, wherever they lie."""
        return (
            BLAS is not None and bias is None
            and k.size > 0 and v.size > 0
            and q.shape[:2] == k.shape[:2] == v.shape[:2]
            and all(_has_rows(x) for x in (q, k, v))
        )  # fmt: skip

    @staticmethod
    def forward(
        xp: Any, q: Any, k: Any, v: Any, bias: Any, *, scale: float, is_causal: bool, dropout: Any = None
    ) -> Any:
        y = _empty_tokens(q, v.shape[3])
        tiles = -(-q.shape[2] // _QUERIES)
        stats = np.empty((*q.shape[:2], tiles, 2, _QUERIES), np.float32)
        keep = _NO_KEEP if dropout is None else keep_mask(np, (*q.shape[:3], k.shape[2]), np.float32, *dropout)
        pieces = -(-threads.number() // (q.shape[0] * q.shape[1]))
        assert BLAS is not None  # as accepted
        _attend(q.shape[0] * q.shape[1] * pieces, *BLAS, q, k, v, keep, scale, is_causal, y, stats, pieces)
        return _heads_first(y), (q, k, v, keep, y, stats, scale, is_causal)

    @staticmethod
    def backward(xp: Any, saved: Any, gy: Any) -> Any:
        q, k, v, keep, y, stats, scale, is_causal = saved
        gy = np.ascontiguousarray(_heads_first(gy))  # no copy where the heads were joined
        gq, gk, gv = _empty_gradients(q, k, v)
        assert BLAS is not None  # as accepted
        _attend_backward(q.shape[0] * q.shape[1], *BLAS, q, k, v, keep, scale, is_causal, y, stats, gy, gq, gk, gv)
        return gq, gk, gv, None


def _has_rows(x: Any) -> bool:
    """Whether this is (B, NH, T, n) of float32 whose rows are without gaps and do not overlap."""
    return (
        x.ndim == 4 and x.dtype == np.float32 and x.flags.writeable
        and x.strides[3] == 4 and x.strides[2] >= 4 * x.shape[3] and x.strides[2] % 4 == 0
    )  # fmt: skip


def _empty_tokens(x: Any, n: int) -> Any:
    """(B, T, NH, n) for x (B, NH, T, ...)."""
    return np.empty((x.shape[0], x.shape[2], x.shape[1], n), np.float32)


def _heads_first(x: Any) -> Any:
    """(B, NH, T, n) of (B, T, NH, n), and the other way."""
    return x.transpose(0, 2, 1, 3)


def _empty_gradients(q: Any, k: Any, v: Any) -> Any:
    """Arrays like q, k and v; parts of one (B, T, 3, NH, n) if they are alike, as one projection gives them."""
    if q.shape == k.shape == v.shape:
        B, NH, T, n = q.shape
        return np.empty((B, T, 3, NH, n), np.float32).transpose(2, 0, 3, 1, 4)
    return tuple(_heads_first(_empty_tokens(x, x.shape[3])) for x in (q, k, v))
