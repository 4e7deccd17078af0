"""Which GPU this machine has, which extra of this package serves it, and whether CuPy works here.

Nothing but `try_cupy` imports CuPy: what is wrong with an installation has to be told where the import fails. Nor is
anything else imported that has to be installed: `python -P machine.py` prints the extra to install.
"""

from __future__ import annotations

import ctypes
import os
import re
import shutil
import sys
from pathlib import Path
from typing import Any, NamedTuple

# By extra, the wheels that run where it fits. Those that were built from source may run anywhere.
_SERVING = {
    "cuda12": "cupy|cupy-cuda12x",
    "cuda13": "cupy|cupy-cuda1[23]x",
    "rocm": "cupy|cupy-rocm-7-.+",
}
_NO_DEVICE = 100  # CUresult: CUDA_ERROR_NO_DEVICE
_CAPABILITY = 75, 76  # CUdevice_attribute: COMPUTE_CAPABILITY_MAJOR and _MINOR
_TURING = 7, 5  # the oldest cards that CUDA 13 serves
_NVIDIA, _DISPLAY = "0x10de", "0x03"  # a vendor and a class of PCI devices


class Gpu(NamedTuple):
    """What there is to compute on besides the CPU, in words, and which extra of this package has the CuPy for it."""

    says: str
    extra: str | None = None  # None: no CuPy would run here


def find_gpu() -> Gpu | None:
    """The GPU of this machine, by its driver; None: there is none."""
    return _nvidia() or _amd() or _without_driver()


def serves(wheel: str, extra: str) -> bool:
    """Whether this wheel of CuPy runs where the extra fits."""
    return re.fullmatch(_SERVING[extra], wheel) is not None


def try_cupy() -> str:
    """Compute something with CuPy, for which it compiles a kernel and loads its BLAS; says what it found.

    Raises what CuPy raises.
    """
    import cupy

    from . import gpu

    runtime = cupy.cuda.runtime
    count = runtime.getDeviceCount()
    x = cupy.arange(4, dtype="float32").reshape(2, 2)
    sums = float((x * x).sum()), float((x @ x).sum())
    if sums != (14.0, 22.0):
        raise RuntimeError(f"CuPy computed {sums}, expected (14.0, 22.0)")
    gpu.cupy()  # which asks for more than that, so that the device "cuda" works too
    name = runtime.getDeviceProperties(0)["name"].decode(errors="replace")
    memory = runtime.memGetInfo()[1] / 2**30
    numbers = runtime.runtimeGetVersion(), runtime.driverGetVersion()
    own, driver = [_version(number, runtime.is_hip) for number in numbers]
    platform = "ROCm" if runtime.is_hip else "CUDA"
    return f"{count} x {name}, {memory:.0f} GiB; {platform} {own}, driver for {driver}"


def _version(number: int, hip: bool = False) -> str:
    """CUDA writes 12.4 as 12040. HIP writes 7.0 as 70000000, with the patch in the last five digits."""
    return f"{number // 10**7}.{number // 10**5 % 100}" if hip else f"{number // 1000}.{number % 1000 // 10}"


def _nvidia() -> Gpu | None:
    driver = _library("libcuda.so.1", "nvcuda.dll")
    if driver is None:
        return None
    version, count = ctypes.c_int(), ctypes.c_int()
    if driver.cuDriverGetVersion(ctypes.byref(version)):
        return None
    says = f"driver {_kernel_driver()}for CUDA {_version(version.value)}"
    if error := driver.cuInit(0) or driver.cuDeviceGetCount(ctypes.byref(count)):
        return None if error == _NO_DEVICE else Gpu(f"NVIDIA's {says}, which does not start (error {error})")
    if not count.value:
        return None
    names, capabilities = [], []
    for index in range(count.value):
        device, name = ctypes.c_int(), ctypes.create_string_buffer(256)
        driver.cuDeviceGet(ctypes.byref(device), index)
        driver.cuDeviceGetName(name, len(name), device)
        capability = ctypes.c_int(), ctypes.c_int()
        for number, attribute in zip(capability, _CAPABILITY, strict=True):
            driver.cuDeviceGetAttribute(ctypes.byref(number), attribute, device)
        names.append(name.value.decode(errors="replace"))
        capabilities.append((capability[0].value, capability[1].value))
    cards = names[0] if count.value == 1 else f"{count.value} cards, {', '.join(dict.fromkeys(names))}"
    if version.value < 12000:
        return Gpu(f"{cards}, {says}, which is too old: CUDA 12 is the least")
    extra = "cuda13" if version.value >= 13000 and min(capabilities) >= _TURING else "cuda12"
    return Gpu(f"{cards}, {says}", extra)


def _kernel_driver() -> str:
    try:
        found = re.search(r"Module.*?\s(\d+\.[\d.]+)", Path("/proc/driver/nvidia/version").read_text("utf-8"))
    except (OSError, ValueError):
        return ""
    return f"{found[1]} " if found else ""


def _amd() -> Gpu | None:
    named = next(filter(None, map(os.environ.get, ("ROCM_HOME", "ROCM_PATH"))), "/opt/rocm")
    if not Path(named).is_dir() and shutil.which("rocminfo") is None:
        return None
    try:
        version = Path(named, ".info", "version").read_text("utf-8").strip()
    except (OSError, ValueError):
        version = ""
    says = f"AMD, ROCm{version and ' ' + version} in {named}"
    if version and not version.startswith("7."):
        return Gpu(f"{says}, where ROCm 7 is needed")
    return Gpu(says, "rocm")


def _without_driver() -> Gpu | None:
    for device in Path("/sys/bus/pci/devices").glob("*"):
        try:
            vendor, kind = [(device / name).read_text("ascii").strip() for name in ("vendor", "class")]
        except (OSError, ValueError):
            continue
        if vendor == _NVIDIA and kind.startswith(_DISPLAY):
            return Gpu("an NVIDIA card, but its driver is not installed, or not passed on to this container")
    return None


def _library(*names: str) -> Any:
    for name in names:
        try:
            return ctypes.CDLL(name)
        except OSError:
            continue
    return None


def _extra_to_install(given: str) -> str:
    """The extra that was given, or else the one that fits. ValueError: there is no such extra, or no GPU."""
    if given:
        if given not in _SERVING:
            raise ValueError(f"there is no extra {given!r} with a CuPy; expected {', '.join(_SERVING)}")
        return given
    found = find_gpu()
    if found is None or found.extra is None:
        there = "found none" if found is None else f"found {found.says}"
        names = ", ".join(_SERVING)
        raise ValueError(f"a GPU that CuPy can use is needed, but {there}; use the CPU, or name the extra ({names})")
    return found.extra


if __name__ == "__main__":
    try:
        print(_extra_to_install("".join(sys.argv[1:])))
    except ValueError as error:
        sys.exit(f"error: {error}")
