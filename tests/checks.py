"""What test_ops.py does with a row of cases.py: call the operation, hold it against spec, formulas and differences."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from cases import Row, Seeded, V

import minidl
from minidl import autograd
from minidl.explain import Formula, evaluate, move_last

TENSOR_RESULTS = (tuple, list)

# ------------------------------------------------------------------------------------ calling an operation


def call(row: Row, variant: V, tensors: Sequence[Any]) -> list[minidl.Tensor]:
    """The operation's results, as a list."""
    function = row.function()
    options = {
        name: minidl.Generator().manual_seed(5) if isinstance(value, Seeded) else value
        for name, value in variant.options.items()
    }
    parameters = inspect.signature(function).parameters.values()
    star = [p.name for p in parameters if p.kind is p.VAR_POSITIONAL and p.name in options]
    if next(iter(parameters)).name == "tensors":
        result = function(list(tensors), **options)
    elif function.__name__ == "einsum":
        result = function(options.pop("equation"), *tensors)
    elif star:
        result = function(*tensors, *options.pop(star[0]), **options)
    else:
        result = function(**dict(zip(free(function, options), tensors, strict=False)), **options)
    return list(result) if isinstance(result, TENSOR_RESULTS) else [result]


def free(function: Callable[..., Any], options: Any) -> list[str]:
    """The parameters that tensors fill: in order, without those that the options give."""
    return [p for p in inspect.signature(function).parameters if p not in options]


SECOND = {"other", "exponent", "mat2", "vec", "vec2", "tensor"}  # PyTorch's names of the second of two inputs


def letters(function: Callable[..., Any], options: Any) -> list[str]:
    """What formulas call those parameters: X the only input, A and B one of two, all others by their name."""
    parameters = inspect.signature(function).parameters.values()
    first, *others = (p.name for p in parameters if p.kind is not p.KEYWORD_ONLY)
    known = {first: "X"} if first in ("input", "tensor") else {}
    if SECOND & set(others):
        known = {"input": "A", **dict.fromkeys(SECOND, "B")}
    if "mat1" in others:
        known = {"input": "X", "mat1": "A", "mat2": "B"}
    if "INPUT" in (inspect.getdoc(function) or ""):
        known = {}
    return [known.get(name, name.upper()) for name in free(function, options)]


def draw(variant: V, sizes: dict[str, int], seed: int = 0) -> list[np.ndarray]:
    random = np.random.default_rng(seed)
    return [one.array(random, sizes) for one in variant.inputs]


def tensors_of(
    row: Row, arrays: Sequence[np.ndarray], dtype: Any = np.float64, grad: bool = False
) -> list[minidl.Tensor]:
    """New tensors; the real ones in this dtype, and recorded where gradients flow to them."""
    made = []
    for place, array in enumerate(arrays):
        real = array.dtype.kind == "f"
        wanted = grad and real and row.differentiable and (row.only is None or place in row.only)
        made.append(minidl.tensor(array.astype(dtype) if real else array, requires_grad=wanted))
    return made


def weights(results: Sequence[minidl.Tensor]) -> list[np.ndarray]:
    """∂L/∂Y for each real result, of a loss L that weighs its elements at random."""
    random = np.random.default_rng(99)
    return [random.normal(size=tuple(y.shape)) if y.array.dtype.kind == "f" else np.zeros(()) for y in results]


def loss_of(results: Sequence[minidl.Tensor], G: Sequence[Any]) -> minidl.Tensor:
    parts = [
        (y * (g if isinstance(g, minidl.Tensor) else minidl.tensor(np.asarray(g, y.array.dtype)))).sum()
        for y, g in zip(results, G, strict=True)
        if y.array.dtype.kind == "f"
    ]
    return sum(parts[1:], parts[0])


def gradients(row: Row, variant: V, arrays: Sequence[np.ndarray], dtype: Any = np.float64) -> dict[int, np.ndarray]:
    """The tape's gradients by the input's place."""
    tensors = tensors_of(row, arrays, dtype, grad=True)
    results = call(row, variant, tensors)
    inputs = {place: x for place, x in enumerate(tensors) if x.requires_grad}
    found = autograd.grad(loss_of(results, weights(results)), tuple(inputs.values()))
    return {place: g.numpy() for place, g in zip(inputs, found, strict=True)}


# ----------------------------------------------------------------------------------------------- comparing


def same(what: str, got: Any, wanted: Any, tolerance: float) -> None:
    """Raises with the place of the largest difference, the expected and the received number."""
    got, wanted = np.asarray(got), np.asarray(wanted)
    if got.shape != wanted.shape:
        raise AssertionError(f"{what}: expected shape {wanted.shape}, received {got.shape}")
    if not got.size:
        return
    left, right = got.astype(np.float64), wanted.astype(np.float64)
    equal = (left == right) | (np.isnan(left) & np.isnan(right))
    size = np.max(np.abs(right), initial=1.0, where=np.isfinite(right))
    with np.errstate(invalid="ignore"):
        far = ~equal & ~(np.abs(left - right) <= tolerance * np.maximum(np.abs(right), min(size, 10.0)))
    if far.any():
        with np.errstate(invalid="ignore"):
            error = np.where(far, np.nan_to_num(np.abs(left - right), nan=np.inf), -1)
        place = tuple(int(i) for i in np.unravel_index(np.argmax(error), got.shape))
        raise AssertionError(
            f"{what}: at {place} expected {wanted[place]!r}, received {got[place]!r} ({far.sum()} of {got.size} differ)"
        )


def described(row: Row, variant: V, arrays: Sequence[np.ndarray]) -> str:
    shapes = " ".join(str(a.shape) for a in arrays)
    options = ", ".join(f"{name}={value!r}" for name, value in variant.options.items())
    return f"{row.op}({shapes}{', ' if options else ''}{options})"


def expected(row: Row, variant: V, arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
    with np.errstate(all="ignore"):
        result = row.spec(*arrays, **variant.options)
    return list(result) if isinstance(result, TENSOR_RESULTS) else [result]


def check_value(row: Row, variant: V, arrays: Sequence[np.ndarray], dtype: Any = np.float64) -> None:
    arrays = [a.astype(dtype) if a.dtype.kind == "f" else a for a in arrays]
    name = described(row, variant, arrays)
    wide = [a.astype(np.float64) if a.dtype.kind == "f" else a for a in arrays]
    results, wanted = call(row, variant, tensors_of(row, arrays, dtype)), expected(row, variant, wide)
    assert len(results) == len(wanted), f"{name}: expected {len(wanted)} results, received {len(results)}"
    for y, right in zip(results, wanted, strict=True):
        if np.asarray(right).dtype.kind == "f":
            assert y.dtype == dtype, f"{name}: expected {np.dtype(dtype).name}, received {y.dtype}"
        else:
            assert y.array.dtype.kind == np.asarray(right).dtype.kind, f"{name}: received {y.dtype}"
        same(name, y.numpy(), right, 1e-12 if dtype == np.float64 else 2e-5)


def slopes(
    row: Row, variant: V, arrays: Sequence[np.ndarray], direction: dict[int, np.ndarray], h: float = 1e-5
) -> float:
    """The slope of the loss along a direction, by central differences."""

    def loss(step: float) -> float:
        moved = [a + step * direction[i] if i in direction else a for i, a in enumerate(arrays)]
        with minidl.no_grad():
            results = call(row, variant, tensors_of(row, moved))
            return loss_of(results, weights(results)).item()

    return (loss(h) - loss(-h)) / (2 * h)


def check_gradient(row: Row, variant: V, arrays: Sequence[np.ndarray], each: bool = True) -> None:
    """A random direction always; every element where there are few."""
    found = gradients(row, variant, arrays)
    name = f"{described(row, variant, arrays)}: gradient"
    random = np.random.default_rng(1)
    for place, g in found.items():
        assert g.shape == arrays[place].shape, (
            f"{name}: input {place} has shape {arrays[place].shape}, received {g.shape}"
        )
    direction = {place: random.normal(size=g.shape) for place, g in found.items()}
    along = sum(float((g * direction[place]).sum()) for place, g in found.items())
    same(f"{name} along a random direction", along, slopes(row, variant, arrays, direction), 2e-6)
    for place, g in found.items():
        if each and g.size <= 30:
            numeric = np.zeros_like(g)
            for at in np.ndindex(g.shape):
                unit = np.zeros_like(g)
                unit[at] = 1
                numeric[at] = slopes(row, variant, arrays, {place: unit})
            same(f"{name} for input {place}", g, numeric, 2e-6)


# ------------------------------------------------------------------------------------------------ formulas


def names_of(
    row: Row, variant: V, arrays: Sequence[np.ndarray], outputs: Sequence[np.ndarray], k: int
) -> dict[str, Any]:
    """The names that the docstring's formulas use."""
    function = row.function()
    parameters = inspect.signature(function).parameters
    known: dict[str, Any] = {p.name: p.default for p in parameters.values() if p.default is not p.empty}
    known |= variant.options
    absent = {"weight": 1.0, "pos_weight": 1.0, "bias": 0.0}  # a number stands for an array of it
    known |= {name.upper(): value for name, value in absent.items() if name in parameters}
    if (several := next(p for p in parameters if p not in variant.options)) in ("tensors", "operands"):
        known[several.upper()] = list(arrays)
    else:
        known |= dict(zip(letters(function, variant.options), arrays, strict=False))
        known |= {name.upper(): value for name, value in variant.options.items() if name == "value"}
    return known | (row.names(arrays, variant.options, outputs, k) if row.names else {})


def last(row: Row, variant: V, ndim: int, keepdim: bool) -> Callable[[Any], Any]:
    """What brings an array into the order that the formulas speak of: the axes of `dim` last."""
    wanted = row.dims_of()
    known = {p.name: p.default for p in inspect.signature(row.function()).parameters.values()} | variant.options

    def arranged(array: Any, result: bool = False) -> Any:
        if row.op in ("layer_norm", "rms_norm") and np.ndim(array) == ndim:
            return move_last(array, tuple(range(-len(known["normalized_shape"]), 0)))
        if not wanted or not isinstance(array, np.ndarray) or array.ndim != ndim or not ndim:
            return array
        if len(wanted) == 2:
            return np.moveaxis(array, [known[name] for name in wanted], (-2, -1))
        dims = known[wanted[0]]
        if result and keepdim:
            return array.squeeze(tuple(range(ndim)) if dims is None else dims)
        return move_last(array, dims)

    return arranged


def summed_to(array: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """As the tape does: a gradient summed over the axes along which its input was repeated."""
    array = array.sum(tuple(range(array.ndim - len(shape)))) if array.ndim > len(shape) else array
    return array.sum(tuple(i for i, n in enumerate(shape) if n == 1 and array.shape[i] != 1), keepdims=True)


def check_formulas(row: Row, variant: V, arrays: Sequence[np.ndarray], lines: Sequence[Formula]) -> set[str]:
    """Every line against the value and the tape's gradients; which targets were compared."""
    tensors = tensors_of(row, arrays, grad=True)
    results = [y.detach().numpy() for y in call(row, variant, tensors)]
    G = weights(call(row, variant, tensors))
    arrange = last(row, variant, arrays[0].ndim, bool(variant.options.get("keepdim", False)))
    inputs = letters(row.function(), variant.options)
    grads = gradients(row, variant, arrays) if any(x.requires_grad for x in tensors) else {}
    renamed = row.called(arrays)
    compared: set[str] = set()
    counted = {
        line.target.removeprefix("∂L/∂") for line in lines if line.target.endswith("_k")
    }  # one formula for each k
    for k in range(len(results) if "Y_k" in counted else len(arrays) if "X_k" in counted else 1):
        place = k if "Y_k" in counted else 0
        known = {
            renamed.get(name, name): arrange(value)
            for name, value in names_of(row, variant, arrays, results, k).items()
        }
        known["G"] = arrange(G[place], True)
        wanted = dict.fromkeys((renamed.get("Y", "Y"), "Y_k"), arrange(results[place], True))
        if inputs[0] in ("TENSORS", "OPERANDS"):
            wanted |= {"∂L/∂X_k": grads[k]} if "X_k" in counted else {}
        else:
            wanted |= {f"∂L/∂{renamed.get(inputs[i], inputs[i])}": arrange(g) for i, g in grads.items()}
        wanted |= {f"{name}.flat": value.ravel() for name, value in wanted.items()}
        used = [line for line in lines if line.target in wanted] if renamed else list(lines)
        for target, value in evaluate(used, known, {name: value.shape for name, value in wanted.items()}).items():
            if target in wanted:
                value = value.astype(np.float64)
                if target.startswith("∂L/∂"):
                    value = summed_to(value, wanted[target].shape)
                name = f"{described(row, variant, arrays)}: formula of {target}"
                same(name, wanted[target], np.broadcast_to(value, wanted[target].shape), 1e-10)
                compared.add(target)
    return compared
