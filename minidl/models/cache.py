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
    """One layer's keys and values (B, heads, context, size): room made once, of which `length` places are filled.

    Args:
        shape: (B, heads, context, size).
        dtype: of the model's weights.
    """

    def __init__(self, shape: tuple[int, int, int, int], dtype: Any) -> None:
        self.length = 0
        self.keys, self.values = np.zeros(shape, dtype), np.zeros(shape, dtype)

    def append(self, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
        """Keep the keys and values (B, heads, T, size) of new places; all so far, and who may attend to whom.

        The mask (T, S) lets each new place see the old ones and the new ones up to itself; a single place sees all and
        needs none.
        """
        start, new = self.length, keys.shape[2]
        self.length = end = start + new
        self.keys[:, :, start:end] = keys.array
        self.values[:, :, start:end] = values.array
        mask = None if new == 1 else from_numpy(np.tri(new, end, start, dtype=np.bool_))
        return from_numpy(self.keys[:, :, :end]), from_numpy(self.values[:, :, :end]), mask

    def clear(self) -> None:
        """Forget everything; the room stays."""
        self.length = 0
