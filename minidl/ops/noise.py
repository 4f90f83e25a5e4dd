"""Operations that draw random numbers, from the counter-based generator (minidl.random)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .. import random
from ..kernels import kernel
from ..tape import record, wrap
from ._common import floating

if TYPE_CHECKING:
    from .._tensor import Tensor


def _check(name: str, x: Tensor, p: float) -> Tensor:
    if not 0 <= p <= 1:
        raise ValueError(f"{name}: p must be a probability from 0 to 1, got {p}")
    return floating(x, name)


def _scale(p: float) -> float:
    return 0.0 if p == 1 else 1 / (1 - p)


def dropout(
    input: Tensor,
    p: float = 0.5,
    training: bool = True,
    inplace: bool = False,
    *,
    generator: random.Generator | None = None,
) -> Tensor:
    """Y = X * MASK / (1 - p)

    ∂L/∂X = G * MASK / (1 - p)

    mask: 0 with probability p, else 1, for each element. Without training Y = X (Srivastava et al. 2014; scaled in
    training, so that evaluation needs no change). inplace: Y is written into the input.
    """
    x = _check("dropout", input, p)
    if not training or p == 0:
        return x
    if inplace:
        return input._write("dropout", dropout(input._alias(), p, generator=generator))
    kernels = kernel(x)
    at = (generator or random.default_generator).take(x.array.size, kernels)
    Y, mask = kernels.dropout(x.array, p, *at)
    return record(Y, x, lambda G: _masked(G, mask, _scale(p)))


def _masked(x: Tensor, mask: np.ndarray, scale: float) -> Tensor:
    """Y = X * MASK * scale

    ∂L/∂X = G * MASK * scale
    """
    return record(kernel(x).masked_scale(x.array, mask, scale), x, lambda G: _masked(G, mask, scale))


def dropout2d(
    input: Tensor,
    p: float = 0.5,
    training: bool = True,
    inplace: bool = False,
    *,
    generator: random.Generator | None = None,
) -> Tensor:
    """Y[n,c,i,j] = X[n,c,i,j] * MASK[n,c] / (1 - p)

    ∂L/∂X[n,c,i,j] = G[n,c,i,j] * MASK[n,c] / (1 - p)

    Whole channels are dropped (Tompson et al. 2015). x: (N, C, H, W) or (C, H, W). inplace: Y is written into the input.
    """
    x = _check("dropout2d", input, p)
    if not training or p == 0:
        return x
    if inplace:
        return input._write("dropout2d", dropout2d(input._alias(), p, generator=generator))
    channels = x.array.shape[: x.array.ndim - 2]
    keep = random.uniform((*channels, 1, 1), np.dtype(np.float32), generator, kernel(x)) >= p
    scale = wrap(keep * x.array.dtype.type(_scale(p)))
    return record(kernel(x).mul(x.array, scale.array), x, lambda G: G * scale)
