"""Modules, layers, containers, losses and their helpers, beside PyTorch's."""

from __future__ import annotations

import copy
import gc
import math
import pickle
import warnings
import weakref
from collections import OrderedDict

import numpy as np
import pytest
import torch

import tinygrad_edu as tg
from tinygrad_edu import nn
from tinygrad_edu.autograd.modes import state
from tinygrad_edu.nn import functional as F
from tinygrad_edu.nn import utils

torch.set_num_threads(1)
TOLERANCE = {"float32": {"rtol": 2e-5, "atol": 2e-5}, "float64": {"rtol": 1e-12, "atol": 1e-12}}


def load_from(twin: torch.nn.Module, module: nn.Module) -> None:
    """Give a module the weights of its twin in PyTorch, through the state dicts of both."""
    state_dict = {key: tg.tensor(value.numpy()) for key, value in twin.state_dict().items()}
    assert str(module.load_state_dict(state_dict)) == "<All keys matched successfully>"


def normal(*shape: int) -> np.ndarray:
    return np.random.randn(*shape)


def both(make):
    """What `make(library)` gives with PyTorch and with this framework."""
    return make(torch), make(tg)


def same_text(make):
    """`make(library)` gives the same text, apart from the library's name."""
    theirs, ours = both(make)
    assert str(ours) == str(theirs).replace("torch.", "tinygrad_edu.")


def same_error(make):
    """`make(library)` fails with the same class of error; its message here is returned."""
    with pytest.raises(Exception) as theirs:
        make(torch)
    with pytest.raises(type(theirs.value)) as ours:
        make(tg)
    return str(ours.value), str(theirs.value)


def compare(name, args, kwargs, inputs, dtype):
    """One module in both libraries: text, state, outputs, and gradients for a random cotangent."""
    twin = getattr(torch.nn, name)(*args, **kwargs).to(getattr(torch, dtype))
    module = getattr(nn, name)(*args, **kwargs).to(getattr(tg, dtype))
    assert repr(module) == repr(twin)
    assert [(k, tuple(v.shape)) for k, v in module.state_dict().items()] == [
        (k, tuple(v.shape)) for k, v in twin.state_dict().items()
    ]
    assert [k for k, _ in module.named_parameters()] == [k for k, _ in twin.named_parameters()]
    load_from(twin, module)
    arrays = [x.astype(dtype) if x.dtype.kind == "f" else x for x in inputs]
    theirs = [torch.tensor(x, requires_grad=x.dtype.kind == "f") for x in arrays]
    ours = [tg.tensor(x, requires_grad=x.dtype.kind == "f") for x in arrays]
    expected, y = twin(*theirs), module(*ours)
    np.testing.assert_allclose(y.detach().numpy(), expected.detach().numpy(), **TOLERANCE[dtype])
    assert y.dtype.name == dtype
    gy = np.asarray(normal(*expected.shape), dtype)
    expected.backward(torch.tensor(gy))
    y.backward(tg.tensor(gy))
    for a, b in zip([*ours, *module.parameters()], [*theirs, *twin.parameters()], strict=True):
        assert (a.grad is None) == (b.grad is None)
        if b.grad is not None:
            np.testing.assert_allclose(a.grad.numpy(), b.grad.numpy(), **TOLERANCE[dtype])


LAYERS = {
    "Linear": [((3, 4), {}, [(2, 5, 3)]), ((3, 4), {"bias": False}, [(3,)]), ((1, 1, False), {}, [(0, 1)])],
    "Bilinear": [((3, 4, 5), {}, [(2, 3), (2, 4)]), ((3, 1, 2, False), {}, [(2, 5, 3), (2, 5, 1)])],
    "Identity": [((54,), {"unused": 1}, [(2, 3)])],
    "LayerNorm": [
        ((5,), {}, [(2, 3, 5)]), (((3, 5), 0.1), {"bias": False}, [(2, 3, 5)]),
        (([4],), {"elementwise_affine": False}, [(2, 4)]),
    ],
    "RMSNorm": [((5,), {}, [(2, 3, 5)]), (((3, 5), 0.1, False), {}, [(2, 3, 5)])],
    "Flatten": [((), {}, [(2, 3, 4)]), ((0, 1), {}, [(2, 3, 4)])],
    "Unflatten": [((1, (3, -1)), {}, [(2, 12)]), ((0, [2, 2]), {}, [(4, 3)])],
    "ReLU": [((), {}, [(3, 4)])],
    "ReLU6": [((), {}, [(3, 4)])],
    "SiLU": [((), {}, [(3, 4)])],
    "LeakyReLU": [((), {}, [(3, 4)]), ((0.3,), {}, [(3, 4)])],
    "ELU": [((), {}, [(3, 4)]), ((0.5,), {}, [(3, 4)])],
    "Hardtanh": [((), {}, [(3, 4)]), ((-0.5, 0.25), {}, [(3, 4)])],
    "GELU": [((), {}, [(3, 4)]), (("tanh",), {}, [(3, 4)])],
    "Softplus": [((), {}, [(3, 4)]), ((2.0, 1.0), {}, [(3, 4)])],
    "Tanh": [((), {}, [(3, 4)])],
    "Sigmoid": [((), {}, [(3, 4)])],
    "LogSigmoid": [((), {}, [(3, 4)])],
    "Softmax": [((1,), {}, [(3, 4)]), ((), {"dim": 0}, [(3, 4)])],
    "LogSoftmax": [((-1,), {}, [(3, 4)])],
    "CosineSimilarity": [((), {}, [(3, 4), (3, 4)]), ((0, 0.5), {}, [(3, 4), (3, 4)])],
}  # fmt: skip
LAYER_CASES = [(name, *case) for name, cases in LAYERS.items() for case in cases]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name, args, kwargs, shapes", LAYER_CASES, ids=lambda x: x if isinstance(x, str) else "")
def test_layer(name, args, kwargs, shapes, dtype):
    compare(name, args, kwargs, [2 * normal(*shape) for shape in shapes], dtype)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("kwargs", [
    {}, {"padding_idx": 0}, {"padding_idx": -2}, {"max_norm": 1.5}, {"max_norm": 1, "norm_type": 1.0},
    {"scale_grad_by_freq": True, "padding_idx": 6},
])  # fmt: skip
def test_embedding(kwargs, dtype):
    compare("Embedding", (7, 3), kwargs, [np.array([[0, 5, 5], [6, 1, 0]])], dtype)


REDUCTIONS = [{}, {"reduction": "sum"}, {"reduction": "none"}]
LOSSES = {
    "MSELoss": [{}],
    "L1Loss": [{}],
    "SmoothL1Loss": [{}, {"beta": 0.3}],
    "HuberLoss": [{}, {"delta": 0.5}],
    "KLDivLoss": [{}, {"log_target": True}, {"reduction": "batchmean"}],
    "BCELoss": [{}],
    "BCEWithLogitsLoss": [{}],
    "NLLLoss": [{}, {"ignore_index": 1}],
    "CrossEntropyLoss": [{}, {"ignore_index": 1, "label_smoothing": 0.1}],
}
LOSS_CASES = [(name, {**r, **kw}) for name, cases in LOSSES.items() for kw in cases for r in REDUCTIONS]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name, kwargs", LOSS_CASES)
@pytest.mark.filterwarnings("ignore:reduction. 'mean' divides:UserWarning")  # PyTorch on KLDivLoss
def test_loss(name, kwargs, dtype):
    x, target = normal(4, 5), normal(4, 5)
    if name in ("NLLLoss", "CrossEntropyLoss"):
        target = np.array([0, 1, 4, 2])
    elif name.startswith(("BCE", "KL")):
        target = 1 / (1 + np.exp(-target))
    if name == "BCELoss":
        x = 1 / (1 + np.exp(-x))
    if target.dtype.kind == "f":
        module, twin = getattr(nn, name)(**kwargs), getattr(torch.nn, name)(**kwargs)
        assert repr(module) == repr(twin)
        ours, theirs = tg.tensor(x.astype(dtype), requires_grad=True), torch.tensor(x.astype(dtype), requires_grad=True)
        y, expected = module(ours, tg.tensor(target.astype(dtype))), twin(theirs, torch.tensor(target.astype(dtype)))
        np.testing.assert_allclose(y.detach().numpy(), expected.detach().numpy(), **TOLERANCE[dtype])
        gy = np.asarray(normal(*expected.shape), dtype)
        y.backward(tg.tensor(gy))
        expected.backward(torch.tensor(gy))
        np.testing.assert_allclose(ours.grad.numpy(), theirs.grad.numpy(), **TOLERANCE[dtype])
    else:
        compare(name, (), kwargs, [x, target], dtype)


@pytest.mark.parametrize("name", ["CrossEntropyLoss", "NLLLoss", "BCELoss", "BCEWithLogitsLoss"])
def test_weights_of_a_loss_are_buffers(name):
    weight = np.array([0.5, 2.0, 1.0], "float32")
    keywords = ["weight", "pos_weight"] if name == "BCEWithLogitsLoss" else ["weight"]
    twin = getattr(torch.nn, name)(**{k: torch.tensor(weight) for k in keywords})
    loss = getattr(nn, name)(**{k: tg.tensor(weight) for k in keywords})
    assert list(loss.state_dict()) == list(twin.state_dict()) == keywords
    x = np.random.rand(4, 3).astype("float32")
    target = (
        np.array([0, 2, 1, 1]) if name in ("CrossEntropyLoss", "NLLLoss") else np.random.rand(4, 3).astype("float32")
    )
    ours, theirs = loss(tg.tensor(x), tg.tensor(target)), twin(torch.tensor(x), torch.tensor(target))
    np.testing.assert_allclose(ours.numpy(), theirs.numpy(), rtol=1e-5)


@pytest.mark.parametrize("make, match", [
    (lambda m, zeros: m.Dropout(1.5), "between 0 and 1, but got 1.5"),
    (lambda m, zeros: m.Embedding(3, 2, padding_idx=3), "padding_idx must be within num_embeddings, got 3 for 3"),
    (lambda m, zeros: m.Embedding.from_pretrained(zeros(3)), "2 dimensions, got shape (3,)"),
    (lambda m, zeros: m.Hardtanh(1.0, 1.0), "max_val (1.0) must be greater than min_val (1.0)"),
    (lambda m, zeros: m.Bilinear(0, 2, 2), "in1_features must be > 0"),
    (lambda m, zeros: m.Unflatten(1, (2, 1.5)), "must be a tuple of ints"),
    (lambda m, zeros: m.Unflatten(1, 4), "must be a tuple of ints"),
    (lambda m, zeros: m.MSELoss(reduction="avg")(zeros(2), zeros(2)), "avg is not a valid value for reduction"),
])  # fmt: skip
def test_settings_that_make_no_sense_are_refused(make, match):
    assert match in same_error(lambda lib: make(lib.nn, lib.zeros))[0]


@pytest.mark.parametrize("name", ["ReLU", "ReLU6", "SiLU", "LeakyReLU", "ELU", "Hardtanh"])
def test_inplace_activations_overwrite_their_input(name):
    same_text(lambda lib: getattr(lib.nn, name)(inplace=True))
    x = tg.tensor([-2.0, -0.5, 0.5, 7.0])
    expected = getattr(nn, name)()(x)
    y = getattr(nn, name)(inplace=True)(x)
    assert y is x and x.tolist() == expected.tolist()


def test_embedding_from_pretrained_shares_the_table():
    table = tg.randn(4, 3)
    frozen, learning = (
        nn.Embedding.from_pretrained(table),
        nn.Embedding.from_pretrained(table, freeze=False, padding_idx=1),
    )
    assert not frozen.weight.requires_grad and learning.weight.requires_grad
    assert np.shares_memory(frozen.weight.numpy(), table.numpy())
    assert frozen(tg.tensor([2])).tolist() == [table[2].tolist()]
    assert learning.padding_idx == 1


def test_dropout_acts_in_training_only():
    x, drop = tg.ones(1000), nn.Dropout(0.25)
    tg.manual_seed(1)
    y = drop(x).numpy()
    kept = y != 0
    assert set(y[kept].tolist()) == {np.float32(1 / 0.75).item()}
    assert abs(kept.mean() - 0.75) < 4 * math.sqrt(0.25 * 0.75 / 1000)
    tg.manual_seed(1)
    assert (drop(x).numpy() == y).all()
    assert drop.eval()(x).tolist() == x.tolist()
    assert nn.Dropout(0.0)(x).tolist() == x.tolist()
    assert not nn.Dropout(1.0)(x).any()


# ---- registration ----------------------------------------------------------------------------------------------------


def make_net(lib):
    """A model with every kind of member, in either library."""

    class Block(lib.nn.Module):
        def __init__(self, width):
            super().__init__()
            self.fc = lib.nn.Linear(width, width)
            self.scale = lib.nn.Parameter(lib.ones(width))
            self.act = lib.nn.GELU(approximate="tanh")

        def forward(self, x):
            return self.act(self.fc(x)) * self.scale

    class Net(lib.nn.Module):
        def __init__(self):
            super().__init__()
            self.first = lib.nn.Linear(3, 4, bias=False)
            self.register_buffer("mask", lib.ones(2, 2))
            self.blocks = lib.nn.ModuleList([Block(4) for _ in range(3)])
            self.by_name = lib.nn.ModuleDict({"norm": lib.nn.LayerNorm(4), "drop": lib.nn.Dropout(0.1)})
            self.temperature = lib.nn.Parameter(lib.ones(()))
            self.register_buffer("cache", lib.zeros(3), persistent=False)
            self.register_parameter("absent", None)
            self.head = lib.nn.Sequential(OrderedDict(up=lib.nn.Linear(4, 8), down=lib.nn.Linear(8, 3)))
            self.plain = [1, 2]

        def forward(self, x):
            x = self.first(x)
            for block in self.blocks:
                x = x + block(x)
            return self.head(self.by_name["norm"](x)) * self.temperature

    return Net()


def test_a_model_looks_the_same_in_both_libraries():
    same_text(make_net)
    same_text(lambda lib: list(make_net(lib).state_dict()))
    same_text(lambda lib: list(make_net(lib).state_dict(prefix="model.")))
    for method in ("named_parameters", "named_buffers", "named_modules", "named_children"):
        same_text(lambda lib, method=method: [name for name, _ in getattr(make_net(lib), method)()])
    same_text(lambda lib: [name for name, _ in make_net(lib).named_parameters(prefix="net", recurse=False)])
    same_text(lambda lib: [name for name, _ in make_net(lib).blocks.named_modules(prefix="b")])
    same_text(lambda lib: [type(m).__name__ for m in make_net(lib).modules()])
    same_text(lambda lib: [tuple(b.shape) for b in make_net(lib).buffers()])
    same_text(lambda lib: sorted(set(dir(make_net(lib))) & {"first", "mask", "cache", "absent", "head", "0", "plain"}))


def test_a_model_computes_the_same_in_both_libraries():
    twin, net = both(make_net)
    load_from(twin, net)
    x, gy = normal(5, 3).astype("float32"), normal(5, 3).astype("float32")
    theirs, ours = twin.eval()(torch.tensor(x)), net.eval()(tg.tensor(x))
    np.testing.assert_allclose(ours.detach().numpy(), theirs.detach().numpy(), rtol=1e-5, atol=1e-6)
    theirs.backward(torch.tensor(gy))
    ours.backward(tg.tensor(gy))
    for (name, p), (_, q) in zip(net.named_parameters(), twin.named_parameters(), strict=True):
        np.testing.assert_allclose(p.grad.numpy(), q.grad.numpy(), rtol=1e-4, atol=1e-5, err_msg=name)


def test_a_name_means_the_last_thing_assigned_to_it():
    m = nn.Module()
    m.a, m.b = nn.Parameter(tg.zeros(1)), nn.Parameter(tg.zeros(2))
    m.a = nn.Parameter(tg.zeros(3))
    assert [tuple(p.shape) for _, p in m.named_parameters()] == [(3,), (2,)]  # in its old place
    m.a = None
    assert m.a is None and [n for n, _ in m.named_parameters()] == ["b"]
    m.a = nn.Parameter(tg.zeros(4))
    assert [n for n, _ in m.named_parameters()] == ["a", "b"]
    del m.a
    m.a = nn.ReLU()
    assert list(m._modules) == ["a"]
    m.a = nn.Parameter(tg.zeros(1))
    assert not list(m.children()) and "a" in dict(m.named_parameters())
    m.register_buffer("c", tg.zeros(1), persistent=False)
    m.c = tg.ones(2)
    assert m.c.tolist() == [1, 1] and "c" not in m.state_dict()
    m.c = nn.Parameter(tg.ones(2))
    assert "c" in m.state_dict() and not list(m.buffers())
    m.d = tg.zeros(1)
    assert "d" in m.__dict__ and "d" not in m.state_dict()
    m.d = nn.Parameter(tg.zeros(1))
    assert "d" not in m.__dict__ and "d" in m.state_dict()
    m.register_buffer("e", None)
    assert m.e is None and "e" not in m.state_dict()
    del m.e
    assert not hasattr(m, "e")


@pytest.mark.parametrize("act, match", [
    (lambda lib, m: setattr(m, "weight", lib.zeros(2)), "'Tensor' object to parameter 'weight'"),
    (lambda lib, m: setattr(m, "weight", lib.nn.ReLU()), "'ReLU' object to parameter 'weight'"),
    (lambda lib, m: setattr(m, "child", 3), "'int' object as module 'child': not a Module"),
    (lambda lib, m: setattr(m, "buffer", 3), "'int' object to buffer 'buffer'"),
    (lambda lib, m: m.register_buffer("weight", lib.zeros(1)), "'weight' already exists"),
    (lambda lib, m: m.register_buffer("x", [1]), "'list' object to buffer 'x'"),
    (lambda lib, m: m.register_buffer("", None), "empty string"),
    (lambda lib, m: m.register_parameter("a.b", None), 'contain ".", got'),
    (lambda lib, m: m.register_parameter("child", None), "'child' already exists"),
    (lambda lib, m: m.register_parameter("forward", None), "'forward' already exists"),
    (lambda lib, m: m.register_parameter("p", lib.zeros(1)), "'Tensor' object to parameter 'p'"),
    (lambda lib, m: m.register_parameter(3, None), "should be a string, got int"),
    (lambda lib, m: m.add_module("plain", lib.nn.ReLU()), "'plain' already exists"),
    (lambda lib, m: m.add_module("x", "y"), "not a Module"),
    (lambda lib, m: m.get_submodule("child.none"), "no attribute 'none'"),
    (lambda lib, m: m.get_submodule("weight"), "`weight` in 'weight' is not an nn.Module but Parameter"),
    (lambda lib, m: m.get_parameter("child"), "is not an nn.Parameter"),
    (lambda lib, m: m.get_buffer("weight"), "is not a buffer"),
    (lambda lib, m: m.missing, "its parameters: weight; its modules: child; its buffers: buffer"),
    (lambda lib, m: delattr(m, "missing"), "missing"),
    (lambda lib, m: m(1), 'is missing the required "forward" function'),
    (lambda lib, m: m.train(1), "expected to be boolean"),
    (lambda lib, m: m.to(lib.int64), "only accepts floating point"),
    (lambda lib, m: m.load_state_dict([1]), "dict-like"),
])  # fmt: skip
def test_mistakes_raise_what_pytorch_raises(act, match):
    def attempt(lib):
        m = lib.nn.Module()
        m.weight, m.child, m.plain = lib.nn.Parameter(lib.zeros(2)), lib.nn.Linear(1, 1), 1
        m.register_buffer("buffer", lib.zeros(1))
        act(lib, m)

    message, _ = same_error(attempt)
    assert match in message


@pytest.mark.parametrize("value", [
    lambda lib: lib.nn.Parameter(lib.zeros(1)), lambda lib: lib.nn.ReLU(),
])  # fmt: skip
def test_assignment_before_init_says_so(value):
    def attempt(lib):
        class Net(lib.nn.Module):
            def __init__(self):
                self.member = value(lib)

        Net()

    message, _ = same_error(attempt)
    assert "'member' before Module.__init__() call; begin Net.__init__ with super().__init__()" in message


def test_calling_a_module_without_init_says_so():
    class Net(nn.Module):
        def __init__(self):
            self.size = 3

        def forward(self, x):
            return x

    with pytest.raises(AttributeError, match=r"begin Net.__init__ with super\(\).__init__\(\)"):
        Net()(tg.zeros(1))


def test_a_failing_property_says_why():
    class Net(nn.Module):
        @property
        def width(self):
            return self.sizes[0]

    with pytest.raises(AttributeError, match="no attribute 'sizes'"):
        _ = Net().width


def test_get_by_path():
    net = make_net(tg)
    assert net.get_submodule("") is net
    assert net.get_submodule("blocks.1.fc") is net.blocks[1].fc
    assert net.get_parameter("blocks.1.fc.weight") is net.blocks[1].fc.weight
    assert net.get_buffer("mask") is net.mask


def test_apply_visits_children_first():
    same_text(lambda lib: (seen := [], make_net(lib).apply(lambda m: seen.append(type(m).__name__)))[0])


# ---- parameters ------------------------------------------------------------------------------------------------------


def test_a_parameter_is_a_leaf_that_shares_memory():
    source = tg.randn(2, 3)
    p = nn.Parameter(source)
    assert isinstance(p, tg.Tensor) and p.requires_grad and p.is_leaf
    assert np.shares_memory(p.detach().numpy(), source.numpy())
    assert repr(p) == "Parameter containing:\n" + repr(source.detach().requires_grad_())
    assert not nn.Parameter(source, requires_grad=False).requires_grad
    with tg.no_grad():
        assert nn.Parameter(source).requires_grad
    assert nn.Parameter(source * p).is_leaf
    assert nn.Parameter().shape == (0,)


def test_operations_on_parameters_give_tensors():
    p = nn.Parameter(tg.randn(2, 3))
    for result in (p + 1, p.reshape(6), p.detach(), p.data, p[0], p.T, p.double(), p.clone()):
        assert type(result) is tg.Tensor
    assert type(p.requires_grad_(False)) is nn.Parameter


@pytest.mark.parametrize("make", [
    lambda lib: lib.nn.Parameter(lib.tensor([1, 2])),
    lambda lib: lib.nn.Linear(2, 2, dtype=lib.int64),
])  # fmt: skip
def test_integer_parameters_are_refused(make):
    assert "floating point dtype" in same_error(make)[0]


def test_a_parameter_is_made_of_a_tensor():
    with pytest.raises(TypeError, match=r"got list; write Parameter\(tensor\(data\)\)"):
        nn.Parameter([1.0])


class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.wte = nn.Embedding(5, 3)
        self.lm_head = nn.Linear(3, 5, bias=False)
        self.lm_head.weight = self.wte.weight

    def forward(self, x):
        return self.lm_head(self.wte(x))


def test_a_tied_parameter_is_one_parameter():
    m = Tied()
    assert [n for n, _ in m.named_parameters()] == ["wte.weight"]
    assert [n for n, _ in m.named_parameters(remove_duplicate=False)] == ["wte.weight", "lm_head.weight"]
    assert list(m.state_dict()) == ["wte.weight", "lm_head.weight"]
    x, gy = tg.tensor([1, 4, 1]), tg.randn(3, 5)
    m(x).backward(gy)
    both_uses = m.wte.weight.grad.numpy().copy()
    untied = Tied()
    untied.lm_head.weight = nn.Parameter(m.wte.weight.detach().clone())
    untied.wte.weight.data = m.wte.weight.detach().clone()
    untied(x).backward(gy)
    np.testing.assert_allclose(both_uses, (untied.wte.weight.grad + untied.lm_head.weight.grad).numpy(), rtol=1e-6)
    for twin in (copy.deepcopy(m), copy.copy(m), m.double()):
        assert twin.lm_head.weight is twin.wte.weight


def test_a_module_under_two_names_is_one_module():
    def names(lib):
        shared = lib.nn.Linear(2, 2)
        m = lib.nn.Sequential(shared, lib.nn.ReLU(), shared)
        return [[n for n, _ in pairs] for pairs in (
            m.named_children(), m.named_modules(), m.named_modules(remove_duplicate=False), m.named_parameters(),
            m.state_dict().items(),
        )]  # fmt: skip

    same_text(names)


# ---- state -----------------------------------------------------------------------------------------------------------


def test_state_dict_shows_the_live_memory():
    m = nn.Linear(2, 2)
    found = m.state_dict()
    assert type(found["weight"]) is tg.Tensor and not found["weight"].requires_grad
    with tg.no_grad():
        m.weight.fill_(3)
    assert found["weight"].tolist() == [[3, 3], [3, 3]]
    assert m.state_dict(keep_vars=True)["bias"] is m.bias
    mine = {"own": tg.zeros(1)}
    assert m.state_dict(destination=mine, prefix="fc.") is mine and list(mine) == ["own", "fc.weight", "fc.bias"]


def test_load_state_dict_copies_and_casts():
    m, other = nn.Linear(2, 3), nn.Linear(2, 3).double()
    weight = m.weight
    m.load_state_dict(other.state_dict())
    assert m.weight is weight and m.weight.dtype == tg.float32 and m.weight.requires_grad
    np.testing.assert_array_equal(m.weight.detach().numpy(), other.weight.detach().numpy().astype("float32"))
    assert not np.shares_memory(m.weight.detach().numpy(), other.weight.detach().numpy())


def mangled(lib):
    """A state dict of `make_net` with every kind of mistake in it."""
    found = {k: lib.ones(tuple(v.shape)) * 7 for k, v in make_net(lib).state_dict().items()}
    del found["mask"], found["blocks.2.fc.bias"]
    found["head.up.weight"] = lib.zeros(4, 8)
    found["temperature"] = lib.zeros(2)
    found["extra"] = found["blocks.0.more.weight"] = lib.zeros(1)
    return found


def test_load_state_dict_names_everything_that_is_wrong_and_changes_nothing():
    net = make_net(tg)
    before = {k: v.numpy().copy() for k, v in net.state_dict().items()}
    for assign in (False, True):
        message, theirs = same_error(lambda lib, assign=assign: (
            net if lib is tg else make_net(lib)).load_state_dict(mangled(lib), assign=assign))  # fmt: skip
        assert sorted(message.split("\n")) == sorted(theirs.replace("torch.", "tinygrad_edu.").split("\n"))
        after = net.state_dict()
        assert all((after[k].numpy() == v).all() for k, v in before.items())


def test_load_state_dict_not_strict_takes_what_fits():
    def attempt(lib, found):
        return make_net(lib).load_state_dict(found, strict=False)

    same_error(lambda lib: attempt(lib, mangled(lib)))  # wrong shapes are still errors

    def partial(lib):
        found = mangled(lib)
        del found["head.up.weight"], found["temperature"]
        result = attempt(lib, found)
        return sorted(result.missing_keys), sorted(result.unexpected_keys)

    same_text(partial)
    net, found = make_net(tg), mangled(tg)
    del found["head.up.weight"], found["temperature"]
    mask = net.mask.numpy().copy()
    result = net.load_state_dict(found, strict=False)
    assert repr(result).startswith("IncompatibleKeys(missing_keys=['temperature', 'mask', ")
    assert (net.first.weight.detach().numpy() == 7).all() and (net.mask.numpy() == mask).all()


def test_load_state_dict_refuses_what_is_no_tensor():
    m = nn.Linear(1, 1, bias=False)
    with pytest.raises(RuntimeError, match="for weight: expected a Tensor, got ndarray; convert it"):
        m.load_state_dict({"weight": np.zeros((1, 1))})
    with pytest.raises(
        RuntimeError, match="for weight: a parameter that requires grad cannot be of tinygrad_edu.int64"
    ):
        m.load_state_dict({"weight": tg.tensor([[1]])}, assign=True)
    m.load_state_dict({"weight": tg.tensor([[1]])})
    assert m.weight.tolist() == [[1.0]]


def test_load_state_dict_assign_takes_the_tensors_themselves():
    m = nn.Linear(2, 2).requires_grad_(False)
    m.bias.requires_grad_()
    given = {"weight": tg.zeros(2, 2, dtype=tg.float64), "bias": nn.Parameter(tg.ones(2), requires_grad=False)}
    m.load_state_dict(given, assign=True)
    assert m.weight.dtype == tg.float64 and not m.weight.requires_grad and isinstance(m.weight, nn.Parameter)
    assert np.shares_memory(m.weight.numpy(), given["weight"].numpy())
    assert m.bias is given["bias"] and m.bias.requires_grad
    buffered = nn.BCELoss(weight=tg.zeros(2))
    buffered.load_state_dict({"weight": given["weight"][0]}, assign=True)
    assert buffered.weight.dtype == tg.float64


def test_load_state_dict_keeps_ties():
    m, other = Tied(), Tied()
    for assign in (False, True):
        m.load_state_dict(other.state_dict(keep_vars=True), assign=assign)
        assert m.wte.weight is m.lm_head.weight
        assert m.wte.weight.tolist() == other.wte.weight.tolist()
    shared = tg.ones(5, 3)
    m.load_state_dict({"wte.weight": shared, "lm_head.weight": shared}, assign=True)
    assert m.wte.weight is m.lm_head.weight
    m.load_state_dict({"wte.weight": tg.ones(5, 3), "lm_head.weight": tg.zeros(5, 3)}, assign=True)
    assert m.wte.weight is not m.lm_head.weight


# ---- changing all of it ----------------------------------------------------------------------------------------------


def test_train_and_eval_reach_every_module():
    net = make_net(tg)
    assert net.eval() is net and not any(m.training for m in net.modules())
    net.blocks[0].train()
    assert sum(m.training for m in net.modules()) == 3
    assert net.train() is net and all(m.training for m in net.modules())


def test_freezing_and_forgetting_gradients():
    m = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    m[0].requires_grad_(False)
    m(tg.randn(3, 2)).backward(tg.randn(3, 2))
    assert m[0].weight.grad is None and m[1].weight.grad is not None
    m.zero_grad(set_to_none=False)
    assert m[1].weight.grad.tolist() == [[0, 0], [0, 0]] and m[0].weight.grad is None
    m.zero_grad()
    assert m[1].weight.grad is None


def test_conversion_keeps_parameters_and_changes_only_floating_tensors():
    m = nn.Linear(2, 2)
    m.register_buffer("steps", tg.tensor([3]))
    m.register_buffer("mean", tg.zeros(2))
    weight = m.weight
    loss = m(tg.randn(1, 2)).sum()  # a graph of the old dtype that is still there
    loss.backward(retain_graph=True)
    assert m.double() is m and m.weight is weight
    assert [t.dtype for t in (m.weight, m.weight.grad, m.mean, m.steps)] == [tg.float64] * 3 + [tg.int64]
    m.zero_grad()
    m(tg.randn(3, 2, dtype=tg.float64)).backward(tg.randn(3, 2, dtype=tg.float64))
    assert m.weight.grad.dtype == tg.float64
    assert m.half().weight.dtype == tg.float16
    assert m.float().weight.dtype == m.mean.dtype == tg.float32
    for how in ((tg.float64,), ("cpu", tg.float64), (tg.zeros(1, dtype=tg.float64),)):
        assert m.float().to(*how).weight.dtype == tg.float64
    assert m.to("cpu").cpu().weight.dtype == tg.float64 and m.to(dtype=None).mean.dtype == tg.float64
    with pytest.raises(RuntimeError, match="cuda"):  # no machine has so many
        m.cuda(99)
    with pytest.raises(RuntimeError, match="cuda"):
        m.to("cuda:99")


def test_layers_take_a_dtype():
    for layer in (nn.Linear(2, 2, dtype=tg.float64), nn.Embedding(2, 2, dtype=tg.float64),
                  nn.LayerNorm(2, dtype=tg.float64), nn.RMSNorm(2, dtype=tg.float64, device="cpu"),
                  nn.Bilinear(2, 2, 2, dtype=tg.float64)):  # fmt: skip
        assert all(p.dtype == tg.float64 for p in layer.parameters())


@pytest.mark.parametrize("layer", [
    nn.Linear(3, 3), nn.Linear(3, 3, bias=False), nn.Bilinear(2, 3, 4), nn.Embedding(3, 3, 1), nn.LayerNorm(3),
    nn.LayerNorm(3, bias=False), nn.LayerNorm(3, elementwise_affine=False), nn.RMSNorm(3), nn.RMSNorm(3, None, False),
])  # fmt: skip
def test_reset_parameters_starts_anew(layer):
    tg.manual_seed(3)
    layer.reset_parameters()
    first = [p.detach().numpy().copy() for p in layer.parameters()]
    with tg.no_grad():
        for p in layer.parameters():
            p.fill_(9)
    tg.manual_seed(3)
    layer.reset_parameters()
    assert all((p.detach().numpy() == f).all() for p, f in zip(layer.parameters(), first, strict=True))


# ---- copies ----------------------------------------------------------------------------------------------------------


def test_deepcopy_is_independent():
    net = make_net(tg)
    net(tg.randn(2, 3)).backward(tg.randn(2, 3))
    twin = copy.deepcopy(net)
    assert repr(twin) == repr(net)
    for (name, p), (_, q) in zip(net.named_parameters(), twin.named_parameters(), strict=True):
        assert type(q) is nn.Parameter and p is not q and (p == q).all(), name
        assert not np.shares_memory(p.detach().numpy(), q.detach().numpy())
        assert p.grad is not None and q.grad is None  # as in PyTorch
    assert twin.mask is not net.mask and twin.cache is not net.cache
    twin(tg.randn(2, 3)).backward(tg.randn(2, 3))
    assert twin.temperature.grad is not None


def test_copy_shares_parameters_but_not_the_registry():
    net = make_net(tg)
    twin = copy.copy(net)
    assert twin.first is net.first and twin.temperature is net.temperature
    twin.first, twin.extra = nn.Linear(3, 4), nn.Parameter(tg.zeros(1))
    assert net.first.bias is None and not hasattr(net, "extra")


def test_copies_of_tensors():
    t = tg.tensor([[1.0, 2.0]], requires_grad=True)
    (t * t).backward(tg.tensor([[1.0, 3.0]]))
    deep, shallow = copy.deepcopy(t), copy.copy(t)
    assert deep.requires_grad and deep.tolist() == t.tolist() and deep.grad.tolist() == t.grad.tolist()
    assert not np.shares_memory(deep.detach().numpy(), t.detach().numpy()) and deep.grad is not t.grad
    assert np.shares_memory(shallow.detach().numpy(), t.detach().numpy()) and shallow.grad is None
    (shallow * 2).backward(tg.tensor([[1.0, 1.0]]))
    assert shallow.grad.tolist() == [[2, 2]] and t.grad.tolist() == [[2, 12]]
    pair = copy.deepcopy([t, t])
    assert pair[0] is pair[1]
    message, _ = same_error(lambda lib: copy.deepcopy(lib.ones(1, requires_grad=True) * 2))
    assert "clone()" in message
    p = nn.Parameter(t.detach(), requires_grad=False)
    assert type(copy.copy(p)) is nn.Parameter and not copy.copy(p).requires_grad


@pytest.mark.parametrize("thing", [tg.zeros(2), nn.Parameter(tg.zeros(2)), nn.Linear(1, 1)])
def test_pickling_is_refused(thing):
    with pytest.raises(TypeError, match="tensors are not pickled"):
        pickle.dumps(thing)


# ---- calling ---------------------------------------------------------------------------------------------------------


def test_recorded_operations_know_their_modules():
    m = nn.Sequential(nn.Linear(2, 2))
    y = m(tg.randn(1, 2))
    (outside, inner), outermost = y.grad_fn.scope[0], y.grad_fn.scope[1]
    assert (outside, inner, outermost) == (None, m, m[0])
    assert state.scope is None
    with pytest.raises(TypeError):
        m(1, 2, 3)
    with pytest.raises(RuntimeError):
        m(tg.randn(1, 3))
    assert state.scope is None


def test_infinities_in_a_module_do_not_warn():
    class Divide(nn.Module):
        def forward(self, x):
            return x / 0

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert Divide()(tg.tensor([1.0, 0.0])).tolist()[0] == math.inf


def test_a_module_and_its_graph_are_freed_without_the_cycle_collector():
    gc.disable()
    try:
        net = make_net(tg)
        net.register_full_backward_hook(lambda m, gi, go: None)
        y = net(tg.randn(2, 3))
        y.backward(tg.randn(2, 3))
        watched = [weakref.ref(net), weakref.ref(net.first.weight), weakref.ref(y.grad_fn)]
        del net, y
        assert [w() for w in watched] == [None, None, None]
    finally:
        gc.enable()


def test_forward_hooks_see_and_replace():
    def run(lib):
        log = []
        m = lib.nn.Linear(1, 1)
        with lib.no_grad():
            m.weight.fill_(2), m.bias.fill_(1)
        handles = [
            m.register_forward_hook(lambda mod, args, y: log.append((len(args), y.item()))),
            m.register_forward_hook(lambda mod, args, y: y + 10),
            m.register_forward_hook(lambda mod, args, y: log.append(("first", y.item())), prepend=True),
            m.register_forward_hook(lambda mod, args, kw, y: log.append((sorted(kw), y.item())), with_kwargs=True),
            m.register_forward_pre_hook(lambda mod, args: tuple(a * 3 for a in args)),
            m.register_forward_pre_hook(lambda mod, args: args and args[0] + 1),
            m.register_forward_pre_hook(lambda mod, args, kw: log.append((len(args), sorted(kw))), with_kwargs=True),
            m.register_forward_pre_hook(lambda mod, args: log.append(len(args))),
        ]
        x = lib.tensor([1.0])
        log.append(m(x).item())
        handles[5].remove()
        handles[5].remove()
        log.append(m(x).item())
        m.register_forward_pre_hook(lambda mod, args, kw: ((), {"input": args[0] * 2}), with_kwargs=True)
        log.append(m(x).item())
        for handle in handles:
            handle.remove()
        log.append(m(x).item())
        return log

    same_text(run)


def test_removing_one_of_two_equal_hooks_leaves_the_other():
    m, seen = nn.Identity(), []

    def hook(mod, args, y):
        seen.append(1)

    first, second = m.register_forward_hook(hook), m.register_forward_hook(hook)
    first.remove()
    first.remove()
    m(1)
    assert seen == [1]
    second.remove()
    m(1)
    assert seen == [1]


def test_a_pre_hook_with_kwargs_returns_both():
    def attempt(lib):
        m = lib.nn.Identity()
        m.register_forward_pre_hook(lambda mod, args, kw: args[0], with_kwargs=True)
        m(1)

    assert "(new_args, new_kwargs)" in same_error(attempt)[0]


def test_hooks_of_a_deepcopy_are_its_own():
    m, seen = nn.Identity(), []
    handle = m.register_forward_hook(lambda mod, args, y: seen.append(mod))
    twin = copy.deepcopy(m)
    handle.remove()
    m(1)
    twin(1)
    assert seen == [twin]


@pytest.mark.filterwarnings("ignore:Full backward hook is firing:UserWarning")  # PyTorch
def test_backward_hooks_see_and_replace_gradients():
    x, w1, w2, gy = (normal(*s).astype("float32") for s in ((2, 3), (4, 3), (2, 4), (2, 2)))

    def run(lib):
        class Two(lib.nn.Module):
            def __init__(self):
                super().__init__()
                self.a, self.b = lib.nn.Linear(3, 4, bias=False), lib.nn.Linear(4, 2, bias=False)

            def forward(self, x, scale, name):
                h = self.a(x)
                return h * len(name), self.b(h * scale)

        log = []

        def hook(module, grad_input, grad_output):
            log.append([type(grad_input), *(None if g is None else g.tolist() for g in (*grad_input, *grad_output))])

        m = Two()
        m.load_state_dict({"a.weight": lib.tensor(w1), "b.weight": lib.tensor(w2)})
        m.register_full_backward_hook(hook)
        m.b.register_full_backward_hook(lambda mod, gi, go: (gi[0] * 0.5,))
        m.b.register_full_backward_hook(hook)
        m.a.register_full_backward_hook(hook, prepend=True)
        for leaf in (lib.tensor(x, requires_grad=True), lib.tensor(x)):  # the second takes no gradient
            _, y = m(leaf, 2.0, "xy")
            y.backward(lib.tensor(gy))
            log.append(None if leaf.grad is None else leaf.grad.tolist())
        log.append(m.a.weight.grad.tolist())
        return log

    theirs, ours = both(run)

    for entry, expected in zip(ours, theirs, strict=True):
        assert (entry is None) == (expected is None)
        if entry is None:
            continue
        assert len(entry) == len(expected)
        for a, b in zip(entry, expected, strict=True):
            if isinstance(b, list):
                np.testing.assert_allclose(np.array(a, float), np.array(b, float), rtol=1e-5, atol=1e-6)
            else:
                assert a == b


def test_backward_hooks_refuse_what_does_not_fit():
    m = nn.Linear(1, 1)
    handle = m.register_full_backward_hook(lambda mod, gi, go: (gi[0], gi[0]))
    with pytest.raises(RuntimeError, match="invalid number of grad_input, got 2, but expected 1"):
        m(tg.ones(1, requires_grad=True)).backward()
    handle.remove()
    m(tg.ones(1, requires_grad=True)).backward()

    class Listed(nn.Module):
        def forward(self, x):
            return [x]

    listed = Listed()
    listed.register_full_backward_hook(lambda mod, gi, go: None)
    with pytest.warns(UserWarning, match="should be a Tensor or a tuple of Tensors"):
        listed(tg.ones(1))


# ---- containers ------------------------------------------------------------------------------------------------------


def linears(lib, *widths):
    return [lib.nn.Linear(w, w) for w in widths]


ROWS = {
    "Sequential": lambda lib, *w: lib.nn.Sequential(*linears(lib, *w)),
    "ModuleList": lambda lib, *w: lib.nn.ModuleList(linears(lib, *w)),
}


@pytest.mark.parametrize("kind", ROWS)
@pytest.mark.parametrize("act", [
    lambda lib, m: (len(m), m[0], m[-1], m[1:], m[::-2], m[3:], list(m)),
    lambda lib, m: m.append(lib.nn.ReLU()),
    lambda lib, m: m.extend(linears(lib, 7, 8)),
    lambda lib, m: (m.insert(1, lib.nn.ReLU()), m)[1],
    lambda lib, m: (m.insert(3, lib.nn.ReLU()), m)[1],
    lambda lib, m: (m.pop(1), m),
    lambda lib, m: m.__delitem__(0) or m,
    lambda lib, m: m.__delitem__(slice(0, 2)) or m,
    lambda lib, m: m.__setitem__(-1, lib.nn.ReLU()) or m,
    lambda lib, m: m + m[:1],
    lambda lib, m: [n for n, _ in m.named_parameters()],
    lambda lib, m: [d for d in dir(m) if d.isdigit()],
])  # fmt: skip
def test_rows_of_modules_behave_as_lists(kind, act):
    same_text(lambda lib: act(lib, ROWS[kind](lib, 1, 2, 3)))


@pytest.mark.parametrize("kind", ROWS)
@pytest.mark.parametrize("act, match", [
    (lambda lib, m: m[3], "out of range for 3 modules"),
    (lambda lib, m: m[-4], "out of range"),
    (lambda lib, m: m["0"], "'str' object cannot be interpreted as an integer"),
    (lambda lib, m: m.append(3), "not a Module"),
    (lambda lib, m: m.extend(3), ""),
])  # fmt: skip
def test_rows_of_modules_refuse_as_pytorch_does(kind, act, match):
    assert match in same_error(lambda lib: act(lib, ROWS[kind](lib, 1, 2, 3)))[0]


def test_rows_where_we_are_stricter_than_pytorch():
    """PyTorch overwrites a module, takes a wrong index, and renames; here a container does what a list does."""
    part = nn.Sequential(*linears(tg, 1, 2, 3))[1:]
    assert list(part._modules) == ["1", "2"]
    part.append(nn.ReLU())
    assert [type(m).__name__ for m in part] == ["Linear", "Linear", "ReLU"]
    with pytest.raises(IndexError, match="index 4 is out of range for 3 modules"):
        nn.ModuleList(linears(tg, 1, 2, 3)).insert(4, nn.ReLU())
    with pytest.raises(IndexError, match="index 3 is out of range for 3 modules"):
        del nn.ModuleList(linears(tg, 1, 2, 3))[3]
    named = nn.Sequential(OrderedDict(a=nn.ReLU(), b=nn.Tanh()))
    del named[0]
    assert list(named._modules) == ["b"]
    m = nn.ModuleList(linears(tg, 1, 2))
    m.insert(-1, nn.ReLU())
    assert [type(x).__name__ for x in m] == ["Linear", "ReLU", "Linear"]
    m += m
    assert len(m) == 6 and m.pop() is m[2]


def test_sequential_runs_in_order():
    m = nn.Sequential(OrderedDict(twice=nn.Linear(1, 1), cut=nn.ReLU()))
    with tg.no_grad():
        m.twice.weight.fill_(2), m.twice.bias.fill_(-3)
    assert m(tg.tensor([[1.0], [4.0]])).tolist() == [[0], [5]]
    assert nn.Sequential()(3) == 3
    assert "write Sequential(*modules)" in same_error(lambda lib: lib.nn.Sequential([lib.nn.ReLU()]))[0]
    assert "only objects of Sequential" in same_error(lambda lib: lib.nn.Sequential() + [1])[0]


def test_lists_and_dicts_have_no_forward():
    for make in (lambda lib: lib.nn.ModuleList()(1), lambda lib: lib.nn.ModuleDict()(1)):
        assert "forward" in same_error(make)[0]


def test_reprs_of_nested_containers():
    def nested(lib):
        m = lib.nn
        return m.ModuleList([
            m.Sequential(m.Linear(1, 2), m.ReLU()), m.Sequential(m.Linear(1, 2), m.ReLU()),
            m.ModuleDict({"x": m.Tanh()}), m.ModuleList(), m.Sequential(), m.ModuleDict(),
        ])  # fmt: skip

    same_text(nested)


@pytest.mark.parametrize("act", [
    lambda lib, m: (len(m), list(m), list(m.keys()), list(m.values()), list(m.items()), "a" in m, "z" in m, m["b"]),
    lambda lib, m: (m.pop("a"), m),
    lambda lib, m: m.update([("c", lib.nn.ReLU()), ("a", lib.nn.Identity())]) or m,
    lambda lib, m: m.update(lib.nn.ModuleDict({"q": lib.nn.ReLU()})) or m,
    lambda lib, m: m.clear() or m,
    lambda lib, m: m.__setitem__("d", lib.nn.ReLU()) or m,
    lambda lib, m: m.__delitem__("b") or list(m.state_dict()),
])  # fmt: skip
def test_module_dict(act):
    same_text(lambda lib: act(lib, lib.nn.ModuleDict({"b": lib.nn.Linear(1, 1), "a": lib.nn.Tanh()})))


@pytest.mark.parametrize("act, match", [
    (lambda m: m["z"], "z"),
    (lambda m: m.update(3), "iterable of key/value pairs, got int"),
    (lambda m: m.update([("a", None, 3)]), "#0 has length 3"),
])  # fmt: skip
@pytest.mark.parametrize("kind", ["ModuleDict", "ParameterDict"])
def test_dicts_refuse_as_pytorch_does(kind, act, match):
    if kind == "ParameterDict" and match == "z":
        with pytest.raises(KeyError, match="z"):  # AttributeError in PyTorch
            nn.ParameterDict()["z"]
    else:
        assert match in same_error(lambda lib: act(getattr(lib.nn, kind)()))[0]


@pytest.mark.parametrize("act", [
    lambda lib, m: (len(m), [tuple(p.shape) for p in m], [type(p).__name__ for p in m], m[-1].tolist(), len(m[1:])),
    lambda lib, m: m,
    lambda lib, m: m[:1],
    lambda lib, m: m.append(lib.zeros(2, 2)).extend([lib.ones(3)]),
    lambda lib, m: (m.__setitem__(0, lib.zeros(())), [n for n, _ in m.named_parameters()], m),
    lambda lib, m: m.append("text"),
    lambda lib, m: m.__iadd__([lib.zeros(1)]),
    lambda lib, m: lib.nn.ParameterList(),
])  # fmt: skip
def test_parameter_list(act):
    same_text(lambda lib: act(lib, lib.nn.ParameterList([lib.zeros(2), lib.nn.Parameter(lib.ones(3, 1))])))


@pytest.mark.parametrize("act, match", [
    (lambda lib, m: m[1], "out of range for 1 entries"),
    (lambda lib, m: m.extend(lib.zeros(3)), "iterable"),
])  # fmt: skip
def test_parameter_list_refuses_as_pytorch_does(act, match):
    assert match in same_error(lambda lib: act(lib, lib.nn.ParameterList([lib.zeros(2)])))[0]


@pytest.mark.parametrize("act", [
    lambda lib, m: (len(m), list(m), list(m.keys()), [type(v).__name__ for v in m.values()], "a" in m, m["b"].tolist()),
    lambda lib, m: (m.pop("a").tolist(), list(m)),
    lambda lib, m: (m.get("z", 3), m.get("a").tolist()),
    lambda lib, m: (m.update([("c", lib.zeros(1))]), [n for n, _ in m.items()], list(m.state_dict())),
    lambda lib, m: (m.clear(), len(m), list(m.parameters())),
    lambda lib, m: m.__delitem__("a") or list(m.state_dict()),
])  # fmt: skip
def test_parameter_dict(act):
    same_text(lambda lib: act(lib, lib.nn.ParameterDict({"a": lib.zeros(2), "b": lib.nn.Parameter(lib.ones(1))})))


def test_parameter_dict_describes_its_entries():
    m = nn.ParameterDict({"a": tg.zeros(2, 3), "note": "x"})
    assert repr(m) == (
        "ParameterDict(\n    (a): Parameter containing: [tinygrad_edu.float32 of size 2x3]\n"
        "    (note): Object of type: str\n)"
    )
    with pytest.raises(TypeError, match="must be a string, got int"):
        m[3] = tg.zeros(1)


# ---- nn.functional ---------------------------------------------------------------------------------------------------


def test_functional_holds_what_pytorch_calls_by_that_name():
    names = {n for n in vars(F) if not n.startswith("_")}
    assert {"linear", "softmax", "gelu", "cross_entropy", "scaled_dot_product_attention", "dropout", "pad"} <= names
    assert not [n for n in names if not callable(getattr(torch.nn.functional, n, None))]
    assert F.softmax is tg.softmax


# ---- nn.utils --------------------------------------------------------------------------------------------------------


def with_gradients(lib, dtype, scale=1.0):
    rng = np.random.default_rng(5)
    params = []
    for shape in ((3, 4), (5,), (), (0, 2), (300, 500)):
        p = lib.zeros(shape, dtype=getattr(lib, dtype), requires_grad=True)
        p.grad = lib.tensor(np.asarray(rng.standard_normal(shape) * scale, dtype))
        params.append(p)
    params.append(lib.zeros(2, requires_grad=True))  # without a gradient
    return params


NORMS = [2, 2.0, 1, 3.5, math.inf, "inf"]


@pytest.mark.parametrize("dtype, rtol", [("float16", 1e-3), ("float32", 2e-7), ("float64", 1e-14)])
@pytest.mark.parametrize("norm_type", NORMS)
@pytest.mark.parametrize("max_norm", [0.5, 1e9])
def test_clip_grad_norm(dtype, rtol, norm_type, max_norm):
    theirs, ours = both(lambda lib: with_gradients(lib, dtype))
    if norm_type in (math.inf, "inf"):  # the maximum of no elements is an error in PyTorch; here it does not count
        del theirs[3], ours[3]
    for p in theirs:  # in float64: PyTorch's float32 sums are good to 5 digits only
        p.data, p.grad = p.data.double(), None if p.grad is None else p.grad.double()
    expected = torch.nn.utils.clip_grad_norm_(theirs, max_norm, norm_type)
    norm = utils.clip_grad_norm_(ours, max_norm, norm_type)
    assert type(norm) is tg.Tensor and norm.shape == () and norm.dtype.name == dtype and not norm.requires_grad
    with np.errstate(over="ignore"):  # the sum for norm 1 is beyond float16, yet the gradients below are right
        np.testing.assert_allclose(norm.numpy(), expected.numpy().astype(dtype), rtol=rtol)
    for p, q in zip(ours[:-1], theirs[:-1], strict=True):
        np.testing.assert_allclose(p.grad.numpy(), q.grad.numpy(), rtol=2 * rtol, atol=1e-7 * (dtype == "float16"))
    assert ours[-1].grad is None


def test_the_norm_of_large_float16_gradients_is_not_infinite():
    p = tg.zeros(64, dtype=tg.float16, requires_grad=True)
    p.grad = tg.full((64,), 1000.0, dtype=tg.float16)  # the squares are beyond float16
    assert utils.clip_grad_norm_(p, 1.0).item() == 8000.0
    np.testing.assert_allclose(p.grad.numpy(), 0.125, rtol=1e-3)


def test_the_norm_of_many_elements_is_exact_to_rounding():
    x = np.random.default_rng(0).random(3_000_000, dtype=np.float32)
    norm = utils.get_total_norm(tg.from_numpy(x[::-1].copy()).reshape(1000, 3000).T)
    assert abs(norm.item() / np.sqrt(np.square(x, dtype=np.float64).sum()) - 1) < 2e-7


@pytest.mark.parametrize("bad", [math.inf, math.nan])
@pytest.mark.parametrize("norm_type", [2, math.inf])
def test_gradients_that_are_not_finite(bad, norm_type):
    def clip(lib):
        p, q = lib.zeros(3, requires_grad=True), lib.zeros(2, requires_grad=True)
        p.grad, q.grad = lib.tensor([1.0, bad, 2.0]), lib.tensor([5.0, 6.0])
        return p, q, lib.nn.utils.clip_grad_norm_((x for x in [p, q]), 1.0, norm_type)

    theirs, ours = both(clip)
    for a, b in zip([ours[0].grad, ours[1].grad, ours[2]], [theirs[0].grad, theirs[1].grad, theirs[2]], strict=True):
        np.testing.assert_array_equal(a.numpy(), b.numpy())
    p = tg.zeros(2, requires_grad=True)
    p.grad = tg.tensor([1.0, bad])
    with pytest.raises(RuntimeError, match="total norm of order .* is non-finite"):
        utils.clip_grad_norm_([p], 1.0, norm_type, error_if_nonfinite=True)
    np.testing.assert_array_equal(p.grad.numpy(), np.array([1.0, bad], "float32"))


def test_clipping_without_gradients():
    p = tg.zeros(2, requires_grad=True)
    assert utils.clip_grad_norm_([p], 1.0).item() == utils.get_total_norm([]).item() == 0.0
    with pytest.warns(UserWarning, match="empty generator"):
        utils.clip_grad_norm_(nn.ReLU().parameters(), 1.0)
    with pytest.raises(ValueError, match="norm_type must be positive or inf, got 0"):
        utils.get_total_norm([p], 0)


def test_clip_grad_value():
    theirs, ours = both(lambda lib: with_gradients(lib, "float32"))
    torch.nn.utils.clip_grad_value_(theirs, 0.3)
    utils.clip_grad_value_(ours, 0.3)
    for p, q in zip(ours[:-1], theirs[:-1], strict=True):
        np.testing.assert_array_equal(p.grad.numpy(), q.grad.numpy())


def test_parameters_as_one_vector():
    net = make_net(tg)
    vec = utils.parameters_to_vector(net.parameters())
    assert vec.tolist() == [x for p in net.parameters() for x in p.reshape(-1).tolist()]
    gy = tg.randn(vec.shape)
    vec.backward(gy)
    assert utils.parameters_to_vector(p.grad for p in net.parameters()).tolist() == gy.tolist()
    weight = net.first.weight
    utils.vector_to_parameters(vec.detach() * 2, net.parameters())
    np.testing.assert_array_equal(utils.parameters_to_vector(net.parameters()).detach(), (vec * 2).detach())
    assert net.first.weight is weight and weight.is_leaf


@pytest.mark.parametrize("change", [1, -1])
def test_a_vector_of_another_length_is_refused_and_changes_nothing(change):
    m = nn.Linear(2, 2)
    before = utils.parameters_to_vector(m.parameters()).tolist()
    with pytest.raises(RuntimeError, match=f"expected a vector of 6 elements, got shape \\({6 + change},\\)"):
        utils.vector_to_parameters(tg.zeros(6 + change), m.parameters())
    assert utils.parameters_to_vector(m.parameters()).tolist() == before
    with pytest.raises(TypeError, match="expected a Tensor, got list"):
        utils.vector_to_parameters([1.0] * 6, m.parameters())
