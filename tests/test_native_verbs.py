"""Every compiled verb of elementwise, reductions, softmax, optimizers, random numbers and indexing against the NumPy reference:
awkward sizes and layouts, both types, NaN and infinities, any number of threads, every instruction set.
"""

from __future__ import annotations

import itertools
import math
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from minidl.kernels import native, reference

if not native.available:
    pytest.skip("no compiled kernels in this installation", allow_module_level=True)

from minidl import _native  # noqa: E402

DTYPES = [np.float32, np.float64]
Array = np.ndarray


def layouts(x: Array) -> Iterator[Array]:
    """x's values in other memory layouts."""
    yield x
    if x.ndim:
        yield x[::-1]  # negative stride
        spread = np.full((*x.shape[:-1], 2 * x.shape[-1] + 1), np.nan, x.dtype)
        spread[..., 1::2] = x
        yield spread[..., 1::2]
    if x.ndim > 1:
        yield np.moveaxis(np.ascontiguousarray(np.moveaxis(x, -1, 0)), 0, -1)  # column-major last axis
        yield np.broadcast_to(x[:1], x.shape)  # zero stride


def numbers(shape: tuple[int, ...], dtype: type, seed: int = 0, special: bool = False) -> Array:
    rng = np.random.default_rng(seed)
    x = np.asarray(rng.standard_normal(shape) * 3, dtype)
    if special and x.size:
        odd = np.array([np.nan, np.inf, -np.inf, 0.0, -0.0, 1e-40, -1e-40, 1e30, -1e30, 1.0, -1.0], dtype)
        flat = x.reshape(-1)
        flat[rng.integers(0, x.size, min(x.size, 30))] = odd[rng.integers(0, odd.size, min(x.size, 30))]
    return x


def check(verb: str, *args: Any, rtol: float = 0, atol: float = 0) -> None:
    """The compiled verb gives what the reference gives: shape, dtype and values."""
    kernel = getattr(native, verb)

    def refused(*args: Any) -> None:
        raise AssertionError(f"{verb}{tuple(getattr(a, 'shape', a) for a in args)} went to the reference")

    compiled = _native.verbs({**vars(reference), verb: refused})[verb]
    with np.errstate(all="ignore"):
        expected = getattr(reference, verb)(*args)
    for fn in (kernel, compiled):
        got = fn(*args)
        for g, e in zip(got, expected, strict=True) if isinstance(expected, tuple) else [(got, np.asarray(expected))]:
            assert (g.shape, g.dtype) == (e.shape, e.dtype)
            assert g.flags.c_contiguous
            np.testing.assert_allclose(g, e, rtol=rtol, atol=atol, err_msg=verb)


def resolution(dtype: type) -> float:
    return float(np.finfo(dtype).eps)


# ---------------------------------------------------------------------------------------------- elementwise

SHAPES = [(), (0,), (1,), (2, 0, 3), (7,), (33,), (3, 5), (5, 1, 13), (2, 3, 4, 5), (64, 97)]
EXACT = ["neg", "abs", "sign", "square", "sqrt", "rsqrt", "reciprocal", "floor", "ceil", "round", "relu"]
SMOOTH = ["exp", "expm1", "log", "log1p", "tanh", "sigmoid", "erf", "silu"]
BINARY = ["add", "sub", "mul", "div", "maximum", "minimum", "eq", "ne", "lt", "le", "gt", "ge"]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("verb", EXACT + SMOOTH)
def test_unary(verb: str, dtype: type) -> None:
    for shape in SHAPES:
        for x in layouts(numbers(shape, dtype, special=True)):
            check(verb, x, rtol=6 * resolution(dtype) if verb in [*SMOOTH, "rsqrt"] else 0, atol=1e-37)


def ulps(verb: Callable[..., Array], spec: Callable[[Array], Array], x: Array) -> float:
    """Largest error in units of float32's last place against a float64 calculation."""
    got, want = verb(x), spec(x.astype(np.float64))
    rounded = want.astype(np.float32)
    same = (np.isnan(got) & np.isnan(want)) | (got == rounded)
    with np.errstate(invalid="ignore"):
        error = np.abs(got.astype(np.float64) - want) / np.spacing(np.maximum(np.abs(rounded), 1e-37))
    return float(np.where(same, 0, error).max())


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("verb, bound", [("exp", 1), ("expm1", 2), ("log", 1), ("log1p", 2), ("tanh", 2), ("sigmoid", 2), ("erf", 2), ("gelu", 6)])
def test_accuracy(verb: str, bound: float) -> None:
    rng = np.random.default_rng(1)
    n = 50_000
    x = np.concatenate([
        rng.integers(0, 2**32, n, dtype=np.uint32).view(np.float32),  # every exponent, NaN, denormals
        *(rng.uniform(-scale, scale, n).astype(np.float32) for scale in (1.5, 10, 110)),
        np.array([0, -0.0, np.inf, -np.inf, np.nan, 88.7, 88.73, -87.3, -103.9, -104, 1, -1], np.float32),
    ])  # fmt: skip

    def exact(f: Callable[[float], float]) -> Callable[[Array], Array]:
        return lambda x: np.fromiter(map(f, x), np.float64, len(x))

    spec = {
        "exp": np.exp, "expm1": np.expm1, "log": np.log, "log1p": np.log1p, "tanh": np.tanh, "erf": exact(math.erf),
        "sigmoid": lambda x: np.where(x < 0, np.exp(np.minimum(x, 0)), 1) / (1 + np.exp(-np.abs(x))),
        "gelu": lambda x: x * exact(math.erfc)(-x * math.sqrt(0.5)) / 2,
    }  # fmt: skip
    if verb == "gelu":
        x = x[~(x < -12)]
    kernel = getattr(native, verb)
    assert ulps((lambda x: kernel(x, "none")) if verb == "gelu" else kernel, spec[verb], x) <= bound


@pytest.mark.parametrize("dtype", DTYPES)
def test_gelu(dtype: type) -> None:
    for shape in SHAPES:
        for x in layouts(numbers(shape, dtype)):
            for form in ("none", "tanh"):
                # The reference cancels in 1 + erf(x): compare absolutely.
                check("gelu", x, form, rtol=8 * resolution(dtype), atol=8 * resolution(dtype))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("verb", BINARY)
def test_binary(verb: str, dtype: type) -> None:
    for shape in SHAPES:
        a, b = numbers(shape, dtype, 1, True), numbers(shape, dtype, 2, True)
        b = np.where(np.random.default_rng(3).random(shape) < 0.2, a, b).astype(dtype)
        for x, y in zip(layouts(a), layouts(b), strict=True):
            check(verb, x, y)
            check(verb, a, y)
        check(verb, a, 2.5)
        check(verb, -1, a)
        check(verb, a, dtype(0.1))
        check(verb, np.asarray(0.5, dtype), a)
    for s, t in [((3, 1), (1, 4)), ((), (5,)), ((0, 3), (3,)), ((4, 3, 2), (4, 1, 2)), ((4, 3, 2), (3, 1)), ((501, 73), (73,)),
                 ((2, 5, 7, 7), (5, 1, 1)), ((70_001,), (1,)), ((2, 70_001), (2, 1)), ((1, 1), (1,))]:  # fmt: skip
        a, b = numbers(s, dtype, 4, True), numbers(t, dtype, 5, True)
        check(verb, a, b)
        check(verb, b, a)


def test_operands_that_the_reference_takes() -> None:
    whole, wide = np.arange(4), np.arange(4.0)
    assert native.add(whole, whole).dtype == np.int64
    assert native.add(wide.astype(np.float32), wide).dtype == np.float64
    assert native.mul(np.ones(3, np.float32), np.float64(2)).dtype == np.float64
    with pytest.raises(ValueError):
        native.add(np.ones(3), np.ones(4))
    np.testing.assert_array_equal(native.add(np.ones((1,) * 9), 1.0), np.full((1,) * 9, 2.0))
    np.testing.assert_array_equal(native.exp(whole), np.exp(whole))


@pytest.mark.parametrize("dtype", DTYPES)
def test_where_and_clamp(dtype: type) -> None:
    for shape in SHAPES:
        a, b = numbers(shape, dtype, 1, True), numbers(shape, dtype, 2, True)
        for x, y in zip(layouts(a), layouts(b), strict=True):
            for c in layouts(np.asarray(b > 0)):
                check("where", c, x, y)
            check("where", np.asarray(a > b), x, 0.0)
            check("where", np.asarray(a > b), np.asarray(1, dtype), y)
            for low, high in [(-1.0, 1.0), (None, 0.5), (-0.5, None), (2, -2), (math.nan, None)]:
                check("clamp", x, low, high)
    check("where", np.array([[True], [False]]), numbers((1, 1, 5), dtype), numbers((3, 1, 1), dtype))
    check("where", np.asarray(True), numbers((3,), dtype), 1.0)


@pytest.mark.parametrize("dtype", DTYPES)
def test_pow(dtype: type) -> None:
    for x in layouts(numbers((3, 13), dtype, special=True)):
        for exponent in (2, 0.5, -1, 1, 3.0, np.asarray(2, dtype)):
            check("pow", x, exponent, rtol=3 * resolution(dtype), atol=1e-37)
        with np.errstate(all="ignore"):
            np.testing.assert_array_equal(native.pow(x, 1.7), np.power(x, 1.7))
            np.testing.assert_array_equal(native.pow(2.0, x), np.power(2.0, x))


# ------------------------------------------------------------------------------------------------ reductions


def axes_of(ndim: int) -> Iterator[tuple[int, ...]]:
    for k in range(ndim + 1):
        yield from itertools.combinations(range(ndim), k)


REDUCED = [(), (1,), (7,), (16,), (1000,), (3, 5), (128, 10), (31, 70), (4, 1, 9), (2, 3, 4, 5), (5, 4, 7, 7), (3, 0, 2), (1, 1)]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("verb", ["sum", "mean", "prod", "amax", "amin", "var", "logsumexp"])
def test_reductions(verb: str, dtype: type) -> None:
    # NumPy multiplies one after the other: each of a thousand factors adds its rounding.
    tolerance = {"rtol": (100 if verb == "prod" else 20) * resolution(dtype), "atol": 20 * resolution(dtype)}
    for shape in REDUCED:
        x = numbers(shape, dtype)
        for y in layouts(np.asarray(x + 1.5) if verb in ("sum", "mean") else np.asarray(1 + x / 100) if verb == "prod" else x):
            for axes in axes_of(x.ndim):
                empty = verb in ("amax", "amin") and 0 in [shape[a] for a in axes]
                for keepdims in (False, True):
                    options = (1.0, keepdims) if verb == "var" else (keepdims,)
                    if empty:
                        with pytest.raises(ValueError):
                            getattr(native, verb)(y, axes, *options)
                    else:
                        check(verb, y, axes, *options, **({} if verb in ("amax", "amin") else tolerance))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("verb", ["argmax", "argmin"])
def test_arg_reductions(verb: str, dtype: type) -> None:
    for shape in REDUCED:
        if 0 in shape or not shape:
            continue
        for special in (False, True):
            for x in layouts(np.asarray(np.round(numbers(shape, dtype, special=special)))):  # many ties
                for axis in range(x.ndim):
                    for keepdims in (False, True):
                        check(verb, x, axis, keepdims)
    with pytest.raises(ValueError):
        getattr(native, verb)(np.zeros((2, 0), dtype), 1, False)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(3,), (33,), (70_000,), (9, 33), (300, 10), (5, 300, 3)])
def test_reductions_of_special_values(shape: tuple[int, ...], dtype: type) -> None:
    for value in (math.nan, math.inf, -math.inf):
        for at in (0, -1):
            x = numbers(shape, dtype)
            x.reshape(-1)[at] = value
            for axes in axes_of(x.ndim):
                for verb in ("sum", "mean", "amax", "amin", "logsumexp"):
                    check(verb, x, axes, False, rtol=1e-4, atol=1e-4)
                with np.errstate(invalid="ignore"):
                    check("var", x, axes, 0.0, False, rtol=1e-4, atol=1e-4)
    check("sum", np.array([math.inf, -math.inf, 1], dtype), (0,), False)
    check("logsumexp", np.full((2, 9), -math.inf, dtype), (1,), True)
    check("logsumexp", np.full(20, 1e4, dtype), (0,), True, rtol=1e-6)


@pytest.mark.parametrize("shape, axes", [((1_000_003,), (0,)), ((40_000, 30), (0,)), ((3, 100_000), (1,)), ((1, 70, 50, 60), (1, 3)), ((64, 16, 28, 28), (0, 2, 3))])
def test_large_sums_are_as_accurate_as_numpys(shape: tuple[int, ...], axes: tuple[int, ...]) -> None:
    x = np.random.default_rng(0).random(shape, dtype=np.float32)
    exact = x.sum(axis=axes, dtype=np.float64)
    ours, numpys = (float(np.abs(f(x) - exact).max()) for f in (lambda x: native.sum(x, axes, False), lambda x: np.sum(x, axis=axes)))
    assert ours <= max(numpys, np.spacing(np.float32(exact.max())))
    far = x.astype(np.float64) + 1e6  # a mean far from 0 must not spoil the variance
    np.testing.assert_allclose(native.var(far, axes, 0.0, False), x.var(axis=axes, dtype=np.float64), rtol=1e-6)


# --------------------------------------------------------------------------------- softmax and cross-entropy

MATRICES = [(1, 1), (3, 2), (4, 10), (128, 10), (7, 16), (5, 17), (6, 31), (9, 32), (2, 65), (3, 1000), (0, 5), (4, 0)]


@pytest.mark.parametrize("dtype", DTYPES)
def test_softmax(dtype: type) -> None:
    tolerance = {"rtol": 8 * resolution(dtype), "atol": 4 * resolution(dtype)}
    for shape in [*MATRICES, (5,), (2, 3, 4), (3, 1, 7, 2)]:
        for x in layouts(numbers(shape, dtype, 1)):
            for axis in range(x.ndim):
                if axis < x.ndim - 1:  # the reference's
                    np.testing.assert_array_equal(native.softmax(x, axis), reference.softmax(x, axis))
                    continue
                check("softmax", x, axis, **tolerance)
                check("log_softmax", x, axis, rtol=8 * resolution(dtype), atol=16 * resolution(dtype))
                y = np.ascontiguousarray(reference.softmax(x, axis))
                g = numbers(shape, dtype, 2)
                for gradient in ("softmax_gradient", "log_softmax_gradient"):
                    check(gradient, g, y, axis, rtol=50 * resolution(dtype), atol=100 * resolution(dtype))
                    check(gradient, g[::-1], x, axis, rtol=1e-4, atol=1e-3 if dtype is np.float32 else 1e-10)


@pytest.mark.parametrize("dtype", DTYPES)
def test_softmax_of_extremes(dtype: type) -> None:
    inf, nan = math.inf, math.nan
    rows = [[1, inf, 2], [-inf, -inf, -inf], [nan, 1, 2], [-inf, 0, -inf], [1e4, -1e4, 0], [-1e30, -1e30, -1e30]]
    x = np.array(rows, dtype)
    for y in (x, np.tile(x, (1, 11))):
        check("softmax", y, 1, rtol=4 * resolution(dtype))
        check("log_softmax", y, 1, rtol=4 * resolution(dtype))


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
    for shape, smaller in [((5,), (3,)), ((4, 6), (4, 6)), ((4, 6), (3, 9)), ((3, 4, 5), (2, 4, 5)), ((300, 70), (300, 70)), ((3, 0), (3, 0))]:
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
    for rows, width, size in [(1, 1, ()), (7, 5, (3,)), (65, 128, (12, 64)), (10, 0, (4,)), (40, 33, (0,)), (30, 300, (2, 3, 40))]:
        index = rng.integers(0, rows, size)
        for w in layouts(numbers((rows, width), dtype)):
            check("take_rows", w, index)
        for g in (numbers((*size, width), dtype), numbers((width, *size[::-1]), dtype).T, np.broadcast_to(dtype(0.1), (*size, width))):
            np.testing.assert_array_equal(native.add_rows((rows, width), index, g), reference.add_rows((rows, width), index, g))
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
        found += [native.add(x, y), native.mul(x.T, y.T), native.gt(x, y), native.where(x > y, x, 0.0), native.exp(x), native.add(x, y[0])]
        found += [native.softmax(x, 1), native.log_softmax(x, 1), native.softmax_gradient(x, y, 1)]
        for axes in ((0,), (1,), (0, 1)):
            found += [native.sum(x, axes, False), native.amax(x.T, axes, False), native.var(x, axes, 1.0, False), native.logsumexp(x, axes, True)]
        flat = np.tile(x.reshape(-1), 3)
        found += [native.sum(flat, (0,), False), native.sum(flat.reshape(-1, 3), (0,), False), native.argmax(x, 1, False)]
        target = np.arange(300)
        losses, lse = native.cross_entropy(x, target, None, -100, 0.1)
        found += [losses, lse, native.cross_entropy_gradient(losses, x, target, lse, None, -100, 0.1)]
        index = np.random.default_rng(0).integers(0, 300, (1000,))
        rows = native.take_rows(x, index)
        found += [rows, native.add_rows((300, 517), index, rows), native.uniform(5, 3, 50_000, dtype), native.normal(5, 3, 50_001, dtype)]
        places = np.random.default_rng(0).integers(0, 300, (300, 517))
        found += [native.gather(x, 0, places), native.scatter_add(x, 0, places, y)]
        w, m, v = x.copy(), y.copy(), y * y
        native.adam_step([w, w[0].copy()], [y, y[0]], [m, m[0].copy()], [v, v[0].copy()], 3, 0.1, 0.9, 0.99, 1e-8, 0.1, False)
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
    """This file once more, on each instruction set that this machine has."""
    if os.environ.get("MINIDL_ISA"):
        pytest.skip("runs from the process that chose its own instruction set")
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", __file__]
    run = subprocess.run(command, env={**os.environ, "MINIDL_ISA": level}, capture_output=True, text=True)
    assert run.returncode == 0, run.stdout[-3000:] + run.stderr[-1000:]
