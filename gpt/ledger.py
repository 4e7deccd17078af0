"""The ledger of activations: every array of a forward pass, what it should weigh and what it weighs in our run.

The names, formulas and order are those of llm.c's `ActivationTensors` (Karpathy 2024, train_gpt2.c), a GPT-2 that keeps
every activation. Ours keeps fewer: attention goes in tiles, so that `preatt` and `att` never exist, and the gradient of
the logits takes their place, so that there are no `probs`. The readable ops, `use_kernels("reference")`, keep more, and
so does dropout; what llm.c has no name for follows in rows of `OURS`.

Axes: L blocks, B sequences, T tokens, C channels, NH heads, V tokens in the vocabulary.
"""

from __future__ import annotations

import html
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
# What only our run has, and what it is.
OURS = {
    "checks": "smallest and largest id, to refuse others",
    "wte": "token embeddings, before they are added",
    "wpe": "position embeddings",
    "dropped": "the embeddings after dropout",
    "attdrop": "attproj after dropout",
    "fcdrop": "fcproj after dropout",
    "masks": "dropout's masks: 0, or 1 / (1 - p)",
    "ln_hat": "normalised inputs, which the readable layer norm keeps in place of the means",
    "q_scaled": "queries, scaled",
    "att_sums": "what divides the rows of att: 1 / sums, or largest scores and sums",
    "atty_copy": "atty, its heads put side by side in memory",
    "fch_gate": "y / x of GELU",
    "loss_sums": "what turns logits into the loss: sums, largest logits, targets",
    "loss": "the mean of the losses",
}
# Where our run makes each: operation, and module path with the block's number as *. The second addition of a block is
# residual3.
_MADE = {
    ("add", ""): "encoded", ("layer_norm", "h.*.ln_1"): "ln1", ("linear", "h.*.attn.c_attn"): "qkv",
    ("scaled_dot_product_attention", "h.*.attn"): "atty", ("linear", "h.*.attn.c_proj"): "attproj",
    ("add", "h.*"): "residual2", ("layer_norm", "h.*.ln_2"): "ln2", ("linear", "h.*.mlp.c_fc"): "fch",
    ("gelu_tanh", "h.*.mlp.gelu"): "fch_gelu", ("linear", "h.*.mlp.c_proj"): "fcproj", ("layer_norm", "ln_f"): "lnf",
    ("linear", "lm_head"): "logits", ("cross_entropy", ""): "losses", ("amin", ""): "checks", ("amax", ""): "checks",
    ("embedding", "wte"): "wte", ("embedding", "wpe"): "wpe", ("dropout", "drop"): "dropped",
    ("dropout", "h.*.attn.resid_dropout"): "attdrop", ("dropout", "h.*.mlp.dropout"): "fcdrop",
    ("reshape", "h.*.attn"): "atty_copy", ("mean", ""): "loss",
}  # fmt: skip
# What layer norms keep beside their outputs.
_NORMS = {"ln1": ("ln1_mean", "ln1_rstd"), "ln2": ("ln2_mean", "ln2_rstd"), "lnf": ("lnf_mean", "lnf_rstd")}


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

    @property
    def measured(self) -> int:
        """Bytes of all arrays that our run made."""
        return sum(row.measured for row in self.rows)

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
            f"{'':<10} {'size':<10} {'shape':<18} {'predicted':>10} {'measured':>10} {'born':>6} {'freed':>6}",
        ]
        for row in self.rows:
            shape, (born, freed) = ",".join(map(str, row.shape)), _when(row)
            sizes = f"{_bytes(row.predicted):>10} {_bytes(row.measured):>10} {born:>6} {freed:>6}"
            lines.append(f"{row.name:<10.10} {row.axes:<10} {shape:<18} {sizes}")
        lines += [
            f"{'all':<40} {_bytes(self.predicted):>10} {_bytes(self.measured):>10}",
            f"{self.elements:,} activations by the formulas.",
            f"Most alive in our run: {_bytes(most)}, after {where}.",
            "",
            *self._chart(),
        ]
        return "\n".join(line.rstrip() for line in lines)

    def _chart(self, width: int = 46) -> list[str]:
        """When each is alive: forward to the left of the bar, backward to its right; ^ marks the peak."""
        place = lambda step: min(width - 1, step * width // max(1, self.steps))  # noqa: E731
        turn = place(self.forward_steps)
        lines = [f"{'':<10} {'forward':<{turn}}|{'backward':<{width - turn - 1}} kept for"]
        for row in self.rows:
            cells = [" "] * width
            for born, freed, _ in row.lives:
                for i in range(place(born), place(max(born, freed - 1)) + 1):
                    cells[i] = "="
            if cells[turn] == " ":
                cells[turn] = "|"
            lines.append(f"{row.name:<10.10} {''.join(cells)} {_short(row.saved_by):.22}")
        lines.append(f"{'peak':<10} {' ' * place(self.peak[0])}^ {_bytes(self.peak[1])}")
        return lines

    def _repr_html_(self) -> str:
        """The rows as a table with their lives as bars, for notebooks."""
        c, (step, most), n = self.config, self.peak, max(1, self.steps)
        head = ("", "size", "shape", "predicted", "measured", "born", "freed", "kept for", "forward | backward")
        rows = []
        for row in self.rows:
            bars = "".join(
                f'<rect x="{200 * born / n:.2f}" width="{max(0.5, 200 * (freed - born) / n):.2f}" height="10"/>'
                for born, freed, _ in row.lives
            )
            marks = "".join(
                f'<path d="M{200 * at / n:.2f} 0v10" stroke="{color}"/>'
                for at, color in ((self.forward_steps, "gray"), (step, "red"))
            )
            chart = f'<svg width="200" height="10" fill="#31688e" aria-hidden="true">{bars}{marks}</svg>'
            shape = ", ".join(map(str, row.shape))
            cells = (
                row.axes, shape, _bytes(row.predicted), _bytes(row.measured), *_when(row), _short(row.saved_by), chart,
            )  # fmt: skip
            name = f'<th scope="row" title="{html.escape(row.meaning)}">{html.escape(row.name)}</th>'
            rows.append(f"<tr>{name}{''.join(f'<td>{x}</td>' for x in cells)}</tr>")
        top = "".join(f'<th scope="col">{x}</th>' for x in head)
        return (
            f"<table><caption>Activations of a GPT: L={c.n_layer} B={self.batch_size} T={self.block_size} C={c.n_embd} "
            f"NH={c.n_head} V={c.vocab_size}: {self.elements:,} by the formulas; most alive in our run: {_bytes(most)} "
            f"(red)</caption><tr>{top}</tr>{''.join(rows)}</table>"
        )

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
        total.plot(step, most / 1e6, "o", color="#31688e")
        total.annotate(
            f"peak {most / 1e6:,.1f} MB", (step, most / 1e6), xytext=(-10, 0), textcoords="offset points", ha="right"
        )
        total.set_ylim(0, 1.15 * most / 1e6)
        total.set_ylabel("MB alive")
        total.set_xlabel("step: forward operations, then backward")
        above = lives.get_xaxis_transform()
        lives.text(self.forward_steps, 1, "backward from here ", transform=above, ha="right", va="top", fontsize=8)
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
    device = next(model.parameters()).device
    x, y = (tg.randint(config.vocab_size, (batch_size, T), generator=generator).to(device) for _ in range(2))
    state, kept = tg.get_rng_state(), [(p, p.grad) for p in model.parameters()]
    model.zero_grad()  # backward adds to what it finds, in place
    try:
        with inspect.trace(values="none") as trace:
            loss = model(x, y)[1]
            assert loss is not None
            loss.backward()
            del loss
    finally:
        tg.set_rng_state(state)
        for p, grad in kept:
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
    end = len(trace.ops) + len(trace.backward)
    savers: dict[int, list[OpRecord]] = defaultdict(list)  # of each operation's output
    for op in trace.ops:
        for saved in op.saved:
            if saved.op is not None and op not in savers[saved.op]:
                savers[saved.op].append(op)

    def enter(name: str, born: int, freed: int | None, size: int, saved_by: list[OpRecord]) -> None:
        row = by_name.get(name)
        if row is None:
            row = by_name[name] = Row(name, "", OURS.get(name, ""), (), 0)
            rows.append(row)
        row.measured += size
        row.lives.append((born, end if freed is None else freed, size))
        row.saved_by = ", ".join(dict.fromkeys([*filter(None, row.saved_by.split(", ")), *(s.name for s in saved_by)]))

    blocks_seen: set[str] = set()
    for op in trace.ops:
        name = _name(op, blocks_seen)
        if op.bytes:
            enter(name or op.name, op.id, op.freed, op.bytes, savers[op.id])
        for kept, saved in zip(_kept(op, name), op.saved, strict=True):
            if saved.op is None and saved.parameter is None and saved.held:
                enter(kept, op.id, saved.freed, saved.held, [op])


def _kept(op: OpRecord, name: str | None) -> list[str]:
    """The names of what an operation keeps for its backward, as far as it made that itself: told by sizes and order."""
    names: list[str] = []
    sizes = [math.prod(s.shape) for s in op.saved]
    rows, size_of_input = math.prod(op.shape[:-1]), math.prod(op.inputs[0].shape) if op.inputs else 0
    norms = list(_NORMS.get(name or "", ()))
    if sizes.count(rows) == 1:  # the readable layer norm keeps no means
        norms = norms[1:]
    mask = None  # of attention: the last of what has a number for each query and key
    if name == "atty" and op.attrs.get("dropout"):
        mask = next((s for s in op.saved[::-1] if s.op is None and math.prod(s.shape) == rows * op.shape[-2]), None)
    for size, saved in zip(sizes, op.saved, strict=True):
        if name in _NORMS:
            names.append(norms.pop(0) if norms and saved.op is None and size == rows else "ln_hat")
        elif name == "atty":
            scaled = size == size_of_input and "q_scaled" not in names and saved.op is None
            of_keys = size == rows * op.shape[-2]
            names.append("q_scaled" if scaled else "masks" if saved is mask else "att" if of_keys else "att_sums")
        elif op.name == "dropout":
            names.append("masks")
        elif name == "fch_gelu":
            names.append("fch_gate")
        elif name == "losses":
            names.append("probs" if size == size_of_input else "loss_sums")
        else:
            names.append(f"{op.name}*")
    return names


def _name(op: OpRecord, blocks_seen: set[str]) -> str | None:
    """llm.c's name of what this operation makes, if it has one."""
    name = _MADE.get((op.name, re.sub(r"^h\.\d+", "h.*", op.path)))
    if name == "residual2" and op.path in blocks_seen:
        return "residual3"
    if name == "residual2":
        blocks_seen.add(op.path)
    return name


def _when(row: Row) -> tuple[str, str]:
    """When a row's arrays were born and freed, in words."""
    return ("-", "-") if row.born is None else (str(row.born), str(row.freed))


def _short(ops: str) -> str:
    return ops.replace("scaled_dot_product_attention", "attention")


def _bytes(n: int) -> str:
    """Bytes for people, in powers of 1,000."""
    for unit, size in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if n >= size:
            return f"{n / size:.1f} {unit}"
    return f"{n} B" if n else "-"
