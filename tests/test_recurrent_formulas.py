"""Recurrent layers are their formulas: step after step by brute force, beside the layer."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from checks import same

import minidl
from minidl import nn
from minidl.explain import Formula, formulas, run_updates

GATES = {"RNN": 1, "GRU": 3, "LSTM": 4, "RNNCell": 1}
T, N, INPUT, H = 4, 2, 3, 5


def states(name: str, layer: Any, lines: list[Formula], x: np.ndarray) -> np.ndarray:
    """h after each time (T, N, H), by the formulas."""
    shape = (H,) if GATES[name] == 1 else (GATES[name], H)
    known: dict[str, Any] = {"h": np.zeros((N, H)), "c": np.zeros((N, H))}
    for key, p in layer.named_parameters():
        known[key.removesuffix("_l0").upper()] = p.detach().numpy().reshape(*shape, *p.shape[1:])
    found = []
    for t in range(T):
        known = run_updates(lines, {**known, "X": x[t]})
        found.append(known["h"])
    return np.stack(found)


@pytest.mark.parametrize("name", GATES)
def test_recurrent_layers_are_their_formulas(name: str) -> None:
    layer = getattr(nn, name)(INPUT, H).double()
    x = np.random.default_rng(3).normal(size=(T, N, INPUT))
    wanted = states(name, layer, formulas(getattr(nn, name)), x)
    if name == "RNNCell":
        h: Any = None
        for t in range(T):
            h = layer(minidl.tensor(x[t]), h)
        same(name, h.detach().numpy(), wanted[-1], 1e-12)
    else:
        same(name, layer(minidl.tensor(x))[0].detach().numpy(), wanted, 1e-12)


@pytest.mark.parametrize(
    ("name", "right", "wrong"),
    [("GRU", "(1 - z[n,j])", "z[n,j]"), ("LSTM", "a[n,1,j]) * c", "a[n,3,j]) * c"), ("RNN", "tanh", "sigmoid")],
)
def test_a_wrong_formula_is_caught(name: str, right: str, wrong: str) -> None:
    text = "\n".join(map(str, formulas(getattr(nn, name))))
    assert right in text
    layer = getattr(nn, name)(INPUT, H).double()
    x = np.random.default_rng(3).normal(size=(T, N, INPUT))
    with pytest.raises(AssertionError):
        wanted = states(name, layer, formulas(text.replace(right, wrong)), x)
        same(name, layer(minidl.tensor(x))[0].detach().numpy(), wanted, 1e-12)
