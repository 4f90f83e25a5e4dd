"""Penalties: terms that are added to a loss and draw the parameters towards 0.

    penalty = L2(1e-4)
    loss = F.cross_entropy(model(x), y) + penalty(model.parameters())

Each is callable on a Tensor, on any iterable of Tensors, or on a Module (all of its parameters; for the
weights alone: `penalty(p for p in model.parameters() if p.ndim > 1)`), and gives a scalar Tensor with a
gradient.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

from . import ops
from ._creation import tensor
from ._tensor import Tensor


class Penalty:
    """What the penalties share: one term for each tensor, and their sum."""

    def of(self, w: Tensor) -> Tensor:
        """The penalty of one tensor."""
        raise NotImplementedError(f"{type(self).__name__}: no method of(w), which gives the penalty of one tensor")

    def __call__(self, parameters: Any) -> Tensor:
        terms = [self.of(w) for w in _tensors(type(self).__name__, parameters)]
        total = terms[0] if terms else tensor(0.0)
        for term in terms[1:]:
            total = total + term
        return total

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{n}={v}' for n, v in vars(self).items())})"


class L1(Penalty):
    """Y = λ * Σ[...] abs(W[...])

    The lasso: pulls every value towards 0 with the same force λ, so that many end there. Its slope at 0 is 0.
    Source: Tibshirani 1996, Regression Shrinkage and Selection via the Lasso.
    """

    def __init__(self, λ: float) -> None:
        self.λ = _strength("L1", "λ", λ)

    def of(self, w: Tensor) -> Tensor:
        return self.λ * ops.abs(w).sum()


class L2(Penalty):
    """Y = λ / 2 * Σ[...] W[...]**2

    Ridge regression's term: its gradient is λ w, the same as an optimizer's `weight_decay=λ`. For SGD the two
    are one; for Adam they are not, since Adam divides the penalty's gradient, too (Loshchilov & Hutter 2019).
    Sources: Tikhonov 1963; Hoerl & Kennard 1970, Ridge Regression.
    """

    def __init__(self, λ: float) -> None:
        self.λ = _strength("L2", "λ", λ)

    def of(self, w: Tensor) -> Tensor:
        return self.λ / 2 * ops.square(w).sum()


class ElasticNet(Penalty):
    """Y = λ1 * (Σ[...] abs(W[...])) + λ2 / 2 * Σ[...] W[...]**2

    L1(λ1) + L2(λ2): zeros as the lasso's, and correlated inputs share their weight.
    Source: Zou & Hastie 2005, Regularization and Variable Selection via the Elastic Net, equation 3.
    """

    def __init__(self, λ1: float, λ2: float) -> None:
        self.λ1, self.λ2 = _strength("ElasticNet", "λ1", λ1), _strength("ElasticNet", "λ2", λ2)

    def of(self, w: Tensor) -> Tensor:
        return self.λ1 * ops.abs(w).sum() + self.λ2 / 2 * ops.square(w).sum()


def _strength(who: str, name: str, value: float) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < math.inf:
        raise ValueError(f"{who}: {name} is {value!r}, expected a finite number of 0 or more")
    return float(value)


def _tensors(who: str, parameters: Any) -> Iterable[Tensor]:
    if isinstance(parameters, Tensor):
        return [parameters]
    found = parameters.parameters() if hasattr(parameters, "parameters") else parameters
    if not isinstance(found, Iterable):
        raise TypeError(f"{who}: got a {type(parameters).__name__}, expected a Tensor, Tensors or a Module")
    tensors = list(found)
    for w in tensors:
        if not isinstance(w, Tensor):
            raise TypeError(f"{who}: got a {type(w).__name__} among the parameters, expected Tensors")
    return tensors


__all__ = ["ElasticNet", "L1", "L2", "Penalty"]
