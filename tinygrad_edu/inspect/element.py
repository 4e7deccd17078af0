"""One element of an operation's output: where it stands, how it came about, and from which elements of the inputs.

What is known of each operation stands in `formulas`; here is what the formulas are written with.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..backend import dtypes
from .values import CORNER, WHOLE, on_host

Index = tuple[int, ...]
SHOWN = 3  # terms of a sum that are written out


class NoFormula(Exception):
    """The formula of an operation does not hold for this case of it."""


@dataclass(frozen=True, slots=True)
class Use:
    """An element of an input that the output's element depends on."""

    input: int
    name: str
    """Of the input in the formulas, such as "x"."""
    index: Index
    value: float
    formula: str
    """Of the local derivative, in letters and then in numbers; "" if it is not known, or the number says it all."""
    terms: list[tuple[Index, float]]
    """Elements of the output that depend on it, the chosen one first, and the derivative of each: at most SHOWN."""
    count: int | None
    """How many elements of the output can depend on it; None: not known."""


class Element:
    """One element of an operation's output, and what is found out about it."""

    def __init__(self, name: str, attrs: dict[str, Any], inputs: Sequence[Any], y: Any, index: Index) -> None:
        self.name, self.attrs, self.inputs, self.y, self.index = name, attrs, inputs, y, index
        self.value = at(y, index)
        self.lines: list[str] = []
        self.uses: list[Use] = []
        self.exact = True

    def line(self, letters: str, numbers: str = "", note: str = "") -> None:
        """Add `y[0,3] = letters = value`, or with numbers `y[0,3] = letters` and below it `= numbers = value`."""
        self.lines.append(f"{place('y', self.index)} = {letters}")
        if numbers:
            self.lines.append(f"= {numbers}")
        self.lines[-1] += f" = {short(self.value)}{', ' * bool(note)}{note}"

    def use(
        self,
        k: int,
        name: str,
        index: Index,
        slope: float | Callable[[Index], Any],
        letters: str = "",
        numbers: str = "",
        free: Iterable[int] = (),
    ) -> None:
        """Follow an element of input k. Along the axes `free` all elements of the output depend on it, with this slope;
        letters and numbers are the formula of the slope at the chosen one."""
        if not (is_floating(self.inputs[k]) and is_floating(self.y)):
            return  # there is no derivative
        free = tuple(free)
        places = (self.index, *itertools.islice(others(self.index, self.y.shape, free), SHOWN - 1))
        terms = [(i, float(slope(i) if callable(slope) else slope)) for i in places]
        formula = letters if numbers in ("", letters, short(terms[0][1])) else f"{letters} = {numbers}"
        count = math.prod(self.y.shape[a] for a in free)
        self.uses.append(Use(k, name, index, float(at(self.inputs[k], index)), formula, terms, count))


def chosen(y: Any) -> Index | None:
    """The element that is followed: the largest in magnitude in the last row of a ValueRecord's sample (of all of it if
    that row holds nothing but 0, NaN and infinity; the first of equals). None: there are no elements.

    So what is followed of a sequence is one token, seldom a 0, and with causal attention one that sees several others.
    """
    if not y.size:
        return None
    corner = y
    if y.size > WHOLE:
        corner = y[(*(slice(0, 1),) * (y.ndim - 2), *(slice(0, CORNER),) * min(y.ndim, 2))]
    block = on_host(corner).astype(np.float64)
    size = np.where(np.isfinite(block), np.abs(block), 0)
    if size.ndim > 1 and (row := size[tuple(n - 1 for n in size.shape[:-1])]).any():
        return (*(n - 1 for n in size.shape[:-1]), int(row.argmax()))
    return largest(size)


def largest(x: np.ndarray) -> Index:
    """Where the largest element of an array is."""
    return tuple(int(i) for i in np.unravel_index(int(x.argmax()), x.shape))


# ---- text ------------------------------------------------------------------------------------------------------------


def place(name: str, index: Sequence[int | str]) -> str:
    return f"{name}[{','.join(map(str, index))}]" if index else name


def short(v: Any) -> str:
    """A number as it is read: four digits, but no integer looks like a fraction, and no fraction like an integer."""
    v = float(v)
    if v.is_integer() and abs(v) < 1e6:
        return f"{v + 0:.0f}"  # + 0: -0.0 is 0
    text = f"{v:.4g}"
    return f"{v:#.5g}" if text.lstrip("-").isdigit() else text


def factor(v: Any) -> str:
    """A number inside a formula."""
    text = short(v)
    return f"({text})" if text.startswith("-") else text


def total(terms: Sequence[str], count: int) -> str:
    """A sum of so many terms, of which these are the first."""
    return " + ".join(terms) + (f" + … ({count:,} terms)" if count > len(terms) else "") or "0"


def products(xs: Iterable[Any], ws: Iterable[Any]) -> list[str]:
    """The terms of a sum of products."""
    return [f"{factor(a) if k else short(a)}·{factor(b)}" for k, (a, b) in enumerate(zip(xs, ws, strict=True))]


# ---- places and numbers ----------------------------------------------------------------------------------------------


def at(x: Any, index: Index) -> np.float64:
    """An element of an array, or a number."""
    return np.float64(x[index].item() if hasattr(x, "shape") else x)


def part(x: Any, index: tuple[Any, ...]) -> np.ndarray:
    """Part of an array, in float64."""
    return on_host(x[index]).astype(np.float64)


def is_floating(x: Any) -> bool:
    return hasattr(x, "shape") and dtypes.is_floating(x.dtype)


def shape_of(x: Any) -> tuple[int, ...]:
    return getattr(x, "shape", ())


def others(index: Index, shape: Sequence[int], free: Iterable[int]) -> Iterator[Index]:
    """The other places of an array that differ from this one along these axes only, in order."""
    ranges = [range(n) if a in free else (i,) for a, (i, n) in enumerate(zip(index, shape, strict=True))]
    return (i for i in itertools.product(*ranges) if i != index)


def projected(index: Index, shape: Sequence[int]) -> Index:
    """Where an input of this shape is looked at for this place of an output that it is broadcast to."""
    return tuple(0 if n == 1 else i for i, n in zip(index[len(index) - len(shape) :], shape, strict=True))


def repeated(shape: Sequence[int], output: Sequence[int]) -> list[int]:
    """The axes of the output along which an input of this shape is repeated."""
    extra = len(output) - len(shape)
    return [a for a, n in enumerate(output) if a < extra or (shape[a - extra] == 1 and n > 1)]
