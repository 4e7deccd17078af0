"""What a run shows and leaves behind: progress, metrics.csv, run.json, loss.png, samples.txt."""

from __future__ import annotations

import contextlib
import csv
import datetime
import importlib.metadata
import importlib.util
import math
import os
import platform
import re
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import IO, TYPE_CHECKING, Any

import numpy as np
from tqdm import tqdm

import tinygrad_edu as tg

from .config import PRESETS, TrainConfig
from .files import atomic_write, write_json
from .sampling import stream_text

if TYPE_CHECKING:
    from .plan import Plan
    from .trainer import Evaluation, Step, Trainer

METRICS, RUN, PLOT, SAMPLES = "metrics.csv", "run.json", "loss.png", "samples.txt"
COLUMNS = ("step", "loss", "lr", "grad_norm", "train_loss", "val_loss", "tokens_per_second", "elapsed")
PLOT_SHARE = 0.02  # of a run's time at most, but for the first plot and the last
SECONDS_BETWEEN_LINES = 5.0  # of plain progress, where there is no terminal for a bar


@dataclass(frozen=True)
class Usual:
    """Validation losses that an unchanged preset reaches on a text, and how far seeds and machines move them."""

    text_sha256: str
    val_losses: dict[int, float]  # by step
    band: float


_TINY_SHAKESPEARE = "86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed"
USUAL = {
    "laptop-fast": Usual(
        text_sha256=_TINY_SHAKESPEARE, val_losses={250: 2.165, 500: 1.947, 750: 1.831, 1000: 1.725}, band=0.05
    ),
    "laptop": Usual(
        text_sha256=_TINY_SHAKESPEARE,
        val_losses={
            250: 2.440, 500: 2.286, 750: 2.163, 1000: 2.064, 1250: 2.006, 1500: 1.960, 1750: 1.921, 2000: 1.912,
        },
        band=0.05,
    ),
}
# What may differ from a preset without moving its losses.
_HARMLESS = ("out_dir", "device", "seed", "eval_interval", "log_interval", "sample_tokens", "health", "dataset")


def usual(config: TrainConfig, text_sha256: str) -> tuple[str, Usual] | None:
    """The preset that this run follows unchanged, and its usual losses; None if there is none."""
    for name, known in USUAL.items():
        given, expected = config.to_dict(), PRESETS[name].to_dict()
        if text_sha256 == known.text_sha256 and all(
            given[field] == expected[field] for field in given if field not in _HARMLESS
        ):
            return name, known
    return None


class Report:
    """Writes a run's files and its progress. A context manager; `write` takes every step.

    Progress goes to `stream`: a bar if it is a terminal, else a line now and then.
    """

    def __init__(self, trainer: Trainer, stream: IO[str] | None = None) -> None:
        self.trainer, self.config = trainer, trainer.config
        self.folder = Path(self.config.out_dir)
        self.stream = stream or sys.stderr
        self.terminal = self.stream.isatty() and os.environ.get("TERM") != "dumb" and not os.environ.get("CI")
        self.colour = self.terminal and not os.environ.get("NO_COLOR")
        self.usual = usual(self.config, trainer.text["sha256"])
        c = self.config
        self.tokens_per_step = c.batch_size * c.model.block_size * c.gradient_accumulation_steps
        self._steps, self._seconds = 0, 0.0  # since the last row
        self._updates: list[float] = []  # seconds of each step since the start
        self._updating, self._evaluations = 0.0, 0  # since the start, too
        self._last_line = -math.inf
        self._next_plot = -math.inf  # the time before which no plot is drawn
        self._plot_is_old = False
        self._plan: Plan | None = None
        self._came_true: dict[str, Any] = {}  # what the plan is compared with

    # ---- a run, from its beginning to its end ----------------------------------------------------------------------

    def __enter__(self) -> Report:
        self._started = time.perf_counter()
        self.folder.mkdir(parents=True, exist_ok=True)
        self._cut_back(self.trainer.step)
        self._write_run_json("running")
        for line in self.header():
            self.say(line)
        self._bar = tqdm(
            total=self.config.max_iters, initial=self.trainer.step, file=self.stream, disable=not self.terminal,
            dynamic_ncols=True, colour="green" if self.colour else None, leave=False,
            bar_format="{n_fmt}/{total_fmt} {bar} {percentage:.0f}%{postfix}",
        )  # fmt: skip
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        self._bar.close()
        if error is None:
            if self._plot_is_old:
                self._plot()
            verdict = self._compare_with_plan()
            self._write_run_json("finished")
            seconds = time.perf_counter() - self._started
            if self._updating:
                took, rest = tqdm.format_interval(seconds), 1 - self._updating / seconds
                self.say(f"time     {took}, {rest:.0%} of it for evaluations, samples, plots and checkpoints")
            if verdict:
                self.say(f"plan     {verdict}")
            self.say(f"Finished. In {self.folder}: {METRICS}, {PLOT}, {SAMPLES}, the checkpoints best and latest.")
            return
        with contextlib.suppress(OSError):  # the error is perhaps that the disk is full
            if self._plot_is_old:
                self._plot()
            self._write_run_json(str(error) or type(error).__name__)

    def planned(self, plan: Plan | None) -> None:
        """Show and keep what was predicted for the run; None if it is too short for that."""
        self._plan, self._began = plan, time.perf_counter()
        if plan is not None:
            self.say(f"plan     {plan.line()}")
            self._write_run_json("running")

    def _compare_with_plan(self) -> str:
        """How far off the plan was; "" if there is none."""
        if self._plan is None or not self._updates:
            return ""
        from .plan import memory_peak

        step, seconds, memory = median(self._updates), time.perf_counter() - self._began, memory_peak()
        self._came_true = {"step": step, "seconds": seconds, "memory": memory}
        return self._plan.verdict(step, seconds, memory)

    def evaluating(self) -> None:
        """Show that the evaluation before the first step has begun."""
        self._bar.set_postfix_str("evaluating ...")
        if not self.terminal:
            self.say(f"evaluating on {2 * self.config.eval_iters:,} batches ...")

    def before(self, evaluation: Evaluation) -> None:
        """Show and write the evaluation before the first step."""
        self._write_row(0, None, evaluation)
        self._write_evaluation(0, evaluation)

    def write(self, step: Step) -> None:
        """Show a step, and write what is due: a row of metrics, at evaluations also plot and sample."""
        self._steps, self._seconds = self._steps + 1, self._seconds + step.seconds
        self._updates.append(step.seconds)
        self._updating += step.seconds
        if self.terminal:
            speed = self._steps * self.tokens_per_step / self._seconds
            left = self._time_left(step.number)
            self._bar.set_postfix_str(f"loss {step.loss:.3f}, {speed:,.0f} tokens/s, {left} left", refresh=False)
            self._bar.update()
        if step.evaluation or step.number % self.config.log_interval == 0:
            self._write_row(step.number, step, step.evaluation)
        if step.evaluation:
            self._write_evaluation(step.number, step.evaluation)

    def _time_left(self, number: int) -> str:
        """Steps left at the mean time of a step, and evaluations left at theirs, with all that goes with one."""
        c = self.config
        seconds = (c.max_iters - number) * self._updating / len(self._updates)
        if self._evaluations:
            left = c.max_iters // c.eval_interval - number // c.eval_interval
            left += number < c.max_iters and c.max_iters % c.eval_interval > 0
            seconds += left * (time.perf_counter() - self._started - self._updating) / self._evaluations
        return tqdm.format_interval(seconds)

    def _write_evaluation(self, number: int, evaluation: Evaluation) -> None:
        self.say(self._verdict(number, evaluation))
        if self.config.health:
            for line in self.trainer.health().lines():
                self.say(line)
        if self.config.sample_tokens:
            self._write_sample(number, evaluation)
        self._plot_is_old = True
        if time.perf_counter() >= self._next_plot:
            self._plot()
        self._evaluations += 1

    def _plot(self) -> None:
        start = time.perf_counter()
        parameters = self.trainer.model.num_params(non_embedding=False)
        plot(self.folder, f"{self.trainer.text['name']}, {parameters:,} parameters", self.usual)
        self._plot_is_old = False
        self._next_plot = time.perf_counter() + (time.perf_counter() - start) / PLOT_SHARE

    # ---- what is shown ---------------------------------------------------------------------------------------------

    def header(self) -> list[str]:
        """What a reader wants to know before the first step."""
        trainer, c, v = self.trainer, self.config, self.trainer.tokenizer.n_vocab
        train, val = (len(trainer.splits[name].tokens) for name in ("train", "val"))
        text, m = trainer.text, c.model
        lines = {
            "model": f"{m.n_layer} layers, {m.n_head} heads, {m.n_embd} channels, block of {m.block_size}: "
            f"{trainer.model.num_params(non_embedding=False):,} parameters",
            "text": text["name"] + (f", from {text['source']}" if text["source"] else ""),
            "tokens": f"{train:,} to train on, {val:,} to validate on; {c.tokenizer} tokenizer with {v:,}",
            "step": f"{self.tokens_per_step:,} tokens; {c.max_iters:,} steps read the text "
            f"{c.max_iters * self.tokens_per_step / train:.2g} times",
            "loss": f"{math.log(v):.3f} = ln({v:,}) expected before training, when every token is equally likely",
            "files": str(self.folder),
        }
        if trainer.step:
            lines["resumed"] = f"after step {trainer.step:,}"
        if trainer.step >= c.max_iters:
            lines["resumed"] += f", and max_iters is {c.max_iters:,}: nothing is left to do; raise --max-iters to go on"
        if importlib.util.find_spec("matplotlib") is None:
            lines["plot"] = "none, matplotlib is not installed: pip install matplotlib"
        return [f"{name:<8} {line}" for name, line in lines.items()]

    def _verdict(self, number: int, e: Evaluation) -> str:
        """The losses of an evaluation, and whether they are where this preset usually is."""
        best = self.trainer.best_val_loss is None or e.comparable < self.trainer.best_val_loss
        line = f"step {number:>5,}: train {e.train:.4f}, validation {e.val:.4f}{' (best)' if best else ''}"
        if number == 0 and self.config.init_from == "scratch":
            name, expected, band = "a new model", math.log(self.trainer.tokenizer.n_vocab), 0.25
        elif self.usual and number in self.usual[1].val_losses:
            name, expected, band = self.usual[0], self.usual[1].val_losses[number], self.usual[1].band
        else:
            return line
        high, low = e.val > expected + band, e.val < expected - band
        where = "HIGHER than usual" if high else "lower than usual" if low else "as usual"
        return line + self._coloured(f" - {where} for {name}, {expected:.3f} ± {band}", 33 if high else 32)

    def say(self, line: str) -> None:
        """Show a line."""
        if self.terminal:
            tqdm.write(line, file=self.stream)
        else:
            print(line, file=self.stream, flush=True)

    def _coloured(self, text: str, code: int) -> str:
        return f"\033[{code}m{text}\033[0m" if self.colour else text

    # ---- what is written -------------------------------------------------------------------------------------------

    def _write_row(self, number: int, step: Step | None, e: Evaluation | None) -> None:
        speed = self._steps * self.tokens_per_step / self._seconds if self._seconds else None
        self._steps, self._seconds = 0, 0.0
        update = (step.loss, step.lr, step.grad_norm) if step else (None, None, None)
        losses = (e.train, e.val) if e else (None, None)
        timing = (round(speed) if speed else None, round(self.trainer.elapsed, 3))
        row = ["" if x is None else str(x) for x in (number, *update, *losses, *timing)]
        self._append(METRICS, ",".join(row) + "\n", sync=e is not None)
        if step and not e and not self.terminal and time.monotonic() - self._last_line >= SECONDS_BETWEEN_LINES:
            self._last_line = time.monotonic()
            self.say(f"step {number:>5,}: loss {step.loss:.4f}, {speed:,.0f} tokens/s, {self._time_left(number)} left")

    def _write_sample(self, number: int, evaluation: Evaluation) -> None:
        generator = tg.Generator().manual_seed(self.config.seed)
        length = self.config.sample_tokens_at(number)
        text = "".join(stream_text(self.trainer.model, self.trainer.tokenizer, "", length, generator=generator))
        self._append(SAMPLES, f"=== step {number}, validation loss {evaluation.val:.4f} ===\n{text}\n\n", sync=True)

    def _append(self, name: str, text: str, sync: bool) -> None:
        """Write at the end of a file; sync: a checkpoint follows, and what it counts on should be on the disk."""
        path = self.folder / name
        try:
            with open(path, "ab") as file:
                file.write(text.encode("utf-8"))
                if sync:
                    file.flush()
                    os.fsync(file.fileno())
        except OSError as error:
            what = f"{path} cannot be written ({error.strerror}); the checkpoints are whole, go on when it can"
            raise OSError(error.errno, what) from error

    def _cut_back(self, step: int) -> None:
        """Keep of metrics and samples what was written up to a step: nothing for a new run."""
        path = self.folder / METRICS
        kept = [",".join(COLUMNS)]
        if step and path.is_file():
            for line in path.read_text(encoding="utf-8").splitlines()[1:]:
                if not line.split(",")[0].isdigit() or int(line.split(",")[0]) > step:
                    break
                kept.append(line)
        with atomic_write(path) as file:
            file.write("".join(f"{line}\n" for line in kept).encode("utf-8"))
        path = self.folder / SAMPLES
        before = path.read_bytes() if step and path.is_file() else b""
        later = [m.start() for m in re.finditer(rb"^=== step (\d+), .* ===$", before, re.MULTILINE) if int(m[1]) > step]
        with atomic_write(path) as file:
            file.write(before[: later[0] if later else None])

    def _write_run_json(self, status: str) -> None:
        trainer = self.trainer
        write_json(
            self.folder / RUN, "tinygrad_edu run", 1,
            {
                "status": status,
                "step": trainer.step,
                "best_val_loss": trainer.best_val_loss,
                "elapsed": trainer.elapsed,
                "written": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
                "seed": self.config.seed,
                "parameters": trainer.model.num_params(non_embedding=False),
                "text": trainer.text,
                "tokenizer": {"kind": trainer.tokenizer.kind, "n_vocab": trainer.tokenizer.n_vocab},
                "config": asdict(self.config),
                "versions": versions(),
                "machine": machine(),
                "plan": self._plan and {**self._plan.to_dict(), "was": self._came_true},
            },
        )  # fmt: skip


def read_metrics(folder: str | os.PathLike[str]) -> list[dict[str, Any]]:
    """The rows of a run's metrics.csv as numbers, None where a column is empty; no rows if there is no file."""
    path = Path(folder) / METRICS
    if not path.is_file():
        return []
    rows = []
    with open(path, newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            try:
                values = {name: None if row[name] == "" else float(row[name]) for name in COLUMNS}
                rows.append({**values, "step": int(row["step"])})
            except (KeyError, TypeError, ValueError):
                break  # a crash cut the last row short
    return rows


def plot(folder: str | os.PathLike[str], title: str = "", known: tuple[str, Usual] | None = None) -> None:
    """Draw loss.png from metrics.csv: the training loss, the evaluations, and the usual run where it is known."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        return
    rows = read_metrics(folder)
    figure = Figure(figsize=(8, 5), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    steps, losses = np.array([(row["step"], row["loss"]) for row in rows if row["loss"] is not None]).reshape(-1, 2).T
    axes.plot(steps, losses, color="tab:blue", alpha=0.5, lw=0.8, label="batch")
    axes.plot(steps, _smooth(losses), color="tab:blue", lw=1.8, label="batch, smoothed")
    for name, colour in (("train_loss", "tab:blue"), ("val_loss", "tab:orange")):
        points = [(row["step"], row[name]) for row in rows if row[name] is not None]
        label = {"train_loss": "training text", "val_loss": "validation text"}[name]
        axes.plot(*zip(*points, strict=True) if points else ([], []), "o:", ms=4, lw=1, color=colour, label=label)
    if known:
        steps = np.array(list(known[1].val_losses))
        losses = np.array(list(known[1].val_losses.values()))
        axes.fill_between(
            steps, losses - known[1].band, losses + known[1].band, color="tab:orange", alpha=0.2,
            label=f"usual validation loss of {known[0]}",
        )  # fmt: skip
    axes.set(xlabel="step", ylabel="loss (nats per token)", title=title)
    axes.grid(alpha=0.3)
    axes.legend()
    with atomic_write(Path(folder) / PLOT) as file:
        figure.savefig(file, format="png")


def _smooth(losses: np.ndarray) -> np.ndarray:
    """The mean over a window of a fifteenth of the curve, cut off at both ends."""
    if not len(losses):
        return losses
    window = np.ones(len(losses) // 15 | 1)
    return np.convolve(losses, window, "same") / np.convolve(np.ones(len(losses)), window, "same")


def versions() -> dict[str, str]:
    """Versions of what computed the run."""
    found = {"python": platform.python_version(), "tinygrad_edu": tg.__version__}
    return found | {name: importlib.metadata.version(name) for name in ("numpy", "safetensors", "tiktoken")}


def machine() -> dict[str, Any]:
    """What computed the run."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    cpu = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.processor())
    return {"cpu": cpu, "cores": os.cpu_count(), "system": platform.platform()}
