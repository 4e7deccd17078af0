"""The GPU, as PyTorch programs ask for it: NVIDIA's or AMD's, through CuPy. Without one, `is_available()` is False."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING as _TYPE_CHECKING
from typing import Any, NamedTuple

from .. import absent as _absent
from .. import random
from ..autograd import unfinished as _unfinished
from ..autograd.exhausted import OutOfMemoryError as OutOfMemoryError
from ..backend import capture as _capture
from ..backend import gpu, peaks, promises
from ..backend.device import Device as _Device
from . import amp as amp
from .graphs import graph as graph


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
    """Whether there is a GPU, which computes in bfloat16; without emulation, whether its own instructions do."""
    return is_available() and (including_emulation or gpu.has_bfloat16())


def current_device() -> int:
    """The index of the GPU that "cuda" means. RuntimeError: there is none."""
    return gpu.checked_index(None)


def set_device(device: Any) -> None:
    """Let "cuda" mean this GPU in this thread: an index, "cuda:1" or a device; an index below 0 changes nothing.

    RuntimeError: there is no such GPU.
    """
    if not _is_none(device):
        gpu.set_current(_index(device))


def _is_none(device: Any) -> bool:
    """Whether this is the index of no GPU."""
    return isinstance(device, int) and device < 0


def _index(device: Any) -> int:
    """The index of a GPU given in any way; None: the current one. ValueError: not a GPU."""
    chosen = _Device("cuda") if device is None else _Device(device)
    if chosen.type != "cuda":
        raise ValueError(f"expected a cuda device, but got {chosen}")
    return gpu.checked_index(chosen.index)


class device:
    """Within it "cuda" means this GPU: `with cuda.device(1): ...`. An index below 0 or None changes nothing."""

    def __init__(self, device: Any) -> None:
        self._wanted = None if device is None or _is_none(device) else _index(device)

    def __enter__(self) -> None:
        self._outside = gpu.checked_index(None)
        if self._wanted is not None:
            gpu.set_current(self._wanted)

    def __exit__(self, *exc: object) -> None:
        gpu.set_current(self._outside)


def synchronize(device: Any = None) -> None:
    """Wait until the GPU has done all that it was given. RuntimeError: there is none."""
    _unfinished.finish()
    with gpu.cupy().cuda.Device(_index(device)) as chosen:
        chosen.synchronize()
    promises.read()


def get_device_name(device: Any = None) -> str:
    """The name of a GPU. RuntimeError: there is none."""
    return get_device_properties(device).name


class _DeviceProperties(NamedTuple):
    """What a GPU is; sizes in bytes."""

    name: str
    major: int
    minor: int
    total_memory: int
    multi_processor_count: int
    warp_size: int
    max_threads_per_multi_processor: int
    shared_memory_per_block: int
    L2_cache_size: int


# What CUDA calls these properties, in their order.
_PROPERTIES = """name major minor totalGlobalMem multiProcessorCount warpSize maxThreadsPerMultiProcessor
sharedMemPerBlock l2CacheSize""".split()


def get_device_properties(device: Any = None) -> _DeviceProperties:
    """What a GPU is: `.name`, `.total_memory`, `.multi_processor_count` and so on. RuntimeError: there is none."""
    found = gpu.cupy().cuda.runtime.getDeviceProperties(_index(device))
    name, *numbers = [found[name] for name in _PROPERTIES]
    return _DeviceProperties(name.decode(errors="replace"), *numbers)


def get_device_capability(device: Any = None) -> tuple[int, int]:
    """The compute capability of a GPU. RuntimeError: there is none."""
    found = get_device_properties(device)
    return found.major, found.minor


# ---- random numbers --------------------------------------------------------------------------------------------------


def manual_seed(seed: int) -> None:
    """Let GPUs draw from a stream of their own, which starts from this seed. Without a GPU, nothing, as in PyTorch.

    What the CPU draws stays as it is. `tinygrad_edu.manual_seed` has one stream serve all devices again, as at first;
    `tinygrad_edu.get_rng_state` tells of both. TypeError: the seed is not an integer.
    """
    (random.default_generator if is_available() else random.Generator()).seed_gpus(seed)


def manual_seed_all(seed: int) -> None:
    """The same as `manual_seed`."""
    manual_seed(seed)


# ---- memory ----------------------------------------------------------------------------------------------------------


def memory_allocated(device: Any = None) -> int:
    """Bytes in use on the GPU by arrays; 0 without a GPU."""
    if not is_available():
        return 0
    with gpu.cupy().cuda.Device(_index(device)):
        return int(gpu.cupy().get_default_memory_pool().used_bytes())


def memory_reserved(device: Any = None) -> int:
    """Bytes held on the GPU: in use, or kept for what comes next; 0 without a GPU."""
    if not is_available():
        return 0
    with gpu.cupy().cuda.Device(_index(device)):
        return int(gpu.cupy().get_default_memory_pool().total_bytes())


def mem_get_info(device: Any = None) -> tuple[int, int]:
    """Bytes of the GPU's memory that no program uses, and all of them. RuntimeError: there is no GPU."""
    with gpu.cupy().cuda.Device(_index(device)) as chosen:
        free, total = chosen.mem_info
    return int(free), int(total)


def max_memory_allocated(device: Any = None) -> int:
    """The most bytes that were in use on the GPU at once; 0 without one.

    Counted from the first call of this, of `max_memory_reserved` or of `reset_peak_memory_stats` on, in its thread.
    """
    if not is_available():
        return 0
    return max(peaks.watched().used.get(_index(device), 0), memory_allocated(device))


def max_memory_reserved(device: Any = None) -> int:
    """The most bytes that were held on the GPU at once, counted as for `max_memory_allocated`; 0 without one."""
    if not is_available():
        return 0
    return max(peaks.watched().held.get(_index(device), 0), memory_reserved(device))


def reset_peak_memory_stats(device: Any = None) -> None:
    """Count the most bytes anew from now on. RuntimeError: there is no GPU."""
    index = _index(device)
    peaks.watched().used[index], peaks.watched().held[index] = memory_allocated(index), memory_reserved(index)


def empty_cache() -> None:
    """Give memory that is held but not in use back to the GPUs. Nothing without one."""
    for index in range(device_count()):
        with gpu.cupy().cuda.Device(index):
            gpu.cupy().get_default_memory_pool().free_all_blocks()


# ---- streams and events ----------------------------------------------------------------------------------------------


class Stream:
    """A queue of work for a GPU. In a `with` statement "cuda" means this GPU, and its work goes into this queue.

    priority changes nothing here. RuntimeError: there is no such GPU.
    """

    def __init__(self, device: Any = None, priority: int = 0) -> None:
        self.device = _Device("cuda", _index(device))
        with gpu.cupy().cuda.Device(self.device.index):
            self.cuda_stream = gpu.cupy().cuda.Stream(non_blocking=True)
        self._outside: list[int] = []  # what "cuda" means outside, of nested uses

    @staticmethod
    def _of(cuda_stream: Any, index: int) -> Stream:
        """CuPy's stream as one of ours."""
        new = object.__new__(Stream)
        new.device, new.cuda_stream, new._outside = _Device("cuda", index), cuda_stream, []
        return new

    def __enter__(self) -> Stream:
        _capture.refuse("it uses a stream of its own, of which the graph knows nothing; leave the work in one stream")
        _unfinished.finish()  # where it was begun
        self._outside.append(current_device())
        set_device(self.device)
        gpu.use(self.device.index)
        self.cuda_stream.__enter__()
        return self

    def __exit__(self, *exc: Any) -> None:
        gpu.use(self.device.index)
        self.cuda_stream.__exit__(*exc)
        gpu.set_current(self._outside.pop())

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Stream) and (self.device, self._at) == (other.device, other._at)

    def __hash__(self) -> int:
        return hash((self.device, self._at))

    @property
    def _at(self) -> int:
        return self.cuda_stream.ptr

    def synchronize(self) -> None:
        """Wait until all work of this queue is done."""
        _unfinished.finish()
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
        event.wait(self)

    def wait_stream(self, stream: Stream) -> None:
        """Begin what comes next only when the other queue's work so far is done."""
        self.wait_event(stream.record_event())


def current_stream(device: Any = None) -> Stream:
    """The queue that the work of a GPU goes into now. RuntimeError: there is none."""
    index = _index(device)
    return Stream._of(gpu.cupy().cuda.get_current_stream(index), index)


def default_stream(device: Any = None) -> Stream:
    """The queue that the work of a GPU goes into where no other is chosen. RuntimeError: there is none."""
    return Stream._of(gpu.cupy().cuda.Stream.null, _index(device))


def stream(stream: Stream | None) -> Any:
    """For a `with` statement: `with cuda.stream(s): ...` is `with s: ...`; None changes nothing."""
    return contextlib.nullcontext() if stream is None else stream


class Event:
    """A mark in a queue of work: it happens when the work before it is done.

    It belongs to the GPU of the queue that it is first put into.
    """

    def __init__(self, enable_timing: bool = False, blocking: bool = False) -> None:
        gpu.cupy()
        self.device: _Device | None = None  # None: not recorded yet
        self.cuda_event: Any = None
        self._options = {"block": blocking, "disable_timing": not enable_timing}

    def record(self, stream: Stream | None = None) -> None:
        """Put the mark into a queue, by default the current one. RuntimeError: it is that of another GPU."""
        _unfinished.finish()  # what was asked for before the mark
        stream = current_stream() if stream is None else stream
        if self.device is None:
            self.device = stream.device
            with gpu.cupy().cuda.Device(self.device.index):
                self.cuda_event = gpu.cupy().cuda.Event(**self._options)
        if self.device != stream.device:
            raise RuntimeError(
                f"Event.record: the event is of {self.device}, but the stream of {stream.device}; make another event"
            )
        self.cuda_event.record(stream.cuda_stream)

    def wait(self, stream: Stream | None = None) -> None:
        """Let a queue, by default the current one, begin what comes next only when this has happened."""
        if self.cuda_event is not None:
            (current_stream() if stream is None else stream).cuda_stream.wait_event(self.cuda_event)

    def synchronize(self) -> None:
        """Wait until it has happened; an event that was never recorded has."""
        if self.cuda_event is not None:
            self.cuda_event.synchronize()

    def query(self) -> bool:
        """Whether it has happened; an event that was never recorded has."""
        return self.cuda_event is None or bool(self.cuda_event.done)

    def elapsed_time(self, end_event: Event) -> float:
        """Milliseconds from this event to another.

        ValueError: one of them was made without enable_timing=True, was never recorded, or is another GPU's.
        RuntimeError: one has not happened yet.
        """
        both = self, end_event
        if any(event._options["disable_timing"] for event in both):
            raise ValueError("Both events must be created with argument 'enable_timing=True'.")
        if any(event.cuda_event is None for event in both):
            raise ValueError("Both events must be recorded before calculating elapsed time; call record() first.")
        if self.device != end_event.device:
            raise ValueError(f"elapsed_time: the events are of {self.device} and {end_event.device}; use one GPU's")
        if not all(event.query() for event in both):
            raise RuntimeError(
                "Both events must be completed before calculating elapsed time; call synchronize() on the later one."
            )
        return float(gpu.cupy().cuda.get_elapsed_time(self.cuda_event, end_event.cuda_event))


if not _TYPE_CHECKING:  # for type checkers an absent name stays an error
    __getattr__ = _absent.getter("cuda")
