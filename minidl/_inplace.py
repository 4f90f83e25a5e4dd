"""Changing a tensor in place: x.add_(y), x += y, x[index] = value."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from . import ops, random, tape
from ._dtypes import category, float32
from .tape import Node, Storage, clock, mode, wrap

if TYPE_CHECKING:
    from ._tensor import Tensor


class InPlace:
    """What of Tensor writes to its own memory."""

    __slots__ = ()

    array: Any
    node: Node | None
    storage: Storage | None

    def _alias(self: Any, kept: bool = False) -> Tensor:
        """This tensor as it is now, for an operation that will overwrite it; a copy where a derivative reads it."""
        if kept and mode.recording:
            return wrap(self.array.copy(), self.node)
        if self.storage is None:
            self.storage = Storage()
        alias = wrap(self.array, self.node)
        alias.storage = self.storage
        return alias

    def _write(self: Any, name: str, new: Tensor) -> Tensor:
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
                if self.node is not None:  # overwritten with constants: nothing flows back beyond here
                    old = wrap(self.array, self.node)
                    self.node = tape.record(self.array, old, lambda G: wrap(np.zeros_like(G.array))).node
            else:
                # A node of its own, younger than the write: what was recorded before it sees a change, what comes
                # after does not.
                self.node = tape.record(self.array, new, lambda G: G).node
        return self

    def __setitem__(self: Any, index: Any, value: Any) -> None:
        if isinstance(value, tape._TensorClass):
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

    def add_(self: Any, other: Any, *, alpha: Any = 1) -> Tensor:
        return self._write("add_", ops.add(self._alias(), other, alpha=alpha))

    def sub_(self: Any, other: Any, *, alpha: Any = 1) -> Tensor:
        return self._write("sub_", ops.sub(self._alias(), other, alpha=alpha))

    def mul_(self: Any, other: Any) -> Tensor:
        return self._write("mul_", ops.mul(self._alias(_recorded(other)), other))

    def div_(self: Any, other: Any, *, rounding_mode: str | None = None) -> Tensor:
        return self._write("div_", ops.div(self._alias(_recorded(other)), other, rounding_mode=rounding_mode))

    def pow_(self: Any, exponent: Any) -> Tensor:
        return self._write("pow_", ops.pow(self._alias(self.node is not None or _recorded(exponent)), exponent))

    def neg_(self: Any) -> Tensor:
        return self._write("neg_", ops.neg(self._alias()))

    def exp_(self: Any) -> Tensor:
        return self._write("exp_", ops.exp(self._alias()))

    def sqrt_(self: Any) -> Tensor:
        return self._write("sqrt_", ops.sqrt(self._alias()))

    def relu_(self: Any) -> Tensor:
        return self._write("relu_", ops.relu(self._alias()))

    def sigmoid_(self: Any) -> Tensor:
        return self._write("sigmoid_", ops.sigmoid(self._alias()))

    def tanh_(self: Any) -> Tensor:
        return self._write("tanh_", ops.tanh(self._alias()))

    def clamp_(self: Any, min: Any = None, max: Any = None) -> Tensor:
        return self._write("clamp_", ops.clamp(self._alias(self.node is not None), min, max))

    def masked_fill_(self: Any, mask: Tensor, value: Any) -> Tensor:
        return self._write("masked_fill_", ops.masked_fill(self._alias(), mask, value))

    def copy_(self: Any, src: Any) -> Tensor:
        source = src if isinstance(src, tape._TensorClass) else wrap(np.asarray(src))
        try:
            return self._write("copy_", ops.broadcast_to(source.to(self.dtype), self.array.shape))
        except ValueError:
            raise ValueError(f"copy_: shape {source.shape} does not fit into shape {self.array.shape}") from None

    def fill_(self: Any, value: Any) -> Tensor:
        return self.copy_(value if isinstance(value, tape._TensorClass) else np.asarray(value, self.array.dtype))

    def zero_(self: Any) -> Tensor:
        return self.fill_(0)

    def uniform_(
        self: Any, a: float = 0.0, b: float = 1.0, *, generator: random.Generator | None = None
    ) -> Tensor:
        """Fill with random numbers, uniform in [a, b)."""
        if not a <= b:
            raise ValueError(f"uniform_: a = {a} must not exceed b = {b}")
        u = random.uniform(self.array.shape, self.array.dtype, generator)
        return self._write("uniform_", wrap((u * (b - a) + a).astype(self.array.dtype, copy=False)))

    def normal_(
        self: Any, mean: float = 0.0, std: float = 1.0, *, generator: random.Generator | None = None
    ) -> Tensor:
        """Fill with normally distributed random numbers."""
        if not std >= 0:
            raise ValueError(f"normal_: std must be 0 or more, got {std}")
        z = random.normal(self.array.shape, self.array.dtype, generator)
        return self._write("normal_", wrap((z * std + mean).astype(self.array.dtype, copy=False)))

    def bernoulli_(self: Any, p: float = 0.5, *, generator: random.Generator | None = None) -> Tensor:
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


def _recorded(value: Any) -> bool:
    return isinstance(value, tape._TensorClass) and value.node is not None
