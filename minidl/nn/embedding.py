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

    The row `padding_idx` starts at 0 and gets no gradient. max_norm: rows that are used and longer than this, in the
    norm of order norm_type, are shortened to it first. scale_grad_by_freq: a row's gradient is divided by how often
    the batch names it. sparse=True is refused. Initial values: N(0, 1). Source: Bengio et al. 2003, A Neural
    Probabilistic Language Model, section 2.
    """

    weight: Parameter

    def __init__(
        self,
        num_embeddings: int,
        embedding_dim: int,
        padding_idx: int | None = None,
        max_norm: float | None = None,
        norm_type: float = 2.0,
        scale_grad_by_freq: bool = False,
        sparse: bool = False,
        *,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        if sparse:
            raise NotImplementedError("Embedding: sparse=True is not supported; gradients are dense: use sparse=False")
        if padding_idx is not None:
            if not -num_embeddings <= padding_idx < num_embeddings:
                raise ValueError(f"Embedding: padding_idx is {padding_idx}, expected a row of the {num_embeddings}")
            padding_idx %= num_embeddings
        self.num_embeddings, self.embedding_dim, self.padding_idx = num_embeddings, embedding_dim, padding_idx
        self.max_norm, self.norm_type, self.scale_grad_by_freq = max_norm, norm_type, scale_grad_by_freq
        self.weight = Parameter(empty((num_embeddings, embedding_dim), device=device, dtype=dtype))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draws the initial values again."""
        init.normal_(self.weight)
        if self.padding_idx is not None:
            with no_grad():
                self.weight[self.padding_idx] = 0.0

    @classmethod
    def from_pretrained(
        cls,
        embeddings: Tensor,
        freeze: bool = True,
        padding_idx: int | None = None,
        max_norm: float | None = None,
        norm_type: float = 2.0,
        scale_grad_by_freq: bool = False,
        sparse: bool = False,
    ) -> Embedding:
        """An Embedding around an existing table (rows, dim); `freeze=True` keeps it as it is."""
        if embeddings.ndim != 2:
            raise ValueError(
                f"Embedding.from_pretrained: the table has shape {tuple(embeddings.shape)}, expected 2 dimensions"
            )
        rows, dim = embeddings.shape
        layer = cls(rows, dim, padding_idx, max_norm, norm_type, scale_grad_by_freq, sparse, dtype=embeddings.dtype)
        layer.weight = Parameter(embeddings.detach(), requires_grad=not freeze)
        return layer

    def forward(self, input: Tensor) -> Tensor:
        return F.embedding(input, self.weight, self.padding_idx, self.max_norm, self.norm_type, self.scale_grad_by_freq)

    def extra_repr(self) -> str:
        text = f"{self.num_embeddings}, {self.embedding_dim}"
        for option, usual in (
            ("padding_idx", None),
            ("max_norm", None),
            ("norm_type", 2),
            ("scale_grad_by_freq", False),
        ):
            if getattr(self, option) != usual:
                text += f", {option}={getattr(self, option)}"
        return text


__all__ = ["Embedding"]
