"""Kernels: one module a backend, the same verbs in each, arrays in and arrays out.

`reference` (NumPy) is the specification; `native` (C++) has the same names and hands what it lacks to the reference.
`kernel(x)` picks by the type of array that a tensor holds.

`matmul`, `conv2d`, `sum` and `softmax` are ladders (ladders.py): each of these verbs in several forms, from pure Python
to the kernel that ships, as in `minidl.kernels.matmul.blocked(a, b)`. `emulator` runs the CUDA kernels on the CPU.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from . import native, reference

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


def __getattr__(name: str) -> Any:
    """The ladders and the emulator, loaded when one is asked for: a training run needs none."""
    if name == "emulator":
        import importlib

        return importlib.import_module("minidl.kernels.emulator")
    if name not in _LADDERS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from . import ladders

    return getattr(ladders, name)
