"""bfloat16: a dtype like the others, computed in float32 and rounded."""

from __future__ import annotations

import numpy as np
import pytest
import safetensors.torch
import torch

import tinygrad_edu as tg
import tinygrad_edu.inspect
from tinygrad_edu.testing import op_table
from tinygrad_edu.testing.compare import difference
from tinygrad_edu.testing.op_table import BFLOAT16, OURS, Call, Library

FAMILIES = op_table.records()
RECORDS = [pytest.param(r, id=f"{family}-{r.name}") for family, records in FAMILIES.items() for r in records]
TORCH = Library("torch")


class Wide(Library):
    """PyTorch on numbers of bfloat16, computing in float32."""

    def tensor(self, array, requires_grad):
        if array.dtype == np.float32:
            array = op_table.same_layout(array.astype(BFLOAT16), np.float32)
        return super().tensor(array, requires_grad)


WIDE = Wide("torch")
REFUSED = ("quantile", "nanquantile")


def run(library, record, sample, dtype):
    """The tensors among the results as arrays, and the gradients."""
    call = Call(library, record, sample, dtype)
    return [library.array(y) for y in call.outputs], call.backward()


def in_torch(record, sample):
    """The same in PyTorch's bfloat16; None where it has no code for it."""
    try:
        return run(TORCH, record, sample, "bfloat16")
    except (RuntimeError, NotImplementedError) as error:
        assert "BFloat16" in str(error), error
        return None


def check(got, narrow, wide, tolerance):
    """As in one of PyTorch's precisions, element by element: they round at other places."""
    if narrow is None:
        narrow = wide.astype(BFLOAT16 if wide.dtype == np.float32 else wide.dtype)
    assert (got.shape, got.dtype) == (narrow.shape, narrow.dtype)
    rounded = wide.astype(narrow.dtype)
    with np.errstate(all="ignore"):
        nearer = abs(rounded.astype("f8") - got.astype("f8")) < abs(narrow.astype("f8") - got.astype("f8"))
    report = difference(got, np.where(nearer, rounded, narrow), *tolerance, equal_nan=True)
    assert report is None, report


@pytest.mark.parametrize("record", RECORDS)
def test_every_function_and_gradient_as_in_torch(record):
    for sample, name in op_table.cases(record):
        if op_table.dtypes_of(sample) == [None]:
            continue
        with op_table.about(f"{name} in bfloat16"):
            if record.name in REFUSED:
                for library in (OURS, TORCH):
                    with pytest.raises(RuntimeError, match="must be either float or double"):
                        run(library, record, sample, "bfloat16")
                continue
            ours, narrow = run(OURS, record, sample, "bfloat16"), in_torch(record, sample)
            wide = run(WIDE, record, sample, "float32")
            for place, kind in enumerate((record.kind, "gradient")):
                tolerance = op_table.EXACT if record.kind == "exact" else op_table.TOLERANCE[kind, "bfloat16"]
                for i, got in enumerate(ours[place]):
                    if got is None:
                        assert wide[place][i] is None
                    else:
                        check(got, narrow and narrow[place][i], wide[place][i], tolerance)


# ---- as a dtype ------------------------------------------------------------------------------------------------------


def test_promotion_as_in_torch():
    names = ("bool", "uint8", "int8", "int16", "int32", "int64", "float16", "bfloat16", "float32", "float64")
    for name in names:
        expected = torch.promote_types(torch.bfloat16, getattr(torch, name))
        ours = getattr(tg, name)
        assert tg.promote_types(tg.bfloat16, ours) == tg.promote_types(ours, tg.bfloat16)
        assert repr(tg.promote_types(tg.bfloat16, ours)).split(".")[1] == str(expected).split(".")[1]
        assert tg.can_cast(tg.bfloat16, ours) == torch.can_cast(torch.bfloat16, getattr(torch, name))
    x = tg.ones(3).bfloat16()
    assert {(x * 2.5).dtype, (2 - x).dtype, (x + True).dtype, (x**2).dtype} == {tg.bfloat16}
    assert (x + tg.tensor(1.0)).dtype == (x / tg.tensor(2)).dtype == tg.bfloat16
    assert (x + tg.ones(3)).dtype == (x + tg.ones(3).half()).dtype == tg.float32
    x += tg.ones(3)
    x *= 0.75
    assert x.dtype == tg.bfloat16 and x.tolist() == [1.5, 1.5, 1.5]


def test_what_a_dtype_tells():
    ours, theirs = tg.finfo(tg.bfloat16), torch.finfo(torch.bfloat16)
    for name in ("bits", "eps", "max", "min", "tiny", "smallest_normal", "dtype"):
        assert getattr(ours, name) == getattr(theirs, name)
    assert (tg.bfloat16.itemsize, tg.bfloat16.is_floating_point, tg.bfloat16.is_signed) == (2, True, True)
    assert tg.bfloat16 != tg.float16 and tg.bfloat16 in {tg.bfloat16}
    x = tg.zeros(2, 3, dtype=tg.bfloat16)
    assert x.is_floating_point() and x.is_signed() and x.element_size() == 2 and x.type() == "tinygrad_edu.bfloat16"
    assert tg.typename(x) == "tinygrad_edu.BFloat16Tensor"
    with pytest.raises(TypeError, match="finfo"):
        tg.iinfo(tg.bfloat16)


def test_numbers_are_rounded_as_in_torch():
    values = np.random.default_rng(0).integers(0, 2**32, 4000, np.uint32).view(np.float32)
    values = np.concatenate([values[~np.isnan(values)], [0.0, -0.0, np.inf, 1.00390625, 3.4e38]]).astype(np.float32)
    found, expected = tg.from_numpy(values).bfloat16(), torch.from_numpy(values).bfloat16()
    assert np.array_equal(found._array.view(np.int16), expected.view(torch.int16).numpy())
    assert found.double().tolist() == expected.double().tolist()
    assert found.clamp(-300, 300).long().tolist() == expected.clamp(-300, 300).long().tolist()
    numbers = [1.0, 1.001, 257.0]
    assert tg.tensor(numbers, dtype=tg.bfloat16).tolist() == torch.tensor(numbers, dtype=torch.bfloat16).tolist()
    assert tg.tensor(float("nan")).bfloat16().isnan().item()


def test_made_printed_and_read():
    x = tg.tensor([1.5, -2.25, 1e30], dtype=tg.bfloat16)
    assert repr(x) == "tensor([ 1.5000e+00, -2.2500e+00,  1.0003e+30], dtype=tinygrad_edu.bfloat16)"
    assert x[1].item() == -2.25 and float(x[0]) == 1.5 and f"{x[0]:.2f}" == "1.50"
    with pytest.raises(TypeError, match=r"NumPy has no bfloat16; write tensor.float\(\).numpy\(\)"):
        x.numpy()
    with pytest.raises(TypeError, match="NumPy has no bfloat16"):
        np.asarray(x)
    assert tg.arange(4, dtype=tg.bfloat16).tolist() == tg.linspace(0, 3, 4, dtype=tg.bfloat16).tolist() == [0, 1, 2, 3]
    assert tg.full((2,), 0.1, dtype=tg.bfloat16)[0].item() == torch.tensor(0.1).bfloat16().item()
    assert tg.eye(2, dtype=tg.bfloat16).dtype == tg.ones_like(x).dtype == x.new_zeros(2).dtype == tg.bfloat16
    tg.manual_seed(0)
    u, n = tg.rand(20000, dtype=tg.bfloat16), tg.randn(20000, dtype=tg.bfloat16)
    assert u.dtype == n.dtype == tg.bfloat16 and 0 <= u.min().item() and u.max().item() < 1
    assert len(u.unique()) == 256 and abs(n.float().std().item() - 1) < 0.02
    assert n.sort().values.equal(n.float().sort().values.bfloat16()) and n.topk(3).values.dtype == tg.bfloat16


def test_views_share_memory_and_gradients_of_many_places_add_up():
    x = tg.zeros(300, 2, dtype=tg.bfloat16)
    x.t()[0] = 1
    x.reshape(-1)[1] = 2
    x.diagonal()[1:].fill_(3)
    assert x[:2].tolist() == [[1, 2], [1, 3]]
    w = tg.ones(3, dtype=tg.bfloat16, requires_grad=True)
    (w * tg.ones(1001, 3, dtype=tg.bfloat16)).sum().backward()  # one by one, ones would not grow beyond 256
    assert w.grad.tolist() == [1000.0] * 3
    table = tg.ones(4, 2, dtype=tg.bfloat16, requires_grad=True)
    tg.nn.functional.embedding(tg.zeros(1001, dtype=tg.int64), table).sum().backward()
    assert table.grad.tolist() == [[1000, 1000], [0, 0], [0, 0], [0, 0]]
    assert tg.ones(1000, dtype=tg.bfloat16).expand(3, 1000).sum(1).tolist() == [1000] * 3


def test_gradients_of_gradients():
    x = tg.tensor([0.5, -1.5], dtype=tg.bfloat16, requires_grad=True)
    w = tg.tensor([[1.0, 2.0], [3.0, -1.0]], dtype=tg.bfloat16)
    (g,) = tg.autograd.grad((w @ (x * x).tanh()).sum(), x, create_graph=True)
    (second,) = tg.autograd.grad(g.square().sum(), x)
    z = torch.tensor([0.5, -1.5], dtype=torch.float64, requires_grad=True)
    m = torch.tensor(w.tolist(), dtype=torch.float64)
    (h,) = torch.autograd.grad((m @ (z * z).tanh()).sum(), z, create_graph=True)
    (expected,) = torch.autograd.grad(h.square().sum(), z)
    assert g.dtype == second.dtype == tg.bfloat16
    np.testing.assert_allclose(second.float().numpy(), expected.numpy(), rtol=0.1)


@pytest.mark.parametrize("kernels", ["reference", "auto"])
def test_kernels_compute_in_float32(kernels):
    """Of arrays large enough for the kernels too, and the same as the readable ops to the rounding of the result."""
    with tg.use_kernels(kernels):
        tg.manual_seed(0)
        x, w = (tg.randn(n, 512, dtype=tg.bfloat16, requires_grad=True) for n in (64, 512))
        y = tg.nn.functional.gelu(x @ w).softmax(-1)
        assert type(y.grad_fn.pair).__name__ == "Half"
        y.square().sum().backward()
    wide = [t.detach().float().requires_grad_() for t in (x, w)]
    z = tg.nn.functional.gelu(wide[0] @ wide[1]).softmax(-1)
    assert (y.float() - z).abs().max().item() < 0.15  # what rounding the product does to exponents of up to 60


def test_optimizers_and_modules():
    x, y = tg.randn(64, 8, dtype=tg.bfloat16), tg.randn(64, 1, dtype=tg.bfloat16)
    for make in (tg.optim.SGD, tg.optim.AdamW, tg.optim.Adam, tg.optim.RMSprop, tg.optim.Adagrad, tg.optim.Muon):
        tg.manual_seed(0)
        layers = tg.nn.Linear(8, 16), tg.nn.GELU(), tg.nn.LayerNorm(16), tg.nn.Linear(16, 1)
        model = tg.nn.Sequential(*layers).bfloat16()
        matrices = [p for p in model.parameters() if p.ndim == 2]
        optimizer, losses = make(matrices, lr=0.01), []
        for _ in range(8):
            loss = tg.nn.functional.mse_loss(model(x), y)
            optimizer.zero_grad()
            loss.backward()
            tg.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            losses.append(loss.item())
        assert losses[-1] < losses[0]
    assert {p.dtype for p in model.parameters()} == {p.grad.dtype for p in model.parameters()} == {tg.bfloat16}
    assert {t.dtype for t in model.float().parameters()} == {tg.float32}


def test_files(tmp_path):
    x = {"w": tg.randn(3, 4), "t": tg.randn(4, 3).t(), "n": tg.tensor(2.5)}
    x = {name: t.bfloat16() for name, t in x.items()}
    tg.save(x, tmp_path / "x.safetensors")
    theirs, ours = safetensors.torch.load_file(tmp_path / "x.safetensors"), tg.load(tmp_path / "x.safetensors")
    for name, t in x.items():
        assert theirs[name].dtype == torch.bfloat16 and ours[name].dtype == tg.bfloat16
        assert theirs[name].tolist() == ours[name].tolist() == t.tolist()
    layer = tg.nn.Linear(4, 3, bias=False)
    layer.load_state_dict({"weight": x["w"]})
    assert layer.weight.dtype == tg.float32 and layer.weight.tolist() == x["w"].tolist()


def test_a_trace_is_checked_and_kept(tmp_path):
    x, layer = tg.randn(4, 8, dtype=tg.bfloat16), tg.nn.Linear(8, 4).bfloat16()
    with tg.inspect.trace(values="full") as trace:
        tg.nn.functional.gelu(layer(x)).softmax(-1).square().mean().backward()
    found = trace.validate()
    assert found.operations >= 4 and found.gradients >= 4 and found.worst < 1
    trace.save(tmp_path / "t.json")
    assert tg.inspect.load(tmp_path / "t.json").validate().gradients == found.gradients
