"""PyTorch's names for graphics cards.

A program that asks `is_available()` first, as PyTorch's own do, runs unchanged where there is none.
"""

from __future__ import annotations

from typing import Any

from ._device import device as device_class
from .kernels import _gpu, gpu_available


def is_available() -> bool:
    """Whether tensors can live on a graphics card: CuPy is installed, and a first kernel has run there."""
    return gpu_available()


def device_count() -> int:
    """How many graphics cards tensors can live on."""
    return _gpu().count() if gpu_available() else 0


def synchronize(device: Any = None) -> None:
    """Wait until a graphics card has done all its work. RuntimeError where there is none to wait for."""
    name = "cuda" if device is None else str(device)
    if not gpu_available():
        raise RuntimeError(
            f"cuda.synchronize: there is no device {name!r} here; on the CPU every call has finished when it returns:"
            " ask cuda.is_available() first"
        )
    _gpu().synchronize(device_class(name).index or 0)


def manual_seed(seed: int) -> None:
    """Seed the graphics card's generator: `minidl.manual_seed` seeds the one that serves all devices."""


def manual_seed_all(seed: int) -> None:
    """Seed the generators of all graphics cards: `minidl.manual_seed` seeds the one that serves all devices."""


def empty_cache() -> None:
    """Give unused memory of the graphics card back; where there is none, as in PyTorch, nothing happens."""
    if gpu_available() and hasattr(_gpu(), "empty_cache"):
        _gpu().empty_cache()
