"""Observers of a run: the progress bar, the line an epoch, early stopping."""

from __future__ import annotations

import math
import sys
from typing import TYPE_CHECKING, Any

import numpy as np

from minidl.train.history import higher_is_better

if TYPE_CHECKING:
    from minidl.train.loop import Run

__all__ = ["Callback", "EarlyStopping", "Progress"]


class Callback:
    """What `fit` tells its observers; override what you need."""

    def fit_begins(self, run: Run) -> None:
        """Once, before the first epoch; a resumed run has its state back already."""

    def epoch_begins(self, run: Run) -> None:
        """Before the first batch of `run.epoch`."""

    def batch_ends(self, run: Run) -> None:
        """After the step of `run.batch`, counted from 1."""

    def epoch_ends(self, run: Run) -> None:
        """After validation; `run.history[-1]` is the epoch's row. Setting `run.stopped` to a reason ends the run."""

    def fit_ends(self, run: Run) -> None:
        """Once, after the last epoch."""


class EarlyStopping(Callback):
    """Ends a run when a column of the history has not improved for a while, and brings back the best epoch's weights.

    Args:
        patience: epochs without improvement after which to stop; None never stops, and only keeps the best weights.
        min_delta: the least change that counts as an improvement.
        monitor: the history's column to watch.
        mode: "min", "max", or "auto", which knows that accuracy, precision, recall, F1 and R² are to grow.
    """

    def __init__(
        self, patience: int | None = 10, min_delta: float = 0.0, monitor: str = "valid_loss", mode: str = "auto"
    ) -> None:
        if (patience is not None and patience < 1) or min_delta < 0:
            raise ValueError(
                f"EarlyStopping: got patience={patience}, min_delta={min_delta}; expected at least 1 and at least 0"
            )
        self.patience, self.min_delta, self.monitor = patience, min_delta, monitor
        self.sign = 1.0 if higher_is_better(monitor, mode) else -1.0
        self.fit_anew()

    def fit_anew(self) -> None:
        """Forget the last run."""
        self.best, self.best_epoch, self.best_weights = -math.inf, 0, dict[str, np.ndarray]()

    def fit_begins(self, run: Run) -> None:
        self.fit_anew()

    def epoch_ends(self, run: Run) -> None:
        row = run.history[-1]
        if row.get(self.monitor) is None:
            raise ValueError(
                f"EarlyStopping: the history has no {self.monitor!r}; it has {', '.join(row)}: give fit a valid_loader"
            )
        score = self.sign * row[self.monitor]
        if score > self.best + (self.min_delta if self.best_epoch else 0):
            self.best, self.best_epoch = score, run.epoch
            self.best_weights = {name: np.array(tensor.cpu().array) for name, tensor in run.model.state_dict().items()}
        elif self.patience is not None and run.epoch - self.best_epoch >= self.patience:
            run.stopped = f"no better {self.monitor} for {self.patience} epochs"

    def fit_ends(self, run: Run) -> None:
        if self.best_weights:
            from minidl import from_numpy

            run.model.load_state_dict({name: from_numpy(array) for name, array in self.best_weights.items()})

    def state_dict(self) -> dict[str, Any]:
        """Best value, epoch and weights."""
        return {"best": self.best, "best_epoch": self.best_epoch, "best_weights": self.best_weights}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from `state_dict()`."""
        self.best, self.best_epoch, self.best_weights = state["best"], state["best_epoch"], dict(state["best_weights"])


class Progress(Callback):
    """A bar over the batches and a line for each epoch.

    Args:
        bar: show the bar; None shows it where standard error is a terminal.
        lines: print a line after each epoch.
    """

    def __init__(self, bar: bool | None = None, lines: bool = True) -> None:
        self.wanted, self.lines = sys.stderr.isatty() if bar is None else bar, lines
        self.bar: Any = None

    def epoch_begins(self, run: Run) -> None:
        if self.wanted:
            try:
                from tqdm import tqdm
            except ImportError:  # the lines remain
                self.wanted = False
                return
            total = len(run.train_loader) if hasattr(run.train_loader, "__len__") else None
            self.bar = tqdm(
                total=total, desc=f"epoch {run.epoch}/{run.epochs}", unit=" batches", leave=False, mininterval=0.2
            )

    def batch_ends(self, run: Run) -> None:
        if self.bar is not None:
            self.bar.update()
            if run.batch % 16 == 0:
                self.bar.set_postfix_str(f"loss {run.seen.loss:.4f}", refresh=False)

    def epoch_ends(self, run: Run) -> None:
        if self.bar is not None:
            self.bar.close()
        if self.lines:
            print(epoch_line(run.history[-1], run.epochs), flush=True)
            if run.stopped:
                print(f"stopped: {run.stopped}", flush=True)


def epoch_line(row: dict[str, Any], epochs: int) -> str:
    """epoch  3/20   loss 0.1234, validation 0.1456   accuracy 96.12 %, validation 95.40 %   1.2 s"""
    parts = [f"epoch {row['epoch']:>{len(str(epochs))}}/{epochs}"]
    for name in [key.removeprefix("train_") for key in row if key.startswith("train_")]:
        shown = [_shown(name, row[f"train_{name}"])]
        if row.get(f"valid_{name}") is not None:
            shown.append(f"validation {_shown(name, row[f'valid_{name}'])}")
        parts.append(f"{name} {', '.join(shown)}")
    return "   ".join([*parts, f"{row['seconds']:.1f} s"])


def _shown(name: str, value: float) -> str:
    return f"{100 * value:5.2f} %" if name in {"accuracy", "precision", "recall", "f1"} else f"{value:.4f}"
