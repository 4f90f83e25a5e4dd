"""Reductions: sums, means, extremes over some dimensions.

In the formulas i runs over the dimensions `dim` that are reduced (several count as one), and `...` stands for the
others. dim: an int, several, or None for all; keepdim keeps the reduced ones with size 1.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import tape
from .._dtypes import int64
from ..kernels import kernel
from ..tape import record, record_result, wrap
from ._common import Dims, Number, broadcast, cast, constant, dim_of, dims_of, flag, floating, number, real, tensor_of
from .arithmetic import pow
from .elementwise import abs, maximum, minimum, where
from .index import ValuesAndIndices, gather
from .shape import broadcast_to, flip, permute, reshape

if TYPE_CHECKING:
    from .._tensor import Tensor


def _kept(shape: tuple[int, ...], axes: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(1 if i in axes else n for i, n in enumerate(shape))


def _spread(G: Tensor, shape: tuple[int, ...], axes: tuple[int, ...]) -> Tensor:
    """A reduced gradient beside every element that was reduced (a view)."""
    if G.array.ndim != len(shape) and len(axes) != len(shape):
        G = reshape(G, _kept(shape, axes))
    return broadcast_to(G, shape)


def _not_empty(name: str, x: Tensor, axes: tuple[int, ...]) -> None:
    for i in axes:
        if x.array.shape[i] == 0:
            raise ValueError(f"{name}: dimension {i} of shape {x.array.shape} is empty; there is nothing to choose from")
    if x.array.ndim == 0 and x.array.size == 0:
        raise ValueError(f"{name}: the tensor is empty")


def sum(input: Tensor, dim: Dims = None, keepdim: bool = False, *, dtype: Any = None) -> Tensor:
    """Y[...] = Σ[i] X[...,i]

    ∂L/∂X[...,i] = G[...]

    Integers and bools add up to int64.
    """
    x = cast(tensor_of(input, "sum"), dtype)
    axes = dims_of(dim, x.array.ndim, "sum", keepdim)
    if x.array.dtype.kind in "iub" and dtype is None:
        x = constant(x.array.astype(int64))
    shape = x.array.shape
    return record(kernel(x).sum(x.array, axes, keepdim), x, lambda G: _spread(G, shape, axes))


def mean(input: Tensor, dim: Dims = None, keepdim: bool = False, *, dtype: Any = None) -> Tensor:
    """Y[...] = mean[i] X[...,i]

    ∂L/∂X[...,i] = G[...] / size(i)

    Floating point only, as PyTorch's; the mean of nothing is nan.
    """
    x = cast(tensor_of(input, "mean"), dtype)
    if x.array.dtype.kind in "iub":
        raise TypeError(f"mean: needs a floating-point tensor, got {x.array.dtype.name}; convert with .float()")
    axes = dims_of(dim, x.array.ndim, "mean", keepdim)
    shape = x.array.shape
    n = math.prod(shape[i] for i in axes)
    return record(kernel(x).mean(x.array, axes, keepdim), x, lambda G: _spread(G / n, shape, axes))


def prod(input: Tensor, dim: int | None = None, keepdim: bool = False, *, dtype: Any = None) -> Tensor:
    """Y[...] = Π[i] X[...,i]

    ∂L/∂X[...,i] = G[...] * Π[j] (X[...,j] if j != i else 1)
    """
    x = cast(tensor_of(input, "prod"), dtype)
    axes = dims_of(None if dim is None else dim_of(dim, x.array.ndim, "prod"), x.array.ndim, "prod", keepdim)
    if x.array.dtype.kind in "iub" and dtype is None:
        x = constant(x.array.astype(int64))
    if x.array.dtype.kind == "b":
        return all(x, dim, keepdim)

    def derivative(G: Tensor, Y: Tensor) -> Tensor:
        shape = x.array.shape
        if x.array.all():
            return _spread(G * Y, shape, axes) / x
        # A factor is 0, so nothing can be divided out: row i of an n x n table is all factors but the i-th.
        kept = tuple(i for i in range(x.array.ndim) if i not in axes)
        n = math.prod(shape[i] for i in axes)
        rows = reshape(permute(x, kept + axes), (*(shape[i] for i in kept), 1, n))
        table = where(constant(np.eye(n, dtype=np.bool_, like=x.array)), 1.0, rows)
        others = reshape(prod(table, -1), tuple(shape[i] for i in kept + axes))
        return _spread(G, shape, axes) * permute(others, tuple(np.argsort(kept + axes).tolist()))

    return record_result(kernel(x).prod(x.array, axes, keepdim), x, derivative)


def _extreme(name: str, x: Tensor, dim: Dims, keepdim: bool) -> Tensor:
    x = tensor_of(x, name)
    axes = dims_of(dim, x.array.ndim, name, keepdim)
    _not_empty(name, x, axes)
    shape = x.array.shape

    def derivative(G: Tensor, Y: Tensor) -> Tensor:
        chosen = (x == _spread(Y, shape, axes)).to(G.dtype)
        return _spread(G, shape, axes) * chosen / sum(chosen, axes, keepdim=True)

    derivative.__qualname__ = name
    return record_result(getattr(kernel(x), name)(x.array, axes, keepdim), x, derivative)


def amax(input: Tensor, dim: Dims = None, keepdim: bool = False) -> Tensor:
    """Y[...] = max[i] X[...,i]

    ∂L/∂X[...,i] = G[...] * (X[...,i] == Y[...]) / Σ[j] (X[...,j] == Y[...])

    Equal largest elements share the gradient evenly. NaN wins.
    """
    return _extreme("amax", input, dim, keepdim)


def amin(input: Tensor, dim: Dims = None, keepdim: bool = False) -> Tensor:
    """Y[...] = min[i] X[...,i]

    ∂L/∂X[...,i] = G[...] * (X[...,i] == Y[...]) / Σ[j] (X[...,j] == Y[...])

    Equal smallest elements share the gradient evenly. NaN wins.
    """
    return _extreme("amin", input, dim, keepdim)


def max(input: Tensor, dim: Any = None, keepdim: bool = False, *, other: Tensor | None = None) -> Any:
    """Y[...] = max[i] X[...,i]

    max(x): the largest element of all. max(x, dim): (values, indices) along one dimension; the gradient goes to the
    element that the index names. max(a, b): the larger of two tensors, elementwise.
    """
    return _max_or_min("max", amax, argmax, maximum, input, dim if other is None else other, keepdim)


def min(input: Tensor, dim: Any = None, keepdim: bool = False, *, other: Tensor | None = None) -> Any:
    """Y[...] = min[i] X[...,i]

    min(x): the smallest element of all. min(x, dim): (values, indices) along one dimension; the gradient goes to the
    element that the index names. min(a, b): the smaller of two tensors, elementwise.
    """
    return _max_or_min("min", amin, argmin, minimum, input, dim if other is None else other, keepdim)


def _max_or_min(name: str, of_all: Any, arg: Any, of_two: Any, x: Tensor, dim: Any, keepdim: bool) -> Any:
    x = tensor_of(x, name)
    if dim is None:
        if keepdim is not False:
            raise TypeError(f"{name}: keepdim needs a dim; without one there is a single number")
        _not_empty(name, x, tuple(range(x.array.ndim)))
        return of_all(x)
    if isinstance(dim, tape._TensorClass):
        if keepdim is not False:
            raise TypeError(f"{name}: of two tensors the elementwise {name} is taken, which has no keepdim")
        broadcast(name, x.array.shape, dim.array.shape)
        return of_two(x, dim)
    flag(keepdim, name, "keepdim")
    axis = dim_of(dim, x.array.ndim, name)
    _not_empty(name, x, (axis,) if x.array.ndim else ())
    if x.array.ndim == 0:
        return ValuesAndIndices(x.clone(), constant(np.zeros((), int64, like=x.array)))
    index = arg(x.to(np.uint8) if x.array.dtype.kind == "b" else x, axis, keepdim=True)
    values = gather(x, axis, index)
    if keepdim:
        return ValuesAndIndices(values, index)
    return ValuesAndIndices(values.squeeze(axis), index.squeeze(axis))


def _arg(name: str, x: Tensor, dim: int | None, keepdim: bool) -> Tensor:
    x = tensor_of(x, name)
    flag(keepdim, name, "keepdim")
    if x.array.dtype.kind == "b":
        raise TypeError(f"{name}: does not work on bool tensors, which have no order; convert with .int()")
    if dim is None:
        _not_empty(name, x, tuple(range(x.array.ndim)))
        index = getattr(kernel(x), name)(x.array.reshape(-1), 0, False)
        return wrap(np.reshape(index, (1,) * x.array.ndim) if keepdim else index)
    axis = dim_of(dim, x.array.ndim, name)
    if x.array.ndim == 0:
        return constant(np.zeros((), int64, like=x.array))
    _not_empty(name, x, (axis,))
    return wrap(getattr(kernel(x), name)(x.array, axis, keepdim))


def argmax(input: Tensor, dim: int | None = None, keepdim: bool = False) -> Tensor:
    """Y[...] = argmax[i] X[...,i]

    Index (int64) of the first largest element; of the flattened tensor where dim is None.
    """
    return _arg("argmax", input, dim, keepdim)


def argmin(input: Tensor, dim: int | None = None, keepdim: bool = False) -> Tensor:
    """Y[...] = argmin[i] X[...,i]

    Index (int64) of the first smallest element; of the flattened tensor where dim is None.
    """
    return _arg("argmin", input, dim, keepdim)


def any(input: Tensor, dim: Dims = None, keepdim: bool = False) -> Tensor:
    """Y[...] = max[i] (X[...,i] != 0)"""
    x = tensor_of(input, "any")
    if dim == () or dim == []:  # over no dimension, as PyTorch's (sum and its like take this for all)
        return _flag(x, x.array != 0)
    return _flag(x, kernel(x).any(x.array, dims_of(dim, x.array.ndim, "any", keepdim), keepdim))


def _flag(x: Tensor, Y: Any) -> Tensor:
    """The bools of any and all; of uint8, which once stood for bool, they are uint8, as PyTorch's."""
    return wrap(Y.astype(np.uint8) if x.array.dtype == np.uint8 else Y)


def all(input: Tensor, dim: Dims = None, keepdim: bool = False) -> Tensor:
    """Y[...] = min[i] (X[...,i] != 0)"""
    x = tensor_of(input, "all")
    if dim == () or dim == []:
        return _flag(x, x.array != 0)
    return _flag(x, kernel(x).all(x.array, dims_of(dim, x.array.ndim, "all", keepdim), keepdim))


def _spread_arguments(
    name: str, x: Tensor, dim: Any, unbiased: Any, keepdim: bool, correction: Any
) -> tuple[tuple[int, ...], float]:
    """The axes and the correction of var and std; PyTorch's older form has the flag `unbiased`, alone or after dim."""
    if isinstance(dim, bool):
        dim, unbiased = None, dim
    if unbiased is not None:
        if correction not in (None, 1):
            raise TypeError(f"{name}: give correction or unbiased, not both")
        correction = int(flag(unbiased, name, "unbiased"))
    if x.array.dtype.kind in "iub":
        raise TypeError(f"{name}: needs a floating-point tensor, got {x.array.dtype.name}; convert with .float()")
    return dims_of(dim, x.array.ndim, name, keepdim), 1 if correction is None else number(correction, name, "correction")


def var(
    input: Tensor,
    dim: Dims = None,
    unbiased: bool | None = None,
    keepdim: bool = False,
    *,
    correction: Number | None = 1,
) -> Tensor:
    """Y[...] = Σ[i] (X[...,i] - μ[...]) ** 2 / (size(i) - correction)

    μ[...] = mean[i] X[...,i]
    ∂L/∂X[...,i] = G[...] * 2 * (X[...,i] - μ[...]) / (size(i) - correction)

    correction: 1 (the default) for the unbiased estimate (Bessel), 0 for the mean square deviation; unbiased=True and
    False are older names of the two.
    """
    x = tensor_of(input, "var")
    axes, correction = _spread_arguments("var", x, dim, unbiased, keepdim, correction)
    shape = x.array.shape
    n = np.maximum(math.prod(shape[i] for i in axes) - correction, 0).item()

    def derivative(G: Tensor) -> Tensor:
        return _spread(G, shape, axes) * (x - mean(x, axes or None, keepdim=True)) * (2 / n if n else math.nan)

    return record(kernel(x).var(x.array, axes, correction, keepdim), x, derivative)


def std(
    input: Tensor,
    dim: Dims = None,
    unbiased: bool | None = None,
    keepdim: bool = False,
    *,
    correction: Number | None = 1,
) -> Tensor:
    """Y[...] = sqrt(Σ[i] (X[...,i] - μ[...]) ** 2 / (size(i) - correction))

    μ[...] = mean[i] X[...,i]
    ∂L/∂X[...,i] = 0 if Y[...] == 0 else G[...] * (X[...,i] - μ[...]) / ((size(i) - correction) * Y[...])
    """
    x = tensor_of(input, "std")
    axes, correction = _spread_arguments("std", x, dim, unbiased, keepdim, correction)
    shape = x.array.shape
    n = np.maximum(math.prod(shape[i] for i in axes) - correction, 0).item()

    def derivative(G: Tensor, Y: Tensor) -> Tensor:
        share = where(Y == 0, 0.0, G / where(Y == 0, 1.0, Y)) / n if n else G * math.nan
        return _spread(share, shape, axes) * (x - mean(x, axes or None, keepdim=True))

    Y = np.sqrt(kernel(x).var(x.array, axes, correction, keepdim))
    return record_result(Y, x, derivative)


def logsumexp(input: Tensor, dim: Dims = None, keepdim: bool = False) -> Tensor:
    """Y[...] = log(Σ[i] exp(X[...,i]))

    ∂L/∂X[...,i] = G[...] * exp(X[...,i] - Y[...])

    Computed as max + log Σ exp(x - max), which cannot overflow.
    """
    x = floating(input, "logsumexp")
    if isinstance(dim, (tuple, list)) and not dim:
        raise ValueError("logsumexp: dim must name a dimension, got none; without dim all are taken")
    axes = dims_of(dim, x.array.ndim, "logsumexp", keepdim)
    shape = x.array.shape
    Y = kernel(x).logsumexp(x.array, axes, keepdim)
    return record_result(Y, x, lambda G, Y: _spread(G, shape, axes) * (x - _spread(Y, shape, axes)).exp())


def cumsum(input: Tensor, dim: int, *, dtype: Any = None) -> Tensor:
    """Y[...,i] = Σ[j] (X[...,j] if j <= i else 0)

    ∂L/∂X[...,i] = Σ[j] (G[...,j] if j >= i else 0)
    """
    x = cast(tensor_of(input, "cumsum"), dtype)
    axis = dim_of(dim, x.array.ndim, "cumsum")
    if x.array.dtype.kind in "iub" and dtype is None:
        x = constant(x.array.astype(int64))
    if x.array.ndim == 0:
        return x.clone()
    return record(kernel(x).cumsum(x.array, axis), x, lambda G: flip(cumsum(flip(G, axis), axis), axis))


def norm(
    input: Tensor, p: Number | str = "fro", dim: Dims = None, keepdim: bool = False, *, dtype: Any = None
) -> Tensor:
    """Y[...] = (Σ[i] |X[...,i]| ** p) ** (1 / p)

    ∂L/∂X[...,i] = 0 if Y[...] == 0 else G[...] * sign(X[...,i]) * (|X[...,i]| / Y[...]) ** (p - 1)

    p: a number; inf and -inf give the largest and smallest absolute value, 0 counts what is not 0, "fro" is 2.
    """
    x = real(cast(tensor_of(input, "norm"), dtype), "norm")
    if isinstance(p, str) and p != "fro":
        raise ValueError(f"norm: p must be a number or 'fro', got {p!r}; the nuclear norm is not supported")
    p = 2 if p is None or isinstance(p, str) else number(p, "norm", "p")
    axes = dims_of(dim, x.array.ndim, "norm", keepdim)
    if p == math.inf:
        return amax(abs(x), dim, keepdim)
    if p == -math.inf:
        return amin(abs(x), dim, keepdim)
    if p == 0:
        count = sum((x != 0).to(x.dtype), dim, keepdim)
        return record(count.array, x, lambda G: constant(np.zeros_like(x.array)))
    if p == 1:
        return sum(abs(x), dim, keepdim)
    shape = x.array.shape

    def derivative(G: Tensor, Y: Tensor) -> Tensor:
        # x / Y ** (p-1) in the form x |x|^(p-2) / Y^(p-1), guarded where a whole row is 0.
        safe = where(Y == 0, 1.0, Y)
        share = _spread(where(Y == 0, 0.0, G / pow(safe, p - 1)), shape, axes)
        return share * x if p == 2 else share * where(x == 0, 0.0, x * pow(where(x == 0, 1.0, abs(x)), p - 2))

    with np.errstate(divide="ignore"):
        if p == 2:
            # Scaled by the largest element, so that squares neither overflow nor vanish.
            top = np.max(np.abs(x.array), axis=axes, keepdims=True, initial=0)
            scale = np.where((top > 0) & np.isfinite(top), top, 1)
            Y = np.sqrt(kernel(x).sum(np.square(x.array / scale), axes, True)) * scale
            Y = Y if keepdim else Y.squeeze(axes)
        else:
            Y = kernel(x).sum(np.abs(x.array) ** p, axes, keepdim) ** (1 / p)
    return record_result(Y.astype(x.array.dtype, copy=False), x, derivative)


def vector_norm(
    x: Tensor, ord: Number = 2, dim: Dims = None, keepdim: bool = False, *, dtype: Any = None
) -> Tensor:
    """Y[...] = (Σ[i] |X[...,i]| ** ord) ** (1 / ord)

    `norm` under the name that PyTorch has in linalg.
    """
    return norm(x, ord, dim, keepdim, dtype=dtype)
