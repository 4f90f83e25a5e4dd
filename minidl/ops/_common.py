"""What many operations share: reading their arguments, and refusing bad ones with a sentence."""

from __future__ import annotations

import math
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
        array = np.asarray(value, dtype)
        if isinstance(other, tape._TensorClass) and other.array.__class__ is not np.ndarray:
            # the number goes with a launch: no copy from the CPU's memory, which a captured graph would read again
            array = np.full((), array.item(), dtype, like=other.array)
        return tape.wrap(array)
    except OverflowError:
        if -(2**63) <= value < 2**63:  # wraps around, as PyTorch's: uint8 has 253 for -3
            return tape.wrap(np.asarray(value, int64, like=getattr(other, "array", None)).astype(dtype))
        raise OverflowError(f"{name}: {value} does not fit in {dtype.name}") from None


def dim_of(dim: Any, ndim: int, name: str) -> int:
    """One dimension, counted from the front: TypeError, IndexError in PyTorch's cases."""
    i = dim if dim.__class__ is int else whole(dim, name, "dim")
    n = max(ndim, 1)  # a 0-d tensor takes dim 0 and -1
    if not -n <= i < n:
        raise IndexError(f"{name}: dim {i} is out of range for {ndim} dimensions; use {-n} to {n - 1}")
    return i % n


def whole(value: Any, name: str, what: str) -> int:
    """A whole number: an int or what counts as one, but no bool."""
    try:
        if isinstance(value, (bool, np.bool_)):
            raise TypeError
        return operator.index(value)
    except (TypeError, ValueError):  # a tensor of several elements is a bad value
        raise TypeError(f"{name}: {what} must be an integer, got {_named(value)}") from None


def flag(value: Any, name: str, what: str) -> bool:
    """True or False, and nothing that only counts as such."""
    if value is not True and value is not False:
        raise TypeError(f"{name}: {what} must be True or False, got {_named(value)}")
    return value


def number(value: Any, name: str, what: str) -> Any:
    """A Python number, from one or from a tensor of 0 dimensions."""
    if isinstance(value, tape._TensorClass) and value.array.ndim == 0:
        return value.item()
    if not isinstance(value, _SCALARS):
        raise TypeError(f"{name}: {what} must be a number, got {_named(value)}")
    return value


def element(value: Any, dtype: Any, name: str, what: str) -> np.ndarray:
    """A number as an array of 0 dimensions; ValueError where the dtype has nothing like it (NaN as an integer)."""
    value = number(value, name, what)
    if dtype.kind in "iu":
        most = int(np.iinfo(dtype).max)
        if not math.isfinite(value) or not -most - 1 <= value <= most:
            raise ValueError(f"{name}: {what} {value} does not fit into {dtype.name}; use another dtype")
    return np.asarray(value).astype(dtype)  # uint8 has 253 for -3, as PyTorch's


def renamed(error: Exception, old: str, new: str) -> Exception:
    """The sentence of an operation that another one consists of, under the name that was called."""
    return type(error)(str(error).replace(old, new, 1))


def _named(value: Any) -> str:
    """A value as errors show it: itself where it is short, else its type."""
    return repr(value) if isinstance(value, (int, float, str, np.bool_)) else type(value).__name__


def dims_of(dim: Dims, ndim: int, name: str, keepdim: bool = False) -> tuple[int, ...]:
    """The dimensions to reduce, counted from the front; None or () is all of them."""
    if keepdim is not True and keepdim is not False:
        flag(keepdim, name, "keepdim")
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
    return tuple([n if n.__class__ is int else whole(n, name, "a size") for n in sizes])


def pair(value: Any, name: str, what: str, least: int = 0) -> tuple[int, int]:
    """An int for both directions, or one for each: (height, width)."""
    both = tuple(value) if isinstance(value, (tuple, list)) else (value, value)
    if len(both) == 1:
        both *= 2
    if len(both) != 2:
        raise ValueError(f"{name}: {what} must be an int or two, got {value!r}")
    i, j = (whole(v, name, what) for v in both)
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


def sequence(value: Any, name: str, what: str) -> tuple[Any, ...]:
    """A tuple or a list, as a tuple."""
    if not isinstance(value, (tuple, list)):
        raise TypeError(f"{name}: {what} must be a tuple or a list of integers, got {_named(value)}")
    return tuple(value)


def real(x: Any, name: str) -> Tensor:
    """x, if it is a floating-point tensor."""
    if tensor_of(x, name).array.dtype.kind in "iub":
        raise TypeError(f"{name}: needs a floating-point tensor, got {x.array.dtype.name}; convert with .float()")
    return x


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
