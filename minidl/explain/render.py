"""Shows formulas as mathematics, and a function's formula beside its source."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterable, Iterator
from typing import Any

from .grammar import Formula, formulas
from .in_tex import latex
from .plain import plain_lines
from .source import Source

_BREAK = "\\\\[4pt]\n"


class Formulas:
    """The formulas of one function: text in a terminal, mathematics in a notebook; iterates over its lines."""

    def __init__(self, owner: Any, lines: Iterable[Formula] | None = None) -> None:
        owner = inspect.unwrap(owner) if callable(owner) else owner
        self.name = "formula" if isinstance(owner, str) else getattr(owner, "__name__", type(owner).__name__)
        self.lines = formulas(owner) if lines is None else list(lines)

    def __iter__(self) -> Iterator[Formula]:
        return iter(self.lines)

    def __len__(self) -> int:
        return len(self.lines)

    def __repr__(self) -> str:
        return "\n".join(map(str, self.lines)) or f"{self.name} states no formula"

    def _repr_latex_(self) -> str:
        rows = _BREAK.join(latex(line, align=True) for line in self.lines)
        return f"$$\\begin{{aligned}}\n{rows}\n\\end{{aligned}}$$" if self.lines else repr(self)

    _repr_markdown_ = _repr_latex_


def formula(owner: Any) -> Formulas:
    """The formulas that a function or class states in its docstring: text in a terminal, mathematics in a notebook.

    Errors: FormulaError naming function and line where a formula cannot be read.
    """
    return Formulas(owner)


def plain(owner: Any, **options: Any) -> Formulas:
    """The formulas that are left when the options have these values: `plain(F.cross_entropy, reduction="none")`.

    Defaults that are None, False, 0 or a word are put in too, so that what they switch off is gone. The lines come
    from the docstring, as `formula`'s; they can be evaluated as those can.

    options  numbers, words, booleans or None (an absent factor or term) by name

    Errors: TypeError for an option of another type, FormulaError where a formula cannot be read.
    """
    owner = inspect.unwrap(owner) if callable(owner) else owner
    return Formulas(owner, plain_lines(owner, options))


def show(*owners: Any) -> None:
    """Prints formula, place and source of functions and classes; in a notebook as mathematics and coloured code.

    Errors: TypeError for what has no Python source.
    """
    for owner in owners:
        plain = owner if inspect.isroutine(owner) or inspect.isclass(owner) else type(owner)
        parts = [part for part in (Formulas(plain), Source(plain)) if not isinstance(part, Formulas) or len(part)]
        ipython = sys.modules.get("IPython")
        if ipython is not None and ipython.get_ipython() is not None:
            for part in parts:
                ipython.display.display(part)
        else:
            print(*parts, sep="\n\n")
