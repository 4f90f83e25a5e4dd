"""Changing a tensor in place: x.add_(y), x += y, x[index] = value."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from . import ops, random, tape
from ._dtypes import category, float32
from .kernels import kernel
from .ops._common import element
from .ops._region import Region, address, cleared, placed, taken
from .ops.index import _index_of as index_of
from .ops.index import check_dtype, misfit, put
from .tape import Node, Storage, View, clock, mode, wrap

if TYPE_CHECKING:
    from ._tensor import Tensor


def _in_place(op: Callable[..., Tensor], reads: bool = False) -> Callable[..., Tensor]:
    """The method that writes op's result into the tensor itself. reads: op's derivative needs what was there before."""

    def method(self: Any, *args: Any, **options: Any) -> Tensor:
        return self._write(method.__name__, op(self._alias(reads and self.node is not None), *args, **options))

    method.__name__, method.__doc__ = f"{op.__name__}_", f"{op.__name__}, in place."
    return method


class InPlace:
    """What of Tensor writes to its own memory."""

    __slots__ = ()

    array: Any
    node: Node | None
    storage: Storage | View | None

    def _alias(self: Any, kept: bool = False) -> Tensor:
        """This tensor as it is now, for an operation that will overwrite it; a copy where a derivative reads it."""
        if kept and mode.recording:
            return wrap(self.array.copy(), self.node)
        alias = wrap(self.array, self.node)
        alias.storage = tape.root_of(self)
        return alias

    def _write(self: Any, name: str, new: Tensor) -> Tensor:
        """Put new's values into this tensor's memory, and this tensor into new's place on the tape."""
        if new.array.shape != self.array.shape:
            raise ValueError(
                f"{name}: in place, the result's shape {new.array.shape} must be the tensor's own, {self.array.shape}"
            )
        if category(new.array.dtype) > category(self.array.dtype):
            raise TypeError(f"{name}: a {new.dtype.name} result does not fit into a {self.dtype.name} tensor")
        recorded = mode.recording and (self.node is not None or new.node is not None)
        if recorded:
            _may_be_recorded(name, self)
        if not self.array.flags.writeable:
            raise RuntimeError(
                f"{name}: several elements of this tensor share one place in memory (expand); clone() it first"
            )
        if new.array.__class__ is not self.array.__class__:  # what copy_ brings from another device
            new = new.to(self.device)
        np.copyto(self.array, new.array, casting="unsafe")
        tape.root_of(self).written = clock()
        if recorded:
            _record_write(name, self, new)
        return self

    def __setitem__(self: Any, index: Any, value: Any) -> None:
        """What `x[index] = value` does: numbers, slices, masks, index arrays; value broadcasts to what they name."""
        name = "index assignment"
        at, basic, rest = index_of(index, name)
        if rest is not None:
            ops.getitem(self, at)[rest] = value
            return
        if not isinstance(value, tape._TensorClass):
            value = self._value(name, value)
        elif value.array.__class__ is not self.array.__class__:
            value = value.to(self.device)
        elif not basic:
            check_dtype(self, at, value)
        if mode.recording and (self.node is not None or value.node is not None):
            if not basic:
                self._write(name, ops.index_put(self._alias(), index, value.to(self.dtype)))
                return
            part = ops.getitem(self, at)
            here, there = ((t.shape, t.stride(), address(t.array)) for t in (part, value))
            if here != there:
                part._write(name, _fitting(value.to(self.dtype), part.array.shape))
            return  # x[0] += 1 has written into x already, and now assigns x[0] to itself
        if not self.array.flags.writeable:
            raise RuntimeError(
                f"{name}: several elements of this tensor share one place in memory (expand); clone() it first"
            )
        put(self.array, at, value)
        tape.root_of(self).written = clock()

    def _value(self: Any, name: str, value: Any) -> Tensor:
        """Numbers, lists and arrays as what can be assigned."""
        try:
            found = np.asarray(value, None if isinstance(value, np.ndarray) else self.array.dtype)
            return wrap(found if self.array.__class__ is np.ndarray else np.asarray(found, like=self.array))
        except (TypeError, ValueError):
            raise TypeError(f"{name}: cannot assign {type(value).__name__}; give a Tensor or a number") from None

    def add_(self: Any, other: Any, *, alpha: Any = 1) -> Tensor:
        """x ← x + alpha * other"""
        return self._write("add_", ops.add(self._alias(), other, alpha=alpha))

    def sub_(self: Any, other: Any, *, alpha: Any = 1) -> Tensor:
        """x ← x - alpha * other"""
        return self._write("sub_", ops.sub(self._alias(), other, alpha=alpha))

    def mul_(self: Any, other: Any) -> Tensor:
        """x ← x * other"""
        return self._write("mul_", ops.mul(self._alias(_recorded(other)), other))

    def div_(self: Any, other: Any, *, rounding_mode: str | None = None) -> Tensor:
        """x ← x / other"""
        return self._write("div_", ops.div(self._alias(_recorded(other)), other, rounding_mode=rounding_mode))

    def pow_(self: Any, exponent: Any) -> Tensor:
        """x ← x ** exponent"""
        return self._write("pow_", ops.pow(self._alias(self.node is not None or _recorded(exponent)), exponent))

    neg_, exp_, expm1_, sqrt_, rsqrt_, reciprocal_ = (
        _in_place(ops.neg), _in_place(ops.exp), _in_place(ops.expm1), _in_place(ops.sqrt), _in_place(ops.rsqrt),
        _in_place(ops.reciprocal),
    )  # fmt: skip
    relu_, sigmoid_, tanh_ = _in_place(ops.relu), _in_place(ops.sigmoid), _in_place(ops.tanh)
    floor_, ceil_, round_, sign_ = (
        _in_place(ops.floor), _in_place(ops.ceil), _in_place(ops.round), _in_place(ops.sign),
    )  # fmt: skip
    abs_, square_, log_, log1p_, log2_ = (
        _in_place(ops.abs, True), _in_place(ops.square, True), _in_place(ops.log, True), _in_place(ops.log1p, True),
        _in_place(ops.log2, True),
    )  # fmt: skip
    sin_, cos_, erf_ = _in_place(ops.sin, True), _in_place(ops.cos, True), _in_place(ops.erf, True)
    remainder_, floor_divide_ = _in_place(ops.remainder, True), _in_place(ops.floor_divide)
    logical_and_, logical_or_, logical_xor_, logical_not_ = (
        _in_place(ops.logical_and), _in_place(ops.logical_or), _in_place(ops.logical_xor), _in_place(ops.logical_not),
    )  # fmt: skip
    scatter_add_, tril_, triu_ = _in_place(ops.scatter_add), _in_place(ops.tril), _in_place(ops.triu)

    def clamp_(self: Any, min: Any = None, max: Any = None) -> Tensor:
        """x ← minimum(maximum(x, min), max)"""
        return self._write("clamp_", ops.clamp(self._alias(self.node is not None), min, max))

    def masked_fill_(self: Any, mask: Tensor, value: Any) -> Tensor:
        """Put the value where mask is true."""
        return self._write("masked_fill_", ops.masked_fill(self._alias(), mask, value))

    def copy_(self: Any, src: Any, non_blocking: bool = False) -> Tensor:
        """Put src in, broadcast and converted to this tensor's dtype."""
        if not isinstance(src, (tape._TensorClass, np.ndarray)):
            src = element(src, self.array.dtype, "copy_", "src")
        source = src if isinstance(src, tape._TensorClass) else wrap(src)
        try:
            return self._write("copy_", ops.broadcast_to(source.to(self.dtype), self.array.shape))
        except ValueError:
            raise ValueError(f"copy_: shape {source.shape} does not fit into shape {self.array.shape}") from None

    def fill_(self: Any, value: Any) -> Tensor:
        """Put the value, a number or a tensor of 0 dimensions, into every element."""
        if not isinstance(value, tape._TensorClass):
            value = wrap(element(value, self.array.dtype, "fill_", "value"))
        if value.array.ndim:
            raise ValueError(f"fill_: value must be a number or a tensor of 0 dimensions, got shape {value.shape}")
        return self._write("fill_", ops.broadcast_to(value.to(self.dtype), self.array.shape))

    def zero_(self: Any) -> Tensor:
        """Put 0 into every element."""
        return self.fill_(0)

    def uniform_(
        self: Any, a: float = 0.0, b: float = 1.0, *, generator: random.Generator | None = None
    ) -> Tensor:
        """Fill with random numbers, uniform in [a, b)."""
        if not a <= b:
            raise ValueError(f"uniform_: a = {a} must not exceed b = {b}")
        u = random.uniform(self.array.shape, self.array.dtype, generator, kernel(self))
        return self._write("uniform_", wrap((u * (b - a) + a).astype(self.array.dtype, copy=False)))

    def normal_(
        self: Any, mean: float = 0.0, std: float = 1.0, *, generator: random.Generator | None = None
    ) -> Tensor:
        """Fill with normally distributed random numbers."""
        if not std >= 0:
            raise ValueError(f"normal_: std must be 0 or more, got {std}")
        z = random.normal(self.array.shape, self.array.dtype, generator, kernel(self))
        return self._write("normal_", wrap((z * std + mean).astype(self.array.dtype, copy=False)))

    def bernoulli_(self: Any, p: float = 0.5, *, generator: random.Generator | None = None) -> Tensor:
        """Fill with ones (probability p) and zeros."""
        if not 0 <= p <= 1:
            raise ValueError(f"bernoulli_: p must be a probability from 0 to 1, got {p}")
        u = random.uniform(self.array.shape, float32, generator, kernel(self))
        return self._write("bernoulli_", wrap((u < p).astype(self.array.dtype)))

    __iadd__ = add_
    __isub__ = sub_
    __imul__ = mul_
    __itruediv__ = div_
    __ipow__ = pow_
    __ifloordiv__ = floor_divide_
    __imod__ = remainder_
    __iand__ = _in_place(ops.bitwise_and)
    __ior__ = _in_place(ops.bitwise_or)
    __ixor__ = _in_place(ops.bitwise_xor)


def _recorded(value: Any) -> bool:
    return isinstance(value, tape._TensorClass) and value.node is not None


def _fitting(value: Tensor, shape: tuple[int, ...]) -> Tensor:
    """The value broadcast to the place that it is assigned to; sizes of 1 too many in front do not count."""
    old = value.array.shape
    extra = max(len(old) - len(shape), 0)
    if old[:extra] != (1,) * extra:
        raise misfit(old, shape)
    try:
        return ops.broadcast_to(ops.reshape(value, old[extra:]), shape)
    except ValueError:
        raise misfit(old, shape) from None


# ------------------------------------------------------------------------------- writing through a view, on the tape


def _may_be_recorded(name: str, x: Tensor) -> None:
    """Refuse what no gradient could follow: leaves, and views whose base does not know of them."""
    leaf = (
        f"{name}: a leaf that requires a gradient cannot be changed in place while recording; "
        "do it under minidl.no_grad()"
    )
    if x.node is not None and x.is_leaf:
        raise RuntimeError(leaf)
    base = x
    if isinstance(x.storage, View):
        if x.storage.base is None:
            raise RuntimeError(
                f"{name}: this view was made under no_grad(), and its base's gradient would not learn of the change; "
                "make the view where recording is on"
            )
        base = x.storage.base
        if tape.root_of(base) is not x.storage.root:
            raise RuntimeError(
                f"{name}: this was a view of a tensor whose data has been replaced (x.data = ...); take the view anew"
            )
        if base.node is not None and base.is_leaf:
            raise RuntimeError(f"{leaf} (this tensor is a view of the leaf)")
    for view in _views_of(base):
        if view.node is not None and view.is_leaf:
            raise RuntimeError(f"{leaf} (a view of the same memory is the leaf)")


def _views_of(base: Tensor) -> list[Tensor]:
    views = tape.root_of(base).views()
    return [v for v in views if isinstance(v.storage, View) and v.storage.base is base]


def _record_write(name: str, x: Tensor, new: Tensor) -> None:
    """x has new's values now. Its base gets a place on the tape in which that part is new's, and every view follows.

    All nodes are younger than the write: what was recorded before it sees a change, what comes after does not.
    """
    base = x.storage.base if isinstance(x.storage, View) and x.storage.base is not None else x
    old = wrap(base.array, base.node)
    if base is not x:
        region = Region.of(base.array, x.array)
        kept, flowing = lambda G: cleared(G, region), lambda G: taken(G, region)
    else:  # the whole is overwritten: nothing flows back into what it was
        kept, flowing = lambda G: wrap(np.zeros_like(G.array)), lambda G: G
    kept.__qualname__ = flowing.__qualname__ = name
    if base is x and new.node is not None:
        _move(base, tape.record(base.array, new, flowing).node)
    else:
        _move(base, tape.record(base.array, old, kept, new, flowing).node)
    for view in _views_of(base):
        _move(view, _seen_again(base, view))


def _seen_again(base: Tensor, view: Tensor) -> Node | None:
    """The place on the tape of a view whose base has a new one."""
    region = Region.of(base.array, view.array)
    return tape.record(view.array, base, lambda G: placed(G, region)).node


def _move(x: Tensor, node: Node | None) -> None:
    """Give x its new place on the tape; retain_grad() goes with it."""
    if x.node is not None and node is not None and x.node.extra is not None and x.node.extra.retain:
        x.node.extra.retain = False
        node.more().retain = True
    x.node = node
