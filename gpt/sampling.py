"""Text from a model: prompt in, pieces of text out, as they are made."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import tinygrad_edu as tg

from .model import GPT
from .tokenizers import Tokenizer


def stream_text(
    model: GPT, tokenizer: Tokenizer, prompt: str = "", max_new_tokens: int = 500, **options: Any
) -> Iterator[str]:
    """The continuation of a prompt, piece by piece, never half a character.

    An empty prompt starts a new text. options: those of `GPT.generate`. It ends early at the tokenizer's end of text.
    ValueError: the prompt has characters that the tokenizer does not know, or options are out of range.
    """
    ids = tokenizer.encode(prompt, allow_special=True) or [_beginning(tokenizer)]
    stop = tokenizer.end_of_text
    tokens = model.stream(tg.tensor([ids]), max_new_tokens, stop=stop, **options)
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
