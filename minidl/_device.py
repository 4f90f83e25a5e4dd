"""Where tensors live."""

from __future__ import annotations

from typing import Any

import numpy as np

from . import kernels
from .kernels import arrays

KINDS = ("cpu", "cuda", "emulator")

class device:
    """Where a tensor lives: device("cpu"), device("cuda:0"), or device("emulator"): the CUDA kernels on the CPU.

    Equal devices compare equal, also with their name.
    """

    def __init__(self, type: Any = "cpu", index: int | None = None) -> None:
        name = str(type)
        kind, _, number = name.partition(":")
        self.type: str = kind
        self.index = int(number) if number.isdigit() else index
        if self.type not in KINDS or number and not number.isdigit():
            raise ValueError(f"device: {name!r} is unknown; use 'cpu', 'cuda' or 'emulator'")
        if self.index is not None and not (isinstance(self.index, int) and self.index >= 0):
            raise ValueError(f"device: index {index!r} must be 0 or more")
        if self.index and self.type != "cuda":
            raise ValueError(f"device: {name!r}: there is only one {self.type}; use {self.type!r}")

    def __eq__(self, other: object) -> bool:
        return str(self) == str(other)

    def __hash__(self) -> int:
        return hash(str(self))

    def __str__(self) -> str:
        return self.type if self.index is None else f"{self.type}:{self.index}"

    def __repr__(self) -> str:
        return f"device({str(self)!r})"


CPU = device("cpu")


EMULATOR = device("emulator")


def device_of(array: Any) -> device:
    """Where an array lies."""
    if array.__class__ is arrays.EmulatorArray:
        return EMULATOR
    if isinstance(array, (np.ndarray, np.generic)):
        return CPU
    return device("cuda", array.device.id)


def same(one: device, other: device) -> bool:
    """Whether both are one place: 'cuda' is 'cuda:0', 'cpu:0' is 'cpu'."""
    return one.type == other.type and (one.index or 0) == (other.index or 0)


def placed(array: Any, where: Any) -> Any:
    """The array on a device (None: where it is); itself where it is there already. RuntimeError says why not."""
    if where is None:
        return array
    to = where if isinstance(where, device) else device(where)
    return array if same(device_of(array), to) else kernels.moved(array, to.type, to.index)


def backend_of(where: Any) -> Any:
    """The kernel verbs of a device (None: the CPU's)."""
    to = CPU if where is None else where if isinstance(where, device) else device(where)
    return kernels.on(to.type, to.index)
