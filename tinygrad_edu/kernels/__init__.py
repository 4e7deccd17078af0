"""Fused twins of ops: faster code with the same meaning. The ops in `ops/` are the meaning.

Importing this registers for each op below a stand-in that costs nothing. The first operation that is large enough to
gain loads the module of its twin, and with it Numba; where Numba is missing or broken, the readable ops go on. Nothing
is loaded for small tensors, so short programs start at once.
"""

from __future__ import annotations

import importlib
import importlib.util
import warnings
from typing import Any

from .. import dispatch
from ..ops.op import Op

# By op name: the module in kernels/cpu/ and the class there.
_CPU = {
    "linear": ("linear", "Linear"),
    "gelu_tanh": ("activation", "GeluTanh"),
}
SMALLEST = 1 << 14  # elements of the first input; below, starting a kernel on all threads costs more than it brings


class _StandIn(Op):
    """A twin that is not loaded yet."""

    def __init__(self, name: str, device: str, module: str, twin: str) -> None:
        self.name, self.device, self.module, self.twin = name, device, module, twin

    def accepts(self, *arrays: Any, **attrs: Any) -> bool:
        """Whether the twin, loaded now if it is worth it, accepts these inputs."""
        if arrays[0].size < SMALLEST:
            return False
        twin = load(self.name, self.device, self.module, self.twin)
        if twin is None:
            return False
        # The operation that asked was given this object, so it must be the twin from now on.
        self.forward, self.backward, self.saved_for = twin.forward, twin.backward, twin.saved_for
        return twin.accepts(*arrays, **attrs)


def load(name: str, device: str, module: str, twin: str) -> Any:
    """Import a twin and register it; without Numba take all twins away and return None."""
    try:
        found = getattr(importlib.import_module(f"{__name__}.{device}.{module}"), twin)
    except ImportError as error:
        warnings.warn(f"the fused kernels cannot be used ({error}); computing with the readable ops", stacklevel=2)
        dispatch.forget_twins()
        return None
    dispatch.register_twin(found.op, device, found)
    return found


if importlib.util.find_spec("numba") is not None:
    for _name, (_module, _twin) in _CPU.items():
        dispatch._twins[_name, "cpu"] = _StandIn(_name, "cpu", _module, _twin)
