"""Attention with learned projections and several heads."""

from __future__ import annotations

import math
from typing import Any

from ..creation import empty, zeros
from ..functional.attention import scaled_dot_product_attention
from ..functional.dropout import dropout as drop
from ..functional.linalg import linear
from ..functional.normalization import softmax
from ..functional.shape import cat, chunk, pad, split
from ..tensor import Tensor
from . import init
from .linear import Linear
from .module import Module
from .parameter import Parameter


class NonDynamicallyQuantizableLinear(Linear):
    """`Linear`, by the name that PyTorch prints for the last layer of `MultiheadAttention`."""


def _additive(name: str, mask: Tensor, dtype: Any) -> Tensor:
    """A mask as something to add to the scores. AssertionError: neither boolean nor floating."""
    if mask.is_floating_point():
        return mask.to(dtype)
    if mask._array.dtype.kind != "b":
        raise AssertionError(f"only bool and floating types of {name} are supported, got {mask.dtype}; use .bool()")
    return zeros(mask.shape, dtype=dtype, device=mask.device).masked_fill(mask, -math.inf)


class MultiheadAttention(Module):
    """softmax(q k' / sqrt(E / H)) v of projected queries, keys and values in each of H heads, and one more projection.

    Shapes: query (L, B, E), key (S, B, kdim), value (S, B, vdim), with batch_first (B, L, E) and so on, or all without
    B -> output of the shape of query, and the attention weights (B, L, S), or None if need_weights is False.
    Parameters: in_proj_weight (3E, E), or q_proj_weight (E, E), k_proj_weight (E, kdim) and v_proj_weight (E, vdim) if
    kdim or vdim is given and not E; in_proj_bias (3E,); bias_k and bias_v (1, 1, E) with add_bias_kv; out_proj. The
    projections of the input start by Xavier's rule, biases as zeros. dropout: on the weights, while training.
    add_bias_kv adds one learned key and value, add_zero_attn a key and value of zeros.
    Source: Vaswani et al. 2017, arXiv:1706.03762, section 3.2.2.
    """

    in_proj_weight: Parameter | None
    q_proj_weight: Parameter | None
    k_proj_weight: Parameter | None
    v_proj_weight: Parameter | None
    in_proj_bias: Parameter | None
    bias_k: Parameter | None
    bias_v: Parameter | None

    def __init__(
        self, embed_dim: int, num_heads: int, dropout: float = 0.0, bias: bool = True, add_bias_kv: bool = False,
        add_zero_attn: bool = False, kdim: int | None = None, vdim: int | None = None, batch_first: bool = False,
        device: Any = None, dtype: Any = None,
    ) -> None:  # fmt: skip
        super().__init__()
        if embed_dim <= 0 or num_heads <= 0:
            raise ValueError(f"embed_dim and num_heads must be greater than 0, got {embed_dim=} and {num_heads=}")
        if embed_dim % num_heads:
            raise AssertionError(f"embed_dim must be divisible by num_heads, got {embed_dim=} and {num_heads=}")
        self.embed_dim, self.num_heads, self.head_dim = embed_dim, num_heads, embed_dim // num_heads
        self.kdim, self.vdim = embed_dim if kdim is None else kdim, embed_dim if vdim is None else vdim
        self.dropout, self.batch_first, self.add_zero_attn = dropout, batch_first, add_zero_attn
        one_width = self.kdim == embed_dim and self.vdim == embed_dim
        shapes: dict[str, tuple[bool, tuple[int, ...]]] = {
            "in_proj_weight": (one_width, (3 * embed_dim, embed_dim)),
            "q_proj_weight": (not one_width, (embed_dim, embed_dim)),
            "k_proj_weight": (not one_width, (embed_dim, self.kdim)),
            "v_proj_weight": (not one_width, (embed_dim, self.vdim)),
            "in_proj_bias": (bias, (3 * embed_dim,)),
            "bias_k": (add_bias_kv, (1, 1, embed_dim)),
            "bias_v": (add_bias_kv, (1, 1, embed_dim)),
        }
        for name, (present, shape) in shapes.items():
            param = Parameter(empty(shape, device=device, dtype=dtype)) if present else None
            self.register_parameter(name, param)
        self.out_proj = NonDynamicallyQuantizableLinear(embed_dim, embed_dim, bias=bias, device=device, dtype=dtype)
        self._reset_parameters()

    def _reset_parameters(self) -> None:
        for weight in (self.in_proj_weight, self.q_proj_weight, self.k_proj_weight, self.v_proj_weight):
            if weight is not None:
                init.xavier_uniform_(weight)
        if self.in_proj_bias is not None:
            init.zeros_(self.in_proj_bias)
            assert self.out_proj.bias is not None
            init.zeros_(self.out_proj.bias)
        for extra in (self.bias_k, self.bias_v):
            if extra is not None:
                init.xavier_normal_(extra)

    def forward(
        self, query: Tensor, key: Tensor, value: Tensor, key_padding_mask: Tensor | None = None,
        need_weights: bool = True, attn_mask: Tensor | None = None, average_attn_weights: bool = True,
        is_causal: bool = False,
    ) -> tuple[Tensor, Tensor | None]:  # fmt: skip
        """The output and the weights with which each query looks at each key.

        key_padding_mask (B, S), attn_mask (L, S) or (B * H, L, S): boolean, True where a query may not look, or
        floating, added to the scores. average_attn_weights=False gives the weights of each head, (B, H, L, S).
        is_causal: a hint that attn_mask, which must be given, is the causal one. need_weights=False is faster. A query
        that may look at nothing gets NaN, as in PyTorch, or without weights zeros.
        """
        self._check(query, key, value, key_padding_mask, attn_mask)
        if is_causal and attn_mask is None:
            raise RuntimeError(
                "Need attn_mask if specifying the is_causal hint. "
                "Transformer.generate_square_subsequent_mask makes the mask"
            )
        causal = is_causal and key_padding_mask is None and not need_weights
        bias = self._bias(query, None if causal else attn_mask, key_padding_mask)
        batched = query.ndim == 3
        q, k, v = self._projected(query, key, value)
        if not batched:
            q, k, v = q.unsqueeze(0), k.unsqueeze(0), v.unsqueeze(0)
        batch_first = self.batch_first or not batched
        k, v = self._extended(k, v, batch_first)
        q, k, v = (self._heads(x, batch_first) for x in (q, k, v))

        weights = None
        if need_weights:
            scores = (q * math.sqrt(1 / self.head_dim)) @ k.transpose(-2, -1)
            weights = softmax(scores if bias is None else scores + bias, -1)
            weights = drop(weights, self.dropout, self.training)
            y = weights @ v
            weights = weights.mean(1) if average_attn_weights else weights
            weights = weights if batched else weights.squeeze(0)
        else:
            dropout_p = self.dropout if self.training else 0.0
            y = scaled_dot_product_attention(q, k, v, bias, dropout_p, is_causal=causal)
        y = y.permute(0, 2, 1, 3) if batch_first else y.permute(2, 0, 1, 3)  # (B, H, L, D) -> (B, L, H, D)
        return self.out_proj(y.reshape(query.shape)), weights

    def _projected(self, query: Tensor, key: Tensor, value: Tensor) -> tuple[Tensor, ...]:
        """Queries, keys and values, each (..., E): one product for those that are made from the same tensor."""
        b, w = self.in_proj_bias, self.in_proj_weight
        if w is None:
            biases = (None, None, None) if b is None else chunk(b, 3)
            weights = self.q_proj_weight, self.k_proj_weight, self.v_proj_weight
            return tuple(
                linear(x, w, b)  # type: ignore[arg-type]  # without in_proj_weight there are these
                for x, w, b in zip((query, key, value), weights, biases, strict=True)
            )
        if query is key is value:
            return chunk(linear(query, w, b), 3, -1)
        sizes = [self.embed_dim, 2 * self.embed_dim]
        w_q, w_kv = split(w, sizes)
        b_q, b_kv = (None, None) if b is None else split(b, sizes)
        q = linear(query, w_q, b_q)
        if key is value:
            return (q, *chunk(linear(key, w_kv, b_kv), 2, -1))
        (w_k, w_v), (b_k, b_v) = chunk(w_kv, 2), (None, None) if b_kv is None else chunk(b_kv, 2)
        return q, linear(key, w_k, b_k), linear(value, w_v, b_v)

    def _extended(self, k: Tensor, v: Tensor, batch_first: bool) -> tuple[Tensor, Tensor]:
        """Keys and values with the learned one and the zeros at their ends, where they are asked for."""
        at = 1 if batch_first else 0
        shape = (len(k), 1, self.embed_dim) if batch_first else (1, k.shape[1], self.embed_dim)
        if self.bias_k is not None and self.bias_v is not None:
            k, v = cat([k, self.bias_k.expand(shape)], at), cat([v, self.bias_v.expand(shape)], at)
        if self.add_zero_attn:
            nothing = zeros(shape, dtype=k.dtype, device=k.device)
            k, v = cat([k, nothing], at), cat([v, nothing], at)
        return k, v

    def _heads(self, x: Tensor, batch_first: bool) -> Tensor:
        """(B, S, E) or (S, B, E) -> (B, H, S, D)."""
        apart = x.reshape(x.shape[0], x.shape[1], self.num_heads, self.head_dim)
        return apart.permute(0, 2, 1, 3) if batch_first else apart.permute(1, 2, 0, 3)

    def _bias(self, query: Tensor, attn_mask: Tensor | None, key_padding_mask: Tensor | None) -> Tensor | None:
        """Both masks as something to add to the scores (B, H, L, S); the keys that are added here are seen by all."""
        parts = []
        if attn_mask is not None:
            bias = _additive("attn_mask", attn_mask, query.dtype)
            parts.append(bias if bias.ndim == 2 else bias.reshape(-1, self.num_heads, *bias.shape[1:]))
        if key_padding_mask is not None:
            bias = _additive("key_padding_mask", key_padding_mask, query.dtype)
            parts.append(bias.reshape(-1, 1, 1, bias.shape[-1]))
        if not parts:
            return None
        extra = (self.bias_k is not None) + self.add_zero_attn
        bias = parts[0] if len(parts) == 1 else parts[0] + parts[1]
        return pad(bias, (0, extra)) if extra else bias

    def _check(
        self, query: Tensor, key: Tensor, value: Tensor, key_padding_mask: Tensor | None, attn_mask: Tensor | None
    ) -> None:
        """AssertionError or RuntimeError, as PyTorch decides, for shapes that do not fit together."""
        shapes = f"got query {tuple(query.shape)}, key {tuple(key.shape)} and value {tuple(value.shape)}"
        if query.ndim not in (2, 3) or key.ndim != query.ndim or value.ndim != query.ndim:
            raise AssertionError(f"query, key and value must all be 3-D, or all 2-D without a batch; {shapes}")
        widths = self.embed_dim, self.kdim, self.vdim
        if tuple(x.shape[-1] for x in (query, key, value)) != widths:
            raise AssertionError(f"was expecting embedding dimension of {widths} for query, key and value; {shapes}")
        at = 1 if query.ndim == 3 and self.batch_first else 0  # the axis of the sequence
        length, keys = query.shape[at], key.shape[at]
        if key.shape[:-1] != value.shape[:-1]:
            raise AssertionError(f"key and value must be for the same keys; {shapes}")
        batch = query.shape[1 - at] if query.ndim == 3 else 1
        if query.ndim == 3 and key.shape[1 - at] != batch:
            raise RuntimeError(f"query and key must have the same batch size; {shapes}")
        expected: tuple[int, ...]
        if attn_mask is not None:
            if attn_mask.ndim not in (2, 3):
                raise AssertionError(f"expected attn_mask to be None, 2-D or 3-D but found {attn_mask.ndim}-D")
            expected = (length, keys) if attn_mask.ndim == 2 else (batch * self.num_heads, length, keys)
            if tuple(attn_mask.shape) != expected:
                error = AssertionError if query.ndim == 2 and attn_mask.ndim == 3 else RuntimeError
                raise error(
                    f"The shape of the attn_mask is {tuple(attn_mask.shape)}, but should be {expected}; {shapes}"
                )
        if key_padding_mask is not None:
            expected = (batch, keys) if query.ndim == 3 else (keys,)
            if tuple(key_padding_mask.shape) != expected:
                raise AssertionError(
                    f"Expected key_padding_mask of shape {expected}, but got {tuple(key_padding_mask.shape)}; {shapes}"
                )
