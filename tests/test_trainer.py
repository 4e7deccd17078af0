"""Training: equal to PyTorch's, exactly resumable, stopped by signals and by NaN; and the files of a run."""

from __future__ import annotations

import contextlib
import csv
import errno
import io
import itertools
import json
import math
import os
import re
import signal
import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import matplotlib.image
import numpy as np
import pytest
import torch

import tinygrad_edu as tg
from benchmarks.torch_gpt import TorchGPT
from gpt import checkpoint
from gpt.config import GPTConfig, TrainConfig, preset
from gpt.data import TokenBatches, write_tokens
from gpt.model import GPT
from gpt.report import COLUMNS, USUAL, Report, Usual, _smooth, machine, plot, read_metrics, usual, versions
from gpt.sampling import load_model
from gpt.tokenizers import ByteTokenizer, CharTokenizer
from gpt.trainer import Diverged, Evaluation, Interrupted, Step, Trainer

draws = pytest.mark.usefixtures("with_plots")


@pytest.fixture
def with_plots() -> None:
    """Lets a run draw its plot, which takes longer than the rest of a tiny run."""


@pytest.fixture(autouse=True)
def _without_plots(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if "with_plots" not in request.fixturenames:
        monkeypatch.setattr("gpt.report.plot", lambda *args: None)


EXACT = [name for name in COLUMNS if name not in ("tokens_per_second", "elapsed")]  # these two measure time


@pytest.fixture
def tiny(data_dir: Path, tmp_path: Path) -> TrainConfig:
    """A run of seconds on the beginning of the real text."""
    text = (data_dir / "tinyshakespeare.txt").read_text(encoding="utf-8")[:5000]
    (tmp_path / "text.txt").write_text(text, encoding="utf-8", newline="\n")
    return TrainConfig(
        dataset=str(tmp_path / "text.txt"), out_dir=str(tmp_path / "run"), batch_size=3, max_iters=10,
        eval_interval=4, eval_iters=2, log_interval=1, warmup_iters=2, sample_tokens=20,
        model=GPTConfig(block_size=8, n_layer=2, n_head=2, n_embd=16, bias=False),
    )  # fmt: skip


def exact_rows(config: TrainConfig) -> list[tuple[str, ...]]:
    """metrics.csv as text, without the columns of time."""
    with open(Path(config.out_dir) / "metrics.csv", newline="") as file:
        return [tuple(row[name] for name in EXACT) for row in csv.DictReader(file)]


def at_step(monkeypatch: pytest.MonkeyPatch, number: int, do: Callable[[], None]) -> None:
    """Do something once step `number` is made, while the run goes on."""
    write = Report.write

    def patched(self: Report, step: Step) -> None:
        write(self, step)
        if step.number == number:
            do()

    monkeypatch.setattr(Report, "write", patched)


# ---- the numbers -----------------------------------------------------------------------------------------------------


def test_ten_steps_equal_pytorchs(tiny: TrainConfig) -> None:
    config = replace(tiny, gradient_accumulation_steps=2, learning_rate=1e-2, model=replace(tiny.model, bias=True))
    trainer = Trainer.start(config)
    twin = TorchGPT(trainer.config.model)
    twin.load_state_dict({name: torch.from_numpy(t.numpy().copy()) for name, t in trainer.model.state_dict().items()})
    optimizer = twin.configure_optimizers(0.1, 1e-2, (0.9, 0.99))
    generator = tg.Generator().manual_seed(config.seed + 1)
    batches = TokenBatches(trainer.splits["train"].tokens, 3, 8, generator=generator)
    steps = list(trainer)
    assert [step.number for step in steps] == list(range(1, 11))
    for step in steps:
        lr = config.learning_rate_at(step.number - 1)
        for group in optimizer.param_groups:
            group["lr"] = lr
        losses = []
        for x, y in itertools.islice(batches, 2):
            _, loss = twin(torch.from_numpy(x.numpy()), torch.from_numpy(y.numpy()))
            (loss / 2).backward()
            losses.append(loss.item())
        norm = torch.nn.utils.clip_grad_norm_(twin.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        assert step.loss == pytest.approx(sum(losses) / 2, abs=1e-5), step.number
        assert step.grad_norm == pytest.approx(norm.item(), rel=1e-4)
        assert step.lr == lr
    assert steps[0].grad_norm > 1 and steps[0].loss > steps[-1].loss + 0.1  # clipping acts, and it learns
    for name, p in trainer.model.named_parameters():
        ours, theirs = p.detach().numpy(), twin.state_dict()[name].numpy()
        if name.endswith("c_attn.bias"):  # the biases of keys have no effect: Adam blows their gradient's rounding up
            ours, theirs = (np.delete(a, range(16, 32)) for a in (ours, theirs))
        np.testing.assert_allclose(ours, theirs, atol=2e-5, err_msg=name)


def test_micro_batches_are_averaged(tiny: TrainConfig) -> None:
    """Two micro-batches of 3 are one batch of 6, whose rows are drawn in another order of words, so it is given."""
    one, two = (Trainer.start(replace(tiny, gradient_accumulation_steps=n, grad_clip=0.0)) for n in (1, 2))
    pairs = list(itertools.islice(one.batches, 2))
    whole = tuple(tg.cat([pair[i] for pair in pairs]) for i in (0, 1))
    one.batches, two.batches = iter([whole]), iter(pairs)  # type: ignore[assignment]
    a, b = one.update(), two.update()
    assert a.loss == pytest.approx(b.loss, abs=1e-6)
    assert a.grad_norm == pytest.approx(b.grad_norm, rel=1e-5)
    for (name, p), (_, q) in zip(one.model.named_parameters(), two.model.named_parameters(), strict=True):
        assert p.grad is not None and q.grad is not None
        np.testing.assert_allclose(p.grad.numpy(), q.grad.numpy(), atol=1e-6, err_msg=name)


def test_gradients_are_clipped_only_if_wanted(tiny: TrainConfig) -> None:
    for clip, expected in ((0.5, 0.5), (0.0, None), (1e9, None)):
        trainer = Trainer.start(replace(tiny, grad_clip=clip))
        step = trainer.update()
        norm = math.sqrt(sum(float((p.grad**2).sum()) for p in trainer.model.parameters() if p.grad is not None))
        assert norm == pytest.approx(expected or step.grad_norm, rel=1e-4)
        assert step.grad_norm > 1


def test_it_learns_one_batch_by_heart(tiny: TrainConfig, tmp_path: Path) -> None:
    text = "To be, or"  # one character more than a block: every window is the same
    tokenizer = CharTokenizer.from_text(text)
    tokens = write_tokens(tmp_path / "one.bin", text, tokenizer)
    config = replace(tiny, max_iters=80, learning_rate=1e-2, min_lr=1e-3, eval_interval=1000, weight_decay=0.0)
    model = GPT(replace(config.model, vocab_size=tokenizer.n_vocab))
    steps = list(Trainer(config, model, tokenizer, tokens, tokens))
    assert steps[0].loss > 1.5
    assert steps[-1].loss < 0.02
    ids = model.generate(tg.tensor([tokenizer.encode("T")]), 7, do_sample=False)
    assert tokenizer.decode(ids[0]) == "To be, o"


def test_evaluation_disturbs_nothing_and_repeats(tiny: TrainConfig) -> None:
    config = replace(tiny, model=replace(tiny.model, dropout=0.2))
    often, never = Trainer.start(replace(config, eval_interval=1)), Trainer.start(replace(config, eval_interval=999))
    tg.manual_seed(5)
    with_evaluation = [(step.loss, step.grad_norm) for step in often]
    tg.manual_seed(5)
    without = list(never)
    assert [(step.loss, step.grad_norm) for step in without] == with_evaluation
    assert [step.evaluation is None for step in without] == [True] * 9 + [False]
    assert often.evaluate() == often.evaluate() == without[-1].evaluation
    assert often.model.training
    assert often.evaluate().train != often.evaluate().val
    assert often.evaluate().val == often.evaluate().comparable


def test_the_last_evaluation_may_use_more_batches(tiny: TrainConfig) -> None:
    trainer = Trainer.start(replace(tiny, final_eval_iters=7))
    evaluations = [step.evaluation for step in trainer if step.evaluation]
    few, last = evaluations[-2], evaluations[-1]
    assert few.comparable == few.val and last.comparable != last.val
    batches = list(trainer.evaluation_batches("val"))
    assert len(batches) == 7
    trainer.model.eval()
    with tg.no_grad():
        losses = [trainer.model(x, y)[1].item() for x, y in batches]
    assert last.val == pytest.approx(sum(losses) / 7, abs=1e-6)
    assert last.comparable == pytest.approx(sum(losses[:2]) / 2, abs=1e-6)  # what the ones before it were made on


def test_a_loop_of_your_own_can_stop_and_go_on(tiny: TrainConfig) -> None:
    at_once, in_parts = Trainer.start(tiny), Trainer.start(tiny)
    expected = [step.loss for step in at_once]
    got = [step.loss for step in itertools.islice(in_parts, 3)]
    got += [step.loss for step in in_parts]
    assert got == expected
    assert list(in_parts) == []
    assert not list(Path(tiny.out_dir).glob("*.csv"))  # it writes no file but the tokens


# ---- going on --------------------------------------------------------------------------------------------------------


def state_of(trainer: Trainer) -> dict[str, Any]:
    weights = {name: t.numpy().tobytes() for name, t in trainer.model.state_dict().items()}
    moments = [
        {name: value.numpy().tobytes() for name, value in entries.items()}
        for entries in trainer.optimizer.state_dict()["state"].values()
    ]
    rng = tg.get_rng_state().tolist(), trainer.batches.state_dict()
    return {"weights": weights, "moments": moments, "rng": rng, "step": trainer.step, "best": trainer.best_val_loss}


@pytest.mark.parametrize("how", ["interrupted", "crashed", "interrupted at an evaluation", "crashed before a step",
                                 "crashed before a checkpoint", "interrupted with muon"])  # fmt: skip
def test_a_resumed_run_equals_one_that_never_stopped(
    tiny: TrainConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    tiny = replace(
        tiny, gradient_accumulation_steps=2, learning_rate=1e-2, model=replace(tiny.model, dropout=0.2), log_interval=2,
        optimizer="muon" if how.endswith("muon") else "adamw",
    )  # fmt: skip
    whole = Trainer.start(replace(tiny, out_dir=str(tmp_path / "whole")))
    whole.run()
    expected = state_of(whole)

    def crash() -> None:
        raise RuntimeError("lightning")

    def interrupt() -> None:
        signal.raise_signal(signal.SIGINT)

    with monkeypatch.context() as patch:
        if how == "crashed before a step":
            patch.setattr(Trainer, "update", lambda self: crash())
        else:
            moment = {"interrupted": 5, "interrupted with muon": 5, "crashed": 7}.get(how, 8)
            at_step(patch, moment, interrupt if how.startswith("interrupted") else crash)
        with pytest.raises((Interrupted, RuntimeError)):
            Trainer.start(tiny).run()
    after = {
        "interrupted": 5, "interrupted with muon": 5, "interrupted at an evaluation": 8, "crashed before a step": 0,
    }.get(how, 4)  # fmt: skip
    assert checkpoint.load(tiny.out_dir).step == after
    tg.manual_seed(99)  # as a new process would be
    moved = tmp_path / "moved"
    Path(tiny.out_dir).rename(moved)

    resumed = Trainer.resume(moved)
    assert resumed.step == resumed.saved == after
    resumed.run()
    assert state_of(resumed) == expected
    assert exact_rows(resumed.config) == exact_rows(whole.config)
    assert [row["step"] for row in read_metrics(moved)] == [0, 2, 4, 6, 8, 10]
    assert (moved / "samples.txt").read_bytes() == (tmp_path / "whole/samples.txt").read_bytes()
    for name in ("latest", "best"):
        a, b = (checkpoint.load(folder / name) for folder in (moved, tmp_path / "whole"))
        assert (a.step, a.state["best_val_loss"]) == (b.step, b.state["best_val_loss"])
    assert json.loads((moved / "run.json").read_text())["status"] == "finished"


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
@pytest.mark.parametrize("dropout", [0.0, 0.1])
def test_a_run_large_enough_for_kernels_resumes_exactly(
    tiny: TrainConfig, fused: None, dropout: float, optimizer: Any, dtype: Any
) -> None:
    config = replace(
        tiny, batch_size=4, max_iters=8, optimizer=optimizer, dtype=dtype,
        model=GPTConfig(block_size=16, n_layer=2, n_head=2, n_embd=48, dropout=dropout),
    )  # fmt: skip

    def rest(trainer: Trainer) -> tuple[list[tuple[float, float]], dict[str, Any]]:
        return [(step.loss, step.grad_norm) for step in trainer], state_of(trainer)

    trainer = Trainer.start(config)
    for _ in itertools.islice(trainer, 5):
        pass
    trainer.save(Path(config.out_dir) / "latest")
    expected = rest(trainer)
    assert rest(Trainer.resume(config.out_dir)) == expected


def test_a_longer_run_goes_on_from_a_finished_one(tiny: TrainConfig, capsys: pytest.CaptureFixture[str]) -> None:
    Trainer.start(tiny).run()
    Trainer.resume(tiny.out_dir).run()
    assert "nothing is left to do; raise --max-iters" in capsys.readouterr().err
    longer = Trainer.resume(tiny.out_dir, max_iters=14, log_interval=2)
    assert longer.config.lr_decay_iters == 10
    longer.run()
    rows = read_metrics(tiny.out_dir)
    assert [row["step"] for row in rows] == [*range(11), 12, 14]
    assert rows[-1]["lr"] == tiny.min_lr  # the decay had ended
    again = Trainer.resume(Path(tiny.out_dir) / "latest", max_iters=16)
    assert again.config.lr_decay_iters == 10


def test_what_cannot_be_resumed(tiny: TrainConfig, tmp_path: Path) -> None:
    trainer = Trainer.start(tiny)
    trainer.update()
    folder = tmp_path / "run/latest"
    trainer.save(folder)
    with pytest.raises(ValueError, match="learning_rate cannot change .only max_iters, eval_interval"):
        Trainer.resume(folder, learning_rate=1.0)
    with pytest.raises(FileNotFoundError, match="there is no checkpoint at"):
        Trainer.resume(tmp_path / "nowhere")
    rng = tg.get_rng_state().tolist()
    file = folder / "checkpoint.json"
    for change in (
        lambda s: s.pop("rng"), lambda s: s.update(rng="zz"), lambda s: s.update(rng="00"), lambda s: s.update(rng=1),
        lambda s: s.pop("text"), lambda s: s.update(text=3), lambda s: s.update(batches={}),
        lambda s: s.update(batches={"generator": "00"}), lambda s: s.update(elapsed=None),
        lambda s: s.update(best_val_loss="low"),
    ):  # fmt: skip
        whole = file.read_text()
        document = json.loads(whole)
        change(document["state"])  # type: ignore[no-untyped-call]
        file.write_text(json.dumps(document))
        with pytest.raises(ValueError, match=re.escape(str(folder))):
            Trainer.resume(folder)
        file.write_text(whole)
    assert tg.get_rng_state().tolist() == rng
    assert Trainer.resume(folder).step == 1


def test_tokens_are_made_again_from_the_same_text_only(tiny: TrainConfig, tmp_path: Path) -> None:
    trainer = Trainer.start(tiny)
    trainer.update()
    trainer.save(tmp_path / "run/latest")
    other = replace(tiny, dataset=str(tmp_path / "other.txt"))
    (tmp_path / "other.txt").write_text("another text " * 100)
    Trainer.start(other)  # puts its tokens in the same folder
    resumed = Trainer.resume(tmp_path / "run")
    assert resumed.splits["train"].text_sha256 == trainer.splits["train"].text_sha256
    assert resumed.update().loss == trainer.update().loss
    for file in (tmp_path / "run/tokens").iterdir():
        file.unlink()
    text = (tmp_path / "text.txt").read_text()
    (tmp_path / "text.txt").write_text(text[::-1])
    with pytest.raises(ValueError, match="text.txt is not the text that the run was trained on"):
        Trainer.resume(tmp_path / "run")


def test_a_new_run_does_not_overwrite_another_unasked(tiny: TrainConfig) -> None:
    trainer = Trainer.start(tiny)
    trainer.save(Path(tiny.out_dir) / "latest")  # no step is made: nothing would be lost
    trainer = Trainer.start(tiny)
    trainer.run()
    message = "holds a finished run of 10 steps: .* --resume .*run --max-iters 20, .* --out-dir .* --overwrite"
    with pytest.raises(FileExistsError, match=message):
        Trainer.start(tiny).run()
    Trainer.start(replace(tiny, max_iters=2)).run(overwrite=True)
    assert [row["step"] for row in read_metrics(tiny.out_dir)] == [0, 1, 2]
    assert checkpoint.load(tiny.out_dir).step == 2


# ---- stopping --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_step_and_saves(
    tiny: TrainConfig, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], signum: signal.Signals
) -> None:
    before = [signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM)]
    at_step(monkeypatch, 3, lambda: signal.raise_signal(signum))
    trainer = Trainer.start(tiny)
    message = rf"stopped by {signum.name}; .*run holds the run as it was after step 3"
    with pytest.raises(Interrupted, match=message) as error:
        trainer.run()
    assert (error.value.signum, str(error.value.folder)) == (signum, tiny.out_dir)
    assert checkpoint.load(tiny.out_dir).step == 3
    assert "once more to stop at once" in capfd.readouterr().err
    assert [signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM)] == before
    assert "stopped by" in json.loads((Path(tiny.out_dir) / "run.json").read_text())["status"]


def test_a_second_signal_stops_at_once(tiny: TrainConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    def twice() -> None:
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)
        raise AssertionError("still running")

    at_step(monkeypatch, 6, twice)
    with pytest.raises(Interrupted, match="as it was after step 4"):
        Trainer.start(tiny).run()
    assert checkpoint.load(tiny.out_dir).step == 4


def test_a_signal_before_anything_is_saved(tiny: TrainConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    def evaluate(self: Trainer) -> Evaluation:
        raise KeyboardInterrupt

    monkeypatch.setattr(Trainer, "evaluate", evaluate)
    with pytest.raises(Interrupted, match="nothing was saved yet") as error:
        Trainer.start(tiny).run()
    assert error.value.folder is None


def test_a_signal_in_the_first_evaluation_stops_at_once(
    tiny: TrainConfig, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def evaluate(self: Trainer) -> Evaluation:
        signal.raise_signal(signal.SIGTERM)
        raise AssertionError("still running")

    monkeypatch.setattr(Trainer, "evaluate", evaluate)
    with pytest.raises(Interrupted, match="stopped by SIGTERM; nothing was saved yet"):
        Trainer.start(tiny).run()
    assert capsys.readouterr().err.endswith("evaluating on 4 batches ...\n")


def test_a_signal_at_the_last_step_is_too_late(tiny: TrainConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    at_step(monkeypatch, 10, lambda: signal.raise_signal(signal.SIGINT))
    Trainer.start(tiny).run()
    assert checkpoint.load(tiny.out_dir).step == 10


def test_a_run_in_a_thread_leaves_the_signals_alone(tiny: TrainConfig) -> None:
    thread = threading.Thread(target=Trainer.start(tiny).run)
    thread.start()
    thread.join()
    assert checkpoint.load(tiny.out_dir).step == 10


def test_a_full_disk_stops_the_run_and_leaves_it_resumable(
    tiny: TrainConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Trainer.start(replace(tiny, out_dir=str(tmp_path / "whole"))).run()

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    def full_once_all_is_written() -> None:
        for thread in threading.enumerate():
            if thread.name == "checkpoint writer":
                thread.join()
        patch.setattr(os, "fsync", full)

    with monkeypatch.context() as patch:
        at_step(patch, 5, full_once_all_is_written)
        message = "metrics.csv cannot be written .No space left on device.; the checkpoints are whole"
        with pytest.raises(OSError, match=message):
            Trainer.start(tiny).run()
    with monkeypatch.context() as patch:
        at_step(patch, 8, lambda: patch.setattr(os, "fsync", full))
        with pytest.raises(OSError, match="not written, and what stood there before is whole"):
            Trainer.resume(tiny.out_dir).run()
    assert checkpoint.load(tiny.out_dir).step == 4
    Trainer.resume(tiny.out_dir).run()
    assert exact_rows(tiny) == exact_rows(replace(tiny, out_dir=str(tmp_path / "whole")))


def poison(p: Any, value: float) -> None:
    with tg.no_grad():
        p[0, 0] = value


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_bad_weight_stops_the_run_and_keeps_the_last_good_checkpoint(
    tiny: TrainConfig, monkeypatch: pytest.MonkeyPatch, value: float
) -> None:
    trainer = Trainer.start(tiny)
    params = dict(trainer.model.named_parameters())

    def spoil() -> None:
        poison(params["h.1.mlp.c_fc.weight"], value)
        poison(params["h.1.attn.c_proj.weight"], value)  # it comes earlier in the model

    at_step(monkeypatch, 5, spoil)
    message = (
        "^step 6: the loss is nan; the first parameter that turned bad is h.1.attn.c_proj.weight. What was saved "
        "after step 4 is whole; try a lower learning_rate"
    )
    with pytest.raises(Diverged, match=message) as error:
        trainer.run()
    assert error.value.step == 6
    assert trainer.step == 5
    for name in ("latest", "best"):
        good = checkpoint.load(Path(tiny.out_dir) / name)
        assert good.step == 4
        assert all(np.isfinite(t.numpy()).all() for t in good.model.state_dict().values())
    assert Trainer.resume(tiny.out_dir).update().loss > 0
    with pytest.raises(Diverged, match="step 5: a weight is not finite; the first parameter that turned bad is"):
        trainer.save(Path(tiny.out_dir) / "latest")
    with pytest.raises(Diverged, match="step 5: the losses are nan and nan"):
        trainer.evaluate()
    assert checkpoint.load(tiny.out_dir).step == 4


def test_a_bad_gradient_is_named_before_it_reaches_the_weights(tiny: TrainConfig) -> None:
    trainer = Trainer.start(tiny)
    params = dict(trainer.model.named_parameters())
    for name, value in (("h.1.mlp.c_proj.weight", math.nan), ("h.0.mlp.c_fc.weight", math.inf)):
        params[name].register_hook(lambda gradient, value=value: gradient * value)
    before = {name: p.detach().numpy().copy() for name, p in params.items()}
    message = (
        "^step 1: the norm of the gradients is not finite; the first parameter whose gradient turned bad is "
        "h.0.mlp.c_fc.weight, the values are finite. Nothing was saved yet;"
    )
    with pytest.raises(Diverged, match=message):
        next(iter(trainer))
    for name, p in params.items():
        np.testing.assert_array_equal(p.detach().numpy(), before[name])


def test_a_learning_rate_out_of_bounds_diverges(tiny: TrainConfig) -> None:
    config = replace(tiny, learning_rate=1e30, decay_lr=False, grad_clip=0.0, max_iters=100)
    with pytest.raises(Diverged, match="step .* turned bad|by themselves"):
        Trainer.start(config).run()
    assert checkpoint.load(tiny.out_dir).step == 0


# ---- what it starts from ---------------------------------------------------------------------------------------------


def test_a_text_shorter_than_a_block_says_how_long_it_must_be(tiny: TrainConfig, tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text("To be, or not to be, that is the question")
    message = "text.txt is too short: it has 41 characters, .* makes 5 tokens where block_size={} needs {}; .* {} char"
    for block_size, enough in ((8, 90), (64, 650)):
        shape = replace(tiny.model, block_size=block_size)
        with pytest.raises(ValueError, match=message.format(block_size, block_size + 1, enough)):
            Trainer.start(replace(tiny, model=shape))
        (tmp_path / "enough.txt").write_text("To be, or " * (enough // 10))
        Trainer.start(replace(tiny, model=shape, dataset=str(tmp_path / "enough.txt"))).evaluate()


@pytest.mark.parametrize("device", ["gpu", "cuda:99"])
def test_an_unknown_device_is_refused(tiny: TrainConfig, device: str) -> None:
    with pytest.raises(ValueError, match=f"device='{device}' cannot be used: "):
        Trainer.start(replace(tiny, device=device))


def test_a_model_with_fewer_tokens_than_the_tokenizer_is_refused(tiny: TrainConfig) -> None:
    trainer = Trainer.start(tiny)
    with pytest.raises(ValueError, match="the tokenizer has 256 tokens, the model vocab_size=.*tokenizer.n_vocab"):
        Trainer(tiny, trainer.model, ByteTokenizer(), trainer.splits["train"], trainer.splits["val"])


def test_a_run_starts_from_an_earlier_one(tiny: TrainConfig, tmp_path: Path) -> None:
    tiny = replace(tiny, learning_rate=1e-2)
    Trainer.start(tiny).run()
    model, tokenizer = load_model(tiny.out_dir)
    changed = replace(tiny.model, dropout=0.1, block_size=4, n_layer=5)  # n_layer comes from the weights
    config = replace(tiny, init_from=tiny.out_dir, out_dir=str(tmp_path / "second"), model=changed, tokenizer="byte")
    second = Trainer.start(config)
    assert second.tokenizer == tokenizer and second.config.tokenizer == "char"
    assert second.model.config == replace(model.config, dropout=0.1, block_size=4)
    assert second.model.drop.p == 0.1 and model.drop.p == 0.0
    np.testing.assert_array_equal(second.model.wpe.weight.detach().numpy(), model.wpe.weight.detach().numpy()[:4])
    np.testing.assert_array_equal(second.model.wte.weight.detach().numpy(), model.wte.weight.detach().numpy())
    assert second.update().loss < math.log(tokenizer.n_vocab) - 0.2
    (tmp_path / "text.txt").write_text("Żółć " * 100)
    with pytest.raises(ValueError, match="are not among the"):
        Trainer.start(config)


def test_the_batches_follow_the_seed(tiny: TrainConfig) -> None:
    a, b, c = (Trainer.start(replace(tiny, seed=seed)).update().loss for seed in (1, 1, 2))
    assert a == b != c


# ---- what a run leaves and shows -------------------------------------------------------------------------------------


@draws
def test_the_files_of_a_run(tiny: TrainConfig, capsys: pytest.CaptureFixture[str]) -> None:
    trainer = Trainer.start(tiny)
    trainer.run()
    run = Path(tiny.out_dir)
    assert sorted(p.name for p in run.iterdir()) == [
        "best", "latest", "loss.png", "metrics.csv", "run.json", "samples.txt", "tokens",
    ]  # fmt: skip

    rows = read_metrics(run)
    assert [row["step"] for row in rows] == list(range(11))
    assert [row["step"] for row in rows if row["val_loss"] is not None] == [0, 4, 8, 10]
    guess = math.log(trainer.tokenizer.n_vocab)
    assert rows[0]["loss"] is None and rows[0]["val_loss"] == pytest.approx(guess, abs=0.2)
    for row in rows[1:]:
        assert row["lr"] == tiny.learning_rate_at(row["step"] - 1)
        assert row["tokens_per_second"] > 0 and row["grad_norm"] > 0
    assert [row["elapsed"] for row in rows] == sorted(row["elapsed"] for row in rows)

    about = json.loads((run / "run.json").read_text())
    assert about["format"] == "tinygrad_edu run" and about["version"] == 1
    assert TrainConfig.from_dict(about["config"]) == trainer.config
    assert about["parameters"] == sum(p.numel() for p in trainer.model.parameters())
    assert about["text"]["sha256"] == trainer.splits["train"].text_sha256 and about["text"]["source"] == "a given file"
    assert about["versions"]["numpy"] == np.__version__ and about["machine"]["cores"] >= 1
    assert (about["status"], about["step"], about["seed"]) == ("finished", 10, 1337)
    assert about["best_val_loss"] == min(row["val_loss"] for row in rows if row["val_loss"])

    picture = matplotlib.image.imread(run / "loss.png")
    assert picture.shape[0] > 300 and picture.std() > 0.05

    samples = (run / "samples.txt").read_text()
    assert re.findall(r"^=== step (\d+), validation loss [\d.]+ ===$", samples, re.MULTILINE) == ["0", "4", "8", "10"]
    assert len(samples) > 4 * 20

    shown = capsys.readouterr()
    assert shown.out == ""
    n = sum(p.numel() for p in trainer.model.parameters())
    for part in (f"{n:,} parameters", "text.txt, from a given file", f"{guess:.3f} = ln({trainer.tokenizer.n_vocab})",
                 "step     24 tokens; 10 steps", str(run), "step     0: train", "step    10: train", "(best)",
                 f"as usual for a new model, {guess:.3f}", "Finished."):  # fmt: skip
        assert part in shown.err, part


def test_no_samples_if_none_are_wanted(tiny: TrainConfig) -> None:
    Trainer.start(replace(tiny, sample_tokens=0, max_iters=1)).run()
    assert (Path(tiny.out_dir) / "samples.txt").read_text() == ""


@draws
def test_without_matplotlib_there_is_no_plot_but_a_hint(
    tiny: TrainConfig, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("matplotlib", "matplotlib.figure", "matplotlib.backends.backend_agg"):
        monkeypatch.setitem(sys.modules, name, None)
    Trainer.start(replace(tiny, max_iters=1)).run()
    assert "pip install matplotlib" in capsys.readouterr().err
    assert not (Path(tiny.out_dir) / "loss.png").exists()


class Terminal(io.StringIO):
    """A terminal that can be read afterwards."""

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("variables", [{}, {"NO_COLOR": "1"}, {"CI": "true"}, {"TERM": "dumb"}])
def test_a_terminal_shows_a_bar(
    tiny: TrainConfig, monkeypatch: pytest.MonkeyPatch, variables: dict[str, str]
) -> None:
    for name in ("NO_COLOR", "CI"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    stream = Terminal()
    monkeypatch.setattr("sys.stderr", stream)
    trainer = Trainer.start(tiny)
    trainer.run()
    shown = stream.getvalue()
    bar = not {"CI", "TERM"} & variables.keys()
    assert ("10/10" in shown and "tokens/s, 00:00 left" in shown) == bar
    assert ("\033[32m" in shown) == (not variables)
    assert "step    10: train" in shown


def test_plain_lines_come_now_and_then(
    tiny: TrainConfig, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clock = itertools.count(0.0, 2.0)
    monkeypatch.setattr("gpt.report.time.monotonic", lambda: next(clock))
    Trainer.start(replace(tiny, eval_interval=100)).run()
    line = r"^step +(\d+): loss [\d.]+, [\d,]+ tokens/s, [\d:]+ left$"
    lines = re.findall(line, capsys.readouterr().err, re.MULTILINE)
    assert 2 <= len(lines) <= 5 and lines[0] == "1"


def test_the_time_left_counts_evaluations_by_themselves(
    tiny: TrainConfig, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now = 0.0
    monkeypatch.setattr("gpt.report.time.perf_counter", lambda: now)
    monkeypatch.setattr("gpt.report.SECONDS_BETWEEN_LINES", 0.0)
    with Report(Trainer.start(replace(tiny, max_iters=1010, eval_interval=100))) as report:
        now = 30.0
        report.before(Evaluation(4.0, 4.0, 4.0))
        for number in (1, 2):
            now += 2.0
            report.write(Step(number, 4.0, 1e-3, 1.0, 2.0))
    left = re.findall(r"tokens/s, (\S+) left", capsys.readouterr().err)
    assert left == ["39:08", "39:06"]  # 1009 steps of 2 s, and 11 evaluations of 30 s


def test_plots_take_little_of_the_time_and_the_last_is_drawn(
    tiny: TrainConfig, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now, drawn, failure = 0.0, [], RuntimeError("lightning")

    def draw(*args: Any) -> None:
        nonlocal now
        drawn.append(round(now))
        now += 1.0

    monkeypatch.setattr("gpt.report.time.perf_counter", lambda: now)
    monkeypatch.setattr("gpt.report.plot", draw)
    for end in (None, failure):
        now = 0.0
        with contextlib.suppress(RuntimeError), Report(Trainer.start(replace(tiny, sample_tokens=0))) as report:
            for number in range(1, 13):  # each step takes 8 s, and so does each evaluation
                now += 16.0
                report.write(Step(number, 4.0, 1e-3, 1.0, 8.0, Evaluation(4.0, 4.0, 4.0)))
            if end:
                raise end
    assert drawn == [16, 81, 146, 195] * 2  # fifty seconds after one that took a second
    assert "time     03:16, 51% of it for evaluations, samples, plots and checkpoints" in capsys.readouterr().err


# ---- is the loss where it usually is? --------------------------------------------------------------------------------


def test_usual_losses_are_known_for_the_unchanged_preset_on_its_text_only(data_dir: Path) -> None:
    text = USUAL["laptop"].text_sha256
    same = replace(preset("laptop"), out_dir="elsewhere", seed=3, eval_interval=500, dataset="./copy.txt")
    assert usual(preset("laptop"), text) == usual(same, text) == ("laptop", USUAL["laptop"])
    assert usual(preset("laptop"), "0" * 64) is None
    assert usual(preset("full"), text) is None
    for change in ({"max_iters": 1000}, {"learning_rate": 2e-3}, {"eval_iters": 20}, {"tokenizer": "byte"},
                   {"model": replace(preset("laptop").model, n_layer=3)}):  # fmt: skip
        assert usual(replace(preset("laptop"), **change), text) is None


@pytest.mark.parametrize(
    ("val", "verdict"),
    [(2.0, "as usual for tiny, 2.000"), (2.2, "HIGHER than usual for tiny"), (1.8, "lower than usual for tiny")],
)
def test_the_verdict(
    tiny: TrainConfig, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], val: float, verdict: str
) -> None:
    known = Usual("0" * 64, {4: 2.0}, band=0.1)
    monkeypatch.setattr("gpt.report.usual", lambda config, text: ("tiny", known))
    trainer = Trainer.start(tiny)
    with Report(trainer) as report:
        for number in (4, 5):
            report.write(Step(number, 2.0, 1e-3, 1.0, 0.1, Evaluation(1.9, val, val)))
    lines = capsys.readouterr().err
    assert re.search(rf"step +4: train 1.9000, validation {val:.4f} \(best\) - {re.escape(verdict)}", lines)
    assert re.search(rf"step +5: train 1.9000, validation {val:.4f} \(best\)\n", lines)


@draws
def test_the_plot_shows_the_usual_run(tmp_path: Path) -> None:
    rows = [",".join(COLUMNS), "0,,,,4.1,4.2,,0.0", "10,3.5,0.1,1.0,3.0,3.1,100,0.5"]
    (tmp_path / "metrics.csv").write_text("\n".join(rows) + "\n")
    pictures = []
    for known in (None, ("laptop", Usual("", {5: 3.5, 10: 3.1}, 0.2))):
        plot(tmp_path, "a title", known)
        pictures.append(matplotlib.image.imread(tmp_path / "loss.png"))
    assert pictures[0].shape == pictures[1].shape
    changed = (np.abs(pictures[0] - pictures[1]).max(axis=-1) > 0.02).mean()
    assert 0.02 < changed < 0.5  # a band and its line in the legend


def test_the_smoothed_curve_is_a_mean_over_neighbours() -> None:
    losses = np.random.default_rng(0).normal(size=45)
    smoothed = _smooth(losses)  # windows of three
    np.testing.assert_allclose(smoothed[1:-1], (losses[:-2] + losses[1:-1] + losses[2:]) / 3)
    np.testing.assert_allclose(smoothed[[0, -1]], [losses[:2].mean(), losses[-2:].mean()])
    np.testing.assert_array_equal(_smooth(losses[:14]), losses[:14])
    assert _smooth(losses[:0]).size == 0


def test_what_is_said_of_machine_and_versions(monkeypatch: pytest.MonkeyPatch) -> None:
    assert (versions()["numpy"], versions()["tinygrad_edu"]) == (np.__version__, tg.__version__)
    assert set(machine()) == {"cpu", "cores", "system"}

    def nothing(self: Path, *args: Any, **kwargs: Any) -> str:
        raise FileNotFoundError(self)

    monkeypatch.setattr(Path, "read_text", nothing)
    assert isinstance(machine()["cpu"], str)


def test_reading_metrics_of_a_run_that_crashed(tmp_path: Path) -> None:
    assert read_metrics(tmp_path) == []
    rows = [",".join(COLUMNS), "0,,,,4.1,4.2,,0.0", "1,4.0,0.1,1.0,,,100,0.5", "2,3.9,0."]
    (tmp_path / "metrics.csv").write_text("\n".join(rows))
    assert [row["step"] for row in read_metrics(tmp_path)] == [0, 1]
    (tmp_path / "metrics.csv").write_text("other,columns\n1,2\n")
    assert read_metrics(tmp_path) == []
