"""Records of pooling."""

from __future__ import annotations

import math
from functools import partial

import numpy as np

from ..records import ErrorSample, OpRecord, Sample

TIES = np.array([[[1.0, 3.0, 3.0, 0.0, 3.0, 3.0], [2.0, 2.0, 2.0, 2.0, 2.0, 2.0]]])
LOWEST = np.full((1, 1, 7), -math.inf)  # nothing in the windows is above the padding
UNUSUAL = np.array([[[1.0, math.nan, 0.0, math.inf, -math.inf, 2.0]]])


def _in(n, x):
    """A signal (B, C, L) as a picture or volume with n axes; the second row of the picture holds no NaN."""
    if n == 1:
        return x
    picture = np.stack([x, np.nan_to_num(x[..., ::-1], nan=-5.0, posinf=math.inf, neginf=-math.inf)], -2)
    return picture if n == 2 else picture[:, :, None]


def _sizes(n):
    return (4, 6, 5)[-n:]


def _pool(rng, n):
    """What max and avg pooling have in common."""
    r = rng.standard_normal
    x, some = r((2, 2, *_sizes(n))), (2, 3, 2)[-n:]
    last = (0,) * (n - 1) + (1,)
    return [
        Sample(x, 2),
        Sample(x[0], 2),  # without a batch
        Sample(x, some, tuple(1 + k for k in last), last),
        Sample(x, 3, 2, 1),
        Sample(x, 3, 2, 1, ceil_mode=True),
        Sample(x, 2, 3, 1, ceil_mode=True),  # a last window that would start in the padding does not count
        Sample(x, kernel_size=[2], stride=None, padding=0, ceil_mode=True),
        Sample(x, 1),
        Sample(x, _sizes(n)),
        Sample(x[:0], 2),
        Sample(r((*_sizes(n)[::-1], 2, 2)).T, 2, 1),
        *([] if n == 3 else [Sample(x.astype(np.float16), 3, 2, 1)]),
        Sample(_in(n, UNUSUAL), (1,) * (n - 1) + (2,)),
        Sample(_in(n, UNUSUAL), (1,) * (n - 1) + (3,), 1, last),
    ]


def _max_pool(rng, n):
    x = rng.permutation(2 * math.prod(_sizes(n))).reshape(1, 2, *_sizes(n)).astype(float)
    ones = (1,) * (n - 1)
    return [
        *_pool(rng, n),
        Sample(x, 2, 1, 0, 2),
        Sample(x, 2, 1, 1, 2, True),
        Sample(x, (*ones, 3), 2, (*(0,) * (n - 1), 1), (*ones, 2), return_indices=True),
        Sample(x, 2, return_indices=True),
        Sample(x[0], 3, 2, 1, ceil_mode=True, return_indices=True),
        Sample(_in(n, TIES), (*ones, 3), return_indices=True),
        Sample(_in(n, TIES), (*ones, 2), 1, return_indices=True),
        Sample(_in(n, LOWEST), (*ones, 3), (*ones, 2), (*(0,) * (n - 1), 1), return_indices=True),
        Sample(_in(n, LOWEST), (*ones, 3), 2, (*(0,) * (n - 1), 1), (*ones, 2), return_indices=True),
        *([] if n == 1 else [Sample(x.astype(int), 2), Sample(x.astype(np.uint8), 3, 2, 1)]),
    ]


def _avg_pool(rng, n):
    x = rng.standard_normal((2, 2, *_sizes(n)))
    settings = [
        Sample(x, 3, 2, 1, False, False),
        Sample(x, 3, 2, 1, ceil_mode=True, count_include_pad=False),
        Sample(x, 2, 3, 1, ceil_mode=True, count_include_pad=False),
        Sample(rng.integers(-9, 9, (2, 2, *_sizes(n))), 2),  # rounded towards 0
    ]
    divided = [Sample(x, 2, divisor_override=3), Sample(x, 3, 2, 1, True, False, -2)]
    return [*_pool(rng, n), *settings, *(divided if n > 1 else [])]


def _pool_errors(rng, n):
    x = rng.standard_normal((2, 3, *(6,) * n))
    refused = [
        ((x[0, 0, ..., 0] if n > 1 else x[0, 0], 2), "unbatched"),
        ((x[None], 2), "unbatched"),
        ((x, 7), "output size is too small"),
        ((x, 2, 0), "stride must be at least 1, but got 0"),
        ((x, 0), "kernel_size must be at least 1"),
        ((x, 2, 1, 2), "at most half of the kernel size"),
        ((x, 2, 1, -1), "padding must be at least 0"),
        ((x, (2,) * (n + 1)), "expected kernel_size to be one int"),
        ((x[:, :0], 2), "no size of 0 other than the batch"),
        ((x[:, :, :0], 2), "no size of 0 other than the batch"),
    ]
    return [
        *(ErrorSample(*args, error=RuntimeError, match=match) for args, match in refused),
        ErrorSample([1.0], 2, error=TypeError, match="'input' must be Tensor, not list"),
        ErrorSample(x, 2.0, error=TypeError, match="'kernel_size' must be tuple of ints, not float"),
        ErrorSample(x > 0, 2, error=NotImplementedError, match="not implemented for bool"),
    ]


def _max_pool_errors(rng, n):
    x = rng.standard_normal((2, 3, *(6,) * n))
    return [
        *_pool_errors(rng, n),
        ErrorSample(x, 2, dilation=0, error=RuntimeError, match="dilation must be at least 1"),
    ]


def _avg_pool_errors(rng, n):
    x = rng.standard_normal((2, 3, *(6,) * n))
    zero = [ErrorSample(x, 2, divisor_override=0, error=RuntimeError, match="divisor must be not zero")]
    int32 = ErrorSample(x.astype(np.int32), 2, error=NotImplementedError, match="not implemented for int32")
    # PyTorch fails at too few dimensions with the error of another check.
    rest = [e for e in _pool_errors(rng, n) if e.match != "unbatched"]
    return [*rest, ErrorSample(x[None], 2, error=RuntimeError, match="unbatched"), int32, *(zero if n > 1 else [])]


def _lp_pool(rng, n):
    x = rng.standard_normal((2, 2, *_sizes(n)))
    positive = abs(x) + 0.1
    return [
        Sample(x, 2, 2),
        Sample(x, 2.0, 3, 1),
        Sample(x[0], 2, 2, ceil_mode=True),
        Sample(positive, 3, 2),
        Sample(positive, 1.5, [2] * n if n > 1 else 2, 1),
        Sample(x, 1, 2),
        Sample(x, math.inf, 2),
        Sample(x, -math.inf, 3, 2, True),
        Sample(np.zeros((1, 1, *_sizes(n))), 2, 2),
        Sample(x[:0], 2, 2),
    ]


def _lp_pool_errors(rng, n):
    x = rng.standard_normal((2, 3, *(6,) * n))
    return [
        ErrorSample(x, 2, 7, error=RuntimeError, match="output size is too small"),
        ErrorSample(x, 2, 2, 0, error=RuntimeError, match="stride must be at least 1"),
    ]


def _adaptive(rng, n):
    x = rng.standard_normal((2, 2, *_sizes(n)))
    none = [] if n == 1 else [Sample(x, (*(2,) * (n - 1), None)), Sample(x, [None, *(1,) * (n - 1)])]
    return [
        *none,
        Sample(x, 1),
        Sample(x[0], 2),
        Sample(x, (3, 4, 2)[-n:]),
        Sample(x, 7),  # more windows than elements
        Sample(x, _sizes(n)),
        Sample(x[:0], 2),
        Sample(rng.standard_normal((*_sizes(n)[::-1], 2, 2)).T, 4),
        Sample(_in(n, UNUSUAL), (*(1,) * (n - 1), 4)),
    ]


def _adaptive_max(rng, n):
    x = rng.permutation(2 * math.prod(_sizes(n))).reshape(1, 2, *_sizes(n)).astype(float)
    return [
        *_adaptive(rng, n),
        Sample(x, 3, return_indices=True),
        Sample(x[0], (3, 4, 2)[-n:], True),
        Sample(_in(n, TIES), (*(1,) * (n - 1), 4), return_indices=True),
        Sample(_in(n, LOWEST), (*(1,) * (n - 1), 2), return_indices=True),
    ]


def _adaptive_errors(rng, n):
    x = rng.standard_normal((2, 3, *(6,) * n))
    return [
        ErrorSample(x[0, 0, ..., 0] if n > 1 else x[0, 0], 2, error=RuntimeError, match="unbatched"),
        ErrorSample(x[None], 2, error=RuntimeError, match="unbatched"),
        ErrorSample(x, -1, error=RuntimeError, match="output_size must be at least 1"),
        ErrorSample(x, (2,) * (n + 1), error=RuntimeError, match="expected output_size to be one int"),
        ErrorSample(x[..., :0], 2, error=RuntimeError, match="non-zero spatial sizes"),
        ErrorSample(x.astype(int), 2, error=NotImplementedError, match="not implemented for int64"),
        ErrorSample(x, 2.0, error=TypeError, match="'output_size' must be tuple of ints, not float"),
    ]


RECORDS = [
    OpRecord(f"nn.functional.{name}{n}d", partial(samples, n=n), partial(errors, n=n), kind="reduction")
    for name, samples, errors, dimensions in (
        ("max_pool", _max_pool, _max_pool_errors, (1, 2, 3)),
        ("avg_pool", _avg_pool, _avg_pool_errors, (1, 2, 3)),
        ("lp_pool", _lp_pool, _lp_pool_errors, (1, 2)),
        ("adaptive_avg_pool", _adaptive, _adaptive_errors, (1, 2, 3)),
        ("adaptive_max_pool", _adaptive_max, _adaptive_errors, (1, 2, 3)),
    )
    for n in dimensions
]
