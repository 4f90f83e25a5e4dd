"""Making tensors: from data, from sizes, from random numbers."""

from __future__ import annotations

import math
import operator
from typing import Any

import numpy as np

from . import random
from ._device import require_cpu
from ._dtypes import as_dtype, category, float32, int64
from ._tensor import Tensor, _array_of, default_dtype
from .ops._common import sizes_of
from .random import Generator
from .tape import wrap


def _made(array: np.ndarray, requires_grad: bool, device: Any = None) -> Tensor:
    require_cpu(device)
    x = wrap(array)
    return x.requires_grad_() if requires_grad else x


def tensor(data: Any, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
    """A new tensor with a copy of the data: numbers, nested lists, an array or a tensor.

    Python floats become float32, ints int64, bools bool; NumPy arrays keep their dtype.
    """
    array = _array_of(data, "tensor")
    if array.size == 0 and not isinstance(data, (np.ndarray, np.generic, Tensor)):
        array = array.astype(float32)
    wanted = default_dtype(data, array) if dtype is None else as_dtype(dtype)
    return _made(np.array(array, dtype=wanted, order="C"), requires_grad, device)


def as_tensor(data: Any, dtype: Any = None, device: Any = None) -> Tensor:
    """As tensor(), but without a copy where the data is a tensor or an array of that dtype already."""
    if isinstance(data, Tensor):
        return data if dtype is None else data.to(dtype)
    if isinstance(data, np.ndarray) and (dtype is None or as_dtype(dtype) == data.dtype):
        require_cpu(device)
        return from_numpy(data)
    return tensor(data, dtype, device)


def from_numpy(array: np.ndarray) -> Tensor:
    """A tensor that shares the array's memory. Read-only arrays can be read, not changed."""
    if not isinstance(array, np.ndarray):
        raise TypeError(f"from_numpy: expected a NumPy array, got {type(array).__name__}; use tensor(...)")
    as_dtype(array.dtype)
    return wrap(array if array.dtype.isnative else array.astype(array.dtype.newbyteorder("=")))


def from_dlpack(source: Any) -> Tensor:
    """A tensor that shares the memory of another library's array (anything with __dlpack__)."""
    return from_numpy(np.from_dlpack(source))


def zeros(*size: Any, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
    """A tensor of zeros (float32 unless dtype says otherwise)."""
    return _made(np.zeros(_sizes(size, "zeros"), _dtype(dtype)), requires_grad, device)


def ones(*size: Any, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
    """A tensor of ones."""
    return _made(np.ones(_sizes(size, "ones"), _dtype(dtype)), requires_grad, device)


def full(size: Any, fill_value: Any, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
    """A tensor whose every element is fill_value; its dtype follows the value's type."""
    value = np.asarray(fill_value.array if isinstance(fill_value, Tensor) else fill_value)
    wanted = default_dtype(fill_value, value) if dtype is None else as_dtype(dtype)
    return _made(np.full(_sizes((size,), "full"), value, wanted), requires_grad, device)


def empty(*size: Any, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
    """A tensor whose elements are whatever the memory holds."""
    return _made(np.empty(_sizes(size, "empty"), _dtype(dtype)), requires_grad, device)


def zeros_like(x: Tensor, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
    return zeros(x.shape, dtype=x.dtype if dtype is None else dtype, device=device, requires_grad=requires_grad)


def ones_like(x: Tensor, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
    return ones(x.shape, dtype=x.dtype if dtype is None else dtype, device=device, requires_grad=requires_grad)


def full_like(
    x: Tensor, fill_value: Any, dtype: Any = None, device: Any = None, requires_grad: bool = False
) -> Tensor:
    return full(x.shape, fill_value, x.dtype if dtype is None else dtype, device, requires_grad)


def empty_like(x: Tensor, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
    return empty(x.shape, dtype=x.dtype if dtype is None else dtype, device=device, requires_grad=requires_grad)


def rand_like(
    x: Tensor, dtype: Any = None, device: Any = None, requires_grad: bool = False, generator: Generator | None = None
) -> Tensor:
    dtype = x.dtype if dtype is None else dtype
    return rand(x.shape, dtype=dtype, device=device, requires_grad=requires_grad, generator=generator)


def randn_like(
    x: Tensor, dtype: Any = None, device: Any = None, requires_grad: bool = False, generator: Generator | None = None
) -> Tensor:
    dtype = x.dtype if dtype is None else dtype
    return randn(x.shape, dtype=dtype, device=device, requires_grad=requires_grad, generator=generator)


def eye(
    n: int, m: int | None = None, dtype: Any = None, device: Any = None, requires_grad: bool = False
) -> Tensor:
    """The n x m identity matrix (square without m)."""
    return _made(np.eye(*_sizes((n, n if m is None else m), "eye"), dtype=_dtype(dtype)), requires_grad, device)


def arange(
    *bounds: Any,
    start: Any = None,
    end: Any = None,
    step: Any = None,
    dtype: Any = None,
    device: Any = None,
    requires_grad: bool = False,
) -> Tensor:
    """arange(end), arange(start, end) or arange(start, end, step): start, start + step, ... below end.

    int64 where all are whole numbers, else float32, unless dtype says otherwise; with dtype int64 the bounds themselves
    are cut to whole numbers first, as PyTorch's.
    """
    if end is not None:
        bounds = (*((start,) if start is not None else bounds or (0,)), end)
    if step is not None:
        bounds = (*(bounds if len(bounds) > 1 else (0, *bounds)), step)
    if not 1 <= len(bounds) <= 3:
        raise TypeError(f"arange: expected end, or start, end and maybe step; got {len(bounds)} numbers")
    bounds = tuple(_number(b, "arange") for b in bounds)
    if not all(np.isfinite(b) for b in bounds):
        raise ValueError(f"arange: the bounds must be finite, got {bounds}")
    if dtype is not None and as_dtype(dtype) == int64:
        bounds = tuple(int(b) for b in bounds)
    start, end, step = (0, bounds[0], 1) if len(bounds) == 1 else (*bounds, 1)[:3]
    if step == 0 or (end - start) * step < 0:
        raise ValueError(f"arange: step {step} does not lead from {start} to {end}")
    if dtype is None:
        dtype = float32 if any(isinstance(b, (float, np.floating)) for b in bounds) else int64
    dtype = as_dtype(dtype)
    if dtype != int64 and category(dtype) == 1:  # as many as the bounds say, then in whole steps from a whole start
        n = math.ceil((end - start) / step)
        return _made((int(start) + np.arange(n) * int(step)).astype(dtype), requires_grad, device)
    return _made(np.arange(start, end, step).astype(dtype), requires_grad, device)


def _number(value: Any, name: str) -> Any:
    """A Python number from a number or a tensor of 0 dimensions."""
    if isinstance(value, Tensor):
        if value.array.ndim:
            raise ValueError(f"{name}: expected numbers or tensors of 0 dimensions, got shape {value.array.shape}")
        return value.item()
    if not isinstance(value, (int, float, np.number)):
        raise TypeError(f"{name}: expected a number, got {type(value).__name__}")
    return value


def linspace(
    start: Any, end: Any, steps: int, dtype: Any = None, device: Any = None, requires_grad: bool = False
) -> Tensor:
    """`steps` numbers at equal distances from start to end, both included. Integer dtypes cut towards 0."""
    start, end, n = _number(start, "linspace"), _number(end, "linspace"), _sizes((steps,), "linspace")[0]
    wanted = _dtype(dtype)
    if category(wanted) < 2:
        start, end = int(start), int(end)
    return _made(np.linspace(start, end, n).astype(wanted), requires_grad, device)


def rand(
    *size: Any, dtype: Any = None, device: Any = None, requires_grad: bool = False, generator: Generator | None = None
) -> Tensor:
    """Random numbers, uniform in [0, 1)."""
    return _made(random.uniform(_sizes(size, "rand"), _floating(dtype, "rand"), generator), requires_grad, device)


def randn(
    *size: Any, dtype: Any = None, device: Any = None, requires_grad: bool = False, generator: Generator | None = None
) -> Tensor:
    """Random numbers from the standard normal distribution."""
    return _made(random.normal(_sizes(size, "randn"), _floating(dtype, "randn"), generator), requires_grad, device)


def randint(
    *args: Any,
    size: Any = None,
    dtype: Any = None,
    device: Any = None,
    requires_grad: bool = False,
    generator: Generator | None = None,
) -> Tensor:
    """randint(high, size) or randint(low, high, size): random integers in [low, high)."""
    numbers = list(args) if size is None else [*args, size]
    if len(numbers) == 2:
        numbers.insert(0, 0)
    if len(numbers) != 3:
        raise TypeError("randint: expected (high, size) or (low, high, size)")
    low, high = operator.index(numbers[0]), operator.index(numbers[1])
    if low >= high:
        raise ValueError(f"randint: low {low} must be below high {high}")
    found = random.integers(low, high, _sizes((numbers[2],), "randint"), generator)
    return _made(found.astype(int64 if dtype is None else as_dtype(dtype), copy=False), requires_grad, device)


def randperm(n: int, dtype: Any = None, device: Any = None, generator: Generator | None = None) -> Tensor:
    """0 ... n-1 in random order (int64)."""
    if n < 0:
        raise ValueError(f"randperm: n must be 0 or more, got {n}")
    order = random.permutation(n, generator).astype(int64 if dtype is None else as_dtype(dtype), copy=False)
    return _made(order, False, device)


def normal(
    mean: Any = 0.0,
    std: Any = 1.0,
    size: Any = None,
    dtype: Any = None,
    device: Any = None,
    generator: Generator | None = None,
) -> Tensor:
    """Normally distributed numbers: of one mean and deviation and a size, or one for each element of tensors."""
    if size is None:
        shape = np.broadcast_shapes(np.shape(getattr(mean, "array", mean)), np.shape(getattr(std, "array", std)))
    else:
        shape = _sizes((size,), "normal")
    if np.any(np.asarray(getattr(std, "array", std)) < 0):
        raise ValueError("normal: std must be 0 or more")
    return randn(shape, dtype=dtype, device=device, generator=generator) * std + mean


def bernoulli(p: Tensor, generator: Generator | None = None) -> Tensor:
    """1 with the probability that each element of p says, else 0."""
    if not category(p.dtype) == 2 or not ((p.array >= 0) & (p.array <= 1)).all():
        raise ValueError("bernoulli: expected floating-point probabilities from 0 to 1")
    return wrap((random.uniform(p.shape, np.dtype(np.float64), generator) < p.array).astype(p.dtype))


def multinomial(
    weights: Tensor, num_samples: int, replacement: bool = False, generator: Generator | None = None
) -> Tensor:
    """Indices (int64) drawn in proportion to weights of shape (C) or (N, C); without replacement each at most once."""
    w = np.asarray(weights.array, np.float64)
    if w.ndim not in (1, 2) or w.shape[-1] == 0:
        raise ValueError(f"multinomial: expected weights of shape (C) or (N, C), got {w.shape}")
    if not np.isfinite(w).all() or (w < 0).any() or (w.sum(-1) <= 0).any():
        raise ValueError("multinomial: weights must be finite, 0 or more, and not all 0")
    if num_samples < 1 or not replacement and (np.count_nonzero(w, axis=-1) < num_samples).any():
        raise ValueError(f"multinomial: {num_samples} samples without replacement need as many weights over 0")
    rows = np.atleast_2d(w)
    if replacement:
        u = random.uniform((len(rows), num_samples), np.dtype(np.float64), generator)
        steps = np.cumsum(rows, axis=1)
        found = np.stack([np.searchsorted(c, v * c[-1], side="right") for c, v in zip(steps, u, strict=True)])
        found = np.minimum(found, rows.shape[1] - 1)
    else:
        # The smallest of exponential times with these rates, in order: draws without replacement.
        u = random.uniform(rows.shape, np.dtype(np.float64), generator)
        with np.errstate(divide="ignore"):
            times = np.where(rows > 0, -np.log1p(-u) / np.where(rows > 0, rows, 1), np.inf)
        found = np.argsort(times, axis=1, kind="stable")[:, :num_samples]
    return wrap(found.astype(int64).reshape(*w.shape[:-1], num_samples))


def _sizes(size: tuple[Any, ...], name: str) -> tuple[int, ...]:
    sizes = sizes_of(size, name)
    if any(n < 0 for n in sizes):
        raise ValueError(f"{name}: sizes must be 0 or more, got {sizes}")
    return sizes


def _dtype(dtype: Any) -> np.dtype:
    return float32 if dtype is None else as_dtype(dtype)


def _floating(dtype: Any, name: str) -> np.dtype:
    found = _dtype(dtype)
    if category(found) != 2:
        raise TypeError(f"{name}: needs a floating-point dtype, got {found.name}")
    return found


