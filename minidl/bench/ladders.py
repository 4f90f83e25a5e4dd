"""Rows for the rungs of the ladders: every form of a kernel, from the plainest to the one that ships."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from math import prod
from typing import Any

from minidl.bench.workload import Draw, Workload, normal, traffic, uniform

__all__ = ["TITLE", "rung_named", "rung_workloads"]

TITLE = "The ladders, rung by rung; all but the last rungs work on one thread"


def ladder(name: str) -> dict[str, Callable[..., Any]]:
    """The rungs of a ladder by name, slowest first; none where this installation has no such ladder."""
    try:
        found = getattr(importlib.import_module("minidl.kernels.ladders"), name)
    except (ImportError, AttributeError):
        return {}
    return dict(iter(found))


def rung_named(name: str, rung: str) -> Callable[..., Any]:
    """One rung; it takes NumPy arrays, and the kernel's further arguments by position."""
    return ladder(name)[rung]


def rung_workloads() -> list[Workload]:
    """Each rung, on a size that pure Python ends within a second."""
    n, k, image, filters = 256, 3, (4, 8, 28, 28), 16
    result = (image[0], filters, *image[2:])
    convolution = (normal(*image), normal(filters, image[1], k, k, scale=0.1), normal(filters))
    same = [[1, 1], [1, 1], [1, 1], 1]  # stride, padding, dilation, groups
    x = uniform(1024, 1024)
    # ladder, what its name says, inputs, further arguments, the same work for the exact results, flops, results
    table: list[tuple[str, str, tuple[Draw, ...], list[Any], list[Any], float, int]] = [
        ("matmul", f"{n} x {n} x {n}", (normal(n, n),) * 2, [], ["matmul", {"form": "A B"}], 2.0 * n**3, n * n),
        ("conv2d", f"{image} -> {filters}, {k} x {k}", convolution, same, ["conv2d", {"padding": 1}],
         2.0 * prod(result) * image[1] * k * k, prod(result)),
        ("sum", "1024 x 1024, each row", (x,), [[1], False], ["reduce", {"name": "sum", "dim": [1]}], 0.0, 1024),
        ("softmax", "1024 rows of 1024", (x,), [1], ["softmax", {}], 0.0, 1 << 20),
    ]  # fmt: skip
    return [
        Workload(
            f"{name}, {what}: {rung}", "ladders", "rung", inputs,
            {"ladder": name, "rung": rung, "arguments": arguments, "exact": exact},
            flops=flops, bytes=traffic(inputs, results), limit="peak" if flops else "copy",
            only=("minidl",), bound=1e-4,
        )
        for name, what, inputs, arguments, exact, flops, results in table
        for rung in ladder(name)
    ]  # fmt: skip
