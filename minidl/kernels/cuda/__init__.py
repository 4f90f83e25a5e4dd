"""The CUDA backend: the reference's verbs on the arrays of a device, each with its launch line.

    backend = Backend(device)
    backend.matmul(a, b)         as reference.matmul(a, b), through csrc/matmul.cu

One module a family, named for its .cu file: which kernel runs, on which grid of blocks, with which arguments. Sizes of
tiles stand there beside the grids that follow from them, and in the kernels' own constants. Each module lists its
`VERBS`: a verb takes the device and what the reference's takes. Where no kernel covers the arguments (integers, a rare
option) it gives NotImplemented, and the array library's own functions take its place, as the reference calls them.

A `Device` runs kernels; the lines are the same for each. The emulator (kernels/emulator.py) runs them on NumPy memory,
on the CPU; kernels/gpu.py runs them on CuPy's arrays, where a kernel's text is a name expression of NVRTC's. The
emulator refuses a launch whose kernel was not instantiated, or whose arguments have other sizes than the kernel's.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .. import reference
from ..arrays import one_device
from . import attention, conv, elementwise, index, matmul, normalize, optim, pool, random, recurrent, reduce, softmax
from .launch import Device

__all__ = ["FAMILIES", "VERBS", "Backend"]

FAMILIES = (attention, conv, elementwise, index, matmul, normalize, optim, pool, random, recurrent, reduce, softmax)
VERBS: dict[str, Callable[..., Any]] = {name: verb for family in FAMILIES for name, verb in family.VERBS.items()}


class Backend:
    """Every verb of the reference as a method, on one device."""

    def __init__(self, device: Device) -> None:
        self.device = device
        library = getattr(device, "plain", reference)  # the reference's verbs on arrays that are not NumPy's
        for name, plain in vars(reference).items():
            if callable(plain) and not name.startswith("_"):
                setattr(self, name, self._verb(getattr(library, name, plain), VERBS.get(name)))

    def _verb(self, plain: Callable[..., Any], own: Callable[..., Any] | None) -> Callable[..., Any]:
        def run(*args: Any) -> Any:
            for x in args:
                if x.__class__ is np.ndarray and kind is not np.ndarray:
                    args = self._all_here(args)
                    break
            result = NotImplemented if own is None else own(self.device, *args)
            return self.device.adopt(plain(*args) if result is NotImplemented else result)

        kind = getattr(self.device, "array", np.ndarray)
        return run

    def _all_here(self, args: tuple[Any, ...]) -> tuple[Any, ...]:
        """The arguments with the CPU's numbers of 0 dimensions on this device; RuntimeError for larger arrays."""
        one_device(self.device.array, args)  # type: ignore[attr-defined]
        return tuple([self.device.adopt(x) if x.__class__ is np.ndarray else x for x in args])
