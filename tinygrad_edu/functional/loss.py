"""Losses: how far predictions are from their targets.

`reduction` is "mean" (of all elements), "sum", or "none" for the loss of each element.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from ..autograd.modes import no_grad
from ..backend.dtypes import is_floating
from ..dispatch import apply
from ..ops import loss as ops
from .activation import logsigmoid, relu
from .arguments import all_below, promote, ready, require_tensor
from .distance import pairwise_distance
from .elementwise import (
    abs,
    add,
    clamp,
    clone,
    div,
    eq,
    exp,
    le,
    log,
    minimum,
    mul,
    ne,
    neg,
    sqrt,
    square,
    sub,
    where,
)
from .indexing import gather, masked_fill
from .normalization import log_softmax
from .precision import autocasts
from .reduction import mean, sum
from .shape import movedim, reshape, unsqueeze

if TYPE_CHECKING:
    from ..tensor import Tensor


def _reduced(loss: Tensor, reduction: str) -> Tensor:
    """The losses of all elements, their sum, or their mean."""
    if reduction == "none":
        return loss
    return sum(loss) if reduction == "sum" else mean(loss)


def _require_reduction(name: str, reduction: str, *others: str) -> None:
    if reduction not in ("none", "mean", "sum", *others):
        allowed = ", ".join(repr(r) for r in ("none", "mean", "sum", *others))
        raise ValueError(f"{name}: {reduction} is not a valid value for reduction; use one of {allowed}")


def _require_constant(name: str, argument: str, x: Tensor | None) -> None:
    if x is None:
        return
    require_tensor(name, argument, x)
    if x.requires_grad:
        raise RuntimeError(f"{name} is not differentiable with respect to '{argument}'; pass {argument}.detach()")


# ---- classes ---------------------------------------------------------------------------------------------------------


@autocasts
def cross_entropy(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    *,
    ignore_index: int = -100,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> Tensor:
    """The negative log-probability, in nats, that softmax(input) gives to the target classes.

    -log(exp(x[t]) / sum_c exp(x[c])). input: (N, C), (N, C, d1, ...) or (C); target: integers of shape (N), (N, d1,
    ...) or (), or probabilities of the shape of input. weight: (C), a factor per class; the mean is weighted too.
    Targets equal to ignore_index do not count. label_smoothing: the share s of the target that is spread evenly.
    IndexError: a target that is no class. Source of smoothing: Szegedy et al. 2015, arXiv:1512.00567.
    """
    name = "cross_entropy"
    _check_class_arguments(name, input, target, weight, reduction)
    if not 0 <= label_smoothing <= 1:
        raise RuntimeError(f"{name}: label_smoothing must be between 0.0 and 1.0, got {label_smoothing}")
    if is_floating(target._array.dtype) and target._array.shape == input._array.shape:
        if ignore_index >= 0:
            raise RuntimeError(f"{name}: ignore_index={ignore_index} has no meaning for targets that are probabilities")
        return _cross_entropy_of_probabilities(input, target, weight, reduction, label_smoothing)
    rows, classes = _class_rows(name, input, target, ignore_index)
    losses = apply(ops.CrossEntropy, rows, classes, weight, ignore_index=ignore_index, label_smoothing=label_smoothing)
    return _reduced_classes(losses, target, weight, ignore_index, reduction)


@autocasts
def nll_loss(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    *,
    ignore_index: int = -100,
    reduction: str = "mean",
) -> Tensor:
    """-input at the target classes: the cross-entropy of inputs that are log-probabilities already.

    Shapes, weight and ignore_index as in cross_entropy. IndexError: a target that is no class.
    """
    _check_class_arguments("nll_loss", input, target, weight, reduction)
    rows, classes = _class_rows("nll_loss", input, target, ignore_index)
    losses = apply(ops.Nll, rows, classes, weight, ignore_index=ignore_index)
    return _reduced_classes(losses, target, weight, ignore_index, reduction)


def _cross_entropy_of_probabilities(
    input: Tensor, target: Tensor, weight: Tensor | None, reduction: str, label_smoothing: float
) -> Tensor:
    at = min(1, input._array.ndim - 1)
    classes = input._array.shape[at]
    if label_smoothing:
        target = target * (1 - label_smoothing) + label_smoothing / classes
    if weight is not None:
        target = mul(target, reshape(weight, (-1, *(1 for _ in range(input._array.ndim - at - 1)))))
    losses = neg(sum(mul(target, log_softmax(input, at)), at))
    return _reduced(losses, reduction)


def _check_class_arguments(name: str, input: Tensor, target: Tensor, weight: Tensor | None, reduction: str) -> None:
    _require_reduction(name, reduction)
    require_tensor(name, "input", input)
    require_tensor(name, "target", target)
    if not is_floating(input._array.dtype):
        raise NotImplementedError(f"{name}: expected a floating input, got {input.dtype.name}; convert it by .float()")
    if input._array.ndim == 0:
        raise ValueError(f"{name}: expected an input of 1 or more dimensions, (C), (N, C) or (N, C, d1, ...), got ()")
    if weight is None:
        return
    _require_constant(name, "weight", weight)
    classes = input._array.shape[min(1, input._array.ndim - 1)]
    if weight._array.shape != (classes,):
        raise RuntimeError(
            f"{name}: weight tensor should be defined either for all {classes} classes or no classes but got weight "
            f"tensor of shape: {list(weight.shape)}"
        )
    if weight._array.dtype != input._array.dtype:
        raise RuntimeError(
            f"{name}: expected weight of the dtype of input, {input.dtype.name}, got {weight.dtype.name}; convert it "
            "with .to(dtype)"
        )


def _class_rows(name: str, input: Tensor, target: Tensor, ignore_index: int) -> tuple[Tensor, Tensor]:
    """The input as a matrix with the classes of one prediction in each row, (N, C), and the target of each row, (N)."""
    x, t = input._array.shape, target._array
    at = min(1, len(x) - 1)
    classes, expected = x[at], (*x[:at], *x[at + 1 :])
    if t.dtype.kind not in "iu":
        raise RuntimeError(
            f"{name}: expected targets that are class indices (integers of shape {expected})"
            + (f" or probabilities (floating, of shape {x})" if name == "cross_entropy" else "")
            + f", got {target.dtype.name} of shape {t.shape}"
        )
    if t.shape != expected:
        if t.shape[:1] != expected[:1] and t.ndim:
            raise ValueError(
                f"{name}: expected input batch_size ({x[0]}) to match target batch_size ({t.shape[0]}); input has "
                f"shape {x}, target {t.shape}"
            )
        raise RuntimeError(
            f"{name}: expected target of shape {expected} for input of shape {x}, got {t.shape}"
            + ("; targets that are probabilities must have a floating dtype" if t.shape == x else "")
        )
    below = all_below(t, classes, ignored=ignore_index, name=name)
    if not below and (outside := ((t < 0) | (t >= classes)) & (t != ignore_index)).any():
        position = tuple(int(i[0]) for i in outside.nonzero())
        raise IndexError(
            f"{name}: Target {t[position]} at position {position} is out of bounds for {classes} classes; use 0 .. "
            f"{classes - 1}, or ignore_index={ignore_index} for what should not count"
        )
    if len(x) > 2:
        input = movedim(input, 1, -1)
    rows = input if len(x) == 2 else reshape(input, (math.prod(expected), classes))
    return rows, target if t.ndim == 1 else reshape(target, (-1,))


def _reduced_classes(
    losses: Tensor, target: Tensor, weight: Tensor | None, ignore_index: int, reduction: str
) -> Tensor:
    """As `_reduced`, but the mean is weighted and leaves out what is ignored."""
    t = target._array
    if reduction != "mean":
        return _reduced(losses if t.ndim == 1 else reshape(losses, t.shape), reduction)
    if losses.is_cuda:  # without reading how many are counted
        kept = t != ignore_index
        of_each = kept if weight is None else kept * weight._array[t * kept]
        return sum(losses) / losses._result(of_each.sum().astype(losses._array.dtype))
    kept = t != ignore_index
    if weight is not None:
        return sum(losses) / float(weight._array[t[kept]].sum())
    counted = int(losses._xp.count_nonzero(kept))
    return mean(losses) if counted == t.size else sum(losses) / counted


# ---- numbers ---------------------------------------------------------------------------------------------------------


def _prediction_and_target(name: str, input: Tensor, target: Tensor, reduction: str) -> tuple[Tensor, Tensor]:
    """Both in one dtype. A warning if the shapes differ: then broadcasting is seldom what is meant."""
    _require_reduction(name, reduction)
    require_tensor(name, "input", input)
    require_tensor(name, "target", target)
    if input._array.shape != target._array.shape:
        warnings.warn(
            f"{name}: the target size {tuple(target.shape)} is different from the input size {tuple(input.shape)}, so "
            "they are broadcast, which is likely to be a mistake; give them the same size",
            stacklevel=4,
        )
    input, target = promote(input, target)
    if not is_floating(input._array.dtype):
        raise NotImplementedError(f"{name}: expected floating tensors, got {input.dtype.name}; convert with .float()")
    return input, target


def _weighted(name: str, losses: Tensor, weight: Tensor | None, input: Tensor) -> Tensor:
    if weight is None:
        return losses
    if weight._array.shape != input._array.shape:
        raise ValueError(
            f"{name}: weight and input must have the same size, got {tuple(weight.shape)} and {tuple(input.shape)}"
        )
    return mul(losses, weight)


@autocasts
def mse_loss(input: Tensor, target: Tensor, *, reduction: str = "mean", weight: Tensor | None = None) -> Tensor:
    """(input - target)^2. weight: a factor per element, of the input's shape; the mean is weighted too."""
    x, t = _prediction_and_target("mse_loss", input, target, reduction)
    losses = _weighted("mse_loss", square(sub(x, t)), weight, input)
    if weight is not None and reduction == "mean":
        return div(sum(losses), sum(weight))
    return _reduced(losses, reduction)


@autocasts
def l1_loss(input: Tensor, target: Tensor, *, reduction: str = "mean", weight: Tensor | None = None) -> Tensor:
    """|input - target|. weight: a factor per element, of the input's shape; the mean is weighted too."""
    x, t = _prediction_and_target("l1_loss", input, target, reduction)
    losses = _weighted("l1_loss", abs(sub(x, t)), weight, input)
    if weight is not None and reduction == "mean":
        return div(sum(losses), sum(weight))
    return _reduced(losses, reduction)


@autocasts
def smooth_l1_loss(input: Tensor, target: Tensor, *, reduction: str = "mean", beta: float = 1.0) -> Tensor:
    """With d = |input - target|: d^2 / (2 beta) where d < beta, d - beta / 2 elsewhere.

    Source: Girshick 2015, "Fast R-CNN", equation 3.
    """
    x, t = _prediction_and_target("smooth_l1_loss", input, target, reduction)
    if beta < 0:
        raise RuntimeError(f"smooth_l1_loss does not support negative values for beta, got {beta}")
    return _reduced(abs(sub(x, t)) if beta == 0 else apply(ops.Huber, x, t, delta=beta) / beta, reduction)


@autocasts
def huber_loss(
    input: Tensor, target: Tensor, reduction: str = "mean", delta: float = 1.0, weight: Tensor | None = None
) -> Tensor:
    """With d = |input - target|: d^2 / 2 where d <= delta, delta (d - delta / 2) elsewhere.

    weight: a factor per element, of the input's shape. Source: Huber 1964, "Robust estimation of a location parameter".
    """
    x, t = _prediction_and_target("huber_loss", input, target, reduction)
    if delta <= 0:
        raise RuntimeError(f"huber_loss does not support non-positive values for delta, got {delta}")
    return _reduced(_weighted("huber_loss", apply(ops.Huber, x, t, delta=delta), weight, input), reduction)


# ---- probabilities ---------------------------------------------------------------------------------------------------


@autocasts
def binary_cross_entropy(
    input: Tensor, target: Tensor, weight: Tensor | None = None, *, reduction: str = "mean"
) -> Tensor:
    """-(t log(x) + (1 - t) log(1 - x)) for probabilities x. weight: a factor per element, which is broadcast.

    RuntimeError: an input outside 0 .. 1. Logarithms below -100 count as -100.
    """
    _check_binary("binary_cross_entropy", input, target, reduction, weight=weight)
    x = ready(input)
    if target._array.dtype != x.dtype:
        raise RuntimeError(
            f"binary_cross_entropy: found dtype {target.dtype.name} but expected {input.dtype.name}; convert the "
            "target with .to(dtype)"
        )
    if not ((x >= 0) & (x <= 1)).all():
        raise RuntimeError(
            "binary_cross_entropy: all elements of input should be between 0 and 1; pass logits to "
            "binary_cross_entropy_with_logits"
        )
    losses = apply(ops.BinaryCrossEntropy, input, target)
    return _reduced(losses if weight is None else mul(losses, weight), reduction)


@autocasts
def binary_cross_entropy_with_logits(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    *,
    reduction: str = "mean",
    pos_weight: Tensor | None = None,
) -> Tensor:
    """binary_cross_entropy of sigmoid(input), computed without overflow.

    weight: a factor per element, pos_weight: a factor of the term of target 1; both are broadcast.
    """
    _check_binary("binary_cross_entropy_with_logits", input, target, reduction, weight=weight, pos_weight=pos_weight)
    x, t = promote(input, target)
    losses = apply(ops.BinaryCrossEntropyWithLogits, x, t, pos_weight)
    return _reduced(losses if weight is None else mul(losses, weight), reduction)


def _check_binary(name: str, input: Tensor, target: Tensor, reduction: str, **constants: Tensor | None) -> None:
    _require_reduction(name, reduction)
    for argument, x in constants.items():
        _require_constant(name, argument, x)
    require_tensor(name, "input", input)
    require_tensor(name, "target", target)
    if input._array.shape != target._array.shape:
        raise ValueError(
            f"{name}: target size {tuple(target.shape)} must be the same as input size {tuple(input.shape)}"
        )
    for argument, given in ("input", input), ("target", target):
        if not is_floating(given._array.dtype):
            raise RuntimeError(
                f"{name}: expected a floating {argument}, got {given.dtype.name}; convert it with .float()"
            )


@autocasts
def kl_div(input: Tensor, target: Tensor, *, reduction: str = "mean", log_target: bool = False) -> Tensor:
    """t (log(t) - x), the Kullback-Leibler divergence, for log-probabilities x and probabilities t.

    log_target: t is given as its logarithm. reduction "batchmean" divides the sum by the first size, which is the
    mathematical definition; "mean" divides by the number of elements.
    """
    _require_reduction("kl_div", reduction, "batchmean")
    require_tensor("kl_div", "input", input)
    require_tensor("kl_div", "target", target)
    x, t = promote(input, target)
    losses = mul(exp(t), sub(t, x)) if log_target else apply(ops.KlDiv, x, t)
    if reduction == "batchmean":
        return sum(losses) / (len(input._array) if input._array.ndim else 1)
    return _reduced(losses, reduction)


@autocasts
def poisson_nll_loss(
    input: Tensor,
    target: Tensor,
    log_input: bool = True,
    full: bool = False,
    *,
    eps: float = 1e-8,
    reduction: str = "mean",
) -> Tensor:
    """exp(x) - t x: the negative log-likelihood of counts t for the logarithms x of their Poisson means.

    log_input=False: x is the mean, and the loss x - t log(x + eps). full: with Stirling's approximation of the
    constant log(t!), t log(t) - t + log(2 pi t) / 2, where t > 1.
    """
    _require_reduction("poisson_nll_loss", reduction)
    require_tensor("poisson_nll_loss", "input", input)
    require_tensor("poisson_nll_loss", "target", target)
    losses = sub(exp(input), mul(target, input)) if log_input else sub(input, mul(target, log(add(input, eps))))
    if full:
        small = le(target, 1)
        t = masked_fill(target, small, 1)
        constant = add(sub(mul(t, log(t)), t), mul(log(mul(t, 2 * math.pi)), 0.5))
        losses = add(losses, masked_fill(constant, small, 0))
    return _reduced(losses, reduction)


def gaussian_nll_loss(
    input: Tensor,
    target: Tensor,
    var: Tensor | float,
    full: bool = False,
    eps: float = 1e-6,
    reduction: str = "mean",
) -> Tensor:
    """(log(v) + (x - t)^2 / v) / 2: the negative log-likelihood of t for a normal distribution, mean x and variance v.

    v is var, at least eps: a number, of the input's shape, or with its last size 1 or left out. full: with the
    constant log(2 pi) / 2. ValueError: var is negative or of another shape.
    """
    name = "gaussian_nll_loss"
    _require_reduction(name, reduction)
    require_tensor(name, "input", input)
    require_tensor(name, "target", target)
    x = input._array
    v: Any = var if hasattr(var, "_array") else input._result(input._xp.full(x.shape, var, x.dtype))
    if (ready(v) < 0).any():
        raise ValueError(f"{name}: var has negative entry/entries, such as {v._array.min()}")
    if v._array.shape == x.shape[:-1] != x.shape:
        v = unsqueeze(v, -1)
    elif v._array.shape not in (x.shape, (*x.shape[:-1], 1)):
        raise ValueError(f"{name}: var is of incorrect size, {v._array.shape} for an input of shape {x.shape}")
    v = clone(v)
    with no_grad():  # so that a variance that is raised to eps keeps its gradient
        v.clamp_(min=eps)
    losses = mul(add(log(v), div(square(sub(input, target)), v)), 0.5)
    return _reduced(add(losses, 0.5 * math.log(2 * math.pi)) if full else losses, reduction)


# ---- two classes, 1 and -1 -------------------------------------------------------------------------------------------


@autocasts
def soft_margin_loss(input: Tensor, target: Tensor, *, reduction: str = "mean") -> Tensor:
    """log(1 + exp(-t x)) for targets t of 1 and -1."""
    _require_reduction("soft_margin_loss", reduction)
    require_tensor("soft_margin_loss", "input", input)
    _require_constant("soft_margin_loss", "target", target)
    return _reduced(neg(logsigmoid(mul(target, input))), reduction)


@autocasts
def hinge_embedding_loss(input: Tensor, target: Tensor, margin: float = 1.0, *, reduction: str = "mean") -> Tensor:
    """x where the target is 1, max(margin - x, 0) where it is -1; for distances x of what is alike or not."""
    _require_reduction("hinge_embedding_loss", reduction)
    require_tensor("hinge_embedding_loss", "input", input)
    require_tensor("hinge_embedding_loss", "target", target)
    alike = where(ne(target, -1), input, 0)
    apart = where(ne(target, 1), clamp(sub(margin, input), min=0), 0)
    return _reduced(add(alike, apart), reduction)


@autocasts
def cosine_embedding_loss(
    input1: Tensor, input2: Tensor, target: Tensor, margin: float = 0, *, reduction: str = "mean"
) -> Tensor:
    """1 - c where the target is 1, max(c - margin, 0) where it is -1, with c the cosine of the angle of two vectors.

    Shapes: inputs (B, C), target (B), or (C) and (). RuntimeError: others.
    """
    name = "cosine_embedding_loss"
    _require_reduction(name, reduction)
    for argument, x in ("input1", input1), ("input2", input2), ("target", target):
        require_tensor(name, argument, x)
    dims = input1._array.ndim, input2._array.ndim, target._array.ndim
    if dims not in ((2, 2, 1), (1, 1, 0)):
        raise RuntimeError(
            f"{name}: expected two inputs (B, C) with a target (B), or (C) with (), got shapes {tuple(input1.shape)}, "
            f"{tuple(input2.shape)} and {tuple(target.shape)}"
        )
    squared1, squared2 = (add(sum(square(x), -1), 1e-12) for x in (input1, input2))
    cosine = div(sum(mul(input1, input2), -1), sqrt(mul(squared1, squared2)))
    alike = where(eq(target, 1), sub(1, cosine), 0)
    apart = where(eq(target, -1), clamp(sub(cosine, margin), min=0), 0)
    return _reduced(add(alike, apart), reduction)


# ---- what should be larger than what ---------------------------------------------------------------------------------


@autocasts
def margin_ranking_loss(
    input1: Tensor, input2: Tensor, target: Tensor, margin: float = 0, *, reduction: str = "mean"
) -> Tensor:
    """max(-t (x1 - x2) + margin, 0): x1 should be larger where the target t is 1, x2 where it is -1."""
    name = "margin_ranking_loss"
    _require_reduction(name, reduction)
    for argument, x in ("input1", input1), ("input2", input2), ("target", target):
        require_tensor(name, argument, x)
    shapes = input1._array.shape, input2._array.shape, target._array.shape
    if len({len(shape) for shape in shapes}) > 1:
        raise RuntimeError(f"{name}: all inputs should have the same number of dimensions, but got sizes {shapes}")
    return _reduced(clamp(add(mul(neg(target), sub(input1, input2)), margin), min=0), reduction)


@autocasts
def triplet_margin_loss(
    anchor: Tensor,
    positive: Tensor,
    negative: Tensor,
    margin: float = 1.0,
    p: float = 2,
    eps: float = 1e-6,
    swap: bool = False,
    *,
    reduction: str = "mean",
) -> Tensor:
    """max(d(anchor, positive) - d(anchor, negative) + margin, 0), with d the p-norm distance of (B, C) vectors.

    swap: take d(positive, negative) where it is smaller than d(anchor, negative). ValueError: margin is not positive.
    Source: Balntas et al. 2016, "Learning local feature descriptors with triplets and shallow convolutional networks".
    """
    dims = [getattr(x, "ndim", None) for x in (anchor, positive, negative)]
    if len(set(dims)) > 1:
        raise RuntimeError(
            "triplet_margin_loss: anchor, positive and negative are expected to have the same number of dimensions, "
            f"but got {dims}"
        )

    def distance(a: Tensor, b: Tensor) -> Tensor:
        return pairwise_distance(a, b, p, eps)

    return triplet_margin_with_distance_loss(
        anchor, positive, negative, distance_function=distance, margin=margin, swap=swap, reduction=reduction
    )


def triplet_margin_with_distance_loss(
    anchor: Tensor,
    positive: Tensor,
    negative: Tensor,
    *,
    distance_function: Callable[[Tensor, Tensor], Tensor] | None = None,
    margin: float = 1.0,
    swap: bool = False,
    reduction: str = "mean",
) -> Tensor:
    """`triplet_margin_loss` with any distance; pairwise_distance if none is given."""
    _require_reduction("triplet_margin_with_distance_loss", reduction)
    if margin <= 0:
        raise ValueError(f"triplet_margin_loss: margin must be greater than 0, got {margin}")
    d = pairwise_distance if distance_function is None else distance_function
    near, far = d(anchor, positive), d(anchor, negative)
    if swap:
        far = minimum(far, d(positive, negative))
    return _reduced(clamp(add(sub(near, far), margin), min=0), reduction)


@autocasts
def multi_margin_loss(
    input: Tensor,
    target: Tensor,
    p: int = 1,
    margin: float = 1.0,
    weight: Tensor | None = None,
    *,
    reduction: str = "mean",
) -> Tensor:
    """sum over classes c other than t of max(margin - x[t] + x[c], 0)^p / C: the target class should score highest.

    Shapes: input (B, C), target (B), or (C) with () or (1). p is 1 or 2. weight (C): a factor for the target's class.
    """
    name = "multi_margin_loss"
    _require_reduction(name, reduction)
    require_tensor(name, "input", input)
    require_tensor(name, "target", target)
    _require_constant(name, "weight", weight)
    if p not in (1, 2):
        raise ValueError(f"{name}: only p == 1 and p == 2 supported, got {p}")
    shape, t = input._array.shape, ready(target)
    if len(shape) not in (1, 2):
        raise RuntimeError(f"{name}: expected an input (B, C) or (C), but got shape {shape}")
    classes = shape[-1]
    if t.dtype.kind != "i" or (t.shape != shape[:-1] and (len(shape) == 2 or t.size != 1)):
        raise RuntimeError(
            f"{name}: target should hold one integer class per input. Expected target size {list(shape[:-1])}, but got "
            f"{target.dtype.name} of size {list(t.shape)}"
        )
    if t.size and not 0 <= t.min() <= t.max() < classes:
        raise RuntimeError(f"{name}: target out of range: expected 0 .. {classes - 1}, got {t.min()} .. {t.max()}")
    if weight is not None and weight._array.shape != (classes,):
        raise RuntimeError(f"{name}: inconsistent weight size, expected {classes} but got {list(weight.shape)}")
    index = unsqueeze(reshape(target, shape[:-1]), -1)
    missing = relu(add(sub(input, gather(input, -1, index)), margin))
    losses = missing if p == 1 else square(missing)
    if weight is not None:
        losses = mul(losses, weight[index])
    others = input._result(input._xp.arange(classes) != index._array)
    losses = div(sum(where(others, losses, 0), -1), classes)
    return _reduced(reshape(losses, t.shape), reduction)


@autocasts
def multilabel_margin_loss(input: Tensor, target: Tensor, *, reduction: str = "mean") -> Tensor:
    """sum over labels l and classes c that are no label of max(1 - (x[l] - x[c]), 0) / C.

    Shapes: input and target (B, C) or (C). The labels are the entries of a row of target before the first -1.
    """
    name = "multilabel_margin_loss"
    _require_reduction(name, reduction)
    require_tensor(name, "input", input)
    require_tensor(name, "target", target)
    xp, x, t = input._xp, input._array, target._array
    if x.ndim not in (1, 2):
        raise RuntimeError(f"{name}: expected an input (B, C) or (C), but got shape {x.shape}")
    if t.shape != x.shape or t.dtype.kind != "i":
        raise RuntimeError(
            f"{name}: inconsistent target size: expected integers of the input's shape {x.shape}, got "
            f"{target.dtype.name} of shape {t.shape}"
        )
    if t.size and not -1 <= t.min() <= t.max() < x.shape[-1]:
        raise RuntimeError(
            f"{name}: 'target' is out of range: expected -1 .. {x.shape[-1] - 1}, got {t.min()}, {t.max()}"
        )
    counts = xp.cumprod(t >= 0, axis=-1).astype(bool)  # which entries are labels
    labels = xp.where(counts, t, 0)
    is_label = ((labels[..., None] == xp.arange(x.shape[-1])) & counts[..., None]).any(axis=-2)
    scores = gather(input, -1, input._result(labels))
    missing = relu(sub(1, sub(unsqueeze(scores, -1), unsqueeze(input, -2))))
    pairs = input._result(counts[..., None] & ~is_label[..., None, :])
    return _reduced(div(sum(where(pairs, missing, 0), (-2, -1)), x.shape[-1]), reduction)


def multilabel_soft_margin_loss(
    input: Tensor, target: Tensor, weight: Tensor | None = None, *, reduction: str = "mean"
) -> Tensor:
    """The mean over the last dimension of -(t log(s) + (1 - t) log(1 - s)) with s = sigmoid(x): each label by itself.

    Shapes: input and target (..., C) -> (...). weight: a factor per class, which is broadcast.
    """
    _require_reduction("multilabel_soft_margin_loss", reduction)
    require_tensor("multilabel_soft_margin_loss", "input", input)
    require_tensor("multilabel_soft_margin_loss", "target", target)
    losses = neg(add(mul(target, logsigmoid(input)), mul(sub(1, target), logsigmoid(neg(input)))))
    if weight is not None:
        losses = mul(losses, weight)
    return _reduced(mean(losses, -1), reduction)


# ---- sequences without alignment -------------------------------------------------------------------------------------


@autocasts
def ctc_loss(
    log_probs: Tensor,
    targets: Tensor,
    input_lengths: Tensor | Sequence[int],
    target_lengths: Tensor | Sequence[int],
    blank: int = 0,
    reduction: str = "mean",
    zero_infinity: bool = False,
) -> Tensor:
    """-log of the probability of the targets, in all the ways in which they can be spread over the steps of the input.

    At each step a class or blank is read; repetitions and then blanks are left out, and the targets must remain.
    log_probs: (T, B, C) or (T, C), log-probabilities of the classes at each step. targets: (B, S) or (S), or (sum of
    target_lengths), one after another, integers other than blank. "mean" divides each loss by the target's length
    first. Targets that do not fit into their input have an infinite loss; with zero_infinity it counts as 0.
    RuntimeError: lengths or classes that do not fit. Source: Graves et al. 2006, "Connectionist temporal
    classification". The gradient is that of the formula; PyTorch's presumes that log_probs come from log_softmax.
    """
    name = "ctc_loss"
    _require_reduction(name, reduction)
    require_tensor(name, "log_probs", log_probs)
    require_tensor(name, "targets", targets)
    if not is_floating(log_probs._array.dtype):
        raise NotImplementedError(f"{name}: expected floating log_probs, got {log_probs.dtype.name}")
    if log_probs._array.ndim not in (2, 3) or not log_probs._array.size:
        raise RuntimeError(f"{name}: expected log_probs (T, B, C) or (T, C), got shape {tuple(log_probs.shape)}")
    x = log_probs if log_probs._array.ndim == 3 else unsqueeze(log_probs, 1)
    xp, (steps, batch, classes) = x._xp, x._array.shape
    if not 0 <= blank < classes:
        raise RuntimeError(f"{name}: blank must be in label range, 0 .. {classes - 1}, got {blank}")
    of_input = _lengths(xp, "input_lengths", input_lengths, batch, steps)
    of_target = _lengths(xp, "target_lengths", target_lengths, batch, None)
    inside = xp.arange(int(xp.max(of_target, initial=0))) < of_target[:, None]
    labels = xp.full(inside.shape, blank)
    labels[inside] = _labels_in_order(targets._array, of_target, inside, classes)
    # Between the labels, before and after them stands a blank, where a path may be but need not.
    states = xp.full((batch, 2 * labels.shape[1] + 1), blank)
    states[:, 1::2] = labels
    skip = states != blank
    skip[:, 2:] &= states[:, 2:] != states[:, :-2]
    place = xp.arange(states.shape[1])
    final = (place == 2 * of_target[:, None]) | (place == 2 * of_target[:, None] - 1)
    emit = gather(x, 2, x._result(xp.broadcast_to(states, (steps, *states.shape))))
    losses = apply(ops.CtcPaths, emit, skip, final, of_input)
    if not of_input.all():  # without a step only the empty target is possible
        nothing = xp.where(of_target == 0, 0, xp.inf).astype(x._array.dtype)
        losses = where(x._result(of_input > 0), losses, x._result(nothing))
    if zero_infinity:
        losses = masked_fill(losses, eq(losses, math.inf), 0)
    if reduction == "mean":
        losses = div(losses, x._result(xp.maximum(of_target, 1).astype(x._array.dtype)))
    return _reduced(losses if x is log_probs else reshape(losses, ()), reduction)


def _lengths(xp: Any, argument: str, given: Any, batch: int, most: int | None) -> Any:
    lengths = xp.asarray(getattr(given, "_array", given)).reshape(-1)
    if lengths.dtype.kind not in "iu":
        raise RuntimeError(f"ctc_loss: {argument} must be integral, got {lengths.dtype}")
    if len(lengths) != batch:
        raise RuntimeError(f"ctc_loss: {argument} must be of size batch_size, {batch}, got {len(lengths)}")
    if batch and (lengths.min() < 0 or (most is not None and lengths.max() > most)):
        limit = "" if most is None else f" and at most the {most} steps of log_probs"
        raise RuntimeError(f"ctc_loss: expected {argument} to be at least 0{limit}, got {lengths.tolist()}")
    return lengths


def _labels_in_order(targets: Any, lengths: Any, inside: Any, classes: int) -> Any:
    """The labels of all targets one after another, from padded ones or such already."""
    if targets.ndim == 2 or (targets.ndim == 1 and len(lengths) == 1):
        padded = targets.reshape(-1, targets.shape[-1])
        if len(padded) != len(lengths) or padded.shape[1] < inside.shape[1]:
            raise RuntimeError(
                f"ctc_loss: expected targets of size at least {inside.shape}, (B, S), got {targets.shape}"
            )
        labels = padded[:, : inside.shape[1]][inside]
    elif targets.ndim == 1 and len(targets) == lengths.sum():
        labels = targets
    else:
        raise RuntimeError(
            f"ctc_loss: expected targets (B, S), or {lengths.sum()}, the sum of target_lengths, got {targets.shape}"
        )
    if len(labels) and not 0 <= labels.min() <= labels.max() < classes:
        raise RuntimeError(f"ctc_loss: targets must be classes, 0 .. {classes - 1}, got {labels.min()}, {labels.max()}")
    return labels
