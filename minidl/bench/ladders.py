"""Rows for the rungs of the ladders: every version of a kernel, from the plainest to the one that ships."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

from minidl.bench.workload import Workload, normal, traffic

__all__ = ["rung_named", "rung_workloads"]

SLOW = ("python", "pure_python")  # rungs without a loop of machine code: on a smaller size


def ladder(name: str) -> dict[str, Callable[..., Any]]:
    """The rungs of a ladder by name, first to last; none where this installation has no such ladder."""
    try:
        found = getattr(importlib.import_module("minidl.kernels.ladders"), name)
    except (ImportError, AttributeError):
        return {}
    return dict(found)


def rung_named(name: str, rung: str) -> Callable[..., Any]:
    return ladder(name)[rung]


def rung_workloads() -> list[Workload]:
    """Each rung of matmul, on a size that it ends in a moment."""
    found = []
    for rung in ladder("matmul"):
        n = 64 if rung in SLOW else 256
        inputs = (normal(n, n), normal(n, n))
        found.append(Workload(
            f"matmul, {rung}, {n} x {n} x {n}", "ladders", "rung", inputs,
            {"ladder": "matmul", "rung": rung, "options": {"form": "A B"}},
            flops=2 * n**3, bytes=traffic(inputs, n * n), limit="peak", only=("minidl",),
        ))  # fmt: skip
    return found
