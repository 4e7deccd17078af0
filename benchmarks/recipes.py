"""Try a training recipe on the laptop preset's model and note what it cost and brought: the lab book's instrument.

    python benchmarks/recipes.py NAME iters=800 muon_lr=0.02 schedule=linear
    python benchmarks/recipes.py NAME iters=800 --seeds 1 2 3 4 5

Fields and defaults are those of `Recipe` below; the default is nanoGPT's recipe. It trains the PyTorch twin on one
thread, because a loss by steps does not depend on who computes it and the search must not wait for a quiet machine.
Cost is counted in steps of the reference (AdamW, batch 12 x 64): CPU time of the run's own steps over CPU time of
reference steps that are made in between. Every run appends a line to benchmarks/results/recipes.jsonl.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import statistics
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

import numpy as np  # noqa: E402
import torch  # noqa: E402
from torch.nn import functional as F  # noqa: E402

import tinygrad_edu as tg  # noqa: E402
from benchmarks.torch_gpt import TorchGPT  # noqa: E402
from gpt.config import preset  # noqa: E402
from gpt.data import TokenBatches, split_text  # noqa: E402
from gpt.texts import find_text  # noqa: E402
from gpt.tokenizers import make_tokenizer  # noqa: E402
from gpt.trainer import EVALUATION_SEED  # noqa: E402

RESULTS = ROOT / "benchmarks" / "results" / "recipes.jsonl"
TAPE = dict[str, Any]


@dataclass
class Recipe:
    """One way to train; the defaults are nanoGPT's for a laptop."""

    preset: str = "laptop"  # whose model
    dropout: float = -1.0  # below 0: the preset's
    seed: int = 1
    iters: int = 2000
    batch: int = 12
    batch_end: int = 0  # the batch grows from `batch` to this in equal shares of the tokens; 0: it stays
    short: int = 0  # sequence length of the first `short_part` of the steps (same number of tokens a batch); 0: full
    short_part: float = 0.3
    sampling: str = "random"  # windows at random places; "cover": each epoch's windows side by side, shuffled
    lr: float = 1e-3
    embed_lr: float = 0.0  # of the embeddings (and tied head); 0: lr
    warmup: int = 100
    schedule: str = "cosine"  # or linear, wsd (constant, then linear over `decay_part`), sqrt (1 - sqrt)
    decay_part: float = 0.5
    min_lr: float = 0.1  # as a fraction
    beta1: float = 0.9
    beta2: float = 0.99
    weight_decay: float = 0.1
    clip: float = 1.0
    muon_lr: float = 0.0  # 0: AdamW for all
    muon_momentum: float = 0.95
    muon_warm: int = 0  # steps over which the momentum rises from 0.85
    muon_decay: float = 0.0
    muon_steps: int = 5
    muon_adjust: str = "original"
    muon_split: bool = False  # queries, keys and values as matrices of their own
    init: float = 0.02
    embed_init: float = 0.0  # 0: init
    matrix_init: float = 0.0  # 0: init; -1: 1/sqrt(fan in)
    zero_proj: bool = False  # projections into the stream start at zero
    z_loss: float = 0.0
    smooth: float = 0.0  # label smoothing
    ema: float = 0.0
    bf16: bool = False  # matrix products in bfloat16, for scouting the larger shape


def orthogonalized(x: torch.Tensor, steps: int, bf16: bool) -> torch.Tensor:
    """Newton-Schulz of a stack of matrices (n, rows <= columns), by powers of their Gram matrices."""
    a, b, c = 3.4445, -4.7750, 2.0315
    x = x / x.flatten(1).norm(dim=1).clamp(min=1e-7)[:, None, None]
    if bf16:  # without the detour: it is exact enough in float32 only
        x = x.bfloat16()
        for _ in range(steps):
            gram = x @ x.mT
            x = a * x + (b * gram + c * (gram @ gram)) @ x
        return x.float()
    gram = x @ x.mT
    eye = torch.eye(gram.size(-1))
    total: torch.Tensor | None = None
    for step in range(steps):
        p = a * eye + b * gram + c * (gram @ gram)
        total = p if total is None else p @ total
        if step < steps - 1:
            gram = p @ gram @ p
    return x if total is None else total @ x


class GramMuon:
    """Muon of the twin, matrices of one shape stacked."""

    def __init__(self, params: Sequence[torch.Tensor], r: Recipe) -> None:
        self.params, self.r = params, r
        self.buffers = [torch.zeros_like(p) for p in params]

    @torch.no_grad()
    def step(self, lr: float, t: int) -> None:
        r = self.r
        momentum = r.muon_momentum
        if t < r.muon_warm:
            momentum = 0.85 + (momentum - 0.85) * t / r.muon_warm
        stacks: dict[Any, list[tuple[torch.Tensor, torch.Tensor]]] = {}
        for p, buffer in zip(self.params, self.buffers, strict=True):
            assert p.grad is not None
            buffer.lerp_(p.grad, 1 - momentum)
            update = p.grad.lerp(buffer, momentum)
            pieces = 3 if r.muon_split and p.size(0) == 3 * p.size(1) else 1
            for q, u in zip(p.chunk(pieces), update.chunk(pieces), strict=True):
                stacks.setdefault((q.size(0), q.size(1)), []).append((q, u))
        for (rows, columns), pairs in stacks.items():
            u = torch.stack([u.mT if rows > columns else u for _, u in pairs])
            o = orthogonalized(u, r.muon_steps, r.bf16)
            scale = max(1, rows / columns) ** 0.5 if r.muon_adjust == "original" else 0.2 * max(rows, columns) ** 0.5
            for (q, _), oq in zip(pairs, o, strict=True):
                q.mul_(1 - lr * r.muon_decay).add_(oq.mT if rows > columns else oq, alpha=-lr * scale)


def schedule(r: Recipe, t: float) -> float:
    """The factor of the learning rates at update t (the first is 0) of r.iters."""
    if t < r.warmup:
        return (t + 1) / (r.warmup + 1)
    done = (t - r.warmup) / (r.iters - r.warmup)
    if r.schedule == "cosine":
        f = 0.5 * (1 + math.cos(math.pi * done))
    elif r.schedule == "linear":
        f = 1 - done
    else:
        rest = min(1.0, (1 - t / r.iters) / r.decay_part)
        f = rest if r.schedule == "wsd" else 1 - math.sqrt(1 - rest)
    return r.min_lr + (1 - r.min_lr) * f


class Places:
    """Where the windows of each batch begin."""

    def __init__(self, n: int, sampling: str, seed: int) -> None:
        self.n, self.sampling, self.rng = n, sampling, np.random.default_rng(seed)
        self.left, self.length = np.empty(0, np.int64), 0

    def __call__(self, batch: int, length: int) -> np.ndarray:
        if self.sampling == "random":
            return self.rng.integers(0, self.n - length, batch)
        if length != self.length:
            self.left, self.length = np.empty(0, np.int64), length
        while len(self.left) < batch:
            starts = np.arange(self.rng.integers(length), self.n - length, length)
            self.left = np.concatenate([self.left, self.rng.permutation(starts)])
        taken, self.left = self.left[:batch], self.left[batch:]
        return taken


def make_model(r: Recipe) -> TorchGPT:
    config = preset(r.preset).model
    model = TorchGPT(config if r.dropout < 0 else replace(config, dropout=r.dropout))
    with torch.no_grad():
        for name, p in model.named_parameters():
            if p.dim() < 2:
                continue
            projection = name.endswith("c_proj.weight")
            if name.startswith("w"):
                std = r.embed_init or r.init
            else:
                std = (1 / math.sqrt(p.size(1)) if r.matrix_init < 0 else r.matrix_init) or r.init
            if projection:
                std = 0.0 if r.zero_proj else std / math.sqrt(2 * config.n_layer)
            p.normal_(0.0, std)
    return model


def parts(r: Recipe, T: int) -> Iterator[tuple[int, int]]:
    """Batch size and length of each step."""
    for t in range(r.iters):
        batch, length = r.batch, T
        if r.batch_end:
            batch = round(r.batch + (r.batch_end - r.batch) * t / r.iters)
        if r.short and t < r.short_part * r.iters:
            batch, length = batch * T // r.short, r.short
        yield batch, length


def run(r: Recipe, evaluate_at: list[int]) -> TAPE:
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    torch.manual_seed(r.seed)
    text = "".join(find_text("shakespeare"))
    tokenizer = make_tokenizer("char", text)
    train, val = (np.array(tokenizer.encode(part)) for part in split_text(text))
    base = preset(r.preset)
    T = base.model.block_size
    model = make_model(r)
    hidden = [p for name, p in model.named_parameters() if p.dim() == 2 and name.startswith("h.")] if r.muon_lr else []
    embeddings = [p for name, p in model.named_parameters() if name.startswith("w")]
    known = {id(p) for p in hidden + embeddings}
    groups = [
        {"params": embeddings, "weight_decay": r.weight_decay, "scale": r.embed_lr / r.lr if r.embed_lr else 1.0},
        {"params": [p for p in model.parameters() if id(p) not in known and p.dim() == 2],
         "weight_decay": r.weight_decay, "scale": 1.0},
        {"params": [p for p in model.parameters() if p.dim() < 2], "weight_decay": 0.0, "scale": 1.0},
    ]  # fmt: skip
    adam = torch.optim.AdamW([g for g in groups if g["params"]], lr=r.lr, betas=(r.beta1, r.beta2), fused=True)
    muon = GramMuon(hidden, r) if hidden else None
    ema = [p.detach().clone() for p in model.parameters()] if r.ema else []

    generator = tg.Generator().manual_seed(EVALUATION_SEED)
    batches = TokenBatches(val, 12, T, generator=generator)
    held_out = [tuple(torch.from_numpy(t.numpy()) for t in next(batches)) for _ in range(200 * 64 // T)]
    precision = torch.autocast("cpu", torch.bfloat16, enabled=r.bf16)

    @torch.no_grad()
    def evaluate() -> float:
        model.eval()
        with precision:
            loss = sum(model(x, y)[1].item() for x, y in held_out) / len(held_out)
        model.train()
        return loss

    reference = TorchGPT(preset("laptop").model)
    reference_adam = reference.configure_optimizers(0.1, 1e-3, (0.9, 0.99), fused=True)

    def reference_step() -> float:
        start = time.process_time()
        x = torch.from_numpy(train[: 12 * 64].reshape(12, 64))
        reference(x, x)[1].backward()
        torch.nn.utils.clip_grad_norm_(reference.parameters(), 1.0)
        reference_adam.step()
        reference_adam.zero_grad()
        return time.process_time() - start

    places, window = Places(len(train), r.sampling, r.seed + 1), np.arange(T + 1)
    seconds, reference_seconds, tokens, curve = [], [], 0, {}
    for t, (batch, length) in enumerate(parts(r, T)):
        start = time.process_time()
        f = schedule(r, t)
        for group in adam.param_groups:
            group["lr"] = r.lr * f * group["scale"]
        ids = torch.from_numpy(train[places(batch, length)[:, None] + window[: length + 1]])
        with precision:
            logits, loss = model(ids[:, :-1], ids[:, 1:].contiguous())
        if r.smooth:
            loss = F.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten(), label_smoothing=r.smooth)
        if r.z_loss:
            loss = loss + r.z_loss * logits.logsumexp(-1).square().mean()
        loss.backward()
        if r.clip:
            torch.nn.utils.clip_grad_norm_(model.parameters(), r.clip)
        adam.step()
        if muon:
            muon.step(r.muon_lr * f, t)
        adam.zero_grad()
        for p in hidden:
            p.grad = None
        if r.ema and t >= r.iters // 2:
            with torch.no_grad():
                for e, p in zip(ema, model.parameters(), strict=True):
                    e.lerp_(p, 1 - r.ema if t > r.iters // 2 else 1.0)
        seconds.append(time.process_time() - start)
        tokens += batch * length
        if t % 25 == 24:
            reference_seconds.append(reference_step())
        if t + 1 in evaluate_at:
            curve[t + 1] = round(evaluate(), 4)
    result: TAPE = {"val": round(evaluate(), 4), "curve": curve}
    if r.ema:
        with torch.no_grad():
            for e, p in zip(ema, model.parameters(), strict=True):
                p.copy_(e)
        result["val_ema"] = round(evaluate(), 4)
    step_cost = statistics.median(seconds) / statistics.median(reference_seconds)
    if r.batch_end or r.short:
        step_cost = statistics.mean(seconds) / statistics.mean(reference_seconds)
    result |= {"cost_per_step": round(step_cost, 3), "cost": round(step_cost * r.iters), "tokens": tokens,
               "reference_ms": round(1e3 * statistics.median(reference_seconds), 1)}  # fmt: skip
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("name", help="what the lab book calls it")
    parser.add_argument("settings", nargs="*", help="field=value")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1])
    parser.add_argument("--evaluate-at", type=int, nargs="*", default=[])
    parser.add_argument("--out", type=Path, default=RESULTS)
    args = parser.parse_args()
    kinds: dict[str, Any] = {f.name: type(f.default) for f in fields(Recipe)}
    chosen = {}
    for setting in args.settings:
        key, _, value = setting.partition("=")
        if key not in kinds:
            raise SystemExit(f"there is no field {key!r}; expected some of {', '.join(kinds)}")
        chosen[key] = value == "True" if kinds[key] is bool else kinds[key](value)
    for seed in args.seeds:
        recipe = Recipe(**{**chosen, "seed": seed})
        result = run(recipe, args.evaluate_at)
        changed = {k: v for k, v in asdict(recipe).items() if v != getattr(Recipe(), k)}
        line = json.dumps({"name": args.name, "recipe": changed, **result})
        with open(args.out, "a") as file:
            file.write(line + "\n")
        print(line, flush=True)


if __name__ == "__main__":
    main()
