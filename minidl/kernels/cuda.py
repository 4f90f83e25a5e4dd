"""Launch lines of the CUDA kernels: which kernel of csrc/*.cu, on which grid of blocks, with which arguments.

    matmul(device, "tiled", a, b)        C[i,k] = Σ[j] A[i,j] * B[j,k]
    reduce_sum(device, "tree", x, axes, keepdims)
    unary(device, "exp", x)              binary(device, "add", a, b)

A `Device` owns memory and runs kernels; the lines are the same for each. The emulator (emulator.py) runs the kernels on NumPy
arrays, on the CPU. A device of CuPy arrays takes the same protocol: `xp` is CuPy, `launch` looks the kernel up by its
name expression in what NVRTC compiled and packs the arguments in the same order.

Tile sizes stand here and in the kernels' template arguments or constants; both sides check: a launch whose kernel was not
instantiated, or whose arguments have other sizes than the kernel's, is refused with a sentence.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

__all__ = ["BINARY", "MATMUL", "SUM", "UNARY", "Device", "Matrix", "binary", "check_launch", "matmul", "reduce_sum", "unary"]

Array = Any  # NumPy's or CuPy's
Axes = tuple[int, ...]
MOST_BLOCKS = (2**31 - 1, 65535, 65535)  # CUDA C++ Programming Guide, table of technical specifications
MOST_THREADS = (1024, 1024, 64)
TYPES = {"float32": "float", "float64": "double"}


class Device(Protocol):
    """Where kernels run."""

    @property
    def xp(self) -> Any:
        """The module of its arrays: numpy or cupy."""

    def launch(
        self,
        kernel: str,
        grid: Sequence[int],
        block: Sequence[int],
        arguments: Mapping[str, Any],
        writes: Sequence[str],
        fresh: bool = True,
        shared: int = 0,
    ) -> None:
        """Run `kernel` with `arguments` in the order of its parameters: ints, arrays (their address) and structs
        (`pack(address)`). It writes to those named in `writes`, which hold nothing yet if `fresh`; `shared` is the
        size of the dynamic shared memory in bytes."""


@dataclass(frozen=True)
class Matrix:
    """matmul::Matrix<T>: an array of shape (batch, rows, columns) of any strides."""

    array: Array

    def pack(self, address: int) -> bytes:
        batch, row, column = (stride // self.array.itemsize for stride in self.array.strides)
        return np.array([address, row, column, batch], np.int64).tobytes()


def check_launch(kernel: str, grid: Sequence[int], block: Sequence[int]) -> None:
    """ValueError where no device would take this grid of blocks."""
    fine = len(grid) <= 3 and all(1 <= n <= most for n, most in zip(grid, MOST_BLOCKS))
    if not fine:
        raise ValueError(f"{kernel}: a grid of {tuple(grid)} blocks; CUDA allows 1 to {MOST_BLOCKS}")
    fine = len(block) <= 3 and all(1 <= n <= most for n, most in zip(block, MOST_THREADS))
    if not fine or math.prod(block) > 1024:
        raise ValueError(f"{kernel}: blocks of {tuple(block)} threads; CUDA allows 1 to {MOST_THREADS}, 1024 in all")


def pieces(size: int, piece: int) -> int:
    return -(-size // piece)


def number_type(name: str, *arrays: Array) -> str:
    """`float` or `double`, or a ValueError."""
    kinds = {x.dtype.name for x in arrays}
    if len(kinds) > 1 or not kinds <= set(TYPES):
        raise ValueError(
            f"{name}: got arrays of {', '.join(x.dtype.name for x in arrays)}; expected all float32 or all float64"
        )
    return TYPES[kinds.pop()]


# --------------------------------------------------------------------------------------------------- matmul


@dataclass(frozen=True)
class Line:
    """A rung's kernel and how it is launched."""

    kernel: str  # with {T} for the type of numbers
    block: tuple[int, ...]  # threads
    tile: tuple[int, int]  # of the result that a block computes: rows, columns
    why: str  # the idea, then what it changes


MATMUL = {
    "naive": Line(
        "matmul::naive<{T}>",
        (32, 8),
        (32, 8),
        """A thread for each number of C. Neighbouring threads read down a column of A, each number from a 32-byte
        sector of its own.""",
    ),
    "coalesced": Line(
        "matmul::coalesced<{T}>",
        (32, 8),
        (8, 32),
        """i and j change places between the threads. What the 32 threads of a warp read of B lies side by side, in
        4 sectors instead of 32; A[i,k] is one number for all of them.""",
    ),
    "tiled": Line(
        "matmul::tiled<{T}, 32>",
        (32, 32),
        (32, 32),
        """A block copies tiles of A and B into shared memory. Each number comes from global memory once for 32
        threads that use it.""",
    ),
    "register_tiles": Line(
        "matmul::register_tiles<{T}>",
        (256,),
        (128, 128),
        """A thread keeps 8 x 8 sums in registers. 16 numbers from shared memory serve 64 multiplications instead of
        one, and the larger tile of C reads A and B fewer times.""",
    ),
    "vectorized": Line(
        "matmul::vectorized<{T}>",
        (256,),
        (128, 128),
        """16 bytes a load, from global and from shared memory. The same bytes take a quarter of the instructions
        (for float64 half).""",
    ),
    "double_buffered": Line(
        "matmul::double_buffered<{T}>",
        (256,),
        (128, 128),
        """The next tile is fetched while this one is used. One barrier a tile instead of two, and the wait for
        global memory passes during the arithmetic; no other count changes.""",
    ),
    "warp_tiled": Line(
        "matmul::warp_tiled<{T}>",
        (256,),
        (128, 128),
        """A warp's sums form a rectangle of 64 x 32. It needs fewer different numbers of A and B, so that shared
        memory is passed over fewer times.""",
    ),
}


def matmul(device: Device, rung: str, a: Array, b: Array) -> Array:
    """C[i,k] = Σ[j] A[i,j] * B[j,k] for a (..., M, K) and b (..., K, N), any strides; batches broadcast."""
    if a.ndim < 2 or b.ndim < 2 or a.shape[-1] != b.shape[-2]:
        raise ValueError(f"matmul.{rung}: got {a.shape} @ {b.shape}; expected (..., M, K) @ (..., K, N)")
    T = number_type(f"matmul.{rung}", a, b)
    xp, line = device.xp, MATMUL[rung]
    try:
        batch = np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    except ValueError:
        raise ValueError(f"matmul.{rung}: the batches of {a.shape} and {b.shape} do not broadcast") from None
    (M, K), N = a.shape[-2:], b.shape[-1]
    c = xp.empty((math.prod(batch), M, N), a.dtype)
    if c.size:
        A, B = (xp.broadcast_to(x, batch + x.shape[-2:]).reshape(len(c), *x.shape[-2:]) for x in (a, b))
        for first in range(0, len(c), MOST_BLOCKS[2]):
            some = slice(first, first + MOST_BLOCKS[2])
            operands = {"A": Matrix(A[some]), "B": Matrix(B[some]), "C": Matrix(c[some])}
            grid = (pieces(N, line.tile[1]), pieces(M, line.tile[0]), len(c[some]))
            device.launch(
                line.kernel.format(T=T), grid, line.block, {"M": M, "N": N, "K": K, **operands}, writes=["C"]
            )
    return c.reshape(*batch, M, N)


# ------------------------------------------------------------------------------------------------------ sum


@dataclass(frozen=True)
class RowLine:
    """A rung of the sum: a block of 256 threads for each `numbers` of a row."""

    kernel: str
    numbers: int
    why: str


SUM = {
    "atomic": RowLine(
        "reduce::atomic<{T}>",
        256,
        """A thread for each number, which adds it to the result in memory. All wait for one address, and the order
        of the additions is left to chance.""",
    ),
    "tree": RowLine(
        "reduce::tree<{T}>",
        256,
        """A block adds in pairs in shared memory. One atomic addition for 256 numbers; eight steps with a barrier
        each.""",
    ),
    "shuffle": RowLine(
        "reduce::shuffle<{T}>",
        256,
        """A warp adds from register to register. One barrier a block instead of eight, and hardly any shared
        memory.""",
    ),
    "vectorized": RowLine(
        "reduce::vectorized<{T}>",
        4096,
        """A thread first adds up 16 numbers by itself, 16 bytes a load. A quarter of the loads (for float64 half),
        and a sixteenth of the blocks, shuffles and atomic additions.""",
    ),
    "two_pass": RowLine(
        "reduce::two_pass<{T}>",
        4096,
        """Blocks write their sums, a second launch adds them. No atomic addition: every addition has its place, and
        the result is the same, bit for bit, every time.""",
    ),
}


def reduce_sum(device: Device, rung: str, x: Array, axes: Axes, keepdims: bool = False) -> Array:
    """Y[i] = Σ[j] X[i,j], i over the dimensions that stay and j over those in `axes` (counted from 0)."""
    if len(set(axes)) != len(axes) or not all(0 <= d < x.ndim for d in axes):
        raise ValueError(f"sum.{rung}: axes {axes} of an array {x.shape}; expected different ones, counted from 0")
    T = number_type(f"sum.{rung}", x)
    xp, line = device.xp, SUM[rung]
    kept = [d for d in range(x.ndim) if d not in axes]
    shape = [1 if d in axes else x.shape[d] for d in range(x.ndim) if keepdims or d not in axes]
    M, N = math.prod(x.shape[d] for d in kept), math.prod(x.shape[d] for d in axes)
    if not M or not N:
        return xp.zeros(shape, x.dtype)
    X = xp.ascontiguousarray(x.transpose(*kept, *axes).reshape(M, N))
    kernel, blocks = line.kernel.format(T=T), min(pieces(N, line.numbers), MOST_BLOCKS[1])
    if rung == "two_pass":
        while True:
            Y = xp.empty((M, blocks), x.dtype)
            device.launch(kernel, (M, blocks), (256,), {"N": N, "X": X, "Y": Y}, writes=["Y"])
            if blocks == 1:
                return Y.reshape(shape)
            X, N, blocks = Y, blocks, 1
    Y = xp.zeros(M, x.dtype)
    device.launch(kernel, (M, blocks), (256,), {"N": N, "X": X, "Y": Y}, writes=["Y"], fresh=False)
    return Y.reshape(shape)


# ---------------------------------------------------------------------------------------------- elementwise

UNARY = tuple(
    "neg abs sign exp expm1 log log1p log2 sqrt rsqrt square reciprocal sin cos tanh sigmoid erf floor ceil round relu".split()
)
BINARY = tuple("add sub mul div pow maximum minimum eq ne lt le gt ge".split())
COMPARISONS = frozenset(BINARY[-6:])


@dataclass(frozen=True)
class Walk:
    """elementwise::Walk<n>: operands walked together over the shape of the result."""

    shape: tuple[int, ...]
    strides: tuple[tuple[int, ...], ...]  # of each operand, in elements

    def pack(self) -> bytes:
        rows = [self.shape, *self.strides]
        padded = [(*row, *(0,) * (8 - len(row))) for row in rows]
        return np.array([math.prod(self.shape), len(self.shape), *sum(padded, ())], np.int64).tobytes()


def walk(name: str, *operands: Array) -> Walk:
    """Drops dimensions of size 1 and merges neighbours where every operand allows it."""
    shape, strides = [], []
    for d, size in enumerate(operands[0].shape):
        if size == 1:
            continue
        steps = [x.strides[d] // x.itemsize for x in operands]
        if shape and all(before == size * step for before, step in zip(strides[-1], steps)):
            shape[-1] *= size
            strides[-1] = steps
        else:
            shape.append(size)
            strides.append(steps)
    if len(shape) > 8:
        raise ValueError(f"{name}: {len(shape)} dimensions that cannot be merged; expected at most 8")
    if not shape:
        shape, strides = [1], [[0] * len(operands)]
    return Walk(tuple(shape), tuple(zip(*strides)))


def _map(device: Device, kind: str, name: str, operands: dict[str, Array], result: Any) -> Array:
    T = number_type(name, *operands.values())
    try:
        shape = np.broadcast_shapes(*(x.shape for x in operands.values()))
    except ValueError:
        given = " and ".join(str(x.shape) for x in operands.values())
        raise ValueError(f"{name}: shapes {given} do not broadcast") from None
    Y = device.xp.empty(shape, result)
    if Y.size:
        wide = [device.xp.broadcast_to(x, shape) for x in operands.values()]
        kernel = f"elementwise::{kind}<elementwise::{name.capitalize()}, {T}>"
        arguments = {"walk": walk(name, *wide), **operands, "Y": Y}
        blocks = min(pieces(Y.size, 256), 65535)
        device.launch(kernel, (blocks,), (256,), arguments, writes=["Y"])
    return Y


def unary(device: Device, name: str, x: Array) -> Array:
    """Y[n] = f(X[n]) for f in `UNARY`."""
    if name not in UNARY:
        raise ValueError(f"unary: {name!r} is unknown; expected one of {', '.join(UNARY)}")
    return _map(device, "unary", name, {"X": x}, x.dtype)


def binary(device: Device, name: str, a: Array, b: Array) -> Array:
    """Y[n] = f(A[n], B[n]) for f in `BINARY`; shapes broadcast; comparisons give bool."""
    if name not in BINARY:
        raise ValueError(f"binary: {name!r} is unknown; expected one of {', '.join(BINARY)}")
    return _map(device, "binary", name, {"A": a, "B": b}, np.bool_ if name in COMPARISONS else a.dtype)
