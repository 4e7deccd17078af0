"""GPT-2 weights in transformers' layout: read, written, refused; and beside transformers itself."""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
import safetensors.torch
import torch
from test_model import CONFIG, close, shaken, tokens

import tinygrad_edu as tg
from gpt.config import GPTConfig
from gpt.model import GPT
from gpt.pretrained import layout

torch.set_num_threads(1)
SETTINGS = {"n_positions": 12, "n_ctx": 12, "vocab_size": 29, "n_layer": 3, "n_head": 4, "n_embd": 16}
Tensors = dict[str, np.ndarray]


def published(model: GPT) -> Tensors:
    """The weights as transformers stores them: the matrices of attention and MLP in x out."""
    found = {}
    for name, p in model.named_parameters():
        x = p.detach().numpy()
        conv1d = name.startswith("h.") and name.endswith(("c_attn.weight", "c_proj.weight", "c_fc.weight"))
        found[name] = np.ascontiguousarray(x.T if conv1d else x)
    return found


def write(folder: Path, tensors: Tensors, settings: Any = SETTINGS) -> Path:
    folder.mkdir(exist_ok=True)
    safetensors.numpy.save_file(tensors, folder / "model.safetensors")
    if settings is not None:
        (folder / "config.json").write_text(json.dumps(settings), encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def model() -> GPT:
    return shaken(GPT(CONFIG))


@pytest.fixture
def tensors(model) -> Tensors:
    return published(model)


def same(a: GPT, b: GPT) -> None:
    assert a.config == b.config
    expected = b.state_dict()
    assert list(a.state_dict()) == list(expected)
    for name, t in a.state_dict().items():
        assert t.dtype == tg.float32 and t.is_contiguous() and np.array_equal(t.numpy(), expected[name].numpy()), name
    assert a.lm_head.weight is a.wte.weight and all(p.requires_grad and p.is_leaf for p in a.parameters())


# ---- read and written ------------------------------------------------------------------------------------------------


def test_what_is_saved_comes_back(model, tmp_path):
    folder = tmp_path / "runs" / "new"
    model.save_pretrained(folder)
    assert sorted(file.name for file in folder.iterdir()) == ["config.json", "model.safetensors"]
    same(GPT.from_pretrained(folder), model)
    same(GPT.from_pretrained(str(folder / "model.safetensors")), model)
    shaken(model_again := GPT(CONFIG), seed=9)
    model_again.save_pretrained(folder)  # in the place of the old one
    same(GPT.from_pretrained(folder), model_again)


def test_the_saved_file_has_the_published_layout(model, tensors, tmp_path):
    model.save_pretrained(tmp_path)
    found = safetensors.numpy.load_file(tmp_path / "model.safetensors")
    assert found.keys() == {f"transformer.{name}" for name in tensors}
    for name, x in tensors.items():
        assert np.array_equal(found[f"transformer.{name}"], x), name
    settings = json.loads((tmp_path / "config.json").read_text("utf-8"))
    expected = {"model_type": "gpt2", "activation_function": "gelu_new", "layer_norm_epsilon": 1e-5}
    shape = {name: value for name, value in SETTINGS.items() if name != "n_ctx"}
    assert {name: settings[name] for name in (*expected, *shape)} == {**expected, **shape}


def test_layout_lists_what_the_model_has(tensors):
    assert {name: x.shape for name, x in tensors.items()} == layout(CONFIG)


def test_a_model_without_biases_is_written_with_zeros(tmp_path):
    model = shaken(GPT(replace(CONFIG, bias=False)))
    model.save_pretrained(tmp_path)
    found = GPT.from_pretrained(tmp_path)
    assert found.config == CONFIG
    idx = tg.tensor(tokens(2, 12))
    np.testing.assert_allclose(found(idx, idx)[0].tolist(), model(idx, idx)[0].tolist(), rtol=0, atol=1e-6)
    assert not any(p.detach().numpy().any() for name, p in found.named_parameters() if name.endswith("bias"))


@pytest.mark.parametrize("prefix", ["", "transformer."])
@pytest.mark.parametrize("head", [False, True])
@pytest.mark.parametrize("masks", [False, True])
def test_every_variant_of_the_layout(model, tensors, tmp_path, prefix, head, masks):
    stored = {prefix + name: x for name, x in tensors.items()}
    if head:
        stored["lm_head.weight"] = tensors["wte.weight"].copy()
    if masks:
        for i in range(3):
            stored[f"{prefix}h.{i}.attn.bias"] = np.tril(np.ones((1, 1, 12, 12), np.bool_))
            stored[f"{prefix}h.{i}.attn.masked_bias"] = np.array(-1e4, np.float32)
    same(GPT.from_pretrained(write(tmp_path, stored)), model)


def test_some_names_with_prefix_and_some_without(model, tensors, tmp_path):
    stored = {("transformer." if name.startswith("h.") else "") + name: x for name, x in tensors.items()}
    same(GPT.from_pretrained(write(tmp_path, stored)), model)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64], ids=str)
def test_other_floating_dtypes_become_float32(tensors, tmp_path, dtype):
    stored = {name: torch.tensor(x).to(dtype) for name, x in tensors.items()}
    stored["lm_head.weight"] = stored["wte.weight"].clone()
    write(tmp_path, {})
    safetensors.torch.save_file(stored, tmp_path / "model.safetensors")
    found = published(GPT.from_pretrained(tmp_path))
    for name, x in found.items():
        assert x.dtype == np.float32 and np.array_equal(x, stored[name].float().numpy()), name


def test_a_half_precision_model_comes_back_as_float32(tmp_path):
    model = shaken(GPT(CONFIG)).half()
    model.save_pretrained(tmp_path)
    same(GPT.from_pretrained(tmp_path), model.float())


def test_dropout_is_chosen_when_loading(model, tensors, tmp_path):
    write(tmp_path, tensors, {**SETTINGS, "embd_pdrop": 0.1, "attn_pdrop": 0.1, "resid_pdrop": 0.1})
    assert GPT.from_pretrained(tmp_path).config.dropout == 0.0
    found = GPT.from_pretrained(tmp_path, dropout=0.3)
    assert found.config == replace(CONFIG, dropout=0.3) and found.drop.p == 0.3
    with pytest.raises(ValueError, match="dropout must be in"):
        GPT.from_pretrained(tmp_path, dropout=1.5)


def test_a_single_file_without_config(model, tensors, tmp_path):
    file = write(tmp_path, tensors, None) / "model.safetensors"
    file = file.rename(tmp_path / "tiny.safetensors")
    same(GPT.from_pretrained(file, n_head=4), model)
    with pytest.raises(ValueError, match=r"tiny.safetensors: the number of heads is unknown, .*; pass n_head="):
        GPT.from_pretrained(file)
    with pytest.raises(ValueError, match="n_embd=16 is not divisible by n_head=5"):
        GPT.from_pretrained(file, n_head=5)
    with pytest.raises(ValueError, match="n_head must be int, got '4'"):
        GPT.from_pretrained(file, n_head="4")


def test_a_single_file_of_a_published_width_tells_its_heads(tmp_path):
    config = GPTConfig(block_size=4, vocab_size=5, n_layer=1, n_head=12, n_embd=768)
    file = write(tmp_path, published(GPT(config)), None) / "model.safetensors"
    assert GPT.from_pretrained(file).config == config


def test_the_given_number_of_heads_comes_first(tensors, tmp_path):
    assert GPT.from_pretrained(write(tmp_path, tensors), n_head=2).config.n_head == 2


def test_settings_that_change_nothing_are_accepted(model, tensors, tmp_path):
    usual = {
        "model_type": "gpt2", "activation_function": "gelu_pytorch_tanh", "layer_norm_epsilon": 1e-05, "n_inner": None,
        "scale_attn_weights": True, "scale_attn_by_inverse_layer_idx": False, "tie_word_embeddings": True,
        "initializer_range": 0.02, "architectures": ["GPT2LMHeadModel"], "task_specific_params": {"x": [1]},
    }  # fmt: skip
    same(GPT.from_pretrained(write(tmp_path, tensors, {**SETTINGS, **usual})), model)


def test_loading_draws_no_random_numbers(tensors, tmp_path):
    write(tmp_path, tensors)
    before = tg.get_rng_state().tolist()
    GPT.from_pretrained(tmp_path)
    assert tg.get_rng_state().tolist() == before


# ---- refused: tensors ------------------------------------------------------------------------------------------------


def refused(path: Path, *messages: str, **options: Any) -> None:
    """It is refused with a message that holds all these, and the files are as they were."""
    before = {file: file.read_bytes() for file in path.rglob("*")} if path.is_dir() else {}
    with pytest.raises(ValueError) as error:
        GPT.from_pretrained(path, **options)
    for message in messages:
        assert message in str(error.value)
    assert "\n" not in str(error.value) and len(str(error.value)) < 2500
    assert {file: file.read_bytes() for file in before} == before


def changed(name: str, x: np.ndarray | None) -> Callable[[Tensors], None]:
    def change(tensors: Tensors) -> None:
        if x is None:
            del tensors[name]
        else:
            tensors[name] = x

    return change


F32 = np.float32
PROBLEMS = {
    "wte.weight": (None, "wte.weight is missing"),
    "wpe.weight": (None, "wpe.weight is missing"),
    "ln_f.bias": (None, "ln_f.bias is missing"),
    "h.1.attn.c_attn.weight": (None, "h.1.attn.c_attn.weight is missing"),
    "h.2.mlp.c_proj.bias": (np.zeros(17, F32), "h.2.mlp.c_proj.bias has shape (17,), expected (16,)"),
    "h.0.attn.c_attn.bias": (np.zeros((48, 1), F32), "h.0.attn.c_attn.bias has shape (48, 1), expected (48,)"),
    "h.0.mlp.c_fc.weight": (np.zeros((64, 16), F32), "h.0.mlp.c_fc.weight has shape (64, 16), expected (16, 64)"),
    "h.0.ln_1.weight": (np.array(1.0, F32), "h.0.ln_1.weight has shape (), expected (16,)"),
    "h.1.ln_2.bias": (np.zeros(16, np.int64), "h.1.ln_2.bias has dtype tinygrad_edu.int64, expected a floating one"),
    "ln_f.weight": (np.ones(16, bool), "ln_f.weight has dtype tinygrad_edu.bool, expected a floating one"),
    "h.3.ln_1.weight": (np.zeros(16, F32), "h.3.ln_1.weight is unexpected"),
    "h.00.ln_1.weight": (np.zeros(16, F32), "h.00.ln_1.weight is unexpected"),
    "h.0.crossattention.c_attn.weight": (np.zeros((16, 48), F32), "crossattention.c_attn.weight is unexpected"),
    "score.weight": (np.zeros((2, 16), F32), "score.weight is unexpected"),
    "lm_head.weight": (np.zeros((29, 16), F32), "lm_head.weight differs from wte.weight"),
    "transformer.wpe.weight": (np.zeros((12, 16), F32), "two tensors wpe.weight, with the prefix transformer. and"),
}


@pytest.mark.parametrize("name", PROBLEMS)
def test_a_wrong_tensor_is_named(tensors, tmp_path, name):
    x, message = PROBLEMS[name]
    changed(name, x)(tensors)
    refused(write(tmp_path, tensors), "model.safetensors", message)


def test_all_wrong_tensors_are_named_at_once(tensors, tmp_path):
    del tensors["h.1.ln_1.weight"], tensors["wpe.weight"]
    tensors["h.0.attn.c_proj.bias"] = np.zeros(3, F32)
    tensors["extra"] = np.zeros(3, F32)
    refused(
        write(tmp_path, tensors), "h.1.ln_1.weight is missing", "wpe.weight is missing", "extra is unexpected",
        "h.0.attn.c_proj.bias has shape (3,)",
    )  # fmt: skip


def test_very_many_wrong_tensors_are_counted(tensors, tmp_path):
    del tensors["ln_f.bias"]
    tensors |= {f"x{i}": np.zeros(1, F32) for i in range(500)}
    refused(write(tmp_path, tensors), "ln_f.bias is missing; x0 is unexpected; x1 is unexpected;", " and 481 more")


def test_a_missing_layer(tensors, tmp_path):
    layers = {name: x for name, x in tensors.items() if not name.startswith("h.2.")}
    refused(write(tmp_path, layers), "h.2.attn.c_attn.bias is missing", "h.2.mlp.c_proj.weight is missing")


def test_a_head_of_another_shape(tensors, tmp_path):
    refused(write(tmp_path, {**tensors, "lm_head.weight": np.zeros((30, 16), F32)}), "lm_head.weight differs")


def test_weights_stored_as_out_times_in(tmp_path):
    """Those of this package's own checkpoints, for one: the transposition would go unseen in square matrices."""
    model = shaken(GPT(CONFIG))
    stored = {name: p.detach().numpy() for name, p in model.named_parameters()}
    refused(write(tmp_path, stored), "h.0.attn.c_attn.weight has shape (48, 16), expected (16, 48)")


@pytest.mark.parametrize("name, x, message", [
    ("wte.weight", None, "wte.weight is missing or not a matrix; it holds h.0.attn.c_attn.bias;"),
    ("wpe.weight", np.zeros(12, F32), "wpe.weight is missing or not a matrix"),
    ("wte.weight", np.zeros((0, 16), F32), "vocab_size must be a positive integer, got 0"),
    ("wte.weight", np.zeros((1, 10**6), F32), "h.0.mlp.c_fc.weight has shape (16, 64), expected (1000000, 4000000)"),
    ("h.999999999999.ln_1.weight", np.zeros(16, F32), "h.999999999999.ln_1.weight is unexpected"),
    ("h.7.ln_1.weight", np.zeros(16, F32), "h.7.ln_1.weight is unexpected"),
], ids=str)  # fmt: skip
def test_hostile_shapes_without_a_config(tensors, tmp_path, name, x, message):
    """Sizes are taken from the file, but nothing of that size is made before all of them fit."""
    changed(name, x)(tensors)
    refused(write(tmp_path, tensors, None), message, n_head=1)


def test_a_file_without_layers(tensors, tmp_path):
    stored = {name: x for name, x in tensors.items() if not name.startswith("h.")}
    refused(write(tmp_path, stored, None), "h.0.attn.c_attn.weight is missing", n_head=4)


# ---- refused: files --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["gpt2", "gpt2.safetensors", "folder", "folder/model.safetensors"])
def test_nothing_there(tmp_path, name):
    (tmp_path / "folder").mkdir()
    with pytest.raises(FileNotFoundError, match=r"there are no weights at .*nothing is downloaded"):
        GPT.from_pretrained(tmp_path / name)


def header(text: bytes, data: bytes = b"") -> bytes:
    return struct.pack("<Q", len(text)) + text + data


@pytest.mark.parametrize("content", [
    b"", b"GPT", b"\0" * 8, struct.pack("<Q", 2**63) + b"{}", header(b"{"), header(b"[]"), header(b'{"wte.weight": 3}'),
    header(b'{"wte.weight":{"dtype":"F32","shape":[2,2],"data_offsets":[0,16]}}', b"\0" * 15),
    header(b'{"wte.weight":{"dtype":"F32","shape":[2,2],"data_offsets":[0,8]}}', b"\0" * 8),
    header(b'{"wte.weight":{"dtype":"F32","shape":[99999999999,99999999999],"data_offsets":[0,16]}}', b"\0" * 16),
    header(b'{"wte.weight":{"dtype":"F32","shape":[-1,4],"data_offsets":[0,16]}}', b"\0" * 16),
    b"\x80\x02}q\x00.", b"PK\x03\x04" + b"\0" * 40,
], ids=lambda content: repr(content[:40]))  # fmt: skip
def test_a_file_that_is_no_safetensors_file(tmp_path, content):
    (tmp_path / "model.safetensors").write_bytes(content)
    refused(tmp_path, "model.safetensors")


@pytest.mark.parametrize("part", [0.001, 0.3, 0.9, 0.9999])
def test_a_truncated_file(tensors, tmp_path, part):
    file = write(tmp_path, tensors) / "model.safetensors"
    whole = file.read_bytes()
    file.write_bytes(whole[: int(part * len(whole))])
    refused(tmp_path, "truncated, damaged or of another format")


def test_other_things_saved_by_this_framework(model, tmp_path):
    for content in ([tg.zeros(3)], {"wte.weight": 3}, {"model": model.state_dict()}, tg.zeros(3)):
        tg.save(content, tmp_path / "model.safetensors")
        refused(tmp_path, "does not hold a plain dictionary of tensors")


def without(*names: str) -> dict[str, Any]:
    return {name: value for name, value in SETTINGS.items() if name not in names}


@pytest.mark.parametrize("settings, message", [
    (without("n_head"), "n_head missing"), (without("n_positions", "vocab_size"), "n_positions, vocab_size missing"),
    ([], "expected a JSON object, got []"), (3, "expected a JSON object, got 3"), (None, "no config.json beside it"),
    ({**SETTINGS, "n_head": "4"}, "n_head must be int, got '4'"), ({**SETTINGS, "n_head": 4.0}, "must be int, got 4.0"),
    ({**SETTINGS, "n_head": True}, "n_head must be int, got True"), ({**SETTINGS, "n_embd": None}, "got None"),
    ({**SETTINGS, "n_layer": [3]}, "n_layer must be int, got [3]"), ({**SETTINGS, "n_layer": {}}, "int, got {}"),
    ({**SETTINGS, "n_head": 0}, "n_head must be a positive integer, got 0"),
    ({**SETTINGS, "n_layer": -3}, "n_layer must be a positive integer, got -3"),
    ({**SETTINGS, "n_head": 3}, "n_embd=16 is not divisible by n_head=3"),
    ({**SETTINGS, "n_layer": 10**15}, f"says n_layer={10**15}, but"),
    ({**SETTINGS, "n_embd": 4 * 10**15}, f"wte.weight has shape (29, 16), expected (29, {4 * 10**15})"),
    ({**SETTINGS, "n_positions": 10**12}, f"wpe.weight has shape (12, 16), expected ({10**12}, 16)"),
    ({**SETTINGS, "vocab_size": 50257}, "wte.weight has shape (29, 16), expected (50257, 16)"),
    ({**SETTINGS, "n_layer": 2}, "h.2.attn.c_attn.bias is unexpected"),
    ({**SETTINGS, "n_layer": 4}, "h.3.attn.c_attn.bias is missing"),
    ({**SETTINGS, "activation_function": "gelu"}, "activation_function is 'gelu', expected gelu_new or"),
    ({**SETTINGS, "activation_function": ["gelu_new"]}, "activation_function is ['gelu_new']"),
    ({**SETTINGS, "layer_norm_epsilon": 1e-6}, "layer_norm_epsilon is 1e-06, expected 1e-05"),
    ({**SETTINGS, "layer_norm_epsilon": math.nan}, "layer_norm_epsilon is nan"),
    ({**SETTINGS, "model_type": "gpt_neo"}, "model_type is 'gpt_neo', expected gpt2"),
    ({**SETTINGS, "scale_attn_by_inverse_layer_idx": True}, "scale_attn_by_inverse_layer_idx is True"),
    ({**SETTINGS, "scale_attn_weights": False}, "scale_attn_weights is False"),
    ({**SETTINGS, "tie_word_embeddings": False}, "tie_word_embeddings is False"),
], ids=lambda x: x if isinstance(x, str) else "")  # fmt: skip
def test_a_config_that_does_not_fit(tensors, tmp_path, settings, message):
    refused(write(tmp_path, tensors, settings), message)


@pytest.mark.parametrize("content", [
    b"", b"{", b"\xff\xfe\x00", b"[" * 100_000, b'{"n_head": 1' + b"0" * 5000 + b"}", b"{'n_head': 4}",
], ids=lambda content: repr(content[:12]))  # fmt: skip
def test_a_config_that_is_not_json(tensors, tmp_path, content):
    (write(tmp_path, tensors) / "config.json").write_bytes(content)
    refused(tmp_path, "config.json is damaged: it is not JSON")


# ---- beside transformers ---------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def transformers():
    return pytest.importorskip("transformers", reason="transformers is not installed; pip install -e .[dev] brings it")


@pytest.fixture(params=[(2, 4), (3, 2)], ids=str)
def theirs(request, transformers):
    """A small GPT-2 of transformers with large random weights, also in biases and norms."""
    n_layer, n_head = request.param
    torch.manual_seed(3)
    config = transformers.GPT2Config(
        vocab_size=211, n_positions=24, n_embd=64, n_layer=n_layer, n_head=n_head, embd_pdrop=0.0, attn_pdrop=0.0,
        resid_pdrop=0.0, bos_token_id=0, eos_token_id=None,
    )  # fmt: skip
    found = transformers.GPT2LMHeadModel(config).eval()
    with torch.no_grad():
        for p in found.parameters():
            p.add_(0.1 * torch.randn(p.shape))
    return found


@pytest.mark.slow
def test_a_model_of_transformers_computes_the_same_here(theirs, tmp_path):
    theirs.save_pretrained(tmp_path)
    ours = GPT.from_pretrained(tmp_path)
    idx = np.random.default_rng(1).integers(0, 211, (3, 24))
    targets = np.random.default_rng(2).integers(0, 211, (3, 24))
    targets[0, :5] = -1

    logits, loss = ours(tg.tensor(idx), tg.tensor(targets))
    expected = theirs(torch.tensor(idx)).logits
    expected_loss = torch.nn.functional.cross_entropy(
        expected.reshape(-1, 211), torch.tensor(targets).reshape(-1), ignore_index=-1
    )
    close(logits, expected, 1e-5)
    close(loss, expected_loss, 1e-5)

    loss.backward()
    expected_loss.backward()
    gradients = {name: p.grad for name, p in theirs.named_parameters()}
    for name, p in ours.named_parameters():
        gradient = gradients.pop(f"transformer.{name}")
        conv1d = name.startswith("h.") and gradient.dim() == 2
        close(p.grad, gradient.T if conv1d else gradient, 1e-4)
    assert not gradients


@pytest.mark.slow
def test_their_own_loss_is_ours(theirs, tmp_path):
    """transformers shifts the labels itself."""
    theirs.save_pretrained(tmp_path)
    idx = np.random.default_rng(1).integers(0, 211, (3, 20))
    _, loss = GPT.from_pretrained(tmp_path)(tg.tensor(idx[:, :-1]), tg.tensor(idx[:, 1:]))
    close(loss, theirs(torch.tensor(idx), labels=torch.tensor(idx)).loss, 1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("use_cache", [True, False])
def test_greedy_generation_is_that_of_transformers(theirs, tmp_path, use_cache):
    theirs.save_pretrained(tmp_path)
    idx = np.random.default_rng(1).integers(0, 211, (2, 5))
    expected = theirs.generate(
        torch.tensor(idx), attention_mask=torch.ones(2, 5), max_new_tokens=19, do_sample=False, pad_token_id=0
    )
    found = GPT.from_pretrained(tmp_path).generate(tg.tensor(idx), 19, do_sample=False, use_cache=use_cache)
    assert found.tolist() == expected.tolist()


@pytest.mark.slow
@pytest.mark.parametrize("bias", [True, False])
def test_a_model_saved_here_computes_the_same_in_transformers(transformers, tmp_path, bias):
    ours = shaken(GPT(replace(CONFIG, bias=bias)))
    ours.save_pretrained(tmp_path)
    theirs, report = transformers.GPT2LMHeadModel.from_pretrained(tmp_path, output_loading_info=True)
    assert not any(report.values())
    idx = tokens(2, 12)
    close(ours(tg.tensor(idx), tg.tensor(idx))[0], theirs.eval()(torch.tensor(idx)).logits, 1e-5)
    assert theirs.config.n_head == 4 and theirs.lm_head.weight is theirs.transformer.wte.weight


@pytest.mark.slow
def test_there_and_back(theirs, tmp_path):
    """Saved by transformers, loaded and saved here: the same weights, bit for bit."""
    theirs.save_pretrained(tmp_path / "theirs")
    GPT.from_pretrained(tmp_path / "theirs").save_pretrained(tmp_path / "ours")
    found = safetensors.torch.load_file(tmp_path / "ours" / "model.safetensors")
    for name, p in theirs.state_dict().items():
        if name != "lm_head.weight":
            assert torch.equal(found.pop(name), p), name
    assert not found
