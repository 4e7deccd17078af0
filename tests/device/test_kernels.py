"""The kernels of the GPU: each against the op that it stands for, which runs in NumPy on the same numbers."""

from __future__ import annotations

import numpy as np
import pytest

import tinygrad_edu as tg
from tests.odd import odd_rows
from tinygrad_edu.autograd.unfinished import Unfinished
from tinygrad_edu.backend.device import quiet
from tinygrad_edu.backend.dtypes import finfo, is_floating
from tinygrad_edu.kernels.half import Half

cp = pytest.importorskip("cupy", reason="CuPy is not installed")
pytestmark = pytest.mark.kernels
try:
    cp.cuda.runtime.getDeviceCount()
except cp.cuda.runtime.CUDARuntimeError as error:
    pytest.skip(f"CuPy finds no GPU: {error}", allow_module_level=True)

# They need CuPy.
from tinygrad_edu.kernels.cuda import (  # noqa: E402
    activation,
    attention,
    dropout,
    embedding,
    linear,
    loss,
    normalization,
    softmax,
    update,
)
from tinygrad_edu.optim.adam import adam_update  # noqa: E402

DTYPES = ("float16", "bfloat16", "float32", "float64")
RNG = np.random.default_rng(0)
N = RNG.standard_normal
TARGETS = RNG.integers(0, 65, 200)
SOME = np.where(RNG.random(200) < 0.2, -1, TARGETS)  # a fifth is ignored


def as_dtype(x, dtype):
    with quiet:
        return x.astype(dtype) if isinstance(x, np.ndarray) and is_floating(x.dtype) else x


def moved(x):
    return cp.asarray(x) if isinstance(x, np.ndarray) else x


def moved_strided(x):
    """On the device, with the strides that it has here."""
    if not isinstance(x, np.ndarray) or x.ndim == 0:
        return x
    wide = cp.zeros((*x.shape[::-1], 2), x.dtype)
    y = wide[..., 1].transpose()
    y[...] = cp.asarray(x)
    return y


def both_ways(pair, xp, arrays, attrs, gy):
    """The output, and the gradients as arrays; a gradient of which only rows are known, whole."""
    with quiet:
        y, saved = pair.forward(xp, *arrays, **attrs)
        gradients = pair.backward(xp, saved, gy)
        found = [y.finish() if isinstance(y, Unfinished) else y]
        for x, g in zip(arrays, gradients if isinstance(gradients, tuple) else [gradients], strict=True):
            g = None if x is None else g() if callable(g) else g
            if hasattr(g, "add_to"):
                whole = xp.ones(g.shape, g.dtype)
                g.add_to(whole)
                g = whole
            found += [] if g is None else [g]
    return found


def compare(pair, *arrays, dtype, move=moved, **attrs):
    """The twin's errors are near those of its op in the same dtype, both measured in a wider one."""
    arrays = [as_dtype(x, dtype) for x in arrays]
    wide = np.float64 if dtype != "float64" else np.longdouble
    readable = Half(pair.op, dtype) if dtype == "bfloat16" else pair.op
    with quiet:
        shape = readable.forward(np, *arrays, **attrs)[0].shape
    gy = N(shape).astype(dtype)
    on_device = [move(x) for x in arrays]
    before = [cp.array(x) if isinstance(x, cp.ndarray) else x for x in on_device]
    assert pair.accepts(*on_device, **attrs)
    found = [cp.asnumpy(f) for f in both_ways(pair, cp, on_device, attrs, move(gy))]
    for x, y in zip(on_device, before, strict=True):
        if isinstance(x, cp.ndarray):
            np.testing.assert_array_equal(cp.asnumpy(x), cp.asnumpy(y), err_msg="an input was changed")
    reference = both_ways(readable, np, arrays, attrs, gy)
    exact = both_ways(pair.op, np, [as_dtype(x, wide) for x in arrays], attrs, gy.astype(wide))
    assert len(found) == len(reference)
    eps = finfo(np.dtype(dtype)).eps
    for i, (f, r, e) in enumerate(zip(found, reference, exact, strict=True)):
        assert f.dtype == r.dtype == dtype and f.shape == r.shape, i
        with quiet:
            error, theirs, size = (np.linalg.norm((z).astype(wide).ravel()) for z in (f - e, r - e, e))
        assert error <= 2 * theirs + eps * size, (i, error / size, theirs / size)


def compare_odd(pair, x, *others, dtype, **attrs):
    """Where the op gives NaN or an infinity, so does the twin; all else is as near to the truth."""
    with quiet:
        arrays = [as_dtype(a, dtype) for a in (x, *others)]
        on_device = [moved(a) for a in arrays]
        gy = N(pair.op.forward(np, *arrays, **attrs)[0].shape).astype(dtype)
        found = [cp.asnumpy(f) for f in both_ways(pair, cp, on_device, attrs, moved(gy))]
        reference = both_ways(pair.op, np, arrays, attrs, gy)
        exact = both_ways(pair.op, np, [as_dtype(a, np.longdouble) for a in arrays], attrs, gy.astype(np.longdouble))
        for f, r, e in zip(found, reference, exact, strict=True):
            np.testing.assert_array_equal(np.where(np.isfinite(r), 0, f), np.where(np.isfinite(r), 0, r))
            near = np.abs(f - e) <= 2 * np.abs(r - e) + 20 * np.finfo(dtype).eps * (1 + np.abs(e))
            assert (near | ~np.isfinite(r)).all()


def attended(heads, queries, keys, channels, value_channels):
    """Queries, keys, values, and no bias."""
    sizes = (queries, channels), (keys, channels), (keys, value_channels)
    return [*(N((*heads, *size)) for size in sizes), None]


CAUSAL, FULL = ({"scale": 0.125, "is_causal": is_causal} for is_causal in (True, False))
DROPS = {"dropout": (0.3, 2**100, 2**64 - 9)}
DROPPED = {"p": 0.3, "seed": 5, "counter": 2**192 - 3}
# By name: the twin, the arrays and the attributes.
CASES = {
    "linear": (linear.Linear, [N((4, 10, 33)), N((20, 33)), N(20)], {}),
    "layer_norm": (normalization.LayerNorm, [N((6, 8, 128)) * 2 + 1, N(128), N(128)], {"eps": 1e-5}),
    "layer_norm of short rows": (normalization.LayerNorm, [N((1100, 7)), N(7), N(7)], {"eps": 1e-5}),
    "layer_norm of one column": (normalization.LayerNorm, [N((70, 1)), N(1), N(1)], {"eps": 1e-5}),
    "layer_norm of long rows": (normalization.LayerNorm, [N((3, 4096)), None, None], {"eps": 1e-5}),
    "layer_norm, odd": (normalization.LayerNorm, [N((33, 769)), N(769), N(769)], {"eps": 1e-5}),
    "layer_norm, weight alone": (normalization.LayerNorm, [N((30, 100)), N(100), None], {"eps": 1e-5}),
    "layer_norm, bias alone": (normalization.LayerNorm, [N((30, 100)), None, N(100)], {"eps": 1e-5}),
    "layer_norm far from 0": (normalization.LayerNorm, [N((30, 100)) + 100, N(100), N(100)], {"eps": 1e-5}),
    "rms_norm": (normalization.RmsNorm, [N((30, 101)), N(101)], {"eps": 1e-6}),
    "rms_norm without weight": (normalization.RmsNorm, [N((2, 3, 65)), None], {"eps": 1e-6}),
    "softmax": (softmax.Softmax, [N((4, 10, 65)) * 3], {"axis": 2}),
    "softmax of long rows": (softmax.Softmax, [N((3, 9001))], {"axis": 1}),
    "log_softmax": (softmax.LogSoftmax, [N((4, 10, 65)) * 3], {"axis": (2,)}),
    "log_softmax of long rows": (softmax.LogSoftmax, [N((3, 9001))], {"axis": 1}),
    "cross_entropy": (
        loss.CrossEntropy,
        [N((200, 65)) * 3, SOME, None],
        {"ignore_index": -1, "label_smoothing": 0.0},
    ),
    "cross_entropy of long rows": (
        loss.CrossEntropy,
        [N((3, 5025)), TARGETS[:3].astype(np.int32), None],
        {"ignore_index": -100, "label_smoothing": 0.0},
    ),
    "embedding": (embedding.Embedding, [N((65, 130)), RNG.integers(0, 65, (6, 40))], {}),
    "embedding of a large table": (embedding.Embedding, [N((5000, 5)), RNG.integers(0, 5000, 300)], {}),
    "embedding of one row": (embedding.Embedding, [N((7, 33)), np.full(90, 4)], {}),
    "attention": (attention.Attention, attended((2, 3), 70, 70, 32, 32), CAUSAL),
    "attention, GPT-2's heads": (attention.Attention, attended((1, 2), 130, 130, 64, 64), CAUSAL),
    "attention to more keys": (attention.Attention, attended((1, 2), 50, 113, 40, 24), CAUSAL),
    "attention to fewer keys": (attention.Attention, attended((2, 1), 113, 50, 7, 19), CAUSAL),
    "attention to all keys": (attention.Attention, attended((1, 2), 97, 129, 16, 16), FULL),
    "attention with dropout": (attention.Attention, attended((2, 2), 75, 75, 20, 20), CAUSAL | DROPS),
    "attention to all keys with dropout": (attention.Attention, attended((2, 1), 70, 131, 33, 33), FULL | DROPS),
    "dropout": (dropout.Dropout, [N((3, 7, 333))], DROPPED),
    "dropout of channels": (dropout.Dropout, [N((13, 70, 3, 3))], DROPPED | {"apart": 2}),
    "attention of one query": (attention.Attention, attended((2, 2), 1, 75, 20, 20), FULL),
    **{
        f"{twin.op.name}": (twin, [N((30, 101)) * 3], {})
        for twin in (activation.GeluTanh, activation.Gelu, activation.Silu, activation.Sigmoid, activation.Tanh)
    },
}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("case", CASES)
def test_like_its_op(case, dtype):
    pair, arrays, attrs = CASES[case]
    if pair is linear.Linear and dtype == "bfloat16" and cp.cuda.runtime.is_hip:
        given = [moved(as_dtype(x, dtype)) for x in arrays]
        assert not pair.accepts(*given)  # the attempt would end the program
        return
    compare(pair, *arrays, dtype=dtype, **attrs)


def test_cublas_multiplies_bfloat16_where_it_adds_up_in_float32(monkeypatch):
    x, w, b, row, column = (cp.zeros(n, "bfloat16") for n in ((2, 3, 4), (5, 4), 5, (1, 4), (4, 1)))
    wide = cp.zeros((2, 3, 4), "f"), cp.zeros((4, 5), "f")
    for is_hip in (False, True):
        monkeypatch.setattr(cp.cuda.runtime, "is_hip", is_hip)
        taken = linear.Linear.accepts(x, w, b), linear.Linear.accepts(x, w, None), linear.Matmul.accepts(x, w.T)
        assert taken == (not is_hip,) * 3
        assert not linear.Linear.accepts(x, row, None) and not linear.Matmul.accepts(x, column)
        assert not linear.Matmul.accepts(x, x.swapaxes(1, 2)) and not linear.Matmul.accepts(b, w)
        assert not linear.Matmul.accepts(*wide)  # the readable op's


@pytest.mark.parametrize("case", CASES)
def test_like_its_op_on_strided_arrays(case):
    pair, arrays, attrs = CASES[case]
    compare(pair, *arrays, dtype="float32", move=moved_strided, **attrs)


def test_the_longest_rows_of_layer_norm():
    compare(normalization.LayerNorm, N((3, 6144)), N(6144), N(6144), dtype="float32", eps=1e-5)
    for dtype, columns in (("float16", 6144), ("float32", 6144), ("float64", 4096)):
        for more in (0, 1):
            x = cp.zeros((1, columns + more), dtype)
            assert normalization.LayerNorm.accepts(x, None, None, eps=1e-5) is not bool(more)


ODD = {
    "layer_norm": (normalization.LayerNorm, [N(100), None], {"eps": 1e-5}),
    "rms_norm": (normalization.RmsNorm, [None], {"eps": 1e-5}),
    "softmax": (softmax.Softmax, [], {"axis": 1}),
    "log_softmax": (softmax.LogSoftmax, [], {"axis": 1}),
    "cross_entropy": (loss.CrossEntropy, [TARGETS[:40], None], {"ignore_index": -1, "label_smoothing": 0.0}),
    **{twin.op.name: (twin, [], {}) for twin in (activation.GeluTanh, activation.Gelu, activation.Silu,
                                                 activation.Sigmoid, activation.Tanh)},
}  # fmt: skip


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("case", ODD)
def test_odd_numbers(case, dtype):
    pair, others, attrs = ODD[case]
    compare_odd(pair, odd_rows((40, 100), RNG), *others, dtype=dtype, **attrs)


def test_cross_entropy_writes_its_gradient_over_logits_that_nobody_else_holds():
    attrs = {"ignore_index": -1, "label_smoothing": 0.0}
    target = cp.asarray(TARGETS[:20])
    gy = cp.asarray(N(20).astype("f"))
    logits = N((20, 65)).astype("f")
    x = cp.asarray(logits)
    saved = loss.CrossEntropy.forward(cp, x, target, None, **attrs)[1]
    kept = loss.CrossEntropy.last_backward(cp, saved, gy)[0]
    assert kept is not x and (cp.asnumpy(x) == logits).all()
    view = x[:1]
    del x
    assert loss.CrossEntropy.last_backward(cp, saved, gy)[0] is not saved[0]
    del view
    over = loss.CrossEntropy.last_backward(cp, saved, gy)[0]
    assert over is saved[0]
    np.testing.assert_array_equal(cp.asnumpy(over), cp.asnumpy(kept))


def test_the_same_bits_each_time():
    for pair, arrays, attrs in CASES.values():
        given = [moved(as_dtype(x, "float32")) for x in arrays]
        gy = cp.ones(pair.forward(cp, *given, **attrs)[0].shape, "f")
        first, second = (both_ways(pair, cp, given, attrs, gy) for _ in range(2))
        for a, b in zip(first, second, strict=True):
            assert (a == b).all()


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
def test_attention_of_wide_heads(dtype):
    compare(attention.Attention, *attended((1, 2), 50, 50, 128, 100), dtype=dtype, **CAUSAL)


def test_attention_declines_what_its_tiles_cannot_hold():
    def accepts(*given, dtype="f"):
        return attention.Attention.accepts(*[moved(as_dtype(x, dtype)) for x in given], **CAUSAL)

    assert accepts(*attended((1, 2), 5, 5, 128, 128))
    assert not accepts(*attended((1, 2), 5, 5, 129, 1))
    assert not accepts(*attended((1, 2), 5, 5, 65, 65), dtype="d")
    assert not accepts(*attended((2,), 5, 5, 8, 8))
    q, k, v, _ = attended((1, 2), 5, 5, 8, 8)
    assert not accepts(q, k, v, np.zeros((5, 5)))
    assert not accepts(q, k[:, :1], v[:, :1], None)


def test_attention_to_scores_that_exp_would_overflow_on():
    q, k, v, bias = attended((1, 2), 80, 80, 32, 32)
    compare(attention.Attention, q * 100, k * 10, v, bias, dtype="float32", scale=1.0, is_causal=True)


def test_a_query_without_keys_gets_zeros():
    q, k, v, bias = (as_dtype(x, "f") for x in attended((1, 2), 80, 80, 32, 32))
    q = np.abs(q)
    k[0, 1, 0] = -np.inf
    given = [moved(x) for x in (q, k, v, bias)]
    y = cp.asnumpy(attention.Attention.forward(cp, *given, **CAUSAL)[0])
    assert (y[0, 1, 0] == 0).all()
    with quiet:
        expected = attention.Attention.op.forward(np, q, k, v, bias, **CAUSAL)[0]
    np.testing.assert_allclose(y, expected, rtol=1e-4, atol=1e-5)


def test_nan_and_infinity_reach_the_queries_that_see_them():
    q, k, v, bias = (as_dtype(x, "f") for x in attended((2, 4), 80, 80, 32, 32))
    q[0, 2, 50], k[1, 3, 40], k[1, 1, 70, 3] = np.nan, np.nan, np.inf
    y = cp.asnumpy(attention.Attention.forward(cp, *[moved(x) for x in (q, k, v, bias)], **CAUSAL)[0])
    nan = np.zeros(y.shape[:3], bool)
    nan[0, 2, 50] = nan[1, 3, 40:] = True
    nan[1, 1, 70:] = q[1, 1, 70:, 3] > 0  # inf - inf
    np.testing.assert_array_equal(np.isnan(y), np.broadcast_to(nan[..., None], y.shape))


def test_attention_keeps_no_matrix_of_weights():
    given = [moved(as_dtype(x, "f")) for x in attended((1, 1), 600, 600, 8, 8)]
    saved = attention.Attention.forward(cp, *given, **CAUSAL, **DROPS)[1]
    assert max(x.size for x in saved if isinstance(x, cp.ndarray)) == 600 * 8


# ---- updates ---------------------------------------------------------------------------------------------------------

SHAPES = [(3, 5), (), (8192,), (130, 127), (0, 4), (1,)] + [(7,)] * 115  # more than one launch takes


def lists(n, dtype):
    return [[np.array(np.abs(N(shape)) if i == 3 else N(shape), dtype) for shape in SHAPES] for i in range(n)]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("decoupled", [False, True])
def test_adam(dtype, decoupled):
    p, g, m, v = host = lists(4, dtype)
    device = [[cp.asarray(a) for a in arrays] for arrays in host]
    assert update.accept(*device)
    steps = [2 if i % 7 else 900 for i in range(len(p))]
    options = {"lr": 0.1, "betas": (0.9, 0.999), "eps": 1e-8, "weight_decay": 0.1, "decoupled": decoupled}
    update.adam(*device, steps, **options)
    for step, *own in zip(steps, p, g, m, v, strict=True):
        adam_update(*own, None, step=step, **options)
    for mine, theirs in zip(device, host, strict=True):
        for a, b in zip(mine, theirs, strict=True):
            np.testing.assert_allclose(cp.asnumpy(a), b, rtol=30 * np.finfo(dtype).eps, atol=3 * np.finfo(dtype).eps)


@pytest.fixture
def launched(monkeypatch):
    """The names of the kernels of updates, as they are launched."""
    names = []
    run = update._run

    def noting(file, name, *rest):
        names.append(name)
        run(file, name, *rest)

    monkeypatch.setattr(update, "_run", noting)
    return names


def test_a_step_of_gpt_2_is_three_launches(launched, fused):
    """Its 148 parameters, small here: 50 that decay and 98 that do not. The norm, clipping, AdamW."""
    p = [tg.randn(3, 5).cuda().requires_grad_() for _ in range(50)]
    p += [tg.randn(7).cuda().requires_grad_() for _ in range(98)]
    optimizer = tg.optim.AdamW([{"params": p[:50], "weight_decay": 0.1}, {"params": p[50:], "weight_decay": 0.0}])
    sum((x * x).sum() for x in p).backward()
    tg.nn.utils.clip_grad_norm_(p, 1.0)
    optimizer.step()
    assert launched == ["square_sums", "clip", "adam"]


def test_launches_of_more_arrays(launched):
    arrays = [cp.ones(5, "f") for _ in range(181)]
    options = {"lr": 0.1, "betas": (0.9, 0.999), "eps": 1e-8, "weight_decay": 0.1, "decoupled": True}
    update.adam(*[arrays[:180]] * 4, [1] * 180, **options)
    assert launched == ["adam"]
    update.adam(*[arrays] * 4, [1] * 181, **options)
    update.adam(*[arrays[:5]] * 4, [1, 2, 3, 4, 5], **options)  # a launch has four sets of numbers
    assert launched == ["adam"] * 5
    update.scale(arrays[:100] * 5, 2.0)
    assert launched[5:] == ["scale"]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_arrays_too_far_apart_for_offsets(dtype, monkeypatch):
    """Addresses of 64 bits do the same: all the tests of updates with no offset that is small enough."""
    with monkeypatch.context() as patched:
        patched.setattr(update, "_REACH", 0)
        constants, wide = update.constants, []
        patched.setattr(update, "constants", lambda lists, far=False: wide.append(far) or constants(lists, far))
        test_adam(dtype, True)
        test_norm_and_scale(dtype)
        test_clip(dtype, 1.0)
    assert wide and all(wide)


def test_offsets_are_in_steps_that_all_addresses_have_in_common():
    whole = cp.zeros(1 << 10, "f")
    aligned, odd = (next(update._launches([whole[i : i + 8], whole[:8]])) for i in (512, 3))
    assert not aligned.wide and (int(aligned.table["shift"]), int(aligned.table["at"].max())) == (11, 1)
    assert not odd.wide and (int(odd.table["shift"]), int(odd.table["at"].max())) == (2, 3)
    assert int(next(update._launches([whole])).table["lowest"]) == whole.data.ptr


def test_arguments_stay_below_4_kib():
    for lists in (1, 4):
        for wide in (False, True):
            listed = update._LISTED[lists][wide]
            table = listed * (lists * (8 if wide else 4) + 4) + (0 if wide else 16)
            kinds = update._table([], [(0.0,) * 8], np.dtype("d"), wide).nbytes if lists == 4 else 0
            assert table + kinds + 32 <= 4096, (lists, wide)  # 32: what `clip` takes besides


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_norm_and_scale(dtype):
    (host,) = lists(1, dtype)
    device = [cp.asarray(a) for a in host]
    exact = sum(float((a.astype("d") ** 2).sum()) for a in host)
    assert update.square_sum(device) == pytest.approx(exact, rel=10 * float(np.finfo(dtype).eps))
    update.scale(device, 0.3)
    for a, b in zip(device, host, strict=True):
        np.testing.assert_array_equal(cp.asnumpy(a), b * np.dtype(dtype).type(0.3))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("most", [0.0, 1.0, 1e6])
def test_clip(dtype, most):
    (host,) = lists(1, dtype)
    device = [cp.asarray(a) for a in host]
    exact = sum(float((a.astype("d") ** 2).sum()) for a in host) ** 0.5
    norm = update.clip(device, most)
    assert norm.dtype == "float64" and float(norm) == pytest.approx(exact, rel=10 * float(np.finfo(dtype).eps))
    factor = min(1.0, most / (exact + 1e-6))
    for a, b in zip(device, host, strict=True):
        np.testing.assert_allclose(cp.asnumpy(a), b * np.dtype(dtype).type(factor), rtol=10 * np.finfo(dtype).eps)


def test_clip_passes_nan_on():
    arrays = [cp.array([1.0, np.nan], "f"), cp.ones(3, "f")]
    assert np.isnan(float(update.clip(arrays, 1.0)))
    assert all(bool(cp.isnan(a).all()) for a in arrays)


def test_updates_decline_other_arrays():
    a = cp.ones((4, 6), "f")
    assert update.accept([a], [a])
    assert not update.accept([a], [a.astype("d")])
    assert not update.accept([a, a[:, ::2]])
    assert not update.accept([a.astype("e")])


def test_tiles_of_attention_fit_into_the_shared_memory_of_every_gpu():
    for size, channels in attention._TILES:
        (queries, keys), (queries_back, keys_back) = attention._TILES[size, channels]
        rows, rows_back = queries + keys, 2 * (queries_back + keys_back)
        forward = rows * (channels + 1) + queries * (keys + 1)
        backward = rows_back * (channels + 1) + 2 * queries_back * (keys_back + 1)
        assert size * max(forward, backward) <= 48 * 1024, (size, channels)


def test_the_optimizer_and_clipping_use_the_kernels(monkeypatch, fused):
    """A step on the GPU is one on the CPU, and what runs there is this module."""
    called = []
    for name in ("adam_of_groups", "clip"):
        kernel = getattr(update, name)
        watched = lambda *a, name=name, kernel=kernel, **k: called.append(name) or kernel(*a, **k)  # noqa: E731
        monkeypatch.setattr(update, name, watched)
    found = []
    for device in ("cpu", "cuda"):
        tg.manual_seed(3)
        p = [tg.randn(130, 140).to(device).requires_grad_(), tg.randn(140).to(device).requires_grad_()]
        optimizer = tg.optim.AdamW(p, lr=0.1)
        for factor in (1.0, 50.0):
            optimizer.zero_grad()
            ((tg.sin(p[0]) * p[1]).sum() * factor).backward()
            norm = tg.nn.utils.clip_grad_norm_(p, 30.0)
            optimizer.step()
        found.append([x.detach().cpu().numpy() for x in (norm, *p)])
    assert called == ["clip", "adam_of_groups"] * 2
    for a, b in zip(*found, strict=True):
        np.testing.assert_allclose(a, b, rtol=2e-5, atol=2e-5)


def test_operations_on_the_gpu_use_the_kernels(fused):
    x = tg.randn(2, 3, 9, 16).cuda().requires_grad_()
    y = tg.nn.functional.scaled_dot_product_attention(x, x, x, is_causal=True)
    assert y._node.pair is attention.Attention
    z = tg.nn.functional.layer_norm(tg.nn.functional.gelu(y, approximate="tanh"), (16,))
    assert z._node.pair is normalization.LayerNorm
    z.sum().backward()
    assert x.grad.is_cuda
