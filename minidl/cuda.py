"""PyTorch's names for graphics cards.

A program that asks `is_available()` first, as PyTorch's own do, runs unchanged where there is none.

A training step whose shapes stay the same can be captured once and replayed, which spares the host all its work:

    optimizer = optim.Adam(model.parameters(), capturable=True)
    step(x, y)                               # once or more: kernels are compiled, the optimizer's state is made
    g = minidl.cuda.CUDAGraph()
    with minidl.cuda.graph(g):
        loss = step(x, y)                    # zero_grad(), forward, backward(), optimizer.step()
    for data, target in loader:
        x.copy_(data); y.copy_(target)
        g.replay()                           # loss holds the new loss
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any

from ._device import device as device_class
from .kernels import _gpu, arrays, gpu_available, graphs, on


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


class CUDAGraph:
    """Work captured once (`cuda.graph`) and replayed as it was, on the same memory, without the host's part of it.

    New data goes into the tensors that the captured work read (`x.copy_(...)`), results appear in those that it made.
    Capturing does no work: tensors made while capturing hold no result before the first replay. What changes from
    replay to replay lies on the device: Adam's step count, and, set before each replay, the learning rates
    (`group["lr"]`) and the offsets of random numbers: a replayed step is the one that would have been computed. Shapes,
    Python's numbers and its decisions stay what they were. Refused in one sentence while capturing: reading numbers
    (`.item()`, `.cpu()`, `if x > 0`), copies from the CPU, optimizers but SGD without `capturable=True`.

    Works on device "emulator" as on a GPU. Source: NVIDIA, CUDA C++ Programming Guide, section CUDA Graphs.
    """

    def __init__(self) -> None:
        self._graph: Any = None

    def replay(self) -> None:
        """Do the captured work once more. RuntimeError where nothing has been captured."""
        if self._graph is None:
            raise RuntimeError("CUDAGraph.replay: nothing has been captured; capture with minidl.cuda.graph(g): first")
        if arrays.graph is not None:
            raise RuntimeError("CUDAGraph.replay: a graph is being captured; replay after the capture has ended")
        self._graph.replay()

    def reset(self) -> None:
        """Forget the captured work and give its memory back."""
        self._graph = None


class graph(AbstractContextManager):
    """with minidl.cuda.graph(g): captures the work of this block in g, a `CUDAGraph`.

    device: "cuda" or "emulator" (default: "cuda" where there is a graphics card), the only one on which the block may
    work. A block that raises leaves g without captured work. RuntimeError for a second capture inside.
    """

    def __init__(self, cuda_graph: CUDAGraph, *, device: Any = None) -> None:
        if not isinstance(cuda_graph, CUDAGraph):
            raise TypeError(f"graph: cuda_graph is a {type(cuda_graph).__name__}, expected a minidl.cuda.CUDAGraph")
        where = device_class(device or ("cuda" if is_available() else "emulator"))
        if where.type == "cpu":
            raise ValueError("graph: device is 'cpu', expected 'cuda' or 'emulator': the CPU has no graphs")
        self._into, self._device = cuda_graph, where

    def __enter__(self) -> None:
        if arrays.graph is not None:
            raise RuntimeError("graph: another graph is being captured; end that capture first")
        self._into.reset()
        device = on(self._device.type, self._device.index).device
        self._new = graphs.Captured(device) if self._device.type == "cuda" else graphs.Recorded()
        self._new.begin()

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        try:
            self._new.end()
        except Exception:
            if error is None:  # else the block's own error says what went wrong first
                raise
        if error is None:
            self._into._graph = self._new


def is_current_stream_capturing() -> bool:
    """Whether work is being captured in a graph now."""
    return arrays.graph is not None
