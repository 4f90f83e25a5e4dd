"""Launch lines of csrc/normalize.cu: layer norm, RMS norm, batch norm, and their gradients."""

from __future__ import annotations

import math

from .launch import MOST_BLOCKS, Array, Device, contiguous, covered, number_type, pieces
from .rows import THREADS, Team, absent, rows_of, team_of

__all__ = ["VERBS"]

Needed = tuple[bool, ...]
COLUMNS, SLICES = 32, 8  # of a block over columns, normalize::COLUMNS and normalize::SLICES
SPAN, WARPS = 2048, THREADS // 32  # numbers of a line that one warp takes, normalize::SPAN; warps of a block
ENOUGH = 1024  # blocks that keep any GPU busy
DEEP = 16  # numbers of a column that a thread adds up, at least, if there are as many


def _fit(dims: int, x: Array, *parameters: Array | None) -> bool:
    """Whether the kernels take x, and parameters of the size of its rows."""
    return (
        covered(x, *parameters)
        and 0 < dims <= x.ndim
        and x.size > 0
        and all(each is None or each.shape == x.shape[x.ndim - dims :] for each in parameters)
    )


# -------------------------------------------------------------------------------------------------------- rows


def _forward(
    device: Device, centered: bool, x: Array, dims: int, weight: Array | None, bias: Array | None, eps: float
) -> tuple[Array, Array, Array]:
    M, N = rows_of(x, dims)
    team, CENTERED = team_of(N, x.dtype), "true" if centered else "false"
    y, rstd = device.empty(x.shape, x.dtype), device.empty((M,), x.dtype)
    mean = device.empty((M,), x.dtype) if centered else None
    arguments = {"M": M, "N": N, "X": contiguous(x), "W": absent(weight), "B": absent(bias), "eps": x.dtype.type(eps)}
    arguments |= {"Y": y, "mean": 0 if mean is None else mean, "rstd": rstd}
    kernel = f"normalize::forward<{number_type('layer_norm', x)}, {CENTERED}, {team.threads}, {team.packs}>"
    writes = ["Y", "mean", "rstd"] if centered else ["Y", "rstd"]
    device.launch(kernel, team.grid(M), (THREADS,), arguments, writes=writes)
    return y, mean, rstd


def layer_norm(
    device: Device, x: Array, dims: int, weight: Array | None, bias: Array | None, eps: float
) -> tuple[Array, Array, Array]:
    if not _fit(dims, x, weight, bias):
        return NotImplemented
    return _forward(device, True, x, dims, weight, bias, eps)


def rms_norm(device: Device, x: Array, dims: int, weight: Array | None, eps: float) -> tuple[Array, Array]:
    if not _fit(dims, x, weight):
        return NotImplemented
    y, _, rstd = _forward(device, False, x, dims, weight, None, eps)
    return y, rstd


def _backward(
    device: Device, g: Array, x: Array, dims: int, mean: Array | None, rstd: Array, weight: Array | None, needed: Needed
) -> tuple[Array | None, Array | None, Array | None]:
    """The gradients of x, weight and bias; mean: None is RMS norm."""
    M, N = rows_of(x, dims)
    T, zero = number_type("layer_norm_gradient", x), x.dtype.type(0)
    arrays = {"G": contiguous(g), "X": contiguous(x), "mean": absent(mean), "rstd": contiguous(rstd)}
    gx = device.empty(x.shape, x.dtype) if needed[0] else None
    if needed[0]:
        team, CENTERED = team_of(N, x.dtype), "false" if mean is None else "true"
        kernel = f"normalize::backward<{T}, {CENTERED}, {team.threads}, {team.packs}>"
        arguments = {"M": M, "N": N, **arrays, "W": absent(weight), "GX": gx}
        device.launch(kernel, team.grid(M), (THREADS,), arguments, writes=["GX"])
    if not any(needed[1:]):
        return gx, None, None
    S = _slices(M)
    parts = device.empty((2 * N, S), x.dtype)
    grid, block = (pieces(N, COLUMNS), S // SLICES), (COLUMNS, SLICES)
    arguments = {"M": M, "N": N, **arrays, "eps": zero, "parts": parts}
    device.launch(f"normalize::column_sums<{T}, true>", grid, block, arguments, writes=["parts"])
    gw, gb = _fold(device, T, parts).reshape(2, *x.shape[x.ndim - dims :])
    return gx, gw if needed[1] else None, gb if needed[2:] == (True,) else None


def layer_norm_gradient(
    device: Device,
    g: Array,
    x: Array,
    dims: int,
    mean: Array,
    rstd: Array,
    weight: Array | None,
    needed: Needed,
) -> tuple[Array | None, Array | None, Array | None]:
    if not (_fit(dims, x, weight) and covered(g, x, mean, rstd) and g.shape == x.shape and len(needed) == 3):
        return NotImplemented
    return _backward(device, g, x, dims, mean, rstd, weight, tuple(needed))


def rms_norm_gradient(
    device: Device, g: Array, x: Array, dims: int, rstd: Array, weight: Array | None, needed: Needed
) -> tuple[Array | None, Array | None]:
    if not (_fit(dims, x, weight) and covered(g, x, rstd) and g.shape == x.shape and len(needed) == 2):
        return NotImplemented
    gx, gw, _ = _backward(device, g, x, dims, None, rstd, weight, tuple(needed))
    return gx, gw


# ------------------------------------------------------------------------------------- sums in parts, then whole


def _slices(M: int) -> int:
    """In how many parts columns of M numbers are added up."""
    return SLICES * min(pieces(M, SLICES * DEEP), 32)


def _fold(device: Device, T: str, parts: Array) -> Array:
    """The sums of the parts (sums, S)."""
    sums, S = parts.shape
    y = device.empty((sums,), parts.dtype)
    arguments = {"sums": sums, "S": S, "parts": parts, "Y": y}
    device.launch(f"normalize::fold<{T}>", Team(32, 0).grid(sums), (THREADS,), arguments, writes=["Y"])
    return y


# ---------------------------------------------------------------------------------------------------- channels


def _channels(x: Array) -> tuple[int, int, int]:
    """x (images, C, ...) as images, channels, and spots of an image."""
    return x.shape[0], x.shape[1], math.prod(x.shape[2:])


def _partly(device: Device, T: str, what: str, numbers: int, x: Array, operands: dict[str, Array]) -> Array:
    """parts (numbers * C, S): for each channel what `column_{what}` or `channel_{what}` gives, in S parts."""
    images, C, spots = _channels(x)
    if spots == 1:
        S, sizes = _slices(images), {"M": images, "N": C}
        name = f"column_{what}<{T}{', false' if what == 'sums' else ''}>"
        grid: tuple[int, ...] = (pieces(C, COLUMNS), S // SLICES)
        block: tuple[int, ...] = (COLUMNS, SLICES)
    else:
        S = min(pieces(images * pieces(spots, SPAN), WARPS), pieces(ENOUGH, C))
        sizes = {"images": images, "C": C, "spots": spots}
        name, grid, block = f"channel_{what}<{T}>", (C, S), (THREADS,)
    parts = device.empty((numbers * C, S), x.dtype)
    device.launch(f"normalize::{name}", grid, block, {**sizes, **operands, "parts": parts}, writes=["parts"])
    return parts


def _each(device: Device, T: str, kernel: str, x: Array, arguments: dict[str, Array], result: str) -> None:
    """apply or apply_gradient: over lines of a channel, or samples of C channels."""
    images, C, spots = _channels(x)
    M, N = (images, C) if spots == 1 else (images * C, spots)
    team = Team(team_of(N, x.dtype).threads, 0)
    steps = pieces(N, team.threads * (16 // x.itemsize))
    share = 1 if team.threads == 32 else min(pieces(steps, 8), MOST_BLOCKS[1])
    name = f"normalize::{kernel}<{T}, {'false' if spots == 1 else 'true'}, {team.threads}>"
    sizes = {"M": M, "N": N, "C": C}
    device.launch(name, (*team.grid(M), share), (THREADS,), {**sizes, **arguments}, writes=[result])


def _channels_fit(x: Array, *parameters: Array | None) -> bool:
    return (
        covered(x, *parameters)
        and x.ndim >= 2
        and x.size > 0
        and all(each is None or each.shape == x.shape[1:2] for each in parameters)
    )


def batch_norm(
    device: Device,
    x: Array,
    mean: Array | None,
    var: Array | None,
    weight: Array | None,
    bias: Array | None,
    eps: float,
) -> tuple[Array, Array, Array]:
    if mean is None or var is None:
        mean = var = None
    if not _channels_fit(x, mean, var, weight, bias):
        return NotImplemented
    T, X = number_type("batch_norm", x), contiguous(x)
    _, C, spots = _channels(x)
    if mean is None:
        mean, var = device.empty((C,), x.dtype), device.empty((C,), x.dtype)
        parts = _partly(device, T, "moments", 3, x, {"X": X})
        arguments = {"C": C, "spots": spots, "S": parts.shape[1], "X": X, "parts": parts, "mean": mean, "var": var}
        grid = Team(32, 0).grid(C)
        device.launch(f"normalize::fold_moments<{T}>", grid, (THREADS,), arguments, writes=["mean", "var"])
    y = device.empty(x.shape, x.dtype)
    arguments = {"X": X, "mean": absent(mean), "var": absent(var), "W": absent(weight), "B": absent(bias)}
    _each(device, T, "apply", x, {**arguments, "eps": x.dtype.type(eps), "Y": y}, "Y")
    return y, mean, var


def batch_norm_gradient(
    device: Device,
    g: Array,
    x: Array,
    mean: Array,
    var: Array,
    weight: Array | None,
    eps: float,
    training: bool,
    needed: Needed,
) -> tuple[Array | None, Array | None, Array | None]:
    if not _channels_fit(x, mean, var, weight) or not covered(g, x) or g.shape != x.shape:
        return NotImplemented
    T, C, ε = number_type("batch_norm_gradient", x), x.shape[1], x.dtype.type(eps)
    arrays = {"G": contiguous(g), "X": contiguous(x), "mean": contiguous(mean), "var": contiguous(var)}
    sums = gx = None
    if needed[1] or needed[2] or (training and needed[0]):
        sums = _fold(device, T, _partly(device, T, "sums", 2, x, {**arrays, "eps": ε}))
    if needed[0]:
        gx = device.empty(x.shape, x.dtype)
        parameters = {"W": absent(weight), "sums": absent(sums if training else None), "eps": ε}
        count = {"count": x.size // C}
        _each(device, T, "apply_gradient", x, {**count, **arrays, **parameters, "GX": gx}, "GX")
    gw, gb = (None, None) if sums is None else sums.reshape(2, C)
    return gx, gw if needed[1] else None, gb if needed[2] else None


VERBS = {
    verb.__name__: verb
    for verb in (layer_norm, layer_norm_gradient, rms_norm, rms_norm_gradient, batch_norm, batch_norm_gradient)
}
