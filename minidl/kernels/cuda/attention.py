"""Launch lines of csrc/attention.cu: attention and its gradients, without the scores of all pairs in memory."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from .launch import MOST_BLOCKS, TYPES, Array, Device, contiguous, covered, pieces

__all__ = ["KERNELS", "VERBS", "Heads"]

TILE = {"float": 64, "double": 32}  # attention_tiles::TILE: queries and keys of a step, 16 bytes times 16
GROUPS = {"float": (1, 2, 4), "double": (2, 4, 8)}  # tiles of columns that a block sums up: up to 64, 128, 256
WIDEST = 256
KERNELS = [f"attention_tiles::inner_products<{T}>" for T in TYPES.values()]
KERNELS += [
    f"attention_tiles::{kind}<{T}, {groups}>"
    for kind in ("forward", "to_queries", "to_keys")
    for T in TYPES.values()
    for groups in GROUPS[T]
]


@dataclass(frozen=True)
class Heads:
    """attention_tiles::Heads<T>: an array (B, H, rows, columns) of any strides, or None for one that is left out."""

    array: Array | None

    def pack(self, address: int = 0) -> bytes:
        strides = (0,) * 4 if self.array is None else (stride // self.array.itemsize for stride in self.array.strides)
        return np.array([address, *strides], np.int64).tobytes()


@dataclass(frozen=True)
class Sizes:
    """attention_tiles::Sizes, and what grids follow from it."""

    batch: tuple[int, ...]  # all dimensions before the last two
    L: int  # queries
    S: int  # keys
    E: int  # columns of queries and keys
    C: int  # of values
    causal: bool

    @property
    def H(self) -> int:
        return self.batch[-1] if self.batch else 1

    @property
    def heads(self) -> int:
        return math.prod(self.batch)

    def pack(self) -> bytes:
        return np.array([self.H, self.L, self.S, self.E, self.C, self.causal], np.int32).tobytes()


def _heads(x: Array, batch: tuple[int, ...]) -> Heads:
    """x (..., rows, columns), broadcast to `batch`, with one dimension for all of it but the last."""
    x = np.broadcast_to(x, batch + x.shape[-2:])
    return Heads(x.reshape(-1, batch[-1] if batch else 1, *x.shape[-2:]) if x.size else x.reshape(0, 1, *x.shape[-2:]))


def _sizes(q: Array, k: Array, v: Array, causal: bool) -> Sizes | None:
    """None where the kernels do not take these arrays."""
    if q.ndim < 2 or not q.shape[:-2] == k.shape[:-2] == v.shape[:-2] or q.shape[-1] != k.shape[-1]:
        return None
    z = Sizes(q.shape[:-2], q.shape[-2], k.shape[-2], q.shape[-1], v.shape[-1], causal)
    far = max(z.L, z.S) >= 2**31 - 64 or z.heads * pieces(max(z.L, z.S), 32) > MOST_BLOCKS[0]
    return None if k.shape[-2] != v.shape[-2] or max(z.E, z.C) > WIDEST or far else z


def _given(z: Sizes, mask: Array | None, arrays: dict[str, Array], scale: float) -> dict[str, Any] | None:
    """The arguments that all three kernels begin with; None where the mask is of another type or shape."""
    some = next(iter(arrays.values()))
    rows = {name: _heads(x, z.batch) for name, x in arrays.items()}
    allowed = added = Heads(None)
    if mask is not None:
        try:
            wide = _heads(np.broadcast_to(mask, (*z.batch, z.L, z.S)), z.batch)
        except ValueError:
            return None
        if mask.dtype == np.bool_:
            allowed = wide
        elif mask.dtype == some.dtype:
            added = wide
        else:
            return None
    return {"sizes": z, "scale": some.dtype.type(scale), **rows, "allowed": allowed, "added": added}


def _launch(
    device: Device, kind: str, T: str, z: Sizes, columns: int, rows: int, arguments: dict[str, Any], writes: list[str]
) -> None:
    """A block for each tile of `rows` in each head; `columns` are summed up."""
    groups = next(groups for groups in GROUPS[T] if columns <= groups * TILE[T])
    if blocks := z.heads * pieces(rows, TILE[T]):
        device.launch(f"attention_tiles::{kind}<{T}, {groups}>", (blocks,), (256,), arguments, writes)


def attention(
    device: Device, q: Array, k: Array, v: Array, mask: Array | None, causal: bool, scale: float
) -> Any:
    """softmax(scale Q Kᵀ + mask) V, and each query's log-sum-exp (..., L).

    Heads of up to 256 columns; mask bool (may attend) or of q's dtype (added), broadcast. A query that may attend to
    nothing gets 0 and an lse of -infinity.
    """
    z = _sizes(q, k, v, causal) if covered(q, k, v) else None
    given = None if z is None else _given(z, mask, {"Q": q, "K": k, "V": v}, scale)
    if z is None or given is None:
        return NotImplemented
    Y, lse = device.empty((*z.batch, z.L, z.C), q.dtype), device.empty((*z.batch, z.L), q.dtype)
    _launch(device, "forward", TYPES[q.dtype.name], z, z.C, z.L, {**given, "Y": Y, "lse": lse}, ["Y", "lse"])
    return Y, lse


def attention_gradient(
    device: Device, g: Array, q: Array, k: Array, v: Array, y: Array, lse: Array, mask: Array | None, causal: bool,
    scale: float,
) -> Any:  # fmt: skip
    """∂L/∂Q, ∂L/∂K and ∂L/∂V, from what `attention` gave: two kernels, which compute the scores again."""
    z = _sizes(q, k, v, causal) if covered(g, q, k, v, y, lse) else None
    given = None if z is None else _given(z, mask, {"G": g, "Q": q, "K": k, "V": v}, scale)
    if z is None or given is None or not g.shape == y.shape == (*z.batch, z.L, z.C) or lse.shape != (*z.batch, z.L):
        return NotImplemented
    T, rows = TYPES[q.dtype.name], z.heads * z.L
    D = device.empty((*z.batch, z.L), q.dtype)
    if rows:
        products = {"rows": rows, "H": z.H, "L": z.L, "C": z.C, "G": given["G"], "Y": _heads(y, z.batch), "D": D}
        device.launch(f"attention_tiles::inner_products<{T}>", (pieces(rows, 8),), (256,), products, writes=["D"])
    dq, dk, dv = (device.empty(x.shape, q.dtype) for x in (q, k, v))
    known = {**given, "lse": contiguous(lse), "D": D}
    _launch(device, "to_queries", T, z, z.E, z.L, {**known, "dQ": dq}, ["dQ"])
    _launch(device, "to_keys", T, z, max(z.E, z.C), z.S, {**known, "dK": dk, "dV": dv}, ["dK", "dV"])
    return dq, dk, dv


VERBS = {"attention": attention, "attention_gradient": attention_gradient}
