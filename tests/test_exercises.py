"""Exercises accept the right backward and name the mistake in every wrong one; the derivation pages hold and run."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

import tinygrad_edu as tg
import tinygrad_edu.nn.functional as F
from tinygrad_edu.testing import CheckError, assert_close, exercise
from tinygrad_edu.testing.draws import Draws
from tinygrad_edu.testing.exercises import EXERCISES

DOCS = Path(__file__).parents[1] / "docs"
NAMES = list(EXERCISES)
IN_THE_LIBRARY = {
    "tanh": tg.tanh,
    "softmax": lambda x: tg.softmax(x, -1),
    "cross_entropy": F.cross_entropy,
    "gelu": lambda x: F.gelu(x, approximate="tanh"),
    "linear": F.linear,
    "matmul": tg.matmul,
    "embedding": lambda weight, indices: F.embedding(indices, weight),
    "layer_norm": lambda x, w, b: F.layer_norm(x, x.shape[-1:], w, b),
    "batch_norm": lambda x, w, b: F.batch_norm(x, None, None, w, b, training=True),
    "attention": lambda q, k, v: F.scaled_dot_product_attention(q, k, v, is_causal=True),
}


@pytest.mark.parametrize("name", NAMES)
def test_the_right_backward_passes_and_is_the_librarys(name):
    task = exercise(name)
    assert task.check(task.backward) and task.check(task.backward, seed=5)
    for inputs in task.inputs(Draws(1)):
        xs = [tg.tensor(x, requires_grad=x.dtype.kind == "f") for x in inputs]
        y = IN_THE_LIBRARY[name](*xs)
        assert_close(y.detach(), tg.tensor(task.forward(*inputs)).double(), rtol=1e-9, atol=1e-9)
        gy = Draws(2).standard_normal(y.shape)
        y.backward(tg.tensor(gy))
        found = task.backward(gy, *task.saved(*inputs))
        for i, g in zip(task.checked, found if isinstance(found, tuple) else (found,), strict=True):
            assert_close(xs[i].grad, g, rtol=1e-9, atol=1e-9)


MISTAKES = [(name, words) for name in NAMES for words in EXERCISES[name].mistakes]


@pytest.mark.parametrize("name, words", MISTAKES)
def test_every_planted_mistake_is_named(name, words):
    task = exercise(name)
    wrong = task.mistakes[words]

    def backward(*args):
        """The right gradients where the mistake says nothing of them."""
        right = task.backward(*args)
        if not isinstance(right, tuple):
            return wrong(*args)
        return tuple(r if w is None else w for w, r in zip(wrong(*args), right, strict=True))

    with pytest.raises(CheckError) as caught:
        task.check(backward)
    message = str(caught.value)
    assert words in message, message
    if "mistakes fit" in message:
        pytest.fail(message)


def test_there_are_enough_of_them():
    assert len(MISTAKES) > 60 and {"softmax", "cross_entropy", "layer_norm", "gelu", "matmul"} <= set(NAMES)


@pytest.mark.parametrize(
    "name, backward, words",
    [
        ("softmax", lambda gy, y: -y * (gy - (gy * y).sum(-1, keepdims=True)), "wrong sign"),
        ("softmax", lambda gy, y: 3 * y * (gy - (gy * y).sum(-1, keepdims=True)), "it is 3 times the right one"),
        ("tanh", lambda gy, y: gy * 0, "it is zero"),
        ("tanh", lambda gy, y: gy, "the incoming gradient was passed on unchanged"),
        ("tanh", lambda gy, y: (gy * (1 - y * y)).astype(np.float32), "float32 round-off only"),
        ("gelu", lambda gy, x: gy * x**2, "no known mistake fits; try .hint.., or read docs/ops/gelu.md"),
        ("linear", lambda gy, x, w: (gy @ w, gy.T @ x * 2, gy.sum(0)), "(?s)gweight is wrong .*2 times the right one"),
    ],
)
def test_mistakes_of_any_gradient_are_named_too(name, backward, words):
    with pytest.raises(CheckError, match=words):
        exercise(name).check(backward)


@pytest.mark.parametrize(
    "backward, message",
    [
        (lambda gy, y: 1 / 0, r"it raises ZeroDivisionError: division by zero .*test_exercises.py:\d+: "),
        (lambda gy: gy, r"it raises TypeError: .*takes 1 positional argument but 2 were given$"),
        (lambda gy, y: (gy, gy), "it returns 2 values, expected 1: gx"),
        (lambda gy, y: None, "it returns None; is `return gx` missing[?]"),
        (lambda gy, y: (None,), "gx is None, expected an array of numbers"),
        (lambda gy, y: ..., "gx is Ellipsis, expected an array of numbers"),
        (lambda gy, y: gy.sum(), r"gx has the shape \(\) for inputs of shapes \(4, 5\), expected \(4, 5\)"),
        (lambda gy, y: gy.__imul__(2), "it changes its argument gy"),
        (lambda gy, y: gy * np.nan, "gx is wrong"),
    ],
)
def test_what_is_no_gradient_is_refused(backward, message):
    with pytest.raises(CheckError, match=message):
        exercise("softmax").check(backward)


def test_an_error_names_the_line_of_the_readers_function():
    def scaled(gy):
        return np.reshape(gy, (-1, 7, 11))  # NumPy raises this one, on its own lines

    def backward(gy, y):
        return scaled(gy) * y

    with pytest.raises(CheckError) as caught:
        exercise("softmax").check(backward)
    line = scaled.__code__.co_firstlineno + 1
    assert f"({__file__}:{line}: return np.reshape(gy" in str(caught.value)


def test_too_few_gradients_are_counted():
    with pytest.raises(CheckError, match="it returns 1 value, expected 3: gx, gweight, gbias"):
        exercise("layer_norm").check(lambda *arguments: arguments[0])


def test_tensors_may_be_returned_and_a_result_instead_of_an_error():
    assert exercise("tanh").check(lambda gy, y: tg.from_numpy(gy * (1 - y * y)))
    result = exercise("tanh").check(lambda gy, y: gy * (1 - y), raise_exception=False)
    assert not result and result.diagnosis == "missing square: it is 1 - y^2"
    assert "right for 2 sets of inputs: (3, 4); (7,)" in repr(exercise("tanh").check(lambda gy, y: gy * (1 - y * y)))


@pytest.mark.parametrize("name", NAMES)
def test_the_task_tells_all_and_its_skeleton_runs(name):
    task = exercise(name)
    for part in (task.formula.splitlines()[0], task.shapes, task.derivation, "def backward(gy, "):
        assert part in repr(task)
    given: dict = {}
    exec(task.skeleton, given)
    with pytest.raises(CheckError, match="is Ellipsis"):
        task.check(given["backward"])


def test_hints_come_one_at_a_time():
    task = exercise("softmax")
    given = [task.hint() for _ in range(5)]
    assert [hint[:11] for hint in given] == ["hint 1 of 3", "hint 2 of 3", *["hint 3 of 3"] * 3]
    assert ["last hint" in hint for hint in given] == [False, False, False, True, True]


def test_an_unknown_exercise_is_refused():
    with pytest.raises(ValueError, match="no exercise 'softmx'; did you mean 'softmax'"):
        exercise("softmx")
    with pytest.raises(ValueError, match="expected one of .tanh, softmax"):
        exercise("qqq")


# ---- the pages -------------------------------------------------------------------------------------------------------


def blocks(page):
    return re.findall(r"^```python\n(.*?)^```", page.read_text("utf-8"), re.S | re.M)


def test_every_exercise_has_a_page_and_every_page_an_exercise():
    assert {p.stem for p in (DOCS / "ops").glob("*.md")} == {*NAMES, "README"}


PAGES = [*sorted((DOCS / "ops").glob("*.md")), DOCS / "testing.md"]


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.stem)
def test_the_code_of_the_pages_runs(page, capsys):
    found = blocks(page)
    assert found
    names: dict = {"__name__": "page"}
    for code in found:
        exec(compile(code, str(page), "exec"), names)
    capsys.readouterr()
