"""GPT-2 weights in the layout that Hugging Face's transformers uses, read and written.

A folder with model.safetensors and config.json. `layout` lists its tensors. It differs from ours in this: names may
start with `transformer.`; the matrices of attention and MLP are stored (in, out), as the Conv1D of the original code
multiplied; each attention may have mask buffers, which are no weights; `lm_head.weight` is usually left out, being
wte's again.
"""

from __future__ import annotations

import json
import os
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import tinygrad_edu as tg

from .config import SIZES, GPTConfig
from .files import atomic_write
from .model import GPT

WEIGHTS, CONFIG = "model.safetensors", "config.json"
_MASK = re.compile(r"h\.[0-9]+\.attn\.(bias|masked_bias)")
_CONV1D = re.compile(r"h\.[0-9]+\.(attn|mlp)\.c_[a-z]+\.weight")
# What transformers calls our settings, and settings of its own at which alone its model computes what ours does.
_NAMES = {
    "block_size": "n_positions", "vocab_size": "vocab_size", "n_layer": "n_layer", "n_head": "n_head",
    "n_embd": "n_embd",
}  # fmt: skip
_FIXED = {
    "model_type": ("gpt2",),
    "activation_function": ("gelu_new", "gelu_pytorch_tanh"),
    "layer_norm_epsilon": (1e-5,),
    "scale_attn_weights": (True,),
    "scale_attn_by_inverse_layer_idx": (False,),
    "tie_word_embeddings": (True,),
}


def layout(config: GPTConfig) -> dict[str, tuple[int, ...]]:
    """Name and shape of every tensor that the file of a model of this configuration holds."""
    C = config.n_embd
    block = {
        "ln_1.weight": (C,), "ln_1.bias": (C,),
        "attn.c_attn.weight": (C, 3 * C), "attn.c_attn.bias": (3 * C,),
        "attn.c_proj.weight": (C, C), "attn.c_proj.bias": (C,),
        "ln_2.weight": (C,), "ln_2.bias": (C,),
        "mlp.c_fc.weight": (C, 4 * C), "mlp.c_fc.bias": (4 * C,),
        "mlp.c_proj.weight": (4 * C, C), "mlp.c_proj.bias": (C,),
    }  # fmt: skip
    return {
        "wte.weight": (config.vocab_size, C),
        "wpe.weight": (config.block_size, C),
        **{f"h.{i}.{name}": shape for i in range(config.n_layer) for name, shape in block.items()},
        "ln_f.weight": (C,),
        "ln_f.bias": (C,),
    }


def load(path: str | os.PathLike[str], n_head: int | None = None, dropout: float = 0.0) -> GPT:
    """The model stored in a folder (model.safetensors and config.json) or in a single .safetensors file.

    n_head: the number of heads, which the weights do not tell; needed if there is no config.json beside them and they
    are not as wide as one of the four published sizes.
    FileNotFoundError: no such file. ValueError: a damaged file, another model than GPT-2, or tensors that are missing,
    unexpected, of another shape or dtype: they are named.
    """
    path = Path(path)
    file = path / WEIGHTS if path.is_dir() else path
    if not file.is_file():
        raise FileNotFoundError(
            f"there are no weights at {file}; name a .safetensors file, or a folder that holds {WEIGHTS} and {CONFIG} "
            "as transformers' save_pretrained writes them (nothing is downloaded)"
        )
    weights = _weights(file)
    config = _config(file, weights, n_head, dropout)
    _check(file, weights, config)
    with tg.nn.init.no_init():
        model = GPT(config)
    with tg.no_grad():
        for name, p in model.named_parameters():
            stored = weights.pop(name)  # so that its memory is free before the next one is copied
            p.copy_(stored.T if _CONV1D.fullmatch(name) else stored)
    return model


def _weights(file: Path) -> dict[str, tg.Tensor]:
    """The tensors in the file that are weights, by their names without prefix."""
    loaded = tg.load(file)
    if not isinstance(loaded, dict) or not all(isinstance(t, tg.Tensor) for t in loaded.values()):
        raise ValueError(f"{file} does not hold a plain dictionary of tensors, so it is not a GPT-2 weight file")
    weights: dict[str, tg.Tensor] = {}
    for name, tensor in loaded.items():
        name = str(name).removeprefix("transformer.")
        if name in weights:
            raise ValueError(f"{file} holds two tensors {name}, with the prefix transformer. and without; remove one")
        if not _MASK.fullmatch(name):
            weights[name] = tensor
    head, wte = weights.pop("lm_head.weight", None), weights.get("wte.weight")
    if head is not None and wte is not None and not (head.shape == wte.shape and bool((head == wte).all())):
        raise ValueError(f"{file}: lm_head.weight differs from wte.weight; this model's head is tied to the embedding")
    return weights


def _config(file: Path, weights: dict[str, tg.Tensor], n_head: int | None, dropout: float) -> GPTConfig:
    """The configuration in config.json beside the weights, or what the shapes of the weights tell."""
    source = file.with_name(CONFIG)
    if source.is_file():
        settings = _stored_settings(source)
    else:
        source, settings = file, _told_by_shapes(file, weights)
    if n_head is not None:
        settings["n_head"] = n_head
    if "n_head" not in settings:
        raise ValueError(f"{file}: the number of heads is unknown, since there is no {CONFIG} beside it; pass n_head=")
    try:
        config = GPTConfig(**settings)
    except ValueError as error:
        raise ValueError(f"{source} does not describe a GPT-2: {error}") from None
    if config.n_layer > len(weights):  # before anything is made in that number
        raise ValueError(f"{source} says n_layer={config.n_layer}, but {file} holds only {len(weights)} tensors")
    return replace(config, dropout=dropout)


def _stored_settings(file: Path) -> dict[str, Any]:
    """GPTConfig's fields from a config.json of transformers."""
    try:
        stored = json.loads(file.read_bytes())
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{file} is damaged: it is not JSON ({error})") from None
    if not isinstance(stored, dict):
        raise ValueError(f"{file} is no configuration of GPT-2: expected a JSON object, got {str(stored)[:60]}")
    for name, allowed in _FIXED.items():
        if name in stored and stored[name] not in allowed:
            expected = " or ".join(map(str, allowed))
            raise ValueError(f"{file}: {name} is {stored[name]!r}, expected {expected}, as in GPT-2")
    missing = [theirs for theirs in _NAMES.values() if theirs not in stored]
    if missing:
        raise ValueError(f"{file} is no configuration of GPT-2: {', '.join(missing)} missing")
    return {ours: stored[theirs] for ours, theirs in _NAMES.items()}


def _told_by_shapes(file: Path, weights: dict[str, tg.Tensor]) -> dict[str, Any]:
    """GPTConfig's fields as far as the weights tell them; n_head only for the widths of the published sizes."""
    for name in ("wte.weight", "wpe.weight"):
        if name not in weights or weights[name].ndim != 2:
            raise ValueError(
                f"{file} is no GPT-2: {name} is missing or not a matrix; it holds {_listed(sorted(weights))}"
            )
    (vocab_size, n_embd), block_size = weights["wte.weight"].shape, weights["wpe.weight"].shape[0]
    layers = {match[1] for name in weights if (match := re.match(r"h\.([0-9]+)\.", name))}
    heads = {size["n_embd"]: size["n_head"] for size in SIZES.values()}
    return {
        "block_size": block_size, "vocab_size": vocab_size, "n_layer": max(len(layers), 1), "n_embd": n_embd,
        **({"n_head": heads[n_embd]} if n_embd in heads else {}),
    }  # fmt: skip


def _check(file: Path, weights: dict[str, tg.Tensor], config: GPTConfig) -> None:
    """ValueError: the weights are not those of this configuration. It names every tensor that is wrong."""
    expected, problems = layout(config), []
    for name in (*expected, *sorted(weights.keys() - expected.keys())):
        if name not in weights:
            problems.append(f"{name} is missing")
        elif name not in expected:
            problems.append(f"{name} is unexpected")
        elif weights[name].shape != expected[name]:
            problems.append(f"{name} has shape {tuple(weights[name].shape)}, expected {expected[name]}")
        elif not weights[name].is_floating_point():
            problems.append(f"{name} has dtype {weights[name].dtype}, expected a floating one")
    if problems:
        raise ValueError(f"{file} does not fit {config}: {_listed(problems, most=20)}")


def save(model: GPT, folder: str | os.PathLike[str]) -> None:
    """Write the model as model.safetensors and config.json, which transformers' GPT2LMHeadModel reads.

    Biases that the model was made without are written as zeros, since the layout has them everywhere.
    OSError: a file could not be written; what stood there before is whole.
    """
    folder, c = Path(folder), model.config
    folder.mkdir(parents=True, exist_ok=True)
    own = dict(model.named_parameters())
    weights = {}
    for name, shape in layout(c).items():
        p = own[name].detach() if name in own else tg.zeros(shape, dtype=model.wte.weight.dtype)
        weights[f"transformer.{name}"] = p.T if _CONV1D.fullmatch(name) else p
    settings = {
        "architectures": ["GPT2LMHeadModel"],
        **{name: allowed[0] for name, allowed in _FIXED.items()},
        **{theirs: getattr(c, ours) for ours, theirs in _NAMES.items()},
        "embd_pdrop": c.dropout, "attn_pdrop": c.dropout, "resid_pdrop": c.dropout,
    }  # fmt: skip
    tg.save(weights, folder / WEIGHTS)
    with atomic_write(folder / CONFIG) as out:
        out.write(json.dumps(settings, indent=1).encode("utf-8"))


def _listed(items: list[str], most: int = 5) -> str:
    more = f" and {len(items) - most} more" if len(items) > most else ""
    return "; ".join(items[:most]) + more if items else "nothing"
