"""What one operation on a tiny tensor costs: the tape and the call path, not the arithmetic.

    python benchmarks/overhead.py [--rounds 41] [--repeats 2000] [--readme]

Each operation on 4 floats (matmul: 2 x 2), recorded, without and with its backward, in minidl and PyTorch in turn,
round by round, one thread each. Prints a table (microseconds, ratios), keeps JSON and a bar chart in
benchmarks/results. Without PyTorch only minidl is measured.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

from _report import README, RESULTS, between_markers, caption, interleaved, keep, median_and_spread, table

import minidl

OPERATIONS: dict[str, tuple[int, Callable[..., Any]]] = {
    "a + b": (2, lambda a, b: a + b),
    "a * b": (2, lambda a, b: a * b),
    "a @ b": (2, lambda a, b: a @ b),
    "exp": (1, lambda a: a.exp()),
    "relu": (1, lambda a: a.relu()),
    "sum": (1, lambda a: a.sum()),
}


def contestants(library: Any, name: str) -> tuple[Callable[[], Any], Callable[[], Any]]:
    """The operation alone, and with its backward."""
    count, f = OPERATIONS[name]
    shape = (2, 2) if "@" in name else (4,)
    leaves = [library.ones(*shape, requires_grad=True) for _ in range(count)]
    G = library.ones(tuple(f(*leaves).shape))
    return lambda: f(*leaves), lambda: f(*leaves).backward(G)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=41)
    parser.add_argument("--repeats", type=int, default=2000)
    parser.add_argument("--readme", action="store_true", help="write the table into README.md")
    options = parser.parse_args()
    libraries: dict[str, Any] = {"minidl": minidl}
    minidl.set_num_threads(1)
    try:
        import torch

        torch.set_num_threads(1)
        libraries["torch"] = torch
    except ImportError:
        print("PyTorch is not installed, so it is left out: pip install '.[peers]'")
    rows, figures = [], []
    for name in OPERATIONS:
        for mode in (0, 1):
            runs = {key: contestants(library, name)[mode] for key, library in libraries.items()}
            times = interleaved(runs, options.rounds, options.repeats // (1 + 2 * mode))
            found = {key: median_and_spread(t) for key, t in times.items()}
            ratio = found["torch"][0] / found["minidl"][0] if "torch" in found else None
            what = f"`{name}`" + (" with backward" if mode else " recorded")
            cells = [f"{m * 1e6:.2f} ± {s * 100:.0f} %" for m, s in found.values()]
            rows.append([what, *cells, *([f"{ratio:.2f}"] if ratio else [])])
            figures.append({"what": what, "seconds": {k: m for k, (m, _) in found.items()}, "ratio": ratio})
    head = ["on 4 floats", *(f"{key} µs" for key in libraries), *(["torch / minidl"] if "torch" in libraries else [])]
    text = table(head, rows)
    print(text)
    print(f"kept in {keep('overhead', figures).name}")
    if "torch" in libraries:
        draw(figures)
        if options.readme:
            between_markers(README, "overhead", f"{caption()}\n\n{text}")


def draw(figures: list[dict[str, Any]]) -> None:
    """A bar for each row: how many times faster than PyTorch."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    names = [f["what"].replace("`", "") for f in figures][::-1]
    axes.barh(names, [f["ratio"] for f in figures][::-1], color="#0072B2")
    axes.axvline(1, color="#444444", linewidth=1)
    axes.set_xlabel("PyTorch's time / minidl's time (above 1: minidl is faster)")
    axes.set_title("One operation on 4 floats")
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(RESULTS / "overhead.png", dpi=120)


if __name__ == "__main__":
    main()
