"""Distances between vectors as modules."""

from __future__ import annotations

from minidl._tensor import Tensor
from minidl.nn import functional as F
from minidl.nn.module import Module


class CosineSimilarity(Module):
    """The cosine of the angle between vectors along `dim`; the formula: `minidl.nn.functional.cosine_similarity`."""

    def __init__(self, dim: int = 1, eps: float = 1e-8) -> None:
        super().__init__()
        self.dim, self.eps = dim, eps

    def forward(self, x1: Tensor, x2: Tensor) -> Tensor:
        return F.cosine_similarity(x1, x2, self.dim, self.eps)


__all__ = ["CosineSimilarity"]
