"""Recomputation and mixed precision on the GPU."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tinygrad_edu as tg
from gpt.config import GPTConfig, preset
from gpt.model import GPT
from gpt.trainer import Trainer
from tinygrad_edu import nn
from tinygrad_edu.backend import gpu

SHAPE = GPTConfig(block_size=8, vocab_size=13, n_layer=2, n_head=2, n_embd=16, dropout=0.2)


def same(a: Any, b: Any) -> bool:
    return bool((a == b).all())


def step(recompute: bool) -> tuple[float, list[Any], Any]:
    """The loss of a GPT with dropout, its gradients, and the random numbers that come next."""
    tg.manual_seed(4)
    model = GPT(SHAPE).to("cuda")
    model.recompute = recompute
    x = tg.randint(0, 13, (2, 8), device="cuda")
    loss = model(x, x)[1]
    loss.backward()
    return loss.item(), [p.grad for p in model.parameters()], tg.rand(3, device="cuda")


@pytest.mark.parametrize("kernels", ["reference", "auto"])
def test_recomputation_changes_no_bit(kernels: str):
    with tg.use_kernels(kernels):
        loss, gradients, drawn = step(False)
        other_loss, others, other_drawn = step(True)
    assert loss == other_loss and all(map(same, gradients, others)) and same(drawn, other_drawn)


def test_autocast_and_the_scaler():
    tg.manual_seed(4)
    model = nn.Sequential(nn.Linear(8, 16), nn.LayerNorm(16), nn.Linear(16, 4)).to("cuda")
    optimizer, scaler = tg.optim.AdamW(model.parameters(), lr=0.01), tg.amp.GradScaler("cuda", init_scale=2.0**10)
    x, target = tg.randn(6, 8, device="cuda"), tg.randint(0, 4, (6,), device="cuda")
    plain = nn.functional.cross_entropy(model(x), target).item()
    with tg.autocast("cuda", dtype=tg.float16):
        hidden = model[0](x)
        assert hidden.dtype == tg.float16 and model[1](hidden).dtype == tg.float32
        assert hidden.softmax(-1).dtype == hidden.exp().dtype == hidden.sum().dtype == tg.float32
        loss = nn.functional.cross_entropy(model(x), target)
    assert loss.dtype == tg.float32 and loss.item() == pytest.approx(plain, rel=1e-2)
    scaler.scale(loss).backward()
    assert {p.grad.dtype for p in model.parameters()} == {tg.float32}
    before = [p.detach().clone() for p in model.parameters()]
    scaler.step(optimizer)
    scaler.update()
    assert not any(map(same, before, model.parameters())) and scaler.get_scale() == 2.0**10
    after = [p.detach().clone() for p in model.parameters()]
    model[0].weight.grad[0, 0] = float("inf")
    scaler.step(optimizer)
    scaler.update()
    assert all(map(same, after, model.parameters())) and scaler.get_scale() == 2.0**9


def test_the_switch_for_tf32_is_cupys():
    core = gpu.cupy()._core
    default, tf32 = core.get_compute_type("float32"), 7  # as CuPy's enumeration has it
    assert default != tf32 and not tg.backends.cuda.matmul.allow_tf32
    try:
        tg.backends.cuda.matmul.allow_tf32 = True
        assert core.get_compute_type("float32") == tf32 and tg.get_float32_matmul_precision() == "high"
        assert core.get_compute_type("float64") != tf32
        x = tg.ones(3, 3, device="cuda")
        assert (x @ x).sum().item() == 27
    finally:
        tg.set_float32_matmul_precision("highest")
    assert core.get_compute_type("float32") == default and not tg.backends.cuda.matmul.allow_tf32


def test_autocast_to_bfloat16():
    tg.manual_seed(4)
    model = GPT(SHAPE).to("cuda")
    x = tg.randint(0, 13, (2, 8), device="cuda")
    plain = model(x, x)[1].item()
    tg.manual_seed(4)
    model = GPT(SHAPE).to("cuda")
    x = tg.randint(0, 13, (2, 8), device="cuda")
    with tg.autocast("cuda", dtype=tg.bfloat16):
        logits, loss = model(x, x)
    assert tg.cuda.is_bf16_supported() and logits.dtype == tg.bfloat16 and loss.dtype == tg.float32
    assert loss.item() == pytest.approx(plain, rel=1e-2)
    loss.backward()
    assert {p.grad.dtype for p in model.parameters()} == {tg.float32}
    assert all(bool(p.grad.isfinite().all()) for p in model.parameters())


def test_bfloat16_moves_and_is_kept(tmp_path: Path):
    x = tg.tensor([[1.5, -2.25], [1e30, 3.0]], dtype=tg.bfloat16, device="cuda")
    tg.save({"x": x}, tmp_path / "x.safetensors")
    y = tg.load(tmp_path / "x.safetensors", "cuda")["x"]
    assert x.dtype == y.dtype == x.cpu().dtype == tg.bfloat16 and same(x, y) and same(x.cpu(), y.cpu())
    assert x.sort().indices.tolist() == [[1, 0], [1, 0]] and (x @ x).dtype == tg.bfloat16
    assert repr(x[0]) == "tensor([ 1.5 , -2.25], device='cuda:0', dtype=tinygrad_edu.bfloat16)"


@pytest.mark.parametrize("name", ["SGD", "AdamW", "RMSprop", "Muon"])
def test_parameters_in_bfloat16_learn(name: str):
    tg.manual_seed(0)
    x, y = (tg.randn(64, n, dtype=tg.bfloat16, device="cuda") for n in (8, 1))
    model = nn.Sequential(nn.Linear(8, 16), nn.GELU(), nn.LayerNorm(16), nn.Linear(16, 1)).to("cuda").bfloat16()
    matrices = [p for p in model.parameters() if p.ndim == 2]
    optimizer, losses = getattr(tg.optim, name)(matrices, lr=0.01), []
    for _ in range(8):
        loss = nn.functional.mse_loss(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] and {p.dtype for p in model.parameters()} == {tg.bfloat16}


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_losses_of_the_laptop_are_within_a_hundredth_of_those_in_float32(data_dir: Path, tmp_path: Path, dtype: str):
    """Of 200 steps; on the emulated GPU, which takes 6 seconds for one, of 30."""
    losses = []
    for device, precision in (("cpu", "float32"), ("cuda", dtype)):
        config = replace(
            preset("laptop"), device=device, dtype=precision, max_iters=200, out_dir=str(tmp_path / device),
            dataset=str(data_dir / "tinyshakespeare.txt"),
        )  # fmt: skip
        trainer = Trainer.start(config)
        losses.append([trainer.update().loss for _ in range(30 if "CUPY_ON_CPU" in os.environ else 200)])
    np.testing.assert_allclose(losses[1], losses[0], rtol=1e-2)


@pytest.mark.parametrize("variable, switch, expected", [
    ("1", "", "True True"), ("0", "", "False False"), ("1", "cuda.matmul.allow_tf32 = False", "False False"),
    ("0", "cuda.matmul.allow_tf32 = True", "True True"),
])  # fmt: skip
def test_the_switch_holds_from_before_cupy_is_loaded(variable: str, switch: str, expected: str):
    program = f"""
import sys
from tinygrad_edu import cuda as device
from tinygrad_edu.backends import cuda
{switch}
assert "cupy" not in sys.modules
before = cuda.matmul.allow_tf32
device.synchronize()
import cupy
assert cuda.matmul.allow_tf32 == (cupy._core.get_compute_type("float32") == 7)
print(before, cuda.matmul.allow_tf32)
"""
    environment = {**os.environ, "CUPY_TF32": variable}
    run = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True)
    assert run.stdout.strip() == expected, run.stderr
