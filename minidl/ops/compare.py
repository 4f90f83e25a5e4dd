"""Comparisons, logic and bits: the results are bools (or integers), and nothing is differentiated."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ..kernels import kernel
from ..tape import wrap
from ._common import Number, broadcast, floating, operands, tensor_of

if TYPE_CHECKING:
    from .._tensor import Tensor


def _compare(name: str, a: Any, b: Any) -> Tensor:
    a, b = operands(tensor_of(a, name), b, name)
    broadcast(name, a.array.shape, b.array.shape)
    return wrap(getattr(kernel(a), name)(a.array, b.array))


def eq(input: Tensor, other: Tensor | Number) -> Tensor:
    """Y = A == B"""
    return _compare("eq", input, other)


def ne(input: Tensor, other: Tensor | Number) -> Tensor:
    """Y = A != B"""
    return _compare("ne", input, other)


def lt(input: Tensor, other: Tensor | Number) -> Tensor:
    """Y = A < B"""
    return _compare("lt", input, other)


def le(input: Tensor, other: Tensor | Number) -> Tensor:
    """Y = A <= B"""
    return _compare("le", input, other)


def gt(input: Tensor, other: Tensor | Number) -> Tensor:
    """Y = A > B"""
    return _compare("gt", input, other)


def ge(input: Tensor, other: Tensor | Number) -> Tensor:
    """Y = A >= B"""
    return _compare("ge", input, other)


def isnan(input: Tensor) -> Tensor:
    """Y = X != X"""
    return wrap(np.isnan(floating(input, "isnan").array))


def isfinite(input: Tensor) -> Tensor:
    """Y = |X| < inf"""
    return wrap(np.isfinite(floating(input, "isfinite").array))


def isinf(input: Tensor) -> Tensor:
    """Y = |X| == inf"""
    return wrap(np.isinf(floating(input, "isinf").array))


def logical_and(input: Tensor, other: Tensor) -> Tensor:
    """Y = A != 0 and B != 0"""
    broadcast("logical_and", tensor_of(input, "logical_and").shape, tensor_of(other, "logical_and").shape)
    return wrap(np.logical_and(input.array, other.array))


def logical_or(input: Tensor, other: Tensor) -> Tensor:
    """Y = A != 0 or B != 0"""
    broadcast("logical_or", tensor_of(input, "logical_or").shape, tensor_of(other, "logical_or").shape)
    return wrap(np.logical_or(input.array, other.array))


def logical_xor(input: Tensor, other: Tensor) -> Tensor:
    """Y = (A != 0) != (B != 0)"""
    broadcast("logical_xor", tensor_of(input, "logical_xor").shape, tensor_of(other, "logical_xor").shape)
    return wrap(np.logical_xor(input.array, other.array))


def logical_not(input: Tensor) -> Tensor:
    """Y = X == 0"""
    return wrap(np.logical_not(tensor_of(input, "logical_not").array))


def _bits(name: str, a: Any, b: Any, ufunc: np.ufunc) -> Tensor:
    a, b = operands(a, b, name)
    if a.array.dtype.kind not in "iub":
        raise TypeError(f"{name}: works on bool and integer tensors, got {a.array.dtype.name}; compare first, as x > 0")
    broadcast(name, a.array.shape, b.array.shape)
    return wrap(ufunc(a.array, b.array))


def bitwise_and(input: Tensor | Number, other: Tensor | Number) -> Tensor:
    """Y = bitwise_and(A, B)"""
    return _bits("bitwise_and", input, other, np.bitwise_and)


def bitwise_or(input: Tensor | Number, other: Tensor | Number) -> Tensor:
    """Y = bitwise_or(A, B)"""
    return _bits("bitwise_or", input, other, np.bitwise_or)


def bitwise_xor(input: Tensor | Number, other: Tensor | Number) -> Tensor:
    """Y = bitwise_xor(A, B)"""
    return _bits("bitwise_xor", input, other, np.bitwise_xor)


def bitwise_not(input: Tensor) -> Tensor:
    """Y = bitwise_not(X)"""
    x = tensor_of(input, "bitwise_not")
    if x.array.dtype.kind not in "iub":
        raise TypeError(f"bitwise_not: works on bool and integer tensors, got {x.array.dtype.name}")
    return wrap(np.invert(x.array))
