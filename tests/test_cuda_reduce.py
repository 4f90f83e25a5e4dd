"""The CUDA reductions, on the emulator, compute what the reference does: every verb, any axes, layouts and types."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from minidl.kernels import emulator, reference
from minidl.kernels.cuda import Backend, reduce
from minidl.kernels.emulator import Device

pytestmark = pytest.mark.skipif(
    not emulator.available(), reason="the emulator is not built; type: python setup.py build_ext --inplace"
)
FLOATS = ["float32", "float64"]
SUMS = [name for name, _ in emulator.sum]
VERBS = ["sum", "mean", "prod", "amax", "amin", "any", "all", "var", "logsumexp"]
PLACES = ["argmax", "argmin"]
Layout = Callable[[np.ndarray], np.ndarray]


def numbers(shape: tuple[int, ...], kind: str = "float64", seed: int = 0) -> np.ndarray:
    if kind.startswith("float"):
        return np.random.default_rng(seed).normal(size=shape).astype(kind)
    low, high = {"bool": (0, 2), "int64": (-9, 10)}.get(kind, (0, 10))
    return np.random.default_rng(seed).integers(low, high, shape).astype(kind)


def close(got: Any, wanted: Any, size: int) -> None:
    got, wanted = np.asarray(got), np.asarray(wanted)
    assert got.shape == wanted.shape and got.dtype == wanted.dtype and got.flags.c_contiguous
    if got.dtype.kind != "f":
        np.testing.assert_array_equal(got, wanted)
        return
    eps = np.finfo(got.dtype).eps
    np.testing.assert_allclose(got, wanted, rtol=64 * eps, atol=4 * eps * max(size, 4))


def check(name: str, x: np.ndarray, *args: Any, kernels: bool = True) -> Device:
    """The verb through a backend on the emulator against the reference; by its kernels, or by none."""
    device = Device()
    with np.errstate(all="ignore"):
        wanted = getattr(reference, name)(x, *args)
    got = getattr(Backend(device), name)(x, *args)
    assert bool(device.launches) == kernels, f"{name} of {x.dtype} {x.shape}, {args}"
    assert all(each.counts.atomics == 0 for each in device.launches)
    close(got, wanted, x.size)
    return device


def arguments(name: str, axes: tuple[int, ...], keepdims: bool) -> tuple[Any, ...]:
    return (axes, 1.0, keepdims) if name == "var" else (axes, keepdims)


# ------------------------------------------------------------------------------------------------- the sum's rungs


@pytest.mark.parametrize("kind", FLOATS)
@pytest.mark.parametrize("rung", SUMS)
def test_rungs_of_the_sum(rung: str, kind: str) -> None:
    for shape in [(1,), (31,), (257,), (4097,), (9001,), (0,)]:
        x = numbers(shape, kind)
        close(emulator.sum[rung](x, (0,), False), x.sum(), x.size)
    for axes in [(0,), (1,), (2,), (0, 2), (0, 1, 2), ()]:
        x = numbers((3, 5, 7), kind)[:, ::-1]
        for keepdims in (False, True):
            close(emulator.sum[rung](x, axes, keepdims), x.sum(axes, keepdims=keepdims), x.size)


def test_two_passes_give_the_same_bits_and_atomics_none() -> None:
    x = numbers((3, 70_000), "float32")
    first = emulator.sum.two_pass(x, (1,), False)
    np.testing.assert_array_equal(first, emulator.sum.two_pass(x.copy(), (1,), False))
    assert emulator.profile(emulator.sum.two_pass, x, (1,), False).atomics == 0


def test_launches_of_two_passes() -> None:
    device = Device()
    emulator.sum.two_pass(numbers((2, 9000)), (1,), False, device=device)
    assert [each.grid for each in device.launches] == [(2, 3), (2, 1)]
    assert {each.kernel for each in device.launches} == {"reduce::two_pass<double>"}
    device = check("sum", numbers((2, 9000)), (1,), False)
    assert {each.kernel for each in device.launches} == {"reduce::two_pass<double>"}


# ------------------------------------------------------------------------------------------- every verb, every axis


@pytest.mark.parametrize("kind", FLOATS)
@pytest.mark.parametrize("name", VERBS)
def test_any_axes(name: str, kind: str) -> None:
    x = numbers((3, 5, 7), kind)
    for axes in [(0,), (1,), (2,), (0, 2), (2, 1), (0, 1, 2), ()]:
        for keepdims in (False, True):
            check(name, x, *arguments(name, axes, keepdims))
    check(name, np.array(2.5, kind), *arguments(name, (), False))
    check(name, numbers((1, 1), kind), *arguments(name, (0,), False))


LAYOUTS: list[tuple[tuple[int, ...], Layout]] = [
    ((4, 6, 10), lambda x: x[::-1, :, ::-1]),
    ((4, 6, 10), lambda x: x.transpose(2, 0, 1)),
    ((4, 6, 10), lambda x: x[:, ::2, 1::3]),
    ((4, 6, 8), lambda x: np.broadcast_to(x[:, :1], x.shape)),
    ((4, 6, 8), lambda x: np.broadcast_to(x[:, :, :1], x.shape)),
    ((2, 3, 2, 3, 2), lambda x: x.transpose(4, 2, 0, 3, 1)),
]


@pytest.mark.parametrize(("shape", "layout"), LAYOUTS)
@pytest.mark.parametrize("name", [*VERBS, *PLACES])
def test_any_layout(name: str, shape: tuple[int, ...], layout: Layout) -> None:
    x = layout(numbers(shape, "float32"))
    if name in PLACES:
        for axis in range(x.ndim):
            check(name, x, axis, False)
        return
    for axes in [(0,), (1,), (2,), (0, 2), (1, 0)]:
        check(name, x, *arguments(name, axes, False))


@pytest.mark.parametrize("kind", FLOATS)
@pytest.mark.parametrize("name", VERBS)
def test_long_rows_and_long_columns(name: str, kind: str) -> None:
    """One block each, then several, whose states a second launch puts together."""
    cases = [((3, 1300), (1,), 1), ((9001,), (0,), 2), ((1, 9001), (0, 1), 2), ((700, 33), (0,), 2)]
    for shape, axes, launches in cases:
        x = numbers(shape, kind) / 64
        if name == "prod":
            x = 1 + x / 100
        assert len(check(name, x, *arguments(name, axes, False)).launches) == launches


@pytest.mark.parametrize("kind", [*FLOATS, "int64", "uint8", "bool"])
@pytest.mark.parametrize("name", PLACES)
def test_places(name: str, kind: str) -> None:
    """Among equal ones the first."""
    for shape in [(5, 7, 3), (2, 1500), (1500, 2), (9001,), (40, 1)]:
        x = numbers(shape, kind).round()
        for axis in range(x.ndim):
            for keepdims in (False, True):
                check(name, x.astype(kind), axis, keepdims)


@pytest.mark.parametrize("kind", FLOATS)
def test_nan_wins_and_infinities_count(kind: str) -> None:
    inf, nan = np.inf, np.nan
    x = np.array(
        [[1, nan, 3, nan], [inf, -inf, 0, 1], [-inf] * 4, [inf, 1, inf, 2], [0, -0.0, 0, 0], [nan] * 4,
         [1e30, 1e30, -1e30, 1], [inf, nan, 1, 2], [-inf, 5, -inf, 5]], kind,
    )  # fmt: skip
    for name in [*VERBS, *PLACES]:
        for each, axis in [(x, 1), (x.T, 0), (x, 0), (np.tile(x, (1, 400)), 1), (np.tile(x.T, (100, 1)), 0)]:
            if name in PLACES:
                check(name, each, axis, False)
            elif not (name == "prod" and each.shape[axis] > 9):  # whose zeros and overflows come in another order
                check(name, each, *arguments(name, (axis,), False))


@pytest.mark.parametrize("kind", ["int64", "uint8", "bool"])
def test_integers_and_bools(kind: str) -> None:
    for x in (numbers((4, 6, 5), kind), numbers((3, 1500), kind), np.zeros((40, 3), kind), np.ones((3, 40), kind)):
        for name in ("any", "all", "amax", "amin"):
            for axes in [(0,), (1,), (0, 1)]:
                check(name, x, axes, False)
        check("sum", x, (0,), False, kernels=kind != "uint8")
        check("sum", x, (1,), True, kernels=kind != "uint8")
    if kind == "int64":
        ends = np.array([[2**63 - 1, 5], [-(2**63), 2**53 + 1]], np.int64)
        for name in ("sum", "amax", "amin", "prod", "argmax", "argmin"):
            check(name, ends, 0 if name in PLACES else (0,), False)
        check("cumsum", ends, 0)


def test_nothing_to_reduce() -> None:
    for shape, axes in [((0, 3), (0,)), ((3, 0), (1,)), ((0,), (0,)), ((0, 3), (1,)), ((2, 0, 3), (0, 2))]:
        for name in ("sum", "mean", "prod", "any", "all", "var", "logsumexp"):
            empty = not np.sum(np.empty(shape), axes).size
            check(name, np.empty(shape), *arguments(name, axes, False), kernels=not empty)
    for none in (np.ones((4, 10))[:, :0], np.ones((4, 3, 10))[:, :, :0], np.ones((10, 9000))[:0]):
        for name in ("sum", "any"):  # of results that would lie side by side, or take several blocks each
            check(name, none, (0,) if none.shape[-1] == 0 else (1,), True, kernels=False)
    for name in ("amax", "amin"):
        check(name, np.empty((0, 3)), (1,), False, kernels=False)
        with pytest.raises(ValueError, match="zero-size"):
            getattr(Backend(Device()), name)(np.empty((0, 3)), (0,), False)
    for name in PLACES:
        with pytest.raises(ValueError, match="empty"):
            getattr(Backend(Device()), name)(np.empty((0, 3)), 0, False)


@pytest.mark.parametrize("correction", [0, 1, 0.5, 5, 9])
def test_var_with_corrections(correction: float) -> None:
    x = numbers((6, 5), "float32")
    for axes in [(0,), (1,), (0, 1)]:
        check("var", x, axes, correction, False)


def test_var_of_numbers_far_from_zero() -> None:
    """The square of the mean would take all digits of float32."""
    x = numbers((3, 5000), "float32") + np.float32(10_000)
    wanted = x.astype("float64").var(1)
    for layout, axis in [(x, 1), (x.T.copy(), 0)]:
        backend: Any = Backend(Device())
        np.testing.assert_allclose(backend.var(layout, (axis,), 0, False), wanted, rtol=1e-5)


def test_logsumexp_neither_overflows_nor_vanishes() -> None:
    x = np.array([[1000.0, 1000.0], [-1000.0, -1001.0], [700.0, -700.0]], "float32")
    check("logsumexp", x, (1,), False)
    check("logsumexp", x, (0,), True)


# ----------------------------------------------------------------------------------------------------- running sums


@pytest.mark.parametrize("kind", [*FLOATS, "int64"])
def test_cumsum(kind: str) -> None:
    for shape in [(5, 7, 3), (1,), (3, 33), (2, 300), (600,), (0, 3), (3, 0), (300, 2)]:
        x = numbers(shape, kind)
        for axis in range(x.ndim):
            check("cumsum", x, axis, kernels=bool(x.size))
    x = numbers((6, 50, 4), kind)
    for layout in (x[::-1, ::-1], x.transpose(2, 1, 0), np.broadcast_to(x[:, :1], x.shape), x[:, ::3, ::2]):
        for axis in range(3):
            check("cumsum", layout, axis)


def test_cumsum_of_infinities() -> None:
    """They count from their place on, not before."""
    x = np.zeros((3, 700), "float32")
    x[0, 300], x[0, 500], x[1, 40], x[2, 699] = np.inf, -np.inf, np.nan, np.inf
    for axis in (0, 1):
        check("cumsum", x, axis)


@pytest.mark.parametrize("kind", [*FLOATS, "int64"])
def test_cumsum_of_long_lines_takes_three_launches(kind: str) -> None:
    """Sums of pieces, their running sums, and those of each piece from there on."""
    for shape, axis in [((9000,), 0), ((2, 8500), 1), ((8500, 2), 0)]:
        device = check("cumsum", numbers(shape, kind), axis)
        lines = shape[1 - axis] if len(shape) > 1 else 1
        assert [each.grid for each in device.launches] == [(lines, 3), (lines, 1), (lines, 3)]
    x = numbers((8300,), "float32")
    x[5000], x[8250] = np.inf, np.nan
    check("cumsum", x, 0)


def test_cumsum_of_many_columns_goes_down_them() -> None:
    x = numbers((40, 2100), "float32")
    device = check("cumsum", x, 0)
    assert device.launches[0].kernel == "reduce::scan_alone<float>"
    assert device.launches[0].counts.global_loads == 40 * -(-2100 // 32)


# -------------------------------------------------------------------------------------------------- launches, counts


def test_short_rows_share_a_block() -> None:
    """Ten numbers a row: 4 threads each, 64 rows a block."""
    device = check("amax", numbers((1000, 10), "float32"), (1,), False)
    assert (device.launches[0].grid, device.launches[0].kernel) == ((16, 1), "reduce::rows<reduce::Largest, float>")
    device = check("sum", numbers((1000, 10), "float32"), (1,), False)
    assert device.launches[0].grid == (16, 1)


def test_columns_are_read_side_by_side() -> None:
    """Down the columns each sector is read once, and a thread asks for one number at a time."""
    (launch,) = check("amax", numbers((32, 64), "float32"), (0,), False).launches
    assert launch.kernel == "reduce::columns<reduce::Largest, float>"
    assert launch.counts.sectors == 32 * 64 // 8 + 64 // 8 and launch.counts.global_loads == 32 * 64 // 32


def test_rows_are_read_in_packs() -> None:
    x = numbers((4, 2048), "float32")
    (launch,) = check("amax", x, (1,), False).launches
    assert launch.counts.global_loads == 4 * 2048 // 128 and launch.counts.sectors == 4 * 2048 // 8 + 4
    # Channels of a batch of images: two dimensions go, nothing is copied.
    (launch,) = check("mean", numbers((4, 3, 16, 16), "float32"), (0, 2, 3), False).launches
    assert launch.counts.global_loads == 3 * 4 * 256 // 128


@pytest.mark.parametrize("shape", [(3, 1500), (50_000,), (600, 40)])
@pytest.mark.skipif(not emulator.available(checked=False), reason="the quick emulator is not built")
def test_the_same_bits_wherever_the_numbers_lie(shape: tuple[int, ...]) -> None:
    backend = Backend(Device(checked=False))
    x = numbers(shape, "float32")
    room = np.empty(x.size + 4, "float32")
    for name in ("mean", "var", "logsumexp", "sum"):
        for axis in range(x.ndim):
            wanted = getattr(backend, name)(x, *arguments(name, (axis,), False))
            for start in range(1, 4):
                moved = room[start : start + x.size].reshape(shape)
                moved[...] = x
                np.testing.assert_array_equal(getattr(backend, name)(moved, *arguments(name, (axis,), False)), wanted)


def test_what_no_kernel_covers_goes_to_the_array_library() -> None:
    check("sum", numbers((3, 4)).astype("float16"), (0,), False, kernels=False)
    check("amax", numbers((3, 4)).astype("int32"), (0,), False, kernels=False)
    check("any", numbers((3, 4)).astype(">f4"), (0,), False, kernels=False)
    deep = numbers((2,) * 18).transpose(*range(0, 18, 2), *range(1, 18, 2))
    check("amax", deep, tuple(range(9)), False, kernels=False)


def test_every_name_has_its_kernels() -> None:
    found = {name for name in emulator.library(True).kernels if name.startswith("reduce::")}
    assert found == reduce.KERNELS
