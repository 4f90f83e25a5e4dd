"""Gradient clipping, and all parameters as one vector."""

from __future__ import annotations

import math
from collections.abc import Iterable

from minidl import ops
from minidl._creation import tensor
from minidl._tensor import Tensor
from minidl.autograd import no_grad
from minidl.kernels import arrays as devices
from minidl.kernels import kernel
from minidl.nn.parameter import InPlace


def clip_grad_norm_(
    parameters: Tensor | Iterable[Tensor],
    max_norm: float,
    norm_type: float = 2.0,
    error_if_nonfinite: bool = False,
) -> Tensor:
    """g ← g * min(1, max_norm / (norm + 1e-6))

    norm is that of all gradients as one vector, and is returned.
    `norm_type` is p of the p-norm, `inf` for the largest absolute value. A norm that is NaN or Inf spreads to
    all gradients; `error_if_nonfinite=True` raises RuntimeError instead. Source: Pascanu, Mikolov & Bengio
    2013, algorithm 1.
    """
    gradients = _gradients(parameters)
    if not gradients:
        return tensor(0.0)
    norm_type = float(norm_type)
    with no_grad():
        total = _norm_of_all(gradients, norm_type)
        if devices.graph is not None:
            return _clipped(gradients, total, max_norm, error_if_nonfinite)
        norm = total.item()
        if error_if_nonfinite and not math.isfinite(norm):
            raise RuntimeError(
                f"clip_grad_norm_: the gradients' norm is {norm}; look for its origin with autograd.detect_anomaly()"
            )
        factor = max_norm / (norm + 1e-6)
        if not factor >= 1:  # NaN is not, and spreads
            with InPlace(gradients) as arrays:
                kernel(gradients[0]).scale_in_place(arrays, factor)
    return total


def _clipped(gradients: list[Tensor], norm: Tensor, max_norm: float, error_if_nonfinite: bool) -> Tensor:
    """`clip_grad_norm_` without the host: for a step that is captured as a graph."""
    if error_if_nonfinite:
        raise RuntimeError(
            "clip_grad_norm_: error_if_nonfinite=True reads the norm, which a captured graph cannot; leave it False"
        )
    factor = (max_norm / (norm + 1e-6)).clamp(max=1.0)
    for g in gradients:
        g.mul_(factor.to(g.dtype))
    return norm


def clip_grad_value_(parameters: Tensor | Iterable[Tensor], clip_value: float) -> None:
    """g ← clamp(g, -clip_value, clip_value)"""
    with no_grad():
        for g in _gradients(parameters):
            g.clamp_(-clip_value, clip_value)


def parameters_to_vector(parameters: Iterable[Tensor]) -> Tensor:
    """All parameters behind one another, row by row, as one vector (differentiable)."""
    return ops.cat([p.reshape(-1) for p in parameters])


def vector_to_parameters(vec: Tensor, parameters: Iterable[Tensor]) -> None:
    """Copies a vector, cut into the parameters' shapes, into them: the way back of `parameters_to_vector`."""
    if not isinstance(vec, Tensor):
        raise TypeError(f"vector_to_parameters: vec is a {type(vec).__name__}, expected a Tensor")
    targets = list(parameters)
    total = sum(p.numel() for p in targets)
    if tuple(vec.shape) != (total,):
        raise ValueError(
            f"vector_to_parameters: vec has shape {tuple(vec.shape)}, expected ({total},), the parameters' values"
        )
    start = 0
    with no_grad():
        for p in targets:
            p.copy_(vec[start : start + p.numel()].reshape(tuple(p.shape)))
            start += p.numel()


def _gradients(parameters: Tensor | Iterable[Tensor]) -> list[Tensor]:
    every = [parameters] if isinstance(parameters, Tensor) else list(parameters)
    return [p.grad for p in every if p.grad is not None]


def _norm_of_all(gradients: list[Tensor], p: float) -> Tensor:
    """The p-norm of all gradients as one vector, in their dtype."""
    if p == 2.0 and devices.graph is not None:
        return ops.stack([ops.square(g).sum() for g in gradients]).sum().sqrt()
    if p == 2.0:
        square = kernel(gradients[0]).squared_norm([g.array for g in gradients])
        return tensor(math.sqrt(square), dtype=gradients[0].dtype, device=gradients[0].device)
    return _norm(ops.stack([_norm(g, p) for g in gradients]), p)


def _norm(x: Tensor, p: float) -> Tensor:
    """(Σ |x|^p)^(1/p) over all of x."""
    if p == math.inf:
        return ops.amax(ops.abs(x)) if x.numel() else x.sum()
    return ops.pow(ops.pow(ops.abs(x), p).sum(), 1.0 / p)


__all__ = ["clip_grad_norm_", "clip_grad_value_", "parameters_to_vector", "vector_to_parameters"]
