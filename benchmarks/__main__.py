"""Run the benchmarks one after the other and write benchmarks/RESULTS.md from what they found.

    python benchmarks                         # all; or: make bench
    python benchmarks train_step ops          # some
    python benchmarks --quick                 # little of each, to see that it works; into runs/benchmarks
    python benchmarks --report                # measure nothing, write the page and the plots anew

Options that are not listed below go to every benchmark, such as --threads 1.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks import report, turns  # noqa: E402  # the checkout need not be installed

HERE = ROOT / "benchmarks"
PARTS = ("train_step", "ops", "overhead", "startup", "time_to_loss")


def main() -> int:
    parser = argparse.ArgumentParser(prog="benchmarks", description=__doc__.split("\n\n")[0])
    parser.add_argument("parts", nargs="*", metavar="BENCHMARK", help=f"of {', '.join(PARTS)} (default: all)")
    parser.add_argument("--quick", action="store_true", help="little of each; times mean nothing")
    parser.add_argument("--report", action="store_true", help="only write the page and the plots")
    parser.add_argument("--folder", type=Path, help="where RESULTS.md and results/ go (default: benchmarks)")
    args, rest = parser.parse_known_args()
    if unknown := [part for part in args.parts if part not in PARTS]:
        parser.error(f"no benchmark is named {' or '.join(unknown)}; there are: {', '.join(PARTS)}")
    folder = args.folder or (ROOT / "runs/benchmarks" if args.quick else HERE)
    results = folder / "results"
    results.mkdir(parents=True, exist_ok=True)
    failed = []
    for part in () if args.report else args.parts or PARTS:
        start = time.perf_counter()
        turns.say(f"== {part} ==")
        command = [sys.executable, str(HERE / f"{part}.py"), "--results", str(results), *rest]
        if subprocess.run([*command, *(["--quick"] if args.quick else [])]).returncode:
            failed.append(part)
        turns.say(f"== {part}: {'failed' if part in failed else 'done'} after {time.perf_counter() - start:.0f} s ==")
    page = folder / "RESULTS.md"
    report.write(HERE / "RESULTS.md", page, results)
    turns.say(f"{page} is written" + (f"; failed: {', '.join(failed)}" if failed else ""))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
