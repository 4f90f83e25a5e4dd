"""Launch lines of csrc/softmax.cu: softmax, log-softmax, cross-entropy, and their gradients."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from .launch import Array, Device, contiguous, covered, number_type, pieces
from .rows import THREADS, Team, absent, team_of

__all__ = ["SOFTMAX", "VERBS", "softmax_by_rung"]

COLUMNS, SLICES = 32, 8  # of a block along another axis, softmax::COLUMNS and softmax::SLICES


@dataclass(frozen=True)
class SoftmaxLine:
    """A rung of softmax."""

    kernel: str
    team: int  # threads of a row; 0: as many as its length asks for
    why: str


SOFTMAX = {
    "naive": SoftmaxLine(
        "softmax::naive<{T}>",
        1,
        """A thread for each row: maximum, sum, result. Neighbouring threads read a row's length apart, each number
        from a 32-byte sector of its own, three times.""",
    ),
    "warp": SoftmaxLine(
        "softmax::warp<{T}>",
        32,
        """A warp for each row. Its 32 numbers lie side by side, in 4 sectors instead of 32; ten shuffles put maximum
        and sum together.""",
    ),
    "online": SoftmaxLine(
        "softmax::online<{T}>",
        32,
        """Maximum and sum in one pass: where a larger number comes, the sum so far shrinks. X is read twice instead
        of three times.""",
    ),
    "vectorized": SoftmaxLine(
        "softmax::vectorized<{T}, false, 32, 0>",
        32,
        """16 bytes an instruction. The same bytes take a quarter of the instructions (for float64 half).""",
    ),
    "kept": SoftmaxLine(
        "softmax::vectorized<{T}, false, {team.threads}, {team.packs}>",
        0,
        """Rows of up to 4 KB stay in registers. X is read once, and each exp computed once; longer rows get a block
        each.""",
    ),
}


def softmax_by_rung(device: Device, rung: str, x: Array, axis: int) -> Array:
    """Y[i,j] = exp(X[i,j]) / Σ[k] exp(X[i,k])

    j runs over the dimension `axis`, counted from 0. Rungs along another than the last one work on a copy.
    """
    if not 0 <= axis < x.ndim:
        raise ValueError(f"softmax.{rung}: axis {axis} of an array {x.shape}; expected 0 to {x.ndim - 1}")
    T, line = number_type(f"softmax.{rung}", x), SOFTMAX[rung]
    X = contiguous(x.swapaxes(axis, -1))
    Y = device.empty(X.shape, x.dtype)
    if x.size:
        N = X.shape[-1]
        team = Team(line.team, 0) if line.team else team_of(N, x.dtype)
        arguments = {"M": X.size // N, "N": N, "X": X, "Y": Y}
        kernel = line.kernel.format(T=T, team=team)
        device.launch(kernel, team.grid(X.size // N), (THREADS,), arguments, writes=["Y"])
    return contiguous(Y.swapaxes(axis, -1))


def _along(device: Device, kernel: str, operands: dict[str, Array], axis: int, result: str, log: bool) -> Array:
    """A kernel over rows, `kernel<T, LOG, TEAM, PACKS>`, or where these are not contiguous over columns."""
    first = next(iter(operands.values()))
    shapes = {x.shape for x in operands.values()}
    if not covered(*operands.values()) or not 0 <= axis < first.ndim or len(shapes) > 1:
        return NotImplemented
    T, LOG = number_type(kernel, first), "true" if log else "false"
    Y = device.empty(first.shape, first.dtype)
    if not first.size:
        return Y
    n, inner = first.shape[axis], math.prod(first.shape[axis + 1 :])
    arrays = {**{name: contiguous(x) for name, x in operands.items()}, result: Y}
    if inner == 1:
        team, M = team_of(n, first.dtype), first.size // n
        name = f"softmax::{kernel}<{T}, {LOG}, {team.threads}, {team.packs}>"
        device.launch(name, team.grid(M), (THREADS,), {"M": M, "N": n, **arrays}, writes=[result])
    else:
        name = f"softmax::columns{'_gradient' if kernel == 'gradient' else ''}<{T}, {LOG}>"
        blocks = first.size // (n * inner) * pieces(inner, COLUMNS)
        device.launch(name, (blocks,), (COLUMNS, SLICES), {"n": n, "inner": inner, **arrays}, writes=[result])
    return Y


def softmax(device: Device, x: Array, axis: int) -> Array:
    """The rung that ships; along another axis than the last one its columns where they are."""
    return _along(device, "vectorized", {"X": x}, axis, "Y", log=False)


def log_softmax(device: Device, x: Array, axis: int) -> Array:
    return _along(device, "vectorized", {"X": x}, axis, "Y", log=True)


def softmax_gradient(device: Device, g: Array, y: Array, axis: int) -> Array:
    return _along(device, "gradient", {"G": g, "Y": y}, axis, "GX", log=False)


def log_softmax_gradient(device: Device, g: Array, y: Array, axis: int) -> Array:
    return _along(device, "gradient", {"G": g, "Y": y}, axis, "GX", log=True)


def _reading(n: int, x: Array) -> Team:
    """For kernels that keep nothing."""
    return Team(team_of(n, x.dtype).threads, 0)


def _cross_entropy_takes(x: Array, target: Array, weight: Array | None, *rows: Array) -> bool:
    return (
        covered(x, weight, *rows)
        and x.ndim == 2
        and x.shape[1] > 0
        and target.dtype == np.int64
        and all(each.shape == x.shape[:1] for each in (target, *rows))
        and (weight is None or weight.shape == x.shape[1:])
    )


def cross_entropy(
    device: Device, x: Array, target: Array, weight: Array | None, ignore_index: int, label_smoothing: float
) -> tuple[Array, Array]:
    """A target that is no class and not `ignore_index` gives NaN: to refuse it, the host would have to wait for it."""
    if not _cross_entropy_takes(x, target, weight):
        return NotImplemented
    M, N = x.shape
    loss, lse = device.empty((M,), x.dtype), device.empty((M,), x.dtype)
    if M:
        team = _reading(N, x)
        arguments = {"M": M, "N": N, "X": contiguous(x), "target": contiguous(target), "W": absent(weight)}
        arguments |= {"ignored": ignore_index, "kept": x.dtype.type(1 - label_smoothing)}
        arguments |= {"spread": x.dtype.type(label_smoothing / N), "loss": loss, "lse": lse}
        kernel = f"softmax::cross_entropy<{number_type('cross_entropy', x)}, {team.threads}>"
        device.launch(kernel, team.grid(M), (THREADS,), arguments, writes=["loss", "lse"])
    return loss, lse


def cross_entropy_gradient(
    device: Device,
    g: Array,
    x: Array,
    target: Array,
    lse: Array,
    weight: Array | None,
    ignore_index: int,
    label_smoothing: float,
) -> Array:
    if not _cross_entropy_takes(x, target, weight, g, lse):
        return NotImplemented
    M, N = x.shape
    gx = device.empty((M, N), x.dtype)
    if M:
        team = _reading(N, x)
        arguments = {"M": M, "N": N, "G": contiguous(g), "X": contiguous(x), "target": contiguous(target)}
        arguments |= {"lse": contiguous(lse), "W": absent(weight), "ignored": ignore_index}
        arguments |= {"kept": x.dtype.type(1 - label_smoothing), "spread": x.dtype.type(label_smoothing / N), "GX": gx}
        kernel = f"softmax::cross_entropy_gradient<{number_type('cross_entropy', x)}, {team.threads}>"
        device.launch(kernel, team.grid(M), (THREADS,), arguments, writes=["GX"])
    return gx


VERBS = {
    verb.__name__: verb
    for verb in (
        softmax,
        log_softmax,
        softmax_gradient,
        log_softmax_gradient,
        cross_entropy,
        cross_entropy_gradient,
    )
}
