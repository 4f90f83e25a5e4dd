"""Launch lines of csrc/optim.cu: optimizer steps, in place, all parameters of a group in one launch.

Learning rates and steps are numbers, or float64 arrays of the device that hold one number: a captured CUDA graph
replays a launch as it was, so what changes from step to step must lie in memory for it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

import numpy as np

from .elementwise import binary, unary
from .launch import MOST_BLOCKS, TYPES, Array, Device, Scalar, contiguous, covered, pieces
from .reduce import sum as total

__all__ = ["KERNELS", "VERBS", "Table", "capacity"]

Arrays = Sequence[Array]
Number = float | Array
PIECE = 16384  # bytes of each array, for a block: optim::PIECE<T> numbers


def capacity(lists: int) -> int:
    """optim::CAPACITY<lists>: for how many parameters a launch has room."""
    return 3840 // (8 * lists + 12) // 2 * 2


@dataclass(frozen=True)
class Table:
    """optim::Table<T, lists>: parameters, gradients and state of one launch."""

    lists: Mapping[str, Arrays]

    @property
    def arrays(self) -> dict[str, Array]:
        return {f"{name}[{n}]": x for name, each in self.lists.items() for n, x in enumerate(each)}

    @property
    def blocks(self) -> list[int]:
        """Of each parameter."""
        return [pieces(w.nbytes, PIECE) for w in self.lists["w"]]

    def pack(self, addresses: Mapping[str, int]) -> bytes:
        room, count = capacity(len(self.lists)), len(self.lists["w"])
        data = np.zeros((len(self.lists), room), np.uint64)
        for row, (name, each) in zip(data, self.lists.items()):
            row[:count] = [addresses[f"{name}[{n}]"] for n in range(len(each))]
        size, first = np.zeros(room, np.int64), np.zeros(room, np.int32)
        size[:count] = [w.size for w in self.lists["w"]]
        first[:count] = [0, *accumulate(self.blocks)][:-1]
        return b"".join(x.tobytes() for x in (data, size, first, np.array([count, 0], np.int32)))


def _tables(verb: str, lists: Mapping[str, Arrays]) -> Iterator[Table]:
    """The lists in as many tables as they need, without parameters that hold nothing."""
    many = {name: len(each) for name, each in lists.items()}
    if len(set(many.values())) > 1:
        given = ", ".join(f"{n} in {name}" for name, n in many.items())
        raise ValueError(f"{verb}: got {given}; expected as many arrays of each")
    shapes = [{x.shape for x in each} for each in zip(*lists.values())]
    if any(len(each) > 1 for each in shapes):
        raise ValueError(f"{verb}: a parameter, its gradient and its state have different shapes")
    some: list[int] = []
    blocks = 0
    for n, w in enumerate(lists["w"]):
        need = pieces(w.nbytes, PIECE)
        if some and (len(some) == capacity(len(lists)) or blocks + need > MOST_BLOCKS[0]):
            yield Table({name: [each[i] for i in some] for name, each in lists.items()})
            some, blocks = [], 0
        if need:
            some, blocks = [*some, n], blocks + need
    if some:
        yield Table({name: [each[i] for i in some] for name, each in lists.items()})


def _step(
    device: Device, verb: str, kernel: str, lists: Mapping[str, Arrays | None], arguments: Mapping[str, Any]
) -> Any:
    """Launch `kernel`, with {T}, for all parameters; `arguments` that are floats of Python go as T."""
    given = {name: list(each) for name, each in lists.items() if each is not None}
    every = [x for each in given.values() for x in each]
    if not every:
        return None
    if not covered(*every):
        return NotImplemented
    given["g"] = [contiguous(g) for g in given["g"]]
    if not all(x.flags.c_contiguous for name in given if name != "g" for x in given[name]):
        return NotImplemented
    dtype = every[0].dtype
    numbers = {name: dtype.type(x) if type(x) is float else x for name, x in arguments.items()}
    for table in _tables(verb, given):
        writes = [name for name in table.arrays if not name.startswith("g[")]
        everything = {"table": table, **numbers}
        grid = (sum(table.blocks),)
        device.launch(kernel.format(T=TYPES[dtype.name]), grid, (256,), everything, writes, fresh=False)
    return None


def _clock(x: Number) -> Scalar:
    return Scalar(x, np.float64)


def sgd_step(
    device: Device, params: Arrays, grads: Arrays, buffers: Arrays | None,
    lr: Number, momentum: float, dampening: float, weight_decay: float, nesterov: bool, first: bool,
) -> Any:  # fmt: skip
    """SGD's: g ← g + λ w;  b ← g if first else μ b + (1 - δ) g;  w ← w - lr (g + μ b if nesterov else b)"""
    arguments = {
        "lr": _clock(lr), "momentum": float(momentum), "fresh": float(1 - dampening), "decay": float(weight_decay),
        "nesterov": int(nesterov), "first": int(first),
    }  # fmt: skip
    lists = {"w": params, "g": grads, "b": buffers}
    kernel = "optim::sgd<{T}, 2>" if buffers is None else "optim::sgd<{T}, 3>"
    return _step(device, "sgd_step", kernel, lists, arguments)


def _adam(
    device: Device, verb: str, lists: Mapping[str, Arrays],
    step: Number, lr: Number, beta1: float, beta2: float, eps: float, weight_decay: float, decoupled: bool,
) -> Any:  # fmt: skip
    arguments = {
        "lr": _clock(lr), "step": _clock(step), "beta1": np.float64(beta1), "beta2": np.float64(beta2),
        "eps": float(eps), "decay": np.float64(weight_decay), "decoupled": int(decoupled),
    }  # fmt: skip
    return _step(device, verb, f"optim::adam<{{T}}, {len(lists)}>", lists, arguments)


def adam_step(
    device: Device, params: Arrays, grads: Arrays, m: Arrays, v: Arrays,
    step: Number, lr: Number, beta1: float, beta2: float, eps: float, weight_decay: float, decoupled: bool,
) -> Any:  # fmt: skip
    """Adam's, as the reference writes it; lr and step may lie on the device."""
    lists = {"w": params, "g": grads, "m": m, "v": v}
    return _adam(device, "adam_step", lists, step, lr, beta1, beta2, eps, weight_decay, decoupled)


def amsgrad_step(
    device: Device, params: Arrays, grads: Arrays, m: Arrays, v: Arrays, largest: Arrays,
    step: Number, lr: Number, beta1: float, beta2: float, eps: float, weight_decay: float, decoupled: bool,
) -> Any:  # fmt: skip
    """As adam_step, dividing by the largest v so far."""
    lists = {"w": params, "g": grads, "m": m, "v": v, "u": largest}
    return _adam(device, "amsgrad_step", lists, step, lr, beta1, beta2, eps, weight_decay, decoupled)


def adagrad_step(
    device: Device, params: Arrays, grads: Arrays, v: Arrays, lr: Number, eps: float, weight_decay: float
) -> Any:
    """Adagrad's: v ← v + g²;  w ← w - lr g / (√v + eps)"""
    arguments = {"lr": _clock(lr), "eps": float(eps), "decay": float(weight_decay)}
    return _step(device, "adagrad_step", "optim::adagrad<{T}>", {"w": params, "g": grads, "v": v}, arguments)


def rmsprop_step(
    device: Device, params: Arrays, grads: Arrays, v: Arrays, m: Arrays | None, buffers: Arrays | None,
    lr: Number, alpha: float, eps: float, weight_decay: float, momentum: float,
) -> Any:  # fmt: skip
    """RMSprop's: v ← α v + (1 - α) g²;  m ← α m + (1 - α) g;  d = g / (√(v - m²) + eps);  b ← μ b + d;  w ← w - lr b"""
    arguments = {
        "lr": _clock(lr), "alpha": float(alpha), "rest": float(1 - alpha), "eps": float(eps),
        "decay": float(weight_decay), "momentum": float(momentum),
    }  # fmt: skip
    kinds = ", ".join("false" if each is None else "true" for each in (m, buffers))
    lists = {"w": params, "g": grads, "v": v, "m": m, "b": buffers}
    return _step(device, "rmsprop_step", f"optim::rmsprop<{{T}}, {kinds}>", lists, arguments)


def adadelta_step(
    device: Device, params: Arrays, grads: Arrays, v: Arrays, m: Arrays,
    lr: Number, rho: float, eps: float, weight_decay: float,
) -> Any:  # fmt: skip
    """Adadelta's: v ← ρ v + (1 - ρ) g²;  d = √(m + eps) / √(v + eps) g;  m ← ρ m + (1 - ρ) d²;  w ← w - lr d"""
    arguments = {
        "lr": _clock(lr), "rho": float(rho), "rest": float(1 - rho), "eps": float(eps), "decay": float(weight_decay)
    }  # fmt: skip
    return _step(device, "adadelta_step", "optim::adadelta<{T}>", {"w": params, "g": grads, "v": v, "m": m}, arguments)


KERNELS = [
    kernel.format(T=T)
    for T in TYPES.values()
    for kernel in (
        *(f"optim::sgd<{{T}}, {lists}>" for lists in (2, 3)),
        *(f"optim::adam<{{T}}, {lists}>" for lists in (4, 5)),
        *(f"optim::rmsprop<{{T}}, {m}, {b}>" for m in ("false", "true") for b in ("false", "true")),
        "optim::adagrad<{T}>",
        "optim::adadelta<{T}>",
    )
]
def squared_norm(device: Device, arrays: Arrays) -> Any:
    """Σ x² over all arrays; the host waits for it."""
    if not arrays or not covered(*arrays):
        return NotImplemented
    sums = [total(device, unary(device, "square", x), tuple(range(x.ndim)), False) for x in arrays]
    return math.fsum(x.item() for x in sums)


def scale_in_place(device: Device, arrays: Arrays, factor: float) -> Any:
    """x ← factor * x"""
    if not arrays or not covered(*arrays):
        return NotImplemented
    for x in arrays:
        x[...] = binary(device, "mul", x, float(factor))
    return None


VERBS = {
    "sgd_step": sgd_step, "adam_step": adam_step, "amsgrad_step": amsgrad_step, "adagrad_step": adagrad_step,
    "rmsprop_step": rmsprop_step, "adadelta_step": adadelta_step,
    "squared_norm": squared_norm, "scale_in_place": scale_in_place,
}  # fmt: skip
