"""Dropout, attention with dropout, and what attention promises beyond PyTorch."""

from __future__ import annotations

import numpy as np
import pytest

import tinygrad_edu as tg
from tinygrad_edu.nn import functional as F
from tinygrad_edu.testing import gradcheck, gradgradcheck


def normal(*shape: int, requires_grad: bool = False) -> tg.Tensor:
    array = np.random.default_rng(shape).standard_normal(shape)
    return tg.tensor(array, requires_grad=requires_grad)


@pytest.mark.parametrize("dtype", [tg.float16, tg.float32, tg.float64])
def test_dropout_keeps_the_share_and_the_scale(dtype):
    y = F.dropout(tg.ones(200, 500, dtype=dtype), 0.3)
    assert y.dtype == dtype
    values, counts = np.unique(y.numpy(), return_counts=True)
    np.testing.assert_allclose(values, [0, 1 / 0.7], rtol=1e-3)
    assert counts[0] / y.numel() == pytest.approx(0.3, abs=6 * np.sqrt(0.3 * 0.7 / y.numel()))


def test_dropout_sends_the_gradient_through_what_it_kept():
    x = normal(30, 40, requires_grad=True)
    y = F.dropout(x, 0.4)
    g = normal(30, 40)
    y.backward(g)
    kept = y.detach().numpy() != 0
    assert 0 < kept.sum() < kept.size
    np.testing.assert_allclose(x.grad.numpy(), np.where(kept, g.numpy() / 0.6, 0), rtol=1e-15)


def test_dropout_draws_anew_from_the_default_generator():
    x = tg.ones(1000)
    tg.manual_seed(1)
    first, second = F.dropout(x).numpy(), F.dropout(x).numpy()
    tg.manual_seed(1)
    assert (first != second).any()
    np.testing.assert_array_equal(F.dropout(x).numpy(), first)


@pytest.mark.parametrize("dtype", [tg.float16, tg.float32, tg.float64])
def test_what_a_seed_drops_is_what_it_was(dtype):
    # Recorded once, of an element, of channels and of attention's weights, drawn one after another.
    tg.manual_seed(1337)
    elements = F.dropout(tg.ones(12, dtype=dtype))
    channels = F.dropout2d(tg.ones(2, 5, 2, 2, dtype=dtype))
    q, k, v = tg.zeros(2, 1, 2, 3, dtype=dtype), tg.zeros(1, 2, 4, 3, dtype=dtype), tg.eye(4, dtype=dtype)
    weights = F.scaled_dot_product_attention(q, k, v.expand(3, 1, 1, 4, 4), dropout_p=0.5)
    assert [int(x) for x in elements] == [2, 2, 2, 2, 2, 0, 0, 2, 0, 0, 0, 0]
    assert [int(x) for x in channels[:, :, 0, 0].flatten()] == [0, 2, 2, 2, 2, 2, 2, 2, 2, 0]
    assert (channels == channels[:, :, :1, :1]).all()
    assert "".join(str(int(x > 0)) for x in weights.flatten()) == (
        "010001000101011111011101000011111001110111100101101111101010010001111001001000101110011100011110"
    )
    assert tg.default_generator.stream.state() == (1337, 16)


def test_dropout_is_an_operation_that_says_where_its_mask_comes_from():
    tg.manual_seed(5)
    tg.rand(9)
    x = normal(6, 7, requires_grad=True)
    node = F.dropout(x, 0.25)._node
    assert (node.op.name, node.attrs) == ("dropout", {"p": 0.25, "seed": 5, "counter": 2, "apart": None})
    again, _ = node.op.forward(np, x.detach().numpy(), **node.attrs)
    tg.manual_seed(5)
    tg.rand(9)
    np.testing.assert_array_equal(again, F.dropout(x, 0.25).detach().numpy())


def test_gradients_of_gradients_meet_the_same_mask():
    def cubed(x):
        tg.manual_seed(5)
        return F.dropout2d(x * x * x, 0.4)

    assert gradgradcheck(cubed, [normal(2, 3, 2, 2, requires_grad=True)])


def test_dropout_in_place_and_without_training():
    x = tg.ones(1000)
    assert F.dropout(x, 0.5, training=False) is x
    assert F.dropout(x, 0.0) is x
    assert F.dropout(x, 0.5, inplace=True) is x
    assert 0 < (x.numpy() == 0).sum() < 1000
    leaf = normal(10, requires_grad=True)
    with pytest.raises(RuntimeError, match="in-place"):
        F.dropout(leaf, 0.5, inplace=True)


def attention_by_hand(q, k, v, keep):
    """Dropout on the weights, by the definition; value by value in NumPy."""
    scores = q @ k.swapaxes(-1, -2) / np.sqrt(q.shape[-1])
    weights = np.exp(scores) / np.exp(scores).sum(-1, keepdims=True)
    return (weights * keep) @ v


def test_attention_drops_weights_and_scales_the_others():
    q, k = normal(2, 3, 20, 4), normal(2, 3, 30, 4)
    tg.manual_seed(3)
    one_hot = tg.eye(30, dtype=tg.float64).expand(2, 3, 30, 30)  # as values, so that the result shows the weights
    weights = F.scaled_dot_product_attention(q, k, one_hot, dropout_p=0.25).numpy()
    kept = weights != 0
    assert kept.mean() == pytest.approx(0.75, abs=6 * np.sqrt(0.25 * 0.75 / kept.size))
    expected = attention_by_hand(q.numpy(), k.numpy(), one_hot.numpy(), kept / 0.75)
    np.testing.assert_allclose(weights, expected, rtol=1e-12)
    v = normal(2, 3, 30, 5)
    tg.manual_seed(3)  # the same weights are dropped
    y = F.scaled_dot_product_attention(q, k, v, dropout_p=0.25)
    np.testing.assert_allclose(y.numpy(), attention_by_hand(q.numpy(), k.numpy(), v.numpy(), kept / 0.75), rtol=1e-11)


def test_gradient_of_attention_with_dropout():
    def attention(q, k, v, mask):
        tg.manual_seed(5)
        return F.scaled_dot_product_attention(q, k, v, mask, dropout_p=0.3, is_causal=True)

    shapes = (2, 5, 3), (2, 6, 3), (2, 6, 4), (5, 6)
    assert gradcheck(attention, [normal(*shape, requires_grad=True) for shape in shapes])


def test_attention_without_any_weight_left_is_zero():
    y = F.scaled_dot_product_attention(normal(5, 3), normal(5, 3), normal(5, 3), dropout_p=1.0)
    np.testing.assert_array_equal(y.numpy(), 0)


def test_attention_with_mask_and_causal_looks_at_what_both_allow():
    q, k, v = normal(4, 3), normal(6, 3), normal(6, 5)
    mask = tg.tensor(np.random.default_rng(0).random((4, 6)) < 0.6)
    both = mask & tg.ones(4, 6, dtype=tg.bool).tril()
    y = F.scaled_dot_product_attention(q, k, v, mask, is_causal=True)
    np.testing.assert_allclose(y.numpy(), F.scaled_dot_product_attention(q, k, v, both).numpy(), rtol=1e-12)


def test_attention_of_a_prefix_does_not_see_what_follows():
    """Causal attention reads position by position: cutting the sequence changes nothing before the cut."""
    q, k, v = normal(2, 8, 3), normal(2, 8, 3), normal(2, 8, 4)
    whole = F.scaled_dot_product_attention(q, k, v, is_causal=True)
    part = F.scaled_dot_product_attention(q[:, :5], k[:, :5], v[:, :5], is_causal=True)
    np.testing.assert_allclose(whole[:, :5].numpy(), part.numpy(), rtol=1e-12)


def test_attention_needs_as_many_values_as_keys():
    with pytest.raises(RuntimeError, match="same number of keys, not 6 and 2"):
        F.scaled_dot_product_attention(normal(5, 4), normal(6, 4), normal(2, 4))
