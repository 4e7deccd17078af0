"""Random tensors. The same seed gives the same numbers on every platform and device (see `backend/random.py`)."""

from __future__ import annotations

import secrets
from typing import Any

import numpy as np

from .autograd.exhausted import allocates
from .backend import dtypes, transfers
from .backend.device import Device, array_module, as_device
from .backend.random import Stream
from .functional.arguments import cast, ready, require_tensor, sizes
from .tensor import Tensor, made


class Generator:
    """A source of random numbers with a seed and a position of its own."""

    def __init__(self, device: Any = "cpu") -> None:
        self.device: Device = as_device(device)
        self.stream = Stream(67280421310721)  # PyTorch's default seed
        self._on_gpus: Stream | None = None  # what GPUs draw from; None: from the same one

    def manual_seed(self, seed: int) -> Generator:
        """Start the stream of this seed from its beginning."""
        if isinstance(seed, bool) or not isinstance(seed, (int, np.integer)):
            raise TypeError(f"manual_seed expected an int, got {type(seed).__name__}")
        self.stream.reseed(int(seed))
        self._on_gpus = None
        return self

    def seed(self) -> int:
        """Start from a seed that the operating system draws, and return it."""
        return self.manual_seed(secrets.randbits(63)).initial_seed()

    def initial_seed(self) -> int:
        """The seed of the current stream."""
        return self.stream.seed

    def seed_gpus(self, seed: int) -> None:
        """Let GPUs draw from a stream of their own, which starts from this seed, until the next `manual_seed`."""
        self._on_gpus = Generator().manual_seed(seed).stream

    def stream_on(self, xp: Any) -> Stream:
        """The stream from which numbers are drawn on the device of an array module."""
        return self.stream if xp is np or self._on_gpus is None else self._on_gpus

    def get_state(self) -> Tensor:
        """Seed and position as a uint8 tensor of 48 bytes; twice as many if GPUs have a stream of their own."""
        streams = [self.stream] if self._on_gpus is None else [self.stream, self._on_gpus]
        raw = b"".join(
            (seed % 2**128).to_bytes(16, "little") + counter.to_bytes(32, "little")
            for seed, counter in (stream.state() for stream in streams)
        )
        return made(np.frombuffer(raw, np.uint8).copy())

    def set_state(self, new_state: Tensor) -> Generator:
        """Go on from a position given by `get_state`. TypeError, ValueError: not such a state."""
        if not isinstance(new_state, Tensor) or new_state.dtype != dtypes.uint8:
            raise TypeError(f"set_state: expected the uint8 tensor that get_state gives, got {new_state!r}")
        if new_state.numel() not in (_STATE, 2 * _STATE):
            raise ValueError(
                f"set_state: a state has {_STATE} bytes, or {2 * _STATE} with that of GPUs, this tensor has "
                f"{new_state.numel()}"
            )
        raw = transfers.to_host(new_state._array).tobytes()
        self._on_gpus = Stream(0) if raw[_STATE:] else None
        for stream, part in (self.stream, raw[:_STATE]), (self._on_gpus, raw[_STATE:]):
            if stream is not None:
                stream.restore(int.from_bytes(part[:16], "little"), int.from_bytes(part[16:], "little"))
        return self

    def __repr__(self) -> str:
        return f"Generator(seed={self.stream.seed})"


_STATE = 48  # bytes of the state of one stream
default_generator = Generator()


def manual_seed(seed: int) -> Generator:
    """Start the default generator anew from this seed, so that what follows is repeatable; returns the generator."""
    return default_generator.manual_seed(seed)


def seed() -> int:
    """Seed the default generator from the operating system and return the seed."""
    return default_generator.seed()


def initial_seed() -> int:
    """The seed of the default generator."""
    return default_generator.initial_seed()


def get_rng_state() -> Tensor:
    """Seed and position of the default generator."""
    return default_generator.get_state()


def set_rng_state(new_state: Tensor) -> None:
    """Put the default generator where `get_rng_state` found it."""
    default_generator.set_state(new_state)


def stream_of(generator: Generator | None, xp: Any) -> Stream:
    """The stream to draw from on the device of an array module: the generator's, or the default one's."""
    return (default_generator if generator is None else generator).stream_on(xp)


def _floating(dtype: Any, name: str) -> Any:
    d = dtypes.get_default_dtype() if dtype is None else dtypes.as_dtype(dtype)
    if not d.is_floating_point:
        raise NotImplementedError(f"{name}: expected a floating dtype, got {d}; use randint for integers")
    return d.dtype


@allocates
def rand(*size: Any, generator: Generator | None = None, dtype: Any = None, device: Any = None,
         requires_grad: bool = False) -> Tensor:  # fmt: skip
    """Numbers uniform on [0, 1), in the given shape.

    size: integers or one sequence, `rand(2, 3)` or `rand((2, 3))`; none gives a 0-d tensor. generator: the source of
    the numbers, by default the one that `manual_seed` seeds. dtype: float32 unless set otherwise
    (`set_default_dtype`). NotImplementedError: an integer dtype.
    """
    xp = array_module(as_device(device))
    return made(stream_of(generator, xp).uniform(sizes(size), _floating(dtype, "rand"), xp), requires_grad)


@allocates
def randn(*size: Any, generator: Generator | None = None, dtype: Any = None, device: Any = None,
          requires_grad: bool = False) -> Tensor:  # fmt: skip
    """Numbers from the normal distribution of mean 0 and variance 1, in the given shape.

    size, generator, dtype and errors as of `rand`: `randn(B, T, C)` or `randn((B, T, C))`.
    """
    xp = array_module(as_device(device))
    return made(stream_of(generator, xp).normal(sizes(size), _floating(dtype, "randn"), xp), requires_grad)


@allocates
def randint(low: int = 0, high: Any = None, size: Any = None, *, generator: Generator | None = None, dtype: Any = None,
            device: Any = None) -> Tensor:  # fmt: skip
    """Integers uniform on low, ..., high - 1, in the shape `size`; `randint(high, size)` starts at 0.

    size: a sequence, `randint(0, 10, (2, 3))`. The dtype is int64 unless given. TypeError: no size; RuntimeError:
    low is not below high.
    """
    if not isinstance(high, (int, np.integer)):
        low, high, size = 0, low, (size if high is None else high)
    if size is None:
        raise TypeError("randint(): missing the size, such as (3,)")
    if high <= low:
        raise RuntimeError(f"random_ expects 'from' to be less than 'to', but got from={low} >= to={high}")
    xp = array_module(as_device(device))
    drawn = made(stream_of(generator, xp).integers(int(low), int(high), sizes((size,)), xp))
    return drawn if dtype is None else cast(drawn, dtypes.as_dtype(dtype))


@allocates
def randperm(n: int, *, generator: Generator | None = None, dtype: Any = None, device: Any = None) -> Tensor:
    """The integers 0 .. n-1 (int64, or dtype) in a random order, shape (n,). RuntimeError: n is negative."""
    if n < 0:
        raise RuntimeError(f"randperm: n must be non-negative, got {n}")
    xp = array_module(as_device(device))
    drawn = made(stream_of(generator, xp).permutation(n, xp))
    return drawn if dtype is None else cast(drawn, dtypes.as_dtype(dtype))


def rand_like(input: Tensor, *, dtype: Any = None, device: Any = None, generator: Generator | None = None,
              requires_grad: bool = False) -> Tensor:  # fmt: skip
    """Numbers uniform on [0, 1), in the shape (and dtype) of the input."""
    place = input.device if device is None else device
    return rand(input.shape, dtype=dtype or input.dtype, device=place, generator=generator, requires_grad=requires_grad)


def randn_like(input: Tensor, *, dtype: Any = None, device: Any = None, generator: Generator | None = None,
               requires_grad: bool = False) -> Tensor:  # fmt: skip
    """Standard normal, in the shape (and dtype) of the input."""
    place = input.device if device is None else device
    dtype = dtype or input.dtype
    return randn(input.shape, dtype=dtype, device=place, generator=generator, requires_grad=requires_grad)


def randint_like(input: Tensor, low: int, high: int | None = None, *, dtype: Any = None,
                 generator: Generator | None = None) -> Tensor:  # fmt: skip
    """Integers uniform on [low, high), in the shape and dtype of the input."""
    low, high = (0, low) if high is None else (low, high)
    drawn = randint(low, high, input.shape, generator=generator, device=input.device)
    return cast(drawn, dtypes.as_dtype(dtype or input.dtype))


@allocates
def normal(mean: Any, std: Any = 1.0, size: Any = None, *, generator: Generator | None = None) -> Tensor:
    """Normal with this mean and standard deviation (numbers with a size, or tensors that broadcast)."""
    if size is None:
        if not isinstance(mean, Tensor) and not isinstance(std, Tensor):
            raise TypeError("normal: give size= when mean and std are both numbers")
        shape = np.broadcast_shapes(*(tuple(x.shape) for x in (mean, std) if isinstance(x, Tensor)))
        size = shape
    place = next((x.device for x in (mean, std) if isinstance(x, Tensor) and x.ndim), None)
    return randn(size, generator=generator, device=place) * std + mean


@allocates
def bernoulli(input: Tensor, *, generator: Generator | None = None) -> Tensor:
    """1 with the probability that the input gives for each element, else 0. RuntimeError: not a probability."""
    require_tensor("bernoulli", "input", input)
    p = ready(input)
    if p.size and not bool(((p >= 0) & (p <= 1)).all()):
        raise RuntimeError(f"bernoulli expects probabilities in [0, 1], got values from {p.min()} to {p.max()}")
    u = stream_of(generator, input._xp).uniform(p.shape, p.dtype, input._xp)
    return made((u < p).astype(p.dtype))


@allocates
def multinomial(input: Tensor, num_samples: int, replacement: bool = False, *,
                generator: Generator | None = None) -> Tensor:  # fmt: skip
    """Indices drawn with probabilities proportional to the rows of the input.

    input: (N, C) or (C,), non-negative weights -> (N, num_samples) or (num_samples,) of int64. With replacement by
    inverting the cumulative sum; without, the num_samples smallest of -log(u)/weight (Efraimidis and Spirakis 2006).
    RuntimeError: negative or non-finite weights, a row of zeros, more samples than non-zero weights.
    """
    require_tensor("multinomial", "input", input)
    if not dtypes.is_floating(input._array.dtype) or input.ndim not in (1, 2):
        raise RuntimeError(
            f"multinomial expects floating weights of shape (C,) or (N, C), got {input.dtype} {tuple(input.shape)}"
        )
    xp = input._xp
    weights = xp.atleast_2d(ready(input)).astype(np.float64)
    if not bool((xp.isfinite(weights) & (weights >= 0)).all()):
        raise RuntimeError("probability tensor contains either `inf`, `nan` or element < 0")
    if num_samples <= 0:
        raise RuntimeError(f"cannot sample n_sample <= 0 samples, got {num_samples}")
    positive = (weights > 0).sum(axis=1)
    fewest = int(positive.min()) if positive.size else num_samples
    if fewest == 0:
        raise RuntimeError("invalid multinomial distribution (sum of probabilities <= 0)")
    if not replacement and fewest < num_samples:
        raise RuntimeError(
            f"cannot sample {num_samples} different indices from {fewest} non-zero weights without replacement; pass "
            "replacement=True or draw fewer"
        )
    rows, classes = weights.shape
    stream = stream_of(generator, xp)
    if replacement or num_samples == 1:
        ends = weights.cumsum(axis=1)
        u = stream.uniform((rows, num_samples), np.float64, xp) * ends[:, -1:]
        places = xp.stack([xp.searchsorted(ends[i], u[i], side="right") for i in range(rows)])
        # The product may round up to the total, which no end exceeds: then the last class with a weight is meant.
        drawn = xp.minimum(places, (ends < ends[:, -1:]).sum(axis=1, keepdims=True))
    else:
        u = stream.uniform((rows, classes), np.float64, xp)
        some = weights > 0
        keys = xp.where(some, -xp.log1p(-u) / xp.where(some, weights, 1.0), np.inf)
        drawn = xp.argsort(keys, axis=1, kind="stable")[:, :num_samples]
    return made(drawn.reshape((*input.shape[:-1], num_samples)).astype(np.int64, copy=False))
