"""Convolution layers: Conv1d and Conv2d. The formulas and derivatives: `minidl.nn.functional.conv1d` and
`conv2d`.
"""

from __future__ import annotations

from typing import Any

from minidl._creation import empty
from minidl._tensor import Tensor
from minidl.nn import functional as F
from minidl.nn.linear import reset_weight_and_bias
from minidl.nn.module import Module, Parameter

Size = Any  # an int, or one int for each spatial dimension


class _Conv(Module):
    """What Conv1d and Conv2d share; `spatial` is the number of spatial dimensions."""

    spatial: int
    weight: Parameter
    bias: Parameter | None

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Size,
        stride: Size = 1,
        padding: Size | str = 0,
        dilation: Size = 1,
        groups: int = 1,
        bias: bool = True,
        padding_mode: str = "zeros",
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        name = type(self).__name__
        if groups <= 0 or in_channels % groups or out_channels % groups:
            raise ValueError(
                f"{name}: groups is {groups}, expected a positive number that divides in_channels "
                f"{in_channels} and out_channels {out_channels}"
            )
        if padding_mode != "zeros":
            raise ValueError(
                f"{name}: padding_mode is {padding_mode!r}, and only 'zeros' exists; pad the input with F.pad"
            )
        self.in_channels, self.out_channels, self.groups = in_channels, out_channels, groups
        self.kernel_size = self._sizes("kernel_size", kernel_size, 1)
        self.stride = self._sizes("stride", stride, 1)
        self.dilation = self._sizes("dilation", dilation, 1)
        if isinstance(padding, str):
            if padding not in ("same", "valid"):
                raise ValueError(f"{name}: padding is {padding!r}, expected 'same', 'valid', an int or a tuple of ints")
            if padding == "same" and any(s != 1 for s in self.stride):
                raise ValueError(
                    f"{name}: padding='same' needs stride 1, got {self.stride}; give the padding as numbers"
                )
            self.padding: Any = padding
        else:
            self.padding = self._sizes("padding", padding, 0)
        self.padding_mode = padding_mode
        shape = (out_channels, in_channels // groups, *self.kernel_size)
        self.weight = Parameter(empty(shape, device=device, dtype=dtype))
        if bias:
            self.bias = Parameter(empty((out_channels,), device=device, dtype=dtype))
        else:
            self.register_parameter("bias", None)
        self.reset_parameters()

    def _sizes(self, name: str, value: Size, least: int) -> Any:
        sizes = (value,) * self.spatial if isinstance(value, int) else tuple(value)
        if len(sizes) == 1:
            sizes *= self.spatial
        if len(sizes) != self.spatial or any(not isinstance(s, int) or s < least for s in sizes):
            raise ValueError(
                f"{type(self).__name__}: {name} is {value!r}, expected an int of {least} or more, or "
                f"{self.spatial} of them"
            )
        return sizes

    def reset_parameters(self) -> None:
        """Draws the initial values again: both U(-k, k), k = 1 / sqrt(in_channels / groups * window)."""
        reset_weight_and_bias(self.weight, self.bias)

    def extra_repr(self) -> str:
        text = f"{self.in_channels}, {self.out_channels}"
        text += f", kernel_size={self.kernel_size}, stride={self.stride}"
        if self.padding != (0,) * self.spatial:
            text += f", padding={self.padding}"
        if self.dilation != (1,) * self.spatial:
            text += f", dilation={self.dilation}"
        if self.groups != 1:
            text += f", groups={self.groups}"
        return text + (", bias=False" if self.bias is None else "")


class Conv1d(_Conv):
    """(N, C, L) or (C, L) -> (N, O, M), with weight (O, C/groups, R) and bias (O).

    M = (L + 2 * padding - dilation * (R - 1) - 1) // stride + 1

    `padding="same"` keeps the length (stride 1 only), `"valid"` pads nothing.
    """

    spatial = 1

    def forward(self, input: Tensor) -> Tensor:
        return F.conv1d(input, self.weight, self.bias, self.stride, self.padding, self.dilation, self.groups)


class Conv2d(_Conv):
    """(N, C, H, W) or (C, H, W) -> (N, O, P, Q), with weight (O, C/groups, R, S) and bias (O).

    P = (H + 2 * padding - dilation * (R - 1) - 1) // stride + 1

    Stride, padding and dilation are ints or pairs (height, width). `padding="same"` keeps the size (stride 1
    only), `"valid"` pads nothing. Source: LeCun et al. 1998, Gradient-Based Learning Applied to Document
    Recognition, II.A.
    """

    spatial = 2

    def forward(self, input: Tensor) -> Tensor:
        return F.conv2d(input, self.weight, self.bias, self.stride, self.padding, self.dilation, self.groups)


__all__ = ["Conv1d", "Conv2d"]
