"""receipt: the contributions to a gradient, and that they add up to it."""

from __future__ import annotations

import math

import numpy as np
import pytest

import tinygrad_edu as tg
import tinygrad_edu.nn.functional as F
from gpt import GPT
from gpt.config import preset
from tinygrad_edu import nn
from tinygrad_edu.inspect.explain import explain
from tinygrad_edu.inspect.receipt import Contribution, Receipt, receipt
from tinygrad_edu.testing.op_table import OURS, Call, cases, records


def numbers(*shape, seed=0, dtype=tg.float32):
    return tg.randn(*shape, generator=tg.Generator().manual_seed(seed)).to(dtype)


@pytest.fixture
def laptop():
    tg.manual_seed(0)
    model = GPT(preset("laptop").model)
    x, y = (tg.randint(0, 65, (2, 16), generator=tg.Generator().manual_seed(i)) for i in (1, 2))
    return model, x, y


def summed(found):
    return np.sum([at.gradient.numpy().astype(np.float64) for at in found.lines], axis=0)


def test_the_two_uses_of_the_tied_weight(laptop):
    model, x, y = laptop
    loss = model(x, y)[1]
    found = receipt(loss, model.wte.weight)
    assert found.names == ["wte.weight", "lm_head.weight"]
    assert {(at.op, at.path) for at in found.lines} == {("linear", "lm_head"), ("embedding", "wte")}
    assert all(at.location.startswith("gpt/model.py:") for at in found.lines)
    assert all(p.grad is None for p in model.parameters())
    loss.backward()  # the graph is still there
    grad = model.wte.weight.grad.numpy()
    assert found.adds_up and found.error <= found.rounding < 1e-5 * found.norm
    np.testing.assert_array_equal(found.total.numpy(), grad)
    np.testing.assert_allclose(summed(found), grad, rtol=0, atol=found.rounding)
    head, table = found.lines if found.lines[0].op == "linear" else found.lines[::-1]
    # Each use by itself: the other one cut off.
    model.lm_head.weight = nn.Parameter(model.wte.weight.detach().clone())
    model.zero_grad()
    model(x, y)[1].backward()
    np.testing.assert_allclose(table.gradient.numpy(), model.wte.weight.grad.numpy(), rtol=0, atol=1e-6)
    np.testing.assert_allclose(head.gradient.numpy(), model.lm_head.weight.grad.numpy(), rtol=0, atol=1e-6)
    assert table.note == f"32 look-ups of {len(np.unique(x.numpy()))} rows, added up row by row"
    assert head.summed == (0, 1) and head.output == (2, 16, 65) and "32 terms summed over axes 0, 1" in head.note


def test_each_branch_of_a_residual_stream(laptop):
    model, x, y = laptop
    kept = []
    model.h[1].register_forward_hook(lambda module, args, output: kept.append(output))
    found = receipt(model(x, y)[1], kept[0])
    assert [(at.op, at.path) for at in found.lines] == [("add", "h.2"), ("layer_norm", "h.2.ln_1")]
    assert found.adds_up and kept[0].grad is None


def test_every_parameter_of_a_real_model_adds_up(laptop):
    model, x, y = laptop
    loss = model(x, y)[1]
    for name, p in model.named_parameters():
        found = receipt(loss, p)
        assert found.adds_up and found.name == name
        assert math.fsum(at.share for at in found.lines) == pytest.approx(1, abs=1e-5)


def test_shares_are_signed_and_show_what_cancels():
    w = numbers(3, dtype=tg.float64).requires_grad_()
    a, b = numbers(3, seed=1, dtype=tg.float64), numbers(3, seed=2, dtype=tg.float64)
    found = receipt((w * a).sum() - (w * b).sum(), w)
    g = (a - b).numpy()
    expected = sorted(float(part @ g) / float(g @ g) for part in (a.numpy(), -b.numpy()))
    assert sorted(at.share for at in found.lines) == pytest.approx(expected)
    for at in found.lines:
        part = at.gradient.numpy()
        assert at.cosine == pytest.approx(part @ g / np.linalg.norm(part) / np.linalg.norm(g))
        assert at.norm == pytest.approx(np.linalg.norm(part))


@pytest.mark.parametrize(
    "shape, summed",
    [((3, 4), ()), ((1, 4), (0,)), ((4,), (0,)), ((3, 1), (1,)), ((1, 1), (0, 1)), ((), (0, 1))],
)
def test_the_axes_over_which_broadcasting_summed(shape, summed):
    w = numbers(*shape).requires_grad_()
    found = receipt((w * numbers(3, 4, seed=1)).sum(), w)
    assert found.lines[0].summed == summed
    assert ("summed over" in found.lines[0].note) == bool(summed)
    assert found.adds_up


def test_the_batch_axes_of_matmul_and_the_bias_of_linear():
    w = numbers(4, 5).requires_grad_()
    assert receipt((numbers(2, 3, 4) @ w).square().sum(), w).lines[0].summed == (0,)
    lin = nn.Linear(4, 5)
    assert receipt(lin(numbers(2, 3, 4)).square().sum(), lin.bias).lines[0].summed == (0, 1)


def test_views_on_the_way_are_followed():
    w = numbers(4, 5).requires_grad_()
    found = receipt((numbers(3, 5) @ w.T).sum(), w)
    assert [at.op for at in found.lines] == ["permute > matmul"]


def test_what_grad_holds_is_compared():
    w, x = numbers(3).requires_grad_(), numbers(3, seed=1)
    loss = (w * x).square().sum()
    assert receipt(loss, w).note == ""
    loss.backward(retain_graph=True)
    assert "holds exactly this" in receipt(loss, w).note
    loss.backward(retain_graph=True)
    assert "2 times this: backward() ran 2 times without zero_grad()" in receipt(loss, w).note
    w.grad *= 0.1
    assert "0.2 times this: it was clipped or scaled" in receipt(loss, w).note
    w.grad += 1
    assert "holds something else" in receipt(loss, w).note


def test_a_hook_that_replaces_the_gradient_is_noticed():
    w = numbers(3).requires_grad_()
    w.register_hook(lambda g: g * 2)
    found = receipt((w * numbers(3, seed=1)).sum(), w)
    assert not found.adds_up and "A hook" in found.note and "DIFFERS" in str(found)


def test_gradients_of_zero_and_nan_and_none_at_all():
    w = numbers(3).requires_grad_()
    found = receipt((w - w).sum(), w)
    assert found.adds_up and found.norm == 0 and math.isnan(found.lines[0].share)
    found = receipt((w * math.nan).sum(), w)
    assert not found.adds_up and "not finite" in found.note
    found = receipt(numbers(2, seed=1).requires_grad_().sum(), w)
    assert not found.lines and "inspect.explain" in str(found)


@pytest.mark.parametrize("family", sorted(records()))
def test_receipts_and_explanations_of_every_operation(family):
    """One call of each function of the op table, with random cotangents: the lines add up, and the verdict fits."""
    seen = 0
    for record in records()[family]:
        if not record.differentiable:
            continue
        sample, where = next(iter(cases(record)))
        call = Call(OURS, record, sample, "float32")
        results = call.result if isinstance(call.result, (list, tuple)) else [call.result]
        outputs = [y for y in results if isinstance(y, tg.Tensor) and y.requires_grad and y.numel()]
        if not outputs:
            continue
        loss = sum((y * numbers(*y.shape, seed=1)).sum() for y in outputs)
        for x in (leaf for leaf in call.leaves if leaf.requires_grad):
            (grad,) = tg.autograd.grad(loss, x, retain_graph=True, allow_unused=True)
            found = receipt(loss, x)
            finite = grad is not None and bool(tg.isfinite(grad).all())
            assert found.adds_up or (grad is not None and not finite), where
            if finite:
                np.testing.assert_array_equal(found.total.numpy(), grad.numpy(), err_msg=where)
            state = explain(loss, x).state
            if grad is None or finite:
                assert (state == "none", state == "zero") == (grad is None, finite and not grad.any()), where
            seen += 1
    assert seen or family in ("creation", "random")


def test_many_uses_in_half_precision_add_up_to_rounding():
    w = numbers(8, dtype=tg.float16).requires_grad_()
    loss = sum((w * numbers(8, seed=i, dtype=tg.float16)).sum() for i in range(40))
    found = receipt(loss, w)
    assert len(found) == 40 and found.adds_up and found.error > 0
    text = str(found).split("\n")
    assert len(text) < 45 and "28 more, of norm" in text[-2]
    rest = math.fsum(at.share for at in found.lines[12:])
    assert text[-2].startswith(f"{100 * rest:5.1f} %")


def test_the_text_fits_a_terminal_and_notebooks_get_a_table(laptop):
    model, x, y = laptop
    found = receipt(model(x, y)[1], model.wte.weight)
    text = str(found)
    assert max(map(len, text.split("\n"))) <= 80
    assert text.startswith("Gradient of wte.weight (65, 128), also lm_head.weight: 2 contributions")
    assert "linear in lm_head" in text and "100.0 %" in text and "sum: equals the gradient" in text
    assert repr(found) == f"<Receipt of wte.weight: 2 contributions, norm {found.norm:.4g}>"
    line = Contribution("<i>", "p", "f:1", 1.0, 1.0, 1.0, (), (1,), "<script>", x._result(np.ones(1)))
    page = Receipt("<b>", ["<b>"], tg.ones(1), [line], np.ones(1))._repr_html_()
    assert "<i>" not in page and "<b>" not in page and "<script>" not in page and "&lt;script&gt;" in page


@pytest.mark.parametrize(
    "make, error, words",
    [
        (lambda w: (2.0, w), TypeError, "expected loss to be a Tensor, got float"),
        (lambda w: (w.sum(), "w"), TypeError, "expected p to be a Tensor, got str"),
        (lambda w: (w * 2, w), RuntimeError, r"one element, got shape \(3,\)"),
        (lambda w: (tg.ones(3).sum(), w), RuntimeError, "has no history"),
        (lambda w: (w.sum(), tg.ones(3)), RuntimeError, "p does not require grad; call requires_grad_()"),
    ],
)
def test_bad_input_is_named_with_the_fix(make, error, words):
    with pytest.raises(error, match=words):
        receipt(*make(numbers(3).requires_grad_()))


def test_a_freed_graph_is_named_with_the_fix():
    w = numbers(3).requires_grad_()
    loss = F.relu(w).sum()
    loss.backward()
    with pytest.raises(RuntimeError, match="freed by backward.*retain_graph=True"):
        receipt(loss, w)


def test_the_loss_itself_has_no_uses():
    loss = numbers(3).requires_grad_().sum()
    with pytest.raises(RuntimeError, match="p is the loss itself, whose gradient is 1"):
        receipt(loss, loss)
