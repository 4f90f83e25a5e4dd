"""Pictures of a run: the roofline, the ratios to the peers, matrix products over their sizes."""

from __future__ import annotations

from collections.abc import Sequence
from math import atan2, degrees
from pathlib import Path
from typing import Any

from minidl.bench.referee import Row
from minidl.bench.results import ratios, short_title, three_digits
from minidl.bench.suite import PARTS, TITLES, Results
from minidl.explain.plots import GREY, INK, Picture, panels

__all__ = ["draw", "ladder_bars", "ratio_bars", "roofline", "size_curves"]

PEER_COLOURS = {
    "minidl": "#0072B2", "numpy": "#D55E00", "torch": "#009E73", "torch.compile": "#56B4E9", "jax": "#CC79A7",
    "tinygrad": "#E69F00",
}  # fmt: skip
PEER_MARKS = {"numpy": "s", "torch": "o", "torch.compile": "D", "jax": "^", "tinygrad": "v"}
STEPS = [0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100, 200]
PALE = {"slower": "#f0b28f", "faster": "#8fbfe0"}


def draw(results: Results, folder: Path) -> list[Path]:
    """Every picture for which something was measured, as PNG files in the folder."""
    pictures: dict[str, Picture] = {}
    if results.limits and any(row.workload.family in ("matmul", "conv2d", "ladders") for row in results.rows):
        pictures["roofline"] = roofline(results)
    for part, module in PARTS.items():
        families = [family for family in module.FAMILIES if family not in ("sizes", "ladders")]
        rows = [row for row in results.rows if row.workload.family in families and ratios(row)]
        if rows:
            pictures[part] = ratio_bars(rows, 2 if len(rows) > 40 else 1)
    rungs = [row for row in results.of("ladders") if "minidl" in row.timings]
    if rungs:
        pictures["ladders"] = ladder_bars(rungs)
    if results.of("sizes"):
        pictures["sizes"] = size_curves(results)
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for name, picture in pictures.items():
        paths.append(folder / f"{name}.png")
        picture.save(paths[-1])
    return paths


def roofline(results: Results) -> Picture:
    """GFLOP/s over the operations that a byte of inputs and results takes part in, under the machine's limits.

    A kernel whose data stay in the caches may stand above the slope, which is the memory's.
    """
    picture, (axes,) = panels(1, 8.6, 5.8)
    threads = str(results.threads)
    flops = {isa: found[threads] / 1e9 for isa, found in results.limits["flops"].items()}
    stream = max(found[threads] for found in results.limits["bandwidth"].values()) / 1e9
    ladder = [row for row in results.of("ladders") if row.workload.options["ladder"] == "matmul"]
    groups: dict[str, tuple[str, str, list[Row]]] = {
        "matrix products": ("#0072B2", "o", results.of("matmul")),
        "convolutions": ("#009E73", "^", [r for r in results.of("conv2d") if not r.workload.backward]),
        "convolutions with gradients": ("#009E73", "v", [r for r in results.of("conv2d") if r.workload.backward]),
        "the ladder of matmul": ("#D55E00", "D", ladder),
    }
    points = [point(row, "minidl") for _, _, rows in groups.values() for row in rows if "minidl" in row.timings]
    points = points or [(1.0, 1.0)]
    left, right = min(0.5, *(x for x, _ in points)), max(512.0, *(x * 1.5 for x, _ in points))
    low = min(stream * left * 0.8, *(y * 0.7 for _, y in points))
    top = max(flops.values())
    for isa, peak in flops.items():
        axes.plot([max(left, peak / stream), right], [peak, peak], color=GREY, linewidth=1.4 if peak == top else 0.9)
        note(axes, f"{isa}: {peak:,.0f} GFLOP/s", (max(left, peak / stream), peak), (28, 3), va="bottom")
    axes.plot([left, top / stream], [left * stream, top], color=GREY, linewidth=1.4)
    along = {"rotation": degrees(atan2(stream, 1)), "transform_rotates_text": True, "rotation_mode": "anchor"}
    axes.text(
        left * 1.2, left * stream * 1.35, f"memory: {stream:.0f} GB/s", fontsize=8, color=INK, va="bottom", **along
    )
    for peer in results.columns():
        rows = [row for _, _, rows in groups.values() for row in rows if peer in row.timings]
        if rows and peer != "torch.compile":
            axes.scatter(*zip(*[point(row, peer) for row in rows], strict=True), s=9, color=PEER_COLOURS[peer],
                         alpha=0.55, linewidths=0, label=peer, zorder=2)  # fmt: skip
    for label, (colour, mark, rows) in groups.items():
        found = [(*point(row, "minidl"), row) for row in rows if "minidl" in row.timings]
        if found:
            axes.scatter([x for x, _, _ in found], [y for _, y, _ in found], s=42, color=colour, marker=mark,
                         edgecolors="white", linewidths=0.7, label=f"minidl, {label}", zorder=3)  # fmt: skip
        if label.startswith("the ladder"):
            below = 0.0
            for x, y, row in sorted(found, key=lambda each: each[1]):
                crowded = y < 1.3 * below  # then to the left of its point, and the next one to the right again
                side = {"ha": "right", "va": "center"} if crowded else {"va": "center"}
                note(axes, row.workload.options["rung"], (x, y), (-7, 0) if crowded else (7, 0), **side)
                below = 0.0 if crowded else y
    axes.set(xscale="log", yscale="log", xlim=(left, right), ylim=(low, top * 1.5))
    axes.set_xlabel("floating-point operations a byte")
    axes.set_ylabel("GFLOP/s")
    plain_numbers(axes)
    picture.legend(loc="outside lower center", ncols=4, fontsize=8, frameon=False)
    axes.set_title(f"Kernels under the machine's limits, float32, {threads} thread{'s' if threads != '1' else ''}")
    return picture


def ratio_bars(rows: Sequence[Row], columns: int = 1) -> Picture:
    """A bar for each row, to the fastest peer; a mark for each peer; above 1, minidl is faster."""
    per_column = -(-len(rows) // columns)
    families = len({row.workload.family for row in rows})
    picture = Picture(6.4 * columns, 1.0 + 0.165 * (per_column + 1.6 * families / columns))
    cells = [ratios(row) for row in rows]
    everything = [ratio for found in cells for ratio in found.values()]
    left, right = min(0.4, min(everything) * 0.85), min(max(4.0, max(everything) * 1.15), 200.0)
    for column, axes in enumerate(picture.subplots(1, columns, squeeze=False)[0]):
        part = slice(column * per_column, (column + 1) * per_column)
        names: list[str] = []
        places: list[float] = []
        headings: list[int] = []  # which of the names are families
        family, place = "", 0.6
        for row, found in zip(rows[part], cells[part], strict=True):
            if row.workload.family != family:
                family = row.workload.family
                place -= 1.6 if names else 0.6
                headings.append(len(names))
                names.append(short_title(TITLES[family]))
                places.append(place)
            place -= 1.0
            names.append(row.workload.name)
            places.append(place)
            best = min(found.values())
            axes.barh(place, best - 1, left=1, height=0.72, color=PALE["faster" if best >= 1 else "slower"], zorder=1)
            for peer, ratio in found.items():
                axes.plot(min(ratio, right * 0.97), place, PEER_MARKS.get(peer, "."), color=PEER_COLOURS.get(peer, INK),
                          markersize=3.4, markeredgewidth=0, zorder=3)  # fmt: skip
        axes.axvline(1, color=INK, linewidth=0.9, zorder=2)
        axes.set(xscale="log", xlim=(left, right), ylim=(place - 0.9, 0.7))
        axes.set_yticks(places, names, fontsize=7)
        for i, label in enumerate(axes.get_yticklabels()):
            label.set_fontweight("bold" if i in headings else "normal")
        axes.set_xlabel("peer's time / minidl's time; above 1 minidl is faster")
        axes.grid(axis="x", color="#e6e8eb", linewidth=0.8)
        axes.set_axisbelow(True)
        axes.tick_params(axis="y", length=0)
        axes.set_xticks([x for x in STEPS if left <= x <= right])
        plain_numbers(axes, "x")
        tidy(axes)
    shown = [peer for peer in PEER_MARKS if any(peer in found for found in cells)]
    marks: dict[str, Any] = {"markersize": 5, "linestyle": ""}
    handles = [picture.axes[0].plot([], [], PEER_MARKS[p], color=PEER_COLOURS[p], label=p, **marks)[0] for p in shown]
    picture.legend(handles=handles, loc="outside upper center", ncols=len(handles), fontsize=8, frameon=False)
    return picture


def ladder_bars(rows: Sequence[Row]) -> Picture:
    """How many times faster each rung is than the first one of its ladder."""
    ladders: dict[str, list[Row]] = {}
    for row in rows:
        ladders.setdefault(row.workload.options["ladder"], []).append(row)
    picture = Picture(8.6, 0.9 + 0.24 * sum(len(found) + 1.6 for found in ladders.values()) / (1 + (len(ladders) > 1)))
    grid = picture.subplots(-(-len(ladders) // 2), min(2, len(ladders)), squeeze=False).flat
    for axes, (name, found) in zip(grid, ladders.items(), strict=False):
        first = found[0].timings["minidl"].median
        times = [first / row.timings["minidl"].median for row in found]
        places = range(len(found), 0, -1)
        axes.barh(places, times, height=0.68, color=PALE["faster"])
        for place, factor in zip(places, times, strict=True):
            note(axes, three_digits(factor), (factor, place), (3, 0), va="center")
        axes.set(xscale="log", xlim=(min(0.8, *times), max(times) * 3.2))
        axes.set_yticks(places, [row.workload.options["rung"] for row in found])
        axes.set_title(f"{name}: times faster than {found[0].workload.options['rung']}", fontsize=9, color=INK)
        axes.tick_params(axis="y", length=0)
        plain_numbers(axes, "x")
        tidy(axes)
        axes.tick_params(axis="y", labelsize=8)
    return picture


def size_curves(results: Results) -> Picture:
    """GFLOP/s of square matrix products over their side."""
    picture, (axes,) = panels(1, 7.6, 4.6)
    rows = results.of("sizes")
    for name in ("minidl", *results.columns()):
        points = [(row.workload.inputs[0].shape[0], speed(row, name)) for row in rows if name in row.timings]
        if points:
            axes.plot(*zip(*points, strict=True), marker="o", markersize=4, label=name, color=PEER_COLOURS.get(name),
                      linewidth=2.2 if name == "minidl" else 1.2, zorder=3 if name == "minidl" else 2)  # fmt: skip
    if results.limits:
        threads = str(results.threads)
        peak = max(found[threads] for found in results.limits["flops"].values()) / 1e9
        axes.axhline(peak, color=GREY, linewidth=1.2, linestyle="--")
        note(axes, "measured peak", (rows[0].workload.inputs[0].shape[0], peak), (0, 3))
    axes.set_xscale("log", base=2)
    axes.set_ylim(bottom=0)
    axes.xaxis.set_major_formatter(lambda x, _: f"{x:g}")
    axes.set_xlabel("side of the matrices")
    axes.set_ylabel("GFLOP/s")
    axes.legend(fontsize=9, frameon=False)
    return picture


def speed(row: Row, name: str) -> float:
    """GFLOP/s."""
    return row.workload.flops / row.timings[name].median / 1e9


def point(row: Row, name: str) -> tuple[float, float]:
    """Where a row stands under the roof: operations a byte, GFLOP/s."""
    return row.workload.flops / row.workload.bytes, speed(row, name)


def note(axes: Any, text: str, place: tuple[float, float], beside: tuple[float, float], **more: Any) -> None:
    """Small words beside a place."""
    axes.annotate(text, place, xytext=beside, textcoords="offset points", fontsize=8, color=INK, **more)


def plain_numbers(axes: Any, which: str = "both") -> None:
    """0.5, 1, 10 instead of powers of ten."""
    for name in ("x", "y") if which == "both" else (which,):
        axis = getattr(axes, f"{name}axis")
        axis.set_major_formatter(lambda value, _: f"{value:g}")
        axis.set_minor_formatter(lambda value, _: "")


def tidy(axes: Any) -> None:
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.spines["bottom"].set_color("#c9cdd2")
    axes.tick_params(labelcolor=INK, labelsize=8)
    axes.tick_params(axis="y", labelsize=7)
    axes.xaxis.label.set(color=INK, size=8)
