"""Fused twins of ops: faster code with the same meaning. The ops in `ops/` are the meaning.

Importing this registers for each op below a stand-in that costs nothing. The first operation that is large enough to
gain loads the module of its twin, and with it Numba; where Numba is missing or broken, the readable ops go on. Nothing
is loaded for small tensors, so short programs start at once.
"""

from __future__ import annotations

import importlib
import importlib.util
import math
import sys
import warnings
from collections.abc import Callable, Sequence
from typing import Any

from .. import dispatch
from ..backend import gpu, random
from ..backend.device import array_module, of_array
from ..ops.op import Op
from . import half

# By op name: the module in kernels/cpu/ and the class there.
_CPU = {
    "linear": ("linear", "Linear"),
    "matmul": ("linear", "Matmul"),
    "gelu_tanh": ("activation", "GeluTanh"),
    "gelu": ("activation", "Gelu"),
    "sigmoid": ("activation", "Sigmoid"),
    "silu": ("activation", "Silu"),
    "tanh": ("activation", "Tanh"),
    "layer_norm": ("normalization", "LayerNorm"),
    "rms_norm": ("normalization", "RmsNorm"),
    "cross_entropy": ("loss", "CrossEntropy"),
    "softmax": ("softmax", "Softmax"),
    "log_softmax": ("softmax", "LogSoftmax"),
    "embedding": ("embedding", "Embedding"),
    "sum": ("reduction", "Sum"),
    "mean": ("reduction", "Mean"),
    "scaled_dot_product_attention": ("attention", "Attention"),
}
SMALLEST = 1 << 14  # elements of the first input; below, starting a kernel on all threads costs more than it brings
# The same for those of which it is another number.
_SMALLEST_OF = {
    "embedding": 1 << 12,  # of a table more rows may be looked up than it has
    "sum": 1 << 16, "mean": 1 << 16,  # they cost less than other arithmetic
    "linear": 64, "matmul": 64,  # of the first factor, so that products of tiny matrices need not ask
}  # fmt: skip
# Multiplications for which a second thread pays, by many rows and by one. NumPy's BLAS draws its lines there, so that
# no thread of its own runs beside the kernels' threads: each set keeps the cores busy while it waits for the other.
FEW, FEW_BY_ONE = 1 << 18, 9216
threads: int | None = None  # as set by set_num_threads


def smallest_for(name: str) -> int:
    """The least number of elements of the first input for which the twin of this op is asked."""
    return _SMALLEST_OF.get(name, SMALLEST)


def shared_out(x: Any, columns: int) -> bool:
    """Whether the product of x (..., K) and a matrix (K, columns) is for more than one thread."""
    return x.size * columns > (FEW if x.size > x.shape[-1] else FEW_BY_ONE)


def at_an_end(x: Any, axis: Sequence[int]) -> bool:
    """Whether these axes are the first or the last ones of x, and have several elements."""
    n, axes = len(axis), sorted(axis)
    several = x.size > 0 and math.prod([x.shape[i] for i in axes]) > 1
    return several and axes in (list(range(n)), list(range(x.ndim - n, x.ndim)))


# What twins need besides `smallest`. It is asked before they are loaded too, as an operation must round the same then.
WORTH: dict[str, Callable[..., bool]] = {
    "linear": lambda x, weight, bias: shared_out(x, len(weight)),
    "matmul": lambda a, b: a.ndim >= 2 == b.ndim and shared_out(a, b.shape[1]),
    "sum": lambda x, axis, keepdims: at_an_end(x, axis),
    "mean": lambda x, axis, keepdims: at_an_end(x, axis),
}


class _StandIn(Op):
    """A twin that is not loaded yet."""

    def __init__(self, name: str, device: str, module: str, twin: str) -> None:
        self.smallest = smallest_for(name)
        self.name, self.device, self.module, self.twin = name, device, module, twin

    def accepts(self, *arrays: Any, **attrs: Any) -> bool:
        """Whether the twin, loaded now if it is worth it, accepts these inputs."""
        if self.name in WORTH and not WORTH[self.name](*arrays, **attrs):
            return False
        twin = load(self.name, self.device, self.module, self.twin)
        if twin is None:
            return False
        # The operation that asked was given this object, so it must be the twin from now on.
        for name in ("forward", "backward", "last_backward", "saved_for"):
            setattr(self, name, getattr(twin, name))
        return twin.accepts(*arrays, **attrs)


def load(name: str, device: str, module: str, twin: str) -> Any:
    """Import a twin and register it; without Numba take all twins away and return None."""
    found = _module(device, module)
    if found is not None:
        found = getattr(found, twin)
        dispatch.register_twin(found.op, device, found)
    return found


def fused_update(*lists: Sequence[Any]) -> Any:
    """The module whose functions change many arrays at once, if it takes these lists of arrays; else None."""
    device = of_array(lists[0][0])
    small = device.type == "cpu" and sum([a.size for a in lists[0]]) < SMALLEST
    if not dispatch.twins_in_use() or small:
        return None
    array_module(device)  # which computes there from now on
    module = _module(device.type, "update")
    return module if module is not None and module.accept(*lists) else None


def stacked_product(a: Any, b: Any) -> Any:
    """a @ b for stacks of matrices, (N, R, K) and (N, K, C), by the kernels' threads if they can."""
    if dispatch.twins_in_use() and a.size >= SMALLEST and of_array(a).type == "cpu":  # elsewhere the library does it
        module = _module("cpu", "stacks")
        if module is not None and module.accept(a, b):
            return module.product(a, b)
    return a @ b


def _random_mask(seed: int, counter: int, n: int, smallest: int, value: float) -> Any:
    """n numbers, `value` where the stream's 32 bits are at least `smallest`, else 0; None: no kernel does it."""
    if not dispatch.twins_in_use() or n < SMALLEST:
        return None
    module = _module("cpu", "random")
    return None if module is None else module.mask(seed, counter, n, smallest, value)


def set_num_threads(n: int) -> None:
    """Let the kernels of the CPU run on n threads, those that are loaded later too."""
    global threads
    threads = n
    loaded = sys.modules.get(f"{__name__}.cpu.threads")
    if loaded is not None:
        loaded.set_number(n)


def _module(device: str, name: str) -> Any:
    try:
        return importlib.import_module(f"{__name__}.{device}.{name}")
    except ImportError as error:
        warnings.warn(f"the fused kernels cannot be used ({error}); computing with the readable ops", stacklevel=2)
        dispatch.forget_twins()
        return None


def _register_cuda() -> None:
    from . import cuda

    cuda.register()


gpu.on_load.append(_register_cuda)
half.register(SMALLEST)
if importlib.util.find_spec("numba") is not None:
    random.fused_mask = _random_mask
    for _name, (_module_name, _twin) in _CPU.items():
        _stand_in = _StandIn(_name, "cpu", _module_name, _twin)
        dispatch.register_twin(_stand_in, "cpu", _stand_in)
