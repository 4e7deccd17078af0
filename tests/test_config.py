"""Configurations: schedule, checks of values, presets."""

from __future__ import annotations

import math
from dataclasses import fields, replace
from typing import Any, get_args

import pytest

from gpt.config import PRESETS, SIZES, GPTConfig, TokenizerKind, TrainConfig, preset
from gpt.tokenizers import TOKENIZERS


def nanogpt_lr(it: int, learning_rate: float, min_lr: float, warmup_iters: int, lr_decay_iters: int) -> float:
    """get_lr of nanoGPT's train.py."""
    if it < warmup_iters:
        return learning_rate * (it + 1) / (warmup_iters + 1)
    if it > lr_decay_iters:
        return min_lr
    decay_ratio = (it - warmup_iters) / (lr_decay_iters - warmup_iters)
    coeff = 0.5 * (1.0 + math.cos(math.pi * decay_ratio))
    return min_lr + coeff * (learning_rate - min_lr)


@pytest.mark.parametrize("explicit", [None, 2000, 1500])
def test_learning_rate_is_nanogpts(explicit: int | None) -> None:
    config = replace(preset("laptop"), lr_decay_iters=explicit)
    for step in range(2200):
        expected = nanogpt_lr(step, 1e-3, 1e-4, 100, explicit or 2000)
        assert config.learning_rate_at(step) == pytest.approx(expected, rel=1e-12), step


def test_the_learning_rate_can_fall_along_a_line() -> None:
    config = TrainConfig(decay="linear", learning_rate=1.0, min_lr=0.1, warmup_iters=4, max_iters=14)
    expected = [0.2, 0.4, 0.6, 0.8, *(1.0 - 0.09 * n for n in range(11)), 0.1, 0.1]
    assert [config.learning_rate_at(step) for step in range(17)] == pytest.approx(expected, rel=1e-12)


def test_learning_rate_without_decay_warm_up_or_time() -> None:
    assert TrainConfig(decay_lr=False).learning_rate_at(0) == 1e-3
    assert TrainConfig(warmup_iters=0).learning_rate_at(0) == 1e-3
    short = TrainConfig(max_iters=50, warmup_iters=100)  # it ends while it warms up
    assert short.learning_rate_at(49) == nanogpt_lr(49, 1e-3, 1e-4, 100, 101)
    assert TrainConfig(max_iters=100, warmup_iters=100).learning_rate_at(100) == 1e-4


def test_laptop_is_nanogpts_recipe_for_a_cpu() -> None:
    c = preset("laptop")
    assert (c.model.n_layer, c.model.n_head, c.model.n_embd, c.model.block_size) == (4, 4, 128, 64)
    assert (c.model.dropout, c.model.bias, c.batch_size, c.max_iters) == (0.0, False, 12, 2000)
    assert (c.learning_rate, c.min_lr, c.warmup_iters, c.lr_decay_iters) == (1e-3, 1e-4, 100, None)
    assert (c.beta1, c.beta2, c.weight_decay, c.grad_clip) == (0.9, 0.99, 0.1, 1.0)


@pytest.mark.parametrize("name", PRESETS)
def test_evaluations_take_at_most_two_percent_of_a_presets_run(name: str) -> None:
    """Counted in passes through the model, of which a step makes three for each of its batches: one forward, and the
    work of two backward. The last evaluation is not counted: what comes after it waits for nothing."""
    config = preset(name)
    steps = 3 * config.eval_interval * config.gradient_accumulation_steps
    assert 2 * config.eval_iters / steps <= 0.02


def test_samples_before_the_last_stay_within_a_block() -> None:
    config = preset("laptop")
    assert [config.sample_tokens_at(step) for step in (0, 250, 1999, 2000)] == [64, 64, 64, 200]
    assert replace(config, sample_tokens=7).sample_tokens_at(250) == 7


def test_presets_are_copies() -> None:
    changed = preset("full")
    changed.max_iters, changed.model.n_layer = 1, 1
    assert (preset("full").max_iters, preset("full").model.n_layer) == (5000, 6)
    for name in ("laptop", "full"):  # the same model; with so few steps no dropout is needed
        assert replace(preset(name).model, dropout=0.0) == preset(f"{name}-fast").model
    assert list(PRESETS) == ["laptop-fast", "laptop", "full-fast", "full", "gpt2"]
    with pytest.raises(ValueError, match="no preset 'huge'; expected one of laptop-fast, laptop, full-fast, full,"):
        preset("huge")


def test_named_sizes() -> None:
    c = GPTConfig.named("gpt2-medium", block_size=16)
    assert (c.n_layer, c.n_head, c.n_embd, c.block_size, c.vocab_size) == (24, 16, 1024, 16, 50257)
    assert all(GPTConfig.named(name).n_embd % 64 == 0 for name in SIZES)
    with pytest.raises(ValueError, match="unknown GPT-2 size 'gpt3'"):
        GPTConfig.named("gpt3")


def test_every_field_is_explained_and_every_tokenizer_offered() -> None:
    import inspect

    for cls in (GPTConfig, TrainConfig):
        source = inspect.getsource(cls)
        for f in fields(cls):
            after = source.split(f"\n    {f.name}: ")[1].split("\n", 2)[1]
            assert after.startswith('    """') and len(after) > 20, f.name
    assert set(get_args(TokenizerKind)) == set(TOKENIZERS)


@pytest.mark.parametrize("name", PRESETS)
def test_dictionary_round_trip(name: str) -> None:
    assert TrainConfig.from_dict(preset(name).to_dict()) == preset(name)
    assert GPTConfig.from_dict(preset(name).model.to_dict()) == preset(name).model


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"n_layer": 0}, "n_layer must be a positive integer, got 0"),
        ({"n_layer": True}, "n_layer must be int, got True"),
        ({"n_layer": 4.0}, "n_layer must be int, got 4.0"),
        ({"block_size": "64"}, "block_size must be int, got '64'"),
        ({"bias": 1}, "bias must be bool, got 1"),
        ({"n_embd": 130, "n_head": 4}, "n_embd=130 is not divisible by n_head=4.* n_head=2 or 5, .* n_embd=132"),
        ({"n_embd": 4, "n_head": 9}, "n_embd=4 is not divisible by n_head=9.* choose n_head=4, or .* such as n_embd=9"),
        ({"dropout": 1.0}, r"dropout must be in \[0, 1\), got 1.0"),
        ({"dropout": math.nan}, r"dropout must be in \[0, 1\), got nan"),
        ({"n_layr": 3}, "unknown field 'n_layr'; did you mean n_layer?"),
        ({"zzz": 3}, "unknown field 'zzz'; expected some of block_size"),
    ],
)
def test_bad_shapes(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"GPTConfig: {message}"):
        GPTConfig.from_dict(values)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"max_iters": 0}, "max_iters must be at least 1, got 0"),
        ({"learning_rate": math.inf}, "learning_rate must be at least 0, got inf"),
        ({"learning_rate": "fast"}, "learning_rate must be float, got 'fast'"),
        ({"grad_clip": -1}, "grad_clip must be at least 0, got -1"),
        ({"beta2": 1}, "beta2 must be below 1, got 1"),
        ({"tokenizer": "word"}, "tokenizer must be one of char, byte, gpt2, got 'word'"),
        ({"eval_iters": 20, "final_eval_iters": 10}, "final_eval_iters=10 must be at least eval_iters=20"),
        ({"lr_decay_iters": 50}, "lr_decay_iters=50 must be above warmup_iters=100; leave it out"),
        ({"lr_decay_iters": 1.5}, "lr_decay_iters must be int or None, got 1.5"),
        ({"model": {"n_head": 0}}, "n_head must be a positive integer"),
        ({"model": 3}, "expected a dictionary of fields, got 3"),
        ({"batchsize": 3}, "unknown field 'batchsize'; did you mean batch_size?"),
    ],
)
def test_bad_runs(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"Config: {message}"):
        TrainConfig.from_dict(values)


def test_an_int_will_do_for_a_float() -> None:
    assert TrainConfig.from_dict({"learning_rate": 1, "weight_decay": 0}).learning_rate_at(2000) == 1e-4
