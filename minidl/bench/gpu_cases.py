"""What the GPU benchmark verifies and times: for each kernel its arguments, the reference, the peers, its work."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from minidl.kernels import reference
from minidl.kernels.cuda import VERBS, matmul, reduce

__all__ = ["Case", "cases"]

Numbers = np.random.Generator
EXACT, TF32 = 2e-5, 2e-3  # of the largest number of the result


@dataclass(frozen=True)
class Case:
    """A kernel at one size.

    arguments: fresh ones, NumPy's. run(backend, *arguments) and peers[library](library, *arguments) compute on the GPU,
    wanted(*arguments) on the host. bytes moved at least, or operations (a multiplication and an addition: two).
    """

    family: str
    name: str
    arguments: Callable[[Numbers], tuple[Any, ...]]
    run: Callable[..., Any]
    wanted: Callable[..., Any]
    bytes: int = 0
    operations: int = 0
    limit: float = EXACT
    peak: str = "float32"  # the measured product that `operations` are held against
    peers: dict[str, Callable[..., Any]] = field(default_factory=dict)


def _normal(*shapes: tuple[int, ...], kind: Any = np.float32) -> Callable[[Numbers], tuple[Any, ...]]:
    return lambda random: tuple(random.standard_normal(shape, np.float32).astype(kind) for shape in shapes)


def _bits(random: Numbers, shape: tuple[int, ...]) -> np.ndarray:
    """bfloat16 numbers as their bits: the upper half of float32's."""
    return (random.standard_normal(shape, np.float32).view(np.uint32) >> 16).astype(np.uint16)


def _of_bits(x: np.ndarray) -> np.ndarray:
    return (x.astype(np.uint32) << 16).view(np.float32).astype(np.float64)


def _bf16(torch: Any, x: Any) -> Any:
    return torch.from_dlpack(x.view(np.int16)).view(torch.bfloat16)


def _products(n: int) -> Iterator[Case]:
    pair = _normal((n, n), (n, n))
    library = {"CuPy": lambda cupy, a, b: cupy.matmul(a, b), "PyTorch": lambda torch, a, b: torch.matmul(a, b)}
    exactly = lambda a, b: a.astype(np.float64) @ b
    for rung in matmul.MATMUL:
        run = lambda backend, a, b, rung=rung: matmul.by_rung(backend.device, rung, a, b)
        name = f"matmul.{rung} {n}"
        yield Case("matmul", name, pair, run, exactly, operations=2 * n**3, peers=library)
    for name, a_shape, turn in [("A Bᵀ", (n, n), "b"), ("Aᵀ B", (n, n), "a")]:
        run = lambda backend, a, b, turn=turn: backend.matmul(*((a.T, b) if turn == "a" else (a, b.T)))
        wanted = lambda a, b, turn=turn: exactly(*((a.T, b) if turn == "a" else (a, b.T)))
        peers = {
            "CuPy": lambda cupy, a, b, turn=turn: cupy.matmul(*((a.T, b) if turn == "a" else (a, b.T))),
            "PyTorch": lambda torch, a, b, turn=turn: torch.matmul(*((a.T, b) if turn == "a" else (a, b.T))),
        }
        yield Case("matmul", f"matmul {name} {n}", _normal(a_shape, (n, n)), run, wanted, 0, 2 * n**3, peers=peers)


def _tensor_cores(n: int) -> Iterator[Case]:
    def with_tf32(torch: Any, a: Any, b: Any) -> Any:
        torch.backends.cuda.matmul.allow_tf32 = True
        try:
            return torch.matmul(a, b)
        finally:
            torch.backends.cuda.matmul.allow_tf32 = False

    yield Case(
        "tensor cores", f"matmul.mma_tf32 {n}", _normal((n, n), (n, n)),
        lambda backend, a, b: matmul.by_tensor_cores(backend.device, "mma_tf32", a, b),
        lambda a, b: a.astype(np.float64) @ b, 0, 2 * n**3, TF32, "tf32", {"PyTorch": with_tf32},
    )  # fmt: skip
    yield Case(
        "tensor cores", f"matmul.mma_bf16 {n}", lambda random: (_bits(random, (n, n)), _bits(random, (n, n))),
        lambda backend, a, b: matmul.by_tensor_cores(backend.device, "mma_bf16", a, b),
        lambda a, b: _of_bits(a) @ _of_bits(b), 0, 2 * n**3, EXACT, "bfloat16",
        {"PyTorch bits": lambda torch, a, b: torch.matmul(_bf16(torch, a), _bf16(torch, b))},
    )  # fmt: skip


def _sums(length: int) -> Iterator[Case]:
    peers = {"CuPy": lambda cupy, x: x.sum(), "PyTorch": lambda torch, x: x.sum()}
    for rung in reduce.SUM:
        run = lambda backend, x, rung=rung: reduce.sum_by_rung(backend.device, rung, x, (0,))
        one = lambda random: (random.random((length,), np.float32),)
        wanted = lambda x: x.sum(dtype=np.float64)
        limit = 1e-3 if rung == "atomic" else EXACT  # one number after the other: the error grows with their count
        yield Case("sum", f"sum.{rung} {length}", one, run, wanted, bytes=4 * length, limit=limit, peers=peers)


def _verb(
    family: str, verb: str, arguments: Any, options: tuple[Any, ...] = (), bytes: int = 0, operations: int = 0,
    **peers: Callable[..., Any],
) -> Iterator[Case]:  # fmt: skip
    """A verb of the backend, where a kernel is behind it."""
    if verb not in VERBS:
        return
    run = lambda backend, *args: getattr(backend, verb)(*args, *options)
    wide = lambda x: x.astype(np.float64) if getattr(x, "dtype", None) == np.float32 else x
    wanted = lambda *args: getattr(reference, verb)(*map(wide, args), *options)
    libraries = {"CuPy" if name == "cupy" else "PyTorch": peer for name, peer in peers.items()}
    yield Case(family, verb, arguments, run, wanted, bytes, operations, peers=libraries)


def _maps(length: int) -> Iterator[Case]:
    one, two = _normal((length,)), _normal((length,), (length,))
    for name in ("exp", "tanh", "sigmoid", "relu"):
        torch_name = name
        yield from _verb("elementwise", name, one, (), 8 * length, torch=lambda t, x, n=torch_name: getattr(t, n)(x))
    functional = lambda torch: torch.nn.functional
    yield from _verb("elementwise", "gelu", one, (), 8 * length, torch=lambda t, x: functional(t).gelu(x))
    for name in ("add", "mul"):
        yield from _verb(
            "elementwise", name, two, (), 12 * length,
            cupy=lambda c, a, b, n={"add": "add", "mul": "multiply"}[name]: getattr(c, n)(a, b),
            torch=lambda t, a, b, n=name: getattr(t, n)(a, b),
        )  # fmt: skip
    yield from _verb("random", "dropout", one, (0.5, 7, 0), 9 * length, torch=lambda t, x: functional(t).dropout(x))


def _rows(length: int, row: int) -> Iterator[Case]:
    count = max(length // row, 1)
    x, both = _normal((count, row)), 8 * count * row
    yield from _verb(
        "rows", "sum", x, ((1,), False), both // 2, cupy=lambda c, x: x.sum(1), torch=lambda t, x: x.sum(1)
    )
    for name in ("softmax", "log_softmax"):
        yield from _verb("rows", name, x, (1,), both, torch=lambda t, x, n=name: getattr(t, n)(x, 1))
    scaled = _normal((count, row), (row,), (row,))
    run = lambda backend, x, w, b: backend.layer_norm(x, 1, w, b, 1e-5)[0]
    wanted = lambda x, w, b: reference.layer_norm(x.astype(np.float64), 1, w, b, 1e-5)[0]
    peers = {"PyTorch": lambda t, x, w, b: t.nn.functional.layer_norm(x, (row,), w, b)}
    if "layer_norm" in VERBS:
        yield Case("rows", "layer_norm", scaled, run, wanted, both, peers=peers)
    if "cross_entropy" in VERBS:
        labelled = lambda random: (*x(random), random.integers(0, row, count))
        loss = lambda backend, x, target: backend.cross_entropy(x, target, None, -100, 0.0)[0]
        losses = lambda x, target: reference.cross_entropy(x.astype(np.float64), target, None, -100, 0.0)[0]
        other = {"PyTorch": lambda t, x, target: t.nn.functional.cross_entropy(x, target, reduction="none")}
        yield Case("rows", "cross_entropy", labelled, loss, losses, both // 2, peers=other)


def _steps(length: int) -> Iterator[Case]:
    if "adam_step" not in VERBS:
        return
    options = (3, 1e-3, 0.9, 0.999, 1e-8, 0.01, True)

    def arguments(random: Numbers) -> tuple[Any, ...]:
        w, g, m, v = (random.standard_normal((length,), np.float32) for _ in range(4))
        return w, g, m, v * v

    def run(backend: Any, w: Any, g: Any, m: Any, v: Any) -> Any:
        backend.adam_step([w], [g], [m], [v], *options)
        return w, m, v

    def wanted(*given: Any) -> Any:
        w, g, m, v = (x.astype(np.float64) for x in given)
        reference.adam_step([w], [g], [m], [v], *options)
        return w, m, v

    yield Case("optimizers", "adam_step", arguments, run, wanted, bytes=28 * length)


def _images(batch: int) -> Iterator[Case]:
    C, O, H = 32, 64, 28
    options: tuple[Any, ...] = ((1, 1), (1, 1), (1, 1), 1)
    work = 2 * batch * O * C * H * H * 9
    x, w, g = (batch, C, H, H), (O, C, 3, 3), (batch, O, H, H)
    plain = lambda t, x, w: t.nn.functional.conv2d(x, w, padding=1)
    if "conv2d" in VERBS:
        run = lambda backend, x, w: backend.conv2d(x, w, None, *options)
        wanted = lambda x, w: reference.conv2d(x.astype(np.float64), w, None, *options)
        yield Case("images", "conv2d", _normal(x, w), run, wanted, operations=work, peers={"PyTorch": plain})
    to_input = lambda t, g, w: t.nn.grad.conv2d_input(x, w, g, padding=1)
    to_weight = lambda t, x, g: t.nn.grad.conv2d_weight(x, w, g, padding=1)
    yield from _verb("images", "conv2d_input", _normal(g, w), ((H, H), *options), 0, work, torch=to_input)
    yield from _verb("images", "conv2d_weight", _normal(x, g), ((3, 3), *options), 0, work, torch=to_weight)
    pool = ((2, 2), (2, 2), (0, 0), (1, 1), False)
    moved = batch * C * H * H * 4 + batch * C * H * H // 4 * 12
    pooled = lambda t, x: t.nn.functional.max_pool2d(x, 2, return_indices=True)
    yield from _verb("images", "max_pool2d", _normal(x), pool, moved, torch=pooled)


def _attention(length: int) -> Iterator[Case]:
    if "attention" not in VERBS:
        return
    shape = (8, 8, length, 64)
    run = lambda backend, q, k, v: backend.attention(q, k, v, None, True, 0.125)[0]
    wanted = lambda q, k, v: reference.attention(q.astype(np.float64), k, v, None, True, 0.125)[0]
    peers = {"PyTorch": lambda t, q, k, v: t.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True)}
    work = 2 * 8 * 8 * length * length * 64  # two products, of which causal attention needs half
    yield Case("attention", "attention", _normal(shape, shape, shape), run, wanted, operations=work, peers=peers)


def cases(n: int, length: int) -> list[Case]:
    """Products of n x n, arrays of `length` numbers."""
    row = 1024 if length > 1 << 20 else 65
    batch, context = (256, 1024) if length > 1 << 20 else (2, 67)
    return [
        *_products(n), *_tensor_cores(n), *_sums(length), *_maps(length), *_rows(length, row), *_steps(length),
        *_images(batch), *_attention(context),
    ]  # fmt: skip
