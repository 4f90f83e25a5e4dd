"""Attention of the CUDA backend, on the emulator: the reference's values and gradients, any lengths, masks, layouts."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from minidl.kernels import emulator, reference
from minidl.kernels.cuda import Backend

pytestmark = pytest.mark.skipif(
    not emulator.available(), reason="the emulator is not built; type: python setup.py build_ext --inplace"
)
plain: Any = reference
TYPES = ["float32", "float64"]
# (batch), queries, keys, columns of queries and of values
SIZES = [
    ((), 1, 1, 1, 1),
    ((2, 3), 5, 7, 4, 3),
    ((1, 2), 67, 35, 33, 17),
    ((2,), 33, 66, 8, 65),
    ((2, 1, 2), 3, 2, 5, 6),
]
EMPTY = [((2,), 0, 4, 3, 2), ((2,), 4, 0, 3, 2), ((0, 2), 4, 3, 2, 1), ((2,), 3, 4, 0, 2), ((2,), 3, 4, 2, 0)]


def on(device: emulator.Device | None = None) -> Any:
    return Backend(device or emulator.Device())


def arrays(size: tuple[Any, ...], kind: str) -> list[np.ndarray]:
    """g, q, k, v"""
    batch, L, S, E, C = size
    random = np.random.default_rng(0)
    shapes = [(*batch, L, C), (*batch, L, E), (*batch, S, E), (*batch, S, C)]
    return [random.normal(size=shape).astype(kind) for shape in shapes]


def compare(given: list[np.ndarray], mask: Any, causal: bool, scale: float, device: Any = None) -> None:
    g, q, k, v = given
    wanted, got = (b.attention(q, k, v, mask, causal, scale) for b in (plain, on(device)))
    eps = 64 * np.finfo(q.dtype).eps
    for mine, right in zip(got, wanted, strict=True):
        assert mine.dtype == right.dtype == q.dtype and mine.shape == right.shape and mine.flags.c_contiguous
        np.testing.assert_allclose(mine, right, rtol=eps, atol=eps)
    wanted, got = (b.attention_gradient(g, q, k, v, *wanted, mask, causal, scale) for b in (plain, on(device)))
    for mine, right, like in zip(got, wanted, (q, k, v), strict=True):
        assert mine.dtype == q.dtype and mine.shape == like.shape == right.shape and mine.flags.c_contiguous
        np.testing.assert_allclose(mine, right, rtol=4 * eps, atol=4 * eps)


@pytest.mark.parametrize("kind", TYPES)
@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("size", SIZES + EMPTY)
def test_attention(size: tuple[Any, ...], causal: bool, kind: str) -> None:
    compare(arrays(size, kind), None, causal, 0.3)


@pytest.mark.parametrize("kind", TYPES)
def test_masks(kind: str) -> None:
    given = arrays(SIZES[1], kind)
    random = np.random.default_rng(1)
    for shape in [(2, 3, 5, 7), (5, 7), (2, 1, 5, 7), (7,), (5, 1), ()]:
        compare(given, random.random(shape) < 0.5, False, 0.5)
        compare(given, np.asarray(random.normal(size=shape), kind), True, 0.5)
    allowed = np.ones((5, 7), bool)
    allowed[1] = allowed[4] = False  # these may attend to nothing
    y, lse = on().attention(*given[1:], allowed, False, 0.5)
    assert not y[..., [1, 4], :].any() and (lse[..., [1, 4]] == -np.inf).all()
    compare(given, allowed, False, 0.5)
    compare(given, np.where(allowed, 0, -np.inf).astype(kind), False, 0.5)


@pytest.mark.parametrize(("kind", "widths"), [("float32", (64, 65, 129, 256)), ("float64", (65, 129, 256))])
def test_wide_heads(kind: str, widths: tuple[int, ...]) -> None:
    for width in widths:
        device = emulator.Device()
        compare(arrays(((), 3, 5, width, width), kind), None, False, width**-0.5, device)
        groups = {64: 1, 65: 2, 129: 4, 256: 4}[width] * (2 if kind == "float64" else 1)
        T = "float" if kind == "float32" else "double"
        names = [f"forward<{T}, {groups}>", f"inner_products<{T}>"]
        names += [f"to_queries<{T}, {groups}>", f"to_keys<{T}, {groups}>"]
        assert [each.kernel.removeprefix("attention_tiles::") for each in device.launches] == names


def test_longer_sequences() -> None:
    """Several tiles of queries and keys, also those that causality leaves out."""
    device = emulator.Device(checked=not emulator.available(checked=False))
    for L, S in [(150, 200), (200, 130)]:
        given = arrays(((2, 2), L, S, 40, 48), "float32")
        for causal in (False, True):
            compare(given, None, causal, 0.2, device)
        compare(given, np.random.default_rng(2).random((L, S)) < 0.1, False, 0.2, device)
    assert device.launches[0].grid == (4 * 3,) and device.launches[3].grid == (4 * 4,)


def test_of_any_layout() -> None:
    """As a model has them: (B, L, H, E) seen as (B, H, L, E); turned, reversed and repeated ones."""
    random = np.random.default_rng(3)
    wide = random.normal(size=(2, 6, 3, 4)).astype(np.float32)
    q, k = wide.swapaxes(1, 2), wide[:, ::-1].swapaxes(1, 2)
    v = np.broadcast_to(wide[:1, :, :1], wide.shape).swapaxes(1, 2)
    g = random.normal(size=(2, 3, 4, 6)).astype(np.float32).mT
    compare([g, q, k, v], random.random((6, 6)).T < 0.7, False, 0.5)


def test_large_scores_and_what_is_not_finite() -> None:
    g, q, k, v = arrays(((2,), 4, 6, 3, 2), "float32")
    compare([g, np.rint(q * 300), np.rint(k * 300), v], None, False, 1.0)  # whole scores: nothing is rounded
    for at in (np.nan, np.inf, -np.inf):
        strange = q.copy()
        strange[0, 1, 2] = at
        for b in (plain, on()):
            y, lse = b.attention(strange, k, v, None, False, 1.0)
            assert np.isnan(y[0, 1]).all() and np.isfinite(np.delete(y[0], 1, 0)).all()
            assert np.isnan(lse[0, 1]) if np.isnan(at) else lse[0, 1] == np.inf
            assert np.isfinite(y[1]).all()


def test_the_same_bits_every_time() -> None:
    given = arrays(((3,), 70, 70, 8, 8), "float32")
    device = emulator.Device(checked=not emulator.available(checked=False))
    y, lse = on(device).attention(*given[1:], None, True, 0.3)
    first, second = (on(device).attention_gradient(*given, y, lse, None, True, 0.3) for _ in range(2))
    for a, b in zip(first, second, strict=True):
        np.testing.assert_array_equal(a, b)


def test_the_scores_are_never_in_memory() -> None:
    """What moves grows with the number of keys, not with queries times keys."""
    device = emulator.Device()
    g, q, k, v = arrays(((), 64, 256, 4, 4), "float32")
    on(device).attention(q, k, v, None, False, 1.0)
    (launched,) = device.launches
    read = q.nbytes + k.nbytes + v.nbytes + 4 * q.nbytes  # a tile of queries is read once for each tile of keys
    assert launched.counts.bytes_used < read + 4 * g.nbytes < 64 * 256 * 4
    assert launched.counts.atomics == 0


def test_what_is_not_covered_is_the_references() -> None:
    device = emulator.Device()
    for size, kind in [(((), 2, 3, 257, 2), "float32"), (((), 2, 3, 2, 2), "float16")]:
        g, q, k, v = arrays(size, kind)
        got, wanted = (b.attention(q, k, v, None, False, 0.1) for b in (on(device), plain))
        np.testing.assert_array_equal(got[0], wanted[0])
        on(device).attention_gradient(g, q, k, v, *wanted, None, False, 0.1)
    assert not device.launches
