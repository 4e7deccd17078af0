"""Records of softmax and its relatives, and of what brings vectors to a standard scale."""

from __future__ import annotations

import numpy as np

from ..records import DType, ErrorSample, OpRecord, Sample


def _softmax(rng):
    n = rng.standard_normal
    return [
        Sample(n((3, 4)), dim=-1),
        Sample(n((3, 4)), dim=0),
        Sample(n((2, 3, 4)), 1),
        Sample(n((2, 3, 4, 2)), -2),
        Sample(np.array(0.3), 0),
        Sample(n((1,)), 0),
        Sample(n((3, 1)), 1),
        Sample(n((3, 0)), 1),
        Sample(n((0, 3)), 1),
        Sample(n((4, 3)).T, 1),
        Sample(n((6, 5))[::2], -1),
        Sample(np.array([[1e4, 1e4 + 1, -1e4], [-1e4, -1e4, -1e4 - 2]]), 1),  # exp would overflow or vanish
        Sample(np.array([[0.0, -np.inf, 1.0], [2.0, 2.0, 2.0]]), 1),
        Sample(np.array([[-np.inf, -np.inf], [np.inf, 0.0], [np.nan, 0.0]]), 1),  # rows of NaN
        Sample(n((3, 4)).astype(np.float32), 1, dtype=DType("float64")),
        Sample(n((3, 4)).astype(np.float16), 1),
        Sample(rng.integers(-5, 5, (3, 4)), 1, dtype=DType("float32")),
    ]


def _softmax_errors(rng):
    x = rng.standard_normal((3, 4))
    return [
        ErrorSample(x, 2, error=IndexError, match=r"\[-2, 1\], but got 2"),
        ErrorSample(np.ones((3, 4), int), 1, error=NotImplementedError, match="int64; convert it"),
        ErrorSample([1.0], 0, error=TypeError, match="must be Tensor, not list"),
    ]


def _layer_norm(rng):
    n = rng.standard_normal
    return [
        Sample(n((3, 8)), (8,), n(8), n(8)),
        Sample(n((3, 8)), [8]),
        Sample(n((2, 3, 8)), (8,), n(8)),
        Sample(n((2, 3, 8)), (8,), None, n(8)),
        Sample(n((2, 3, 4)), (3, 4), n((3, 4)), n((3, 4))),  # several axes
        Sample(n((2, 3, 4)), (2, 3, 4)),
        Sample(n(8), (8,), n(8), n(8)),
        Sample(n((3, 8)) * 100 + 50, (8,), n(8), n(8), eps=0.1),
        Sample(n((3, 1)), (1,), n(1), n(1), eps=0.1),
        Sample(n((0, 8)), (8,), n(8), n(8)),
        Sample(n((3, 0)), (0,), n(0), n(0)),
        Sample(n((8, 3)).T, (8,), n(16)[::2], n(8)),
        Sample(np.ones((2, 4)), (4,), n(4), n(4)),  # no variance
        Sample(np.array([[1.0, np.inf, 2.0], [1.0, 2.0, 4.0]]), (3,)),
    ]


def _layer_norm_errors(rng):
    x = rng.standard_normal((2, 3))
    return [
        ErrorSample(x, (4,), error=RuntimeError, match=r"normalized_shape=\[4\].*\[2, 3\]"),
        ErrorSample(x, (), error=RuntimeError, match="at least one"),
        ErrorSample(x, 3, error=TypeError, match=r"not int; write \(3,\)"),
        ErrorSample(x, (3,), np.ones(4), error=RuntimeError, match=r"weight of the shape .*\[4\]"),
        ErrorSample(x, (3,), np.ones(3, np.float32), error=RuntimeError, match="float64, got float32"),
        ErrorSample(np.ones((2, 3), int), (3,), error=NotImplementedError, match="int64"),
    ]


def _rms_norm(rng):
    n = rng.standard_normal
    return [
        Sample(n((3, 8)), (8,), n(8)),
        Sample(n((3, 8)), [8]),
        Sample(n((2, 3, 4)), (3, 4), n((3, 4)), eps=0.1),
        Sample(n(8), (8,), n(8), 1e-3),
        Sample(n((3, 1)), (1,), n(1)),
        Sample(n((0, 8)), (8,), n(8)),
        Sample(n((8, 3)).T, (8,), n(16)[::2]),
        Sample(np.zeros((2, 4)), (4,), n(4), 1e-2),
    ]


def _rms_norm_errors(rng):
    x = rng.standard_normal((2, 3))
    return [
        ErrorSample(x, (4,), error=RuntimeError, match=r"normalized_shape=\[4\].*\[2, 3\]"),
        ErrorSample(x, (3,), np.ones(4), error=RuntimeError, match=r"weight of the shape .*\[4\]"),
        ErrorSample(np.ones((2, 3), int), (3,), error=NotImplementedError, match="int64"),
    ]


def _normalize(rng):
    n = rng.standard_normal
    return [
        Sample(n((3, 4))),
        Sample(n((2, 3, 4)), dim=-1),
        Sample(n((3, 4)), p=1, dim=0),
        Sample(n((3, 4)), p=3.0),
        Sample(n(4), dim=0),
        Sample(n((0, 3))),
        Sample(n((4, 3)).T),
        Sample(np.array([[0.0, 0.0], [3.0, 4.0]]), eps=1e-3),  # a vector without a direction
        Sample(n((3, 4)) * 1e-3, eps=0.5),
    ]


def _normalize_errors(rng):
    return [
        ErrorSample(rng.standard_normal(3), error=IndexError, match=r"\[-1, 0\], but got 1"),
        ErrorSample(np.ones((2, 3), int), error=RuntimeError, match="int64"),
    ]


def _without_dim(rng):
    return [Sample(rng.standard_normal(shape)) for shape in ((3,), (3, 4), (2, 3, 4), (2, 3, 4, 2))]


RECORDS = [
    OpRecord("softmax", _softmax, _softmax_errors, kind="reduction"),
    OpRecord("log_softmax", _softmax, _softmax_errors, kind="reduction"),
    OpRecord("nn.functional.softmax", _without_dim, kind="reduction", differentiable=False, note="warns"),
    OpRecord("nn.functional.softmin", lambda rng: _softmax(rng)[:12], kind="reduction"),
    OpRecord("nn.functional.layer_norm", _layer_norm, _layer_norm_errors, kind="reduction"),
    OpRecord("nn.functional.rms_norm", _rms_norm, _rms_norm_errors, kind="reduction"),
    OpRecord("nn.functional.normalize", _normalize, _normalize_errors, kind="reduction"),
]
