"""Checkpoints: a folder with everything that a run needs to go on as if it had never stopped.

    checkpoint.json        format version, configuration, step, random streams, best loss
    model.safetensors      the weights
    optimizer.safetensors  the optimizer's state
    tokenizer.json         the tokenizer, so that sampling needs nothing else

A checkpoint is written beside its place and renamed, so a crash at any moment leaves a whole one. `save` writes one and
returns; a `Writer` copies what it holds and writes it while training goes on.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import tinygrad_edu as tg
from tinygrad_edu.serialization import place_of

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
    about = {"config": config.to_dict(), "step": step, "state": state}
    _write([Path(folder)], about, _tensors_of(model, optimizer), tokenizer)


class Writer:
    """Writes checkpoints in a thread, so that training waits for a copy in memory and not for the disk.

    `save` waits until the one before is written, so there is one copy, and its memory serves them all. If the copy does
    not fit in half of the free memory, `save` writes before it returns. A context manager: its end waits for the last.

    say: takes a line for the user when there is something to wait for.
    """

    def __init__(self, say: Callable[[str], object] = lambda line: None) -> None:
        self._say = say
        self._memory = np.empty(0, np.uint8)  # where the copies go
        self._too_large = False
        self._done: threading.Event | None = None  # of what the thread is at
        self._error: BaseException | None = None

    def prepare(self, model: GPT, optimizer: Any) -> None:
        """Take the memory for copies, in the background: the first use of fresh memory takes longer than a copy."""
        if self._reserve(_size(_tensors_of(model, optimizer))):
            memory = self._memory
            self._start(lambda: memory.fill(0))

    def save(
        self,
        *folders: str | os.PathLike[str],
        config: TrainConfig,
        step: int,
        state: dict[str, Any],
        model: GPT,
        optimizer: Any,
        tokenizer: Tokenizer,
        written: Callable[[], object] = lambda: None,
    ) -> None:
        """Copy everything that the function `save` takes, and begin to write it in the place of each folder.

        written: called when all is on the disk. OSError: the checkpoint before could not be written.
        """
        self.wait()
        tensors = _tensors_of(model, optimizer)
        about = {"config": config.to_dict(), "step": step, "state": state}
        background = self._reserve(_size(tensors))
        if background:
            tensors = _copied(tensors, self._memory)

        def work() -> None:
            _write([Path(folder) for folder in folders], about, tensors, tokenizer)
            written()

        if background:
            self._start(work, f"the checkpoint of step {step:,}, written in the background")
        else:
            work()

    def check(self) -> None:
        """OSError: a checkpoint could not be written. Said once."""
        if self._error is not None:
            error, self._error = self._error, None
            raise error

    def wait(self) -> None:
        """Wait until everything is written. OSError: it could not be."""
        self.join()
        self.check()

    def join(self) -> None:
        """Wait until nothing is being written. What is interrupted here is not waited for again."""
        done, self._done = self._done, None
        if done is not None and not done.wait(1.0):
            self._say("waiting until the checkpoint is written ...")
            done.wait()

    def __enter__(self) -> Writer:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        self.join()
        if error is None:
            self.check()
        elif self._error is not None:
            error.add_note(str(self._error))

    def _reserve(self, size: int) -> bool:
        """Whether there are `size` bytes for a copy; if they would not leave as much again, it is said once."""
        if size <= self._memory.nbytes:
            return True
        free = free_memory()
        if free is None or size <= free / 2:
            try:
                self._memory = np.empty(size, np.uint8)
                return True
            except MemoryError:
                pass
        if not self._too_large:
            self._too_large = True
            of = "" if free is None else f" of the {free / 1e9:.1f} GB that are free"
            self._say(
                f"training stops while a checkpoint is written: a copy to write from would take {size / 1e9:.1f} GB{of}"
            )
        return False

    def _start(self, work: Callable[[], object], what: str = "") -> None:
        before, done = self._done, threading.Event()

        def run() -> None:
            if before is not None:
                before.wait()
            try:
                work()
            except OSError as error:
                said = OSError(error.errno, f"{error.strerror or error} ({what})", error.filename)
                said.__cause__ = error
                self._error = said
            except BaseException as error:
                self._error = error
            finally:
                done.set()

        # A daemon, for a program that is told to stop at once; whoever cares has waited.
        self._done = done
        threading.Thread(target=run, name="checkpoint writer", daemon=True).start()


def free_memory() -> int | None:
    """Bytes of memory that this process could still take without swapping; None if the system does not say."""
    try:
        free = 1024 * _number("/proc/meminfo", r"MemAvailable: +(\d+) kB")
    except (OSError, ValueError):
        try:
            return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2  # all that macOS tells
        except (AttributeError, ValueError, OSError):
            return None
    group = "/sys/fs/cgroup/memory."
    try:
        used = _number(group + "current", r"(\d+)") - _number(group + "stat", r"inactive_file (\d+)")
        return min(free, _number(group + "max", r"(\d+)") - used)
    except (OSError, ValueError):  # no container, or "max": one without a limit
        return free


def _number(file: str, pattern: str) -> int:
    found = re.search(f"^{pattern}$", Path(file).read_text(encoding="ascii"), re.MULTILINE)
    if found is None:
        raise ValueError(f"{file} does not say")
    return int(found[1])


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


Tensors = dict[str, Any]  # by file name; each what tg.save takes


def _tensors_of(model: GPT, optimizer: Any) -> Tensors:
    return {MODEL: model.state_dict(), OPTIMIZER: optimizer.state_dict()}


def _write(folders: list[Path], about: dict[str, Any], tensors: Tensors, tokenizer: Tokenizer) -> None:
    """Write one checkpoint in the place of each of the folders, to the disk only once where the file system can."""

    def fill(new: Path) -> None:
        for name, content in tensors.items():
            tg.save(content, new / name)
        tokenizer.save(new)
        write_json(new / STATE, FORMAT, VERSION, about)

    first, *others = folders
    with _in_place_of(first) as new:
        fill(new)
    for folder in others:
        with _in_place_of(folder) as new:
            try:
                for file in first.iterdir():
                    os.link(file, new / file.name)
            except OSError:  # a file system without links
                fill(new)


@contextlib.contextmanager
def _in_place_of(folder: Path) -> Iterator[Path]:
    """A new folder, which takes the place of `folder` if the block ends well."""
    new, old = _beside(folder, "new"), _beside(folder, "old")
    if not folder.exists() and (old / STATE).is_file():  # a crash between the two renames below
        os.rename(old, folder)
    shutil.rmtree(new, ignore_errors=True)
    try:
        new.mkdir(parents=True)
        yield new
        # A folder cannot be renamed onto one that has files. Between these two renames `find` takes the old one.
        shutil.rmtree(old, ignore_errors=True)
        if folder.exists():
            os.rename(folder, old)
        os.rename(new, folder)
        shutil.rmtree(old, ignore_errors=True)
    finally:
        shutil.rmtree(new, ignore_errors=True)


def _each(tree: Any, do: Callable[[tg.Tensor], Any]) -> Any:
    """The dicts, lists and tuples anew, with `do` of every tensor in its place."""
    if isinstance(tree, tg.Tensor):
        return do(tree)
    if isinstance(tree, dict):
        return {key: _each(value, do) for key, value in tree.items()}
    if isinstance(tree, list):
        return [_each(value, do) for value in tree]
    return tuple(_each(value, do) for value in tree) if isinstance(tree, tuple) else tree


def _room(tensor: tg.Tensor) -> int:
    """Bytes that a copy takes, with those up to the next cache line."""
    return -(-tensor.nbytes // 64) * 64


def _distinct(tensors: Tensors) -> dict[tuple[Any, ...], tg.Tensor]:
    found: dict[tuple[Any, ...], tg.Tensor] = {}
    _each(tensors, lambda tensor: found.setdefault(place_of(tensor), tensor))
    return found


def _size(tensors: Tensors) -> int:
    return sum(map(_room, _distinct(tensors).values()))


def _copied(tensors: Tensors, memory: np.ndarray) -> Tensors:
    """The same with every tensor in `memory`; those that are tied stay tied."""
    copies, begin = {}, 0
    for place, tensor in _distinct(tensors).items():
        copy = memory[begin : begin + tensor.nbytes].view(tensor.dtype.dtype).reshape(tensor.shape)
        np.copyto(copy, tensor.cpu().numpy())
        copies[place] = tg.from_numpy(copy)
        begin += _room(tensor)
    return _each(tensors, lambda tensor: copies[place_of(tensor)])


def _beside(folder: Path, what: str) -> Path:
    return folder.with_name(f"{folder.name}.{what}")


def _file(folder: Path, name: str) -> Path:
    file = folder / name
    if not file.is_file():
        raise FileNotFoundError(f"{file} is missing, so this checkpoint cannot be used; use another one")
    return file
