"""Records of functional/statistics.py."""

from __future__ import annotations

import numpy as np

from ..records import Constant, ErrorSample, OpRecord, Sample

Rng = np.random.Generator
INTEGERS = np.array([[3, -2, 0], [7, 1, -5]])


def _holes(rng: Rng) -> np.ndarray:
    x = rng.standard_normal((3, 4))
    x[0, 1] = x[1, 3] = x[1, 0] = np.nan
    return x


def _with_nan(rng: Rng) -> list[Sample]:
    n = rng.standard_normal
    x = _holes(rng)
    return [
        Sample(x),
        Sample(x, 1),
        Sample(x.T, 0, keepdim=True),
        Sample(n((2, 3)), -1),
        Sample(n(())),
        Sample(n((5, 1)), 1),
    ]


def _nan_means(rng: Rng) -> list[Sample]:
    return [*_with_nan(rng), Sample(_holes(rng), (0, 1)), Sample(np.zeros((0, 2)), 0)]


def _shares(rng: Rng) -> list[Sample]:
    n = rng.standard_normal
    x, q = n((3, 5)), np.array([0.0, 0.3, 1.0])
    found = [Sample(x, 0.4), Sample(x, Constant(q)), Sample(x, Constant(q), 1), Sample(x.T, 0.25, 0, True)]
    found += [Sample(x, Constant(q), -1, True), Sample(x, 0.6, keepdim=True), Sample(n(()), 0.5), Sample(n(1), 0.5)]
    found += [Sample(x, Constant(q), dim=0, interpolation=how) for how in ("lower", "higher", "midpoint", "nearest")]
    return [*found, Sample(_holes(rng), 0.4, 1), Sample(_holes(rng), Constant(q), 0)]


def _bad_shares(rng: Rng) -> list[ErrorSample]:
    return [
        ErrorSample(np.ones(3), 1.5, error=RuntimeError, match="range"),
        ErrorSample(INTEGERS, 0.5, error=RuntimeError, match="float or double"),
        ErrorSample(np.ones(0), 0.5, error=RuntimeError, match="non-empty"),
        ErrorSample(np.ones(3), 0.5, interpolation="cubic", error=RuntimeError, match="interpolation"),
        ErrorSample(np.ones(3), 0.5, 1, error=IndexError, match="out of range"),
    ]


def _running(rng: Rng) -> list[Sample]:
    n = rng.standard_normal
    tied = np.array([[1.0, 1.0, 0.0, 2.0, 2.0], [np.nan, 1.0, 2.0, np.nan, 3.0]])
    return [
        Sample(n((3, 4)), 1),
        Sample(n((4, 3)).T, 0),
        Sample(n(5)[::-1], -1),
        Sample(n(()), 0),
        Sample(np.zeros((0, 2)), 1),
        Sample(tied, 1),
        Sample(INTEGERS, 0),
    ]


def _running_logs(rng: Rng) -> list[Sample]:
    n = rng.standard_normal
    return [
        Sample(n((3, 5)), 1),
        Sample(n((9, 3)).T, -1),
        Sample(n((4, 2)), 0),
        Sample(n(5)[::-1] * 40, 0),
        Sample(n(()), 0),
        Sample(np.zeros((0, 2)), 0),
        Sample(np.array([1.0, 200.0, -200.0, 199.0]), 0),
    ]


def _not_whole(rng: Rng) -> list[ErrorSample]:
    return [
        ErrorSample(INTEGERS, 1, error=NotImplementedError, match="not implemented for"),
        ErrorSample(np.ones((2, 3)), 2, error=IndexError, match="out of range"),
    ]


def _wrong_dim(rng: Rng) -> list[ErrorSample]:
    return [ErrorSample(np.ones((2, 3)), 2, error=IndexError, match="out of range")]


def _differences(rng: Rng) -> list[Sample]:
    n = rng.standard_normal
    return [
        Sample(n((3, 4))),
        Sample(n((3, 4)), 2),
        Sample(n((4, 3)).T, 1, 0),
        Sample(n(3), prepend=n(2), append=n(1)),
        Sample(n((2, 3)), 5),
        Sample(n((2, 3)), 0),
        Sample(INTEGERS),
        Sample(np.array([True, False, False])),
    ]


def _no_differences(rng: Rng) -> list[ErrorSample]:
    return [
        ErrorSample(np.ones(()), error=RuntimeError, match="at least one-dimensional"),
        ErrorSample(np.ones(3), -1, error=RuntimeError, match="non-negative"),
    ]


def _curves(rng: Rng) -> list[Sample]:
    n = rng.standard_normal
    x = np.array([0.0, 0.5, 2.0, 3.0])
    return [
        Sample(n((3, 4))),
        Sample(n((3, 4)), dx=0.5),
        Sample(n((3, 4)), x),
        Sample(n((4, 3)), x, dim=0),
        Sample(n((3, 4)), n((3, 4))),
        Sample(n(1)),
    ]


def _counted(rng: Rng) -> list[Sample]:
    x = rng.standard_normal((4, 10))
    return [
        Sample(x, 5),
        Sample(x.T, 4, -1, 1),
        Sample(x, bins=3, min=0, max=2),
        Sample(np.array([2.0, 2.0]), 4),
        Sample(np.array([0.0, 1.0, 2.0, 3.0]), 3),
    ]


def _not_counted(rng: Rng) -> list[ErrorSample]:
    return [
        ErrorSample(np.ones(3), 0, error=RuntimeError, match="bins must be > 0"),
        ErrorSample(np.ones(3), 2, 3, 1, error=RuntimeError, match="max must be larger"),
        ErrorSample(np.array([np.inf]), 2, error=RuntimeError, match="not finite"),
    ]


def _buckets(rng: Rng) -> list[Sample]:
    edges = np.array([-1.0, 0.0, 0.0, 2.0])
    x = np.array([[-2.0, -1.0, 0.0], [1.0, 2.0, 3.0]])
    return [Sample(x, edges), Sample(x, edges, right=True), Sample(x.T, edges, out_int32=True), Sample(1.5, edges)]


def _observations(rng: Rng) -> list[Sample]:
    n = rng.standard_normal
    return [Sample(n((3, 5))), Sample(n((5, 2)).T), Sample(n(6)), Sample(n((1, 4)))]


def _weighted(rng: Rng) -> list[Sample]:
    n = rng.standard_normal
    often, much = np.array([1, 2, 1, 3, 1]), np.array([0.5, 1.0, 2.0, 0.25, 1.0])
    return [
        *_observations(rng),
        Sample(n((3, 5)), correction=0),
        Sample(n((3, 5)), fweights=often),
        Sample(n((3, 5)), aweights=Constant(much)),
        Sample(n((2, 5)), correction=2, fweights=often, aweights=Constant(much)),
        Sample(INTEGERS),
    ]


def _too_deep(rng: Rng) -> list[ErrorSample]:
    return [ErrorSample(np.ones((1, 2, 2)), error=RuntimeError, match="two or fewer dimensions")]


def _apart(rng: Rng) -> list[Sample]:
    n = rng.standard_normal
    return [
        Sample(n((2, 3)), n((2, 3))),
        Sample(n((3, 2)).T, n(3), 1),
        Sample(n(3), n(3), np.inf),
        Sample(n(3), n(3), 3),
    ]


RECORDS = [
    OpRecord("nanmean", _nan_means, kind="reduction"),
    OpRecord("nanmedian", _with_nan, kind="exact"),
    OpRecord("quantile", _shares, _bad_shares),
    OpRecord("nanquantile", _shares, _bad_shares),
    OpRecord("cummax", _running, _wrong_dim, kind="exact"),
    OpRecord("cummin", _running, _wrong_dim, kind="exact"),
    OpRecord("logcumsumexp", _running_logs, _not_whole, kind="reduction"),
    OpRecord("diff", _differences, _no_differences),
    OpRecord("trapezoid", _curves, kind="reduction"),
    OpRecord("trapz", _curves, kind="reduction"),
    OpRecord("cumulative_trapezoid", _curves, kind="reduction"),
    OpRecord("histc", _counted, _not_counted, differentiable=False),
    OpRecord("bucketize", _buckets, differentiable=False, kind="exact"),
    OpRecord("cov", _weighted, _too_deep, kind="reduction"),
    OpRecord("corrcoef", _observations, _too_deep, kind="reduction"),
    OpRecord("dist", _apart, kind="reduction"),
]
