"""What a run has seen so far: one row an epoch."""

from __future__ import annotations

import csv
import io
import os
from pathlib import Path
from typing import Any

from minidl.serialization import atomic_write

__all__ = ["History"]

Row = dict[str, Any]


class History(list[Row]):
    """A list of dicts: epoch, learning_rate, train_loss, valid_loss, the metrics under both prefixes, seconds."""

    def column(self, name: str) -> list[Any]:
        """The values of one column, epoch by epoch."""
        return [row.get(name) for row in self]

    def best(self, monitor: str, mode: str = "auto") -> Row:
        """The row whose `monitor` is best, the first of equals.

        Raises:
            ValueError: no row has that column.
        """
        rows = [row for row in self if row.get(monitor) is not None]
        if not rows:
            raise ValueError(
                f"History.best: no row has {monitor!r}; the columns are {', '.join(self[0]) if self else 'none yet'}"
            )
        return (max if higher_is_better(monitor, mode) else min)(rows, key=lambda row: row[monitor])

    def to_csv(self, path: str | os.PathLike[str]) -> None:
        """Write a table that spreadsheets read, replacing `path` in one step."""
        text = io.StringIO()
        table = csv.DictWriter(
            text, fieldnames=list(dict.fromkeys(name for row in self for name in row)), lineterminator="\n"
        )
        table.writeheader()
        table.writerows(self)
        with atomic_write(path) as file:
            file.write(text.getvalue().encode())

    @classmethod
    def from_csv(cls, path: str | os.PathLike[str]) -> History:
        """Read what `to_csv` wrote; an empty cell becomes None."""
        with open(Path(path), newline="", encoding="utf-8") as file:
            return cls({name: _number(text) for name, text in row.items()} for row in csv.DictReader(file))

    def __repr__(self) -> str:
        if not self:
            return "History of no epochs"
        names = list(self[-1])
        rows = [names] + [[_short(row.get(name)) for name in names] for row in self]
        widths = [max(len(row[k]) for row in rows) for k in range(len(names))]
        return "\n".join("  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in rows)


def higher_is_better(monitor: str, mode: str = "auto") -> bool:
    """Whether a column is to grow: "max", "min", or by its name: accuracy, precision, recall, F1 and R² are to grow."""
    if mode not in ("auto", "min", "max"):
        raise ValueError(f'mode is {mode!r}; expected "auto", "min" or "max"')
    if mode == "auto":
        return monitor.removeprefix("train_").removeprefix("valid_") in {"accuracy", "precision", "recall", "f1", "r2"}
    return mode == "max"


def _number(text: str | None) -> Any:
    for kind in (int, float):
        try:
            return kind(text)  # type: ignore[arg-type]
        except (TypeError, ValueError):
            pass
    return text or None


def _short(value: Any) -> str:
    return "" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)
