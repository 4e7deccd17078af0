"""What the framework itself costs: operations on 4 × 4 matrices, and a model as small as Bengio's network for names.

Nothing here is large enough for the speed of arithmetic to matter: it is the price of checking arguments, choosing
what to run, recording and walking the graph, and updating parameters, beside PyTorch's and beside bare NumPy calls.
Each library is a process of its own with one thread, and they take turns (see turns.py).

    python benchmarks/overhead.py
    python benchmarks/overhead.py --cases add step      # those whose names begin so

The model: 32 contexts of 3 letters, an embedding of 10, 200 hidden units, 27 letters (examples/names_mlp.py). A step is
forward, cross-entropy, backward, update and `zero_grad`; PyTorch's optimizers are fused. Counted is the CPU time of the
thread: the minimum over all samples, since whatever else happens can only make one longer. Prints a table and writes
benchmarks/results/overhead.json.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks import turns  # noqa: E402  # the checkout need not be installed

CONTESTANTS = ("ours", "torch", "numpy")
NO_GRAD, FORWARD, BOTH = "no_grad", "forward", "forward + backward"
OPS: dict[str, tuple[Callable[..., Any], Callable[..., Any]]] = {  # on tensors, and on arrays
    "add": (lambda a, b: a + b, lambda a, b: a + b),
    "mul": (lambda a, b: a * b, lambda a, b: a * b),
    "matmul": (lambda a, b: a @ b, lambda a, b: a @ b),
    "relu": (lambda a, b: a.relu(), lambda a, b: np.maximum(a, 0)),
    "sum": (lambda a, b: a.sum(), lambda a, b: a.sum()),
    "reshape": (lambda a, b: a.reshape(2, 8), lambda a, b: a.reshape(2, 8)),
    "index": (lambda a, b: a[1], lambda a, b: a[1]),
}
BATCH, CONTEXT, EMBEDDING, HIDDEN, LETTERS = 32, 3, 10, 200, 27
STEPS = {"step, SGD": "SGD", "step, AdamW": "AdamW"}
MODEL = "model, forward"
CASES = (*OPS, MODEL, *STEPS)
Calls = dict[str, Callable[[], Any]]  # what to time, by pass


def operation(t: Any, name: str) -> Calls:
    """One operation on 4 × 4 matrices; t is the library, None for NumPy."""
    on_tensors, on_arrays = OPS[name]
    x, y = np.random.default_rng(0).standard_normal((2, 4, 4)).astype(np.float32)
    if t is None:
        return {NO_GRAD: lambda: on_arrays(x, y)}
    a, b = t.tensor(x), t.tensor(y)
    c, d = t.tensor(x, requires_grad=True), t.tensor(y, requires_grad=True)
    seed = t.ones_like(on_tensors(a, b))

    def both() -> None:
        on_tensors(c, d).backward(seed)
        c.grad = d.grad = None

    return {NO_GRAD: lambda: on_tensors(a, b), FORWARD: lambda: on_tensors(c, d), BOTH: both}


def letters() -> tuple[Any, Any]:
    rng = np.random.default_rng(0)
    return rng.integers(0, LETTERS, (BATCH, CONTEXT)), rng.integers(0, LETTERS, BATCH)


def network(t: Any) -> Any:
    return t.nn.Sequential(
        t.nn.Embedding(LETTERS, EMBEDDING), t.nn.Flatten(), t.nn.Linear(CONTEXT * EMBEDDING, HIDDEN), t.nn.Tanh(),
        t.nn.Linear(HIDDEN, LETTERS),
    )  # fmt: skip


def forward(t: Any) -> Calls:
    """The model's forward pass, without recording."""
    contexts, _ = letters()
    if t is not None:
        model, x = network(t), t.tensor(contexts)
        return {NO_GRAD: lambda: model(x)}
    rng = np.random.default_rng(1)
    table, w1, b1, w2, b2 = (
        rng.standard_normal(shape, np.float32)
        for shape in ((LETTERS, EMBEDDING), (CONTEXT * EMBEDDING, HIDDEN), HIDDEN, (HIDDEN, LETTERS), LETTERS)
    )
    return {NO_GRAD: lambda: np.tanh(table[contexts].reshape(BATCH, -1) @ w1 + b1) @ w2 + b2}


def training(t: Any, optimizer_name: str) -> Calls:
    """One training step of the model."""
    if t is None:
        return {}
    model = network(t)
    x, y = (t.tensor(a) for a in letters())
    fused = {"fused": True} if t.__name__ == "torch" else {}
    optimizer = getattr(t.optim, optimizer_name)(model.parameters(), lr=1e-4, **fused)
    cross_entropy = t.nn.functional.cross_entropy

    def step() -> None:
        cross_entropy(model(x), y).backward()
        optimizer.step()
        optimizer.zero_grad()

    return {BOTH: step}


def timed(call: Callable[[], Any], at_least: float) -> list[float]:
    """CPU seconds per call, of some 0.3 ms of calls at a time, as short as the clock allows."""
    call()
    start = time.thread_time()
    call()
    number = max(1, round(3e-4 / max(time.thread_time() - start, 1e-7)))
    found: list[float] = []
    while sum(found) * number < at_least:
        start = time.thread_time()
        for _ in range(number):
            call()
        found.append((time.thread_time() - start) / number)
    return found


def work(name: str) -> None:
    """The life of a contestant's process."""
    t: Any = None
    if name == "torch":
        import torch as t

        t.set_num_threads(1)
    elif name == "ours":
        import tinygrad_edu as t

    def answer(request: dict[str, Any]) -> dict[str, float]:
        case = request["case"]
        calls = operation(t, case) if case in OPS else forward(t) if case == MODEL else training(t, STEPS[case])
        found = {}
        for which, call in calls.items():
            if which == NO_GRAD and t is not None:
                with t.no_grad():
                    found[which] = min(timed(call, request["at_least"]))
            else:
                found[which] = min(timed(call, request["at_least"]))
        return found

    turns.serve(answer)


def measure(case: str, started: list[turns.Contestant], args: Any) -> dict[str, Any]:
    """The least seconds of each pass and contestant, over rounds in turn that other work did not disturb."""
    least: dict[str, dict[str, float]] = {}
    rounds = rejected = 0
    while rounds - rejected < args.rounds and rounds < args.patience * args.rounds:
        with turns.Watch(lambda: sum(c.cpu_seconds() for c in started)) as watch:
            order = started if rounds % 2 == 0 else started[::-1]
            found = {c.name: c.ask({"case": case, "at_least": args.at_least}) for c in order}
        rounds += 1
        if watch.others > args.busy:
            rejected += 1
            continue
        for name, passes in found.items():
            for which, seconds in passes.items():
                of = least.setdefault(which, {})
                of[name] = min(seconds, of.get(name, seconds))
    if not least:
        raise SystemExit(f"{case}: other work used more than {args.busy:.0%} of the machine each time; try later")
    return {"rounds": rounds, "rejected": rejected, "min_s": least}


def tables(entries: dict[str, Any]) -> str:
    """The results in Markdown."""
    rows = []
    for case, entry in entries.items():
        for which in (NO_GRAD, FORWARD, BOTH):
            of = entry["min_s"].get(which)
            if of is None:
                continue
            times = [f"{of[c] * 1e6:.2f}" if c in of else "-" for c in CONTESTANTS]
            beyond = f"{(of['ours'] - of['numpy']) * 1e6:.2f}" if "numpy" in of else "-"
            bare = f"{of['ours'] / of['numpy']:.2f}" if "numpy" in of else "-"
            rows.append([case, which, *times, f"{of['torch'] / of['ours']:.2f}", beyond, bare])
    header = ["case", "pass", "ours, µs", "torch, µs", "NumPy, µs", "torch / ours", "beyond NumPy, µs", "ours / NumPy"]
    return turns.markdown(header, rows)


def main() -> None:
    if sys.argv[1:2] == ["--work"]:
        return work(sys.argv[2])
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--cases", nargs="+", default=[""], metavar="NAME", help="beginnings of names (default: all)")
    parser.add_argument("--rounds", type=int, default=10, help="rounds counted of each case")
    parser.add_argument("--at-least", type=float, default=0.1, help="CPU seconds of a pass in a turn")
    parser.add_argument("--patience", type=int, default=4, help="give up after this many times the rounds")
    args = turns.arguments(parser, {"cases": ["add", "step, SGD"], "rounds": 1, "at_least": 0.005})
    cases = [case for case in CASES if case.startswith(tuple(args.cases))]
    if not cases:
        raise SystemExit(f"no case begins with {' or '.join(args.cases)}; there are: {'; '.join(CASES)}")
    args.threads = 1
    measured_on = turns.machine(args)
    one = dict.fromkeys(turns.THREAD_COUNTS, "1")
    with turns.contestants(turns.Contestant(name, __file__, [name], one) for name in CONTESTANTS) as started:
        for case in cases:
            turns.progress(case)
            entry = measure(case, started, args)
            merged = turns.save(args.results / "overhead.json", CASES, measured_on, {case: entry})
    print(tables({case: merged[case] for case in cases}))


if __name__ == "__main__":
    main()
