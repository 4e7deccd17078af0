"""Time of one training step of GPT, ours beside PyTorch's: same weights, same batches, stepped in turn.

Every contestant is a process of its own; the processes take turns of at least half a second (see turns.py). A step is
forward, backward, clipping to norm 1 and AdamW. PyTorch runs eager and compiled, each also with a caching malloc
preloaded. Two more processes measure what the machine allows: one multiplies the model's matrices with NumPy, one moves
as many bytes through memory as clipping and AdamW must.

    python benchmarks/train_step.py                                    # all shapes, all contestants
    python benchmarks/train_step.py --shapes laptop --steps 60 --contestants ours torch torch-compile

Prints tables and writes benchmarks/results/train_step.json; shapes that are not measured keep their entry there.
"""

from __future__ import annotations

import argparse
import ctypes.util
import glob
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks import turns  # noqa: E402  # the checkout need not be installed
from gpt.config import GPTConfig  # noqa: E402

GPT2 = GPTConfig(1024, 50257, 12, 12, 768)


@dataclass(frozen=True)
class Shape:
    """What is trained, how often, and what it is meant to reach."""

    config: GPTConfig
    B: int
    T: int
    steps: int
    warm_up: int
    together: int  # contestants that fit into memory side by side, beside ours
    bar: float  # the best rival's time over ours
    rate_bar: float | None = None  # the step's GFLOP/s over those of sgemm


SHAPES = {
    "laptop": Shape(GPTConfig(64, 65, 4, 4, 128, bias=False), 12, 64, 60, 5, 8, 1.35, 0.65),
    "full": Shape(GPTConfig(256, 65, 6, 6, 384, bias=False), 8, 256, 20, 3, 8, 1.20, 0.83),
    "gpt2": Shape(GPT2, 4, 64, 20, 3, 3, 1.25, 0.88),
    "gpt2-long": Shape(GPT2, 1, 1024, 20, 2, 3, 1.15),
}
MEMORY_BAR = 0.75  # our peak memory over that of PyTorch eager
LEARNING_RATE, BETAS, WEIGHT_DECAY = 1e-3, (0.9, 0.99), 0.1

# Each keeps freed memory for as long as it is told to; told nothing, jemalloc gives large blocks back at once.
ALLOCATORS = {
    "jemalloc": ("libjemalloc2", "libjemalloc.so.2", {"MALLOC_CONF": "dirty_decay_ms:-1,muzzy_decay_ms:-1"}),
    "tcmalloc": ("libtcmalloc-minimal4", "libtcmalloc_minimal.so.4", {"TCMALLOC_RELEASE_RATE": "0"}),
}
CONTESTANTS = (
    "ours", "ours-reference", "torch", "torch-jemalloc", "torch-tcmalloc", "torch-compile", "torch-compile-jemalloc"
)  # fmt: skip
SGEMM, STREAM = "sgemm", "stream"
LIMITS = (SGEMM, STREAM)  # no contestants: what the machine can do


def batch(shape: Shape, step: int) -> tuple[Any, Any]:
    """The batch of a step: (B, T) ids and the ids that follow them, the same for every contestant."""
    ids = np.random.default_rng(step).integers(0, shape.config.vocab_size, (shape.B, shape.T + 1))
    return ids[:, :-1].copy(), ids[:, 1:].copy()


def products(config: GPTConfig) -> dict[tuple[int, int], int]:
    """The weight matrices that every token is multiplied with: how many there are of each (inputs, outputs)."""
    C, L = config.n_embd, config.n_layer
    return {(C, 3 * C): L, (C, C): L, (C, 4 * C): L, (4 * C, C): L, (C, config.vocab_size): 1}


def gflop(shape: Shape) -> dict[str, float]:
    """Multiplications and additions of the matrix products of one step, in 10^9.

    Each product has two more of its size in the backward pass. Attention counts as dense: the half that the mask hides
    is counted too, also for contestants that skip it. Everything else (norms, GELU, AdamW ...) is not counted.
    """
    config, tokens = shape.config, shape.B * shape.T
    weights = sum(count * a * b for (a, b), count in products(config).items())
    attention = config.n_layer * 2 * tokens * shape.T * config.n_embd  # q @ k.T and p @ v, over all heads
    return {"linear": 6 * tokens * weights / 1e9, "attention": 6 * attention / 1e9}


def ours(shape: Shape, weights: str) -> Callable[[int], float]:
    """A function that makes training step number `step` with tinygrad_edu and returns its loss."""
    import tinygrad_edu as tg
    from gpt.model import GPT

    model = GPT(shape.config)
    model.load_state_dict(tg.load(weights), strict=False)
    optimizer = model.configure_optimizers(WEIGHT_DECAY, LEARNING_RATE, BETAS)

    def step(number: int) -> float:
        x, y = (tg.from_numpy(a) for a in batch(shape, number))
        loss = model(x, y)[1]  # nobody holds the logits, so that their gradient can take their place
        loss.backward()
        tg.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        return loss.item()

    return step


def torchs(shape: Shape, weights: str, compiled: bool) -> Callable[[int], float]:
    """The same in PyTorch, eager or compiled, with its fused AdamW."""
    import safetensors.torch
    import torch

    from benchmarks.torch_gpt import TorchGPT

    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    torch.set_flush_denormal(True)
    model = TorchGPT(shape.config)
    model.load_state_dict(safetensors.torch.load_file(weights), strict=False)  # the tied head is stored once
    optimizer = model.configure_optimizers(WEIGHT_DECAY, LEARNING_RATE, BETAS, fused=True)
    run: Any = torch.compile(model) if compiled else model

    def step(number: int) -> float:
        x, y = (torch.from_numpy(a) for a in batch(shape, number))
        loss = run(x, y)[1]
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        return loss.item()

    return step


def sgemm(shape: Shape) -> Callable[[int], None]:
    """A function that makes the linear layers' matrix products of one step, forward and backward, and nothing else.

    Products of one size share their arrays, so that what is measured is arithmetic rather than memory.
    """
    tokens, draw = shape.B * shape.T, np.random.default_rng(0)

    def arrays(a: int, b: int) -> tuple[Any, ...]:
        x, w, gy = (draw.standard_normal(size, np.float32) for size in ((tokens, a), (b, a), (tokens, b)))
        return x, w, gy, *(np.empty_like(array) for array in (gy, x, w))

    held = [(*arrays(a, b), count) for (a, b), count in products(shape.config).items()]

    def step(number: int) -> None:
        for x, w, gy, y, gx, gw, count in held:
            for _ in range(count):
                np.matmul(x, w.T, out=y)
                np.matmul(gy, w, out=gx)
                np.matmul(gy.T, x, out=gw)

    return step


def stream(shape: Shape) -> Callable[[int], None]:
    """A function that moves as many bytes as clipping and AdamW must, by stream triads a = b + s c.

    For each parameter that is 32: weight, gradient and two moments are read, three of them written, and the gradient
    is read once more for the norm. A triad moves 12 for each element.
    """
    import torch

    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    c = shape.config
    parameters = (c.vocab_size + c.block_size) * c.n_embd + 12 * c.n_layer * c.n_embd**2
    a, b, d = (torch.ones(parameters * 8 // 9) for _ in range(3))

    def step(number: int) -> None:
        for _ in range(3):
            torch.add(b, d, alpha=3.0, out=a)

    return step


def initial_weights(shape: str, folder: str) -> str:
    """Let a process, whose memory is given back, write the weights that all start from; returns their file's path."""
    path = str(Path(folder) / "weights.safetensors")
    subprocess.run([sys.executable, __file__, "--weights", shape, path], check=True)
    return path


def write_weights(shape: str, path: str) -> None:
    import safetensors.numpy

    import tinygrad_edu as tg
    from gpt.model import GPT

    tg.manual_seed(0)
    parameters = GPT(SHAPES[shape].config).named_parameters()
    safetensors.numpy.save_file({name: p.detach().numpy() for name, p in parameters}, path)


def stepper(name: str, shape: Shape, weights: str) -> Callable[[int], float | None]:
    """The step of the contestant of this name."""
    if name in LIMITS:
        return {SGEMM: sgemm, STREAM: stream}[name](shape)
    return ours(shape, weights) if name.startswith("ours") else torchs(shape, weights, "compile" in name)


def work(name: str, shape: str, weights: str) -> None:
    """The life of a contestant's process: make the steps whose numbers it is sent."""
    step = stepper(name, SHAPES[shape], weights)

    def answer(number: int) -> dict[str, Any]:
        start = time.perf_counter()
        loss = step(number)
        return {"seconds": time.perf_counter() - start, "loss": loss}

    turns.serve(answer)


class Runner(turns.Contestant):
    """A contestant that makes training steps."""

    def __init__(self, name: str, shape: str, weights: str) -> None:
        super().__init__(name, __file__, [name, shape, weights], environment(name))
        self.losses: list[float] = []  # of all steps
        self.seconds: list[float] = []  # of the counted steps

    def step(self) -> list[float]:
        answer = self.ask(len(self.losses))
        self.losses.append(answer["loss"])
        return [answer["seconds"]]

    def check_preloaded(self) -> None:
        """SystemExit: the loader did not load the malloc that was asked for, which it only warns of."""
        library = environment(self.name).get("LD_PRELOAD")
        if library and not self.has_loaded(Path(library).name.split(".so")[0]):
            raise SystemExit(f"{self.name}: {library} was not preloaded")


def environment(name: str) -> dict[str, str]:
    """What the environment of this contestant has beside ours. FileNotFoundError: its malloc is not installed."""
    if name == "ours-reference":
        return {"TINYGRAD_EDU_KERNELS": "reference"}
    for allocator, (package, library, settings) in ALLOCATORS.items():
        if name.endswith(allocator):
            return {"LD_PRELOAD": find_library(library, package), **settings}
    return {}


def find_library(name: str, package: str) -> str:
    """The shared library as the loader knows it, or its path. FileNotFoundError: where it comes from."""
    if ctypes.util.find_library(name.removeprefix("lib").split(".so")[0]) == name:
        return name
    for path in sorted(glob.glob(f"/usr/lib/*/{name}") + glob.glob(f"/usr/lib*/{name}")):
        return path
    raise FileNotFoundError(f"{name} was not found; Debian and Ubuntu have it in {package}: apt-get install {package}")


def available(names: list[str], asked_for: bool) -> list[str]:
    """Those of the contestants that can run here; says which cannot. SystemExit: one that was asked for by name."""
    found = []
    for name in names:
        try:
            environment(name)
            found.append(name)
        except FileNotFoundError as error:
            if asked_for:
                raise SystemExit(f"{name} cannot run: {error}") from error
            turns.say(f"{name} is left out: {error}")
    return found


def measure(shape_name: str, names: list[str], args: Any) -> dict[str, Any]:
    """The entry of a shape: contestants that fit into memory together take turns with ours, group after group."""
    shape = SHAPES[shape_name]
    steps = args.steps or shape.steps
    warm_up = shape.warm_up if args.warm_up is None else args.warm_up
    others = [name for name in names if name != "ours"]
    size = args.together or shape.together
    groups = [others[i : i + size] for i in range(0, len(others), size)] or [[]]
    rows: dict[str, dict[str, Any]] = {}
    rounds = rejected = 0
    with tempfile.TemporaryDirectory() as folder:
        weights = initial_weights(shape_name, folder)
        for group in groups:
            members = [*(["ours"] if "ours" in names else []), *group, *LIMITS]
            with turns.contestants(Runner(name, shape_name, weights) for name in members) as runners:
                visits = take_turns(runners, shape_name, steps, warm_up, args)
                rounds, rejected = rounds + visits[0], rejected + visits[1]
                check_losses(shape_name, runners)
                add(rows, runners)
    return {"rounds": rounds, "rejected": rejected, "gflop": gflop(shape), "contestants": rows}


def take_turns(runners: list[Runner], shape: str, steps: int, warm_up: int, args: Any) -> tuple[int, int]:
    """Let them step in turn until `steps` of each are counted. Returns the rounds made and those rejected."""
    for runner in runners:
        turns.progress(f"{shape}: warming up {runner.name}")
        for _ in range(warm_up):
            runner.step()
        runner.check_preloaded()
    rounds = rejected = 0
    while min(len(r.seconds) for r in runners) < steps and rounds < args.patience * steps:
        order = runners if rounds % 2 == 0 else runners[::-1]
        visits = [(r, *turns.visit(r, runners, r.step, args.at_least)) for r in order]
        rounds += 1
        if max(watch.others for _, _, watch in visits) > args.busy:
            rejected += 1
        else:
            for runner, seconds, _ in visits:
                runner.seconds += seconds
        done = min(len(r.seconds) for r in runners)
        turns.progress(f"{shape}: {done}/{steps} steps, {rejected} of {rounds} rounds rejected")
    who = ", ".join(r.name for r in runners)
    if not runners[0].seconds:
        raise SystemExit(f"{shape}: other work used more than {args.busy:.0%} of the machine in all rounds; try later")
    turns.progress("")
    turns.say(f"{shape}: {done} steps each of {who}; {rejected} of {rounds} rounds rejected")
    return rounds, rejected


def check_losses(shape: str, runners: list[Runner]) -> None:
    """SystemExit: two contestants do not train the same model."""
    first, *others = (r for r in runners if r.name not in LIMITS)
    for r in others:
        if not np.allclose(r.losses[:5], first.losses[:5], rtol=1e-4):
            raise SystemExit(f"{shape}: losses {r.losses[:5]} of {r.name}, {first.losses[:5]} of {first.name}")


def add(rows: dict[str, dict[str, Any]], runners: list[Runner]) -> None:
    """Add the rows of one group. Ratios are to ours in the same group; ours and LIMITS are of all groups together."""
    mine = next((r.seconds for r in runners if r.name == "ours"), None)
    for r in runners:
        before = rows.get(r.name, {"seconds": [], "peak_mb": 0.0})
        seconds = before["seconds"] + [round(s, 7) for s in r.seconds]
        rows[r.name] = {
            "median_s": statistics.median(seconds),
            "min_s": min(seconds),
            "ratio_median": statistics.median(r.seconds) / statistics.median(mine) if mine else None,
            "ratio_min": min(r.seconds) / min(mine) if mine else None,
            "peak_mb": max(before["peak_mb"], r.peak_mb()),
            "cores": r.cpu / r.wall,
            "first_losses": r.losses[:5],
            "steps": len(seconds),
            "seconds": seconds,
        }


def floor(entry: dict[str, Any]) -> float:
    """Seconds that no implementation can go below here: its products at sgemm's rate, attention without the half that
    the mask hides, and clipping and AdamW at the rate of memory; nothing else, and no wait between them."""
    (linear, attention), rows = entry["gflop"].values(), entry["contestants"]
    return rows[SGEMM]["median_s"] * (1 + attention / 2 / linear) + rows[STREAM]["median_s"]


def rates(entry: dict[str, Any]) -> dict[str, tuple[float, float]]:
    """By contestant, GFLOP/s at the median, and as a share of sgemm's."""
    linear, whole = entry["gflop"]["linear"], sum(entry["gflop"].values())
    peak = linear / entry["contestants"][SGEMM]["median_s"]
    found = {name: whole / row["median_s"] for name, row in entry["contestants"].items() if name != STREAM}
    found[SGEMM] = peak
    return {name: (rate, rate / peak) for name, rate in found.items()}


def best_rival(entry: dict[str, Any], ratio: str) -> str:
    """The fastest of PyTorch's contestants."""
    rows = entry["contestants"]
    return min((name for name in rows if name.startswith("torch")), key=lambda name: rows[name][ratio])


def tables(entries: dict[str, Any]) -> str:
    """The results in Markdown. Ratios are a contestant's time over ours: above 1, ours is faster."""
    bars, rows = [], []
    for shape, entry in entries.items():
        contestants, rate = entry["contestants"], rates(entry)
        if "ours" in contestants and "torch" in contestants:
            against, mine = SHAPES[shape], contestants["ours"]
            bars.append([shape])
            for key in ("ratio_median", "ratio_min"):
                rival = best_rival(entry, key)
                bars[-1].append(f"{contestants[rival][key]:.2f} ({rival})")
            memory = mine["peak_mb"] / contestants["torch"]["peak_mb"]
            theirs, least = contestants[best_rival(entry, "ratio_median")]["median_s"], floor(entry)
            bars[-1] += [f"{against.bar:.2f}", f"{theirs / least:.2f}", f"{least / mine['median_s']:.0%}"]
            bars[-1] += [f"{memory:.2f}", f"{MEMORY_BAR:.2f}", f"{rate['ours'][1]:.0%}"]
            bars[-1].append(f"{against.rate_bar:.0%}" if against.rate_bar else "-")
        for name, row in contestants.items():
            ratios = [f"{row[k]:.2f}" if row[k] and name not in LIMITS else "-" for k in ("ratio_median", "ratio_min")]
            times = [f"{row[k] * 1000:.1f}" for k in ("median_s", "min_s")]
            reached = [f"{rate[name][0]:.0f}", f"{rate[name][1]:.0%}"] if name in rate else ["-", "-"]
            rows.append(
                [shape, name, *times, *ratios, *reached, f"{row['cores']:.2f}", f"{row['peak_mb']:.0f}",
                 str(row["steps"])]
            )  # fmt: skip
    bar_header = ["shape", "best rival / ours, medians", "minima", "bar", "best rival / floor", "floor / ours",
                  "our peak memory / torch's", "bar", "of sgemm's rate", "bar"]  # fmt: skip
    header = ["shape", "contestant", "median ms", "minimum ms", "/ ours, medians", "minima", "GFLOP/s", "of sgemm",
              "cores busy", "peak MB", "steps"]  # fmt: skip
    both = [turns.markdown(bar_header, bars)] if bars else []
    return "\n\n".join([*both, turns.markdown(header, rows)])


def plot(entries: dict[str, Any], figure: Any) -> None:
    """Bars of every contestant's time over ours, a panel for each shape."""
    names = [name for name in CONTESTANTS if any(name in e["contestants"] for e in entries.values())][::-1]
    figure.set_size_inches(2 + 2.4 * len(entries), 0.9 + 0.32 * len(names))
    panels = figure.subplots(1, len(entries), squeeze=False, sharey=True)[0]
    for axes, (shape, entry) in zip(panels, entries.items(), strict=True):
        rows = {i: entry["contestants"][name] for i, name in enumerate(names) if name in entry["contestants"]}
        values = {i: row["ratio_median"] or float("nan") for i, row in rows.items()}
        axes.barh(
            list(values), list(values.values()), color=["#1b6ca8" if names[i] == "ours" else "#b8b8b8" for i in rows]
        )
        for i, value in values.items():
            axes.text(value, i, f" {value:.2f}  {turns.seconds_text(rows[i]['median_s'])}", va="center", fontsize=8)
        axes.set_xlim(0, 1.9 * max(values.values()))
        axes.set_title(shape, fontsize=10)
        axes.set_yticks(range(len(names)), names)
        axes.tick_params(length=0)
        axes.set_xticks([])
        axes.spines[:].set_visible(False)
    figure.suptitle("Time of a training step over ours (medians)", fontsize=11)


def main() -> None:
    if sys.argv[1:2] == ["--work"]:
        return work(*sys.argv[2:])
    if sys.argv[1:2] == ["--weights"]:
        return write_weights(*sys.argv[2:])
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--shapes", nargs="+", choices=SHAPES, default=list(SHAPES))
    parser.add_argument("--contestants", nargs="+", choices=CONTESTANTS, help="default: all that can run here")
    parser.add_argument("--steps", type=int, help="counted steps (default: 60 for laptop, 20 for the others)")
    parser.add_argument("--warm-up", type=int, help="steps not counted, first")
    parser.add_argument("--at-least", type=float, default=0.5, help="seconds of a turn")
    parser.add_argument("--together", type=int, help="contestants beside ours at a time, as memory allows")
    parser.add_argument("--patience", type=int, default=4, help="give up after this many rounds per step")
    quick = {"shapes": ["laptop"], "contestants": ["ours", "torch"], "steps": 2, "warm_up": 1, "at_least": 0.05}
    args = turns.arguments(parser, quick)
    names = available(args.contestants or list(CONTESTANTS), asked_for=bool(args.contestants))
    measured_on = turns.machine(args)
    for name in args.shapes:
        entry = measure(name, names, args)
        turns.save(args.results / "train_step.json", SHAPES, measured_on, {name: entry})
        print(tables({name: entry}), end="\n\n", flush=True)


if __name__ == "__main__":
    main()
