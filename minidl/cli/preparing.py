"""From settings to data, model, loss, optimizer and schedule."""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from minidl import Tensor, data, nn, optim, penalties, train
from minidl.cli.options import UsageError
from minidl.cli.setting import is_table
from minidl.nn import functional as F

__all__ = ["Task", "make_loss", "make_model", "make_optimizer", "make_penalty", "make_schedule", "prepare"]

Settings = dict[str, Any]
Metrics = dict[str, Callable[[Any, Any], float]]


@dataclass
class Task:
    """Data ready for training, and what it takes to read the answers."""

    parts: data.Parts
    classes: tuple[str, ...] | None  # None: regression
    target: data.Standardize | None  # of a regression's targets
    largest: float  # of an image's numbers

    @property
    def metrics(self) -> Metrics:
        """What the history shows; a regression's in the target's own unit."""
        if self.classes is not None:
            return {"accuracy": train.accuracy}
        assert self.target is not None
        back = self.target.inverse
        return {"mae": lambda p, y: train.mae(back(p), back(y)), "r2": lambda p, y: train.r2(back(p), back(y))}

    @property
    def class_count(self) -> int | None:
        return None if self.classes is None else len(self.classes)

    def fingerprint(self) -> str:
        """Changes when the data does: a CRC-32 over all parts."""
        total = 0
        for part in self.parts:
            if part is not None:
                for array in (part.x, part.y):
                    total = zlib.crc32(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data, total)
        return f"{total:08x}"


def prepare(settings: Settings, quiet: bool = True) -> Task:
    """Load, clean, split and scale the data: all statistics are the training part's."""
    source = settings["data"]
    options: dict[str, Any] = {"seed": settings["seed"]}
    if source in ("mnist", "fashion-mnist", "cifar10"):
        options["progress"] = False if quiet else None
    elif is_table(source):
        options |= {"label": settings["label"] or -1, "missing": settings["missing"], "valid": 0.1, "test": 0.2}
        options["task"] = None if settings["task"] == "auto" else settings["task"]
    elif source == "digits":
        options |= {"valid": 0.1, "test": 0.2}
    try:
        parts = data.load(source, **options)
    except data.DataError as error:
        raise UsageError(in_options(str(error))) from None
    largest = float(parts.train.x.max()) if len(parts.shape) == 3 else 0.0
    parts = parts.transformed(data.Standardize())
    target = None
    if parts.classes is None:
        target = data.Standardize().fit(parts.train.y)
        parts = parts.map(lambda part: replace(part, y=target.transform(part.y)))
    return Task(parts, parts.classes, target, largest)


def in_options(sentence: str) -> str:
    """A sentence of the data functions, with their arguments as the command line's options."""
    for argument, option in (
        ('missing="drop", "mean", "median" or a number', "--missing drop, --missing mean or --missing median"),
        ("leave the column out (ignore=), or name it as the label (label=)", "or name it as the label with --label"),
        ('task="classification"', "--task classification"),
        ("or split without labels (stratify=False)", "or take --task regression"),
    ):
        sentence = sentence.replace(argument, option)
    return sentence


def make_model(settings: Settings, shape: tuple[int, ...], outputs: int) -> dict[str, Any]:
    """The config of the model that fits the data."""
    name = settings["model"]
    if name in ("cnn", "lenet5", "resnet") and len(shape) != 3:
        raise UsageError(
            f"minidl train: --model {name} needs images, and the data is a table; use --model mlp or --model linear"
        )
    if name == "lenet5" and shape != (1, 28, 28):
        raise UsageError(
            f"minidl train: --model lenet5 needs grey images of 28x28, these are {'x'.join(map(str, shape))}; use"
            " --model cnn"
        )
    if name == "linear":
        return {"name": name, "inputs": list(shape), "outputs": outputs}
    if name == "mlp":
        sizes = [math.prod(shape), *settings["hidden"], outputs]
        return {"name": name, "sizes": sizes, "activation": settings["activation"], "dropout": settings["dropout"]}
    if name == "cnn":
        return {
            "name": name,
            "shape": list(shape),
            "classes": outputs,
            "hidden": settings["hidden"][0],
            "dropout": settings["dropout"],
        }
    if name == "resnet":
        return {"name": name, "shape": list(shape), "classes": outputs, "blocks": settings["blocks"]}
    return {"name": name, "classes": outputs}


def make_loss(name: str | None, classes: int | None) -> train.Loss:
    """The loss by its name; `classes` is None for a regression.

    Raises:
        UsageError: cross-entropy for a regression.
    """
    if classes is None:
        if name == "cross-entropy":
            raise UsageError(
                "minidl train: --loss cross-entropy is for classes, and the labels are quantities; use --loss mse"
            )
        return F.mse_loss
    if name == "mse":
        return lambda scores, y: F.mse_loss(scores, F.one_hot(y, classes).to(scores.dtype))
    return F.cross_entropy


def make_optimizer(settings: Settings, model: nn.Module) -> optim.Optimizer:
    """The optimizer by its name."""
    kind = {"gd": optim.GD, "sgd": optim.SGD, "adam": optim.Adam, "adamw": optim.AdamW}[settings["optimizer"]]
    extra = {"momentum": settings["momentum"]} if settings["optimizer"] == "sgd" else {}
    return kind(model.parameters(), lr=settings["lr"], weight_decay=settings["weight_decay"], **extra)


def make_penalty(settings: Settings) -> Callable[[Any], Tensor] | None:
    """L1, L2 or both, or None."""
    l1, l2 = settings["l1"], settings["l2"]
    if l1 and l2:
        return penalties.ElasticNet(l1, l2)
    return penalties.L1(l1) if l1 else penalties.L2(l2) if l2 else None


def make_schedule(settings: Settings, optimizer: optim.Optimizer) -> Any:
    """The schedule by its name: cosine falls to 0 over the run, step divides by 10 after each third of it."""
    if settings["schedule"] == "cosine":
        return optim.lr_scheduler.CosineAnnealingLR(optimizer, settings["epochs"])
    if settings["schedule"] == "step":
        return optim.lr_scheduler.StepLR(optimizer, max(1, math.ceil(settings["epochs"] / 3)), 0.1)
    return None
