"""What every library offers to the worker."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

__all__ = ["Layers", "Library", "Run", "laid_out"]

Run = Callable[[], Any]  # does the work once; an array of the library, or a tuple of them
Layers = Sequence[Sequence[Any]]  # a network: ["linear", 784, 256], ["relu"], ["conv", 1, 16], ["pool"], ["flatten"]


def laid_out(operands: Sequence[Any], form: str) -> tuple[Any, Any]:
    """The operands of a product, one of them a transposed view: "A B", "A Bᵀ" or "Aᵀ B"."""
    a, b = operands
    return a.T if form == "Aᵀ B" else a, b.T if form == "A Bᵀ" else b


class Library:
    """A library's own arrays, and its way to do each kind of work.

    A method that is named for a kind (`softmax`, `conv2d` ...) takes arrays of the library and the workload's
    options, and gives the result. `plain` and `differentiated` make a run of it. Kinds that keep a state
    between calls (`adam`, `step`) or have a way of their own make their run themselves, in `run_<kind>`.
    """

    def __init__(self, threads: int) -> None:
        self.threads = threads

    def about(self) -> dict[str, str]:
        """Version, and what is known of the kernels in use."""
        raise NotImplementedError

    def memory(self, run: Run) -> dict[str, int] | None:
        """Of one call in the steady state: the most bytes that results held at once, and how many blocks of memory
        were asked of the system; None where the library does not tell."""
        return None

    def array(self, x: np.ndarray) -> Any:
        """A float32 or integer array of the library."""
        raise NotImplementedError

    def numpy(self, y: Any) -> np.ndarray:
        """The numbers of one of the library's arrays."""
        return np.asarray(y)

    def offers(self, kind: str) -> bool:
        if kind == "block":
            return all(hasattr(self, name) for name in ("linear", "layer_norm", "attention", "gelu"))
        return hasattr(self, f"run_{kind}") or hasattr(self, kind)

    def run(self, kind: str, inputs: Sequence[np.ndarray], options: dict[str, Any], backward: bool) -> Run:
        """The work once, ready to be called again and again."""
        own = getattr(self, f"run_{kind}", None)
        if own is not None:
            return own(inputs, **options)
        f = getattr(self, kind)
        arrays = [self.array(x) for x in inputs]
        return self.differentiated(f, arrays, options) if backward else self.plain(f, arrays, options)

    def block(self, x: Any, *weights: Any, heads: int) -> Any:
        """A transformer's block from the library's parts, (B, T, C): x + attention(norm(x)), then x + mlp(norm(x))."""
        own: Any = self
        B, T, C = x.shape
        norm, project, onward = weights[:2], weights[2:6], weights[6:]
        y = own.linear(own.layer_norm(x, *norm), *project[:2])
        q, k, v = (y[..., i * C : (i + 1) * C].reshape(B, T, heads, C // heads).swapaxes(1, 2) for i in range(3))
        x = x + own.linear(own.attention(q, k, v).swapaxes(1, 2).reshape(B, T, C), *project[2:])
        h = own.gelu(own.linear(own.layer_norm(x, *onward[:2]), *onward[2:4]))
        return x + own.linear(h, *onward[4:])

    def plain(self, f: Callable[..., Any], arrays: Sequence[Any], options: dict[str, Any]) -> Run:
        return lambda: f(*arrays, **options)

    def differentiated(self, f: Callable[..., Any], arrays: Sequence[Any], options: dict[str, Any]) -> Run:
        """The value, and the gradients of all floating inputs; the last array is the gradient of the value."""
        raise NotImplementedError
