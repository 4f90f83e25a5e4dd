"""A function's source and its place, coloured in a notebook."""

from __future__ import annotations

import inspect
import io
import keyword
import tokenize
from html import escape
from itertools import accumulate
from pathlib import Path
from typing import Any

# Colours that can be read on white and on black.
_KEYWORD, _TEXT, _COMMENT, _NUMBER = "#2f7fd1", "#2e9e6b", "#8a8f98", "#c2681c"


class Source:
    """Where a function or class is defined, and its source as it runs.

    Errors: TypeError for what has no Python source.
    """

    def __init__(self, owner: Any) -> None:
        owner = inspect.unwrap(owner)
        try:
            self.text, line = inspect.getsource(owner).rstrip(), inspect.getsourcelines(owner)[1]
            file = Path(inspect.getsourcefile(owner) or "")
        except (TypeError, OSError):
            raise TypeError(f"show: {owner!r} has no Python source; pass a function or a class of minidl") from None
        package = Path(__file__).parents[2]
        file = file.relative_to(package) if file.is_relative_to(package) else Path(file.name)
        self.place = f"{file}:{line}"

    def __repr__(self) -> str:
        return f"{self.place}\n{self.text}"

    def _repr_html_(self) -> str:
        font = "font-family:DejaVu Sans Mono,Menlo,Consolas,monospace;font-size:12px;line-height:1.45"
        return (
            f"<div style='color:{_COMMENT};{font}'>{escape(self.place)}</div>"
            f"<pre style='{font};white-space:pre;overflow-x:auto;padding:6px 0 6px 12px;"
            f"border-left:3px solid {_KEYWORD}'>{coloured(self.text)}</pre>"
        )


def coloured(source: str) -> str:
    """Python as HTML, with colours for keywords, texts, numbers and comments."""
    starts = [0, *accumulate(map(len, source.splitlines(keepends=True)))]
    parts: list[str] = []
    done = 0
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        colour = _colour(token)
        if colour:  # by its place in the source: a piece of an f-string has its braces halved in `token.string`
            begin, end = (starts[row - 1] + column for row, column in (token.start, token.end))
            begin = max(begin, done)
            parts += [escape(source[done:begin]), f"<span style='color:{colour}'>{escape(source[begin:end])}</span>"]
            done = max(end, done)
    return "".join([*parts, escape(source[done:])])


def _colour(token: tokenize.TokenInfo) -> str:
    if token.type == tokenize.NAME and keyword.iskeyword(token.string):
        return _KEYWORD
    name = tokenize.tok_name[token.type]
    return _TEXT if name.startswith(("STRING", "FSTRING")) else {"NUMBER": _NUMBER, "COMMENT": _COMMENT}.get(name, "")
