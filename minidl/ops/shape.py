"""Operations that move elements and compute nothing. Most are views: they share their input's memory."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..tape import record, share
from ..tape import view as record_view
from ._common import constant, dim_of, promote_all, sequence, sizes_of, tensor_of, whole

if TYPE_CHECKING:
    from .._tensor import Tensor


def _new_shape(name: str, shape: tuple[int, ...], sizes: tuple[int, ...]) -> tuple[int, ...]:
    """sizes with its -1 replaced by what is left."""
    if math.prod(sizes) == math.prod(shape) and min(sizes, default=0) >= 0:
        return sizes
    if sum(s == -1 for s in sizes) > 1 or any(s < -1 for s in sizes):
        raise ValueError(f"{name}: sizes {sizes} may hold one -1 and no other negative number")
    n = math.prod(shape)
    if -1 in sizes:
        known = math.prod(s for s in sizes if s != -1)
        if known == 0 or n % known:
            raise ValueError(f"{name}: {n} elements of shape {shape} do not fill shape {sizes}")
        sizes = tuple(n // known if s == -1 else s for s in sizes)
    if math.prod(sizes) != n:
        raise ValueError(f"{name}: shape {shape} has {n} elements, shape {sizes} has {math.prod(sizes)}")
    return sizes


def reshape(input: Tensor, *sizes: Any, shape: Any = None) -> Tensor:
    """Y.flat[i] = X.flat[i]

    ∂L/∂X.flat[i] = G.flat[i]

    The sizes one by one, or as one tuple (`shape`); one of them may be -1: what is left. A view where the memory allows
    it, else a copy.
    """
    x = tensor_of(input, "reshape")
    old = x.array.shape
    Y = x.array.reshape(_new_shape("reshape", old, sizes_of(sizes if shape is None else (shape,), "reshape")))
    owner = x.array if x.array.base is None else x.array.base
    if Y.base is owner or Y.base is not None and np.may_share_memory(Y, x.array):
        return record_view(Y, x, lambda G: reshape(G, old))
    return record(Y, x, lambda G: reshape(G, old))


def view(input: Tensor, *shape: Any, size: Any = None) -> Tensor:
    """Y.flat[i] = X.flat[i]

    ∂L/∂X.flat[i] = G.flat[i]

    As reshape, but never a copy: ValueError where the memory's order does not allow it.
    """
    x = tensor_of(input, "view")
    shape = shape if size is None else (size,)
    if len(shape) == 1 and not isinstance(shape[0], (int, np.integer, tuple, list)):
        raise TypeError(f"view: sizes must be integers, got {shape[0]!r}; to change the dtype use .to(dtype)")
    y = reshape(x, _new_shape("view", x.array.shape, sizes_of(shape, "view")))
    if y.array.size and not np.may_share_memory(y.array, x.array):
        raise ValueError(
            f"view: shape {x.array.shape} with strides {x.array.strides} cannot be seen as {y.array.shape} "
            "without a copy; use reshape, or contiguous() first"
        )
    return y


def flatten(input: Tensor, start_dim: int = 0, end_dim: int = -1) -> Tensor:
    """Y.flat[i] = X.flat[i]

    ∂L/∂X.flat[i] = G.flat[i]

    Dimensions start_dim to end_dim become one.
    """
    x = tensor_of(input, "flatten")
    start, end = dim_of(start_dim, x.array.ndim, "flatten"), dim_of(end_dim, x.array.ndim, "flatten")
    if start > end:
        raise ValueError(f"flatten: start_dim {start_dim} comes after end_dim {end_dim}")
    shape = x.array.shape
    return reshape(x, (*shape[:start], math.prod(shape[start : end + 1]), *shape[end + 1 :]))


def unflatten(input: Tensor, dim: int, sizes: Sequence[int]) -> Tensor:
    """Y.flat[i] = X.flat[i]

    ∂L/∂X.flat[i] = G.flat[i]

    Dimension dim becomes several of these sizes (one may be -1).
    """
    x = tensor_of(input, "unflatten")
    axis, shape = dim_of(dim, x.array.ndim, "unflatten"), x.array.shape
    new = _new_shape("unflatten", (shape[axis],), sizes_of(sequence(sizes, "unflatten", "sizes"), "unflatten"))
    return reshape(x, (*shape[:axis], *new, *shape[axis + 1 :]))


def permute(input: Tensor, *order: Any, dims: Any = None) -> Tensor:
    """Y = permute(X, dims)

    ∂L/∂X = permute(G, inverse(dims))

    Dimension k of Y is dimension dims[k] of X; a view.
    """
    x = tensor_of(input, "permute")
    dims = sizes_of(order if dims is None else (dims,), "permute")
    axes = tuple(dim_of(d, x.array.ndim, "permute") for d in dims)
    if sorted(axes) != list(range(x.array.ndim)):
        raise ValueError(f"permute: dims {dims} must name each of the {x.array.ndim} dimensions once")
    inverse = tuple(sorted(range(len(axes)), key=axes.__getitem__))
    return record_view(x.array.transpose(axes), x, lambda G: permute(G, inverse))


def transpose(input: Tensor, dim0: int, dim1: int) -> Tensor:
    """Y[...,j,i] = X[...,i,j]

    ∂L/∂X[...,i,j] = G[...,j,i]

    Dimensions dim0 (i) and dim1 (j) are exchanged; a view.
    """
    x = tensor_of(input, "transpose")
    i, j = dim_of(dim0, x.array.ndim, "transpose"), dim_of(dim1, x.array.ndim, "transpose")
    if x.array.ndim == 0:
        return record_view(x.array.view(), x, lambda G: G)
    return record_view(x.array.swapaxes(i, j), x, lambda G: transpose(G, i, j))


def t(input: Tensor) -> Tensor:
    """Y[j,i] = X[i,j]

    ∂L/∂X[i,j] = G[j,i]

    At most two dimensions; a view.
    """
    x = tensor_of(input, "t")
    if x.array.ndim > 2:
        raise ValueError(f"t: expects at most 2 dimensions, got {x.array.ndim}; use transpose or permute")
    return record_view(x.array.T, x, lambda G: t(G))


def squeeze(input: Tensor, dim: int | Sequence[int] | None = None) -> Tensor:
    """Y.flat[i] = X.flat[i]

    ∂L/∂X.flat[i] = G.flat[i]

    Dimensions of size 1 vanish: all of them, or those of `dim` that have size 1.
    """
    x = tensor_of(input, "squeeze")
    shape = x.array.shape
    if dim is None:
        asked = set(range(len(shape)))
    else:
        dims = dim if isinstance(dim, (tuple, list)) else (dim,)
        asked = {dim_of(d, len(shape), "squeeze") for d in dims}
        if len(asked) < len(dims):
            raise ValueError(f"squeeze: a dimension appears twice in dim={dim}")
    return reshape(x, tuple(n for i, n in enumerate(shape) if n != 1 or i not in asked))


def unsqueeze(input: Tensor, dim: int) -> Tensor:
    """Y.flat[i] = X.flat[i]

    ∂L/∂X.flat[i] = G.flat[i]

    A new dimension of size 1 at dim.
    """
    x = tensor_of(input, "unsqueeze")
    shape = x.array.shape
    axis = dim_of(dim, len(shape) + 1, "unsqueeze")
    return reshape(x, (*shape[:axis], 1, *shape[axis:]))


def _repeated(array: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """np.broadcast_to, several times as quick where it is simple: steps of 0 along what is repeated."""
    lead = len(shape) - array.ndim
    if lead < 0 or 0 in shape or array.__class__ is not np.ndarray or not array.flags.c_contiguous or array.dtype.kind != "f":
        return np.broadcast_to(array, shape)
    steps = [0] * lead
    for size, n, step in zip(shape[lead:], array.shape, array.strides):
        if size != n and n != 1:
            return np.broadcast_to(array, shape)  # raises
        steps.append(step if size == n else 0)
    y: np.ndarray = np.ndarray(shape, array.dtype, array, 0, steps)
    y.flags.writeable = False
    return y


def broadcast_to(input: Tensor, size: Sequence[int]) -> Tensor:
    """Y[...] = X[...]

    ∂L/∂X[...] = G[...]

    X repeated to the given sizes, a read-only view; the tape sums the gradient over the repetitions.
    """
    x = tensor_of(input, "broadcast_to")
    sizes = sizes_of((size,), "broadcast_to")
    if sizes == x.array.shape:
        return record_view(x.array.view(), x, lambda G: G)  # nothing is repeated: it can be written to
    try:
        Y = _repeated(x.array, sizes)
    except ValueError:
        raise ValueError(f"broadcast_to: shape {x.array.shape} cannot be repeated to {sizes}") from None
    return record_view(Y, x, lambda G: G)


def expand(input: Tensor, *sizes: Any, size: Any = None) -> Tensor:
    """Y[...] = X[...]

    X repeated to the given sizes. -1 keeps a dimension's size. A read-only view; the tape sums the gradient over the repetitions.
    """
    x = tensor_of(input, "expand")
    new, old = sizes_of(sizes if size is None else (size,), "expand"), x.array.shape
    lead = len(new) - len(old)
    if lead < 0:
        raise ValueError(f"expand: {len(new)} sizes for {len(old)} dimensions; give at least one for each")
    if any(n == -1 for n in new[:lead]):
        raise ValueError(f"expand: -1 in {new} stands for a dimension that shape {old} does not have")
    full = tuple(old[i - lead] if n == -1 else n for i, n in enumerate(new))
    if any(n < 0 for n in full) or any(o not in (1, n) for o, n in zip(old, full[lead:], strict=True)):
        raise ValueError(f"expand: shape {old} cannot be repeated to {new}; only dimensions of size 1 grow")
    return broadcast_to(x, full)


def cat(tensors: Sequence[Tensor], dim: int = 0) -> Tensor:
    """Y = concatenate(TENSORS, dim)

    ∂L/∂X_k = narrow(G, dim, start_k, size(X_k, dim))

    The tensors X_k one after another along dim, each from start_k on. Sizes must agree in the other dimensions. Each gets its own slice of the gradient.
    """
    xs = promote_all(tensors, "cat")
    xs = [x for x in xs if x.array.shape != (0,)] or xs[:1]  # an empty vector joins anything, as PyTorch's
    axis = dim_of(dim, xs[0].array.ndim, "cat")
    if xs[0].array.ndim == 0:
        raise ValueError("cat: tensors of 0 dimensions cannot be joined; use stack")
    first = xs[0].array.shape
    for i, x in enumerate(xs):
        shape = x.array.shape
        if len(shape) != len(first) or shape[:axis] + shape[axis + 1 :] != first[:axis] + first[axis + 1 :]:
            raise ValueError(
                f"cat: tensor {i} has shape {shape}, tensor 0 has {first}; they may differ only in dimension {axis}"
            )

    def slice_of(start: int, n: int) -> Any:
        return lambda G: narrow(G, axis, start, n)

    inputs: list[Any] = []
    start = 0
    for x in xs:
        inputs += [x, slice_of(start, x.array.shape[axis])]
        start += x.array.shape[axis]
    return record(np.concatenate([x.array for x in xs], axis), *inputs)


def stack(tensors: Sequence[Tensor], dim: int = 0) -> Tensor:
    """Y = stack(TENSORS, dim)

    The tensors side by side along a new dimension dim. All of one shape; a composition of unsqueeze and cat.
    """
    xs = promote_all(tensors, "stack")
    for i, x in enumerate(xs):
        if x.array.shape != xs[0].array.shape:
            raise ValueError(f"stack: tensor {i} has shape {x.array.shape}, tensor 0 has {xs[0].array.shape}")
    axis = dim_of(dim, xs[0].array.ndim + 1, "stack")
    return cat([unsqueeze(x, axis) for x in xs], axis)


def narrow(input: Tensor, dim: int, start: int, length: int) -> Tensor:
    """Y[...,i] = X[...,start + i]

    ∂L/∂X[...,i] = G[...,i - start] if start <= i < start + length else 0

    A view of `length` elements along dim.
    """
    x = tensor_of(input, "narrow")
    axis = dim_of(dim, x.array.ndim, "narrow")
    if x.array.ndim == 0:
        raise ValueError("narrow: a tensor of 0 dimensions has nothing to narrow")
    n = x.array.shape[axis]
    start, length = whole(start, "narrow", "start"), whole(length, "narrow", "length")
    if start < 0:
        start += n
    if not (0 <= start <= n and 0 <= length <= n - start):
        raise IndexError(f"narrow: start {start} and length {length} do not lie within size {n} of dimension {axis}")
    before, after = (0,) * axis, (0,) * (x.array.ndim - axis - 1)
    at = (slice(None),) * axis + (slice(start, start + length),)
    return record_view(
        x.array[at], x, lambda G: _pad(G, (*before, start, *after), (*before, n - start - length, *after), 0.0)
    )


def split(
    tensor: Tensor,
    split_size_or_sections: int | Sequence[int] | None = None,
    dim: int = 0,
    *,
    split_size: int | Sequence[int] | None = None,
) -> tuple[Tensor, ...]:
    """Y_k[...,i] = X[...,start_k + i]

    The pieces of X along dim, each from start_k on. Views. split_size_or_sections (as a method's argument split_size):
    the pieces' size (the last may be smaller), or a list of sizes that add up to the whole.
    """
    x = tensor_of(tensor, "split")
    wanted = split_size_or_sections if split_size is None else split_size
    axis = dim_of(dim, x.array.ndim, "split")
    if x.array.ndim == 0:
        raise ValueError("split: a tensor of 0 dimensions cannot be split")
    n = x.array.shape[axis]
    if isinstance(wanted, (tuple, list)):
        sizes = list(sizes_of((tuple(wanted),), "split"))
        if sum(sizes) != n or any(s < 0 for s in sizes):
            raise ValueError(f"split: sizes {sizes} must add up to {n}, the size of dimension {axis}")
    else:
        (size,) = sizes_of((wanted,), "split")
        if size <= 0 and not (size == 0 and n == 0):
            raise ValueError(f"split: split_size must be positive, got {size}")
        sizes = [min(size, n - i) for i in range(0, n, size)] if n else [0]
    starts = [sum(sizes[:k]) for k in range(len(sizes))]
    return tuple(narrow(x, axis, start, size) for start, size in zip(starts, sizes, strict=True))


def chunk(input: Tensor, chunks: int, dim: int = 0) -> tuple[Tensor, ...]:
    """Y_k[...,i] = X[...,start_k + i]

    At most `chunks` pieces of X along dim, each from start_k on. Views of size ceil(n / chunks), the last may be smaller.
    """
    x, chunks = tensor_of(input, "chunk"), whole(chunks, "chunk", "chunks")
    if chunks < 1:
        raise ValueError(f"chunk: chunks must be positive, got {chunks}")
    if x.array.ndim == 0:
        raise ValueError("chunk: a tensor of 0 dimensions cannot be taken apart")
    n = x.array.shape[dim_of(dim, x.array.ndim, "chunk")]
    return split(x, -(-n // chunks), dim) if n else split(x, [0] * chunks, dim)


def unbind(input: Tensor, dim: int = 0) -> tuple[Tensor, ...]:
    """Y_k[...] = X[...,k]

    Views, one for each index of dim, without that dimension.
    """
    x = tensor_of(input, "unbind")
    axis = dim_of(dim, x.array.ndim, "unbind")
    if x.array.ndim == 0:
        raise ValueError("unbind: a tensor of 0 dimensions has nothing to take apart")
    return tuple(squeeze(narrow(x, axis, k, 1), axis) for k in range(x.array.shape[axis]))


def flip(input: Tensor, *axes: Any, dims: Any = None) -> Tensor:
    """Y[...,i] = X[...,size(i) - 1 - i]

    ∂L/∂X[...,i] = G[...,size(i) - 1 - i]

    The order along dims is reversed. A copy, as PyTorch's.
    """
    x = tensor_of(input, "flip")
    dims = sizes_of(axes if dims is None else (dims,), "flip")
    at = tuple(dim_of(d, x.array.ndim, "flip") for d in dims)
    if len(set(at)) < len(at):
        raise ValueError(f"flip: a dimension appears twice in {dims}")
    return record(np.flip(x.array, at if x.array.ndim else ()).copy(), x, lambda G: flip(G, at))


def _pad(x: Tensor, low: tuple[int, ...], high: tuple[int, ...], value: float) -> Tensor:
    """x with so many elements of this value before and after each dimension (negative ones cut)."""
    shape = x.array.shape
    Y = np.full(tuple(a + n + b for a, n, b in zip(low, shape, high, strict=True)), value, x.array.dtype, like=x.array)
    inner = tuple(slice(max(a, 0), max(a, 0) + n + min(a, 0) + min(b, 0)) for a, n, b in zip(low, shape, high))
    source = tuple(slice(max(-a, 0), n - max(-b, 0)) for a, n, b in zip(low, shape, high))
    Y[inner] = x.array[source]
    back = tuple(-a for a in low), tuple(-b for b in high)
    return record(Y, x, lambda G: _pad(G, *back, 0.0))


def clone(input: Tensor) -> Tensor:
    """Y = X

    ∂L/∂X = G

    A copy with memory of its own.
    """
    x = tensor_of(input, "clone")
    return record(x.array.copy(), x, lambda G: G)


def contiguous(input: Tensor) -> Tensor:
    """Y = X

    ∂L/∂X = G

    x itself where its memory is in row order, else a copy that is.
    """
    x = tensor_of(input, "contiguous")
    return x if x.array.flags.c_contiguous else record(x.array.copy(), x, lambda G: G)


def detach(input: Tensor) -> Tensor:
    """Y = X

    The same memory, cut off from the tape: nothing flows back through it.
    """
    y = constant(tensor_of(input, "detach").array)
    share(y, input)
    return y
