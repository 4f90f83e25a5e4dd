"""What the machine can do at best, measured: multiply-adds a second, and bytes a second to and from memory.

The kernels' yardsticks. Both come from loops that do nothing else (csrc/limits.cpp), on as many threads as kernels use.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Any

from minidl.kernels import native

__all__ = ["STREAMS", "bandwidth", "fma_peak", "measure", "runner"]

STREAMS = {
    "read": "Σ A: 1 read",
    "copy": "C = A: 1 read, 1 written",
    "triad": "C = A + s B: 2 read, 1 written",
    "update": "A ← A + s B: 2 read, 1 written back",
}
_ROUNDS = 20_000  # multiply-adds one after the other in a chain: some 30 microseconds
_MEGABYTES = 96  # of each array of a stream: beyond the caches of all but the largest processors
_arrays: list[Any] = []  # made on first use, and kept: new pages are slow


def _compiled() -> Any:
    if not native.available:
        raise RuntimeError(
            "limits: the machine is measured by compiled loops, and nothing is compiled here; "
            "`minidl doctor` says why and what to type"
        )
    from minidl import _native

    return _native


def _streams() -> Any:
    if not _arrays:
        _arrays.append(_compiled().Streams(_MEGABYTES))
    return _arrays[0]


def _ways(stream: str) -> tuple[bool, ...]:
    """With stores past the caches or without; in place, the line is in the cache anyway."""
    return (False, True) if stream in ("copy", "triad") else (False,)


def _best(run: Callable[[], float], seconds: float) -> float:
    """The most units of work a second that any call of `run`, which returns its work, has reached."""
    best, end = 0.0, time.perf_counter() + seconds
    run()
    while True:
        start = time.perf_counter()
        work = run()
        now = time.perf_counter()
        best = max(best, work / (now - start))
        if now > end:
            return best


def fma_peak(isa: str | None = None, threads: int | None = None, seconds: float = 0.05) -> float:
    """Single-precision floating-point operations a second, a multiply-add counted as two.

    Args:
        isa: "baseline", "avx2" or "avx512"; by default the instruction set in use.
        threads: by default those in use.
        seconds: how long to try; the best of many short runs counts.

    Raises:
        RuntimeError: nothing is compiled here.
        ValueError: this build or machine has no such instruction set, or threads is below 1.
    """
    module = _compiled()
    before = module.get_level(), module.get_num_threads()
    count = before[1] if threads is None else threads
    try:
        if isa is not None:
            module.set_level(isa)
        module.set_num_threads(count)
        return _best(lambda: module.multiply_add(_ROUNDS, 4 * count), seconds)
    finally:
        module.set_level(before[0])
        module.set_num_threads(before[1])


def bandwidth(stream: str, threads: int | None = None, seconds: float = 0.1) -> float:
    """Bytes a second between memory and processor, on arrays beyond the caches.

    Only the bytes that must move are counted. Stores past the caches are tried as well as plain ones, which read a
    line before they write it; the better of the two counts.

    Args:
        stream: "read", "copy", "triad" or "update" (`STREAMS` says what each does).
        threads: by default those in use.
        seconds: how long to try each; the best of many runs counts.

    Raises:
        RuntimeError: nothing is compiled here.
        ValueError: an unknown stream, or threads below 1.
    """
    if stream not in STREAMS:
        raise ValueError(f"bandwidth: stream is {stream!r}, expected one of {', '.join(STREAMS)}")
    module = _compiled()
    arrays, ways = _streams(), _ways(stream)
    before = module.get_num_threads()
    try:
        module.set_num_threads(before if threads is None else threads)
        return max(_best(partial(arrays.run, stream, way), seconds / len(ways)) for way in ways)
    finally:
        module.set_num_threads(before)


def runner(name: str) -> Callable[[], float]:
    """One pass at a limit, to be timed beside a kernel: it returns the operations or the bytes of its work.

    Args:
        name: "peak", for multiply-adds in registers, or a stream's name; with the stores that are faster here.

    Raises:
        RuntimeError: nothing is compiled here.
        ValueError: an unknown name.
    """
    module = _compiled()
    if name == "peak":
        tasks = 8 * module.get_num_threads()
        return lambda: module.multiply_add(_ROUNDS, tasks)
    if name not in STREAMS:
        raise ValueError(f"runner: name is {name!r}, expected one of peak, {', '.join(STREAMS)}")
    arrays = _streams()
    return partial(arrays.run, name, max(_ways(name), key=lambda way: _best(partial(arrays.run, name, way), 0.02)))


def measure(seconds: float = 0.1) -> dict[str, dict[str, dict[str, float]]]:
    """All limits on one thread and on those in use.

    Returns:
        {"flops": {instruction set: {threads: FLOP/s}}, "bandwidth": {stream: {threads: bytes/s}}}; threads as text.
    """
    module = _compiled()
    counts = sorted({1, module.get_num_threads()})
    return {
        "flops": {isa: {str(n): fma_peak(isa, n, seconds) for n in counts} for isa in module.levels()},
        "bandwidth": {name: {str(n): bandwidth(name, n, seconds) for n in counts} for name in STREAMS},
    }
