"""Training a GPT: one step after another, evaluation, and going on exactly where a run stopped.

    trainer = Trainer.start(preset("laptop"))           # or Trainer(config, model, tokenizer, train, val)
    trainer.run()                                       # the whole job: progress, files, checkpoints, Ctrl-C
    Trainer.resume("runs/shakespeare").run()            # and on from where it stopped

or with a loop of your own, which writes no file unless you do:

    for step in trainer:
        print(step.number, step.loss)
"""

from __future__ import annotations

import contextlib
import itertools
import math
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean
from typing import Any, cast

import numpy as np

import tinygrad_edu as tg
from tinygrad_edu import inspect
from tinygrad_edu.inspect import Health
from tinygrad_edu.nn.utils import clip_grad_norm_

from . import checkpoint
from .config import TokenizerKind, TrainConfig
from .data import TokenBatches, TokenFile, open_tokens, prepare_tokens
from .model import GPT
from .plan import plan_for, precision
from .report import Report
from .sampling import load_model
from .texts import find_text
from .tokenizers import Tokenizer, make_tokenizer

EVALUATION_SEED = 0  # every evaluation, of every run, draws the same batches, so that their losses compare
TOKENS = "tokens"  # the folder of a run that holds its text as tokens
SHORTEST_BLOCK = 8  # tokens, that advice proposes
# When a run goes on.
CHANGEABLE = (
    "max_iters", "eval_interval", "eval_iters", "final_eval_iters", "log_interval", "sample_tokens", "health",
    "recompute", "device",
)  # fmt: skip


@dataclass(frozen=True)
class Evaluation:
    """Mean losses in nats per token over `eval_iters` batches of each split, the last over `final_eval_iters`."""

    train: float
    val: float
    comparable: float  # the validation loss over the first eval_iters batches, which all evaluations of a run have


@dataclass(frozen=True)
class Step:
    """What one update did."""

    number: int  # the first is 1
    loss: float  # before the update, the mean over the micro-batches
    lr: float
    grad_norm: float  # before clipping; not finite if float16 was too small and the step was skipped
    seconds: float  # of the update alone
    evaluation: Evaluation | None = None  # of the model after the update, every eval_interval steps and at the end


class Diverged(ArithmeticError):
    """Loss, gradient or weights are NaN or infinite; the message names the first bad parameter. `step` did it."""

    def __init__(self, step: int, what: str) -> None:
        super().__init__(f"step {step:,}: {what}")
        self.step = step


class Interrupted(KeyboardInterrupt):
    """A signal stopped the run. It can go on from what was saved in `folder`; None if nothing was saved yet."""

    def __init__(self, signum: int, folder: Path, saved: int | None) -> None:
        kept = "nothing was saved yet" if saved is None else f"{folder} holds the run as it was after step {saved:,}"
        super().__init__(f"stopped by {signal.Signals(signum).name}; {kept}")
        self.signum, self.folder = signum, None if saved is None else folder


class Trainer:
    """Trains `model` on the tokens of `train`: iterate over it, step by step, or `run()` it.

    Warm-up and cosine decay of the learning rate, AdamW, gradient accumulation and clipping, as `config` says. The
    iteration stops after `config.max_iters` steps; stopping it earlier and iterating again goes on where it was.

    ValueError: a split shorter than a block, tokens that the model does not know, or no such device.
    """

    def __init__(
        self,
        config: TrainConfig,
        model: GPT,
        tokenizer: Tokenizer,
        train: TokenFile,
        val: TokenFile,
        *,
        source: str = "",
    ) -> None:
        if tokenizer.n_vocab > model.config.vocab_size:
            raise ValueError(
                f"the tokenizer has {tokenizer.n_vocab} tokens, the model vocab_size={model.config.vocab_size}; make "
                "the model with vocab_size=tokenizer.n_vocab"
            )
        self.config = replace(config, model=model.config, tokenizer=cast(TokenizerKind, tokenizer.kind))
        self.model, self.tokenizer, self.splits = model, tokenizer, {"train": train, "val": val}
        model.recompute = config.recompute
        self.text = {"name": config.dataset, "source": source, "sha256": train.text_sha256}
        check_device(config.device)
        model.to(config.device)
        kind = tg.device(config.device).type
        self._precision = precision(config)
        self.scaler = tg.amp.GradScaler(kind, enabled=config.dtype == "float16")
        betas = (config.beta1, config.beta2)
        self.optimizer = model.configure_optimizers(
            config.weight_decay, config.learning_rate, betas, muon=config.optimizer == "muon"
        )
        self._parameters = list(model.parameters())
        self._check_lengths()
        self.batches = self._batches("train", config.seed + 1)  # not the stream that the weights came from
        self.step = 0  # updates made
        self.saved: int | None = None  # updates made when it was last saved, all on the disk
        self._writer: checkpoint.Writer | None = None  # of the checkpoints of `run`
        self.best_val_loss: float | None = None  # of the checkpoint `best` that `run` writes
        self.elapsed = 0.0  # seconds spent on updates and evaluations

    # ---- training --------------------------------------------------------------------------------------------------

    def __iter__(self) -> Iterator[Step]:
        while self.step < self.config.max_iters:
            step = self.update()
            if self.step % self.config.eval_interval == 0 or self.step == self.config.max_iters:
                step = replace(step, evaluation=self.evaluate())
            yield step

    def update(self) -> Step:
        """One optimizer step. Diverged: the loss or a gradient is not finite; then no weight is changed."""
        start, config = time.perf_counter(), self.config
        lr = config.learning_rate_at(self.step)
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        self.optimizer.zero_grad()
        if not self.model.training:
            self.model.train()
        loss, micro_batches = 0.0, config.gradient_accumulation_steps
        for _ in range(micro_batches):
            with self._precision:
                part = self.model(*next(self.batches))[1]  # nobody holds the logits: their gradient takes their place
            self.scaler.scale(part / micro_batches).backward()
            loss += part.item() / micro_batches
        if not math.isfinite(loss):
            raise self._diverged(self.step + 1, f"the loss is {loss}")
        try:
            self.scaler.unscale_(self.optimizer)
            # Infinite gradients may only mean that they are scaled too much: the scale falls, to 1 if need be.
            finite = not self.scaler.is_enabled() or self.scaler.get_scale() <= 1
            norm = clip_grad_norm_(self._parameters, config.grad_clip or math.inf, error_if_nonfinite=finite)
        except RuntimeError:
            raise self._diverged(self.step + 1, "the norm of the gradients is not finite") from None
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.step += 1
        seconds = time.perf_counter() - start
        self.elapsed += seconds
        return Step(self.step, loss, lr, norm.item(), seconds)

    def evaluate(self) -> Evaluation:
        """Losses on both splits. It draws from generators of its own, so training goes on as if it had not been."""
        start = time.perf_counter()
        self.model.eval()
        with tg.no_grad(), self._precision:
            losses = [[self.model(x, y)[1].item() for x, y in self.evaluation_batches(split)] for split in self.splits]
        self.model.train()
        train, val, comparable = (fmean(part) for part in (*losses, losses[1][: self.config.eval_iters]))
        if not math.isfinite(train + val):
            raise self._diverged(self.step, f"the losses are {train} and {val}")
        self.elapsed += time.perf_counter() - start
        return Evaluation(train, val, comparable)

    def health(self) -> Health:
        """How the layers are on the first batch that evaluations of "train" draw, and what the next step would do to
        them; see `inspect.health`. Training goes on as if it had not been asked."""
        x, y = next(self._batches("train", EVALUATION_SEED))
        for group in self.optimizer.param_groups:
            group["lr"] = self.config.learning_rate_at(self.step)
        self.model.eval()
        found = inspect.health(self.model, lambda: self.model(x, y)[1], self.optimizer)
        self.model.train()
        return found

    def evaluation_batches(self, split: str) -> Iterator[tuple[tg.Tensor, tg.Tensor]]:
        """The batches that an evaluation of a split, "train" or "val", is made on now: the same each time, and more of
        them after the last step."""
        last = self.step == self.config.max_iters
        count = (self.config.final_eval_iters if last else None) or self.config.eval_iters
        return itertools.islice(self._batches(split, EVALUATION_SEED), count)

    def _batches(self, split: str, seed: int) -> TokenBatches:
        return TokenBatches(
            self.splits[split].tokens, self.config.batch_size, self.config.model.block_size,
            n_vocab=self.config.model.vocab_size, generator=tg.Generator().manual_seed(seed),
            device=self.config.device,
        )  # fmt: skip

    def _check_lengths(self) -> None:
        """ValueError: a split holds no whole block."""
        block_size, val = self.config.model.block_size, self.splits["val"]
        shortest = min(self.splits.values(), key=lambda split: len(split.tokens))
        tokens, characters = len(shortest.tokens), shortest.stop - shortest.start
        if tokens > block_size:
            return
        needed = math.ceil(10 * (block_size + 1) * characters / tokens)
        smaller = f", or block_size={tokens - 1} or less" if tokens > SHORTEST_BLOCK else ""
        raise ValueError(
            f"{self.config.dataset} is too short: it has {val.stop:,} characters, and a tenth is kept to validate on, "
            f"which makes {tokens:,} tokens where block_size={block_size} needs {block_size + 1}; use a text of about "
            f"{needed:,} characters or more{smaller}"
        )

    def _diverged(self, step: int, what: str) -> Diverged:
        if self._writer:
            self._writer.join()
        kept = "Nothing was saved yet" if self.saved is None else f"What was saved after step {self.saved:,} is whole"
        advice = "try a lower learning_rate, a longer warm-up, or grad_clip=1"
        return Diverged(step, f"{what}; {_first_bad(self.model)}. {kept}; {advice}")

    # ---- the whole job ---------------------------------------------------------------------------------------------

    def run(self, *, overwrite: bool = False, plan: bool = True) -> None:
        """Train to the end, with progress on stderr and metrics, plot, samples and checkpoints in config.out_dir.

        plan: measure first how long it will take, and say at the end how far off that was; see `gpt.plan`. It changes
        nothing in the training, and runs of a few seconds are not planned.

        Checkpoints: `latest` at every evaluation, `best` where the validation loss is lowest so far, both written while
        training goes on. Ctrl-C and SIGTERM end the current step and save `latest`; a second one, or one before the
        first step, stops at once.
        FileExistsError: a new run, but the folder holds another one. Interrupted: by such a signal. Diverged: NaN or
        infinity; the checkpoints are those from before. OSError: a file could not be written.
        """
        folder = Path(self.config.out_dir)
        if self.step == 0 and not overwrite:
            check_no_run_in(folder)
        before: Evaluation | None = None
        first = self.step + 1
        with (
            _stop_signals(at_once=lambda: self.step == 0 and before is None) as stop,
            Report(self) as report,
            self._writing(report.say) as writer,
        ):
            try:
                if plan:
                    report.planned(plan_for(self))
                if self.step == 0:
                    report.evaluating()
                    before = self.evaluate()
                    report.before(before)
                    self._keep(folder, before, writer)
                for step in self:
                    writer.check()
                    if step.number == first:  # from here on the optimizer has its state
                        writer.prepare(self.model, self.optimizer)
                    report.write(step)
                    if step.evaluation:
                        self._keep(folder, step.evaluation, writer)
                    if stop and self.step < self.config.max_iters:
                        self.save(folder / "latest")
                        raise KeyboardInterrupt
            except KeyboardInterrupt:
                with contextlib.suppress(KeyboardInterrupt):  # whoever insists does not get the last checkpoint
                    writer.wait()
                raise Interrupted(stop[0] if stop else signal.SIGINT, folder, self.saved) from None

    @contextlib.contextmanager
    def _writing(self, say: Callable[[str], object]) -> Iterator[checkpoint.Writer]:
        """Within it checkpoints are written in the background."""
        try:
            with checkpoint.Writer(say) as self._writer:
                yield self._writer
        finally:
            self._writer = None

    def _keep(self, folder: Path, evaluation: Evaluation, writer: checkpoint.Writer) -> None:
        names = ["latest"]
        if self.best_val_loss is None or evaluation.comparable < self.best_val_loss:
            self.best_val_loss = evaluation.comparable
            names = ["best", "latest"]
        step = self.step

        def written() -> None:
            self.saved = step

        writer.save(*(folder / name for name in names), written=written, **self._contents())

    # ---- stopping and going on -------------------------------------------------------------------------------------

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Write everything that `resume` needs. Diverged: a weight is not finite; then nothing is written."""
        if self._writer:
            self._writer.wait()
        checkpoint.save(folder, **self._contents())
        self.saved = self.step

    def _contents(self) -> dict[str, Any]:
        """What a checkpoint is made of. Diverged: a weight is not finite."""
        if not _all_finite(self.model):
            raise self._diverged(self.step, "a weight is not finite")
        state = {
            "batches": self.batches.state_dict(),
            "rng": tg.get_rng_state().numpy().tobytes().hex(),  # dropout's
            "scaler": self.scaler.state_dict(),
            "best_val_loss": self.best_val_loss,
            "elapsed": self.elapsed,
            "text": self.text,
        }
        return {
            "config": self.config, "step": self.step, "state": state, "model": self.model,
            "optimizer": self.optimizer, "tokenizer": self.tokenizer,
        }  # fmt: skip

    @classmethod
    def start(cls, config: TrainConfig) -> Trainer:
        """The trainer of a new run: finds the text, makes tokenizer, model and, in config.out_dir, the token files.

        FileNotFoundError, ValueError: no such text or weights to start from, or they do not go together.
        """
        text = find_text(config.dataset)
        tg.manual_seed(config.seed)
        if config.init_from == "scratch":
            tokenizer = make_tokenizer(config.tokenizer, text)
            model = GPT(replace(config.model, vocab_size=tokenizer.n_vocab))
        else:
            model, tokenizer = load_model(config.init_from, config.model.block_size, config.model.dropout)
        train, val = prepare_tokens(text, tokenizer, Path(config.out_dir) / TOKENS)
        return cls(config, model, tokenizer, train, val, source=text.source)

    @classmethod
    def resume(cls, path: str | os.PathLike[str], **changes: Any) -> Trainer:
        """The trainer of a run as it was saved: what follows equals a run that never stopped, bit for bit.

        path: the run's folder, or one of its checkpoints. changes: new values for some of max_iters, eval_interval,
        eval_iters, final_eval_iters, log_interval, sample_tokens, health, recompute, device (on another device it goes
        on to within rounding). FileNotFoundError, ValueError: no such checkpoint, a damaged one, another text, or
        changes that would not be the same run.
        """
        saved = checkpoint.load(path)
        if fixed := [name for name in changes if name not in CHANGEABLE]:
            raise ValueError(
                f"a run that goes on keeps its settings, so {', '.join(fixed)} cannot change (only "
                f"{', '.join(CHANGEABLE)} can); for other settings start a new run, from these weights with init_from"
            )
        config = replace(saved.config, out_dir=str(saved.folder.parent), **changes)
        if config.max_iters != saved.config.max_iters > config.warmup_iters and config.lr_decay_iters is None:
            # The decay that was begun is kept: more steps go on at min_lr.
            config = replace(config, lr_decay_iters=saved.config.max_iters)
        try:
            state = saved.state
            rng = tg.from_numpy(np.frombuffer(bytes.fromhex(state["rng"]), np.uint8).copy())
            tg.Generator().set_state(rng)  # refuses what is no state, before anything has changed
            train, val = _tokens_again(config, saved.tokenizer, state["text"]["sha256"])
            trainer = cls(config, saved.model, saved.tokenizer, train, val)
            trainer.batches.load_state_dict(state["batches"])
            trainer.optimizer.load_state_dict(saved.optimizer_state())
            if trainer.scaler.is_enabled():
                trainer.scaler.load_state_dict(state["scaler"])
            trainer.step = trainer.saved = saved.step
            trainer.text, trainer.elapsed = dict(state["text"]), float(state["elapsed"])
            trainer.best_val_loss = None if state["best_val_loss"] is None else float(state["best_val_loss"])
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"{saved.folder} is damaged ({error!r}); use another checkpoint") from None
        except ValueError as error:
            raise ValueError(f"{saved.folder} cannot be resumed: {error}") from None
        tg.set_rng_state(rng)
        return trainer


def _tokens_again(config: TrainConfig, tokenizer: Tokenizer, sha256: str) -> tuple[TokenFile, TokenFile]:
    """The token files of a run: those in its folder, or else made again from its text, which must have this hash."""
    folder = Path(config.out_dir) / TOKENS
    try:
        train, val = (open_tokens(folder / f"{split}.bin", tokenizer) for split in ("train", "val"))
        if {train.text_sha256, val.text_sha256} == {sha256}:
            return train, val
    except (FileNotFoundError, ValueError):
        pass
    train, val = prepare_tokens(find_text(config.dataset), tokenizer, folder)
    if train.text_sha256 != sha256:
        raise ValueError(
            f"{config.dataset} is not the text that the run was trained on (SHA-256 {train.text_sha256}, expected "
            f"{sha256}); put the old text back, or start a new run"
        )
    return train, val


def check_device(name: str) -> None:
    """ValueError: there is no device of this name to compute on."""
    try:
        tg.empty(0, device=name)
    except RuntimeError as error:
        raise ValueError(f"device={name!r} cannot be used: {error}") from None


def check_no_run_in(folder: str | os.PathLike[str]) -> None:
    """FileExistsError: a run in this folder has made steps, which a new one there would lose."""
    try:
        _, config, step, _ = checkpoint.load_settings(folder)
    except (FileNotFoundError, ValueError):
        return
    if step:
        done = step >= config.max_iters
        state = f"finished run of {step:,} steps" if done else f"run at step {step:,} of {config.max_iters:,}"
        more = f" --max-iters {2 * step}" if done else ""
        raise FileExistsError(
            f"{folder} holds a {state}: go on with it by --resume {folder}{more}, write to another folder by --out-dir "
            "OTHER, or lose it by --overwrite"
        )


def _all_finite(model: GPT) -> bool:
    return all(bool(tg.isfinite(p.detach()).all()) for p in model.parameters())


def _first_bad(model: GPT) -> str:
    """Which parameter turned bad first, in the order of the model; values before gradients."""
    with tg.no_grad():
        for name, p in model.named_parameters():
            if not bool(tg.isfinite(p).all()):
                return f"the first parameter that turned bad is {name}"
        for name, p in model.named_parameters():
            if p.grad is not None and not bool(tg.isfinite(p.grad).all()):
                return f"the first parameter whose gradient turned bad is {name}, the values are finite"
    return "all parameters and gradients are finite by themselves"


@contextlib.contextmanager
def _stop_signals(at_once: Callable[[], bool]) -> Iterator[list[int]]:
    """Within it the first SIGINT or SIGTERM only enters the list; the second, or one when `at_once`, stops at once."""
    received: list[int] = []

    def handle(signum: int, frame: object) -> None:
        received.append(signum)
        if len(received) > 1 or at_once():
            raise KeyboardInterrupt
        with contextlib.suppress(OSError):  # not print, which may be at work just now
            os.write(2, b"\nFinishing this step and saving; once more to stop at once.\n")

    if threading.current_thread() is not threading.main_thread():  # where Python delivers no signals
        yield received
        return
    before = {signum: signal.signal(signum, handle) for signum in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield received
    finally:
        for signum, handler in before.items():
            signal.signal(signum, handler or signal.SIG_DFL)
