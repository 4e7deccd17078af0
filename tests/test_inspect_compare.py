"""`inspect.compare`: twins agree, planted faults are found where they were planted, and bad input is refused."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

import tinygrad_edu as tg
import tinygrad_edu.nn.functional as F
from gpt import GPT
from gpt.config import GPTConfig
from tinygrad_edu import dispatch, inspect, nn

CONFIG = GPTConfig(block_size=32, vocab_size=61, n_layer=3, n_head=2, n_embd=32)
LEVELS = ("stats", "sample", "full")


def model(seed: int = 0) -> GPT:
    return GPT(CONFIG, tg.Generator().manual_seed(seed))


def batch(tokens: int = 61) -> tuple[tg.Tensor, tg.Tensor]:
    generator = tg.Generator().manual_seed(1)
    return tg.randint(tokens, (4, 32), generator=generator), tg.randint(tokens, (4, 32), generator=generator)


def traced(model: nn.Module, values: str = "sample", tokens: int = 61) -> inspect.Trace:
    x, y = batch(tokens)
    with inspect.trace(values=values) as t:  # type: ignore[arg-type]
        model(x, y)[1].backward()
    model.zero_grad()
    return t


@pytest.mark.parametrize("values", LEVELS)
def test_two_runs_of_a_model_are_equal(values: str):
    found = inspect.compare(traced(model(), values), traced(model(), values))
    assert found.agree and found.first is None
    assert {row.difference for row in found.rows} == {0.0}
    kinds = {row.kind for row in found.rows}
    assert kinds == {"output", "gradient", "handed", ".grad"}
    assert "agree" in str(found)


@pytest.mark.parametrize("values", LEVELS)
def test_float64_is_float32_but_for_rounding(values: str):
    single, double = model(), model().double()
    found = inspect.compare(traced(single, values), traced(double, values), ("float32", "float64"))
    assert found.agree, str(found)
    assert max(row.difference for row in found.rows) > 1e-9  # they are not the same numbers


@pytest.mark.skipif(not dispatch._twins, reason="no fused kernels here")
@pytest.mark.usefixtures("fused")
def test_fused_kernels_and_reference_agree():
    fused = traced(model(), "full")
    with tg.use_kernels("reference"):
        readable = traced(model(), "full")
    assert any(op.kernel for op in fused.ops) and not any(op.kernel for op in readable.ops)
    found = inspect.compare(fused, readable, ("fused", "reference"))
    assert found.agree, str(found)


@pytest.mark.parametrize("values", LEVELS)
def test_where_little_is_left_of_large_numbers_that_is_rounding_too(values: str):
    """After some steps on an easy text attention is nearly even, and its gradients are differences of equal numbers."""
    trained = model()
    optimizer = tg.optim.AdamW(trained.parameters(), lr=1e-3)
    for i in range(20):
        x = tg.randint(7, (4, 33), generator=tg.Generator().manual_seed(i))
        optimizer.zero_grad()
        trained(x[:, :-1], x[:, 1:])[1].backward()
        optimizer.step()
    trained.zero_grad()
    fused = traced(trained, values, tokens=7)
    with tg.use_kernels("reference"):
        readable = traced(trained, values, tokens=7)
    precise = traced(trained.double(), values, tokens=7)
    for one, other in ((fused, readable), (fused, precise), (readable, precise)):
        found = inspect.compare(one, other)
        assert found.agree, str(found)
    if values == "full":
        attention = "backward of scaled_dot_product_attention in h.2.attn to input 0"
        (row,) = (row for row in found.rows if row.what == attention)
        assert row.difference > 1e-4  # much more than anywhere else


@pytest.mark.parametrize("factor", [1.0, 1.5])
def test_a_wrong_gradient_of_attention_is_found_all_the_same(factor: float, monkeypatch: pytest.MonkeyPatch):
    from tinygrad_edu.ops.attention import Attention

    def go() -> inspect.Trace:
        wide = model()
        with tg.no_grad():
            for block in wide.h:
                block.attn.c_attn.weight.mul_(10)  # so that attention chooses
        with tg.use_kernels("reference"):
            return traced(wide, "full")

    right, backward = go(), Attention.backward

    def wrong(xp, saved, gy):  # type: ignore[no-untyped-def]
        q, k, *rest = backward(xp, saved, gy)
        return q, lambda: k() * np.float32(factor), *rest

    monkeypatch.setattr(Attention, "backward", wrong)
    first = inspect.compare(go(), right).first
    if factor == 1:
        assert first is None
    else:
        assert first is not None
        assert first.what == "backward of scaled_dot_product_attention in h.2.attn to input 1"


@pytest.mark.parametrize("values", LEVELS)
@pytest.mark.parametrize("precise", [False, True])
def test_a_perturbed_weight_is_found_at_its_operation(values: str, precise: bool):
    wrong = model()
    with tg.no_grad():
        wrong.h[2].attn.c_attn.weight.mul_(1.001)
    found = inspect.compare(traced(wrong, values), traced(model().double() if precise else model(), values))
    first = found.first
    assert first is not None and first.kind == "output" and first.what == "linear in h.2.attn.c_attn"
    differs, ran = r"Its input h\.2\.attn\.c_attn\.weight differs already\.", r"(?P<ran> It ran as .*\.)?"
    note = rf"{differs}{ran} It runs at .*model\.py:\d+\.$"
    assert (found_note := re.match(note, first.note))
    assert precise or not found_note["ran"]  # float64 has no kernel
    assert first.difference > 1e-4 and first.beyond > 10
    text = str(found)
    assert "The first difference is at linear in h.2.attn.c_attn" in " ".join(text.split())
    assert max(map(len, text.splitlines())) <= 80


def test_one_perturbed_element_is_enough():
    wrong = model()
    wrong.h[2].mlp.c_proj.weight.data[3, 5] += 0.05
    first = inspect.compare(traced(wrong, "full"), traced(model(), "full")).first
    assert first is not None and first.what == "linear in h.2.mlp.c_proj"
    places = [place for place, _, _ in first.elements(4)]
    assert len(places) == 4 and {place[-1] for place in places} == {3}  # the channel that the element makes
    (_, x, y), *_ = first.elements(1)
    assert first.difference == pytest.approx(abs(x - y) / (np.sqrt(np.mean(first.b.full**2)) + abs(y)), rel=1e-5)


class Gelu(nn.Module):
    """A GELU of our own making, with the right name and a wrong number in it."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, x: tg.Tensor) -> tg.Tensor:
        return 0.5 * x * (1 + tg.tanh(math.sqrt(2 / math.pi) * (x + self.factor * x**3)))


def test_a_wrong_gelu_is_found_in_its_module():
    right, wrong = model(), model()
    for one, factor in ((right, 0.044715), (wrong, 0.044)):
        for i, block in enumerate(one.h):
            block.mlp.gelu = Gelu(factor if i == 1 else 0.044715)
    first = inspect.compare(traced(wrong, "full"), traced(right, "full")).first
    assert first is not None and first.what == "mul in h.1.mlp.gelu"


@pytest.mark.parametrize("swap", ["gelu", "relu"])
def test_an_operation_in_the_place_of_another_is_named(swap: str):
    wrong = model()
    wrong.h[1].mlp.gelu = nn.GELU() if swap == "gelu" else nn.ReLU()
    message = (
        rf"^compare: the traces do not match: operation \d+ is {swap} of shape \(4, 32, 128\) in h\.1\.mlp\.gelu "
        r"\(.*\) in mine and gelu_tanh of shape \(4, 32, 128\) in h\.1\.mlp\.gelu \(.*\) in the right one; "
    )
    with pytest.raises(ValueError, match=message):
        inspect.compare(traced(wrong), traced(model()), ("mine", "the right one"))


def test_nan_is_found_where_it_begins_and_not_where_both_have_it():
    wrong = model()
    wrong.h[1].ln_2.weight.data[7] = float("nan")
    x, y = batch()
    traces = []
    for one in (wrong, model()):
        with inspect.trace(values="sample") as t:
            one(x, y)
        traces.append(t)
    first = inspect.compare(*traces).first
    assert first is not None and first.what == "layer_norm in h.1.ln_2" and first.difference == math.inf
    text = str(inspect.compare(*traces))
    assert "one is not finite where the other is" in " ".join(text.split())
    assert re.search(r"^nans +\d+ +0$", text, re.M) and re.search(r"^\[0, 0, 7\] +nan +\S+$", text, re.M)
    assert inspect.compare(traces[0], traces[0]).agree


class Cube(tg.autograd.Function):
    """x³ whose backward can be made wrong, at an operation within it, or in what it hands on."""

    factor, handed = 3.0, 1.0

    @staticmethod
    def forward(ctx, x):  # type: ignore[no-untyped-def]
        ctx.save_for_backward(x)
        return x**3

    @staticmethod
    def backward(ctx, g):  # type: ignore[no-untyped-def]
        (x,) = ctx.saved_tensors
        return tg.from_numpy((Cube.factor * x * x * g).numpy() * np.float32(Cube.handed))


def cubed(steps: int = 1) -> inspect.Trace:
    x = tg.linspace(-1, 1, 32).requires_grad_()
    with inspect.trace(values="full") as t:
        for _ in range(steps):
            Cube.apply(tg.sin(x)).sum().backward()
            with tg.no_grad():
                x -= 0.1 * x.grad
    return t


def test_a_wrong_backward_is_found_in_backward(monkeypatch: pytest.MonkeyPatch):
    right = cubed(2)
    assert inspect.compare(cubed(2), right).agree
    with monkeypatch.context() as planted:
        planted.setattr(Cube, "handed", 1.01)
        first = inspect.compare(cubed(2), right).first
        assert first is not None and first.kind == "handed"
        assert first.what == "backward of Cube (operation 2) to input 0"
    monkeypatch.setattr(Cube, "factor", 3.01)
    found = inspect.compare(cubed(2), right)
    first = found.first
    assert first is not None and first.kind == "output"
    assert first.what == "mul (operation 4), in backward of Cube (operation 2)"
    assert re.match(r"It is given 3\.01 in a, 3\.0 in b\. It runs at .*test_inspect_compare\.py:\d+\.$", first.note)
    # In order of time: the first forward and what came in agree, and the second step's forward comes after backward.
    kinds = [(row.kind, row.what.partition(" ")[0]) for row in found.rows]
    start = kinds.index(("gradient", "Cube"))
    assert kinds[start : start + 5] == [
        ("gradient", "Cube"), ("output", "mul"), ("output", "mul"), ("output", "mul"), ("handed", "backward"),
    ]  # fmt: skip
    assert kinds.count(("output", "sin")) == 2 and kinds.index((".grad", "x")) < len(kinds) - kinds[::-1].index(
        ("output", "sin")
    )


def test_settings_and_kernels_that_differ_are_named():
    traces = []
    for eps in (1e-5, 1e-1):
        with inspect.trace(values="full") as t:
            F.layer_norm(tg.linspace(0, 1, 64).reshape(4, 16), (16,), eps=eps)
        traces.append(t)
    first = inspect.compare(*traces, ("ours", "theirs")).first
    assert first is not None and "Its eps is 1e-05 in ours, 0.1 in theirs." in first.note
    with tg.use_kernels("reference"), inspect.trace(values="full") as t:
        tg.linspace(0, 1, 4096).tanh()
    wrong = replace(t, ops=[replace(t.ops[0], kernel="Careless", value=replace(t.ops[0].value, mean=9.0))])
    first = inspect.compare(wrong, t).first
    assert first is not None and first.note.startswith("It ran as the kernel Careless in a, the readable op in b. ")


@pytest.mark.skipif(not dispatch._twins, reason="no fused kernels here")
@pytest.mark.usefixtures("fused")
def test_a_wrong_kernel_is_found(monkeypatch: pytest.MonkeyPatch):
    from tinygrad_edu.ops.activation import GeluTanh

    class Careless(GeluTanh):
        @staticmethod
        def accepts(x):  # type: ignore[no-untyped-def]
            return True

        @staticmethod
        def forward(xp, x):  # type: ignore[no-untyped-def]
            y, saved = GeluTanh.forward(xp, x)
            return y * np.float32(1.0001), saved

    monkeypatch.setattr(dispatch, "_twins", {name: dict(twins) for name, twins in dispatch._twins.items()})
    monkeypatch.setattr(dispatch, "_smallest", dict(dispatch._smallest))
    dispatch.register_twin(GeluTanh, "cpu", Careless)
    fused = traced(model(), "full")
    with tg.use_kernels("reference"):
        readable = traced(model(), "full")
    first = inspect.compare(fused, readable, ("fused", "reference")).first
    assert first is not None and first.what == "gelu_tanh in h.0.mlp.gelu"
    assert "It ran as the kernel Careless in fused, the readable op in reference." in first.note


def test_other_batches_are_noted():
    x, y = batch()
    traces = []
    for other in (x, x.flip(0)):
        with inspect.trace() as t:
            model()(other, y)
        traces.append(t)
    first = inspect.compare(*traces).first
    assert first is not None and "differs already" in first.note


def test_another_shape_and_more_operations_are_named():
    one, other = traced(model()), traced(GPT(replace(CONFIG, n_layer=4)))
    with pytest.raises(ValueError, match=r"do not match: operation \d+ is linear of shape \(4, 32, 61\) in lm_head"):
        inspect.compare(one, other)
    with pytest.raises(ValueError, match=r"operation \d+ is embedding of shape \(4, 32, 32\) in wte .* \(4, 32, 64\)"):
        inspect.compare(one, traced(GPT(replace(CONFIG, n_embd=64))))
    x = tg.ones(3)
    with inspect.trace() as short:
        x.exp()
    with inspect.trace() as long:
        x.exp().log()
    with pytest.raises(ValueError, match=r"a has 1 operations, b 2; the first that only b has is log of shape \(3,\)"):
        inspect.compare(short, long)


def test_what_is_no_trace_with_values_is_refused():
    with inspect.trace(values="none") as t:
        tg.ones(2).exp()
    with pytest.raises(ValueError, match=r'^compare: b was recorded with values="none"'):
        inspect.compare(traced(model()), t)
    with pytest.raises(TypeError, match="expected two traces, a is dict"):
        inspect.compare({}, t)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"expected a torch\.nn\.Module, got GPT"):
        inspect.torch_trace(model())
    with pytest.raises(ValueError, match="values must be one of none, stats, sample, full, got 'all'"):
        inspect.torch_trace(pytest.importorskip("torch").nn.Linear(1, 1), values="all")  # type: ignore[arg-type]


def test_the_page_is_whole_and_escapes(tmp_path: Path):
    found = inspect.compare(traced(model()), traced(model(1)), ("<script>alert(1)</script>", "b & c"))
    found.save(tmp_path / "difference.html")
    page = (tmp_path / "difference.html").read_text("utf-8")
    assert "<script>" not in page and "b &amp; c" in page and "http" not in page
    tags: list[str] = []
    parser = HTMLParser()
    parser.handle_starttag = lambda tag, attrs: tags.append(tag)  # type: ignore[method-assign]
    parser.feed(page)
    assert tags.count("table") == tags.count("caption") == 3 and tags.count("tr") > len(found.rows)
    assert page.count('<tr class="beyond">') >= sum(row.beyond > 1 for row in found.rows) > 0
    assert found.first is not None and f"There: {found.first.where}" in page  # with the values side by side
    for place, x, y in found.first.elements():
        assert f'<th scope="row">{place}</th><td>{x:.9g}</td><td>{y:.9g}</td>' in page
    with pytest.raises(ValueError, match=r"ends in \.html, got"):
        found.save(tmp_path / "difference.json")


# ---- against a twin in PyTorch ---------------------------------------------------------------------------------------


@pytest.fixture
def twin() -> Callable[..., object]:
    torch = pytest.importorskip("torch")
    torch.set_num_threads(1)

    class Attention(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.c_attn, self.c_proj = torch.nn.Linear(32, 96), torch.nn.Linear(32, 32)

        def forward(self, x):  # type: ignore[no-untyped-def]
            B, T, C = x.shape
            q, k, v = (part.view(B, T, 2, 16).transpose(1, 2) for part in self.c_attn(x).split(32, dim=2))
            y = torch.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True)
            return self.c_proj(y.transpose(1, 2).reshape(B, T, C))

    class MLP(torch.nn.Module):
        def __init__(self, approximate: str) -> None:
            super().__init__()
            self.c_fc, self.c_proj = torch.nn.Linear(32, 128), torch.nn.Linear(128, 32)
            self.gelu = torch.nn.GELU(approximate=approximate)

        def forward(self, x):  # type: ignore[no-untyped-def]
            return self.c_proj(self.gelu(self.c_fc(x)))

    class Block(torch.nn.Module):
        def __init__(self, approximate: str) -> None:
            super().__init__()
            self.ln_1, self.ln_2 = torch.nn.LayerNorm(32), torch.nn.LayerNorm(32)
            self.attn, self.mlp = Attention(), MLP(approximate)

        def forward(self, x):  # type: ignore[no-untyped-def]
            x = x + self.attn(self.ln_1(x))
            return x + self.mlp(self.ln_2(x))

    class Twin(torch.nn.Module):
        def __init__(self, approximate: dict[int, str]) -> None:
            super().__init__()
            self.wte, self.wpe = torch.nn.Embedding(61, 32), torch.nn.Embedding(32, 32)
            self.h = torch.nn.ModuleList([Block(approximate.get(i, "tanh")) for i in range(3)])
            self.ln_f, self.lm_head = torch.nn.LayerNorm(32), torch.nn.Linear(32, 61, bias=False)
            self.lm_head.weight = self.wte.weight

        def forward(self, x, y):  # type: ignore[no-untyped-def]
            h = self.wte(x) + self.wpe(torch.arange(32))
            for block in self.h:
                h = block(h)
            logits = self.lm_head(self.ln_f(h))
            return logits, torch.nn.functional.cross_entropy(logits.view(-1, 61), y.view(-1))

    def build(**approximate: object) -> object:
        module = Twin(approximate.get("gelu", {}))  # type: ignore[arg-type]
        module.load_state_dict({k: torch.from_numpy(v.numpy().copy()) for k, v in model().state_dict().items()})
        return module

    return build


def twin_traced(module: object, values: str = "full", **settings: object) -> inspect.Trace:
    import torch

    x, y = (torch.from_numpy(part.numpy()) for part in batch())
    with inspect.torch_trace(module, values=values, **settings) as t:  # type: ignore[arg-type]
        module(x, y)[1].backward()  # type: ignore[operator]
    return t


@pytest.mark.parametrize("values", LEVELS)
def test_a_twin_in_pytorch_agrees_module_by_module(twin: Callable[..., object], values: str):
    theirs, ours = twin_traced(twin(), values), traced(model(), values)
    found = inspect.compare(ours, theirs, ("ours", "PyTorch"))
    assert found.agree, str(found)
    paths = {row.what.partition(" (")[0] for row in found.rows if row.kind == "output"}
    assert {"wte", "h.0", "h.2.attn.c_attn", "h.1.mlp.gelu", "lm_head", "the model"} <= paths
    assert {"h.2.attn.c_attn.weight", "wte.weight"} <= {row.what for row in found.rows if row.kind == ".grad"}
    assert any(row.kind == "gradient" and row.what == "the output of h.0" for row in found.rows)
    assert inspect.compare(theirs, ours).agree


def test_a_twin_with_the_other_gelu_is_caught(twin: Callable[..., object]):
    first = inspect.compare(traced(model(), "full"), twin_traced(twin(gelu={1: "none"}))).first
    assert first is not None and first.what == "h.1.mlp.gelu (GELU)" and first.kind == "output"


def test_a_twin_with_another_weight_is_caught_and_its_hooks_are_gone(twin: Callable[..., object]):
    module = twin()
    module.h[2].attn.c_attn.weight.data[5, 7] += 0.1  # type: ignore[attr-defined]
    first = inspect.compare(traced(model(), "full"), twin_traced(module)).first
    assert first is not None and first.what == "h.2.attn.c_attn (Linear)"
    assert first.note == "Its weight differs already."
    assert not any(part._forward_hooks for part in module.modules())  # type: ignore[attr-defined]


def test_paths_can_be_translated(twin: Callable[..., object]):
    import torch

    module, ours = torch.nn.ModuleDict({"transformer": twin()}), traced(model(), "full")
    x, y = (torch.from_numpy(part.numpy()) for part in batch())
    with inspect.torch_trace(module, "full") as theirs:
        module["transformer"](x, y)
    with pytest.raises(ValueError, match="no module has the same path in both"):
        inspect.compare(ours, theirs)
    names = lambda name: name.removeprefix("transformer.") if name.startswith("transformer.") else None  # noqa: E731
    with inspect.torch_trace(module, "full", names) as theirs:
        module["transformer"](x, y)
    assert inspect.compare(ours, theirs).agree


def test_a_trace_of_pytorch_is_kept_like_any_other(twin: Callable[..., object], tmp_path: Path):
    theirs, ours = twin_traced(twin()), traced(model(), "full")
    theirs.save(tmp_path / "theirs.json")
    assert json.loads((tmp_path / "theirs.json").read_text())["format"] == 1
    again = inspect.load(tmp_path / "theirs.json")
    assert np.array_equal(again.ops[3].value.full, theirs.ops[3].value.full)
    assert inspect.compare(ours, again).agree


def test_a_module_that_is_called_again_is_compared_call_by_call():
    torch = pytest.importorskip("torch")

    def run(cell: object, x: object, times: int) -> None:
        for _ in range(times):
            x = cell(x).tanh()  # type: ignore[operator]
        x.sum().backward()  # type: ignore[attr-defined]

    ours = nn.Sequential(nn.Linear(8, 8))
    theirs = torch.nn.Sequential(torch.nn.Linear(8, 8))
    theirs.load_state_dict({k: torch.from_numpy(v.numpy().copy()) for k, v in ours.state_dict().items()})
    with inspect.trace(values="full") as mine:
        run(ours, tg.linspace(-1, 1, 32).reshape(4, 8), 3)
    for times in (3, 2, 4):
        theirs.zero_grad()
        with inspect.torch_trace(theirs, "full") as other:
            run(theirs, torch.linspace(-1, 1, 32).reshape(4, 8), times)
        if times == 4:
            with pytest.raises(ValueError, match="PyTorch calls 0 more often than we do, 3 times; trace as many steps"):
                inspect.compare(mine, other)
        else:
            found = inspect.compare(mine, other)
            outputs = [row for row in found.rows if row.kind == "output" and row.what == "0 (Linear)"]
            assert len(outputs) == times and all(row.beyond <= 1 for row in outputs)
            assert found.agree == (times == 3)  # of two of three steps the gradients are others


def test_integers_have_to_be_equal():
    traces = []
    for add in (0, 1):
        with inspect.trace(values="full") as t:
            F.one_hot(tg.tensor([1000, 5]) + add, 1100).argmax(-1)
        traces.append(t)
    assert not inspect.compare(*traces).agree


@pytest.mark.parametrize("values", LEVELS)
def test_a_check_may_be_missing_and_a_mean_may_be_a_sum_divided(values: str):
    """As where the numbers are on a GPU, and nobody waits for them."""
    w = tg.randn(4, 3, generator=tg.Generator().manual_seed(0), requires_grad=True)
    ids = tg.tensor([3, 1, 1])

    def go(waits: bool, by: float = 3.0) -> inspect.Trace:
        with inspect.trace(values=values) as t:  # type: ignore[arg-type]
            if waits:
                assert int(ids.max()) < 4
            squares = w[ids].pow(2).sum(1)
            (squares.mean() if waits else squares.sum() / by).backward()
        w.grad = None
        return t

    for pair in ((go(True), go(False)), (go(False), go(True))):
        found = inspect.compare(*pair)
        assert found.agree and {row.kind for row in found.rows} == {"output", "gradient", "handed", ".grad"}
    for pair in ((go(True), go(False, 3.1)), (go(False, 3.1), go(True))):
        first = inspect.compare(*pair).first
        assert first is not None and first.kind == "output" and first.what.startswith(("mean", "div"))
        assert "keepdims" not in first.note
