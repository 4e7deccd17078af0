"""Recurrent layers, and the cells that make one step of them. Formulas: `functional/recurrent.py`."""

from __future__ import annotations

import math
import numbers
import warnings
from typing import Any

from ..creation import empty, zeros
from ..functional import recurrent
from ..functional.dropout import dropout as drop
from ..functional.linalg import linear
from ..functional.shape import cat, stack
from ..tensor import Tensor
from . import init
from .module import Module
from .parameter import Parameter
from .utils.rnn import PackedSequence

# By mode: what one step does, how many gates there are, how many tensors the state has.
_MODES: dict[str, tuple[recurrent.Step, int, int]] = {
    "RNN_TANH": (recurrent.tanh_step, 1, 1),
    "RNN_RELU": (recurrent.relu_step, 1, 1),
    "LSTM": (recurrent.lstm_step, 4, 2),
    "GRU": (recurrent.gru_step, 3, 1),
}


def _reset_uniformly(module: Module, hidden_size: int) -> None:
    bound = 1 / math.sqrt(hidden_size) if hidden_size > 0 else 0.0
    for param in module.parameters():
        init.uniform_(param, -bound, bound)


def _check_settings(num_layers: int, dropout: float, proj_size: int, **settings: Any) -> None:
    """TypeError or ValueError, as PyTorch decides, for settings that make no layer."""
    if not isinstance(dropout, numbers.Number) or isinstance(dropout, bool) or not 0 <= dropout <= 1:
        raise ValueError(f"dropout should be a number in range [0, 1], the share that is set to zero, got {dropout!r}")
    if dropout > 0 and num_layers == 1:
        warnings.warn(
            "dropout option adds dropout after all but last recurrent layer, so non-zero dropout expects num_layers "
            f"greater than 1, but got {dropout=} and {num_layers=}",
            stacklevel=4,
        )
    for name, value in settings.items():
        kind = int if name.endswith("size") else bool
        if not isinstance(value, kind):
            raise TypeError(f"{name} should be of type {kind.__name__}, got: {type(value).__name__}")
        if kind is int and value <= 0:
            raise ValueError(f"{name} must be greater than zero, got {value}")
    if num_layers <= 0:
        raise ValueError(f"num_layers must be greater than zero, got {num_layers}")
    if proj_size < 0:
        raise ValueError(f"proj_size should be a positive integer or zero to disable projections, got {proj_size}")
    if proj_size >= settings["hidden_size"]:
        raise ValueError(f"proj_size has to be smaller than hidden_size, got {proj_size}")


class RNNBase(Module):
    """What `RNN`, `LSTM` and `GRU` have in common: layers of one or two directions, each over the outputs of the last.

    Shapes: input (L, B, I), with batch_first (B, L, I), unbatched (L, I), or a PackedSequence -> output of the same
    kind with D * H in the place of I, where D = 2 if bidirectional, else 1 (the two directions' outputs side by side),
    and the last state (num_layers * D, B, H), unbatched without B. hx: the first state, zeros if not given.
    Parameters of layer k, with G gates: weight_ih_l{k} (G * H, I or D * H), weight_hh_l{k} (G * H, H), bias_ih_l{k} and
    bias_hh_l{k} (G * H,), then the same with "_reverse" for the second direction. All start uniform on +-1 / sqrt(H).
    dropout: on the outputs of every layer but the last, while training.
    """

    def __init__(
        self, mode: str, input_size: int, hidden_size: int, num_layers: int = 1, bias: bool = True,
        batch_first: bool = False, dropout: float = 0.0, bidirectional: bool = False, proj_size: int = 0,
        device: Any = None, dtype: Any = None,
    ) -> None:  # fmt: skip
        super().__init__()
        _check_settings(
            num_layers, dropout, proj_size, bias=bias, batch_first=batch_first, input_size=input_size,
            hidden_size=hidden_size,
        )  # fmt: skip
        if mode not in _MODES:
            raise ValueError(f"Unrecognized RNN mode: {mode}; use one of {', '.join(_MODES)}")
        self.mode, self.input_size, self.hidden_size, self.num_layers = mode, input_size, hidden_size, num_layers
        self.bias, self.batch_first, self.dropout = bias, batch_first, float(dropout)
        self.bidirectional, self.proj_size = bidirectional, proj_size
        self._step, gates, self._state_size = _MODES[mode]
        self._directions = ("", "_reverse") if bidirectional else ("",)
        rows, width = gates * hidden_size, proj_size or hidden_size
        for layer in range(num_layers):
            inputs = width * len(self._directions) if layer else input_size
            shapes: dict[str, tuple[int, ...]] = {"weight_ih": (rows, inputs), "weight_hh": (rows, width)}
            if bias:
                shapes |= {"bias_ih": (rows,), "bias_hh": (rows,)}
            if proj_size:
                shapes["weight_hr"] = (proj_size, hidden_size)
            for direction in self._directions:
                for name, shape in shapes.items():
                    param = Parameter(empty(shape, device=device, dtype=dtype))
                    self.register_parameter(f"{name}_l{layer}{direction}", param)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw all weights and biases anew."""
        _reset_uniformly(self, self.hidden_size)

    def flatten_parameters(self) -> None:
        """Nothing: the weights need no special place in memory here."""

    @property
    def all_weights(self) -> list[list[Parameter]]:
        """The parameters of each layer and direction."""
        ends = [f"_l{layer}{direction}" for layer in range(self.num_layers) for direction in self._directions]
        return [[w for w in self._weights(end) if w is not None] for end in ends]

    def forward(self, input: Any, hx: Any = None) -> tuple[Any, Any]:
        run = self._over_packed if isinstance(input, PackedSequence) else self._over_padded
        output, last = run(input, self._given_state(hx))
        return output, last if self._state_size > 1 else last[0]

    def _over_packed(
        self, input: PackedSequence, state: recurrent.State | None
    ) -> tuple[PackedSequence, recurrent.State]:
        self._check_input(input.data)
        if state is not None and input.sorted_indices is not None:
            state = tuple(s.index_select(1, input.sorted_indices) for s in state)
        data, last = self._through_layers(input.data, input.batch_sizes.tolist(), state)
        if input.unsorted_indices is not None:
            last = tuple(s.index_select(1, input.unsorted_indices) for s in last)
        return PackedSequence(data, *input[1:]), last

    def _over_padded(self, input: Tensor, state: recurrent.State | None) -> tuple[Tensor, recurrent.State]:
        self._check_dims(input, state)
        if input.ndim == 2:  # a batch of one
            at = 0 if self.batch_first else 1
            state = None if state is None else tuple(s.unsqueeze(1) for s in state)
            output, last = self._over_padded(input.unsqueeze(at), state)
            return output.squeeze(at), tuple(s.squeeze(1) for s in last)
        self._check_input(input)
        x = input.transpose(0, 1) if self.batch_first else input
        length, batch, width = x.shape
        if not length:
            raise RuntimeError(f"Expected sequence length to be larger than 0 in RNN, got {tuple(input.shape)}")
        data, last = self._through_layers(x.reshape(length * batch, width), [batch] * length, state)
        output = data.reshape(length, batch, data.shape[-1])
        return output.transpose(0, 1) if self.batch_first else output, last

    def _through_layers(
        self, data: Tensor, sizes: list[int], given: recurrent.State | None
    ) -> tuple[Tensor, recurrent.State]:
        """The outputs of the last layer, and the last states of all of them, from packed inputs."""
        initial = self._checked_state(given, data, sizes[0])
        finals: list[recurrent.State] = []
        for layer in range(self.num_layers):
            outputs = []
            for direction in self._directions:
                state = tuple(s[len(finals)] for s in initial)
                w_ih, w_hh, b_ih, b_hh, w_hr = self._weights(f"_l{layer}{direction}")
                from_input = linear(data, w_ih, b_ih)
                y, state = recurrent.scan(
                    self._step, from_input, sizes, state, w_hh, b_hh, w_hr, reverse=direction != ""
                )
                outputs.append(y)
                finals.append(state)
            data = cat(outputs, -1) if self.bidirectional else outputs[0]
            if layer < self.num_layers - 1:
                data = drop(data, self.dropout, self.training)
        return data, tuple(stack(states) for states in zip(*finals, strict=True))

    def _weights(self, end: str) -> tuple[Any, ...]:
        """The weights of one layer and direction; None for those that it lacks."""
        names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh", "weight_hr")
        return tuple(getattr(self, name + end, None) for name in names)

    # ---- checks ----------------------------------------------------------------------------------------------------

    def _given_state(self, hx: Any) -> recurrent.State | None:
        if hx is None:
            return None
        if self._state_size == 1:
            return (hx,)
        if not isinstance(hx, (list, tuple)) or len(hx) != 2:
            raise TypeError(f"LSTM: expected hx to be a tuple (h_0, c_0) of two Tensors, got {type(hx).__name__}")
        return tuple(hx)

    def _check_dims(self, input: Tensor, given: recurrent.State | None) -> None:
        if input.ndim not in (2, 3):
            raise ValueError(f"{self._get_name()}: Expected input to be 2D or 3D, got {input.ndim}D instead")
        for state in given or ():
            if state.ndim != input.ndim:
                kind = "batched" if input.ndim == 3 else "unbatched"
                raise RuntimeError(
                    f"For {kind} {input.ndim}-D input, hx should also be {input.ndim}-D but got {state.ndim}-D tensor"
                )

    def _check_input(self, input: Tensor) -> None:
        dtype = self.weight_ih_l0.dtype
        if input.dtype != dtype:
            raise ValueError(
                f"{self._get_name()}: input dtype ({input.dtype}) does not match weight dtype ({dtype}). Convert "
                f"input: input.to({dtype}), or convert model: model.to({input.dtype})"
            )
        if input.shape[-1] != self.input_size:
            raise RuntimeError(
                f"input.size(-1) must be equal to input_size. Expected {self.input_size}, got {input.shape[-1]}"
            )

    def _checked_state(self, state: recurrent.State | None, data: Tensor, batch: int) -> recurrent.State:
        """The first state (layers * directions, B, H): the one given if it fits, or zeros."""
        count = self.num_layers * len(self._directions)
        shapes = [(count, batch, self.proj_size or self.hidden_size), (count, batch, self.hidden_size)]
        if state is None:
            return tuple(zeros(shape, dtype=data.dtype, device=data.device) for shape in shapes[: self._state_size])
        for i, (x, shape) in enumerate(zip(state, shapes, strict=False)):
            if tuple(x.shape) != shape:
                which = "hidden" if self._state_size == 1 else f"hidden[{i}]"
                raise RuntimeError(f"Expected {which} size {shape}, got {list(x.shape)}")
            if x.dtype != data.dtype:
                raise RuntimeError(f"hx must have the dtype of the input, {data.dtype}, but got {x.dtype}")
        return state

    def extra_repr(self) -> str:
        unusual = {
            "proj_size": self.proj_size or None,
            "num_layers": self.num_layers if self.num_layers != 1 else None,
            "bias": None if self.bias else False,
            "batch_first": self.batch_first or None,
            "dropout": self.dropout or None,
            "bidirectional": self.bidirectional or None,
        }
        settings = "".join(f", {name}={value}" for name, value in unusual.items() if value is not None)
        return f"{self.input_size}, {self.hidden_size}{settings}"


class RNN(RNNBase):
    """h_t = tanh(x_t W_ih^T + b_ih + h_{t-1} W_hh^T + b_hh); nonlinearity="relu" takes relu in the place of tanh.

    Returns (output, h_n); shapes, parameters and settings as described at `RNNBase`. Source: Elman 1990.
    """

    def __init__(
        self, input_size: int, hidden_size: int, num_layers: int = 1, nonlinearity: str = "tanh", bias: bool = True,
        batch_first: bool = False, dropout: float = 0.0, bidirectional: bool = False, device: Any = None,
        dtype: Any = None,
    ) -> None:  # fmt: skip
        _check_nonlinearity(nonlinearity)
        super().__init__(
            f"RNN_{nonlinearity.upper()}", input_size, hidden_size, num_layers, bias, batch_first, dropout,
            bidirectional, device=device, dtype=dtype,
        )  # fmt: skip
        self.nonlinearity = nonlinearity


class LSTM(RNNBase):
    """Long short-term memory: c_t = f c_{t-1} + i g and h_t = o tanh(c_t), with gates i, f, g, o in this order.

    hx and the last state are pairs: (h_0, c_0) -> (output, (h_n, c_n)). Shapes, parameters and settings as described
    at `RNNBase`. proj_size=P: h_t is multiplied by weight_hr_l{k} (P, H), so that outputs and h have P numbers (Sak et
    al. 2014, arXiv:1402.1128). Source: Hochreiter and Schmidhuber 1997.
    """

    def __init__(
        self, input_size: int, hidden_size: int, num_layers: int = 1, bias: bool = True, batch_first: bool = False,
        dropout: float = 0.0, bidirectional: bool = False, proj_size: int = 0, device: Any = None, dtype: Any = None,
    ) -> None:  # fmt: skip
        super().__init__(
            "LSTM", input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional, proj_size, device,
            dtype,
        )  # fmt: skip


class GRU(RNNBase):
    """Gated recurrent unit: h_t = (1 - z) n + z h_{t-1}, with gates r, z, n in this order.

    Returns (output, h_n); shapes, parameters and settings as described at `RNNBase`. Source: Cho et al. 2014,
    arXiv:1406.1078.
    """

    def __init__(
        self, input_size: int, hidden_size: int, num_layers: int = 1, bias: bool = True, batch_first: bool = False,
        dropout: float = 0.0, bidirectional: bool = False, device: Any = None, dtype: Any = None,
    ) -> None:  # fmt: skip
        super().__init__(
            "GRU", input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional, device=device,
            dtype=dtype,
        )  # fmt: skip


def _check_nonlinearity(nonlinearity: str) -> None:
    if nonlinearity not in ("tanh", "relu"):
        raise ValueError(f"Unknown nonlinearity '{nonlinearity}'. Select from 'tanh' or 'relu'.")


# ---- one step --------------------------------------------------------------------------------------------------------


class RNNCellBase(Module):
    """What the cells have in common: one step of a layer.

    Shapes: input (B, I), hx (B, H), which is zeros if not given, or both without B -> h' of the shape of hx.
    Parameters, with G gates: weight_ih (G * H, I), weight_hh (G * H, H), bias_ih and bias_hh (G * H,). All start
    uniform on +-1 / sqrt(H).
    """

    bias_ih: Parameter | None
    bias_hh: Parameter | None

    def __init__(
        self, input_size: int, hidden_size: int, bias: bool, num_chunks: int, device: Any = None, dtype: Any = None
    ) -> None:
        super().__init__()
        self.input_size, self.hidden_size, self.bias = input_size, hidden_size, bias
        rows = num_chunks * hidden_size
        self.weight_ih = Parameter(empty(rows, input_size, device=device, dtype=dtype))
        self.weight_hh = Parameter(empty(rows, hidden_size, device=device, dtype=dtype))
        for name in ("bias_ih", "bias_hh"):
            self.register_parameter(name, Parameter(empty(rows, device=device, dtype=dtype)) if bias else None)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw all weights and biases anew."""
        _reset_uniformly(self, self.hidden_size)

    def _stepped(self, cell: Any, input: Tensor, *state: Tensor | None) -> Any:
        """`cell` of the input and the state, unbatched ones with a batch axis around it."""
        if input.ndim not in (1, 2):
            raise ValueError(f"{self._get_name()}: Expected input to be 1D or 2D, got {input.ndim}D instead")
        batched = input.ndim == 2
        hx = []
        for s in state:
            if s is None:
                s = zeros((*input.shape[:-1], self.hidden_size), dtype=input.dtype, device=input.device)
            elif s.ndim not in (1, 2):
                raise ValueError(f"{self._get_name()}: Expected hidden to be 1D or 2D, got {s.ndim}D instead")
            hx.append(s if batched else s.unsqueeze(0))
        result = cell(
            input if batched else input.unsqueeze(0), tuple(hx) if len(hx) > 1 else hx[0], self.weight_ih,
            self.weight_hh, self.bias_ih, self.bias_hh,
        )  # fmt: skip
        if batched:
            return result
        return tuple(s.squeeze(0) for s in result) if isinstance(result, tuple) else result.squeeze(0)

    def extra_repr(self) -> str:
        return f"{self.input_size}, {self.hidden_size}" + ("" if self.bias else ", bias=False")


class RNNCell(RNNCellBase):
    """h' = tanh(x W_ih^T + b_ih + h W_hh^T + b_hh), or relu of it. Shapes: `RNNCellBase`."""

    def __init__(
        self, input_size: int, hidden_size: int, bias: bool = True, nonlinearity: str = "tanh", device: Any = None,
        dtype: Any = None,
    ) -> None:  # fmt: skip
        _check_nonlinearity(nonlinearity)
        super().__init__(input_size, hidden_size, bias, 1, device, dtype)
        self.nonlinearity = nonlinearity

    def forward(self, input: Tensor, hx: Tensor | None = None) -> Tensor:
        cell = recurrent.rnn_tanh_cell if self.nonlinearity == "tanh" else recurrent.rnn_relu_cell
        return self._stepped(cell, input, hx)

    def extra_repr(self) -> str:
        return super().extra_repr() + ("" if self.nonlinearity == "tanh" else f", nonlinearity={self.nonlinearity}")


class LSTMCell(RNNCellBase):
    """(h', c') with c' = f c + i g and h' = o tanh(c'); hx is the pair (h, c). Shapes: `RNNCellBase`."""

    def __init__(
        self, input_size: int, hidden_size: int, bias: bool = True, device: Any = None, dtype: Any = None
    ) -> None:
        super().__init__(input_size, hidden_size, bias, 4, device, dtype)

    def forward(self, input: Tensor, hx: tuple[Tensor, Tensor] | None = None) -> tuple[Tensor, Tensor]:
        if hx is not None and (not isinstance(hx, (list, tuple)) or len(hx) != 2):
            raise TypeError(f"LSTMCell: expected hx to be a tuple (h, c) of two Tensors, got {type(hx).__name__}")
        return self._stepped(recurrent.lstm_cell, input, *(hx or (None, None)))


class GRUCell(RNNCellBase):
    """h' = (1 - z) n + z h. Shapes: `RNNCellBase`."""

    def __init__(
        self, input_size: int, hidden_size: int, bias: bool = True, device: Any = None, dtype: Any = None
    ) -> None:
        super().__init__(input_size, hidden_size, bias, 3, device, dtype)

    def forward(self, input: Tensor, hx: Tensor | None = None) -> Tensor:
        return self._stepped(recurrent.gru_cell, input, hx)
