"""Records of losses."""

from __future__ import annotations

from functools import partial

import numpy as np

from ..records import Constant, ErrorSample, OpRecord, Sample

REDUCTIONS = "none", "mean", "sum"


def _classes(rng, spread=1.0):
    """Samples with class indices as targets."""
    n, t = (lambda *shape: rng.standard_normal(shape) * spread), partial(rng.integers, 0, 5)
    some, w = np.array([3, 1, -100, 0, 1, -100]), Constant(rng.random(5))
    return [
        *(Sample(n(6, 5), t(6), reduction=r) for r in REDUCTIONS),
        *(Sample(n(6, 5), t(6), w, reduction=r) for r in REDUCTIONS),
        *(Sample(n(6, 5), some, reduction=r) for r in REDUCTIONS),
        *(Sample(n(6, 5), abs(some) % 7, w, reduction=r, ignore_index=2) for r in REDUCTIONS),
        *(Sample(n(2, 5, 3), t((2, 3)), w, reduction=r) for r in REDUCTIONS),
        Sample(n(2, 5, 3, 2), t((2, 3, 2)), ignore_index=3),
        Sample(n(5), np.array(3)),
        Sample(n(5), np.array(3), w, reduction="none"),
        Sample(n(6, 1), np.zeros(6, int), reduction="none"),
        Sample(n(0, 5), np.zeros(0, int), reduction="sum"),
        Sample(n(0, 5), np.zeros(0, int)),  # the mean of nothing
        Sample(n(3, 5), np.full(3, -100)),
        Sample(n(5, 6).T, t(12)[::2]),
        Sample(n(3, 5), t(3).astype(np.uint8)),
    ]


def _cross_entropy(rng):
    n, t = rng.standard_normal, partial(rng.integers, 0, 5)
    some = np.array([3, 1, -100, 0, 1, -100])
    smooth = {"label_smoothing": 0.2}
    shares, w = rng.dirichlet(np.ones(5), 6), Constant(rng.random(5))
    return [
        *_classes(rng, spread=3.0),
        *(Sample(n((6, 5)), some, reduction=r, **smooth) for r in REDUCTIONS),
        *(Sample(n((6, 5)), some, w, reduction=r, **smooth) for r in REDUCTIONS),
        Sample(n((2, 5, 3)), t((2, 3)), w, **smooth),
        Sample(n(5), np.array(3), **smooth),
        Sample(n((6, 5)), t(6), label_smoothing=1.0),
        *(Sample(n((6, 5)), shares, reduction=r) for r in REDUCTIONS),  # probabilities as targets
        *(Sample(n((6, 5)), shares, w, reduction=r, **smooth) for r in REDUCTIONS),
        Sample(n((2, 5, 3)), rng.random((2, 5, 3)), w),
        Sample(n(5), rng.random(5), **smooth),
        Sample(np.array([[1e4, 0.0, -1e4], [5e3, 5e3, 5e3]]), np.array([0, 1]), reduction="none"),
        Sample(np.array([[0.0, -np.inf, 1.0]]), np.array([2])),  # a class that is ruled out
        Sample(np.array([[0.0, -np.inf, 1.0]]), np.array([1])),
        Sample(n((3, 5)).astype(np.float16), t(3)),
    ]


def _class_errors(rng):
    n = rng.standard_normal
    x, t = n((4, 3)), np.array([0, 1, 2, 1])
    return [
        ErrorSample(x, np.array([0, 1, 3, 1]), error=IndexError, match=r"Target 3 at position \(2,\) .* 3 classes"),
        ErrorSample(x, np.array([0, -1, 2, 1]), error=IndexError, match=r"Target -1 at position \(1,\)"),
        ErrorSample(x, t[:3], error=ValueError, match=r"batch_size \(4\) to match target batch_size \(3\)"),
        ErrorSample(n((2, 3, 4)), np.zeros((2, 5), int), error=RuntimeError, match=r"shape \(2, 4\).* got \(2, 5\)"),
        ErrorSample(x, t, np.ones(3), error=RuntimeError, match=r"'weight'; pass weight.detach\(\)"),
        ErrorSample(x, t, Constant(np.ones(3, np.float32)), error=RuntimeError, match="float64, got float32"),
        ErrorSample(x, t, Constant(np.ones(4)), error=RuntimeError, match=r"all 3 classes .*\[4\]"),
        ErrorSample(x, t, reduction="avg", error=ValueError, match="avg is not a valid value for reduction"),
        ErrorSample(x.astype(int), t, error=NotImplementedError, match="floating input, got int64"),
        ErrorSample(x, n(4), error=RuntimeError, match="class indices"),
    ]


def _cross_entropy_errors(rng):
    x, t = rng.standard_normal((4, 3)), np.array([0, 1, 2, 1])
    return [
        *_class_errors(rng),
        ErrorSample(x, t, label_smoothing=1.5, error=RuntimeError, match="between 0.0 and 1.0, got 1.5"),
        ErrorSample(x, np.ones((4, 3)), ignore_index=1, error=RuntimeError, match="ignore_index=1 has no meaning"),
        ErrorSample(x, np.ones((4, 3), int), error=RuntimeError, match="probabilities must have a floating"),
    ]


def _nll_errors(rng):
    scalar = np.asarray(rng.standard_normal())
    return [*_class_errors(rng), ErrorSample(scalar, np.array(0), error=ValueError, match="1 or more dimensions")]


def _pairs(rng, **options):
    """Samples of a loss of two tensors of one shape."""
    n = rng.standard_normal
    x, t = n((3, 4)), n((3, 4))
    tie = np.array([1.0, -2.0, 0.5])
    return [
        *(Sample(x, t, reduction=r, **options) for r in REDUCTIONS),
        Sample(np.asarray(n()), np.asarray(n()), **options),
        Sample(n((0, 3)), n((0, 3)), reduction="sum", **options),
        Sample(n((0, 3)), n((0, 3)), **options),
        Sample(n((4, 3)).T, n((6, 4))[::2], **options),
        Sample(tie, tie.copy(), **options),  # no difference
        Sample(tie, tie + np.array([1.0, -1.0, 2.0]), reduction="none", **options),  # on a corner
        Sample(x, x, **options),
        Sample(n((3, 4)), n(4), **options),  # broadcast, with a warning
        Sample(n((3, 1)), n((1, 4)), reduction="none", **options),
        Sample(n(3).astype(np.float32), n(3), **options),
        Sample(np.array([1e20, np.inf]), np.zeros(2), reduction="none", **options),
    ]


def _weighted_pairs(rng):
    n = rng.standard_normal
    return [*_pairs(rng), *(Sample(n((3, 4)), n((3, 4)), reduction=r, weight=rng.random((3, 4))) for r in REDUCTIONS)]


def _pair_errors(rng):
    n = rng.standard_normal
    return [
        ErrorSample(n((2, 3)), n((2, 4)), error=RuntimeError, match="must match"),
        ErrorSample(n(3), n(3), reduction="avg", error=ValueError, match="avg is not a valid value"),
        ErrorSample(np.ones(3, int), np.ones(3, int), error=RuntimeError, match="int64"),
    ]


def _weighted_pair_errors(rng):
    n = rng.standard_normal
    return [*_pair_errors(rng), ErrorSample(n(3), n(3), weight=n(2), error=ValueError, match=r"\(2,\) and \(3,\)")]


def _huber(rng):
    far = rng.standard_normal((3, 4)) * 3, rng.standard_normal((3, 4)) * 3
    return [*_weighted_pairs(rng)[:-5], *_weighted_pairs(rng)[-3:], *(Sample(*far, delta=d) for d in (0.3, 2.0))]


def _smooth_l1(rng):
    far = rng.standard_normal((3, 4)) * 3, rng.standard_normal((3, 4)) * 3
    return [*_pairs(rng), *(Sample(*far, beta=b) for b in (0.0, 0.3, 2.0))]


def _smooth_l1_errors(rng):
    x = rng.standard_normal(3)
    return [*_pair_errors(rng), ErrorSample(x, x, beta=-1.0, error=RuntimeError, match="negative .*, got -1.0")]


def _huber_errors(rng):
    x = rng.standard_normal(3)
    return [*_weighted_pair_errors(rng), ErrorSample(x, x, delta=0.0, error=RuntimeError, match="positive .*, got 0.0")]


def _bce(rng):
    p, t = partial(rng.uniform, 0.05, 0.95), rng.random
    w, row = Constant(t((3, 4))), Constant(t(4))
    return [
        *(Sample(p((3, 4)), t((3, 4)), reduction=r) for r in REDUCTIONS),
        *(Sample(p((3, 4)), t((3, 4)), w, reduction=r) for r in REDUCTIONS),
        Sample(p((3, 4)), t((3, 4)), row),
        Sample(np.asarray(p()), np.asarray(t())),
        Sample(p((0, 3)), t((0, 3)), reduction="sum"),
        Sample(p((4, 3)).T, t((6, 4))[::2]),
        # Certainties. Constants: the slope is cut off there, at a number that PyTorch rounds to float32.
        Sample(Constant(np.array([0.0, 1.0, 0.0, 1.0])), Constant(np.array([0.0, 1.0, 1.0, 0.0])), reduction="none"),
    ]


def _constants(argument, x):
    """Arrays require grad, which PyTorch refuses for weights."""
    return [ErrorSample(x, x, **{argument: x}, error=RuntimeError, match=rf"'{argument}'; pass {argument}.detach\(\)")]


def _bce_errors(rng):
    p = np.array([0.5, 0.2])
    return [
        ErrorSample(np.array([0.5, 1.2]), p, error=RuntimeError, match="between 0 and 1"),
        ErrorSample(np.array([0.5, np.nan]), p, error=RuntimeError, match="between 0 and 1"),
        ErrorSample(p, p[:1], error=ValueError, match=r"\(1,\) must be the same as input size \(2,\)"),
        ErrorSample(p, p.astype(np.float32), error=RuntimeError, match="found dtype float32 but expected float64"),
        ErrorSample(p, p, reduction="avg", error=ValueError, match="avg is not a valid value"),
        *_constants("weight", p),
    ]


def _bce_with_logits(rng):
    n, t = rng.standard_normal, rng.random
    w, row = Constant(t((3, 4))), Constant(t(4))
    return [
        *(Sample(n((3, 4)), t((3, 4)), reduction=r) for r in REDUCTIONS),
        *(Sample(n((3, 4)), t((3, 4)), w, reduction=r, pos_weight=row) for r in REDUCTIONS),
        Sample(n((3, 4)), t((3, 4)), row),
        Sample(n((3, 4)), t((3, 4)), pos_weight=Constant(t((1, 4)))),
        Sample(np.asarray(n()), np.asarray(t())),
        Sample(n((0, 3)), t((0, 3)), reduction="sum"),
        Sample(n((4, 3)).T, t((6, 4))[::2]),
        Sample(np.array([0.0, 500.0, -500.0, 30.0, -30.0]), np.array([0.5, 1.0, 0.0, 0.0, 1.0]), reduction="none"),
        Sample(n(3).astype(np.float32), t(3)),
    ]


def _bce_with_logits_errors(rng):
    n = rng.standard_normal
    return [
        ErrorSample(n(2), n(1), error=ValueError, match=r"\(1,\) must be the same as input size \(2,\)"),
        ErrorSample(n(2), np.ones(2, int), error=RuntimeError, match="floating target, got int64"),
        *_constants("weight", n(2)),
        *_constants("pos_weight", n(2)),
        ErrorSample(n(2), n(2), reduction="avg", error=ValueError, match="avg is not a valid value"),
    ]


def _kl_div(rng):
    n, t = rng.standard_normal, partial(rng.uniform, 0.1, 1.0)
    reductions = *REDUCTIONS, "batchmean"
    return [
        *(Sample(n((3, 4)), t((3, 4)), reduction=r) for r in reductions),
        *(Sample(n((3, 4)), n((3, 4)), reduction=r, log_target=True) for r in reductions),
        Sample(n((3, 4)), t(4)),
        Sample(n((2, 3)), Constant(np.array([[0.0, 0.5, 0.5], [1.0, 0.0, 0.0]]))),
        Sample(np.asarray(n()), np.asarray(t()), reduction="batchmean"),
        Sample(n((0, 3)), t((0, 3)), reduction="sum"),
        Sample(n((4, 3)).T, t((6, 4))[::2]),
        Sample(n(3).astype(np.float32), t(3)),
    ]


def _kl_div_errors(rng):
    n = rng.standard_normal
    return [
        ErrorSample(n((2, 3)), n(4), error=RuntimeError, match="must match"),
        ErrorSample(n(2), n(2), reduction="avg", error=ValueError, match="avg is not a valid value"),
    ]


def _cosine_similarity(rng):
    n = rng.standard_normal
    zero = np.array([[0.0, 0.0, 0.0], [1.0, 2.0, 3.0]])
    return [
        Sample(n((3, 4)), n((3, 4))),
        Sample(n((2, 3, 4)), n((2, 3, 4)), dim=-1),
        Sample(n((5, 2, 3)), n((2, 3)), dim=-1),
        Sample(n(4), n(4), dim=0),
        Sample(n((3, 1)), n((1, 4))),
        Sample(n((0, 3)), n((0, 3))),
        Sample(n((4, 3)).T, n((6, 4))[::2]),
        Sample(zero, n((2, 3)), eps=1e-3),  # a vector without a direction
        Sample(n((3, 4)) * 1e-3, n((3, 4)) * 1e3),
    ]


def _cosine_similarity_errors(rng):
    n = rng.standard_normal
    return [
        ErrorSample(n(3), n(3), error=IndexError, match=r"\[-1, 0\], but got 1"),
        ErrorSample(n((2, 3)), n((3, 4)), error=RuntimeError, match="broadcast"),
        ErrorSample(np.ones((2, 3), int), np.ones((2, 3), int), error=RuntimeError, match="floating dtype, got int64"),
    ]


RECORDS = [
    OpRecord("nn.functional.cross_entropy", _cross_entropy, _cross_entropy_errors, kind="reduction"),
    OpRecord("nn.functional.nll_loss", _classes, _nll_errors, kind="reduction"),
    OpRecord("nn.functional.mse_loss", _weighted_pairs, _weighted_pair_errors, kind="reduction"),
    OpRecord("nn.functional.l1_loss", _weighted_pairs, _weighted_pair_errors, kind="reduction"),
    OpRecord("nn.functional.smooth_l1_loss", _smooth_l1, _smooth_l1_errors, kind="reduction"),
    OpRecord("nn.functional.huber_loss", _huber, _huber_errors, kind="reduction"),
    OpRecord("nn.functional.binary_cross_entropy", _bce, _bce_errors, kind="reduction"),
    OpRecord(
        "nn.functional.binary_cross_entropy_with_logits", _bce_with_logits, _bce_with_logits_errors, kind="reduction"
    ),
    OpRecord("nn.functional.kl_div", _kl_div, _kl_div_errors, kind="reduction"),
    OpRecord("nn.functional.cosine_similarity", _cosine_similarity, _cosine_similarity_errors, kind="reduction"),
]
