"""Softmax and its relatives: one kernel for the value, one for the gradient."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..kernels import kernel
from ..tape import record_fused
from ._common import cast, dim_of, real, tensor_of
from .elementwise import exp
from .reduce import amax, logsumexp, sum

if TYPE_CHECKING:
    from .._tensor import Tensor


def softmax(input: Tensor, dim: int = -1, dtype: Any = None) -> Tensor:
    """Y[...,i] = exp(X[...,i]) / Σ[j] exp(X[...,j])

    ∂L/∂X[...,i] = Y[...,i] * (G[...,i] - Σ[j] G[...,j] * Y[...,j])

    Computed from x - max(x), which cannot overflow. One kernel for the value, one for the gradient; they equal
    exp(x - max) / sum(exp(x - max)) in the engine's plain operations.
    """
    x = real(cast(tensor_of(input, "softmax"), dtype), "softmax")
    axis = dim_of(dim, x.array.ndim, "softmax")
    if x.array.ndim == 0:
        return softmax(x.reshape(1), 0).reshape(())
    Y = kernel(x).softmax(x.array, axis)

    def composition(x: Tensor) -> Tensor:
        e = exp(x - amax(x.detach(), axis, keepdim=True)) if x.array.size else x
        return e / sum(e, axis, keepdim=True)

    def gradients(G: Any, needed: tuple[bool, ...]) -> tuple[Any]:
        return (kernel(x).softmax_gradient(G, Y, axis),)

    return record_fused(Y, (x,), gradients, composition, result=True)


def log_softmax(input: Tensor, dim: int = -1, dtype: Any = None) -> Tensor:
    """Y[...,i] = X[...,i] - log(Σ[j] exp(X[...,j]))

    ∂L/∂X[...,i] = G[...,i] - exp(Y[...,i]) * Σ[j] G[...,j]

    One kernel for the value, one for the gradient; they equal x - logsumexp(x) in the engine's plain operations.
    """
    x = real(cast(tensor_of(input, "log_softmax"), dtype), "log_softmax")
    axis = dim_of(dim, x.array.ndim, "log_softmax")
    if x.array.ndim == 0:
        return log_softmax(x.reshape(1), 0).reshape(())
    Y = kernel(x).log_softmax(x.array, axis)

    def composition(x: Tensor) -> Tensor:
        return x - logsumexp(x, axis, keepdim=True)

    def gradients(G: Any, needed: tuple[bool, ...]) -> tuple[Any]:
        return (kernel(x).log_softmax_gradient(G, Y, axis),)

    return record_fused(Y, (x,), gradients, composition, result=True)
