"""Pooling: one number for each window of an image or a signal."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..kernels import kernel
from ..kernels.reference import pooled_size
from ..tape import record, wrap
from ._common import pair, tensor_of
from .index import gather
from .reduce import mean
from .shape import flatten, narrow, reshape, stack, unsqueeze

if TYPE_CHECKING:
    from .._tensor import Tensor

Pair = tuple[int, int]


def _arguments(
    name: str, x: Any, kernel_size: Any, stride: Any, padding: Any, dilation: Any, ceil_mode: bool
) -> tuple[Tensor, Pair, Pair, Pair, Pair]:
    """The checked arguments of a pooling of (N, C, H, W)."""
    x = tensor_of(x, name)
    if x.array.ndim != 4:
        raise ValueError(f"{name}: expected (N, C, H, W) or (C, H, W), got shape {x.array.shape}")
    if x.array.dtype.kind == "b":
        raise TypeError(f"{name}: needs a tensor of numbers, got bool; convert with .float()")
    if 0 in x.array.shape[1:]:
        raise ValueError(f"{name}: only the batch may be empty, got shape {x.array.shape}")
    kernels = pair(kernel_size, name, "kernel_size", 1)
    strides = kernels if stride is None or stride in ([], ()) else pair(stride, name, "stride", 1)
    paddings, dilations = pair(padding, name, "padding"), pair(dilation, name, "dilation", 1)
    for k, s, p, d, size in zip(kernels, strides, paddings, dilations, x.array.shape[2:], strict=True):
        if p > k // 2:
            raise ValueError(f"{name}: padding {p} may be at most half of kernel_size {k}")
        if pooled_size(size, k, s, p, d, ceil_mode) < 1:
            raise ValueError(f"{name}: a window of {d * (k - 1) + 1} does not fit into size {size} with padding {p}")
    return x, kernels, strides, paddings, dilations


def max_pool2d(
    input: Tensor,
    kernel_size: int | Pair,
    stride: int | Pair | None = None,
    padding: int | Pair = 0,
    dilation: int | Pair = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Any:
    """Y[n,c,p,q] = max[r < kernel_size[0], s < kernel_size[1]] X[n, c,
        p * stride[0] + r * dilation[0] - padding[0], q * stride[1] + s * dilation[1] - padding[1]]

    ∂L/∂X[n,c,h,w] = Σ[p, q, r < kernel_size[0], s < kernel_size[1]] G[n,c,p,q] * [X[n,c,h,w] == Y[n,c,p,q]]
        * [h == p * stride[0] + r * dilation[0] - padding[0]] * [w == q * stride[1] + s * dilation[1] - padding[1]]

    x: (N, C, H, W) or (C, H, W). stride: None is kernel_size. Of several largest elements of a window the first
    gets the gradient. return_indices: also its place in the flattened image (int64). ceil_mode: the last window may hang over.
    """
    if tensor_of(input, "max_pool2d").array.ndim == 3:
        y = max_pool2d(unsqueeze(input, 0), kernel_size, stride, padding, dilation, ceil_mode, return_indices)
        return tuple(t.squeeze(0) for t in y) if return_indices else y.squeeze(0)
    x, *options = _arguments("max_pool2d", input, kernel_size, stride, padding, dilation, ceil_mode)
    Y, places = kernel(x).max_pool2d(x.array, *options, ceil_mode)
    index = wrap(places)
    size = x.array.shape[2:]
    y = record(Y, x, lambda G: _pick_back(G, index, size))
    return (y, index) if return_indices else y


def _pick_back(g: Tensor, index: Tensor, size: Pair) -> Tensor:
    """Images of zeros with each g added where index says: the derivative of max pooling."""
    return record(kernel(g).max_pool2d_input(g.array, index.array, size), g, lambda G: _pick(G, index))


def _pick(x: Tensor, index: Tensor) -> Tensor:
    """The elements of each image that index names: the derivative of _pick_back."""
    return reshape(gather(flatten(x, 2), 2, flatten(index, 2)), index.array.shape)


def avg_pool2d(
    input: Tensor,
    kernel_size: int | Pair,
    stride: int | Pair | None = None,
    padding: int | Pair = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Tensor:
    """Y[n,c,p,q] = Σ[r < kernel_size[0], s < kernel_size[1]] X[n, c,
        p * stride[0] + r - padding[0], q * stride[1] + s - padding[1]] / count[p,q]

    ∂L/∂X[n,c,h,w] = Σ[p, q, r < kernel_size[0], s < kernel_size[1]] G[n,c,p,q] / count[p,q]
        * [h == p * stride[0] + r - padding[0]] * [w == q * stride[1] + s - padding[1]]
    count[p,q] = Σ[r < kernel_size[0], s < kernel_size[1]]
        [-e * padding[0] <= p * stride[0] + r - padding[0] < size(X, 2) + e * padding[0]]
        * [-e * padding[1] <= q * stride[1] + s - padding[1] < size(X, 3) + e * padding[1]]
    e = 1 if count_include_pad else 0

    x: (N, C, H, W) or (C, H, W). stride: None is kernel_size. count[p,q]: the elements of the window, those of the
    padding with them unless count_include_pad is False; divisor_override stands instead of it, if given. ceil_mode: the
    last window may hang over.
    """
    if tensor_of(input, "avg_pool2d").array.ndim == 3:
        y = avg_pool2d(unsqueeze(input, 0), kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override)
        return y.squeeze(0)
    x, kernels, strides, paddings, _ = _arguments("avg_pool2d", input, kernel_size, stride, padding, 1, ceil_mode)
    options: tuple[Any, ...] = (kernels, strides, paddings, ceil_mode, count_include_pad)
    if divisor_override is not None:
        if divisor_override == 0:
            raise ValueError("avg_pool2d: divisor_override must not be 0")
        options += (divisor_override,)
    size = x.array.shape[2:]
    return record(kernel(x).avg_pool2d(x.array, *options), x, lambda G: _spread_back(G, size, options))


def _spread_back(g: Tensor, size: Pair, options: tuple[Any, ...]) -> Tensor:
    """Each g shared among its window's elements: the derivative of average pooling."""
    return record(
        kernel(g).avg_pool2d_input(g.array, size, *options), g, lambda G: avg_pool2d(G, *options)
    )


def _signal(name: str, x: Any) -> Tensor:
    """A signal (N, C, L) or (C, L) as images one row high."""
    x = tensor_of(x, name)
    if x.array.ndim not in (2, 3):
        raise ValueError(f"{name}: expected (N, C, L) or (C, L), got shape {x.array.shape}")
    return unsqueeze(x, -2)


def _row(value: Any, other: int) -> Any:
    """A 1-D option for both directions of a one-row image."""
    if value is None:
        return None
    return (other, *value) if isinstance(value, (tuple, list)) else (other, value)


def max_pool1d(
    input: Tensor,
    kernel_size: int,
    stride: int | None = None,
    padding: int = 0,
    dilation: int = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Any:
    """Y[n,c,p] = max[r < kernel_size] X[n, c, p * stride + r * dilation - padding]

    x: (N, C, L) or (C, L). A max_pool2d of images one row high.
    """
    options = _row(kernel_size, 1), _row(stride, 1), _row(padding, 0), _row(dilation, 1)
    y = max_pool2d(_signal("max_pool1d", input), *options, ceil_mode, return_indices)
    return tuple(t.squeeze(-2) for t in y) if return_indices else y.squeeze(-2)


def avg_pool1d(
    input: Tensor,
    kernel_size: int,
    stride: int | None = None,
    padding: int = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
) -> Tensor:
    """Y[n,c,p] = Σ[r < kernel_size] X[n, c, p * stride + r - padding] / count[p]

    count[p] = Σ[r < kernel_size] [-e * padding <= p * stride + r - padding < size(X, 2) + e * padding]
    e = 1 if count_include_pad else 0

    x: (N, C, L) or (C, L). An avg_pool2d of images one row high.
    """
    options = _row(kernel_size, 1), _row(stride, 1), _row(padding, 0)
    return avg_pool2d(_signal("avg_pool1d", input), *options, ceil_mode, count_include_pad).squeeze(-2)


def adaptive_avg_pool2d(input: Tensor, output_size: int | None | tuple[int | None, int | None]) -> Tensor:
    """Y[n,c,p,q] = Σ[h,w] INPUT[n,c,h,w] / (rows[p] * columns[q])
        * [p * H < (h + 1) * P and h * P < (p + 1) * H] * [q * W < (w + 1) * Q and w * Q < (q + 1) * W]

    rows[p] = Σ[h < H] [p * H < (h + 1) * P and h * P < (p + 1) * H]
    columns[q] = Σ[w < W] [q * W < (w + 1) * Q and w * Q < (q + 1) * W]
    P = output_size[0]
    Q = output_size[1]
    H = size(INPUT, 2)
    W = size(INPUT, 3)

    The mean of each of P x Q windows of about equal size that cover the image: window p has the rows that touch the p-th of P
    equal parts of the height, so that neighbours may share a row. input: (N, C, H, W) or (C, H, W); output_size: (P, Q), or
    one number for both; None keeps the image's. A composition: an avg_pool2d where the parts are whole rows and
    columns, else the means of rows, then of columns.
    """
    name = "adaptive_avg_pool2d"
    input = tensor_of(input, name)
    shape = input.array.shape
    if input.array.dtype.kind != "f":
        raise TypeError(f"{name}: input is {input.array.dtype.name}, expected floating point; convert with .float()")
    if len(shape) not in (3, 4) or 0 in shape[1:]:
        raise ValueError(f"{name}: expected (N, C, H, W) or (C, H, W), only N may be 0, got shape {shape}")
    if len(shape) == 3:
        return adaptive_avg_pool2d(unsqueeze(input, 0), output_size).squeeze(0)
    both = tuple(output_size) if isinstance(output_size, (tuple, list)) else (output_size,) * 2
    if len(both) != 2 or any(n is not None and (not isinstance(n, int) or n < 0) for n in both):
        raise ValueError(f"{name}: output_size is {output_size!r}, expected one or two numbers of 0 or more, or None")
    size, wanted = shape[2:], [have if n is None else n for have, n in zip(shape[2:], both, strict=True)]
    if all(n and have % n == 0 for have, n in zip(size, wanted, strict=True)):
        window = tuple(have // n for have, n in zip(size, wanted, strict=True))
        return avg_pool2d(input, window)
    for dim, n in ((2, wanted[0]), (3, wanted[1])):
        have = shape[dim]
        bounds = [(p * have // n, -(-(p + 1) * have // n)) for p in range(n)]
        parts = [mean(narrow(input, dim, start, end - start), dim) for start, end in bounds]
        input = stack(parts, dim) if parts else narrow(input, dim, 0, 0)
    return input
