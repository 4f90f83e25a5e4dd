"""Kernels: one module a backend, the same verbs in each, arrays in and arrays out.

`reference` (NumPy) is the specification; `native` (C++) has the same names and hands what it lacks to the reference.
`kernel(x)` picks by the type of array that a tensor holds: NumPy's, the emulator's, CuPy's. Devices "emulator" and
"cuda" have the CUDA kernels (`cuda.Backend`), made when a first tensor goes there.

Environment: `MINIDL_EMULATOR` = `quick` (the default) or `checked` is how device "emulator" runs kernels: as fast as
the CPU can, or with every access to memory looked at, where a fault raises `emulator.KernelFault`.

`matmul`, `conv2d`, `sum` and `softmax` are ladders (ladders.py): each of these verbs in several forms, from pure Python
to the kernel that ships, as in `minidl.kernels.matmul.blocked(a, b)`. `emulator` runs the CUDA kernels on the CPU.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from . import arrays, native, reference
from .arrays import EmulatorArray

if TYPE_CHECKING:
    from .ladders import conv2d, matmul, softmax, sum

_LADDERS = ("conv2d", "matmul", "softmax", "sum")

_backends = {"reference": reference, "native": native}
_by_array: dict[type, Any] = {np.ndarray: native if native.compiled else reference}


def kernel(x: Any) -> Any:
    """The module of kernel verbs for the array that the tensor x holds."""
    return _by_array[x.array.__class__]


@contextmanager
def _restore(previous: Any) -> Iterator[None]:
    try:
        yield
    finally:
        _by_array[np.ndarray] = previous


def backend(name: str | None = None) -> Any:
    """The backend of CPU tensors, for the whole process.

    backend() gives its name; backend("reference" | "native") sets it at once, and as a context manager
    (`with minidl.backend("reference"):`) restores the one before at the end. RuntimeError where native code
    was not built.
    """
    previous = _by_array[np.ndarray]
    if name is None:
        return previous.__name__.rpartition(".")[2]
    if name not in _backends:
        raise ValueError(f"backend: {name!r} is unknown; use one of {', '.join(map(repr, _backends))}")
    if name == "native" and not native.compiled:
        raise RuntimeError("backend: native code was not built here; `minidl doctor` says why and what to type")
    _by_array[np.ndarray] = _backends[name]
    return _restore(previous)


def active() -> Any:
    """The module of kernel verbs for new arrays on the CPU."""
    return _by_array[np.ndarray]


# ----------------------------------------------------------------------------------------------- other devices


def on(kind: str, index: int | None = None) -> Any:
    """The kernel verbs of "cpu", "emulator" or "cuda", made when first asked for; RuntimeError says why not."""
    if kind == "cpu":
        return active()
    array = EmulatorArray if kind == "emulator" else _gpu().array_type()
    if array not in _by_array:
        from .cuda import Backend

        if kind == "emulator":
            device = importlib.import_module("minidl.kernels.emulator").Device(_checked(), array=EmulatorArray)
        else:
            device = _gpu().device(index or 0)
            arrays.names[array] = "cuda"
        _by_array[array] = Backend(device)
    return _by_array[array]


def _checked() -> bool:
    """Whether the emulator is to check what kernels do; RuntimeError where it was not built."""
    mode = os.environ.get("MINIDL_EMULATOR", "quick")
    if mode not in ("quick", "checked"):
        raise ValueError(f"MINIDL_EMULATOR is {mode!r} in the environment; expected 'quick' or 'checked'")
    emulator = importlib.import_module("minidl.kernels.emulator")
    if not emulator.available(mode == "checked"):
        raise RuntimeError(f"device 'emulator': the emulated kernels were not built here; {emulator.REMEDY}")
    return mode == "checked"


def _gpu() -> Any:
    try:
        return importlib.import_module("minidl.kernels.gpu")
    except ImportError:
        raise RuntimeError(
            "device 'cuda': this build computes on no GPU; device 'emulator' runs the same kernels on the CPU"
        ) from None


def gpu_available() -> bool:
    """Whether device "cuda" computes here."""
    try:
        return _gpu().available() is None
    except RuntimeError:
        return False


def moved(array: Any, kind: str, index: int | None = None) -> Any:
    """A copy of the array on another device."""
    if arrays.graph is not None:
        if array.__class__ is not np.ndarray:
            raise arrays.refused(f"copy to '{kind}'")
        if array.size != 1 and (any(array.strides) or not array.size):
            raise arrays.frozen(f"{array.shape} {array.dtype}")
        return arrays.graph.constant(array.shape, array.flat[0].item(), array.dtype)  # one number, repeated
    if kind == "emulator":
        on(kind)
        return arrays.adopt(array.copy() if array.__class__ is np.ndarray else moved(array, "cpu"))
    if kind == "cuda":
        on(kind, index)
        return _gpu().to_device(array if array.__class__ is np.ndarray else moved(array, "cpu"), index or 0)
    if isinstance(array, np.ndarray):
        return arrays.lend(array.copy())
    return _gpu().to_host(array)


def __getattr__(name: str) -> Any:
    """The ladders and the emulator, loaded when one is asked for: a training run needs none."""
    if name == "emulator":
        return importlib.import_module("minidl.kernels.emulator")
    if name not in _LADDERS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from . import ladders

    return getattr(ladders, name)
