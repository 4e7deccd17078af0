"""What two GPUs change; run by test_two_gpus.py, on two real ones or on an emulated one with a second beside it.

Between uses the other GPU is made CuPy's current one, so that what forgets to choose its own fails.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import tinygrad_edu as tg
from tests.device import test_ops
from tinygrad_edu import nn, optim
from tinygrad_edu.backend import gpu, transfers

FIRST, SECOND = tg.device("cuda:0"), tg.device("cuda:1")


def elsewhere(index: int = 0) -> None:
    """Let CuPy compute on this GPU."""
    gpu.cupy().cuda.Device(index).use()


@pytest.fixture(autouse=True)
def _starts_on_the_first():
    tg.cuda.set_device(0)
    elsewhere()


class OnSecond(test_ops.OnGpu):
    """The library with its tensors on the second GPU, while the first is current."""

    def run(self, function: Any, *args: Any, **kwargs: Any) -> Any:
        elsewhere()
        return super().run(function, *args, **kwargs)

    def backward(self, outputs: list[Any], cotangents: list[Any]) -> None:
        elsewhere()
        super().backward(outputs, cotangents)


@pytest.mark.parametrize("record", test_ops.RECORDS, ids=lambda r: r.name)
def test_every_op_computes_where_its_tensors_are(record: Any):
    test_ops.compare(OnSecond("cuda:1"), record)


def test_tensors_of_two_gpus_do_not_mix():
    x, y = tg.ones(3, device="cuda:0"), tg.ones(3, device="cuda:1")
    for mixed in (
        lambda: x + y,
        lambda: y @ x,
        lambda: tg.cat([x, y]),
        lambda: x.add_(y),
        lambda: tg.where(x > 0, x, y),
    ):
        with pytest.raises(RuntimeError, match=r"two devices, cuda:(0 and cuda:1|1 and cuda:0)!.*\.to\('cuda:1'\)"):
            mixed()
    with pytest.raises(RuntimeError, match="cuda:[01] and cuda:[01]"):
        x.grad = y
    assert (y * tg.tensor(2.0)).tolist() == [2, 2, 2]  # 0-d tensors of the CPU may take part, those of a GPU not
    with pytest.raises(RuntimeError, match="cuda:[01] and cuda:[01]"):
        y * tg.tensor(2.0, device="cuda:0")


def test_a_launch_that_waits_is_made_where_it_began():
    def computed(device: str) -> list[Any]:
        draw = np.random.default_rng(6).standard_normal
        x, w, b, c = (tg.tensor(draw(s), dtype=tg.float32, device=device) for s in ((64, 64), (64, 64), 64, 64))
        hidden = nn.functional.linear(x, w, b)
        elsewhere()
        found = [hidden + 1, nn.functional.gelu(nn.functional.linear(x, w, c), approximate="tanh")]
        elsewhere()
        found.append(nn.functional.linear(x, w, b))
        elsewhere()
        assert all(y.device == tg.device(device) for y in found)
        return [y.cpu().numpy() for y in found]

    for y, z in zip(computed("cuda:1"), computed("cpu"), strict=True):
        assert np.allclose(y, z, rtol=1e-4, atol=1e-5)


def test_what_cuda_means():
    assert tg.zeros(1, device="cuda").device == FIRST and tg.cuda.current_device() == 0
    with tg.cuda.device(1):
        assert tg.cuda.current_device() == 1 and tg.zeros(1, device="cuda").device == SECOND
        x = tg.zeros(1, device="cuda:0")
        assert (x + 1).device == FIRST and tg.rand(2, device="cuda").device == SECOND and x.cuda().device == SECOND
        with tg.cuda.device(-1), tg.cuda.device(None):
            assert tg.cuda.current_device() == 1
    assert tg.cuda.current_device() == 0
    tg.cuda.set_device("cuda:1")
    assert tg.tensor([1.0], device="cuda").device == SECOND and tg.device("cuda:1") == tg.device(1)
    with tg.device("cuda:0"):
        assert tg.ones(2).device == FIRST
    assert tg.cuda.device_count() == 2
    assert tg.cuda.get_device_name(0) and tg.cuda.get_device_name("cuda:1")
    with pytest.raises(RuntimeError, match="'cuda:2' does not exist: CuPy found 2 GPUs, 'cuda:0' to 'cuda:1'"):
        tg.cuda.set_device(2)


def test_values_move_between_them_without_the_cpu():
    x = tg.arange(6.0, device="cuda:0").reshape(2, 3).T
    with transfers.counted() as count:
        y = x.to("cuda:1")
    assert (count.to_device, count.to_host) == (0, 0) and y.device == SECOND
    for current in (0, 1):
        elsewhere(current)
        assert x.tolist() == y.tolist() == [[0, 3], [1, 4], [2, 5]] and repr(y).endswith("device='cuda:1')")
    assert y.to("cuda:1") is y and y.to(x.device).device == FIRST and tg.equal(y.cpu(), x.cpu())
    y.copy_(x + 1)
    elsewhere()
    y[0] += 1
    y.mul_(2)
    assert y.device == SECOND and y.tolist() == [[4, 10], [4, 10], [6, 12]]


def test_in_place_changes_happen_where_the_tensor_is():
    def changed(device: str) -> Any:
        tg.manual_seed(3)
        x = tg.ones(4, 3, device=device)
        for change in (
            lambda: x.fill_(2), lambda: x.add_(1), lambda: x[1:].mul_(2), lambda: x.normal_(), lambda: x.uniform_(),
            lambda: x.bernoulli_(0.4), lambda: x.exponential_(), lambda: x.masked_fill_(x > 1, 0.5),
            lambda: x.__setitem__(tg.tensor([0, 2], device=device), 7), lambda: x.__setitem__((slice(None), 1), 3.0),
            lambda: x.random_(9), lambda: x.clamp_(1, 5),
        ):  # fmt: skip
            elsewhere()
            change()
            assert x.device == tg.device(device)
        elsewhere()
        return x.cpu()

    assert tg.equal(changed("cuda:1"), changed("cpu"))


def _two_layers(first: str, second: str) -> tuple[tg.Tensor, list[tg.Tensor]]:
    """A loss whose graph goes to and fro between the devices, and its leaves."""
    draw = np.random.default_rng(0).standard_normal
    a, b, c = (tg.tensor(draw((3, 3)), device=d, requires_grad=True) for d in (first, second, first))
    elsewhere()
    h = (a * 2).tanh()
    k = (h.to(second) @ b).relu() + h.to(second)[0]  # two gradients meet in h, on its device
    y = k.to(first) @ c + h
    elsewhere(1)
    return (y * y).sum() + (k * b).sum().to(first), [a, b, c]


def test_backward_through_both():
    expected, plain = _two_layers("cpu", "cpu")
    expected.backward()
    for start in (0, 1):
        loss, leaves = _two_layers("cuda:0", "cuda:1")
        elsewhere(start)
        loss.backward(retain_graph=True)
        elsewhere(start)
        loss.backward()  # adds to what is there
        for p, q in zip(leaves, plain, strict=True):
            assert p.grad.device == p.device and np.allclose(p.grad.cpu().numpy(), 2 * q.grad.numpy(), 1e-12, 1e-12)


def test_hooks_and_retained_gradients():
    for pair in (("cuda:0", "cuda:1"), ("cuda:1", "cuda:0")):
        x = tg.ones(2, device=pair[0], requires_grad=True)
        y = (x * 2).to(pair[1])
        y.retain_grad()

        def hook(g: tg.Tensor) -> tg.Tensor:
            elsewhere(g.device.index)
            doubled = g * 2
            elsewhere(1 - g.device.index)
            return doubled

        x.register_hook(hook)
        (y * 3).sum().backward()
        (x * 3).sum().backward()
        assert y.grad.device == y.device and y.grad.tolist() == [3, 3]
        assert x.grad.device == x.device and x.grad.tolist() == [18, 18]


def test_gradients_of_gradients_through_both():
    def second_derivatives(first: str, second: str) -> list[Any]:
        loss, leaves = _two_layers(first, second)
        elsewhere()
        gradients = tg.autograd.grad(loss, leaves, create_graph=True)
        penalty = sum(((g * g).sum().to(first) for g in gradients), tg.zeros((), device=first))
        elsewhere(1)
        return [g.cpu().numpy() for g in tg.autograd.grad(penalty, leaves)]

    for found, expected in zip(second_derivatives("cuda:0", "cuda:1"), second_derivatives("cpu", "cpu"), strict=True):
        assert np.allclose(found, expected, 1e-11, 1e-11)


@pytest.mark.parametrize("name", "SGD Adam AdamW NAdam RAdam Adamax Adagrad Adadelta RMSprop Muon".split())
@pytest.mark.parametrize("size", [4, 160])  # small ones are joined, large ones have kernels
def test_an_optimizer_of_parameters_on_both(name: str, size: int):
    def updated(*devices: str) -> list[Any]:
        draw = np.random.default_rng(1).standard_normal
        group = [tg.tensor(draw((size, size)), dtype=tg.float32, device=d, requires_grad=True) for d in devices]
        options = {"momentum": 0.9} if name == "SGD" else {} if name == "Muon" else {"maximize": True}
        optimizer = getattr(optim, name)(group, lr=0.01, **options)
        for step in range(3):
            for p in group:
                elsewhere(step % 2)
                (p * p * p).sum().backward()
            elsewhere(step % 2)
            nn.utils.clip_grad_norm_(group, 1.0)
            elsewhere(1 - step % 2)
            optimizer.step()
            optimizer.zero_grad(set_to_none=step == 1)
        state = optimizer.state_dict()
        optimizer.load_state_dict(state)
        for p in group:
            moments = [value for value in optimizer.state[p].values() if isinstance(value, tg.Tensor) and value.ndim]
            assert moments and {m.device for m in moments} == {p.device}
        return [p.detach().cpu().numpy() for p in group]

    mixed = updated("cuda:0", "cuda:1", "cuda:0", "cuda:1")
    for p, q in zip(mixed, updated(*["cpu"] * 4), strict=True):
        assert np.allclose(p, q, rtol=1e-5, atol=1e-6)


def test_a_model_in_two_halves_learns_as_on_the_cpu():
    def losses(first: str, second: str) -> list[float]:
        tg.manual_seed(5)
        encoder = nn.Sequential(nn.Embedding(11, 32), nn.LayerNorm(32), nn.Linear(32, 128), nn.GELU(), nn.Dropout(0.1))
        decoder = nn.Sequential(nn.LayerNorm(128), nn.Linear(128, 11))
        encoder.to(first), decoder.to(second)
        optimizer = optim.AdamW([*encoder.parameters(), *decoder.parameters()], lr=1e-2)
        tokens = tg.from_numpy(np.random.default_rng(2).integers(0, 11, (16, 8)))
        found = []
        for _ in range(5):
            logits = decoder(encoder(tokens.to(first)).to(second))
            loss = nn.functional.cross_entropy(logits.flatten(0, 1), tokens.flatten().to(second))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            found.append(loss.item())
        return found

    expected = losses("cpu", "cpu")
    assert losses("cuda:0", "cuda:1") == pytest.approx(expected, rel=1e-4)
    assert losses("cuda:1", "cuda:0") == pytest.approx(expected, rel=1e-4) and expected[-1] < expected[0]


def test_memory_is_told_by_gpu():
    cuda = tg.cuda
    cuda.empty_cache()
    for i in (0, 1):
        cuda.reset_peak_memory_stats(i)
    before = [cuda.memory_allocated(i) for i in (0, 1)]
    x = tg.zeros(1 << 20, device="cuda:1")
    elsewhere()
    assert cuda.memory_allocated(1) - before[1] >= x.nbytes and cuda.memory_allocated("cuda:0") == before[0]
    assert cuda.memory_allocated() == cuda.memory_allocated(0)
    with cuda.device(1):
        assert cuda.memory_allocated() == cuda.memory_allocated(1)
    del x
    assert cuda.memory_allocated(1) == before[1] and cuda.max_memory_allocated(1) - before[1] >= 1 << 22
    assert cuda.max_memory_allocated(0) < before[0] + (1 << 22) and cuda.memory_reserved(1) >= 1 << 22
    assert cuda.max_memory_reserved(1) >= 1 << 22
    cuda.empty_cache()
    assert cuda.memory_reserved(1) - cuda.memory_allocated(1) < 1 << 22
    cuda.reset_peak_memory_stats(1)
    assert cuda.max_memory_allocated(1) == cuda.memory_allocated(1)
    free, total = cuda.mem_get_info(1)
    assert 0 < free <= total


def test_random_numbers_are_those_of_the_seed_on_each():
    generators = {d: tg.Generator(d).manual_seed(7) for d in ("cuda:0", "cuda:1")}
    assert [g.device for g in generators.values()] == [FIRST, SECOND]
    drawn = []
    for device, generator in generators.items():
        elsewhere(1)
        drawn.append(
            [tg.rand(5, device=device, generator=generator), tg.randn(9000, device=device, generator=generator)]
        )
        assert {x.device for x in drawn[-1]} == {tg.device(device)}
    assert all(tg.equal(a.cpu(), b.cpu()) for a, b in zip(*drawn, strict=True))


def test_streams_and_events():
    cuda = tg.cuda
    one, other = cuda.Stream("cuda:1"), cuda.Stream()
    assert one.device == SECOND and other.device == FIRST
    x = tg.ones(8, device="cuda:1")
    elsewhere()
    start, end = cuda.Event(enable_timing=True), cuda.Event(enable_timing=True)
    with one:
        start.record()
        y = x * 2
        end.record()
    elsewhere()
    other.wait_stream(one)
    one.synchronize()
    cuda.synchronize(1)
    assert y.device == SECOND and y.tolist() == [2] * 8 and start.elapsed_time(end) >= 0
    assert one.record_event().query() and one.query()
    with other:
        assert (tg.ones(2, device="cuda:0") + 1).tolist() == [2, 2]


def test_checks_of_indices_on_both():
    tables = [tg.ones(4, 2, device=d) for d in ("cuda:0", "cuda:1")]
    for table in tables:
        nn.functional.embedding(tg.tensor([4], device=table.device), table)
    elsewhere()
    with pytest.raises(IndexError, match="out of bounds"):
        tables[0].sum().item()
    assert tables[1].sum().item() == 8
