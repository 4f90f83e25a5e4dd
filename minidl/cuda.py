"""PyTorch's names for graphics cards. This build computes on the CPU, and says so.

A program that asks `is_available()` first, as PyTorch's own do, runs unchanged.
"""

from __future__ import annotations

from typing import Any


def is_available() -> bool:
    """Whether tensors can live on a graphics card: False."""
    return False


def device_count() -> int:
    """How many graphics cards tensors can live on: 0."""
    return 0


def synchronize(device: Any = None) -> None:
    """Wait until a graphics card has done all its work. RuntimeError, since there is none to wait for."""
    raise RuntimeError(
        f"cuda.synchronize: there is no device {'cuda' if device is None else str(device)!r}: this build computes on "
        "the CPU only, where every call has finished when it returns; ask cuda.is_available() first"
    )


def manual_seed(seed: int) -> None:
    """Seed the graphics card's generator; without one, as in PyTorch, there is nothing to seed."""


def manual_seed_all(seed: int) -> None:
    """Seed the generators of all graphics cards; without one, as in PyTorch, there is nothing to seed."""


def empty_cache() -> None:
    """Give unused memory of the graphics card back; without one, as in PyTorch, there is none."""
