"""class Tensor: an array with a place on the tape."""

from __future__ import annotations

import builtins
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from . import ops, random, tape
from ._device import CPU, device, require_cpu
from ._dtypes import DType, as_dtype, category, float32, float64, int64
from ._inplace import InPlace
from ._operators import Operations
from ._printing import describe
from ._size import Size
from .tape import Node, Storage, View, clock, root_of, share, wrap

_Device = device  # inside the class `device` is a property


class Tensor(InPlace, Operations):
    """A multi-dimensional array that remembers how it was made.

    array     the raw NumPy array (shape, strides, dtype)
    node      its place on the tape: None where nothing is differentiated by it
    storage   what it has in common with tensors that look at the same memory, None where there is no other

    Tensor(data) makes a float32 tensor, as PyTorch's; minidl.tensor(data) keeps the data's dtype.
    """

    __slots__ = ("array", "node", "storage", "__weakref__")
    __array_priority__ = 1000
    __array_ufunc__ = None  # so that `numpy_array + tensor` asks the tensor

    array: Any
    node: Node | None
    storage: Storage | View | None

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        tape.tensor_classes.add(cls)

    def __init__(self, data: Any = (), *sizes: int) -> None:
        if isinstance(data, int) and not isinstance(data, bool):
            array = np.zeros((data, *sizes), float32)
        else:
            array = np.array(_array_of(data, "Tensor"), dtype=float32)
        self.array, self.node, self.storage = array, None, None

    # ------------------------------------------------------------------------------------ what it is

    @property
    def shape(self) -> Size:
        return Size(self.array.shape)

    @property
    def ndim(self) -> int:
        return self.array.ndim

    @property
    def dtype(self) -> DType:
        return self.array.dtype

    @property
    def device(self) -> device:
        return CPU

    @property
    def itemsize(self) -> int:
        return self.array.itemsize

    @property
    def nbytes(self) -> int:
        return self.array.nbytes

    @property
    def is_leaf(self) -> bool:
        return self.node is None or self.node.inputs == ()

    @property
    def is_cuda(self) -> bool:
        return False

    def size(self, dim: builtins.int | None = None) -> Any:
        if dim is None:
            return Size(self.array.shape)
        if not self.array.ndim:
            raise IndexError(f"size: a tensor of 0 dimensions has no dimension {dim}")
        return self.array.shape[ops._common.dim_of(dim, self.array.ndim, "size")]

    def dim(self) -> int:
        return self.array.ndim

    ndimension = dim

    def numel(self) -> int:
        return self.array.size

    nelement = numel

    def element_size(self) -> builtins.int:
        """Bytes of one element."""
        return self.array.itemsize

    def is_floating_point(self) -> bool:
        return category(self.array.dtype) == 2

    def is_contiguous(self) -> bool:
        return self.array.flags.c_contiguous

    def stride(self) -> tuple[int, ...]:
        """Steps between neighbours of each dimension, in elements."""
        return tuple(s // self.array.itemsize for s in self.array.strides)

    def __len__(self) -> int:
        if not self.array.ndim:
            raise TypeError("len: a tensor of 0 dimensions has no length")
        return len(self.array)

    def __repr__(self) -> str:
        return describe(self)

    def __format__(self, spec: str) -> str:
        return format(self.item(), spec) if spec and self.array.ndim == 0 else repr(self)

    def __hash__(self) -> int:
        return id(self)

    # --------------------------------------------------------------------------------- leaving the engine

    def numpy(self) -> np.ndarray:
        """The array itself (shared memory). RuntimeError where a gradient could be lost: detach() first."""
        if self.node is not None:
            raise RuntimeError("numpy: this tensor requires a gradient, which NumPy would lose; use x.detach().numpy()")
        return self.array

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        array = self.numpy()
        if dtype is not None and array.dtype != dtype:
            return array.astype(dtype)
        return array.copy() if copy else array

    def __dlpack__(self, **options: Any) -> Any:
        return self.numpy().__dlpack__(**options)

    def __dlpack_device__(self) -> tuple[int, int]:
        return self.array.__dlpack_device__()

    def item(self) -> Any:
        """The only element, as a Python number."""
        if self.array.size != 1:
            raise ValueError(f"item: needs exactly one element, the tensor has shape {self.array.shape}")
        value = self.array.reshape(-1)[0]
        return float(value) if category(self.array.dtype) == 2 else value.item()

    def tolist(self) -> Any:
        return self.array.tolist()

    def __bool__(self) -> bool:
        if self.array.size != 1:
            raise ValueError(
                f"bool: the truth of {self.array.size} elements is ambiguous; use .any() or .all()"
            )
        return bool(self.array.reshape(-1)[0])

    def __float__(self) -> float:
        return float(self.item())

    def __int__(self) -> int:
        return int(self.item())

    def __index__(self) -> int:
        if category(self.array.dtype) != 1:
            raise TypeError(f"index: only integer tensors can be used as an index, got {self.array.dtype.name}")
        return self.item()

    def __iter__(self) -> Iterator[Tensor]:
        if not self.array.ndim:
            raise TypeError("iter: a tensor of 0 dimensions cannot be iterated")
        return (self[i] for i in range(len(self.array)))

    def __contains__(self, value: Any) -> bool:
        return bool((self == value).array.any())

    def __copy__(self) -> Tensor:
        return self.detach().requires_grad_(self.requires_grad)

    def __deepcopy__(self, memo: dict[int, Any]) -> Tensor:
        if not self.is_leaf:
            raise RuntimeError("deepcopy: only leaves can be copied so; use x.detach().clone()")
        new = self.__class__.__new__(self.__class__)
        new.array, new.node, new.storage = self.array.copy(), None, None
        memo[id(self)] = new
        if self.node is not None:
            new.requires_grad_()
            if self.grad is not None:
                new.grad = self.grad.clone()
        return new

    def __reduce__(self) -> Any:
        raise TypeError("pickle: tensors are not pickled, since a pickle can run code; use minidl.save and minidl.load")

    # ---------------------------------------------------------------------------------------- the tape

    @property
    def requires_grad(self) -> bool:
        return self.node is not None

    @requires_grad.setter
    def requires_grad(self, value: bool) -> None:
        self.requires_grad_(value)

    def requires_grad_(self, requires_grad: bool = True) -> Tensor:
        """Make the tensor a leaf of the tape that gathers `.grad` (or take it off). Floating point only."""
        ops._common.flag(requires_grad, "requires_grad_", "requires_grad")
        if requires_grad and self.node is None:
            if not self.is_floating_point():
                raise RuntimeError(f"requires_grad_: only floating-point tensors have gradients, not {self.dtype.name}")
            self.node = Node((), self.array)
        elif not requires_grad and self.node is not None:
            if not self.is_leaf:
                raise RuntimeError("requires_grad_: only a leaf can be taken off the tape; use detach()")
            self.node = None
        return self

    @property
    def grad_fn(self) -> Node | None:
        return None if self.is_leaf else self.node

    @property
    def grad(self) -> Tensor | None:
        """∂L/∂(this tensor), gathered by backward() in leaves and where retain_grad() asked for it."""
        node = self.node
        return None if node is None or node.extra is None else node.extra.grad

    @grad.setter
    def grad(self, value: Tensor | None) -> None:
        if value is None:
            if self.node is not None and self.node.extra is not None:
                self.node.extra.grad = None
            return
        if self.node is None:
            raise RuntimeError("grad: this tensor does not require a gradient; call requires_grad_() first")
        if value.array.shape != self.array.shape or value.array.dtype != self.array.dtype:
            raise ValueError(
                f"grad: a gradient of shape {value.array.shape} and dtype {value.dtype.name} does not fit "
                f"shape {self.array.shape} and dtype {self.dtype.name}"
            )
        self.node.more().grad = value

    def backward(
        self, gradient: Tensor | None = None, retain_graph: bool | None = None, create_graph: bool = False,
        inputs: Any = None,
    ) -> None:  # fmt: skip
        """Add ∂self/∂leaf to the `.grad` of every leaf that it was computed from (or of `inputs` only).

        gradient: ∂L/∂self, of self's shape; may be left out for a single number. The graph is freed on the way
        unless retain_graph; create_graph records the walk, so that gradients can be differentiated again.
        """
        tape.backward(self, gradient, retain_graph, create_graph, inputs)

    def retain_grad(self) -> None:
        """Keep `.grad` here too, though this is no leaf."""
        if self.node is None:
            raise RuntimeError("retain_grad: this tensor does not require a gradient")
        if not self.is_leaf:
            self.node.more().retain = True

    def register_hook(self, hook: Callable[[Tensor], Tensor | None]) -> RemovableHook:
        """Call hook(G) when the gradient G of this tensor is known; what it gives back replaces G."""
        if self.node is None:
            raise RuntimeError("register_hook: this tensor does not require a gradient")
        hooks = self.node.more().hooks
        key = clock()
        hooks[key] = hook
        return RemovableHook(hooks, key)

    @property
    def data(self) -> Tensor:
        """The same memory, off the tape."""
        return ops.detach(self)

    @data.setter
    def data(self, value: Tensor) -> None:
        self.array = value.array
        share(self, value)
        root_of(self).written = clock()
        if self.node is not None and self.is_leaf:
            self.node.shape, self.node.dtype = value.array.shape, value.array.dtype

    def detach_(self) -> Tensor:
        if isinstance(self.storage, View) and self.storage.base is not None:
            raise RuntimeError("detach_: a view cannot be taken off its base's tape; use detach()")
        self.node = None
        return self

    # ------------------------------------------------------------------------------ other dtypes and devices

    def to(self, *args: Any, dtype: Any = None, device: Any = None, copy: bool = False, **ignored: Any) -> Tensor:
        """x in another dtype or on another device: to(dtype), to(device), to(device, dtype) or to(other)."""
        for arg in args:
            if isinstance(arg, Tensor):
                dtype = arg.dtype
            elif isinstance(arg, _Device) or isinstance(arg, str) and arg.partition(":")[0] in ("cpu", "cuda"):
                device = arg
            elif arg is not None and not isinstance(arg, bool):
                dtype = arg
        require_cpu(device)
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

    def type(self, dtype: Any = None) -> Any:
        return self.array.dtype.name if dtype is None else self.to(dtype)

    def float(self) -> Tensor:
        return self.to(float32)

    def double(self) -> Tensor:
        return self.to(float64)

    def half(self) -> Tensor:
        return self.to("float16")

    def bfloat16(self) -> Tensor:
        from ._dtypes import bfloat16

        return self.to(bfloat16())

    def long(self) -> Tensor:
        return self.to(int64)

    def int(self) -> Tensor:
        return self.to("int32")

    def short(self) -> Tensor:
        return self.to("int16")

    def byte(self) -> Tensor:
        return self.to("uint8")

    def bool(self) -> Tensor:
        return self.to("bool")

    def cpu(self) -> Tensor:
        return self

    def cuda(self, device: Any = None) -> Tensor:
        return self.to("cuda" if device is None else device)

    def type_as(self, other: Tensor) -> Tensor:
        return self.to(other.dtype)

    def new_tensor(
        self, data: Any, *, dtype: Any = None, device: Any = None, requires_grad: builtins.bool = False
    ) -> Tensor:
        """The data as a tensor of this one's dtype."""
        require_cpu(device)
        made = self.array.dtype if dtype is None else as_dtype(dtype)
        return wrap(np.array(_array_of(data, "new_tensor"), made)).requires_grad_(requires_grad)

    def new_zeros(self, *sizes: Any, size: Any = None, **options: Any) -> Tensor:
        """Zeros of this tensor's dtype; options: dtype, device, requires_grad."""
        return self._new("zeros", sizes if size is None else (size,), options)

    def new_ones(self, *sizes: Any, size: Any = None, **options: Any) -> Tensor:
        """Ones of this tensor's dtype; options: dtype, device, requires_grad."""
        return self._new("ones", sizes if size is None else (size,), options)

    def new_empty(self, *sizes: Any, size: Any = None, **options: Any) -> Tensor:
        """Whatever the memory holds, of this tensor's dtype; options: dtype, device, requires_grad."""
        return self._new("empty", sizes if size is None else (size,), options)

    def new_full(self, size: Any, fill_value: Any, **options: Any) -> Tensor:
        """fill_value in every element, of this tensor's dtype; options: dtype, device, requires_grad."""
        return self._new("full", (size, fill_value), options)

    def _new(self, name: str, sizes: tuple[Any, ...], options: dict[str, Any]) -> Tensor:
        from . import _creation  # which stands above this file

        return getattr(_creation, name)(*sizes, **{"dtype": self.array.dtype, **options})

    def bernoulli(self, p: builtins.float | None = None, *, generator: random.Generator | None = None) -> Tensor:
        """1 with the probability that each element says, or with probability p, else 0."""
        from ._creation import bernoulli

        return bernoulli(self, p, generator=generator)

    def multinomial(
        self,
        num_samples: builtins.int,
        replacement: builtins.bool = False,
        *,
        generator: random.Generator | None = None,
    ) -> Tensor:
        """Indices drawn in proportion to this tensor's elements."""
        from ._creation import multinomial

        return multinomial(self, num_samples, replacement, generator=generator)


class RemovableHook:
    """What register_hook gives: remove() takes the hook off again."""

    def __init__(self, hooks: dict[int, Any], key: int) -> None:
        self._hooks, self._key = hooks, key

    def remove(self) -> None:
        self._hooks.pop(self._key, None)


tape.register_tensor(Tensor)


def _array_of(data: Any, name: str) -> np.ndarray:
    """An array from numbers, nested sequences, arrays or tensors."""
    if isinstance(data, Tensor):
        return data.array
    if isinstance(data, (list, tuple)) and any(isinstance(v, Tensor) for v in _flat(data)):
        data = _plain(data)
    try:
        array = np.asarray(data)
    except ValueError:
        raise ValueError(f"{name}: the nested sequences have unequal lengths; make them rectangular") from None
    if array.dtype.kind not in "biuf" and array.dtype.name != "bfloat16":
        raise TypeError(f"{name}: cannot make a tensor of {array.dtype.name} data; give numbers")
    return array


def _flat(data: Any) -> Iterator[Any]:
    for value in data:
        if isinstance(value, (list, tuple)):
            yield from _flat(value)
        else:
            yield value


def _plain(data: Any) -> Any:
    if isinstance(data, Tensor):
        return data.tolist()
    return [_plain(v) for v in data] if isinstance(data, (list, tuple)) else data


def default_dtype(data: Any, array: np.ndarray) -> DType:
    """float32 for Python's floats, int64 for its ints; NumPy arrays keep theirs."""
    if isinstance(data, (np.ndarray, np.generic, Tensor)):
        return as_dtype(array.dtype)
    return {"f": float32, "i": int64, "u": int64, "b": array.dtype}.get(array.dtype.kind, array.dtype)

