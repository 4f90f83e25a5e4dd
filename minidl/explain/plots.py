"""Pictures of a training run: curves over epochs, and the confusion matrix.

Drawn without matplotlib's global state, so that they work in scripts, servers and notebooks alike (a picture that
ends a notebook cell shows itself). The colours are Okabe and Ito's, which stay apart for colour-blind readers; solid is
training and dashed validation, so that the curves stay apart in grey too.
"""

from __future__ import annotations

import io
import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from minidl.serialization import atomic_write

try:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from PIL import Image  # matplotlib needs it, too
except ImportError as error:  # pragma: no cover
    raise ImportError(
        "plots need matplotlib, which is not installed; install it with: pip install matplotlib"
    ) from error

__all__ = ["Picture", "confusion", "curves", "descent", "images", "panels", "tables"]

COLOURS = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9"]
SCREEN = 96  # pixels an inch
BLUE, ORANGE, GREEN, GREY, INK = "#0072B2", "#D55E00", "#009E73", "#8a8f98", "#24292f"


class Picture(Figure):
    """A matplotlib figure that shows itself at the end of a notebook cell and saves itself whole or not at all."""

    def __init__(self, width: float, height: float) -> None:
        super().__init__(figsize=(width, height), dpi=144, layout="constrained", facecolor="white")
        FigureCanvasAgg(self)

    def png(self) -> bytes:
        """The picture as a PNG file's bytes, in 160 colours: a third of the size, and no eye sees it."""
        whole, small = io.BytesIO(), io.BytesIO()
        self.savefig(whole, format="png")
        Image.open(whole).convert("RGB").quantize(160, dither=Image.Dither.NONE).save(small, "PNG", optimize=True)
        return small.getvalue()

    def _repr_png_(self) -> tuple[bytes, dict[str, int]]:
        width, height = self.get_size_inches() * SCREEN  # as large as its letters are meant; sharp on fine screens
        return self.png(), {"width": round(width), "height": round(height)}

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write a PNG, replacing `path` in one step."""
        with atomic_write(path) as file:
            file.write(self.png())


def curves(history: Iterable[Mapping[str, Any]], title: str = "", by: str = "epoch") -> Picture:
    """Draw the loss, and beside it the metrics, against the epochs.

    Args:
        history: rows with "epoch", "train_loss", "valid_loss" and, under the same two prefixes, the metrics: what
            `train.fit` returns.
        title: a line above the picture.
        by: the column to draw against, "epoch" or another that counts.

    Returns:
        The picture; `.save(path)` writes it as PNG.

    Raises:
        ValueError: the history is empty.
    """
    rows = list(history)
    if not rows:
        raise ValueError("curves: the history is empty; train for at least one epoch first")
    names = [key.removeprefix("train_") for key in rows[0] if key.startswith("train_")]
    metrics = [name for name in names if name != "loss"]
    picture = Picture(4.8 * (1 + bool(metrics)), 3.6)
    axes = picture.subplots(1, 1 + bool(metrics), squeeze=False)[0]
    _draw(axes[0], rows, ["loss"], by)
    axes[0].set_ylabel("loss")
    losses = [row[key] for row in rows for key in ("train_loss", "valid_loss") if row.get(key)]
    if losses and min(losses) > 0 and max(losses) > 20 * min(losses):
        axes[0].set_yscale("log")
        axes[0].yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    if metrics:
        _draw(axes[1], rows, metrics[:3], by)
        axes[1].set_ylabel(_title(metrics[0]) if len(metrics) == 1 else "metrics")
        if metrics == ["accuracy"]:
            axes[1].yaxis.set_major_formatter(lambda value, _: f"{100 * value:.4g} %")
    if title:
        picture.suptitle(title, fontsize=11, color=INK)
    return picture


def _draw(axes: Any, rows: Sequence[Mapping[str, Any]], names: Sequence[str], by: str) -> None:
    pairs = [(BLUE, ORANGE), (GREEN, "#CC79A7"), ("#56B4E9", "#E69F00")]
    for name, (first, second) in zip(names, pairs, strict=False):
        for prefix, label, colour, line in (("train_", "training", first, "-"), ("valid_", "validation", second, "--")):
            points = [(row[by], row[prefix + name]) for row in rows if row.get(prefix + name) is not None]
            if points:
                label = label if len(names) == 1 else f"{_title(name)}, {label}"
                marker = "o" if len(points) < 40 else None
                axes.plot(
                    *zip(*points, strict=True),
                    line,
                    color=colour,
                    label=label,
                    linewidth=1.8,
                    marker=marker,
                    markersize=3.2,
                )
    axes.set_xlabel(by)
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.grid(color="#e6e8eb", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.legend(frameon=False, fontsize=9)
    _quiet(axes)


def confusion(matrix: Any, classes: Sequence[Any] | None = None, title: str = "") -> Picture:
    """Draw a confusion matrix: true classes down, predicted across, each cell shaded by its share of its row.

    Args:
        matrix: counts (C, C), as `train.confusion_matrix` returns.
        classes: the classes' names; by default 0 to C - 1.
        title: a line above the picture.

    Returns:
        The picture; `.save(path)` writes it as PNG.
    """
    M = np.asarray(matrix)
    if M.ndim != 2 or M.shape[0] != M.shape[1]:
        raise ValueError(f"confusion: got an array of shape {M.shape}; expected counts (C, C)")
    C = len(M)
    names = [str(name) for name in (classes if classes is not None else range(C))]
    size = float(np.clip(2.2 + 0.34 * C, 3.6, 12))
    picture = Picture(size + 0.9, size)
    axes = picture.subplots()
    share = 100 * M / np.maximum(M.sum(1, keepdims=True), 1)
    image = axes.imshow(share, cmap="Blues", vmin=0, vmax=100)
    if C <= 26:
        for i, j in zip(*np.nonzero(M), strict=True):
            colour = "white" if share[i, j] > 55 else (ORANGE if i != j else INK)
            weight = "normal" if i == j else "bold"
            axes.text(
                j, i, f"{M[i, j]}", ha="center", va="center", fontsize=8 if C <= 12 else 6, color=colour, weight=weight
            )
    step = max(1, -(-C // 26))
    crowded = C * max(map(len, names)) > 12 * size  # characters that fit beside each other
    axes.set_xticks(range(0, C, step), names[::step], rotation=90 if crowded else 0, fontsize=9)
    axes.set_yticks(range(0, C, step), names[::step], fontsize=9)
    axes.set_xlabel("predicted class")
    axes.set_ylabel("true class")
    axes.set_xticks(np.arange(C + 1) - 0.5, minor=True)
    axes.set_yticks(np.arange(C + 1) - 0.5, minor=True)
    axes.grid(which="minor", color="#e6e8eb", linewidth=0.6)
    axes.tick_params(which="both", length=0)
    bar = picture.colorbar(image, ax=axes, shrink=0.82, pad=0.02)
    bar.set_label("share of the true class, %", fontsize=9, color=INK)
    bar.outline.set_visible(False)
    bar.ax.tick_params(labelsize=8, color=GREY, labelcolor=INK)
    _quiet(axes)
    if title:
        picture.suptitle(title, fontsize=11, color=INK)
    return picture


def panels(count: int = 1, width: float = 4.4, height: float = 3.2) -> tuple[Picture, list[Any]]:
    """An empty picture with so many axes side by side, to draw in with matplotlib; sizes in inches, of each."""
    picture = Picture(width * count, height)
    axes = list(picture.subplots(1, count, squeeze=False)[0])
    for one in axes:
        one.set_prop_cycle(color=COLOURS)
        one.grid(color="#e6e8eb", linewidth=0.8)
        one.set_axisbelow(True)
        one.title.set(size=10, color=INK)
        _quiet(one)
    return picture, axes


def images(
    arrays: Any, captions: Sequence[Any] = (), columns: int = 10, colours: str = "Greys", height: float = 1.0
) -> Picture:
    """Draw small images in rows, each with its caption.

    Args:
        arrays: (N, H, W) or (N, 1, H, W); values with a sign are centred at 0 (white) on a scale from blue to red.
        captions: a text for each, or none.
        columns: how many in a row.
        colours: matplotlib's name for the colours of values without a sign.
        height: of one image, inches.

    Returns:
        The picture; `.save(path)` writes it as PNG.
    """
    stack = np.asarray(arrays.detach().array if hasattr(arrays, "detach") else arrays)
    stack = stack[:, 0] if stack.ndim == 4 and stack.shape[1] == 1 else stack
    if stack.ndim != 3 or not len(stack):
        raise ValueError(f"images: got an array of shape {stack.shape}; expected (N, H, W) or (N, 1, H, W), N above 0")
    columns = min(columns, len(stack))
    rows = -(-len(stack) // columns)
    step = height + (0.2 * (1 + str(captions[0]).count("\n")) if len(captions) else 0.04)
    picture = Picture(columns * height * stack.shape[2] / stack.shape[1] + 0.1, rows * step + 0.1)
    signed = stack.min() < 0
    reach = float(np.abs(stack).max())
    for i, axes in enumerate(picture.subplots(rows, columns, squeeze=False).flat):
        axes.set_axis_off()
        if i >= len(stack):
            continue
        axes.imshow(stack[i], cmap="RdBu_r" if signed else colours, vmin=-reach if signed else 0, vmax=reach)
        if i < len(captions):
            axes.set_title(str(captions[i]), fontsize=9, pad=3, color=INK)
    return picture


def tables(arrays: Mapping[str, Any] | None = None, /, **more: Any) -> Picture:
    """Draw small arrays of numbers, each a table of shaded cells under its name.

    Args:
        arrays, more: by name, tensors or arrays of up to two dimensions.

    Returns:
        The picture; `.save(path)` writes it as PNG.
    """
    found = {}
    for name, array in {**(arrays or {}), **more}.items():
        table = np.asarray(array.detach().array if hasattr(array, "detach") else array)
        if table.ndim > 2 or not table.size:
            raise ValueError(f"tables: {name} has shape {table.shape}; expected up to two dimensions, and not empty")
        found[name] = np.atleast_2d(table)
    cell = 0.5
    widths = [max(table.shape[1], 0.16 * len(name)) for name, table in found.items()]
    rows = max(len(table) for table in found.values())
    picture = Picture(cell * (sum(widths) + 0.8 * len(widths)), cell * rows + 0.4)
    reach = max(float(np.abs(table.astype(float)).max()) for table in found.values()) or 1.0
    every = picture.subplots(1, len(found), squeeze=False, gridspec_kw={"width_ratios": widths})[0]
    for axes, (name, table) in zip(every, found.items(), strict=True):
        axes.imshow(table.astype(float), cmap="RdBu_r", vmin=-2 * reach, vmax=2 * reach)
        for (i, j), value in np.ndenumerate(table):
            axes.text(j, i, f"{value:.4g}", ha="center", va="center", fontsize=9, color=INK)
        axes.set_xticks(np.arange(table.shape[1] + 1) - 0.5, minor=True)
        axes.set_yticks(np.arange(len(table) + 1) - 0.5, minor=True)
        axes.grid(which="minor", color="white", linewidth=1.5)
        axes.tick_params(which="both", length=0, labelbottom=False, labelleft=False)
        axes.set_title(f"{name}  {'×'.join(map(str, table.shape))}", fontsize=9, color=INK)
        for side in axes.spines.values():
            side.set_visible(False)
    return picture


def descent(
    loss: Any,
    paths: Mapping[str, Any],
    across: tuple[float, float],
    up: tuple[float, float],
    names: Sequence[str] = ("w₁", "w₂"),
) -> Picture:
    """Draw the level lines of a loss of two parameters, and the ways that optimizers took on it.

    Args:
        loss: `loss(w1, w2)` of two arrays, elementwise.
        paths: by the optimizer's name, the parameters step by step, (T, 2).
        across, up: the ranges of the two parameters.
        names: of the two axes.

    Returns:
        The picture; `.save(path)` writes it as PNG.
    """
    picture, (axes,) = panels(1, 6.4, 4.6)
    x, y = np.meshgrid(np.linspace(*across, 240), np.linspace(*up, 240))
    height = np.asarray(loss(x, y), float)
    height = height - height.min()
    levels = np.linspace(0, np.sqrt(height.max()), 22) ** 2  # evenly spaced down a parabola
    axes.contourf(x, y, height, levels, cmap="Greys", alpha=0.35)
    axes.contour(x, y, height, levels, colors="#9aa3ad", linewidths=0.6)
    for (name, path), colour in zip(paths.items(), COLOURS * 3, strict=False):
        steps = np.asarray(path, float)
        axes.plot(steps[:, 0], steps[:, 1], color=colour, label=f"{name}", linewidth=1.6, marker="o", markersize=2.6)
        axes.plot(*steps[-1], marker="o", color=colour, markersize=7, markeredgecolor="white")
    axes.plot(*next(iter(paths.values()))[0], marker="s", color=INK, markersize=6)
    low = np.unravel_index(height.argmin(), height.shape)
    axes.plot(x[low], y[low], marker="*", color=INK, markersize=13, markeredgecolor="white")
    axes.set(xlim=across, ylim=up, xlabel=names[0], ylabel=names[1])
    axes.grid(False)
    axes.legend(frameon=True, framealpha=0.9, edgecolor="none", fontsize=9, loc="best")
    return picture


def _quiet(axes: Any) -> None:
    """Grey frame and numbers, ink for the words."""
    for side in axes.spines.values():
        side.set_color("#c9cdd2")
    axes.tick_params(which="both", color="#c9cdd2")
    axes.tick_params(labelcolor=INK, labelsize=9)
    axes.xaxis.label.set_color(INK)
    axes.yaxis.label.set_color(INK)


def _title(name: str) -> str:
    return {"r2": "R²", "mae": "mean absolute error", "rmse": "root mean squared error", "f1": "F1"}.get(name, name)
