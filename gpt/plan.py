"""What a run will take, told before it: `python -m gpt plan`, and in one line at the start of `python -m gpt train`.

A second or two of measuring on this machine, with parts of the very model: a block, forward and backward; what stands
before and after the blocks; the optimizer; the same in evaluation. A part that would take too long is measured on fewer
sequences or tokens, and drawn out in a line. Memory is counted, from what a trace of these parts keeps for backward.
"""

from __future__ import annotations

import math
import re
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import tinygrad_edu as tg
from tinygrad_edu import inspect, nn
from tinygrad_edu.nn.utils import clip_grad_norm_

from .checkpoint import free_memory
from .config import TrainConfig
from .model import GPT
from .report import PLOT_SHARE

if TYPE_CHECKING:
    from .trainer import Trainer

SECONDS = 2.0  # of measuring
SHARE = 0.03  # of a run that its plan may take at most
FLOPS = 1e11  # a second, taken for the speed of the machine until it is measured
LEAST = 0.1  # seconds of measuring that are worth while
ROUNDS = 4  # in which the parts are measured
TIMES = 4  # how often a part should fit into its share of the time
FEW = 4  # sequences, say, that are timed in any case, beside a single one
# How the time is divided among the parts.
SHARES = {"block": 0.35, "ends": 0.25, "update": 0.2, "block, evaluated": 0.1, "ends, evaluated": 0.05, "sample": 0.05}
_PLOT = 45_000_000  # bytes of matplotlib, which draws the loss

Clock = Callable[[], float]


@dataclass(frozen=True)
class Plan:
    """Predictions for a run. Times are seconds, memory bytes."""

    step: float
    """One step of the optimizer."""
    tokens_per_second: float
    evaluation: float
    """One evaluation, with its sample and checkpoint."""
    seconds: float
    """The whole run, or what is left of it."""
    memory: int | None
    """The most that the process will hold at a time; None where the system does not say what it holds now."""
    parts: dict[str, float]
    """Of a step: all blocks, the ends and the update of the weights."""
    took: float
    """Seconds of measuring."""
    available: int | None = None
    """Memory that the process holds or could still take; None where the system does not say."""

    def line(self) -> str:
        """The plan in one line."""
        return f"{_time(self.step)} a step, {self.tokens_per_second:,.0f} tokens/s, {_time(self.seconds)} in all" + (
            f", at most {self._memory()} of memory" if self.memory else ""
        )

    def _memory(self) -> str:
        assert self.memory
        lacks = self.available is not None and self.memory > self.available
        return _size(self.memory) + (f", MORE THAN the {_size(self.available or 0)} that are free," if lacks else "")

    def __str__(self) -> str:
        rows = {
            "a step": _time(self.step),
            **{f"  {name}": f"{_time(seconds)}  {seconds / self.step:.0%}" for name, seconds in self.parts.items()},
            "speed": f"{self.tokens_per_second:,.0f} tokens/s",
            "an evaluation": _time(self.evaluation),
            "the run": _time(self.seconds),
            "memory": self._memory().rstrip(",") if self.memory else "unknown",
        }
        lines = [f"{name:<18}{value}" for name, value in rows.items()]
        return "\n".join([*lines, "", f"Measured on this machine in {self.took:.1f} s."])

    def verdict(self, step: float, seconds: float, memory: int | None) -> str:
        """How far off the plan was, in one line."""
        said = [
            f"{name} {shown(planned)}, was {shown(was)} ({was / planned - 1:+.0%})"
            for name, planned, was, shown in (
                ("step", self.step, step, _time),
                ("run", self.seconds, seconds, _time),
                ("memory", self.memory, memory, _size),
            )
            if planned and was
        ]
        return "; ".join(said)

    def to_dict(self) -> dict[str, Any]:
        """The fields as a dictionary."""
        return asdict(self)


def plan(
    config: TrainConfig, *, step: int = 0, model: GPT | None = None, seconds: float = SECONDS,
    clock: Clock = time.perf_counter,
) -> Plan:  # fmt: skip
    """Measure for about so many seconds, and predict a run of this configuration from a step on.

    model: that of the run, if it is in memory already. No random number of the default stream is drawn.
    """
    start, state = clock(), tg.get_rng_state()
    try:
        return _plan(config, step, model, seconds, clock, start)
    finally:
        tg.set_rng_state(state)


def plan_for(trainer: Trainer) -> Plan | None:
    """The plan of a trainer's run, made in a small share of its time; None if that is too short to measure anything."""
    config = trainer.config
    tokens = config.batch_size * config.gradient_accumulation_steps
    flops = trainer.model.estimate_flops(tokens) * (config.max_iters - trainer.step)
    seconds = min(SECONDS, SHARE * flops / FLOPS)
    return plan(config, step=trainer.step, model=trainer.model, seconds=seconds) if seconds >= LEAST else None


class Timing:
    """How long work(size) takes, timed on as much of it as fits into a budget of seconds several times.

    The rest is drawn out in a line, from there and from work(1). The first time of each size does not count: memory is
    to be found and threads to be woken for it. Of the others the lower quartile does, since in the first second of a
    process many are longer than they will be in a run, and none is shorter.
    """

    def __init__(self, work: Callable[[int], object], size: int, budget: float, clock: Clock) -> None:
        self.work, self.size, self.budget, self.clock = work, size, budget, clock
        self.n = 1  # how much of it is timed
        self.times: dict[int, list[float]] = {}
        self.left = 0.0  # seconds to spend now

    def go(self, share: float = 1.0) -> None:
        """Spend a share of the budget, and what is left from earlier ones."""
        self.left += share * self.budget
        if not self.times:
            self.work(1)  # kernels are loaded
        while len(self.times.get(self.n, ())) < 2 or min(self.times[self.n]) <= self.left:
            self._time()
            if len(self.times[self.n]) > 1:
                self.n = min(self.size, max(self.n, self._larger()))

    def _time(self) -> None:
        start = self.clock()
        self.work(self.n)
        seconds = max(self.clock() - start, 1e-9)
        self.times.setdefault(self.n, []).append(seconds)
        self.left -= seconds

    def _larger(self) -> int:
        """How much of the work may be timed next."""
        fits = self.budget / TIMES / min(self.times[self.n])
        # Where most of the time is the same for any size, or only one is known, a line needs another.
        return max(int(self.n * fits), 2 * self.n if fits >= 1 else 0, FEW if self.n == 1 else 0)

    def _typical(self, n: int) -> float:
        times = sorted(self.times[n][1:])
        return times[len(times) // 4]

    @property
    def seconds(self) -> float:
        """How long the whole work takes."""
        typical, one, n = self._typical(self.n), self._typical(1), self.n
        slope = typical if n == 1 else min(max(0.0, (typical - one) / (n - 1)), typical / n)
        return typical + slope * (self.size - n)


def _plan(config: TrainConfig, step: int, model: GPT | None, seconds: float, clock: Clock, start: float) -> Plan:
    c = config.model
    _Parts(replace(config, model=replace(c, block_size=64, vocab_size=256, n_head=1, n_embd=64), batch_size=8)).once()
    before = memory_now()  # with the kernels, without the model
    held = sum(p.numel() for p in model.parameters()) * 4 if model else 0
    parts = _Parts(config)
    rows, units, L = config.batch_size, parts.units, c.n_layer

    def timing(name: str, work: Callable[[int], object], size: int, share: float = 1.0) -> Timing:
        return Timing(work, size, share * SHARES[name] * seconds, clock)

    block = timing("block", parts.block_step, rows)
    ends = timing("ends", parts.ends_step, units)
    updates = [timing("update", parts.update(o), 1, 1 / len(parts.optimizers)) for o in parts.optimizers]
    block_evaluated = timing("block, evaluated", parts.block_evaluated, rows)
    ends_evaluated = timing("ends, evaluated", parts.ends_evaluated, units)
    sampled = config.sample_tokens_at(step)
    samples = [timing("sample", parts.sample(blocks), sampled, 0.5) for blocks in (1, 2)]
    timings = [block, ends, *updates, block_evaluated, ends_evaluated, *(samples if sampled else [])]
    for _ in range(ROUNDS):  # in turn, so that a moment in which the machine is slow is not all of any
        for one in timings:
            one.go(1 / ROUNDS)

    of_block = parts.kept(parts.block_once, block.n) * rows / block.n
    kept = of_block + (L - 1) * parts.read(rows) if config.recompute else L * of_block
    kept += parts.kept(parts.ends_step, ends.n) * units / ends.n
    update = sum(t.seconds * parts.share(o) for t, o in zip(updates, parts.optimizers, strict=True))
    sample = 0.0
    if sampled:
        sample, with_two = (t.seconds for t in samples)
        sample += (L - 1) * max(0.0, with_two - sample)

    micro_batches = config.gradient_accumulation_steps
    in_step = {"blocks": micro_batches * L * block.seconds, "ends": micro_batches * ends.seconds, "update": update}
    one_step = sum(in_step.values())
    batch_evaluated = 2 * (L * block_evaluated.seconds + ends_evaluated.seconds)  # of each split one
    beside = sample + update  # a checkpoint is copied about as fast as an update goes through the same numbers
    evaluation = config.eval_iters * batch_evaluated + beside
    last = (config.final_eval_iters or config.eval_iters) * batch_evaluated + beside
    last += (config.sample_tokens - sampled) * batch_evaluated / (2 * rows)  # beyond a block each reads one anew
    left = config.max_iters - step
    evaluations = (step == 0) + config.max_iters // config.eval_interval - step // config.eval_interval
    evaluations += left > 0 and config.max_iters % config.eval_interval > 0
    whole = (left * one_step + max(0, evaluations - 1) * evaluation + (last if evaluations else 0.0)) * (1 + PLOT_SHARE)
    tokens = config.batch_size * c.block_size * micro_batches
    memory = available = None
    if before is not None:
        memory = before - held + _PLOT + round(kept) + parts.memory()
        if (free := free_memory()) is not None:
            available = free + (memory_now() or 0)
    return Plan(one_step, tokens / one_step, evaluation, whole, memory, in_step, clock() - start, available)


class _Probe(GPT):
    """A GPT whose weights need not be drawn one by one."""

    def _initialise(self, generator: Any) -> None:
        for p in self.parameters():
            if p.dim() >= 2:
                p.data = tg.as_tensor(_numbers(p.shape) * 0.02, device=p.device)


def precision(config: TrainConfig) -> tg.autocast:
    """Within it the model computes as the run does."""
    kind = tg.device(config.device).type
    return tg.autocast(kind, dtype=getattr(tg, config.dtype), enabled=config.dtype != "float32")


class _Parts:
    """One block of the model, the ends of it without a block, and the optimizer of both."""

    def __init__(self, config: TrainConfig) -> None:
        c = self.shape = config.model
        self.config, self.device = config, config.device
        self.precision = precision(config)
        self.model = _Probe(replace(c, n_layer=1)).to(config.device)
        self.one_block = self.model.h[0]
        betas = (config.beta1, config.beta2)
        optimizer = self.model.configure_optimizers(config.weight_decay, 1e-6, betas, muon=config.optimizer == "muon")
        self.optimizers: tuple[Any, ...] = getattr(optimizer, "optimizers", (optimizer,))
        self.in_block = {id(p) for p in self.one_block.parameters()}
        self.model.h = nn.ModuleList([])
        # The ends are linear in tokens, so that long sequences are cut into shorter ones. Not into so short ones that
        # time goes into reading the table of tokens, however few there are.
        self.unit = c.block_size // 16 if c.block_size % 16 == 0 and c.block_size >= 16 * 64 else c.block_size
        self.units = config.batch_size * c.block_size // self.unit
        self._stream = self._ids = tg.zeros(0)  # as much of each as was asked for: a batch may be larger than memory

    def stream(self, rows: int) -> tg.Tensor:
        """What the block reads."""
        if len(self._stream) < rows:
            shape = rows, self.shape.block_size, self.shape.n_embd
            self._stream = tg.from_numpy(_numbers(shape)).to(self.device)
        return self._stream[:rows]

    def ids(self, units: int) -> tg.Tensor:
        """What the ends read."""
        if len(self._ids) < units:
            ids = np.arange(units * self.unit).reshape(units, self.unit) * 7919 % self.shape.vocab_size
            self._ids = tg.from_numpy(ids).to(self.device)
        return self._ids[:units]

    def once(self) -> None:
        """Run each part once, so that their kernels are in memory."""
        self.block_step(self.config.batch_size)
        self.ends_step(self.units)
        self.block_evaluated(self.config.batch_size)
        self.ends_evaluated(self.units)
        for optimizer in self.optimizers:
            self.update(optimizer)(1)

    def read(self, rows: int) -> int:
        """Bytes of what the block reads: all that it keeps if it runs again in backward."""
        return 4 * rows * self.shape.block_size * self.shape.n_embd

    def block_step(self, rows: int) -> None:
        """Forward and backward of a block, as they are in the run."""
        self.block_once(rows, self.config.recompute)

    def block_once(self, rows: int, recompute: bool = False) -> None:
        """Forward and backward of a block."""
        self.one_block.train()
        x = self.stream(rows).detach().requires_grad_()
        with self.precision:
            y = tg.recompute(self.one_block, x) if recompute else self.one_block(x)
        y.backward(self.stream(rows))
        assert x.grad is not None
        x.grad[0, 0, 0].item()
        self.one_block.zero_grad()

    def ends_step(self, units: int) -> None:
        """Forward and backward of the embeddings, the last norm, the head and the loss."""
        self.model.train()
        ids = self.ids(units)
        with self.precision:
            loss = self.model(ids, ids)[1]
        assert loss is not None
        loss.backward()
        loss.item()
        self.model.zero_grad()

    def block_evaluated(self, rows: int) -> None:
        """Forward of a block, in evaluation."""
        self.one_block.eval()
        with tg.no_grad(), self.precision:
            self.one_block(self.stream(rows))[0, 0, 0].item()

    def ends_evaluated(self, units: int) -> None:
        """Forward of the ends, in evaluation."""
        self.model.eval()
        with tg.no_grad(), self.precision:
            self.model(self.ids(units), self.ids(units))[1].item()

    def sample(self, blocks: int) -> Callable[[int], None]:
        """Writing some tokens, with so many blocks between the ends."""

        def work(tokens: int) -> None:
            self.model.h = nn.ModuleList([self.one_block] * blocks)
            try:
                for _ in self.model.stream(self.ids(1)[:, :1], tokens, generator=tg.Generator().manual_seed(0)):
                    pass
            finally:
                self.model.h = nn.ModuleList([])

        return work

    def update(self, optimizer: Any) -> Callable[[int], None]:
        """Clipping the gradients of an optimizer's parameters, and its step."""
        parameters = _parameters_of(optimizer)
        gradients = [p.detach().clone() for p in parameters]
        limit = self.config.grad_clip or math.inf

        def work(size: int) -> None:
            for p, gradient in zip(parameters, gradients, strict=True):
                p.grad = gradient
            clip_grad_norm_(parameters, limit).item()
            optimizer.step()
            optimizer.zero_grad()

        return work

    def share(self, optimizer: Any) -> float:
        """How many times as many numbers the optimizer has in the whole model."""
        parameters = _parameters_of(optimizer)
        return sum(self._times(p) * p.numel() for p in parameters) / sum(p.numel() for p in parameters)

    def _times(self, p: tg.Tensor) -> int:
        return self.shape.n_layer if id(p) in self.in_block else 1

    def kept(self, work: Callable[[int], None], size: int) -> float:
        """Bytes that a part keeps for backward: intermediate values, masks of dropout, and the stream that it reads."""
        with inspect.trace(values="none") as trace:
            work(size)
        saved = {s.parameter for op in trace.ops for s in op.saved if s.parameter is not None}
        inputs = [trace.parameters[number] for number in saved]
        # A module's own parameters have two axes at most, and ids live anyway.
        return sum(op.saved_bytes for op in trace.ops) + sum(
            p.bytes for p in inputs if len(p.shape) > 2 and p.dtype.startswith("float")
        )

    def memory(self) -> int:
        """Bytes of the whole model beside what it keeps for backward. The optimizers have made a step."""
        c, config = self.shape, self.config
        parameters = [p for optimizer in self.optimizers for p in _parameters_of(optimizer)]
        weights = sum(self._times(p) * p.numel() * 4 for p in parameters)
        state = sum(
            self._times(p) * sum(x.numel() * 4 for x in optimizer.state[p].values() if isinstance(x, tg.Tensor))
            for optimizer in self.optimizers
            for p in _parameters_of(optimizer)
        )
        copy = weights + state  # that a checkpoint is written from
        if (free := free_memory()) is not None and copy > free / 2:
            copy = 0
        tokens = config.batch_size * c.block_size
        on_the_way = 4 * tokens * max(0, 8 * c.n_embd - c.vocab_size)  # two gradients of 4C, when the logits have gone
        waiting = max(p.numel() for p in parameters) * 4 * (config.gradient_accumulation_steps > 1)
        return 2 * weights + state + copy + on_the_way + waiting


def _parameters_of(optimizer: Any) -> list[tg.Tensor]:
    return [p for group in optimizer.param_groups for p in group["params"]]


def _numbers(shape: tuple[int, ...]) -> np.ndarray:
    """Random numbers, the same ones again and again."""
    return np.resize(np.random.default_rng(0).standard_normal(65521, np.float32), tuple(shape))


# ---- memory of this process ------------------------------------------------------------------------------------------


def memory_now() -> int | None:
    """Bytes that this process holds in memory; None if the system does not say."""
    return _status("VmRSS")


def memory_peak() -> int | None:
    """The most bytes that this process has held; None if the system does not say."""
    if (peak := _status("VmHWM")) is not None:
        return peak
    try:
        import resource
        import sys
    except ImportError:  # Windows
        return None
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def _status(field: str) -> int | None:
    try:
        found = re.search(rf"^{field}:\s*(\d+) kB$", Path("/proc/self/status").read_text("ascii"), re.MULTILINE)
    except OSError:
        return None
    return None if found is None else int(found[1]) * 1024


def _time(seconds: float) -> str:
    """A time for people."""
    if seconds < 1:
        return f"{seconds * 1e3:.3g} ms"
    if seconds < 120:
        return f"{seconds:.3g} s"
    if seconds < 2 * 3600:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"


def _size(size: float) -> str:
    """Bytes for people."""
    return f"{size / 1e9:.2f} GB" if size >= 1e9 else f"{size / 1e6:.0f} MB"
