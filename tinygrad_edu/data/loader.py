"""DataLoader: batches of samples, in order or shuffled."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from ..creation import as_tensor, tensor
from ..functional.shape import stack
from ..random import Generator
from ..tensor import Tensor
from .dataset import IterableDataset, TensorDataset, fetch, without_subsets
from .sampler import BatchSampler, RandomSampler, Sampler, SequentialSampler, batches


def default_collate(batch: Sequence[Any]) -> Any:
    """Samples put together along a new first axis.

    Tensors and arrays (...) become one tensor (B, ...); numbers a tensor (B,) (Python floats: float64); strings and
    bytes stay a list. Tuples and lists become lists, and mappings mappings, of what their entries become.

    RuntimeError: samples of different shapes or lengths; TypeError: of a type not named here.
    """
    first = batch[0]
    if isinstance(first, Tensor):
        return stack(batch)
    if isinstance(first, (np.ndarray, np.generic)) and first.dtype.kind in "biuf":
        return stack([as_tensor(np.asarray(x)) for x in batch])
    if isinstance(first, float):
        return tensor(batch, dtype="float64")
    if isinstance(first, int):
        return tensor(batch)
    if isinstance(first, (str, bytes)):
        return batch
    if isinstance(first, Mapping):
        return _like(first, {key: default_collate([x[key] for x in batch]) for key in first})
    if isinstance(first, (tuple, list)):
        if any(len(x) != len(first) for x in batch):
            raise RuntimeError("each element in list of batch should be of equal size")
        columns = [default_collate(column) for column in zip(*batch, strict=True)]
        return type(first)(*columns) if hasattr(first, "_fields") else columns
    raise TypeError(
        f"default_collate: batch must contain tensors, numpy arrays, numbers, dicts or lists; found {type(first)}; "
        "pass a collate_fn of your own"
    )


def default_convert(data: Any) -> Any:
    """One sample with its arrays as tensors; what is not an array stays."""
    if isinstance(data, (np.ndarray, np.generic)) and data.dtype.kind in "biuf":
        return as_tensor(data)
    if isinstance(data, Mapping):
        return _like(data, {key: default_convert(value) for key, value in data.items()})
    if isinstance(data, tuple) and hasattr(data, "_fields"):
        return type(data)(*(default_convert(x) for x in data))
    if isinstance(data, (tuple, list)):
        return [default_convert(x) for x in data]
    return data


def _like(first: Mapping[Any, Any], entries: dict[Any, Any]) -> Any:
    """The entries in a mapping of the type of `first`, or in a dict where that type cannot be made from one."""
    try:
        return type(first)(entries)  # type: ignore[call-arg]
    except TypeError:
        return entries


class DataLoader:
    """Iterates over a dataset in batches, each made by `collate_fn(list of samples)`.

    batch_size=None gives single samples. The order is that of `sampler` or `batch_sampler` if given; else of the
    dataset, or with shuffle=True a new random one in every pass, drawn from `generator`.

    Loading happens in the calling process: num_workers, pin_memory, persistent_workers, prefetch_factor, timeout,
    multiprocessing_context and worker_init_fn are accepted from PyTorch programs and change nothing.

    ValueError: options that exclude each other, as in PyTorch.
    """

    def __init__(self, dataset: Any, batch_size: int | None = 1, shuffle: bool | None = None,
                 sampler: Sampler[Any] | Iterable[Any] | None = None,
                 batch_sampler: Sampler[list[Any]] | Iterable[list[Any]] | None = None, num_workers: int = 0,
                 collate_fn: Callable[[list[Any]], Any] | None = None, pin_memory: bool = False,
                 drop_last: bool = False, timeout: float = 0, worker_init_fn: Callable[[int], None] | None = None,
                 multiprocessing_context: Any = None, generator: Generator | None = None, *,
                 prefetch_factor: int | None = None, persistent_workers: bool = False,
                 pin_memory_device: str = "", in_order: bool = True) -> None:  # fmt: skip
        if num_workers < 0:
            raise ValueError(f"num_workers option should be non-negative, got {num_workers}")
        if timeout < 0:
            raise ValueError(f"timeout option should be non-negative, got {timeout}")
        self._streams = isinstance(dataset, IterableDataset)
        if self._streams:
            for name, value in (("shuffle", shuffle or None), ("sampler", sampler), ("batch_sampler", batch_sampler)):
                if value is not None:
                    raise ValueError(
                        f"DataLoader with IterableDataset: expected unspecified {name} option, but got {name}={value}; "
                        "a stream decides its own order"
                    )
        if sampler is not None and shuffle:
            raise ValueError("sampler option is mutually exclusive with shuffle")
        if batch_sampler is not None:
            if batch_size != 1 or shuffle or sampler is not None or drop_last:
                raise ValueError(
                    "batch_sampler option is mutually exclusive with batch_size, shuffle, sampler, and drop_last"
                )
            batch_size = None
        elif batch_size is None and drop_last:
            raise ValueError("batch_size=None option disables auto-batching and is mutually exclusive with drop_last")
        if sampler is None and not self._streams:
            sampler = RandomSampler(dataset, generator=generator) if shuffle else SequentialSampler(dataset)
        if batch_size is not None:
            batch_sampler = BatchSampler([] if sampler is None else sampler, batch_size, drop_last)

        self.dataset, self.batch_size, self.drop_last = dataset, batch_size, drop_last
        self.sampler, self.batch_sampler, self.generator = sampler, batch_sampler, generator
        self.num_workers, self.pin_memory, self.timeout = num_workers, pin_memory, timeout
        self.persistent_workers, self.prefetch_factor = persistent_workers, prefetch_factor
        self.worker_init_fn = worker_init_fn
        self.collate_fn = collate_fn or (default_convert if batch_sampler is None else default_collate)

    def __iter__(self) -> Iterator[Any]:
        if self._streams:
            samples = iter(self.dataset)
            if self.batch_size is None:
                return map(self.collate_fn, samples)
            return map(self.collate_fn, batches(samples, self.batch_size, self.drop_last))
        if self.batch_sampler is None:
            return (self.collate_fn(self.dataset[i]) for i in iter(self.sampler))  # type: ignore[arg-type]
        return map(self._batch, self.batch_sampler)

    def _batch(self, indices: list[int]) -> Any:
        dataset, chosen = without_subsets(self.dataset, indices)
        if type(dataset) is TensorDataset and self.collate_fn is default_collate:  # the same, by one indexing
            return [t[chosen] for t in dataset.tensors]
        return self.collate_fn(fetch(dataset, chosen))

    def __len__(self) -> int:
        """The number of batches. TypeError: a stream, or a sampler, without a length."""
        if self._streams:
            n = len(self.dataset)
            if self.batch_size is None:
                return n
            return n // self.batch_size if self.drop_last else -(-n // self.batch_size)
        return len(self.sampler if self.batch_sampler is None else self.batch_sampler)  # type: ignore[arg-type]


def get_worker_info() -> None:
    """None: samples are loaded in the calling process (in PyTorch, which part of a stream a worker is to load)."""
