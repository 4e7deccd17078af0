"""Attention."""

from __future__ import annotations

from .op import Op


class Attention(Op):
    """y = softmax(q k' * scale + bias) v.

    Shapes: q (..., L, E), k (..., S, E), v (..., S, Ev) -> y (..., L, Ev); the axes before broadcast. bias (..., L, S)
    or None is added to the scores, so that -inf hides a key from a query; with is_causal query i sees keys 0 .. i. The
    weights are multiplied by keep (..., L, S) or None: dropout. A query that sees no key gets zeros.
    Saved: e = exp(scores - max) and r = 1 / sum(e). The weights e * r are never made: to multiply y, (L, Ev), by r is
    cheaper than to multiply e, (L, S).
    Source: Vaswani et al. 2017, arXiv:1706.03762, equation 1; the backward: Dao et al. 2022, arXiv:2205.14135, B.2.
    """

    name, broadcasts = "scaled_dot_product_attention", True

    @staticmethod
    def forward(xp, q, k, v, bias, keep, *, scale, is_causal):
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
            None,
        )


def _kept(weights, keep):
    return weights if keep is None else weights * keep
