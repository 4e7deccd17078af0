"""Losses."""

from __future__ import annotations

from .op import Op


class CrossEntropy(Op):
    """The negative log-probability of each row's target class, weighted; 0 for rows of the class `ignore_index`.

    Shapes: x (N, C), target (N,), weight (C,) or None -> y (N,).
    y = (1 - s) w[t] nll[t] + s / C sum_c w[c] nll[c] with nll = logsumexp(x) - x and s = label_smoothing.
    Saved: e = exp(x - max) and its sums, from which the gradient, softmax(x) - onehot(t), is one pass.
    """

    name = "cross_entropy"

    @staticmethod
    def forward(xp, x, target, weight, *, ignore_index, label_smoothing):
        n, classes = x.shape
        counts = target != ignore_index
        t = xp.where(counts, target, 0)
        s = x - x.max(axis=1, keepdims=True, initial=-xp.inf)
        e = xp.exp(s)
        total = e.sum(axis=1)
        log_total = xp.log(total)
        at_target = counts.astype(x.dtype) if weight is None else weight[t] * counts
        y = at_target * (1 - label_smoothing) * (log_total - s[xp.arange(n), t])
        if label_smoothing:
            w = xp.ones(classes, x.dtype) if weight is None else weight
            y = y + counts * (label_smoothing / classes) * (log_total * w.sum() - s @ w)
        return y, (e, total, t, counts, at_target, weight, label_smoothing)

    @staticmethod
    def backward(xp, saved, gy):
        e, total, t, counts, at_target, weight, label_smoothing = saved
        n, classes = e.shape
        on_target = gy * at_target * (1 - label_smoothing)
        if not label_smoothing:
            return subtract_at(xp, e * (on_target / total)[:, None], t, on_target), None, None
        w = xp.ones(classes, e.dtype) if weight is None else weight
        spread = gy * counts * (label_smoothing / classes)
        g = e * ((on_target + spread * w.sum()) / total)[:, None] - spread[:, None] * w
        return subtract_at(xp, g, t, on_target), None, None


def subtract_at(xp, x, column, values):
    """x with values[i] subtracted from x[i, column[i]]; x must be an array of the caller's own."""
    x[xp.arange(len(column)), column] -= values
    return x
