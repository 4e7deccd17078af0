"""What the compilers make of the GPU's kernels: registers, spills and shared memory; and what they will take.

    python benchmarks/kernel_report.py             compile for each architecture and print a table; needs no GPU
    python benchmarks/kernel_report.py --predict   write bytes, operations and time on an H100 into docs/gpu.md

Compiling needs CuPy; for NVIDIA's GPUs the packages nvidia-cuda-nvrtc-cu12, nvidia-cuda-nvcc-cu12 (for ptxas) and
nvidia-cuda-runtime-cu12 (for the headers of float16 and bfloat16); for AMD's Debian's clang-22, libamdhip64-dev and
rocm-device-libs.
"""

from __future__ import annotations

import argparse
import ctypes
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

ARCHITECTURES = ("sm_75", "sm_80", "sm_90", "sm_100", "gfx90a", "gfx942", "gfx1100")
MOST_SHARED = 48 * 1024  # bytes that every GPU gives a block
ACTIVATIONS = ("gelu_tanh", "gelu", "silu", "sigmoid", "hyperbolic_tangent")


class Missing(Exception):
    """A compiler that is not installed."""


@dataclass(frozen=True)
class Compiled:
    """One kernel for one architecture."""

    unit: str
    kernel: str
    architecture: str
    registers: int
    spilled: int  # bytes: NVIDIA's stored and loaded, AMD's of each thread
    shared: int


def units() -> Iterator[tuple[str, str, dict[str, Any]]]:
    """(file, dtype, constants) of all that is compiled for the sizes that the kernels take."""
    from tinygrad_edu.kernels.cuda import attention, dropout, normalization, source, update

    for dtype, (_, _, accumulated) in source.TYPES.items():
        for name in ACTIVATIONS:
            yield "activation", dtype, {"ACTIVATION": name}
        for each in (1, 3, normalization.EACH[accumulated().itemsize]):
            yield "normalization", dtype, {"EACH": each}
        for file in ("softmax", "loss", "embedding"):
            yield file, dtype, {}
        yield dropout.UNIT, dtype, dropout.CONSTANTS
        size = accumulated().itemsize
        for bytes, channels in attention._TILES:
            for backward in (False, True):
                if bytes == size:
                    yield attention.unit(backward), dtype, attention.constants(size, channels, backward)
        if dtype in ("float32", "float64"):
            for wide in (False, True):
                yield "arrays+adam", dtype, update.constants(4, wide)
                yield "arrays+norm", dtype, update.constants(1, wide)


def _part(package: str, path: str) -> Path:
    """A file of one of NVIDIA's packages."""
    try:
        found = importlib.util.find_spec(f"nvidia.{package}")
    except ModuleNotFoundError:
        found = None
    for folder in (found.submodule_search_locations or []) if found else []:
        for file in Path(folder).glob(path):
            return file
    raise Missing(f"{path} of the package nvidia-{package.replace('_', '-')}-cu12 is not installed")


def _headers_of_cupy() -> Path:
    cupy = importlib.util.find_spec("cupy")
    assert cupy is not None and cupy.submodule_search_locations
    return Path(cupy.submodule_search_locations[0], "_core/include")


def to_ptx(text: str, architecture: str) -> bytes:
    """NVRTC's translation. RuntimeError: it does not accept the text."""
    library = ctypes.CDLL(str(_part("cuda_nvrtc", "lib/libnvrtc.so.*[0-9]")))
    headers = [_headers_of_cupy(), _part("cuda_runtime", "include")]
    virtual = architecture.replace("sm", "compute")
    options = [f"-arch={virtual}", "-std=c++17", *(f"-I{folder}" for folder in headers)]
    program = ctypes.c_void_p()
    library.nvrtcCreateProgram(ctypes.byref(program), text.encode(), b"kernel.cu", 0, None, None)
    given = (ctypes.c_char_p * len(options))(*[option.encode() for option in options])
    failed = library.nvrtcCompileProgram(program, len(options), given)
    what = "ProgramLog" if failed else "PTX"
    size = ctypes.c_size_t()
    getattr(library, f"nvrtcGet{what}Size")(program, ctypes.byref(size))
    answer = ctypes.create_string_buffer(size.value)
    getattr(library, f"nvrtcGet{what}")(program, answer)
    library.nvrtcDestroyProgram(ctypes.byref(program))
    if failed:
        raise RuntimeError(answer.value.decode())
    return answer.value


_ENTRY = re.compile(
    r"Compiling entry function '(\w+)' for .*?(\d+) bytes spill stores, (\d+) bytes spill loads.*?Used (\d+) registers"
    r"(?:[^\n]*?(\d+) bytes smem)?",
    re.DOTALL,
)


def by_nvidia(text: str, architecture: str) -> Iterator[tuple[str, int, int, int]]:
    """What ptxas says of each kernel: name, registers, bytes spilled and shared."""
    assembler = _part("cuda_nvcc", "bin/ptxas")
    with tempfile.TemporaryDirectory() as folder:
        ptx = Path(folder, "kernel.ptx")
        ptx.write_bytes(to_ptx(text, architecture))
        assembler.chmod(assembler.stat().st_mode | 0o111)  # some ways of unpacking a wheel lose it
        said = _said_by(assembler, "-v", f"-arch={architecture}", ptx, "-o", Path(folder, "out"))
    for kernel, stores, loads, registers, shared in _ENTRY.findall(said):
        yield kernel, int(registers), int(stores) + int(loads), int(shared or 0)


# AMD's compiler is clang. Debian's HIP is version 5.2, older than this clang, and than two of the GPUs.
CLANG, BITCODE = Path("/usr/bin/clang-22"), Path("/usr/lib/x86_64-linux-gnu/amdgcn/bitcode")
PACKAGES = {"clang-22": CLANG, "libamdhip64-dev": Path("/usr/include/hip"), "rocm-device-libs": BITCODE}
NEAREST = {"gfx942": "940", "gfx1100": "1036"}  # that its library knows, where nothing but this number differs
BEFORE = """#include <hip/hip_runtime.h>
extern "C" __device__ void __atomic_work_item_fence(__cl_mem_fence_flags, __memory_order, __memory_scope)
{
    __builtin_amdgcn_fence(__ATOMIC_SEQ_CST, "workgroup");
}
"""
BFLOAT16 = """struct __hip_bfloat16 {
    __bf16 value;
    __hip_bfloat16() = default;
    __device__ __hip_bfloat16(float x) : value(x) {}
    __device__ operator float() const { return value; }
};
__device__ bool __hisnan(__hip_bfloat16 x) { return __builtin_isnan(float(x)); }
__device__ bool __hisinf(__hip_bfloat16 x) { return __builtin_isinf(float(x)); }
__device__ unsigned short __bfloat16_as_ushort(__hip_bfloat16 x) { return __builtin_bit_cast(unsigned short, x); }
__device__ __hip_bfloat16 __ushort_as_bfloat16(unsigned short x) { return __builtin_bit_cast(__hip_bfloat16, x); }
"""  # of which that HIP has no header
RENAMED = ("__llvm_amdgcn_rcp_f16=__builtin_amdgcn_rcph", "__llvm_amdgcn_rcp_2f16(x)=x")
_REMARK = re.compile(r"remark: +(VGPRs|ScratchSize \[bytes/lane\]|LDS Size \[bytes/block\]): (\d+)")


def by_amd(text: str, architecture: str) -> Iterator[tuple[str, int, int, int]]:
    """What clang says of each kernel: name, registers, bytes spilled and shared."""
    for package, path in PACKAGES.items():
        if not path.exists():
            raise Missing(f"Debian's package {package} is not installed")
    with tempfile.TemporaryDirectory() as folder:
        kernel, library = Path(folder, "kernel.hip"), Path(folder, "library")
        kernel.write_text(BEFORE + text, "utf-8")
        Path(folder, "hip").mkdir()
        Path(folder, "hip", "hip_bf16.h").write_text(BFLOAT16, "utf-8")
        shutil.copytree(BITCODE, library, copy_function=os.symlink)
        if architecture in NEAREST:
            known, new = (f"oclc_isa_version_{number}.bc" for number in (NEAREST[architecture], architecture[3:]))
            (library / new).symlink_to(known)
        said = _said_by(
            CLANG, "-x", "hip", kernel, "--cuda-device-only", f"--offload-arch={architecture}", "-std=c++17", "-O3",
            f"-I{folder}", f"-I{_headers_of_cupy()}", "--rocm-path=/usr", f"--rocm-device-lib-path={library}",
            "-mcode-object-version=5", "-Xclang", "-mlink-builtin-bitcode", "-Xclang", library / "oclc_daz_opt_off.bc",
            f"-D__AMDGCN_WAVEFRONT_SIZE={32 if architecture.startswith('gfx1') else 64}",
            *(f"-D{definition}" for definition in RENAMED),
            "-Rpass-analysis=kernel-resource-usage", "-S", "-o", Path(folder, "out"),
        )  # fmt: skip
    for part in said.split("Function Name: ")[1:]:
        registers, scratch, shared = (int(number) for _, number in _REMARK.findall(part))
        yield part.split()[0], registers, scratch, shared


def _said_by(*command: str | Path) -> str:
    """What a compiler says. RuntimeError: it does not accept what it is given."""
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(done.stderr)
    return done.stderr


def compile_unit(file: str, dtype: str, constants: dict[str, Any], architecture: str) -> list[Compiled]:
    """What the compiler says of each kernel of a file. RuntimeError: it does not accept it."""
    from tinygrad_edu.kernels.cuda import source

    compiler = by_nvidia if architecture.startswith("sm") else by_amd
    name = " ".join([file, dtype, *(f"{key}={value}" for key, value in constants.items())])
    return [
        Compiled(name, kernel, architecture, registers, spilled, shared)
        for kernel, registers, spilled, shared in compiler(source.text(file, dtype, **constants), architecture)
    ]


def report() -> int:
    """Print a line for each kernel and architecture; 1 if one spills or needs too much shared memory."""
    bad = 0
    for unit in units():
        for architecture in ARCHITECTURES:
            for c in compile_unit(*unit, architecture):
                wrong = bool(c.spilled) or c.shared > MOST_SHARED
                bad += wrong
                print(
                    f"{c.architecture:<7} {c.registers:4} registers {c.spilled:5} spilled {c.shared:6} shared  "
                    f"{c.kernel}  ({c.unit}){'  <-' if wrong else ''}", flush=True,
                )  # fmt: skip
    print(f"{bad} kernels spill or need more than {MOST_SHARED} bytes of shared memory")
    return 1 if bad else 0


# An H100 (SXM): bytes of its memory, float32 operations, and 4-byte words of shared memory, each per second.
BANDWIDTH, RATE, SHARED = 3.35e12, 67e12, 132 * 32 * 1.755e9
PAGE = Path(__file__).parents[1] / "docs" / "gpu.md"
BEGIN = "<!-- predictions: written by benchmarks/kernel_report.py --predict -->\n"
END = "<!-- end of predictions -->\n"


@dataclass(frozen=True)
class Cost:
    """What a kernel moves and computes: bytes of the GPU's memory, operations, words from shared memory."""

    kernel: str
    shape: str
    bytes: float
    operations: float
    shared: float = 0

    @property
    def times(self) -> dict[str, float]:
        return {
            "memory": self.bytes / BANDWIDTH,
            "arithmetic": self.operations / RATE,
            "shared memory": self.shared / SHARED,
        }


def costs(B: int = 8, T: int = 1024, C: int = 768, heads: int = 12, V: int = 50257, layers: int = 12) -> list[Cost]:
    """Of each fused kernel once, in float32, at the 124M model's shapes: every array is read or written once.

    Operations are counted in the text of the kernels, an exponential, a root and a division as one each. Words from
    shared memory are those of attention's products, read for each warp.
    """
    from tinygrad_edu.kernels.cuda import attention, normalization

    n, parameters = B * T, V * C + T * C + layers * (12 * C * C + 13 * C) + 2 * C
    a, hidden, logits = n * C, n * 4 * C, n * V
    parts = 2 * normalization._PARTS * 2 * C  # written and read
    size = C // heads
    pairs = B * heads * T * T / 2  # of query and key
    words = {
        backward: attention_words(size, *attention._TILES[4, 64][backward], backward) for backward in (False, True)
    }  # fmt: skip
    rows, wide = f"({n}, {C})", f"({n}, {4 * C})"
    product = 2 * size * pairs  # operations
    queries = f"({B}, {heads}, {T}, {size}), causal"
    return [
        Cost("layer norm, forward", rows, 4 * (2 * a + 2 * C + 2 * n), 8 * a),
        Cost("bias, sum and layer norm, forward", rows, 4 * (4 * a + 3 * C + 2 * n), 10 * a),
        Cost("layer norm, backward", rows, 4 * (3 * a + parts + 2 * n + 3 * C), 15 * a),
        Cost("GELU, forward", wide, 4 * 2 * hidden, 7 * hidden),
        Cost("bias and GELU, forward", wide, 4 * (3 * hidden + 4 * C), 8 * hidden),
        Cost("GELU, backward", wide, 4 * 3 * hidden, 16 * hidden),
        Cost("dropout, forward or backward", rows, 4 * 2 * a, 16 * a),
        Cost("softmax, forward", f"({n}, {T})", 4 * 2 * n * T, 6 * n * T),
        Cost("softmax, backward", f"({n}, {T})", 4 * 3 * n * T, 4 * n * T),
        Cost("cross-entropy, forward", f"({n}, {V})", 4 * (logits + 5 * n), 4 * logits),
        Cost("cross-entropy, backward in place", f"({n}, {V})", 4 * (2 * logits + 5 * n), 5 * logits),
        Cost("attention, forward", queries, 4 * (4 * a + 2 * heads * n), 2 * product, words[False] * pairs),
        Cost("attention, backward", queries, 4 * (13 * a + 7 * heads * n), 7 * product, words[True] * pairs),
        Cost("embedding, backward", f"{n} rows of ({V}, {C})", 4 * 3 * a + 16 * n, a),
        Cost("norm of all gradients", f"{parameters:,} parameters", 4 * parameters, 2 * parameters),
        Cost("clipping", f"{parameters:,} parameters", 8 * parameters, parameters),
        Cost("AdamW", f"{parameters:,} parameters", 28 * parameters, 15 * parameters),
    ]


def attention_words(size: int, queries: int, keys: int, backward: bool) -> float:
    """Words that a warp reads from shared memory for each pair of query and key, by lanes that read at once.

    A thread multiplies m by n numbers of its own out of m + n words; a product has `size` multiplications for a pair.
    """

    def words(m: int, n: int) -> float:
        return (m + n) / (m * n)

    q, k, c = queries // 16, keys // 16, size // 16
    scores = words(q, k)
    if not backward:
        return size * (scores + words(q, c))
    return size * (4 * scores + words(q, c) + 2 * words(k, c))


def predictions() -> str:
    """The table of docs/gpu.md."""
    lines = ["| kernel | arrays | MB | GFLOP | at least, us | limited by |", "| --- | --- | ---: | ---: | ---: | --- |"]
    for cost in costs():
        limit = max(cost.times, key=cost.times.__getitem__)
        lines.append(
            f"| {cost.kernel} | {cost.shape} | {cost.bytes / 1e6:.1f} | {cost.operations / 1e9:.2f} | "
            f"{cost.times[limit] * 1e6:.1f} | {limit} |"
        )
    return "\n".join(lines) + "\n"


def write_predictions() -> int:
    """Put the table into docs/gpu.md."""
    before, _, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
    PAGE.write_text(before + BEGIN + predictions() + END + rest.partition(END)[2], encoding="utf-8")
    return 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--predict", action="store_true", help="write the predictions instead of compiling")
    sys.exit(write_predictions() if parser.parse_args().predict else report())
