"""Convolution layers: Conv1d, Conv2d, ConvTranspose2d. The formulas and derivatives: `minidl.nn.functional.conv1d`,
`conv2d` and `conv_transpose2d`.
"""

from __future__ import annotations

from typing import Any

from minidl._creation import empty
from minidl._tensor import Tensor
from minidl.nn import functional as F
from minidl.nn.linear import reset_weight_and_bias
from minidl.nn.module import Module, Parameter

Size = Any  # an int, or one int for each spatial dimension
PADDING_MODES = ("zeros", "reflect", "replicate", "circular")


class _Conv(Module):
    """What convolutions share; `spatial` is the number of spatial dimensions."""

    spatial: int
    transposed = False
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
        if padding_mode not in PADDING_MODES:
            raise ValueError(
                f"{name}: padding_mode is {padding_mode!r}, expected one of {', '.join(map(repr, PADDING_MODES))}"
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
        outer, inner = (in_channels, out_channels) if self.transposed else (out_channels, in_channels)
        shape = (outer, inner // groups, *self.kernel_size)
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

    def _padded(self, input: Tensor) -> tuple[Tensor, Any]:
        """The input with a border that is not of zeros, and the padding that is left to the operation."""
        if self.padding_mode == "zeros":
            return input, self.padding
        if self.padding == "same":
            total = [d * (k - 1) for d, k in zip(self.dilation, self.kernel_size, strict=True)]
            sides = [(n // 2, n - n // 2) for n in total]
        else:
            sides = [(n, n) for n in ((0,) * self.spatial if self.padding == "valid" else self.padding)]
        amounts = [n for side in reversed(sides) for n in side]  # F.pad begins with the last dimension
        return F.pad(input, amounts, self.padding_mode), 0

    def extra_repr(self) -> str:
        text = f"{self.in_channels}, {self.out_channels}"
        text += f", kernel_size={self.kernel_size}, stride={self.stride}"
        if self.padding != (0,) * self.spatial:
            text += f", padding={self.padding}"
        if self.dilation != (1,) * self.spatial:
            text += f", dilation={self.dilation}"
        if getattr(self, "output_padding", None) not in (None, (0,) * self.spatial):
            text += f", output_padding={self.output_padding}"
        if self.groups != 1:
            text += f", groups={self.groups}"
        text += ", bias=False" if self.bias is None else ""
        return text + (f", padding_mode={self.padding_mode}" if self.padding_mode != "zeros" else "")


class Conv1d(_Conv):
    """(N, C, L) or (C, L) -> (N, O, M), with weight (O, C/groups, R) and bias (O).

    M = (L + 2 * padding - dilation * (R - 1) - 1) // stride + 1

    `padding="same"` keeps the length (stride 1 only), `"valid"` pads nothing. padding_mode: what stands in the padding,
    "zeros", "reflect", "replicate" or "circular" (F.pad).
    """

    spatial = 1

    def forward(self, input: Tensor) -> Tensor:
        input, padding = self._padded(input)
        return F.conv1d(input, self.weight, self.bias, self.stride, padding, self.dilation, self.groups)


class Conv2d(_Conv):
    """(N, C, H, W) or (C, H, W) -> (N, O, P, Q), with weight (O, C/groups, R, S) and bias (O).

    P = (H + 2 * padding - dilation * (R - 1) - 1) // stride + 1

    Stride, padding and dilation are ints or pairs (height, width). `padding="same"` keeps the size (stride 1
    only), `"valid"` pads nothing. padding_mode: what stands in the padding, "zeros", "reflect", "replicate" or
    "circular" (F.pad). Source: LeCun et al. 1998, Gradient-Based Learning Applied to Document Recognition, II.A.
    """

    spatial = 2

    def forward(self, input: Tensor) -> Tensor:
        input, padding = self._padded(input)
        return F.conv2d(input, self.weight, self.bias, self.stride, padding, self.dilation, self.groups)


class ConvTranspose2d(_Conv):
    """(N, C, P, Q) or (C, P, Q) -> (N, O, H, W), with weight (C, O/groups, R, S) and bias (O).

    H = (P - 1) * stride - 2 * padding + dilation * (R - 1) + output_padding + 1

    The way back of a Conv2d with the same numbers, in sizes, not in values: stride enlarges. `forward(x, output_size)`
    chooses H and W among the sizes that Conv2d takes to P and Q, as output_padding does. Initial values as Conv2d's, in
    PyTorch's way: U(-k, k), k = 1 / sqrt(O / groups * R * S). Source: Zeiler et al. 2010, Deconvolutional Networks.
    """

    spatial = 2
    transposed = True

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Size,
        stride: Size = 1,
        padding: Size = 0,
        output_padding: Size = 0,
        groups: int = 1,
        bias: bool = True,
        dilation: Size = 1,
        padding_mode: str = "zeros",
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        if padding_mode != "zeros" or isinstance(padding, str):
            raise ValueError(
                f"ConvTranspose2d: padding is {padding!r}, padding_mode {padding_mode!r}; expected numbers and 'zeros'"
            )
        super().__init__(
            in_channels, out_channels, kernel_size, stride, padding, dilation, groups, bias, padding_mode, device, dtype
        )
        self.output_padding = self._sizes("output_padding", output_padding, 0)

    def forward(self, input: Tensor, output_size: Size | None = None) -> Tensor:
        more: Any = self.output_padding if output_size is None else self._chosen(input, output_size)
        return F.conv_transpose2d(
            input, self.weight, self.bias, self.stride, self.padding, more, self.groups, self.dilation
        )

    def _chosen(self, input: Tensor, output_size: Size) -> tuple[int, ...]:
        """The output_padding that gives this size."""
        wanted = tuple(output_size)[-2:]
        least = [
            (input.shape[i - 2] - 1) * self.stride[i] - 2 * self.padding[i] + self.dilation[i] * (k - 1) + 1
            for i, k in enumerate(self.kernel_size)
        ]
        more = tuple(w - n for w, n in zip(wanted, least, strict=True))
        if any(not 0 <= m < s for m, s in zip(more, self.stride, strict=True)):
            most = [n + s - 1 for n, s in zip(least, self.stride, strict=True)]
            raise ValueError(
                f"ConvTranspose2d: output_size is {wanted}, expected from {tuple(least)} to {tuple(most)} for an input "
                f"of shape {tuple(input.shape)}"
            )
        return more


__all__ = ["Conv1d", "Conv2d", "ConvTranspose2d"]
