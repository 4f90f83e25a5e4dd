"""Pooling on the CUDA backend is the reference's: every option, awkward sizes, ties, NaN, any strides."""

from __future__ import annotations

import itertools
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from minidl.kernels import emulation, emulator, reference
from minidl.kernels.cuda import Backend
from minidl.kernels.cuda import pool as lines
from minidl.kernels.emulator import Device, KernelFault

pytestmark = pytest.mark.skipif(
    not emulator.available(), reason="the emulator is not built; type: python setup.py build_ext --inplace"
)
CSRC = Path(__file__).parent.parent / "csrc"
TYPES = ["float32", "float64"]
PLANES = [(1, 1, 1, 1), (2, 3, 7, 5), (1, 2, 4, 13), (3, 1, 8, 8)]
WINDOWS = [  # kernel, stride, padding
    ((1, 1), (1, 1), (0, 0)),
    ((2, 2), (2, 2), (0, 0)),
    ((3, 2), (2, 1), (1, 0)),
    ((3, 3), (1, 2), (1, 1)),
    ((2, 4), (3, 5), (1, 2)),
    ((5, 3), (4, 3), (2, 1)),
]


def numbers(shape: tuple[int, ...], kind: str = "float64", seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(kind)


def fits(x: np.ndarray, kernel: Any, stride: Any, padding: Any, dilation: Any, ceil_mode: bool) -> bool:
    each = zip(x.shape[2:], kernel, stride, padding, dilation)
    return all(reference.pooled_size(*side, ceil_mode) >= 1 for side in each)


def same(got: np.ndarray, wanted: np.ndarray) -> None:
    assert got.dtype == wanted.dtype and got.flags.c_contiguous
    np.testing.assert_array_equal(got, wanted)


def close(got: np.ndarray, wanted: np.ndarray) -> None:
    assert got.dtype == wanted.dtype and got.shape == wanted.shape and got.flags.c_contiguous
    np.testing.assert_allclose(got, wanted, rtol=0, atol=16 * np.finfo(got.dtype).eps)


@pytest.fixture
def backend() -> Any:
    return Backend(Device())


@pytest.mark.parametrize("ceil_mode", [False, True])
@pytest.mark.parametrize("kind", TYPES)
def test_largest_of_each_window(backend: Any, kind: str, ceil_mode: bool) -> None:
    tried = 0
    for shape, (kernel, stride, padding), dilation in itertools.product(PLANES, WINDOWS, [(1, 1), (2, 3)]):
        x = np.random.default_rng(1).integers(-3, 3, shape).astype(kind)  # many ties
        if not fits(x, kernel, stride, padding, dilation, ceil_mode):
            continue
        tried += 1
        wanted, places = reference.max_pool2d(x, kernel, stride, padding, dilation, ceil_mode)
        got, index = backend.max_pool2d(x, kernel, stride, padding, dilation, ceil_mode)
        same(got, wanted)
        same(index, places)
        g = numbers(got.shape, kind)
        if (places >= 0).all():
            same(backend.max_pool2d_input(g, index, shape[2:]), reference.max_pool2d_input(g, places, shape[2:]))
    assert tried > 15


@pytest.mark.parametrize("kind", TYPES)
def test_infinities_and_nan(backend: Any, kind: str) -> None:
    x = np.full((1, 4, 6, 6), -np.inf, kind)
    x[0, 1, ::2], x[0, 1, 1::2] = np.inf, 1
    x[0, 2, 1, 1] = x[0, 2, 2, 3] = x[0, 2, 3, 2] = np.nan
    x[0, 3] = np.nan
    for padding in [(0, 0), (1, 1)]:
        wanted, places = reference.max_pool2d(x, (3, 3), (2, 2), padding, (1, 1), True)
        got, index = backend.max_pool2d(x, (3, 3), (2, 2), padding, (1, 1), True)
        same(got, wanted)
        same(index, places)
        for exclude in (True, False):
            with np.errstate(all="ignore"):
                mean = reference.avg_pool2d(x, (3, 3), (2, 2), padding, True, exclude)
            close(backend.avg_pool2d(x, (3, 3), (2, 2), padding, True, exclude), mean)


def test_a_window_of_padding_alone(backend: Any) -> None:
    x = np.ones((1, 1, 2, 2), np.float32)
    wanted = reference.max_pool2d(x, (2, 2), (5, 5), (3, 3), (1, 1), False)
    got = backend.max_pool2d(x, (2, 2), (5, 5), (3, 3), (1, 1), False)
    assert np.isinf(got[0]).any() and (got[1] < 0).any()
    same(got[0], wanted[0])
    same(got[1], wanted[1])


@pytest.mark.parametrize("divisor", [None, 3, -2])
@pytest.mark.parametrize("ceil_mode", [False, True])
@pytest.mark.parametrize("kind", TYPES)
def test_mean_of_each_window(backend: Any, kind: str, ceil_mode: bool, divisor: int | None) -> None:
    for shape, (kernel, stride, padding), with_padding in itertools.product(PLANES, WINDOWS, [True, False]):
        x = numbers(shape, kind)
        if not fits(x, kernel, stride, padding, (1, 1), ceil_mode):
            continue
        options = (kernel, stride, padding, ceil_mode, with_padding, *(() if divisor is None else (divisor,)))
        wanted = reference.avg_pool2d(x, *options)
        close(backend.avg_pool2d(x, *options), wanted)
        g = numbers(wanted.shape, kind, 1)
        close(backend.avg_pool2d_input(g, shape[2:], *options), reference.avg_pool2d_input(g, shape[2:], *options))
    assert len(backend.device.launches) > 20


def test_any_strides(backend: Any) -> None:
    wide = numbers((4, 6, 12, 14), "float32")
    window: Any = (3, 2), (2, 2), (1, 1)
    for x in (
        wide[::2, ::-1, 1::2, ::-2],
        wide.transpose(1, 0, 3, 2),
        np.broadcast_to(wide[:1, :, :, :1], wide.shape),
        wide[:, :, 3:4, 1:],
    ):
        wanted, places = reference.max_pool2d(x, *window, (1, 1), False)
        got, index = backend.max_pool2d(x, *window, (1, 1), False)
        same(got, wanted)
        same(index, places)
        close(backend.avg_pool2d(x, *window, False, True), reference.avg_pool2d(x, *window, False, True))
        g = numbers((*got.shape[:3], 2 * got.shape[3]), "float32")[..., ::-2]
        size = x.shape[2:]
        shares = reference.avg_pool2d_input(g, size, *window, False, True)
        close(backend.avg_pool2d_input(g, size, *window, False, True), shares)
        same(backend.max_pool2d_input(g, index, size), reference.max_pool2d_input(g, places, size))
        flipped = index.transpose(0, 1, 3, 2).copy().transpose(0, 1, 3, 2)
        same(backend.max_pool2d_input(g, flipped, size), reference.max_pool2d_input(g, places, size))


@pytest.mark.parametrize("kind", TYPES)
def test_many_windows_choose_the_same_number(backend: Any, kind: str) -> None:
    """Added in the order of the windows, bit for bit as the reference adds them up, whatever the number of warps."""
    index = np.random.default_rng(0).choice([0, 1, 5, 599, 311], (2, 3, 9, 11))
    index[1, 2] = 7  # all of a plane
    g = numbers(index.shape, kind) * np.geomspace(1e-6, 1e6, 11, dtype=kind)
    wanted = reference.max_pool2d_input(g, index, (20, 30))
    same(backend.max_pool2d_input(g, index, (20, 30)), wanted)
    assert backend.device.launches[-1].grid == (1, 3)  # 8 warps a block; bands of at least 256 numbers
    same(backend.max_pool2d_input(g, index, (20, 30)), wanted)


def test_bands_do_not_change_a_bit(backend: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    index = np.random.default_rng(0).integers(0, 1200, (1, 9, 9, 11))
    g = numbers(index.shape, "float32")
    many = backend.max_pool2d_input(g, index, (30, 40))
    assert backend.device.launches[-1].grid == (2, 5)
    monkeypatch.setattr(lines, "WARPS", 1)
    same(backend.max_pool2d_input(g, index, (30, 40)), many)
    assert backend.device.launches[-1].grid == (2, 1)
    assert all(launch.counts.atomics == 0 for launch in backend.device.launches)


def test_the_warps_barrier_cannot_be_left_out(tmp_path: Path) -> None:
    if shutil.which(os.environ.get("CXX", "c++").split()[0]) is None:
        pytest.skip("needs a C++ compiler")
    source = (CSRC / "pool.cu").read_text(encoding="utf-8")
    assert source.count("__syncwarp();") == 1
    faulty = tmp_path / "faulty.cu"
    faulty.write_text(source.replace("__syncwarp();", ""), encoding="utf-8")
    device = Device(kernels=emulation.build(faulty, tmp_path / "faulty.so", csrc=CSRC))
    index = np.random.default_rng(0).integers(0, 50, (1, 2, 9, 9))
    with pytest.raises(KernelFault, match="no barrier lies between") as caught:
        lines.max_pool2d_input(device, np.ones(index.shape), index, (5, 10))
    assert {fault.kind for fault in caught.value.faults} == {"race"}


def test_places_outside_of_the_plane_get_nothing(backend: Any) -> None:
    index = np.array([0, 5, -1, 6, 1 << 40]).reshape(1, 1, 1, 5)
    got = backend.max_pool2d_input(np.ones(index.shape), index, (2, 3))
    same(got, np.array([[[[1.0, 0, 0], [0, 0, 1]]]]))


def test_empty_batches_launch_nothing(backend: Any) -> None:
    x = np.zeros((0, 3, 4, 4), np.float32)
    y, index = backend.max_pool2d(x, (2, 2), (2, 2), (0, 0), (1, 1), False)
    assert y.shape == index.shape == (0, 3, 2, 2) and index.dtype == np.int64
    assert backend.avg_pool2d(x, (2, 2), (2, 2), (0, 0), False, True).shape == (0, 3, 2, 2)
    assert backend.avg_pool2d_input(y, (4, 4), (2, 2), (2, 2), (0, 0), False, True).shape == x.shape
    assert backend.max_pool2d_input(y, index, (4, 4)).shape == x.shape
    assert not backend.device.launches


def test_other_types_are_the_references(backend: Any) -> None:
    x = np.arange(32).reshape(1, 2, 4, 4)
    got, index = backend.max_pool2d(x, (2, 2), (2, 2), (0, 0), (1, 1), False)
    assert got.dtype == x.dtype and index[0, 0, 0, 0] == 5
    same(backend.avg_pool2d(x, (2, 2), (2, 2), (0, 0), False, True), x[:, :, ::2, ::2] + 2)
    assert not backend.device.launches


def test_launches(backend: Any) -> None:
    x = numbers((2, 3, 20, 18), "float32")
    y, index = backend.max_pool2d(x, (2, 2), (2, 2), (0, 0), (1, 1), False)
    backend.max_pool2d_input(y, index, (20, 18))
    backend.avg_pool2d_input(y, (20, 18), (2, 2), (2, 2), (0, 0), False, True)
    backend.avg_pool2d(x, (2, 2), (2, 2), (0, 0), False, True)
    launched = [(each.kernel, each.grid) for each in backend.device.launches]
    assert launched == [
        ("pool::max<float>", (3,)),  # 540 numbers
        ("pool::max_input<float>", (1, 2)),  # 6 planes of 360
        ("pool::mean_input<float>", (9,)),
        ("pool::mean<float>", (3,)),
    ]
    largest = backend.device.launches[0].counts
    assert largest.global_stores == 2 * 17 and largest.atomics == 0  # a warp for each 32 of 540: values and places
