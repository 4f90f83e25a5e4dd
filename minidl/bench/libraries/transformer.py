"""The GPT of `minidl.models` as a user of PyTorch would write it: the same layers under the same names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["gpt", "matrices"]


def matrices(config: Mapping[str, Any]) -> list[tuple[int, int]]:
    """The shapes of the weights with two dimensions, in the model's order, the last layer's being the first one."""
    C = config["width"]
    block = [(C, C)] * 4 + [(4 * C, C), (C, 4 * C)]
    return [(config["vocab"], C), (config["context"], C), *block * config["layers"]]


def gpt(config: Mapping[str, Any]) -> Any:
    """A torch.nn.Module that computes what `models.GPT` of this config does, without its initial values."""
    import torch
    from torch import nn
    from torch.nn import functional as F

    width, heads, dropout, bias = (config.get(name, 0) for name in ("width", "heads", "dropout", "bias"))

    class Attention(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.query, self.key, self.value, self.output = (nn.Linear(width, width, bool(bias)) for _ in range(4))

        def forward(self, h: Any) -> Any:
            B, T, C = h.shape
            parts = (self.query, self.key, self.value)
            q, k, v = (part(h).view(B, T, heads, C // heads).transpose(1, 2) for part in parts)
            p = dropout if self.training else 0.0
            y = F.scaled_dot_product_attention(q, k, v, dropout_p=p, is_causal=True)
            return F.dropout(self.output(y.transpose(1, 2).reshape(B, T, C)), dropout, self.training)

    class FeedForward(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.input, self.output = nn.Linear(width, 4 * width, bool(bias)), nn.Linear(4 * width, width, bool(bias))

        def forward(self, h: Any) -> Any:
            return F.dropout(self.output(F.gelu(self.input(h))), dropout, self.training)

    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm_1, self.norm_2 = (nn.LayerNorm(width, bias=bool(bias)) for _ in range(2))
            self.attention, self.mlp = Attention(), FeedForward()

        def forward(self, h: Any) -> Any:
            h = h + self.attention(self.norm_1(h))
            return h + self.mlp(self.norm_2(h))

    class GPT(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.tokens = nn.Embedding(config["vocab"], width)
            self.positions = nn.Embedding(config["context"], width)
            self.blocks = nn.ModuleList([Block() for _ in range(config["layers"])])
            self.norm = nn.LayerNorm(width, bias=bool(bias))
            self.head = nn.Linear(width, config["vocab"], bias=False)
            if config.get("tied", True):
                self.head.weight = self.tokens.weight

        def forward(self, index: Any) -> Any:
            h = self.tokens(index) + self.positions(torch.arange(index.shape[1]))
            h = F.dropout(h, dropout, self.training)
            for block in self.blocks:
                h = block(h)
            return self.head(self.norm(h))

    return GPT()
