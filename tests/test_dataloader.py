"""`minidl.utils.data`: PyTorch's names and semantics, and the gather that makes a batch in one call."""

from __future__ import annotations

from collections import Counter, namedtuple

import numpy as np
import pytest

import minidl
from minidl.utils.data import (
    BatchSampler,
    ConcatDataset,
    DataLoader,
    Dataset,
    RandomSampler,
    SequentialSampler,
    Subset,
    TensorDataset,
    default_collate,
    random_split,
)


class Squares(Dataset):
    def __init__(self, n):
        self.n, self.asked = n, []

    def __getitem__(self, index):
        self.asked.append(index)
        return minidl.tensor([float(index)]), index * index

    def __len__(self):
        return self.n


def pairs(n=10):
    x = minidl.tensor(np.arange(2 * n, dtype=np.float32).reshape(n, 2))
    return TensorDataset(x, minidl.tensor(np.arange(n)))


def order(loader):
    return [y.tolist() for _, y in loader]


def test_tensor_dataset():
    dataset = pairs(4)
    assert len(dataset) == 4
    x, y = dataset[2]
    assert x.tolist() == [4, 5] and y.item() == 2
    x, y = dataset[1:3]
    assert x.shape == (2, 2) and y.tolist() == [1, 2]
    with pytest.raises(ValueError, match=r"shapes \(3, 1\), \(2,\) differ in their first size"):
        TensorDataset(minidl.zeros(3, 1), minidl.zeros(2))
    with pytest.raises(ValueError, match="no tensors"):
        TensorDataset()


def test_batches_in_order_and_the_last_one():
    assert order(DataLoader(pairs(), batch_size=4)) == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
    assert order(DataLoader(pairs(), batch_size=4, drop_last=True)) == [[0, 1, 2, 3], [4, 5, 6, 7]]
    for n in range(1, 9):
        for drop_last in (False, True):
            loader = DataLoader(pairs(n), batch_size=3, drop_last=drop_last)
            assert len(loader) == len(order(loader))
    x, y = next(iter(DataLoader(pairs())))
    assert x.shape == (1, 2) and y.shape == (1,) and x.dtype == minidl.float32 and y.dtype == minidl.int64
    assert isinstance(next(iter(DataLoader(pairs()))), list), "as in PyTorch"


def test_gather_and_one_by_one_agree():
    dataset = pairs(23)

    class OneByOne(TensorDataset):
        def __getitem__(self, index):
            return super().__getitem__(index)

    slow = OneByOne(*dataset.tensors)
    for kind in (dataset, Subset(dataset, [5, 3, 11, -1]), ConcatDataset([dataset])):
        for drop_last in (False, True):
            fast = list(DataLoader(kind, batch_size=3, drop_last=drop_last))
            plain = list(DataLoader(kind, batch_size=3, drop_last=drop_last, collate_fn=default_collate))
            assert len(fast) == len(plain) > 0
            for a, b in zip(fast, plain):
                for s, t in zip(a, b, strict=True):
                    assert s.dtype == t.dtype
                    np.testing.assert_array_equal(s.numpy(), t.numpy())
    assert order(DataLoader(slow, 5)) == order(DataLoader(dataset, 5))


def test_one_gather_a_batch():
    calls = []

    class Counted(TensorDataset):
        def gather(self, index):
            calls.append(len(index))
            return super().gather(index)

        def __getitem__(self, index):
            raise RuntimeError("not asked for")

    list(DataLoader(Counted(minidl.zeros(10, 2)), batch_size=4))
    assert calls == [4, 4, 2]


def test_a_subclass_with_its_own_examples_is_respected():
    class Doubled(TensorDataset):
        def __getitem__(self, index):
            x, y = super().__getitem__(index)
            return 2 * x, y

    (x, _), *_ = DataLoader(Doubled(*pairs().tensors), batch_size=2)
    assert x.tolist() == [[0, 2], [4, 6]]
    (x, _), *_ = DataLoader(Subset(Doubled(*pairs().tensors), [1, 2]), batch_size=2)
    assert x.tolist() == [[4, 6], [8, 10]]


def test_gradients_reach_the_tensors_of_a_data_set():
    x = minidl.tensor([[1.0], [2.0], [3.0]], requires_grad=True)
    (batch,) = next(iter(DataLoader(TensorDataset(x), batch_size=2)))
    (batch * batch).sum().backward()
    assert x.grad.tolist() == [[2], [4], [0]]


def test_getitems_is_used_as_in_pytorch():
    class Many(Squares):
        def __getitems__(self, indices):
            return [self[i] for i in indices][::-1]

    assert [y.tolist() for _, y in DataLoader(Many(4), batch_size=2)] == [[1, 0], [9, 4]]


def test_shuffling_depends_on_the_state_alone():
    generator = minidl.Generator(7)
    loader = DataLoader(pairs(50), batch_size=8, shuffle=True, generator=generator)
    first, state = order(loader), generator.get_state()
    second = order(loader)
    assert first != second and sorted(sum(first, [])) == sorted(sum(second, [])) == list(range(50))
    generator.set_state(state)
    assert order(loader) == second, "resumed"
    again = DataLoader(pairs(50), batch_size=8, shuffle=True, generator=minidl.Generator(7))
    assert order(again) == first
    minidl.manual_seed(7)
    assert order(DataLoader(pairs(50), batch_size=8, shuffle=True)) == first
    with minidl.backend("reference"):
        assert order(DataLoader(pairs(50), batch_size=8, shuffle=True, generator=minidl.Generator(7))) == first
    assert first == [y.tolist() for y in minidl.randperm(50, generator=minidl.Generator(7)).split(8)]


def test_every_order_of_three_comes_up():
    sampler = RandomSampler(range(3), generator=minidl.Generator(0))
    seen = Counter(tuple(sampler) for _ in range(1200))
    assert len(seen) == 6 and min(seen.values()) > 140 and max(seen.values()) < 260


def test_samplers():
    assert list(SequentialSampler(range(4))) == [0, 1, 2, 3] and len(SequentialSampler(range(4))) == 4
    drawn = list(RandomSampler(range(5), replacement=True, num_samples=400, generator=minidl.Generator(0)))
    assert len(drawn) == 400 and set(drawn) == set(range(5)) and all(type(i) is int for i in drawn)
    around = list(RandomSampler(range(5), num_samples=12))
    assert len(around) == 12 and Counter(around[:10]) == {i: 2 for i in range(5)}
    assert list(BatchSampler(range(5), 2, False)) == [[0, 1], [2, 3], [4]]
    assert list(BatchSampler(range(5), 2, True)) == [[0, 1], [2, 3]]
    assert [len(BatchSampler(range(5), 2, drop)) for drop in (False, True)] == [3, 2]


def test_own_order():
    assert order(DataLoader(pairs(), batch_size=2, sampler=[9, 0, 5])) == [[9, 0], [5]]
    assert order(DataLoader(pairs(), batch_sampler=[[1, 2, 3], [4]])) == [[1, 2, 3], [4]]
    assert len(DataLoader(pairs(), batch_sampler=[[1, 2, 3], [4]])) == 2


def test_single_examples_without_batches():
    loader = DataLoader(Squares(3), batch_size=None)
    assert [y for _, y in loader] == [0, 1, 4] and len(loader) == 3
    (one, *_) = DataLoader([(np.ones(2), {"a": np.float32(3)}, "text")], batch_size=None)
    assert one[0].tolist() == [1, 1] and one[1]["a"].item() == 3 and one[2] == "text"
    assert [x for x in DataLoader([1, 2], batch_size=None, collate_fn=lambda x: -x)] == [-1, -2]


def test_any_sequence_is_a_data_set():
    (batch,) = DataLoader([3, 1, 2], batch_size=3)
    assert batch.tolist() == [3, 1, 2] and batch.dtype == minidl.int64
    assert next(iter(DataLoader(["a", "b"], batch_size=2))) == ["a", "b"]


def test_collate():
    Point = namedtuple("Point", "x y")
    assert default_collate([1, 2]).dtype == minidl.int64
    assert default_collate([1.0, 2.0]).dtype == minidl.float64
    assert default_collate([1, 2.5]).tolist() == [1, 2.5]
    assert default_collate([True, False]).dtype == minidl.bool
    assert default_collate([np.float32(1), np.float32(2)]).dtype == minidl.float32
    assert default_collate([np.ones((2, 3), np.uint8)] * 4).shape == (4, 2, 3)
    assert default_collate([minidl.ones(2, 3)] * 4).shape == (4, 2, 3)
    both = default_collate([{"a": 1, "b": (1.0, "x")}, {"a": 2, "b": (2.0, "y")}])
    assert both["a"].tolist() == [1, 2] and both["b"][0].tolist() == [1, 2] and both["b"][1] == ["x", "y"]
    point = default_collate([Point(1, 2), Point(3, 4)])
    assert isinstance(point, Point) and point.y.tolist() == [2, 4]
    with pytest.raises(ValueError, match="different numbers of entries"):
        default_collate([[1], [1, 2]])
    with pytest.raises(TypeError, match="cannot make a batch of object"):
        default_collate([object()])


def test_subset_and_concat():
    subset = Subset(pairs(), [7, 2])
    assert len(subset) == 2 and subset[0][1].item() == 7 and order(DataLoader(subset, 2)) == [[7, 2]]
    both = pairs(3) + pairs(2)
    assert isinstance(both, ConcatDataset) and len(both) == 5 and both.cumulative_sizes == [3, 5]
    assert [both[i][1].item() for i in (0, 2, 3, 4, -1, -5)] == [0, 2, 0, 1, 1, 0]
    with pytest.raises(ValueError, match="index 5 is out of range for 5"):
        both[5]
    with pytest.raises(ValueError, match="datasets is empty"):
        ConcatDataset([])


def test_random_split():
    a, b = random_split(pairs(10), [7, 3], minidl.Generator(0))
    assert len(a) == 7 and sorted([*a.indices, *b.indices]) == list(range(10))
    again, _ = random_split(pairs(10), [7, 3], minidl.Generator(0))
    assert again.indices == a.indices != sorted(a.indices)
    assert [len(part) for part in random_split(pairs(10), [0.5, 0.25, 0.25])] == [6, 2, 2]
    assert [len(part) for part in random_split(pairs(11), [1 / 3] * 3)] == [4, 4, 3]
    with pytest.raises(ValueError, match="add up to 9; expected 10"):
        random_split(pairs(10), [5, 4])
    with pytest.raises(ValueError, match="numbers from 0 to 1"):
        random_split(pairs(10), [1.5, -0.5])
    with pytest.warns(UserWarning, match="part 1 is empty"):
        random_split(pairs(2), [0.99, 0.01])


@pytest.mark.parametrize(
    "options, words",
    [
        ({"batch_size": 0}, "batch_size=0; expected a positive integer"),
        ({"batch_size": -1}, "batch_size=-1"),
        ({"batch_size": 2.5}, "batch_size=2.5"),
        ({"batch_size": True}, "batch_size=True"),
        ({"shuffle": True, "sampler": [1]}, "sampler and shuffle=True exclude"),
        ({"batch_sampler": [[1]], "batch_size": 2}, "batch_sampler excludes"),
        ({"batch_sampler": [[1]], "shuffle": True}, "batch_sampler excludes"),
        ({"batch_sampler": [[1]], "drop_last": True}, "batch_sampler excludes"),
        ({"batch_size": None, "drop_last": True}, "no last batch to drop"),
        ({"num_workers": -1}, "num_workers=-1"),
        ({"timeout": -1}, "timeout=-1"),
    ],
)
def test_bad_loaders(options, words):
    with pytest.raises(ValueError, match=words):
        DataLoader(pairs(), **options)


def test_bad_samplers_and_empty_sets():
    with pytest.raises(ValueError, match="the data set is empty"):
        DataLoader([], shuffle=True)
    assert list(DataLoader([])) == []
    with pytest.raises(ValueError, match="num_samples=0"):
        RandomSampler(range(3), num_samples=0)
    with pytest.raises(TypeError, match="replacement=1"):
        RandomSampler(range(3), replacement=1)
    with pytest.raises(ValueError, match="drop_last=None"):
        BatchSampler(range(3), 2, None)
    with pytest.raises(TypeError, match="has no length; define __len__"):
        random_split(Dataset(), [1])
    with pytest.raises(NotImplementedError, match="define __getitem__"):
        Dataset()[0]


def test_what_pytorch_accepts_is_accepted():
    loader = DataLoader(
        pairs(4),
        2,
        False,
        num_workers=4,
        pin_memory=True,
        persistent_workers=True,
        prefetch_factor=2,
        timeout=0,
    )
    assert order(loader) == [[0, 1], [2, 3]] and loader.batch_size == 2 and loader.num_workers == 4


def test_two_passes_at_once_do_not_disturb_each_other():
    loader = DataLoader(pairs(6), batch_size=2)
    assert [(a.tolist(), b.tolist()) for (_, a), (_, b) in zip(loader, loader)] == [
        ([i, i + 1],) * 2 for i in (0, 2, 4)
    ]
