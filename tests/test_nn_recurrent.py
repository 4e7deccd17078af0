"""Recurrent layers, their cells, and batches of sequences of different lengths, beside PyTorch's."""

from __future__ import annotations

import copy
import math
import re

import numpy as np
import pytest
import torch
from twin import close, compare, in_both, normal, same_error, tensors

import tinygrad_edu as tg
from tinygrad_edu import nn
from tinygrad_edu.nn.utils import rnn as ours_rnn

pytestmark = pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN:UserWarning")
DTYPES = ["float32", "float64"]
LENGTH, BATCH, INPUTS, HIDDEN = 5, 3, 2, 4
SETTINGS = [
    {},
    {"bias": False},
    {"batch_first": True},
    {"num_layers": 2},
    {"bidirectional": True},
    {"num_layers": 3, "bidirectional": True, "batch_first": True, "bias": False},
]
LAYERS = [
    *(("RNN", s) for s in [*SETTINGS, {"nonlinearity": "relu", "num_layers": 2}]),
    *(("LSTM", s) for s in [*SETTINGS, {"proj_size": 3}, {"proj_size": 2, "num_layers": 2, "bidirectional": True}]),
    *(("GRU", s) for s in SETTINGS),
]


def layer(name, settings):
    return lambda lib: getattr(lib.nn, name)(INPUTS, HIDDEN, **settings)


def first_states(name, settings, *batch):
    """Arrays of the first hidden state, and of the cell state for an LSTM."""
    rows = settings.get("num_layers", 1) * (2 if settings.get("bidirectional") else 1)
    h = normal(rows, *batch, settings.get("proj_size") or HIDDEN)
    return [h, normal(rows, *batch, HIDDEN)] if name == "LSTM" else [h]


def run(lib, module, x, *hx):
    return module(x, hx if len(hx) == 2 else hx[0] if hx else None)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name, settings", LAYERS, ids=str)
def test_a_layer(name, settings, dtype):
    shape = (BATCH, LENGTH, INPUTS) if settings.get("batch_first") else (LENGTH, BATCH, INPUTS)
    states = first_states(name, settings, BATCH)
    compare(layer(name, settings), run, [normal(*shape), *states], dtype)


@pytest.mark.parametrize("name, settings", [LAYERS[0], LAYERS[11], *LAYERS[14:16]], ids=str)
def test_a_layer_without_a_first_state_and_without_a_batch(name, settings):
    compare(layer(name, settings), run, [normal(LENGTH, BATCH, INPUTS)], "float64")
    compare(layer(name, settings), run, [normal(LENGTH, INPUTS)], "float64")
    compare(layer(name, settings), run, [normal(LENGTH, INPUTS), *first_states(name, settings)], "float64")
    compare(layer(name, settings), run, [normal(1, 1, INPUTS)], "float64")
    compare(layer(name, settings), run, [normal(LENGTH, 0, INPUTS)], "float64")


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("enforce_sorted", [True, False])
@pytest.mark.parametrize("name, settings", [
    ("RNN", {}), ("LSTM", {"num_layers": 2, "bidirectional": True}), ("LSTM", {"proj_size": 3, "bidirectional": True}),
    ("GRU", {"bidirectional": True, "batch_first": True}),
])  # fmt: skip
def test_a_layer_over_packed_sequences(name, settings, enforce_sorted, dtype):
    lengths = [5, 3, 3, 1] if enforce_sorted else [3, 1, 5, 3]

    def call(lib, module, x, *hx):
        packed = lib.nn.utils.rnn.pack_padded_sequence(x, lengths, enforce_sorted=enforce_sorted)
        output, state = module(packed, hx if len(hx) == 2 else hx[0])
        assert type(output) is lib.nn.utils.rnn.PackedSequence
        padded, found = lib.nn.utils.rnn.pad_packed_sequence(output)
        assert found.tolist() == lengths
        return output, padded, state

    compare(layer(name, settings), call, [normal(LENGTH, 4, INPUTS), *first_states(name, settings, 4)], dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("name, settings", [
    ("RNNCell", {}), ("RNNCell", {"nonlinearity": "relu"}), ("LSTMCell", {}), ("GRUCell", {}),
])  # fmt: skip
def test_a_cell(name, settings, bias, dtype):
    def make(lib):
        return getattr(lib.nn, name)(INPUTS, HIDDEN, bias=bias, **settings)

    states = 2 if name == "LSTMCell" else 1
    for batch in ((BATCH,), ()):
        compare(make, run, [normal(*batch, INPUTS)], dtype)
        compare(make, run, [normal(*batch, INPUTS), *(normal(*batch, HIDDEN) for _ in range(states))], dtype)


def test_a_layer_is_its_cell_step_by_step():
    """The meaning of the layers, in other words: what a reader would write by hand."""
    x = tg.tensor(normal(LENGTH, BATCH, INPUTS))
    for name in ("RNN", "LSTM", "GRU"):
        many = getattr(nn, name)(INPUTS, HIDDEN).double()
        cell = getattr(nn, f"{name}Cell")(INPUTS, HIDDEN).double()
        cell.load_state_dict({key.removesuffix("_l0"): value for key, value in many.state_dict().items()})
        output, last = many(x)
        state, steps = None, []
        for t in range(LENGTH):
            state = cell(x[t], state)
            steps.append(state[0] if name == "LSTM" else state)
        np.testing.assert_allclose(output.detach().numpy(), tg.stack(steps).detach().numpy(), rtol=1e-13)
        h, h_by_cell = (last[0], state[0]) if name == "LSTM" else (last, state)
        np.testing.assert_allclose(h[0].detach().numpy(), h_by_cell.detach().numpy(), rtol=1e-13)


def test_weights_start_uniform_within_the_root_of_the_hidden_size():
    for module in (nn.LSTM(30, 64, num_layers=2), nn.GRUCell(30, 64)):
        for name, param in module.named_parameters():
            values, bound = param.detach().numpy(), 1 / 8
            assert abs(values).max() <= bound and abs(values.mean()) < bound / 5, name
            assert abs(values.std() - bound / math.sqrt(3)) < bound / 10, name


def test_dropout_acts_between_layers_while_training():
    x = tg.tensor(normal(LENGTH, BATCH, INPUTS).astype("float32"))
    with pytest.warns(UserWarning, match="num_layers greater than 1"):
        alone = nn.RNN(INPUTS, HIDDEN, dropout=0.5)
    assert (alone(x)[0].detach().numpy() == alone.eval()(x)[0].detach().numpy()).all()
    module = nn.RNN(INPUTS, HIDDEN, num_layers=2, nonlinearity="relu", dropout=1.0)
    assert repr(module) == "RNN(2, 4, num_layers=2, dropout=1.0)"
    without = copy.deepcopy(module)
    with tg.no_grad():
        without.weight_ih_l1.zero_()  # what dropping all that the first layer gives amounts to
    np.testing.assert_allclose(module(x)[0].detach().numpy(), without(x)[0].detach().numpy(), rtol=1e-6)
    assert not np.allclose(module.eval()(x)[0].detach().numpy(), without(x)[0].detach().numpy())


def test_what_surrounds_the_weights():
    module = nn.LSTM(INPUTS, HIDDEN, num_layers=2, bidirectional=True)
    module.flatten_parameters()
    twin = torch.nn.LSTM(INPUTS, HIDDEN, num_layers=2, bidirectional=True)
    shapes = [[tuple(p.shape) for p in group] for group in twin.all_weights]
    assert [[tuple(p.shape) for p in group] for group in module.all_weights] == shapes
    assert module.mode == twin.mode and isinstance(module, nn.RNNBase)
    clone = copy.deepcopy(module)
    x = tg.randn(LENGTH, BATCH, INPUTS)
    assert (clone(x)[0].detach().numpy() == module(x)[0].detach().numpy()).all()


def zeros(lib, *shape):
    return lib.zeros(*shape)


X = (LENGTH, BATCH, INPUTS)


@pytest.mark.parametrize("make, match", [
    (lambda m: m.nn.RNN(2, 4)(zeros(m, 5)), "2D or 3D, got 1D"),
    (lambda m: m.nn.RNN(2, 4)(zeros(m, 5, 3, 1)), "Expected 2, got 1"),
    (lambda m: m.nn.LSTM(2, 4)(zeros(m, 5, 3, 2).double()), r"does not match weight dtype"),
    (lambda m: m.nn.GRU(2, 4)(zeros(m, 0, 3, 2)), "sequence length to be larger than 0"),
    (lambda m: m.nn.RNN(2, 4)(zeros(m, *X), zeros(m, 1, 3, 5)), r"hidden size \(1, 3, 4\), got \[1, 3, 5\]"),
    (lambda m: m.nn.RNN(2, 4)(zeros(m, *X), zeros(m, 3, 4)), "batched 3-D input, hx should also be 3-D"),
    (lambda m: m.nn.RNN(2, 4)(zeros(m, 5, 2), zeros(m, 1, 3, 4)), "unbatched 2-D input, hx should also be 2-D"),
    (lambda m: m.nn.RNN(2, 4)(zeros(m, *X), zeros(m, 1, 3, 4).double()), "dtype"),
    (lambda m: m.nn.LSTM(2, 4)(zeros(m, *X), (zeros(m, 1, 3, 4), zeros(m, 1, 3, 5))), r"hidden\[1\] size"),
    (lambda m: m.nn.LSTM(2, 4)(zeros(m, *X), (zeros(m, 3, 4), zeros(m, 3, 4))), "hx should also be 3-D"),
    (lambda m: m.nn.RNN(2, 4, nonlinearity="x"), "Unknown nonlinearity 'x'"),
    (lambda m: m.nn.LSTM(2, 4, proj_size=4), "smaller than hidden_size"),
    (lambda m: m.nn.LSTM(2, 4, proj_size=-1), "positive integer or zero"),
    (lambda m: m.nn.LSTM(2, 4, dropout=2), r"range \[0, 1\]"),
    (lambda m: m.nn.LSTM(2, 4, dropout=True), r"range \[0, 1\]"),
    (lambda m: m.nn.LSTM(2, 4, num_layers=0), "num_layers must be greater than zero"),
    (lambda m: m.nn.LSTM(2, 0), "hidden_size must be greater than zero"),
    (lambda m: m.nn.LSTM(2, 4.0), "hidden_size should be of type int, got: float"),
    (lambda m: m.nn.LSTM(2, 4, bias=1), "bias should be of type bool, got: int"),
    (lambda m: m.nn.RNNBase("x", 2, 4), "RNN mode: x"),
    (lambda m: m.nn.RNNCell(2, 4)(zeros(m, *X)), "1D or 2D, got 3D"),
    (lambda m: m.nn.GRUCell(2, 4)(zeros(m, 3, 2), zeros(m, 3, 4, 1)), "hidden to be 1D or 2D, got 3D"),
    (lambda m: m.nn.LSTMCell(2, 4)(zeros(m, 3, 2), zeros(m, 3, 4)), "tuple"),
])  # fmt: skip
def test_misuse_is_refused_as_in_torch(make, match):
    assert re.search(match, same_error(make))


def test_an_lstm_needs_both_states():
    with pytest.raises(TypeError, match=r"tuple \(h_0, c_0\) of two Tensors, got Tensor"):
        nn.LSTM(2, 4)(tg.zeros(*X), tg.zeros(1, 3, 4))


# ---- sequences of different lengths ----------------------------------------------------------------------------------


@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize("rest", [(), (2,), (2, 3)])
def test_packing_and_padding(batch_first, rest):
    lengths = [2, 4, 1, 4]
    arrays = [normal(n, *rest) for n in lengths]
    cotangent = normal(4, 4, *rest)

    def call(lib):
        r = lib.nn.utils.rnn
        given = tensors(lib, arrays, "float64")
        padded = r.pad_sequence(given, batch_first=batch_first, padding_value=-1.5)
        left = r.pad_sequence(given, batch_first=batch_first, padding_side="left")
        packed = r.pack_padded_sequence(padded, lengths, batch_first=batch_first, enforce_sorted=False)
        again = r.pack_sequence(given, enforce_sorted=False)
        back, found = r.pad_packed_sequence(packed, batch_first=batch_first, padding_value=7.0, total_length=4)
        longer, _ = r.pad_packed_sequence(again, total_length=6)
        split = r.unpack_sequence(packed)
        unpadded = r.unpad_sequence(padded.clone(), lib.tensor(lengths), batch_first=batch_first)  # torch turns it over
        lib.autograd.backward([left, back], [lib.tensor(cotangent)] * 2)
        gradients = [x.grad for x in given]
        return [padded, left, *packed, *again, back, found, longer, *split, *unpadded, *gradients]

    for got, expected in zip(call(tg), call(torch), strict=True):
        assert got.dtype.name == str(expected.dtype).removeprefix("torch.")
        assert tuple(got.shape) == tuple(expected.shape)
        assert (got.detach().numpy() == expected.detach().numpy()).all()


def test_a_packed_sequence():
    def make(lib):
        packed = lib.nn.utils.rnn.pack_sequence([lib.tensor([4, 5, 6]), lib.tensor([7]), lib.tensor([8, 9])], False)
        same = packed.to("cpu") is packed and packed.long() is packed and packed.cpu() is packed
        others = [packed.float(), packed.double(), packed.half(), packed.int(), packed.short(), packed.byte()]
        pair = lib.nn.utils.rnn.PackedSequence((packed.data, packed.batch_sizes))
        return f"{packed} {packed.is_cuda} {same} {others[0]} {pair} {[o.data.dtype for o in others]}"

    assert " ".join(make(tg).split()) == " ".join(make(torch).replace("torch.", "tinygrad_edu.").split())
    with pytest.raises(RuntimeError):
        ours_rnn.pack_sequence([tg.ones(2)]).cuda()
    assert ours_rnn.invert_permutation(None) is None
    sequences = ours_rnn.unpad_sequence(tg.arange(6).reshape(3, 2), [3, 1])
    assert [s.tolist() for s in sequences] == [[0, 2, 4], [1]]


@pytest.mark.parametrize("make, match", [
    (lambda m, r: r.pack_padded_sequence(zeros(m, 4, 3), [2, 3, 1]), "decreasing order when `enforce_sorted` is True"),
    (lambda m, r: r.pack_padded_sequence(zeros(m, 4, 3), [4, 3, 0]), "greater than 0, but found 0"),
    (lambda m, r: r.pack_padded_sequence(zeros(m, 4, 3), [4, 3]), "batch_size, but got 2"),
    (lambda m, r: r.pack_padded_sequence(zeros(m, 0, 3), [1, 1, 1]), "empty tensors"),
    (lambda m, r: r.pack_padded_sequence(zeros(m, 4), [1]), "2 or more dimensions"),
    (lambda m, r: r.pack_padded_sequence(zeros(m, 4, 1), m.tensor([[4]])), "should be 1D"),
    (lambda m, r: r.pad_packed_sequence(r.pack_sequence([zeros(m, 4)]), total_length=2), "got total_length=2"),
    (lambda m, r: r.pad_sequence([]), "empty list"),
    (lambda m, r: r.pad_sequence(3), "Expected iterable"),
    (lambda m, r: r.pad_sequence([zeros(m, 2, 3), zeros(m, 3, 2)]), "must match"),
    (lambda m, r: r.pad_sequence([m.tensor(1.0)]), "0-d"),
    (lambda m, r: r.pad_sequence([zeros(m, 3)], padding_side="up"), "one of left or right, but got up"),
    (lambda m, r: r.pad_sequence([zeros(m, 2), [1]]), "element 1"),
    (lambda m, r: r.PackedSequence(zeros(m, 2)), r"\(data, batch_sizes\)"),
])  # fmt: skip
def test_sequences_that_cannot_be_packed_are_refused(make, match):
    assert re.search(match, same_error(lambda lib: make(lib, lib.nn.utils.rnn)))


def test_lengths_beyond_the_input_are_refused():
    with pytest.raises(RuntimeError, match=r"the length 6 is beyond the 4 steps of \(4, 3, 2\)"):
        ours_rnn.pack_padded_sequence(tg.zeros(4, 3, 2), [6, 3, 1])


# ---- training --------------------------------------------------------------------------------------------------------


def test_a_character_lstm_learns_as_in_torch():
    """50 steps of a small language model over packed words, from the same weights: the same losses."""
    words = ["anna", "ewa", "jan", "zofia", "karol", "magda", "piotr", "ola", "ala", "tomasz", "irena", "adam"]
    letters = {c: i for i, c in enumerate("." + "abcdefghijklmnoprstuwyz")}
    ids = [[letters[c] for c in "." + w + "."] for w in words]

    def make(lib):
        class Model(lib.nn.Module):
            def __init__(self):
                super().__init__()
                self.emb = lib.nn.Embedding(len(letters), 8)
                self.lstm = lib.nn.LSTM(8, 24, num_layers=2, batch_first=True)
                self.head = lib.nn.Linear(24, len(letters))

            def forward(self, x):
                y, _ = self.lstm(x._replace(data=self.emb(x.data)))
                return self.head(y.data)

        return Model()

    def losses(lib, model):
        optimizer = lib.optim.Adam(model.parameters(), lr=1e-2)
        rng, found = np.random.default_rng(0), []
        for _ in range(50):
            batch = [ids[i] for i in rng.permutation(len(ids))[:6]]
            x, y = (
                lib.nn.utils.rnn.pack_sequence([lib.tensor(s[a:b]) for s in batch], enforce_sorted=False)
                for a, b in ((0, -1), (1, None))
            )
            loss = lib.nn.functional.cross_entropy(model(x), y.data)
            optimizer.zero_grad()
            loss.backward()
            lib.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            found.append(loss.item())
        return found

    twin, model = in_both(make)
    expected, found = losses(torch, twin), losses(tg, model)
    assert expected[-1] < 0.7 * expected[0]
    np.testing.assert_allclose(found, expected, rtol=1e-4)
    close(model.lstm.weight_hh_l1, twin.lstm.weight_hh_l1, "float32")
