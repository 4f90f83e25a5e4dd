"""Activation functions: what stands between the layers of a network, elementwise."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from ..kernels import kernel
from ..tape import mode, record, record_result, wrap
from ._common import constant, floating, tensor_of
from .elementwise import abs, clamp, erf, exp, log1p, sigmoid, tanh, where

if TYPE_CHECKING:
    from .._tensor import Tensor


def relu(input: Tensor) -> Tensor:
    """Y = maximum(X, 0)

    ∂L/∂X = where(X <= 0, 0, G)

    The derivative at 0 is 0 (Nair and Hinton 2010).
    """
    x = tensor_of(input, "relu")
    if x.array.dtype.kind == "b":
        raise TypeError("relu: bool tensors have no negative part; convert with .int() or .float()")
    return record_result(
        kernel(x).relu(x.array),
        x, lambda G, Y: where(Y <= 0, 0.0, G) if mode.recording else wrap(kernel(Y).relu_gradient(G.array, Y.array)),
    )  # fmt: skip


def leaky_relu(input: Tensor, negative_slope: float = 0.01) -> Tensor:
    """Y = where(X > 0, X, negative_slope * X)

    ∂L/∂X = where(X > 0, G, negative_slope * G)
    """
    x = floating(input, "leaky_relu")
    return where(x > 0, x, negative_slope * x)


def elu(input: Tensor, alpha: float = 1.0) -> Tensor:
    """Y = where(X > 0, X, alpha * (exp(X) - 1))

    ∂L/∂X = where(X > 0, G, G * alpha * exp(X))

    Clevert, Unterthiner, Hochreiter 2016, eq. 15.
    """
    x = floating(input, "elu")
    with np.errstate(over="ignore"):
        Y = np.where(x.array > 0, x.array, alpha * kernel(x).expm1(x.array)).astype(x.array.dtype, copy=False)
    # The untaken branch sees 0, so that exp cannot overflow into 0 * inf.
    return record(Y, x, lambda G: where(x > 0, G, G * alpha * exp(where(x >= 0, 0.0, x))))


def hardtanh(input: Tensor, min_val: float = -1.0, max_val: float = 1.0) -> Tensor:
    """Y = minimum(maximum(X, min_val), max_val)

    ∂L/∂X = where(min_val < X < max_val, G, 0)
    """
    x = tensor_of(input, "hardtanh")
    if min_val > max_val:
        raise ValueError(f"hardtanh: min_val {min_val} exceeds max_val {max_val}")
    if x.array.dtype.kind in "iu":  # integers stay integers, and the bounds become such
        min_val, max_val = int(min_val), int(max_val)
    return record(
        kernel(x).clamp(x.array, min_val, max_val), x, lambda G: where((x > min_val) & (x < max_val), G, 0.0)
    )


def silu(input: Tensor) -> Tensor:
    """Y = X * sigmoid(X)

    ∂L/∂X = G * sigmoid(X) * (1 + X * (1 - sigmoid(X)))

    Elfwing, Uchibe, Doya 2018, eq. 5.
    """
    x = floating(input, "silu")

    def derivative(G: Tensor) -> Tensor:
        if not mode.recording:
            return wrap(kernel(x).silu_gradient(G.array, x.array))
        s = sigmoid(x)
        return G * s * (1 + x * (1 - s))  # not Y + s * (1 - Y), which loses all digits where Y is large

    return record(kernel(x).silu(x.array), x, derivative)


def gelu(input: Tensor, approximate: str = "none") -> Tensor:
    """Y = X * Φ

    Φ = (1 + erf(X / sqrt(2))) / 2 if approximate == "none" else (1 + tanh(U)) / 2
    U = sqrt(2 / pi) * (X + 0.044715 * X ** 3)
    ∂L/∂X = G * (Φ + X * D)
    D = exp(-X * X / 2) / sqrt(2 * pi) if approximate == "none" else (1 - tanh(U) ** 2) / 2 * V
    V = sqrt(2 / pi) * (1 + 3 * 0.044715 * X * X)

    approximate: "none" or "tanh" (Hendrycks and Gimpel 2016).
    """
    x = floating(input, "gelu")
    if approximate not in ("none", "tanh"):
        raise ValueError(f"gelu: approximate must be 'none' or 'tanh', got {approximate!r}")

    def derivative(G: Tensor) -> Tensor:
        if not mode.recording:
            return wrap(kernel(x).gelu_gradient(G.array, x.array, approximate))
        if approximate == "none":
            return G * ((1 + erf(x * math.sqrt(0.5))) / 2 + x * exp(x * x / -2) / math.sqrt(2 * math.pi))
        c = math.sqrt(2 / math.pi)
        t = tanh(c * (x + 0.044715 * x * x * x))
        return G * ((1 + t) / 2 + x * (1 - t * t) / 2 * c * (1 + 3 * 0.044715 * x * x))

    return record(kernel(x).gelu(x.array, approximate), x, derivative)


def softplus(input: Tensor, beta: float = 1.0, threshold: float = 20.0) -> Tensor:
    """Y = where(beta * X > threshold, X, log(1 + exp(beta * X)) / beta)

    ∂L/∂X = where(beta * X > threshold, G, G * sigmoid(beta * X))

    A smooth ReLU (Dugas et al. 2001); linear above the threshold, where the two agree in floating point.
    """
    x = floating(input, "softplus")
    z = beta * constant(x.array)
    linear = z > threshold
    Y = where(linear, z, clamp(z, min=0.0) + log1p(exp(-abs(z)))) / beta
    return record(Y.array, x, lambda G: where(linear, G, G * sigmoid(beta * x)))


def logsigmoid(input: Tensor) -> Tensor:
    """Y = -log(1 + exp(-X))

    ∂L/∂X = G * sigmoid(-X)
    """
    x = floating(input, "logsigmoid")
    z = constant(x.array)
    return record((clamp(z, max=0.0) - log1p(exp(-abs(z)))).array, x, lambda G: G * sigmoid(-x))
