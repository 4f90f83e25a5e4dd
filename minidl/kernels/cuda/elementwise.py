"""Launch lines of csrc/elementwise.cu: Y[n] = f(X[n]), Y[n] = f(A[n], B[n]), a choice and bounds, with broadcasting.

An operand is an array, or a number that goes with the launch. Float32 and float64 take every function; int64, uint8 and
bool those that `INTEGER` lists. Numbers keep the arrays' type where NumPy's promotion does; else: NotImplemented.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .launch import TYPES, Array, Device, pieces
from .walk import lanes_of, walk

__all__ = ["BINARY", "INTEGER", "KERNELS", "UNARY", "VERBS", "binary", "unary"]

UNARY = tuple(
    "neg abs sign exp expm1 log log1p log2 sqrt rsqrt square reciprocal sin cos tanh sigmoid erf floor ceil round"
    " relu silu gelu gelu_tanh".split()
)
GRADIENTS = tuple(f"{name}_gradient" for name in "relu tanh sigmoid silu gelu gelu_tanh".split())
COMPARISONS = tuple("eq ne lt le gt ge".split())
BINARY = tuple("add sub mul div pow floor_divide remainder maximum minimum".split()) + COMPARISONS + GRADIENTS

# Which kernels serve integers: name -> dtype -> the kernel's name and type. Arithmetic wraps around as unsigned numbers
# do, with the same bits; the sum of two bools is the larger one, their product the smaller one.
SIGNED, UNSIGNED, BYTE = "long long", "unsigned long long", "unsigned char"
INTEGER: dict[str, dict[str, tuple[str, str]]] = {
    **{name: {"int64": (name, UNSIGNED)} for name in ("neg", "square")},
    **{name: {"int64": (name, SIGNED)} for name in ("abs", "sign", "floor_divide", "remainder")},
    **{name: {"int64": (name, UNSIGNED), "uint8": (name, BYTE)} for name in ("add", "sub", "mul")},
    **{
        name: {"int64": (name, SIGNED), "uint8": (name, BYTE), "bool": (name, BYTE)}
        for name in ("maximum", "minimum", *COMPARISONS)
    },
}
INTEGER["add"]["bool"], INTEGER["mul"]["bool"] = ("maximum", BYTE), ("minimum", BYTE)
SIZES = {1: "unsigned char", 2: "unsigned short", 4: "unsigned", 8: "unsigned long long"}


@dataclass(frozen=True)
class Source:
    """elementwise::Source<T>: an array, or a number of its type."""

    array: Array | None
    number: Any = None

    @property
    def shape(self) -> tuple[int, ...]:
        return () if self.array is None else self.array.shape

    def strides(self, shape: Sequence[int]) -> tuple[int, ...]:
        """In elements, when broadcast to `shape`."""
        if self.array is None:
            return (0,) * len(shape)
        wide = np.broadcast_to(self.array, shape)
        return tuple(stride // self.array.itemsize for stride in wide.strides)

    def pack(self, address: int = 0) -> bytes:
        number = b"" if self.number is None else self.number.tobytes()
        return np.uint64(address).tobytes() + number.ljust(8, b"\0")


def _dtype(*operands: Any) -> np.dtype[Any] | None:
    """The type of the arrays, where they share it and NumPy's promotion keeps it with the numbers beside them."""
    kinds = {x.dtype for x in operands if hasattr(x, "dtype")}
    dtype = kinds.pop() if len(kinds) == 1 else None
    if dtype is None or not dtype.isnative:
        return None
    numbers = [x for x in operands if not hasattr(x, "dtype")]
    kept = {"b": (bool,), "i": (bool, int), "u": (bool, int), "f": (bool, int, float)}.get(dtype.kind, ())
    if not all(type(x) in kept for x in numbers):
        return None
    if dtype.kind in "iu":
        limits = np.iinfo(dtype)
        return dtype if all(limits.min <= x <= limits.max for x in numbers) else None
    return dtype if all(isinstance(x, float) or abs(x) < 2**63 for x in numbers) else None


def _sources(dtype: np.dtype[Any], *operands: Any) -> list[Source] | None:
    """None where an array's numbers do not lie on multiples of their size."""
    sources = []
    for x in operands:
        if not hasattr(x, "dtype") or isinstance(x, np.generic):
            with np.errstate(all="ignore"):
                sources.append(Source(None, dtype.type(x)))
        elif any(stride % x.itemsize for stride in x.strides):
            return None
        else:
            sources.append(Source(x))
    return sources


def _launch(
    device: Device, name: str, kernel: str, dtype: np.dtype[Any], sources: list[Source] | None, result: Any, *more: Any
) -> Array:
    """Each number from the sources' numbers at its place; NotImplemented where they cannot be walked together."""
    if sources is None:
        return NotImplemented
    try:
        shape = np.broadcast_shapes(*(x.shape for x in sources))
    except ValueError:
        given = " and ".join(str(x.shape) for x in sources)
        raise ValueError(f"{name}: shapes {given} do not broadcast") from None
    lanes = lanes_of(dtype)
    together = walk(shape, [x.strides(shape) for x in sources], lanes)
    if together is None:
        return NotImplemented
    Y = device.empty(shape, result)
    if Y.size:
        arguments: dict[str, Any] = {"walk": together, **dict(zip("ABC" if len(sources) > 1 else "X", sources))}
        arguments |= {f"bound {k}": bound for k, bound in enumerate(more)}
        blocks = min(pieces(Y.size, 256 * lanes), 65535)
        device.launch(kernel, (blocks,), (256,), {**arguments, "Y": Y}, writes=["Y"])
    return Y


def _text(kind: str, name: str, T: str) -> str:
    return f"elementwise::{kind}<elementwise::{''.join(part.capitalize() for part in name.split('_'))}, {T}>"


def _instance(kind: str, name: str, dtype: np.dtype[Any] | None) -> str | None:
    """The kernel's text, where there is one for this type."""
    if dtype is None:
        return None
    if dtype.name in TYPES:
        return _text(kind, name, TYPES[dtype.name])
    found = INTEGER.get(name, {}).get(dtype.name)
    return found and _text(kind, *found)


def _map(device: Device, kind: str, name: str, *operands: Any) -> Array:
    dtype = _dtype(*operands)
    kernel = _instance(kind, name, dtype)
    if dtype is None or kernel is None:
        return NotImplemented
    result = np.bool_ if name in COMPARISONS else dtype
    return _launch(device, name, kernel, dtype, _sources(dtype, *operands), result)


def _checked(kind: str, names: Sequence[str], name: str, device: Device, *operands: Any) -> Array:
    if name not in names:
        raise ValueError(f"{kind}: {name!r} is unknown; expected one of {', '.join(names)}")
    result = _map(device, kind, name, *operands)
    if result is NotImplemented:
        given = ", ".join(str(getattr(x, "dtype", type(x).__name__)) for x in operands)
        takes = sorted({*TYPES, *INTEGER.get(name, {})})
        expected = " or all ".join(takes)
        raise ValueError(f"{name}: no kernel for {given}; expected all {expected}, of at most 8 dimensions")
    return result


def unary(device: Device, name: str, x: Array) -> Array:
    """f of each number.

    f is one of `UNARY`.
    """
    return _checked("unary", UNARY, name, device, x)


def binary(device: Device, name: str, a: Any, b: Any) -> Array:
    """f of each pair of numbers.

    f is one of `BINARY`; shapes broadcast, and one operand may be a number; comparisons give bool.
    """
    return _checked("binary", BINARY, name, device, a, b)


def where(device: Device, condition: Array, a: Any, b: Any) -> Array:
    """A's number where the condition holds, else B's, of any type of 1, 2, 4 or 8 bytes."""
    dtype = _dtype(a, b)
    if dtype is None or dtype.itemsize not in SIZES or getattr(condition, "dtype", None) != np.bool_:
        return NotImplemented
    flags, numbers = _sources(condition.dtype, condition), _sources(dtype, a, b)
    sources = None if flags is None or numbers is None else flags + numbers
    return _launch(device, "where", f"elementwise::where<{SIZES[dtype.itemsize]}>", dtype, sources, dtype)


def clamp(device: Device, x: Array, low: Any, high: Any) -> Array:
    """Each number, but no less than low and no more than high; either may be None."""
    dtype = _dtype(x, *(bound for bound in (low, high) if bound is not None))
    if dtype is None or dtype.name not in (*TYPES, "int64") or hasattr(low, "dtype") or hasattr(high, "dtype"):
        return NotImplemented
    limits = (-np.inf, np.inf) if dtype.kind == "f" else (np.iinfo(dtype).min, np.iinfo(dtype).max)
    with np.errstate(all="ignore"):
        bounds = [dtype.type(end if bound is None else bound) for bound, end in zip((low, high), limits)]
    T = TYPES.get(dtype.name, "long long")
    return _launch(device, "clamp", f"elementwise::clamp<{T}>", dtype, _sources(dtype, x), dtype, *bounds)


def gelu(device: Device, x: Array, approximate: str = "none") -> Array:
    return _map(device, "unary", "gelu_tanh" if approximate == "tanh" else "gelu", x)


def gelu_gradient(device: Device, g: Array, x: Array, approximate: str = "none") -> Array:
    return _map(device, "binary", "gelu_tanh_gradient" if approximate == "tanh" else "gelu_gradient", g, x)


def _verb(kind: str, name: str) -> Callable[..., Array]:
    def run(device: Device, *operands: Any) -> Array:
        return _map(device, kind, name, *operands)

    return run


VERBS: dict[str, Callable[..., Array]] = {
    **{name: _verb("unary", name) for name in UNARY if not name.startswith("gelu")},
    **{name: _verb("binary", name) for name in BINARY if not name.startswith("gelu")},
    **{"where": where, "clamp": clamp, "gelu": gelu, "gelu_gradient": gelu_gradient},
}

# Every text that is launched
KERNELS = frozenset(
    [_text("unary", name, T) for name in UNARY for T in TYPES.values()]
    + [_text("binary", name, T) for name in BINARY for T in TYPES.values()]
    + [
        _text("unary" if name in UNARY else "binary", *instance)
        for name, of in INTEGER.items()
        for instance in of.values()
    ]
    + [f"elementwise::where<{T}>" for T in SIZES.values()]
    + [f"elementwise::clamp<{T}>" for T in (*TYPES.values(), "long long")]
)
