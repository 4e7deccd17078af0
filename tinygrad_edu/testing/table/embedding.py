"""Records of looking up rows of a table."""

from __future__ import annotations

import numpy as np

from ..records import ErrorSample, OpRecord, Sample


def _samples(rng):
    n, indices = rng.standard_normal, rng.integers
    return [
        Sample(indices(0, 7, (3, 5)), n((7, 4))),  # some rows more than once, some never
        Sample(np.array([2, 2, 2, 0]), n((7, 4))),
        Sample(np.array(3), n((7, 4))),
        Sample(indices(0, 7, (2, 3, 2)), n((7, 1))),
        Sample(np.zeros((0, 3), int), n((7, 4))),
        Sample(indices(0, 7, (5, 3)).T, n((4, 7)).T),
        Sample(indices(0, 7, 6).astype(np.int32), n((7, 4))),
        Sample(np.array([1, 2]), n((3, 2)).astype(np.float16)),
    ]


def _other_gradients(rng):
    n, indices = rng.standard_normal, np.array([1, 2, 1, 0])
    return [
        Sample(indices, n((3, 2)), padding_idx=1),
        Sample(indices, n((3, 2)), -1),
        Sample(indices, n((3, 2)), scale_grad_by_freq=True),
        Sample(indices, n((3, 2)), padding_idx=2, scale_grad_by_freq=True),
        Sample(np.array([0, 2, 2, 5, 0, 2]), n((7, 3)), scale_grad_by_freq=True),
    ]


def _errors(rng):
    w = rng.standard_normal((3, 2))
    return [
        ErrorSample(np.array([0, 3]), w, error=IndexError, match="index 3 is out of range for the 3 rows"),
        ErrorSample(np.array([-1, 0]), w, error=IndexError, match="index -1 is out of range for the 3 rows"),
        ErrorSample(np.array([1.0]), w, error=RuntimeError, match="integer indices, got float64"),
        ErrorSample(np.array([1]), w[0], error=RuntimeError, match=r"2-D.*\(2,\)"),
        ErrorSample(np.array([1]), w, 3, error=AssertionError, match="padding_idx 3 must be a row of weight, 0 .. 2"),
    ]


def _embedding(library, *args, **kwargs):
    return library.nn.functional.embedding(*args, **kwargs)


def _bags(rng):
    n, i = rng.standard_normal, rng.integers(0, 7, 9)
    w, square = n((7, 4)), rng.integers(0, 7, (3, 4))
    modes = "mean", "sum", "max"
    return [
        *(Sample(square, w, mode=m) for m in modes),
        *(Sample(i, w, np.array([0, 2, 2, 5]), mode=m) for m in modes),  # one bag is empty
        *(Sample(i, w, np.array([0, 0, 9]), mode=m) for m in modes),
        *(Sample(i, w, np.array([0, 4, 9]), mode=m, include_last_offset=True) for m in modes),
        *(Sample(np.array([[1, 1, 1], [0, 1, 2]]), w, mode=m, padding_idx=1) for m in modes),
        *(Sample(np.zeros(0, int), w, np.zeros(2, int), mode=m) for m in modes),
        Sample(square, w, mode="sum", per_sample_weights=n((3, 4))),
        Sample(i, w, np.array([0, 3]), mode="sum", per_sample_weights=n(9), padding_idx=-3),
        Sample(square.T, n((4, 7)).T),
        Sample(i.astype(np.int32), w, np.array([0, 4], np.int32)),
        Sample(np.array([[0, 1], [1, 0]]), np.array([[1.0, 2.0], [1.0, 0.5]]), mode="max"),  # a tie
    ]


def _bag_errors(rng):
    w, i, square = rng.standard_normal((4, 3)), np.array([0, 1, 2, 3]), np.array([[0, 1], [2, 1]])
    weights = rng.standard_normal((2, 2))
    return [
        ErrorSample(i, w, np.array([1, 3]), error=RuntimeError, match=r"start from 0.*; got \[1, 3\]"),
        ErrorSample(i, w, np.array([0, 5]), error=RuntimeError, match="input's length 4"),
        ErrorSample(i, w, error=ValueError, match="1D Tensor .* got None"),
        ErrorSample(i, w, np.array([[0]]), error=ValueError, match=r"1D Tensor .* got shape \(1, 1\)"),
        ErrorSample(i, w, np.array([0.0]), error=RuntimeError, match="integer offsets, got float64"),
        ErrorSample(square, w, np.array([0]), error=ValueError, match="offsets has to be None"),
        ErrorSample(square + 2, w, error=RuntimeError, match="index 4 is out of range for the 4 rows"),
        ErrorSample(square - 1, w, error=RuntimeError, match="index -1 is out of range"),
        ErrorSample(square.astype(float), w, error=RuntimeError, match="integer indices, got float64"),
        ErrorSample(np.array(1), w, error=ValueError, match=r"1D or 2D Tensor, but got shape \(\)"),
        ErrorSample(square, w[0], error=ValueError, match="weight has to be a 2D Tensor"),
        ErrorSample(square, w, mode="min", error=ValueError, match="got 'min'"),
        ErrorSample(square, w, mode="max", scale_grad_by_freq=True, error=ValueError, match="max mode"),
        ErrorSample(square, w, mode="mean", per_sample_weights=weights, error=NotImplementedError, match="got 'mean'"),
        ErrorSample(square, w, mode="sum", per_sample_weights=weights[0], error=ValueError, match="the same shape"),
        ErrorSample(
            square, w, mode="sum", per_sample_weights=weights.astype(np.float32), error=RuntimeError, match="same dtype"
        ),
        ErrorSample(square, w, padding_idx=5, error=RuntimeError, match="but got 5"),
    ]


def _limited(library, indices, weight, max_norm, norm_type=2.0):
    """The rows that are looked up are shortened in place; the table is returned too."""
    table = weight.detach().clone()
    rows = library.nn.functional.embedding(indices, table, max_norm=max_norm, norm_type=norm_type)
    return rows, table


def _tied(library, indices, weight, factor):
    """The gradient of the rows is added to one that is not laid out row after row: that of the transpose."""
    return library.nn.functional.embedding(indices, weight), weight.T * factor


RECORDS = [
    OpRecord("nn.functional.embedding", _samples, _errors, kind="reduction"),
    OpRecord(
        "nn.functional.embedding (other gradients)",
        _other_gradients,
        kind="reduction",
        gradcheck=False,
        torch=_embedding,
        ours=_embedding,
        note="padding_idx and scale_grad_by_freq ask for something else than the derivative",
    ),
    OpRecord(
        "nn.functional.embedding (of a table that is used transposed too)",
        lambda rng: [
            Sample(np.array([3, 0, 3, 6]), rng.standard_normal((7, 4)), rng.standard_normal((4, 7))),
            Sample(np.array([[1], [1]]), rng.standard_normal((2, 3)), rng.standard_normal((3, 2))),
        ],
        kind="reduction",
        torch=_tied,
        ours=_tied,
    ),
    OpRecord("nn.functional.embedding_bag", _bags, _bag_errors, kind="reduction"),
    OpRecord(
        "nn.functional.embedding (max_norm)",
        lambda rng: [
            Sample(np.array([2, 2, 4, 0]), rng.standard_normal((7, 4)), 1.0),
            Sample(np.array([[2, 1]]), rng.standard_normal((7, 4)) * 0.1, 1.0),
            Sample(np.array([5]), rng.standard_normal((7, 4)), 0.5, 1.0),
        ],
        differentiable=False,
        torch=_limited,
        ours=_limited,
    ),
]
