"""Records of `functional/sorting.py`."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..records import ErrorSample, OpRecord, Sample

Rng = np.random.Generator


def _stable(torch: Any, x: Any, dim: int = -1, descending: bool = False) -> Any:
    """PyTorch's sort with equal elements in their order, which is how ours always sorts."""
    return torch.sort(x, dim=dim, descending=descending, stable=True)


def _sort(rng: Rng) -> list[Sample]:
    x = rng.standard_normal((3, 4))
    return [
        Sample(x),
        Sample(x, 0),
        Sample(x.T, -1, True),
        Sample(rng.standard_normal((4, 6))[::2, ::-1], 1, descending=True),
        Sample(np.array([2.0, np.nan, -np.inf, 1.0, np.nan, np.inf, -0.0, 0.0])),
        Sample(np.array([2.0, np.nan, -np.inf, 1.0, np.nan, np.inf, -0.0, 0.0]), 0, True),
        Sample(rng.standard_normal((3, 0))),
        Sample(rng.standard_normal((0, 3)), 1),
        Sample(np.asarray(1.5)),
        Sample(rng.integers(0, 3, (3, 4)), 1, True),
        Sample(np.array([255, 0, 3], np.uint8), 0, True),
        Sample(np.array([True, False, True])),
    ]


def _ties(rng: Rng) -> list[Sample]:
    x = np.round(rng.standard_normal((4, 5)))
    return [Sample(x, 0), Sample(x, 1, True), Sample(np.round(rng.standard_normal(200)), 0, True)]


def _dim_errors(rng: Rng, *before: Any) -> list[ErrorSample]:
    x = rng.standard_normal((3, 4))
    return [ErrorSample(x, *before, d, error=IndexError, match=f"out of range.*but got {d}") for d in (2, -3)]


def _msort(rng: Rng) -> list[Sample]:
    x = rng.standard_normal((3, 4))
    return [Sample(x), Sample(x.T), Sample(np.array([2, 0, 1]))]


def _topk(rng: Rng) -> list[Sample]:
    x = rng.standard_normal((3, 6))
    return [
        Sample(x, 2),
        Sample(x, 6),
        Sample(x, 0),
        Sample(x, 2, 0),
        Sample(x.T, 4, dim=0),
        Sample(x, 3, -1, False),
        Sample(x, 3, largest=False, sorted=True),
        Sample(x[:, ::-2], 2),
        Sample(np.array([1.0, np.nan, 3.0, -np.inf]), 2),
        Sample(np.array([1.0, np.nan, 3.0, -np.inf]), 2, largest=False),
        Sample(np.asarray(1.5), 1),
        Sample(rng.standard_normal((0, 4)), 2),
        Sample(rng.permutation(10), 3),
    ]


def _topk_errors(rng: Rng) -> list[ErrorSample]:
    x = rng.standard_normal((3, 6))
    return [
        ErrorSample(x, 7, error=RuntimeError, match="k out of range: k is 7, the dimension has size 6"),
        ErrorSample(x, -1, error=RuntimeError, match="k out of range"),
        ErrorSample(np.asarray(1.5), 2, error=RuntimeError, match="k out of range"),
        *_dim_errors(rng, 1),
    ]


def _kthvalue(rng: Rng) -> list[Sample]:
    x = rng.standard_normal((3, 5))
    return [
        Sample(x, 1),
        Sample(x, 3, 0),
        Sample(x.T, 2, -2, True),
        Sample(x, 5, dim=1, keepdim=True),
        Sample(np.asarray(1.5), 1),
        Sample(np.array([1.0, np.nan, 3.0]), 3),
        Sample(rng.permutation(10), 4),
    ]


def _kthvalue_errors(rng: Rng) -> list[ErrorSample]:
    x = rng.standard_normal((3, 5))
    return [
        ErrorSample(x, 0, error=RuntimeError, match="k out of range for dimension 1|k is 0"),
        ErrorSample(x, 6, error=RuntimeError, match="k is 6, size is 5"),
        *_dim_errors(rng, 1),
    ]


def _unique(rng: Rng) -> list[Sample]:
    x = np.array([[3, 1, 3], [0, 1, 1]])
    rows = np.array([[1, 2], [0, 5], [1, 2], [1, 0]])
    return [
        Sample(x),
        Sample(x, return_inverse=True),
        Sample(x, return_counts=True),
        Sample(x, True, True, True),
        Sample(x.T, return_inverse=True, return_counts=True),
        Sample(rows, dim=0),
        Sample(rows, return_inverse=True, return_counts=True, dim=0),
        Sample(rows, return_inverse=True, dim=-1),
        Sample(np.array([2.0, np.nan, 2.0, np.nan, -1.0]), return_counts=True),
        Sample(np.array([True, False, True]), return_counts=True),
        Sample(np.asarray(3.0), return_inverse=True),
        Sample(np.zeros((0,)), return_inverse=True, return_counts=True),
    ]


def _searchsorted(rng: Rng) -> list[Sample]:
    edges = np.array([1.0, 3.0, 3.0, 5.0])
    rows = np.sort(rng.standard_normal((2, 3, 4)))
    return [
        Sample(edges, np.array([0.0, 1.0, 3.0, 4.0, 5.0, 9.0, np.nan])),
        Sample(edges, np.array([[1.0, 3.0], [5.0, 0.0]]), right=True),
        Sample(edges, np.array([3.0]), side="right"),
        Sample(edges, np.array([3.0]), side="left"),
        Sample(edges, 3.0),
        Sample(edges, np.asarray(4.0), out_int32=True),
        Sample(rows, rng.standard_normal((2, 3, 5))),
        Sample(rows[0], rows[0, :, ::-1].copy(), right=True),
        Sample(rows[:0], rows[:0]),
        Sample(edges[[2, 0, 3, 1]], np.array([2.0, 3.0]), sorter=np.array([1, 3, 0, 2])),
        Sample(np.array([1, 5, 9]), np.array([5, 6])),
    ]


def _searchsorted_errors(rng: Rng) -> list[ErrorSample]:
    edges = np.arange(4.0)
    return [
        ErrorSample(edges, edges, side="middle", error=RuntimeError, match="'left' or 'right' but got middle"),
        ErrorSample(edges, edges, side="left", right=True, error=RuntimeError, match="opposites"),
        ErrorSample(edges.reshape(2, 2), edges, error=RuntimeError, match="1 dimension or the first N-1 dimensions"),
    ]


def _isin(rng: Rng) -> list[Sample]:
    x = np.array([[1, 2], [3, 4]])
    return [
        Sample(x, np.array([2, 4, 9])),
        Sample(x, np.array([[2], [4]]), invert=True),
        Sample(x, np.array([4, 2]), assume_unique=True),
        Sample(x, 3),
        Sample(3, x),
        Sample(np.array([1.5, np.nan]), np.array([1.5, np.nan])),
        Sample(x, np.zeros((0,), np.int64)),
        Sample(np.asarray(1), np.array([1])),
    ]


RECORDS = [
    OpRecord("sort", _sort, _dim_errors, torch=_stable, kind="exact"),
    OpRecord("Tensor.sort", _ties, torch=_stable, kind="exact", gradcheck=False, note="equal elements change places"),
    OpRecord("argsort", lambda rng: _sort(rng) + _ties(rng), _dim_errors, differentiable=False,
             torch=lambda *args, **kwargs: _stable(*args, **kwargs)[1]),
    OpRecord("msort", _msort, kind="exact"),
    OpRecord("topk", _topk, _topk_errors, kind="exact"),
    OpRecord("kthvalue", _kthvalue, _kthvalue_errors, kind="exact"),
    OpRecord("unique", _unique, differentiable=False),
    OpRecord("searchsorted", _searchsorted, _searchsorted_errors, differentiable=False),
    OpRecord("isin", _isin, differentiable=False),
]  # fmt: skip
