"""A table of vectors, looked up by index."""

from __future__ import annotations

from typing import Any

from ..autograd.modes import no_grad
from ..creation import empty
from ..functional.embedding import embedding
from ..tensor import Tensor
from . import init
from .module import Module
from .parameter import Parameter


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
        if padding_idx is not None and not -num_embeddings <= padding_idx < num_embeddings:
            raise AssertionError(f"padding_idx must be within num_embeddings, got {padding_idx} for {num_embeddings}")
        self.num_embeddings, self.embedding_dim = num_embeddings, embedding_dim
        self.padding_idx = None if padding_idx is None else padding_idx % num_embeddings
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
        init.normal_(self.weight)
        if self.padding_idx is not None:
            with no_grad():
                self.weight[self.padding_idx].fill_(0)

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
