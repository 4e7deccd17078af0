"""Records of functional/arrangement.py."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ..records import ErrorSample, OpRecord, Sample

Rng = np.random.Generator


def _few(rng: Rng) -> list[Sample]:
    n = rng.standard_normal
    return [
        Sample(n(())),
        Sample(n(3)),
        Sample(n((4, 3)).T),
        Sample(n((2, 1, 3))),
        Sample(n(()), n(2), n((2, 3))),
        Sample((n((0, 2)), n(3))),
        Sample(np.array([1, 2])),
    ]


def _not_tensors(rng: Rng) -> list[ErrorSample]:
    return [ErrorSample((np.ones(2), 3.0), error=TypeError, match="must be Tensor")]


def _columns(rng: Rng) -> list[Sample]:
    n = rng.standard_normal
    return [
        Sample([n(3), n(3)]),
        Sample([n((3, 2)), n(3), n((1, 3)).T]),
        Sample([n(()), n(())]),
        Sample([np.array([1, 2]), n(2)]),
    ]


def _rows(rng: Rng) -> list[Sample]:
    n = rng.standard_normal
    return [Sample([n(3), n(3)]), Sample([n((2, 3)), n(3), n((3, 1)).T]), Sample([n(()), n(())])]


def _depth(rng: Rng) -> list[Sample]:
    n = rng.standard_normal
    return [Sample([n(3), n(3)]), Sample([n((2, 3)), n((2, 3, 2))]), Sample([n(()), n(())]), Sample([n((3, 2)).T])]


def _parts(*shapes: tuple[int, ...], sections: int, indices: list[int]) -> Callable[[Rng], list[Sample]]:
    def samples(rng: Rng) -> list[Sample]:
        return [Sample(rng.standard_normal(s), how) for s in shapes for how in (sections, indices)]

    return samples


def _indivisible(*shape: int) -> Callable[[Rng], list[ErrorSample]]:
    def errors(rng: Rng) -> list[ErrorSample]:
        return [
            ErrorSample(np.ones(shape), 4, error=RuntimeError, match="not divisible into 4"),
            ErrorSample(np.ones(()), 2, error=RuntimeError, match="requires a tensor with at least"),
        ]

    return errors


def _matrices(rng: Rng) -> list[Sample]:
    n = rng.standard_normal
    return [
        Sample(n((2, 3))),
        Sample(n((4, 3)).T),
        Sample(n((2, 1, 4))),
        Sample(n((0, 2))),
        Sample(np.ones((2, 2), int)),
    ]


def _too_few(match: str, *arrays: np.ndarray) -> Callable[[Rng], list[ErrorSample]]:
    return lambda rng: [ErrorSample(x, error=RuntimeError, match=match) for x in arrays]


def _flat(rng: Rng) -> list[Sample]:
    n = rng.standard_normal
    return [Sample(n(3)), Sample(n((2, 2)), 1), Sample(n((2, 3)).T, offset=-1), Sample(n(())), Sample(n((0,)))]


def _blocks(rng: Rng) -> list[Sample]:
    n = rng.standard_normal
    return [Sample(n((2, 3)), n((1, 2)).T), Sample(n(2), n(()), n((2, 2))), Sample(n((2, 2)), np.array([[1, 2]]))]


def _products(rng: Rng) -> list[Sample]:
    n = rng.standard_normal
    return [Sample(n(3), n(2)), Sample(n(2), n(1), n(3)[::-1]), Sample(n(4)), Sample(np.array([1, 2]), np.array([3]))]


def _choices(rng: Rng) -> list[Sample]:
    x = rng.standard_normal(4)
    return [
        Sample(x),
        Sample(x, 3),
        Sample(x[::2], with_replacement=True),
        Sample(x, 1),
        Sample(x, r=5),
        Sample(x, 0),
        Sample(np.arange(3), 2),
    ]


RECORDS = [
    OpRecord("atleast_1d", _few, _not_tensors, kind="exact"),
    OpRecord("atleast_2d", _few, _not_tensors, kind="exact"),
    OpRecord("atleast_3d", _few, _not_tensors, kind="exact"),
    OpRecord("dstack", _depth, kind="exact"),
    OpRecord("column_stack", _columns, kind="exact"),
    OpRecord("row_stack", _rows, kind="exact"),
    OpRecord("hsplit", _parts((6,), (2, 6, 1), sections=3, indices=[1, 4]), _indivisible(3, 6), kind="exact"),
    OpRecord("vsplit", _parts((6, 2), (4, 1, 2), sections=2, indices=[1, 3]), _indivisible(6, 2), kind="exact"),
    OpRecord("dsplit", _parts((2, 1, 6), sections=3, indices=[1, 4]), _indivisible(2, 1, 6), kind="exact"),
    OpRecord(
        "split_with_sizes",
        lambda rng: [Sample(rng.standard_normal((5, 2)), [2, 3]), Sample(rng.standard_normal((2, 3)), [1, 0, 2], 1)],
        kind="exact",
    ),
    OpRecord("fliplr", _matrices, _too_few("must be >= 2-d", np.ones(3)), kind="exact"),
    OpRecord("flipud", _matrices, _too_few("must be >= 1-d", np.ones(())), kind="exact"),
    OpRecord("adjoint", _matrices, _too_few("matrices or batches", np.ones(3)), kind="exact"),
    OpRecord("diagflat", _flat, kind="exact"),
    OpRecord("block_diag", _blocks, _too_few("2 or fewer", np.ones((1, 1, 1))), kind="exact"),
    OpRecord("cartesian_prod", _products, _too_few("one-dimensional", np.ones((2, 2))), kind="exact"),
    OpRecord("combinations", _choices, _too_few("one-dimensional", np.ones((2, 2))), kind="exact"),
]
