"""Making tensors: from data, from sizes, from random numbers."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from . import random
from ._conversion import _array_of, default_dtype
from ._device import backend_of, placed
from ._dtypes import as_dtype, category, float32, int64
from ._tensor import Tensor
from .kernels import arrays, kernel
from .ops._common import broadcast, element, flag, number, sequence, sizes_of, whole
from .random import Generator
from .tape import wrap


def _made(array: np.ndarray, requires_grad: bool, device: Any = None) -> Tensor:
    x = wrap(array if device is None else placed(array, device))
    return x.requires_grad_(requires_grad) if requires_grad is not False else x


def _captured(device: Any) -> bool:
    """Whether new numbers there must be made by the device itself, for a graph is being captured."""
    return arrays.graph is not None and device is not None and str(device) != "cpu"


def _filled(shape: tuple[int, ...], value: Any, dtype: np.dtype, device: Any) -> Any:
    """One number everywhere: NumPy's array, or the device's while a graph is captured."""
    return arrays.graph.constant(shape, value, dtype) if _captured(device) else np.full(shape, value, dtype)


def tensor(data: Any, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
    """A new tensor with a copy of the data: numbers, nested lists, an array or a tensor.

    Python floats become float32, ints int64, bools bool; NumPy arrays keep their dtype. device: "cpu", "cuda" or
    "emulator"; by default the data's, where that is a tensor.
    """
    device = data.device if device is None and isinstance(data, Tensor) else device
    array = _array_of(data, "tensor")
    if array.size == 0 and not isinstance(data, (np.ndarray, np.generic, Tensor)):
        array = array.astype(float32)
    wanted = default_dtype(data, array) if dtype is None else as_dtype(dtype)
    return _made(np.array(array, dtype=wanted, order="C"), requires_grad, device)


def as_tensor(data: Any, dtype: Any = None, device: Any = None) -> Tensor:
    """As tensor(), but without a copy where the data is a tensor or an array of that dtype already."""
    if isinstance(data, Tensor):
        return data.to(dtype=dtype, device=device)
    if isinstance(data, np.ndarray) and (dtype is None or as_dtype(dtype) == data.dtype):
        return from_numpy(data).to(device=device)
    return tensor(data, dtype, device)


def from_numpy(array: np.ndarray) -> Tensor:
    """A tensor that shares the array's memory. Read-only arrays can be read, not changed."""
    if not isinstance(array, np.ndarray):
        raise TypeError(f"from_numpy: expected a NumPy array, got {type(array).__name__}; use tensor(...)")
    as_dtype(array.dtype)
    return wrap(array if array.dtype.isnative else array.astype(array.dtype.newbyteorder("=")))


def from_dlpack(source: Any) -> Tensor:
    """A tensor that shares the memory of another library's array (anything with __dlpack__)."""
    if not hasattr(source, "__dlpack__"):
        raise TypeError(f"from_dlpack: expected an array with __dlpack__, got {type(source).__name__}; use tensor(...)")
    try:
        return from_numpy(np.from_dlpack(source))
    except (RuntimeError, BufferError) as error:
        raise TypeError(f"from_dlpack: this array's dtype, device or memory is not supported: {error}") from None


def zeros(
    *sizes: Any, size: Any = None, dtype: Any = None, device: Any = None, requires_grad: bool = False
) -> Tensor:
    """A tensor of zeros (float32 unless dtype says otherwise)."""
    shape, kind = _sizes(sizes, "zeros", size), _dtype(dtype)
    return _made(_filled(shape, 0, kind, device) if arrays.graph else np.zeros(shape, kind), requires_grad, device)


def ones(
    *sizes: Any, size: Any = None, dtype: Any = None, device: Any = None, requires_grad: bool = False
) -> Tensor:
    """A tensor of ones."""
    return _made(_filled(_sizes(sizes, "ones", size), 1, _dtype(dtype), device), requires_grad, device)


def full(size: Any, fill_value: Any, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
    """A tensor whose every element is fill_value; its dtype follows the value's type."""
    value = number(fill_value, "full", "fill_value")
    wanted = default_dtype(value, np.asarray(value)) if dtype is None else as_dtype(dtype)
    filled = element(value, wanted, "full", "fill_value")
    shape = _sizes(sequence(size, "full", "size"), "full")
    return _made(_filled(shape, filled[()], wanted, device), requires_grad, device)


def empty(
    *sizes: Any, size: Any = None, dtype: Any = None, device: Any = None, requires_grad: bool = False
) -> Tensor:
    """A tensor whose elements are whatever the memory holds."""
    shape, kind = _sizes(sizes, "empty", size), _dtype(dtype)
    return _made(_filled(shape, 0, kind, device) if arrays.graph else np.empty(shape, kind), requires_grad, device)


def _like(name: str, input: Any) -> Tensor:
    if not isinstance(input, Tensor):
        raise TypeError(f"{name}: expected a Tensor, got {type(input).__name__}; make one with minidl.tensor(...)")
    return input


def zeros_like(input: Tensor, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
    """Zeros of input's shape and, unless dtype says otherwise, of its dtype."""
    like = _like("zeros_like", input)
    device = like.device if device is None else device
    return zeros(like.shape, dtype=like.dtype if dtype is None else dtype, device=device, requires_grad=requires_grad)


def ones_like(input: Tensor, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
    """Ones of input's shape and dtype."""
    like = _like("ones_like", input)
    device = like.device if device is None else device
    return ones(like.shape, dtype=like.dtype if dtype is None else dtype, device=device, requires_grad=requires_grad)


def full_like(
    input: Tensor, fill_value: Any, dtype: Any = None, device: Any = None, requires_grad: bool = False
) -> Tensor:
    """fill_value in every element, of input's shape and dtype."""
    like = _like("full_like", input)
    device = like.device if device is None else device
    return full(like.shape, fill_value, like.dtype if dtype is None else dtype, device, requires_grad)


def empty_like(input: Tensor, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
    """Whatever the memory holds, of input's shape and dtype."""
    like = _like("empty_like", input)
    device = like.device if device is None else device
    return empty(like.shape, dtype=like.dtype if dtype is None else dtype, device=device, requires_grad=requires_grad)


def rand_like(
    input: Tensor,
    dtype: Any = None,
    device: Any = None,
    requires_grad: bool = False,
    generator: Generator | None = None,
) -> Tensor:
    """Random numbers, uniform in [0, 1), of input's shape and dtype."""
    like = _like("rand_like", input)
    device = like.device if device is None else device
    dtype = like.dtype if dtype is None else dtype
    return rand(like.shape, dtype=dtype, device=device, requires_grad=requires_grad, generator=generator)


def randn_like(
    input: Tensor,
    dtype: Any = None,
    device: Any = None,
    requires_grad: bool = False,
    generator: Generator | None = None,
) -> Tensor:
    """Standard normal random numbers of input's shape and dtype."""
    like = _like("randn_like", input)
    device = like.device if device is None else device
    dtype = like.dtype if dtype is None else dtype
    return randn(like.shape, dtype=dtype, device=device, requires_grad=requires_grad, generator=generator)


def randint_like(
    input: Tensor,
    low: int,
    high: int | None = None,
    *,
    dtype: Any = None,
    device: Any = None,
    requires_grad: bool = False,
    generator: Generator | None = None,
) -> Tensor:
    """Random integers in [low, high), of input's shape and dtype; randint_like(input, high) begins at 0."""
    like = _like("randint_like", input)
    device = like.device if device is None else device
    bounds = (0, low) if high is None else (low, high)
    options = {"dtype": like.dtype if dtype is None else dtype, "device": device, "requires_grad": requires_grad}
    return randint(*bounds, like.shape, generator=generator, **options)


def eye(
    n: int, m: int | None = None, dtype: Any = None, device: Any = None, requires_grad: bool = False
) -> Tensor:
    """The n x m identity matrix (square without m)."""
    rows, columns = _sizes((n, n if m is None else m), "eye")
    return _made(np.eye(rows, columns, dtype=_dtype(dtype)), requires_grad, device)


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
    bounds = tuple(number(b, "arange", "a bound") for b in bounds)
    if not all(np.isfinite(b) for b in bounds):
        raise ValueError(f"arange: bounds that are not finite are not supported, got {bounds}")
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
    like = {"like": arrays.graph.constant((), 0, dtype)} if _captured(device) else {}
    return _made(np.arange(start, end, step, **like).astype(dtype), requires_grad, device)


def linspace(
    start: Any, end: Any, steps: int, dtype: Any = None, device: Any = None, requires_grad: bool = False
) -> Tensor:
    """`steps` numbers at equal distances from start to end, both included. Integer dtypes cut towards 0."""
    start, end = number(start, "linspace", "start"), number(end, "linspace", "end")
    n = whole(steps, "linspace", "steps")
    if not (math.isfinite(start) and math.isfinite(end)):
        raise ValueError(f"linspace: bounds that are not finite are not supported, got {start} and {end}")
    if n < 0:
        raise ValueError(f"linspace: steps must be 0 or more, got {n}")
    wanted = _dtype(dtype)
    if category(wanted) < 2:
        start, end = int(start), int(end)
    return _made(np.linspace(start, end, n).astype(wanted), requires_grad, device)


def rand(
    *sizes: Any,
    size: Any = None,
    dtype: Any = None,
    device: Any = None,
    requires_grad: bool = False,
    generator: Generator | None = None,
) -> Tensor:
    """Random numbers, uniform in [0, 1)."""
    u = random.uniform(_sizes(sizes, "rand", size), _floating(dtype, "rand"), generator, backend_of(device))
    return _made(u, requires_grad, device)


def randn(
    *sizes: Any,
    size: Any = None,
    dtype: Any = None,
    device: Any = None,
    requires_grad: bool = False,
    generator: Generator | None = None,
) -> Tensor:
    """Random numbers from the standard normal distribution."""
    z = random.normal(_sizes(sizes, "randn", size), _floating(dtype, "randn"), generator, backend_of(device))
    return _made(z, requires_grad, device)


def randint(
    *args: Any,
    low: int | None = None,
    high: int | None = None,
    size: Any = None,
    dtype: Any = None,
    device: Any = None,
    requires_grad: bool = False,
    generator: Generator | None = None,
) -> Tensor:
    """randint(high, size) or randint(low, high, size): random integers in [low, high)."""
    named = [value for value in (low, high, size) if value is not None]
    numbers = [*args, *named] if low is None else [low, *args, *named[1:]]
    if len(numbers) == 2:
        numbers.insert(0, 0)
    if len(numbers) != 3:
        raise TypeError(f"randint: expected (high, size) or (low, high, size), got {len(numbers)} arguments")
    first, end = whole(numbers[0], "randint", "low"), whole(numbers[1], "randint", "high")
    if first >= end:
        raise ValueError(f"randint: low {first} must be below high {end}")
    wanted = int64 if dtype is None else as_dtype(dtype)
    least, most = (0, 1) if category(wanted) == 0 else (-(2**63), 2**63 - 1)
    if category(wanted) == 1:
        least, most = int(np.iinfo(wanted).min), int(np.iinfo(wanted).max)
    if first < least or end - 1 > most:
        raise ValueError(f"randint: numbers from {first} to {end - 1} do not fit into {wanted.name}")
    found = random.integers(first, end, _sizes(sequence(numbers[2], "randint", "size"), "randint"), generator)
    return _made(found.astype(wanted, copy=False), requires_grad, device)


def randperm(n: int, dtype: Any = None, device: Any = None, generator: Generator | None = None) -> Tensor:
    """0 ... n-1 in random order (int64)."""
    if whole(n, "randperm", "n") < 0:
        raise ValueError(f"randperm: n must be 0 or more, got {n}")
    order = random.permutation(n, generator).astype(int64 if dtype is None else as_dtype(dtype), copy=False)
    return _made(order, False, device)


def normal(
    mean: Any = 0.0,
    std: Any = 1.0,
    size: Any = None,
    *,
    dtype: Any = None,
    device: Any = None,
    requires_grad: bool = False,
    generator: Generator | None = None,
) -> Tensor:
    """Normally distributed numbers: of one mean and deviation and a size, or one for each element of tensors."""
    if size is None:
        if not isinstance(mean, Tensor) and not isinstance(std, Tensor):
            raise TypeError("normal: numbers as mean and std need a size")
        m, s = (v if isinstance(v, Tensor) else number(v, "normal", "mean and std") for v in (mean, std))
        shape = broadcast("normal", *(v.array.shape for v in (m, s) if isinstance(v, Tensor)))
        of = m if isinstance(m, Tensor) else s
        dtype = of.dtype if dtype is None else dtype
    else:
        if any(isinstance(v, Tensor) and v.array.ndim for v in (mean, std)):
            raise TypeError("normal: tensors as mean or std have a size already; leave size out")
        m, s = number(mean, "normal", "mean"), number(std, "normal", "std")
        shape = _sizes(sequence(size, "normal", "size"), "normal")
    if not (s.array >= 0).all() if isinstance(s, Tensor) else not s >= 0:
        raise ValueError("normal: std must be 0 or more")
    device = next((v.device for v in (m, s) if isinstance(v, Tensor)), None) if device is None else device
    z = random.normal(shape, _floating(dtype, "normal"), generator, backend_of(device))
    scale, shift = (v.array.astype(z.dtype) if isinstance(v, Tensor) else z.dtype.type(v) for v in (s, m))
    return _made(z * scale + shift, requires_grad, device)


def bernoulli(input: Tensor, p: float | None = None, *, generator: Generator | None = None) -> Tensor:
    """1 with the probability that each element of input says, or with probability p, else 0."""
    probabilities = _like("bernoulli", input) if p is None else full_like(input, p)
    P = probabilities.array
    if category(P.dtype) != 2 or not ((P >= 0) & (P <= 1)).all():
        raise ValueError(f"bernoulli: expected probabilities from 0 to 1, got {P.dtype.name} {_range(P)}")
    return wrap((random.uniform(P.shape, np.dtype(np.float64), generator, kernel(probabilities)) < P).astype(P.dtype))


def _range(array: np.ndarray) -> str:
    return f"from {array.min()} to {array.max()}" if array.size else "without elements"


def multinomial(
    input: Tensor, num_samples: int, replacement: bool = False, *, generator: Generator | None = None
) -> Tensor:
    """Indices (int64) drawn in proportion to weights of shape (C) or (N, C); without replacement each at most once."""
    weights = _like("multinomial", input)
    if category(weights.dtype) != 2:
        raise TypeError(f"multinomial: weights must be floating point, got {weights.dtype.name}; convert with .float()")
    flag(replacement, "multinomial", "replacement")
    num_samples = whole(num_samples, "multinomial", "num_samples")
    w = weights.detach().cpu().array.astype(np.float64)
    if w.ndim not in (1, 2) or w.shape[-1] == 0:
        raise ValueError(f"multinomial: expected weights of shape (C) or (N, C), got {w.shape}")
    if len(w) == 0:
        return wrap(np.empty((0, num_samples), int64, like=weights.array))
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
    return wrap(placed(found.astype(int64).reshape(*w.shape[:-1], num_samples), weights.device))


def _sizes(sizes: tuple[Any, ...], name: str, size: Any = None) -> tuple[int, ...]:
    """The sizes one by one or as one tuple, or that of the keyword `size`."""
    if size is not None:
        if sizes:
            raise TypeError(f"{name}: give the sizes once, by position or as size={size!r}")
        sizes = (size,)
    sizes = sizes_of(sizes, name)
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


