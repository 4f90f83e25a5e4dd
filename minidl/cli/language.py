"""minidl train for texts: a GPT on Shakespeare or a file, counted in steps rather than epochs."""

from __future__ import annotations

import json
import math
import time
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import minidl
from minidl import Tensor, data, models, nn, optim, train
from minidl.cli.folder import RunFolder, write_json
from minidl.cli.machine import describe_machine, device
from minidl.cli.options import UsageError
from minidl.nn import functional as F
from minidl.serialization import save_arrays

__all__ = ["TextTask", "is_language", "measure_text", "prepare_text", "settle_language", "train_language"]

Settings = dict[str, Any]

SHAKESPEARE = "shakespeare"
# nanoGPT's run on a processor (README, "I only have a macbook"). Its learning rate falls to a tenth.
RECIPE: Settings = {
    "data": SHAKESPEARE, "model": "gpt", "tokenizer": "char", "vocab": 512,
    "context": 64, "width": 128, "heads": 4, "layers": 4, "dropout": 0.0,
    "steps": 2000, "eval_every": 250, "batch_size": 12,
    "lr": 1e-3, "warmup": 100, "weight_decay": 0.1, "clip": 1.0, "seed": 0,
}  # fmt: skip
BETAS = (0.9, 0.99)
LEAST = 0.1  # of the learning rate, at the end
EVALUATION_BATCH = 64


def is_language(given: Settings) -> bool:
    """Whether the options ask for a model of a text: by the model's name or the data's."""
    return given.get("model", "gpt") == "gpt" and (
        "model" in given or str(given.get("data", "")).lower() == SHAKESPEARE
    )


def settle_language(given: Settings) -> Settings:
    """All settings of a new run on a text.

    Raises:
        UsageError: options that contradict each other, or are not for texts.
    """
    settings = {**RECIPE, **given}
    for name in given:
        if name not in RECIPE:
            raise UsageError(
                f"minidl train: --{name.replace('_', '-')} is not for --model gpt, which has"
                f" {', '.join('--' + option.replace('_', '-') for option in RECIPE)}; leave it out"
            )
    source = str(settings["data"])
    if source.lower() == SHAKESPEARE:
        settings["data"] = SHAKESPEARE
    elif not Path(source).expanduser().is_file():
        raise UsageError(
            f"minidl train: --model gpt learns from a text, and --data {source!r} is neither shakespeare nor a text"
            " file that exists; check the path"
        )
    else:
        settings["data"] = str(Path(source).expanduser().resolve())
    if settings["width"] % settings["heads"]:
        raise UsageError(
            f"minidl train: --width {settings['width']} is no multiple of --heads {settings['heads']}; change one"
        )
    if "vocab" in given and settings["tokenizer"] != "bpe":
        raise UsageError(
            "minidl train: --vocab is for --tokenizer bpe; a token a character needs none: leave --vocab out or add"
            " --tokenizer bpe"
        )
    if "warmup" not in given:
        settings["warmup"] = min(settings["warmup"], settings["steps"] // 10)
    if settings["warmup"] >= settings["steps"]:
        raise UsageError(
            f"minidl train: --warmup {settings['warmup']} leaves nothing of the {settings['steps']} --steps; choose"
            " fewer steps of warm-up"
        )
    settings["eval_every"] = min(settings["eval_every"], settings["steps"])
    return settings


@dataclass
class TextTask:
    """A text ready for training."""

    parts: data.TextParts

    def model(self, settings: Settings) -> dict[str, Any]:
        """The config of the model."""
        sizes = {name: settings[name] for name in ("context", "width", "heads", "layers", "dropout")}
        return {"name": "gpt", "vocab": self.parts.tokenizer.vocab, **sizes, "tied": True, "bias": False}

    def describe(self) -> dict[str, Any]:
        """What sampling needs to know, and a line to print."""
        parts = self.parts
        kind = {"char": "characters", "bpe": "byte pairs"}[parts.tokenizer.kind]
        return {
            "text": f"{parts.name}: {len(parts.train.tokens):,} tokens to train on, {len(parts.valid.tokens):,} to"
            f" validate on; {parts.tokenizer.vocab} different {kind}",
            "tokenizer": parts.tokenizer.state(),
            "fingerprint": self.fingerprint(),
        }

    def fingerprint(self) -> str:
        """Changes when the text or the tokenizer does: a CRC-32."""
        total = zlib.crc32(json.dumps(self.parts.tokenizer.state()).encode())
        for part in (self.parts.train, self.parts.valid):
            total = zlib.crc32(part.tokens.tobytes(), total)
        return f"{total:08x}"


def prepare_text(settings: Settings, quiet: bool = True) -> TextTask:
    """Read the text, make tokens of it, and cut off the last tenth to validate on."""
    source = settings["data"]
    name = SHAKESPEARE if source == SHAKESPEARE else Path(source).name
    try:
        text = data.load_text(source, False if quiet else None)
        return TextTask(data.split_text(text, settings["context"], settings["tokenizer"], settings["vocab"], name=name))
    except data.DataError as error:
        raise UsageError(f"minidl train: {str(error).removeprefix('load_text: ')}") from None


def text_loss(logits: Tensor, y: Tensor) -> Tensor:
    """The mean cross-entropy of all places: logits (B, T, vocab), y (B, T)."""
    return F.cross_entropy(logits.flatten(0, 1), y.flatten())


def rate_at(settings: Settings, step: int) -> float:
    """The learning rate's factor before step 0, 1, ...: up in a line, then down half a cosine to a tenth."""
    warmup, steps = settings["warmup"], settings["steps"]
    if step < warmup:
        return (step + 1) / (warmup + 1)
    done = min((step - warmup) / (steps - warmup), 1.0)
    return LEAST + (1 - LEAST) * 0.5 * (1 + math.cos(math.pi * done))


def measure_text(model: nn.Module, task: TextTask) -> dict[str, Any]:
    """The loss on the whole validation part, in windows side by side, so that each token is predicted once."""
    valid = task.parts.valid
    loss = train.evaluate(model, data.Windows(valid, EVALUATION_BATCH), text_loss)["loss"]
    tokens = len(valid.tokens) - 1
    characters = len(task.parts.tokenizer.decode(valid.tokens[1:]))
    return {
        "valid_tokens": tokens,
        "valid_loss": loss,
        "valid_bits_per_character": loss * tokens / characters / math.log(2),
    }


def text_line(result: dict[str, Any]) -> str:
    """The result in one line."""
    return (
        f"validation loss {result['valid_loss']:.4f} nats a token, {result['valid_bits_per_character']:.3f} bits a"
        f" character (all {result['valid_tokens']:,} tokens of the validation part)"
    )


class Rounds(train.Callback):
    """A pass of the loop is `eval_every` steps, the last one what is left of `steps`; tells and keeps each."""

    def __init__(self, settings: Settings, table: Path, verbose: bool) -> None:
        self.every, self.steps, self.table, self.verbose = settings["eval_every"], settings["steps"], table, verbose

    @property
    def count(self) -> int:
        return -(-self.steps // self.every)

    def rows(self, history: train.History) -> train.History:
        """The history with the steps done instead of the rounds."""
        return train.History(
            {"step": min(row["epoch"] * self.every, self.steps), **{k: v for k, v in row.items() if k != "epoch"}}
            for row in history
        )

    def fit_begins(self, run: train.Run) -> None:
        self.rows(run.history).to_csv(self.table)

    def epoch_begins(self, run: train.Run) -> None:
        run.train_loader.steps = min(self.every, self.steps - (run.epoch - 1) * self.every)

    def epoch_ends(self, run: train.Run) -> None:
        rows = self.rows(run.history)
        rows.to_csv(self.table)
        if self.verbose:
            row = rows[-1]
            print(
                f"step {row['step']:>{len(str(self.steps))}}/{self.steps}   loss {row['train_loss']:.4f}, validation"
                f" {row['valid_loss']:.4f}   {row['seconds']:.1f} s",
                flush=True,
            )


def train_language(folder: RunFolder, task: TextTask, quiet: bool, resumed: bool) -> int:
    """Train as the folder's config says; the exit code."""
    settings = folder.config["settings"]
    minidl.manual_seed(settings["seed"])
    model = models.GPT(**{name: value for name, value in folder.config["model"].items() if name != "name"})
    model.to(device())
    optimizer = optim.AdamW(model.parameter_groups(settings["weight_decay"]), lr=settings["lr"], betas=BETAS)
    scheduler = optim.lr_scheduler.LambdaLR(optimizer, lambda step: rate_at(settings, step))
    rounds = Rounds(settings, folder.history, not quiet)
    if not quiet:
        count = sum(parameter.numel() for parameter in model.parameters())
        print(f"data     {folder.config['data']['text']}")
        print(f"model    gpt with {count:,} parameters, adamw, learning rate {settings['lr']:g}")
        print(f"machine  {describe_machine()}")
        print(f"run      {folder.path}", flush=True)
        if resumed:
            kept = saved_step(folder)
            print(
                f"resumed  after step {kept}" if kept else "resumed  before the first step was saved: it starts anew",
                flush=True,
            )
    began = time.perf_counter()
    history = train.fit(
        model,
        data.RandomWindows(task.parts.train, settings["batch_size"], settings["eval_every"]),
        data.Windows(task.parts.valid, EVALUATION_BATCH),
        text_loss,
        optimizer,
        None,
        scheduler,
        rounds.count,
        scheduler_by="batch",
        max_norm=settings["clip"] or None,
        early_stopping=train.EarlyStopping(None),
        checkpoint=folder.checkpoint,
        resume=resumed,
        callbacks=[rounds],
        progress=False if quiet else None,
        verbose=False,
    )
    seconds = time.perf_counter() - began
    usage = {"model": folder.config["model"], "data": folder.config["data"], "loss": "cross-entropy"}
    weights = {name: tensor.cpu().array for name, tensor in model.state_dict().items()}
    save_arrays(weights, folder.model, {"minidl.model": json.dumps(usage)})
    result, rows = measure_text(model, task), rounds.rows(history)
    best = rows.best("valid_loss")["step"]
    spent = round(sum(history.column("seconds")), 2)
    write_json(folder.result, {"best_step": best, **result, "train_seconds": spent})
    kept_files = "history.csv, model.safetensors"
    if draw(folder, task, rows):
        kept_files = f"curves.png, {kept_files}"
    if not quiet:
        print(f"trained  in {seconds:.1f} s; the best validation loss was after step {best}")
    print(text_line(result))
    if not quiet:
        print(f"kept in  {folder.path}: {kept_files}; go on with: minidl sample {folder.path}")
    return 0


def draw(folder: RunFolder, task: TextTask, rows: train.History) -> bool:
    """The losses as a picture, where that can be drawn."""
    try:
        from minidl.explain import plots
    except ImportError:
        return False
    plots.curves(rows, f"{task.parts.name}, gpt", by="step").save(folder.curves)
    return True


def saved_step(folder: RunFolder) -> int:
    """The step after which the checkpoint was written, 0 where there is none."""
    if not folder.checkpoint.exists():
        return 0
    settings = folder.config["settings"]
    return min(train.Checkpoint.epoch_of(folder.checkpoint) * settings["eval_every"], settings["steps"])
