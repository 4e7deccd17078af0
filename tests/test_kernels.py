"""The kernels for the CPU: each against the op that it stands for, and what they leave alone."""

from __future__ import annotations

import importlib
import os
import pickle
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import tinygrad_edu as tg
from tinygrad_edu import dispatch, kernels
from tinygrad_edu.dispatch import use_kernels
from tinygrad_edu.nn import functional as F
from tinygrad_edu.ops.activation import Gelu
from tinygrad_edu.ops.linalg import Linear
from tinygrad_edu.testing import op_table

pytest.importorskip("numba", reason="the extra 'fast' is not installed")
pytestmark = pytest.mark.usefixtures("fused")
ROOT = Path(__file__).parents[1]


@pytest.fixture
def used(monkeypatch):
    """Every kernel loaded and run however small its inputs are; the set fills with the names of the twins that ran."""
    from tinygrad_edu.kernels.cpu.twin import Twin

    names: set[str] = set()
    select = dispatch.select

    def watched(op, *rest):
        pair = select(op, *rest)
        if pair is not op:
            names.add(op.name)
        return pair

    for name, (module, twin) in kernels._CPU.items():
        loaded = kernels.load(name, "cpu", module, twin)
        assert issubclass(loaded, Twin)
        monkeypatch.setattr(loaded, "smallest", 0)
    monkeypatch.setattr(dispatch, "_smallest", dict.fromkeys(kernels._CPU, 0))
    monkeypatch.setattr(kernels, "FEW", 0)
    monkeypatch.setattr(kernels, "FEW_BY_ONE", 0)
    monkeypatch.setattr(dispatch, "select", watched)
    return names


RECORDS = [
    pytest.param(record, id=f"{family}-{record.name}")
    for family, records in op_table.records().items()
    for record in records
]


@pytest.mark.parametrize("record", RECORDS)
def test_every_record_gives_the_same_with_kernels(record, used):
    op_table.check_twins(record)


def test_every_twin_runs_in_some_sample(used):
    """The test above sees only twins that run: each does, on a sample of a record that needs it."""
    for param in RECORDS:
        record = param.values[0]
        if used >= kernels._CPU.keys():
            break
        for sample, _ in op_table.cases(record):
            op_table.Call(op_table.OURS, record, sample, "float32" if None not in op_table.dtypes_of(sample) else None)
    assert used == kernels._CPU.keys()


def run(program: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """The program in a process of its own, with two threads unless told otherwise."""
    two = {"OMP_NUM_THREADS": "2", "OPENBLAS_NUM_THREADS": "2", "TINYGRAD_EDU_KERNELS": "auto"}
    paths = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    return subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=300,
        env={**os.environ, **two, "PYTHONPATH": paths, **environment},
    )  # fmt: skip


def answer(program: str, **environment: str) -> str:
    """What the program prints; it must end well and say nothing on standard error but that kernels are compiled."""
    done = run(program, **environment)
    said = [line for line in done.stderr.splitlines() if not line.startswith("tinygrad_edu: compiling kernels")]
    assert done.returncode == 0 and not said, done.stderr
    return done.stdout


STEPS = """
import hashlib, sys
import tinygrad_edu as tg
from gpt.config import GPTConfig
from gpt.model import GPT

tg.manual_seed(7)
model = GPT(GPTConfig(block_size=64, vocab_size=256, n_layer=2, n_head=4, n_embd=128, dropout=0.1))
optimizer = model.configure_optimizers(0.1, 1e-3, (0.9, 0.99), muon=True)
for _ in range(3):
    x, y = tg.randint(256, (8, 64)), tg.randint(256, (8, 64))
    loss = model(x, y)[1]
    loss.backward()
    tg.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    optimizer.zero_grad()
bits = hashlib.sha256(b"".join(p.detach().numpy().tobytes() for p in model.parameters())).hexdigest()
from tinygrad_edu import dispatch
print(bits, float(loss), sorted(name for name, twin in dispatch._twins.items()))
"""


def test_training_gives_the_same_bits_from_run_to_run():
    first, second = answer(STEPS), answer(STEPS)
    assert first == second
    one = answer(STEPS, OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1")
    assert one == answer(STEPS, OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1")
    reference = answer(STEPS, TINYGRAD_EDU_KERNELS="reference").split()
    assert reference[0] != first.split()[0], "the kernels did not run"
    assert float(reference[1]) == pytest.approx(float(first.split()[1]), rel=1e-5)


FORK = """
import os
import numpy as np
import tinygrad_edu as tg
from tinygrad_edu.nn import functional as F

x, w = tg.randn(256, 128), tg.randn(64, 128)
before = F.linear(x, w)
child = os.fork()
if child == 0:
    y = F.linear(x, w)
    os._exit(0 if np.allclose(y.numpy(), before.numpy(), rtol=1e-4, atol=1e-4) else 3)
assert np.array_equal(F.linear(x, w).numpy(), before.numpy())
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_forked_child_goes_on_with_the_readable_ops():
    assert answer(FORK) == "0\n"


WAITING = """
import os
import tinygrad_edu as tg

tg.randn(256, 256) @ tg.randn(256, 256)
print(sorted(name for name in os.environ if name.startswith("GOMP")))
"""


def test_threads_wait_briefly_for_each_other_unless_the_user_says_otherwise():
    """OpenMP itself tells how long; else a busy machine would slow kernels down several times."""
    done = run(WAITING, OMP_DISPLAY_ENV="verbose")
    if "GOMP_" not in done.stderr:
        pytest.skip("the threads are not of GNU's OpenMP")
    assert "GOMP_SPINCOUNT = '4000'" in done.stderr and done.stdout == "[]\n", done.stderr
    assert "GOMP_SPINCOUNT = '7'" in run(WAITING, OMP_DISPLAY_ENV="verbose", GOMP_SPINCOUNT="7").stderr
    assert "GOMP_SPINCOUNT = '0'" in run(WAITING, OMP_DISPLAY_ENV="verbose", OMP_WAIT_POLICY="passive").stderr


BLAS_THREADS = """
import numpy as np
from threadpoolctl import threadpool_info
import tinygrad_edu as tg
from tinygrad_edu.nn import functional as F

def count():  # by library: Numba may load SciPy's beside NumPy's
    return {found["filepath"]: found["num_threads"] for found in threadpool_info() if found["user_api"] == "blas"}

before = count()
F.linear(tg.randn(256, 128), tg.randn(64, 128))
after = count()
assert before and all(after[library] == n for library, n in before.items()), (before, after)
tg.set_num_threads(1)
from tinygrad_edu.kernels.cpu import threads
assert threads.number() == 1 == tg.get_num_threads()
tg.set_num_threads(2)
assert tg.get_num_threads() == 2
print(threads.number())
"""


def test_the_threads_of_other_numpy_code_stay_as_they_were():
    assert int(answer(BLAS_THREADS)) == min(2, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 2)


WITHOUT = """
import sys
import warnings
{prelude}
import tinygrad_edu as tg
from tinygrad_edu import dispatch
from tinygrad_edu.nn import functional as F
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    y = F.linear(tg.ones(256, 128), tg.ones(64, 128))
assert float(y.sum()) == 256 * 64 * 128 and not dispatch.twins_in_use()
print(*[str(w.message) for w in caught])
"""


def test_without_numba_the_readable_ops_serve():
    assert answer(WITHOUT.format(prelude="sys.modules['numba'] = None")) == "\n"


def test_a_numba_that_does_not_load_is_named_once(tmp_path):
    (tmp_path / "numba.py").write_text("raise ImportError('made for another NumPy')")
    said = answer(WITHOUT.format(prelude=f"sys.path.insert(0, {str(tmp_path)!r})"))
    assert "cannot be used" in said and "made for another NumPy" in said and said.count("readable ops") == 1


def test_where_the_blas_cannot_be_called_numpy_multiplies(monkeypatch):
    blas = importlib.import_module("tinygrad_edu.kernels.cpu.blas")
    a, b, bias = (np.random.rand(*shape).astype("f") for shape in ((200, 100), (100, 300), (300,)))
    expected = blas.product(a, b, bias)
    if blas.BLAS is not None:
        assert np.abs(expected - (a @ b + bias)).max() < 1e-4
    monkeypatch.setattr(blas, "BLAS", None)
    np.testing.assert_allclose(blas.product(a, b, bias), expected, rtol=1e-5)
    np.testing.assert_allclose(blas.product(a, b), a @ b, rtol=1e-6)
    assert blas.product(a[:, :0], b[:0], bias).shape == (200, 300)


@pytest.mark.parametrize("count", [1, 2, 3, 4, 6, 12])
def test_blocks_use_all_threads_and_cover_the_result(count):
    blas = importlib.import_module("tinygrad_edu.kernels.cpu.blas")
    for n, m in ((1, 50257), (50257, 1), (768, 384), (7, 3)):
        rows, columns = blas.blocks(n, m, count)
        assert rows * columns == count
    assert blas.blocks(50257, 1, count) == (count, 1)
    assert blas.blocks(1, 50257, count) == (1, count)


@pytest.mark.parametrize("special", [np.nan, np.inf, -np.inf, 88.8, -87.4, -103.9, 1e-42, 0.0])
def test_exp_of_special_numbers(special):
    numba = importlib.import_module("numba")
    exp = importlib.import_module("tinygrad_edu.kernels.cpu.arithmetic").exp
    over = numba.njit(lambda x: exp(x))
    with np.errstate(all="ignore"):
        expected = np.exp(np.float64(np.float32(special))).astype("f")
    np.testing.assert_allclose(over(np.float32(special)), expected, rtol=2e-7, atol=1.5e-45)


def test_exp_is_right_to_two_units_in_the_last_place():
    numba = importlib.import_module("numba")
    exp = importlib.import_module("tinygrad_edu.kernels.cpu.arithmetic").exp
    x = np.linspace(-87, 88.7, 200_001).astype("f")
    y = numba.vectorize(["float32(float32)"])(lambda x: exp(x))(x)
    truth = np.exp(x.astype("d"))
    assert (np.abs(y - truth) / truth).max() < 1.2e-7


def test_exp2_is_right_to_two_units_in_the_last_place_and_then_0_or_infinite():
    numba = importlib.import_module("numba")
    exp2 = importlib.import_module("tinygrad_edu.kernels.cpu.arithmetic").exp2
    over = numba.vectorize(["float32(float32)"])(lambda x: exp2(x))
    x = np.linspace(-126, 127.4, 200_001).astype("f")
    truth = np.exp2(x.astype("d"))
    assert (np.abs(over(x) - truth) / truth).max() < 1.2e-7
    special = np.array([-np.inf, -1e30, -126.6, 0, 127.6, 1e30, np.inf, np.nan], "f")
    with np.errstate(all="ignore"):
        found = over(special)
    np.testing.assert_array_equal(found, np.array([0, 0, 0, 1, np.inf, np.inf, np.inf, np.nan], "f"))


@pytest.mark.parametrize("axis", [(0, 1, 2), (1, 2), (2,), (0,), (1, 0)])
@pytest.mark.parametrize("shape", [(3, 5, 4097), (130, 2, 3), (1, 9000, 1), (2, 257, 8200)])
def test_sums_across_blocks_are_right_and_in_memory_of_their_own(shape, axis):
    reduction = importlib.import_module("tinygrad_edu.kernels.cpu.reduction")
    x = np.random.default_rng(0).standard_normal(shape, np.float32)
    if not kernels.at_an_end(x, axis):
        assert np.prod([shape[i] for i in axis]) == 1
        return
    y = reduction.total(x, axis, True)
    bound = 2e-6 * np.abs(x).sum(axis, np.float64, keepdims=True)
    assert (np.abs(y - x.sum(axis, np.float64, keepdims=True)) <= bound).all() and not np.shares_memory(x, y)
    assert np.array_equal(reduction.total(x, axis, False), y.squeeze(axis))


SMALL = """
import sys
import tinygrad_edu as tg
x = tg.randn(32, 30, requires_grad=True)
(tg.nn.functional.gelu(tg.nn.Linear(30, 200)(x), approximate="tanh")).sum().backward()
print("numba" in sys.modules)
"""


def test_small_tensors_load_no_kernels():
    assert answer(SMALL) == "False\n"


@pytest.mark.parametrize("count", [1, 2])
def test_every_task_is_done_once_and_missing_memory_is_told(count, monkeypatch):
    compiling, threads = (importlib.import_module(f"tinygrad_edu.kernels.cpu.{n}") for n in ("compiling", "threads"))
    monkeypatch.setattr(compiling, "cache_folder", lambda: None)

    @compiling.kernel("int64, float32[::1]")
    def count_up(first, last, size, y):
        for i in range(first, last):
            room = np.empty(size, np.float32)
            room[0] = 1
            y[i] += room[0]

    before = threads.number()
    threads.set_number(count)
    try:
        for n in (0, 1, 2, 7):
            y = np.zeros(9, np.float32)
            count_up(n, 3, y)
            np.testing.assert_array_equal(y, np.arange(9) < n)
        with pytest.raises(MemoryError, match="no memory for what a kernel keeps meanwhile"):
            count_up(7, 2**58, y)
    finally:
        threads.set_number(before)


@pytest.mark.slow
def test_several_processes_compile_at_once_into_an_empty_folder(tmp_path):
    environment = {"NUMBA_CACHE_DIR": str(tmp_path)}
    two = {"OMP_NUM_THREADS": "2", "OPENBLAS_NUM_THREADS": "2", "PYTHONPATH": str(ROOT)}
    started = [
        subprocess.Popen([sys.executable, "-c", STEPS], env={**os.environ, **two, **environment},
                         stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(3)
    ]  # fmt: skip
    ended = [(p.communicate(timeout=300), p.returncode) for p in started]
    assert {code for _, code in ended} == {0}, ended
    assert len({out for (out, _), _ in ended}) == 1
    assert sum("once" in err for (_, err), _ in ended) == 1  # who came first says it
    assert "compiling" not in run(STEPS, **environment).stderr


@pytest.mark.parametrize(
    ("file", "damage"),
    [
        ("update._scale/*/*.nbc", lambda b: b[: len(b) // 2]),
        ("update._scale/*/*.nbi", lambda b: b""),
        ("linear._sum_rows/*/*.nbc", lambda b: bytes(len(b))),
        ("linear._sum_rows/*/*.nbc", lambda b: b[:9000] + b"garbage" * 500 + b[12500:]),  # where the machine code is
        ("update._square_sums/hash", lambda b: b"\xff\xfe"),
    ],
    ids=["truncated", "empty", "zeros", "garbage", "another hash"],
)
def test_a_damaged_file_is_compiled_anew(file, damage, tmp_path):
    from tinygrad_edu.kernels.cpu import compiling

    expected, folder = answer(STEPS), tmp_path / compiling.cache_folder().name
    shutil.copytree(compiling.cache_folder(), folder)
    (found,) = folder.glob(file)
    found.write_bytes(damage(found.read_bytes()))
    home = folder / found.relative_to(folder).parts[0]
    assert not compiling._is_whole(home)
    assert answer(STEPS, NUMBA_CACHE_DIR=str(tmp_path)) == expected
    assert compiling._is_whole(home)


@pytest.mark.slow
def test_a_folder_that_cannot_be_written_means_no_cache(tmp_path):
    closed = tmp_path / "a file, no folder"
    closed.write_text("")
    done = run(STEPS, NUMBA_CACHE_DIR=str(closed))
    assert done.returncode == 0, done.stderr


def test_arrays_from_files_and_pickles_run_on_kernels(tmp_path):
    """Their dtype is float32, but not the same object as that of arrays that NumPy makes."""
    from tinygrad_edu.kernels.cpu import stacks, update

    x = tg.randn(4, 64, 128)
    tg.save({"x": x}, tmp_path / "x.safetensors")
    read = tg.load(tmp_path / "x.safetensors")["x"]
    for y in (x, read, read + 0, tg.from_numpy(pickle.loads(pickle.dumps(x.numpy())))):
        assert np.array_equal(F.gelu(y).numpy(), F.gelu(x).numpy())
        assert dispatch.select(Gelu, y._array, [y._array], {}) is not Gelu
        assert kernels.fused_update([y._array]) is update
        assert stacks.accept(y._array, y._array.swapaxes(1, 2))


def test_the_list_of_a_step_is_what_a_step_compiles():
    from tinygrad_edu.kernels.cpu.compiling import OF_A_STEP

    program = STEPS + """
from tinygrad_edu.kernels.cpu.compiling import Compiled
found = {(name.rpartition(".")[2], attribute) for name, module in sys.modules.items()
         if name.startswith("tinygrad_edu.kernels.cpu.") for attribute, value in vars(module).items()
         if isinstance(value, Compiled) and value.compiled is not None and value.function.__module__ == name}
print(sorted(found))
"""
    assert answer(program).splitlines()[-1] == repr(sorted(OF_A_STEP))


def test_use_kernels_switches_within_a_program():
    x, w = tg.randn(256, 128), tg.randn(64, 128)
    with use_kernels("reference"):
        reference = F.linear(x, w)
    with use_kernels("auto"):
        fused = F.linear(x, w)
    np.testing.assert_allclose(fused.numpy(), reference.numpy(), rtol=1e-5, atol=1e-5)


FIRST = """
import numpy as np, tinygrad_edu as tg
from tinygrad_edu.nn import functional as F
rng = np.random.default_rng(0)
{sizes}
x, w, b = (tg.tensor(rng.standard_normal(s).astype("f")) for s in ((rows, k), (columns, k), (columns,)))
first = F.linear(x, w, b), x @ w.T  # nothing is loaded before this
F.linear(tg.randn(512, 64), tg.randn(64, 64)), F.softmax(tg.randn(512, 64), -1)
again = F.linear(x, w, b), x @ w.T
print(all(np.array_equal(p.numpy(), q.numpy()) for p, q in zip(first, again)))
"""


@pytest.mark.parametrize("rows, k, columns", [(16, 128, 512), (1, 128, 512), (3, 20, 50)])
def test_a_product_rounds_the_same_before_kernels_are_loaded(rows, k, columns):
    assert answer(FIRST.format(sizes=f"rows, k, columns = {rows}, {k}, {columns}")) == "True\n"


def test_products_that_the_blas_would_share_out_are_the_kernels():
    """The BLAS's own threads and the kernels' would wait for each other."""
    w = tg.randn(512, 128)
    for rows, shared in ((16, True), (4, False), (1, True)):
        x = tg.randn(rows, 128)
        pair = dispatch.select(Linear, x._array, [x._array, w._array, None], {})
        assert (pair is not Linear) == shared
