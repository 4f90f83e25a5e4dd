"""The batch path: from a set of images in memory to one batch of normalised, augmented images, in one pass.

`csrc/batch.pyx` holds the compiled loop. Where it was not built, the NumPy form below runs: the
specification, to which the tests hold the compiled one bit by bit.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

import numpy as np

from .. import random
from .errors import DataError

try:
    _batch: Any = import_module("minidl._batch")
except ImportError:
    _batch = None

Draw = tuple[np.ndarray | None, np.ndarray | None, np.ndarray | None]


def take_images(
    x: np.ndarray,
    index: np.ndarray,
    offset: np.ndarray,
    gain: np.ndarray,
    dtype: Any = np.float32,
    dy: np.ndarray | None = None,
    dx: np.ndarray | None = None,
    flip: np.ndarray | None = None,
) -> np.ndarray:
    """Y[b,c,p,q] = (Z[b,c,p,size(X, 3)-1-q if flip[b] else q] - offset[c]) * gain[c]
    Z[b,c,p,q] = X[index[b],c,p-dy[b],q-dx[b]]

    Each image that `index` names is moved down by dy and right by dx pixels, mirrored left to right where flip is
    true, and scaled. What comes in from beyond its edge is background, 0 before the scaling.

    x: images (N, C, H, W), uint8, float32 or float64. index: (B,), 0 <= index < N. offset, gain: (C,). dtype:
    float32 or float64, of the result (B, C, H, W). dy, dx: (B,) whole pixels, or None for 0. flip: (B,) bool, or
    None for false. Raises IndexError for an index out of range.
    """
    dtype = np.dtype(dtype)
    index = np.ascontiguousarray(index, np.int64)
    offset, gain = np.asarray(offset, dtype), np.asarray(gain, dtype)
    if _batch is None:
        return reference(x, index, offset, gain, dy, dx, flip)
    y = np.empty((len(index), *x.shape[1:]), dtype)
    _batch.take_images(
        np.ascontiguousarray(x),
        index,
        offset,
        gain,
        y,
        None if dy is None else np.ascontiguousarray(dy, np.int64),
        None if dx is None else np.ascontiguousarray(dx, np.int64),
        None if flip is None else np.ascontiguousarray(flip, np.uint8),
    )
    return y


def reference(
    x: np.ndarray,
    index: np.ndarray,
    offset: np.ndarray,
    gain: np.ndarray,
    dy: np.ndarray | None = None,
    dx: np.ndarray | None = None,
    flip: np.ndarray | None = None,
) -> np.ndarray:
    """`take_images` in NumPy; the dtype is offset's."""
    size_y, size_x = x.shape[2:]
    if len(index) and not 0 <= index.min() <= index.max() < len(x):
        bad = index[(index < 0) | (index >= len(x))][0]
        raise IndexError(f"take_images: index {bad} is out of range for {len(x)} images")
    z = x[index].astype(offset.dtype)
    b = np.arange(len(index))[:, None, None]
    r = np.arange(size_y)[None, :, None] - (0 if dy is None else dy[:, None, None])
    s = np.arange(size_x)[None, None, :]
    if flip is not None:
        s = np.where(flip[:, None, None], size_x - 1 - s, s)
    s = s - (0 if dx is None else dx[:, None, None])
    if not (dy is None and dx is None and flip is None):
        inside = (r >= 0) & (r < size_y) & (s >= 0) & (s < size_x)
        rows, columns = np.clip(r, 0, max(size_y - 1, 0)), np.clip(s, 0, max(size_x - 1, 0))
        moved = z.transpose(0, 2, 3, 1)[b, rows, columns]  # (B, H, W, C)
        z = np.where(inside[..., None], moved, offset.dtype.type(0)).transpose(0, 3, 1, 2)
    return np.ascontiguousarray((z - offset[:, None, None]) * gain[:, None, None])


def draw(count: int, shift: int, flip: bool, generator: random.Generator | None = None) -> Draw:
    """(dy, dx, flip) for so many images: dy and dx uniform in -shift .. shift, flip True for half of them.

    From the counter-based generator: the same state, the same draw. None where nothing is asked for.
    """
    if shift < 0:
        raise DataError(f"draw: shift={shift}; expected 0 or more pixels")
    dy = dx = mirror = None
    if shift:
        dy, dx = random.integers(-shift, shift + 1, (2, count), generator)
    if flip:
        mirror = random.integers(0, 2, (count,), generator).astype(bool)
    return dy, dx, mirror
