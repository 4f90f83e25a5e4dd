"""The Transformer's encoder: attention and a small network, each beside a way past it."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

from minidl._tensor import Tensor
from minidl.nn import functional as F
from minidl.nn.attention import MultiheadAttention
from minidl.nn.container import ModuleList
from minidl.nn.dropout import Dropout
from minidl.nn.linear import Linear
from minidl.nn.module import Module
from minidl.nn.norm import LayerNorm


class TransformerEncoderLayer(Module):
    """Attention, then a small network at each place, both added to what they read:

        x ← norm1(x + attention(x))             with norm_first     x ← x + attention(norm1(x))
        x ← norm2(x + feed(x))                                      x ← x + feed(norm2(x))

    where feed(x) is W_2 activation(W_1 x + b_1) + b_2. With norm_first it trains without a warm-up (Xiong et al. 2020).

    dropout       probability, for the attention's weights, the activations, and what is added to x
    activation    "relu", "gelu" or a function of a tensor
    batch_first   (N, L, d_model) rather than (L, N, d_model)
    bias          False leaves out every bias

    Source: Vaswani et al. 2017, section 3.1 (d_model 512, nhead 8, dim_feedforward 2048 there).
    """

    def __init__(
        self,
        d_model: int,
        nhead: int,
        dim_feedforward: int = 2048,
        dropout: float = 0.1,
        activation: str | Callable[[Tensor], Tensor] = F.relu,
        layer_norm_eps: float = 1e-5,
        batch_first: bool = False,
        norm_first: bool = False,
        bias: bool = True,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        kind = {"device": device, "dtype": dtype}
        self.self_attn = MultiheadAttention(d_model, nhead, dropout, bias, batch_first=batch_first, **kind)
        self.linear1 = Linear(d_model, dim_feedforward, bias, **kind)
        self.dropout = Dropout(dropout)
        self.linear2 = Linear(dim_feedforward, d_model, bias, **kind)
        self.norm_first = norm_first
        self.norm1 = LayerNorm(d_model, layer_norm_eps, bias=bias, **kind)
        self.norm2 = LayerNorm(d_model, layer_norm_eps, bias=bias, **kind)
        self.dropout1, self.dropout2 = Dropout(dropout), Dropout(dropout)
        if isinstance(activation, str) and activation not in ("relu", "gelu"):
            raise ValueError(
                f"TransformerEncoderLayer: activation is {activation!r}, expected 'relu', 'gelu' or a function"
            )
        self.activation: Any = (
            {"relu": F.relu, "gelu": F.gelu}.get(activation, activation) if isinstance(activation, str) else activation
        )

    def forward(
        self,
        src: Tensor,
        src_mask: Tensor | None = None,
        src_key_padding_mask: Tensor | None = None,
        is_causal: bool = False,
    ) -> Tensor:
        """src as MultiheadAttention's query; the masks are its attn_mask and key_padding_mask; y has src's shape."""
        x = src
        if self.norm_first:
            x = x + self._attended(self.norm1(x), src_mask, src_key_padding_mask, is_causal)
            return x + self._fed(self.norm2(x))
        x = self.norm1(x + self._attended(x, src_mask, src_key_padding_mask, is_causal))
        return self.norm2(x + self._fed(x))

    def _attended(self, x: Tensor, mask: Tensor | None, padding: Tensor | None, is_causal: bool) -> Tensor:
        y, _ = self.self_attn(x, x, x, padding, need_weights=False, attn_mask=mask, is_causal=is_causal)
        return self.dropout1(y)

    def _fed(self, x: Tensor) -> Tensor:
        return self.dropout2(self.linear2(self.dropout(self.activation(self.linear1(x)))))


class TransformerEncoder(Module):
    """num_layers copies of an encoder layer, one after the other, and a norm at the end, if one is given.

    The copies begin with equal values, as in PyTorch. `enable_nested_tensor` and `mask_check` are accepted and change
    nothing: they choose among PyTorch's ways of computing the same. Source: Vaswani et al. 2017, section 3.1.
    """

    def __init__(
        self,
        encoder_layer: Module,
        num_layers: int,
        norm: Module | None = None,
        enable_nested_tensor: bool = True,
        mask_check: bool = True,
    ) -> None:
        super().__init__()
        if num_layers < 0:
            raise ValueError(f"TransformerEncoder: num_layers is {num_layers}, expected 0 or more")
        self.layers = ModuleList([copy.deepcopy(encoder_layer) for _ in range(num_layers)])
        self.num_layers = num_layers
        self.norm = norm
        self.enable_nested_tensor, self.mask_check = enable_nested_tensor, mask_check

    def forward(
        self,
        src: Tensor,
        mask: Tensor | None = None,
        src_key_padding_mask: Tensor | None = None,
        is_causal: bool | None = None,
    ) -> Tensor:
        """src through every layer. is_causal=None: the mask says it all."""
        x = src
        for layer in self.layers:
            x = layer(x, mask, src_key_padding_mask, bool(is_causal))
        return x if self.norm is None else self.norm(x)


__all__ = ["TransformerEncoder", "TransformerEncoderLayer"]
