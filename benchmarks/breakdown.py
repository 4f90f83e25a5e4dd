"""Where minidl's time goes in a row of the benchmarks: each kernel verb's share, and what is left for Python.

    python benchmarks/breakdown.py "MLP 2-16-16-1"         the rows whose name holds this text
    python benchmarks/breakdown.py "a + b" --threads 1

For every row a table: verb and shapes, calls and microseconds a run, arithmetic as a share of the machine's peak where
the verb is a product or a convolution. The run is timed first without the stopwatch, which itself costs about a tenth
of a microsecond a call; `Python` is that time less the verbs'.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections import defaultdict
from collections.abc import Callable
from math import prod
from typing import Any

import numpy as np

from minidl import kernels
from minidl.bench import kernels as rows_of_kernels
from minidl.bench import overhead, steps
from minidl.bench.libraries.tensors import Minidl
from minidl.bench.report import table
from minidl.kernels import limits, native

ROUNDS, SECONDS = 15, 0.02


def median_seconds(run: Callable[[], Any]) -> float:
    """Of one call, after a start of some milliseconds."""
    begin, calls = time.perf_counter(), 0
    while time.perf_counter() < begin + 0.05 or calls < 3:
        run()
        calls += 1
    repeats = max(1, round(SECONDS * calls / (time.perf_counter() - begin)))
    found = []
    for _ in range(ROUNDS):
        begin = time.perf_counter()
        for _ in range(repeats):
            run()
        found.append((time.perf_counter() - begin) / repeats)
    return statistics.median(found)


class Stopwatch:
    """The native verbs, each call timed under its name and its arguments' shapes."""

    def __init__(self) -> None:
        self.seconds: dict[str, list[float]] = defaultdict(list)
        self.flops: dict[str, float] = {}

    def __getattr__(self, name: str) -> Any:
        verb = getattr(native, name)

        def timed(*args: Any) -> Any:
            begin = time.perf_counter()
            result = verb(*args)
            spent = time.perf_counter() - begin
            shapes = [a.shape for a in args if isinstance(a, np.ndarray)]
            key = f"{name} {' '.join('x'.join(map(str, s)) or '()' for s in shapes)}".strip()
            self.seconds[key].append(spent)
            self.flops[key] = arithmetic(name, shapes, args)
            return result

        return timed


def arithmetic(name: str, shapes: list[tuple[int, ...]], args: tuple[Any, ...]) -> float:
    """Multiplications and additions of a product or a convolution by its definition; 0 of other verbs."""
    if name == "matmul":
        return 2.0 * prod(shapes[0]) * shapes[1][-1]
    if name == "linear":
        return 2.0 * prod(shapes[0]) * shapes[1][0]
    if name == "linear_gradient":
        return 2.0 * prod(shapes[0]) * shapes[2][1] * sum(args[3][:2])
    if name == "conv2d":
        (n, _, h, w), filters = shapes[0], shapes[1]
        return 2.0 * n * h * w * prod(filters)  # of equal sizes before and after, as all rows have
    if name in ("conv2d_input", "conv2d_weight"):
        g, other = (shapes[0], shapes[1]) if name == "conv2d_input" else (shapes[1], shapes[0])
        channels = other[1]
        return 2.0 * prod(g) * channels * prod(args[2] if name == "conv2d_weight" else other[2:])
    return 0.0


def profile(library: Minidl, workload: Any, peak: float) -> None:
    run = library.run(workload.kind, workload.arrays(), workload.options, workload.backward)
    whole = median_seconds(run)
    watch, before = Stopwatch(), kernels._by_array[np.ndarray]
    kernels._by_array[np.ndarray] = watch
    try:
        run()
        watch.seconds.clear()
        begin, runs = time.perf_counter(), 0
        while time.perf_counter() < begin + 0.5 or runs < 3:
            run()
            runs += 1
    finally:
        kernels._by_array[np.ndarray] = before
    lines = []
    for key, seconds in watch.seconds.items():
        calls = len(seconds) / runs
        each = statistics.median(seconds)
        share = f"{100 * watch.flops[key] / each / peak:.0f} %" if watch.flops[key] else ""
        lines.append((each * calls, [key, f"{calls:g}", f"{each * calls * 1e6:.1f}", share]))
    lines.sort(reverse=True)
    verbs = sum(spent for spent, _ in lines)
    cells = [cells for _, cells in lines] + [["Python", "", f"{max(0.0, whole - verbs) * 1e6:.1f}", ""]]
    print(f"\n{workload.name}: {whole * 1e6:.1f} µs a run\n")
    print(table(["verb and shapes", "calls", "µs a run", "of the peak"], cells))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rows", help="a part of the rows' names")
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    every = [*rows_of_kernels.workloads(), *steps.workloads(), *overhead.workloads()]
    chosen = [row for row in every if options.rows in row.name and row.kind != "import"]
    if not chosen:
        print(f"no row of the benchmarks is named like {options.rows!r}; `minidl bench` prints their names")
        return 1
    library = Minidl(options.threads)
    peak = limits.fma_peak(threads=options.threads)
    for row in chosen:
        profile(library, row, peak)
    return 0


if __name__ == "__main__":
    sys.exit(main())
