"""Records of softmax and its relatives, and of what brings vectors to a standard scale."""

from __future__ import annotations

import numpy as np

from ..records import Constant, DType, ErrorSample, OpRecord, Sample


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


def _batch_norm(rng):
    n = rng.standard_normal
    x, mean, var = n((3, 2, 4)) * 3 + 1, Constant(n(2)), Constant(n(2) ** 2 + 0.1)
    return [
        Sample(x, None, None, training=True),
        Sample(x, None, None, n(2), n(2), True),
        Sample(x, None, None, None, n(2), True, 0.1, 0.5),
        Sample(n((3, 2)), None, None, n(2), training=True),
        Sample(n((2, 2, 3, 2)), None, None, n(2), n(2), True),
        Sample(n((1, 2, 2, 1, 2)), None, None, n(2), n(2), True),
        Sample(x, mean, var),
        Sample(x, mean, var, n(2), n(2), False, 0.5, 0.1),
        Sample(n((1, 2)), mean, var, n(2)),
        Sample(n((4, 2, 3)).T, Constant(n(2)), var, n(4)[::2], n(2)),
        Sample(n((4, 2, 3)).T, None, None, n(4)[::2], n(2), True),
        Sample(x[:0], mean, var, n(2), n(2)),
        Sample(np.ones((2, 2, 3)), None, None, n(2), n(2), True),  # no variance
        Sample(x.astype(np.float16), None, None, n(2).astype(np.float16), training=True),
        Sample(np.array([[1.0, np.inf], [2.0, 3.0], [np.nan, 0.0]]), mean, var),
    ]


def _batch_norm_errors(rng):
    n = rng.standard_normal
    x, mean, var = n((2, 3, 4)), n(3), n(3) ** 2
    return [
        ErrorSample(x, None, None, error=RuntimeError, match="running_mean must be defined in evaluation mode"),
        ErrorSample(n((1, 3)), mean, var, training=True, error=ValueError, match="more than 1 value per channel"),
        ErrorSample(n((1, 3, 1)), None, None, training=True, error=ValueError, match=r"got input size \(1, 3, 1\)"),
        ErrorSample(x, Constant(mean), None, training=True, error=ValueError, match="either both be None"),
        ErrorSample(n(3), mean, var, error=RuntimeError, match="at least 2 dimensions"),
        ErrorSample(x, n(2), var, error=RuntimeError, match="running_mean should contain 3 elements, not 2"),
        ErrorSample(x, mean, var, n(2), error=RuntimeError, match="weight should contain 3 elements, not 2"),
        ErrorSample(x, mean, var, n(3), n(4), error=RuntimeError, match="bias should contain 3 elements, not 4"),
        ErrorSample(x, mean.astype(np.float32), var, error=RuntimeError, match="dtype of input, float64, got float32"),
        ErrorSample(x.astype(int), Constant(mean), Constant(var), error=NotImplementedError, match="int64"),
        ErrorSample([1.0], mean, var, error=TypeError, match="'input' must be Tensor, not list"),
    ]


def _instance_norm(rng):
    n = rng.standard_normal
    x, mean, var = n((3, 2, 4)) * 3 + 1, Constant(n(2)), Constant(n(2) ** 2 + 0.1)
    return [
        Sample(x),
        Sample(x, None, None, n(2), n(2)),
        Sample(n((2, 2, 3, 2)), weight=n(2), eps=0.5),
        Sample(n((1, 2, 2, 1, 2)), bias=n(2)),
        Sample(x, mean, var, n(2), n(2), False),
        Sample(n((1, 2, 1)), mean, var, use_input_stats=False),
        Sample(n((4, 2, 3)).T, None, None, n(4)[::2], n(2)),
        Sample(x[:0]),
    ]


def _instance_norm_errors(rng):
    n = rng.standard_normal
    x, mean, var = n((2, 3, 4)), n(3), n(3) ** 2
    return [
        ErrorSample(n((2, 3, 1)), error=ValueError, match="more than 1 spatial element"),
        ErrorSample(n((2, 3)), error=ValueError, match="more than 1 spatial element"),
        ErrorSample(x, use_input_stats=False, error=RuntimeError, match="to be defined when use_input_stats is false"),
        ErrorSample(x, Constant(mean), error=ValueError, match="either both be None"),
        ErrorSample(x, n(2), var, error=RuntimeError, match="running_mean should contain 3 elements, not 2"),
        ErrorSample(x, weight=n(2), error=RuntimeError, match="weight should contain 3 elements, not 2"),
        ErrorSample(x.astype(int), error=NotImplementedError, match="int64"),
    ]


def _group_norm(rng):
    n = rng.standard_normal
    x = n((2, 6, 3)) * 3 + 1
    return [
        Sample(x, 3),
        Sample(x, 1, n(6), n(6)),
        Sample(x, 6, n(6), n(6), 0.5),
        Sample(x, 2, n(6)),
        Sample(n((3, 4)), 2, n(4), n(4)),
        Sample(n((1, 4, 2, 1, 2)), 2, n(4), n(4)),
        Sample(n((3, 4, 2)).T, 2, n(8)[::2], n(4)),
        Sample(x[:0], 3, n(6), n(6)),
        Sample(np.ones((2, 4, 2)), 2, n(4), n(4)),  # no variance
    ]


def _group_norm_errors(rng):
    n = rng.standard_normal
    x = n((2, 6, 3))
    return [
        ErrorSample(x, 4, error=RuntimeError, match=r"divisible by num_groups.*\[2, 6, 3\] and num_groups=4"),
        ErrorSample(x, -3, error=RuntimeError, match="num_groups=-3"),
        ErrorSample(x, 3, n(5), error=RuntimeError, match="weight should contain 6 elements, not 5"),
        ErrorSample(x, 3, n(6), n(5), error=RuntimeError, match="bias should contain 6 elements, not 5"),
        ErrorSample(n(6), 3, error=RuntimeError, match="at least 2 dimensions"),
        ErrorSample(n((1, 6)), 6, error=ValueError, match="more than 1 value per group"),
        ErrorSample(x.astype(int), 3, error=NotImplementedError, match="int64"),
    ]


def _local_response_norm(rng):
    x = rng.standard_normal((2, 5, 3)) * 3
    return [
        Sample(x, 2, 1.0),
        Sample(x, 3, alpha=0.5, beta=0.5, k=2.0),
        Sample(x, 1, 1.0),
        Sample(x, 9, 1.0),
        Sample(x[:0], 2),
        Sample(x, 4),
        Sample(rng.standard_normal((1, 4, 2, 2)), 3, 1.0),
        Sample(rng.standard_normal((2, 2, 4, 1, 1)).swapaxes(1, 2), 2, 1.0),
    ]


def _local_response_norm_errors(rng):
    x = rng.standard_normal((2, 3))
    return [
        ErrorSample(x, 2, error=ValueError, match="3 or more dimensions, got 2"),
        ErrorSample(x[None], 0, error=RuntimeError, match="kernel_size must be at least 1"),
    ]


RECORDS = [
    OpRecord("softmax", _softmax, _softmax_errors, kind="reduction"),
    OpRecord("log_softmax", _softmax, _softmax_errors, kind="reduction"),
    OpRecord("nn.functional.softmax", _without_dim, kind="reduction", differentiable=False, note="warns"),
    OpRecord("nn.functional.softmin", lambda rng: _softmax(rng)[:12], kind="reduction"),
    OpRecord("nn.functional.layer_norm", _layer_norm, _layer_norm_errors, kind="reduction"),
    OpRecord("nn.functional.rms_norm", _rms_norm, _rms_norm_errors, kind="reduction"),
    OpRecord("nn.functional.normalize", _normalize, _normalize_errors, kind="reduction"),
    OpRecord("nn.functional.batch_norm", _batch_norm, _batch_norm_errors, kind="reduction"),
    OpRecord("nn.functional.instance_norm", _instance_norm, _instance_norm_errors, kind="reduction"),
    OpRecord("nn.functional.group_norm", _group_norm, _group_norm_errors, kind="reduction"),
    OpRecord("nn.functional.local_response_norm", _local_response_norm, _local_response_norm_errors, kind="reduction"),
]
