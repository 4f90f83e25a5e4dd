"""Convolution (as the field says; mathematically cross-correlation) and its two gradients.

The three form a closed family: each one's derivatives are the other two, so second derivatives need no more code.
Index letters: n images, c input channels, o output channels, p q output places, r s filter places.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..kernels import kernel
from ..tape import record
from ._common import pair, tensor_of
from .index import getitem, pad
from .shape import reshape, stack

if TYPE_CHECKING:
    from .._tensor import Tensor

Pair = tuple[int, int]


def conv2d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: int | Pair = 1,
    padding: int | Pair | str = 0,
    dilation: int | Pair = 1,
    groups: int = 1,
) -> Tensor:
    """Y[n,o,p,q] = BIAS[o] + Σ[c,r,s] WEIGHT[o,c,r,s] * X[n, o // (O // groups) * Cg + c,
        p * stride[0] + r * dilation[0] - padding[0], q * stride[1] + s * dilation[1] - padding[1]]

    ∂L/∂X[n,c,h,w] = Σ[o,p,q,r,s] G[n,o,p,q] * WEIGHT[o, c - o // (O // groups) * Cg, r, s]
        * [h == p * stride[0] + r * dilation[0] - padding[0]] * [w == q * stride[1] + s * dilation[1] - padding[1]]
    ∂L/∂WEIGHT[o,c,r,s] = Σ[n,p,q] G[n,o,p,q] * X[n, o // (O // groups) * Cg + c,
        p * stride[0] + r * dilation[0] - padding[0], q * stride[1] + s * dilation[1] - padding[1]]
    ∂L/∂BIAS[o] = Σ[n,p,q] G[n,o,p,q]
    O = size(WEIGHT, 0)
    Cg = size(WEIGHT, 1)

    x: (N, C, H, W) or (C, H, W); weight: (O, C / groups, R, S); bias: (O); Y: (N, O, P, Q) where
    (P - 1) stride ≤ H + 2 padding - dilation (R - 1) - 1. Outside the image x counts as 0.
    padding: a number, one for each direction, "valid" (none) or "same" (P = H, stride 1 only). With groups, the
    channels fall into that many separate convolutions. The gradients are conv2d_input and conv2d_weight
    (LeCun et al. 1998; Dumoulin and Visin 2016 for the arithmetic of sizes). The native backend computes 3 x 3 filters with
    stride 1 by Winograd's products where they are faster (Lavin and Gray 2016): rounding errors are then some 2.5 times as large,
    and relative to the largest numbers around a pixel; filters of integers stay exact.
    """
    x, weight = tensor_of(input, "conv2d"), tensor_of(weight, "conv2d")
    if x.array.ndim == 3:
        return conv2d(x.unsqueeze(0), weight, bias, stride, padding, dilation, groups).squeeze(0)
    X, W = x.array.shape, weight.array.shape
    if len(X) != 4 or len(W) != 4:
        raise ValueError(f"conv2d: expected x (N, C, H, W) and weight (O, C/groups, R, S), got {X} and {W}")
    _check(x, weight, bias, groups)
    strides, dilations = pair(stride, "conv2d", "stride", 1), pair(dilation, "conv2d", "dilation", 1)
    if isinstance(padding, str):
        x, padding = _named_padding(x, W, strides, padding, dilations)
        X = x.array.shape
    paddings = pair(padding, "conv2d", "padding")
    for i, name in ((2, "height"), (3, "width")):
        reach = dilations[i - 2] * (W[i] - 1) + 1
        if X[i] + 2 * paddings[i - 2] < reach or W[i] == 0:
            raise ValueError(
                f"conv2d: a filter that reaches over {reach} does not fit into {name} {X[i]} with padding "
                f"{paddings[i - 2]}; use a smaller filter or more padding"
            )
    Y = kernel(x).conv2d(
        x.array, weight.array, None if bias is None else bias.array, strides, paddings, dilations, groups
    )
    options = strides, paddings, dilations, groups
    return record(
        Y,
        x, lambda G: conv2d_input(G, weight, X[2:], *options),
        weight, lambda G: conv2d_weight(x, G, W[2:], *options),
        *(() if bias is None else (bias, lambda G: G.sum((0, 2, 3)))),
    )  # fmt: skip


def conv2d_input(
    a: Tensor, weight: Tensor, size: Pair, stride: Pair, padding: Pair, dilation: Pair, groups: int
) -> Tensor:
    """Y[n,c,h,w] = Σ[o,p,q,r,s] A[n,o,p,q] * WEIGHT[o, c - o // (O // groups) * Cg, r, s]
        * [h == p * stride[0] + r * dilation[0] - padding[0]] * [w == q * stride[1] + s * dilation[1] - padding[1]]

    ∂L/∂A[n,o,p,q] = Σ[c,r,s] WEIGHT[o,c,r,s] * G[n, o // (O // groups) * Cg + c,
        p * stride[0] + r * dilation[0] - padding[0], q * stride[1] + s * dilation[1] - padding[1]]
    ∂L/∂WEIGHT[o,c,r,s] = Σ[n,p,q] A[n,o,p,q] * G[n, o // (O // groups) * Cg + c,
        p * stride[0] + r * dilation[0] - padding[0], q * stride[1] + s * dilation[1] - padding[1]]
    O = size(WEIGHT, 0)
    Cg = size(WEIGHT, 1)

    The derivative of conv2d by x, where A = ∂L/∂(its result): the transposed convolution.
    a: (N, O, P, Q), weight: (O, C / groups, R, S), size = (H, W) of the input; Y: (N, C, H, W).
    """
    options = stride, padding, dilation, groups
    return record(
        kernel(a).conv2d_input(a.array, weight.array, size, *options),
        a, lambda G: conv2d(G, weight, None, *options),
        weight, lambda G: conv2d_weight(G, a, weight.array.shape[2:], *options),
    )  # fmt: skip


def conv2d_weight(
    x: Tensor, a: Tensor, size: Pair, stride: Pair, padding: Pair, dilation: Pair, groups: int
) -> Tensor:
    """Y[o,c,r,s] = Σ[n,p,q] A[n,o,p,q] * X[n, o // (O // groups) * Cg + c,
        p * stride[0] + r * dilation[0] - padding[0], q * stride[1] + s * dilation[1] - padding[1]]

    ∂L/∂X[n,c,h,w] = Σ[o,p,q,r,s] A[n,o,p,q] * G[o, c - o // (O // groups) * Cg, r, s]
        * [h == p * stride[0] + r * dilation[0] - padding[0]] * [w == q * stride[1] + s * dilation[1] - padding[1]]
    ∂L/∂A[n,o,p,q] = Σ[c,r,s] G[o,c,r,s] * X[n, o // (O // groups) * Cg + c,
        p * stride[0] + r * dilation[0] - padding[0], q * stride[1] + s * dilation[1] - padding[1]]
    O = size(A, 1)
    Cg = size(X, 1) // groups

    The derivative of conv2d by weight, where A = ∂L/∂(its result).
    x: (N, C, H, W), a: (N, O, P, Q), size = (R, S) of the filter; Y: (O, C / groups, R, S).
    """
    options = stride, padding, dilation, groups
    return record(
        kernel(x).conv2d_weight(x.array, a.array, size, *options),
        x, lambda G: conv2d_input(a, G, x.array.shape[2:], *options),
        a, lambda G: conv2d(x, G, None, *options),
    )  # fmt: skip


def _check(x: Tensor, weight: Tensor, bias: Tensor | None, groups: int) -> None:
    C, (O, Cg) = x.array.shape[1], weight.array.shape[:2]
    if not isinstance(groups, int) or groups < 1 or O % groups:
        raise ValueError(f"conv2d: groups must be a positive divisor of {O}, the number of filters; got {groups}")
    if C != Cg * groups:
        raise ValueError(
            f"conv2d: x has {C} channels, but a weight of shape {weight.array.shape} with groups={groups} "
            f"expects {Cg * groups}"
        )
    if bias is not None and tensor_of(bias, "conv2d").array.shape != (O,):
        raise ValueError(f"conv2d: {O} filters need a bias of shape ({O},), got {bias.array.shape}")
    for name, other in (("weight", weight), ("bias", bias)):
        if other is not None and other.array.dtype != x.array.dtype:
            raise TypeError(
                f"conv2d: x is {x.array.dtype.name}, {name} {other.array.dtype.name}; convert one with .to(dtype)"
            )
    if x.array.dtype.kind == "b":
        raise TypeError("conv2d: needs tensors of numbers, got bool; convert with .float()")


def _named_padding(x: Tensor, W: tuple[int, ...], stride: Pair, padding: str, dilation: Pair) -> tuple[Tensor, Any]:
    """x and the padding that "valid" or "same" means; an odd total pads one more at the end."""
    if padding == "valid":
        return x, (0, 0)
    if padding != "same":
        raise ValueError(f"conv2d: padding must be 'valid', 'same' or numbers, got {padding!r}")
    if stride != (1, 1):
        raise ValueError("conv2d: padding='same' needs stride 1")
    total = [d * (k - 1) for d, k in zip(dilation, W[2:], strict=True)]
    if any(n % 2 for n in total):
        x = pad(x, (0, total[1] % 2, 0, total[0] % 2))
    return x, (total[0] // 2, total[1] // 2)


def _one(value: Any, what: str) -> int:
    values = tuple(value) if isinstance(value, (tuple, list)) else (value,)
    if len(values) != 1 or not isinstance(values[0], int):
        raise ValueError(f"conv1d: {what} must be one integer, got {value!r}")
    return values[0]


def conv1d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: int | tuple[int] = 1,
    padding: int | tuple[int] | str = 0,
    dilation: int | tuple[int] = 1,
    groups: int = 1,
) -> Tensor:
    """Y[n,o,p] = BIAS[o] + Σ[c,r] WEIGHT[o,c,r] * X[n, o // (O // groups) * Cg + c, p * stride + r * dilation - padding]

    O = size(WEIGHT, 0)
    Cg = size(WEIGHT, 1)

    x: (N, C, L) or (C, L); weight: (O, C / groups, R); bias: (O). A conv2d whose images are one row high.
    """
    x, weight = tensor_of(input, "conv1d"), tensor_of(weight, "conv1d")
    if x.array.ndim == 2:
        return conv1d(x.unsqueeze(0), weight, bias, stride, padding, dilation, groups).squeeze(0)
    if x.array.ndim != 3 or weight.array.ndim != 3:
        raise ValueError(
            f"conv1d: expected x (N, C, L) and weight (O, C/groups, R), got {x.array.shape} and {weight.array.shape}"
        )
    (N, C, L), (O, Cg, R) = x.array.shape, weight.array.shape
    pads: Any = padding if isinstance(padding, str) else (0, _one(padding, "padding"))
    row, filters = reshape(x, (N, C, 1, L)), reshape(weight, (O, Cg, 1, R))
    strides, dilations = (1, _one(stride, "stride")), (1, _one(dilation, "dilation"))
    return conv2d(row, filters, bias, strides, pads, dilations, groups).squeeze(2)


def conv_transpose2d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: int | Pair = 1,
    padding: int | Pair = 0,
    output_padding: int | Pair = 0,
    groups: int = 1,
    dilation: int | Pair = 1,
) -> Tensor:
    """Y[n,c,h,w] = BIAS[c] + Σ[o,p,q,r,s] INPUT[n,o,p,q] * WEIGHT[o, c - o // (O // groups) * Cg, r, s]
        * [h == p * stride[0] + r * dilation[0] - padding[0]] * [w == q * stride[1] + s * dilation[1] - padding[1]]

    O = size(WEIGHT, 0)
    Cg = size(WEIGHT, 1)

    input: (N, O, P, Q) or (O, P, Q); weight: (O, C / groups, R, S); bias: (C); Y: (N, C, H, W) with
    (P - 1) stride - 2 padding + dilation (R - 1) + output_padding + 1 rows. Every number of the input lays its multiple of
    the filter into Y, so many places apart as stride says: the gradient of conv2d for its input, as conv2d_input has it, and
    a bias. Of the sizes H that a convolution takes to P, output_padding picks one: rows more below and to the right
    (Zeiler et al. 2010; Dumoulin and Visin 2016, section 4).
    """
    name = "conv_transpose2d"
    input, weight = tensor_of(input, name), tensor_of(weight, name)
    if input.array.ndim == 3:
        y = conv_transpose2d(input.unsqueeze(0), weight, bias, stride, padding, output_padding, groups, dilation)
        return y.squeeze(0)
    X, W = input.array.shape, weight.array.shape
    if len(X) != 4 or len(W) != 4:
        raise ValueError(f"{name}: expected input (N, O, P, Q) and weight (O, C/groups, R, S), got {X} and {W}")
    if not isinstance(groups, int) or groups < 1 or X[1] % groups:
        raise ValueError(f"{name}: groups is {groups!r}, expected a positive number that divides the {X[1]} input channels")
    if X[1] != W[0]:
        raise ValueError(f"{name}: the input {X} has {X[1]} channels, the weight {W} is for {W[0]}")
    if 0 in (*X[1:], *W):
        raise ValueError(f"{name}: only the batch may be empty, got input {X} and weight {W}")
    if bias is not None and bias.array.shape != (W[1] * groups,):
        raise ValueError(f"{name}: bias must have shape ({W[1] * groups},), got {bias.array.shape}")
    for what, t in (("weight", weight), ("bias", bias)):
        if t is not None and t.array.dtype != input.array.dtype:
            raise TypeError(f"{name}: input is {input.array.dtype.name}, {what} {t.array.dtype.name}; convert one")
    strides, paddings, dilations = pair(stride, name, "stride", 1), pair(padding, name, "padding"), pair(dilation, name, "dilation", 1)
    more = pair(output_padding, name, "output_padding")
    if any(m >= max(s, d) for m, s, d in zip(more, strides, dilations, strict=True)):
        raise ValueError(f"{name}: output_padding {more} must be smaller than stride {strides} or dilation {dilations}")
    # Up to stride - 1 more rows are among the sizes that a convolution takes to P; beyond, nothing reaches them.
    inner = [min(m, s - 1) for m, s in zip(more, strides, strict=True)]
    size = tuple(
        (X[i + 2] - 1) * strides[i] - 2 * paddings[i] + dilations[i] * (W[i + 2] - 1) + inner[i] + 1 for i in (0, 1)
    )
    if min(size) < 1:
        raise ValueError(f"{name}: input {X} and weight {W} with padding {paddings} give an image of size {size}, which is empty")
    y = conv2d_input(input, weight, size, strides, paddings, dilations, groups)
    if tuple(inner) != more:
        y = pad(y, (0, more[1] - inner[1], 0, more[0] - inner[0]))
    return y if bias is None else y + reshape(bias, (1, -1, 1, 1))


def unfold(
    input: Tensor, kernel_size: int | Pair, dilation: int | Pair = 1, padding: int | Pair = 0, stride: int | Pair = 1
) -> Tensor:
    """Y[n,k,l] = INPUT[n, k // (R * S), l // Q * stride[0] + k // S % R * dilation[0] - padding[0],
        l % Q * stride[1] + k % S * dilation[1] - padding[1]]

    R = kernel_size[0]
    S = kernel_size[1]
    Q = (size(INPUT, 3) + 2 * padding[1] - dilation[1] * (S - 1) - 1) // stride[1] + 1

    input: (N, C, H, W) or (C, H, W); Y: (N, C * R * S, P * Q), one column for each place of an R x S window, which is
    what makes a matrix product of a convolution (im2col: Chellapilla et al. 2006). Outside the image stands 0. A
    composition: one slice of the padded image for each place of the window.
    """
    name = "unfold"
    input = tensor_of(input, name)
    if input.array.ndim == 3:
        return unfold(input.unsqueeze(0), kernel_size, dilation, padding, stride).squeeze(0)
    if input.array.ndim != 4 or 0 in input.array.shape[1:]:
        raise ValueError(f"{name}: expected input (N, C, H, W) or (C, H, W), only N may be 0, got shape {input.array.shape}")
    (R, S), (a, b) = pair(kernel_size, name, "kernel_size", 1), pair(dilation, name, "dilation", 1)
    (low, left), (down, right) = pair(padding, name, "padding"), pair(stride, name, "stride", 1)
    N, C, H, W = input.array.shape
    P, Q = (H + 2 * low - a * (R - 1) - 1) // down + 1, (W + 2 * left - b * (S - 1) - 1) // right + 1
    if min(P, Q) < 1:
        raise ValueError(
            f"{name}: windows of {R} x {S} with dilation ({a}, {b}) do not fit into an image of {H} x {W} with padding ({low}, {left})"
        )
    image = pad(input, (left, left, low, low)) if low or left else input
    rows = [slice(r * a, r * a + down * (P - 1) + 1, down) for r in range(R)]
    columns = [slice(s * b, s * b + right * (Q - 1) + 1, right) for s in range(S)]
    every = slice(None)
    places = [getitem(image, (every, every, row, column)) for row in rows for column in columns]  # each (N, C, P, Q)
    return reshape(stack(places, 2), (N, C * R * S, P * Q))


def pixel_shuffle(input: Tensor, upscale_factor: int) -> Tensor:
    """Y[...,c,h,w] = INPUT[..., (c * r + h % r) * r + w % r, h // r, w // r]

    r = upscale_factor

    input: (..., C * r², H, W); Y: (..., C, H * r, W * r): channels become pixels, so that a convolution on the small image
    computes the large one (Shi et al. 2016, section 3.2). A composition: reshape, permute, reshape.
    """
    name = "pixel_shuffle"
    input, r = tensor_of(input, name), upscale_factor
    shape = input.array.shape
    if not isinstance(r, int) or r < 1:
        raise ValueError(f"{name}: upscale_factor is {r!r}, expected a positive integer")
    if len(shape) < 3 or shape[-3] % (r * r):
        raise ValueError(
            f"{name}: expected input (..., C * {r * r}, H, W), a multiple of {r}² channels, got shape {shape}"
        )
    *batch, C, H, W = shape
    n = len(batch)
    parts = reshape(input, (*batch, C // (r * r), r, r, H, W))
    mixed = parts.permute(*range(n), n, n + 3, n + 1, n + 4, n + 2)  # (..., C, H, r, W, r)
    return reshape(mixed, (*batch, C // (r * r), H * r, W * r))
