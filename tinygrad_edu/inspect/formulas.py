"""The formula of each operation: how one element of its output came about, and the local derivatives.

Operations of each element by itself are rows of RULES. The formula of any other is a function that stands below the
operation's name; it says how the element came about (`Element.line`), and which elements of the inputs are followed and
with which derivative (`Element.use`). An operation that has no formula is asked for the derivatives: see `_ask`.
Numbers are computed from the inputs in float64.
"""

from __future__ import annotations

import functools
import itertools
import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from ..autograd.engine import sum_to, whole
from ..backend import dtypes
from ..backend.random import keep_mask
from ..ops.attention import weights_shape
from ..ops.indexing import first_index_axis
from .element import (
    SHOWN,
    Element,
    Index,
    NoFormula,
    Use,
    at,
    chosen,
    factor,
    is_floating,
    largest,
    part,
    place,
    products,
    projected,
    repeated,
    shape_of,
    short,
    total,
)
from .record import Opaque
from .replay import reference_ops
from .values import on_host

Formula = Callable[[Element], None]
FORMULAS: dict[str, Formula] = {}


def explain(name: str, attrs: dict[str, Any], inputs: Sequence[Any], y: Any) -> Element | None:
    """What is known of the chosen element of an output. None: it has no elements."""
    index = chosen(y)
    if index is None:
        return None
    element = Element(name, attrs, inputs, y, index)
    try:
        FORMULAS.get(name, _ask)(element)
    except NoFormula:
        _ask(element)
    return element


def formula(*names: str) -> Callable[[Formula], Formula]:
    """The function below is the formula of these operations. It raises NoFormula, first of all, where it is not."""

    def register(function: Formula) -> Formula:
        FORMULAS.update(dict.fromkeys(names, function))
        return function

    return register


def _ask(e: Element) -> None:
    """An operation without a formula: its own backward says what a gradient of 1 at the element becomes."""
    e.exact = False
    kind = reference_ops().get(e.name)
    known = kind is not None and kind.differentiable and is_floating(e.y) and not _any_opaque(e.attrs.values())
    e.lines.append(f"{place('y', e.index)} = {short(e.value)}, by {e.name}{', without a derivative' * (not known)}")
    if kind is None or not known:
        return
    arrays = [dtypes.wide(on_host(x)) if hasattr(x, "shape") else x for x in e.inputs]
    _, saved = kind.forward(np, *arrays, **e.attrs)
    one = np.zeros(e.y.shape, dtypes.wide(e.y).dtype)
    one[e.index] = 1
    found = kind.backward(np, saved, one)
    for k, g in enumerate(found if isinstance(found, tuple) else (found,)):
        if not is_floating(arrays[k]) or not arrays[k].size:
            continue
        g = whole(g() if callable(g) else g, np)
        if g is None:
            continue
        g = sum_to(g, arrays[k].shape) if g.shape != arrays[k].shape else g
        source = largest(np.nan_to_num(np.abs(g), nan=np.inf))
        name = f"x{k}" if len(arrays) > 1 else "x"
        e.uses.append(Use(k, name, source, float(arrays[k][source]), "", [(e.index, float(g[source]))], None))


def _any_opaque(values: Any) -> bool:
    return any(isinstance(v, Opaque) or (isinstance(v, (tuple, list)) and _any_opaque(v)) for v in values)


# ---- element by element ----------------------------------------------------------------------------------------------

Numbers = Mapping[str, Any]


class Rule(NamedTuple):
    """An operation of each element by itself. Texts are Python's expressions, but with · ^ ² ³ as one writes them, of
    the inputs, the output y, the operation's settings, and values on the way."""

    inputs: dict[str, float | None]
    """Their names; and the number that one which is left out stands for."""
    y: str
    slopes: Sequence[str | None | tuple[str, Callable[[Numbers], Any]]]
    """The derivative by each input, None if there is none; a function beside the text where the text has gaps."""
    where: dict[str, str]
    """Values on the way."""


def rule(inputs: str, y: str, *slopes: str | None | tuple[str, Callable[[Numbers], Any]], **where: str) -> Rule:
    names = [name.partition("=") for name in inputs.split()]
    return Rule({name: float(default) if default else None for name, _, default in names}, y, slopes, where)


def _by_base(v: Numbers) -> Any:
    return v["b"] * v["a"] ** (v["b"] - 1) if v["b"] else 0.0


def _by_exponent(v: Numbers) -> Any:
    return v["y"] * np.log(v["a"]) if v["a"] or v["b"] < 0 else 0.0


RULES = {
    # arithmetic
    "add": rule("a b", "a + b", "1", "1"),
    "sub": rule("a b", "a - b", "1", "-1"),
    "mul": rule("a b", "a·b", "b", "a"),
    "div": rule("a b", "a / b", "1 / b", "-a / b²"),
    "neg": rule("x", "-x", "-1"),
    "abs": rule("x", "abs(x)", "1 if x > 0 else -1 if x < 0 else 0"),
    "lerp": rule("a b w", "a + w·(b - a)", "1 - w", "w", "b - a"),
    # powers, exponentials, logarithms
    "pow": rule("a b", "a^b", ("b·a^(b - 1)", _by_base), ("y·ln(a)", _by_exponent)),
    "sqrt": rule("x", "sqrt(x)", "1 / (2·y)"),
    "rsqrt": rule("x", "1 / sqrt(x)", "-y³ / 2"),
    "exp": rule("x", "exp(x)", "y"),
    "exp2": rule("x", "2^x", "y·ln(2)"),
    "expm1": rule("x", "exp(x) - 1", "y + 1"),
    "log": rule("x", "ln(x)", "1 / x"),
    "log1p": rule("x", "ln(1 + x)", "1 / (1 + x)"),
    "log2": rule("x", "ln(x) / ln(2)", "1 / (x·ln(2))"),
    "log10": rule("x", "ln(x) / ln(10)", "1 / (x·ln(10))"),
    "sin": rule("x", "sin(x)", "cos(x)"),
    "cos": rule("x", "cos(x)", "-sin(x)"),
    # activations
    "relu": rule("x", "max(x, 0)", "0 if x <= 0 else 1"),
    "leaky_relu": rule("x", "x if x > 0 else slope·x", "1 if x > 0 else slope"),
    "elu": rule("x", "x if x > 0 else alpha·(exp(x) - 1)", "1 if x > 0 else alpha·exp(x)"),
    "hardtanh": rule("x", "min(max(x, low), high)", "0 if x <= low or x >= high else 1"),
    "tanh": rule("x", "tanh(x)", "1 - y²"),
    "sigmoid": rule("x", "1 / (1 + exp(-x))", "y·(1 - y)"),
    "logsigmoid": rule("x", "ln(sigmoid(x))", "sigmoid(-x)"),
    "silu": rule("x", "x·s", "s + y·(1 - s)", s="sigmoid(x)"),
    "gelu": rule("x", "x·Φ", "Φ + x·φ", Φ="erfc(-x / sqrt(2)) / 2", φ="exp(-x² / 2) / sqrt(2·pi)"),
    "gelu_tanh": rule(
        "x", "x·(1 + t) / 2", "(1 + t) / 2 + x·(1 - t²) / 2·u",
        t="tanh(sqrt(2 / pi)·(x + 0.044715·x³))", u="sqrt(2 / pi)·(1 + 0.134145·x²)",
    ),
    # choices
    "clamp": rule(
        "x low=-inf high=inf", "min(max(x, low), high)",
        "1 if low <= x <= high else 0", "1 if x < low < high else 0", "1 if x > high or high < low else 0",
    ),
    "maximum": rule("a b", "max(a, b)", "0 if a < b else 0.5 if a == b else 1", "0 if b < a else 0.5 if a == b else 1"),
    "minimum": rule("a b", "min(a, b)", "0 if b < a else 0.5 if a == b else 1", "0 if a < b else 0.5 if a == b else 1"),
    "where": rule("c a b", "a if c else b", None, "1 if c else 0", "0 if c else 1"),
    "masked_fill": rule("x m v", "v if m else x", "0 if m else 1", None, "1 if m else 0"),
    # copies
    **dict.fromkeys(("clone", "contiguous", "to_device"), rule("x", "x", "1")),
    # losses
    "binary_cross_entropy_with_logits": rule("x t", "(1 - t)·x - ln(s)", "s - t", "-x", s="sigmoid(x)"),
    "huber_loss": rule(
        "x t", "d² / 2 if abs(d) <= delta else delta·(abs(d) - delta / 2)",
        "max(-delta, min(delta, d))", "-max(-delta, min(delta, d))", d="x - t",
    ),
    # steps and questions
    "sign": rule("x", "1 if x > 0 else -1 if x < 0 else 0", "0"),
    "floor": rule("x", "floor(x)", "0"),
    "ceil": rule("x", "ceil(x)", "0"),
    "eq": rule("a b", "1 if a == b else 0"),
    "ne": rule("a b", "1 if a != b else 0"),
    "lt": rule("a b", "1 if a < b else 0"),
    "le": rule("a b", "1 if a <= b else 0"),
    "gt": rule("a b", "1 if a > b else 0"),
    "ge": rule("a b", "1 if a >= b else 0"),
}  # fmt: skip


def by_rule(rule: Rule, e: Element) -> None:
    """The formula that a rule says."""
    given: list[Any] = [default if x is None else x for x, default in zip(e.inputs, rule.inputs.values(), strict=False)]
    if any(x is not None for x in e.inputs[len(given) :]):
        raise NoFormula  # such as a pos_weight
    inputs = dict(zip(rule.inputs, given, strict=True))
    settings = {name: np.float64(v) for name, v in e.attrs.items() if isinstance(v, (int, float))}

    def numbers(index: Index) -> dict[str, Any]:
        found = settings | {name: at(x, projected(index, shape_of(x))) for name, x in inputs.items()}
        found["y"] = at(e.y, index)
        for name, text in rule.where.items():
            found[name] = _evaluated(text, found)
        return found

    here = numbers(e.index)
    filled = {name: factor(v) for name, v in here.items()}
    letters = {name: factor(v) for name, v in settings.items()} | {name: name for name in rule.where}
    letters |= {
        name: place(name, projected(e.index, x.shape)) if hasattr(x, "shape") else factor(x)
        for name, x in {**inputs, "y": e.y}.items()
    }
    e.line(_written(rule.y, letters), "" if rule.y in filled else _written(rule.y, filled))
    for name, text in rule.where.items():
        e.lines.append(f"{name} = {_written(text, letters)} = {_written(text, filled)} = {short(here[name])}")
    for k, (name, x, slope) in enumerate(zip(inputs, given, rule.slopes, strict=False)):
        if slope is None or not hasattr(x, "shape"):
            continue
        text, value = (slope, functools.partial(_evaluated, slope)) if isinstance(slope, str) else slope

        def at_place(i: Index, value: Callable[[Numbers], Any] = value) -> Any:
            return value(numbers(i))

        e.use(
            k, name, projected(e.index, x.shape), at_place, _written(text, letters),
            "" if text in filled else _written(text, filled), repeated(x.shape, e.y.shape),
        )  # fmt: skip


def _written(text: str, names: Mapping[str, str]) -> str:
    """A rule's text with these in the place of names."""
    text = re.sub("[A-Za-zΦφ]+", lambda found: names.get(found[0], found[0]), text)
    return re.sub(r"\((\([^()]*\))\)", r"\1", text)  # not exp((-2))


def _evaluated(text: str, numbers: Numbers) -> Any:
    """What a rule's text comes to."""
    return eval(_compiled(text), _MATHEMATICS, numbers)  # of texts in RULES, never of one from a file


@functools.cache
def _compiled(text: str) -> Any:
    for mark, meaning in ("·", "*"), ("²", "**2"), ("³", "**3"), ("^", "**"):
        text = text.replace(mark, meaning)
    return compile(text, "a rule", "eval")


_MATHEMATICS: dict[str, Any] = {
    "__builtins__": {}, "pi": math.pi, "exp": np.exp, "ln": np.log, "sqrt": np.sqrt, "tanh": np.tanh, "sin": np.sin,
    "cos": np.cos, "abs": np.abs, "max": np.maximum, "min": np.minimum, "erfc": math.erfc,
    "sigmoid": lambda x: 1 / (1 + np.exp(-x)),
}  # fmt: skip

FORMULAS.update({name: functools.partial(by_rule, rule) for name, rule in RULES.items()})


@formula("dropout")
def _dropout(e: Element) -> None:
    mask = reference_ops()["dropout"].forward(np, np.ones(e.y.shape, e.y.dtype), **e.attrs)[0]
    x, m = at(e.inputs[0], e.index), factor(at(mask, e.index))
    e.line(f"m·{place('x', e.index)}", f"{m}·{factor(x)}", "m = 0 where it was dropped, else 1 / (1 - p)")
    e.use(0, "x", e.index, lambda i: at(mask, i), "m", m)


# ---- the same elements elsewhere -------------------------------------------------------------------------------------


def _copied(e: Element, source: Index, name: str = "x", k: int = 0, free: Sequence[int] = ()) -> None:
    """The element is one of input k."""
    e.line(place(name, source))
    e.use(k, name, source, 1.0, "1", free=free)


@formula("cast")
def _cast(e: Element) -> None:
    to = e.y.dtype.name
    e.line(f"{to}({place('x', e.index)})", f"{to}({short(at(e.inputs[0], e.index))})")
    e.use(0, "x", e.index, 1.0, "1")


@formula("reshape")
def _reshape(e: Element) -> None:
    flat = np.ravel_multi_index(e.index, e.y.shape) if e.index else 0
    shape = e.inputs[0].shape
    _copied(e, tuple(int(i) for i in np.unravel_index(int(flat), shape)) if shape else ())


@formula("permute", "slice", "flip", "diagonal")
def _view(e: Element) -> None:
    """The source of an element of a view: the same view of arrays that hold, at no cost, each element's own place."""
    shape = e.inputs[0].shape
    forward = reference_ops()[e.name].forward
    grids = (
        np.broadcast_to(np.arange(n).reshape([n if a == axis else 1 for a in range(len(shape))]), shape)
        for axis, n in enumerate(shape)
    )
    _copied(e, tuple(int(forward(np, grid, **e.attrs)[0][e.index]) for grid in grids))


@formula("expand")
def _expand(e: Element) -> None:
    shape = e.inputs[0].shape
    _copied(e, projected(e.index, shape), free=repeated(shape, e.y.shape))


@formula("cat")
def _cat(e: Element) -> None:
    axis = e.attrs["axis"]
    ends = np.cumsum([x.shape[axis] for x in e.inputs])
    k = int(np.searchsorted(ends, e.index[axis], side="right"))
    position = e.index[axis] - int(ends[k]) + e.inputs[k].shape[axis]
    _copied(e, (*e.index[:axis], position, *e.index[axis + 1 :]), f"x{k}", k)


@formula("tril", "triu")
def _triangle(e: Element) -> None:
    row, column = e.index[-2:]
    if column - row <= e.attrs["k"] if e.name == "tril" else column - row >= e.attrs["k"]:
        _copied(e, e.index)
    else:
        e.lines.append(f"{place('y', e.index)} = 0, {'above' if e.name == 'tril' else 'below'} the diagonal")
        e.use(0, "x", e.index, 0.0, "0")


def _picked(
    e: Element, name: str, source: Index, same: Any, where: Callable[[Index], Index], slope: float = 1.0,
    formula: str = "1",
) -> None:  # fmt: skip
    """The element is that of input 0 which an array of indices picks. `same` is true wherever the indices pick it, and
    `where` says at which place of the output it stands then."""
    if is_floating(e.inputs[0]):
        places = (where(tuple(map(int, i))) for i in np.argwhere(same))
        first = itertools.islice((i for i in places if i != e.index), SHOWN - 1)
        terms = [(i, slope) for i in (e.index, *first)]
        count = int(np.count_nonzero(same))
        e.uses.append(Use(0, name, source, float(at(e.inputs[0], source)), formula, terms, count))


@formula("embedding")
def _embedding(e: Element) -> None:
    indices = on_host(e.inputs[1])
    *n, column = e.index
    row = int(indices[tuple(n)])
    same = indices == row
    slope, formula = 1.0, "1"
    if e.attrs.get("padding_idx") == row:
        slope, formula = 0.0, "0"
    elif e.attrs.get("by_frequency"):
        times = int(np.count_nonzero(same))
        slope, formula = 1 / times, f"1 / {times}"
    note = f"row {row} of the table" + ", which gets no gradient, as padding" * (slope == 0)
    e.line(place("weight", (row, column)), note=note)
    _picked(e, "weight", (row, column), same, lambda i: (*i, column), slope, formula)


@formula("index")
def _index(e: Element) -> None:
    x, axes = e.inputs[0], e.attrs["axes"]
    arrays = np.broadcast_arrays(*(on_host(i) for i in e.inputs[1:]))
    rank, first = arrays[0].ndim, first_index_axis(axes)
    picked = [a % x.shape[axis] for a, axis in zip(arrays, axes, strict=True)]
    before, here, after = e.index[:first], e.index[first : first + rank], e.index[first + rank :]
    source = [*before, *after]
    for a, axis in zip(picked, axes, strict=True):
        source.insert(axis, int(a[here]))
    same = np.logical_and.reduce([a == a[here] for a in picked])
    e.line(place("x", source))
    _picked(e, "x", tuple(source), same, lambda i: (*before, *i, *after))


@formula("gather")
def _gather(e: Element) -> None:
    index, axis = on_host(e.inputs[1]) % e.inputs[0].shape[e.attrs["axis"]], e.attrs["axis"]
    before, position, after = e.index[:axis], int(index[e.index]), e.index[axis + 1 :]
    same = index[(*before, slice(None), *after)] == position
    source = (*before, position, *after)
    e.line(place("x", source))
    _picked(e, "x", source, same, lambda i: (*before, *i, *after))


# ---- sums ------------------------------------------------------------------------------------------------------------


def _group(e: Element) -> tuple[Any, Callable[[Sequence[int]], Index]]:
    """The elements of input 0 that a reduction's element is made of, and the place in the input of one of them."""
    axes = e.attrs["axis"]
    kept = iter(e.index if not e.attrs["keepdims"] else [i for a, i in enumerate(e.index) if a not in axes])
    pick = [slice(None) if a in axes else next(kept) for a in range(e.inputs[0].ndim)]

    def source(inside: Sequence[int]) -> Index:
        places = iter(inside)
        return tuple(int(next(places)) if isinstance(p, slice) else p for p in pick)

    return e.inputs[0][tuple(pick)], source


@formula("sum", "mean")
def _sum(e: Element) -> None:
    group, source = _group(e)
    n = group.size
    first = list(itertools.islice(np.ndindex(group.shape), SHOWN))
    letters = total([place("x", source(i)) for i in first], n)
    numbers = total([factor(at(group, i)) if k else short(at(group, i)) for k, i in enumerate(first)], n)
    if e.name == "sum":
        e.line(letters, numbers)
    else:
        e.line(f"({letters}) / {n}", f"({numbers}) / {n}")
    if first:
        slope, formula = (1.0, "1") if e.name == "sum" else (1 / n, f"1 / {n}")
        e.use(0, "x", source(first[0]), slope, formula)


@formula("amax", "amin")
def _extreme(e: Element) -> None:
    group, source = _group(e)
    equal = on_host(group) == e.value
    n = int(np.count_nonzero(equal))
    if not n:  # NaN
        raise NoFormula
    first, what = source(largest(equal)), "largest" if e.name == "amax" else "smallest"
    e.line(place("x", first), note=f"the {what} of {equal.size:,}" + f", of which {n:,} are equal" * (n > 1))
    e.use(0, "x", first, 1 / n, "1" if n == 1 else f"1 / {n}")


@formula("linear")
def _linear(e: Element) -> None:
    """y[n,o] = Σ_k x[n,k]·w[o,k] + b[o]"""
    x, w, b = e.inputs
    *row, o = e.index
    size = w.shape[1]
    letters = f"Σ_k {place('x', (*row, 'k'))}·{place('w', (o, 'k'))}"
    first = slice(0, SHOWN)
    numbers = total(products(part(x, (*row, first)), part(w, (o, first))), size)
    if b is not None:
        letters, numbers = f"{letters} + {place('b', (o,))}", f"{numbers} + {factor(at(b, (o,)))}"
    e.line(letters, numbers)
    rows = range(len(row))
    if size:
        x0, w0 = (*row, 0), (o, 0)
        e.use(0, "x", x0, lambda i: at(w, (i[-1], 0)), place("w", w0), free=[len(row)])
        e.use(1, "w", w0, lambda i: at(x, (*i[:-1], 0)), place("x", x0), free=rows)
    if b is not None:
        e.use(2, "b", (o,), 1.0, "1", free=rows)


@formula("matmul")
def _matmul(e: Element) -> None:
    """y[n,m] = Σ_k a[n,k]·b[k,m]. A vector a is one row, a vector b one column; y has no axis for them."""
    a, b = e.inputs
    rows, columns = a.ndim > 1, b.ndim > 1
    batch = len(e.index) - rows - columns  # how many axes of y are neither

    def in_a(i: Index, k: Any) -> tuple[Any, ...]:
        return (*projected(i[:batch], a.shape[:-2]), *((i[batch],) if rows else ()), k)

    def in_b(i: Index, k: Any) -> tuple[Any, ...]:
        return (*projected(i[:batch], b.shape[:-2]), k, *((i[-1],) if columns else ()))

    size, first = a.shape[-1], slice(0, SHOWN)
    e.line(
        f"Σ_k {place('a', in_a(e.index, 'k'))}·{place('b', in_b(e.index, 'k'))}",
        total(products(part(a, in_a(e.index, first)), part(b, in_b(e.index, first))), size),
    )
    if size:
        a0, b0, over = in_a(e.index, 0), in_b(e.index, 0), e.y.shape[:batch]
        in_row = [*repeated(a.shape[:-2], over), *([len(e.index) - 1] if columns else [])]
        in_column = [*repeated(b.shape[:-2], over), *([batch] if rows else [])]
        e.use(0, "a", a0, lambda i: at(b, in_b(i, 0)), place("b", b0), free=in_row)
        e.use(1, "b", b0, lambda i: at(a, in_a(i, 0)), place("a", a0), free=in_column)


# ---- rows ------------------------------------------------------------------------------------------------------------


@formula("softmax", "log_softmax")
def _softmax(e: Element) -> None:
    """y[c] = exp(x[c]) / Σ_k exp(x[k]), or its logarithm; m, the largest, keeps exp from overflowing."""
    if len(e.attrs["axis"]) != 1:
        raise NoFormula
    x, (axis,) = e.inputs[0], e.attrs["axis"]
    row = part(x, (*e.index[:axis], slice(None), *e.index[axis + 1 :]))
    v, m = at(x, e.index), row.max()
    s = np.exp(row - m).sum()
    logarithm = e.name == "log_softmax"
    text = "{} - {} - ln({})" if logarithm else "exp({} - {}) / {}"
    e.line(text.format(place("x", e.index), "m", "s"), text.format(short(v), factor(m), short(s)))
    e.lines.append(f"m = {short(m)}, the largest of {len(row):,} x; s = Σ exp(x - m) = {short(s)}")
    y, p = place("y", e.index), np.exp(e.value) if logarithm else e.value
    text = "1 - exp({})" if logarithm else "{0}·(1 - {0})"

    def slope(i: Index) -> Any:
        own = float(i == e.index)
        return own - p if logarithm else at(e.y, i) * (own - p)

    e.use(0, "x", e.index, slope, text.format(y), text.format(short(e.value)), free=[axis])


@formula("layer_norm", "rms_norm")
def _norm(e: Element) -> None:
    """y = h·w + b with h = (x - m)·r: m is the mean of the row, r one over its standard deviation. rms_norm has neither
    m nor b."""
    x, w, b = (*e.inputs, None)[:3]
    centred, weighted = e.name == "layer_norm", w is not None
    *n, c = e.index
    size, eps = x.shape[-1], e.attrs["eps"]
    weight = part(w, (slice(None),)) if weighted else np.ones(size)

    @functools.cache
    def row(place: Index) -> tuple[np.ndarray, float, float]:
        """h, m and r of a row."""
        values = part(x, place)
        m = float(values.mean()) if centred else 0.0
        r = float(1 / np.sqrt(np.square(values - m).mean() + eps))
        return (values - m) * r, m, r

    hs, m, r = row(tuple(n))
    h = hs[c]
    letters, numbers = "h", short(h)
    if weighted:
        letters, numbers = f"{letters}·{place('w', (c,))}", f"{numbers}·{factor(weight[c])}"
    if b is not None:
        letters, numbers = f"{letters} + {place('b', (c,))}", f"{numbers} + {factor(at(b, (c,)))}"
    e.line(letters, numbers)
    text = "({0} - {1})·{2}" if centred else "{0}·{2}"
    of_h = text.format(place("x", e.index), "m", "r"), text.format(short(at(x, e.index)), factor(m), short(r))
    e.lines.append(f"h = {of_h[0]} = {of_h[1]} = {short(h)}")
    if centred:
        e.lines.append(f"m = {short(m)}, the mean of {size:,} x")
    e.lines.append(f"r = 1 / sqrt({'the variance' if centred else 'the mean of x²'} + {short(eps)}) = {short(r)}")

    def slope(i: Index) -> Any:
        own = float(i == e.index) - centred / size
        return weight[i[-1]] * r * (own - h * hs[i[-1]] / size)

    letters = f"r{'·w' * weighted}·(1{' - 1/n' * centred} - h²/n)"
    scale = f"{short(r)}{f'·{factor(weight[c])}' * weighted}"
    numbers = f"{scale}·(1{f' - 1/{size}' * centred} - {factor(h)}²/{size})"
    e.use(0, "x", e.index, slope, letters, numbers, free=[len(n)])
    if weighted:
        e.use(1, "w", (c,), lambda i: row(i[:-1])[0][c], "h", free=range(len(n)))
    if b is not None:
        e.use(2, "b", (c,), 1.0, "1", free=range(len(n)))


# ---- attention and losses --------------------------------------------------------------------------------------------


@formula("scaled_dot_product_attention")
def _attention(e: Element) -> None:
    """y[i,c] = Σ_j w[j]·v[j,c]: w is p after dropout, p = softmax(s), and s[j] = scale·q[i]·k[j] is key j's score."""
    q, k, v, bias = e.inputs
    scale, dropout = e.attrs["scale"], e.attrs.get("dropout")
    keep = None if dropout is None else keep_mask(np, weights_shape(q, k, v), e.y.dtype, *dropout)
    *_, row, channel = e.index
    over = e.y.shape[:-2]

    def of(x: Any, i: Index) -> Index:
        """The batch entry of an input that belongs to a place of y."""
        return projected(i[:-2], x.shape[:-2])

    @functools.cache
    def weights(i: Index) -> tuple[np.ndarray, np.ndarray]:
        """p and w of a query, i without the channel."""
        i = (*i, 0)
        scores = part(k, of(k, i)) @ part(q, (*of(q, i), i[-2])) * scale
        if e.attrs["is_causal"]:
            scores[i[-2] + 1 :] = -np.inf
        if bias is not None:
            scores = scores + part(bias, projected(i[:-1], bias.shape[:-1]))
        top = scores.max(initial=-np.inf)
        p = np.exp(scores - (0 if top == -np.inf else top))
        p = p / (p.sum() or 1)
        return p, p if keep is None else p * part(keep, projected(i[:-1], keep.shape[:-1]))

    def values(i: Index) -> np.ndarray:
        return part(v, (*of(v, i), slice(None), i[-1]))

    def by_scores(i: Index) -> np.ndarray:
        """dy/ds[j] of each key j."""
        p, w = weights(i[:-1])
        return w * values(i) - p * (w @ values(i))

    p, w = weights(e.index[:-1])
    if not len(p):
        raise NoFormula
    vs, seen, name = values(e.index), np.flatnonzero(p), "p" if keep is None else "w"
    e.line(f"Σ_j {name}[j]·v[j,{channel}]", total(products(w[seen[:SHOWN]], vs[seen[:SHOWN]]), len(seen)))
    if keep is not None:
        e.lines.append("w = p after dropout")
    score = f"{short(scale)}·q[{row}]·k[j]" + " + bias[j]" * (bias is not None)
    e.lines.append(f"p = softmax of {score} over {len(seen):,} keys j")

    j, queries, channels = largest(p)[0], len(over), len(over) + 1
    letters = f"({name}[{j}]·v[{j},{channel}] - p[{j}]·y)"
    numbers = f"({short(w[j])}·{factor(vs[j])} - {short(p[j])}·{factor(e.value)})"
    if q.shape[-1]:
        at_q, at_k = (*of(q, e.index), row, 0), (*of(k, e.index), j, 0)
        e.use(
            0, "q", at_q, lambda i: scale * (by_scores(i) @ part(k, (*of(k, i), slice(None), 0))),
            f"{short(scale)}·Σ_j ({name}[j]·v[j,{channel}] - p[j]·y)·k[j,0]",
            free=[*repeated(q.shape[:-2], over), channels],
        )  # fmt: skip
        e.use(
            1, "k", at_k, lambda i: scale * by_scores(i)[j] * at(q, (*of(q, i), i[-2], 0)),
            f"{letters}·{short(scale)}·q[{row},0]", f"{numbers}·{short(scale)}·{factor(at(q, at_q))}",
            free=[*repeated(k.shape[:-2], over), queries, channels],
        )  # fmt: skip
    e.use(
        2, "v", (*of(v, e.index), j, channel), lambda i: weights(i[:-1])[1][j], f"{name}[{j}]",
        free=[*repeated(v.shape[:-2], over), queries],
    )  # fmt: skip
    if is_floating(bias) and bias.shape[-2:] == (q.shape[-2], len(p)):
        e.use(
            3, "bias", (*of(bias, e.index), row, j), lambda i: by_scores(i)[j], letters, numbers,
            free=[*repeated(bias.shape[:-2], over), channels],
        )  # fmt: skip


def _ignored(e: Element, target: int) -> bool:
    """Whether a row does not count in a loss."""
    if target != e.attrs["ignore_index"]:
        return False
    e.lines.append(f"{place('y', e.index)} = 0, as target {target} does not count")
    e.use(0, "x", (*e.index, 0), 0.0, "0")
    return True


@formula("cross_entropy")
def _cross_entropy(e: Element) -> None:
    """y[n] = w[t]·(z - x[n,t]) with z = ln Σ_c exp(x[n,c]) and the target t. With label smoothing s only 1 - s of this,
    and s of the mean of w[c]·(z - x[n,c]) over all classes c."""
    x, targets, w = e.inputs
    (n,) = e.index
    t, s, classes = int(targets[n]), e.attrs["label_smoothing"], x.shape[1]
    if _ignored(e, t):
        return
    row = part(x, (n,))
    weight = np.ones(classes) if w is None else part(w, (slice(None),))
    top = row.max()
    z = top + np.log(np.exp(row - top).sum())
    p = np.exp(row - z)
    of_target, of_each = (1 - s) * weight[t], s / classes  # the factors of z - x[n,t] and of each w[c]·(z - x[n,c])
    letters, numbers = f"z - {place('x', (n, t))}", f"{short(z)} - {factor(row[t])}"
    if w is not None or s:
        letters, numbers = f"{short(of_target)}·({letters})", f"{short(of_target)}·({numbers})"
    if s:
        letters += f" + {short(of_each)}·Σ_c {'w[c]·' * (w is not None)}(z - x[{n},c])"
        numbers += f" + {short(of_each)}·{factor(weight @ (z - row))}"
    e.line(letters, numbers)
    e.lines.append(f"z = ln Σ_c exp(x[{n},c]) = {short(z)}, over {classes:,} classes c; {t} is the target")
    of_z = of_target + of_each * weight.sum()
    rival = int(np.where(np.arange(classes) == t, -np.inf, row).argmax())
    for c in (t, rival) if classes > 1 else (t,):
        scale = f"{short(of_z)}·" * (w is not None or s > 0)
        less = (f" - {short(of_each * weight[c])}" if s else "") + (f" - {short(of_target)}" if c == t else "")
        slope = of_z * p[c] - of_each * weight[c] - (of_target if c == t else 0.0)
        e.use(0, "x", (n, c), slope, f"{scale}p[{c}]{less}", f"{scale}{short(p[c])}{less}")
    e.lines.append(f"p = softmax(x[{n}])")


@formula("nll_loss")
def _nll(e: Element) -> None:
    """y[n] = -w[t]·x[n,t] with the target t."""
    x, targets, w = e.inputs
    (n,) = e.index
    t = int(targets[n])
    if _ignored(e, t):
        return
    v = at(x, (n, t))
    if w is None:
        e.line(f"-{place('x', (n, t))}", f"-{factor(v)}", f"as {t} is the target")
        e.use(0, "x", (n, t), -1.0, "-1")
    else:
        weight = at(w, (t,))
        e.line(f"-w[{t}]·{place('x', (n, t))}", f"-{factor(weight)}·{factor(v)}", f"as {t} is the target")
        e.use(0, "x", (n, t), -weight, f"-w[{t}]", f"-{factor(weight)}")
