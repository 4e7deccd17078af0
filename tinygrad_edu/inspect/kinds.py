"""What kind of operation each is, which colours show."""

from __future__ import annotations

from collections.abc import Iterable

from .replay import reference_ops

# By the module of ops/ that an op stands in.
KINDS = {
    "linalg": "products",
    "convolution": "products",
    "attention": "products",
    "recurrent": "recurrent",
    "elementwise": "elementwise",
    "special": "elementwise",
    "erf": "elementwise",
    "activation": "activation",
    "dropout": "elementwise",
    "normalization": "normalization",
    "reduction": "reduction",
    "pooling": "reduction",
    "shape": "shape",
    "windows": "shape",
    "transfer": "shape",
    "indexing": "indexing",
    "embedding": "indexing",
    "loss": "loss",
}
# What a box with several operations is called by comes first.
RANKED = (
    "loss", "products", "recurrent", "normalization", "activation", "indexing", "own", "reduction", "elementwise",
    "shape", "other",
)  # fmt: skip


def kind(name: str) -> str:
    """The kind of the op with this name; "own" is a Function of the user's own."""
    op = reference_ops().get(name)
    return "own" if op is None else KINDS.get(op.__module__.rpartition(".")[2], "other")


def chief(names: Iterable[str]) -> str:
    """The kind that is told first among those of these ops."""
    return min(map(kind, names), key=RANKED.index)
