"""The validation loss that a waiting user has, by wall time: nanoGPT's recipe in PyTorch and the preset laptop-fast.

The same model, text, split and evaluation batches. Both train from weights and batches of the same seeds, in processes
of their own that take turns of `--every` steps; after each turn the loss on 200 validation batches is computed, off the
clock of either (on 20 of them where it is not near the goal). Then laptop-fast trains once more, for as many steps as
fit into the time that the reference took.

    python benchmarks/time_to_loss.py                  # five seeds, twenty minutes
    python benchmarks/time_to_loss.py --seeds 3

A seed during which other work used more than 6 % of the machine is run again, if `--patience` allows. Prints tables and
writes benchmarks/results/time_to_loss.json.
"""

from __future__ import annotations

import argparse
import itertools
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks import turns  # noqa: E402  # the checkout need not be installed

PRESETS = {"torch": "laptop", "ours": "laptop-fast"}  # whose recipe each contestant follows
NAMES = {
    "torch": "nanoGPT's recipe, PyTorch eager", "ours": "laptop-fast", "ours, longer": "laptop-fast, in the same time",
}  # fmt: skip
GOAL = 1.92  # validation loss
NEAR = 0.05  # so near to it, and at the end, an evaluation takes all batches; else a tenth of them
BAR = 0.5  # of the reference's time until it has reached the goal


def work(who: str, seed: str, iterations: str, batches: str) -> None:
    """In a process of its own: make that many steps when asked for a number; for 0 the validation loss, on all batches
    at the end and where a glance at a tenth of them lies near the goal."""
    from gpt.config import preset
    from gpt.trainer import Trainer

    with tempfile.TemporaryDirectory() as folder:
        config = replace(preset(PRESETS[who]), seed=int(seed), max_iters=int(iterations), out_dir=folder)
        trainer = Trainer.start(replace(config, eval_iters=int(batches), final_eval_iters=None))
        step, losses = (ours if who == "ours" else torchs)(trainer)
        made = 0

        def answer(steps: int) -> float:
            nonlocal made
            if not steps:
                glance = statistics.fmean(itertools.islice(losses(), max(1, int(batches) // 10)))
                if made < int(iterations) and abs(glance - GOAL) > NEAR:
                    return glance
                return statistics.fmean(losses())
            start = time.perf_counter()
            for _ in range(steps):
                step()
            made += steps
            return time.perf_counter() - start

        turns.serve(answer)


def ours(trainer: Any) -> tuple[Callable[[], object], Callable[[], Iterator[float]]]:
    """A training step, and the losses of the validation batches."""
    import tinygrad_edu as tg

    def losses() -> Iterator[float]:
        for x, y in trainer.evaluation_batches("val"):
            with tg.no_grad():
                loss = trainer.model(x, y)[1].item()
            yield loss

    return trainer.update, losses


def torchs(trainer: Any) -> tuple[Callable[[], object], Callable[[], Iterator[float]]]:
    """The same in PyTorch, eager with its fused AdamW; of the trainer only configuration and batches are used."""
    import torch

    from benchmarks.torch_gpt import TorchGPT

    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    torch.set_flush_denormal(True)
    config = trainer.config
    model = TorchGPT(config.model)
    model.load_state_dict({n: torch.from_numpy(t.numpy().copy()) for n, t in trainer.model.state_dict().items()})
    betas = (config.beta1, config.beta2)
    optimizer = model.configure_optimizers(config.weight_decay, config.learning_rate, betas, fused=True)
    made = 0

    def loss_of(batch: Any) -> Any:
        x, y = (torch.from_numpy(t.numpy()) for t in batch)
        return model(x, y)[1]

    def step() -> None:
        nonlocal made
        for group in optimizer.param_groups:
            group["lr"] = config.learning_rate_at(made)
        optimizer.zero_grad()
        loss = loss_of(next(trainer.batches))
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), config.grad_clip)
        optimizer.step()
        loss.item()  # as nanoGPT and our trainer look at it
        made += 1

    def losses() -> Iterator[float]:
        for batch in trainer.evaluation_batches("val"):
            with torch.no_grad():
                loss = loss_of(batch).item()
            yield loss

    return step, losses


def train(iterations: dict[str, int], seed: int, args: Any) -> tuple[dict[str, list[list[float]]], float]:
    """Train these to the end, in turn. Curves of [steps, seconds, validation loss], and the share of other work."""
    curves: dict[str, list[list[float]]] = {}
    others = seconds = 0.0
    work = {who: [who, str(seed), str(count), str(args.batches)] for who, count in iterations.items()}
    with turns.contestants(turns.Contestant(who, __file__, work[who]) for who in iterations) as everyone:
        for c in everyone:
            curves[c.name] = [[0, 0.0, c.ask(0)]]
        while unfinished := [c for c in everyone if curves[c.name][-1][0] < iterations[c.name]]:
            for c in unfinished:
                made, clock, _ = curves[c.name][-1]
                steps = int(min(args.every, iterations[c.name] - made))
                (taken,), watch = turns.visit(c, everyone, partial(_turn, c, steps), at_least=0)
                others, seconds = others + watch.others * watch.seconds, seconds + watch.seconds
                curves[c.name].append([made + steps, clock + taken, c.ask(0)])
            last = ", ".join(f"{name} {curve[-1][0]:.0f}: {curve[-1][2]:.3f}" for name, curve in curves.items())
            turns.progress(f"seed {seed}: {last}")
    return curves, others / seconds


def _turn(contestant: turns.Contestant, steps: int) -> list[float]:
    return [contestant.ask(steps)]


def measure(seed: int, args: Any) -> dict[str, Any]:
    """The curves of one seed."""
    curves, others = train(args.iterations, seed, args)
    time_allowed = curves["torch"][-1][1]
    each = curves["ours"][-1][1] / curves["ours"][-1][0]
    longer, more = train({"ours": max(1, int(time_allowed / each))}, seed, args)
    turns.progress("")
    return {"others": max(others, more), "curves": {**curves, "ours, longer": longer["ours"]}}


def reached(curve: list[list[float]], goal: float) -> list[float] | None:
    """Steps, seconds and loss of the first evaluation at which the loss is no higher than the goal."""
    return next((point for point in curve if point[2] <= goal), None)


def tables(entries: dict[str, Any]) -> str:
    """The results in Markdown: for each seed, then mean and standard deviation."""

    def shown(values: list[Any], digits: int) -> str:
        known = [v for v in values if v is not None]
        spread = f" ± {statistics.stdev(known):.{digits}f}" if len(known) > 1 else ""
        missing = f", {len(values) - len(known)} never" if len(known) < len(values) else ""
        return f"{statistics.fmean(known):.{digits}f}{spread}{missing}" if known else "never"

    rows, shares = [], []
    for name, title in NAMES.items():
        curves = [entry["curves"][name] for entry in entries.values()]
        points = [reached(curve, GOAL) for curve in curves]
        rows.append([
            title, shown([p and p[0] for p in points], 0), shown([p and p[1] for p in points], 1),
            shown([c[-1][0] for c in curves], 0), shown([c[-1][1] for c in curves], 1),
            shown([c[-1][2] for c in curves], 4),
        ])  # fmt: skip
    for entry in entries.values():
        both = [reached(entry["curves"][name], GOAL) for name in ("ours", "torch")]
        shares.append(both[0][1] / both[1][1] if both[0] and both[1] else None)
    header = ["recipe", f"steps to {GOAL}", f"seconds to {GOAL}", "all steps", "all seconds", "validation loss then"]
    verdict = f"Time to {GOAL}, laptop-fast / nanoGPT's: {shown(shares, 2)} (bar: {BAR}); {len(entries)} seeds."
    return f"{turns.markdown(header, rows)}\n\n{verdict}"


def plot(entries: dict[str, Any], figure: Any) -> None:
    """Validation loss by seconds, a line for each seed."""
    figure.set_size_inches(8, 5)
    axes = figure.subplots()
    colours = {"torch": "#8a8a8a", "ours": "#1b6ca8", "ours, longer": "#7fb3d5"}
    for name, title in NAMES.items():
        for i, entry in enumerate(entries.values()):
            _, seconds, losses = zip(*entry["curves"][name], strict=True)
            axes.plot(seconds, losses, color=colours[name], lw=1, alpha=0.8, label=title if i == 0 else None)
    axes.axhline(GOAL, color="k", ls=":", lw=1, label=f"{GOAL}, where nanoGPT's recipe ends")
    axes.set(xlabel="seconds of training", ylabel="validation loss (nats per character)", ylim=(None, 2.8))
    axes.grid(alpha=0.3)
    axes.legend()


def main() -> None:
    if sys.argv[1:2] == ["--work"]:
        return work(*sys.argv[2:])
    from gpt.config import preset

    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--seeds", type=int, default=5, help="how many")
    parser.add_argument("--every", type=int, default=50, help="steps between evaluations")
    parser.add_argument("--batches", type=int, default=200, help="of an evaluation")
    parser.add_argument("--iterations", type=int, help="steps of both (default: the presets')")
    parser.add_argument("--patience", type=int, default=2, help="run a disturbed seed at most this many times")
    args = turns.arguments(parser, {"seeds": 1, "every": 2, "batches": 1, "iterations": 4})
    args.iterations = {who: args.iterations or preset(name).max_iters for who, name in PRESETS.items()}
    for seed in range(1, args.seeds + 1):
        for _ in range(args.patience):
            entry = measure(seed, args)
            if entry["others"] <= args.busy:
                break
            turns.say(f"seed {seed}: other work used {entry['others']:.0%} of the machine")
        seeds = [str(n) for n in range(1, args.seeds + 1)]
        merged = turns.save(args.results / "time_to_loss.json", seeds, turns.machine(args), {str(seed): entry})
    print(tables(merged))


if __name__ == "__main__":
    main()
