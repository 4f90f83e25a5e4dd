"""GPT: a transformer that reads tokens and gives, at each place, the scores of the one that comes next.

Sources: Vaswani et al. 2017, Attention is all you need, section 3.2 (attention); Radford et al. 2019, Language models
are unsupervised multitask learners, section 2.3 (normalisation before each part, initial values); Karpathy's nanoGPT.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from minidl import Tensor, arange, nn
from minidl.models.cache import KeyValueCache
from minidl.nn import functional as F
from minidl.nn.module import IncompatibleKeys

__all__ = ["GPT"]

STD, AT_WIDTH = 0.02, 768  # of GPT's initial weights, and its width (Radford et al. 2018, section 4.1)


class GPT(nn.Module):
    """Tokens and positions in, through each block, and out: H is tokens[index] + positions[0 ... T-1], then

        H ← H + attention(norm_1(H))        across places
        H ← H + mlp(norm_2(H))              within each place

    for each block, and the logits are norm(H) @ headᵀ.

    index (B, T) of int64 -> logits (B, T, vocab); logits[b,t] sees index[b,0] ... index[b,t] and nothing later.

    Initial values: embeddings N(0, 0.02²), weights N(0, σ²) with σ = 0.02 * sqrt(768 / width), which is GPT-2's 0.02 at
    GPT-2's width, and at any other keeps the sum of `width` products as wide; of the weights that write into H, two in
    a block, σ / sqrt(2 * layers), so that the sum over all blocks starts no wider than one of them; biases 0,
    normalisations 1.

    Args:
        vocab: how many different tokens there are.
        context: the longest T, and the number of learned positions.
        width: entries of H at one place; a multiple of `heads`.
        heads: of the attention, each `width / heads` wide.
        layers: blocks.
        dropout: the share of H, of attention's weights and of what each part adds that is switched off in training.
        tied: the table of tokens is the last layer's weight as well (Press & Wolf 2017).
        bias: biases in linear layers and normalisations, as in GPT-2; they change little.

    Raises:
        ValueError: a size below 1, or a width that is no multiple of heads.
    """

    def __init__(
        self,
        vocab: int,
        context: int,
        width: int = 128,
        heads: int = 4,
        layers: int = 4,
        dropout: float = 0.0,
        tied: bool = True,
        bias: bool = False,
    ) -> None:
        super().__init__()
        sizes = {"vocab": vocab, "context": context, "width": width, "heads": heads, "layers": layers}
        for name, size in sizes.items():
            if size < 1:
                raise ValueError(f"GPT: {name} is {size}; expected at least 1")
        if width % heads:
            raise ValueError(f"GPT: width {width} is no multiple of the {heads} heads; change one of them")
        self.config: dict[str, Any] = {"name": "gpt", **sizes, "dropout": dropout, "tied": tied, "bias": bias}
        self.context = context
        self.tokens = nn.Embedding(vocab, width)
        self.positions = nn.Embedding(context, width)
        self.drop = nn.Dropout(dropout)
        self.blocks = nn.ModuleList([Block(width, heads, dropout, bias) for _ in range(layers)])
        self.norm = nn.LayerNorm(width, bias=bias)
        self.head = nn.Linear(width, vocab, bias=False)
        for name, parameter in self.named_parameters():
            if name.endswith("bias"):
                nn.init.zeros_(parameter)
            elif parameter.ndim == 2:
                nn.init.normal_(parameter, 0.0, initial_std(name, width, layers))
        if tied:
            self.head.weight = self.tokens.weight

    def forward(self, index: Tensor, cache: Sequence[KeyValueCache] | None = None) -> Tensor:
        """Scores (B, T, vocab) of the token after each of index (B, T).

        With a cache, index continues what the cache has seen, and only the new places are computed.

        Raises:
            ValueError: index has another form, or there is no position left for it.
        """
        if index.ndim != 2:
            raise ValueError(f"GPT: index has shape {tuple(index.shape)}; expected (batch, length)")
        start, length = 0 if cache is None else cache[0].length, index.shape[1]
        if start + length > self.context:
            seen = f" after {start} in the cache" if start else ""
            raise ValueError(
                f"GPT: {length} tokens{seen} are more than the context of {self.context}; give the last ones only"
            )
        places = arange(start, start + length, device=index.device)
        h = self.drop(self.tokens(index) + self.positions(places))  # (B, T, width)
        for number, block in enumerate(self.blocks):
            h = block(h, None if cache is None else cache[number])
        return self.head(self.norm(h))

    def cache(self, batch: int = 1) -> list[KeyValueCache]:
        """An empty cache, one entry a layer, for `batch` texts; for use under `no_grad`."""
        width, heads = self.config["width"], self.config["heads"]
        shape = (batch, self.context, heads, width // heads)
        return [KeyValueCache(shape, self.tokens.weight.dtype, self.tokens.weight.array) for _ in self.blocks]

    def load_state_dict(
        self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False
    ) -> IncompatibleKeys:
        """As every module's; of a weight that is tied, one name is enough, since files may keep it once.

        Raises:
            RuntimeError: the state does not fit, or has two different weights where this model has one.
        """
        names = ("tokens.weight", "head.weight")
        found = [state_dict[name] for name in names if name in state_dict]
        if self.head.weight is self.tokens.weight and found:
            first, *others = (np.asarray(w.detach().cpu().array if isinstance(w, Tensor) else w) for w in found)
            if any(not np.array_equal(first, other, equal_nan=True) for other in others):
                raise RuntimeError(
                    "load_state_dict: tokens.weight and head.weight differ, and this GPT has one weight for both; build"
                    " it with tied=False"
                )
            state_dict = {**state_dict, **dict.fromkeys(names, found[0])}
        return super().load_state_dict(state_dict, strict, assign)

    def parameter_groups(self, weight_decay: float) -> list[dict[str, Any]]:
        """For an optimizer: the matrices with weight decay; normalisations and biases, which have a scale, without."""
        every = list(self.parameters())
        return [
            {"params": [p for p in every if p.ndim >= 2], "weight_decay": weight_decay},
            {"params": [p for p in every if p.ndim < 2], "weight_decay": 0.0},
        ]


def initial_std(name: str, width: int, layers: int) -> float:
    """How widely a matrix of the GPT is drawn at first, by its name (see the class)."""
    if name in ("tokens.weight", "positions.weight", "head.weight"):
        return STD
    std = STD * math.sqrt(AT_WIDTH / width)
    return std / math.sqrt(2 * layers) if name.endswith("output.weight") else std


class Block(nn.Module):
    """One layer: attention, then an MLP, each normalised before and added to what came in. (B, T, C) -> (B, T, C)."""

    def __init__(self, width: int, heads: int, dropout: float, bias: bool) -> None:
        super().__init__()
        self.norm_1 = nn.LayerNorm(width, bias=bias)
        self.attention = CausalSelfAttention(width, heads, dropout, bias)
        self.norm_2 = nn.LayerNorm(width, bias=bias)
        self.mlp = FeedForward(width, dropout, bias)

    def forward(self, h: Tensor, cache: KeyValueCache | None = None) -> Tensor:
        h = h + self.attention(self.norm_1(h), cache)
        return h + self.mlp(self.norm_2(h))


class CausalSelfAttention(nn.Module):
    """[head_1 ... head_h] @ outputᵀ, head_i = attention(Q_i, K_i, V_i); Q = H @ queryᵀ, K = H @ keyᵀ, V = H @ valueᵀ.

    The formula of attention: `minidl.nn.functional.scaled_dot_product_attention`, of each place to itself and to those
    before it. Three matrices where GPT-2 has one of three times the height: the same sums, without cutting the result.
    """

    def __init__(self, width: int, heads: int, dropout: float, bias: bool) -> None:
        super().__init__()
        self.heads, self.dropout = heads, dropout
        self.query = nn.Linear(width, width, bias)
        self.key = nn.Linear(width, width, bias)
        self.value = nn.Linear(width, width, bias)
        self.output = nn.Linear(width, width, bias)
        self.drop = nn.Dropout(dropout)

    def forward(self, h: Tensor, cache: KeyValueCache | None = None) -> Tensor:
        B, T, C = h.shape
        q, k, v = self.query(h), self.key(h), self.value(h)
        mask, heads = None, (B, T, self.heads, C // self.heads)
        q = q.view(heads).transpose(1, 2)  # (B, heads, T, C / heads)
        if cache is None:
            k, v = k.view(heads).transpose(1, 2), v.view(heads).transpose(1, 2)
        else:
            k, v, mask = cache.append(k, v)
        dropout = self.dropout if self.training else 0.0
        y = F.scaled_dot_product_attention(q, k, v, mask, dropout, is_causal=cache is None)
        return self.drop(self.output(y.transpose(1, 2).reshape(B, T, C)))


class FeedForward(nn.Module):
    """gelu(H @ inputᵀ) @ outputᵀ, four times as wide in between. (B, T, C) -> (B, T, C)."""

    def __init__(self, width: int, dropout: float, bias: bool) -> None:
        super().__init__()
        self.input = nn.Linear(width, 4 * width, bias)
        self.output = nn.Linear(4 * width, width, bias)
        self.drop = nn.Dropout(dropout)

    def forward(self, h: Tensor) -> Tensor:
        return self.drop(self.output(F.gelu(self.input(h))))
