"""The table of cases against PyTorch: the same names, values, dtypes and gradients, also at ties, NaN and size 0."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from cases import SIZES, TABLE, Row, Seeded, V
from checks import TENSOR_RESULTS, call, described, draw, free, loss_of, same, tensors_of, weights

from minidl import autograd

torch = pytest.importorskip("torch", reason="compares with PyTorch, which is not installed")
F = torch.nn.functional
pytestmark = [pytest.mark.peers, pytest.mark.filterwarnings("ignore")]  # PyTorch warns at size 0

OTHERWISE: dict[str, Callable[..., Any]] = {
    "getitem": lambda x, index: x[index],
    "contiguous": lambda x: x.contiguous(),
    "view": lambda x, *shape: x.view(*shape),
    "expand": lambda x, *sizes: x.expand(*sizes),
    "repeat": lambda x, *sizes: x.repeat(*sizes),
    "permute": lambda x, *dims: x.permute(*dims),
    "reshape": lambda x, *shape: x.reshape(*shape),
    "flip": lambda x, *dims: x.flip(*dims),
    "vector_norm": torch.linalg.vector_norm,
    "logsumexp": lambda x, *dim, **more: torch.logsumexp(x, *(dim or [more.pop("dim", tuple(range(x.ndim)))]), **more),
    "log_softmax": lambda x, dim=-1: F.log_softmax(x, dim),
    "softmax": lambda x, dim=-1: F.softmax(x, dim),
    "batch_norm": F.batch_norm,
    "embedding": F.embedding,
    "gelu": lambda x, approximate="none": F.gelu(x, approximate=approximate),
}
NO_PEER = {"conv2d_input", "conv2d_weight", "index_put", "huber", "dropout", "dropout2d"}  # other names, other numbers
PEERED = [row for row in TABLE if row.op not in NO_PEER]


def peer(row: Row) -> Callable[..., Any]:
    return OTHERWISE.get(row.op) or getattr(F if row.module == "losses" else torch, row.op, None) or getattr(F, row.op)


def their_call(row: Row, variant: V, tensors: Sequence[Any]) -> list[Any]:
    """PyTorch's results: arguments by position, in minidl's order, as far as they are given without a gap."""
    options = dict(variant.options)
    if "tensors" in inspect.signature(row.function()).parameters:
        result = peer(row)(list(tensors), **options)
    else:
        named = dict(zip(free(row.function(), options), tensors, strict=False))
        args: list[Any] = []
        for name, parameter in inspect.signature(row.function()).parameters.items():
            if parameter.kind is parameter.KEYWORD_ONLY or (name not in named and name not in options):
                break
            value = named.pop(name) if name in named else options.pop(name)
            if isinstance(value, np.ndarray):
                value = torch.from_numpy(value)
            args += value if parameter.kind is parameter.VAR_POSITIONAL else [value]
        result = peer(row)(*args, **named, **options)
    return list(result) if isinstance(result, TENSOR_RESULTS) else [result]


def compare(
    row: Row, variant: V, arrays: Sequence[np.ndarray], dtype: Any = np.float64, gradients: bool = True
) -> None:
    """Values, dtypes and gradients of both."""
    what = f"{described(row, variant, arrays)} {dtype.__name__} against PyTorch"
    theirs = [torch.from_numpy(np.array(a, dtype=dtype if a.dtype.kind == "f" else a.dtype)) for a in arrays]
    ours = tensors_of(row, arrays, dtype, grad=gradients)
    for place, (x, y) in enumerate(zip(ours, theirs, strict=True)):
        if row.module == "losses" and place > 1:  # PyTorch does not differentiate by the weights
            x.requires_grad_(False)
        y.requires_grad_(x.requires_grad)
    try:
        wanted = their_call(row, variant, theirs)
    except (RuntimeError, ValueError, IndexError, AssertionError):
        if all(array.size for array in arrays):
            raise
        return  # PyTorch refuses some sizes of 0 that have an obvious meaning
    with np.errstate(all="ignore"):
        got = call(row, variant, ours)
    assert len(got) == len(wanted), what
    if row.op in ("sort", "topk") or not all(array.size for array in arrays) and row.op.startswith("conv"):
        got, wanted = got[:1], wanted[:1]  # which of equal elements comes first is nobody's promise
    tolerance = 1e-12 if dtype is np.float64 else 2e-5
    for y, t in zip(got, wanted, strict=True):
        assert y.dtype.name == str(t.dtype).removeprefix("torch."), f"{what}: expected {t.dtype}, received {y.dtype}"
        same(what, y.detach().numpy(), t.detach().numpy(), tolerance)
    inputs = [(x, t) for x, t in zip(ours, theirs, strict=True) if x.requires_grad]
    if not inputs or not any(y.requires_grad for y in got):
        return
    G = [np.asarray(g) for g in weights(got)]
    with np.errstate(all="ignore"):
        found = autograd.grad(loss_of(got, G), [x for x, _ in inputs])
    total = sum(
        (t * torch.from_numpy(g).to(t.dtype)).sum() for t, g in zip(wanted, G, strict=True) if t.is_floating_point()
    )
    right = torch.autograd.grad(total, [t for _, t in inputs], allow_unused=True, materialize_grads=True)
    for place, (g, t) in enumerate(zip(found, right, strict=True)):
        # Near 0 and 1 PyTorch's binary_cross_entropy divides by a float32 1e-12.
        exact = 1e-10 if row.op != "binary_cross_entropy" else 1e-7
        same(f"{what}: gradient for input {place}", g.numpy(), t.numpy(), exact if dtype is np.float64 else 2e-4)


CASES = [pytest.param(row, variant, id=f"{row.op}-{variant}") for row in PEERED for variant in row.variants]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("row", "variant"), CASES)
def test_values_and_gradients(row: Row, variant: V, dtype: Any) -> None:
    compare(row, variant, draw(variant, SIZES), dtype)


@pytest.mark.parametrize(("row", "variant"), CASES)
def test_ties_and_kinks(row: Row, variant: V) -> None:
    """Whole numbers from -2 to 2: equal elements, zeros, points without a derivative."""
    if row.op == "topk":
        return  # which of equal elements it takes is nobody's promise
    arrays = [np.round(a) if a.dtype.kind == "f" else a for a in draw(variant, SIZES, 3)]
    compare(row, variant, arrays, gradients=row.op != "kl_div")  # PyTorch's gradient for a target of 0 is NaN


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 0.0])
@pytest.mark.parametrize(("row", "variant"), CASES)
def test_nan_and_infinity(row: Row, variant: V, value: float) -> None:
    """One such element in every real input."""
    if row.op == "cross_entropy" and value == np.inf or row.op == "binary_cross_entropy" and value != 0:
        return  # an infinite logit gives an infinite loss here, NaN there; the other one wants probabilities
    arrays = draw(variant, SIZES, 4)
    for place, array in enumerate(arrays):
        if array.dtype.kind == "f" and array.size:
            array.reshape(-1)[(array.size // 2 + place) % array.size] = value
    if not (row.op == "batch_norm" and np.isinf(value)):  # inf / inf, in another order of operations
        compare(row, variant, arrays, gradients=False)


@pytest.mark.parametrize(
    "letter", sorted(set("".join(one.axes for row in PEERED for v in row.variants for one in v.inputs)) & set(SIZES))
)
@pytest.mark.parametrize("row", PEERED, ids=lambda row: row.op)
def test_size_0(row: Row, letter: str) -> None:
    """Each axis in turn without elements."""
    variants = (
        row.variants if row.op not in ("batch_norm", "conv1d", "conv2d", "cross_entropy") else ()
    )  # either refuses some of them
    for variant in variants:
        if any(letter in one.axes for one in variant.inputs) and not any(
            isinstance(v, Seeded) for v in variant.options.values()
        ):
            compare(row, variant, draw(variant, SIZES | {letter: 0}))
