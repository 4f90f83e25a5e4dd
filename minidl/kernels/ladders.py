"""Ladders: a kernel in several forms, each with one idea more than the one before, up to the one that ships.

    minidl.kernels.matmul.blocked(a, b)             one rung, called as the verb in `reference` is
    for name, rung in minidl.kernels.matmul: ...    all of them, from the slowest to the fastest
    help(minidl.kernels.matmul.blocked)             why it is faster than the one before

Rungs are plain functions: NumPy arrays in, a new array out. Index letters are the same in Python, Cython and C++. The
rung that ships is the same object as `minidl.kernels.native`'s; it works on all threads, as do those of conv2d from
im2col on, and every other rung on one. The loops stand below (Python), in csrc/matmul.pyx (Cython) and in
csrc/*_rungs.cpp (C++, compiled for each instruction set); those of matmul, sum and softmax in C++ work on contiguous
copies of what is not contiguous.

Compiled rungs take float32 or float64 arrays that fit together and refuse all else with a ValueError: a rung that
handed them to another one would be timed under a false name. Without compiled code they raise a RuntimeError.
"""

from __future__ import annotations

import inspect
import itertools
import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NoReturn

import numpy as np

from . import native, reference

try:
    from minidl import _matmul
except ImportError:
    _matmul = None  # type: ignore[assignment]

Array = np.ndarray
Pair = tuple[int, int]
Rung = Callable[..., Array]


class Ladder:
    """The rungs of one verb. `ladder.rung` or `ladder["rung"]` is one, iterating gives (name, function) from the
    slowest to the fastest, which is the one that ships; `reference` is the verb in NumPy that all of them agree with.
    """

    def __init__(self, name: str, reference: Rung, rungs: Mapping[str, Rung]) -> None:
        self.name, self.reference = name, reference
        self._rungs = dict(rungs)

    def __getitem__(self, rung: str) -> Rung:
        return self._rungs[rung]

    def __getattr__(self, rung: str) -> Rung:
        rungs = self.__dict__.get("_rungs", {})  # copy and pickle ask before there are any
        if rung not in rungs:
            raise AttributeError(f"{self.__dict__.get('name')}: no rung {rung!r}; there are {', '.join(rungs)}")
        return rungs[rung]

    def __iter__(self) -> Iterator[tuple[str, Rung]]:
        return iter(self._rungs.items())

    def __len__(self) -> int:
        return len(self._rungs)

    def __dir__(self) -> list[str]:
        return [*super().__dir__(), *self._rungs]

    def __repr__(self) -> str:
        width = max(map(len, self._rungs))
        lines = [f"  {name:{width}}  {_first_sentence(rung)}" for name, rung in self]
        return "\n".join([f"minidl.kernels.{self.name}: {len(self)} rungs, the last one ships", *lines])


def _first_sentence(rung: Rung) -> str:
    return " ".join((rung.__doc__ or "").split()).split(". ")[0].rstrip(".")


# -------------------------------------------------------------------------------------------- compiled rungs

# "ladder.rung" -> its docstring: the idea, then why it is faster than the rung before. The comments in csrc/ say more.
_WHY = {
    "matmul.naive": """The loops of `cython` in C++. Just as fast, for compilers make the same of both: every addition
    waits for the one before, and every number of B comes from a cache line of its own.""",
    "matmul.reordered": """The loops over j and k change places. The inner one runs along rows of B and C, uses cache
    lines whole and waits for nothing, so that the compiler makes vectors of it by itself.""",
    "matmul.blocked": """`reordered` block by block. A block of B that fits the first cache meets many rows of A
    before the next one comes; without blocks all of B comes from further away, once for each row.""",
    "matmul.vectorized": """A tile of C stays in the registers for the whole of k. Each vector of B that is loaded
    serves all rows of the tile, and C is written once; so far each product cost a load and a store of it.""",
    "matmul.packed": """The tile on copies of A and B in the order of use. What is read next lies next to what was
    read, edges are filled up with zeros, and the blocks fit the caches. On small matrices the copies cost more than
    they bring.""",
    "conv2d.direct": """The loops of `python` in C++. A number is no object, and an addition one instruction.""",
    "conv2d.im2col": """The windows are copied into a matrix and multiplied by the filter. The copy writes R * S times
    the image to memory, but then matmul's kernel does the work, in tiles of registers and on all threads.""",
    "conv2d.implicit": """The product of `im2col` without its matrix. In a zero-padded copy of the image every row of
    that matrix lies as one run, which the micro-kernel of matmul reads in place.""",
    "sum.scalar": """The loop of `python` in C++. A number is no object; but each addition waits for the one
    before.""",
    "sum.unrolled": """Four sums side by side, added up at the end. They do not wait for each other, so that several
    additions are under way at any time.""",
    "sum.vectorized": """Four vectors of sums. One instruction adds as many numbers as a vector holds.""",
    "softmax.scalar": """The loops of `python` in C++. A number is no object, and exp a short polynomial.""",
    "softmax.unrolled": """Four partial results side by side, and one division a row. Partial results do not wait for
    each other, and multiplying by 1 / sum is many times cheaper than dividing.""",
    "softmax.vectorized": """A vector in place of each number. One polynomial gives as many exponentials as a vector
    has lanes.""",
}
_TAKES = {
    "matmul": "a (..., M, K) and b (..., K, N)",
    "conv2d": "x (N, C, H, W), w (O, C / groups, R, S) within the padded image, b (O) or None, three pairs, groups",
    "sum": "x, a tuple of different axes counted from 0, and keepdims",
    "softmax": "x and one of its axes, counted from 0",
}


def _describe(x: Any) -> str:
    return f"{x.dtype} {x.shape}" if isinstance(x, np.ndarray) else repr(x)


def _refuse(name: str, *args: Any) -> NoReturn:
    raise ValueError(
        f"{name}: got {', '.join(map(_describe, args))}; expected {_TAKES[name.partition('.')[0]]}, "
        "arrays all float32 or all float64, of at most 8 dimensions"
    )


def _refusal(name: str) -> Rung:
    """What is called with the arguments that the compiled rung does not take; it also lends it its docstring."""

    def refuse(*args: Any) -> NoReturn:
        _refuse(name, *args)

    refuse.__doc__ = inspect.cleandoc(_WHY[name])
    return refuse


def _missing(name: str, doc: str | None) -> Rung:
    """What stands in the place of a rung that was not compiled."""

    def missing(*args: Any) -> NoReturn:
        raise RuntimeError(f"{name}: this rung was not compiled here; `minidl doctor` says why and what to type")

    missing.__name__ = missing.__qualname__ = name
    missing.__doc__ = inspect.cleandoc(doc or "")
    return missing


if native.available:
    from minidl import _native

    _compiled = _native.rungs({name: _refusal(name) for name in _WHY})
else:
    _compiled = {name: _missing(name, why) for name, why in _WHY.items()}


def _shipping(verb: str, rung: str) -> Rung:
    if verb in native.compiled:
        return getattr(native, verb)
    return _missing(f"{verb}.{rung}", "The kernel that ships, where there is compiled code.")


# --------------------------------------------------------------------------------------------------- matmul


def _each_matrix(multiply: Callable[[Array, Array, Array], None], a: Array, b: Array) -> Array:
    """multiply(a, b, c) for every pair of matrices of two batches that are broadcast against each other."""
    batch = np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    a, b = np.broadcast_to(a, batch + a.shape[-2:]), np.broadcast_to(b, batch + b.shape[-2:])
    c = np.empty((*batch, a.shape[-2], b.shape[-1]), np.result_type(a, b))
    for item in np.ndindex(batch):
        multiply(a[item], b[item], c[item])
    return c


def matmul_python(a: Array, b: Array) -> Array:
    """Three loops over Python's lists. C[i,j] = Σ[k] A[i,k] * B[k,j] as it stands: each number is an object, each `+`
    and `*` looks up what to do. (Python's float is a double: the sums are closer than float32's.)
    """

    def multiply(A: Array, B: Array, C: Array) -> None:
        rows, columns = A.tolist(), B.T.tolist()
        for i, row in enumerate(rows):
            for j, column in enumerate(columns):
                total = 0
                for k in range(len(row)):
                    total += row[k] * column[k]
                C[i, j] = total

    return _each_matrix(multiply, a, b)


def matmul_numpy(a: Array, b: Array) -> Array:
    """The loop over k is NumPy's. One call multiplies a whole row by a whole column, another adds up, both in
    compiled loops over plain numbers. (`a @ b` is no rung but the top of another ladder: the BLAS library that NumPy
    calls, and the reference here.)
    """

    def multiply(A: Array, B: Array, C: Array) -> None:
        for i, j in np.ndindex(C.shape):
            C[i, j] = (A[i] * B[:, j]).sum()

    return _each_matrix(multiply, a, b)


def matmul_cython(a: Array, b: Array) -> Array:
    """The loops of `python` with types, compiled by Cython. No objects, no calls: an addition is one instruction."""
    fits = a.dtype == b.dtype and a.dtype in (np.float32, np.float64) and min(a.ndim, b.ndim) >= 2
    if not fits or a.shape[-1] != b.shape[-2]:
        _refuse("matmul.cython", a, b)
    return _each_matrix(_matmul.matmul, a, b)


matmul = Ladder(
    "matmul",
    reference.matmul,
    {
        "python": matmul_python,
        "numpy": matmul_numpy,
        "cython": matmul_cython if _matmul else _missing("matmul.cython", matmul_cython.__doc__),
        "naive": _compiled["matmul.naive"],
        "reordered": _compiled["matmul.reordered"],
        "blocked": _compiled["matmul.blocked"],
        "vectorized": _compiled["matmul.vectorized"],
        "packed": _compiled["matmul.packed"],
        "parallel": _shipping("matmul", "parallel"),
    },
)

# --------------------------------------------------------------------------------------------------- conv2d


def conv2d_python(
    x: Array, w: Array, b: Array | None, stride: Pair, padding: Pair, dilation: Pair, groups: int
) -> Array:
    """Loops over Python's lists. Y[n,o,p,q] = b[o] + Σ[c,r,s] X[n,c,p+r,q+s] * W[o,c,r,s] as it stands, with stride,
    padding and dilation; each number is an object.
    """
    (N, _, H, W), (O, C, R, S) = x.shape, w.shape
    P, Q = (
        (size + 2 * padding[d] - dilation[d] * (taps - 1) - 1) // stride[d] + 1
        for d, (size, taps) in enumerate(((H, R), (W, S)))
    )
    X, F, bias = x.tolist(), w.tolist(), [0.0] * O if b is None else b.tolist()
    y = np.empty((N, O, P, Q), x.dtype)
    for n, o, p, q in np.ndindex(y.shape):
        first, total = o // (O // groups) * C, bias[o]
        for c, r, s in itertools.product(range(C), range(R), range(S)):
            h = p * stride[0] + r * dilation[0] - padding[0]
            v = q * stride[1] + s * dilation[1] - padding[1]
            if 0 <= h < H and 0 <= v < W:
                total += X[n][first + c][h][v] * F[o][c][r][s]
        y[n, o, p, q] = total
    return y


conv2d = Ladder(
    "conv2d",
    reference.conv2d,
    {
        "python": conv2d_python,
        "direct": _compiled["conv2d.direct"],
        "im2col": _compiled["conv2d.im2col"],
        "implicit": _compiled["conv2d.implicit"],
        "winograd": _shipping("conv2d", "winograd"),
    },
)

# ------------------------------------------------------------------------------------------ sum and softmax


def sum_python(x: Array, axes: tuple[int, ...], keepdims: bool) -> Array:
    """A loop over Python's lists. Y[i] = Σ[j] X[i,j] as it stands, i over what stays and j over what goes; each
    number is an object, each `+` looks up what to do.
    """
    kept = [d for d in range(x.ndim) if d not in axes]
    shape = [1 if d in axes else x.shape[d] for d in range(x.ndim) if keepdims or d not in axes]
    Y = []
    for row in x.transpose(*kept, *axes).reshape(math.prod(shape), math.prod(x.shape[d] for d in axes)).tolist():
        total = 0.0
        for number in row:
            total += number
        Y.append(total)
    return np.array(Y, x.dtype).reshape(shape)


def sum_numpy(x: Array, axes: tuple[int, ...], keepdims: bool) -> Array:
    """NumPy's sum. A compiled loop over plain numbers, eight sums side by side, and long rows half by half, so that
    rounding errors grow with the logarithm of their length.
    """
    return reference.sum(x, axes, keepdims)


def softmax_python(x: Array, axis: int) -> Array:
    """Loops over Python's lists. Y[i,j] = exp(X[i,j] - top) / Σ[j] exp(X[i,j] - top), where top is the largest of row
    i so that no exponential overflows; each number is an object.
    """
    rows = np.moveaxis(x, axis, -1)
    Y = []
    for row in rows.reshape(math.prod(rows.shape[:-1]), x.shape[axis]).tolist():
        top = max(row, default=0.0)
        exps = [math.exp(number - top) for number in row]
        total = 0.0
        for e in exps:
            total += e
        Y.append([e / total for e in exps])
    return np.ascontiguousarray(np.moveaxis(np.array(Y, x.dtype).reshape(rows.shape), -1, axis))


def softmax_numpy(x: Array, axis: int) -> Array:
    """NumPy's vector loops, one after the other. Each of five passes (largest, difference, exp, sum, division)
    handles several numbers at once, but writes its result to memory for the next one to read.
    """
    return reference.softmax(x, axis)


sum = Ladder(
    "sum",
    reference.sum,
    {
        "python": sum_python,
        "scalar": _compiled["sum.scalar"],
        "numpy": sum_numpy,
        "unrolled": _compiled["sum.unrolled"],
        "vectorized": _compiled["sum.vectorized"],
        "parallel": _shipping("sum", "parallel"),
    },
)

softmax = Ladder(
    "softmax",
    reference.softmax,
    {
        "python": softmax_python,
        "scalar": _compiled["softmax.scalar"],
        "unrolled": _compiled["softmax.unrolled"],
        "numpy": softmax_numpy,
        "vectorized": _compiled["softmax.vectorized"],
        "parallel": _shipping("softmax", "parallel"),
    },
)
