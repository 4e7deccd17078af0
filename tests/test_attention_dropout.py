"""Dropout, attention with dropout, and what attention promises beyond PyTorch."""

from __future__ import annotations

import numpy as np
import pytest

import tinygrad_edu as tg
from tinygrad_edu.nn import functional as F
from tinygrad_edu.testing import gradcheck


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
