"""Published results on MNIST, tried again with the same architectures; each row names its loss.

    python benchmarks/published.py            all of it, about 40 minutes on two cores
    python benchmarks/published.py --quick    a minute, to see that it runs; nothing is kept

For each published model: every candidate configuration is trained on 50,000 training images with three seeds and
measured on the other 10,000; the one with the best mean is trained on all 60,000 with three seeds, and each of these
three models sees the 10,000 test images once. What counts is the median of the three. Then come three runs of the
command line itself. Results go to
benchmarks/results/published.json, and the table to README.md, between its markers. MNIST comes from the folder that
MINIDL_DATA names, or by download.

Sources: LeCun, Bottou, Bengio, Haffner 1998, Gradient-based learning applied to document recognition, figure 9 and the
table at the MNIST site; Simard, Steinkraus, Platt 2003, Best practices for convolutional neural networks, table 1.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from statistics import fmean, median
from typing import Any

import numpy as np

import minidl
from minidl import data, models, nn, optim, penalties, train
from minidl.bench.report import between_markers, caption
from minidl.nn import functional as F
from minidl.utils.data import DataLoader

ROOT = Path(__file__).resolve().parent.parent
README, RESULTS = ROOT / "README.md", ROOT / "benchmarks" / "results" / "published.json"
SEEDS = (1, 2, 3)


@dataclass(frozen=True)
class Recipe:
    """How a model is trained: Adam or SGD with a cosine schedule, an L2 penalty, and smoothed labels."""

    optimizer: str = "adam"
    lr: float = 1e-3
    epochs: int = 15
    batch_size: int = 128
    l2: float = 0.0
    smoothing: float = 0.0  # of the labels that cross-entropy is taken with

    def train(self, config: dict[str, Any], loss: str, examples: Any, seed: int) -> nn.Module:
        minidl.manual_seed(seed)
        model = models.build(config)
        kind = {"adam": optim.Adam, "sgd": lambda p, lr: optim.SGD(p, lr, momentum=0.9)}[self.optimizer]
        optimizer = kind(model.parameters(), lr=self.lr)
        schedule = optim.lr_scheduler.CosineAnnealingLR(optimizer, self.epochs)
        penalty = penalties.L2(self.l2) if self.l2 else None
        loader = DataLoader(examples, self.batch_size, shuffle=True)
        criterion = partial(LOSSES[loss], label_smoothing=self.smoothing) if self.smoothing else LOSSES[loss]
        train.fit(model, loader, None, criterion, optimizer, penalty, schedule, self.epochs, verbose=False)
        return model

    def __str__(self) -> str:
        smoothing = f", labels smoothed by {self.smoothing:g}" if self.smoothing else ""
        return (
            f"{self.optimizer}, rate {self.lr:g}, {self.epochs} epochs of batches of {self.batch_size},"
            f" L2 {self.l2:g}{smoothing}"
        )


@dataclass(frozen=True)
class Published:
    """A result from the literature, and the configurations among which validation chooses."""

    name: str
    error: float  # per cent of the test images
    source: str
    config: dict[str, Any]
    loss: str
    candidates: Sequence[Recipe]


LOSSES = {
    "cross-entropy": F.cross_entropy,
    "MSE": lambda scores, y: F.mse_loss(scores, F.one_hot(y, 10).to(scores.dtype)),  # targets are one-hot rows
}


def net(*hidden: int, activation: str = "tanh") -> dict[str, Any]:
    return {"name": "mlp", "sizes": [784, *hidden, 10], "activation": activation}


LINEAR = {"name": "linear", "inputs": [784], "outputs": 10}
RATES = [Recipe(lr=rate) for rate in (5e-4, 1e-3, 2e-3)]
PUBLISHED = [
    Published("linear classifier", 12.0, "LeCun et al. 1998", LINEAR, "cross-entropy", RATES),
    Published("300 hidden units", 4.7, "LeCun et al. 1998", net(300), "MSE", RATES),
    Published("300+100 hidden units", 3.05, "LeCun et al. 1998", net(300, 100), "MSE", RATES),
    Published("800 hidden units", 1.6, "Simard et al. 2003", net(800, activation="relu"), "cross-entropy", [
        Recipe(lr=1e-3, epochs=25), Recipe(lr=1e-3, epochs=25, l2=2e-5),
        Recipe("sgd", 0.1, 25), Recipe("sgd", 0.1, 25, l2=5e-5),
    ]),
    Published("LeNet-5, no distortions", 0.95, "LeCun et al. 1998", {"name": "lenet5"}, "cross-entropy", [
        Recipe("sgd", 0.05, 20, 64, l2=5e-4), Recipe("sgd", 0.05, 20, 64, l2=5e-4, smoothing=0.1),
        Recipe("sgd", 0.05, 30, 64, l2=3e-4, smoothing=0.1),
    ]),
]  # fmt: skip
COMMANDS = [  # the model's name, and the accuracy that a plain `minidl train --data mnist --model NAME` is to reach
    ("linear", "softmax regression", 92.0), ("mlp", "784-256-128-10", 98.0), ("cnn", "two convolutions", 99.2),
]  # fmt: skip


def error_of(model: nn.Module, examples: Any) -> float:
    """Per cent of the examples that are answered wrongly."""
    found = train.evaluate(model, DataLoader(examples, 500), metrics={"accuracy": train.accuracy})
    return 100 * (1 - found["accuracy"])


def reach(goal: Published, parts: data.Parts, seeds: Sequence[int]) -> dict[str, Any]:
    """Choose on the validation part, then train on everything and look at the test part once a seed."""
    began = time.perf_counter()
    validation = []
    for recipe in goal.candidates:
        tried = [error_of(recipe.train(goal.config, goal.loss, parts.train, seed), parts.valid) for seed in seeds]
        validation.append(fmean(tried))
        print(f"  {recipe}: validation error {validation[-1]:.2f} %", flush=True)
    best = goal.candidates[validation.index(min(validation))]
    assert parts.valid is not None
    x, y = (np.concatenate([getattr(parts.train, name), getattr(parts.valid, name)]) for name in "xy")
    everything = replace(parts.train, x=x, y=y)
    errors = []
    for seed in seeds:
        errors.append(error_of(best.train(goal.config, goal.loss, everything, seed), parts.test))
    seconds = time.perf_counter() - began
    print(
        f"  chosen: {best}; test errors {', '.join(f'{e:.2f} %' for e in errors)}, published {goal.error} %,"
        f" {seconds:.0f} s",
        flush=True,
    )
    measured = zip(goal.candidates, validation, strict=True)
    return {
        "name": goal.name,
        "published": goal.error,
        "source": goal.source,
        "loss": goal.loss,
        "model": goal.config,
        "candidates": [{**asdict(recipe), "validation_error": error} for recipe, error in measured],
        "chosen": asdict(best),
        "seeds": list(seeds),
        "test_errors": errors,
        "median": median(errors),
        "seconds": seconds,
    }


def command(name: str, architecture: str, goal: float, quick: bool) -> dict[str, Any]:
    """`minidl train --data mnist --model NAME`, timed as a user would."""
    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        arguments = [
            "train",
            "--data",
            "mnist",
            "--model",
            name,
            "--quiet",
            "--out",
            f"{folder}/run",
            *(["--epochs", "1"] if quick else []),
        ]
        subprocess.run([sys.executable, "-m", "minidl", *arguments], check=True, cwd=ROOT, stdout=subprocess.DEVNULL)
        seconds = time.perf_counter() - began
        accuracy = 100 * json.loads(Path(folder, "run", "result.json").read_text())["test_accuracy"]
    print(f"minidl train --data mnist --model {name}: {accuracy:.2f} % (goal {goal} %), {seconds:.0f} s", flush=True)
    return {"model": name, "architecture": architecture, "goal": goal, "accuracy": accuracy, "seconds": seconds}


def table(results: dict[str, Any]) -> str:
    """The README's tables."""
    lines = ["| MNIST test error | published | minidl, median of three seeds | loss |", "|---|---|---|---|"]
    for row in results["published"]:
        spread = f"{row['median']:.2f} % ({min(row['test_errors']):.2f} to {max(row['test_errors']):.2f})"
        smoothing = row["chosen"].get("smoothing", 0.0)
        loss = row["loss"] + (f", labels smoothed by {smoothing:g}" if smoothing else "")
        lines.append(f"| {row['name']} | {row['published']:g} % ({row['source']}) | {spread} | {loss} |")
    lines += ["", "| command | test accuracy | time |", "|---|---|---|"]
    for row in results["commands"]:
        lines.append(
            f"| `minidl train --data mnist --model {row['model']}` ({row['architecture']}) | {row['accuracy']:.2f} % |"
            f" {row['seconds']:.0f} s |"
        )
    lines += ["", f"{results['machine']}"]
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="one epoch on a part of the data; nothing is kept")
    parser.add_argument("--only", help="a part of a name: run only these, and keep the other results")
    parser.add_argument("--table", action="store_true", help="only write the README's table from the kept results")
    options = parser.parse_args()
    results = json.loads(RESULTS.read_text()) if RESULTS.exists() else {"published": [], "commands": []}
    if options.table:
        between_markers(README, "published", table(results))
        return 0
    parts = data.load("mnist", seed=0, valid=1 / 6).transformed(data.Standardize())
    goals, seeds = PUBLISHED, SEEDS
    if options.quick:
        few = parts.map(lambda part: part.select(slice(0, 2000)))
        goals = [
            replace(goal, candidates=[replace(one, epochs=1) for one in goal.candidates[:2]]) for goal in PUBLISHED
        ]
        parts, seeds = few, SEEDS[:1]
    found: dict[str, Any] = {"machine": caption(), "published": [], "commands": []}
    for goal in goals:
        if not options.only or options.only in goal.name:
            print(f"{goal.name}, {goal.loss}", flush=True)
            found["published"].append(reach(goal, parts, seeds))
    for name, architecture, accuracy in COMMANDS:
        if not options.only or options.only in name:
            found["commands"].append(command(name, architecture, accuracy, options.quick))
    if options.quick:
        print(table(found))
        return 0
    for kind, key in (("published", "name"), ("commands", "model")):
        new = {row[key]: row for row in found[kind]}
        order = [goal.name for goal in PUBLISHED] if kind == "published" else [name for name, *_ in COMMANDS]
        both = {**{row[key]: row for row in results[kind]}, **new}
        found[kind] = [both[name] for name in order if name in both]
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(found, indent=1) + "\n")
    between_markers(README, "published", table(found))
    missed = [row["name"] for row in found["published"] if row["median"] > row["published"]]
    missed += [row["model"] for row in found["commands"] if row["accuracy"] < row["goal"] or row["seconds"] > 180]
    print(f"missed: {', '.join(missed)}" if missed else "all reached")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
