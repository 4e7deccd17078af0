"""The ledger of activations: llm.c's lines and total, what our run really made, the peak, the chart, the command."""

from __future__ import annotations

import math
import re
import tracemalloc
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

import tinygrad_edu as tg
from gpt import GPT, cli
from gpt.config import GPTConfig
from gpt.ledger import ACTIVATIONS, OURS, Ledger, ledger, predicted_rows
from tinygrad_edu import dispatch, inspect

CONFIG = GPTConfig(block_size=96, vocab_size=700, n_layer=3, n_head=2, n_embd=48)
# llm.c's train_gpt2.c prints "num_activations: 73323776" for GPT-2 124M at B=4, T=64. The shapes by its fill_in_...
# of the act_sizes, worked out here by hand.
LLMC = {
    "encoded": (4, 64, 768), "ln1": (12, 4, 64, 768), "ln1_mean": (12, 4, 64), "ln1_rstd": (12, 4, 64),
    "qkv": (12, 4, 64, 2304), "atty": (12, 4, 64, 768), "preatt": (12, 4, 12, 64, 64), "att": (12, 4, 12, 64, 64),
    "attproj": (12, 4, 64, 768), "residual2": (12, 4, 64, 768), "ln2": (12, 4, 64, 768), "ln2_mean": (12, 4, 64),
    "ln2_rstd": (12, 4, 64), "fch": (12, 4, 64, 3072), "fch_gelu": (12, 4, 64, 3072), "fcproj": (12, 4, 64, 768),
    "residual3": (12, 4, 64, 768), "lnf": (4, 64, 768), "lnf_mean": (4, 64), "lnf_rstd": (4, 64),
    "logits": (4, 64, 50257), "probs": (4, 64, 50257), "losses": (4, 64),
}  # fmt: skip
kernels = pytest.mark.skipif(not dispatch._twins, reason="no fused kernels here")


def run(kernels: str = "auto", **changes: object) -> Ledger:
    with tg.use_kernels(kernels):
        return ledger(replace(CONFIG, **changes), batch_size=5, block_size=80)


def test_the_formulas_are_llmcs_line_by_line():
    rows = predicted_rows(GPTConfig(), 4, 64)
    assert {row.name: row.shape for row in rows} == LLMC
    assert sum(row.elements for row in rows) == 73_323_776
    assert [row.name for row in rows] == [name for name, _, _ in ACTIVATIONS]


@pytest.mark.parametrize("mode", [pytest.param("auto", marks=kernels), "reference"])
def test_what_is_measured_is_what_is_predicted(mode: str):
    found = run(mode)
    rows = {row.name: row for row in found.rows}
    never = {"preatt", "probs", "att"}
    differs = never | ({"ln1_mean", "ln2_mean", "lnf_mean"} if mode == "reference" else set())
    for name in LLMC.keys() - differs:
        assert rows[name].measured == rows[name].predicted > 0, name
        assert rows[name].lives and all(born < freed for born, freed, _ in rows[name].lives), name
    assert rows["preatt"].measured == 0 and rows["preatt"].born is None
    if mode == "auto":
        assert rows["att"].measured == rows["probs"].measured == 0
    else:  # what the readable ops keep has names of its own, and llm.c's where it has one
        assert rows["att"].measured == rows["att"].predicted and rows["probs"].measured == rows["probs"].predicted
        assert rows["ln_hat"].measured == rows["ln1"].predicted * 2 + rows["lnf"].predicted
        assert rows["fch_gate"].measured == rows["fch"].predicted
        assert rows["ln1_mean"].measured == 0
    assert {row.name for row in found.rows} <= LLMC.keys() | OURS.keys()
    assert rows["encoded"].born < rows["ln1"].born < rows["residual2"].born < rows["logits"].born < found.forward_steps
    assert rows["ln1"].freed > found.forward_steps >= max(freed for _, freed, _ in rows["attproj"].lives)
    assert "linear" in rows["ln1"].saved_by and rows["attproj"].saved_by == ""


@kernels
@pytest.mark.slow
def test_our_gpt2_weighs_what_llmcs_does_but_for_what_we_never_make():
    found = ledger(GPTConfig(), batch_size=4, block_size=64)
    assert "\n73,323,776 activations by the formulas.\n" in str(found)
    for row in found.rows:
        if row.name in LLMC:
            assert row.shape == LLMC[row.name]
            assert row.measured == (0 if row.name in {"preatt", "att", "probs"} else 4 * math.prod(row.shape)), row.name
    assert found.peak[1] < found.predicted


@pytest.mark.parametrize("mode", [pytest.param("auto", marks=kernels), "reference"])
@pytest.mark.parametrize("dropout", [0.0, 0.1])
def test_numpy_holds_what_the_ledger_says(mode: str, dropout: float):
    """The arrays that NumPy has allocated when forward has ended, as Python's own tracer counts them."""
    arrays = [tracemalloc.DomainFilter(True, np.lib.tracemalloc_domain)]
    held = lambda: sum(trace.size for trace in tracemalloc.take_snapshot().filter_traces(arrays).traces)  # noqa: E731
    found = run(mode, dropout=dropout)
    model = GPT(replace(CONFIG, dropout=dropout))
    x, y = (tg.randint(700, (5, 80)) for _ in range(2))
    with tg.use_kernels(mode):
        model(x, y)[1].backward()
        model.zero_grad()
        tracemalloc.start()
        try:
            before = held()
            loss = model(x, y)[1]
            kept = held() - before
        finally:
            tracemalloc.stop()
    assert loss is not None
    n = found.forward_steps
    expected = sum(size for row in found.rows for born, freed, size in row.lives if born < n < freed)
    ids = 8 * (5 * 80 + 80)  # tokens and positions, which the embeddings keep, are no activations
    assert expected <= kept <= expected + ids


@pytest.mark.parametrize("mode", [pytest.param("auto", marks=kernels), "reference"])
def test_dropouts_arrays_have_names(mode: str):
    found = run(mode, dropout=0.2)
    rows = {row.name: row for row in found.rows}
    assert rows.keys() <= LLMC.keys() | OURS.keys()
    stream, scores = 5 * 80 * 48 * 4, 5 * 2 * 80 * 80 * 4
    assert rows["dropped"].measured == stream and rows["attdrop"].measured == rows["fcdrop"].measured == 3 * stream
    assert rows["masks"].measured == (1 + 3 * 2) * stream + 3 * scores
    assert {"dropout", "scaled_dot_product_attention"} <= set(rows["masks"].saved_by.split(", "))


def test_the_peak_is_where_most_is_alive():
    found = run("reference")
    alive = found.alive()
    step, most = found.peak
    assert most == max(alive) == alive[step] and len(alive) == found.steps
    by_hand = sum(size for row in found.rows for born, freed, size in row.lives if born <= step < freed)
    assert by_hand == most
    assert abs(step - found.forward_steps) < 5  # where forward ends, all that is kept is alive
    assert alive[-1] < most / 5


def test_the_model_that_is_given_keeps_its_gradients():
    model = GPT(CONFIG)
    model.wte.weight.grad = tg.ones_like(model.wte.weight)
    found = ledger(CONFIG, 2, 16, model=model)
    assert found.batch_size == 2 and found.block_size == 16
    assert bool((model.wte.weight.grad == 1).all()) and model.wpe.weight.grad is None


def test_no_random_number_of_the_default_stream_is_drawn():
    before = tg.get_rng_state()
    run("reference", dropout=0.2)
    assert bool((tg.get_rng_state() == before).all())


def test_text_and_page_say_what_was_found(tmp_path: Path):
    found = run("reference", dropout=0.1)
    text = str(found)
    lines = text.splitlines()
    assert max(map(len, lines)) <= 80
    for name, axes, _ in ACTIVATIONS:
        (line,) = (line for line in lines if line.startswith(f"{name} ") and axes in line)
        shape = ",".join(map(str, next(row.shape for row in found.rows if row.name == name)))
        assert shape in line
    assert f"{found.elements:,} activations" in text and "forward" in text and re.search(r"^peak +\^ ", text, re.M)

    tags: list[str] = []
    parser = HTMLParser()
    parser.handle_starttag = lambda tag, attrs: tags.append(tag)  # type: ignore[method-assign]
    parser.feed(found._repr_html_())
    assert tags.count("tr") == len(found.rows) + 1 and tags.count("svg") == len(found.rows)
    assert tags.count("rect") == sum(len(row.lives) for row in found.rows)


def test_the_chart_is_drawn(tmp_path: Path):
    pytest.importorskip("matplotlib")
    found = run("reference")
    found.plot(tmp_path / "ledger.png")
    found.plot(tmp_path / "ledger.svg")
    assert (tmp_path / "ledger.png").read_bytes().startswith(b"\x89PNG")
    assert "</svg>" in (tmp_path / "ledger.svg").read_text("utf-8")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"batch_size": 0}, r"^ledger: batch_size must be a positive integer, got 0$"),
        ({"batch_size": 2.0}, r"^ledger: batch_size must be a positive integer, got 2\.0$"),
        ({"block_size": -1}, r"^ledger: block_size must be a positive integer, got -1$"),
        ({"block_size": 97}, r"^ledger: the model reads at most 96 tokens, got block_size=97$"),
    ],
)
def test_bad_sizes_are_refused(arguments: dict[str, object], message: str):
    with pytest.raises(ValueError, match=message):
        ledger(CONFIG, **arguments)  # type: ignore[arg-type]


def test_a_model_of_another_shape_is_refused():
    with pytest.raises(ValueError, match=r"^ledger: the model's shape is .*n_layer=1.*, not .*n_layer=3"):
        ledger(CONFIG, 1, 8, model=GPT(replace(CONFIG, n_layer=1)))


def test_no_trace_is_left_open():
    run("reference")
    with inspect.trace(values="none") as t:
        tg.ones(2) + 1
    assert [op.name for op in t.ops] == ["add"]


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch):
    pytest.importorskip("matplotlib")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("gpt.ledger.ledger", lambda *args: pytest.fail("it ran, for a name that cannot be drawn to"))
    assert cli.main(["ledger", "--plot", "chart.bmp"]) == 1
    assert "'chart.bmp' does not say what to draw; use a name that ends in .png or .svg" in capsys.readouterr().err
    monkeypatch.undo()
    monkeypatch.chdir(tmp_path)
    assert cli.main(["ledger", "--preset=laptop", "--batch-size", "2", "--block-size=16", "--plot", "chart.png"]) == 0
    shown = capsys.readouterr().out
    assert "L=4 B=2 T=16 C=128 NH=4 V=65" in shown and "Drawn to chart.png." in shown
    assert re.search(r"^qkv +L B T 3C +4,2,16,384 ", shown, re.M)
    assert (tmp_path / "chart.png").read_bytes().startswith(b"\x89PNG")
    assert cli.main(["ledger", "--preset=laptop", "--batch-size=0"]) == 1
    assert capsys.readouterr().err == "error: --batch-size must be a positive integer, got 0\n"
    assert cli.main(["ledger", "--preset=nothing"]) == 1
    assert "there is no model 'nothing'" in capsys.readouterr().err
