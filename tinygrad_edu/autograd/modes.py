"""What is recorded right now: gradient modes, the module being run, and the observers of the engine.

All of it is per thread, so a data-loading thread under `no_grad` does not stop the training thread from recording.
"""

from __future__ import annotations

import functools
import inspect
import threading
from collections.abc import Callable
from typing import Any, TypeVar

F = TypeVar("F", bound=Callable[..., Any])


class _State(threading.local):
    recording: bool = True  # is a graph being built?
    scope: tuple[Any, Any] | None = None  # (enclosing scope, module): the modules now running, innermost first
    observers: tuple[Any, ...] = ()  # see `observe`
    autocast: Any = None  # what functional/precision.py does by kind of device; None: nothing


state = _State()


class set_grad_enabled:
    """Record operations for backward (mode=True) or not. A context manager, a decorator, or a plain call."""

    def __init__(self, mode: bool) -> None:
        self.mode = bool(mode)
        self._outside = [state.recording]
        state.recording = self.mode

    def __enter__(self) -> None:
        state.recording = self.mode

    def __exit__(self, *exc: object) -> None:
        state.recording = self._outside[-1]

    def __call__(self, fn: F) -> F:
        self.__exit__()  # as a decorator it acts only while the function runs
        return _decorate(fn, lambda: set_grad_enabled(self.mode))


class _Mode:
    """A context manager and decorator that sets recording to one value, `recording`, while it is active."""

    recording = True

    def __new__(cls, fn: Any = None) -> Any:
        self = super().__new__(cls)
        return self(fn) if callable(fn) else self  # `@no_grad` without parentheses works too

    def __init__(self, fn: Any = None) -> None:
        self._outside: list[bool] = []

    def __enter__(self) -> None:
        self._outside.append(state.recording)
        state.recording = self.recording

    def __exit__(self, *exc: object) -> None:
        state.recording = self._outside.pop()

    def __call__(self, fn: F) -> F:
        return _decorate(fn, type(self))


def _decorate(fn: F, mode: Callable[[], Any]) -> F:
    @functools.wraps(fn)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        with mode():
            return fn(*args, **kwargs)

    @functools.wraps(fn)
    def generator(*args: Any, **kwargs: Any) -> Any:
        # A generator runs while it is asked for its next value, so the mode is set then and no longer.
        running = fn(*args, **kwargs)
        step = functools.partial(running.send, None)
        try:
            while True:
                with mode():
                    value = step()
                try:
                    step = functools.partial(running.send, (yield value))
                except Exception as error:
                    step = functools.partial(running.throw, error)
        except StopIteration as end:
            return end.value
        finally:
            running.close()

    return generator if inspect.isgeneratorfunction(fn) else wrapper  # type: ignore[return-value]  # as wraps says


class no_grad(_Mode):
    """Within it nothing is recorded: no node is made and nothing is saved for backward."""

    recording = False


class enable_grad(_Mode):
    """Within it operations are recorded again, also inside `no_grad`."""

    recording = True


class inference_mode(_Mode):
    """`no_grad` under the name that PyTorch programs use for evaluation; `inference_mode(False)` records."""

    recording = False

    def __new__(cls, mode: Any = True) -> Any:
        return super().__new__(cls, mode)

    def __init__(self, mode: Any = True) -> None:
        super().__init__()
        self.recording = not mode

    def __call__(self, fn: F) -> F:
        return _decorate(fn, lambda: inference_mode(not self.recording))


def is_grad_enabled() -> bool:
    """Whether operations are being recorded in this thread."""
    return state.recording


class scope:
    """Marks the operations recorded inside it as belonging to `module`."""

    __slots__ = ("module", "_outside")

    def __init__(self, module: Any) -> None:
        self.module = module

    def __enter__(self) -> None:
        self._outside = state.scope
        state.scope = (self._outside, self.module)

    def __exit__(self, *exc: object) -> None:
        state.scope = self._outside


def tell(event: str, *told: Any) -> None:
    """Call this method of every observer that has it."""
    for observer in state.observers:
        method = getattr(observer, event, None)
        if method is not None:
            method(*told)


def values_are_seen() -> bool:
    """Whether an observer looks at values, so that they must be there."""
    return any(getattr(observer, "sees_values", True) for observer in state.observers)


class observe:
    """Tell `observer` of the operations that run inside it, in this thread.

    It has any of these methods, in the order in which they are called:

    - `starting(op)` right before an op's forward, and `computed(op, pair, attrs, inputs, y)` right after it, for every
      op, whether recorded or not; `pair` is the op itself or the fused twin that ran
    - `recorded(node, inputs, y)` when it has entered the graph, and for a Function `picked(node)` for each node of an
      output
    - `walking(roots)` before a backward pass from these nodes, and `walked()` after it, however it ended
    - `propagating(node)` right before a node's backward, and `propagated(node, gy, gradients)` after it
    - `arrived(leaf, gy)` when a leaf's `.grad` has received the gradient gy

    Values are arrays, `gradients` a sequence of them aligned with the inputs, None where there is none; its `given(i)`
    tells that without making an array. For a Function of several outputs `y` and `gy` are tuples of arrays. An observer
    must not change them, and must copy gradients that it keeps, since the engine goes on adding into them. One with an
    attribute `sees_values = False` looks at none: then launches may wait (see unfinished.py), as without observers.
    """

    def __init__(self, observer: Any) -> None:
        self.observer = observer

    def __enter__(self) -> Any:
        self._outside = state.observers
        state.observers = (*self._outside, self.observer)
        return self.observer

    def __exit__(self, *exc: object) -> None:
        state.observers = self._outside
