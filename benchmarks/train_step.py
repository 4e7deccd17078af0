"""Time of one training step of GPT, ours beside PyTorch's: same weights, same batches, stepped in turn.

Every contestant is a process of its own; the processes take turns of at least half a second, so that a change of the
machine's speed meets all of them. A round counts only if other work used less than 6 % of the machine during it. A step
is forward, backward, clipping to norm 1 and AdamW.

    python benchmarks/train_step.py                        # all shapes, ours and PyTorch eager
    python benchmarks/train_step.py --shapes laptop --steps 60 --contestants ours torch torch-compile

Prints a table and writes benchmarks/results/train_step.json.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from gpt.config import GPTConfig  # noqa: E402  # the checkout need not be installed

SHAPES: dict[str, tuple[GPTConfig, int, int, int]] = {  # configuration, batch size, sequence length, rounds
    "laptop": (GPTConfig(64, 65, 4, 4, 128, bias=False), 12, 64, 60),
    "full": (GPTConfig(256, 65, 6, 6, 384, bias=False), 8, 256, 20),
    "gpt2": (GPTConfig(1024, 50257, 12, 12, 768), 4, 64, 20),
}
CONTESTANTS = ("ours", "torch", "torch-compile")
BUSY = 0.06  # the share of the machine that other work may use during a counted round
LEARNING_RATE, BETAS, WEIGHT_DECAY = 1e-3, (0.9, 0.99), 0.1


def batch(shape: str, step: int) -> tuple[Any, Any]:
    """The batch of a step: (B, T) ids and the ids that follow them, the same for every contestant."""
    config, B, T, _ = SHAPES[shape]
    ids = np.random.default_rng(step).integers(0, config.vocab_size, (B, T + 1))
    return ids[:, :-1].copy(), ids[:, 1:].copy()


def ours(shape: str, weights: str) -> Callable[[int], float]:
    """A function that makes training step number `step` with tinygrad_edu and returns its loss."""
    import tinygrad_edu as tg
    from gpt.model import GPT

    model = GPT(SHAPES[shape][0])
    model.load_state_dict(tg.load(weights), strict=False)
    optimizer = model.configure_optimizers(WEIGHT_DECAY, LEARNING_RATE, BETAS)

    def step(number: int) -> float:
        x, y = (tg.from_numpy(a) for a in batch(shape, number))
        _, loss = model(x, y)
        loss.backward()
        tg.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        return loss.item()

    return step


def torchs(shape: str, weights: str, compiled: bool) -> Callable[[int], float]:
    """The same in PyTorch, eager or compiled, with its fused AdamW."""
    import safetensors.torch
    import torch

    from benchmarks.torch_gpt import TorchGPT

    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    torch.set_flush_denormal(True)
    model = TorchGPT(SHAPES[shape][0])
    model.load_state_dict(safetensors.torch.load_file(weights), strict=False)  # the tied head is stored once
    optimizer = model.configure_optimizers(WEIGHT_DECAY, LEARNING_RATE, BETAS, fused=True)
    run: Any = torch.compile(model) if compiled else model

    def step(number: int) -> float:
        x, y = (torch.from_numpy(a) for a in batch(shape, number))
        _, loss = run(x, y)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        return loss.item()

    return step


def work(contestant: str, shape: str, weights: str) -> None:
    """The life of a contestant's process: make the step that each line of standard input asks for."""
    step = ours(shape, weights) if contestant == "ours" else torchs(shape, weights, contestant == "torch-compile")
    for line in sys.stdin:
        start = time.perf_counter()
        loss = step(int(line))
        seconds = time.perf_counter() - start
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        print(json.dumps({"seconds": seconds, "loss": loss, "peak_kb": peak}), flush=True)


class Contestant:
    """A process that makes training steps when asked."""

    def __init__(self, name: str, shape: str, weights: str, threads: int) -> None:
        counts = {key: str(threads) for key in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")}
        self.name = name
        self.seconds: list[float] = []  # of the counted steps
        self.losses: list[float] = []  # of all steps
        self.peak_mb = 0.0
        self.process = subprocess.Popen(
            [sys.executable, __file__, "--work", name, shape, weights],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env={**os.environ, **counts},
        )  # fmt: skip

    def step(self) -> float:
        """Make the next step and return its seconds."""
        assert self.process.stdin and self.process.stdout
        self.process.stdin.write(f"{len(self.losses)}\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit(f"{self.name} ended with status {self.process.wait()}; its error is printed above")
        answer = json.loads(line)
        self.losses.append(answer["loss"])
        self.peak_mb = answer["peak_kb"] / 1024
        return answer["seconds"]

    def cpu_seconds(self) -> float:
        """CPU time that the process has used so far."""
        fields = _read(f"/proc/{self.process.pid}/stat").rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK") if fields else 0.0

    def end(self) -> None:
        assert self.process.stdin
        self.process.stdin.close()
        self.process.wait()


def machine_busy() -> float:
    """CPU seconds that all processes have used since the start of the machine; 0 where the system does not tell."""
    fields = _read("/proc/stat").split("\n", 1)[0].split()[1:]
    if not fields:
        return 0.0
    user, nice, system, _idle, _iowait, irq, softirq, steal = (int(f) for f in fields[:8])
    return (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")


def visit(contestant: Contestant, everyone: list[Contestant], at_least: float) -> tuple[list[float], float]:
    """Steps of one contestant for `at_least` seconds: their times, and the share of the machine that others used.

    The system counts CPU time in ticks of 10 ms, so a single short step cannot be judged.
    """
    time.sleep(0.1)  # the threads of the one before have stopped spinning by then
    busy, cpu, start = machine_busy(), sum(c.cpu_seconds() for c in everyone), time.perf_counter()
    seconds = []
    while not seconds or sum(seconds) < at_least:
        seconds.append(contestant.step())
    elapsed = time.perf_counter() - start
    others = machine_busy() - busy - (sum(c.cpu_seconds() for c in everyone) - cpu)
    return seconds, max(0.0, others) / (elapsed * (os.cpu_count() or 1))


def measure(shape: str, names: list[str], steps: int, warm_up: int, threads: int, patience: int) -> dict[str, Any]:
    """Let the contestants take turns until `steps` quiet steps of each are counted, or patience runs out."""
    import safetensors.numpy

    import tinygrad_edu as tg
    from gpt.model import GPT

    with tempfile.TemporaryDirectory() as folder:
        weights = str(Path(folder) / "weights.safetensors")
        tg.manual_seed(0)
        parameters = GPT(SHAPES[shape][0]).named_parameters()
        safetensors.numpy.save_file({name: p.detach().numpy() for name, p in parameters}, weights)
        contestants = [Contestant(name, shape, weights, threads) for name in names]
        for c in contestants:
            for _ in range(warm_up):
                c.step()
        visits = rejected = 0
        while min(len(c.seconds) for c in contestants) < steps and len(contestants[0].losses) < patience * steps:
            order = contestants if visits % 2 == 0 else contestants[::-1]
            results = [(c, *visit(c, contestants, at_least=0.5)) for c in order]
            visits += 1
            if max(others for _, _, others in results) > BUSY:
                rejected += 1
            else:
                for c, seconds, _ in results:
                    c.seconds += seconds
            done = min(len(c.seconds) for c in contestants)
            progress = f"\r{shape}: {done}/{steps} steps, {rejected} of {visits} rounds rejected"
            print(progress, end="", file=sys.stderr)
        print(file=sys.stderr)
        for c in contestants:
            c.end()
    if not contestants[0].seconds:
        raise SystemExit(f"{shape}: other work used more than {BUSY:.0%} of the machine in all rounds; try later")
    first = contestants[0]
    for c in contestants[1:]:
        if not np.allclose(c.losses[:5], first.losses[:5], rtol=1e-4):
            raise SystemExit(f"{shape}: losses {c.losses[:5]} of {c.name}, {first.losses[:5]} of {first.name}")
    rows = {
        c.name: {
            "median_s": statistics.median(c.seconds),
            "min_s": min(c.seconds),
            "peak_mb": c.peak_mb,
            "first_losses": c.losses[:5],
            "steps": len(c.seconds),
            "seconds": c.seconds,
        }
        for c in contestants
    }
    return {"rounds": visits, "rejected": rejected, "threads": threads, "contestants": rows}


def table(results: dict[str, Any]) -> str:
    """The results in Markdown. Ratios are rival / ours: above 1, ours is faster."""
    lines = [
        "| shape | contestant | median s | minimum s | ratio of medians | ratio of minima | peak MB | steps |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for shape, result in results.items():
        mine = result["contestants"].get("ours")
        for name, row in result["contestants"].items():
            ratios = (
                [f"{row[key] / mine[key]:.2f}" for key in ("median_s", "min_s")] if mine else ["-", "-"]
            )
            lines.append(
                f"| {shape} | {name} | {row['median_s']:.4f} | {row['min_s']:.4f} | {ratios[0]} | {ratios[1]} | "
                f"{row['peak_mb']:.0f} | {row['steps']} |"
            )
    return "\n".join(lines)


def machine() -> dict[str, Any]:
    """What the figures were measured on."""
    models = [line for line in _read("/proc/cpuinfo").splitlines() if line.startswith("model name")]
    model = models[0].split(":", 1)[1].strip() if models else platform.processor()
    from importlib.metadata import version

    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True)
    return {
        "cpu": model, "cores": os.cpu_count(), "system": platform.system(), "python": platform.python_version(),
        "numpy": np.__version__, "torch": version("torch"), "commit": commit.stdout.strip(),
    }  # fmt: skip


def _read(path: str) -> str:
    try:
        return Path(path).read_text()
    except OSError:
        return ""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--shapes", nargs="+", choices=SHAPES, default=list(SHAPES))
    parser.add_argument("--contestants", nargs="+", choices=CONTESTANTS, default=["ours", "torch"])
    parser.add_argument("--steps", type=int, help="counted steps (default: 60 for laptop, 20 for the others)")
    parser.add_argument("--warm-up", type=int, default=5, help="steps not counted, first")
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="threads of each contestant")
    parser.add_argument("--patience", type=int, default=4, help="give up after this many times the steps")
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks/results/train_step.json")
    parser.add_argument("--work", nargs=3, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.work:
        return work(*args.work)
    results = {
        shape: measure(
            shape, args.contestants, args.steps or SHAPES[shape][3], args.warm_up, args.threads, args.patience
        )
        for shape in args.shapes
    }
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(json.dumps({"machine": machine(), "shapes": results}, indent=1) + "\n")
    print(table(results))


if __name__ == "__main__":
    main()
