"""Elements laid out anew: repeated, shifted, triangles and diagonals."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..tape import record
from ._common import dim_of, sizes_of, tensor_of, whole
from .shape import _pad, broadcast_to, narrow, reshape

if TYPE_CHECKING:
    from .._tensor import Tensor


def repeat(input: Tensor, *sizes: Any, repeats: Any = None) -> Tensor:
    """Y = tile(X, sizes)

    X laid side by side, sizes[k] times along dimension k. A copy (np.tile); a composition of expand and reshape.
    """
    x = tensor_of(input, "repeat")
    times, shape = sizes_of(sizes if repeats is None else (repeats,), "repeat"), x.array.shape
    if len(times) < len(shape) or any(n < 0 for n in times):
        raise ValueError(f"repeat: sizes {times} must be 0 or more, at least one for each of {len(shape)} dimensions")
    shape = (1,) * (len(times) - len(shape)) + shape
    one = reshape(x, tuple(n for size in shape for n in (1, size)))
    many = broadcast_to(one, tuple(n for pair in zip(times, shape, strict=True) for n in pair))
    return reshape(many, tuple(n * size for n, size in zip(times, shape, strict=True)))


def roll(input: Tensor, shifts: int | Sequence[int], dims: int | Sequence[int] | None = None) -> Tensor:
    """Y[...,i] = X[...,(i - shifts) % size(i)]

    ∂L/∂X[...,i] = G[...,(i + shifts) % size(i)]

    What falls off the end comes in at the start; several shifts, one for each of dims, are done one after the other.
    Without dims the flattened tensor is rolled.
    """
    x = tensor_of(input, "roll")
    by = tuple(whole(n, "roll", "shifts") for n in (shifts if isinstance(shifts, (tuple, list)) else (shifts,)))
    if dims is None or isinstance(dims, (tuple, list)) and not dims:
        if len(by) != 1:
            raise ValueError("roll: several shifts need as many dims")
        return record(np.roll(x.array, by[0]), x, lambda G: roll(G, -by[0]))
    axes = tuple(
        dim_of(d, x.array.ndim, "roll") for d in (dims if isinstance(dims, (tuple, list)) else (dims,))
    )
    if len(axes) != len(by):
        raise ValueError(f"roll: {len(by)} shifts for {len(axes)} dims; give one for each")
    if x.array.ndim == 0:
        raise ValueError("roll: a tensor of 0 dimensions has no dims to roll along")
    return record(np.roll(x.array, by, axes), x, lambda G: roll(G, tuple(-n for n in by), axes))


def tril(input: Tensor, diagonal: int = 0) -> Tensor:
    """Y[...,i,j] = X[...,i,j] if j <= i + diagonal else 0

    ∂L/∂X[...,i,j] = G[...,i,j] if j <= i + diagonal else 0
    """
    x, diagonal = tensor_of(input, "tril"), whole(diagonal, "tril", "diagonal")
    if x.array.ndim < 2:
        raise ValueError(f"tril: needs at least 2 dimensions, got {x.array.ndim}")
    return record(np.tril(x.array, diagonal), x, lambda G: tril(G, diagonal))


def triu(input: Tensor, diagonal: int = 0) -> Tensor:
    """Y[...,i,j] = X[...,i,j] if j >= i + diagonal else 0

    ∂L/∂X[...,i,j] = G[...,i,j] if j >= i + diagonal else 0
    """
    x, diagonal = tensor_of(input, "triu"), whole(diagonal, "triu", "diagonal")
    if x.array.ndim < 2:
        raise ValueError(f"triu: needs at least 2 dimensions, got {x.array.ndim}")
    return record(np.triu(x.array, diagonal), x, lambda G: triu(G, diagonal))


def diag(input: Tensor, diagonal: int = 0) -> Tensor:
    """M[i,j] = v[min(i, j)] * [j - i == diagonal]

    v[i] = M[i - min(diagonal, 0), i + max(diagonal, 0)]
    ∂L/∂v[i] = G[i - min(diagonal, 0), i + max(diagonal, 0)]
    ∂L/∂M[i,j] = G[min(i, j)] * [j - i == diagonal]

    A vector v becomes the square matrix M that has it on a diagonal, a matrix M the vector v of its diagonal.
    diagonal: 0 the main one, above it positive, below negative.
    """
    x, diagonal = tensor_of(input, "diag"), whole(diagonal, "diag", "diagonal")
    if x.array.ndim == 1:
        return record(np.diag(x.array, diagonal), x, lambda G: diag(G, diagonal))
    if x.array.ndim != 2:
        raise ValueError(f"diag: expects 1 or 2 dimensions, got {x.array.ndim}")
    rows, columns = x.array.shape

    def derivative(G: Tensor) -> Tensor:
        full = diag(G, diagonal)  # square, n + |diagonal| wide: cut or filled to the matrix's shape
        full = narrow(narrow(full, 0, 0, min(rows, full.shape[0])), 1, 0, min(columns, full.shape[1]))
        return _pad(full, (0, 0), (rows - full.shape[0], columns - full.shape[1]), 0.0)

    return record(np.diag(x.array, diagonal).copy(), x, derivative)
