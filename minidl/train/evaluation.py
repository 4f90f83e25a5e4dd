"""A model's answers on data that it does not learn from."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np

from minidl import Tensor, nn, no_grad

__all__ = ["evaluate", "predict"]

Loss = Callable[[Tensor, Tensor], Tensor]
Metric = Callable[[Any, Any], float]


def evaluate(
    model: nn.Module,
    loader: Iterable[tuple[Tensor, Tensor]],
    loss: Loss | None = None,
    metrics: Mapping[str, Metric] | None = None,
) -> dict[str, float]:
    """The loss (the mean over all targets: examples, or tokens) and the metrics of a model on the batches of a loader.

    Layers such as dropout are in evaluation mode meanwhile, and nothing is recorded.

    Args:
        model: maps a batch x to predictions.
        loader: gives batches (x, y), which are brought to the model's device.
        loss: `loss(prediction, y)`, a mean over the batch.
        metrics: functions of all predictions and all targets, by name, such as `{"accuracy": metrics.accuracy}`.

    Returns:
        "loss", where one is given, and each metric by its name.

    Raises:
        ValueError: the loader gives no batch.
    """
    seen = Seen(keep=bool(metrics))
    for prediction, y in answers(model, loader):
        seen.add(prediction, y, loss(prediction, y).item() if loss else 0.0)
    if not seen.examples:
        raise ValueError("evaluate: the loader gives no batch; is its data set empty?")
    result = seen.summary(metrics)
    return result if loss else {name: value for name, value in result.items() if name != "loss"}


def predict(model: nn.Module, loader: Iterable[Any]) -> Tensor:
    """The model's predictions for all batches of a loader, one below the other, on the CPU; targets are ignored.

    Raises:
        ValueError: the loader gives no batch.
    """
    from minidl import from_numpy

    parts = [prediction.cpu().numpy() for prediction, _ in answers(model, loader)]
    if not parts:
        raise ValueError("predict: the loader gives no batch; is its data set empty?")
    return from_numpy(np.concatenate(parts))


def answers(model: nn.Module, loader: Iterable[Any]) -> Iterator[tuple[Tensor, Any]]:
    """Prediction and target of each batch, in evaluation mode."""
    device = device_of(model)
    with evaluating(model):
        for batch in loader:
            x, y = (
                (batch[0], batch[1] if len(batch) > 1 else None) if isinstance(batch, (tuple, list)) else (batch, None)
            )
            with no_grad():  # around the call alone: a generator must not leave its caller's code unrecorded
                prediction = model(brought(x, device))
            yield prediction, brought(y, device)


def device_of(model: nn.Module) -> Any:
    """The device of the model's parameters, which batches are brought to; None for a model without any."""
    return next((parameter.device for parameter in model.parameters()), None)


def brought(value: Any, device: Any) -> Any:
    """A tensor on a device; anything else as it is."""
    return value.to(device=device) if isinstance(value, Tensor) else value


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Evaluation mode for a while, then each layer's own mode again."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training


class Seen:
    """The batches of one pass: the mean loss, and predictions and targets where metrics want them."""

    def __init__(self, keep: bool) -> None:
        self.keep, self.examples, self.entries, self.total = keep, 0, 0, 0.0
        self.predictions: list[np.ndarray] = []
        self.targets: list[np.ndarray] = []

    def add(self, prediction: Tensor, y: Tensor, loss: float) -> None:
        self.examples += len(y)
        self.entries += y.array.size
        self.total += loss * y.array.size
        if self.keep:
            self.predictions.append(prediction.detach().cpu().numpy())
            self.targets.append(y.detach().cpu().numpy())

    @property
    def loss(self) -> float:
        return self.total / max(self.entries, 1)

    def summary(self, metrics: Mapping[str, Metric] | None) -> dict[str, float]:
        result = {"loss": self.loss}
        if metrics:
            prediction, target = np.concatenate(self.predictions), np.concatenate(self.targets)
            result |= {name: metric(prediction, target) for name, metric in metrics.items()}
        return result
