"""Checkpoints: whole after a crash at any moment, and refused with a reason when they are damaged."""

from __future__ import annotations

import errno
import functools
import json
import os
import shutil
import threading
import tracemalloc
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tinygrad_edu as tg
from gpt import checkpoint
from gpt.checkpoint import Writer
from gpt.config import GPTConfig, TrainConfig
from gpt.model import GPT
from gpt.tokenizers import ByteTokenizer, CharTokenizer

CONFIG = TrainConfig(model=GPTConfig(block_size=8, vocab_size=5, n_layer=2, n_head=2, n_embd=8))
SMALL = replace(CONFIG, model=GPTConfig(block_size=2, vocab_size=2, n_layer=1, n_head=1, n_embd=1, bias=False))
FILES = ("checkpoint.json", "model.safetensors", "optimizer.safetensors", "tokenizer.json")


def contents(step: int, config: TrainConfig = CONFIG) -> dict[str, Any]:
    """What to save: a model whose weights and optimizer tell the step."""
    tg.manual_seed(step)
    model = GPT(config.model)
    optimizer = model.configure_optimizers(0.1, 1e-3, (0.9, 0.99))
    train(model, optimizer)
    tokenizer = CharTokenizer("abcde"[: config.model.vocab_size])
    return {"config": config, "step": step, "state": {"note": step}, "model": model, "optimizer": optimizer,
            "tokenizer": tokenizer}  # fmt: skip


def train(model: GPT, optimizer: Any) -> None:
    x = tg.tensor([[0, 1]])
    model(x, x)[1].backward()
    optimizer.step()
    optimizer.zero_grad()


def write(folder: Path, step: int, config: TrainConfig = CONFIG) -> GPT:
    """A checkpoint of such a model."""
    given = contents(step, config)
    checkpoint.save(folder, **given)
    return given["model"]


@functools.cache
def small(step: int) -> dict[str, Any]:
    """Such contents for the tests that write many; nothing is computed then, least of all in a forked process."""
    return contents(step, SMALL)


def same(a: GPT, b: GPT) -> bool:
    pairs = zip(a.state_dict().items(), b.state_dict().items(), strict=True)
    return all(m == n and np.array_equal(x.numpy(), y.numpy()) for (m, x), (n, y) in pairs)


def test_everything_comes_back(tmp_path: Path) -> None:
    model = write(tmp_path / "run/latest", 7)
    tg.manual_seed(3)
    before = tg.get_rng_state().tolist()
    for path in (tmp_path / "run", tmp_path / "run/latest", str(tmp_path / "run")):
        found = checkpoint.load(path)
        assert (found.step, found.state, found.config) == (7, {"note": 7}, CONFIG)
        assert found.tokenizer == CharTokenizer("abcde")
        assert same(found.model, model)
        assert found.model.lm_head.weight is found.model.wte.weight
        assert found.folder == tmp_path / "run/latest"
    assert tg.get_rng_state().tolist() == before  # reading draws nothing from the default stream
    state = found.optimizer_state()
    assert len(state["state"]) == len(list(model.parameters()))
    found.model.configure_optimizers(0.1, 1e-3, (0.9, 0.99)).load_state_dict(state)
    assert sorted(path.name for path in (tmp_path / "run/latest").iterdir()) == sorted(FILES)
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["latest"]


def test_the_first_name_that_is_there(tmp_path: Path) -> None:
    write(tmp_path / "best", 3)
    assert checkpoint.load(tmp_path).step == 3
    write(tmp_path / "latest", 5)
    assert checkpoint.load(tmp_path).step == 5
    assert checkpoint.load(tmp_path, "best", "latest").step == 3
    with pytest.raises(FileNotFoundError, match="neither checkpoint.json in it, nor a folder best or other with one"):
        checkpoint.find(tmp_path / "nowhere", "best", "other")


# Every way in which writing touches the disk.
CALLS: dict[str, Callable[..., Any]]
CALLS = {"mkdir": os.mkdir, "rename": os.rename, "replace": os.replace, "fsync": os.fsync, "rmdir": os.rmdir,
         "unlink": os.unlink, "link": os.link}  # fmt: skip


def failing(monkeypatch: pytest.MonkeyPatch, at: int, fail: Callable[[], None]) -> list[str]:
    """Make the at-th of these calls fail; returns the calls so far."""
    made: list[str] = []

    def wrapped(name: str, really: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            made.append(name)
            if len(made) == at:
                fail()
            return really(*args, **kwargs)

        return call

    for name, really in CALLS.items():
        monkeypatch.setattr(os, name, wrapped(name, really))
    return made


def full() -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def attempt(folder: Path, step: int, at: int, kind: str, write: Callable[[Path, dict[str, Any]], None]) -> None:
    """Write a checkpoint, and fail at the at-th call."""
    given = small(step)

    if kind == "full disk":
        with pytest.MonkeyPatch.context() as patch:
            failing(patch, at, full)
            try:
                write(folder, given)
            except OSError as error:
                assert error.errno == errno.ENOSPC
        return
    child = os.fork()
    if child == 0:  # dies without cleaning up, as by kill -9 or a power cut
        failing(pytest.MonkeyPatch(), at, lambda: os._exit(9))
        write(folder, given)
        os._exit(0)
    os.waitpid(child, 0)


@pytest.mark.parametrize("kind", ["full disk", "killed"])
def test_a_crash_at_any_moment_leaves_a_whole_checkpoint(tmp_path: Path, kind: str) -> None:
    """A crash at every moment; and one at every moment after a crash between the two renames."""
    checkpoint.save(tmp_path / "counted", **small(1))
    with pytest.MonkeyPatch.context() as patch:
        made = failing(patch, -1, lambda: None)
        checkpoint.save(tmp_path / "counted", **small(2))
    moments, between = range(1, len(made) + 3), len(made) - made[::-1].index("rename")
    assert made[between - 2 : between] == ["rename", "rename"] and len(made) > 15

    found_steps = set()
    for i, crashes in enumerate([[at] for at in moments] + [[between, at] for at in moments]):
        folder = tmp_path / str(i) / "latest"
        checkpoint.save(folder, **small(1))
        for step, at in enumerate(crashes, start=2):
            attempt(folder, step, at, kind, lambda folder, given: checkpoint.save(folder, **given))
            found = checkpoint.load(folder.parent)
            assert found.state == {"note": found.step}
            found.optimizer_state()
            found_steps.add(found.step)
        checkpoint.save(folder, **small(4))
        assert same(checkpoint.load(folder.parent).model, small(4)["model"])
        assert [path.name for path in folder.parent.iterdir()] == ["latest"]
    assert found_steps == {1, 2, 3}  # some attempts failed and some went through


# ---- in the background ----------------------------------------------------------------------------------------------


def write_both(folder: Path, given: dict[str, Any]) -> None:
    """The same checkpoint under two names, written in the background."""
    with Writer() as writer:
        writer.save(folder / "best", folder / "latest", **given)


@pytest.mark.parametrize("kind", ["full disk", "killed"])
def test_a_crash_while_writing_in_the_background_leaves_whole_checkpoints(tmp_path: Path, kind: str) -> None:
    for name in ("before", "counted"):
        write_both(tmp_path / name, small(1))
    with pytest.MonkeyPatch.context() as patch:
        made = failing(patch, -1, lambda: None)
        write_both(tmp_path / "counted", small(2))
    found_steps = set()
    for at in range(1, len(made) + 2):
        folder = tmp_path / str(at)
        shutil.copytree(tmp_path / "before", folder)
        attempt(folder, 2, at, kind, write_both)
        found = [checkpoint.load(folder, name) for name in ("best", "latest")]
        for one in found:
            assert one.state == {"note": one.step}
            one.optimizer_state()
        found_steps.add(tuple(one.step for one in found))
        write_both(folder, small(3))
        assert sorted(path.name for path in folder.iterdir()) == ["best", "latest"]
        assert [checkpoint.load(folder, name).step for name in ("best", "latest")] == [3, 3]
    assert {(1, 1), (2, 1), (2, 2)} == found_steps


@pytest.fixture
def held(monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """Keeps every write from beginning until it is set."""
    go, begin = threading.Event(), checkpoint._write

    def write(*args: Any) -> None:
        assert go.wait(60)
        begin(*args)

    monkeypatch.setattr(checkpoint, "_write", write)
    return go


def test_what_is_written_is_what_was_there_when_save_was_called(tmp_path: Path, held: threading.Event) -> None:
    given = contents(4)
    held.set()
    checkpoint.save(tmp_path / "expected", **given)
    held.clear()
    saved: list[bool] = []
    with Writer() as writer:
        writer.save(tmp_path / "latest", written=lambda: saved.append(True), **given)
        train(given["model"], given["optimizer"])
        given["optimizer"].param_groups[0]["lr"] = 7.0
        given["state"] = None
        assert not (tmp_path / "latest").exists() and not saved
        held.set()
    assert saved == [True]
    for name in FILES:
        assert (tmp_path / "latest" / name).read_bytes() == (tmp_path / "expected" / name).read_bytes(), name
    assert not same(checkpoint.load(tmp_path / "latest").model, given["model"])


def test_one_is_written_at_a_time_and_none_is_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    begin, at_work, done = checkpoint._write, [0], []

    def write(folders: list[Path], about: dict[str, Any], *args: Any) -> None:
        at_work[0] += 1
        assert at_work == [1]
        begin(folders, about, *args)
        at_work[0] -= 1
        done.append(about["step"])

    monkeypatch.setattr(checkpoint, "_write", write)
    with Writer() as writer:
        for step in range(1, 5):
            writer.save(tmp_path / "latest", **small(step))
            assert done == list(range(1, step)) or done == list(range(1, step + 1))
        writer.prepare(small(4)["model"], small(4)["optimizer"])
    assert done == [1, 2, 3, 4]
    assert checkpoint.load(tmp_path).step == 4


def test_the_memory_of_the_copy_is_taken_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shape = GPTConfig(block_size=64, vocab_size=5, n_layer=2, n_head=1, n_embd=64)
    given = contents(1, replace(CONFIG, model=shape))
    monkeypatch.setattr(checkpoint, "_write", lambda *args: None)
    size = 3 * sum(p.nbytes for p in given["model"].parameters())
    peaks = []
    with Writer() as writer:

        def prepare() -> None:
            writer.prepare(given["model"], given["optimizer"])

        def save() -> None:
            writer.save("x", **given)

        for take in (prepare, save, save):
            tracemalloc.start()
            take()
            peaks.append(tracemalloc.get_traced_memory()[1])
            tracemalloc.stop()
    assert size < peaks[0] < 1.2 * size
    assert max(peaks[1:]) < 0.3 * size


def test_the_same_checkpoint_twice_is_on_the_disk_once_if_it_can_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_both(tmp_path / "linked", small(1))

    def refuse(source: Path, target: Path) -> None:
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(os, "link", refuse)
    write_both(tmp_path / "apart", small(1))
    for name in FILES:
        one, other = (tmp_path / "linked" / which / name for which in ("best", "latest"))
        apart = [tmp_path / "apart" / which / name for which in ("best", "latest")]
        assert one.samefile(other) and not apart[0].samefile(apart[1])
        assert one.read_bytes() == apart[0].read_bytes() == apart[1].read_bytes()


def test_an_error_of_the_writer_is_raised_once_and_names_the_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = small(8)
    message = "No space left on device: .*is whole .the checkpoint of step 8, written in the background."
    with Writer() as writer, monkeypatch.context() as patch:
        writer.save(tmp_path, **given)
        writer.wait()
        failing(patch, 2, full)
        for then in (writer.wait, lambda: writer.save(tmp_path, **given)):
            writer.save(tmp_path, **given)
            with pytest.raises(OSError, match=message) as error:
                then()
            assert error.value.errno == errno.ENOSPC
            writer.check()
            patch.undo()
            failing(patch, 2, full)
    with monkeypatch.context() as patch, pytest.raises(OSError, match="No space left"), Writer() as writer:
        failing(patch, 1, full)
        writer.save(tmp_path, **given)
    with monkeypatch.context() as patch, pytest.raises(RuntimeError) as lightning, Writer() as writer:
        failing(patch, 1, full)
        writer.save(tmp_path, **given)
        raise RuntimeError("lightning")
    assert "the checkpoint of step 8" in lightning.value.__notes__[0]
    assert checkpoint.load(tmp_path).step == 8


@pytest.mark.parametrize("why", ["little is free", "none to be had"])
def test_without_memory_for_a_copy_save_writes_before_it_returns(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, why: str
) -> None:
    given = small(1)
    said: list[str] = []

    def none(*args: Any, **kwargs: Any) -> Any:
        raise MemoryError

    with Writer(said.append) as writer:
        if why == "little is free":
            monkeypatch.setattr(checkpoint, "free_memory", lambda: 1000)
        else:
            monkeypatch.setattr(checkpoint, "free_memory", lambda: None)
            monkeypatch.setattr(np, "empty", none)
        writer.prepare(given["model"], given["optimizer"])
        for step in (1, 2):
            writer.save(tmp_path, **{**given, "step": step})
            assert checkpoint.load_settings(tmp_path)[2] == step
        monkeypatch.undo()
    [line] = said
    assert line.startswith("training stops while a checkpoint is written: a copy to write from would take 0.0 GB")


MEMINFO = "MemTotal:       24684084 kB\nMemFree:        100 kB\nMemAvailable:   2000 kB\nSwapTotal: 0 kB\n"
CGROUP = {"memory.max": "1500000\n", "memory.current": "1000000\n", "memory.stat": "anon 3\ninactive_file 200000\n"}


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"meminfo": MEMINFO}, 2048000),
        ({"meminfo": MEMINFO, **CGROUP}, 700000),
        ({"meminfo": MEMINFO, **CGROUP, "memory.max": "9000000\n"}, 2048000),
        ({"meminfo": MEMINFO, **CGROUP, "memory.max": "max\n"}, 2048000),
        ({"meminfo": "nothing known"}, 4096 * 50),
        ({}, 4096 * 50),
    ],
)
def test_free_memory(monkeypatch: pytest.MonkeyPatch, files: dict[str, str], expected: int) -> None:
    def read_text(self: Path, **kwargs: Any) -> str:
        if self.name not in files:
            raise FileNotFoundError(self)
        return files[self.name]

    assert (checkpoint.free_memory() or 10**9) > 10**6  # as this machine has it
    monkeypatch.setattr(Path, "read_text", read_text)
    monkeypatch.setattr(os, "sysconf", {"SC_PHYS_PAGES": 100, "SC_PAGE_SIZE": 4096}.__getitem__, raising=False)
    assert checkpoint.free_memory() == expected
    if "meminfo" not in files:
        monkeypatch.delattr(os, "sysconf")
        assert checkpoint.free_memory() is None


# ---- damage ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", FILES)
def test_a_missing_file_is_named(tmp_path: Path, name: str) -> None:
    write(tmp_path, 1)
    (tmp_path / name).unlink()
    message = "checkpoint.json" if name == FILES[0] else f"{name} is missing.*another"
    with pytest.raises(FileNotFoundError, match=message):
        checkpoint.load(tmp_path).optimizer_state()


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("damage", ["truncated", "empty", "noise", "pickle"])
def test_a_damaged_file_is_named(tmp_path: Path, name: str, damage: str) -> None:
    write(tmp_path, 1)
    file = tmp_path / name
    whole = file.read_bytes()
    noise = np.random.default_rng(0).bytes(500)
    file.write_bytes({"truncated": whole[:-9], "empty": b"", "noise": noise, "pickle": b"\x80\x04K\x01."}[damage])
    with pytest.raises(ValueError, match=name):
        checkpoint.load(tmp_path).optimizer_state()


def rewritten(folder: Path, change: Callable[[dict[str, Any]], None]) -> None:
    file = folder / "checkpoint.json"
    document = json.loads(file.read_text())
    change(document)
    file.write_text(json.dumps(document))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d.update(version=2), "version 2 .* expected 1"),
        (lambda d: d.update(format="something"), "not a tinygrad_edu checkpoint file"),
        (lambda d: d.update(step=-1), "damaged"),
        (lambda d: d.update(step="1"), "damaged"),
        (lambda d: d.pop("state"), "damaged"),
        (lambda d: d.update(config=[1]), "expected a dictionary"),
        (lambda d: d["config"].update(device=3), "device must be str"),
        (lambda d: d["config"].update(os="x"), "unknown field 'os'"),
        (lambda d: d["config"]["model"].update(n_embd="__import__('os')"), "n_embd must be int"),
        (lambda d: d["config"]["model"].update(n_layer=10**9), "2 blocks, expected n_layer=1000000000"),
        (lambda d: d["config"]["model"].update(vocab_size=10**12), r"wte.weight has shape \(5, 8\), expected"),
        (lambda d: d["config"]["model"].update(block_size=4), r"wpe.weight has shape \(8, 8\), expected"),
        (lambda d: d["config"]["model"].update(n_layer=1), "2 blocks, expected n_layer=1"),
        (lambda d: d["config"]["model"].update(bias=False), "Unexpected key"),
        (lambda d: d["config"]["model"].update(vocab_size=4), "the tokenizer has 5 tokens, more than the model's 4"),
    ],
)
def test_a_configuration_that_does_not_fit(
    tmp_path: Path, change: Callable[[dict[str, Any]], None], message: str
) -> None:
    write(tmp_path, 1)
    rewritten(tmp_path, change)
    with pytest.raises(ValueError, match=message) as error:
        checkpoint.load(tmp_path)
    assert str(tmp_path) in str(error.value)


def test_other_files_of_the_right_format_are_refused(tmp_path: Path) -> None:
    write(tmp_path, 1)
    tg.save(tg.ones(3), tmp_path / "model.safetensors")
    with pytest.raises(ValueError, match="does not hold a dictionary of tensors"):
        checkpoint.load(tmp_path)
    tg.save({"wte.weight": tg.ones(5, 8)}, tmp_path / "model.safetensors")
    with pytest.raises(ValueError, match="wpe.weight is missing"):
        checkpoint.load(tmp_path)
    model = GPT(replace(CONFIG.model, n_layer=2))
    weights = {name: t for name, t in model.state_dict().items() if name != "h.1.ln_2.bias"}
    tg.save(weights, tmp_path / "model.safetensors")
    with pytest.raises(ValueError, match=r"h\.1\.ln_2\.bias"):
        checkpoint.load(tmp_path)
    tg.save({"state": {}, "param_groups": []}, tmp_path / "optimizer.safetensors")
    tg.save(model.state_dict(), tmp_path / "model.safetensors")
    with pytest.raises(ValueError, match="optimizer.safetensors holds no optimizer state of"):
        checkpoint.load(tmp_path).optimizer_state()
    ByteTokenizer().save(tmp_path)
    with pytest.raises(ValueError, match="the tokenizer has 256 tokens"):
        checkpoint.load(tmp_path)
