"""Random numbers of the CUDA backend, on the emulator: the reference's words, at every offset."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from minidl.kernels import emulator, reference
from minidl.kernels.cuda import Backend
from minidl.kernels.cuda.launch import Scalar

pytestmark = pytest.mark.skipif(
    not emulator.available(), reason="the emulator is not built; type: python setup.py build_ext --inplace"
)
TYPES = ["float32", "float64"]
STREAMS = [(0, 0), (1, 1), (2**64 - 1, 2), (-3, 3), (2**40 + 7, 2**34 + 5), (9, 2**63 + 2)]
COUNTS = [0, 1, 2, 3, 4, 5, 31, 1030]


def on(device: emulator.Device | None = None) -> Any:
    return Backend(device or emulator.Device())


@pytest.mark.parametrize(("seed", "offset"), STREAMS)
def test_words(seed: int, offset: int) -> None:
    for count in COUNTS:
        got, wanted = on().philox(seed, offset, count), reference.philox(seed, offset, count)
        assert got.dtype == wanted.dtype == np.uint32
        np.testing.assert_array_equal(got, wanted)


def test_words_of_the_published_vector() -> None:
    """Random123's known answer for counter 0 and key 0."""
    wanted = [0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8]
    np.testing.assert_array_equal(on().philox(0, 0, 4), np.array(wanted, np.uint32))


@pytest.mark.parametrize("kind", TYPES)
@pytest.mark.parametrize(("seed", "offset"), STREAMS)
def test_uniform_and_normal(seed: int, offset: int, kind: str) -> None:
    dtype = np.dtype(kind)
    for count in COUNTS:
        got, wanted = on().uniform(seed, offset, count, dtype), reference.uniform(seed, offset, count, dtype)
        assert got.dtype == dtype
        np.testing.assert_array_equal(got, wanted)
        got, wanted = on().normal(seed, offset, count, dtype), reference.normal(seed, offset, count, dtype)
        assert got.dtype == dtype
        np.testing.assert_allclose(got, wanted, rtol=4 * np.finfo(kind).eps, atol=1e-15)


def test_any_grid_draws_the_same_numbers() -> None:
    """Three blocks for 10,000 numbers, which the launch line gives ten."""
    device = emulator.Device()
    many = device.empty((10_000,), np.float32)
    arguments = {"seed": np.uint64(5), "offset": Scalar(6, np.uint64), "count": many.size, "Y": many}
    device.launch("random_numbers::uniform<float>", (3,), (256,), arguments, writes=["Y"])
    np.testing.assert_array_equal(many, reference.uniform(5, 6, many.size, np.dtype("float32")))
    on(device).uniform(5, 6, many.size, "float32")
    assert [each.grid for each in device.launches] == [(3,), (10,)]


@pytest.mark.parametrize("kind", TYPES)
@pytest.mark.parametrize("p", [0.0, 0.3, 1.0])
def test_dropout(p: float, kind: str) -> None:
    x = np.random.default_rng(0).normal(size=(7, 11, 3)).astype(kind)
    x[0, 0] = [np.inf, -np.inf, np.nan]
    for given in (x, x[::-1, ::2], x.T, x[:0], np.asarray(x[0, 0, 0])):
        got, wanted = on().dropout(given, p, 3, 10), reference.dropout(given, p, 3, 10)
        for mine, right in zip(got, wanted, strict=True):
            assert mine.dtype == right.dtype and mine.shape == right.shape
            np.testing.assert_array_equal(mine, right)
        again = on().masked_scale(given, wanted[1], 1.5)
        np.testing.assert_array_equal(again, reference.masked_scale(given, wanted[1], 1.5))
    mask = np.random.default_rng(1).random((7, 1, 3)) < 0.5  # whole channels
    np.testing.assert_array_equal(on().masked_scale(x, mask, 2.0), reference.masked_scale(x, mask, 2.0))


def test_the_offset_may_lie_in_memory() -> None:
    """The same launch draws other numbers when it changes: what a captured graph replays."""
    offset = np.array([0], np.uint64)
    for at in (0, 7, 1000):
        offset[0] = at
        np.testing.assert_array_equal(on().philox(3, offset, 9), reference.philox(3, at, 9))


def test_what_is_not_covered_is_the_references() -> None:
    device = emulator.Device()
    backend = on(device)
    np.testing.assert_array_equal(backend.philox(1, 2**64, 5), reference.philox(1, 2**64, 5))
    half = np.ones(5, np.float16)
    np.testing.assert_array_equal(backend.dropout(half, 0.5, 1, 2)[1], reference.dropout(half, 0.5, 1, 2)[1])
    assert backend.normal(1, 2, 3, np.dtype("float16")).dtype == np.float16
    assert not device.launches
