"""Training on the GPU: a GPT and all optimizers as on the CPU, without copies that nobody asked for."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import tinygrad_edu as tg
from gpt.config import PRESETS, GPTConfig
from gpt.model import GPT
from tinygrad_edu import optim
from tinygrad_edu.backend import transfers

SIZE = GPTConfig(block_size=16, vocab_size=65, n_layer=2, n_head=2, n_embd=32, dropout=0.1)


def _batch(seed):
    tokens = tg.from_numpy(np.random.default_rng(seed).integers(0, 65, (4, 17)))
    return tokens[:, :-1], tokens[:, 1:]


def _trained(device, steps=4):
    tg.manual_seed(1)
    model = GPT(SIZE).to(device)
    optimizer = optim.AdamW(model.parameters(), lr=1e-3)
    losses = []
    for step in range(steps):
        x, y = _batch(step)
        loss = model(x.to(device), y.to(device))[1]
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    return losses, model


def test_a_gpt_is_trained_as_on_the_cpu_dropout_included():
    (expected, cpu), (found, gpu) = _trained("cpu"), _trained("cuda")
    assert np.allclose(found, expected, rtol=1e-4)
    for (name, p), q in zip(cpu.named_parameters(), gpu.parameters(), strict=True):
        assert q.device == tg.device("cuda", 0)
        # Adam's first steps are as large for a gradient of rounding errors as for any other.
        assert (p - q.cpu()).abs().max().item() < 4 * 1e-3, name


def test_a_step_copies_the_batch_in_and_the_loss_out(monkeypatch):
    """Counted by the backend, and by CuPy itself where the backend is not asked."""
    import cupy as cp

    model = GPT(SIZE).to("cuda")
    optimizer = optim.AdamW(model.parameters(), lr=1e-3)
    hidden = []
    get = cp.ndarray.get
    monkeypatch.setattr(cp.ndarray, "get", lambda self, *a, **k: hidden.append(self.shape) or get(self, *a, **k))

    def step():
        x, y = (t.to("cuda") for t in _batch(0))
        loss = model(x, y)[1]
        loss.backward()
        tg.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        return loss

    step().item()
    hidden.clear()
    with transfers.counted() as count:
        loss = step()
    assert (count.to_device, count.to_host, hidden) == (2, 0, [])
    with transfers.counted() as count:
        loss.item()
    assert (count.to_device, count.to_host) == (0, 1)


@pytest.mark.parametrize("name", "SGD Adam AdamW NAdam RAdam Adamax Adagrad Adadelta RMSprop Muon".split())
def test_every_optimizer_updates_as_on_the_cpu(name):
    def updated(device):
        tg.manual_seed(0)
        p = tg.randn(6, 4, dtype=tg.float64).to(device).requires_grad_()
        optimizer = getattr(optim, name)([p], lr=0.01)
        for _ in range(3):
            optimizer.zero_grad()
            (p * p * p).sum().backward()
            optimizer.step()
        other = getattr(optim, name)([p], lr=0.01)
        other.load_state_dict(optimizer.state_dict())
        return p.detach().cpu().numpy()

    assert np.allclose(updated("cuda"), updated("cpu"), rtol=1e-9, atol=1e-12)


def test_what_was_saved_on_one_device_is_loaded_on_the_other(tmp_path):
    model = tg.nn.Linear(3, 2).to("cuda")
    tg.save(model.state_dict(), tmp_path / "model")
    again = tg.nn.Linear(3, 2)
    again.load_state_dict(tg.load(tmp_path / "model"))
    assert again.weight.device.type == "cpu" and tg.equal(again.weight, model.weight.cpu())
    assert tg.load(tmp_path / "model", map_location="cuda")["weight"].is_cuda


LAPTOP = PRESETS["laptop"]


@pytest.mark.slow
def test_the_laptop_model_takes_the_steps_of_the_cpu(monkeypatch):
    """Its shape and batches, dropout aside: at each step losses and gradients to rounding, copies, and memory."""
    import cupy as cp

    size = replace(LAPTOP.model, vocab_size=65, dropout=0.0)
    assert (size.n_layer, size.n_head, size.n_embd, size.block_size, LAPTOP.batch_size) == (4, 4, 128, 64, 12)
    hidden = []
    get = cp.ndarray.get
    monkeypatch.setattr(cp.ndarray, "get", lambda self, *a, **k: hidden.append(self.shape) or get(self, *a, **k))

    def steps(device):
        tg.manual_seed(1)
        model = GPT(size).to(device)
        optimizer = optim.AdamW(model.parameters(), lr=LAPTOP.learning_rate)
        for step in range(8):
            walk = np.random.default_rng(step).integers(0, 3, (LAPTOP.batch_size, size.block_size + 1)).cumsum(1) % 65
            tokens = tg.from_numpy(walk)
            hidden.clear()
            with transfers.counted() as count:
                loss = model(tokens[:, :-1].to(device), tokens[:, 1:].to(device))[1]
                loss.backward()
                tg.nn.utils.clip_grad_norm_(model.parameters(), LAPTOP.grad_clip)
                optimizer.step()
            copies = count.to_device, count.to_host, len(hidden)
            gradients = {name: p.grad.cpu().numpy() for name, p in model.named_parameters()}
            optimizer.zero_grad()
            yield loss.item(), gradients, copies, tg.cuda.memory_allocated()

    memory = []
    for step, (cpu, gpu) in enumerate(zip(steps("cpu"), steps("cuda"), strict=True)):
        assert gpu[0] == pytest.approx(cpu[0], rel=1e-5), step
        for name, expected in cpu[1].items():
            off = np.abs(gpu[1][name] - expected).max() / np.abs(expected).max()
            # After the first step parameters differ: Adam moves by lr also where a gradient is nothing but rounding.
            assert off < (5e-4 if step else 1e-5), (step, name, off)
        assert gpu[2] == (2, 0, 0), step  # the batch in, nothing out
        memory.append(gpu[3])
    assert cpu[0] < 3 and len(set(memory)) == 1
