"""NVIDIA's and AMD's compilers accept every kernel and spill no register, for each architecture; nothing is run."""

from __future__ import annotations

import pytest

from benchmarks import kernel_report

pytest.importorskip("cupy", reason="CuPy is not installed")
pytestmark = pytest.mark.kernels


def compiled(*unit):
    """What the compiler makes of it, if there is one."""
    try:
        return kernel_report.compile_unit(*unit)
    except kernel_report.Missing as missing:
        pytest.skip(f"the compiler for {unit[-1]}: {missing}")


@pytest.mark.parametrize("architecture", kernel_report.ARCHITECTURES)
def test_kernels_compile_without_spilling(architecture):
    found = [c for unit in kernel_report.units() for c in compiled(*unit, architecture)]
    known = {"forward_biased", "normalise_backward", "attend", "attend_backward_kv", "adam", "clip"}
    assert {c.kernel for c in found} >= known
    assert not [c for c in found if c.spilled or c.shared > kernel_report.MOST_SHARED]


@pytest.mark.parametrize("architecture", ["sm_90", "gfx90a"])
def test_a_kernel_with_a_mistake_is_not_accepted(monkeypatch, architecture):
    from tinygrad_edu.kernels.cuda import source

    text = source.text("softmax", "float32").replace("top = -INFINITE", "top = no_such_name")
    monkeypatch.setattr(source, "text", lambda *rest, **constants: text)
    with pytest.raises(RuntimeError, match="no_such_name"):
        compiled("softmax", "float32", {}, architecture)


def test_what_spills_is_seen(monkeypatch):
    from tinygrad_edu.kernels.cuda import source

    text = source.text("normalization", "float32", EACH=24).replace("__launch_bounds__(256)", "")
    monkeypatch.setattr(source, "text", lambda *rest, **constants: text)
    (found,) = [c for c in compiled("normalization", "float32", {}, "gfx90a") if c.kernel == "normalise_backward"]
    assert found.spilled > 0 and found.registers > 100 and found.shared > 0


def test_the_page_shows_what_is_predicted():
    page = kernel_report.PAGE.read_text(encoding="utf-8")
    assert kernel_report.BEGIN + kernel_report.predictions() + kernel_report.END in page


def test_costs_are_those_of_the_shapes():
    by_name = {cost.kernel: cost for cost in kernel_report.costs(B=1, T=4, C=32, heads=2, V=10, layers=1)}
    assert by_name["GELU, forward"].bytes == 4 * 2 * (4 * 4 * 32)
    assert by_name["AdamW"].bytes == 28 * (10 * 32 + 4 * 32 + 12 * 32 * 32 + 13 * 32 + 2 * 32)
    assert by_name["attention, forward"].operations == 2 * 2 * 16 * (2 * 4 * 4 / 2)
    assert kernel_report.attention_words(64, 64, 48, False) == pytest.approx(64 * (7 / 12 + 8 / 16))
