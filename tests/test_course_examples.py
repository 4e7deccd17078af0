"""The course's programs in examples/, run as a person runs them: a few steps of each; `make slow` runs most in full."""

from __future__ import annotations

import ast
import math
import os
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from gpt.texts import NAMED_TEXTS

EXAMPLES = Path(__file__).parents[1] / "examples"
# What each program reads, and options that make it short.
PROGRAMS = {
    "names_bigram": (["names-pl-female", "names-pl-male"], ["--steps=3", "--most-common=300"]),
    "names_mlp": (["names-pl-female", "names-pl-male"], ["--steps=40", "--most-common=300"]),
    "text_classifier": (["polarity-neg", "polarity-pos"], ["--steps=2"]),
    "encoder_classifier": (["polarity-neg", "polarity-pos"], ["--steps=1", "--n-layer=1", "--embedding-dimension=8"]),
    "shakespeare_stages": (["shakespeare"], ["--steps=2", "--n-embd=8", "--n-layer=1", "--sample=10"]),
    "finetune_polish": (["potop", "pan-tadeusz"], ["--steps=2", "--finetune-steps=2", "--n-embd=8", "--sample=5"]),
    "digits_cnn": ([], ["--steps=20"]),
}
Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def run(data_dir: Path, tmp_path: Path) -> Run:
    def example(name: str, *options: str) -> subprocess.CompletedProcess[str]:
        for text in PROGRAMS[name][0]:
            named = NAMED_TEXTS[text]
            if named.edition is None and not (data_dir / named.filename).is_file():
                pytest.skip(f"the data folder has no {named.filename}")
        environment = {**os.environ, "PYTHONPATH": str(EXAMPLES.parent), "TINYGRAD_EDU_DATA": str(data_dir)}
        environment["TINYGRAD_EDU_CACHE"] = str(tmp_path / "cache")
        command = [sys.executable, str(EXAMPLES / f"{name}.py"), *options]
        return subprocess.run(command, capture_output=True, text=True, env=environment, cwd=tmp_path)

    return example


def output_of(done: subprocess.CompletedProcess[str]) -> str:
    assert done.returncode == 0, done.stderr
    return done.stdout


def numbers(pattern: str, text: str) -> list[float]:
    """The numbers in the groups of the pattern's only place."""
    found = re.findall(pattern, text)
    assert len(found) == 1, (pattern, text)
    return [float(number) for number in (found[0] if isinstance(found[0], tuple) else found)]


def story(name: str) -> str:
    """What the program says of itself, in one line."""
    return " ".join((ast.get_docstring(ast.parse((EXAMPLES / f"{name}.py").read_text("utf-8"))) or "").split())


def letter_pairs(data_dir: Path, most_common: int) -> Counter[str]:
    names = []
    for sex in ("female", "male"):
        lines = (data_dir / f"names-pl-{sex}.csv").read_text("utf-8").splitlines()[1 : most_common + 1]
        names += [line.split(",")[0] for line in lines]
    return Counter(f".{name}."[i : i + 2] for name in set(names) for i in range(len(name) + 1))


def test_names_bigram_counts_as_arithmetic_does(run: Run, data_dir: Path) -> None:
    shown = output_of(run("names_bigram", *PROGRAMS["names_bigram"][1]))
    (counted,) = numbers(r"counts: +loss ([\d.]+)", shown)
    (network,) = numbers(r"network: loss ([\d.]+) at step 3\n", shown)
    (guessed,) = numbers(r"random loses ([\d.]+)", shown)
    assert counted < network < guessed + 1
    assert shown.count("\n  ") == 2  # names by either model
    if not (data_dir / "names-pl-male.csv").is_file():
        pytest.skip("the data folder has no names-pl-male.csv")
    for most_common, said in ((300, counted), (2000, numbers(r"loss ([\d.]+) by counts", story("names_bigram"))[0])):
        pairs = letter_pairs(data_dir, most_common)
        first = Counter({pair[0]: 0 for pair in pairs})
        for pair, n in pairs.items():
            first[pair[0]] += n
        mean = -sum(n * math.log(n / first[pair[0]]) for pair, n in pairs.items()) / pairs.total()
        assert said == pytest.approx(mean, abs=1e-4)


def test_names_mlp_learns(run: Run) -> None:
    shown = output_of(run("names_mlp", *PROGRAMS["names_mlp"][1]))
    train, dev = numbers(r"step +40: train ([\d.]+), dev ([\d.]+), ", shown)
    (test,) = numbers(r"test: ([\d.]+)\n", shown)
    assert max(train, dev, test) < 3.5  # a guess at random loses more
    assert shown.partition("made up:\n")[2].count("\n  ") >= 9


@pytest.mark.parametrize("name", ["text_classifier", "encoder_classifier"])
def test_classifiers_judge_every_part(run: Run, name: str) -> None:
    shown = output_of(run(name, *PROGRAMS[name][1]))
    for part in ("train", "dev", "test"):
        loss, right = numbers(rf"\n{part}: loss ([\d.]+), ([\d.]+)% right", shown)
        assert 0.4 < loss < 1.5 and 30 < right < 80


def test_shakespeare_stages_reports_each_stage(run: Run) -> None:
    shown = output_of(run("shakespeare_stages", *PROGRAMS["shakespeare_stages"][1]))
    found = re.findall(r"^(\S+): validation loss ([\d.]+)$", shown, re.MULTILINE)
    assert [stage for stage, _ in found] == ["bigram", "one-head", "many-heads", "blocks"]
    assert all(3.5 < float(loss) < 5.5 for _, loss in found)
    one = output_of(run("shakespeare_stages", *PROGRAMS["shakespeare_stages"][1], "--stages", "bigram"))
    assert re.findall(r"validation loss ([\d.]+)", one) == [found[0][1]]  # the same alone and among the others


def test_finetune_polish_extends_the_vocabulary_and_shows_both_losses(run: Run) -> None:
    shown = output_of(run("finetune_polish", *PROGRAMS["finetune_polish"][1]))
    new = re.findall(r"^new characters in the poem: (.*)$", shown, re.MULTILINE)
    assert len(new) == 1 and {"—", "«", "»"} <= set(new[0])
    for row in ("after the novel", "after the poem", "the poem alone"):
        losses = numbers(rf"\n{row} +([\d.]+) +([\d.]+)", shown)
        assert all(4 < loss < 5.5 for loss in losses)


def test_digits_cnn_reads_better_than_chance(run: Run) -> None:
    shown = output_of(run("digits_cnn", *PROGRAMS["digits_cnn"][1]))
    for model in ("mlp", "cnn"):
        assert numbers(rf"\n?{model}: ([\d.]+)% of the test images", shown)[0] > 20


@pytest.mark.parametrize("name", PROGRAMS)
def test_bad_options_are_one_clear_message(run: Run, name: str) -> None:
    wrong = run(name, "--steps=0")
    assert (wrong.returncode, wrong.stdout) == (1, "")
    assert re.fullmatch(r"error: .*--steps.* must be 1 or more.*\n", wrong.stderr)


def test_help_shows_what_the_program_is_for_and_its_options(run: Run) -> None:
    shown = output_of(run("names_mlp", "--help"))
    assert "Bengio" in shown and "--hidden-layer-size INT" in shown and "(default: 200)" in shown
    misspelt = run("names_mlp", "--hiden-layer-size=3")
    assert misspelt.returncode == 2 and "--hidden-layer-size" in misspelt.stderr


@pytest.mark.parametrize("name", PROGRAMS)
def test_every_program_states_its_result_and_is_in_the_guide(name: str) -> None:
    assert re.search(r"Measured[:,].*\d\.\d{4}", story(name))
    assert f"examples/{name}.py" in (EXAMPLES.parent / "docs/course.md").read_text("utf-8")


STATED = {  # the figure that the program states of itself, and how it shows it when it runs
    "names_bigram": (r"([\d.]+) by the network", r"network: loss ([\d.]+) at step 500"),
    "names_mlp": (r"and ([\d.]+) on test", r"test: ([\d.]+)\n"),
    "text_classifier": (r"with a loss of ([\d.]+) \(dev", r"test: loss ([\d.]+)"),
    "encoder_classifier": (r"with a loss of ([\d.]+) \(dev", r"test: loss ([\d.]+)"),
    "digits_cnn": (r"96.1%, with a loss of (\d+\.\d+)", r"epoch 20: test loss ([\d.]+)[^\n]*\ncnn"),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", STATED)
def test_the_stated_result_comes_out(run: Run, name: str) -> None:
    stated, shown = STATED[name]
    (measured,) = numbers(shown, output_of(run(name)))
    # Rounding differs between machines and grows in training.
    assert measured == pytest.approx(numbers(stated, story(name))[0], rel=0.03)
