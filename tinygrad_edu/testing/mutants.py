"""The mutation check: every backward is broken in every small way, and each time a check of the op table must fail.

    python -m tinygrad_edu.testing.mutants --op softmax layer_norm
    make mutants

A mutant acts only while a backward pass runs, so forward stays right even where a helper serves both. It is tried on
the samples of the op table whose recorded graph holds the op, few elements first: gradients against PyTorch, then
against finite differences, then their own gradients likewise, up to the first check that fails. What no check notices
is a survivor: either a sample is missing, or the source has a part that does nothing. Mutants that compute the same are
listed in `equivalents.py`, and are run too: one that a check notices does not belong there.
"""

from __future__ import annotations

import argparse
import inspect
import multiprocessing
import os
import platform
import signal
import sys
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cache, partial
from importlib import import_module
from pathlib import Path
from types import FunctionType
from typing import Any
from unittest import mock

import numpy as np
from tqdm import tqdm

from .. import ops
from ..autograd.engine import Part, sum_to
from ..autograd.modes import observe
from ..dispatch import use_kernels
from ..ops.op import Op
from . import op_table
from .equivalents import EQUIVALENT
from .gradcheck import GradcheckError
from .mutations import SPARED, Mutant, mutants
from .records import OpRecord, Sample

_passes: Any = import_module("tinygrad_edu.autograd.grad")  # in its package that name is the function

LIMIT = 10.0  # seconds for one check; what takes longer is a mutant that hangs
CHECKS: dict[str, Callable[[OpRecord], Any]] = {
    "PyTorch": op_table.check_gradient,
    "differences": op_table.check_finite_differences,
    "second differences": op_table.check_second_differences,
}
WAYS = [*CHECKS, "refused", "hung"]  # to be noticed; refused: an error where the engine or NumPy cannot go on


# ---- what can be mutated ---------------------------------------------------------------------------------------------


def named_ops() -> dict[str, type[Op]]:
    """Every differentiable op by its name."""
    found: dict[str, type[Op]] = {}
    pending = [Op]
    for path in sorted(Path(ops.__path__[0]).glob("*.py")):
        import_module(f"{ops.__name__}.{path.stem}")
    while pending:
        op = pending.pop()
        pending += op.__subclasses__()
        if op.__module__.startswith(f"{ops.__name__}.") and "name" in vars(op) and op.differentiable:
            found[op.name] = op
    return dict(sorted(found.items()))


def functions_of(op: type[Op]) -> list[FunctionType]:
    """The backward of an op, the functions in `ops/` that it calls, and what undoes its broadcasting."""
    found: list[Any] = [sum_to] if op.broadcasts else []
    pending: list[Any] = [op.backward]
    while pending:
        function = pending.pop()
        if function in found:
            continue
        found.append(function)
        for name in sorted(_names(function.__code__)):
            used = function.__globals__.get(name)
            if inspect.isclass(used) and issubclass(used, Part):
                pending += [f for f in vars(used).values() if inspect.isfunction(f)]
            elif inspect.isfunction(used) and used.__module__.startswith(ops.__name__):
                pending.append(used)
    return found


def _names(code: Any) -> set[str]:
    inner = (_names(c) for c in code.co_consts if hasattr(c, "co_names"))
    return set(code.co_names).union(*inner)


def title(function: FunctionType) -> str:
    """Where a function is defined: `normalization.Softmax.backward` in `ops`, or `autograd.engine.sum_to`."""
    module = function.__module__.removeprefix("tinygrad_edu.").removeprefix("ops.")
    return f"{module}.{function.__qualname__}"


def targets(names: Iterable[str] | None = None) -> dict[str, tuple[FunctionType, frozenset[str]]]:
    """The functions to mutate by their titles, each with the names of the ops whose backward calls it."""
    every = named_ops()
    users: dict[FunctionType, set[str]] = {}
    for name, op in every.items():
        for function in functions_of(op):
            users.setdefault(function, set()).add(name)
    chosen = set(every if names is None else names)
    if unknown := chosen - every.keys():
        raise ValueError(f"no differentiable op is called {sorted(unknown)}; there are {', '.join(every)}")
    found = {title(f): (f, frozenset(by)) for f, by in users.items() if by & chosen}
    return dict(sorted(found.items()))


# ---- what a mutant is tried on ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Case:
    """One sample of one record, as a record of its own, with what its gradient passes through."""

    record: OpRecord
    label: str
    ops: frozenset[str]
    size: int
    baseline: dict[str, bool] = field(default_factory=dict, compare=False)  # check -> whether it applies

    def applies(self, check: str) -> bool:
        """Whether a check says anything about this sample. AssertionError: it fails without any mutant."""
        if check not in self.baseline:
            twice = self.record.gradcheck and self.record.gradgradcheck
            wanted = {"PyTorch": True, "differences": self.record.gradcheck, "second differences": twice}
            self.baseline[check] = wanted[check]
            if self.baseline[check]:
                try:
                    CHECKS[check](self.record)
                except AssertionError as error:
                    if not any(words in str(error) for words in ("to no sample", "no sample compares")):
                        raise
                    self.baseline[check] = False
        return self.baseline[check]


def cases(records: Iterable[OpRecord]) -> list[Case]:
    """Every sample that has a gradient, those of few elements first."""
    found = []
    for record in records:
        for sample, label in op_table.cases(record) if record.differentiable else ():
            one = replace(record, samples=partial(_only, sample))
            if reached := _ops_in_graph(one, sample):
                arrays = op_table._arrays((*sample.args, *sample.kwargs.values()))
                found.append(Case(one, label, reached, sum(a.size for a in arrays)))
    return sorted(found, key=lambda case: case.size)


def _only(sample: Sample, rng: Any) -> list[Sample]:
    return [sample]


def _ops_in_graph(record: OpRecord, sample: Sample) -> frozenset[str]:
    """The ops whose backward is run for this sample."""
    seen: set[str] = set()

    class Collector:
        def recorded(self, node: Any, inputs: Any, y: Any) -> None: ...

        def propagated(self, node: Any, gy: Any, gradients: Any) -> None:
            seen.add(node.op.name)

    with observe(Collector()):
        for dtype in op_table.dtypes_of(sample):
            op_table.Call(op_table.OURS, record, sample, dtype).backward()
    return frozenset(seen)


@cache
def _all_cases() -> list[Case]:
    return cases(r for family in op_table.records().values() for r in family)


# ---- trying one ------------------------------------------------------------------------------------------------------


@contextmanager
def active(function: FunctionType, mutant: Mutant) -> Iterator[None]:
    """Within it the function makes the mutant's mistake, but only while a backward pass runs."""
    right, run = function.__code__, _passes.run_backward

    def run_wrong(*args: Any, **kwargs: Any) -> Any:
        function.__code__ = mutant.code
        try:
            return run(*args, **kwargs)
        finally:
            function.__code__ = right

    with mock.patch.object(_passes, "run_backward", run_wrong):
        yield


class Hung(Exception):
    """A check took longer than its limit."""


@contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Raise Hung inside after so many seconds (on systems that have alarms, and in the main thread)."""

    def ring(*_: Any) -> None:
        raise Hung

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@dataclass(frozen=True)
class Verdict:
    """What became of a mutant."""

    mutant: Mutant
    way: str | None  # how it was noticed, one of WAYS; None if it survived
    by: str = ""  # the sample that noticed it

    @property
    def key(self) -> tuple[str, str, str]:
        return self.mutant.function, self.mutant.original, self.mutant.mutated

    @property
    def excluded(self) -> str | None:
        """Why this mutant computes the same as the original; None if it does not."""
        return EQUIVALENT.get(self.key)


def try_mutant(function: FunctionType, mutant: Mutant, samples: Sequence[Case], limit: float = LIMIT) -> Verdict:
    """Run the checks up to the first that fails."""
    for check in CHECKS:
        for case in samples:
            if not case.applies(check):
                continue
            way = _noticed(function, mutant, check, case.record, limit)
            if way is not None:
                return Verdict(mutant, way, case.label)
    return Verdict(mutant, None)


def _noticed(function: FunctionType, mutant: Mutant, check: str, record: OpRecord, limit: float) -> str | None:
    with active(function, mutant), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            with time_limit(limit):
                CHECKS[check](record)
        except Hung:
            return "hung"
        except (AssertionError, GradcheckError):
            return check
        except Exception:
            return "refused"
    return None


def verdicts(name: str, samples: Sequence[Case] | None = None, limit: float = LIMIT) -> list[Verdict]:
    """What becomes of each mutant of the function of this title; by default on the samples of the whole table."""
    function, users = targets()[name]
    fitting = [c for c in (_all_cases() if samples is None else samples) if c.ops & users]
    with use_kernels("reference"):
        return [try_mutant(function, mutant, fitting, limit) for mutant in mutants(function, name)]


# ---- the whole run ---------------------------------------------------------------------------------------------------


def run(names: Iterable[str] | None = None, processes: int = 1) -> list[Verdict]:
    """The verdicts on all mutants of these ops (default: all ops), in the order of their functions."""
    chosen = list(targets(names))
    progress = partial(tqdm, total=len(chosen), unit=" functions", disable=None)
    if processes == 1:
        return [v for found in progress(map(verdicts, chosen)) for v in found]
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(processes, context, initializer=_one_thread) as pool:
        return [v for found in progress(pool.map(verdicts, chosen)) for v in found]


def _one_thread() -> None:
    import torch

    torch.set_num_threads(1)


def faults(found: Sequence[Verdict], whole: bool) -> list[str]:
    """What must not be, in words: survivors, and exclusions that do not hold (whole: all mutants were run)."""
    wrong = [f"survived: {v.mutant}" for v in found if v.way is None and not v.excluded]
    wrong += [f"excluded, but noticed by {v.by}: {v.mutant}" for v in found if v.way and v.excluded]
    if whole:
        wrong += [f"excluded, but there is no such mutant: {k}" for k in EQUIVALENT.keys() - {v.key for v in found}]
    return wrong


def report(found: Sequence[Verdict]) -> str:
    """The page `docs/mutants.md`."""
    import torch

    survivors = [v for v in found if v.way is None and not v.excluded]
    excluded = [v for v in found if v.excluded]
    by_function: dict[str, list[Verdict]] = {}
    for v in found:
        by_function.setdefault(v.mutant.function, []).append(v)
    lines = [
        "# Mutation check",
        "",
        "Made by `make mutants`. Every backward in `tinygrad_edu/ops/`, with the functions that it calls there, is",
        "broken in one small way at a time (a sign, a term, a factor, an axis, an order); then the checks of the op",
        "table are run on the samples that use it, up to the first that fails. The table says which kind of check that",
        "was: the comparison of the gradients with PyTorch, with finite differences, that of their own gradients with",
        "finite differences, an error from the engine or NumPy (refused), or the time limit (hung).",
        "",
        f"{len(found)} mutants of {len(by_function)} functions: {len(found) - len(excluded) - len(survivors)} noticed,"
        f" {len(excluded)} excluded because they compute the same, **{len(survivors)} survivors**.",
        "",
        f"Python {platform.python_version()}, NumPy {np.__version__}, PyTorch {torch.__version__}, "
        f"{platform.system()} {platform.machine()}.",
        "",
        "## By function",
        "",
        f"| function | mutants | {' | '.join(WAYS)} | excluded | survivors |",
        "|---|" + "---:|" * (len(WAYS) + 3),
    ]
    for name, group in by_function.items():
        ways = Counter(v.way for v in group)
        gone = sum(bool(v.excluded) for v in group)
        counts = [len(group), *(ways[w] for w in WAYS), gone, ways[None] - gone]
        lines.append(f"| `{name}` | {' | '.join(map(str, counts))} |")
    totals = Counter(v.way for v in found)
    counts = [len(found), *(totals[w] for w in WAYS), len(excluded), len(survivors)]
    lines.append(f"| all | {' | '.join(map(str, counts))} |")
    lines += ["", "## By mistake", "", "| mistake | mutants |", "|---|---:|"]
    lines += [f"| {kind} | {n} |" for kind, n in sorted(Counter(v.mutant.mistake for v in found).items())]
    if survivors:
        lines += ["", "## Survivors", "", *(f"- {_code(v)}" for v in survivors)]
    lines += [
        "",
        "## Excluded",
        "",
        "These compute the same as the original. They are run like all others, and the check fails if one is noticed.",
        "",
    ]
    for reason in dict.fromkeys(v.excluded for v in excluded):
        lines += [f"- {reason}", *(f"  - {_code(v)}" for v in excluded if v.excluded == reason)]
    lines += ["", "## Never made", "", "Mistakes of these kinds would change nothing:", ""]
    lines += [f"- `{what}`: {why}" for what, why in SPARED.items()]
    return "\n".join(lines) + "\n"


def _code(v: Verdict) -> str:
    return f"`{v.mutant.function}`: `{_one_line(v.mutant.original)}` to `{_one_line(v.mutant.mutated)}`"


def _one_line(source: str) -> str:
    return " ".join(source.split())


def main(arguments: Sequence[str] | None = None) -> int:
    """The command. Returns 1 if a mutant survived."""
    parser = argparse.ArgumentParser(prog="python -m tinygrad_edu.testing.mutants", description=run.__doc__)
    parser.add_argument("--op", nargs="+", metavar="NAME", help="only the mutants of these ops; default: all")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1, help="default: one per core")
    parser.add_argument("--report", type=Path, metavar="FILE", help="write the report of a whole run here")
    options = parser.parse_args(arguments)
    if options.report and options.op:
        parser.error("--report is about all ops; leave --op out")
    found = run(options.op, options.processes)
    if options.report:
        unfinished = options.report.with_suffix(".part")
        unfinished.write_text(report(found), encoding="utf-8")
        os.replace(unfinished, options.report)
    wrong = faults(found, whole=options.op is None)
    print(*wrong, sep="\n" if wrong else "")
    noticed, excluded = (sum(map(bool, group)) for group in ((v.way for v in found), (v.excluded for v in found)))
    print(f"{len(found)} mutants: {noticed} noticed, {excluded} excluded, {len(wrong)} faults")
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main())
