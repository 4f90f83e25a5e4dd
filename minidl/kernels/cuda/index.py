"""Launch lines of csrc/index.cu: gather, scatter_add, take_rows, add_rows.

An index that is out of range touches nothing; the kernel notes the first one, and the reference's ValueError comes when
the host looks (`launch.later`): on the emulator at once, on a device with a queue when the host waits for it anyway. To
look after every launch would make each embedding wait for all that was launched before.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .launch import MOST_BLOCKS, TYPES, Array, Device, contiguous, covered, later, pieces

__all__ = ["KERNELS", "VERBS"]

WORDS = {1: "unsigned char", 2: "unsigned short", 4: "unsigned int", 8: "unsigned long long"}
KERNELS = [f"indexing::{kind}<{W}>" for kind in ("gather", "take_rows") for W in WORDS.values()]
KERNELS += [f"indexing::{kind}<{T}>" for T in TYPES.values() for kind in ("scatter_lines", "scatter_blocks")]
KERNELS += [f"indexing::add_rows<{T}>" for T in TYPES.values()]
LONG, MANY = 64, 4096  # lines of fewer numbers, or more lines, get a thread each instead of a block


def _launch(
    device: Device, verb: str, kernel: str, grid: tuple[int, ...], places: int, index: Array, arguments: dict[str, Any]
) -> None:
    """Launch `kernel`, which writes to Y, and see to the index's check. `arguments`: all but `wrong`."""
    wrong = device.zeros((1,), np.int64)
    index = arguments["index"] = contiguous(index)
    device.launch(kernel, grid, (256,), {**arguments, "wrong": wrong}, writes=["Y", "wrong"], fresh=False)

    def look() -> None:
        if found := int(wrong[0]):
            given = int(index.reshape(-1)[index.size - found])
            raise ValueError(f"{verb}: index holds {given}, but there are {places} places: use 0 to {places - 1}")

    later(device, look)


def _grid(threads: int) -> tuple[int]:
    return (min(pieces(threads, 256), MOST_BLOCKS[0]),)


def _cut(x: Array, axis: int, index: Array) -> Array:
    """Of x what an index of this shape reaches: along `axis` everything."""
    return x[tuple(slice(None if d == axis else n) for d, n in enumerate(index.shape))]


def _sizes(x: Array, axis: int, index: Array) -> dict[str, int]:
    shape = index.shape
    return {"O": math.prod(shape[:axis]), "A": x.shape[axis], "N": shape[axis], "E": math.prod(shape[axis + 1 :])}


def _fits(x: Array, axis: int, index: Array) -> bool:
    return index.ndim == x.ndim and all(n <= m or d == axis for d, (n, m) in enumerate(zip(index.shape, x.shape)))


def gather(device: Device, x: Array, axis: int, index: Array) -> Array:
    """At i along `axis`: x at index[.., i, ..]; index int64, elsewhere no larger than x."""
    if x.dtype.itemsize not in WORDS or index.dtype != np.int64 or not _fits(x, axis, index):
        return NotImplemented
    Y = device.empty(index.shape, x.dtype)
    if index.size:
        X = contiguous(_cut(x, axis, index))
        kernel = f"indexing::gather<{WORDS[x.dtype.itemsize]}>"
        arguments = {**_sizes(x, axis, index), "X": X, "index": index, "Y": Y}
        _launch(device, "gather", kernel, _grid(index.size), x.shape[axis], index, arguments)
    return Y


def scatter_add(device: Device, x: Array, axis: int, index: Array, src: Array) -> Array:
    """x, to which src[.., i, ..] is added at index[.., i, ..] along `axis`, in the index's order."""
    if not covered(x, src) or index.dtype != np.int64 or not _fits(x, axis, index) or index.ndim != src.ndim:
        return NotImplemented
    if any(n > m for n, m in zip(index.shape, src.shape)):
        return NotImplemented
    Y = device.empty(x.shape, x.dtype)
    Y[...] = x
    if index.size:
        part = _cut(Y, axis, index)
        some = contiguous(part)
        sizes = _sizes(x, axis, index)
        lines = sizes["O"] * sizes["E"]
        blocks = sizes["N"] >= LONG and lines <= MANY
        kernel = f"indexing::scatter_{'blocks' if blocks else 'lines'}<{TYPES[x.dtype.name]}>"
        source = contiguous(src[tuple(map(slice, index.shape))])
        arguments = {**sizes, "index": index, "src": source, "Y": some}
        _launch(device, "scatter_add", kernel, (lines,) if blocks else _grid(lines), x.shape[axis], index, arguments)
        if some is not part:
            part[...] = some
    return Y


def take_rows(device: Device, w: Array, index: Array) -> Array:
    """The rows of w that the index names; index int64."""
    if w.dtype.itemsize not in WORDS or index.dtype != np.int64 or not w.ndim:
        return NotImplemented
    Y = device.empty((*index.shape, *w.shape[1:]), w.dtype)
    if index.size:
        sizes = {"A": len(w), "N": index.size, "E": math.prod(w.shape[1:])}
        kernel = f"indexing::take_rows<{WORDS[w.dtype.itemsize]}>"
        arguments = {**sizes, "X": contiguous(w), "index": index, "Y": Y}
        _launch(device, "take_rows", kernel, _grid(index.size * max(sizes["E"], 1)), len(w), index, arguments)
    return Y


def add_rows(device: Device, shape: tuple[int, ...], index: Array, g: Array) -> Array:
    """Zeros of `shape`, to whose rows that the index names g's are added, in the index's order."""
    if not covered(g) or index.dtype != np.int64 or not shape or g.shape != (*index.shape, *shape[1:]):
        return NotImplemented
    if not index.size:
        return device.zeros(shape, g.dtype)
    Y = device.empty(shape, g.dtype)
    sizes = {"A": shape[0], "N": index.size, "E": math.prod(shape[1:])}
    grid = (max(shape[0], 1), max(pieces(sizes["E"], 1024), 1))
    arguments = {**sizes, "index": index, "G": contiguous(g), "Y": Y}
    _launch(device, "add_rows", f"indexing::add_rows<{TYPES[g.dtype.name]}>", grid, shape[0], index, arguments)
    return Y


VERBS = {"gather": gather, "scatter_add": scatter_add, "take_rows": take_rows, "add_rows": add_rows}
