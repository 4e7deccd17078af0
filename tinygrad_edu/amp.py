"""Mixed precision as PyTorch programs ask for it. There is nothing to mix here: everything stays in its own dtype."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING as _TYPE_CHECKING
from typing import Any, TypeVar

from . import absent as _absent
from .backend.device import Device
from .tensor import Tensor

F = TypeVar("F", bound=Callable[..., Any])


class _NamedDtype:
    """A dtype of PyTorch's that has only its name here, so that programs may mention it.

    NumPy has no such type: making or casting a tensor to it is a TypeError.
    """

    def __init__(self, name: str) -> None:
        self.name = name

    def __repr__(self) -> str:
        return f"tinygrad_edu.{self.name}"


bfloat16 = _NamedDtype("bfloat16")


class autocast:
    """Computes as without it: a context manager and decorator that changes nothing.

    device_type: "cpu" or "cuda". dtype is accepted and not used: operations run in the dtype of their inputs, so
    results are at least as precise as PyTorch's.
    """

    def __init__(self, device_type: str, dtype: Any = None, enabled: bool = True, cache_enabled: bool | None = None):
        if not isinstance(device_type, str):
            raise ValueError(f"autocast: expected device_type to be a string such as 'cpu', got {device_type!r}")
        self.device = Device(device_type).type
        self.fast_dtype, self._enabled = dtype, enabled

    def __enter__(self) -> autocast:
        return self

    def __exit__(self, *exc: object) -> None: ...

    def __call__(self, func: F) -> F:
        @functools.wraps(func)
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            with self:
                return func(*args, **kwargs)

        return wrapper  # type: ignore[return-value]


class GradScaler:
    """Passes losses, gradients and steps through unchanged: float32 gradients need no scaling.

    `GradScaler()` asks for scaling on a GPU; as in PyTorch without one, it warns and is disabled.
    """

    def __init__(self, device: str = "cuda", init_scale: float = 65536.0, growth_factor: float = 2.0,
                 backoff_factor: float = 0.5, growth_interval: int = 2000, enabled: bool = True) -> None:  # fmt: skip
        if enabled:
            warnings.warn(
                "GradScaler is disabled: gradients are not scaled here. Pass enabled=False to say so yourself",
                stacklevel=2,
            )

    def scale(self, outputs: Any) -> Any:
        """The outputs themselves."""
        return outputs

    def unscale_(self, optimizer: Any) -> None:
        """Nothing: the gradients are not scaled."""

    def step(self, optimizer: Any, *args: Any, **kwargs: Any) -> Any:
        """`optimizer.step(...)`."""
        return optimizer.step(*args, **kwargs)

    def update(self, new_scale: float | Tensor | None = None) -> None:
        """Nothing: there is no scale."""

    def is_enabled(self) -> bool:
        """False."""
        return False

    def get_scale(self) -> float:
        """1: what gradients are multiplied by."""
        return 1.0

    def state_dict(self) -> dict[str, Any]:
        """Empty, as of a disabled scaler."""
        return {}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Nothing: there is no state."""


def is_autocast_available(device_type: str) -> bool:
    """Whether `autocast(device_type)` may be written: for "cpu" and "cuda"."""
    return device_type in ("cpu", "cuda")


if not _TYPE_CHECKING:  # for type checkers an absent name stays an error
    __getattr__ = _absent.getter("amp")
