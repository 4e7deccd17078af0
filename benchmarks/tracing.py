"""What inspecting costs: a training step of the laptop preset, untraced and under `inspect.trace`.

Two processes take turns. One has never imported the inspector; the other has, and has traced a step before, and then
makes steps outside of any trace, and steps inside of one.

    python benchmarks/tracing.py

Prints each step's time and, of the untraced ones, their ratio in rounds that stand beside each other; writes
benchmarks/results/tracing.json.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks import turns  # noqa: E402  # the checkout need not be installed

NEVER, OFF = "inspector never imported", "outside of a trace"
TRACED = ("none", "stats", "sample")  # values=


def work(name: str) -> None:
    """In a process of its own: the seconds of so many steps, traced with these values or (None) not."""
    from gpt.config import preset
    from gpt.trainer import Trainer

    with tempfile.TemporaryDirectory() as folder:
        trainer = Trainer.start(replace(preset("laptop"), out_dir=folder))
        for _ in range(3):
            trainer.update()

        def answer(request: dict[str, Any]) -> float:
            if request["values"] is None:
                start = time.perf_counter()
                for _ in range(request["steps"]):
                    trainer.update()
                return time.perf_counter() - start
            from tinygrad_edu import inspect

            seconds = 0.0
            for _ in range(request["steps"]):
                start = time.perf_counter()
                with inspect.trace(values=request["values"]):
                    trainer.update()
                seconds += time.perf_counter() - start
            return seconds

        if name == OFF:
            answer({"values": "stats", "steps": 1})
        turns.serve(answer)


def main() -> None:
    if sys.argv[1:2] == ["--work"]:
        return work(sys.argv[2])
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--rounds", type=int, default=60, help="rounds counted")
    parser.add_argument("--steps", type=int, default=8, help="untraced steps of a visit")
    parser.add_argument("--patience", type=int, default=4, help="give up after this many times the rounds")
    args = turns.arguments(parser, {"rounds": 1, "steps": 1})
    measured_on = turns.machine(args)
    seconds: dict[str, list[float]] = {name: [] for name in (NEVER, OFF, *TRACED)}
    tried = 0
    with turns.contestants(turns.Contestant(name, __file__, [name]) for name in (NEVER, OFF)) as started:
        never, off = started
        while len(seconds[OFF]) < args.rounds and tried < args.patience * args.rounds:
            tried += 1
            turns.progress(f"round {tried}")
            pair = (never, off) if tried % 2 else (off, never)  # neither is always the first
            with turns.Watch(lambda: never.cpu_seconds() + off.cpu_seconds()) as watch:
                found = {}
                for one in pair:
                    time.sleep(0.1)  # the threads of the one before have stopped spinning by then
                    found[one.name] = one.ask({"values": None, "steps": args.steps}) / args.steps
                found |= {values: off.ask({"values": values, "steps": 1}) for values in TRACED}
            if watch.others <= args.busy:
                for name, value in found.items():
                    seconds[name].append(value)
    if not seconds[OFF]:
        raise SystemExit(f"other work used more than {args.busy:.0%} of the machine each time; try later")
    ratios = [b / a for a, b in zip(seconds[NEVER], seconds[OFF], strict=True)]
    entry = {"rounds": len(ratios), "tried": tried, "seconds": seconds}
    turns.save(args.results / "tracing.json", ["laptop"], measured_on, {"laptop": entry})
    medians = {name: statistics.median(of) for name, of in seconds.items()}
    rows = [[name, turns.seconds_text(m), f"{m / medians[OFF]:.2f}"] for name, m in medians.items()]
    print(turns.markdown(["step of the laptop preset", "median", "of an untraced step"], rows))
    spread = statistics.stdev(ratios) / len(ratios) ** 0.5 if len(ratios) > 1 else float("nan")
    print(
        f"\nOutside of a trace / never imported, in pairs: median {statistics.median(ratios):.3f}, mean "
        f"{statistics.fmean(ratios):.3f} ± {spread:.3f} (standard error); {len(ratios)} rounds of {tried}."
    )


if __name__ == "__main__":
    main()
