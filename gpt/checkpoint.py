"""Checkpoints: a folder with everything that a run needs to go on as if it had never stopped.

    checkpoint.json        format version, configuration, step, random streams, best loss
    model.safetensors      the weights
    optimizer.safetensors  the optimizer's state
    tokenizer.json         the tokenizer, so that sampling needs nothing else

A checkpoint is written beside its place and renamed, so a crash at any moment leaves a whole one.
"""

from __future__ import annotations

import os
import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tinygrad_edu as tg

from .config import GPTConfig, TrainConfig
from .files import read_json, write_json
from .model import GPT
from .tokenizers import Tokenizer, load_tokenizer

FORMAT, VERSION = "tinygrad_edu checkpoint", 1
MODEL, OPTIMIZER, STATE = "model.safetensors", "optimizer.safetensors", "checkpoint.json"


@dataclass(frozen=True)
class Checkpoint:
    """What a checkpoint folder holds, read and checked."""

    folder: Path
    config: TrainConfig
    step: int
    state: dict[str, Any]  # what the trainer put there; the trainer checks it
    model: GPT
    tokenizer: Tokenizer

    def optimizer_state(self) -> dict[str, Any]:
        """The optimizer's state_dict; read only when training goes on.

        FileNotFoundError: it is missing. ValueError: damaged, or for another number of parameters.
        """
        file = _file(self.folder, OPTIMIZER)
        state = tg.load(file)
        expected = len(list(self.model.parameters())) if self.step else 0
        if not isinstance(state, dict) or state.keys() != {"state", "param_groups"} or len(state["state"]) != expected:
            raise ValueError(f"{file} holds no optimizer state of {expected} parameters; use another checkpoint")
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
    new, old = _beside(folder, "new"), _beside(folder, "old")
    if not folder.exists() and (old / STATE).is_file():  # a crash between the two renames below
        os.rename(old, folder)
    shutil.rmtree(new, ignore_errors=True)
    try:
        new.mkdir(parents=True)
        tg.save(model.state_dict(), new / MODEL)
        tg.save(optimizer.state_dict(), new / OPTIMIZER)
        tokenizer.save(new)
        write_json(new / STATE, FORMAT, VERSION, {"config": config.to_dict(), "step": step, "state": state})
        # A folder cannot be renamed onto one that has files. Between these two renames `find` takes the old one.
        shutil.rmtree(old, ignore_errors=True)
        if folder.exists():
            os.rename(folder, old)
        os.rename(new, folder)
        shutil.rmtree(old, ignore_errors=True)
    finally:
        shutil.rmtree(new, ignore_errors=True)


def find(path: str | os.PathLike[str], *names: str) -> Path:
    """The checkpoint folder meant by `path`: itself, or the first of these names in a run's folder (latest, best).

    FileNotFoundError: there is none.
    """
    names = names or ("latest", "best")
    path = Path(path)
    for folder in (path, *(path / name for name in names)):
        for candidate in (folder, _beside(folder, "old")):
            if (candidate / STATE).is_file():
                return candidate
    raise FileNotFoundError(
        f"there is no checkpoint at {path}: neither {STATE} in it, nor a folder {' or '.join(names)} with one; train "
        "first, or name another folder"
    )


def load_settings(path: str | os.PathLike[str], *names: str) -> tuple[Path, TrainConfig, int, dict[str, Any]]:
    """Folder, configuration, step and the trainer's state of a checkpoint, without reading its weights.

    FileNotFoundError: there is none. ValueError: it is damaged or of another version.
    """
    folder = find(path, *names)
    fields = read_json(folder / STATE, FORMAT, VERSION)
    step, state = fields.get("step"), fields.get("state")
    if type(step) is not int or step < 0 or not isinstance(state, dict):
        raise ValueError(f"{folder / STATE} is damaged: it has no step and state; use another checkpoint")
    try:
        config = TrainConfig.from_dict(fields.get("config", {}))
    except ValueError as error:
        raise ValueError(f"{folder / STATE} holds no configuration that can be used: {error}") from None
    return folder, config, step, state


def load(path: str | os.PathLike[str], *names: str) -> Checkpoint:
    """Read a checkpoint folder, or from a run's folder the first of these names that is there (latest, best).

    FileNotFoundError: there is none, or a file of it is missing. ValueError: damaged, another version, or weights that
    do not fit the configuration.
    """
    folder, config, step, state = load_settings(path, *names)
    tokenizer = load_tokenizer(_file(folder, "tokenizer.json"))
    if tokenizer.n_vocab > config.model.vocab_size:
        raise ValueError(
            f"{folder}: the tokenizer has {tokenizer.n_vocab} tokens, more than the model's {config.model.vocab_size}; "
            "the files come from different runs, use another checkpoint"
        )
    file = _file(folder, MODEL)
    weights = tg.load(file)
    try:
        _check_size(weights, config.model)
        with tg.nn.init.no_init():
            model = GPT(config.model)
        model.load_state_dict(weights)
    except (ValueError, RuntimeError, TypeError) as error:
        raise ValueError(f"{file} does not fit the configuration in {STATE}; use another checkpoint. {error}") from None
    return Checkpoint(folder, config, step, state, model, tokenizer)


def _check_size(weights: Any, config: GPTConfig) -> None:
    """ValueError: these are not weights of this size. It keeps a damaged configuration from filling the memory."""
    if not isinstance(weights, dict) or not all(isinstance(t, tg.Tensor) for t in weights.values()):
        raise ValueError("It does not hold a dictionary of tensors.")
    expected = {
        "wte.weight": (config.vocab_size, config.n_embd),
        "wpe.weight": (config.block_size, config.n_embd),
    }
    for name, shape in expected.items():
        if name not in weights or tuple(weights[name].shape) != shape:
            found = f"has shape {tuple(weights[name].shape)}" if name in weights else "is missing"
            raise ValueError(f"{name} {found}, expected shape {shape}.")
    blocks = {match[1] for match in map(re.compile(r"h\.(\d+)\.").match, weights) if match}
    if len(blocks) != config.n_layer:
        raise ValueError(f"It holds {len(blocks)} blocks, expected n_layer={config.n_layer}.")


def _beside(folder: Path, what: str) -> Path:
    return folder.with_name(f"{folder.name}.{what}")


def _file(folder: Path, name: str) -> Path:
    file = folder / name
    if not file.is_file():
        raise FileNotFoundError(f"{file} is missing, so this checkpoint cannot be used; use another one")
    return file
