"""Element types under PyTorch's names, and PyTorch's rules for mixing them.

A dtype is NumPy's own object. `bfloat16` comes from the optional package ml_dtypes.
"""

from __future__ import annotations

import builtins
from typing import Any

import numpy as np

dtype = np.dtype  # every element type is an instance of it
DType = np.dtype[Any]
float64: DType = np.dtype(np.float64)
float32: DType = np.dtype(np.float32)
float16: DType = np.dtype(np.float16)
int64: DType = np.dtype(np.int64)
int32: DType = np.dtype(np.int32)
int16: DType = np.dtype(np.int16)
uint8: DType = np.dtype(np.uint8)
bool_: DType = np.dtype(np.bool_)
double, half, long = float64, float16, int64

NAMES: dict[str, DType] = {
    "float64": float64, "double": float64, "float32": float32, "float": float32, "float16": float16, "half": float16,
    "int64": int64, "long": int64, "int32": int32, "int": int32, "int16": int16, "uint8": uint8, "bool": bool_,
}  # fmt: skip
SUPPORTED = {float64, float32, float16, int64, int32, int16, uint8, bool_}
_FROM_PYTHON: dict[Any, DType] = {builtins.bool: bool_, builtins.int: int64, builtins.float: float32}


def bfloat16() -> DType:
    """The dtype bfloat16, from ml_dtypes. ImportError with the line to type where that is missing."""
    try:
        import ml_dtypes
    except ImportError:
        raise ImportError("bfloat16 needs the package ml_dtypes: pip install ml_dtypes") from None
    return np.dtype(ml_dtypes.bfloat16)


def as_dtype(dtype: Any) -> DType:
    """A dtype from minidl's, NumPy's or Python's name for it; TypeError names what is supported."""
    if isinstance(dtype, type) and dtype in _FROM_PYTHON:
        return _FROM_PYTHON[dtype]
    if isinstance(dtype, str) and dtype in NAMES:
        return NAMES[dtype]
    found: DType | None
    try:
        found = np.dtype(dtype)
    except TypeError:
        found = None
    if found is not None and (found in SUPPORTED or found.name == "bfloat16"):
        return found
    names = sorted({"bfloat16", *(d.name for d in SUPPORTED)})
    raise TypeError(f"dtype: {dtype!r} is not supported; use one of {', '.join(names)}")


def category(dtype: DType) -> int:
    """0 for bool, 1 for integers, 2 for floating point: a higher category decides when types mix."""
    if dtype.kind == "b":
        return 0
    return 1 if dtype.kind in "iu" else 2


def promote(x: DType, y: DType) -> DType:
    """The dtype of a result of two arrays: the higher category's; within one, the wider."""
    cx, cy = category(x), category(y)
    if cx != cy:
        return x if cx > cy else y
    if {x.name, y.name} == {"float16", "bfloat16"}:
        return float32
    return np.promote_types(x, y)


def result_type(a: np.ndarray, b: np.ndarray) -> DType:
    """PyTorch's rule: an array of 0 dimensions widens another only into a higher category."""
    if (a.ndim == 0) == (b.ndim == 0):
        return promote(a.dtype, b.dtype)
    full, scalar = (b.dtype, a.dtype) if a.ndim == 0 else (a.dtype, b.dtype)
    return full if category(full) >= category(scalar) else scalar
