"""3 x 3 convolutions by Winograd's products: error bound, integers, NaN and infinities, threads, gradients."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from native_checks import DTYPES, Array

import minidl
from minidl import _native
from minidl.kernels import native, reference

ONE = (1, 1)


def refused(*args: Any) -> None:
    raise AssertionError(f"conv2d_winograd{tuple(getattr(a, 'shape', a) for a in args)} went to the reference")


compiled = _native.verbs({**vars(reference), "conv2d_winograd": refused})["conv2d_winograd"]


def numbers(*shape: int, dtype: Any = np.float32, seed: int = 0) -> Array:
    return np.random.default_rng([seed, *shape]).standard_normal(shape).astype(dtype)


def assert_within(got: Array, exact: Array, largest: Array, terms: int, label: object) -> None:
    """Relative to `largest`, what the sum would be if all numbers were as large as the largest one.

    test_native.py holds the direct kernels to the same bound, relative to the sum of the products' own magnitudes.
    """
    assert got.shape == exact.shape and got.flags.c_contiguous, label
    worst = float((abs(got - exact) / largest).max())
    assert worst <= (4 + 2 * terms**0.5) * np.finfo(got.dtype).eps, f"{label}: {worst}"


def check(x: Array, w: Array, b: Array | None, padding: tuple[int, int]) -> None:
    x64, w64 = x.astype(float), w.astype(float)
    exact = reference.conv2d_winograd(x64, w64, b, padding, 4)
    largest = abs(x64).max() * abs(w64).sum((1, 2, 3))[:, None, None] + (0 if b is None else abs(b)[:, None, None])
    for tile in (2, 4):
        got = compiled(x, w, b, padding, tile)
        assert_within(got, exact, largest, w[0].size, (x.shape, x.strides, w.shape, padding, tile, x.dtype))


@pytest.mark.parametrize("dtype", DTYPES)
@given(*[st.integers(1, most) for most in (3, 20, 20)], st.tuples(st.integers(1, 20), st.integers(1, 40)),
       st.tuples(*[st.integers(0, 4)] * 2))  # fmt: skip
def test_any_size(dtype: type, n: int, c: int, o: int, size: Any, padding: Any) -> None:
    if all(h + 2 * p >= 3 for h, p in zip(size, padding, strict=True)):
        check(numbers(n, c, *size, dtype=dtype), numbers(o, c, 3, 3, dtype=dtype, seed=1), None, padding)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    "n, c, o, size",
    [
        *[(1, 1, 1, (1, 1)), (2, 33, 37, (14, 14)), (41, 16, 48, (5, 6)), (1, 17, 70, (9, 430))],
        *[(3, 130, 16, (28, 28)), (1, 300, 5, (30, 31))],
    ],
)
def test_sizes_that_cut_blocks(n: int, c: int, o: int, size: tuple[int, int], dtype: type) -> None:
    x, w, b = (numbers(*shape, dtype=dtype, seed=i) for i, shape in enumerate([(n, c, *size), (o, c, 3, 3), (2 * o,)]))
    check(x, w, b[::2], ONE)
    check(x[:, ::-1, ::-1], w[:, ::-1, :, ::-1], b[1::2], (2, 0) if min(size) > 2 else ONE)
    wide = np.full((n, c, 2 * size[0], 3 * size[1]), np.nan, dtype)
    wide[..., ::2, 1::3] = x
    check(wide[..., ::2, 1::3], np.asfortranarray(w), None, ONE)
    check(wide[..., ::2, 1::3].swapaxes(2, 3), w.swapaxes(2, 3), None, ONE)
    check(np.broadcast_to(x[:1, :1], x.shape), np.broadcast_to(w[:1], w.shape), None, ONE)


def test_one_large_number() -> None:
    """The bound is relative to the largest number: it holds where one towers over the others."""
    x, w = numbers(2, 16, 19, 20), numbers(16, 16, 3, 3, seed=1)
    x[0, 3, 8, 9] = 1e9
    check(x, w, None, ONE)


# -------------------------------------------- the shipping verbs, at sizes where they choose these products


def case(dtype: Any = np.float32) -> tuple[Array, Array, Array]:
    return (numbers(4, 20, 18, 17, dtype=dtype), numbers(24, 20, 3, 3, dtype=dtype, seed=1),
            numbers(4, 24, 18, 17, dtype=dtype, seed=2))  # fmt: skip


def three(backend: Any, x: Array, w: Array, g: Array) -> dict[str, Array]:
    window = (ONE, ONE, ONE, 1)
    return {
        "conv2d": backend.conv2d(x, w, None, *window),
        "conv2d_input": backend.conv2d_input(g, w, x.shape[2:], *window),
        "conv2d_weight": backend.conv2d_weight(x, g, (3, 3), *window),
    }


def test_they_choose_it() -> None:
    """Otherwise the tests below would not test it."""
    x, w, g = case()
    assert (native.conv2d(x, w, None, ONE, ONE, ONE, 1) == native.conv2d_winograd(x, w, None, ONE, 4)).all()
    turned = np.ascontiguousarray(w[:, :, ::-1, ::-1].swapaxes(0, 1))
    y = native.conv2d_input(g, w, (18, 17), ONE, ONE, ONE, 1)
    assert (y == native.conv2d_winograd(g, turned, None, ONE, 4)).all()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("largest", [1, 9])
def test_integers_are_exact(largest: int, dtype: type) -> None:
    x, w, g = (np.rint(each.clip(-1, 1) * largest) for each in case(dtype))
    expected = three(reference, *(each.astype(np.int64) for each in (x, w, g)))
    for verb, got in three(native, x, w, g).items():
        np.testing.assert_array_equal(got, expected[verb], err_msg=verb)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("spoiled", range(3))
def test_nan_and_infinity_stay_where_they_belong(spoiled: int, value: float, dtype: type) -> None:
    arrays = case(dtype)
    arrays[spoiled][1, 2, 1, 2] = value
    if spoiled != 1:
        arrays[spoiled][3, 7, -1, -1] = -value
    clean, got, expected = three(native, *case(dtype)), three(native, *arrays), three(reference, *arrays)
    for verb in got:
        if spoiled == 1 and verb == "conv2d_input":  # where a filter hangs over the border, kernels multiply it by 0
            got[verb], expected[verb] = got[verb][..., 2:-2, 2:-2], expected[verb][..., 2:-2, 2:-2]
        for kind in (np.isnan, np.isposinf, np.isneginf):
            np.testing.assert_array_equal(kind(got[verb]), kind(expected[verb]), err_msg=f"{verb} {kind.__name__}")
        finite = np.isfinite(expected[verb])
        np.testing.assert_allclose(got[verb][finite], expected[verb][finite], rtol=1e-3, atol=1e-3)
        if spoiled != 1 and verb != "conv2d_weight":  # other images are not even computed in another way
            np.testing.assert_array_equal(got[verb][::2], clean[verb][::2])
    bias = np.zeros(24, dtype)
    bias[5] = value
    y = native.conv2d(*case(dtype)[:2], bias, ONE, ONE, ONE, 1)
    assert not np.isfinite(y[:, 5]).any() and np.isfinite(np.delete(y, 5, 1)).all()


def test_numbers_near_the_largest() -> None:
    """What overflows on the way, but not in the result."""
    x, w, g = case()
    top = np.finfo(np.float32).max
    w /= abs(w).max() * w[0].size
    got = three(native, x / abs(x).max() * top, w, g / abs(g).max() * top / 3)
    for verb in ("conv2d", "conv2d_input"):
        assert np.isfinite(got[verb]).all(), verb
    x = np.ones_like(x) * 1e-30
    x[0, 0, 5, 5] = top
    g[0] *= 1e-30
    y = three(native, x, w, g)["conv2d_weight"]
    expected = three(reference, *(each.astype(float) for each in (x, w, g)))["conv2d_weight"]
    assert np.isfinite(y).all()
    np.testing.assert_allclose(y, expected, rtol=1e-3, atol=abs(expected).max() * 1e-5)


@pytest.mark.parametrize("dtype", DTYPES)
def test_any_number_of_threads_gives_the_same_bits(dtype: type) -> None:
    arrays = case(dtype)
    spoiled = [each.copy() for each in arrays]
    spoiled[0][2, 3, 4, 5] = np.inf
    before, results = native.get_num_threads(), []
    try:
        for count in (1, 2, 3, 8):
            native.set_num_threads(count)
            all_of_it = [*three(native, *arrays).values(), *three(native, *spoiled).values()]
            results.append([each.tobytes() for each in all_of_it])
    finally:
        native.set_num_threads(before)
    assert all(each == results[0] for each in results)


def test_gradients_through_the_operation() -> None:
    """Along a random direction in all inputs at once, against central differences; and the second derivative."""
    arrays = [*case(np.float64)[:2], numbers(24, dtype=np.float64, seed=3)]
    step = [numbers(*each.shape, dtype=np.float64, seed=9) for each in arrays]
    scale = numbers(4, 24, 18, 17, dtype=np.float64, seed=5)

    def slope(at: float) -> float:
        """d/dt of Σ scale * y² at arrays + t * step."""
        inputs = [minidl.tensor(a + at * s, requires_grad=True) for a, s in zip(arrays, step, strict=True)]
        y = minidl.conv2d(*inputs, padding=1)
        grads = minidl.autograd.grad((minidl.tensor(scale) * y * y).sum(), inputs)
        return float(sum((g.numpy() * s).sum() for g, s in zip(grads, step, strict=True)))

    def value(at: float) -> float:
        x, w, b = (a + at * s for a, s in zip(arrays, step, strict=True))
        return float((scale * reference.conv2d(x, w, b, ONE, ONE, ONE, 1) ** 2).sum())

    eps = 1e-4
    np.testing.assert_allclose(slope(0.0), (value(eps) - value(-eps)) / (2 * eps), rtol=1e-6)


@pytest.mark.parametrize("level", [name for name in _native.levels() if name != _native.get_level()])
@pytest.mark.timeout(300)
@pytest.mark.skipif("MINIDL_ISA" in os.environ, reason="this process chose its own instruction set")
def test_other_instruction_sets(level: str) -> None:
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", __file__]
    run = subprocess.run(command, env={**os.environ, "MINIDL_ISA": level}, cwd=Path(__file__).parent,
                         capture_output=True, text=True, timeout=300)  # fmt: skip
    assert run.returncode == 0, run.stdout[-3000:] + run.stderr[-1000:]
