"""GPT-2 weights in the layout that Hugging Face's transformers uses, read and written.

Differences from our own layout: names may start with `transformer.`; the weights of c_attn, c_proj and c_fc are stored
(in, out), as the Conv1D of the original code multiplied; each attention has mask buffers that are no weights; and
`lm_head.weight` is usually left out, being wte's weight again.
"""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

import numpy as np

import tinygrad_edu as tg

from .config import GPTConfig
from .files import atomic_write
from .model import GPT

WEIGHTS, CONFIG = "model.safetensors", "config.json"
_MASKS = re.compile(r"h\.\d+\.attn\.(bias|masked_bias)")
_TRANSPOSED = re.compile(r"h\.\d+\.(attn\.c_attn|attn\.c_proj|mlp\.c_fc|mlp\.c_proj)\.weight")
# Our field, and its names in a transformers config.
_FIELDS = {
    "block_size": ("n_positions", "n_ctx"),
    "vocab_size": ("vocab_size",),
    "n_layer": ("n_layer",),
    "n_head": ("n_head",),
    "n_embd": ("n_embd",),
}


def load(path: str | os.PathLike[str], n_head: int | None = None, dropout: float = 0.0) -> GPT:
    """The model stored in a folder (model.safetensors and config.json) or in a single .safetensors file.

    n_head is needed only for a file without config.json whose channels are not heads of 64, as GPT-2's are.
    FileNotFoundError: no such file. ValueError: missing, unexpected or wrong-shaped tensors, all of them named.
    """
    path = Path(path)
    file = path / WEIGHTS if path.is_dir() else path
    if not file.is_file():
        raise FileNotFoundError(f"no weights at {file}; expected a .safetensors file or a folder with {WEIGHTS}")
    loaded = tg.load(file)
    if not isinstance(loaded, dict) or not all(isinstance(t, tg.Tensor) for t in loaded.values()):
        raise ValueError(f"{file} does not hold a plain dictionary of tensors, so it is not a GPT-2 weight file")
    weights = {name.removeprefix("transformer."): t for name, t in loaded.items()}
    weights = {name: t for name, t in weights.items() if not _MASKS.fullmatch(name)}
    head = weights.pop("lm_head.weight", None)
    settings = _settings(file, weights, n_head)
    model = GPT(GPTConfig(**settings, dropout=dropout))
    _fill(model, weights, file)
    if head is not None and not np.array_equal(head.numpy(), weights["wte.weight"].numpy()):
        raise ValueError(f"{file}: lm_head.weight differs from wte.weight; this model's head is tied to the embedding")
    return model


def _settings(file: Path, weights: dict[str, Any], n_head: int | None) -> dict[str, Any]:
    """GPTConfig's fields, from config.json beside the weights or from the shapes of the weights."""
    beside = file.with_name(CONFIG)
    if beside.is_file():
        try:
            stored = json.loads(beside.read_text(encoding="utf-8"))
            settings = {ours: next(stored[t] for t in theirs if t in stored) for ours, theirs in _FIELDS.items()}
        except (ValueError, TypeError, StopIteration) as error:
            raise ValueError(f"{beside} is not a GPT-2 config, JSON with n_positions, n_embd ...: {error!r}") from None
        activation = stored.get("activation_function", "gelu_new")
        if activation not in ("gelu_new", "gelu_pytorch_tanh") or stored.get("layer_norm_epsilon", 1e-5) != 1e-5:
            raise ValueError(
                f"{beside}: expected activation_function gelu_new and layer_norm_epsilon 1e-5, as in GPT-2, got "
                f"{activation} and {stored.get('layer_norm_epsilon')}"
            )
        return settings
    for name in ("wte.weight", "wpe.weight"):
        if name not in weights or weights[name].ndim != 2:
            raise ValueError(f"{file} is no GPT-2: {name} is missing or not a matrix; names found: {_some(weights)}")
    layers = [int(m[1]) for m in (re.match(r"h\.(\d+)\.", name) for name in weights) if m]
    vocab_size, n_embd = weights["wte.weight"].shape
    if n_head is None and n_embd % 64:
        raise ValueError(f"{file}: cannot tell the number of heads of {n_embd} channels without {CONFIG}; pass n_head=")
    return {
        "block_size": weights["wpe.weight"].shape[0],
        "vocab_size": vocab_size,
        "n_layer": max(layers, default=0) + 1,
        "n_head": n_embd // 64 if n_head is None else n_head,
        "n_embd": n_embd,
    }


def _fill(model: GPT, weights: dict[str, Any], file: Path) -> None:
    """Copy the weights into the model; nothing is copied unless every tensor fits."""
    params = dict(model.named_parameters())
    problems = []
    for name in sorted(params.keys() | weights.keys()):
        if name not in weights:
            problems.append(f"{name} is missing")
        elif name not in params:
            problems.append(f"{name} is unexpected")
        else:
            expected = params[name].shape[::-1] if _TRANSPOSED.fullmatch(name) else params[name].shape
            if tuple(weights[name].shape) != tuple(expected):
                problems.append(f"{name} has shape {tuple(weights[name].shape)}, expected {tuple(expected)}")
            elif not weights[name].is_floating_point():
                problems.append(f"{name} has dtype {weights[name].dtype}, expected a floating dtype")
    if problems:
        raise ValueError(f"{file} does not fit {model.config}: " + "; ".join(problems))
    with tg.no_grad():
        for name, p in params.items():
            p.copy_(weights[name].T if _TRANSPOSED.fullmatch(name) else weights[name])


def save(model: GPT, folder: str | os.PathLike[str]) -> None:
    """Write the model as model.safetensors and config.json, readable by transformers' GPT2LMHeadModel."""
    folder = Path(folder)
    c = model.config
    if not c.bias:
        raise ValueError("GPT-2's layout has biases everywhere; a model made with bias=False cannot be written in it")
    weights = {
        f"transformer.{name}": (p.detach().T.contiguous() if _TRANSPOSED.fullmatch(name) else p.detach())
        for name, p in model.named_parameters()
    }
    settings = {
        "model_type": "gpt2", "architectures": ["GPT2LMHeadModel"], "activation_function": "gelu_new",
        "layer_norm_epsilon": 1e-5, "n_positions": c.block_size, "n_ctx": c.block_size, "vocab_size": c.vocab_size,
        "n_layer": c.n_layer, "n_head": c.n_head, "n_embd": c.n_embd, "tie_word_embeddings": True,
        "embd_pdrop": c.dropout, "attn_pdrop": c.dropout, "resid_pdrop": c.dropout,
    }  # fmt: skip
    tg.save(weights, folder / WEIGHTS)
    with atomic_write(folder / CONFIG) as out:
        out.write(json.dumps(settings, indent=1).encode("utf-8"))


def _some(weights: dict[str, Any]) -> str:
    names = sorted(weights)
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "") if names else "none"
