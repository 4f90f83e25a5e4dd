"""From options to settings: what was asked for, completed by what suits the data, or refused with the reason."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from minidl.cli.language import RECIPE, is_language, settle_language
from minidl.cli.options import UsageError

__all__ = ["data_name", "is_table", "settle"]

Settings = dict[str, Any]

NAMED = ("digits", "mnist", "fashion-mnist", "cifar10")

# Chosen on validation parts, never on test parts (benchmarks/published.py shows how).
DEFAULTS: Settings = {
    "data": "digits", "label": None, "task": "auto", "missing": "error", "augment_shift": 0, "augment_flip": False,
    "activation": "relu", "dropout": 0.0,
    "optimizer": "adam", "momentum": 0.9, "weight_decay": 0.0, "l1": 0.0, "l2": 0.0, "schedule": "cosine",
    "epochs": 20, "batch_size": 64, "patience": None, "seed": 0,
}  # fmt: skip
RATES = {"gd": 0.5, "sgd": 0.05, "adam": 0.001, "adamw": 0.001}
RECIPES: dict[tuple[str, str], Settings] = {
    ("digits", "cnn"): {"lr": 0.003, "epochs": 20, "batch_size": 32, "dropout": 0.3},
    ("digits", "mlp"): {"epochs": 30, "batch_size": 32, "dropout": 0.2},
    ("digits", "linear"): {"epochs": 40, "batch_size": 32},
    ("mnist", "linear"): {"epochs": 15, "batch_size": 128},
    ("mnist", "mlp"): {"epochs": 20, "batch_size": 128, "dropout": 0.2, "augment_shift": 1},
    ("mnist", "cnn"): {"epochs": 12, "batch_size": 64, "dropout": 0.25, "augment_shift": 2},
    ("mnist", "lenet5"): {"epochs": 15, "batch_size": 64},
    ("cifar10", "resnet"): {  # He et al. 2015, section 4.2, with half a cosine instead of steps and fewer epochs
        "optimizer": "sgd",
        "lr": 0.1,
        "weight_decay": 1e-4,
        "epochs": 30,
        "batch_size": 128,
        "augment_shift": 4,
        "augment_flip": True,
    },
    ("cifar10", "cnn"): {"epochs": 20, "dropout": 0.25, "augment_shift": 2, "augment_flip": True},
}
PLAIN = ("linear", "lenet5", "resnet")  # without hidden layers of one's own choice, and without dropout
HIDDEN = {"linear": [], "lenet5": [], "resnet": [], "cnn": [128], "mlp": [256, 128]}


def settle(given: Settings) -> Settings:
    """All settings of a new run.

    Args:
        given: the options on the command line, without those of the machine.

    Raises:
        UsageError: options that contradict each other.
    """
    if is_language(given):
        return settle_language(given)
    source: str = {**DEFAULTS, **given}["data"]
    if source.lower().replace("_", "-") in NAMED:
        given = {**given, "data": (source := source.lower().replace("_", "-"))}
    table = is_table(source)
    model: str = given.get(
        "model", "mlp" if table or source not in NAMED else "resnet" if source == "cifar10" else "cnn"
    )
    recipe = RECIPES.get(("mnist" if source == "fashion-mnist" else source, model), {})
    settings = {**DEFAULTS, **recipe, **given, "model": model}
    settings["hidden"] = [units for part in given["hidden"] for units in part] if "hidden" in given else HIDDEN[model]
    if "lr" not in given and settings["optimizer"] != recipe.get("optimizer", "adam"):
        settings["lr"] = RATES[settings["optimizer"]]  # a recipe's rate is for its own optimizer
    settings.setdefault("lr", RATES[settings["optimizer"]])
    if settings["optimizer"] == "adamw" and "weight_decay" not in given:
        settings["weight_decay"] = 0.01
    if source not in NAMED:
        settings["data"] = str(Path(source).expanduser().resolve())
    settings["loss"] = given.get("loss")
    if model == "resnet":
        settings["blocks"] = given.get("blocks", 3)
    for problem in contradictions(given, settings, table):
        raise UsageError(f"minidl train: {problem}")
    if settings["optimizer"] != "sgd":
        settings["momentum"] = None
    if model in PLAIN:
        settings["dropout"] = 0.0
    return settings


def contradictions(given: Settings, settings: Settings, table: bool) -> list[str]:
    """What an option cannot do here, and what can."""
    model, source, optimizer = settings["model"], given.get("data", "digits"), settings["optimizer"]
    problems = []
    if source.lower() == "shakespeare":
        return [f"--data shakespeare is a text, and --model {model} needs tables or images; use --model gpt"]
    if source not in NAMED and not (source and Path(source).expanduser().exists()):
        problems.append(
            f"--data {source or repr(source)} is neither a file or folder that exists nor one of {', '.join(NAMED)};"
            " check the name and the path"
        )
    for option in given:
        if option in RECIPE and option not in DEFAULTS and option not in ("model", "lr"):
            problems.append(
                f"--{option.replace('_', '-')} is for --model gpt, and --model is {model}; leave it out or use --model"
                " gpt"
            )
    for option in ("label", "task", "missing"):
        if option in given and not table:
            problems.append(f"--{option} is for CSV files, and --data is {source}; leave it out or give a CSV file")
    if table and model in ("cnn", "lenet5", "resnet"):
        problems.append(f"--model {model} needs images, and {source} is a table; use --model mlp or --model linear")
    for option in ("augment_shift", "augment_flip"):
        if table and option in given:
            problems.append(f"--{option.replace('_', '-')} is for images, and {source} is a table; leave it out")
    if "blocks" in given and model != "resnet":
        problems.append(f"--blocks is for resnet, and --model is {model}; leave it out or use --model resnet")
    if "hidden" in given and model in PLAIN:
        problems.append(f"--hidden is for mlp and cnn, and --model is {model}; leave it out or use --model mlp")
    if model == "cnn" and len(settings["hidden"]) != 1:
        problems.append(
            f"--hidden of the cnn is one number, such as --hidden 128, got {len(settings['hidden'])} numbers"
        )
    if "dropout" in given and model in PLAIN:
        problems.append(f"--dropout is for mlp and cnn, and --model is {model}; leave it out or use --model mlp")
    if "activation" in given and model != "mlp":
        problems.append(f"--activation is for mlp, and --model is {model}; leave it out or use --model mlp")
    if "momentum" in given and optimizer != "sgd":
        problems.append(f"--momentum is for sgd, and --optimizer is {optimizer}; leave it out or use --optimizer sgd")
    return problems


def is_table(source: str) -> bool:
    """Whether --data names a file, which then is a CSV table; everything else is images."""
    return source not in NAMED and (
        Path(source).expanduser().is_file() or bool(re.search(r"\.(csv|tsv|txt)(\.gz)?$", source, re.I))
    )


def data_name(source: str) -> str:
    """A short name for the run folder."""
    stem = Path(source).name.split(".")[0] or "data"
    return re.sub(r"[^\w-]+", "-", stem).strip("-").lower() or "data"
