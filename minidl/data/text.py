"""Texts to learn from: Shakespeare's plays or a file, as tokens, in windows."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .. import random
from .._tensor import Tensor
from ..tape import wrap
from ..utils.data import Dataset
from .errors import DataError, DataNotFoundError
from .idx import read_bytes
from .published import SHAKESPEARE
from .tokenizers import BytePairTokenizer, CharTokenizer, Tokenizer

__all__ = ["RandomWindows", "TextData", "TextParts", "Windows", "load_text", "read_text", "split_text"]


class TextData(Dataset):
    """Tokens, as a `Dataset` of all windows of `context` tokens: example i is x = tokens[i : i + context] with
    y = tokens[i + 1 : i + 1 + context], so that y[t] is what comes after x[t].

    Args:
        tokens: whole numbers (N,), from 0 on.
        context: tokens in a window.
        name: for messages.

    Raises:
        DataError: there are not more tokens than `context`, or the context is below 1.
    """

    def __init__(self, tokens: np.ndarray, context: int, name: str = "text") -> None:
        if context < 1:
            raise DataError(f"{name}: context is {context}; expected at least 1")
        if tokens.ndim != 1 or len(tokens) <= context:
            raise DataError(
                f"{name}: {tokens.size:,} tokens are too few for a context of {context} and the token that follows it;"
                " give a longer text or a shorter context"
            )
        small = np.uint16 if tokens.max() < 1 << 16 else np.int64
        self.tokens, self.context, self.name = np.ascontiguousarray(tokens, small), context, name

    def __len__(self) -> int:
        return len(self.tokens) - self.context

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        if not -len(self) <= index < len(self):
            raise IndexError(f"{self.name}: index {index} is out of range for {len(self)} windows")
        x, y = self.gather(np.array([index % len(self)]))
        return x[0], y[0]

    def gather(self, index: np.ndarray) -> tuple[Tensor, Tensor]:
        """The batch (x, y) of the windows that begin there, both int64 (B, context)."""
        return self.cut(index, self.context)

    def cut(self, starts: np.ndarray, length: int) -> tuple[Tensor, Tensor]:
        """Windows of another length."""
        windows = self.tokens[starts[:, None] + np.arange(length + 1)].astype(np.int64)  # (B, length + 1)
        return wrap(np.ascontiguousarray(windows[:, :-1])), wrap(np.ascontiguousarray(windows[:, 1:]))

    def __repr__(self) -> str:
        return f"{self.name}: {len(self.tokens):,} tokens, in windows of {self.context}"


class RandomWindows:
    """A loader of `steps` batches a pass, each of windows that begin anywhere, drawn anew.

    They depend on the state of `generator` (by default the default generator) alone, so a run that restores this state
    goes on with the same batches.
    """

    def __init__(
        self, dataset: TextData, batch_size: int, steps: int, generator: random.Generator | None = None
    ) -> None:
        if batch_size < 1 or steps < 1:
            raise ValueError(f"RandomWindows: got batch_size={batch_size}, steps={steps}; expected at least 1 of each")
        self.dataset, self.batch_size, self.steps, self.generator = dataset, batch_size, steps, generator

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        for _ in range(self.steps):
            yield self.dataset.gather(random.integers(0, len(self.dataset), (self.batch_size,), self.generator))

    def __len__(self) -> int:
        return self.steps


class Windows:
    """A loader of all of a text, in windows side by side: each token but the first is predicted exactly once.

    The last window, which is shorter, comes as a batch of its own.
    """

    def __init__(self, dataset: TextData, batch_size: int) -> None:
        if batch_size < 1:
            raise ValueError(f"Windows: batch_size is {batch_size}; expected at least 1")
        self.dataset, self.batch_size = dataset, batch_size

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        count, rest = self._counts()
        starts = np.arange(count) * self.dataset.context
        for first in range(0, count, self.batch_size):
            yield self.dataset.gather(starts[first : first + self.batch_size])
        if rest:
            yield self.dataset.cut(np.array([count * self.dataset.context]), rest)

    def __len__(self) -> int:
        count, rest = self._counts()
        return -(-count // self.batch_size) + bool(rest)

    def _counts(self) -> tuple[int, int]:
        return divmod(len(self.dataset.tokens) - 1, self.dataset.context)


@dataclass(frozen=True)
class TextParts:
    """A text cut in two, and the tokenizer, which has learned from the training part (characters: from all of it)."""

    train: TextData
    valid: TextData
    tokenizer: Tokenizer
    name: str


def split_text(
    text: str, context: int, tokenizer: str = "char", vocab: int = 512, valid: float = 0.1, name: str = "text"
) -> TextParts:
    """The first part of a text to train on, the rest to validate on, as tokens.

    Args:
        text: what to learn.
        context: tokens in a window.
        tokenizer: "char" or "bpe".
        vocab: tokens of "bpe", at least 256.
        valid: the share of the characters to validate on; the training part has the others, rounded down.
        name: for messages.

    Raises:
        DataError: the text is empty or too short, or there is no such tokenizer.
    """
    if tokenizer not in ("char", "bpe"):
        raise DataError(f"split_text: there is no tokenizer {tokenizer!r}; expected char or bpe")
    if not 0 < valid < 1:
        raise DataError(f"split_text: valid is {valid:g}; expected a share between 0 and 1")
    if not text:
        raise DataError(f"{name}: the text is empty; give one to learn from")
    cut = int(len(text) * (1 - valid))
    known = CharTokenizer(text) if tokenizer == "char" else BytePairTokenizer.train(text[:cut] or text, vocab)
    train, held_out = (
        TextData(known.encode(part), context, f"{name}, {kind} part")
        for part, kind in ((text[:cut], "training"), (text[cut:], "validation"))
    )
    return TextParts(train, held_out, known, name)


def read_text(path: str | os.PathLike[str]) -> str:
    """The text of a file in UTF-8, packed with gzip or not; line ends become "\\n".

    Raises:
        DataNotFoundError: there is no such file.
        DataError: it is empty, or no text.
    """
    return decoded(read_bytes(path), path)


def decoded(content: bytes, path: str | os.PathLike[str]) -> str:
    """The text that is in a file's bytes; `path` names it in errors."""
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(
            f"{path}: not UTF-8 text (byte {error.start}); give a text file, or save it again in UTF-8"
        ) from None
    if "\0" in text:
        raise DataError(f"{path}: not text (it holds zero bytes); give a text file")
    if not text.strip():
        raise DataError(f"{path}: the text is empty; give one to learn from")
    return text.replace("\r\n", "\n").replace("\r", "\n")


def load_text(name_or_path: str | os.PathLike[str], progress: bool | None = None) -> str:
    """ "shakespeare", which is fetched (1.1 MB) unless MINIDL_DATA or the cache has it, or the text of a file.

    Shakespeare: 40,000 lines of the plays, collected by A. Karpathy for char-rnn (2015); public domain.
    """
    if os.fspath(name_or_path).lower() == "shakespeare":
        return decoded(SHAKESPEARE.content(SHAKESPEARE.files[0], progress), "shakespeare")
    if not Path(name_or_path).is_file():
        raise DataNotFoundError(
            f"load_text: {os.fspath(name_or_path)!r} is neither 'shakespeare' nor a file that exists; check the path"
        )
    return read_text(name_or_path)
