"""tinygrad: lazy operations, each run compiled by its TinyJit and realized."""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from importlib import metadata
from typing import Any

import numpy as np

from minidl.bench.libraries.base import Layers, Library, Run, laid_out

__all__ = ["Tinygrad"]


class Tinygrad(Library):
    def __init__(self, threads: int) -> None:
        super().__init__(threads)
        import tinygrad
        import tinygrad.nn.optim

        self.lib: Any = tinygrad
        self.jit: Any = tinygrad.TinyJit
        tinygrad.Tensor([1.0]).realize()  # fails here, where it has no device, and not in each row

    def about(self) -> dict[str, str]:
        return {"version": metadata.version("tinygrad"), "kernels": f"{self.lib.Device.DEFAULT}, TinyJit"}

    def array(self, x: np.ndarray) -> Any:
        return self.lib.Tensor(x.astype(np.int32) if x.dtype == np.int64 else x).clone().realize()

    def numpy(self, y: Any) -> np.ndarray:
        return y.numpy()

    def training(self) -> Any:
        """Optimizers step only in here."""
        return self.lib.Tensor.train() if hasattr(self.lib.Tensor, "train") else self.lib.Context(TRAINING=1)

    def _compiled(self, f: Callable[..., Any], arrays: Sequence[Any]) -> Run:
        """f, which realizes, as a run that ends when its result is there."""
        compiled = self.jit(f)

        def run() -> Any:
            y = compiled(*arrays)
            self.lib.Device[self.lib.Device.DEFAULT].synchronize()
            return y

        return run

    def plain(self, f: Callable[..., Any], arrays: Sequence[Any], options: dict[str, Any]) -> Run:
        return self._compiled(lambda *xs: f(*xs, **options).realize(), arrays)

    def differentiated(self, f: Callable[..., Any], arrays: Sequence[Any], options: dict[str, Any]) -> Run:
        def both(*arrays: Any) -> Any:
            *inputs, gradient = arrays
            y = f(*inputs, **options)
            leaves = [x for x in inputs if x.dtype == self.lib.dtypes.float32]
            found = [y, *y.gradient(*leaves, gradient=gradient)]
            self.lib.Tensor.realize(*found)
            return tuple(found)

        return self._compiled(both, arrays)

    # ------------------------------------------------------------------------------------------------ kernels

    def matmul(self, a: Any, b: Any, form: str) -> Any:
        return operator.matmul(*laid_out((a, b), form))

    def conv2d(self, x: Any, w: Any, b: Any, padding: int) -> Any:
        return x.conv2d(w, b, padding=padding)

    def exp(self, x: Any) -> Any:
        return x.exp()

    def tanh(self, x: Any) -> Any:
        return x.tanh()

    def relu(self, x: Any) -> Any:
        return x.relu()

    def add(self, a: Any, b: Any) -> Any:
        return a + b

    def scale(self, x: Any) -> Any:
        return x * 3.0

    def reduce(self, x: Any, name: str, dim: Any) -> Any:
        return getattr(x, name)(None if dim is None else tuple(dim))

    def softmax(self, x: Any) -> Any:
        return x.softmax(-1)

    def layer_norm(self, x: Any, w: Any, b: Any) -> Any:
        return x.layernorm(-1) * w + b

    def cross_entropy(self, x: Any, y: Any) -> Any:
        return x.sparse_categorical_crossentropy(y)

    def max_pool2d(self, x: Any) -> Any:
        return x.max_pool2d((2, 2))

    def embedding(self, index: Any, w: Any) -> Any:
        return w[index]

    # ------------------------------------------------------------------------------- optimizer and whole steps

    def run_adam(self, inputs: Sequence[np.ndarray], count: int, fused: bool) -> Run:
        parameters = [self.array(x) for x in inputs[:count]]
        gradients = [self.array(g) for g in inputs[count:]]
        optimizer = self.lib.nn.optim.Adam(parameters, lr=1e-3)

        def step() -> None:
            for p, g in zip(parameters, gradients, strict=True):
                p.grad = g
            optimizer.step()

        compiled = self._compiled(step, ())

        def run() -> list[Any]:
            with self.training():
                compiled()
            return parameters

        return run

    def run_step(self, inputs: Sequence[np.ndarray], layers: Layers, loss: str) -> Run:
        x, y = map(self.array, inputs[:2])
        parameters = [self.array(w) for w in inputs[2:]]
        optimizer = self.lib.nn.optim.Adam(parameters, lr=1e-3)

        def step(x: Any, y: Any) -> Any:
            h, weights = x, iter(parameters)
            for name, *_ in layers:
                if name == "linear":
                    h = h.linear(next(weights).T, next(weights))
                elif name == "conv":
                    h = h.conv2d(next(weights), next(weights), padding=1)
                else:
                    h = {"relu": h.relu, "pool": lambda h=h: h.max_pool2d((2, 2)), "flatten": lambda h=h: h.flatten(1)}[
                        name
                    ]()
            value = h.sparse_categorical_crossentropy(y) if loss == "cross_entropy" else ((h - y) ** 2).mean()
            optimizer.zero_grad()
            value.backward()
            self.lib.Tensor.realize(value, *optimizer.schedule_step())  # together, or the new weights would count
            return value

        compiled = self._compiled(step, (x, y))

        def run() -> Any:
            with self.training():
                return compiled()

        return run
