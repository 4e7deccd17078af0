"""A run goes on on the other device, and a GPT in half precision learns on the GPU."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import tinygrad_edu as tg
from gpt.config import GPTConfig, TrainConfig
from gpt.model import GPT
from gpt.report import read_metrics
from gpt.trainer import Trainer
from tinygrad_edu.autograd import unfinished

DEVICES = ("cpu", "cuda")


@pytest.fixture
def tiny(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> TrainConfig:
    monkeypatch.setattr("gpt.report.plot", lambda *args: None)
    (tmp_path / "text.txt").write_text("To be, or not to be, that is the question: " * 30, encoding="utf-8")
    return TrainConfig(
        dataset=str(tmp_path / "text.txt"), out_dir=str(tmp_path / "run"), batch_size=3, max_iters=4,
        eval_interval=4, eval_iters=2, log_interval=1, warmup_iters=2, sample_tokens=0,
        model=GPTConfig(block_size=8, n_layer=1, n_head=2, n_embd=16, dropout=0.1),
    )  # fmt: skip


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
@pytest.mark.parametrize(("first", "then"), [DEVICES, DEVICES[::-1]])
def test_a_run_goes_on_on_the_other_device(tiny: TrainConfig, tmp_path: Path, first: str, then: str, optimizer: str):
    """To what it would have come to where it began: batches, dropout, moments and schedule all go on."""
    tiny = replace(tiny, device=first, optimizer=optimizer)
    whole = Trainer.start(replace(tiny, out_dir=str(tmp_path / "whole"), max_iters=8, lr_decay_iters=8))
    whole.run()
    Trainer.start(replace(tiny, lr_decay_iters=8)).run()
    resumed = Trainer.resume(tiny.out_dir, device=then, max_iters=8)
    assert resumed.step == 4 and {p.device.type for p in resumed.model.parameters()} == {then}
    moments = [value for state in resumed.optimizer.state_dict()["state"].values() for value in state.values()]
    assert {m.device.type for m in moments if m.dim()} == {then}
    resumed.run()
    expected, found = (read_metrics(folder) for folder in (str(tmp_path / "whole"), tiny.out_dir))
    assert [row["step"] for row in found] == [row["step"] for row in expected] == list(range(9))
    for row, other in zip(found, expected, strict=True):
        for name in ("loss", "val_loss"):
            assert (row[name] is None) == (other[name] is None)
            assert row[name] is None or row[name] == pytest.approx(other[name], rel=1e-3), row
    assert unfinished.may_wait, "training shares memory with other code"


def test_a_gpt_learns_in_half_precision():
    size = GPTConfig(block_size=8, vocab_size=13, n_layer=2, n_head=2, n_embd=16)

    def trained(half: bool) -> list[float]:
        model = GPT(size, tg.Generator().manual_seed(0)).to("cuda")
        optimizer = tg.optim.AdamW(model.parameters(), lr=1e-2)
        scaler = tg.amp.GradScaler("cuda", enabled=half)
        tokens = tg.from_numpy(np.random.default_rng(1).integers(0, 13, (4, 9))).to("cuda")
        losses = []
        for _ in range(12):
            with tg.autocast("cuda", dtype=tg.float16, enabled=half):
                logits, loss = model(tokens[:, :-1], tokens[:, 1:])
            assert logits.dtype == (tg.float16 if half else tg.float32)
            scaler.scale(loss).backward()
            scaler.unscale_(optimizer)
            tg.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            scaler.step(optimizer)
            scaler.update()
            optimizer.zero_grad()
            losses.append(loss.item())
        assert {p.dtype for p in model.parameters()} == {tg.float32}
        return losses

    half, single = trained(True), trained(False)
    assert half[-1] < 0.7 * half[0]
    assert np.allclose(half, single, rtol=0.02), (half, single)
