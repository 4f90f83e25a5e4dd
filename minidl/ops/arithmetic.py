"""Arithmetic of two tensors, or of a tensor and a number, whose shapes broadcast: + - * / // % **."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .. import tape
from ..kernels import kernel
from ..tape import record, record_result, wrap
from ._common import Number, broadcast, floating, operands
from .elementwise import _flat, log, where

if TYPE_CHECKING:
    from .._tensor import Tensor


def _check(name: str, a: Tensor, b: Tensor, error: Exception) -> Exception:
    """The sentence for two arrays that a kernel refused."""
    broadcast(name, a.array.shape, b.array.shape)
    return error


def add(input: Tensor | Number, other: Tensor | Number, *, alpha: Number = 1) -> Tensor:
    """Y = A + alpha * B

    ∂L/∂A = G
    ∂L/∂B = alpha * G
    """
    if alpha != 1:
        other = mul(other, alpha)
        return add(input, other)
    a, b = operands(input, other, "add")
    try:
        Y = kernel(a).add(a.array, b.array)
    except ValueError as error:
        raise _check("add", a, b, error) from None
    return record(Y, a, lambda G: G, b, lambda G: G)


def sub(input: Tensor | Number, other: Tensor | Number, *, alpha: Number = 1) -> Tensor:
    """Y = A - alpha * B

    ∂L/∂A = G
    ∂L/∂B = -alpha * G
    """
    if alpha != 1:
        other = mul(other, alpha)
        return sub(input, other)
    a, b = operands(input, other, "sub")
    if a is not input or b is not other or a.array.dtype.kind == "b":
        _no_bools(input, other)
    try:
        Y = kernel(a).sub(a.array, b.array)
    except ValueError as error:
        raise _check("sub", a, b, error) from None
    return record(Y, a, lambda G: G, b, lambda G: -G)


def _no_bools(a: Any, b: Any) -> None:
    for x in (a, b):
        if isinstance(x, (bool, np.bool_)) or isinstance(x, tape._TensorClass) and x.array.dtype.kind == "b":
            raise TypeError("sub: bools cannot be subtracted; use logical_xor (^) or convert with .int()")


def mul(input: Tensor | Number, other: Tensor | Number) -> Tensor:
    """Y = A * B

    ∂L/∂A = G * B
    ∂L/∂B = G * A
    """
    a, b = operands(input, other, "mul")
    try:
        Y = kernel(a).mul(a.array, b.array)
    except ValueError as error:
        raise _check("mul", a, b, error) from None
    return record(Y, a, lambda G: G * b, b, lambda G: G * a)


def div(input: Tensor | Number, other: Tensor | Number, *, rounding_mode: str | None = None) -> Tensor:
    """Y = A / B

    ∂L/∂A = G / B
    ∂L/∂B = -G * A / B ** 2

    Integers are divided as float32. rounding_mode: None, "floor" or "trunc" (then the derivatives are 0).
    """
    a, b = operands(input, other, "div")
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


def floor_divide(input: Tensor | Number, other: Tensor | Number) -> Tensor:
    """Y = floor(A / B)

    Rounds towards minus infinity; no derivative. Integers stay integers (division by 0: ZeroDivisionError).
    """
    a, b = operands(input, other, "floor_divide")
    broadcast("floor_divide", a.array.shape, b.array.shape)
    _no_integer_zero("floor_divide", b)
    return wrap(kernel(a).floor_divide(a.array, b.array))


def remainder(input: Tensor | Number, other: Tensor | Number) -> Tensor:
    """Y = A - floor(A / B) * B

    ∂L/∂A = G
    ∂L/∂B = -G * floor(A / B)

    Y has the sign of B, as Python's %.
    """
    a, b = operands(input, other, "remainder")
    broadcast("remainder", a.array.shape, b.array.shape)
    _no_integer_zero("remainder", b)
    Y = kernel(a).remainder(a.array, b.array)
    return record(Y, a, lambda G: G, b, lambda G: -G * _rounded_div(a, b, "floor"))


def _no_integer_zero(name: str, b: Tensor) -> None:
    if b.array.dtype.kind in "iu" and not b.array.all():
        raise ZeroDivisionError(f"{name}: an integer is divided by 0; use floating-point tensors for inf or nan")


def pow(input: Tensor | Number, exponent: Tensor | Number) -> Tensor:
    """Y = A ** B

    ∂L/∂A = G * where(B == 0, 0, B * A ** (B - 1))
    ∂L/∂B = G * Y * log(where(A == 0 and B >= 0, 1, A))

    At A = 0 the derivative by B >= 0 is 0. Integers to a negative power given as a number: ValueError; to one in a
    tensor of integers: 1 / A ** -B rounded towards 0.
    """
    number = not isinstance(exponent, tape._TensorClass)
    a, b = operands(input, exponent, "pow")
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
