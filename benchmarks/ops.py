"""Time of single operations, forward and forward with backward: ours, our readable code, PyTorch's and bare NumPy.

Each library is a process of its own, and they take turns (see turns.py). A case is written once, for tinygrad_edu and
PyTorch alike, and their values and gradients are compared before they are timed.

    python benchmarks/ops.py                          # all cases
    python benchmarks/ops.py --cases gelu softmax     # those whose names begin so

Rates count what an operation must do at the least, the same for all contestants: the multiplications and additions of
its matrix products (attention as dense; backward has twice the forward's), or, where memory is the limit, the bytes of
its inputs and output (with backward also of their gradients), moved once. They are compared with what the machine
reaches in the same round: a product of two 1024 × 1024 matrices by NumPy, or a stream triad a = b + s c by PyTorch over
as many bytes, which stay in the caches as those of the operation do. Prints a table and writes
benchmarks/results/ops.json.
"""

from __future__ import annotations

import argparse
import gc
import math
import os
import statistics
import sys
import time
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks import turns  # noqa: E402  # the checkout need not be installed
from benchmarks.train_step import SHAPES  # noqa: E402
from gpt.config import GPTConfig  # noqa: E402

CONTESTANTS = {
    "ours": {},
    "reference": {"TINYGRAD_EDU_KERNELS": "reference"},
    "torch": {},
    "numpy": {},
}
FORWARD, BOTH = "forward", "forward + backward"
TRIAD, SGEMM, LIMIT = "triad", "sgemm", "limit"


@dataclass(frozen=True)
class Ids:
    """Integers below `high`, as an input."""

    high: int
    shape: tuple[int, ...]


Shape = tuple[int, ...]
# What is called, and the tensors whose gradients backward computes; none: there is no backward.
Built = tuple[Callable[[], Any], list[Any]]


@dataclass(frozen=True)
class Case:
    """An operation on inputs of these shapes.

    make(t, *tensors) builds it with t, which is tinygrad_edu or torch; bare(*arrays) is the same in NumPy alone.
    """

    name: str
    inputs: tuple[Shape | Ids, ...]
    make: Callable[..., Built]
    bare: Callable[..., Any] | None = None
    flop: float = 0.0  # of the forward pass; 0: memory is the limit
    moved: tuple[float, float] | None = None  # bytes, forward and with backward, where they are not the usual ones
    random: bool = False

    def work(self, output_bytes: int) -> dict[str, float]:
        """FLOP or bytes of each pass."""
        if self.flop:
            return {FORWARD: self.flop, BOTH: 3 * self.flop}
        if self.moved:
            return dict(zip((FORWARD, BOTH), self.moved, strict=True))
        sizes = [(math.prod(s.shape) * 8, 0) if isinstance(s, Ids) else (math.prod(s) * 4,) * 2 for s in self.inputs]
        inputs, gradients = (sum(column) for column in zip(*sizes, strict=True))
        return {FORWARD: inputs + output_bytes, BOTH: inputs + gradients + 2 * output_bytes}


def plain(call: Callable[..., Any]) -> Callable[..., Built]:
    """The `make` of a function call(t, *tensors)."""

    def make(t: Any, *tensors: Any) -> Built:
        leaves = [x for x in tensors if x.dtype == t.float32]
        return lambda: call(t, *tensors), leaves

    return make


def lstm(t: Any, x: Any, *weights: Any) -> Built:
    module = t.nn.LSTM(x.shape[-1], weights[1].shape[-1])
    with t.no_grad():
        for p, w in zip(module.parameters(), weights, strict=True):
            p.copy_(w * 0.1)  # weights of size 1 would make it chaotic, and the values not comparable
    return lambda: module(x)[0], [x, *module.parameters()]


def adamw(t: Any, *weights: Any) -> Built:
    """One step over parameters whose gradients are their own first values."""
    parameters = [t.nn.Parameter(w.detach().clone()) for w in weights]
    for p in parameters:
        p.grad = p.detach().clone()
    optimizer = t.optim.AdamW(parameters, lr=1e-3, betas=(0.9, 0.99), weight_decay=0.1, fused=True)

    def step() -> Any:
        optimizer.step()
        return parameters[0]

    return step, []


def clip(t: Any, *weights: Any) -> Built:
    parameters = [t.nn.Parameter(w.detach().clone()) for w in weights]
    for p in parameters:
        p.grad = p.detach().clone()
    return lambda: t.nn.utils.clip_grad_norm_(parameters, 1.0), []


def bare_layer_norm(x: Any, w: Any, b: Any) -> Any:
    centred = x - x.mean(-1, keepdims=True)
    return centred / np.sqrt((centred * centred).mean(-1, keepdims=True) + np.float32(1e-5)) * w + b


def bare_gelu_tanh(x: Any) -> Any:
    return np.float32(0.5) * x * (1 + np.tanh(np.float32(0.7978845608) * (x + np.float32(0.044715) * x * x * x)))


def bare_softmax(x: Any) -> Any:
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def bare_attention(q: Any, k: Any, v: Any) -> Any:
    T, D = q.shape[-2:]
    scores = q @ k.swapaxes(-1, -2) * np.float32(1 / math.sqrt(D))
    return bare_softmax(np.where(np.tri(T, dtype=bool), scores, np.float32(-np.inf))) @ v


def bare_cross_entropy(x: Any, y: Any) -> Any:
    top = x.max(-1)
    log_sum = top + np.log(np.exp(x - top[:, None]).sum(-1))
    return (log_sum - x[np.arange(len(y)), y]).mean()


def bare_clip(*gradients: Any) -> Any:
    norm = math.sqrt(sum(float(np.vdot(g, g)) for g in gradients))
    for g in gradients:
        g *= np.float32(min(1.0, 1.0 / (norm + 1e-6)))
    return np.float32(norm)


def named(name: str, *shapes: Shape) -> str:
    return f"{name} {', '.join(' × '.join(map(str, shape)) for shape in shapes)}"


def product(name: str, M: int, K: int, N: int) -> Case:
    def make(t: Any, x: Any, w: Any) -> Built:
        return lambda: x @ w, [x, w]

    return Case(named(name, (M, K), (K, N)), ((M, K), (K, N)), make, lambda x, w: x @ w, flop=2 * M * K * N)


def linear(M: int, K: int, N: int) -> Case:
    return Case(
        named("linear", (M, K), (K, N)), ((M, K), (N, K), (N,)), plain(lambda t, *a: t.nn.functional.linear(*a)),
        lambda x, w, b: x @ w.T + b, flop=2 * M * K * N,
    )  # fmt: skip


def attention(B: int, heads: int, T: int, D: int) -> Case:
    def call(t: Any, *qkv: Any) -> Any:
        return t.nn.functional.scaled_dot_product_attention(*qkv, is_causal=True)

    shape = (B, heads, T, D)
    return Case(named("causal attention", shape), (shape,) * 3, plain(call), bare_attention, 4 * B * heads * T * T * D)


def layer_norm(M: int, C: int) -> Case:
    def call(t: Any, x: Any, w: Any, b: Any) -> Any:
        return t.nn.functional.layer_norm(x, (C,), w, b)

    return Case(named("layer_norm", (M, C)), ((M, C), (C,), (C,)), plain(call), bare_layer_norm)


def cross_entropy(M: int, V: int) -> Case:
    call = plain(lambda t, x, y: t.nn.functional.cross_entropy(x, y))
    return Case(named("cross_entropy", (M, V)), ((M, V), Ids(V, (M,))), call, bare_cross_entropy)


def embedding(B: int, T: int, V: int, C: int) -> Case:
    """Forward reads and writes B T rows; backward reads as many and writes a gradient of the whole table."""
    rows, table = 4 * B * T * C, 4 * V * C
    return Case(
        named("embedding", (B, T), (V, C)), (Ids(V, (B, T)), (V, C)),
        plain(lambda t, i, w: t.nn.functional.embedding(i, w)), lambda i, w: w[i], moved=(2 * rows, 3 * rows + table),
    )  # fmt: skip


def unary(name: str, shape: Shape, call: Any, bare: Callable[..., Any] | None = None, random: bool = False) -> Case:
    return Case(named(name, shape), (shape,), plain(call), bare, random=random)


def conv2d(B: int, C: int, S: int, K: int) -> Case:
    call = plain(lambda t, x, w: t.nn.functional.conv2d(x, w, padding=1))
    shapes = ((B, C, S, S), (K, C, 3, 3))
    return Case(named("conv2d", *shapes), shapes, call, flop=2 * B * K * S * S * C * 9)


def recurrent(T: int, B: int, C: int) -> Case:
    shapes = ((T, B, C), (4 * C, C), (4 * C, C), (4 * C,), (4 * C,))
    return Case(named("lstm", (T, B, C)), shapes, lstm, flop=2 * T * B * 4 * C * 2 * C)


def parameters(config: GPTConfig) -> tuple[Shape, ...]:
    """Shapes of a GPT's parameters, without biases."""
    C = config.n_embd
    block = ((C,), (3 * C, C), (C, C), (C,), (4 * C, C), (C, 4 * C))
    return ((config.vocab_size, C), (config.block_size, C), *(block * config.n_layer), (C,))


def update(name: str, of: str, make: Callable[..., Built], arrays: int, bare: Callable[..., Any] | None = None) -> Case:
    """A pass over the parameters of a GPT that moves so many arrays of their size."""
    shapes = parameters(SHAPES[of].config)
    count = sum(math.prod(s) for s in shapes)
    moved = float(4 * arrays * count)
    return Case(f"{name} {count / 1e6:.1f}M parameters", shapes, make, bare, moved=(moved, moved))


CASES = [
    product("matmul", 768, 128, 512),
    product("matmul", 2048, 384, 1536),
    product("matmul", 256, 768, 50257),
    product("matmul", 1024, 1024, 1024),
    linear(768, 128, 512),
    linear(2048, 384, 1536),
    linear(256, 768, 3072),
    attention(12, 4, 64, 32),
    attention(8, 6, 256, 64),
    attention(4, 12, 64, 64),
    attention(1, 12, 1024, 64),
    layer_norm(768, 128),
    layer_norm(2048, 384),
    layer_norm(256, 768),
    *(unary("gelu", s, lambda t, x: t.nn.functional.gelu(x)) for s in ((768, 512), (2048, 1536), (256, 3072))),
    *(
        unary("gelu_tanh", s, lambda t, x: t.nn.functional.gelu(x, approximate="tanh"), bare_gelu_tanh)
        for s in ((768, 512), (2048, 1536), (256, 3072))
    ),
    *(unary("softmax", s, lambda t, x: t.softmax(x, -1), bare_softmax) for s in ((3072, 64), (12288, 256))),
    cross_entropy(768, 65),
    cross_entropy(2048, 65),
    cross_entropy(256, 50257),
    embedding(12, 64, 65, 128),
    embedding(4, 64, 50257, 768),
    unary(
        "dropout 0.1", (2048, 384), lambda t, x: t.nn.functional.dropout(x, 0.1),
        lambda x: x * (np.random.random(x.shape) >= 0.1) * np.float32(1 / 0.9), random=True,
    ),
    *(
        Case(named(name, shape, shape), (shape, shape), plain(lambda t, a, b, call=call: call(a, b)), call)
        for name, call in (("add", lambda a, b: a + b), ("mul", lambda a, b: a * b))
        for shape in ((768, 128), (2048, 384))
    ),
    unary("exp", (2048, 384), lambda t, x: t.exp(x), np.exp),
    unary("sum", (2048, 384), lambda t, x: x.sum(), np.sum),
    unary("sum dim=0", (2048, 384), lambda t, x: x.sum(0), lambda x: x.sum(0)),
    unary("mean dim=-1", (2048, 384), lambda t, x: x.mean(-1), lambda x: x.mean(-1)),
    unary("max dim=-1", (2048, 384), lambda t, x: x.max(-1)[0], lambda x: x.max(-1)),
    conv2d(16, 16, 32, 32),
    recurrent(64, 16, 128),
    update("AdamW step", "laptop", adamw, 7),
    update("AdamW step", "full", adamw, 7),
    update("clip_grad_norm_", "full", clip, 3, bare_clip),
]  # fmt: skip
BY_NAME = {case.name: case for case in CASES}


def draw(case: Case) -> list[Any]:
    """The input arrays, the same in every process."""
    random = np.random.default_rng(zlib.crc32(case.name.encode()))
    return [
        random.integers(0, s.high, s.shape) if isinstance(s, Ids) else random.standard_normal(s, np.float32)
        for s in case.inputs
    ]


def checksum(arrays: list[Any]) -> float:
    """A number that tells whether two results agree: a sum with random signs, over the length of both vectors."""
    total = length = 0.0
    for array in arrays:
        flat = np.asarray(array, np.float64).ravel()
        total += float(flat @ np.random.default_rng(flat.size).choice([-1.0, 1.0], flat.size))
        length += float(flat @ flat)
    return total / math.sqrt(length) if length else 0.0


def with_library(t: Any, case: Case) -> dict[str, Callable[[], Any]]:
    """The passes of a case with tinygrad_edu or torch, and what their results are compared by."""
    arrays = draw(case)
    tensors = [t.from_numpy(a).requires_grad_(a.dtype.kind == "f") for a in arrays]
    call, leaves = case.make(t, *tensors)

    def forward() -> Any:
        with t.no_grad():
            return call()

    first = forward().detach().numpy()
    check = {"output": checksum([first]), "output_bytes": first.nbytes}
    if not leaves:
        return {FORWARD: forward, "check": lambda: check}
    gy = t.from_numpy(np.random.default_rng(1).standard_normal(first.shape, np.float32))

    def both() -> None:
        for leaf in leaves:
            leaf.grad = None
        call().backward(gy)

    both()
    check["gradients"] = checksum([leaf.grad.numpy() for leaf in leaves])
    return {FORWARD: forward, BOTH: both, "check": lambda: check}


def with_numpy(case: Case) -> dict[str, Callable[[], Any]]:
    """The same with NumPy alone, and the rate of its products."""
    square = [np.random.default_rng(0).standard_normal((1024, 1024), np.float32) for _ in range(3)]
    passes: dict[str, Callable[[], Any]] = {SGEMM: lambda: np.matmul(square[0], square[1], out=square[2])}
    if case.bare is not None:
        bare, arrays = case.bare, draw(case)
        first = np.asarray(bare(*arrays))
        passes |= {FORWARD: lambda: bare(*arrays), "check": lambda: {"output": checksum([first])}}
    return passes


def triad(t: Any, moved: float) -> Callable[[], Any]:
    """a = b + s c, moving so many bytes."""
    a, b, c = (t.ones(max(1, round(moved / 12))) for _ in range(3))
    return lambda: t.add(b, c, alpha=3.0, out=a)


def timed(call: Callable[[], Any], at_least: float) -> list[float]:
    """Seconds per call; calls too short for the clock are timed by the dozen."""
    call()
    start = time.perf_counter()
    call()
    number = max(1, math.ceil(2e-4 / (time.perf_counter() - start)))
    seconds: list[float] = []
    total = 0.0
    while total < at_least:
        start = time.perf_counter()
        for _ in range(number):
            call()
        elapsed = time.perf_counter() - start
        total += elapsed
        seconds.append(elapsed / number)
    return seconds


def work(name: str) -> None:
    """The life of a contestant's process."""
    t: Any = None
    if name == "torch":
        import torch as t

        t.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    elif name != "numpy":
        import tinygrad_edu as t

    held: tuple[str, dict[str, Callable[[], Any]]] = ("", {})

    def answer(request: dict[str, Any]) -> Any:
        nonlocal held
        if held[0] != request["case"]:
            case, held = BY_NAME[request["case"]], ("", {})
            gc.collect()
            held = (case.name, with_numpy(case) if t is None else with_library(t, case))
        passes, which = held[1], request["pass"]
        if which == "check":
            return passes["check"]() if "check" in passes else None
        if which.startswith(TRIAD) and which not in passes:
            passes[which] = triad(t, request["bytes"])
        return timed(passes[which], request["at_least"]) if which in passes else None

    turns.serve(answer)


def measure(case: Case, libraries: dict[str, turns.Contestant], args: Any) -> dict[str, Any]:
    """The entry of a case: each pass of each library, in turn, round after round."""
    checks = {name: c.ask({"case": case.name, "pass": "check"}) for name, c in libraries.items()}
    agree(case, checks)
    amount = case.work(checks["ours"]["output_bytes"])
    passes = [p for p in (FORWARD, BOTH) if p == FORWARD or "gradients" in checks["ours"]]
    everyone = list(libraries.values())
    counted: dict[str, dict[str, list[float]]] = {which: {} for which in passes}  # by pass and contestant
    rounds = rejected = 0
    while rounds - rejected < args.rounds and rounds < args.patience * args.rounds:
        found = []
        with turns.Watch(lambda: sum(c.cpu_seconds() for c in everyone)) as watch:
            for c in everyone if rounds % 2 == 0 else everyone[::-1]:
                time.sleep(0.1)  # the threads of the one before have stopped spinning by then
                for which in passes:
                    request = {"case": case.name, "at_least": args.at_least}
                    found.append((which, c.name, c.ask({**request, "pass": which})))
                    if case.flop and c.name == "numpy":
                        found.append((which, LIMIT, c.ask({**request, "pass": SGEMM})))
                    elif not case.flop and c.name == "torch":
                        triad = {"pass": f"{TRIAD} {which}", "bytes": amount[which]}
                        found.append((which, LIMIT, c.ask({**request, **triad})))
        rounds += 1
        if watch.others > args.busy:
            rejected += 1
            continue
        for which, name, seconds in found:
            if seconds is not None:
                counted[which].setdefault(name, []).extend(seconds)
    if rounds == rejected:
        raise SystemExit(f"{case.name}: other work used more than {args.busy:.0%} of the machine each time; try later")
    entry: dict[str, Any] = {"unit": "GFLOP/s" if case.flop else "GB/s", "rounds": rounds, "rejected": rejected}
    for which, of in counted.items():
        limit = (2 * 1024**3 if case.flop else amount[which]) / statistics.median(of.pop(LIMIT))
        rows = {
            name: {"median_s": statistics.median(seconds), "min_s": min(seconds), "samples": len(seconds)}
            for name, seconds in of.items()
        }
        entry[which] = {"work": amount[which] / 1e9, "limit": limit / 1e9, "contestants": rows}
    return entry


def agree(case: Case, checks: dict[str, Any]) -> None:
    """SystemExit: two libraries did not compute the same."""
    for name, check in checks.items():
        for what, value in (check or {}).items():
            if not case.random and not math.isclose(value, checks["torch"][what], rel_tol=1e-3, abs_tol=1e-3):
                raise SystemExit(
                    f"{case.name}: checksum {value} of {name}'s {what}, {checks['torch'][what]} of torch's"
                )


def ratio(of_pass: dict[str, Any]) -> float:
    """torch's time over ours: above 1, ours is faster."""
    return of_pass["contestants"]["torch"]["median_s"] / of_pass["contestants"]["ours"]["median_s"]


def tables(entries: dict[str, Any]) -> str:
    """The results in Markdown, medians."""
    rows = []
    for name, entry in entries.items():
        for which in (FORWARD, BOTH):
            if which not in entry:
                continue
            found = entry[which]["contestants"]
            times = [turns.seconds_text(found[c]["median_s"]) if c in found else "-" for c in CONTESTANTS]
            rate = entry[which]["work"] / found["ours"]["median_s"]
            rows.append(
                [name, which if BOTH in entry else "-", *times, f"{ratio(entry[which]):.2f}",
                 f"{rate:.1f} {entry['unit']}", f"{rate / entry[which]['limit']:.0%}"]
            )  # fmt: skip
    header = ["operation", "pass", "ours", "ours, reference", "torch", "NumPy", "torch / ours", "our rate", "of limit"]
    return turns.markdown(header, rows)


def plot(entries: dict[str, Any], figure: Any) -> None:
    """Points of torch's time over ours."""
    figure.set_size_inches(8, 1.2 + 0.22 * len(entries))
    axes = figure.subplots()
    names = list(entries)[::-1]
    for which, marker, colour, above in ((FORWARD, "o", "#1b6ca8", 4), (BOTH, "D", "#c1440e", -9)):
        points = [(ratio(entries[name][which]), i) for i, name in enumerate(names) if which in entries[name]]
        axes.plot(*zip(*points, strict=True), marker, color=colour, ms=5, label=which)
        for value, i in points:
            text = axes.annotate(f"{value:.2g}", (value, i), (0, above), textcoords="offset points", ha="center")
            text.set(fontsize=6, color=colour)
    axes.axvline(1, color="black", lw=0.8)
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter("{x:g}")
    axes.set_ylim(-1, len(names))
    axes.set_yticks(range(len(names)), names, fontsize=8)
    axes.set_xlabel("torch's time over ours (right of 1: ours is faster)")
    axes.grid(axis="y", lw=0.3)
    figure.legend(loc="outside upper center", ncols=2, frameon=False)
    axes.spines[["top", "right"]].set_visible(False)


def main() -> None:
    if sys.argv[1:2] == ["--work"]:
        return work(sys.argv[2])
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--cases", nargs="+", default=[""], metavar="NAME", help="beginnings of names (default: all)")
    parser.add_argument("--rounds", type=int, default=5, help="rounds counted of each case")
    parser.add_argument("--at-least", type=float, default=0.1, help="seconds of a turn")
    parser.add_argument("--patience", type=int, default=4, help="give up after this many times the rounds")
    quick = {"cases": ["linear 768", "gelu_tanh 768", "cross_entropy 768", "AdamW step 0.8M"],
             "rounds": 1, "at_least": 0.01}  # fmt: skip
    args = turns.arguments(parser, quick)
    cases = [case for case in CASES if case.name.startswith(tuple(args.cases))]
    if not cases:
        raise SystemExit(f"no case begins with {' or '.join(args.cases)}; there are: {'; '.join(BY_NAME)}")
    measured_on = turns.machine(args)
    with turns.contestants(turns.Contestant(n, __file__, [n], env) for n, env in CONTESTANTS.items()) as started:
        libraries = {c.name: c for c in started}
        for case in cases:
            turns.progress(case.name)
            entry = measure(case, libraries, args)
            merged = turns.save(args.results / "ops.json", BY_NAME, measured_on, {case.name: entry})
    print(tables({case.name: merged[case.name] for case in cases}))


if __name__ == "__main__":
    main()
