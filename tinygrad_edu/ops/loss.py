"""Losses that are more than a short composition of other functions."""

from __future__ import annotations

from functools import reduce

from .activation import log_logistic, logistic
from .op import Op


class CrossEntropy(Op):
    """The negative log-probability that softmax(x) gives to each row's target class.

    Shapes: x (N, C), target (N,) integers, weight (C,) or None -> y (N,). With nll = logsumexp(x) - x, t = target and
    s = label_smoothing: y = (1 - s) w[t] nll[t] + s / C sum_c w[c] nll[c]. It is 0 where t is `ignore_index`.
    Saved: e = exp(x - max) and its sum, so that the gradient, softmax(x) - onehot(t), is one pass over e.
    """

    name = "cross_entropy"

    @staticmethod
    def forward(xp, x, target, weight, *, ignore_index, label_smoothing):
        n, classes = x.shape
        counts = target != ignore_index
        t = xp.where(counts, target, 0)
        w = xp.ones(classes, x.dtype) if weight is None and label_smoothing else weight
        shifted = x - xp.max(x, axis=1, keepdims=True, initial=-xp.inf)
        e = xp.exp(shifted)
        total = e.sum(axis=1)
        log_total = xp.log(total)
        y = log_total - shifted[xp.arange(n), t]
        if w is not None:
            y = (1 - label_smoothing) * w[t] * y
        if label_smoothing:
            y = y + label_smoothing / classes * (w.sum() * log_total - shifted @ w)
        return xp.where(counts, y, 0), (e, total, t, counts, w, label_smoothing)

    @staticmethod
    def backward(xp, saved, gy):
        e, total, t, counts, w, label_smoothing = saved
        g = xp.where(counts, gy, 0)
        g_target = g if w is None else g * (1 - label_smoothing) * w[t]  # the factor of nll[t]
        if label_smoothing:
            g_each = g * (label_smoothing / len(w))  # and that of w[c] nll[c]
            gx = e * ((g_target + g_each * w.sum()) / total)[:, None] - g_each[:, None] * w
        else:
            gx = e * (g_target / total)[:, None]
        return subtract_at(xp, gx, t, g_target), None, None


class Nll(Op):
    """The negative of each row's element at its target class, weighted.

    Shapes: x (N, C), target (N,) integers, weight (C,) or None -> y (N,) = -w[t] x[t]; 0 where t is `ignore_index`.
    """

    name = "nll_loss"

    @staticmethod
    def forward(xp, x, target, weight, *, ignore_index):
        n, classes = x.shape
        counts = target != ignore_index
        t = xp.where(counts, target, 0)
        w = xp.ones(classes, x.dtype) if weight is None else weight
        return xp.where(counts, -w[t] * x[xp.arange(n), t], 0), (t, counts, w)

    @staticmethod
    def backward(xp, saved, gy):
        t, counts, w = saved
        g = xp.where(counts, gy, 0)
        return subtract_at(xp, xp.zeros((len(t), len(w)), gy.dtype), t, g * w[t]), None, None


def subtract_at(xp, x, column, values):
    """x with values[i] subtracted from x[i, column[i]], written into x."""
    x[xp.arange(len(column)), column] -= values
    return x


class Huber(Op):
    """With d = x - t: y = d^2 / 2 where |d| <= delta, delta (|d| - delta / 2) elsewhere."""

    name, broadcasts = "huber_loss", True

    @staticmethod
    def forward(xp, x, t, *, delta):
        d = x - t
        size = xp.abs(d)
        return xp.where(size <= delta, d * d / 2, delta * (size - delta / 2)), (d, delta)

    @staticmethod
    def backward(xp, saved, gy):
        d, delta = saved
        g = gy * xp.clip(d, -delta, delta)
        return g, lambda: -g


class BinaryCrossEntropy(Op):
    """y = -(t log(x) + (1 - t) log(1 - x)), where logarithms below -100 count as -100.

    The gradient of x divides by at least 1e-12, so that it stays finite at 0 and 1.
    """

    name, broadcasts = "binary_cross_entropy", True

    @staticmethod
    def forward(xp, x, t):
        y = (t - 1) * xp.maximum(xp.log1p(-x), -100) - t * xp.maximum(xp.log(x), -100)
        return y, (x, t)

    @staticmethod
    def backward(xp, saved, gy):
        x, t = saved
        return (
            lambda: gy * (x - t) / xp.maximum(x * (1 - x), 1e-12),
            lambda: gy * (xp.log1p(-x) - xp.log(x)),
        )


class BinaryCrossEntropyWithLogits(Op):
    """y = -(p t log(s) + (1 - t) log(1 - s)) with s = sigmoid(x) and p = pos_weight, or 1.

    As log(1 - s) = log(s) - x:  y = (1 - t) x - (p t + 1 - t) log(s), which neither overflows nor cancels.
    """

    name, broadcasts = "binary_cross_entropy_with_logits", True

    @staticmethod
    def forward(xp, x, t, p):
        w = 1 if p is None else p * t + 1 - t
        return (1 - t) * x - w * log_logistic(xp, x), (x, t, p)

    @staticmethod
    def backward(xp, saved, gy):
        x, t, p = saved
        s = logistic(xp, x)
        return (
            lambda: gy * (s - t if p is None else (p * t + 1 - t) * s - p * t),
            lambda: gy * (-x if p is None else -x - (p - 1) * log_logistic(xp, x)),
            None,
        )


class KlDiv(Op):
    """y = t (log(t) - x), and -t x where t is 0."""

    name, broadcasts = "kl_div", True

    @staticmethod
    def forward(xp, x, t):
        return t * (xp.log(xp.where(t == 0, 1, t)) - x), (x, t)

    @staticmethod
    def backward(xp, saved, gy):
        x, t = saved
        return lambda: -gy * t, lambda: gy * (xp.log(t) + 1 - x)


class CtcPaths(Op):
    """-log of the sum over all paths through a sequence of states of the probability of the path.

    A path starts in state 0 or 1, at each step stays, goes on by one state, or by two into a state where `skip` is
    true, and ends at a state where `final` is true. Shapes: emit (T, B, S), the log-probability of each state at each
    step, skip and final (B, S), steps (B,), how many of the T steps count for each -> y (B,). Saved: alpha (T, B, S),
    the log of the sum over all paths up to each state, with the emission there.
    Source: Graves et al. 2006, "Connectionist temporal classification", section 4.1.
    """

    name = "ctc_loss"

    @staticmethod
    def forward(xp, emit, skip, final, steps):
        alphas = [xp.where(xp.arange(emit.shape[2]) < 2, emit[0], -xp.inf)]
        for t in range(1, len(emit)):
            before = alphas[-1]
            ways = [before, from_left(xp, before, 1), xp.where(skip, from_left(xp, before, 2), -xp.inf)]
            here = reduce(xp.logaddexp, ways) + emit[t]
            alphas.append(xp.where((t < steps)[:, None], here, before))
        y = -reduce(xp.logaddexp, xp.where(final, alphas[-1], -xp.inf).T)
        return y, (emit, skip, final, steps, xp.stack(alphas), y)

    @staticmethod
    def backward(xp, saved, gy):
        emit, skip, final, steps, alpha, y = saved
        # The log of the sum over all paths from each state on, without the emission there.
        beta = end = xp.where(final, 0, -xp.inf).astype(emit.dtype)
        shares = []  # of each state at each step in the sum over all paths
        for t in reversed(range(len(emit))):
            counts = (t < steps)[:, None]
            through = alpha[t] + beta
            shares.append(xp.where(counts, xp.exp(xp.where(through == -xp.inf, through, through + y[:, None])), 0))
            after = beta + emit[t]
            ways = [after, from_right(xp, after, 1), from_right(xp, xp.where(skip, after, -xp.inf), 2)]
            beta = xp.where(counts, reduce(xp.logaddexp, ways), end)
        return -xp.stack(shares[::-1]) * gy[:, None], None, None, None


def from_left(xp, x, by):
    """The columns of a matrix moved to the right, with -inf where none comes from."""
    return xp.concatenate([xp.full((len(x), by), -xp.inf, x.dtype), x], axis=1)[:, : x.shape[1]]


def from_right(xp, x, by):
    """The columns of a matrix moved to the left, with -inf where none comes from."""
    return xp.concatenate([x, xp.full((len(x), by), -xp.inf, x.dtype)], axis=1)[:, by:]
