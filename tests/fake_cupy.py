"""A stand-in for CuPy where there is no GPU: its arrays are as particular as CuPy's (no silent conversion to NumPy's,
no mixing with them), its kernels are the emulator's quick ones, called with arguments as CuPy hands them to the driver.
"""

from __future__ import annotations

import ctypes
import time
import types
from collections.abc import Callable
from typing import Any

import numpy as np

from minidl.kernels import emulator, reference

PLAIN = "shape dtype ndim size strides itemsize nbytes".split()
ABSENT = {"errstate", "frompyfunc", "ufunc"}  # what CuPy lacks of what the reference uses, and its own class


class CUDARuntimeError(RuntimeError):
    pass


class CUDADriverError(RuntimeError):
    pass


class CompileException(Exception):
    pass


class OutOfMemoryError(MemoryError):
    pass


def unwrap(x: Any) -> Any:
    if isinstance(x, tuple | list):
        return type(x)(map(unwrap, x))
    if isinstance(x, dict):
        return {name: unwrap(each) for name, each in x.items()}
    if isinstance(x, np.ndarray) and x.ndim:
        raise TypeError("Unsupported type <class 'numpy.ndarray'>")
    return x.host if isinstance(x, Array) else x


def wrap(x: Any) -> Any:
    if isinstance(x, tuple | list):
        return type(x)(map(wrap, x))
    return Array(np.asarray(x)) if isinstance(x, np.ndarray | np.generic) else x


class Array(np.lib.mixins.NDArrayOperatorsMixin):
    """cupy.ndarray, in NumPy's memory (`host`)."""

    def __init__(self, host: np.ndarray) -> None:
        self.host = host

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        found = getattr(self.host, name)
        if name in PLAIN or name == "flags":
            return found
        return (lambda *args, **named: wrap(found(*unwrap(args), **unwrap(named)))) if callable(found) else wrap(found)

    @property
    def data(self) -> Any:
        at = self.host.ctypes.data
        return types.SimpleNamespace(ptr=at, mem=types.SimpleNamespace(ptr=at))

    def __array__(self, *args: Any, **named: Any) -> Any:
        raise TypeError("Implicit conversion to a NumPy array is not allowed. Please use `.get()`")

    def __array_function__(self, function: Any, kinds: Any, args: Any, named: Any) -> Any:
        return wrap(function(*unwrap(args), **unwrap(named)))

    def __array_ufunc__(self, ufunc: Any, method: str, *args: Any, **named: Any) -> Any:
        out = named.get("out")
        result = getattr(ufunc, method)(*unwrap(args), **unwrap(named))
        return out[0] if out else wrap(result)

    def __getitem__(self, index: Any) -> Array:
        return Array(np.asarray(self.host[unwrap(index)]) if self.host.ndim else self.host[unwrap(index)])

    def __setitem__(self, index: Any, value: Any) -> None:
        self.host[unwrap(index)] = unwrap(value)

    def __len__(self) -> int:
        return len(self.host)

    def __bool__(self) -> bool:
        return bool(self.host)

    def __int__(self) -> int:
        return int(self.host)

    def __format__(self, form: str) -> str:
        return format(self.host, form)


class Function:
    """A kernel: runs in the emulator on the bytes that the driver would read."""

    def __init__(self, cupy: FakeCupy, name: str) -> None:
        self.cupy, self.name, self.max_dynamic_shared_size_bytes = cupy, name, 48 * 1024

    def __call__(self, grid: Any, block: Any, args: Any, *, shared_mem: int = 0) -> None:
        if self.cupy.captured is not None:
            self.cupy.captured.append((self, (grid, block, args)))
            return
        self.cupy.launches.append((self.name, grid, block, args, shared_mem))
        if self.cupy.fails_at("launch"):
            return
        if shared_mem > self.max_dynamic_shared_size_bytes:
            raise CUDADriverError("CUDA_ERROR_INVALID_VALUE: invalid argument")
        if self.name == "answer":
            ctypes.c_int.from_address(int(args[0])).value = 42
            return
        library = emulator.library(False)
        assert len(args) == len(library.sizes(self.name)), (self.name, args)
        packed = []
        for x, size in zip(args, library.sizes(self.name)):
            assert isinstance(x, np.generic) or (isinstance(x, np.ndarray) and x.size == 1), (self.name, x)
            given = x.tobytes()
            # CuPy passes an address; the driver reads as many bytes from there as the kernel's parameter has.
            assert len(given) == size or (isinstance(x, np.uint64) and len(given) > size), (self.name, x, size)
            packed.append(given[:size])
        _, faults = library.launch(self.name, grid, block, packed, [], shared_mem)
        assert not faults, faults


class Device:
    def __init__(self, cupy: FakeCupy, index: int) -> None:
        self.cupy, self.index = cupy, index

    compute_capability = "90"

    def __enter__(self) -> Device:
        self.cupy.current.append(self.index)
        return self

    def __exit__(self, *error: Any) -> None:
        self.cupy.current.pop()


class Event:
    def record(self) -> None:
        self.time = time.perf_counter()

    def synchronize(self) -> None:
        pass


class Entered:
    """A context manager of CuPy's that tells when it is entered and left."""

    def __init__(self, cupy: FakeCupy, name: str) -> None:
        self.cupy, self.name = cupy, name

    def __enter__(self) -> Entered:
        self.cupy.calls.append(f"enter {self.name}")
        return self

    def __exit__(self, *error: Any) -> None:
        self.cupy.calls.append(f"leave {self.name}")


class Stream(Entered):
    """Captures as CUDA does, but for the memory: what is launched meanwhile runs, and again when it is replayed."""

    def __init__(self, cupy: FakeCupy, non_blocking: bool) -> None:
        super().__init__(cupy, "stream")
        assert non_blocking

    def begin_capture(self, mode: str) -> None:
        self.cupy.fails_at("capture")
        self.cupy.calls.append(f"begin {mode}")
        self.cupy.captured = []

    def end_capture(self) -> Any:
        self.cupy.calls.append("end")
        captured, self.cupy.captured = self.cupy.captured, None

        def launch() -> None:
            self.cupy.calls.append("launch")
            for function, args in captured or ():
                function(*args)

        return types.SimpleNamespace(launch=launch)


class Pool:
    def __init__(self) -> None:
        self.total = 0

    def malloc(self, size: int) -> Any:
        self.total += size
        return types.SimpleNamespace(mem=types.SimpleNamespace(ptr=self.total))

    def total_bytes(self) -> int:
        return self.total


class FakeCupy(types.ModuleType):
    """The module. `failures`: where (count, new, compile, launch, copy) to raise what."""

    def __init__(self, gpus: int = 1, **failures: Exception) -> None:
        super().__init__("cupy")
        self.failures: dict[str, Exception] = failures
        self.launches: list[tuple[Any, ...]] = []
        self.modules: list[dict[str, Any]] = []
        self.current = [0]
        self.calls: list[str] = []  # of streams, pools and graphs
        self.captured: list[Any] | None = None
        self.pinned: Any = None
        self.waits = self.freed = 0
        self.versions = (0, 13020)
        self.ndarray = Array
        self.__version__ = "14.2.0"
        special = types.ModuleType("cupyx.scipy.special")
        special.erf = lambda x: wrap(reference.erf(unwrap(x)))  # type: ignore[attr-defined]
        self.special = special
        self.lib = types.SimpleNamespace(
            stride_tricks=types.SimpleNamespace(
                sliding_window_view=self._on_arrays(np.lib.stride_tricks.sliding_window_view)
            )
        )
        self.cuda = types.SimpleNamespace(
            Device=lambda index: Device(self, index),
            runtime=types.SimpleNamespace(
                CUDARuntimeError=CUDARuntimeError,
                getDeviceCount=lambda: self.fails_at("count") or gpus,
                driverGetVersion=lambda: self.versions[0],
                runtimeGetVersion=lambda: self.versions[1],
                deviceSynchronize=self._wait,
                streamCaptureModeRelaxed="relaxed",
                getDeviceProperties=lambda index: {"name": b"no card", "totalGlobalMem": 1 << 30},
            ),
            driver=types.SimpleNamespace(CUDADriverError=CUDADriverError),
            compiler=types.SimpleNamespace(CompileException=CompileException),
            Event=Event,
            Stream=lambda non_blocking: Stream(self, non_blocking),
            MemoryPool=Pool,
            using_allocator=lambda allocate: Entered(self, "pool"),
            set_pinned_memory_allocator=lambda allocate: setattr(self, "pinned", allocate),
            get_elapsed_time=lambda start, end: 1e3 * (end.time - start.time),
        )

    def fails_at(self, where: str) -> None:
        if where in self.failures:
            raise self.failures[where]

    def _wait(self) -> None:
        self.waits += 1

    def get_default_pinned_memory_pool(self) -> Any:
        return types.SimpleNamespace(malloc="CuPy's own")

    def get_default_memory_pool(self) -> Any:
        return types.SimpleNamespace(free_all_blocks=lambda: setattr(self, "freed", self.freed + 1))

    @staticmethod
    def _on_arrays(function: Callable[..., Any]) -> Callable[..., Any]:
        return lambda *args, **named: wrap(function(*unwrap(args), **unwrap(named)))

    def __getattr__(self, name: str) -> Any:
        if name in ABSENT or name.startswith("_"):
            raise AttributeError(f"module 'cupy' has no attribute {name!r}")
        found = getattr(np, name)
        if isinstance(found, np.ufunc):
            wrapped = self._on_arrays(found)
            wrapped.at = self._on_arrays(found.at)  # type: ignore[attr-defined]
            return wrapped
        return self._on_arrays(found) if callable(found) and not isinstance(found, type) else found

    def indices(self, shape: Any, dtype: Any = int) -> Array:
        return Array(np.indices(shape, dtype))

    def empty(self, shape: Any, dtype: Any) -> Array:
        self.fails_at("new")
        return Array(np.full(shape, 77, dtype))

    def zeros(self, shape: Any, dtype: Any) -> Array:
        self.fails_at("new")
        return Array(np.zeros(shape, dtype))

    def asarray(self, x: Any, dtype: Any = None) -> Array:
        self.fails_at("new")
        return Array(np.array(x.host if isinstance(x, Array) else x, dtype))

    def asnumpy(self, x: Array) -> np.ndarray:
        self.fails_at("copy")
        return x.host.copy()

    def RawKernel(self, code: str, name: str) -> Function:
        self.fails_at("compile")
        return Function(self, name)

    def RawModule(self, **options: Any) -> Any:
        self.modules.append(options)
        self.fails_at("compile")

        def get_function(name: str) -> Function:
            assert name in options["name_expressions"]
            return Function(self, name)

        return types.SimpleNamespace(get_function=get_function)
