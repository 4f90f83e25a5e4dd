"""The memory of large results: blocks that are handed from one result to the next (csrc/bind_blocks.cpp).

A training step in its steady state takes no new block from the system; these figures show it, and the most that was
held at once. Results of less than 32 KB, and arrays that NumPy made, are not among them.
"""

from __future__ import annotations

from . import native

if native.available:
    from minidl import _native

__all__ = ["memory_stats", "reset_peak_memory_stats"]


def memory_stats() -> dict[str, int]:
    """The blocks of results, in bytes; all 0 where native code was not built.

    allocated: in use now. peak: the most in use at once since `reset_peak_memory_stats`. idle: kept for the next
    results. fresh: how many blocks the system was asked for since then, a number. Named for torch.cuda.memory_stats.
    """
    return _native.memory_stats() if native.available else dict.fromkeys(("allocated", "peak", "idle", "fresh"), 0)


def reset_peak_memory_stats() -> None:
    """From now on `peak` starts from what is in use, and `fresh` from 0."""
    if native.available:
        _native.reset_peak_memory_stats()
