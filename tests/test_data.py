"""Datasets, samplers and the DataLoader, beside PyTorch's."""

from __future__ import annotations

import copy
import subprocess
import sys
from collections import Counter, OrderedDict, namedtuple

import numpy as np
import pytest
import torch
import torch.utils.data as theirs

import tinygrad_edu as te
import tinygrad_edu.data as ours
from tinygrad_edu.random import Generator
from tinygrad_edu.tensor import Tensor, made

Point = namedtuple("Point", "x y")


def seeded(seed=0):
    return Generator().manual_seed(seed)


def columns(n=10):
    rng = np.random.default_rng(0)
    return rng.standard_normal((n, 3)).astype("float32"), np.arange(n)


class Squares(ours.Dataset):
    def __init__(self, n):
        self.n = n

    def __getitem__(self, index):
        return index * index

    def __len__(self):
        return self.n


class Stream(ours.IterableDataset):
    def __init__(self, n):
        self.n = n

    def __iter__(self):
        return iter(range(self.n))


def plain(x):
    """Tensors of either library as (dtype, numbers); containers as they are."""
    if isinstance(x, (Tensor, torch.Tensor)):
        return str(x.dtype).split(".")[-1], x.numpy().tolist()
    if isinstance(x, dict):
        return {k: plain(v) for k, v in x.items()}
    if isinstance(x, (list, tuple)) and not hasattr(x, "_fields"):
        return [plain(v) for v in x]
    return type(x)(*map(plain, x)) if hasattr(x, "_fields") else x


# ---- datasets --------------------------------------------------------------------------------------------------------


def test_tensor_dataset():
    x, y = columns()
    data = ours.TensorDataset(made(x), made(y))
    assert len(data) == 10
    row, label = data[3]
    assert (row._array == x[3]).all() and label.item() == 3
    assert len(ours.TensorDataset()) == 0
    for bad in ((made(x), made(y[:4])), (made(np.float32(1).reshape(())),)):
        with pytest.raises(ValueError, match=r"Size mismatch between tensors.*got shapes \("):
            ours.TensorDataset(*bad)


def test_subset_and_concatenation():
    joined = Squares(3) + Squares(4) + Squares(2)
    assert [joined[i] for i in range(9)] == [0, 1, 4, 0, 1, 4, 9, 0, 1]
    assert joined[-1] == 1 and joined[-9] == 0 and len(joined) == 9
    for bad in (9, -10):
        with pytest.raises(IndexError, match="out of range for a dataset of 9 samples"):
            joined[bad]
    subset = ours.Subset(ours.Subset(joined, [8, 2, 4, 6]), [3, 1])
    assert [subset[0], subset[1], len(subset)] == [9, 4, 2]
    x, y = columns()
    rows, labels = ours.Subset(ours.TensorDataset(made(x), made(y)), [5, 7, 9])[[2, 0]]
    assert labels.tolist() == [9, 5] and (rows._array == x[[9, 5]]).all()
    with pytest.raises(ValueError, match="empty iterable"):
        ours.ConcatDataset([])
    with pytest.raises(ValueError, match="does not support IterableDataset"):
        Squares(2) + Stream(2)


def test_datasets_say_what_a_subclass_lacks():
    with pytest.raises(NotImplementedError, match="Dataset must define __getitem__"):
        ours.Dataset()[0]
    with pytest.raises(NotImplementedError, match="IterableDataset must define __iter__"):
        iter(ours.IterableDataset())
    with pytest.raises(NotImplementedError, match="Sampler must define __iter__"):
        iter(ours.Sampler())


@pytest.mark.parametrize(
    "lengths", [[3, 7], [0.3, 0.7], [0.25, 0.25, 0.5], [0.33, 0.33, 0.34], [1.0], [4, 6, 0]], ids=str
)
def test_random_split(lengths):
    parts = ours.random_split(Squares(10), lengths, generator=seeded())
    assert [len(p) for p in parts] == [len(p) for p in theirs.random_split(range(10), lengths)]
    indices = [i for p in parts for i in p.indices]
    assert sorted(indices) == list(range(10)) and indices != sorted(indices)
    again = ours.random_split(Squares(10), lengths, generator=seeded())
    assert [p.indices for p in again] == [p.indices for p in parts]
    assert [p.indices for p in ours.random_split(Squares(10), lengths, generator=seeded(1))] != [
        p.indices for p in parts
    ]


def test_random_split_refuses_lengths_that_do_not_fit():
    with pytest.raises(ValueError, match=r"Sum of input lengths does not equal.*got \[3, 3\] for 10 samples"):
        ours.random_split(Squares(10), [3, 3])
    with pytest.raises(ValueError, match="Fraction at index 0 is not between 0 and 1"):
        ours.random_split(Squares(10), [1.2, -0.2])
    with pytest.warns(UserWarning, match="Length of split at index 1 is 0"):
        ours.random_split(Squares(1), [0.9, 0.1])


# ---- samplers --------------------------------------------------------------------------------------------------------


def test_random_sampler_gives_a_new_order_in_every_pass():
    sampler = ours.RandomSampler(range(50), generator=seeded())
    first, second = list(sampler), list(sampler)
    assert sorted(first) == sorted(second) == list(range(50)) and first != second
    assert [first, second] == [list(s) for s in [ours.RandomSampler(range(50), generator=seeded())] * 2]
    assert all(type(i) is int for i in first)


def test_random_sampler_of_more_or_fewer_samples():
    few = list(ours.RandomSampler(range(50), num_samples=7, generator=seeded()))
    assert len(set(few)) == len(few) == 7
    many = list(ours.RandomSampler(range(4), num_samples=10, generator=seeded()))
    assert sorted(many[:4]) == sorted(many[4:8]) == [0, 1, 2, 3] and len(many) == 10
    growing = [1, 2]
    sampler = ours.RandomSampler(growing)
    growing.append(3)
    assert len(sampler) == 3 and sorted(sampler) == [0, 1, 2]
    assert list(ours.RandomSampler([])) == list(ours.RandomSampler([], replacement=True)) == []


def test_draws_with_replacement_are_uniform():
    drawn = list(ours.RandomSampler(range(5), replacement=True, num_samples=10_000, generator=seeded()))
    assert all(abs(count - 2000) < 6 * 40 for count in Counter(drawn).values())  # 40 = sqrt(10000 * 0.2 * 0.8)
    assert sum(a == b for a, b in zip(drawn, drawn[1:], strict=False)) > 1000


def test_draws_come_from_the_generator_when_the_pass_begins():
    generator = seeded()
    loader = ours.DataLoader(Squares(20), batch_size=4, shuffle=True, generator=generator)
    first = iter(loader)
    state = generator.get_state()
    assert state.tolist() != seeded().get_state().tolist()
    list(first)
    assert generator.get_state().tolist() == state.tolist()


def test_the_default_generator_shuffles():
    te.manual_seed(7)
    a = list(ours.RandomSampler(range(30)))
    te.manual_seed(7)
    assert a == list(ours.RandomSampler(range(30))) != list(ours.RandomSampler(range(30)))


def test_subset_and_weighted_samplers():
    assert sorted(ours.SubsetRandomSampler([4, 8, 15], generator=seeded())) == [4, 8, 15]
    assert len(ours.SubsetRandomSampler([4, 8, 15])) == 3
    sampler = ours.WeightedRandomSampler([0.0, 1.0, 3.0], 8000, generator=seeded())
    counts = Counter(sampler)
    assert counts[0] == 0 and abs(counts[1] - 2000) < 6 * 39 and len(sampler) == 8000
    assert sorted(ours.WeightedRandomSampler(made(np.ones(4)), 4, replacement=False)) == [0, 1, 2, 3]


@pytest.mark.parametrize("n, size", [(10, 3), (9, 3), (2, 5), (0, 2), (5, 1)])
@pytest.mark.parametrize("drop_last", [False, True])
def test_batch_sampler(n, size, drop_last):
    found = ours.BatchSampler(ours.SequentialSampler(range(n)), size, drop_last)
    expected = theirs.BatchSampler(theirs.SequentialSampler(range(n)), size, drop_last)
    assert list(found) == list(expected) and len(found) == len(expected)


@pytest.mark.parametrize("make", [
    lambda m: m.BatchSampler(range(3), 0, False), lambda m: m.BatchSampler(range(3), 2.0, False),
    lambda m: m.BatchSampler(range(3), True, False), lambda m: m.BatchSampler(range(3), 2, 1),
    lambda m: m.RandomSampler(range(3), replacement=1), lambda m: m.RandomSampler(range(3), num_samples=0),
    lambda m: m.WeightedRandomSampler([1.0], 0), lambda m: m.WeightedRandomSampler([1.0], 1, replacement=1),
    lambda m: m.WeightedRandomSampler([[1.0]], 1),
])  # fmt: skip
def test_samplers_refuse_what_pytorchs_refuse(make):
    with pytest.raises((TypeError, ValueError)) as expected:
        make(theirs)
    with pytest.raises(expected.type, match=r"should be .*(=|got)"):
        make(ours)


def test_nothing_can_be_drawn_from_nothing():
    with pytest.raises(ValueError, match="cannot draw 3 samples from an empty dataset"):
        iter(ours.RandomSampler([], num_samples=3))


# ---- collating -------------------------------------------------------------------------------------------------------

BATCHES = {
    "tensors": lambda t: [t(np.full((2, 3), i, "float32")) for i in range(4)],
    "scalars": lambda t: [t(np.array(i)) for i in range(4)],
    "arrays": lambda t: [np.full((2,), i, "int16") for i in range(3)],
    "numpy numbers": lambda t: [np.float64(i) for i in range(3)],
    "integers": lambda t: [1, 2, 3],
    "floats": lambda t: [1.5, 2.5],
    "booleans": lambda t: [True, False],
    "strings": lambda t: ["a", "zażółć"],
    "bytes": lambda t: [b"a", b"b"],
    "tuples": lambda t: [(t(np.ones(2)), i, "x") for i in range(3)],
    "lists": lambda t: [[i, 2.0 * i] for i in range(3)],
    "nested": lambda t: [{"x": t(np.ones(2, "float32") * i), "y": (i, {"z": [0.5]})} for i in range(3)],
    "ordered": lambda t: [OrderedDict(b=i, a=1) for i in range(2)],
    "named": lambda t: [Point(i, t(np.ones(1))) for i in range(2)],
}


@pytest.mark.parametrize("name", BATCHES)
def test_default_collate_equals_pytorchs(name):
    found = ours.default_collate(BATCHES[name](lambda a: made(a.copy())))
    expected = theirs.default_collate(BATCHES[name](lambda a: torch.tensor(a)))
    assert plain(found) == plain(expected)
    assert type(found).__name__ == type(expected).__name__


@pytest.mark.parametrize("name", BATCHES)
def test_default_convert_equals_pytorchs(name):
    found = ours.default_convert(BATCHES[name](lambda a: made(a.copy())))
    expected = theirs.default_convert(BATCHES[name](lambda a: torch.tensor(a)))
    assert plain(found) == plain(expected)


def test_collating_keeps_gradients():
    x = made(np.array([1.0, 2.0]), requires_grad=True)
    ours.default_collate([x, x * 3]).backward(made(np.array([[1.0, 10.0], [2.0, 0.5]])))
    np.testing.assert_allclose(x.grad._array, [7.0, 11.5])


def test_what_cannot_be_collated():
    with pytest.raises(RuntimeError, match="stack expects each tensor to be equal size"):
        ours.default_collate([made(np.ones(2)), made(np.ones(3))])
    with pytest.raises(RuntimeError, match="should be of equal size"):
        ours.default_collate([(1, 2), (1,)])
    for bad in (None, object(), np.array(["a"])):
        with pytest.raises(TypeError, match="default_collate: batch must contain tensors.*collate_fn"):
            ours.default_collate([bad])


def test_a_mapping_that_cannot_be_made_from_a_dict_becomes_one():
    class Pair(dict):
        def __init__(self, a, b):
            super().__init__(a=a, b=b)

    assert plain(ours.default_collate([Pair(1, 2), Pair(3, 4)])) == {"a": ("int64", [1, 3]), "b": ("int64", [2, 4])}


# ---- the loader ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n, size", [(10, 4), (8, 4), (3, 5), (0, 2)])
@pytest.mark.parametrize("drop_last", [False, True])
def test_batches_in_order_equal_pytorchs(n, size, drop_last):
    x, y = columns(n)
    found = ours.DataLoader(ours.TensorDataset(made(x), made(y)), size, drop_last=drop_last)
    expected = theirs.DataLoader(theirs.TensorDataset(torch.tensor(x), torch.tensor(y)), size, drop_last=drop_last)
    assert len(found) == len(expected)
    assert plain(list(found)) == plain(list(expected))


def test_shuffling():
    x, y = columns(100)
    data = ours.TensorDataset(made(x), made(y))

    def passes(seed, count=2):
        loader = ours.DataLoader(data, 32, shuffle=True, generator=seeded(seed))
        return [[label for _, labels in loader for label in labels.tolist()] for _ in range(count)]

    first, second = passes(0)
    assert sorted(first) == sorted(second) == y.tolist() and len({tuple(first), tuple(second), tuple(y)}) == 3
    assert passes(0) == [first, second] and passes(1)[0] != first
    for rows, labels in ours.DataLoader(data, 32, shuffle=True):
        assert (rows._array == x[labels._array]).all()


class Counting(ours.TensorDataset):
    """Counts how often samples are asked for."""

    asked = 0

    def __getitem__(self, index):
        self.asked += 1
        return super().__getitem__(index)


def test_the_one_indexing_of_a_tensor_dataset_gives_what_collating_its_samples_gives():
    x, y = columns(20)
    tensors = made(x), made(y)
    fast, slow = ours.TensorDataset(*tensors), Counting(*tensors)  # a derived class may change its samples
    indices = [13, 2, 17, 5, 5, 11]
    for a, b in ((fast, slow), (ours.Subset(fast, indices), ours.Subset(slow, indices))):
        assert plain(list(ours.DataLoader(a, 4))) == plain(list(ours.DataLoader(b, 4)))
    assert slow.asked == 26
    batch = next(iter(ours.DataLoader(fast, 4, collate_fn=lambda samples: samples)))
    assert isinstance(batch, list) and isinstance(batch[0], tuple) and len(batch) == 4


def test_getitems_is_asked_for_whole_batches():
    class Several(Squares):
        def __getitems__(self, indices):
            asked.append(indices)
            return [self[i] for i in indices]

    asked = []
    batches = list(ours.DataLoader(ours.Subset(ours.Subset(Several(9), range(1, 9)), [0, 2, 4, 6, 7]), 2))
    assert asked == [[1, 3], [5, 7], [8]]
    assert [b.tolist() for b in batches] == [[1, 9], [25, 49], [64]]


def test_a_derived_subset_may_change_its_samples():
    class Negative(ours.Subset):
        def __getitem__(self, index):
            return -super().__getitem__(index)

    assert [b.tolist() for b in ours.DataLoader(Negative(Squares(4), [1, 2, 3]), 2)] == [[-1, -4], [-9]]


def test_samplers_of_ones_own():
    def run(**options):
        return [b.tolist() for b in ours.DataLoader(Squares(10), **options)]

    assert run(sampler=[3, 1, 2], batch_size=2) == [[9, 1], [4]]
    assert run(batch_sampler=[[1], [2, 3, 4]]) == [[1], [4, 9, 16]]
    loader = ours.DataLoader(Squares(10), batch_sampler=ours.BatchSampler(range(10), 4, True))
    assert len(loader) == 2 and loader.batch_size is None


def test_without_batches():
    assert list(ours.DataLoader(Squares(3), batch_size=None)) == [0, 1, 4]
    loader = ours.DataLoader([np.ones(2), np.zeros(2)], batch_size=None)
    assert [plain(x) for x in loader] == [("float64", [1.0, 1.0]), ("float64", [0.0, 0.0])] and len(loader) == 2


def test_streams():
    def run(n, **options):
        return [b.tolist() for b in ours.DataLoader(Stream(n), **options)]

    assert run(5, batch_size=2) == [[0, 1], [2, 3], [4]]
    assert run(5, batch_size=2, drop_last=True) == [[0, 1], [2, 3]]
    assert list(ours.DataLoader(Stream(3), batch_size=None)) == [0, 1, 2]
    with pytest.raises(TypeError):
        len(ours.DataLoader(Stream(3)))

    class Sized(Stream):
        def __len__(self):
            return self.n

    for options, n in (({"batch_size": 2}, 3), ({"batch_size": 2, "drop_last": True}, 2), ({"batch_size": None}, 5)):
        assert len(ours.DataLoader(Sized(5), **options)) == n


@pytest.mark.parametrize("options", [
    {"num_workers": -1}, {"timeout": -1}, {"batch_size": 0}, {"batch_size": None, "drop_last": True},
    {"sampler": [1], "shuffle": True}, {"batch_sampler": [[1]], "batch_size": 2},
    {"batch_sampler": [[1]], "shuffle": True}, {"batch_sampler": [[1]], "sampler": [0]},
    {"batch_sampler": [[1]], "drop_last": True},
], ids=str)  # fmt: skip
def test_options_that_exclude_each_other_are_refused_as_in_pytorch(options):
    with pytest.raises(ValueError) as expected:
        theirs.DataLoader(range(4), **options)
    with pytest.raises(ValueError) as found:
        ours.DataLoader(range(4), **options)
    assert str(found.value)[:35] == str(expected.value)[:35]


@pytest.mark.parametrize("options", [{"shuffle": True}, {"sampler": [1]}, {"batch_sampler": [[1]]}], ids=str)
def test_streams_have_no_other_order(options):
    with pytest.raises(ValueError, match="DataLoader with IterableDataset: expected unspecified"):
        ours.DataLoader(Stream(3), **options)


def test_options_about_workers_are_accepted():
    loader = ours.DataLoader(
        Squares(4), 2, num_workers=4, pin_memory=True, persistent_workers=True, prefetch_factor=2, timeout=5,
        worker_init_fn=print, multiprocessing_context="spawn",
    )  # fmt: skip
    assert [b.tolist() for b in loader] == [[0, 1], [4, 9]]
    assert ours.get_worker_info() is None


def test_a_loader_can_be_copied():
    x, y = columns()
    loader = ours.DataLoader(ours.Subset(ours.TensorDataset(made(x), made(y)), [1, 2, 3]), 2)
    assert plain(list(copy.deepcopy(loader))) == plain(list(loader))


def test_the_loader_lies_where_pytorch_has_it():
    code = (
        "import tinygrad_edu.utils.data as d; import tinygrad_edu.data as o\n"
        "from tinygrad_edu.utils.data import DataLoader, Dataset, random_split\n"
        "assert {n for n in vars(o) if n[0].isupper()} <= set(vars(d)) and d.DataLoader is o.DataLoader"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
