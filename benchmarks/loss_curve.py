"""The loss curve of the laptop preset, ours and a PyTorch twin's from the same initial weights and batches.

    python benchmarks/loss_curve.py

Trains both to the end, one after the other, and writes docs/loss-curve.md, docs/loss-curve.csv and docs/loss-curve.png.
The twin is the model of torch_gpt.py in a plain loop with PyTorch's own AdamW and clipping.
"""

from __future__ import annotations

import argparse
import csv
import json
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

import safetensors.numpy  # noqa: E402  # the checkout need not be installed

from gpt.config import preset  # noqa: E402
from gpt.trainer import Trainer  # noqa: E402

STEPS_TO_COINCIDE, TOLERANCE = 100, 1e-4
REFERENCE = {500: 2.309, 1000: 2.078, 1500: 1.977, 2000: 1.921}  # nanoGPT's own program and seed, in PyTorch
LIMIT = 1.93
BATCHES = 200  # of an evaluation: the preset's own take fewer, but for the last


def start(folder: str, iterations: int) -> Trainer:
    """The run, at its beginning; its weights, tokens and batches follow from the preset's seed."""
    config = preset("laptop")
    return Trainer.start(replace(
        config, out_dir=folder, max_iters=iterations, lr_decay_iters=config.max_iters, eval_iters=BATCHES,
        final_eval_iters=None,
    ))  # fmt: skip


def ours(trainer: Trainer) -> dict[str, Any]:
    """Training losses by step and validation losses by evaluated step."""
    train, val = [], {0: trainer.evaluate().val}
    for step in trainer:
        train.append(step.loss)
        if step.evaluation:
            val[step.number] = step.evaluation.val
    return {"train": train, "val": val}


def torchs(trainer: Trainer, weights: str) -> dict[str, Any]:
    """The same in PyTorch; of the trainer only the configuration and the batches are used."""
    import safetensors.torch
    import torch

    from benchmarks.torch_gpt import TorchGPT

    config = trainer.config
    model = TorchGPT(config.model)
    model.load_state_dict(safetensors.torch.load_file(weights), strict=False)  # the tied head is stored once
    optimizer = model.configure_optimizers(config.weight_decay, config.learning_rate, (config.beta1, config.beta2))

    def loss_of(batch: Any) -> Any:
        x, y = (torch.from_numpy(t.numpy()) for t in batch)
        return model(x, y)[1]

    @torch.no_grad()
    def evaluate() -> float:
        return sum(loss_of(batch).item() for batch in trainer.evaluation_batches("val")) / BATCHES

    train, val = [], {0: evaluate()}
    for step in range(config.max_iters):
        for group in optimizer.param_groups:
            group["lr"] = config.learning_rate_at(step)
        optimizer.zero_grad()
        loss = loss_of(next(trainer.batches))
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), config.grad_clip)
        optimizer.step()
        train.append(loss.item())
        if (step + 1) % config.eval_interval == 0 or step + 1 == config.max_iters:
            val[step + 1] = evaluate()
    return {"train": train, "val": val}


def work(who: str, folder: str, iterations: int) -> None:
    """Train one of the two and print its losses as JSON."""
    trainer, weights = start(folder, iterations), str(Path(folder) / "initial.safetensors")
    if who == "ours":
        initial = {name: p.detach().numpy() for name, p in trainer.model.named_parameters()}
        safetensors.numpy.save_file(initial, weights)
    print(json.dumps(ours(trainer) if who == "ours" else torchs(trainer, weights)))


def report(a: dict[str, Any], b: dict[str, Any], docs: Path) -> None:
    """Write the table, the plot and the page; SystemExit if the curves do not coincide or the loss is too high."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    n = len(a["train"])
    differences = [abs(x - y) for x, y in zip(a["train"], b["train"], strict=True)]
    early = max(differences[:STEPS_TO_COINCIDE])
    with open(docs / "loss-curve.csv", "w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["step", "train_loss", "train_loss_torch", "val_loss", "val_loss_torch"])
        for step in range(n + 1):
            train = ["", ""] if step == 0 else [f"{c['train'][step - 1]:.6f}" for c in (a, b)]
            val = [f"{c['val'][str(step)]:.6f}" for c in (a, b)] if str(step) in a["val"] else ["", ""]
            rows.writerow([step, *train, *val])

    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
    steps = [int(s) for s in a["val"]]
    left.plot(range(1, n + 1), a["train"], lw=0.5, alpha=0.5, label="training batch, tinygrad_edu")
    left.plot(steps, list(a["val"].values()), "o-", label="validation, tinygrad_edu")
    left.plot(steps, list(b["val"].values()), "x--", label="validation, PyTorch twin")
    left.plot(list(REFERENCE), list(REFERENCE.values()), "s", mfc="none", label="validation, nanoGPT's program")
    left.set(xlabel="step", ylabel="loss (nats per character)")
    left.legend()
    right.semilogy(range(1, n + 1), [max(d, 1e-9) for d in differences], lw=0.7)
    right.axhline(TOLERANCE, ls=":", color="k")
    right.axvline(STEPS_TO_COINCIDE, ls=":", color="k")
    right.set(xlabel="step", ylabel="difference of the training losses from the twin's")
    figure.savefig(docs / "loss-curve.png", dpi=110)

    table = "\n".join(
        f"| {s} | {a['val'][str(s)]:.4f} | {b['val'][str(s)]:.4f} | {REFERENCE.get(s, '')} |" for s in steps
    )
    (docs / "loss-curve.md").write_text(
        f"""# The loss curve of the laptop preset

`python benchmarks/loss_curve.py` trains the preset and a PyTorch twin (`benchmarks/torch_gpt.py` in a plain loop) from
the same initial weights on the same batches, and writes this page. Validation is over {BATCHES}
batches. The last column is what nanoGPT's own program reached in PyTorch with its default seed.

| step | validation loss, ours | PyTorch twin | nanoGPT |
| --- | --- | --- | --- |
{table}

Over the first {STEPS_TO_COINCIDE} steps the training losses differ by at most {early:.1e} (allowed: {TOLERANCE:.0e}).
Later rounding grows, as it does between any two orders of summation: {max(differences):.1e} at most over {n:,} steps.
All losses are in [loss-curve.csv](loss-curve.csv).

![Left: losses by step. Right: difference of the training losses between the two.](loss-curve.png)
"""
    )
    print(table)
    if early > TOLERANCE:
        raise SystemExit(f"the curves differ by {early:.1e} within {STEPS_TO_COINCIDE} steps, allowed {TOLERANCE:.0e}")
    if n >= preset("laptop").max_iters and a["val"][str(n)] > LIMIT:
        raise SystemExit(f"validation loss {a['val'][str(n)]:.4f} at step {n}, expected at most {LIMIT}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--iterations", type=int, default=preset("laptop").max_iters)
    parser.add_argument("--docs", type=Path, default=ROOT / "docs", help="folder to write to")
    parser.add_argument("--work", nargs=2, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.work:
        return work(*args.work, args.iterations)
    curves = []
    with tempfile.TemporaryDirectory() as folder:
        for who in ("ours", "torch"):
            command = [sys.executable, __file__, "--iterations", str(args.iterations), "--work", who, folder]
            print(f"training {who}", file=sys.stderr)
            done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
            curves.append(json.loads(done.stdout.splitlines()[-1]))
    report(curves[0], curves[1], args.docs)


if __name__ == "__main__":
    main()
