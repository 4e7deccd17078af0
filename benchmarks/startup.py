"""Time from starting Python to the first result: imports, and the first training step with cold and warm caches.

Every sample is a fresh process. Cold: the folder of compiled kernels is new and empty (ours: NUMBA_CACHE_DIR; PyTorch's
compiler: TORCHINDUCTOR_CACHE_DIR); warm: the same folder once more. The step is that of the laptop shape of
train_step.py.

    python benchmarks/startup.py

Prints a table and writes benchmarks/results/startup.json.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks import turns  # noqa: E402  # the checkout need not be installed

SHAPE = "laptop"
COLD_BAR, WARM_BAR = 8.0, 1.5  # seconds of our first step


@dataclass(frozen=True)
class Start:
    """A way to start: a program to import, or a contestant of train_step.py that makes a step."""

    imports: str = ""
    contestant: str = ""
    cache: str = ""  # the variable that names the cache folder: there is a cold and a warm start


STARTS = {
    "import numpy": Start(imports="numpy"),
    "import tinygrad_edu": Start(imports="tinygrad_edu"),
    "import gpt, its trainer": Start(imports="gpt.trainer"),
    "import torch": Start(imports="torch"),
    "step, ours": Start(contestant="ours", cache="NUMBA_CACHE_DIR"),
    "step, ours, reference": Start(contestant="ours-reference"),
    "step, torch": Start(contestant="torch"),
    "step, torch-compile": Start(contestant="torch-compile", cache="TORCHINDUCTOR_CACHE_DIR"),
}


def entries_of(name: str) -> list[str]:
    """The names of a start's results."""
    return [f"{name}, cold", f"{name}, warm"] if STARTS[name].cache else [name]


ENTRIES = [entry for name in STARTS for entry in entries_of(name)]


def work(contestant: str, weights: str) -> None:
    """In a fresh process: two training steps; the second shows what the first had beside it."""
    from benchmarks.train_step import SHAPES, stepper

    step = stepper(contestant, SHAPES[SHAPE], weights)
    seconds = []
    for number in range(2):
        start = time.perf_counter()
        step(number)
        seconds.append(time.perf_counter() - start)
        if number == 0:
            print(json.dumps({"wall": time.time()}), flush=True)
    with contextlib.suppress(ChildProcessError):  # processes that compiled for this one count as its own work
        while contestant == "ours":
            os.wait()
    print(json.dumps({"first_step": seconds[0], "second_step": seconds[1]}))


def sample(start: Start, weights: str, folder: str) -> tuple[dict[str, float], float]:
    """The seconds of one start, and the share of the machine that other work used meanwhile."""
    from benchmarks.train_step import environment

    env = {**os.environ, **environment(start.contestant), **({start.cache: folder} if start.cache else {})}
    command = ["-c", f"import {start.imports}"] if start.imports else [__file__, "--work", start.contestant, weights]
    with turns.Watch(turns.children_cpu) as watch:
        begin = time.time()
        done = subprocess.run([sys.executable, *command], env=env, cwd=ROOT, stdout=subprocess.PIPE, text=True)
        end = time.time()
    if done.returncode:
        raise SystemExit(f"a start ended with status {done.returncode}; its error is printed above")
    if start.imports:
        return {"total": end - begin}, watch.others
    printed = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    return {"total": printed[0]["wall"] - begin, **printed[1]}, watch.others


def measure(names: list[str], args: Any) -> dict[str, Any]:
    """The entries of these starts, made in turn, round after round."""
    from benchmarks.train_step import initial_weights

    counted: dict[str, list[dict[str, float]]] = {entry: [] for name in names for entry in entries_of(name)}
    tried = dict.fromkeys(counted, 0)
    with tempfile.TemporaryDirectory() as folder:
        weights = initial_weights(SHAPE, folder)
        for number in range(args.patience * args.rounds):
            for name in names:
                if all(len(counted[entry]) >= args.rounds for entry in entries_of(name)):
                    continue
                cache = tempfile.mkdtemp(dir=folder)
                for entry in entries_of(name):
                    turns.progress(f"round {number + 1}: {entry}")
                    seconds, others = sample(STARTS[name], weights, cache)
                    tried[entry] += 1
                    if others <= args.busy:
                        counted[entry].append(seconds)
    turns.progress("")
    if missing := [entry for entry, samples in counted.items() if not samples]:
        raise SystemExit(f"other work used more than {args.busy:.0%} of the machine each time of {'; '.join(missing)}")
    return {
        entry: {
            "rounds": tried[entry],
            "rejected": tried[entry] - len(samples),
            **{
                key: {"median_s": statistics.median(s[key] for s in samples), "min_s": min(s[key] for s in samples)}
                for key in samples[0]
            },
        }
        for entry, samples in counted.items()
    }


def tables(entries: dict[str, Any]) -> str:
    """The results in Markdown, medians and minima."""

    def both(of: dict[str, float] | None) -> list[str]:
        return [turns.seconds_text(of[key]) for key in ("median_s", "min_s")] if of else ["-", "-"]

    numpy = entries.get("import numpy")
    rows = []
    for name, entry in entries.items():
        over = "-"
        if numpy and name.startswith("import ") and name != "import numpy":
            over = turns.seconds_text(max(0.0, entry["total"]["median_s"] - numpy["total"]["median_s"]))
        rows.append(
            [name, *both(entry["total"]), over, *both(entry.get("first_step")), *both(entry.get("second_step"))]
        )
    header = ["start", "from starting Python, median", "minimum", "over import numpy", "first step, median", "minimum",
              "second step, median", "minimum"]  # fmt: skip
    bars = []
    for name, bar in (("step, ours, cold", COLD_BAR), ("step, ours, warm", WARM_BAR)):
        if name in entries:
            bars.append([name, turns.seconds_text(entries[name]["first_step"]["median_s"]), turns.seconds_text(bar)])
    tables = [turns.markdown(["start", "first step", "bar"], bars)] if bars else []
    return "\n\n".join([*tables, turns.markdown(header, rows)])


def plot(entries: dict[str, Any], figure: Any) -> None:
    """Bars of the seconds from starting Python."""
    figure.set_size_inches(8, 0.9 + 0.32 * len(entries))
    axes = figure.subplots()
    names = list(entries)[::-1]
    values = [entries[name]["total"]["median_s"] for name in names]
    axes.barh(names, values, color=["#b8b8b8" if "torch" in n or "numpy" in n else "#1b6ca8" for n in names])
    for i, value in enumerate(values):
        axes.text(value, i, f" {turns.seconds_text(value)}", va="center", fontsize=8)
    axes.set_xlim(0, 1.2 * max(values))
    axes.set_xticks([])
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    axes.set_title("From starting Python to the end of the import, or of the first step (medians)", fontsize=10)


def main() -> None:
    if sys.argv[1:2] == ["--work"]:
        return work(*sys.argv[2:])
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--starts", nargs="+", choices=STARTS, default=list(STARTS), metavar="NAME")
    parser.add_argument("--rounds", type=int, default=5, help="starts counted of each")
    parser.add_argument("--patience", type=int, default=4, help="give up after this many times the rounds")
    quick = {"starts": ["import numpy", "import tinygrad_edu", "step, ours"], "rounds": 1}
    args = turns.arguments(parser, quick)
    entries = measure(args.starts, args)
    merged = turns.save(args.results / "startup.json", ENTRIES, turns.machine(args), entries)
    print(tables({name: merged[name] for name in merged if name in entries}))


if __name__ == "__main__":
    main()
