"""Walk<n> of csrc/walk.cuh: where the numbers of strided arrays lie."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

__all__ = ["MOST_DIMENSIONS", "Walk", "lanes_of", "walk"]

MOST_DIMENSIONS = 8


def lanes_of(dtype: np.dtype[Any]) -> int:
    """LANES<T>: numbers that a thread takes together."""
    return 16 // max(dtype.itemsize, 4)


@dataclass(frozen=True)
class Walk:
    """Operands walked together over one shape."""

    shape: tuple[int, ...]
    strides: tuple[tuple[int, ...], ...]  # of each operand, in elements
    packs: bool

    def pack(self) -> bytes:
        rows = [self.shape, *self.strides]
        padded = [(*row, *(0,) * (MOST_DIMENSIONS - len(row))) for row in rows]
        head = np.array([len(self.shape), self.packs], np.int32).tobytes()
        return np.int64(math.prod(self.shape)).tobytes() + head + np.array(padded, np.int64).tobytes()


def walk(shape: Sequence[int], strides: Sequence[Sequence[int]], lanes: int) -> Walk | None:
    """Drops dimensions of size 1 and merges neighbours where every operand allows it; None where over eight remain.

    packs: a run of `lanes` numbers that starts at a multiple of `lanes` lies side by side in each operand, or (stride
    0) is one number, and starts at a multiple of `lanes` there, too."""
    merged: list[int] = []
    steps: list[list[int]] = []  # of each dimension, for each operand
    for d, size in enumerate(shape):
        if size == 1:
            continue
        step = [of[d] for of in strides]
        if merged and all(before == size * each for before, each in zip(steps[-1], step)):
            merged[-1] *= size
            steps[-1] = step
        else:
            merged.append(size)
            steps.append(step)
    if len(merged) > MOST_DIMENSIONS:
        return None
    if not merged:
        merged, steps = [1], [[0] * len(strides)]
    packs = all(each in (0, 1) for each in steps[-1])
    if len(merged) > 1:
        packs = packs and merged[-1] % lanes == 0
        packs = packs and all(
            last == 0 or step % lanes == 0 for rest in steps[:-1] for step, last in zip(rest, steps[-1])
        )
    return Walk(tuple(merged), tuple(zip(*steps)), packs)
