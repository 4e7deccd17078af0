"""Twins for CUDA and ROCm, compiled by CuPy when they are first needed. The text of the kernels is in the `.cu` files.

Importing this needs CuPy. The backend calls `register` when a GPU is first used.
"""

from __future__ import annotations

from ... import dispatch
from ...backend import gpu
from . import activation, attention, dropout, embedding, linear, loss, normalization, softmax
from .sums import Biased, Residual
from .twin import Twin

TWINS: tuple[type[Twin], ...] = (
    activation.GeluTanh,
    activation.Gelu,
    activation.Silu,
    activation.Sigmoid,
    activation.Tanh,
    dropout.Dropout,
    linear.Linear,
    linear.Matmul,
    normalization.LayerNorm,
    normalization.RmsNorm,
    softmax.Softmax,
    softmax.LogSoftmax,
    loss.CrossEntropy,
    embedding.Embedding,
    attention.Attention,
)


def register() -> None:
    """Let these twins run on CUDA."""
    gpu.array_types.update((Biased, Residual))
    for twin in TWINS:
        dispatch.register_twin(twin.op, "cuda", twin)
