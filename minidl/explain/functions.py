"""The functions that formulas may call, under the engine's names, in NumPy alone: the engine is held against them."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

_erf = np.vectorize(math.erf, otypes=[np.float64])
_lgamma = np.vectorize(math.lgamma, otypes=[np.float64])


def _softplus(x: Any) -> Any:
    return np.logaddexp(0.0, x)


def _clamp(x: Any, low: Any, high: Any) -> Any:
    low = -np.inf if low is None else low
    return np.minimum(np.maximum(x, low), np.inf if high is None else high)


def _add_at(x: Any, index: Any, values: Any) -> Any:
    """A copy of x with the values added at x[index], each as often as it is named there."""
    result = np.array(x)
    np.add.at(result, index, values)
    return result


def _put(x: Any, index: Any, values: Any) -> Any:
    """A copy of x with the values at x[index]."""
    result = np.array(x)
    result[index] = values
    return result


def _extract(mask: Any, x: Any) -> Any:
    mask, x = np.broadcast_arrays(mask, x)
    return x[mask]


# The engine's function names. Those of the second group take whole arrays.
FUNCTIONS: dict[str, Callable[..., Any]] = {
    "abs": np.abs, "sign": np.sign, "exp": np.exp, "expm1": np.expm1, "log": np.log, "log1p": np.log1p, "log2": np.log2,
    "sqrt": np.sqrt, "rsqrt": lambda x: 1 / np.sqrt(x), "square": np.square, "reciprocal": lambda x: 1 / np.asarray(x),
    "sin": np.sin, "cos": np.cos, "tan": np.tan, "tanh": np.tanh, "sinh": np.sinh, "cosh": np.cosh, "erf": _erf,
    "sigmoid": lambda x: np.exp(-_softplus(-np.asarray(x))), "softplus": _softplus, "lgamma": _lgamma,
    "relu": lambda x: np.maximum(x, 0.0), "floor": np.floor, "ceil": np.ceil, "round": np.round, "trunc": np.trunc,
    "maximum": np.maximum, "minimum": np.minimum, "max": np.maximum, "min": np.minimum, "pow": np.power,
    "where": np.where, "clamp": _clamp, "isnan": np.isnan, "isfinite": np.isfinite, "int": np.trunc,
    "bitwise_and": np.bitwise_and, "bitwise_or": np.bitwise_or, "bitwise_xor": np.bitwise_xor, "bitwise_not": np.invert,

    "size": lambda x, dim: np.shape(x)[dim], "numel": np.size, "permute": lambda x, dims: np.transpose(x, dims),
    "zeros_like": np.zeros_like, "add_at": _add_at, "put": _put, "extract": _extract, "argwhere": np.argwhere,
    "concatenate": np.concatenate, "stack": np.stack, "tile": lambda x, sizes: np.tile(x, tuple(sizes)),
    "narrow": lambda x, dim, start, length: np.take(x, np.arange(start, start + length), dim),
    "einsum": lambda equation, operands: np.einsum(equation, *operands),
    "inverse": lambda dims: tuple(np.argsort(np.asarray(dims) % max(len(dims), 1)).tolist()),
}  # fmt: skip
CONSTANTS = {"π": math.pi, "pi": math.pi, "inf": math.inf, "True": True, "False": False, "None": None}
