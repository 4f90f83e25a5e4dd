"""What launch lines of kernels over rows (csrc/rows.cuh) share: how many threads a row gets, arrays as rows."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from .launch import Array, contiguous, pieces

__all__ = ["THREADS", "Team", "absent", "rows_of", "team_of"]

THREADS = 256  # of a block, block::THREADS
KEPT = (2, 8)  # packs of 16 bytes that a thread may keep in registers, rows::Row


@dataclass(frozen=True)
class Team:
    """The threads of a row: template arguments TEAM and PACKS."""

    threads: int
    packs: int

    def grid(self, rows: int) -> tuple[int]:
        return (pieces(rows, THREADS // self.threads),)


def team_of(n: int, dtype: Any) -> Team:
    """A warp for rows of n numbers that its registers can hold, else a block that reads them again."""
    for packs in KEPT:
        if n * np.dtype(dtype).itemsize <= 32 * packs * 16:
            return Team(32, packs)
    return Team(THREADS, 0)


def rows_of(x: Array, dims: int) -> tuple[int, int]:
    """How many rows of its last `dims` dimensions x has, and how long they are."""
    return math.prod(x.shape[: x.ndim - dims]), math.prod(x.shape[x.ndim - dims :])


def absent(x: Array | None) -> Array | int:
    """A kernel's argument that may be left out: the null pointer then."""
    return 0 if x is None else contiguous(x)
