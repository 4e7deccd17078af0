"""The receipt of a gradient: which operation contributed what to it."""

from __future__ import annotations

import html
import math
import sys
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..autograd.engine import Leaf, Node, in_backward_order
from ..backend.dtypes import finfo
from ..tensor import Tensor
from .flow import Edge, Flow, check, check_history, check_kept, norm
from .names import Names, line
from .recorder import _summed
from .values import on_host

SHOWN = 12  # lines of a text; an RNN's weight has one for every step
VIEWS = ("reshape", "permute", "slice", "expand", "contiguous", "clone", "cast", "to_device", "transpose")


@dataclass(frozen=True)
class Contribution:
    """What one use of a tensor adds to its gradient."""

    op: str
    """The operation that used it, after the views on the way: "permute > matmul"."""
    path: str
    """The module that it ran in."""
    location: str
    """`file:line` of the user's code."""
    norm: float
    share: float
    """Its part of the whole gradient: <contribution, gradient> / <gradient, gradient>. Shares add up to 1; one that
    works against the others is negative. NaN where the gradient is 0 or not finite."""
    cosine: float
    """Of the angle between it and the whole gradient."""
    summed: tuple[int, ...]
    """The axes of the operation's output over which it was summed, for the tensor was used anew along them."""
    output: tuple[int, ...]
    """The shape of the operation's output."""
    note: str
    gradient: Tensor = field(repr=False)


class Receipt:
    """The contributions to one gradient, largest norm first. `str` and notebooks show it as a table."""

    def __init__(self, name: str, names: list[str], p: Tensor, lines: list[Contribution], total: Any) -> None:
        self.name, self.names, self.lines = name, names, lines
        self.shape = tuple(p.shape)
        self.total: Tensor | None = None if total is None else p._result(total)
        """The gradient that arrives at the tensor: what this loss adds to `.grad`."""
        self.norm = 0.0 if total is None else norm(total)
        self.error = 0.0
        """The norm of the sum of the lines less the gradient."""
        self.rounding = 0.0
        """The norm that rounding explains: eps times the norms that were added up, once for each addition."""
        if total is not None:
            rest = -total.astype(np.float64)
            with np.errstate(all="ignore"):
                for line in lines:
                    rest += line.gradient._array
                self.error = norm(rest)
            eps = finfo(total.dtype).eps
            self.rounding = len(lines) * eps * (sum(line.norm for line in lines) + self.norm)
        self.note = _note(p, total, self.adds_up)

    @property
    def adds_up(self) -> bool:
        """Whether the lines add up to the gradient, to rounding. A hook that replaces the gradient makes it False.

        Of a gradient with NaN or infinity nothing can be said, and it is False too.
        """
        return self.error <= self.rounding

    def __len__(self) -> int:
        return len(self.lines)

    def __repr__(self) -> str:
        return f"<Receipt of {self.name}: {len(self.lines)} contributions, norm {self.norm:.4g}>"

    def __str__(self) -> str:
        text = [self._title()]
        if self.lines:
            text += ["", "  share      norm  cosine  from"]
        for at in self.lines[:SHOWN]:
            text.append(f"{_percent(at.share)}  {at.norm:8.3g}  {at.cosine:6.3f}  {_source(at)}"[:80])
            text += [" " * 26 + more for more in (at.location, at.note) if more]
        if rest := self.lines[SHOWN:]:
            share, most = math.fsum(at.share for at in rest), rest[0].norm
            text.append(f"{_percent(share)}{' ' * 19}{len(rest):,} more, of norm {most:.3g} or less; see .lines")
        if self.lines:
            text.append(f"{_percent(1.0 if self.norm else math.nan)}  {self.norm:8.3g}          {self._sum()}")
        return "\n".join([*text, *([self.note] if self.note else [])])

    def _title(self) -> str:
        also = f", also {', '.join(self.names[1:])}" if len(self.names) > 1 else ""
        n = len(self.lines)
        name = f"{self.name} {self.shape}" if self.names else self.name
        return f"Gradient of {name}{also}: {n} contribution{'s' * (n != 1)}"

    def _sum(self) -> str:
        if self.adds_up:
            return f"sum: equals the gradient to {self.error:.1g}"
        return f"sum: DIFFERS from the gradient by {self.error:.3g}"

    def _repr_html_(self) -> str:
        rows = "".join(
            f"<tr><td>{_percent(at.share)}</td><td>{at.norm:.3g}</td><td>{at.cosine:.3f}</td>"
            f"<td style='text-align:left'>{html.escape(_source(at))}</td>"
            f"<td style='text-align:left'>{html.escape(at.location)}</td>"
            f"<td style='text-align:left'>{html.escape(at.note)}</td></tr>"
            for at in self.lines[:100]
        )
        return (
            f"<table><caption>{html.escape(self._title())}</caption><thead><tr><th>share</th><th>norm</th>"
            f"<th>cosine</th><th>from</th><th>line</th><th></th></tr></thead><tbody>{rows}</tbody>"
            f"<tfoot><tr><td></td><td>{self.norm:.3g}</td><td></td><td colspan=3 style='text-align:left'>"
            f"{html.escape(self._sum())}. {html.escape(self.note)}</td></tr></tfoot></table>"
        )


def receipt(loss: Tensor, p: Tensor) -> Receipt:
    """What each use of `p` adds to its gradient: one line per operation that `p` goes into.

    It runs a backward pass of its own, keeps the graph, and touches no `.grad`; hooks run. The lines are checked to add
    up to the gradient (`adds_up`, `error`). p: a parameter, or a tensor on the way, such as the residual stream.

    TypeError: loss or p is no Tensor. RuntimeError: a loss of several elements, without history or whose graph was
    freed, or a p that does not require grad or is the loss.
    """
    check("receipt", loss, p)
    check_history("receipt", loss)
    if not p.requires_grad:
        raise RuntimeError("inspect.receipt: p does not require grad; call requires_grad_() before it is used")
    check_kept("receipt", loss)
    target = p._graph_node()
    if target is loss._graph_node():
        raise RuntimeError(
            "inspect.receipt: p is the loss itself, whose gradient is 1; pass a parameter, or a tensor on the way"
        )
    flow = Flow(loss, target, keep={target})
    everything = in_backward_order([loss._graph_node()])
    names = Names(everything, sys._getframe(1))
    total = flow.total
    users: dict[Node | Leaf, list[Node]] = {}
    for node in everything:
        for parent in node.parents:
            if parent is not None:
                users.setdefault(parent, []).append(node)  # type: ignore[arg-type]  # only nodes have parents
    with np.errstate(all="ignore"):
        whole = None if total is None else total.reshape(-1).astype(np.float64)
        lines = [_contribution(e, whole, names, users, p) for e in flow.edges if e.parent is target]
    lines.sort(key=lambda at: -at.norm)
    return Receipt(names.tensor(p), names.of(p), p, lines, total)


def _contribution(e: Edge, whole: Any, names: Names, users: dict[Node | Leaf, list[Node]], p: Tensor) -> Contribution:
    dot, size = float(np.dot(e.gradient.reshape(-1), whole)), norm(whole)
    share = dot / size**2 if size else math.nan
    cosine = dot / (e.norm * size) if e.norm and size else math.nan
    node, steps = e.node, [e.node.op.name]
    while node.op.name in VIEWS and len(users.get(node, ())) == 1:
        node = users[node][0]
        steps.append(node.op.name)
    summed = _summed_axes(e.node, e.input, tuple(p.shape))
    return Contribution(
        " > ".join(steps), names.path(e.node), line(e.node), e.norm, share, cosine, summed, tuple(e.node.shape),
        _words(e.node, summed), p._result(e.gradient),
    )  # fmt: skip


def _summed_axes(node: Node, i: int, shape: tuple[int, ...]) -> tuple[int, ...]:
    """The axes of a node's output along which this input was used again and again."""
    if i and node.op.name in ("linear", "layer_norm", "rms_norm"):
        return tuple(range(len(node.shape) - 1))
    return tuple(_summed(node, list(shape)))


def _words(node: Node, summed: tuple[int, ...]) -> str:
    if node.op.name == "embedding" and node.constants is not None:
        ids = node.constants[1]
        return f"{ids.size:,} look-ups of {len(np.unique(ids)):,} rows, added up row by row"
    if not summed:
        return ""
    terms = math.prod(node.shape[axis] for axis in summed)
    which = f"ax{'i' if len(summed) == 1 else 'e'}s {', '.join(map(str, summed))}"
    return f"{terms:,} terms summed over {which} of {tuple(node.shape)}"


def _source(at: Contribution) -> str:
    return f"{at.op} in {at.path}" if at.path else at.op


def _percent(share: float) -> str:
    return "      -" if math.isnan(share) else f"{100 * share:5.1f} %"


def _note(p: Tensor, total: Any, adds_up: bool) -> str:
    """How the tensor's `.grad` compares, or why the lines do not add up."""
    if total is None:
        return "No gradient arrives: inspect.explain(loss, p) says why."
    if not np.isfinite(total).all():
        return "The gradient is not finite: inspect.explain(loss, p) says why."
    if not adds_up:
        return "A hook on the tensor replaced its gradient after the lines were added up."
    if p.grad is None:
        return ""
    with np.errstate(all="ignore"):
        g, found = (on_host(x).astype(np.float64).reshape(-1) for x in (total, p.grad._array))
        factor = float(g @ found) / float(g @ g) if g.any() else math.nan
        close = norm(found - factor * g) <= 1e-5 * norm(found)
    if close and abs(factor - 1) < 1e-5:
        return "`.grad` holds exactly this."
    if close and factor > 1.5 and abs(factor - round(factor)) < 1e-4:
        return f"`.grad` holds {round(factor)} times this: backward() ran {round(factor)} times without zero_grad()."
    if close:
        return f"`.grad` holds {factor:.4g} times this: it was clipped or scaled."
    return "`.grad` holds something else: gradients of other losses were added to it, or it was changed."
