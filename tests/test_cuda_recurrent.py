"""Steps of recurrent units on the CUDA backend, on the emulator: the reference's values and gradients."""

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
SIZES = [(1, 1), (3, 7), (17, 31), (2, 300), (0, 4), (4, 0)]
UNITS = [("lstm", 4), ("gru", 3)]


def on(device: emulator.Device | None = None) -> Any:
    return Backend(device or emulator.Device())


def compare(unit: str, x: np.ndarray, a: np.ndarray, state: np.ndarray, device: emulator.Device | None = None) -> None:
    """A step, then its gradients for random G."""
    got, wanted = (getattr(b, f"{unit}_step")(x, a, state) for b in (on(device), plain))
    close(got, wanted)
    y, gates = wanted
    g = np.random.default_rng(1).normal(size=y.shape).astype(x.dtype)
    given = (g, gates, state, y) if unit == "lstm" else (g, gates, a, state)
    got, wanted = (getattr(b, f"{unit}_step_gradient")(*given) for b in (on(device), plain))
    close(got, wanted)


def close(got: tuple[np.ndarray, ...], wanted: tuple[np.ndarray, ...]) -> None:
    for mine, right in zip(got, wanted, strict=True):
        assert mine.dtype == right.dtype and mine.shape == right.shape and mine.flags.c_contiguous
        eps = 8 * np.finfo(right.dtype).eps
        np.testing.assert_allclose(mine, right, rtol=eps, atol=eps)


def numbers(shape: tuple[int, ...], kind: str) -> np.ndarray:
    return np.random.default_rng(len(shape)).normal(size=shape).astype(kind)


@pytest.mark.parametrize("kind", TYPES)
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(("unit", "gates"), UNITS)
def test_steps(unit: str, gates: int, size: tuple[int, int], kind: str) -> None:
    N, H = size
    device = emulator.Device()
    x = numbers((N, gates, H), kind)
    compare(unit, x, 2 * x[::-1].copy(), numbers(size, kind), device)
    assert len(device.launches) == (2 if N * H else 0)


@pytest.mark.parametrize(("unit", "gates"), UNITS)
def test_of_any_layout(unit: str, gates: int) -> None:
    """As layers have them: a step of a longer sequence, and a bias that is repeated for each row."""
    sequence = numbers((5, 6, gates, 8), "float32")
    a = np.broadcast_to(sequence[0, :1], (6, gates, 8))
    compare(unit, sequence[:, ::-1][2], a, numbers((8, 6), "float32").T)


@pytest.mark.parametrize(("unit", "gates"), UNITS)
def test_special_values(unit: str, gates: int) -> None:
    special = np.array([0.0, -0.0, np.inf, -np.inf, np.nan, 300.0, -300.0, 1e-30], np.float32)
    x = np.stack([np.roll(special, n) for n in range(gates)])[None]
    compare(unit, x, np.ones_like(x), special[None])
    compare(unit, np.ones_like(x), x, np.ones((1, 8), np.float32))


def test_what_is_not_covered_is_the_references() -> None:
    device = emulator.Device()
    x, state = numbers((2, 4, 3), "float16"), numbers((2, 3), "float16")
    close(on(device).lstm_step(x, x, state), plain.lstm_step(x, x, state))
    assert not device.launches
