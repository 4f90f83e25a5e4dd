"""The kernels' rows: matrix products, convolutions, elementwise functions, reductions, pooling, Adam, memory."""

from __future__ import annotations

from math import prod, sqrt
from typing import Any

from minidl.bench.ladders import TITLE, rung_workloads
from minidl.bench.workload import Draw, Goal, Workload, integers, normal, traffic, uniform

__all__ = ["FAMILIES", "workloads"]

FAMILIES = {  # in the order of the tables
    "matmul": "Matrix products, M x N x K: A is M x K, B is K x N; minidl's kernel and NumPy's take arrays, no tensors",
    "sizes": "Matrix products of many sizes",
    "conv2d": "Convolutions, stride 1, (N, C, H, W) -> filters, with bias; backward gives all three gradients",
    "elementwise": "Elementwise functions of a million numbers",
    "rows": "Rows: softmax, layer norm and cross-entropy with their gradients",
    "reductions": "Reductions",
    "pooling": "Max pooling 2 x 2",
    "optimizer": "Adam, one step of all parameters",
    "memory": "Arrays beyond the caches",
    "networks": "More of what networks need, with gradients",
    "ladders": TITLE,
}

MEANS = {"conv2d": 1.5}  # what the geometric mean of a family's ratios to the best peer is to reach at least
LARGE = [(256, 256, 256), (512, 512, 512), (1024, 1024, 1024), (512, 784, 512), (768, 384, 384), (4096, 64, 576)]
SMALL = {(64, 128, 784): 1.4, (32, 32, 32): 2.5, (128, 10, 128): 1.2}
FORMS = ("A B", "A Bᵀ", "Aᵀ B")
CONVOLUTIONS = [  # image, filters, their side, at least
    ((64, 1, 28, 28), 8, 3, 1.0),
    ((64, 8, 14, 14), 16, 3, 1.0),
    ((32, 16, 32, 32), 32, 3, 1.0),
    ((32, 64, 32, 32), 64, 3, 1.3),
    ((8, 128, 28, 28), 128, 3, 1.3),
    ((64, 3, 32, 32), 32, 5, 1.0),
]
MILLION = 1 << 20
BEYOND = 1 << 24  # numbers: 64 MB


def workloads(full: bool = False) -> list[Workload]:
    """All rows; `full` adds matrix products of many sizes."""
    return [
        *matmuls(),
        *(sizes() if full else []),
        *convolutions(),
        *elementwise(),
        *rows(),
        *reductions(),
        *pooling(),
        *optimizers(),
        *memory(),
        *networks(),
        *rung_workloads(),
    ]


def best(at_least: float) -> tuple[Goal]:
    return (Goal("best", at_least),)


def matmul(m: int, n: int, k: int, form: str, family: str, goals: tuple[Goal, ...] = ()) -> Workload:
    inputs = (normal(k, m) if form == "Aᵀ B" else normal(m, k), normal(n, k) if form == "A Bᵀ" else normal(k, n))
    return Workload(
        f"{m} x {n} x {k}, {form}", family, "matmul", inputs, {"form": form},
        flops=2 * m * n * k, bytes=traffic(inputs, m * n), limit="peak", goals=goals,
    )  # fmt: skip


def matmuls() -> list[Workload]:
    goals = (Goal("peak", 0.92), Goal("numpy", 1.05), Goal("torch", 2.0), Goal("jax", 1.05))
    large = [matmul(*size, form, "matmul", goals) for size in LARGE for form in FORMS]
    return large + [matmul(*size, form, "matmul", best(goal)) for size, goal in SMALL.items() for form in FORMS]


def sizes() -> list[Workload]:
    """Cubes, from those that fit into the registers to those that leave the caches."""
    every = [8, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 500, 512, 768, 1000, 1024, 1536, 2048]
    return [matmul(n, n, n, "A B", "sizes") for n in every]


def convolutions() -> list[Workload]:
    found = []
    for (n, c, h, w), filters, side, goal in CONVOLUTIONS:
        bound = 1 / sqrt(c * side * side)
        inputs = (normal(n, c, h, w), normal(filters, c, side, side, scale=bound), normal(filters))
        flops, result = 2.0 * n * filters * h * w * c * side * side, (n, filters, h, w)
        name = f"({n}, {c}, {h}, {w}) -> {filters}, {side} x {side}"
        for backward in (False, True):
            times = 3 if backward else 1  # as many products for each gradient
            found.append(Workload(
                f"{name}, forward{' + backward' if backward else ''}", "conv2d", "conv2d",
                (*inputs, normal(*result)) if backward else inputs, {"padding": side // 2}, backward,
                flops * times, traffic(inputs, prod(result)) * (2 if backward else 1), "peak", best(goal), bound=1e-4,
            ))  # fmt: skip
    return found


def pair(
    name: str, family: str, kind: str, inputs: tuple[Draw, ...], result: tuple[int, ...], **more: Any
) -> list[Workload]:
    """A row for the value, and one with the gradients."""
    both = (*inputs, normal(*result))
    floats = sum(draw.bytes for draw in inputs if draw.kind != "integers")
    return [
        Workload(f"{name}, forward", family, kind, inputs, bytes=traffic(inputs, prod(result)), **more),
        Workload(f"{name}, forward + backward", family, kind, both, backward=True,
                 bytes=traffic(both, prod(result)) + floats, **more),
    ]  # fmt: skip


def elementwise() -> list[Workload]:
    x = (normal(1024, 1024),)
    found = []
    for kind in ("exp", "tanh", "gelu"):
        found += pair(kind, "elementwise", kind, x, (1024, 1024), goals=best(2.5))
    found += pair("relu", "elementwise", "relu", x, (1024, 1024), goals=best(1.0))
    # The gradients of a sum are the gradient of its result: nothing to measure but who copies it.
    return [*found, pair("add", "elementwise", "add", (*x, *x), (1024, 1024), goals=best(1.0))[0]]


def rows() -> list[Workload]:
    found = []
    for n in (10, 65, 384, 1000):
        m = MILLION // 2 // n
        x, w = normal(m, n), normal(n)
        shape = f"{m} rows of {n}"
        table: list[tuple[str, tuple[Draw, ...], tuple[int, ...]]] = [
            ("softmax", (x,), (m, n)),
            ("layer_norm", (x, w, w), (m, n)),
            ("cross_entropy", (x, integers(m, below=n)), ()),
        ]
        for kind, inputs, result in table:
            name = kind.replace("_", " ")
            found.append(pair(f"{name}, {shape}", "rows", kind, inputs, result, goals=best(1.5), bound=3e-5)[1])
    return found


def reductions() -> list[Workload]:
    flat, deep = uniform(1024, 1024), uniform(64, 128, 128)
    places: list[tuple[str, Draw, list[int] | None, int]] = [
        ("1024 x 1024, all", flat, None, 1),
        ("1024 x 1024, each row", flat, [1], 1024),
        ("1024 x 1024, each column", flat, [0], 1024),
        ("64 x 128 x 128, the middle axis", deep, [1], 64 * 128),
        ("64 x 128 x 128, first and last axis", deep, [0, 2], 128),
    ]
    return [
        Workload(f"{name}, {place}", "reductions", "reduce", (x,), {"name": name, "dim": dim},
                 bytes=traffic((x,), results), goals=best(1.0))
        for name in ("sum", "mean", "var", "max") for place, x, dim, results in places
    ]  # fmt: skip


def pooling() -> list[Workload]:
    found = []
    for shape in ((64, 16, 28, 28), (32, 64, 32, 32)):
        result = (*shape[:2], shape[2] // 2, shape[3] // 2)
        forward, both = pair(str(shape), "pooling", "max_pool2d", (normal(*shape),), result)
        found += [forward, Workload(**{**vars(both), "goals": best(3.0)})]
    return found


def optimizers() -> list[Workload]:
    found = []
    for name, side, count in (("1 M parameters", 512, 4), ("10 M parameters", 1024, 10)):
        inputs = (normal(side, side),) * (2 * count)
        work = 7.0 * 4 * side * side * count  # reads w, g, m, v, writes w, m, v
        for fused, goal in ((False, 5.0), (True, 1.2)):
            found.append(Workload(
                f"{name}, PyTorch {'fused' if fused else 'default'}", "optimizer", "adam", inputs,
                {"count": count, "fused": fused}, bytes=work, limit="update" if count > 4 else "",
                goals=(Goal("torch", goal),), calls=3,
            ))  # fmt: skip
    return found


def memory() -> list[Workload]:
    a = normal(4096, BEYOND // 4096)
    table: list[tuple[str, str, tuple[Draw, ...], dict[str, Any], str]] = [
        ("a + b", "add", (a, a), {}, "triad"),
        ("3 a", "scale", (a,), {}, "copy"),
        ("relu", "relu", (a,), {}, "copy"),
        ("exp", "exp", (a,), {}, "copy"),
        ("sum", "reduce", (uniform(4096, BEYOND // 4096),), {"name": "sum", "dim": None}, "read"),
        ("max of each row", "reduce", (a,), {"name": "max", "dim": [1]}, "read"),
        ("sum of each column", "reduce", (uniform(4096, BEYOND // 4096),), {"name": "sum", "dim": [0]}, "read"),
    ]
    results = {"reduce": 0}
    return [
        Workload(f"{name}, 16 M numbers", "memory", kind, inputs, options,
                 bytes=traffic(inputs, results.get(kind, BEYOND)), limit=limit, goals=(Goal("memory", 0.85),))
        for name, kind, inputs, options, limit in table
    ]  # fmt: skip


def networks() -> list[Workload]:
    heads, image = normal(12, 4, 64, 32), (64, 32, 14, 14)
    x, w = normal(768, 128), normal(128)
    table: list[tuple[str, str, tuple[Draw, ...], tuple[int, ...]]] = [
        ("causal attention, 12 x 4 heads, 64 x 32", "attention", (heads,) * 3, (12, 4, 64, 32)),
        ("causal attention, 2 x 8 heads, 512 x 64", "attention", (normal(2, 8, 512, 64),) * 3, (2, 8, 512, 64)),
        ("embedding, 768 of 65 rows of 128", "embedding", (integers(12, 64, below=65), normal(65, 128)), (12, 64, 128)),
        ("batch norm, (64, 32, 14, 14)", "batch_norm", (normal(*image), normal(32), normal(32)), image),
        ("RMS norm, 768 rows of 128", "rms_norm", (x, w), (768, 128)),
        ("layer norm, 768 rows of 128", "layer_norm", (x, w, w), (768, 128)),
    ]
    C = 128
    block = normal(12, 64, C)
    weights = (
        *(normal(C), normal(C), normal(3 * C, C, scale=0.1), normal(3 * C), normal(C, C, scale=0.1), normal(C)),
        *(normal(C), normal(C), normal(4 * C, C, scale=0.1), normal(4 * C), normal(C, 4 * C, scale=0.1), normal(C)),
    )
    flops = 3 * 2 * 12 * 64 * (12 * C * C + 64 * C)  # the triangle of attention's two products counts half
    whole = pair("a transformer's block, 12 x 64 x 128, 4 heads", "networks", "block", (block, *weights), block.shape,
                 options={"heads": 4}, flops=flops, limit="peak", bound=1e-4)[1]  # fmt: skip
    return [whole] + [
        pair(name, "networks", kind, inputs, result, bound=5e-5)[1] for name, kind, inputs, result in table
    ]
