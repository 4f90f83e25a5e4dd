"""Attention as a layer: several heads side by side, each with projections of its own."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from minidl import ops
from minidl._creation import empty, from_numpy
from minidl._tensor import Tensor
from minidl.nn import functional as F
from minidl.nn import init
from minidl.nn.linear import Linear
from minidl.nn.module import Module, Parameter
from minidl.ops.attention import attention_weights


class MultiheadAttention(Module):
    """Several heads side by side: [head_1 ... head_h] W_Oᵀ + b_O, where each head is
    attention(q W_Qᵀ + b_Q, k W_Kᵀ + b_K, v W_Vᵀ + b_V) with its own rows of W_Q, W_K, W_V.

    in_proj_weight (3 * embed_dim, embed_dim) holds W_Q, W_K, W_V below each other, in_proj_bias their biases; out_proj
    is a Linear. embed_dim is shared out to num_heads heads of equal size. dropout: of the weights, in training.
    batch_first: (N, L, E) rather than (L, N, E). kdim, vdim: the sizes of keys and values where they are not
    embed_dim; the three weights are then q_proj_weight, k_proj_weight, v_proj_weight. add_bias_kv: one more key and
    value, learned (bias_k, bias_v); add_zero_attn: one more of zeros, for queries that need nothing. Every query may
    attend to these. Initial values: Xavier's uniform ones for the projections, its normal ones for bias_k and bias_v, 0
    for biases, Linear's for out_proj.weight (PyTorch's). Source: Vaswani et al. 2017, section 3.2.2; the formula of
    attention and its derivatives: `minidl.nn.functional.scaled_dot_product_attention`.

    Errors: ValueError where embed_dim is no multiple of num_heads, dropout no probability, shapes do not fit.
    """

    in_proj_weight: Parameter | None
    q_proj_weight: Parameter | None
    k_proj_weight: Parameter | None
    v_proj_weight: Parameter | None
    in_proj_bias: Parameter | None
    bias_k: Parameter | None
    bias_v: Parameter | None
    out_proj: Linear

    def __init__(
        self,
        embed_dim: int,
        num_heads: int,
        dropout: float = 0.0,
        bias: bool = True,
        add_bias_kv: bool = False,
        add_zero_attn: bool = False,
        kdim: int | None = None,
        vdim: int | None = None,
        batch_first: bool = False,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        if embed_dim < 1 or num_heads < 1 or embed_dim % num_heads:
            raise ValueError(
                f"MultiheadAttention: embed_dim is {embed_dim}, num_heads {num_heads}; "
                "expected a positive multiple of a positive number of heads"
            )
        if not 0 <= dropout <= 1:
            raise ValueError(f"MultiheadAttention: dropout is {dropout}, expected a probability from 0 to 1")
        self.embed_dim, self.num_heads, self.head_dim = embed_dim, num_heads, embed_dim // num_heads
        self.dropout, self.batch_first, self.add_zero_attn = dropout, batch_first, add_zero_attn
        self.kdim, self.vdim = embed_dim if kdim is None else kdim, embed_dim if vdim is None else vdim
        together = self.kdim == self.vdim == embed_dim

        def made(*shape: int) -> Parameter:
            return Parameter(empty(shape, device=device, dtype=dtype))

        widths = {"q": embed_dim, "k": self.kdim, "v": self.vdim}
        for part, width in widths.items():
            self.register_parameter(f"{part}_proj_weight", None if together else made(embed_dim, width))
        self.register_parameter("in_proj_weight", made(3 * embed_dim, embed_dim) if together else None)
        self.register_parameter("in_proj_bias", made(3 * embed_dim) if bias else None)
        self.out_proj = Linear(embed_dim, embed_dim, bias, device=device, dtype=dtype)
        for name in ("bias_k", "bias_v"):
            self.register_parameter(name, made(1, 1, embed_dim) if add_bias_kv else None)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draws the initial values again."""
        for weight in (self.in_proj_weight, self.q_proj_weight, self.k_proj_weight, self.v_proj_weight):
            if weight is not None:
                init.xavier_uniform_(weight)
        self.out_proj.reset_parameters()
        for bias in (self.in_proj_bias, self.out_proj.bias):
            if bias is not None:
                init.zeros_(bias)
        for more in (self.bias_k, self.bias_v):
            if more is not None:
                init.xavier_normal_(more)

    def forward(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        key_padding_mask: Tensor | None = None,
        need_weights: bool = True,
        attn_mask: Tensor | None = None,
        average_attn_weights: bool = True,
        is_causal: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        """(y, weights): y as query, (L, N, E), (N, L, E) with batch_first, or (L, E) without a batch.

        key_padding_mask  (N, S) or (S): True where a key is to be ignored; or numbers added to the scores
        attn_mask         (L, S) or (N * num_heads, L, S): True where a query may NOT attend, the opposite of
                          scaled_dot_product_attention's; or numbers added to the scores
        is_causal         query i attends to keys 0 ... i, whether attn_mask says so too or not
        need_weights      give the weights: (N, L, S), the mean over the heads; with average_attn_weights=False
                          (N, num_heads, L, S). Without them, None, the kernel never holds them: faster

        A query that may attend to nothing gets weights 0.
        """
        sizes = (("query", query, self.embed_dim), ("key", key, self.kdim), ("value", value, self.vdim))
        q, k, v = (self._batched(*one) for one in sizes)
        if not (q.ndim == k.ndim == v.ndim and q.shape[0] == k.shape[0] == v.shape[0] and k.shape[1] == v.shape[1]):
            raise ValueError(
                f"MultiheadAttention: query {tuple(query.shape)}, key {tuple(key.shape)}, value {tuple(value.shape)} "
                "do not fit: batch sizes must agree, and there must be as many values as keys"
            )
        extra = (self.bias_k is not None) + self.add_zero_attn
        mask = self._mask(q, k, key_padding_mask, attn_mask, is_causal, extra)
        q, k, v = (self._projected(t, part) for part, t in enumerate((q, k, v)))
        if extra:
            k, v = self._extended(k, self.bias_k), self._extended(v, self.bias_v)
        q, k, v = (t.unflatten(-1, (self.num_heads, self.head_dim)).transpose(1, 2) for t in (q, k, v))
        dropout = self.dropout if self.training else 0.0
        weights = None
        if need_weights:
            weights = attention_weights(q, k, mask, is_causal and mask is None, 1 / math.sqrt(self.head_dim))
            weights = ops.dropout(weights, dropout)
            y = weights @ v
            weights = weights.mean(1) if average_attn_weights else weights
        else:
            y = F.scaled_dot_product_attention(q, k, v, mask, dropout, is_causal and mask is None)
        y = self.out_proj(y.transpose(1, 2).flatten(2))  # (N, L, E)
        if query.ndim == 2:
            return y.squeeze(0), None if weights is None else weights.squeeze(0)
        return y if self.batch_first else y.transpose(0, 1), weights

    def _batched(self, name: str, x: Tensor, width: int) -> Tensor:
        """(N, length, width)"""
        if x.ndim not in (2, 3) or x.shape[-1] != width:
            form = "(N, length, E)" if self.batch_first else "(length, N, E)"
            option = {"query": "embed_dim", "key": "kdim", "value": "vdim"}[name]
            raise ValueError(
                f"MultiheadAttention: {name} has shape {tuple(x.shape)}, expected {form} or (length, E) "
                f"with E = {option} = {width}"
            )
        if x.ndim == 2:
            return x.unsqueeze(0)
        return x if self.batch_first else x.transpose(0, 1)

    def _projected(self, x: Tensor, part: int) -> Tensor:
        """(N, length, embed_dim): x through the projection of this part (0: query, 1: key, 2: value)."""
        rows = slice(part * self.embed_dim, (part + 1) * self.embed_dim)
        bias = None if self.in_proj_bias is None else self.in_proj_bias[rows]
        if self.in_proj_weight is not None:
            return F.linear(x, self.in_proj_weight[rows], bias)
        return F.linear(x, (self.q_proj_weight, self.k_proj_weight, self.v_proj_weight)[part], bias)  # type: ignore[arg-type]

    def _extended(self, x: Tensor, learned: Tensor | None) -> Tensor:
        """Keys or values (N, S, E), and what add_bias_kv and add_zero_attn put behind them."""
        N, _, E = x.shape
        parts = [x] if learned is None else [x, learned.expand(N, 1, E)]
        return ops.cat([*parts, x.new_zeros((N, 1, E))] if self.add_zero_attn else parts, 1)

    def _mask(
        self, q: Tensor, k: Tensor, padding: Tensor | None, attn_mask: Tensor | None, is_causal: bool, extra: int
    ) -> Tensor | None:
        """Both masks, and causality beside them, as one for (N, heads, L, S + extra): True: may attend; or numbers."""
        (N, L), S = q.shape[:2], k.shape[1]
        masks = []
        if padding is not None:
            if tuple(padding.shape) not in ((N, S), *([(S,)] if N == 1 else [])):
                raise ValueError(
                    f"MultiheadAttention: key_padding_mask has shape {tuple(padding.shape)}, expected {(N, S)}"
                )
            masks.append(padding.reshape(N, 1, 1, S))
        if attn_mask is not None:
            each = (N * self.num_heads, L, S)
            if tuple(attn_mask.shape) not in ((L, S), each):
                raise ValueError(
                    f"MultiheadAttention: attn_mask has shape {tuple(attn_mask.shape)}, expected {(L, S)} or {each}"
                )
            masks.append(attn_mask if attn_mask.ndim == 2 else attn_mask.reshape(N, self.num_heads, L, S))
        if not masks and not (is_causal and extra):
            return None
        if is_causal:
            masks.append(from_numpy(np.tri(L, S, like=q.array) == 0))
        if extra:  # False and 0: every query may attend to what was put behind the keys
            masks = [ops.cat([mask, mask.new_zeros((*mask.shape[:-1], extra))], -1) for mask in masks]
        if all(mask.dtype == bool for mask in masks):
            barred = masks[0]
            for mask in masks[1:]:
                barred = barred | mask
            return ~barred
        numbers = [ops.where(m, -math.inf, 0.0).to(q.dtype) if m.dtype == bool else m.to(q.dtype) for m in masks]
        return sum(numbers[1:], numbers[0])


__all__ = ["MultiheadAttention"]
