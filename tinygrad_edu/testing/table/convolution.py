"""Records of convolution, transposed convolution, and windows cut out and added back."""

from __future__ import annotations

from functools import partial

import numpy as np

from ..records import ErrorSample, OpRecord, Sample


def _conv(rng, n):
    """Samples of convN d: every setting, on inputs as small as show it."""
    r = rng.standard_normal
    size, kernel = (7, 6, 5)[-n:], (3, 2, 2)[:n]
    x, w = r((2, 2, *size)), r((3, 2, *kernel))
    last = (0,) * (n - 1) + (1,)
    return [
        Sample(x, w, r(3)),
        Sample(x[0], w),  # without a batch
        Sample(x, w, r(3), 2, 1),
        Sample(x, w, padding=1, dilation=2),
        Sample(x, w, stride=3, padding=tuple(2 - k for k in last), dilation=tuple(1 + k for k in last)),
        Sample(x, w, padding="same"),
        Sample(x, w, r(3), padding="same", dilation=2),
        Sample(x, w, padding="valid"),
        Sample(x, w, stride=[2] * n, padding=(1,)),
        Sample(r((2, 4, *size)), r((6, 2, *kernel)), r(6), groups=2),
        Sample(r((1, 3, *size)), r((3, 1, *kernel)), stride=2, groups=3),  # depthwise
        Sample(r((1, 2, *size)), r((3, 2, *(1,) * n)), r(3)),  # a product of matrices at every place
        Sample(r((1, 1, *kernel)), r((2, 1, *kernel))),  # a single window
        Sample(r((0, 2, *size)), w, r(3)),
        Sample(np.moveaxis(r((2, *size, 2)), -1, 1), np.swapaxes(r((2, 3, *kernel)), 0, 1), r(6)[::2]),
        Sample(r((1, 1, *size))[..., ::-1], r((1, 1, *kernel))),
        Sample(x.astype(np.float16), w.astype(np.float16), padding=1),
        Sample(rng.integers(-9, 9, x.shape), rng.integers(-9, 9, w.shape), padding=1),
    ]


def _conv_errors(rng, n):
    r = rng.standard_normal
    size, kernel = (5,) * n, (3,) * n
    x, w = r((2, 4, *size)), r((6, 4, *kernel))
    refused = [
        ((r((2, 3, *size)), w), {}, "to have 4 channels, but got 3"),
        ((r(size), w), {}, "unbatched"),
        ((r((1, 1, 1, *size)), w), {}, r"batched\) input to conv"),
        ((x, r((6, 4, 3, *kernel))), {}, f"weight of {n + 2} dimensions"),
        ((x[:, :, :2], w), {}, "can't be greater than the padded input"),
        ((x, w), {"stride": 0}, "stride must be at least 1, but got 0"),
        ((x, w), {"dilation": 0}, "dilation must be at least 1"),
        ((x, w), {"padding": -1}, "padding must be at least 0"),
        ((x, w), {"stride": (1,) * (n + 1)}, "expected stride to be one int"),
        ((x, w), {"padding": "same", "stride": 2}, "not supported for strided"),
        ((x, w), {"padding": "full"}, "invalid padding string 'full'"),
        ((x, w), {"groups": 0}, "non-positive groups"),
        ((x, w), {"groups": 2}, "to have 8 channels, but got 4"),
        ((x, r((5, 2, *kernel))), {"groups": 2}, "divisible by it at dimension 0"),
        ((x, r((0, 4, *kernel))), {}, "at least one output"),
        ((x, w, r(4)), {}, r"bias of size \[6\]"),
        ((x, w.astype(np.float32)), {}, "same dtype"),
        ((x, w, r(6).astype(np.float32)), {}, "same dtype"),
        ((r((2, 4, 0, *size[1:])), w), {}, "axes of size 0"),
    ]
    return [
        *(ErrorSample(*args, **kwargs, error=RuntimeError, match=match) for args, kwargs, match in refused),
        ErrorSample([1.0], w, error=TypeError, match="'input' must be Tensor, not list"),
        ErrorSample(x, [1.0], error=TypeError, match="'weight' must be Tensor, not list"),
        ErrorSample(x, w, [1.0], error=TypeError, match="'bias' must be Tensor, not list"),
        ErrorSample(x, w, stride=1.5, error=TypeError, match="'stride' must be tuple of ints, not float"),
        ErrorSample(x, w, groups=1.5, error=TypeError, match="'groups' must be int, not float"),
        ErrorSample(x > 0, w > 0, error=NotImplementedError, match="not implemented for bool"),
    ]


def _transposed(rng, n):
    r = rng.standard_normal
    size, kernel = (3, 4, 2)[:n], (3, 2, 2)[:n]
    x, w = r((2, 2, *size)), r((2, 3, *kernel))
    last = (0,) * (n - 1) + (1,)
    return [
        Sample(x, w, r(3)),
        Sample(x[0], w),
        Sample(x, w, r(3), 2, 1, 1),
        Sample(x, w, stride=3, padding=1, output_padding=tuple(2 - k for k in last)),
        Sample(x, w, dilation=2, output_padding=last),
        Sample(x, w, r(3), stride=tuple(1 + k for k in last), dilation=tuple(2 - k for k in last)),
        Sample(r((2, 4, *size)), r((4, 3, *kernel)), r(6), 2, 0, 0, 2),  # two groups
        Sample(r((1, 3, *size)), r((3, 1, *kernel)), groups=3),
        Sample(r((1, 2, *(1,) * n)), w),
        Sample(r((0, 2, *size)), w, r(3)),
        Sample(np.moveaxis(r((2, *size, 2)), -1, 1), np.swapaxes(r((3, 2, *kernel)), 0, 1), stride=2),
    ]


def _transposed_errors(rng, n):
    r = rng.standard_normal
    size, kernel = (5,) * n, (3,) * n
    x, w = r((2, 4, *size)), r((4, 6, *kernel))
    refused = [
        ((r((2, 3, *size)), w), {}, "to have 4 channels, but got 3"),
        ((r(size), w), {}, "unbatched"),
        ((x, w), {"output_padding": 1}, "smaller than either stride or dilation"),
        ((x, w), {"output_padding": -1}, "output_padding must be at least 0"),
        ((x, w), {"padding": -1}, "padding must be at least 0"),
        ((x, w), {"stride": 0}, "stride must be at least 1"),
        ((x, w, r(4)), {}, r"bias of size \[6\]"),
        ((r((2, 3, *size)), r((3, 3, *kernel))), {"groups": 2}, "divisible by it at dimension 0"),
        ((r((1, 4, *(1,) * n)), r((4, 1, *(2,) * n))), {"padding": 1}, "output size is too small"),
        ((r((2, 4, 0, *size[1:])), w), {}, "axes of size 0"),
    ]
    return [
        *(ErrorSample(*args, **kwargs, error=RuntimeError, match=match) for args, kwargs, match in refused),
        ErrorSample(x, w, padding="same", error=TypeError, match="'padding' must be tuple of ints, not str"),
        ErrorSample(x, [1.0], error=TypeError, match="'weight' must be Tensor, not list"),
    ]


def _unfold(rng):
    x = rng.standard_normal((2, 2, 5, 4))
    return [
        Sample(x, 2),
        Sample(x, (2, 3), 1, (1, 0), (2, 1)),
        Sample(x, kernel_size=(2, 1), dilation=(2, 3), padding=1, stride=2),
        Sample(x[0], [3, 3]),
        Sample(x, 1),
        Sample(x, (5, 4)),
        Sample(x[:0], 2),
        Sample(np.moveaxis(rng.standard_normal((2, 5, 4, 2)), -1, 1), 3),
        Sample(np.full((1, 1, 2, 2), np.inf), 2, padding=1),
    ]


def _unfold_errors(rng):
    x = rng.standard_normal((2, 2, 5, 4))
    return [
        ErrorSample(x, 6, error=RuntimeError, match="at least one of each"),
        ErrorSample(x[:, :0], 2, error=RuntimeError, match="at least one of each"),
        ErrorSample(x, 0, error=RuntimeError, match="kernel_size must be at least 1"),
        ErrorSample(x, 2, stride=0, error=RuntimeError, match="stride must be at least 1"),
        ErrorSample(x, 2, padding=-1, error=RuntimeError, match="padding must be at least 0"),
        ErrorSample(x, (2, 2, 2), error=RuntimeError, match="expected kernel_size to be one int or 2"),
        ErrorSample([1.0], 2, error=TypeError, match="'input' must be Tensor, not list"),
    ]


def _fold(rng):
    r = rng.standard_normal
    return [
        Sample(r((2, 8, 12)), (5, 4), 2),
        Sample(r((2, 4, 12)), 4, kernel_size=(2, 2), dilation=(2, 1), padding=(1, 0), stride=1),
        Sample(r((8, 8)), (4, 5), (2, 2), 1, 0, (2, 1)),
        Sample(r((1, 6, 4)), 4, (2, 3), stride=(2, 1)),
        Sample(r((0, 4, 9)), 4, 2),
        Sample(r((4, 4)).T, (3, 3), 2),
    ]


def _fold_errors(rng):
    r = rng.standard_normal
    return [
        ErrorSample(r(16), 5, 2, error=RuntimeError, match="unbatched"),
        ErrorSample(r((2, 12, 15)), 5, 2, error=RuntimeError, match=r"4 \* 4 = 16 windows as the last size, got 15"),
        ErrorSample(r((2, 11, 16)), 5, 2, error=RuntimeError, match="second-last size, got 11"),
        ErrorSample(r((2, 12, 16)), 5, 2, stride=0, error=RuntimeError, match="stride must be at least 1"),
        ErrorSample(r((2, 12, 16)), (5, 5, 5), 2, error=RuntimeError, match="expected output_size"),
        ErrorSample(r((2, 12, 16)), 1, 2, error=RuntimeError, match=r"0 \* 0 = 0 windows"),
        ErrorSample([1.0], 5, 2, error=TypeError, match="'input' must be Tensor, not list"),
    ]


RECORDS = [
    *(
        OpRecord(f"nn.functional.conv{n}d", partial(_conv, n=n), partial(_conv_errors, n=n), kind="reduction")
        for n in (1, 2, 3)
    ),
    *(
        OpRecord(
            f"nn.functional.conv_transpose{n}d",
            partial(_transposed, n=n),
            partial(_transposed_errors, n=n),
            kind="reduction",
        )
        for n in (1, 2, 3)
    ),
    OpRecord("nn.functional.unfold", _unfold, _unfold_errors, kind="reduction"),
    OpRecord("nn.functional.fold", _fold, _fold_errors, kind="reduction"),
]
