"""GPT-2 on tinygrad_edu: model, tokenizers, data, training and generation."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .checkpoint import Checkpoint as Checkpoint
    from .config import GPTConfig as GPTConfig
    from .config import TrainConfig as TrainConfig
    from .config import preset as preset
    from .data import TokenBatches as TokenBatches
    from .data import prepare_tokens as prepare_tokens
    from .model import GPT as GPT
    from .sampling import load_model as load_model
    from .sampling import stream_text as stream_text
    from .texts import find_text as find_text
    from .texts import load_text as load_text
    from .tokenizers import ByteTokenizer as ByteTokenizer
    from .tokenizers import CharTokenizer as CharTokenizer
    from .tokenizers import GPT2Tokenizer as GPT2Tokenizer
    from .tokenizers import load_tokenizer as load_tokenizer
    from .tokenizers import make_tokenizer as make_tokenizer
    from .trainer import Trainer as Trainer

# Where each name lives. It is imported when it is first used, so that `python -m gpt --help` need not wait for NumPy.
_HOMES = {
    "checkpoint": ("Checkpoint",),
    "config": ("GPTConfig", "TrainConfig", "preset"),
    "data": ("TokenBatches", "prepare_tokens"),
    "model": ("GPT",),
    "sampling": ("load_model", "stream_text"),
    "texts": ("find_text", "load_text"),
    "tokenizers": ("ByteTokenizer", "CharTokenizer", "GPT2Tokenizer", "load_tokenizer", "make_tokenizer"),
    "trainer": ("Trainer",),
}
_HOME_OF = {name: module for module, names in _HOMES.items() for name in names}
__all__ = list(_HOME_OF)  # noqa: PLE0605  # a list of strings, though made


def __getattr__(name: str) -> Any:
    if name not in _HOME_OF:
        raise AttributeError(f"module 'gpt' has no attribute {name!r}")
    return getattr(import_module(f".{_HOME_OF[name]}", __name__), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME_OF})
