"""Dropout."""

from __future__ import annotations

from ..autograd.higher import Mirror
from ..backend.random import keep_mask
from .op import Op


class Dropout(Op):
    """y = x * mask: 0 at a random share p of the places, 1 / (1 - p) at the others.

    The mask is the one that the random stream of this seed gives from this counter on, so that running the op again
    gives the same, and a twin may draw the mask again in the place of keeping it. apart: how many of the first axes
    the mask has; along the others, of size 1, it is the same number. None: all.
    Source: Srivastava et al. 2014, "Dropout: a simple way to prevent neural networks from overfitting".
    """

    name = "dropout"

    @staticmethod
    def forward(xp, x, *, p, seed, counter, apart=None):
        mask = drawn(xp, mask_shape(x.shape, apart), x.dtype, p, seed, counter)
        return x * mask, (mask,)

    @staticmethod
    def backward(xp, saved, gy):
        (mask,) = saved
        return gy * mask


def mask_shape(shape, apart):
    """The shape of the mask for an x of this shape."""
    return shape if apart is None else (*shape[:apart], *(1 for _ in shape[apart:]))


def drawn(xp, *args):
    """`keep_mask`, which is an array also where a backward pass is recorded: no gradient flows through it."""
    return keep_mask(xp.xp if isinstance(xp, Mirror) else xp, *args)
