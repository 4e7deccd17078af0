"""Products of matrices."""

from __future__ import annotations

from .op import Op


def rows(x):
    """x as a matrix: its last axis, and all others in one."""
    return x.reshape(-1, x.shape[-1])


def product(a, b):
    """a @ b, as one large product instead of one per batch entry where b is a single matrix."""
    return a @ b if b.ndim != 2 or a.ndim <= 2 else (rows(a) @ b).reshape(*a.shape[:-1], b.shape[1])


class MatMul(Op):
    """y = a @ b over the last axis of a and the second-last of b; the axes before these broadcast.

    Shapes: a (..., N, K), b (..., K, M) -> y (..., N, M). A vector a is a row and a vector b a column; their axis of
    size 1 is left out of y.
    """

    name, broadcasts = "matmul", True
    saved_for = (1,), (0,), (0, 1), (0, 1)

    @staticmethod
    def forward(xp, a, b):
        return product(a, b), (a, b, a.ndim, b.ndim)

    @staticmethod
    def backward(xp, saved, gy):
        a, b, a_ndim, b_ndim = saved
        g = gy[..., None] if b_ndim == 1 else gy
        g = g[..., None, :] if a_ndim == 1 else g  # (..., N, M) again

        def grad_a():
            return product(g, (b[:, None] if b_ndim == 1 else b).swapaxes(-1, -2))

        def grad_b():
            column = a[:, None] if a_ndim == 1 else a.swapaxes(-1, -2)
            if b_ndim <= 2 < a_ndim:
                gb = rows(a).T @ rows(g)
            else:
                gb = column @ g
            return gb[..., 0] if b_ndim == 1 else gb

        return grad_a, grad_b


class Linear(Op):
    """y = x @ weight.T + bias.

    Shapes: x (..., I), weight (O, I), bias (O,) or None -> y (..., O). All axes of x but the last are rows of one
    matrix, so that y, gx and gweight are one product of matrices each.
    """

    name = "linear"
    saved_for = (1,), (0,)

    @staticmethod
    def forward(xp, x, weight, bias=None):
        y = rows(x) @ weight.T
        if bias is not None:
            y = y + bias
        return y.reshape(*x.shape[:-1], len(weight)), (x, weight)

    @staticmethod
    def backward(xp, saved, gy):
        x, weight = saved
        g = rows(gy)
        return (
            lambda: (g @ weight).reshape(*gy.shape[:-1], weight.shape[1]),
            lambda: g.T @ rows(x),
            lambda: xp.ones(len(g), g.dtype) @ g,  # the sum over rows; as a product it is faster
        )
