"""The CUDA kernels on the CPU: csrc/*.cu, unchanged, behind an emulator of the CUDA execution model (csrc/emulator/).

    minidl.kernels.emulator.matmul.tiled(a, b)      one rung, called as the verb in `reference` is
    minidl.kernels.emulator.sum.tree(x, (0,), False)
    counts = minidl.kernels.emulator.profile(minidl.kernels.emulator.matmul.tiled, a, b)
    minidl.kernels.emulator.unary("exp", x)         elementwise, `binary("add", a, b)` with broadcasting

Every access to memory is seen. A kernel that reads or writes out of bounds, races, leaves a barrier out or never ends
raises a `KernelFault`: a sentence with kernel, block, thread and line. What it asks of a GPU is counted, exactly:
`minidl cuda-profile matmul` prints that rung by rung. `Device(checked=False)` runs the same kernels without checks,
many times as fast.

Arrays are NumPy's. A checked launch works on copies that lie as on a GPU, each on a boundary of 256 bytes and with
empty space around it, so that counts do not depend on where NumPy put them, and a step out of an array does not land
in the next one.
"""

from __future__ import annotations

import importlib.util
import inspect
import struct
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np

from . import arrays as kinds
from . import reference
from .arrays import adopt, lend
from .cuda import conv as convolutions
from .cuda import elementwise
from .cuda import matmul as products
from .cuda import reduce as sums
from .cuda import softmax as softmaxes
from .cuda.launch import check_launch
from .emulation import Counts, Fault, KernelFault, Library, Memory
from .ladders import Ladder

__all__ = [
    "Counts",
    "Device",
    "Fault",
    "KernelFault",
    "Launch",
    "available",
    "binary",
    "conv2d",
    "matmul",
    "profile",
    "softmax",
    "sum",
    "tensor_cores",
    "unary",
]

Array = np.ndarray
APART = 1 << 16  # bytes of nothing between arrays
REMEDY = "`minidl doctor` says why; it needs a C++20 compiler (g++ or clang++) when minidl is installed"


@cache
def library(checked: bool) -> Library:
    """minidl's kernels, checked or quick. RuntimeError where they were not compiled."""
    name = "_emulator_checked" if checked else "_emulator_quick"
    found = importlib.util.find_spec(f"minidl.{name}")
    if found is None or not found.origin:
        raise RuntimeError(f"emulator: minidl.{name} was not built here; {REMEDY}")
    return Library(Path(found.origin), checked)


def available(checked: bool = True) -> bool:
    """Whether the emulated kernels were built."""
    return importlib.util.find_spec("minidl._emulator_checked" if checked else "minidl._emulator_quick") is not None


@dataclass(frozen=True)
class Launch:
    """What was launched, and what it took."""

    kernel: str
    grid: tuple[int, ...]
    block: tuple[int, ...]
    counts: Counts


class Device:
    """Runs launch lines (kernels/cuda/) on NumPy arrays. `launches` lists what ran.

    checked: find faults and count (else: as fast as the CPU can). seconds: processor time for one launch. kernels: a
    `Library` of your own. array: the class of its arrays, NumPy's or `EmulatorArray`, which tensors there hold.
    """

    def __init__(
        self,
        checked: bool = True,
        seconds: float = 300.0,
        kernels: Library | None = None,
        array: type[np.ndarray] = np.ndarray,
    ) -> None:
        self.checked, self.seconds, self.kernels, self.array = checked, seconds, kernels, array
        self.launches: deque[Launch] = deque(maxlen=100_000)

    def empty(self, shape: Sequence[int], dtype: Any) -> Array:
        """A new array that holds anything."""
        return self.array(tuple(shape), dtype)

    def zeros(self, shape: Sequence[int], dtype: Any) -> Array:
        """A new array of zeros."""
        if self._graph is not None:
            return self._graph.call(np.zeros, (shape, dtype), {})
        return self.adopt(np.zeros(shape, dtype))

    def adopt(self, result: Any) -> Any:
        """What NumPy computed as arrays of this device."""
        if self._graph is not None and isinstance(result, np.ndarray) and type(result) is np.ndarray:
            if result.ndim:
                raise kinds.frozen(f"{result.shape} {result.dtype}")
            return self._graph.constant((), result.item(), result.dtype)
        return result if self.array is np.ndarray else adopt(result)

    @property
    def _graph(self) -> Any:
        """What is captured now of the work of tensors here."""
        return None if self.array is np.ndarray else kinds.graph

    def later(self, look: Callable[[], None]) -> None:
        """Call `look`, which reads what kernels wrote and raises where that tells of bad input: now, or after each
        replay of the graph that is being captured."""
        if self._graph is None:
            look()
        else:
            self._graph.later(look)

    @property
    def plain(self) -> Any:
        """The reference's verbs, on this device's arrays."""
        return reference if self.array is np.ndarray else _Lent()

    def launch(
        self,
        kernel: str,
        grid: Sequence[int],
        block: Sequence[int],
        arguments: Mapping[str, Any],
        writes: Sequence[str],
        fresh: bool = True,
        shared: int = 0,
    ) -> None:
        """As `cuda.launch.Device.launch`. KernelFault where the kernel does what it must not."""
        check_launch(kernel, grid, block)
        kernels = self.kernels or library(self.checked)
        sizes = kernels.sizes(kernel)
        if len(sizes) != len(arguments):
            given = ", ".join(arguments)
            raise ValueError(f"{kernel}: got {len(arguments)} arguments ({given}), it takes {len(sizes)}")
        arrays = {name: getattr(each, "array", each) for name, each in arguments.items()}
        for each in arguments.values():
            arrays |= getattr(each, "arrays", {})
        arrays = {name: lend(each) for name, each in arrays.items() if isinstance(each, np.ndarray)}
        graph = self._graph
        if graph is not None and graph.name != "emulator":
            graph.call(self.launch, (), {})  # refuses
        if graph is not None and not fresh:
            for name in writes:
                graph.changes(arrays[name])
        with (_copies if self.checked else _in_place)(arrays, writes, fresh) as memory:
            address = {each.name: start for each, start in memory}
            packed = [_pack(kernel, n, each, size, address) for (n, each), size in zip(arguments.items(), sizes)]
            known = [each for each, _ in memory]
            counts, faults = kernels.launch(kernel, grid, block, packed, known, shared, self.seconds)
        if faults:
            raise KernelFault(faults)
        if graph is not None:
            graph.steps.append(partial(self.launch, kernel, grid, block, dict(arguments), writes, fresh, shared))
        self.launches.append(Launch(kernel, tuple(grid), tuple(block), counts))


class _Lent:
    """The reference's verbs, which see the memory of the emulator's arrays as NumPy's."""

    def __getattr__(self, name: str) -> Callable[..., Any]:
        verb = getattr(reference, name)
        return lambda *args: verb(*lend(args)) if kinds.graph is None else kinds.graph.call(verb, args, {})


def _pack(kernel: str, name: str, argument: Any, size: int, address: Mapping[str, int]) -> bytes:
    """One argument as the kernel wants it."""
    if isinstance(argument, int):
        packed = argument.to_bytes(size, "little", signed=True)
    elif isinstance(argument, np.generic):
        packed = argument.tobytes()
    elif isinstance(argument, np.ndarray):
        packed = struct.pack("<Q", address[name])
    elif hasattr(argument, "arrays"):
        packed = argument.pack(address)
    else:
        packed = argument.pack(address[name]) if name in address else argument.pack()
    if len(packed) != size:
        raise ValueError(f"{kernel}: argument {name} has {len(packed)} bytes, the kernel's has {size}")
    return packed


Placed = list[tuple[Memory, int]]  # the memory of an array, and the address of its first number


def _extent(x: Array) -> tuple[int, int]:
    """The lowest address that the array uses, and the bytes from there to the end of the highest."""
    low, high = np.lib.array_utils.byte_bounds(x)
    return low, high - low


@contextmanager
def _in_place(arrays: Mapping[str, Array], writes: Sequence[str], fresh: bool) -> Iterator[Placed]:
    yield [(Memory(name, *_extent(x), x.itemsize, name in writes, fresh), x.ctypes.data) for name, x in arrays.items()]


@contextmanager
def _copies(arrays: Mapping[str, Array], writes: Sequence[str], fresh: bool) -> Iterator[Placed]:
    """The arrays as on a device; afterwards `writes` are copied back."""
    extents = {name: _extent(x) for name, x in arrays.items()}
    arena = np.zeros(np.sum([size + APART + 512 for _, size in extents.values()], dtype=int) + APART + 512, np.uint8)
    start = arena.ctypes.data
    at = (start + APART + 255) // 256 * 256
    placed, views = [], {}
    for name, x in arrays.items():
        low, size = extents[name]
        first = x.ctypes.data - low  # not 0 where a stride is negative
        view = np.ndarray(x.shape, x.dtype, arena.data, at - start + first, x.strides)
        if name not in writes or not fresh:
            np.copyto(view if 0 not in x.strides else _once(view), x if 0 not in x.strides else _once(x))
        placed.append((Memory(name, at, size, x.itemsize, name in writes, name in writes and fresh), at + first))
        views[name] = view
        at = (at + size + APART + 255) // 256 * 256
    yield placed
    for name in writes:
        np.copyto(arrays[name], views[name])


def _once(x: Array) -> Array:
    """x without the repetitions of dimensions of stride 0."""
    return x[tuple(slice(1) if stride == 0 else slice(None) for stride in x.strides)]


# ------------------------------------------------------------------------------------------- the kernels by name


def _rung(line: Callable[..., Array], verb: str, rung: str, why: str) -> Callable[..., Array]:
    def run(*args: Any, device: Device | None = None) -> Array:
        return line(device or Device(), rung, *args)

    run.__name__, run.__qualname__, run.__doc__ = rung, f"emulator.{verb}.{rung}", inspect.cleandoc(why)
    return run


conv2d = Ladder(
    "emulator.conv2d",
    reference.conv2d,
    {rung: _rung(convolutions.conv2d_by_rung, "conv2d", rung, line.why) for rung, line in convolutions.CONV2D.items()},
)
matmul = Ladder(
    "emulator.matmul",
    reference.matmul,
    {rung: _rung(products.by_rung, "matmul", rung, line.why) for rung, line in products.MATMUL.items()},
)
tensor_cores = Ladder(
    "emulator.tensor_cores",
    reference.matmul,
    {name: _rung(products.by_tensor_cores, "tensor_cores", name, at.why) for name, at in products.TENSOR_CORES.items()},
)
sum = Ladder(
    "emulator.sum",
    reference.sum,
    {rung: _rung(sums.sum_by_rung, "sum", rung, line.why) for rung, line in sums.SUM.items()},
)
reduce = sum
softmax = Ladder(
    "emulator.softmax",
    reference.softmax,
    {rung: _rung(softmaxes.softmax_by_rung, "softmax", rung, line.why) for rung, line in softmaxes.SOFTMAX.items()},
)


def unary(name: str, x: Array, device: Device | None = None) -> Array:
    """Y[n] = f(X[n])

    f: neg abs sign exp ... relu (`elementwise.UNARY`).
    """
    return elementwise.unary(device or Device(), name, x)


def binary(name: str, a: Array, b: Array, device: Device | None = None) -> Array:
    """Y[n] = f(A[n], B[n])

    f: add sub mul ... ge (`elementwise.BINARY`); shapes broadcast.
    """
    return elementwise.binary(device or Device(), name, a, b)


def profile(rung: Callable[..., Array], *args: Any, seconds: float = 300.0) -> Counts:
    """What a rung asks of a GPU, all its launches together."""
    device = Device(seconds=seconds)
    rung(*args, device=device)
    total = Counts()
    for launch in device.launches:
        total += launch.counts
    return total
