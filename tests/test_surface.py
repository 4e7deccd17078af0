"""The public surface: names, arguments, defaults and result dtypes beside PyTorch's; what is absent says so."""

from __future__ import annotations

import ast
import copy
import inspect
import itertools
import pydoc
import re
import subprocess
import sys
import traceback
import warnings

import numpy as np
import pytest
import torch

import tinygrad_edu as tg
from tinygrad_edu import absent
from tinygrad_edu.testing import differences, surface
from tinygrad_edu.torch_names import NAMES

K = inspect.Parameter
DTYPES = ("bool", "uint8", "int8", "int16", "int32", "int64", "float16", "float32", "float64")


def find(module, dotted):
    for part in filter(None, dotted.split(".")):
        module = getattr(module, part)
    return module


# ---- names that are absent -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "ask, message",
    [
        (lambda: tg.gelu, r"tinygrad_edu has no 'gelu' \(PyTorch has no such name either.*nn.functional.gelu"),
        (lambda: tg.lobpcg, r"'lobpcg' \(PyTorch has it, this framework does not"),
        (lambda: tg.nn.Conv4d, r"tinygrad_edu.nn has no 'Conv4d'.*nearest: .*Conv1d"),
        (
            lambda: tg.nn.functional.fractional_max_pool2d,
            r"nn.functional has no 'fractional_max_pool2d' \(PyTorch has it",
        ),
        (lambda: tg.nn.init.xavier_norml_, r"nearest: xavier_normal_"),
        (lambda: tg.optim.LBFGS, r"optim has no 'LBFGS' \(PyTorch has it.*nearest: optim.Adam"),
        (lambda: tg.nn.Relu, r"nn has no 'Relu'.*nearest: ReLU"),
        (lambda: tg.complex64, r"'complex64' \(PyTorch has it.*nearest: float32$"),
        (lambda: tg.autograd.gradcheck, r"nearest: testing.gradcheck$"),
        (lambda: tg.optim.lr_scheduler.StepLr, r"nearest: .*StepLR"),
        (lambda: tg.linalg.svd, r"linalg has no 'svd' \(PyTorch has it"),
        (lambda: tg.special.gammaln, r"special has no 'gammaln' \(PyTorch has it"),
        (lambda: tg.autograd.gradd, r"nearest: grad"),
        (lambda: tg.cuda.nccl, r"cuda has no 'nccl' \(PyTorch has it"),
        (lambda: tg.cuda.CUDAGraph, r"cuda has no 'CUDAGraph' \(PyTorch has it"),
        (lambda: tg.amp.autocats, r"nearest: autocast"),
        (lambda: tg.ones(2).sofmax, r"Tensor has no 'sofmax'.*nearest: softmax"),
        (lambda: tg.fft, r"tinygrad_edu has no 'fft' \(PyTorch has it"),
    ],
)
def test_an_absent_name_says_so_and_names_the_nearest(ask, message):
    with pytest.raises(AttributeError, match=message):
        ask()


@pytest.mark.parametrize("name", ["svd", "jit", "eig"])
def test_a_name_without_a_neighbour_is_offered_none(name):
    with pytest.raises(AttributeError, match="; no name here is near to it$") as caught:
        getattr(tg, name)
    assert traceback.format_exception(caught.value)[-1].endswith("near to it\n")  # Python adds no suggestion


def test_counterparts_of_absent_names_are_there():
    for dotted in absent.INSTEAD.values():
        assert find(tg, dotted)


@pytest.mark.parametrize("holder", [tg, tg.nn, tg.nn.functional, tg.optim, tg.ones(2)], ids=repr)
def test_python_finds_out_in_the_ordinary_ways_that_a_name_is_absent(holder):
    assert not hasattr(holder, "no_such_name")
    assert getattr(holder, "no_such_name", 3) == 3
    with pytest.raises(AttributeError, match="__no_such_protocol__"):
        _ = holder.__no_such_protocol__
    assert "relu" in dir(tg)


def test_absent_names_do_not_disturb_copies_and_imports():
    x = tg.ones(2, requires_grad=True)
    assert copy.deepcopy(x).requires_grad and copy.copy(x).shape == (2,)
    with pytest.raises(TypeError, match="not pickled"):
        x.__reduce_ex__(2)
    with pytest.raises(ImportError, match="cannot import name 'lobpcg'"):
        from tinygrad_edu import lobpcg  # type: ignore[attr-defined]  # noqa: F401
    from tinygrad_edu import testing  # a module that the package does not import by itself

    assert testing.gradcheck


def test_a_module_is_imported_when_it_is_asked_for():
    program = (
        "import sys, tinygrad_edu; assert 'tinygrad_edu.testing' not in sys.modules; print(tinygrad_edu.testing.check)"
    )
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert ran.stdout.startswith("<function check")


# ---- help() ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "module, names",
    [
        (tg, ("softmax", "matmul", "cat", "Tensor")),
        (tg.nn, ("Linear", "LSTM", "Module")),
        (tg.nn.functional, ("cross_entropy", "softmax", "pad")),
        (tg.optim, ("Adam", "Optimizer")),
        (tg.linalg, ("norm", "multi_dot")),
        (tg.special, ("expit", "xlogy")),
        (tg.autograd, ("grad", "set_detect_anomaly")),
    ],
    ids=lambda x: getattr(x, "__name__", ""),
)
def test_help_lists_what_is_public_and_nothing_else(module, names):
    assert set(names) <= set(module.__all__)
    assert module.__all__ == sorted(set(module.__all__))
    for name in module.__all__:
        assert name[0] != "_" and not inspect.ismodule(getattr(module, name))
    text = pydoc.plain(pydoc.render_doc(module))
    for name in names:
        assert re.search(rf"^    (class )?{name}\b", text, re.M), name


# ---- top-level functions whose arguments are not nn.functional's -----------------------------------------------------


@pytest.mark.parametrize(
    "call",
    [
        lambda m, x, i: m.embedding(x, i),
        lambda m, x, i: m.embedding(x, i, 2, True),
        lambda m, x, i: m.dropout(x, 0.5, False),
        lambda m, x, i: m.dropout(x, 1.0, True),
        lambda m, x, i: m.layer_norm(x, (3,)),
        lambda m, x, i: m.softmax(x, axis=0),
        lambda m, x, i: m.log_softmax(x, axis=-1),
        lambda m, x, i: x.softmax(axis=1),
        lambda m, x, i: m.relu_(x * 1),
        lambda m, x, i: m.nn.functional.relu_(x * 1),
        lambda m, x, i: m.clamp_(x * 1, -0.5, 0.5),
        lambda m, x, i: m.clamp_(x * 1, max=0.25),
    ],
)
def test_top_level_functions_as_in_torch(call):
    rng = np.random.default_rng(0)
    a, cotangent = rng.standard_normal((4, 3)), None
    results = []
    for m in (tg, torch):
        x = m.tensor(a, requires_grad=True)
        y = call(m, x, m.tensor([[1, 2, 1], [0, 3, 2]]))
        cotangent = rng.standard_normal(tuple(y.shape)) if cotangent is None else cotangent
        y.backward(m.tensor(cotangent))
        results.append((y.detach().numpy(), x.grad.numpy()))
    for ours, theirs in zip(*results, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-12, atol=1e-12)


def test_top_level_dropout_forgets_and_refuses():
    x = tg.ones(1000)
    tg.manual_seed(0)
    y = tg.dropout(x, 0.25, True)
    assert {round(v, 4) for v in y.tolist()} == {0.0, 1.3333}
    for module in (tg, torch):
        with pytest.raises(RuntimeError, match="between 0 and 1, but got 2"):
            module.dropout(module.ones(2), 2.0, True)
        with pytest.raises(TypeError):
            module.dropout(module.ones(2))
        with pytest.raises(TypeError):
            module.relu_([1.0])
        with pytest.raises(TypeError):
            module.clamp_([1.0], 0)


def test_softmax_without_a_dim_warns_at_the_line_that_calls_it():
    for call in (tg.softmax, tg.log_softmax, tg.nn.functional.softmin, lambda x: tg.ones(3).softmax()):
        with pytest.warns(UserWarning, match="no dim was given") as caught:
            call(tg.ones(2))
        assert caught[0].filename == __file__


@pytest.mark.parametrize(
    "data, message",
    [
        ([[1, 2], [3]], r"data\[0\] has the length 2 and data\[1\] has the length 1; pad the shorter ones$"),
        ([[1], 2], r"data\[0\] has the length 1 and data\[1\] is a number"),
        ([[[1], [2]], [[3]]], r"data\[0\] has the shape \(2, 1\) and data\[1\] has the shape \(1, 1\)"),
        ([[[1], [2]], [[3], [4, 5]]], r"data\[1\]\[0\] has the length 1 and data\[1\]\[1\] has the length 2"),
        ([tg.ones(2), tg.ones(3)], r"data\[0\] has the length 2 and data\[1\] has the length 3"),
    ],
)
def test_sequences_of_unequal_lengths_are_named(data, message):
    with pytest.raises(ValueError, match=f"^sequences must be of equal length at every level, but {message}"):
        tg.tensor(data)


# ---- what programs mention -------------------------------------------------------------------------------------------


def test_autocast_is_refused_or_off_where_it_cannot_be():
    with pytest.raises(RuntimeError, match="unknown device"):
        tg.autocast("tpu")
    with pytest.raises(ValueError, match="device_type"):
        tg.autocast(tg.float16)
    assert tg.amp.is_autocast_available("cpu") and not tg.amp.is_autocast_available("tpu")
    assert repr(tg.bfloat16) == "tinygrad_edu.bfloat16"
    x = tg.ones(2, 2)
    for off in (tg.autocast("cpu", enabled=False), tg.cuda.amp.autocast(enabled=False, dtype=tg.float16)):
        with off:
            assert (x @ x).dtype == tg.float32


@pytest.mark.parametrize(
    "make",
    [
        lambda: tg.autocast("cuda", dtype=tg.float16), tg.cuda.amp.autocast, tg.amp.GradScaler, tg.cuda.amp.GradScaler,
    ],
)  # fmt: skip
def test_mixed_precision_for_a_gpu_is_disabled_without_one(make, monkeypatch):
    monkeypatch.setattr(tg.amp, "_usable", lambda device: device == "cpu")
    with pytest.warns(UserWarning, match="is disabled: there is no 'cuda' device here"):
        made = make()
    if hasattr(made, "is_enabled"):
        assert not made.is_enabled()
    else:
        with made:
            assert (tg.ones(2, 2) @ tg.ones(2, 2)).dtype == tg.float32


@pytest.mark.parametrize("scaler_type", [tg.amp.GradScaler, tg.cuda.amp.GradScaler])
def test_a_disabled_grad_scaler_passes_a_training_step_through(scaler_type):
    scaler = scaler_type(enabled=False)
    w = tg.ones(3, requires_grad=True)
    optimizer = tg.optim.SGD([w], lr=0.5)
    scaler.scale((w * w).sum()).backward()
    scaler.unscale_(optimizer)
    scaler.step(optimizer)
    scaler.update()
    scaler.load_state_dict(scaler.state_dict())
    assert w.tolist() == [0.0, 0.0, 0.0]
    assert not scaler.is_enabled() and scaler.get_scale() == 1.0 and scaler.state_dict() == {}


def test_compile_gives_back_what_it_is_given():
    def f(x):
        return x + 1

    @tg.compile(mode="max-autotune", fullgraph=True)
    def g(x):
        return x + 2

    model = tg.nn.Linear(2, 2)
    assert tg.compile(f) is f and tg.compile(model, dynamic=False) is model
    assert g(1) == 3


def test_cuda_is_absent_and_says_so():
    assert not tg.cuda.is_available() and not tg.cuda.is_initialized() and not tg.cuda.is_bf16_supported()
    assert tg.cuda.device_count() == 0
    tg.cuda.manual_seed(1)
    tg.cuda.manual_seed_all(1)
    tg.cuda.empty_cache()
    for name in ("memory_allocated", "memory_reserved", "max_memory_allocated", "max_memory_reserved"):
        assert getattr(tg.cuda, name)() == 0
    for name in ("synchronize", "current_device", "get_device_name", "get_device_properties", "get_device_capability",
                 "reset_peak_memory_stats"):  # fmt: skip
        with pytest.raises(RuntimeError, match="needs CuPy, which is not installed; install the extra"):
            getattr(tg.cuda, name)()
    with pytest.raises(RuntimeError, match="needs CuPy"):
        tg.cuda.set_device(0)
    with pytest.raises(TypeError, match="int"):
        tg.cuda.manual_seed("1")


def test_seeding_the_gpu_leaves_the_cpu_alone():
    tg.manual_seed(5)
    expected = tg.rand(3).tolist()
    tg.manual_seed(5)
    tg.cuda.manual_seed_all(7)
    assert tg.rand(3).tolist() == expected


def test_switches_of_libraries_are_remembered(monkeypatch):
    for holder, name, value in (
        (tg.backends.cuda.matmul, "allow_tf32", True),
        (tg.backends.cudnn, "allow_tf32", False),
        (tg.backends.cudnn, "benchmark", True),
        (tg.backends.cudnn, "deterministic", True),
    ):
        before = getattr(holder, name)
        setattr(holder, name, value)
        assert getattr(holder, name) is value
        setattr(holder, name, before)
    tg.backends.cuda.enable_flash_sdp(True)
    assert not tg.backends.mps.is_available() and not tg.backends.mps.is_built()
    with pytest.raises(AttributeError, match="unknown setting 'allow_tf23'; there are: .*allow_tf32"):
        tg.backends.cuda.matmul.allow_tf23 = True
    with pytest.raises(RuntimeError, match="allow_tf32 expects a bool, but got str; set it to True or False"):
        tg.backends.cuda.matmul.allow_tf32 = "yes"
    with pytest.raises(AttributeError, match="unknown setting 'benchmrk'; there are: .*benchmark"):
        tg.backends.cudnn.benchmrk = True


def test_settings_are_remembered():
    tg.set_float32_matmul_precision("high")
    assert tg.get_float32_matmul_precision() == "high" and tg.backends.cuda.matmul.allow_tf32
    tg.set_float32_matmul_precision("medium")
    assert tg.get_float32_matmul_precision() == "medium"
    tg.backends.cuda.matmul.allow_tf32 = False
    assert tg.get_float32_matmul_precision() == "highest"
    tg.backends.cuda.matmul.allow_tf32 = True
    tg.set_float32_matmul_precision("highest")
    assert tg.get_float32_matmul_precision() == "highest" and not tg.backends.cuda.matmul.allow_tf32
    tg.use_deterministic_algorithms(True)
    assert tg.are_deterministic_algorithms_enabled()
    tg.use_deterministic_algorithms(False)
    tg.set_default_device("cpu")
    assert tg.get_default_device() == tg.device("cpu")
    with pytest.raises(RuntimeError, match="needs CuPy"):
        tg.set_default_device("cuda")
    with pytest.raises(RuntimeError, match="'highest', 'high' or 'medium'"):
        tg.set_float32_matmul_precision("low")


def test_threads_are_those_of_matrix_products():
    from threadpoolctl import threadpool_info

    before = tg.get_num_threads()
    try:
        tg.set_num_threads(1)
        assert tg.get_num_threads() == 1
        assert {library["num_threads"] for library in threadpool_info() if "numpy" in library["filepath"]} <= {1}
    finally:
        tg.set_num_threads(before)
    with pytest.raises(RuntimeError, match="positive"):
        tg.set_num_threads(0)
    with pytest.raises(TypeError, match="int"):
        tg.set_num_threads(1.5)


def test_print_options():
    x = tg.tensor([1.23456, 1000.0])
    try:
        tg.set_printoptions(precision=2, sci_mode=False)
        assert repr(x) == "tensor([   1.23, 1000.  ])"
        tg.set_printoptions(sci_mode=True)
        assert repr(x) == "tensor([1.23e+00, 1.00e+03])"
        tg.set_printoptions(threshold=3, edgeitems=1)
        assert repr(tg.arange(5)) == "tensor([0, ..., 4], shape=(5,))"
        tg.set_printoptions(profile="full")
        assert "..." not in repr(tg.zeros(2000))
    finally:
        tg.set_printoptions(profile="default")
    assert repr(x) == repr(tg.tensor([1.23456, 1000.0]))
    with pytest.raises(ValueError, match="default, short or full"):
        tg.set_printoptions(profile="wide")


def test_classes_to_ask_for():
    y = tg.ones(2, requires_grad=True) * 2
    assert isinstance(y.grad_fn, tg.autograd.Node)
    assert isinstance(y.grad_fn.parents[0], tg.autograd.Leaf)
    assert issubclass(tg.nn.GRUCell, tg.nn.RNNCellBase) and issubclass(tg.nn.GRU, tg.nn.RNNBase)


def test_constants():
    for name in ("pi", "e", "inf", "newaxis"):
        assert getattr(tg, name) == getattr(torch, name)
    assert tg.nan != tg.nan


# ---- small functions beside PyTorch's --------------------------------------------------------------------------------


def same(ours, theirs):
    assert str(ours.dtype).removeprefix("tinygrad_edu.") == str(theirs.dtype).removeprefix("torch.")
    assert tuple(ours.shape) == tuple(theirs.shape)
    np.testing.assert_array_equal(ours.numpy(), theirs.numpy())


@pytest.mark.parametrize(
    "call",
    [
        lambda m: m.tril_indices(3, 4, 1),
        lambda m: m.tril_indices(2, 5, offset=-1, dtype=m.int32),
        lambda m: m.triu_indices(4, 3),
        lambda m: m.triu_indices(0, 3),
        lambda m: m.scalar_tensor(3),
        lambda m: m.scalar_tensor(True, dtype=m.bool),
        lambda m: m.frombuffer(bytearray(range(16)), dtype=m.int32, count=2, offset=4),
        lambda m: m.FloatTensor([1, 2]),
        lambda m: m.DoubleTensor([[1.5]]),
        lambda m: m.HalfTensor([1]),
        lambda m: m.LongTensor([[3, 4]]),
        lambda m: m.IntTensor([1]),
        lambda m: m.ShortTensor([1]),
        lambda m: m.CharTensor([1]),
        lambda m: m.ByteTensor([1]),
        lambda m: m.BoolTensor([True, False]),
        lambda m: m.tensor([1, 2]).char(),
    ],
)
def test_making_tensors(call):
    same(call(tg), call(torch))


@pytest.mark.parametrize("name", ["tril_indices", "triu_indices"])
def test_triangles_of_negative_size_are_refused(name):
    for module in (tg, torch):
        with pytest.raises(RuntimeError, match="non-negative"):
            getattr(module, name)(-1, 2)


def test_old_constructors_take_a_shape_too():
    assert tg.FloatTensor(2, 3).shape == (2, 3)


def test_questions_about_tensors_and_dtypes():
    for module in (tg, torch):
        x, n = module.ones(1), module.tensor([0])
        assert module.is_floating_point(x) and not module.is_floating_point(n)
        assert not module.is_complex(x) and not x.is_complex()
        assert module.is_nonzero(x) and not module.is_nonzero(n) and x.is_nonzero()
        assert x.is_signed() and not n.to(module.uint8).is_signed()
        assert x.get_device() == -1 and x.is_cpu and x.pin_memory is not None
        assert x[0:].data_ptr() == x.data_ptr()
        with pytest.raises(RuntimeError):
            module.is_nonzero(module.ones(2))
        assert module.typename(3) == "int" and module.typename(x).endswith("FloatTensor")
        assert module.typename(module.nn.Linear(1, 1)).endswith("linear.Linear")
    assert tg.ones(1).pin_memory().tolist() == [1.0]


@pytest.mark.parametrize("a, b", list(itertools.product(DTYPES, DTYPES)))
def test_dtypes_that_fit_each_other(a, b):
    assert tg.can_cast(getattr(tg, a), getattr(tg, b)) == torch.can_cast(getattr(torch, a), getattr(torch, b))
    results = [m.result_type(m.ones(2, dtype=getattr(m, a)), m.tensor(1, dtype=getattr(m, b))) for m in (tg, torch)]
    assert str(results[0])[len("tinygrad_edu.") :] == str(results[1])[len("torch.") :]
    for number in (True, 2, 2.5):
        ours, theirs = (m.result_type(m.ones(2, dtype=getattr(m, a)), number) for m in (tg, torch))
        assert str(ours)[len("tinygrad_edu.") :] == str(theirs)[len("torch.") :]


def test_sampling_methods_are_the_functions():
    p = tg.tensor([0.2, 0.3, 0.5])
    for call, method in ((tg.multinomial, p.multinomial), (tg.bernoulli, p.bernoulli)):
        args = (5, True) if call is tg.multinomial else ()
        g = tg.Generator()
        expected = call(p, *args, generator=g.manual_seed(3)).tolist()
        assert method(*args, generator=g.manual_seed(3)).tolist() == expected


# ---- optimizers ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name, options",
    [
        ("Adagrad", {}),
        ("Adagrad", {"lr": 0.1, "lr_decay": 0.1, "weight_decay": 0.01, "initial_accumulator_value": 0.1}),
        ("Adadelta", {}),
        ("Adadelta", {"rho": 0.8, "weight_decay": 0.1, "maximize": True}),
        ("Adamax", {}),
        ("Adamax", {"betas": (0.8, 0.9), "weight_decay": 0.1, "maximize": True}),
        ("NAdam", {}),
        ("NAdam", {"lr": 0.1, "betas": (0.8, 0.9), "weight_decay": 0.1, "momentum_decay": 0.1, "maximize": True}),
        ("NAdam", {"weight_decay": 0.1, "decoupled_weight_decay": True}),
        ("RAdam", {"lr": 0.1}),
        ("RAdam", {"lr": 0.1, "betas": (0.8, 0.9), "weight_decay": 0.1, "maximize": True}),
        ("RAdam", {"weight_decay": 0.1, "decoupled_weight_decay": True}),
    ],
)
def test_optimizers_step_as_pytorch_s(name, options):
    rng = np.random.default_rng(0)
    start = rng.standard_normal((5, 3)).astype(np.float32)
    ours, theirs = tg.tensor(start, requires_grad=True), torch.tensor(start, requires_grad=True)
    a, b = getattr(tg.optim, name)([ours], **options), getattr(torch.optim, name)([theirs], **options)
    for step in range(20):
        g = rng.standard_normal((5, 3)).astype(np.float32)
        ours.grad, theirs.grad = tg.tensor(g), torch.tensor(g)
        if step == 10:  # a saved and loaded state goes on
            a2 = getattr(tg.optim, name)([ours])
            a2.load_state_dict(a.state_dict())
            a = a2
        a.step()
        b.step()
        np.testing.assert_allclose(ours.detach().numpy(), theirs.detach().numpy(), rtol=2e-6, atol=1e-7)


@pytest.mark.parametrize(
    "name, options",
    [
        ("Adagrad", {"lr": -1.0}),
        ("Adagrad", {"initial_accumulator_value": -1.0}),
        ("Adadelta", {"rho": 1.5}),
        ("Adamax", {"betas": (1.0, 0.9)}),
        ("Adamax", {"eps": -1.0}),
        ("NAdam", {"momentum_decay": -1.0}),
        ("NAdam", {"betas": (0.9, 1.0)}),
        ("RAdam", {"betas": (-0.1, 0.9)}),
    ],
)
def test_optimizers_refuse_what_pytorch_s_refuse(name, options):
    for module in (tg, torch):
        with pytest.raises(ValueError, match="Invalid"):
            getattr(module.optim, name)([module.ones(2, requires_grad=True)], **options)


# ---- layers ----------------------------------------------------------------------------------------------------------


def test_a_decoder_is_a_stack_of_layers():
    rng = np.random.default_rng(0)
    x, memory = (rng.standard_normal((2, n, 8)).astype(np.float32) for n in (3, 4))
    g = rng.standard_normal((2, 3, 8)).astype(np.float32)
    found = []
    for module in (torch, tg):
        layer = module.nn.TransformerDecoderLayer(8, 2, 16, dropout=0.0, batch_first=True)
        decoder = module.nn.TransformerDecoder(layer, 2, module.nn.LayerNorm(8))
        if module is torch:
            state = {name: value.numpy().copy() for name, value in decoder.state_dict().items()}
        decoder.load_state_dict({name: module.tensor(value) for name, value in state.items()})
        inputs = [module.tensor(a, requires_grad=True) for a in (x, memory)]
        mask = module.triu(module.ones(3, 3), diagonal=1).bool()
        y = decoder(*inputs, tgt_mask=mask)
        y.backward(module.tensor(g))
        found.append([y.detach().numpy(), *(t.grad.numpy() for t in inputs)])
    for theirs, ours in zip(*found, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5)


# ---- arguments and defaults ------------------------------------------------------------------------------------------

NOT_OFFERED = {"out", "names", "layout", "memory_format", "size_average", "reduce"}
SHARED = [
    pytest.param(namespace, name, id=f"{namespace}.{name}".strip("."))
    for namespace in surface.NAMESPACES
    if namespace not in ("Tensor", "cuda", "amp")
    for name, value in surface.offered(namespace).items()
    if callable(value) and hasattr(find(torch, namespace), name)
]


def signatures_of_torch(function):
    """The signatures of a PyTorch function: its own, or those that its documentation states."""
    try:
        found = [p for p in inspect.signature(function).parameters.values() if p.name != "self"]
        if {p.name for p in found} != {"args", "kwargs"}:
            return [found]
    except (ValueError, TypeError):
        pass
    stated = rf"^\s*(?:\.\. (?:function|method):: )?(?:\w+\.)*{getattr(function, '__name__', '?')}\((.*?)\)\s*(?:->|$)"
    return [
        s for m in re.finditer(stated, function.__doc__ or "", re.M | re.S) if (s := _parsed(m.group(1))) is not None
    ]


def _parsed(text):
    try:
        [definition] = ast.parse(f"def f({' '.join(text.split())}): pass".replace("\\", "")).body
    except SyntaxError:
        return None
    given = definition.args
    positional = given.posonlyargs + given.args
    defaults = [None] * (len(positional) - len(given.defaults)) + given.defaults
    found = [_parameter(a, d, K.POSITIONAL_OR_KEYWORD) for a, d in zip(positional, defaults, strict=True)]
    return found + [_parameter(a, d, K.KEYWORD_ONLY) for a, d in zip(given.kwonlyargs, given.kw_defaults, strict=True)]


def _parameter(argument, default, kind):
    try:
        value = K.empty if default is None else ast.literal_eval(default)
    except ValueError:
        value = ast.unparse(default)
    return K(argument.arg, kind, default=value)


def disagreements(ours, theirs, optional):
    """What a caller would notice between two lists of parameters."""
    theirs = [p for p in theirs if p.name not in NOT_OFFERED]
    by_name = {p.name: p for p in theirs}
    order = [p.name for p in theirs if p.kind in (K.POSITIONAL_OR_KEYWORD, K.POSITIONAL_ONLY)]
    position = 0
    for p in ours:
        if p.kind in (K.VAR_POSITIONAL, K.VAR_KEYWORD):
            continue
        positional = p.kind is K.POSITIONAL_OR_KEYWORD
        place, position = position, position + positional
        other = by_name.get(p.name)
        if other is None:
            if p.name not in optional:
                yield f"{p.name} is not in PyTorch"
            continue
        if positional and other.kind is K.KEYWORD_ONLY:
            yield f"{p.name} is keyword-only in PyTorch"
        elif positional and order[place : place + 1] != [p.name]:
            yield f"{p.name} is at {place}, in PyTorch at {order.index(p.name)}"
        elif not positional and other.kind is not K.KEYWORD_ONLY and not any(q.kind is K.VAR_POSITIONAL for q in ours):
            yield f"{p.name} is positional in PyTorch"
        if p.default is K.empty and other.default is not K.empty:
            yield f"{p.name} has no default"
        elif other.default is K.empty and p.default is not K.empty:
            if p.name not in optional:
                yield f"{p.name} has a default"
        elif p.default != other.default and _text(p.default) != _text(other.default):
            yield f"{p.name} is {p.default!r}, in PyTorch {other.default!r}"


def _text(value):
    return str(value).replace("tinygrad_edu.", "").replace("torch.", "").replace("'", "")


def differs(namespace, name):
    function, theirs = find(tg, namespace).__dict__[name], getattr(find(torch, namespace), name)
    try:
        ours = [p for p in inspect.signature(function).parameters.values() if p.name != "self"]
    except ValueError:
        return None
    if function.__name__ != name and callable(getattr(torch, function.__name__, None)):
        theirs = getattr(torch, function.__name__)  # PyTorch documents other names of the same only as such
    stated = signatures_of_torch(theirs)
    if not stated:
        return None
    # One function here may stand for several signatures; then an argument of one of them is optional.
    optional = set().union(*({p.name for p in s} for s in stated)) if len(stated) > 1 else set()
    return min((list(disagreements(ours, s, optional)) for s in stated), key=len)


@pytest.mark.parametrize("namespace, name", SHARED)
def test_arguments_are_pytorch_s(namespace, name):
    dotted = f"{namespace}.{name}" if namespace else name
    found = differs(namespace, name)
    if dotted in differences.SIGNATURES:
        assert found, f"{dotted} agrees with PyTorch by now: take it off the list of exceptions"
    else:
        assert not found


def test_exceptions_are_of_names_that_exist():
    compared = {f"{n}.{m}" if n else m for n, m in (p.values for p in SHARED)}
    assert set(differences.SIGNATURES) - compared == set()
    unread = [p.id for p in SHARED if differs(*p.values) is None]
    assert len(unread) < 0.2 * len(SHARED), unread  # most are inspected


# ---- result dtypes and error classes ---------------------------------------------------------------------------------

UNARY = """
    abs acos acosh asin asinh atan atanh bitwise_not ceil clone conj corrcoef cos cosh count_nonzero cov deg2rad detach
    diag diff erf erfc exp exp2 expm1 fix floor frac histc isfinite isinf isnan isneginf isposinf isreal log log10 log1p
    log2 logical_not logit nan_to_num neg positive rad2deg reciprocal relu round rsqrt sgn sigmoid sign signbit sin sinc
    sinh sqrt square tan tanh trunc sum mean prod nansum nanmean max min amax amin aminmax argmax argmin any all var std
    var_mean std_mean norm median nanmedian sort msort argsort unique tril triu trace argwhere nonzero special.expit
    nn.functional.gelu nn.functional.silu nn.functional.softplus nn.functional.elu nn.functional.leaky_relu
    nn.functional.relu6 nn.functional.hardtanh nn.functional.mish nn.functional.selu nn.functional.logsigmoid
    nn.functional.softsign nn.functional.glu nn.functional.normalize linalg.norm linalg.vector_norm linalg.matrix_norm
""".split()
WITH_DIM = """
    all any cummax cummin cumprod cumsum log_softmax logcumsumexp logsumexp mean prod softmax sum unbind
""".split()
BINARY = """
    add sub mul div floor_divide remainder fmod pow atan2 maximum minimum fmax fmin eq ne lt le gt ge logical_and
    logical_or logical_xor bitwise_and bitwise_or bitwise_xor bitwise_left_shift bitwise_right_shift hypot logaddexp
    logaddexp2 xlogy copysign heaviside nextafter gcd lcm float_power ldexp rsub true_divide isclose matmul mm kron dist
    clamp isin nn.functional.mse_loss nn.functional.l1_loss nn.functional.linear
""".split()
VECTORS = ["dot", "outer", "cross", "inner"]
NUMBERS = (True, 2, 2.5)
FIRST, SECOND = np.array([[1, 0], [1, 1]]), np.array([[1, 1], [1, 1]])


COMPOSED = {
    "cat": lambda m, a, b: m.cat([a, b]),
    "stack": lambda m, a, b: m.stack([a, b]),
    "where": lambda m, a, b: m.where(a > 0, a, b),
    "masked_fill": lambda m, a, b: m.masked_fill(a, b > 0, b[0, 0]),
    "lerp": lambda m, a, b: m.lerp(a, b, 0.5),
    "addcmul": lambda m, a, b: m.addcmul(a, a, b),
    "addcdiv": lambda m, a, b: m.addcdiv(a, a, b),
    "tensordot": lambda m, a, b: m.tensordot(a, b, 1),
    "einsum": lambda m, a, b: m.einsum("ij,kj->ik", a, b),
    "index_add": lambda m, a, b: m.index_add(a, 0, m.tensor([0, 1]), b),
    "scatter": lambda m, a, b: m.scatter(a, 0, m.tensor([[0, 1]]), b),
    "copy_": lambda m, a, b: a.copy_(b),
    "add_": lambda m, a, b: a.add_(b),
    "div_": lambda m, a, b: a.div_(b),
    "__iadd__": lambda m, a, b: a.__iadd__(b),
    "__matmul__": lambda m, a, b: a @ b,
    "setitem": lambda m, a, b: a.__setitem__(0, b[0]) or a,
}


@pytest.mark.parametrize("name", COMPOSED)
def test_result_dtypes_of_further_functions_of_two_tensors(name):
    def outcome_of(module, a, b):
        try:
            return [str(COMPOSED[name](module, module.tensor(a), module.tensor(b)).dtype).rpartition(".")[2]]
        except Exception as error:
            return type(error)

    found = {}
    for a, b in itertools.product(DTYPES, DTYPES):
        arrays = FIRST.astype(a), SECOND.astype(b)
        ours, theirs = outcome_of(tg, *arrays), outcome_of(torch, *arrays)
        if not alike(ours, theirs):
            found[a, b] = (ours, theirs)
    assert bool(found) == (name in differences.DTYPES), found


def outcome(module, name, *args):
    """The dtypes of a result, or the class of the error."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            result = find(module, name)(*(module.tensor(a) if isinstance(a, np.ndarray) else a for a in args))
    except Exception as error:
        return type(error)
    results = result if isinstance(result, (tuple, list)) else (result,)
    return [str(getattr(r, "dtype", type(r))).rpartition(".")[2] for r in results]


def alike(ours, theirs):
    if isinstance(ours, type) and isinstance(theirs, type):
        return issubclass(ours, theirs)
    return ours == theirs


def compare(name, calls):
    found = {}
    for label, args in calls:
        ours, theirs = outcome(tg, name, *args), outcome(torch, name, *args)
        if not alike(ours, theirs):
            found[label] = (ours, theirs)
    if name in differences.DTYPES:
        assert found, f"{name} agrees with PyTorch by now: take it off the list of exceptions"
    else:
        assert not found


@pytest.mark.parametrize("name", UNARY)
def test_result_dtypes_of_functions_of_one_tensor(name):
    compare(name, [(d, (FIRST.astype(d),)) for d in DTYPES])


@pytest.mark.parametrize("name", WITH_DIM)
def test_result_dtypes_along_a_dimension(name):
    compare(name, [(d, (FIRST.astype(d), 1)) for d in DTYPES])


@pytest.mark.parametrize("name", BINARY)
def test_result_dtypes_of_functions_of_two_tensors(name):
    calls = [((a, b), (FIRST.astype(a), SECOND.astype(b))) for a in DTYPES for b in DTYPES]
    calls += [((a, "0-d " + b), (FIRST.astype(a), np.array(1, b))) for a in DTYPES for b in DTYPES if name in
              ("add", "mul", "div", "pow", "eq", "maximum")]  # fmt: skip
    compare(name, calls + [((a, n), (FIRST.astype(a), n)) for a in DTYPES for n in NUMBERS])


@pytest.mark.parametrize("name", VECTORS)
def test_result_dtypes_of_products_of_vectors(name):
    three = np.array([1, 0, 1])
    compare(name, [((a, b), (three.astype(a), three.astype(b))) for a in DTYPES for b in DTYPES])


# ---- the page --------------------------------------------------------------------------------------------------------


def test_the_page_is_up_to_date():
    """`python -m tinygrad_edu.testing.surface` writes it again."""
    is_current = surface.PAGE.read_text("utf-8") == surface.page()
    assert is_current, "run `python -m tinygrad_edu.testing.surface`"


def test_every_public_name_is_proven():
    proof = surface.proofs()
    unproven = [
        f"{namespace}.{name}"
        for namespace in surface.NAMESPACES
        for name, value in surface.offered(namespace).items()
        if not proof(namespace, name, value)
    ]
    assert not unproven


def test_there_is_as_much_as_was_promised():
    shared = [name for namespace in NAMES for name in surface.offered(namespace) if name in NAMES[namespace]]
    assert len(set(shared)) >= 350


def test_every_known_difference_is_of_a_name_that_exists():
    for dotted in differences.OF:
        namespace, _, name = dotted.rpartition(".")
        assert name in surface.offered(namespace), dotted


def test_the_names_of_pytorch_are_those_that_it_has():
    """`python -m tinygrad_edu.testing.surface --names` asks again; the page needs no PyTorch."""
    from tinygrad_edu.torch_names import VERSION

    if VERSION == torch.__version__.partition("+")[0]:
        for namespace, names in NAMES.items():
            assert set(surface.names_of_torch(namespace)) ^ set(names) == set(), namespace
    else:
        assert all(hasattr(torch, name) for name in ("Tensor", "add", "nn"))


def test_the_command_says_how_it_is_used(capsys):
    assert surface.main(["--help-me"]) == 2
    assert "usage: python -m tinygrad_edu.testing.surface" in capsys.readouterr().err
