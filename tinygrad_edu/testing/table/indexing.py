"""Records of `functional/indexing.py`."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..records import ErrorSample, OpRecord, Sample

Rng = np.random.Generator
NEW = None  # a new axis in an index
ALL = slice(None)


def _indices(rng: Rng) -> list[Any]:
    """Indices of every kind into a tensor of shape (4, 3, 5)."""
    i, j = np.array([0, 2, 2, -1]), np.array([[1], [0]])
    rows = np.array([True, False, True, True])
    grid = rng.random((4, 3)) < 0.5
    return [
        # views
        0,
        -1,
        (1, 2),
        (1, 2, 3),
        (),
        ALL,
        slice(1, 3),
        slice(None, None, 2),
        slice(-3, -1),
        slice(3, 1),
        slice(-9, 9),
        ...,
        (..., 0),
        (0, ..., slice(1, None)),
        NEW,
        (ALL, NEW, 1),
        (..., NEW),
        (NEW, 0, NEW, ..., NEW),
        np.int64(2),
        np.array(2),
        (np.array(-1), 0),
        slice(np.array(1), np.array(3)),
        # arrays of integers
        i,
        [0, 3, 0],
        (ALL, [[0, 1], [1, 0]]),
        [],
        (i, 0),
        (0, ALL, i),
        (i, ALL, i),
        (ALL, np.array([2, 0, 2])),
        (..., np.array([[4, 0], [1, 1]])),
        (i, np.array([0, 1, 1, 2])),
        (j, np.array([0, 2])),
        (ALL, j, np.array([0, 4])),
        (j, ALL, np.array([0, 2])),
        (i, NEW, ALL, i),
        (slice(1, 3), np.array([0, 0])),
        (slice(1, None, 2), NEW, [0, 2], slice(0, 2)),
        np.array([0, 1], np.int32),
        (i, j, 0),
        np.zeros((2, 0), np.int64),
        # masks
        rows,
        [True, False, False, True],
        grid,
        rng.random((4, 3, 5)) < 0.3,
        (rows, 1),
        (ALL, np.array([True, False, True])),
        (rows, ALL, np.array([0, 4, 4])),
        (rows, np.array([0, 1, 2])),
        (0, ALL, np.array([True, False, False, True, True])),
        (NEW, rows, slice(0, 2)),
        np.zeros(4, bool),
        True,
        False,
        (True, i),
        (..., True),
        (0, True, [1, 1]),
        np.array(True),
    ]


def _getitem(rng: Rng) -> list[Sample]:
    x = rng.standard_normal((4, 3, 5))
    return [
        *(Sample(x, index) for index in _indices(rng)),
        *(Sample(rng.standard_normal((5, 3, 4)).T, index) for index in _indices(rng)),
        Sample(rng.standard_normal((2, 3, 2, 4)), (ALL, [0, 2, 2], ALL, [1, 3, 3])),  # apart, and not at the front
        Sample(rng.standard_normal(()), ()),
        Sample(rng.standard_normal(()), NEW),
        Sample(rng.standard_normal(()), ...),
        Sample(rng.standard_normal(()), True),
        Sample(rng.standard_normal(3), 1),
        Sample(rng.standard_normal((0, 3)), np.zeros(0, np.int64)),
        Sample(rng.standard_normal((4, 0)), [0, 1]),
        Sample(np.arange(12).reshape(3, 4), ([0, 2], slice(1, 3))),
        Sample(np.array([True, False]), [1, 1]),
    ]


def _index_errors(rng: Rng, *value: Any) -> list[ErrorSample]:
    x = rng.standard_normal((4, 3))
    wrong: list[tuple[Any, type[Exception], str]] = [
        (4, IndexError, "index 4 is out of bounds for dimension 0 with size 4"),
        ((0, -4), IndexError, "index -4 is out of bounds for dimension 1 with size 3"),
        ((0, 0, 0), IndexError, "too many indices for tensor of dimension 2"),
        (np.array([0, 4]), IndexError, "index 4 is out of bounds for dimension 0 with size 4"),
        ((ALL, [0, -4]), IndexError, "index -4 is out of bounds for dimension 1 with size 3"),
        ((0, [3]), IndexError, "index 3 is out of bounds for dimension 1 with size 3"),
        (np.ones(3, bool), IndexError, r"shape of the mask \[3\] at index 0 does not match .*\[4, 3\] at index 0"),
        ((0, np.ones(4, bool)), IndexError, "shape of the mask"),
        ((np.arange(2), np.arange(3)), IndexError, r"could not be broadcast together with shapes \[2\], \[3\]"),
        (np.array([1.0]), IndexError, "int64, int32 or bool tensors, got float64"),
        (np.array([1], np.int16), IndexError, "int64, int32 or bool tensors, got int16"),
        (1.5, IndexError, r"only integers, slices .*got float"),
        (slice(None, None, -1), ValueError, "step must be greater than zero"),
        (slice(None, None, 0), ValueError, "step"),
        (slice(0.0, 1), TypeError, "slice indices must be integers"),
    ]
    return [ErrorSample(x, index, *value, error=error, match=match) for index, error, match in wrong] + [
        ErrorSample(np.array(1.0), 0, *value, error=IndexError, match="0-dim tensor"),
    ]


def _assign(module: Any, x: Any, index: Any, value: Any) -> Any:
    x = x.clone()
    x[index] = value
    return x


def _setitem(rng: Rng) -> list[Sample]:
    x = rng.standard_normal((4, 3, 5))
    rows, grid = np.array([True, False, True, True]), rng.random((4, 3)) < 0.5
    # An index, and shapes to assign. No index names an element twice: which value stays is then left open.
    assignments: list[tuple[Any, list[tuple[int, ...]]]] = [
        (0, [(3, 5), (5,), (3, 1), (), (1, 1, 3, 5)]),
        ((-1, 2, 3), [(), (1,), (1, 1)]),
        ((), [(4, 3, 5), (5,)]),
        (..., [(4, 3, 5), ()]),
        (slice(1, 3), [(2, 3, 5), (1, 5)]),
        ((ALL, slice(None, None, 2)), [(4, 2, 5), (2, 1)]),
        ((..., 0), [(4, 3), (3,)]),
        ((ALL, NEW, 1), [(4, 1, 5), (5,)]),
        ((NEW, 0, NEW, ..., NEW), [(1, 1, 3, 5, 1)]),
        (slice(3, 1), [(0, 3, 5), (1,)]),
        (np.array([0, 2, -1]), [(3, 3, 5), (5,), (1, 1, 1, 3, 5)]),
        ([3, 1], [(2, 3, 5)]),
        ([], [(0, 3, 5), ()]),
        ((0, ALL, np.array([0, 3])), [(3, 2), (2,)]),
        ((np.array([0, 2]), ALL, np.array([1, 1])), [(2, 3), (3,)]),
        ((ALL, np.array([[1], [0]]), np.array([0, 4])), [(4, 2, 2), (2, 1)]),
        ((slice(1, 3), [0, 2], NEW), [(2, 2, 1, 5)]),
        (rows, [(3, 3, 5), (1, 5)]),
        (grid, [(int(grid.sum()), 5), (5,), ()]),
        ((ALL, np.array([True, False, True])), [(4, 2, 5)]),
        ((rows, np.array([0, 1, 2])), [(3, 5)]),
        (np.zeros(4, bool), [(), (0, 3, 5)]),
        (True, [(1, 4, 3, 5), (5,)]),
    ]
    return [
        *(Sample(x, index, 1.5) for index in _indices(rng)),
        *(Sample(x, i, np.asarray(rng.standard_normal(shape))) for i, shapes in assignments for shape in shapes),
        Sample(x.T, (ALL, 1), rng.standard_normal((5, 4))),
        Sample(rng.standard_normal(()), (), 2.0),
        Sample(rng.standard_normal(()), ..., np.asarray(rng.standard_normal(()))),
        Sample(x, 0, np.arange(5)),
        Sample(np.arange(6), slice(0, 2), np.array([1.7, -1.7])),
        Sample(np.arange(6), [0, 1], 2.7),
        Sample(np.arange(6), np.arange(6) > 3, True),
        Sample(np.zeros(3, bool), 0, 2),
    ]


def _setitem_errors(rng: Rng) -> list[ErrorSample]:
    x = rng.standard_normal((4, 3))
    return [
        *_index_errors(rng, 0.0),
        ErrorSample(x, 0, np.ones(2), error=RuntimeError, match=r"value tensor of shape \[2\].*\[3\]"),
        ErrorSample(x, slice(0, 2), np.ones((3, 3)), error=RuntimeError, match="cannot be broadcast"),
        ErrorSample(x, [0, 1], np.ones(2), error=RuntimeError, match=r"shape \[2\] cannot be broadcast .* \[2, 3\]"),
        ErrorSample(x, x > 9, np.ones(2), error=RuntimeError, match=r"shape \[2\] cannot be broadcast .* \[0\]"),
    ]


def _index_select(rng: Rng) -> list[Sample]:
    x = rng.standard_normal((4, 3, 2))
    return [
        Sample(x, 0, np.array([0, 2, 2, 3])),
        Sample(x, 1, np.array([1, 0, 1], np.int32)),
        Sample(x.T, -1, np.array([3, 3])),
        Sample(x[::2, :, ::-1], 2, np.array([], np.int64)),
        Sample(x, 0, np.array(1)),
        Sample(np.asarray(1.5), 0, np.array([0])),
        Sample(np.arange(3), 0, np.array([2, 2])),
    ]


def _index_select_errors(rng: Rng) -> list[ErrorSample]:
    x = rng.standard_normal((4, 3))
    return [
        ErrorSample(
            x, 0, np.array([4]), error=IndexError, match="index 4 is out of bounds for dimension 0 with size 4"
        ),
        ErrorSample(x, 1, np.array([-1]), error=RuntimeError, match="index -1 is out of bounds for dimension 1"),
        ErrorSample(x, 0, np.array([[1]]), error=IndexError, match="supposed to be a vector"),
        ErrorSample(x, 0, np.array([1.0]), error=RuntimeError, match="int32 or int64"),
        ErrorSample(x, 2, np.array([1]), error=IndexError, match="Dimension out of range"),
        ErrorSample(x, 0, [1], error=TypeError, match="'index' must be Tensor, not list"),
    ]


def _index_add(rng: Rng) -> list[Sample]:
    x = rng.standard_normal((4, 3))
    return [
        Sample(x, 0, np.array([0, 2, 2]), rng.standard_normal((3, 3))),
        Sample(x.T, 1, np.array([3, 3, 0, 3]), rng.standard_normal((4, 3)).T, alpha=-2),
        Sample(x, -1, np.array([1], np.int32), rng.standard_normal((4, 1)), alpha=0.5),
        Sample(x, 0, np.array([], np.int64), rng.standard_normal((0, 3))),
        Sample(np.asarray(1.5), 0, np.array([0]), np.asarray(2.5)),
        Sample(np.arange(3), 0, np.array([1, 1]), np.array([5, 7])),
    ]


def _index_copy(rng: Rng) -> list[Sample]:
    x = rng.standard_normal((4, 3))
    return [
        Sample(x, 0, np.array([3, 0]), rng.standard_normal((2, 3))),
        Sample(x.T, 1, np.array([3, 1]), rng.standard_normal((3, 2))),
        Sample(np.asarray(1.5), 0, np.array([0]), rng.standard_normal(1)),
    ]


def _write_errors(rng: Rng, outside: type[Exception]) -> list[ErrorSample]:
    x, index = rng.standard_normal((4, 3)), np.array([0, 1])
    return [
        ErrorSample(x, 0, np.array([4]), x[:1], error=outside, match="index 4 is out of bounds for dimension 0"),
        ErrorSample(x, 0, index, x[:2].astype(np.float32), error=RuntimeError, match="same dtype"),
        ErrorSample(x, 2, index, x[:2], error=IndexError, match="Dimension out of range"),
    ]


def _index_fill(rng: Rng) -> list[Sample]:
    x = rng.standard_normal((4, 3))
    return [
        Sample(x, 0, np.array([0, 2, 2]), 1.5),
        Sample(x.T, -1, np.array([-1]), -float("inf")),
        Sample(x, 1, np.array([0, 1]), np.asarray(rng.standard_normal(()))),
        Sample(np.asarray(1.5), 0, np.array([0]), 2.0),
        Sample(np.arange(3), 0, np.array([1]), 2.7),
    ]


def _index_put(rng: Rng) -> list[Sample]:
    x, rows = rng.standard_normal((4, 3)), np.array([0, 2, 2, 0])
    return [
        Sample(x, (np.array([1, 3]),), rng.standard_normal((2, 3))),
        Sample(x, (np.array([1, 3]), np.array([0, 2])), rng.standard_normal(2)),
        Sample(x, (rows,), rng.standard_normal((4, 3)), True),
        Sample(x, (rows, np.array([1, 1, 0, 1])), rng.standard_normal(4), accumulate=True),
        Sample(x, (rows,), rng.standard_normal(3), True),
        Sample(x.T, (np.array([[0], [1]]), rows), rng.standard_normal((2, 1)), True),
        Sample(x, (x > 0,), np.asarray(rng.standard_normal(())), True),
        Sample(np.arange(4), (rows,), np.array([1, 2, 3, 4]), True),
    ]


def _index_put_errors(rng: Rng) -> list[ErrorSample]:
    x, rows = rng.standard_normal((4, 3)), np.array([0, 1])
    return [
        ErrorSample(x, (rows,), np.ones((2, 3), np.float32), error=RuntimeError, match="dtypes match"),
        ErrorSample(x, (rows,), np.ones(2), error=RuntimeError, match="cannot be broadcast"),
        ErrorSample(x, (rows,), np.ones(2), True, error=RuntimeError, match="cannot be broadcast"),
        ErrorSample(x, (np.array([4]),), np.ones(3), error=IndexError, match="index 4 is out of bounds"),
    ]


def _gather(rng: Rng) -> list[Sample]:
    x = rng.standard_normal((3, 4))
    return [
        Sample(x, 0, np.array([[0, 2, 1, 2], [2, 2, 0, 0]])),
        Sample(x, 1, np.array([[3, 3], [0, 1]])),
        Sample(x.T, -1, np.array([[2, 2, 2, 0]] * 4, np.int32)),
        Sample(rng.standard_normal((2, 3, 4)), 1, rng.integers(0, 3, (2, 5, 3))),
        Sample(rng.standard_normal(5)[::2], 0, np.array([2, 0, 2])),
        Sample(x, 1, np.zeros((3, 0), np.int64)),
        Sample(np.asarray(1.5), 0, np.array(0)),
        Sample(np.asarray(1.5), 0, np.array([0, 0])),
        Sample(rng.standard_normal(3), 0, np.array(2)),
        Sample(np.arange(6).reshape(2, 3), 0, np.array([[1, 0, 1]])),
    ]


def _gather_errors(rng: Rng, *source: Any) -> list[ErrorSample]:
    x, index = rng.standard_normal((3, 4)), np.zeros((1, 4), np.int64)
    return [
        ErrorSample(x, 0, index + 3, *source, error=RuntimeError, match="index 3 is out of bounds for dimension 0"),
        ErrorSample(x, 0, index - 1, *source, error=RuntimeError, match="index -1 is out of bounds for dimension 0"),
        ErrorSample(x, 0, index[0], *source, error=RuntimeError, match="same number of dimensions"),
        ErrorSample(x, 1, np.zeros((4, 1), np.int64), *source, error=RuntimeError, match="to be no larger"),
        ErrorSample(x, 0, index * 1.0, *source, error=RuntimeError, match="index"),
        ErrorSample(x, 2, index, *source, error=IndexError, match="Dimension out of range"),
    ]


def _scatter_add(rng: Rng) -> list[Sample]:
    x = rng.standard_normal((3, 4))
    return [
        Sample(x, 0, np.array([[0, 2, 1, 2], [2, 2, 1, 0]]), rng.standard_normal((2, 4))),
        Sample(x, 1, np.array([[3, 3], [0, 1]]), rng.standard_normal((3, 2))),
        Sample(x.T, -1, np.array([[2, 2, 2]]), rng.standard_normal((5, 4)).T),
        Sample(x, 1, np.zeros((3, 0), np.int64), rng.standard_normal((3, 2))),
        Sample(np.asarray(1.5), 0, np.array(0), np.asarray(2.5)),
        Sample(rng.standard_normal(3), 0, np.array([1, 1, 1, 0]), rng.standard_normal(4)),
        Sample(np.arange(3), 0, np.array([1, 1]), np.array([5, 7])),
    ]


def _scatter(rng: Rng) -> list[Sample]:
    x = rng.standard_normal((3, 4))
    return [
        Sample(x, 0, np.array([[0, 2, 1, 2], [2, 1, 0, 0]]), rng.standard_normal((2, 4))),
        Sample(x, 1, np.array([[3, 0], [0, 1]]), rng.standard_normal((3, 2))),
        Sample(x.T, -1, np.array([[2, 0, 1]]), rng.standard_normal((5, 4)).T),
        Sample(np.asarray(1.5), 0, np.array(0), np.asarray(2.5)),
    ]


def _scatter_number(rng: Rng) -> list[Sample]:
    x = rng.standard_normal((3, 4))
    return [
        Sample(x, 1, np.array([[3, 3], [0, 1]]), 2.5),
        Sample(x, 1, np.array([[3, 3], [0, 1]]), value=2.5),
        Sample(np.arange(3), 0, np.array([1]), 7),
    ]


def _with_fitting_source(name: str) -> Any:
    """PyTorch's function on a source cut to the size of the index: its gradient fails for a larger one."""

    def call(torch: Any, x: Any, dim: int, index: Any, src: Any) -> Any:
        return getattr(torch, name.strip("_"))(x, dim, index, src[tuple(slice(n) for n in index.shape)])

    return call


def _scatter_reduce(rng: Rng) -> list[Sample]:
    x, index = rng.standard_normal((3, 4)), np.array([[3, 3], [0, 1]])
    return [Sample(x, 1, index, src, reduce) for src in (rng.standard_normal((2, 2)),) for reduce in ("sum", "prod")]


def _scatter_errors(rng: Rng) -> list[ErrorSample]:
    x, index = rng.standard_normal((3, 4)), np.zeros((2, 2), np.int64)
    return [
        *_gather_errors(rng, np.ones((4, 4))),
        ErrorSample(x, 0, index, np.ones((2, 1)), error=RuntimeError, match="no larger than src"),
        ErrorSample(x, 0, index, np.ones((2, 2), np.float32), error=RuntimeError, match="dtype"),
    ]


def _take(rng: Rng) -> list[Sample]:
    x = rng.standard_normal((3, 4))
    return [
        Sample(x, np.array([[0, 11], [-1, 5]])),
        Sample(x.T, np.array([1, 1, -12])),
        Sample(x, np.array(3)),
        Sample(x, np.zeros((0, 2), np.int64)),
    ]


def _take_errors(rng: Rng) -> list[ErrorSample]:
    x = rng.standard_normal((3, 4))
    return [
        ErrorSample(x, np.array([12]), error=IndexError, match="index 12 is out of bounds|out of range"),
        ErrorSample(x, np.array([1], np.int32), error=RuntimeError, match="long tensor"),
    ]


def _take_along_dim(rng: Rng) -> list[Sample]:
    x = rng.standard_normal((3, 4))
    return [
        Sample(x, rng.integers(0, 4, (3, 2)), 1),
        Sample(x, rng.integers(0, 3, (2, 4)), dim=-2),
        Sample(x, np.array([[1, 1, 0]]), 1),
        Sample(x[:, :1], rng.integers(0, 3, (2, 5)), 0),
        Sample(x, np.array([[5, 0], [5, 11]])),
    ]


def _masked_fill(rng: Rng) -> list[Sample]:
    x = rng.standard_normal((3, 4))
    mask = rng.random((3, 4)) < 0.5
    return [
        Sample(x, mask, 1.5),
        Sample(x, mask[0], -float("inf")),
        Sample(x.T, mask.T, 0),
        Sample(x, mask[:, :1], np.asarray(rng.standard_normal(()))),
        Sample(x[0], mask, float("nan")),
        Sample(x, np.array(True), 2),
        Sample(np.asarray(1.5), np.array(False), 2.0),
        Sample(x[:0], mask[:0], 1.0),
        Sample(np.arange(4), mask[0], 2.7),
        Sample(mask, mask[0], 2),
        Sample(x.astype(np.float16), mask, 65504.0),
    ]


def _masked_fill_errors(rng: Rng) -> list[ErrorSample]:
    x = rng.standard_normal((3, 4))
    return [
        ErrorSample(x, np.ones(4, np.int64), 1.0, error=RuntimeError, match="boolean masks, but got mask with dtype"),
        ErrorSample(x, np.ones(3, bool), 1.0, error=RuntimeError, match="must match the size"),
        ErrorSample(x, x > 0, np.ones(2), error=RuntimeError, match="0-dimensional value tensor.*1 dim"),
        ErrorSample(np.arange(4), np.ones(4, bool), float("inf"), error=RuntimeError, match="overflow"),
        ErrorSample(x.astype(np.float16), x > 0, 1e6, error=RuntimeError, match="overflow"),
        ErrorSample(x, x > 0, "1", error=TypeError, match="must be Tensor or Number|value"),
    ]


def _masked_select(rng: Rng) -> list[Sample]:
    x = rng.standard_normal((3, 4))
    return [
        Sample(x, x > 0),
        Sample(x.T, (x > 0).T),
        Sample(x, np.array([True, False, False, True])),
        Sample(x[0], x > 0),
        Sample(x, np.zeros((3, 4), bool)),
        Sample(np.asarray(1.5), np.array(True)),
        Sample(np.arange(4), np.arange(4) > 1),
    ]


def _masked_select_errors(rng: Rng) -> list[ErrorSample]:
    x = rng.standard_normal((3, 4))
    return [
        ErrorSample(x, np.ones((3, 4), np.int64), error=RuntimeError, match="BoolTensor"),
        ErrorSample(x, np.ones(3, bool), error=RuntimeError, match="broadcast"),
    ]


def _nonzero(rng: Rng) -> list[Sample]:
    x = (rng.random((3, 4)) < 0.5) * rng.standard_normal((3, 4))
    return [
        Sample(x),
        Sample(x.T),
        Sample(x > 0),
        Sample(np.arange(3)),
        Sample(np.asarray(0.0)),
        Sample(np.asarray(2.0)),
        Sample(np.zeros((0, 3))),
        Sample(np.array([np.nan, 0.0, -0.0])),
    ]


def _nonzero_as_tuple(rng: Rng) -> list[Sample]:
    return [Sample(*s.args, as_tuple=True) for s in _nonzero(rng)]


def _one_hot(rng: Rng) -> list[Sample]:
    return [
        Sample(np.array([0, 2, 1])),
        Sample(np.array([[0, 2], [1, 1]]), 5),
        Sample(np.array(1), num_classes=2),
        Sample(np.zeros((0, 2), np.int64), 3),
    ]


def _one_hot_errors(rng: Rng) -> list[ErrorSample]:
    return [
        ErrorSample(np.array([0, 3]), 3, error=RuntimeError, match=r"smaller than num_classes \(3\), got 3"),
        ErrorSample(np.array([0, -1]), error=RuntimeError, match="non-negative, got -1"),
        ErrorSample(np.array([0.0]), error=RuntimeError, match="int64"),
        ErrorSample(np.array([0, 1], np.int32), error=RuntimeError, match="int64"),
        ErrorSample(np.array([], np.int64), error=RuntimeError, match="empty tensor"),
    ]


def _bincount(rng: Rng) -> list[Sample]:
    x = np.array([3, 0, 3, 1])
    return [
        Sample(x),
        Sample(x, minlength=6),
        Sample(x.astype(np.uint8), minlength=2),
        Sample(x, rng.standard_normal(4)),
        Sample(x, rng.standard_normal(4).astype(np.float32), 6),
        Sample(x, np.arange(4)),
        Sample(np.array([], np.int64)),
        Sample(np.array([], np.int64), minlength=3),
    ]


def _bincount_errors(rng: Rng) -> list[ErrorSample]:
    x = np.array([1, 2])
    return [
        ErrorSample(np.array([1, -1]), error=RuntimeError, match="non-negative"),
        ErrorSample(np.array([[1]]), error=RuntimeError, match="1-d"),
        ErrorSample(np.array([1.0]), error=RuntimeError, match="integral|not implemented"),
        ErrorSample(x, np.ones(3), error=RuntimeError, match="same length"),
        ErrorSample(x, minlength=-1, error=RuntimeError, match="minlength should be >= 0"),
    ]


def _put(rng: Rng) -> list[Sample]:
    return [Sample(*s.args) for s in _index_put(rng)[:2]]


RECORDS = [
    OpRecord(
        "Tensor.__getitem__",
        _getitem,
        _index_errors,
        kind="reduction",
        torch=lambda _, x, index: x[index],
        ours=lambda _, x, index: x[index],
    ),
    OpRecord(
        "Tensor.__setitem__",
        _setitem,
        _setitem_errors,
        kind="reduction",
        torch=_assign,
        ours=_assign,
    ),
    OpRecord("index_select", _index_select, _index_select_errors, kind="reduction"),
    OpRecord("index_add", _index_add, lambda rng: _write_errors(rng, RuntimeError), kind="reduction"),
    OpRecord("Tensor.index_add_", _index_add, kind="reduction"),
    OpRecord("index_copy", _index_copy, lambda rng: _write_errors(rng, IndexError), kind="reduction"),
    OpRecord("index_fill", _index_fill, kind="reduction"),
    OpRecord("index_put", _index_put, _index_put_errors, kind="reduction"),
    OpRecord("Tensor.index_put_", _put, kind="reduction"),
    OpRecord("gather", _gather, _gather_errors, kind="reduction"),
    OpRecord("scatter", _scatter, _scatter_errors, kind="exact", torch=_with_fitting_source("scatter")),
    OpRecord("Tensor.scatter", _scatter_number, kind="exact"),
    OpRecord("Tensor.scatter_", _scatter_number, kind="exact"),
    OpRecord(
        "scatter_reduce",
        _scatter_reduce,
        differentiable=False,
        ours=lambda tg, x, dim, index, src, reduce: tg.scatter(
            x, dim, index, src, reduce={"sum": "add", "prod": "multiply"}[reduce]
        ),
    ),
    OpRecord("scatter_add", _scatter_add, _scatter_errors, kind="reduction", torch=_with_fitting_source("scatter_add")),
    OpRecord("Tensor.scatter_add_", lambda rng: _scatter_add(rng)[:1], kind="reduction"),
    OpRecord("take", _take, _take_errors, kind="reduction"),
    OpRecord("take_along_dim", _take_along_dim, kind="reduction"),
    OpRecord("masked_fill", _masked_fill, _masked_fill_errors, kind="reduction"),
    OpRecord("masked_select", _masked_select, _masked_select_errors, kind="exact"),
    OpRecord("nonzero", _nonzero, differentiable=False),
    OpRecord("Tensor.nonzero", _nonzero_as_tuple, differentiable=False),
    OpRecord("argwhere", _nonzero, differentiable=False),
    OpRecord("nn.functional.one_hot", _one_hot, _one_hot_errors, differentiable=False),
    OpRecord("bincount", _bincount, _bincount_errors, differentiable=False),
]
