"""Elementwise verbs and reductions in C++ against the NumPy reference: awkward sizes and layouts, NaN, infinities."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from native_checks import DTYPES, Array, check, layouts, numbers, resolution

from minidl.kernels import native, reference

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
@pytest.mark.parametrize(
    "verb, bound",
    [("exp", 1), ("expm1", 2), ("log", 1), ("log1p", 2), ("tanh", 6), ("sigmoid", 2), ("erf", 2), ("gelu", 25)],
)
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
    for s, t in [
        ((3, 1), (1, 4)), ((), (5,)), ((0, 3), (3,)), ((4, 3, 2), (4, 1, 2)), ((4, 3, 2), (3, 1)), ((501, 73), (73,)),
        ((2, 5, 7, 7), (5, 1, 1)), ((70_001,), (1,)), ((2, 70_001), (2, 1)), ((1, 1), (1,)),
    ]:  # fmt: skip
        a, b = numbers(s, dtype, 4, True), numbers(t, dtype, 5, True)
        check(verb, a, b)
        check(verb, b, a)


def test_results_larger_than_the_caches() -> None:
    x = numbers((2**23 + 5,), np.float32)
    calls: list[tuple[str, tuple[Any, ...]]] = [
        ("add", (x, x[::-1])), ("sub", (x, x)), ("mul", (x, 3.0)), ("div", (1.0, x)), ("relu", (x,)), ("neg", (x,)),
    ]  # fmt: skip
    for verb, args in calls:
        with np.errstate(all="ignore"):
            np.testing.assert_array_equal(getattr(native, verb)(*args), getattr(reference, verb)(*args), err_msg=verb)
    np.testing.assert_array_equal(native.exp(x), np.concatenate([native.exp(part) for part in np.array_split(x, 7)]))


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


REDUCED = [
    (),
    (1,),
    (7,),
    (16,),
    (1000,),
    (3, 5),
    (128, 10),
    (31, 70),
    (4, 1, 9),
    (2, 3, 4, 5),
    (5, 4, 7, 7),
    (3, 0, 2),
    (1, 1),
]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("verb", ["sum", "mean", "prod", "amax", "amin", "var", "logsumexp"])
def test_reductions(verb: str, dtype: type) -> None:
    # NumPy multiplies one after the other: each of a thousand factors adds its rounding.
    tolerance = {"rtol": (100 if verb == "prod" else 20) * resolution(dtype), "atol": 20 * resolution(dtype)}
    for shape in REDUCED:
        x = numbers(shape, dtype)
        for y in layouts(
            np.asarray(x + 1.5) if verb in ("sum", "mean") else np.asarray(1 + x / 100) if verb == "prod" else x
        ):
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


@pytest.mark.parametrize(
    "shape, axes",
    [
        ((1_000_003,), (0,)),
        ((40_000, 30), (0,)),
        ((3, 100_000), (1,)),
        ((1, 70, 50, 60), (1, 3)),
        ((64, 16, 28, 28), (0, 2, 3)),
    ],
)
def test_large_sums_are_as_accurate_as_numpys(shape: tuple[int, ...], axes: tuple[int, ...]) -> None:
    x = np.random.default_rng(0).random(shape, dtype=np.float32)
    exact = x.sum(axis=axes, dtype=np.float64)
    ours, numpys = (
        float(np.abs(f(x) - exact).max())
        for f in (lambda x: native.sum(x, axes, False), lambda x: np.sum(x, axis=axes))
    )
    assert ours <= max(numpys, np.spacing(np.float32(exact.max())))
    far = x.astype(np.float64) + 1e6  # a mean far from 0 must not spoil the variance
    np.testing.assert_allclose(native.var(far, axes, 0.0, False), x.var(axis=axes, dtype=np.float64), rtol=1e-6)
