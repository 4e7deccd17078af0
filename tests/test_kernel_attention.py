"""The CPU's attention in tiles beside the readable op: shapes that end within a tile and a block, layouts, edges."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("numba")

import tinygrad_edu as tg
from tinygrad_edu.backend.device import quiet
from tinygrad_edu.kernels.cpu import attention, threads
from tinygrad_edu.kernels.cpu.attention import Attention
from tinygrad_edu.nn import functional as F
from tinygrad_edu.ops import attention as ops
from tinygrad_edu.ops.indexing import SlicePart

pytestmark = [
    pytest.mark.usefixtures("fused"),
    pytest.mark.skipif(attention.BLAS is None, reason="NumPy's BLAS cannot be called from kernels"),
]
SETTINGS = {"scale": 0.2, "is_causal": True}


def heads(rng, B, NH, T, n):
    """(B, NH, T, n) in the memory of (B, T, NH, n)."""
    return rng.standard_normal((B, T, NH, n), np.float32).transpose(0, 2, 1, 3)


def packed(B, NH, T, n):
    """Queries, keys, values and a gradient for the output, as one projection of (B, T, C) gives them."""
    rng = np.random.default_rng(0)
    return *rng.standard_normal((B, T, 3, NH, n), np.float32).transpose(2, 0, 3, 1, 4), heads(rng, B, NH, T, n)


def both_ways(pair, q, k, v, gy, **settings):
    """The output and the three gradients."""
    with quiet:
        y, saved = pair.forward(np, q, k, v, None, **settings)
        return [y, *(g() if callable(g) else g for g in pair.backward(np, saved, gy)[:3])]


def compare(q, k, v, gy, **settings):
    """The twin's errors are near those of the op; both are measured in float64."""
    given = [x.copy() for x in (q, k, v, gy)]
    assert Attention.accepts(q, k, v, None, **settings)
    found = both_ways(Attention, q, k, v, gy, **settings)
    for x, before in zip((q, k, v, gy), given, strict=True):
        np.testing.assert_array_equal(x, before)
    reference = both_ways(ops.Attention, q, k, v, gy, **settings)
    wide = [x.astype(np.float64) for x in (q, k, v, gy)]
    exact = both_ways(ops.Attention, *wide, **settings)
    for name, f, r, e in zip(("y", "gq", "gk", "gv"), found, reference, exact, strict=True):
        assert f.dtype == np.float32 and f.shape == r.shape, name
        assert np.linalg.norm(f - e) <= 2 * np.linalg.norm(r - e) + 1e-7 * np.linalg.norm(e), name


@pytest.mark.parametrize("is_causal", [False, True])
@pytest.mark.parametrize("B, NH, T, n", [(12, 4, 64, 32), (3, 2, 97, 48), (1, 3, 320, 20), (40, 4, 2, 64)])
def test_packed_projections(B, NH, T, n, is_causal):
    q, k, v, gy = packed(B, NH, T, n)
    compare(q, k, v, gy, scale=n**-0.5, is_causal=is_causal)


@pytest.mark.parametrize("is_causal", [False, True])
@pytest.mark.parametrize("L, S", [(100, 290), (290, 100), (520, 513)])
def test_other_numbers_of_keys_and_channels(L, S, is_causal):
    rng = np.random.default_rng(1)
    q, k, v, gy = (heads(rng, 2, 3, *shape) for shape in ((L, 40), (S, 40), (S, 24), (L, 24)))
    compare(q, k, v, gy, scale=0.3, is_causal=is_causal)


@pytest.mark.parametrize("is_causal", [False, True])
def test_dropped_weights(is_causal):
    q, k, v, gy = packed(2, 3, 300, 16)
    compare(q, k, v, gy, scale=0.25, is_causal=is_causal, dropout=(0.2, 2, 5))


def test_plain_memory_and_a_gradient_in_another_order():
    rng = np.random.default_rng(3)
    q, k, v, gy = (rng.standard_normal((2, 4, 80, 32), np.float32) for _ in range(4))
    compare(q, k, v, gy, scale=0.2, is_causal=True)
    compare(q, k, v, np.broadcast_to(np.float32(0.7), gy.shape), scale=0.2, is_causal=True)


def test_many_keys():
    rng = np.random.default_rng(4)
    q, k, v, gy = (heads(rng, 1, 2, n, 16) for n in (40, 20000, 20000, 40))
    compare(q, k, v + 1, gy, scale=0.02, is_causal=False)


def test_scores_that_exp_would_overflow_on():
    q, k, v, gy = packed(2, 4, 80, 32)
    compare(q * np.float32(100), k * np.float32(10), v, gy, scale=1.0, is_causal=True)


def test_gradients_lie_as_the_projection_does():
    q, k, v, gy = packed(12, 4, 64, 32)
    _, gq, gk, gv = both_ways(Attention, q, k, v, gy, **SETTINGS)
    assert gq.strides == gk.strides == gv.strides == q.strides
    assert gk.ctypes.data - gq.ctypes.data == gv.ctypes.data - gk.ctypes.data == 4 * 32 * 4


def test_a_query_without_keys_gets_zeros():
    """Every score -inf: exp(-inf - -inf) must not make it NaN."""
    q, k, v, gy = packed(2, 4, 80, 32)
    q, k = np.abs(q), np.array(k)
    k[0, 1, 0] = -np.inf
    y, *_ = both_ways(Attention, q, k, v, gy, **SETTINGS)
    expected, *_ = both_ways(ops.Attention, q, k, v, gy, **SETTINGS)
    assert (y[0, 1, 0] == 0).all()
    np.testing.assert_allclose(y, expected, rtol=1e-4, atol=1e-5)


def test_nan_and_infinity_reach_the_queries_that_see_them():
    q, k, v, gy = packed(2, 4, 80, 32)
    q, k = np.array(q), np.array(k)
    q[0, 2, 50], k[1, 3, 40], k[1, 1, 70, 3] = np.nan, np.nan, np.inf
    y, *_ = both_ways(Attention, q, k, v, gy, **SETTINGS)
    nan = np.zeros(y.shape[:3], bool)
    nan[0, 2, 50] = nan[1, 3, 40:] = True
    nan[1, 1, 70:] = q[1, 1, 70:, 3] > 0  # inf - inf
    np.testing.assert_array_equal(np.isnan(y), np.broadcast_to(nan[..., None], y.shape))


@pytest.mark.parametrize("B, NH", [(12, 4), (1, 1)])
def test_same_bits_on_any_number_of_threads(B, NH):
    q, k, v, gy = packed(B, NH, 600, 32)
    before = threads.number()
    try:
        threads.set_number(1)
        one = both_ways(Attention, q, k, v, gy, **SETTINGS)
        threads.set_number(2)
        two = both_ways(Attention, q, k, v, gy, **SETTINGS)
    finally:
        threads.set_number(before)
    for a, b in zip(one, two, strict=True):
        np.testing.assert_array_equal(a, b)


def test_what_it_declines(monkeypatch):
    def accepts(q, k, v, bias=None):
        return Attention.accepts(q, k, v, bias, **SETTINGS)

    q, k, v, _ = packed(2, 4, 80, 32)
    assert accepts(q, k, v)
    assert not accepts(q, k, v, bias=np.zeros((80, 80), np.float32))
    assert not accepts(q, k[:1], v[:1])
    assert not accepts(q, k[:, :, :0], v[:, :, :0])
    assert not accepts(q.astype(np.float64), k.astype(np.float64), v.astype(np.float64))
    assert not accepts(q[..., ::2], k[..., ::2], v)
    assert not accepts(q, np.broadcast_to(k[:, :, :1], k.shape), v)
    monkeypatch.setattr(attention, "BLAS", None)
    assert not accepts(q, k, v)


def test_the_public_function_runs_it():
    q, k, v, gy = packed(12, 4, 64, 32)
    results = []
    for which in "auto", "reference":
        with tg.use_kernels(which):
            x = tg.tensor(np.stack([q, k, v]), requires_grad=True)
            y = F.scaled_dot_product_attention(*x.unbind(0), is_causal=True)
            forward = y.grad_fn.pair.forward
            y.backward(tg.tensor(gy))
        results.append((forward, y.detach().numpy(), x.grad.numpy()))
    assert [forward for forward, *_ in results] == [Attention.forward, ops.Attention.forward]
    for found, expected in zip(results[0][1:], results[1][1:], strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_between_the_projections_nothing_is_copied(monkeypatch):
    """As in GPT: the three gradients come back as one array, the joined heads are a view of the output."""

    def copied(*args):
        raise AssertionError("a gradient was added into zeros")

    monkeypatch.setattr(SlicePart, "add_to", copied)
    B, T, NH, HS = 12, 64, 4, 32
    x = tg.randn(B, T, 3 * NH * HS, requires_grad=True) * 1
    arrived = []
    x.register_hook(lambda g: arrived.append(g.numpy()))
    q, k, v = x.view(B, T, 3, NH, HS).permute(2, 0, 3, 1, 4).unbind(0)
    y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
    joined = y.transpose(1, 2).reshape(B, T, NH * HS)
    assert np.shares_memory(joined.detach().numpy(), y.detach().numpy())
    gradients = []
    for t in q, k, v:
        t.register_hook(lambda g: gradients.append(g.numpy()))
    joined.backward(tg.randn(B, T, NH * HS))
    assert arrived[0].flags.c_contiguous
    assert all(np.shares_memory(g, arrived[0]) for g in gradients)
