"""The benchmarks: their counts and files; that all of them run, in the quick form. No time is asserted."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import benchmarks.__main__ as benchmarks
from benchmarks import llmc, ops, report, startup, train_step, turns
from gpt.config import GPTConfig
from gpt.model import GPT

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize("name", train_step.SHAPES)
def test_products_are_the_matrices_of_the_model(name: str) -> None:
    shape = train_step.SHAPES[name]
    small = GPTConfig(**{**shape.config.to_dict(), "n_layer": 1, "n_embd": 12 * 4, "n_head": 12})
    multiplied = [p for n, p in GPT(small).named_parameters() if p.ndim == 2 and "wpe" not in n]  # wte is the head
    counted = sum(count * a * b for (a, b), count in train_step.products(small).items())
    assert counted == sum(p.numel() for p in multiplied)


def test_gflop_are_those_of_the_shapes() -> None:
    shape = train_step.Shape(GPTConfig(16, 10, 2, 2, 8), 3, 16, 1, 1, 1, 1.0)
    layer = 8 * 24 + 8 * 8 + 2 * 8 * 32
    linear = 3 * 2 * (3 * 16) * (2 * layer + 8 * 10)  # forward and two products backward; multiply and add; tokens
    scores = 3 * 2 * (2 * 3 * 2) * 16 * 16 * 4  # layers, batch, heads; T x T of head size 4
    assert train_step.gflop(shape) == {"linear": linear / 1e9, "attention": 2 * scores / 1e9}


def test_sgemm_makes_the_products(monkeypatch: pytest.MonkeyPatch) -> None:
    shape = train_step.Shape(GPTConfig(16, 10, 2, 2, 8), 3, 16, 1, 1, 1, 1.0)
    matmul, flop = np.matmul, []

    def counting(a: Any, b: Any, out: Any) -> Any:
        flop.append(2 * a.shape[0] * a.shape[1] * b.shape[1])
        return matmul(a, b, out=out)

    monkeypatch.setattr(np, "matmul", counting)
    train_step.sgemm(shape)(0)
    assert sum(flop) / 1e9 == train_step.gflop(shape)["linear"]


def test_a_missing_malloc_names_its_package(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    absent = {"jemalloc": ("libnowhere1", "libnowhere.so.1", {})}
    monkeypatch.setattr(train_step, "ALLOCATORS", absent)
    assert train_step.available(["ours", "torch", "torch-jemalloc"], asked_for=False) == ["ours", "torch"]
    assert "apt-get install libnowhere1" in capsys.readouterr().err
    with pytest.raises(SystemExit, match="torch-jemalloc cannot run: libnowhere.so.1 was not found; .*libnowhere1"):
        train_step.available(["torch-jemalloc"], asked_for=True)


def test_the_bar_is_against_the_best_of_all_rivals() -> None:
    row = {"min_s": 1.0, "peak_mb": 100.0, "cores": 2.0, "steps": 20}
    entry = {
        "gflop": {"linear": 10.0, "attention": 2.0},
        "contestants": {
            "ours": {**row, "median_s": 1.0, "ratio_median": 1.0, "ratio_min": 1.0, "peak_mb": 60.0},
            "ours-reference": {**row, "median_s": 0.5, "ratio_median": 0.5, "ratio_min": 0.5},
            "torch": {**row, "median_s": 1.5, "ratio_median": 1.5, "ratio_min": 1.2},
            "torch-compile-jemalloc": {**row, "median_s": 1.4, "ratio_median": 1.4, "ratio_min": 1.3},
            "sgemm": {**row, "median_s": 0.5, "ratio_median": 0.5, "ratio_min": 0.5},
            "stream": {**row, "median_s": 0.15, "ratio_median": 0.15, "ratio_min": 0.15},
        },
    }
    assert train_step.rates(entry)["ours"] == (12.0, 0.6)
    assert train_step.floor(entry) == pytest.approx(0.5 * 11 / 10 + 0.15)
    cells = [cell.strip() for cell in train_step.tables({"laptop": entry}).splitlines()[2].split("|")[1:-1]]
    compared = ["1.40 (torch-compile-jemalloc)", "1.20 (torch)", "1.35", "2.00", "70%"]
    expected = ["laptop", *compared, "0.60", "0.75", "60%", "65%"]
    assert cells == expected


def test_results_are_merged(tmp_path: Path) -> None:
    path = tmp_path / "results/x.json"
    turns.save(path, ["a", "b"], {"cpu": "one"}, {"b": {"median_s": 1.0}})
    turns.save(path, ["a", "b"], {"cpu": "two"}, {"a": {"median_s": 2.0}})
    merged = turns.save(path, ["a", "b"], {"cpu": "two"}, {})
    assert list(merged) == ["a", "b"] and merged == json.loads(path.read_text())
    assert merged["a"]["machine"] == {"cpu": "two"} and merged["b"] == {"machine": {"cpu": "one"}, "median_s": 1.0}
    assert list(turns.save(path, ["b"], {}, {})) == ["b"]
    assert os.listdir(path.parent) == ["x.json"]


def test_what_is_measured_stands_between_the_markers() -> None:
    page = "Text.\n\n<!-- begin a -->\nold\n<!-- end a -->\n\nMore.\n"
    new = report.fill(page, "a", "| 1 |")
    assert new == "Text.\n\n<!-- begin a -->\n\n| 1 |\n\n<!-- end a -->\n\nMore.\n"
    assert report.fill(new, "a", "| 1 |") == new and report.sections(new) == ["a"]
    for broken in ("nothing", "<!-- begin a -->", "<!-- end a --> <!-- begin a -->", page + page):
        with pytest.raises(ValueError, match="must have <!-- begin a -->"):
            report.fill(broken, "a", "")


@pytest.mark.parametrize(
    ("seconds", "text"), [(12.34, "12.3 s"), (1.0, "1 s"), (0.0456, "45.6 ms"), (7.891e-6, "7.89 µs"), (0.0, "0 µs")]
)
def test_seconds_have_three_digits(seconds: float, text: str) -> None:
    assert turns.seconds_text(seconds) == text


@pytest.mark.parametrize(
    "case", ["causal attention 12 × 4 × 64 × 32", "embedding 12 × 64, 65 × 128", "lstm 64 × 16 × 128"]
)
def test_libraries_that_disagree_are_noticed(case: str) -> None:
    import torch

    import tinygrad_edu as tg

    checks = {"ours": ops.with_library(tg, ops.BY_NAME[case]), "torch": ops.with_library(torch, ops.BY_NAME[case])}
    found = {name: passes["check"]() for name, passes in checks.items()}
    ops.agree(ops.BY_NAME[case], found)
    for what in ("output", "gradients"):
        with pytest.raises(SystemExit, match=f"of ours's {what}"):
            ops.agree(ops.BY_NAME[case], {**found, "ours": {**found["ours"], what: found["ours"][what] + 0.1}})


def test_work_of_an_operation() -> None:
    add = ops.BY_NAME["add 768 × 128, 768 × 128"]
    size = 4 * 768 * 128
    assert add.work(size) == {ops.FORWARD: 3 * size, ops.BOTH: 6 * size}
    product = ops.BY_NAME["matmul 768 × 128, 128 × 512"]
    assert product.work(0) == {ops.FORWARD: 2 * 768 * 128 * 512, ops.BOTH: 6 * 768 * 128 * 512}
    cross_entropy = ops.BY_NAME["cross_entropy 768 × 65"]
    logits = 4 * 768 * 65
    assert cross_entropy.work(4) == {ops.FORWARD: logits + 8 * 768 + 4, ops.BOTH: 2 * logits + 8 * 768 + 8}


def test_files_for_llmc(tmp_path: Path) -> None:
    config = GPTConfig(16, 65, 2, 2, 8)
    llmc.write_weights(tmp_path / "weights", config)
    head = np.fromfile(tmp_path / "weights", np.int32, 256)
    assert head[:8].tolist() == [20240326, 3, 16, 65, 2, 2, 8, 128] and not head[8:].any()
    values = np.fromfile(tmp_path / "weights", np.float32, offset=1024)
    assert len(values) == sum(p.numel() for p in GPT(config).parameters()) + (128 - 65) * 8
    assert (values[(128 + 16) * 8 :][: 2 * 8] == 1).all()  # the gains of the first norm follow the embeddings

    llmc.write_tokens(tmp_path / "new/tokens", 1000, 65)
    head = np.fromfile(tmp_path / "new/tokens", np.int32, 256)
    tokens = np.fromfile(tmp_path / "new/tokens", np.uint16, offset=1024)
    assert head[:3].tolist() == [20240520, 1, 1000] and len(tokens) == 1000 and tokens.max() < 65


def test_llmc_needs_a_checkout(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="train_gpt2.c does not exist; give the folder of a checkout"):
        llmc.build(tmp_path, tmp_path)


def test_every_start_is_named_once() -> None:
    assert len(set(startup.ENTRIES)) == len(startup.ENTRIES) == 10


def test_an_unknown_benchmark_is_named(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    monkeypatch.setattr(sys, "argv", ["benchmarks", "speed"])
    with pytest.raises(SystemExit, match="2"):
        benchmarks.main()
    assert "no benchmark is named speed; there are: train_step, ops" in capsys.readouterr().err


@pytest.mark.slow
def test_the_quick_form_runs_all(tmp_path: Path, data_dir: Path) -> None:
    environment = {**os.environ, "TINYGRAD_EDU_DATA": str(data_dir), "OPENBLAS_CORETYPE": "Haswell"}
    done = subprocess.run(
        [sys.executable, "benchmarks", "--quick", "--folder", str(tmp_path)],
        cwd=ROOT, env=environment, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "OPENBLAS_CORETYPE=Haswell is left out" in done.stderr
    page = (tmp_path / "RESULTS.md").read_text("utf-8")
    written = sorted(path.stem for path in (tmp_path / "results").glob("*.json"))
    assert written == sorted(benchmarks.PARTS) and set(benchmarks.PARTS) < set(report.sections(page))
    for name in written:
        text = page.split(f"<!-- begin {name} -->")[1].split(f"<!-- end {name} -->")[0]
        assert "a quick run: times mean nothing" in text and "| --- |" in text
        if f"results/{name}.png" in text:
            assert (tmp_path / f"results/{name}.png").read_bytes().startswith(b"\x89PNG")
    for measured in json.loads((tmp_path / "results/train_step.json").read_text()).values():
        assert {"ours", "torch", "sgemm"} <= set(measured["contestants"])
        assert {"cpu", "commit", "numpy", "blas"} <= set(measured["machine"])
