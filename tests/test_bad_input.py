"""Bad arguments: what PyTorch refuses, minidl refuses with a sentence; what PyTorch does, minidl does, or says so.

Each call below is right; then every argument in turn is replaced by each of the strange values.
"""

from __future__ import annotations

import math
import re
import warnings
from typing import Any

import numpy as np
import pytest

import minidl

pytestmark = [pytest.mark.peers, pytest.mark.filterwarnings("ignore")]

ERRORS = (TypeError, ValueError, IndexError, RuntimeError, ZeroDivisionError, OverflowError)


class T:
    """A tensor of either side."""

    def __init__(self, *shape: int, dtype: str = "float32", value: Any = None) -> None:
        count = math.prod(shape)
        array = np.arange(count, dtype=np.float64) % 7 - 3 if value is None else np.full(count, value, np.float64)
        self.array = array.reshape(shape).astype(dtype)
        self.text = f"{dtype}{list(shape)}" + ("" if value is None else f" of {value}")

    def __repr__(self) -> str:
        return self.text


STRANGE: list[Any] = [
    None, "x", 0, 1, -1, 2, -3, 99, 1.5, math.nan, math.inf, True, [], (), [1, 2], [0, 0], (0, 5), ["a"], {}, object(),
    T(), T(0), T(3), T(3, 4), T(4, 3), T(0, 4), T(2, 3, 4), T(3, 4, dtype="int64"), T(dtype="int64"),
    T(3, dtype="int64"), T(3, 4, dtype="bool"), T(3, 4, dtype="float64"), T(3, 4, dtype="uint8"),
    T(3, 4, value=math.nan), T(3, 4, dtype="int64", value=1),
    [T(3), T(3)], [T(3, 4), T(2, 4)], [T(3), T(4, dtype="int64")],
]  # fmt: skip

X, A, I, B = T(3, 4), T(3, 4), T(3, 4, dtype="int64", value=1), T(3, 4, dtype="bool")
UNARY = """abs neg sign exp expm1 log log1p log2 sqrt rsqrt square reciprocal sin cos tanh sigmoid erf floor ceil round
    isnan isfinite isinf logical_not relu bitwise_not t nonzero""".split()
BINARY = """add sub mul div floor_divide remainder maximum minimum eq ne lt le gt ge logical_and logical_or logical_xor
    pow bitwise_and bitwise_or bitwise_xor""".split()
CALLS: dict[str, list[tuple[Any, ...]]] = {
    **{name: [(X,)] for name in UNARY},
    **{name: [(X, A), (I, 2)] for name in BINARY},
    **{name: [(X,), (X, 0), (X, 1, True)] for name in "sum mean prod amax amin max min argmax argmin any all".split()},
    "var": [(X,), (X, 0)],
    "std": [(X,), (X, 0)],
    "logsumexp": [(X, 0), (X, 1, True)],
    "cumsum": [(X, 0)],
    "norm": [(X,), (X, 2), (X, 1, 0)],
    "sort": [(X,), (X, 0), (X, 0, True)],
    "topk": [(X, 2), (X, 1, 0), (X, 1, 0, False)],
    "softmax": [(X, 0)],
    "log_softmax": [(X, 0)],
    "clamp": [(X, 0, 1), (X, None, A)],
    "where": [(B, X, A), (B, 1.0, X)],
    "matmul": [(X, T(4, 2))],
    "mm": [(X, T(4, 2))],
    "bmm": [(T(2, 3, 4), T(2, 4, 3))],
    "mv": [(X, T(4))],
    "dot": [(T(3), T(3))],
    "outer": [(T(3), T(3))],
    "addmm": [(T(3, 2), X, T(4, 2))],
    "einsum": [("ij,jk->ik", X, T(4, 2)), ("ii->i", T(3, 3))],
    "reshape": [(X, (2, 6)), (X, (-1,))],
    "flatten": [(X,), (X, 0), (X, 0, 1)],
    "unflatten": [(X, 1, (2, 2))],
    "transpose": [(X, 0, 1)],
    "permute": [(X, (1, 0))],
    "squeeze": [(T(3, 1), 1), (T(3, 1),)],
    "unsqueeze": [(X, 1)],
    "broadcast_to": [(X, (2, 3, 4))],
    "cat": [([X, A], 0), ([X, A], 1)],
    "stack": [([X, A], 0)],
    "split": [(X, 2), (X, [1, 2], 0)],
    "chunk": [(X, 2), (X, 2, 1)],
    "unbind": [(X,), (X, 1)],
    "narrow": [(X, 0, 1, 2)],
    "masked_select": [(X, B)],
    "index_select": [(X, 0, T(2, dtype="int64", value=1))],
    "gather": [(X, 0, I)],
    "scatter_add": [(X, 0, I, A)],
    "take_along_dim": [(X, I, 0), (X, I)],
    "flip": [(X, (0,))],
    "roll": [(X, 1), (X, 1, 0)],
    "tril": [(X,), (X, 1)],
    "triu": [(X,), (X, 1)],
    "diag": [(X,), (X, 1)],
    "masked_fill": [(X, B, 1.0)],
    "zeros": [((2, 3),), (2, 3)],
    "ones": [((2, 3),)],
    "full": [((2, 3), 1.5)],
    "eye": [(3,), (3, 4)],
    "arange": [(5,), (1, 5), (1, 5, 2)],
    "linspace": [(0, 1, 5)],
    "zeros_like": [(X,)],
    "ones_like": [(X,)],
    "full_like": [(X, 2.0)],
    "tensor": [([1.0, 2.0],), ([[1, 2], [3, 4]],)],
    "as_tensor": [([1.0, 2.0],)],
}
SHAPES_ONLY: dict[str, list[tuple[Any, ...]]] = {
    "empty": [((2, 3),)],
    "rand": [((2, 3),)],
    "randn": [((2, 3),)],
    "randint": [(5, (2, 3)), (1, 5, (2, 3))],
    "randperm": [(5,)],
    "rand_like": [(X,)],
    "randn_like": [(X,)],
    "randint_like": [(X, 5), (X, 1, 5)],
    "empty_like": [(X,)],
    "bernoulli": [(T(3, 4, value=0.5),)],
    "multinomial": [(T(4, value=1.0), 2), (T(4, value=1.0), 9, True)],
    "normal": [(0.0, 1.0, (2, 3)), (X, T(3, 4, value=1.0))],
}
METHODS: dict[str, list[tuple[Any, ...]]] = {
    "view": [(X, 2, 6), (X, (2, 6))],
    "expand": [(T(3, 1), 3, 4)],
    "repeat": [(X, 2, 1)],
    "size": [(X, 0), (X,)],
    "item": [(T(),)],
    "add_": [(X, A), (X, 1.5)],
    "mul_": [(X, A), (I, 2)],
    "div_": [(X, A)],
    "copy_": [(X, A)],
    "fill_": [(X, 2.0), (I, 2)],
    "clamp_": [(X, 0, 1)],
    "masked_fill_": [(X, B, 1.0)],
    "scatter_add_": [(X, 0, I, A)],
    "__getitem__": [(X, 0), (X, I), (X, B), (X, [0, 1])],
    "__add__": [(X, A), (X, 2)],
    "__floordiv__": [(X, 2), (I, 2)],
    "__matmul__": [(X, T(4, 2))],
    "requires_grad_": [(X,), (X, True)],
    "view_as": [(X, T(4, 3))],
    "expand_as": [(T(1, 4), X)],
    "new_zeros": [(X, (2, 3))],
    "new_full": [(X, (2, 3), 1.0)],
}


def side(m: Any, value: Any) -> Any:
    if isinstance(value, T):
        return (m.from_numpy if value.array.ndim else m.tensor)(value.array.copy())
    if isinstance(value, (list, tuple)):
        return type(value)(side(m, v) for v in value)
    return value


def outcome(m: Any, name: str, args: tuple[Any, ...], method: bool = False) -> Any:
    args = tuple(side(m, a) for a in args)
    try:
        if method:
            if not isinstance(args[0], m.Tensor):
                return None
            found = getattr(args[0], name)(*args[1:])
            return TypeError("operator: refused") if found is NotImplemented else found
        return getattr(m, name)(*args)
    except Exception as error:
        return error


def arrays(value: Any) -> list[np.ndarray]:
    if isinstance(value, (list, tuple)):
        return [a for v in value for a in arrays(v)]
    if value is None:
        return []
    if isinstance(value, minidl.Tensor):
        return [value.detach().array]
    return [value.detach().numpy()] if hasattr(value, "detach") else [np.asarray(value)]


def clear(error: Exception, name: str) -> bool:
    """One sentence that begins with the function's name; or Python's own on a call that fits no signature."""
    text = str(error)
    known = {name, name.removesuffix("_"), name.removeprefix("new_"), name.removesuffix("_like"), name.strip("_")}
    known |= {name.removesuffix("_as"), *OTHER_NAMES.get(name, ())}
    start = re.match(r"([\w.]+)(: |\(\) )\S", text)
    return start is not None and start[1].rpartition(".")[2] in known and isinstance(error, ERRORS)


OTHER_NAMES = {"__getitem__": ["index"], "__floordiv__": ["floor_divide"], "as_tensor": ["tensor"]}


MORE = re.compile(  # what minidl does though PyTorch does not: dim=None for all, one number for a tuple of one, ...
    r"(prod|max|min|logsumexp|squeeze)\(.*\], None|reshape\(.*\], -1\)|flip\(.*\], -?\d\)|eye\(3, None\)"
    r"|(as_)?tensor\(\[float|randint_like\(.*, 1, None\)"
)
LESS = re.compile(  # what PyTorch does by chance
    r"(gather|scatter_add_?|take_along_dim)\(.*float32\[0|take_along_dim\(.* 0\)|logsumexp\(.*, (\[\]|\(\)), True"
    r"|(zeros|expand|repeat)\(.*\d, True\)"
)


def difference(torch: Any, name: str, args: tuple[Any, ...], method: bool, values: bool) -> str | None:
    wanted, got = outcome(torch, name, args, method), outcome(minidl, name, args, method)
    if isinstance(got, Exception):
        if not clear(got, name):
            return f"is refused with {type(got).__name__}: {got}"
        if isinstance(wanted, Exception) or "support" in str(got) or LESS.match(f"{name}{args}"):
            return None
        return f"is refused with {type(got).__name__}: {got}; PyTorch gives {wanted!r}"[:300]
    if isinstance(wanted, Exception):
        if MORE.match(f"{name}{args}"):
            return None
        return f"gives {got!r}; PyTorch: {str(wanted).splitlines()[0]}"[:300]
    left, right = arrays(got), arrays(wanted)
    if name in ("sort", "topk"):  # among equal elements PyTorch's order is arbitrary
        left, right = left[:1], right[:1]
    for a, b in zip(left, right):
        if a.shape != b.shape or a.dtype != b.dtype:
            return f"gives {a.dtype}{a.shape}; PyTorch {b.dtype}{b.shape}"
        if values and not np.allclose(a, b, rtol=1e-5, atol=1e-6, equal_nan=True):
            return f"gives {a}; PyTorch {b}"
    return None if len(left) == len(right) else f"gives {len(left)} results; PyTorch {len(right)}"


def tries(calls: list[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    found = []
    for call in calls:
        found.append(call)
        for place in range(len(call)):
            found += [(*call[:place], strange, *call[place + 1 :]) for strange in STRANGE]
    return found


ALL = [(name, calls, False, True) for name, calls in CALLS.items()]
ALL += [(name, calls, False, False) for name, calls in SHAPES_ONLY.items()]
ALL += [(name, calls, True, True) for name, calls in METHODS.items()]


@pytest.mark.parametrize(("name", "calls", "method", "values"), ALL, ids=[case[0] for case in ALL])
def test_bad_arguments(name: str, calls: list[tuple[Any, ...]], method: bool, values: bool) -> None:
    torch = pytest.importorskip("torch", reason="PyTorch is not installed: nothing to compare with")
    wrong = []
    for args in tries(calls):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = difference(torch, name, args, method, values)
        if found:
            wrong.append(f"{name}{args} {found}")
    assert not wrong, f"{len(wrong)} calls:\n" + "\n".join(wrong[:40])
