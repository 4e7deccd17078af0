"""Products of matrices beyond the op table: operators with NumPy's arrays, half precision, the order of a chain."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import tinygrad_edu as tg
from tinygrad_edu.autograd.modes import observe
from tinygrad_edu.nn import functional as F


def normal(*shape: int) -> np.ndarray:
    return np.random.default_rng(shape).standard_normal(shape).astype(np.float32)


def test_operator_with_arrays_on_either_side():
    a, b = normal(2, 3), normal(3, 4)
    for y in (a @ tg.tensor(b), tg.tensor(a) @ b, tg.tensor(a) @ tg.tensor(b)):
        assert isinstance(y, tg.Tensor)
        np.testing.assert_array_equal(y.numpy(), a @ b)


@pytest.mark.parametrize("other", [2.0, [1.0, 2.0, 3.0], "x"])
def test_operator_refuses_what_is_no_matrix(other):
    x = tg.tensor(normal(2, 3))
    with pytest.raises(TypeError):
        x @ other
    with pytest.raises(TypeError):
        other @ x


@pytest.mark.parametrize(
    "function, shapes",
    [
        (lambda m, x, w, b: m.nn.functional.linear(x, w, b), [(2, 5, 8), (4, 8), (4,)]),
        (lambda m, a, b: a @ b, [(2, 5, 8), (2, 8, 3)]),
        (lambda m, a, b: m.einsum("bij,kj->bk", a, b), [(2, 5, 8), (3, 8)]),
        (lambda m, x, w, b: m.nn.functional.layer_norm(x, (8,), w, b), [(5, 8), (8,), (8,)]),
        (lambda m, x, w: m.nn.functional.rms_norm(x, (8,), w), [(5, 8), (8,)]),
        (lambda m, x: m.nn.functional.log_softmax(x, -1), [(5, 8)]),
        (lambda m, x, t: m.nn.functional.huber_loss(x, t), [(5, 8), (5, 8)]),
        (lambda m, x: m.nn.functional.cross_entropy(x, m.arange(5), label_smoothing=0.1), [(5, 8)]),
    ],
)
def test_half_precision_stays_half_and_close(function, shapes):
    """Rounded to float16 at each step, forward and gradients are near those of PyTorch in float32."""
    arrays = [normal(*shape).astype(np.float16) for shape in shapes]
    ours = [tg.tensor(a, requires_grad=True) for a in arrays]
    theirs = [torch.tensor(a.astype(np.float32), requires_grad=True) for a in arrays]
    y, z = function(tg, *ours), function(torch, *theirs)
    assert y.dtype == tg.float16
    np.testing.assert_allclose(y.detach().numpy(), z.detach().numpy(), rtol=1e-2, atol=1e-2)
    seed = np.random.default_rng(0).standard_normal(tuple(y.shape)).astype(np.float16)
    y.backward(tg.tensor(seed))
    z.backward(torch.tensor(seed.astype(np.float32)))
    for x, w in zip(ours, theirs, strict=True):
        assert x.grad.dtype == tg.float16
        np.testing.assert_allclose(x.grad.numpy(), w.grad.numpy(), rtol=2e-2, atol=2e-2)


def test_chain_is_multiplied_in_the_cheapest_order():
    sizes = []

    class Watch:
        def recorded(self, node, inputs, y):
            sizes.append(inputs[0].shape + inputs[1].shape)

        def propagated(self, node, gy, gradients): ...

    # Of the textbook's example (Cormen et al.): ((A1 (A2 A3)) ((A4 A5) A6))
    p = [30, 35, 15, 5, 10, 20, 25]
    matrices = [tg.tensor(normal(n, m), requires_grad=True) for n, m in zip(p, p[1:], strict=False)]
    with observe(Watch()):
        y = tg.chain_matmul(*matrices)
    assert sorted(n * m * k for n, m, _, k in sizes) == sorted(
        [35 * 15 * 5, 30 * 35 * 5, 5 * 10 * 20, 5 * 20 * 25, 30 * 5 * 25]
    )
    assert y.shape == (30, 25)
    assert tg.chain_matmul(matrices[0]) is matrices[0]


def test_embedding_refuses_sparse_gradients():
    with pytest.raises(NotImplementedError, match="use sparse=False"):
        F.embedding(tg.tensor([1]), tg.ones(3, 2), sparse=True)


def test_embedding_with_max_norm_is_noticed_by_backward():
    """The table is changed in place: an older graph that saved it must not use the new numbers."""
    weight = tg.tensor(normal(4, 3) * 10, requires_grad=True)
    y = weight * weight
    F.embedding(tg.tensor([0]), weight, max_norm=1.0)
    with pytest.raises(RuntimeError, match="changed in place"):
        y.sum().backward()


@pytest.mark.parametrize("name", ["mse_loss", "l1_loss", "smooth_l1_loss", "huber_loss"])
def test_losses_of_different_shapes_warn(name):
    with pytest.warns(UserWarning, match=r"\(4,\) is different from the input size \(3, 4\)"):
        getattr(F, name)(tg.ones(3, 4), tg.ones(4))


def test_losses_name_the_argument_that_is_no_tensor():
    with pytest.raises(TypeError, match="'target' must be Tensor, not float"):
        F.mse_loss(tg.ones(3), 1.0)
