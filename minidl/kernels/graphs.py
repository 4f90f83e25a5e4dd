"""A step recorded once and replayed: the graphs behind `minidl.cuda.CUDAGraph`, one class a device.

    graph = Recorded()  or  Captured(device)
    graph.begin();  ... the step, through the kernel verbs ...;  graph.end()
    graph.replay()

A replay runs the same kernels on the same memory. What changes from step to step must therefore lie in that memory:
`number` gives an array of one number which the host sets before each replay. What cannot be replayed (a host that reads
what kernels wrote, or brings numbers of its own) is refused where it happens, through `arrays.graph`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from . import arrays
from .arrays import adopt, lend

__all__ = ["Captured", "Graph", "Recorded"]

# NumPy's functions and methods that change their first argument, and those whose result's size depends on numbers.
IN_PLACE = frozenset("copyto put place putmask put_along_axis fill_diagonal at __setitem__ fill sort partition".split())
VIEWS = frozenset(
    "__getitem__ asarray atleast_1d broadcast_to diagonal expand_dims moveaxis ravel reshape squeeze swapaxes transpose"
    .split()
)  # fmt: skip
ABOUT = frozenset("can_cast iscomplexobj isrealobj may_share_memory ndim result_type shape shares_memory size".split())
COUNTING = frozenset("nonzero flatnonzero argwhere count_nonzero unique extract compress".split())


class Graph:
    """What both kinds have in common: numbers that the host sets, and looks at what kernels found.

    name: of the device.
    """

    name = ""

    def __init__(self) -> None:
        self.numbers: list[tuple[Any, Callable[[], Any]]] = []
        self.looks: list[Callable[[], None]] = []
        self.befores: list[Callable[[], None]] = []

    def before(self, do: Callable[[], None]) -> None:
        """Call `do` before each replay; it raises where a replay would not be what was captured."""
        self.befores.append(do)

    def number(self, dtype: Any, read: Callable[[], Any], first: Any) -> Any:
        """An array of 0 dimensions that holds `read()` in each replay; `first` while the step is recorded."""
        raise NotImplementedError

    def constant(self, shape: Sequence[int], value: Any, dtype: Any) -> Any:
        """An array of one number of the program's, everywhere."""
        raise NotImplementedError

    def keep(self, arguments: Mapping[str, Any]) -> None:
        """Of a launch on a GPU: the memory that it uses must live as long as the graph."""
        raise RuntimeError(
            f"graph: work on device 'cuda' while a graph of device '{self.name}' is captured; capture one device at a"
            " time: cuda.graph(g, device=...)"
        )

    def later(self, look: Callable[[], None]) -> None:
        """Look after a replay at what kernels found."""
        self.looks.append(look)

    def call(self, function: Callable[..., Any], args: Sequence[Any], options: dict[str, Any]) -> Any:
        """NumPy's function on the emulator's arrays."""
        raise RuntimeError(
            f"graph: work on device 'emulator' ({_called(function)}) while a graph of device '{self.name}' is captured;"
            " capture one device at a time: cuda.graph(g, device=...)"
        )

    def _ready(self) -> None:
        for do in self.befores:
            do()
        for x, read in self.numbers:
            x[...] = read()


def _called(function: Any) -> str:
    return str(getattr(function, "__name__", function))


# ------------------------------------------------------------------------------------------------ the emulator


class Recorded(Graph):
    """The emulator's: launches and NumPy's calls in their order.

    To know shapes the step runs while it is recorded; at the end all memory that it changed holds again what it held
    before, as on a GPU, which only takes notes.
    """

    name = "emulator"

    def __init__(self) -> None:
        super().__init__()
        self.steps: list[Callable[[], Any]] = []
        self._undo: list[tuple[np.ndarray, np.ndarray]] = []

    def begin(self) -> None:
        arrays.graph = self

    def end(self) -> None:
        arrays.graph = None
        for x, old in reversed(self._undo):
            np.copyto(x, old)
        self._undo.clear()

    def number(self, dtype: Any, read: Callable[[], Any], first: Any) -> Any:
        x = np.array(first, dtype)
        self.numbers.append((x, read))
        return adopt(x)

    def constant(self, shape: Sequence[int], value: Any, dtype: Any) -> Any:
        return self.call(np.full, (tuple(shape), value, dtype), {})

    def changes(self, x: np.ndarray) -> None:
        """x, in NumPy's eyes, is about to be written to."""
        self._undo.append((x, x.copy()))

    def call(self, function: Callable[..., Any], args: Sequence[Any], options: dict[str, Any]) -> Any:
        name = _called(function)
        inputs, named = lend(tuple(args)), lend(dict(options))
        if name in ABOUT:  # asks nothing about numbers
            return function(*inputs, **named)
        out = named.get("out")
        into = [x for x in (out if isinstance(out, tuple) else (out,)) if isinstance(x, np.ndarray)]
        if name in IN_PLACE:
            into.append(inputs[0])
        if name in COUNTING or getattr(function, "__annotations__", {}).get("return") == "None":
            raise RuntimeError(
                f"graph: {name} has no kernel for these arguments and cannot be captured; call it outside the capture"
            )
        for x in into:
            self.changes(x)
        result = _held(function(*inputs, **named))
        if isinstance(result, bool | float | str | bytes) or (result is None and not into):
            raise arrays.refused(name)
        if not (name in VIEWS and np.may_share_memory(result, inputs[0])):  # a view's numbers come by themselves
            self.steps.append(partial(_again, result, function, inputs, named))
        if out is not None:
            return options["out"][0] if isinstance(out, tuple) and len(out) == 1 else options["out"]
        return adopt(result)

    def replay(self) -> None:
        self._ready()
        with np.errstate(all="ignore"):
            for step in self.steps:
                step()
        for look in self.looks:
            look()


def _held(result: Any) -> Any:
    """NumPy's scalars as arrays, whose memory a replay can write to."""
    if isinstance(result, tuple | list):
        return type(result)([_held(each) for each in result])
    return np.asarray(result) if isinstance(result, np.generic) else result


def _again(result: Any, function: Callable[..., Any], inputs: Sequence[Any], named: dict[str, Any]) -> None:
    _put(result, function(*inputs, **named))


def _put(old: Any, new: Any) -> None:
    """The new numbers in the old memory; a view's already lie there."""
    if isinstance(old, tuple | list):
        for each, other in zip(old, new, strict=True):
            _put(each, other)
    elif isinstance(old, np.ndarray) and (not isinstance(new, np.ndarray) or new.ctypes.data != old.ctypes.data):
        if np.shape(new) != old.shape:
            raise RuntimeError(f"replay: a result has shape {np.shape(new)}, when it was captured {old.shape}")
        np.copyto(old, new)


# ------------------------------------------------------------------------------------------------------- a GPU


class Captured(Graph):
    """CuPy's, by CUDA's own capture, on a stream and in a pool of memory of its own.

    The pool outlives all replays: a block that the step gave back while it was captured serves the same step only. Of
    arrays from elsewhere those are kept that launch lines use, and so the graph reads no memory that others write to.
    """

    name = "cuda"

    def __init__(self, device: Any) -> None:
        super().__init__()
        self.device, self.cupy = device, device.cupy
        self.pool = self.cupy.cuda.MemoryPool()
        self.graph: Any = None
        self._own: set[int] = set()  # where the blocks of the pool begin
        self._kept: dict[int, Any] = {}
        self._most = 0
        self._lost = False
        self._due = False
        self._last: list[Any] = []

    def begin(self) -> None:
        cuda = self.cupy.cuda
        self._entered = [self.device.here]
        with self.device.here:
            cuda.runtime.deviceSynchronize()  # what the step reads has been computed, on whatever stream
            self.stream = cuda.Stream(non_blocking=True)
        self._entered += [cuda.using_allocator(self._malloc), self.stream]
        for each in self._entered:
            each.__enter__()
        cuda.set_pinned_memory_allocator(_no_copies)
        arrays.graph = self
        try:
            with _said("capture"):  # CuPy's pool may ask for more memory: relaxed
                self.stream.begin_capture(cuda.runtime.streamCaptureModeRelaxed)
        except BaseException:
            self._leave()
            raise

    def end(self) -> None:
        try:
            with _said("capture"):
                self.graph = self.stream.end_capture()
        finally:
            self._leave()
        if self._lost:
            self.graph = None
            raise MemoryError("graph: the GPU's memory is full while a step is captured; use a smaller batch")

    def _leave(self) -> None:
        arrays.graph = None
        self.cupy.cuda.set_pinned_memory_allocator(self.cupy.get_default_pinned_memory_pool().malloc)
        for each in reversed(self._entered):
            each.__exit__(None, None, None)

    def _malloc(self, size: int) -> Any:
        """Of the graph's pool. When memory is full CuPy gives idle blocks back to the driver, the graph's too: its pool
        is smaller then than it was."""
        memory = self.pool.malloc(size)
        self._own.add(memory.mem.ptr)
        total = self.pool.total_bytes()
        self._lost |= total < self._most
        self._most = max(self._most, total)
        return memory

    def keep(self, arguments: Mapping[str, Any]) -> None:
        for each in arguments.values():
            several = getattr(each, "arrays", None)
            for x in several.values() if several is not None else (getattr(each, "array", each),):
                if isinstance(x, self.cupy.ndarray) and x.data.mem.ptr not in self._own:
                    self._kept[x.data.mem.ptr] = x

    def number(self, dtype: Any, read: Callable[[], Any], first: Any) -> Any:
        x = self.cupy.empty((), dtype)  # to fill it here would be captured
        self.numbers.append((x, read))
        self._last.append(None)
        return x

    def constant(self, shape: Sequence[int], value: Any, dtype: Any) -> Any:
        return self.cupy.full(tuple(shape), value, dtype)  # goes with the launch, not through the CPU's memory

    def _ready(self) -> None:
        for do in self.befores:
            do()
        for n, (x, read) in enumerate(self.numbers):
            value = read()
            if value != self._last[n]:
                x.fill(x.dtype.type(value))
                self._last[n] = value

    def replay(self) -> None:
        """On CuPy's current stream, as any other work."""
        with _said("replay"), self.device.here:
            self._ready()
            self.graph.launch()
        if self.looks and not self._due:
            self._due = True
            self.device.later(self._look)

    def _look(self) -> None:
        self._due = False
        for look in self.looks:
            look()


def _said(doing: str) -> Any:
    """What CuPy raises inside becomes a sentence."""
    from .gpu import _guarded

    return _guarded(f"graph: {doing}")


def _no_copies(size: int) -> Any:
    raise arrays.frozen(f"{size} bytes")
