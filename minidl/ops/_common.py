"""What many operations share: reading their arguments, and refusing bad ones with a sentence."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import tape
from .._dtypes import as_dtype, bool_, category, float32, int64, promote, result_type

if TYPE_CHECKING:
    from .._tensor import Tensor

Number = float | int | bool
Dims = int | Sequence[int] | None
tensor_classes = tape.tensor_classes
_SCALARS = (int, float, np.number, np.bool_)
_SCALAR_DTYPE = (bool_, int64, float32)  # by category
_CATEGORY = {bool: 0, int: 1, float: 2}
_OF_NUMBERS = ("add", "sub", "mul", "div", "floor_divide")  # what PyTorch computes of two numbers too


def constant(array: Any) -> Tensor:
    """A tensor that nothing is differentiated by."""
    return tape.wrap(array)


def tensor_of(x: Any, name: str) -> Tensor:
    """x as it is, if it is a Tensor; else TypeError naming the operation."""
    if x.__class__ not in tensor_classes:
        raise TypeError(f"{name}: expected a Tensor, got {type(x).__name__}; make one with minidl.tensor(...)")
    return x


def floating(x: Any, name: str) -> Tensor:
    """x as a floating-point tensor: integers and bools become float32, as PyTorch's do."""
    if x.__class__ not in tensor_classes:
        tensor_of(x, name)
    if x.array.dtype.kind in "iub":
        return tape.wrap(x.array.astype(float32))
    return x


def operands(a: Any, b: Any, name: str) -> tuple[Tensor, Tensor]:
    """Both as tensors of one dtype, by PyTorch's rules of promotion."""
    if a.__class__ in tensor_classes and b.__class__ in tensor_classes and a.array.dtype is b.array.dtype:
        return a, b
    cls = tape._TensorClass
    if not isinstance(a, cls):
        a = _operand(a, b, name)
    if not isinstance(b, cls):
        b = _operand(b, a, name)
    if a.array.dtype != b.array.dtype:
        dtype = result_type(a.array, b.array)
        return a.to(dtype), b.to(dtype)
    return a, b


def _operand(value: Any, other: Any, name: str) -> Tensor:
    """A scalar or an array beside a tensor; a scalar takes the tensor's dtype unless its category is higher."""
    if isinstance(value, np.ndarray):
        return tape.wrap(value)
    if not isinstance(value, _SCALARS):
        raise TypeError(f"{name}: expected a Tensor or a number, got {type(value).__name__}")
    if isinstance(value, (np.number, np.bool_)):
        value = value.item()
    rank, dtype = _CATEGORY.get(type(value), 2), bool_
    if isinstance(other, tape._TensorClass):
        dtype = other.array.dtype
    elif name not in _OF_NUMBERS:
        raise TypeError(f"{name}: expected a Tensor, got {type(other).__name__}; make one with minidl.tensor(...)")
    if category(dtype) < rank:
        dtype = _SCALAR_DTYPE[rank]
    try:
        return tape.wrap(np.asarray(value, dtype))
    except OverflowError:
        if -(2**63) <= value < 2**63:  # wraps around, as PyTorch's: uint8 has 253 for -3
            return tape.wrap(np.asarray(value, int64).astype(dtype))
        raise OverflowError(f"{name}: {value} does not fit in {dtype.name}") from None


def dim_of(dim: Any, ndim: int, name: str) -> int:
    """One dimension, counted from the front: TypeError, IndexError in PyTorch's cases."""
    try:
        i = operator.index(dim)
    except TypeError:
        raise TypeError(f"{name}: dim must be an integer, got {type(dim).__name__}") from None
    n = max(ndim, 1)  # a 0-d tensor takes dim 0 and -1
    if not -n <= i < n:
        raise IndexError(f"{name}: dim {i} is out of range for {ndim} dimensions; use {-n} to {n - 1}")
    return i % n


def dims_of(dim: Dims, ndim: int, name: str) -> tuple[int, ...]:
    """The dimensions to reduce, counted from the front; None or () is all of them."""
    if dim is None:
        return tuple(range(ndim))
    if isinstance(dim, (tuple, list)):
        if not dim:
            return tuple(range(ndim))
        found = tuple(dim_of(d, ndim, name) for d in dim)
        if len(set(found)) < len(found):
            raise ValueError(f"{name}: a dimension appears twice in dim={tuple(dim)}")
        return found if ndim else ()
    found = (dim_of(dim, ndim, name),)
    return found if ndim else ()


def sizes_of(sizes: tuple[Any, ...], name: str) -> tuple[int, ...]:
    """f(2, 3) and f((2, 3)) mean the same."""
    if len(sizes) == 1 and isinstance(sizes[0], (tuple, list)):
        sizes = tuple(sizes[0])
    try:
        return tuple(map(operator.index, sizes))
    except TypeError:
        raise TypeError(f"{name}: sizes must be integers, got {sizes}") from None


def pair(value: Any, name: str, what: str, least: int = 0) -> tuple[int, int]:
    """An int for both directions, or one for each: (height, width)."""
    both = tuple(value) if isinstance(value, (tuple, list)) else (value, value)
    if len(both) == 1:
        both *= 2
    if len(both) != 2:
        raise ValueError(f"{name}: {what} must be an int or two, got {value!r}")
    try:
        i, j = (operator.index(v) for v in both)
    except TypeError:
        raise TypeError(f"{name}: {what} must be integers, got {value!r}") from None
    if min(i, j) < least:
        raise ValueError(f"{name}: {what} must be at least {least}, got {value!r}")
    return i, j


def integers(x: Any, name: str, what: str) -> Tensor:
    """x, if it is a tensor of whole numbers."""
    x = tensor_of(x, name)
    if x.array.dtype.kind not in "iu":
        raise TypeError(f"{name}: {what} must hold integers (int64), got {x.array.dtype.name}; convert with .long()")
    return x


def broadcast(name: str, *shapes: tuple[int, ...]) -> tuple[int, ...]:
    """The shape that all broadcast to; ValueError naming the first two sizes that differ."""
    try:
        return np.broadcast_shapes(*shapes)
    except ValueError:
        raise ValueError(
            f"{name}: shapes {' and '.join(map(str, shapes))} do not broadcast: from the right, sizes must be equal or 1"
        ) from None


def cast(x: Tensor, dtype: Any) -> Tensor:
    """x in another dtype, x itself where it has it already."""
    return x if dtype is None else x.to(as_dtype(dtype))




def promote_all(tensors: Any, name: str) -> list[Tensor]:
    """A sequence of tensors, all in one dtype."""
    if isinstance(tensors, tape._TensorClass) or not isinstance(tensors, (list, tuple)):
        raise TypeError(f"{name}: expected a list or tuple of tensors, got {type(tensors).__name__}")
    if not tensors:
        raise ValueError(f"{name}: expected at least one tensor, got none")
    found = [tensor_of(t, name) for t in tensors]
    dtype = found[0].array.dtype
    for t in found[1:]:
        if t.array.dtype != dtype:
            dtype = promote(dtype, t.array.dtype)
    return [t.to(dtype) for t in found]
