"""Checkpoints: whole after a crash at any moment, and refused with a reason when they are damaged."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tinygrad_edu as tg
from gpt import checkpoint
from gpt.config import GPTConfig, TrainConfig
from gpt.model import GPT
from gpt.tokenizers import ByteTokenizer, CharTokenizer

CONFIG = TrainConfig(model=GPTConfig(block_size=8, vocab_size=5, n_layer=2, n_head=2, n_embd=8))
SMALL = replace(CONFIG, model=GPTConfig(block_size=2, vocab_size=2, n_layer=1, n_head=1, n_embd=1, bias=False))
FILES = ("checkpoint.json", "model.safetensors", "optimizer.safetensors", "tokenizer.json")


def write(folder: Path, step: int, config: TrainConfig = CONFIG) -> GPT:
    """A checkpoint of a model whose weights and optimizer tell the step."""
    tg.manual_seed(step)
    model = GPT(config.model)
    optimizer = model.configure_optimizers(0.1, 1e-3, (0.9, 0.99))
    x = tg.tensor([[0, 1]])
    model(x, x)[1].backward()
    optimizer.step()
    checkpoint.save(
        folder, config=config, step=step, state={"note": step}, model=model, optimizer=optimizer,
        tokenizer=CharTokenizer("abcde"[: config.model.vocab_size]),
    )  # fmt: skip
    return model


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
CALLS = {"mkdir": os.mkdir, "rename": os.rename, "replace": os.replace, "fsync": os.fsync, "rmdir": os.rmdir,
         "unlink": os.unlink}  # fmt: skip


def failing(monkeypatch: pytest.MonkeyPatch, at: int, fail: Callable[[], None]) -> list[str]:
    """Make the at-th of these calls fail; returns the calls so far."""
    made: list[str] = []

    def wrapped(name: str) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            made.append(name)
            if len(made) == at:
                fail()
            return CALLS[name](*args, **kwargs)

        return call

    for name in CALLS:
        monkeypatch.setattr(os, name, wrapped(name))
    return made


def attempt(folder: Path, step: int, at: int, kind: str) -> None:
    """Write a checkpoint, and fail at the at-th call."""

    def full() -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    if kind == "full disk":
        with pytest.MonkeyPatch.context() as patch:
            failing(patch, at, full)
            try:
                write(folder, step, SMALL)
            except OSError as error:
                assert error.errno == errno.ENOSPC
        return
    child = os.fork()
    if child == 0:  # dies without cleaning up, as by kill -9 or a power cut
        failing(pytest.MonkeyPatch(), at, lambda: os._exit(9))
        write(folder, step, SMALL)
        os._exit(0)
    os.waitpid(child, 0)


@pytest.mark.parametrize("kind", ["full disk", "killed"])
def test_a_crash_at_any_moment_leaves_a_whole_checkpoint(tmp_path: Path, kind: str) -> None:
    """A crash at every moment; and one at every moment after a crash between the two renames."""
    write(tmp_path / "counted", 1, SMALL)
    with pytest.MonkeyPatch.context() as patch:
        made = failing(patch, -1, lambda: None)
        write(tmp_path / "counted", 2, SMALL)
    moments, between = range(1, len(made) + 3), len(made) - made[::-1].index("rename")
    assert made[between - 2 : between] == ["rename", "rename"] and len(made) > 15

    found_steps = set()
    for i, crashes in enumerate([[at] for at in moments] + [[between, at] for at in moments]):
        folder = tmp_path / str(i) / "latest"
        write(folder, 1, SMALL)
        for step, at in enumerate(crashes, start=2):
            attempt(folder, step, at, kind)
            found = checkpoint.load(folder.parent)
            assert found.state == {"note": found.step}
            found.optimizer_state()
            found_steps.add(found.step)
        last = write(folder, 4, SMALL)
        assert same(checkpoint.load(folder.parent).model, last)
        assert [path.name for path in folder.parent.iterdir()] == ["latest"]
    assert found_steps == {1, 2, 3}  # some attempts failed and some went through


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
