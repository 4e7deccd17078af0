"""Where the time of a training step goes: `python -m gpt train --profile`, or `profile(trainer)`."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from tinygrad_edu import inspect
from tinygrad_edu.autograd import observe
from tinygrad_edu.inspect import chrome, text

if TYPE_CHECKING:
    from .trainer import Trainer

TRACE = "profile.chrome.json"
PARTS = ("data", "forward", "backward", "optimizer", "the rest")
WARM_UP = 5  # steps: kernels are compiled and memory is found in the first, and the processor wakes up
SECONDS = 10.0  # about what each of the two measurements may take
LEAST, MOST = 3, 20  # steps of one


@dataclass
class Profile:
    """What `profile` found. Times are seconds."""

    steps: list[float]
    """Of the steps without a trace."""
    parts: dict[str, float]
    """Of PARTS, on average in a step without a trace."""
    traced: list[float]
    """Of the steps with a trace."""
    trace: inspect.Trace
    """Of all the traced steps together."""
    spans: list[chrome.Span]
    """The parts of the traced steps."""
    tokens: int
    """In a step."""

    def __str__(self) -> str:
        typical, n = median(self.steps), len(self.traced)
        flops = sum(t.flops for t in text.totals_of(self.trace, n))
        whole = sum(self.parts.values())
        lines = [
            f"A step takes {typical * 1e3:.1f} ms (median of {len(self.steps)}; {min(self.steps) * 1e3:.1f} to "
            f"{max(self.steps) * 1e3:.1f}):",
            f"{self.tokens / typical:,.0f} tokens/s, {flops / typical / 1e9:,.1f} GFLOP/s.",
            "",
            f"{'part':<14}{'ms':>10}{'share':>10}",
        ]
        for name, seconds in self.parts.items():
            note = "  clipping the gradients, reading the loss" if name == "the rest" else ""
            lines.append(f"{name:<14}{seconds * 1e3:>10.3f}{seconds / whole:>10.1%}{note}")
        slower = median(self.traced) / typical - 1
        lines += [
            "",
            f"Forward and backward in detail, on average over {n} traced steps, which took",
            f"{slower:+.0%} time:",
            "",
            text.summary(self.trace, steps=n),
            "",
            text.table(self.trace, by="op", rows=12, steps=n, notes=False),
        ]
        return "\n".join(lines)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the traced steps as a Chrome trace, for ui.perfetto.dev or chrome://tracing."""
        chrome.write(self.trace, path, self.spans)


def profile(trainer: Trainer, say: Callable[[str], object] = lambda message: None) -> Profile:
    """Train some steps to find out where their time goes: some to warm up, some as usual, some with a trace.

    They are real steps, so train with another trainer afterwards. say: is told what is going on. Diverged: as when
    training.
    """
    say(f"warming up: {WARM_UP} steps")
    last = min([trainer.update().seconds for _ in range(WARM_UP)][1:])
    count = min(max(round(SECONDS / last), LEAST), MOST)
    say(f"measuring {count} steps of about {last * 1e3:.0f} ms")
    with _Clock(trainer) as clock:
        steps = [trainer.update().seconds for _ in range(count)]
    parts = {name: sum(span.seconds for span in clock.spans if span.name == name) / count for name in PARTS}
    parts["the rest"] = sum(steps) / count - sum(parts.values())
    count = max(LEAST, count // 2)
    say(f"tracing {count} steps")
    with _Clock(trainer) as clock, inspect.trace(values="none") as trace:
        start = time.perf_counter()
        traced = [trainer.update().seconds for _ in range(count)]
    config = trainer.config
    tokens = config.batch_size * config.gradient_accumulation_steps * config.model.block_size
    spans = [span._replace(start=span.start - start) for span in clock.spans]
    return Profile(steps, parts, traced, trace, spans, tokens)


class _Clock:
    """Within it, notes when the parts of a trainer's steps run, by wrapping what `Trainer.update` calls."""

    def __init__(self, trainer: Trainer) -> None:
        self.trainer = trainer
        self.spans: list[chrome.Span] = []

    def __enter__(self) -> _Clock:
        trainer = self.trainer
        self._undo = contextlib.ExitStack()
        self._batches = trainer.batches
        trainer.batches = _Timed(trainer.batches, self)  # type: ignore[assignment]
        self._undo.callback(setattr, trainer, "batches", self._batches)
        self._wrap(trainer.model, "forward", "forward")
        self._wrap(trainer.optimizer, "step", "optimizer")
        self._wrap(trainer.optimizer, "zero_grad", "optimizer")
        self._undo.enter_context(observe(_Walks(self)))
        return self

    def __exit__(self, *exc: object) -> None:
        self._undo.close()

    def _wrap(self, owner: Any, name: str, part: str) -> None:
        function = getattr(owner, name)

        def timed(*args: Any, **kwargs: Any) -> Any:
            with self.part(part):
                return function(*args, **kwargs)

        vars(owner)[name] = timed
        self._undo.callback(vars(owner).pop, name)

    @contextlib.contextmanager
    def part(self, name: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        self.spans.append(chrome.Span(name, start, time.perf_counter() - start))


class _Timed:
    """An iterator of batches whose time is noted."""

    def __init__(self, batches: Iterator[Any], clock: _Clock) -> None:
        self._batches, self._clock = batches, clock

    def __next__(self) -> Any:
        with self._clock.part("data"):
            return next(self._batches)

    def __iter__(self) -> Iterator[Any]:
        return self


class _Walks:
    """An observer that notes the time of backward passes."""

    def __init__(self, clock: _Clock) -> None:
        self._clock = clock

    def walking(self, roots: object) -> None:
        self._start = time.perf_counter()

    def walked(self) -> None:
        self._clock.spans.append(chrome.Span("backward", self._start, time.perf_counter() - self._start))


def run(trainer: Trainer, folder: str | os.PathLike[str], say: Callable[[str], object]) -> str:
    """Profile and write the trace into a folder; returns what to print."""
    found = profile(trainer, say)
    path = Path(folder) / TRACE
    path.parent.mkdir(parents=True, exist_ok=True)
    found.save(path)
    return f"{found}\n\nEach operation in time: open {path} at https://ui.perfetto.dev or chrome://tracing."
