"""Twins of norms, softmax, cross-entropy, activations, look-ups: exact as their ops, and on any number of threads."""

from __future__ import annotations

import importlib

import numpy as np
import pytest

import tinygrad_edu as tg
from tests.odd import odd_rows
from tinygrad_edu.dispatch import use_kernels
from tinygrad_edu.nn import functional as F

numba = pytest.importorskip("numba")
pytestmark = pytest.mark.usefixtures("fused")

RNG = np.random.default_rng(0)
N = RNG.standard_normal
TARGETS = RNG.integers(0, 65, 768)
SOME = np.where(RNG.random(768) < 0.2, -1, TARGETS)  # a fifth is ignored
IDS = RNG.integers(0, 65, (6, 128))

# By name: the function, and the arrays that take gradients.
CASES = {
    "layer_norm": (lambda x, w, b: F.layer_norm(x, (128,), w, b), N((6, 128, 128)) * 2 + 1, N(128), N(128)),
    "layer_norm of short rows": (lambda x, w, b: F.layer_norm(x, (7,), w, b), N((5000, 7)), N(7), N(7)),
    "layer_norm of long rows": (lambda x: F.layer_norm(x, (9000,)), N((3, 9000))),
    "layer_norm, weight alone": (lambda x, w: F.layer_norm(x, (100,), w), N((300, 100)), N(100)),
    "layer_norm, bias alone": (lambda x, b: F.layer_norm(x, (100,), None, b), N((300, 100)), N(100)),
    "layer_norm of odd numbers": (lambda x, w: F.layer_norm(x, (100,), w), odd_rows((300, 100), RNG), N(100)),
    "rms_norm": (lambda x, w: F.rms_norm(x, (100,), w), N((300, 100)), N(100)),
    "rms_norm of odd numbers": (lambda x: F.rms_norm(x, (100,)), odd_rows((300, 100), RNG)),
    "softmax": (lambda x: F.softmax(x, -1), N((4, 100, 65)) * 3),
    "softmax of long rows": (lambda x: F.softmax(x, 1), N((3, 9000))),
    "softmax of odd numbers": (lambda x: F.softmax(x, 1), odd_rows((300, 100), RNG)),
    "log_softmax": (lambda x: F.log_softmax(x, -1), N((4, 100, 65)) * 3),
    "log_softmax of long rows": (lambda x: F.log_softmax(x, 1), N((3, 9000))),
    "log_softmax of odd numbers": (lambda x: F.log_softmax(x, 1), odd_rows((300, 100), RNG)),
    "cross_entropy": (
        lambda x: F.cross_entropy(x, tg.tensor(SOME), ignore_index=-1, reduction="none"),
        N((768, 65)) * 3,
    ),
    "cross_entropy of long rows": (lambda x: F.cross_entropy(x, tg.tensor(TARGETS[:3])), N((3, 9000))),
    "cross_entropy of odd numbers": (
        lambda x: F.cross_entropy(x, tg.tensor(TARGETS[:300]), reduction="none"),
        odd_rows((300, 100), RNG),
    ),
    "embedding": (lambda w: F.embedding(tg.tensor(IDS), w), N((65, 130))),
    "embedding of a large table": (lambda w: F.embedding(tg.tensor(IDS * 40), w), N((5000, 50))),
    **{
        f"{name}{of}": (getattr(F, name), x)
        for name in ("gelu", "silu", "sigmoid", "tanh")
        for of, x in (("", N((300, 100)) * 3), (" of odd numbers", odd_rows((300, 100), RNG)))
    },
}


def run(case, dtype="float32", kernels="auto", like=None):
    """The result and the gradients of one case, and what computed them."""
    function, *arrays = CASES[case]
    leaves = [tg.tensor(a.astype(np.float32).astype(dtype), requires_grad=True) for a in arrays]
    with use_kernels(kernels):
        y = function(*leaves)
        cotangent = np.random.default_rng(1).standard_normal(y.shape).astype(np.float32).astype(dtype)
        node = y.grad_fn
        while node.op.name in ("mean", "sum", "div"):
            node = node.parents[0]
        y.backward(tg.tensor(cotangent))
    return [y.detach().numpy(), *(x.grad.numpy() for x in leaves)], node


@pytest.mark.parametrize("case", CASES)
def test_twins_are_as_exact_as_their_ops(case):
    fused, node = run(case)
    plain, _ = run(case, kernels="reference")
    exact, _ = run(case, "float64", kernels="reference")
    assert node.pair is not node.op and node.pair.__module__.startswith("tinygrad_edu.kernels")
    for found, expected, truth in zip(fused, plain, exact, strict=True):
        np.testing.assert_array_equal(np.isnan(found), np.isnan(expected))
        np.testing.assert_array_equal(np.isposinf(found), np.isposinf(expected))
        np.testing.assert_array_equal(np.isneginf(found), np.isneginf(expected))
        known = np.isfinite(expected) & np.isfinite(truth)
        found, expected, truth = (np.where(known, z, 0) for z in (found, expected, truth))
        largest = largest_of_rows(truth)
        largest = np.maximum(largest, np.median(largest) + 1e-30)  # rows of huge numbers must not hide the others
        error, allowed = (largest_of_rows(z - truth) / largest for z in (found, expected))
        assert error.max() <= 2 * allowed.max() + 1e-7


def largest_of_rows(x):
    return np.abs(x).max(axis=-1, keepdims=True, initial=0)


@pytest.mark.parametrize("case", CASES)
def test_results_do_not_depend_on_the_number_of_threads(case):
    single, _ = run(case)
    threads = importlib.import_module("tinygrad_edu.kernels.cpu.threads")
    before = threads.number()
    threads.set_number(numba.config.NUMBA_NUM_THREADS)
    try:
        several, _ = run(case)
    finally:
        threads.set_number(before)
    for a, b in zip(several, single, strict=True):
        np.testing.assert_array_equal(a, b)


# ---- the logits' memory ----------------------------------------------------------------------------------------------


def logits_and_parents():
    n = np.random.default_rng(2).standard_normal
    parents = [tg.tensor(n(shape).astype(np.float32), requires_grad=True) for shape in ((64, 32), (999, 32))]
    return F.linear(*parents).view(4, 16, 999), parents


def loss_of(logits):
    return F.cross_entropy(logits.view(-1, 999), tg.tensor(np.arange(64) * 7 % 999))


def address(tensor):
    return tensor.detach().numpy().__array_interface__["data"][0]


def gradients(extra=lambda logits: 0, **options):
    """The gradients, whether that of the logits stands where they stood, and what `extra` kept."""
    logits, parents = logits_and_parents()
    before, after = address(logits), []
    logits.register_hook(lambda g: after.append(address(g)))
    kept = extra(logits)
    loss = loss_of(logits)
    if isinstance(kept, tg.Tensor) and kept.requires_grad and kept.dim() == 0:
        loss = loss + kept
    del logits
    loss.backward(**options)
    return [p.grad.numpy().copy() for p in parents], before == after[0], kept, loss, parents


def assert_as_reference(found, extra=lambda logits: 0):
    with use_kernels("reference"):
        expected = gradients(extra)[0]
    for f, e in zip(found, expected, strict=True):
        np.testing.assert_allclose(f, e, rtol=1e-4, atol=1e-6 * np.abs(e).max())


def test_the_gradient_of_logits_takes_their_memory_when_nobody_holds_them():
    found, in_place, *_ = gradients()
    assert in_place
    assert_as_reference(found)


@pytest.mark.parametrize(
    "hold",
    [
        lambda logits: logits,
        lambda logits: logits.detach()[1],
        lambda logits: logits.detach().numpy(),
        lambda logits: memoryview(logits.detach().numpy()),
    ],
)
def test_logits_that_somebody_holds_stay_as_they_are(hold):
    expected = hold(logits_and_parents()[0])
    found, in_place, kept, *_ = gradients(hold)
    assert not in_place
    plain = (np.asarray(k.detach().numpy() if isinstance(k, tg.Tensor) else k) for k in (kept, expected))
    np.testing.assert_array_equal(*plain)
    assert_as_reference(found)


def test_logits_that_another_node_saved_stay_as_they_are():
    def squares(logits):
        return (logits * logits).mean()

    found, in_place, *_ = gradients(squares)
    assert not in_place
    assert_as_reference(found, squares)


def test_logits_stay_for_a_second_backward():
    first, in_place, _, loss, parents = gradients(retain_graph=True)
    assert not in_place
    for p in parents:
        p.grad = None
    loss.backward()
    for p, g in zip(parents, first, strict=True):
        np.testing.assert_allclose(p.grad.numpy(), g, rtol=1e-5, atol=1e-7)
    with pytest.raises(RuntimeError, match="second time"):
        loss.backward()


def test_a_backward_that_was_interrupted_cannot_be_repeated(monkeypatch):
    """What it had written into would be taken for logits."""
    from tinygrad_edu.kernels.cpu import loss as kernels

    loss = loss_of(logits_and_parents()[0])

    def interrupted(n, x, *args):
        x[:] = 0
        raise KeyboardInterrupt

    with monkeypatch.context() as m:
        m.setattr(kernels, "_cross_entropy_backward", interrupted)
        with pytest.raises(KeyboardInterrupt):
            loss.backward()
    with pytest.raises(RuntimeError, match="second time"):
        loss.backward()


# ---- dropout ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("p", [1e-9, 0.1, 1 / 3, 0.5, 1 - 1e-9, 1.0])
@pytest.mark.parametrize("n", [16384, 16391, 50003])
@pytest.mark.parametrize("drawn", [0, 7, 2**64 - 3, 2**192 - 3])
def test_kernels_drop_the_places_that_the_stream_says(p, n, drawn):
    stream = tg.random.default_generator.stream
    x = tg.ones(n)
    found = []
    for kernels in ("auto", "reference"):
        stream.restore(5, drawn)
        with use_kernels(kernels):
            found.append((F.dropout(x, p).numpy(), stream.state()))
    stream.restore(5, drawn)
    kept = stream.uniform((n,), "float32") >= p
    scale = np.float32(1 / (1 - p) if p < 1 else 0)
    for values, state in found:
        np.testing.assert_array_equal(values, kept * scale)
        assert state == stream.state()
