"""Losses: how far predictions are from their targets.

`reduction` is "mean" (of all elements), "sum", or "none" for the loss of each element.
"""

from __future__ import annotations

import math
import warnings
from typing import TYPE_CHECKING, Any

from ..dispatch import apply
from ..ops import loss as ops
from .arguments import promote, require_tensor
from .elementwise import abs, clamp, div, exp, mul, neg, square, sub
from .normalization import log_softmax
from .reduction import mean, norm, sum
from .shape import broadcast_tensors, movedim, reshape

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
    if target._array.dtype.kind == "f" and target._array.shape == input._array.shape:
        if ignore_index >= 0:
            raise RuntimeError(f"{name}: ignore_index={ignore_index} has no meaning for targets that are probabilities")
        return _cross_entropy_of_probabilities(input, target, weight, reduction, label_smoothing)
    rows, classes = _class_rows(name, input, target, ignore_index)
    losses = apply(ops.CrossEntropy, rows, classes, weight, ignore_index=ignore_index, label_smoothing=label_smoothing)
    return _reduced_classes(losses, target, weight, ignore_index, reduction)


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
    if input._array.dtype.kind != "f":
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


def _class_rows(name: str, input: Tensor, target: Tensor, ignore_index: int) -> tuple[Tensor, Any]:
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
    outside = ((t < 0) | (t >= classes)) & (t != ignore_index)
    if outside.any():
        position = tuple(int(i[0]) for i in outside.nonzero())
        raise IndexError(
            f"{name}: Target {t[position]} at position {position} is out of bounds for {classes} classes; use 0 .. "
            f"{classes - 1}, or ignore_index={ignore_index} for what should not count"
        )
    if len(x) > 2:
        input = movedim(input, 1, -1)
    rows = input if len(x) == 2 else reshape(input, (math.prod(expected), classes))
    return rows, t.reshape(-1)


def _reduced_classes(
    losses: Tensor, target: Tensor, weight: Tensor | None, ignore_index: int, reduction: str
) -> Tensor:
    """As `_reduced`, but the mean is weighted and leaves out what is ignored."""
    t = target._array
    if reduction != "mean":
        return _reduced(losses if t.ndim == 1 else reshape(losses, t.shape), reduction)
    counted = t[t != ignore_index]
    return sum(losses) / float(counted.size if weight is None else weight._array[counted].sum())


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
            stacklevel=3,
        )
    input, target = promote(input, target)
    if input._array.dtype.kind != "f":
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


def mse_loss(input: Tensor, target: Tensor, *, reduction: str = "mean", weight: Tensor | None = None) -> Tensor:
    """(input - target)^2. weight: a factor per element, of the input's shape; the mean is weighted too."""
    x, t = _prediction_and_target("mse_loss", input, target, reduction)
    losses = _weighted("mse_loss", square(sub(x, t)), weight, input)
    if weight is not None and reduction == "mean":
        return div(sum(losses), sum(weight))
    return _reduced(losses, reduction)


def l1_loss(input: Tensor, target: Tensor, *, reduction: str = "mean", weight: Tensor | None = None) -> Tensor:
    """|input - target|. weight: a factor per element, of the input's shape; the mean is weighted too."""
    x, t = _prediction_and_target("l1_loss", input, target, reduction)
    losses = _weighted("l1_loss", abs(sub(x, t)), weight, input)
    if weight is not None and reduction == "mean":
        return div(sum(losses), sum(weight))
    return _reduced(losses, reduction)


def smooth_l1_loss(input: Tensor, target: Tensor, *, reduction: str = "mean", beta: float = 1.0) -> Tensor:
    """With d = |input - target|: d^2 / (2 beta) where d < beta, d - beta / 2 elsewhere.

    Source: Girshick 2015, "Fast R-CNN", equation 3.
    """
    x, t = _prediction_and_target("smooth_l1_loss", input, target, reduction)
    if beta < 0:
        raise RuntimeError(f"smooth_l1_loss does not support negative values for beta, got {beta}")
    return _reduced(abs(sub(x, t)) if beta == 0 else apply(ops.Huber, x, t, delta=beta) / beta, reduction)


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


def binary_cross_entropy(
    input: Tensor, target: Tensor, weight: Tensor | None = None, *, reduction: str = "mean"
) -> Tensor:
    """-(t log(x) + (1 - t) log(1 - x)) for probabilities x. weight: a factor per element, which is broadcast.

    RuntimeError: an input outside 0 .. 1. Logarithms below -100 count as -100.
    """
    _check_binary("binary_cross_entropy", input, target, reduction, weight=weight)
    x = input._array
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
        if given._array.dtype.kind != "f":
            raise RuntimeError(
                f"{name}: expected a floating {argument}, got {given.dtype.name}; convert it with .float()"
            )


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


# ---- angles ----------------------------------------------------------------------------------------------------------


def cosine_similarity(x1: Tensor, x2: Tensor, dim: int = 1, eps: float = 1e-8) -> Tensor:
    """sum(x1 x2) / (max(|x1|, eps) max(|x2|, eps)) over dim: the cosine of the angle between vectors."""
    require_tensor("cosine_similarity", "x1", x1)
    require_tensor("cosine_similarity", "x2", x2)
    a, b = promote(x1, x2)
    if a._array.dtype.kind != "f":
        raise RuntimeError(f"cosine_similarity: expected a floating dtype, got {a.dtype.name}; convert with .float()")
    a, b = broadcast_tensors(a, b)
    length_a, length_b = (clamp(norm(x, 2, dim, keepdim=True), min=eps) for x in (a, b))
    return sum(mul(div(a, length_a), div(b, length_b)), dim)
