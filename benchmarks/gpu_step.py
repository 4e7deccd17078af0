"""Time of one training step of GPT on a GPU, ours beside PyTorch's, eager and compiled: same weights, same batch.

    python benchmarks/gpu_step.py                               # all sizes, float32, TF32 and bfloat16
    python benchmarks/gpu_step.py --sizes 124M --precisions tf32 --steps 50
    python benchmarks/gpu_step.py --quick                       # a toy, to see that it works, on an emulated GPU too

A step is forward, backward, clipping to norm 1 and AdamW. Every contestant is a process of its own, one after the
other. Prints tokens per second, the step's operations over those of one large product by cuBLAS in the same precision,
and the peak memory of arrays. In bfloat16 products are, as `autocast` has it, and weights stay float32.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks import turns  # noqa: E402  # the checkout need not be installed
from benchmarks.train_step import BETAS, LEARNING_RATE, WEIGHT_DECAY, Shape, batch, gflop  # noqa: E402
from gpt.config import GPTConfig  # noqa: E402

SIZES = {
    "toy": Shape(GPTConfig(16, 65, 1, 2, 32), 2, 16, 2, 1, 1, 1.0),
    "10.7M": Shape(GPTConfig(256, 65, 6, 6, 384, bias=False), 64, 256, 50, 5, 1, 1.0),
    "124M": Shape(GPTConfig.named("gpt2"), 8, 1024, 20, 5, 1, 1.0),
    "355M": Shape(GPTConfig.named("gpt2-medium"), 4, 1024, 20, 5, 1, 1.0),
}
TOLERANCES = {"float32": 1e-4, "tf32": 1e-2, "bfloat16": 1e-2}  # of the losses of two contestants
CONTESTANTS = ("ours", "torch", "torch-compile")


def ours(shape: Shape, precision: str) -> tuple[Callable[[], Any], Any]:
    """A training step with tinygrad_edu that returns the loss, and `tinygrad_edu.cuda`."""
    import tinygrad_edu as tg
    from gpt.model import GPT

    tg.backends.cuda.matmul.allow_tf32 = precision == "tf32"
    tg.manual_seed(0)
    model = GPT(shape.config).to("cuda")
    optimizer = model.configure_optimizers(WEIGHT_DECAY, LEARNING_RATE, BETAS)
    given = [tg.from_numpy(a).to("cuda") for a in batch(shape, 0)]
    narrow = tg.autocast("cuda", dtype=tg.bfloat16, enabled=precision == "bfloat16")
    return partial(step, model, narrow, tg.nn.utils.clip_grad_norm_, optimizer, given), tg.cuda


def torchs(shape: Shape, precision: str, compiled: bool) -> tuple[Callable[[], Any], Any]:
    """The same with PyTorch, from our initial weights, and `torch.cuda`."""
    import torch

    import tinygrad_edu as tg
    from benchmarks.torch_gpt import TorchGPT
    from gpt.model import GPT

    torch.backends.cuda.matmul.allow_tf32 = precision == "tf32"
    tg.manual_seed(0)
    weights = {name: torch.from_numpy(p.detach().numpy()) for name, p in GPT(shape.config).named_parameters()}
    model = TorchGPT(shape.config)
    model.load_state_dict(weights, strict=False)  # the tied head is stored once
    model.to("cuda")
    optimizer = model.configure_optimizers(WEIGHT_DECAY, LEARNING_RATE, BETAS, fused=True)
    run: Any = torch.compile(model) if compiled else model
    given = [torch.from_numpy(a).to("cuda") for a in batch(shape, 0)]
    narrow = torch.autocast("cuda", dtype=torch.bfloat16, enabled=precision == "bfloat16")
    return partial(step, run, narrow, torch.nn.utils.clip_grad_norm_, optimizer, given), torch.cuda


def step(model: Any, narrow: Any, clip: Callable[..., Any], optimizer: Any, given: list[Any]) -> Any:
    """One training step of either; the loss."""
    with narrow:
        loss = model(*given)[1]
    loss.backward()
    clip(model.parameters(), 1.0)
    optimizer.step()
    optimizer.zero_grad()
    return loss


def work(name: str, size: str, precision: str, steps: int) -> dict[str, float]:
    """What a contestant's process finds: seconds of a step, peak bytes, and the loss of the last step that warms up."""
    shape = SIZES[size]
    train, cuda = ours(shape, precision) if name == "ours" else torchs(shape, precision, "compile" in name)
    for _ in range(shape.warm_up):
        loss = train().item()
    cuda.synchronize()
    cuda.reset_peak_memory_stats()
    start = time.perf_counter()
    for _ in range(steps):
        train()
    cuda.synchronize()
    seconds = (time.perf_counter() - start) / steps
    return {"seconds": seconds, "bytes": cuda.max_memory_allocated(), "loss": loss}


def product(n: int, precision: str) -> dict[str, float]:
    """Operations per second of a product of two (n, n) matrices, the best of five."""
    import tinygrad_edu as tg

    tg.backends.cuda.matmul.allow_tf32 = precision == "tf32"
    dtype = tg.bfloat16 if precision == "bfloat16" else tg.float32
    a, b = (tg.rand(n, n, dtype=dtype, device="cuda") for _ in range(2))
    times = []
    for _ in range(6):
        start = time.perf_counter()
        a @ b
        tg.cuda.synchronize()
        times.append(time.perf_counter() - start)
    return {"rate": 2 * n**3 / min(times[1:])}


def apart(*args: str) -> dict[str, float]:
    """What this program finds in a process of its own. SystemExit: it failed."""
    command = [sys.executable, __file__, "--work", *args]
    run = subprocess.run(command, stdout=subprocess.PIPE, text=True)
    if run.returncode:
        raise SystemExit(f"{' '.join(args)} failed; the reason is above")
    found: dict[str, float] = json.loads(run.stdout.splitlines()[-1])
    return found


def torch_missing() -> str | None:
    """Why PyTorch takes no part; None: it can."""
    if importlib.util.find_spec("torch") is None:
        return "it is not installed"
    import torch

    return None if torch.cuda.is_available() else f"PyTorch {torch.__version__} finds no GPU that it can use"


def measure(size: str, precision: str, names: list[str], steps: int, largest: int) -> list[list[str]]:
    """The rows of the table. SystemExit: two contestants do not train the same model."""
    shape, rows, losses = SIZES[size], [], []
    rate = apart("product", str(largest), precision)["rate"]
    for name in names:
        turns.progress(f"{size}, {precision}: {name}")
        found = apart(name, size, precision, str(steps))
        losses.append(found["loss"])
        if abs(losses[-1] - losses[0]) > TOLERANCES[precision] * abs(losses[0]):
            raise SystemExit(f"{size}, {precision}: loss {losses[-1]} of {name}, {losses[0]} of {names[0]}")
        done = 1e9 * sum(gflop(shape).values()) / found["seconds"]
        tokens = shape.B * shape.T / found["seconds"]
        rows.append([size, precision, name, f"{1000 * found['seconds']:.1f}", f"{tokens:,.0f}", f"{done / rate:.0%}",
                     f"{found['bytes'] / 1e6:,.1f}"])  # fmt: skip
    turns.progress("")
    return rows


def main() -> None:
    if sys.argv[1:2] == ["--work"]:
        name, of, precision, *steps = sys.argv[2:]
        found = product(int(of), precision) if name == "product" else work(name, of, precision, int(steps[0]))
        print(json.dumps(found))
        return
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--sizes", nargs="+", choices=SIZES, default=[size for size in SIZES if size != "toy"])
    parser.add_argument("--precisions", nargs="+", choices=TOLERANCES, default=list(TOLERANCES))
    parser.add_argument("--steps", type=int, help="counted steps (default: 50 for 10.7M, 20 for the others)")
    parser.add_argument("--quick", action="store_true", help="a toy, to see that it works; times mean nothing")
    args = parser.parse_args()
    if args.quick:
        args.sizes, args.precisions = ["toy"], ["float32", "bfloat16"]
    from tinygrad_edu.backend import gpu

    try:
        gpu.cupy()
    except RuntimeError as error:
        raise SystemExit(f"nothing was measured: {error}") from None
    missing = torch_missing()
    if missing:
        turns.say(f"PyTorch is left out: {missing}")
    names = ["ours"] if missing else list(CONTESTANTS)
    rows = []
    for size in args.sizes:
        for precision in args.precisions:
            steps = args.steps or SIZES[size].steps
            rows += measure(size, precision, names, steps, 64 if args.quick else 8192)
    header = ["model", "precision", "contestant", "ms", "tokens/s", "of cuBLAS's rate", "peak MB"]
    print(turns.markdown(header, rows))


if __name__ == "__main__":
    main()
