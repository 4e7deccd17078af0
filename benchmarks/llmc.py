"""Time of a training step of llm.c's CPU program, the other anchor at GPT-2's 124M: batch 4 × 64, float32, OpenMP.

    git clone https://github.com/karpathy/llm.c
    python benchmarks/llmc.py llm.c

Compiles train_gpt2.c as its makefile does (cc -Ofast -march=native -fopenmp) in a temporary folder, gives it random
weights and tokens in its file formats, and stops it after some steps. The program has no clipping; apart from that a
step does what one of the shape gpt2 of train_step.py does. Writes benchmarks/results/llmc.json.

Source of the formats: gpt2_build_from_checkpoint in train_gpt2.c; dataloader_load_shard_ in llmc/dataloader.h.
"""

from __future__ import annotations

import argparse
import contextlib
import math
import os
import re
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks import turns  # noqa: E402  # the checkout need not be installed
from benchmarks.train_step import GPT2  # noqa: E402
from gpt.config import GPTConfig  # noqa: E402

ENTRY, BAR = "gpt2", 4.0
BESIDE = ("train_step",)  # the results whose entries `tables` compares with
COMPILE = ["cc", "-Ofast", "-march=native", "-fopenmp", "-DOMP"]
MODEL_MAGIC, MODEL_VERSION, DATA_MAGIC, DATA_VERSION, HEADER = 20240326, 3, 20240520, 1, 256
PADDING = 128  # the vocabulary is padded to a multiple of this
STEP = re.compile(r"step \d+: train loss (\S+) \(took (\S+) ms\)")


def header(*values: int) -> bytes:
    """The 256 integers at the start of a file."""
    return np.array([*values, *[0] * (HEADER - len(values))], np.int32).tobytes()


def write_weights(path: Path, config: GPTConfig) -> None:
    """Matrices and embeddings from N(0, 0.02²), gains 1, biases 0, each kind for all layers together."""
    C, L, V = config.n_embd, config.n_layer, -(-config.vocab_size // PADDING) * PADDING
    draw = np.random.default_rng(0)

    def table(*shape: int) -> Any:
        return draw.standard_normal(math.prod(shape), np.float32) * np.float32(0.02)

    def norm(layers: int) -> list[Any]:
        return [np.ones(layers * C, np.float32), np.zeros(layers * C, np.float32)]

    def linear(inputs: int, outputs: int) -> list[Any]:
        return [table(L, outputs, inputs), np.zeros(L * outputs, np.float32)]

    parts = [table(V, C), table(config.block_size, C), *norm(L), *linear(C, 3 * C), *linear(C, C), *norm(L)]
    parts += [*linear(C, 4 * C), *linear(4 * C, C), *norm(1)]
    with open(path, "wb") as file:
        file.write(header(MODEL_MAGIC, MODEL_VERSION, config.block_size, config.vocab_size, L, config.n_head, C, V))
        for part in parts:
            file.write(part.tobytes())


def write_tokens(path: Path, count: int, vocab_size: int) -> None:
    """Random tokens, 16 bits each."""
    path.parent.mkdir(parents=True, exist_ok=True)
    tokens = np.random.default_rng(0).integers(0, vocab_size, count).astype(np.uint16)
    path.write_bytes(header(DATA_MAGIC, DATA_VERSION, count) + tokens.tobytes())


def build(checkout: Path, folder: Path) -> Path:
    """Compile the program. SystemExit: it is not there, or the compiler fails."""
    source = checkout / "train_gpt2.c"
    if not source.exists():
        raise SystemExit(f"{source} does not exist; give the folder of a checkout of https://github.com/karpathy/llm.c")
    program = folder / "train_gpt2"
    done = subprocess.run([*COMPILE, str(source), "-o", str(program), "-lm", "-lgomp"], capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{' '.join(COMPILE)} {source} failed:\n{done.stderr}")
    return program


def lines(program: Path, folder: Path) -> Iterator[tuple[str, float]]:
    """What the program prints, as it does so, with the share of the machine that other work used since the line before.

    The program is ended when no more is wanted.
    """
    ours, its = os.openpty()  # to a terminal it prints each line at once
    process = subprocess.Popen([str(program)], cwd=folder, stdout=its)
    os.close(its)
    try:
        with open(ours, errors="replace") as output, contextlib.suppress(OSError):  # a terminal's end is an error
            while True:
                with turns.Watch(lambda: turns.cpu_seconds(process.pid)) as watch:
                    line = output.readline()
                yield line, watch.others
    finally:
        process.kill()
        process.wait()


def measure(checkout: Path, args: Any) -> dict[str, Any]:
    """The entry. The first step warms up; steps that other work disturbed are not counted."""
    seconds: list[float] = []
    losses: list[float] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        program = build(checkout, folder)
        write_weights(folder / "gpt2_124M.bin", GPT2)
        for split in ("train", "val"):
            write_tokens(folder / f"dev/data/tinyshakespeare/tiny_shakespeare_{split}.bin", 30_000, GPT2.vocab_size)
        for line, others in lines(program, folder):
            if found := STEP.match(line):
                losses.append(float(found[1]))
                if len(losses) > 1 and others <= args.busy:
                    seconds.append(float(found[2]) / 1000)
                turns.progress(f"{len(seconds)}/{args.steps} of {len(losses) - 1} steps counted")
                if len(seconds) == args.steps:
                    break
    turns.progress("")
    if not seconds:
        raise SystemExit(f"llm.c made {len(losses)} steps, and other work disturbed all that count; try later")
    row = {"median_s": statistics.median(seconds), "min_s": min(seconds), "steps": len(seconds), "seconds": seconds}
    return {"rejected": len(losses) - 1 - len(seconds), "command": " ".join(COMPILE), "losses": losses, **row}


def tables(entries: dict[str, Any], train_step: dict[str, Any]) -> str:
    """The result in Markdown, beside our time in the entries of train_step.json where there is one."""
    rows = []
    for name, row in entries.items():
        mine = train_step.get(name, {}).get("contestants", {}).get("ours")
        ratios = [f"{row[key] / mine[key]:.2f}" if mine else "-" for key in ("median_s", "min_s")]
        times = [turns.seconds_text(row[key]) for key in ("median_s", "min_s")]
        rows.append([name, *times, *ratios, f"{BAR:.2f}", str(row["steps"])])
    header = ["shape", "llm.c's step, median", "minimum", "/ ours, medians", "minima", "bar", "steps"]
    return turns.markdown(header, rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("checkout", type=Path, help="the folder of llm.c")
    parser.add_argument("--steps", type=int, default=10, help="counted steps, at most 40")
    args = turns.arguments(parser, {"steps": 1})
    entry = measure(args.checkout, args)
    merged = turns.save(args.results / "llmc.json", [ENTRY], turns.machine(args), {ENTRY: entry})
    print(tables(merged, turns.load(args.results / "train_step.json")))


if __name__ == "__main__":
    main()
