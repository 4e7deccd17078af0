"""Products of matrices and vectors, and sums of products in general."""

from __future__ import annotations

import string
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ..dispatch import apply
from ..ops import linalg as ops
from .arguments import Number, dim_indices, operand, promote, require_tensor
from .elementwise import add, mul
from .precision import autocasts
from .reduction import sum
from .shape import broadcast_shapes, diagonal, expand, permute, reshape, unsqueeze

if TYPE_CHECKING:
    from ..tensor import Tensor

# ---- checks ----------------------------------------------------------------------------------------------------------


def require_same_dtype(name: str, **tensors: Tensor | None) -> None:
    """The tensors given must have one dtype (RuntimeError), and it must not be bool (NotImplementedError)."""
    first = dtype = None
    for argument, x in tensors.items():
        if x is None:
            continue
        if first is None:
            first, dtype = argument, x._array.dtype
        elif x._array.dtype != dtype:
            raise RuntimeError(
                f"{name}: expected {first} and {argument} to have the same dtype, but got: {dtype} != "
                f"{x._array.dtype}; convert one of them with .to(dtype)"
            )
    if dtype.kind == "b":  # type: ignore[union-attr]
        raise NotImplementedError(f"{name}: not implemented for bool; convert to numbers, for example by .float()")


def _check(name: str, ndims: tuple[int, ...] = (), **tensors: Tensor) -> None:
    """Check that these are Tensors with the numbers of dimensions and of one dtype."""
    for argument, x in tensors.items():
        require_tensor(name, argument, x)
    if ndims:
        for (argument, x), ndim in zip(tensors.items(), ndims, strict=True):
            if x._array.ndim != ndim:
                kind = {1: "a vector", 2: "a matrix", 3: "a batch of matrices"}[ndim]
                raise RuntimeError(
                    f"{name}: {argument} must be {kind} ({ndim}-D), but got {x._array.ndim}-D of shape {tuple(x.shape)}"
                )
    require_same_dtype(name, **tensors)


def _check_inner(name: str, a: Tensor, b: Tensor) -> None:
    """The last size of a must be the second-last of b (or its only one)."""
    left, right = a._array.shape, b._array.shape
    size = right[-2 if len(right) > 1 else 0]
    if left[-1] != size:
        at = "second-last" if len(right) > 1 else "only"
        raise RuntimeError(
            f"{name}: shapes {left} and {right} cannot be multiplied: the last size of the first is {left[-1]}, the "
            f"{at} size of the second is {size}; make them equal, for example by a transpose"
        )


# ---- products of matrices --------------------------------------------------------------------------------------------


@autocasts
def matmul(input: Any, other: Any) -> Tensor:
    """The matrix product over the last axis of input and the second-last of other.

    (..., N, K) @ (..., K, M) -> (..., N, M); the axes before broadcast. A vector on the left is a row, on the right a
    column: (K) @ (..., K, M) -> (..., M), (..., N, K) @ (K) -> (..., N), (K) @ (K) -> ().
    RuntimeError: sizes or dtypes that do not fit.
    """
    if not (hasattr(input, "_array") and hasattr(other, "_array")):  # `array @ tensor`
        like = input if hasattr(input, "_array") else other
        input, other = operand(like, input), operand(like, other)
        require_tensor("matmul", "input", input)
        require_tensor("matmul", "other", other)
    require_same_dtype("matmul", input=input, other=other)
    a, b = input._array.shape, other._array.shape
    if not a or not b:
        raise RuntimeError(
            f"both arguments to matmul need to be at least 1D, but they are {len(a)}D and {len(b)}D; multiply by a "
            "number with *"
        )
    _check_inner("matmul", input, other)
    if a[:-2] != b[:-2]:
        try:
            broadcast_shapes(a[:-2], b[:-2])
        except RuntimeError:
            raise RuntimeError(
                f"matmul: the batch axes {a[:-2]} and {b[:-2]} do not broadcast; got shapes {a} and {b}"
            ) from None
    return apply(ops.Matmul, input, other)


def rmatmul(input: Tensor, other: Any) -> Tensor:
    """other @ input."""
    return matmul(other, input)


@autocasts
def mm(input: Tensor, mat2: Tensor) -> Tensor:
    """The product of two matrices, (N, K) @ (K, M) -> (N, M)."""
    _check("mm", (2, 2), input=input, mat2=mat2)
    _check_inner("mm", input, mat2)
    return apply(ops.Matmul, input, mat2)


@autocasts
def bmm(input: Tensor, mat2: Tensor) -> Tensor:
    """The products of two batches of matrices, (B, N, K) @ (B, K, M) -> (B, N, M), with no broadcasting."""
    _check("bmm", (3, 3), input=input, mat2=mat2)
    _check_inner("bmm", input, mat2)
    if len(input._array) != len(mat2._array):
        raise RuntimeError(
            f"bmm: expected batches of one size, but got {len(input._array)} and {len(mat2._array)} from shapes "
            f"{tuple(input.shape)} and {tuple(mat2.shape)}; matmul broadcasts"
        )
    return apply(ops.Matmul, input, mat2)


@autocasts
def mv(input: Tensor, vec: Tensor) -> Tensor:
    """A matrix times a vector, (N, K) @ (K) -> (N)."""
    _check("mv", (2, 1), input=input, vec=vec)
    _check_inner("mv", input, vec)
    return apply(ops.Matmul, input, vec)


@autocasts
def dot(input: Tensor, tensor: Tensor) -> Tensor:
    """The sum of the products of two vectors, (K), (K) -> ()."""
    _check("dot", (1, 1), input=input, tensor=tensor)
    _check_inner("dot", input, tensor)
    return apply(ops.Matmul, input, tensor)


@autocasts
def vdot(input: Tensor, other: Tensor) -> Tensor:
    """`dot`, since there are no complex numbers here to conjugate."""
    _check("vdot", (1, 1), input=input, other=other)
    return dot(input, other)


@autocasts
def addmm(input: Tensor, mat1: Tensor, mat2: Tensor, *, beta: Number = 1, alpha: Number = 1) -> Tensor:
    """beta * input + alpha * (mat1 @ mat2). With beta 0 the input, even NaN, does not count."""
    return _added("addmm", (2, 2), input, alpha, beta, mat1=mat1, mat2=mat2)


@autocasts
def addmv(input: Tensor, mat: Tensor, vec: Tensor, *, beta: Number = 1, alpha: Number = 1) -> Tensor:
    """beta * input + alpha * (mat @ vec). With beta 0 the input, even NaN, does not count."""
    return _added("addmv", (2, 1), input, alpha, beta, mat=mat, vec=vec)


@autocasts
def baddbmm(input: Tensor, batch1: Tensor, batch2: Tensor, *, beta: Number = 1, alpha: Number = 1) -> Tensor:
    """beta * input + alpha * (batch1 @ batch2). With beta 0 the input, even NaN, does not count."""
    return _added("baddbmm", (3, 3), input, alpha, beta, batch1=batch1, batch2=batch2)


def _added(name: str, ndims: tuple[int, int], input: Tensor, alpha: Number, beta: Number, **factors: Tensor) -> Tensor:
    _check(name, ndims, **factors)
    require_same_dtype(name, input=input, **factors)
    a, b = factors.values()
    _check_inner(name, a, b)
    y = bmm(a, b) if ndims == (3, 3) else matmul(a, b)
    added = expand(input, y._array.shape)
    if alpha != 1:
        y = mul(y, alpha)
    return y if beta == 0 else add(y, added, alpha=beta)


@autocasts
def linear(input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """input @ weight.T + bias: (..., I), (O, I), (O) -> (..., O). RuntimeError: sizes or dtypes that do not fit."""
    require_tensor("linear", "input", input)
    require_tensor("linear", "weight", weight)
    if weight._array.ndim == 1 and bias is None:
        return matmul(input, weight)
    x, w = input._array.shape, weight._array.shape
    if not x or len(w) != 2 or x[-1] != w[1]:
        raise RuntimeError(
            f"linear: input of shape {x} and weight of shape {w} cannot be multiplied: expected (..., I) and (O, I) "
            "with the same I"
        )
    if bias is not None and bias._array.shape != w[:1]:
        raise RuntimeError(f"linear: expected bias of shape {w[:1]} for weight of shape {w}, got {bias._array.shape}")
    require_same_dtype("linear", input=input, weight=weight, bias=bias)
    return apply(ops.Linear, input, weight, bias)


@autocasts
def bilinear(input1: Tensor, input2: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """input1' weight[o] input2 + bias[o] for each o: (..., I), (..., J), (O, I, J), (O) -> (..., O)."""
    _check("bilinear", input1=input1, input2=input2, weight=weight)
    x1, x2, w = input1._array.shape, input2._array.shape, weight._array.shape
    if len(w) != 3 or x1[:-1] != x2[:-1] or x1[-1:] + x2[-1:] != w[1:]:
        raise RuntimeError(f"bilinear: expected shapes (..., I), (..., J) and (O, I, J), got {x1}, {x2} and {w}")
    if bias is not None and bias._array.shape != w[:1]:
        raise RuntimeError(f"bilinear: expected bias of shape {w[:1]} for weight of shape {w}, got {bias._array.shape}")
    y = einsum("...i,oij,...j->...o", input1, weight, input2)
    return y if bias is None else add(y, bias)


@autocasts
def chain_matmul(*matrices: Tensor) -> Tensor:
    """The product of a chain of matrices, in the order of multiplications that costs least.

    Source: Cormen, Leiserson, Rivest, Stein, "Introduction to Algorithms", matrix-chain multiplication.
    """
    if not matrices:
        raise RuntimeError("chain_matmul: expected one or more matrices, got none")
    for a, b in zip(matrices, matrices[1:], strict=False):
        _check("chain_matmul", (2, 2), input=a, other=b)
        _check_inner("chain_matmul", a, b)
    sizes = [matrices[0].shape[0], *(m.shape[1] for m in matrices)]
    best: dict[tuple[int, int], tuple[int, int]] = {(i, i): (0, i) for i in range(len(matrices))}  # cost, last split
    for length in range(1, len(matrices)):
        for i in range(len(matrices) - length):
            j = i + length
            best[i, j] = min(
                (best[i, k][0] + best[k + 1, j][0] + sizes[i] * sizes[k + 1] * sizes[j + 1], k) for k in range(i, j)
            )

    def multiplied(i: int, j: int) -> Tensor:
        k = best[i, j][1]
        return matrices[i] if i == j else matmul(multiplied(i, k), multiplied(k + 1, j))

    return multiplied(0, len(matrices) - 1)


# ---- other products --------------------------------------------------------------------------------------------------


def outer(input: Tensor, vec2: Tensor) -> Tensor:
    """All products of the elements of two vectors, (N), (M) -> (N, M)."""
    require_tensor("outer", "input", input)
    require_tensor("outer", "vec2", vec2)
    for argument, x in ("input", input), ("vec2", vec2):
        if x._array.ndim != 1:
            raise RuntimeError(f"outer: {argument} must be a vector (1-D), but got shape {tuple(x.shape)}")
    return mul(unsqueeze(input, 1), vec2)


def inner(input: Tensor, other: Tensor) -> Tensor:
    """The dot products of the rows of both, (..., K), (---, K) -> (..., ---)."""
    _check("inner", input=input, other=other)
    a, b = input._array, other._array
    if 0 in (a.ndim, b.ndim):
        return mul(input, other)
    if a.shape[-1] != b.shape[-1]:
        raise RuntimeError(
            f"inner: the last dimension must match on both input tensors but got shapes {list(a.shape)} and "
            f"{list(b.shape)}"
        )
    return tensordot(input, other, ([-1], [-1]))


@autocasts
def trace(input: Tensor) -> Tensor:
    """The sum of the diagonal of a matrix."""
    require_tensor("trace", "input", input)
    if input._array.ndim != 2:
        raise RuntimeError(f"trace: expected a matrix, but got tensor with dim {input._array.ndim}")
    return sum(diagonal(input))


def kron(input: Tensor, other: Tensor) -> Tensor:
    """The Kronecker product: a copy of other times each element of input, in the place of that element."""
    require_tensor("kron", "input", input)
    require_tensor("kron", "other", other)
    a, b = promote(input, other)
    ndim = max(a._array.ndim, b._array.ndim)
    left, right = ((1,) * (ndim - x._array.ndim) + x._array.shape for x in (a, b))
    pairs = mul(
        reshape(a, [n for size in left for n in (size, 1)]), reshape(b, [n for size in right for n in (1, size)])
    )
    return reshape(pairs, [n * m for n, m in zip(left, right, strict=True)])


# ---- sums of products in general -------------------------------------------------------------------------------------


@autocasts
def tensordot(a: Tensor, b: Tensor, dims: Any = 2) -> Tensor:
    """The sum of products over pairs of dimensions, one of a and one of b; the others stay, those of a first.

    dims: how many, meaning the last ones of a and the first ones of b; or their lists, ([of a, ...], [of b, ...]).
    """
    _check("tensordot", a=a, b=b)
    if isinstance(dims, int):
        if not 0 <= dims <= min(a._array.ndim, b._array.ndim):
            raise RuntimeError(
                f"tensordot expects dims from 0 to {min(a._array.ndim, b._array.ndim)} for shapes {tuple(a.shape)} and "
                f"{tuple(b.shape)}, but got dims={dims}"
            )
        dims = list(range(-dims, 0)), list(range(dims))
    of_a, of_b = ((list(d) if isinstance(d, Sequence) else [d]) for d in dims)
    if len(of_a) != len(of_b):
        raise RuntimeError(f"tensordot: both dimension lists should have same length, got {of_a} and {of_b}")
    at_a = dim_indices(of_a, a._array.ndim) if of_a else ()
    at_b = dim_indices(of_b, b._array.ndim) if of_b else ()
    for i, j in zip(at_a, at_b, strict=True):
        if a._array.shape[i] != b._array.shape[j]:
            raise RuntimeError(
                f"tensordot: contracted dimensions need to match, but a has size {a._array.shape[i]} in dim {i} and b "
                f"has size {b._array.shape[j]} in dim {j}"
            )
    letters = string.ascii_letters
    in_a = letters[: a._array.ndim]
    in_b = letters[a._array.ndim : a._array.ndim + b._array.ndim]
    common = {in_b[j]: in_a[i] for i, j in zip(at_a, at_b, strict=True)}
    output = [x for i, x in enumerate(in_a) if i not in at_a] + [x for j, x in enumerate(in_b) if j not in at_b]
    return _sum_of_products([a, b], [list(in_a), [common.get(x, x) for x in in_b]], output)


@autocasts
def einsum(equation: Any, *operands: Any) -> Tensor:
    """Sums of products in Einstein's notation: einsum("bij,bjk->bik", a, b) is y[b,i,k] = sum_j a[b,i,j] b[b,j,k].

    A letter names a dimension; those missing after the arrow are summed over. Without an arrow the output has the
    letters that occur once, in alphabetical order. A letter twice in one input takes the diagonal. "..." stands for
    any dimensions, which broadcast. Also einsum(a, [0, 1], b, [1, 2], [0, 2]), with numbers from 0 to 51 for letters.
    RuntimeError: an equation that is malformed or does not fit the shapes.
    """
    if not isinstance(equation, str):
        equation, operands = _from_sublists((equation, *operands))
    elif len(operands) == 1 and isinstance(operands[0], (list, tuple)):
        operands = tuple(operands[0])
    if not operands:
        raise ValueError("einsum(): must specify the equation string and at least one operand")
    _check("einsum", **{f"operand {i}": x for i, x in enumerate(operands)})
    inputs, arrow, output = equation.replace(" ", "").partition("->")
    terms = inputs.split(",")
    if len(terms) != len(operands):
        raise RuntimeError(f"einsum(): {equation!r} is for {len(terms)} operands, but {len(operands)} were provided")
    covered = [x._array.ndim - len(term.replace("...", "")) for term, x in zip(terms, operands, strict=True)]
    widest = max([n for term, n in zip(terms, covered, strict=True) if "..." in term], default=0)
    labels = [_labels(equation, term, n, widest) for term, n in zip(terms, covered, strict=True)]
    for i, (label, n, x) in enumerate(zip(labels, covered, operands, strict=True)):
        if len(label) != x._array.ndim:
            raise RuntimeError(
                f"einsum(): {terms[i]!r} has {x._array.ndim - n} subscripts, but operand {i} has {x._array.ndim} "
                f"dimensions, {tuple(x.shape)}" + ("" if "..." in terms[i] else "; '...' stands for any others")
            )
    if arrow:
        result = _labels(equation, output, widest, widest)
        for x in result:
            if result.count(x) > 1:
                raise RuntimeError(f"einsum(): output subscript {x} appears more than once in {equation!r}")
            if not any(x in label for label in labels):
                raise RuntimeError(f"einsum(): output subscript {x} appears in no input of {equation!r}")
    else:
        once = sorted(x for x in set(inputs) if x in string.ascii_letters and inputs.count(x) == 1)
        result = _labels(equation, "...", widest, widest) + once
    return _sum_of_products(list(operands), labels, result)


def _labels(equation: str, term: str, covered: int, widest: int) -> list[str]:
    """A label for each dimension: the letters, and for those under the ellipsis numbers, which align at the right."""
    before, ellipsis, after = term.partition("...")
    for c in before + after:
        if c not in string.ascii_letters:
            raise RuntimeError(f"einsum(): invalid subscript {c!r} in {equation!r}: use letters, ',', '...' and '->'")
    return [*before, *(str(widest - i) for i in range(covered, 0, -1) if ellipsis), *after]


def _from_sublists(arguments: tuple[Any, ...]) -> tuple[str, tuple[Any, ...]]:
    """The equation and operands of einsum(a, [0, 1], b, [1, 2], [0, 2])."""

    def term(sublist: Any) -> str:
        for s in sublist:
            if s is not Ellipsis and not 0 <= s < 52:
                raise ValueError(f"einsum(): subscript {s} in subscript list is not within the valid range [0, 52)")
        letters = string.ascii_uppercase + string.ascii_lowercase
        return "".join("..." if s is Ellipsis else letters[s] for s in sublist)

    operands = arguments[: len(arguments) // 2 * 2 : 2]
    equation = ",".join(term(s) for s in arguments[1::2])
    return equation + ("->" + term(arguments[-1]) if len(arguments) % 2 else ""), operands


def _sum_of_products(operands: list[Tensor], labels: list[list[str]], output: list[str]) -> Tensor:
    """Sum of the products of operands whose dimensions carry labels, over the labels that the output lacks."""
    sizes: dict[str, int] = {}
    for i in range(len(operands)):
        operands[i], labels[i] = x, label = _diagonals(i, operands[i], labels[i])
        for name, n in zip(label, x._array.shape, strict=True):
            if sizes.setdefault(name, n) == 1:
                sizes[name] = n
            elif n not in (1, sizes[name]):
                raise RuntimeError(
                    f"einsum(): subscript {name} has size {n} for operand {i} of shape {tuple(x.shape)}, which does "
                    f"not broadcast with size {sizes[name]} seen before"
                )
    for i, (x, label) in enumerate(zip(operands, labels, strict=True)):
        operands[i], labels[i] = _without_broadcast(x, label, sizes)
    for i, label in enumerate(labels):  # what no one else needs is summed at once
        others = {*output, *(name for other in labels[:i] + labels[i + 1 :] for name in other)}
        alone = [d for d, name in enumerate(label) if name not in others]
        if alone:
            operands[i], labels[i] = sum(operands[i], alone), [name for name in label if name in others]
    if len(operands) == 1:
        return permute(operands[0], [labels[0].index(name) for name in output])
    letter = dict(zip(sizes, string.ascii_letters, strict=False))
    inputs = ",".join("".join(letter[name] for name in label) for label in labels)
    return apply(ops.Einsum, *operands, subscripts=inputs + "->" + "".join(letter[name] for name in output))


def _diagonals(i: int, x: Tensor, labels: list[str]) -> tuple[Tensor, list[str]]:
    """Take the diagonal wherever a label occurs twice."""
    for name in dict.fromkeys(labels):
        while labels.count(name) > 1:
            first = labels.index(name)
            second = labels.index(name, first + 1)
            if x._array.shape[first] != x._array.shape[second]:
                raise RuntimeError(
                    f"einsum(): subscript {name} is repeated for operand {i} but the sizes don't match, "
                    f"{x._array.shape[first]} != {x._array.shape[second]}"
                )
            x = diagonal(x, 0, first, second)  # it becomes the last dimension
            labels = [n for d, n in enumerate(labels) if d not in (first, second)] + [name]
    return x, labels


def _without_broadcast(x: Tensor, labels: list[str], sizes: dict[str, int]) -> tuple[Tensor, list[str]]:
    """Leave out dimensions of size 1 that broadcast against a larger size elsewhere."""
    kept = [d for d, name in enumerate(labels) if x._array.shape[d] == sizes[name]]
    if len(kept) == len(labels):
        return x, labels
    return reshape(x, [x._array.shape[d] for d in kept]), [labels[d] for d in kept]
