"""Convolution and its gradients on the CUDA backend are the reference's: every option, awkward sizes, any strides, both
types and all tiles; what is launched, what it moves, and the same bits every time.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from cases import CONVOLUTION, SIZES, Row, V
from checks import check_value, draw, gradients, same

import minidl
from minidl import kernels
from minidl.kernels import emulator, reference
from minidl.kernels.cuda import Backend
from minidl.kernels.cuda import conv as lines
from minidl.kernels.emulator import Counts, Device

pytestmark = pytest.mark.skipif(
    not emulator.available(), reason="the emulator is not built; type: python setup.py build_ext --inplace"
)
TYPES = ["float32", "float64"]
RUNGS = list(lines.CONV2D)

# N, C, H, W, O, R, S, stride, padding, dilation, groups
SHAPES: list[tuple[Any, ...]] = [
    (1, 1, 1, 1, 1, 1, 1, (1, 1), (0, 0), (1, 1), 1),
    (2, 3, 7, 9, 5, 3, 3, (1, 1), (1, 1), (1, 1), 1),
    (2, 16, 6, 5, 17, 3, 2, (2, 1), (1, 0), (1, 2), 1),
    (1, 4, 9, 11, 8, 3, 3, (2, 3), (2, 2), (2, 2), 2),
    (2, 6, 9, 7, 6, 3, 3, (2, 2), (1, 1), (1, 1), 6),  # depthwise
    (1, 3, 6, 7, 6, 2, 3, (1, 1), (0, 2), (1, 1), 3),  # two filters a channel
    (1, 5, 13, 12, 35, 2, 3, (3, 2), (0, 1), (2, 3), 1),
    (1, 2, 6, 8, 10, 5, 5, (1, 1), (2, 2), (1, 1), 1),
    (3, 2, 5, 5, 3, 1, 1, (3, 3), (1, 0), (1, 1), 1),
    (2, 4, 6, 8, 4, 2, 2, (4, 4), (0, 0), (1, 1), 1),
    (1, 2, 3, 3, 2, 3, 3, (7, 6), (5, 4), (3, 4), 1),  # strides larger than the image
    (2, 1, 1, 17, 3, 1, 5, (1, 2), (0, 2), (1, 1), 1),  # a signal
]


def numbers(shape: tuple[int, ...], kind: str = "float64", seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(kind)


def close(got: np.ndarray, wanted: np.ndarray, size: int) -> None:
    """size: how many products a number of it is the sum of."""
    assert got.shape == wanted.shape and got.dtype == wanted.dtype and got.flags.c_contiguous
    np.testing.assert_allclose(got, wanted, rtol=0, atol=8 * np.finfo(got.dtype).eps * max(size, 4))


def arrays(shape: tuple[Any, ...], kind: str) -> tuple[np.ndarray, ...]:
    """x, w, b, g"""
    N, C, H, W, O, R, S, *options, groups = shape
    x, w, b = numbers((N, C, H, W), kind), numbers((O, C // groups, R, S), kind, 1), numbers((O,), kind, 2)
    return x, w, b, numbers(reference.conv2d(x, w, b, *options, groups).shape, kind, 3)


def check(shape: tuple[Any, ...], kind: str, convolutions: Any) -> None:
    """The three of them, as (conv2d, conv2d_input, conv2d_weight), against the reference."""
    N, C, H, W, O, R, S, *_, groups = shape
    x, w, b, g = arrays(shape, kind)
    options = shape[7:]
    forward, by_input, by_weight = convolutions
    for bias in (b, None):
        close(forward(x, w, bias, *options), reference.conv2d(x, w, bias, *options), w[0].size)
    close(by_input(g, w, (H, W), *options), reference.conv2d_input(g, w, (H, W), *options), O // groups * R * S)
    close(by_weight(x, g, (R, S), *options), reference.conv2d_weight(x, g, (R, S), *options), g[:, 0].size)


def by_rung(device: Device, rung: str) -> tuple[Any, ...]:
    return (
        lambda *args: lines.conv2d_by_rung(device, rung, *args),
        lambda *args: lines.conv2d_input_by_rung(device, rung, *args),
        lambda *args: lines.conv2d_weight_by_rung(device, rung, *args),
    )


@pytest.mark.parametrize("kind", TYPES)
@pytest.mark.parametrize("rung", RUNGS)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_rungs(shape: tuple[Any, ...], rung: str, kind: str) -> None:
    check(shape, kind, by_rung(Device(), rung))


@pytest.mark.parametrize("kind", TYPES)
@pytest.mark.parametrize("tile", lines.TILES, ids=str)
def test_tiles(tile: tuple[int, int], kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each tile where it is too large, and where several of it are needed."""
    monkeypatch.setattr(lines, "TILES", (tile,))
    M, N = tile
    convolutions = by_rung(Device(), "implicit")
    check(SHAPES[2], kind, convolutions)
    check((1, 2, 1, N + 3, M + 1, 1, 3, (1, 2), (0, 1), (1, 2), 1), kind, convolutions)
    check((2, N // 8 + 1, 4, 5, 3, 2, 4, (1, 1), (1, 1), (1, 1), 1), kind, convolutions)


@pytest.mark.parametrize("kind", TYPES)
def test_what_ships(kind: str) -> None:
    for shape in SHAPES:
        backend = Backend(Device())
        check(shape, kind, (backend.conv2d, backend.conv2d_input, backend.conv2d_weight))
        assert backend.device.launches
    backend = Backend(Device())
    x, w, b, _ = arrays((2, 8, 6, 7, 9, 3, 3, (1, 1), (1, 0), (1, 1), 1), kind)
    wanted = reference.conv2d_winograd(x, w, b, (1, 0), 4)
    close(backend.conv2d_winograd(x, w, b, (1, 0), 4), wanted, w[0].size)
    assert [launch.kernel.split("<")[0] for launch in backend.device.launches] == ["conv::implicit"]


def test_large_sizes_on_the_quick_build() -> None:
    """A layer of the digits' network, and one with all of a large tile's blocks."""
    if not emulator.available(checked=False):
        pytest.skip("the quick emulator is not built; type: python setup.py build_ext --inplace")
    for shape in [
        (8, 16, 14, 14, 32, 3, 3, (1, 1), (1, 1), (1, 1), 1),
        (32, 3, 24, 24, 128, 3, 3, (1, 1), (1, 1), (1, 1), 1),
    ]:
        device = Device(checked=False)
        check(shape, "float32", by_rung(device, "implicit"))
    assert device.launches[0].kernel == "conv::implicit<float, 128, 128>"


@pytest.mark.parametrize("rung", RUNGS)
def test_any_strides(rung: str) -> None:
    options: Any = (2, 1), (1, 2), (1, 2), 2
    wide, bias = numbers((6, 8, 10, 12), "float32"), numbers((40,), "float32", 2)
    filters = numbers((20, 4, 6, 6), "float32", 1)
    forward, by_input, by_weight = by_rung(Device(), rung)
    for x, w, b in [
        (wide[::3, ::2, ::-1, 1::2], filters[::2, 1::2, ::2, ::3], bias[::-4]),
        (wide[:2, :4].transpose(0, 1, 3, 2), filters[:10, :2, :3, :2].transpose(0, 1, 3, 2), bias[:10]),
        (wide.transpose(2, 1, 0, 3)[:2, 4:], filters[:10, ::-2, :1, ::-4], np.broadcast_to(bias[:1], (10,))),
        (
            np.broadcast_to(wide[:1, :4, :1], (2, 4, 10, 12)),
            np.broadcast_to(filters[0, 0, :3, :2], (10, 2, 3, 2)),
            None,
        ),
    ]:
        wanted = reference.conv2d(x, w, b, *options)
        close(forward(x, w, b, *options), wanted, w[0].size)
        g = numbers((*wanted.shape[:3], 3 * wanted.shape[3]), "float32", 2)[:, ::-1, ::-1, ::-3]
        size, taps = x.shape[2:], w.shape[2:]
        close(by_input(g, w, size, *options), reference.conv2d_input(g, w, size, *options), w[:, 0].size)
        close(by_weight(x, g, taps, *options), reference.conv2d_weight(x, g, taps, *options), g[:, 0].size)


@pytest.mark.parametrize("rung", RUNGS)
def test_nan_and_infinity_stay_where_they_are(rung: str) -> None:
    """They reach the windows that meet them and no others."""
    x, w = np.ones((1, 2, 6, 6), np.float32), np.ones((3, 2, 3, 3), np.float32)
    x[0, 1, 0, 0], x[0, 0, 5, 5] = np.nan, np.inf
    options: Any = (1, 1), (1, 1), (1, 1), 1
    forward, by_input, by_weight = by_rung(Device(), rung)
    with np.errstate(all="ignore"):
        np.testing.assert_array_equal(forward(x, w, None, *options), reference.conv2d(x, w, None, *options))
        y = by_input(x, w[:2, :1], (6, 6), *options)
        np.testing.assert_array_equal(y, reference.conv2d_input(x, w[:2, :1], (6, 6), *options))
        got, wanted = by_weight(x, x, (3, 3), *options), reference.conv2d_weight(x, x, (3, 3), *options)
    assert np.isnan(got).any() and not np.isnan(got).all()
    np.testing.assert_array_equal(np.isnan(got), np.isnan(wanted))


def test_a_gradient_beyond_what_windows_reach() -> None:
    """As in a transposed convolution with output_padding, and in one whose last rows no window covers."""
    g, w = numbers((1, 2, 3, 4)), numbers((2, 3, 2, 2), seed=1)
    for rung in RUNGS:
        for size in [(9, 14), (4, 5), (5, 7), (1, 1)]:
            got = lines.conv2d_input_by_rung(Device(), rung, g, w, size, (2, 3), (1, 0), (1, 2), 1)
            close(got, reference.conv2d_input(g, w, size, (2, 3), (1, 0), (1, 2), 1), 8)


@pytest.mark.parametrize("rung", RUNGS)
def test_nothing_to_add_up(rung: str) -> None:
    """No images, no channels: zeros and the bias, and no launch for an empty result."""
    device = Device()
    forward, by_input, by_weight = by_rung(device, rung)
    options: Any = (1, 1), (0, 0), (1, 1), 1
    b = numbers((3,))
    y = forward(np.zeros((2, 0, 4, 4)), np.zeros((3, 0, 2, 2)), b, *options)
    np.testing.assert_array_equal(y, np.broadcast_to(b[:, None, None], (2, 3, 3, 3)))
    assert not by_input(np.zeros((2, 0, 3, 3)), np.zeros((0, 3, 2, 2)), (4, 4), *options).any()
    launched = len(device.launches)
    assert forward(np.zeros((0, 2, 4, 4)), np.zeros((3, 2, 2, 2)), b, *options).shape == (0, 3, 3, 3)
    assert by_input(np.zeros((0, 3, 3, 3)), np.zeros((3, 2, 2, 2)), (4, 4), *options).shape == (0, 2, 4, 4)
    w = by_weight(np.zeros((0, 2, 4, 4)), np.zeros((0, 3, 3, 3)), (2, 2), *options)
    assert w.shape == (3, 2, 2, 2) and not w.any() and len(device.launches) == launched


def test_an_image_has_the_same_bits_in_any_batch() -> None:
    """Sums run over the taps in one order, whatever the tile."""
    x, w = numbers((5, 9, 6, 6), "float32"), numbers((20, 9, 3, 3), "float32", 1)
    options: Any = (1, 1), (1, 1), (1, 1), 1
    device = Device()
    together = lines.conv2d_by_rung(device, "implicit", x, w, None, *options)
    alone = lines.conv2d_by_rung(device, "implicit", x[3:4], w, None, *options)
    first, second = (launch.kernel for launch in device.launches)
    assert first != second
    np.testing.assert_array_equal(together[3:4], alone)


# ----------------------------------------------------------------------------------------------------- launches


@pytest.mark.parametrize("rung", RUNGS)
def test_the_weights_sum_is_cut_into_parts(rung: str) -> None:
    """The parts, in a fixed order: the same bits again, and no atomic additions."""
    x, g = numbers((3, 2, 20, 20), "float32"), numbers((3, 2, 20, 20), "float32", 1)
    device = Device()
    arguments: Any = x, g, (3, 3), (1, 1), (1, 1), (1, 1), 1
    first = lines.conv2d_weight_by_rung(device, rung, *arguments)
    close(first, reference.conv2d_weight(*arguments), g[:, 0].size)
    cut, added = device.launches
    assert cut.grid == {"direct": (36, 2), "implicit": (1, 1, 2)}[rung]
    assert added.kernel == "conv::add_parts<float>" and added.grid == (1,)
    assert cut.counts.atomics == added.counts.atomics == 0
    np.testing.assert_array_equal(first, lines.conv2d_weight_by_rung(Device(), rung, *arguments))


def test_grids() -> None:
    device = Device()
    shape = (2, 16, 9, 10, 40, 3, 3, (2, 2), (1, 1), (1, 1), 1)
    x, w, b, g = arrays(shape, "float32")
    forward, by_input, by_weight = by_rung(device, "implicit")
    forward(x, w, b, *shape[7:])
    by_input(g, w, (9, 10), *shape[7:])
    by_weight(x, g, (3, 3), *shape[7:])
    launched = [(each.kernel, each.grid) for each in device.launches]
    assert launched == [
        ("conv::implicit<float, 64, 64>", (1, 1)),  # 40 filters, 2 * 5 * 5 pixels
        ("conv::implicit<float, 64, 64>", (4, 1)),  # 16 channels, up to 2 * 5 * 5 pixels in each of 2 * 2 phases
        ("conv::implicit_weight<float, 64, 64>", (3, 1, 1)),  # 40 filters, 144 weights
    ]
    # A phase meets only its own taps: 4, 2, 2 and 1 of 9. Tiles are whole: 64 x 64 sums, 16 taps at a time.
    steps = sum(-(-40 * taps // 16) for taps in (4, 2, 2, 1))
    assert device.launches[1].counts.multiply_adds == steps * 16 * 64 * 64


def test_which_rung_ships() -> None:
    """Tiles, but where most of a tile would be empty."""
    plain: Any = (1, 1), (1, 1), (1, 1)
    backend = Backend(Device())
    backend.conv2d(numbers((1, 8, 4, 4)), numbers((8, 1, 3, 3)), None, *plain, 8)
    backend.conv2d_input(numbers((1, 8, 4, 4)), numbers((8, 3, 3, 3)), (4, 4), *plain, 1)
    backend.conv2d_weight(numbers((1, 3, 4, 4)), numbers((1, 8, 4, 4)), (3, 3), *plain, 1)
    backend.conv2d(numbers((1, 1, 4, 4)), numbers((8, 1, 3, 3)), None, *plain, 1)
    backend.conv2d_input(numbers((1, 2, 4, 4)), numbers((2, 8, 3, 3)), (4, 4), *plain, 1)
    backend.conv2d_weight(numbers((1, 4, 4, 4)), numbers((1, 8, 4, 4)), (3, 3), *plain, 1)
    assert [launch.kernel.partition("<")[0].removeprefix("conv::") for launch in backend.device.launches] == [
        "direct", "direct", "direct_weight", "implicit", "implicit", "implicit_weight"
    ]  # fmt: skip


def test_an_image_that_32_bits_cannot_count_is_left_to_the_reference() -> None:
    """A view with steps so wide that its numbers lie 2^31 apart."""
    device = Device()
    x = np.lib.stride_tricks.as_strided(np.zeros(4, np.float32), (1, 1, 2, 2), (4, 4, 2**34, 4))
    arguments: Any = x, numbers((8, 1, 1, 1), "float32"), None, (1, 1), (0, 0), (1, 1), 1
    assert lines.conv2d(device, *arguments) is NotImplemented and not device.launches
    assert lines.conv2d(device, x[:, :, :1].copy(), *arguments[1:]) is not NotImplemented


def counts(convolution: Any, device: Device, *args: Any) -> Counts:
    convolution(*args)
    return device.launches[-1].counts


def test_tiles_move_less() -> None:
    """Each number of X and W comes once a tile instead of once a thread."""
    shape = (2, 8, 12, 12, 32, 3, 3, (1, 1), (1, 1), (1, 1), 1)
    x, w, b, g = arrays(shape, "float32")
    moved = {}
    for rung in RUNGS:
        device = Device()
        forward, by_input, by_weight = by_rung(device, rung)
        moved[rung] = [
            counts(forward, device, x, w, b, *shape[7:]),
            counts(by_input, device, g, w, (12, 12), *shape[7:]),
            counts(by_weight, device, x, g, (3, 3), *shape[7:]),
        ]
    for direct, implicit in zip(moved["direct"], moved["implicit"]):
        assert 4 * implicit.sectors < direct.sectors
        assert 4 * (implicit.global_loads + implicit.global_stores) < direct.global_loads + direct.global_stores
    assert [each.multiply_adds for each in moved["direct"]] == [2 * 144 * 32 * 8 * 9] * 3  # pixels, channels, taps


X, PLAIN = numbers((1, 3, 4, 4)), ((1, 1), (0, 0), (1, 1), 1)
REFUSED: list[tuple[Any, str]] = [
    (lambda d: lines.conv2d_by_rung(d, "direct", X, numbers((2, 2, 2, 2)), None, *PLAIN), "w .2, 2, 2, 2"),
    (lambda d: lines.conv2d_by_rung(d, "direct", X, numbers((2, 3, 5, 2)), None, *PLAIN), "w .2, 3, 5, 2"),
    (lambda d: lines.conv2d_by_rung(d, "implicit", X, numbers((2, 3, 2, 2)), X[0, 0, 0], *PLAIN), "b .4,"),
    (lambda d: lines.conv2d_input_by_rung(d, "direct", X, numbers((2, 2, 2, 2)), (5, 5), *PLAIN), "g .1, 3, 4, 4"),
    (lambda d: lines.conv2d_weight_by_rung(d, "implicit", X, numbers((1, 2, 9, 4)), (1, 1), *PLAIN), "g .1, 2, 9, 4"),
    (lambda d: lines.conv2d_weight_by_rung(d, "direct", X, X.astype(np.float32), (1, 1), *PLAIN), "all float32 or all"),
]


@pytest.mark.parametrize(("call", "words"), REFUSED, ids=[words for _, words in REFUSED])
def test_bad_input_is_refused(call: Any, words: str) -> None:
    device = Device()
    with pytest.raises(ValueError, match=words) as caught:
        call(device)
    assert "\n" not in str(caught.value) and "expected" in str(caught.value) and not device.launches


def test_what_no_kernel_covers_is_the_references() -> None:
    backend = Backend(Device())
    x, w = np.arange(18).reshape(1, 2, 3, 3), np.ones((1, 2, 2, 2), np.int64)
    options: Any = (1, 1), (0, 0), (1, 1), 1
    np.testing.assert_array_equal(backend.conv2d(x, w, None, *options), reference.conv2d(x, w, None, *options))
    g = np.ones((1, 1, 2, 2), np.int64)
    wanted = reference.conv2d_weight(x, g, (2, 2), *options)
    np.testing.assert_array_equal(backend.conv2d_weight(x, g, (2, 2), *options), wanted)
    assert not backend.device.launches
    with pytest.raises(ValueError):
        backend.conv2d(numbers((1, 2, 3, 3)), numbers((1, 2, 4, 4)), None, *options)


# ------------------------------------------------------------------------------------------ the table of operations

WINDOWED = ("conv", "max_pool", "avg_pool")
CASES = [
    pytest.param(row, variant, id=f"{row.op}-{variant}")
    for row in CONVOLUTION
    if row.op.startswith(WINDOWED)
    for variant in row.variants
]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("row", "variant"), CASES)
def test_the_operations_of_the_table(row: Row, variant: V, dtype: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Values and gradients of every convolution and pooling, by these kernels."""
    arrays = draw(variant, SIZES)
    with minidl.backend("reference"):
        wanted = gradients(row, variant, arrays)
    backend = Backend(Device())
    monkeypatch.setitem(kernels._by_array, np.ndarray, backend)
    check_value(row, variant, arrays, dtype)
    got = gradients(row, variant, arrays, dtype)
    for place in wanted:
        same(f"{row.op}: gradient {place}", got[place], wanted[place], 1e-11 if dtype == np.float64 else 1e-4)
    launched = {launch.kernel.partition("::")[0] for launch in backend.device.launches}
    assert ("pool" if "pool" in row.op else "conv") in launched
