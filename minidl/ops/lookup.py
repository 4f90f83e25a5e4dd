"""Rows by number: embeddings, and numbers as rows."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .. import tape
from .._dtypes import int64
from ..kernels import kernel
from ..kernels.arrays import mixed
from ..tape import record, wrap
from ._common import constant, integers, tensor_of
from .elementwise import where
from .index import _check_range
from .shape import reshape

if TYPE_CHECKING:
    from .._tensor import Tensor


def embedding(
    input: Tensor,
    weight: Tensor,
    padding_idx: int | None = None,
    max_norm: float | None = None,
    norm_type: float = 2.0,
    scale_grad_by_freq: bool = False,
    sparse: bool = False,
) -> Tensor:
    """Y[...,j] = WEIGHT[X[...],j]

    ∂L/∂WEIGHT[i,j] = Σ[...] G[...,j] * [X[...] == i and i != padding_idx]

    x: indices (int64) of any shape; weight: (V, D); Y: (*x.shape, D). The row padding_idx gets no gradient.
    max_norm: rows of weight that x names and whose norm (of order norm_type) exceeds it are shortened to it first, in
    place. scale_grad_by_freq: each row's gradient is divided by how often x names it. sparse: there are no sparse gradients.
    """
    if sparse:
        raise ValueError("embedding: there are no sparse gradients here; use sparse=False")
    x, weight = integers(input, "embedding", "x"), tensor_of(weight, "embedding")
    if weight.array.ndim != 2:
        raise ValueError(f"embedding: weight must have 2 dimensions (V, D), got shape {weight.array.shape}")
    if x.array.__class__ is not weight.array.__class__:
        raise mixed(weight.array.__class__, x.array.__class__)
    V = weight.array.shape[0]
    if padding_idx is not None:
        if not -V <= padding_idx < V:
            raise ValueError(f"embedding: padding_idx {padding_idx} is out of range for {V} rows")
        padding_idx %= V
    if max_norm is not None:
        _check_range("embedding", x.array, V, 0)
        _shorten_rows(weight, np.unique(x.array), max_norm, norm_type)
    try:
        Y = kernel(weight).take_rows(weight.array, x.array)
    except ValueError:
        _check_range("embedding", x.array, V, 0)
        raise
    if not scale_grad_by_freq:
        return record(Y, weight, lambda G: _add_rows(G, x, V, padding_idx))
    times = np.maximum(np.bincount(x.array.reshape(-1), minlength=V), 1)
    scale = constant((1 / times)[x.array].astype(weight.array.dtype)[..., None])
    return record(Y, weight, lambda G: _add_rows(G * scale, x, V, padding_idx))


def _shorten_rows(weight: Tensor, rows: np.ndarray, max_norm: float, norm_type: float) -> None:
    """Scale those of the rows that are longer than max_norm down to it, in place and unrecorded."""
    lengths = np.linalg.norm(weight.array[rows], norm_type, axis=1)
    long = lengths > max_norm
    if long.any():
        recording = tape.set_recording(False)
        try:
            scale = (max_norm / (lengths[long] + 1e-7)).astype(weight.array.dtype)
            weight[rows[long]] = constant(weight.array[rows[long]] * scale[:, None])
        finally:
            tape.set_recording(recording)


def _add_rows(g: Tensor, x: Tensor, rows: int, padding_idx: int | None) -> Tensor:
    """The derivative of embedding: each row of g is added to the row that x names."""
    Y = kernel(g).add_rows((rows, g.array.shape[-1]), x.array, g.array)
    if padding_idx is not None:
        Y[padding_idx] = 0

    def derivative(G: Tensor) -> Tensor:
        y = embedding(x, G)
        return y if padding_idx is None else where(reshape(x == padding_idx, (*x.shape, 1)), 0.0, y)

    return record(Y, g, derivative)


def one_hot(input: Tensor, num_classes: int = -1) -> Tensor:
    """Y[...,c] = 1 if X[...] == c else 0

    int64 of shape (*x.shape, num_classes); -1: as many classes as the largest value needs.
    """
    x = integers(input, "one_hot", "x")
    if x.array.size == 0 and num_classes <= 0:
        raise ValueError("one_hot: give num_classes where the tensor is empty")
    if x.array.size and x.array.min() < 0:
        raise ValueError(f"one_hot: classes must be 0 or more, got {x.array.min()}")
    top = int(x.array.max()) + 1 if x.array.size else 0
    if num_classes == -1:
        num_classes = top
    if top > num_classes:
        raise ValueError(f"one_hot: class {top - 1} does not fit in {num_classes} classes")
    return wrap((x.array[..., None] == np.arange(num_classes, like=x.array)).astype(int64))
