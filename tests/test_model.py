"""GPT beside its twin in PyTorch, and everything that is asked of the model except generation."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

import tinygrad_edu as tg
from benchmarks.torch_gpt import TorchGPT
from gpt.config import GPTConfig
from gpt.model import GPT
from gpt.pretrained import layout
from tinygrad_edu import nn

torch.set_num_threads(1)
CONFIG = GPTConfig(block_size=12, vocab_size=29, n_layer=3, n_head=4, n_embd=16)
TOLERANCE = {"float32": {"logits": 1e-5, "gradients": 1e-4}, "float64": {"logits": 1e-12, "gradients": 1e-12}}


def shaken(model: GPT, seed: int = 0) -> GPT:
    """The model with large random weights, also in biases and norms: at the initial ones an error could hide."""
    rng = np.random.default_rng(seed)
    with tg.no_grad():
        for name, p in model.named_parameters():
            p.copy_(tg.tensor(rng.normal(1.0 if name.endswith("ln_f.weight") else 0.0, 0.25, p.shape)))
    return model


def twins(dtype: str, **changes) -> tuple[GPT, TorchGPT]:
    config = replace(CONFIG, **changes)
    ours, theirs = shaken(GPT(config)).to(getattr(tg, dtype)), TorchGPT(config).to(getattr(torch, dtype))
    theirs.load_state_dict({name: torch.tensor(t.numpy()) for name, t in ours.state_dict().items()})
    return ours, theirs


def tokens(*shape: int, seed: int = 1, low: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(low, CONFIG.vocab_size, shape)


def close(ours: tg.Tensor, theirs: torch.Tensor, tolerance: float) -> None:
    """Equal up to this share of the largest element."""
    expected = theirs.detach().numpy()
    assert ours.dtype.name == expected.dtype.name
    scale = np.abs(expected).max()
    np.testing.assert_allclose(ours.detach().numpy(), expected, rtol=0, atol=tolerance * max(scale, 1e-30))


def same_gradients(ours: GPT, theirs: TorchGPT, tolerance: float) -> None:
    expected = dict(theirs.named_parameters())
    assert [name for name, _ in ours.named_parameters()] == list(expected)
    for name, p in ours.named_parameters():
        close(p.grad, expected[name].grad, tolerance)


# ---- beside PyTorch --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("changes", [{}, {"bias": False}, {"n_head": 1, "n_layer": 1}], ids=str)
def test_logits_loss_and_gradients_are_those_of_the_twin(changes, dtype):
    ours, theirs = twins(dtype, **changes)
    idx, targets = tokens(5, 9), tokens(5, 9, seed=2)
    targets[0, 3:] = targets[4, 0] = -1  # not to be counted
    logits, loss = ours(tg.tensor(idx), tg.tensor(targets))
    expected_logits, expected_loss = theirs(torch.tensor(idx), torch.tensor(targets))
    close(logits, expected_logits, TOLERANCE[dtype]["logits"])
    close(loss, expected_loss, TOLERANCE[dtype]["logits"])
    loss.backward()
    expected_loss.backward()
    same_gradients(ours, theirs, TOLERANCE[dtype]["gradients"])


def test_gradients_for_a_random_cotangent_of_the_logits():
    ours, theirs = twins("float64")
    idx, gy = tokens(2, 12), np.random.default_rng(3).normal(size=(2, 12, CONFIG.vocab_size))
    ours(tg.tensor(idx), tg.tensor(idx))[0].backward(tg.tensor(gy))
    theirs(torch.tensor(idx))[0].backward(torch.tensor(gy))
    same_gradients(ours, theirs, 1e-12)


@pytest.mark.parametrize("n", [1, 2, 12])
def test_without_targets_the_logits_are_those_of_the_last_position(n):
    model = shaken(GPT(CONFIG)).double()
    idx = tg.tensor(tokens(3, n))
    last, loss = model(idx)
    full, _ = model(idx, idx)
    assert loss is None and last.shape == (3, 1, CONFIG.vocab_size)
    np.testing.assert_allclose(last.detach().numpy(), full[:, -1:].detach().numpy(), rtol=0, atol=1e-12)


def test_training_goes_as_in_pytorch():
    """Twelve steps of the optimizer that each model configures: the same losses, the same weights."""
    ours, theirs = twins("float64")
    options = {"weight_decay": 0.1, "learning_rate": 1e-2, "betas": (0.9, 0.95)}
    ours_optimizer, theirs_optimizer = ours.configure_optimizers(**options), theirs.configure_optimizers(**options)
    losses = []
    for step in range(12):
        idx, targets = tokens(4, 8, seed=step), tokens(4, 8, seed=step, low=20)
        pairs = (
            (ours(tg.tensor(idx), tg.tensor(targets))[1], ours_optimizer),
            (theirs(torch.tensor(idx), torch.tensor(targets))[1], theirs_optimizer),
        )
        for loss, optimizer in pairs:
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
        losses.append([loss.item() for loss, _ in pairs])
    np.testing.assert_allclose(*np.transpose(losses), rtol=1e-8)
    assert losses[-1][0] < losses[0][0] - 0.5
    for (name, p), q in zip(ours.named_parameters(), theirs.parameters(), strict=True):
        np.testing.assert_allclose(p.detach().numpy(), q.detach().numpy(), rtol=0, atol=1e-6, err_msg=name)


# ---- its shape -------------------------------------------------------------------------------------------------------


def test_modules_are_named_as_in_gpt2():
    names = [name for name, _ in GPT(replace(CONFIG, n_layer=1)).named_parameters()]
    assert names == [
        "wte.weight", "wpe.weight", "h.0.ln_1.weight", "h.0.ln_1.bias", "h.0.attn.c_attn.weight",
        "h.0.attn.c_attn.bias", "h.0.attn.c_proj.weight", "h.0.attn.c_proj.bias", "h.0.ln_2.weight", "h.0.ln_2.bias",
        "h.0.mlp.c_fc.weight", "h.0.mlp.c_fc.bias", "h.0.mlp.c_proj.weight", "h.0.mlp.c_proj.bias", "ln_f.weight",
        "ln_f.bias",
    ]  # fmt: skip
    without = {name for name, _ in GPT(replace(CONFIG, n_layer=1, bias=False)).named_parameters()}
    assert without == {name for name in names if not name.endswith("bias")}


PUBLISHED = {
    "gpt2": 124_439_808,
    "gpt2-medium": 354_823_168,
    "gpt2-large": 774_030_080,
    "gpt2-xl": 1_557_611_200,
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_named_sizes_have_the_published_number_of_parameters(name):
    assert sum(map(math.prod, layout(GPTConfig.named(name)).values())) == PUBLISHED[name]


def test_number_of_parameters():
    with nn.init.no_init():  # memory that is never written costs nothing
        gpt2 = GPT(GPTConfig.named("gpt2"))
    assert gpt2.num_params(non_embedding=False) == PUBLISHED["gpt2"]
    assert gpt2.num_params() == PUBLISHED["gpt2"] - 1024 * 768
    small = GPT(CONFIG)
    assert small.num_params(non_embedding=False) == sum(map(math.prod, layout(CONFIG).values()))


def test_the_head_is_the_embedding():
    """One parameter: its gradient sums both uses, and a step moves both."""
    ours, _ = twins("float64")
    assert ours.lm_head.weight is ours.wte.weight
    idx, targets = tg.tensor(tokens(2, 6)), tg.tensor(tokens(2, 6, seed=2))
    ours(idx, targets)[1].backward()
    both = ours.wte.weight.grad.numpy()

    ours.lm_head.weight = nn.Parameter(ours.wte.weight.detach().clone())  # untied
    ours.zero_grad()
    ours(idx, targets)[1].backward()
    lookups, head = ours.wte.weight.grad.numpy(), ours.lm_head.weight.grad.numpy()
    assert np.abs(lookups).max() > 1e-3 and np.abs(head).max() > 1e-3
    np.testing.assert_allclose(both, lookups + head, rtol=0, atol=1e-13)


def test_flops_of_a_step():
    model = GPT(CONFIG)
    per_token = 6 * model.num_params() + 12 * 3 * 16 * 12
    assert model.estimate_flops(batch_size=5) == per_token * 12 * 5
    assert model.estimate_flops(2, block_size=7) == (6 * model.num_params() + 12 * 3 * 16 * 7) * 7 * 2


# ---- initial weights -------------------------------------------------------------------------------------------------


def test_initial_weights_are_those_of_gpt2():
    config = GPTConfig(block_size=128, vocab_size=211, n_layer=4, n_head=4, n_embd=64)
    model = GPT(config)
    for name, p in model.named_parameters():
        x = p.detach().numpy()
        if name.endswith("bias"):
            assert not x.any(), name
        elif p.dim() == 1:
            assert (x == 1).all(), name
        else:
            std = 0.02 / math.sqrt(8) if name.endswith("c_proj.weight") else 0.02
            assert abs(x.mean()) < 4 * std / math.sqrt(x.size), name
            assert abs(x.std() / std - 1) < 4 / math.sqrt(2 * x.size), name
            assert abs((x**4).mean() / std**4 - 3) < 4 * math.sqrt(96 / x.size), name  # normal, not uniform


def test_initial_weights_come_from_the_generator():
    default = tg.get_rng_state().tolist()
    first, again, other = (GPT(CONFIG, tg.Generator().manual_seed(seed)).state_dict() for seed in (5, 5, 6))
    assert tg.get_rng_state().tolist() == default
    assert all(tg.equal(first[name], again[name]) for name in first)
    matrices = [name for name, t in first.items() if t.dim() == 2]
    assert not any(tg.equal(first[name], other[name]) for name in matrices)
    tg.manual_seed(5)
    assert all(tg.equal(first[name], t) for name, t in GPT(CONFIG).state_dict().items())


def test_the_first_loss_is_that_of_guessing():
    idx, targets = tg.tensor(tokens(16, 12)), tg.tensor(tokens(16, 12, seed=2))
    assert GPT(CONFIG)(idx, targets)[1].item() == pytest.approx(math.log(CONFIG.vocab_size), abs=0.02)


# ---- what it computes ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("length, place", [(12, 0), (12, 4), (12, 11), (2, 1)])
def test_a_token_changes_nothing_before_it(length, place):
    model = shaken(GPT(CONFIG)).double()
    idx = tokens(2, length)
    before = model(tg.tensor(idx), tg.tensor(idx))[0].detach().numpy()
    idx[:, place] = (idx[:, place] + 1) % CONFIG.vocab_size
    after = model(tg.tensor(idx), tg.tensor(idx))[0].detach().numpy()
    np.testing.assert_allclose(after[:, :place], before[:, :place], rtol=0, atol=1e-13)
    assert (np.abs(after - before)[:, place:].max(axis=-1) > 1e-6).all()


def test_order_matters():
    model = shaken(GPT(CONFIG))
    a, b = model(tg.tensor([[1, 2, 3]]))[0], model(tg.tensor([[2, 1, 3]]))[0]
    assert (a - b).abs().max().item() > 1e-3


def test_targets_of_minus_one_are_not_counted():
    model = shaken(GPT(CONFIG)).double()
    idx, targets = tokens(3, 7), tokens(3, 7, seed=2)
    counted = np.random.default_rng(4).random((3, 7)) < 0.5
    logits, loss = model(tg.tensor(idx), tg.tensor(np.where(counted, targets, -1)))
    each = nn.functional.cross_entropy(logits.view(21, -1), tg.tensor(targets).view(-1), reduction="none")
    assert loss.item() == pytest.approx(each.detach().numpy()[counted.ravel()].mean(), rel=1e-12)
    assert math.isnan(model(tg.tensor(idx), tg.full((3, 7), -1))[1].item())  # the mean of nothing, as in PyTorch


def test_dropout_acts_in_training_alone():
    config = replace(CONFIG, dropout=0.4)
    model, plain = shaken(GPT(config)), shaken(GPT(CONFIG))
    idx = tg.tensor(tokens(2, 9))

    def logits(seed: int) -> np.ndarray:
        tg.manual_seed(seed)
        return model(idx)[0].detach().numpy()

    assert not np.allclose(logits(1), logits(2), atol=1e-2)
    assert np.array_equal(logits(1), logits(1))
    model.eval()
    assert np.array_equal(logits(1), plain(idx)[0].detach().numpy())


@pytest.mark.parametrize("where", ["drop", "h.0.attn.resid_dropout", "h.0.mlp.dropout", "attention weights"])
def test_dropout_acts_in_all_its_places(where):
    model = shaken(GPT(replace(CONFIG, n_layer=1, dropout=0.4)))
    for name, module in model.named_modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.4 if name == where else 0.0
    if where != "attention weights":
        model.h[0].attn.dropout = 0.0
    idx = tg.tensor(tokens(2, 9))
    trained = model(idx)[0]
    assert not tg.allclose(trained, model.eval()(idx)[0], atol=1e-3)


@pytest.mark.parametrize("dtype", ["uint8", "int16", "int32"])
def test_ids_of_any_integer_dtype(dtype):
    model = shaken(GPT(CONFIG))
    idx = tokens(2, 5)
    expected, small = model(tg.tensor(idx), tg.tensor(idx)), tg.tensor(idx).to(getattr(tg, dtype))
    for found in (model(small, small), model(small, tg.tensor(idx))):
        assert tg.equal(found[0], expected[0]) and tg.equal(found[1], expected[1])


# ---- changing it -----------------------------------------------------------------------------------------------------


def test_crop_block_size():
    config = replace(CONFIG)
    model = shaken(GPT(config))
    optimizer = model.configure_optimizers(0.1, 1e-3, (0.9, 0.99))
    idx = tg.tensor(tokens(2, 5))
    model(idx, idx)[1].backward()
    before = model(idx)[0]
    model.crop_block_size(5)
    assert model.config.block_size == 5 and model.wpe.weight.shape == (5, 16) and "Embedding(5, 16)" in repr(model)
    assert model.wpe.weight.grad is None  # the old one has another shape
    assert config == CONFIG  # another model may have been made from the same configuration
    assert tg.equal(model(idx)[0], before)
    model.zero_grad()
    model(idx, idx)[1].backward()
    kept = model.wpe.weight.detach().clone()
    optimizer.step()  # made before, it still knows the parameter
    assert not tg.equal(model.wpe.weight, kept)
    with pytest.raises(ValueError, match="cannot read 6 tokens, block_size is 5"):
        model(tg.tensor(tokens(1, 6)))


@pytest.mark.parametrize("size, message", [
    (13, "has 12 positions and cannot grow to 13"), (0, "must be a positive integer, got 0"),
    (-1, "must be a positive integer, got -1"), (4.0, "must be int, got 4.0"), (True, "must be int, got True"),
])  # fmt: skip
def test_crop_block_size_refuses(size, message):
    model = GPT(CONFIG)
    with pytest.raises(ValueError, match=message):
        model.crop_block_size(size)
    assert model.config == CONFIG and model.wpe.weight.shape == (12, 16)


def test_the_optimizer_decays_matrices_and_embeddings_only():
    model = GPT(CONFIG)
    model.h[0].mlp.c_fc.weight.requires_grad_(False)
    optimizer = model.configure_optimizers(0.3, 2e-3, (0.8, 0.9), "cpu")
    assert isinstance(optimizer, tg.optim.AdamW)
    names = {id(p): name for name, p in model.named_parameters()}
    decayed, others = optimizer.param_groups
    assert (decayed["weight_decay"], others["weight_decay"]) == (0.3, 0.0)
    assert all(group["lr"] == 2e-3 and tuple(group["betas"]) == (0.8, 0.9) for group in optimizer.param_groups)
    expected = {name for name, p in model.named_parameters() if p.dim() == 2} - {"h.0.mlp.c_fc.weight"}
    assert {names[id(p)] for p in decayed["params"]} == expected and "wte.weight" in expected
    assert len(decayed["params"]) == len(expected)  # the tied head is not a second one
    assert {names[id(p)].rpartition(".")[2] for p in others["params"]} == {"weight", "bias"}  # norms and biases
    assert len(decayed["params"]) + len(others["params"]) == len(names) - 1
    model.requires_grad_(False)
    model.wte.requires_grad_(True)
    assert len(model.configure_optimizers(0.3, 2e-3, (0.8, 0.9)).param_groups) == 1


def test_muon_takes_the_matrices_of_the_blocks_and_adamw_the_rest():
    model = GPT(CONFIG)
    model.h[1].mlp.c_fc.weight.requires_grad_(False)
    optimizer = model.configure_optimizers(0.3, 2e-3, (0.8, 0.9), muon=True)
    names = {id(p): name for name, p in model.named_parameters()}
    matrices, decayed, others = ([names[id(p)] for p in group["params"]] for group in optimizer.param_groups)
    kinds = ("attn.c_attn", "attn.c_proj", "mlp.c_fc", "mlp.c_proj")
    expected = [f"h.{i}.{kind}.weight" for i in range(CONFIG.n_layer) for kind in kinds]
    assert matrices == [name for name in expected if name != "h.1.mlp.c_fc.weight"]
    assert decayed == ["wte.weight", "wpe.weight"]
    assert len(others) == len(names) - len(expected) - 2
    assert [(g["lr"], g["weight_decay"]) for g in optimizer.param_groups] == [(2e-3, 0.3), (2e-3, 0.3), (2e-3, 0.0)]


# ---- bad input -------------------------------------------------------------------------------------------------------

IDS = tg.zeros(2, 3, dtype=tg.int64)


@pytest.mark.parametrize("idx, targets, error, message", [
    ([[1, 2]], None, TypeError, r"Tensor of token ids, got list; make one with tinygrad_edu.tensor"),
    (np.zeros((2, 3), int), None, TypeError, "got ndarray"),
    (tg.zeros(2, 3), None, TypeError, r"token ids of an integer dtype, got .*float32; convert them with .long"),
    (tg.zeros(2, 3, dtype=tg.bool), None, TypeError, "got .*bool"),
    (tg.zeros(3, dtype=tg.int64), None, ValueError, r"shape \(B, T\) .* got \(3,\); x\[None\]"),
    (tg.zeros(1, 2, 3, dtype=tg.int64), None, ValueError, r"got \(1, 2, 3\)"),
    (tg.zeros(0, 3, dtype=tg.int64), None, ValueError, r"B and T at least 1, got \(0, 3\)"),
    (tg.zeros(2, 0, dtype=tg.int64), None, ValueError, r"B and T at least 1, got \(2, 0\)"),
    (tg.zeros(1, 13, dtype=tg.int64), None, ValueError, "cannot read 13 tokens, block_size is 12"),
    (tg.tensor([[3, 29]]), None, IndexError, r"token id 29 is outside the vocabulary, expected 0 .. 28; encode"),
    (tg.tensor([[3, -1]]), None, IndexError, "token id -1 is outside the vocabulary, expected 0 .. 28"),
    (IDS, [[1, 2, 3]] * 2, TypeError, "Tensor of targets, got list"),
    (IDS, tg.zeros(2, 3), TypeError, "targets of an integer dtype, got .*float32"),
    (IDS, tg.zeros(2, 4, dtype=tg.int64), ValueError, r"shape of idx, \(2, 3\), got \(2, 4\); the target"),
    (IDS, tg.zeros(6, dtype=tg.int64), ValueError, r"targets of shape \(B, T\).* got \(6,\)"),
    (IDS, tg.full((2, 3), 29), IndexError, "target 29 is outside the vocabulary, expected -1 .. 28"),
    (IDS, tg.full((2, 3), -2), IndexError, "target -2 is outside the vocabulary, expected -1 .. 28"),
    (IDS, tg.full((2, 3), -100), IndexError, "target -100 is outside"),
])  # fmt: skip
def test_bad_input_is_named(idx, targets, error, message):
    with pytest.raises(error, match=message):
        GPT(CONFIG)(idx, targets)


def test_heads_that_do_not_divide_the_channels():
    with pytest.raises(ValueError, match="n_embd=16 is not divisible by n_head=3; .* n_head=2 or 4, .* n_embd=18"):
        GPT(replace(CONFIG, n_head=3))
