"""The compiled kernels against the NumPy reference."""

from __future__ import annotations

import numpy as np
import pytest

_native = pytest.importorskip("minidl._native", reason="no compiled kernels in this installation")

SHAPES = [((3, 4), (3, 4)), ((3, 1), (1, 4)), ((), (5,)), ((0, 3), (3,)), ((4, 3, 2), (4, 1, 2)), ((501, 73), (73,))]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("a_shape, b_shape", SHAPES)
def test_add(a_shape: tuple[int, ...], b_shape: tuple[int, ...], dtype: type) -> None:
    add = _native.verbs({"add": np.add})["add"]
    rng = np.random.default_rng(0)
    a, b = (np.asarray(rng.standard_normal(shape), dtype) for shape in (a_shape, b_shape))
    for x, y in [(a, b), (a.T[::-1] if a.ndim else a, 2.5)]:
        got, expected = add(x, y), np.asarray(x + (dtype(y) if isinstance(y, float) else y))
        assert got.dtype == dtype and got.shape == expected.shape
        np.testing.assert_array_equal(got, expected)
