"""The compiled frame (threads, instruction sets, builds without a compiler), and the kernels of matmul, convolution
and pooling against the NumPy reference: awkward sizes and layouts, both types, every instruction set, any number of
threads.
"""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minidl.kernels import build, native, reference

if not native.available:
    pytest.skip("no compiled kernels in this installation", allow_module_level=True)

from minidl import _native  # noqa: E402

HERE = Path(__file__).parent  # for children: the checkout's root has a minidl folder that is not the installed one
Array = np.ndarray
DTYPES = [np.float32, np.float64]


def refuses(verb: str) -> Callable[..., None]:
    def refused(*args: Any) -> None:
        raise AssertionError(f"{verb}{tuple(getattr(a, 'shape', a) for a in args)} went to the reference")

    return refused


# The verbs with no reference behind them: what a kernel does not take itself fails the test.
alone = _native.verbs({verb: refuses(verb) for verb in native.compiled})


def numbers(*shape: int, dtype: type = np.float32, seed: int = 0) -> Array:
    return np.random.default_rng([seed, *shape]).standard_normal(shape).astype(dtype)


def layouts(x: Array) -> Iterator[Array]:
    """x's values in other memory layouts."""
    yield x
    yield np.ascontiguousarray(x.swapaxes(-1, -2)).swapaxes(-1, -2)
    yield np.ascontiguousarray(x.T).T
    yield np.ascontiguousarray(x[..., ::-1, ::-1])[..., ::-1, ::-1]
    spread = np.full((*x.shape[:-2], 2 * x.shape[-2] + 1, 3 * x.shape[-1] + 1), np.nan, x.dtype)
    spread[..., 1::2, 1::3] = x
    yield spread[..., 1::2, 1::3]


def assert_near(got: Array, exact: Array, magnitude: Array, terms: int, label: object) -> None:
    """A sum of `terms` products differs from the exact one by roundings of their magnitude at most."""
    assert got.shape == exact.shape and got.flags.c_contiguous, label
    if got.size:
        error = np.abs(got - exact) / np.maximum(magnitude, 1e-300)
        worst = np.unravel_index(error.argmax(), error.shape)
        bound = (4 + 2 * terms**0.5) * np.finfo(got.dtype).eps
        assert error[worst] <= bound, f"{label} at {worst}: {exact[worst]} expected, {got[worst]} received"


# --------------------------------------------------------------------------------------------- matmul, linear

SIZES = [
    *[(1, 1, 1), (1, 5, 7), (5, 1, 7), (3, 4, 0), (0, 3, 4), (3, 0, 4), (7, 1, 1), (1, 9, 1), (1, 200, 30)],
    *[(13, 33, 5), (12, 32, 16), (72, 73, 74), (128, 10, 128), (4, 37, 65), (2, 64, 40), (3, 300, 3), (25, 31, 800)],
    *[(450, 40, 20), (40, 1100, 33), (129, 257, 385), (1, 300, 900), (300, 1, 900)],
]


def check_matmul(a: Array, b: Array, a_layouts: Iterable[Array] = (), b_layouts: Iterable[Array] = ()) -> None:
    exact, magnitude = a.astype(float) @ b.astype(float), np.abs(a).astype(float) @ np.abs(b).astype(float)
    pairs = [*itertools.product([*a_layouts] or [a], [*b_layouts] or [b])]
    for x, y in pairs if a.size * b.size < 20_000 else pairs[::6]:  # large ones: each layout once on each side
        assert_near(
            alone["matmul"](x, y), exact, magnitude, a.shape[-1], (x.shape, x.strides, y.shape, y.strides, x.dtype)
        )


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("m, n, k", SIZES)
def test_matmul(m: int, n: int, k: int, dtype: type) -> None:
    a, b = numbers(m, k, dtype=dtype), numbers(k, n, dtype=dtype, seed=1)
    check_matmul(a, b, layouts(a), layouts(b))


BATCHES = [
    *[((5, 1, 3, 4), (2, 4, 6)), ((2, 3, 4), (4, 5)), ((4, 5), (3, 5, 2)), ((7, 1, 4), (4, 3)), ((7, 1, 4), (7, 4, 1))],
    *[((3, 3, 4, 5), (3, 3, 5, 6)), ((0, 3, 4), (4, 2)), ((2, 3, 40, 50), (2, 1, 50, 33)), ((64, 1, 9), (64, 9, 11))],
    *[((3, 200, 100), (3, 100, 200)), ((1, 1, 1, 2, 3), (2, 1, 3, 1))],
]


@pytest.mark.parametrize("a, b", BATCHES)
def test_matmul_of_batches(a: tuple[int, ...], b: tuple[int, ...]) -> None:
    x, y = numbers(*a), numbers(*b, seed=1)
    check_matmul(x, y, layouts(x), layouts(y))
    check_matmul(np.broadcast_to(x[..., :1, :], a), np.broadcast_to(y[..., :1], b))


@given(
    st.integers(0, 40),
    st.integers(0, 70),
    st.integers(0, 50),
    st.integers(0, 4),
    st.integers(0, 4),
    st.sampled_from(DTYPES),
)
def test_matmul_of_any_size(m: int, n: int, k: int, of_a: int, of_b: int, dtype: type) -> None:
    a, b = list(layouts(numbers(m, k, dtype=dtype)))[of_a], list(layouts(numbers(k, n, dtype=dtype, seed=1)))[of_b]
    check_matmul(a, b)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(4,), (1, 4), (3, 4), (0, 4), (2, 3, 4), (5, 2, 3, 4), (130, 70), (3, 0)])
def test_linear(shape: tuple[int, ...], dtype: type) -> None:
    k = shape[-1]
    for outputs in (1, 6, 37):
        w, b = numbers(outputs, k, dtype=dtype, seed=1), numbers(2 * outputs, dtype=dtype, seed=2)[::2]
        x = numbers(*shape, dtype=dtype)
        for each in (x, x[::-1], np.asfortranarray(x)):
            exact = each.astype(float) @ w.T.astype(float)
            magnitude = np.abs(each).astype(float) @ np.abs(w.T) + np.abs(b)
            assert_near(alone["linear"](each, w, b), exact + b, magnitude, k, (shape, outputs))
            assert_near(alone["linear"](each, w, None), exact, magnitude, k, (shape, outputs))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(1, 4), (3, 4), (0, 4), (2, 3, 4), (5, 2, 3, 4), (130, 70), (2, 0, 3)])
def test_linear_gradient(shape: tuple[int, ...], dtype: type) -> None:
    k = shape[-1]
    for outputs in (1, 6, 37):
        w, x = numbers(outputs, k, dtype=dtype, seed=1), numbers(*shape, dtype=dtype)
        g = numbers(*shape[:-1], outputs, dtype=dtype, seed=2)
        turned = (np.asfortranarray(x), np.asfortranarray(g), w[::-1])
        for each, G, W in ((x, g, w), turned if len(shape) == 2 else (x, g, w[::-1])):
            exact = reference.linear_gradient(*(t.astype(float) for t in (G, each, W)), (True, True, True))
            magnitude = reference.linear_gradient(*(np.abs(t).astype(float) for t in (G, each, W)), (True, True, True))
            found = alone["linear_gradient"](G, each, W, (True, True, True))
            for got, wanted, size, terms in zip(found, exact, magnitude, (outputs, each.size, each.size), strict=True):
                assert_near(got, wanted, size, terms, (shape, outputs))
            some = alone["linear_gradient"](G, each, W, (False, True, False))
            assert [t is None for t in some] == [True, False, True]


def test_nan_and_infinity_stay_in_their_row() -> None:
    a, b = numbers(20, 30), numbers(30, 40, seed=1)
    a[3, 4], a[7, 0] = np.nan, np.inf
    got = native.matmul(a, b)
    assert np.isnan(got[3]).all() and not np.isfinite(got[7]).any()
    assert np.isfinite(np.delete(got, [3, 7], 0)).all()


def test_other_arguments_go_to_the_reference() -> None:
    a, b = numbers(3, 4), numbers(4, 5, seed=1)
    assert native.matmul(a.astype(np.int64), np.ones((4, 5), np.int64)).dtype == np.int64
    swapped = a.astype(a.dtype.newbyteorder())
    np.testing.assert_allclose(native.matmul(swapped, b), a @ b, rtol=1e-6)
    packed = np.zeros((3, 4), np.dtype([("pad", "u1"), ("x", "f4")]))["x"]  # misaligned
    packed[...] = a
    np.testing.assert_allclose(native.matmul(packed, b), a @ b, rtol=1e-6)
    np.testing.assert_allclose(native.matmul(a, b.astype(np.float64)), a @ b.astype(np.float64))
    with pytest.raises(ValueError):
        native.matmul(a, a)
    deep = numbers(*[1] * 9, 2, 3)
    assert native.matmul(deep, numbers(3, 2)).shape == (*[1] * 9, 2, 2)


# ----------------------------------------------------------------------------------------------- convolution

# images, groups, channels and filters of a group, (H, W), (R, S), stride, padding, dilation
CONVOLUTIONS = [
    (2, 1, 1, 4, (8, 8), (3, 3), (1, 1), (1, 1), (1, 1)),
    (1, 1, 3, 5, (9, 7), (3, 2), (1, 1), (0, 0), (1, 1)),
    (3, 2, 2, 3, (11, 13), (3, 3), (2, 1), (1, 2), (1, 1)),
    (2, 1, 2, 13, (14, 14), (3, 3), (1, 1), (1, 1), (1, 1)),
    (2, 1, 3, 4, (10, 9), (3, 3), (2, 2), (1, 1), (1, 1)),
    (1, 1, 2, 2, (15, 16), (3, 2), (3, 2), (2, 1), (2, 3)),
    (2, 5, 1, 1, (7, 29), (3, 3), (1, 1), (1, 1), (1, 1)),
    (2, 3, 1, 2, (12, 5), (1, 1), (2, 2), (0, 0), (1, 1)),
    (2, 1, 5, 33, (7, 7), (3, 3), (1, 1), (1, 1), (1, 1)),
    (17, 1, 4, 6, (6, 6), (5, 5), (1, 1), (2, 2), (1, 1)),
    (1, 1, 2, 3, (40, 50), (3, 3), (1, 1), (1, 1), (1, 1)),
    (1, 1, 1, 1, (1, 1), (1, 1), (1, 1), (0, 0), (1, 1)),
    (2, 1, 1, 2, (5, 4), (5, 4), (1, 1), (0, 0), (1, 1)),
    (1, 1, 1, 2, (3, 3), (2, 2), (1, 1), (3, 4), (2, 2)),
    (1, 1, 2, 2, (9, 9), (2, 2), (4, 5), (1, 1), (1, 1)),
    (1, 2, 3, 20, (1, 30), (1, 3), (1, 1), (0, 1), (1, 1)),
    (20, 1, 8, 16, (14, 14), (3, 3), (1, 1), (1, 1), (1, 1)),
    (3, 1, 2, 3, (4, 4), (3, 3), (2, 1), (1, 1), (1, 1)),
    (2, 1, 16, 18, (18, 17), (3, 3), (1, 1), (1, 1), (1, 1)),
    (1, 1, 33, 17, (20, 45), (3, 3), (1, 1), (0, 2), (1, 1)),
    (40, 1, 16, 16, (5, 6), (3, 3), (1, 1), (1, 1), (1, 1)),
    (3, 1, 1, 7, (9, 28), (3, 3), (1, 1), (1, 1), (1, 1)),
    (2, 2, 1, 5, (6, 31), (3, 2), (1, 2), (1, 1), (2, 1)),
]


def check_convolution(
    n: int, groups: int, c: int, o: int, size: Any, taps: Any, *window: Any, dtype: type = np.float32
) -> None:
    x, w = numbers(n, groups * c, *size, dtype=dtype), numbers(groups * o, c, *taps, dtype=dtype, seed=1)
    b, w64 = numbers(groups * o, dtype=dtype, seed=2), w.astype(float)
    args = (*window, groups)
    exact = reference.conv2d(x.astype(float), w64, None, *args)
    size_of_y = reference.conv2d(abs(x.astype(float)), abs(w64), None, *args)
    g = numbers(*exact.shape, dtype=dtype, seed=3)
    x64, g64 = x.astype(float), g.astype(float)
    to_x, to_w = reference.conv2d_input(g64, w64, size, *args), reference.conv2d_weight(x64, g64, taps, *args)
    size_of_x, size_of_w = (
        reference.conv2d_input(abs(g64), abs(w64), size, *args),
        reference.conv2d_weight(abs(x64), abs(g64), taps, *args),
    )
    label, sums = (n, groups, c, o, size, taps, window, dtype.__name__), c * taps[0] * taps[1]
    # Each array in every layout at least once, beside another one in another layout.
    for x_, w_, g_ in zip(layouts(x), [*layouts(w)][::-1], [*layouts(g)][2:] + [*layouts(g)][:2], strict=True):
        assert_near(
            alone["conv2d"](x_, w_, b, *args), exact + b[:, None, None], size_of_y + abs(b)[:, None, None], sums, label
        )
        assert_near(alone["conv2d"](x_, w_, None, *args), exact, size_of_y, sums, label)
        assert_near(alone["conv2d_input"](g_, w_, size, *args), to_x, size_of_x, o * taps[0] * taps[1], label)
        assert_near(
            alone["conv2d_weight"](x_, g_, taps, *args), to_w, size_of_w, n * exact.shape[2] * exact.shape[3], label
        )


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("case", CONVOLUTIONS, ids=str)
def test_convolution(case: tuple[Any, ...], dtype: type) -> None:
    check_convolution(*case, dtype=dtype)


small = st.tuples(st.integers(1, 3), st.integers(1, 3))


padded = st.tuples(st.integers(0, 3), st.integers(0, 3))
image = st.tuples(st.integers(1, 12), st.integers(1, 20))


@given(*[st.integers(1, most) for most in (3, 2, 3, 4)], image, small, small, padded, small)
def test_convolution_of_any_size(
    n: int, groups: int, c: int, o: int, size: Any, taps: Any, stride: Any, padding: Any, dilation: Any
) -> None:
    reach = [d * (k - 1) + 1 for d, k in zip(dilation, taps, strict=True)]
    if all(h + 2 * p >= r for h, p, r in zip(size, padding, reach, strict=True)):
        check_convolution(n, groups, c, o, size, taps, stride, padding, dilation)


def test_nan_in_an_image_reaches_only_what_it_touches() -> None:
    """Vectors run over the ends of rows; what they meet there must not leak."""
    for groups in (1, 3):
        x, w = numbers(1, 3, 9, 9), numbers(3, 3 // groups, 3, 3, seed=1)
        x[0, :, 4, 8] = np.nan
        window = ((1, 1), (0, 0), (1, 1), groups)
        y = native.conv2d(x, w, None, *window)
        expected = reference.conv2d(x, w, None, *window)
        np.testing.assert_array_equal(np.isnan(y), np.isnan(expected))
        g = numbers(*y.shape, seed=2)
        np.testing.assert_array_equal(
            np.isnan(native.conv2d_weight(x, g, (3, 3), *window)),
            np.isnan(reference.conv2d_weight(x, g, (3, 3), *window)),
        )
        g[0, :, 2, 6] = np.inf
        np.testing.assert_array_equal(
            np.isfinite(native.conv2d_input(g, w, (9, 9), *window)),
            np.isfinite(reference.conv2d_input(g, w, (9, 9), *window)),
        )


# -------------------------------------------------------------------------------------------------- pooling

POOLS = [
    (kernel, stride, padding, dilation, ceil)
    for kernel, stride, padding, dilation, ceil in itertools.product(
        [(2, 2), (3, 3), (3, 2), (1, 1)], [(2, 2), (1, 1), (3, 2)], [(0, 0), (1, 1)], [(1, 1), (2, 1)], [False, True]
    )
    if 2 * padding[0] <= kernel[0] and 2 * padding[1] <= kernel[1]
]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("size", [(8, 8), (7, 9), (5, 3), (13, 4), (33, 34)])
def test_pooling(size: tuple[int, int], dtype: type) -> None:
    rng = np.random.default_rng(0)
    x = rng.integers(-3, 4, (2, 3, *size)).astype(dtype)  # many ties
    odd = x.copy()
    odd[rng.random(x.shape) < 0.05] = np.nan
    odd[rng.random(x.shape) < 0.2] = -np.inf
    for kernel, stride, padding, dilation, ceil in POOLS:
        window = (kernel, stride, padding)
        for each in layouts(odd):
            expected = reference.max_pool2d(each, *window, dilation, ceil)
            for got, want in zip(alone["max_pool2d"](each, *window, dilation, ceil), expected, strict=True):
                assert got.dtype == want.dtype
                np.testing.assert_array_equal(got, want, err_msg=str((size, window, dilation, ceil)))
        if dilation != (1, 1):
            continue
        for each, count_padding in itertools.product(layouts(x), (False, True)):
            want = reference.avg_pool2d(each, *window, ceil, count_padding)
            np.testing.assert_allclose(
                alone["avg_pool2d"](each, *window, ceil, count_padding), want, rtol=1e-6, atol=1e-6
            )
            got = alone["avg_pool2d_input"](want, size, *window, ceil, count_padding)
            want = reference.avg_pool2d_input(want, size, *window, ceil, count_padding)
            np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("dtype", DTYPES)
def test_max_pool2d_input(dtype: type) -> None:
    """Windows that overlap name a place several times; a place outside the plane is refused."""
    for size in [(4, 4), (7, 5), (28, 28)]:
        y, index = reference.max_pool2d(numbers(2, 3, *size, dtype=dtype), (3, 2), (1, 2), (1, 1), (1, 1), False)
        for g in layouts(numbers(*y.shape, dtype=dtype, seed=1)):
            want = reference.max_pool2d_input(g, index, size)
            np.testing.assert_allclose(alone["max_pool2d_input"](g, index, size), want, rtol=1e-6, atol=1e-6)
    for place in (-1, 28 * 28):
        index[1, 2, 0, 0] = place
        with pytest.raises(ValueError, match="index holds a place outside the plane of 28 x 28"):
            native.max_pool2d_input(g, index, size)


@pytest.mark.skipif("libasan" in os.environ.get("LD_PRELOAD", ""), reason="the sanitizer is to see every block freed")
def test_large_results_use_their_memory_again() -> None:
    x = np.ones((100, 1000), np.float32)
    first = native.neg(x)
    assert first.ctypes.data % 64 == 0
    place = first.ctypes.data
    view = first[10:]
    del first
    second = native.neg(x)
    assert second.ctypes.data != place  # a view still looks at the first one
    assert (view == -1).all()
    del view
    assert native.neg(x).ctypes.data == place


def test_a_large_result_can_grow() -> None:
    y = native.neg(np.arange(20_000, dtype=np.float32))
    y.resize(50_000, refcheck=False)
    assert (y[:20_000] == -np.arange(20_000)).all()
    y.resize(10, refcheck=False)
    assert (y == -np.arange(10)).all()


# --------------------------------------------------------------------------- threads, forks, instruction sets


def workload() -> list[bytes]:
    """Large enough for several tasks of every kernel."""
    results: list[Array] = []
    for dtype in DTYPES:
        a, b = numbers(317, 811, dtype=dtype), numbers(811, 303, dtype=dtype, seed=1)
        results += [
            native.matmul(a, b),
            native.matmul(b.T, a.T),
            native.linear(a, b.T, a[0, :303]),
            native.matmul(a[:2], b),
            native.matmul(b.T, a[:1].T),
        ]
        results.append(native.matmul(numbers(9, 50, 60, dtype=dtype), numbers(9, 60, 40, dtype=dtype)))
        for n, groups in ((20, 1), (1, 1), (20, 6)):
            x, w = numbers(n, 6, 30, 31, dtype=dtype), numbers(18, 6 // groups, 3, 3, dtype=dtype, seed=1)
            window = ((1, 1), (1, 1), (1, 1), groups)
            y = native.conv2d(x, w, None, *window)
            results += [y, native.conv2d_input(y, w, (30, 31), *window), native.conv2d_weight(x, y, (3, 3), *window)]
            results.append(native.conv2d(y, numbers(20, 18, 3, 3, dtype=dtype), None, *window[:3], 1))
            results += native.max_pool2d(y, (2, 2), (2, 2), (0, 0), (1, 1), False)
            results.append(native.avg_pool2d(y, (3, 3), (2, 2), (1, 1), False, True))
    return [each.tobytes() for each in results]


@pytest.fixture
def threads() -> Iterator[Callable[[int], None]]:
    before = native.get_num_threads()
    yield native.set_num_threads
    native.set_num_threads(before)


def test_any_number_of_threads_gives_the_same_bits(threads: Callable[[int], None]) -> None:
    results = []
    for count in (1, 2, 3, 8, 2):
        threads(count)
        assert native.get_num_threads() == count
        results.append(workload())
    assert all(each == results[0] for each in results)
    with pytest.raises(ValueError, match="at least 1"):
        threads(0)


def test_python_threads_may_call_at_once(threads: Callable[[int], None]) -> None:
    threads(2)
    expected, results = workload(), []
    workers = [threading.Thread(target=lambda: results.append(workload())) for _ in range(4)]
    for worker in workers:
        worker.start()
    threads(3)  # while they run
    for worker in workers:
        worker.join()
    assert len(results) == 4 and all(each == expected for each in results)


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_fork(threads: Callable[[int], None]) -> None:
    """A child starts threads of its own, whatever the parent's were doing."""
    threads(3)
    expected = workload()
    for _ in range(3):
        child = os.fork()
        if child == 0:
            status = 1
            try:
                status = 0 if workload() == expected else 2
            finally:
                os._exit(status)
        assert workload() == expected
        assert os.waitpid(child, 0)[1] == 0


def python(code: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, **variables},
        cwd=HERE,
        capture_output=True,
        text=True,
        timeout=100,
    )


def test_threads_end_with_the_interpreter() -> None:
    run = python(
        "import threading, numpy as np; from minidl.kernels import native\n"
        "native.set_num_threads(4); a = np.ones((500, 500), 'f4')\n"
        "def loop():\n  while True: native.matmul(a, a)\n"
        "threading.Thread(target=loop, daemon=True).start()\n"
        "for _ in range(5): native.matmul(a, a)"
    )
    assert run.returncode == 0, run.stderr


def test_number_of_threads_from_the_environment() -> None:
    code = "from minidl.kernels import native; print(native.get_num_threads())"
    assert python(code, MINIDL_NUM_THREADS="3", OMP_NUM_THREADS="2").stdout == "3\n"
    assert python(code, MINIDL_NUM_THREADS="", OMP_NUM_THREADS="2").stdout == "2\n"
    assert python(code, MINIDL_NUM_THREADS="", OMP_NUM_THREADS="").stdout == f"{len(os.sched_getaffinity(0))}\n"


@pytest.mark.parametrize("level", [name for name in _native.levels() if name != _native.get_level()])
@pytest.mark.timeout(900)
@pytest.mark.skipif("MINIDL_ISA" in os.environ, reason="this process chose its own instruction set")
def test_other_instruction_sets(level: str) -> None:
    """This file once more, on each instruction set that this machine has."""
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", __file__]
    environment = {**os.environ, "MINIDL_ISA": level}
    run = subprocess.run(command, env=environment, cwd=HERE, capture_output=True, text=True, timeout=900)
    assert run.returncode == 0, run.stdout[-3000:] + run.stderr[-1000:]


def test_an_instruction_set_that_is_not_there() -> None:
    run = python("import minidl", MINIDL_ISA="mmx")
    last = run.stderr.splitlines()[-1]
    assert run.returncode and 'MINIDL_ISA: "mmx" is not among' in last and "baseline" in last


# ---------------------------------------------------------------------------------------------------- builds


def test_build_info() -> None:
    info = build.build_info()
    assert info["native"] and info["errors"] == {} and info["remedy"] is None
    assert info["chosen"] in info["usable"] and set(info["usable"]) <= set(info["compiled"])
    assert info["threads"] == native.get_num_threads()


def test_instruction_sets_share_no_symbols() -> None:
    """The linker would keep one copy of a weak symbol, maybe the one that only newer processors run."""
    weak = build.build_info()["weak_symbols"]
    if weak is None:
        pytest.skip("`nm` was missing when this was built")
    assert weak == []


ABSENT = (
    "import sys; sys.modules['minidl._native'] = None; import numpy as np; from minidl.kernels import native, build\n"
)


def test_without_native_code_everything_runs_and_says_so_once(tmp_path: Path) -> None:
    code = (
        ABSENT
        + "print(native.available, native.matmul(np.ones((2, 3)), np.ones((3, 2)))[0, 0], native.get_num_threads())"
    )
    first, second = (python(code, XDG_CACHE_HOME=str(tmp_path)) for _ in range(2))
    assert first.stdout == second.stdout == "False 3.0 1\n"
    assert "no compiled kernels" in first.stderr and len(first.stderr.splitlines()) == 1
    assert second.stderr == ""


def test_an_unwritable_cache_folder_is_no_error(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")
    run = python(ABSENT, XDG_CACHE_HOME=str(blocked))
    assert run.returncode == 0 and "no compiled kernels" in run.stderr


def test_build_info_without_native_code(tmp_path: Path) -> None:
    info = json.loads(
        python(ABSENT + "import json; print(json.dumps(build.build_info()))", XDG_CACHE_HOME=str(tmp_path)).stdout
    )
    assert (
        not info["native"] and info["chosen"] is None and "g++" in info["remedy"] and info["errors"]["minidl._native"]
    )
