"""Launch lines of csrc/reduce.cu: a number for each row, whatever axes the rows run over, and running sums.

Float32 and float64 take every verb; int64, uint8 and bool those that `REDUCTIONS` lists for them.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from .launch import MOST_BLOCKS, TYPES, Array, Axes, Device, contiguous, covered, number_type, pieces
from .walk import Walk, lanes_of, walk

__all__ = ["KERNELS", "REDUCTIONS", "SUM", "VERBS", "sum_by_rung"]


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


# ------------------------------------------------------------------------------------------- anything, over any axes

THREADS = 256
ENOUGH = 1024  # blocks that keep every GPU busy
PIECE = 4096  # numbers of a line that a block sums up, where it has not the whole


@dataclass(frozen=True)
class Reduction:
    """A reduction's name in csrc/reduce.cu, the types of its kernels by dtype, its result's (None: the numbers' own),
    and its state: so many numbers, at least 4 bytes each, and so many bytes more."""

    kernel: str
    types: dict[str, str]
    result: Any = None
    parts: int = 1
    more: int = 0

    def state(self, itemsize: int) -> int:
        return self.parts * max(itemsize, 4) + self.more


ALL_TYPES = {**TYPES, "int64": "long long", "uint8": "unsigned char", "bool": "unsigned char"}
WRAPPING = {**TYPES, "int64": "unsigned long long"}
REDUCTIONS = {
    "sum": Reduction("Sum", WRAPPING),
    "mean": Reduction("Mean", TYPES),
    "prod": Reduction("Prod", WRAPPING),
    "var": Reduction("Var", TYPES, parts=3),
    "logsumexp": Reduction("LogSumExp", TYPES, parts=2),
    "amax": Reduction("Largest", ALL_TYPES),
    "amin": Reduction("Smallest", ALL_TYPES),
    "argmax": Reduction("ArgLargest", ALL_TYPES, np.int64, parts=0, more=16),
    "argmin": Reduction("ArgSmallest", ALL_TYPES, np.int64, parts=0, more=16),
    "any": Reduction("Any", ALL_TYPES, np.bool_, parts=0, more=4),
    "all": Reduction("All", ALL_TYPES, np.bool_, parts=0, more=4),
}


def _power(n: int) -> int:
    """The power of two from n on, at most a warp."""
    return 1 << min(max(n - 1, 0).bit_length(), 5)


def _fits(x: Array) -> bool:
    """Whether kernels can walk x."""
    return not isinstance(x, np.generic) and x.dtype.isnative and not any(step % x.itemsize for step in x.strides)


@dataclass(frozen=True)
class Plan:
    """Which kernel, and how many threads and blocks take a result. It depends on shapes and strides alone."""

    kind: str  # rows or columns
    width: int
    blocks: tuple[int, int]  # for results, for the numbers of each

    @classmethod
    def of(cls, kept: Walk, reduced: Walk, lanes: int, kind: str | None = None, whole: bool = False) -> Plan:
        """kind: rows or columns (None: as the numbers lie). whole: one block for all numbers of a result."""
        M, N = math.prod(kept.shape), math.prod(reduced.shape)
        side_by_side = 0 < abs(kept.strides[0][-1]) < abs(reduced.strides[0][-1])
        if kind == "columns" or (kind is None and side_by_side):
            width = _power(M)
            blocks = pieces(M, width)
            share = THREADS // width * lanes * 4  # numbers of each result that are worth a block
            parts = 1 if whole else max(1, min(pieces(N, share), ENOUGH // blocks))
            return cls("columns", width, (blocks, parts))
        if N > 32 * 8 * lanes:
            return cls("rows", THREADS, (M, 1 if whole else max(1, min(pieces(N, 16 * THREADS), ENOUGH // M))))
        width = _power(pieces(N, lanes))
        return cls("rows", width, (pieces(M, THREADS // width), 1))


def _reduce(device: Device, name: str, x: Array, axes: Axes, keepdims: bool, divisor: float = 0.0) -> Array:
    """The reduction of the numbers X[i,j] of each i, divided by `divisor` where it divides."""
    reduction = REDUCTIONS[name]
    T = reduction.types.get(x.dtype.name)
    if T is None or not _fits(x):
        return NotImplemented
    lanes = lanes_of(x.dtype)
    steps = [stride // x.itemsize for stride in x.strides]
    # What is reduced may come in any order: the smallest step last.
    inner = sorted(axes, key=lambda d: -abs(steps[d]))
    outer = [d for d in range(x.ndim) if d not in axes]
    kept, reduced = (walk([x.shape[d] for d in of], [[steps[d] for d in of]], lanes) for of in (outer, inner))
    if kept is None or reduced is None:
        return NotImplemented
    shape = [1 if d in axes else x.shape[d] for d in range(x.ndim) if keepdims or d not in axes]
    Y = device.empty(shape, x.dtype if reduction.result is None else reduction.result)
    if not Y.size:
        return Y
    plan = Plan.of(kept, reduced, lanes)
    if plan.blocks[0] > MOST_BLOCKS[0]:
        return NotImplemented
    packs = reduced.packs and reduced.strides[0][-1] == 1 and all(step % lanes == 0 for step in kept.strides[0])
    kernel, M = f"reduce::{plan.kind}<reduce::{reduction.kernel}, {T}>", math.prod(kept.shape)
    arguments = {
        "kept": kept, "reduced": replace(reduced, packs=packs), "width": plan.width, "joins": 0,
        "divisor": np.float64(divisor), "X": x,
    }  # fmt: skip
    parts = plan.blocks[1]
    if parts > 1:  # blocks leave their states, which a second launch puts together
        states = device.empty((M * parts, reduction.state(x.itemsize)), np.uint8)
        device.launch(kernel, plan.blocks, (THREADS,), {**arguments, "Y": states}, writes=["Y"])
        of_result, of_part = (parts, 1) if plan.kind == "rows" else (1, M)
        kept, reduced = Walk((M,), ((of_result,),), packs=False), Walk((parts,), ((of_part,),), packs=False)
        plan = Plan.of(kept, reduced, 4, plan.kind, whole=True)
        arguments |= {"kept": kept, "reduced": reduced, "width": plan.width, "joins": 1, "X": states}
    device.launch(kernel, plan.blocks, (THREADS,), {**arguments, "Y": Y}, writes=["Y"])
    return Y


def sum(device: Device, x: Array, axes: Axes, keepdims: bool) -> Array:
    """Long rows take the rung that ships; the same bits every time."""
    if x.dtype == np.bool_:
        return _reduce(device, "any", x, axes, keepdims)  # NumPy's sum of bools that stays bool
    rows = axes and sorted(axes) == list(range(x.ndim - len(axes), x.ndim))
    if rows and covered(x) and _fits(x) and x.flags.c_contiguous and math.prod(x.shape[d] for d in axes) >= 1024:
        return sum_by_rung(device, "two_pass", x, axes, keepdims)
    return _reduce(device, "sum", x, axes, keepdims)


def _verb(name: str) -> Callable[..., Array]:
    def run(device: Device, x: Array, axes: Axes, keepdims: bool) -> Array:
        return _reduce(device, name, x, axes, keepdims)

    return run


def _choice(name: str) -> Callable[..., Array]:
    def run(device: Device, x: Array, axes: Axes | int, keepdims: bool) -> Array:
        if not x.size:
            return NotImplemented  # of nothing there is no largest: the array library has the words for it
        return _reduce(device, name, x, (axes,) if isinstance(axes, int) else axes, keepdims)

    return run


def mean(device: Device, x: Array, axes: Axes, keepdims: bool) -> Array:
    """Σ / N; of nothing NaN."""
    return _reduce(device, "mean", x, axes, keepdims, math.prod(x.shape[d] for d in axes))


def var(device: Device, x: Array, axes: Axes, correction: float, keepdims: bool) -> Array:
    """Σ (x - mean)² / (N - correction)"""
    return _reduce(device, "var", x, axes, keepdims, max(math.prod(x.shape[d] for d in axes) - correction, 0))


# ------------------------------------------------------------------------------------------------------ running sums


def cumsum(device: Device, x: Array, axis: int) -> Array:
    """The sums X[i,0] + ... + X[i,j] along `axis`."""
    T = WRAPPING.get(x.dtype.name)
    if T is None or not _fits(x) or not x.ndim:
        return NotImplemented
    Y = device.empty(x.shape, x.dtype)
    if not Y.size:
        return Y
    outer, N = [d for d in range(x.ndim) if d != axis], x.shape[axis]
    steps = [[stride // x.itemsize for stride in of.strides] for of in (x, Y)]
    lines = walk([x.shape[d] for d in outer], [[of[d] for d in outer] for of in steps], 1)
    if lines is None:
        return NotImplemented
    M, step_x, step_y = math.prod(lines.shape), steps[0][axis], steps[1][axis]
    if N <= 32 or (M >= 8 * THREADS and all(abs(of[-1]) == 1 for of in lines.strides)):
        arguments = {"lines": lines, "N": N, "step_x": step_x, "step_y": step_y, "X": x, "Y": Y}
        device.launch(f"reduce::scan_alone<{T}>", (pieces(M, THREADS),), (THREADS,), arguments, writes=["Y"])
    else:
        _scan(device, T, lines, N, step_x, step_y, x, Y)
    return Y


def _scan(device: Device, T: str, lines: Walk, N: int, step_x: int, step_y: int, X: Array, Y: Array) -> None:
    M = math.prod(lines.shape)
    parts = 1 if N <= 2 * PIECE or M >= ENOUGH else min(pieces(N, PIECE), MOST_BLOCKS[1])
    piece = pieces(pieces(N, parts), THREADS) * THREADS
    parts = pieces(N, piece)

    def launch(given: Array | int, totals: Array | int, result: Array | int) -> None:
        arguments = {
            "lines": lines, "N": N, "piece": piece, "step_x": step_x, "step_y": step_y,
            "totals_before": given, "X": X, "totals": totals, "Y": result,
        }  # fmt: skip
        writes = [name for name in ("totals", "Y") if not isinstance(arguments[name], int)]
        device.launch(f"reduce::scan<{T}>", (M, parts), (THREADS,), arguments, writes)

    before: Array | int = 0  # a null pointer
    if parts > 1:
        totals, before = device.empty((M, parts), X.dtype), device.empty((M, parts), X.dtype)
        launch(0, totals, 0)
        _scan(device, T, Walk((M,), ((parts,), (parts,)), packs=False), parts, 1, 1, totals, before)
    launch(before, 0, Y)


VERBS: dict[str, Callable[..., Array]] = {
    "sum": sum, "mean": mean, "var": var, "cumsum": cumsum,
    **{name: _verb(name) for name in ("prod", "logsumexp", "any", "all")},
    **{name: _choice(name) for name in ("amax", "amin", "argmax", "argmin")},
}  # fmt: skip

# Every text that is launched
KERNELS = frozenset(
    [line.kernel.format(T=T) for line in SUM.values() for T in TYPES.values()]
    + [f"reduce::{kind}<reduce::{each.kernel}, {T}>" for each in REDUCTIONS.values() for T in each.types.values()
       for kind in ("rows", "columns")]
    + [f"reduce::{kind}<{T}>" for kind in ("scan", "scan_alone") for T in WRAPPING.values()]
)  # fmt: skip
