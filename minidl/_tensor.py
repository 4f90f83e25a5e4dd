"""class Tensor: an array with a place on the tape."""

from __future__ import annotations

import builtins
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from . import ops, random, tape
from ._dtypes import DType, as_dtype, category, float32, float64, int64
from ._printing import describe
from .tape import Node, Storage, clock, mode, share, wrap


class device:
    """Where a tensor lives: device("cpu"). Equal devices compare equal, also with their name."""

    def __init__(self, type: Any = "cpu", index: int | None = None) -> None:
        name = str(type)
        kind, _, number = name.partition(":")
        self.type: str = kind
        self.index = int(number) if number.isdigit() else index
        if self.type not in ("cpu", "cuda"):
            raise ValueError(f"device: {name!r} is unknown; use 'cpu'")

    def __eq__(self, other: object) -> bool:
        return str(self) == str(other)

    def __hash__(self) -> int:
        return hash(str(self))

    def __str__(self) -> str:
        return self.type if self.index is None else f"{self.type}:{self.index}"

    def __repr__(self) -> str:
        return f"device({str(self)!r})"


_CPU = device("cpu")


def _require_cpu(where: Any) -> None:
    if where is not None and device(where).type != "cpu":
        raise RuntimeError(f"device {str(where)!r}: this build computes on the CPU only; use device='cpu'")


class Tensor:
    """A multi-dimensional array that remembers how it was made.

    array     the raw NumPy array (shape, strides, dtype)
    node      its place on the tape: None where nothing is differentiated by it
    storage   shared with every tensor that looks at the same memory, None where there is no other

    Tensor(data) makes a float32 tensor, as PyTorch's; minidl.tensor(data) keeps the data's dtype.
    """

    __slots__ = ("array", "node", "storage", "__weakref__")
    __array_priority__ = 1000
    __array_ufunc__ = None  # so that `numpy_array + tensor` asks the tensor

    array: Any
    node: Node | None
    storage: Storage | None

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
    def shape(self) -> tuple[int, ...]:
        return self.array.shape

    @property
    def ndim(self) -> int:
        return self.array.ndim

    @property
    def dtype(self) -> DType:
        return self.array.dtype

    @property
    def device(self) -> device:
        return _CPU

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

    def size(self, dim: int | None = None) -> Any:
        return self.array.shape if dim is None else self.array.shape[dim]

    def dim(self) -> int:
        return self.array.ndim

    ndimension = dim

    def numel(self) -> int:
        return self.array.size

    nelement = numel

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
        self.storage.written = clock()  # type: ignore[union-attr]
        if self.node is not None and self.is_leaf:
            self.node.shape, self.node.dtype = value.array.shape, value.array.dtype

    def detach_(self) -> Tensor:
        self.node = None
        return self

    # ------------------------------------------------------------------------------ other dtypes and devices

    def to(self, *args: Any, dtype: Any = None, device: Any = None, copy: bool = False, **ignored: Any) -> Tensor:
        """x in another dtype or on another device: to(dtype), to(device), to(device, dtype) or to(other)."""
        for arg in args:
            if isinstance(arg, Tensor):
                dtype = arg.dtype
            elif isinstance(arg, _DeviceType) or isinstance(arg, str) and arg.partition(":")[0] in ("cpu", "cuda"):
                device = arg
            elif arg is not None and not isinstance(arg, bool):
                dtype = arg
        _require_cpu(device)
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

    def bool(self) -> Tensor:
        return self.to("bool")

    def cpu(self) -> Tensor:
        return self

    def cuda(self, device: Any = None) -> Tensor:
        return self.to("cuda" if device is None else device)

    def type_as(self, other: Tensor) -> Tensor:
        return self.to(other.dtype)

    # ------------------------------------------------------------------------------------------ in place

    def _alias(self) -> Tensor:
        """This tensor as it is now, for an operation that is about to overwrite it."""
        if self.storage is None:
            self.storage = Storage()
        alias = wrap(self.array, self.node)
        alias.storage = self.storage
        return alias

    def _write(self, name: str, new: Tensor) -> Tensor:
        """Put new's values into this tensor's memory, and this tensor into new's place on the tape."""
        if new.array.shape != self.array.shape:
            raise ValueError(
                f"{name}: in place, the result's shape {new.array.shape} must be the tensor's own, {self.array.shape}"
            )
        if category(new.array.dtype) > category(self.array.dtype):
            raise TypeError(f"{name}: a {new.dtype.name} result does not fit into a {self.dtype.name} tensor")
        if mode.recording and (self.node is not None or new.node is not None):
            if self.node is not None and self.is_leaf:
                raise RuntimeError(
                    f"{name}: a leaf that requires a gradient cannot be changed in place while recording; "
                    "do it under minidl.no_grad()"
                )
            if self.storage is not None and self.storage.others(self):
                raise RuntimeError(
                    f"{name}: another tensor shares this memory (one is a view of the other), and its gradient would "
                    "not learn of the change; work on a clone(), or write x = x.clone(); x[index] = value"
                )
        if not self.array.flags.writeable:
            raise RuntimeError(
                f"{name}: several elements of this tensor share one place in memory (expand); clone() it first"
            )
        if self.storage is None:
            self.storage = Storage()
        np.copyto(self.array, new.array, casting="unsafe")
        self.storage.written = clock()
        if mode.recording:
            if new.node is None:
                self.node = None
            else:
                # A node of its own, younger than the write: what was recorded before it sees a change, what comes
                # after does not.
                self.node = tape.record(self.array, new, lambda G: G).node
        return self

    def __setitem__(self, index: Any, value: Any) -> None:
        if isinstance(value, Tensor):
            if value.node is not None or (self.node is not None and mode.recording):
                self._write("index assignment", ops.index_put(self._alias(), index, value.to(self.dtype)))
                return
            value = value.array
        elif self.node is not None and mode.recording:
            self._write("index assignment", ops.index_put(self._alias(), index, value))
            return
        at, _ = ops.index._index_of(index, "index assignment")
        if not self.array.flags.writeable:
            raise RuntimeError(
                "index assignment: several elements of this tensor share one place in memory (expand); clone() it first"
            )
        try:
            self.array[at] = value
        except IndexError as error:
            raise IndexError(f"index assignment: shape {self.array.shape}: {error}") from None
        except ValueError:
            raise ValueError(
                f"index assignment: a value of shape {np.shape(value)} does not fit the "
                f"{self.array[at].shape} that the index names"
            ) from None
        if self.storage is None:
            self.storage = Storage()
        self.storage.written = clock()

    def add_(self, other: Any, *, alpha: Any = 1) -> Tensor:
        return self._write("add_", ops.add(self._alias(), other, alpha=alpha))

    def sub_(self, other: Any, *, alpha: Any = 1) -> Tensor:
        return self._write("sub_", ops.sub(self._alias(), other, alpha=alpha))

    def mul_(self, other: Any) -> Tensor:
        return self._write("mul_", ops.mul(self._alias(), other))

    def div_(self, other: Any) -> Tensor:
        return self._write("div_", ops.div(self._alias(), other))

    def pow_(self, exponent: Any) -> Tensor:
        return self._write("pow_", ops.pow(self._alias(), exponent))

    def neg_(self) -> Tensor:
        return self._write("neg_", ops.neg(self._alias()))

    def exp_(self) -> Tensor:
        return self._write("exp_", ops.exp(self._alias()))

    def sqrt_(self) -> Tensor:
        return self._write("sqrt_", ops.sqrt(self._alias()))

    def relu_(self) -> Tensor:
        return self._write("relu_", ops.relu(self._alias()))

    def sigmoid_(self) -> Tensor:
        return self._write("sigmoid_", ops.sigmoid(self._alias()))

    def tanh_(self) -> Tensor:
        return self._write("tanh_", ops.tanh(self._alias()))

    def clamp_(self, min: Any = None, max: Any = None) -> Tensor:
        return self._write("clamp_", ops.clamp(self._alias(), min, max))

    def masked_fill_(self, mask: Tensor, value: Any) -> Tensor:
        return self._write("masked_fill_", ops.masked_fill(self._alias(), mask, value))

    def copy_(self, src: Any) -> Tensor:
        source = src if isinstance(src, Tensor) else wrap(np.asarray(src))
        try:
            return self._write("copy_", ops.broadcast_to(source.to(self.dtype), self.array.shape))
        except ValueError:
            raise ValueError(f"copy_: shape {source.shape} does not fit into shape {self.array.shape}") from None

    def fill_(self, value: Any) -> Tensor:
        return self.copy_(value if isinstance(value, Tensor) else np.asarray(value, self.array.dtype))

    def zero_(self) -> Tensor:
        return self.fill_(0)

    def uniform_(
        self, a: builtins.float = 0.0, b: builtins.float = 1.0, *, generator: random.Generator | None = None
    ) -> Tensor:
        """Fill with random numbers, uniform in [a, b)."""
        if not a <= b:
            raise ValueError(f"uniform_: a = {a} must not exceed b = {b}")
        u = random.uniform(self.array.shape, self.array.dtype, generator)
        return self._write("uniform_", wrap((u * (b - a) + a).astype(self.array.dtype, copy=False)))

    def normal_(
        self, mean: builtins.float = 0.0, std: builtins.float = 1.0, *, generator: random.Generator | None = None
    ) -> Tensor:
        """Fill with normally distributed random numbers."""
        if not std >= 0:
            raise ValueError(f"normal_: std must be 0 or more, got {std}")
        z = random.normal(self.array.shape, self.array.dtype, generator)
        return self._write("normal_", wrap((z * std + mean).astype(self.array.dtype, copy=False)))

    def bernoulli_(self, p: builtins.float = 0.5, *, generator: random.Generator | None = None) -> Tensor:
        """Fill with ones (probability p) and zeros."""
        if not 0 <= p <= 1:
            raise ValueError(f"bernoulli_: p must be a probability from 0 to 1, got {p}")
        u = random.uniform(self.array.shape, float32, generator)
        return self._write("bernoulli_", wrap((u < p).astype(self.array.dtype)))

    __iadd__ = add_
    __isub__ = sub_
    __imul__ = mul_
    __itruediv__ = div_
    __ipow__ = pow_

    # ----------------------------------------------------------------------------------------- operators

    __add__ = ops.add
    __sub__ = ops.sub
    __mul__ = ops.mul
    __truediv__ = ops.div
    __floordiv__ = ops.floor_divide
    __mod__ = ops.remainder
    __pow__ = ops.pow
    __matmul__ = ops.matmul
    __neg__ = ops.neg
    __abs__ = ops.abs
    __and__ = ops.bitwise_and
    __or__ = ops.bitwise_or
    __xor__ = ops.bitwise_xor
    __invert__ = ops.bitwise_not
    __eq__ = ops.eq  # type: ignore[assignment]
    __ne__ = ops.ne  # type: ignore[assignment]
    __lt__ = ops.lt
    __le__ = ops.le
    __gt__ = ops.gt
    __ge__ = ops.ge
    __getitem__ = ops.getitem

    def __pos__(self) -> Tensor:
        return self

    def __radd__(self, other: Any) -> Tensor:
        return ops.add(other, self)

    def __rsub__(self, other: Any) -> Tensor:
        return ops.sub(other, self)

    def __rmul__(self, other: Any) -> Tensor:
        return ops.mul(other, self)

    def __rtruediv__(self, other: Any) -> Tensor:
        return ops.div(other, self)

    def __rfloordiv__(self, other: Any) -> Tensor:
        return ops.floor_divide(other, self)

    def __rmod__(self, other: Any) -> Tensor:
        return ops.remainder(other, self)

    def __rpow__(self, other: Any) -> Tensor:
        return ops.pow(other, self)

    __rand__, __ror__, __rxor__ = ops.bitwise_and, ops.bitwise_or, ops.bitwise_xor

    # ------------------------------------------------------------------------------ operations as methods

    # Math
    abs, neg, sign, exp, expm1, log, log1p, log2 = (
        ops.abs, ops.neg, ops.sign, ops.exp, ops.expm1, ops.log, ops.log1p, ops.log2,
    )  # fmt: skip
    sqrt, rsqrt, square, reciprocal, sin, cos, tanh = (
        ops.sqrt, ops.rsqrt, ops.square, ops.reciprocal, ops.sin, ops.cos, ops.tanh,
    )  # fmt: skip
    sigmoid, erf, floor, ceil, round, clamp, relu = (
        ops.sigmoid, ops.erf, ops.floor, ops.ceil, ops.round, ops.clamp, ops.relu,
    )  # fmt: skip
    clip = ops.clamp
    pow, add, sub, mul, div, floor_divide, remainder = (
        ops.pow, ops.add, ops.sub, ops.mul, ops.div, ops.floor_divide, ops.remainder,
    )  # fmt: skip
    maximum, minimum, isnan, isfinite, isinf = ops.maximum, ops.minimum, ops.isnan, ops.isfinite, ops.isinf
    eq, ne, lt, le, gt, ge = ops.eq, ops.ne, ops.lt, ops.le, ops.gt, ops.ge
    logical_and, logical_or, logical_not, logical_xor = (
        ops.logical_and, ops.logical_or, ops.logical_not, ops.logical_xor,
    )  # fmt: skip
    # Reductions
    sum, mean, prod, var, std, amax, amin = ops.sum, ops.mean, ops.prod, ops.var, ops.std, ops.amax, ops.amin
    max, min, argmax, argmin, logsumexp, cumsum = ops.max, ops.min, ops.argmax, ops.argmin, ops.logsumexp, ops.cumsum
    norm, sort, topk, any, all = ops.norm, ops.sort, ops.topk, ops.any, ops.all
    softmax, log_softmax = ops.softmax, ops.log_softmax
    # Linear algebra
    matmul, mm, bmm, mv, dot, outer, addmm = ops.matmul, ops.mm, ops.bmm, ops.mv, ops.dot, ops.outer, ops.addmm
    # Shape
    reshape, view, flatten, unflatten = ops.reshape, ops.view, ops.flatten, ops.unflatten
    transpose, permute, t, squeeze, unsqueeze = ops.transpose, ops.permute, ops.t, ops.squeeze, ops.unsqueeze
    expand, broadcast_to, repeat, split, chunk = ops.expand, ops.broadcast_to, ops.repeat, ops.split, ops.chunk
    unbind, narrow, flip, roll, tril, triu, diag = (
        ops.unbind, ops.narrow, ops.flip, ops.roll, ops.tril, ops.triu, ops.diag,
    )  # fmt: skip
    clone, contiguous, detach = ops.clone, ops.contiguous, ops.detach
    nonzero, masked_select, masked_fill, index_select = (
        ops.nonzero, ops.masked_select, ops.masked_fill, ops.index_select,
    )  # fmt: skip
    gather, scatter_add, take_along_dim = ops.gather, ops.scatter_add, ops.take_along_dim

    def where(self, condition: Tensor, other: Any) -> Tensor:
        return ops.where(condition, self, other)

    def expand_as(self, other: Tensor) -> Tensor:
        return ops.expand(self, other.array.shape)

    def view_as(self, other: Tensor) -> Tensor:
        return ops.view(self, other.array.shape)

    def reshape_as(self, other: Tensor) -> Tensor:
        return ops.reshape(self, other.array.shape)

    def swapaxes(self, axis0: builtins.int, axis1: builtins.int) -> Tensor:
        return ops.transpose(self, axis0, axis1)

    @property
    def T(self) -> Tensor:
        """The dimensions in reverse order (a view)."""
        return ops.permute(self, tuple(range(self.array.ndim))[::-1])

    @property
    def mT(self) -> Tensor:
        """Every matrix transposed: the last two dimensions exchanged (a view)."""
        if self.array.ndim < 2:
            raise ValueError(f"mT: needs at least 2 dimensions, got shape {self.array.shape}")
        return ops.transpose(self, -2, -1)

    def new_tensor(self, data: Any) -> Tensor:
        return wrap(np.array(data, self.array.dtype))

    def new_zeros(
        self, *size: Any, dtype: Any = None, device: Any = None, requires_grad: builtins.bool = False
    ) -> Tensor:
        _require_cpu(device)
        made = self.array.dtype if dtype is None else as_dtype(dtype)
        zeros = wrap(np.zeros(ops._common.sizes_of(size, "new_zeros"), made))
        return zeros.requires_grad_(requires_grad)


_DeviceType = device


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

