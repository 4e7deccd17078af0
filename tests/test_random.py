"""Random streams: the same numbers everywhere, and of the right distributions."""

from __future__ import annotations

import numpy as np
import pytest

import tinygrad_edu as tg


def seeded() -> tg.Generator:
    return tg.Generator().manual_seed(1337)


def test_streams_are_what_they_were():
    # Recorded once. Another platform or NumPy version must give the same; who changes a transform changes these.
    uniform = [0.7181908488273621, 0.9196162819862366, 0.9641571044921875, 0.9844011664390564]
    assert tg.rand(4, generator=seeded()).tolist() == uniform
    assert tg.rand(2, dtype=tg.float64, generator=seeded()).tolist() == [0.9196162942606468, 0.9844011843586706]
    normal = [1.7029222249984741, 1.4635379314422607, 1.337534785270691, -2.5558013916015625]
    assert tg.randn(4, generator=seeded()).tolist() == pytest.approx(normal, rel=1e-6)  # a logarithm may differ
    assert tg.randint(0, 1000, (6,), generator=seeded()).tolist() == [919, 984, 112, 826, 216, 360]
    large = tg.randint(-(2**40), 2**40, (2,), generator=seeded())
    assert large.tolist() == [226422905609, 330558537811]
    assert tg.randperm(8, generator=seeded()).tolist() == [2, 4, 5, 6, 7, 3, 0, 1]


@pytest.mark.parametrize("shape", [(1,), (3,), (4, 5), (10_001,)])
def test_a_stream_goes_on_from_its_state(shape):
    g = seeded()
    tg.rand(shape, generator=g)
    state = g.get_state()
    expected = [tg.randn(shape, generator=g), tg.rand(shape, generator=g), tg.randperm(7, generator=g)]
    g.set_state(state)
    again = [tg.randn(shape, generator=g), tg.rand(shape, generator=g), tg.randperm(7, generator=g)]
    assert all(bool((a == b).all()) for a, b in zip(expected, again, strict=True))


def test_moments_and_ranges():
    n, g = 200_000, seeded()
    for dtype in (tg.float16, tg.float32, tg.float64):
        u = tg.rand(n, dtype=dtype, generator=g).double().numpy()
        assert 0 <= u.min() and u.max() < 1
        assert abs(u.mean() - 0.5) < 4 * np.sqrt(1 / 12 / n)
    z = tg.randn(n, generator=g).double().numpy()
    assert abs(z.mean()) < 4 / np.sqrt(n)
    assert abs((z**2).mean() - 1) < 4 * np.sqrt(2 / n)
    assert abs((z**4).mean() - 3) < 4 * np.sqrt(96 / n)
    k = tg.randint(-3, 4, (n,), generator=g).numpy()
    counts = np.bincount(k + 3)
    assert len(counts) == 7 and ((counts - n / 7) ** 2 / (n / 7)).sum() < 28  # chi-squared, 6 degrees, p = 1e-4
    assert sorted(tg.randperm(1000, generator=g).tolist()) == list(range(1000))


def test_multinomial_follows_its_weights():
    weights = tg.tensor([[0.0, 1.0, 3.0, 0.0], [2.0, 0.0, 0.0, 2.0]])
    drawn = tg.multinomial(weights, 40_000, replacement=True, generator=seeded()).numpy()
    for row, w in zip(drawn, weights.numpy(), strict=True):
        share = np.bincount(row, minlength=4) / len(row)
        assert np.abs(share - w / w.sum()).max() < 0.01
        assert (share[w == 0] == 0).all()
    g, w = seeded(), tg.tensor([1.0, 2.0, 1.0])
    first = [tg.multinomial(w, 2, generator=g).tolist() for _ in range(4000)]
    assert all(a != b for a, b in first)
    assert abs(np.mean([a == 1 for a, _ in first]) - 0.5) < 0.04


def test_multinomial_never_leaves_the_classes(monkeypatch):
    # The largest number below 1, times a total that rounds the product up to the total itself.
    monkeypatch.setattr(tg.default_generator.stream, "uniform", lambda shape, dtype, xp: np.full(shape, 1 - 2.0**-53))
    weights = tg.tensor([0.3, 0.7, 0.0], dtype=tg.float64)
    assert tg.multinomial(weights, 2, replacement=True).tolist() == [1, 1]
    assert tg.multinomial(tg.tensor([3.0, 5.0, 0.0]), 1).tolist() == [1]


@pytest.mark.parametrize("bounds", [(0, 10), (3,), (10, 3)])
def test_random_integers_need_a_size(bounds):
    with pytest.raises(TypeError, match=r"^randint\(\): missing the size, such as \(3,\)$"):
        tg.randint(*bounds)
