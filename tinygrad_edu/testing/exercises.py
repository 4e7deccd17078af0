"""Exercises: write the backward of an operation, have it checked, and be told which mistake was made.

    from tinygrad_edu.testing import exercise

    exercise("softmax")                     # shows the task
    exercise("softmax").hint()              # one step at a time
    exercise("softmax").check(my_backward)  # passes, or names the mistake

Each exercise is a class below: forward, what it saves, the right backward, and wrong ones with the mistake they make.
All of it is plain NumPy.
"""

from __future__ import annotations

import difflib
import inspect
import math
import textwrap
import traceback
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import numpy as np

from .check import CheckError, CheckResult, Failure
from .compare import as_array
from .diagnosis import NOTHING_FITS, Setting, diagnose, either
from .draws import Draws

NEAR = 1e-9  # of the largest element: what float64 gives for any sensible order of operations


class Exercise:
    """One backward to write. Subclasses say which."""

    name: ClassVar[str]
    formula: ClassVar[str]
    shapes: ClassVar[str]  # of backward's arguments and results
    results: ClassVar[tuple[str, ...]]  # the names of the gradients to return
    checked: ClassVar[tuple[int, ...]]  # the inputs of forward to which these gradients belong
    hints: ClassVar[tuple[str, ...]]
    mistakes: ClassVar[dict[str, Callable[..., Any]]]  # in words -> a backward that makes it (None: right there)

    def __init__(self) -> None:
        self._hints_given = 0

    @staticmethod
    def inputs(draws: Draws) -> list[tuple[Any, ...]]:
        """The arguments of forward to check with, the most general first."""
        raise NotImplementedError

    @staticmethod
    def forward(*inputs: Any) -> Any:
        raise NotImplementedError

    @staticmethod
    def saved(*inputs: Any) -> tuple[Any, ...]:
        """What backward is given after gy."""
        raise NotImplementedError

    @staticmethod
    def backward(*args: Any) -> Any:
        raise NotImplementedError

    # ---- for the reader ----------------------------------------------------------------------------------------------

    @property
    def derivation(self) -> str:
        """The page that derives the gradient."""
        return f"docs/ops/{self.name}.md"

    @property
    def skeleton(self) -> str:
        """The function to fill in."""
        arguments = ", ".join(inspect.signature(self.backward).parameters)
        body = "\n".join(f"    {name} = ..." for name in self.results)
        return f'def backward({arguments}):\n    """{self.shapes}"""\n{body}\n    return {", ".join(self.results)}\n'

    @property
    def task(self) -> str:
        """The whole task in words."""
        return (
            f"{self.name}: write its backward, in NumPy.\n\n"
            f"{textwrap.indent(self.formula, '    ')}\n\n"
            "gy is the gradient of the loss with respect to y. Return the gradient of the loss with respect to each "
            "input.\n\n"
            f"{textwrap.indent(self.skeleton, '    ')}\n"
            f'Check it with exercise("{self.name}").check(backward); .hint() helps one step at a time '
            f"({len(self.hints)} steps). The derivation is in {self.derivation}."
        )

    def __repr__(self) -> str:
        return self.task

    def hint(self) -> str:
        """The next hint; after the last one, the last again, which says so."""
        last = len(self.hints)
        again = self._hints_given == last
        n = self._hints_given = min(self._hints_given + 1, last)
        after = f" (that was the last hint; the derivation is in {self.derivation})" if again else ""
        return f"hint {n} of {last}: {self.hints[n - 1]}{after}"

    def check(self, backward: Callable[..., Any], *, seed: int = 0, raise_exception: bool = True) -> CheckResult:
        """Check a backward on random inputs of several shapes.

        backward: takes and returns what the task says, as NumPy arrays. seed: that of the inputs.
        raise_exception: False returns the result also where something is wrong.

        CheckError: it is wrong. The message names the gradient, the worst element, and the mistake where a known one
        fits.
        """
        cases = self._cases(seed)
        result = CheckResult(f"backward of {self.name}", ", ".join(inspect.signature(self.backward).parameters))
        found = [self._run(backward, case, result) for case in cases]
        if all(f is not None for f in found):
            for k, name in enumerate(self.results):
                self._judge(k, name, cases, [f[k] for f in found if f is not None], result)
        if result.passed:
            result.facts.append(f"right for {len(cases)} sets of inputs: {'; '.join(map(self._words, cases))}")
        if raise_exception and result.failures:
            raise CheckError(result)
        return result

    # ---- how it is checked -------------------------------------------------------------------------------------------

    def _cases(self, seed: int) -> list[tuple[tuple[Any, ...], Any]]:
        """Inputs of forward, and a random gy for each."""
        draws = Draws(seed)
        return [(x, draws.standard_normal(np.shape(self.forward(*x)))) for x in self.inputs(draws)]

    @staticmethod
    def _words(case: tuple[tuple[Any, ...], Any]) -> str:
        return ", ".join(str(tuple(np.shape(x))) for x in case[0])

    def _run(self, backward: Callable[..., Any], case: Any, result: CheckResult) -> list[Any] | None:
        """The gradients that a backward gives, or None, after noting what is wrong with them."""
        if result.failures:
            return None
        inputs, gy = case
        given = [np.array(x) if isinstance(x, np.ndarray) else x for x in (gy, *self.saved(*inputs))]
        kept = [np.array(x) for x in given]
        at = f"for inputs of shapes {self._words(case)}"
        try:
            with np.errstate(all="ignore"):
                gradients = backward(*given)
        except Exception as error:
            result.failures.append(Failure(f"{at} it raises {type(error).__name__}: {error}{_where(error)}"))
            return None
        if gradients is None:
            result.failures.append(Failure(f"it returns None; is `return {', '.join(self.results)}` missing?"))
            return None
        gradients = list(gradients) if isinstance(gradients, (tuple, list)) else [gradients]
        if len(gradients) != len(self.results):
            n, wanted = len(gradients), ", ".join(self.results)
            words = f"it returns {n} value{'' if n == 1 else 's'}, expected {len(self.results)}: {wanted}"
            result.failures.append(Failure(words))
            return None
        for name, before, after in zip(inspect.signature(self.backward).parameters, kept, given, strict=True):
            if not np.array_equal(before, after):
                result.failures.append(Failure(f"it changes its argument {name} {at}; work on a copy"))
                return None
        arrays = []
        for name, g in zip(self.results, gradients, strict=True):
            array = np.asarray(as_array(g)) if g is not None and g is not ... else np.zeros(0)
            if g is None or g is ... or array.dtype.kind not in "fiu":
                result.failures.append(Failure(f"{name} is {g!r}, expected an array of numbers"))
                return None
            arrays.append(array.astype(np.float64))
        return arrays

    def _judge(self, k: int, name: str, cases: Sequence[Any], got: list[Any], result: CheckResult) -> None:
        """Compare one gradient in all cases, and find the mistake."""
        right = [_tuple(self.backward(gy, *self.saved(*x)))[k] for x, gy in cases]
        wrong = [n for n, (g, r) in enumerate(zip(got, right, strict=True)) if not _same(g, r)]
        if not wrong:
            return
        n = wrong[0]
        at = f"for inputs of shapes {self._words(cases[n])}"
        if got[n].shape != right[n].shape:
            text = f"{name} has the shape {got[n].shape} {at}, expected {right[n].shape}"
        else:
            error = np.nan_to_num(np.abs(got[n] - right[n]), nan=np.inf)
            place = tuple(int(i) for i in np.unravel_index(int(error.argmax()), error.shape))
            text = f"{name} is wrong {at}; worst at {list(place)}: got {got[n][place]:.8g}, right {right[n][place]:.8g}"
        result.failures.append(Failure(text, self._diagnosis(k, cases, got, right, n)))

    def _diagnosis(self, k: int, cases: Sequence[Any], got: list[Any], right: list[Any], n: int) -> str:
        """The mistakes of this exercise that explain every case, else what is known of gradients in general."""
        fitting: list[str] = []
        for words, backward in self.mistakes.items():
            try:
                with np.errstate(all="ignore"):
                    made = [_tuple(backward(gy, *self.saved(*x)))[k] for x, gy in cases]
            except Exception:  # shapes that do not fit: then nobody can have made this mistake and returned something
                continue
            if all(m is not None and _same(g, m) for g, m in zip(got, made, strict=True)):
                fitting.append(words)
        if fitting:
            return either(fitting)
        inputs, gy = cases[n]
        values = [np.asarray(x) for x in inputs]
        gradients: list[Any] = [None] * len(values)
        for i, g in zip(self.checked, _tuple(self.backward(gy, *self.saved(*inputs))), strict=True):
            gradients[i] = g
        y = np.asarray(self.forward(*inputs))
        setting = Setting(values, gradients, [y], [gy], lambda arrays: [np.asarray(self.forward(*arrays))])
        words = diagnose(got[n], self.checked[k], setting)
        if words == NOTHING_FITS:
            return f"{NOTHING_FITS}; try .hint(), or read {self.derivation}"
        return words


def _where(error: Exception) -> str:
    """The line of the reader's backward that raised an error, or called what did."""
    frames = traceback.extract_tb(error.__traceback__)[1:]  # the first is the call of backward in this file
    if not frames:  # the arguments did not fit, so nothing of it ran
        return ""
    frame = next((f for f in reversed(frames) if f.filename == frames[0].filename), frames[0])
    return f" ({frame.filename}:{frame.lineno}: {frame.line})" if frame.line else f" ({frame.filename}:{frame.lineno})"


def _tuple(x: Any) -> tuple[Any, ...]:
    return x if isinstance(x, tuple) else (x,)


def _same(a: Any, b: Any) -> bool:
    a, b = np.asarray(a), np.asarray(b)
    if a.shape != b.shape or not a.size:
        return a.shape == b.shape
    return bool(np.abs(a - b).max() <= NEAR * max(np.abs(b).max(), 1e-12))


def _softmax(x: Any, axis: int = -1) -> Any:
    e = np.exp(x - x.max(axis=axis, keepdims=True))
    return e / e.sum(axis=axis, keepdims=True)


def _sum_to(g: Any, shape: tuple[int, ...]) -> Any:
    """g summed over the axes along which an array of this shape was repeated."""
    g = g.sum(axis=tuple(range(g.ndim - len(shape))))
    return g.sum(axis=tuple(a for a, n in enumerate(shape) if n == 1 and g.shape[a] != 1), keepdims=True)


def _mean(x: Any, axis: int) -> Any:
    return x.mean(axis=axis, keepdims=True)


# ---- the exercises ---------------------------------------------------------------------------------------------------


class Tanh(Exercise):
    name = "tanh"
    formula = "y = tanh(x), element by element"
    shapes = "gy, y (...) -> gx (...)"
    results, checked = ("gx",), (0,)
    hints = (
        "the derivative of tanh(x) is 1 - tanh(x)^2",
        "tanh(x) is y, which you are given: no tanh needs to be computed",
        "multiply by gy, element by element",
    )

    @staticmethod
    def inputs(draws):
        return [(draws.standard_normal((3, 4)),), (draws.standard_normal((7,)),)]

    @staticmethod
    def forward(x):
        return np.tanh(x)

    @staticmethod
    def saved(x):
        return (np.tanh(x),)

    @staticmethod
    def backward(gy, y):
        return gy * (1 - y * y)

    mistakes = {
        "missing square: it is 1 - y^2": lambda gy, y: gy * (1 - y),
        "used the output where the input was needed: y is tanh(x) already": lambda gy, y: gy * (1 - np.tanh(y) ** 2),
        "used the input where the output was needed": lambda gy, y: gy * (1 - np.arctanh(y) ** 2),
        "wrong sign before y^2": lambda gy, y: gy * (1 + y * y),
        "this is the derivative of the sigmoid": lambda gy, y: gy * y * (1 - y),
    }


class Softmax(Exercise):
    name = "softmax"
    formula = "y[i] = exp(x[i]) / sum_j exp(x[j]), along the last axis"
    shapes = "gy, y (..., C) -> gx (..., C)"
    results, checked = ("gx",), (0,)
    hints = (
        "every y[j] depends on every x[i], since all share the sum: dL/dx[i] = sum_j gy[j] dy[j]/dx[i]",
        "dy[j]/dx[i] = y[j] (1 if i = j else 0) - y[j] y[i]",
        "so dL/dx[i] = gy[i] y[i] - y[i] sum_j gy[j] y[j]: one sum for each row, over the last axis, with keepdims",
    )

    @staticmethod
    def inputs(draws):
        n = draws.standard_normal
        return [(n((4, 5)),), (n((2, 3, 4)),), (n((3, 3)),)]

    @staticmethod
    def forward(x):
        return _softmax(x)

    @staticmethod
    def saved(x):
        return (_softmax(x),)

    @staticmethod
    def backward(gy, y):
        return y * (gy - (gy * y).sum(axis=-1, keepdims=True))

    mistakes = {
        "forgot the sum term: each output depends on every input of its row": lambda gy, y: gy * y,
        "only the diagonal of the Jacobian: y (1 - y) is the derivative of y[i] by x[i] alone": lambda gy, y: (
            gy * y * (1 - y)
        ),
        "summed over the wrong axis: the sum is over the last one": lambda gy, y: (
            y * (gy - (gy * y).sum(axis=0, keepdims=True))
        ),
        "summed over all elements instead of each row": lambda gy, y: y * (gy - (gy * y).sum()),
        "took the mean of the row instead of the sum": lambda gy, y: y * (gy - _mean(gy * y, -1)),
        "wrong sign before the sum": lambda gy, y: y * (gy + (gy * y).sum(axis=-1, keepdims=True)),
        "forgot y inside the sum": lambda gy, y: y * (gy - gy.sum(axis=-1, keepdims=True)),
        "forgot the factor y in front": lambda gy, y: gy - (gy * y).sum(axis=-1, keepdims=True),
        "this is the gradient of log_softmax": lambda gy, y: gy - y * gy.sum(axis=-1, keepdims=True),
        "used the output where the input was needed: y is the softmax already": lambda gy, y: (
            _softmax(y) * (gy - (gy * _softmax(y)).sum(axis=-1, keepdims=True))
        ),
    }


def _one_hot(target: Any, classes: int) -> Any:
    return np.eye(classes)[target]


class CrossEntropy(Exercise):
    name = "cross_entropy"
    formula = "p = softmax(x) along the last axis\ny = mean over n of -log(p[n, target[n]])"
    shapes = "gy (), x (N, C), target (N,) integers -> gx (N, C)"
    results, checked = ("gx",), (0,)
    hints = (
        "for one row, -log p[t] = log(sum_j exp(x[j])) - x[t]",
        "the derivative of the first term by x[i] is p[i], that of the second is 1 where i = t and 0 elsewhere",
        "the mean over the N rows divides by N; gy is a single number that multiplies everything",
    )

    @staticmethod
    def inputs(draws):
        return [
            (draws.standard_normal((4, 5)), np.array([3, 0, 3, 1])),
            (draws.standard_normal((3, 3)), np.array([0, 2, 1])),
            (draws.standard_normal((1, 6)), np.array([2])),
        ]

    @staticmethod
    def forward(x, target):
        return -np.log(_softmax(x)[np.arange(len(target)), target]).mean()

    @staticmethod
    def saved(x, target):
        return x, target

    @staticmethod
    def backward(gy, x, target):
        return gy * (_softmax(x) - _one_hot(target, x.shape[1])) / len(target)

    mistakes = {
        "missing factor 1/N: the loss is the mean over the rows": lambda gy, x, t: (
            gy * (_softmax(x) - _one_hot(t, x.shape[1]))
        ),
        "divided by all elements, N C, instead of the N rows": lambda gy, x, t: (
            gy * (_softmax(x) - _one_hot(t, x.shape[1])) / x.size
        ),
        "forgot to subtract 1 at the target": lambda gy, x, t: gy * _softmax(x) / len(t),
        "forgot the softmax: only the target's element is moved": lambda gy, x, t: (
            -gy * _one_hot(t, x.shape[1]) / len(t)
        ),
        "wrong sign": lambda gy, x, t: gy * (_one_hot(t, x.shape[1]) - _softmax(x)) / len(t),
        "the incoming gradient gy was not used": lambda gy, x, t: (_softmax(x) - _one_hot(t, x.shape[1])) / len(t),
        "softmax over the wrong axis: it is over the classes, the last one": lambda gy, x, t: (
            gy * (_softmax(x, 0) - _one_hot(t, x.shape[1])) / len(t)
        ),
        "used the logits where their softmax was needed": lambda gy, x, t: gy * (x - _one_hot(t, x.shape[1])) / len(t),
    }


def _norm(x: Any, axis: int) -> tuple[Any, Any]:
    """xhat and rstd."""
    centred = x - _mean(x, axis)
    rstd = 1 / np.sqrt(_mean(centred * centred, axis) + 1e-5)
    return centred * rstd, rstd


def _norm_mistakes(axis: int) -> dict[str, Callable[..., Any]]:
    """Wrong backwards of a normalisation over an axis of (N, C), scaled and shifted along C."""
    other = -1 - axis

    def gx(gy: Any, xhat: Any, rstd: Any, weight: Any, mean: Any = 1, var: Any = 1, along: int = axis) -> Any:
        g = gy * weight
        return (g - mean * _mean(g, along) - var * xhat * _mean(g * xhat, along)) * rstd

    n = {0: "N", -1: "C"}[axis]
    return {
        "forgot the mean term: x also moves the mean": lambda gy, xhat, rstd, w: (
            gx(gy, xhat, rstd, w, mean=0),
            None,
            None,
        ),
        "forgot the variance term: x also moves the variance": lambda gy, xhat, rstd, w: (
            gx(gy, xhat, rstd, w, var=0),
            None,
            None,
        ),
        "forgot the mean term and the variance term: mean and variance were taken for constants": (
            lambda gy, xhat, rstd, w: (gy * w * rstd, None, None)
        ),
        "forgot the weight: the gradient of xhat is gy * weight": lambda gy, xhat, rstd, w: (
            gx(gy, xhat, rstd, 1.0),
            None,
            None,
        ),
        "forgot the factor rstd": lambda gy, xhat, rstd, w: (gx(gy, xhat, 1.0, w), None, None),
        "divided by rstd instead of multiplying": lambda gy, xhat, rstd, w: (
            gx(gy, xhat, 1 / rstd, w),
            None,
            None,
        ),
        f"took sums instead of means: missing factor 1/{n} in both terms": lambda gy, xhat, rstd, w: (
            gx(gy, xhat, rstd, w, mean=xhat.shape[axis], var=xhat.shape[axis]),
            None,
            None,
        ),
        f"means over the wrong axis: they are over {n}, as in forward": lambda gy, xhat, rstd, w: (
            gx(gy, xhat, rstd, w, along=other),
            None,
            None,
        ),
        "wrong sign of the mean term": lambda gy, xhat, rstd, w: (gx(gy, xhat, rstd, w, mean=-1), None, None),
        "wrong sign of the variance term": lambda gy, xhat, rstd, w: (gx(gy, xhat, rstd, w, var=-1), None, None),
        "forgot xhat in front of the variance term": lambda gy, xhat, rstd, w: (
            (gy * w - _mean(gy * w, axis) - _mean(gy * w * xhat, axis)) * rstd,
            None,
            None,
        ),
        "summed over the wrong axis: weight and bias were repeated along N, so the sum is over N": (
            lambda gy, xhat, rstd, w: (None, (gy * xhat).sum(axis=1), gy.sum(axis=1))
        ),
        "not summed over N, along which weight and bias were repeated": lambda gy, xhat, rstd, w: (
            None,
            gy * xhat,
            gy,
        ),
        "took the mean over N instead of the sum": lambda gy, xhat, rstd, w: (
            None,
            (gy * xhat).mean(axis=0),
            gy.mean(axis=0),
        ),
        "multiplied by the weight, on which its own gradient does not depend": lambda gy, xhat, rstd, w: (
            None,
            (gy * xhat * w).sum(axis=0),
            (gy * w).sum(axis=0),
        ),
        "the gradients of weight and bias are swapped": lambda gy, xhat, rstd, w: (
            None,
            gy.sum(axis=0),
            (gy * xhat).sum(axis=0),
        ),
    }


class LayerNorm(Exercise):
    name = "layer_norm"
    formula = (
        "mean = mean of x over the last axis,  rstd = 1 / sqrt(mean of (x - mean)^2 + eps)\n"
        "xhat = (x - mean) * rstd\n"
        "y = xhat * weight + bias"
    )
    shapes = "gy, xhat (N, C), rstd (N, 1), weight (C,) -> gx (N, C), gweight (C,), gbias (C,)"
    results, checked = ("gx", "gweight", "gbias"), (0, 1, 2)
    hints = (
        "begin with gbias and gweight: each of their elements meets all N rows, so their gradients are sums over rows",
        "the gradient of xhat is g = gy * weight",
        "x moves xhat in three ways: directly, through the mean, and through the variance; the first gives g * rstd",
        "the mean gives -mean(g), and the variance -xhat * mean(g * xhat), both over the last axis with keepdims; all "
        "three are multiplied by rstd",
    )

    @staticmethod
    def inputs(draws):
        n = draws.standard_normal
        return [(n((3, 8)), n(8), n(8)), (n((5, 5)), n(5), n(5)), (n((1, 4)) * 3 + 2, n(4), n(4))]

    @staticmethod
    def forward(x, weight, bias):
        return _norm(x, -1)[0] * weight + bias

    @staticmethod
    def saved(x, weight, bias):
        return *_norm(x, -1), weight

    @staticmethod
    def backward(gy, xhat, rstd, weight):
        g = gy * weight
        gx = (g - _mean(g, -1) - xhat * _mean(g * xhat, -1)) * rstd
        return gx, (gy * xhat).sum(axis=0), gy.sum(axis=0)

    mistakes = _norm_mistakes(-1)


class BatchNorm(Exercise):
    name = "batch_norm"
    formula = (
        "mean = mean of x over the batch, the first axis,  rstd = 1 / sqrt(mean of (x - mean)^2 + eps)\n"
        "xhat = (x - mean) * rstd\n"
        "y = xhat * weight + bias"
    )
    shapes = "gy, xhat (N, C), rstd (1, C), weight (C,) -> gx (N, C), gweight (C,), gbias (C,)"
    results, checked = ("gx", "gweight", "gbias"), (0, 1, 2)
    hints = (
        "gbias and gweight are sums over the batch, as in layer normalisation",
        "the gradient of xhat is g = gy * weight; xhat depends on x directly, through the mean, and the variance",
        "the three terms are those of layer normalisation, but all means are over the batch: axis 0",
    )

    @staticmethod
    def inputs(draws):
        n = draws.standard_normal
        return [(n((8, 3)), n(3), n(3)), (n((5, 5)), n(5), n(5)), (n((4, 1)) * 3 + 2, n(1), n(1))]

    @staticmethod
    def forward(x, weight, bias):
        return _norm(x, 0)[0] * weight + bias

    @staticmethod
    def saved(x, weight, bias):
        return *_norm(x, 0), weight

    @staticmethod
    def backward(gy, xhat, rstd, weight):
        g = gy * weight
        gx = (g - _mean(g, 0) - xhat * _mean(g * xhat, 0)) * rstd
        return gx, (gy * xhat).sum(axis=0), gy.sum(axis=0)

    mistakes = _norm_mistakes(0)


_A = math.sqrt(2 / math.pi)
_B = 0.044715


def _gelu_slope(x: Any, cube: float = 3, inner: bool = True, first: float = 1, second: float = 1) -> Any:
    t = np.tanh(_A * (x + _B * x**3))
    du = _A * (1 + cube * _B * x**2) if inner else 1
    return first * 0.5 * (1 + t) + second * 0.5 * x * (1 - t * t) * du


def _normal_distribution(x: Any) -> Any:
    return 0.5 * np.vectorize(math.erfc, otypes=[float])(-x / math.sqrt(2))


class Gelu(Exercise):
    name = "gelu"
    formula = "u = sqrt(2 / pi) (x + 0.044715 x^3)\ny = x (1 + tanh u) / 2, element by element (as in GPT-2)"
    shapes = "gy, x (...) -> gx (...)"
    results, checked = ("gx",), (0,)
    hints = (
        "y is a product of x / 2 and (1 + tanh u): the product rule gives two terms",
        "the first term is (1 + tanh u) / 2; the second is x / 2 times the derivative of tanh u by x",
        "the derivative of tanh u by x is (1 - tanh(u)^2) du/dx, with du/dx = sqrt(2 / pi) (1 + 3 * 0.044715 x^2)",
    )

    @staticmethod
    def inputs(draws):
        return [(draws.standard_normal((3, 4)),), (draws.standard_normal(9) * 2,)]

    @staticmethod
    def forward(x):
        return 0.5 * x * (1 + np.tanh(_A * (x + _B * x**3)))

    @staticmethod
    def saved(x):
        return (x,)

    @staticmethod
    def backward(gy, x):
        return gy * _gelu_slope(x)

    mistakes = {
        "forgot the second term of the product rule: tanh u depends on x too": lambda gy, x: (
            gy * _gelu_slope(x, second=0)
        ),
        "forgot the first term of the product rule": lambda gy, x: gy * _gelu_slope(x, first=0),
        "missing factor 3: the derivative of x^3 is 3 x^2": lambda gy, x: gy * _gelu_slope(x, cube=1),
        "forgot the inner derivative du/dx": lambda gy, x: gy * _gelu_slope(x, inner=False),
        "missing factor 1/2 in the second term": lambda gy, x: gy * _gelu_slope(x, second=2),
        "missing factor 1/2 in the first term": lambda gy, x: gy * _gelu_slope(x, first=2),
        "wrong sign of the second term": lambda gy, x: gy * _gelu_slope(x, second=-1),
        "this is the gradient of the exact GELU, with erf; the task has the form with tanh": lambda gy, x: (
            gy * (_normal_distribution(x) + x * np.exp(-x * x / 2) / math.sqrt(2 * math.pi))
        ),
        "the incoming gradient gy was not used": lambda gy, x: _gelu_slope(x),
    }


class Linear(Exercise):
    name = "linear"
    formula = "y = x @ weight.T + bias"
    shapes = "gy (N, O), x (N, I), weight (O, I) -> gx (N, I), gweight (O, I), gbias (O,)"
    results, checked = ("gx", "gweight", "gbias"), (0, 1, 2)
    hints = (
        "in letters: y[n, o] = sum_i x[n, i] weight[o, i] + bias[o]; each gradient sums over the letters that it lacks",
        "gx[n, i] = sum_o gy[n, o] weight[o, i], which is a product of matrices; find the other two in the same way",
        "gweight[o, i] = sum_n gy[n, o] x[n, i]; its shape must be that of weight, (O, I)",
    )

    @staticmethod
    def inputs(draws):
        n = draws.standard_normal
        return [(n((4, 3)), n((5, 3)), n(5)), (n((3, 3)), n((3, 3)), n(3)), (n((1, 2)), n((4, 2)), n(4))]

    @staticmethod
    def forward(x, weight, bias):
        return x @ weight.T + bias

    @staticmethod
    def saved(x, weight, bias):
        return x, weight

    @staticmethod
    def backward(gy, x, weight):
        return gy @ weight, gy.T @ x, gy.sum(axis=0)

    mistakes = {
        "transposed: weight has the shape (O, I)": lambda gy, x, w: (None, x.T @ gy, None),
        "not summed over N, along which the bias was repeated": lambda gy, x, w: (None, None, gy),
        "summed over the wrong axis: the bias was repeated along N, so the sum is over N": lambda gy, x, w: (
            None,
            None,
            gy.sum(axis=1),
        ),
        "took the mean over N instead of the sum": lambda gy, x, w: (
            None,
            gy.T @ x / len(x),
            gy.mean(axis=0),
        ),
        "the incoming gradient gy was not used": lambda gy, x, w: (
            np.ones_like(gy) @ w,
            np.ones_like(gy).T @ x,
            np.ones_like(gy).sum(axis=0),
        ),
    }


class Matmul(Exercise):
    name = "matmul"
    formula = "y = a @ b, a product of matrices for each entry of the batch; the axes before the last two broadcast"
    shapes = "gy (..., N, M), a (..., N, K), b (..., K, M) -> ga as a, gb as b"
    results, checked = ("ga", "gb"), (0, 1)
    hints = (
        "for single matrices: y[n, m] = sum_k a[n, k] b[k, m], so ga[n, k] = sum_m gy[n, m] b[k, m]",
        "as products: ga = gy @ b^T and gb = a^T @ gy, where only the last two axes are swapped",
        "an input that was repeated along an axis of the batch gets the sum over this axis: over axes that it lacks, "
        "and with keepdims over axes where its size is 1",
    )

    @staticmethod
    def inputs(draws):
        n = draws.standard_normal
        return [
            (n((2, 3, 4)), n((2, 4, 5))),
            (n((2, 3, 4)), n((4, 5))),
            (n((3, 1, 2, 4)), n((5, 4, 3))),
            (n((3, 3)), n((3, 3))),
        ]

    @staticmethod
    def forward(a, b):
        return a @ b

    @staticmethod
    def saved(a, b):
        return a, b

    @staticmethod
    def backward(gy, a, b):
        return _sum_to(gy @ b.swapaxes(-1, -2), a.shape), _sum_to(a.swapaxes(-1, -2) @ gy, b.shape)

    mistakes = {
        "not summed after broadcasting: an input that was repeated along an axis gets the sum over it": (
            lambda gy, a, b: (gy @ b.swapaxes(-1, -2), a.swapaxes(-1, -2) @ gy)
        ),
        "took the mean over the axes along which the input was repeated, instead of the sum": lambda gy, a, b: (
            _mean_to(gy @ b.swapaxes(-1, -2), a.shape),
            _mean_to(a.swapaxes(-1, -2) @ gy, b.shape),
        ),
        "transposed: the last two axes are swapped": lambda gy, a, b: (
            _sum_to(gy @ b.swapaxes(-1, -2), a.shape).swapaxes(-1, -2),
            _sum_to(a.swapaxes(-1, -2) @ gy, b.shape).swapaxes(-1, -2),
        ),
        "only one entry of the batch was counted: `=` where `+=` was needed": lambda gy, a, b: (
            _last_to(gy @ b.swapaxes(-1, -2), a.shape),
            _last_to(a.swapaxes(-1, -2) @ gy, b.shape),
        ),
        "two gradients are swapped": lambda gy, a, b: (
            _sum_to(a.swapaxes(-1, -2) @ gy, b.shape),
            _sum_to(gy @ b.swapaxes(-1, -2), a.shape),
        ),
    }


def _mean_to(g: Any, shape: tuple[int, ...]) -> Any:
    return _sum_to(g, shape) / (g.size / math.prod(shape))


def _last_to(g: Any, shape: tuple[int, ...]) -> Any:
    g = g[(-1,) * (g.ndim - len(shape))]
    return g[tuple(slice(-1, None) if n == 1 else slice(None) for n in shape)]


def _weights(q: Any, k: Any, causal: bool = True) -> Any:
    scores = q @ k.swapaxes(-1, -2) / math.sqrt(q.shape[-1])
    if causal:
        scores = np.where(np.tril(np.ones(scores.shape[-2:], bool)), scores, -np.inf)
    return _softmax(scores)


def _attention(gy: Any, q: Any, k: Any, v: Any, p: Any, scale: float, axis: int = -1, term: float = 1) -> Any:
    gp = gy @ v.swapaxes(-1, -2)
    gs = p * (gp - term * (gp * p).sum(axis=axis, keepdims=True))
    return gs @ k * scale, gs.swapaxes(-1, -2) @ q * scale, p.swapaxes(-1, -2) @ gy


class Attention(Exercise):
    name = "attention"
    formula = (
        "s = q @ k^T / sqrt(E), and -inf where a key comes after its query (causal mask)\n"
        "p = softmax(s) along the keys, the last axis\n"
        "y = p @ v"
    )
    shapes = "gy (..., T, D), q, k (..., T, E), v (..., T, D), p (..., T, T) -> gq, gk (..., T, E), gv (..., T, D)"
    results, checked = ("gq", "gk", "gv"), (0, 1, 2)
    hints = (
        "y = p @ v is a product of matrices: it gives gv from p and gy, and gp from gy and v",
        "from gp to gs is the backward of softmax; where the mask was, p is 0, and so is gs: nothing else is needed",
        "s = q @ k^T / sqrt(E) is a product again: gq from gs and k, gk from gs transposed and q; both over sqrt(E)",
    )

    @staticmethod
    def inputs(draws):
        n = draws.standard_normal
        return [
            (n((2, 4, 3)), n((2, 4, 3)), n((2, 4, 5))),
            (n((2, 2, 3, 3)), n((2, 2, 3, 3)), n((2, 2, 3, 3))),
            (n((5, 2)), n((5, 2)), n((5, 2))),
        ]

    @staticmethod
    def forward(q, k, v):
        return _weights(q, k) @ v

    @staticmethod
    def saved(q, k, v):
        return q, k, v, _weights(q, k)

    @staticmethod
    def backward(gy, q, k, v, p):
        return _attention(gy, q, k, v, p, 1 / math.sqrt(q.shape[-1]))

    mistakes = {
        "missing factor 1 / sqrt(E)": lambda gy, q, k, v, p: (*_attention(gy, q, k, v, p, 1.0)[:2], None),
        "divided by E instead of sqrt(E)": lambda gy, q, k, v, p: (
            *_attention(gy, q, k, v, p, 1 / q.shape[-1])[:2],
            None,
        ),
        "forgot the sum term of softmax": lambda gy, q, k, v, p: (
            *_attention(gy, q, k, v, p, 1 / math.sqrt(q.shape[-1]), term=0)[:2],
            None,
        ),
        "the sum of softmax's backward goes over the wrong axis: it is over the keys, the last one": (
            lambda gy, q, k, v, p: (*_attention(gy, q, k, v, p, 1 / math.sqrt(q.shape[-1]), axis=-2)[:2], None)
        ),
        "missing mask: the weights were computed again without it": lambda gy, q, k, v, p: _attention(
            gy, q, k, v, _weights(q, k, causal=False), 1 / math.sqrt(q.shape[-1])
        ),
        "not transposed: gv takes p with its last two axes swapped": lambda gy, q, k, v, p: (None, None, p @ gy),
        "not transposed: gk takes the gradient of the scores with its last two axes swapped": (
            lambda gy, q, k, v, p: (
                None,
                _attention(gy, q, q, v, p, 1 / math.sqrt(q.shape[-1]))[0],
                None,
            )
        ),
        "two gradients are swapped": lambda gy, q, k, v, p: (
            _attention(gy, q, k, v, p, 1 / math.sqrt(q.shape[-1]))[1],
            _attention(gy, q, k, v, p, 1 / math.sqrt(q.shape[-1]))[0],
            None,
        ),
    }


def _scatter(gy: Any, indices: Any, rows: int, how: str) -> Any:
    """The gradient of a table, each row from its first or last use alone, or from the mean of all."""
    g = np.zeros((rows, gy.shape[-1]))
    flat, i = gy.reshape(-1, gy.shape[-1]), indices.reshape(-1)
    if how == "last":
        for n, row in enumerate(i):
            g[row] = flat[n]
    elif how == "first":
        for n in reversed(range(len(i))):
            g[i[n]] = flat[n]
    else:
        np.add.at(g, i, flat)
        g /= np.maximum(np.bincount(i, minlength=rows), 1)[:, None]
    return g


class Embedding(Exercise):
    name = "embedding"
    formula = "y = weight[indices]: each index is replaced by its row of the table"
    shapes = "gy (..., C), indices (...) integers, rows: an int, the number V of rows -> gweight (V, C)"
    results, checked = ("gweight",), (0,)
    hints = (
        "begin with zeros of shape (V, C); rows that were not looked up keep them",
        "row i of the table was copied to each place where indices is i: its gradient is the sum of gy at these places",
        "g[indices] += gy adds only once for an index that occurs twice: np.add.at adds every time",
    )

    @staticmethod
    def inputs(draws):
        n = draws.standard_normal
        return [
            (n((6, 3)), np.array([[1, 3, 1], [0, 3, 1]])),
            (n((4, 4)), np.array([2, 2, 0, 2])),
            (n((5, 1)), np.array([4, 1, 4])),
        ]

    @staticmethod
    def forward(weight, indices):
        return weight[indices]

    @staticmethod
    def saved(weight, indices):
        return indices, len(weight)

    @staticmethod
    def backward(gy, indices, rows):
        g = np.zeros((rows, gy.shape[-1]))
        np.add.at(g, indices.reshape(-1), gy.reshape(-1, gy.shape[-1]))
        return g

    mistakes = {
        "only the last use of a repeated index was counted: `=` where `+=` was needed (and g[i] += gy adds once for "
        "each index: use np.add.at)": lambda gy, i, rows: _scatter(gy, i, rows, "last"),
        "only the first use of a repeated index was counted": lambda gy, i, rows: _scatter(gy, i, rows, "first"),
        "took the mean over the uses of a row instead of the sum": lambda gy, i, rows: _scatter(gy, i, rows, "mean"),
    }


EXERCISES: dict[str, type[Exercise]] = {
    e.name: e for e in (Tanh, Softmax, CrossEntropy, Gelu, Linear, Matmul, Embedding, LayerNorm, BatchNorm, Attention)
}


def exercise(name: str) -> Exercise:
    """The exercise of this name: its repr is the task, `.hint()` helps, `.check(backward)` checks what you wrote.

    Names: tanh, softmax, cross_entropy, gelu, linear, matmul, embedding, layer_norm, batch_norm, attention.
    ValueError: there is none of this name.
    """
    if name not in EXERCISES:
        near = difflib.get_close_matches(str(name), EXERCISES, n=1)
        hint = f"did you mean {near[0]!r}?" if near else "expected one of"
        raise ValueError(f"there is no exercise {name!r}; {hint} ({', '.join(EXERCISES)})")
    return EXERCISES[name]()
