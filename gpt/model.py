"""GPT-2: a stack of Transformer blocks that predicts the next token.

Modules are named as in GPT-2, so that its weights fit: wte, wpe, h.{i}.ln_1, h.{i}.attn.c_attn, h.{i}.attn.c_proj,
h.{i}.ln_2, h.{i}.mlp.c_fc, h.{i}.mlp.c_proj, ln_f, and lm_head, which is wte's weight again.

Axes: B sequences, T tokens, C = n_embd channels, V = vocab_size, NH = n_head heads of HS = C / NH channels.

Source: Radford et al. 2019, "Language Models are Unsupervised Multitask Learners"; Vaswani et al. 2017.
"""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from operator import index
from typing import TYPE_CHECKING, SupportsIndex

import tinygrad_edu as tg
from tinygrad_edu import Tensor, nn
from tinygrad_edu.nn import functional as F

from .config import GPTConfig

if TYPE_CHECKING:
    from .optimizers import Together


class Cache:
    """The keys and values of all tokens that one block has read, (B, NH, T, HS): made once, looked at ever after."""

    keys: Tensor | None = None
    values: Tensor | None = None

    def __len__(self) -> int:
        return 0 if self.keys is None else self.keys.size(2)

    def extended(self, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """All keys and values, those of new tokens at the end."""
        if self.keys is not None and self.values is not None:
            k, v = tg.cat((self.keys, k), dim=2), tg.cat((self.values, v), dim=2)
        self.keys, self.values = k, v
        return k, v


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

    def forward(self, x: Tensor, cache: Cache | None = None) -> Tensor:
        B, T, C = x.shape
        heads = self.c_attn(x).view(B, T, 3, self.n_head, C // self.n_head).permute(2, 0, 3, 1, 4)
        q, k, v = heads.unbind(0)  # each (B, NH, T, HS)
        if cache is not None:
            k, v = cache.extended(k, v)
        y = F.scaled_dot_product_attention(
            q, k, v,
            is_causal=T > 1,  # a single token comes last, so it may look at all
            dropout_p=self.dropout if self.training else 0.0,
        )  # fmt: skip
        return self.resid_dropout(self.c_proj(y.transpose(1, 2).reshape(B, T, C)))


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

    def forward(self, x: Tensor, cache: Cache | None = None) -> Tensor:
        x = x + self.attn(self.ln_1(x), cache)
        return x + self.mlp(self.ln_2(x))


class GPT(nn.Module):
    """`GPT(config)(idx, targets=None) -> (logits, loss)`.

    idx: (B, T) token ids. With targets (B, T): logits (B, T, V) and the mean cross-entropy in nats per token (targets
    of -1 are ignored). Without: the logits of the last position only, (B, 1, V), and None.
    generator: where the initial weights are drawn from, if not from the default stream.
    With `model.recompute = True` backward needs far less memory and about a third more time, for the same gradients bit
    for bit: each block keeps its input alone and runs again when backward reaches it.
    TypeError, ValueError, IndexError: ids that are no integers, of another shape, longer than block_size, or outside
    the vocabulary.
    """

    def __init__(self, config: GPTConfig, generator: tg.Generator | None = None) -> None:
        super().__init__()
        self.config = config
        self.recompute = False
        with nn.init.no_init():  # `_initialise` draws the weights
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
        self._check_ids("token id", idx)
        if idx.size(1) > self.config.block_size:
            raise ValueError(
                f"GPT: cannot read {idx.size(1)} tokens, block_size is {self.config.block_size}; shorten the sequence "
                "or make a model with a larger block_size"
            )
        if targets is None:
            return self.lm_head(self._hidden(idx)[:, -1:]), None
        self._check_ids("target", targets, lowest=-1)
        if targets.shape != idx.shape:
            raise ValueError(
                f"GPT: expected targets of the shape of idx, {tuple(idx.shape)}, got {tuple(targets.shape)}; the "
                "target of each token is the token after it"
            )
        logits = self.lm_head(self._hidden(idx))
        return logits, F.cross_entropy(logits.view(-1, logits.size(-1)), targets.reshape(-1), ignore_index=-1)

    def _check_ids(self, what: str, ids: Tensor, lowest: int = 0) -> None:
        """Refuse what is not a (B, T) tensor of integers from `lowest` to V - 1."""
        if not isinstance(ids, Tensor):
            raise TypeError(
                f"GPT: expected a Tensor of {what}s, got {type(ids).__name__}; make one with tinygrad_edu.tensor()"
            )
        if ids.is_floating_point() or ids.dtype == tg.bool:
            raise TypeError(f"GPT: expected {what}s of an integer dtype, got {ids.dtype}; convert them with .long()")
        if ids.dim() != 2 or ids.numel() == 0:
            raise ValueError(
                f"GPT: expected {what}s of shape (B, T) with B and T at least 1, got {tuple(ids.shape)}; "
                "x[None] makes a batch of one sequence"
            )
        if ids.is_cuda:  # the GPU notes what is outside where it is used, and nobody waits for it here
            return
        least, most = int(ids.min()), int(ids.max())
        if least < lowest or most >= self.config.vocab_size:
            raise IndexError(
                f"GPT: {what} {least if least < lowest else most} is outside the vocabulary, expected {lowest} .. "
                f"{self.config.vocab_size - 1}; encode text with the tokenizer that the model was trained with"
            )

    def _hidden(self, idx: Tensor, caches: list[Cache] | None = None) -> Tensor:
        """The stream after the last norm: (B, T) -> (B, T, C). With caches that hold tokens, idx is the one after."""
        start = 0 if caches is None else len(caches[0])
        positions = tg.arange(start, start + idx.size(1), device=idx.device)
        x = self.drop(self.wte(idx) + self.wpe(positions))  # (B, T, C) + (T, C)
        for i, block in enumerate(self.h):
            if self.recompute and caches is None:
                x = tg.recompute(block, x)
            else:
                x = block(x, None if caches is None else caches[i])
        return self.ln_f(x)

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
        stop: int | Iterable[int] | None = None,
    ) -> Tensor:
        """The prompt and its continuation, (B, T) -> (B, T + at most max_new_tokens).

        temperature, top_k, top_p: see `next_token_probabilities`. do_sample=False takes the most likely token instead.
        stop: end when every sequence has met one of these tokens; one that is done repeats it until all are.
        use_cache=False computes the same without remembering keys and values. A sequence longer than block_size is read
        from its last block_size tokens.
        TypeError, ValueError, IndexError: an argument of another type or out of range. RuntimeError: the logits are
        not finite.
        """
        new = self.stream(
            idx, max_new_tokens, temperature=temperature, top_k=top_k, top_p=top_p, do_sample=do_sample,
            use_cache=use_cache, generator=generator, stop=stop,
        )  # fmt: skip
        return tg.cat([idx, *new], dim=1)

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
        stop: int | Iterable[int] | None = None,
    ) -> Iterator[Tensor]:
        """The new tokens of `generate`, one step at a time: each (B, 1). Arguments are checked at once."""
        self._check_ids("token id", idx)
        max_new_tokens = _checked_integer("max_new_tokens", max_new_tokens, 0)
        tokens = [] if stop is None else stop if isinstance(stop, Iterable) else [stop]
        stops = [_checked_integer("stop", token, 0, self.config.vocab_size - 1) for token in tokens]
        if do_sample:
            _check_sampling(temperature, top_k, top_p)

        def choose(logits: Tensor) -> Tensor:
            if not bool(tg.isfinite(logits).all()):
                raise RuntimeError(
                    "generate: the logits are not finite, so the weights hold NaN or too large numbers; go back to a "
                    "checkpoint from before training diverged"
                )
            if not do_sample:
                return logits.argmax(dim=-1, keepdim=True)
            probabilities = next_token_probabilities(logits, temperature, top_k, top_p)
            return tg.multinomial(probabilities, 1, generator=generator)

        return self._stream(idx, max_new_tokens, choose, use_cache, stops)

    def _stream(
        self, idx: Tensor, max_new_tokens: int, choose: Callable[[Tensor], Tensor], use_cache: bool, stops: list[int]
    ) -> Iterator[Tensor]:
        size = self.config.block_size
        window, new = idx[:, -size:], idx[:, -1:]  # what the model reads, and the last token
        done = tg.zeros(new.shape, dtype=tg.bool, device=idx.device)  # which sequences have met a stop token
        caches: list[Cache] | None = None
        for _ in range(max_new_tokens):
            with tg.no_grad(), _evaluating(self):
                if caches is not None and len(caches[0]) < size:
                    x = self._hidden(new, caches)
                else:  # positions are absolute, so that a window that slides has to be read anew
                    caches = [Cache() for _ in self.h] if use_cache else None
                    x = self._hidden(window, caches)
                chosen = choose(self.lm_head(x[:, -1]))  # (B, V) -> (B, 1)
            new = tg.where(done, new, chosen)  # one that is done repeats its stop token, and so stays done
            window = tg.cat((window, new), dim=1)[:, -size:]
            if stops:
                done = tg.isin(new, tg.tensor(stops, device=idx.device))
            yield new
            if bool(done.all()):
                return

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
        """Make the model read at most block_size tokens, by dropping the later position embeddings.

        ValueError: not an integer from 1 to the present block_size.
        """
        config = replace(self.config, block_size=block_size)  # a copy: other models may have been made from the old one
        if block_size > self.config.block_size:
            raise ValueError(
                f"crop_block_size: the model has {self.config.block_size} positions and cannot grow to {block_size}; "
                "make a model with a larger block_size"
            )
        self.config = config
        self.wpe.num_embeddings = block_size
        self.wpe.weight.data = self.wpe.weight.data[:block_size].clone()
        self.wpe.weight.grad = None

    def configure_optimizers(
        self, weight_decay: float, learning_rate: float, betas: tuple[float, float], device_type: str = "cpu",
        muon: bool = False,
    ) -> tg.optim.AdamW | Together:  # fmt: skip
        """AdamW that decays only tensors of two or more axes: matrices and embeddings, not biases and norm gains.

        muon: instead of it Muon for the matrices of the blocks, with steps as large as AdamW's. device_type is accepted
        from programs written for nanoGPT, and changes nothing.
        """
        params = [p for p in self.parameters() if p.requires_grad]
        inner = {p for p in self.h.parameters() if p.dim() == 2} if muon else set()
        groups = [
            {"params": [p for p in params if p.dim() >= 2 and p not in inner], "weight_decay": weight_decay},
            {"params": [p for p in params if p.dim() < 2], "weight_decay": 0.0},
        ]
        adamw = tg.optim.AdamW([group for group in groups if group["params"]], lr=learning_rate, betas=betas)
        if not muon:
            return adamw
        from .optimizers import Together  # how two become one is its business

        matrices = [p for p in params if p in inner]
        return Together(tg.optim.Muon(matrices, learning_rate, weight_decay, adjust_lr_fn="match_rms_adamw"), adamw)


def next_token_probabilities(
    logits: Tensor, temperature: float = 1.0, top_k: int | None = None, top_p: float | None = None
) -> Tensor:
    """What a sampler draws from: logits (B, V) -> probabilities (B, V), in float64.

    temperature: divides the logits; below 1 is safer, above 1 bolder. top_k: then only the k most likely tokens are
    left, and those as likely as the k-th. top_p: then only the smallest set of most likely tokens that has the
    probability p together (nucleus sampling: Holtzman et al. 2019, arXiv:1904.09751).
    """
    logits = logits.double()
    logits = (logits - logits.amax(dim=-1, keepdim=True)) / temperature  # no overflow, however small the temperature
    if top_k is not None and top_k < logits.size(-1):
        kth = tg.topk(logits, top_k).values[:, -1:]
        logits = logits.masked_fill(logits < kth, -math.inf)
    probabilities = F.softmax(logits, dim=-1)
    if top_p is not None and top_p < 1:
        ordered, order = tg.sort(probabilities, dim=-1, descending=True)
        before = ordered.cumsum(dim=-1) - ordered  # what the more likely tokens have together
        kept = ordered.masked_fill(before >= top_p, 0.0)
        probabilities = probabilities.scatter(1, order, kept / kept.sum(dim=-1, keepdim=True))
    return probabilities


def _check_sampling(temperature: float, top_k: int | None, top_p: float | None) -> None:
    if not 0 < temperature < math.inf:
        raise ValueError(
            f"generate: temperature must be positive and finite, got {temperature}; for the most likely token each "
            "time use do_sample=False"
        )
    if top_k is not None:
        _checked_integer("top_k", top_k, 1)
    if top_p is not None and not 0 < top_p <= 1:
        raise ValueError(f"generate: top_p must be above 0 and at most 1, got {top_p}")


def _checked_integer(name: str, value: SupportsIndex, least: int, most: float = math.inf) -> int:
    """The value as an int. TypeError: not an integer. ValueError: out of range."""
    if isinstance(value, bool) or not isinstance(value, SupportsIndex):
        raise TypeError(f"generate: {name} must be an integer, got {value!r}")
    if not least <= (number := index(value)) <= most:
        expected = f"from {least} to {most}" if most < math.inf else f"at least {least}" if least else "0 or more"
        raise ValueError(f"generate: {name} must be {expected}, got {number}")
    return number


@contextlib.contextmanager
def _evaluating(model: nn.Module) -> Iterator[None]:
    """Within it the model is in evaluation mode (no dropout); afterwards every part of it is as it was."""
    training = [module for module in model.modules() if module.training]
    for module in training:
        module.training = False
    try:
        yield
    finally:
        for module in training:
            module.training = True
