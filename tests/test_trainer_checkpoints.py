"""A run writes its checkpoints while it goes on, waits for them before it ends, and survives being killed meanwhile."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gpt import checkpoint
from gpt.config import GPTConfig, TrainConfig
from gpt.report import Report, read_metrics
from gpt.trainer import Diverged, Interrupted, Step, Trainer


@pytest.fixture(autouse=True)
def _without_plots(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gpt.report.plot", lambda *args: None)


@pytest.fixture
def tiny(tmp_path: Path) -> TrainConfig:
    (tmp_path / "text.txt").write_text("To be, or not to be, that is the question: " * 30, encoding="utf-8")
    return TrainConfig(
        dataset=str(tmp_path / "text.txt"), out_dir=str(tmp_path / "run"), batch_size=3, max_iters=8,
        eval_interval=4, eval_iters=2, log_interval=1, warmup_iters=2, sample_tokens=0,
        model=GPTConfig(block_size=8, n_layer=1, n_head=2, n_embd=16, bias=False),
    )  # fmt: skip


def at_step(monkeypatch: pytest.MonkeyPatch, number: int, do: Callable[[], object]) -> None:
    """Do something once step `number` is made, while the run goes on."""
    write = Report.write

    def patched(self: Report, step: Step) -> None:
        write(self, step)
        if step.number == number:
            do()

    monkeypatch.setattr(Report, "write", patched)


def held(monkeypatch: pytest.MonkeyPatch, step: int) -> tuple[threading.Event, list[bool]]:
    """Keeps the checkpoint of this step from being written until the event; and whether the event came."""
    go, came, write = threading.Event(), [], checkpoint._write

    def patched(folders: list[Path], about: dict[str, Any], *args: Any) -> None:
        if about["step"] == step:
            came.append(go.wait(30))
        write(folders, about, *args)

    monkeypatch.setattr(checkpoint, "_write", patched)
    return go, came


def soon(do: Callable[[], object]) -> None:
    """Do it when the main thread has come to wait for the writer."""
    threading.Timer(0.3, do).start()


def test_training_goes_on_while_a_checkpoint_is_written(tiny: TrainConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    go, came = held(monkeypatch, 4)
    trainer = Trainer.start(tiny)
    seen: list[int | None] = []

    def seven() -> None:
        seen.extend((trainer.saved, checkpoint.load(tiny.out_dir).step))
        go.set()

    at_step(monkeypatch, 7, seven)
    trainer.run()
    assert came == [True]
    assert seen == [0, 0]
    assert trainer.saved == checkpoint.load(tiny.out_dir).step == 8


@pytest.mark.parametrize("how", ["interrupted", "crashed", "diverged", "finished"])
def test_a_run_ends_when_its_checkpoint_is_written(
    tiny: TrainConfig, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], how: str
) -> None:
    """And says what was saved as it is then."""
    whole = Trainer.start(replace(tiny, out_dir=tiny.out_dir + " whole"))
    whole.run()
    go, came = held(monkeypatch, 8 if how == "finished" else 4)
    trainer = Trainer.start(tiny)

    def end() -> None:
        soon(go.set)
        if how == "interrupted":
            signal.raise_signal(signal.SIGINT)
            signal.raise_signal(signal.SIGINT)  # so that the step is not saved
        elif how == "crashed":
            raise RuntimeError("lightning")
        elif how == "diverged":
            trainer.model.wpe.weight.detach().numpy()[:] = np.nan

    at_step(monkeypatch, 8 if how == "finished" else 5, end)
    if how == "finished":
        trainer.run()
    else:
        error = {"interrupted": Interrupted, "crashed": RuntimeError, "diverged": Diverged}[how]
        with pytest.raises(error, match="lightning|saved after step 4|as it was after step 4"):
            trainer.run()
    assert came == [True]
    assert checkpoint.load(tiny.out_dir).step == (8 if how == "finished" else 4)
    monkeypatch.undo()
    monkeypatch.setattr("gpt.report.plot", lambda *args: None)
    resumed = Trainer.resume(tiny.out_dir)
    resumed.run()
    for name, tensor in resumed.model.state_dict().items():
        np.testing.assert_array_equal(tensor.numpy(), whole.model.state_dict()[name].numpy(), err_msg=name)


def test_a_third_signal_does_not_wait_for_the_writer(tiny: TrainConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    go, _ = held(monkeypatch, 4)

    def twice() -> None:
        soon(lambda: signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT))
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)

    at_step(monkeypatch, 5, twice)
    with pytest.raises(Interrupted, match="as it was after step 0"):
        Trainer.start(tiny).run()
    assert checkpoint.load(tiny.out_dir).step == 0
    go.set()
    for thread in threading.enumerate():
        if thread.name == "checkpoint writer":
            thread.join()
    assert checkpoint.load(tiny.out_dir).step == 4


def test_what_the_writer_met_ends_the_run_at_the_next_step(tiny: TrainConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    def write(folders: list[Path], about: dict[str, Any], *args: Any) -> None:
        if about["step"] == 4:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(folders[0]))
        begin(folders, about, *args)

    begin = checkpoint._write
    trainer = Trainer.start(tiny)
    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "_write", write)
        keep = Trainer._keep

        def kept(self: Trainer, *args: Any) -> None:
            keep(self, *args)
            assert self._writer is not None
            self._writer.join()

        patch.setattr(Trainer, "_keep", kept)
        message = "No space left on device .the checkpoint of step 4, written in the background.*run"
        with pytest.raises(OSError, match=message) as error:
            trainer.run()
    assert error.value.errno == errno.ENOSPC
    assert trainer.step == 5 and trainer.saved == checkpoint.load(tiny.out_dir).step == 0
    assert "the checkpoint of step 4" in json.loads((Path(tiny.out_dir) / "run.json").read_text())["status"]
    Trainer.resume(tiny.out_dir).run()
    assert [row["step"] for row in read_metrics(tiny.out_dir)] == list(range(9))


KILLED = """
import os, signal, sys
import gpt.checkpoint, gpt.report
from gpt.trainer import Trainer
import tinygrad_edu as tg

gpt.report.plot = lambda *args: None
save, written = tg.save, []

def patched(content, path):
    written.append(path)
    if len(written) == int(sys.argv[2]):  # in the middle of the file
        with open(path, "wb") as file:
            file.write(b"half a file")
        os.kill(os.getpid(), signal.SIGKILL)
    save(content, path)

trainer = Trainer.resume(sys.argv[1])
tg.save = patched
trainer.run()
"""


@pytest.mark.parametrize("file", [4, 5])
def test_a_run_that_is_killed_while_it_writes_goes_on_as_if_it_had_not_been(tiny: TrainConfig, file: int) -> None:
    """The fifth file is the weights of step 8, the fourth the optimizer of step 4."""
    whole = Trainer.start(replace(tiny, out_dir=tiny.out_dir + " whole"))
    whole.run()
    trainer = Trainer.start(tiny)
    trainer.save(Path(tiny.out_dir) / "latest")
    command = [sys.executable, "-c", KILLED, tiny.out_dir, str(file)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parents[1])
    assert done.returncode == -signal.SIGKILL, done.stderr
    folders = {path.name for path in Path(tiny.out_dir).iterdir() if path.is_dir()}
    assert any(name.endswith(".new") for name in folders)

    resumed = Trainer.resume(tiny.out_dir)
    assert resumed.step == {4: 0, 5: 4}[file]
    resumed.run()
    for name, tensor in resumed.model.state_dict().items():
        np.testing.assert_array_equal(tensor.numpy(), whole.model.state_dict()[name].numpy(), err_msg=name)
    assert not [path for path in Path(tiny.out_dir).iterdir() if path.name.endswith((".new", ".old"))]
