"""Checkpoints: a folder with everything that a run needs to go on as if it had never stopped.

    model.safetensors      the weights
    optimizer.safetensors  the optimizer's state
    checkpoint.json        format version, configuration, step, position of every random stream, best loss
    tokenizer.json ...     the tokenizer, so that sampling needs nothing else

A checkpoint is written beside its place and renamed, so a crash at any moment leaves a whole one.
"""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tinygrad_edu as tg

from .config import TrainConfig
from .files import read_json, write_json
from .model import GPT
from .tokenizers import Tokenizer, load_tokenizer

FORMAT, VERSION = "tinygrad_edu checkpoint", 1
MODEL, OPTIMIZER, STATE = "model.safetensors", "optimizer.safetensors", "checkpoint.json"


@dataclass
class Checkpoint:
    """What a checkpoint folder holds, read and checked."""

    folder: Path
    config: TrainConfig
    step: int
    state: dict[str, Any]  # random streams, data position, best loss: what the trainer put there
    model: GPT
    tokenizer: Tokenizer

    def optimizer_state(self) -> dict[str, Any]:
        """The optimizer's state_dict; read only when training goes on."""
        state = tg.load(_file(self.folder, OPTIMIZER))
        if not isinstance(state, dict) or state.keys() != {"state", "param_groups"}:
            raise ValueError(f"{self.folder / OPTIMIZER} does not hold an optimizer's state; use another checkpoint")
        return state


def save(
    folder: str | os.PathLike[str],
    *,
    config: TrainConfig,
    step: int,
    state: dict[str, Any],
    model: GPT,
    optimizer: Any,
    tokenizer: Tokenizer,
) -> None:
    """Write a checkpoint in the place of `folder`. OSError: it could not be written; the old one is whole."""
    folder = Path(folder)
    beside = folder.with_name(folder.name + ".new")
    shutil.rmtree(beside, ignore_errors=True)
    try:
        beside.mkdir(parents=True)
        tg.save(model.state_dict(), beside / MODEL)
        tg.save(optimizer.state_dict(), beside / OPTIMIZER)
        tokenizer.save(beside)
        write_json(beside / STATE, FORMAT, VERSION, {"config": config.to_dict(), "step": step, "state": state})
        # A folder cannot be renamed onto a full one. Between these two steps `load` finds the old one as .old.
        old = _old(folder)
        shutil.rmtree(old, ignore_errors=True)
        if folder.exists():
            os.rename(folder, old)
        os.rename(beside, folder)
        shutil.rmtree(old, ignore_errors=True)
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def find(path: str | os.PathLike[str], name: str = "latest") -> Path:
    """The checkpoint folder meant by `path`: itself, or the one of this name in a run's folder.

    FileNotFoundError: there is none.
    """
    path = Path(path)
    for folder in (path, path / name):
        for candidate in (folder, _old(folder)):
            if (candidate / STATE).is_file():
                return candidate
    raise FileNotFoundError(
        f"no checkpoint at {path}: expected {STATE} in it or in {path / name}; train first, or name another folder"
    )


def load(path: str | os.PathLike[str], name: str = "latest") -> Checkpoint:
    """Read a checkpoint folder, or the checkpoint of this name in a run's folder.

    FileNotFoundError: there is none, or a file of it is missing. ValueError: damaged, another version, or weights that
    do not fit the configuration.
    """
    folder = find(path, name)
    fields = read_json(folder / STATE, FORMAT, VERSION)
    step, state = fields.get("step"), fields.get("state")
    if type(step) is not int or step < 0 or not isinstance(state, dict) or not isinstance(fields.get("config"), dict):
        raise ValueError(f"{folder / STATE} is damaged: expected config, step and state; use another checkpoint")
    try:
        config = TrainConfig.from_dict(fields["config"])
    except (TypeError, ValueError) as error:
        raise ValueError(f"{folder / STATE} holds an unusable configuration: {error}") from None
    tokenizer = load_tokenizer(folder)
    if tokenizer.n_vocab > config.model.vocab_size:
        raise ValueError(
            f"{folder}: the tokenizer has {tokenizer.n_vocab} tokens, more than the model's {config.model.vocab_size}"
        )
    weights = tg.load(_file(folder, MODEL))
    model = GPT(config.model)
    try:
        model.load_state_dict(weights)
    except (RuntimeError, TypeError, AttributeError) as error:
        raise ValueError(f"{folder / MODEL} does not fit {config.model}: {error}") from None
    return Checkpoint(folder, config, step, state, model, tokenizer)


def _old(folder: Path) -> Path:
    return folder.with_name(folder.name + ".old")


def _file(folder: Path, name: str) -> Path:
    file = folder / name
    if not file.is_file():
        raise FileNotFoundError(f"{file} is missing, so this checkpoint cannot be used; use another one")
    return file
