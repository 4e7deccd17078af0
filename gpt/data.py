"""Training data: a text split in two, token files of any size, and random batches from them."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import tinygrad_edu as tg
from gpt.files import atomic_write, read_json, write_json
from gpt.tokenizers import Tokenizer

FORMAT, VERSION = "tinygrad_edu tokens", 1


@dataclass(frozen=True)
class TokenFile:
    """A text as token ids on disk: raw little-endian uint16 or uint32, described by NAME.json beside it.

    `tokens` (N,) is mapped into memory, so the file may be larger than memory. It holds the characters
    [start, stop) of the text; `text_sha256` is the hash of the whole text, in UTF-8 with LF line ends.
    """

    path: Path
    tokens: np.ndarray
    n_vocab: int
    tokenizer_sha256: str
    text_sha256: str
    start: int
    stop: int


class TokenBatches:
    """Random batches for training: an endless iterator of (x, y), int64 Tensors of shape (B, T).

    Each row is a window at a random place i_b, drawn from [0, N - T) as in nanoGPT's get_batch:
    x[b, t] = tokens[i_b + t], and y[b, t] = tokens[i_b + t + 1], the token to predict. The places come from
    `generator` (by default one of its own, seeded 0), so `state_dict` and `load_state_dict` resume exactly.

    Raises ValueError if tokens (N,) hold no whole window, or, given `n_vocab`, an id outside [0, n_vocab).
    """

    def __init__(
        self,
        tokens: np.ndarray,
        batch_size: int,
        block_size: int,
        *,
        n_vocab: int | None = None,
        generator: tg.Generator | None = None,
        device: Any = None,
    ) -> None:
        if tokens.ndim != 1 or tokens.dtype.kind not in "iu":
            raise ValueError(f"tokens are integers of shape (N,), got {tokens.dtype} {tokens.shape}")
        if batch_size < 1 or block_size < 1:
            raise ValueError(f"batch_size {batch_size} and block_size {block_size} must be 1 or more")
        if len(tokens) <= block_size:
            raise ValueError(
                f"the text has {len(tokens)} tokens, and block_size {block_size} needs at least "
                f"{block_size + 1}: use a longer text, or a block_size of at most {len(tokens) - 1}"
            )
        self.tokens = np.asarray(tokens)  # a memory map stays one, without its slower indexing
        self.batch_size, self.block_size = batch_size, block_size
        self.n_vocab = n_vocab
        self.generator = tg.Generator().manual_seed(0) if generator is None else generator
        self.device = device
        self._window = np.arange(block_size + 1)

    def __iter__(self) -> Iterator[tuple[tg.Tensor, tg.Tensor]]:
        return self

    def __next__(self) -> tuple[tg.Tensor, tg.Tensor]:
        n_places = len(self.tokens) - self.block_size
        places = tg.randint(0, n_places, (self.batch_size,), generator=self.generator)
        return self._batch(places.numpy())

    def in_order(self) -> Iterator[tuple[tg.Tensor, tg.Tensor]]:
        """All windows side by side, each once: for a loss over a whole text. No random number is drawn.

        The last batch may have fewer rows; a tail shorter than a window is left out.
        """
        starts = np.arange(0, len(self.tokens) - self.block_size, self.block_size)
        for i in range(0, len(starts), self.batch_size):
            yield self._batch(starts[i : i + self.batch_size])

    def _batch(self, places: np.ndarray) -> tuple[tg.Tensor, tg.Tensor]:
        windows = self.tokens[places[:, None] + self._window]  # (B, T + 1)
        if self.n_vocab is not None and not (windows.min() >= 0 and windows.max() < self.n_vocab):
            row, column = np.argwhere((windows < 0) | (windows >= self.n_vocab))[0]
            raise ValueError(
                f"token {windows[row, column]} at position {places[row] + column} is outside the vocabulary, "
                f"[0, {self.n_vocab}): another tokenizer made these tokens, make them again with this one"
            )
        x, y = (tg.from_numpy(part.astype(np.int64)) for part in (windows[:, :-1], windows[:, 1:]))
        return (x, y) if self.device is None else (x.to(self.device), y.to(self.device))

    def state_dict(self) -> dict[str, Any]:
        """Where the random places stand, fit for JSON: everything needed to go on with the same batches."""
        return {"generator": self.generator.get_state().numpy().tobytes().hex()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from `state_dict()`. ValueError if it is not such a state; nothing changes then."""
        try:
            state = np.frombuffer(bytes.fromhex(state_dict["generator"]), dtype=np.uint8)
            self.generator.set_state(tg.from_numpy(state.copy()))
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(
                f"not a state of TokenBatches, {{'generator': hexadecimal digits}}: {error!r}"
            ) from None


def split_text(text: str, val_fraction: float = 0.1) -> tuple[str, str]:
    """The beginning of a text, to train on, and its end, to validate on; split by characters, not tokens."""
    cut = _cut_at(len(text), val_fraction)
    return text[:cut], text[cut:]


def prepare_tokens(
    text: str | Iterable[str],
    tokenizer: Tokenizer,
    folder: str | os.PathLike[str],
    *,
    val_fraction: float = 0.1,
) -> tuple[TokenFile, TokenFile]:
    """Token files train.bin and val.bin of a text that may be longer than memory, split as by `split_text`.

    `text` is a string, or chunks that can be read twice (to count, to write): a list, what find_text returns.
    Files of the same text, tokenizer and split that stand in the folder already are kept.
    """
    chunks = [text] if isinstance(text, str) else text
    if iter(chunks) is chunks:
        raise TypeError(
            "these chunks can be read only once, and a split needs two passes: give a str, a list or what "
            "find_text returns, or write one file without a split by write_tokens"
        )
    whole = _Measured(chunks)
    for _ in whole:
        pass
    cut = _cut_at(whole.length, val_fraction)

    def part(name: str, start: int, stop: int) -> TokenFile:
        path, identity = Path(folder) / name, (whole.sha256, start, stop)
        kept = _kept(path, tokenizer, identity)
        return kept or _write(path, _characters(chunks, start, stop), tokenizer, lambda: identity)

    return part("train.bin", 0, cut), part("val.bin", cut, whole.length)


def write_tokens(path: str | os.PathLike[str], text: str | Iterable[str], tokenizer: Tokenizer) -> TokenFile:
    """Write a text, given whole or in chunks, as a token file: the ids are those of the whole text.

    The file appears whole or not at all. Raises ValueError for an empty text or one that cannot be encoded.
    """
    whole = _Measured([text] if isinstance(text, str) else text)
    return _write(Path(path), whole, tokenizer, lambda: (whole.sha256, 0, whole.length))


def open_tokens(path: str | os.PathLike[str], tokenizer: Tokenizer | None = None) -> TokenFile:
    """Open a token file without reading it into memory; with `tokenizer`, check that this one made it.

    Raises FileNotFoundError, and ValueError if the file is damaged, cut short, or another tokenizer's.
    """
    path = Path(path)
    about, again = _description(path), "write it again with write_tokens or prepare_tokens"
    described = read_json(about, FORMAT, VERSION)
    wrong = [field for field, kind in _FIELDS.items() if type(described.get(field)) is not kind]
    if wrong or described["dtype"] not in _DTYPES or described["count"] < 1:
        raise ValueError(f"{about} is damaged (see {', '.join(wrong) or 'dtype and count'}): {again}")
    dtype, count = np.dtype(_DTYPES[described["dtype"]]), described["count"]
    if not path.is_file():
        raise FileNotFoundError(f"{about} is there, but the token file {path} is not: {again}")
    if (size := path.stat().st_size) != count * dtype.itemsize:
        raise ValueError(
            f"{path} has {size} bytes, expected {count} tokens of {dtype.itemsize} bytes: it was cut short, "
            f"or is not the file that {about.name} describes; {again}"
        )
    if tokenizer is not None and described["tokenizer_sha256"] != tokenizer.sha256:
        raise ValueError(f"{path} was not written by {tokenizer}: load the tokenizer that did, or {again}")
    tokens = np.memmap(path, dtype=dtype, mode="r", shape=(count,))
    return TokenFile(path, tokens, **{field: described[field] for field in list(_FIELDS)[2:]})


Identity = tuple[str, int, int]  # text_sha256, start, stop

_DTYPES = {"uint16": "<u2", "uint32": "<u4"}
_FIELDS = {  # of the description; from n_vocab on, they are TokenFile's
    "dtype": str,
    "count": int,
    "n_vocab": int,
    "tokenizer_sha256": str,
    "text_sha256": str,
    "start": int,
    "stop": int,
}


class _Measured:
    """Chunks of text, counted and hashed while they pass."""

    def __init__(self, chunks: Iterable[str]) -> None:
        self._chunks = chunks

    def __iter__(self) -> Iterator[str]:
        self.length, self._digest = 0, hashlib.sha256()
        for chunk in self._chunks:
            self.length += len(chunk)
            self._digest.update(chunk.encode("utf-8", errors="surrogatepass"))
            yield chunk

    @property
    def sha256(self) -> str:
        return self._digest.hexdigest()


def _write(
    path: Path, chunks: Iterable[str], tokenizer: Tokenizer, identity: Callable[[], Identity]
) -> TokenFile:
    """Write the pair of files; `identity` is asked once the chunks are read."""
    count = 0
    with atomic_write(path) as file:
        for ids in tokenizer.encode_chunks(chunks):
            file.write(ids.tobytes())
            count += len(ids)
        if count == 0:
            raise ValueError(f"the text for {path} is empty: a token file holds at least one token; use a longer text")
        file.flush()  # a full disk shows here, while the old pair is still whole
        # From here until the new description is there, what is on disk is refused rather than mixed up.
        _description(path).unlink(missing_ok=True)
    text_sha256, start, stop = identity()
    fields = {
        "dtype": tokenizer.dtype.name,
        "count": count,
        "n_vocab": tokenizer.n_vocab,
        "tokenizer_sha256": tokenizer.sha256,
        "text_sha256": text_sha256,
        "start": start,
        "stop": stop,
    }
    write_json(_description(path), FORMAT, VERSION, fields)
    return open_tokens(path, tokenizer)


def _kept(path: Path, tokenizer: Tokenizer, identity: Identity) -> TokenFile | None:
    """The token file that is already there, if it is of this text, part and tokenizer."""
    try:
        there = open_tokens(path, tokenizer)
    except (FileNotFoundError, ValueError):
        return None
    return there if (there.text_sha256, there.start, there.stop) == identity else None


def _description(path: Path) -> Path:
    return path.with_name(path.name + ".json")


def _cut_at(length: int, val_fraction: float) -> int:
    if not 0 < val_fraction < 1:
        raise ValueError(f"val_fraction is between 0 and 1, got {val_fraction}")
    return int(length * (1 - val_fraction))


def _characters(chunks: Iterable[str], start: int, stop: int) -> Iterator[str]:
    """Characters [start, stop) of a text that comes in chunks."""
    position = 0
    for chunk in chunks:
        if part := chunk[max(start - position, 0) : max(stop - position, 0)]:
            yield part
        position += len(chunk)
        if position >= stop:
            return
