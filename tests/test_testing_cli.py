"""`python -m tinygrad_edu.testing`: the table, the page, exit codes, golden files, and life without PyTorch."""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest

import tinygrad_edu as tg
from tinygrad_edu.testing import golden, op_table, report
from tinygrad_edu.testing.__main__ import main
from tinygrad_edu.testing.golden import Golden, StaleGolden, keyed
from tinygrad_edu.testing.op_table import OURS, Call, Library, cases, dtypes_of
from tinygrad_edu.testing.outcome import Leaf, mismatch, outcome, ulps
from tinygrad_edu.testing.records import OpRecord, Sample

torch = pytest.importorskip("torch")
NUMBER = r"(?:\d+(?:\.\d+)?(?:e[+-]\d+)?|inf|-)"


def rows(text):
    """The lines of the table: name -> (numbers, state)."""
    found = re.findall(rf"^(\S+(?: \(.*?\)| #\d)?) +((?:{NUMBER} +)+)(ok|FAILED)$", text, re.M)
    return {name: (numbers.split(), state) for name, numbers, state in found}


def wrong_exp(module, x):
    """exp, with a gradient that is twice too large in our library."""
    y = module.exp(x)
    return y if module.__name__ == "torch" else 2 * y - y.detach()


@pytest.fixture
def a_wrong_op(monkeypatch):
    """The table with one op more, whose gradient is wrong."""
    record = OpRecord("wrong<b>exp", lambda rng: [Sample(rng.standard_normal((2, 3)))], torch=wrong_exp, ours=wrong_exp)
    every = op_table.records()
    monkeypatch.setattr(op_table, "records", lambda: {**every, "elementwise": [*every["elementwise"], record]})


class Hidden:
    """An importer that lets nobody find torch."""

    @staticmethod
    def find_spec(name, path=None, target=None):
        if name.partition(".")[0] == "torch":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)


@pytest.fixture
def without_torch(monkeypatch):
    for name in [n for n in sys.modules if n.partition(".")[0] == "torch"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(sys, "meta_path", [Hidden, *sys.meta_path])


# ---- the command -----------------------------------------------------------------------------------------------------


def test_the_command_prints_a_table_and_a_summary(capsys):
    assert main(["--op", "softmax", "F.gelu", "where"]) == 0
    text = capsys.readouterr().out
    lines = text.splitlines()
    assert re.match(r"tinygrad_edu \S+ against PyTorch \S+; NumPy \S+, Python \S+, device cpu, seed 0$", lines[0])
    assert max(map(len, lines)) <= 100
    found = rows(text)
    assert list(found) == ["F.gelu", "where", "softmax", "F.softmax"]
    for numbers, state in found.values():
        assert state == "ok" and len(numbers) == 6 and int(numbers[0]) > 5
    runs, *errors, share = found["softmax"][0]
    assert all(0 <= float(e) < 20 for e in errors) and float(share) < 0.1
    assert found["F.softmax"][0][2] == "-"  # its record has no gradient
    total = sum(int(numbers[0]) for numbers, _ in found.values())
    assert lines[-1] == f"4 ops, {total} runs: all agree"


def test_a_dtype_and_a_seed(capsys):
    assert main(["--op", "exp", "--dtype", "float32", "--seed", "3"]) == 0
    text = capsys.readouterr().out
    assert "seed 3" in text and "float64" not in text
    assert len(rows(text)["exp"][0]) == 4 and rows(text)["exp"][0][-1] == "-"  # gradcheck needs float64


def test_other_seeds_give_other_inputs_and_the_same_seed_the_same():
    record = next(r for r in op_table.records()["elementwise"] if r.name == "exp")
    first, again, other = (next(iter(cases(record, seed=s)))[0].args[0] for s in (0, 0, 1))
    assert (first == again).all() and (first != other).all()


def test_a_failure_names_everything_and_gives_exit_code_1(a_wrong_op, capsys, tmp_path):
    page = tmp_path / "report.html"
    assert main(["--op", "wrong<b>exp", "--html", str(page)]) == 1
    text = capsys.readouterr().out
    assert text.splitlines()[-1] == "1 op, 2 runs: 1 FAILED: wrong<b>exp"
    assert "wrong<b>exp: gradient of input 0: 6 of 6 elements differ; worst at (" in text
    assert "PyTorch gives" in text and "wrong<b>exp(float64[2, 3]) [sample 0] in float64; numerical " in text
    assert "diagnosis: missing factor: it is 2 times the right one; divide by 2" in text
    assert "gradcheck of wrong<b>exp: wrong gradient" in text
    assert float(rows(text)["wrong<b>exp"][0][4]) > 1e10
    written = page.read_text("utf-8")
    assert "wrong<b>exp" not in written and "wrong&lt;b&gt;exp" in written and '<tr class="failed">' in written


@pytest.mark.parametrize(
    "args, message",
    [
        (["--op", "sofmax"], "there is no op 'sofmax' in the table; did you mean softmax"),
        (["--op", "@@@"], "there is no op '@@@' in the table; without --op all are checked"),
        (["--op", "exp", "--device", "cuda:99"], "cuda"),
        (["--op", "exp", "--reference", "golden", "--seed", "1"], "exist for seed 0 alone, got seed 1"),
        (["--op", "exp", "--html", "/no/such/folder/x.html"], "No such file"),
    ],
)
def test_what_cannot_be_done_gives_exit_code_2(args, message, capsys):
    assert main(args) == 2
    assert message in capsys.readouterr().err


def test_wrong_options_are_refused(capsys):
    for args, message in ((["--sed", "1"], "--seed"), (["--dtype", "float8"], "float8")):
        with pytest.raises(SystemExit) as stopped:
            main(args)
        assert stopped.value.code == 2 and message in capsys.readouterr().err


def test_help_defines_the_ulp(capsys):
    with pytest.raises(SystemExit) as stopped:
        main(["--help"])
    text = " ".join(capsys.readouterr().out.split())
    assert stopped.value.code == 0
    assert "One ULP is the distance from the scale of an element to the next larger number" in text


def test_progress_goes_to_stderr(capsys, monkeypatch):
    from tinygrad_edu.testing import __main__ as cli

    clock = iter(range(0, 100000, 10))
    monkeypatch.setattr(cli.time, "monotonic", lambda: next(clock))
    assert main(["--op", "exp", "log"]) == 0
    out, err = capsys.readouterr()
    assert err.splitlines() == ["1 of 2 ops, now exp", "2 of 2 ops, now log"] and "1 of 2" not in out
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    assert main(["--op", "exp"]) == 0
    assert "0/1" in capsys.readouterr().err


def test_as_a_program():
    done = subprocess.run(
        [sys.executable, "-m", "tinygrad_edu.testing", "--op", "tanh", "--reference", "golden"],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "against golden values of PyTorch" in done.stdout and rows(done.stdout)["tanh"][1] == "ok"


# ---- the page --------------------------------------------------------------------------------------------------------


class Page(HTMLParser):
    """Reads a page, checking that tags close, and collects the cells of its table."""

    def __init__(self, text):
        super().__init__()
        self.open, self.cells, self.loaded, self.values = [], [], [], []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        if tag not in ("meta",):
            self.open.append(tag)
        if tag == "tr":
            self.cells.append([])
        self.loaded += [v for k, v in attrs if k in ("src", "href")]
        self.values += [v for k, v in attrs if k == "data-value"]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] in ("td", "button"):
            self.cells[-1].append(data)


def test_the_page_holds_the_table_and_needs_nothing_else(tmp_path, capsys):
    path = tmp_path / "report.html"
    assert main(["--op", "exp", "cumsum", "--html", str(path)]) == 0
    text = path.read_text("utf-8")
    page = Page(text)
    assert page.cells[0][:2] == ["op", "runs"] and page.cells[0][-2:] == ["gradcheck", "state"]
    assert [row[0] for row in page.cells[1:]] == ["exp", "cumsum"]
    assert page.loaded == [] and "://" not in text and "color-scheme: light dark" in text
    assert all(v == "" or float(v) >= 0 for v in page.values) and len(page.values) == 12
    assert list(tmp_path.iterdir()) == [path]
    assert "against PyTorch" in text and "the page is" in capsys.readouterr().err


# ---- golden files ----------------------------------------------------------------------------------------------------

REWRITE = "write them anew: python -m tinygrad_edu.testing --write-golden"


@pytest.mark.parametrize("family", op_table.records())
def test_golden_values_are_pytorchs_and_ours(family):
    stored, reference = Golden(family), Library("torch")
    members = dict(keyed(op_table.records()[family]))
    assert stored.records.keys() == members.keys(), REWRITE
    with np.errstate(all="ignore"):
        for key, record in members.items():
            seen = 0
            for i, (sample, where) in enumerate(cases(record)):
                if str(i) not in stored.records[key]:
                    continue
                for dtype in dtypes_of(sample):
                    ours = Call(OURS, record, sample, dtype, single=True)
                    expected = stored.outcome(key, i, sample, dtype, ours)
                    if expected is None:
                        continue
                    theirs = outcome(Call(reference, record, sample, dtype, single=True), record.differentiable)
                    assert mismatch(theirs, expected, record.kind, ours.precision) is None, f"{where}: {REWRITE}"
                    found = outcome(ours, record.differentiable)
                    assert mismatch(found, expected, record.kind, ours.precision) is None, where
                    seen += 1 if not record.differentiable else sum(leaf.is_gradient for leaf in expected)
            assert seen, f"{key} has no golden values with a gradient; {REWRITE}"


def test_golden_files_are_small_and_safe():
    files = list(golden.FOLDER.glob("*"))
    assert {f.stem for f in files} == op_table.records().keys()
    assert sum(f.stat().st_size for f in files) < 400_000
    for path in files:
        with np.load(path, allow_pickle=False) as stored:
            assert stored["values"].dtype == np.float64 and stored["index"].dtype == np.uint8


def test_without_torch_golden_values_take_its_place(without_torch, capsys):
    with pytest.raises(ImportError):
        import torch  # noqa: F401
    assert main(["--op", "softmax", "layer_norm", "cat", "unique"]) == 0
    text = capsys.readouterr().out
    assert "against golden values of PyTorch" in text
    assert float(rows(text)["softmax"][0][2]) < 20 and int(rows(text)["F.layer_norm"][0][0]) > 1
    assert main(["--op", "exp", "--reference", "torch"]) == 2
    assert main(["--write-golden"]) == 2
    assert capsys.readouterr().err.count("not installed") == 2


def test_golden_values_find_a_wrong_op(without_torch, monkeypatch, capsys):
    every = op_table.records()
    wrong = [replace(r, ours=lambda m, x: m.exp(x) * 1.01) if r.name == "exp" else r for r in every["elementwise"]]
    monkeypatch.setattr(op_table, "records", lambda: {**every, "elementwise": wrong})
    assert main(["--op", "exp"]) == 1
    assert re.search(r"exp: result: 12 of 12 elements differ; worst at .*PyTorch gives", capsys.readouterr().out)


def test_stale_and_damaged_golden_files_are_refused(monkeypatch, tmp_path, capsys):
    every = op_table.records()
    exp = next(r for r in every["elementwise"] if r.name == "exp")
    other = replace(exp, samples=lambda rng: [Sample(rng.standard_normal((3, 4)) + 1)])
    for changed, message in (
        (other, "were made from other inputs"),
        (replace(exp, name="sinc"), "no golden values for"),
    ):
        monkeypatch.setattr(op_table, "records", lambda changed=changed: {"elementwise": [changed]})
        assert main(["--reference", "golden"]) == 1
        assert message in capsys.readouterr().out
    monkeypatch.setattr(golden, "FOLDER", tmp_path)
    assert main(["--reference", "golden"]) == 2
    assert "No such file" in capsys.readouterr().err
    np.savez(tmp_path / "elementwise.npz", values=np.zeros(1), index=np.frombuffer(b'{"format": 9}', np.uint8))
    assert main(["--reference", "golden"]) == 2
    assert "has format 9, expected 1" in capsys.readouterr().err


def test_writing_golden_files(monkeypatch, tmp_path, capsys):
    exp = [r for r in op_table.records()["elementwise"] if r.name in ("exp", "isnan", "add")]
    monkeypatch.setattr(golden, "records", lambda: {"elementwise": exp})
    monkeypatch.setattr(op_table, "records", lambda: {"elementwise": exp})
    monkeypatch.setattr(golden, "FOLDER", tmp_path)
    (tmp_path / "gone.npz").touch()
    assert main(["--write-golden"]) == 0
    assert re.match(r"1 files, [\d,]+ bytes, in ", capsys.readouterr().out)
    assert [p.name for p in tmp_path.iterdir()] == ["elementwise.npz"]
    first = (tmp_path / "elementwise.npz").read_bytes()
    assert main(["--reference", "golden"]) == 0
    assert list(rows(capsys.readouterr().out)) == ["add", "exp", "isnan"]
    assert main(["--write-golden"]) == 0
    with np.load(tmp_path / "elementwise.npz") as again:
        (tmp_path / "first.npz").write_bytes(first)
        with np.load(tmp_path / "first.npz") as before:
            assert all(np.array_equal(again[k], before[k], equal_nan=k == "values") for k in ("values", "index"))


# ---- units -----------------------------------------------------------------------------------------------------------


def test_units_in_the_last_place():
    one = np.float32(1)
    above = np.nextafter(one, np.float32(2))
    assert ulps(np.array([above]), np.array([one]), "float32", False) == 1
    assert ulps(np.array([1 + 2**-50]), np.array([1.0]), "float64", False) == 4
    small, large = np.array([1e-3, 1000.0], np.float32), np.array([1e-3 + 6.1e-5, 1000.0], np.float32)
    assert ulps(large, small, "float32", False) > 500 and ulps(large, small, "float32", True) < 1.01
    assert ulps(np.array([1e-7]), np.array([0.0]), "float32", True, floor=1.5) < 1
    assert ulps(np.array([0.0, 1.0]), np.array([2.0**-52, 1.0]), "float64", False) == 2**52
    assert ulps(np.array([2.0**-52, 1.0]), np.array([0.0, 1.0]), "float64", False) == 1
    assert ulps(np.array([2.0**-52]), np.array([0.0]), "float64", False) == 1
    odd = np.array([np.nan, np.inf, -np.inf])
    assert ulps(odd, odd.copy(), "float64", False) == 0
    assert ulps(odd, odd[::-1].copy(), "float64", False) == np.inf
    assert ulps(np.array([1, 2]), np.array([1, 2]), "float64", False) == 0
    assert ulps(np.array([1, 2]), np.array([1, 3]), "float64", False) == np.inf
    assert ulps(np.zeros(0), np.zeros(0), "float64", True) == 0


def test_outcomes_are_compared_form_first():
    a = Leaf("result", "float32[2]", np.ones(2, np.float32))
    assert mismatch([a], [a], "elementwise", "float32") is None
    text, *_ = mismatch([a], [replace(a, form="float64[2]")], "elementwise", "float32")
    assert text == "result: got float32[2], PyTorch gives float64[2]"
    text, *_ = mismatch([a], [a, a], "elementwise", "float32")
    assert text == "got ['result'], PyTorch gives ['result', 'result']"


def test_long_names_are_cut_and_lines_stay_short():
    row = report.Row("nn.functional." + "x" * 60, "loss", 3, {"float32": 1e300}, {"float32": 1.0}, 0.5, [])
    made = report.Report([row], report.DTYPES, "cpu", 0, "PyTorch 0")
    lines = report.as_text(made).splitlines()
    assert max(map(len, lines)) <= 100 and "F.xxx" in lines[4] and "...   " in lines[4]


@pytest.mark.parametrize(
    "value, text",
    [(None, "-"), (3, "3"), (0.0, "0.0"), (0.54, "0.5"), (25.0, "25"), (1.2e8, "1e+08"), (1e-6, "1e-06")],
)
def test_numbers_are_short(value, text):
    assert report.number(value) == text
    assert report.number(float("inf")) == "inf"


def test_an_op_that_raises_is_a_failure_not_a_crash(monkeypatch, capsys):
    def broken(module, x):
        if module is tg:
            raise RuntimeError("out of order")
        return x

    record = OpRecord("broken", lambda rng: [Sample(np.ones(2))] * 5, torch=broken, ours=broken)
    monkeypatch.setattr(op_table, "records", lambda: {"elementwise": [record]})
    assert main([]) == 1
    out = capsys.readouterr().out
    assert "RuntimeError: out of order" in out and "broken: and 8 more" in out
    assert StaleGolden.__mro__[1] is AssertionError
