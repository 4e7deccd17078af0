"""Records of attention."""

from __future__ import annotations

import numpy as np

from ...backend.random import keep_mask
from ...dispatch import apply
from ...ops.attention import Attention
from ..records import ErrorSample, OpRecord, Sample


def _qkv(rng, q, k=None, v=None):
    k = q if k is None else k
    return tuple(rng.standard_normal(s) for s in (q, k, k if v is None else v))


def _samples(rng):
    n = rng.standard_normal
    qkv = _qkv(rng, (2, 3, 5, 4))
    other = _qkv(rng, (2, 3, 5, 4), (2, 3, 6, 4), (2, 3, 6, 7))
    allowed = rng.random((5, 6)) < 0.6
    allowed[2] = False  # a query that may look at nothing
    packed = n((2, 5, 36)).reshape(2, 5, 3, 3, 4).transpose(2, 0, 3, 1, 4)  # as one projection gives them
    return [
        Sample(*qkv),
        Sample(*qkv, is_causal=True),
        Sample(*qkv, scale=0.3),
        Sample(*other),
        Sample(*other, is_causal=True),
        Sample(*_qkv(rng, (5, 4))),
        Sample(*_qkv(rng, (3, 5, 4)), is_causal=True),
        Sample(*_qkv(rng, (2, 2, 3, 5, 4))),
        Sample(*_qkv(rng, (2, 3, 1, 4), (2, 3, 6, 4))),
        Sample(*_qkv(rng, (2, 3, 6, 4), (2, 3, 1, 4)), is_causal=True),
        Sample(*_qkv(rng, (2, 4, 5, 4), (2, 1, 6, 4), (1, 4, 6, 3))),  # batch axes that broadcast
        Sample(*_qkv(rng, (0, 3, 5, 4))),
        Sample(*_qkv(rng, (2, 3, 5, 1))),
        Sample(packed[0], packed[1], packed[2], is_causal=True),
        Sample(qkv[0], qkv[0], qkv[0]),  # one tensor in three places
        Sample(*other, attn_mask=allowed),
        Sample(*other, attn_mask=rng.random((2, 1, 5, 6)) < 0.5),
        Sample(*other, attn_mask=rng.random((2, 3, 1, 6)) < 0.5),
        Sample(*other, attn_mask=n((5, 6))),  # a mask that learns
        Sample(*other, attn_mask=n((3, 5, 6)) * 2000),  # exp would overflow
        Sample(*other, attn_mask=n((2, 1, 5, 1))),
        Sample(*(x.astype(np.float16) for x in qkv), is_causal=True),
        Sample(*_qkv(rng, (2, 4, 5, 4), (2, 2, 6, 4)), enable_gqa=True),
        Sample(*_qkv(rng, (2, 4, 5, 4), (2, 1, 5, 4)), is_causal=True, enable_gqa=True),
    ]


def _errors(rng):
    q, k, v = _qkv(rng, (2, 3, 5, 4), (2, 3, 6, 4))
    return [
        ErrorSample(q[..., :2], k, v, error=RuntimeError, match="last sizes of query and key, 2 and 4"),
        ErrorSample(q[0, 0, 0], k, v, error=RuntimeError, match=r"at least 2 dimensions, got query \(4,\)"),
        ErrorSample(q, k[:, :2], v[:, :2], error=RuntimeError, match="must be equal or broadcast"),
        ErrorSample(q, k, v.astype(np.float32), error=RuntimeError, match="query and value to have the same dtype"),
        ErrorSample(q, k, v, np.ones((4, 6), bool), error=RuntimeError, match=r"\(4, 6\) does not broadcast to"),
        ErrorSample(q, k, v, np.ones((5, 6), int), error=RuntimeError, match="bool or floating, got int64"),
        ErrorSample(q, k, v, dropout_p=1.5, error=RuntimeError, match="between 0 and 1, but got 1.5"),
        ErrorSample(q, k[:, :2], v[:, :2], enable_gqa=True, error=RuntimeError, match="must divide"),
    ]


def _dropped(library, q, k, v, *dropout):
    """Weights are dropped from a place of the stream that is given; the function goes on from call to call."""
    if library.__name__ == "torch":
        keep = library.from_numpy(keep_mask(np, (*q.shape[:-1], k.shape[-2]), np.float64, *dropout))
        return (library.softmax(q @ k.transpose(-1, -2) * 0.5, -1) * keep.to(q)) @ v
    return apply(Attention, q, k, v, None, scale=0.5, is_causal=False, dropout=dropout)


def _dropped_samples(rng):
    return [Sample(*_qkv(rng, (2, 3, 5, 4), (2, 3, 6, 4), (2, 3, 6, 7)), 0.5, 3, 7)]


RECORDS = [
    OpRecord("nn.functional.scaled_dot_product_attention", _samples, _errors, kind="reduction"),
    OpRecord(
        "nn.functional.scaled_dot_product_attention (dropout)",
        _dropped_samples,
        kind="reduction",
        torch=_dropped,
        ours=_dropped,
    ),
]
