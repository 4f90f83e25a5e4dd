"""The shape of a tensor."""

from __future__ import annotations

import math


class Size(tuple[int, ...]):
    """A tuple of sizes that knows how many elements they make: x.shape, x.size()."""

    __slots__ = ()

    def numel(self) -> int:
        """The product of the sizes."""
        return math.prod(self)
