"""`gradcheck`: compare the gradients that backward computes with finite differences of the function itself."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..autograd.grad import grad
from ..autograd.modes import enable_grad, no_grad
from ..backend import dtypes
from ..functional import elementwise
from ..tensor import Tensor

FULL_LIMIT = 512  # with at most this many elements in all inputs and outputs, every entry of the Jacobian is compared


class GradcheckError(RuntimeError):
    """The gradients of a function are wrong, or the function is not one whose gradients can be checked."""


class WrongGradient(GradcheckError):
    """Backward gives another gradient than finite differences."""


class UnsuitableInput(GradcheckError):
    """Finite differences say nothing here: a value or slope is not finite, a step is lost, or elements share memory."""


def gradcheck(
    func: Callable[..., Any],
    inputs: Any,
    *,
    eps: float = 1e-6,
    atol: float = 1e-5,
    rtol: float = 1e-3,
    raise_exception: bool = True,
    nondet_tol: float = 0.0,
    fast_mode: bool | None = None,
) -> bool:
    """Check the gradients of `func` at `inputs` in float64; True if they are right.

    For output element j and input element i, backward must give the slope that central differences show,

        d y_j / d x_i  =  (y_j(x + eps e_i) - y_j(x - eps e_i)) / (2 eps)  +  O(eps**2),

    to within atol + rtol * |slope|. Where the function has a kink, such as relu at 0, the slopes to the left and to the
    right differ, and any value between them is right.

    func: takes the inputs, returns a Tensor or a sequence of them.
    inputs: a Tensor or a sequence of arguments, which may hold Tensors in lists or tuples. Those that require grad are
        checked; they must be float64. Other arguments are passed on.
    raise_exception: False returns False where GradcheckError would be raised.
    nondet_tol: by how much the results of two equal calls may differ.
    fast_mode: False compares every entry of the Jacobian. True compares u.J.v for a random direction v of each input
        and a random cotangent u: two calls per input and one backward whatever the sizes; a wrong entry almost surely
        shows, but points with kinks should be avoided. None (default): False up to 512 elements in all inputs and
        outputs, True above.

    GradcheckError: a wrong gradient (function, input, worst element, both values and their ratio are named), a result
    that changes from call to call or is not float64, or an input that was changed. ValueError: no input
    requires grad, or one that does is not float64.

    Source of the default step and tolerances: `torch.autograd.gradcheck`. The best step for central differences is near
    cbrt(3e-16) = 7e-6 for functions of ordinary scale: Press et al., Numerical Recipes, section 5.7.
    """
    try:
        worst_share(func, inputs, eps=eps, atol=atol, rtol=rtol, nondet_tol=nondet_tol, fast_mode=fast_mode)
    except GradcheckError:
        if raise_exception:
            raise
        return False
    return True


def worst_share(
    func: Callable[..., Any],
    inputs: Any,
    *,
    eps: float = 1e-6,
    atol: float = 1e-5,
    rtol: float = 1e-3,
    nondet_tol: float = 0.0,
    fast_mode: bool | None = None,
) -> float:
    """`gradcheck`, which returns the worst error as a share of what is allowed: 1 is the limit, 0.01 a wide margin."""
    with np.errstate(all="ignore"):  # what is not finite is reported in words
        check = _Check(func, inputs, eps, atol, rtol)
        check.repeats(nondet_tol)
        size = sum(x.numel() for _, x in check.checked) + sum(y.size for y in check.values)
        if size > FULL_LIMIT if fast_mode is None else fast_mode:
            check.along_directions()
        else:
            check.every_entry()
        check.unchanged("its backward")
    return check.share


def gradgradcheck(
    func: Callable[..., Any],
    inputs: Any,
    grad_outputs: Any = None,
    *,
    eps: float = 1e-6,
    atol: float = 1e-5,
    rtol: float = 1e-3,
    raise_exception: bool = True,
    nondet_tol: float = 0.0,
    fast_mode: bool | None = None,
) -> bool:
    """Check the gradients of the gradients of `func` in float64; True if they are right.

    It is `gradcheck` of the function that takes the inputs and the outputs' gradients u to u.J, as it is found by a
    recorded backward pass. Arguments and errors are those of `gradcheck`. Where a gradient jumps, as that of relu at 0,
    there is no second derivative to compare with.

    grad_outputs: u, a Tensor or one for each output, in float64 and requiring grad; by default random numbers.
    """
    try:
        second_share(
            func, inputs, grad_outputs, eps=eps, atol=atol, rtol=rtol, nondet_tol=nondet_tol, fast_mode=fast_mode
        )
    except GradcheckError:
        if raise_exception:
            raise
        return False
    return True


def second_share(func: Callable[..., Any], inputs: Any, grad_outputs: Any = None, **settings: Any) -> float:
    """`gradgradcheck`, which returns the worst error as `worst_share` does."""
    first = _Gradient(func, inputs, grad_outputs)
    return worst_share(first, (*first.inputs, *first.cotangents), **settings)


class _Gradient:
    """The function from the inputs of `func` and the gradients of its outputs to the gradients of the inputs."""

    def __init__(self, func: Callable[..., Any], inputs: Any, grad_outputs: Any) -> None:
        self.func, self.__qualname__ = func, f"the gradient of {_name(func)}"
        self.inputs = tuple(inputs) if isinstance(inputs, Sequence) else (inputs,)
        if grad_outputs is None:
            rng = np.random.default_rng(1)
            with enable_grad():
                found = self._outputs(self.inputs)
            draws = [rng.standard_normal(tuple(y.shape)).astype(y._array.dtype) for y in found]
            self.cotangents = tuple(_beside(y, d).requires_grad_() for y, d in zip(found, draws, strict=True))
        else:
            self.cotangents = tuple(grad_outputs) if isinstance(grad_outputs, Sequence) else (grad_outputs,)

    def _outputs(self, inputs: Sequence[Any]) -> list[Tensor]:
        """The outputs that require grad."""
        result = self.func(*inputs)
        found = [y for _, y in _tensors(result if isinstance(result, (list, tuple)) else (result,))]
        return [y for y in found if y.requires_grad]

    def __call__(self, *arguments: Any) -> list[Tensor]:
        inputs, cotangents = arguments[: len(self.inputs)], arguments[len(self.inputs) :]
        wanted = [x for _, x in _tensors(inputs) if x.requires_grad]
        with enable_grad():
            outputs = self._outputs(inputs)
            if not outputs:
                raise UnsuitableInput(f"gradgradcheck: no output of {_name(self.func)} depends on its inputs")
            found = grad(outputs, wanted, cotangents, create_graph=True, allow_unused=True)
        return [elementwise.clone(x) * 0 if g is None else g for g, x in zip(found, wanted, strict=True)]


class _Check:
    """One gradcheck: the function at one input, its values there, and its gradients."""

    def __init__(self, func: Callable[..., Any], inputs: Any, eps: float, atol: float, rtol: float) -> None:
        self.func, self.eps, self.atol, self.rtol = func, eps, atol, rtol
        self.name = _name(func)
        self.share = 0.0  # the worst error so far, divided by what is allowed
        self.inputs = tuple(inputs) if isinstance(inputs, Sequence) else (inputs,)
        self.tensors = list(_tensors(self.inputs))
        self.checked = [(place, x) for place, x in self.tensors if x.requires_grad]
        self._refuse_unsuitable()
        self.before = [x._array.copy() for _, x in self.tensors]
        self.rng = np.random.default_rng(0)
        with enable_grad():
            self.outputs = self._call()
        self.unchanged("its forward")
        # With no output that requires grad the gradient is claimed to be zero: that is checked too.
        chosen = [k for k, y in enumerate(self.outputs) if y.requires_grad]
        self.chosen = chosen or [k for k, y in enumerate(self.outputs) if y.is_floating_point()]
        self.values = self._values(self.outputs)
        for k, y in zip(self.chosen, self.values, strict=True):
            if y.dtype != np.float64:
                raise GradcheckError(
                    f"gradcheck: output {k} of {self.name} is {y.dtype.name} although its inputs are float64: a "
                    "step inside computes in a lower precision, in which finite differences drown"
                )
            if not np.isfinite(y).all():
                raise UnsuitableInput(f"gradcheck: output {k} of {self.name} holds infinities or NaN at this input")

    def _refuse_unsuitable(self) -> None:
        if not self.checked:
            raise ValueError(
                f"gradcheck of {self.name}: no input requires grad, so there is nothing to check; make one with "
                "requires_grad=True"
            )
        for place, x in self.checked:
            array = x._array
            if x.dtype != dtypes.float64:
                raise ValueError(
                    f"gradcheck of {self.name}: {place} is {x.dtype.name}, expected float64: a difference over a step "
                    f"of {self.eps:g} drowns in the rounding of {x.dtype.name}; convert it with .double()"
                )
            if array.size > 1 and any(s == 0 and n > 1 for s, n in zip(array.strides, array.shape, strict=True)):
                raise UnsuitableInput(
                    f"gradcheck of {self.name}: elements of {place} share memory (it was expanded), so none can be "
                    "moved alone; pass a contiguous copy"
                )
            if array.size and not np.abs(array).max() * 1e-10 < self.eps:
                raise UnsuitableInput(
                    f"gradcheck of {self.name}: {place} holds {np.abs(array).max():g}, where a step of {self.eps:g} is "
                    "lost in rounding"
                )

    def _call(self) -> list[Tensor]:
        result = self.func(*self.inputs)
        outputs = [y for _, y in _tensors(result if isinstance(result, (list, tuple)) else (result,))]
        if not outputs:
            raise GradcheckError(f"gradcheck: {self.name} returned no Tensor but {type(result).__name__}")
        return outputs

    def _values(self, outputs: list[Tensor]) -> list[Any]:
        """Copies of the outputs that are compared: one may be a view of an input."""
        return [outputs[k].detach().cpu().numpy().copy() for k in self.chosen]

    def _values_at(self, x: Tensor, step: Any) -> list[Any]:
        """The values with `x` moved by `step`. It is moved in its own memory, so that it keeps its strides."""
        kept = x._array.copy()
        try:
            x._array[...] = kept + _beside(x, step)._array
            with no_grad():
                return self._values(self._call())
        finally:
            x._array[...] = kept

    def _gradients(self, cotangents: list[Any]) -> list[Any]:
        """What backward gives for each checked input."""
        pairs = [
            (self.outputs[k], _beside(self.outputs[k], c))
            for k, c in zip(self.chosen, cotangents, strict=True)
            if self.outputs[k].requires_grad
        ]
        found: Sequence[Any] = [None] * len(self.checked)
        if pairs:
            outputs, seeds = zip(*pairs, strict=True)
            inputs = [x for _, x in self.checked]
            found = grad(outputs, inputs, seeds, retain_graph=True, allow_unused=True)
        return [
            np.zeros(x.shape) if g is None else g.detach().cpu().numpy().copy()
            for g, (_, x) in zip(found, self.checked, strict=True)
        ]

    # ---- the checks ------------------------------------------------------------------------------------------------

    def repeats(self, tolerance: float) -> None:
        """The same call gives the same values, and the same backward the same gradients."""
        first_input = self.checked[0][1]
        again = self._values_at(first_input, np.zeros(first_input.shape))
        cotangents = [self.rng.standard_normal(y.shape) for y in self.values]
        pairs = [*zip(self.values, again, strict=True)]
        pairs += zip(self._gradients(cotangents), self._gradients(cotangents), strict=True)
        for first, second in pairs:
            same = first.shape == second.shape and (first == second) | (np.abs(first - second) <= tolerance)
            if not np.all(same | (np.isnan(first) & np.isnan(second))):
                raise GradcheckError(
                    f"gradcheck: {self.name} does not give the same result twice for the same input; fix the random "
                    "numbers it draws (a generator seeded in the function, or a mask as input)"
                )

    def unchanged(self, by: str) -> None:
        """No input was changed."""
        for (place, x), kept in zip(self.tensors, self.before, strict=True):
            if x._array.tobytes() != kept.tobytes():
                raise GradcheckError(f"gradcheck: {self.name} changed {place} in {by}")

    def every_entry(self) -> None:
        """Each entry of the Jacobian lies between the slopes to the left and to the right of the point."""
        jacobians = self._jacobians()
        for (place, x), jacobian in zip(self.checked, jacobians, strict=True):
            left, right = self._slopes(x)
            for k, analytical, below, above in zip(self.chosen, jacobian, left, right, strict=True):
                self._compare(place, x, k, analytical, below, above)

    def _jacobians(self) -> list[list[Any]]:
        """For each checked input and each output: the gradients, as (output elements, input elements)."""
        found = [[np.zeros((y.size, x.numel())) for y in self.values] for _, x in self.checked]
        for k, y in enumerate(self.values):
            cotangents = [np.zeros(other.shape) for other in self.values]
            for j in range(y.size):
                cotangents[k].reshape(-1)[j] = 1.0
                for jacobian, gradient in zip(found, self._gradients(cotangents), strict=True):
                    jacobian[k][j] = gradient.reshape(-1)
                cotangents[k].reshape(-1)[j] = 0.0
        return found

    def _slopes(self, x: Tensor) -> tuple[list[Any], list[Any]]:
        """The slopes to the left and to the right for every pair of an output element and an input element."""
        left = [np.zeros((y.size, x.numel())) for y in self.values]
        right = [np.zeros((y.size, x.numel())) for y in self.values]
        point = x.detach().cpu().numpy().copy()
        for i, index in enumerate(np.ndindex(*x.shape)):
            step = np.zeros(x.shape)
            step[index] = self.eps
            up = point[index] + self.eps - point[index]  # the steps after rounding
            down = point[index] - (point[index] - self.eps)
            above, below = self._values_at(x, step), self._values_at(x, -step)
            for k, y in enumerate(self.values):
                right[k][:, i] = ((above[k] - y) / up).reshape(-1)
                left[k][:, i] = ((y - below[k]) / down).reshape(-1)
        return left, right

    def _compare(self, place: str, x: Tensor, k: int, analytical: Any, left: Any, right: Any) -> None:
        central = (left + right) / 2
        for what, values in (("slope by differences", central), ("gradient", analytical)):
            if not np.isfinite(values).all():
                raise UnsuitableInput(f"gradcheck: {self.name} has a {what} that is not finite for {place}, output {k}")
        allowed = self.atol + self.rtol * np.abs(central)
        outside = np.maximum(np.minimum(left, right) - analytical, analytical - np.maximum(left, right))
        excess = outside - allowed
        if not (excess > 0).any():
            smooth = np.abs(right - left) <= allowed  # at a kink any value between the slopes has no error
            error = np.where(outside > 0, outside, np.where(smooth, np.abs(analytical - central), 0.0))
            self.share = max(self.share, float((error / allowed).max(initial=0.0)))
            return
        j, i = np.unravel_index(int(excess.argmax()), excess.shape)
        kink = ""
        if abs(right[j, i] - left[j, i]) > allowed[j, i]:
            kink = f"; the slope is {left[j, i]:.10g} to the left and {right[j, i]:.10g} to the right: a kink or a jump"
        raise WrongGradient(
            f"gradcheck of {self.name}: wrong gradient for {place}. {int((excess > 0).sum())} of {excess.size} entries "
            f"of the Jacobian of output {k} differ; worst: {place}{_index(int(i), x.shape)}, "
            f"output {k}{_index(int(j), self.outputs[k].shape)}: {_both(analytical[j, i], central[j, i])}; allowed: "
            f"atol {self.atol:g} + rtol {self.rtol:g}{kink}"
        )

    def along_directions(self) -> None:
        """u.J.v by backward and by differences, for a random cotangent u and a random direction v of each input."""
        cotangents = [self.rng.standard_normal(y.shape) for y in self.values]
        for (place, x), gradient in zip(self.checked, self._gradients(cotangents), strict=True):
            direction = self.rng.standard_normal(x.shape)
            analytical = float((gradient * direction).sum())
            step = self.eps * direction
            numerical = self._projected(cotangents, self._values_at(x, step), self._values_at(x, -step))
            if not (np.isfinite(analytical) and np.isfinite(numerical)):
                raise UnsuitableInput(f"gradcheck: {self.name} has a slope or gradient that is not finite for {place}")
            share = abs(analytical - numerical) / (self.atol + self.rtol * abs(numerical))
            self.share = max(self.share, share)
            if share > 1:
                index, slope = self._worst_element(x, cotangents, gradient)
                raise WrongGradient(
                    f"gradcheck of {self.name}: wrong gradient for {place}. Along a random direction: "
                    f"{_both(analytical, numerical)}; allowed: atol {self.atol:g} + rtol {self.rtol:g}. For a random "
                    f"cotangent the worst element is {place}{list(index)}: {_both(gradient[index], slope)}"
                )

    def _projected(self, cotangents: list[Any], above: list[Any], below: list[Any]) -> float:
        terms = zip(cotangents, above, below, strict=True)
        return float(sum((c * (a - b)).sum() for c, a, b in terms)) / (2 * self.eps)

    def _worst_element(self, x: Tensor, cotangents: list[Any], gradient: Any) -> tuple[tuple[int, ...], float]:
        """The element whose gradient is furthest from its slope, among at most 1,000 of them."""
        positions = np.arange(x.numel()) if x.numel() <= 1000 else self.rng.choice(x.numel(), 1000, replace=False)
        worst, step = -1.0, np.zeros(x.shape)
        found: tuple[tuple[int, ...], float] = (), 0.0
        for index in zip(*np.unravel_index(positions, x.shape), strict=True):
            step[index] = self.eps
            slope = self._projected(cotangents, self._values_at(x, step), self._values_at(x, -step))
            step[index] = 0.0
            if abs(gradient[index] - slope) > worst:
                worst, found = abs(gradient[index] - slope), (tuple(int(i) for i in index), slope)
        return found


def _beside(x: Tensor, array: Any) -> Tensor:
    """A tensor of this array, on the device of another one."""
    return Tensor._result(array).to(x.device)


def _name(func: Callable[..., Any]) -> str:
    cls = getattr(func, "__self__", None)
    if isinstance(cls, type):  # Square.apply, although Function defines apply
        return f"{cls.__name__}.{func.__name__}"
    return getattr(func, "__qualname__", type(func).__name__).rpartition("<locals>.")[2]


def _tensors(values: Sequence[Any], place: str = "input ") -> Any:
    """Each different Tensor in a sequence, also inside lists and tuples, with its place in words."""
    seen: set[int] = set()

    def walk(x: Any, place: str) -> Any:
        if isinstance(x, Tensor):
            if id(x) not in seen:
                seen.add(id(x))
                yield place, x
        elif isinstance(x, (list, tuple)):
            for i, item in enumerate(x):
                yield from walk(item, f"{place}[{i}]")

    for i, item in enumerate(values):
        yield from walk(item, f"{place}{i}")


def _index(flat: int, shape: Sequence[int]) -> str:
    return str([int(i) for i in np.unravel_index(flat, tuple(shape))]) if len(shape) else ""


def _both(analytical: float, numerical: float) -> str:
    ratio = f"{analytical / numerical:.6g}" if numerical else "undefined"
    return f"analytical {analytical:.10g}, numerical {numerical:.10g}, ratio {ratio}"
