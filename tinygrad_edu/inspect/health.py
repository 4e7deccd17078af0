"""How healthy a model is, in plain words: what is usual for each layer, what is not, and what to do.

The thresholds, and where they come from:

- update / weight, 1e-5 to 1e-2: one step should change a weight matrix by about a thousandth of its norm (Stanford
  CS231n, "Babysitting the learning process"; Karpathy's lectures on makemore). Flagged is what is ten times above or a
  hundred times below.
- dead units, 10 %: a unit whose slope is below 0.01 for every input of the batch learns nothing (for ReLU: Lu et al.
  2019, arXiv:1903.06733). The share is ours.
- saturation, 20 %: outputs of tanh beyond 0.97, of a sigmoid beyond 0.985, where the slope is below 0.06 of its largest
  (the limit and the share that are bad: Karpathy's makemore, part 3).
- attention entropy, 0.05 to 0.999 of the largest possible: near 0 every token looks at one other, which goes with
  unstable training (Zhai et al. 2023, arXiv:2303.06296); at 1 it looks at all alike, as all heads do in a new model.
  The limits are ours.
- residual growth, 10 times in one step: in a pre-norm Transformer the stream grows about as the square root of its
  depth (Xiong et al. 2020, arXiv:2002.04745). The limit is ours.
- gradient norms of like blocks, 1,000 times apart: vanishing or exploding (Glorot and Bengio 2010). The limit is ours.
- loss, 0.5 above ln(classes): worse than guessing all classes alike. The limit is ours.
"""

from __future__ import annotations

import copy
import html
import itertools
import math
import re
import sys
import textwrap
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from ..autograd.engine import Leaf, Node, in_backward_order, run_backward
from ..autograd.modes import state
from ..autograd.replay import Values
from ..backend.device import quiet
from ..nn.module import Module
from ..tensor import Tensor, made
from .flow import check, check_history, check_kept, norm
from .names import Names
from .reasons import probabilities
from .values import all_on_host

UPDATE = (1e-5, 1e-2)
DEAD, DEAD_SLOPE = 0.1, 0.01
SATURATED = 0.2
FLAT_FROM = {"tanh": 0.97, "sigmoid": 0.985}
ENTROPY = (0.05, 0.999)
GROWTH = 10.0
APART = 1e3
WORSE = 0.5

ACTIVATIONS = ("relu", "leaky_relu", "elu", "gelu", "gelu_tanh", "silu", "hardtanh", "softplus")
CHECKS = {
    "finite": "finite",
    "loss": "loss",
    "update": "update / weight",
    "gradient": "gradient norm",
    "dead": "dead units",
    "saturation": "saturation",
    "attention": "attention entropy",
    "residual": "residual growth",
}


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at."""

    check: str
    """One of CHECKS."""
    where: str
    """The parameter or module."""
    value: float
    usual: tuple[float, float]
    """From and to what the value is usual."""
    sentence: str
    """What it means and what to do, if it is not usual; else ""."""

    @property
    def ok(self) -> bool:
        return not self.sentence


class Stepper(Protocol):
    """An optimizer, or several that step as one."""

    @property
    def param_groups(self) -> list[dict[str, Any]]: ...

    def step(self) -> Any: ...


class Health:
    """The answer of `health`. `str` and notebooks show what is usual in a line, and what is not in words."""

    def __init__(self, name: str, findings: list[Finding], note: str) -> None:
        self.name, self.findings, self.note = name, findings, note

    @property
    def warnings(self) -> list[Finding]:
        """What is not as usual."""
        return [f for f in self.findings if not f.ok]

    @property
    def ok(self) -> bool:
        return not self.warnings

    def of(self, kind: str) -> list[Finding]:
        """The findings of one check. KeyError: there is no such check."""
        if kind not in CHECKS:
            raise KeyError(f"there is no check {kind!r}; expected one of {', '.join(CHECKS)}")
        return [f for f in self.findings if f.check == kind]

    def lines(self, width: int = 80) -> list[str]:
        """The text, line by line."""
        found = [self._title()]
        for text, ok in self._rows():
            mark = "  ok  " if ok else "LOOK  "
            found += textwrap.wrap(text, width, initial_indent=mark, subsequent_indent=" " * 6)
        return [*found, *textwrap.wrap(self.note, width)]

    def _title(self) -> str:
        n = len(self.warnings)
        verdict = "all is as usual" if not n else f"{n} of {len(self.findings)} values are not as usual"
        return f"Health of {self.name}: {verdict}"

    def _rows(self) -> Iterator[tuple[str, bool]]:
        for kind, name in CHECKS.items():
            found = self.of(kind)
            if not found:
                continue
            if all(f.ok for f in found):
                yield f"{name}: {_span(found)}", True
            bad = [f for f in found if not f.ok]
            same = {f.sentence: [g for g in bad if g.sentence == f.sentence] for f in bad}
            for sentence, alike in list(same.items())[:3]:
                where = ", ".join(f.where for f in alike[:3]) + (f" and {len(alike) - 3} more" * (len(alike) > 3))
                yield f"{name} of {where}: {_span(alike)}. {sentence}", False
            if len(same) > 3:
                yield f"{name}: {len(same) - 3} more that are not as usual; see .warnings", False

    def __str__(self) -> str:
        return "\n".join(self.lines())

    def __repr__(self) -> str:
        return f"<Health of {self.name}: {len(self.findings)} findings, {len(self.warnings)} warnings>"

    def _repr_html_(self) -> str:
        rows = "".join(
            f"<tr><td>{'ok' if ok else '<b>look</b>'}</td><td style='text-align:left'>{html.escape(text)}</td></tr>"
            for text, ok in self._rows()
        )
        return f"<p><b>{html.escape(self._title())}</b></p><table>{rows}</table><p>{html.escape(self.note)}</p>"


def _span(found: list[Finding]) -> str:
    """The values, and what is usual."""
    values, (low, high) = sorted(f.value for f in found), found[0].usual
    span = f"{values[0]:.3g}" if values[0] == values[-1] else f"{values[0]:.3g} to {values[-1]:.3g}"
    if high == math.inf:
        return span
    usual = f"up to {high:.3g}" if low in (-math.inf, 0) else f"{low:.3g} to {high:.3g}"
    return f"{span} (usual: {usual})"


def health(model: Module, loss: Tensor | Callable[[], Tensor], optimizer: Stepper | None = None) -> Health:
    """How healthy a model is on one batch: updates, gradients, dead and saturated units, attention, residual stream.

    loss: the loss of the batch, before backward() has freed its graph, or a function of no arguments that computes it.
    optimizer: with it, the size of the step that it would make now; neither it nor the parameters are changed, and no
    `.grad` is touched. The thresholds stand at the head of health.py.

    TypeError: model is no Module, the loss no Tensor. RuntimeError: a loss of several elements, without history, or
    whose graph was freed.
    """
    if not isinstance(model, Module):
        raise TypeError(f"inspect.health: expected model to be a Module, got {type(model).__name__}")
    if callable(loss) and not isinstance(loss, Tensor):
        loss = loss()
    check("health", loss, next(model.parameters(), Tensor(1)))
    check_history("health", loss)
    check_kept("health", loss)
    look = _Look(model, loss, optimizer, sys._getframe(1))
    with quiet:
        findings = [
            *look.finite(), *look.losses(), *look.updates(), *look.gradients(), *look.units(), *look.attention(),
            *look.residual(),
        ]  # fmt: skip
    note = "" if optimizer is not None else "Pass the optimizer to see how large its steps are."
    return Health(type(model).__name__, findings, note)


class _Look:
    def __init__(self, model: Module, loss: Tensor, optimizer: Stepper | None, frame: Any) -> None:
        self.loss, self.optimizer = loss, optimizer
        root = loss._graph_node()
        everything = in_backward_order([root])
        self.names = Names(everything, frame, model)
        self.values = Values([root])
        self.parameters = dict(model.named_parameters())
        leaves = {id(n.tensor): n for n in everything if isinstance(n, Leaf)}
        outside, state.observers = state.observers, ()
        try:
            with quiet:
                seed = root.xp.ones(loss._array.shape, loss._array.dtype)
                found = run_backward([(root, seed)], retain_graph=True, targets=list(leaves.values()))
        finally:
            state.observers = outside
        self.grads = {
            name: found.get(leaves[id(p)]) if id(p) in leaves else None for name, p in self.parameters.items()
        }  # fmt: skip

    def finite(self) -> Iterator[Finding]:
        usual = (0.0, 0.0)
        for name, p in self.parameters.items():
            for what, array in (("values", p._array), ("gradient", self.grads[name])):
                n = 0 if array is None else int((~np.isfinite(array)).sum())
                if n:
                    sentence = f"Its {what} hold NaN or infinity: inspect.explain(loss, p) says where from."
                    if what == "values":
                        sentence = "Its values hold NaN or infinity: go back to a checkpoint from before."
                    yield Finding("finite", name, n, usual, sentence)

    def losses(self) -> Iterator[Finding]:
        for node in self.values.nodes:
            if node.op.name != "cross_entropy":
                continue
            counted = self.values.inputs(node)[1] != node.attrs["ignore_index"]
            if not counted.any():
                continue
            value = float(self.values.of(node)[counted].mean(dtype=np.float64))
            limit = math.log(max(node.parents[0].shape[1], 1)) + WORSE  # type: ignore[union-attr]
            sentence = (
                "" if value <= limit else "It is worse than guessing all classes alike: the logits are too large for "
                "what the model knows; initialise the last layer smaller, or lower the learning rate."
            )  # fmt: skip
            yield Finding("loss", self.names.path(node) or "the loss", value, (0.0, limit), sentence)

    def updates(self) -> Iterator[Finding]:
        if self.optimizer is None:
            return
        twin = copy.deepcopy(self.optimizer)
        named = {id(p): name for name, p in self.parameters.items()}
        pairs = []
        for mine, theirs in zip(self.optimizer.param_groups, twin.param_groups, strict=True):
            for p, q in zip(mine["params"], theirs["params"], strict=True):
                g = self.grads.get(named.get(id(p), ""))
                q.grad = None if g is None else made(g.copy())
                if g is not None and p.dim() >= 2:
                    pairs.append((named[id(p)], p, q))
        type(twin).step(twin)  # not twin.step, which a schedule may have tied to the optimizer itself
        for name, p, q in pairs:
            size = norm(p._array)
            if not size:
                continue
            ratio = norm(q._array - p._array) / size
            sentence = ""
            if ratio > UPDATE[1]:
                sentence = (
                    "The steps are large for these weights. Early in a run that may be meant; if the loss jumps or "
                    "does not fall, lower the learning rate or warm up longer."
                )
            elif ratio < UPDATE[0]:
                sentence = (
                    "The steps are too small to change these weights: raise the learning rate (small steps are right "
                    "only in warm-up and at the end of a decay)."
                )
            yield Finding("update", name, ratio, UPDATE, sentence)

    def gradients(self) -> Iterator[Finding]:
        for name, g in self.grads.items():
            if g is None and self.parameters[name].requires_grad:
                yield Finding("gradient", name, 0.0, (0.0, math.inf), "It gets no gradient: see inspect.explain.")
            elif g is not None and not g.any():
                yield Finding("gradient", name, 0.0, (0.0, math.inf), "Its gradient is zero: see inspect.explain.")
        for blocks in self._blocks().values():
            norms = {block: math.hypot(*map(norm, grads)) for block, grads in blocks.items()}
            top = max(norms.values())
            last = list(norms)[-1]
            for block, size in norms.items():
                if not 0 < size < math.inf:
                    continue  # said above, or among what is not finite
                sentence = ""
                if size * APART < top and norms[last] > size:
                    sentence = (
                        "The gradient vanishes on the way back to it: look at activations and the scale of the "
                        "weights, add residual connections or normalisation."
                    )
                elif size > APART * min(v for v in norms.values() if v > 0) and norms[last] * APART < size:
                    sentence = "The gradient explodes on the way back to it: clip it, or make the weights smaller."
                yield Finding("gradient", block, size, (top / APART, top), sentence)

    def _blocks(self) -> dict[str, dict[str, list[Any]]]:
        """The gradients of like blocks, "h.0", "h.1" ...: by the path before the number, and by block."""
        found: dict[str, dict[str, list[Any]]] = {}
        for name, g in self.grads.items():
            numbered = re.match(r"(.*?)\.?(\d+)\.", name)
            if numbered and g is not None:
                found.setdefault(numbered[1], {}).setdefault(numbered[0].rstrip("."), []).append(g)
        return found

    def units(self) -> Iterator[Finding]:
        for node in self.values.nodes:
            name = node.op.name
            if name in FLAT_FROM:
                y = self.values.of(node)
                flat = np.abs(y) > FLAT_FROM["tanh"] if name == "tanh" else np.abs(y - 0.5) > FLAT_FROM[name] - 0.5
                share = float(flat.mean()) if flat.size else 0.0
                sentence = (
                    "" if share <= SATURATED else f"{name} is at its flat ends, where little gradient passes: make its "
                    "inputs smaller (smaller initial weights, normalisation, a lower learning rate)."
                )  # fmt: skip
                yield Finding("saturation", self._where(node), share, (0.0, SATURATED), sentence)
            elif name in ACTIVATIONS:
                inputs = self.values.inputs(node)
                _, saved = node.op.forward(node.xp, *inputs, **node.attrs)
                slope = np.abs(node.op.backward(node.xp, saved, np.ones_like(self.values.of(node))))
                if slope.ndim < 2 or not slope.size:
                    continue
                unit = 1 if slope.ndim == 4 else slope.ndim - 1  # images are (N, C, H, W)
                alive = slope.max(axis=tuple(a for a in range(slope.ndim) if a != unit)) >= DEAD_SLOPE
                share = float(1 - alive.mean())
                sentence = (
                    "" if share <= DEAD else f"{name} has units that no input of the batch moves, so they do not "
                    "learn: lower the learning rate, look at the biases, or initialise them again."
                )  # fmt: skip
                yield Finding("dead", self._where(node), share, (0.0, DEAD), sentence)

    def attention(self) -> Iterator[Finding]:
        heads = [
            (f"{self.names.path(node) or 'attention'} head {i}", value)
            for node in self.values.nodes
            if node.op.name == "scaled_dot_product_attention"
            for i, value in enumerate(_entropies(self.values.inputs(node), node.attrs))
        ]
        untrained = all(value > ENTROPY[1] for _, value in heads)
        usual = (ENTROPY[0], 1.0) if untrained else ENTROPY
        for where, value in heads:
            sentence = ""
            if value < ENTROPY[0]:
                sentence = (
                    "Each token looks at one other alone: the scores are too large; lower the learning rate, or "
                    "normalise queries and keys."
                )
            elif value > usual[1]:
                sentence = "It looks at all tokens alike, where other heads choose: it has learned nothing so far."
            yield Finding("attention", where, value, usual, sentence)

    def residual(self) -> Iterator[Finding]:
        usual = (-math.inf, GROWTH)
        for node, stream in self._residual_adds():
            before, after = (norm(self.values.of(n)) for n in (stream, node))
            if not before or not math.isfinite(before + after):
                continue
            growth = after / before
            sentence = (
                "" if growth <= GROWTH else "What this branch adds drowns the stream: scale its last projection down "
                "(GPT-2 divides it by sqrt(2 n_layer))."
            )  # fmt: skip
            yield Finding("residual", self._where(node), growth, usual, sentence)

    def _residual_adds(self) -> Iterator[tuple[Node, Node | Leaf]]:
        """Additions x + f(x), and their x: one operand is what the other was computed from."""
        for node in self.values.nodes:
            if node.op.name != "add" or len(node.shape) < 2 or len(set(node.parents)) < 2:
                continue
            for x, branch in itertools.permutations(node.parents):
                if (
                    isinstance(branch, Node) and x is not None and x.shape == branch.shape == node.shape
                    and x.born < branch.born and _depends(branch, x)
                ):  # fmt: skip
                    yield node, x
                    break

    def _where(self, node: Node) -> str:
        return self.names.path(node) or self.names.place(node)


def _depends(node: Node, on: Node | Leaf) -> bool:
    """Whether a node was computed from another one."""
    seen: set[Node | Leaf] = set()
    stack: list[Node | Leaf] = [node]
    while stack:
        found = stack.pop()
        if found is on:
            return True
        if found not in seen and found.born > on.born:
            seen.add(found)
            stack.extend(p for p in found.parents if p is not None)
    return False


def _entropies(inputs: list[Any], attrs: dict[str, Any]) -> list[float]:
    """For each head the mean entropy of its weights, as a part of the largest possible: ln(tokens that are seen)."""
    inputs = all_on_host(inputs)
    p = probabilities(inputs, attrs).astype(np.float64)
    seen = np.broadcast_to(np.isfinite(_bias(inputs[3], attrs, p.shape)), p.shape).sum(axis=-1)
    counts = seen > 1
    if not counts.any():
        return []
    entropy = -(p * np.log(np.where(p > 0, p, 1))).sum(axis=-1)
    share = np.where(counts, entropy / np.log(np.where(counts, seen, 2)), np.nan)
    n_head = share.shape[-2] if share.ndim > 2 else 1  # (B, NH, L)
    return [float(np.nanmean(head)) for head in share.reshape(-1, n_head, share.shape[-1]).swapaxes(0, 1)]


def _bias(bias: Any, attrs: dict[str, Any], shape: tuple[int, ...]) -> Any:
    """What is added to the scores of attention, with -inf where a key is hidden."""
    hidden = np.zeros(shape[-2:]) if bias is None else np.asarray(bias, np.float64)
    if attrs.get("is_causal"):
        hidden = hidden + np.triu(np.full(shape[-2:], -np.inf), 1)
    return hidden
