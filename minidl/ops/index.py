"""Indexing, gathering and scattering."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from .._dtypes import int64
from ..kernels import kernel
from ..kernels.arrays import mixed, names
from ..tape import record, view, wrap
from ._common import broadcast, constant, dim_of, integers, renamed, sequence, sizes_of, tensor_of
from .elementwise import where
from .shape import _pad, broadcast_to, reshape

if TYPE_CHECKING:
    from .._tensor import Tensor


class ValuesAndIndices(NamedTuple):
    """What max, min, sort and topk give along a dimension."""

    values: Tensor
    indices: Tensor


def _index_of(index: Any, name: str) -> tuple[Any, bool, Any]:
    """A NumPy index from one that may hold tensors, whether it is basic (gives a view), and what is left to index then.

    Something is left where whole numbers or single bools stand beside arrays: as PyTorch, they are taken first, so that
    they do not decide where the arrays' dimensions go: x[0, :, [1, 2]] is x[0][:, [1, 2]].
    """
    parts: tuple[Any, ...] = index if isinstance(index, tuple) else (index,)
    part: Any
    found: list[Any] = []
    arrays = single = False
    for part in parts:
        if hasattr(part, "array"):
            part = part.array
            if part.dtype == np.uint8:  # which once stood for bool
                part = part.astype(np.bool_)
        if isinstance(part, (list, np.ndarray)) or part.__class__ in names:
            given = part
            try:
                part = np.asarray([p.tolist() if hasattr(p, "array") else p for p in part]) if isinstance(part, list) else part
            except ValueError:
                raise TypeError(f"{name}: the list holds neither numbers nor bools of one shape") from None
            if isinstance(given, list) and part.size == 0:
                part = part.astype(int64)
            if part.dtype.kind not in "iub":
                raise TypeError(f"{name}: index arrays hold integers or bools, got {part.dtype.name}")
            if part.ndim:
                arrays = True
            else:
                part, single = part.item(), True
        elif isinstance(part, (int, np.integer, np.bool_)):
            single = True
        elif isinstance(part, slice):
            if part.step is not None and part.step <= 0:
                raise ValueError(f"{name}: the step of a slice must be positive, got {part.step}; use flip to reverse")
        elif part is not None and part is not Ellipsis:
            raise TypeError(f"{name}: cannot index with {type(part).__name__}")
        found.append(part)
    if single and (arrays or any(isinstance(part, (bool, np.bool_)) for part in found)):
        first, rest = _numbers_first(found)
        return first, True, rest
    return tuple(found), not arrays, None


def _numbers_first(parts: list[Any]) -> tuple[tuple[Any, ...], Any]:
    """An index in two steps: slices, None and whole numbers, then arrays and masks; a bool is a mask of one element."""
    first: list[Any] = []
    second: list[Any] = []
    part: Any
    for part in parts:
        if isinstance(part, (bool, np.bool_)):
            first.append(None)
            second.append(np.array([part]))
        elif type(part) in names:
            first += [slice(None)] * (part.ndim if part.dtype.kind == "b" else 1)
            second.append(part)
        else:
            first.append(part)
            if not isinstance(part, (int, np.integer)):
                second.append(part if part is Ellipsis else slice(None))
    return tuple(first), tuple(second)


def getitem(input: Tensor, index: Any) -> Tensor:
    """Y = X[index]

    ∂L/∂X = add_at(zeros_like(X), index, G)

    NumPy's rules: integers, slices, None and `...` give a view; index arrays and masks give a copy, and an element
    that is taken twice gets both gradients.
    """
    x = tensor_of(input, "getitem")
    at, basic, rest = _index_of(index, "index")
    if not basic:
        at = _there(x, at)
    try:
        Y = x.array[at]
    except IndexError as error:
        raise IndexError(f"index: shape {x.array.shape}: {error}") from None
    shape = x.array.shape
    if basic:
        if isinstance(Y, np.generic):
            Y = x.array[at + (Ellipsis,)]  # one element, as a 0-d view
        y = view(Y, x, lambda G: _place(G, at, shape, True))
        return y if rest is None else getitem(y, rest)
    if x.node is not None:
        at = _own(at)
    return record(Y, x, lambda G: _place(G, at, shape, False))


def _there(x: Tensor, index: Any) -> Any:
    """The index with the CPU's arrays brought to x's device; RuntimeError for another device's, as PyTorch's."""
    kind = x.array.__class__
    for part in index:
        if part.__class__ in names and part.__class__ is not kind and part.__class__ is not np.ndarray:
            raise mixed(kind, part.__class__)
    if kind is np.ndarray:
        return index
    return tuple(np.asarray(part, like=x.array) if part.__class__ is np.ndarray else part for part in index)


def _own(index: tuple[Any, ...]) -> Any:
    """The index with arrays of its own, which nobody changes before a derivative reads them."""
    return tuple([each.copy() if type(each) in names else each for each in index])


def _place(g: Tensor, at: Any, shape: tuple[int, ...], basic: bool) -> Tensor:
    """Zeros with g added at an index: the derivative of getitem, and the other way round."""
    Y = np.zeros(shape, g.array.dtype, like=g.array)
    if basic:
        Y[at] = g.array
    else:
        np.add.at(Y, at, g.array)
    return record(Y, g, lambda G: getitem(G, at))


def index_put(input: Tensor, index: Any, value: Any) -> Tensor:
    """Y = put(X, index, VALUE)

    ∂L/∂X = put(G, index, 0)
    ∂L/∂VALUE = G[index]

    X with VALUE at index: what `x[index] = value` records.
    """
    x = tensor_of(input, "index_put")
    at, basic, rest = _index_of(index, "index assignment")
    if not basic:
        at = _there(x, at)
    if not hasattr(value, "array"):
        value = constant(np.asarray(value, x.array.dtype, like=x.array))
    if rest is not None:
        return index_put(x, at, index_put(getitem(x, at), rest, value))
    Y = x.array.copy()
    value = put(Y, at, value)
    if x.node is not None or value.node is not None:
        at = _own(at)
    return record(Y, x, lambda G: index_put(G, at, 0.0), value, lambda G: getitem(G, at))


def put(array: np.ndarray, at: Any, value: Tensor) -> Tensor:
    """Write the value to a place in the array; gives it without sizes of 1 in front that were too many."""
    try:
        array[at] = value.array
        return value
    except IndexError as error:
        raise IndexError(f"index assignment: shape {array.shape}: {error}") from None
    except (ValueError, TypeError):
        place, shape = array[at].shape, value.array.shape
        extra = max(len(shape) - len(place), 0)
        if not extra or shape[:extra] != (1,) * extra:
            raise misfit(shape, place) from None
        return put(array, at, reshape(value, shape[extra:]))


def misfit(value: tuple[int, ...], place: tuple[int, ...]) -> Exception:
    return ValueError(f"index assignment: a value of shape {value} does not fit the {place} that the index names")


def check_dtype(x: Tensor, at: Any, value: Tensor) -> None:
    """Through an index array the value's dtype must be the tensor's; one element for a mask may have any."""
    if value.array.dtype != x.array.dtype:
        arrays: list[Any] = [part for part in at if type(part) in names]
        mask = len(arrays) == 1 and arrays[0].dtype.kind == "b"
        if not (mask and value.array.size == 1):
            raise TypeError(
                f"index assignment: through index arrays a value of {value.array.dtype.name} does not go into a tensor of "
                f"{x.array.dtype.name}; convert it with .to(dtype)"
            )


def _gathered(name: str, x: Tensor, dim: int, index: Any) -> tuple[Tensor, int, Tensor]:
    x = tensor_of(x, name)
    index = integers(index, name, "index")
    if index.array.__class__ is not x.array.__class__:
        raise mixed(x.array.__class__, index.array.__class__)
    axis = dim_of(dim, x.array.ndim, name)
    if max(x.array.ndim, 1) != max(index.array.ndim, 1):  # a number counts as a vector of one element
        raise ValueError(f"{name}: index has {index.array.ndim} dimensions, the tensor {x.array.ndim}; they must agree")
    return x, axis, index


def _check_range(name: str, index: np.ndarray, size: int, axis: int) -> None:
    """IndexError for an index outside 0 ... size - 1: the words for what a kernel refused."""
    low, high = (int(index.min()), int(index.max())) if index.size else (0, 0)
    if low < 0 or high >= size:
        bad = low if low < 0 else high
        raise IndexError(f"{name}: index {bad} is out of range for size {size} of dimension {axis}")


def gather(input: Tensor, dim: int, index: Tensor) -> Tensor:
    """Y[...,i] = X[...,INDEX[...,i]]

    ∂L/∂X[...,j] = Σ[i] (G[...,i] if INDEX[...,i] == j else 0)

    index: int64, as many dimensions as x, nowhere larger than x but along dim.
    """
    if integers(index, "gather", "index").array.size == 0:  # nothing to look up, whatever the dimensions
        dim_of(dim, tensor_of(input, "gather").array.ndim, "gather")
        return getitem(reshape(input, -1), (np.zeros(index.array.shape, np.int64),))
    x, axis, index = _gathered("gather", input, dim, index)
    if x.array.ndim == 0 or index.array.ndim == 0:
        return reshape(gather(reshape(x, -1), 0, reshape(index, -1)), index.array.shape)
    for i, (n, size) in enumerate(zip(index.array.shape, x.array.shape, strict=True)):
        if i != axis and n > size:
            raise ValueError(f"gather: index shape {index.array.shape} exceeds shape {x.array.shape} in dimension {i}")
    shape = x.array.shape

    def derivative(G: Tensor) -> Tensor:
        return scatter_add(constant(np.zeros(shape, G.array.dtype, like=G.array)), axis, index, G)

    try:
        Y = kernel(x).gather(x.array, axis, index.array)
    except ValueError:
        _check_range("gather", index.array, shape[axis], axis)
        raise
    return record(Y, x, derivative)


def scatter_add(input: Tensor, dim: int, index: Tensor, src: Tensor) -> Tensor:
    """Y[...,j] = X[...,j] + Σ[i] (SRC[...,i] if INDEX[...,i] == j else 0)

    ∂L/∂X = G
    ∂L/∂SRC[...,i] = G[...,INDEX[...,i]]

    index: int64, as many dimensions as x and src, nowhere larger than src, nor than x but along dim.
    """
    x, axis, index = _gathered("scatter_add", input, dim, index)
    src = tensor_of(src, "scatter_add")
    if src.array.dtype != x.array.dtype:
        raise TypeError(f"scatter_add: src is {src.array.dtype.name}, the tensor {x.array.dtype.name}; convert one")
    if max(src.array.ndim, 1) != max(index.array.ndim, 1):
        raise ValueError(f"scatter_add: src has {src.array.ndim} dimensions, index {index.array.ndim}; they must agree")
    if 0 in (x.array.ndim, src.array.ndim, index.array.ndim):
        flat = scatter_add(reshape(x, -1), 0, reshape(index, -1), reshape(src, -1))
        return reshape(flat, x.array.shape)
    for i, (n, s, size) in enumerate(zip(index.array.shape, src.array.shape, x.array.shape, strict=True)):
        if n > s or (i != axis and n > size):
            raise ValueError(
                f"scatter_add: index shape {index.array.shape} exceeds src {src.array.shape} or {x.array.shape} "
                f"in dimension {i}"
            )
    at = tuple(slice(n) for n in index.array.shape)
    try:
        Y = kernel(x).scatter_add(x.array, axis, index.array, src.array)
    except ValueError:
        _check_range("scatter_add", index.array, x.array.shape[axis], axis)
        raise
    shape = src.array.shape
    return record(Y, x, lambda G: G, src, lambda G: _place(gather(G, axis, index), at, shape, True))


def take_along_dim(input: Tensor, indices: Tensor, dim: int | None = None) -> Tensor:
    """Y[...,i] = X[...,INDICES[...,i]]

    As gather, but indices broadcast with x in the other dimensions; without dim both are flattened.
    """
    x, indices = tensor_of(input, "take_along_dim"), integers(indices, "take_along_dim", "indices")
    if dim is not None and (indices.array < 0).any():  # from the end; the smallest stay negative, and gather refuses them
        n = x.array.shape[dim_of(dim, x.array.ndim, "take_along_dim")] if x.array.ndim else 1
        indices = constant(np.where(indices.array < 0, indices.array + n, indices.array))
    if dim is None:
        _check_range("take_along_dim", indices.array, x.array.size, 0)
        return gather(reshape(x, -1), 0, reshape(indices, -1))
    axis = dim_of(dim, x.array.ndim, "take_along_dim")
    if x.array.ndim != indices.array.ndim:
        raise ValueError(
            f"take_along_dim: indices have {indices.array.ndim} dimensions, the tensor {x.array.ndim}; they must agree"
        )
    xs, ns = list(x.array.shape), list(indices.array.shape)
    n, xs[axis], ns[axis] = ns[axis], 1, 1
    both = list(broadcast("take_along_dim", tuple(xs), tuple(ns)))
    both[axis] = x.array.shape[axis]
    x = broadcast_to(x, both)
    both[axis] = n
    try:
        return gather(x, axis, broadcast_to(indices, both))
    except IndexError as error:
        raise renamed(error, "gather", "take_along_dim") from None


def index_select(input: Tensor, dim: int, index: Tensor) -> Tensor:
    """Y[...,i] = X[...,INDEX[i]]

    The slices of x along dim that index (1-D, int64) names. A copy.
    """
    x = tensor_of(input, "index_select")
    index = integers(index, "index_select", "index")
    axis = dim_of(dim, x.array.ndim, "index_select")
    if x.array.ndim == 0:
        return reshape(index_select(reshape(x, 1), 0, index), ())
    if index.array.ndim > 1:
        raise ValueError(f"index_select: index must have one dimension, got shape {index.array.shape}")
    if index.array.size and (index.array.min() < 0 or index.array.max() >= x.array.shape[axis]):
        raise IndexError(f"index_select: indices must lie in 0 to {x.array.shape[axis] - 1}, the size of dimension {axis}")
    return getitem(x, (slice(None),) * axis + (index.array.reshape(-1),))


def masked_select(input: Tensor, mask: Tensor) -> Tensor:
    """Y = extract(MASK, X)

    The elements of x where mask is true, in order (1-D). mask: bool, broadcast with x.
    """
    x, mask = tensor_of(input, "masked_select"), tensor_of(mask, "masked_select")
    if mask.array.dtype.kind != "b":
        raise TypeError(f"masked_select: mask must be bool, got {mask.array.dtype.name}")
    shape = broadcast("masked_select", x.array.shape, mask.array.shape)
    return getitem(broadcast_to(x, shape), (np.broadcast_to(mask.array, shape),))


def masked_fill(input: Tensor, mask: Tensor, value: Any) -> Tensor:
    """Y = VALUE if MASK else X

    ∂L/∂X = where(MASK, 0, G)

    mask: bool, broadcast with x. value: a number or a tensor of 0 dimensions.
    """
    x, mask = tensor_of(input, "masked_fill"), tensor_of(mask, "masked_fill")
    if mask.array.dtype.kind != "b":
        raise TypeError(f"masked_fill: mask must be bool, got {mask.array.dtype.name}")
    if hasattr(value, "array") and value.array.ndim:
        raise ValueError(f"masked_fill: value must be a number or 0-d tensor, got shape {value.array.shape}")
    try:
        return where(mask, _of_dtype(value, x), x)
    except (TypeError, ValueError) as error:
        raise renamed(error, "where", "masked_fill") from None


def _of_dtype(value: Any, x: Tensor) -> Any:
    """A number or a 0-d tensor in x's dtype; ValueError where an infinity would have to become an integer."""
    kind = x.array.dtype.kind
    if hasattr(value, "array"):
        return value.to(x.dtype)
    if kind == "f":
        return value
    if kind in "iu" and not np.isfinite(value):
        raise ValueError(f"masked_fill: {value} does not fit into {x.array.dtype.name}; convert with .float() first")
    return constant(np.asarray(value, like=x.array).astype(x.array.dtype))


def nonzero(input: Tensor, *, as_tuple: bool = False) -> Any:
    """Y = argwhere(X)

    The indices of the elements that are not 0, in order: int64 of shape (count, dimensions); as_tuple: one 1-D tensor a dimension instead.
    """
    x = tensor_of(input, "nonzero")
    if as_tuple:
        return tuple(wrap(i) for i in np.nonzero(np.atleast_1d(x.array)))
    return wrap(np.argwhere(x.array).astype(int64))


def pad(input: Tensor, pad: Sequence[int], mode: str = "constant", value: float | None = None) -> Tensor:
    """Y[...,i] = X[...,i - low] if low <= i < low + size(X, -1) else value

    ∂L/∂X[...,i] = G[...,i + low]
    low = pad[0]

    pad: (low, high) of the last dimension, then of the one before it, ...; negative numbers cut. mode: "constant", or
    what stands beyond the edge: "reflect" (the mirror image, without the edge itself), "replicate" (the edge) or
    "circular" (the other end). These three pad all dimensions but the first, or but the first two.
    """
    x = tensor_of(input, "pad")
    amounts, ndim = sizes_of(sequence(pad, "pad", "pad"), "pad"), x.array.ndim
    if len(amounts) % 2 or len(amounts) > 2 * ndim:
        raise ValueError(f"pad: needs a pair (low, high) for at most {ndim} dimensions, got {amounts}")
    rest = (0,) * (ndim - len(amounts) // 2)
    low, high = rest + amounts[-2::-2], rest + amounts[::-2]
    for a, n, b in zip(low, x.array.shape, high, strict=True):
        if mode == "constant" and (a + n + b < 0 or -a > n or -b > n):
            raise ValueError(f"pad: {amounts} cuts more from shape {x.array.shape} than there is")
    if mode == "constant":
        return _pad(x, low, high, 0.0 if value is None else value)
    if mode not in ("reflect", "replicate", "circular"):
        raise ValueError(f"pad: mode must be 'constant', 'reflect', 'replicate' or 'circular', got {mode!r}")
    if value:
        raise ValueError(f"pad: mode {mode!r} takes no value, got {value}; only 'constant' does")
    if len(rest) not in (1, 2) or not 2 <= ndim <= 5:
        raise ValueError(f"pad: mode {mode!r} pads all dimensions but the first one or two; {amounts} is not so for {ndim}")
    for axis in range(len(rest), ndim):
        beyond = _beyond(mode, low[axis], x.array.shape[axis], high[axis])
        x = getitem(x, (slice(None),) * axis + (beyond,))
    return x


def _beyond(mode: str, low: int, n: int, high: int) -> np.ndarray:
    """Which of n elements stand at the places -low, ..., n + high - 1."""
    most = n - 1 if mode == "reflect" else n if mode == "circular" else max(low, high)
    if n == 0 or max(low, high) > most or low + n + high < 1:
        raise ValueError(f"pad: mode {mode!r} cannot pad {n} elements by ({low}, {high}); at most {most} are there to take")
    places = np.arange(-low, n + high)
    if mode == "reflect":
        return n - 1 - np.abs(n - 1 - np.abs(places))
    if mode == "replicate":
        return np.clip(places, 0, n - 1)
    start, end = max(-low, 0), n - max(-high, 0)  # what is cut off does not come back at the other end
    return start + (places - start) % max(end - start, 1)
