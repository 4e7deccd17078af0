"""Multi-head attention and the Transformer's encoder and decoder, beside PyTorch's."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch
from twin import close, compare, in_both, normal, same_error

import tinygrad_edu as tg
from tinygrad_edu import nn

DTYPES = ["float32", "float64"]
L, S, B, E, H = 5, 6, 3, 8, 2  # queries, keys, batch, width, heads
# PyTorch's, about the shortcut for evaluation and masks of two kinds.
pytestmark = [
    pytest.mark.filterwarnings("ignore:enable_nested_tensor is True:UserWarning"),
    pytest.mark.filterwarnings("ignore:Support for mismatched:UserWarning"),
    pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors:UserWarning"),
]


def attention(**settings):
    return lambda lib: lib.nn.MultiheadAttention(E, H, **settings)


def padding(*lengths, size):
    """True beyond the lengths: what a key padding mask says."""
    return np.arange(size) >= np.array(lengths)[:, None]


SETTINGS = [
    {},
    {"bias": False},
    {"batch_first": True},
    {"kdim": 5, "vdim": 7},
    {"kdim": 5, "vdim": 7, "bias": False, "batch_first": True},
    {"add_bias_kv": True},
    {"add_zero_attn": True, "add_bias_kv": True, "batch_first": True, "bias": False},
]
MASKS = {
    "none": lambda: {},
    "padding": lambda: {"key_padding_mask": padding(6, 2, 4, size=S)},
    "bool": lambda: {"attn_mask": np.random.rand(L, S) < 0.4},
    "float": lambda: {"attn_mask": normal(L, S)},
    "heads": lambda: {"attn_mask": normal(B * H, L, S)},
    "both": lambda: {"attn_mask": np.triu(np.ones((L, S), bool), 2), "key_padding_mask": padding(6, 2, 4, size=S)},
    "mixed": lambda: {"attn_mask": normal(L, S), "key_padding_mask": padding(6, 2, 4, size=S)},
}


def qkv(settings, *batch):
    widths = E, settings.get("kdim", E), settings.get("vdim", E)
    shapes = [(n, *batch, width) for n, width in zip((L, S, S), widths, strict=True)]
    return [normal(*((s[1], s[0], s[2]) if settings.get("batch_first") and batch else s)) for s in shapes]


def call_with(masks, **options):
    """A call with these masks; floating ones come first among its tensors, so that their gradients are compared."""
    floating = [k for k, m in masks.items() if m.dtype.kind == "f"]

    def call(lib, module, *tensors):
        given = dict(zip(floating, tensors, strict=False))
        given |= {k: lib.tensor(m) for k, m in masks.items() if k not in floating}
        return module(*tensors[len(floating) :], **given, **options)

    return call, [masks[k] for k in floating]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("need_weights", [True, False])
@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_attention(settings, mask, need_weights, dtype):
    call, floating = call_with(MASKS[mask](), need_weights=need_weights)
    compare(attention(**settings), call, [*floating, *qkv(settings, B)], dtype)


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_attention_without_a_batch(settings):
    for masks in ({}, {"key_padding_mask": padding(4, size=S)[0]}, {"attn_mask": normal(H, L, S)}):
        for options in ({}, {"need_weights": False}, {"average_attn_weights": False}):
            call, floating = call_with(masks, **options)
            compare(attention(**settings), call, [*floating, *qkv(settings)], "float64")


def test_attention_of_a_sequence_to_itself_and_to_another():
    def itself(lib, module, x):
        return module(x, x, x, average_attn_weights=False)

    def another(lib, module, x, memory):
        return module(x, memory, memory, need_weights=False)

    def values_of_its_own(lib, module, x, memory):
        return module(x, x, memory)

    for settings in ({}, {"bias": False}, {"batch_first": True}):
        compare(attention(**settings), itself, [normal(4, B, E)], "float64")
        compare(attention(**settings), values_of_its_own, [normal(4, B, E), normal(4, B, E)], "float64")
        memory = normal(4, 6, E) if settings.get("batch_first") else normal(6, B, E)
        compare(attention(**settings), another, [normal(4, B, E), memory], "float64")


@pytest.mark.parametrize("need_weights", [True, False])
@pytest.mark.parametrize("masked", [True, False])
def test_the_causal_hint(need_weights, masked):
    def call(lib, module, x):
        mask = lib.nn.Transformer.generate_square_subsequent_mask(L).to(x.dtype)
        key_padding_mask = lib.zeros(B, L).to(x.dtype) if masked else None
        return module(
            x, x, x, attn_mask=mask, key_padding_mask=key_padding_mask, is_causal=True, need_weights=need_weights
        )

    compare(attention(), call, [normal(L, B, E)], "float64")


def test_a_query_that_may_look_at_nothing():
    def make(lib, **options):
        lib.manual_seed(0)
        module, x = lib.nn.MultiheadAttention(2, 1), lib.ones(3, 1, 2)
        mask = lib.tensor([[False, False, True], [True, True, True], [True, False, False]])
        y, _ = module(x, x, x, attn_mask=mask, **options)
        return np.isnan(y.detach().numpy()).tolist()

    for options in ({}, {"need_weights": False}):
        assert make(tg, **options) == make(torch, **options)


def test_attention_starts_by_xaviers_rule():
    module = nn.MultiheadAttention(64, 4, add_bias_kv=True)
    bound = np.sqrt(6 / (4 * 64))
    values = module.in_proj_weight.detach().numpy()
    assert bound * 0.98 < abs(values).max() <= bound and abs(values.std() - bound / np.sqrt(3)) < bound / 50
    assert not module.in_proj_bias.any() and not module.out_proj.bias.any()
    assert 0 < module.bias_k.detach().numpy().std() < 1 and abs(module.out_proj.weight).max().item() <= 1 / 8
    parts = nn.MultiheadAttention(64, 4, kdim=32, vdim=16)
    for weight, inputs in ((parts.q_proj_weight, 64), (parts.k_proj_weight, 32), (parts.v_proj_weight, 16)):
        bound = np.sqrt(6 / (64 + inputs))
        assert bound * 0.97 < abs(weight).max().item() <= bound


def test_dropout_of_attention_acts_while_training():
    x = tg.randn(L, B, E)
    module = nn.MultiheadAttention(E, H, dropout=1.0)
    for need_weights in (True, False):
        y, _ = module.train()(x, x, x, need_weights=need_weights)
        expected = np.broadcast_to(module.out_proj.bias.detach().numpy(), (L, B, E))
        np.testing.assert_array_equal(y.detach().numpy(), expected)
        assert module.eval()(x, x, x, need_weights=need_weights)[0].std().item() > 0


def z(m, *shape):
    return m.zeros(*shape)


def attend(settings=None, **masks):
    """A call with zeros of the given shapes; masks are made from shapes too."""

    def make(m, *shapes):
        given = {k: v(m) if callable(v) else v for k, v in masks.items()}
        return m.nn.MultiheadAttention(E, H, **(settings or {}))(*(z(m, *s) for s in shapes), **given)

    return make


@pytest.mark.parametrize("make, match", [
    (lambda m: m.nn.MultiheadAttention(5, 2), "divisible by num_heads"),
    (lambda m: m.nn.MultiheadAttention(0, 2), "must be greater than 0"),
    (lambda m: attend()(m, (5, 8), (6, 3, 8), (6, 3, 8)), "must all be 3-D, or all 2-D"),
    (lambda m: attend()(m, (5,), (5,), (5,)), "must all be 3-D, or all 2-D"),
    (lambda m: attend()(m, (5, 3, 7), (6, 3, 8), (6, 3, 8)), r"embedding dimension of \(8, 8, 8\)"),
    (lambda m: attend()(m, (5, 3, 8), (6, 3, 8), (7, 3, 8)), "for the same keys"),
    (lambda m: attend()(m, (5, 3, 8), (6, 4, 8), (6, 4, 8)), "same batch size"),
    (lambda m: attend(attn_mask=lambda m: z(m, 6, 5))(m, (5, 3, 8), (6, 3, 8), (6, 3, 8)), r"should be \(5, 6\)"),
    (lambda m: attend(attn_mask=lambda m: z(m, 3, 5, 6))(m, (5, 3, 8), (6, 3, 8), (6, 3, 8)), r"should be \(6, 5, 6\)"),
    (lambda m: attend(attn_mask=lambda m: z(m, 3, 5, 6))(m, (5, 8), (6, 8), (6, 8)), r"should be \(2, 5, 6\)"),
    (lambda m: attend(attn_mask=lambda m: z(m, 6))(m, (5, 3, 8), (6, 3, 8), (6, 3, 8)), "found 1-D"),
    (lambda m: attend(key_padding_mask=lambda m: z(m, 3, 5))(m, (5, 3, 8), (6, 3, 8), (6, 3, 8)), r"shape \(3, 6\)"),
    (lambda m: attend(attn_mask=lambda m: z(m, 5, 6).long())(m, (5, 3, 8), (6, 3, 8), (6, 3, 8)), "attn_mask are"),
    (lambda m: attend(is_causal=True)(m, (5, 3, 8), (5, 3, 8), (5, 3, 8)), "Need attn_mask"),
    (lambda m: m.nn.TransformerEncoderLayer(8, 2, activation="tanh"), "relu/gelu, not tanh"),
    (lambda m: m.nn.Transformer(8, 2, 1, 1)(z(m, 5, 3, 8), z(m, 5, 2, 8)), "batch number of src and tgt"),
    (lambda m: m.nn.Transformer(8, 2, 1, 1)(z(m, 5, 3, 8), z(m, 5, 3, 6)), "feature number of src and tgt"),
])  # fmt: skip
def test_misuse_is_refused_as_in_torch(make, match):
    assert re.search(match, same_error(make))


# ---- encoder and decoder ---------------------------------------------------------------------------------------------


def gated(lib):
    return lambda x: x * lib.tanh(x)


LAYER_SETTINGS = [
    lambda lib: {},
    lambda lib: {"activation": "gelu", "norm_first": True, "batch_first": True},
    lambda lib: {"activation": gated(lib), "bias": False, "layer_norm_eps": 0.1},
    lambda lib: {"activation": lib.nn.SiLU(), "batch_first": True},
]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("settings", LAYER_SETTINGS)
def test_an_encoder_layer(settings, dtype):
    def make(lib):
        return lib.nn.TransformerEncoderLayer(E, H, 11, dropout=0.0, **settings(lib))

    shape = (B, L, E) if settings(tg).get("batch_first") else (L, B, E)
    causal, padded = np.triu(np.ones((L, L), bool), 1), padding(L, 2, 4, size=L)
    for masks in ({}, {"src_mask": causal}, {"src_mask": causal, "src_key_padding_mask": padded}):
        call, _ = call_with(masks)
        compare(make, call, [normal(*shape)], dtype)
    compare(make, call_with({"src_mask": causal}, is_causal=True)[0], [normal(*shape)], dtype)
    compare(make, call_with({"src_mask": causal})[0], [normal(L, E)], dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("settings", LAYER_SETTINGS)
def test_a_decoder_layer(settings, dtype):
    def make(lib):
        return lib.nn.TransformerDecoderLayer(E, H, 11, dropout=0.0, **settings(lib))

    arrays = [normal(L, B, E), normal(S, B, E)]
    if settings(tg).get("batch_first"):
        arrays = [x.swapaxes(0, 1) for x in arrays]
    masks = {
        "tgt_mask": np.triu(np.ones((L, L), bool), 1),
        "memory_mask": np.random.rand(L, S) < 0.3,
        "tgt_key_padding_mask": padding(L, 2, 4, size=L),
        "memory_key_padding_mask": padding(S, 1, 4, size=S),
    }
    masks["memory_mask"][:, 0] = False
    compare(make, call_with({})[0], arrays, dtype)
    compare(make, call_with(masks)[0], arrays, dtype)
    compare(make, call_with({"tgt_mask": masks["tgt_mask"]}, tgt_is_causal=True)[0], arrays, dtype)
    compare(make, call_with({})[0], [normal(L, E), normal(S, E)], dtype)


def scattered(lib, module):
    """Weights that differ between layers, where all start the same; the same numbers in both libraries."""
    rng = np.random.default_rng(0)
    with lib.no_grad():
        for param in module.parameters():
            param.copy_(lib.tensor(rng.standard_normal(tuple(param.shape)) / 4))
    return module


@pytest.mark.parametrize("norm", [True, False])
@pytest.mark.parametrize("mask", [None, "bool", "float", "not causal"])
def test_an_encoder(norm, mask):
    def make(lib):
        one = lib.nn.TransformerEncoderLayer(E, H, 11, dropout=0.0, batch_first=True)
        return scattered(lib, lib.nn.TransformerEncoder(one, 3, lib.nn.LayerNorm(E) if norm else None))

    causal = np.triu(np.ones((L, L), bool), 1)
    masks = {} if mask is None else {"mask": causal}
    if mask == "not causal":
        masks["mask"] = causal.T.copy()
    elif mask == "float":
        masks["mask"] = np.where(causal, -np.inf, 0)
    call, floating = call_with(masks)
    compare(make, call, [*floating, normal(B, L, E)], "float64")
    if mask != "float":
        both, _ = call_with(masks | {"src_key_padding_mask": padding(L, L, 4, size=L)})
        compare(make, both, [normal(B, L, E)], "float64")


def test_an_encoder_in_evaluation_agrees_at_positions_that_are_no_padding():
    def make(lib):
        one = lib.nn.TransformerEncoderLayer(E, H, 11, batch_first=True)
        return scattered(lib, lib.nn.TransformerEncoder(one, 2)).eval()

    twin, module = in_both(make)
    x, padded = normal(B, L, E).astype("float32"), padding(L, 2, 4, size=L)
    with torch.no_grad(), tg.no_grad():
        expected = twin(torch.tensor(x), src_key_padding_mask=torch.tensor(padded)).numpy()
        found = module(tg.tensor(x), src_key_padding_mask=tg.tensor(padded)).numpy()
    np.testing.assert_allclose(found[~padded], expected[~padded], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("settings", [{}, {"batch_first": True, "norm_first": True, "activation": "gelu"}])
def test_a_transformer(settings):
    def make(lib):
        return scattered(lib, lib.nn.Transformer(E, H, 2, 2, 11, dropout=0.0, **settings))

    def call(lib, module, src, tgt):
        masks = {"tgt_mask": module.generate_square_subsequent_mask(L).to(src.dtype)}
        padded = lib.tensor(padding(S, 2, 4, size=S))
        return module(src, tgt, src_key_padding_mask=padded, memory_key_padding_mask=padded, **masks)

    arrays = [normal(S, B, E), normal(L, B, E)]
    compare(make, call, [x.swapaxes(0, 1) if settings else x for x in arrays], "float64")
    custom = nn.Transformer(E, H, custom_encoder=nn.Identity(), custom_decoder=nn.Identity())
    assert list(custom.state_dict()) == []


def test_layers_of_an_encoder_are_copies():
    one = nn.TransformerEncoderLayer(E, H, 11)
    module = nn.TransformerEncoder(one, 2)
    first, second = module.layers
    assert first is not one and first.linear1.weight is not second.linear1.weight
    assert (first.linear1.weight == second.linear1.weight).all() and (one.linear1.weight == first.linear1.weight).all()


def test_a_layer_can_be_asked_for_its_attention():
    """Overriding `_sa_block` is how PyTorch programs look at the weights."""

    def make(lib):
        class Watching(lib.nn.TransformerEncoderLayer):
            def _sa_block(self, x, attn_mask, key_padding_mask, is_causal=False):
                y, self.seen = self.self_attn(
                    x, x, x, attn_mask=attn_mask, key_padding_mask=key_padding_mask, need_weights=True
                )
                return self.dropout1(y)

        return Watching(E, H, 11, dropout=0.0)

    def call(lib, module, x):
        return module(x), module.seen

    compare(make, call, [normal(L, B, E)], "float64")


def test_an_encoder_classifier_learns_as_in_torch():
    """50 steps on sentences of different lengths with padding masks, from the same weights: the same losses."""
    rng = np.random.default_rng(0)
    lengths = rng.integers(2, 9, 32)
    tokens = np.where(padding(*lengths, size=8), 0, rng.integers(1, 20, (32, 8)))
    labels = (tokens == 7).any(1) | (tokens == 3).any(1)

    def make(lib):
        class Classifier(lib.nn.Module):
            def __init__(self):
                super().__init__()
                self.words = lib.nn.Embedding(20, 16, padding_idx=0)
                self.positions = lib.nn.Parameter(lib.zeros(8, 16))
                one = lib.nn.TransformerEncoderLayer(16, 4, 32, dropout=0.0, batch_first=True)
                self.encoder = lib.nn.TransformerEncoder(one, 2)
                self.head = lib.nn.Linear(16, 2)

            def forward(self, tokens):
                padded = tokens == 0
                y = self.encoder(self.words(tokens) + self.positions, src_key_padding_mask=padded)
                kept = (~padded).unsqueeze(-1).float()
                return self.head((y * kept).sum(1) / kept.sum(1))

        return Classifier()

    def losses(lib, model):
        optimizer = lib.optim.AdamW(model.parameters(), lr=3e-3)
        found = []
        for step in range(50):
            rows = slice(0, 16) if step % 2 else slice(16, 32)
            loss = lib.nn.functional.cross_entropy(model(lib.tensor(tokens[rows])), lib.tensor(labels[rows]).long())
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            found.append(loss.item())
        return found

    twin, model = in_both(make)
    expected, found = losses(torch, twin), losses(tg, model)
    assert expected[-1] < 0.5 * expected[0]
    np.testing.assert_allclose(found, expected, rtol=1e-4)
    close(model.positions, twin.positions, "float32")
