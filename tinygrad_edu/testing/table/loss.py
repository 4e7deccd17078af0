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


def _bce_certain(library, x, t):
    return library.nn.functional.binary_cross_entropy(x.float(), t.float(), reduction="none")


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


def _signs(rng, *shape):
    return np.where(rng.random(shape) < 0.5, 1.0, -1.0)


def _poisson_nll(rng):
    n, counts = rng.standard_normal, lambda *shape: rng.integers(0, 6, shape).astype(float)
    return [
        *(Sample(n((3, 4)), counts(3, 4), reduction=r) for r in REDUCTIONS),
        *(Sample(n((3, 4)), Constant(counts(3, 4)), full=True, reduction=r) for r in REDUCTIONS),
        Sample(rng.random((3, 4)) + 0.1, Constant(counts(3, 4)), False, True),
        Sample(rng.random((3, 4)), counts(3, 4), log_input=False, eps=0.1),
        Sample(n((3, 4)), rng.random((3, 4)) * 4 + 1.1, full=True),  # targets that learn
        Sample(n((2, 1)), counts(3), reduction="none"),
        Sample(n((4, 3)).T, Constant(rng.integers(0, 6, (6, 4))[::2])),
        Sample(np.asarray(n()), np.asarray(2.0)),
        Sample(n((0, 3)), counts(0, 3), reduction="sum"),
    ]


def _pair_shape_errors(rng):
    n = rng.standard_normal
    return [
        ErrorSample(n((2, 3)), n((2, 4)), error=RuntimeError, match="must match"),
        ErrorSample(n(3), n(3), reduction="avg", error=ValueError, match="avg is not a valid value"),
        ErrorSample([1.0], n(3), error=TypeError, match="'input' must be Tensor"),
    ]


def _gaussian_nll(rng):
    n = rng.standard_normal
    x, t, v = n((3, 4)), n((3, 4)), rng.random((3, 4)) + 0.1
    return [
        *(Sample(x, t, v, reduction=r) for r in REDUCTIONS),
        *(Sample(x, t, v, full=True, reduction=r) for r in REDUCTIONS),
        Sample(x, t, v[:, 0]),  # one variance for all
        Sample(x, t, v[:, :1], reduction="none"),
        Sample(x, n(4), v),
        Sample(x, t, 0.7),
        Sample(n((4, 3)).T, n((6, 4))[::2], v),
        Sample(n(3), n(3), v[0, :3]),
    ]


def _gaussian_nll_errors(rng):
    n = rng.standard_normal
    x, v = n((3, 4)), rng.random((3, 4))
    return [
        ErrorSample(x, x, -v, error=ValueError, match="negative entry/entries, such as -0"),
        ErrorSample(x, x, -1.0, error=ValueError, match="negative"),
        ErrorSample(x, x, v[0], error=ValueError, match=r"incorrect size, \(4,\) for an input of shape \(3, 4\)"),
        ErrorSample(x, x, v, reduction="avg", error=ValueError, match="avg is not"),
    ]


def _soft_margin(rng):
    n = rng.standard_normal
    return [
        *(Sample(n((3, 4)) * 3, Constant(_signs(rng, 3, 4)), reduction=r) for r in REDUCTIONS),
        Sample(n((3, 4)), Constant(n((3, 4)))),
        Sample(n((2, 3)), Constant(_signs(rng, 3))),
        Sample(n((4, 3)).T, Constant(_signs(rng, 6, 4)[::2])),
        Sample(np.asarray(n()), Constant(np.asarray(-1.0))),
        Sample(n(4), np.array([1, -1, -1, 1])),
    ]


def _hinge_embedding(rng):
    n = rng.standard_normal
    return [
        *(Sample(n((3, 4)), Constant(_signs(rng, 3, 4)), reduction=r) for r in REDUCTIONS),
        Sample(n((3, 4)), np.where(rng.random((3, 4)) < 0.5, 1, -1), 0.3),
        Sample(n(5), np.array([1, -1, 0, 0, 2]), margin=2.0, reduction="none"),  # 0 is both, 2 the first
        Sample(np.array([1.0, 1.0, 0.5]), np.array([-1, 1, -1]), reduction="none"),  # on a corner
        Sample(n((2, 1)), np.array([1, -1, 1])),
        Sample(n((4, 3)).T, Constant(_signs(rng, 6, 4)[::2])),
        Sample(np.asarray(n()), np.asarray(-1)),
    ]


def _cosine_embedding(rng):
    n, t = rng.standard_normal, np.array([1, -1, 1, -1, 0])
    return [
        *(Sample(n((5, 4)), n((5, 4)), t, reduction=r) for r in REDUCTIONS),
        *(Sample(n((5, 4)), n((5, 4)), t, 0.3, reduction=r) for r in REDUCTIONS),
        Sample(n(4), n(4), np.array(1)),
        Sample(n(4), n(4), np.array(-1), margin=-0.5),
        Sample(Constant(np.zeros((2, 3))), n((2, 3)), np.array([1, -1]), reduction="none"),  # without a direction
        Sample(n((4, 5)).T, n((10, 4))[::2], Constant(t.astype(float))),
        Sample(n((1, 4)), n((5, 4)), t),
    ]


def _cosine_embedding_errors(rng):
    n, t = rng.standard_normal, np.array([1, -1, 1])
    return [
        ErrorSample(n((3, 4)), n((3, 4)), np.array(1), error=RuntimeError, match=r"\(3, 4\) and \(\)"),
        ErrorSample(n(4), n(4), t, error=RuntimeError, match=r"\(4,\) and \(3,\)"),
        ErrorSample(n((3, 4)), n(4), t, error=RuntimeError, match=r"shapes \(3, 4\), \(4,\)"),
        ErrorSample(n((3, 4)), n((3, 4)), t[:2], error=RuntimeError, match="must match"),
        ErrorSample(n((3, 4)), n((3, 4)), t, reduction="avg", error=ValueError, match="avg is not"),
    ]


def _margin_ranking(rng):
    n = rng.standard_normal
    return [
        *(Sample(n((3, 4)), n((3, 4)), Constant(_signs(rng, 3, 4)), reduction=r) for r in REDUCTIONS),
        Sample(n((3, 4)), n((3, 4)), _signs(rng, 3, 4), 0.5),
        Sample(n((2, 1)), n((1, 3)), Constant(_signs(rng, 2, 3)), margin=0.1, reduction="none"),
        Sample(np.array([1.0, 2.0]), np.array([1.0, 1.0]), np.array([1, -1])),  # equal
        Sample(n((4, 3)).T, n((6, 4))[::2], Constant(_signs(rng, 3, 4))),
        Sample(np.asarray(n()), np.asarray(n()), np.asarray(1)),
    ]


def _margin_ranking_errors(rng):
    n = rng.standard_normal
    return [
        ErrorSample(n(3), n((3, 1)), n(3), error=RuntimeError, match="same number of dimensions"),
        ErrorSample(n(3), n(4), n(3), error=RuntimeError, match="must match"),
        ErrorSample(n(3), n(3), n(3), reduction="avg", error=ValueError, match="avg is not"),
    ]


def _triplets(rng, **options):
    n = rng.standard_normal
    a = n((3, 4))
    return [
        *(Sample(a, n((3, 4)), n((3, 4)), reduction=r, **options) for r in REDUCTIONS),
        Sample(a, n((3, 4)), n((3, 4)), swap=True, margin=0.5, **options),
        Sample(n((4, 3)).T, n((6, 4))[::2], n((3, 4)), swap=True, reduction="none", **options),
        Sample(a, a, n((3, 4)), margin=3.0, **options),
        Sample(n(4), n(4), n(4), **options),
        Sample(n((2, 3, 4)), n((1, 3, 4)), n((2, 1, 4)), margin=3.0, reduction="none", **options),
    ]


def _triplet_errors(rng):
    n = rng.standard_normal
    x = n((3, 4))
    return [
        ErrorSample(x, x, x, margin=0, error=ValueError, match="greater than 0, got 0"),
        ErrorSample(x, x, n((3, 5)), error=RuntimeError, match="must match"),
        ErrorSample(x, x, x, reduction="avg", error=ValueError, match="avg is not"),
    ]


def _multi_margin(rng):
    n, t = rng.standard_normal, np.array([0, 3, 1, 3, 2])
    w = Constant(rng.random(4))
    return [
        *(Sample(n((5, 4)), t, reduction=r) for r in REDUCTIONS),
        *(Sample(n((5, 4)), t, 2, 0.5, w, reduction=r) for r in REDUCTIONS),
        Sample(n((5, 4)), t, weight=w),
        Sample(n(4), np.array(2), reduction="none"),
        Sample(n(4), np.array([2]), reduction="none"),
        Sample(n((4, 5)).T, np.repeat(t, 2)[::2], p=2),
        Sample(np.array([[1.0, 0.0, 2.0]]), np.array([0]), margin=1.0, reduction="none"),  # on a corner
        Sample(n((5, 1)), np.zeros(5, int)),
    ]


def _multi_margin_errors(rng):
    n, t = rng.standard_normal, np.array([0, 1, 3])
    return [
        ErrorSample(
            n((3, 4)), np.array([0, 1, 4]), error=RuntimeError, match="out of range: expected 0 .. 3, got 0 .. 4"
        ),
        ErrorSample(n((3, 4)), t, p=3, error=ValueError, match="got 3"),
        ErrorSample(n((3, 4)), t, weight=Constant(n(3)), error=RuntimeError, match=r"expected 4 but got \[3\]"),
        ErrorSample(n((3, 4)), t[:2], error=RuntimeError, match=r"size \[3\], but got int64 of size \[2\]"),
        ErrorSample(n((3, 4)), n(3), error=RuntimeError, match="float64"),
        ErrorSample(n((3, 4, 2)), t, error=RuntimeError, match=r"\(B, C\) or \(C\)"),
        ErrorSample(n((3, 4)), t, weight=n(4), error=RuntimeError, match="weight.detach"),
        ErrorSample(n((3, 4)), t, reduction="avg", error=ValueError, match="avg is not"),
    ]


def _multilabel_margin(rng):
    n = rng.standard_normal
    t = np.array([[0, -1, 1, 2], [1, 2, -1, 0], [-1, 0, 0, 0], [3, 1, 2, 0], [1, 1, -1, -1]])
    return [
        *(Sample(n((5, 4)), t, reduction=r) for r in REDUCTIONS),
        Sample(n(4), t[1], reduction="none"),
        Sample(n((4, 5)).T, np.repeat(t, 2, axis=0)[::2]),
        Sample(np.array([1.0, 2.0, 0.0]), np.array([0, -1, 0])),  # on a corner
    ]


def _multilabel_margin_errors(rng):
    n, t = rng.standard_normal, np.zeros((3, 4), int)
    return [
        ErrorSample(n((3, 4)), t[:, :3], error=RuntimeError, match=r"shape \(3, 4\), got int64 of shape \(3, 3\)"),
        ErrorSample(n((3, 4)), t + 4, error=RuntimeError, match="expected -1 .. 3, got 4, 4"),
        ErrorSample(n((3, 4)), t - 2, error=RuntimeError, match="got -2, -2"),
        ErrorSample(n((3, 4)), t.astype(float), error=RuntimeError, match="got float64"),
        ErrorSample(n((2, 3, 4)), np.zeros((2, 3, 4), int), error=RuntimeError, match=r"\(B, C\) or \(C\)"),
        ErrorSample(n((3, 4)), t, reduction="avg", error=ValueError, match="avg is not"),
    ]


def _multilabel_soft_margin(rng):
    n, t = rng.standard_normal, rng.integers(0, 2, (3, 4))
    return [
        *(Sample(n((3, 4)) * 3, t, reduction=r) for r in REDUCTIONS),
        *(Sample(n((3, 4)), rng.random((3, 4)), rng.random(4), reduction=r) for r in REDUCTIONS),
        Sample(n((3, 4)), t, weight=Constant(rng.random((3, 1)))),
        Sample(n(4), t[0], reduction="none"),
        Sample(n((2, 3, 4)), rng.random((2, 3, 4)), reduction="none"),
        Sample(n((4, 3)).T, rng.integers(0, 2, (6, 4))[::2]),
        Sample(np.array([200.0, -200.0]), np.array([0.0, 1.0])),
    ]


def _ctc_loss(library, x, *args, **kwargs):
    """Of logits, since PyTorch's gradient presumes that the log-probabilities come from log_softmax."""
    return library.nn.functional.ctc_loss(library.nn.functional.log_softmax(x, -1), *args, **kwargs)


def _ctc(rng):
    n, a = rng.standard_normal, np.array
    targets, t = a([[1, 2, 2], [3, 1, 9], [4, 4, 4]]), a([3, 2, 3])
    return [
        *(Sample(n((6, 3, 5)), targets, a([6, 5, 6]), t, reduction=r) for r in REDUCTIONS),
        Sample(n((6, 3, 5)), a([1, 2, 2, 3, 1, 4, 4, 4]), (6, 5, 6), (3, 2, 3)),  # one after another
        Sample(n((6, 3, 5)), targets, a([6, 2, 6]), a([0, 2, 3]), reduction="none"),  # nothing to say; no step to spare
        Sample(n((6, 3, 5)), targets, a([6, 5, 4]), t, zero_infinity=True, reduction="none"),  # one does not fit
        Sample(n((6, 3, 5)), targets % 4, a([6, 4, 5]), t, blank=4),
        Sample(n((4, 5)), a([1, 2]), a([4]), a([2])),
        Sample(n((4, 5)), a([1, 2]), a(4), a(2), reduction="none"),
        Sample(n((1, 2, 3)), a([[1], [2]]), (1, 1), (1, 1), reduction="sum"),
        Sample(n((5, 12, 3)).transpose(1, 0, 2)[::2], a([[1, 1], [2, 1], [1, 2], [2, 2], [1, 2]]), (6,) * 5, (2,) * 5),
        Sample(
            n((40, 2, 4)) * 30, rng.integers(1, 4, (2, 8)), (40, 33), (8, 6), reduction="none"
        ),  # tiny probabilities
        Sample(n((3, 2, 4)), a([[1], [2]]), (0, 0), (0, 0), reduction="none"),
    ]


def _ctc_errors(rng):
    n, a = rng.standard_normal, np.array
    x, targets = n((6, 3, 5)), a([[1, 2, 2], [3, 1, 0], [4, 4, 4]])
    full, t = (6, 5, 6), (3, 2, 3)
    return [
        ErrorSample(x, targets, (7, 5, 6), t, error=RuntimeError, match=r"at most the 6 steps .*got \[7, 5, 6\]"),
        ErrorSample(x, targets, (6, 5, -1), t, error=RuntimeError, match="at least 0"),
        ErrorSample(x, targets, full, (3, 2, -3), error=RuntimeError, match="target_lengths to be at least 0"),
        ErrorSample(x, targets, a([6, 5]), a(t), error=RuntimeError, match="input_lengths must be of size .* 3, got 2"),
        ErrorSample(x, targets, a(full), a(t) * 1.0, error=RuntimeError, match="target_lengths must be integral"),
        ErrorSample(x, targets, full, (4, 2, 3), error=RuntimeError, match=r"size at least \(3, 4\).*got \(3, 3\)"),
        ErrorSample(x, targets[:2], full, t, error=RuntimeError, match=r"got \(2, 3\)"),
        ErrorSample(x, targets.reshape(-1), full, t, error=RuntimeError, match=r"or 8, the sum .*got \(9,\)"),
        ErrorSample(x, targets, full, t, blank=5, error=RuntimeError, match="0 .. 4, got 5"),
        ErrorSample(x, targets, full, t, reduction="avg", error=ValueError, match="avg is not"),
        ErrorSample(n(5), targets, full, t, error=RuntimeError, match=r"\(T, B, C\) or \(T, C\), got shape \(5,\)"),
        ErrorSample(n((0, 3, 5)), targets, (0, 0, 0), t, error=RuntimeError, match="got shape"),
        ErrorSample(x.astype(int), targets, full, t, error=NotImplementedError, match="floating"),
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
        "nn.functional.binary_cross_entropy (certain predictions)",
        lambda rng: [Sample(np.array([0.0, 1.0, 0.0, 1.0]), np.array([0.3, 0.3, 1.0, 0.0]))],
        torch=_bce_certain,
        ours=_bce_certain,
        gradcheck=False,
        note="the slope is cut off at 0 and 1, where it is infinite; in float32, as PyTorch rounds the limit to it",
    ),
    OpRecord(
        "nn.functional.binary_cross_entropy_with_logits", _bce_with_logits, _bce_with_logits_errors, kind="reduction"
    ),
    OpRecord("nn.functional.kl_div", _kl_div, _kl_div_errors, kind="reduction"),
    OpRecord("nn.functional.poisson_nll_loss", _poisson_nll, _pair_shape_errors, kind="reduction"),
    OpRecord("nn.functional.gaussian_nll_loss", _gaussian_nll, _gaussian_nll_errors, kind="reduction"),
    OpRecord(
        "nn.functional.gaussian_nll_loss",
        lambda rng: [Sample(rng.random((3, 4)), rng.random((3, 4)), rng.random((3, 4)) * 0.2, eps=0.1)],
        kind="reduction",
        gradcheck=False,
        note="a variance that is raised to eps keeps its gradient",
    ),
    OpRecord(
        "nn.functional.soft_margin_loss",
        _soft_margin,
        lambda rng: [
            *(
                ErrorSample(*e.args[:1], *map(Constant, e.args[1:]), error=e.error, match=e.match, **e.kwargs)
                for e in _pair_shape_errors(rng)
            ),
            ErrorSample(np.ones(3), np.ones(3), error=RuntimeError, match="target.detach"),
        ],
        kind="reduction",
    ),
    OpRecord("nn.functional.hinge_embedding_loss", _hinge_embedding, _pair_shape_errors, kind="reduction"),
    OpRecord("nn.functional.cosine_embedding_loss", _cosine_embedding, _cosine_embedding_errors, kind="reduction"),
    OpRecord("nn.functional.margin_ranking_loss", _margin_ranking, _margin_ranking_errors, kind="reduction"),
    OpRecord(
        "nn.functional.triplet_margin_loss",
        lambda rng: [*_triplets(rng), *_triplets(rng, p=1.0, eps=0.1)],
        lambda rng: [
            *_triplet_errors(rng),
            ErrorSample(np.ones((3, 4)), np.ones(4), np.ones((3, 4)), error=RuntimeError, match=r"\[2, 1, 2\]"),
        ],
        kind="reduction",
    ),
    OpRecord(
        "nn.functional.triplet_margin_with_distance_loss",
        lambda rng: [*_triplets(rng), *_triplets(rng, distance_function=lambda a, b: ((a - b) ** 4).mean(-1))],
        _triplet_errors,
        kind="reduction",
    ),
    OpRecord("nn.functional.multi_margin_loss", _multi_margin, _multi_margin_errors, kind="reduction"),
    OpRecord("nn.functional.multilabel_margin_loss", _multilabel_margin, _multilabel_margin_errors, kind="reduction"),
    OpRecord(
        "nn.functional.multilabel_soft_margin_loss", _multilabel_soft_margin, _pair_shape_errors, kind="reduction"
    ),
    OpRecord(
        "nn.functional.ctc_loss",
        _ctc,
        _ctc_errors,
        kind="reduction",
        torch=_ctc_loss,
        ours=_ctc_loss,
        gradgradcheck=False,
        note="it has no second derivative, neither here nor in PyTorch",
    ),
    OpRecord(
        "nn.functional.ctc_loss",
        lambda rng: [Sample(rng.standard_normal((4, 2, 3)), np.array([[1, 1, 1], [1, 2, 1]]), (4, 4), (3, 3))],
        differentiable=False,
        torch=_ctc_loss,
        ours=_ctc_loss,
        note="a target that does not fit has an infinite loss",
    ),
]
