"""The specification: every kernel verb in NumPy, in its plainest form.

Arrays in, new arrays out; `axes` are tuples of non-negative ints. Every other backend is held against this module by
one table of cases (tests/cases.py).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

Array = np.ndarray
Pair = tuple[int, int]

# ------------------------------------------------------------------------------------- elementwise, one input

neg, exp, expm1 = np.negative, np.exp, np.expm1
log, log1p, log2, sqrt, square = np.log, np.log1p, np.log2, np.sqrt, np.square
sin, cos, tanh, floor, ceil, round = np.sin, np.cos, np.tanh, np.floor, np.ceil, np.rint
abs = np.abs
_erf = np.frompyfunc(math.erf, 1, 1)


def sign(x: Array) -> Array:
    return np.asarray(x > 0, x.dtype) - np.asarray(x < 0, x.dtype)  # 0 at NaN, as PyTorch's


def rsqrt(x: Array) -> Array:
    return 1 / np.sqrt(x)


def reciprocal(x: Array) -> Array:
    return 1 / x


def sigmoid(x: Array) -> Array:
    # exp of a positive number may overflow: both branches take exp(-|x|).
    e = np.exp(-np.abs(x))
    return np.where(x >= 0, 1, e) / (1 + e)


def erf(x: Array) -> Array:
    return np.asarray(_erf(x), dtype=np.float64).astype(x.dtype)


def relu(x: Array) -> Array:
    return np.maximum(x, 0)


def silu(x: Array) -> Array:
    return x * sigmoid(x)


def gelu(x: Array, approximate: str = "none") -> Array:
    if approximate == "tanh":
        return x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))) / 2
    return (x * (1 + erf(x / math.sqrt(2))) / 2).astype(x.dtype, copy=False)


# Derivatives of activations, in one step: g times the slope, from the result y or the argument x.


def relu_gradient(g: Array, y: Array) -> Array:
    return np.where(y <= 0, np.zeros((), g.dtype), g)


def tanh_gradient(g: Array, y: Array) -> Array:
    return g * (1 - y * y)


def sigmoid_gradient(g: Array, y: Array) -> Array:
    return g * y * (1 - y)


def silu_gradient(g: Array, x: Array) -> Array:
    return g * sigmoid(x) * (1 + x * sigmoid(-x))


def gelu_gradient(g: Array, x: Array, approximate: str = "none") -> Array:
    if approximate == "tanh":
        c = math.sqrt(2 / math.pi)
        t = np.tanh(c * (x + 0.044715 * x**3))
        return g * ((1 + t) / 2 + x * (1 - t * t) / 2 * c * (1 + 3 * 0.044715 * x * x))
    return g * ((1 + erf(x / math.sqrt(2))) / 2 + x * np.exp(x * x / -2) / math.sqrt(2 * math.pi))


def clamp(x: Array, low: float | None, high: float | None) -> Array:
    y = x if low is None else np.maximum(x, low)
    return np.array(y) if high is None else np.minimum(y, high)


# ------------------------------------------------------------------------------------ elementwise, two inputs

add, sub, mul, div, pow = np.add, np.subtract, np.multiply, np.true_divide, np.power
maximum, minimum, floor_divide, remainder = np.maximum, np.minimum, np.floor_divide, np.remainder
eq, ne, lt, le, gt, ge = np.equal, np.not_equal, np.less, np.less_equal, np.greater, np.greater_equal
where = np.where

# ------------------------------------------------------------------------------------------------ reductions


def sum(x: Array, axes: tuple[int, ...], keepdims: bool) -> Array:
    return np.sum(x, axis=axes, keepdims=keepdims, dtype=x.dtype)


def mean(x: Array, axes: tuple[int, ...], keepdims: bool) -> Array:
    n = math.prod(x.shape[i] for i in axes)
    total = np.sum(x, axis=axes, keepdims=keepdims)
    return np.divide(total, n, dtype=x.dtype) if n else np.full_like(total, np.nan)


def prod(x: Array, axes: tuple[int, ...], keepdims: bool) -> Array:
    return np.prod(x, axis=axes, keepdims=keepdims, dtype=x.dtype)


def amax(x: Array, axes: tuple[int, ...], keepdims: bool) -> Array:
    return np.max(x, axis=axes, keepdims=keepdims)


def amin(x: Array, axes: tuple[int, ...], keepdims: bool) -> Array:
    return np.min(x, axis=axes, keepdims=keepdims)


def argmax(x: Array, axis: int, keepdims: bool) -> Array:
    return np.argmax(x, axis=axis, keepdims=keepdims)


def argmin(x: Array, axis: int, keepdims: bool) -> Array:
    return np.argmin(x, axis=axis, keepdims=keepdims)


def any(x: Array, axes: tuple[int, ...], keepdims: bool) -> Array:
    return np.any(x, axis=axes, keepdims=keepdims)


def all(x: Array, axes: tuple[int, ...], keepdims: bool) -> Array:
    return np.all(x, axis=axes, keepdims=keepdims)


def var(x: Array, axes: tuple[int, ...], correction: float, keepdims: bool) -> Array:
    n = math.prod(x.shape[i] for i in axes)
    squares = np.sum(np.square(x - mean(x, axes, True)), axis=axes, keepdims=keepdims)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.divide(squares, max(n - correction, 0), dtype=x.dtype)


def logsumexp(x: Array, axes: tuple[int, ...], keepdims: bool) -> Array:
    if math.prod(x.shape[i] for i in axes) == 0:
        return np.full(np.sum(x, axis=axes, keepdims=keepdims).shape, -np.inf, x.dtype)
    top = np.max(x, axis=axes, keepdims=True)
    top = np.where(np.isfinite(top), top, 0)  # a row of -inf, or one with +inf: nothing to shift by
    with np.errstate(divide="ignore"):
        y = np.log(np.sum(np.exp(x - top), axis=axes, keepdims=True)) + top
    return y if keepdims else y.squeeze(axes)


def cumsum(x: Array, axis: int) -> Array:
    return np.cumsum(x, axis=axis, dtype=x.dtype)


# ------------------------------------------------------------------------------------------ matrix products

def matmul(a: Array, b: Array) -> Array:
    y = np.matmul(a, b)
    return y if y.dtype == a.dtype else y.astype(a.dtype)  # bfloat16 is summed in float32


def linear(x: Array, w: Array, b: Array | None) -> Array:
    y = matmul(x, w.T)
    return y if b is None else y + b


def linear_gradient(g: Array, x: Array, w: Array, needed: tuple[bool, bool, bool]) -> tuple[Array | None, ...]:
    """linear's gradients for x, w and b, those that are needed."""
    n = math.prod(x.shape[:-1])
    rows, inputs = g.reshape(n, g.shape[-1]), x.reshape(n, x.shape[-1])
    dx, dw = matmul(g, w) if needed[0] else None, matmul(rows.T, inputs) if needed[1] else None
    return dx, dw, rows.sum(0) if needed[2] else None


# ----------------------------------------------------------------------------------- convolution and pooling


def _windows(x: Array, window: Pair, stride: Pair, dilation: Pair) -> Array:
    """View of every window: (N, C, H, W) -> (N, C, P, Q, R, S)."""
    (R, S), (dr, ds) = window, dilation
    view = sliding_window_view(x, ((R - 1) * dr + 1, (S - 1) * ds + 1), axis=(2, 3))
    return view[:, :, :: stride[0], :: stride[1], ::dr, ::ds]


def _pad(x: Array, padding: Pair, value: float = 0) -> Array:
    ph, pw = padding
    return np.pad(x, ((0, 0), (0, 0), (ph, ph), (pw, pw)), constant_values=value)


def conv2d(
    x: Array, w: Array, b: Array | None, stride: Pair, padding: Pair, dilation: Pair, groups: int
) -> Array:
    N, C = x.shape[:2]
    O, _, R, S = w.shape
    v = _windows(_pad(x, padding), (R, S), stride, dilation)
    P, Q = v.shape[2:4]
    v = v.reshape(N, groups, C // groups, P, Q, R, S)
    w = w.reshape(groups, O // groups, C // groups, R, S)
    y = np.einsum("ngcpqrs,gocrs->ngopq", v, w, optimize=True).reshape(N, O, P, Q)
    return np.ascontiguousarray(y) if b is None else y + b[:, None, None]


def conv2d_winograd(x: Array, w: Array, b: Array | None, padding: Pair, tile: int) -> Array:
    """conv2d with stride 1; a backend may use Winograd's products for tiles of tile x tile outputs (2 or 4)."""
    return conv2d(x, w, b, (1, 1), padding, (1, 1), 1)


def conv2d_input(
    g: Array, w: Array, size: Pair, stride: Pair, padding: Pair, dilation: Pair, groups: int
) -> Array:
    N, O, P, Q = g.shape
    _, Cg, R, S = w.shape
    (sh, sw), (ph, pw), (dh, dw) = stride, padding, dilation
    gw = w.reshape(groups, O // groups, Cg, R, S)
    gg = g.reshape(N, groups, O // groups, P, Q)
    # At least as large as the last window reaches: rows that no window covers get no gradient.
    H = max(size[0] + 2 * ph, (P - 1) * sh + (R - 1) * dh + 1)
    W = max(size[1] + 2 * pw, (Q - 1) * sw + (S - 1) * dw + 1)
    x = np.zeros((N, groups * Cg, H, W), g.dtype)
    for r in range(R):
        for s in range(S):
            part = np.einsum("ngopq,goc->ngcpq", gg, gw[..., r, s], optimize=True).reshape(N, groups * Cg, P, Q)
            x[:, :, r * dh : r * dh + P * sh : sh, s * dw : s * dw + Q * sw : sw][:, :, :P, :Q] += part
    return np.ascontiguousarray(x[:, :, ph : ph + size[0], pw : pw + size[1]])


def conv2d_weight(
    x: Array, g: Array, size: Pair, stride: Pair, padding: Pair, dilation: Pair, groups: int
) -> Array:
    N, C = x.shape[:2]
    O, P, Q = g.shape[1:]
    v = _windows(_pad(x, padding), size, stride, dilation)[:, :, :P, :Q]
    v = v.reshape(N, groups, C // groups, P, Q, *size)
    w = np.einsum("ngcpqrs,ngopq->gocrs", v, g.reshape(N, groups, O // groups, P, Q), optimize=True)
    return np.ascontiguousarray(w.reshape(O, C // groups, *size))


def pooled_size(size: int, kernel: int, stride: int, padding: int, dilation: int, ceil_mode: bool) -> int:
    """How many windows fit; with ceil_mode a last one may hang over, if it starts in the input or its left padding."""
    span = size + 2 * padding - dilation * (kernel - 1) - 1
    n = (-(-span // stride) if ceil_mode else span // stride) + 1
    return n - 1 if ceil_mode and (n - 1) * stride >= size + padding else n


def _pool_windows(
    x: Array, kernel: Pair, stride: Pair, padding: Pair, dilation: Pair, ceil_mode: bool, fill: float
) -> Array:
    """The windows of the padded plane, (N, C, P, Q, R, S); hanging parts are filled too."""
    H, W = x.shape[2:]
    P = pooled_size(H, kernel[0], stride[0], padding[0], dilation[0], ceil_mode)
    Q = pooled_size(W, kernel[1], stride[1], padding[1], dilation[1], ceil_mode)
    high = [
        max((n - 1) * s + d * (k - 1) + 1 - size - p, 0)
        for n, s, d, k, size, p in zip((P, Q), stride, dilation, kernel, (H, W), padding, strict=True)
    ]
    x = np.pad(x, ((0, 0), (0, 0), (padding[0], high[0]), (padding[1], high[1])), constant_values=fill)
    return _windows(x, kernel, stride, dilation)[:, :, :P, :Q]


def max_pool2d(
    x: Array, kernel: Pair, stride: Pair, padding: Pair, dilation: Pair, ceil_mode: bool
) -> tuple[Array, Array]:
    H, W = x.shape[2:]
    low, high = (np.iinfo(x.dtype).min, np.iinfo(x.dtype).max) if x.dtype.kind in "iu" else (-np.inf, np.inf)
    v = _pool_windows(x, kernel, stride, padding, dilation, ceil_mode, low)
    flat = v.reshape(*v.shape[:4], kernel[0] * kernel[1])  # (N, C, P, Q, R*S)
    inside = _pool_windows(np.ones((1, 1, H, W)), kernel, stride, padding, dilation, ceil_mode, 0).reshape(
        1, 1, *flat.shape[2:]
    )
    # The first largest of what lies inside; NaN counts as largest.
    best = np.argmax(np.where(np.isnan(flat), high, np.where(inside > 0, flat, low)), axis=-1)
    nan = np.isnan(flat)
    best = np.where(nan.any(-1), nan.argmax(-1), best)
    hidden = np.take_along_axis(np.broadcast_to(inside, flat.shape), best[..., None], -1)[..., 0] == 0
    best = np.where(hidden, (inside > 0).argmax(-1), best)  # all -inf: still an element of the input
    r, s = best // kernel[1], best % kernel[1]
    P, Q = v.shape[2:4]
    i = np.arange(P)[:, None] * stride[0] - padding[0] + r * dilation[0]
    j = np.arange(Q) * stride[1] - padding[1] + s * dilation[1]
    return np.take_along_axis(flat, best[..., None], -1)[..., 0], (i * W + j).astype(np.int64)


def max_pool2d_input(g: Array, index: Array, size: Pair) -> Array:
    x = np.zeros((*g.shape[:2], size[0] * size[1]), g.dtype)
    flat = scatter_add(x, 2, index.reshape(*index.shape[:2], -1), g.reshape(*g.shape[:2], -1)) if g.size else x
    return flat.reshape(*g.shape[:2], *size)


def _window_sizes(size: int, kernel: int, stride: int, padding: int, ceil_mode: bool, count_include_pad: bool) -> Array:
    """How many elements of an axis each window's mean counts."""
    start = np.arange(pooled_size(size, kernel, stride, padding, 1, ceil_mode)) * stride - padding
    end = np.minimum(start + kernel, size + padding)
    return end - start if count_include_pad else np.minimum(end, size) - np.maximum(start, 0)


def _window_counts(
    size: Pair, kernel: Pair, stride: Pair, padding: Pair, ceil_mode: bool, count_include_pad: bool
) -> Array:
    rows, columns = (
        _window_sizes(*each, ceil_mode, count_include_pad) for each in zip(size, kernel, stride, padding, strict=True)
    )
    return rows[:, None] * columns


def avg_pool2d(
    x: Array, kernel: Pair, stride: Pair, padding: Pair, ceil_mode: bool, count_include_pad: bool,
    divisor: int | None = None,
) -> Array:  # fmt: skip
    counts = divisor or _window_counts(x.shape[2:], kernel, stride, padding, ceil_mode, count_include_pad)
    total = _pool_windows(x, kernel, stride, padding, (1, 1), ceil_mode, 0).sum((-2, -1))
    return (total / counts).astype(x.dtype)  # integers are cut towards 0


def avg_pool2d_input(
    g: Array, size: Pair, kernel: Pair, stride: Pair, padding: Pair, ceil_mode: bool, count_include_pad: bool,
    divisor: int | None = None,
) -> Array:  # fmt: skip
    counts = divisor or _window_counts(size, kernel, stride, padding, ceil_mode, count_include_pad)
    share = (g / counts).astype(g.dtype)
    N, C, P, Q = g.shape
    (sh, sw), (ph, pw) = stride, padding
    x = np.zeros((N, C, P * sh + kernel[0] + size[0] + ph, Q * sw + kernel[1] + size[1] + pw), g.dtype)
    for r in range(kernel[0]):
        for s in range(kernel[1]):
            x[:, :, r : r + P * sh : sh, s : s + Q * sw : sw] += share
    return np.ascontiguousarray(x[:, :, ph : ph + size[0], pw : pw + size[1]])


# -------------------------------------------------------------------------------- softmax and cross-entropy


def softmax(x: Array, axis: int) -> Array:
    e = np.exp(x - np.max(x, axis=axis, keepdims=True)) if x.size else x.copy()
    return e / np.sum(e, axis=axis, keepdims=True)


def log_softmax(x: Array, axis: int) -> Array:
    shifted = x - np.max(x, axis=axis, keepdims=True) if x.size else x.copy()
    return shifted - np.log(np.sum(np.exp(shifted), axis=axis, keepdims=True))


def softmax_gradient(g: Array, y: Array, axis: int) -> Array:
    return y * (g - np.sum(g * y, axis=axis, keepdims=True))


def log_softmax_gradient(g: Array, y: Array, axis: int) -> Array:
    return g - np.exp(y) * np.sum(g, axis=axis, keepdims=True)


def cross_entropy(
    x: Array, target: Array, weight: Array | None, ignore_index: int, label_smoothing: float
) -> tuple[Array, Array]:
    """Each row's loss (0 where the target is ignore_index) and its log-sum-exp."""
    lse = logsumexp(x, (1,), True)
    surprise = lse - x  # (N, C): -log_softmax
    w = np.ones(x.shape[1], x.dtype) if weight is None else weight
    kept = target != ignore_index
    t = np.where(kept, target, 0)
    losses = w[t] * np.take_along_axis(surprise, t[:, None], 1)[:, 0]
    if label_smoothing:
        losses = (1 - label_smoothing) * losses + label_smoothing / x.shape[1] * (surprise @ w)
    return np.where(kept, losses, 0).astype(x.dtype), lse[:, 0]


def cross_entropy_gradient(
    g: Array, x: Array, target: Array, lse: Array, weight: Array | None, ignore_index: int, label_smoothing: float
) -> Array:
    N, C = x.shape
    p = np.exp(x - lse[:, None])
    w = np.ones(C, x.dtype) if weight is None else weight
    kept = target != ignore_index
    t = np.where(kept, target, 0)
    pull = np.zeros_like(p)  # how strongly each class is wanted
    np.put_along_axis(pull, t[:, None], ((1 - label_smoothing) * w[t])[:, None], 1)
    pull += label_smoothing / C * w
    pull *= kept[:, None]
    return (g[:, None] * (p * pull.sum(1, keepdims=True) - pull)).astype(x.dtype)


# -------------------------------------------------------------------------------------------- normalisation
#
# x̂ = (x - mean) * rstd, rstd = 1 / sqrt(var + eps); y = x̂ * weight + bias. `needed` says which gradients are asked for:
# those of x, weight and bias (rms_norm: x and weight); None stands for the others.

Needed = tuple[bool, ...]


def _plane(x: Array, dims: int) -> Array:
    """x as rows of its last `dims` dimensions."""
    n = math.prod(x.shape[x.ndim - dims :])
    return x.reshape(math.prod(x.shape[: x.ndim - dims]), n)


def layer_norm(
    x: Array, dims: int, weight: Array | None, bias: Array | None, eps: float
) -> tuple[Array, Array, Array]:
    """Over the last `dims` dimensions: y, and each row's mean and rstd."""
    rows = _plane(x, dims)
    μ = mean(rows, (1,), False)
    rstd = rsqrt(var(rows, (1,), 0, False) + x.dtype.type(eps))
    y = ((rows - μ[:, None]) * rstd[:, None]).reshape(x.shape)
    y = y if weight is None else y * weight
    return y if bias is None else y + bias, μ, rstd


def layer_norm_gradient(
    g: Array, x: Array, dims: int, mean: Array, rstd: Array, weight: Array | None, needed: Needed
) -> tuple[Array | None, Array | None, Array | None]:
    hat = (_plane(x, dims) - mean[:, None]) * rstd[:, None]
    u = _plane(g if weight is None else g * weight, dims)
    n = max(u.shape[1], 1)
    inner = u - u.sum(1, keepdims=True) / n - hat * ((u * hat).sum(1, keepdims=True) / n)
    shape, g = x.shape[x.ndim - dims :], _plane(g, dims)
    return (
        (inner * rstd[:, None]).reshape(x.shape) if needed[0] else None,
        (g * hat).sum(0).reshape(shape) if needed[1] else None,
        g.sum(0).reshape(shape) if needed[2] else None,
    )


def rms_norm(x: Array, dims: int, weight: Array | None, eps: float) -> tuple[Array, Array]:
    """Over the last `dims` dimensions, with mean = 0 and var = mean(x²): y, and each row's rstd."""
    rows = _plane(x, dims)
    rstd = rsqrt(mean(rows * rows, (1,), False) + x.dtype.type(eps))
    y = (rows * rstd[:, None]).reshape(x.shape)
    return y if weight is None else y * weight, rstd


def rms_norm_gradient(
    g: Array, x: Array, dims: int, rstd: Array, weight: Array | None, needed: Needed
) -> tuple[Array | None, Array | None]:
    hat = _plane(x, dims) * rstd[:, None]
    u = _plane(g if weight is None else g * weight, dims)
    inner = u - hat * ((u * hat).sum(1, keepdims=True) / max(u.shape[1], 1))
    return (
        (inner * rstd[:, None]).reshape(x.shape) if needed[0] else None,
        (_plane(g, dims) * hat).sum(0).reshape(x.shape[x.ndim - dims :]) if needed[1] else None,
    )


def _channels(x: Array) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The axes of x (N, C, ...) that a channel's statistics run over, and the shape of one number a channel."""
    return (0, *range(2, x.ndim)), (1, x.shape[1]) + (1,) * (x.ndim - 2)


def batch_norm(
    x: Array, μ: Array | None, σ2: Array | None, weight: Array | None, bias: Array | None, eps: float
) -> tuple[Array, Array, Array]:
    """Of x (N, C, ...) by the given mean and variance of each channel, or (None) by x's own: y, mean, variance."""
    axes, shape = _channels(x)
    if μ is None or σ2 is None:
        μ, σ2 = mean(x, axes, False), var(x, axes, 0, False)
    y = (x - μ.reshape(shape)) * rsqrt(σ2 + x.dtype.type(eps)).reshape(shape)
    y = y if weight is None else y * weight.reshape(shape)
    return y if bias is None else y + bias.reshape(shape), μ, σ2


def batch_norm_gradient(
    g: Array, x: Array, mean: Array, var: Array, weight: Array | None, eps: float, training: bool, needed: Needed
) -> tuple[Array | None, Array | None, Array | None]:
    """In training mean and var are functions of x."""
    axes, shape = _channels(x)
    rstd = rsqrt(var + x.dtype.type(eps)).reshape(shape)
    hat = (x - mean.reshape(shape)) * rstd
    gw, gb = (g * hat).sum(axes), g.sum(axes)
    n = max(x.size // max(x.shape[1], 1), 1)
    inner = g - gb.reshape(shape) / n - hat * (gw.reshape(shape) / n) if training else g
    gx = inner * (rstd if weight is None else rstd * weight.reshape(shape))
    return gx if needed[0] else None, gw if needed[1] else None, gb if needed[2] else None


# ------------------------------------------------------------------------------------------------- attention


def _scores(q: Array, k: Array, mask: Array | None, causal: bool, scale: float) -> Array:
    """(..., L, S); -inf where a query may not attend to a key: causal, to one that comes after it."""
    s = (q * q.dtype.type(scale)) @ k.swapaxes(-1, -2)
    if mask is not None:
        s = np.where(mask, s, -np.inf) if mask.dtype == bool else s + mask
    if causal:
        s = np.where(np.tri(*s.shape[-2:]) > 0, s, -np.inf)
    return s.astype(q.dtype, copy=False)


def attention(
    q: Array, k: Array, v: Array, mask: Array | None, causal: bool, scale: float
) -> tuple[Array, Array]:
    """softmax(scale q kᵀ + mask) v, and each query's log-sum-exp (..., L). One that may attend to nothing gets 0.

    mask: bool (may attend) or of q's dtype (added), broadcast to (..., L, S).
    """
    s = _scores(q, k, mask, causal, scale)
    lse = logsumexp(s, (s.ndim - 1,), False)
    return _weights(s, lse) @ v, lse


def _weights(s: Array, lse: Array) -> Array:
    p: Array = np.exp(s - np.where(lse == -np.inf, 0, lse)[..., None]).astype(s.dtype, copy=False)
    return p


def attention_gradient(
    g: Array, q: Array, k: Array, v: Array, y: Array, lse: Array, mask: Array | None, causal: bool, scale: float
) -> tuple[Array, Array, Array]:
    p = _weights(_scores(q, k, mask, causal, scale), lse)
    ds = p * (g @ v.swapaxes(-1, -2) - np.sum(g * y, -1, keepdims=True)) * q.dtype.type(scale)
    return ds @ k, ds.swapaxes(-1, -2) @ q, p.swapaxes(-1, -2) @ g


# --------------------------------------------------------------------------------------- gather and scatter


def _check_index(verb: str, index: Array, size: int) -> None:
    wrong = (index < 0) | (index >= size)
    if wrong.any():
        raise ValueError(
            f"{verb}: index holds {index[wrong][0]}, but there are {size} places: use 0 to {size - 1}"
        )


def gather(x: Array, axis: int, index: Array) -> Array:
    _check_index("gather", index, x.shape[axis])
    at: Any = np.indices(index.shape, sparse=True)
    return x[tuple(index if i == axis else a for i, a in enumerate(at))]


def scatter_add(x: Array, axis: int, index: Array, src: Array) -> Array:
    _check_index("scatter_add", index, x.shape[axis])
    y = x.copy()
    at: Any = np.indices(index.shape, sparse=True)
    np.add.at(y, tuple(index if i == axis else a for i, a in enumerate(at)), src[tuple(map(slice, index.shape))])
    return y


def take_rows(w: Array, index: Array) -> Array:
    _check_index("take_rows", index, w.shape[0])
    return w[index]


def add_rows(shape: tuple[int, ...], index: Array, g: Array) -> Array:
    _check_index("add_rows", index, shape[0])
    y = np.zeros(shape, g.dtype)
    np.add.at(y, index, g)
    return y


# ------------------------------------------------------------------------------------- optimizers, in place


def sgd_step(
    params: Sequence[Array],
    grads: Sequence[Array],
    buffers: Sequence[Array] | None,
    lr: float,
    momentum: float,
    dampening: float,
    weight_decay: float,
    nesterov: bool,
    first: bool,
) -> None:
    for i, (w, g) in enumerate(zip(params, grads, strict=True)):
        if weight_decay:
            g = g + weight_decay * w
        if buffers is not None:
            b = buffers[i]
            b[...] = g if first else momentum * b + (1 - dampening) * g
            g = g + momentum * b if nesterov else b
        w -= lr * g


def adam_step(
    params: Sequence[Array],
    grads: Sequence[Array],
    m: Sequence[Array],
    v: Sequence[Array],
    step: int,
    lr: float,
    beta1: float,
    beta2: float,
    eps: float,
    weight_decay: float,
    decoupled: bool,
) -> None:
    for w, g, m_, v_ in zip(params, grads, m, v, strict=True):
        if weight_decay and decoupled:
            w *= 1 - lr * weight_decay
        elif weight_decay:
            g = g + weight_decay * w
        m_[...] = beta1 * m_ + (1 - beta1) * g
        v_[...] = beta2 * v_ + (1 - beta2) * g * g
        w -= lr / (1 - beta1**step) * m_ / (np.sqrt(v_) / math.sqrt(1 - beta2**step) + eps)


def amsgrad_step(
    params: Sequence[Array],
    grads: Sequence[Array],
    m: Sequence[Array],
    v: Sequence[Array],
    largest: Sequence[Array],
    step: int,
    lr: float,
    beta1: float,
    beta2: float,
    eps: float,
    weight_decay: float,
    decoupled: bool,
) -> None:
    """As adam_step, dividing by the largest v so far."""
    for w, g, m_, v_, most in zip(params, grads, m, v, largest, strict=True):
        if weight_decay and decoupled:
            w *= 1 - lr * weight_decay
        elif weight_decay:
            g = g + weight_decay * w
        m_[...] = beta1 * m_ + (1 - beta1) * g
        v_[...] = beta2 * v_ + (1 - beta2) * g * g
        np.maximum(most, v_, out=most)
        w -= lr / (1 - beta1**step) * m_ / (np.sqrt(most) / math.sqrt(1 - beta2**step) + eps)


def adagrad_step(
    params: Sequence[Array], grads: Sequence[Array], v: Sequence[Array], lr: float, eps: float, weight_decay: float
) -> None:
    for w, g, v_ in zip(params, grads, v, strict=True):
        if weight_decay:
            g = g + weight_decay * w
        v_ += g * g
        w -= lr * g / (np.sqrt(v_) + eps)


def rmsprop_step(
    params: Sequence[Array],
    grads: Sequence[Array],
    v: Sequence[Array],
    m: Sequence[Array] | None,
    buffers: Sequence[Array] | None,
    lr: float,
    alpha: float,
    eps: float,
    weight_decay: float,
    momentum: float,
) -> None:
    for i, (w, g, v_) in enumerate(zip(params, grads, v, strict=True)):
        if weight_decay:
            g = g + weight_decay * w
        v_[...] = alpha * v_ + (1 - alpha) * g * g
        spread = v_
        if m is not None:
            m[i][...] = alpha * m[i] + (1 - alpha) * g
            spread = v_ - m[i] * m[i]
        d = g / (np.sqrt(spread) + eps)
        if buffers is not None:
            buffers[i][...] = momentum * buffers[i] + d
            d = buffers[i]
        w -= lr * d


def adadelta_step(
    params: Sequence[Array],
    grads: Sequence[Array],
    v: Sequence[Array],
    m: Sequence[Array],
    lr: float,
    rho: float,
    eps: float,
    weight_decay: float,
) -> None:
    for w, g, v_, m_ in zip(params, grads, v, m, strict=True):
        if weight_decay:
            g = g + weight_decay * w
        v_[...] = rho * v_ + (1 - rho) * g * g
        d = np.sqrt(m_ + eps) / np.sqrt(v_ + eps) * g
        m_[...] = rho * m_ + (1 - rho) * d * d
        w -= lr * d


def squared_norm(arrays: Sequence[Array]) -> float:
    """Σ x² over all arrays."""
    return math.fsum(float(np.sum(np.square(x), dtype=np.float64)) for x in arrays)


def scale_in_place(arrays: Sequence[Array], factor: float) -> None:
    for x in arrays:
        x *= x.dtype.type(factor)


# ------------------------------------------------------------------------------------------- steps of recurrent units


def lstm_step(x: Array, a: Array, c: Array) -> tuple[Array, Array]:
    """x, a (N, 4, H), c (N, H) -> new h and c (2, N, H), and the gates i, f, g, o (N, 4, H) for the gradient."""
    gates = sigmoid(x + a)
    gates[:, 2] = np.tanh(x[:, 2] + a[:, 2])
    i, f, g, o = gates.swapaxes(0, 1)
    new = f * c + i * g
    return np.stack([o * np.tanh(new), new]), gates


def lstm_step_gradient(g: Array, gates: Array, c: Array, y: Array) -> tuple[Array, Array]:
    """Of ∂L/∂y (2, N, H), gates and y as lstm_step gave them: the gradients for x (a's is the same) and c."""
    i, f, candidate, o = gates.swapaxes(0, 1)
    tanh_c = np.tanh(y[1])
    d = g[1] + g[0] * o * (1 - tanh_c * tanh_c)
    to_i, to_f = d * candidate * i * (1 - i), d * c * f * (1 - f)
    to_candidate, to_o = d * i * (1 - candidate * candidate), g[0] * tanh_c * o * (1 - o)
    return np.stack([to_i, to_f, to_candidate, to_o], 1), d * f


def gru_step(x: Array, a: Array, h: Array) -> tuple[Array, Array]:
    """x, a (N, 3, H), h (N, H) -> new h (N, H), and r, z, candidate (N, 3, H), which the gradient reads."""
    gates = sigmoid(x + a)
    gates[:, 2] = np.tanh(x[:, 2] + gates[:, 0] * a[:, 2])
    _, z, candidate = gates.swapaxes(0, 1)
    return (1 - z) * candidate + z * h, gates


def gru_step_gradient(g: Array, gates: Array, a: Array, h: Array) -> tuple[Array, Array, Array]:
    """Of ∂L/∂(new h) (N, H), gates as gru_step gave them: the gradients for x, a and h."""
    r, z, candidate = gates.swapaxes(0, 1)
    d = g * (1 - z) * (1 - candidate * candidate)
    to_x = np.stack([d * a[:, 2] * r * (1 - r), g * (h - candidate) * z * (1 - z), d], 1)
    to_a = to_x.copy()
    to_a[:, 2] *= r
    return to_x, to_a, g * z


# ---------------------------------------------------------------------------------- counter-based random numbers


def philox(seed: int, offset: int, count: int) -> Array:
    """Words offset ... offset+count-1 of the stream of Philox4x32-10 (Salmon et al. 2011, "Parallel random numbers:
    as easy as 1, 2, 3"): block b is the cipher of the 128-bit counter b under the 64-bit key `seed`.
    """
    first, last = offset // 4, (offset + count + 3) // 4
    block = np.arange(first, last, dtype=np.uint64)
    low = np.uint64(0xFFFFFFFF)
    half = np.uint64(32)
    c0, c1 = block & low, block >> half
    c2 = c3 = np.zeros_like(block)
    k0, k1 = seed & 0xFFFFFFFF, (seed >> 32) & 0xFFFFFFFF
    for _ in range(10):
        p0 = c0 * np.uint64(0xD2511F53)
        p1 = c2 * np.uint64(0xCD9E8D57)
        c0, c1, c2, c3 = (p1 >> half) ^ c1 ^ np.uint64(k0), p1 & low, (p0 >> half) ^ c3 ^ np.uint64(k1), p0 & low
        k0, k1 = (k0 + 0x9E3779B9) & 0xFFFFFFFF, (k1 + 0xBB67AE85) & 0xFFFFFFFF
    words = np.stack([c0, c1, c2, c3], axis=1).astype(np.uint32).reshape(-1)
    return words[offset - 4 * first : offset - 4 * first + count]


def uniform(seed: int, offset: int, count: int, dtype: np.dtype[Any]) -> Array:
    """[0, 1): the top 24 bits of a word for float32, 53 bits of two words for float64."""
    if np.dtype(dtype) == np.float64:
        w = philox(seed, offset, 2 * count).astype(np.uint64).reshape(-1, 2)
        return ((w[:, 0] >> np.uint64(5)) * np.uint64(1 << 26) + (w[:, 1] >> np.uint64(6))) * 2.0**-53
    return (philox(seed, offset, count) >> np.uint32(8)).astype(np.float32) * np.float32(2.0**-24)


def normal(seed: int, offset: int, count: int, dtype: np.dtype[Any]) -> Array:
    """Standard normal numbers r cos t and r sin t from pairs of uniform u and v (Box and Muller 1958),
    where r² = -2 log(1-u) and t = 2πv. Four words a pair, computed in float64.
    """
    u = uniform(seed, offset, 2 * ((count + 1) // 2), np.dtype(np.float64)).reshape(-1, 2)
    r, t = np.sqrt(-2 * np.log(1 - u[:, 0])), 2 * np.pi * u[:, 1]
    return np.stack([r * np.cos(t), r * np.sin(t)], axis=1).reshape(-1)[:count].astype(dtype)


def dropout(x: Array, p: float, seed: int, offset: int) -> tuple[Array, Array]:
    """x times mask / (1 - p), and the mask: where the stream's uniform number from `offset` on is at least p."""
    mask = uniform(seed, offset, x.size, np.dtype(np.float32)).reshape(x.shape) >= p
    return masked_scale(x, mask, 0 if p == 1 else 1 / (1 - p)), mask


def masked_scale(x: Array, mask: Array, scale: float) -> Array:
    return x * (mask * x.dtype.type(scale))


# inf and nan are values here as in every backend, no cause for a warning.
for _name, _verb in list(globals().items()):
    if callable(_verb) and not _name.startswith("_") and (isinstance(_verb, np.ufunc) or _verb.__module__ == __name__):
        globals()[_name] = np.errstate(all="ignore")(_verb)
