"""Ways to fill parameters before training. Every function writes into the tensor and returns it, recording nothing."""

from __future__ import annotations

import contextlib
import functools
import math
import threading
import warnings
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING as _TYPE_CHECKING
from typing import Any, TypeVar

import numpy as np

from .. import absent as _absent
from .. import creation, random
from ..autograd.modes import no_grad
from ..random import Generator
from ..tensor import Tensor

F = TypeVar("F", bound=Callable[..., Tensor])


class _State(threading.local):
    filling: bool = True


_state = _State()


@contextlib.contextmanager
def no_init() -> Iterator[None]:
    """Within it the functions of this module do nothing: for a model whose weights are about to be replaced.

    Layers made within it hold whatever was in their memory; give every weight its numbers afterwards.
    """
    outside, _state.filling = _state.filling, False
    try:
        yield
    finally:
        _state.filling = outside


def _fills(function: F) -> F:
    """A function that writes into its first argument: recording nothing, and not at all within `no_init`."""

    @functools.wraps(function)
    def wrapper(tensor: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        if not _state.filling:
            return tensor
        with no_grad():
            return function(tensor, *args, **kwargs)

    return wrapper  # type: ignore[return-value]  # as wraps says


@_fills
def uniform_(tensor: Tensor, a: float = 0.0, b: float = 1.0, generator: Generator | None = None) -> Tensor:
    """Fill with numbers uniform on [a, b)."""
    return tensor.uniform_(a, b, generator=generator)


@_fills
def normal_(tensor: Tensor, mean: float = 0.0, std: float = 1.0, generator: Generator | None = None) -> Tensor:
    """Fill with normal numbers."""
    return tensor.normal_(mean, std, generator=generator)


@_fills
def constant_(tensor: Tensor, val: float) -> Tensor:
    """Fill with one number."""
    return tensor.fill_(val)


def ones_(tensor: Tensor) -> Tensor:
    """Fill with ones."""
    return constant_(tensor, 1.0)


def zeros_(tensor: Tensor) -> Tensor:
    """Fill with zeros."""
    return constant_(tensor, 0.0)


@_fills
def eye_(tensor: Tensor) -> Tensor:
    """Make a matrix the identity: ones on the diagonal, zeros elsewhere. ValueError: not two-dimensional."""
    if tensor.ndim != 2:
        raise ValueError(f"eye_: only tensors with 2 dimensions are supported, got {tensor.ndim}")
    return tensor.copy_(creation.eye(*tensor.shape, dtype=tensor.dtype, device=tensor.device))


@_fills
def trunc_normal_(
    tensor: Tensor, mean: float = 0.0, std: float = 1.0, a: float = -2.0, b: float = 2.0,
    generator: Generator | None = None,
) -> Tensor:  # fmt: skip
    """Fill with the normal distribution restricted to [a, b], by rejection.

    a and b are values, not multiples of std. ValueError: std is not positive, or a is not below b.
    """
    if not (std > 0 and a < b):
        raise ValueError(f"trunc_normal_: expected std > 0 and a < b, got std={std}, a={a}, b={b}")
    xp = tensor._xp
    stream = random.stream_of(generator, xp)
    inside = math.erf((b - mean) / std / math.sqrt(2)) / 2 - math.erf((a - mean) / std / math.sqrt(2)) / 2
    # Far from the mean hardly any normal number falls into [a, b]: there, draw uniform ones and accept each with its
    # density relative to the peak. Below exp(-40) of the peak lies less than float64 resolves, so that part is cut off.
    peak = (min(max(a, mean), b) - mean) / std
    reach = std * math.sqrt(peak * peak + 80)
    low, high = max(a, mean - reach), min(b, mean + reach)

    def accepted(n: int) -> Any:
        if inside > 0.3:
            drawn = mean + std * stream.normal((n,), "float64", xp)
            return drawn[(drawn >= a) & (drawn <= b)]
        drawn = low + (high - low) * stream.uniform((n,), "float64", xp)
        density = xp.exp((peak * peak - ((drawn - mean) / std) ** 2) / 2)
        return drawn[stream.uniform((n,), "float64", xp) < density]

    parts, needed = [xp.empty(0)], tensor.numel()
    while needed:
        parts.append(accepted(needed))
        needed -= parts[-1].size
    return tensor.copy_(tensor._result(xp.concatenate(parts).reshape(tensor.shape)))


_UNIT_GAIN = {"linear", "sigmoid"} | {f"conv{t}{n}d" for t in ("", "_transpose") for n in (1, 2, 3)}


def calculate_gain(nonlinearity: str, param: float | None = None) -> float:
    """The factor by which initial weights are scaled to keep the variance through this nonlinearity.

    linear, conv*, sigmoid: 1; tanh: 5/3; relu: sqrt(2); leaky_relu: sqrt(2 / (1 + param^2)) with param the negative
    slope, 0.01 unless given; selu: 3/4. ValueError: another name, or a slope that is not a number.
    """
    if nonlinearity in _UNIT_GAIN:
        return 1.0
    if nonlinearity == "tanh":
        return 5.0 / 3.0
    if nonlinearity == "relu":
        return math.sqrt(2.0)
    if nonlinearity == "leaky_relu":
        slope = 0.01 if param is None else param
        if isinstance(slope, bool) or not isinstance(slope, (int, float)):
            raise ValueError(f"negative_slope {slope} not a valid number")
        return math.sqrt(2.0 / (1.0 + slope * slope))
    if nonlinearity == "selu":
        return 3.0 / 4.0
    raise ValueError(f"Unsupported nonlinearity {nonlinearity}; use linear, sigmoid, tanh, relu, leaky_relu or selu")


def _calculate_fan_in_and_fan_out(tensor: Tensor) -> tuple[int, int]:
    """How many inputs feed one output of a weight (out, in, *kernel), and how many outputs one input feeds."""
    if tensor.ndim < 2:
        raise ValueError(
            "Fan in and fan out can not be computed for tensor with fewer than 2 dimensions, this one has shape "
            f"{tuple(tensor.shape)}"
        )
    out, inputs, *kernel = tensor.shape
    return inputs * math.prod(kernel), out * math.prod(kernel)


def _xavier_std(tensor: Tensor, gain: float) -> float:
    return gain * math.sqrt(2.0 / sum(_calculate_fan_in_and_fan_out(tensor)))


def xavier_uniform_(tensor: Tensor, gain: float = 1.0, generator: Generator | None = None) -> Tensor:
    """Fill uniformly on [-a, a) with a = gain * sqrt(6 / (fan_in + fan_out)). Glorot and Bengio 2010."""
    bound = math.sqrt(3.0) * _xavier_std(tensor, gain)
    return uniform_(tensor, -bound, bound, generator)


def xavier_normal_(tensor: Tensor, gain: float = 1.0, generator: Generator | None = None) -> Tensor:
    """Fill with N(0, std^2), std = gain * sqrt(2 / (fan_in + fan_out)). Glorot and Bengio 2010."""
    return normal_(tensor, 0.0, _xavier_std(tensor, gain), generator)


def _kaiming_std(tensor: Tensor, a: float, mode: str, nonlinearity: str) -> float:
    if mode not in ("fan_in", "fan_out"):
        raise ValueError(f"Mode {mode} not supported, please use one of ['fan_in', 'fan_out']")
    fan_in, fan_out = _calculate_fan_in_and_fan_out(tensor)
    return calculate_gain(nonlinearity, a) / math.sqrt(fan_in if mode == "fan_in" else fan_out)


def _nothing_to_fill(tensor: Tensor) -> bool:
    if tensor.numel() == 0:
        warnings.warn("Initializing zero-element tensors is a no-op", stacklevel=3)
    return tensor.numel() == 0


def kaiming_uniform_(
    tensor: Tensor, a: float = 0.0, mode: str = "fan_in", nonlinearity: str = "leaky_relu",
    generator: Generator | None = None,
) -> Tensor:  # fmt: skip
    """Fill uniformly on [-b, b) with b = gain * sqrt(3 / fan). He et al. 2015, arXiv:1502.01852.

    gain is `calculate_gain(nonlinearity, a)`; fan is fan_in to keep the variance forwards, fan_out backwards.
    """
    if _nothing_to_fill(tensor):
        return tensor
    bound = math.sqrt(3.0) * _kaiming_std(tensor, a, mode, nonlinearity)
    return uniform_(tensor, -bound, bound, generator)


def kaiming_normal_(
    tensor: Tensor, a: float = 0.0, mode: str = "fan_in", nonlinearity: str = "leaky_relu",
    generator: Generator | None = None,
) -> Tensor:  # fmt: skip
    """Fill with N(0, std^2), std = gain / sqrt(fan). He et al. 2015, arXiv:1502.01852. See `kaiming_uniform_`."""
    if _nothing_to_fill(tensor):
        return tensor
    return normal_(tensor, 0.0, _kaiming_std(tensor, a, mode, nonlinearity), generator)


@_fills
def orthogonal_(tensor: Tensor, gain: float = 1.0, generator: Generator | None = None) -> Tensor:
    """Fill with a (semi-)orthogonal matrix times gain: rows, or columns, of length gain at right angles.

    Dimensions after the first are flattened. Saxe et al. 2013, arXiv:1312.6120. It is factorised on the CPU, for a GPU
    too, by whose libraries the last digits would differ. ValueError: fewer than two dimensions.
    """
    if tensor.ndim < 2:
        raise ValueError(f"orthogonal_: only tensors with 2 or more dimensions are supported, got {tensor.ndim}")
    if tensor.numel() == 0:
        return tensor
    rows = tensor.shape[0]
    normal = random.stream_of(generator, tensor._xp).normal((rows, tensor.numel() // rows), "float64")
    tall = normal if normal.shape[0] >= normal.shape[1] else normal.T
    q, r = np.linalg.qr(tall)
    q = q * np.sign(np.diagonal(r))  # makes the distribution uniform: Mezzadri 2007, arXiv:math-ph/0609050
    q = q if tall is normal else q.T
    return tensor.copy_(tensor._result(gain * q.reshape(tensor.shape)))


if not _TYPE_CHECKING:  # for type checkers an absent name stays an error
    __getattr__ = _absent.getter("nn.init")
