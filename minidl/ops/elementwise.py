"""Elementwise operations: Y[i] depends on X[i] alone. Inputs of two shapes broadcast.

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
from ._common import Number, broadcast, constant, floating, operands, tensor_of

if TYPE_CHECKING:
    from .._tensor import Tensor

# -------------------------------------------------------------------------------------------- arithmetic


def _check(name: str, a: Tensor, b: Tensor, error: Exception) -> Exception:
    """The sentence for two arrays that a kernel refused."""
    broadcast(name, a.array.shape, b.array.shape)
    return error


def add(a: Tensor | Number, b: Tensor | Number, *, alpha: Number = 1) -> Tensor:
    """Y = A + alpha * B

    ∂L/∂A = G
    ∂L/∂B = alpha * G
    """
    if alpha != 1:
        b = mul(b, alpha)
        return add(a, b)
    a, b = operands(a, b, "add")
    try:
        Y = kernel(a).add(a.array, b.array)
    except ValueError as error:
        raise _check("add", a, b, error) from None
    return record(Y, a, lambda G: G, b, lambda G: G)


def sub(a: Tensor | Number, b: Tensor | Number, *, alpha: Number = 1) -> Tensor:
    """Y = A - alpha * B

    ∂L/∂A = G
    ∂L/∂B = -alpha * G
    """
    if alpha != 1:
        b = mul(b, alpha)
        return sub(a, b)
    a, b = operands(a, b, "sub")
    if a.array.dtype.kind == "b":
        raise TypeError("sub: bool tensors cannot be subtracted; use logical_xor (^) or convert with .int()")
    try:
        Y = kernel(a).sub(a.array, b.array)
    except ValueError as error:
        raise _check("sub", a, b, error) from None
    return record(Y, a, lambda G: G, b, lambda G: -G)


def mul(a: Tensor | Number, b: Tensor | Number) -> Tensor:
    """Y = A * B

    ∂L/∂A = G * B
    ∂L/∂B = G * A
    """
    a, b = operands(a, b, "mul")
    try:
        Y = kernel(a).mul(a.array, b.array)
    except ValueError as error:
        raise _check("mul", a, b, error) from None
    return record(Y, a, lambda G: G * b, b, lambda G: G * a)


def div(a: Tensor | Number, b: Tensor | Number, *, rounding_mode: str | None = None) -> Tensor:
    """Y = A / B

    ∂L/∂A = G / B
    ∂L/∂B = -G * A / B ** 2

    Integers are divided as float32. rounding_mode: None, "floor" or "trunc" (then the derivatives are 0).
    """
    a, b = operands(a, b, "div")
    if rounding_mode is not None:
        return _rounded_div(a, b, rounding_mode)
    a, b = floating(a, "div"), floating(b, "div")
    try:
        Y = kernel(a).div(a.array, b.array)
    except ValueError as error:
        raise _check("div", a, b, error) from None
    return record(Y, a, lambda G: G / b, b, lambda G: -G * a / (b * b))


def _rounded_div(a: Tensor, b: Tensor, rounding_mode: str) -> Tensor:
    """a / b rounded towards minus infinity ("floor") or 0 ("trunc"); integers stay integers."""
    if rounding_mode not in ("floor", "trunc"):
        raise ValueError(f"div: rounding_mode must be None, 'floor' or 'trunc', got {rounding_mode!r}")
    broadcast("div", a.array.shape, b.array.shape)
    _no_integer_zero("div", b)
    if rounding_mode == "floor":
        Y = kernel(a).floor_divide(a.array, b.array)
    elif a.array.dtype.kind in "iu":
        Y = kernel(a).floor_divide(np.abs(a.array), np.abs(b.array)) * (np.sign(a.array) * np.sign(b.array))
    else:
        Y = np.trunc(kernel(a).div(a.array, b.array))
    return record(Y, a, lambda G: _flat(G), b, lambda G: _flat(G))


def floor_divide(a: Tensor | Number, b: Tensor | Number) -> Tensor:
    """Y = floor(A / B)

    Rounds towards minus infinity; no derivative. Integers stay integers (division by 0: ZeroDivisionError).
    """
    a, b = operands(a, b, "floor_divide")
    broadcast("floor_divide", a.array.shape, b.array.shape)
    _no_integer_zero("floor_divide", b)
    return wrap(kernel(a).floor_divide(a.array, b.array))


def remainder(a: Tensor | Number, b: Tensor | Number) -> Tensor:
    """Y = A - floor(A / B) * B

    ∂L/∂A = G
    ∂L/∂B = -G * floor(A / B)

    Y has the sign of B, as Python's %.
    """
    a, b = operands(a, b, "remainder")
    broadcast("remainder", a.array.shape, b.array.shape)
    _no_integer_zero("remainder", b)
    Y = kernel(a).remainder(a.array, b.array)
    return record(Y, a, lambda G: G, b, lambda G: -G * _rounded_div(a, b, "floor"))


def _no_integer_zero(name: str, b: Tensor) -> None:
    if b.array.dtype.kind in "iu" and not b.array.all():
        raise ZeroDivisionError(f"{name}: an integer is divided by 0; use floating-point tensors for inf or nan")


def pow(a: Tensor | Number, b: Tensor | Number) -> Tensor:
    """Y = A ** B

    ∂L/∂A = G * where(B == 0, 0, B * A ** (B - 1))
    ∂L/∂B = G * Y * log(where(A == 0 and B >= 0, 1, A))

    At A = 0 the derivative by B >= 0 is 0. Integers to a negative power given as a number: ValueError; to one in a
    tensor of integers: 1 / A ** -B rounded towards 0.
    """
    number = not isinstance(b, tape._TensorClass)
    a, b = operands(a, b, "pow")
    broadcast("pow", a.array.shape, b.array.shape)
    if a.array.dtype.kind in "iub" and (b.array < 0).any():
        if number:
            raise ValueError("pow: an integer to a negative power is no integer; convert with .float() first")
        return wrap(_integer_pow(a.array, b.array))
    Y = kernel(a).pow(a.array, b.array)
    return record_result(
        Y,
        a, lambda G, Y: G * where(b == 0, 0.0, b * a ** (b - 1)),
        b, lambda G, Y: G * Y * log(where((a == 0) & (b >= 0), 1.0, a)),
    )  # fmt: skip


def _integer_pow(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """a ** b where b may be negative: of the reciprocals only those of 1 and -1 are not rounded to 0."""
    reciprocal = np.where(a == 1, 1, np.where(a == -1, 1 - 2 * (b % 2), 0))
    return np.where(b < 0, reciprocal, np.power(a, np.maximum(b, 0))).astype(a.dtype)


def neg(x: Tensor) -> Tensor:
    """Y = -X

    ∂L/∂X = -G
    """
    x = tensor_of(x, "neg")
    if x.array.dtype.kind == "b":
        raise TypeError("neg: bool tensors cannot be negated; use logical_not (~)")
    return record(kernel(x).neg(x.array), x, lambda G: -G)


def abs(x: Tensor) -> Tensor:
    """Y = |X|

    ∂L/∂X = G * sign(X)

    The derivative at 0 is 0.
    """
    x = tensor_of(x, "abs")
    return record(kernel(x).abs(x.array), x, lambda G: G * sign(x))


def square(x: Tensor) -> Tensor:
    """Y = X * X

    ∂L/∂X = 2 * G * X
    """
    x = tensor_of(x, "square")
    if x.array.dtype.kind == "b":
        x = x.to(np.int64)
    return record(kernel(x).square(x.array), x, lambda G: 2 * G * x)


def reciprocal(x: Tensor) -> Tensor:
    """Y = 1 / X

    ∂L/∂X = -G * Y * Y
    """
    x = floating(x, "reciprocal")
    return record_result(kernel(x).reciprocal(x.array), x, lambda G, Y: -G * Y * Y)


def sqrt(x: Tensor) -> Tensor:
    """Y = sqrt(X)

    ∂L/∂X = G / (2 * Y)
    """
    x = floating(x, "sqrt")
    return record_result(kernel(x).sqrt(x.array), x, lambda G, Y: G / (2 * Y))


def rsqrt(x: Tensor) -> Tensor:
    """Y = 1 / sqrt(X)

    ∂L/∂X = -G * Y ** 3 / 2
    """
    x = floating(x, "rsqrt")
    return record_result(kernel(x).rsqrt(x.array), x, lambda G, Y: -G * Y * Y * Y / 2)


# ------------------------------------------------------------------------------- exponentials, trigonometry


def exp(x: Tensor) -> Tensor:
    """Y = exp(X)

    ∂L/∂X = G * Y
    """
    x = floating(x, "exp")
    return record_result(kernel(x).exp(x.array), x, lambda G, Y: G * Y)


def expm1(x: Tensor) -> Tensor:
    """Y = exp(X) - 1

    ∂L/∂X = G * (Y + 1)

    Exact near 0, where exp(X) - 1 would cancel.
    """
    x = floating(x, "expm1")
    return record_result(kernel(x).expm1(x.array), x, lambda G, Y: G * (Y + 1))


def log(x: Tensor) -> Tensor:
    """Y = log(X)

    ∂L/∂X = G / X

    The natural logarithm: -inf at 0, nan below.
    """
    x = floating(x, "log")
    return record(kernel(x).log(x.array), x, lambda G: G / x)


def log1p(x: Tensor) -> Tensor:
    """Y = log(1 + X)

    ∂L/∂X = G / (1 + X)

    Exact near 0, where 1 + X would round X away.
    """
    x = floating(x, "log1p")
    return record(kernel(x).log1p(x.array), x, lambda G: G / (1 + x))


def log2(x: Tensor) -> Tensor:
    """Y = log(X) / log(2)

    ∂L/∂X = G / (X * log(2))
    """
    x = floating(x, "log2")
    return record(kernel(x).log2(x.array), x, lambda G: G / (x * math.log(2)))


def sin(x: Tensor) -> Tensor:
    """Y = sin(X)

    ∂L/∂X = G * cos(X)
    """
    x = floating(x, "sin")
    return record(kernel(x).sin(x.array), x, lambda G: G * cos(x))


def cos(x: Tensor) -> Tensor:
    """Y = cos(X)

    ∂L/∂X = -G * sin(X)
    """
    x = floating(x, "cos")
    return record(kernel(x).cos(x.array), x, lambda G: -G * sin(x))


def tanh(x: Tensor) -> Tensor:
    """Y = tanh(X)

    ∂L/∂X = G * (1 - Y * Y)
    """
    x = floating(x, "tanh")
    return record_result(
        kernel(x).tanh(x.array),
        x, lambda G, Y: G * (1 - Y * Y) if mode.recording else wrap(kernel(Y).tanh_gradient(G.array, Y.array)),
    )  # fmt: skip


def sigmoid(x: Tensor) -> Tensor:
    """Y = 1 / (1 + exp(-X))

    ∂L/∂X = G * Y * (1 - Y)
    """
    x = floating(x, "sigmoid")
    return record_result(
        kernel(x).sigmoid(x.array),
        x, lambda G, Y: G * Y * (1 - Y) if mode.recording else wrap(kernel(Y).sigmoid_gradient(G.array, Y.array)),
    )  # fmt: skip


def erf(x: Tensor) -> Tensor:
    """Y = erf(X)

    ∂L/∂X = G * 2 / sqrt(pi) * exp(-X * X)

    erf(x) = 2/√π ∫₀ˣ exp(-t²) dt (DLMF 7.2.1).
    """
    x = floating(x, "erf")
    return record(kernel(x).erf(x.array), x, lambda G: G * (2 / math.sqrt(math.pi)) * exp(-x * x))


# ------------------------------------------------------------------------------------------------- steps


def _flat(G: Tensor) -> Tensor:
    """The gradient of a step function: 0 everywhere."""
    return constant(np.zeros_like(G.array))


def sign(x: Tensor) -> Tensor:
    """Y = sign(X)

    ∂L/∂X = 0 * G

    -1, 0 or 1; 0 where X is NaN.
    """
    x = tensor_of(x, "sign")
    if x.array.dtype.kind == "b":
        return x.clone()
    return record(kernel(x).sign(x.array), x, lambda G: _flat(G))


def floor(x: Tensor) -> Tensor:
    """Y = floor(X)

    ∂L/∂X = 0 * G
    """
    x = tensor_of(x, "floor")
    return record(kernel(x).floor(x.array), x, lambda G: _flat(G))


def ceil(x: Tensor) -> Tensor:
    """Y = ceil(X)

    ∂L/∂X = 0 * G
    """
    x = tensor_of(x, "ceil")
    return record(kernel(x).ceil(x.array), x, lambda G: _flat(G))


def round(x: Tensor, *, decimals: int = 0) -> Tensor:
    """Y = round(X)

    ∂L/∂X = 0 * G

    Halves go to the even neighbour. decimals: how many digits after the point are kept.
    """
    x = tensor_of(x, "round")
    if decimals and x.array.dtype.kind in "iub":
        raise TypeError(f"round: decimals needs a floating-point tensor, got {x.array.dtype.name}; convert with .float()")
    if x.array.dtype.kind in "iu":
        return x.clone()
    Y = np.round(x.array, decimals) if decimals else kernel(x).round(x.array)
    return record(Y, x, lambda G: _flat(G))


# ------------------------------------------------------------------------------- choosing between two values


def maximum(a: Tensor, b: Tensor) -> Tensor:
    """Y = maximum(A, B)

    ∂L/∂A = G * where(A < B, 0, where(A == B, 1 / 2, 1))
    ∂L/∂B = G * where(B < A, 0, where(A == B, 1 / 2, 1))

    NaN wins, and the gradient then flows to both; where both are equal each gets half of it.
    """
    a, b = operands(tensor_of(a, "maximum"), tensor_of(b, "maximum"), "maximum")
    broadcast("maximum", a.array.shape, b.array.shape)
    return record(
        kernel(a).maximum(a.array, b.array),
        a, lambda G: where(a < b, 0.0, where(a == b, G / 2, G)),
        b, lambda G: where(b < a, 0.0, where(a == b, G / 2, G)),
    )  # fmt: skip


def minimum(a: Tensor, b: Tensor) -> Tensor:
    """Y = minimum(A, B)

    ∂L/∂A = G * where(A > B, 0, where(A == B, 1 / 2, 1))
    ∂L/∂B = G * where(B > A, 0, where(A == B, 1 / 2, 1))

    NaN wins, and the gradient then flows to both; where both are equal each gets half of it.
    """
    a, b = operands(tensor_of(a, "minimum"), tensor_of(b, "minimum"), "minimum")
    broadcast("minimum", a.array.shape, b.array.shape)
    return record(
        kernel(a).minimum(a.array, b.array),
        a, lambda G: where(a > b, 0.0, where(a == b, G / 2, G)),
        b, lambda G: where(b > a, 0.0, where(a == b, G / 2, G)),
    )  # fmt: skip


def where(condition: Tensor, a: Tensor | Number | None = None, b: Tensor | Number | None = None) -> Any:
    """Y = A if CONDITION else B

    ∂L/∂A = where(CONDITION, G, 0)
    ∂L/∂B = where(CONDITION, 0, G)

    condition: bool, broadcast with a and b. where(condition) alone is nonzero(condition, as_tuple=True).
    """
    condition = tensor_of(condition, "where")
    if a is None and b is None:
        return tuple(wrap(i) for i in np.nonzero(np.atleast_1d(condition.array)))
    if condition.array.dtype.kind != "b":
        raise TypeError(f"where: condition must be bool, got {condition.array.dtype.name}; compare it with something")
    if not isinstance(a, type(condition)) and not isinstance(b, type(condition)):
        a = constant(np.asarray(a, np.result_type(type(a), type(b)) if type(a) is not type(b) else None))
        a = a.float() if a.array.dtype.kind == "f" else a
    a, b = operands(a, b, "where")
    broadcast("where", condition.array.shape, a.array.shape, b.array.shape)
    return record(
        kernel(a).where(condition.array, a.array, b.array),
        a, lambda G: where(condition, G, 0.0),
        b, lambda G: where(condition, 0.0, G),
    )  # fmt: skip


def clamp(x: Tensor, min: Any = None, max: Any = None) -> Tensor:
    """Y = minimum(maximum(X, min), max)

    ∂L/∂X = where(min <= X <= max, G, 0)

    min, max: numbers or tensors, either may be None. Where min > max, Y = max. NaN stays NaN.
    """
    x = tensor_of(x, "clamp")
    if min is None and max is None:
        raise ValueError("clamp: give min, max or both")
    if isinstance(min, type(x)) or isinstance(max, type(x)):
        return _clamp_between(x, min, max)
    if x.array.dtype.kind in "iub" and (isinstance(min, float) or isinstance(max, float)):
        x = floating(x, "clamp")
    low = -math.inf if min is None else min
    high = math.inf if max is None else max
    return record(kernel(x).clamp(x.array, min, max), x, lambda G: where((x >= low) & (x <= high), G, 0.0))


def _clamp_between(x: Tensor, min: Tensor | None, max: Tensor | None) -> Tensor:
    """clamp by tensors, which broadcast; the gradient flows to what was taken, at a tie to x."""
    if not all(b is None or isinstance(b, type(x)) for b in (min, max)):
        raise TypeError("clamp: min and max must both be numbers, or both tensors; make the number a tensor")
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


# ------------------------------------------------------------------------------------------- activations


def relu(x: Tensor) -> Tensor:
    """Y = maximum(X, 0)

    ∂L/∂X = where(X <= 0, 0, G)

    The derivative at 0 is 0 (Nair and Hinton 2010).
    """
    x = tensor_of(x, "relu")
    if x.array.dtype.kind == "b":
        raise TypeError("relu: bool tensors have no negative part; convert with .int() or .float()")
    return record_result(
        kernel(x).relu(x.array),
        x, lambda G, Y: where(Y <= 0, 0.0, G) if mode.recording else wrap(kernel(Y).relu_gradient(G.array, Y.array)),
    )  # fmt: skip


def leaky_relu(x: Tensor, negative_slope: float = 0.01) -> Tensor:
    """Y = where(X > 0, X, negative_slope * X)

    ∂L/∂X = where(X > 0, G, negative_slope * G)
    """
    x = floating(x, "leaky_relu")
    return where(x > 0, x, negative_slope * x)


def elu(x: Tensor, alpha: float = 1.0) -> Tensor:
    """Y = where(X > 0, X, alpha * (exp(X) - 1))

    ∂L/∂X = where(X > 0, G, G * alpha * exp(X))

    Clevert, Unterthiner, Hochreiter 2016, eq. 15.
    """
    x = floating(x, "elu")
    with np.errstate(over="ignore"):
        Y = np.where(x.array > 0, x.array, alpha * kernel(x).expm1(x.array)).astype(x.array.dtype, copy=False)
    # The untaken branch sees 0, so that exp cannot overflow into 0 * inf.
    return record(Y, x, lambda G: where(x > 0, G, G * alpha * exp(where(x >= 0, 0.0, x))))


def hardtanh(x: Tensor, min_val: float = -1.0, max_val: float = 1.0) -> Tensor:
    """Y = minimum(maximum(X, min_val), max_val)

    ∂L/∂X = where(min_val < X < max_val, G, 0)
    """
    x = tensor_of(x, "hardtanh")
    if min_val > max_val:
        raise ValueError(f"hardtanh: min_val {min_val} exceeds max_val {max_val}")
    if x.array.dtype.kind in "iu":  # integers stay integers, and the bounds become such
        min_val, max_val = int(min_val), int(max_val)
    return record(
        kernel(x).clamp(x.array, min_val, max_val), x, lambda G: where((x > min_val) & (x < max_val), G, 0.0)
    )


def silu(x: Tensor) -> Tensor:
    """Y = X * sigmoid(X)

    ∂L/∂X = G * sigmoid(X) * (1 + X * (1 - sigmoid(X)))

    Elfwing, Uchibe, Doya 2018, eq. 5.
    """
    x = floating(x, "silu")

    def derivative(G: Tensor) -> Tensor:
        if not mode.recording:
            return wrap(kernel(x).silu_gradient(G.array, x.array))
        s = sigmoid(x)
        return G * s * (1 + x * (1 - s))  # not Y + s * (1 - Y), which loses all digits where Y is large

    return record(kernel(x).silu(x.array), x, derivative)


def gelu(x: Tensor, approximate: str = "none") -> Tensor:
    """Y = X * Φ

    Φ = (1 + erf(X / sqrt(2))) / 2 if approximate == "none" else (1 + tanh(U)) / 2
    U = sqrt(2 / pi) * (X + 0.044715 * X ** 3)
    ∂L/∂X = G * (Φ + X * D)
    D = exp(-X * X / 2) / sqrt(2 * pi) if approximate == "none" else (1 - tanh(U) ** 2) / 2 * V
    V = sqrt(2 / pi) * (1 + 3 * 0.044715 * X * X)

    approximate: "none" or "tanh" (Hendrycks and Gimpel 2016).
    """
    x = floating(x, "gelu")
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


def softplus(x: Tensor, beta: float = 1.0, threshold: float = 20.0) -> Tensor:
    """Y = where(beta * X > threshold, X, log(1 + exp(beta * X)) / beta)

    ∂L/∂X = where(beta * X > threshold, G, G * sigmoid(beta * X))

    A smooth ReLU (Dugas et al. 2001); linear above the threshold, where the two agree in floating point.
    """
    x = floating(x, "softplus")
    z = beta * constant(x.array)
    linear = z > threshold
    Y = where(linear, z, clamp(z, min=0.0) + log1p(exp(-abs(z)))) / beta
    return record(Y.array, x, lambda G: where(linear, G, G * sigmoid(beta * x)))


def logsigmoid(x: Tensor) -> Tensor:
    """Y = -log(1 + exp(-X))

    ∂L/∂X = G * sigmoid(-X)
    """
    x = floating(x, "logsigmoid")
    z = constant(x.array)
    return record((clamp(z, max=0.0) - log1p(exp(-abs(z)))).array, x, lambda G: G * sigmoid(-x))


# ------------------------------------------------------------------- comparisons and logic: bools, no derivative


def _compare(name: str, a: Any, b: Any) -> Tensor:
    a, b = operands(tensor_of(a, name), b, name)
    broadcast(name, a.array.shape, b.array.shape)
    return wrap(getattr(kernel(a), name)(a.array, b.array))


def eq(a: Tensor, b: Tensor | Number) -> Tensor:
    """Y = A == B"""
    return _compare("eq", a, b)


def ne(a: Tensor, b: Tensor | Number) -> Tensor:
    """Y = A != B"""
    return _compare("ne", a, b)


def lt(a: Tensor, b: Tensor | Number) -> Tensor:
    """Y = A < B"""
    return _compare("lt", a, b)


def le(a: Tensor, b: Tensor | Number) -> Tensor:
    """Y = A <= B"""
    return _compare("le", a, b)


def gt(a: Tensor, b: Tensor | Number) -> Tensor:
    """Y = A > B"""
    return _compare("gt", a, b)


def ge(a: Tensor, b: Tensor | Number) -> Tensor:
    """Y = A >= B"""
    return _compare("ge", a, b)


def isnan(x: Tensor) -> Tensor:
    """Y = X != X"""
    return wrap(np.isnan(floating(x, "isnan").array))


def isfinite(x: Tensor) -> Tensor:
    """Y = |X| < inf"""
    return wrap(np.isfinite(floating(x, "isfinite").array))


def isinf(x: Tensor) -> Tensor:
    """Y = |X| == inf"""
    return wrap(np.isinf(floating(x, "isinf").array))


def logical_and(a: Tensor, b: Tensor) -> Tensor:
    """Y = A != 0 and B != 0"""
    broadcast("logical_and", tensor_of(a, "logical_and").shape, tensor_of(b, "logical_and").shape)
    return wrap(np.logical_and(a.array, b.array))


def logical_or(a: Tensor, b: Tensor) -> Tensor:
    """Y = A != 0 or B != 0"""
    broadcast("logical_or", tensor_of(a, "logical_or").shape, tensor_of(b, "logical_or").shape)
    return wrap(np.logical_or(a.array, b.array))


def logical_xor(a: Tensor, b: Tensor) -> Tensor:
    """Y = (A != 0) != (B != 0)"""
    broadcast("logical_xor", tensor_of(a, "logical_xor").shape, tensor_of(b, "logical_xor").shape)
    return wrap(np.logical_xor(a.array, b.array))


def logical_not(x: Tensor) -> Tensor:
    """Y = X == 0"""
    return wrap(np.logical_not(tensor_of(x, "logical_not").array))


def _bits(name: str, a: Any, b: Any, ufunc: np.ufunc) -> Tensor:
    a, b = operands(a, b, name)
    if a.array.dtype.kind not in "iub":
        raise TypeError(f"{name}: works on bool and integer tensors, got {a.array.dtype.name}; compare first, as x > 0")
    broadcast(name, a.array.shape, b.array.shape)
    return wrap(ufunc(a.array, b.array))


def bitwise_and(a: Tensor | Number, b: Tensor | Number) -> Tensor:
    """Y = bitwise_and(A, B)"""
    return _bits("bitwise_and", a, b, np.bitwise_and)


def bitwise_or(a: Tensor | Number, b: Tensor | Number) -> Tensor:
    """Y = bitwise_or(A, B)"""
    return _bits("bitwise_or", a, b, np.bitwise_or)


def bitwise_xor(a: Tensor | Number, b: Tensor | Number) -> Tensor:
    """Y = bitwise_xor(A, B)"""
    return _bits("bitwise_xor", a, b, np.bitwise_xor)


def bitwise_not(x: Tensor) -> Tensor:
    """Y = bitwise_not(X)"""
    x = tensor_of(x, "bitwise_not")
    if x.array.dtype.kind not in "iub":
        raise TypeError(f"bitwise_not: works on bool and integer tensors, got {x.array.dtype.name}")
    return wrap(np.invert(x.array))
