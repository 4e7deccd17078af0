"""The mutation check itself: mistakes are made and noticed, and a table that is too weak is found out."""

from __future__ import annotations

import numpy as np
import pytest

from tinygrad_edu import softmax
from tinygrad_edu.ops.normalization import Softmax
from tinygrad_edu.ops.reduction import Cumprod
from tinygrad_edu.testing import mutants as check
from tinygrad_edu.testing import op_table
from tinygrad_edu.testing.mutations import mutants
from tinygrad_edu.testing.records import OpRecord, Sample

SOFTMAX = "normalization.Softmax.backward"


def record(name, *samples):
    return OpRecord(name, lambda rng: list(samples), kind="reduction")


def samples_of(*names):
    return check.cases(r for family in op_table.records().values() for r in family if r.name in names)


@pytest.fixture
def weak(monkeypatch):
    """A table that knows softmax along axes of size 1 alone, where every gradient is 0."""
    found = check.cases([record("softmax", Sample(np.ones((3, 1)), -1))])
    monkeypatch.setattr(check, "_all_cases", lambda: found)


def backward(x, y, axis):
    a, b = x
    g = lambda: -y.sum(axis=0) * a  # noqa: E731
    if axis is None:
        return g, None
    return b[1:].T - a, lambda: y


def test_every_kind_of_mistake_is_made():
    made = {(m.mistake, m.mutated) for m in mutants(backward, "backward")}
    assert made >= {
        ("one value for another", "b, a = x"),
        ("sign flipped", "g = lambda: y.sum(axis=0) * a"),
        ("/ instead of *", "g = lambda: -y.sum(axis=0) / a"),
        ("factor dropped", "g = lambda: a"),
        ("call dropped", "g = lambda: -y * a"),
        ("axis dropped", "g = lambda: -y.sum() * a"),
        ("off by one", "g = lambda: -y.sum(axis=1) * a"),
        ("condition dropped", "True"),
        ("comparison", "axis is not None"),
        ("gradient dropped", "None"),
        ("sign flipped", "-(b[1:].T - a)"),
        ("sign flipped", "b[1:].T + a"),
        ("operands swapped", "a - b[1:].T"),
        ("term dropped", "b[1:].T"),
        ("transpose dropped", "b[1:] - a"),
        ("index dropped", "b.T - a"),
        ("end of slice dropped", "b[:].T - a"),
        ("sign flipped", "lambda: -y"),
        ("gradients in another order", "return (lambda: y, b[1:].T - a)"),
    }
    assert all(m.original != m.mutated and m.where.startswith("test_mutants.py:") for m in mutants(backward, ""))


def test_mistakes_that_change_nothing_are_not_made():
    def f(xp, x, y):
        return xp.maximum(x, y), zip(x, y, strict=True), x.swapaxes(0, 1).reshape(-1), xp.zeros_like(x)

    made = {m.mutated for m in mutants(f, "f")}
    assert made.isdisjoint(
        {
            "xp.maximum(y, x)",
            "zip(y, x, strict=True)",
            "zip(x, y)",
            "x.swapaxes(1, 0).reshape(-1)",
            "x.swapaxes(0, 1).reshape(-2)",
            "-xp.zeros_like(x)",
        }
    )
    assert "xp.minimum(x, y)" in made and "x.swapaxes(0, 2).reshape(-1)" in made


@pytest.mark.parametrize(
    "op, name", [("softmax", "softmax"), ("layer_norm", "nn.functional.layer_norm"), ("scatter", "scatter")]
)
def test_the_table_notices_every_mutant(op, name, monkeypatch):
    found = samples_of(name)
    monkeypatch.setattr(check, "_all_cases", lambda: found)
    verdicts = check.run([op])
    assert check.faults(verdicts, whole=False) == []
    assert sum(v.way == "PyTorch" for v in verdicts) >= 8


def test_a_planted_mistake_is_noticed_and_undone():
    right = Softmax.backward.__code__
    (planted,) = [m for m in mutants(Softmax.backward, SOFTMAX) if m.mutated == "return y * gy"]
    verdict = check.try_mutant(Softmax.backward, planted, samples_of("softmax"))
    assert verdict.way == "PyTorch" and verdict.by.startswith("softmax(")
    assert Softmax.backward.__code__ is right


def test_finite_differences_alone_notice_too(monkeypatch):
    monkeypatch.delitem(check.CHECKS, "PyTorch")
    (planted,) = [m for m in mutants(Softmax.backward, SOFTMAX) if m.mutated == "return y * gy"]
    assert check.try_mutant(Softmax.backward, planted, samples_of("softmax")).way == "differences"


def test_a_mutant_acts_in_backward_only():
    (planted,) = [m for m in mutants(Softmax.backward, SOFTMAX) if m.mutated == "return y * gy"]
    right = Softmax.backward.__code__
    with check.active(Softmax.backward, planted):
        assert Softmax.backward.__code__ is right
        x = op_table.OURS.tensor(np.arange(3.0), True)
        y = softmax(x, -1)
        y.backward(op_table.OURS.tensor(np.ones(3), False))
    assert x.grad.tolist() == y.tolist()  # the right gradient is 0


def test_a_mutant_that_never_ends_is_stopped():
    (endless,) = [m for m in mutants(Cumprod.backward, "") if (m.original, m.mutated) == ("step *= 2", "step = 2")]
    long = check.cases([record("cumprod", Sample(np.ones(9), 0))])
    assert check.try_mutant(Cumprod.backward, endless, long, limit=1.0).way == "hung"


def test_a_weak_table_lets_survivors_through(weak, tmp_path, capsys, monkeypatch):
    verdicts = check.run(["softmax"])
    survivors = [v.mutant.mutated for v in verdicts if v.way is None]
    assert "return y * (gy + (gy * y).sum(axis=axis, keepdims=True))" not in survivors  # it gives 2 gy
    assert "return -(y * (gy - (gy * y).sum(axis=axis, keepdims=True)))" in survivors  # -0 is 0
    assert len(check.faults(verdicts, whole=False)) == len(survivors)

    assert check.main(["--op", "softmax", "--processes", "1"]) == 1
    printed = capsys.readouterr().out
    assert "survived: normalization.Softmax.backward (normalization.py:" in printed
    assert f"{len(verdicts)} mutants: {len(verdicts) - len(survivors)} noticed, 0 excluded" in printed

    page = check.report(verdicts)
    assert f"**{len(survivors)} survivors**" in page
    assert "## Survivors" in page and "to `return -(y * (gy - (gy * y).sum" in page

    every = check.targets()
    monkeypatch.setattr(check, "targets", lambda names=None: {SOFTMAX: every[SOFTMAX]})
    assert check.main(["--processes", "1", "--report", str(tmp_path / "mutants.md")]) == 1
    assert (tmp_path / "mutants.md").read_text(encoding="utf-8") == page
    assert [p.name for p in tmp_path.iterdir()] == ["mutants.md"]
    with pytest.raises(SystemExit):
        check.main(["--op", "softmax", "--report", "x"])


def test_exclusions_must_hold(weak, monkeypatch):
    verdicts = check.run(["softmax"])
    survivor = next(v for v in verdicts if v.way is None)
    noticed = next(v for v in verdicts if v.way)
    excluded = {survivor.key: "it is 0", noticed.key: "wrongly", ("gone", "a", "b"): "of old"}
    monkeypatch.setattr(check, "EQUIVALENT", excluded)
    faults = check.faults(verdicts, whole=True)
    assert not any(str(survivor.mutant) in f for f in faults)
    assert any(f.startswith("excluded, but noticed by softmax(") and str(noticed.mutant) in f for f in faults)
    assert "excluded, but there is no such mutant: ('gone', 'a', 'b')" in faults
    assert "- it is 0\n  - `normalization.Softmax.backward`: `" in check.report(verdicts)


def test_a_check_that_fails_without_a_mutant_is_no_proof():
    def half(x, dim):
        return softmax(x, dim) * 0.5

    wrong = OpRecord("softmax", lambda rng: [Sample(np.arange(3.0), 0)], ours=lambda t, x, d: half(x, d))
    with pytest.raises(AssertionError, match="elements differ"):
        check.verdicts(SOFTMAX, check.cases([wrong]))


def test_every_backward_is_a_target():
    targets = check.targets()
    assert len(check.named_ops()) > 100
    helpers = {"normalization.mean", "indexing.add_rows_to", "indexing.SlicePart.add_to", "elementwise._towards"}
    assert helpers | {SOFTMAX, "elementwise._Step.backward", "reduction._shared_among_equals"} <= targets.keys()
    assert targets["elementwise._towards"][1] == {"maximum", "minimum"}
    assert all(users for _, users in targets.values())
    with pytest.raises(ValueError, match=r"no differentiable op is called \['softmacks'\]"):
        check.targets(["softmacks"])


@pytest.mark.slow
def test_no_mutant_survives():
    verdicts = check.run(processes=2)
    assert len(verdicts) > 2500
    assert check.faults(verdicts, whole=True) == []
