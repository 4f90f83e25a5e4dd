"""class Tensor: an array with a place on the tape."""

from __future__ import annotations

import builtins
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from . import ops, tape
from ._conversion import Conversions, _array_of
from ._device import CPU, device, device_of
from ._dtypes import DType, category, float32
from ._inplace import InPlace
from ._operators import Operations
from ._printing import describe
from ._size import Size
from .tape import Node, Storage, View, clock, root_of, share


class Tensor(InPlace, Operations, Conversions):
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
        """The sizes of the dimensions."""
        return Size(self.array.shape)

    @property
    def ndim(self) -> int:
        """How many dimensions there are."""
        return self.array.ndim

    @property
    def dtype(self) -> DType:
        """The elements' type."""
        return self.array.dtype

    @property
    def device(self) -> device:
        """Where the tensor lives."""
        return CPU if self.array.__class__ is np.ndarray else device_of(self.array)

    @property
    def itemsize(self) -> int:
        """Bytes of one element."""
        return self.array.itemsize

    @property
    def nbytes(self) -> int:
        """Bytes of all elements."""
        return self.array.nbytes

    @property
    def is_leaf(self) -> bool:
        """Whether nothing recorded made it: it is where gradients are gathered, or has none."""
        return self.node is None or self.node.inputs == ()

    @property
    def is_cuda(self) -> bool:
        """Whether it lives on a graphics card."""
        return self.device.type == "cuda"

    def size(self, dim: builtins.int | None = None) -> Any:
        """The shape, or the size of one dimension."""
        if dim is None:
            return Size(self.array.shape)
        if not self.array.ndim:
            raise IndexError(f"size: a tensor of 0 dimensions has no dimension {dim}")
        return self.array.shape[ops._common.dim_of(dim, self.array.ndim, "size")]

    def dim(self) -> int:
        """How many dimensions there are."""
        return self.array.ndim

    ndimension = dim

    def numel(self) -> int:
        """How many elements there are."""
        return self.array.size

    nelement = numel

    def element_size(self) -> builtins.int:
        """Bytes of one element."""
        return self.array.itemsize

    def is_floating_point(self) -> bool:
        """Whether the elements are floating point (and can have gradients)."""
        return category(self.array.dtype) == 2

    def is_contiguous(self) -> bool:
        """Whether the memory is in row order, without gaps."""
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
        """Whether gradients flow to it."""
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
        """Its place on the tape; None for a leaf."""
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
        if not isinstance(value, Tensor):
            raise TypeError(f"grad: expected a Tensor or None, got {type(value).__name__}")
        if self.node is None:
            raise RuntimeError("grad: this tensor does not require a gradient; call requires_grad_() first")
        if value.array.__class__ is not self.array.__class__:
            raise RuntimeError(
                f"grad: a gradient on device '{value.device}' does not fit a tensor on '{self.device}'; move one"
            )
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
        if not callable(hook):
            raise TypeError(f"register_hook: expected a function of the gradient, got {type(hook).__name__}")
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
        if not isinstance(value, Tensor):
            raise TypeError(f"data: expected a Tensor, got {type(value).__name__}")
        self.array = value.array
        share(self, value)
        root_of(self).written = clock()
        if self.node is not None and self.is_leaf:
            self.node.shape, self.node.dtype = value.array.shape, value.array.dtype

    def detach_(self) -> Tensor:
        """Take the tensor itself off the tape."""
        if isinstance(self.storage, View) and self.storage.base is not None:
            raise RuntimeError("detach_: a view cannot be taken off its base's tape; use detach()")
        self.node = None
        return self


class RemovableHook:
    """What register_hook gives: remove() takes the hook off again."""

    def __init__(self, hooks: dict[int, Any], key: int) -> None:
        self._hooks, self._key = hooks, key

    def remove(self) -> None:
        self._hooks.pop(self._key, None)


tape.register_tensor(Tensor)
