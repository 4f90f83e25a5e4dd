"""What the tests of compiled verbs share: values, memory layouts, and the comparison with the NumPy reference."""

from __future__ import annotations

from collections.abc import Iterator
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
