"""A model on the GPU is traced, compared, explained and checked as one on the CPU."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import tinygrad_edu as tg
import tinygrad_edu.nn.functional as F
from gpt.config import GPTConfig
from gpt.ledger import ledger
from gpt.model import GPT
from tinygrad_edu import inspect, testing
from tinygrad_edu.inspect.steps import walked
from tinygrad_edu.ops.op import Op

SIZE = GPTConfig(block_size=8, vocab_size=13, n_layer=2, n_head=2, n_embd=16)


def made(device: str, wrong: bool = False) -> tuple[GPT, Callable[[], tg.Tensor]]:
    """A GPT, with a weight a little off if it is to be wrong, and its loss."""
    model = GPT(SIZE, tg.Generator().manual_seed(0)).to(device)
    if wrong:
        with tg.no_grad():
            model.h[1].mlp.c_fc.weight.mul_(1.01)
    tokens = tg.from_numpy(np.random.default_rng(1).integers(0, 13, (2, 9))).to(device)
    x, y = tokens[:, :-1], tokens[:, 1:]
    return model, lambda: model(x, y)[1]


def traced(device: str, values: str, wrong: bool = False) -> inspect.Trace:
    _, loss = made(device, wrong)
    with inspect.trace(values=values) as t:
        loss().backward()
    return t


@pytest.mark.parametrize("values", ["none", "stats", "sample", "full"])
def test_a_trace_is_shown_saved_and_loaded(values: str, tmp_path: Path):
    t = traced("cuda", values)
    assert "×2" in t.summary() and "linear" in t.table(sort="saved")
    t.save(tmp_path / "trace.json")
    t.save(tmp_path / "trace.html")
    again = inspect.load(tmp_path / "trace.json")
    assert again.summary() == t.summary()
    assert (t.ops[0].value is None) == (values == "none")
    if values == "full":
        t.validate()
        assert any("dL/dy" in line for line in walked(t, op="cross_entropy"))


@pytest.mark.parametrize("kernels", ["reference", "auto"])
def test_the_traces_of_both_devices_agree(kernels: str):
    with tg.use_kernels(kernels):
        cpu, cuda = traced("cpu", "full"), traced("cuda", "full")
    for one, other in ((cpu, cuda), (cuda, cpu)):
        found = inspect.compare(one, other, ("NumPy", "CuPy"))
        assert found.agree, str(found)
        assert {row.kind for row in found.rows} == {"output", "gradient", "handed", ".grad"}


def test_a_difference_between_the_devices_is_found():
    first = inspect.compare(traced("cpu", "full"), traced("cuda", "full", wrong=True)).first
    assert first is not None and first.what == "linear in h.1.mlp.c_fc"


def test_the_receipt_of_a_tied_weight_adds_up():
    found = {}
    for device in ("cpu", "cuda"):
        model, computed = made(device)
        loss = computed()
        found[device] = inspect.receipt(loss, model.wte.weight)
        loss.backward(retain_graph=True)
        after = inspect.receipt(loss, model.wte.weight)
        assert found[device].adds_up and after.adds_up and tg.allclose(after.total, model.wte.weight.grad)
    assert found["cuda"].total.is_cuda and "embedding" in str(found["cuda"])
    for a, b in zip(found["cpu"].lines, found["cuda"].lines, strict=True):
        assert (a.op, a.note) == (b.op, b.note) and a.norm == pytest.approx(b.norm, rel=1e-4)


CASES: dict[str, Callable[[tg.Tensor], tg.Tensor]] = {
    "relu": lambda x: (x.abs() * -1).relu().sum(),
    "tanh": lambda x: (x * 1e4).tanh().sum(),
    "softmax": lambda x: x.softmax(-1).sum(),
    "log": lambda x: (x * 0).log().sum(),
    "exp": lambda x: (x * 1e4).exp().sum(),
    "mask": lambda x: (x * tg.zeros(3, 4, device=x.device)).sum(),
    "number": lambda x: (x * 0).sum(),
    "detached": lambda x: x.detach().sum(),
    "peaked": lambda x: F.cross_entropy(x * 1e4, x.argmax(-1)),
    "attention": lambda x: F.scaled_dot_product_attention(x * 1e3, x * 1e3, x.detach(), is_causal=True).sum(),
    "cancelled": lambda x: (x - x).sum(),
    "weights": lambda x: (x @ tg.zeros(4, 2, device=x.device)).sum(),
    "maximum": lambda x: tg.maximum(x, tg.full((3, 4), 1e4, device=x.device)).sum(),
    "power": lambda x: (x ** tg.zeros(3, 4, device=x.device)).sum(),
    "underflow": lambda x: (x * (x.detach() * 0 + 1e-30) * 1e-30).sum(),
    "where": lambda x: tg.where(x > 1e9, x, 0).sum(),
    "step": lambda x: x.sign().sum(),
    "spread": lambda x: (x * 0 + 1).var(),
    "normed": lambda x: F.layer_norm(x, (4,)).sum(),
    "copied": lambda x: (x.detach().clone().requires_grad_() * 2).sum(),
}


@pytest.mark.parametrize("case", CASES)
def test_a_gradient_is_explained_as_on_the_cpu(case: str):
    start = np.random.default_rng(3).standard_normal((3, 4)).astype(np.float32)

    def explained(device: str) -> inspect.Explanation:
        x = tg.from_numpy(start).to(device).requires_grad_()
        return inspect.explain(lambda: CASES[case](x), x)

    cpu, cuda = explained("cpu"), explained("cuda")
    assert (cuda.cause, cuda.op) == (cpu.cause, cpu.op)
    assert cuda.state == cpu.state or {cuda.state, cpu.state} == {"zero", "tiny"}  # which rounding decides
    assert cpu.state != "ordinary"


def test_health_reports_as_on_the_cpu():
    def report(device: str) -> inspect.Health:
        model, loss = made(device)
        return inspect.health(model, loss, tg.optim.AdamW(model.parameters(), lr=1e-3))

    cpu, cuda = report("cpu"), report("cuda")
    assert len(cpu.findings) > 20
    for a, b in zip(cpu.findings, cuda.findings, strict=True):
        assert (a.check, a.where, a.sentence) == (b.check, b.where, b.sentence)
        assert a.value == pytest.approx(b.value, rel=1e-3, abs=1e-6)


def test_the_gradients_of_operations_are_checked_there():
    x, w = (tg.randn(*shape, dtype=tg.float64, device="cuda", requires_grad=True) for shape in ((3, 4), (2, 4)))
    for fast in (False, True):
        assert testing.gradcheck(lambda x, w: F.linear(x, w).tanh(), (x, w), fast_mode=fast)
        assert testing.gradgradcheck(lambda x, w: F.linear(x, w).tanh(), (x, w), fast_mode=fast)

    class Wrong(tg.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x * 3

        @staticmethod
        def backward(ctx, g):
            return g * 2

    for fast in (False, True):
        with pytest.raises(testing.GradcheckError, match="wrong gradient for input 0"):
            testing.gradcheck(Wrong.apply, (x,), fast_mode=fast)


@pytest.mark.parametrize("kernels", ["reference", "auto"])
def test_an_operation_is_checked_there(kernels: str):
    x, w = tg.randn(5, 64, device="cuda"), tg.randn(64, device="cuda")
    where = set()

    def norm(x: tg.Tensor, w: tg.Tensor) -> tg.Tensor:
        where.add(x.device.type)
        return F.layer_norm(x, (64,), w)

    with tg.use_kernels(kernels):
        found = testing.check(norm, inputs=[x, w])
        assert found.passed and "inputs that are not contiguous give the same" in found.facts and where == {"cuda"}
        assert testing.check(Doubled, inputs=[x])
        assert testing.check(Softplus, inputs=[x, [0.5]])
        targets = tg.randint(0, 64, (5,), device="cuda")
        assert testing.check(lambda x, t: F.cross_entropy(x, t), inputs=[x, targets])


def test_what_torch_gives_on_the_cpu_is_the_measure_there():
    torch = pytest.importorskip("torch", reason="PyTorch is not installed beside CuPy")
    x = tg.randn(3, 4, device="cuda")
    found = testing.check(lambda x: x.softmax(-1), lambda x: torch.softmax(x, -1), inputs=[x])
    assert any("gradients as in PyTorch in float32" in fact for fact in found.facts)


@pytest.mark.parametrize("wrong", [lambda: WrongDoubled, lambda: WrongSoftplus])
def test_a_wrong_gradient_there_is_diagnosed(wrong: Callable[[], type]):
    with pytest.raises(testing.CheckError, match="the gradient of input 0 is wrong") as caught:
        testing.check(wrong(), inputs=[tg.rand(3, 4, device="cuda") + 1])
    cpu = testing.check(wrong(), inputs=[np.random.default_rng(0).random((3, 4)) + 1], raise_exception=False)
    assert caught.value.diagnosis == cpu.diagnosis is not None


class Doubled(tg.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x * 2

    @staticmethod
    def backward(ctx, g):
        return g * 2


class WrongDoubled(Doubled):
    @staticmethod
    def backward(ctx, g):
        return g * -2


class Softplus(Op):
    """log(1 + exp(x)), times a number of the caller's."""

    name = "softplus_of_a_test"

    @staticmethod
    def forward(xp, x, k=1.0):
        return k * xp.log1p(xp.exp(x)), (x, k)

    @staticmethod
    def backward(xp, saved, gy):
        x, k = saved
        slope = gy / (1 + xp.exp(-x))
        return (k * slope, (gy * xp.log1p(xp.exp(x))).sum(keepdims=True).reshape(k.shape)) if xp.ndim(k) else k * slope


class WrongSoftplus(Softplus):
    @staticmethod
    def backward(xp, saved, gy):
        return -Softplus.backward(xp, saved, gy)


def test_a_check_of_tensors_on_two_devices_is_refused():
    with pytest.raises(
        ValueError, match=r"inputs are on cpu and on cuda:0, expected one device; move .*\.to\('cuda:0'\)"
    ):
        testing.check(lambda x, y: x * y, inputs=[tg.randn(3), tg.randn(3, device="cuda")])


def test_the_ledger_of_a_model_there():
    found = ledger(SIZE, 2, 8, model=made("cuda")[0])
    by_name = {row.name: row for row in found.rows}
    for name in ("encoded", "ln1", "qkv", "fch", "logits", "losses"):
        assert by_name[name].measured == by_name[name].predicted > 0, name
