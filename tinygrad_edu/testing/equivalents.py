"""Mutants that on a CPU compute the same as the original, each with the reason. `mutants.py` runs and checks them."""

from __future__ import annotations

Key = tuple[str, str, str]  # function, original, mutated

# By reason: of each function and part of its source, what it may be changed to.
_BY_REASON: dict[str, dict[tuple[str, str], list[str]]] = {
    "x and beta occur only as the product beta * x.": {
        ("activation.Softplus.backward", "x, beta, threshold = saved"): ["beta, x, threshold = saved"],
    },
    "The array has four axes here, so that 2 and -2 name the same one.": {
        ("convolution.match", "weight = (_rows(y, groups) @ columns.swapaxes(-1, -2)).sum(axis=0)"): [
            "weight = (_rows(y, groups) @ columns.swapaxes(-1, 2)).sum(axis=0)",
        ],
    },
    "The factor beside it is 0 there: what `where` puts in does not count.": {
        ("elementwise.Atan2.backward", "scaled = xp.where(square == 0, 0, gy / square)"): [
            "scaled = xp.where(square == 0, -1, gy / square)",
            "scaled = xp.where(square == 0, 1, gy / square)",
        ],
    },
    "A shortcut for speed: the general case gives the same.": {
        ("activation.log_logistic", "isinstance(xp, Mirror)"): ["False"],
        ("elementwise._power", "return a * a * a if type(b) in (int, float) and b == 3 else a ** b"): ["return a ** b"],
        ("embedding.Embedding.backward", "padding_idx is not None"): ["True"],
        ("indexing.add_rows_to", "not whole.flags.c_contiguous"): ["True"],
        ("linalg.Matmul.backward", "b_ndim <= 2 < a_ndim"): [
            "False",
            "b_ndim < 2 < a_ndim",
            "b_ndim <= 1 < a_ndim",
            "b_ndim <= 2 <= a_ndim",
            "b_ndim <= 2 >= a_ndim",
        ],
        ("linalg.product", "a.ndim > 2 == b.ndim"): ["a.ndim <= 2 == b.ndim", "a.ndim >= 2 == b.ndim"],
        (
            "linalg.product",
            "return (rows(a) @ b).reshape(*a.shape[:-1], b.shape[1]) if a.ndim > 2 == b.ndim else a @ b",
        ): [
            "return (a @ b).reshape(*a.shape[:-1], b.shape[1]) if a.ndim > 2 == b.ndim else a @ b",
            "return a @ b",
        ],
        ("linalg.rows", "return x if x.ndim == 2 else x.reshape(math.prod(x.shape[:-1]), x.shape[-1])"): [
            "return x.reshape(math.prod(x.shape[:-1]), x.shape[-1])",
        ],
        ("autograd.engine.sum_to", "return dtypes.wide(g).sum(axis=axes).reshape(shape).astype(g.dtype, copy=False)"): [
            "return dtypes.wide(g).sum(axis=axes).reshape(shape).astype(g.dtype)",
            "return dtypes.wide(g).sum(axis=axes).reshape(shape).astype(g.dtype, copy=True)",
        ],
        (
            "linalg.Linear.backward",
            "lambda: g @ weight if gy.ndim == 2 else (g @ weight).reshape(*gy.shape[:-1], weight.shape[1])",
        ): [
            "lambda: (g @ weight).reshape(*gy.shape[:-1], weight.shape[1])",
        ],
        ("reduction.Norm.backward", "p == 2"): ["False"],
        ("windows.add_windows", "isinstance(xp, Mirror)"): ["False"],
    },
    "The other term has the dtype already, and a bool beside it takes it on.": {
        ("elementwise._sign", "return (x > 0).astype(x.dtype) - (x < 0).astype(x.dtype)"): [
            "return (x > 0) - (x < 0).astype(x.dtype)",
            "return (x > 0).astype(x.dtype) - (x < 0)",
        ],
    },
    "Where both are equal, the outer `where` has decided.": {
        (
            "elementwise._towards",
            "return lambda: xp.where(larger == smaller, gy / 2, xp.where(larger < smaller, 0, gy))",
        ): [
            "return lambda: xp.where(larger == smaller, gy / 2, xp.where(larger <= smaller, 0, gy))",
        ],
    },
    "The axis has size 1.": {
        ("linalg.Matmul.backward", "return gb[..., 0] if b_ndim == 1 else gb"): [
            "return gb[..., -1] if b_ndim == 1 else gb",
        ],
    },
    "The engine gives the gradient of an op that broadcasts the shape of its input.": {
        (
            "linalg.product",
            "return (rows(a) @ b).reshape(*a.shape[:-1], b.shape[1]) if a.ndim > 2 == b.ndim else a @ b",
        ): [
            "return rows(a) @ b if a.ndim > 2 == b.ndim else a @ b",
        ],
    },
    "One more round adds only padding, which is 0.": {
        ("reduction.Cumprod.backward", "step < x.shape[-1]"): ["step <= x.shape[-1]"],
    },
    "Only the rounding differs: a product in float32 is nearly as exact as one in float64.": {
        (
            "reduction._cumprod",
            "return xp.cumprod(x, axis=axis, dtype='float64' if x.dtype.kind == 'f' else x.dtype).astype(x.dtype)",
        ): [
            "return xp.cumprod(x, axis=axis).astype(x.dtype)",
            "return xp.cumprod(x, axis=axis, dtype='float64').astype(x.dtype)",
            "return xp.cumprod(x, axis=axis, dtype=x.dtype).astype(x.dtype)",
        ],
        ("reduction._cumprod", "x.dtype.kind == 'f'"): ["x.dtype.kind != 'f'"],
    },
    "Backward is run on floating arrays alone, so the dtype is always float64.": {
        (
            "reduction._cumsum",
            "return xp.cumsum(x, axis=axis, dtype='float64' if x.dtype.kind == 'f' else x.dtype).astype(x.dtype)",
        ): [
            "return xp.cumsum(x, axis=axis, dtype='float64').astype(x.dtype)",
        ],
    },
    "Where it counts, sign(x) is 1 or -1.": {
        ("reduction.Norm.backward", "return xp.where(x == 0, 0, gy * xp.sign(x) * (xp.abs(x) / y) ** (p - 1))"): [
            "return xp.where(x == 0, 0, gy / xp.sign(x) * (xp.abs(x) / y) ** (p - 1))",
        ],
    },
    "y is a or -a, so that y / a = a / y.": {
        ("special.Copysign.backward", "a, y = saved"): ["y, a = saved"],
        ("special.Copysign.backward", "lambda: gy * xp.where(a == 0, 0, y / a)"): [
            "lambda: gy * xp.where(a == 0, 0, a / y)",
        ],
    },
    "Every entry is overwritten.": {
        ("shape.Permute.backward", "back = [0] * len(axes)"): ["back = [-1] * len(axes)", "back = [1] * len(axes)"],
    },
    "Only the memory layout differs, or who owns the memory, which the engine looks after.": {
        ("windows.AddWindows.backward", "return xp.array(windows(xp, gy, *saved), order='C')"): [
            "return windows(xp, gy, *saved)",
            "return xp.array(windows(xp, gy, *saved))",
        ],
    },
    "Exchanging two neighbouring groups of n axes is its own reverse.": {
        ("windows.windows", "return xp.moveaxis(chosen, range(-n, 0), range(-2 * n, -n))"): [
            "return xp.moveaxis(chosen, range(-2 * n, -n), range(-n, 0))",
        ],
    },
    "b is 0 there, and so is its product with any power of a.": {
        ("elementwise.Pow.backward", "return gy * (b * a ** (xp.where((a == 0) & (b == 0), 1, b) - 1))"): [
            "return gy * (b * a ** (xp.where((a == 0) & (b == 0), 2, b) - 1))",
        ],
    },
    "NumPy converts by itself there.": {
        ("indexing.add_rows_to", "add_rows_to(xp, total, index, rows.astype('float32'))"): [
            "add_rows_to(xp, total, index, rows)",
        ],
        ("indexing.add_rows_to", "whole[...] = total.astype(whole.dtype)"): ["whole[...] = total"],
    },
    "It shows in bfloat16 alone, where tests/test_bfloat16.py looks.": {
        ("autograd.engine.sum_to", "return dtypes.wide(g).sum(axis=axes).reshape(shape).astype(g.dtype, copy=False)"): [
            "return dtypes.wide(g).sum(axis=axes).reshape(shape)",
        ],
        (
            "indexing.RowsPart.astype",
            "return type(self)(self.xp, self.shape[0], self.index, self.rows.astype(dtype))",
        ): [
            "return -type(self)(self.xp, self.shape[0], self.index, self.rows.astype(dtype))",
            "return None",
            "return self.xp",
            "return type(self)(self.shape[0], self.xp, self.index, self.rows.astype(dtype))",
            "return type(self)(self.xp, self.index, self.shape[0], self.rows.astype(dtype))",
            "return type(self)(self.xp, self.shape[0], self.rows.astype(dtype), self.index)",
            "return type(self)(self.xp, self.shape, self.index, self.rows.astype(dtype))",
            "return type(self)(self.xp, self.shape[1], self.index, self.rows.astype(dtype))",
            "return type(self)(self.xp, self.shape[-1], self.index, self.rows.astype(dtype))",
            "return type(self)(self.xp, self.shape[0], self.index, self.rows)",
        ],
        ("indexing.SlicePart.astype", "return SlicePart(self.shape, self.place, self.values.astype(dtype))"): [
            "return -SlicePart(self.shape, self.place, self.values.astype(dtype))",
            "return None",
            "return self.shape",
            "return SlicePart(self.place, self.shape, self.values.astype(dtype))",
            "return SlicePart(self.shape, self.values.astype(dtype), self.place)",
            "return SlicePart(self.shape, self.place, self.values)",
        ],
        ("indexing.add_rows_to", "whole.dtype.kind == 'V'"): ["False"],
        ("indexing.add_rows_to", "total = whole.astype('float32')"): ["total = whole"],
        ("indexing.add_rows_to", "add_rows_to(xp, total, index, rows.astype('float32'))"): [
            "pass",
            "total",
            "add_rows_to(xp, index, total, rows.astype('float32'))",
            "add_rows_to(xp, total, rows.astype('float32'), index)",
        ],
    },
    "It shows on a GPU alone, where tests/device looks.": {
        ("transfer.ToDevice.backward", "isinstance(xp, Mirror)"): ["True", "False"],
        ("transfer.ToDevice.backward", "return xp.apply(ToDevice, gy, device=source)"): [
            "return -xp.apply(ToDevice, gy, device=source)",
            "return None",
            "return ToDevice",
            "return xp.apply(gy, ToDevice, device=source)",
            "return xp.apply(ToDevice, gy)",
        ],
        ("shape._diagonal", "hasattr(x.flags, 'writeable')"): ["True", "x.flags"],
        ("transfer.ToDevice.backward", "return transfers.to_device(gy, source)"): [
            "return -transfers.to_device(gy, source)",
            "return None",
            "return transfers",
            "return transfers.to_device(source, gy)",
        ],
    },
}

EQUIVALENT: dict[Key, str] = {
    (function, original, mutated): reason
    for reason, parts in _BY_REASON.items()
    for (function, original), mutants in parts.items()
    for mutated in mutants
}
