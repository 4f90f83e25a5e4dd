"""The operators of Python and the operations of minidl.ops, as methods of Tensor."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from . import ops
from .ops._common import tensor_of

if TYPE_CHECKING:
    from ._tensor import Tensor


class Operations:
    """What of Tensor computes something new: each operation is the function of that name."""

    __slots__ = ()

    array: Any

    # ----------------------------------------------------------------------------------------- operators

    __add__ = ops.add
    __sub__ = ops.sub
    __mul__ = ops.mul
    __truediv__ = ops.div
    __floordiv__ = ops.floor_divide
    __mod__ = ops.remainder
    __pow__ = ops.pow
    __matmul__ = ops.matmul
    __neg__ = ops.neg
    __abs__ = ops.abs
    __and__ = ops.bitwise_and
    __or__ = ops.bitwise_or
    __xor__ = ops.bitwise_xor
    __invert__ = ops.bitwise_not
    __lt__ = ops.lt
    __le__ = ops.le
    __gt__ = ops.gt
    __ge__ = ops.ge
    __getitem__ = ops.getitem

    def __eq__(self: Any, other: Any) -> Any:
        return ops.eq(self, other) if isinstance(other, _COMPARED) else NotImplemented  # x == None is False

    def __ne__(self: Any, other: Any) -> Any:
        return ops.ne(self, other) if isinstance(other, _COMPARED) else NotImplemented

    __hash__ = object.__hash__  # by identity, as PyTorch's; a tensor is a key of the optimizers' state

    def __pos__(self: Any) -> Tensor:
        return self

    def __radd__(self: Any, other: Any) -> Tensor:
        return ops.add(other, self)

    def __rsub__(self: Any, other: Any) -> Tensor:
        return ops.sub(other, self)

    def __rmul__(self: Any, other: Any) -> Tensor:
        return ops.mul(other, self)

    def __rtruediv__(self: Any, other: Any) -> Tensor:
        return ops.div(other, self)

    def __rfloordiv__(self: Any, other: Any) -> Tensor:
        return ops.floor_divide(other, self)

    def __rmod__(self: Any, other: Any) -> Tensor:
        return ops.remainder(other, self)

    def __rpow__(self: Any, other: Any) -> Tensor:
        return ops.pow(other, self)

    def __rmatmul__(self: Any, other: Any) -> Tensor:
        return ops.matmul(other, self)

    __rand__, __ror__, __rxor__ = ops.bitwise_and, ops.bitwise_or, ops.bitwise_xor

    # ------------------------------------------------------------------------------ operations as methods

    # Math
    abs, neg, sign, exp, expm1, log, log1p, log2 = (
        ops.abs, ops.neg, ops.sign, ops.exp, ops.expm1, ops.log, ops.log1p, ops.log2,
    )  # fmt: skip
    sqrt, rsqrt, square, reciprocal, sin, cos, tanh = (
        ops.sqrt, ops.rsqrt, ops.square, ops.reciprocal, ops.sin, ops.cos, ops.tanh,
    )  # fmt: skip
    sigmoid, erf, floor, ceil, round, clamp, relu = (
        ops.sigmoid, ops.erf, ops.floor, ops.ceil, ops.round, ops.clamp, ops.relu,
    )  # fmt: skip
    clip = ops.clamp
    pow, add, sub, mul, div, floor_divide, remainder = (
        ops.pow, ops.add, ops.sub, ops.mul, ops.div, ops.floor_divide, ops.remainder,
    )  # fmt: skip
    maximum, minimum, isnan, isfinite, isinf = ops.maximum, ops.minimum, ops.isnan, ops.isfinite, ops.isinf
    eq, ne, lt, le, gt, ge = ops.eq, ops.ne, ops.lt, ops.le, ops.gt, ops.ge
    logical_and, logical_or, logical_not, logical_xor = (
        ops.logical_and, ops.logical_or, ops.logical_not, ops.logical_xor,
    )  # fmt: skip
    # Reductions
    sum, mean, prod, var, std, amax, amin = ops.sum, ops.mean, ops.prod, ops.var, ops.std, ops.amax, ops.amin
    max, min, argmax, argmin, logsumexp, cumsum = ops.max, ops.min, ops.argmax, ops.argmin, ops.logsumexp, ops.cumsum
    norm, sort, topk, any, all = ops.norm, ops.sort, ops.topk, ops.any, ops.all
    softmax, log_softmax = ops.softmax, ops.log_softmax
    # Linear algebra
    matmul, mm, bmm, mv, dot, outer, addmm = ops.matmul, ops.mm, ops.bmm, ops.mv, ops.dot, ops.outer, ops.addmm
    # Shape
    reshape, view, flatten, unflatten = ops.reshape, ops.view, ops.flatten, ops.unflatten
    transpose, permute, t, squeeze, unsqueeze = ops.transpose, ops.permute, ops.t, ops.squeeze, ops.unsqueeze
    expand, broadcast_to, repeat, split, chunk = ops.expand, ops.broadcast_to, ops.repeat, ops.split, ops.chunk
    unbind, narrow, flip, roll, tril, triu, diag = (
        ops.unbind, ops.narrow, ops.flip, ops.roll, ops.tril, ops.triu, ops.diag,
    )  # fmt: skip
    clone, contiguous, detach = ops.clone, ops.contiguous, ops.detach
    nonzero, masked_select, masked_fill, index_select = (
        ops.nonzero, ops.masked_select, ops.masked_fill, ops.index_select,
    )  # fmt: skip
    gather, scatter_add, take_along_dim = ops.gather, ops.scatter_add, ops.take_along_dim

    def where(self: Any, condition: Tensor, other: Any) -> Tensor:
        """x where condition is true, else other."""
        return ops.where(condition, self, other)

    def expand_as(self: Any, other: Tensor) -> Tensor:
        """x repeated to other's shape; a view."""
        return ops.expand(self, tensor_of(other, "expand_as").array.shape)

    def view_as(self: Any, other: Tensor) -> Tensor:
        """x seen in other's shape; a view."""
        return ops.view(self, tensor_of(other, "view_as").array.shape)

    def reshape_as(self: Any, other: Tensor) -> Tensor:
        """x in other's shape."""
        return ops.reshape(self, tensor_of(other, "reshape_as").array.shape)

    def swapaxes(self: Any, axis0: int, axis1: int) -> Tensor:
        """transpose under NumPy's name."""
        return ops.transpose(self, axis0, axis1)

    @property
    def T(self: Any) -> Tensor:
        """The dimensions in reverse order (a view)."""
        return ops.permute(self, tuple(range(self.array.ndim))[::-1])

    @property
    def mT(self: Any) -> Tensor:
        """Every matrix transposed: the last two dimensions exchanged (a view)."""
        if self.array.ndim < 2:
            raise ValueError(f"mT: needs at least 2 dimensions, got shape {self.array.shape}")
        return ops.transpose(self, -2, -1)


_COMPARED: tuple[Any, ...] = (Operations, int, float, np.number, np.bool_, np.ndarray)
