"""Records of distances and similarities."""

from __future__ import annotations

import numpy as np

from ..records import Constant, ErrorSample, OpRecord, Sample


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


NORMS = 1.0, 2.0, 3.0, np.inf


def _pairwise_distance(rng):
    n = rng.standard_normal
    x = n((3, 4))
    return [
        Sample(x, n((3, 4))),
        *(Sample(n((3, 4)), n((3, 4)), p=p, keepdim=True) for p in NORMS),
        Sample(n((2, 3, 4)), n(4)),
        Sample(n(4), n(4)),
        Sample(n((4, 3)).T, n((6, 4))[::2], 2.0, 1e-3, True),
        Sample(x, x),  # only eps is left
        Sample(n((3, 1)), n((3, 1))),
        Sample(n((0, 4)), n((0, 4))),
    ]


def _pairwise_distance_errors(rng):
    n = rng.standard_normal
    return [
        ErrorSample(n((3, 4)), n(5), error=RuntimeError, match="must match"),
        ErrorSample(n((3, 4)), [1.0], error=TypeError, match="'x2' must be Tensor, not list"),
    ]


def _cdist(rng):
    n = rng.standard_normal
    mode = {"compute_mode": "use_mm_for_euclid_dist"}
    return [
        *(Sample(n((3, 4)), n((2, 4)), p=p) for p in NORMS),
        Sample(Constant(rng.integers(0, 2, (3, 4)) * 1.0), Constant(np.ones((2, 4))), p=0.0),
        Sample(n((2, 3, 4)), n((5, 1, 2, 4))),
        Sample(n((30, 3)), n((4, 3))),  # by products
        Sample(n((30, 3)), n((4, 3)), compute_mode="donot_use_mm_for_euclid_dist"),
        Sample(n((2, 3, 4)), n((2, 5, 4)), **mode),
        Sample(n((4, 3)).T, n((6, 4))[::2]),
        Sample(np.array([[1.0, 2.0], [3.0, 4.0]]), np.array([[1.0, 2.0], [0.0, 1.0]])),  # one vector in both
        Sample(np.array([[1.0, 2.0], [3.0, 4.0]]), np.array([[1.0, 2.0], [0.0, 1.0]]), **mode),
        Sample(n((0, 4)), n((2, 4))),
        Sample(n((3, 1)), n((2, 1))),
    ]


def _cdist_errors(rng):
    n = rng.standard_normal
    x = n((3, 4))
    return [
        ErrorSample(x, n((2, 5)), error=RuntimeError, match="number of columns. x1: 4 x2: 5"),
        ErrorSample(n(4), x, error=RuntimeError, match="at least 2D tensors, x1 got: 1D"),
        ErrorSample(x, x, p=-1.0, error=RuntimeError, match="non-negative p values, got -1.0"),
        ErrorSample(x, x, compute_mode="fast", error=ValueError, match="fast is not a valid value"),
        ErrorSample(x.astype(int), x.astype(int), error=RuntimeError, match="x1 got: .*int64"),
        ErrorSample(x, x.astype(np.float32), error=RuntimeError, match="same dtype"),
        ErrorSample(n((5, 3, 4)), n((2, 2, 4)), error=RuntimeError, match="must match"),
    ]


def _pdist(rng):
    n = rng.standard_normal
    return [
        *(Sample(n((4, 3)), p=p) for p in NORMS),
        Sample(Constant(rng.integers(0, 2, (4, 3)) * 1.0), p=0.0),
        Sample(n((1, 3))),
        Sample(n((3, 5)).T),
        Sample(n((6, 2))[::2]),
    ]


def _pdist_errors(rng):
    n = rng.standard_normal
    return [
        ErrorSample(n(4), error=RuntimeError, match="2D tensors, got: 1D"),
        ErrorSample(n((3, 4)), p=-1.0, error=RuntimeError, match="non-negative p values, got -1.0"),
        ErrorSample(np.ones((3, 4), int), error=RuntimeError, match="floating-point dtypes, got .*int64"),
    ]


RECORDS = [
    OpRecord("nn.functional.cosine_similarity", _cosine_similarity, _cosine_similarity_errors, kind="reduction"),
    OpRecord("nn.functional.pairwise_distance", _pairwise_distance, _pairwise_distance_errors, kind="reduction"),
    OpRecord("cdist", _cdist, _cdist_errors, kind="reduction"),
    OpRecord("pdist", _pdist, _pdist_errors, kind="reduction"),
]
