"""Data sets, samplers and the loader, under PyTorch's names and with its meaning.

One thing is added: a data set may have `gather(index)`, which returns the whole batch for an int64 array of
indices. The loader then makes one such call a batch instead of one `dataset[i]` an example and a collation of
the results; for `TensorDataset`, `Subset` and `minidl.data.ArrayData` this happens by itself, unless
`collate_fn` is given.

Batches are made in the calling process: `num_workers` is accepted and has no effect, since a gather costs
less than handing its result from one process to another.
"""

from __future__ import annotations

import bisect
import itertools
import math
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Generic, TypeVar

import numpy as np

from .. import random
from .._tensor import Tensor
from ..tape import wrap

T = TypeVar("T")


class Dataset(Generic[T]):
    """Examples by number: subclasses define `__getitem__(index)` and, for samplers, `__len__()`."""

    def __getitem__(self, index: Any) -> T:
        raise NotImplementedError(f"{type(self).__name__}: define __getitem__(self, index), which returns one example")

    def __add__(self, other: Dataset[Any]) -> ConcatDataset:
        return ConcatDataset([self, other])


class TensorDataset(Dataset[tuple[Tensor, ...]]):
    """Tensors of equal first size; example i is `(t[i] for t in tensors)`. ValueError if the sizes differ."""

    def __init__(self, *tensors: Tensor) -> None:
        if not tensors:
            raise ValueError("TensorDataset: no tensors; give at least one, of shape (N, ...)")
        sizes = [t.shape[0] if t.ndim else None for t in tensors]
        if None in sizes or len(set(sizes)) > 1:
            shapes = ", ".join(str(tuple(t.shape)) for t in tensors)
            raise ValueError(
                f"TensorDataset: shapes {shapes} differ in their first size; give one entry for each example"
            )
        self.tensors = tensors

    def __getitem__(self, index: Any) -> tuple[Tensor, ...]:
        return tuple(t[index] for t in self.tensors)

    def __len__(self) -> int:
        return int(self.tensors[0].shape[0])

    def gather(self, index: np.ndarray) -> list[Tensor]:
        """The batch of these examples."""
        return [t[wrap(index)] if t.requires_grad else wrap(t.array[index]) for t in self.tensors]


class Subset(Dataset[T]):
    """The examples of `dataset` that `indices` lists."""

    def __init__(self, dataset: Dataset[T], indices: Sequence[int]) -> None:
        self.dataset, self.indices = dataset, indices

    def __getitem__(self, index: Any) -> T:
        if isinstance(index, list):
            return self.dataset[[self.indices[i] for i in index]]
        return self.dataset[self.indices[index]]

    def __len__(self) -> int:
        return len(self.indices)

    def gather(self, index: np.ndarray) -> Any:
        """The batch of these examples: as the data set behind it makes batches."""
        return fetch(self.dataset, [self.indices[i] for i in index.tolist()], None)


class ConcatDataset(Dataset[T]):
    """Data sets one after the other: `datasets`, and the running sums of their lengths, `cumulative_sizes`."""

    def __init__(self, datasets: Iterable[Dataset[T]]) -> None:
        self.datasets = list(datasets)
        if not self.datasets:
            raise ValueError("ConcatDataset: datasets is empty; give at least one data set")
        self.cumulative_sizes = list(itertools.accumulate(_length(d, "ConcatDataset") for d in self.datasets))

    def __len__(self) -> int:
        return self.cumulative_sizes[-1]

    def __getitem__(self, index: int) -> T:
        n = len(self)
        if not -n <= index < n:
            raise ValueError(f"ConcatDataset: index {index} is out of range for {n} examples")
        index %= n
        which = bisect.bisect_right(self.cumulative_sizes, index)
        return self.datasets[which][index - (self.cumulative_sizes[which - 1] if which else 0)]


def random_split(
    dataset: Dataset[T], lengths: Sequence[int | float], generator: random.Generator | None = None
) -> list[Subset[T]]:
    """Disjoint random subsets of the given lengths.

    lengths: whole numbers that add up to the data set's length, or fractions that add up to 1 (each part is
    rounded down, and what is left is dealt out in turn).

    Raises ValueError if the lengths do not add up to the data set's. For classes in equal shares see
    `minidl.data.split_rows`.
    """
    n = _length(dataset, "random_split")
    if math.isclose(sum(lengths), 1) and sum(lengths) <= 1:
        if any(not 0 <= f <= 1 for f in lengths):
            raise ValueError(f"random_split: fractions {list(lengths)}; expected numbers from 0 to 1")
        counts = [math.floor(n * f) for f in lengths]
        for i in range(n - sum(counts)):
            counts[i % len(counts)] += 1
        for i, count in enumerate(counts):
            if count == 0:
                warnings.warn(f"random_split: part {i} is empty ({lengths[i]:g} of {n} examples)", stacklevel=2)
    else:
        counts = [int(count) for count in lengths]
    if sum(counts) != n:
        raise ValueError(
            f"random_split: lengths {list(lengths)} add up to {sum(counts)}; expected {n}, the data set's length"
        )
    order = random.permutation(n, generator).tolist()
    ends = list(itertools.accumulate(counts))
    return [Subset(dataset, order[end - count : end]) for end, count in zip(ends, counts, strict=True)]


class Sampler(Generic[T]):
    """The order in which examples are taken: an iterable of indices (or of lists of them, for batches)."""

    def __iter__(self) -> Iterator[T]:
        raise NotImplementedError(f"{type(self).__name__}: define __iter__(self), which yields indices")


class SequentialSampler(Sampler[int]):
    """0, 1, 2, ..."""

    def __init__(self, data_source: Any) -> None:
        self.data_source = data_source

    def __iter__(self) -> Iterator[int]:
        return iter(range(len(self.data_source)))

    def __len__(self) -> int:
        return len(self.data_source)


class RandomSampler(Sampler[int]):
    """A random order, anew each time: all indices once, or `num_samples` drawn with replacement.

    The order depends on the state of `generator` (by default the default generator) when the pass begins and
    on nothing else, so a run that restores this state goes on with the same batches. Without replacement,
    more samples than examples go round again. Raises ValueError for num_samples that is not a positive
    integer and for no examples.
    """

    def __init__(
        self,
        data_source: Any,
        replacement: bool = False,
        num_samples: int | None = None,
        generator: random.Generator | None = None,
    ) -> None:
        if not isinstance(replacement, bool):
            raise TypeError(f"RandomSampler: replacement={replacement!r}; expected True or False")
        if num_samples is not None and (
            not isinstance(num_samples, int) or isinstance(num_samples, bool) or num_samples <= 0
        ):
            raise ValueError(f"RandomSampler: num_samples={num_samples!r}; expected a positive integer")
        self.data_source, self.replacement, self.generator = data_source, replacement, generator
        self._num_samples = num_samples
        if _length(data_source, "RandomSampler") == 0:
            raise ValueError("RandomSampler: the data set is empty; there is nothing to shuffle")

    @property
    def num_samples(self) -> int:
        """How many indices one pass gives."""
        return len(self.data_source) if self._num_samples is None else self._num_samples

    def __iter__(self) -> Iterator[int]:
        n, count = len(self.data_source), self.num_samples
        if self.replacement:
            return iter(random.integers(0, n, (count,), self.generator).tolist())
        rounds = [random.permutation(n, self.generator) for _ in range(-(-count // n))]
        return iter(np.concatenate(rounds)[:count].tolist())

    def __len__(self) -> int:
        return self.num_samples


class BatchSampler(Sampler[list[int]]):
    """Lists of `batch_size` indices of `sampler`; a shorter last one is left out with `drop_last`."""

    def __init__(self, sampler: Iterable[int], batch_size: int, drop_last: bool) -> None:
        _check_batch_size(batch_size, "BatchSampler")
        if not isinstance(drop_last, bool):
            raise ValueError(f"BatchSampler: drop_last={drop_last!r}; expected True or False")
        self.sampler, self.batch_size, self.drop_last = sampler, batch_size, drop_last

    def __iter__(self) -> Iterator[list[int]]:
        indices = iter(self.sampler)
        while batch := list(itertools.islice(indices, self.batch_size)):
            if len(batch) == self.batch_size or not self.drop_last:
                yield batch

    def __len__(self) -> int:
        n = len(self.sampler)  # type: ignore[arg-type]
        return n // self.batch_size if self.drop_last else -(-n // self.batch_size)


def default_collate(batch: Sequence[Any]) -> Any:
    """One batch of a list of examples: tensors, arrays and numbers are stacked along a new first dimension.

    Python floats become float64 and ints int64, as in PyTorch; text stays a list; tuples, lists and mappings
    are collated entry by entry. Raises TypeError for anything else and ValueError for entries of unequal
    lengths.
    """
    first = batch[0]
    if isinstance(first, Tensor):
        from ..ops import stack

        return stack(list(batch))
    if isinstance(first, (np.ndarray, np.generic)) and first.dtype.kind in "fiub":
        return wrap(np.stack(batch))
    if isinstance(first, float):
        return wrap(np.array(batch, np.float64))
    if isinstance(first, int):
        values = np.array(batch)
        return wrap(values.astype(np.float32) if values.dtype.kind == "f" else values)
    if isinstance(first, (str, bytes)):
        return list(batch)
    if isinstance(first, Mapping):
        return {key: default_collate([example[key] for example in batch]) for key in first}
    if isinstance(first, Sequence):
        if any(len(example) != len(first) for example in batch):
            raise ValueError(
                "default_collate: the examples of a batch have different numbers of entries; "
                "make them equal, or give the loader a collate_fn"
            )
        entries = [default_collate(column) for column in zip(*batch, strict=True)]
        if hasattr(first, "_fields"):
            return type(first)(*entries)
        return entries
    raise TypeError(
        f"default_collate: cannot make a batch of {type(first).__name__}; return tensors, arrays, "
        "numbers, text, "
        "tuples, lists or dictionaries of them, or give the loader a collate_fn"
    )


def default_convert(example: Any) -> Any:
    """One example as tensors: arrays become tensors, also inside of tuples, lists and mappings; the rest stays."""
    if isinstance(example, (np.ndarray, np.generic)) and example.dtype.kind in "fiub":
        return wrap(np.asarray(example))
    if isinstance(example, Mapping):
        return {key: default_convert(value) for key, value in example.items()}
    if isinstance(example, tuple) and hasattr(example, "_fields"):
        return type(example)(*map(default_convert, example))
    if isinstance(example, Sequence) and not isinstance(example, (str, bytes)):
        return [default_convert(value) for value in example]
    return example


def fetch(dataset: Any, index: Sequence[int] | np.ndarray, collate: Callable[[list[Any]], Any] | None) -> Any:
    """The batch of these indices: by `dataset.gather` if nothing speaks against it, or example by example."""
    if collate is None and _gathers(dataset):
        return dataset.gather(np.asarray(index, np.int64))
    if isinstance(index, np.ndarray):
        index = index.tolist()
    if hasattr(dataset, "__getitems__"):
        examples = dataset.__getitems__(index)
    else:
        examples = [dataset[i] for i in index]
    return (collate or default_collate)(examples)


def _gathers(dataset: Any) -> bool:
    """Whether `gather` speaks for `__getitem__`: a subclass with its own `__getitem__` means other examples."""
    for cls in type(dataset).__mro__:
        if "gather" in vars(cls):
            return True
        if "__getitem__" in vars(cls):
            return False
    return False


class DataLoader(Generic[T]):
    """Batches of a data set; each `iter` is one pass, in a new order if shuffled.

    dataset: anything with `__getitem__` and `__len__`. batch_size: examples a batch, 1 by default; None gives
    single examples. shuffle: a random order (`RandomSampler`), from `generator`. sampler, batch_sampler: your
    own order, of indices or of lists of them. collate_fn: makes a batch of a list of examples,
    `default_collate` by default. drop_last: leave out a last batch that is shorter. Accepted without effect:
    num_workers, pin_memory, timeout, worker_init_fn, multiprocessing_context, prefetch_factor,
    persistent_workers, pin_memory_device, in_order. Raises ValueError for arguments that exclude each other.
    """

    def __init__(
        self,
        dataset: Any,
        batch_size: int | None = 1,
        shuffle: bool | None = None,
        sampler: Iterable[Any] | None = None,
        batch_sampler: Iterable[Sequence[Any]] | None = None,
        num_workers: int = 0,
        collate_fn: Callable[[list[Any]], Any] | None = None,
        pin_memory: bool = False,
        drop_last: bool = False,
        timeout: float = 0,
        worker_init_fn: Callable[[int], None] | None = None,
        multiprocessing_context: Any = None,
        generator: random.Generator | None = None,
        *,
        prefetch_factor: int | None = None,
        persistent_workers: bool = False,
        pin_memory_device: str = "",
        in_order: bool = True,
    ) -> None:
        if num_workers < 0:
            raise ValueError(f"DataLoader: num_workers={num_workers}; expected 0 or more")
        if timeout < 0:
            raise ValueError(f"DataLoader: timeout={timeout}; expected 0 or more")
        if sampler is not None and shuffle:
            raise ValueError("DataLoader: sampler and shuffle=True exclude each other; the sampler decides the order")
        if batch_sampler is not None and (batch_size != 1 or shuffle or sampler is not None or drop_last):
            raise ValueError("DataLoader: batch_sampler excludes batch_size, shuffle, sampler and drop_last")
        if batch_size is None and drop_last:
            raise ValueError("DataLoader: batch_size=None gives single examples, so there is no last batch to drop")
        if sampler is None:
            sampler = RandomSampler(dataset, generator=generator) if shuffle else SequentialSampler(dataset)
        if batch_sampler is not None:
            batch_size = None
        elif batch_size is not None:
            _check_batch_size(batch_size, "DataLoader")
            batch_sampler = BatchSampler(sampler, batch_size, drop_last)
        self.dataset, self.batch_size, self.drop_last, self.generator = (
            dataset,
            batch_size,
            drop_last,
            generator,
        )
        self.sampler, self.batch_sampler, self.collate_fn = sampler, batch_sampler, collate_fn
        self.num_workers, self.pin_memory, self.timeout, self.worker_init_fn = (
            num_workers,
            pin_memory,
            timeout,
            worker_init_fn,
        )
        self.multiprocessing_context, self.prefetch_factor = multiprocessing_context, prefetch_factor
        self.persistent_workers, self.pin_memory_device, self.in_order = (
            persistent_workers,
            pin_memory_device,
            in_order,
        )

    def __iter__(self) -> Iterator[Any]:
        if self.batch_sampler is None:
            convert = self.collate_fn or default_convert
            return (convert(self.dataset[i]) for i in self.sampler)
        return (fetch(self.dataset, batch, self.collate_fn) for batch in self.batch_sampler)

    def __len__(self) -> int:
        order: Any = self.sampler if self.batch_sampler is None else self.batch_sampler
        return len(order)


def _check_batch_size(batch_size: Any, who: str) -> None:
    if not isinstance(batch_size, int) or isinstance(batch_size, bool) or batch_size <= 0:
        raise ValueError(f"{who}: batch_size={batch_size!r}; expected a positive integer")


def _length(dataset: Any, who: str) -> int:
    try:
        return len(dataset)
    except TypeError:
        raise TypeError(f"{who}: {type(dataset).__name__} has no length; define __len__(self) in it") from None
