"""minidl sample: a trained language model continues a text."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterable, Iterator

import numpy as np

from minidl import Generator, data, models
from minidl.cli.answering import load_model
from minidl.cli.options import UsageError

__all__ = ["run_sampling"]


def run_sampling(options: argparse.Namespace) -> int:
    """minidl sample RUN: prompt and continuation on standard output, as they come; the exit code."""
    _, model, usage = load_model(options.run, "sample")
    if not isinstance(model, models.GPT):
        raise UsageError(
            f"minidl sample: {options.run} is no language model but a {usage['model']['name']}; train one with minidl"
            " train --data shakespeare"
        )
    tokenizer = data.tokenizer_from_state(usage["data"]["tokenizer"])
    prompt = getattr(options, "prompt", "\n")
    if not prompt:
        raise UsageError("minidl sample: --prompt is empty; give at least one character, or leave the option out")
    try:
        tokens = tokenizer.encode(prompt)
    except data.DataError as error:
        if hasattr(options, "prompt"):
            raise UsageError(f"minidl sample: --prompt: {str(error).removeprefix('encode: ')}") from None
        tokens = np.array([0])  # a text without lines begins with any of its characters
    top_k = getattr(options, "top_k", None)
    if top_k is not None and top_k > tokenizer.vocab:
        raise UsageError(
            f"minidl sample: --top-k {top_k} is more than the {tokenizer.vocab} tokens that there are; take fewer, or"
            " leave it out to draw among all"
        )
    count = getattr(options, "tokens", 500)
    generator = Generator().manual_seed(getattr(options, "seed", 0))
    new = models.generate(model, tokens, count, getattr(options, "temperature", 0.8), top_k, generator)
    began = time.perf_counter()
    for piece in tokenizer.stream(chain(tokens, new)):
        sys.stdout.write(piece)
    seconds = time.perf_counter() - began
    sys.stdout.write("\n")
    sys.stdout.flush()
    if not getattr(options, "quiet", False):
        print(f"{count:,} tokens in {seconds:.2f} s: {count / seconds:,.0f} a second", file=sys.stderr)
    return 0


def chain(tokens: Iterable[int], new: Iterator[int]) -> Iterator[int]:
    """Prompt and continuation; what is there is shown on the way."""
    yield from map(int, tokens)
    for number, token in enumerate(new):
        if number % 16 == 0:
            sys.stdout.flush()
        yield token
