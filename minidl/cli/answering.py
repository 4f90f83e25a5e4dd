"""minidl eval and minidl predict: a trained model's answers."""

from __future__ import annotations

import argparse
import csv
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

from minidl import data, models, nn, train
from minidl.cli.folder import RunFolder
from minidl.cli.images import read_image
from minidl.cli.language import measure_text, prepare_text, text_line
from minidl.cli.machine import device
from minidl.cli.options import UsageError
from minidl.cli.preparing import Task, make_loss, prepare
from minidl.data import ArrayData, DataError, read_csv
from minidl.serialization import load_arrays
from minidl.utils.data import DataLoader

__all__ = ["describe", "measure", "result_line", "run_evaluation", "run_prediction"]

BATCH = 512
IMAGES = {".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".pgm", ".ppm", ".pbm"}


def describe(task: Task) -> dict[str, Any]:
    """What a prediction needs to know of the data."""
    parts = task.parts
    sizes = ", ".join(
        f"{len(part):,} {name}"
        for part, name in zip(parts, ("training", "validation", "test"), strict=True)
        if part is not None
    )
    kind = "regression" if parts.classes is None else f"{len(parts.classes)} classes"
    return {
        "text": f"{parts.name}: {sizes}; {' x '.join(map(str, parts.shape))}, {kind}",
        "shape": list(parts.shape),
        "classes": None if parts.classes is None else list(parts.classes),
        "features": list(parts.features),
        "transform": parts.transform.state(),
        "target": None if task.target is None else task.target.state(),
        "largest": task.largest,
    }


def measure(model: nn.Module, task: Task, usage: dict[str, Any]) -> tuple[dict[str, Any], np.ndarray | None]:
    """The test part's loss and metrics, and the confusion matrix of a classifier."""
    part = task.parts.test
    assert part is not None  # every source has one, or it is split off
    metrics, matrix = dict(task.metrics), None
    if task.classes is not None:
        metrics |= {"precision": train.precision, "recall": train.recall, "f1": train.f1}
        matrix = train.confusion_matrix(train.predict(model, DataLoader(part, BATCH)), part.y, task.class_count)
    found = train.evaluate(model, DataLoader(part, BATCH), make_loss(usage["loss"], task.class_count), metrics)
    return {"test_examples": len(part), **{f"test_{name}": value for name, value in found.items()}}, matrix


def result_line(result: dict[str, Any]) -> str:
    """The result in one line."""
    if "test_accuracy" in result:
        count = result["test_examples"]
        right = round(result["test_accuracy"] * count)
        return (
            f"test accuracy {100 * result['test_accuracy']:.2f} % ({right:,} of {count:,}), loss"
            f" {result['test_loss']:.4f}"
        )
    return f"test R² {result['test_r2']:.4f}, mean absolute error {result['test_mae']:.4g}"


def load_model(path: str, command: str) -> tuple[RunFolder, nn.Module, dict[str, Any]]:
    """A run's folder, its trained model, and how to use it."""
    folder = RunFolder.open(path, command)
    if not folder.model.exists():
        raise UsageError(f"minidl {command}: the run {path} has not finished; go on with: minidl train --resume {path}")
    weights, metadata = load_arrays(folder.model)
    if "minidl.model" not in metadata:
        raise UsageError(f"minidl {command}: {folder.model} was not written by minidl train; resume or repeat the run")
    usage = json.loads(metadata["minidl.model"])
    model = models.build(usage["model"])
    model.load_state_dict(weights)
    model.to(device())
    return folder, model, usage


def run_evaluation(options: argparse.Namespace) -> int:
    """minidl eval RUN; the exit code."""
    folder, model, usage = load_model(options.run, "eval")
    if usage["model"]["name"] == "gpt":
        text = prepare_text(folder.config["settings"])
        if text.fingerprint() != usage["data"]["fingerprint"]:
            raise UsageError(
                f"minidl eval: the text {folder.config['settings']['data']} has changed since the run, and its tokens"
                " with it; bring the old one back"
            )
        print(text_line(measure_text(model, text)))
        return 0
    task = prepare(folder.config["settings"])
    if task.fingerprint() != usage["data"]["fingerprint"]:
        print("minidl eval: note that the data has changed since the run, so its parts may differ", file=sys.stderr)
    if (
        list(task.parts.shape) != usage["data"]["shape"]
        or (task.classes and list(task.classes)) != usage["data"]["classes"]
    ):
        raise UsageError(
            f"minidl eval: the data {folder.config['settings']['data']} now has another shape or other classes; bring"
            " the old one back"
        )
    result, matrix = measure(model, task, usage)
    if not getattr(options, "quiet", False) and matrix is not None:
        print_classes(matrix, usage["data"]["classes"])
    print(result_line(result))
    return 0


def print_classes(M: np.ndarray, classes: list[str]) -> None:
    """Precision, recall and F1 of each class, and their plain means."""
    true, given = M.sum(1), M.sum(0)
    right = np.diag(M)
    columns = np.stack(
        [right / np.maximum(given, 1), right / np.maximum(true, 1), 2 * right / np.maximum(true + given, 1)]
    )
    width = max(10, *map(len, classes))
    print(f"{'class':>{width}}  precision  recall      F1  examples")
    for name, values, count in zip(classes, columns.T, true, strict=True):
        print(f"{name:>{width}}  {values[0]:9.4f}  {values[1]:6.4f}  {values[2]:6.4f}  {count:8,}")
    means = columns[:, true + given > 0].mean(1)
    print(f"{'mean':>{width}}  {means[0]:9.4f}  {means[1]:6.4f}  {means[2]:6.4f}  {M.sum():8,}")


def run_prediction(options: argparse.Namespace) -> int:
    """minidl predict RUN FILE...: a CSV table on standard output; the exit code."""
    _, model, usage = load_model(options.run, "predict")
    if usage["model"]["name"] == "gpt":
        raise UsageError(f"minidl predict: {options.run} is a language model; use minidl sample {options.run}")
    about = usage["data"]
    tables = [(path, read_inputs(path, about)) for path in options.inputs]  # all are read before the first answer
    out = csv.writer(sys.stdout, lineterminator="\n")
    if not getattr(options, "quiet", False):
        out.writerow(["input", "prediction"] + (["probability"] if about["classes"] is not None else []))
    for path, x in tables:
        answers = train.predict(model, DataLoader(scaled(x, about, path), BATCH)).array
        for row, values in enumerate(answers, 1):
            name = path if len(answers) == 1 else f"{path}:{row}"
            out.writerow([name, *answer(values, about, usage["loss"])])
    return 0


def answer(values: np.ndarray, about: dict[str, Any], loss: str | None) -> list[str]:
    """One prediction as text: the class with its probability, or the quantity."""
    if about["classes"] is None:
        return [f"{data.transform_from_state(about['target']).inverse(values[None])[0, 0]:.6g}"]
    best = int(values.argmax())
    if loss == "mse":  # the outputs estimate the probabilities themselves
        return [about["classes"][best], f"{float(np.clip(values[best], 0, 1)):.4f}"]
    shares = np.exp(values.astype(np.float64) - values.max())
    return [about["classes"][best], f"{shares[best] / shares.sum():.4f}"]


def scaled(x: np.ndarray, about: dict[str, Any], path: str) -> ArrayData:
    """The input as the model saw its training data."""
    part = ArrayData(x, np.zeros(len(x)), name=path)
    transform = data.transform_from_state(about["transform"])
    for step in transform.transforms if isinstance(transform, data.Chain) else [transform]:
        part = part.transformed(step)
    return part


def read_inputs(path: str, about: dict[str, Any]) -> np.ndarray:
    """An image as (1, C, H, W), or a CSV table as (N, F), or as images where the model wants images."""
    shape = tuple(about["shape"])
    if not Path(path).is_file():
        raise UsageError(f"minidl predict: there is no file {path}; give an image or a CSV file")
    if Path(path).suffix.lower() in IMAGES:
        if len(shape) != 3:
            raise UsageError(
                f"minidl predict: {path} is an image, and this model takes tables with {shape[0]} columns; give a CSV"
                " file"
            )
        return read_image(path, shape, about["largest"])
    try:
        return read_table(path, about["features"], shape)
    except DataError as error:
        raise UsageError(f"minidl predict: {error}") from None


def read_table(path: str, features: list[str], shape: tuple[int, ...]) -> np.ndarray:
    """The model's columns, by their names where the file has them, else by their number."""
    try:
        table = read_csv(path, label=None, columns=features or None)
    except DataError as error:
        if "no header line" not in str(error):
            raise
        table = read_csv(path, label=None)
    count = int(np.prod(shape))
    if table.x.shape[1] != count:
        raise UsageError(
            f"minidl predict: {path} has {table.x.shape[1]} columns, and this model takes {count}"
            + (f" ({', '.join(features[:6])}{', ...' if len(features) > 6 else ''})" if features else "")
            + "; leave the label column out or give the columns their names"
        )
    return table.x.reshape(len(table.x), *shape)
