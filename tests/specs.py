"""What each operation is, in plain NumPy, for the rows of cases.py: independent of the engine and of its formulas."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def erf(x: np.ndarray) -> np.ndarray:
    return np.vectorize(math.erf, otypes=[float])(x)


def gelu(x: np.ndarray, approximate: str = "none") -> np.ndarray:
    if approximate == "tanh":
        return 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))
    return 0.5 * x * (1 + erf(x / math.sqrt(2)))


def over(spec: Callable[..., Any], name: str = "axis") -> Callable[..., Any]:
    """A NumPy reduction with PyTorch's names for its arguments."""
    return lambda x, dim=None, keepdim=False, **more: spec(x, axis=dim, keepdims=keepdim, **more)


def logsumexp(x: np.ndarray, axis: Any = None, keepdims: bool = False) -> np.ndarray:
    return np.log(np.sum(np.exp(x), axis=axis, keepdims=keepdims))


def p_norm(x: np.ndarray, p: Any = 2, axis: Any = None, keepdims: bool = False) -> np.ndarray:
    if p == math.inf:
        return np.max(np.abs(x), axis=axis, keepdims=keepdims)
    return np.sum(np.abs(x) ** (2 if p == "fro" else p), axis=axis, keepdims=keepdims) ** (1 / (2 if p == "fro" else p))


def extreme_and_place(largest: bool) -> Callable[..., Any]:
    def spec(x: np.ndarray, dim: int | None = None, keepdim: bool = False) -> Any:
        if dim is None:
            return x.max() if largest else x.min()
        place = (np.argmax if largest else np.argmin)(x, axis=dim, keepdims=True)
        values = np.take_along_axis(x, place, dim)
        return (values, place) if keepdim else (values.squeeze(dim), place.squeeze(dim))

    return spec


def ranked(x: np.ndarray, dim: int = -1, descending: bool = False, stable: bool = False) -> Any:
    order = np.argsort(-x if descending else x, axis=dim, kind="stable")
    return np.take_along_axis(x, order, dim), order


def top(x: np.ndarray, k: int, dim: int = -1, largest: bool = True) -> Any:
    values, order = ranked(x, dim, largest)
    return np.take(values, range(k), dim), np.take(order, range(k), dim)


def linear(x: np.ndarray, weight: np.ndarray, bias: Any = 0.0) -> np.ndarray:
    return x @ weight.T + bias


def pair(value: Any) -> tuple[int, int]:
    return value if isinstance(value, tuple) else (value, value)


def conv2d(
    x: np.ndarray,
    weight: np.ndarray,
    bias: Any = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> np.ndarray:
    """One term after the other: for each filter place a strided slice of the padded image."""
    (sp, sq), (dr, ds) = pair(stride), pair(dilation)
    O, Cg, R, S = weight.shape
    if padding == "same":
        low = [d * (k - 1) // 2 for d, k in ((dr, R), (ds, S))]
        high = [d * (k - 1) - before for (d, k), before in zip(((dr, R), (ds, S)), low, strict=True)]
    else:
        low = high = [0, 0] if padding == "valid" else list(pair(padding))
    padded = np.pad(x, ((0, 0), (0, 0), (low[0], high[0]), (low[1], high[1])))
    P, Q = (padded.shape[2] - dr * (R - 1) - 1) // sp + 1, (padded.shape[3] - ds * (S - 1) - 1) // sq + 1
    result = np.zeros((len(x), O, P, Q))
    for o in range(O):
        first = o // (O // groups) * Cg
        for r in range(R):
            for s in range(S):
                rows, columns = (
                    slice(r * dr, r * dr + sp * (P - 1) + 1, sp),
                    slice(s * ds, s * ds + sq * (Q - 1) + 1, sq),
                )
                patch = padded[:, first : first + Cg, rows, columns]
                result[:, o] += np.tensordot(patch, weight[o, :, r, s], (1, 0))
    return result if bias is None else result + bias[:, None, None]


def conv1d(
    x: np.ndarray,
    weight: np.ndarray,
    bias: Any = None,
    stride: int = 1,
    padding: Any = 0,
    dilation: int = 1,
    groups: int = 1,
) -> np.ndarray:
    padding = padding if isinstance(padding, str) else (0, padding)
    return conv2d(x[:, :, None], weight[:, :, None], bias, (1, stride), padding, (1, dilation), groups)[:, :, 0]


def places(size: Sequence[int], P: int, Q: int, options: Mapping[str, Any]) -> Iterator[tuple[int, ...]]:
    """Every (p, q, r, s) whose read of an input of this size is no padding, with the place (h, w) that it reads."""
    (sp, sq), (pp, pq), (dr, ds) = options["stride"], options["padding"], options["dilation"]
    for p, q, r, s in np.ndindex(P, Q, *options["filter"]):
        h, w = p * sp + r * dr - pp, q * sq + s * ds - pq
        if 0 <= h < size[0] and 0 <= w < size[1]:
            yield p, q, r, s, h, w


def conv2d_input(a: np.ndarray, weight: np.ndarray, *, size: Any, groups: int, **options: Any) -> np.ndarray:
    (N, O, P, Q), (_, Cg, R, S) = a.shape, weight.shape
    result = np.zeros((N, Cg * groups, *size))
    for p, q, r, s, h, w in places(size, P, Q, options | {"filter": (R, S)}):
        for o in range(O):
            first = o // (O // groups) * Cg
            result[:, first : first + Cg, h, w] += a[:, o, p, q, None] * weight[o, :, r, s]
    return result


def conv2d_weight(x: np.ndarray, a: np.ndarray, *, size: Any, groups: int, **options: Any) -> np.ndarray:
    (_, O, P, Q), Cg = a.shape, x.shape[1] // groups
    result = np.zeros((O, Cg, *size))
    for p, q, r, s, h, w in places(x.shape[2:], P, Q, options | {"filter": size}):
        for o in range(O):
            first = o // (O // groups) * Cg
            result[o, :, r, s] += a[:, o, p, q] @ x[:, first : first + Cg, h, w]
    return result


def windows(x: np.ndarray, kernel: Any, stride: Any, padding: Any, dilation: Any, ceil_mode: bool) -> np.ndarray:
    """(N, C, P, Q, R, S): every window, NaN where it hangs over the padded image, inf where it reads padding."""
    k, d, p = pair(kernel), pair(dilation), pair(padding)
    step = k if stride is None else pair(stride)
    reach = [d[a] * (k[a] - 1) + 1 for a in (0, 1)]
    counts = []
    for a in (0, 1):
        over_all = x.shape[2 + a] + 2 * p[a] - reach[a]
        count = (-(-over_all // step[a]) if ceil_mode else over_all // step[a]) + 1
        if ceil_mode and (count - 1) * step[a] >= x.shape[2 + a] + p[a]:
            count -= 1  # the last window must begin inside the image or its left padding
        counts.append(count)
    padded = np.pad(x, ((0, 0), (0, 0), (p[0], p[0]), (p[1], p[1])), constant_values=np.inf)
    padded = np.pad(padded, ((0, 0), (0, 0), (0, reach[0] + step[0]), (0, reach[1] + step[1])), constant_values=np.nan)
    found = np.empty((*x.shape[:2], *counts, *k))
    for P, Q, R, S in np.ndindex(*counts, *k):
        found[:, :, P, Q, R, S] = padded[:, :, P * step[0] + R * d[0], Q * step[1] + S * d[1]]
    return found


def max_pool2d(
    x: np.ndarray, kernel_size: Any, stride: Any = None, padding: Any = 0, dilation: Any = 1, ceil_mode: bool = False
) -> np.ndarray:
    found = windows(x, kernel_size, stride, padding, dilation, ceil_mode)
    return np.where(np.isfinite(found), found, -np.inf).max((-2, -1))


def avg_pool2d(
    x: np.ndarray,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> np.ndarray:
    found = windows(x, kernel_size, stride, padding, 1, ceil_mode)
    if divisor_override is not None:
        return np.where(np.isfinite(found), found, 0).sum((-2, -1)) / divisor_override
    counted = ~np.isnan(found) if count_include_pad else np.isfinite(found)
    return np.where(np.isfinite(found), found, 0).sum((-2, -1)) / counted.sum((-2, -1))


def adaptive_avg_pool2d(x: np.ndarray, output_size: Any) -> np.ndarray:
    """Window by window."""
    (H, W), wanted = x.shape[-2:], pair(output_size)
    P, Q = (have if n is None else n for have, n in zip((H, W), wanted, strict=True))
    result = np.empty((*x.shape[:-2], P, Q))
    for p, q in np.ndindex(P, Q):
        rows, columns = slice(p * H // P, math.ceil((p + 1) * H / P)), slice(q * W // Q, math.ceil((q + 1) * W / Q))
        result[..., p, q] = x[..., rows, columns].mean((-2, -1))
    return result


def conv_transpose2d(
    x: np.ndarray,
    weight: np.ndarray,
    bias: Any = None,
    stride: Any = 1,
    padding: Any = 0,
    output_padding: Any = 0,
    groups: int = 1,
    dilation: Any = 1,
) -> np.ndarray:
    """Every number of x lays its multiple of the filter into a large image, of which the padding is then cut away."""
    if x.ndim == 3:
        return conv_transpose2d(x[None], weight, bias, stride, padding, output_padding, groups, dilation)[0]
    step, low, more, apart = pair(stride), pair(padding), pair(output_padding), pair(dilation)
    (N, O, P, Q), (_, Cg, R, S) = x.shape, weight.shape
    full = [(n - 1) * step[a] + apart[a] * (k - 1) + more[a] + 1 for a, (n, k) in enumerate(((P, R), (Q, S)))]
    result = np.zeros((N, Cg * groups, *full))
    for o, p, q, r, s in np.ndindex(O, P, Q, R, S):
        first = o // (O // groups) * Cg
        place = p * step[0] + r * apart[0], q * step[1] + s * apart[1]
        result[:, first : first + Cg, place[0], place[1]] += x[:, o, p, q, None] * weight[o, :, r, s]
    result = result[:, :, low[0] : full[0] - low[0], low[1] : full[1] - low[1]]
    return result if bias is None else result + bias[:, None, None]


def unfold(x: np.ndarray, kernel_size: Any, dilation: Any = 1, padding: Any = 0, stride: Any = 1) -> np.ndarray:
    if x.ndim == 3:
        return unfold(x[None], kernel_size, dilation, padding, stride)[0]
    found = windows(x, kernel_size, pair(stride), padding, dilation, False)  # (N, C, P, Q, R, S)
    found = np.where(np.isinf(found), 0.0, found).transpose(0, 1, 4, 5, 2, 3)
    return found.reshape(len(x), math.prod(found.shape[1:4]), math.prod(found.shape[4:]))


def pixel_shuffle(x: np.ndarray, upscale_factor: int) -> np.ndarray:
    """Every r-th row and column of the large image is a channel of the small one."""
    r = upscale_factor
    *batch, C, H, W = x.shape
    result = np.empty((*batch, C // (r * r), H * r, W * r))
    for i, j in np.ndindex(r, r):
        result[..., i::r, j::r] = x[..., i * r + j :: r * r, :, :]
    return result


def as_image(spec: Callable[..., Any]) -> Callable[..., Any]:
    """A pooling of signals from one of images: one row high."""

    def one(
        x: np.ndarray, kernel_size: int, stride: Any = None, padding: int = 0, dilation: int = 1, **more: Any
    ) -> np.ndarray:
        spread = {} if dilation == 1 else {"dilation": (1, dilation)}
        stride = kernel_size if stride is None else stride
        return spec(x[:, :, None], (1, kernel_size), (1, stride), (0, padding), **spread, **more)[:, :, 0]

    return one


def pieces(x: np.ndarray, split_size_or_sections: Any, dim: int = 0) -> list[np.ndarray]:
    split_size = split_size_or_sections
    sizes = split_size if isinstance(split_size, (tuple, list)) else [split_size] * (x.shape[dim] // split_size)
    return [piece for piece in np.split(x, np.cumsum(sizes), dim) if piece.shape[dim]]


def take(x: np.ndarray, index: np.ndarray, dim: int) -> np.ndarray:
    return np.take_along_axis(x, index, dim)


def scatter_add(x: np.ndarray, index: np.ndarray, src: np.ndarray, dim: int) -> np.ndarray:
    result = x.copy()
    for place in np.ndindex(index.shape):
        target = list(place)
        target[dim] = index[place]
        result[tuple(target)] += src[place]
    return result


def padded(x: np.ndarray, pad: tuple[int, ...], mode: str = "constant", value: float = 0.0) -> np.ndarray:
    widths = [(0, 0)] * (x.ndim - len(pad) // 2) + list(zip(pad[::2], pad[1::2], strict=True))[::-1]
    if mode == "circular":  # what is cut off does not come back at the other end
        x = x[tuple(slice(max(-a, 0), n - max(-b, 0)) for (a, b), n in zip(widths, x.shape, strict=True))]
        return np.pad(x, [(max(a, 0), max(b, 0)) for a, b in widths], mode="wrap")
    fill = {"constant_values": value} if mode == "constant" else {}
    names: Any = {"replicate": "edge"}.get(mode, mode)
    grown = np.pad(x, [(max(a, 0), max(b, 0)) for a, b in widths], mode=names, **fill)
    return grown[tuple(slice(max(-a, 0), size - max(-b, 0)) for (a, b), size in zip(widths, grown.shape, strict=True))]


def index_put(x: np.ndarray, value: np.ndarray, index: Any) -> np.ndarray:
    result = x.copy()
    result[index] = value
    return result


def softmax(x: np.ndarray, dim: int = -1) -> np.ndarray:
    return np.exp(x) / np.exp(x).sum(dim, keepdims=True)


def layer_norm(
    x: np.ndarray, weight: Any = 1.0, bias: Any = 0.0, *, normalized_shape: Any, eps: float = 1e-5
) -> np.ndarray:
    axes = tuple(range(-len(normalized_shape), 0))
    return (x - x.mean(axes, keepdims=True)) / np.sqrt(x.var(axes, keepdims=True) + eps) * weight + bias


def rms_norm(x: np.ndarray, weight: Any = 1.0, *, normalized_shape: Any, eps: float = 0.0) -> np.ndarray:
    """eps: what the default adds is beyond float64's resolution for numbers around 1."""
    return x / np.sqrt(np.mean(x * x, tuple(range(-len(normalized_shape), 0)), keepdims=True) + eps) * weight


def batch_norm(
    x: np.ndarray, running_mean: Any, running_var: Any, weight: Any = 1.0, bias: Any = 0.0,
    *, training: bool = False, momentum: float = 0.1, eps: float = 1e-5,
) -> np.ndarray:  # fmt: skip
    axes, across = (0, *range(2, x.ndim)), (-1,) + (1,) * (x.ndim - 2)
    mean, var = (x.mean(axes), x.var(axes)) if training else (running_mean, running_var)
    shaped = [np.reshape(a, across) if np.ndim(a) else a for a in (mean, var, weight, bias)]
    return (x - shaped[0]) / np.sqrt(shaped[1] + eps) * shaped[2] + shaped[3]


def group_norm(x: np.ndarray, weight: Any = 1.0, bias: Any = 0.0, *, num_groups: int, eps: float = 1e-5) -> np.ndarray:
    result = np.empty_like(x)
    for n in range(len(x)):
        for one, part in zip(np.split(x[n], num_groups), np.split(result[n], num_groups), strict=True):
            part[...] = (one - one.mean()) / np.sqrt(one.var() + eps)
    across = (-1,) + (1,) * (x.ndim - 2)
    return result * np.reshape(weight, across) + np.reshape(bias, across)


def normalize(x: np.ndarray, p: float = 2.0, dim: int = 1, eps: float = 1e-12) -> np.ndarray:
    return x / np.maximum(np.sum(np.abs(x) ** p, dim, keepdims=True) ** (1 / p), eps)


def cosine(a: np.ndarray, b: np.ndarray, dim: int = 1, eps: float = 1e-8) -> np.ndarray:
    a, b = np.broadcast_arrays(a, b)
    return np.sum(normalize(a, dim=dim, eps=eps) * normalize(b, dim=dim, eps=eps), dim)


def lstm_step(x: np.ndarray, a: np.ndarray, c: np.ndarray) -> np.ndarray:
    i, f, g, o = np.moveaxis(x + a, 1, 0)
    new = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
    return np.stack([sigmoid(o) * np.tanh(new), new])


def gru_step(x: np.ndarray, a: np.ndarray, h: np.ndarray) -> np.ndarray:
    r, z = sigmoid(x[:, 0] + a[:, 0]), sigmoid(x[:, 1] + a[:, 1])
    return (1 - z) * np.tanh(x[:, 2] + r * a[:, 2]) + z * h


def kept(shape: tuple[int, ...], p: float) -> np.ndarray:
    """What a dropout with the seed 5 keeps: it draws one float32 for each mask element."""
    import minidl

    return (minidl.rand(shape, generator=minidl.Generator().manual_seed(5)).numpy() >= p).astype(float)


def reduced(terms: Callable[..., Any]) -> Callable[..., Any]:
    """A loss from its single terms."""

    def spec(*arrays: np.ndarray, reduction: str = "mean", **options: Any) -> np.ndarray:
        values = terms(*arrays, **options)
        return {"mean": np.mean, "sum": np.sum, "none": np.asarray}[reduction](values)

    return spec


def weighed(terms: Callable[..., Any]) -> Callable[..., Any]:
    """A loss from its single terms, with a weight for each."""

    def spec(x: Any, t: Any, weight: Any = None, *, reduction: str = "mean", **options: Any) -> np.ndarray:
        values = terms(x, t, **options)
        weight = np.ones_like(values) if weight is None else weight
        values = weight * values
        return {"mean": values.sum() / weight.sum(), "sum": values.sum(), "none": values}[reduction]

    return spec


def huber(x: np.ndarray, t: Any, delta: float = 1.0) -> np.ndarray:
    d = np.abs(x - t)
    return np.where(d < delta, d**2 / 2, delta * (d - delta / 2))


def nll(
    logp: np.ndarray, target: np.ndarray, weight: Any = None, *, ignore_index: int = -100, reduction: str = "mean",
    spread: float = 0.0,
) -> np.ndarray:  # fmt: skip
    """One position after the other; `spread` is the label smoothing."""
    if logp.ndim == 1:
        mean = nll(logp[None], target[None], weight, ignore_index=ignore_index, reduction=reduction, spread=spread)
        return mean.squeeze(0) if mean.ndim else mean
    weight = np.ones(logp.shape[1]) if weight is None else weight
    terms, counted = np.zeros(target.shape), 0.0
    for place in np.ndindex(target.shape):
        t = target[place]
        if t != ignore_index:
            row = logp[(place[0], slice(None), *place[1:])]
            terms[place] = -(1 - spread) * weight[t] * row[t] - spread / len(row) * (weight * row).sum()
            counted += weight[t]
    return {"mean": terms.sum() / np.float64(counted), "sum": terms.sum(), "none": terms}[reduction]


def cross_entropy(
    x: np.ndarray, target: np.ndarray, weight: Any = None, *, reduction: str = "mean", label_smoothing: float = 0.0,
    **options: Any,
) -> np.ndarray:  # fmt: skip
    axis = 0 if x.ndim == 1 else 1
    logp = np.log(softmax(x, axis))
    if target.dtype.kind != "f":
        return nll(logp, target, weight, reduction=reduction, spread=label_smoothing, **options)
    across = (-1,) + (1,) * (x.ndim - 2)
    p = target * (1 - label_smoothing) + label_smoothing / x.shape[axis]
    terms = -(logp * p * (1.0 if weight is None else weight.reshape(across))).sum(axis)
    return {"mean": terms.mean(), "sum": terms.sum(), "none": terms}[reduction]


def binary_with_logits(x: np.ndarray, t: np.ndarray, weight: Any = 1.0) -> np.ndarray:
    p = sigmoid(x)
    return -weight * (t * np.log(p) + (1 - t) * np.log(1 - p))


def kl_div(x: np.ndarray, t: np.ndarray, *, reduction: str = "mean", log_target: bool = False) -> np.ndarray:
    terms = np.exp(t) * (t - x) if log_target else t * (np.log(t) - x)
    return {"mean": terms.mean(), "sum": terms.sum(), "none": terms, "batchmean": terms.sum() / len(x)}[reduction]


def added(mask: np.ndarray) -> np.ndarray:
    """What attention adds to its scores: a mask of bools says where it may attend."""
    return np.where(mask, 0.0, -np.inf) if mask.dtype == bool else mask


def attention(
    q: np.ndarray,
    k: np.ndarray,
    v: np.ndarray,
    mask: np.ndarray | None = None,
    is_causal: bool = False,
    scale: float | None = None,
) -> np.ndarray:
    """Query by query, key by key."""
    batch = np.broadcast_shapes(q.shape[:-2], k.shape[:-2], v.shape[:-2])
    (L, E), (S, Ev) = q.shape[-2:], v.shape[-2:]
    q, k, v = (np.broadcast_to(x, (*batch, *x.shape[-2:])) for x in (q, k, v))
    bias = np.broadcast_to(0.0 if mask is None else added(mask), (*batch, L, S))
    y = np.zeros((*batch, L, Ev))
    for at in np.ndindex(*batch, L):
        weights = np.zeros(S)
        for j in range(at[-1] + 1 if is_causal else S):
            if j < S:
                weights[j] = np.exp((q[at] @ k[at[:-1]][j]) * (E**-0.5 if scale is None else scale) + bias[at][j])
        if weights.any():
            y[at] = weights / weights.sum() @ v[at[:-1]]
    return y
