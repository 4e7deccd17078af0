"""Mixed precision: dtypes and scales as PyTorch has them, and training that is as good as in float32."""

from __future__ import annotations

import contextlib
import itertools
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

import tinygrad_edu
import tinygrad_edu as tg
from gpt.config import GPTConfig, TrainConfig, preset
from gpt.trainer import Diverged, Trainer
from tinygrad_edu import amp, nn, recompute
from tinygrad_edu.autograd.modes import state
from tinygrad_edu.functional import precision
from tinygrad_edu.functional.precision import RULES, Casting

# ---- the dtype of each function --------------------------------------------------------------------------------------


def _image(x: Any, n: int) -> Any:
    """x as one example of 4 channels with n spatial axes."""
    return x.reshape(1, 4, *(1,) * (n - 1), 4)


def _kernel(w: Any, n: int) -> Any:
    return w.reshape(4, 4, *(1,) * n)


def _none(m: Any, x: Any) -> Any:
    """Zeros as integers: the class or the place of each row."""
    return m.zeros_like(x).long()


Call = Callable[[Any, Any, Any, Any], Any]
# How to call the functions of the lists on x and w, both (4, 4). m is torch or tinygrad_edu, f its nn.functional.
# Slices are written as calls, since tensors of a GPU that is not there cannot be indexed.
CALLS: dict[str, Call] = {
    "addbmm": lambda m, f, x, w: m.addbmm(x, x.unsqueeze(0), w.unsqueeze(0)),
    "addcdiv": lambda m, f, x, w: m.addcdiv(x, w, w),
    "addcmul": lambda m, f, x, w: m.addcmul(x, w, w),
    "addmm": lambda m, f, x, w: m.addmm(x, x, w),
    "addmv": lambda m, f, x, w: m.addmv(x.select(0, 0), x, w.select(0, 0)),
    "addr": lambda m, f, x, w: m.addr(x, x.select(0, 0), w.select(0, 0)),
    "baddbmm": lambda m, f, x, w: m.baddbmm(x.unsqueeze(0), x.unsqueeze(0), w.unsqueeze(0)),
    "batch_norm": lambda m, f, x, w: f.batch_norm(x, None, None, w.select(0, 0), w.select(0, 0), training=True),
    "bilinear": lambda m, f, x, w: f.bilinear(x, x, w.unsqueeze(0)),
    "bmm": lambda m, f, x, w: m.bmm(x.unsqueeze(0), w.unsqueeze(0)),
    "cat": lambda m, f, x, w: m.cat([x, w]),
    "chain_matmul": lambda m, f, x, w: m.linalg.multi_dot([x, w, x]),
    "cosine_embedding_loss": lambda m, f, x, w: f.cosine_embedding_loss(x, w, m.ones_like(x.select(0, 0))),
    "cosine_similarity": lambda m, f, x, w: f.cosine_similarity(x, w),
    "cross": lambda m, f, x, w: m.cross(x.narrow(1, 0, 3), w.narrow(1, 0, 3), 1),
    "cross_entropy": lambda m, f, x, w: f.cross_entropy(x, _none(m, x.select(0, 0))),
    "ctc_loss": lambda m, f, x, w: f.ctc_loss(
        x.unsqueeze(1), m.ones_like(x.narrow(0, 0, 1).narrow(1, 0, 1)).long(), (4,), (1,)
    ),
    "einsum": lambda m, f, x, w: m.einsum("ij,jk->ik", x, w),
    "group_norm": lambda m, f, x, w: f.group_norm(x, 2, w.select(0, 0), w.select(0, 0)),
    "gru_cell": lambda m, f, x, w: m.gru_cell(x, w, w.repeat(3, 1), w.repeat(3, 1)),
    "index_copy": lambda m, f, x, w: m.index_copy(x, 0, _none(m, x.select(0, 0).narrow(0, 0, 1)), w.narrow(0, 0, 1)),
    "index_put": lambda m, f, x, w: m.index_put(x, (_none(m, x.select(0, 0).narrow(0, 0, 2)),), w.select(0, 0)),
    "instance_norm": lambda m, f, x, w: f.instance_norm(x.unsqueeze(0), weight=w.select(0, 0), bias=w.select(0, 0)),
    "kl_div": lambda m, f, x, w: f.kl_div(x, w, reduction="sum"),
    "layer_norm": lambda m, f, x, w: f.layer_norm(x, (4,), w.select(0, 0), w.select(0, 0)),
    "lstm_cell": lambda m, f, x, w: m.lstm_cell(x, (w, w), w.repeat(4, 1), w.repeat(4, 1))[0],
    "margin_ranking_loss": lambda m, f, x, w: f.margin_ranking_loss(x, w, m.ones_like(x)),
    "matrix_norm": lambda m, f, x, w: m.linalg.matrix_norm(x),
    "multi_dot": lambda m, f, x, w: m.linalg.multi_dot([x, w, x]),
    "multi_margin_loss": lambda m, f, x, w: f.multi_margin_loss(x, _none(m, x.select(0, 0))),
    "multilabel_margin_loss": lambda m, f, x, w: f.multilabel_margin_loss(x, _none(m, x)),
    "mv": lambda m, f, x, w: m.mv(x, w.select(0, 0)),
    "nll_loss": lambda m, f, x, w: f.nll_loss(x, _none(m, x.select(0, 0))),
    "pow": lambda m, f, x, w: m.pow(x, 2),
    "prelu": lambda m, f, x, w: f.prelu(x, w.select(0, 0).narrow(0, 0, 1)),
    "rms_norm": lambda m, f, x, w: f.rms_norm(x, (4,)),
    "rnn_relu_cell": lambda m, f, x, w: m.rnn_relu_cell(x, w, w, w),
    "rnn_tanh_cell": lambda m, f, x, w: m.rnn_tanh_cell(x, w, w, w),
    "scaled_dot_product_attention": lambda m, f, x, w: f.scaled_dot_product_attention(
        x.unsqueeze(0), w.unsqueeze(0), w.unsqueeze(0)
    ),
    "scatter_add": lambda m, f, x, w: m.scatter_add(x, 0, _none(m, x), w),
    "stack": lambda m, f, x, w: m.stack([x, w]),
    "triplet_margin_loss": lambda m, f, x, w: f.triplet_margin_loss(x, w, x),
    "vecdot": lambda m, f, x, w: m.linalg.vecdot(x, w),
    "vector_norm": lambda m, f, x, w: m.linalg.vector_norm(x),
}
for names, arguments in {
    "acos asin cosh exp expm1 log log10 log1p log2 norm prod reciprocal rsqrt sinh sum tan trace": lambda x, w: (x,),
    "atan2 cdist dist matmul mm tensordot": lambda x, w: (x, w),
    "cumprod cumsum log_softmax logsumexp softmax": lambda x, w: (x, -1),
    "nanquantile quantile": lambda x, w: (x, 0.5),
    "dot vdot": lambda x, w: (x.select(0, 0), w.select(0, 0)),
}.items():
    for name in names.split():
        CALLS[name] = lambda m, f, x, w, name=name, arguments=arguments: getattr(m, name)(*arguments(x, w))
for names, arguments in {
    "pdist softplus": lambda x, w: (x,),
    "softmin": lambda x, w: (x, -1),
    "binary_cross_entropy binary_cross_entropy_with_logits hinge_embedding_loss huber_loss l1_loss linear": (
        lambda x, w: (x, w)
    ),
    "mse_loss poisson_nll_loss smooth_l1_loss soft_margin_loss": lambda x, w: (x, w),
    **{f"conv{n}d conv_transpose{n}d": lambda x, w, n=n: (_image(x, n), _kernel(w, n)) for n in (1, 2, 3)},
    "avg_pool3d max_pool3d adaptive_avg_pool3d adaptive_max_pool3d": lambda x, w: (_image(x, 3), 1),
}.items():
    for name in names.split():
        CALLS[name] = lambda m, f, x, w, name=name, arguments=arguments: getattr(f, name)(*arguments(x, w))


# What PyTorch cannot tell of a GPU that is not there, and what it refuses.
NOT_COMPARED = {"cpu": set(), "cuda": {"gru_cell", "lstm_cell", "binary_cross_entropy"}}


@contextlib.contextmanager
def torch_casts(device: str) -> Iterator[None]:
    """PyTorch's autocast to float16, also for a GPU that is not there."""
    torch.set_autocast_enabled(device, True)
    torch.set_autocast_dtype(device, torch.float16)
    torch.autocast_increment_nesting()
    try:
        yield
    finally:
        torch.set_autocast_enabled(device, False)
        torch.autocast_decrement_nesting()
        torch.clear_autocast_cache()


def torch_dtype(device: str, call: Call, x: str, w: str) -> str:
    """The dtype of PyTorch's result; "" where it refuses operands of these dtypes. Tensors of a GPU are only shapes."""
    with (
        FakeTensorMode(allow_fallback_kernels=False) if device == "cuda" else contextlib.nullcontext(),
        torch_casts(device),
    ):
        try:
            a, b = (torch.full((4, 4), 0.5, dtype=getattr(torch, dtype), device=device) for dtype in (x, w))
            return str(call(torch, torch.nn.functional, a, b).dtype).removeprefix("torch.")
        except (RuntimeError, AttributeError):  # the latter of fake cells of an LSTM, which has no result
            return ""


@contextlib.contextmanager
def our_casts(rules: str) -> Iterator[None]:
    """What autocast does on a device, on the CPU."""
    outside = state.autocast
    precision.set_casts({"cpu": Casting(tg.float16, RULES[rules])})
    try:
        yield
    finally:
        state.autocast = outside


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_results_have_the_dtypes_of_pytorchs(device: str):
    compared, wrong = set(), []
    for name in RULES[device]:
        for x, w in itertools.product(("float16", "float32"), repeat=2):
            expected = torch_dtype(device, CALLS[name], x, w)
            if not expected:
                continue
            compared.add((name, x == w))
            a, b = (tg.full((4, 4), 0.5, dtype=getattr(tg, dtype)) for dtype in (x, w))
            with our_casts(device):
                found = CALLS[name](tg, nn.functional, a, b).dtype.name
            if found != expected:
                wrong.append(f"{name}({x}, {w}) is {found}, expected {expected}")
    assert not wrong
    alike = {name for name, both in compared if both}
    assert alike | NOT_COMPARED[device] == set(RULES[device])


@pytest.mark.parametrize("name", ["gru_cell", "lstm_cell"])
def test_cells_run_in_float16(name: str):
    x = tg.full((4, 4), 0.5)
    with our_casts("cuda"):
        assert CALLS[name](tg, nn.functional, x, x).dtype == tg.float16


def test_what_is_unsafe_is_refused_as_in_pytorch():
    x = tg.full((4, 4), 0.5)
    with (
        our_casts("cuda"),
        pytest.raises(RuntimeError, match="binary_cross_entropy is unsafe to autocast.*_with_logits"),
    ):
        nn.functional.binary_cross_entropy(x, x)
    with our_casts("cpu"):
        assert nn.functional.binary_cross_entropy(x.half(), x).dtype == tg.float32


def test_every_function_of_pytorchs_lists_that_is_here_is_in_ours():
    for device, key in (("cpu", "AutocastCPU"), ("cuda", "AutocastCUDA")):
        theirs = {
            name.removeprefix("aten::").partition(".")[0].removeprefix("linalg_")
            for name in torch._C._dispatch_get_registrations_for_dispatch_key(key)
        }
        ours = [n for n in theirs if any(hasattr(x, n) for x in (tg, nn.functional, tg.Tensor, tg.linalg))]
        assert not set(ours) - set(RULES[device])


def test_functions_of_the_lists_carry_the_mark_and_no_others():
    mark = precision.autocasts(lambda: None).__code__
    marked = {
        name
        for module in vars(tinygrad_edu.functional).values()
        if getattr(module, "__name__", "").startswith("tinygrad_edu.functional.")
        for name, function in vars(module).items()
        if getattr(function, "__code__", None) is mark and function.__name__ == name
    }
    assert marked == set(RULES["cpu"]) | set(RULES["cuda"])


# ---- the context -----------------------------------------------------------------------------------------------------


def product(x: tg.Tensor) -> Any:
    """The dtype of a product."""
    return (x @ x).dtype


def test_it_acts_within_its_context_alone():
    x = tg.ones(2, 2)
    cast = tg.autocast("cpu")
    with cast:
        assert product(x) == tg.bfloat16
        with tg.autocast("cpu", enabled=False):
            assert product(x) == tg.float32
            with cast:  # the same one, within itself
                assert product(x) == tg.bfloat16
        assert product(x) == tg.bfloat16
        others = []
        thread = threading.Thread(target=lambda: others.append(product(x)))
        thread.start()
        thread.join()
        assert others == [tg.float32]
    assert product(x) == tg.float32 and state.autocast is None
    with pytest.raises(ZeroDivisionError), cast:
        raise ZeroDivisionError
    assert state.autocast is None
    assert cast(product)(x) == tg.bfloat16 and product(x) == tg.float32
    assert cast(product).__doc__ == "The dtype of a product."


def test_other_devices_and_dtypes_are_left_alone():
    outside = state.autocast
    precision.set_casts({"cuda": Casting(tg.float16, RULES["cuda"])})
    try:
        assert product(tg.ones(2, 2)) == tg.float32
    finally:
        state.autocast = outside
    with tg.autocast("cpu"):
        assert product(tg.ones(2, 2, dtype=tg.float64)) == tg.float64
        assert product(tg.ones(2, 2, dtype=tg.int64)) == tg.int64
        assert tg.ones(2, 2).exp().dtype == tg.float32
        assert (np.ones((2, 2), np.float32) @ tg.ones(2, 2)).dtype == tg.bfloat16
    with tg.autocast("cpu", dtype=tg.float16):
        assert product(tg.ones(2, 2)) == product(tg.ones(2, 2).bfloat16()) == tg.float16
    with our_casts("cuda"):
        assert tg.ones(2).half().softmax(0, dtype=tg.float16).dtype == tg.float16  # as asked for
        assert tg.ones(2).half().sum(dtype=tg.float64).dtype == tg.float64


def test_what_a_function_of_the_lists_calls_is_part_of_it():
    x = tg.full((3, 3), 300.0)
    with our_casts("cuda"):
        # In float16 the squares would be infinite.
        assert nn.functional.mse_loss(x.half(), tg.zeros(3, 3).half()).item() == 90000.0
        assert x.half().norm().item() == pytest.approx(900.0)


def test_parameters_and_their_gradients_stay_float32():
    model = nn.Sequential(nn.Linear(4, 8), nn.LayerNorm(8), nn.Linear(8, 2))
    x = tg.randn(3, 4, requires_grad=True)
    with tg.autocast("cpu", dtype=tg.float16):
        y = model(x)
        loss = y.square().mean()
    assert y.dtype == tg.float16
    loss.backward()
    assert {t.grad.dtype for t in (x, *model.parameters())} == {tg.float32}
    plain = model(x).square().mean()
    assert loss.item() == pytest.approx(plain.item(), rel=1e-2)


def test_recomputation_is_cast_as_the_first_run_was():
    model = nn.Sequential(nn.Linear(8, 8), nn.GELU(), nn.Dropout(0.5), nn.Linear(8, 8))
    x = tg.randn(5, 8)
    found = []
    for again in (False, True):
        tg.manual_seed(1)
        model.zero_grad()
        with tg.autocast("cpu"):
            y = recompute(model, x) if again else model(x)
        y.float().square().sum().backward()
        found.append([p.grad.numpy().copy() for p in model.parameters()])
    assert all(map(np.array_equal, *found))


def test_what_cannot_be_done_is_said():
    x = tg.ones(2, 2)
    for make in (lambda: tg.autocast("cpu", dtype=tg.float32), lambda: tg.autocast("cpu", dtype=torch.float16)):
        with pytest.warns(UserWarning, match="autocast is disabled: dtype=.* is not supported") as caught:
            cast = make()
        assert caught[0].filename == __file__
        with cast:
            assert product(x) == tg.float32


# ---- scaling the loss ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(3))
def test_the_scale_moves_as_pytorchs_does(seed: int):
    rng = np.random.default_rng(seed)
    settings = {"init_scale": 1000.0, "growth_factor": 1.7, "backoff_factor": 0.3, "growth_interval": 3}
    w = rng.standard_normal(5).astype(np.float32)
    sides: list[Any] = []
    for m in (tg, torch):
        p, q = (m.tensor(w.copy(), requires_grad=True) for _ in range(2))
        optimizers = [m.optim.SGD([p], lr=0.1), m.optim.Adam([q], lr=0.1)]
        sides.append((m, (p, q), optimizers, m.amp.GradScaler("cpu", **settings)))
    for step in range(40):
        x = rng.standard_normal(5).astype(np.float32)
        if rng.random() < 0.2:
            x[rng.integers(5)] = rng.choice([np.inf, np.nan, 1e38])
        unscale, other, set_scale = rng.random() < 0.5, rng.random() < 0.5, step == 20
        for m, (p, q), optimizers, scaler in sides:
            for optimizer in optimizers:
                optimizer.zero_grad()
            a, b = scaler.scale([(p * m.tensor(x)).sum(), (q * q).sum()])
            a.backward()
            b.backward()
            if unscale:
                scaler.unscale_(optimizers[0])
            scaler.step(optimizers[0])
            if other:
                scaler.step(optimizers[1])
            scaler.update(300.0 if set_scale else None)
        (_, ours, _, scaler), (_, theirs, _, expected) = sides
        assert scaler.get_scale() == expected.get_scale()
        assert scaler.state_dict() == expected.state_dict()
        for t, u in zip(ours, theirs, strict=True):
            np.testing.assert_allclose(t.detach().numpy(), u.detach().numpy(), rtol=1e-5, atol=1e-7)


def test_defaults_are_pytorchs():
    ours, theirs = amp.GradScaler("cpu"), torch.amp.GradScaler("cpu")
    assert ours.state_dict() == theirs.state_dict() and ours.get_scale() == 65536.0 and ours.is_enabled()
    for name in ("growth_factor", "backoff_factor", "growth_interval"):
        assert getattr(ours, f"get_{name}")() == getattr(theirs, f"get_{name}")()
        getattr(ours, f"set_{name}")(3)
        assert ours.state_dict()[name] == 3


def test_a_scaler_goes_on_from_its_state():
    w = tg.ones(3, requires_grad=True)
    optimizer, scaler = tg.optim.SGD([w], lr=0.1), amp.GradScaler("cpu", init_scale=8.0, growth_interval=5)
    scaler.scale(w.sum()).backward()
    scaler.step(optimizer)
    scaler.update()
    other = amp.GradScaler("cpu")
    other.load_state_dict(scaler.state_dict())
    assert other.state_dict() == scaler.state_dict()
    assert other.get_scale() == 8.0 and other.state_dict()["_growth_tracker"] == 1
    with pytest.raises(RuntimeError, match="The source state dict is empty"):
        other.load_state_dict({})


@pytest.mark.parametrize(
    "misuse",
    [
        lambda s, o: (s.unscale_(o), s.unscale_(o)),
        lambda s, o: (s.step(o), s.unscale_(o)),
        lambda s, o: (s.step(o), s.step(o)),
        lambda s, o: s.step(o, closure=lambda: None),
    ],
)
def test_misuse_is_refused_as_in_pytorch(misuse: Callable[[Any, Any], Any]):
    messages = []
    for m in (tg, torch):
        w = m.ones(3, requires_grad=True)
        scaler = m.amp.GradScaler("cpu")
        scaler.scale(w.sum()).backward()
        with pytest.raises(RuntimeError) as caught:
            misuse(scaler, m.optim.SGD([w], lr=0.1))
        messages.append(str(caught.value))
    assert messages[0] == messages[1]


@pytest.mark.parametrize(
    "misuse", [lambda s, o: s.step(o), lambda s, o: s.unscale_(o), lambda s, o: s.update(), lambda s, o: s.update(2.0)]
)
def test_gradients_of_a_loss_that_was_not_scaled_are_refused_as_in_pytorch(misuse: Callable[[Any, Any], Any]):
    for m in (tg, torch):
        w = m.ones(3, requires_grad=True)
        optimizer, scaler = m.optim.SGD([w], lr=0.1), m.amp.GradScaler("cpu")
        scaler.load_state_dict(scaler.state_dict())  # a scaler that goes on has scaled no loss either
        w.sum().backward()
        with pytest.raises(AssertionError, match=r"ttempted (step|unscale_|update).*scaler\.scale\(loss"):
            misuse(scaler, optimizer)
        assert w.grad.tolist() == w.tolist() == [1, 1, 1]
        scaler.scale(w.sum()).backward()
        scaler.step(optimizer)


def test_further_misuse():
    scaler = amp.GradScaler("cpu")
    scaler.scale(tg.ones(()))
    with pytest.raises(
        RuntimeError, match=r"No inf checks were recorded prior to update; call scaler.step\(optimizer\)"
    ):
        scaler.update()
    w = tg.ones(3, dtype=tg.float16, requires_grad=True)
    w.sum().backward()
    with pytest.raises(ValueError, match=r"Attempting to unscale FP16 gradients. Keep the parameters in float32"):
        scaler.unscale_(tg.optim.SGD([w], lr=0.1))
    with pytest.raises(ValueError, match="expected a Tensor, or tuples and lists of them, got 3.0"):
        scaler.scale(3.0)
    for wrong in ({"growth_factor": 1.0}, {"backoff_factor": 1.0}, {"growth_interval": 0}, {"init_scale": 0.0}):
        with pytest.raises(ValueError, match="expected init_scale > 0, growth_factor > 1"):
            amp.GradScaler("cpu", **wrong)


def test_scaling_saves_gradients_that_are_too_small_for_float16():
    layer = nn.Linear(4, 4, bias=False)
    gradients = []
    for enabled in (False, True):
        layer.zero_grad()
        scaler = amp.GradScaler("cpu", enabled=enabled)
        with tg.autocast("cpu", dtype=tg.float16):
            loss = layer(tg.ones(2, 4)).float().sum() * 1e-9
        scaler.scale(loss).backward()
        scaler.unscale_(tg.optim.SGD(layer.parameters(), lr=1.0))
        gradients.append(layer.weight.grad.numpy().copy())
    assert not gradients[0].any()
    np.testing.assert_allclose(gradients[1], 2e-9, rtol=1e-2)


# ---- float16 on the CPU ----------------------------------------------------------------------------------------------


def halves(*shapes: tuple[int, ...]) -> list[tg.Tensor]:
    return [tg.randn(shape).half().requires_grad_() for shape in shapes]


@pytest.mark.parametrize(
    ("function", "shapes"),
    [
        (nn.functional.linear, [(40, 30, 24), (16, 24), (16,)]),
        (tg.matmul, [(6, 90, 40), (6, 40, 20)]),
        (lambda a, b: tg.einsum("bij,kj->bik", a, b), [(6, 90, 40), (20, 40)]),
        (lambda x, w: nn.functional.conv2d(x, w, padding=1), [(2, 4, 50, 50), (3, 4, 3, 3)]),
        (lambda q, k, v: nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True), [(2, 4, 70, 32)] * 3),
        (lambda x, w, b: nn.functional.layer_norm(x, (64,), w, b), [(5, 64, 64), (64,), (64,)]),
        (lambda x: nn.functional.softmax(x, -1), [(200, 100)]),
        (lambda x: nn.functional.gelu(x, approximate="tanh"), [(200, 100)]),
        (tg.tanh, [(200, 100)]),
    ],
)
def test_it_is_computed_in_float32_and_rounded(
    function: Callable[..., tg.Tensor], shapes: list[tuple[int, ...]], fused: None
):
    given = halves(*shapes)
    wide = [x.detach().float().requires_grad_() for x in given]
    y, exact = function(*given), function(*wide)
    assert y.dtype == tg.float16 and np.array_equal(y.detach().numpy(), exact.detach().half().numpy())
    gy = tg.randn(y.shape).half()
    y.backward(gy)
    exact.backward(gy.float())
    for x, w in zip(given, wide, strict=True):
        assert x.grad.dtype == tg.float16 and np.array_equal(x.grad.numpy(), w.grad.half().numpy())
    with tg.use_kernels("reference"):
        readable = function(*given)
    np.testing.assert_allclose(readable.detach().numpy(), y.detach().numpy(), rtol=1e-2, atol=1e-2)


def test_inputs_are_saved_in_float16(fused: None):
    x, w = halves((100, 200), (30, 200))
    node = nn.functional.linear(x, w)._node
    assert node is not None and node.saved is not None
    assert [s.dtype for s in node.saved if hasattr(s, "dtype")] == [np.float16, np.float16]
    assert type(node.pair).__name__ == "Half"


# ---- training --------------------------------------------------------------------------------------------------------


@pytest.fixture
def tiny(tmp_path: Path) -> TrainConfig:
    (tmp_path / "text.txt").write_text("To be, or not to be, that is the question.\n" * 100, encoding="utf-8")
    return TrainConfig(
        dataset=str(tmp_path / "text.txt"), out_dir=str(tmp_path / "run"), batch_size=4, max_iters=8, eval_interval=4,
        eval_iters=2, warmup_iters=2, sample_tokens=0, dtype="float16",
        model=GPTConfig(block_size=16, n_layer=2, n_head=2, n_embd=32, dropout=0.1),
    )  # fmt: skip


def test_a_run_in_float16_is_near_one_in_float32(tiny: TrainConfig):
    losses = {}
    for dtype in ("float32", "float16"):
        trainer = Trainer.start(replace(tiny, dtype=dtype))
        losses[dtype] = [step.loss for step in trainer]
    assert losses["float16"] == pytest.approx(losses["float32"], rel=1e-2)
    assert losses["float16"] != losses["float32"]
    assert trainer.scaler.get_scale() == 65536.0


def test_a_run_in_float16_resumes_exactly(tiny: TrainConfig):
    trainer = Trainer.start(tiny)
    steps = iter(trainer)
    for _ in range(5):
        next(steps)
    trainer.scaler.update(1024.0)
    trainer.save(Path(tiny.out_dir) / "latest")
    expected = [step.loss for step in steps]
    resumed = Trainer.resume(tiny.out_dir)
    assert resumed.scaler.get_scale() == 1024.0
    assert [step.loss for step in resumed] == expected


def test_steps_whose_gradients_overflow_are_skipped_until_the_scale_fits(tiny: TrainConfig):
    trainer = Trainer.start(tiny)
    trainer.scaler.load_state_dict({**trainer.scaler.state_dict(), "scale": 2.0**40})
    before = [p.detach().clone() for p in trainer.model.parameters()]
    first = trainer.update()
    assert not np.isfinite(first.grad_norm) and np.isfinite(first.loss)
    assert all(
        np.array_equal(p.detach().numpy(), q.numpy()) for p, q in zip(trainer.model.parameters(), before, strict=True)
    )
    assert trainer.scaler.get_scale() == 2.0**39
    with tg.no_grad():
        trainer.model.ln_f.weight.fill_(float("nan"))
    with pytest.raises(Diverged, match="the loss is nan"):
        trainer.update()


def test_gradients_that_are_infinite_whatever_the_scale_stop_the_run(tiny: TrainConfig):
    trainer = Trainer.start(tiny)
    trainer.model.ln_f.weight.register_hook(lambda g: g * float("inf"))
    trainer.scaler.load_state_dict({**trainer.scaler.state_dict(), "scale": 2.0})
    trainer.update()
    with pytest.raises(Diverged, match="the norm of the gradients is not finite"):
        trainer.update()


@pytest.mark.slow
def test_two_hundred_steps_of_the_laptop_are_within_a_hundredth(data_dir: Path, tmp_path: Path):
    losses = []
    for dtype in ("float32", "float16", "bfloat16"):
        config = replace(
            preset("laptop"), dtype=dtype, max_iters=200, dataset=str(data_dir / "tinyshakespeare.txt"),
            out_dir=str(tmp_path / dtype),
        )  # fmt: skip
        trainer = Trainer.start(config)
        losses.append([trainer.update().loss for _ in range(200)])
    for narrow in losses[1:]:
        np.testing.assert_allclose(narrow, losses[0], rtol=1e-2)
