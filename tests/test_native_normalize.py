"""Layer, RMS and batch norm in C++, and the single-pass derivatives, against the NumPy reference and float64."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from native_checks import DTYPES, Array, check, layouts, numbers, resolution

import minidl
from minidl import autograd, ops
from minidl.kernels import native, reference
from minidl.nn import functional as F

_native = pytest.importorskip("minidl._native")
ROWS = [(1, 1), (7, 1), (1, 10), (129, 10), (64, 65), (1, 384), (70, 384), (9, 1000), (2, 16), (5, 17), (3, 4099)]
CHANNELS = [(2, 1), (64, 10), (130, 33), (3, 2, 5), (4, 3, 7, 9), (2, 5, 1, 1), (3, 16, 28, 28), (2, 3, 70, 70)]


def close(got: Any, want: Any, dtype: type, terms: float, label: object = "", size: float = 1.0) -> None:
    """Within roundings of arithmetic on `terms` numbers, of the wanted ones' size or of `size`."""
    for g, w in zip(got, want, strict=True):
        assert (g is None) == (w is None), label
        if g is not None:
            assert g.dtype == dtype and g.shape == w.shape and g.flags.c_contiguous, label
            largest = max(float(np.abs(w).max(initial=0)), size)
            bound = (8 + terms**0.5) * resolution(dtype) * largest
            np.testing.assert_allclose(g, w, rtol=0, atol=bound, err_msg=str(label))


def wide(*arrays: Any) -> list[Any]:
    return [a.astype(np.float64) if isinstance(a, np.ndarray) else a for a in arrays]


def steepest(x: Array, rstd: Array, weight: Array | None) -> float:
    """What cancels where x hardly varies."""
    return float(np.abs(x).max() * np.abs(rstd).max() * (1 if weight is None else np.abs(weight).max()))


def rows_of(shape: tuple[int, ...], dtype: type, shift: float = 0.0) -> list[Array]:
    """x, g, weight, bias"""
    n = shape[-1:]
    return [numbers(shape, dtype) + dtype(shift), *(numbers(s, dtype, i) for i, s in ((1, shape), (2, n), (3, n)))]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [*ROWS, (2, 3, 40), (2, 70_001), (40, 70_001)], ids=str)
def test_rows(shape: tuple[int, ...], dtype: type) -> None:
    x, g, w, b = rows_of(shape, dtype)
    n = x.size / shape[-1]
    for weight, bias in ((w, b), (None, None), (w, None), (None, b)):
        for xs, gs in zip(layouts(x), layouts(g), strict=True) if x.size < 1000 else [(x, g)]:
            y, mean, rstd = native.layer_norm(xs, 1, weight, bias, 1e-5)
            close((y, mean, rstd), reference.layer_norm(*wide(xs), 1, *wide(weight, bias), 1e-5), dtype, 4, shape)
            for needed in itertools.product((True, False), repeat=3):
                got = native.layer_norm_gradient(gs, xs, 1, mean, rstd, weight, needed)
                want = reference.layer_norm_gradient(*wide(gs, xs), 1, *wide(mean, rstd, weight), needed)
                close(got, want, dtype, n, (shape, needed), steepest(gs, rstd, weight))
            y, rstd = native.rms_norm(xs, 1, weight, 1e-5)
            close((y, rstd), reference.rms_norm(*wide(xs), 1, *wide(weight), 1e-5), dtype, 4, shape)
            for needed in itertools.product((True, False), repeat=2):
                got = native.rms_norm_gradient(gs, xs, 1, rstd, weight, needed)
                want = reference.rms_norm_gradient(*wide(gs, xs), 1, *wide(rstd, weight), needed)
                close(got, want, dtype, n, (shape, needed), steepest(gs, rstd, weight))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", CHANNELS, ids=str)
def test_channels(shape: tuple[int, ...], dtype: type) -> None:
    x, g = numbers(shape, dtype), numbers(shape, dtype, 1)
    w, b, m = (numbers(shape[1:2], dtype, i) for i in (2, 3, 4))
    v = np.abs(numbers(shape[1:2], dtype, 5)) + dtype(0.5)
    n = x.size / shape[1]
    for weight, bias in ((w, b), (None, None)):
        for xs, gs in zip(layouts(x), layouts(g), strict=True) if x.size < 1000 else [(x, g)]:
            for given in ((None, None), (m, v)):
                y, mean, var = native.batch_norm(xs, *given, weight, bias, 1e-3)
                want = reference.batch_norm(*wide(xs, *given, weight, bias), 1e-3)
                close((y, mean, var), want, dtype, 16, shape, steepest(xs, (var + 1e-3) ** -0.5, weight))
                for needed in itertools.product((True, False), repeat=3):
                    rest = (1e-3, given[0] is None, needed)
                    got = native.batch_norm_gradient(gs, xs, mean, var, weight, *rest)
                    want = reference.batch_norm_gradient(*wide(gs, xs, mean, var, weight), *rest)
                    close(got, want, dtype, n, (shape, rest), steepest(gs, (var + 1e-3) ** -0.5, weight))


def test_the_kernels_take_these_arguments() -> None:
    """Nothing above went to the reference."""
    x, g, w, b = rows_of((4, 6), np.float32)
    for verb, args in {
        "layer_norm": (x, 1, w, b, 1e-5),
        "layer_norm_gradient": (g, x, 2, x[:1, 0], x[:1, 1], None, (True, False, True)),
        "rms_norm": (x, 2, None, 1e-5),
        "rms_norm_gradient": (g, x, 1, x[:, 1], w, (True, False)),
        "batch_norm": (x, None, None, w, b, 1e-5),
        "batch_norm_gradient": (g, x, b, abs(w), w, 1e-5, True, (False, True, True)),
    }.items():

        def refused(*args: Any, verb: str = verb) -> None:
            raise AssertionError(f"{verb} went to the reference")

        _native.verbs({**vars(reference), verb: refused})[verb](*args)


@pytest.mark.parametrize("n", [10, 65, 384, 1000, 5000, 70_000])
@pytest.mark.parametrize("dtype", DTYPES)
def test_statistics_far_from_zero(n: int, dtype: type) -> None:
    """A mean of 1e4 beside a small deviation: of floats both still come out to a few roundings. Of doubles the blocks'
    means are rounded to doubles, which the deviation feels.
    """
    deviation = 0.1 if dtype == np.float32 else 1e-6
    few = (8 if dtype == np.float32 else 1e4 / deviation) * resolution(dtype)
    x = (1e4 + deviation * np.random.default_rng(n).standard_normal((3, n))).astype(dtype)
    exact = x.astype(np.longdouble)
    mean, var = exact.mean(1), exact.var(1)
    y, got_mean, rstd = native.layer_norm(x, 1, None, None, 0.0)
    rounding = (1 if dtype == np.float32 else 20) * resolution(dtype)  # doubles are joined in doubles
    np.testing.assert_allclose(got_mean, mean.astype(np.float64), rtol=rounding)
    np.testing.assert_allclose(rstd, (1 / np.sqrt(var)).astype(np.float64), rtol=few)
    # As if x had been moved by a rounding of the mean:
    want = ((exact - mean[:, None]) / np.sqrt(var)[:, None]).astype(np.float64)
    np.testing.assert_allclose(y, want, rtol=1e-5, atol=1e4 * resolution(dtype) / deviation)
    for columns in (x.T.copy(), x[None].copy()):  # samples of 3 channels; one image of 3 channels
        _, got_mean, var_ = native.batch_norm(columns, None, None, None, None, 1e-5)
        np.testing.assert_allclose(got_mean, mean.astype(np.float64), rtol=rounding)
        np.testing.assert_allclose(var_, var.astype(np.float64), rtol=2 * few)


@pytest.mark.parametrize("dtype", DTYPES)
def test_constant_rows_and_special_values(dtype: type) -> None:
    for value in (0.0, 1.0, 0.1, -1e4, 3.3e7, 1e-40):
        for n in (1, 3, 10, 65, 384, 5001):
            x = np.full((2, n), value, dtype)
            y, mean, rstd = native.layer_norm(x, 1, None, None, 1e-5)
            np.testing.assert_array_equal(y, 0)
            np.testing.assert_array_equal(mean, x[:, 0])
            np.testing.assert_allclose(rstd, 1e-5**-0.5, rtol=4 * resolution(dtype))
            y, _, var = native.batch_norm(x.T.copy(), None, None, None, None, 1e-5)
            np.testing.assert_array_equal(y, 0)
            np.testing.assert_array_equal(var, 0)
    for value in (np.nan, np.inf, -np.inf):
        for n, at in itertools.product((1, 10, 33, 1000), (0, -1)):
            x = numbers((3, n), dtype)
            x[1, at] = value
            y, mean, rstd = native.layer_norm(x, 1, None, None, 1e-5)
            assert np.isnan(y[1]).all() and np.isfinite(y[[0, 2]]).all()
            np.testing.assert_array_equal(mean[1], value)
            got = native.layer_norm_gradient(x, x, 1, mean, rstd, None, (True, True, True))
            assert np.isnan(got[0][1]).all() and np.isfinite(got[0][[0, 2]]).all() and np.isnan(got[1]).all()
            y, rstd = native.rms_norm(x, 1, None, 1e-5)
            want = reference.rms_norm(x, 1, None, 1e-5)[0]
            np.testing.assert_array_equal(np.isnan(y), np.isnan(want))


def test_sizes_of_nothing() -> None:
    for name in ("reference", "native"):
        with minidl.backend(name):
            for shape in ((0, 5), (3, 0), (0, 0)):
                x = minidl.zeros(*shape, requires_grad=True)
                w = minidl.ones(shape[1], requires_grad=True)
                for y in (F.layer_norm(x, shape[1], w, w), F.rms_norm(x, shape[1], w)):
                    y.sum().backward()
                    assert y.shape == x.grad.shape == shape and w.grad.shape == w.shape
                    assert (w.grad.array == 0).all()
                    w.grad = None


# --------------------------------------------------------------------------------- derivatives in a single pass

GRADIENTS = ["relu_gradient", "tanh_gradient", "sigmoid_gradient", "silu_gradient", "gelu_gradient"]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("verb", GRADIENTS)
def test_gradients(verb: str, dtype: type) -> None:
    for shape in [(), (0,), (1,), (7,), (33,), (3, 5), (5, 1, 13), (64, 97)]:
        g, x = numbers(shape, dtype, 1), numbers(shape, dtype, special=True)
        x = np.where(np.abs(x) > 1e20, dtype(50), x)  # beyond, only the reference's squares overflow
        x = np.asarray(reference.tanh(x) if verb in ("tanh_gradient", "sigmoid_gradient") else x)
        more = [("none",), ("tanh",)] if verb == "gelu_gradient" else [()]
        for (gs, xs), form in itertools.product(zip(layouts(g), layouts(x), strict=True), more):
            exact = 0 if verb == "relu_gradient" else 16 * resolution(dtype)
            check(verb, gs, xs, *form, rtol=exact, atol=16 * exact)  # the reference cancels in gelu's tail


@pytest.mark.parametrize("form, bound", [("none", 5), ("tanh", 4)])
def test_gelu_gradient_is_accurate(form: str, bound: float) -> None:
    """In units of the last place of 1, the slope's size, with g = 1; in the tail of its own value."""
    x = np.linspace(-12, 12, 100_001, dtype=np.float32)
    got = native.gelu_gradient(np.ones_like(x), x, form)
    want = reference.gelu_gradient(np.ones_like(x, np.float64), x.astype(np.float64), form)
    assert np.abs(got - want).max() <= bound * resolution(np.float32)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("p", [0.1, 0.5, 0.9, 1.0])
def test_dropout(p: float, dtype: type) -> None:
    for shape in [(), (0,), (5,), (3, 7), (300, 257)]:
        for x in layouts(numbers(shape, dtype, special=True)):
            for offset in (0, 1, 6):
                check("dropout", x, p, 7, offset)
            mask = np.asarray(np.random.default_rng(0).random(shape) < p)
            for m in layouts(mask):
                check("masked_scale", x, m, 1.25)


# ------------------------------------------------------------------------------------------- the operations

SAME = {
    "relu": lambda x: ops.relu(x),
    "tanh": lambda x: ops.tanh(x),
    "sigmoid": lambda x: ops.sigmoid(x),
    "silu": lambda x: ops.silu(x),
    "gelu": lambda x: ops.gelu(x),
    "gelu_tanh": lambda x: ops.gelu(x, "tanh"),
    "dropout": lambda x: ops.dropout(x, 0.3, generator=minidl.Generator().manual_seed(3)),
    "layer_norm": lambda x: F.layer_norm(x, (9,), x[0], x[1]),
    "rms_norm": lambda x: F.rms_norm(x, (9,), x[0]),
    "batch_norm": lambda x: F.batch_norm(x, None, None, x[0], x[1], training=True),
    "batch_norm_evaluated": lambda x: F.batch_norm(x, minidl.ones(9), minidl.full((9,), 2.0), x[0], x[1]),
}


@pytest.mark.parametrize("name", SAME)
def test_a_walk_gives_the_same_gradient_recorded_or_not(name: str) -> None:
    """The kernel of a plain walk, and the formula in the engine's operations of one that is differentiated again."""
    x = minidl.tensor(numbers((6, 9), np.float64), requires_grad=True)
    G = minidl.tensor(numbers((6, 9), np.float64, 1), requires_grad=True)
    (plain,) = autograd.grad(SAME[name](x), (x,), (G,))
    (recorded,) = autograd.grad(SAME[name](x), (x,), (G,), create_graph=True)
    assert plain.node is None and recorded.node is not None
    np.testing.assert_allclose(plain.array, recorded.array, rtol=1e-12, atol=1e-12)


def test_parameters_of_other_dtypes() -> None:
    x, w = minidl.randn(4, 6, dtype=minidl.float64), minidl.ones(6, requires_grad=True)
    for y in (F.layer_norm(x, 6, w, w), F.rms_norm(x, 6, w), F.batch_norm(x, None, None, w, w, True)):
        y.sum().backward()
        assert y.dtype == minidl.float64 and w.grad.dtype == minidl.float32
    mean, var = minidl.zeros(6), minidl.ones(6)
    F.batch_norm(x, mean, var, training=True)
    assert mean.dtype == var.dtype == minidl.float32
    half = minidl.randn(4, 6).half()
    for y in (F.layer_norm(half, 6), F.rms_norm(half, 6), F.batch_norm(half, None, None, training=True)):
        assert y.dtype == minidl.float16 and np.isfinite(y.array).all()


def test_running_statistics_may_move_between_forward_and_backward() -> None:
    x = minidl.randn(5, 3, requires_grad=True)
    mean, var = minidl.zeros(3), minidl.ones(3)
    y = F.batch_norm(x, mean, var)
    mean.add_(5)
    var.mul_(9)
    y.sum().backward()
    np.testing.assert_allclose(x.grad.array, 1, rtol=1e-5)


# ------------------------------------------------------------------------------- threads, instruction sets


def workload() -> list[bytes]:
    results: list[Array] = []
    for dtype, shape in itertools.product(DTYPES, [(5000, 10), (700, 65), (300, 384), (3, 100_003), (40, 70_001)]):
        x, g, w, b = rows_of(shape, dtype)
        y, mean, rstd = native.layer_norm(x, 1, w, b, 1e-5)
        results += [y, mean, rstd, *native.layer_norm_gradient(g, x, 1, mean, rstd, w, (True, True, True))]
        y, rstd = native.rms_norm(x, 1, w, 1e-5)
        results += [y, rstd, *native.rms_norm_gradient(g, x, 1, rstd, w, (True, True))]
        if x.shape[1] == 70_001:
            x, g, w, b = x.reshape(40, 1, 70_001), g.reshape(40, 1, 70_001), w[:1], b[:1]
        y, mean, var = native.batch_norm(x, None, None, w, b, 1e-5)
        results += [y, mean, var, *native.batch_norm_gradient(g, x, mean, var, w, 1e-5, True, (True, True, True))]
        results += [native.gelu_gradient(g, x, "none"), *native.dropout(x, 0.3, 1, 2)]
    x, g = numbers((20, 16, 28, 28), np.float32), numbers((20, 16, 28, 28), np.float32, 1)
    y, mean, var = native.batch_norm(x, None, None, None, None, 1e-5)
    results += [y, mean, var, *native.batch_norm_gradient(g, x, mean, var, None, 1e-5, True, (True, True, True))]
    return [each.tobytes() for each in results]


@pytest.fixture
def threads() -> Iterator[Callable[[int], None]]:
    before = native.get_num_threads()
    yield native.set_num_threads
    native.set_num_threads(before)


def test_any_number_of_threads_gives_the_same_bits(threads: Callable[[int], None]) -> None:
    results = []
    for count in (1, 2, 3, 8):
        threads(count)
        results.append(workload())
    assert all(each == results[0] for each in results)


@pytest.mark.parametrize("level", [name for name in _native.levels() if name != _native.get_level()])
@pytest.mark.timeout(600)
@pytest.mark.skipif("MINIDL_ISA" in os.environ, reason="this process chose its own instruction set")
def test_other_instruction_sets(level: str) -> None:
    """This file once more, on each instruction set that this machine has."""
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", __file__]
    environment = {**os.environ, "MINIDL_ISA": level}
    here = Path(__file__).parent
    run = subprocess.run(command, env=environment, cwd=here, capture_output=True, text=True, timeout=600)
    assert run.returncode == 0, run.stdout[-3000:] + run.stderr[-1000:]
