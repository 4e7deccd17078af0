"""Anomaly detection: stop at the first operation that makes a NaN, in forward or backward, and name its line."""

from __future__ import annotations

from typing import Any

from .engine import Node
from .modes import observe, state


class _NanObserver:
    def recorded(self, node: Node, inputs: tuple[Any, ...], y: Any) -> None:
        outputs = y if isinstance(y, tuple) else (y,)
        if any(map(_has_nan, outputs)) and not any(_has_nan(x) for x in inputs if hasattr(x, "dtype")):
            raise RuntimeError(f"{node.op.name} ({node.location}) made a NaN in forward from inputs without one")

    def propagated(self, node: Node, gy: Any, gradients: list[Any]) -> None:
        for i, g in enumerate(gradients):
            if hasattr(g, "dtype") and _has_nan(g):
                raise RuntimeError(
                    f"{node.name()} returned nan values as the gradient of input {i}; the forward operation is "
                    f"{node.op.name} at {node.location}"
                )


def _has_nan(array: Any) -> bool:
    return array.dtype.kind == "f" and bool((array != array).any())


class detect_anomaly(observe):
    """Within it, RuntimeError at the first operation whose output or gradients contain NaN, naming op and line.

    Every value is scanned, so use it to find a fault, not while training.
    """

    def __init__(self) -> None:
        super().__init__(_NanObserver())


class set_detect_anomaly:
    """Detect anomalies from here on (mode=True) or no longer, in this thread; as a context manager, within it alone.

    check_nan=False looks for no NaN; that errors name the line of the forward operation needs no mode here.
    """

    def __init__(self, mode: bool, check_nan: bool = True) -> None:
        self._outside = state.observers
        others = tuple(o for o in state.observers if not isinstance(o, _NanObserver))
        state.observers = (*others, _NanObserver()) if mode and check_nan else others

    def __enter__(self) -> None: ...

    def __exit__(self, *exc: object) -> None:
        state.observers = self._outside
