"""The command line's options, and one sentence for each wrong one."""

from __future__ import annotations

import argparse
import difflib
import importlib.metadata
import math
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

__all__ = ["UsageError", "parse", "version"]

TRAIN_EXAMPLES = """\
examples:
  minidl train                                        handwritten digits, in a few seconds
  minidl train --data mnist --model cnn               MNIST, fetched on first use
  minidl train --data wine.csv --label quality        a table of your own
  minidl train --data shakespeare                     a small GPT that writes plays, in a minute
  minidl train --data book.txt --model gpt            a text of your own
  minidl train --resume runs/mnist-cnn-001            go on after an interruption
  minidl train --model mlp --epochs 2 --device emulator   the CUDA kernels, without a GPU
"""
SAMPLE_EXAMPLES = """\
examples:
  minidl sample runs/shakespeare-gpt-001 --prompt "ROMEO:" --temperature 0.8 --top-k 40
"""
BENCH_EXAMPLES = """\
examples:
  minidl bench                                        everything that is installed, in ten minutes
  minidl bench kernels --peers numpy --only matmul    one family beside one library
  minidl bench --quick                                does it run?
"""
PROFILE_EXAMPLES = """\
examples:
  minidl cuda-profile matmul                                    every rung, matrices of 256 x 256
  minidl cuda-profile matmul --rungs naive,coalesced --size 64  two of them
  minidl cuda-profile reduce --json                             the sum's rungs, for a program to read
  minidl cuda-profile softmax --size 1024                       of the rows of a matrix, 1024 numbers each
"""
FORMULAS_EXAMPLES = """\
examples:
  minidl formulas                                     all of them
  minidl formulas layer_norm adam                     these
  minidl formulas --html formulas.html                one page, to read in a browser or to print
"""


class UsageError(Exception):
    """Bad input on the command line: one sentence, exit code 2."""


class Parser(argparse.ArgumentParser):
    """argparse, with sentences instead of usage dumps, and no guessing of abbreviations."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        kwargs.setdefault("allow_abbrev", False)
        kwargs.setdefault("formatter_class", argparse.RawDescriptionHelpFormatter)
        kwargs.setdefault("argument_default", argparse.SUPPRESS)
        super().__init__(*args, **kwargs)

    def error(self, message: str) -> NoReturn:
        message = message.removeprefix("argument ").replace(": expected", " is without its value: expected")
        raise UsageError(f"{self.prog}: {message} (see {self.prog} --help)")

    def option_names(self) -> list[str]:
        return [name for action in self._actions for name in action.option_strings]


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """The options given (and only those: what is not given is absent), with `.command`.

    Raises:
        UsageError: an unknown option or command, or a value that does not fit.
    """
    parser, commands = build_parser()
    first = arguments[0] if arguments else "--help"
    if not first.startswith("-") and first not in commands:
        near = difflib.get_close_matches(first, commands, 1, 0.5)
        known = "train, eval, predict, sample, bench, cuda-profile, formulas or doctor"
        hint = f"did you mean {near[0]!r}?" if near else f"expected {known}"
        raise UsageError(f"minidl: there is no command {first!r}; {hint}")
    options, unknown = parser.parse_known_args(list(arguments))
    chosen = commands.get(getattr(options, "command", ""), parser)
    if unknown:
        name = unknown[0].split("=")[0]
        near = difflib.get_close_matches(name, chosen.option_names(), 1, 0.5)
        hint = f"did you mean {near[0]}?" if near else f"see {chosen.prog} --help"
        what = "option" if name.startswith("-") else "argument"
        raise UsageError(f"{chosen.prog}: there is no {what} {name!r}; {hint}")
    return options


def build_parser() -> tuple[Parser, dict[str, Parser]]:
    """The parser, and those of the commands by name."""
    parser = Parser(
        "minidl", description="Deep learning from scratch: train small networks, and see every formula that runs."
    )
    parser.add_argument("--version", action="version", version=f"minidl {version()}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", parser_class=Parser)

    train = commands.add_parser("train", help="train a model", description="Train a model.", epilog=TRAIN_EXAMPLES)
    data = train.add_argument_group("data")
    data.add_argument(
        "--data",
        metavar="WHAT",
        help="digits (default), mnist, fashion-mnist, cifar10, shakespeare, a folder of IDX files, a CSV or text file",
    )
    data.add_argument(
        "--label", metavar="COLUMN", help="the CSV's label column, by name or number from 0 (default: the last)"
    )
    data.add_argument(
        "--task",
        type=choice("auto", "classification", "regression"),
        metavar="KIND",
        help="for CSV: classification, regression, or auto (default), which looks at the labels",
    )
    data.add_argument(
        "--missing",
        type=choice("error", "drop", "mean", "median"),
        metavar="WAY",
        help="missing values in a CSV: error (default), drop their rows, or fill with the mean or median",
    )
    data.add_argument(
        "--augment-shift", type=whole(0), metavar="PIXELS", help="shift each training image by up to so many pixels"
    )
    data.add_argument(
        "--augment-flip", action=argparse.BooleanOptionalAction, help="mirror each training image half of the time"
    )
    model = train.add_argument_group("model")
    model.add_argument(
        "--model",
        type=choice("linear", "mlp", "cnn", "lenet5", "resnet", "gpt"),
        help="linear, mlp, cnn, lenet5, resnet or gpt",
    )
    model.add_argument(
        "--hidden", type=sizes, nargs="+", metavar="UNITS", help="units of the hidden layers: --hidden 256 128"
    )
    model.add_argument(
        "--blocks", type=whole(1), metavar="N", help="of each stage of the resnet (default 3: 20 layers)"
    )
    model.add_argument(
        "--activation",
        type=choice("relu", "tanh", "sigmoid", "gelu", "silu", "elu", "leaky_relu"),
        metavar="NAME",
        help="of the mlp: relu (default), tanh, sigmoid, gelu, silu, elu, leaky_relu",
    )
    model.add_argument(
        "--dropout", type=number(0, below=1), metavar="SHARE", help="of hidden units switched off, 0 to below 1"
    )
    learning = train.add_argument_group("learning")
    learning.add_argument("--loss", type=choice("cross-entropy", "mse"), help="cross-entropy or mse")
    learning.add_argument("--optimizer", type=choice("gd", "sgd", "adam", "adamw"), help="gd, sgd, adam or adamw")
    learning.add_argument("--lr", type=number(above=0), metavar="RATE", help="learning rate")
    learning.add_argument("--momentum", type=number(0, below=1), metavar="SHARE", help="for sgd")
    learning.add_argument("--weight-decay", type=number(0), metavar="FACTOR", help="as the optimizer applies it")
    learning.add_argument("--l1", type=number(0), metavar="FACTOR", help="adds FACTOR * Σ|w| to the loss")
    learning.add_argument("--l2", type=number(0), metavar="FACTOR", help="adds FACTOR/2 * Σw² to the loss")
    learning.add_argument(
        "--schedule", type=choice("none", "cosine", "step"), help="of the learning rate: none, cosine or step"
    )
    learning.add_argument("--epochs", type=whole(1), metavar="N", help="passes over the training part")
    learning.add_argument("--batch-size", type=whole(1), metavar="N", help="examples a step")
    learning.add_argument(
        "--patience", type=whole(1), metavar="N", help="stop after N epochs without a better validation loss"
    )
    text = train.add_argument_group("texts (--model gpt)")
    text.add_argument(
        "--tokenizer", type=choice("char", "bpe"), help="a token a character (default), or byte pairs learned here"
    )
    text.add_argument("--vocab", type=whole(256, 1 << 16), metavar="N", help="tokens of bpe (default 512)")
    text.add_argument("--context", type=whole(1), metavar="N", help="tokens that the model sees (default 64)")
    text.add_argument("--width", type=whole(1), metavar="N", help="of the model (default 128)")
    text.add_argument("--heads", type=whole(1), metavar="N", help="of each attention (default 4)")
    text.add_argument("--layers", type=whole(1), metavar="N", help="blocks of attention and MLP (default 4)")
    text.add_argument("--steps", type=whole(1), metavar="N", help="batches to learn from (default 2000)")
    text.add_argument("--warmup", type=whole(0), metavar="N", help="steps in which the learning rate grows")
    text.add_argument("--clip", type=number(0), metavar="NORM", help="longest gradient (default 1; 0: any)")
    text.add_argument("--eval-every", type=whole(1), metavar="N", help="steps from one validation to the next")
    running = train.add_argument_group("running")
    running.add_argument(
        "--seed", type=whole(0, 2**63), metavar="N", help="of weights, split, order, dropout (default 0)"
    )
    running.add_argument("--out", metavar="FOLDER", help="run folder (default runs/DATA-MODEL-NNN)")
    running.add_argument("--resume", metavar="RUN", help="go on with an interrupted run, with its own options")
    machine(running)

    evaluation = commands.add_parser(
        "eval", help="measure a trained model", description="Measure a trained model on its test part."
    )
    evaluation.add_argument("run", metavar="RUN", help="the run folder")
    machine(evaluation)

    prediction = commands.add_parser(
        "predict", help="apply a trained model", description="Apply a trained model to images or tables."
    )
    prediction.add_argument("run", metavar="RUN", help="the run folder")
    prediction.add_argument(
        "inputs", metavar="IMAGE-OR-CSV", nargs="+", help="image files, or CSV files with the model's columns"
    )
    machine(prediction)

    sample = commands.add_parser(
        "sample",
        help="let a language model write",
        description="Let a trained GPT continue a text.",
        epilog=SAMPLE_EXAMPLES,
    )
    sample.add_argument("run", metavar="RUN", help="the run folder")
    sample.add_argument("--prompt", metavar="TEXT", help="what to continue (default: a new line)")
    sample.add_argument("--tokens", type=whole(1), metavar="N", help="how many to write (default 500)")
    sample.add_argument(
        "--temperature", type=number(0), metavar="T", help="0: the most probable token; 1: as learned (default 0.8)"
    )
    sample.add_argument("--top-k", type=whole(1), metavar="K", help="only among the K most probable (default: all)")
    sample.add_argument("--seed", type=whole(0, 2**63), metavar="N", help="of what is drawn (default 0)")
    machine(sample)

    bench = commands.add_parser(
        "bench",
        help="measure kernels, training steps and calls beside other libraries",
        description="Measure kernels, training steps and calls beside other libraries, each in a process of its own.",
        epilog=BENCH_EXAMPLES,
    )
    bench.add_argument(
        "part",
        nargs="?",
        default=None,
        type=choice("kernels", "steps", "overhead"),
        metavar="PART",
        help="kernels, steps or overhead (default: all of them)",
    )
    bench.add_argument(
        "--peers", type=words, metavar="NAMES", help="of numpy, torch, jax, tinygrad (default: all that are installed)"
    )
    bench.add_argument("--only", metavar="TEXT", help="only the rows with this in their name")
    bench.add_argument("--quick", action="store_true", help="a few milliseconds a row, to see that it runs")
    bench.add_argument("--full", action="store_true", help="more rounds, and matrix products of many sizes")
    bench.add_argument("--threads", type=whole(1, 1024), metavar="N", help="of every library (default 2)")
    bench.add_argument("--out", metavar="FOLDER", help="for figures and pictures (default runs/bench-NNN)")

    profile = commands.add_parser(
        "cuda-profile",
        help="count what CUDA kernels ask of a GPU, rung by rung, without one",
        description="Run CUDA kernels on the emulator and count, exactly, what they ask of a GPU's memory.",
        epilog=PROFILE_EXAMPLES,
    )
    families = choice("matmul", "reduce", "softmax")
    profile.add_argument("family", type=families, metavar="FAMILY", help="matmul, reduce or softmax")
    profile.add_argument("--rungs", type=words, metavar="NAMES", help="of the ladder, or all (default)")
    profile.add_argument("--size", type=whole(1, 1025), metavar="N", help="of the N x N matrices (default 256)")
    profile.add_argument("--type", type=choice("float32", "float64"), help="float32 (default) or float64")
    profile.add_argument("--json", action="store_true", help="print the counts as JSON")

    formulas = commands.add_parser(
        "formulas",
        help="print every formula, and where its code is",
        description="Print operations, losses, layers, optimizers, schedules, penalties: formula, file and line.",
        epilog=FORMULAS_EXAMPLES,
    )
    formulas.add_argument(
        "names", nargs="*", default=[], metavar="NAME", help="names, or families such as pool (default: everything)"
    )
    formulas.add_argument("--html", metavar="FILE", help="write one page instead: mathematics beside the source")

    commands.add_parser(
        "doctor",
        help="say what is there, what is missing and what to type",
        description="Say what is there, what is missing and what to type.",
    )
    return parser, dict(commands.choices)


def version() -> str:
    """The installed version; a checkout that was never installed has none."""
    try:
        return importlib.metadata.version("minidl")
    except importlib.metadata.PackageNotFoundError:
        return "(not installed)"


def machine(parser: Any) -> None:
    """Options of every command that computes."""
    parser.add_argument(
        "--threads", type=whole(1, 1024), metavar="N", help="CPU threads (the result does not depend on them)"
    )
    parser.add_argument(
        "--backend", type=choice("native", "reference"), help="native (C++, default) or reference (NumPy)"
    )
    parser.add_argument(
        "--device",
        type=device,
        metavar="WHERE",
        help="cpu (default), cuda, or emulator, which runs the CUDA kernels on the CPU: for small models",
    )
    parser.add_argument("--quiet", action="store_true", help="print the result only")


def choice(*names: str) -> Callable[[str], str]:
    """A type for argparse: one of these words."""

    def convert(text: str) -> str:
        if text.lower() in names:
            return text.lower()
        near = difflib.get_close_matches(text.lower(), names, 1, 0.5)
        hint = f"did you mean {near[0]!r}?" if near else f"expected {', '.join(names[:-1])} or {names[-1]}"
        raise argparse.ArgumentTypeError(f"{text!r} is unknown; {hint}")

    return convert


def device(text: str) -> str:
    """A type for argparse: cpu, cuda, cuda:1 or emulator."""
    kind, _, index = text.lower().partition(":")
    return choice("cpu", "cuda", "emulator")(kind) + (f":{whole(0)(index)}" if index else "")


def whole(low: int, below: int | None = None) -> Callable[[str], int]:
    """A type for argparse: a whole number from `low` on."""

    def convert(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"got {text!r}, expected a whole number such as {max(low, 1)}") from None
        if value < low or (below is not None and value >= below):
            raise argparse.ArgumentTypeError(
                f"got {text}, expected a whole number of at least {low}" + (f" and below {below}" if below else "")
            )
        return value

    return convert


def number(
    low: float | None = None, *, above: float | None = None, below: float | None = None
) -> Callable[[str], float]:
    """A type for argparse: a finite number in a range."""

    def convert(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        limits = [
            ("at least", low, low is None or value >= low),
            ("above", above, above is None or value > above),
            ("below", below, below is None or value < below),
        ]
        if not math.isfinite(value) or not all(kept for _, _, kept in limits):
            words = " and ".join(f"{word} {limit:g}" for word, limit, _ in limits if limit is not None)
            raise argparse.ArgumentTypeError(f"got {text!r}, expected a number {words}")
        return value

    return convert


def words(text: str) -> list[str]:
    """A type for argparse: words with commas or blanks between them."""
    return text.lower().replace(",", " ").split()


def sizes(text: str) -> list[int]:
    """A type for argparse: sizes, "256" or "256,128"."""
    return [whole(1)(part) for part in text.replace(",", " ").split()]
