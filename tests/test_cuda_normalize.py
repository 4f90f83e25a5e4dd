"""Layer, RMS and batch norm as CUDA kernels, on the checked emulator, against the reference in float64."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

from minidl.kernels import emulator, reference
from minidl.kernels.cuda import VERBS, Backend
from minidl.kernels.emulator import Device

pytestmark = pytest.mark.skipif(
    not emulator.available(), reason="the emulator is not built; type: python setup.py build_ext --inplace"
)
Array = np.ndarray
TYPES = [np.float32, np.float64]
# A lane, a pack, a warp's first packs, more of them, what no longer fits into its registers.
ROWS = [(1, 1), (9, 3), (5, 4), (3, 31), (2, 64), (7, 129), (3, 260), (2, 1000), (2, 1032), (1, 2049)]
CHANNELS = [(1, 1), (2, 1), (40, 10), (7, 33), (3, 2, 5), (2, 3, 4, 6), (2, 5, 1, 1), (2, 3, 33, 33), (1, 2, 47, 47)]
CHANNELS += [(1, 1040)]


def numbers(shape: tuple[int, ...], dtype: type, seed: int = 0) -> Array:
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


def layouts(x: Array) -> list[Array]:
    """The same numbers: contiguous, off a boundary of 16 bytes, transposed, with steps, backwards."""
    off = np.empty(x.size + 1, x.dtype)[1:].reshape(x.shape)
    stepped = np.empty((*x.shape[:-1], 2 * x.shape[-1]), x.dtype)[..., ::2]
    backwards = np.empty(x.shape, x.dtype)[..., ::-1]
    off[...] = stepped[...] = backwards[...] = x
    return [x, off, x.T.copy().T, stepped, backwards]


def wide(*arrays: Any) -> list[Any]:
    return [a.astype(np.float64) if isinstance(a, np.ndarray) else a for a in arrays]


def close(got: Any, want: Any, dtype: type, terms: float, size: float = 1.0) -> None:
    """Within roundings of arithmetic on `terms` numbers of the wanted ones' size, or of `size`."""
    for g, w in zip(got, want, strict=True):
        assert (g is None) == (w is None)
        if g is not None:
            assert g.dtype == dtype and g.shape == w.shape and g.flags.c_contiguous
            bound = (8 + terms**0.5) * np.finfo(dtype).eps * max(float(np.abs(w).max(initial=0)), size)
            np.testing.assert_allclose(g, w, rtol=0, atol=bound)


def rows(backend: Backend, x: Array, g: Array, w: Array | None, b: Array | None, dims: int = 1) -> None:
    """Both norms of rows and all their gradients against the reference."""
    dtype, n = x.dtype.type, int(np.prod(x.shape[x.ndim - dims :]))
    y, mean, rstd = backend.layer_norm(x, dims, w, b, 1e-5)
    # The float32 mean is rounded: x̂ is as if x had been moved by that.
    moved = float(np.abs(x).max() * np.abs(rstd).max() * (1 if w is None else np.abs(w).max()))
    close((y, mean, rstd), reference.layer_norm(*wide(x), dims, *wide(w, b), 1e-5), dtype, 16, moved)
    large = float(np.abs(g).max() * np.abs(rstd).max()) * moved
    for needed in itertools.product((True, False), repeat=3):
        got = backend.layer_norm_gradient(g, x, dims, mean, rstd, w, needed)
        want = reference.layer_norm_gradient(*wide(g, x), dims, *wide(mean, rstd, w), needed)
        close(got, want, dtype, n + x.size / n, large)
    y, rstd = backend.rms_norm(x, dims, w, 1e-5)
    close((y, rstd), reference.rms_norm(*wide(x), dims, *wide(w), 1e-5), dtype, 16)
    large = float(np.abs(g).max() * np.abs(rstd).max() * (1 if w is None else np.abs(w).max()))
    for two in itertools.product((True, False), repeat=2):
        got = backend.rms_norm_gradient(g, x, dims, rstd, w, two)
        want = reference.rms_norm_gradient(*wide(g, x), dims, *wide(rstd, w), two)
        close(got, want, dtype, n + x.size / n, large)


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("shape", ROWS, ids=str)
def test_rows(shape: tuple[int, ...], dtype: type) -> None:
    x, g = numbers(shape, dtype), numbers(shape, dtype, 1)
    w, b = numbers(shape[-1:], dtype, 2), numbers(shape[-1:], dtype, 3)
    for parameters in ((w, b), (None, None)):
        rows(Backend(Device()), x, g, *parameters)


@pytest.mark.parametrize("dtype", TYPES)
def test_rows_of_any_layout(dtype: type) -> None:
    x, g = numbers((6, 20), dtype), numbers((6, 20), dtype, 1)
    w, b = numbers((20,), dtype, 2), numbers((20,), dtype, 3)
    for xs, gs in zip(layouts(x), reversed(layouts(g)), strict=True):
        rows(Backend(Device()), xs, gs, w[::-1], None)
    rows(Backend(Device()), x, np.broadcast_to(g[0], g.shape), None, b)
    x, g = numbers((2, 3, 4, 5), dtype), numbers((2, 3, 4, 5), dtype, 1)
    for dims in (2, 4):
        shape = x.shape[4 - dims :]
        rows(Backend(Device()), x, g, numbers(shape, dtype, 2), numbers(shape[::-1], dtype, 3).T, dims)


def channels(backend: Backend, x: Array, g: Array, given: tuple[Any, Any], w: Array | None, b: Array | None) -> None:
    dtype, n = x.dtype.type, x.size // x.shape[1]
    y, mean, var = backend.batch_norm(x, *given, w, b, 1e-3)
    moved = float(np.abs(x).max() * ((var + 1e-3) ** -0.5).max() * (1 if w is None else np.abs(w).max()))
    close((y, mean, var), reference.batch_norm(*wide(x, *given, w, b), 1e-3), dtype, 16, moved)
    large = float(np.abs(g).max() * ((var + 1e-3) ** -0.5).max()) * max(moved, 1)
    for needed in itertools.product((True, False), repeat=3):
        rest = (1e-3, given[0] is None, needed)
        got = backend.batch_norm_gradient(g, x, mean, var, w, *rest)
        close(got, reference.batch_norm_gradient(*wide(g, x, mean, var, w), *rest), dtype, n, large)


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("shape", CHANNELS, ids=str)
def test_channels(shape: tuple[int, ...], dtype: type) -> None:
    x, g = numbers(shape, dtype), numbers(shape, dtype, 1)
    w, b, m = (numbers(shape[1:2], dtype, seed) for seed in (2, 3, 4))
    v = np.abs(numbers(shape[1:2], dtype, 5)) + dtype(0.5)
    channels(Backend(Device()), x, g, (None, None), w, b)
    channels(Backend(Device()), x, g, (m, v), None, None)


@pytest.mark.parametrize("dtype", TYPES)
def test_channels_of_any_layout(dtype: type) -> None:
    for shape in ((6, 5), (2, 3, 4, 4)):
        x, g = numbers(shape, dtype), numbers(shape, dtype, 1)
        w = numbers((2 * shape[1],), dtype, 2)[::2]
        for xs, gs in zip(layouts(x), reversed(layouts(g)), strict=True):
            channels(Backend(Device()), xs, gs, (None, None), w, None)


# -------------------------------------------------------------------------------------------- awkward numbers


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("n", [10, 65, 1000, 5000])
def test_statistics_far_from_zero(n: int, dtype: type) -> None:
    """A mean of 1e5 deviations of floats (1e10 of doubles): the variance keeps its digits, in one pass over x."""
    deviation = 0.1 if dtype == np.float32 else 1e-6
    x = (1e4 + deviation * np.random.default_rng(n).standard_normal((3, n))).astype(dtype)
    exact = x.astype(np.longdouble)
    mean, var = exact.mean(1).astype(np.float64), exact.var(1).astype(np.float64)
    eps = np.finfo(dtype).eps
    backend = Backend(Device())
    _, got_mean, rstd = backend.layer_norm(x, 1, None, None, 0.0)
    np.testing.assert_allclose(got_mean, mean, rtol=eps)
    np.testing.assert_allclose(rstd, var**-0.5, rtol=8 * eps)
    for columns in (x.T.copy(), x[None].copy()):  # samples of 3 channels; one image of 3 channels
        _, got_mean, got_var = backend.batch_norm(columns, None, None, None, None, 1e-5)
        np.testing.assert_allclose(got_mean, mean, rtol=eps)
        np.testing.assert_allclose(got_var, var, rtol=16 * eps)


@pytest.mark.parametrize("dtype", TYPES)
def test_an_outlier_that_comes_first(dtype: type) -> None:
    """The number that differences are taken to is the worst one that there is."""
    x = numbers((2, 3000), dtype)
    x[:, 0] = 1e4
    backend, want = Backend(Device()), x.astype(np.float64)
    _, mean, rstd = backend.layer_norm(x, 1, None, None, 0.0)
    np.testing.assert_allclose(mean, want.mean(1), rtol=0, atol=1e4 * np.finfo(dtype).eps)
    np.testing.assert_allclose(rstd, want.var(1) ** -0.5, rtol=32 * np.finfo(dtype).eps)
    for columns in (x.T.copy(), x[None].copy()):
        _, _, var = backend.batch_norm(columns, None, None, None, None, 1e-5)
        np.testing.assert_allclose(var, want.var(1), rtol=1024 * np.finfo(dtype).eps)  # as many as a thread's numbers


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("n", [1, 5, 65, 300, 1100])
def test_constant_rows(n: int, dtype: type) -> None:
    backend = Backend(Device())
    for value in (0.0, 0.1, -1e4, 3.3e7):
        x = np.full((2, n), value, dtype)
        y, mean, rstd = backend.layer_norm(x, 1, None, None, 1e-5)
        np.testing.assert_array_equal(y, 0)
        np.testing.assert_array_equal(mean, x[:, 0])
        np.testing.assert_allclose(rstd, 1e-5**-0.5, rtol=4 * np.finfo(dtype).eps)
        for columns in (x.T.copy(), x[None].copy()):
            y, _, var = backend.batch_norm(columns, None, None, None, None, 1e-5)
            np.testing.assert_array_equal(y, 0)
            np.testing.assert_array_equal(var, 0)


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_special_values_stay_in_their_row(value: float, dtype: type) -> None:
    backend = Backend(Device())
    for n, at in itertools.product((1, 10, 300, 1100), (0, -1)):
        x = numbers((3, n), dtype)
        x[1, at] = value
        y, mean, rstd = backend.layer_norm(x, 1, None, None, 1e-5)
        assert np.isnan(y[1]).all() and np.isfinite(y[[0, 2]]).all() and np.isnan(rstd[1])
        np.testing.assert_array_equal(mean[1], value)
        gx, gw, _ = backend.layer_norm_gradient(x, x, 1, mean, rstd, None, (True, True, True))
        assert np.isnan(gx[1]).all() and np.isfinite(gx[[0, 2]]).all() and np.isnan(gw).all()
        with np.errstate(all="ignore"):
            want = reference.rms_norm(x, 1, None, 1e-5)
        for got, wanted in zip(backend.rms_norm(x, 1, None, 1e-5), want, strict=True):
            np.testing.assert_array_equal(np.isnan(got), np.isnan(wanted))
        for columns in (x.T.copy(), x[None].copy()):
            _, mean, var = backend.batch_norm(columns, None, None, None, None, 1e-5)
            np.testing.assert_array_equal(mean[1], value)
            assert np.isnan(var[1]) and np.isfinite(var[[0, 2]]).all() and np.isfinite(mean[[0, 2]]).all()


# ---------------------------------------------------------------------------------------------------- launches


def launched(device: Device) -> list[str]:
    names = [launch.kernel.removeprefix("normalize::") for launch in device.launches]
    device.launches.clear()
    return names


def test_launches() -> None:
    """A norm of rows is one launch; sums over them or over channels are two, and nothing is launched unasked."""
    device = Device()
    backend = Backend(device)
    x, w = numbers((70, 12), np.float32), numbers((12,), np.float32, 1)
    _, mean, rstd = backend.layer_norm(x, 1, w, w, 1e-5)
    assert launched(device) == ["forward<float, true, 32, 2>"]
    backend.layer_norm_gradient(x, x, 1, mean, rstd, w, (True, False, False))
    assert launched(device) == ["backward<float, true, 32, 2>"]
    backend.layer_norm_gradient(x, x, 1, mean, rstd, w, (False, True, True))
    assert launched(device) == ["column_sums<float, true>", "fold<float>"]
    assert backend.layer_norm_gradient(x, x, 1, mean, rstd, w, (False, False, False)) == (None, None, None)
    assert launched(device) == []
    backend.rms_norm(numbers((2, 1100), np.float64), 1, None, 1e-5)
    assert launched(device) == ["forward<double, false, 256, 0>"]
    _, mean, var = backend.batch_norm(x, None, None, w, w, 1e-5)
    assert launched(device) == ["column_moments<float>", "fold_moments<float>", "apply<float, false, 32>"]
    backend.batch_norm(x, mean, var, w, w, 1e-5)
    assert launched(device) == ["apply<float, false, 32>"]
    backend.batch_norm_gradient(x, x, mean, var, w, 1e-5, False, (True, False, False))
    assert launched(device) == ["apply_gradient<float, false, 32>"]
    x = x.reshape(2, 12, 35)
    backend.batch_norm_gradient(x, x, mean, var, w, 1e-5, True, (True, False, False))
    assert launched(device) == ["channel_sums<float>", "fold<float>", "apply_gradient<float, true, 32>"]


def test_every_kernel_has_a_launch_line() -> None:
    device = Device()
    backend = Backend(device)
    for dtype, n in itertools.product(TYPES, (4, 300, 1100)):
        x = numbers((2, n), dtype)
        _, mean, rstd = backend.layer_norm(x, 1, None, None, 1e-5)
        backend.layer_norm_gradient(x, x, 1, mean, rstd, None, (True, True, True))
        _, rstd = backend.rms_norm(x, 1, None, 1e-5)
        backend.rms_norm_gradient(x, x, 1, rstd, None, (True, True))
        for shape in ((2, n), (2, 1, n)):
            x = x.reshape(shape)
            _, mean, var = backend.batch_norm(x, None, None, None, None, 1e-5)
            backend.batch_norm_gradient(x, x, mean, var, None, 1e-5, True, (True, True, True))
    every = {name for name in emulator.library(True).kernels if name.startswith("normalize::")}
    assert {launch.kernel for launch in device.launches} == every


def test_what_the_kernels_leave_to_the_reference() -> None:
    """Nothing above went there; these do: nothing to compute, other types, parameters of another shape."""
    device, x = Device(), numbers((3, 4), np.float32)
    w = np.ones(4, np.float32)
    for verb, args in {
        "layer_norm": (x[:0], 1, w, w, 1e-5),
        "rms_norm": (x.astype(np.float16), 1, None, 1e-5),
        "layer_norm_gradient": (x, x, 1, x[:, 0], x[:, 0].astype(np.float64), w, (True, True, True)),
        "rms_norm_gradient": (x, x, 1, x[:, 0], w[:1], (True, True)),
        "batch_norm": (x[:, :0], None, None, None, None, 1e-5),
        "batch_norm_gradient": (x, x, w, w, w[:2], 1e-5, True, (True, True, True)),
    }.items():
        assert VERBS[verb](device, *args) is NotImplemented
    assert not device.launches
    for args in ((x[:0], 1, w, w, 1e-5), (x[:, :0], 1, None, None, 1e-5)):
        for got, want in zip(Backend(device).layer_norm(*args), reference.layer_norm(*args), strict=True):
            np.testing.assert_array_equal(got, want)


@pytest.mark.skipif(not emulator.available(checked=False), reason="the quick emulator is not built")
@pytest.mark.parametrize("dtype", TYPES)
def test_larger_sizes_and_the_same_bits_every_time(dtype: type) -> None:
    backend = Backend(Device(checked=False))
    for shape in ((300, 70), (37, 1500), (5, 9001)):
        x, g = numbers(shape, dtype), numbers(shape, dtype, 1)
        w, b = numbers(shape[-1:], dtype, 2), numbers(shape[-1:], dtype, 3)
        rows(backend, x, g, w, b)
        channels(backend, x, g, (None, None), w, b)
    x, g = numbers((5, 3, 70, 71), dtype), numbers((5, 3, 70, 71), dtype, 1)
    channels(backend, x, g, (None, None), None, None)
    _, mean, var = backend.batch_norm(x, None, None, None, None, 1e-3)
    _, *again = backend.batch_norm(x.copy(), None, None, None, None, 1e-3)
    assert np.array_equal(again, [mean, var])
    first, second = (
        backend.batch_norm_gradient(g, x, mean, var, None, 1e-3, True, (True, True, True)) for _ in range(2)
    )
    assert all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))
    x, g = x.reshape(-1, 71), g.reshape(-1, 71)
    _, mean, rstd = backend.layer_norm(x, 1, None, None, 1e-5)
    first, second = (backend.layer_norm_gradient(g, x, 1, mean, rstd, None, (True, True, True)) for _ in range(2))
    assert all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))
