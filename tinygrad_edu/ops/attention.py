"""Attention."""

from __future__ import annotations

from .op import Op


class Attention(Op):
    """y = softmax(q k' * scale + bias) v, the weights multiplied by `keep`.

    Shapes: q (..., L, E), k (..., S, E), v (..., S, Ev) -> y (..., L, Ev); bias (..., L, S) or None is added to the
    scores, -inf hides a pair; keep (..., L, S) or None drops weights: 0, or 1 / (1 - p) for those kept.
    A row that may look at nothing gives zeros. Causal: query i sees the keys 0 .. i.
    Saved: e = exp(scores - max) and r = 1 / sum(e), so that the division is done on (L, Ev) instead of (L, S).
    Source: Vaswani et al. 2017, arXiv:1706.03762, equation 1.
    """

    name, broadcasts = "scaled_dot_product_attention", True

    @staticmethod
    def forward(xp, q, k, v, bias, keep, *, scale, is_causal):
        q = q * scale
        scores = q @ k.swapaxes(-1, -2)
        if is_causal:
            scores = scores + causal_bias(xp, scores)
        if bias is not None:
            scores = scores + bias
        largest = scores.max(axis=-1, keepdims=True, initial=-xp.inf)
        e = xp.exp(scores - xp.where(largest == -xp.inf, 0, largest))
        total = e.sum(axis=-1, keepdims=True)
        r = 1 / xp.where(total == 0, 1, total)
        y = ((e if keep is None else e * keep) @ v) * r
        return y, (q, k, v, e, r, keep, y, scale)

    @staticmethod
    def backward(xp, saved, gy):
        q, k, v, e, r, keep, y, scale = saved
        g = gy * r
        gp = g @ v.swapaxes(-1, -2)
        if keep is not None:
            gp = gp * keep
        gs = e * (gp - (g * y).sum(axis=-1, keepdims=True))  # dL/dscores
        dropped = e if keep is None else e * keep
        return (
            lambda: (gs @ k) * scale,
            lambda: gs.swapaxes(-1, -2) @ q,
            lambda: dropped.swapaxes(-1, -2) @ g,
            lambda: gs,
            None,
        )


def causal_bias(xp, scores):
    """(L, S): 0 where query i may see key j, j <= i, and -inf elsewhere."""
    return xp.triu(xp.full(scores.shape[-2:], -xp.inf, scores.dtype), 1)
