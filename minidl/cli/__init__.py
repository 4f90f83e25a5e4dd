"""The command line: minidl train | eval | predict | sample | bench | formulas | doctor.

Whatever goes wrong ends in one sentence on standard error and an exit code: 2 for bad input, 1 for a failure, 130 after
Ctrl-C. With MINIDL_TRACEBACK=1 in the environment the traceback is shown as well.
"""

from __future__ import annotations

import io
import os
import sys
import traceback
from collections.abc import Sequence

import numpy as np

from minidl.cli.options import UsageError, parse

__all__ = ["main"]

BAD_INPUT, FAILURE, INTERRUPTED = 2, 1, 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; the exit code."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    for stream in (sys.stdout, sys.stderr):  # a terminal without Σ and ² shows ? instead
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
    try:
        with np.errstate(all="ignore"):  # a loss that overflows has a sentence of its own
            return dispatch(given)
    except KeyboardInterrupt:
        return complain("minidl: interrupted", INTERRUPTED)
    except UsageError as error:
        return complain(str(error), BAD_INPUT)
    except BrokenPipeError:  # the reader of a pipe, such as head, has gone
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILURE
    except MemoryError:
        return complain("minidl: out of memory; use a smaller --batch-size or a smaller model", FAILURE)
    except (FileNotFoundError, ValueError) as error:
        return complain(str(error), BAD_INPUT)
    except (OSError, FloatingPointError, RuntimeError) as error:
        return complain(str(error), FAILURE)
    except Exception as error:
        sentence = " ".join(str(error).split())
        return complain(f"{type(error).__name__}: {sentence}; MINIDL_TRACEBACK=1 shows where", FAILURE)


def dispatch(arguments: Sequence[str]) -> int:
    """Parse, and hand over to the command."""
    options = parse(arguments or ["--help"])
    command = getattr(options, "command", None)
    if command == "doctor":
        from minidl.cli.doctoring import run_doctor

        return run_doctor()
    if command == "bench":
        from minidl.cli.benching import run_benchmarks

        return run_benchmarks(options)
    if command == "formulas":
        from minidl.cli.formulas import run_formulas

        return run_formulas(options)
    if command is None:
        known = "train, eval, predict, sample, bench, formulas, doctor"
        raise UsageError(f"minidl: which command? One of {known}; see minidl --help")
    from minidl.cli.machine import set_machine

    set_machine(options)
    if command == "train":
        from minidl.cli.training import run_training

        return run_training(options)
    if command == "sample":
        from minidl.cli.sampling import run_sampling

        return run_sampling(options)
    from minidl.cli.answering import run_evaluation, run_prediction

    return run_evaluation(options) if command == "eval" else run_prediction(options)


def complain(sentence: str, code: int) -> int:
    """One sentence on standard error."""
    if os.environ.get("MINIDL_TRACEBACK"):
        traceback.print_exc()
    sentence = " ".join(sentence.split())
    print(sentence if sentence.startswith("minidl") else f"minidl: {sentence}", file=sys.stderr)
    return code
