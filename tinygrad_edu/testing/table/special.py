"""Records of functional/special.py."""

from __future__ import annotations

import numpy as np

from ...backend.dtypes import is_floating
from ..records import ErrorSample, OpRecord, Sample
from .elementwise import INTEGERS, MASK, WEIRD, pairs, unary

Rng = np.random.Generator
BYTES = np.array([1, 6, 200], np.uint8)


def _not_a_tensor(rng: Rng) -> list[ErrorSample]:
    return [ErrorSample([1.0], error=TypeError, match="must be Tensor, not list")]


def _not_integers(rng: Rng) -> list[ErrorSample]:
    return [
        ErrorSample(INTEGERS, INTEGERS, error=NotImplementedError, match="not implemented for"),
        ErrorSample(np.ones(3), 2.0, error=TypeError, match="must be Tensor, not float"),
        ErrorSample(np.ones((2, 3)), np.ones((2, 4)), error=RuntimeError, match="must match"),
    ]


def _floating_pairs(rng: Rng) -> list[Sample]:
    found = [s for s in pairs(numbers=False, booleans=False)(rng) if all(is_floating(x.dtype) for x in s.args)]
    return [*found, Sample(INTEGERS, rng.standard_normal(3))]


def _whole(rng: Rng) -> list[Sample]:
    return [
        Sample(INTEGERS, np.array([[2, -3, 5]])),
        Sample(INTEGERS.T, np.array(6)),
        Sample(BYTES, np.array([4, 4, 15], np.uint8)),
        Sample(np.array([7, 100], np.int8), np.array([21, -30])),
        Sample(np.zeros((0, 3), np.int64), np.array([1, 2, 3])),
    ]


def _refuses_floats(rng: Rng) -> list[ErrorSample]:
    return [ErrorSample(np.ones(3), np.ones(3), error=NotImplementedError, match="expected tensors of integers")]


def _shifts(rng: Rng) -> list[Sample]:
    return [
        Sample(INTEGERS, np.array([0, 1, 3])),
        Sample(INTEGERS, 2),
        Sample(BYTES, np.array([1, 2, 1], np.uint8)),
        Sample(np.zeros((0, 3), np.int64), 1),
    ]


def _xlogy(rng: Rng) -> list[Sample]:
    found = pairs(signs=False)(rng)
    edge = np.array([0.0, 0.0, 0.0, 0.0, 2.0, -1.0, np.nan]), np.array([0.0, -1.0, np.nan, 0.4, 0.5, 2.0, 0.0])
    return [*found, Sample(*edge), Sample(0.0, np.array([0.5, 0.0])), Sample(2.0, np.array([0.5, 3.0]))]


def _logit(rng: Rng) -> list[Sample]:
    p = rng.uniform(0.05, 0.95, (3, 4))
    return [
        *unary(0.05, 0.95, extremes=False)(rng),
        Sample(p, 0.2),
        Sample(p.T, eps=0.1),
        Sample(np.array([0.0, 1.0, 2.0, -1.0]), 1e-3),
        Sample(np.array([0.0, 1.0, 1e-30])),
    ]


def _heaviside(rng: Rng) -> list[Sample]:
    x = np.array([-1.5, 0.0, 2.0, np.nan])
    return [
        Sample(x, np.array([0.5])),
        Sample(x[:, None], rng.standard_normal(3)),
        Sample(INTEGERS, np.array(7)),
        Sample(MASK, np.array([True])),
        Sample(np.zeros((0, 2)), np.ones(2)),
    ]


def _powers(rng: Rng) -> list[Sample]:
    x = rng.uniform(0.5, 2, (2, 3))
    return [
        Sample(x, 2),
        Sample(2, x),
        Sample(x, x[::-1]),
        Sample(INTEGERS, 2.5),
        Sample(INTEGERS, np.array([1, 2, -1])),
    ]


def _ldexp(rng: Rng) -> list[Sample]:
    x = rng.standard_normal((2, 3))
    return [
        Sample(x, np.array([1, 2, 0])),
        Sample(x, rng.standard_normal((2, 1))),
        Sample(INTEGERS, np.array([3, 0, -1])),
    ]


def _fmax(rng: Rng) -> list[Sample]:
    return [*pairs(numbers=False)(rng), Sample(WEIRD[:, None], WEIRD), Sample(np.ones(3), np.ones(3))]


def _copysign(rng: Rng) -> list[Sample]:
    return [*pairs()(rng), Sample(WEIRD[:, None], WEIRD), Sample(np.array([0.0, -0.0, 3.0]), -0.0)]


def _rsub(rng: Rng) -> list[Sample]:
    x = rng.standard_normal((2, 3))
    return [
        Sample(x, 2),
        Sample(x, rng.standard_normal(3), alpha=2.5),
        Sample(INTEGERS, 3, alpha=2),
        Sample(INTEGERS, 1.5),
    ]


def _inverse_of_tanh(rng: Rng) -> list[Sample]:
    return [*unary(-0.9, 0.9)(rng), Sample(np.array([-1.0, 1.0, -2.0]))]


def _halves(rng: Rng) -> list[Sample]:
    x = np.array([-2.75, -0.5, 0.0, 0.25, 3.5, np.inf, np.nan])
    return [Sample(x), Sample(rng.standard_normal((4, 3)).T), Sample(np.zeros((0, 2))), Sample(np.array(1.5))]


def _neighbours(rng: Rng) -> list[Sample]:
    return [Sample(WEIRD[:, None], WEIRD), Sample(WEIRD, WEIRD[::-1]), Sample(np.zeros((0, 2)), np.ones(2))]


def _whole_numbers_refused(rng: Rng) -> list[ErrorSample]:
    return [ErrorSample(INTEGERS, error=NotImplementedError, match="not implemented for"), *_not_a_tensor(rng)]


RECORDS = [
    OpRecord("acosh", unary(1.2, 5.0), _not_a_tensor),
    OpRecord("asinh", unary(), _not_a_tensor),
    OpRecord("atanh", _inverse_of_tanh, _not_a_tensor),
    OpRecord("deg2rad", unary(-200, 200), _not_a_tensor),
    OpRecord("rad2deg", unary(), _not_a_tensor),
    OpRecord("hypot", _floating_pairs, _not_integers),
    OpRecord("sinc", lambda rng: [*unary(extremes=False)(rng), Sample(np.array([0.0, 1.0, -2.0]))], _not_a_tensor),
    OpRecord("logaddexp", _floating_pairs, _not_integers),
    OpRecord("logaddexp2", _floating_pairs, _not_integers),
    OpRecord("xlogy", _xlogy),
    OpRecord("logit", _logit, _not_a_tensor),
    OpRecord("frac", _halves, _whole_numbers_refused),
    OpRecord("sgn", unary(), _not_a_tensor, torch=lambda torch, x: torch.sign(x)),  # its gradient, 0, is readable
    OpRecord("signbit", unary(), _not_a_tensor, differentiable=False, kind="exact"),
    OpRecord("copysign", _copysign),
    OpRecord("heaviside", _heaviside, differentiable=False, kind="exact"),
    OpRecord("nextafter", _neighbours, _not_integers, differentiable=False, kind="exact"),
    OpRecord("isposinf", unary(), _not_a_tensor, differentiable=False, kind="exact"),
    OpRecord("isneginf", unary(), _not_a_tensor, differentiable=False, kind="exact"),
    OpRecord("isreal", unary(), _not_a_tensor, differentiable=False, kind="exact"),
    OpRecord("fmax", _fmax),
    OpRecord("fmin", _fmax),
    OpRecord("float_power", _powers),
    OpRecord("ldexp", _ldexp),
    OpRecord("rsub", _rsub),
    OpRecord("gcd", _whole, _refuses_floats, differentiable=False, kind="exact"),
    OpRecord("lcm", _whole, _refuses_floats, differentiable=False, kind="exact"),
    OpRecord("bitwise_left_shift", _shifts, _refuses_floats, differentiable=False, kind="exact"),
    OpRecord("bitwise_right_shift", _shifts, _refuses_floats, differentiable=False, kind="exact"),
    OpRecord("detach", unary(), ours=lambda t, x: t.detach(x), differentiable=False, kind="exact"),
    OpRecord("conj", unary(), _not_a_tensor),
]
