"""Records of interpolation and of channels exchanged for pixels."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..records import ErrorSample, OpRecord, Sample


def _interpolate(rng):
    r = rng.standard_normal
    signal, picture, volume = r((2, 2, 5)), r((1, 2, 4, 5)), r((1, 1, 3, 2, 4))
    found = []
    for x, modes in (
        (signal, ("nearest", "nearest-exact", "linear", "area")),
        (picture, ("nearest", "nearest-exact", "bilinear", "bicubic", "area")),
        (volume, ("nearest", "nearest-exact", "trilinear", "area")),
    ):
        n = x.ndim - 2
        for mode in modes:
            corners = (None, True) if mode.endswith(("linear", "cubic")) else (None,)
            for align_corners in corners:
                how = {"mode": mode, "align_corners": align_corners}
                found += [
                    Sample(x, (7, 3, 6)[:n], **how),
                    Sample(x, 1, **how),
                    Sample(x, scale_factor=1.7, **how),
                    Sample(x, scale_factor=(0.6, 2, 1.3)[:n], **how),
                    Sample(x, scale_factor=1.7, recompute_scale_factor=True, **how),
                ]
        found += [Sample(x, x.shape[2:]), Sample(x[:0], 4), Sample(r(x.shape[::-1]).T, 3, mode=modes[2])]
    for mode in ("bilinear", "bicubic"):
        for align_corners in (None, True):
            how = {"mode": mode, "align_corners": align_corners, "antialias": True}
            found += [Sample(picture, (2, 3), **how), Sample(picture, 7, **how), Sample(picture, 1, **how)]
            found += [Sample(picture, scale_factor=0.7, **how)]
    unusual = np.array([[[np.inf, 1.0, np.nan, 2.0, 3.0, -np.inf]]])
    return [
        *found,
        Sample(unusual, 3, mode="linear"),
        Sample(unusual, 9, mode="nearest"),
        Sample(rng.integers(0, 255, (1, 1, 2, 2)).astype(np.uint8), 5),
        Sample(r((1, 1, 100)), 333),  # positions as PyTorch rounds them
        Sample(r((1, 1, 100)), scale_factor=0.37, mode="nearest-exact"),
    ]


def _interpolate_errors(rng):
    x = rng.standard_normal((1, 2, 4, 5))
    values: list[tuple[dict[str, Any], str]] = [
        ({}, "either size or scale_factor"),
        ({"size": 3, "scale_factor": 2.0}, "only one of them"),
        ({"size": (1, 2, 3)}, "expected one number or 2"),
        ({"scale_factor": (2.0,)}, "expected one number or 2"),
        ({"size": 3, "align_corners": False}, "align_corners can only be set"),
        ({"size": 3, "recompute_scale_factor": True}, "not meaningful with an explicit size"),
        ({"size": 3, "antialias": True}, "antialias is restricted"),
    ]
    modes = [(x, "linear", "1 spatial axes"), (x[0], "bilinear", "2 spatial axes"), (x, "cubic", "one of the modes")]
    return [
        *(ErrorSample(x, **kwargs, error=ValueError, match=match) for kwargs, match in values),
        *(ErrorSample(a, 3, mode=mode, error=NotImplementedError, match=match) for a, mode, match in modes),
        ErrorSample(x[0, 0], 3, error=NotImplementedError, match="1, 2 or 3 spatial axes"),
        ErrorSample(x.astype(int), 3, mode="bilinear", error=NotImplementedError, match="not implemented for int64"),
        ErrorSample(x > 0, 3, error=NotImplementedError, match="not implemented for bool"),
        ErrorSample(x, 0, error=RuntimeError, match="should be greater than 0"),
        ErrorSample(x, scale_factor=0.1, error=RuntimeError, match="should be greater than 0"),
        ErrorSample(x[:, :0], 3, error=RuntimeError, match="should be greater than 0"),
        ErrorSample(x, 3.0, error=TypeError, match="size must be an int or ints, got 3.0"),
    ]


def _upsample(rng):
    x = rng.standard_normal((1, 2, 3, 2))
    return [Sample(x, 4), Sample(x, scale_factor=2, mode="bilinear"), Sample(x, None, 2.0, "bilinear", True)]


def _pixel_shuffle(rng):
    x = rng.standard_normal((2, 8, 2, 3))
    return [
        Sample(x, 2),
        Sample(x[0], upscale_factor=2),
        Sample(x[None], 2),
        Sample(x, 1),
        Sample(rng.standard_normal((3, 2, 9, 1)).T, 1),
        Sample(rng.standard_normal((3, 2, 9, 1)).swapaxes(0, 3)[..., ::-1].swapaxes(1, 2), 3),
        Sample(rng.integers(0, 9, (1, 4, 2, 2)), 2),
    ]


def _pixel_shuffle_errors(rng):
    x = rng.standard_normal((2, 7, 4, 6))
    return [
        ErrorSample(x, 2, error=RuntimeError, match="7 is not divisible by 4"),
        ErrorSample(x[0, 0], 2, error=RuntimeError, match="at least 3 dimensions, but got 2"),
        ErrorSample(x, 0, error=RuntimeError, match="positive upscale_factor, but got 0"),
        ErrorSample(x, 2.0, error=TypeError, match="'upscale_factor' .*must be int, not float"),
        ErrorSample([1.0], 2, error=TypeError, match="'input' must be Tensor, not list"),
    ]


def _pixel_unshuffle(rng):
    x = rng.standard_normal((2, 2, 4, 6))
    return [
        Sample(x, 2),
        Sample(x[0], downscale_factor=2),
        Sample(x[None], 2),
        Sample(x, 1),
        Sample(x.T, 2),
        Sample(rng.standard_normal((1, 3, 3)), 3),
    ]


def _pixel_unshuffle_errors(rng):
    x = rng.standard_normal((2, 2, 4, 5))
    return [
        ErrorSample(x, 2, error=RuntimeError, match="divisible by downscale_factor, but got 4 and 5"),
        ErrorSample(x, 3, error=RuntimeError, match="divisible by downscale_factor, but got 4 and 5"),
        ErrorSample(x[0, 0], 2, error=RuntimeError, match="at least 3 dimensions, but got 2"),
        ErrorSample(x, -1, error=RuntimeError, match="positive downscale_factor, but got -1"),
        ErrorSample(x, 2.0, error=TypeError, match="'downscale_factor' .*must be int, not float"),
    ]


RECORDS = [
    OpRecord("nn.functional.interpolate", _interpolate, _interpolate_errors, kind="reduction"),
    OpRecord("nn.functional.upsample", _upsample, kind="reduction"),
    OpRecord("nn.functional.pixel_shuffle", _pixel_shuffle, _pixel_shuffle_errors, kind="exact"),
    OpRecord("nn.functional.pixel_unshuffle", _pixel_unshuffle, _pixel_unshuffle_errors, kind="exact"),
]
