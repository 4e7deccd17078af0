"""What a trace holds: plain dataclasses, and their JSON form.

Everything is numbered from 0 by its place in the trace's lists, in the order in which it happened, so that records
refer to each other by number. Times are seconds, from `time.perf_counter`; bytes and FLOPs are integers.

The JSON form is the dataclasses themselves: an object of the fields that differ from their defaults, so a reader takes
an absent field for the default. NaN and infinities are the strings "nan", "inf" and "-inf". Nothing in a file is ever
executed; `decode` checks every type and every reference.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from dataclasses import dataclass, field
from types import EllipsisType, NoneType, UnionType
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

import numpy as np

from ..backend.dtypes import is_floating

FORMAT = 1
T = TypeVar("T")


@dataclass(slots=True)
class ValueRecord:
    """What was kept of one array: statistics, and with values="sample" or "full" some or all of its elements.

    min, max, mean and std (the square root of the mean squared deviation) are of the finite elements; None where there
    are none. Booleans count as 0 and 1.
    """

    size: int
    """Number of elements."""
    min: float | None = None
    max: float | None = None
    mean: float | None = None
    std: float | None = None
    zeros: int = 0
    nans: int = 0
    infs: int = 0
    histogram: list[int] = field(default_factory=list)
    """How many elements lie in each of 16 equal bins from min to max: of all finite elements where the array has at
    most 1,024, else of about 1,024 evenly spaced ones."""
    sample: np.ndarray | None = None
    """All elements of an array of at most 256, else the corner block: the first 8 of each of the last two axes, at
    index 0 of the axes before. It has as many axes as the array."""
    full: np.ndarray | None = None
    """All elements. In a file they stand in the .safetensors file beside it, under the name that stands here."""

    @property
    def norm(self) -> float | None:
        """The Euclidean norm of the finite elements."""
        if self.mean is None or self.std is None:
            return None
        return math.sqrt((self.size - self.nans - self.infs) * (self.mean**2 + self.std**2))


@dataclass(slots=True)
class SourceLine:
    """A line of the user's code: the innermost one outside this package."""

    file: str
    """As a path from the folder that the program ran in where it lies below it."""
    line: int
    function: str
    text: str = ""
    """The line itself, without its indentation."""
    columns: list[int] = field(default_factory=list)
    """Where in `text` the expression begins and ends, [start, stop); [] where Python does not say."""

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"


@dataclass(slots=True)
class CallRecord:
    """One call of a module. Calls nest as modules do."""

    id: int
    path: str
    """As in `model.named_modules()`: "h.3.attn.c_attn", and "" for the model itself. If several models were called
    their paths begin with their class names."""
    module: str
    """The name of its class."""
    parent: int | None = None
    """The call that it was made in."""


@dataclass(slots=True)
class ParameterRecord:
    """A value that no operation of the trace made: a parameter, another tensor, or an array of random numbers."""

    id: int
    kind: str
    """"parameter" requires grad, or is one of a module's; "buffer" is a module's; "constant" is any other, such as a
    batch or a mask."""
    name: str
    """As in `model.named_parameters()`, or the variable that held it where the trace ended, else ""."""
    shape: list[int]
    dtype: str
    bytes: int
    names: list[str] = field(default_factory=list)
    """All names of a shared one, such as wte.weight and lm_head.weight; [] where it has one name at most."""
    value: ValueRecord | None = None
    """As it was when first used. With values="full", one that was changed in place meanwhile has another record."""
    gradient: ValueRecord | None = None
    """Its `.grad` when the last backward pass had arrived there."""
    freed: int | None = None
    """Of memory that nothing else held, such as a mask's: as OpRecord.freed."""
    owned: bool = False
    """Whether it belongs to a module that ran."""


@dataclass(slots=True)
class InputRecord:
    """One input of an operation. Exactly one of op, parameter and number says where it came from (none: it is None)."""

    op: int | None = None
    """The operation that made it, as far as the trace saw it made."""
    parameter: int | None = None
    number: bool | int | float | None = None
    output: int = 0
    """Which output of that operation: others than 0 only of a Function of several."""
    gradient: bool = False
    """Whether backward hands a gradient on to it. False with an `op` that is differentiable: it was cut off, by
    detach() or no_grad()."""
    shape: list[int] = field(default_factory=list)
    dtype: str = ""


@dataclass(slots=True)
class SavedRecord:
    """One array that an operation keeps for its backward."""

    shape: list[int]
    dtype: str
    bytes: int
    """Of the elements that it shows."""
    held: int
    """Of the memory that it alone keeps alive, as far as no earlier record of the trace counts it; 0 for parameters
    and other memory that lives anyhow."""
    op: int | None = None
    """The operation whose output (or a view of it) it is."""
    parameter: int | None = None
    """The parameter, tensor or array whose memory it is. With neither: an intermediate value of this operation."""
    freed: int | None = None
    """Of an intermediate value, as OpRecord.freed."""


@dataclass(slots=True)
class OpRecord:
    """One operation, as it ran forward."""

    id: int
    name: str
    path: str
    """The module that it ran in; see CallRecord.path."""
    shape: list[int]
    """Of its output; for a Function of several outputs, of the first."""
    dtype: str
    inputs: list[InputRecord] = field(default_factory=list)
    attrs: dict[str, Any] = field(default_factory=dict)
    """Its settings, in the form of `encode_attribute`."""
    call: int | None = None
    line: int | None = None
    """The place in Trace.lines."""
    graph: bool = True
    """Whether it entered the graph; False under no_grad, for integers, and where no input requires grad."""
    differentiable: bool = True
    """Whether the op has a gradient at all."""
    kernel: str = ""
    """The fused twin that ran in the place of the reference op, if any did."""
    view: bool = False
    """Whether the output shares the first input's memory."""
    inside: int | None = None
    """The Function (a user's own operation) whose forward ran it."""
    during: int | None = None
    """The step of backward that ran it: of a Function, or of a pass that is recorded (create_graph=True)."""
    before: bool = False
    """Whether it ran before the trace began: it is known from the graph alone. Only such an operation may have a
    higher number than one that uses it."""
    bytes: int = 0
    """Of new memory for the output; 0 for a view."""
    freed: int | None = None
    """How many operations and steps of backward had run when that memory was let go; None: not while it was traced."""
    saved: list[SavedRecord] = field(default_factory=list)
    flops: int | None = None
    """See flops.py; None where no formula is known (a user's Function)."""
    start: float | None = None
    """Seconds after the trace began."""
    seconds: float | None = None
    """Of the forward function itself, without what it called that has records of its own."""
    value: ValueRecord | None = None
    """Of its output (the first)."""
    details: dict[str, Any] = field(default_factory=dict)
    """What viewers add, as plain JSON values."""

    @property
    def saved_bytes(self) -> int:
        """Memory that backward keeps alive because of this operation and of no earlier one."""
        return sum(s.held for s in self.saved)


@dataclass(slots=True)
class GradientRecord:
    """What a backward step hands to one input of its operation."""

    input: int
    """The place among OpRecord.inputs."""
    value: ValueRecord | None = None
    summed: list[int] = field(default_factory=list)
    """The axes of the output over which it was summed, since broadcasting had repeated the input along them."""


@dataclass(slots=True)
class BackwardRecord:
    """One step of a backward pass: through an operation (`op`), or the arrival at a tensor (`parameter`)."""

    id: int
    walk: int
    """Number of the backward pass, from 0."""
    op: int | None = None
    parameter: int | None = None
    start: float | None = None
    seconds: float | None = None
    flops: int | None = None
    incoming: ValueRecord | None = None
    """The sum of all gradients handed to the operation's output, or to the tensor."""
    gradients: list[GradientRecord] = field(default_factory=list)
    """What it hands on, input by input; none for an arrival."""
    total: ValueRecord | None = None
    """Of an arrival: the tensor's `.grad` afterwards, with what was in it before."""
    details: dict[str, Any] = field(default_factory=dict)


@dataclass(slots=True)
class MachineRecord:
    """Where and with what the trace was made."""

    python: str = ""
    numpy: str = ""
    tinygrad_edu: str = ""
    platform: str = ""
    processors: int = 0
    kernels: str = ""
    """What `use_kernels` said: "auto" or "reference"."""


# ---- JSON ------------------------------------------------------------------------------------------------------------


def encode(x: Any) -> Any:
    """The JSON form of a record, or of a value inside one."""
    if x is None or isinstance(x, (bool, int, str)):
        return x
    if isinstance(x, float):
        return x if math.isfinite(x) else str(x)
    if isinstance(x, list):
        return [encode(v) for v in x]
    if isinstance(x, dict):
        return {k: encode(v) for k, v in x.items()}
    if isinstance(x, np.ndarray):  # numbers as short as they can be written
        flat = x.reshape(-1)
        values = [float(str(v)) for v in flat] if is_floating(x.dtype) else flat.tolist()
        return {"shape": list(x.shape), "dtype": x.dtype.name, "values": encode(values)}
    defaults = _defaults(type(x))  # type: ignore[arg-type]  # mypy takes no dataclass for hashable
    return {name: encode(v) for name, default in defaults if not _same(v := getattr(x, name), default)}


def encode_attribute(x: Any) -> Any:
    """An op's attribute, of which not all kinds are JSON's: tuples, slices, Ellipsis, dtypes."""
    if x is None or isinstance(x, (bool, int, str)):
        return x
    if isinstance(x, (float, np.floating)):
        return float(x) if math.isfinite(x) else {"float": str(float(x))}
    if isinstance(x, np.integer):
        return int(x)
    if isinstance(x, tuple):
        return {"tuple": [encode_attribute(v) for v in x]}
    if isinstance(x, list):
        return [encode_attribute(v) for v in x]
    if isinstance(x, slice):
        return {"slice": [encode_attribute(v) for v in (x.start, x.stop, x.step)]}
    if isinstance(x, EllipsisType):
        return {"ellipsis": True}
    if isinstance(x, np.dtype) or (isinstance(x, type) and issubclass(x, np.generic)):
        return {"dtype": np.dtype(x).name}
    return {"text": str(x)[:200]}  # only looked at; such an operation cannot be replayed


def decode_attribute(x: Any, where: str = "attribute", depth: int = 0) -> Any:
    """The attribute that `encode_attribute` wrote. ValueError: it is none."""
    if depth > 20:
        raise ValueError(f"{where}: nested too deep")
    if x is None or isinstance(x, (bool, int, float, str)):
        return x
    if isinstance(x, list):
        return [decode_attribute(v, where, depth + 1) for v in x]
    [(kind, content)] = x.items() if isinstance(x, dict) and len(x) == 1 else [("", None)]
    if kind == "tuple" and isinstance(content, list):
        return tuple(decode_attribute(v, where, depth + 1) for v in content)
    if kind == "slice" and isinstance(content, list) and len(content) == 3:
        if all(v is None or type(v) is int for v in content):
            return slice(*content)
    if kind == "ellipsis":
        return ...
    if kind == "float" and content in ("nan", "inf", "-inf"):
        return float(content)
    if kind == "dtype" and content in DTYPES:
        return np.dtype(content)
    if kind == "text" and isinstance(content, str):
        return Opaque(content)
    raise ValueError(f"{where}: expected an attribute of an operation, got {_short(x)}")


class Opaque(str):
    """An attribute of a kind that a trace cannot hold, as text."""


DTYPES = ("bool", "uint8", "int8", "int16", "int32", "int64", "float16", "bfloat16", "float32", "float64")


def decode(hint: Any, x: Any, where: str) -> Any:
    """The record or value of this type in JSON form `x`. ValueError: `x` is something else; `where` it stands."""
    if dataclasses.is_dataclass(hint):
        return _decode_record(hint, x, where)  # type: ignore[arg-type]
    origin = get_origin(hint)
    if origin in (UnionType, Union):
        kinds = get_args(hint)
        if x is None and NoneType in kinds:
            return None
        kinds = tuple(kind for kind in kinds if kind is not NoneType)
        if len(kinds) == 1:
            return decode(kinds[0], x, where)
        if type(x) in kinds or x in ("nan", "inf", "-inf"):
            return float(x) if isinstance(x, str) else x
        raise _unfit(where, "a number", x)
    if origin is list:
        if not isinstance(x, list):
            raise _unfit(where, "a list", x)
        (kind,) = get_args(hint)
        if kind is int and all(type(v) is int for v in x):
            return x
        return [decode(kind, v, f"{where}[{i}]") for i, v in enumerate(x)]
    if origin is dict:
        if not isinstance(x, dict):
            raise _unfit(where, "an object", x)
        return x
    if hint is float and (type(x) in (int, float) or x in ("nan", "inf", "-inf")):
        return float(x)
    if hint is np.ndarray:
        return x if isinstance(x, str) else _decode_array(x, where)  # a name stands for what is in the other file
    if hint in (int, str, bool) and type(x) is hint:
        return x
    raise _unfit(where, {float: "a number", int: "an integer", str: "a string"}.get(hint, "true or false"), x)


def _decode_record(cls: type[T], x: Any, where: str) -> T:
    if not isinstance(x, dict):
        raise _unfit(where, "an object", x)
    hints = _hints(cls)  # type: ignore[arg-type]  # as above
    if unknown := x.keys() - hints.keys():
        raise ValueError(f"{where}: unknown field {_short(min(unknown))}")
    values = {name: decode(hints[name], v, f"{where}.{name}") for name, v in x.items()}
    if missing := _required(cls) - values.keys():  # type: ignore[arg-type]
        raise ValueError(f"{where}: the field {min(missing)!r} is missing")
    return cls(**values)


def _decode_array(x: Any, where: str) -> np.ndarray:
    if not isinstance(x, dict) or x.keys() != {"shape", "dtype", "values"}:
        raise _unfit(where, "an array (shape, dtype, values)", x)
    shape, dtype = decode(list[int], x["shape"], f"{where}.shape"), x["dtype"]
    values = decode(list[bool | int | float], x["values"], f"{where}.values")
    if dtype not in DTYPES:
        raise _unfit(f"{where}.dtype", f"one of {', '.join(DTYPES)}", dtype)
    if len(shape) > 64 or any(n < 0 for n in shape) or math.prod(shape) != len(values):
        raise ValueError(f"{where}: {len(values)} elements do not make an array of shape {_short(shape)}")
    try:
        with np.errstate(over="ignore"):  # what is too large for the dtype is infinite in it
            return np.array(values, dtype).reshape(shape)
    except (OverflowError, ValueError) as error:
        raise ValueError(f"{where}: {error}") from None


def _unfit(where: str, expected: str, x: Any) -> ValueError:
    return ValueError(f"{where}: expected {expected}, got {_short(x)}")


def _short(x: Any) -> str:
    text = repr(x)
    return text if len(text) <= 60 else text[:57] + "..."


@functools.cache
def _hints(cls: Any) -> dict[str, Any]:
    return get_type_hints(cls)


@functools.cache
def _required(cls: Any) -> set[str]:
    return {name for name, default in _defaults(cls) if default is dataclasses.MISSING}


@functools.cache
def _defaults(cls: Any) -> tuple[tuple[str, Any], ...]:
    return tuple(
        (f.name, f.default if f.default_factory is dataclasses.MISSING else f.default_factory())
        for f in dataclasses.fields(cls)
    )


def _same(value: Any, default: Any) -> bool:
    return type(value) is type(default) and not isinstance(value, np.ndarray) and value == default
