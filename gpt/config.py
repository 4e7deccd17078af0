"""What a GPT is made of and how it is trained: plain dataclasses. Every field is an option of the command line."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields, replace
from typing import Any


@dataclass
class GPTConfig:
    """The shape of a GPT. Defaults are GPT-2 with 124 million parameters."""

    block_size: int = 1024
    """Longest sequence the model can read, in tokens (T)."""
    vocab_size: int = 50257
    """Number of different tokens (V). Training takes it from the tokenizer."""
    n_layer: int = 12
    """Number of Transformer blocks."""
    n_head: int = 12
    """Attention heads per block; they share the n_embd channels equally."""
    n_embd: int = 768
    """Channels of the residual stream (C)."""
    dropout: float = 0.0
    """Probability of dropping a value: after the embeddings, in attention and after each branch."""
    bias: bool = True
    """Whether Linear and LayerNorm have biases, as in GPT-2."""

    def __post_init__(self) -> None:
        for name in ("block_size", "vocab_size", "n_layer", "n_head", "n_embd"):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise ValueError(f"GPTConfig: {name} must be a positive integer, got {value!r}")
        if self.n_embd % self.n_head:
            raise ValueError(
                f"GPTConfig: n_embd={self.n_embd} is not divisible by n_head={self.n_head}; heads share the channels "
                f"equally, so choose a multiple of n_head, such as {self.n_head * -(-self.n_embd // self.n_head)}"
            )
        if not 0.0 <= self.dropout < 1.0:
            raise ValueError(f"GPTConfig: dropout must be in [0, 1), got {self.dropout!r}")

    @classmethod
    def named(cls, name: str, **changes: Any) -> GPTConfig:
        """The configuration of one of the four published sizes: gpt2, gpt2-medium, gpt2-large, gpt2-xl."""
        if name not in SIZES:
            raise ValueError(f"unknown GPT-2 size {name!r}; expected one of {', '.join(SIZES)}")
        return replace(cls(**SIZES[name]), **changes)

    def to_dict(self) -> dict[str, Any]:
        """The fields as a dictionary."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> GPTConfig:
        """The configuration with these fields. ValueError: an unknown field."""
        known = {f.name for f in fields(cls)}
        unknown = sorted(set(values) - known)
        if unknown:
            raise ValueError(f"GPTConfig: unknown fields {', '.join(unknown)}; expected {', '.join(sorted(known))}")
        return cls(**values)


SIZES: dict[str, dict[str, int]] = {
    "gpt2": {"n_layer": 12, "n_head": 12, "n_embd": 768},  # 124M parameters
    "gpt2-medium": {"n_layer": 24, "n_head": 16, "n_embd": 1024},  # 350M
    "gpt2-large": {"n_layer": 36, "n_head": 20, "n_embd": 1280},  # 774M
    "gpt2-xl": {"n_layer": 48, "n_head": 25, "n_embd": 1600},  # 1558M
}
