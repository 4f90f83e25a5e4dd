"""Random numbers from a counter: the same on every backend and device, and resumable from two integers.

A generator's whole state is a seed and an offset into the stream of words that Philox4x32-10 makes of it
(Salmon, Moraes, Dror, Shaw 2011). Drawing n words moves the offset on by n.
"""

from __future__ import annotations

import operator
import os
import threading
from functools import partial
from typing import Any

import numpy as np

from . import kernels
from .kernels import arrays


class Generator:
    """A stream of random numbers: state = (seed, offset).

    seed: 0 <= seed < 2**64. Two generators of one seed give the same numbers.
    """

    __slots__ = ("seed", "offset", "_lock")

    def __init__(self, seed: int | str = 0, device: Any = "cpu") -> None:
        seed, device = (0, seed) if isinstance(seed, str) else (seed, device)  # Generator("cpu") is PyTorch's
        if str(device).partition(":")[0] not in ("cpu", "emulator", "cuda"):  # one generator serves them all
            raise RuntimeError(f"Generator: device {str(device)!r} is unknown; use 'cpu', 'emulator' or 'cuda'")
        self._lock = threading.Lock()
        self.manual_seed(seed)

    def manual_seed(self, seed: int) -> Generator:
        """Start the stream of this seed (negative ones count from 2**64 down, as PyTorch's). Gives itself."""
        try:
            seed = operator.index(seed)
        except TypeError:
            raise TypeError(f"manual_seed: seed {seed!r} is not an integer") from None
        if not -(2**63) <= seed < 2**64:
            raise ValueError(f"manual_seed: seed {seed} does not fit in 64 bits")
        self.seed, self.offset = seed % 2**64, 0
        return self

    def initial_seed(self) -> int:
        return self.seed

    def get_state(self) -> tuple[int, int]:
        """(seed, offset): all that is needed to go on from here."""
        return self.seed, self.offset

    def set_state(self, state: tuple[int, int]) -> Generator:
        seed, offset = (operator.index(v) for v in state)
        if offset < 0:
            raise ValueError(f"set_state: offset {offset} is negative")
        self.manual_seed(seed)
        self.offset = offset
        return self

    def take(self, words: int, backend: Any = None) -> tuple[int, Any]:
        """Reserve so many words: the (seed, offset) where they begin.

        backend: who draws them. While a graph is captured there the offset is an array of the device's, and words are
        taken anew for each replay.
        """
        if arrays.graph is not None and getattr(backend, "device", None) is not None:
            return self.seed, arrays.graph.number(np.uint64, partial(self._offset, words, self.seed), self.offset)
        with self._lock:
            at = self.offset
            self.offset += words
        return self.seed, at

    def _offset(self, words: int, seed: int) -> int:
        """Where the words of a replay begin, which are drawn with the seed of the capture."""
        if self.seed != seed:
            raise RuntimeError(
                f"replay: the generator's seed is {self.seed}, the graph draws with {seed}; capture it anew, or set the"
                f" seed back: manual_seed({seed})"
            )
        return self.take(words)[1]

    def __repr__(self) -> str:
        return f"Generator(seed={self.seed}, offset={self.offset})"


default_generator = Generator(0)


def manual_seed(seed: int) -> Generator:
    """Start the default generator anew from this seed; gives it."""
    return default_generator.manual_seed(seed)


def seed() -> int:
    """Start the default generator from a seed of the operating system's; gives the seed."""
    return manual_seed(int.from_bytes(os.urandom(8), "little")).seed


def _of(generator: Any) -> Generator:
    """The generator given, or the default one."""
    if generator is None:
        return default_generator
    if not isinstance(generator, Generator):
        raise TypeError(f"generator: expected a Generator, got {type(generator).__name__}; make one with Generator()")
    return generator


def _count(shape: tuple[int, ...]) -> int:
    return int(np.prod(shape, dtype=np.int64))


def uniform(
    shape: tuple[int, ...], dtype: np.dtype, generator: Generator | None = None, backend: Any = None
) -> np.ndarray:
    """Array of independent numbers, uniform in [0, 1). backend: the verbs of the device that they are made on."""
    wide = np.dtype(np.float64 if dtype == np.float64 else np.float32)
    n = _count(shape)
    at = _of(generator).take(2 * n if wide == np.float64 else n, backend)
    return (backend or kernels.active()).uniform(*at, n, wide).reshape(shape).astype(dtype, copy=False)


def normal(
    shape: tuple[int, ...], dtype: np.dtype, generator: Generator | None = None, backend: Any = None
) -> np.ndarray:
    """Array of independent standard normal numbers. backend: as in `uniform`."""
    wide = np.dtype(np.float64 if dtype == np.float64 else np.float32)
    n = _count(shape)
    at = _of(generator).take(4 * ((n + 1) // 2), backend)
    return (backend or kernels.active()).normal(*at, n, wide).reshape(shape).astype(dtype, copy=False)


def integers(low: int, high: int, shape: tuple[int, ...], generator: Generator | None = None) -> np.ndarray:
    """Array of int64, uniform in [low, high): 64 random bits modulo the width (bias below width / 2**64)."""
    n = _count(shape)
    words = kernels.active().philox(*_of(generator).take(2 * n), 2 * n).astype(np.uint64)
    bits = words[::2] << np.uint64(32) | words[1::2]
    return (low + (bits % np.uint64(high - low)).astype(np.int64)).reshape(shape)


def permutation(n: int, generator: Generator | None = None) -> np.ndarray:
    """0 ... n-1 in random order (int64): the order that sorts n random 64-bit keys."""
    words = kernels.active().philox(*_of(generator).take(2 * n), 2 * n).astype(np.uint64)
    return np.argsort(words[::2] << np.uint64(32) | words[1::2], kind="stable").astype(np.int64)
