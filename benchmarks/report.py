"""The page RESULTS.md from the results files: its tables, between markers, and a plot for each benchmark.

    python benchmarks --report                # tables and plots anew from benchmarks/results/*.json

Text between `<!-- begin NAME -->` and `<!-- end NAME -->` is written here, so that no figure is typed by hand; what
stands around it is the page's own. A benchmark is a module of this folder with a results file of its name,
`tables(entries)` that returns Markdown, and, where there is something to see, `plot(entries, figure)`.
"""

from __future__ import annotations

import re
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks import turns  # noqa: E402  # the checkout need not be installed


def sections(page: str) -> list[str]:
    """The names of the benchmarks that the page shows, in its order."""
    return re.findall(r"<!-- begin (\w+) -->", page)


def fill(page: str, name: str, text: str) -> str:
    """The page with this text between the markers of that name. ValueError: they are not there, or not once."""
    parts = re.split(rf"(<!-- (?:begin|end) {name} -->)", page)
    if parts[1::2] != [f"<!-- begin {name} -->", f"<!-- end {name} -->"]:
        raise ValueError(f"the page must have <!-- begin {name} --> and, after it, <!-- end {name} --> once")
    return "".join([parts[0], parts[1], f"\n\n{text}\n\n", parts[3], parts[4]])


def machines(entries: dict[str, Any]) -> str:
    """What the entries were measured on; where that differs, which were measured where."""
    names: dict[str, list[str]] = {}
    for name, entry in entries.items():
        names.setdefault(turns.describe(entry["machine"]), []).append(name)
    if len(names) == 1:
        return f"Measured on {next(iter(names))}"
    return "\n".join(f"- {', '.join(which)}: measured on {machine}" for machine, which in names.items())


def section(name: str, results: Path) -> str:
    """The text of one benchmark, and its plot beside the results file."""
    entries = turns.load(results / f"{name}.json")
    if not entries:
        return f"Not measured yet: `python benchmarks/{name}.py`."
    module = import_module(f"benchmarks.{name}")
    needs = [turns.load(results / f"{other}.json") for other in getattr(module, "BESIDE", ())]
    parts = [machines(entries), module.tables(entries, *needs)]
    if hasattr(module, "plot"):
        draw(module, entries, results / f"{name}.png")
        parts.append(f"![{name}]({results.name}/{name}.png)")
    return "\n\n".join(parts)


def draw(module: Any, entries: dict[str, Any], path: Path) -> None:
    """Write the plot of a benchmark."""
    from matplotlib.figure import Figure

    figure = Figure(layout="constrained", facecolor="white")
    module.plot(entries, figure)
    figure.savefig(path, dpi=130)


def write(template: Path, page: Path, results: Path) -> None:
    """Write the page: the text around the markers from `template`, what is between from the results."""
    text = template.read_text("utf-8")
    for name in sections(text):
        text = fill(text, name, section(name, results))
    page.write_text(text, "utf-8")
