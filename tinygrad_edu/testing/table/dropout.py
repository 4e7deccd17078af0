"""Records of dropout: as far as chance plays no part in it, and with a mask from a given place of the stream."""

from __future__ import annotations

from functools import partial

import numpy as np

from ...backend.random import keep_mask
from ...dispatch import apply
from ...ops.dropout import Dropout, mask_shape
from ..records import ErrorSample, OpRecord, Sample


def _samples(rng):
    x = rng.standard_normal((3, 4))
    return [
        Sample(x, 0.5, False),
        Sample(x, p=0.0),
        Sample(x, p=1.0),
        Sample(x.T, p=1.0, training=False),
        Sample(np.ones(3, int), training=False),
    ]


def _errors(rng):
    x = rng.standard_normal(3)
    return [
        ErrorSample(x, 1.5, error=ValueError, match="between 0 and 1, but got 1.5"),
        ErrorSample(x, -0.1, error=ValueError, match="between 0 and 1, but got -0.1"),
        ErrorSample(np.ones(3, int), error=RuntimeError, match="floating input, got int64"),
        ErrorSample([1.0], error=TypeError, match="'input' must be Tensor, not list"),
    ]


def _of_channels(rng, shapes):
    return [
        *(Sample(rng.standard_normal(shape), training=False) for shape in shapes),
        *(Sample(rng.standard_normal(shape), p=1.0) for shape in shapes),
        Sample(rng.standard_normal(shapes[0]).swapaxes(0, 1), p=0.0),
    ]


def _errors_of_channels(rng, shapes):
    x = rng.standard_normal(shapes[0])
    return [
        ErrorSample(x, 1.5, error=ValueError, match="between 0 and 1, but got 1.5"),
        ErrorSample(x.astype(int), error=RuntimeError, match="floating input, got int64"),
    ]


def _drawn(library, x, p, seed, counter, apart=None):
    if library.__name__ == "torch":
        return x * library.from_numpy(keep_mask(np, mask_shape(x.shape, apart), np.float64, p, seed, counter)).to(x)
    return apply(Dropout, x, p=p, seed=seed, counter=counter, apart=apart)


def _drawn_samples(rng):
    x = rng.standard_normal((3, 4, 5))
    return [
        Sample(x, 0.5, 3, 7),
        Sample(x.T, 0.5, 2**100, 2**200),
        Sample(x, 0.25, 3, 7, 2),
        Sample(x[0, 0, 0, None], 0.5, 3, 8),
        Sample(x[:0], 0.5, 3, 8),
    ]


SHAPES = {1: [(2, 3, 4), (3, 4)], 2: [(2, 3, 2, 2), (2, 3, 4)], 3: [(2, 3, 2, 1, 2)]}

RECORDS = [
    OpRecord("nn.functional.dropout", _samples, _errors, kind="exact"),
    OpRecord("nn.functional.dropout (drawn)", _drawn_samples, kind="exact", torch=_drawn, ours=_drawn),
    *(
        OpRecord(
            f"nn.functional.dropout{n}d",
            partial(_of_channels, shapes=shapes),
            partial(_errors_of_channels, shapes=shapes),
            kind="exact",
        )
        for n, shapes in SHAPES.items()
    ),
]
