"""Generation: tokens, probabilities, the cache, stopping, and the model's state afterwards."""

from __future__ import annotations

import gc
import math
from dataclasses import replace

import numpy as np
import pytest
from test_model import CONFIG, shaken

import tinygrad_edu as tg
from gpt.config import GPTConfig
from gpt.model import GPT, next_token_probabilities

V, BLOCK = CONFIG.vocab_size, CONFIG.block_size
PROMPTS = tg.tensor([[3, 14, 15], [9, 26, 5]])
LONG = tg.tensor(np.random.default_rng(7).integers(0, V, (2, 20)))  # longer than a block


def lively(**changes) -> GPT:
    """A model with weights so large, and no biases, that what it says next changes with all that it has read."""
    model = shaken(GPT(replace(CONFIG, bias=False, **changes)), seed=1).double()
    with tg.no_grad():
        for p in model.h.parameters():
            p.mul_(4)
    return model


@pytest.fixture(scope="module")
def model() -> GPT:
    return lively().eval()


def seeded(seed: int) -> tg.Generator:
    return tg.Generator().manual_seed(seed)


def by_hand(model: GPT, idx: tg.Tensor, n: int, choose) -> list[list[int]]:
    """One token after the other, each from a whole reading of the last block_size tokens."""
    for _ in range(n):
        logits, _ = model(idx[:, -model.config.block_size :])
        idx = tg.cat((idx, choose(logits[:, -1].detach())), dim=1)
    return idx.tolist()


# ---- which tokens ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("use_cache", [True, False])
@pytest.mark.parametrize(
    "prompt", [PROMPTS, PROMPTS[:1], LONG, LONG[:, :BLOCK], LONG[:, : BLOCK + 1]], ids=lambda x: str(tuple(x.shape))
)
def test_greedy_takes_the_most_likely_token(model, prompt, use_cache):
    expected = by_hand(model, prompt, 25, lambda logits: logits.argmax(-1, keepdim=True))
    found = model.generate(prompt, 25, do_sample=False, use_cache=use_cache)
    assert found.dtype == tg.int64 and found.tolist() == expected
    assert len({*found[0].tolist()[-15:]}) > 4


@pytest.mark.parametrize("use_cache", [True, False])
@pytest.mark.parametrize("options", [
    {}, {"temperature": 0.7}, {"top_k": 5}, {"top_p": 0.8}, {"temperature": 1.3, "top_k": 9, "top_p": 0.9},
], ids=str)  # fmt: skip
def test_sampling_draws_from_the_probabilities(model, options, use_cache):
    hand = seeded(11)

    def choose(logits):
        return tg.multinomial(next_token_probabilities(logits, **options), 1, generator=hand)

    for prompt in (PROMPTS, LONG):
        generator = seeded(11)
        hand.manual_seed(11)
        expected = by_hand(model, prompt, 20, choose)
        assert model.generate(prompt, 20, use_cache=use_cache, generator=generator, **options).tolist() == expected


def test_the_cache_is_used_until_the_window_slides(model):
    read = []
    handle = model.wte.register_forward_hook(lambda module, args, output: read.append(args[0].size(1)))
    model.generate(PROMPTS, 14)
    expected = [3] + [1] * (BLOCK - 3) + [BLOCK] * 4
    model.generate(PROMPTS, 3, use_cache=False)
    handle.remove()
    assert read == expected + [3, 4, 5]


def test_every_prompt_of_a_batch_goes_its_own_way(model):
    together = model.generate(LONG, 15, do_sample=False).tolist()
    assert together == [model.generate(LONG[i : i + 1], 15, do_sample=False)[0].tolist() for i in range(2)]


def test_a_block_of_one_token():
    tiny = lively(block_size=1)
    expected = by_hand(tiny, PROMPTS, 6, lambda logits: logits.argmax(-1, keepdim=True))
    assert tiny.generate(PROMPTS, 6, do_sample=False).tolist() == expected


def test_generation_after_crop_block_size():
    cropped = lively()
    expected = by_hand(cropped, LONG[:, -5:], 1, lambda logits: logits.argmax(-1, keepdim=True))
    cropped.crop_block_size(5)
    assert cropped.generate(LONG, 1, do_sample=False)[:, -1].tolist() == [row[-1] for row in expected]
    assert cropped.generate(LONG, 9, do_sample=False, use_cache=False).tolist() == cropped.generate(
        LONG, 9, do_sample=False
    ).tolist()  # fmt: skip


def test_streaming_gives_the_tokens_of_generate(model):
    pieces = list(model.stream(PROMPTS, 18, temperature=0.9, top_k=7, generator=seeded(2)))
    assert [tuple(piece.shape) for piece in pieces] == [(2, 1)] * 18
    whole = model.generate(PROMPTS, 18, temperature=0.9, top_k=7, generator=seeded(2))
    assert tg.cat([PROMPTS, *pieces], dim=1).tolist() == whole.tolist()


def test_the_generator_decides(model):
    def drawn(seed):
        return model.generate(PROMPTS, 20, generator=seeded(seed)).tolist()

    default = tg.get_rng_state().tolist()
    assert drawn(1) == drawn(1) != drawn(2)
    assert tg.get_rng_state().tolist() == default
    tg.manual_seed(1)
    assert model.generate(PROMPTS, 20).tolist() == drawn(1)
    assert tg.get_rng_state().tolist() != default
    state = tg.get_rng_state().tolist()
    model.generate(PROMPTS, 20, do_sample=False)
    assert tg.get_rng_state().tolist() == state  # greedy draws nothing


@pytest.mark.parametrize("dtype", [tg.uint8, tg.int32])
def test_prompts_of_any_integer_dtype(model, dtype):
    expected = model.generate(LONG, 5, do_sample=False)
    found = model.generate(LONG.to(dtype), 5, do_sample=False)
    assert found.dtype == tg.int64 and found.tolist() == expected.tolist()


def test_no_new_tokens(model):
    assert model.generate(LONG, 0).tolist() == LONG.tolist()
    assert list(model.stream(LONG, 0)) == []


# ---- the probabilities -----------------------------------------------------------------------------------------------


def directly(logits: np.ndarray, temperature: float = 1.0, top_k: int | None = None, top_p: float | None = None):
    """The definitions, token by token."""
    weights = [math.exp((x - max(logits)) / temperature) for x in logits]
    ranked = sorted(range(len(weights)), key=lambda i: -weights[i])
    kept = set(ranked)
    if top_k is not None:
        kept = {i for i in kept if sum(weights[j] > weights[i] for j in ranked) < top_k}
    total = sum(weights[i] for i in kept)
    if top_p is not None:
        nucleus, have = set(), 0.0
        for i in ranked:
            if i in kept and have < top_p:
                nucleus.add(i)
                have += weights[i] / total
        kept = nucleus
    total = sum(weights[i] for i in kept)
    return [weights[i] / total if i in kept else 0.0 for i in range(len(weights))]


LOGITS = np.random.default_rng(5).normal(0, 2, (4, V))


@pytest.mark.parametrize("options", [
    {}, {"temperature": 0.5}, {"temperature": 3.0}, {"temperature": 1e-3}, {"top_k": 1}, {"top_k": 4}, {"top_k": V},
    {"top_k": V + 10}, {"top_p": 0.9}, {"top_p": 0.5}, {"top_p": 1e-9}, {"top_p": 1.0},
    {"top_k": 6, "top_p": 0.7}, {"temperature": 0.8, "top_k": 12, "top_p": 0.95}, {"temperature": 2.0, "top_p": 0.6},
], ids=str)  # fmt: skip
def test_probabilities_are_as_defined(options):
    found = next_token_probabilities(tg.tensor(LOGITS), **options).numpy()
    np.testing.assert_allclose(found, [directly(row, **options) for row in LOGITS], rtol=1e-12, atol=0)


def test_probabilities_of_a_known_distribution():
    logits = tg.tensor([[0.5, 0.3, 0.15, 0.05]], dtype=tg.float64).log()
    for options, expected in [
        ({}, [0.5, 0.3, 0.15, 0.05]),
        ({"top_k": 2}, [5 / 8, 3 / 8, 0, 0]),
        ({"top_p": 0.4}, [1, 0, 0, 0]),
        ({"top_p": 0.6}, [5 / 8, 3 / 8, 0, 0]),
        ({"top_p": 0.9}, [10 / 19, 6 / 19, 3 / 19, 0]),
        ({"top_k": 2, "top_p": 0.6}, [1, 0, 0, 0]),  # of the two that are left the first has 0.625
        ({"temperature": 0.5}, [x * x / 0.365 for x in (0.5, 0.3, 0.15, 0.05)]),
    ]:
        found = next_token_probabilities(logits, **options)
        np.testing.assert_allclose(found.numpy()[0], expected, rtol=1e-12, err_msg=str(options))


def test_equally_likely_tokens():
    tied = tg.tensor([[1.0, 2.0, 2.0, 0.0]])
    assert next_token_probabilities(tied, top_k=1).tolist() == [[0, 0.5, 0.5, 0]]
    assert next_token_probabilities(tied, top_p=0.1).tolist() == [[0, 1, 0, 0]]
    assert next_token_probabilities(tg.zeros(1, 4), top_p=0.5).tolist() == [[0.5, 0.5, 0, 0]]  # two are enough


@pytest.mark.parametrize("dtype", [tg.float16, tg.float32])
@pytest.mark.parametrize("temperature", [1e-300, 1e-5, 1.0, 1e300])
def test_extreme_logits_and_temperatures(dtype, temperature):
    logits = tg.tensor([[6e4, 1.0, -6e4], [-6e4, -6e4, -6e4]], dtype=dtype)
    found = next_token_probabilities(logits, temperature, top_p=0.999).numpy()
    np.testing.assert_allclose(found.sum(axis=1), 1)
    assert found[0].tolist() == ([1, 0, 0] if temperature < 1e300 else [1 / 3] * 3)
    np.testing.assert_allclose(found[1], 1 / 3)


@pytest.mark.parametrize("options", [{}, {"temperature": 1.7, "top_k": 6}, {"top_p": 0.7}], ids=str)
def test_tokens_come_as_often_as_they_are_likely(model, options):
    n = 4000
    logits = model(PROMPTS[:1])[0].detach().numpy()[0, 0].astype(np.float64)
    expected = np.array(directly(logits, **options))
    drawn = model.generate(PROMPTS[:1].repeat(n, 1), 1, generator=seeded(3), **options)[:, -1].numpy()
    counts = np.bincount(drawn, minlength=V)
    assert not counts[expected == 0].any()
    likely = expected > 0
    chi2 = ((counts - n * expected)[likely] ** 2 / (n * expected[likely])).sum()
    freedom = likely.sum() - 1
    assert chi2 < freedom + 4 * math.sqrt(2 * freedom)


# ---- stopping --------------------------------------------------------------------------------------------------------


def test_stop(model):
    free = model.generate(PROMPTS[:1], 20, do_sample=False)[0].tolist()
    token = free[8]
    end = free.index(token, 3)  # where it comes first after the prompt
    for stop in (token, [token], (token, token), {token}, np.int64(token), tg.tensor([token])):
        found = model.generate(PROMPTS[:1], 20, do_sample=False, stop=stop)
        assert found[0].tolist() == free[: end + 1]
    never = next(t for t in range(V) if t not in free)
    for stop in (never, [], None):
        assert model.generate(PROMPTS[:1], 20, do_sample=False, stop=stop)[0].tolist() == free


def test_a_stop_token_in_the_prompt_does_not_stop(model):
    free = model.generate(PROMPTS, 4, do_sample=False)
    others = [t for t in PROMPTS.flatten().tolist() if t not in free[:, 3:].flatten().tolist()]
    assert PROMPTS[0, -1].item() in others
    assert model.generate(PROMPTS, 4, do_sample=False, stop=others).tolist() == free.tolist()


def test_a_finished_sequence_waits_for_the_others(model):
    free = model.generate(PROMPTS, 12, do_sample=False).tolist()
    stops = [free[0][3], free[1][8]]
    ends = [next(i for i, t in enumerate(row) if i >= 3 and t in stops) for row in free]
    assert ends[0] != ends[1]
    last = max(ends)
    expected = [row[: end + 1] + [row[end]] * (last - end) for row, end in zip(free, ends, strict=True)]
    for use_cache in (True, False):
        found = model.generate(PROMPTS, 12, do_sample=False, stop=stops, use_cache=use_cache)
        assert found.tolist() == expected


# ---- the model's state -----------------------------------------------------------------------------------------------


@pytest.fixture
def training() -> GPT:
    """A model in training mode with dropout, but for one part in evaluation mode."""
    model = lively(dropout=0.5)
    model.h[1].eval()
    return model


def modes(model: GPT) -> list[bool]:
    return [module.training for module in model.modules()]


def test_generation_drops_nothing_and_leaves_the_modes(training, model):
    before = modes(training)
    assert True in before and False in before
    assert training.generate(PROMPTS, 15, do_sample=False).tolist() == model.generate(
        PROMPTS, 15, do_sample=False
    ).tolist()  # fmt: skip
    assert modes(training) == before


def test_between_two_tokens_the_model_can_train(training):
    before = modes(training)
    stream = training.stream(PROMPTS, 5)
    for _ in range(2):
        next(stream)
        assert modes(training) == before and tg.is_grad_enabled()
        training(PROMPTS, PROMPTS)[1].backward()
    del stream  # abandoned
    gc.collect()
    assert modes(training) == before and tg.is_grad_enabled()


def test_an_error_leaves_the_modes(training):
    before = modes(training)

    def fail(module, args, output):
        raise KeyError("a hook's own error")

    handle = training.h[2].register_forward_hook(fail)
    with pytest.raises(KeyError, match="own error"):
        training.generate(PROMPTS, 5)
    handle.remove()
    assert modes(training) == before and tg.is_grad_enabled()
    training.generate(PROMPTS, 2)


def test_generation_records_nothing(model):
    for piece in model.stream(PROMPTS, 2):
        assert not piece.requires_grad
    assert all(p.grad is None for p in model.parameters())
    caches = []
    handle = model.h[0].attn.register_forward_pre_hook(lambda module, args: caches.append(args[1]))
    model.generate(PROMPTS, 3)
    handle.remove()
    assert caches[0] is caches[2] and len(caches[0]) == 5 and not caches[0].keys.requires_grad


# ---- bad input -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("options, error, message", [
    ({"max_new_tokens": -1}, ValueError, "max_new_tokens must be 0 or more, got -1"),
    ({"max_new_tokens": 2.0}, TypeError, "max_new_tokens must be an integer, got 2.0"),
    ({"max_new_tokens": None}, TypeError, "max_new_tokens must be an integer, got None"),
    ({"max_new_tokens": True}, TypeError, "max_new_tokens must be an integer, got True"),
    ({"temperature": 0.0}, ValueError, "temperature must be positive and finite, got 0.0; .* use do_sample=False"),
    ({"temperature": -1.0}, ValueError, "temperature .* got -1.0"),
    ({"temperature": math.nan}, ValueError, "temperature .* got nan"),
    ({"temperature": math.inf}, ValueError, "temperature .* got inf"),
    ({"top_k": 0}, ValueError, "top_k must be at least 1, got 0"),
    ({"top_k": 2.5}, TypeError, "top_k must be an integer, got 2.5"),
    ({"top_p": 0.0}, ValueError, "top_p must be above 0 and at most 1, got 0.0"),
    ({"top_p": 1.1}, ValueError, "top_p must be above 0 and at most 1, got 1.1"),
    ({"top_p": math.nan}, ValueError, "top_p .* got nan"),
    ({"stop": 29}, ValueError, "stop must be from 0 to 28, got 29"),
    ({"stop": [1, -1]}, ValueError, "stop must be from 0 to 28, got -1"),
    ({"stop": "\n"}, TypeError, r"stop must be an integer, got '\\n'"),
    ({"stop": 1.5}, TypeError, "stop must be an integer, got 1.5"),
    ({"idx": [[1, 2]]}, TypeError, "Tensor of token ids, got list"),
    ({"idx": tg.zeros(1, 3)}, TypeError, "integer dtype, got .*float32"),
    ({"idx": tg.tensor([1, 2])}, ValueError, r"got \(2,\); x\[None\]"),
    ({"idx": tg.zeros(1, 0, dtype=tg.int64)}, ValueError, r"got \(1, 0\)"),
    ({"idx": tg.zeros(0, 1, dtype=tg.int64)}, ValueError, r"got \(0, 1\)"),
    ({"idx": tg.tensor([[1, 29]])}, IndexError, "token id 29 is outside the vocabulary"),
    ({"idx": tg.tensor([[29] + [0] * 20])}, IndexError, "token id 29"),  # beyond what the model would read
])  # fmt: skip
def test_bad_input_is_named_at_once(model, options, error, message):
    arguments = {"idx": PROMPTS, "max_new_tokens": 3, **options}
    with pytest.raises(error, match=message):
        model.stream(**arguments)  # before the first token is asked for
    with pytest.raises(error, match=message):
        model.generate(**arguments)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
@pytest.mark.parametrize("do_sample", [True, False])
def test_logits_that_are_not_finite(bad, do_sample):
    broken = lively()
    with tg.no_grad():
        broken.ln_f.weight[3] = bad
    with pytest.raises(RuntimeError, match="logits are not finite.*go back to a checkpoint"):
        broken.generate(PROMPTS, 3, do_sample=do_sample)
    assert broken.training


def test_a_vocabulary_of_one_token():
    single = GPT(GPTConfig(block_size=4, vocab_size=1, n_layer=1, n_head=1, n_embd=2))
    assert single.generate(tg.zeros(1, 1, dtype=tg.int64), 6, top_k=3, top_p=0.5).tolist() == [[0] * 7]
