"""The tape's public face: backward and grad, recording on and off, operations of one's own, and checks."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Sequence
from contextlib import ContextDecorator
from typing import Any

import numpy as np

from . import tape
from ._dtypes import float64
from ._tensor import Tensor
from .ops._common import flag
from .tape import backward, mode, nodes_of, seed, set_recording, wrap

# ------------------------------------------------------------------------------------- recording on and off


class _Recording(ContextDecorator):
    """Set whether this thread records, until the block or the decorated function ends."""

    _value: bool

    def __init__(self) -> None:
        self._before: list[bool] = []

    def __enter__(self) -> None:
        self._before.append(set_recording(self._value))

    def __exit__(self, *error: Any) -> None:
        set_recording(self._before.pop())

    def __call__(self, function: Any) -> Any:
        return super().__call__(function)


class _Switch(_Recording):
    """A setting without a choice: a decorator with and without parentheses, @no_grad() and @no_grad."""

    def __new__(cls, orig_func: Callable[..., Any] | None = None) -> Any:
        return super().__new__(cls) if orig_func is None else cls()(orig_func)

    def __init__(self, orig_func: Callable[..., Any] | None = None) -> None:
        super().__init__()


class no_grad(_Switch):
    """with no_grad(): nothing is recorded, so results need no gradient. Also a decorator. Per thread."""

    _value = False


class enable_grad(_Switch):
    """with enable_grad(): recording is on again inside a no_grad block."""

    _value = True


class inference_mode(_Recording):
    """no_grad under the name that PyTorch gives to its strictest form; with mode=False enable_grad."""

    def __new__(cls, mode: bool | Callable[..., Any] = True) -> Any:
        return cls()(mode) if callable(mode) else super().__new__(cls)

    def __init__(self, mode: bool | Callable[..., Any] = True) -> None:
        super().__init__()
        self._value = not mode


class set_grad_enabled(_Recording):
    """set_grad_enabled(flag): at once, and until the end of the block where used as `with`."""

    def __init__(self, mode: bool) -> None:
        super().__init__()
        self._value = flag(mode, "set_grad_enabled", "mode")
        self._before = [set_recording(self._value)]

    def __enter__(self) -> None:
        set_recording(self._value)


def is_grad_enabled() -> bool:
    """Whether this thread records what it computes."""
    return mode.recording


# ------------------------------------------------------------------------------------------------------ grad


def _list(x: Any) -> list[Any]:
    return list(x) if isinstance(x, (list, tuple)) else [x]


def grad(
    outputs: Tensor | Sequence[Tensor],
    inputs: Tensor | Sequence[Tensor],
    grad_outputs: Any = None,
    retain_graph: bool | None = None,
    create_graph: bool = False,
    only_inputs: bool = True,
    allow_unused: bool | None = None,
    is_grads_batched: bool = False,
    materialize_grads: bool = False,
) -> tuple[Tensor | None, ...]:
    """∂(sum of outputs · grad_outputs)/∂ each input, without touching any `.grad`.

    create_graph: the gradients are recorded and can be differentiated again. allow_unused: None for an input that
    the outputs do not depend on (an error otherwise); materialize_grads: zeros there. only_inputs is accepted for
    PyTorch's sake, and True. There is no is_grads_batched.
    """
    if is_grads_batched or not only_inputs:
        what = "is_grads_batched=True" if is_grads_batched else "only_inputs=False"
        remedy = "call grad once for each row" if is_grads_batched else "backward() fills every .grad"
        raise ValueError(f"grad: {what} is not supported; {remedy}")
    ys, xs = _list(outputs), _list(inputs)
    seeds = _list(grad_outputs) if grad_outputs is not None else [None] * len(ys)
    if len(seeds) != len(ys):
        raise ValueError(f"grad: {len(seeds)} grad_outputs for {len(ys)} outputs")
    seeded = [seed("grad", y, g) for y, g in zip(ys, seeds, strict=True)]
    nodes = nodes_of("grad", xs)
    retain = create_graph if retain_graph is None else retain_graph
    found = tape.walk([(y.node, g) for y, g in zip(ys, seeded, strict=True)], nodes, retain, create_graph)
    result: list[Tensor | None] = []
    for i, (x, node) in enumerate(zip(xs, nodes, strict=True)):
        g = found.get(node)
        if g is None and materialize_grads:
            g = wrap(np.zeros_like(x.array))
        if g is None and not allow_unused:
            raise RuntimeError(f"grad: the outputs do not depend on input {i}; pass allow_unused=True for None there")
        result.append(g)
    return tuple(result)


# ------------------------------------------------------------------------------------ operations of one's own


class Context:
    """What a Function's forward hands to its backward."""

    def __init__(self, needs_input_grad: tuple[bool, ...]) -> None:
        self.needs_input_grad = needs_input_grad
        self._saved: tuple[Tensor | None, ...] = ()
        self._outputs: dict[int, Callable[[], Tensor]] = {}

    def save_for_backward(self, *tensors: Tensor | None) -> None:
        """Keep inputs or results for backward; changing one in place before then is an error."""
        self._saved = tensors

    @property
    def saved_tensors(self) -> tuple[Tensor | None, ...]:
        return tuple(self._outputs[i]() if i in self._outputs else t for i, t in enumerate(self._saved))

    def set_materialize_grads(self, value: bool) -> None:
        """Accepted for PyTorch's sake: gradients are always given as tensors."""

    def mark_non_differentiable(self, *tensors: Tensor) -> None:
        raise RuntimeError(
            "mark_non_differentiable: every result of a Function is differentiable; compute others outside it"
        )


class Function:
    """An operation of one's own: its value and its derivative, by hand.

        class Cube(Function):
            @staticmethod
            def forward(ctx, x):
                ctx.save_for_backward(x)
                return x ** 3

            @staticmethod
            def backward(ctx, G):
                (x,) = ctx.saved_tensors
                return G * 3 * x ** 2

        y = Cube.apply(x)

    backward gives one gradient (or None) for each argument of forward. Written in operations of the engine it can be
    differentiated again.
    """

    @staticmethod
    def forward(ctx: Context, *args: Any) -> Any:
        raise TypeError("Function: define a static method forward(ctx, ...)")

    @staticmethod
    def backward(ctx: Context, *grads: Any) -> Any:
        raise TypeError("Function: define a static method backward(ctx, ...)")

    @classmethod
    def apply(cls, *args: Any) -> Any:
        """The value of forward, recorded with backward as its derivative."""
        tensors = [a if isinstance(a, Tensor) else None for a in args]
        ctx = Context(tuple(t is not None and t.node is not None for t in tensors))
        with no_grad():
            result = cls.forward(ctx, *args)
        outputs = result if isinstance(result, tuple) else (result,)
        for out in outputs:
            if not isinstance(out, Tensor):
                raise TypeError(f"{cls.__name__}.forward: must give Tensors, got {type(out).__name__}")
        sizes = [out.array.size for out in outputs]

        def gradients(G: Tensor, needed: tuple[bool, ...]) -> list[Any]:
            gs = [G] if len(outputs_shapes) == 1 else [
                part.reshape(shape) for part, shape in zip(G.split(sizes), outputs_shapes, strict=True)
            ]  # fmt: skip
            back = cls.backward(ctx, *gs)
            back = back if isinstance(back, tuple) else (back,)
            if len(back) != len(shapes):
                raise RuntimeError(
                    f"{cls.__name__}.backward: gave {len(back)} gradients for {len(shapes)} arguments of forward"
                )
            for i, (g, shape) in enumerate(zip(back, shapes, strict=True)):
                if needed[i] and g is not None and shape is not None:
                    try:
                        np.broadcast_shapes(g.array.shape, shape)
                    except ValueError:
                        raise RuntimeError(
                            f"{cls.__name__}.backward: gradient {i} has shape {g.shape}, its argument {shape}"
                        ) from None
            return list(back)

        outputs_shapes = [out.array.shape for out in outputs]
        shapes = [None if t is None else t.array.shape for t in tensors]
        gradients.__qualname__ = cls.__name__
        saved_outputs = {i: k for i, s in enumerate(ctx._saved) for k, out in enumerate(outputs) if s is out}
        used = [t for i, t in enumerate(ctx._saved) if t is not None and i not in saved_outputs]
        if len(outputs) == 1:
            given_back = any(outputs[0] is t for t in tensors)  # an argument, as it came: the result has its own memory
            array = outputs[0].array.copy() if given_back else outputs[0].array
            joint = tape.record_fused(array, tensors, gradients, None, used)
            results = [joint]
        else:
            # One node for all results: they are pieces of one long vector.
            flat = np.concatenate([out.array.reshape(-1) for out in outputs])
            joint = tape.record_fused(flat, tensors, gradients, None, used)
            parts = joint.split(sizes)
            results = [p.reshape(shape) for p, shape in zip(parts, outputs_shapes, strict=True)]
        if joint.node is not None:
            node = weakref.ref(joint.node)
            for i, k in saved_outputs.items():
                ctx._outputs[i] = _reborn(outputs[k].array, node, sizes, k, outputs_shapes[k])
            ctx._saved = tuple(None if i in saved_outputs else t for i, t in enumerate(ctx._saved))
        return tuple(results) if isinstance(result, tuple) else results[0]


def _reborn(array: Any, node: Any, sizes: list[int], k: int, shape: tuple[int, ...]) -> Callable[[], Tensor]:
    """A saved result, given back with its place on the tape (the node is not held: that would be a cycle)."""

    def build() -> Tensor:
        if not mode.recording or node() is None:
            return wrap(array)
        if len(sizes) == 1:
            return wrap(array, node())
        flat = np.zeros(sum(sizes), array.dtype, like=array)
        start = sum(sizes[:k])
        flat[start : start + sizes[k]] = array.reshape(-1)
        return wrap(flat, node()).narrow(0, start, sizes[k]).reshape(shape)

    return build


# --------------------------------------------------------------------------------------------------- checks


def gradcheck(
    func: Callable[..., Any],
    inputs: Tensor | Sequence[Any],
    eps: float = 1e-6,
    atol: float = 1e-5,
    rtol: float = 1e-3,
    raise_exception: bool = True,
) -> bool:
    """Compare func's derivatives with central differences, (f(x + eps) - f(x - eps)) / (2 eps), element by element.

    inputs: tensors of float64 (float32 is too coarse for differences) that require gradients, and anything else
    that func takes. RuntimeError names the input, the element and both numbers; False instead where raise_exception
    is off.
    """
    args = _list(inputs)
    checked = [(i, x) for i, x in enumerate(args) if isinstance(x, Tensor) and x.requires_grad]
    if not checked:
        raise ValueError("gradcheck: no input requires a gradient; pass tensors with requires_grad=True")
    for i, x in checked:
        if x.dtype != float64:
            raise ValueError(f"gradcheck: input {i} is {x.dtype.name}; differences need float64, use x.double()")
    outputs = _list(func(*args))
    for k, y in enumerate(outputs):
        if not isinstance(y, Tensor) or y.node is None:
            continue
        analytic = [np.zeros((y.array.size, x.array.size)) for _, x in checked]
        for row in range(y.array.size):
            one = np.zeros(y.array.size)
            one[row] = 1
            G = wrap(np.asarray(one.reshape(y.shape), like=y.array))
            found = grad(y, [x for _, x in checked], G, retain_graph=True, allow_unused=True)
            for table, g in zip(analytic, found, strict=True):
                if g is not None:
                    table[row] = g.detach().cpu().array.reshape(-1)
        for table, (i, x) in zip(analytic, checked, strict=True):
            numeric = _central_differences(func, args, i, k, eps)
            wrong = ~np.isclose(table, numeric, rtol=rtol, atol=atol, equal_nan=True)
            if wrong.any():
                if not raise_exception:
                    return False
                row, column = (int(v) for v in np.argwhere(wrong)[0])
                raise RuntimeError(
                    f"gradcheck: ∂(output {k}, element {_place(row, y.shape)})/"
                    f"∂(input {i}, element {_place(column, x.shape)}): derivative "
                    f"{table[row, column]:.6g}, central differences {numeric[row, column]:.6g}"
                )
    return True


def _place(flat: int, shape: tuple[int, ...]) -> tuple[int, ...]:
    """An element's index from its number, counted row by row."""
    return tuple(int(i) for i in np.unravel_index(flat, shape)) if shape else ()


def _central_differences(func: Callable[..., Any], args: list[Any], i: int, k: int, eps: float) -> np.ndarray:
    """Table of ∂(output k)/∂(input i), one column an element."""
    columns = []
    x = args[i].array
    for index in np.ndindex(x.shape):
        both = []
        for step in (eps, -eps):
            moved = x.copy()
            moved[index] += step
            changed = [*args[:i], wrap(moved).requires_grad_(), *args[i + 1 :]]
            both.append(np.array(_list(func(*changed))[k].detach().cpu().array, dtype=np.float64))
        columns.append(((both[0] - both[1]) / (2 * eps)).reshape(-1))
    return np.stack(columns, axis=1) if columns else np.zeros((_list(func(*args))[k].array.size, 0))


def gradgradcheck(
    func: Callable[..., Any],
    inputs: Tensor | Sequence[Any],
    eps: float = 1e-6,
    atol: float = 1e-5,
    rtol: float = 1e-3,
    raise_exception: bool = True,
) -> bool:
    """As gradcheck, of func's gradient: are its second derivatives right?"""
    args = _list(inputs)
    places = [i for i, x in enumerate(args) if isinstance(x, Tensor) and x.requires_grad]
    outputs = [y for y in _list(func(*args)) if isinstance(y, Tensor) and y.node is not None]
    rng = np.random.default_rng(0)
    weights = [wrap(np.asarray(rng.standard_normal(y.shape), like=y.array)) for y in outputs]

    def gradient(*changed: Any) -> tuple[Tensor, ...]:
        ys = [y for y in _list(func(*changed)) if isinstance(y, Tensor) and y.node is not None]
        found = grad(ys, [changed[i] for i in places], weights, create_graph=True, materialize_grads=True)
        return tuple(g for g in found if g is not None)

    return gradcheck(gradient, args, eps, atol, rtol, raise_exception)


class detect_anomaly(ContextDecorator):
    """with detect_anomaly(): the first NaN or Inf, forward or backward, raises FloatingPointError.

    It names the operation that made it and the module that was running. Every value is looked at, so this is slow.
    """

    def __init__(self, check_nan: bool = True) -> None:
        self._check = check_nan
        self._before: list[bool] = []

    def __enter__(self) -> None:
        self._before.append(mode.anomaly)
        mode.anomaly = self._check
        tape.watch(1)

    def __exit__(self, *error: Any) -> None:
        mode.anomaly = self._before.pop()
        tape.watch(-1)


__all__ = [
    "Function", "Context", "backward", "detect_anomaly", "enable_grad", "grad", "gradcheck", "gradgradcheck",
    "inference_mode", "is_grad_enabled", "no_grad", "set_grad_enabled",
]  # fmt: skip
