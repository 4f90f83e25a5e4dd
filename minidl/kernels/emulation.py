"""A library of emulated kernels, as csrc/emulator/ builds it: its kernels by name, one launch, and faults in words.

`Library(path)` opens any such library: minidl's own two, or one made of your own kernels (see `build`).
"""

from __future__ import annotations

import ctypes
import os
import re
import shlex
import shutil
import subprocess
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path

__all__ = ["Counts", "Fault", "KernelFault", "Library", "build"]

CSRC = Path(__file__).resolve().parents[2] / "csrc"
RUNTIME = ["-std=c++20", "-O2", "-g1", "-fPIC", "-fvisibility=hidden", "-Wall"]
# Vectors would make several threads' accesses of one; a load that is written once must stay one.
CHECKED = ["-fno-tree-vectorize", "-fsanitize=thread", "-fsanitize=bounds", "-DMINIDL_CHECKED"]


@dataclass
class Counts:
    """What a launch, or several, asked of the device. Exact, and the same every time."""

    global_loads: int = 0  # instructions of a warp
    global_stores: int = 0
    sectors: int = 0  # transactions of 32 bytes with global memory; no cache is modelled
    bytes_used: int = 0  # of those, asked for by some thread
    shared_loads: int = 0  # instructions of a warp
    shared_stores: int = 0
    shared_passes: int = 0  # over the 32 banks of shared memory
    bank_conflicts: int = 0  # passes that other addresses would have spared
    atomics: int = 0  # operations of one thread
    multiply_adds: int = 0  # one multiplication and one addition each
    additions: int = 0
    barriers: int = 0  # __syncthreads, once a block
    exchanges: int = 0  # shuffles and votes, once a warp

    @property
    def bytes(self) -> int:
        """Bytes moved from and to global memory."""
        return 32 * self.sectors

    @property
    def flops(self) -> int:
        """Floating-point operations that the kernels count: those of `multiply_add` and `add`."""
        return 2 * self.multiply_adds + self.additions

    @property
    def intensity(self) -> float:
        """Arithmetic intensity: operations for each byte moved."""
        return self.flops / self.bytes if self.bytes else 0.0

    @property
    def transactions(self) -> int:
        """Everything that memory is asked for: sectors, passes over shared memory, atomic operations."""
        return self.sectors + self.shared_passes + self.atomics

    def __add__(self, other: Counts) -> Counts:
        return Counts(*(getattr(self, f.name) + getattr(other, f.name) for f in fields(self)))


class _Counts(ctypes.Structure):
    _fields_ = [(f.name, ctypes.c_uint64) for f in fields(Counts)]


class _Array(ctypes.Structure):
    _fields_ = [
        ("data", ctypes.c_uint64),
        ("bytes", ctypes.c_uint64),
        ("writable", ctypes.c_int32),
        ("fresh", ctypes.c_int32),
    ]


class _Who(ctypes.Structure):
    _fields_ = [("block", ctypes.c_uint32 * 3), ("thread", ctypes.c_uint32 * 3)]

    def __str__(self) -> str:
        return f"block {tuple(self.block)}, thread {tuple(self.thread)}"


class _Fault(ctypes.Structure):
    _fields_ = [
        ("kind", ctypes.c_int32), ("access", ctypes.c_int32), ("who", _Who), ("other", _Who),
        ("other_access", ctypes.c_int32), ("array", ctypes.c_int32), ("offset", ctypes.c_int64),
        ("bytes", ctypes.c_int32), ("line", ctypes.c_int32), ("other_line", ctypes.c_int32), ("code", ctypes.c_uint64),
        ("times", ctypes.c_uint64), ("file", ctypes.c_char * 64), ("word", ctypes.c_char * 64),
    ]  # fmt: skip


KINDS = (
    "out of bounds", "read-only", "misaligned", "index", "race", "uninitialised", "divergent barrier",
    "different barriers", "stuck exchange", "absent lane", "endless",
)  # fmt: skip


@dataclass(frozen=True)
class Fault:
    """Something that a kernel must not do. `str(fault)` is the sentence."""

    kind: str  # one of KINDS
    kernel: str
    block: tuple[int, int, int]
    thread: tuple[int, int, int]
    sentence: str
    times: int  # how often the same was found at the same place

    def __str__(self) -> str:
        return self.sentence


class KernelFault(RuntimeError):
    """A kernel did what it must not; `.faults` lists what was found, each with kernel, block and thread."""

    def __init__(self, faults: Sequence[Fault]) -> None:
        more = f" (and {len(faults) - 1} more, in .faults)" if len(faults) > 1 else ""
        super().__init__(f"{faults[0]}{more}")
        self.faults = list(faults)


@dataclass(frozen=True)
class Memory:
    """An array as a launch sees it: where it lies, and what may be done with it."""

    name: str
    address: int
    bytes: int
    itemsize: int
    writable: bool = False
    fresh: bool = False  # holds nothing yet


@dataclass
class Library:
    """The kernels of a compiled library."""

    path: Path
    checked: bool
    kernels: dict[str, tuple[int, list[int]]] = field(default_factory=dict)  # name -> number, sizes of the arguments

    _lock = threading.Lock()  # one launch at a time

    def __post_init__(self) -> None:
        self._library = ctypes.CDLL(str(self.path))
        kernel = self._library.minidl_emulator_kernel
        kernel.restype = ctypes.c_char_p
        sizes, count = ctypes.POINTER(ctypes.c_int)(), ctypes.c_int()
        number = 0
        while name := kernel(number, ctypes.byref(sizes), ctypes.byref(count)):
            self.kernels[name.decode()] = number, sizes[: count.value]
            number += 1

    def sizes(self, kernel: str) -> list[int]:
        """The sizes of the kernel's arguments in bytes; ValueError where there is no such kernel."""
        if kernel not in self.kernels:
            raise ValueError(f"{kernel}: the emulator has no such kernel; it has {', '.join(sorted(self.kernels))}")
        return self.kernels[kernel][1]

    def launch(
        self,
        kernel: str,
        grid: Sequence[int],
        block: Sequence[int],
        arguments: Sequence[bytes],
        memory: Sequence[Memory],
        shared: int = 0,
        seconds: float = 300.0,
    ) -> tuple[Counts, list[Fault]]:
        """Run a kernel, with its arguments as bytes and the arrays that it may touch; what it took and did wrong.

        Only a checked library counts, and finds more than a kernel that never ends (`seconds` of processor time).
        """
        number = self.kernels[kernel][0]
        buffers = [ctypes.create_string_buffer(each, len(each)) for each in arguments]
        pointers = (ctypes.c_void_p * (len(buffers) + 1))(*map(ctypes.addressof, buffers))
        arrays = (_Array * (len(memory) + 1))(*(_Array(m.address, m.bytes, m.writable, m.fresh) for m in memory))
        counts, faults, base = _Counts(), (_Fault * 32)(), ctypes.c_uint64()
        with self._lock:
            found = self._library.minidl_emulator_launch(
                number, _three(grid), _three(block), ctypes.c_size_t(shared), pointers, arrays, len(memory),
                int(self.checked), ctypes.c_double(seconds), ctypes.byref(counts), faults, ctypes.byref(base),
            )  # fmt: skip
        if found < 0:
            raise MemoryError(f"{kernel}: no memory for the emulator's stacks or tables; use smaller arrays or blocks")
        total = Counts(*(getattr(counts, f.name) for f in fields(Counts))) if self.checked else Counts()
        return total, [self._explain(kernel, fault, memory, seconds) for fault in faults[:found]]

    def _explain(self, kernel: str, fault: _Fault, memory: Sequence[Memory], seconds: float) -> Fault:
        kind = KINDS[fault.kind]
        sentence = f"{kernel}{self._place(fault)}: {fault.who} {_words(kind, fault, memory, seconds)}"
        if fault.times > 1:
            sentence += f"; found {fault.times} times"
        return Fault(kind, kernel, tuple(fault.who.block), tuple(fault.who.thread), sentence, fault.times)

    def _place(self, fault: _Fault) -> str:
        """ at matmul.cu:57 (with the blank), where that is known."""
        if fault.file:
            return f" at {fault.file.decode()}:{fault.line}"
        tool = shutil.which("addr2line")
        if not fault.code or tool is None:
            return ""
        run = subprocess.run([tool, "-i", "-e", str(self.path), hex(fault.code - 1)], capture_output=True, text=True)
        places = re.findall(r"([^/\n]+\.cu:\d+)", run.stdout)
        return f" at {places[0]}" if places else ""


def _three(size: Sequence[int]) -> ctypes.Array[ctypes.c_uint]:
    return (ctypes.c_uint * 3)(*size, *(1,) * (3 - len(size)))


def _words(kind: str, fault: _Fault, memory: Sequence[Memory], seconds: float) -> str:
    """What the thread did, and what to do about it."""
    did = ("reads", "writes", "atomically changes")[fault.access]
    other_did = ("read", "written", "atomically changed")[fault.other_access]
    bytes = f"{fault.bytes} bytes"
    where = _where(fault, memory)
    place = fault.word.decode()
    match kind:
        case "out of bounds":
            return f"{did} {bytes} {where}, which is out of bounds; guard the edge"
        case "read-only":
            return f"{did} {bytes} {where}, which this launch only reads; name it among the launch's results"
        case "misaligned":
            return f"{did} {bytes} at once {where}, which is no multiple of {fault.bytes}; a GPU stops there"
        case "index":
            return f"uses index {fault.offset}, which is outside of its array; guard the edge"
        case "race":
            same = tuple(fault.who.block) == tuple(fault.other.block)
            remedy = (
                "no barrier lies between: add __syncthreads() (within a warp __syncwarp()) or use an atomic operation"
                if same
                else "blocks of one launch have no order: use two launches or an atomic operation"
            )
            return f"{did} {bytes} {where}, which {fault.other} has {other_did}, and {remedy}"
        case "uninitialised":
            return f"{did} {bytes} {where}, which nobody has written before"
        case "divergent barrier":
            return f"waits in {place}, which thread {tuple(fault.other.thread)} never reaches, for it has ended"
        case "different barriers":
            return (
                f"waits in {place}, while thread {tuple(fault.other.thread)} waits at line {fault.other_line}; all"
                " threads of a block must meet at the same one"
            )
        case "stuck exchange":
            if tuple(fault.who.thread) == tuple(fault.other.thread):
                return f"calls {place} with a mask that does not name its own lane"
            return (
                f"waits in {place} for thread {tuple(fault.other.thread)}, which its mask names and which waits at line"
                f" {fault.other_line}"
            )
        case "absent lane":
            return f"asks lane {fault.offset} for its value in a shuffle in which that lane takes no part"
    return (
        f"still ran after {seconds:g} s of processor time, so the launch was given up: a loop that never ends, a wait"
        " for another block, or a launch that needs a larger `seconds`"
    )


def _where(fault: _Fault, memory: Sequence[Memory]) -> str:
    if fault.array == -1:
        return "of shared memory"
    if fault.array == -2:
        return f"of dynamic shared memory, from byte {fault.offset} on"
    if fault.array < 0:
        return "in no array of this launch"
    array = memory[fault.array]
    n, part = divmod(fault.offset, array.itemsize)
    of = f"of {array.name}, from number {n}" + (f" and byte {part}" if part else "") + " on"
    return f"{of} ({array.name} holds {array.bytes // array.itemsize})"


def build(source: Path, target: Path, checked: bool = True, csrc: Path = CSRC) -> Library:
    """Compile your own kernels for the emulator: a .cu file that includes csrc/emulator/cuda.h and names its
    kernels in KERNEL(...) or PLAIN_KERNEL(...).

    csrc: that folder of a checkout of minidl, by default the one that this module lies beside; an installed package has
    none. RuntimeError with the compiler's words where that fails."""
    compiler = shlex.split(os.environ.get("CXX", "c++"))
    runtime = [str(path) for path in sorted((csrc / "emulator").glob("*.cpp"))]
    if not csrc.is_dir():
        raise RuntimeError(f"emulator: {csrc} is not there; give csrc, that folder of a checkout of minidl")
    kernels = target.with_suffix(".o")
    kind = CHECKED if checked else []
    for command in (
        [*compiler, *RUNTIME, *kind, f"-I{csrc}", "-x", "c++", "-c", str(source), "-o", str(kernels)],
        [*compiler, *RUNTIME, "-shared", *runtime, str(kernels), "-o", str(target), "-pthread"],
    ):
        run = subprocess.run(command, capture_output=True, text=True)
        if run.returncode:
            raise RuntimeError(f"emulator: {compiler[0]} refuses {source}: {run.stderr.strip()}")
    return Library(target, checked)
