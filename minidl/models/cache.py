"""The key-value cache: what attention has computed of earlier places, kept instead of computed again.

A place's keys and values depend on nothing after it, so a new token needs only its own row of every matrix product;
of all that is done for it, only attention itself grows with the length (Shazeer 2019, Fast transformer decoding,
section 2.3).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from minidl import Tensor, from_numpy

__all__ = ["KeyValueCache"]


class KeyValueCache:
    """One layer's keys and values (B, context, heads, size): room made once, of which `length` places are filled.

    Args:
        shape: (B, context, heads, size).
        dtype: of the model's weights.
        like: an array of the device, where that is not the CPU.
    """

    def __init__(self, shape: tuple[int, int, int, int], dtype: Any, like: Any = None) -> None:
        self.length = 0
        self.keys, self.values = (np.zeros(shape, dtype, like=like) for _ in range(2))

    def append(self, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
        """Keep the keys and values (B, T, heads * size) of new places; all so far, and who may attend to whom.

        All so far are (B, heads, S, size). The mask (T, S) lets each new place see the old ones and the new ones up to
        itself; a single place sees all and needs none.
        """
        start, (B, new, _) = self.length, keys.shape
        self.length = end = start + new
        form = (B, new, *self.keys.shape[2:])
        self.keys[:, start:end] = keys.array.reshape(form)
        self.values[:, start:end] = values.array.reshape(form)
        mask = None if new == 1 else from_numpy(np.tri(new, end, start, dtype=np.bool_, like=self.keys))
        every_key, every_value = (from_numpy(a[:, :end].swapaxes(1, 2)) for a in (self.keys, self.values))
        return every_key, every_value, mask

    def clear(self) -> None:
        """Forget everything; the room stays."""
        self.length = 0
