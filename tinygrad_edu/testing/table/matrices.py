"""Records of functional/matrices.py."""

from __future__ import annotations

import math

import numpy as np

from ..records import ErrorSample, OpRecord, Sample

Rng = np.random.Generator


def _batched(rng: Rng) -> list[Sample]:
    n = rng.standard_normal
    a, b = n((3, 2, 4)), n((3, 4, 5))
    return [
        Sample(n((2, 5)), a, b),
        Sample(n(5), a, b, beta=0.5, alpha=2.0),
        Sample(n((2, 5)), a, b, beta=0),
        Sample(n((2, 5)), np.zeros((0, 2, 4)), np.zeros((0, 4, 5))),
    ]


def _bad_batch(rng: Rng) -> list[ErrorSample]:
    return [ErrorSample(np.ones((2, 2)), np.ones((1, 2, 3)), np.ones((1, 2, 2)), error=RuntimeError, match="size")]


def _outer_added(rng: Rng) -> list[Sample]:
    n = rng.standard_normal
    return [
        Sample(n((2, 3)), n(2), n(3)),
        Sample(n((3, 2)).T, n(4)[::2], n(3), beta=2.0, alpha=0.5),
        Sample(np.ones((2, 2), int), np.array([1, 2]), np.array([3, 4])),
    ]


def _squares(rng: Rng) -> list[Sample]:
    n = rng.standard_normal
    x = n((3, 3))
    return [Sample(x, 3), Sample(x.T, 2), Sample(n((2, 3, 3)), 5), Sample(x, 1), Sample(x, 0), Sample(n((0, 2, 2)), 2)]


def _not_square(rng: Rng) -> list[ErrorSample]:
    return [ErrorSample(np.ones((2, 3)), 2, error=RuntimeError, match="square")]


def _chains(rng: Rng) -> list[Sample]:
    n = rng.standard_normal
    return [
        Sample([n((2, 3)), n((3, 4))]),
        Sample([n((2, 3)), n((4, 3)).T, n((4, 5)), n((5, 2))]),
        Sample([n(3), n((3, 4)), n(4)]),
        Sample([n(3), n((3, 4))]),
    ]


def _one(rng: Rng) -> list[ErrorSample]:
    return [ErrorSample([np.ones((2, 2))], error=RuntimeError, match="at least 2")]


def _vectors(rng: Rng) -> list[Sample]:
    n = rng.standard_normal
    return [Sample(n(3), n(3)), Sample(n((2, 3)), n(3)), Sample(n((3, 2)), n((3, 1)), dim=0), Sample(n((0, 3)), n(3))]


def _crossed(rng: Rng) -> list[Sample]:
    n = rng.standard_normal
    return [Sample(n(3), n(3)), Sample(n((2, 3)), n((2, 3)), dim=1), Sample(n((3, 2)), n((3, 2)), dim=0)]


def _any_crossed(rng: Rng) -> list[Sample]:
    n = rng.standard_normal
    return [*_crossed(rng), Sample(n((3, 4)), n((3, 4))), Sample(np.array([1, 2, 3]), np.array([4, 5, 6]))]


def _not_three(rng: Rng) -> list[ErrorSample]:
    return [ErrorSample(np.ones((2, 4)), np.ones((2, 4)), dim=1, error=RuntimeError, match="must have length 3")]


def _diagonals(rng: Rng) -> list[Sample]:
    n = rng.standard_normal
    return [Sample(n((3, 4))), Sample(n((2, 3, 4)), offset=1), Sample(n((2, 3, 4)), offset=-1, dim1=0, dim2=2)]


def _vector_norms(rng: Rng) -> list[Sample]:
    n = rng.standard_normal
    x = n((3, 4))
    return [
        Sample(x),
        Sample(x.T, 1, 0),
        Sample(x, math.inf, -1, True),
        Sample(x, 3.5, dim=(0, 1)),
        Sample(x, -math.inf, 1),
        Sample(n(()), 2),
        Sample(np.zeros((0, 3)), 2, 0),
    ]


def _not_floating(rng: Rng) -> list[ErrorSample]:
    return [ErrorSample(np.array([[1, 2]]), error=RuntimeError, match="floating")]


def _matrix_norms(rng: Rng) -> list[Sample]:
    n = rng.standard_normal
    x = n((3, 4))
    found = [Sample(x, ord) for ord in ("fro", 1, -1, math.inf, -math.inf)]
    found += [Sample(n((2, 3, 4)), 1, (0, 2)), Sample(n((2, 3, 4)), math.inf, (2, 0), True)]
    return [*found, Sample(n((2, 3, 4))), Sample(n((4, 3)).T, 1, keepdim=True)]


def _norms(rng: Rng) -> list[Sample]:
    n = rng.standard_normal
    x = n((2, 3, 4))
    return [
        Sample(x),
        Sample(n(3), 1),
        Sample(n((3, 4)), "fro"),
        Sample(n((3, 4)), 1),
        Sample(x, 1, 1),
        Sample(x, math.inf, (1, 2), True),
        Sample(x, dim=(0, 2)),
    ]


RECORDS = [
    OpRecord("addbmm", _batched, _bad_batch, kind="reduction"),
    OpRecord("addr", _outer_added, kind="reduction"),
    OpRecord("ger", lambda rng: [Sample(rng.standard_normal(2), rng.standard_normal(3))], kind="reduction"),
    OpRecord("matrix_power", _squares, _not_square, kind="reduction"),
    OpRecord("linalg.multi_dot", _chains, _one, kind="reduction"),
    OpRecord("linalg.vecdot", _vectors, kind="reduction"),
    OpRecord("cross", _any_crossed, _not_three, kind="reduction"),
    OpRecord("linalg.cross", _crossed, _not_three, kind="reduction"),
    OpRecord("linalg.diagonal", _diagonals, kind="exact"),
    OpRecord("linalg.vector_norm", _vector_norms, _not_floating, kind="reduction"),
    OpRecord("linalg.matrix_norm", _matrix_norms, _not_floating, kind="reduction"),
    OpRecord("linalg.norm", _norms, _not_floating, kind="reduction"),
]
