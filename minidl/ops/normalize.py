"""Normalisation: shift and scale to mean 0 and variance 1, over one group of elements or another."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ..tape import set_recording
from ._common import floating, sizes_of
from .elementwise import rsqrt
from .reduce import mean, var
from .shape import reshape

if TYPE_CHECKING:
    from .._tensor import Tensor


def layer_norm(
    x: Tensor,
    normalized_shape: int | Sequence[int],
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
) -> Tensor:
    """Y[...,i] = (X[...,i] - μ[...]) / sqrt(σ²[...] + eps) * WEIGHT[i] + BIAS[i]

    μ[...] = mean[i] X[...,i]
    σ²[...] = mean[i] (X[...,i] - μ[...]) ** 2

    normalized_shape: the sizes of the last dimensions, over which i runs; weight and bias have this shape. A
    composition (Ba, Kiros, Hinton 2016, eq. 4).
    """
    x = floating(x, "layer_norm")
    shape = (normalized_shape,) if isinstance(normalized_shape, int) else sizes_of((tuple(normalized_shape),), "layer_norm")
    n = len(shape)
    if n == 0 or x.array.shape[-n:] != shape:
        raise ValueError(f"layer_norm: normalized_shape {shape} must be the last sizes of x, whose shape is {x.array.shape}")
    for name, t in (("weight", weight), ("bias", bias)):
        if t is not None and t.array.shape != shape:
            raise ValueError(f"layer_norm: {name} must have shape {shape}, got {t.array.shape}")
    dims = tuple(range(-n, 0))
    y = (x - mean(x, dims, keepdim=True)) * rsqrt(var(x, dims, correction=0, keepdim=True) + eps)
    if weight is not None:
        y = y * weight
    return y if bias is None else y + bias


def batch_norm(
    x: Tensor,
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

    x: (N, C, ...). In training μ and σ² are the batch's, and the
    running ones move towards them: r ← (1 - momentum) r + momentum (μ, or the unbiased variance). Otherwise μ and σ²
    are the running ones. A composition (Ioffe and Szegedy 2015, algorithm 1).
    """
    x = floating(x, "batch_norm")
    if x.array.ndim < 2:
        raise ValueError(f"batch_norm: expected (N, C, ...), got shape {x.array.shape}")
    C = x.array.shape[1]
    for name, t in (("running_mean", running_mean), ("running_var", running_var), ("weight", weight), ("bias", bias)):
        if t is not None and t.array.shape != (C,):
            raise ValueError(f"batch_norm: {name} must have shape ({C},) for {C} channels, got {t.array.shape}")
    dims = (0, *range(2, x.array.ndim))
    per_channel = (1, C) + (1,) * (x.array.ndim - 2)
    if training:
        n = x.array.size // C if C else 0
        if n < 2:
            raise ValueError(f"batch_norm: training needs more than one value per channel, got shape {x.array.shape}")
        μ, σ2 = mean(x, dims, keepdim=True), var(x, dims, correction=0, keepdim=True)
        recording = set_recording(False)
        try:
            if running_mean is not None:
                running_mean.mul_(1 - momentum).add_(reshape(μ.detach(), (C,)), alpha=momentum)
            if running_var is not None:
                running_var.mul_(1 - momentum).add_(reshape(σ2.detach(), (C,)), alpha=momentum * n / (n - 1))
        finally:
            set_recording(recording)
    else:
        if running_mean is None or running_var is None:
            raise ValueError("batch_norm: evaluation needs running_mean and running_var; give them, or training=True")
        μ, σ2 = reshape(running_mean, per_channel), reshape(running_var, per_channel)
    y = (x - μ) * rsqrt(σ2 + eps)
    if weight is not None:
        y = y * reshape(weight, per_channel)
    return y if bias is None else y + reshape(bias, per_channel)
