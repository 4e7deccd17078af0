"""Records of functional/reduction.py."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from ...backend.dtypes import is_floating
from ..records import Constant, DType, ErrorSample, OpRecord, Sample
from .elementwise import INTEGERS, MASK

Rng = np.random.Generator
SMALL = np.array([[3, 200, 100], [0, 255, 1]], np.uint8)
TIES = np.array([[1.0, 3.0, 3.0, 2.0], [2.0, 2.0, 2.0, 2.0], [4.0, 1.0, 1.0, 4.0]])
UNUSUAL = np.array([[1.0, np.nan, 2.0], [np.inf, 3.0, -1.0], [-np.inf, -np.inf, -np.inf], [np.inf, -np.inf, 0.0]])
WITH_ZEROS = np.array([[2.0, 0.0, 3.0, -1.0], [0.0, 2.0, 0.0, 5.0], [1.5, 2.0, -3.0, 0.5], [0.0, 0.0, 0.0, 0.0]])


def along(
    *more: Sample,
    all_at_once: bool = True,
    several: bool = True,
    keepdim: bool = True,
    empty: bool = True,
    integers: bool = True,
) -> Callable[[Rng], list[Sample]]:
    """Samples of a reduction over one dimension, several (also negative ones), or all of them.

    empty: whether nothing at all may be reduced; integers: whether integers and booleans may be.
    """

    def samples(rng: Rng) -> list[Sample]:
        x = rng.standard_normal((3, 4, 2))
        found = [
            Sample(x, 0),
            Sample(x, -1),
            Sample(x, dim=1),
            Sample(np.asarray(1.5), 0),
            Sample(np.asarray(-2.0), -1),
        ]
        found += [Sample(x.T, 1), Sample(x[::2], 0), Sample(x[:, ::-1], 1), Sample(rng.standard_normal((1, 1)), 0)]
        found += [Sample(np.ones((0, 3)), 1), Sample(np.asfortranarray(rng.standard_normal((5, 40))), 0)]
        found += [Sample(rng.standard_normal((3, 7)).astype(np.float16), 1)]
        if keepdim:
            found += [Sample(x, 1, True), Sample(x, -1, keepdim=True), Sample(np.asarray(1.5), 0, keepdim=True)]
            found += [Sample(x, axis=1, keepdims=True)]
        if all_at_once:
            found += [Sample(x), Sample(x[0].T), Sample(np.asarray(1.5)), Sample(rng.standard_normal(300))]
        if several:
            found += [Sample(x, (0, 2)), Sample(x, dim=(-1, 0)), Sample(x, [1])]
            found += [Sample(x, (0, 2), True)] if keepdim else []
        if empty:
            found += [Sample(np.ones((0, 3)), 0)] + ([Sample(np.ones((0, 3)))] if all_at_once else [])
        if integers:
            found += [Sample(a, 1) for a in (INTEGERS, MASK, SMALL)]
            found += [Sample(a) for a in (INTEGERS, MASK, SMALL)] if all_at_once else []
        return found + list(more)

    return samples


def _dim_errors(*more: ErrorSample, several: bool = True) -> Callable[[Rng], list[ErrorSample]]:
    def errors(rng: Rng) -> list[ErrorSample]:
        x = np.ones((2, 3))
        found = [
            ErrorSample(x, 2, error=IndexError, match="Dimension out of range"),
            ErrorSample(x, -3, error=IndexError, match="Dimension out of range"),
            ErrorSample(x, "rows", error=TypeError, match="dim must be an int|str"),
            ErrorSample([1.0], 0, error=TypeError, match="must be Tensor, not list"),
        ]
        found += [ErrorSample(x, (0, 0), error=RuntimeError, match="appears multiple times")] if several else []
        return found + list(more)

    return errors


def _typed(*names: str) -> tuple[Sample, ...]:
    """Samples with `dtype=`."""
    x = np.linspace(-2, 3, 12).reshape(3, 4)
    return (
        *(Sample(x, dim=1, dtype=DType(name)) for name in names),
        Sample(INTEGERS, dim=0, dtype=DType("float32")),
        Sample(INTEGERS, dim=0, dtype=DType("int32")),
        Sample(MASK, dim=0, dtype=DType("float64")),
    )


def _rejects(array: Any, *args: Any, match: str, error: type[Exception] = RuntimeError) -> ErrorSample:
    return ErrorSample(array, *args, error=error, match=match)


NOTHING = np.ones((0, 3))
HALF = np.full(5000, 0.75, np.float16)
FLOATING = tuple(s for s in _typed("float64", "float32") if is_floating(s.args[0].dtype))
NO_INTEGERS = (_rejects(INTEGERS, match="int64"), _rejects(MASK, match="bool"))
NO_NOTHING = (
    _rejects(NOTHING, match="Expected reduction dim"),
    _rejects(NOTHING, 0, match="non-zero size", error=IndexError),
)
EXTREMA = (Sample(TIES), Sample(TIES, 0), Sample(TIES, 1))


def _three_forms(rng: Rng) -> list[Sample]:
    x = rng.standard_normal((3, 4))
    two = [Sample(x, rng.standard_normal(4)), Sample(TIES, TIES[:1]), Sample(x, other=x[0])]
    return [*along(*EXTREMA, several=False, empty=False)(rng), *two]


def _moments(rng: Rng) -> list[Sample]:
    x = rng.standard_normal((3, 4)) + 5
    return [
        *along(Sample(HALF), integers=False)(rng),
        Sample(x, 1, False),
        Sample(x, False),
        Sample(x, unbiased=False),
        Sample(x, dim=1, unbiased=True, keepdim=True),
        Sample(x, 0, correction=0),
        Sample(x, (0, 1), correction=2),
        Sample(x, 1, correction=0.5, keepdim=True),
        Sample(x, correction=0),
        Sample(x, 1, correction=4),
        Sample(np.full((2, 3), 4.0), 1),
        Sample(x * 1e4, 1),
    ]


def _norms(rng: Rng) -> list[Sample]:
    x = rng.standard_normal((3, 4))
    powers = (2, 1, 0, 3, 0.5, 1.5, 2.0, -1, -2.5, math.inf, -math.inf, "fro")
    return [
        Sample(x),
        *(Sample(x, p) for p in powers),
        *(Sample(x, p, 1) for p in powers),
        *(Sample(x, p, (0, 1), True) for p in powers),
        *(Sample(WITH_ZEROS, p, 1) for p in (2, 1, 0, 3, 0.5, 1.5, math.inf, -math.inf)),
        *(Sample(TIES, p, 1) for p in (math.inf, -math.inf)),
        Sample(np.zeros(3)),
        Sample(np.asarray(-2.0)),
        Sample(np.asarray(-2.0), 3),
        Sample(np.ones((0, 3))),
        Sample(np.ones((0, 3)), 1, 1),
        Sample(x.T[::2], 2, 0),
        Sample(x, 2, dtype=DType("float64")),
        Sample(UNUSUAL, 2, 1),
    ]


def _logsumexp(rng: Rng) -> list[Sample]:
    x = rng.standard_normal((3, 4))
    more = (Sample(x * 1000, 1), Sample(UNUSUAL, 1), Sample(TIES, (0, 1)), Sample(INTEGERS, 1))
    return along(*more, all_at_once=False, integers=False)(rng)


def _running(rng: Rng) -> list[Sample]:
    typed = _typed("float64", "float32")
    found = along(*typed, all_at_once=False, several=False, keepdim=False)(rng)
    return [*found, *(Sample(WITH_ZEROS, dim) for dim in (0, 1)), Sample(rng.standard_normal((2, 17)), 1)]


def _weighted_cumsum(library: Any, x: Any, weights: Any) -> Any:
    """Its gradient is a running sum of the weights, in which what is large cancels."""
    return (library.cumsum(x, 0) * weights).sum()


def _distinct_arguments(rng: Rng) -> list[Sample]:
    x = rng.permutation(24).reshape(2, 3, 4).astype(float)
    return [
        Sample(x),
        Sample(x, 1),
        Sample(x, -1, True),
        Sample(x, dim=0, keepdim=True),
        Sample(x, keepdim=True),
        Sample(x.T, 0),
        Sample(x[:, ::-1], 1),
        Sample(TIES),
        Sample(TIES, 1),
        Sample(UNUSUAL, 1),
        Sample(INTEGERS, 0),
        Sample(np.asarray(1.0)),
        Sample(np.asarray(1.0), 0),
        Sample(np.ones((0, 3)), 1),
    ]


def _medians(rng: Rng) -> list[Sample]:
    x = rng.permutation(24).reshape(2, 3, 4).astype(float)
    return [
        Sample(x),
        Sample(x, 1),
        Sample(x, -1, True),
        Sample(x, dim=0),
        Sample(x.T, 0),
        Sample(INTEGERS),
        Sample(np.asarray(1.0)),
        Sample(np.asarray(1.0), 0),
        Sample(np.ones((0, 3)), 1),
        Sample(np.array([[1.0, np.nan, 0.0], [3.0, 1.0, 2.0]]), 1),
    ]


def _with_nan(rng: Rng) -> list[Sample]:
    return [Sample(UNUSUAL), Sample(UNUSUAL, dim=1), Sample(UNUSUAL[1:], dim=0)]


RECORDS = [
    OpRecord("sum", along(*_typed("float64", "float32"), Sample(HALF)), _dim_errors(), kind="reduction"),
    OpRecord(
        "mean",
        along(*FLOATING, Sample(HALF), Sample(INTEGERS, dtype=DType("float32")), integers=False),
        _dim_errors(*NO_INTEGERS),
        kind="reduction",
    ),
    OpRecord(
        "prod",
        along(
            *_typed("float64", "float32"),
            Sample(WITH_ZEROS),
            Sample(WITH_ZEROS, 0),
            Sample(WITH_ZEROS, 1),
            several=False,
        ),
        _dim_errors(several=False),
        kind="reduction",
    ),
    OpRecord("nansum", along(Sample(UNUSUAL), Sample(UNUSUAL, 1)), _dim_errors(), kind="reduction"),
    OpRecord(
        "count_nonzero",
        along(Sample(WITH_ZEROS), Sample(WITH_ZEROS, 1), keepdim=False),
        _dim_errors(),
        differentiable=False,
    ),
    OpRecord("cumsum", _running, _dim_errors(several=False), kind="reduction"),
    OpRecord(
        "cumsum (in float64)",
        lambda rng: [Sample(rng.standard_normal(4), Constant(np.array([1.0, -1e6, 1e6, 0.1])))],
        kind="reduction",
        torch=_weighted_cumsum,
        ours=_weighted_cumsum,
    ),
    OpRecord("cumprod", _running, _dim_errors(several=False), kind="reduction"),
    OpRecord("amax", along(*EXTREMA, empty=False), _dim_errors(*NO_NOTHING)),
    OpRecord("amin", along(*EXTREMA, empty=False), _dim_errors(*NO_NOTHING)),
    OpRecord(
        "aminmax",
        lambda rng: [
            Sample(TIES),
            Sample(TIES, dim=1),
            Sample(TIES, dim=0, keepdim=True),
            Sample(rng.standard_normal((3, 4)).T, dim=0),
            Sample(np.asarray(1.0)),
            Sample(INTEGERS),
        ],
    ),
    OpRecord("max", _three_forms, _dim_errors(*NO_NOTHING, several=False)),
    OpRecord("min", _three_forms, _dim_errors(*NO_NOTHING, several=False)),
    *(
        OpRecord(
            name,
            _distinct_arguments,
            _dim_errors(
                _rejects(NOTHING, match="Expected reduction dim", error=IndexError),
                _rejects(NOTHING, 0, match="non-zero size", error=IndexError),
                several=False,
            ),
            differentiable=False,
        )
        for name in ("argmax", "argmin")
    ),
    OpRecord("median", _medians, _dim_errors(several=False)),
    OpRecord(
        "median",
        lambda rng: [Sample(TIES), Sample(UNUSUAL)],
        gradcheck=False,
        note="a median that several elements share does not move with one of them",
    ),
    *(
        OpRecord(name, _with_nan, differentiable=False, note="PyTorch spreads NaN over the gradients of its neighbours")
        for name in ("amax", "amin", "aminmax", "max", "min")
    ),
    *(
        OpRecord(name, _moments, _dim_errors(_rejects(INTEGERS, match="floating")), kind="reduction")
        for name in ("var", "std", "var_mean", "std_mean")
    ),
    OpRecord(
        "norm",
        _norms,
        lambda rng: [
            _rejects(INTEGERS, match="int64"),
            _rejects(np.ones((2, 3)), 2, 2, match="Dimension out of range", error=IndexError),
            _rejects(np.ones((2, 3)), 2, (0, 0), match="appears multiple times"),
            _rejects(np.ones((2, 3)), "row", match="'row'"),
        ],
        kind="reduction",
    ),
    OpRecord(
        "logsumexp",
        _logsumexp,
        _dim_errors(_rejects(np.ones(3), None, match="NoneType", error=TypeError)),
        kind="reduction",
    ),
    OpRecord("any", along(Sample(UNUSUAL, 1)), _dim_errors(), differentiable=False),
    OpRecord("all", along(Sample(UNUSUAL, 1)), _dim_errors(), differentiable=False),
]
