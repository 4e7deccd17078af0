"""Records of dropout, as far as chance plays no part in it."""

from __future__ import annotations

import numpy as np

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


RECORDS = [OpRecord("nn.functional.dropout", _samples, _errors, kind="exact")]
