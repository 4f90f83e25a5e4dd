"""Launch lines of csrc/recurrent.cu: one step of an LSTM or a GRU, and its gradients."""

from __future__ import annotations

from typing import Any

from .launch import MOST_BLOCKS, TYPES, Array, Device, contiguous, covered, pieces

__all__ = ["KERNELS", "VERBS"]

KERNELS = [f"recurrent::{kind}<{T}>" for kind in "lstm lstm_gradient gru gru_gradient".split() for T in TYPES.values()]


def _launch(device: Device, kind: str, cells: Array, inputs: dict[str, Array], outputs: dict[str, Array]) -> None:
    """A thread for each number of `cells` (N, H)."""
    if cells.size:
        N, H = cells.shape
        arguments = {"N": N, "H": H, **{name: contiguous(x) for name, x in inputs.items()}, **outputs}
        kernel = f"recurrent::{kind}<{TYPES[cells.dtype.name]}>"
        grid = (min(pieces(cells.size, 256), MOST_BLOCKS[0]),)
        device.launch(kernel, grid, (256,), arguments, writes=list(outputs))


def _fit(gates: int, cells: Array, of_gates: tuple[Array, ...], of_cells: tuple[Array, ...] = ()) -> bool:
    """Whether the arrays are (N, gates, H) and (N, H) like `cells`, of one type that kernels take."""
    if cells.ndim != 2 or not covered(cells, *of_gates, *of_cells):
        return False
    N, H = cells.shape
    return all(x.shape == (N, gates, H) for x in of_gates) and all(x.shape == (N, H) for x in of_cells)


def lstm_step(device: Device, x: Array, a: Array, c: Array) -> Any:
    """x, a (N, 4, H), c (N, H) -> new h and c (2, N, H), and the gates i, f, g, o (N, 4, H) for the gradient."""
    if not _fit(4, c, (x, a)):
        return NotImplemented
    Y, gates = device.empty((2, *c.shape), c.dtype), device.empty(x.shape, c.dtype)
    _launch(device, "lstm", c, {"X": x, "A": a, "C": c}, {"Y": Y, "gates": gates})
    return Y, gates


def lstm_step_gradient(device: Device, g: Array, gates: Array, c: Array, y: Array) -> Any:
    """Of ∂L/∂y (2, N, H), gates and y as lstm_step gave them: the gradients for x (a's is the same) and c."""
    if not _fit(4, c, (gates,)) or not covered(g, y, c) or not g.shape == y.shape == (2, *c.shape):
        return NotImplemented
    to_x, to_c = device.empty(gates.shape, c.dtype), device.empty(c.shape, c.dtype)
    inputs = {"G": g, "gates": gates, "C": c, "Y": y}
    _launch(device, "lstm_gradient", c, inputs, {"to_x": to_x, "to_c": to_c})
    return to_x, to_c


def gru_step(device: Device, x: Array, a: Array, h: Array) -> Any:
    """x, a (N, 3, H), h (N, H) -> new h (N, H), and r, z, candidate (N, 3, H), which the gradient reads."""
    if not _fit(3, h, (x, a)):
        return NotImplemented
    Y, gates = device.empty(h.shape, h.dtype), device.empty(x.shape, h.dtype)
    _launch(device, "gru", h, {"X": x, "A": a, "state": h}, {"Y": Y, "gates": gates})
    return Y, gates


def gru_step_gradient(device: Device, g: Array, gates: Array, a: Array, h: Array) -> Any:
    """Of ∂L/∂(new h) (N, H), gates as gru_step gave them: the gradients for x, a and h."""
    if not _fit(3, h, (gates, a), (g,)):
        return NotImplemented
    to_x, to_a, to_h = (device.empty(like.shape, h.dtype) for like in (gates, gates, h))
    inputs = {"G": g, "gates": gates, "A": a, "state": h}
    _launch(device, "gru_gradient", h, inputs, {"to_x": to_x, "to_a": to_a, "to_h": to_h})
    return to_x, to_a, to_h


VERBS = {
    "lstm_step": lstm_step, "lstm_step_gradient": lstm_step_gradient,
    "gru_step": gru_step, "gru_step_gradient": gru_step_gradient,
}  # fmt: skip
