"""Random draws on the GPU: the CPU's numbers for the same seed; and dropout, of which no mask is kept."""

from __future__ import annotations

import numpy as np
import pytest

import tinygrad_edu as tg
from gpt import GPT
from gpt.config import GPTConfig
from gpt.ledger import ledger
from tinygrad_edu.nn import functional as F
from tinygrad_edu.nn import init

DTYPES = [tg.float16, tg.bfloat16, tg.float32, tg.float64]
EDGES = [0, 2**64 - 3, 2**192 - 3, 2**256 - 3]  # counters where words carry over


@pytest.fixture
def kernels(fused):
    """The twins, once a GPU is known to be there."""
    from tinygrad_edu.kernels.cuda import attention, dropout

    return {"dropout": dropout.Dropout, "attention": attention.Attention}


def numbers(*shape, dtype=tg.float32):
    return tg.tensor(np.random.default_rng(shape).standard_normal(shape), dtype=dtype)


def on_both(function, *tensors):
    """What the function gives on the CPU and on the GPU from one place of the stream: values, then gradients."""
    found = []
    state = tg.get_rng_state()
    for device in ("cpu", "cuda"):
        tg.set_rng_state(state)
        xs = [x.detach().to(device).requires_grad_() for x in tensors]
        y = function(*xs)
        y.backward(numbers(*y.shape, dtype=y.dtype).to(device))
        found.append([t.cpu()._array for t in (y.detach(), *(x.grad for x in xs))] + [tg.get_rng_state().numpy()])
    return found


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n", [1, 7, 2048, 2049, 100_003])
def test_dropout_gives_the_same_bits(kernels, n, dtype):
    tg.manual_seed(n)
    here, there = on_both(lambda x: F.dropout(x, 0.3), numbers(n, dtype=dtype))
    for x, y in zip(here, there, strict=True):
        np.testing.assert_array_equal(x, y)
    if n > 2000:
        assert (here[0] == 0).mean() == pytest.approx(0.3, abs=0.05)


@pytest.mark.parametrize("counter", EDGES)
@pytest.mark.parametrize("p", [1e-9, 0.5, 1 - 1e-9, 1.0])
def test_dropout_of_any_share_from_any_place(kernels, p, counter):
    tg.default_generator.stream.restore(2**127 + 3, counter)
    x = numbers(300)
    x[7], x[8] = np.inf, np.nan
    for a, b in zip(*on_both(lambda x: F.dropout(x, p), x), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize(
    "function, shape",
    [(F.dropout1d, (300, 9)), (F.dropout1d, (4, 900, 3)), (F.dropout2d, (9, 7, 50, 51)), (F.dropout3d, (3, 2, 9, 8))],
)
def test_dropout_of_channels(kernels, function, shape):
    for x, y in zip(*on_both(lambda x: function(x, 0.4), numbers(*shape)), strict=True):
        np.testing.assert_array_equal(x, y)


def test_dropout_keeps_nothing_but_its_place(kernels):
    x = numbers(40, 50).cuda().requires_grad_()
    y = F.dropout(x.T, 0.5)  # in another order of memory
    assert y._node.op.name == "dropout" and y._node.pair is kernels["dropout"]
    assert not any(hasattr(s, "strides") for s in y._node.saved)
    y.sum().backward()
    np.testing.assert_array_equal(x.grad.cpu().numpy().T, np.where(y.detach().cpu().numpy(), 2, 0))


def test_dropout_in_place_twice_and_again(kernels):
    """In place; gradients of gradients; and a region that runs again: each drops the same."""
    for a, b in zip(*on_both(lambda x: F.dropout(x * 2, 0.3, inplace=True), numbers(30, 40)), strict=True):
        np.testing.assert_array_equal(a, b)
    for a, b in zip(*on_both(lambda x: tg.recompute(F.dropout, x * x, 0.3) * x, numbers(30, 40)), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6)

    def slope(x):
        y = F.dropout(x * x * x, 0.3)
        return tg.autograd.grad(y.sum(), x, create_graph=True)[0]

    for a, b in zip(*on_both(slope, numbers(30, 40)), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5)


def test_dropout_within_autocast(kernels):
    with tg.autocast("cuda", dtype=tg.float16):
        y = F.dropout(numbers(8, 9).cuda() @ numbers(9, 300).cuda(), 0.5)
    assert y.dtype == tg.float16 and 900 < int((y == 0).sum()) < 1500


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("L, S", [(1, 1), (70, 131), (129, 66)])
@pytest.mark.parametrize("is_causal", [False, True])
def test_attention_drops_the_same_weights(kernels, L, S, is_causal, dtype):
    """With one-hot values the output is the weights."""
    q, k = numbers(2, 3, L, 8, dtype=dtype), numbers(2, 3, S, 8, dtype=dtype)
    v = tg.eye(S, dtype=dtype)[:, :50].expand(2, 3, S, min(S, 50))

    def attention(q, k, v):
        y = F.scaled_dot_product_attention(q, k, v, dropout_p=0.4, is_causal=is_causal)
        assert not q.is_cuda or y._node.pair is kernels["attention"]
        return y

    here, there = on_both(attention, q, k, v)
    np.testing.assert_array_equal(here[0] == 0, there[0] == 0)
    for x, y in zip(here, there, strict=True):
        np.testing.assert_allclose(x.astype("d"), y.astype("d"), rtol=0, atol=300 * tg.finfo(dtype).eps)


@pytest.mark.parametrize("p", [1e-9, 1.0])
def test_attention_that_drops_nothing_or_everything(kernels, p):
    for x, y in zip(*on_both(lambda x: F.scaled_dot_product_attention(x, x, x, dropout_p=p), numbers(1, 2, 9, 4)),
                    strict=True):  # fmt: skip
        np.testing.assert_allclose(x, y, atol=1e-5)
        assert p < 1 or x.dtype == np.uint8 or not y.any()


def test_a_gpt_with_dropout_keeps_no_mask(kernels):
    config = GPTConfig(block_size=40, vocab_size=65, n_layer=2, n_head=2, n_embd=32, dropout=0.1)
    rows = {row.name: row for row in ledger(config, 3, model=GPT(config).cuda()).rows}
    stream = 3 * 40 * 32 * 4
    assert rows["dropped"].measured == stream and rows["attdrop"].measured == rows["fcdrop"].measured == 2 * stream
    assert "masks" not in rows and not rows["att"].measured


# ---- other draws -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(7,), (1, 500), (9, 20)])
@pytest.mark.parametrize("samples, replacement", [(1, False), (4, False), (30, True)])
def test_multinomial_draws_the_same(shape, samples, replacement):
    weights = numbers(*shape).clamp(min=0) + (tg.arange(shape[-1]) < 5)
    drawn = []
    for device in ("cpu", "cuda"):
        tg.manual_seed(3)
        drawn.append(tg.multinomial(weights.to(device), samples, replacement))
        assert drawn[-1].device.type == device and drawn[-1].dtype == tg.int64
    np.testing.assert_array_equal(drawn[0].numpy(), drawn[1].cpu().numpy())


def test_multinomial_refuses_the_same_weights():
    for weights, message in (([1.0, -1.0], "element < 0"), ([np.nan, 1.0], "nan"), ([0.0, 0.0], "sum of probabilities"),
                             ([1.0, 0.0], "different indices from 1 non-zero")):  # fmt: skip
        with pytest.raises(RuntimeError, match=message):
            tg.multinomial(tg.tensor(weights, device="cuda"), 2)


@pytest.mark.parametrize(
    "fill", [init.trunc_normal_, lambda t: init.trunc_normal_(t, 1.0, 0.1, 1.3, 2.0), init.orthogonal_]
)
@pytest.mark.parametrize("dtype", DTYPES)
def test_weights_start_the_same(fill, dtype):
    found = []
    for device in ("cpu", "cuda"):
        tg.manual_seed(4)
        t = tg.empty(90, 101, dtype=dtype, device=device)
        assert fill(t) is t and t.device.type == device
        found.append(t.cpu().double().numpy())
    np.testing.assert_allclose(*found, rtol=0, atol=2 * tg.finfo(dtype).eps)
