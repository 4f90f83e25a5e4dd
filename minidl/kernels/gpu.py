"""CUDA kernels on an NVIDIA GPU: the launch lines of kernels/cuda/ on CuPy's arrays.

    device = gpu.device()                 RuntimeError in one sentence where there is none
    backend = cuda.Backend(device)
    x = gpu.to_device(array)              gpu.to_host(backend.exp(x))

A kernel is compiled by NVRTC when it is first launched on a kind of GPU, and kept by CuPy in its cache on disk
(`~/.cupy/kernel_cache`, or where CUPY_CACHE_DIR says). Kernels run on CuPy's current stream, and nothing here waits
for them except copies to the host: an error of a kernel shows up in a later call, and so does a wrong index. CuPy
compiles with `-ftz=true`: float32 numbers below 1.2e-38 count as 0 in kernels.

Verbs without a kernel run the reference's own formulas with CuPy's functions in NumPy's place (`_Plain`).
"""

from __future__ import annotations

import types
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from functools import cache, partial
from typing import Any

import numpy as np

from . import arrays, reference
from .cuda.launch import check_launch
from .cuda.source import source

__all__ = ["Device", "array_type", "available", "count", "device", "empty_cache", "synchronize", "to_device", "to_host"]

Array = Any  # cupy.ndarray
EMULATOR = "device 'emulator' runs the same kernels on the CPU"
OPTIONS = ("-std=c++17",)
STATIC_SHARED = 48 * 1024  # bytes of dynamic shared memory that a kernel may ask for without permission

# What the driver and the runtime say, without "CUDA_ERROR_" or "cudaError", and the remedy.
FULL = "the GPU's memory is full; use a smaller batch, or delete tensors that are no longer needed"
UNKNOWN_GPU = "CuPy's version of CUDA does not know this GPU; install a newer one, or one for a newer CUDA"
TAKEN = "another process holds the GPU for itself; check `nvidia-smi`"
REASONS = {
    "nodevice": "the driver finds no GPU; check `nvidia-smi` and CUDA_VISIBLE_DEVICES",
    "systemdrivermismatch": "the driver was replaced while it was in use; restart the machine",
    "systemnotready": "the driver is not ready; check `nvidia-smi`",
    "outofmemory": FULL,
    "memoryallocation": FULL,
    "nobinaryforgpu": UNKNOWN_GPU,
    "nokernelimagefordevice": UNKNOWN_GPU,
    "devicesunavailable": TAKEN,
    "deviceunavailable": TAKEN,
}
# After these the process can no longer use the GPU.
LOST = frozenset(
    "illegaladdress illegalinstruction launchfailure launchfailed launchtimeout assert eccuncorrectable contained"
    " hardwarestackerror misalignedaddress invalidaddressspace invalidpc contextisdestroyed tensormemoryerror unknown"
    .split()
)  # fmt: skip


@cache
def _cupy() -> Any:
    """CuPy. RuntimeError where it is missing, does not load, or finds no driver."""
    try:
        import cupy
    except Exception as error:  # of many types: ImportError, and what CuPy raises about the CUDA libraries
        raise RuntimeError(
            f"device 'cuda': CuPy does not load ({_first_line(error)}); type pip install 'minidl[cuda13]' "
            f"(for a driver of CUDA 12: 'minidl[cuda12]'), or go without: {EMULATOR}"
        ) from error
    return cupy


def _first_line(error: BaseException) -> str:
    """The first line of the message that says something; the compiler's first error where there is one."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
    return next((line for line in lines if " error:" in line), lines[0])


def _explained(error: Exception, doing: str) -> Exception:
    """One sentence with cause and remedy for what CuPy raised while `doing` something."""
    said = _first_line(error)
    name = said.partition(":")[0].lower().replace("_", "").removeprefix("cudaerror")
    kind = type(error).__name__
    if kind == "CompileException":
        return RuntimeError(f"{doing}: NVRTC refuses the kernel: {said}; {EMULATOR} and needs no NVRTC")
    if kind == "DynamicLibNotFoundError":
        return RuntimeError(
            f"{doing}: a library of CUDA is missing ({said}); type pip install 'minidl[cuda13]' (for a driver of CUDA "
            f"12: 'minidl[cuda12]'), which brings it, or go without: {EMULATOR}"
        )
    if name == "insufficientdriver":
        runtime = _cupy().cuda.runtime
        version, needed = _version(runtime.driverGetVersion()), _version(runtime.runtimeGetVersion())
        cause = (
            f"the NVIDIA driver supports CUDA {version}, CuPy needs {needed}: update it, or install 'minidl[cuda12]'"
        )
        if version == "0.0":
            cause = "there is no NVIDIA driver: install it, on a machine with an NVIDIA GPU"
        return RuntimeError(f"{doing}: {cause}; {EMULATOR}")
    if isinstance(error, MemoryError) or REASONS.get(name) == FULL:
        return MemoryError(f"{doing}: {FULL} ({said}); {EMULATOR}")
    if name in REASONS:
        return RuntimeError(f"{doing}: {REASONS[name]} ({said}); {EMULATOR}")
    if name in LOST:
        return RuntimeError(
            f"{doing}: the GPU was lost, most likely in a kernel launched before ({said}): tensors on the CPU are "
            f"unharmed, for the GPU restart the process; {EMULATOR} and names the kernel, block and thread at fault"
        )
    return RuntimeError(f"{doing}: the GPU refuses ({said}); {EMULATOR}")


def _version(number: int) -> str:
    return f"{number // 1000}.{number % 1000 // 10}"


def _gpu_errors() -> tuple[type[Exception], ...]:
    """What CuPy raises about the GPU, not about arguments."""
    cuda = _cupy().cuda
    return (
        cuda.runtime.CUDARuntimeError, cuda.driver.CUDADriverError, cuda.compiler.CompileException, MemoryError,
    )  # fmt: skip


class _guarded(AbstractContextManager):
    """What CuPy raises inside becomes a sentence."""

    def __init__(self, doing: str) -> None:
        self.doing = doing

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        if isinstance(error, _gpu_errors()) or type(error).__name__ == "DynamicLibNotFoundError":
            raise _explained(error, self.doing) from error  # type: ignore[arg-type]


# ------------------------------------------------------------------------------------------------- the GPU


def count() -> int:
    """How many GPUs there are; RuntimeError where none can be used."""
    with _guarded("device 'cuda'"):
        return int(_cupy().cuda.runtime.getDeviceCount())


def device(index: int = 0) -> Device:
    """The GPU of this number, one on which a first kernel has run. RuntimeError says why there is none."""
    return _device(index)


@cache
def _device(index: int) -> Device:
    many = count()
    if not 0 <= index < many:
        names = ", ".join(f"'cuda:{n}'" for n in range(many))
        raise RuntimeError(f"device 'cuda:{index}': this machine has {many} GPU(s): use {names or 'none'}; {EMULATOR}")
    found = Device(index)
    found.try_out()
    return found


def available(index: int = 0) -> str | None:
    """None where the GPU runs kernels, else the sentence that says why it does not."""
    try:
        device(index)
    except (RuntimeError, MemoryError) as error:
        return str(error)
    return None


def array_type() -> type:
    """cupy.ndarray."""
    return _cupy().ndarray


def to_device(x: np.ndarray, index: int = 0) -> Array:
    """A copy of the array on the GPU, C-contiguous."""
    return device(index).adopt(np.ascontiguousarray(x).reshape(x.shape))


def to_host(x: Array) -> np.ndarray:
    """A copy of the GPU's array in NumPy's memory, when all that computes it is done. Raises, too, what kernels before
    found wrong with their arguments (`Device.later`)."""
    if arrays.graph is not None:
        raise arrays.refused("copy to the host")
    with _guarded(f"copy of {x.shape} {x.dtype} to the host"):
        copy = np.asarray(_cupy().asnumpy(x))
        _look()
    return copy


def synchronize(index: int = 0) -> None:
    """Wait until the GPU has done all its work, and raise what kernels found wrong with their arguments."""
    if arrays.graph is not None:
        raise arrays.refused("synchronize")
    with _guarded("synchronize"), _cupy().cuda.Device(index):
        _cupy().cuda.runtime.deviceSynchronize()
        _look()


def empty_cache() -> None:
    """Give memory that CuPy keeps for later arrays back to the driver."""
    _cupy().get_default_memory_pool().free_all_blocks()


_looks: list[Callable[[], None]] = []  # at what kernels leave behind, for the next time that the host waits
MOST_LOOKS = 256


def _look() -> None:
    """All looks, once; the first that finds something raises."""
    looks = list(_looks)
    del _looks[: len(looks)]
    for look in looks:
        look()


class Device:
    """Runs launch lines (kernels/cuda/) on CuPy's arrays, on GPU `index` and CuPy's current stream."""

    def __init__(self, index: int = 0) -> None:
        self.index = index
        self.cupy = _cupy()
        self.array = self.cupy.ndarray
        self.plain = _Plain(self)
        self._functions: dict[str, Any] = {}
        self._errors = _gpu_errors()

    def __repr__(self) -> str:
        return f"gpu.Device({self.index})"

    @property
    def here(self) -> Any:
        """A context in which this GPU is CuPy's current one."""
        return self.cupy.cuda.Device(self.index)

    @property
    def capability(self) -> int:
        """The compute capability, 80 for 8.0."""
        return int(self.here.compute_capability)

    def empty(self, shape: Sequence[int], dtype: Any) -> Array:
        """A new array that holds anything. MemoryError where it does not fit."""
        with _guarded(f"new array {tuple(shape)} of {np.dtype(dtype)}"), self.here:
            return self.cupy.empty(shape, dtype)

    def zeros(self, shape: Sequence[int], dtype: Any) -> Array:
        """A new array of zeros. MemoryError where it does not fit."""
        with _guarded(f"new array {tuple(shape)} of {np.dtype(dtype)}"), self.here:
            return self.cupy.zeros(shape, dtype)

    def adopt(self, result: Any) -> Any:
        """NumPy's arrays, also inside tuples and lists, copied to the GPU; anything else as it is."""
        if isinstance(result, tuple | list):
            return type(result)(self.adopt(each) for each in result)
        if isinstance(result, np.ndarray | np.generic):
            if arrays.graph is not None:
                if result.ndim:
                    raise arrays.frozen(f"{result.shape} {result.dtype}")
                return arrays.graph.constant((), result.item(), result.dtype)
            with _guarded(f"copy of {result.shape} {result.dtype} to {self}"), self.here:
                return self.cupy.asarray(result)
        return result

    def later(self, look: Callable[[], None]) -> None:
        """Call `look`, which reads what kernels wrote and raises where that tells of bad input, when the host waits for
        the GPU anyway, or when many such looks are due; after each replay, of a graph that is being captured."""
        if arrays.graph is not None:
            arrays.graph.later(look)
            return
        _looks.append(look)
        if len(_looks) >= MOST_LOOKS:
            with _guarded("a look at what kernels found"), self.here:
                _look()

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
        """As `cuda.launch.Device.launch`; does not wait for the kernel. RuntimeError where it does not compile.

        The sizes of the arguments are not compared with the kernel's, as the emulator does: CUDA does not tell them.
        """
        check_launch(kernel, grid, block)
        if arrays.graph is not None:
            arrays.graph.keep(arguments)
        packed = tuple(map(_packed, arguments.values()))
        with self.here:
            function = self._functions.get(kernel) or self._compile(kernel)
            try:
                if shared > STATIC_SHARED:
                    function.max_dynamic_shared_size_bytes = shared
                function(tuple(grid), tuple(block), packed, shared_mem=shared)
            except self._errors as error:
                raise _explained(error, kernel) from error

    def _compile(self, kernel: str) -> Any:
        """The kernel's function. A module for each kernel's text: a program uses few of a file's instances, and those
        that it uses become known one by one."""
        name, text = source(kernel)
        with _guarded(f"{kernel} of {name}"):
            module = self.cupy.RawModule(code=text, options=OPTIONS, name_expressions=(kernel,), backend="nvrtc")
            return self._functions.setdefault(kernel, module.get_function(kernel))

    def try_out(self) -> None:
        """Runs a first kernel and reads its result; RuntimeError where that fails."""
        code = 'extern "C" __global__ void answer(int* y) { *y = 42; }'
        with _guarded(f"device 'cuda:{self.index}'"), self.here:
            y = self.cupy.zeros(1, np.int32)
            self.cupy.RawKernel(code, "answer")((1,), (1,), (np.uint64(y.data.ptr),))
            if int(self.cupy.asnumpy(y)[0]) != 42:
                raise RuntimeError(f"device 'cuda:{self.index}': a first kernel gave a wrong number; {EMULATOR}")


def _packed(argument: Any) -> Any:
    """An argument as cuLaunchKernel takes it from CuPy, which passes a NumPy array of one element by value, whatever
    its size. Whole numbers go as 8 bytes, in two's complement; a kernel that takes 4 reads the lower ones."""
    if isinstance(argument, int):
        return np.uint64(argument & 0xFFFFFFFFFFFFFFFF)
    if isinstance(argument, np.generic):
        return argument
    if not hasattr(argument, "pack"):
        return np.uint64(argument.data.ptr)
    arrays, array = getattr(argument, "arrays", None), getattr(argument, "array", None)
    if arrays is not None:
        packed = argument.pack({name: x.data.ptr for name, x in arrays.items()})
    else:
        packed = argument.pack() if array is None else argument.pack(array.data.ptr)
    return np.frombuffer(packed, f"V{len(packed)}")


# --------------------------------------------------------------------------------------- verbs without a kernel


class _Library:
    """CuPy under NumPy's names; NumPy's own where CuPy has none and no array is concerned (errstate, iinfo)."""

    def __init__(self, cupy: Any) -> None:
        self._cupy = cupy

    def __getattr__(self, name: str) -> Any:
        return getattr(self._cupy if hasattr(self._cupy, name) else np, name)

    def indices(self, shape: Sequence[int], sparse: bool = True) -> tuple[Array, ...]:
        """CuPy's own knows no `sparse`."""
        n = len(shape)
        return tuple(
            self._cupy.arange(size).reshape((1,) * d + (size,) + (1,) * (n - d - 1)) for d, size in enumerate(shape)
        )


class _Plain:
    """The reference's verbs on CuPy's arrays: the same code objects, in which `np` is CuPy.

    Where CuPy lacks a function or a type of numbers (it says so by TypeError, AttributeError or NotImplementedError),
    the verb is computed on the host and its results are copied back: slow, and right. Optimizers' steps, which write
    to their arguments, are not begun a second time.
    """

    def __init__(self, device: Device) -> None:
        from importlib import import_module

        self._device = device
        cupy = device.cupy
        scope: dict[str, Any] = dict(vars(reference), np=_Library(cupy))
        scope["_erf"] = import_module("cupyx.scipy.special").erf  # NumPy has none; the reference calls Python's
        scope["sliding_window_view"] = cupy.lib.stride_tricks.sliding_window_view
        for name, plain in vars(reference).items():
            body = getattr(plain, "__wrapped__", plain)  # the reference's verbs keep NumPy's warnings silent
            if isinstance(body, types.FunctionType) and body.__module__ == reference.__name__:
                scope[name] = types.FunctionType(body.__code__, scope, name, body.__defaults__)
            elif callable(body) and name not in ("_erf", "sliding_window_view") and _is_numpys(body):
                scope[name] = getattr(cupy, body.__name__)
        for name, plain in vars(reference).items():
            if callable(plain) and not name.startswith("_") and not isinstance(plain, type):
                setattr(self, name, partial(self._run, name, scope[name], plain))

    def _run(self, name: str, on_device: Callable[..., Any], on_host: Callable[..., Any], *args: Any) -> Any:
        with _guarded(name), self._device.here:
            try:
                return on_device(*args)
            except (TypeError, AttributeError, NotImplementedError):
                if getattr(on_host, "__annotations__", {}).get("return") == "None":
                    raise
                return self._device.adopt(on_host(*_on_host(self._device, args)))


def _is_numpys(function: Any) -> bool:
    return isinstance(function, np.ufunc) or getattr(function, "__module__", None) == "numpy"


def _on_host(device: Device, argument: Any) -> Any:
    if isinstance(argument, tuple | list):
        return type(argument)(_on_host(device, each) for each in argument)
    return to_host(argument) if isinstance(argument, device.cupy.ndarray) else argument
