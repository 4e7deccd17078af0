"""Datasets: indexed collections of samples, or streams of them."""

from __future__ import annotations

import math
import warnings
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate
from typing import Any, Generic, TypeVar

from ..random import Generator, randperm
from ..tensor import Tensor

T_co = TypeVar("T_co", covariant=True)


class Dataset(Generic[T_co]):
    """A collection of samples: a subclass defines `__getitem__(index)` and `__len__()`.

    It may define `__getitems__(indices) -> list of samples` as well, if it can fetch several at once faster.
    """

    def __getitem__(self, index: Any) -> T_co:
        raise NotImplementedError(f"{type(self).__name__} must define __getitem__")

    def __add__(self, other: Dataset[Any]) -> ConcatDataset:
        return ConcatDataset([self, other])


class IterableDataset(Dataset[T_co]):
    """A stream of samples: a subclass defines `__iter__`."""

    def __iter__(self) -> Iterator[T_co]:
        raise NotImplementedError(f"{type(self).__name__} must define __iter__")


class TensorDataset(Dataset[tuple[Tensor, ...]]):
    """Sample i is the tuple of row i of each tensor; the tensors have the same first size.

    A DataLoader with the default collate_fn indexes each tensor once per batch.
    """

    def __init__(self, *tensors: Tensor) -> None:
        first_sizes = {tuple(t.shape[:1]) for t in tensors}
        if len(first_sizes) > 1 or () in first_sizes:
            shapes = ", ".join(str(tuple(t.shape)) for t in tensors)
            raise ValueError(f"Size mismatch between tensors: the first sizes must be equal, got shapes {shapes}")
        self.tensors = tensors

    def __getitem__(self, index: Any) -> tuple[Tensor, ...]:
        return tuple(t[index] for t in self.tensors)

    def __len__(self) -> int:
        return self.tensors[0].shape[0] if self.tensors else 0


class Subset(Dataset[T_co]):
    """The samples of a dataset at these indices."""

    def __init__(self, dataset: Dataset[T_co], indices: Sequence[int]) -> None:
        self.dataset, self.indices = dataset, indices

    def __getitem__(self, index: Any) -> T_co:
        if isinstance(index, list):
            return self.dataset[[self.indices[i] for i in index]]
        return self.dataset[self.indices[index]]

    def __len__(self) -> int:
        return len(self.indices)


class ConcatDataset(Dataset[T_co]):
    """Datasets one after another."""

    def __init__(self, datasets: Iterable[Dataset[T_co]]) -> None:
        self.datasets = list(datasets)
        if not self.datasets:
            raise ValueError("datasets should not be an empty iterable")
        if any(isinstance(d, IterableDataset) for d in self.datasets):
            raise ValueError("ConcatDataset does not support IterableDataset")
        self.cumulative_sizes = list(accumulate(len(d) for d in self.datasets))  # type: ignore[arg-type]

    def __getitem__(self, index: int) -> T_co:
        if not -len(self) <= index < len(self):
            raise IndexError(f"index {index} is out of range for a dataset of {len(self)} samples")
        index %= len(self)
        which = bisect_right(self.cumulative_sizes, index)
        return self.datasets[which][index - (self.cumulative_sizes[which - 1] if which else 0)]

    def __len__(self) -> int:
        return self.cumulative_sizes[-1]


def without_subsets(dataset: Any, indices: Sequence[int]) -> tuple[Any, list[int]]:
    """The dataset that a Subset shows a part of, and the indices there.

    A class derived from Subset may change the samples, so it is left as it is.
    """
    chosen = list(indices)
    while type(dataset) is Subset:
        chosen = [dataset.indices[i] for i in chosen]
        dataset = dataset.dataset
    return dataset, chosen


def fetch(dataset: Any, indices: Sequence[int]) -> list[Any]:
    """The samples at these indices, at once if the dataset offers that."""
    dataset, indices = without_subsets(dataset, indices)
    if hasattr(dataset, "__getitems__"):
        return dataset.__getitems__(indices)
    return [dataset[i] for i in indices]


def random_split(dataset: Dataset[T_co], lengths: Sequence[float],
                 generator: Generator | None = None) -> list[Subset[T_co]]:  # fmt: skip
    """Disjoint random subsets of these lengths, or fractions that add up to 1.

    Samples that fractions leave over go to the subsets in turn. ValueError: the lengths do not add up.
    """
    n = len(dataset)  # type: ignore[arg-type]
    sizes: Any = list(lengths)
    if math.isclose(sum(sizes), 1) and sum(sizes) <= 1:
        for i, fraction in enumerate(lengths):
            if not 0 <= fraction <= 1:
                raise ValueError(f"Fraction at index {i} is not between 0 and 1: {fraction}")
        sizes = [math.floor(n * fraction) for fraction in lengths]
        for i in range(n - sum(sizes)):
            sizes[i % len(sizes)] += 1
        for i, size in enumerate(sizes):
            if size == 0:
                warnings.warn(f"Length of split at index {i} is 0: that dataset is empty", stacklevel=2)
    if sum(sizes) != n:
        raise ValueError(
            f"Sum of input lengths does not equal the length of the input dataset! got {list(lengths)} for {n} samples"
        )
    order = randperm(n, generator=generator).tolist()
    ends = list(accumulate(sizes))
    return [Subset(dataset, order[end - size : end]) for end, size in zip(ends, sizes, strict=True)]
