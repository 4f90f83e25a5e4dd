"""Elementwise functions: Y[i] depends on X[i] alone. Inputs of two shapes broadcast.

Where a derivative has a kernel of its own, that runs in a plain walk; a walk that is itself recorded (`create_graph`)
takes the formula in the engine's operations beside it.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import tape
from ..kernels import kernel
from ..tape import mode, record, record_result, wrap
from ._common import _SCALARS, Number, broadcast, constant, floating, number, operands, tensor_of, whole

if TYPE_CHECKING:
    from .._tensor import Tensor

# ------------------------------------------------------------------------------------- signs, powers, roots


def neg(input: Tensor) -> Tensor:
    """Y = -X

    ∂L/∂X = -G
    """
    x = tensor_of(input, "neg")
    if x.array.dtype.kind == "b":
        raise TypeError("neg: bool tensors cannot be negated; use logical_not (~)")
    return record(kernel(x).neg(x.array), x, lambda G: -G)


def _ordered(x: Any, name: str) -> Tensor:
    """x, if it holds numbers."""
    if tensor_of(x, name).array.dtype.kind == "b":
        raise TypeError(f"{name}: does not work on bool tensors; convert with .int() or .float()")
    return x


def abs(input: Tensor) -> Tensor:
    """Y = |X|

    ∂L/∂X = G * sign(X)

    The derivative at 0 is 0.
    """
    x = _ordered(input, "abs")
    return record(kernel(x).abs(x.array), x, lambda G: G * sign(x))


def square(input: Tensor) -> Tensor:
    """Y = X * X

    ∂L/∂X = 2 * G * X
    """
    x = tensor_of(input, "square")
    if x.array.dtype.kind == "b":
        x = x.to(np.int64)
    return record(kernel(x).square(x.array), x, lambda G: 2 * G * x)


def reciprocal(input: Tensor) -> Tensor:
    """Y = 1 / X

    ∂L/∂X = -G * Y * Y
    """
    x = floating(input, "reciprocal")
    return record_result(kernel(x).reciprocal(x.array), x, lambda G, Y: -G * Y * Y)


def sqrt(input: Tensor) -> Tensor:
    """Y = sqrt(X)

    ∂L/∂X = G / (2 * Y)
    """
    x = floating(input, "sqrt")
    return record_result(kernel(x).sqrt(x.array), x, lambda G, Y: G / (2 * Y))


def rsqrt(input: Tensor) -> Tensor:
    """Y = 1 / sqrt(X)

    ∂L/∂X = -G * Y ** 3 / 2
    """
    x = floating(input, "rsqrt")
    return record_result(kernel(x).rsqrt(x.array), x, lambda G, Y: -G * Y * Y * Y / 2)


# ------------------------------------------------------------------------------- exponentials, trigonometry


def exp(input: Tensor) -> Tensor:
    """Y = exp(X)

    ∂L/∂X = G * Y
    """
    x = floating(input, "exp")
    return record_result(kernel(x).exp(x.array), x, lambda G, Y: G * Y)


def expm1(input: Tensor) -> Tensor:
    """Y = exp(X) - 1

    ∂L/∂X = G * (Y + 1)

    Exact near 0, where exp(X) - 1 would cancel.
    """
    x = floating(input, "expm1")
    return record_result(kernel(x).expm1(x.array), x, lambda G, Y: G * (Y + 1))


def log(input: Tensor) -> Tensor:
    """Y = log(X)

    ∂L/∂X = G / X

    The natural logarithm: -inf at 0, nan below.
    """
    x = floating(input, "log")
    return record(kernel(x).log(x.array), x, lambda G: G / x)


def log1p(input: Tensor) -> Tensor:
    """Y = log(1 + X)

    ∂L/∂X = G / (1 + X)

    Exact near 0, where 1 + X would round X away.
    """
    x = floating(input, "log1p")
    return record(kernel(x).log1p(x.array), x, lambda G: G / (1 + x))


def log2(input: Tensor) -> Tensor:
    """Y = log(X) / log(2)

    ∂L/∂X = G / (X * log(2))
    """
    x = floating(input, "log2")
    return record(kernel(x).log2(x.array), x, lambda G: G / (x * math.log(2)))


def sin(input: Tensor) -> Tensor:
    """Y = sin(X)

    ∂L/∂X = G * cos(X)
    """
    x = floating(input, "sin")
    return record(kernel(x).sin(x.array), x, lambda G: G * cos(x))


def cos(input: Tensor) -> Tensor:
    """Y = cos(X)

    ∂L/∂X = -G * sin(X)
    """
    x = floating(input, "cos")
    return record(kernel(x).cos(x.array), x, lambda G: -G * sin(x))


def tanh(input: Tensor) -> Tensor:
    """Y = tanh(X)

    ∂L/∂X = G * (1 - Y * Y)
    """
    x = floating(input, "tanh")
    return record_result(
        kernel(x).tanh(x.array),
        x, lambda G, Y: G * (1 - Y * Y) if mode.recording else wrap(kernel(Y).tanh_gradient(G.array, Y.array)),
    )  # fmt: skip


def sigmoid(input: Tensor) -> Tensor:
    """Y = 1 / (1 + exp(-X))

    ∂L/∂X = G * Y * (1 - Y)
    """
    x = floating(input, "sigmoid")
    return record_result(
        kernel(x).sigmoid(x.array),
        x, lambda G, Y: G * Y * (1 - Y) if mode.recording else wrap(kernel(Y).sigmoid_gradient(G.array, Y.array)),
    )  # fmt: skip


def erf(input: Tensor) -> Tensor:
    """Y = erf(X)

    ∂L/∂X = G * 2 / sqrt(pi) * exp(-X * X)

    erf(x) = 2/√π ∫₀ˣ exp(-t²) dt (DLMF 7.2.1).
    """
    x = floating(input, "erf")
    return record(kernel(x).erf(x.array), x, lambda G: G * (2 / math.sqrt(math.pi)) * exp(-x * x))


# ------------------------------------------------------------------------------------------------- steps


def _flat(G: Tensor) -> Tensor:
    """The gradient of a step function: 0 everywhere."""
    return constant(np.zeros_like(G.array))


def sign(input: Tensor) -> Tensor:
    """Y = sign(X)

    ∂L/∂X = 0 * G

    -1, 0 or 1; 0 where X is NaN.
    """
    x = tensor_of(input, "sign")
    if x.array.dtype.kind == "b":
        return x.clone()
    return record(kernel(x).sign(x.array), x, lambda G: _flat(G))


def floor(input: Tensor) -> Tensor:
    """Y = floor(X)

    ∂L/∂X = 0 * G
    """
    x = _ordered(input, "floor")
    return record(kernel(x).floor(x.array), x, lambda G: _flat(G))


def ceil(input: Tensor) -> Tensor:
    """Y = ceil(X)

    ∂L/∂X = 0 * G
    """
    x = _ordered(input, "ceil")
    return record(kernel(x).ceil(x.array), x, lambda G: _flat(G))


def round(input: Tensor, *, decimals: int = 0) -> Tensor:
    """Y = round(X)

    ∂L/∂X = 0 * G

    Halves go to the even neighbour. decimals: how many digits after the point are kept.
    """
    x, decimals = _ordered(input, "round"), whole(decimals, "round", "decimals")
    if decimals and x.array.dtype.kind in "iub":
        raise TypeError(f"round: decimals needs a floating-point tensor, got {x.array.dtype.name}; convert with .float()")
    if x.array.dtype.kind in "iu":
        return x.clone()
    Y = np.round(x.array, decimals) if decimals else kernel(x).round(x.array)
    return record(Y, x, lambda G: _flat(G))


# ------------------------------------------------------------------------------- choosing between two values


def maximum(input: Tensor, other: Tensor) -> Tensor:
    """Y = maximum(A, B)

    ∂L/∂A = G * where(A < B, 0, where(A == B, 1 / 2, 1))
    ∂L/∂B = G * where(B < A, 0, where(A == B, 1 / 2, 1))

    NaN wins, and the gradient then flows to both; where both are equal each gets half of it.
    """
    a, b = operands(tensor_of(input, "maximum"), tensor_of(other, "maximum"), "maximum")
    broadcast("maximum", a.array.shape, b.array.shape)
    return record(
        kernel(a).maximum(a.array, b.array),
        a, lambda G: where(a < b, 0.0, where(a == b, G / 2, G)),
        b, lambda G: where(b < a, 0.0, where(a == b, G / 2, G)),
    )  # fmt: skip


def minimum(input: Tensor, other: Tensor) -> Tensor:
    """Y = minimum(A, B)

    ∂L/∂A = G * where(A > B, 0, where(A == B, 1 / 2, 1))
    ∂L/∂B = G * where(B > A, 0, where(A == B, 1 / 2, 1))

    NaN wins, and the gradient then flows to both; where both are equal each gets half of it.
    """
    a, b = operands(tensor_of(input, "minimum"), tensor_of(other, "minimum"), "minimum")
    broadcast("minimum", a.array.shape, b.array.shape)
    return record(
        kernel(a).minimum(a.array, b.array),
        a, lambda G: where(a > b, 0.0, where(a == b, G / 2, G)),
        b, lambda G: where(b > a, 0.0, where(a == b, G / 2, G)),
    )  # fmt: skip


def where(condition: Tensor, input: Tensor | Number | None = None, other: Tensor | Number | None = None) -> Any:
    """Y = A if CONDITION else B

    ∂L/∂A = where(CONDITION, G, 0)
    ∂L/∂B = where(CONDITION, 0, G)

    condition: bool, broadcast with a and b. where(condition) alone is nonzero(condition, as_tuple=True).
    """
    condition = tensor_of(condition, "where")
    if input is None and other is None:
        return tuple(wrap(i) for i in np.nonzero(np.atleast_1d(condition.array)))
    if condition.array.dtype == np.uint8:  # which once stood for bool
        condition = condition.to(np.bool_)
    if condition.array.dtype.kind != "b":
        raise TypeError(f"where: condition must be bool, got {condition.array.dtype.name}; compare it with something")
    if not isinstance(input, type(condition)) and not isinstance(other, type(condition)):
        mixed = np.result_type(type(input), type(other)) if type(input) is not type(other) else None
        input = constant(np.asarray(input, mixed, like=condition.array))
        input = input.float() if input.array.dtype.kind == "f" else input
    a, b = operands(input, other, "where")
    broadcast("where", condition.array.shape, a.array.shape, b.array.shape)
    return record(
        kernel(a).where(condition.array, a.array, b.array),
        a, lambda G: where(condition, G, 0.0),
        b, lambda G: where(condition, 0.0, G),
    )  # fmt: skip


def clamp(input: Tensor, min: Any = None, max: Any = None) -> Tensor:
    """Y = minimum(maximum(X, min), max)

    ∂L/∂X = where(min <= X <= max, G, 0)

    min, max: numbers or tensors, either may be None. Where min > max, Y = max. NaN stays NaN.
    """
    x = tensor_of(input, "clamp")
    if min is None and max is None:
        raise ValueError("clamp: give min, max or both")
    if isinstance(min, tape._TensorClass) or isinstance(max, tape._TensorClass):
        return _clamp_between(x, min, max)
    min = None if min is None else number(min, "clamp", "min")
    max = None if max is None else number(max, "clamp", "max")
    if x.array.dtype.kind in "iub" and (isinstance(min, float) or isinstance(max, float)):
        x = floating(x, "clamp")
    low = -math.inf if min is None else min
    high = math.inf if max is None else max
    return record(kernel(x).clamp(x.array, min, max), x, lambda G: where((x >= low) & (x <= high), G, 0.0))


def _clamp_between(x: Tensor, min: Tensor | None, max: Tensor | None) -> Tensor:
    """clamp by tensors, which broadcast; the gradient flows to what was taken, at a tie to x."""
    bounds = [b if b is None or isinstance(b, tape._TensorClass) else number(b, "clamp", "a bound") for b in (min, max)]
    if any(isinstance(b, _SCALARS) for b in bounds):
        if any(isinstance(b, tape._TensorClass) and (b.array.ndim or b.node is not None) for b in bounds):
            raise TypeError("clamp: min and max must both be numbers, or both tensors; make the number a tensor")
        return clamp(x, *(number(b, "clamp", "a bound") for b in bounds))
    if max is None:
        x, low = operands(x, min, "clamp")
        broadcast("clamp", x.array.shape, low.array.shape)
        Y = kernel(x).maximum(x.array, low.array)
        return record(Y, x, lambda G: where(x >= low, G, 0.0), low, lambda G: where(x < low, G, 0.0))
    if min is None:
        x, high = operands(x, max, "clamp")
        broadcast("clamp", x.array.shape, high.array.shape)
        Y = kernel(x).minimum(x.array, high.array)
        return record(Y, x, lambda G: where(x <= high, G, 0.0), high, lambda G: where(x > high, G, 0.0))
    x, low = operands(x, min, "clamp")
    x, high = operands(x, max, "clamp")
    low, high = operands(low, high, "clamp")
    broadcast("clamp", x.array.shape, low.array.shape, high.array.shape)
    return record(
        kernel(x).minimum(kernel(x).maximum(x.array, low.array), high.array),
        x, lambda G: where((x >= low) & (x <= high), G, 0.0),
        low, lambda G: where((x < low) & (low < high), G, 0.0),
        high, lambda G: where((x > high) | (low > high), G, 0.0),
    )  # fmt: skip
