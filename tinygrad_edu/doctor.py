"""`python -m tinygrad_edu.doctor` looks at this machine and says what works, what does not, and how to mend it.

One line for each check: "ok"; "note", worth knowing; or "broken": something that was promised does not work, with the
command that mends it. The exit status is 1 if anything is broken.

Other packages add checks by an entry point in the group "tinygrad_edu.doctor" that names a sequence of `Check`.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import importlib.metadata
import importlib.util
import json
import os
import platform
import re
import shutil
import sys
import tempfile
import textwrap
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

import tinygrad_edu as tg
from tinygrad_edu import dispatch, nn, optim
from tinygrad_edu.backend import gpu, machine

OK, NOTE, BROKEN = "ok", "note", "broken"
COLOURS = {OK: "32", NOTE: "33", BROKEN: "1;31"}
LOW_DISK, NO_DISK = 2 * 10**9, 50 * 10**6  # bytes


class Finding(NamedTuple):
    """What a check found, in a sentence, and the commands that mend it."""

    level: str
    says: str
    fix: tuple[str, ...] = ()


class Check(NamedTuple):
    """One line of the report. `look` returns None where there is nothing to look at; what it raises is reported."""

    name: str
    look: Callable[[], Finding | None]
    fix: str  # if `look` raises


def shown(path: str | Path) -> str:
    """A path as it would be typed here: below this folder, or in full."""
    with contextlib.suppress(OSError, ValueError):  # this folder was deleted, or is on another drive
        path = min(str(path), os.path.relpath(path), key=len)
    return str(path)


def pip(arguments: str) -> str:
    """The command that runs pip for the Python that runs this."""
    python = shown(sys.executable)
    return f'"{python}" -m pip {arguments}' if " " in python else f"{python} -m pip {arguments}"


def first_cause(error: BaseException) -> BaseException:
    """What first went wrong."""
    while error.__cause__ is not None:
        error = error.__cause__
    return error


def in_words(error: BaseException) -> str:
    """What first went wrong, on one line: libraries write errors over several, with rules between them."""
    error = first_cause(error)
    text = " ".join(re.sub(r"[=*-]{4,}", " ", str(error)).split())
    return f"{type(error).__name__}: {text if len(text) <= 240 else text[:236] + ' ...'}".removesuffix(": ")


def can_write(folder: Path) -> bool:
    """Whether files can be written in a folder, or in the nearest one above it if it is still to be made."""
    try:
        with tempfile.TemporaryFile(dir=next(f for f in (folder, *folder.parents) if f.exists())):
            return True
    except OSError:
        return False


def _python() -> Finding:
    return Finding(OK, f"{platform.python_version()}, {platform.system()} {platform.machine()}, {os.cpu_count()} cores")


def _package() -> Finding:
    here, installed = shown(Path(tg.__file__).parent), _installed("tinygrad_edu")
    if installed != tg.__version__:
        says = f"version {tg.__version__} in {here}, but {installed or 'none'} is installed; checks may be missing"
        return Finding(BROKEN if installed else NOTE, says, (pip("install -e ."),))
    needs = [line for line in importlib.metadata.requires("tinygrad_edu") or () if "extra ==" not in line]
    if missing := " ".join(name for name in (re.split(r"[^\w.-]", line)[0] for line in needs) if not _installed(name)):
        return Finding(BROKEN, f"it needs what is not installed: {missing}", (pip(f"install {missing}"),))
    return Finding(OK, f"{installed} in {here}")


def _installed(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _numpy() -> Finding:
    from threadpoolctl import threadpool_info

    blas = [f for f in threadpool_info() if f["user_api"] == "blas" and "numpy" in f["filepath"].replace("\\", "/")]
    if not blas:
        return Finding(NOTE, f"{np.__version__} with a BLAS that is not known")
    threads, cores = blas[0]["num_threads"], os.cpu_count() or 1
    says = f"{np.__version__} with {blas[0]['internal_api']} {blas[0]['version']}, {threads} of {cores} threads"
    return Finding(NOTE if threads < cores else OK, says)


def _numba() -> Finding:
    if importlib.util.find_spec("numba") is None:
        says = "not installed: the readable ops compute, some times slower than kernels"
        return Finding(NOTE, says, (pip('install "tinygrad_edu[fast]"'),))
    import numba

    from tinygrad_edu.kernels.cpu import compiling, threads

    folder = compiling.cache_folder()
    if folder is None:
        says = f"{numba.__version__}, but no folder takes the compiled kernels, so each program compiles them anew"
        return Finding(BROKEN, says, (f"export NUMBA_CACHE_DIR={Path(tempfile.gettempdir(), 'numba')}",))
    count = len(list(folder.glob("*/hash")))
    says = f"{numba.__version__}, {threads.number()} threads; {count} kernels are compiled in {shown(folder.parent)}"
    off = Finding(NOTE, f"{says}; they are switched off (TINYGRAD_EDU_KERNELS=reference)")
    return Finding(OK, says) if dispatch.twins_in_use() else off


def _gpu() -> Finding:
    found = machine.find_gpu()
    if found is None:
        return Finding(OK, "none, and none is needed: everything runs on the CPU")
    if found.extra is None:
        return Finding(NOTE, f"{found.says}; the CPU computes")
    return Finding(OK, f"{found.says}; the extra {found.extra} fits")


def _cupy() -> Finding | None:
    found, wheels = machine.find_gpu(), gpu.wheels()
    extra = found.extra if found else None
    install = () if extra is None else (pip(f'install "tinygrad_edu[{extra}]"'),)
    if not wheels:
        return Finding(NOTE, "not installed, so the GPU is not used", install) if install else None
    named = ", ".join(f"{wheel} {_installed(wheel)}" for wheel in wheels)
    instead = (pip(f"uninstall -y {' '.join(wheels)}"), *install)
    if len(wheels) > 1:
        return Finding(BROKEN, f"{named} are installed together and spoil each other", instead)
    if extra is not None and not machine.serves(wheels[0], extra):
        return Finding(BROKEN, f"{named} does not fit this machine's GPU, for which the extra {extra} is", instead)
    try:
        worked = machine.try_cupy()
    except Exception as error:
        if found is None and not isinstance(error, (ImportError, OSError)):
            return Finding(NOTE, f"{named} is installed and finds no GPU ({in_words(error)})")
        failed = _gpu_failure(error, instead)
        return failed._replace(says=f"{named} does not work: {failed.says}")
    return Finding(OK, f"{named}: {worked}")


def _gpu_failure(error: BaseException, otherwise: tuple[str, ...]) -> Finding:
    """What an error of CuPy means, with the command that belongs to it, or these others."""
    cause, wheel = first_cause(error), "".join(gpu.wheels()[:1])
    text = f"{type(error).__name__}: {cause}"
    driver, newer = ("rocm-smi", "rocm.docs.amd.com") if "rocm" in wheel else ("nvidia-smi", "nvidia.com/drivers")

    def says(*words: str) -> bool:
        return re.search("|".join(words), text, re.IGNORECASE) is not None

    meaning, fix = "", otherwise
    if says("OutOfMemory", "MemoryAllocation", "out of memory"):
        meaning, fix = "the GPU's memory is full: ", (f"{driver}  # says what fills it",)
    elif says("InsufficientDriver", "UNSUPPORTED_PTX", "UnsupportedPtx"):
        meaning, fix = "the driver is too old for this CuPy: ", (f"{driver}  # says which it is; newer: {newer}",)
    elif says("NoBinaryForGpu", "NO_BINARY_FOR_GPU", "InvalidImage", "INVALID_IMAGE", "InvalidKernelImage"):
        meaning, fix = "a compiled kernel is damaged, or is another GPU's: ", (f"rm -rf {_CUPY_CACHE}",)
    elif isinstance(cause, OSError) and str(cause.filename) in str(Path(_CUPY_CACHE).expanduser()):
        meaning, fix = "compiled kernels cannot be kept: ", (_OTHER_CUPY_CACHE,)
    elif "cuda" in wheel and says("nvrtc", "cublas", "cudart", "toolkit", "cannot open source file"):
        meaning, fix = "a part of CUDA is missing: ", (pip(f'install "{wheel}[ctk]"'),)
    elif says("CompileException"):
        meaning = "a kernel does not compile: "
    return Finding(BROKEN, f"{meaning}{in_words(error)}", fix)


def _disk() -> Finding:
    here = Path.cwd()
    free, writable = shutil.disk_usage(here).free, can_write(here)
    says = f"{free / 1e9:.1f} GB free in {here}{'' if writable else ', where nothing can be written'}"
    if free < NO_DISK:
        return Finding(BROKEN, f"{says}: too little; delete what is large", ("du -h -d 1 . | sort -h",))
    return Finding(OK if free > LOW_DISK and writable else NOTE, says)


@functools.cache
def _train(device: str, kernels: str) -> tuple[float, float]:
    """Milliseconds of a step of a small language model, the fastest of seven, and the loss in the last."""
    times = []
    with dispatch.use_kernels(kernels):
        tg.manual_seed(0)
        inner = nn.LayerNorm(128), nn.Linear(128, 512), nn.GELU()
        model = nn.Sequential(nn.Embedding(256, 128), *inner, nn.Linear(512, 256)).to(device)
        optimizer = optim.AdamW(model.parameters(), lr=1e-3)
        tokens = tg.randint(0, 256, (1025,)).to(device)
        for _ in range(7):
            start = time.perf_counter()
            loss = nn.functional.cross_entropy(model(tokens[:-1]), tokens[1:])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            value = loss.item()  # for which a GPU has to be done with all that came before
            times.append(time.perf_counter() - start)
    return 1000 * min(times), value


def _step(device: str, kernels: str, fix: str) -> Finding:
    (took, loss), (_, expected) = _train(device, kernels), _train("cpu", "reference")
    if abs(loss - expected) <= 1e-3 * expected:
        return Finding(OK, f"{took:.1f} ms for a small language model, loss {loss:.4f}")
    return Finding(BROKEN, f"the loss is {loss:.4f}, but the readable ops on the CPU give {expected:.4f}", (fix,))


def _step_on_gpu() -> Finding | None:
    if not gpu.is_available():
        return None
    try:
        found = _step("cuda", "auto", _READABLE)
        if found.level == BROKEN and _step("cuda", "reference", "").level == BROKEN:
            reinstall = pip(f"install --upgrade --force-reinstall {' '.join(gpu.wheels())}")
            return found._replace(says=f"{found.says}; on the GPU they are as wrong", fix=(reinstall,))
        return found
    except Exception as error:
        return _gpu_failure(error, (_READABLE,))


def _step_on_kernels() -> Finding | None:
    if importlib.util.find_spec("numba") is None:
        return None
    with warnings.catch_warnings(record=True) as caught, dispatch.use_kernels("auto"):
        warnings.simplefilter("always")
        found = _step("cpu", "auto", _REINSTALL_NUMBA)
        given_up = not dispatch.twins_in_use()
    why = str(caught[-1].message) if caught else "the kernels were given up before"
    return Finding(BROKEN, why, (_REINSTALL_NUMBA,)) if given_up else found


_REINSTALL_NUMPY = pip("install --force-reinstall numpy threadpoolctl")
_REINSTALL_NUMBA = pip("install --upgrade --force-reinstall numba")
_CUPY_CACHE = os.environ.get("CUPY_CACHE_DIR") or "~/.cupy/kernel_cache"
_OTHER_CUPY_CACHE = f"export CUPY_CACHE_DIR={Path(tempfile.gettempdir(), 'kernel_cache')}"
_READABLE = "export TINYGRAD_EDU_KERNELS=reference  # slower, without the kernels"
CHECKS = (
    Check("Python", _python, "python3.12 -m venv .venv"),
    Check("tinygrad_edu", _package, pip("install --force-reinstall tinygrad_edu")),
    Check("NumPy", _numpy, _REINSTALL_NUMPY),
    Check("Numba", _numba, _REINSTALL_NUMBA),
    Check("GPU", _gpu, "nvidia-smi"),
    Check("CuPy", _cupy, pip("check")),
    Check("disk", _disk, "cd"),
)
TIMED = (
    Check("step, readable", lambda: _step("cpu", "reference", _REINSTALL_NUMPY), _REINSTALL_NUMPY),
    Check("step, kernels", _step_on_kernels, _REINSTALL_NUMBA),
    Check("step, cuda", _step_on_gpu, pip("check")),
)


def checks(quick: bool = False) -> Iterator[Check]:
    """All checks: those above, those that installed packages add, and, unless quick, the training steps."""
    yield from CHECKS
    # From every metadata there is: that of a checkout may be older than the installed one, and would hide it.
    points = [p for d in importlib.metadata.distributions() for p in d.entry_points if p.group == "tinygrad_edu.doctor"]
    for point in dict.fromkeys(sorted(points)):
        try:
            yield from [Check(*check) for check in point.load()]
        except Exception as error:
            failed = functools.partial(Finding, BROKEN, f"cannot be loaded: {in_words(error)}", (pip("check"),))
            yield Check(point.name, failed, "")
    if not quick:
        yield from TIMED


def examine(check: Check) -> Finding | None:
    """What a check finds. One that fails is a finding too."""
    try:
        return check.look()
    except Exception as error:
        return Finding(BROKEN, in_words(error), (check.fix,))


def as_lines(name: str, found: Finding, colour: bool = False) -> str:
    """A finding for people, within 80 columns; a command stays on one line, to be copied."""
    level = f"{found.level:8}"
    level = f"\033[{COLOURS[found.level]}m{level}\033[0m" if colour else level
    text = "\n".join(textwrap.wrap(found.says, 80 - 24, break_on_hyphens=False))
    lines = [f"{level}{name:16}" + textwrap.indent(text, " " * 24).lstrip()]
    return "\n".join([*lines, *(f"        run: {command}" for command in found.fix)])


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the checks and print what they find; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tinygrad_edu.doctor", description=__doc__.split("\n\n")[1])
    parser.add_argument("--quick", action="store_true", help="leave out the training steps")
    parser.add_argument("--json", action="store_true", help="print one JSON object, for programs")
    options = parser.parse_args(arguments)
    colour = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
    found: list[dict[str, object]] = []
    for check in checks(options.quick):
        if finding := examine(check):
            found.append({"check": check.name, **finding._asdict()})
            if not options.json:
                print(as_lines(check.name, finding, colour), flush=True)
    broken = sum(entry["level"] == BROKEN for entry in found)
    summary = f"{broken} broken: run the commands above." if broken else "All that was promised works."
    print(json.dumps({"broken": broken, "checks": found}, indent=1) if options.json else f"\n{summary}")
    return 1 if broken else 0


if __name__ == "__main__":
    from tinygrad_edu import doctor  # under its own name, by which other packages' checks know it

    try:
        sys.exit(doctor.main())
    except (BrokenPipeError, KeyboardInterrupt):  # the reader has enough
        os._exit(130)
