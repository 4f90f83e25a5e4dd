"""Launch lines of csrc/reduce.cu: a number for each row, whatever axes the rows run over."""

from __future__ import annotations

import math
from dataclasses import dataclass

from .launch import MOST_BLOCKS, Array, Axes, Device, contiguous, covered, number_type, pieces

__all__ = ["SUM", "VERBS", "sum_by_rung"]


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


def sum_by_rung(device: Device, rung: str, x: Array, axes: Axes, keepdims: bool = False) -> Array:
    """Y[i] = Σ[j] X[i,j]

    i runs over the dimensions that stay, j over those in `axes` (counted from 0).
    """
    if len(set(axes)) != len(axes) or not all(0 <= d < x.ndim for d in axes):
        raise ValueError(f"sum.{rung}: axes {axes} of an array {x.shape}; expected different ones, counted from 0")
    T = number_type(f"sum.{rung}", x)
    line = SUM[rung]
    kept = [d for d in range(x.ndim) if d not in axes]
    shape = [1 if d in axes else x.shape[d] for d in range(x.ndim) if keepdims or d not in axes]
    M, N = math.prod(x.shape[d] for d in kept), math.prod(x.shape[d] for d in axes)
    if not M or not N:
        return device.zeros(shape, x.dtype)
    X = contiguous(x.transpose(*kept, *axes).reshape(M, N))
    kernel, blocks = line.kernel.format(T=T), min(pieces(N, line.numbers), MOST_BLOCKS[1])
    if rung == "two_pass":
        while True:
            Y = device.empty((M, blocks), x.dtype)
            device.launch(kernel, (M, blocks), (256,), {"N": N, "X": X, "Y": Y}, writes=["Y"])
            if blocks == 1:
                return Y.reshape(shape)
            X, N, blocks = Y, blocks, 1
    Y = device.zeros((M,), x.dtype)
    device.launch(kernel, (M, blocks), (256,), {"N": N, "X": X, "Y": Y}, writes=["Y"], fresh=False)
    return Y.reshape(shape)


def sum(device: Device, x: Array, axes: Axes, keepdims: bool) -> Array:
    """The rung that ships: the same bits every time."""
    return sum_by_rung(device, "two_pass", x, axes, keepdims) if covered(x) else NotImplemented


VERBS = {"sum": sum}
