"""Reading and adding by index on the CUDA backend, on the emulator: the reference's numbers and its refusals."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from minidl.kernels import emulator, reference
from minidl.kernels.cuda import Backend

pytestmark = pytest.mark.skipif(
    not emulator.available(), reason="the emulator is not built; type: python setup.py build_ext --inplace"
)
plain: Any = reference
TYPES = ["float32", "float64"]
OTHERS = ["float16", "int64", "int32", "uint8", "bool"]
random = np.random.default_rng(0)


def on(device: emulator.Device | None = None) -> Any:
    return Backend(device or emulator.Device())


def numbers(shape: tuple[int, ...], kind: str) -> np.ndarray:
    return np.asarray(random.normal(size=shape) * 9, kind)


def same(got: np.ndarray, wanted: np.ndarray) -> None:
    assert got.dtype == wanted.dtype and got.shape == wanted.shape and got.flags.c_contiguous
    np.testing.assert_array_equal(got, wanted)


GATHERED = [  # shape of x, axis, shape of the index
    ((5,), 0, (7,)),
    ((4, 5, 3), 0, (6, 5, 3)),
    ((4, 5, 3), 1, (4, 1, 3)),
    ((4, 5, 3), 2, (2, 3, 70)),
    ((4, 5, 3), 1, (3, 8, 2)),
    ((2, 600), 1, (2, 300)),
    ((4, 0, 3), 0, (6, 0, 3)),
    ((4, 5), 1, (4, 0)),
]


@pytest.mark.parametrize("kind", TYPES + OTHERS)
@pytest.mark.parametrize(("shape", "axis", "wanted"), GATHERED)
def test_gather(shape: tuple[int, ...], axis: int, wanted: tuple[int, ...], kind: str) -> None:
    x, index = numbers(shape, kind), random.integers(0, max(shape[axis], 1), wanted)
    device = emulator.Device()
    same(on(device).gather(x, axis, index), reference.gather(x, axis, index))
    assert len(device.launches) == (index.size > 0)


@pytest.mark.parametrize("kind", TYPES)
@pytest.mark.parametrize(("shape", "axis", "wanted"), GATHERED)
def test_scatter_add(shape: tuple[int, ...], axis: int, wanted: tuple[int, ...], kind: str) -> None:
    """Bit for bit: every place gets its numbers in the index's order."""
    x, index = numbers(shape, kind), random.integers(0, max(shape[axis], 1), wanted)
    src, before = numbers(tuple(n + 1 for n in wanted), kind), x.copy()
    same(on().scatter_add(x, axis, index, src), reference.scatter_add(x, axis, index, src))
    np.testing.assert_array_equal(x, before)


def test_scatter_add_of_long_lines_is_the_same_by_blocks_and_by_threads() -> None:
    x, index, src = numbers((2, 9), "float32"), random.integers(0, 9, (2, 300)), numbers((2, 300), "float32")
    for many in (1, 3000):
        device = emulator.Device(checked=many == 1 or not emulator.available(checked=False))
        wide = [np.tile(each, (many, 1)) for each in (x, index, src)]
        same(on(device).scatter_add(wide[0], 1, wide[1], wide[2]), plain.scatter_add(wide[0], 1, wide[1], wide[2]))
        (launched,) = device.launches
        assert launched.kernel == f"indexing::scatter_{'blocks' if many == 1 else 'lines'}<float>"


ROWS = [((5, 3), (7,)), ((5, 3), (2, 300)), ((1, 1), ()), ((9, 1100), (4,)), ((4,), (6, 2)), ((6, 2, 3), (5,))]
ROWS += [((3, 0), (4,)), ((3, 4), (0,)), ((300, 2), (3,))]


@pytest.mark.parametrize("kind", TYPES + OTHERS)
@pytest.mark.parametrize(("shape", "wanted"), ROWS)
def test_take_rows(shape: tuple[int, ...], wanted: tuple[int, ...], kind: str) -> None:
    w, index = numbers(shape, kind), random.integers(0, shape[0], wanted)
    same(on().take_rows(w, index), np.ascontiguousarray(reference.take_rows(w, index)).reshape(wanted + shape[1:]))


@pytest.mark.parametrize("kind", TYPES)
@pytest.mark.parametrize(("shape", "wanted"), ROWS)
def test_add_rows(shape: tuple[int, ...], wanted: tuple[int, ...], kind: str) -> None:
    index = random.integers(0, shape[0], wanted)
    g = numbers(wanted + shape[1:], kind)
    same(on().add_rows(shape, index, g), reference.add_rows(shape, index, g))


def test_of_any_layout() -> None:
    x, index = numbers((6, 8), "float32"), random.integers(0, 4, (6, 8))
    for given, at in [(x.T, index.T), (x[::-1, ::2], index[:, ::2]), (np.broadcast_to(x[:1], (6, 8)), index)]:
        for axis in (0, 1):
            same(on().gather(given, axis, at % 4), plain.gather(given, axis, at % 4))
            same(on().scatter_add(given, axis, at % 4, given), plain.scatter_add(given, axis, at % 4, given))
        same(on().take_rows(given, at), plain.take_rows(given, at))
        g = numbers((*at.T.shape, 5), "float32")[:, ::-1]
        same(on().add_rows((7, 5), at.T, g), plain.add_rows((7, 5), at.T, g))


def test_nan_and_infinity_go_where_they_belong() -> None:
    g = np.array([[np.nan, 1], [np.inf, 2], [-np.inf, 3], [4, -0.0]], np.float32)
    index = np.array([2, 0, 0, 1])
    same(on().add_rows((4, 2), index, g), plain.add_rows((4, 2), index, g))
    same(on().scatter_add(g, 0, index[:, None], g), plain.scatter_add(g, 0, index[:, None], g))
    same(on().take_rows(g, index), plain.take_rows(g, index))


@pytest.mark.parametrize("wrong", [-1, 4, 2**62, -(2**63)])
def test_an_index_out_of_range_is_refused_in_the_references_words(wrong: int) -> None:
    x, index = numbers((4, 3), "float32"), random.integers(0, 3, (3, 3))
    index[1, 2], index[2, 0] = wrong, 77  # the first one is named
    long = np.tile(index, (30, 1))
    calls: list[tuple[str, tuple[Any, ...]]] = [
        ("gather", (x, 0, index)),
        ("scatter_add", (x, 0, index, numbers((3, 3), "float32"))),
        ("scatter_add", (x, 0, long, numbers(long.shape, "float32"))),
        ("take_rows", (x, index)),
        ("take_rows", (x[:, :0], index)),
        ("add_rows", ((4, 3), index, numbers((3, 3, 3), "float32"))),
        ("add_rows", ((4, 0), index, numbers((3, 3, 0), "float32"))),
        ("add_rows", ((0, 2), index, numbers((3, 3, 2), "float32"))),
    ]
    for verb, given in calls:
        with pytest.raises(ValueError) as right:
            getattr(plain, verb)(*given)
        device = emulator.Device()
        with pytest.raises(ValueError) as caught:
            getattr(on(device), verb)(*given)
        assert len(device.launches) == 1
        assert str(caught.value) == str(right.value)


def test_a_device_with_a_queue_looks_later() -> None:
    """Nothing is read back before the device says so."""

    class Queued(emulator.Device):
        looks: list[Any] = []

        def later(self, look: Any) -> None:
            self.looks.append(look)

    device = Queued()
    y = on(device).take_rows(numbers((4, 3), "float32"), np.array([1, 9]))
    assert y.shape == (2, 3) and not y[1].any()
    with pytest.raises(ValueError, match="index holds 9, but there are 4 places"):
        device.looks[0]()


def test_what_is_not_covered_is_the_references() -> None:
    device = emulator.Device()
    x, index = numbers((4, 3), "int64"), random.integers(0, 3, (4, 3))
    same(on(device).scatter_add(x, 0, index, x), plain.scatter_add(x, 0, index, x))
    same(on(device).take_rows(x, index.astype(np.int32)), plain.take_rows(x, index.astype(np.int32)))
    assert not device.launches
