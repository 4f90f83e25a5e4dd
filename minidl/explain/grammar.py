"""Reads the formula lines of a docstring: text in, small trees of tuples out.

A formula line is `target = expression`, `target ← expression` or `target ~ distribution`:

    Y = X * sigmoid(X)                               elementwise, broadcasting
    Y[i,k] = Σ[j] A[i,j] * B[j,k]                    index notation; also Π, max, min, mean, argmax, argmin
    Y[n,o,p] = Σ[c,r] X[n,c,p*stride+r] * W[o,c,r]   affine indices; a read beyond the edge is left out
    Y[...,i] = exp(X[...,i]) / Σ[j] exp(X[...,j])    `...` stands for the axes that are not named
    Y[n] = max[r < size] X[n + r]                    an index with a range of its own
    ∂L/∂X[i] = G[i] * [X[i] > 0]                     a condition in brackets is 1 or 0 (0 times anything is 0)
    Y.flat[i] = X.flat[i]                            all elements in a row, whatever the shape
    Y[...] = |X[...]| / size(i)                      absolute value; how far an index runs
    m ← β * m + (1 - β) * g                          an update: the old value on the right, the new one on the left
    W ~ N(0, std ** 2)                               drawn at random: a distribution, nothing to evaluate

A sum reaches as far as the product after it: `Σ[j] a * b + c` is `(Σ[j] a * b) + c`. Everything else binds as in
Python, conditional expressions included. A formula begins at the docstring's own margin (what is indented is an
example, say), and a line below it that is indented further continues it.

Each tree is a tuple (kind, parts...): number, text, name, tuple, read, call, reduce, binary, negate, not, compare,
logic, if, bracket.
"""

from __future__ import annotations

import inspect
import re
import unicodedata
from dataclasses import dataclass
from typing import Any

Tree = tuple[Any, ...]

NAME = r"[^\W\d][\w\u0300-\u036f]*'*(?:\.flat)?"  # Greek, subscripts, hats (combining marks) and primes included
TARGET = re.compile(rf"((?:∂L/∂)?{NAME})(?:\[([^\[\]]*)\])? (=|←|~) (.*)")
SUSPECT = re.compile(rf"∂L/∂[^=←]*(=|←)|{NAME}\[[^=←]*(=|←)")  # meant as a formula
TOKEN = re.compile(
    rf"""(?P<number>(?:\d+\.\d+|\d+|\.\d+)(?:e[+-]?\d+)?)
       | (?P<text>"[^"]*")
       | (?P<name>(?:∂L/∂)?{NAME})
       | (?P<symbol>\.\.\.|\*\*|//|==|!=|<=|>=|[-+*/%<>()\[\],|≤≥≠])
       | \s+""",
    re.VERBOSE,
)
REDUCTIONS = {"Σ", "Π", "max", "min", "mean", "argmax", "argmin"}
COMPARISONS = {
    "==": "==",
    "!=": "!=",
    "<": "<",
    "<=": "<=",
    ">": ">",
    ">=": ">=",
    "≤": "<=",
    "≥": ">=",
    "≠": "!=",
}
KEYWORDS = {"if", "else", "and", "or", "not"}


class FormulaError(ValueError):
    """A formula that cannot be read or evaluated; the message names function and line."""


@dataclass(frozen=True)
class Formula:
    """One line: `target[indices] = tree`, `target ← tree` or `target ~ tree`."""

    target: str
    indices: tuple[str, ...] | None  # None: elementwise, the whole array at once
    sign: str  # "=", "←" or "~"
    tree: Tree
    text: str  # as it stands in the docstring
    where: str  # "softmax, line 1"

    def __str__(self) -> str:
        return self.text


def formulas(source: Any) -> list[Formula]:
    """The formulas of a function, a class or a docstring, in their order.

    Errors: FormulaError naming function, line and column where a line looks like a formula and is none.
    """
    if isinstance(source, str):
        owner, text = "formula", source
    else:
        owner, text = getattr(source, "__name__", type(source).__name__), source.__doc__ or ""
    text = unicodedata.normalize("NFC", inspect.cleandoc(text))
    return [parse(line, f"{owner}, line {number}") for number, line in _formula_lines(text)]


def parse(line: str, where: str = "formula") -> Formula:
    """Reads one line, `Y[i,k] = Σ[j] A[i,j] * B[j,k]`."""
    line = unicodedata.normalize("NFC", line.strip())
    match = TARGET.fullmatch(line)
    if not match:
        raise FormulaError(
            f"{where}: `{line}` is no formula; write `target = expression`; ← is an update, ~ a distribution"
        )
    target, indices, sign, body = match.groups()
    names = None if indices is None else tuple(name.strip() for name in indices.split(",") if name.strip())
    for name in names or ():
        if name != "..." and not re.fullmatch(NAME, name):
            raise FormulaError(f"{where}: `{line}`: the left side is indexed by plain names, not by `{name}`")
    return Formula(target, names, sign, _Parser(body, where, line).whole(), line, where)


def _formula_lines(text: str) -> list[tuple[int, str]]:
    """(line number, formula), with the lines that continue a formula joined to it."""
    found: list[tuple[int, str]] = []
    inside = False
    for number, line in enumerate(text.splitlines(), 1):
        if line.startswith(" "):
            if inside:
                found[-1] = found[-1][0], f"{found[-1][1]} {line.strip()}"
            continue
        inside = bool(TARGET.fullmatch(line.rstrip()) or SUSPECT.match(line))
        if inside:
            found.append((number, line.rstrip()))
    return found


class _Parser:
    """Recursive descent: one method a level of precedence, from the loosest to the tightest."""

    def __init__(self, body: str, where: str, line: str) -> None:
        self.where, self.line, self.shift = where, line, len(line) - len(body)
        self.tokens: list[tuple[str, str, int]] = []
        place = 0
        while place < len(body):
            match = TOKEN.match(body, place)
            if not match:
                raise self._error(f"does not know `{body[place]}`", place)
            if match.lastgroup:
                self.tokens.append((match.lastgroup, match.group(), place))
            place = match.end()
        self.tokens.append(("end", "the end of the line", place))
        self.at = 0

    def _error(self, what: str, place: int) -> FormulaError:
        return FormulaError(f"{self.where}: `{self.line}` {what} at column {place + self.shift + 1}")

    def _peek(self, ahead: int = 0) -> str:
        kind, text, _ = self.tokens[min(self.at + ahead, len(self.tokens) - 1)]
        return "" if kind in ("end", "text") else text

    def _take(self, *wanted: str) -> str:
        """The next token if it is one of these, or an empty string."""
        found = self._peek()
        if found and found in wanted:
            self.at += 1
            return found
        return ""

    def _need(self, wanted: str) -> None:
        if not self._take(wanted):
            raise self._error(f"needs `{wanted}` before `{self.tokens[self.at][1]}`", self.tokens[self.at][2])

    def whole(self) -> Tree:
        tree = self.expression()
        kind, text, place = self.tokens[self.at]
        if kind != "end":
            raise self._error(f"goes on with `{text}` after its end", place)
        return tree

    def expression(self) -> Tree:
        value = self._logic("or")
        if self._take("if"):
            condition = self._logic("or")
            self._need("else")
            return "if", condition, value, self.expression()
        return value

    def _logic(self, word: str) -> Tree:
        deeper = (lambda: self._logic("and")) if word == "or" else self._negation
        tree = deeper()
        while self._take(word):
            tree = "logic", word, tree, deeper()
        return tree

    def _negation(self) -> Tree:
        if self._take("not"):
            return "not", self._negation()
        first, chain = self._sum(), []
        while sign := self._take(*COMPARISONS):
            chain.append((COMPARISONS[sign], self._sum()))
        return ("compare", first, tuple(chain)) if chain else first

    def _sum(self) -> Tree:
        tree = self._product()
        while sign := self._take("+", "-"):
            tree = "binary", sign, tree, self._product()
        return tree

    def _product(self) -> Tree:
        tree = self._signed()
        while sign := self._take("*", "/", "//", "%"):
            tree = "binary", sign, tree, self._signed()
        return tree

    def _signed(self) -> Tree:
        if self._take("-"):
            return "negate", self._signed()
        if self._peek() in REDUCTIONS and self._peek(1) == "[":
            return self._reduction()
        base = self._atom()
        return ("binary", "**", base, self._signed()) if self._take("**") else base

    def _reduction(self) -> Tree:
        kind = self._peek()
        self.at += 2
        binders = []
        while True:
            token_kind, name, place = self.tokens[self.at]
            if token_kind != "name" and name != "...":
                raise self._error(f"needs the name of an index, not `{name}`,", place)
            self.at += 1
            binders.append((name, self._sum() if self._take("<") else None))
            if not self._take(","):
                break
        self._need("]")
        return "reduce", kind, tuple(binders), self._product()

    def _atom(self) -> Tree:
        kind, text, place = self.tokens[self.at]
        self.at += 1
        if kind == "number":
            return "number", int(text) if text.isdigit() else float(text)
        if kind == "text":
            return "text", text[1:-1]
        if kind == "name" and text not in KEYWORDS:
            if self._take("["):
                return "read", text, self._list("]", self._index)
            if self._take("("):
                return "call", text, self._list(")", self.expression)
            return "name", text
        if text == "[":
            inside = self.expression()
            self._need("]")
            return "bracket", inside
        if text == "|":
            inside = self.expression()
            self._need("|")
            return "call", "abs", (inside,)
        if text == "(":
            first = self.expression()
            if self._take(","):
                return "tuple", (first, *self._list(")", self.expression))
            self._need(")")
            return first
        self.at -= 1
        raise self._error(f"needs a value, not `{text}`,", place)

    def _index(self) -> Tree:
        return ("...",) if self._take("...") else self.expression()

    def _list(self, closing: str, item: Any) -> tuple[Tree, ...]:
        items = []
        while not self._take(closing):
            items.append(item())
            if self._peek() != closing:
                self._need(",")
        return tuple(items)
