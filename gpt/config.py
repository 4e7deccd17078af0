"""What a GPT is made of and how it is trained: plain dataclasses. Every field is an option of the command line."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field, fields, replace
from difflib import get_close_matches
from typing import Any, Literal, get_args, get_origin, get_type_hints

TokenizerKind = Literal["char", "byte", "gpt2"]


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
        _check_types(self)
        for name in ("block_size", "vocab_size", "n_layer", "n_head", "n_embd"):
            if getattr(self, name) < 1:
                raise ValueError(f"GPTConfig: {name} must be a positive integer, got {getattr(self, name)!r}")
        if self.n_embd % self.n_head:
            fewer = max(n for n in range(1, self.n_head) if self.n_embd % n == 0)
            more = [n for n in range(self.n_head + 1, self.n_embd + 1) if self.n_embd % n == 0][:1]
            raise ValueError(
                f"GPTConfig: n_embd={self.n_embd} is not divisible by n_head={self.n_head}; heads share the channels "
                f"equally, so choose n_head={' or '.join(map(str, [fewer, *more]))}, or a multiple of the heads, such "
                f"as n_embd={self.n_head * -(-self.n_embd // self.n_head)}"
            )
        if not 0.0 <= self.dropout < 1.0:
            raise ValueError(f"GPTConfig: dropout must be in [0, 1), got {self.dropout!r}")

    @classmethod
    def named(cls, name: str, **changes: Any) -> GPTConfig:
        """The configuration of one of the four published sizes: gpt2, gpt2-medium, gpt2-large, gpt2-xl."""
        if name not in SIZES:
            raise ValueError(f"unknown GPT-2 size {name!r}; expected one of {', '.join(SIZES)}")
        return cls(**{**SIZES[name], **changes})

    def to_dict(self) -> dict[str, Any]:
        """The fields as a dictionary."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> GPTConfig:
        """The configuration with these fields. ValueError: an unknown field, or a value of another type or range."""
        _check_names(cls, values)
        return cls(**values)


SIZES: dict[str, dict[str, int]] = {
    "gpt2": {"n_layer": 12, "n_head": 12, "n_embd": 768},  # 124M parameters
    "gpt2-medium": {"n_layer": 24, "n_head": 16, "n_embd": 1024},  # 350M
    "gpt2-large": {"n_layer": 36, "n_head": 20, "n_embd": 1280},  # 774M
    "gpt2-xl": {"n_layer": 48, "n_head": 25, "n_embd": 1600},  # 1558M
}


@dataclass
class TrainConfig:
    """One training run. Names and meanings are nanoGPT's where it has them."""

    dataset: str = "shakespeare"
    """Text to train on: a known name (shakespeare, pan-tadeusz) or the path of a UTF-8 text file."""
    tokenizer: TokenizerKind = "char"
    """How text becomes tokens: characters of the text, UTF-8 bytes, or GPT-2's byte-pair encoding."""
    out_dir: str = "runs/shakespeare"
    """Folder that the run writes: metrics, plot, samples, checkpoints."""
    init_from: str = "scratch"
    """Start from random weights (scratch), or from those in this folder: an earlier run, or GPT-2 in Hugging Face's
    layout. Shape and tokenizer then come from there, but for dropout and a shorter block_size."""
    model: GPTConfig = field(default_factory=GPTConfig)
    """The shape of the model."""
    device: str = "cpu"
    """Where to compute: cpu, or cuda for a GPU."""
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    """bfloat16, float16: mixed precision, with products of matrices in it and weights in float32. For a GPU; slow on
    a CPU."""
    recompute: bool = False
    """Whether blocks keep their input alone and run again in backward: less memory, more time, the same numbers."""
    seed: int = 1337
    """Seed of the initial weights, the batches and dropout."""

    optimizer: Literal["adamw", "muon"] = "adamw"
    """adamw for all parameters; or muon for the matrices of the blocks, at the same learning rate, and adamw for the
    rest, which gets further in fewer steps."""
    max_iters: int = 2000
    """Optimizer steps in all."""
    batch_size: int = 12
    """Sequences per step and micro-batch (B)."""
    gradient_accumulation_steps: int = 1
    """Micro-batches whose gradients are averaged into one step."""
    learning_rate: float = 1e-3
    """Highest learning rate, reached after the warm-up."""
    min_lr: float = 1e-4
    """Learning rate at the end of the decay."""
    warmup_iters: int = 100
    """Steps over which the learning rate rises from zero."""
    lr_decay_iters: int | None = None
    """Step at which the decay arrives at min_lr; if not given, max_iters."""
    decay: Literal["cosine", "linear"] = "cosine"
    """Whether the learning rate falls along half a cosine or a straight line."""
    decay_lr: bool = True
    """Whether to warm up and decay at all; otherwise the learning rate is constant."""
    weight_decay: float = 0.1
    """The optimizers' decay of matrices and embeddings."""
    beta1: float = 0.9
    """AdamW's memory of the gradient."""
    beta2: float = 0.99
    """AdamW's memory of the squared gradient."""
    grad_clip: float = 1.0
    """Largest norm of the gradient of all parameters together; 0 switches clipping off."""

    eval_interval: int = 250
    """Steps between evaluations; each also writes the latest checkpoint."""
    eval_iters: int = 200
    """Batches per split in an evaluation."""
    final_eval_iters: int | None = None
    """Batches per split in the last evaluation, at least eval_iters; if not given, eval_iters."""
    log_interval: int = 10
    """Steps between rows of the training loss."""
    sample_tokens: int = 200
    """Tokens of sample text written at the last evaluation, and at the others up to a block; 0 for none."""
    health: bool = False
    """Whether each evaluation also says in words how the layers are: updates, dead units, attention, gradients."""

    def __post_init__(self) -> None:
        _check_types(self)
        at_least = {
            "max_iters": 1, "batch_size": 1, "gradient_accumulation_steps": 1, "eval_interval": 1, "eval_iters": 1,
            "log_interval": 1, "warmup_iters": 0, "sample_tokens": 0, "learning_rate": 0, "min_lr": 0,
            "weight_decay": 0, "grad_clip": 0, "beta1": 0, "beta2": 0,
        }  # fmt: skip
        for name, least in at_least.items():
            value = getattr(self, name)
            if not (math.isfinite(value) and value >= least):
                raise ValueError(f"TrainConfig: {name} must be at least {least}, got {value!r}")
        for name in ("beta1", "beta2"):
            if getattr(self, name) >= 1:
                raise ValueError(f"TrainConfig: {name} must be below 1, got {getattr(self, name)!r}")
        if self.final_eval_iters is not None and self.final_eval_iters < self.eval_iters:
            raise ValueError(
                f"TrainConfig: final_eval_iters={self.final_eval_iters} must be at least eval_iters={self.eval_iters}, "
                "as the last evaluation is compared with the others on their batches"
            )
        if self.lr_decay_iters is not None and self.lr_decay_iters <= self.warmup_iters:
            raise ValueError(
                f"TrainConfig: lr_decay_iters={self.lr_decay_iters} must be above warmup_iters={self.warmup_iters}; "
                "leave it out to decay until max_iters, or shorten the warm-up"
            )

    def learning_rate_at(self, step: int) -> float:
        """The learning rate of an update; the first has step 0.

        Linear warm-up to learning_rate, then half a cosine down to min_lr at lr_decay_iters, as in nanoGPT, or a line.
        """
        if not self.decay_lr:
            return self.learning_rate
        if step < self.warmup_iters:
            return self.learning_rate * (step + 1) / (self.warmup_iters + 1)
        end = self.max_iters if self.lr_decay_iters is None else self.lr_decay_iters
        if step >= end:
            return self.min_lr
        done = (step - self.warmup_iters) / (end - self.warmup_iters)
        left = 1.0 - done if self.decay == "linear" else 0.5 * (1.0 + math.cos(math.pi * done))
        return self.min_lr + left * (self.learning_rate - self.min_lr)

    def sample_tokens_at(self, step: int) -> int:
        """Tokens of the sample after a step. Within a block each takes one token's work, and beyond it a block's."""
        last = step >= self.max_iters
        return self.sample_tokens if last else min(self.sample_tokens, self.model.block_size)

    def to_dict(self) -> dict[str, Any]:
        """The fields as a dictionary, the model's nested under `model`."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> TrainConfig:
        """The run with these fields. ValueError: an unknown field, or a value of another type or range."""
        _check_names(cls, values)
        return cls(**{**values, "model": GPTConfig.from_dict(values.get("model", {}))})


def _check_names(cls: type[Any], values: object) -> None:
    """ValueError: not a dictionary, or not every key is a field of the class."""
    if not isinstance(values, dict):
        raise ValueError(f"{cls.__name__}: expected a dictionary of fields, got {values!r}")
    known = [f.name for f in fields(cls)]
    for name in values:
        if name not in known:
            close = get_close_matches(str(name), known, n=1)
            hint = f"did you mean {close[0]}?" if close else f"expected some of {', '.join(known)}"
            raise ValueError(f"{cls.__name__}: unknown field {name!r}; {hint}")


def _check_types(config: Any) -> None:
    """ValueError: a field holds a value of another type than it says. An int will do for a float."""
    for name, hint in get_type_hints(type(config)).items():
        value = getattr(config, name)
        if get_origin(hint) is Literal:
            fits, expected = value in get_args(hint), f"one of {', '.join(get_args(hint))}"
        else:
            kinds = get_args(hint) or (hint,)  # of `int | None`: both
            fits = isinstance(value, (*kinds, int) if float in kinds else kinds)
            fits &= bool in kinds or not isinstance(value, bool)
            expected = " or ".join("None" if kind is type(None) else kind.__name__ for kind in kinds)
        if not fits:
            raise ValueError(f"{type(config).__name__}: {name} must be {expected}, got {value!r}")


def preset(name: str) -> TrainConfig:
    """A fresh copy of one of PRESETS. ValueError: no such preset."""
    if name not in PRESETS:
        raise ValueError(f"there is no preset {name!r}; expected one of {', '.join(PRESETS)}")
    return replace(PRESETS[name], model=replace(PRESETS[name].model))


_LAPTOP = GPTConfig(block_size=64, vocab_size=65, n_layer=4, n_head=4, n_embd=128, bias=False)
_FULL = GPTConfig(block_size=256, vocab_size=65, n_layer=6, n_head=6, n_embd=384, dropout=0.2, bias=False)

PRESETS: dict[str, TrainConfig] = {
    # A minute on a laptop without a GPU: 0.8 million parameters. docs/log.md tells what was tried to get there.
    "laptop-fast": TrainConfig(
        model=_LAPTOP, optimizer="muon", max_iters=1000, learning_rate=7e-3, warmup_iters=20, decay="linear",
        eval_iters=5, final_eval_iters=200,
    ),
    # nanoGPT's recipe for the same model.
    "laptop": TrainConfig(model=_LAPTOP, eval_iters=5, final_eval_iters=200),
    # nanoGPT's character model, 10.7 million parameters, on a CPU in less than an hour.
    "full-fast": TrainConfig(
        out_dir="runs/shakespeare-full", model=replace(_FULL, dropout=0.0), optimizer="muon", batch_size=8,
        max_iters=2000, learning_rate=5e-3, warmup_iters=20, decay="linear", eval_iters=5, final_eval_iters=160,
    ),
    # nanoGPT's recipe for it, for a GPU: a day on a CPU.
    "full": TrainConfig(
        out_dir="runs/shakespeare-full", model=_FULL, batch_size=64, max_iters=5000, eval_iters=5, final_eval_iters=20,
    ),
    # GPT-2's smallest size from scratch on byte pairs: 124 million parameters; with init_from, its fine-tuning.
    "gpt2": TrainConfig(
        out_dir="runs/shakespeare-gpt2", tokenizer="gpt2", model=GPTConfig.named("gpt2"),
        batch_size=1, gradient_accumulation_steps=8, max_iters=1000,
        learning_rate=3e-4, min_lr=3e-5, beta2=0.95, eval_iters=20,
    ),
}  # fmt: skip
