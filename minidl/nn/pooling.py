"""Pooling layers. The formulas and derivatives: `minidl.nn.functional.max_pool2d` and its kin."""

from __future__ import annotations

from typing import Any

from minidl._tensor import Tensor
from minidl.nn import functional as F
from minidl.nn.module import Module

Size = Any  # an int, or one int for each spatial dimension


class _MaxPool(Module):
    def __init__(
        self,
        kernel_size: Size,
        stride: Size = None,
        padding: Size = 0,
        dilation: Size = 1,
        return_indices: bool = False,
        ceil_mode: bool = False,
    ) -> None:
        super().__init__()
        self.kernel_size, self.padding, self.dilation = kernel_size, padding, dilation
        self.return_indices, self.ceil_mode = return_indices, ceil_mode
        self.stride = kernel_size if stride is None else stride

    def extra_repr(self) -> str:
        return (
            f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}, "
            f"dilation={self.dilation}, ceil_mode={self.ceil_mode}"
        )


class MaxPool1d(_MaxPool):
    """(N, C, L) -> (N, C, M): the largest value of each window; `stride` is `kernel_size` by default, padding
    counts as -Inf. return_indices: also where each stood in the signal.
    """

    def forward(self, input: Tensor) -> Any:
        options = self.stride, self.padding, self.dilation, self.ceil_mode, self.return_indices
        return F.max_pool1d(input, self.kernel_size, *options)


class MaxPool2d(_MaxPool):
    """(N, C, H, W) -> (N, C, P, Q): the largest value of each window; `stride` is `kernel_size` by default,
    padding counts as -Inf. return_indices: also where each stood in the flattened image.
    """

    def forward(self, input: Tensor) -> Any:
        options = self.stride, self.padding, self.dilation, self.ceil_mode, self.return_indices
        return F.max_pool2d(input, self.kernel_size, *options)


class _AvgPool(Module):
    def __init__(
        self,
        kernel_size: Size,
        stride: Size = None,
        padding: Size = 0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
    ) -> None:
        super().__init__()
        self.kernel_size, self.padding = kernel_size, padding
        self.stride = kernel_size if stride is None else stride
        self.ceil_mode, self.count_include_pad = ceil_mode, count_include_pad

    def extra_repr(self) -> str:
        return f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}"


class AvgPool1d(_AvgPool):
    """(N, C, L) -> (N, C, M): the mean of each window; `count_include_pad=False` leaves the padding out of
    the mean.
    """

    def __init__(
        self,
        kernel_size: Size,
        stride: Size = None,
        padding: Size = 0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
    ) -> None:
        super().__init__(_single(kernel_size), None, _single(padding), ceil_mode, count_include_pad)
        self.stride = self.kernel_size if stride is None else _single(stride)

    def forward(self, input: Tensor) -> Tensor:
        return F.avg_pool1d(input, self.kernel_size, self.stride, self.padding, self.ceil_mode, self.count_include_pad)


class AvgPool2d(_AvgPool):
    """(N, C, H, W) -> (N, C, P, Q): the mean of each window; `count_include_pad=False` leaves the padding out
    of the mean; divisor_override divides the sum instead of the window's count.
    """

    def __init__(
        self,
        kernel_size: Size,
        stride: Size = None,
        padding: Size = 0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
        divisor_override: int | None = None,
    ) -> None:
        super().__init__(kernel_size, stride, padding, ceil_mode, count_include_pad)
        self.divisor_override = divisor_override

    def forward(self, input: Tensor) -> Tensor:
        options = self.stride, self.padding, self.ceil_mode, self.count_include_pad, self.divisor_override
        return F.avg_pool2d(input, self.kernel_size, *options)


class AdaptiveAvgPool2d(Module):
    """(N, C, H, W) or (C, H, W) -> (N, C, P, Q) with (P, Q) = output_size, whatever H and W: each window's mean.

    output_size: two numbers, or one for both; None keeps the input's. AdaptiveAvgPool2d(1) is the mean of each channel
    (Lin, Chen & Yan 2014, section 3.2). The formula: `minidl.nn.functional.adaptive_avg_pool2d`.
    """

    def __init__(self, output_size: int | None | tuple[int | None, int | None]) -> None:
        super().__init__()
        self.output_size = output_size

    def forward(self, input: Tensor) -> Tensor:
        return F.adaptive_avg_pool2d(input, self.output_size)

    def extra_repr(self) -> str:
        return f"output_size={self.output_size}"


def _single(size: Size) -> tuple[int, ...]:
    return (size,) if isinstance(size, int) else tuple(size)


__all__ = ["AdaptiveAvgPool2d", "AvgPool1d", "AvgPool2d", "MaxPool1d", "MaxPool2d"]
