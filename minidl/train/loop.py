"""The training loop."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from minidl import Tensor, nn, optim
from minidl.optim import lr_scheduler
from minidl.train.callbacks import Callback, EarlyStopping, Progress
from minidl.train.checkpoint import Checkpoint
from minidl.train.evaluation import Loss, Metric, Seen, brought, device_of, evaluate
from minidl.train.history import History

__all__ = ["Run", "fit"]


def fit(
    model: nn.Module,
    train_loader: Iterable[tuple[Tensor, Tensor]],
    valid_loader: Iterable[tuple[Tensor, Tensor]] | None,
    loss: Loss,
    optimizer: optim.Optimizer,
    penalty: Callable[[Iterable[nn.Parameter]], Tensor] | None = None,
    scheduler: Any = None,
    epochs: int = 10,
    *,
    metrics: Mapping[str, Metric] | None = None,
    scheduler_by: str = "epoch",
    max_norm: float | None = None,
    early_stopping: EarlyStopping | None = None,
    checkpoint: str | os.PathLike[str] | None = None,
    resume: bool = False,
    callbacks: Sequence[Callback] = (),
    progress: bool | None = None,
    verbose: bool = True,
) -> History:
    """Train a model: for each epoch, for each batch, predict, loss plus penalty, backward, step.

    With `optim.GD` the gradients of all batches, weighted by their sizes, add up to the gradient of the mean over all
    examples, and there is one step an epoch. All other optimizers step after every batch.

    Args:
        model: maps a batch x to predictions.
        train_loader: gives batches (x, y), once through the data an epoch; they are brought to the model's device.
        valid_loader: batches to evaluate on after each epoch, or None.
        loss: `loss(prediction, y)`, a mean over the batch, such as `nn.functional.cross_entropy`.
        optimizer: made with the model's parameters.
        penalty: `penalty(parameters)`, added to the loss, such as `penalties.L2(1e-4)`.
        scheduler: changes the learning rate after each epoch, or each batch.
        epochs: passes over the data in all, those before a resume included.
        metrics: functions of predictions and targets, by name, for the history: `{"accuracy": train.accuracy}`.
        scheduler_by: "epoch" or "batch", when the scheduler steps.
        max_norm: the longest that the gradient, as one vector, may be before each step (`nn.utils.clip_grad_norm_`).
        early_stopping: ends the run when it no longer improves, and keeps the best weights.
        checkpoint: a safetensors file with all that is needed to go on, written after each epoch.
        resume: go on from `checkpoint` where the file exists, to bit-identical weights as without the interruption.
        callbacks: told of each batch and epoch.
        progress: show a bar; by default where standard error is a terminal.
        verbose: print a line after each epoch.

    Returns:
        The history: a row for each epoch.

    Raises:
        ValueError: an argument does not fit, the data holds NaN, or the checkpoint is of another model.
        FloatingPointError: the loss became NaN or infinite.
    """
    if epochs < 0 or scheduler_by not in ("epoch", "batch"):
        raise ValueError(
            f'fit: got epochs={epochs}, scheduler_by={scheduler_by!r}; expected 0 or more, and "epoch" or "batch"'
        )
    if max_norm is not None and not max_norm > 0:
        raise ValueError(f"fit: max_norm is {max_norm}; expected a number above 0, or None")
    run = Run(model, optimizer, scheduler, train_loader, epochs, metrics or {}, early_stopping)
    saved = [Checkpoint(checkpoint, resume)] if checkpoint is not None else []
    stopping = [early_stopping] if early_stopping else []
    run.callbacks = [*stopping, *saved, Progress(progress, verbose), *callbacks]
    full_batch = isinstance(optimizer, optim.GD)

    run.tell("fit_begins")
    for _ in run.each_epoch():
        model.train()
        optimizer.zero_grad()
        for x, y in run.each_batch():
            prediction = model(x)
            value = loss(prediction, y)
            objective = value + penalty(model.parameters()) if penalty else value
            run.saw(x, y, prediction, value, objective)
            if full_batch:
                (objective * len(y)).backward()
            else:
                objective.backward()
                run.clip_gradients(max_norm)
                optimizer.step()
                optimizer.zero_grad()
            if scheduler_by == "batch":
                run.schedule()
        if full_batch:
            run.divide_gradients()
            run.clip_gradients(max_norm)
            optimizer.step()
        run.record(evaluate(model, valid_loader, loss, metrics) if valid_loader is not None else {})
        if scheduler_by == "epoch":
            run.schedule()
        run.tell("epoch_ends")
    run.tell("fit_ends")
    return run.history


@dataclass
class Run:
    """A run as its callbacks see it, and the bookkeeping that would clutter the loop."""

    model: nn.Module
    optimizer: optim.Optimizer
    scheduler: Any
    train_loader: Any
    epochs: int
    metrics: Mapping[str, Metric]
    early_stopping: EarlyStopping | None = None
    epoch: int = 0  # the one being trained, or the last one finished
    batch: int = 0
    stopped: str = ""  # why the run ends before its last epoch
    history: History = field(default_factory=History)
    callbacks: list[Callback] = field(default_factory=list)
    seen: Seen = field(default_factory=lambda: Seen(keep=False))
    started: float = 0.0
    learning_rate: float = 0.0

    def tell(self, event: str) -> None:
        for callback in self.callbacks:
            getattr(callback, event)(self)

    def each_epoch(self) -> Iterator[int]:
        """The numbers of the epochs that are still to come."""
        while self.epoch < self.epochs and not self.stopped:
            self.epoch, self.batch, self.seen = self.epoch + 1, 0, Seen(keep=bool(self.metrics))
            self.started, self.learning_rate = time.perf_counter(), self.optimizer.param_groups[0]["lr"]
            self.tell("epoch_begins")
            yield self.epoch

    def each_batch(self) -> Iterator[tuple[Tensor, Tensor]]:
        """The batches of one epoch, on the model's device."""
        device = device_of(self.model)
        for batch, (x, y) in enumerate(self.train_loader, 1):
            self.batch = batch
            if len(x) == 0 or len(x) != len(y):
                raise ValueError(
                    f"fit: batch {self.batch} holds {len(x)} examples and {len(y)} targets; expected as many of both,"
                    " at least one"
                )
            yield brought(x, device), brought(y, device)
            self.tell("batch_ends")
        if self.batch == 0:
            raise ValueError(
                "fit: train_loader gives no batch; is its data set empty, or smaller than a batch with drop_last=True?"
            )

    def saw(self, x: Tensor, y: Tensor, prediction: Tensor, value: Tensor, objective: Tensor) -> None:
        """Keep the batch's numbers, and refuse to go on from a loss that is no number."""
        number = objective.item()
        if not math.isfinite(number):
            place = f"epoch {self.epoch}, batch {self.batch}"
            for what, array in (("inputs", x.array), ("targets", y.array)):
                bad = int(array.size - np.isfinite(array).sum()) if array.dtype.kind == "f" else 0
                if bad:
                    raise ValueError(
                        f"fit: {place}: the {what} hold {bad} NaN or infinite numbers; clean the data first"
                        " (minidl.data)"
                    )
            raise FloatingPointError(
                f"fit: the loss became {number} in {place}, with a learning rate of {self.learning_rate:g}: try"
                f" {self.learning_rate / 10:g}, or run under autograd.detect_anomaly(), which names the operation where"
                " it began"
            )
        self.seen.add(prediction, y, value.item())

    def divide_gradients(self) -> None:
        """Σ[b] n_b ∂L_b/∂w becomes ∂L/∂w, L being the mean over all Σ[b] n_b examples."""
        for parameter in self.model.parameters():
            if parameter.grad is not None:
                parameter.grad.mul_(1 / self.seen.examples)

    def clip_gradients(self, max_norm: float | None) -> None:
        if max_norm is not None:
            nn.utils.clip_grad_norm_(self.model.parameters(), max_norm)

    def record(self, validation: Mapping[str, float]) -> None:
        """Add the epoch's row to the history."""
        training = self.seen.summary(self.metrics)
        self.history.append(
            {
                "epoch": self.epoch,
                "learning_rate": self.learning_rate,
                **{f"train_{name}": number for name, number in training.items()},
                **{f"valid_{name}": number for name, number in validation.items()},
                "seconds": round(time.perf_counter() - self.started, 3),
            }
        )

    def schedule(self) -> None:
        if isinstance(self.scheduler, lr_scheduler.ReduceLROnPlateau):
            row = self.history[-1]
            self.scheduler.step(row.get("valid_loss", row["train_loss"]))
        elif self.scheduler is not None:
            self.scheduler.step()
