"""Attention: every query's weighted mean of the values, in one kernel that never holds the weights of all pairs."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from ..kernels import arrays, kernel
from ..tape import record_fused
from ._common import broadcast, constant, tensor_of
from .elementwise import where
from .linalg import matmul
from .noise import dropout
from .shape import broadcast_to
from .softmax import softmax

if TYPE_CHECKING:
    from .._tensor import Tensor


def scaled_dot_product_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Tensor:
    """Y[...,i,v] = Σ[j] P[...,i,j] * VALUE[...,j,v]

    P[...,i,j] = W[...,i,j] / Σ[m] W[...,i,m]
    W[...,i,j] = [j <= i or not is_causal] * exp(c * (Σ[e] QUERY[...,i,e] * KEY[...,j,e]) + MASK[...,i,j])
    c = 1 / sqrt(size(QUERY, -1)) if scale == None else scale

    R[...,i,j] = P[...,i,j] * Σ[v] (VALUE[...,j,v] - Y[...,i,v]) * G[...,i,v]
    ∂L/∂QUERY[...,i,e] = c * Σ[j] R[...,i,j] * KEY[...,j,e]
    ∂L/∂KEY[...,j,e] = c * Σ[i] R[...,i,j] * QUERY[...,i,e]
    ∂L/∂VALUE[...,j,v] = Σ[i] P[...,i,j] * G[...,i,v]
    ∂L/∂ATTN_MASK[...,i,j] = R[...,i,j]

    query: (..., L, E), key: (..., S, E), value: (..., S, Ev), Y: (..., L, Ev); the leading dimensions (batch, heads)
    broadcast. attn_mask broadcasts to (..., L, S): bool (True: may attend; MASK is 0 there, else -inf) or floating point (MASK
    itself). is_causal: query i attends to keys 0 ... i. A query that may attend to nothing gets 0. dropout_p: each of P becomes 0
    with this probability, the others grow by 1 / (1 - dropout_p), whether in training or not.

    One kernel for the value, one for the gradients, in memory of the size of their results: P is computed tile by tile and again for
    the gradients (Milakov & Gimelshein 2018; Dao et al. 2022, FlashAttention, algorithms 1 and 4). They equal
    softmax(c * query @ key.mT + mask) @ value in the engine's plain operations, which do the work where there is dropout or a mask
    that requires a gradient. Source: Vaswani et al. 2017, section 3.2.1.

    Errors: shapes or dtypes that do not fit; is_causal together with a mask; enable_gqa, for groups of queries that share a key.
    """
    name = "scaled_dot_product_attention"
    if enable_gqa:
        raise ValueError(f"{name}: enable_gqa is not supported; repeat key and value for each group of query heads")
    if not 0 <= dropout_p <= 1:
        raise ValueError(f"{name}: dropout_p must be a probability from 0 to 1, got {dropout_p}")
    query, key, value = _same_batch(name, query, key, value)
    mask = None if attn_mask is None else _mask_of(name, attn_mask, query, key)
    if mask is not None and is_causal:
        raise ValueError(f"{name}: got attn_mask and is_causal=True, expected one of them; put causality into the mask")
    E = query.array.shape[-1]
    if scale is None:
        scale = 1 / math.sqrt(E) if E else 1.0

    def composition(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        return _plain(query, key, value, mask, dropout_p, is_causal, scale)

    if dropout_p > 0 or (mask is not None and mask.requires_grad):
        return composition(query, key, value)
    m = None if mask is None else mask.array
    kernels = kernel(query)
    Y, lse = kernels.attention(query.array, key.array, value.array, m, bool(is_causal), float(scale))

    def gradients(G: Any, needed: tuple[bool, ...]) -> Any:
        return kernels.attention_gradient(
            G, query.array, key.array, value.array, Y, lse, m, bool(is_causal), float(scale)
        )

    return record_fused(Y, (query, key, value), gradients, composition, (query, key, value, mask), True)


def _plain(
    query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, dropout_p: float, is_causal: bool, scale: float
) -> Tensor:
    """The same, with all weights (..., L, S) in memory."""
    return matmul(dropout(attention_weights(query, key, mask, is_causal, scale), dropout_p), value)


def attention_weights(query: Tensor, key: Tensor, mask: Tensor | None, is_causal: bool, scale: float) -> Tensor:
    """softmax(scale * query @ key.mT + mask) (..., L, S); 0 for a query that may attend to nothing."""
    scores = matmul(query * scale, key.mT)
    if mask is not None:
        scores = scores + mask if mask.is_floating_point() else where(mask, scores, -math.inf)
    if is_causal:
        scores = where(constant(np.tri(*scores.array.shape[-2:], dtype=np.bool_, like=scores.array)), scores, -math.inf)
    nothing = (scores.array == -np.inf).all(-1, keepdims=True)
    if (arrays.graph is None or nothing.__class__ is np.ndarray) and not nothing.any():  # captured: not read, but used
        return softmax(scores, -1)
    none = constant(nothing)  # softmax would make NaN of these rows
    return where(none, 0.0, softmax(where(none, 0.0, scores), -1))


def _same_batch(name: str, query: Tensor, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The three, checked, with the same leading dimensions."""
    q, k, v = (tensor_of(t, name).array for t in (query, key, value))
    shapes = f"query {q.shape}, key {k.shape}, value {v.shape}"
    if q.dtype.kind != "f" or k.dtype != q.dtype or v.dtype != q.dtype:
        raise TypeError(
            f"{name}: query is {q.dtype.name}, key {k.dtype.name}, value {v.dtype.name}; expected one floating-point dtype"
        )
    if min(q.ndim, k.ndim, v.ndim) < 2:
        raise ValueError(f"{name}: {shapes}: each needs at least 2 dimensions, (length, size)")
    if q.shape[-1] != k.shape[-1]:
        raise ValueError(f"{name}: {shapes}: the last sizes of query and key, {q.shape[-1]} and {k.shape[-1]}, differ")
    if k.shape[-2] != v.shape[-2]:
        raise ValueError(f"{name}: {shapes}: there are {k.shape[-2]} keys but {v.shape[-2]} values")
    if q.shape[:-2] == k.shape[:-2] == v.shape[:-2]:
        return query, key, value
    batch = broadcast(name, q.shape[:-2], k.shape[:-2], v.shape[:-2])
    query, key, value = (
        t if t.array.shape[:-2] == batch else broadcast_to(t, (*batch, *t.array.shape[-2:]))
        for t in (query, key, value)
    )
    return query, key, value


def _mask_of(name: str, mask: Tensor, query: Tensor, key: Tensor) -> Tensor:
    """The mask, checked: bool or of the query's dtype."""
    kind, shape = tensor_of(mask, name).array.dtype.kind, mask.array.shape
    if kind not in "bf":
        raise TypeError(f"{name}: attn_mask is {mask.array.dtype.name}, expected bool or {query.array.dtype.name}")
    scores = (*query.array.shape[:-1], key.array.shape[-2])
    rest = scores[len(scores) - len(shape) :] if len(shape) <= len(scores) else ()
    if len(shape) > len(scores) or any(m not in (1, s) for m, s in zip(shape, rest)):
        raise ValueError(f"{name}: attn_mask has shape {shape}, which does not broadcast to the scores' {scores}")
    return mask if kind == "b" else mask.to(query.array.dtype)
