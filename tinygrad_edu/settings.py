"""Settings of the whole program with PyTorch's names: threads, printing, determinism, and some that change nothing."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from typing import Any

from . import kernels
from .backend import gpu
from .backend.device import Device, as_device
from .backend.device import set_default_device as set_default_device
from .tensor import PRINTING

_threads: int | None = None  # as set by set_num_threads
_reduced = "high"  # what set_float32_matmul_precision was given last that is not "highest"
_deterministic = False


def compile(model: Callable[..., Any] | None = None, **options: Any) -> Any:
    """The model or function itself, as it is; `@compile` and `@compile(mode=...)` both decorate.

    Options, such as mode or fullgraph, are those of PyTorch's compiler and are not used.
    """
    return functools.partial(compile, **options) if model is None else model


def set_num_threads(int: int) -> None:
    """Let NumPy's matrix products and fused kernels run on so many threads. RuntimeError: not a positive number."""
    global _threads
    if type(int) is not _INT:
        raise TypeError(f"set_num_threads expects an int, but got {type(int).__name__}")
    if int <= 0:
        raise RuntimeError("set_num_threads expects a positive integer")
    from threadpoolctl import ThreadpoolController  # looks through the loaded libraries, so only when asked for

    ThreadpoolController().limit(limits=int, user_api="blas")
    kernels.set_num_threads(int)
    _threads = int


_INT = int


def get_num_threads() -> int:
    """The number of threads that NumPy's matrix products run on."""
    if _threads is not None:
        return _threads
    from threadpoolctl import ThreadpoolController

    counts = [library["num_threads"] for library in ThreadpoolController().info() if library["user_api"] == "blas"]
    return max(counts, default=os.cpu_count() or 1)


def set_float32_matmul_precision(precision: str) -> None:
    """How GPUs compute products of float32 matrices: "highest", in float32; "high" and "medium", with factors in TF32.

    The switch is that of `backends.cuda.matmul.allow_tf32`. The CPU computes in float32 in any case.
    """
    global _reduced
    if precision not in ("highest", "high", "medium"):
        raise RuntimeError(f"expected 'highest', 'high' or 'medium', got {precision!r}")
    if precision != "highest":
        _reduced = precision
    gpu.allow_tf32(precision != "highest")


def get_float32_matmul_precision() -> str:
    """What `set_float32_matmul_precision` was given last ("highest" at first), or what `allow_tf32` made of it."""
    return _reduced if gpu.tf32_allowed() else "highest"


def use_deterministic_algorithms(mode: bool, *, warn_only: bool = False) -> None:
    """Remember the wish; every operation on the CPU gives the same bits each time anyhow."""
    global _deterministic
    _deterministic = bool(mode)


def are_deterministic_algorithms_enabled() -> bool:
    """What `use_deterministic_algorithms` was given last."""
    return _deterministic


def get_default_device() -> Device:
    """The device on which tensors are made where none is named."""
    return as_device(None)


_PROFILES: dict[str, dict[str, Any]] = {
    "default": {"precision": 4, "threshold": 1000, "edgeitems": 3, "linewidth": 100},
    "short": {"precision": 2, "threshold": 1000, "edgeitems": 2, "linewidth": 100},
    "full": {"precision": 4, "threshold": float("inf"), "edgeitems": 3, "linewidth": 100},
}


def set_printoptions(
    precision: int | None = None,
    threshold: float | None = None,
    edgeitems: int | None = None,
    linewidth: int | None = None,
    profile: str | None = None,
    sci_mode: bool | None = None,
) -> None:
    """How tensors are printed; None leaves a setting as it is.

    precision: digits after the point; threshold: elements above which only the corners are shown; edgeitems: elements
    shown at each end then; linewidth: characters per line; profile: "default", "short" or "full", overridden by the
    others; sci_mode: numbers as 1e+00 always (True), never (False), or where they need it (None).
    """
    if profile is not None:
        if profile not in _PROFILES:
            raise ValueError(f"set_printoptions: expected the profile default, short or full, got {profile!r}")
        PRINTING.update(_PROFILES[profile])
    given = {"precision": precision, "threshold": threshold, "edgeitems": edgeitems, "linewidth": linewidth}
    PRINTING.update({name: value for name, value in given.items() if value is not None})
    PRINTING["sci_mode"] = sci_mode
