"""Records of functional/activation.py."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..records import ErrorSample, OpRecord, Sample
from .elementwise import INTEGERS, MASK, WEIRD, layouts, unary

Rng = np.random.Generator


def _of(*settings: dict[str, Any], integers: bool = False) -> Callable[[Rng], list[Sample]]:
    """Samples of an activation with its defaults and with each of these settings; also at zero and far from it."""

    def samples(rng: Rng) -> list[Sample]:
        far = np.array([0.0, -0.0, 1.0, -1.0, 6.0, 20.0, -20.0, 89.0, -89.0, 120.0, -120.0])
        found = [Sample(x) for x in layouts(lambda shape: np.asarray(rng.standard_normal(shape) * 3))]
        edges = np.array([-3.0, 3.0, -0.5, 0.5, 2.0, -2.0])  # where the pieces of a function meet
        found += [
            Sample(edges),
            Sample(far),
            Sample(far * 1e30),
            Sample(rng.standard_normal(50).astype(np.float16) * 3),
        ]
        found += [Sample(x, **s) for s in settings for x in (rng.standard_normal((3, 4)) * 3, far)]
        return found + ([Sample(INTEGERS)] if integers else [])

    return samples


def _errors(*more: ErrorSample, integers: bool = True) -> Callable[[Rng], list[ErrorSample]]:
    def errors(rng: Rng) -> list[ErrorSample]:
        refused = [ErrorSample(MASK, error=RuntimeError, match="[bB]ool")]
        if not integers:
            refused.append(ErrorSample(INTEGERS, error=NotImplementedError, match="expected a floating tensor"))
        return [*refused, *more]

    return errors


def _in_place(name: str) -> Callable[..., Any]:
    """The function with inplace=True on a copy, which must be what it returns."""

    def run(module: Any, x: Any, *args: Any, **kwargs: Any) -> Any:
        y = x * 1
        result = getattr(module.nn.functional, name)(y, *args, inplace=True, **kwargs)
        assert result is y
        return result

    return run


APPROXIMATE = ErrorSample(np.ones(3), approximate="erf", error=RuntimeError, match="'none' or 'tanh'")
CROSSED = ErrorSample(np.ones(3), 2.0, 1.0, error=ValueError, match="min_val")
WITH_INPLACE = {
    "relu": _of(integers=True),
    "relu6": _of(integers=True),
    "hardtanh": _of({"min_val": -2.0, "max_val": 0.5}, integers=True),
    "leaky_relu": _of({"negative_slope": 0.2}, {"negative_slope": 0.0}),
    "elu": _of({"alpha": 0.5}, {"alpha": 2.0}),
    "silu": _of(),
    "mish": _of(),
    "selu": _of(),
    "celu": _of({"alpha": 0.5}, {"alpha": 2.0}),
    "hardsigmoid": _of(),
    "hardswish": _of(),
    "rrelu": _of({"lower": 0.25, "upper": 0.75}, {"lower": 0.1, "upper": 0.1, "training": True}),
    "threshold": lambda rng: (
        [Sample(*x.args, 0.5, -2.0) for x in _of()(rng)]
        + [Sample(rng.standard_normal((3, 4)), threshold=-0.5, value=1), Sample(INTEGERS, 1.5, 7.5)]
    ),
}
MORE_ERRORS = {
    "hardtanh": [CROSSED],
    "celu": [ErrorSample(np.ones(3), 0.0, error=RuntimeError, match="alpha cannot be 0")],
    "rrelu": [ErrorSample(np.ones(3), 0.5, 0.1, error=RuntimeError, match="got 0.5 and 0.1")],
    "threshold": [ErrorSample(MASK, 0.5, 1.0, error=NotImplementedError, match="not implemented for bool")],
}


def _glu(rng: Rng) -> list[Sample]:
    n = rng.standard_normal
    return [
        Sample(n(6)), Sample(n((3, 4))), Sample(n((4, 3)), 0), Sample(n((2, 6, 3)), dim=-2), Sample(n((4, 3)).T),
        Sample(n((2, 0, 3)), 1), Sample(n((3, 4)).astype(np.float16)), Sample(np.array([1.0, 2.0, -200.0, 200.0])),
    ]  # fmt: skip


def _glu_errors(rng: Rng) -> list[ErrorSample]:
    return [
        ErrorSample(np.ones(3), error=RuntimeError, match="dimension 0 is size 3"),
        ErrorSample(np.ones(()), error=RuntimeError, match="scalars"),
        ErrorSample(np.ones(4), 1, error=IndexError, match="out of range"),
    ]


def _prelu(rng: Rng) -> list[Sample]:
    n = rng.standard_normal
    return [
        Sample(n((3, 4)), n(4)), Sample(n((2, 3, 5)), n(3)), Sample(n((2, 3, 2, 2)), n(1)), Sample(n(5), n(1)),
        Sample(n((3, 4)), np.asarray(n())), Sample(np.asarray(-1.5), n(1)), Sample(n((0, 3)), n(3)),
        Sample(n((4, 3)).T, n(8)[::2]), Sample(np.array([0.0, -0.0, 2.0]), n(1)),
    ]  # fmt: skip


def _prelu_errors(rng: Rng) -> list[ErrorSample]:
    n = rng.standard_normal
    return [
        ErrorSample(n((2, 3)), n(2), error=RuntimeError, match="numbers = 2 and channel size = 3"),
        ErrorSample(n(3), n(3), error=RuntimeError, match="numbers = 3 and channel size = 1"),
        ErrorSample(np.ones(()), n(2), error=RuntimeError, match="numbers = 2"),
        ErrorSample(n((2, 3)), n((3, 1)), error=RuntimeError, match="ndim = 2"),
        ErrorSample(n((2, 3)), n(3).astype(np.float32), error=RuntimeError, match="promoting not supported"),
        ErrorSample(INTEGERS, INTEGERS[0], error=NotImplementedError, match="floating"),
    ]


def _exact_hardsigmoid(torch: Any, x: Any) -> Any:
    """PyTorch's hardsigmoid by other means, since its float64 gradient has a 1/6 of float32."""
    torch.nn.functional.hardsigmoid(x)  # refuses what is to be refused
    return torch.nn.functional.relu6(x + 3) / 6


def _weird(*more: Any) -> Callable[[Rng], list[Sample]]:
    return lambda rng: [Sample(WEIRD, *more)]


def _errors_of(name: str) -> Callable[[Rng], list[ErrorSample]]:
    if name == "threshold":
        return lambda rng: MORE_ERRORS[name]
    return _errors(*MORE_ERRORS.get(name, []), integers=name in ("relu", "relu6", "hardtanh"))


TORCH = {"hardsigmoid": _exact_hardsigmoid}


def _slope_of_logsigmoid(library: Any, x: Any) -> Any:
    return library.autograd.grad(library.nn.functional.logsigmoid(x).sum(), x, create_graph=True)[0]


RECORDS = [
    OpRecord(
        "nn.functional.logsigmoid (second derivative)",
        lambda rng: [Sample(np.array([0.0, 1.0, -2.0, 1000.0, -1000.0]))],
        torch=_slope_of_logsigmoid,
        ours=_slope_of_logsigmoid,
        gradcheck=False,
        note="it is a derivative itself, which needs a graph; its own is compared with PyTorch's",
    ),
    *(
        OpRecord(
            f"nn.functional.{name}",
            samples,
            _errors_of(name),
            torch=TORCH.get(name),
        )
        for name, samples in WITH_INPLACE.items()
    ),
    *(
        OpRecord(
            f"nn.functional.{name}(inplace)", samples, torch=TORCH.get(name, _in_place(name)), ours=_in_place(name)
        )
        for name, samples in WITH_INPLACE.items()
    ),
    OpRecord("nn.functional.gelu", _of({"approximate": "tanh"}), _errors(APPROXIMATE, integers=False)),
    OpRecord(
        "nn.functional.softplus",
        _of({"beta": 2.0}, {"beta": 0.5, "threshold": 1.0}, {"beta": -1.0}),
        _errors(integers=False),
    ),
    *(
        OpRecord(
            f"nn.functional.{name}",
            _weird(*more),
            differentiable=False,
            note="PyTorch's gradients at NaN and infinity depend on the kernel that its sizes choose",
        )
        for name, more in {
            **dict.fromkeys(WITH_INPLACE, ()),
            "threshold": (0.5, 1.0),
            "softplus": (),
            "logsigmoid": (),
            "sigmoid": (),
            "tanh": (),
            "softsign": (),
            "tanhshrink": (),
            "softshrink": (0.7,),
            "hardshrink": (0.7,),
            "prelu": (np.array([0.3]),),
        }.items()
    ),
    OpRecord("nn.functional.logsigmoid", _of(), _errors(integers=False)),
    OpRecord("nn.functional.softsign", _of(integers=True)),
    OpRecord("nn.functional.tanhshrink", _of(integers=True)),
    OpRecord(
        "nn.functional.softshrink",
        _of({"lambd": 2.0}),
        _errors(ErrorSample(np.ones(3), -1.0, error=RuntimeError, match="found -1.0"), integers=False),
    ),
    OpRecord("nn.functional.hardshrink", _of({"lambd": 2.0}, {"lambd": -2.0}), _errors(integers=False)),
    OpRecord("nn.functional.glu", _glu, _glu_errors),
    OpRecord("nn.functional.prelu", _prelu, _prelu_errors),
    OpRecord("relu", _of(integers=True), _errors()),
    OpRecord("sigmoid", unary(-10, 10)),
    OpRecord("tanh", unary(-10, 10)),
]
