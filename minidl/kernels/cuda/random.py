"""Launch lines of csrc/random.cu: the words of Philox4x32-10, and uniform, normal and dropped-out numbers from them.

An offset is an int, or a uint64 array of the device that holds one: a captured CUDA graph replays a launch as it was,
so what changes from step to step must lie in memory for it.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .launch import MOST_BLOCKS, TYPES, Array, Device, Scalar, contiguous, covered, pieces

__all__ = ["KERNELS", "VERBS"]

KERNELS = ["random_numbers::philox"]
KERNELS += [
    f"random_numbers::{kind}<{T}>" for kind in ("uniform", "normal", "dropout", "masked_scale") for T in TYPES.values()
]


def _far(offset: int | Array, words: int) -> bool:
    """Whether the stream's 64-bit counter of words ends before these do, which the reference's does not."""
    return isinstance(offset, int) and not 0 <= offset < 2**64 - words - 4


def _stream(seed: int, offset: int | Array) -> dict[str, Any]:
    return {"seed": np.uint64(seed & (2**64 - 1)), "offset": Scalar(offset, np.uint64)}


def _grid(threads: int) -> tuple[int]:
    return (min(pieces(threads, 256), MOST_BLOCKS[0]),)


def _draw(
    device: Device, kernel: str, seed: int, offset: int | Array, count: int, dtype: Any, each: int, words: int
) -> Array:
    """`count` numbers, of which a thread draws `each`, from `words` words in all."""
    if _far(offset, words):
        return NotImplemented
    Y = device.empty((count,), dtype)
    if count:
        arguments = {**_stream(seed, offset), "count": count, "Y": Y}
        device.launch(f"random_numbers::{kernel}", _grid(pieces(count, each)), (256,), arguments, writes=["Y"])
    return Y


def philox(device: Device, seed: int, offset: int | Array, count: int) -> Array:
    """Words offset ... offset + count - 1 of the stream, uint32."""
    return _draw(device, "philox", seed, offset, count, np.uint32, 4, count)


def uniform(device: Device, seed: int, offset: int | Array, count: int, dtype: Any) -> Array:
    """[0, 1): from one word for float32, two for float64; the reference's numbers, bit for bit."""
    dtype = np.dtype(dtype)
    if dtype.name not in TYPES:
        return NotImplemented
    words = dtype.itemsize // 4
    return _draw(device, f"uniform<{TYPES[dtype.name]}>", seed, offset, count, dtype, 4 // words, words * count)


def normal(device: Device, seed: int, offset: int | Array, count: int, dtype: Any) -> Array:
    """Standard normal numbers, two from four words (Box and Muller 1958)."""
    dtype = np.dtype(dtype)
    if dtype.name not in TYPES:
        return NotImplemented
    return _draw(device, f"normal<{TYPES[dtype.name]}>", seed, offset, count, dtype, 2, 2 * count + 2)


def dropout(device: Device, x: Array, p: float, seed: int, offset: int | Array) -> Any:
    """X * MASK / (1 - p), and MASK: where the stream's uniform number from `offset` on is at least p."""
    if not covered(x) or _far(offset, x.size):
        return NotImplemented
    Y, mask = device.empty(x.shape, x.dtype), device.empty(x.shape, np.bool_)
    if x.size:
        scale = x.dtype.type(0 if p == 1 else 1 / (1 - p))
        arguments = {
            **_stream(seed, offset), "count": x.size, "p": np.float32(p), "scale": scale,
            "X": contiguous(x), "Y": Y, "mask": mask,
        }  # fmt: skip
        kernel = f"random_numbers::dropout<{TYPES[x.dtype.name]}>"
        device.launch(kernel, _grid(pieces(x.size, 4)), (256,), arguments, writes=["Y", "mask"])
    return Y, mask


def masked_scale(device: Device, x: Array, mask: Array, scale: float) -> Array:
    """Y = X * MASK * scale"""
    if not covered(x) or mask.dtype != np.bool_ or mask.ndim > x.ndim:
        return NotImplemented
    mask = contiguous(np.broadcast_to(mask, x.shape))
    Y = device.empty(x.shape, x.dtype)
    if x.size:
        arguments = {"count": x.size, "scale": x.dtype.type(scale), "X": contiguous(x), "mask": mask, "Y": Y}
        kernel = f"random_numbers::masked_scale<{TYPES[x.dtype.name]}>"
        device.launch(kernel, _grid(x.size), (256,), arguments, writes=["Y"])
    return Y


VERBS = {
    "philox": philox, "uniform": uniform, "normal": normal, "dropout": dropout, "masked_scale": masked_scale
}  # fmt: skip
