"""Recurrent networks: the arithmetic of one step, and whole sequences as one recorded operation.

Each unit computes from x = W_ih input + b_ih and a = W_hh h + b_hh, both (N, gates, H): rows of the weights in PyTorch's order.
A sequence does the products of the input for all times at once, then step after step; its weights' gradients are one product
over all times. What a sequence computes is stated by its steps, which are the composition that it equals.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from ..kernels import kernel
from ..tape import record_fused
from ._common import tensor_of
from .activation import relu
from .elementwise import sigmoid, tanh
from .index import getitem
from .linalg import linear
from .shape import reshape, stack

if TYPE_CHECKING:
    from .._tensor import Tensor


def lstm_step(x: Tensor, a: Tensor, c: Tensor) -> Tensor:
    """Y[k,n,j] = o[n,j] * tanh(c'[n,j]) if k == 0 else c'[n,j]

    i[n,j] = sigmoid(X[n,0,j] + A[n,0,j])
    f[n,j] = sigmoid(X[n,1,j] + A[n,1,j])
    g[n,j] = tanh(X[n,2,j] + A[n,2,j])
    o[n,j] = sigmoid(X[n,3,j] + A[n,3,j])
    c'[n,j] = f[n,j] * C[n,j] + i[n,j] * g[n,j]

    d[n,j] = G[1,n,j] + G[0,n,j] * o[n,j] * (1 - tanh(c'[n,j]) ** 2)
    ∂L/∂X[n,q,j] = d[n,j] * g[n,j] * i[n,j] * (1 - i[n,j]) if q == 0 else
        d[n,j] * C[n,j] * f[n,j] * (1 - f[n,j]) if q == 1 else
        d[n,j] * i[n,j] * (1 - g[n,j] ** 2) if q == 2 else
        G[0,n,j] * tanh(c'[n,j]) * o[n,j] * (1 - o[n,j])
    ∂L/∂A[n,q,j] = d[n,j] * g[n,j] * i[n,j] * (1 - i[n,j]) if q == 0 else
        d[n,j] * C[n,j] * f[n,j] * (1 - f[n,j]) if q == 1 else
        d[n,j] * i[n,j] * (1 - g[n,j] ** 2) if q == 2 else
        G[0,n,j] * tanh(c'[n,j]) * o[n,j] * (1 - o[n,j])
    ∂L/∂C[n,j] = d[n,j] * f[n,j]

    One step of long short-term memory. x, a: (N, 4, H), what the input and the last output h add to the four gates (input i,
    forget f, candidate g, output o); c: (N, H), the cell; Y: (2, N, H), the new h and the new cell. Sources: Hochreiter and
    Schmidhuber 1997; with the forget gate Gers, Schmidhuber and Cummins 2000, eq. 1 to 4.
    """
    x, a, c = _operands("lstm_step", 4, x, a, c)
    kernels = kernel(x)
    Y, gates = kernels.lstm_step(x.array, a.array, c.array)

    def gradients(G: Any, needed: tuple[bool, ...]) -> tuple[Any, ...]:
        to_gates, to_c = kernels.lstm_step_gradient(G, gates, c.array, Y)
        return to_gates, to_gates, to_c

    def composition(x: Tensor, a: Tensor, c: Tensor) -> Tensor:
        i, f, g, o = (getitem(x + a, (slice(None), q)) for q in range(4))
        new = sigmoid(f) * c + sigmoid(i) * tanh(g)
        return stack([sigmoid(o) * tanh(new), new])

    return record_fused(Y, (x, a, c), gradients, composition, used=(c,), result=True)


def gru_step(x: Tensor, a: Tensor, h: Tensor) -> Tensor:
    """Y[n,j] = (1 - z[n,j]) * c[n,j] + z[n,j] * H[n,j]

    r[n,j] = sigmoid(X[n,0,j] + A[n,0,j])
    z[n,j] = sigmoid(X[n,1,j] + A[n,1,j])
    c[n,j] = tanh(X[n,2,j] + r[n,j] * A[n,2,j])

    d[n,j] = G[n,j] * (1 - z[n,j]) * (1 - c[n,j] ** 2)
    ∂L/∂X[n,q,j] = d[n,j] * A[n,2,j] * r[n,j] * (1 - r[n,j]) if q == 0 else
        G[n,j] * (H[n,j] - c[n,j]) * z[n,j] * (1 - z[n,j]) if q == 1 else d[n,j]
    ∂L/∂A[n,q,j] = d[n,j] * A[n,2,j] * r[n,j] * (1 - r[n,j]) if q == 0 else
        G[n,j] * (H[n,j] - c[n,j]) * z[n,j] * (1 - z[n,j]) if q == 1 else d[n,j] * r[n,j]
    ∂L/∂H[n,j] = G[n,j] * z[n,j]

    One step of a gated recurrent unit. x, a: (N, 3, H), what the input and the last output h add to the gates (reset r, update
    z) and to the candidate c; h, Y: (N, H). The reset gate multiplies W h + b, not h, as in PyTorch. Source: Cho et al.
    2014, section 2.3; the gate after the product: Chung et al. 2014.
    """
    x, a, h = _operands("gru_step", 3, x, a, h)
    kernels = kernel(x)
    Y, gates = kernels.gru_step(x.array, a.array, h.array)

    def gradients(G: Any, needed: tuple[bool, ...]) -> tuple[Any, ...]:
        return kernels.gru_step_gradient(G, gates, a.array, h.array)

    def composition(x: Tensor, a: Tensor, h: Tensor) -> Tensor:
        (xr, xz, xc), (ar, az, ac) = ([getitem(t, (slice(None), q)) for q in range(3)] for t in (x, a))
        z, c = sigmoid(xz + az), tanh(xc + sigmoid(xr + ar) * ac)
        return (1 - z) * c + z * h

    return record_fused(Y, (x, a, h), gradients, composition, used=(a, h))


def _operands(name: str, gates: int, x: Tensor, a: Tensor, state: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The three, checked; ValueError, TypeError where shapes or dtypes do not fit."""
    shapes = [tensor_of(t, name).array.shape for t in (x, a, state)]
    if len(shapes[2]) != 2 or shapes[0] != shapes[1] or shapes[0] != (shapes[2][0], gates, shapes[2][1]):
        raise ValueError(f"{name}: expected x and a (N, {gates}, H) and the state (N, H), got {shapes[0]}, {shapes[1]}, {shapes[2]}")
    if not x.dtype == a.dtype == state.dtype or x.array.dtype.kind != "f":
        raise TypeError(f"{name}: x is {x.dtype}, a {a.dtype}, the state {state.dtype}; expected one floating-point dtype")
    return x, a, state


# ------------------------------------------------------------------------------------------------- sequences

# What a kind of unit computes in a step, on arrays: forward (kernels, x, a, state) -> (new state, what its gradient
# keeps), backward (kernels, G, kept, a, state, new state) -> gradients for x, a and the state. A state is (k, N, H): h, then c.


class Unit:
    """A kind of recurrent unit: how many blocks of H rows its weights have, and its step, recorded and on arrays."""

    gates: int

    def step(self, x: Tensor, a: Tensor, state: Tensor) -> Tensor:
        """The new state (k, N, H), in recorded operations."""
        raise NotImplementedError

    def forward(self, kernels: Any, x: Any, a: Any, state: Any) -> tuple[Any, Any]:
        raise NotImplementedError

    def backward(self, kernels: Any, G: Any, kept: Any, a: Any, state: Any, new: Any) -> tuple[Any, Any, Any]:
        raise NotImplementedError


class Elman(Unit):
    """tanh(x + a), or relu(x + a): the new h (Elman 1990)."""

    gates = 1

    def __init__(self, nonlinearity: str) -> None:
        self.relu = nonlinearity == "relu"

    def step(self, x: Tensor, a: Tensor, state: Tensor) -> Tensor:
        return reshape((relu if self.relu else tanh)(x + a), state.array.shape)

    def forward(self, kernels: Any, x: Any, a: Any, state: Any) -> tuple[Any, Any]:
        y = kernels.add(x, a)
        return (kernels.relu(y) if self.relu else kernels.tanh(y)).reshape(state.shape), None

    def backward(self, kernels: Any, G: Any, kept: Any, a: Any, state: Any, new: Any) -> tuple[Any, Any, Any]:
        g = (G * (new > 0) if self.relu else G * (1 - new * new)).reshape(a.shape)
        return g, g, None


class LSTM(Unit):
    """`lstm_step`; the state is h and c."""

    gates = 4

    def step(self, x: Tensor, a: Tensor, state: Tensor) -> Tensor:
        return lstm_step(x, a, state[1])

    def forward(self, kernels: Any, x: Any, a: Any, state: Any) -> tuple[Any, Any]:
        return kernels.lstm_step(x, a, state[1])

    def backward(self, kernels: Any, G: Any, kept: Any, a: Any, state: Any, new: Any) -> tuple[Any, Any, Any]:
        to_gates, to_c = kernels.lstm_step_gradient(G, kept, state[1], new)
        return to_gates, to_gates, np.stack([np.zeros_like(to_c), to_c])


class GRU(Unit):
    """`gru_step`; the state is h."""

    gates = 3

    def step(self, x: Tensor, a: Tensor, state: Tensor) -> Tensor:
        return reshape(gru_step(x, a, state[0]), state.array.shape)

    def forward(self, kernels: Any, x: Any, a: Any, state: Any) -> tuple[Any, Any]:
        y, kept = kernels.gru_step(x, a, state[0])
        return y[None], kept

    def backward(self, kernels: Any, G: Any, kept: Any, a: Any, state: Any, new: Any) -> tuple[Any, Any, Any]:
        to_x, to_a, to_h = kernels.gru_step_gradient(G[0], kept, a, state[0])
        return to_x, to_a, to_h[None]


def recur(unit: Unit, x: Tensor, start: Tensor, weight: Tensor, bias: Tensor | None, reverse: bool = False) -> Tensor:
    """The states of all times, (T, k, N, H): state[t] = step(x[t], weight h[t-1] + bias, state[t-1]), h the state's first part.

    x: (T, N, gates * H), start: (k, N, H), weight: (gates * H, H), bias: (gates * H). reverse: from the last time to the first.

    One recorded operation for the sequence. Its gradient goes back through time (Werbos 1990) by the steps' own, and sums
    the weights' over all times in one product. It equals the steps one after the other in recorded operations.
    """
    kernels, q = kernel(x), unit.gates
    T, N = x.array.shape[:2]
    k, _, H = start.array.shape
    order = range(T - 1, -1, -1) if reverse else range(T)
    parts = (x.array if x.array.flags.c_contiguous else x.array.copy()).reshape(T, N, q, H)
    W, b = weight.array, None if bias is None else bias.array
    Y = np.empty((T, k, N, H), x.array.dtype, like=x.array)
    kept: list[Any] = [None] * T
    added: list[Any] = [None] * T
    state = start.array
    for t in order:
        added[t] = kernels.linear(state[0], W, b).reshape(N, q, H)
        state, kept[t] = unit.forward(kernels, parts[t], added[t], state)
        Y[t] = state

    def before(t: int) -> Any:
        """The state that time t began with."""
        last = t + 1 if reverse else t - 1
        return Y[last] if 0 <= last < T else start.array

    def gradients(G: Any, needed: tuple[bool, ...]) -> tuple[Any, ...]:
        to_x = np.empty((T, N, q, H), Y.dtype, like=Y)
        to_a = np.empty_like(to_x)
        carried = np.zeros_like(start.array)  # ∂L/∂(the state after time t) from all later times
        for t in reversed(order):
            to_x[t], to_a[t], onward = unit.backward(kernels, G[t] + carried, kept[t], added[t], before(t), Y[t])
            carried = np.zeros_like(carried) if onward is None else onward
            carried[0] += kernels.matmul(to_a[t].reshape(N, q * H), W)
        flat = to_a.reshape(T * N, q * H)
        h = np.stack([before(t)[0] for t in range(T)]).reshape(T * N, H) if T else np.zeros((0, H), Y.dtype, like=Y)
        to_weight = kernels.matmul(flat.T, h) if needed[2] else None
        return to_x.reshape(T, N, q * H), carried, to_weight, None if bias is None else flat.sum(0)

    def composition(x: Tensor, start: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        states: list[Any] = [None] * T
        state = start
        for t in order:
            a = reshape(linear(state[0], weight, bias), (N, q, H))
            states[t] = state = unit.step(reshape(x[t], (N, q, H)), a, state)
        return stack(states)

    return record_fused(Y, (x, start, weight, bias), gradients, composition, used=(start, weight), result=True)


UNITS: dict[str, Callable[[], Unit]] = {"LSTM": LSTM, "GRU": GRU, "RNN_TANH": lambda: Elman("tanh"), "RNN_RELU": lambda: Elman("relu")}
