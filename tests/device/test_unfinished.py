"""Launches that wait for the next op: the same bits as without, whatever comes between, and nobody meets half a sum."""

from __future__ import annotations

import copy
import gc
import threading

import numpy as np
import pytest

import tinygrad_edu as tg
from gpt.config import GPTConfig
from gpt.model import GPT
from tinygrad_edu import dispatch
from tinygrad_edu.autograd import unfinished
from tinygrad_edu.autograd.modes import observe
from tinygrad_edu.nn import functional as F
from tinygrad_edu.ops.elementwise import Add

cp = pytest.importorskip("cupy", reason="CuPy is not installed")
pytestmark = pytest.mark.kernels

DTYPES = (tg.float16, tg.float32, tg.float64)


@pytest.fixture(autouse=True)
def _as_in_a_new_program(_gpu, fused):
    yield
    unfinished.finish()
    unfinished.may_wait = True


def waits(x):
    """Whether nothing has finished this tensor yet."""
    return "_unfinished" in vars(x) and vars(x)["_unfinished"].array is None


@pytest.fixture
def launched(monkeypatch):
    """The sums that were added up by launches of their own, each with the stream of work that it went into."""
    from tinygrad_edu.kernels.cuda import sums

    found = []

    def watched(added):
        return lambda self: found.append((self, cp.cuda.get_current_stream().ptr)) or added(self)

    for kind in sums.Biased, sums.Residual:
        monkeypatch.setattr(kind, "added", watched(kind.added))
    return found


def bits(*tensors):
    return [t.detach().cpu().numpy().tobytes() for t in tensors]


def plain(call, *args):
    """The same with every op on its own: somebody watches, and is to be told arrays."""
    with observe(object()):
        return call(*args)


def made(*shapes, dtype=tg.float32, seed=0):
    """Leaves on the GPU, with gradients to come."""
    numbers = np.random.default_rng(seed)
    return [tg.tensor(numbers.standard_normal(s), dtype=dtype).cuda().requires_grad_() for s in shapes]


def layers(rows=(5, 7), inner=33, outer=45, **options):
    """x, weight, bias, residual, and the weight and bias of a norm."""
    return made((*rows, inner), (outer, inner), (outer,), (*rows, outer), (outer,), (outer,), **options)


# ---- the same bits ---------------------------------------------------------------------------------------------------


def with_activation(activation):
    def call(x, w, b, *_):
        h = F.linear(x, w, b)
        return h, activation(h)

    return call


def with_norm(norm, keep, swapped):
    """keep: somebody goes on looking at what the sum is made of."""

    def call(x, w, b, r, g, c):
        h = F.linear(x, w, b)
        s = h + r if swapped else r + h
        kept = (h,) if keep else ()
        del h
        return s, norm(s, g, c), *kept

    return call


def with_another_that_shows_it(x, w, b, r, g, c):
    h = F.linear(x, w, b)
    s = r + h
    other = h.detach()
    del h
    assert waits(s) or not unfinished.waiting
    return layer_norm(s, g, c), other


def layer_norm(x, g, c):
    return F.layer_norm(x, g.shape, g, c)


def rms_norm(x, g, c):
    return F.rms_norm(x, g.shape, g, 1e-6)


FORMS = {
    "gelu": with_activation(F.gelu),
    "tanh gelu": with_activation(lambda h: F.gelu(h, approximate="tanh")),
    "silu": with_activation(F.silu),
    "another activation": with_activation(tg.tanh),
    "layer norm": lambda x, w, b, r, g, c: (layer_norm(F.linear(x, w, b), g, c),),
    "rms norm": lambda x, w, b, r, g, c: (rms_norm(F.linear(x, w, b), g, c),),
    "sum": lambda x, w, b, r, g, c: (F.linear(x, w, b) + r,),
    "sum, layer norm": with_norm(layer_norm, keep=False, swapped=False),
    "sum, rms norm": with_norm(rms_norm, keep=False, swapped=True),
    "sum that shares, layer norm": with_norm(layer_norm, keep=True, swapped=True),
    "sum that shares, rms norm": with_norm(rms_norm, keep=True, swapped=False),
    "sum of what was shown, layer norm": with_another_that_shows_it,
    "bare layer norm": lambda x, w, b, r, g, c: (F.layer_norm(r + F.linear(x, w, b), g.shape),),
    "twice": lambda x, w, b, r, g, c: (lambda h: (h, h + h, h + h.detach()))(F.linear(x, w, b)),
    "two sums": lambda x, w, b, r, g, c: (F.linear(x, w, b) + r + r, r + (r + F.linear(x, w, b))),
    "two that wait": lambda x, w, b, r, g, c: (F.linear(x, w, b) + F.linear(x, w, c),),
    "broadcast": lambda x, w, b, r, g, c: (F.linear(x, w, b) + c, r[:1] + F.linear(x, w, b)),
    "another dtype": lambda x, w, b, r, g, c: (F.linear(x, w, b) + r.double(), F.linear(x, w, b) + 1),
    "other strides": lambda x, w, b, r, g, c: (
        layer_norm(r.transpose(0, 1).contiguous().transpose(0, 1) + F.linear(x, w, b), g, c),
    ),
    "as the weight of a norm": lambda x, w, b, r, g, c: (F.layer_norm(r, c.shape, F.linear(x[0, 0], w, b), c),),
}  # fmt: skip


def results_and_gradients(form, arrays):
    for t in arrays:
        t.grad = None
    ys = form(*arrays)
    weights = made(*[y.shape for y in ys], seed=1)
    sum((y * k.detach().to(y.dtype)).sum() for y, k in zip(ys, weights, strict=True)).backward()
    return bits(*ys, *(t.grad for t in arrays if t.grad is not None))


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("form", FORMS)
def test_the_same_bits(form, dtype):
    arrays = layers(dtype=dtype)
    assert results_and_gradients(FORMS[form], arrays) == plain(results_and_gradients, FORMS[form], arrays)
    with tg.no_grad():
        assert bits(*FORMS[form](*arrays)) == bits(*plain(FORMS[form], *arrays))


@pytest.mark.parametrize("sizes", [((1,), 1, 1), ((), 3, 5), ((300,), 7, 1), ((2, 3, 4), 5, 2049), ((2,), 3, 6145)])
@pytest.mark.parametrize("form", ["tanh gelu", "sum, layer norm", "sum that shares, layer norm"])
def test_the_same_bits_of_odd_sizes(form, sizes):
    """The last has longer rows than the kernel of the norm takes."""
    arrays = layers(*sizes)
    assert results_and_gradients(FORMS[form], arrays) == plain(results_and_gradients, FORMS[form], arrays)


@pytest.mark.parametrize("outer", [1, 45, 300, 2049])
def test_the_same_bits_where_threads_have_several_elements(monkeypatch, outer):
    from tinygrad_edu.kernels.cuda import activation

    monkeypatch.setattr(activation, "blocks_for", lambda elements, threads: 3)
    arrays = layers(rows=(900 if outer == 1 else 20,), outer=outer)
    assert bits(*FORMS["gelu"](*arrays)) == bits(*plain(FORMS["gelu"], *arrays))


def test_nan_and_infinity_pass():
    x, w, b, r, g, c = layers()
    with tg.no_grad():
        b[3], r[0, 1, 2], x[1, 1, 1] = np.inf, -np.inf, np.nan
        for form in "tanh gelu", "sum, layer norm":
            found, expected = FORMS[form](x, w, b, r, g, c), plain(FORMS[form], x, w, b, r, g, c)
            for y, z in zip(found, expected, strict=True):
                np.testing.assert_array_equal(y.cpu().numpy(), z.cpu().numpy())


def test_what_waits_and_for_whom():
    x, w, b, r, g, c = layers()
    h = F.linear(x, w, b)
    s = r + h
    assert waits(h) and waits(s) and [t() for t in unfinished.waiting] == [h, s]
    y = F.gelu(s)
    assert not (waits(h) or waits(s) or waits(y) or unfinished.waiting)
    for take in F.gelu, F.silu, lambda h: layer_norm(h, g, c), lambda h: layer_norm(r + h, g, c):
        h = F.linear(x, w, b)
        y = take(h)
        assert "_unfinished" in vars(h) and not waits(h) and not waits(y), "not finished by the kernel that takes it"
    frozen = [t.detach() for t in (x, w, b)]
    assert not waits(r + F.linear(*frozen)) and waits(r.detach() + F.linear(*frozen))
    assert not waits(F.linear(x, w)) and not waits(F.linear(*layers(outer=0)[:3]))
    with tg.no_grad():
        assert not waits(dispatch.apply(Add, r.double(), F.linear(x, w, b)))
    assert not waits(r + x[..., :1]) and not waits(F.linear(x, w, b) + r[:1])


def test_a_model_has_the_same_loss_and_gradients(launched):
    def trained(recompute=False):
        tg.manual_seed(3)
        model = GPT(GPTConfig(block_size=16, vocab_size=65, n_layer=2, n_head=2, n_embd=32)).cuda()
        model.recompute = recompute
        ids = tg.randint(0, 65, (4, 16)).cuda()
        loss = model(ids, ids)[1]
        loss.backward()
        with tg.no_grad():
            return bits(loss, model(ids)[0], *(p.grad for p in model.parameters()))

    expected = plain(trained)
    launched.clear()
    assert trained() == expected and len(launched) == 4  # in each block those of queries, keys and values
    launched.clear()
    assert trained(recompute=True) == expected and len(launched) == 6


# ---- what comes between ----------------------------------------------------------------------------------------------


def step_of(t):
    t.grad = tg.ones_like(t)
    tg.optim.AdamW([t], lr=0.1).step()


def step_of_muon(t):
    t = tg.nn.Parameter(t.detach().view(1, -1))
    t.grad = tg.ones_like(t)
    tg.optim.Muon([t], lr=0.1).step()


def clipping(t):
    holder = tg.zeros_like(t).requires_grad_()
    holder.grad = t.detach()
    tg.nn.utils.clip_grad_norm_([holder], 1e-3)


def augmented(t):
    t += 1


def an_element(t):
    t[..., 0] = 7


def other_code(t):
    cp.from_dlpack(t.detach())[...] = 0


def an_address(t):
    memory = cp.cuda.UnownedMemory(t.data_ptr(), t.nbytes, t)
    cp.ndarray(tuple(t.shape), "f", cp.cuda.MemoryPointer(memory, 0))[...] = 0


CHANGES = {
    "augmented": augmented, "an element": an_element, "AdamW": step_of, "Muon": step_of_muon, "clipping": clipping,
    "other code": other_code, "an address": an_address,
    "add_": lambda t: t.add_(1), "fill_": lambda t: t.fill_(1), "copy_": lambda t: t.copy_(tg.zeros_like(t)),
    "normal_": lambda t: t.normal_(), "masked_fill_": lambda t: t.masked_fill_(t > 0, 9),
    "data": lambda t: t.data.mul_(2), "detach": lambda t: t.detach().zero_(), "view": lambda t: t.view(-1).zero_(),
    "relu": lambda t: F.relu(t, inplace=True), "init": lambda t: tg.nn.init.zeros_(t),
    "exchanged": lambda t: setattr(t, "data", tg.zeros_like(t)),
    "state dict": lambda t: tg.nn.ParameterList([tg.nn.Parameter(t)]).load_state_dict({"0": tg.zeros_like(t)}),
}  # fmt: skip


def nothing(): ...


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("keep", ["sum", "both", "product"])
def test_operands_that_change(change, keep):
    x, w, b, r, *_ = (t.detach() for t in layers())

    def call(change):
        h = F.linear(x, w, b)
        s = r + h
        assert waits(s) or change is nothing
        kept = {"sum": (s,), "both": (s, h), "product": (h,)}[keep]
        del h, s
        change()
        return kept

    expected = bits(*plain(call, nothing))
    for operand in b, r:
        before = bits(operand)
        copy_of_it = operand.clone()
        assert bits(*call(lambda operand=operand: CHANGES[change](operand))) == expected
        assert bits(operand) != before, "nothing was changed"
        operand.data = copy_of_it
        unfinished.may_wait = True


def test_a_gradient_that_is_added_to():
    x, w, b, *_ = (t.detach() for t in layers())
    expected = bits(plain(F.linear, x, w, b))
    p = tg.zeros_like(b).requires_grad_()
    p.grad = b
    loss = (p * 3).sum()
    h = F.linear(x, w, b)
    loss.backward()
    assert bits(h) == expected != bits(plain(F.linear, x, w, b))


@pytest.mark.parametrize("change", CHANGES)
def test_a_result_that_changes(change):
    x, w, b, r, *_ = (t.detach() for t in layers())

    def call():
        h = F.linear(x, w, b)
        s = r + h
        tg.manual_seed(0)
        CHANGES[change](h)
        return bits(h, s)

    assert call() == plain(call)


def test_once_shared_no_launch_waits():
    x, w, b, r, *_ = (t.detach() for t in layers())
    assert waits(F.linear(x, w, b))
    h = F.linear(x, w, b)
    theirs = cp.from_dlpack(r)
    assert not waits(h) and not waits(F.linear(x, w, b))
    s = r + F.linear(x, w, b)
    theirs[...] = 0
    assert bits(r + h) != bits(s)


def test_watchers_are_told_arrays():
    class Watcher:
        def computed(self, op, pair, attrs, inputs, y):
            assert all(type(a) is cp.ndarray for a in (*inputs, y) if a is not None)
            seen.append(op.name)

    seen = []
    x, w, b, r, g, c = layers()
    h = F.linear(x, w, b)
    with observe(Watcher()):
        y = layer_norm(r + h, g, c)
        F.gelu(F.linear(x, w, b))
    assert seen == ["add", "layer_norm", "linear", "gelu"] and bits(y) == bits(plain(lambda: layer_norm(r + h, g, c)))


def test_kernels_that_are_switched_off_in_between():
    x, w, b, r, g, c = layers()
    expected = plain(lambda: bits(F.linear(x, w, b), r + F.linear(x, w, b)))
    h, s = F.linear(x, w, b), r + F.linear(x, w, b)
    with dispatch.use_kernels("reference"):
        F.layer_norm(s, c.shape), F.gelu(h)
    assert bits(h, s) == expected


def test_graphs_hold_arrays():
    x, w, b, r, g, c = layers()
    frozen = [t.detach() for t in (x, w, b)]
    h = F.linear(x, w, b)
    y = layer_norm(r + F.linear(*frozen), g, c) + F.gelu(h)
    pending, seen = [y._node], set()
    while pending:
        node = pending.pop()
        seen.add(node.op.name)
        held = [v for v in (*node.saved, *node.constants) if hasattr(v, "shape")]
        assert all(type(v) in (cp.ndarray, np.ndarray) for v in held), node.op.name
        pending += [p for p in node.parents if p is not None and p.parents]
    assert {"linear", "gelu", "add", "layer_norm"} <= seen


def test_saved_memory_that_changes_is_noticed():
    x, w, b, r, g, c = layers()
    h = F.linear(x, w, b)
    y = F.gelu(h)
    h.detach().add_(1)
    with pytest.raises(RuntimeError, match="gelu .*changed in place"):
        y.sum().backward()
    s = r + F.linear(x, w, b)
    y = layer_norm(s, g, c)
    s.detach().add_(1)
    with pytest.raises(RuntimeError, match="layer_norm .*changed in place"):
        y.sum().backward()


# ---- other uses of what waits ----------------------------------------------------------------------------------------


def backward_at_once(h):
    h.backward(tg.ones_like(h), retain_graph=True)
    return h


def of_hook(h):
    h.register_hook(lambda g: g * 2)
    h.retain_grad()
    h.sum().backward(retain_graph=True)
    return h.grad


USES = {
    "shape": lambda h: h.new_zeros(h.shape), "view": lambda h: h.view(-1)[::2], "detach": lambda h: h.detach(),
    "requires_grad_": lambda h: h.detach().requires_grad_(), "transpose": lambda h: h.transpose(0, 1),
    "data": lambda h: h.data,
    "copy": copy.copy, "clone": lambda h: h.clone(), "deepcopy": lambda h: copy.deepcopy(h.detach()),
    "Parameter": lambda h: tg.nn.Parameter(h),
    "as data": lambda h: setattr(p := tg.zeros_like(h).detach(), "data", h) or p,
    "as gradient": lambda h: setattr(p := tg.nn.Parameter(tg.zeros_like(h)), "grad", h) or p.grad,
    "index": lambda h: h[1:, 0], "to": lambda h: h.to("cuda", tg.float64), "cat": lambda h: tg.cat([h, h]),
    "backward": backward_at_once, "hook": of_hook, "in place": lambda h: h.detach().mul_(2),
    "in place, recorded": lambda h: h.mul_(2), "sum in place": lambda h: tg.zeros_like(h).add_(h),
    "number": lambda h: tg.tensor(h.sum().item()),
    "gelu, then itself": lambda h: tg.stack([F.gelu(h), h]), "unbind": lambda h: tg.stack(h.unbind(0)),
}  # fmt: skip


@pytest.mark.parametrize("use", USES)
@pytest.mark.parametrize("form", ["product", "sum"])
def test_uses(use, form):
    def used():
        x, w, b, r, *_ = layers()
        h = F.linear(x, w, b)
        y = USES[use](h if form == "product" else r + h)
        return bits(y, h)

    assert used() == plain(used)


def test_autocast():
    def used():
        x, w, b, r, g, c = layers()
        with tg.autocast("cuda"):
            h = F.linear(x, w, b)
            y = F.gelu(h)
            s = r + F.linear(x, w, b)
            z = layer_norm(s, g, c)
            u = F.linear(x, w, b) + y
        (y.sum() + z.sum() + u.sum()).backward()
        return bits(h, y, s, z, u, x.grad, w.grad, b.grad)

    assert used() == plain(used)


def test_what_nobody_wants_is_not_launched(launched):
    x, w, b, r, g, c = layers()
    gc.collect()
    used = tg.cuda.memory_allocated()
    h = F.linear(x, w, b)
    s = r + h
    assert tg.cuda.memory_allocated() > used
    del h, s
    gc.collect()
    assert tg.cuda.memory_allocated() == used, "what waits is kept alive"
    F.relu(r)
    assert not launched and not unfinished.waiting
    h = F.linear(x, w, b)
    layer_norm(r + h, g, c)
    assert len(launched) == 1, "h is still there, so that its sum is needed by itself"
    layer_norm(r + F.linear(x, w, b), g, c), F.gelu(F.linear(x, w, b))
    assert len(launched) == 1


def test_a_sum_is_written_over_what_nobody_sees():
    """In the place of a product, its sum with the bias and that with the residual, one array."""
    x, w, b, r, g, c = layers()
    gc.collect()
    used = tg.cuda.memory_allocated()
    s = r + F.linear(x, w, b)
    one = tg.cuda.memory_allocated() - used
    tg.cuda.reset_peak_memory_stats()
    s.view(-1)
    assert tg.cuda.max_memory_allocated() - used == tg.cuda.memory_allocated() - used == one
    with tg.no_grad():
        s = r.clone() + F.linear(x, w, b)
        layer_norm(s, g, c)
    assert tg.cuda.memory_allocated() - used == one, "what a sum was made of is kept"
    del s
    layer_norm(r + F.linear(x, w, b), g, c)
    h = F.linear(x, w, b)
    t = r + h
    t.view(-1)
    assert tg.cuda.memory_allocated() - used == 2 * one, "h and t are both needed"


def fails(*args, **kwargs):
    raise cp.cuda.memory.OutOfMemoryError(1, 0)


@pytest.mark.parametrize("name, at", [("gelu", "empty"), ("layer_norm", "empty"), ("layer_norm", "empty_like")])
def test_no_memory_while_it_is_taken(monkeypatch, name, at):
    x, w, b, r, g, c = layers()

    def made():
        h = F.linear(x, w, b)
        return (h, h) if name == "gelu" else (h, r + h)

    op = F.gelu if name == "gelu" else lambda s: layer_norm(s, g, c)
    expected = plain(lambda: (lambda h, s: bits(h, s, op(s)))(*made()))
    h, s = made()
    with monkeypatch.context() as patch:
        patch.setattr(cp, at, fails)
        with pytest.raises(tg.cuda.OutOfMemoryError, match=f"out of memory in {name} of"):
            op(s)
    assert waits(s)
    y = op(s)
    assert bits(h, s, y) == expected


def test_no_memory_for_a_sum(monkeypatch):
    x, w, b, r, *_ = layers()
    expected = bits(plain(lambda: r + F.linear(x, w, b)))
    h = F.linear(x, w, b)
    s = r + h
    add = cp.add
    with monkeypatch.context() as patch:
        patch.setattr(cp, "add", lambda *args, out=None: fails() if out is None else add(*args, out=out))
        with pytest.raises(tg.cuda.OutOfMemoryError, match=r"a sum of shape \(5, 7, 45\)"):
            s.cpu()
    assert waits(s) and bits(s) == expected


# ---- streams and threads ---------------------------------------------------------------------------------------------


def test_it_is_finished_where_it_began(launched):
    x, w, b, *_ = layers()
    expected = bits(plain(F.linear, x, w, b))
    h = F.linear(x, w, b)
    with cp.cuda.Stream(non_blocking=True) as stream:
        assert waits(h) and bits(h * 1) == expected and launched.pop()[1] == 0
        h = F.linear(x, w, b)
        assert not waits(h) and bits(h) == expected and launched.pop()[1] == stream.ptr


WITH_STREAMS = {
    "synchronize": lambda: tg.cuda.synchronize(),
    "an event": lambda: tg.cuda.Event().record(),
    "a stream": lambda: tg.cuda.Stream().__enter__().__exit__(None, None, None),
    "another waits for it": lambda: tg.cuda.Stream().wait_stream(tg.cuda.current_stream()),
    "the stream's own": lambda: tg.cuda.current_stream().synchronize(),
}


@pytest.mark.parametrize("call", WITH_STREAMS)
def test_what_tells_the_order_of_work_comes_after_it(call, launched):
    x, w, b, *_ = layers()
    h = F.linear(x, w, b)
    WITH_STREAMS[call]()
    assert not waits(h) and [stream for _, stream in launched] == [0]


def test_another_thread_may_change_or_read_it():
    x, w, b, r, *_ = (t.detach() for t in layers())

    def elsewhere(call):
        found = []
        thread = threading.Thread(target=lambda: found.append(call()))
        thread.start()
        thread.join()
        return found[0]

    expected = bits(plain(F.linear, x, w, b))
    h = F.linear(x, w, b)
    assert elsewhere(lambda: bits(h)) == expected
    h = F.linear(x, w, b)
    elsewhere(lambda: b.zero_())
    assert bits(h) == expected


def test_threads_side_by_side():
    x, w, b, r, g, c = (t.detach() for t in layers())

    def work():
        return bits(layer_norm(r + F.linear(x, w, b), g, c), F.gelu(F.linear(x, w, b)))

    expected, found = plain(work), []
    threads = [threading.Thread(target=lambda: found.extend(work() for _ in range(20))) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 60 and all(f == expected for f in found)
