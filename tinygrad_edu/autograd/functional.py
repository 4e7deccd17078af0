"""Jacobians, Hessians and their products with vectors, of functions of Tensors.

Every function here takes `func`, which maps Tensors to a Tensor or a tuple of Tensors, and `inputs`, a Tensor or a
tuple of Tensors; the inputs need not require grad. With create_graph=True the results can be differentiated. With
strict=True RuntimeError is raised where a result would be zero because something does not depend on an input;
otherwise it is zeros. RuntimeError: a v whose shapes do not fit. TypeError: inputs or outputs that are not Tensors.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from ..functional.shape import stack
from .grad import grad
from .modes import enable_grad

if TYPE_CHECKING:
    from ..tensor import Tensor

Tensors = tuple[Any, ...]


def vjp(
    func: Callable[..., Any], inputs: Any, v: Any = None, create_graph: bool = False, strict: bool = False
) -> tuple[Any, Any]:
    """(func(*inputs), v J): the product of a vector and the Jacobian, by one backward pass.

    v: of the shapes of the outputs; may be left out for an output of one element.
    """
    call = _Call("vjp", func, inputs, create_graph, strict)
    seeds = _vector(v, call.outputs, "user-provided function returns")
    with enable_grad():
        found = call.gradients(call.outputs, call.inputs, seeds, create_graph)
    filled = call.filled(found, call.inputs, "The output of the user-provided function is independent of input {}.")
    return call.result(call.outputs, call.one_output), call.result(filled, call.one_input)


def jvp(
    func: Callable[..., Any], inputs: Any, v: Any = None, create_graph: bool = False, strict: bool = False
) -> tuple[Any, Any]:
    """(func(*inputs), J v): the product of the Jacobian and a vector.

    v: of the shapes of the inputs; may be left out for an input of one element.
    By two backward passes: u J is linear in u, and the gradient of <u J, v> with respect to u is J v.
    """
    call = _Call("jvp", func, inputs, create_graph, strict)
    direction = _vector(v, call.inputs, "input to the user-provided function is")
    with enable_grad():
        u = tuple(y.new_zeros(y.shape).requires_grad_() for y in call.outputs)
        back = call.gradients(call.outputs, call.inputs, u, create_graph=True)
        found = call.gradients(back, u, direction, create_graph)
    filled = call.filled(found, call.outputs, "Output {} of the user-provided function is independent of the inputs.")
    return call.result(call.outputs, call.one_output), call.result(filled, call.one_output)


def jacobian(
    func: Callable[..., Any],
    inputs: Any,
    create_graph: bool = False,
    strict: bool = False,
    vectorize: bool = False,
    strategy: str = "reverse-mode",
) -> Any:
    """J, of shape (*output.shape, *input.shape): J[i, j] is the derivative of output element i by input element j.

    A tuple over the inputs if these are a tuple, within a tuple over the outputs if these are one. One backward pass
    for each output element; vectorize and strategy change nothing about the result and are only accepted.
    """
    if strategy not in ("reverse-mode", "forward-mode"):
        raise ValueError(f"jacobian: expected strategy 'reverse-mode' or 'forward-mode', got {strategy!r}")
    call = _Call("jacobian", func, inputs, create_graph, strict)
    jacobians = []
    with enable_grad():
        for i, y in enumerate(call.outputs):
            rows = [call.row(i, element) for element in y.reshape(-1)]
            shapes = [(*y.shape, *x.shape) for x in call.inputs]
            columns = zip(*rows, strict=True) if rows else [()] * len(shapes)
            jacobians.append(
                tuple(
                    stack(column).reshape(shape) if column else y.new_zeros(shape)
                    for column, shape in zip(columns, shapes, strict=True)
                )
            )
    blocks = tuple(call.result(block, call.one_input) for block in jacobians)
    return blocks[0] if call.one_output else blocks


def hessian(
    func: Callable[..., Any],
    inputs: Any,
    create_graph: bool = False,
    strict: bool = False,
    vectorize: bool = False,
    outer_jacobian_strategy: str = "reverse-mode",
) -> Any:
    """H, the Jacobian of the gradient of a function with a single element, of shape (*input.shape, *input.shape).

    A tuple of tuples if the inputs are a tuple: H[a][b] holds the derivatives by input a, then by input b.
    """

    def gradient(*xs: Any) -> Any:
        rows = jacobian(lambda *ys: _single("hessian", func(*ys)).reshape(()), xs, create_graph=True)
        if strict:
            _strictly_twice(rows, xs)
        return rows if isinstance(inputs, tuple) else rows[0]

    return jacobian(gradient, inputs, create_graph, strict, vectorize, outer_jacobian_strategy)


def vhp(
    func: Callable[..., Any], inputs: Any, v: Any = None, create_graph: bool = False, strict: bool = False
) -> tuple[Any, Any]:
    """(func(*inputs), v H) of a function with a single element, by two backward passes; H is never made.

    v: of the shapes of the inputs; may be left out for an input of one element.
    """
    return _vector_hessian("vhp", func, inputs, v, create_graph, strict)


def hvp(
    func: Callable[..., Any], inputs: Any, v: Any = None, create_graph: bool = False, strict: bool = False
) -> tuple[Any, Any]:
    """(func(*inputs), H v) of a function with a single element. As H is symmetric, it is computed as v H."""
    return _vector_hessian("hvp", func, inputs, v, create_graph, strict)


def _vector_hessian(
    name: str, func: Callable[..., Any], inputs: Any, v: Any, create_graph: bool, strict: bool
) -> tuple[Any, Any]:
    call = _Call(name, func, inputs, create_graph, strict)
    direction = _vector(v, call.inputs, "input to the user-provided function is")
    _single(name, call.outputs if not call.one_output else call.outputs[0])
    with enable_grad():
        first = call.gradients(call.outputs, call.inputs, None, create_graph=True)
        first = call.filled(first, call.inputs, "Output of the user-provided function is independent of input {}.")
        if strict:
            _strictly_twice(first, call.inputs)
        found = call.gradients(first, call.inputs, direction, create_graph)
    filled = call.filled(found, call.inputs, "The jacobian of the user-provided function is independent of input {}.")
    return call.result(call.outputs, call.one_output), call.result(filled, call.one_input)


class _Call:
    """The function called on inputs that require grad, with its outputs."""

    def __init__(self, name: str, func: Callable[..., Any], inputs: Any, create_graph: bool, strict: bool) -> None:
        self.create_graph, self.strict = create_graph, strict
        self.one_input = not isinstance(inputs, tuple)
        given = _tensors(inputs, f"The inputs given to {name}")
        with enable_grad():
            # Tensors of our own, so that nothing is differentiated through another use of the inputs in func; with
            # create_graph, still connected to them.
            self.inputs: Tensors = tuple(
                x.view_as(x) if create_graph and x.requires_grad else x.detach().requires_grad_() for x in given
            )
            made = func(*self.inputs)
        self.one_output = not isinstance(made, tuple)
        self.outputs = _tensors(made, f"The outputs of the user-provided function given to {name}")
        for i, y in enumerate(self.outputs if strict else ()):
            if not y.requires_grad:
                raise RuntimeError(
                    f"Output {i} of the user-provided function does not require gradients. The outputs must be "
                    "computed in a differentiable manner from the input when running in strict mode."
                )

    def gradients(self, outputs: Tensors, inputs: Tensors, seeds: Tensors | None, create_graph: bool) -> Tensors:
        """`grad`, where outputs that are None or do not require grad count as zero."""
        chosen = [
            (y, None if seeds is None else seeds[i]) for i, y in enumerate(outputs) if y is not None and y.requires_grad
        ]
        if not chosen:
            return (None,) * len(inputs)
        ys, vs = zip(*chosen, strict=True)
        return grad(ys, inputs, vs, retain_graph=True, create_graph=create_graph, allow_unused=True)

    def row(self, i: int, element: Any) -> Tensors:
        """The gradient of one element of output i with respect to each input."""
        found = self.gradients((element,), self.inputs, None, self.create_graph)
        independent = f"Output {i} of the user-provided function is independent of input {{}}."
        return self.filled(found, self.inputs, independent)

    def filled(self, found: Tensors, like: Tensors, independent: str) -> Tensors:
        """Zeros in the place of None, which strict mode refuses with this message."""
        for k, g in enumerate(found if self.strict else ()):
            if g is None:
                raise RuntimeError(f"{independent.format(k)} This is not allowed in strict mode.")
            if self.create_graph and not g.requires_grad:
                raise RuntimeError(
                    f"The jacobian of the user-provided function is independent of input {k}. This is not allowed in "
                    "strict mode when create_graph=True."
                )
        return tuple(x.new_zeros(x.shape) if g is None else g for g, x in zip(found, like, strict=True))

    def result(self, tensors: Tensors, single: bool) -> Any:
        """The tensors as the caller gets them: without a graph unless asked for, and alone if he gave one alone."""
        kept = tensors if self.create_graph else tuple(t.detach() for t in tensors)
        return kept[0] if single else kept


def _tensors(given: Any, what: str) -> Tensors:
    found = given if isinstance(given, tuple) else (given,)
    for x in found:
        if not hasattr(x, "_array"):
            raise TypeError(f"{what} must be either a Tensor or a tuple of Tensors, got {type(x).__name__}")
    return found


def _single(name: str, y: Any) -> Tensor:
    """The output of a function that must have a single element."""
    if not hasattr(y, "_array"):
        if isinstance(y, tuple) and len(y) == 1:
            return _single(name, y[0])
        raise RuntimeError(f"The function given to {name} should return a single Tensor, got {type(y).__name__}")
    if y.numel() != 1:
        raise RuntimeError(
            f"The Tensor returned by the function given to {name} should contain a single element, it has shape "
            f"{tuple(y.shape)}"
        )
    return y


def _vector(v: Any, like: Tensors, where: str) -> Tensors:
    """The vector as a tuple with the shapes of these tensors."""
    if v is None:
        if len(like) != 1 or like[0].numel() != 1:
            raise RuntimeError(f"The vector v can only be None if the {where} a single Tensor with a single element.")
        return (like[0].new_ones(like[0].shape),)
    found = _tensors(v, "The vector v")
    if len(found) != len(like):
        raise RuntimeError(f"v has {len(found)} Tensors, expected {len(like)}: one for each that it stands beside")
    for i, (given, x) in enumerate(zip(found, like, strict=True)):
        if given.shape != x.shape:
            raise RuntimeError(
                f"Entry {i} in v has invalid size: should be {tuple(x.shape)} but got {tuple(given.shape)}."
            )
    return found


def _strictly_twice(gradients: Sequence[Any], inputs: Sequence[Any]) -> None:
    """RuntimeError: a gradient that is the same whatever the inputs are."""
    for k, g in enumerate(gradients):
        depends = g.requires_grad and any(
            h is not None for h in grad(g.sum(), inputs, retain_graph=True, allow_unused=True)
        )
        if not depends:
            raise RuntimeError(
                "While computing the hessian, found that the jacobian of the user-provided function with respect to "
                f"input {k} is independent of the input. This is not allowed in strict mode. You should ensure that "
                "your function is twice differentiable and that the jacobian depends on the inputs (this would be "
                "violated by a linear function for example)."
            )
