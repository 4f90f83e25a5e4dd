"""Softmax, cross-entropy and their gradients as CUDA kernels, on the checked emulator, against the reference."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

from minidl.kernels import emulator, reference
from minidl.kernels.cuda import VERBS, Backend
from minidl.kernels.cuda.softmax import SOFTMAX, softmax_by_rung
from minidl.kernels.emulator import Device

pytestmark = pytest.mark.skipif(
    not emulator.available(), reason="the emulator is not built; type: python setup.py build_ext --inplace"
)
Array = np.ndarray
TYPES = [np.float32, np.float64]
# A lane, a pack, a warp's first packs, more of them, what no longer fits into its registers; other axes.
SHAPES: list[tuple[tuple[int, ...], int]] = [
    ((1,), 0), ((5, 1), 1), ((9, 3), 1), ((3, 31), 1), ((2, 64), 1), ((3, 129), 1), ((2, 260), 1), ((1, 1000), 1),
    ((2, 1032), 1), ((1, 2049), 1), ((2, 3, 4), 2), ((2, 3, 4), 1), ((5, 3), 0), ((3, 9, 33), 1), ((17, 70), 0),
    ((0, 3), 1), ((3, 0), 1), ((3, 0, 2), 0),
]  # fmt: skip


def numbers(shape: tuple[int, ...], dtype: type, seed: int = 0) -> Array:
    return (3 * np.random.default_rng(seed).standard_normal(shape)).astype(dtype)


def layouts(x: Array) -> list[Array]:
    """The same numbers: contiguous, off a boundary of 16 bytes, transposed, with steps, backwards."""
    off = np.empty(x.size + 1, x.dtype)[1:].reshape(x.shape)
    stepped = np.empty((*x.shape[:-1], 2 * x.shape[-1]), x.dtype)[..., ::2]
    backwards = np.empty(x.shape, x.dtype)[..., ::-1]
    off[...] = stepped[...] = backwards[...] = x
    return [x, off, x.T.copy().T, stepped, backwards]


def close(got: Any, want: Any, dtype: type, few: float = 16, size: float = 0.0) -> None:
    """Within a few roundings of the wanted number, or of `size` where larger ones cancel; NaN and inf where wanted."""
    assert got.dtype == dtype and got.shape == want.shape and got.flags.c_contiguous
    eps = few * np.finfo(dtype).eps
    np.testing.assert_allclose(got, want, rtol=eps, atol=max(eps * size, float(np.finfo(dtype).smallest_normal)))


def of(verb: str, *args: Any) -> Any:
    """The reference in float64: of float32, nothing of the difference is its own."""
    with np.errstate(all="ignore"):
        return getattr(reference, verb)(*(a.astype(np.float64) if getattr(a, "dtype", 0) == "f4" else a for a in args))


def values_and_gradients(backend: Backend, x: Array, g: Array, axis: int) -> None:
    dtype, n = x.dtype.type, max(x.shape[axis], 1)
    for verb in ("softmax", "log_softmax"):
        y = getattr(backend, verb)(x, axis)
        close(y, of(verb, x, axis), dtype, 64, 1.0 if verb == "log_softmax" else 0.0)
        want = of(f"{verb}_gradient", g, y, axis)
        close(getattr(backend, f"{verb}_gradient")(g, y, axis), want, dtype, 16, float(np.abs(g).max(initial=0)) * n)


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize(("shape", "axis"), SHAPES, ids=str)
def test_values_and_gradients(shape: tuple[int, ...], axis: int, dtype: type) -> None:
    values_and_gradients(Backend(Device()), numbers(shape, dtype), numbers(shape, dtype, 1), axis)


@pytest.mark.parametrize("dtype", TYPES)
def test_any_layout(dtype: type) -> None:
    x, g = numbers((6, 20), dtype), numbers((6, 20), dtype, 1)
    for (xs, gs), axis in itertools.product(zip(layouts(x), reversed(layouts(g)), strict=True), (0, 1)):
        values_and_gradients(Backend(Device()), xs, gs, axis)
    values_and_gradients(Backend(Device()), np.broadcast_to(x[:, :1], x.shape), np.broadcast_to(g[0], g.shape), 1)


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("rung", SOFTMAX)
def test_every_rung(rung: str, dtype: type) -> None:
    sizes = [((1, 1), 1), ((5, 7), 1), ((37, 3), 0), ((2, 261), 1), ((2, 1028), 1), ((2, 5, 6), 1), ((0, 3), 1)]
    for shape, axis in sizes:
        x = numbers(shape, dtype)
        close(softmax_by_rung(Device(), rung, x, axis), of("softmax", x, axis), dtype, 64)
    x = numbers((3, 8), dtype)[:, ::-1]
    close(softmax_by_rung(Device(), rung, x, 1), of("softmax", x, 1), dtype, 64)


def odd_rows(n: int, dtype: type) -> Array:
    """Rows with infinities, NaN and numbers whose exp or whose difference overflows."""
    most = np.finfo(dtype).max
    x = numbers((12, n), dtype)
    x[0] = -np.inf
    x[1, : n // 2] = -np.inf
    x[2, n // 2 :] = -np.inf
    x[3, n // 3] = np.inf
    x[4] = np.inf
    x[5, -1] = np.nan
    x[6, 0], x[6, -1] = np.inf, np.nan
    x[7] += dtype(1e4)
    x[8, 0] = most / 2
    x[9] = -most / 4
    x[10] *= dtype(100)
    x[11, 0], x[11, -1] = np.inf, -np.inf
    return x


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("n", [2, 9, 132, 1030])
def test_infinities_and_nan(n: int, dtype: type) -> None:
    backend, x = Backend(Device()), odd_rows(n, dtype)
    for verb in ("softmax", "log_softmax"):
        with np.errstate(all="ignore"):
            want = getattr(reference, verb)(x, 1)
        close(getattr(backend, verb)(x, 1), want, dtype, 64, 1.0)
        if n < 1000:
            close(getattr(backend, verb)(x.T.copy(), 0), want.T, dtype, 64, 1.0)
    for rung in SOFTMAX:
        close(softmax_by_rung(Device(), rung, x, 1), of("softmax", x, 1), dtype, 64, 1.0)


# ----------------------------------------------------------------------------------------------- cross-entropy


def check_cross_entropy(backend: Backend, x: Array, t: Array, w: Array | None, smoothing: float) -> None:
    """Losses are differences of logits: as exact as the largest one of a row, smoothed ones as all of them together."""
    dtype, rest = x.dtype.type, (w, 1, smoothing)  # class 1 is ignored
    largest = float(np.abs(x[np.isfinite(x)]).max(initial=1))
    losses, lse = backend.cross_entropy(x, t, *rest)
    want, want_lse = of("cross_entropy", x, t, *rest)
    close(losses, want, dtype, 16, largest * (1 if w is None else w.max()) * (1 + x.shape[1] * smoothing) / 2)
    close(lse, want_lse, dtype, 16, 1.0)
    g = numbers(t.shape, dtype, 7)
    got = backend.cross_entropy_gradient(g, x, t, lse, *rest)
    close(got, of("cross_entropy_gradient", g, x, t, lse, *rest), dtype, 64, float(np.abs(g).max(initial=1)))


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("n", [2, 10, 65, 1028])
def test_cross_entropy(n: int, dtype: type) -> None:
    random = np.random.default_rng(n)
    rows = 3 if n > 1000 else 11
    x, t, w = numbers((rows, n), dtype), random.integers(0, n, rows), np.abs(numbers((n,), dtype, 3))
    t[1] = 1
    for weight, smoothing in itertools.product((None, w), (0.0, 0.1, 1.0)):
        check_cross_entropy(Backend(Device()), x, t, weight, smoothing)
    for xs in layouts(x):
        check_cross_entropy(Backend(Device()), xs, np.repeat(t, 2)[::2], np.repeat(w, 2)[::2], 0.2)


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("n", [3, 1030])
def test_cross_entropy_of_odd_rows(n: int, dtype: type) -> None:
    """Ignored rows give 0 whatever they hold; where the reference has infinities or NaN, so have the kernels."""
    x = odd_rows(n, dtype)
    for t, smoothing in itertools.product((0, 1, n - 1), (0.0, 0.1)):
        for i in range(len(x)):
            if i not in (8, 9) or not smoothing:  # sums of their numbers are too large for float32
                check_cross_entropy(Backend(Device()), x[i : i + 1], np.array([t]), None, smoothing)


def test_cross_entropy_at_the_edges() -> None:
    backend, x = Backend(Device()), numbers((3, 4), np.float32)
    target = np.array([0, 9, -100])
    losses, lse = backend.cross_entropy(x, target, None, -100, 0.0)
    assert np.isfinite(losses[0]) and np.isnan(losses[1]) and losses[2] == 0 and np.isfinite(lse).all()
    got = backend.cross_entropy_gradient(np.ones(3, np.float32), x, target, lse, None, -100, 0.0)
    assert np.isfinite(got[0]).all() and np.isnan(got[1]).all() and (got[2] == 0).all()
    losses, lse = backend.cross_entropy(x[:0], target[:0], None, -100, 0.0)
    assert losses.shape == lse.shape == (0,)
    assert backend.cross_entropy_gradient(losses, x[:0], target[:0], lse, None, -100, 0.0).shape == (0, 4)


# ---------------------------------------------------------------------------------------------------- launches


def test_launches() -> None:
    """One launch each, of the kernel that the row's length asks for."""
    device = Device()
    backend = Backend(device)
    x = numbers((40, 129), np.float32)
    t = np.zeros(40, np.int64)
    _, lse = backend.cross_entropy(x, t, None, -100, 0.0)
    backend.cross_entropy_gradient(lse, x, t, lse, None, -100, 0.0)
    for shape in ((40, 10), (40, 256), (40, 1024), (40, 1025)):
        backend.softmax(numbers(shape, np.float32), 1)
    backend.log_softmax(numbers((4, 9, 33), np.float64), 1)
    assert [(each.kernel.removeprefix("softmax::"), each.grid[0]) for each in device.launches] == [
        ("cross_entropy<float, 32>", 5),
        ("cross_entropy_gradient<float, 32>", 5),
        ("vectorized<float, false, 32, 2>", 5),
        ("vectorized<float, false, 32, 2>", 5),
        ("vectorized<float, false, 32, 8>", 5),
        ("vectorized<float, false, 256, 0>", 40),
        ("columns<double, true>", 8),
    ]


def test_every_kernel_has_a_launch_line() -> None:
    device = Device()
    backend = Backend(device)
    for dtype, n in itertools.product(TYPES, (4, 300, 1100)):
        x, t = numbers((2, n), dtype), np.zeros(2, np.int64)
        for verb, axis in itertools.product(("softmax", "log_softmax"), (0, 1)):
            getattr(backend, f"{verb}_gradient")(x, getattr(backend, verb)(x, axis), axis)
        _, lse = backend.cross_entropy(x, t, None, 0, 0.0)
        backend.cross_entropy_gradient(lse, x, t, lse, None, 0, 0.0)
        for rung in SOFTMAX:
            softmax_by_rung(device, rung, x, 1)
    every = {name for name in emulator.library(True).kernels if name.startswith("softmax::")}
    assert {launch.kernel for launch in device.launches} == every


def test_rungs_ask_for_what_theory_says() -> None:
    """M rows of N float32, N a multiple of 128. A sector holds 8 numbers, a warp has 32 threads; Y is written once."""
    M, N = 32, 256
    x = numbers((M, N), np.float32)
    counted = {rung: emulator.profile(emulator.softmax[rung], x, 1) for rung in SOFTMAX}
    apart, beside = M * N, M * N // 8
    sectors = [4 * apart, 4 * beside, 3 * beside, 3 * beside, 2 * beside]
    assert [counts.sectors for counts in counted.values()] == sectors
    loads = M * N // 32
    instructions = [4 * loads, 4 * loads, 3 * loads, 3 * loads // 4, 2 * loads // 4]
    assert [counts.global_loads + counts.global_stores for counts in counted.values()] == instructions
    assert [counts.exchanges for counts in counted.values()] == [0, 10 * M, 10 * M, 10 * M, 10 * M]
    assert all(counts.atomics == counts.barriers == 0 for counts in counted.values())
    x = numbers((9, 65), np.float32)  # rows that begin between two packs: neighbours still share sectors
    four, two = (emulator.profile(emulator.softmax[rung], x, 1).sectors for rung in ("warp", "kept"))
    assert four == 2 * two


def test_what_the_kernels_leave_to_the_reference() -> None:
    """Nothing above went there; these do: other types, shapes that the reference must look at."""
    device, x = Device(), numbers((3, 4), np.float32)
    t = np.zeros(3, np.int64)
    for verb, args in {
        "softmax": (x.astype(np.float16), 1),
        "log_softmax": (x, 2),
        "softmax_gradient": (x, x.astype(np.float64), 1),
        "log_softmax_gradient": (x[:1], x, 1),
        "cross_entropy": (x, t.astype(np.int32), None, 0, 0.0),
        "cross_entropy_gradient": (x[:, 0], x, t, x[:2, 0], None, 0, 0.0),
    }.items():
        assert VERBS[verb](device, *args) is NotImplemented
    assert not device.launches
    with pytest.raises(ValueError, match=r"softmax\.warp: axis 2 of an array \(3, 4\); expected 0 to 1"):
        emulator.softmax.warp(x, 2)


@pytest.mark.skipif(not emulator.available(checked=False), reason="the quick emulator is not built")
@pytest.mark.parametrize("dtype", TYPES)
def test_larger_sizes_and_the_same_bits_every_time(dtype: type) -> None:
    backend = Backend(Device(checked=False))
    for shape, axis in [((300, 70), 1), ((37, 1500), 1), ((5, 9001), 1), ((6, 50, 70), 1), ((900, 40), 0)]:
        x, g = numbers(shape, dtype), numbers(shape, dtype, 1)
        values_and_gradients(backend, x, g, axis)
        for verb in ("softmax", "log_softmax"):
            y = getattr(backend, verb)(x, axis)
            np.testing.assert_array_equal(y, getattr(backend, verb)(x.copy(), axis))
            first = getattr(backend, f"{verb}_gradient")(g, y, axis)
            np.testing.assert_array_equal(first, getattr(backend, f"{verb}_gradient")(g.copy(), y.copy(), axis))
