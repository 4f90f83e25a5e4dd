"""Launch lines of csrc/conv.cu: conv2d and its two gradients."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from .launch import Array, Device, covered, number_type, pieces

__all__ = [
    "CONV2D",
    "CONV2D_INPUT",
    "CONV2D_WEIGHT",
    "VERBS",
    "conv2d_by_rung",
    "conv2d_input_by_rung",
    "conv2d_weight_by_rung",
]

Pair = tuple[int, int]
Options = tuple[Pair, Pair, Pair]  # stride, padding, dilation
TILES = ((128, 128), (64, 64), (32, 128), (16, 256))  # rows and columns of a product's tile; the first has larger parts
FULL = 256  # blocks that keep a GPU busy: two for each of some 128 multiprocessors
ONE_TYPE = "all float32 or all float64"
LEAST = 512  # pixels in a part of the weight's sum, so that adding the parts up costs little


@dataclass(frozen=True)
class ConvLine:
    """A rung's kernel; {tile} stands for the tile's sizes."""

    kernel: str
    why: str  # the idea, then what it changes


CONV2D = {
    "direct": ConvLine(
        "conv::direct<{T}>",
        """A thread for each number of Y. A warp's loads of X lie side by side; but each number of X comes from memory
        once for each output channel and tap that it meets.""",
    ),
    "implicit": ConvLine(
        "conv::implicit<{T}, {tile}>",
        """The product of the filter and of im2col's matrix, in matmul's tiles. The loads compute where a number of that
        matrix would come from, so that it is never written; in shared memory each serves a whole tile of channels.""",
    ),
}
CONV2D_INPUT = {
    "direct": ConvLine(
        "conv::direct<{T}>",
        """A thread for each number of ∂X, which gathers from the outputs that it took part in: no atomic addition.""",
    ),
    "implicit": ConvLine(
        "conv::implicit<{T}, {tile}>",
        """The same product with input and output channels in each other's place. With strides there is a product for
        each phase of the image, of those taps alone that meet it.""",
    ),
}
CONV2D_WEIGHT = {
    "direct": ConvLine(
        "conv::direct_weight<{T}>",
        """A block for each weight adds up over the pixels. G comes from memory once for each of the C * R * S weights
        of a filter.""",
    ),
    "implicit": ConvLine(
        "conv::implicit_weight<{T}, {tile}>",
        """The product of G and of im2col's matrix, over all pixels. That long sum is cut into parts for different
        blocks, and a second launch adds those in their order.""",
    ),
}
LINES = [*CONV2D.values(), *CONV2D_INPUT.values(), *CONV2D_WEIGHT.values()]
KERNELS = {line.kernel.format(T=T, tile=f"{M}, {N}") for line in LINES for T in ("float", "double") for M, N in TILES}
KERNELS |= {f"conv::add_parts<{T}>" for T in ("float", "double")}


@dataclass(frozen=True)
class Image:
    """conv::Image<T>: an array (n, c, h, w) of any strides."""

    array: Array

    def pack(self, address: int) -> bytes:
        n, *others = (stride // self.array.itemsize for stride in self.array.strides)
        return np.array([address, n], np.int64).tobytes() + np.array([*others, 0], np.int32).tobytes()


@dataclass(frozen=True)
class Vector:
    """conv::Vector<T>: an array of one dimension and any stride, or none."""

    array: Array | None

    def pack(self, address: int = 0) -> bytes:
        step = 0 if self.array is None else self.array.strides[0] // self.array.itemsize
        return np.array([address, step], np.int64).tobytes()


@dataclass(frozen=True)
class Side:
    """conv::Side: rows or columns."""

    source: int
    taps: int
    result: int
    stride: int
    padding: int
    dilation: int
    gradient: bool = False

    @property
    def phases(self) -> int:
        return min(self.stride, self.result) if self.gradient else 1

    @property
    def longest(self) -> int:
        """Numbers of the result in its first phase."""
        return pieces(self.result, self.stride) if self.gradient else self.result

    @property
    def numbers(self) -> list[int]:
        period = self.stride // math.gcd(self.stride, self.dilation)
        return [self.source, self.taps, self.result, self.stride, self.padding, self.dilation, self.phases, period]


@dataclass(frozen=True)
class Correlation:
    """conv::Correlation, and how it is launched."""

    images: int
    groups: int
    rows: int
    depth: int
    sides: tuple[Side, Side]

    def launch(self, device: Device, rung: str, T: str, x: Array, w: Array, b: Array | None, y: Array) -> None:
        gradient, (rows, columns) = self.sides[0].gradient, self.sides
        line = (CONV2D_INPUT if gradient else CONV2D)[rung]
        parts = self.groups * rows.phases * columns.phases
        pixels = self.images * rows.longest * columns.longest
        M, N = tile_for(self.rows, pixels, parts)
        tiles = pieces(pixels, N)
        grid = (pieces(y.size, 256),) if rung == "direct" else (tiles * parts, pieces(self.rows, M))
        numbers = [self.images, self.groups, self.rows, self.depth, *rows.numbers, *columns.numbers, gradient, tiles]
        step = self.rows * w.strides[0] // w.itemsize
        if gradient:
            w = w.transpose(1, 0, 2, 3)
            step = self.depth * w.strides[1] // w.itemsize
        operands = {"X": Image(x), "W": Image(w), "b": Vector(b), "Y": y}
        kernel = line.kernel.format(T=T, tile=f"{M}, {N}")
        device.launch(kernel, grid, (256,), {"a": Numbers(numbers, (step,)), **operands}, writes=["Y"])


@dataclass(frozen=True)
class Numbers:
    """A struct of ints, then of long longs."""

    ints: list[int]
    wide: tuple[int, ...] = ()

    def pack(self) -> bytes:
        room = len(self.ints) % 2 if self.wide else 0
        return np.array(self.ints + [0] * room, np.int32).tobytes() + np.array(self.wide, np.int64).tobytes()


def tile_for(rows: int, columns: int, products: int) -> Pair:
    """The tile that computes the least in vain. A thread with 4 x 4 sums asks shared memory twice as often as one with
    8 x 8, so small tiles have to save more; the large one needs so many blocks that they fill a GPU.
    """

    def cost(tile: Pair) -> float:
        M, N = tile
        blocks = pieces(rows, M) * pieces(columns, N) * products
        penalty = 1.5 if tile != TILES[0] else 1.0 if blocks >= FULL / 2 else math.inf
        return blocks * M * N * penalty

    return min(TILES, key=cost)


def _sides(source: Any, taps: Any, result: Any, options: Options, gradient: bool = False) -> tuple[Side, Side]:
    stride, padding, dilation = options
    rows, columns = (Side(source[d], taps[d], result[d], stride[d], padding[d], dilation[d], gradient) for d in (0, 1))
    return rows, columns


def _outputs(size: Any, taps: Any, stride: Pair, padding: Pair, dilation: Pair) -> Pair:
    P, Q = ((n + 2 * p - d * (t - 1) - 1) // s + 1 for n, t, s, p, d in zip(size, taps, stride, padding, dilation))
    return P, Q


def _sensible(taps: Any, options: Options, groups: int, *images: Array) -> bool:
    """Whether a kernel can take these; where not, the reference has the words."""
    fine = groups >= 1 and all(t >= 1 and s >= 1 and p >= 0 and d >= 1 for t, s, p, d in zip(taps, *options))
    # Within an image the kernels count with 32 bits, over the whole range of a window that begins inside.
    beyond = max(p + t * d for t, _, p, d in zip(taps, *options))
    small = beyond < 2**29 and all(s * d < 2**29 for _, s, _, d in zip(taps, *options))
    return fine and small and covered(*images) and all(x.ndim == 4 and _reach(x, beyond) < 2**31 for x in images)


def _reach(x: Array, beyond: int) -> int:
    """The numbers from the first to the last one of an image, and of so many rows and columns more."""
    sizes = (x.shape[1], x.shape[2] + beyond, x.shape[3] + beyond)
    return sum(n * abs(stride) // x.itemsize for n, stride in zip(sizes, x.strides[1:]))


# ------------------------------------------------------------------------------------------------------- the three


def conv2d_by_rung(
    device: Device,
    rung: str,
    x: Array,
    w: Array,
    b: Array | None,
    stride: Pair,
    padding: Pair,
    dilation: Pair,
    groups: int,
) -> Array:
    """Y[n,o,p,q] = b[o] + Σ[c,r,s] X[n,c,p*stride+r*dilation-padding,q*stride+s*dilation-padding] * W[o,c,r,s]

    x (N, C, H, W), w (O, C / groups, R, S), b (O) or None, any strides; Y (N, O, P, Q).
    """
    plan = _plan_conv2d(x, w, b, stride, padding, dilation, groups)
    if plan is None:
        shapes = f"x {x.shape}, w {w.shape}, b {None if b is None else b.shape}, groups {groups}"
        expected = "x (N, C, H, W), w (O, C / groups, R, S) within the padded image, b (O) or None"
        raise ValueError(f"conv2d.{rung}: got {shapes}; expected {expected}, {ONE_TYPE}")
    correlation, shape = plan
    Y = device.empty(shape, x.dtype)
    if Y.size:
        correlation.launch(device, rung, number_type("conv2d", x, w), x, w, b, Y)
    return Y


def _plan_conv2d(
    x: Array, w: Array, b: Array | None, stride: Pair, padding: Pair, dilation: Pair, groups: int
) -> tuple[Correlation, tuple[int, ...]] | None:
    options = (stride, padding, dilation)
    if not covered(x, w, b) or not _sensible(w.shape[2:], options, groups, x, w):
        return None
    (N, C, *size), (O, depth, *taps) = x.shape, w.shape
    result = _outputs(size, taps, *options)
    if min(result) < 1 or C != depth * groups or O % groups or (b is not None and b.shape != (O,)):
        return None
    return Correlation(N, groups, O // groups, depth, _sides(size, taps, result, options)), (N, O, *result)


def conv2d_input_by_rung(
    device: Device, rung: str, g: Array, w: Array, size: Pair, stride: Pair, padding: Pair, dilation: Pair, groups: int
) -> Array:
    """∂X[n,c,h,w] = Σ[o,r,s] G[n,o,p,q] * W[o,c,r,s], where h = p*stride+r*dilation-padding and w likewise

    g (N, O, P, Q), w (O, C / groups, R, S), any strides; ∂X (N, C, *size).
    """
    plan = _plan_input(g, w, size, stride, padding, dilation, groups)
    if plan is None:
        shapes, expected = f"g {g.shape}, w {w.shape}, groups {groups}", "g (N, O, P, Q), w (O, C / groups, R, S)"
        raise ValueError(f"conv2d_input.{rung}: got {shapes}; expected {expected}, {ONE_TYPE}")
    correlation, shape = plan
    X = device.empty(shape, g.dtype)
    if X.size:
        correlation.launch(device, rung, number_type("conv2d_input", g, w), g, w, None, X)
    return X


def _plan_input(
    g: Array, w: Array, size: Pair, stride: Pair, padding: Pair, dilation: Pair, groups: int
) -> tuple[Correlation, tuple[int, ...]] | None:
    options = (stride, padding, dilation)
    if not _sensible(w.shape[2:], options, groups, g, w) or min(size) < 0:
        return None
    (N, channels, *source), (O, rows, *taps) = g.shape, w.shape
    if channels != O or O % groups:
        return None
    sides = _sides(source, taps, size, options, gradient=True)
    return Correlation(N, groups, rows, O // groups, sides), (N, rows * groups, *size)


def conv2d_weight_by_rung(
    device: Device, rung: str, x: Array, g: Array, size: Pair, stride: Pair, padding: Pair, dilation: Pair, groups: int
) -> Array:
    """∂W[o,c,r,s] = Σ[n,p,q] G[n,o,p,q] * X[n,c,p*stride+r*dilation-padding,q*stride+s*dilation-padding]

    x (N, C, H, W), g (N, O, P, Q), any strides; ∂W (O, C / groups, *size). The same bits every time.
    """
    options = (stride, padding, dilation)
    if not _weighable(x, g, size, options, groups):
        shapes = f"x {x.shape}, g {g.shape}, size {size}, groups {groups}"
        expected = "x (N, C, H, W), g (N, O, P, Q) of no more windows than x has"
        raise ValueError(f"conv2d_weight.{rung}: got {shapes}; expected {expected}, {ONE_TYPE}")
    T = number_type("conv2d_weight", x, g)
    (N, C, *source), (_, O, *result) = x.shape, g.shape
    rows, depth, pixels = O // groups, C // groups, N * math.prod(result)
    W = device.empty((O, depth, *size), x.dtype)
    if not W.size or not pixels:
        return device.zeros(W.shape, x.dtype)
    taps = depth * math.prod(size)
    tile = tile_for(rows, taps, groups)
    grid = (W.size, 1) if rung == "direct" else (pieces(taps, tile[1]) * groups, pieces(rows, tile[0]))
    parts = max(1, min(FULL // math.prod(grid), pixels // LEAST))
    span = pieces(pieces(pixels, parts), 16) * 16  # whole tiles of pixels
    parts = pieces(pixels, span)
    sides = _sides(source, size, result, options)
    a = Numbers([N, groups, rows, depth, *sides[0].numbers, *sides[1].numbers], (span,))
    partial = W if parts == 1 else device.empty((parts, *W.shape), x.dtype)
    kernel = CONV2D_WEIGHT[rung].kernel.format(T=T, tile=f"{tile[0]}, {tile[1]}")
    grid = (grid[0], parts) if rung == "direct" else (*grid, parts)
    device.launch(kernel, grid, (256,), {"a": a, "X": Image(x), "G": Image(g), "Y": partial}, writes=["Y"])
    if parts > 1:
        arguments = {"count": W.size, "parts": parts, "X": partial, "Y": W}
        device.launch(f"conv::add_parts<{T}>", (pieces(W.size, 256),), (256,), arguments, writes=["Y"])
    return W


def _weighable(x: Array, g: Array, size: Pair, options: Options, groups: int) -> bool:
    if not _sensible(size, options, groups, x, g):
        return False
    most = _outputs(x.shape[2:], size, *options)
    fits = all(0 <= n <= room for n, room in zip(g.shape[2:], most))
    return fits and len(x) == len(g) and x.shape[1] % groups == 0 and g.shape[1] % groups == 0


# ----------------------------------------------------------------------------------------------- the rungs that ship


def conv2d(
    device: Device, x: Array, w: Array, b: Array | None, stride: Pair, padding: Pair, dilation: Pair, groups: int
) -> Array:
    """Tiles, unless a group has so few output channels that most of a tile would be empty (depthwise: one)."""
    if _plan_conv2d(x, w, b, stride, padding, dilation, groups) is None:
        return NotImplemented
    rung = "direct" if len(w) < 8 * groups else "implicit"
    return conv2d_by_rung(device, rung, x, w, b, stride, padding, dilation, groups)


def conv2d_winograd(device: Device, x: Array, w: Array, b: Array | None, padding: Pair, tile: int) -> Array:
    """Plain products: a backend may use Winograd's, this one has none."""
    return conv2d(device, x, w, b, (1, 1), padding, (1, 1), 1)


def conv2d_input(
    device: Device, g: Array, w: Array, size: Pair, stride: Pair, padding: Pair, dilation: Pair, groups: int
) -> Array:
    """Tiles, unless a group has few input channels."""
    if _plan_input(g, w, size, stride, padding, dilation, groups) is None:
        return NotImplemented
    rung = "direct" if w.shape[1] < 8 else "implicit"
    return conv2d_input_by_rung(device, rung, g, w, size, stride, padding, dilation, groups)


def conv2d_weight(
    device: Device, x: Array, g: Array, size: Pair, stride: Pair, padding: Pair, dilation: Pair, groups: int
) -> Array:
    """Tiles, unless a group has few filters, or those few weights."""
    if not _weighable(x, g, size, (stride, padding, dilation), groups):
        return NotImplemented
    few = g.shape[1] < 8 * groups or x.shape[1] // groups * math.prod(size) < 32
    return conv2d_weight_by_rung(device, "direct" if few else "implicit", x, g, size, stride, padding, dilation, groups)


VERBS = {
    "conv2d": conv2d,
    "conv2d_winograd": conv2d_winograd,
    "conv2d_input": conv2d_input,
    "conv2d_weight": conv2d_weight,
}
