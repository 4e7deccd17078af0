"""A table of vectors, looked up by index."""

from __future__ import annotations

from typing import Any

from ..autograd.modes import no_grad
from ..creation import empty
from ..functional.embedding import embedding, embedding_bag
from ..tensor import Tensor
from . import init
from .module import Module
from .parameter import Parameter


def _row(padding_idx: int | None, num_embeddings: int) -> int | None:
    """padding_idx as a number from 0 on. AssertionError: it is no row of the table."""
    if padding_idx is None:
        return None
    if not -num_embeddings <= padding_idx < num_embeddings:
        raise AssertionError(f"padding_idx must be within num_embeddings, got {padding_idx} for {num_embeddings}")
    return padding_idx % num_embeddings


def _reset(weight: Parameter, padding_idx: int | None) -> None:
    """Draw the table anew from N(0, 1), with zeros in the padding's row."""
    init.normal_(weight)
    if padding_idx is not None:
        with no_grad():
            weight[padding_idx].fill_(0)


class Embedding(Module):
    """The rows of weight that the integers of the input name.

    Shapes: x (...) of integers in 0 .. num_embeddings-1 -> y (..., embedding_dim); weight (num_embeddings,
    embedding_dim), which starts as N(0, 1). The row padding_idx starts as zeros and gets no gradient.
    max_norm: rows longer than this, by the norm_type-norm, are shortened in place when they are looked up.
    scale_grad_by_freq: the gradient of a row is divided by how often it is looked up.
    AssertionError: padding_idx is not a row of the table. IndexError, in forward: an index is not.
    """

    def __init__(
        self, num_embeddings: int, embedding_dim: int, padding_idx: int | None = None, max_norm: float | None = None,
        norm_type: float = 2.0, scale_grad_by_freq: bool = False, *, device: Any = None, dtype: Any = None,
        _weight: Tensor | None = None, _freeze: bool = False,
    ) -> None:  # fmt: skip
        super().__init__()
        self.num_embeddings, self.embedding_dim = num_embeddings, embedding_dim
        self.padding_idx = _row(padding_idx, num_embeddings)
        self.max_norm, self.norm_type, self.scale_grad_by_freq = max_norm, norm_type, scale_grad_by_freq
        if _weight is None:
            self.weight = Parameter(empty(num_embeddings, embedding_dim, device=device, dtype=dtype), not _freeze)
            self.reset_parameters()
        else:
            self.weight = Parameter(_weight, not _freeze)

    @classmethod
    def from_pretrained(
        cls, embeddings: Tensor, freeze: bool = True, padding_idx: int | None = None, max_norm: float | None = None,
        norm_type: float = 2.0, scale_grad_by_freq: bool = False,
    ) -> Embedding:  # fmt: skip
        """An embedding with this table (V, C), whose memory it shares; freeze=False lets it learn on."""
        if embeddings.ndim != 2:
            raise AssertionError(f"expected a table of 2 dimensions, got shape {tuple(embeddings.shape)}")
        rows, width = embeddings.shape
        return cls(
            rows, width, padding_idx, max_norm, norm_type, scale_grad_by_freq, _weight=embeddings, _freeze=freeze
        )

    def reset_parameters(self) -> None:
        """Draw the table anew."""
        _reset(self.weight, self.padding_idx)

    def forward(self, input: Tensor) -> Tensor:
        return embedding(input, self.weight, self.padding_idx, self.max_norm, self.norm_type, self.scale_grad_by_freq)

    def extra_repr(self) -> str:
        unusual = {
            "padding_idx": self.padding_idx,
            "max_norm": self.max_norm,
            "norm_type": self.norm_type if self.norm_type != 2 else None,
            "scale_grad_by_freq": self.scale_grad_by_freq or None,
        }
        settings = "".join(f", {name}={value}" for name, value in unusual.items() if value is not None)
        return f"{self.num_embeddings}, {self.embedding_dim}{settings}"


class EmbeddingBag(Module):
    """The mean, sum or largest elements of the rows of weight that each bag of indices names.

    Shapes: input (B, L), bags of one size, or (N) with offsets (B) that say where each bag starts -> y (B,
    embedding_dim); weight (num_embeddings, embedding_dim), which starts as N(0, 1). An empty bag gives zeros. The row
    padding_idx starts as zeros and does not count. include_last_offset: one more offset says where the last bag ends.
    per_sample_weights, in mode "sum": a factor for each index.
    """

    def __init__(
        self, num_embeddings: int, embedding_dim: int, max_norm: float | None = None, norm_type: float = 2.0,
        scale_grad_by_freq: bool = False, mode: str = "mean", sparse: bool = False, _weight: Tensor | None = None,
        include_last_offset: bool = False, padding_idx: int | None = None, device: Any = None, dtype: Any = None,
    ) -> None:  # fmt: skip
        super().__init__()
        self.num_embeddings, self.embedding_dim = num_embeddings, embedding_dim
        self.max_norm, self.norm_type, self.scale_grad_by_freq = max_norm, norm_type, scale_grad_by_freq
        self.mode, self.sparse, self.include_last_offset = mode, sparse, include_last_offset
        self.padding_idx = _row(padding_idx, num_embeddings)
        if _weight is None:
            self.weight = Parameter(empty(num_embeddings, embedding_dim, device=device, dtype=dtype))
            self.reset_parameters()
        elif tuple(_weight.shape) == (num_embeddings, embedding_dim):
            self.weight = Parameter(_weight)
        else:
            raise AssertionError(f"expected a table {(num_embeddings, embedding_dim)}, got {tuple(_weight.shape)}")

    @classmethod
    def from_pretrained(
        cls, embeddings: Tensor, freeze: bool = True, max_norm: float | None = None, norm_type: float = 2.0,
        scale_grad_by_freq: bool = False, mode: str = "mean", sparse: bool = False, include_last_offset: bool = False,
        padding_idx: int | None = None,
    ) -> EmbeddingBag:  # fmt: skip
        """Bags over this table (V, C), whose memory they share; freeze=False lets it learn on."""
        if embeddings.ndim != 2:
            raise AssertionError(f"expected a table of 2 dimensions, got shape {tuple(embeddings.shape)}")
        rows, width = embeddings.shape
        made = cls(
            rows, width, max_norm, norm_type, scale_grad_by_freq, mode, sparse, embeddings, include_last_offset,
            padding_idx,
        )  # fmt: skip
        made.weight.requires_grad = not freeze
        return made

    def reset_parameters(self) -> None:
        """Draw the table anew."""
        _reset(self.weight, self.padding_idx)

    def forward(self, input: Tensor, offsets: Tensor | None = None, per_sample_weights: Tensor | None = None) -> Tensor:
        return embedding_bag(
            input, self.weight, offsets, self.max_norm, self.norm_type, self.scale_grad_by_freq, self.mode, self.sparse,
            per_sample_weights, self.include_last_offset, self.padding_idx,
        )  # fmt: skip

    def extra_repr(self) -> str:
        settings = {
            "max_norm": self.max_norm,
            "norm_type": self.norm_type if self.norm_type != 2 else None,
            "scale_grad_by_freq": self.scale_grad_by_freq or None,
            "mode": self.mode,
            "padding_idx": self.padding_idx,
        }
        shown = "".join(f", {name}={value!r}" for name, value in settings.items() if value is not None)
        return f"{self.num_embeddings}, {self.embedding_dim}{shown}"
