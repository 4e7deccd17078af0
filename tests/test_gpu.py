"""What is said where a GPU cannot be used, for every reason that there is."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from types import SimpleNamespace

import pytest

import tinygrad_edu as tg
from tinygrad_edu.backend import gpu


@pytest.fixture(autouse=True)
def _anew() -> Iterator[None]:
    """Nothing is known yet of this machine's CuPy."""
    gpu.cupy.cache_clear()
    yield
    gpu.cupy.cache_clear()


class CUDARuntimeError(RuntimeError):
    pass


def _cupy(count):
    runtime = SimpleNamespace(
        CUDARuntimeError=CUDARuntimeError, getDeviceCount=count, is_hip=False, runtimeGetVersion=lambda: 12090
    )
    return SimpleNamespace(__version__="14.0.1", cuda=SimpleNamespace(runtime=runtime))


def _refusal():
    assert not tg.cuda.is_available() and tg.cuda.device_count() == 0
    with pytest.raises(RuntimeError) as caught:
        tg.zeros(2, device="cuda")
    return str(caught.value)


def test_two_wheels(monkeypatch):
    monkeypatch.setattr(gpu, "wheels", lambda: ["cupy-cuda12x", "cupy-rocm-7-0"])
    said = _refusal()
    assert "several CuPy packages are installed (cupy-cuda12x, cupy-rocm-7-0)" in said
    assert "pip uninstall cupy-cuda12x cupy-rocm-7-0" in said and "tinygrad_edu[rocm]" in said


def test_none_at_all(monkeypatch):
    monkeypatch.setattr(gpu, "wheels", lambda: [])
    monkeypatch.setitem(sys.modules, "cupy", None)
    for ask in (
        lambda: tg.zeros(2).cuda(), lambda: tg.nn.Linear(2, 2).to("cuda"), lambda: tg.set_default_device("cuda"),
        lambda: tg.Generator("cuda"), tg.cuda.Stream, tg.cuda.Event, tg.cuda.mem_get_info, tg.cuda.current_stream,
        tg.cuda.default_stream, lambda: tg.tensor([1.0], device=1),
    ):  # fmt: skip
        with pytest.raises(RuntimeError, match=r"'cuda' needs CuPy, which is not installed; install .*\[cuda12\]"):
            ask()


@pytest.mark.parametrize("wheel", ["cupy-cuda13x", "cupy-rocm-7-0"])
def test_a_wheel_for_another_gpu(monkeypatch, wheel):
    """What CuPy's own import says where a library of CUDA or ROCm is missing."""

    class Finder:
        def find_spec(self, name, path=None, target=None):
            if name == "cupy":
                raise ImportError("libamdhip64.so.7: cannot open shared object file")

    monkeypatch.setattr(gpu, "wheels", lambda: [wheel])
    monkeypatch.delitem(sys.modules, "cupy", raising=False)
    monkeypatch.setattr(sys, "meta_path", [Finder(), *sys.meta_path])
    said = _refusal()
    assert said.startswith(
        "CuPy is installed but cannot be loaded (libamdhip64.so.7: cannot open shared object file); "
    )
    assert f"remove it (pip uninstall {wheel}) and install the extra that fits: pip install" in said


def test_no_folder_for_kernels_is_told_from_no_library(monkeypatch):
    for error, said in (
        (PermissionError(13, "Permission denied", "/root/.cupy"), "variable CUPY_CACHE_DIR"),
        (OSError("libcudart.so.12: cannot open shared object file"), "remove it (pip uninstall cupy-cuda12x)"),
    ):

        class Finder:
            def find_spec(self, name, path=None, target=None, error=error):
                if name == "cupy":
                    raise error

        gpu.cupy.cache_clear()
        monkeypatch.setattr(gpu, "wheels", lambda: ["cupy-cuda12x"])
        monkeypatch.delitem(sys.modules, "cupy", raising=False)
        monkeypatch.setattr(sys, "meta_path", [Finder(), *sys.meta_path])
        assert said in _refusal()


def test_a_driver_that_is_too_old(monkeypatch):
    monkeypatch.setattr(gpu, "wheels", lambda: ["cupy-cuda12x"])

    def count():
        raise CUDARuntimeError("cudaErrorInsufficientDriver: the driver is insufficient for the runtime")

    monkeypatch.setitem(sys.modules, "cupy", _cupy(count))
    said = _refusal()
    assert "missing or older than CuPy (14.0.1, for CUDA 12) needs" in said and "update the driver, or take" in said
    assert "pip uninstall cupy-cuda12x" in said and "tinygrad_edu[cuda13]" in said


def test_no_gpu(monkeypatch):
    monkeypatch.setitem(sys.modules, "cupy", _cupy(lambda: 0))
    assert "needs a GPU that CuPy can use (it found none); use device='cpu'" in _refusal()


def test_a_graph_without_a_gpu(monkeypatch):
    monkeypatch.setattr(gpu, "is_available", lambda: False)
    with pytest.warns(UserWarning, match="double runs as it is .* cannot be captured: there is no GPU here") as caught:

        @tg.cuda.graph
        def double(x):
            return [x * 2]

    assert [w.filename for w in caught] == [__file__]
    assert [double(tg.full((2,), float(i)))[0].tolist() for i in range(6)] == [[2.0 * i] * 2 for i in range(6)]
    with pytest.raises(TypeError, match="expected a function to capture, got Tensor"):
        tg.cuda.graph(tg.zeros(1))


def test_bad_names_of_devices():
    for name in ("gpu", "cuda:x", "cuda:-1", "mps"):
        with pytest.raises(RuntimeError, match="device"):
            tg.zeros(2, device=name)
    with pytest.raises(RuntimeError, match="invalid device string 'cuda:x'; write 'cpu', 'cuda' or 'cuda:1'"):
        tg.device("cuda:x")
    with pytest.raises(RuntimeError, match="unknown device 'gpu'; expected 'cpu', 'cuda' or a GPU's number"):
        tg.device("gpu")
    with pytest.raises(RuntimeError, match="must not be negative, got -1; the first GPU is 'cuda:0'"):
        tg.device("cuda", -1)
    assert tg.device(1) == tg.device("cuda:1") == tg.device("cuda", 1)
