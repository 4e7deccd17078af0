"""The ledger of activations: every array of a forward pass, what it should weigh and what it weighs in our run.

The names, formulas and order are those of llm.c's `ActivationTensors` (Karpathy 2024, train_gpt2.c), a GPT-2 that keeps
every activation. Ours keeps fewer: attention goes in tiles, so that `preatt` and `att` never exist, and the gradient of
the logits takes their place, so that there are no `probs`.

Axes: L blocks, B sequences, T tokens, C channels, NH heads, V tokens in the vocabulary.
"""

from __future__ import annotations

import math
import re
from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import tinygrad_edu as tg
from tinygrad_edu import inspect

from .config import GPTConfig

if TYPE_CHECKING:
    from tinygrad_edu.inspect.record import OpRecord

    from .model import GPT

# Name, axes (with factors), what it is.
ACTIVATIONS = (
    ("encoded", "B T C", "token and position embeddings, added"),
    ("ln1", "L B T C", "first layer norm of each block"),
    ("ln1_mean", "L B T", "the means that it subtracts"),
    ("ln1_rstd", "L B T", "1 / the standard deviations that it divides by"),
    ("qkv", "L B T 3C", "queries, keys and values"),
    ("atty", "L B T C", "what attention gathers, heads joined"),
    ("preatt", "L B NH T T", "scores of attention"),
    ("att", "L B NH T T", "softmax of the scores"),
    ("attproj", "L B T C", "projection of atty"),
    ("residual2", "L B T C", "the stream after attention"),
    ("ln2", "L B T C", "second layer norm"),
    ("ln2_mean", "L B T", "its means"),
    ("ln2_rstd", "L B T", "its 1 / standard deviations"),
    ("fch", "L B T 4C", "the widened stream of the MLP"),
    ("fch_gelu", "L B T 4C", "its GELU"),
    ("fcproj", "L B T C", "projection back"),
    ("residual3", "L B T C", "the stream after the block"),
    ("lnf", "B T C", "last layer norm"),
    ("lnf_mean", "B T", "its means"),
    ("lnf_rstd", "B T", "its 1 / standard deviations"),
    ("logits", "B T V", "scores of the next token"),
    ("probs", "B T V", "softmax of the logits"),
    ("losses", "B T", "cross-entropy of each token"),
)
# Where our run makes each: operation, and module path with the block's number as *. The second addition of a block is
# residual3. Arrays that an operation keeps beside its output are named in `_KEPT`.
_MADE = {
    ("add", ""): "encoded", ("layer_norm", "h.*.ln_1"): "ln1", ("linear", "h.*.attn.c_attn"): "qkv",
    ("scaled_dot_product_attention", "h.*.attn"): "atty", ("linear", "h.*.attn.c_proj"): "attproj",
    ("add", "h.*"): "residual2", ("layer_norm", "h.*.ln_2"): "ln2", ("linear", "h.*.mlp.c_fc"): "fch",
    ("gelu_tanh", "h.*.mlp.gelu"): "fch_gelu", ("linear", "h.*.mlp.c_proj"): "fcproj", ("layer_norm", "ln_f"): "lnf",
    ("linear", "lm_head"): "logits", ("cross_entropy", ""): "losses",
}  # fmt: skip
_KEPT = {"ln1": ("ln1_mean", "ln1_rstd"), "ln2": ("ln2_mean", "ln2_rstd"), "lnf": ("lnf_mean", "lnf_rstd")}


@dataclass
class Row:
    """One activation; a block's counts for all blocks together. Steps are forward operations, then backward ones."""

    name: str
    axes: str
    """The formula of its size: the product of these."""
    meaning: str
    shape: tuple[int, ...]
    """As in llm.c; () of what only our run has."""
    predicted: int
    """Bytes in float32 by the formula."""
    measured: int = 0
    """Bytes of the arrays that our run made; 0 of what it never makes."""
    saved_by: str = ""
    """The operations whose backward needs it."""
    lives: list[tuple[int, int, int]] = field(default_factory=list)
    """(born, freed, bytes) of each array."""

    @property
    def elements(self) -> int:
        """Number of elements by the formula."""
        return self.predicted // 4

    @property
    def born(self) -> int | None:
        """The step that makes the first array."""
        return min((born for born, _, _ in self.lives), default=None)

    @property
    def freed(self) -> int | None:
        """The step after which the last array is gone."""
        return max((freed for _, freed, _ in self.lives), default=None)


@dataclass
class Ledger:
    """The rows of `ACTIVATIONS`, then what only our run has; `print(ledger)`, `ledger.plot("ledger.png")`."""

    config: GPTConfig
    batch_size: int
    block_size: int
    rows: list[Row]
    forward_steps: int
    """How many of the steps are forward."""
    steps: int

    @property
    def elements(self) -> int:
        """Activations in all, by the formulas."""
        return sum(row.elements for row in self.rows)

    @property
    def predicted(self) -> int:
        """Bytes by the formulas."""
        return sum(row.predicted for row in self.rows)

    def alive(self) -> list[int]:
        """Bytes of activations alive after each step of our run."""
        change = [0] * (self.steps + 1)
        for row in self.rows:
            for born, freed, size in row.lives:
                change[born] += size
                change[freed] -= size
        total, found = 0, []
        for by in change[:-1]:
            total += by
            found.append(total)
        return found

    @property
    def peak(self) -> tuple[int, int]:
        """(step, bytes) where most is alive."""
        alive = self.alive()
        most = max(alive, default=0)
        return (alive.index(most) if alive else 0), most

    def __str__(self) -> str:
        c, (step, most) = self.config, self.peak
        where = f"forward step {step}" if step < self.forward_steps else f"backward step {step - self.forward_steps}"
        lines = [
            f"Activations of a GPT: L={c.n_layer} B={self.batch_size} T={self.block_size} C={c.n_embd} "
            f"NH={c.n_head} V={c.vocab_size}",
            f"{'':<10} {'size':<11} {'shape':<18} {'predicted':>10} {'measured':>10}  saved for",
        ]
        for row in self.rows:
            shape = ",".join(map(str, row.shape))
            sizes = f"{_bytes(row.predicted):>10} {_bytes(row.measured):>10}"
            lines.append(f"{row.name:<10.10} {row.axes:<11} {shape:<18} {sizes}  {row.saved_by:.16}")
        lines += [
            f"{'all':<41} {_bytes(self.predicted):>10} {_bytes(sum(r.measured for r in self.rows)):>10}",
            f"{self.elements:,} activations by the formulas; most alive in our run: {_bytes(most)}, after {where}.",
            "",
            *self._chart(),
        ]
        return "\n".join(line.rstrip() for line in lines)

    def _chart(self, width: int = 64) -> list[str]:
        """When each is alive: forward to the left of the bar, backward to its right; ^ marks the peak."""
        place = lambda step: min(width - 1, step * width // max(1, self.steps))  # noqa: E731
        turn = place(self.forward_steps)
        lines = [f"{'':<10} {'forward':<{turn}}|{'backward':<{width - turn - 1}}"]
        for row in self.rows:
            cells = [" "] * width
            for born, freed, _ in row.lives:
                for i in range(place(born), place(max(born, freed - 1)) + 1):
                    cells[i] = "="
            if cells[turn] == " ":
                cells[turn] = "|"
            lines.append(f"{row.name:<10.10} {''.join(cells)}")
        lines.append(f"{'peak':<10} {' ' * place(self.peak[0])}^ {_bytes(self.peak[1])}")
        return lines

    def plot(self, path: Any) -> None:
        """Draw the lives and the sum of what is alive, with the peak marked, to a PNG or SVG. Needs matplotlib."""
        from matplotlib.figure import Figure

        figure = Figure(figsize=(9, 8), layout="constrained")
        lives, total = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
        for i, row in enumerate(self.rows):
            spans = [(born, max(1, freed - born)) for born, freed, _ in row.lives]
            lives.broken_barh(spans, (i - 0.4, 0.8), color="#31688e")
        lives.set_yticks(range(len(self.rows)), [row.name for row in self.rows], fontsize=8)
        lives.invert_yaxis()
        lives.set_title("When each activation is alive", loc="left")
        alive = [size / 1e6 for size in self.alive()]
        step, most = self.peak
        total.fill_between(range(len(alive)), alive, step="post", color="#31688e", alpha=0.6)
        total.annotate(
            f"peak {most / 1e6:,.1f} MB", (step, most / 1e6), xytext=(8, -4), textcoords="offset points", va="top"
        )
        total.set_ylabel("MB alive")
        total.set_xlabel("step: forward operations, then backward")
        for axes in (lives, total):
            axes.axvline(self.forward_steps, color="black", linewidth=0.8)
            axes.spines[["top", "right"]].set_visible(False)
            axes.set_xlim(0, self.steps)
        figure.savefig(path, dpi=120)


def ledger(
    config: GPTConfig, batch_size: int = 4, block_size: int | None = None, *, model: GPT | None = None
) -> Ledger:
    """The ledger of one forward and backward pass on batch_size sequences of block_size tokens.

    Runs the pass on random tokens, with `model` or a new one of this shape. ValueError: sizes that are no positive
    integers, longer than the model reads, or a model of another shape.
    """
    from .model import GPT

    T = config.block_size if block_size is None else block_size
    for name, value in ("batch_size", batch_size), ("block_size", T):
        if not isinstance(value, int) or value < 1:
            raise ValueError(f"ledger: {name} must be a positive integer, got {value!r}")
    if T > config.block_size:
        raise ValueError(f"ledger: the model reads at most {config.block_size} tokens, got block_size={T}")
    if model is not None and model.config != config:
        raise ValueError(f"ledger: the model's shape is {model.config}, not {config}")
    generator = tg.Generator().manual_seed(0)
    model = GPT(config, generator) if model is None else model
    x, y = (tg.randint(config.vocab_size, (batch_size, T), generator=generator) for _ in range(2))
    kept = [p.grad for p in model.parameters()]
    with inspect.trace(values="none") as trace:
        loss = model(x, y)[1]
        assert loss is not None
        loss.backward()
        del loss
    for p, grad in zip(model.parameters(), kept, strict=True):
        p.grad = grad
    rows = predicted_rows(config, batch_size, T)
    _measure(rows, trace)
    return Ledger(config, batch_size, T, rows, len(trace.ops), len(trace.ops) + len(trace.backward))


def predicted_rows(config: GPTConfig, B: int, T: int) -> list[Row]:
    """The rows by their formulas alone."""
    size = {"L": config.n_layer, "B": B, "T": T, "C": config.n_embd, "NH": config.n_head, "V": config.vocab_size}
    size |= {"3C": 3 * config.n_embd, "4C": 4 * config.n_embd}
    rows = []
    for name, axes, meaning in ACTIVATIONS:
        shape = tuple(size[axis] for axis in axes.split())
        rows.append(Row(name, axes, meaning, shape, 4 * math.prod(shape)))
    return rows


def _measure(rows: list[Row], trace: inspect.Trace) -> None:
    """Enter every array of a trace into its row, or into a row of its own at the end."""
    by_name = {row.name: row for row in rows}
    ops, n = trace.ops, len(trace.ops)
    backward_of = {step.op: n + i for i, step in enumerate(trace.backward) if step.op is not None}
    owner = _owners(ops)
    last_use: dict[int, int] = defaultdict(int)  # of each array, the last forward operation that reads it
    savers: dict[int, list[OpRecord]] = defaultdict(list)
    for op in ops:
        for given in op.inputs:
            if given.op is not None:
                last_use[owner[given.op]] = op.id
        for saved in op.saved:
            if saved.op is not None and op not in savers[owner[saved.op]]:
                savers[owner[saved.op]].append(op)

    def enter(name: str, meaning: str, born: int, freed: int, size: int, saved_by: list[OpRecord]) -> None:
        row = by_name.get(name)
        if row is None:
            row = by_name[name] = Row(name, "", meaning, (), 0)
            rows.append(row)
        row.measured += size
        row.lives.append((born, freed, size))
        row.saved_by = ", ".join(dict.fromkeys([*filter(None, row.saved_by.split(", ")), *(s.name for s in saved_by)]))

    blocks_seen: set[str] = set()
    for op in ops:
        name = _name(op, blocks_seen)
        if op.bytes:
            freed = [last_use[op.id] + 1, *(backward_of.get(s.id, n) + 1 for s in savers[op.id])]
            enter(name or op.name, "", op.id, max(freed), op.bytes, savers[op.id])
        own = [s for s in op.saved if s.op is None and s.parameter is None and s.held]
        names = iter(_KEPT.get(name or "", ()) if len(own) == 2 else ())
        for saved in own:
            enter(next(names, f"{op.name}*"), "", op.id, backward_of.get(op.id, n) + 1, saved.held, [op])


def _owners(ops: list[OpRecord]) -> list[int]:
    """For each operation the one whose memory its output shows: itself, unless it is a view."""
    owner: list[int] = []
    for op in ops:
        first = op.inputs[0].op if op.inputs else None
        owner.append(owner[first] if op.view and first is not None else op.id)
    return owner


def _name(op: OpRecord, blocks_seen: set[str]) -> str | None:
    """llm.c's name of what this operation makes, if it has one."""
    name = _MADE.get((op.name, re.sub(r"^h\.\d+", "h.*", op.path)))
    if name == "residual2" and op.path in blocks_seen:
        return "residual3"
    if name == "residual2":
        blocks_seen.add(op.path)
    return name


def _bytes(n: int) -> str:
    """Bytes for people, in powers of 1,000."""
    for unit, size in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if n >= size:
            return f"{n / size:.1f} {unit}"
    return f"{n} B" if n else "-"
