"""Elements in order, and the largest of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .._dtypes import int64
from ..tape import wrap
from ._common import constant, dim_of, flag, tensor_of, whole
from .index import ValuesAndIndices, gather

if TYPE_CHECKING:
    from .._tensor import Tensor


def sort(input: Tensor, dim: int = -1, descending: bool = False, stable: bool = False) -> Any:
    """Y[...,i] = X[...,INDICES[...,i]]

    (values, indices) along dim in rising (descending: falling) order; NaN counts as largest. Always stable.
    """
    x = tensor_of(input, "sort")
    flag(descending, "sort", "descending"), flag(stable, "sort", "stable")
    axis = dim_of(dim, x.array.ndim, "sort")
    if x.array.ndim == 0:
        return ValuesAndIndices(x.clone(), constant(np.zeros((), int64, like=x.array)))
    if descending:
        # Stable in falling order: sort the reversed array upwards, then reverse.
        n = x.array.shape[axis]
        order = n - 1 - np.flip(np.argsort(np.flip(x.array, axis), axis=axis, kind="stable"), axis)
    else:
        order = np.argsort(x.array, axis=axis, kind="stable")
    index = wrap(order.astype(int64, order="C"))
    return ValuesAndIndices(gather(x, axis, index), index)


def topk(input: Tensor, k: int, dim: int = -1, largest: bool = True, sorted: bool = True) -> Any:
    """Y[...,i] = X[...,INDICES[...,i]]

    (values, indices) of the k largest (or smallest) elements along dim, in order.
    """
    x = tensor_of(input, "topk")
    axis, k = dim_of(dim, x.array.ndim, "topk"), whole(k, "topk", "k")
    flag(largest, "topk", "largest"), flag(sorted, "topk", "sorted")
    if x.array.dtype.kind == "b":
        raise TypeError("topk: does not work on bool tensors, which have no order; convert with .int()")
    n = x.array.shape[axis] if x.array.ndim else 1
    if not 0 <= k <= n:
        raise ValueError(f"topk: k must lie in 0 to {n}, the size of dimension {axis}; got {k}")
    values, index = sort(x, axis, largest)
    if x.array.ndim == 0:
        return ValuesAndIndices(values, index)
    return ValuesAndIndices(values.narrow(axis, 0, k), index.narrow(axis, 0, k))
