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
except ImportError as error:  # pragma: no cover
    raise ImportError(
        "plots need matplotlib, which is not installed; install it with: pip install matplotlib"
    ) from error

__all__ = ["Picture", "confusion", "curves"]

BLUE, ORANGE, GREEN, GREY, INK = "#0072B2", "#D55E00", "#009E73", "#8a8f98", "#24292f"


class Picture(Figure):
    """A matplotlib figure that shows itself at the end of a notebook cell and saves itself whole or not at all."""

    def __init__(self, width: float, height: float) -> None:
        super().__init__(figsize=(width, height), dpi=144, layout="constrained", facecolor="white")
        FigureCanvasAgg(self)

    def _repr_png_(self) -> bytes:
        buffer = io.BytesIO()
        self.savefig(buffer, format="png")
        return buffer.getvalue()

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write a PNG, replacing `path` in one step."""
        with atomic_write(path) as file:
            file.write(self._repr_png_())


def curves(history: Iterable[Mapping[str, Any]], title: str = "") -> Picture:
    """Draw the loss, and beside it the metrics, against the epochs.

    Args:
        history: rows with "epoch", "train_loss", "valid_loss" and, under the same two prefixes, the metrics: what
            `train.fit` returns.
        title: a line above the picture.

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
    _draw(axes[0], rows, ["loss"])
    axes[0].set_ylabel("loss")
    losses = [row[key] for row in rows for key in ("train_loss", "valid_loss") if row.get(key)]
    if losses and min(losses) > 0 and max(losses) > 20 * min(losses):
        axes[0].set_yscale("log")
        axes[0].yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    if metrics:
        _draw(axes[1], rows, metrics[:3])
        axes[1].set_ylabel(_title(metrics[0]) if len(metrics) == 1 else "metrics")
        if metrics == ["accuracy"]:
            axes[1].yaxis.set_major_formatter(lambda value, _: f"{100 * value:.4g} %")
    if title:
        picture.suptitle(title, fontsize=11, color=INK)
    return picture


def _draw(axes: Any, rows: Sequence[Mapping[str, Any]], names: Sequence[str]) -> None:
    pairs = [(BLUE, ORANGE), (GREEN, "#CC79A7"), ("#56B4E9", "#E69F00")]
    for name, (first, second) in zip(names, pairs, strict=False):
        for prefix, label, colour, line in (("train_", "training", first, "-"), ("valid_", "validation", second, "--")):
            points = [(row["epoch"], row[prefix + name]) for row in rows if row.get(prefix + name) is not None]
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
    axes.set_xlabel("epoch")
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
