"""Mixed precision with PyTorch's names: float16 or bfloat16 where it is fast, float32 where it is needed.

    scaler = amp.GradScaler("cuda")
    with autocast("cuda", dtype=tinygrad_edu.float16):
        loss = model(x, y)                        # products in float16, the loss in float32
    scaler.scale(loss).backward()                 # or the smallest gradients become zero in float16
    scaler.step(optimizer)                        # unscales; skips the step if a gradient is infinite or NaN
    scaler.update()

bfloat16 has float32's range with fewer digits than float16, and needs no scaler. Parameters, their gradients and the
optimizer's state stay float32. `functional/precision.py` lists which function
computes in what.
"""

from __future__ import annotations

import functools
import sys
import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING as _TYPE_CHECKING
from typing import Any, TypeVar

import numpy as np

from . import absent as _absent
from .autograd.modes import no_grad, state
from .backend import capture, dtypes
from .backend.device import Device, as_device
from .functional.elementwise import isfinite, logical_and, mul
from .functional.precision import RULES, Casting, set_casts
from .tensor import Tensor

F = TypeVar("F", bound=Callable[..., Any])
_FAST = {"cpu": dtypes.bfloat16, "cuda": dtypes.float16}  # what each kind of device computes in unless told otherwise


class autocast:
    """Within it functions that gain from it compute in float16 or bfloat16. A context manager, or a decorator.

    device_type: "cpu" or "cuda", on whose tensors it acts. dtype: if not given, bfloat16 on "cpu" and float16 on
    "cuda". enabled=False turns it off within another. Do not put backward() into it. cache_enabled is accepted and
    changes nothing. As in PyTorch, "cuda" where there is none and another dtype warn, and change nothing.
    """

    def __init__(self, device_type: str, dtype: Any = None, enabled: bool = True, cache_enabled: bool | None = None):
        if not isinstance(device_type, str):
            raise ValueError(f"autocast: expected device_type to be a string such as 'cpu', got {device_type!r}")
        self.device = Device(device_type).type
        self.fast_dtype = _FAST[self.device] if dtype is None else dtype
        self._enabled = enabled and self._can_be_used()
        self._outside: list[Any] = []

    def _can_be_used(self) -> bool:
        """Whether it can do what is asked; if not, a warning has said so."""
        if not _usable(self.device):
            return _disabled("autocast", _absent_device(self.device))
        if self.fast_dtype not in _FAST.values():
            names = " and ".join(f"tinygrad_edu.{d.name}" for d in _FAST.values())
            return _disabled("autocast", f"dtype={self.fast_dtype!r} is not supported, only {names} are")
        return True

    def __enter__(self) -> autocast:
        self._outside.append(state.autocast)
        casts = dict(state.autocast or {})
        casts.pop(self.device, None)
        if self._enabled:
            casts[self.device] = Casting(self.fast_dtype, RULES[self.device])
        set_casts(casts or None)
        return self

    def __exit__(self, *exc: object) -> None:
        state.autocast = self._outside.pop()

    def __call__(self, func: F) -> F:
        @functools.wraps(func)
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            with self:
                return func(*args, **kwargs)

        return wrapper  # type: ignore[return-value]


class GradScaler:
    """Scales the loss so that gradients do not vanish in float16, and skips the steps for which that was too much.

    The scale starts at init_scale. `update` multiplies it by backoff_factor if a gradient was infinite or NaN since the
    last update, and by growth_factor after growth_interval updates in a row without. With enabled=False, and on a GPU
    where there is none (which warns, as in PyTorch), everything passes through unchanged.
    ValueError: factors or an interval that would not work.
    """

    def __init__(self, device: str = "cuda", init_scale: float = 65536.0, growth_factor: float = 2.0,
                 backoff_factor: float = 0.5, growth_interval: int = 2000, enabled: bool = True) -> None:  # fmt: skip
        self._device = Device(device).type
        self._enabled = enabled and (_usable(self._device) or _disabled("GradScaler", _absent_device(self._device)))
        if not growth_factor > 1.0 or not 0.0 < backoff_factor < 1.0 or growth_interval < 1 or not init_scale > 0.0:
            raise ValueError(
                "GradScaler: expected init_scale > 0, growth_factor > 1, 0 < backoff_factor < 1 and growth_interval >= "
                f"1, got {init_scale}, {growth_factor}, {backoff_factor} and {growth_interval}"
            )
        self._scale, self._has_scaled = _rounded(init_scale), False  # whether `scale` was ever called
        self._growth_factor, self._backoff_factor = growth_factor, backoff_factor
        self._growth_interval, self._growth_tracker = growth_interval, 0
        # Since the last update, by identity of the optimizer: whether its gradients were finite, and if it has stepped.
        self._finite: dict[int, bool] = {}
        self._stepped: set[int] = set()

    def scale(self, outputs: Any) -> Any:
        """The outputs, a Tensor or tuples and lists of them, times the scale."""
        if not self._enabled:
            return outputs
        _not_in_a_graph()
        if isinstance(outputs, Tensor):
            self._has_scaled = True
            return mul(outputs, self._scale)
        if isinstance(outputs, (list, tuple)):
            return type(outputs)(self.scale(x) for x in outputs)
        raise ValueError(f"GradScaler.scale: expected a Tensor, or tuples and lists of them, got {outputs!r}")

    def unscale_(self, optimizer: Any) -> None:
        """Divide the gradients of the optimizer's parameters by the scale, to clip them, say, before `step`.

        RuntimeError: done already since the last update, or after `step`. ValueError: a gradient is float16.
        AssertionError: no loss was scaled.
        """
        if not self._enabled:
            return
        _not_in_a_graph()
        self._check_has_scaled("unscale_")
        if id(optimizer) in self._stepped:
            raise RuntimeError("unscale_() is being called after step().")
        if id(optimizer) in self._finite:
            raise RuntimeError("unscale_() has already been called on this optimizer since the last update().")
        gradients = [p.grad for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
        if any(g.dtype == dtypes.float16 for g in gradients):
            raise ValueError(
                "Attempting to unscale FP16 gradients. Keep the parameters in float32; autocast casts where it is good"
            )
        inverse = _rounded(1.0 / self._scale)
        finite: dict[Any, Tensor] = {}  # on each device, so that all of it is asked for once
        with no_grad():
            for g in gradients:
                found = isfinite(g).all()
                finite[g.device] = logical_and(finite[g.device], found) if g.device in finite else found
                g.mul_(inverse)
        self._finite[id(optimizer)] = all(map(bool, finite.values()))

    def step(self, optimizer: Any, *args: Any, **kwargs: Any) -> Any:
        """`optimizer.step(...)` with gradients divided by the scale, or nothing (None) if one is infinite or NaN.

        RuntimeError: called already since the last update, or with a closure. AssertionError: no loss was scaled.
        """
        if not self._enabled:
            return optimizer.step(*args, **kwargs)
        _not_in_a_graph()
        if "closure" in kwargs:
            raise RuntimeError("Closure use is not currently supported if GradScaler is enabled.")
        self._check_has_scaled("step")
        if id(optimizer) in self._stepped:
            raise RuntimeError("step() has already been called since the last update().")
        if id(optimizer) not in self._finite:
            self.unscale_(optimizer)
        self._stepped.add(id(optimizer))
        return optimizer.step(*args, **kwargs) if self._finite[id(optimizer)] else None

    def update(self, new_scale: float | Tensor | None = None) -> None:
        """Let the scale follow what was found in the gradients, or set it to new_scale.

        RuntimeError: no gradient was looked at since the last update. AssertionError: no loss was scaled.
        """
        if not self._enabled:
            return
        _not_in_a_graph()
        self._check_has_scaled("update")
        if new_scale is not None:
            self._scale = _rounded(float(new_scale))
        elif not self._finite:
            raise RuntimeError("No inf checks were recorded prior to update; call scaler.step(optimizer) before it.")
        elif not all(self._finite.values()):
            self._scale, self._growth_tracker = _rounded(self._scale * self._backoff_factor), 0
        else:
            self._growth_tracker += 1
            if self._growth_tracker == self._growth_interval:
                larger = _rounded(self._scale * self._growth_factor)
                self._scale, self._growth_tracker = larger if np.isfinite(larger) else self._scale, 0
        self._finite.clear()
        self._stepped.clear()

    def _check_has_scaled(self, name: str) -> None:
        """AssertionError, as in PyTorch: gradients of a loss that was not scaled would be divided by the scale."""
        if not self._has_scaled:
            raise AssertionError(
                f"GradScaler: attempted {name}, but no loss was scaled, so the gradients are not multiplied by the "
                "scale; call scaler.scale(loss).backward() in place of loss.backward()"
            )

    def is_enabled(self) -> bool:
        """Whether it does anything."""
        return self._enabled

    def get_scale(self) -> float:
        """What losses are multiplied by now; 1 if it is disabled."""
        return self._scale if self._enabled else 1.0

    def get_growth_factor(self) -> float:
        """What the scale is multiplied by when it grows."""
        return self._growth_factor

    def set_growth_factor(self, new_factor: float) -> None:
        """Set what the scale is multiplied by when it grows."""
        self._growth_factor = new_factor

    def get_backoff_factor(self) -> float:
        """What the scale is multiplied by after an infinite or NaN gradient."""
        return self._backoff_factor

    def set_backoff_factor(self, new_factor: float) -> None:
        """Set what the scale is multiplied by after an infinite or NaN gradient."""
        self._backoff_factor = new_factor

    def get_growth_interval(self) -> int:
        """After how many finite updates in a row the scale grows."""
        return self._growth_interval

    def set_growth_interval(self, new_interval: int) -> None:
        """Set after how many finite updates in a row the scale grows."""
        self._growth_interval = new_interval

    def state_dict(self) -> dict[str, Any]:
        """All that is needed to go on from here; empty if it is disabled."""
        if not self._enabled:
            return {}
        return {
            "scale": self._scale, "growth_factor": self._growth_factor, "backoff_factor": self._backoff_factor,
            "growth_interval": self._growth_interval, "_growth_tracker": self._growth_tracker,
        }  # fmt: skip

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from what `state_dict` returned; nothing if it is disabled. RuntimeError: that of a disabled one."""
        if not self._enabled:
            return
        if not state_dict:
            raise RuntimeError(
                "The source state dict is empty, possibly because it was saved from a disabled instance of GradScaler."
            )
        self._scale, self._growth_tracker = _rounded(state_dict["scale"]), state_dict["_growth_tracker"]
        self._growth_factor, self._backoff_factor = state_dict["growth_factor"], state_dict["backoff_factor"]
        self._growth_interval = state_dict["growth_interval"]


def _not_in_a_graph() -> None:
    capture.refuse("GradScaler decides on the CPU by what it reads from the GPU; compute in float32, without it")


def is_autocast_available(device_type: str) -> bool:
    """Whether `autocast(device_type)` may be written: for "cpu" and "cuda"."""
    return device_type in ("cpu", "cuda")


def _usable(device: str) -> bool:
    try:
        as_device(device)
    except RuntimeError:
        return False
    return True


def _absent_device(device: str) -> str:
    return f"there is no {device!r} device here"


def _disabled(what: str, why: str) -> bool:
    """False, after a warning at the line of the user's that asked for it."""
    level, frame = 1, sys._getframe()
    while frame.f_back is not None and frame.f_globals["__name__"].partition(".")[0] == __package__:
        level, frame = level + 1, frame.f_back
    warnings.warn(f"{what} is disabled: {why}. Pass enabled=False to say so yourself", stacklevel=level)
    return False


def _rounded(scale: float) -> float:
    """The number in float32, which PyTorch keeps the scale in."""
    with np.errstate(over="ignore"):
        return float(np.float32(scale))


if not _TYPE_CHECKING:  # for type checkers an absent name stays an error
    __getattr__ = _absent.getter("amp")
