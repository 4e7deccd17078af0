"""Gradients of gradients: recorded backward passes, and what `autograd.functional` makes of them, against PyTorch."""

from __future__ import annotations

import gc
import math
import weakref

import numpy as np
import pytest
import torch

import tinygrad_edu as tg
import tinygrad_edu.testing
from gpt.config import GPTConfig
from gpt.model import GPT
from tinygrad_edu import dispatch, mirror
from tinygrad_edu.ops import elementwise
from tinygrad_edu.ops.op import Op

BOTH = (tg, torch)
# Both libraries advise against create_graph in backward(), since a tensor and its .grad then refer to each other.
REFERENCE_CYCLE = pytest.mark.filterwarnings("ignore:.*create_graph=True will create a reference cycle")


def numbers(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape)


def leaf(t, array):
    return t.tensor(array, requires_grad=True)


def same(ours, theirs, rtol=1e-9, atol=1e-11):
    """Equal numbers, in nested tuples too; a gradient that PyTorch leaves out counts as zero."""
    if isinstance(theirs, (list, tuple)):
        assert type(ours) is type(theirs) and len(ours) == len(theirs)
        for a, b in zip(ours, theirs, strict=True):
            same(a, b, rtol, atol)
    elif ours is None or theirs is None:
        other = theirs if ours is None else ours
        assert other is None or not other.detach().numpy().any()
    else:
        assert tuple(ours.shape) == tuple(theirs.shape)
        np.testing.assert_allclose(ours.detach().numpy(), theirs.detach().numpy(), rtol=rtol, atol=atol)


def in_both(program):
    """Run a program with either library; its results must be the same."""
    ours, theirs = (program(t) for t in BOTH)
    same(ours, theirs)
    return ours


# ---- second derivatives as in PyTorch --------------------------------------------------------------------------------

A, B, C = (3, 4), (4, 5), (4,)
OPERATIONS = {
    "pow": (lambda t, x: x**3, A),
    "pow of tensors": (lambda t, x, y: (x * x + 1) ** y, A, C),
    "div": (lambda t, x, y: x / (y * y + 1), A, C),
    "exp log": (lambda t, x: (x.exp() + 1).log(), A),
    "tanh": (lambda t, x: x.tanh(), A),
    "sigmoid": (lambda t, x: x.sigmoid(), A),
    "relu": (lambda t, x: x.relu() ** 2, A),
    "gelu": (lambda t, x: t.nn.functional.gelu(x), A),
    "gelu tanh": (lambda t, x: t.nn.functional.gelu(x, approximate="tanh"), A),
    "silu": (lambda t, x: t.nn.functional.silu(x), A),
    "softplus": (lambda t, x: t.nn.functional.softplus(x), A),
    "erf": (lambda t, x: x.erf(), A),
    "where": (lambda t, x, y: t.where(x > 0, x * y, y * y), A, A),
    "maximum": (lambda t, x, y: t.maximum(x, y) ** 2, A, A),
    "clamp": (lambda t, x: x.clamp(-0.5, 0.5) ** 3, A),
    "sum": (lambda t, x: x.sum(0) ** 2, A),
    "mean": (lambda t, x: x.mean(1) ** 3, A),
    "prod": (lambda t, x: x.prod(1), A),
    "var": (lambda t, x: x.var(1), A),
    "std": (lambda t, x: x.std(1), A),
    "norm": (lambda t, x: x.norm(dim=1), A),
    "norm 3": (lambda t, x: x.norm(3, dim=1), A),
    "logsumexp": (lambda t, x: x.logsumexp(1), A),
    "max": (lambda t, x: x.max(1).values ** 2, A),
    "cumsum": (lambda t, x: x.cumsum(1) ** 2, A),
    "cumprod": (lambda t, x: x.cumprod(1), A),
    "softmax": (lambda t, x: x.softmax(-1), A),
    "log_softmax": (lambda t, x: x.log_softmax(-1), A),
    "layer_norm": (lambda t, x, w, b: t.nn.functional.layer_norm(x, (4,), w, b), A, C, C),
    "rms_norm": (lambda t, x, w: t.nn.functional.rms_norm(x, (4,), w), A, C),
    "batch_norm": (lambda t, x, w, b: t.nn.functional.batch_norm(x, None, None, w, b, training=True), A, C, C),
    "matmul": (lambda t, x, y: x @ y, (2, 3, 4), B),
    "matmul of vectors": (lambda t, x, y: (x @ y) ** 2, C, C),
    "linear": (lambda t, x, w, b: t.nn.functional.linear(x, w, b), (2, 3, 4), (5, 4), (5,)),
    "einsum": (lambda t, x, y: t.einsum("ij,jk->ki", x, y), A, B),
    "attention": (
        lambda t, q, k, v: t.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True),
        (2, 4, 3), (2, 4, 3), (2, 4, 3),
    ),
    "cross_entropy": (
        lambda t, x: t.nn.functional.cross_entropy(x, t.tensor([0, 3, 1]), label_smoothing=0.1, reduction="none"), A,
    ),
    "bce with logits": (lambda t, x, y: t.nn.functional.binary_cross_entropy_with_logits(x, y), A, A),
    "huber": (lambda t, x, y: t.nn.functional.huber_loss(x, y, reduction="none"), A, A),
    "embedding": (lambda t, w: t.nn.functional.embedding(t.tensor([1, 2, 1]), w) ** 2, A),
    "slice": (lambda t, x: x[1:, ::2] ** 2, A),
    "repeated index": (lambda t, x: x[t.tensor([0, 2, 0])] ** 2, A),
    "gather": (lambda t, x: x.gather(1, t.tensor([[0, 0], [1, 3], [2, 2]])) ** 2, A),
    "scatter_add": (lambda t, x, v: x.scatter_add(1, t.tensor([[0, 0], [1, 3], [2, 2]]), v * v) ** 2, A, (3, 2)),
    "masked_fill": (lambda t, x: (x * x).masked_fill(x > 0, 1.0), A),
    "cat": (lambda t, x, y: t.cat([x, y], 1) ** 2, A, (3, 2)),
    "diagonal": (lambda t, x: x.diagonal(1) ** 2, A),
    "transpose": (lambda t, x: x.T.reshape(2, 6) ** 2, A),
    "unfold": (lambda t, x: x.unfold(1, 3, 1) ** 2, A),
    "conv2d": (
        lambda t, x, w, b: t.nn.functional.conv2d(x, w, b, stride=2, padding=1, groups=2),
        (2, 4, 5, 5), (6, 2, 3, 3), (6,),
    ),
    "conv_transpose2d": (lambda t, x, w: t.nn.functional.conv_transpose2d(x, w, stride=2), (1, 2, 3, 3), (2, 3, 2, 2)),
    "max_pool2d": (lambda t, x: t.nn.functional.max_pool2d(x, 2) ** 2, (1, 2, 4, 4)),
    "the same tensor twice": (lambda t, x: x * x.detach() + x * x, A),
}  # fmt: skip


@pytest.mark.parametrize("name", OPERATIONS)
def test_second_derivatives_as_in_torch(name):
    """Gradients of a random combination of the gradients, by the inputs and by the cotangent."""
    function, *shapes = OPERATIONS[name]

    def program(t):
        xs = [leaf(t, numbers(*s, seed=i)) for i, s in enumerate(shapes)]
        y = function(t, *xs)
        u = leaf(t, numbers(*y.shape, seed=10))
        first = t.autograd.grad(y, xs, u, create_graph=True)
        mixed = sum((g * t.tensor(numbers(*g.shape, seed=20 + i))).sum() for i, g in enumerate(first))
        return [y, *first, *t.autograd.grad(mixed, [*xs, u], allow_unused=True)]

    in_both(program)


@pytest.mark.parametrize("name", ["gelu", "layer_norm", "attention", "softmax", "linear", "std"])
def test_float32_stays_float32(name):
    function, *shapes = OPERATIONS[name]
    xs = [leaf(tg, numbers(*s, seed=i).astype("float32")) for i, s in enumerate(shapes)]
    first = tg.autograd.grad((function(tg, *xs) ** 2).sum(), xs, create_graph=True)
    second = tg.autograd.grad(sum((g * g).sum() for g in first), xs)
    assert {g.dtype for g in (*first, *second)} == {tg.float32}


@pytest.mark.parametrize("name", OPERATIONS)
def test_a_recorded_pass_gives_the_gradients_of_a_plain_one(name):
    function, *shapes = OPERATIONS[name]
    xs = [leaf(tg, numbers(*s, seed=i)) for i, s in enumerate(shapes)]
    y = function(tg, *xs)
    u = tg.tensor(numbers(*y.shape, seed=10))
    recorded = tg.autograd.grad(y, xs, u, create_graph=True)
    for g, h in zip(recorded, tg.autograd.grad(y, xs, u), strict=True):
        np.testing.assert_allclose(g.detach().numpy(), h.numpy(), rtol=1e-12, atol=1e-13)


def test_gelu_at_zero():
    """Where |x|, of which the accurate form is made, has no derivative."""
    x = leaf(tg, 0.0)
    (g,) = tg.autograd.grad(tg.nn.functional.gelu(x), x, create_graph=True)
    (h,) = tg.autograd.grad(g, x)
    assert (g.item(), h.item()) == (0.5, pytest.approx(2 / math.sqrt(2 * math.pi), rel=1e-7))


# Where a step of the formula has no derivative of its own, or is infinite: the second derivative of function at x.
EDGES = {
    "softplus far left": (lambda x: tg.nn.functional.softplus(x), -800.0, 0.0),
    "silu far left": (lambda x: tg.nn.functional.silu(x), -800.0, 0.0),
    "gelu tanh far left": (lambda x: tg.nn.functional.gelu(x, approximate="tanh"), -30.0, 0.0),
    "logsigmoid at 0": (lambda x: tg.nn.functional.logsigmoid(x), 0.0, -0.25),
    "bce with logits at 0": (lambda x: tg.nn.functional.binary_cross_entropy_with_logits(x, x.detach()), 0.0, 0.25),
    "square at 0": (lambda x: x**2, 0.0, 2.0),
    "cube at 0": (lambda x: x**3, 0.0, 0.0),
    "square by tensor at 0": (lambda x: x ** tg.tensor(2.0, dtype=tg.float64), 0.0, 2.0),
    "first power at 0": (lambda x: x**1, 0.0, 0.0),
    "softmax that hides": (lambda x: tg.stack([x, x * x - math.inf]).softmax(0)[0], 0.5, 0.0),
}


@pytest.mark.parametrize("name", EDGES)
def test_second_derivatives_at_the_edges(name):
    function, at, expected = EDGES[name]
    x = leaf(tg, np.float64(at))
    (g,) = tg.autograd.grad(function(x), x, create_graph=True)
    (h,) = tg.autograd.grad(g, x, allow_unused=True, materialize_grads=True)
    assert h.item() == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("function", [lambda x: x.norm(dim=1), lambda x: x.norm(1, dim=1), lambda x: x.std(1)])
def test_a_row_without_length_has_no_second_derivative_and_does_no_harm(function):
    x = leaf(tg, np.array([[0.0, 0.0], [1.0, 2.0]]))
    u = leaf(tg, numbers(2))
    (g,) = tg.autograd.grad(function(x), x, u, create_graph=True)
    for h in tg.autograd.grad((g * tg.tensor(numbers(2, 2))).sum(), [x, u], allow_unused=True, materialize_grads=True):
        assert np.isfinite(h.numpy()).all()


def test_powers_with_exponent_zero():
    """The mixed derivative of a^b is 1 / a at b = 0."""
    a, b = leaf(tg, np.array([2.0, 0.5])), leaf(tg, np.zeros(2))
    assert tinygrad_edu.testing.gradgradcheck(tg.pow, (a, b))
    (g,) = tg.autograd.grad(tg.pow(a, b).sum(), a, create_graph=True)
    (mixed,) = tg.autograd.grad(g.sum(), b)
    assert (g.tolist(), mixed.tolist()) == ([0.0, 0.0], [0.5, 2.0])


def test_derivatives_of_any_order():
    x = leaf(tg, np.float64(0.7))
    y = x.sin()
    for expected in (math.cos(0.7), -math.sin(0.7), -math.cos(0.7), math.sin(0.7), math.cos(0.7)):
        (y,) = tg.autograd.grad(y, x, create_graph=True)
        assert y.item() == pytest.approx(expected, rel=1e-14)
    z = leaf(tg, np.float64(0.3))
    (first,) = tg.autograd.grad(z**4, z, create_graph=True)
    (second,) = tg.autograd.grad(first, z, create_graph=True)
    (third,) = tg.autograd.grad(second, z)
    assert third.item() == pytest.approx(24 * 0.3, rel=1e-12)


# ---- as programs use it ----------------------------------------------------------------------------------------------


def mlp(t, *sizes):
    model = t.nn.Sequential(t.nn.Linear(sizes[0], sizes[1]), t.nn.Tanh(), t.nn.Linear(sizes[1], sizes[2])).double()
    with t.no_grad():
        for i, p in enumerate(model.parameters()):
            p.copy_(t.tensor(numbers(*p.shape, seed=i)))
    return model


def test_gradient_penalty():
    """A step of a WGAN's critic: the loss holds the norm of a gradient, and is differentiated by the weights."""

    def program(t):
        critic = mlp(t, 3, 8, 1)
        x = leaf(t, numbers(5, 3, seed=9))
        scores = critic(x)
        (slope,) = t.autograd.grad(
            outputs=scores, inputs=x, grad_outputs=t.ones_like(scores), create_graph=True, retain_graph=True,
            only_inputs=True,
        )  # fmt: skip
        penalty = ((slope.norm(2, dim=1) - 1) ** 2).mean()
        (scores.mean() + 10 * penalty).backward()
        return [penalty, *(p.grad for p in critic.parameters())]

    in_both(program)


def test_a_step_through_an_inner_step():
    """MAML: the outer gradient goes through the weights that an inner step of descent made."""

    def program(t):
        w, b = leaf(t, numbers(3, 2)), leaf(t, numbers(2, seed=1))
        x, y = t.tensor(numbers(6, 3, seed=2)), t.tensor(numbers(6, 2, seed=3))

        def loss(w, b):
            return ((t.tanh(x @ w) + b - y) ** 2).mean()

        for _ in range(2):
            fast = [w, b]
            for _ in range(3):
                grads = t.autograd.grad(loss(*fast), fast, create_graph=True)
                fast = [p - 0.1 * g for p, g in zip(fast, grads, strict=True)]
            loss(*fast).backward()
        return [w.grad, b.grad]

    in_both(program)


def test_newton_reaches_the_minimum_of_a_quadratic_in_one_step():
    m = numbers(4, 4)
    h, c = tg.tensor(m @ m.T + np.eye(4)), tg.tensor(numbers(4, seed=1))
    x = tg.tensor(numbers(4, seed=2))
    found = tg.autograd.functional.hessian(lambda v: v @ h @ v / 2 - c @ v, x)
    (g,) = tg.autograd.functional.vjp(lambda v: v @ h @ v / 2 - c @ v, x)[1:]
    step = np.linalg.solve(found.numpy(), g.numpy())
    np.testing.assert_allclose(h.numpy() @ (x.numpy() - step), c.numpy(), atol=1e-10)


def test_hessian_vector_products_of_a_network():
    def program(t):
        model = mlp(t, 3, 6, 2)
        x, y = t.tensor(numbers(7, 3, seed=5)), t.tensor([0, 1, 1, 0, 1, 0, 0])
        weights = list(model.parameters())
        loss = t.nn.functional.cross_entropy(model(x), y)
        first = t.autograd.grad(loss, weights, create_graph=True)
        dot = sum((g * t.tensor(numbers(*g.shape, seed=i))).sum() for i, g in enumerate(first))
        return list(t.autograd.grad(dot, weights))

    in_both(program)


def test_a_hessian_vector_product_of_gpt_2():
    """H v of the loss, by the direction's finite difference of the gradient."""
    tg.manual_seed(0)
    model = GPT(GPTConfig(block_size=8, vocab_size=11, n_layer=2, n_head=2, n_embd=8, dropout=0.0)).double()
    ids = tg.tensor(np.random.default_rng(0).integers(0, 11, (2, 9)))
    weights = list(model.parameters())
    direction = [tg.tensor(numbers(*w.shape, seed=i)) for i, w in enumerate(weights)]

    def gradients(**kwargs):
        _, loss = model(ids[:, :-1], ids[:, 1:])
        return tg.autograd.grad(loss, weights, **kwargs)

    def moved(step):
        with tg.no_grad():
            for w, v in zip(weights, direction, strict=True):
                w += step * v
        return gradients()

    dot = sum((g * v).sum() for g, v in zip(gradients(create_graph=True), direction, strict=True))
    products = tg.autograd.grad(dot, weights)
    eps = 1e-6
    above, below = moved(eps), moved(-2 * eps)
    for product, a, b in zip(products, above, below, strict=True):
        np.testing.assert_allclose(product.numpy(), (a - b).numpy() / (2 * eps), rtol=1e-4, atol=1e-5)


# ---- the arguments of backward and grad ------------------------------------------------------------------------------


@REFERENCE_CYCLE
def test_backward_with_create_graph_fills_grads_that_have_a_graph():
    def program(t):
        x = leaf(t, numbers(3))
        (x**3).sum().backward(create_graph=True)
        first = x.grad
        assert first.requires_grad and not first.is_leaf
        x.grad = None
        (first * t.tensor(numbers(3, seed=1))).sum().backward()
        return [first, x.grad]

    in_both(program)


@REFERENCE_CYCLE
def test_recorded_gradients_accumulate_out_of_place():
    x = leaf(tg, numbers(3))
    (x**3).sum().backward(create_graph=True)
    first, before = x.grad, x.grad.tolist()
    (x**2).sum().backward(create_graph=True)
    second = x.grad
    (x**2).sum().backward()
    assert first.tolist() == before and first is not second is not x.grad
    np.testing.assert_allclose(x.grad.detach().numpy(), 3 * x.detach().numpy() ** 2 + 4 * x.detach().numpy())
    (g,) = tg.autograd.grad(second.sum(), x)
    np.testing.assert_allclose(g.numpy(), 6 * x.detach().numpy() + 2)


@REFERENCE_CYCLE
def test_grad_belongs_to_the_tensor_alone():
    """The seed that the user gave is not the gradient that is kept."""
    x, seed = leaf(tg, numbers(3)), tg.ones(3, dtype=tg.float64)
    (x + 0).backward(seed, create_graph=True)
    assert not np.shares_memory(x.grad.detach().numpy(), seed.numpy())


def test_backward_into_chosen_inputs():
    def program(t):
        x, w = leaf(t, numbers(3)), leaf(t, numbers(3, seed=1))
        h = x * w
        h.retain_grad()
        t.autograd.backward((h**2).sum(), inputs=[w])
        assert x.grad is None
        (x * w).sum().backward(inputs=w)
        return [w.grad]

    in_both(program)
    x = leaf(tg, numbers(3))
    for wrong, message in (([], "inputs is empty"), ([tg.ones(3)], "input 0 does not require grad")):
        with pytest.raises(RuntimeError, match=message):
            x.sum().backward(inputs=wrong)


def test_retain_graph_follows_create_graph():
    x = leaf(tg, numbers(3))
    y = (x * x.exp()).sum()
    tg.autograd.grad(y, x, create_graph=True)
    tg.autograd.grad(y, x, create_graph=True, retain_graph=False)
    with pytest.raises(RuntimeError, match="a second time: its saved values were freed"):
        tg.autograd.grad(y, x)


@pytest.mark.parametrize("function", [lambda x: x * x.exp(), lambda x: (x + 1).exp(), lambda x: x.sum() + 1])
def test_a_freed_graph_is_refused(function):
    x = leaf(tg, numbers(3))
    y = function(x).sum()
    z = y * y
    y.backward()
    with pytest.raises(RuntimeError, match="a second time: its saved values were freed"):
        tg.autograd.grad(z, x, create_graph=True)


def test_unused_inputs():
    def program(t):
        x, w = leaf(t, numbers(3)), leaf(t, numbers(2))
        y = (x**2).sum()
        with pytest.raises(RuntimeError):
            t.autograd.grad(y, [x, w], create_graph=True)
        (missing,) = t.autograd.grad(y, [w], create_graph=True, allow_unused=True)
        (zeros,) = t.autograd.grad(y, [w], create_graph=True, materialize_grads=True)
        assert missing is None
        return [zeros]

    in_both(program)
    x = leaf(tg, numbers(3))
    with pytest.raises(ValueError, match="only_inputs"):
        tg.autograd.grad(x.sum(), x, only_inputs=False)
    with pytest.raises(ValueError, match="materialize_grads"):
        tg.autograd.grad(x.sum(), x, allow_unused=False, materialize_grads=True)


def test_recording_is_switched_on_for_a_recorded_pass_and_off_for_a_plain_one():
    x = leaf(tg, numbers(3))
    y = (x**3).sum()
    with tg.no_grad():
        (g,) = tg.autograd.grad(y, x, create_graph=True)
        assert not tg.is_grad_enabled()
    assert g.requires_grad
    (plain,) = tg.autograd.grad(y, x)
    assert not plain.requires_grad


def test_hooks_take_part():
    def program(t):
        x = leaf(t, numbers(3))
        h = x * x
        h.retain_grad()
        h.register_hook(lambda g: g * g)
        x.register_hook(lambda g: g * 2)
        (g,) = t.autograd.grad((h**2).sum(), x, create_graph=True)
        return [g, *t.autograd.grad(g.sum(), x)]

    in_both(program)


def test_backward_with_create_graph_advises():
    x = leaf(tg, numbers(3))
    with pytest.warns(UserWarning, match="will create a reference cycle"):
        (x**2).sum().backward(create_graph=True)


@REFERENCE_CYCLE
def test_retain_grad_keeps_the_graph():
    x = leaf(tg, numbers(3))
    h = x * 2
    h.retain_grad()
    (h**3).sum().backward(create_graph=True)
    (g,) = tg.autograd.grad(h.grad.sum(), x)
    np.testing.assert_allclose(g.numpy(), 2 * 6 * h.detach().numpy())


# ---- values found again ----------------------------------------------------------------------------------------------


def test_random_draws_are_not_repeated():
    """The mask of a dropout enters the graph as a constant."""
    x = leaf(tg, numbers(50))
    y = tg.nn.functional.dropout(x * x, 0.5) ** 2
    mask = (y != 0).double() * 2
    (g,) = tg.autograd.grad(y.sum(), x, create_graph=True)
    (h,) = tg.autograd.grad(g.sum(), x)
    np.testing.assert_allclose(h.numpy(), 12 * x.detach().numpy() ** 2 * mask.numpy() ** 2)


def test_a_long_chain():
    x = leaf(tg, np.float64(1.0))
    y = x
    for _ in range(3000):
        y = y * 1.0001 + 0.0
    y = y * y
    (g,) = tg.autograd.grad(y, x, create_graph=True)
    (h,) = tg.autograd.grad(g, x)
    assert h.item() == pytest.approx(2 * 1.0001**6000, rel=1e-9)


@pytest.mark.parametrize("function", [lambda x: (x + 1).exp(), lambda x: x.T.exp(), lambda x: x.exp() * x])
def test_a_leaf_changed_since_is_noticed(function):
    x = leaf(tg, numbers(2, 3))
    y = function(x).sum()
    with tg.no_grad():
        x += 1
    with pytest.raises(RuntimeError, match="was changed in place"):
        tg.autograd.grad(y, x, create_graph=True)


def test_a_constant_changed_since_is_noticed():
    x, c = leaf(tg, numbers(3)), tg.tensor(numbers(3, seed=1))
    y = (x + c).exp().sum()
    c += 1
    with pytest.raises(RuntimeError, match=r"add .*test_higher.*was changed in place"):
        tg.autograd.grad(y, x, create_graph=True)


def test_a_leaf_changed_between_the_passes_is_noticed():
    """The recorded pass saves the leaf too, here through a view of it that was made again."""
    x = leaf(tg, numbers(2, 3))
    (g,) = tg.autograd.grad((x.reshape(6) ** 3).sum(), x, create_graph=True)
    with tg.no_grad():
        x += 1
    with pytest.raises(RuntimeError, match="was changed in place"):
        tg.autograd.grad(g.sum(), x)


def test_buffers_that_are_filled_step_by_step():
    """The node of an in-place change keeps what was in the buffer before it."""

    def program(t):
        x = leaf(t, numbers(3))
        out, total = t.ones(3, dtype=t.float64), t.zeros(3, dtype=t.float64)
        for i in range(3):
            out[i] = x[i] ** 2 * (i + 1)
            total += out.clone() * x
        total *= total.sum()
        (g,) = t.autograd.grad((total * out).sum(), x, create_graph=True)
        return [g, *t.autograd.grad(g.sum(), x)]

    in_both(program)


def test_an_intermediate_changed_since_does_not_matter():
    """Its value is found again from the leaves."""

    def program(t):
        x = leaf(t, numbers(3))
        h = x * x
        y = h.exp()
        h.mul_(3)
        (g,) = t.autograd.grad((y + h).sum(), x, create_graph=True)
        return [g, *t.autograd.grad(g.sum(), x)]

    in_both(program)


@pytest.mark.usefixtures("fused")
def test_a_twin_is_differentiated_through_its_reference():
    class FastExp:
        saved_for = None

        @staticmethod
        def accepts(x):
            return True

        @staticmethod
        def forward(xp, x):
            return xp.exp(x), (xp.exp(x), "other things than the reference saves")

        @staticmethod
        def backward(xp, saved, gy):
            return gy * saved[0]

    x = leaf(tg, numbers(3))
    dispatch.register_twin(elementwise.Exp, "cpu", FastExp)
    try:
        y = x.exp()
        assert y.grad_fn.pair is FastExp
        (g,) = tg.autograd.grad((y * y).sum(), x, create_graph=True)
        (h,) = tg.autograd.grad(g.sum(), x)
    finally:
        del dispatch._twins["exp"]
    np.testing.assert_allclose(h.numpy(), 4 * np.exp(2 * x.detach().numpy()))


def test_an_op_that_the_mirror_cannot_run_is_named():
    class Sinc(Op):
        name = "sinc"

        @staticmethod
        def forward(xp, x):
            return xp.sinc(x), (x,)

        @staticmethod
        def backward(xp, saved, gy):
            (x,) = saved
            return gy * (xp.cos(x) - xp.sinc(x)) / x

    x = leaf(tg, numbers(3))
    y = dispatch.apply(Sinc, x)
    tg.autograd.grad(y.sum(), x, retain_graph=True)
    with pytest.raises(NotImplementedError, match=r"sinc \(.*test_higher.*no gradient of its gradient: xp.sinc"):
        tg.autograd.grad(y.sum(), x, create_graph=True)


def test_everything_is_freed_without_the_garbage_collector():
    gc.disable()
    try:
        x, w, b = leaf(tg, numbers(5, 4)), leaf(tg, numbers(4)), leaf(tg, numbers(4))
        y = tg.nn.functional.layer_norm(x, (4,), w, b).exp().softmax(-1)
        cube = Cube.apply(y)
        (g,) = tg.autograd.grad((cube**2).sum(), x, create_graph=True)
        (h,) = tg.autograd.grad((g**2).sum(), w, create_graph=True)
        watched = [weakref.ref(t) for t in (y.grad_fn, cube.grad_fn, g.grad_fn, h.grad_fn, g, h, y, x, w)]
        del x, w, b, y, cube, g, h
        assert [r() for r in watched] == [None] * len(watched)
    finally:
        gc.enable()


@pytest.mark.parametrize("name", sorted(mirror._OPS))
def test_the_mirror_computes_what_numpy_does(name):
    xp = leaf(tg, 0.5)._mirror
    function, expected = getattr(xp, name), getattr(np, name)
    count = {"where": 3, "clip": 3, "arctan2": 2, "maximum": 2, "minimum": 2}.get(name, 1)
    arrays = [np.random.default_rng(i).uniform(0.1, 0.9, 5) for i in range(count)]
    if name == "where":
        arrays[0] = arrays[0] > 0.5
    tensors = [leaf(tg, a) if a.dtype.kind == "f" else a for a in arrays]
    found = function(*(xp.wrap(t) if t.__class__ is tg.Tensor else t for t in tensors))
    assert found.tensor.requires_grad
    np.testing.assert_allclose(found.tensor.detach().numpy(), expected(*arrays), rtol=1e-14)
    np.testing.assert_array_equal(function(*arrays), expected(*arrays))


@pytest.mark.parametrize("name", ["ceil", "floor", "isfinite", "isinf", "isnan", "ones_like", "round", "sign", "trunc"])
def test_what_has_no_gradient_stays_an_array(name):
    x = leaf(tg, numbers(5) * 3)
    found = getattr(x._mirror, name)(x._mirror.wrap(x))
    np.testing.assert_array_equal(found, getattr(np, name)(x.detach().numpy()))


# ---- operations of the reader's own ----------------------------------------------------------------------------------


class Cube(tg.Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x**3

    @staticmethod
    def backward(ctx, gy):
        (x,) = ctx.saved_tensors
        return 3 * x**2 * gy


def functions(t):
    """The same Functions for either library."""
    base = t.Function if t is tg else t.autograd.Function

    class Exp(base):
        """Saves its output."""

        @staticmethod
        def forward(ctx, x, factor):
            y = x.exp() * factor
            ctx.save_for_backward(y)
            return y

        @staticmethod
        def backward(ctx, gy):
            return ctx.saved_tensors[0] * gy, None

    class ProductAndSum(base):
        """Two outputs, and saves both inputs and an output; the constant is no input that requires grad."""

        @staticmethod
        def forward(ctx, x, y, c):
            p = x * y * c
            ctx.save_for_backward(x, y, c, p)
            return p, x + y

        @staticmethod
        def backward(ctx, gp, gs):
            x, y, c, p = ctx.saved_tensors
            return gp * p / x + gs, gp * x * c + gs, None

    class Outer(base):
        """Uses another Function in its backward."""

        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x)
            return x.exp()

        @staticmethod
        def backward(ctx, gy):
            return gy * Exp.apply(ctx.saved_tensors[0], 1.0)

    return Exp, ProductAndSum, Outer


def test_functions_are_differentiated_twice_as_in_torch():
    def program(t):
        exp, product_and_sum, outer = functions(t)
        x, y = leaf(t, numbers(4)), leaf(t, numbers(4, seed=1))
        p, s = product_and_sum.apply(x * 2, y, t.tensor(numbers(4, seed=2)))
        z = exp.apply(p * 0.1, 2.0) * s + outer.apply(s)
        first = t.autograd.grad(z, [x, y], t.tensor(numbers(4, seed=3)), create_graph=True)
        second = t.autograd.grad((first[0] * first[1]).sum(), [x, y], create_graph=True)
        third = t.autograd.grad(second[0].sum(), [x, y])
        return [*first, *second, *third]

    in_both(program)


def test_a_changed_output_of_a_function_is_noticed():
    """It is kept, since nobody may run the reader's forward again."""
    x = leaf(tg, numbers(3))
    y = Cube.apply(x)
    z = y.exp().sum()
    with tg.no_grad():
        y += 1
    tg.autograd.grad(z, x, retain_graph=True)
    with pytest.raises(RuntimeError, match="Cube .*was changed in place"):
        tg.autograd.grad(z, x, create_graph=True)


def test_one_output_of_a_function_is_enough():
    def program(t):
        _, product_and_sum, _ = functions(t)
        x, y, c = leaf(t, numbers(4)), leaf(t, numbers(4, seed=1)), t.tensor(numbers(4, seed=2))
        grads = []
        for k in range(2):
            out = product_and_sum.apply(x, y, c)[k]
            first = t.autograd.grad((out**3).sum(), [x, y], create_graph=True)
            grads += [*first, *t.autograd.grad((first[0] * first[1]).sum(), [x, y])]
        return grads

    in_both(program)


def test_the_gradient_of_a_function_is_checked_twice():
    x = leaf(tg, numbers(3))
    assert tg.testing.gradgradcheck(Cube.apply, (x,))

    class Forgetful(tg.Function):
        """Its backward computes with arrays, out of the graph's sight."""

        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x)
            return x**3

        @staticmethod
        def backward(ctx, gy):
            (x,) = ctx.saved_tensors
            return gy * tg.tensor(3 * x.detach().numpy() ** 2)

    assert tg.testing.gradcheck(Forgetful.apply, (x,))
    with pytest.raises(tg.testing.GradcheckError, match="the gradient of Forgetful.apply: wrong gradient for input 0"):
        tg.testing.gradgradcheck(Forgetful.apply, (x,))
    assert not tg.testing.gradgradcheck(Forgetful.apply, (x,), raise_exception=False)


def test_gradgradcheck_takes_cotangents():
    x, u = leaf(tg, numbers(3)), leaf(tg, numbers(3, seed=1))
    assert tg.testing.gradgradcheck(lambda x: x.softmax(0), x, u)
    with pytest.raises(tg.testing.GradcheckError, match="no output .* depends on its inputs"):
        tg.testing.gradgradcheck(lambda x: x.detach(), x)


class Seen:
    def __init__(self):
        self.forward, self.backward = [], []

    def recorded(self, node, inputs, y):
        self.forward.append((node.op.name, inputs, y))

    def propagated(self, node, gy, gradients):
        self.backward.append((node.op.name, gy, gradients))


@pytest.mark.parametrize("create_graph", [False, True])
def test_observers_are_told_of_functions_in_arrays(create_graph):
    _, product_and_sum, _ = functions(tg)
    x, y, c = leaf(tg, numbers(4)), leaf(tg, numbers(4, seed=1)), tg.tensor(numbers(4, seed=2))
    seen = Seen()
    with tg.autograd.observe(seen):
        p, s = product_and_sum.apply(x, y, c)
        z = Cube.apply(p)
    assert [name for name, _, _ in seen.forward] == ["ProductAndSum", "Cube"]
    (_, inputs, outputs), (_, cube_inputs, cube_output) = seen.forward
    assert [type(a) for a in (*inputs, *outputs, *cube_inputs, cube_output)] == [np.ndarray] * 7
    assert outputs[0].tolist() == p.tolist() and cube_output.tolist() == z.tolist()
    with tg.autograd.observe(seen):
        tg.autograd.grad(z.sum(), [x, y], create_graph=create_graph)
    told = {name: (gy, gradients) for name, gy, gradients in seen.backward}
    gy, gradients = told["Cube"]
    assert gy.tolist() == [1.0] * 4 and isinstance(gradients[0], np.ndarray)
    gy, gradients = told["ProductAndSum"]
    assert isinstance(gy[0], np.ndarray) and gy[1] is None
    assert [type(g) for g in gradients] == [np.ndarray, np.ndarray, type(None)]


def test_anomalies_in_functions_are_found():
    class Root(tg.Function):
        @staticmethod
        def forward(ctx, x):
            return x, x.sqrt()

        @staticmethod
        def backward(ctx, gx, gy):
            return gx * math.nan

    x = leaf(tg, np.array([-1.0]))
    with tg.autograd.detect_anomaly(), pytest.raises(RuntimeError, match="Root at .* made NaN.* its forward is your"):
        (Root.apply(x)[1] * x).backward()
    y, _ = Root.apply(x * x)
    with tg.autograd.detect_anomaly(), pytest.raises(RuntimeError, match="RootBackward0 returned nan"):
        y.backward()


# ---- autograd.functional ---------------------------------------------------------------------------------------------


def elementwise_product(t):
    return lambda x, y: (x.exp() * y[:3], (y**2).sum() * x.sum())


CALLS = {
    "vjp": lambda F, t, x, y, u, v: F.vjp(lambda x: (x**3).cumsum(0), x, x * 2),
    "vjp of tuples": lambda F, t, x, y, u, v: F.vjp(
        elementwise_product(t), (x, y), (x, t.tensor(0.3, dtype=t.float64))
    ),
    "vjp without v": lambda F, t, x, y, u, v: F.vjp(lambda x: (x**3).sum(), x),
    "jvp": lambda F, t, x, y, u, v: F.jvp(lambda x: (x**3).cumsum(0), x, u),
    "jvp of tuples": lambda F, t, x, y, u, v: F.jvp(elementwise_product(t), (x, y), (u, v)),
    "jvp of a linear function": lambda F, t, x, y, u, v: F.jvp(lambda x: x * 2, x, u),
    "jacobian": lambda F, t, x, y, u, v: F.jacobian(lambda x: x.softmax(0), x),
    "jacobian, vectorized": lambda F, t, x, y, u, v: F.jacobian(lambda x: x.softmax(0), x, vectorize=True),
    "jacobian of tuples": lambda F, t, x, y, u, v: F.jacobian(elementwise_product(t), (x, y)),
    "jacobian of a tuple of one": lambda F, t, x, y, u, v: F.jacobian(lambda x: (x**2,), (x,)),
    "jacobian of a matrix": lambda F, t, x, y, u, v: F.jacobian(lambda x: x[:, None] * x, x),
    "jacobian without dependence": lambda F, t, x, y, u, v: F.jacobian(lambda x, y: x * 2, (x, y)),
    "hessian": lambda F, t, x, y, u, v: F.hessian(lambda x: (x.exp() * x.sum()).sum(), x),
    "hessian of one element": lambda F, t, x, y, u, v: F.hessian(lambda x: (x**4).sum(0, keepdim=True), x),
    "hessian of tuples": lambda F, t, x, y, u, v: F.hessian(lambda x, y: (x.exp().sum() * y**3).sum(), (x, y)),
    "hessian of a linear function": lambda F, t, x, y, u, v: F.hessian(lambda x: x.sum(), x),
    "vhp": lambda F, t, x, y, u, v: F.vhp(lambda x: (x.exp() * x.sum()).sum(), x, u),
    "vhp of tuples": lambda F, t, x, y, u, v: F.vhp(lambda x, y: (x.exp().sum() * y**3).sum(), (x, y), (u, v)),
    "hvp": lambda F, t, x, y, u, v: F.hvp(lambda x: (x.exp() * x.sum()).sum(), x, u),
    "hvp of tuples": lambda F, t, x, y, u, v: F.hvp(lambda x, y: (x.exp().sum() * y**3).sum(), (x, y), (u, v)),
    "hvp of a linear function": lambda F, t, x, y, u, v: F.hvp(lambda x: x.sum(), x, u),
}


def arguments_of_calls(t, requires_grad=False):
    arrays = numbers(3), numbers(4, seed=1), numbers(3, seed=2), numbers(4, seed=3)
    return [t.tensor(a, requires_grad=requires_grad) for a in arrays]


@pytest.mark.parametrize("name", CALLS)
def test_functional_as_in_torch(name):
    def program(t):
        found = CALLS[name](t.autograd.functional, t, *arguments_of_calls(t))
        assert not any(x.requires_grad for x in flat(found))
        return found

    in_both(program)


def flat(x):
    return [leaf for item in x for leaf in flat(item)] if isinstance(x, (list, tuple)) else [x]


@pytest.mark.parametrize("method", ["vjp", "jvp", "jacobian", "hessian", "vhp", "hvp"])
def test_results_of_functional_are_differentiated(method):
    def program(t):
        x, _, u, _ = arguments_of_calls(t, requires_grad=True)
        v = () if method in ("jacobian", "hessian") else (u,)

        def function(x):
            return (x**4).cumsum(0) if method in ("vjp", "jvp", "jacobian") else (x**4).sum() * x[0]

        found = getattr(t.autograd.functional, method)(function, x, *v, create_graph=True)
        result = found[-1] if isinstance(found, tuple) else found
        return [result, *t.autograd.grad((result**2).sum(), [x, *v])]

    in_both(program)


def refuse(t, method, *args, **kwargs):
    with pytest.raises((RuntimeError, TypeError)) as caught:
        getattr(t.autograd.functional, method)(*args, **kwargs)
    return caught.value


MISUSE = {
    "v is needed": lambda t, x: ("vjp", lambda x: x**2, x),
    "v is needed for the input": lambda t, x: ("jvp", lambda x: x**2, x),
    "v of another size": lambda t, x: ("vjp", lambda x: x**2, x, t.ones(7, dtype=t.float64)),
    "v of other length": lambda t, x: ("vjp", lambda x: x**2, x, (x, x)),
    "several elements": lambda t, x: ("hessian", lambda x: x**2, x),
    "several outputs": lambda t, x: ("hessian", lambda x: (x.sum(), x.sum()), x),
    "hvp of several elements": lambda t, x: ("hvp", lambda x: x**2, x, x),
    "vhp of several elements": lambda t, x: ("vhp", lambda x: x**2, x, x),
    "no tensor comes out": lambda t, x: ("vjp", lambda x: 3.0, x),
    "no tensor goes in": lambda t, x: ("vjp", lambda x: x, [1.0, 2.0]),
}


@pytest.mark.parametrize("name", MISUSE)
def test_misuse_of_functional(name):
    ours, theirs = (refuse(t, *MISUSE[name](t, t.tensor(numbers(3)))) for t in BOTH)
    assert type(ours) is type(theirs)


STRICT = {
    "vjp": lambda t, x: ("vjp", lambda x: t.ones(2), x, t.ones(2)),
    "jvp": lambda t, x: ("jvp", lambda x: x.detach(), x, x),
    "jacobian": lambda t, x: ("jacobian", lambda x: x.detach(), x),
    "one input": lambda t, x: ("jacobian", lambda x, y: x * 2, (x, x.clone())),
    "second order": lambda t, x: ("jacobian", lambda x: x * 2, x, True),
    "hessian": lambda t, x: ("hessian", lambda x: x.sum(), x),
    "hvp": lambda t, x: ("hvp", lambda x: x.sum(), x, x),
    "vhp": lambda t, x: ("vhp", lambda x: x.sum(), x, x),
}


@pytest.mark.parametrize("name", STRICT)
def test_strict_mode_refuses_what_would_be_zero(name):
    for t in BOTH:
        error = refuse(t, *STRICT[name](t, t.tensor(numbers(2))), strict=True)
        assert type(error) is RuntimeError and "strict mode" in str(error)


def test_a_strict_call_that_is_right():
    def program(t):
        F, (x, y, u, _) = t.autograd.functional, arguments_of_calls(t)
        return (
            F.hessian(lambda x, y: (x.exp().sum() * y**3).sum(), (x, y), strict=True),
            F.vhp(lambda x: (x**3).sum(), x, u, strict=True),
            F.jvp(lambda x: x**2, x, u, create_graph=True, strict=True),
            F.jacobian(lambda x: x**2, x, create_graph=True, strict=True),
        )

    in_both(program)


def test_the_jacobian_of_an_empty_output():
    assert tg.autograd.functional.jacobian(lambda x: x[:0], tg.ones(3)).shape == (0, 3)


def test_the_strategy_of_a_jacobian():
    x = tg.tensor(numbers(3))
    forward = tg.autograd.functional.jacobian(lambda x: x**2, x, strategy="forward-mode", vectorize=True)
    np.testing.assert_allclose(forward.numpy(), np.diag(2 * x.numpy()))
    with pytest.raises(ValueError, match="strategy"):
        tg.autograd.functional.jacobian(lambda x: x**2, x, strategy="sideways")
