"""Softmax, optimizers, random numbers and indexing in C++ against the NumPy reference; then what holds for every
compiled verb: the same bits on any number of threads, and the same tests on every instruction set.
"""

from __future__ import annotations

import math
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from native_checks import DTYPES, Array, check, layouts, numbers, resolution

import minidl
from minidl.kernels import native, reference

if not native.available:
    pytest.skip("no compiled kernels in this installation", allow_module_level=True)

from minidl import _native  # noqa: E402

HERE = Path(__file__).parent  # for children: the checkout's root has a minidl folder that is not the installed one

# --------------------------------------------------------------------------------- softmax and cross-entropy

MATRICES = [(1, 1), (3, 2), (4, 10), (128, 10), (7, 16), (5, 17), (6, 31), (9, 32), (2, 65), (3, 1000), (0, 5), (4, 0)]


@pytest.mark.parametrize("dtype", DTYPES)
def test_softmax(dtype: type) -> None:
    tolerance = {"rtol": 8 * resolution(dtype), "atol": 4 * resolution(dtype)}
    for shape in [*MATRICES, (5,), (2, 3, 4), (3, 1, 7, 2), (2, 5, 130)]:
        for x in layouts(numbers(shape, dtype, 1)):
            for axis in range(x.ndim):
                if x.size == 0 and axis < x.ndim - 1:
                    assert native.softmax(x, axis).shape == shape
                    continue
                check("softmax", x, axis, **tolerance)
                check("log_softmax", x, axis, rtol=8 * resolution(dtype), atol=16 * resolution(dtype))
                y = np.ascontiguousarray(reference.softmax(x, axis))
                g = numbers(shape, dtype, 2)
                for gradient in ("softmax_gradient", "log_softmax_gradient"):
                    check(gradient, g, y, axis, rtol=50 * resolution(dtype), atol=200 * resolution(dtype))
                    check(gradient, g[::-1], x, axis, rtol=1e-4, atol=1e-3 if dtype is np.float32 else 1e-10)


@pytest.mark.parametrize("dtype", DTYPES)
def test_softmax_of_extremes(dtype: type) -> None:
    inf, nan = math.inf, math.nan
    rows = [[1, inf, 2], [-inf, -inf, -inf], [nan, 1, 2], [-inf, 0, -inf], [1e4, -1e4, 0], [-1e30, -1e30, -1e30]]
    x = np.array(rows, dtype)
    for y in (x, np.tile(x, (1, 11))):
        check("softmax", y, 1, rtol=4 * resolution(dtype))
        check("log_softmax", y, 1, rtol=4 * resolution(dtype))
        check("softmax", y.T, 0, rtol=4 * resolution(dtype))
        check("log_softmax", y.T.copy(), 0, rtol=4 * resolution(dtype))


@pytest.mark.parametrize("dtype", DTYPES)
def test_cross_entropy(dtype: type) -> None:
    tolerance = {"rtol": 20 * resolution(dtype), "atol": 20 * resolution(dtype)}
    for n, c in [shape for shape in MATRICES if shape[1]]:
        rng = np.random.default_rng(n + c)
        target = rng.integers(0, c, n)
        target[::5] = -100
        weight = rng.random(c).astype(dtype)
        losses_at = np.broadcast_to(np.asarray(1 / max(n, 1), dtype), (n,))
        for x in layouts(numbers((n, c), dtype)):
            for w, t, smoothing in [(None, target, 0.0), (weight, target, 0.1), (None, target[::-1], 0.3)]:
                check("cross_entropy", x, t, w, -100, smoothing, **tolerance)
                lse = reference.cross_entropy(x, t, w, -100, smoothing)[1]
                for g in (losses_at, numbers((n,), dtype, 2)):
                    check("cross_entropy_gradient", g, x, t, lse, w, -100, smoothing, **tolerance)


def test_cross_entropy_refuses_targets_out_of_range() -> None:
    x = np.zeros((2, 3), np.float32)
    for bad in (3, -1):
        target = np.array([0, bad])
        with pytest.raises(ValueError, match=f"cross_entropy: target\\[1\\] is {bad}, but there are 3 classes"):
            native.cross_entropy(x, target, None, -100, 0.0)
        with pytest.raises(ValueError, match="cross_entropy_gradient: target"):
            native.cross_entropy_gradient(x[:, 0], x, target, x[:, 0], None, -100, 0.0)


# ------------------------------------------------------------------------------------------------ optimizers

LISTS = [[(3,)], [(2, 3), (), (0,), (5,)], [(300, 70), (1,), (16384,), (7, 9), (20001,)], []]


def check_step(verb: str, dtype: type, shapes: list[tuple[int, ...]], state: int, *options: Any) -> None:
    lists = [[numbers(shape, dtype, 10 * k + i) for i, shape in enumerate(shapes)] for k in range(2 + state)]
    if verb == "adam_step":
        lists[3] = [np.asarray(np.square(v)) for v in lists[3]]
    for layout in (list, tuple):
        got = [layout(a.copy() for a in each) for each in lists]
        expected = [[a.copy() for a in each] for each in lists]
        arguments = [None] if verb == "sgd_step" and not state else []
        getattr(native, verb)(*got, *arguments, *options)
        getattr(reference, verb)(*expected, *arguments, *options)
        for a, e in zip(got, expected, strict=True):
            for g, w in zip(a, e, strict=True):
                np.testing.assert_allclose(g, w, rtol=8 * resolution(dtype), atol=8 * resolution(dtype))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shapes", LISTS)
def test_sgd_step(dtype: type, shapes: list[tuple[int, ...]]) -> None:
    for decay in (0.0, 0.01):
        check_step("sgd_step", dtype, shapes, 0, 0.1, 0.0, 0.0, decay, False, False)
        for nesterov in (False, True):
            for first in (False, True):
                check_step("sgd_step", dtype, shapes, 1, 0.1, 0.9, 0.0 if nesterov else 0.2, decay, nesterov, first)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shapes", LISTS)
def test_adam_step(dtype: type, shapes: list[tuple[int, ...]]) -> None:
    for step in (1, 7, 10_000):
        for decay, decoupled in [(0.0, False), (0.01, False), (0.01, True)]:
            check_step("adam_step", dtype, shapes, 2, step, 1e-3, 0.9, 0.999, 1e-8, decay, decoupled)


def test_a_step_takes_both_types_at_once() -> None:
    def steps(module: Any) -> list[Array]:
        lists = [[numbers((5, 3), DTYPES[i % 2], 10 * k + i) for i in range(4)] for k in range(3)]
        module.sgd_step(*lists, 0.1, 0.9, 0.0, 0.01, True, False)
        return lists[0] + lists[2]

    for got, expected in zip(steps(native), steps(reference), strict=True):
        np.testing.assert_allclose(got, expected, rtol=8 * resolution(got.dtype), atol=8 * resolution(got.dtype))


def test_steps_leave_to_the_reference_what_they_cannot_walk() -> None:
    w, g = np.ones((4, 3), np.float32).T, np.ones((3, 4), np.float32)
    native.sgd_step([w], [g], None, 0.5, 0.0, 0.0, 0.0, False, False)
    np.testing.assert_array_equal(w, np.full((3, 4), 0.5))
    frozen = np.ones(3)
    frozen.flags.writeable = False
    with pytest.raises(ValueError):
        native.sgd_step([frozen], [np.ones(3)], None, 0.5, 0.0, 0.0, 0.0, False, False)
    with pytest.raises(ValueError):
        native.sgd_step([np.ones(3)], [np.ones(4)], None, 0.5, 0.0, 0.0, 0.0, False, False)


@pytest.mark.parametrize("dtype", DTYPES)
def test_norm_and_scale_of_many_arrays(dtype: type) -> None:
    for sizes in [(0,), (1,), (3, 0, 70), (16384, 1, 40000, 5), (7, 16383, 16385)]:
        arrays = [numbers((n,), dtype, i) for i, n in enumerate(sizes)]
        exact = math.fsum(float(x) ** 2 for each in arrays for x in each)
        assert native.squared_norm(arrays) == pytest.approx(exact, rel=300 * resolution(dtype))
        wanted = [x * dtype(0.3) for x in arrays]
        native.scale_in_place(arrays, 0.3)
        for got, want in zip(arrays, wanted, strict=True):
            np.testing.assert_array_equal(got, want)
    x = numbers((4, 6), dtype)
    assert native.squared_norm([x.T, x]) == pytest.approx(2 * reference.squared_norm([x]), rel=1e-5)
    assert math.isnan(native.squared_norm([np.array([1, math.nan], dtype)]))
    mixed = [numbers((5,), np.float32), numbers((5,), np.float64)]
    assert native.squared_norm(mixed) == pytest.approx(reference.squared_norm(mixed), rel=1e-5)


# -------------------------------------------------------------------------------- random numbers and indexing


@pytest.mark.parametrize("seed", [0, 1, 2**63 + 5, 2**64 - 1])
def test_random_numbers(seed: int) -> None:
    for offset in (0, 1, 2, 3, 2**33 + 1):
        for count in (0, 1, 3, 4, 5, 255, 256, 257, 20_001):
            check("philox", seed, offset, count)
            for dtype in (np.float32, np.dtype(np.float64)):
                check("uniform", seed, offset, count, dtype)
            check("normal", seed, offset, count, np.float32, rtol=resolution(np.float32))
            check("normal", seed, offset, count, np.dtype("float64"), rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize("dtype", DTYPES)
def test_gather_and_scatter_add(dtype: type) -> None:
    rng = np.random.default_rng(0)
    for shape, smaller in [
        ((5,), (3,)),
        ((4, 6), (4, 6)),
        ((4, 6), (3, 9)),
        ((3, 4, 5), (2, 4, 5)),
        ((300, 70), (300, 70)),
        ((9000, 3), (9000, 3)),
        ((3, 0), (3, 0)),
    ]:
        for axis in range(len(shape)):
            size = tuple(min(n, m) if d != axis else m for d, (n, m) in enumerate(zip(shape, smaller, strict=True)))
            index = rng.integers(0, max(shape[axis], 1), size)
            src = numbers(tuple(n + d for d, n in enumerate(size)), dtype, 1)
            for x in layouts(numbers(shape, dtype)):
                for i in (index, index[::-1], np.asfortranarray(index)):
                    check("gather", x, axis, i)
                    check("scatter_add", x, axis, i, src)
                    check("scatter_add", x, axis, i, np.asfortranarray(src))
    for bad in (-1, 5):
        with pytest.raises(ValueError, match=f"gather: index holds {bad}, but there are 5 places"):
            native.gather(np.zeros(5, dtype), 0, np.array([0, bad]))
        with pytest.raises(ValueError, match="scatter_add: index"):
            native.scatter_add(np.zeros(5, dtype), 0, np.array([0, bad]), np.zeros(2, dtype))


@pytest.mark.parametrize("dtype", DTYPES)
def test_rows(dtype: type) -> None:
    rng = np.random.default_rng(0)
    for rows, width, size in [
        (1, 1, ()),
        (7, 5, (3,)),
        (65, 128, (12, 64)),
        (10, 0, (4,)),
        (40, 33, (0,)),
        (30, 300, (2, 3, 40)),
        (3, 31, (700,)),
        (5000, 40, (9,)),
    ]:
        index = rng.integers(0, rows, size)
        for w in layouts(numbers((rows, width), dtype)):
            check("take_rows", w, index)
        for g in (
            numbers((*size, width), dtype),
            numbers((width, *size[::-1]), dtype).T,
            np.broadcast_to(dtype(0.1), (*size, width)),
        ):
            np.testing.assert_array_equal(
                native.add_rows((rows, width), index, g), reference.add_rows((rows, width), index, g)
            )
    for bad in (-1, 4):
        with pytest.raises(ValueError, match=f"take_rows: index holds {bad}, but there are 4 places: use 0 to 3"):
            native.take_rows(np.zeros((4, 2), dtype), np.array([bad]))
        with pytest.raises(ValueError, match="add_rows: index"):
            native.add_rows((4, 2), np.array([bad]), np.zeros((1, 2), dtype))


# ------------------------------------------------------------------------------- threads and instruction sets


def workload() -> list[Array]:
    """Large enough for several tasks of every kernel."""
    found: list[Array] = []
    for dtype in DTYPES:
        x, y = numbers((300, 517), dtype, 1), numbers((300, 517), dtype, 2)
        found += [
            native.add(x, y),
            native.mul(x.T, y.T),
            native.gt(x, y),
            native.where(x > y, x, 0.0),
            native.exp(x),
            native.add(x, y[0]),
        ]
        found += [native.softmax(x, 1), native.log_softmax(x, 1), native.softmax_gradient(x, y, 1)]
        found += [native.softmax(x, 0), native.log_softmax(x, 0), native.log_softmax_gradient(x, y, 0)]
        for axes in ((0,), (1,), (0, 1)):
            found += [
                native.sum(x, axes, False),
                native.amax(x.T, axes, False),
                native.var(x, axes, 1.0, False),
                native.logsumexp(x, axes, True),
            ]
        flat = np.tile(x.reshape(-1), 3)
        found += [
            native.sum(flat, (0,), False),
            native.sum(flat.reshape(-1, 3), (0,), False),
            native.argmax(x, 1, False),
        ]
        target = np.arange(300)
        losses, lse = native.cross_entropy(x, target, None, -100, 0.1)
        found += [losses, lse, native.cross_entropy_gradient(losses, x, target, lse, None, -100, 0.1)]
        index = np.random.default_rng(0).integers(0, 300, (1000,))
        rows = native.take_rows(x, index)
        found += [
            rows,
            native.add_rows((300, 517), index, rows),
            native.uniform(5, 3, 50_000, dtype),
            native.normal(5, 3, 50_001, dtype),
        ]
        places = np.random.default_rng(0).integers(0, 300, (300, 517))
        found += [native.gather(x, 0, places), native.scatter_add(x, 0, places, y)]
        far = np.random.default_rng(0).integers(0, flat.size, (70_000, 1))
        found += [native.gather(flat[:, None], 0, far), native.scatter_add(flat[:, None], 0, far, flat[:70_000, None])]
        w, m, v = x.copy(), y.copy(), y * y
        native.adam_step(
            [w, w[0].copy()], [y, y[0]], [m, m[0].copy()], [v, v[0].copy()], 3, 0.1, 0.9, 0.99, 1e-8, 0.1, False
        )
        found += [w, m, v]
    return found


def test_any_number_of_threads_gives_the_same_bits() -> None:
    before = native.get_num_threads()
    try:
        results = []
        for threads in (1, 2, 3, 8):
            native.set_num_threads(threads)
            results.append([a.tobytes() for a in workload()])
        assert all(each == results[0] for each in results)
    finally:
        native.set_num_threads(before)


@pytest.mark.parametrize("level", [name for name in _native.levels() if name != _native.get_level()])
def test_other_instruction_sets(level: str) -> None:
    """The tests of compiled verbs once more, on each instruction set that this machine has."""
    if os.environ.get("MINIDL_ISA"):
        pytest.skip("runs from the process that chose its own instruction set")
    files = [str(Path(__file__).with_name(name)) for name in ("test_native_verbs.py", Path(__file__).name)]
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *files]
    run = subprocess.run(command, env={**os.environ, "MINIDL_ISA": level}, cwd=HERE, capture_output=True, text=True)
    assert run.returncode == 0, run.stdout[-3000:] + run.stderr[-1000:]


@pytest.mark.skipif("asan" in os.environ.get("LD_PRELOAD", ""), reason="AddressSanitizer is to see every block freed")
def test_a_step_takes_no_new_blocks() -> None:
    """In its steady state every large result lies where one of the step before lay."""
    from minidl import nn, optim
    from minidl.kernels.memory import memory_stats, reset_peak_memory_stats

    model = nn.Sequential(nn.Linear(256, 512), nn.ReLU(), nn.Linear(512, 64))
    optimizer, x = optim.Adam(model.parameters()), minidl.randn(64, 256)
    used = []
    for _ in range(6):
        reset_peak_memory_stats()
        optimizer.zero_grad()
        model(x).square().mean().backward()
        optimizer.step()
        used.append(memory_stats())
    hidden = 64 * 512 * 4  # bytes of the hidden layer, which both passes need
    assert [stats["fresh"] for stats in used[3:]] == [0, 0, 0]
    assert used[-1]["peak"] == used[-2]["peak"] >= hidden
    assert used[-1]["peak"] >= used[-1]["allocated"]
