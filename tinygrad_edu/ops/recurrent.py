"""What recurrent cells do with their gates at one step; the products with the weights come before, as `linear`."""

from __future__ import annotations

from .activation import logistic
from .indexing import SlicePart
from .op import Op


class LstmState(Op):
    """c' = f c + i g, the next cell state, with i = sigmoid(gates_i), f = sigmoid(gates_f), g = tanh(gates_g).

    Shapes: gates (..., 4H), which holds gates_i, gates_f, gates_g, gates_o in this order, c (..., H) -> c' (..., H).
    Source: Hochreiter and Schmidhuber 1997; the forget gate: Gers, Schmidhuber, Cummins 2000.
    """

    name = "lstm_state"

    @staticmethod
    def forward(xp, gates, c):
        h = c.shape[-1]
        i = logistic(xp, gates[..., :h])
        f = logistic(xp, gates[..., h : 2 * h])
        g = xp.tanh(gates[..., 2 * h : 3 * h])
        return f * c + i * g, (i, f, g, c)

    @staticmethod
    def backward(xp, saved, gy):
        i, f, g, c = saved

        def ggates():  # the output gate plays no part
            values = xp.concatenate([gy * g * i * (1 - i), gy * c * f * (1 - f), gy * i * (1 - g * g)], axis=-1)
            h = c.shape[-1]
            return SlicePart((*c.shape[:-1], 4 * h), (..., slice(0, 3 * h)), values)

        return ggates, lambda: gy * f


class LstmHidden(Op):
    """h' = o tanh(c'), the next hidden state, with o = sigmoid(gates_o).

    Shapes: gates (..., 4H) as in `LstmState`, c' (..., H) -> h' (..., H).
    """

    name = "lstm_hidden"

    @staticmethod
    def forward(xp, gates, c):
        h = c.shape[-1]
        o, t = logistic(xp, gates[..., 3 * h :]), xp.tanh(c)
        return o * t, (o, t)

    @staticmethod
    def backward(xp, saved, gy):
        o, t = saved
        h = o.shape[-1]
        return (
            lambda: SlicePart((*o.shape[:-1], 4 * h), (..., slice(3 * h, None)), gy * t * o * (1 - o)),
            lambda: gy * o * (1 - t * t),
        )


class GruState(Op):
    """h' = (1 - z) n + z h, with r = sigmoid(x_r + h_r), z = sigmoid(x_z + h_z), n = tanh(x_n + r h_n).

    Shapes: from_input (..., 3H), which holds x_r, x_z, x_n in this order, from_hidden (..., 3H) with h_r, h_z, h_n,
    h (..., H) -> h' (..., H). Source: Cho et al. 2014, arXiv:1406.1078, with the reset gate r after the product.
    """

    name = "gru_state"

    @staticmethod
    def forward(xp, from_input, from_hidden, h):
        k = h.shape[-1]
        both = logistic(xp, from_input[..., : 2 * k] + from_hidden[..., : 2 * k])
        r, z, h_n = both[..., :k], both[..., k:], from_hidden[..., 2 * k :]
        n = xp.tanh(from_input[..., 2 * k :] + r * h_n)
        return n + z * (h - n), (r, z, n, h_n, h)

    @staticmethod
    def backward(xp, saved, gy):
        r, z, n, h_n, h = saved
        g_n = gy * (1 - z) * (1 - n * n)  # of what the tanh is taken of
        g_r, g_z = g_n * h_n * r * (1 - r), gy * (h - n) * z * (1 - z)
        return (
            lambda: xp.concatenate([g_r, g_z, g_n], axis=-1),
            lambda: xp.concatenate([g_r, g_z, g_n * r], axis=-1),
            lambda: gy * z,
        )
