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
        far = np.array([0.0, 1.0, -1.0, 6.0, 20.0, -20.0, 89.0, -89.0, 120.0, -120.0])
        found = [Sample(x) for x in layouts(lambda shape: np.asarray(rng.standard_normal(shape) * 3))]
        found += [Sample(far), Sample(far * 1e30), Sample(rng.standard_normal(50).astype(np.float16) * 3)]
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

    def run(module: Any, x: Any, **kwargs: Any) -> Any:
        y = x * 1
        result = getattr(module.nn.functional, name)(y, inplace=True, **kwargs)
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
}
RECORDS = [
    *(
        OpRecord(
            f"nn.functional.{name}",
            samples,
            _errors(*([CROSSED] if name == "hardtanh" else []), integers=name in ("relu", "relu6", "hardtanh")),
        )
        for name, samples in WITH_INPLACE.items()
    ),
    *(
        OpRecord(f"nn.functional.{name}(inplace)", samples, torch=_in_place(name), ours=_in_place(name))
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
            lambda rng: [Sample(WEIRD)],
            differentiable=False,
            note="PyTorch's gradients at NaN and infinity depend on the kernel that its sizes choose",
        )
        for name in (*WITH_INPLACE, "softplus", "logsigmoid", "sigmoid", "tanh")
    ),
    OpRecord("nn.functional.logsigmoid", _of(), _errors(integers=False)),
    OpRecord("relu", _of(integers=True), _errors()),
    OpRecord("sigmoid", unary(-10, 10)),
    OpRecord("tanh", unary(-10, 10)),
]
