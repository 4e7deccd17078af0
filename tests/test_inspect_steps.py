"""Stepping: the numbers and texts of the chosen elements, computed again from the recorded arrays."""

from __future__ import annotations

import ast
import functools
import io
import json
import math
import operator
import re
from collections import Counter
from contextlib import redirect_stdout
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tinygrad_edu as tg
from gpt.config import preset
from gpt.model import GPT
from tinygrad_edu import inspect, nn
from tinygrad_edu.autograd.engine import sum_to, whole
from tinygrad_edu.backend.device import quiet
from tinygrad_edu.inspect import formulas, steps
from tinygrad_edu.inspect.element import SHOWN, chosen
from tinygrad_edu.inspect.record import decode_attribute
from tinygrad_edu.inspect.replay import _UNKNOWN, _array, reference_ops
from tinygrad_edu.nn import functional as F
from tinygrad_edu.testing import op_table
from tinygrad_edu.testing.op_table import OURS, Call

RECORDS = [r for records in op_table.records().values() for r in records]
PARAMETERS = [pytest.param(r, id=r.name) for r in RECORDS]

# How far a number may be off because a trace keeps some digits only, as a share of it; one in float32 is exact.
ROUNDING = 0.5 * 10.0 ** (1 - steps.DIGITS)
# How far a derivative may be off that is computed in another way than here: so many times the precision of the dtype,
# as a share of the largest derivative, or of 1, from which many are computed (1 - y²).
ERRORS = 16
# Records whose operations change the output of another in place, which a trace does not follow.
IN_PLACE = {"nn.functional.embedding (max_norm)", "nn.functional.gaussian_nll_loss"}


# ---- the truth: the reference backward of a gradient that is 1 at one place ------------------------------------------


def _inputs(t: inspect.Trace, op: inspect.OpRecord) -> list[Any] | None:
    arrays = [_array(t, x) for x in op.inputs]
    return None if any(a is _UNKNOWN for a in arrays) else arrays


def _doubles(arrays: list[Any]) -> list[Any]:
    return [a.astype(np.float64) if hasattr(a, "dtype") and a.dtype.kind == "f" else a for a in arrays]


class Truth:
    """An operation of a trace, run again in float64."""

    def __init__(self, t: inspect.Trace, op: inspect.OpRecord) -> None:
        self.kind = reference_ops()[op.name]
        self.arrays = _doubles(_inputs(t, op) or [])
        self.attrs = {name: decode_attribute(a) for name, a in op.attrs.items()}
        with quiet:
            self.y, self.saved = self.kind.forward(np, *self.arrays, **self.attrs)

    @functools.cache  # noqa: B019  # the object lives as long as one check
    def slopes(self, index: tuple[int, ...]) -> list[Any]:
        """dy[index] / dx of each input."""
        one = np.zeros_like(self.y)
        one[index] = 1
        return self.gradients(one)

    def gradients(self, gy: Any) -> list[Any]:
        with quiet:
            found = self.kind.backward(np, self.saved, gy)
            result = []
            for g, x in zip(found if isinstance(found, tuple) else (found,), self.arrays, strict=True):
                g = whole(g() if callable(g) else g, np) if hasattr(x, "dtype") and x.dtype.kind == "f" else None
                result.append(sum_to(g, x.shape) if g is not None and g.shape != x.shape else g)
            return result


def same(got: Any, recorded: Any) -> bool:
    """Whether a number is what an array holds, but for the digits: the very same in float32."""
    got = float(got)
    if not math.isfinite(recorded):
        return str(got) == str(float(recorded))
    return abs(got - recorded) <= ROUNDING * abs(recorded) and (
        recorded.dtype.itemsize == 8 or recorded.dtype.type(got) == recorded
    )


def close(got: Any, true: np.ndarray, at: Any, dtype: str) -> bool:
    """Whether a number is that of an array, but for the digits and for errors of rounding in this dtype."""
    allowed = ROUNDING * abs(true[at]) + ERRORS * np.finfo(dtype).eps * max(np.abs(true).max(), 1.0)
    return bool(abs(float(got) - true[at]) <= allowed)


def check(t: inspect.Trace, counts: Counter[Any] | None = None) -> list[str]:
    """Compare all elements of a trace with values="full" with what the reference ops give; but for the operations that
    are returned, whose inputs were changed in place after they were recorded."""
    changed = []
    of_op: dict[int, list[inspect.BackwardRecord]] = {}
    for step in t.backward:
        if step.op is not None:
            of_op.setdefault(step.op, []).append(step)
    for op in t.ops:
        element = op.details.get("element")
        if op.value is None or not op.value.size or op.name not in reference_ops() or _inputs(t, op) is None:
            continue
        assert element is not None, op.name
        what = f"{op.name}{op.shape} {element}"
        index = tuple(element["index"])
        assert same(element["value"], op.value.full[index]), what
        assert element["text"][0].startswith(f"y[{','.join(map(str, index))}] = " if index else "y = "), what
        if op.value.size > op.value.sample.size:
            assert index == tuple(np.minimum(index, 7)), what  # it stands in the sample
        truth = Truth(t, op)
        if not np.allclose(truth.y, op.value.full, rtol=0.1, atol=0.1, equal_nan=True):
            changed.append(op.name)
            continue
        if truth.y.dtype.kind != "f" or not np.isfinite(truth.y).all():
            continue
        if counts is not None:
            counts[op.name, element["exact"]] += 1
        for use in element["uses"]:
            at, k = tuple(use["index"]), use["input"]
            assert same(use["value"], _inputs(t, op)[k][at]), what
            assert use["terms"][0] == [element["index"], use["slope"]], what
            assert len({tuple(i) for i, _ in use["terms"]}) == len(use["terms"]), what
            for place, slope in use["terms"]:
                true = truth.slopes(tuple(place))[k]
                if true is not None and np.isfinite(true).all():
                    assert close(slope, true, at, op.dtype), (place, slope, true[at], what)
            if use["count"] is not None:
                assert use["count"] >= len(use["terms"]) == min(use["count"], SHOWN), what
                if truth.y.size <= 64:
                    all_slopes = (truth.slopes(i)[k] for i in np.ndindex(truth.y.shape))
                    n = sum(
                        slopes[at] != 0 for slopes in all_slopes if slopes is not None and np.isfinite(slopes).all()
                    )
                    assert n <= use["count"], (n, what)
        for step in of_op.get(op.id, []):
            with quiet:
                check_backward(op, step, truth)
    return changed


def check_backward(op: inspect.OpRecord, step: inspect.BackwardRecord, truth: Truth) -> None:
    element = step.details["element"]
    what = f"{op.name}{op.shape} {element}"
    gy = step.incoming.full
    assert same(element["incoming"], gy[tuple(element["index"])]), what
    recorded = {g.input: g.value.full for g in step.gradients}
    wanted = {u["input"] for u in op.details["element"]["uses"]} & set(recorded)
    assert {u["input"] for u in element["uses"]} == wanted, what
    truths = truth.gradients(gy.astype(np.float64))
    for use in element["uses"]:
        at, k = tuple(use["index"]), use["input"]
        gradient = recorded[k]
        share = np.float64(element["incoming"]) * float(use["slope"])
        chosen_not = use["slope"] == 0 and np.isfinite(gradient[at])  # an operation that chooses makes no inf·0
        assert same(use["share"], np.float64(0) if chosen_not else share), what
        assert same(use["total"], gradient[at]), what
        for place, incoming, _ in use["terms"]:
            assert same(incoming, gy[tuple(place)]), what
        if truths[k] is None or not np.isfinite(truths[k]).all():
            continue
        assert close(use["total"], truths[k], at, op.dtype), what
        if use["count"] is not None and use["count"] <= SHOWN:  # every term is there
            parts = [float(g) * float(s) for _, g, s in use["terms"]]
            rounding = ROUNDING * (2 * sum(map(abs, parts)) + abs(gradient[at]))
            errors = ERRORS * np.finfo(op.dtype).eps * max(np.abs(truths[k]).max(), 1.0)
            assert not np.isfinite(parts).all() or abs(use["total"] - sum(parts)) <= rounding + errors, what
        if "before" in use:
            before, added = (gradient.dtype.type(use[name]) for name in ("before", "total"))
            rounding = ROUNDING * (abs(before) + abs(added) + abs(before + added))
            assert abs(use["after"] - (before + added)) <= rounding, what


# ---- every operation of the op table ---------------------------------------------------------------------------------


def trace_of(record: op_table.OpRecord, dtype: str) -> list[inspect.Trace]:
    found = []
    for sample, _ in op_table.cases(record):
        if op_table.dtypes_of(sample) == [None] and dtype != "float32":
            continue
        with inspect.trace("full") as t:
            call = Call(OURS, record, sample, None if op_table.dtypes_of(sample) == [None] else dtype)
            if record.differentiable:
                call.backward()
        found.append(t)
    return found


@pytest.mark.parametrize("record", PARAMETERS)
def test_numbers_of_every_operation(record: op_table.OpRecord):
    for t in trace_of(record, "float64"):
        changed = check(t)
        with quiet:
            wrong = wrong_texts(t)[1]
        assert not (changed or wrong) or record.name in IN_PLACE, (changed, wrong)


EXACT = (
    "add sub mul div pow neg exp log tanh relu sigmoid gelu gelu_tanh silu matmul linear sum mean amax softmax "
    "log_softmax layer_norm rms_norm embedding scaled_dot_product_attention cross_entropy nll_loss reshape permute "
    "slice where sqrt cat expand index gather amin clone cast masked_fill maximum minimum dropout"
).split()


def test_these_operations_have_a_formula():
    assert not [name for name in EXACT if name not in formulas.FORMULAS]
    assert not [name for name in formulas.FORMULAS if name not in reference_ops()]


# ---- texts ---------------------------------------------------------------------------------------------------------

_BINARY = {ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv,
           ast.Pow: operator.pow}  # fmt: skip
_COMPARE = {ast.Gt: operator.gt, ast.Lt: operator.lt, ast.GtE: operator.ge, ast.LtE: operator.le, ast.Eq: operator.eq}
_CALLS = {
    "exp": math.exp, "ln": math.log, "sqrt": math.sqrt, "tanh": math.tanh, "sin": math.sin, "cos": math.cos, "max": max,
    "min": min, "abs": abs, "floor": math.floor, "ceil": math.ceil, "sigmoid": lambda x: 1 / (1 + math.exp(-x)),
    "erfc": math.erfc,
}  # fmt: skip


def value_of(text: str, names: dict[str, Any]) -> tuple[float, float] | None:
    """What an expression in a text comes to, and how much of it the digits that are shown leave open; None if it is not
    arithmetic, or not all terms are there. names: arrays and numbers."""
    for mark, meaning in ("·", "*"), ("²", "**2"), ("³", "**3"), ("^", "**"):
        text = text.replace(mark, meaning)
    try:
        value, left_open = _evaluated(text, names), 0.0
        for found in re.finditer(r"\d+\.\d+(e-?\d+)?|\d+e-?\d+", text):
            half = 0.5 * 10.0 ** (math.floor(math.log10(float(found[0]))) - 3)  # of the fourth digit
            other = f"{text[: found.start()]}{float(found[0]) + half!r}{text[found.end() :]}"
            left_open += abs(_evaluated(other, names) - value)
        return value, left_open
    except (SyntaxError, KeyError, TypeError, OverflowError, ValueError, ZeroDivisionError):
        return None


def _evaluated(text: str, names: dict[str, Any]) -> float:
    return float(_evaluate(ast.parse(text.strip(), mode="eval").body, names))


def _evaluate(x: Any, names: dict[str, Any]) -> Any:
    def of(part: Any) -> Any:
        return _evaluate(part, names)

    if isinstance(x, ast.Constant) and isinstance(x.value, (int, float)):
        return x.value
    if isinstance(x, ast.Name):
        return {"pi": math.pi, "inf": math.inf, **names}[x.id]
    if isinstance(x, ast.Tuple):
        return tuple(map(of, x.elts))
    if isinstance(x, ast.Subscript):
        return of(x.value)[of(x.slice)]
    if isinstance(x, ast.UnaryOp) and isinstance(x.op, ast.USub):
        return -of(x.operand)
    if isinstance(x, ast.BinOp):
        return _BINARY[type(x.op)](of(x.left), of(x.right))
    if isinstance(x, ast.IfExp):
        return of(x.body) if of(x.test) else of(x.orelse)
    if isinstance(x, ast.Compare):
        values = [of(v) for v in (x.left, *x.comparators)]
        return all(_COMPARE[type(o)](a, b) for o, a, b in zip(x.ops, values, values[1:], strict=False))
    if isinstance(x, ast.Call) and isinstance(x.func, ast.Name):
        return _CALLS[x.func.id](*map(of, x.args))
    raise TypeError(x)


def wrong_texts(t: inspect.Trace) -> tuple[int, list[str]]:
    """How many equations in the texts of a trace could be computed again, from the numbers that they show or from those
    of the trace where they have letters; and the ones that are wrong beyond the digits that are shown."""
    checked, wrong = 0, []
    for op, lines in texts(t):
        arrays = {u["name"]: _array(t, op.inputs[u["input"]]) for u in op.details["element"]["uses"]}
        sentences = [s for line in lines for s in line.split("; ")]
        letters = dict(found for s in sentences for found in re.findall(r"^([a-xzΦφ]) = (?:.* = )?(-?[\d.e-]+)", s))
        for sentence in sentences:
            equation = re.sub(r"^.* (gets|becomes) |^from all .*: | arrives$|, [a-z]{2}.*$", "", sentence)
            known: list[tuple[str, float, float]] = []
            for part in re.split(r"(?<![<>=!])=(?!=)", equation):
                for letter, number in letters.items():
                    part = re.sub(rf"\b{letter}\b(?!\[)", f"({number})", part)
                if (found := value_of(part, {**arrays, "y": op.value.full})) is not None:
                    known.append((part, *found))
            for (a, value_a, open_a), (b, value_b, open_b) in zip(known, known[1:], strict=False):
                checked += 1
                if abs(value_a - value_b) > 1.1 * (open_a + open_b) + 1e-6 * abs(value_a) + 1e-15:
                    wrong.append(f"{sentence}: {a} is {value_a}, {b} is {value_b}")
    return checked, wrong


def texts(t: inspect.Trace) -> list[tuple[inspect.OpRecord, list[str]]]:
    steps = [(op, op) for op in t.ops] + [(t.ops[s.op], s) for s in t.backward if s.op is not None]
    return [(op, record.details["element"]["text"]) for op, record in steps if "element" in record.details]


def gpt_trace(values: str = "full", layers: int = 1, dtype: str = "float32") -> tuple[GPT, inspect.Trace]:
    tg.manual_seed(3)
    model = GPT(replace(preset("laptop").model, vocab_size=65, n_layer=layers, n_embd=32, block_size=16))
    model.to(getattr(tg, dtype))
    x, y = tg.randint(0, 65, (2, 16)), tg.randint(0, 65, (2, 16))
    with inspect.trace(values) as t:  # type: ignore[arg-type]
        model(x, y)[1].backward()
    return model, t


class Classifier(nn.Module):
    """Layers of many kinds, one after the other."""

    def __init__(self) -> None:
        super().__init__()
        self.hidden = nn.Linear(6, 8)
        self.norm = nn.LayerNorm(8)
        self.scale = nn.RMSNorm(8)
        self.out = nn.Linear(8, 3)

    def forward(self, x: tg.Tensor) -> tg.Tensor:
        h = self.norm(F.gelu(self.hidden(x)) + F.silu(x[:, :1]) * 0.5)
        h = self.scale(tg.tanh(h) / (1 + tg.sigmoid(h)) - (h**2).mean(-1, keepdim=True).sqrt())
        h = tg.where(h > 0, h.exp().log(), -h) + F.relu(h).sum(-1, keepdim=True)
        return F.log_softmax(self.out(tg.cat([h[:, 4:], h[:, :4]], 1)), -1)


def classifier_trace(values: str = "full", dtype: str = "float32") -> inspect.Trace:
    tg.manual_seed(0)
    model = Classifier().to(getattr(tg, dtype))
    x = tg.randn(5, 6).to(getattr(tg, dtype))
    with inspect.trace(values) as t:  # type: ignore[arg-type]
        F.nll_loss(model(x), tg.tensor([0, 2, 1, 1, 0])).backward()
    return t


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_numbers_of_real_models(dtype: str):
    counts: Counter[Any] = Counter()
    assert check(gpt_trace(dtype=dtype)[1], counts) == check(classifier_trace(dtype=dtype), counts) == []
    assert {name for name, exact in counts if not exact} == set()
    assert len(counts) > 20


@pytest.mark.parametrize("name", ["gpt", "classifier"])
def test_the_texts_are_true(name: str):
    t = gpt_trace()[1] if name == "gpt" else classifier_trace()
    lines = [line for _, lines in texts(t) for line in lines]
    checked, wrong = wrong_texts(t)
    assert wrong == []
    assert checked > len(lines) / 2
    assert max(map(len, lines)) < 200


def test_a_wrong_formula_is_noticed(monkeypatch: pytest.MonkeyPatch):
    right = formulas.RULES["tanh"]
    slope = right._replace(slopes=["1 - y"])
    monkeypatch.setitem(formulas.FORMULAS, "tanh", functools.partial(formulas.by_rule, slope))
    with pytest.raises(AssertionError, match="tanh"):
        check(classifier_trace())
    text = right._replace(slopes=[("1 - y", lambda v: 1 - v["y"] ** 2)])
    monkeypatch.setitem(formulas.FORMULAS, "tanh", functools.partial(formulas.by_rule, text))
    check(classifier_trace())
    assert wrong_texts(classifier_trace())[1]


def test_a_wrong_sum_is_noticed(monkeypatch: pytest.MonkeyPatch):
    right = steps.backward

    def wrong(*args: Any) -> dict[str, Any]:
        found = right(*args)
        for use in found.get("element", {}).get("uses", []):
            use["terms"][0][1] = 2 * use["terms"][0][1] + 1
        return found

    monkeypatch.setattr(inspect.recorder, "BACKWARD_DETAILS", [wrong])
    with pytest.raises(AssertionError):
        check(classifier_trace())


# ---- what is chosen --------------------------------------------------------------------------------------------------


def test_the_element_is_the_largest_in_the_last_row_of_the_sample():
    y = np.zeros((3, 20, 30))
    y[0, 2, 7], y[0, 9, 1], y[1, 0, 0], y[0, 7, 0] = -5, 9, 9, np.nan
    assert chosen(y) == (0, 2, 7)  # as the last row holds nothing
    y[0, 7, 2:4] = -1
    assert chosen(y) == (0, 7, 2)
    assert chosen(np.arange(6.0).reshape(3, 1, 2)) == (2, 0, 1)
    assert chosen(np.array([1.0, -3.0, 2.0])) == (1,)
    assert chosen(np.array(3.0)) == () and chosen(np.zeros((0, 3))) is None
    assert chosen(np.array([np.nan, np.inf])) == (0,) and chosen(np.array([False, True])) == (1,)
    _, t = gpt_trace("sample")
    for op in t.ops:
        element = op.details["element"]
        assert same(element["value"], op.value.sample[tuple(element["index"])])


def test_backward_follows_the_element_of_forward():
    _, t = gpt_trace("sample")
    followed = [s for s in t.backward if s.op is not None]
    assert len(followed) > 15
    for step in followed:
        assert step.details["element"]["index"] == t.ops[step.op].details["element"]["index"]


def test_nothing_is_looked_up_without_samples():
    assert not any(r.details for r in (*gpt_trace("stats")[1].ops, *gpt_trace("none")[1].backward))


# ---- running sums ----------------------------------------------------------------------------------------------------


def handed(t: inspect.Trace, name: str) -> list[dict[str, Any]]:
    """The followed elements of what steps hand to a parameter, in order."""
    p = t.parameter(name).id
    return [
        {**use, "step": step}
        for step in t.backward if step.op is not None
        for use in step.details["element"]["uses"] if t.ops[step.op].inputs[use["input"]].parameter == p
    ]  # fmt: skip


def test_the_running_sum_ends_in_grad():
    model, t = gpt_trace()
    head, table = handed(t, "wte.weight")
    assert head["before"] == 0 and head["after"] == head["total"]
    at = tuple(table["index"])
    before = next(g.value.full for g in head["step"].gradients if g.input == head["input"])
    assert same(table["before"], before[at]) and table["before"] != 0
    for name, p in model.named_parameters():
        *_, last = handed(t, name)
        assert same(last["after"], p.grad.numpy()[tuple(last["index"])]), name


def test_the_running_sum_begins_with_what_grad_held():
    w = tg.tensor([2.0, -3.0], requires_grad=True)
    (w * 3.0).sum().backward()
    with inspect.trace() as t:
        ((w * 5.0) + w.relu()).sum().backward()
        (w * 7.0).sum().backward()
    first, second, third = handed(t, "w")
    assert [u["before"] for u in (first, third)] == [3.0, 3.0 + 5.0 + (third["index"] == [0])]
    assert {first["total"], second["total"]} <= {5.0, 1.0, 0.0}
    assert same(third["after"], w.grad.numpy()[third["index"][0]])


# ---- odd operations --------------------------------------------------------------------------------------------------


class Twice(tg.Function):
    @staticmethod
    def forward(ctx: Any, x: Any) -> Any:
        return x * 2

    @staticmethod
    def backward(ctx: Any, gy: Any) -> Any:
        return gy * 2


def test_operations_without_a_formula():
    x = tg.randn(2, 3, requires_grad=True)
    with inspect.trace("full") as t:
        (Twice.apply(x).cumsum(1).std() + x.detach().argmax()).backward()
    by_name = {op.name: op.details["element"] for op in t.ops}
    assert not by_name["cumsum"]["exact"] and by_name["cumsum"]["uses"][0]["count"] is None
    assert by_name["Twice"]["uses"] == [] and by_name["argmax"]["uses"] == []
    check(t)
    step = next(s for s in t.backward if s.op is not None and t.ops[s.op].name == "cumsum")
    assert any(", by cumsum's own backward" in line for line in step.details["element"]["text"])


def test_cases_of_formulas_that_are_seldom():
    table, x = tg.randn(4, 3, requires_grad=True), tg.randn(2, 3, requires_grad=True)
    nothing = tg.zeros((0, 3), requires_grad=True)
    with inspect.trace("full") as t:
        F.embedding(tg.tensor([1, 0, 2, 0]), table, padding_idx=0).sum().backward()
        F.scaled_dot_product_attention(x, nothing, nothing).sum().backward()
        F.scaled_dot_product_attention(x[:, :0], x[:, :0], x, scale=1.0).sum().backward()
        F.scaled_dot_product_attention(x, x, x, attn_mask=tg.zeros((2, 2), dtype=tg.bool)).sum().backward()
        F.softmax(x[0, 0], 0).backward()
        tg.tensor([[1, 2], [3, 4]]) @ tg.tensor([[5, 6], [7, 8]])
    assert check(t) == [] and wrong_texts(t)[1] == []
    padding, no_keys, no_channels, masked = (
        op.details["element"] for op in t.ops if op.name in ("embedding", "scaled_dot_product_attention")
    )
    assert padding["text"][0].endswith("row 0 of the table, which gets no gradient, as padding")
    assert padding["uses"][0]["slope"] == 0
    assert not no_keys["exact"] and [u["name"] for u in no_channels["uses"]] == ["v"]
    assert masked["text"][1] == "= 0 = 0" and masked["uses"][2]["slope"] == 0
    assert t.ops[-1].details["element"]["text"] == ["y[1,1] = Σ_k a[1,k]·b[k,1]", "= 3·6 + 4·8 = 50"]
    assert t.ops[-1].details["element"]["uses"] == []


def test_graphs_from_before_nan_and_empty():
    x = tg.tensor([[-1.0, math.inf]], requires_grad=True)
    before = x * 2
    with inspect.trace() as t:
        y = before.log().sum() + tg.zeros((0, 3), requires_grad=True).sum()
        y.backward()
    assert "element" not in t.ops[next(op.id for op in t.ops if op.before)].details
    json.dumps(t.to_dict(), allow_nan=False)
    assert len(list(steps.walked(t, color=False))) > 10


# ---- as text ---------------------------------------------------------------------------------------------------------


def printed(*args: Any, **kwargs: Any) -> str:
    with redirect_stdout(io.StringIO()) as out:
        inspect.walk(*args, **kwargs)
    return out.getvalue()


def test_walking(tmp_path: Path):
    _, t = gpt_trace("sample")
    text = printed(t)
    assert text.index("linear (operation") < text.index("backward of mean") < text.index("arrival in wte.weight.grad")
    assert text.count("\n") > 3 * (len(t.ops) + len(t.backward)) and "\x1b" not in text
    t.save(tmp_path / "t.json")
    again = inspect.load(tmp_path / "t.json")
    assert printed(again) == text
    assert printed(t, start=len(t.ops)).startswith(f"{len(t.ops)}  backward of")
    only = printed(t, op="h.0.mlp.c_fc").splitlines()
    assert [line for line in only if not line.startswith(" ")] == [
        line for line in only if "h.0.mlp.c_fc" in line and not line.startswith(" ")
    ]
    assert printed(t, op="linear").count("linear (operation") == 2 * sum(op.name == "linear" for op in t.ops)
    assert "\x1b[1m" in printed(t, op="mean", color=True)
    with pytest.raises(ValueError, match="no step is of 'lineal'; give a name"):
        inspect.walk(t, op="lineal")
    assert printed(t, op=0) == printed(t, op="0") and printed(t, start=3, stop=4) in text
    with pytest.raises(ValueError, match="there are .* steps, from 0 to"):
        inspect.walk(t, start=10**6)
    with pytest.raises(ValueError, match="a stop after the start, step 3, got 3"):
        inspect.walk(t, start=3, stop=3)
    with inspect.trace() as nothing:
        pass
    with pytest.raises(ValueError, match="no steps; run the model inside"):
        inspect.walk(nothing)


def test_walking_a_trace_without_numbers_and_a_hostile_one():
    _, t = gpt_trace("stats")
    assert 'record it with values="sample"' in printed(t)
    for text in (None, 3, ["\x1b[31mred", 7], {"a": 1}):
        t.ops[0].details = {"element": {"text": text}}
        assert "\x1b" not in printed(t)
    t.ops[0].details = {"element": "no"}
    printed(t)


def test_a_sample_stays_small():
    _, t = gpt_trace("sample", layers=2)
    sizes = [len(json.dumps(r.details)) for r in (*t.ops, *t.backward)]
    assert max(sizes) < 4_000 and sum(sizes) / len(sizes) < 1_500
