"""Comparing arrays: within a tolerance, with a message that names the worst element."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ..backend import transfers
from ..backend.dtypes import is_floating

# rtol, atol by dtype, as in `torch.testing.assert_close`; everything else must be equal.
DEFAULT_TOLERANCE = {
    "float16": (1e-3, 1e-5), "bfloat16": (1.6e-2, 1e-5), "float32": (1.3e-6, 1e-5), "float64": (1e-7, 1e-7),
}  # fmt: skip


def assert_close(
    actual: Any,
    expected: Any,
    *,
    rtol: float | None = None,
    atol: float | None = None,
    equal_nan: bool = False,
    check_dtype: bool = True,
    msg: str | None = None,
) -> None:
    """Raise AssertionError unless |actual - expected| <= atol + rtol * |expected| everywhere.

    Both are Tensors, arrays or numbers, or sequences or mappings of them. Without tolerances those of the less precise
    dtype are used: rtol 1.3e-6 and atol 1e-5 for float32, 1e-7 for float64, equality for integers.
    """
    if (rtol is None) != (atol is None):
        raise ValueError(f"assert_close: give both rtol and atol, or neither; got rtol={rtol}, atol={atol}")
    if isinstance(expected, Mapping):
        pairs = [(f"[{k!r}]", k, k) for k in expected]
        matching = isinstance(actual, Mapping) and actual.keys() == expected.keys()
    elif isinstance(expected, (list, tuple)):
        pairs = [(f"[{i}]", i, i) for i in range(len(expected))]
        matching = isinstance(actual, (list, tuple)) and len(actual) == len(expected)
    else:
        report = difference(as_array(actual), as_array(expected), rtol, atol, equal_nan, check_dtype)
        if report:
            raise AssertionError(msg or report)
        return
    if not matching:
        raise AssertionError(msg or f"expected {_outline(expected)}, got {_outline(actual)}")
    options = {"rtol": rtol, "atol": atol, "equal_nan": equal_nan, "check_dtype": check_dtype}
    for place, i, j in pairs:
        try:
            assert_close(actual[i], expected[j], **options)  # type: ignore[arg-type]
        except AssertionError as error:
            raise AssertionError(msg or f"at {place}: {error}") from None


def difference(
    got: Any, expected: Any, rtol: float | None, atol: float | None, equal_nan: bool, check_dtype: bool = True
) -> str | None:
    """None if the arrays agree, else a sentence that says where they differ most."""
    if got.shape != expected.shape:
        return f"shape {got.shape}, expected {expected.shape}"
    if check_dtype and got.dtype != expected.dtype:
        return f"dtype {got.dtype}, expected {expected.dtype}"
    if rtol is None or atol is None:
        known = [DEFAULT_TOLERANCE.get(a.dtype.name, (0.0, 0.0)) for a in (got, expected)]
        rtol, atol = max(r for r, _ in known), max(a for _, a in known)
    exact = not is_floating(got.dtype) and not is_floating(expected.dtype)
    a, b = (got, expected) if exact else (got.astype(np.float64), expected.astype(np.float64))
    with np.errstate(all="ignore"):
        bad = a != b
        if not exact:
            error = np.abs(a - b)
            bad &= ~((error <= atol + rtol * np.abs(b)) & np.isfinite(b))
            bad &= ~(equal_nan & np.isnan(a) & np.isnan(b))
        if not bad.any():
            return None
        worst = np.where(bad, error, -1.0) if not exact else bad.astype(float)
    worst[np.isnan(worst)] = np.inf
    at = tuple(int(i) for i in np.unravel_index(int(worst.argmax()), worst.shape))
    text = f"{int(bad.sum())} of {bad.size} elements differ; worst at {at}: {got[at]}, expected {expected[at]}"
    if exact:
        return text
    with np.errstate(all="ignore"):
        relative = error[at] / np.abs(b[at])
    return f"{text} (off by {error[at]:.3g}, relative {relative:.3g}; allowed: atol {atol:g} + rtol {rtol:g})"


def as_array(x: Any) -> Any:
    """A Tensor, array or number as a NumPy array."""
    if hasattr(x, "_array"):  # a Tensor of ours, whose numpy() refuses bfloat16
        return transfers.to_host(x._array)
    return np.asarray(x.detach().numpy() if hasattr(x, "detach") else x)


def _outline(x: Any) -> str:
    if isinstance(x, Mapping):
        return f"a mapping with keys {list(x)}"
    if isinstance(x, (list, tuple)):
        return f"a {type(x).__name__} of length {len(x)}"
    return f"a {type(x).__name__}"
