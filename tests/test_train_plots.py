"""Pictures: what they show, not how they look."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

plots = pytest.importorskip("minidl.explain.plots", reason="matplotlib is not installed")


def rows(count: int) -> list[dict[str, float | None]]:
    return [
        {
            "epoch": epoch, "learning_rate": 0.1, "train_loss": 2.0 / epoch, "train_accuracy": 1 - 0.5 / epoch,
            "valid_loss": 2.2 / epoch, "valid_accuracy": 1 - 0.6 / epoch, "seconds": 1.0,
        }
        for epoch in range(1, count + 1)
    ]  # fmt: skip


def test_curves_hold_every_point(tmp_path: Path) -> None:
    picture = plots.curves(rows(5), "a run")
    loss, accuracy = picture.axes
    assert [line.get_label() for line in loss.lines] == ["training", "validation"]
    np.testing.assert_allclose(loss.lines[1].get_ydata(), [2.2 / epoch for epoch in range(1, 6)])
    np.testing.assert_allclose(accuracy.lines[0].get_xdata(), [1, 2, 3, 4, 5])
    assert (loss.get_xlabel(), loss.get_ylabel(), accuracy.get_ylabel()) == ("epoch", "loss", "accuracy")
    picture.save(tmp_path / "c.png")
    assert (tmp_path / "c.png").read_bytes().startswith(b"\x89PNG") and picture._repr_png_()[0].startswith(b"\x89PNG")


def test_curves_without_validation_or_metrics() -> None:
    picture = plots.curves([{"epoch": 1, "train_loss": 1.0, "valid_loss": None}, {"epoch": 2, "train_loss": 0.0}])
    assert len(picture.axes) == 1 and len(picture.axes[0].lines) == 1


def test_a_wide_range_of_losses_is_logarithmic() -> None:
    assert plots.curves(rows(50)).axes[0].get_yscale() == "log"
    assert plots.curves(rows(5)).axes[0].get_yscale() == "linear"


def test_confusion_shows_counts() -> None:
    matrix = np.array([[5, 0, 1], [0, 0, 0], [2, 0, 7]])
    axes = plots.confusion(matrix, ["cat", "dog", "a long name"]).axes[0]
    shown = {(text.get_position()[1], text.get_position()[0]): text.get_text() for text in axes.texts}
    assert shown == {(0, 0): "5", (0, 2): "1", (2, 0): "2", (2, 2): "7"}
    np.testing.assert_allclose(axes.images[0].get_array(), [[500 / 6, 0, 100 / 6], [0, 0, 0], [200 / 9, 0, 700 / 9]])
    assert [label.get_text() for label in axes.get_yticklabels()] == ["cat", "dog", "a long name"]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("predicted class", "true class")


def test_many_classes_stay_readable() -> None:
    axes = plots.confusion(np.eye(100, dtype=int)).axes[0]
    assert len(axes.get_xticklabels()) <= 26 and not axes.texts


def test_wrong_input() -> None:
    with pytest.raises(ValueError, match="the history is empty; train for at least one epoch first"):
        plots.curves([])
    with pytest.raises(ValueError, match=r"shape \(2, 3\); expected counts \(C, C\)"):
        plots.confusion(np.ones((2, 3)))


def test_curves_against_steps():
    rows = [{"step": 100 * n, "train_loss": 2.0 / n, "valid_loss": 2.1 / n} for n in (1, 2, 3)]
    loss = plots.curves(rows, by="step").axes[0]
    assert loss.get_xlabel() == "step" and list(loss.lines[0].get_xdata()) == [100, 200, 300]
