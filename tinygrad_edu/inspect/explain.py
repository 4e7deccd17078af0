"""Why a gradient is None, zero, NaN, infinite, huge or tiny, in words: a verdict, the evidence for it, and the fix."""

from __future__ import annotations

import html
import math
import sys
import textwrap
from collections.abc import Callable
from dataclasses import dataclass, replace
from types import FrameType
from typing import Any, cast

import numpy as np

from ..autograd.anomaly import Origin, find_origin, first_nonfinite
from ..autograd.engine import Leaf, Node, in_backward_order, run_backward
from ..autograd.memory import memory_of
from ..autograd.modes import state
from ..autograd.replay import Values
from ..backend.device import quiet
from ..backend.dtypes import is_floating
from ..tensor import Tensor
from .cuts import Watch
from .flow import Edge, Flow, check, check_history, check_kept, norm
from .names import Names, line
from .reasons import Reason, exact, reason
from .values import on_host, same_values

TINY = 1e-8
"""A gradient whose root mean square is below this is tiny: Adam's default eps, below which its steps shrink too."""
HUGE = 1e3
"""A gradient whose norm is above this is huge: a thousand times the norm that clipping usually leaves, 1.0 (Pascanu et
al. 2013, arXiv:1211.5063, clip at 0.5 to 10 times the average norm)."""
APART = 1e4
"""So many times larger or smaller (root mean square) than the median of the other gradients is huge or tiny as well."""
CANCELLED = 1e-3
"""Contributions cancel if their sum is smaller than this part of their norms."""


@dataclass(frozen=True)
class Explanation:
    """The answer of `explain`. `str` and notebooks show it as text."""

    name: str
    """Of the tensor that was asked about."""
    state: str
    """"none", "zero", "nan", "inf", "tiny", "huge" or "ordinary"."""
    cause: str
    """One word, such as "dead_relu"; the guide lists them."""
    verdict: str
    evidence: tuple[str, ...]
    fix: str
    op: str = ""
    """The operation at fault, if one is."""
    path: str = ""
    """The module that it ran in."""
    location: str = ""
    """`file:line` of the user's code."""
    norm: float | None = None
    """Of the gradient; None if there is none."""

    def __str__(self) -> str:
        lines = textwrap.wrap(self.verdict, 80)
        for fact in self.evidence:
            lines += textwrap.wrap(fact, 78, initial_indent="  - ", subsequent_indent="    ")
        return "\n".join([*lines, *textwrap.wrap(self.fix, 80, initial_indent="Fix: ", subsequent_indent="     ")])

    def __repr__(self) -> str:
        return f"<Explanation: {self.name}, {self.state}, {self.cause}>"

    def _repr_html_(self) -> str:
        facts = "".join(f"<li>{html.escape(fact)}</li>" for fact in self.evidence)
        return f"<p><b>{html.escape(self.verdict)}</b></p><ul>{facts}</ul><p><b>Fix:</b> {html.escape(self.fix)}</p>"


def explain(loss: Tensor | Callable[[], Tensor], p: Tensor) -> Explanation:
    """Why the gradient of the loss with respect to `p` is None, zero, NaN, infinite, tiny or huge, or that it is none.

    loss: the loss, before backward() has freed its graph; or a function of no arguments that computes it, such as
    `lambda: model(x, y)[1]`, which is run once and watched: only so can be said where p was cut off by detach(),
    no_grad(), item() and the like. Backward passes of its own are made, which touch no `.grad`; hooks run.

    TypeError: loss gives no Tensor, or p is none. RuntimeError: a loss of several elements, without history, whose
    graph was freed, or with values that were changed in place since.
    """
    return _explain("explain", loss, p, sys._getframe(1))


def _explain(name: str, loss: Any, p: Any, frame: FrameType) -> Explanation:
    watch = None
    if callable(loss) and not isinstance(loss, Tensor):
        if hasattr(loss, "parameters"):
            raise TypeError(f"inspect.{name}: got a module; pass its loss, or `lambda: model(x, y)[1]`")
        watch = Watch(loss)
        loss = watch.result
    check(name, loss, p)
    if not p.requires_grad:
        return _not_asked_for(p, Names([], frame))
    if watch is None:
        check_history(name, loss)
    root = loss._graph_node()
    everything = in_backward_order([root])
    names = Names([*everything, *(watch.events if watch else ())], frame)
    target = p._graph_node()
    if target not in everything:
        return _not_connected(p, loss, everything, names, watch)
    check_kept(name, loss)
    found = _Case(loss, p, names).explain()
    if watch is not None:
        watch.names = names
        ways = [f"One way to it is cut, though: {cut.what}." for cut in watch.cuts(p, loss)[:3]]
        found = replace(found, evidence=(*found.evidence, *ways))
    return found


# ---- None ------------------------------------------------------------------------------------------------------------


def _not_asked_for(p: Tensor, names: Names) -> Explanation:
    name = names.tensor(p)
    if not p.is_floating_point():
        return Explanation(
            name, "none", "integer", f"{name} has no gradient: it holds {p.dtype}, and only floating numbers have one.",
            (f"its dtype is {p.dtype}",), "Convert it with .float() before requires_grad_().",
        )  # fmt: skip
    return Explanation(
        name, "none", "requires_grad", f"{name} has no gradient: it does not require one.",
        ("Its requires_grad is False: it was made so, frozen by requires_grad_(False), or computed under no_grad().",),
        "Call requires_grad_() on it before the loss is computed, or make it an nn.Parameter.",
    )  # fmt: skip


def _not_connected(
    p: Tensor, loss: Tensor, everything: list[Node | Leaf], names: Names, watch: Watch | None
) -> Explanation:
    name = names.tensor(p)
    if name.startswith("a tensor"):
        name = "The " + name[2:]
    facts = [_extent(loss, everything, names)]
    if watch is not None:
        watch.names = names
        cuts = watch.cuts(p, loss) or watch.departures(p, loss)
        if cuts:
            first = cuts[0]
            facts += [cut.what + "." for cut in cuts[1:4]]
            if len(cuts) > 4:
                facts.append(f"{len(cuts) - 4} more of the kind.")
            verdict = f"{name} gets no gradient: {first.what}."
            op, path = (first.event.name, names.path(first.event)) if first.event.kind == "op" else ("", "")
            return Explanation(
                name, "none", first.cause, verdict, tuple(facts), first.fix, op, path, first.event.line
            )  # fmt: skip
        used = watch.used(p)
        if used is not None:
            facts.append(f"It was first used by {watch.place(used)}, but nothing that came of it went into the loss.")
            return Explanation(
                name, "none", "not_used", f"{name} gets no gradient: the loss does not depend on it.", tuple(facts),
                "Look at what happens to that result: it is dropped or overwritten before the loss.", used.name,
                names.path(used), used.line,
            )  # fmt: skip
    for node in everything:
        if not isinstance(node, Node) or node.is_freed:
            continue
        node.recall()
        if any(hasattr(c, "strides") and memory_of(c) is memory_of(p._array) for c in node.constants or ()):
            verdict = f"{name} gets no gradient: {names.place(node)} uses its numbers without its history."
            fix = "Use the tensor itself there: leave out detach(), .data or .numpy()."
            return _at(Explanation(name, "none", "detach", verdict, tuple(facts), fix), node, names)
    mine = on_host(p._array)
    for node in everything:
        if isinstance(node, Leaf) and node.shape == p._array.shape and same_values(node.tensor._array, mine):
            facts.append(f"The graph holds another tensor with the same numbers: {names.tensor(node.tensor)}.")
            return Explanation(
                name, "none", "copy", f"{name} gets no gradient: a copy of it was used in its place.", tuple(facts),
                "Use one and the same tensor: copies come from deepcopy(), detach().clone(), or a model that was made "
                "again after its parameters were taken.",
            )  # fmt: skip
    if watch is None:
        facts.append("From the graph alone it cannot be told whether it was cut off or never used.")
        fix = "Ask again with the computation as a function, inspect.explain(lambda: ..., p): that finds the place."
    else:
        facts.append("No operation used it while the loss was computed.")
        fix = "Use it: check that its module is called in forward(), and that this is the model of the loss."
    return Explanation(
        name, "none", "not_used", f"{name} gets no gradient: the loss does not depend on it.", tuple(facts), fix
    )  # fmt: skip


def _extent(loss: Tensor, everything: list[Node | Leaf], names: Names) -> str:
    """What the graph of the loss holds."""
    if loss._node is None:
        return "The loss has no history at all."
    leaves = [n for n in everything if isinstance(n, Leaf)]
    known = sorted({name for n in leaves for name in names.of(n.tensor)[:1]})
    more = f" and {rest:,} more" if (rest := len(leaves) - len(known[:4])) else ""
    listed = f": {', '.join(known[:4])}{more}" if known else ""
    return (
        f"The graph of the loss has {len(everything) - len(leaves):,} operations and leads to {len(leaves):,} "
        f"tensor{'s' * (len(leaves) != 1)}{listed}."
    )


def _at(found: Explanation, node: Node, names: Names) -> Explanation:
    """The explanation with its place filled in."""
    return replace(found, op=node.op.name, path=names.path(node), location=line(node))


# ---- a gradient that arrives, or should ------------------------------------------------------------------------------


class _Case:
    """One question about a tensor that the loss is connected to."""

    def __init__(self, loss: Tensor, p: Tensor, names: Names) -> None:
        self.loss, self.p, self.names = loss, p, names
        self.name = names.tensor(p)
        if self.name.startswith("a tensor"):
            self.name = "the " + self.name[2:]
        self.target = p._graph_node()
        self.flow = Flow(loss, self.target)
        self.total: Any = None if self.flow.total is None else on_host(self.flow.total)
        self.norm = None if self.total is None else norm(self.total)
        self.values = Values([loss._graph_node()])

    def explain(self) -> Explanation:
        g = self.total
        if g is None:
            return self._stopped()
        if np.isnan(g).any():
            return self._not_finite("nan", "NaN")
        if np.isinf(g).any():
            return self._not_finite("inf", "infinite")
        if not g.any():
            return self._zero()
        return self._finite()

    def _answer(
        self, state: str, cause: str, verdict: str, facts: list[str], fix: str, node: Node | None = None
    ) -> Explanation:
        verdict = verdict[0].upper() + verdict[1:] if verdict.startswith("the ") else verdict
        found = Explanation(self.name, state, cause, verdict, tuple(facts), fix, norm=self.norm)
        return found if node is None else _at(found, node, self.names)

    def _stopped(self) -> Explanation:
        places = [(n, i) for n, i in self.flow.stopped]
        verdict = f"{self.name} gets no gradient: "
        if not places:
            return self._answer("none", "no_gradient", verdict + "no gradient reaches it.", [], "Look at the graph.")
        node, i = places[0]
        verdict += f"{self.names.place(node)} has none for its input {i}."
        facts = [f"{self.names.place(n)} has none for its input {i}." for n, i in places[1:4]]
        own = hasattr(node.op, "function")
        fix = (
            "Return a gradient for this argument from the backward of this Function, in the place of None."
            if own
            else "Pass it where the operation has a gradient, or write that part as a composition of other operations."
        )
        return self._answer("none", "no_gradient", verdict, facts, fix, node)

    # ---- NaN and infinity ------------------------------------------------------------------------------------------

    def _not_finite(self, state: str, word: str) -> Explanation:
        verdict = f"The gradient of {self.name} is {word}: "
        count = int((~np.isfinite(self.total)).sum())
        facts = [f"{count:,} of its {self.total.size:,} elements are not finite."]
        edge = next((e for e in self.flow.edges if not math.isfinite(e.norm) and math.isfinite(e.incoming)), None)
        if edge is None:
            hooked = next((n for n in self.flow.order if n.hooks), None)
            if hooked is not None:
                where = self._where(hooked)
                return self._answer(
                    state, "hook", f"{verdict}a hook on {where} returned it.", facts, "Correct or remove the hook."
                )
            return self._answer(
                state, "overflow", f"{verdict}finite contributions overflowed when they were added up.", facts,
                "Scale the loss down, or compute in float32.",
            )  # fmt: skip
        node = edge.node
        kept = Flow(self.loss, self.target, keep={node}).incoming[node]
        origin = find_origin(node, self.values.before(node), kept, edge.input)
        if origin is None:
            origin = Origin("backward", node, "has a backward that gives it from finite numbers", "Look at it.")
        facts += self._forward_facts(origin, node)
        cause, text = self._described(origin)
        verdict += f"{text}."
        fix = origin.fix
        if origin.kind == "forward" and self._loss_is_finite():
            facts.append(
                "The loss itself is finite: where(), a mask or an index hides the value in forward, but in backward a "
                "zero gradient times an infinite slope is NaN."
            )
            fix = f"Make its input safe before the operation, such as log(where(mask, x, 1)). {fix}"
        return self._answer(state, cause, verdict, facts, fix, origin.node)

    def _described(self, origin: Origin) -> tuple[str, str]:
        """The cause in a word, and what happened."""
        what = origin.what
        held = None if origin.input is None else origin.node.parents[origin.input]
        if origin.kind == "data" and isinstance(held, Leaf):
            what = what.replace(f"its input {origin.input}", self.names.tensor(held.tensor))
        cause = {"forward": "forward_value", "data": "input_value", "backward": "infinite_slope"}[origin.kind]
        if "overflowed" in what or "does not fit" in what:
            cause = "overflow"
        return cause, f"{self.names.place(origin.node)} {what}"

    def _forward_facts(self, origin: Origin, node: Node) -> list[str]:
        facts = []
        if origin.kind == "forward":
            facts.append(f"In forward, {self.names.place(origin.node)} is the first operation whose value is bad.")
        if origin.source is not None:
            facts.append(f"The infinities that it got come from {self.names.place(origin.source)}.")
        if origin.then is not None:
            facts.append(f"{self.names.place(origin.then)} then made NaN of the infinities.")
        if node is not origin.node:
            facts.append(f"In backward, {self.names.place(node)} is the first whose gradient is bad.")
        facts.append(f"The loss is {self._loss():.6g}.")
        return facts

    def _loss(self) -> float:
        return float(self.loss._array.reshape(-1)[0])

    def _loss_is_finite(self) -> bool:
        return math.isfinite(self._loss())

    def _where(self, node: Node | Leaf) -> str:
        return self.names.place(node) if isinstance(node, Node) else self.names.tensor(node.tensor)

    # ---- zero ------------------------------------------------------------------------------------------------------

    def _zero(self) -> Explanation:
        verdict = f"The gradient of {self.name} is zero"
        ends = [e for e in self.flow.edges if e.norm == 0 and e.incoming != 0]
        if not self.total.size:
            return self._answer("zero", "empty", f"{self.name} has no elements.", [], "Look at its shape.")
        origin = None if self._loss_is_finite() else first_nonfinite(self.values)
        facts = [f"The loss is {self._loss():.6g}: {self._described(origin)[1]}."] if origin else []
        hooked = self._hooked()
        if hooked is not None:
            what = f"{verdict}: a hook on {self._where(hooked)} replaced it by zero."
            return self._answer("zero", "hook", what, facts, "Correct or remove the hook.")
        cancelled = self._cancelled()
        if cancelled is not None:
            return self._cancels("zero", f"{verdict}: ", cancelled)
        found = [(e, self._reason(e)) for e in ends]
        if not found:
            verdict += ", and so is every gradient on the way to it."
            return self._answer("zero", "zero", verdict, facts, "Look at the loss.")
        edge, why = found[0]
        kinds: dict[str, list[Edge]] = {}
        for e, r in found:
            kinds.setdefault(f"{e.node.op.name} ({r.cause.replace('_', ' ')})", []).append(e)
        if len({e.node for e, _ in found}) > 1:
            listed = [f"{len(edges)} x {kind}" for kind, edges in kinds.items()]
            facts.append(f"{len(found)} ways to it end in zero: {', '.join(listed)}.")
        return self._answer(
            "zero", why.cause, f"{verdict}: {self.names.place(edge.node)} {why.what}.", [*why.facts, *facts], why.fix,
            edge.node,
        )  # fmt: skip

    def _reason(self, e: Edge) -> Reason:
        flow = Flow(self.loss, self.target, keep={e.node})
        return reason(e.node, e.input, self.values, flow.incoming[e.node], self.names)

    def _arrivals(self) -> dict[Node | Leaf, list[Edge]]:
        found: dict[Node | Leaf, list[Edge]] = {}
        for e in self.flow.edges:
            found.setdefault(e.parent, []).append(e)
        return found

    def _hooked(self) -> Node | Leaf | None:
        """What has a hook, and lost there a gradient that had arrived."""
        passed = {e.node: e.incoming for e in self.flow.edges}
        for node, edges in self._arrivals().items():
            if node.hooks and any(e.norm for e in edges):
                left = self.norm if node is self.target else passed.get(cast(Node, node), 0.0)
                if not left:
                    return node
        return None

    def _cancelled(self) -> Node | Leaf | None:
        """Where contributions arrived that add up to (next to) nothing."""
        passed = {e.node: e.incoming for e in self.flow.edges}
        for node, edges in self._arrivals().items():
            if node is not self.target and node not in passed:
                continue
            left = cast(float, self.norm) if node is self.target else passed[cast(Node, node)]
            parts = math.hypot(*(e.norm for e in edges))
            if len(edges) > 1 and parts and left <= CANCELLED * parts:
                return node
        return None

    def _cancels(self, state: str, verdict: str, node: Node | Leaf) -> Explanation:
        edges = self._arrivals()[node]
        left = self.norm if node is self.target else next(e.incoming for e in self.flow.edges if e.node is node)
        where = "at it" if node is self.target else f"at {self._where(node)}"
        facts = [f"{self.names.place(e.node)} contributes a gradient of norm {e.norm:.3g}." for e in edges[:4]]
        facts.append(f"Their sum has norm {left:.3g}.")
        verdict += f"{len(edges)} contributions cancel each other {where}."
        fix = (
            "The loss does not change with it, for it enters twice with opposite effect, as in x - x. Use it once, or "
            "detach() it where it should count as a constant."
        )
        return self._answer(state, "cancelled", verdict, facts, fix, node if isinstance(node, Node) else None)

    # ---- finite ----------------------------------------------------------------------------------------------------

    def _finite(self) -> Explanation:
        size = cast(float, self.norm)
        rms = size / math.sqrt(self.total.size)
        others = self._others()
        median = float(np.median(others)) if len(others) > 2 else None
        tiny = rms < TINY or (median is not None and rms * APART < median)
        huge = size > HUGE or (median is not None and rms > APART * median)
        facts = [f"Its norm is {size:.4g}, its root mean square {rms:.3g}, over {self.total.size:,} elements."]
        if median is not None:
            facts.append(f"The median root mean square of the loss's {len(others)} other gradients is {median:.3g}.")
        origin = None if self._loss_is_finite() else first_nonfinite(self.values)
        if origin is not None:
            cause, text = self._described(origin)
            verdict = f"The gradient of {self.name} is finite, but the loss is {self._loss():.6g}: {text}."
            state = "tiny" if tiny else "huge" if huge else "ordinary"
            return self._answer(state, cause, verdict, facts, origin.fix, origin.node)
        path = self._path()
        noise = self._noise(path)
        if noise is not None:
            edge, why = noise
            verdict = f"The gradient of {self.name} is tiny: {self.names.place(edge.node)} {why.what}."
            return self._answer("tiny", why.cause, verdict, [*why.facts, *facts], why.fix, edge.node)
        if tiny:
            return self._tiny(facts, path)
        if huge:
            return self._huge(facts, path)
        facts.append(self._profile(path))
        zeros = int((self.total == 0).sum())
        if zeros:
            facts.append(f"{zeros:,} of its elements ({zeros / self.total.size:.0%}) are zero{self._sparse()}.")
        verdict = f"The gradient of {self.name} is neither tiny nor huge."
        if not self.p.is_leaf and self.p.grad is None and self.p._node is not None and self.p._node.retain is None:
            verdict = f"{self.name} has a gradient, but its .grad stays None: it is no leaf, it was computed."
            fix = "Call retain_grad() on it before backward(); gradients of tensors on the way are not kept."
            return self._answer("none", "not_a_leaf", verdict, facts, fix, self.p._node)
        fix = "Nothing is wrong with it." if self.p.grad is not None else "Nothing is wrong; backward() stores it."
        return self._answer("ordinary", "ordinary", verdict, facts, fix)

    def _sparse(self) -> str:
        users = {e.node.op.name for e in self.flow.edges if e.parent is self.target}
        if users & {"embedding", "index", "gather"}:
            return ": rows that were not looked up get nothing"
        return ""

    def _others(self) -> list[float]:
        """The root mean squares of the gradients of the other leaves."""
        root = self.loss._graph_node()
        leaves = [n for n in in_backward_order([root]) if isinstance(n, Leaf) and n is not self.target]
        if not leaves:
            return []
        outside, state.observers = state.observers, ()
        try:
            with quiet:
                seed = root.xp.ones(self.loss._array.shape, self.loss._array.dtype)
                found = run_backward([(root, seed)], retain_graph=True, targets=leaves)
        finally:
            state.observers = outside
        return [norm(g) / math.sqrt(g.size) for g in found.values() if g.size and np.isfinite(g).all()]

    def _path(self) -> list[Edge]:
        """The way by which most of the gradient comes, from the loss to the tensor."""
        arrivals, path, node = self._arrivals(), [], self.target
        while node in arrivals:
            edge = max(arrivals[node], key=lambda e: e.norm)
            path.append(edge)
            node = edge.node
            while node not in arrivals and isinstance(node, Node) and not node.op.observed:
                node = cast(Node, node.parents[0])
        return path[::-1]

    def _profile(self, path: list[Edge]) -> str:
        """The norms along the way, at a few places."""
        if not path:
            return ""
        at = sorted({round(i * (len(path) - 1) / 4) for i in range(5)})
        steps = " > ".join(f"{path[i].norm:.2g} ({path[i].node.op.name})" for i in at)
        return f"Along the way of {len(path)} operations from the loss its norm goes {steps}."

    def _noise(self, path: list[Edge]) -> tuple[Edge, Reason] | None:
        """Where nothing but rounding errors of a gradient that is zero are passed on, and why it is zero."""
        for e in path:
            if e.norm >= 1e-4 * e.incoming:
                continue
            incoming = Flow(self.loss, self.target, keep={e.node}).incoming[e.node]
            if isinstance(incoming, tuple):
                continue
            g = exact(e.node, e.input, self.values.inputs(e.node), incoming)
            if g is not None and norm(g) < 1e-3 * e.norm:
                why = self._reason(e)
                if why.cause == "flat":
                    what = "passes on nothing but rounding errors of a gradient that is zero"
                    why = Reason("constant", what, "Use its output differently: the loss does not depend on it.")
                return e, why
        return None

    def _tiny(self, facts: list[str], path: list[Edge]) -> Explanation:
        verdict = f"The gradient of {self.name} is tiny: "
        cancelled = self._cancelled()
        if cancelled is not None:
            return self._cancels("tiny", verdict, cancelled)
        facts.append(self._profile(path))
        steps = [e for e in path if e.node.op.name not in ("mean", "sum") and e.incoming > 0]
        kinds = _by_kind(steps)
        op, edges, factor = min(kinds, key=lambda kind: kind[2])
        worst = min(edges, key=lambda e: e.norm / e.incoming)
        gain = worst.norm / worst.incoming
        if len(edges) > 2 and gain > factor**0.5:
            verdict += (
                f"it vanishes on the way; {len(edges)} x {op} shrink it by {factor:.1g} in all, first "
                f"{self.names.place(edges[0].node)}."
            )
            why = self._reason(worst)
            facts += [
                f"{op} passes on {factor ** (1 / len(edges)):.2g} of what arrives, on average; least, {gain:.2g}, at "
                f"{self.names.place(worst.node)}.",
                *why.facts,
            ]
            fix = (
                "Shorten the way: residual connections, normalisation, ReLU or GELU in the place of sigmoid and tanh, "
                "and initial weights with a gain near 1."
            )
            return self._answer("tiny", "vanishing", verdict, facts, fix, edges[0].node)
        why = self._reason(worst)
        verdict += f"{self.names.place(worst.node)} passes on only {gain:.1g} of what arrives: it {why.what}."
        cause = "shrunk" if why.cause == "flat" else why.cause
        fix = why.fix if why.cause != "flat" else "Look at the scale of its operands."
        return self._answer("tiny", cause, verdict, [*why.facts, *facts], fix, worst.node)

    def _huge(self, facts: list[str], path: list[Edge]) -> Explanation:
        verdict = f"The gradient of {self.name} is huge: "
        facts.append(self._profile(path))
        steps = [e for e in path if e.incoming > 0]
        op, edges, factor = max(_by_kind(steps), key=lambda kind: kind[2])
        worst = max(edges, key=lambda e: e.norm / e.incoming)
        gain = worst.norm / worst.incoming
        if factor <= 1:
            facts.append("No operation makes it grow: it is large from the loss on.")
        if len(edges) > 2 and gain < factor**0.5:
            verdict += (
                f"it explodes on the way; {len(edges)} x {op} make it {factor:.1g} times larger in all, first "
                f"{self.names.place(edges[0].node)}."
            )
            facts.append(f"It grows most, {gain:.3g} times, at {self.names.place(worst.node)}.")
            fix = "Clip it with clip_grad_norm_(), make the initial weights smaller, or normalise between the layers."
            return self._answer("huge", "exploding", verdict, facts, fix, edges[0].node)
        verdict += f"{self.names.place(worst.node)} makes it {gain:.3g} times larger."
        facts += [f"Its operand {text}." for text in _ranges(self.values.inputs(worst.node))]
        fix = "Bring its operands nearer to 1, take the mean in the place of the sum, or clip with clip_grad_norm_()."
        if worst.node.op.name in ("div", "sqrt", "rsqrt", "log", "pow", "norm"):
            fix = "Keep its operand away from 0: add a small eps. Or clip with clip_grad_norm_()."
        return self._answer("huge", "amplified", verdict, facts, fix, worst.node)


def _by_kind(path: list[Edge]) -> list[tuple[str, list[Edge], float]]:
    """The operations on the way by name: their edges, and by what they multiply the norm together."""
    kinds: dict[str, list[Edge]] = {}
    for e in path:
        kinds.setdefault(e.node.op.name, []).append(e)
    found = []
    for op, edges in kinds.items():
        logs = [math.log(e.norm / e.incoming) if e.norm else -math.inf for e in edges]
        found.append((op, edges, math.exp(max(min(sum(logs), 700), -700))))
    return found


def _ranges(inputs: list[Any]) -> list[str]:
    return [
        f"{i} goes from {float(x.min()):.4g} to {float(x.max()):.4g}"
        for i, x in enumerate(inputs)
        if hasattr(x, "dtype") and is_floating(x.dtype) and x.size
    ]  # fmt: skip
