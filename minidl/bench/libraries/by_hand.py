"""NumPy, values and gradients written by hand."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from minidl.bench.libraries.base import Layers, Library, Run, laid_out

__all__ = ["NumPy"]

Array = np.ndarray


class NumPy(Library):
    """A kind's gradients are in the method `<kind>_gradient(g, *inputs, **options)`, one for each floating input."""

    def about(self) -> dict[str, str]:
        return {"version": np.__version__, "kernels": blas_core()}

    def array(self, x: Array) -> Array:
        return x

    def differentiated(self, f: Callable[..., Any], arrays: Sequence[Any], options: dict[str, Any]) -> Run:
        *inputs, g = arrays
        gradient = getattr(self, f"{f.__name__}_gradient")
        return lambda: (f(*inputs, **options), *gradient(g, *inputs, **options))

    # ------------------------------------------------------------------------------------------------ kernels

    def run_matmul(self, inputs: Sequence[Array], form: str) -> Run:
        return partial(np.matmul, *laid_out(inputs, form))

    def conv2d(self, x: Array, w: Array, b: Array, padding: int) -> Array:
        windows = sliding_window_view(pad(x, padding), w.shape[2:], (2, 3))  # (N, C, H, W, R, S)
        y = np.tensordot(windows, w, ((1, 4, 5), (1, 2, 3)))  # (N, H, W, O)
        return np.ascontiguousarray(y.transpose(0, 3, 1, 2)) + b[:, None, None]

    def conv2d_gradient(self, g: Array, x: Array, w: Array, b: Array, padding: int) -> tuple[Array, ...]:
        windows = sliding_window_view(pad(x, padding), w.shape[2:], (2, 3))
        dw = np.tensordot(g, windows, ((0, 2, 3), (0, 2, 3)))
        turned = w[:, :, ::-1, ::-1].swapaxes(0, 1)
        dx = self.conv2d(g, turned, np.zeros(len(turned), x.dtype), w.shape[2] - 1 - padding)
        return dx, dw, g.sum((0, 2, 3))

    def exp(self, x: Array) -> Array:
        return np.exp(x)

    def exp_gradient(self, g: Array, x: Array) -> tuple[Array]:
        return (g * np.exp(x),)

    def tanh(self, x: Array) -> Array:
        return np.tanh(x)

    def tanh_gradient(self, g: Array, x: Array) -> tuple[Array]:
        y = np.tanh(x)
        return (g * (1 - y * y),)

    def gelu(self, x: Array) -> Array:
        return x * (1 + erf(x * x.dtype.type(0.5**0.5))) / 2

    def gelu_gradient(self, g: Array, x: Array) -> tuple[Array]:
        density = np.exp(x * x / -2) * x.dtype.type((2 * np.pi) ** -0.5)
        return (g * ((1 + erf(x * x.dtype.type(0.5**0.5))) / 2 + x * density),)

    def relu(self, x: Array) -> Array:
        return np.maximum(x, 0)

    def relu_gradient(self, g: Array, x: Array) -> tuple[Array]:
        return (g * (x > 0),)

    def add(self, a: Array, b: Array) -> Array:
        return a + b

    def scale(self, x: Array) -> Array:
        return x * x.dtype.type(3)

    def reduce(self, x: Array, name: str, dim: Any) -> Any:
        axes = None if dim is None else tuple(dim)
        return x.var(axes, ddof=1) if name == "var" else getattr(x, name)(axes)

    def softmax(self, x: Array) -> Array:
        e = np.exp(x - x.max(-1, keepdims=True))
        e /= e.sum(-1, keepdims=True)
        return e

    def softmax_gradient(self, g: Array, x: Array) -> tuple[Array]:
        y = self.softmax(x)
        return (y * (g - (g * y).sum(-1, keepdims=True)),)

    def layer_norm(self, x: Array, w: Array, b: Array) -> Array:
        return normalized(x, -1)[0] * w + b

    def layer_norm_gradient(self, g: Array, x: Array, w: Array, b: Array) -> tuple[Array, ...]:
        z, rate = normalized(x, -1)
        first = tuple(range(x.ndim - 1))
        return normalized_gradient(g * w, z, rate, -1), (g * z).sum(first), g.sum(first)

    def rms_norm(self, x: Array, w: Array) -> Array:
        return x / np.sqrt((x * x).mean(-1, keepdims=True) + x.dtype.type(1e-5)) * w

    def rms_norm_gradient(self, g: Array, x: Array, w: Array) -> tuple[Array, ...]:
        rate = 1 / np.sqrt((x * x).mean(-1, keepdims=True) + x.dtype.type(1e-5))
        z, h = x * rate, g * w
        return rate * (h - z * (h * z).mean(-1, keepdims=True)), (g * z).sum(tuple(range(x.ndim - 1)))

    def batch_norm(self, x: Array, w: Array, b: Array) -> Array:
        return normalized(x, (0, 2, 3))[0] * w[:, None, None] + b[:, None, None]

    def batch_norm_gradient(self, g: Array, x: Array, w: Array, b: Array) -> tuple[Array, ...]:
        z, rate = normalized(x, (0, 2, 3))
        dx = normalized_gradient(g * w[:, None, None], z, rate, (0, 2, 3))
        return dx, (g * z).sum((0, 2, 3)), g.sum((0, 2, 3))

    def cross_entropy(self, x: Array, y: Array) -> Any:
        top = x.max(-1, keepdims=True)
        return (np.log(np.exp(x - top).sum(-1)) + top[:, 0] - x[np.arange(len(y)), y]).mean()

    def cross_entropy_gradient(self, g: Any, x: Array, y: Array) -> tuple[Array]:
        p = self.softmax(x)
        p[np.arange(len(y)), y] -= 1
        p *= g / len(y)
        return (p,)

    def max_pool2d(self, x: Array) -> Array:
        N, C, H, W = x.shape
        return x.reshape(N, C, H // 2, 2, W // 2, 2).max((3, 5))

    def max_pool2d_gradient(self, g: Array, x: Array) -> tuple[Array]:
        # Each gradient goes to the first of its window's largest numbers, as everywhere.
        N, C, H, W = x.shape
        tiles = x.reshape(N, C, H // 2, 2, W // 2, 2).swapaxes(3, 4).reshape(N, C, H // 2, W // 2, 4)
        dx = np.zeros_like(tiles)
        np.put_along_axis(dx, tiles.argmax(-1)[..., None], g[..., None], -1)
        return (dx.reshape(N, C, H // 2, W // 2, 2, 2).swapaxes(3, 4).reshape(x.shape),)

    def embedding(self, index: Array, w: Array) -> Array:
        return w[index]

    def embedding_gradient(self, g: Array, index: Array, w: Array) -> tuple[Array]:
        dw = np.zeros_like(w)
        np.add.at(dw, index, g)
        return (dw,)

    def attention(self, q: Array, k: Array, v: Array) -> Array:
        return self._weights(q, k) @ v

    def attention_gradient(self, g: Array, q: Array, k: Array, v: Array) -> tuple[Array, ...]:
        p, rate = self._weights(q, k), q.dtype.type(q.shape[-1] ** -0.5)
        dp = g @ v.mT
        ds = p * (dp - (dp * p).sum(-1, keepdims=True)) * rate
        return ds @ k, ds.mT @ q, p.mT @ g

    def _weights(self, q: Array, k: Array) -> Array:
        scores = q @ k.mT * q.dtype.type(q.shape[-1] ** -0.5)
        scores[..., ~np.tri(q.shape[-2], k.shape[-2], dtype=bool)] = -np.inf
        return self.softmax(scores)

    # ------------------------------------------------------------------------------- optimizer and whole steps

    def run_adam(self, inputs: Sequence[Array], count: int, fused: bool) -> Run:
        parameters = [x.copy() for x in inputs[:count]]
        step = adam(parameters)

        def run() -> list[Array]:
            step(inputs[count:])
            return parameters

        return run

    def run_step(self, inputs: Sequence[Array], layers: Layers, loss: str) -> Run:
        x, y, *given = inputs
        weights = [w.copy() for w in given]
        step = adam(weights)

        def run() -> Any:
            # Each layer leaves the function that takes the gradient of its result to that of its input.
            h, back, first = x, [], 0
            for name, *_ in layers:
                w = weights[first : first + 2]
                if name in ("linear", "conv"):
                    first += 2
                h, gradient = self._layer(name, h, *w[: 2 * (name in ("linear", "conv"))])
                back.append(gradient)
            if loss == "cross_entropy":
                value = self.cross_entropy(h, y)
                g = self.cross_entropy_gradient(h.dtype.type(1), h, y)[0]
            else:
                value, g = ((h - y) ** 2).mean(), (h - y) * h.dtype.type(2 / h.size)
            found: list[Array] = []
            for i in range(len(back) - 1, -1, -1):
                g, *of_weights = back[i](g, i > 0)
                found = [*of_weights, *found]
            step(found)
            return value

        return run

    def _layer(self, name: str, x: Array, *w: Array) -> tuple[Array, Callable[..., Any]]:
        """A layer's result; and from the result's gradient those of x, where it is needed, and of the weights."""
        if name == "linear":
            return x @ w[0].T + w[1], lambda g, needed: (g @ w[0] if needed else None, g.T @ x, g.sum(0))
        if name == "relu":
            return np.maximum(x, 0), lambda g, needed: (g * (x > 0),)
        if name == "pool":
            return self.max_pool2d(x), lambda g, needed: self.max_pool2d_gradient(g, x)
        if name == "flatten":
            return x.reshape(len(x), -1), lambda g, needed: (g.reshape(x.shape),)
        return self.conv2d(x, w[0], w[1], 1), lambda g, needed: self.conv2d_gradient(g, x, w[0], w[1], 1)

    def run_call(self, inputs: Sequence[Array], operation: str, backward: bool) -> Run:
        a, b, g = inputs[0], inputs[-2], inputs[-1]
        forward, gradients = {
            "a + b": (lambda: a + b, lambda: (g, g)),
            "a * b": (lambda: a * b, lambda: (g * b, g * a)),
            "a @ b": (lambda: a @ b, lambda: (g @ b.T, a.T @ g)),
            "exp": (lambda: np.exp(a), lambda: g * np.exp(a)),
            "relu": (lambda: np.maximum(a, 0), lambda: g * (a > 0)),
            "sum": (lambda: a.sum(), lambda: np.full_like(a, g)),
        }[operation]
        return gradients if backward else forward


def erf(x: Array) -> Array:
    """SciPy's where it is installed, since NumPy has none; else the standard library's, one number at a time."""
    try:
        from scipy.special import erf  # type: ignore[import-untyped, unused-ignore]
    except ImportError:
        from minidl.kernels.reference import erf
    return erf(x)


def pad(x: Array, padding: int) -> Array:
    return np.pad(x, ((0, 0), (0, 0), (padding, padding), (padding, padding))) if padding else x


def normalized(x: Array, axis: Any) -> tuple[Array, Array]:
    """(x - mean) / deviation, and 1 / deviation."""
    z = x - x.mean(axis, keepdims=True)
    rate = 1 / np.sqrt((z * z).mean(axis, keepdims=True) + x.dtype.type(1e-5))
    return z * rate, rate


def normalized_gradient(g: Array, z: Array, rate: Array, axis: Any) -> Array:
    return rate * (g - g.mean(axis, keepdims=True) - z * (g * z).mean(axis, keepdims=True))


def adam(parameters: Sequence[Array]) -> Callable[[Sequence[Array]], None]:
    """Steps the parameters in place by gradients (lr 1e-3, betas 0.9 and 0.999, eps 1e-8)."""
    first, second = ([np.zeros_like(p) for p in parameters] for _ in range(2))
    t = 0

    def step(gradients: Sequence[Array]) -> None:
        nonlocal t
        t += 1
        for p, g, m, v in zip(parameters, gradients, first, second, strict=True):
            m *= 0.9
            m += 0.1 * g
            v *= 0.999
            v += 0.001 * g * g
            p -= (1e-3 / (1 - 0.9**t)) * m / (np.sqrt(v / (1 - 0.999**t)) + 1e-8)

    return step


def blas_core() -> str:
    """The kernels that NumPy's BLAS has chosen for this processor, by its own word."""
    import ctypes

    try:
        with open("/proc/self/maps") as maps:
            paths = {line.split()[-1] for line in maps if "openblas" in line and ".so" in line}
    except OSError:
        paths = set()
    for path in sorted(paths):
        for name in ("scipy_openblas_get_corename64_", "openblas_get_corename64_", "openblas_get_corename"):
            function = getattr(ctypes.CDLL(path), name, None)
            if function is not None:
                function.restype = ctypes.c_char_p
                return f"OpenBLAS {function().decode()}"
    return str(np.show_config("dicts")["Build Dependencies"]["blas"]["name"])
