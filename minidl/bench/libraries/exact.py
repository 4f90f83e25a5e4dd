"""The exact results: NumPy by hand in float64, and where nothing is written by hand, minidl's reference in float64."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

import minidl
from minidl.bench.libraries.base import Library, Run
from minidl.bench.libraries.by_hand import NumPy
from minidl.bench.libraries.tensors import Minidl

__all__ = ["Exact"]


class Exact(Library):
    def __init__(self, threads: int) -> None:
        super().__init__(threads)
        minidl.backend("reference")
        self.by_hand, self.reference = NumPy(threads), Minidl(threads)

    def about(self) -> dict[str, str]:
        return self.by_hand.about()

    def offers(self, kind: str) -> bool:
        return self.by_hand.offers(kind) or self.reference.offers(kind)

    def numpy(self, y: Any) -> np.ndarray:
        return self.reference.numpy(y)

    def run(self, kind: str, inputs: Sequence[np.ndarray], options: dict[str, Any], backward: bool) -> Run:
        doubles = [x.astype(np.float64) if x.dtype == np.float32 else x for x in inputs]
        if kind == "rung":
            kind, options = options["exact"]
        library = self.by_hand if self.by_hand.offers(kind) else self.reference
        return library.run(kind, doubles, options, backward)
