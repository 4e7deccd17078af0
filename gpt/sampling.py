"""Text from a model: load it, give it a prompt, get pieces of text as they are made."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import tinygrad_edu as tg

from . import checkpoint
from .model import GPT
from .tokenizers import GPT2Tokenizer, Tokenizer


def load_model(
    path: str | os.PathLike[str], block_size: int | None = None, dropout: float | None = None
) -> tuple[GPT, Tokenizer]:
    """Model and tokenizer from a run's folder (its best checkpoint), a checkpoint, or GPT-2 in Hugging Face's layout.

    GPT-2 may be a folder or a .safetensors file; its tokenizer's merges come from beside the weights if they are there.
    To train it further it can be given another dropout and a smaller block_size.
    FileNotFoundError: there is none of these. ValueError: damaged, or no GPT-2.
    """
    model, tokenizer = _read(Path(path))
    if block_size is not None and block_size < model.config.block_size:
        model.crop_block_size(block_size)
    if dropout is not None and dropout != model.config.dropout:
        weights = model.state_dict()
        with tg.nn.init.no_init():
            model = GPT(replace(model.config, dropout=dropout))
        model.load_state_dict(weights)
    return model, tokenizer


def _read(path: Path) -> tuple[GPT, Tokenizer]:
    try:
        found = checkpoint.find(path, "best", "latest")
    except FileNotFoundError as error:
        if not path.is_file() and not (path / checkpoint.MODEL).is_file():
            raise FileNotFoundError(f"{error}; nor are there weights of GPT-2, {checkpoint.MODEL}") from None
    else:
        saved = checkpoint.load(found)
        return saved.model, saved.tokenizer
    model = GPT.from_pretrained(path)
    folder = path if path.is_dir() else path.parent
    merges = any((folder / name).is_file() for name in ("merges.txt", "vocab.bpe"))
    tokenizer = GPT2Tokenizer(folder if merges else None)
    if tokenizer.n_vocab != model.config.vocab_size:
        raise ValueError(
            f"{path} has a vocabulary of {model.config.vocab_size} tokens, GPT-2's tokenizer has {tokenizer.n_vocab}; "
            "only models with GPT-2's own vocabulary can be used with it"
        )
    return model, tokenizer


def stream_text(
    model: GPT, tokenizer: Tokenizer, prompt: str = "", max_new_tokens: int = 500, **options: Any
) -> Iterator[str]:
    """The continuation of a prompt, piece by piece, never half a character.

    An empty prompt starts a new text. options: those of `GPT.generate`. It ends early at the tokenizer's end of text.
    ValueError: the prompt has characters that the tokenizer does not know, or options are out of range.
    """
    ids = tokenizer.encode(prompt, allow_special=True) or [_beginning(tokenizer)]
    stop = tokenizer.end_of_text
    prompted = tg.tensor([ids], device=model.wte.weight.device)
    tokens = model.stream(prompted, max_new_tokens, stop=stop, **options)
    return _pieces(tokens, tokenizer, stop)


def _pieces(tokens: Iterator[tg.Tensor], tokenizer: Tokenizer, stop: int | None) -> Iterator[str]:
    text = tokenizer.stream()
    for token in tokens:
        if int(token.item()) == stop:
            break
        if piece := text.push([int(token.item())]):
            yield piece
    if rest := text.finish():
        yield rest


def _beginning(tokenizer: Tokenizer) -> int:
    """The token before the first of a text: its end-of-text token, else a new line, else its first token."""
    if tokenizer.end_of_text is not None:
        return tokenizer.end_of_text
    try:
        return tokenizer.encode("\n")[0]
    except ValueError:  # a vocabulary of characters without it
        return 0
