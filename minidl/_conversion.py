"""Tensors in other forms: NumPy arrays, Python numbers, other dtypes, new tensors of the same kind."""

from __future__ import annotations

import builtins
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from . import random, tape
from ._device import CPU, KINDS, device_of, placed, same
from ._device import device as device_class
from ._dtypes import DType, as_dtype, category, float32, float64, int64
from .kernels.arrays import names
from .tape import Node, wrap

if TYPE_CHECKING:
    from ._tensor import Tensor


class Conversions:
    """What of Tensor leads out of the engine, or to another dtype."""

    __slots__ = ()

    array: Any
    node: Node | None

    # --------------------------------------------------------------------------------- leaving the engine

    def numpy(self: Any) -> np.ndarray:
        """The array itself (shared memory).

        RuntimeError where a gradient could be lost: detach() first; or where it is not on the CPU: cpu() first.
        """
        if self.node is not None:
            raise RuntimeError("numpy: this tensor requires a gradient, which NumPy would lose; use x.detach().numpy()")
        if self.array.__class__ is not np.ndarray and self.array.__class__ in names:
            raise RuntimeError(f"numpy: this tensor is on device '{self.device}'; copy it first: x.cpu().numpy()")
        return self.array

    def __array__(self: Any, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        """For NumPy: the array itself, where nothing has to be converted or copied."""
        array = self.numpy()
        if dtype is not None and array.dtype != dtype:
            return array.astype(dtype)
        return array.copy() if copy else array

    def __dlpack__(self: Any, **options: Any) -> Any:
        """For other libraries: the memory, shared; on its device, unless that is the emulator."""
        if self.array.__class__ is not np.ndarray and self.device.type == "cuda" and self.node is None:
            return self.array.__dlpack__(**options)
        return self.numpy().__dlpack__(**options)

    def __dlpack_device__(self: Any) -> tuple[int, int]:
        """For other libraries: where the memory is."""
        return self.array.__dlpack_device__()

    def item(self: Any) -> Any:
        """The only element, as a Python number."""
        if self.array.size != 1:
            raise ValueError(f"item: needs exactly one element, the tensor has shape {self.array.shape}")
        value = self.array.reshape(-1)[0]
        return float(value) if category(self.array.dtype) == 2 else value.item()

    def tolist(self: Any) -> Any:
        """The elements as nested lists of Python numbers (one number for 0 dimensions)."""
        return self.array.tolist()

    def __bool__(self: Any) -> bool:
        if self.array.size != 1:
            raise ValueError(
                f"bool: the truth of {self.array.size} elements is ambiguous; use .any() or .all()"
            )
        return bool(self.array.reshape(-1)[0])

    def __float__(self: Any) -> float:
        return float(self.item())

    def __int__(self: Any) -> int:
        return int(self.item())

    def __index__(self: Any) -> int:
        if category(self.array.dtype) != 1:
            raise TypeError(f"index: only integer tensors can be used as an index, got {self.array.dtype.name}")
        return self.item()

    # ------------------------------------------------------------------------------ other dtypes and devices

    def to(self: Any, *args: Any, dtype: Any = None, device: Any = None, copy: bool = False, **ignored: Any) -> Tensor:
        """x in another dtype or on another device: to(dtype), to(device), to(device, dtype) or to(other).

        x itself where it is so already; a copy otherwise. RuntimeError where there is no such device here.
        """
        for arg in args:
            if isinstance(arg, tape._TensorClass):
                dtype, device = arg.dtype, arg.device
            elif isinstance(arg, device_class) or isinstance(arg, str) and arg.partition(":")[0] in KINDS:
                device = arg
            elif arg is not None and not isinstance(arg, bool):
                dtype = arg
        if device is not None:
            there = device if isinstance(device, device_class) else device_class(device)
            if not same(there, self.device):
                return _moved(self, there).to(dtype=dtype)
        if dtype is None:
            return self.clone() if copy else self
        dtype = as_dtype(dtype)
        if self.array.dtype == dtype:
            return self.clone() if copy else self
        with np.errstate(invalid="ignore", over="ignore"):
            array = self.array.astype(dtype)
        if category(dtype) < 2 or self.node is None:
            return wrap(array)
        return tape.record(array, self, lambda G: G)  # the walk casts G back

    def type(self: Any, dtype: Any = None) -> Any:
        """The dtype's name; with a dtype, the tensor in that dtype."""
        return self.array.dtype.name if dtype is None else self.to(dtype)

    def float(self: Any) -> Tensor:
        """x in float32."""
        return self.to(float32)

    def double(self: Any) -> Tensor:
        """x in float64."""
        return self.to(float64)

    def half(self: Any) -> Tensor:
        """x in float16."""
        return self.to("float16")

    def bfloat16(self: Any) -> Tensor:
        """x in bfloat16."""
        from ._dtypes import bfloat16

        return self.to(bfloat16())

    def long(self: Any) -> Tensor:
        """x in int64."""
        return self.to(int64)

    def int(self: Any) -> Tensor:
        """x in int32."""
        return self.to("int32")

    def short(self: Any) -> Tensor:
        """x in int16."""
        return self.to("int16")

    def byte(self: Any) -> Tensor:
        """x in uint8."""
        return self.to("uint8")

    def bool(self: Any) -> Tensor:
        """x in bool: whether each element is not 0."""
        return self.to("bool")

    def cpu(self: Any) -> Tensor:
        """x on the CPU: itself where it is there."""
        return self if self.array.__class__ is np.ndarray else self.to(CPU)

    def cuda(self: Any, device: Any = None, non_blocking: builtins.bool = False) -> Tensor:
        """x on the graphics card. RuntimeError says why where there is none that can be used."""
        return self.to("cuda" if device is None else device)

    def type_as(self: Any, other: Tensor) -> Tensor:
        """x in other's dtype."""
        return self.to(other.dtype)

    def new_tensor(
        self: Any, data: Any, *, dtype: Any = None, device: Any = None, requires_grad: builtins.bool = False
    ) -> Tensor:
        """The data as a tensor of this one's dtype."""
        made = self.array.dtype if dtype is None else as_dtype(dtype)
        array = np.array(_array_of(data, "new_tensor"), made)
        return wrap(placed(array, self.device if device is None else device)).requires_grad_(requires_grad)

    def new_zeros(self: Any, *sizes: Any, size: Any = None, **options: Any) -> Tensor:
        """Zeros of this tensor's dtype; options: dtype, device, requires_grad."""
        return self._new("zeros", sizes if size is None else (size,), options)

    def new_ones(self: Any, *sizes: Any, size: Any = None, **options: Any) -> Tensor:
        """Ones of this tensor's dtype; options: dtype, device, requires_grad."""
        return self._new("ones", sizes if size is None else (size,), options)

    def new_empty(self: Any, *sizes: Any, size: Any = None, **options: Any) -> Tensor:
        """Whatever the memory holds, of this tensor's dtype; options: dtype, device, requires_grad."""
        return self._new("empty", sizes if size is None else (size,), options)

    def new_full(self: Any, size: Any, fill_value: Any, **options: Any) -> Tensor:
        """fill_value in every element, of this tensor's dtype; options: dtype, device, requires_grad."""
        return self._new("full", (size, fill_value), options)

    def _new(self: Any, name: str, sizes: tuple[Any, ...], options: dict[str, Any]) -> Tensor:
        from . import _creation  # which stands above this file

        return getattr(_creation, name)(*sizes, **{"dtype": self.array.dtype, "device": self.device, **options})

    def bernoulli(self: Any, p: builtins.float | None = None, *, generator: random.Generator | None = None) -> Tensor:
        """1 with the probability that each element says, or with probability p, else 0."""
        from ._creation import bernoulli

        return bernoulli(self, p, generator=generator)

    def multinomial(
        self: Any,
        num_samples: builtins.int,
        replacement: builtins.bool = False,
        *,
        generator: random.Generator | None = None,
    ) -> Tensor:
        """Indices drawn in proportion to this tensor's elements."""
        from ._creation import multinomial

        return multinomial(self, num_samples, replacement, generator=generator)


def _array_of(data: Any, name: str) -> np.ndarray:
    """An array from numbers, nested sequences, arrays or tensors."""
    if isinstance(data, tape._TensorClass):
        return data.detach().cpu().array
    if isinstance(data, (list, tuple)) and any(isinstance(v, tape._TensorClass) for v in _flat(data)):
        data = _plain(data)
    try:
        array = np.asarray(data)
    except ValueError:
        raise ValueError(f"{name}: the nested sequences have unequal lengths; make them rectangular") from None
    if array.dtype.kind not in "biuf" and array.dtype.name != "bfloat16":
        raise TypeError(f"{name}: cannot make a tensor of {array.dtype.name} data; give numbers")
    return array


def _moved(x: Any, where: device_class) -> Tensor:
    """A copy of x on another device; its gradient comes back."""
    origin = device_of(x.array)
    return tape.record(placed(x.array, where), x, lambda G: G.to(origin))


def _flat(data: Any) -> Iterator[Any]:
    for value in data:
        if isinstance(value, (list, tuple)):
            yield from _flat(value)
        else:
            yield value


def _plain(data: Any) -> Any:
    if isinstance(data, tape._TensorClass):
        return data.tolist()
    return [_plain(v) for v in data] if isinstance(data, (list, tuple)) else data


def default_dtype(data: Any, array: np.ndarray) -> DType:
    """float32 for Python's floats, int64 for its ints; NumPy arrays keep theirs."""
    if isinstance(data, (np.ndarray, np.generic, tape._TensorClass)):
        return as_dtype(array.dtype)
    return {"f": float32, "i": int64, "u": int64, "b": array.dtype}.get(array.dtype.kind, array.dtype)

