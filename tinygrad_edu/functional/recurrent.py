"""Recurrent cells: one step, and a batch of sequences step by step.

The gates of a cell are computed from its input and from its hidden state: input @ w_ih.T + b_ih and h @ w_hh.T + b_hh.
The first needs no earlier step, so for whole sequences it is one product, made before the first step.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from ..dispatch import apply
from ..ops import recurrent as ops
from .activation import relu, tanh
from .arguments import require_tensor
from .elementwise import add
from .linalg import linear, require_same_dtype
from .precision import autocasts
from .shape import cat, narrow, split

if TYPE_CHECKING:
    from ..tensor import Tensor

State = tuple["Tensor", ...]  # the hidden state, and for an LSTM the cell state
# (gates from the input, state, w_hh, b_hh) -> the next state
Step = Callable[["Tensor", State, "Tensor", "Tensor | None"], State]

# ---- one step, when the gates from the input are known ---------------------------------------------------------------


def tanh_step(from_input: Tensor, state: State, w_hh: Tensor, b_hh: Tensor | None) -> State:
    """h' = tanh(from_input + h @ w_hh.T + b_hh)."""
    return (tanh(add(from_input, linear(state[0], w_hh, b_hh))),)


def relu_step(from_input: Tensor, state: State, w_hh: Tensor, b_hh: Tensor | None) -> State:
    """h' = relu(from_input + h @ w_hh.T + b_hh)."""
    return (relu(add(from_input, linear(state[0], w_hh, b_hh))),)


def lstm_step(from_input: Tensor, state: State, w_hh: Tensor, b_hh: Tensor | None) -> State:
    """(h', c') with c' = f c + i g and h' = o tanh(c')."""
    h, c = state
    gates = add(from_input, linear(h, w_hh, b_hh))
    c = apply(ops.LstmState, gates, c)
    return apply(ops.LstmHidden, gates, c), c


def gru_step(from_input: Tensor, state: State, w_hh: Tensor, b_hh: Tensor | None) -> State:
    """h' = (1 - z) n + z h."""
    (h,) = state
    return (apply(ops.GruState, from_input, linear(h, w_hh, b_hh), h),)


# ---- one step --------------------------------------------------------------------------------------------------------


@autocasts
def rnn_tanh_cell(
    input: Tensor, hx: Tensor, w_ih: Tensor, w_hh: Tensor, b_ih: Tensor | None = None, b_hh: Tensor | None = None
) -> Tensor:
    """The next hidden state tanh(input @ w_ih.T + b_ih + hx @ w_hh.T + b_hh).

    Shapes: input (B, I), hx (B, H), w_ih (H, I), w_hh (H, H), biases (H). RuntimeError: sizes that do not fit.
    """
    return _cell("rnn_tanh_cell", tanh_step, 1, input, (hx,), w_ih, w_hh, b_ih, b_hh)[0]


@autocasts
def rnn_relu_cell(
    input: Tensor, hx: Tensor, w_ih: Tensor, w_hh: Tensor, b_ih: Tensor | None = None, b_hh: Tensor | None = None
) -> Tensor:
    """The next hidden state relu(input @ w_ih.T + b_ih + hx @ w_hh.T + b_hh). Shapes as in `rnn_tanh_cell`."""
    return _cell("rnn_relu_cell", relu_step, 1, input, (hx,), w_ih, w_hh, b_ih, b_hh)[0]


@autocasts
def lstm_cell(
    input: Tensor, hx: Sequence[Tensor], w_ih: Tensor, w_hh: Tensor, b_ih: Tensor | None = None,
    b_hh: Tensor | None = None,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """The next (h, c) of an LSTM: c' = f c + i g, h' = o tanh(c'), with i, f, o = sigmoid and g = tanh of the gates.

    gates = input @ w_ih.T + b_ih + h @ w_hh.T + b_hh, in the order i, f, g, o. Shapes: input (B, I), hx two of (B, H),
    w_ih (4H, I), w_hh (4H, H), biases (4H). RuntimeError: sizes that do not fit.
    """
    if not isinstance(hx, (list, tuple)):
        raise TypeError(f"lstm_cell(): argument 'hx' must be tuple of Tensors (h, c), not {type(hx).__name__}")
    if len(hx) != 2:
        raise RuntimeError(f"lstm_cell expects two hidden states, (h, c), got {len(hx)}")
    h, c = _cell("lstm_cell", lstm_step, 4, input, tuple(hx), w_ih, w_hh, b_ih, b_hh)
    return h, c


@autocasts
def gru_cell(
    input: Tensor, hx: Tensor, w_ih: Tensor, w_hh: Tensor, b_ih: Tensor | None = None, b_hh: Tensor | None = None
) -> Tensor:
    """The next hidden state of a GRU: (1 - z) n + z h.

    r, z = sigmoid(input @ w_ih.T + b_ih + h @ w_hh.T + b_hh), and n = tanh of the same with the part from h times r.
    Shapes: input (B, I), hx (B, H), w_ih (3H, I), w_hh (3H, H), biases (3H), each in the order r, z, n.
    RuntimeError: sizes that do not fit.
    """
    return _cell("gru_cell", gru_step, 3, input, (hx,), w_ih, w_hh, b_ih, b_hh)[0]


def _cell(
    name: str, step: Step, gates: int, input: Tensor, state: State, w_ih: Tensor, w_hh: Tensor, b_ih: Tensor | None,
    b_hh: Tensor | None,
) -> State:  # fmt: skip
    require_tensor(name, "input", input)
    for x in state:
        require_tensor(name, "hx", x)
    shape, w = input._array.shape, w_hh._array.shape
    if len(shape) != 2 or shape[1:] != w_ih._array.shape[1:]:
        raise RuntimeError(
            f"{name}: input has inconsistent input_size: got {shape}, expected (B, I) with I = "
            f"{w_ih._array.shape[-1]} as in w_ih of shape {w_ih._array.shape}"
        )
    if len(w) != 2 or w[0] != gates * w[1] or w_ih._array.shape[0] != w[0]:
        raise RuntimeError(
            f"{name}: expected w_ih and w_hh of shapes ({gates}H, I) and ({gates}H, H), got {w_ih._array.shape} and {w}"
        )
    for i, x in enumerate(state):
        require_same_dtype(name, input=input, **{f"hidden{i}": x})
        if x._array.shape != (shape[0], w[1]):
            raise RuntimeError(
                f"{name}: hidden{i} has inconsistent hidden_size or batch size: got {x._array.shape}, expected "
                f"{(shape[0], w[1])} for input of shape {shape} and w_hh of shape {w}"
            )
    return step(linear(input, w_ih, b_ih), state, w_hh, b_hh)


# ---- a whole sequence ------------------------------------------------------------------------------------------------


def scan(
    step: Step, from_input: Tensor, batch_sizes: Sequence[int], state: State, w_hh: Tensor, b_hh: Tensor | None,
    w_hr: Tensor | None = None, reverse: bool = False,
) -> tuple[Tensor, State]:  # fmt: skip
    """The hidden states after every step of a batch of sequences, and the last state of each sequence.

    from_input: (sum of batch_sizes, G), the gates from the inputs, packed: batch_sizes[t] rows for step t, never more
    than for the step before, so that the sequences that go on are the first rows. state: (B, H) each, where B is
    batch_sizes[0]. w_hr: (P, H), projects every hidden state to P numbers. reverse: from the last step to the first.
    """
    steps = list(zip(split(from_input, batch_sizes), batch_sizes, strict=True))
    running = batch_sizes[-1 if reverse else 0]
    initial, state = state, tuple(narrow(x, 0, 0, running) for x in state)
    outputs, ended = [], []
    for gates, n in reversed(steps) if reverse else steps:
        if n < running:  # the last rows have come to their end
            ended.append(tuple(narrow(x, 0, n, running - n) for x in state))
            state = tuple(narrow(x, 0, 0, n) for x in state)
        elif n > running:  # further rows begin, seen from their end
            state = tuple(cat([x, narrow(x0, 0, running, n - running)]) for x, x0 in zip(state, initial, strict=True))
        running = n
        state = step(gates, state, w_hh, b_hh)
        if w_hr is not None:
            state = (linear(state[0], w_hr), *state[1:])
        outputs.append(state[0])
    if ended:
        state = tuple(cat(parts) for parts in zip(state, *reversed(ended), strict=True))
    return cat(outputs[::-1] if reverse else outputs), state
