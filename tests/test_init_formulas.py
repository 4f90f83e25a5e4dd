"""Initial values are drawn as their formulas say: bounds, deviations, gains."""

from __future__ import annotations

import inspect
from typing import Any

import numpy as np
import pytest

import minidl
from minidl.explain import evaluate, formulas
from minidl.nn import init

OUT, IN, WINDOW = 64, 48, 9
FANS = {"fan_in": IN * WINDOW, "fan_out": OUT * WINDOW}


def drawn(name: str, options: dict[str, Any]) -> np.ndarray:
    w = minidl.empty(OUT, IN, 3, 3, dtype=minidl.float64)
    return getattr(init, name)(w, **options, generator=minidl.Generator(3)).array


def known(name: str, options: dict[str, Any]) -> dict[str, Any]:
    """The names that the formulas use."""
    parameters = inspect.signature(getattr(init, name)).parameters.values()
    found = {p.name: p.default for p in parameters if p.default is not p.empty} | FANS | options
    if "nonlinearity" in found:
        gains = {"nonlinearity": found["nonlinearity"], "param": found["a"]}
        found["gain"] = float(evaluate(init.calculate_gain, gains)["Y"])
    return found


def scale(name: str, options: dict[str, Any]) -> tuple[str, float]:
    """("U", bound) or ("N", standard deviation), as the docstring states them."""
    lines = formulas(getattr(init, name))
    kind = next(line.tree[1] for line in lines if line.sign == "~" and line.target == "W")
    return kind, float(evaluate(lines, known(name, options))["bound" if kind == "U" else "std"])


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("xavier_uniform_", {}),
        ("xavier_uniform_", {"gain": 3.0}),
        ("xavier_normal_", {"gain": 0.5}),
        ("kaiming_uniform_", {"a": 5**0.5}),
        ("kaiming_uniform_", {"mode": "fan_out", "nonlinearity": "tanh"}),
        ("kaiming_normal_", {"nonlinearity": "relu"}),
        ("kaiming_normal_", {"mode": "fan_out", "nonlinearity": "selu"}),
    ],
)
def test_draws_follow_their_formulas(name: str, options: dict[str, Any]) -> None:
    kind, size = scale(name, options)
    w = drawn(name, options)
    assert abs(w.mean()) < 0.02 * size
    if kind == "U":
        assert 0.999 * size < np.abs(w).max() <= size
        assert w.std() == pytest.approx(size / 3**0.5, rel=0.01)
    else:
        assert w.std() == pytest.approx(size, rel=0.01) and np.abs(w).max() > 3 * size


@pytest.mark.parametrize("nonlinearity", ["linear", "conv2d", "sigmoid", "tanh", "relu", "leaky_relu", "selu"])
@pytest.mark.parametrize("slope", [0.01, 0.3])
def test_gains_are_their_formula(nonlinearity: str, slope: float) -> None:
    wanted = evaluate(init.calculate_gain, {"nonlinearity": nonlinearity, "param": slope})["Y"]
    assert init.calculate_gain(nonlinearity, slope) == pytest.approx(float(wanted), rel=1e-15)


def test_orthogonal_values_are_their_formula() -> None:
    w = init.orthogonal_(minidl.empty(5, 3, dtype=minidl.float64), 2.0, generator=minidl.Generator(3)).array
    a = minidl.empty(5, 3, dtype=minidl.float64).normal_(generator=minidl.Generator(3)).array
    q, r = np.linalg.qr(a)
    found = evaluate(init.orthogonal_, {"Q": q, "R": r, "gain": 2.0})
    np.testing.assert_allclose(found["A"], a, atol=1e-12)
    np.testing.assert_allclose(found["W"], w, atol=1e-12)
