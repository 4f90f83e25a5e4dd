"""Normalisation: shift and scale to mean 0 and variance 1, over one group of elements or another.

One kernel for the value, one for all gradients; beside each the composition of plain operations that it equals.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from .._dtypes import promote
from ..kernels import kernel
from ..tape import record_fused, set_recording, wrap
from ._common import broadcast, dim_of, floating, operands, sizes_of, tensor_of
from .elementwise import clamp, rsqrt
from .reduce import mean, norm, sum, var
from .shape import broadcast_to, reshape

if TYPE_CHECKING:
    from .._tensor import Tensor


def _rows(name: str, x: Tensor, normalized_shape: int | Sequence[int], **parameters: Tensor | None) -> int:
    """Over how many last dimensions the norm runs; ValueError where a shape does not fit."""
    shape = (normalized_shape,) if isinstance(normalized_shape, int) else sizes_of((tuple(normalized_shape),), name)
    n = len(shape)
    if n == 0 or x.array.shape[-n:] != shape:
        raise ValueError(f"{name}: normalized_shape {shape} must be the last sizes of x, whose shape is {x.array.shape}")
    for what, t in parameters.items():
        if t is not None and t.array.shape != shape:
            raise ValueError(f"{name}: {what} must have shape {shape}, got {t.array.shape}")
    return n


def _alike(x: Tensor, *parameters: Tensor | None) -> list[Any]:
    """All in one dtype, the widest."""
    dtype = x.array.dtype
    for t in parameters:
        if t is not None and t.array.dtype != dtype:
            dtype = promote(dtype, t.array.dtype)
    return [t if t is None or t.array.dtype == dtype else t.to(dtype) for t in (x, *parameters)]


def _resolution(dtype: Any) -> float:
    return 2.0**-7 if dtype.name == "bfloat16" else float(np.finfo(dtype).eps)  # NumPy does not know bfloat16's


def _array(t: Tensor | None) -> Any:
    return None if t is None else t.array


def layer_norm(
    input: Tensor,
    normalized_shape: int | Sequence[int],
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
) -> Tensor:
    """Y[...,i] = (X[...,i] - μ[...]) / sqrt(σ²[...] + eps) * WEIGHT[i] + BIAS[i]

    μ[...] = mean[i] X[...,i]
    σ²[...] = mean[i] (X[...,i] - μ[...]) ** 2
    x̂[...,i] = (X[...,i] - μ[...]) / sqrt(σ²[...] + eps)
    U[...,i] = G[...,i] * WEIGHT[i]
    ∂L/∂X[...,i] = (U[...,i] - mean[j] U[...,j] - x̂[...,i] * (mean[j] U[...,j] * x̂[...,j])) / sqrt(σ²[...] + eps)
    ∂L/∂WEIGHT.flat[i] = Σ[...] G[...,i] * x̂[...,i]
    ∂L/∂BIAS.flat[i] = Σ[...] G[...,i]

    normalized_shape: the sizes of the last dimensions, over which i runs; weight and bias have this shape (Ba, Kiros,
    Hinton 2016, eq. 4).
    """
    x = floating(input, "layer_norm")
    n = _rows("layer_norm", x, normalized_shape, weight=weight, bias=bias)
    x, weight, bias = _alike(x, weight, bias)

    def composition(x: Tensor, weight: Tensor | None, bias: Tensor | None) -> Tensor:
        dims = tuple(range(-n, 0))
        y = (x - mean(x, dims, keepdim=True)) * rsqrt(var(x, dims, correction=0, keepdim=True) + eps)
        y = y if weight is None else y * weight
        return y if bias is None else y + bias

    Y, μ, rstd = kernel(x).layer_norm(x.array, n, _array(weight), _array(bias), eps)

    def gradients(G: Any, needed: tuple[bool, ...]) -> tuple[Any, ...]:
        return kernel(x).layer_norm_gradient(G, x.array, n, μ, rstd, _array(weight), needed)

    return record_fused(Y, (x, weight, bias), gradients, composition)


def rms_norm(
    input: Tensor, normalized_shape: int | Sequence[int], weight: Tensor | None = None, eps: float | None = None
) -> Tensor:
    """Y[...,i] = X[...,i] / sqrt(ms[...] + eps) * WEIGHT[i]

    ms[...] = mean[i] X[...,i] ** 2
    x̂[...,i] = X[...,i] / sqrt(ms[...] + eps)
    U[...,i] = G[...,i] * WEIGHT[i]
    ∂L/∂X[...,i] = (U[...,i] - x̂[...,i] * (mean[j] U[...,j] * x̂[...,j])) / sqrt(ms[...] + eps)
    ∂L/∂WEIGHT.flat[i] = Σ[...] G[...,i] * x̂[...,i]

    normalized_shape: the sizes of the last dimensions, over which i runs; weight has this shape. eps: None is the
    resolution of x's dtype (Zhang and Sennrich 2019, eq. 4).
    """
    x = floating(input, "rms_norm")
    n = _rows("rms_norm", x, normalized_shape, weight=weight)
    x, weight = _alike(x, weight)
    ε = _resolution(x.array.dtype) if eps is None else eps

    def composition(x: Tensor, weight: Tensor | None) -> Tensor:
        y = x * rsqrt(mean(x * x, tuple(range(-n, 0)), keepdim=True) + ε)
        return y if weight is None else y * weight

    Y, rstd = kernel(x).rms_norm(x.array, n, _array(weight), ε)

    def gradients(G: Any, needed: tuple[bool, ...]) -> tuple[Any, ...]:
        return kernel(x).rms_norm_gradient(G, x.array, n, rstd, _array(weight), needed)

    return record_fused(Y, (x, weight), gradients, composition)


def batch_norm(
    input: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """Y[n,c,...] = (X[n,c,...] - μ[c]) / sqrt(σ²[c] + eps) * WEIGHT[c] + BIAS[c]

    μ[c] = mean[n,...] X[n,c,...] if training else RUNNING_MEAN[c]
    σ²[c] = mean[n,...] (X[n,c,...] - μ[c]) ** 2 if training else RUNNING_VAR[c]
    x̂[n,c,...] = (X[n,c,...] - μ[c]) / sqrt(σ²[c] + eps)
    a[c] = mean[n,...] G[n,c,...] if training else 0
    b[c] = mean[n,...] G[n,c,...] * x̂[n,c,...] if training else 0
    ∂L/∂X[n,c,...] = (G[n,c,...] - a[c] - x̂[n,c,...] * b[c]) * WEIGHT[c] / sqrt(σ²[c] + eps)
    ∂L/∂WEIGHT[c] = Σ[n,...] G[n,c,...] * x̂[n,c,...]
    ∂L/∂BIAS[c] = Σ[n,...] G[n,c,...]

    x: (N, C, ...). In training μ and σ² are the batch's, and the
    running ones move towards them: r ← (1 - momentum) r + momentum (μ, or the unbiased variance). Otherwise μ and σ²
    are the running ones, which no gradient flows to (Ioffe and Szegedy 2015, algorithm 1).
    """
    x = floating(input, "batch_norm")
    if x.array.ndim < 2:
        raise ValueError(f"batch_norm: expected (N, C, ...), got shape {x.array.shape}")
    C = x.array.shape[1]
    for name, t in (("running_mean", running_mean), ("running_var", running_var), ("weight", weight), ("bias", bias)):
        if t is not None and t.array.shape != (C,):
            raise ValueError(f"batch_norm: {name} must have shape ({C},) for {C} channels, got {t.array.shape}")
    n = x.array.size // C if C else 0
    if training and n < 2:
        raise ValueError(f"batch_norm: training needs more than one value per channel, got shape {x.array.shape}")
    known: list[Any] = [None, None]
    if training:
        x, weight, bias = _alike(x, weight, bias)
    else:
        if running_mean is None or running_var is None:
            raise ValueError("batch_norm: evaluation needs running_mean and running_var; give them, or training=True")
        x, weight, bias, *running = _alike(x, weight, bias, running_mean, running_var)
        known = [t.array.copy() for t in running]  # what a derivative reads later must not move with them

    def composition(x: Tensor, weight: Tensor | None, bias: Tensor | None) -> Tensor:
        per_channel = (1, C) + (1,) * (x.array.ndim - 2)
        if training:
            dims = (0, *range(2, x.array.ndim))
            μ, σ2 = mean(x, dims, keepdim=True), var(x, dims, correction=0, keepdim=True)
        else:
            μ, σ2 = (wrap(array.reshape(per_channel)) for array in known)
        y = (x - μ) * rsqrt(σ2 + eps)
        y = y if weight is None else y * reshape(weight, per_channel)
        return y if bias is None else y + reshape(bias, per_channel)

    Y, *found = kernel(x).batch_norm(x.array, *known, _array(weight), _array(bias), eps)

    def gradients(G: Any, needed: tuple[bool, ...]) -> tuple[Any, ...]:
        return kernel(x).batch_norm_gradient(G, x.array, *found, _array(weight), eps, training, needed)

    if training:
        recording = set_recording(False)
        try:
            for follower, batch, factor in zip((running_mean, running_var), found, (1, n / (n - 1)), strict=True):
                if follower is not None:
                    follower.mul_(1 - momentum).add_(wrap(batch), alpha=momentum * factor)
        finally:
            set_recording(recording)
    return record_fused(Y, (x, weight, bias), gradients, composition)


def group_norm(
    input: Tensor, num_groups: int, weight: Tensor | None = None, bias: Tensor | None = None, eps: float = 1e-5
) -> Tensor:
    """Y[n,c,...] = (INPUT[n,c,...] - μ[n,c]) / sqrt(σ²[n,c] + eps) * WEIGHT[c] + BIAS[c]

    μ[n,c] = mean[i < Cg, ...] INPUT[n, c // Cg * Cg + i, ...]
    σ²[n,c] = mean[i < Cg, ...] (INPUT[n, c // Cg * Cg + i, ...] - μ[n,c]) ** 2
    Cg = size(INPUT, 1) // num_groups

    input: (N, C, ...), the channels in num_groups groups of Cg neighbours; weight, bias: (C). Each sample and group is
    normalised over its channels and places, whatever the batch (Wu and He 2018, eq. 1 to 7). A composition: layer_norm of
    the groups, times weight, plus bias.
    """
    input = floating(input, "group_norm")
    shape = input.array.shape
    if len(shape) < 2:
        raise ValueError(f"group_norm: expected (N, C, ...), got shape {shape}")
    N, C = shape[:2]
    if not isinstance(num_groups, int) or num_groups < 1 or C % num_groups:
        raise ValueError(f"group_norm: num_groups is {num_groups!r}, expected a positive number that divides the {C} channels")
    for what, t in (("weight", weight), ("bias", bias)):
        if t is not None and t.array.shape != (C,):
            raise ValueError(f"group_norm: {what} must have shape ({C},) for {C} channels, got {t.array.shape}")
    each = C // num_groups
    for n in shape[2:]:
        each *= n
    if each * N == 1:
        raise ValueError(f"group_norm: needs more than one value per group, got shape {shape} in {num_groups} groups")
    input, weight, bias = _alike(input, weight, bias)
    y = reshape(layer_norm(reshape(input, (N, num_groups, each)), (each,), eps=eps), shape) if each else input
    per_channel = (1, C) + (1,) * (len(shape) - 2)
    y = y if weight is None else y * reshape(weight, per_channel)
    return y if bias is None else y + reshape(bias, per_channel)


def normalize(input: Tensor, p: float = 2.0, dim: int | tuple[int, ...] = 1, eps: float = 1e-12) -> Tensor:
    """Y[...,i] = INPUT[...,i] / max(length[...], eps)

    length[...] = (Σ[i] |INPUT[...,i]| ** p) ** (1 / p)

    input: floating point; every vector along dim divided by its p-norm, so that its own is 1. A vector shorter than eps
    is divided by eps. A composition: input / clamp(norm(input, p, dim), eps).
    """
    input = tensor_of(input, "normalize")
    if input.array.dtype.kind != "f":
        raise TypeError(f"normalize: input is {input.array.dtype.name}, expected floating point; convert with .float()")
    return input / clamp(norm(input, p, dim, keepdim=True), eps)


def cosine_similarity(x1: Tensor, x2: Tensor, dim: int = 1, eps: float = 1e-8) -> Tensor:
    """Y[...] = (Σ[i] X1[...,i] * X2[...,i]) / (max(a[...], eps) * max(b[...], eps))

    a[...] = sqrt(Σ[i] X1[...,i] ** 2)
    b[...] = sqrt(Σ[i] X2[...,i] ** 2)

    x1, x2: floating point, broadcast to one shape; Y has it without dim: the cosine of the angle between the vectors along dim,
    1 for one direction, 0 for right angles. A composition: the sum of the products, lengths divided out first.
    """
    name = "cosine_similarity"
    x1, x2 = operands(tensor_of(x1, name), tensor_of(x2, name), name)
    if x1.array.dtype.kind != "f":
        raise TypeError(f"{name}: the tensors are {x1.array.dtype.name}, expected floating point; convert with .float()")
    shape = broadcast(name, x1.array.shape, x2.array.shape)
    axis = dim_of(dim, len(shape), name)
    x1, x2 = broadcast_to(x1, shape), broadcast_to(x2, shape)
    first, second = (x / clamp(norm(x, 2.0, axis, keepdim=True), eps) for x in (x1, x2))
    return sum(first * second, axis)
