"""Launch lines of csrc/elementwise.cu: Y[n] = f(X[n]) and Y[n] = f(A[n], B[n]) with broadcasting."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from .launch import Array, Device, covered, number_type, pieces

__all__ = ["BINARY", "UNARY", "VERBS", "binary", "unary"]

UNARY = tuple(
    "neg abs sign exp expm1 log log1p log2 sqrt rsqrt square reciprocal sin cos tanh sigmoid erf floor ceil round"
    " relu".split()
)
BINARY = tuple("add sub mul div pow maximum minimum eq ne lt le gt ge".split())
COMPARISONS = frozenset(BINARY[-6:])


@dataclass(frozen=True)
class Walk:
    """elementwise::Walk<n>: operands walked together over the shape of the result."""

    shape: tuple[int, ...]
    strides: tuple[tuple[int, ...], ...]  # of each operand, in elements

    def pack(self) -> bytes:
        rows = [self.shape, *self.strides]
        padded = [(*row, *(0,) * (8 - len(row))) for row in rows]
        return np.array([math.prod(self.shape), len(self.shape), *sum(padded, ())], np.int64).tobytes()


def walk(name: str, *operands: Array) -> Walk:
    """Drops dimensions of size 1 and merges neighbours where every operand allows it."""
    shape: list[int] = []
    strides: list[list[int]] = []
    for d, size in enumerate(operands[0].shape):
        if size == 1:
            continue
        steps = [x.strides[d] // x.itemsize for x in operands]
        if shape and all(before == size * step for before, step in zip(strides[-1], steps)):
            shape[-1] *= size
            strides[-1] = steps
        else:
            shape.append(size)
            strides.append(steps)
    if len(shape) > 8:
        raise ValueError(f"{name}: {len(shape)} dimensions that cannot be merged; expected at most 8")
    if not shape:
        shape, strides = [1], [[0] * len(operands)]
    return Walk(tuple(shape), tuple(zip(*strides)))


def _map(device: Device, kind: str, name: str, operands: dict[str, Array], result: Any) -> Array:
    T = number_type(name, *operands.values())
    try:
        shape = np.broadcast_shapes(*(x.shape for x in operands.values()))
    except ValueError:
        given = " and ".join(str(x.shape) for x in operands.values())
        raise ValueError(f"{name}: shapes {given} do not broadcast") from None
    Y = device.empty(shape, result)
    if Y.size:
        wide = [np.broadcast_to(x, shape) for x in operands.values()]
        kernel = f"elementwise::{kind}<elementwise::{name.capitalize()}, {T}>"
        arguments = {"walk": walk(name, *wide), **operands, "Y": Y}
        blocks = min(pieces(Y.size, 256), 65535)
        device.launch(kernel, (blocks,), (256,), arguments, writes=["Y"])
    return Y


def unary(device: Device, name: str, x: Array) -> Array:
    """Y[n] = f(X[n])

    f is one of `UNARY`.
    """
    if name not in UNARY:
        raise ValueError(f"unary: {name!r} is unknown; expected one of {', '.join(UNARY)}")
    return _map(device, "unary", name, {"X": x}, x.dtype)


def binary(device: Device, name: str, a: Array, b: Array) -> Array:
    """Y[n] = f(A[n], B[n])

    f is one of `BINARY`; shapes broadcast; comparisons give bool.
    """
    if name not in BINARY:
        raise ValueError(f"binary: {name!r} is unknown; expected one of {', '.join(BINARY)}")
    return _map(device, "binary", name, {"A": a, "B": b}, np.bool_ if name in COMPARISONS else a.dtype)


def _verb(line: Callable[..., Array], name: str) -> Callable[..., Array]:
    def run(device: Device, *operands: Array) -> Array:
        return line(device, name, *operands) if covered(*operands) else NotImplemented

    return run


VERBS = {name: _verb(unary, name) for name in UNARY} | {name: _verb(binary, name) for name in BINARY}
