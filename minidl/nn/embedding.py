"""Embedding: a table of vectors, one for each index."""

from __future__ import annotations

from typing import Any

from minidl._creation import empty
from minidl._tensor import Tensor
from minidl.autograd import no_grad
from minidl.nn import functional as F
from minidl.nn import init
from minidl.nn.module import Module, Parameter


class Embedding(Module):
    """(...) indices -> (..., embedding_dim): y = weight[x], weight (num_embeddings, embedding_dim).

    The row `padding_idx` starts at 0 and gets no gradient. Initial values: N(0, 1).
    Source: Bengio et al. 2003, A Neural Probabilistic Language Model, section 2.
    """

    weight: Parameter

    def __init__(
        self,
        num_embeddings: int,
        embedding_dim: int,
        padding_idx: int | None = None,
        *,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        if padding_idx is not None:
            if not -num_embeddings <= padding_idx < num_embeddings:
                raise ValueError(f"Embedding: padding_idx is {padding_idx}, expected a row of the {num_embeddings}")
            padding_idx %= num_embeddings
        self.num_embeddings, self.embedding_dim, self.padding_idx = num_embeddings, embedding_dim, padding_idx
        self.weight = Parameter(empty((num_embeddings, embedding_dim), device=device, dtype=dtype))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draws the initial values again."""
        init.normal_(self.weight)
        if self.padding_idx is not None:
            with no_grad():
                self.weight[self.padding_idx] = 0.0

    @classmethod
    def from_pretrained(cls, embeddings: Tensor, freeze: bool = True, padding_idx: int | None = None) -> Embedding:
        """An Embedding around an existing table (rows, dim); `freeze=True` keeps it as it is."""
        if embeddings.ndim != 2:
            raise ValueError(
                f"Embedding.from_pretrained: the table has shape {tuple(embeddings.shape)}, expected 2 dimensions"
            )
        rows, dim = embeddings.shape
        layer = cls(rows, dim, padding_idx, dtype=embeddings.dtype)
        layer.weight = Parameter(embeddings.detach(), requires_grad=not freeze)
        return layer

    def forward(self, input: Tensor) -> Tensor:
        return F.embedding(input, self.weight, self.padding_idx)

    def extra_repr(self) -> str:
        padding = "" if self.padding_idx is None else f", padding_idx={self.padding_idx}"
        return f"{self.num_embeddings}, {self.embedding_dim}{padding}"


__all__ = ["Embedding"]
