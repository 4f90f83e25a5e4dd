"""Every rung of every ladder computes what the reference does: awkward sizes and layouts, both types, every instruction
set, the rows of cases.py, drawn shapes.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cases import SIZES, TABLE, Row, V
from checks import check_value, draw
from hypothesis import given, settings
from hypothesis import strategies as st

import minidl
from minidl import kernels
from minidl.kernels import native, reference

HERE = Path(__file__).parent  # for children: the checkout's root has a minidl folder that is not the installed one
Array = np.ndarray
DTYPES = [np.float32, np.float64]
LADDERS = {name: getattr(kernels, name) for name in ("matmul", "conv2d", "sum", "softmax")}
ORDER = {
    "matmul": "python numpy cython naive reordered blocked vectorized packed parallel",
    "conv2d": "python direct im2col implicit winograd",
    "sum": "python scalar numpy unrolled vectorized parallel",
    "softmax": "python scalar unrolled numpy vectorized parallel",
}
SLOW = ("python", "numpy")
SLACK = {"winograd": 4}  # times the plain algorithm's bound: its transforms round too

if native.available:
    from minidl import _native

    LEVELS = _native.levels()
else:
    LEVELS = ["reference"]


@contextmanager
def instruction_set(level: str) -> Iterator[None]:
    if not native.available:
        yield
        return
    before = _native.get_level()
    _native.set_level(level)
    try:
        yield
    finally:
        _native.set_level(before)


def runs(rung: Callable[..., Any]) -> bool:
    """False for what stands in the place of a rung that was not compiled."""
    return "." not in rung.__name__ or isinstance(rung, type(len))


def rungs_of(ladder: str) -> list[Any]:
    """(level, rung) for every rung on every instruction set; what does not depend on it once."""
    found = []
    for name, rung in LADDERS[ladder]:
        if runs(rung):
            compiled = isinstance(rung, type(len)) or name == "winograd"
            found += [
                pytest.param(level, name, id=f"{name}-{level}") for level in (LEVELS if compiled else LEVELS[-1:])
            ]
    return found


def numbers(*shape: int, dtype: type = np.float32, seed: int = 0) -> Array:
    return np.random.default_rng([seed, *shape]).standard_normal(shape).astype(dtype)


def layouts(x: Array) -> Iterator[Array]:
    """x's values in other memory layouts."""
    yield x
    yield np.ascontiguousarray(x.T).T
    yield np.ascontiguousarray(x[..., ::-1])[..., ::-1]
    spread = np.full((*x.shape[:-1], 3 * x.shape[-1] + 1), np.nan, x.dtype)
    spread[..., 1::3] = x
    yield spread[..., 1::3]


def assert_near(got: Array, exact: Array, magnitude: Array, terms: int, slack: float, label: object) -> None:
    """A sum of `terms` products differs from the exact one by roundings of their magnitude at most."""
    assert got.shape == exact.shape, label
    if got.size:
        error = np.abs(got - exact) / np.maximum(magnitude, 1e-300)
        worst = np.unravel_index(error.argmax(), error.shape)
        bound = slack * (4 + 2 * terms**0.5) * np.finfo(got.dtype).eps
        assert error[worst] <= bound, f"{label} at {worst}: {exact[worst]} expected, {got[worst]} received"


# ---------------------------------------------------------------------------------------------- the ladders


@pytest.mark.parametrize("ladder", LADDERS)
def test_rungs_go_from_python_to_what_ships(ladder: str) -> None:
    rungs = LADDERS[ladder]
    names = [name for name, _ in rungs]
    assert names == ORDER[ladder].split() and len(rungs) == len(names)
    assert all(getattr(rungs, name) is rungs[name] is rung for name, rung in rungs)
    assert rungs.reference is getattr(reference, ladder)
    if native.available:
        assert rungs[names[-1]] is getattr(native, ladder)
    listing = repr(rungs).splitlines()
    assert ladder in listing[0] and [line.split()[0] for line in listing[1:]] == names
    with pytest.raises(AttributeError, match="no rung 'fast'; there are python"):
        _ = rungs.fast


@pytest.mark.parametrize("ladder, rung", [(name, rung) for name in LADDERS for rung, _ in LADDERS[name]])
def test_every_rung_says_why(ladder: str, rung: str) -> None:
    doc = LADDERS[ladder][rung].__doc__
    assert doc and doc.count(".") >= 2 and len(doc) > 60


ARGUMENTS: dict[str, tuple[Any, ...]] = {
    "matmul": (np.ones((2, 3)), np.ones((3, 2))),
    "conv2d": (np.ones((1, 1, 3, 3)), np.ones((1, 1, 3, 3)), None, (1, 1), (0, 0), (1, 1), 1),
    "sum": (np.ones((2, 3)), (1,), False),
    "softmax": (np.ones((2, 3)), 1),
}
X, W = np.ones((2, 3)), ARGUMENTS["conv2d"][1:]
BAD: dict[str, list[tuple[Any, ...]]] = {
    "matmul": [(X, X), (X, np.ones((3, 2), np.float32)), (np.ones(3), np.ones((3, 1)))],
    "conv2d": [(np.ones((1, 1, 2, 2)), *W), (np.ones((1, 2, 3, 3)), *W)],
    "sum": [(X, (2,), False), (X, (1, 1), False), (X.astype(np.int64), (1,), False)],
    "softmax": [(X, 2), (X, -1), (X.astype(np.float16), 1)],
}


@pytest.mark.skipif(not native.available, reason="no compiled kernels in this installation")
@pytest.mark.parametrize("ladder", LADDERS)
def test_compiled_rungs_refuse_what_does_not_fit(ladder: str) -> None:
    for name, rung in LADDERS[ladder]:
        rung(*ARGUMENTS[ladder])
        if name not in SLOW and rung is not getattr(native, ladder):
            for arguments in BAD[ladder]:
                with pytest.raises(ValueError, match=rf"{ladder}\.{name}: got .*; expected "):
                    rung(*arguments)


def python(code: str, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, **variables}
    return subprocess.run(
        [sys.executable, "-c", code], env=environment, cwd=HERE, capture_output=True, text=True, timeout=100
    )


def test_without_compiled_code_python_works_and_the_rest_says_so(tmp_path: Path) -> None:
    run = python(
        "import sys; sys.modules['minidl._native'] = sys.modules['minidl._matmul'] = None\n"
        "import numpy as np; from minidl import kernels; from test_ladders import ARGUMENTS\n"
        "for ladder in ARGUMENTS:\n"
        "    for name, rung in getattr(kernels, ladder):\n"
        "        assert rung.__doc__\n"
        "        try: rung(*ARGUMENTS[ladder]); print(ladder, name)\n"
        "        except RuntimeError as error:\n"
        "            assert f'{ladder}.{name}' in str(error) and 'minidl doctor' in str(error)\n",
        XDG_CACHE_HOME=str(tmp_path),
    )
    assert run.returncode == 0, run.stderr
    assert run.stdout.split("\n")[:-1] == [
        *("matmul python", "matmul numpy", "conv2d python", "sum python", "sum numpy", "softmax python"),
        "softmax numpy",
    ]


def test_importing_minidl_loads_no_ladder() -> None:
    run = python("import sys, minidl; print('minidl.kernels.ladders' in sys.modules, minidl.kernels.matmul.name)")
    assert run.stdout == "False matmul\n", run.stderr
    with pytest.raises(AttributeError, match="nothing"):
        _ = kernels.nothing


# --------------------------------------------------------------------------------------------------- matmul

PRODUCTS = [
    *[(0, 3, 4), (3, 0, 4), (3, 4, 0), (1, 1, 1), (1, 5, 7), (5, 1, 7), (7, 11, 13), (12, 32, 16), (13, 33, 5)],
    *[(72, 73, 74), (128, 10, 128), (3, 300, 3), (25, 31, 800), (180, 70, 300), (66, 1040, 9)],
]


def check_matmul(level: str, name: str, a: Array, b: Array) -> None:
    exact, magnitude = a.astype(float) @ b.astype(float), np.abs(a).astype(float) @ np.abs(b).astype(float)
    with instruction_set(level):
        got = kernels.matmul[name](a, b)
    assert got.dtype == a.dtype
    assert_near(got, exact, magnitude, a.shape[-1], 1, (name, level, a.shape, a.strides, b.shape, b.strides, a.dtype))


@pytest.mark.parametrize("level, name", rungs_of("matmul"))
@pytest.mark.parametrize("dtype", DTYPES)
def test_matmul(level: str, name: str, dtype: type) -> None:
    for M, N, K in PRODUCTS:
        if M * N * K > 2000 and name in SLOW:
            continue
        a, b = numbers(M, K, dtype=dtype), numbers(K, N, dtype=dtype, seed=1)
        for x, y in zip(layouts(a), [*layouts(b)][::-1], strict=True):
            check_matmul(level, name, x, y)


@pytest.mark.parametrize("level, name", rungs_of("matmul"))
def test_matmul_of_small_integers_is_exact(level: str, name: str) -> None:
    rng = np.random.default_rng(0)
    for M, N, K in [(7, 11, 13)] if name in SLOW else [(7, 11, 13), (72, 73, 74)]:
        a, b = rng.integers(-9, 10, (M, K)), rng.integers(-9, 10, (K, N))
        with instruction_set(level):
            np.testing.assert_array_equal(kernels.matmul[name](a.astype(np.float32), b.astype(np.float32)), a @ b)


BATCHES = [
    *[((5, 1, 3, 4), (2, 4, 6)), ((2, 3, 4), (4, 5)), ((4, 5), (3, 5, 2)), ((0, 3, 4), (4, 2))],
    ((1, 1, 2, 3), (2, 1, 3, 1)),
]


@pytest.mark.parametrize("level, name", rungs_of("matmul"))
def test_matmul_of_batches(level: str, name: str) -> None:
    for s, t in BATCHES:
        a, b = numbers(*s), numbers(*t, seed=1)
        check_matmul(level, name, a, b)
        check_matmul(level, name, np.broadcast_to(a[..., :1, :], s), b.swapaxes(-1, -2).copy().swapaxes(-1, -2))


def small_sizes(count: int, most: int) -> st.SearchStrategy[tuple[int, ...]]:
    return st.tuples(*[st.integers(0, most)] * count)


@pytest.mark.parametrize("level, name", rungs_of("matmul"))
@settings(max_examples=30)
@given(small_sizes(3, 70), st.integers(0, 3), st.integers(0, 3), st.sampled_from(DTYPES))
def test_matmul_of_any_size(level: str, name: str, sizes: Any, of_a: int, of_b: int, dtype: type) -> None:
    M, N, K = (min(size, 9) for size in sizes) if name in SLOW else sizes
    check_matmul(
        level, name, [*layouts(numbers(M, K, dtype=dtype))][of_a], [*layouts(numbers(K, N, dtype=dtype, seed=1))][of_b]
    )


@pytest.mark.parametrize("level, name", rungs_of("matmul"))
def test_nan_and_infinity_stay_in_their_row(level: str, name: str) -> None:
    a, b = numbers(14, 9), numbers(9, 35, seed=1)
    a[3, 4], a[7, 0] = np.nan, np.inf
    with instruction_set(level), np.errstate(all="ignore"):
        got = kernels.matmul[name](a, b)
    assert np.isnan(got[3]).all() and np.isinf(got[7]).all() and np.isfinite(np.delete(got, [3, 7], 0)).all()


# --------------------------------------------------------------------------------------------------- conv2d

# images, groups, channels and filters of a group, (H, W), (R, S), stride, padding, dilation
CONVOLUTIONS: list[Any] = [
    (2, 1, 1, 4, (8, 8), (3, 3), (1, 1), (1, 1), (1, 1)),
    (1, 1, 3, 5, (9, 7), (3, 2), (1, 1), (0, 0), (1, 1)),
    (2, 2, 2, 3, (7, 9), (3, 3), (2, 1), (1, 2), (1, 1)),
    (1, 1, 2, 2, (15, 16), (3, 2), (3, 2), (2, 1), (2, 3)),
    (2, 5, 1, 1, (7, 11), (3, 3), (1, 1), (1, 1), (1, 1)),
    (1, 1, 2, 13, (14, 14), (3, 3), (1, 1), (1, 1), (1, 1)),
    (3, 1, 16, 16, (13, 14), (3, 3), (1, 1), (1, 1), (1, 1)),
    (1, 1, 1, 1, (1, 1), (1, 1), (1, 1), (0, 0), (1, 1)),
    (1, 1, 1, 2, (3, 3), (2, 2), (1, 1), (3, 4), (2, 2)),
    (0, 1, 2, 3, (5, 5), (3, 3), (1, 1), (1, 1), (1, 1)),
    (2, 1, 0, 3, (5, 5), (3, 3), (1, 1), (1, 1), (1, 1)),
    (2, 1, 2, 0, (5, 5), (3, 3), (1, 1), (0, 0), (1, 1)),
]


def check_conv2d(level: str, name: str, case: Sequence[Any], dtype: type) -> None:
    n, groups, c, o, size, taps, *window = case
    if name in SLOW and n * c * o > 100:
        return
    x, w = numbers(n, groups * c, *size, dtype=dtype), numbers(groups * o, c, *taps, dtype=dtype, seed=1)
    b, options = numbers(groups * o, dtype=dtype, seed=2), (*window, groups)
    exact = reference.conv2d(x.astype(float), w.astype(float), None, *options)
    magnitude = reference.conv2d(abs(x.astype(float)), abs(w.astype(float)), None, *options)
    with instruction_set(level):
        for x_, w_ in zip(layouts(x), [*layouts(w)][::-1], strict=True):
            label, slack = (name, level, case, dtype.__name__, x_.strides), SLACK.get(name, 1)
            got, with_bias = kernels.conv2d[name](x_, w_, None, *options), kernels.conv2d[name](x_, w_, b, *options)
            terms = c * taps[0] * taps[1]
            assert got.dtype == dtype
            assert_near(got, exact, magnitude, terms, slack, label)
            b_ = b.astype(float)[:, None, None]
            assert_near(with_bias, exact + b_, magnitude + abs(b_), terms, slack, label)


@pytest.mark.parametrize("level, name", rungs_of("conv2d"))
@pytest.mark.parametrize("dtype", DTYPES)
def test_conv2d(level: str, name: str, dtype: type) -> None:
    for case in CONVOLUTIONS:
        check_conv2d(level, name, case, dtype)


pairs = st.tuples(st.integers(1, 3), st.integers(1, 3))
counts = st.tuples(st.integers(0, 2), st.integers(1, 2), st.integers(0, 3), st.integers(0, 4))
images = st.tuples(st.integers(1, 8), st.integers(1, 19))
paddings = st.tuples(st.integers(0, 2), st.integers(0, 2))


@pytest.mark.parametrize("level, name", rungs_of("conv2d"))
@settings(max_examples=20)
@given(counts, images, pairs, st.tuples(pairs, paddings, pairs))
def test_conv2d_of_any_size(level: str, name: str, counts: Any, size: Any, taps: Any, window: Any) -> None:
    _, padding, dilation = window
    reach = [d * (k - 1) + 1 for d, k in zip(dilation, taps, strict=True)]
    if all(h + 2 * p >= r for h, p, r in zip(size, padding, reach, strict=True)):
        check_conv2d(level, name, (*counts, size, taps, *window), np.float32)


@pytest.mark.parametrize("level, name", rungs_of("conv2d"))
def test_conv2d_of_small_integers_is_exact(level: str, name: str) -> None:
    rng = np.random.default_rng(0)
    x, w = rng.integers(-9, 10, (2, 3, 8, 7)), rng.integers(-9, 10, (5, 3, 3, 3))
    options = (None, (1, 1), (1, 1), (1, 1), 1)
    with instruction_set(level):
        got = kernels.conv2d[name](x.astype(np.float32), w.astype(np.float32), *options)
    np.testing.assert_array_equal(got, reference.conv2d(x, w, *options))


@pytest.mark.parametrize("level, name", rungs_of("conv2d"))
def test_nan_in_an_image_reaches_only_what_it_touches(level: str, name: str) -> None:
    x, w, options = numbers(1, 3, 9, 9), numbers(3, 3, 3, 3, seed=1), (None, (1, 1), (0, 0), (1, 1), 1)
    x[0, :, 4, 8] = np.nan
    with instruction_set(level):
        got = kernels.conv2d[name](x, w, *options)
    np.testing.assert_array_equal(np.isnan(got), np.isnan(reference.conv2d(x, w, *options)))


# ------------------------------------------------------------------------------------------ sum and softmax

SHAPES = [(0,), (1,), (7,), (1000,), (3, 5), (5, 1), (2, 0, 3), (0, 4), (11, 65), (4, 3, 16), (2, 3, 4, 5), (97, 33)]


def axes_of(ndim: int) -> list[tuple[int, ...]]:
    return [(), (ndim - 1,), (0,), tuple(range(ndim))] if ndim > 1 else [(), (0,)]


def check_sum(level: str, name: str, x: Array, axes: tuple[int, ...], keepdims: bool) -> None:
    exact, magnitude = (reference.sum(each.astype(float), axes, keepdims) for each in (x, np.abs(x)))
    with instruction_set(level):
        got = kernels.sum[name](x, axes, keepdims)
    assert np.asarray(got).dtype == x.dtype
    terms = int(np.prod([x.shape[d] for d in axes]))
    assert_near(np.asarray(got), np.asarray(exact), np.asarray(magnitude), terms, 1, (name, level, x.shape, axes))


@pytest.mark.parametrize("level, name", rungs_of("sum"))
@pytest.mark.parametrize("dtype", DTYPES)
def test_sum(level: str, name: str, dtype: type) -> None:
    for shape in SHAPES:
        for x in layouts(numbers(*shape, dtype=dtype)):
            for axes in axes_of(x.ndim):
                check_sum(level, name, x, axes, False)
                check_sum(level, name, x, axes, True)
    whole = np.random.default_rng(0).integers(-99, 100, (13, 1001))
    with instruction_set(level):
        np.testing.assert_array_equal(kernels.sum[name](whole.astype(dtype), (1,), False), whole.sum(1))


def check_softmax(level: str, name: str, x: Array, axis: int) -> None:
    with np.errstate(all="ignore"):
        exact = reference.softmax(x.astype(float), axis)
    with instruction_set(level), np.errstate(all="ignore"):
        got = kernels.softmax[name](x, axis)
    assert got.dtype == x.dtype and got.shape == x.shape
    spread = float(np.ptp(x)) if x.size and np.isfinite(x).all() else 10.0  # the argument of exp has rounding errors
    rtol = (8 + spread + 2 * x.shape[axis] ** 0.5) * float(np.finfo(x.dtype).eps)
    np.testing.assert_allclose(got, exact, rtol=rtol, atol=1e-37, err_msg=f"{name} {level} {x.shape} {axis}")


@pytest.mark.parametrize("level, name", rungs_of("softmax"))
@pytest.mark.parametrize("dtype", DTYPES)
def test_softmax(level: str, name: str, dtype: type) -> None:
    for shape in SHAPES:
        for x in layouts(3 * numbers(*shape, dtype=dtype)):
            for axis in {0, x.ndim - 1}:
                check_softmax(level, name, x, axis)
    check_softmax(level, name, np.array([[1e4, 1e4 - 1, -1e4], [-3e4, -3e4, -3e4]], dtype), 1)


@pytest.mark.parametrize("level, name", rungs_of("sum"))
@settings(max_examples=30)
@given(small_sizes(3, 40), st.integers(0, 3), st.sampled_from([(), (0,), (2,), (1, 2), (0, 2), (0, 1, 2)]))
def test_sum_of_any_size(level: str, name: str, shape: Any, layout: int, axes: tuple[int, ...]) -> None:
    check_sum(level, name, [*layouts(numbers(*shape))][layout], axes, False)


@pytest.mark.parametrize("level, name", rungs_of("softmax"))
@settings(max_examples=30)
@given(small_sizes(3, 40), st.integers(0, 3), st.integers(0, 2))
def test_softmax_of_any_size(level: str, name: str, shape: Any, layout: int, axis: int) -> None:
    check_softmax(level, name, [*layouts(numbers(*shape))][layout], axis)


@pytest.mark.parametrize("level, name", rungs_of("sum"))
@pytest.mark.parametrize("n", [3, 37, 200])
def test_sum_of_nan_and_infinity(level: str, name: str, n: int) -> None:
    x = np.ones((5, n), np.float32)
    x[0, n - 1], x[1, n // 2], x[2, 0], x[3, [0, n - 1]] = np.nan, np.inf, -np.inf, [np.inf, -np.inf]
    with instruction_set(level), np.errstate(all="ignore"):
        np.testing.assert_array_equal(kernels.sum[name](x, (1,), False), [np.nan, np.inf, -np.inf, np.nan, n])


@pytest.mark.parametrize("level, name", rungs_of("softmax"))
@pytest.mark.parametrize("n", [3, 37, 200])
def test_softmax_of_nan_and_infinity(level: str, name: str, n: int) -> None:
    x = numbers(6, n)
    x[0, n - 1], x[1, n // 2], x[2, : n - 1], x[3], x[4, 0] = np.nan, np.inf, -np.inf, -np.inf, np.nan
    check_softmax(level, name, x, 1)


# ------------------------------------------------------------------------------------------- the case table


def is_float(x: Any) -> bool:
    return not isinstance(x, np.ndarray) or x.dtype in (np.float32, np.float64)


def value_through(row: Row, variant: V, dtype: type, verb: str, rung: Callable[..., Any]) -> int:
    """Check an operation's value with the rung in the place of the verb; how often it was called."""
    shipping, calls = getattr(native, verb), 0

    def instead(*args: Any) -> Any:
        nonlocal calls
        if not all(map(is_float, args)):  # whole numbers are the reference's
            return shipping(*args)
        calls += 1
        return rung(*args)

    with pytest.MonkeyPatch.context() as patch, minidl.backend("native"):
        patch.setattr(native, verb, instead)
        check_value(row, variant, draw(variant, SIZES), dtype)
    return calls


@pytest.mark.skipif(not native.available, reason="no compiled kernels in this installation")
@pytest.mark.parametrize("ladder", LADDERS)
def test_the_case_table_through_every_rung(ladder: str) -> None:
    """Every operation of cases.py whose value needs the verb, computed by each rung, on every instruction set."""
    through = [
        (row, variant) for row in TABLE for variant in row.variants
        if value_through(row, variant, np.float64, ladder, getattr(native, ladder))
    ]  # fmt: skip
    assert {row.op for row, _ in through} >= {ladder}
    for each in rungs_of(ladder):
        level, name = each.values
        with instruction_set(level):
            for row, variant in through:
                for dtype in DTYPES:
                    value_through(row, variant, dtype, ladder, LADDERS[ladder][name])
