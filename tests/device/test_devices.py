"""Tensors on the GPU: moving, mixing, printing, reading, changing in place; and what `tinygrad_edu.cuda` tells."""

from __future__ import annotations

import numpy as np
import pytest

import tinygrad_edu as tg
from tinygrad_edu import optim
from tinygrad_edu.autograd import engine
from tinygrad_edu.backend import gpu, transfers
from tinygrad_edu.nn import functional as F


def test_a_tensor_moves_and_its_gradient_comes_back():
    x = tg.ones(3, requires_grad=True)
    y = x.to("cuda")
    assert y.device == tg.device("cuda:0") and y.is_cuda and y.get_device() == 0 and x.cuda(0).is_cuda
    (y * tg.tensor([1.0, 2.0, 3.0], device="cuda")).sum().cpu().backward()
    assert not x.grad.is_cuda and x.grad.tolist() == [1, 2, 3]
    assert y.to("cuda") is y and x.cpu() is x and x.to(0).is_cuda
    z = tg.ones(2, device="cuda", requires_grad=True)
    (z.cpu() * 2).sum().backward()
    assert z.grad.is_cuda and z.grad.tolist() == [2, 2]


def test_two_devices_in_one_operation_are_refused():
    x, y = tg.ones(3, device="cuda"), tg.ones(3)
    for mixed in (lambda: x + y, lambda: y + x, lambda: tg.cat([x, y]), lambda: x @ y, lambda: y.add_(x),
                  lambda: x.add_(y), lambda: x + np.ones(3, np.float32)):  # fmt: skip
        with pytest.raises(RuntimeError, match="found at least two devices, cuda:0 and cpu!"):
            mixed()
    with pytest.raises(RuntimeError, match="cuda:0 and cpu"):
        x += y
    assert (x * tg.tensor(2.0)).tolist() == [2, 2, 2]  # 0-d tensors of the CPU may take part
    scale = tg.tensor(2.0, requires_grad=True)
    (x * scale).sum().backward()
    assert not scale.grad.is_cuda and scale.grad.item() == 3


def test_arrays_beside_tensors():
    """NumPy's are on the CPU, CuPy's on a GPU: the same rules hold for them, and the error says how to move them."""
    x, h = tg.ones(3, device="cuda"), tg.ones(3)
    a, c = np.ones(3, np.float32), gpu.cupy().ones(3, "float32")
    for mixed in (lambda: x + a, lambda: a * x, lambda: h + c, lambda: c - h):
        with pytest.raises(RuntimeError, match=r"cuda:0 and cpu! .* an array with tensor\(array, device='cuda:0'\)"):
            mixed()
    assert (x + c).tolist() == (c + x).tolist() == [2, 2, 2] and (x + c).is_cuda
    for make in (tg.tensor, tg.as_tensor):
        assert make(c).is_cuda and make(c, device="cpu").tolist() == [1, 1, 1]
        assert make(a, device="cuda").is_cuda and make(c, dtype=tg.float64).dtype == tg.float64
    tg.as_tensor(c).add_(1)
    tg.tensor(c).add_(1)
    assert c.tolist() == [2, 2, 2]  # the former shares its memory, the latter does not
    with pytest.raises(TypeError, match=r"expected np.ndarray \(got cupy.ndarray\); use as_tensor"):
        tg.from_numpy(c)
    with pytest.raises(TypeError, match="Use Tensor.cpu"):
        np.asarray(x)


def test_writing_into_places_from_another_device():
    """Slices take values from anywhere, as copy_ does; picked elements only from their own device."""
    x, h = tg.zeros(4, device="cuda"), tg.zeros(4)
    x[:2] = tg.ones(2)
    x[2:] = np.full(2, 3, np.float32)
    h[1:3] = x[2:]
    w = tg.ones(2, requires_grad=True)
    y = x.clone()
    y[1:3] = w
    (y * y).sum().backward()
    assert x.tolist() == [1, 1, 3, 3] and h.tolist() == [0, 3, 3, 0] and w.grad.tolist() == [2, 2]
    at = tg.tensor([0, 2], device="cuda")
    x[at] = tg.tensor(7.0)
    y = tg.arange(4.0, device="cuda", requires_grad=True)
    for index in (tg.tensor([3, 1]), np.array([3, 1]), [3, 1]):  # which may be on the CPU
        assert y[index].is_cuda and y[index].tolist() == [3, 1]
    mask = tg.tensor([True, False, False, True])
    (y[mask] * 2).sum().backward()
    assert y.grad.tolist() == [2, 0, 0, 2]
    with pytest.raises(RuntimeError, match="cuda:0 and cpu"):
        h[at]
    with pytest.raises(RuntimeError, match=r"cuda:0 and cpu! \(x\[...\] = value\)"):
        x[at] = tg.ones(2)
    assert x.tolist() == [7, 1, 7, 3]


def test_an_optimizer_refuses_a_gradient_of_another_device():
    p = tg.ones(3, device="cuda", requires_grad=True)
    p.sum().backward()
    p._set_data(p.data.cpu())
    with pytest.raises(RuntimeError, match=r"number 0 of its group .* on cpu, but its gradient .* on cuda:0; call"):
        optim.SGD([p], lr=0.1).step()


class _Carried(tg.autograd.Function):
    """The input; its gradient goes to another device."""

    @staticmethod
    def forward(ctx, x):
        return x * 1

    @staticmethod
    def backward(ctx, g):
        return g.cpu() if g.is_cuda else g.cuda()


@pytest.mark.parametrize("here, there", [("cuda", "cpu"), ("cpu", "cuda")])
def test_gradients_of_another_device_are_refused(here, there):
    x, g = tg.ones(2, device=here, requires_grad=True), tg.ones(2, device=there)
    hooked = x * 1
    hooked.register_hook(lambda g: g.to(there))
    moved = tg.ones(2, device=here, requires_grad=True)
    y = moved * 2
    moved._set_data(moved.data.to(there))
    same = tg.ones(2, device=here)
    for wrong in (
        lambda: (x * 2).backward(g), lambda: tg.autograd.grad(x * 2, x, g), lambda: hooked.backward(same),
        lambda: tg.autograd.grad(x * 2, x, g, create_graph=True), lambda: _Carried.apply(x).backward(same),
        lambda: tg.autograd.grad(hooked, x, same, create_graph=True), lambda: y.backward(same),
    ):  # fmt: skip
        with pytest.raises(RuntimeError, match="same device, but found at least two devices, cuda:0 and cpu!"):
            wrong()
    assert x.grad is None and moved.grad is None
    for array in (np.ones(2, np.float32), gpu.cupy().ones(2, "float32")):
        with pytest.raises(TypeError, match="gradients can be either Tensors or None, but got .*ndarray; write"):
            (x * 2).backward(array)


def test_a_number_of_the_cpu_is_a_gradient_everywhere():
    x = tg.ones(2, device="cuda", requires_grad=True)
    x.sum().backward(tg.tensor(3.0))
    (g,) = tg.autograd.grad(x.sum(), x, tg.tensor(3.0), create_graph=True)
    assert x.grad.is_cuda and g.is_cuda and x.grad.tolist() == g.tolist() == [3, 3]
    with pytest.raises(RuntimeError, match="cuda:0 and cpu"):
        tg.ones((), requires_grad=True).mul(2).backward(tg.ones((), device="cuda"))


def test_data_stays_on_its_device():
    for here, there in (("cuda", "cpu"), ("cpu", "cuda")):
        p = tg.nn.Parameter(tg.ones(2, device=here))
        with pytest.raises(RuntimeError, match=r"data: expected .* incompatible tensor type; write value.to\("):
            p.data = tg.zeros(2, device=there)
        p.data = tg.zeros(3, device=here)
        assert p.device.type == here and p.tolist() == [0, 0, 0]


@pytest.mark.parametrize("here, there", [("cuda", "cpu"), ("cpu", "cuda")])
@pytest.mark.parametrize("make", [
    lambda ps: optim.AdamW(ps), lambda ps: optim.SGD(ps, 0.1, momentum=0.9), lambda ps: optim.RMSprop(ps),
])  # fmt: skip
def test_state_left_behind_by_a_model_is_told(make, here, there):
    model = tg.nn.Linear(2, 2, device=here)
    optimizer = make(model.named_parameters())

    def step():
        optimizer.zero_grad()
        model(tg.ones(1, 2, device=model.weight.device)).sum().backward()
        optimizer.step()

    step()
    model.to(there)
    before = model.weight.tolist()
    name = type(optimizer).__name__
    found, wanted = tg.ones(1, device=here).device, tg.ones(1, device=there).device
    with pytest.raises(RuntimeError, match=rf"{name}: the state of parameter weight is on {found}, .* {wanted}; make"):
        step()
    assert model.weight.tolist() == before
    optimizer.load_state_dict(optimizer.state_dict())
    step()
    assert model.weight.tolist() != before


def test_seeding_the_gpu_leaves_the_cpu_alone():
    tg.manual_seed(1)
    expected = tg.rand(2).tolist()
    tg.manual_seed(1)
    tg.cuda.manual_seed(3)
    state = tg.get_rng_state()
    with pytest.raises(ValueError, match="48 bytes, or 96 with that of GPUs, this tensor has 50"):
        tg.set_rng_state(state[:50])
    for _ in range(2):
        drawn = tg.rand(4, device="cuda")
        dropped = tg.nn.functional.dropout(tg.ones(50, device="cuda"))
        assert tg.rand(2).tolist() == expected
        tg.set_rng_state(state)
        assert tg.equal(tg.rand(4, device="cuda"), drawn)
        assert tg.equal(tg.nn.functional.dropout(tg.ones(50, device="cuda")), dropped)
        tg.set_rng_state(state)
    tg.manual_seed(3)  # one stream again
    assert tg.equal(tg.rand(4, device="cuda"), drawn)
    after = tg.rand(2).tolist()
    tg.manual_seed(3)
    tg.rand(4)
    assert tg.rand(2).tolist() == after


def test_what_runs_again_for_backward_draws_the_same_from_a_stream_of_the_gpus_own():
    x = tg.ones(100, device="cuda", requires_grad=True)
    tg.manual_seed(1)
    tg.cuda.manual_seed(3)
    try:
        y = tg.utils.checkpoint.checkpoint(lambda x: tg.nn.functional.dropout(x) * x, x, use_reentrant=False)
        state = tg.get_rng_state()
        y.sum().backward()
        assert tg.equal(x.grad, 2 * y) and tg.equal(tg.get_rng_state(), state)
    finally:
        tg.manual_seed(0)


def test_equal_names_both_devices():
    with pytest.raises(RuntimeError, match=r"cuda:0 and cpu! \(equal\)"):
        tg.equal(tg.ones(2, device="cuda"), tg.ones(2))


def test_arrays_of_cupys_as_data():
    cp = gpu.cupy()
    for make in (tg.tensor, tg.as_tensor):
        with pytest.raises(TypeError, match=r"unsupported dtype dtype\('uint32'\); use one of"):
            make(cp.ones(2, "u4"))
        assert make(cp.ones(2, "u4"), dtype=tg.float32).tolist() == [1, 1]
    x = tg.tensor([cp.ones(2), cp.zeros(2)])  # as of Tensors on a GPU, on the CPU
    assert x.tolist() == [[1, 1], [0, 0]] and x.dtype == tg.float64 and x.is_cpu
    with pytest.raises(ValueError, match="must be of equal length"):
        tg.tensor([cp.ones(2), cp.zeros(3)])


def test_check_takes_arrays_of_cupys():
    cp = gpu.cupy()
    seen = set()

    def total(xs):
        seen.update(x.is_cuda for x in xs)
        return xs[0] * xs[1]

    assert tg.testing.check(total, inputs=[(cp.arange(3.0), np.ones(3))])
    assert seen == {True}


def test_reading_values():
    x = tg.arange(3, device="cuda")
    assert "device='cuda:0'" in repr(x) and x.tolist() == [0, 1, 2]
    assert x[1].item() == 1 and bool(x[1]) and int(x[2]) == 2
    with pytest.raises(TypeError, match=r"Use Tensor.cpu\(\) to copy the tensor to host memory first"):
        x.numpy()
    assert x.numpy(force=True).tolist() == x.cpu().numpy().tolist()


def test_a_view_with_strides_of_its_own_shares_memory_too():
    """CuPy gives such a view no base."""
    w = tg.ones(6, device="cuda", requires_grad=True)
    y = w * 2
    z = (y * y).sum()
    y.unfold(0, 3, 3).detach().add_(1)
    with pytest.raises(RuntimeError, match="was changed in place"):
        z.backward()


def test_cross_entropy_leaves_logits_that_a_view_shows():
    w = tg.randn(30, device="cuda", requires_grad=True)
    logits = w * 1
    before = logits.tolist()
    F.cross_entropy(logits.unfold(0, 5, 5), tg.arange(6, device="cuda") % 5).backward()
    assert logits.tolist() == before


def test_the_engine_adds_only_into_arrays_of_its_own():
    cp = gpu.cupy()
    g = cp.ones((2, 3), "float32")
    view = cp.lib.stride_tricks.as_strided(g, (2, 3), g.strides)
    assert view.base is None
    other = cp.ones(3)
    assert engine._is_fresh(other, g, [view, other], ())
    assert not engine._is_fresh(view, g, [view], ())
    assert not engine._is_fresh(view, cp.ones(3), [view], (g,))
    assert not engine._is_fresh(view, cp.ones(3), [view, g], ())


def test_views_share_memory_and_versions():
    x = tg.zeros(3, 4, device="cuda")
    x[1] += 1
    x.T[0].fill_(5)
    x[:, 3:].mul_(2)
    assert x.tolist() == [[5, 0, 0, 0], [5, 1, 1, 2], [5, 0, 0, 0]]
    with pytest.raises(RuntimeError, match="cannot be written to"):
        tg.zeros(1, 3, device="cuda").expand(2, 3).add_(1)
    w = tg.ones(3, device="cuda", requires_grad=True)
    y = w * 2
    z = (y * y).sum()
    y.add_(1)
    with pytest.raises(RuntimeError, match="was changed in place"):
        z.backward()
    with pytest.raises(RuntimeError, match="leaf Variable"):
        w.add_(1)


def test_the_default_device():
    with tg.device("cuda"):
        assert all(t.is_cuda for t in (tg.zeros(2), tg.tensor([1]), tg.rand(2), tg.arange(3), tg.Tensor(2)))
        with tg.device("cpu"):
            assert not tg.ones(1).is_cuda
        assert tg.nn.Linear(2, 2).weight.is_cuda
    assert not tg.zeros(2).is_cuda
    tg.set_default_device("cuda")
    try:
        assert tg.get_default_device() == tg.device("cuda:0") and tg.full((2,), 3).is_cuda
    finally:
        tg.set_default_device(None)
    x = tg.ones(2, device="cuda")
    assert all(t.is_cuda for t in (tg.zeros_like(x), tg.rand_like(x), x.new_zeros(2), x.new_tensor([1])))


@pytest.mark.parametrize("n", [0, 1, 7, 8192, 20001])
def test_a_seed_gives_the_same_numbers_on_both_devices(n):
    def drawn(device):
        tg.manual_seed(2**70 + 5)
        ones = tg.ones(n, device=device)
        return [
            tg.rand(n, device=device), tg.rand(n, dtype=tg.float64, device=device), tg.randperm(n, device=device),
            tg.randint(-3, 900, (n,), device=device), tg.nn.functional.dropout(ones), ones.bernoulli_(0.3),
            tg.randn(n, device=device),
        ]  # fmt: skip

    for x, y in zip(drawn("cuda"), drawn("cpu"), strict=True):
        assert x.is_cuda and np.allclose(x.cpu().numpy(), y.numpy(), rtol=1e-6)
    tg.manual_seed(1)
    tg.rand(5, device="cuda")
    here = tg.get_rng_state()
    tg.manual_seed(1)
    tg.rand(5)
    assert tg.equal(here, tg.get_rng_state())


def test_an_index_out_of_range_is_reported_at_the_next_reading():
    table = tg.ones(4, 2, device="cuda")
    for wrong in (lambda: tg.nn.functional.embedding(tg.tensor([4], device="cuda"), table),
                  lambda: table[tg.tensor([-5], device="cuda")],
                  lambda: tg.nn.functional.cross_entropy(table, tg.tensor([0, 1, 2, 0], device="cuda"))):  # fmt: skip
        y = wrong()
        with pytest.raises(IndexError, match="out of bounds"):
            y.sum().item()
    right = tg.nn.functional.cross_entropy(table, tg.tensor([0, 1, -100, 0], device="cuda"))
    assert right.item() == pytest.approx(np.log(2))


def test_devices_that_are_not_there():
    with pytest.raises(RuntimeError, match="'cuda:99' does not exist: CuPy found .*'cuda:0'.*; use what there is"):
        tg.zeros(1, device="cuda:99")


def test_what_the_gpu_tells():
    cuda = tg.cuda
    assert cuda.is_available() and cuda.is_initialized() and cuda.device_count() >= 1 and cuda.current_device() == 0
    assert cuda.get_device_name()
    cuda.set_device("cuda:0")
    with cuda.device(0):
        cuda.synchronize()
    cuda.empty_cache()
    cuda.reset_peak_memory_stats()
    before = cuda.memory_allocated()
    x = tg.zeros(1000, 1000, device="cuda")
    assert cuda.memory_allocated() - before >= x.nbytes
    del x
    assert cuda.max_memory_allocated() - before >= 4_000_000 and cuda.memory_reserved() >= 4_000_000
    start, end = cuda.Event(enable_timing=True), cuda.Event(enable_timing=True)
    stream = cuda.Stream()
    with stream:
        start.record()
        tg.ones(10, device="cuda").sum()
        end.record()
    stream.synchronize()
    assert stream.query() and end.query() and start.elapsed_time(end) >= 0


def test_what_the_gpu_is():
    found = tg.cuda.get_device_properties()
    assert found.name == tg.cuda.get_device_name() and (found.major, found.minor) == tg.cuda.get_device_capability()
    free, total = tg.cuda.mem_get_info("cuda:0")
    assert 0 < free <= total == found.total_memory and found.warp_size in (32, 64) and found.multi_processor_count > 0
    tg.cuda.set_device(-1)
    assert tg.cuda.current_device() == 0
    for ask in (tg.cuda.synchronize, tg.cuda.get_device_properties, tg.cuda.memory_allocated, tg.cuda.Stream):
        with pytest.raises(ValueError, match="expected a cuda device, but got cpu"):
            ask("cpu")


def test_streams_are_told_apart():
    cuda = tg.cuda
    one = cuda.Stream()
    assert cuda.current_stream() == cuda.default_stream() != one and cuda.stream(one) is one
    with cuda.stream(one) as entered, cuda.stream(None):
        assert entered is one and cuda.current_stream() == one and len({one, cuda.current_stream()}) == 1
        event = cuda.Event()
        assert event.query()  # as it was not recorded
        event.synchronize()
        event.record()
    assert cuda.current_stream() == cuda.default_stream()
    cuda.default_stream().wait_event(event)
    event.wait()
    event.wait(one)
    assert event.device == one.device


def test_times_between_events_that_do_not_fit():
    first, second = (tg.cuda.Event(enable_timing=True) for _ in range(2))
    with pytest.raises(ValueError, match="Both events must be recorded before calculating elapsed time"):
        first.elapsed_time(second)
    first.record()
    second.record()
    tg.cuda.synchronize()
    assert first.elapsed_time(second) >= 0
    untimed = tg.cuda.Event()
    untimed.record()
    with pytest.raises(ValueError, match="created with argument 'enable_timing=True'"):
        first.elapsed_time(untimed)


def test_copies_are_counted():
    with transfers.counted() as count:
        x = tg.ones(4).cuda()
        x.sum().item()
    assert (count.to_device, count.to_host, count.bytes) == (1, 1, 20)
