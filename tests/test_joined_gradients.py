"""Gradients of slices that lie in memory as the slices do reach what was sliced without a copy."""

from __future__ import annotations

import numpy as np
import pytest

import tinygrad_edu as tg
from tinygrad_edu.autograd.function import Function

SHAPE = 4, 6, 5


class Given(Function):
    """A sum of tensors whose gradients are given arrays, wherever these lie."""

    @staticmethod
    def forward(ctx, gradients, *tensors):
        ctx.gradients = gradients
        return tg.stack([t.sum() for t in tensors]).sum()

    @staticmethod
    def backward(ctx, gy):
        return None, *map(tg.from_numpy, ctx.gradients)


def arriving(take, gradients):
    """The array that arrives at x where the slices take(x) get these gradients, and what it must be."""
    found = []
    x = tg.randn(*SHAPE, requires_grad=True) * 1
    x.register_hook(lambda g: found.append(g.numpy()))
    Given.apply(gradients, *take(x)).backward()
    expected = np.zeros(SHAPE, np.float32)
    for place, g in zip(take(np.arange(expected.size).reshape(SHAPE)), gradients, strict=True):
        np.add.at(expected.reshape(-1), place, g)
    return found[0], expected


def normal(*shape):
    return np.random.default_rng(shape).standard_normal(shape, np.float32)


def in_order(x):
    return [x[0], x[1], x[2], x[3]]


@pytest.mark.parametrize(
    "take",
    [
        in_order,
        lambda x: [x[3], x[0], x[2], x[1]],
        lambda x: [x[:1], x[1:3], x[-1]],
        lambda x: [x[:, i] for i in range(6)],
        lambda x: [x[..., i] for i in range(5)],
        lambda x: [x[:, :4], x[:, 4], x[:, 5:]],
    ],
)
@pytest.mark.parametrize("order", [(0, 1, 2), (1, 0, 2), (2, 1, 0)])
def test_parts_of_one_array(take, order):
    whole = normal(*(SHAPE[i] for i in order)).transpose(np.argsort(order))
    found, expected = arriving(take, take(whole))
    np.testing.assert_array_equal(found, expected)
    assert np.shares_memory(found, whole)


@pytest.mark.parametrize(
    "take, laid",
    [
        (in_order, lambda g: [g[0], g[2], g[1], g[3]]),  # in another order
        (in_order, lambda g: [g[0], g[0], g[0], g[1]]),
        (in_order, lambda g: [g[0], g[1], g[2], g[3].copy()]),
        (lambda x: [x[0], x[2], x[1], x[3]], lambda g: [g[0], g[2], g[1], g[3]]),  # no neighbour of those before
        (lambda x: [x[0], x[1], x[3]], lambda g: [g[0], g[1], g[3]]),  # x[2] is not used
        (lambda x: [x[0], x[1], x[1], x[2], x[3]], lambda g: [g[0], g[1], g[1], g[2], g[3]]),  # x[1] twice
        (lambda x: [x[:2], x[1:3], x[2:]], lambda g: [g[:2], g[1:3], g[2:]]),
        (lambda x: [x[0], x[:, 1]], lambda g: [g[0], g[:, 1]]),
        (lambda x: [x[:2, 0], x[2:, 0]], lambda g: [g[:2, 0], g[2:, 0]]),
        (lambda x: [x[::2], x[1::2]], lambda g: [g[::2], g[1::2]]),
        (lambda x: [x[:2], x[2:], x], lambda g: [g[:2], g[2:], g]),
        (lambda x: [x, x[:2], x[2:]], lambda g: [g, g[:2], g[2:]]),
    ],
)
def test_other_parts_are_added_up(take, laid):
    whole = normal(*SHAPE)
    before = whole.copy()
    found, expected = arriving(take, laid(whole))
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    np.testing.assert_array_equal(whole, before)


def test_one_number_for_all():
    """The gradient of a sum repeats one number in memory."""
    x = tg.randn(*SHAPE, requires_grad=True)
    (3 * tg.stack(x.unbind(1)).sum()).backward()
    np.testing.assert_array_equal(x.grad.numpy(), np.full(SHAPE, 3, np.float32))
    x.grad[0] = 5  # memory of its own
    assert x.grad.sum().item() == 5 * 30 + 3 * 90
