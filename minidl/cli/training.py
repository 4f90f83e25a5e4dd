"""minidl train: a run from its options to its pictures, and on from where it stopped."""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

import minidl
from minidl import models, train
from minidl.cli.answering import describe, measure, result_line
from minidl.cli.folder import RunFolder, write_json
from minidl.cli.language import TextTask, prepare_text, saved_step, train_language
from minidl.cli.machine import MACHINE, describe_machine, device
from minidl.cli.options import UsageError, version
from minidl.cli.preparing import Task, make_loss, make_model, make_optimizer, make_penalty, make_schedule, prepare
from minidl.cli.setting import data_name, settle
from minidl.serialization import save_arrays
from minidl.utils.data import DataLoader

__all__ = ["run_training"]

EVALUATION_BATCH = 512


def run_training(options: argparse.Namespace) -> int:
    """Train as the options say; the exit code."""
    given = {name: value for name, value in vars(options).items() if name not in (*MACHINE, "command")}
    quiet = getattr(options, "quiet", False)
    resumed = given.pop("resume", None)
    if resumed is not None:
        for name in given:
            raise UsageError(
                f"minidl train: --resume goes on with the run's own options; leave out --{name.replace('_', '-')}"
            )
        folder = RunFolder.open(resumed, "train")
        config = folder.config
        task = read(config["settings"], quiet)
        if task.fingerprint() != config["data"]["fingerprint"]:
            raise UsageError(
                f"minidl train: the data of {resumed} has changed since the run began ({config['settings']['data']});"
                " bring the old data back or train anew"
            )
    else:
        wanted = given.pop("out", None)
        settings = settle(given)
        task = read(settings, quiet)
        config = {"minidl": version(), "settings": settings}
        if isinstance(task, TextTask):
            config |= {"model": task.model(settings), "data": task.describe()}
        else:
            config["model"] = make_model(settings, task.parts.shape, task.class_count or 1)
            config["data"] = {**describe(task), "fingerprint": task.fingerprint()}
            make_loss(settings["loss"], task.class_count)
        models.build(config["model"])  # a model that cannot be built leaves no folder behind
        folder = RunFolder.create(config, wanted, f"{data_name(settings['data'])}-{settings['model']}")
    try:
        with folder.lock():
            if isinstance(task, TextTask):
                return train_language(folder, task, quiet, resumed is not None)
            return _train(folder, task, quiet, resumed is not None)
    except KeyboardInterrupt:
        text = isinstance(task, TextTask)
        unit, kept = ("step", saved_step(folder)) if text else ("epoch", saved_epoch(folder.checkpoint))
        what = f"the run is kept up to {unit} {kept}; go on with" if kept else "nothing is saved yet; begin again with"
        print(f"\nminidl train: interrupted; {what}: minidl train --resume {folder.path}", file=sys.stderr)
        return 130


def read(settings: dict[str, Any], quiet: bool) -> Task | TextTask:
    """The data of a run."""
    return prepare_text(settings, quiet) if settings["model"] == "gpt" else prepare(settings, quiet)


def _train(folder: RunFolder, task: Task, quiet: bool, resumed: bool) -> int:
    settings = folder.config["settings"]
    minidl.manual_seed(settings["seed"])
    model = models.build(folder.config["model"]).to(device())
    optimizer = make_optimizer(settings, model)
    shift, flip = settings["augment_shift"], settings.get("augment_flip", False)
    train_part = task.parts.train.augmented(shift, flip) if shift or flip else task.parts.train
    if not quiet:
        count = sum(parameter.numel() for parameter in model.parameters())
        print(f"data     {folder.config['data']['text']}")
        print(
            f"model    {settings['model']} with {count:,} parameters, {settings['optimizer']}, learning rate"
            f" {settings['lr']:g}"
        )
        print(f"machine  {describe_machine()}")
        print(f"run      {folder.path}", flush=True)
        if resumed:
            kept = saved_epoch(folder.checkpoint)
            print(
                f"resumed  after epoch {kept}" if kept else "resumed  before the first epoch was saved: it starts anew",
                flush=True,
            )
    began = time.perf_counter()
    history = train.fit(
        model,
        DataLoader(train_part, settings["batch_size"], shuffle=True),
        DataLoader(task.parts.valid, EVALUATION_BATCH),
        make_loss(settings["loss"], task.class_count),
        optimizer,
        make_penalty(settings),
        make_schedule(settings, optimizer),
        settings["epochs"],
        metrics=task.metrics,
        early_stopping=train.EarlyStopping(settings["patience"]),
        checkpoint=folder.checkpoint,
        resume=resumed,
        callbacks=[KeepTable(folder.history)],
        progress=False if quiet else None,
        verbose=not quiet,
    )
    seconds = time.perf_counter() - began
    usage = {"model": folder.config["model"], "data": folder.config["data"], "loss": settings["loss"]}
    weights = {name: tensor.cpu().array for name, tensor in model.state_dict().items()}
    save_arrays(weights, folder.model, {"minidl.model": json.dumps(usage)})
    result, matrix = measure(model, task, usage)
    best = history.best("valid_loss")
    write_json(
        folder.result,
        {"best_epoch": best["epoch"], **result, "train_seconds": round(sum(history.column("seconds")), 2)},
    )
    _draw(folder, task, history, matrix, result)
    if not quiet:
        print(f"trained  in {seconds:.1f} s; the best of {len(history)} epochs by validation loss is {best['epoch']}")
    print(result_line(result))
    if not quiet:
        print(
            f"kept in  {folder.path}: curves.png, {'confusion.png, ' if matrix is not None else ''}history.csv,"
            " model.safetensors"
        )
    return 0


def _draw(folder: RunFolder, task: Task, history: train.History, matrix: Any, result: dict[str, Any]) -> None:
    try:
        from minidl.explain import plots
    except ImportError as error:
        print(f"minidl train: no pictures were drawn: {error}", file=sys.stderr)
        return
    title = f"{task.parts.name}, {folder.config['settings']['model']}"
    plots.curves(history, title).save(folder.curves)
    if matrix is not None:
        plots.confusion(
            matrix, task.classes, f"{title}: {100 * result['test_accuracy']:.2f} % of the test part right"
        ).save(folder.confusion)


class KeepTable(train.Callback):
    """history.csv after each epoch; after a resume it is cut to the checkpoint's epoch."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def fit_begins(self, run: train.Run) -> None:
        run.history.to_csv(self.path)

    def epoch_ends(self, run: train.Run) -> None:
        run.history.to_csv(self.path)


def saved_epoch(checkpoint: Path) -> int:
    """The epoch that a checkpoint holds, 0 where there is none."""
    return train.Checkpoint.epoch_of(checkpoint) if checkpoint.exists() else 0
