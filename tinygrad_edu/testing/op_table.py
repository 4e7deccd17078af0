"""The checks that follow from the op table: each public function against PyTorch and against finite differences.

Each check takes a record and raises AssertionError, naming the record, the sample and the worst element. torch is
imported only when a check needs it.
"""

from __future__ import annotations

import importlib
import pkgutil
import re
import warnings
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import ModuleType
from typing import Any

import numpy as np

from ..autograd.grad import backward, grad
from ..autograd.modes import observe
from ..backend.dtypes import as_dtype, bfloat16, is_floating
from ..dispatch import use_kernels
from ..tensor import Tensor
from . import table
from .compare import difference
from .draws import Draws
from .gradcheck import UnsuitableInput, gradgradcheck, worst_share
from .records import Constant, DType, OpRecord, Sample

# rtol, atol. Both libraries round, each in its own order of operations, so equality is not asked for.
TOLERANCE = {
    # One or a few roundings of 6e-8, and library functions (exp, tanh ...) good to a few units in the last place.
    ("elementwise", "float32"): (1e-5, 1e-6),
    # Sums of up to a few hundred terms in different orders.
    ("reduction", "float32"): (1e-4, 1e-5),
    # A gradient is a sum of products of the above.
    ("gradient", "float32"): (1e-4, 1e-5),
    # The same reasons with roundings of 1e-16.
    ("elementwise", "float64"): (1e-12, 1e-13),
    ("reduction", "float64"): (1e-11, 1e-12),
    ("gradient", "float64"): (1e-11, 1e-12),
    # Roundings of 5e-4; PyTorch computes parts in float32 and rounds once.
    ("elementwise", "float16"): (5e-3, 1e-3),
    ("reduction", "float16"): (5e-3, 5e-3),
    ("gradient", "float16"): (1e-2, 1e-2),
    # The same with roundings of 4e-3.
    ("elementwise", "bfloat16"): (4e-2, 8e-3),
    ("reduction", "bfloat16"): (4e-2, 4e-2),
    ("gradient", "bfloat16"): (8e-2, 8e-2),
}
BFLOAT16 = bfloat16.dtype
EXACT = (0.0, 0.0)


def records() -> dict[str, list[OpRecord]]:
    """All records by the name of their family."""
    names = sorted(module.name for module in pkgutil.iter_modules(table.__path__))
    return {name: importlib.import_module(f"{table.__name__}.{name}").RECORDS for name in names}


def resolve(module: ModuleType, name: str) -> Any:
    """The object under a dotted name, importing submodules as needed. AttributeError: there is none."""
    found: Any = module
    for part in name.split("."):
        if not hasattr(found, part) and isinstance(found, ModuleType):
            try:
                importlib.import_module(f"{found.__name__}.{part}")
            except ModuleNotFoundError:
                raise AttributeError(f"{module.__name__} has no {name}") from None
        found = getattr(found, part)
    return found


def exists(module: ModuleType, name: str) -> bool:
    """Whether there is an object under a dotted name."""
    try:
        resolve(module, name)
    except AttributeError:
        return False
    return True


# ---- calling either library with a sample ----------------------------------------------------------------------------


class Library:
    """One of the two libraries: how to find functions in it, and how to make and read its tensors."""

    def __init__(self, name: str) -> None:
        self.module = importlib.import_module(name)
        self.is_torch = name == "torch"
        self.tensor_type: type = self.module.Tensor

    def function(self, record: OpRecord) -> Callable[..., Any]:
        """The function that a record is about. In-place ones work on a copy, since leaves cannot be changed."""
        own = record.torch if self.is_torch else record.ours
        if own is not None:
            return lambda *args, **kwargs: own(self.module, *args, **kwargs)
        function = resolve(self.module, record.name)
        if not record.name.endswith("_") or record.name.endswith("__"):
            return function

        def on_a_copy(x: Any, *args: Any, **kwargs: Any) -> Any:
            copy = x.clone()
            result = function(copy, *args, **kwargs)
            assert result is copy, f"{record.name} returned another tensor than the one it changed"
            return result

        return on_a_copy

    def run(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Call a function without its advice to users. NumPy's warnings of overflow and the like remain faults."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Warning if self.is_torch else UserWarning)
            return function(*args, **kwargs)

    def tensor(self, array: Any, requires_grad: bool) -> Any:
        """A leaf tensor over this very array (over a copy for PyTorch where it cannot have the strides)."""
        if not self.is_torch:
            made: Any = Tensor._result(array)
        else:
            array = array.copy() if any(s < 0 for s in array.strides) else array
            narrow = array.dtype == BFLOAT16  # which PyTorch takes from NumPy as its bits only
            made = self.module.from_numpy(array.view(np.int16) if narrow else array)
            made = made.view(self.module.bfloat16) if narrow else made
        return made.requires_grad_(requires_grad)

    def dtype(self, name: str) -> Any:
        return getattr(self.module, name) if self.is_torch else as_dtype(name)

    def backward(self, outputs: list[Any], cotangents: list[Any]) -> None:
        (self.module.autograd.backward if self.is_torch else backward)(outputs, cotangents)

    def array(self, tensor: Any) -> Any:
        """The tensor's memory as a NumPy array."""
        if not self.is_torch:
            return tensor._array
        plain = tensor.detach()
        narrow = plain.dtype == self.module.bfloat16
        return plain.view(self.module.int16).numpy().view(BFLOAT16) if narrow else plain.numpy()


OURS = Library("tinygrad_edu")


class Call:
    """A record's function called on a sample in one library, with the leaves it was given and the outputs it gave."""

    def __init__(
        self,
        library: Library,
        record: OpRecord,
        sample: Sample,
        dtype: str | None,
        wanted: Sequence[int] | None = None,
        seed: int = 0,
        single: bool = False,
    ) -> None:
        """dtype: what floating arrays are cast to (None: nothing); wanted: which inputs require grad (None: all);
        seed: that of the cotangents; single: round floating numbers to float32 first, also when cast to float64."""
        self.library, self.dtype, self.wanted, self.seed, self.single = library, dtype, wanted, seed, single
        self.leaves: list[Any] = []  # one tensor for each different array of the sample
        self._made: dict[int, Any] = {}  # an array that is used twice becomes a tensor that is used twice
        self._candidates = 0  # inputs so far that can require grad
        self._track = record.differentiable
        self.args = self._convert(sample.args)
        self.kwargs = {k: self._convert(v) for k, v in sample.kwargs.items()}
        self.before = [library.array(x).copy() for x in self.leaves]
        self._function = library.function(record)
        self.result = self.rerun()
        self.cotangents: list[Any] = []
        self.outputs: list[Any] = []  # the tensors among the results
        self.values = self._read(self.result)

    def rerun(self) -> Any:
        """Call the function again on the same leaves."""
        return self.library.run(self._function, *self.args, **self.kwargs)

    def _convert(self, x: Any) -> Any:
        if isinstance(x, (np.ndarray, Constant)):
            if id(x) not in self._made:
                self._made[id(x)] = self._leaf(x)
            return self._made[id(x)]
        if isinstance(x, DType):
            return self.library.dtype(x.name)
        if isinstance(x, (list, tuple)):
            return type(x)(self._convert(item) for item in x)
        if isinstance(x, dict):
            return {k: self._convert(item) for k, item in x.items()}
        return x

    def _leaf(self, x: Any) -> Any:
        array = x.array if isinstance(x, Constant) else x
        floating = is_floating(array.dtype)
        requires_grad = False
        if self._track and floating and array is x:
            requires_grad = self.wanted is None or self._candidates in self.wanted
            self._candidates += 1
        made = same_layout(array, self.dtype if floating and self.dtype else array.dtype)
        if self.single and made.dtype == np.float64:
            with np.errstate(over="ignore"):
                made[...] = made.astype(np.float32)
        self.leaves.append(self.library.tensor(made, requires_grad))
        return self.leaves[-1]

    def _read(self, x: Any) -> Any:
        """The result with arrays in the place of tensors, tuples in the place of all sequences."""
        if isinstance(x, self.library.tensor_type):
            self.outputs.append(x)
            return self.library.array(x)
        if isinstance(x, (list, tuple)):
            return tuple(self._read(item) for item in x)
        if isinstance(x, dict):
            return {k: self._read(item) for k, item in x.items()}
        if type(x) is type(self.library.dtype("float32")):
            return str(x).rpartition(".")[2]
        return x

    @property
    def precision(self) -> str:
        """The least precise floating dtype among the inputs and outputs."""
        found = {self.library.array(x).dtype for x in (*self.leaves, *self.outputs)}
        return min((d for d in found if is_floating(d)), key=lambda d: d.itemsize, default=np.dtype("float64")).name

    def backward(self) -> list[Any]:
        """Run backward from all outputs with random cotangents, and return the gradient of each leaf (or None)."""
        rng = Draws(self.seed)
        roots = []
        for y in self.outputs:  # numbers are drawn for every output, so that each always gets the same ones
            cotangent = rng.standard_normal(tuple(y.shape))
            if y.requires_grad:
                roots.append(y)
                self.cotangents.append(cotangent.astype(self.library.array(y).dtype))
        kept = [c.copy() for c in self.cotangents]
        if roots:
            self.library.backward(roots, [self.library.tensor(c, False) for c in self.cotangents])
        assert all(_same_bytes(c, k) for c, k in zip(self.cotangents, kept, strict=True)), "backward changed its seed"
        return [None if x.grad is None else self.library.array(x.grad) for x in self.leaves]


def same_layout(array: Any, dtype: Any) -> Any:
    """A copy in the given dtype with the same strides, counted in elements, so that `x.T` stays a transposed view."""
    steps = [s // array.itemsize for s in array.strides]
    ends = [s * (n - 1) for s, n in zip(steps, array.shape, strict=True)] if array.size else []
    first, last = sum(min(e, 0) for e in ends), sum(max(e, 0) for e in ends)
    memory = np.zeros(last - first + 1, dtype)
    strides = [s * memory.itemsize for s in steps]
    view = np.lib.stride_tricks.as_strided(memory[-first:], array.shape, strides)
    view[...] = array.astype(dtype)
    return view


def cases(record: OpRecord, samples: str = "samples", seed: int = 0) -> Iterator[tuple[Any, str]]:
    """Each sample of a record with the words that a message names it by. The same samples for the same seed."""
    rng: Any = Draws(zlib.crc32(record.name.encode()) + (seed << 32))
    for i, sample in enumerate(getattr(record, samples)(rng)):
        yield sample, f"{record.name}({sample!r}) [{samples[:-1]} {i}]"


def dtypes_of(sample: Sample) -> list[str | None]:
    """What to run a sample in: float32 and float64, and as it is if it mixes floating types or has others, or none."""
    found = {a.dtype.name for a in _arrays((*sample.args, *sample.kwargs.values())) if is_floating(a.dtype)}
    if not found:
        return [None]
    return ["float32", "float64", *([] if found < {"float32", "float64"} else [None])]


def _arrays(x: Any) -> Iterator[Any]:
    if isinstance(x, np.ndarray):
        yield x
    elif isinstance(x, Constant):
        yield x.array
    elif isinstance(x, (list, tuple)):
        for item in x:
            yield from _arrays(item)


@contextmanager
def raises(error: type[Exception]) -> Iterator[None]:
    """Nothing else may happen inside."""
    try:
        yield
    except error:
        return
    raise AssertionError(f"expected {error.__name__}, but nothing was raised")


@contextmanager
def about(where: str) -> Iterator[None]:
    """Add to any error the record and the sample at which it happened."""
    try:
        yield
    except Exception as error:
        error.add_note(f"at {where}")
        raise


# ---- the checks ------------------------------------------------------------------------------------------------------


def check_forward(record: OpRecord) -> None:
    """Values, shapes, dtypes, requires_grad and sharing of memory as in PyTorch; inputs unchanged."""
    reference, count = Library("torch"), 0
    for sample, name in cases(record):
        for dtype in dtypes_of(sample):
            with about(f"{name} in {dtype or 'its own dtypes'}"):
                ours, theirs = Call(OURS, record, sample, dtype), Call(reference, record, sample, dtype)
                _compare("result", ours.values, theirs.values, _tolerance(record.kind, theirs))
                _inputs_unchanged(ours, "forward")
                for k, (y, z) in enumerate(zip(ours.outputs, theirs.outputs, strict=True)):
                    if y.requires_grad != z.requires_grad:
                        raise AssertionError(
                            f"output {k} has requires_grad={y.requires_grad}, in PyTorch {z.requires_grad}"
                        )
                    _compare_aliasing(k, ours, theirs)
            count += 1
    assert count, f"{record.name} has no samples"


def check_gradient(record: OpRecord) -> None:
    """Gradients of all inputs for random cotangents as in PyTorch, each also when it alone is wanted."""
    reference, compared = Library("torch"), 0
    for sample, name in cases(record):
        for dtype in dtypes_of(sample):
            with about(f"{name} in {dtype or 'its own dtypes'}"):
                ours, theirs = Call(OURS, record, sample, dtype), Call(reference, record, sample, dtype)
                if not any(z.requires_grad for z in theirs.outputs):
                    continue
                found, expected = ours.backward(), theirs.backward()
                tolerance = _tolerance("exact" if record.kind == "exact" else "gradient", theirs)
                wanted = [i for i, x in enumerate(ours.leaves) if x.requires_grad]
                for n, i in enumerate(wanted):
                    _compare(f"gradient of tensor {i}", found[i], expected[i], tolerance)
                    if len(wanted) > 1:
                        alone = Call(OURS, record, sample, dtype, wanted=[n]).backward()
                        _compare(f"gradient of tensor {i}, wanted alone", alone[i], found[i], EXACT)
                    compared += 1
                _inputs_unchanged(ours, "backward")
                _gradients_own_their_memory(ours, found)
    assert compared, f"{record.name}: no sample compares a gradient"


def check_finite_differences(record: OpRecord, seed: int = 0) -> float:
    """`gradcheck` at every sample where finite differences apply; there must be one.

    Returns the worst error as a share of what is allowed.
    """
    checked, worst, reasons = 0, 0.0, []
    function = OURS.function(record)
    for sample, name in cases(record, seed=seed):
        if dtypes_of(sample) == [None]:
            continue
        with about(f"{name} in float64"):
            call = Call(OURS, record, sample, "float64")
            if call.precision != "float64" or not any(y.requires_grad for y in call.outputs):
                continue

            def run(*leaves: Any, call: Call = call) -> Any:
                return [y for y in _flat(OURS.run(function, *call.args, **call.kwargs)) if isinstance(y, Tensor)]

            run.__qualname__ = record.name
            try:
                worst = max(worst, worst_share(run, call.leaves))
                checked += any(x.requires_grad and x.numel() for x in call.leaves)
            except UnsuitableInput as reason:
                reasons.append(str(reason))
    assert checked, f"{record.name}: finite differences apply to no sample: {reasons}"
    return worst


def check_second_differences(record: OpRecord) -> None:
    """`gradgradcheck` near every sample where finite differences apply; there must be one.

    Gradients jump at ties and at kinks, which samples hold on purpose: so every input is first moved a little.
    """
    checked, reasons = 0, []
    for sample, name in cases(record):
        if dtypes_of(sample) == [None]:
            continue
        with about(f"{name} in float64, second derivatives"):
            call = Call(OURS, record, sample, "float64")
            if call.precision != "float64" or not any(y.requires_grad for y in call.outputs):
                continue
            rng = np.random.default_rng(2)
            for x in call.leaves:
                if x.requires_grad:
                    x._array += 1e-2 * rng.standard_normal(x.shape)
            try:
                call.rerun()
            except RuntimeError as reason:  # such as a probability moved below 0
                reasons.append(str(reason))
                continue

            def run(*leaves: Any, call: Call = call) -> Any:
                return [y for y in _flat(call.rerun()) if isinstance(y, Tensor)]

            run.__qualname__ = record.name
            _recorded_gradients_are_the_same(run(), call.leaves)
            try:
                gradgradcheck(run, call.leaves, fast_mode=True)
                checked += any(x.requires_grad and x.numel() for x in call.leaves)
            except UnsuitableInput as reason:
                reasons.append(str(reason))
    assert checked, f"{record.name}: finite differences of gradients apply to no sample: {reasons}"


def _recorded_gradients_are_the_same(outputs: list[Tensor], leaves: list[Tensor]) -> None:
    """With `create_graph=True` backward computes on Tensors: the gradients must be those it computes on arrays."""
    rng = Draws(0)
    roots, inputs = ([t for t in tensors if t.requires_grad] for tensors in (outputs, leaves))
    seeds = [Tensor._result(rng.standard_normal(tuple(y.shape)).astype(y._array.dtype)) for y in roots]
    plain = grad(roots, inputs, seeds, retain_graph=True, materialize_grads=True)
    recorded = grad(roots, inputs, seeds, create_graph=True, materialize_grads=True)
    for i, (g, h) in enumerate(zip(recorded, plain, strict=True)):
        _compare(f"gradient of input {i}, recorded", g._array, h._array, TOLERANCE["gradient", "float64"])


def check_twins(record: OpRecord) -> None:
    """With fused twins the same values and gradients as on the readable ops alone; inputs unchanged.

    Worth running for records whose ops have a twin on this device (see `dispatch.register_twin`).
    """
    for sample, name in cases(record):
        for dtype in dtypes_of(sample):
            with about(f"{name} in {dtype or 'its own dtypes'}, fused against reference"):
                with use_kernels("reference"):
                    reference = Call(OURS, record, sample, dtype)
                    expected = reference.backward()
                with use_kernels("auto"):
                    fused = Call(OURS, record, sample, dtype)
                    found = fused.backward()
                _compare("result", fused.values, reference.values, _tolerance(record.kind, reference))
                tolerance = _tolerance("exact" if record.kind == "exact" else "gradient", reference)
                for i, (f, e) in enumerate(zip(found, expected, strict=True)):
                    _compare(f"gradient of tensor {i}", f, e, tolerance)
                _inputs_unchanged(fused, "a twin")


def has_in_place_form(record: OpRecord) -> bool:
    """Whether there is a method such as `add_` for the record's function `add`."""
    return record.ours is None and hasattr(Tensor, f"{record.name}_")


def check_in_place(record: OpRecord) -> None:
    """`x.add_(...)` writes what `add(x, ...)` gives into x, with the same gradients, or refuses what does not fit."""
    change, written = getattr(Tensor, f"{record.name}_"), 0
    for sample, name in cases(record):
        if not sample.args or not isinstance(sample.args[0], np.ndarray):
            continue
        for dtype in dtypes_of(sample):
            with about(f"{name} in {dtype or 'its own dtypes'}, in place"):
                plain, changed = Call(OURS, record, sample, dtype), Call(OURS, record, sample, dtype)
                x, y = changed.args[0].clone(), plain.result
                memory = x._array
                if y.shape != x.shape or y.dtype.category > x.dtype.category:
                    with raises(RuntimeError):
                        change(x, *changed.args[1:], **changed.kwargs)
                    _compare("a tensor that could not be changed", x._array, plain.before[0], EXACT)
                    continue
                result = change(x, *changed.args[1:], **changed.kwargs)
                assert result is x and x._array is memory and x._version == 1, "not written into the tensor"
                y = y.to(x.dtype)
                # Not to the last bit: NumPy rounds differently where the copy has other strides.
                _compare("result", x._array, y._array, _tolerance(record.kind, plain))
                plain.outputs, changed.outputs = [y], [x]
                for i, (g, h) in enumerate(zip(changed.backward(), plain.backward(), strict=True)):
                    _compare(f"gradient of tensor {i}", g, h, _tolerance("gradient", plain))
                written += 1
    assert written, f"{record.name}_: no sample can be written in place"


def check_errors(record: OpRecord) -> None:
    """What PyTorch refuses is refused, with the same class of error or a subclass, and in the record's words."""
    reference = Library("torch")
    for sample, name in cases(record, "errors"):
        with about(name):
            theirs, ours = _outcome(reference, record, sample), _outcome(OURS, record, sample)
            if not isinstance(theirs, sample.error):
                raise AssertionError(f"the record says {sample.error.__name__}, but PyTorch gives {theirs!r}")
            if not isinstance(ours, sample.error):
                raise AssertionError(f"expected {sample.error.__name__} as in PyTorch, got {ours!r}")
            if not re.search(sample.match, str(ours)):
                raise AssertionError(f"the message is {str(ours)!r}, expected to match {sample.match!r}")


def _outcome(library: Library, record: OpRecord, sample: Sample) -> Any:
    """The result of a call, or the error that it raised."""
    try:
        return Call(library, record, sample, None).result
    except Exception as error:
        return error


def ops_run_backward(record: OpRecord) -> set[type]:
    """The ops whose backward the gradient check of this record runs."""
    seen: set[type] = set()

    class Collector:
        def recorded(self, node: Any, inputs: Any, y: Any) -> None: ...

        def propagated(self, node: Any, gy: Any, gradients: Any) -> None:
            if any(g is not None for g in gradients):
                seen.add(node.op)

    with observe(Collector()):
        for sample, _ in cases(record):
            if dtypes_of(sample) != [None]:
                Call(OURS, record, sample, "float64").backward()
    return seen


# ---- comparing -------------------------------------------------------------------------------------------------------


def _tolerance(kind: str, call: Call) -> tuple[float, float]:
    return EXACT if kind == "exact" else TOLERANCE[kind, call.precision]


def _compare(what: str, got: Any, expected: Any, tolerance: tuple[float, float]) -> None:
    """AssertionError unless two results are alike: floating arrays and numbers within tolerance, all else equal."""
    if isinstance(expected, (tuple, dict)):
        keys = expected.keys() if isinstance(expected, dict) else range(len(expected))
        if type(got) is not type(expected) or len(got) != len(expected):
            raise AssertionError(f"{what}: got {got!r}, PyTorch gives {expected!r}")
        for k in keys:
            _compare(f"{what} {k}", got[k], expected[k], tolerance)
    elif type(got) is not type(expected):
        raise AssertionError(f"{what}: got {got!r}, PyTorch gives {expected!r}")
    elif isinstance(expected, (np.ndarray, float)):
        found = difference(np.asarray(got), np.asarray(expected), *tolerance, equal_nan=True)
        if found:
            raise AssertionError(f"{what}: {found}")
    elif got != expected:
        raise AssertionError(f"{what}: got {got!r}, PyTorch gives {expected!r}")


def _compare_aliasing(k: int, ours: Call, theirs: Call) -> None:
    """An output shares memory with an input exactly where PyTorch's does; then they share the version counter too."""
    y, z = ours.outputs[k], theirs.outputs[k]
    for i, (x, w) in enumerate(zip(ours.leaves, theirs.leaves, strict=True)):
        shared = np.shares_memory(y._array, x._array)
        if shared != np.shares_memory(theirs.library.array(z), theirs.library.array(w)):
            does, other = ("shares", "does not") if shared else ("does not share", "does")
            raise AssertionError(f"output {k} {does} memory with tensor {i}, in PyTorch it {other}")
        if shared and y._memory is not x._memory:
            raise AssertionError(f"output {k} shares memory with tensor {i}, but not its version counter")


def _inputs_unchanged(call: Call, by: str) -> None:
    for i, (x, kept) in enumerate(zip(call.leaves, call.before, strict=True)):
        if not _same_bytes(x._array, kept):
            raise AssertionError(f"{by} changed tensor {i}")


def _gradients_own_their_memory(call: Call, gradients: list[Any]) -> None:
    """A `.grad` that shared memory with anything else would change it at the next accumulation."""
    others = [x._array for x in call.leaves] + [y._array for y in call.outputs] + call.cotangents
    for i, g in enumerate(gradients):
        rest = [h for j, h in enumerate(gradients) if j != i and h is not None]
        if g is not None and any(np.shares_memory(g, other) for other in others + rest):
            raise AssertionError(f"the gradient of tensor {i} shares memory with another array")


def _same_bytes(a: Any, b: Any) -> bool:
    return a.tobytes() == b.tobytes()


def _flat(x: Any) -> Iterator[Any]:
    if isinstance(x, (list, tuple)):
        for item in x:
            yield from _flat(item)
    else:
        yield x
