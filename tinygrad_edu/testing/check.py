"""`check`: one call that tests an operation of the reader's own, and says what is wrong with its gradient."""

from __future__ import annotations

import importlib.util
import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..autograd.function import Context, Function
from ..autograd.grad import grad
from ..autograd.modes import enable_grad, no_grad, observe
from ..backend import gpu, transfers
from ..backend.device import CPU, array_module, module_of
from ..backend.dtypes import float64, is_floating
from ..creation import as_tensor, tensor
from ..dispatch import apply
from ..ops.op import Op
from ..tensor import Tensor
from .compare import difference
from .diagnosis import Arrays, Setting, diagnose, numerical_gradient
from .draws import Draws
from .gradcheck import GradcheckError, UnsuitableInput, WrongGradient, worst_share
from .op_table import TOLERANCE
from .outcome import ulps

# What float32 may lose against float64: sums of a few hundred roundings of 6e-8, relative to the largest element.
SINGLE = 1e-4


class CheckError(AssertionError):
    """A checked operation is wrong. `.result` holds what was found, `.diagnosis` the mistake in words."""

    def __init__(self, result: CheckResult) -> None:
        super().__init__(repr(result))
        self.result = result

    @property
    def diagnosis(self) -> str | None:
        return self.result.diagnosis


@dataclass(frozen=True)
class Failure:
    """One thing that is wrong."""

    text: str
    diagnosis: str | None = None

    def __str__(self) -> str:
        return self.text + (f"\n    diagnosis: {self.diagnosis}" if self.diagnosis else "")


@dataclass
class CheckResult:
    """What `check` found; true if nothing is wrong."""

    name: str
    inputs: str
    facts: list[str] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)

    @property
    def passed(self) -> bool:
        return not self.failures

    @property
    def diagnosis(self) -> str | None:
        """The mistakes that fit, of all gradients that are wrong; None if there is no wrong gradient."""
        found = dict.fromkeys(f.diagnosis for f in self.failures if f.diagnosis)
        return "; ".join(found) if found else None

    def __bool__(self) -> bool:
        return self.passed

    def __repr__(self) -> str:
        lines = [f"{self.name}({self.inputs}): {'all checks pass' if self.passed else 'WRONG'}"]
        lines += [f"  {f}" for f in self.failures] + [f"  {fact}" for fact in self.facts]
        return "\n".join(lines)


def check(
    fn: Any,
    torch_fn: Callable[..., Any] | None = None,
    inputs: Any = (),
    *,
    name: str | None = None,
    seed: int = 0,
    raise_exception: bool = True,
) -> CheckResult:
    """Check values and gradients of an operation of your own.

    - its gradients in float64 against finite differences (`gradcheck`);
    - with torch_fn: values, shapes, dtypes, and gradients for random cotangents, against PyTorch, in both dtypes;
    - that float32 in gives float32 out, as accurate as float32 allows;
    - that inputs that are not contiguous in memory give the same.

    fn: a function of Tensors that returns one or several, a subclass of `autograd.Function`, or an op class with
        forward(xp, ...) and backward(xp, saved, gy). Settings go into a lambda: `lambda x: my_softmax(x, dim=0)`.
    torch_fn: the same with torch tensors.
    inputs: a list of the arguments: Tensors, arrays of NumPy or CuPy, lists with floats (which become arrays),
        sequences of these, or anything else, which is passed on. Floating ones are checked: those Tensors that require
        grad, or, if none does, all. They are not changed. With Tensors or CuPy's arrays everything is computed on their
        GPU but torch_fn, which gets copies on the CPU.
    seed: that of the random cotangents.
    raise_exception: False returns the result also where something is wrong.

    CheckError: something is wrong. Its message names the operation, the inputs, the worst element with the values got,
    by PyTorch and by finite differences, and the mistake that fits (a diagnosis) where a known one does.
    ValueError: there is no floating input, or Tensors are on several devices. TypeError: inputs is not a list.
    ImportError: torch_fn without PyTorch.
    """
    if torch_fn is not None and importlib.util.find_spec("torch") is None:
        raise ImportError("torch_fn needs PyTorch: pip install torch, or leave it out")
    function = _Function(fn, inputs, name)
    result = CheckResult(function.name, function.description)
    with np.errstate(all="ignore"):
        _run(function, torch_fn, seed, result)
    if raise_exception and result.failures:
        raise CheckError(result)
    return result


class _Function:
    """The operation under test with its arguments, as a function of the arrays that are checked."""

    def __init__(self, fn: Any, inputs: Any, name: str | None) -> None:
        self.given = fn
        self.cls: Any = fn if inspect.isclass(fn) else getattr(fn, "__self__", None)  # MyFunction or MyFunction.apply
        self.cls = self.cls if inspect.isclass(self.cls) and issubclass(self.cls, (Function, Op)) else None
        if inspect.isclass(fn) and self.cls is None:
            raise TypeError(f"check: expected a function, an autograd.Function or an op class, got the class {fn!r}")
        is_op = self.cls is not None and issubclass(self.cls, Op)
        self.fn: Any = fn
        if inspect.isclass(fn):
            self.fn = (lambda *a: apply(fn, *a)) if is_op else self.cls.apply
        default = getattr(fn, "__qualname__", type(fn).__name__).rpartition("<locals>.")[2]
        self.name: str = name or (self.cls.__name__ if self.cls is not None else default)
        if not isinstance(inputs, (list, tuple)):
            raise TypeError(f"check: inputs must be a list of arrays, got {_words(inputs)}; write inputs=[x]")
        self.template = tuple(_with_arrays(x) for x in inputs)
        found = list(_tensors(self.template))
        devices = list(dict.fromkeys(x.device for x in found if isinstance(x, Tensor))) or [CPU]
        if len(devices) > 1:
            raise ValueError(
                f"check of {self.name}: inputs are on {devices[0]} and on {devices[1]}, expected one device; move them "
                f"with .to({str(devices[1])!r})"
            )
        self.device = devices[0]
        wanted = any(isinstance(x, Tensor) and x.requires_grad for x in found)
        self.all: list[Any] = [_array(x) for x in found]
        self.floating = [is_floating(a.dtype) for a in self.all]
        self.checked = [
            i for i, x in enumerate(found) if self.floating[i] and (not wanted or getattr(x, "requires_grad", False))
        ]
        if not self.checked:
            raise ValueError(
                f"check of {self.name}: no input is floating, so there is no gradient to check; give an array or a "
                "list of floats, such as inputs=[[1.0, 2.0]]"
            )
        self.description = ", ".join(_words(x) for x in self.template)

    def arrays(self, dtype: str) -> Arrays:
        """Copies of all tensor arguments, the floating ones in a dtype."""
        return [a.astype(dtype) if f else a.copy() for a, f in zip(self.all, self.floating, strict=True)]

    def arguments(self, made: Sequence[Any]) -> tuple[Any, ...]:
        """The arguments with these in the places of tensors."""
        rest = iter(made)

        def fill(x: Any) -> Any:
            if isinstance(x, (Tensor, np.ndarray)):
                return next(rest)
            return type(x)(fill(item) for item in x) if isinstance(x, (list, tuple)) else x

        return tuple(fill(x) for x in self.template)

    def leaves(self, arrays: Arrays) -> list[Tensor]:
        """Tensors of these arrays where the inputs are; those that are checked require grad."""
        return [self.tensor(a).requires_grad_(i in self.checked) for i, a in enumerate(arrays)]

    def tensor(self, array: Any) -> Tensor:
        """A Tensor of this array where the inputs are."""
        return Tensor._result(transfers.to_device(array, self.device))

    def outputs(self, leaves: Sequence[Any]) -> list[Any]:
        result = self.fn(*self.arguments(leaves))
        found = [y for y in _flat(result) if isinstance(y, Tensor)]
        if not found:
            raise TypeError(f"{self.name} returned no Tensor but {type(result).__name__}")
        return found

    def values(self, arrays: Arrays) -> Arrays:
        """The values of the outputs that can have a gradient."""
        with no_grad():
            return [_array(y).copy() for y in self.outputs(self.leaves(arrays)) if y.is_floating_point()]

    def gradients(self, outputs: list[Tensor], leaves: list[Tensor], cotangents: Arrays) -> list[Any]:
        """The gradient of each checked input, None where nothing arrives."""
        pairs = [(y, self.tensor(c)) for y, c in zip(outputs, cotangents, strict=True) if y.requires_grad]
        if not pairs:
            return [None for _ in self.checked]
        ys, seeds = zip(*pairs, strict=True)
        found = grad(ys, [leaves[i] for i in self.checked], seeds, allow_unused=True)
        return [None if g is None else _array(g).copy() for g in found]

    def raw_gradients(self, leaves: list[Tensor], cotangents: Arrays) -> list[Any] | None:
        """What the backward of a Function or op returns, in whatever shape; None for other functions."""
        if self.cls is None:
            return None
        arguments = self.arguments(leaves)
        with no_grad():
            if issubclass(self.cls, Op):
                arrays = [x._array if isinstance(x, Tensor) else x for x in arguments]
                xp = array_module(self.device)
                _, saved = self.cls.forward(xp, *arrays)
                found: Any = self.cls.backward(xp, saved, self.tensor(cotangents[0])._array)
            else:
                ctx = Context(tuple(isinstance(x, Tensor) and x.requires_grad for x in arguments))
                self.cls.forward(ctx, *arguments)
                found = self.cls.backward(ctx, *map(self.tensor, cotangents))
        found = found if isinstance(found, tuple) else (found,)
        at = [k for k, x in enumerate(arguments) if isinstance(x, Tensor)]
        if len(at) != len(leaves) or len(found) <= max(at):
            return None
        picked = [found[k]() if callable(found[k]) and not isinstance(found[k], Tensor) else found[k] for k in at]
        return [None if picked[i] is None else _array(picked[i]) for i in self.checked]

    def uses(self, arrays: Arrays, cotangents: Arrays) -> list[list[Any]]:
        """The gradients from each use of the checked inputs in a Function's forward, if it is written with Tensors."""
        if self.cls is None or not issubclass(self.cls, Function):
            return []
        leaves = self.leaves(arrays)
        found: dict[Any, list[Any]] = {leaves[i]._graph_node(): [] for i in self.checked}

        class Collector:
            def recorded(self, node: Any, inputs: Any, y: Any) -> None: ...

            def propagated(self, node: Any, gy: Any, gradients: Any) -> None:
                for parent, g in zip(node.parents, gradients, strict=True):
                    if parent in found and g is not None:
                        found[parent].append(np.array(transfers.to_host(g)))

        try:
            with enable_grad(), observe(Collector()):
                result = self.cls.forward(Context((True,) * len(leaves)), *self.arguments(leaves))
                outputs = [y for y in _flat(result) if isinstance(y, Tensor) and y.is_floating_point()]
                self.gradients(outputs, leaves, cotangents)
        except Exception:  # a forward that is not differentiable by itself
            return []
        return list(found.values())


# ---- the checks ------------------------------------------------------------------------------------------------------


def _run(function: _Function, torch_fn: Any, seed: int, result: CheckResult) -> None:
    leaves = function.leaves(function.arrays("float64"))
    outputs = [y for y in function.outputs(leaves) if y.is_floating_point()]
    draws = Draws(seed)
    cotangents = [draws.standard_normal(tuple(y.shape)) for y in outputs]
    if not outputs:
        result.failures.append(Failure("no output is floating, so there is no gradient"))
        return
    torch = _torch_outcome(function, torch_fn, "float64", cotangents) if torch_fn else None
    if torch and not _same_values(function, outputs, torch, "float64", result):
        return
    wrong_gradients(function, leaves, outputs, cotangents, torch, result)
    if result.failures:
        return
    _single_precision(function, torch_fn, cotangents, result)
    _layouts(function, outputs, cotangents, result)


def wrong_gradients(
    function: _Function,
    leaves: list[Tensor],
    outputs: list[Tensor],
    cotangents: Arrays,
    torch: Any,
    result: CheckResult,
) -> None:
    """The gradients in float64, against finite differences and against PyTorch."""
    complaint, raw = "", None
    try:
        share = worst_share(function.fn, function.arguments(leaves))
        result.facts.append(f"gradcheck in float64: worst error {share:.1e} of what is allowed")
    except UnsuitableInput as error:
        if torch is None:
            result.failures.append(Failure(str(error)))
            return
        result.facts.append(f"no gradcheck: {error}")
    except WrongGradient as error:
        complaint = str(error)
    except GradcheckError as error:
        result.failures.append(Failure(str(error)))
        return
    except RuntimeError as error:
        complaint, raw = str(error), function.raw_gradients(leaves, cotangents)
        if raw is None:
            result.failures.append(Failure(complaint))
            return
    if raw is not None:
        got = raw
    else:
        got = function.gradients([y for y in function.outputs(leaves) if y.is_floating_point()], leaves, cotangents)
    arrays = [_array(x) for x in leaves]
    numerical: list[Any] = []
    if complaint or torch is None:
        numerical = [numerical_gradient(function.values, arrays, cotangents, i) for i in function.checked]
    right = torch[1] if torch else numerical
    if complaint and not any(n is None for n in numerical):
        right = [n if r is None else r for r, n in zip(right, numerical, strict=True)]
    before = len(result.failures)
    tolerance = TOLERANCE["gradient", "float64"] if torch else (1e-6, 1e-8)
    for k, i in enumerate(function.checked):
        if right[k] is None:
            continue
        mine = np.zeros(arrays[i].shape) if got[k] is None else got[k]
        text = difference(mine, right[k], *tolerance, equal_nan=True, check_dtype=False)
        if not text:
            continue
        # Every tensor argument has a place, and those without a gradient have None as gradient.
        gradients: list[Any] = [None] * len(arrays)
        for j, r in zip(function.checked, right, strict=True):
            gradients[j] = r
        uses: list[Any] = [()] * len(arrays)
        for j, u in zip(function.checked, function.uses(arrays, cotangents), strict=False):
            uses[j] = u
        values = [_array(y) for y in outputs]
        setting = Setting(arrays, gradients, values, cotangents, function.values, uses)
        number = numerical[k] if numerical else numerical_gradient(function.values, arrays, cotangents, i)
        words = _worst(f"the gradient of input {i}", mine, right[k], number, bool(torch))
        result.failures.append(Failure(words, diagnose(np.asarray(mine, np.float64), i, setting)))
    if complaint and len(result.failures) == before:
        result.failures.append(Failure(complaint))
    elif torch and not complaint and len(result.failures) == before:
        worst = max(
            (ulps(g, r, "float64", True) for g, r in zip(got, right, strict=True) if g is not None), default=0.0
        )
        result.facts.append(f"gradients as in PyTorch in float64: worst error {worst:.1f} ULP")


def _worst(what: str, got: Any, right: Any, numerical: Any, torch: bool) -> str:
    """The worst element in words."""
    if got.shape != right.shape:
        return f"{what} has the shape {got.shape}, expected {right.shape}"
    error = np.nan_to_num(np.abs(got - right), nan=np.inf)
    at = tuple(int(i) for i in np.unravel_index(int(error.argmax()), error.shape))
    off = int((error > 1e-6 * np.abs(right).max()).sum())
    parts = [f"got {got[at]:.10g}"]
    parts += [f"PyTorch {right[at]:.10g}"] if torch else []
    parts += [f"numerical {numerical[at]:.10g}"] if numerical is not None else []
    return f"{what} is wrong in {off} of {error.size} elements; worst at {list(at)}: {', '.join(parts)}"


def _same_values(function: _Function, outputs: list[Tensor], torch: Any, dtype: str, result: CheckResult) -> bool:
    """Whether values, shapes and dtypes are PyTorch's."""
    if len(outputs) != len(torch[0]):
        result.failures.append(Failure(f"{len(outputs)} outputs, PyTorch gives {len(torch[0])}"))
        return False
    for k, (y, z) in enumerate(zip(outputs, torch[0], strict=True)):
        text = difference(_array(y), z, *TOLERANCE["reduction", dtype], equal_nan=True)
        if text:
            text = text.replace("expected", "PyTorch gives")
            result.failures.append(Failure(f"output {k} in {dtype}: {text}"))
    if not result.failures:
        worst = max(ulps(_array(y), z, dtype, True) for y, z in zip(outputs, torch[0], strict=True))
        result.facts.append(f"values as in PyTorch in {dtype}: worst error {worst:.1f} ULP")
    return not result.failures


def _torch_outcome(function: _Function, torch_fn: Any, dtype: str, cotangents: Arrays) -> tuple[Arrays, list[Any]]:
    """PyTorch's values and gradients."""
    import torch

    leaves = []
    for i, array in enumerate(function.arrays(dtype)):
        leaves.append(torch.from_numpy(np.array(array, order="C")).requires_grad_(i in function.checked))
    result = torch_fn(*function.arguments(leaves))
    outputs = [y for y in _flat(result) if isinstance(y, torch.Tensor) and y.is_floating_point()]
    values = [y.detach().numpy() for y in outputs]
    if any(y.shape != c.shape for y, c in zip(values, cotangents, strict=False)) or len(values) != len(cotangents):
        return values, [None for _ in function.checked]
    pairs = [
        (y, torch.from_numpy(c.astype(dtype))) for y, c in zip(outputs, cotangents, strict=True) if y.requires_grad
    ]
    if not pairs:
        return values, [np.zeros(leaves[i].shape, dtype) for i in function.checked]
    ys, seeds = zip(*pairs, strict=True)
    found = torch.autograd.grad(ys, [leaves[i] for i in function.checked], seeds, allow_unused=True)
    zeros = [np.zeros(tuple(leaves[i].shape), dtype) for i in function.checked]
    return values, [z if g is None else g.detach().numpy() for g, z in zip(found, zeros, strict=True)]


def _single_precision(function: _Function, torch_fn: Any, cotangents: Arrays, result: CheckResult) -> None:
    """float32 in gives float32 out, near to what float64 gives for the same numbers."""
    single = function.leaves(function.arrays("float32"))
    seeds = [c.astype(np.float32) for c in cotangents]
    try:
        outputs = [y for y in function.outputs(single) if y.is_floating_point()]
        odd = [f"output {k} is {y._array.dtype}" for k, y in enumerate(outputs) if y._array.dtype != np.float32]
        if odd:
            words = f"float32 inputs, but {', '.join(odd)}: a step computes in another precision"
            result.failures.append(Failure(words))
            return
        got = function.gradients(outputs, single, seeds)
    except Exception as error:
        result.failures.append(Failure(f"in float32: {type(error).__name__}: {error}"))
        return
    double = function.leaves([x._array.astype(np.float64) if x.is_floating_point() else x._array for x in single])
    precise = [y for y in function.outputs(double) if y.is_floating_point()]
    right = function.gradients(precise, double, [c.astype(np.float64) for c in seeds])
    named = [(f"output {k}", _array(y), _array(z)) for k, (y, z) in enumerate(zip(outputs, precise, strict=True))]
    pairs = zip(function.checked, got, right, strict=True)
    named += [(f"the gradient of input {i}", g, r) for i, g, r in pairs if g is not None and r is not None]
    for what, a, b in named:
        scale = np.abs(b[np.isfinite(b)]).max(initial=0.0)
        off = np.abs(a.astype(np.float64) - b)
        bad = (off > SINGLE * scale) & (np.abs(b) < np.finfo(np.float32).max) | (np.isnan(a) != np.isnan(b))
        if bad.any():
            at = tuple(int(i) for i in np.argwhere(bad)[0])
            result.failures.append(
                Failure(
                    f"{what} in float32 at {list(at)}: got {a[at]:.8g}, in float64 {b[at]:.8g}",
                    "float32 round-off only: in float64 it is right. Write it so that nothing large cancels or "
                    "overflows (subtract the maximum before exp, use log1p and expm1)",
                )
            )
            return
    result.facts.append("float32 in gives float32 out, accurate")
    if torch_fn is None:
        return
    torch = _torch_outcome(function, torch_fn, "float32", cotangents)
    if not _same_values(function, outputs, torch, "float32", result):
        return
    for i, a, b in zip(function.checked, got, torch[1], strict=True):
        mine = np.zeros_like(b) if a is None else a
        text = difference(mine, b, *TOLERANCE["gradient", "float32"], equal_nan=True)
        if text:
            result.failures.append(Failure(f"the gradient of input {i} in float32: {text}"))
    if not result.failures:
        result.facts.append("gradients as in PyTorch in float32")


def _layouts(function: _Function, outputs: list[Tensor], cotangents: Arrays, result: CheckResult) -> None:
    """The same numbers in other places of memory give the same."""
    plain = function.leaves(function.arrays("float64"))
    expected = function.gradients([y for y in function.outputs(plain) if y.is_floating_point()], plain, cotangents)
    for layout, how in ((_transposed, "with its axes in reverse order in memory"), (_strided, "strided")):
        leaves = function.leaves([layout(function.tensor(a)._array) for a in function.arrays("float64")])
        try:
            again = [y for y in function.outputs(leaves) if y.is_floating_point()]
            found = function.gradients(again, leaves, [layout(function.tensor(c)._array) for c in cotangents])
        except Exception as error:
            result.failures.append(Failure(f"inputs not contiguous ({how}): {type(error).__name__}: {error}"))
            return
        named = [(f"output {k}", _array(y), _array(z)) for k, (y, z) in enumerate(zip(again, outputs, strict=True))]
        pairs = zip(function.checked, found, expected, strict=True)
        named += [(f"the gradient of input {i}", g, e) for i, g, e in pairs if g is not None and e is not None]
        for what, a, b in named:
            text = difference(a, b, 1e-9, 1e-11, equal_nan=True)
            if text:
                result.failures.append(
                    Failure(f"inputs not contiguous ({how}): {what}: {text}", "it reads memory in place of elements")
                )
                return
    result.facts.append("inputs that are not contiguous give the same")


def _transposed(array: Any) -> Any:
    return module_of(array).array(array.T, order="C").T


def _strided(array: Any) -> Any:
    if not array.ndim:
        return array
    return module_of(array).repeat(array, 2, axis=-1)[..., ::2]


# ---- small helpers ---------------------------------------------------------------------------------------------------


def _flat(x: Any) -> Any:
    if isinstance(x, (list, tuple)):
        for item in x:
            yield from _flat(item)
    else:
        yield x


def _tensors(x: Any) -> Any:
    return (item for item in _flat(x) if isinstance(item, (Tensor, np.ndarray)))


def _with_arrays(x: Any) -> Any:
    """x with arrays in the places of lists that hold floats, nested or not, and Tensors in those of CuPy's arrays."""
    if type(x) in gpu.array_types:
        return as_tensor(x)
    if isinstance(x, tuple):
        return type(x)(_with_arrays(item) for item in x)
    if not isinstance(x, list):
        return x
    if any(isinstance(item, float) for item in _flat(x)) and all(isinstance(item, (int, float)) for item in _flat(x)):
        return tensor(x, dtype=float64)._array
    return [_with_arrays(item) for item in x]


def _array(x: Any) -> Any:
    """A Tensor or array as one of NumPy's."""
    return np.asarray(transfers.to_host(x._array if isinstance(x, Tensor) else x))


def _words(x: Any) -> str:
    if isinstance(x, (list, tuple)):
        return f"[{', '.join(_words(item) for item in x)}]"
    if isinstance(x, (Tensor, np.ndarray)):
        array = x._array if isinstance(x, Tensor) else x
        return f"{array.dtype}{list(array.shape)}"
    return repr(x)
