"""Indexing, views and assignment: what the op table does not show."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import tinygrad_edu as tg
from tinygrad_edu.ops.indexing import add_rows


def numbers(*shape, requires_grad=False):
    """0, 1, 2, ... in this shape."""
    return tg.arange(float(np.prod(shape, dtype=int))).reshape(shape).requires_grad_(requires_grad)


@pytest.mark.parametrize(
    "view",
    [
        lambda x: x[1],
        lambda x: x[..., 0],
        lambda x: x[:, None, ::2],
        lambda x: x[1, 2],
        lambda x: x.view(-1),
        lambda x: x.T,
        lambda x: x.unsqueeze(0),
        lambda x: x.split(2, 1)[1],
        lambda x: x.unbind(1)[2],
        lambda x: x.diagonal(1),
        lambda x: x.narrow(1, 1, 2),
    ],
)
def test_a_view_writes_into_the_memory_it_shows(view):
    x, y = numbers(3, 4), torch.arange(12.0).reshape(3, 4)
    for t in (x, y):
        part = view(t)
        part[...] = -1.0
        part += 0.5
    assert x.tolist() == y.tolist()
    assert x._version == 2


@pytest.mark.parametrize("pick", [[0, 1], np.array([0, 1]), [True, False, True], ([0, 1], slice(0, 2))])
def test_arrays_and_masks_give_copies(pick):
    x = numbers(3, 4)
    part = x[pick]
    part.zero_()
    assert x.tolist() == numbers(3, 4).tolist() and x._version == 0


def test_a_list_is_an_array_of_indices_also_when_it_holds_lists():
    x = numbers(3, 4)
    assert x[[0, 2]].tolist() == x[tg.tensor([0, 2])].tolist()
    assert x[[[0, 2], [1, 1]]].shape == (2, 2, 4)
    assert x[range(2)].tolist() == x[:2].tolist()


@pytest.mark.parametrize("index", [np.array([1], np.uint8), np.array([0.0]), "1", {1}, b"1"])
def test_what_is_not_an_index_is_refused(index):
    with pytest.raises(IndexError, match="int64, int32 or bool|only integers, slices"):
        numbers(3, 4)[index]


@pytest.mark.parametrize(
    "pick",
    [
        lambda x, i: x[i],
        lambda x, i: x[:, i],
        lambda x, i: x[i, i],
        lambda x, i: x.index_select(0, i),
        lambda x, i: x.gather(0, i.reshape(1, 2)),
        lambda x, i: x.take(i),
        lambda x, i: x.index_add(0, i, x[:2]),
        lambda x, i: x.scatter_add(0, i.reshape(1, 2), x),
        lambda x, i: x.scatter(0, i.reshape(1, 2), x),
        lambda x, i: x.index_put((i,), x[:2]),
    ],
)
def test_a_change_of_the_index_after_its_use_is_noticed(pick):
    x, i = numbers(3, 4, requires_grad=True), tg.tensor([0, 2])
    y = pick(x, i)
    i[0] = 1
    with pytest.raises(RuntimeError, match="saved for backward was changed in place"):
        y.sum().backward()


@pytest.mark.parametrize("pick", [lambda x, m: x[m], lambda x, m: x.masked_select(m)])
def test_a_mask_may_change_after_its_use(pick):
    x, mask = numbers(4, requires_grad=True), tg.tensor([True, False, False, True])
    y = pick(x, mask)
    mask[:] = False
    y.sum().backward()
    assert x.grad.tolist() == [1.0, 0.0, 0.0, 1.0]


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, np.int64])
@pytest.mark.parametrize("n, width", [(0, 3), (40, 0), (40, 1), (300, 7)])
def test_rows_with_the_same_index_add_up(dtype, n, width):
    rng = np.random.default_rng(0)
    index, rows = rng.integers(0, 11, n), rng.integers(-9, 9, (n, width)).astype(dtype)
    expected = np.zeros((13, width), dtype)
    for i, row in zip(index, rows, strict=True):
        expected[i] += row
    found = add_rows(np, 13, index, rows)
    assert found.dtype == dtype
    np.testing.assert_array_equal(found, expected)


def test_gradients_of_a_repeated_index_add_up_as_in_torch():
    rng = np.random.default_rng(0)
    weight, ids, seed = rng.standard_normal((50, 8)), rng.integers(0, 50, (4, 96)), rng.standard_normal((4, 96, 8))
    w, v = tg.tensor(weight, requires_grad=True), torch.tensor(weight, requires_grad=True)
    w[tg.tensor(ids)].backward(tg.tensor(seed))
    v[torch.tensor(ids)].backward(torch.tensor(seed))
    np.testing.assert_allclose(w.grad.numpy(), v.grad.numpy(), rtol=1e-12)


def test_numbers_that_do_not_fit_are_not_assigned():
    x = tg.zeros(2, dtype=tg.uint8)
    x[0] = -1
    for value in (300, float("nan"), float("inf")):
        with pytest.raises(RuntimeError, match="without overflow"):
            x[1] = value
    with pytest.raises(TypeError, match="list"):
        x[0] = [1]
    assert x.tolist() == [255, 0]


def test_iteration_length_and_membership():
    x = numbers(2, 3, requires_grad=True)
    assert len(x) == 2 and [row.tolist() for row in x] == x.tolist()
    first, second = x
    (first * second).sum().backward()
    assert x.grad.tolist() == [[3.0, 4.0, 5.0], [0.0, 1.0, 2.0]]
    assert 4 in x and 4.5 not in x and tg.tensor([9.0, 1.0, 9.0]) in x
    for use in (len, iter):
        with pytest.raises(TypeError, match="0-d tensor"):
            use(tg.tensor(1.0))


def test_values_and_indices_by_name():
    for found in (tg.sort(numbers(3)), numbers(3).topk(2), numbers(3).kthvalue(1)):
        values, indices = found
        assert found.values is values and found.indices is indices


def test_arguments_by_name():
    x = numbers(2, 3)
    for given, expected in [
        (x.reshape(shape=(3, 2)), x.reshape(3, 2)),
        (x.view(size=(3, 2)), x.view(3, 2)),
        (x.permute(dims=(1, 0)), x.T),
        (x.expand(size=(2, 2, 3)), x.expand(2, 2, 3)),
        (x.repeat(repeats=(2, 1)), x.repeat(2, 1)),
        (x.tile(dims=(2,)), x.tile(2)),
        (x.flip(dims=(0,)), x.flip(0)),
        (tg.cat([x, x], axis=1), tg.cat([x, x], 1)),
        (tg.stack([x, x], axis=1), tg.stack([x, x], 1)),
        (x.sort(axis=0).values, x.sort(0).values),
        (tg.split(x, 1, axis=1)[0], x[:, :1]),
    ]:
        assert given.tolist() == expected.tolist()


@pytest.mark.parametrize("function", [tg.reshape, tg.gather, tg.sort, tg.split, tg.nn.functional.one_hot])
def test_what_is_not_a_tensor_is_refused(function):
    with pytest.raises(TypeError, match=f"{function.__name__}.*must be Tensor, not list"):
        function([1.0, 2.0], 0)


def test_bits_read_as_another_dtype():
    x = tg.tensor([[1.0, -2.0]])
    bits = x.view(tg.int32)
    assert bits.tolist() == torch.tensor([[1.0, -2.0]]).view(torch.int32).tolist()
    bits[0, 0] = 0
    assert x.tolist() == [[0.0, -2.0]] and x._version == 1
    assert x.view(tg.uint8).shape == (1, 8) and x.view(tg.float64).shape == (1, 1)
    with pytest.raises(RuntimeError, match="cannot be read as tinygrad_edu.float64"):
        tg.zeros(3).view(tg.float64)


def test_scatter_that_multiplies_has_no_gradient():
    x, index = numbers(3, requires_grad=True), tg.tensor([0, 0])
    with pytest.raises(RuntimeError, match="has no gradient"):
        x.scatter(0, index, 2.0, reduce="multiply")
    assert x.detach().scatter(0, index + 1, 2.0, reduce="multiply").tolist() == [0.0, 4.0, 2.0]
    with pytest.raises(RuntimeError, match="either add or multiply, got 'mean'"):
        x.scatter(0, index, 2.0, reduce="mean")
