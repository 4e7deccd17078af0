"""GPT-2: a stack of Transformer blocks that predicts the next token.

Modules are named as in GPT-2, so that its weights fit: wte, wpe, h.{i}.ln_1, h.{i}.attn.c_attn, h.{i}.attn.c_proj,
h.{i}.ln_2, h.{i}.mlp.c_fc, h.{i}.mlp.c_proj, ln_f, and lm_head, which is wte's weight again.

Axes: B sequences, T tokens, C = n_embd channels, V = vocab_size, NH = n_head heads of HS = C / NH channels.

Source: Radford et al. 2019, "Language Models are Unsupervised Multitask Learners"; Vaswani et al. 2017.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import tinygrad_edu as tg
from tinygrad_edu import Tensor, nn
from tinygrad_edu.nn import functional as F

from .config import GPTConfig

Cache = list[tuple[Tensor, Tensor]]  # for every block, the keys and values of the tokens read so far: (B, NH, T, HS)


class CausalSelfAttention(nn.Module):
    """Every token looks at itself and at the tokens before it.

    y = softmax(q k^T / sqrt(HS), future masked) v for each head; heads joined and projected. (B, T, C) -> (B, T, C).
    """

    def __init__(self, config: GPTConfig) -> None:
        super().__init__()
        self.n_head = config.n_head
        self.dropout = config.dropout
        self.c_attn = nn.Linear(config.n_embd, 3 * config.n_embd, bias=config.bias)  # queries, keys, values in one
        self.c_proj = nn.Linear(config.n_embd, config.n_embd, bias=config.bias)
        self.resid_dropout = nn.Dropout(config.dropout)

    def forward(self, x: Tensor, past: tuple[Tensor, Tensor] | None = None) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        B, T, C = x.shape
        heads = self.c_attn(x).view(B, T, 3, self.n_head, C // self.n_head).permute(2, 0, 3, 1, 4)
        q, k, v = heads.unbind(0)  # each (B, NH, T, HS)
        if past is not None:
            k, v = tg.cat((past[0], k), dim=2), tg.cat((past[1], v), dim=2)
        y = F.scaled_dot_product_attention(
            q, k, v,
            is_causal=past is None,  # with a past there is one new token, and it may look at all of it
            dropout_p=self.dropout if self.training else 0.0,
        )  # fmt: skip
        y = y.transpose(1, 2).reshape(B, T, C)
        return self.resid_dropout(self.c_proj(y)), (k, v)


class MLP(nn.Module):
    """Each token on its own: widen to 4C, GELU (the tanh form, as GPT-2), and back. (B, T, C) -> (B, T, C)."""

    def __init__(self, config: GPTConfig) -> None:
        super().__init__()
        self.c_fc = nn.Linear(config.n_embd, 4 * config.n_embd, bias=config.bias)
        self.gelu = nn.GELU(approximate="tanh")
        self.c_proj = nn.Linear(4 * config.n_embd, config.n_embd, bias=config.bias)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, x: Tensor) -> Tensor:
        return self.dropout(self.c_proj(self.gelu(self.c_fc(x))))


class Block(nn.Module):
    """Attention, then the MLP, each on the normalised stream and added back to it (pre-norm)."""

    def __init__(self, config: GPTConfig) -> None:
        super().__init__()
        self.ln_1 = nn.LayerNorm(config.n_embd, bias=config.bias)
        self.attn = CausalSelfAttention(config)
        self.ln_2 = nn.LayerNorm(config.n_embd, bias=config.bias)
        self.mlp = MLP(config)

    def forward(self, x: Tensor, past: tuple[Tensor, Tensor] | None = None) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        attended, present = self.attn(self.ln_1(x), past)
        x = x + attended
        return x + self.mlp(self.ln_2(x)), present


class GPT(nn.Module):
    """`GPT(config)(idx, targets=None) -> (logits, loss)`.

    idx: (B, T) token ids. With targets (B, T): logits (B, T, V) and the mean cross-entropy in nats per token (targets
    of -1 are ignored). Without: the logits of the last position only, (B, 1, V), and None.
    """

    def __init__(self, config: GPTConfig, generator: tg.Generator | None = None) -> None:
        super().__init__()
        self.config = config
        self.wte = nn.Embedding(config.vocab_size, config.n_embd)
        self.wpe = nn.Embedding(config.block_size, config.n_embd)
        self.drop = nn.Dropout(config.dropout)
        self.h = nn.ModuleList([Block(config) for _ in range(config.n_layer)])
        self.ln_f = nn.LayerNorm(config.n_embd, bias=config.bias)
        self.lm_head = nn.Linear(config.n_embd, config.vocab_size, bias=False)
        self.lm_head.weight = self.wte.weight  # the same parameter: Press and Wolf 2017
        self._initialise(generator)

    def _initialise(self, generator: tg.Generator | None) -> None:
        """GPT-2's: weights N(0, 0.02), biases 0; projections into the residual stream scaled by 1/sqrt(2 n_layer)."""
        for name, p in self.named_parameters():
            if name.endswith("c_proj.weight"):
                nn.init.normal_(p, 0.0, 0.02 / math.sqrt(2 * self.config.n_layer), generator=generator)
            elif p.dim() >= 2:
                nn.init.normal_(p, 0.0, 0.02, generator=generator)
            elif name.endswith("bias"):
                nn.init.zeros_(p)

    def forward(self, idx: Tensor, targets: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        x, _ = self._hidden(idx, None)
        if targets is None:
            return self.lm_head(x[:, -1:, :]), None
        if targets.shape != idx.shape:
            raise ValueError(f"GPT: targets of shape {tuple(targets.shape)} do not match idx of shape {tuple(idx.shape)}")
        logits = self.lm_head(x)
        return logits, F.cross_entropy(logits.view(-1, logits.size(-1)), targets.reshape(-1), ignore_index=-1)

    def _hidden(self, idx: Tensor, past: Cache | None) -> tuple[Tensor, Cache]:
        """The stream after the last norm, (B, T, C), and the keys and values of all tokens up to here."""
        if idx.dim() != 2:
            raise ValueError(
                f"GPT: expected token ids of shape (B, T), got {tuple(idx.shape)}; use idx[None] for one sequence"
            )
        if past is not None and idx.size(1) != 1:
            raise ValueError(f"GPT: after cached tokens exactly one new token is read at a time, got {idx.size(1)}")
        start = 0 if past is None else past[0][0].size(2)
        end = start + idx.size(1)
        if end > self.config.block_size:
            raise ValueError(
                f"GPT: cannot read {end} tokens, block_size is {self.config.block_size}; shorten the sequence or make "
                "a model with a larger block_size"
            )
        positions = tg.arange(start, end, device=idx.device)
        x = self.drop(self.wte(idx) + self.wpe(positions))  # (B, T, C) + (T, C)
        present: Cache = []
        for i, block in enumerate(self.h):
            x, keys_values = block(x, None if past is None else past[i])
            present.append(keys_values)
        return self.ln_f(x), present

    # ---- using it --------------------------------------------------------------------------------------------------

    def generate(
        self,
        idx: Tensor,
        max_new_tokens: int,
        *,
        temperature: float = 1.0,
        top_k: int | None = None,
        top_p: float | None = None,
        do_sample: bool = True,
        use_cache: bool = True,
        generator: tg.Generator | None = None,
        stop: int | Sequence[int] | None = None,
    ) -> Tensor:
        """The prompt and its continuation, (B, T) -> (B, T + at most max_new_tokens).

        temperature: divides the logits; below 1 is safer, above 1 bolder. top_k: sample from the k most likely tokens.
        top_p: sample from the smallest set of tokens with probability p together (Holtzman et al. 2019).
        do_sample=False takes the most likely token. stop: end when every sequence has met one of these tokens; a
        sequence that has met one is filled up with it. Sequences longer than block_size are read from their last
        block_size tokens.
        """
        pieces = [idx]
        pieces += self.stream(
            idx, max_new_tokens, temperature=temperature, top_k=top_k, top_p=top_p, do_sample=do_sample,
            use_cache=use_cache, generator=generator, stop=stop,
        )  # fmt: skip
        return tg.cat(pieces, dim=1)

    def stream(
        self,
        idx: Tensor,
        max_new_tokens: int,
        *,
        temperature: float = 1.0,
        top_k: int | None = None,
        top_p: float | None = None,
        do_sample: bool = True,
        use_cache: bool = True,
        generator: tg.Generator | None = None,
        stop: int | Sequence[int] | None = None,
    ) -> Iterator[Tensor]:
        """The new tokens of `generate` one step at a time, each (B, 1)."""
        choose = _chooser(temperature, top_k, top_p, do_sample, generator)
        stops = [] if stop is None else [stop] if isinstance(stop, int) else list(stop)
        if idx.dim() != 2 or idx.size(1) == 0:
            raise ValueError(f"generate: expected a prompt of shape (B, T) with T > 0, got {tuple(idx.shape)}")
        if max_new_tokens < 0:
            raise ValueError(f"generate: max_new_tokens must not be negative, got {max_new_tokens}")
        return self._stream(idx, max_new_tokens, choose, use_cache, stops)

    def _stream(
        self, idx: Tensor, max_new_tokens: int, choose: Callable[[Tensor], Tensor], use_cache: bool, stops: list[int]
    ) -> Iterator[Tensor]:
        past: Cache | None = None
        done: Tensor | None = None  # (B, 1): which sequences have met a stop token
        last = idx
        for _ in range(max_new_tokens):
            # Positions are absolute, so once the window slides every key changes and the cache has to be rebuilt.
            if past is None or past[0][0].size(2) >= self.config.block_size:
                past, fresh = None, idx[:, -self.config.block_size :]
            else:
                fresh = last
            with tg.no_grad(), _evaluating(self):
                x, present = self._hidden(fresh, past)
                logits = self.lm_head(x[:, -1, :])  # (B, V)
                new = choose(logits)  # (B, 1)
            past = present if use_cache else None
            if done is not None:
                new = tg.where(done, last, new)
            if stops:
                met = tg.isin(new, tg.tensor(stops))
                done = met if done is None else done | met
            yield new
            if done is not None and bool(done.all()):
                return
            idx, last = tg.cat((idx, new), dim=1), new

    # ---- published weights -----------------------------------------------------------------------------------------

    @classmethod
    def from_pretrained(cls, path: str | os.PathLike[str], n_head: int | None = None, dropout: float = 0.0) -> GPT:
        """The GPT-2 stored in a folder or .safetensors file in transformers' layout; see `gpt.pretrained.load`."""
        from . import pretrained  # files are its business

        return pretrained.load(path, n_head, dropout)

    def save_pretrained(self, folder: str | os.PathLike[str]) -> None:
        """Write the weights so that transformers reads them; see `gpt.pretrained.save`."""
        from . import pretrained

        pretrained.save(self, folder)

    # ---- describing and adapting it --------------------------------------------------------------------------------

    def num_params(self, non_embedding: bool = True) -> int:
        """Number of parameters; without the position embeddings by default (the token embeddings serve the head)."""
        n = sum(p.numel() for p in self.parameters())
        return n - self.wpe.weight.numel() if non_embedding else n

    def estimate_flops(self, batch_size: int, block_size: int | None = None) -> int:
        """Floating-point operations of one training step (forward and backward) on batch_size sequences.

        6 N + 12 n_layer C T per token, N without position embeddings. Source: Chowdhery et al. 2022 (PaLM), appendix B.
        """
        c = self.config
        t = c.block_size if block_size is None else block_size
        return (6 * self.num_params() + 12 * c.n_layer * c.n_embd * t) * t * batch_size

    def crop_block_size(self, block_size: int) -> None:
        """Make the model read at most block_size tokens, by dropping the later position embeddings."""
        if not 0 < block_size <= self.config.block_size:
            raise ValueError(f"crop_block_size: expected a size from 1 to {self.config.block_size}, got {block_size}")
        self.config.block_size = block_size
        self.wpe.weight = nn.Parameter(self.wpe.weight.data[:block_size].clone())
        self.wpe.num_embeddings = block_size

    def configure_optimizers(
        self, weight_decay: float, learning_rate: float, betas: tuple[float, float], device_type: str = "cpu"
    ) -> Any:
        """AdamW that decays only tensors of two or more axes: matrices and embeddings, not biases and norm gains."""
        from tinygrad_edu.optim import AdamW  # here, so that reading and running a model needs no optimizer

        params = [p for p in self.parameters() if p.requires_grad]
        groups = [
            {"params": [p for p in params if p.dim() >= 2], "weight_decay": weight_decay},
            {"params": [p for p in params if p.dim() < 2], "weight_decay": 0.0},
        ]
        return AdamW([g for g in groups if g["params"]], lr=learning_rate, betas=betas)


class _evaluating:
    """Within it the model is in evaluation mode (no dropout); afterwards it is as it was."""

    def __init__(self, model: nn.Module) -> None:
        self.model = model

    def __enter__(self) -> None:
        self.training = self.model.training
        if self.training:
            self.model.eval()

    def __exit__(self, *exc: object) -> None:
        if self.training:
            self.model.train()


def _chooser(
    temperature: float, top_k: int | None, top_p: float | None, do_sample: bool, generator: tg.Generator | None
) -> Callable[[Tensor], Tensor]:
    """The function that picks the next token, (B, V) logits -> (B, 1) ids. ValueError: settings out of range."""
    if do_sample and not temperature > 0:
        raise ValueError(f"generate: temperature must be positive, got {temperature}; do_sample=False chooses greedily")
    if top_k is not None and top_k < 1:
        raise ValueError(f"generate: top_k must be at least 1, got {top_k}")
    if top_p is not None and not 0 < top_p <= 1:
        raise ValueError(f"generate: top_p must be in (0, 1], got {top_p}")

    def choose(logits: Tensor) -> Tensor:
        if not do_sample:
            return logits.argmax(dim=-1, keepdim=True)
        logits = logits / temperature
        if top_k is not None:
            kth = tg.topk(logits, min(top_k, logits.size(-1))).values[:, -1:]
            logits = logits.masked_fill(logits < kth, -math.inf)
        probs = F.softmax(logits, dim=-1)
        if top_p is not None and top_p < 1:
            ordered, order = tg.sort(probs, dim=-1, descending=True)
            before = ordered.cumsum(dim=-1) - ordered  # probability of the tokens more likely than this one
            probs = probs.scatter(1, order, ordered.masked_fill(before >= top_p, 0.0))
        return tg.multinomial(probs, 1, generator=generator)

    return choose
