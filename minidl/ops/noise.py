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


def _dropout(name: str, x: Tensor, p: float, training: bool, mask_dims: int, generator: random.Generator | None) -> Tensor:
    x = floating(x, name)
    if not 0 <= p <= 1:
        raise ValueError(f"{name}: p must be a probability from 0 to 1, got {p}")
    if not training or p == 0:
        return x
    shape = x.array.shape[:mask_dims] + (1,) * (x.array.ndim - mask_dims)
    keep = random.uniform(shape, np.dtype(np.float32), generator) >= p
    scale = wrap(keep * x.array.dtype.type(0 if p == 1 else 1 / (1 - p)))
    return record(kernel(x).mul(x.array, scale.array), x, lambda G: G * scale)


def dropout(
    x: Tensor, p: float = 0.5, training: bool = True, *, generator: random.Generator | None = None
) -> Tensor:
    """Y = X * MASK / (1 - p)

    ∂L/∂X = G * MASK / (1 - p)

    mask: 0 with probability p, else 1, for each element. Without training Y = X (Srivastava et al. 2014; scaled in
    training, so that evaluation needs no change).
    """
    return _dropout("dropout", x, p, training, np.ndim(getattr(x, "array", 0)), generator)


def dropout2d(
    x: Tensor, p: float = 0.5, training: bool = True, *, generator: random.Generator | None = None
) -> Tensor:
    """Y[n,c,i,j] = X[n,c,i,j] * MASK[n,c] / (1 - p)

    ∂L/∂X[n,c,i,j] = G[n,c,i,j] * MASK[n,c] / (1 - p)

    Whole channels are dropped (Tompson et al. 2015). x: (N, C, H, W) or (C, H, W).
    """
    return _dropout("dropout2d", x, p, training, np.ndim(getattr(x, "array", 0)) - 2, generator)
