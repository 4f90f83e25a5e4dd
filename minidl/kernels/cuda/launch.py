"""What every launch line is written with: the device that runs it, the limits of a grid, the types of numbers."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

__all__ = [
    "MOST_BLOCKS",
    "Array",
    "Axes",
    "Device",
    "Matrix",
    "check_launch",
    "contiguous",
    "covered",
    "number_type",
    "pieces",
]

Array = Any  # NumPy's, the emulator's or CuPy's
Axes = tuple[int, ...]
MOST_BLOCKS = (2**31 - 1, 65535, 65535)  # CUDA C++ Programming Guide, table of technical specifications
MOST_THREADS = (1024, 1024, 64)
TYPES = {"float32": "float", "float64": "double"}


class Device(Protocol):
    """Where kernels run."""

    def empty(self, shape: Sequence[int], dtype: Any) -> Array:
        """A new array of the device that holds anything."""

    def zeros(self, shape: Sequence[int], dtype: Any) -> Array:
        """A new array of the device that holds zeros."""

    def adopt(self, result: Any) -> Any:
        """What the array library computed (arrays, or tuples of them), as arrays of the device."""

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


def contiguous(x: Array) -> Array:
    """x, row after row in memory: itself, or a copy. (np.ascontiguousarray takes NumPy's arrays only.)"""
    return x if x.flags.c_contiguous else x.copy(order="C")


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


def covered(*arrays: Array | None) -> bool:
    """Whether kernels take these arrays (None: left out): all float32, or all float64."""
    kinds = {x.dtype.name for x in arrays if x is not None}
    return len(kinds) == 1 and kinds <= set(TYPES)
