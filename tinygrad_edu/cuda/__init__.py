"""The GPU, as PyTorch programs ask for it: NVIDIA's or AMD's, through CuPy. Without one, `is_available()` is False."""

from __future__ import annotations

from typing import TYPE_CHECKING as _TYPE_CHECKING
from typing import Any

from .. import absent as _absent
from .. import random
from ..autograd.exhausted import OutOfMemoryError as OutOfMemoryError
from ..backend import gpu, peaks, promises
from ..backend.device import Device as _Device
from ..backend.device import as_device as _as_device
from . import amp as amp


def is_available() -> bool:
    """Whether there is a GPU to compute on, and CuPy for it."""
    return gpu.is_available()


def device_count() -> int:
    """The number of GPUs to compute on."""
    return gpu.count()


def is_initialized() -> bool:
    """Whether the GPU was asked for already."""
    return bool(gpu.array_types)


def is_bf16_supported(including_emulation: bool = True) -> bool:
    """Whether there is a tensor dtype bfloat16: no."""
    return False


def current_device() -> int:
    """The index of the GPU that "cuda" means. RuntimeError: there is none."""
    return gpu.checked_index(None)


def set_device(device: Any) -> None:
    """Let "cuda" mean this GPU (an index, "cuda:1" or a device) in this thread. RuntimeError: there is no such GPU."""
    gpu.set_current(_index(device))


def _index(device: Any) -> int:
    """The index of a GPU given in any way; None: the current one. ValueError: not a GPU."""
    chosen = _Device("cuda") if device is None else _Device(device)
    if chosen.type != "cuda":
        raise ValueError(f"expected a cuda device, but got {chosen}")
    return gpu.checked_index(chosen.index)


class device:
    """Within it "cuda" means this GPU: `with cuda.device(1): ...`. An index below 0 or None changes nothing."""

    def __init__(self, device: Any) -> None:
        self._wanted = None if device is None or (isinstance(device, int) and device < 0) else _index(device)

    def __enter__(self) -> None:
        self._outside = gpu.checked_index(None)
        if self._wanted is not None:
            gpu.set_current(self._wanted)

    def __exit__(self, *exc: object) -> None:
        gpu.set_current(self._outside)


def synchronize(device: Any = None) -> None:
    """Wait until the GPU has done all that it was given. RuntimeError: there is none."""
    with gpu.cupy().cuda.Device(_index(device)) as chosen:
        chosen.synchronize()
    promises.read()


def get_device_name(device: Any = None) -> str:
    """The name of a GPU. RuntimeError: there is none."""
    name = get_device_properties(device)["name"]
    return name.decode() if isinstance(name, bytes) else str(name)


def get_device_properties(device: Any = None) -> Any:
    """What a GPU can do, as a dict of CUDA's names. RuntimeError: there is none."""
    return gpu.cupy().cuda.runtime.getDeviceProperties(_index(device))


def get_device_capability(device: Any = None) -> tuple[int, int]:
    """The compute capability of a GPU. RuntimeError: there is none."""
    found = get_device_properties(device)
    return found["major"], found["minor"]


# ---- random numbers --------------------------------------------------------------------------------------------------


def manual_seed(seed: int) -> None:
    """`tinygrad_edu.manual_seed`: one stream of numbers serves all devices. Without a GPU, nothing, as in PyTorch.

    TypeError: the seed is not an integer.
    """
    (random.default_generator if is_available() else random.Generator()).manual_seed(seed)


def manual_seed_all(seed: int) -> None:
    """The same as `manual_seed`."""
    manual_seed(seed)


# ---- memory ----------------------------------------------------------------------------------------------------------


def _pool(device: Any) -> tuple[int, Any]:
    return _index(device), gpu.cupy().get_default_memory_pool()


def memory_allocated(device: Any = None) -> int:
    """Bytes in use on the GPU by arrays; 0 without a GPU."""
    if not is_available():
        return 0
    index, pool = _pool(device)
    with gpu.cupy().cuda.Device(index):
        return int(pool.used_bytes())


def memory_reserved(device: Any = None) -> int:
    """Bytes held on the GPU: in use, or kept for what comes next; 0 without a GPU."""
    if not is_available():
        return 0
    index, pool = _pool(device)
    with gpu.cupy().cuda.Device(index):
        return int(pool.total_bytes())


def max_memory_allocated(device: Any = None) -> int:
    """The most bytes that were in use on the GPU since `reset_peak_memory_stats`; 0 without one."""
    if not is_available():
        return 0
    return max(peaks.watched().used.get(_index(device), 0), memory_allocated(device))


def max_memory_reserved(device: Any = None) -> int:
    """The most bytes that were held on the GPU since `reset_peak_memory_stats`; 0 without one."""
    if not is_available():
        return 0
    return max(peaks.watched().held.get(_index(device), 0), memory_reserved(device))


def reset_peak_memory_stats(device: Any = None) -> None:
    """Count the most bytes anew from now on. RuntimeError: there is no GPU."""
    index = _index(device)
    peaks.watched().used[index], peaks.watched().held[index] = memory_allocated(index), memory_reserved(index)


def empty_cache() -> None:
    """Give memory that is held but not in use back to the GPU. Nothing without one."""
    if is_available():
        gpu.cupy().get_default_memory_pool().free_all_blocks()


# ---- streams and events ----------------------------------------------------------------------------------------------


class Stream:
    """A queue of work for the GPU. In a `with` statement, what is computed inside goes into it."""

    def __init__(self, device: Any = None, priority: int = 0) -> None:
        self.device = _as_device(_Device("cuda", _index(device)))
        with gpu.cupy().cuda.Device(self.device.index):
            self.cuda_stream = gpu.cupy().cuda.Stream(non_blocking=True)

    def __enter__(self) -> Stream:
        self.cuda_stream.__enter__()
        return self

    def __exit__(self, *exc: Any) -> None:
        self.cuda_stream.__exit__(*exc)

    def synchronize(self) -> None:
        """Wait until all work of this queue is done."""
        self.cuda_stream.synchronize()

    def query(self) -> bool:
        """Whether all work of this queue is done."""
        return bool(self.cuda_stream.done)

    def record_event(self, event: Event | None = None) -> Event:
        """An event that happens when the work so far is done."""
        event = Event() if event is None else event
        event.record(self)
        return event

    def wait_event(self, event: Event) -> None:
        """Begin what comes next only when the event has happened."""
        self.cuda_stream.wait_event(event.cuda_event)

    def wait_stream(self, stream: Stream) -> None:
        """Begin what comes next only when the other queue's work so far is done."""
        self.wait_event(stream.record_event())


class Event:
    """A mark in a queue of work: it happens when the work before it is done."""

    def __init__(self, enable_timing: bool = False, blocking: bool = False) -> None:
        self.cuda_event = gpu.cupy().cuda.Event(block=blocking, disable_timing=not enable_timing)

    def record(self, stream: Stream | None = None) -> None:
        """Put the mark into a queue, by default the current one."""
        self.cuda_event.record(None if stream is None else stream.cuda_stream)

    def synchronize(self) -> None:
        """Wait until it has happened."""
        self.cuda_event.synchronize()

    def query(self) -> bool:
        """Whether it has happened."""
        return bool(self.cuda_event.done)

    def elapsed_time(self, end_event: Event) -> float:
        """Milliseconds from this event to another; both need enable_timing=True."""
        return float(gpu.cupy().cuda.get_elapsed_time(self.cuda_event, end_event.cuda_event))


if not _TYPE_CHECKING:  # for type checkers an absent name stays an error
    __getattr__ = _absent.getter("cuda")
