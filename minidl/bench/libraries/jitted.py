"""JAX, compiled (`jax.jit`); every run waits for its result."""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from minidl.bench.libraries.base import Layers, Library, Run, laid_out

__all__ = ["Jax"]


class Jax(Library):
    def __init__(self, threads: int) -> None:
        super().__init__(threads)
        import jax

        self.jax, self.jnp = jax, jax.numpy

    def about(self) -> dict[str, str]:
        return {"version": self.jax.__version__, "kernels": f"XLA on {self.jax.default_backend()}, jit"}

    def array(self, x: np.ndarray) -> Any:
        return self.jnp.asarray(x.astype(np.int32) if x.dtype == np.int64 else x)

    def plain(self, f: Callable[..., Any], arrays: Sequence[Any], options: dict[str, Any]) -> Run:
        compiled, wait = self.jax.jit(lambda *xs: f(*xs, **options)), self.jax.block_until_ready
        return lambda: wait(compiled(*arrays))

    def differentiated(self, f: Callable[..., Any], arrays: Sequence[Any], options: dict[str, Any]) -> Run:
        *inputs, gradient = arrays
        places = [i for i, x in enumerate(inputs) if x.dtype == self.jnp.float32]

        def both(inputs: Sequence[Any], gradient: Any) -> tuple[Any, ...]:
            def of_floats(*floats: Any) -> Any:
                every = list(inputs)
                for i, x in zip(places, floats, strict=True):
                    every[i] = x
                return f(*every, **options)

            y, pull = self.jax.vjp(of_floats, *[inputs[i] for i in places])
            return (y, *pull(gradient))

        compiled, wait = self.jax.jit(both), self.jax.block_until_ready
        return lambda: wait(compiled(inputs, gradient))

    # ------------------------------------------------------------------------------------------------ kernels

    def matmul(self, a: Any, b: Any, form: str) -> Any:
        return operator.matmul(*laid_out((a, b), form))

    def linear(self, x: Any, w: Any, b: Any) -> Any:
        return x @ w.T + b

    def conv2d(self, x: Any, w: Any, b: Any, padding: int) -> Any:
        y = self.jax.lax.conv_general_dilated(
            x, w, (1, 1), [(padding, padding)] * 2, dimension_numbers=("NCHW", "OIHW", "NCHW")
        )
        return y + b[:, None, None]

    def exp(self, x: Any) -> Any:
        return self.jnp.exp(x)

    def tanh(self, x: Any) -> Any:
        return self.jnp.tanh(x)

    def gelu(self, x: Any) -> Any:
        return self.jax.nn.gelu(x, approximate=False)

    def relu(self, x: Any) -> Any:
        return self.jax.nn.relu(x)

    def add(self, a: Any, b: Any) -> Any:
        return a + b

    def scale(self, x: Any) -> Any:
        return x * 3.0

    def reduce(self, x: Any, name: str, dim: Any) -> Any:
        axes = None if dim is None else tuple(dim)
        return self.jnp.var(x, axes, ddof=1) if name == "var" else getattr(self.jnp, name)(x, axes)

    def softmax(self, x: Any) -> Any:
        return self.jax.nn.softmax(x)

    def layer_norm(self, x: Any, w: Any, b: Any) -> Any:
        return self._normalized(x, -1) * w + b

    def rms_norm(self, x: Any, w: Any) -> Any:
        return x * self.jax.lax.rsqrt((x * x).mean(-1, keepdims=True) + 1e-5) * w

    def batch_norm(self, x: Any, w: Any, b: Any) -> Any:
        return self._normalized(x, (0, 2, 3)) * w[:, None, None] + b[:, None, None]

    def _normalized(self, x: Any, axis: Any) -> Any:
        z = x - x.mean(axis, keepdims=True)
        return z * self.jax.lax.rsqrt((z * z).mean(axis, keepdims=True) + 1e-5)

    def cross_entropy(self, x: Any, y: Any) -> Any:
        return -self.jnp.take_along_axis(self.jax.nn.log_softmax(x), y[:, None], 1).mean()

    def max_pool2d(self, x: Any) -> Any:
        window = (1, 1, 2, 2)
        return self.jax.lax.reduce_window(x, -self.jnp.inf, self.jax.lax.max, window, window, "VALID")

    def embedding(self, index: Any, w: Any) -> Any:
        return w[index]

    def attention(self, q: Any, k: Any, v: Any) -> Any:
        scores = q @ k.mT * q.shape[-1] ** -0.5
        kept = self.jnp.tri(q.shape[-2], k.shape[-2], dtype=bool)
        return self.softmax(self.jnp.where(kept, scores, -self.jnp.inf)) @ v

    # ------------------------------------------------------------------------------- optimizer and whole steps

    def adam(self, state: Any, gradients: Any, beta: float = 0.999, decay: float = 0.0) -> Any:
        """New (parameters, m, v, t): lr 1e-3, betas 0.9 and `beta`, eps 1e-8; AdamW with a decay of the matrices."""
        parameters, first, second, t = state
        t = t + 1
        first = [0.9 * m + 0.1 * g for m, g in zip(first, gradients, strict=True)]
        second = [beta * v + (1 - beta) * g * g for v, g in zip(second, gradients, strict=True)]
        a, b = 1 - 0.9**t, 1 - beta**t
        new = [
            (1 - 1e-3 * decay * (p.ndim > 1)) * p - 1e-3 * (m / a) / (self.jnp.sqrt(v / b) + 1e-8)
            for p, m, v in zip(parameters, first, second, strict=True)
        ]
        return new, first, second, t

    def _state(self, weights: Sequence[np.ndarray]) -> Any:
        parameters = [self.jnp.array(w) for w in weights]  # copies, since the step gives them away
        zeros = self.jnp.zeros_like
        return parameters, [zeros(p) for p in parameters], [zeros(p) for p in parameters], self.jnp.float32(0)

    def run_adam(self, inputs: Sequence[np.ndarray], count: int, fused: bool) -> Run:
        state = self._state(inputs[:count])
        gradients = [self.array(g) for g in inputs[count:]]
        compiled = self.jax.jit(self.adam, donate_argnums=0)

        def run() -> Any:
            nonlocal state
            state = self.jax.block_until_ready(compiled(state, gradients))
            return tuple(state[0])

        return run

    def network(self, layers: Layers, parameters: Sequence[Any], h: Any) -> Any:
        weights = iter(parameters)
        for name, *_ in layers:
            if name == "linear":
                h = h @ next(weights).T + next(weights)
            elif name == "conv":
                h = self.conv2d(h, next(weights), next(weights), 1)
            else:
                h = {"relu": self.relu, "pool": self.max_pool2d, "flatten": lambda h: h.reshape(len(h), -1)}[name](h)
        return h

    def run_step(self, inputs: Sequence[np.ndarray], layers: Layers, loss: str) -> Run:
        x, y = map(self.array, inputs[:2])
        state = self._state(inputs[2:])

        def measure(parameters: Sequence[Any], x: Any, y: Any) -> Any:
            h = self.network(layers, parameters, x)
            return self.cross_entropy(h, y) if loss == "cross_entropy" else ((h - y) ** 2).mean()

        def step(state: Any, x: Any, y: Any) -> Any:
            value, gradients = self.jax.value_and_grad(measure)(state[0], x, y)
            return self.adam(state, gradients), value

        return self.stepping(step, state, x, y)

    def stepping(self, step: Callable[..., Any], state: Any, x: Any, y: Any) -> Run:
        compiled = self.jax.jit(step, donate_argnums=0)

        def run() -> Any:
            nonlocal state
            state, value = self.jax.block_until_ready(compiled(state, x, y))
            return value

        return run

    def run_gpt(self, inputs: Sequence[np.ndarray], config: dict[str, Any]) -> Run:
        """Weights as (inputs, outputs), and places as rows of one matrix: what XLA is fastest with here, twice."""
        index, target = map(self.array, inputs[:2])
        norms = [np.ones(config["width"], np.float32)] * (2 * config["layers"] + 1)
        state = self._state([*norms, *inputs[2:4], *(w.T for w in inputs[4:])])

        def measure(parameters: Sequence[Any], index: Any, target: Any) -> Any:
            scale, (tokens, positions, *rest) = iter(parameters[: len(norms)]), parameters[len(norms) :]
            w, (B, T) = iter(rest), index.shape
            h = (tokens[index] + positions).reshape(B * T, -1)
            for _ in range(config["layers"]):
                x = self._normalized(h, -1) * next(scale)
                q, k, v = ((x @ next(w)).reshape(B, T, config["heads"], -1).swapaxes(1, 2) for _ in range(3))
                h = h + self.attention(q, k, v).swapaxes(1, 2).reshape(h.shape) @ next(w)
                h = h + self.gelu(self._normalized(h, -1) * next(scale) @ next(w)) @ next(w)
            return self.cross_entropy(self._normalized(h, -1) * next(scale) @ tokens.T, target)

        def step(state: Any, index: Any, target: Any) -> Any:
            value, gradients = self.jax.value_and_grad(measure)(state[0], index, target)
            return self.adam(state, gradients, 0.99, 0.1), value

        return self.stepping(step, state, index, target)
