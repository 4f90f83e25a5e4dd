"""Launch lines of csrc/pool.cu: the largest number and the mean of each window, and their gradients."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..reference import pooled_size
from .launch import Array, Device, covered, number_type, pieces

__all__ = ["VERBS", "avg_pool2d", "avg_pool2d_input", "max_pool2d", "max_pool2d_input"]

Pair = tuple[int, int]
WARPS = 2048  # that keep a GPU busy: 16 for each of some 128 multiprocessors
KERNELS = [f"pool::{name}<{T}>" for name in ("max", "max_input", "mean", "mean_input") for T in ("float", "double")]
MOST_BANDS = 16  # warps for each plane: each reads all of its windows' places


@dataclass(frozen=True)
class Image:
    """pool::Image<T>: an array (n, c, h, w) of any strides."""

    array: Array

    def pack(self, address: int) -> bytes:
        return np.array(
            [address, *(stride // self.array.itemsize for stride in self.array.strides)], np.int64
        ).tobytes()


@dataclass(frozen=True)
class Pooling:
    """pool::Pooling: images, channels; size, windows, kernel, stride, padding, dilation of rows and of columns."""

    images: int
    channels: int
    sides: tuple[tuple[int, ...], ...]
    with_padding: bool = False
    divisor: int = 0

    @property
    def windows(self) -> Pair:
        return self.sides[0][1], self.sides[1][1]

    def pack(self) -> bytes:
        numbers = [self.images, self.channels, *self.sides[0], *self.sides[1], self.with_padding, self.divisor]
        return np.array(numbers, np.int32).tobytes()


def _plan(
    x: Array, size: Any, kernel: Pair, stride: Pair, padding: Pair, dilation: Pair, ceil_mode: bool, *mean: Any
) -> Pooling | None:
    """None where no kernel takes these; the reference has the words."""
    sides = tuple(zip(size, kernel, stride, padding, dilation))
    fine = covered(x) and x.ndim == 4 and all(min(n, k, s, d) >= 1 and p >= 0 for n, k, s, p, d in sides)
    if not fine or any(n + 2 * p + k * d + s >= 2**30 for n, k, s, p, d in sides):
        return None
    whole = tuple((n, pooled_size(n, k, s, p, d, ceil_mode), k, s, p, d) for n, k, s, p, d in sides)
    plan = Pooling(x.shape[0], x.shape[1], whole, *mean)
    return plan if min(plan.windows) >= 1 and abs(plan.divisor) < 2**31 else None


def max_pool2d(
    device: Device, x: Array, kernel: Pair, stride: Pair, padding: Pair, dilation: Pair, ceil_mode: bool
) -> tuple[Array, Array]:
    """Of each window the largest number X[n,c,p*stride+r*dilation-padding,q*stride+s*dilation-padding], and its place

    x: (N, C, H, W), any strides. The first of the largest; NaN wins. Places: int64, in the flattened image.
    """
    plan = _plan(x, x.shape[2:], kernel, stride, padding, dilation, ceil_mode)
    if plan is None:
        return NotImplemented
    shape = (*x.shape[:2], *plan.windows)
    Y, index = device.empty(shape, x.dtype), device.empty(shape, np.int64)
    if Y.size:
        arguments = {"a": plan, "X": Image(x), "Y": Y, "index": index}
        line = f"pool::max<{number_type('max_pool2d', x)}>"
        device.launch(line, (pieces(Y.size, 256),), (256,), arguments, writes=["Y", "index"])
    return Y, index


def max_pool2d_input(device: Device, g: Array, index: Array, size: Pair) -> Array:
    """∂X[n,c,h,w] = Σ[p,q: index[n,c,p,q] == h * W + w] G[n,c,p,q]

    g: (N, C, P, Q), any strides; index of the same shape, int64; ∂X (N, C, *size).
    """
    fine = covered(g) and g.ndim == 4 and g.shape == index.shape and index.dtype == np.int64
    if not fine or g.shape[2] * g.shape[3] >= 2**30 or not 0 <= math.prod(size) < 2**30 or min(size) < 0:
        return NotImplemented
    (N, C, P, Q), numbers = g.shape, math.prod(size)
    X = device.empty((N, C, *size), g.dtype)
    if X.size:
        bands = max(1, min(WARPS // (N * C), MOST_BANDS, pieces(numbers, 256)))
        band = pieces(numbers, bands)
        operands = {"G": Image(g), "index": index if index.flags.c_contiguous else index.copy(order="C"), "Y": X}
        arguments = {"planes": N * C, "channels": C, "P": P, "Q": Q, "size": numbers, "band": band, **operands}
        grid = (pieces(N * C, 8), pieces(numbers, band))
        line = f"pool::max_input<{number_type('max_pool2d_input', g)}>"
        device.launch(line, grid, (256,), arguments, writes=["Y"])
    return X


def avg_pool2d(
    device: Device,
    x: Array,
    kernel: Pair,
    stride: Pair,
    padding: Pair,
    ceil_mode: bool,
    count_include_pad: bool,
    divisor: int | None = None,
) -> Array:
    """Y[n,c,p,q] = Σ[r,s] X[n,c,p*stride+r-padding,q*stride+s-padding] / count[p,q]

    x: (N, C, H, W), any strides. count: the numbers of a window, with those of the padding if count_include_pad; or
    the divisor.
    """
    plan = _plan(x, x.shape[2:], kernel, stride, padding, (1, 1), ceil_mode, count_include_pad, divisor or 0)
    if plan is None:
        return NotImplemented
    Y = device.empty((*x.shape[:2], *plan.windows), x.dtype)
    if Y.size:
        line = f"pool::mean<{number_type('avg_pool2d', x)}>"
        device.launch(line, (pieces(Y.size, 256),), (256,), {"a": plan, "X": Image(x), "Y": Y}, writes=["Y"])
    return Y


def avg_pool2d_input(
    device: Device,
    g: Array,
    size: Pair,
    kernel: Pair,
    stride: Pair,
    padding: Pair,
    ceil_mode: bool,
    count_include_pad: bool,
    divisor: int | None = None,
) -> Array:
    """∂X[n,c,h,w] = Σ[p,q: p*stride-padding <= h < p*stride-padding+kernel, w likewise] G[n,c,p,q] / count[p,q]

    g: (N, C, P, Q), any strides; ∂X (N, C, *size). count: as in avg_pool2d.
    """
    plan = _plan(g, size, kernel, stride, padding, (1, 1), ceil_mode, count_include_pad, divisor or 0)
    if plan is None or plan.windows != g.shape[2:]:
        return NotImplemented
    X = device.empty((*g.shape[:2], *size), g.dtype)
    if X.size:
        line = f"pool::mean_input<{number_type('avg_pool2d_input', g)}>"
        device.launch(line, (pieces(X.size, 256),), (256,), {"a": plan, "G": Image(g), "Y": X}, writes=["Y"])
    return X


VERBS = {
    "max_pool2d": max_pool2d,
    "max_pool2d_input": max_pool2d_input,
    "avg_pool2d": avg_pool2d,
    "avg_pool2d_input": avg_pool2d_input,
}
