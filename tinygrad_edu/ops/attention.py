"""Attention."""

from __future__ import annotations

import numpy as np

from .dropout import drawn
from .op import Op


class Attention(Op):
    """y = softmax(q k' * scale + bias) v.

    Shapes: q (..., L, E), k (..., S, E), v (..., S, Ev) -> y (..., L, Ev); the axes before broadcast. bias (..., L, S)
    or None is added to the scores, so that -inf hides a key from a query; with is_causal query i sees keys 0 .. i. The
    weights are multiplied by the mask that dropout = (p, seed, counter) draws, as in ops/dropout.py; None: by none. A
    query that sees no key gets zeros.
    Saved: e = exp(scores - max) and r = 1 / sum(e). The weights e * r are never made: to multiply y, (L, Ev), by r is
    cheaper than to multiply e, (L, S).
    Source: Vaswani et al. 2017, arXiv:1706.03762, equation 1; the backward: Dao et al. 2022, arXiv:2205.14135, B.2.
    """

    name, broadcasts = "scaled_dot_product_attention", True

    @staticmethod
    def forward(xp, q, k, v, bias, *, scale, is_causal, dropout=None):
        q = q * scale
        scores = q @ k.swapaxes(-1, -2)
        if is_causal:
            scores = scores + xp.triu(xp.full(scores.shape[-2:], -xp.inf, scores.dtype), 1)
        if bias is not None:
            scores = scores + bias
        largest = xp.max(scores, axis=-1, keepdims=True, initial=-xp.inf)
        e = xp.exp(scores - xp.where(largest == -xp.inf, 0, largest))
        total = e.sum(axis=-1, keepdims=True)
        r = 1 / xp.where(total == 0, 1, total)
        keep = None if dropout is None else drawn(xp, weights_shape(q, k, v), e.dtype, *dropout)
        y = (_kept(e, keep) @ v) * r
        return y, (q, k, v, e, r, keep, y, scale)

    @staticmethod
    def backward(xp, saved, gy):
        q, k, v, e, r, keep, y, scale = saved
        g = gy * r
        # softmax: gs = p (gp - sum(gp p)), and sum(gp p) over the keys is sum(gy y) over the channels
        gs = e * (_kept(g @ v.swapaxes(-1, -2), keep) - (g * y).sum(axis=-1, keepdims=True))
        return (
            lambda: (gs @ k) * scale,
            lambda: gs.swapaxes(-1, -2) @ q,
            lambda: _kept(e, keep).swapaxes(-1, -2) @ g,
            lambda: gs,
        )


def weights_shape(q, k, v):
    """(..., L, S), with the axes before as those of y."""
    return (*np.broadcast_shapes(*(x.shape[:-2] for x in (q, k, v))), q.shape[-2], k.shape[-2])


def _kept(weights, keep):
    return weights if keep is None else weights * keep
