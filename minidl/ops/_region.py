"""A part of a tensor's memory, as another tensor sees it: what a write through a view is, seen from the whole."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ..tape import record

if TYPE_CHECKING:
    from .._tensor import Tensor


class Region(NamedTuple):
    """Where a whole and its part lie in one stretch of memory: shapes, and steps and starts in elements."""

    size: int
    whole: tuple[tuple[int, ...], tuple[int, ...], int]
    part: tuple[tuple[int, ...], tuple[int, ...], int]

    @staticmethod
    def of(whole: np.ndarray, part: np.ndarray) -> Region:
        """The region of one array within another that owns or shares its memory."""
        step = whole.itemsize
        low = sum(min((n - 1) * s, 0) for n, s in zip(whole.shape, whole.strides) if n)
        high = sum(max((n - 1) * s, 0) for n, s in zip(whole.shape, whole.strides) if n)
        apart = address(part) - address(whole) if part.size else low
        return Region(
            (high - low) // step + 1,
            (whole.shape, tuple(s // step for s in whole.strides), -low // step),
            (part.shape, tuple(s // step for s in part.strides), (apart - low) // step),
        )

    def seen(self, memory: np.ndarray, place: tuple[tuple[int, ...], tuple[int, ...], int]) -> np.ndarray:
        """The memory under the shape and steps of the whole or of the part."""
        shape, steps, start = place
        step = memory.itemsize
        steps = tuple(s * step for s in steps)
        if isinstance(memory, np.ndarray):
            return memory.__class__(shape, memory.dtype, memory, start * step, steps)
        return memory.__class__(shape, memory.dtype, memory.data + start * step, steps)  # CuPy's

    def laid(self, array: np.ndarray) -> np.ndarray:
        """New memory that holds the whole."""
        memory = np.zeros(self.size, array.dtype, like=array)
        self.seen(memory, self.whole)[...] = array
        return memory


def address(array: Any) -> int:
    """Where in memory its first element lies."""
    return getattr(array, "__cuda_array_interface__" if not isinstance(array, np.ndarray) else "__array_interface__")["data"][0]


def taken(x: Tensor, region: Region) -> Tensor:
    """The part of x that lies in the region."""
    Y = region.seen(region.laid(x.array), region.part).copy()
    return record(Y, x, lambda G: placed(G, region))


def placed(x: Tensor, region: Region) -> Tensor:
    """Zeros of the whole's shape with x in the region; elements that the part repeats (expand) add up."""
    memory = np.zeros(region.size, x.array.dtype, like=x.array)
    part = region.seen(memory, region.part)
    repeated = tuple(d for d, step in enumerate(region.part[1]) if step == 0)
    once: Any = tuple(slice(1) if d in repeated else slice(None) for d in range(part.ndim))
    part[once] = x.array.sum(repeated, keepdims=True, dtype=x.array.dtype) if repeated else x.array
    return record(region.seen(memory, region.whole).copy(), x, lambda G: taken(G, region))


def cleared(x: Tensor, region: Region) -> Tensor:
    """x with zeros in the region."""
    memory = region.laid(x.array)
    region.seen(memory, region.part)[...] = 0
    return record(region.seen(memory, region.whole).copy(), x, lambda G: cleared(G, region))
