"""Products of matrices, and sums of products in general."""

from __future__ import annotations

import math

from .op import Op


def rows(x):
    """x as a matrix: its last axis, and all others in one."""
    return x if x.ndim == 2 else x.reshape(math.prod(x.shape[:-1]), x.shape[-1])


def product(a, b):
    """a @ b; as one large product instead of one per batch entry where b is a single matrix."""
    return (rows(a) @ b).reshape(*a.shape[:-1], b.shape[1]) if a.ndim > 2 == b.ndim else a @ b


class Matmul(Op):
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
            return product(g, b[None] if b_ndim == 1 else b.swapaxes(-1, -2))

        def grad_b():
            if b_ndim <= 2 < a_ndim:
                gb = rows(a).T @ rows(g)  # the sum over the batch is part of the product
            else:
                gb = (a[:, None] if a_ndim == 1 else a.swapaxes(-1, -2)) @ g
            return gb[..., 0] if b_ndim == 1 else gb

        return grad_a, grad_b


class Linear(Op):
    """y = x @ weight.T + bias.

    Shapes: x (..., I), weight (O, I), bias (O,) or None -> y (..., O). All axes of x but the last are the rows of one
    matrix, so that y, gx and gweight are one product of matrices each.
    """

    name = "linear"
    saved_for = (1,), (0,)

    @staticmethod
    def forward(xp, x, weight, bias):
        r = rows(x)
        y = r @ weight.T
        if bias is not None:
            y = y + bias
        return (y if x.ndim == 2 else y.reshape(*x.shape[:-1], len(weight))), (r, weight)

    @staticmethod
    def backward(xp, saved, gy):
        r, weight = saved
        g = rows(gy)
        return (
            lambda: g @ weight if gy.ndim == 2 else (g @ weight).reshape(*gy.shape[:-1], weight.shape[1]),
            lambda: g.T @ r,
            lambda: xp.ones(len(g), g.dtype) @ g,  # the sum over rows, faster as a product
        )


class Einsum(Op):
    """Sums of products of two or more arrays, as the subscripts say: "ij,jk->ik" is y[i,k] = sum_j a[i,j] b[j,k].

    No letter may repeat within one input, and each must occur in the output or in another input. Then the gradient of
    an input is an einsum too: the output's gradient takes its place, and its letters those of the output.
    """

    name = "einsum"

    @staticmethod
    def forward(xp, *arrays, subscripts):
        return xp.einsum(subscripts, *arrays, optimize=True), (subscripts, *arrays)

    @staticmethod
    def backward(xp, saved, gy):
        subscripts, *arrays = saved
        inputs, output = subscripts.split("->")
        letters = inputs.split(",")

        def gradient(i):
            terms = ",".join([*letters[:i], output, *letters[i + 1 :]])
            factors = [*arrays[:i], gy, *arrays[i + 1 :]]
            return xp.einsum(f"{terms}->{letters[i]}", *factors, optimize=True)

        return tuple(lambda i=i: gradient(i) for i in range(len(arrays)))
