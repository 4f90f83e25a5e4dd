"""minidl and PyTorch: the same code for both, since the names are the same."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np

from minidl.bench.libraries.base import Layers, Library, Run, laid_out

__all__ = ["Minidl", "Torch", "TorchCompile"]


class Tensors(Library):
    """A library with a tape under PyTorch's names."""

    module: str
    adam_options: dict[str, Any] = {}

    def __init__(self, threads: int) -> None:
        super().__init__(threads)
        self.lib: Any = importlib.import_module(self.module)
        self.nn: Any = importlib.import_module(f"{self.module}.nn")
        self.F: Any = importlib.import_module(f"{self.module}.nn.functional")
        self.optim: Any = importlib.import_module(f"{self.module}.optim")
        self.lib.set_num_threads(threads)

    def offers(self, kind: str) -> bool:
        attention = "scaled_dot_product_attention"
        needs = {"rms_norm": "rms_norm", "attention": attention, "block": attention}
        return super().offers(kind) and hasattr(self.F, needs.get(kind, "relu"))

    def array(self, x: np.ndarray) -> Any:
        return self.lib.from_numpy(x)

    def numpy(self, y: Any) -> np.ndarray:
        return y.detach().numpy()

    def leaf(self, x: np.ndarray) -> Any:
        tensor = self.array(x)
        return tensor.requires_grad_() if tensor.is_floating_point() else tensor

    def differentiated(self, f: Callable[..., Any], arrays: Sequence[Any], options: dict[str, Any]) -> Run:
        *inputs, gradient = arrays
        leaves = [x.requires_grad_() for x in inputs if x.is_floating_point()]

        def run() -> tuple[Any, ...]:
            for x in leaves:
                x.grad = None
            y = f(*inputs, **options)
            y.backward(gradient)
            return (y, *[x.grad for x in leaves])

        return run

    # ------------------------------------------------------------------------------------------------ kernels

    def run_matmul(self, inputs: Sequence[np.ndarray], form: str) -> Run:
        return partial(self.lib.matmul, *laid_out([self.array(x) for x in inputs], form))

    def linear(self, x: Any, w: Any, b: Any) -> Any:
        return self.F.linear(x, w, b)

    def conv2d(self, x: Any, w: Any, b: Any, padding: int) -> Any:
        return self.F.conv2d(x, w, b, padding=padding)

    def exp(self, x: Any) -> Any:
        return x.exp()

    def tanh(self, x: Any) -> Any:
        return x.tanh()

    def gelu(self, x: Any) -> Any:
        return self.F.gelu(x)

    def relu(self, x: Any) -> Any:
        return x.relu()

    def add(self, a: Any, b: Any) -> Any:
        return a + b

    def scale(self, x: Any) -> Any:
        return x * 3.0

    def reduce(self, x: Any, name: str, dim: Any) -> Any:
        reduce = getattr(x, {"max": "amax"}.get(name, name))
        return reduce() if dim is None else reduce(tuple(dim))

    def softmax(self, x: Any) -> Any:
        return self.F.softmax(x, -1)

    def layer_norm(self, x: Any, w: Any, b: Any) -> Any:
        return self.F.layer_norm(x, (x.shape[-1],), w, b)

    def rms_norm(self, x: Any, w: Any) -> Any:
        return self.F.rms_norm(x, (x.shape[-1],), w, 1e-5)

    def batch_norm(self, x: Any, w: Any, b: Any) -> Any:
        return self.F.batch_norm(x, None, None, w, b, training=True)

    def cross_entropy(self, x: Any, y: Any) -> Any:
        return self.F.cross_entropy(x, y)

    def max_pool2d(self, x: Any) -> Any:
        return self.F.max_pool2d(x, 2)

    def embedding(self, index: Any, w: Any) -> Any:
        return self.F.embedding(index, w)

    def attention(self, q: Any, k: Any, v: Any) -> Any:
        return self.F.scaled_dot_product_attention(q, k, v, is_causal=True)

    # ------------------------------------------------------------------------------- optimizer and whole steps

    def adam(self, parameters: Any, fused: bool) -> Any:
        return self.optim.Adam(parameters, lr=1e-3, **(self.adam_options if fused else {}))

    def run_adam(self, inputs: Sequence[np.ndarray], count: int, fused: bool) -> Run:
        parameters = [self.leaf(x) for x in inputs[:count]]
        for p, g in zip(parameters, inputs[count:], strict=True):
            p.grad = self.array(g)
        optimizer = self.adam(parameters, fused)

        def run() -> list[Any]:
            optimizer.step()
            return parameters

        return run

    def network(self, layers: Layers) -> Any:
        nn = self.nn
        make: dict[str, Callable[..., Any]] = {
            "linear": nn.Linear,
            "conv": lambda inputs, outputs: nn.Conv2d(inputs, outputs, 3, padding=1),
            "pool": lambda: nn.MaxPool2d(2),
            "relu": nn.ReLU,
            "flatten": nn.Flatten,
        }
        return nn.Sequential(*[make[name](*sizes) for name, *sizes in layers])

    def run_step(self, inputs: Sequence[np.ndarray], layers: Layers, loss: str) -> Run:
        x, y, *weights = inputs
        model = self.network(layers)
        with self.lib.no_grad():
            for p, w in zip(model.parameters(), weights, strict=True):
                p.copy_(self.array(w))
        measure = self.F.cross_entropy if loss == "cross_entropy" else self.F.mse_loss
        optimizer = self.adam(model.parameters(), fused=True)
        return self.training(model, measure, self.array(x), self.array(y), optimizer)

    def training(self, model: Any, measure: Callable[..., Any], x: Any, y: Any, optimizer: Any) -> Run:
        def run() -> Any:
            loss = measure(model(x), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            return loss

        return run

    def gpt(self, config: dict[str, Any]) -> Any:
        """The model, in the library's own layers."""
        raise NotImplementedError

    def run_gpt(self, inputs: Sequence[np.ndarray], config: dict[str, Any]) -> Run:
        index, target, *weights = inputs
        model = self.gpt(config)
        if weights[0].dtype == np.float64:
            model.double()
        matrices = [p for p in model.parameters() if p.ndim == 2]
        with self.lib.no_grad():
            for p, w in zip(matrices, weights, strict=True):
                p.copy_(self.array(w))
        groups = [
            {"params": matrices, "weight_decay": 0.1},
            {"params": [p for p in model.parameters() if p.ndim < 2], "weight_decay": 0.0},
        ]
        optimizer = self.optim.AdamW(groups, lr=1e-3, betas=(0.9, 0.99), **self.adam_options)
        return self.training(
            lambda x: model(x).flatten(0, 1), self.F.cross_entropy, self.array(index), self.array(target), optimizer
        )

    # --------------------------------------------------------------------------------------- one operation's cost

    def run_call(self, inputs: Sequence[np.ndarray], operation: str, backward: bool) -> Run:
        """On leaves that ask for gradients, so that the operation is recorded."""
        *leaves, gradient = [self.leaf(x) for x in inputs]
        gradient = gradient.detach()
        a, b = leaves[0], leaves[-1]
        forward: Run = {
            "a + b": lambda: a + b,
            "a * b": lambda: a * b,
            "a @ b": lambda: a @ b,
            "exp": lambda: a.exp(),
            "relu": lambda: a.relu(),
            "sum": lambda: a.sum(),
        }[operation]
        if not backward:
            return forward

        def run_one() -> Any:
            a.grad = None
            forward().backward(gradient)
            return a.grad

        def run_two() -> Any:
            a.grad = b.grad = None
            forward().backward(gradient)
            return a.grad, b.grad

        return run_one if a is b else run_two


class Minidl(Tensors):
    module = "minidl"

    def about(self) -> dict[str, str]:
        from minidl.kernels.build import build_info

        info = build_info()
        chosen = info["chosen"] or "the NumPy reference, nothing is compiled"
        return {"version": self.lib.__version__, "kernels": f"{chosen}; {info['compiler'] or 'no compiler'}"}

    def memory(self, run: Run) -> dict[str, int]:
        from minidl.kernels import memory

        memory.reset_peak_memory_stats()
        run()
        stats = memory.memory_stats()
        return {"peak": stats["peak"], "fresh": stats["fresh"]}

    def run_matmul(self, inputs: Sequence[np.ndarray], form: str) -> Run:
        """The kernel itself, from arrays to an array, as NumPy's."""
        return partial(self.lib.kernels.native.matmul, *laid_out(inputs, form))

    def gpt(self, config: dict[str, Any]) -> Any:
        from minidl.models import GPT

        return GPT(**config)

    def run_limit(self, inputs: Sequence[np.ndarray], name: str) -> Run:
        """The machine's own speed: a run that gives the work it has done."""
        from minidl.kernels import limits

        return limits.runner(name)

    def run_rung(self, inputs: Sequence[np.ndarray], ladder: str, rung: str, arguments: list[Any], exact: Any) -> Run:
        from minidl.bench.ladders import rung_named

        function = rung_named(ladder, rung)
        every = [*inputs, *(tuple(x) if isinstance(x, list) else x for x in arguments)]
        return lambda: function(*every)

    def numpy(self, y: Any) -> np.ndarray:
        return super().numpy(y) if isinstance(y, self.lib.Tensor) else np.asarray(y)


class Torch(Tensors):
    module = "torch"
    adam_options = {"fused": True}

    def about(self) -> dict[str, str]:
        shown = self.lib.__config__.show()
        parts = [name for name in ("MKL", "MKL-DNN") if f"USE_{name.replace('-', '')}=ON" in shown]
        uses = f"; {', '.join(parts)}" if parts else ""
        return {"version": self.lib.__version__, "kernels": self.lib.backends.cpu.get_cpu_capability() + uses}

    def gpt(self, config: dict[str, Any]) -> Any:
        from minidl.bench.libraries import transformer

        return transformer.gpt(config)


class TorchCompile(Torch):
    """PyTorch with its compiler: for training steps only; elsewhere it would time its own guards."""

    def offers(self, kind: str) -> bool:
        return kind in ("step", "gpt")

    def training(self, model: Any, measure: Callable[..., Any], x: Any, y: Any, optimizer: Any) -> Run:
        forward = self.lib.compile(lambda x, y: measure(model(x), y))

        def run() -> Any:
            loss = forward(x, y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            return loss

        return run
