"""`cuda.graph`: a step whose launches the GPU repeats by itself. See docs/decisions/0017."""

from __future__ import annotations

import contextlib
import functools
import gc
import threading
import warnings
from collections.abc import Callable, Iterator
from typing import Any

from .. import dispatch
from ..autograd import unfinished
from ..autograd.modes import observe, state
from ..backend import capture, dtypes, gpu, promises, transfers
from ..backend.capture import CannotCapture, Known, Recorder
from ..backend.device import Device
from ..tensor import Tensor

WARM_UP = 3  # calls that run the step as it is: kernels are compiled, and the optimizer gets its state
MOST_GRAPHS = 4  # that are kept, for other arguments or gradients: each has the memory of a step
MOST_CAPTURES = 32  # more mean that something changes from call to call, and that graphs cost more than they save
_one_at_a_time = threading.Lock()


def graph(step: Callable[..., Any]) -> Callable[..., Any]:
    """The same step as one launch: its work on the GPU is captured at the fourth call, and repeated from then on.

        @tinygrad_edu.cuda.graph
        def step(x, y):
            optimizer.zero_grad()
            loss = model(x.to("cuda"), y.to("cuda"))[1]
            loss.backward()
            clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            return loss

    A GPU starts faster what it is given at once than what Python gives it piece by piece. The Tensors among the
    arguments, also within tuples, lists and dicts, are copied into memory of the graph. They may be of the CPU, but the
    step must move them to the GPU, as it runs as written at first. For other shapes, dtypes or numbers among the
    arguments the step is captured anew, and so it is where the graph would use what is no longer there: parameters
    that were moved, frozen or replaced, other hooks or settings of the modules that run, the state of an optimizer
    that was loaded.

    As with torch.cuda.graphs, the Tensors that come back and the gradients that are left are memory of the graph, which
    the next call overwrites: clone() what is to stay. Python runs in the first four calls alone: prints, hooks and
    counters do nothing in the others, and what one call leaves to the next must be written in place (copy_, add_).
    While the engine is observed (inspect.trace, detect_anomaly) the step runs as it is. AdamW and Adam go by the
    learning rate and the other options that their groups have at each call. What a graph would get wrong it does not
    hold: reading values, random numbers, other optimizers, GradScaler, changing an argument in place. Then, and where
    there are no graphs (on the CPU, on AMD's GPUs), one warning says why, and the step runs as it is. TypeError: not a
    function.
    """
    if not callable(step):
        raise TypeError(
            f"cuda.graph: expected a function to capture, got {type(step).__name__}; it is no context manager here: "
            "write the work as a function of its Tensors"
        )
    return _Graphed(step)


class _Graphed:
    """What `graph` returns."""

    def __init__(self, step: Callable[..., Any]) -> None:
        functools.update_wrapper(self, step)
        self._step = step
        self._calls = self._captures = 0
        self._plain = False  # the step runs as it is from now on
        self._known = capture.NOTHING
        self._graphs: list[_Captured] = []
        if not gpu.is_available():
            self._give_up("there is no GPU here", level=4)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if self._plain or state.observers or capture.recorder() is not None:  # being captured with an outer step
            return self._step(*args, **kwargs)
        if self._calls < WARM_UP:
            self._calls += 1
            return self._watched(args, kwargs) if self._calls == WARM_UP else self._step(*args, **kwargs)
        tensors: list[Tensor] = []
        try:
            form = _flattened((args, kwargs), tensors)
            key = (form, tuple((t.shape, t.dtype, t.is_cuda) for t in tensors), _modes())
            found = next((g for g in self._graphs if g.key == key and g.holds()), None)
            found = found or self._captured(key, form, tensors)
        except CannotCapture as error:
            self._give_up(str(error))
            return self._step(*args, **kwargs)
        return found.replay(tensors)

    def _give_up(self, why: str, level: int = 3) -> None:
        self._plain, self._known = True, capture.NOTHING
        self._graphs.clear()
        name = getattr(self._step, "__name__", "the step")
        message = f"cuda.graph: {name} runs as it is from now on, as it cannot be captured: {why}"
        warnings.warn(message, stacklevel=level)

    def _watched(self, args: Any, kwargs: Any) -> Any:
        """Run the step as it is, and give up if what it does cannot be captured."""
        recorder = Recorder(capturing=False)
        with capture.told(recorder):
            result = self._step(*args, **kwargs)
        self._known, why = recorder.known, recorder.refused
        try:
            _flattened(result, [], numbers=False)
        except CannotCapture as error:
            why = why or str(error)
        if why:
            self._give_up(why, level=4)
        return result

    def _captured(self, key: Any, form: Any, tensors: list[Tensor]) -> _Captured:
        """CannotCapture: all is as it was before."""
        if self._captures == MOST_CAPTURES:
            raise CannotCapture(
                f"it was captured {self._captures} times already, as shapes or numbers among its arguments change, or "
                "parameters, gradients or modes between its calls; pad the shapes, and pass numbers as Tensors"
            )
        self._captures += 1
        del self._graphs[: max(0, len(self._graphs) - MOST_GRAPHS + 1)]  # the oldest
        with _one_at_a_time:
            found = _Captured(self._step, key, form, tensors, self._known)
        self._known = found.recorder.known
        self._graphs.append(found)
        return found


def _modes() -> Any:
    """What decides besides the arguments what a step computes."""
    casts = tuple((kind, casting.dtype) for kind, casting in (state.autocast or {}).items())
    settings = dispatch.twins_in_use(), gpu.tf32_allowed(), dtypes.get_default_dtype(), gpu.checked_index(None)
    return state.recording, casts, settings


class _Captured:
    """A step captured for arguments of one form."""

    def __init__(self, step: Any, key: Any, form: Any, tensors: list[Tensor], known: Known) -> None:
        self.key = key
        self.recorder = Recorder(capturing=True, known=known)
        self._device = gpu.checked_index(None)
        xp = gpu.use(self._device)
        for t in tensors:
            if t.requires_grad:
                raise CannotCapture("an argument requires grad, and its gradient would reach a copy; pass it detached")
            if t.is_cuda and t.device.index != self._device:
                raise CannotCapture(f"an argument is on {t.device}, and graphs are of cuda:{self._device} alone")
        self._inputs = [Tensor._result(xp.empty(tuple(t.shape), t._array.dtype)) for t in tensors]
        # A Tensor of the CPU is copied anyway by a step that changes it on the GPU.
        self.recorder.arguments = {id(mine._memory) for mine, t in zip(self._inputs, tensors, strict=True) if t.is_cuda}
        results: list[Tensor] = []
        try:
            with _capturing(self.recorder, self._device) as captured:
                args, kwargs = _rebuilt(form, self._inputs)
                self._form = _flattened(step(*args, **kwargs), results, numbers=False)
            self.recorder.finish()
        except BaseException as error:
            self.recorder.restore()
            for chunk in self.recorder.chunks:  # what was not computed shows as NaN
                chunk.memset(0xFF, chunk.mem.size)
            if isinstance(error, CannotCapture) or not isinstance(error, Exception):
                raise
            why = self.recorder.refused or f"{type(error).__name__}: {error}"
            raise CannotCapture(why) from error
        self._graph = captured[0]
        self._gradients = [(leaf, leaf._grad) for leaf in self.recorder.leaves.values()]
        self._results = [t.detach() for t in results]
        # Who counts the changes of memory that a replay writes and that somebody may look at.
        for t in (*self._results, *(g for _, g in self._gradients if g is not None)):
            memory = t._changed()._memory
            self.recorder.changed[id(memory)] = memory

    def holds(self) -> bool:
        """Whether a replay does what the step would do."""
        return all(check() for check in self.recorder.checks)

    def replay(self, tensors: list[Tensor]) -> Any:
        gpu.use(self._device)
        for mine, given in zip(self._inputs, tensors, strict=True):
            transfers.copy_into(mine._array, given._array)
        for prepare in self.recorder.preparations:
            prepare()
        self._graph.launch()
        promises.expect(self._device)
        for leaf, gradient in self._gradients:
            leaf._grad = gradient
        for memory in self.recorder.changed.values():
            memory.count += 1
        return _rebuilt(self._form, [t.detach() for t in self._results])


class _Watcher:
    """Tells a recorder what operations use."""

    def __init__(self, recorder: Recorder, device: int) -> None:
        self.recorder, self.device = recorder, device

    def computed(self, op: Any, pair: Any, attrs: Any, inputs: tuple[Any, ...], y: Any) -> None:
        for array in (*inputs, y):
            if type(array) in gpu.array_types:
                if array.device.id != self.device:
                    self.recorder.refuse(f"it computes on another GPU than cuda:{self.device}, which is current")
                if array is not y:
                    self.recorder.using(array)


@contextlib.contextmanager
def _capturing(recorder: Recorder, device: int) -> Iterator[list[Any]]:
    """Within it the GPU's work is captured, not done; the list has the graph then. CannotCapture: it cannot be."""
    from ..kernels.cuda import blas  # it needs CuPy

    xp = gpu.cupy()
    unfinished.finish()
    promises.prepare(device)
    xp.cuda.Device().synchronize()
    gc.collect()
    xp.get_default_memory_pool().free_all_blocks()  # the graph needs as much

    def fetched(size: int) -> Any:
        chunk = xp.cuda.memory._malloc(size)
        recorder.chunks.append(chunk)  # held, so that a pool that runs short cannot give away what launches use
        return chunk

    def pinned(size: int) -> Any:
        capture.refuse(capture.COPIES)
        return xp.get_default_pinned_memory_pool().malloc(size)

    captured: list[Any] = []
    stream, pool = xp.cuda.Stream(non_blocking=True), xp.cuda.MemoryPool(fetched)
    with contextlib.ExitStack() as around:
        around.enter_context(stream)
        try:
            stream.begin_capture()
        except RuntimeError as error:
            raise CannotCapture(f"CuPy has no graphs for this GPU ({error})") from error
        try:
            around.enter_context(xp.cuda.using_allocator(pool.malloc))
            xp.cuda.set_pinned_memory_allocator(pinned)
            around.enter_context(blas.captured(stream.ptr))
            around.enter_context(capture.told(recorder))
            around.enter_context(observe(_Watcher(recorder, device)))
            yield captured
            unfinished.finish()
            if recorder.refused:
                raise CannotCapture(recorder.refused)
        except BaseException:
            with contextlib.suppress(RuntimeError):  # the capture may have ended by what went wrong
                stream.end_capture()
            raise
        else:
            captured.append(stream.end_capture())
        finally:
            xp.cuda.set_pinned_memory_allocator(xp.get_default_pinned_memory_pool().malloc)


# ---- arguments and results -------------------------------------------------------------------------------------------

_CONSTANTS = (type(None), bool, int, float, str, Device, dtypes.dtype)


def _flattened(x: Any, tensors: list[Tensor], numbers: bool = True) -> Any:
    """The form of x, which can be compared, its Tensors put into the list. CannotCapture: something else is in x.

    A Tensor's form is its place in the list, which has each once. numbers: they may be in x, and so may other
    constants.
    """
    if isinstance(x, Tensor):
        if not numbers:
            _check_result(x)
        place = next((i for i, t in enumerate(tensors) if t is x), len(tensors))
        if place == len(tensors):
            tensors.append(x)
        return place
    if isinstance(x, (tuple, list)):
        return type(x), tuple(_flattened(y, tensors, numbers) for y in x)
    if isinstance(x, dict):
        return dict, tuple(x), tuple(_flattened(y, tensors, numbers) for y in x.values())
    if isinstance(x, _CONSTANTS) and (numbers or x is None):
        return "constant", type(x), x
    if numbers:
        raise CannotCapture(f"an argument is a {type(x).__name__}; pass Tensors and numbers, and tuples of them")
    raise CannotCapture(f"it returns {x!r}, which a replay would not compute anew; return Tensors alone")


def _check_result(x: Tensor) -> None:
    if not x.is_cuda:
        raise CannotCapture("it returns a Tensor of the CPU, which a replay would not compute anew")
    if x._node is not None and not x._node.is_freed:
        raise CannotCapture(
            "it returns a Tensor that backward() could still go through, which later calls would not record; call "
            "backward() in it, or return it detached"
        )


def _rebuilt(form: Any, tensors: list[Tensor]) -> Any:
    """What has this form, with these Tensors."""
    if isinstance(form, int):
        return tensors[form]
    if form[0] == "constant":
        return form[2]
    if form[0] is dict:
        return dict(zip(form[1], [_rebuilt(y, tensors) for y in form[2]], strict=True))
    items = [_rebuilt(y, tensors) for y in form[1]]
    return form[0](*items) if hasattr(form[0], "_fields") else form[0](items)
