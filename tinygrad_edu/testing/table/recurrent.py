"""Records of recurrent cells."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ...functional.recurrent import gru_step, lstm_step
from ..records import ErrorSample, OpRecord, Sample

BATCH, INPUTS, HIDDEN = 3, 5, 4


def _cell(gates: int, states: int = 1) -> Callable[[np.random.Generator], list[Sample]]:
    def samples(rng):
        n = rng.standard_normal

        def call(batch, scale=1.0, biases=2):
            state = tuple(n((batch, HIDDEN)) for _ in range(states))
            weights = n((gates * HIDDEN, INPUTS)) * scale, n((gates * HIDDEN, HIDDEN)) * scale
            return (
                n((batch, INPUTS)),
                state if states > 1 else state[0],
                *weights,
                *(n(gates * HIDDEN) for _ in range(biases)),
            )

        x, h, w_ih, w_hh, b_ih, b_hh = call(BATCH)
        square = n((BATCH, HIDDEN))
        return [
            Sample(x, h, w_ih, w_hh, b_ih, b_hh),
            Sample(*call(BATCH, biases=0)),
            Sample(x, h, w_ih, w_hh, b_ih=b_ih, b_hh=b_hh),
            Sample(*call(1)),
            Sample(*call(0)),
            Sample(*call(BATCH, scale=50.0)),  # gates at their ends
            Sample(n((2 * BATCH, INPUTS))[::2], h, n((INPUTS, gates * HIDDEN)).T, w_hh, b_ih, b_hh),
            Sample(square, (square,) * states if states > 1 else square, w_hh, w_hh),  # one tensor in several places
        ]

    return samples


def _errors(gates: int, states: int = 1) -> Callable[[np.random.Generator], list[ErrorSample]]:
    def errors(rng):
        n = rng.standard_normal
        x, w_ih, w_hh = n((BATCH, INPUTS)), n((gates * HIDDEN, INPUTS)), n((gates * HIDDEN, HIDDEN))

        def state(*shape, dtype="float64"):
            h = n(shape).astype(dtype)
            return h if states == 1 else (h, h)

        return [
            ErrorSample(x[:, 1:], state(BATCH, HIDDEN), w_ih, w_hh, error=RuntimeError, match=r"\(3, 4\).* I = 5"),
            ErrorSample(x, state(2, HIDDEN), w_ih, w_hh, error=RuntimeError, match=r"got \(2, 4\), expected \(3, 4\)"),
            ErrorSample(x, state(BATCH, 3), w_ih, w_hh, error=RuntimeError, match=r"got \(3, 3\), expected \(3, 4\)"),
            ErrorSample(x, state(BATCH, HIDDEN), w_ih[1:], w_hh, error=RuntimeError, match=f"shapes .{gates}H, I. and"),
            ErrorSample(
                x, state(BATCH, HIDDEN), w_ih, w_hh, n(2), error=RuntimeError, match=r"bias of shape \(\d+,\) for"
            ),
            ErrorSample(
                x, state(BATCH, HIDDEN, dtype="float32"), w_ih, w_hh, error=RuntimeError, match="the same dtype"
            ),
            ErrorSample(
                1.0, state(BATCH, HIDDEN), w_ih, w_hh, error=TypeError, match="'input' must be Tensor, not float"
            ),
        ]

    return errors


def _lstm_errors(rng):
    x, h, w_ih, w_hh = (
        rng.standard_normal(s) for s in ((BATCH, INPUTS), (BATCH, HIDDEN), (4 * HIDDEN, INPUTS), (4 * HIDDEN, HIDDEN))
    )
    return [
        *_errors(4, 2)(rng),
        ErrorSample(x, h, w_ih, w_hh, error=TypeError, match="must be tuple of Tensors"),
        ErrorSample(x, (h,), w_ih, w_hh, error=RuntimeError, match="two hidden states, .* got 1"),
    ]


def _lstm_step(library, gates, h, c, w_hh):
    """One step of any number of batch axes."""
    if library.__name__ != "torch":
        return lstm_step(gates, (h, c), w_hh, None)
    i, f, g, o = (gates + h @ w_hh.T).chunk(4, -1)
    c = f.sigmoid() * c + i.sigmoid() * g.tanh()
    return o.sigmoid() * c.tanh(), c


def _gru_step(library, gates, h, w_hh):
    if library.__name__ != "torch":
        return gru_step(gates, (h,), w_hh, None)[0]
    (x_r, x_z, x_n), (h_r, h_z, h_n) = gates.chunk(3, -1), (h @ w_hh.T).chunk(3, -1)
    n = (x_n + (x_r + h_r).sigmoid() * h_n).tanh()
    return n + (x_z + h_z).sigmoid() * (h - n)


def _steps(gates: int, states: int = 1) -> Callable[[np.random.Generator], list[Sample]]:
    def samples(rng):
        n = rng.standard_normal
        return [
            Sample(n((*batch, gates * 3)), *(n((*batch, 3)) for _ in range(states)), n((gates * 3, 3)))
            for batch in ((2, 4), (2,), (2, 1, 2))
        ]

    return samples


RECORDS = [
    OpRecord("rnn_tanh_cell", _cell(1), _errors(1), kind="reduction"),
    OpRecord("rnn_relu_cell", _cell(1), _errors(1), kind="reduction"),
    OpRecord("lstm_cell", _cell(4, 2), _lstm_errors, kind="reduction"),
    OpRecord("gru_cell", _cell(3), _errors(3), kind="reduction"),
    OpRecord("lstm_cell (batch axes)", _steps(4, 2), kind="reduction", torch=_lstm_step, ours=_lstm_step),
    OpRecord("gru_cell (batch axes)", _steps(3), kind="reduction", torch=_gru_step, ours=_gru_step),
]
