"""The report of the op table: how far every function is from PyTorch, and from the slopes of its own values."""

from __future__ import annotations

import difflib
import html
import importlib.metadata
import importlib.util
import math
import platform
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..tensor import Tensor
from . import op_table
from .diagnosis import diagnose_arrays
from .golden import Golden, StaleGolden, keyed
from .op_table import OURS, Call, Library, cases, dtypes_of
from .outcome import Leaf, mismatch, outcome, ulps
from .records import OpRecord

DTYPES = ("float32", "float64")
NAME_WIDTH = 36
SHOWN = 3  # failures of one op that are printed
# Functions of single elements in which PyTorch adds terms that cancel, so that errors are measured as those of sums.
CANCELS = {
    "nn.functional.gelu",  # 1 + erf(x / sqrt(2)) for negative x
    "nn.functional.binary_cross_entropy_with_logits",
}


@dataclass
class Row:
    """What is known of one function."""

    name: str
    family: str
    runs: int = 0  # calls compared: samples times dtypes
    forward: dict[str, float] = field(default_factory=dict)  # by dtype, the worst error in ULP
    gradient: dict[str, float] = field(default_factory=dict)
    gradcheck: float | None = None  # the worst error as a share of what is allowed
    failures: list[str] = field(default_factory=list)

    @property
    def short_name(self) -> str:
        short = self.name.replace("nn.functional.", "F.")
        return short if len(short) <= NAME_WIDTH else f"{short[: NAME_WIDTH - 3]}..."


@dataclass
class Report:
    """The rows and what they were made with."""

    rows: list[Row]
    dtypes: tuple[str, ...]
    device: str
    seed: int
    reference: str  # "PyTorch 2.13.0", or the golden values of it

    @property
    def passed(self) -> bool:
        return not any(row.failures for row in self.rows)

    @property
    def heading(self) -> str:
        return (
            f"tinygrad_edu {_version()} against {self.reference}; NumPy {np.__version__}, "
            f"Python {platform.python_version()}, device {self.device}, seed {self.seed}"
        )

    @property
    def summary(self) -> str:
        failed = [row.short_name for row in self.rows if row.failures]
        runs = f"{_count(len(self.rows), 'op')}, {_count(sum(row.runs for row in self.rows), 'run')}"
        if failed:
            return f"{runs}: {len(failed)} FAILED: {', '.join(failed)}"
        return f"{runs}: all agree"

    def columns(self) -> list[tuple[str, Callable[[Row], float | None]]]:
        """The heading and value of each column of numbers."""
        found: list[tuple[str, Callable[[Row], float | None]]] = [("runs", lambda row: row.runs)]
        for dtype in self.dtypes:
            found.append((f"{dtype} forward", lambda row, d=dtype: row.forward.get(d)))  # type: ignore[misc]
            found.append((f"{dtype} gradient", lambda row, d=dtype: row.gradient.get(d)))  # type: ignore[misc]
        found.append(("gradcheck", lambda row: row.gradcheck))
        return found


def _version() -> str:
    try:
        return importlib.metadata.version("tinygrad_edu")
    except importlib.metadata.PackageNotFoundError:
        return "(not installed)"


def _count(n: int, noun: str) -> str:
    return f"{n:,} {noun}" + ("" if n == 1 else "s")


# ---- choosing and running --------------------------------------------------------------------------------------------


def torch_is_here() -> bool:
    try:
        return importlib.util.find_spec("torch") is not None
    except ModuleNotFoundError:  # an importer that hides it
        return False


def choose(names: Iterable[str]) -> dict[str, list[tuple[str, OpRecord]]]:
    """The records by family, all or those named: "softmax", "nn.functional.softmax" or "F.softmax".

    LookupError: there is no op of a name; the nearest ones are named.
    """
    every = {family: list(keyed(members)) for family, members in op_table.records().items()}
    names = list(names)
    if not names:
        return every
    full: dict[str, set[str]] = {}  # what may be written -> names of records
    for members in every.values():
        for _, record in members:
            for written in {record.name, record.name.replace("nn.functional.", "F."), record.name.rpartition(".")[2]}:
                full.setdefault(written, set()).add(record.name)
    wanted: set[str] = set()
    for name in names:
        if name not in full:
            near = difflib.get_close_matches(name, full, n=3, cutoff=0.5)
            hint = f"; did you mean {' or '.join(near)}?" if near else "; without --op all are checked"
            raise LookupError(f"there is no op {name!r} in the table{hint}")
        wanted |= full[name]
    chosen = {f: [(k, r) for k, r in members if r.name in wanted] for f, members in every.items()}
    return {family: members for family, members in chosen.items() if members}


def run(
    names: Iterable[str] = (),
    dtypes: tuple[str, ...] = DTYPES,
    device: str = "cpu",
    seed: int = 0,
    golden: bool = False,
    progress: Callable[[str], None] = lambda name: None,
) -> Report:
    """Check the ops of these names (all if there are none) and report.

    golden: compare with stored results instead of PyTorch. LookupError: an unknown name. ValueError: golden results
    exist for seed 0 alone.
    """
    if golden and seed:
        raise ValueError(f"golden values exist for seed 0 alone, got seed {seed}; install PyTorch to use other seeds")
    rows: dict[str, Row] = {}
    made_with = "" if golden else Library("torch").module.__version__
    for family, members in choose(names).items():
        stored = Golden(family) if golden else None
        made_with = stored.torch if stored else made_with
        for key, record in members:
            progress(record.name)
            row = rows.setdefault(record.name, Row(record.name, family))
            _check(row, key, record, dtypes, seed, stored)
    reference = f"golden values of PyTorch {made_with}" if golden else f"PyTorch {made_with}"
    return Report(list(rows.values()), dtypes, device, seed, reference)


def _check(row: Row, key: str, record: OpRecord, dtypes: tuple[str, ...], seed: int, golden: Golden | None) -> None:
    """Run every sample of a record, and add what was found to its row."""
    with np.errstate(all="ignore"):
        for i, (sample, where) in enumerate(cases(record, seed=seed)):
            for dtype in dtypes_of(sample):
                if dtype is not None and dtype not in dtypes:
                    continue
                place = f"{where} in {dtype or 'its own dtypes'}"
                try:
                    _compare(row, key, record, i, sample, dtype, seed, golden, place)
                except StaleGolden as error:
                    row.failures.append(str(error))
                    return
                except Exception as error:
                    row.failures.append(f"{place}: {type(error).__name__}: {error}")
        if record.differentiable and record.gradcheck and "float64" in dtypes:
            try:
                share = op_table.check_finite_differences(record, seed)
                row.gradcheck = max(row.gradcheck or 0.0, share)
            except Exception as error:
                notes = " ".join(getattr(error, "__notes__", []))
                row.failures.append(f"{error} {notes}".strip())


def _compare(
    row: Row,
    key: str,
    record: OpRecord,
    i: int,
    sample: Any,
    dtype: str | None,
    seed: int,
    golden: Golden | None,
    place: str,
) -> None:
    ours = Call(OURS, record, sample, dtype, seed=seed, single=True)
    if golden is None:
        theirs = Call(Library("torch"), record, sample, dtype, seed=seed, single=True)
        expected: list[Leaf] | None = outcome(theirs, record.differentiable)
    else:
        expected = golden.outcome(key, i, sample, dtype, ours)
    if expected is None:
        return
    got = outcome(ours, record.differentiable)
    row.runs += 1
    different = mismatch(got, expected, record.kind, ours.precision)
    if different:
        row.failures.append(_failure(different, ours, place))
    largest_cotangent = max((float(np.abs(c).max(initial=0.0)) for c in ours.cotangents), default=0.0)
    for a, b in zip(got, expected, strict=False):
        if a.form != b.form or a.values is None:
            continue
        column = row.gradient if a.is_gradient else row.forward
        of_sums = a.is_gradient or record.kind == "reduction" or record.name in CANCELS
        error = ulps(a.values, b.values, ours.precision, of_sums, largest_cotangent if a.is_gradient else 0.0)
        column[ours.precision] = max(column.get(ours.precision, 0.0), error)


def _failure(different: tuple[str, Leaf, Leaf], call: Call, place: str) -> str:
    """A disagreement in words: where, which element, what finite differences say, and the mistake that fits."""
    text, got, expected = different
    lines = [f"{text.replace('expected', 'PyTorch gives')}", f"at {place}"]
    if got.is_gradient and got.values is not None and got.form == expected.form:
        i = int(got.label.rpartition(" ")[2])
        with np.errstate(all="ignore"):
            worst = np.nan_to_num(np.abs(got.values.astype(float) - expected.values.astype(float)), nan=np.inf)
        index = np.unravel_index(int(worst.argmax()), worst.shape)
        if call.precision == "float64":
            lines.append(f"numerical {_slope(call, i, index):.10g}")
        lines.append(f"diagnosis: {diagnose_arrays(got.values, expected.values)}")
    return "; ".join(lines)


def _slope(call: Call, i: int, index: Any) -> float:
    """The slope of the sum of outputs times cotangents with respect to one element, by central differences."""
    array, eps = call.leaves[i]._array, 1e-6
    kept = array.copy()

    def moved(by: float) -> float:
        array[index] = kept[index] + by
        again = [y for y in op_table._flat(call.rerun()) if isinstance(y, Tensor) and y.requires_grad]
        return float(sum((c * y._array).sum() for c, y in zip(call.cotangents, again, strict=True)))

    try:
        return (moved(eps) - moved(-eps)) / (2 * eps)
    finally:
        array[...] = kept


# ---- as text ---------------------------------------------------------------------------------------------------------


def number(value: float | None) -> str:
    """A count or an error in at most seven characters."""
    if value is None:
        return "-"
    if isinstance(value, int):
        return str(value)
    if math.isinf(value):
        return "inf"
    if value == 0 or 0.1 <= value < 10:
        return f"{value:.1f}"
    return f"{value:.0f}" if 10 <= value < 10000 else f"{value:.0e}"


def as_text(report: Report) -> str:
    """The table, the failures and the summary, in at most 100 columns."""
    columns = report.columns()
    width = max([len(row.short_name) for row in report.rows] + [2])
    first = " " * (width + 6) + "".join(f"{d + ' (ULP)':^18}" for d in report.dtypes)
    heads = "".join(f"{title.rpartition(' ')[2]:>{6 if title == 'runs' else 9}}" for title, _ in columns)
    heads = heads.replace("gradcheck", " gradcheck")
    lines = [report.heading, "", first.rstrip(), f"{'op':<{width}}{heads}"]
    for row in report.rows:
        cells = "".join(f"{number(value(row)):>{6 if title == 'runs' else 9}}" for title, value in columns[:-1])
        cells += f"{number(row.gradcheck):>10}"
        lines.append(f"{row.short_name:<{width}}{cells}  {'FAILED' if row.failures else 'ok'}")
    for row in report.rows:
        for text in row.failures[:SHOWN]:
            lines += ["", f"{row.short_name}: {text}"]
        if len(row.failures) > SHOWN:
            lines += ["", f"{row.short_name}: and {len(row.failures) - SHOWN} more"]
    return "\n".join([*lines, "", report.summary])


# ---- as a page -------------------------------------------------------------------------------------------------------

_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy"
 content="default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'">
<title>tinygrad_edu: every op against PyTorch</title>
<style>
:root {{ color-scheme: light dark; --line: #8886; --bad: #c62828; --head: #eef1f5; }}
@media (prefers-color-scheme: dark) {{ :root {{ --bad: #ff8a80; --head: #23272e; }} }}
body {{ font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 70rem; padding: 0 1rem; }}
.scroll {{ overflow-x: auto; }}
table {{ border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }}
th, td {{ padding: .25rem .6rem; border-bottom: 1px solid var(--line); text-align: right; white-space: nowrap; }}
th:first-child, td:first-child, th:last-child, td:last-child {{ text-align: left; }}
thead th {{ white-space: normal; position: sticky; top: 0; background: var(--head); }}
th button {{ all: unset; cursor: pointer; font-weight: 600; }}
th button:focus-visible {{ outline: 2px solid; }}
th[aria-sort=ascending] button::after {{ content: " \\2191"; }}
th[aria-sort=descending] button::after {{ content: " \\2193"; }}
.failed, .failed td {{ color: var(--bad); }}
pre {{ white-space: pre-wrap; }}
</style>
</head>
<body>
<h1>Every op against PyTorch</h1>
<p>{heading}</p>
<p class="{state}"><strong>{summary}</strong></p>
<p>Errors are the worst over all samples, in units in the last place (ULP) of the result's dtype, relative to the
element, or to the largest element of the array for sums and gradients. The column gradcheck is the worst error against
finite differences as a share of what is allowed. A click on a heading sorts.</p>
{failures}<div class="scroll"><table>
<thead><tr>{heads}</tr></thead>
<tbody>
{rows}
</tbody>
</table></div>
<script>
for (const button of document.querySelectorAll("th button")) button.onclick = () => {{
  const th = button.parentNode, column = th.cellIndex, body = document.querySelector("tbody");
  const up = th.getAttribute("aria-sort") === "descending";
  for (const other of th.parentNode.cells) other.removeAttribute("aria-sort");
  th.setAttribute("aria-sort", up ? "ascending" : "descending");
  const key = row => {{ const c = row.cells[column], v = c.dataset.value;
    return v === undefined ? c.textContent : v === "" ? -1 : Number(v); }};
  const rows = [...body.rows].sort((a, b) => {{ const x = key(a), y = key(b);
    return x < y ? -1 : x > y ? 1 : 0; }});
  body.append(...(up ? rows : rows.reverse()));
}};
</script>
</body>
</html>
"""


def as_html(report: Report) -> str:
    """The report as one page that needs nothing else."""
    columns = report.columns()
    titles = ["op", *(t if t in ("runs", "gradcheck") else f"{t} (ULP)" for t, _ in columns), "state"]
    rows = []
    for row in report.rows:
        cells = [f"<td>{html.escape(row.name)}</td>"]
        for _, value in columns:
            v = value(row)
            raw = "" if v is None else "1e999" if math.isinf(v) else repr(v)
            cells.append(f'<td data-value="{raw}">{number(v)}</td>')
        cells.append(f"<td>{'FAILED' if row.failures else 'ok'}</td>")
        state = ' class="failed"' if row.failures else ""
        rows.append(f"<tr{state}>{''.join(cells)}</tr>")
    texts = [f"{row.name}: {text}" for row in report.rows for text in row.failures]
    return _PAGE.format(
        heading=html.escape(report.heading),
        summary=html.escape(report.summary),
        state="passed" if report.passed else "failed",
        failures=f"<h2>Failures</h2>\n<pre>{html.escape(chr(10).join(texts))}</pre>\n" if texts else "",
        heads="".join(f'<th scope="col"><button type="button">{html.escape(t)}</button></th>' for t in titles),
        rows="\n".join(rows),
    )
