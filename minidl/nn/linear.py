"""Linear, and the layers that only pass on or reshape: Identity, Flatten, Unflatten, PixelShuffle."""

from __future__ import annotations

import math
from typing import Any

from minidl import ops
from minidl._creation import empty
from minidl._tensor import Tensor
from minidl.nn import functional as F
from minidl.nn import init
from minidl.nn.module import Module, Parameter


class Linear(Module):
    """(..., in_features) -> (..., out_features): every output a weighted sum of the inputs and a bias.

    weight (out_features, in_features), bias (out_features). Initial values: both U(-k, k), k = 1 /
    sqrt(in_features) (PyTorch's; LeCun et al. 1998, Efficient BackProp, 4.6). The formula and its
    derivatives: `minidl.nn.functional.linear`.
    """

    weight: Parameter
    bias: Parameter | None

    def __init__(
        self, in_features: int, out_features: int, bias: bool = True, device: Any = None, dtype: Any = None
    ) -> None:
        super().__init__()
        for name, size in (("in_features", in_features), ("out_features", out_features)):
            if size < 0:
                raise ValueError(f"Linear: {name} is {size}, expected 0 or more")
        self.in_features, self.out_features = in_features, out_features
        self.weight = Parameter(empty((out_features, in_features), device=device, dtype=dtype))
        self.bias = Parameter(empty((out_features,), device=device, dtype=dtype)) if bias else None
        if not bias:
            self.register_parameter("bias", None)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draws the initial values again."""
        reset_weight_and_bias(self.weight, self.bias)

    def forward(self, input: Tensor) -> Tensor:
        return F.linear(input, self.weight, self.bias)

    def extra_repr(self) -> str:
        return f"in_features={self.in_features}, out_features={self.out_features}, bias={self.bias is not None}"


def reset_weight_and_bias(weight: Tensor, bias: Tensor | None) -> None:
    """Both U(-k, k), k = 1 / sqrt(fan_in), as PyTorch writes it: Kaiming's uniform values with a = √5."""
    if weight.numel() > 0:
        init.kaiming_uniform_(weight, a=math.sqrt(5))
    fan_in = init.fans(weight)[0]
    if bias is not None and fan_in > 0:
        init.uniform_(bias, -1 / math.sqrt(fan_in), 1 / math.sqrt(fan_in))
    elif bias is not None:
        init.zeros_(bias)  # nothing is summed: the bias is all of the output


class Identity(Module):
    """Y = INPUT

    Takes any arguments, so that it can stand in for any layer.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__()

    def forward(self, input: Tensor) -> Tensor:
        return input


class Flatten(Module):
    """(N, C, H, W) -> (N, C*H*W): start_dim to end_dim become one dimension, by default all but the batch."""

    def __init__(self, start_dim: int = 1, end_dim: int = -1) -> None:
        super().__init__()
        self.start_dim, self.end_dim = start_dim, end_dim

    def forward(self, input: Tensor) -> Tensor:
        return ops.flatten(input, self.start_dim, self.end_dim)

    def extra_repr(self) -> str:
        return f"start_dim={self.start_dim}, end_dim={self.end_dim}"


class Unflatten(Module):
    """(N, C*H*W) -> (N, C, H, W): dimension `dim` becomes several of sizes `unflattened_size` (one may be
    -1).
    """

    def __init__(self, dim: int, unflattened_size: tuple[int, ...] | list[int]) -> None:
        super().__init__()
        if not isinstance(dim, int) or not isinstance(unflattened_size, (tuple, list)):
            raise TypeError("Unflatten: expected an int and a tuple of ints, such as Unflatten(1, (3, 8, 8))")
        self.dim, self.unflattened_size = dim, tuple(unflattened_size)

    def forward(self, input: Tensor) -> Tensor:
        return ops.unflatten(input, self.dim, self.unflattened_size)

    def extra_repr(self) -> str:
        return f"dim={self.dim}, unflattened_size={self.unflattened_size}"


class PixelShuffle(Module):
    """(..., C * r², H, W) -> (..., C, H * r, W * r) with r = upscale_factor: channels become pixels.

    The formula: `minidl.nn.functional.pixel_shuffle`. Source: Shi et al. 2016, section 3.2.
    """

    def __init__(self, upscale_factor: int) -> None:
        super().__init__()
        self.upscale_factor = upscale_factor

    def forward(self, input: Tensor) -> Tensor:
        return F.pixel_shuffle(input, self.upscale_factor)

    def extra_repr(self) -> str:
        return f"upscale_factor={self.upscale_factor}"


__all__ = ["Flatten", "Identity", "Linear", "PixelShuffle", "Unflatten"]
