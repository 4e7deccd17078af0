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


def _limited(library, indices, weight, max_norm, norm_type=2.0):
    """The rows that are looked up are shortened in place; the table is returned too."""
    table = weight.detach().clone()
    rows = library.nn.functional.embedding(indices, table, max_norm=max_norm, norm_type=norm_type)
    return rows, table


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
