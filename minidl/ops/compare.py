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
