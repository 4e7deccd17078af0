"""Records of `functional/shape.py`."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..records import ErrorSample, OpRecord, Sample

Rng = np.random.Generator


def _layouts(rng: Rng, *shape: int) -> list[Any]:
    """Random arrays of one shape: row-major, transposed, with steps in memory, repeated without a copy."""
    row_major = rng.standard_normal(shape)
    transposed = rng.standard_normal(shape[::-1]).T
    stepped = rng.standard_normal([2 * n for n in shape])[tuple(slice(None, None, 2) for _ in shape)]
    return [row_major, transposed, stepped]


def _on_layouts(rng: Rng, shape: tuple[int, ...], *args: Any, **kwargs: Any) -> list[Sample]:
    return [Sample(x, *args, **kwargs) for x in _layouts(rng, *shape)]


def _reshape(rng: Rng) -> list[Sample]:
    return [
        *_on_layouts(rng, (2, 3, 4), (4, 6)),
        *_on_layouts(rng, (2, 3, 4), (-1,)),
        *_on_layouts(rng, (1, 3, 1), (3,)),
        Sample(rng.standard_normal((2, 6)), (2, -1, 3)),
        Sample(rng.standard_normal((4, 3)).T, (3, 2, 2)),
        Sample(rng.standard_normal(()), (1, 1)),
        Sample(rng.standard_normal(1), ()),
        Sample(rng.standard_normal((0, 3)), (3, 0, 2)),
        Sample(rng.standard_normal((0, 3)), (-1, 3)),
        Sample(np.arange(6), (2, 3)),
        Sample(np.array([[True, False]]), (-1,)),
    ]


def _reshape_errors(rng: Rng) -> list[ErrorSample]:
    x = rng.standard_normal((2, 3))
    empty = np.zeros((0, 3))
    return [
        ErrorSample(x, (4, 2), error=RuntimeError, match=r"shape '\[4, 2\]' is invalid for input of size 6"),
        ErrorSample(x, (4, -1), error=RuntimeError, match=r"shape '\[4, -1\]' is invalid for input of size 6"),
        ErrorSample(x, (0, -1), error=RuntimeError, match="invalid"),
        ErrorSample(x, (-1, -1), error=RuntimeError, match="only one dimension can be inferred"),
        ErrorSample(x, (-2, 3), error=RuntimeError, match="invalid shape dimension -2"),
        ErrorSample(empty, (-1, 0), error=RuntimeError, match="ambiguous"),
        ErrorSample(x, (2.0, 3), error=TypeError, match="a size must be an int, got 2.0"),
    ]


def _view(rng: Rng) -> list[Sample]:
    return [
        Sample(rng.standard_normal((2, 6)), 3, 4),
        Sample(rng.standard_normal((2, 6)), (3, -1)),
        Sample(rng.standard_normal((2, 6)).T, 3, 2, 2),
        Sample(rng.standard_normal((4, 6))[::2, ::2], 2, 3, 1),
        Sample(rng.standard_normal(()), 1),
        Sample(rng.standard_normal((0, 3)), 3, 0),
        Sample(np.arange(6), 2, 3),
    ]


def _view_errors(rng: Rng) -> list[ErrorSample]:
    return [
        ErrorSample(rng.standard_normal((3, 4)).T, -1, error=RuntimeError, match="view size is not compatible"),
        ErrorSample(rng.standard_normal((4, 6))[:, :3], 12, error=RuntimeError, match="reshape"),
        ErrorSample(rng.standard_normal((3, 4)), 5, -1, error=RuntimeError, match="invalid for input of size 12"),
    ]


def _flatten(rng: Rng) -> list[Sample]:
    return [
        *_on_layouts(rng, (2, 3, 4)),
        *_on_layouts(rng, (2, 3, 4), 1),
        *_on_layouts(rng, (2, 3, 4), 0, 1),
        *_on_layouts(rng, (2, 3, 4), -2, end_dim=-1),
        Sample(rng.standard_normal((2, 3)), 1, 1),
        Sample(rng.standard_normal(())),
        Sample(rng.standard_normal((2, 0, 3)), 1),
    ]


def _flatten_errors(rng: Rng) -> list[ErrorSample]:
    x = rng.standard_normal((2, 3, 4))
    return [ErrorSample(x, 2, 1, error=RuntimeError, match="start_dim cannot come after end_dim")]


def _unflatten(rng: Rng) -> list[Sample]:
    return [
        *_on_layouts(rng, (2, 6), 1, (2, 3)),
        *_on_layouts(rng, (6, 2), 0, (-1, 2)),
        Sample(rng.standard_normal((6, 2)), -2, (1, 6, 1)),
        Sample(rng.standard_normal((0, 2)), 0, (3, 0)),
    ]


def _unflatten_errors(rng: Rng) -> list[ErrorSample]:
    x = rng.standard_normal((2, 6))
    return [
        ErrorSample(x, 1, (4, 2), error=RuntimeError, match="don't multiply up to the size of dim 1"),
        ErrorSample(x, 1, (4, -1), error=RuntimeError, match="don't multiply up to the size of dim 1"),
        ErrorSample(x, 2, (4, 2), error=IndexError, match="Dimension out of range"),
    ]


def _t(rng: Rng) -> list[Sample]:
    return [*_matrices(rng), Sample(rng.standard_normal(3)), Sample(rng.standard_normal(()))]


def _t_errors(rng: Rng) -> list[ErrorSample]:
    return [ErrorSample(rng.standard_normal((2, 3, 4)), error=RuntimeError, match="<= 2 dimensions.*3D")]


def _squeeze(rng: Rng) -> list[Sample]:
    x = rng.standard_normal((1, 3, 1, 2))
    return [
        Sample(x),
        Sample(x, 0),
        Sample(x, 1),
        Sample(x, -2),
        Sample(x, (0, 2)),
        Sample(x, (0, 1)),
        Sample(x.T),
        Sample(rng.standard_normal(())),
        Sample(rng.standard_normal(()), 0),
        Sample(rng.standard_normal((1, 1))),
        Sample(rng.standard_normal((1, 0))),
    ]


def _unsqueeze(rng: Rng) -> list[Sample]:
    return [
        *_on_layouts(rng, (2, 3), 0),
        *_on_layouts(rng, (2, 3), 1),
        *_on_layouts(rng, (2, 3), -1),
        *_on_layouts(rng, (2, 3), -3),
        Sample(rng.standard_normal(()), 0),
        Sample(rng.standard_normal((0,)), -1),
        Sample(np.arange(3), 1),
    ]


def _dim_errors(rng: Rng, *after: Any) -> list[ErrorSample]:
    x = rng.standard_normal((2, 3))
    return [
        ErrorSample(x, 3, *after, error=IndexError, match="Dimension out of range.*but got 3"),
        ErrorSample(x, -4, *after, error=IndexError, match="Dimension out of range.*but got -4"),
    ]


def _transpose(rng: Rng) -> list[Sample]:
    return [
        *_on_layouts(rng, (2, 3, 4), 0, 2),
        *_on_layouts(rng, (2, 3, 4), 1, 2),
        *_on_layouts(rng, (2, 3, 4), -1, -3),
        Sample(rng.standard_normal((2, 3)), 1, 1),
        Sample(rng.standard_normal(()), 0, -1),
        Sample(rng.standard_normal((0, 3)), 0, 1),
        Sample(np.arange(6).reshape(2, 3), 0, 1),
    ]


def _transpose_errors(rng: Rng) -> list[ErrorSample]:
    x = rng.standard_normal((2, 3))
    return [
        ErrorSample(x, 0, 2, error=IndexError, match="Dimension out of range"),
        ErrorSample(x, -3, 1, error=IndexError, match="Dimension out of range"),
    ]


def _permute(rng: Rng) -> list[Sample]:
    return [
        *_on_layouts(rng, (2, 3, 4), (2, 0, 1)),
        *_on_layouts(rng, (2, 3, 4), (1, -1, 0)),
        Sample(rng.standard_normal(()), ()),
        Sample(rng.standard_normal((3, 0, 2)), (1, 2, 0)),
    ]


def _permute_errors(rng: Rng) -> list[ErrorSample]:
    x = rng.standard_normal((2, 3, 4))
    return [
        ErrorSample(x, (0, 1), error=RuntimeError, match=r"input.dim\(\) = 3 is not equal to len\(dims\) = 2"),
        ErrorSample(x, (0, 1, 1), error=RuntimeError, match="duplicate dims"),
        ErrorSample(x, (0, 1, 3), error=IndexError, match="Dimension out of range"),
    ]


def _movedim(rng: Rng) -> list[Sample]:
    x = rng.standard_normal((2, 3, 4, 5))
    return [
        Sample(x, 0, 2),
        Sample(x, -1, 0),
        Sample(x, (0, 1), (-1, 1)),
        Sample(x, (3, 0, 1), (0, 3, 1)),
        Sample(x.T, (1, 2), (2, 1)),
        Sample(rng.standard_normal(()), 0, 0),
    ]


def _movedim_errors(rng: Rng) -> list[ErrorSample]:
    x = rng.standard_normal((2, 3, 4))
    return [
        ErrorSample(x, (0, 1), (0,), error=RuntimeError, match="Invalid source or destination dims"),
        ErrorSample(x, (0, 0), (1, 2), error=RuntimeError, match="repeated dim in `source`"),
        ErrorSample(x, (0, 1), (1, 1), error=RuntimeError, match="repeated dim in `destination`"),
        ErrorSample(x, 3, 0, error=IndexError, match="Dimension out of range"),
    ]


def _expand(rng: Rng) -> list[Sample]:
    return [
        Sample(rng.standard_normal((3, 1)), 3, 4),
        Sample(rng.standard_normal((3, 1)), (2, -1, 4)),
        Sample(rng.standard_normal((1, 3)).T, 3, 4),
        Sample(rng.standard_normal((4, 1))[::2], 5, 2, 3),
        Sample(rng.standard_normal((2, 3)), 2, 3),
        Sample(rng.standard_normal(3), 1, 1, 3),
        Sample(rng.standard_normal(()), 2, 2),
        Sample(rng.standard_normal(1), 0),
        Sample(rng.standard_normal((1, 3)), 0, 3),
        Sample(rng.standard_normal((0, 1)), 0, 4),
        Sample(np.arange(3), 2, 3),
    ]


def _expand_errors(rng: Rng) -> list[ErrorSample]:
    x = rng.standard_normal((2, 3))
    return [
        ErrorSample(x, 2, 4, error=RuntimeError, match=r"expanded size of the tensor \(4\) must match .*\(3\)"),
        ErrorSample(x, 3, error=RuntimeError, match="number of sizes provided"),
        ErrorSample(x, -1, 2, 3, error=RuntimeError, match="isn't allowed in a leading"),
        ErrorSample(x, -2, 3, error=RuntimeError, match="-2"),
    ]


def _like(rng: Rng) -> list[Sample]:
    return [
        Sample(rng.standard_normal((3, 1)), rng.standard_normal((2, 3, 4))),
        Sample(rng.standard_normal(()), rng.standard_normal((2, 1))),
    ]


def _same_size(rng: Rng) -> list[Sample]:
    return [
        Sample(rng.standard_normal((3, 4)), rng.standard_normal((2, 6))),
        Sample(rng.standard_normal(1), rng.standard_normal(())),
    ]


def _broadcast_to(rng: Rng) -> list[Sample]:
    return [Sample(rng.standard_normal((3, 1)), (2, 3, 4)), Sample(rng.standard_normal(4), (4,))]


def _broadcast_tensors(rng: Rng) -> list[Sample]:
    return [
        Sample(rng.standard_normal((3, 1)), rng.standard_normal(4), rng.standard_normal(())),
        Sample(rng.standard_normal((2, 1, 3)), rng.standard_normal((4, 1))),
        Sample(rng.standard_normal((1, 3)), rng.standard_normal((0, 1))),
    ]


def _broadcast_errors(rng: Rng) -> list[ErrorSample]:
    a, b = rng.standard_normal(3), rng.standard_normal(4)
    return [ErrorSample(a, b, error=RuntimeError, match=r"\(3,\), \(4,\)")]


def _repeat(rng: Rng) -> list[Sample]:
    return [
        *_on_layouts(rng, (2, 3), 2, 3),
        *_on_layouts(rng, (2, 3), (4, 1, 2)),
        Sample(rng.standard_normal((2, 3)), 1, 1),
        Sample(rng.standard_normal((2, 3)), 0, 2),
        Sample(rng.standard_normal(()), 3),
        Sample(rng.standard_normal(()), ()),
        Sample(rng.standard_normal((0, 2)), 2, 2),
        Sample(np.arange(3), 2),
    ]


def _repeat_errors(rng: Rng) -> list[ErrorSample]:
    x = rng.standard_normal((2, 3))
    return [
        ErrorSample(x, 2, error=RuntimeError, match="can not be smaller than number of dimensions"),
        ErrorSample(x, 2, -1, error=RuntimeError, match="negative dimension"),
    ]


def _tile(rng: Rng) -> list[Sample]:
    x = rng.standard_normal((2, 3))
    return [Sample(x, (2,)), Sample(x, (2, 1)), Sample(x.T, (2, 1, 3)), Sample(x, ()), Sample(np.arange(3), (2, 2))]


def _repeat_interleave(rng: Rng) -> list[Sample]:
    x = rng.standard_normal((2, 3))
    return [
        Sample(x, 2),
        Sample(x, 2, 1),
        Sample(x, 3, dim=-2),
        Sample(x, np.array([1, 0, 3]), 1),
        Sample(x, np.array([2]), 0),
        Sample(x, np.array(2), 0),
        Sample(x.T, np.array([2, 0, 1]), dim=0, output_size=3),
        Sample(x, 0, 1),
        Sample(rng.standard_normal(()), 3),
        Sample(np.array([2, 0, 1])),
    ]


def _repeat_interleave_errors(rng: Rng) -> list[ErrorSample]:
    x = rng.standard_normal((2, 3))
    return [
        ErrorSample(x, np.array([1, 2]), 1, error=RuntimeError, match="same size as input along dim"),
        ErrorSample(x, np.array([1, -2, 0]), 1, error=RuntimeError, match="negative"),
        ErrorSample(x, np.array([1.0, 2.0, 0.0]), 1, error=RuntimeError, match="Long or Int"),
        ErrorSample(x, np.array([[1, 2]]), 1, error=RuntimeError, match="0-dim or 1-dim"),
        ErrorSample(x, 2, 2, error=IndexError, match="Dimension out of range"),
    ]


def _cat(rng: Rng) -> list[Sample]:
    a, b = rng.standard_normal((2, 3)), rng.standard_normal((4, 3))
    return [
        Sample([a, b]),
        Sample((a, a, b)),
        Sample([a, b[:2]], 1),
        Sample([a, rng.standard_normal((3, 2)).T], dim=-1),
        Sample([a]),
        Sample([a, rng.standard_normal((0, 3))]),
        Sample([rng.standard_normal((0,)), a], 1),
        Sample([rng.standard_normal((0,))]),
        Sample([a, np.arange(3).reshape(1, 3)]),
        Sample([np.arange(3), np.array([True, False])]),
        Sample([a.astype(np.float32), b]),
    ]


def _cat_errors(rng: Rng) -> list[ErrorSample]:
    a = rng.standard_normal((2, 3))
    return [
        ErrorSample([a, a.T], error=RuntimeError, match="Expected size 3 in dimension 1 but got size 2 for tensor num"),
        ErrorSample([a, a[0]], error=RuntimeError, match="same number of dimensions: got 2 and 1"),
        ErrorSample([], error=ValueError, match="non-empty list"),
        ErrorSample([np.asarray(1.0)], error=RuntimeError, match="zero-dimensional tensor"),
        ErrorSample([a, a], 2, error=IndexError, match="Dimension out of range"),
        ErrorSample(a, error=TypeError, match="must be tuple of Tensors, not Tensor"),
        ErrorSample([a, 1.0], error=TypeError, match="element 1.*float"),
    ]


def _stack(rng: Rng) -> list[Sample]:
    a, b = rng.standard_normal((2, 3)), rng.standard_normal((3, 2)).T
    return [
        Sample([a, b]),
        Sample((a, b), 1),
        Sample([a, a, b], dim=-1),
        Sample([rng.standard_normal(()), rng.standard_normal(())]),
        Sample([a, np.arange(6).reshape(2, 3)]),
        Sample([rng.standard_normal((0, 2))] * 2),
    ]


def _stack_errors(rng: Rng) -> list[ErrorSample]:
    a = rng.standard_normal((2, 3))
    return [
        ErrorSample([], error=RuntimeError, match="non-empty"),
        ErrorSample([a, a[0]], error=RuntimeError, match=r"got \[2, 3\] at entry 0 and \[3\] at entry 1"),
        ErrorSample([a, a], 3, error=IndexError, match="Dimension out of range"),
    ]


def _rows(rng: Rng) -> list[Sample]:
    return [
        Sample([rng.standard_normal((2, 3)), rng.standard_normal((2, 3))]),
        Sample([rng.standard_normal(3), rng.standard_normal(3)]),
        Sample([rng.standard_normal(()), rng.standard_normal(())]),
        Sample([rng.standard_normal((2, 3, 4)), rng.standard_normal((2, 3, 4))]),
    ]


def _narrow(rng: Rng) -> list[Sample]:
    return [
        *_on_layouts(rng, (4, 3), 0, 1, 2),
        *_on_layouts(rng, (4, 3), -1, -2, 2),
        Sample(rng.standard_normal((4, 3)), 0, 4, 0),
        Sample(rng.standard_normal((4, 3)), 1, np.array(1), 2),
    ]


def _narrow_errors(rng: Rng) -> list[ErrorSample]:
    x = rng.standard_normal((4, 3))
    return [
        ErrorSample(x, 0, 3, 2, error=RuntimeError, match=r"start \(3\) \+ length \(2\) exceeds dimension size \(4\)"),
        ErrorSample(x, 0, 5, 0, error=IndexError, match="out of range"),
        ErrorSample(x, 0, 0, -1, error=RuntimeError, match="non-negative"),
        ErrorSample(x, 2, 0, 1, error=IndexError, match="Dimension out of range"),
        ErrorSample(np.array(1.0), 0, 0, 1, error=RuntimeError, match="0-dim"),
    ]


def _select(rng: Rng) -> list[Sample]:
    return [
        *_on_layouts(rng, (4, 3), 0, 1),
        *_on_layouts(rng, (4, 3), -1, -2),
        Sample(rng.standard_normal(3), 0, 2),
    ]


def _select_errors(rng: Rng) -> list[ErrorSample]:
    x = rng.standard_normal((4, 3))
    return [
        ErrorSample(x, 1, 3, error=IndexError, match="index 3 out of range for tensor of size .* at dimension 1"),
        ErrorSample(x, 1, -4, error=IndexError, match="index -4 out of range"),
        ErrorSample(x, 2, 0, error=IndexError, match="Dimension out of range"),
        ErrorSample(np.array(1.0), 0, 0, error=IndexError, match="0-dim"),
    ]


def _unbind(rng: Rng) -> list[Sample]:
    return [
        *_on_layouts(rng, (3, 2)),
        *_on_layouts(rng, (3, 2), -1),
        Sample(rng.standard_normal(3)),
        Sample(rng.standard_normal((2, 0))),
    ]


def _split(rng: Rng) -> list[Sample]:
    return [
        *_on_layouts(rng, (5, 4), 2),
        *_on_layouts(rng, (5, 4), 2, 1),
        *_on_layouts(rng, (5, 4), [1, 0, 3], dim=-1),
        Sample(rng.standard_normal((5, 4)), (2, 3)),
        Sample(rng.standard_normal((5, 4)), 7),
        Sample(rng.standard_normal((0, 4)), 2),
        Sample(rng.standard_normal((0, 4)), 0),
    ]


def _split_errors(rng: Rng) -> list[ErrorSample]:
    x = rng.standard_normal((5, 4))
    return [
        ErrorSample(x, 0, error=RuntimeError, match="split_size"),
        ErrorSample(x, -1, error=RuntimeError, match="split_size"),
        ErrorSample(x, [2, 2], error=RuntimeError, match="sum exactly to 5"),
        ErrorSample(x, [6, -1], error=RuntimeError, match="split_sizes"),
        ErrorSample(x, 2, 2, error=IndexError, match="Dimension out of range"),
        ErrorSample(np.array(1.0), 1, error=RuntimeError, match="0-dim"),
    ]


def _chunk(rng: Rng) -> list[Sample]:
    return [
        *_on_layouts(rng, (5, 4), 2),
        *_on_layouts(rng, (5, 4), 3, 1),
        Sample(rng.standard_normal((5, 4)), 4),
        Sample(rng.standard_normal((5, 4)), 9, dim=-1),
        Sample(rng.standard_normal((0, 4)), 3),
    ]


def _chunk_errors(rng: Rng) -> list[ErrorSample]:
    x = rng.standard_normal((5, 4))
    return [
        ErrorSample(x, 0, error=RuntimeError, match="greater than 0, got: 0"),
        ErrorSample(x, 2, 2, error=IndexError, match="Dimension out of range"),
    ]


def _tensor_split(rng: Rng) -> list[Sample]:
    x = rng.standard_normal((5, 4))
    return [
        Sample(x, 3),
        Sample(x, 6, 1),
        Sample(x, (1, 3)),
        Sample(x, [2, 1, 9], dim=0),
        Sample(x, (-2,), -1),
        Sample(x, np.array([1, 4])),
        Sample(x.T, np.array(2)),
    ]


def _tensor_split_errors(rng: Rng) -> list[ErrorSample]:
    return [ErrorSample(rng.standard_normal(4), 0, error=RuntimeError, match="larger than 0")]


def _flip(rng: Rng) -> list[Sample]:
    return [
        *_on_layouts(rng, (2, 3, 4), (0, 2)),
        *_on_layouts(rng, (2, 3, 4), (-1,)),
        Sample(rng.standard_normal((2, 3)), ()),
        Sample(rng.standard_normal(()), (0,)),
        Sample(rng.standard_normal((0, 3)), (0,)),
        Sample(np.arange(3), (0,)),
    ]


def _flip_errors(rng: Rng) -> list[ErrorSample]:
    x = rng.standard_normal((2, 3))
    return [
        ErrorSample(x, (2,), error=IndexError, match="Dimension out of range"),
        ErrorSample(x, (0, 0), error=RuntimeError, match="multiple times"),
    ]


def _roll(rng: Rng) -> list[Sample]:
    return [
        *_on_layouts(rng, (2, 3), 2),
        *_on_layouts(rng, (2, 3), -1, 1),
        *_on_layouts(rng, (2, 3), (1, 4), (0, -1)),
        Sample(rng.standard_normal((2, 3)), (1, 1), (1, 1)),
        Sample(rng.standard_normal((0, 3)), 1, 0),
        Sample(rng.standard_normal((0, 3)), 1),
        Sample(rng.standard_normal(()), 1),
    ]


def _roll_errors(rng: Rng) -> list[ErrorSample]:
    x = rng.standard_normal((2, 3))
    return [
        ErrorSample(x, (1, 2), 0, error=RuntimeError, match="must align"),
        ErrorSample(x, (1, 2), error=RuntimeError, match="must align"),
        ErrorSample(x, 1, 2, error=IndexError, match="Dimension out of range"),
    ]


def _rot90(rng: Rng) -> list[Sample]:
    turns = [Sample(rng.standard_normal((2, 3)), k, (0, 1)) for k in (-1, 0, 1, 2, 3, 4)]
    return [*turns, Sample(rng.standard_normal((2, 3, 4)), 1, (2, 0)), Sample(rng.standard_normal((2, 3)).T)]


def _rot90_errors(rng: Rng) -> list[ErrorSample]:
    x = rng.standard_normal((2, 3))
    return [
        ErrorSample(x, 1, (0,), error=RuntimeError, match="total rotation dims"),
        ErrorSample(x, 1, (0, 0), error=RuntimeError, match="to be different"),
        ErrorSample(x[0], 1, (0, 1), error=RuntimeError, match="total dims >= 2"),
    ]


def _triangle(rng: Rng) -> list[Sample]:
    return [
        *_on_layouts(rng, (3, 4)),
        *_on_layouts(rng, (4, 3), 1),
        *_on_layouts(rng, (4, 3), diagonal=-2),
        Sample(rng.standard_normal((2, 3, 3)), 9),
        Sample(np.array([[1.0, np.inf], [np.nan, 2.0]])),
        Sample(rng.standard_normal((0, 3))),
        Sample(np.ones((3, 3), bool)),
        Sample(np.arange(9).reshape(3, 3), -1),
    ]


def _triangle_errors(rng: Rng) -> list[ErrorSample]:
    return [ErrorSample(rng.standard_normal(3), error=RuntimeError, match="at least 2 dimensions")]


def _diagonal(rng: Rng) -> list[Sample]:
    return [
        *_on_layouts(rng, (3, 4)),
        *_on_layouts(rng, (3, 4), 1),
        *_on_layouts(rng, (3, 4), -2),
        Sample(rng.standard_normal((2, 3, 4)), 0, 2, 1),
        Sample(rng.standard_normal((2, 3, 4)), 1, dim1=-3, dim2=-1),
        Sample(rng.standard_normal((3, 3)), 5),
    ]


def _diagonal_errors(rng: Rng) -> list[ErrorSample]:
    x = rng.standard_normal((2, 3))
    return [
        ErrorSample(x, 0, 1, 1, error=RuntimeError, match="cannot be identical 1, 1"),
        ErrorSample(x, 0, 1, 2, error=IndexError, match="Dimension out of range"),
        ErrorSample(x[0], error=IndexError, match="Dimension out of range"),
    ]


def _diag_embed(rng: Rng) -> list[Sample]:
    return [
        *_on_layouts(rng, (2, 3)),
        *_on_layouts(rng, (2, 3), 1),
        *_on_layouts(rng, (2, 3), -2, 0, 2),
        Sample(rng.standard_normal((2, 3)), 1, 2, 0),
        Sample(rng.standard_normal(3), 0, 1, 0),
        Sample(rng.standard_normal(0), 1),
    ]


def _diag_embed_errors(rng: Rng) -> list[ErrorSample]:
    x = rng.standard_normal((2, 3))
    return [
        ErrorSample(x, 0, 1, 1, error=RuntimeError, match="cannot be identical 1, 1"),
        ErrorSample(x, 0, 1, 3, error=IndexError, match="Dimension out of range"),
    ]


def _diag(rng: Rng) -> list[Sample]:
    return [
        Sample(rng.standard_normal(3)),
        Sample(rng.standard_normal(3), 1),
        Sample(rng.standard_normal((3, 4))),
        Sample(rng.standard_normal((3, 4)).T, -1),
    ]


def _diag_errors(rng: Rng) -> list[ErrorSample]:
    return [ErrorSample(rng.standard_normal((2, 3, 4)), error=RuntimeError, match="Supports 1D or 2D")]


def _unfold(rng: Rng) -> list[Sample]:
    return [
        *_on_layouts(rng, (6, 3), 0, 2, 1),
        *_on_layouts(rng, (3, 7), -1, 3, 2),
        *_on_layouts(rng, (2, 6, 3), 1, 2, 3),
        *_on_layouts(rng, (2, 3, 5), 2, 2, 1),
        Sample(rng.standard_normal(4), 0, 4, 5),
        Sample(rng.standard_normal(()), 0, 1, 1),
    ]


def _unfold_errors(rng: Rng) -> list[ErrorSample]:
    x = rng.standard_normal((4, 3))
    return [
        ErrorSample(x, 0, 5, 1, error=RuntimeError, match="maximum size for tensor at dimension 0 is 4 but size is 5"),
        ErrorSample(x, 0, 2, 0, error=RuntimeError, match="step is 0"),
        ErrorSample(x, 2, 1, 1, error=IndexError, match="Dimension out of range"),
    ]


def _meshgrid(rng: Rng) -> list[Sample]:
    a, b, c = rng.standard_normal(2), rng.standard_normal(3), rng.standard_normal(())
    return [
        Sample(a, b, indexing="ij"),
        Sample(a, b, indexing="xy"),
        Sample(a, b, c, indexing="xy"),
        Sample([a, b], indexing="ij"),
        Sample(a, indexing="xy"),
    ]


def _meshgrid_errors(rng: Rng) -> list[ErrorSample]:
    a = rng.standard_normal(2)
    return [
        ErrorSample(a, a, indexing="yx", error=RuntimeError, match="indexing must be one of"),
        ErrorSample(a, a[None], indexing="ij", error=RuntimeError, match="0D or 1D"),
        ErrorSample(a, np.arange(2), indexing="ij", error=RuntimeError, match="same dtype"),
    ]


def _pad(rng: Rng) -> list[Sample]:
    x = rng.standard_normal((2, 3, 4))
    samples = [
        *_on_layouts(rng, (2, 3), (1, 2)),
        *_on_layouts(rng, (2, 3), (1, 0, 2, 1), "constant", 1.5),
        Sample(x, (1, 0, 0, 2, 1, 1), value=-float("inf")),
        Sample(x, (-1, 2, 1, -2)),
        Sample(x, (-2, -1)),
        Sample(x, ()),
        Sample(rng.standard_normal((0, 3)), (1, 1, 1, 0)),
        Sample(np.arange(3), (1, 1), value=7),
        Sample(np.array([True]), (0, 1)),
    ]
    for mode in ("reflect", "replicate", "circular"):
        samples += [
            Sample(rng.standard_normal((2, 4)), (3, 2), mode),
            Sample(rng.standard_normal((4, 3, 2)).T, (2, 1), mode),
            Sample(x, (2, 1, 1, 2), mode=mode),
            Sample(rng.standard_normal((1, 2, 3, 4)), (0, 2, 2, 0), mode),
            Sample(rng.standard_normal((2, 3, 3, 4)), (1, 1, 2, 1, 1, 2), mode),
            Sample(x, (-1, 2), mode),
        ]
    return samples


def _pad_errors(rng: Rng) -> list[ErrorSample]:
    x = rng.standard_normal((2, 3))
    return [
        ErrorSample(x, (1,), error=RuntimeError, match="divisible by 2"),
        ErrorSample(x, (1,) * 6, error=RuntimeError, match="two times the input dimension"),
        ErrorSample(x, (-2, -2), error=RuntimeError, match="negative output size"),
        ErrorSample(x, (3, 0), "reflect", error=RuntimeError, match="less than the corresponding input dimension"),
        ErrorSample(x, (4, 0), "circular", error=RuntimeError, match="wrapping around more than once"),
        ErrorSample(x, (1, 1), "mirror", error=NotImplementedError, match="mirror"),
        ErrorSample(x, (1, 1, 1, 1), "reflect", error=NotImplementedError, match="Only 2D, 3D, 4D, 5D"),
        ErrorSample(x, (1, 1), "reflect", 2.0, error=RuntimeError, match="value"),
    ]


def _matrices(rng: Rng) -> list[Sample]:
    return [*_on_layouts(rng, (2, 3)), Sample(rng.standard_normal((0, 2)))]


RECORDS = [
    OpRecord("reshape", _reshape, _reshape_errors, kind="exact"),
    OpRecord("Tensor.reshape", _view, kind="exact"),
    OpRecord("Tensor.view", _view, _view_errors, kind="exact"),
    OpRecord("Tensor.reshape_as", _same_size, kind="exact"),
    OpRecord("Tensor.view_as", _same_size, kind="exact"),
    OpRecord("flatten", _flatten, lambda rng: [*_dim_errors(rng), *_flatten_errors(rng)], kind="exact"),
    OpRecord("ravel", lambda rng: [*_matrices(rng), Sample(rng.standard_normal(()))], kind="exact"),
    OpRecord("unflatten", _unflatten, _unflatten_errors, kind="exact"),
    OpRecord("squeeze", _squeeze, _dim_errors, kind="exact"),
    OpRecord("unsqueeze", _unsqueeze, _dim_errors, kind="exact"),
    OpRecord("Tensor.contiguous", lambda rng: [*_matrices(rng), *_on_layouts(rng, (2, 3, 4))], kind="exact"),
    OpRecord("permute", _permute, _permute_errors, kind="exact"),
    OpRecord("Tensor.permute", lambda rng: [Sample(rng.standard_normal((2, 3, 4)), 2, 0, -2)], kind="exact"),
    *(
        OpRecord(name, _transpose, _transpose_errors, kind="exact")
        for name in ("transpose", "swapaxes", "swapdims", "Tensor.transpose")
    ),
    OpRecord("t", _t, _t_errors, kind="exact"),
    *(OpRecord(name, _movedim, _movedim_errors, kind="exact") for name in ("movedim", "moveaxis")),
    OpRecord("Tensor.T", _matrices, torch=lambda _, x: x.T, ours=lambda _, x: x.T, kind="exact"),
    OpRecord(
        "Tensor.mT",
        lambda rng: _on_layouts(rng, (2, 3, 4)),
        kind="exact",
        torch=lambda _, x: x.mT,
        ours=lambda _, x: x.mT,
        errors=lambda rng: [ErrorSample(np.ones(3), error=RuntimeError, match="matrices")],
    ),
    OpRecord(
        "Tensor.H",
        _matrices,
        torch=lambda _, x: x.H,
        ours=lambda _, x: x.H,
        kind="exact",
        errors=lambda rng: [ErrorSample(np.ones(3), error=RuntimeError, match="matrices")],
    ),
    OpRecord("Tensor.expand", _expand, _expand_errors, kind="reduction"),
    OpRecord("Tensor.expand_as", _like, kind="reduction"),
    OpRecord("broadcast_to", _broadcast_to, kind="reduction"),
    OpRecord("broadcast_tensors", _broadcast_tensors, _broadcast_errors, kind="reduction"),
    OpRecord("Tensor.repeat", _repeat, _repeat_errors, kind="reduction"),
    OpRecord("tile", _tile, kind="reduction"),
    OpRecord("repeat_interleave", _repeat_interleave, _repeat_interleave_errors, kind="reduction"),
    *(OpRecord(name, _cat, _cat_errors, kind="exact") for name in ("cat", "concat", "concatenate")),
    OpRecord("stack", _stack, _stack_errors, kind="exact"),
    OpRecord("hstack", _rows, kind="exact"),
    OpRecord("vstack", _rows, kind="exact"),
    OpRecord("narrow", _narrow, _narrow_errors, kind="exact"),
    OpRecord("select", _select, _select_errors, kind="exact"),
    OpRecord("unbind", _unbind, _dim_errors, kind="exact"),
    OpRecord("split", _split, _split_errors, kind="exact"),
    OpRecord("chunk", _chunk, _chunk_errors, kind="exact"),
    OpRecord("tensor_split", _tensor_split, _tensor_split_errors, kind="exact"),
    OpRecord("flip", _flip, _flip_errors, kind="exact"),
    OpRecord("roll", _roll, _roll_errors, kind="exact"),
    OpRecord("rot90", _rot90, _rot90_errors, kind="exact"),
    OpRecord("tril", _triangle, _triangle_errors, kind="exact"),
    OpRecord("triu", _triangle, _triangle_errors, kind="exact"),
    OpRecord("Tensor.tril_", _triangle, kind="exact"),
    OpRecord("diagonal", _diagonal, _diagonal_errors, kind="exact"),
    OpRecord("diag_embed", _diag_embed, _diag_embed_errors, kind="exact"),
    OpRecord("diag", _diag, _diag_errors, kind="exact"),
    OpRecord("Tensor.unfold", _unfold, _unfold_errors, kind="reduction"),
    OpRecord("meshgrid", _meshgrid, _meshgrid_errors, kind="reduction"),
    OpRecord("nn.functional.pad", _pad, _pad_errors, kind="reduction"),
]
