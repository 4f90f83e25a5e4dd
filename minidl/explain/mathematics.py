"""Formulas as mathematics: one walk over a formula's tree, and what a notation has to know how to write.

The walk decides what stands where and what needs parentheses; `in_tex.py` and `in_mathml.py` write the pieces.
"""

from __future__ import annotations

import re
import unicodedata
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from .grammar import Formula, Tree, parse
from .plain import text

_ACCENTS = {"\u0302": "hat", "\u0303": "tilde", "\u0304": "bar", "\u0305": "bar", "\u0307": "dot"}
_FLAT = str.maketrans("₀₁₂₃₄₅₆₇₈₉²³", "012345678923")
_RENAMED = {"eps": "ε", "inf": "∞", "pi": "π"}
_CALLED = {"maximum": "max", "minimum": "min"}  # the engine's names for the field's
_SIGNS = {"==": "=", "!=": "≠", "<": "<", "<=": "≤", ">": ">", ">=": "≥"}
_AROUND = {"abs": ("|", "|"), "floor": ("⌊", "⌋"), "ceil": ("⌈", "⌉")}
_ONE = ("number", 1)
_LONG = 40  # signs in the docstring: too many to stand small above a line

# How tightly each kind binds; whatever binds looser than its place asks for gets parentheses.
LOOSE, OR, AND, NOT, COMPARED, SUM, REDUCED, PRODUCT, POWER, ATOM = range(10)


@dataclass(frozen=True)
class Symbol:
    """A name, taken apart: `m̂_t` is m with a hat and t below it, `lr` a word."""

    base: str
    accents: tuple[str, ...] = ()
    low: str = ""
    high: str = ""
    primes: str = ""
    flat: bool = False  # all elements in a row, X.flat

    @property
    def word(self) -> bool:
        """Upright, with a sign between it and a factor."""
        return len(self.base) > 1


def symbol(name: str) -> Symbol:
    """`β1` is β with 1 below, `m̂` an m with a hat, `σ²` has 2 above, `lr` is a word, `INPUT` the word input."""
    if name.endswith(".flat"):
        return Symbol(**{**vars(symbol(name.removesuffix(".flat"))), "flat": True})
    if name in _RENAMED or name in _CALLED:
        return Symbol(_RENAMED.get(name) or _CALLED[name])
    name = name.lower() if re.fullmatch(r"[A-Z]{2,}(_[A-Z]+)*", name) else name
    spelled = unicodedata.normalize("NFD", name)
    plain = "".join(letter for letter in spelled if letter not in _ACCENTS)
    match = re.fullmatch(r"([^\W\d_²³₀-₉]+)([₀-₉\d]*)([²³]?)(?:_(\w+))?('*)", plain)
    if not match or (match[4] and len(match[1]) > 1 < len(match[4])):  # step_size is one word
        return Symbol(plain)
    base, low, high, tail, primes = match.groups()
    accents = tuple(_ACCENTS[letter] for letter in spelled if letter in _ACCENTS)
    below = ",".join(part for part in (low.translate(_FLAT), tail) if part)
    return Symbol(base, accents, below, high.translate(_FLAT), primes)


class Notation(ABC):
    """Writes formulas; a subclass says how a fraction, a root, a sum are written."""

    def sides(self, line: Formula | str) -> tuple[str, str, str]:
        """Left side, sign and right side of a line."""
        line = parse(line) if isinstance(line, str) else line
        items: tuple[Tree, ...] = tuple(("...",) if name == "..." else ("name", name) for name in line.indices or ())
        return self._subscripted(line.target, items), self.sign(line.sign), self.tree(line.tree)

    def tree(self, tree: Tree, place: int = LOOSE) -> str:
        """An expression, in parentheses where its place asks for a tighter one."""
        written, tightness = self._piece(tree)
        return self.fenced("(", written, ")") if tightness < place else written

    # ------------------------------------------------------------------------------------ what a notation writes

    @abstractmethod
    def sign(self, sign: str) -> str:
        """= ≠ < ≤ > ≥ ← ~ + - and mod"""

    @abstractmethod
    def number(self, digits: str, exponent: str) -> str:
        """digits * 10 ** exponent, either of which may be empty"""

    @abstractmethod
    def typed(self, text: str) -> str:
        """a word that is the value of an option"""

    @abstractmethod
    def name(self, name: Symbol, below: str = "") -> str:
        """a name, with its indices"""

    @abstractmethod
    def dots(self) -> str:
        """the axes that are not named"""

    @abstractmethod
    def row(self, *parts: str) -> str:
        """one after the other: terms and signs"""

    @abstractmethod
    def listed(self, parts: Sequence[str], space: bool) -> str:
        """with commas between"""

    @abstractmethod
    def fenced(self, left: str, inside: str, right: str) -> str:
        """in ( ) [ ] | | ⌊ ⌋ ⌈ ⌉"""

    @abstractmethod
    def prefixed(self, sign: str, inside: str) -> str:
        """- or ¬ before"""

    @abstractmethod
    def product(self, left: str, right: str, dot: bool) -> str:
        """side by side, or with a dot between"""

    @abstractmethod
    def spoken(self, left: str, word: str, right: str) -> str:
        """with a word between"""

    @abstractmethod
    def fraction(self, above: str, below: str) -> str:
        """above / below"""

    @abstractmethod
    def slope(self, below: str) -> str:
        """∂L/∂below"""

    @abstractmethod
    def root(self, inside: str) -> str:
        """the square root"""

    @abstractmethod
    def power(self, base: str, exponent: str) -> str:
        """base to the exponent"""

    @abstractmethod
    def exponential(self, exponent: str) -> str:
        """e to the exponent"""

    @abstractmethod
    def reduction(self, kind: str, below: str, body: str) -> str:
        """Σ, Π, max, min, mean, argmax, argmin over what stands below"""

    @abstractmethod
    def called(self, function: str, arguments: Sequence[str]) -> str:
        """function(arguments)"""

    @abstractmethod
    def cases(self, rows: Sequence[tuple[str, str]]) -> str:
        """a brace with (value, condition) rows; the last one has no condition"""

    # ------------------------------------------------------------------------------------------------- the walk

    def _piece(self, tree: Tree) -> tuple[str, int]:
        """(mathematics, how tightly it binds)."""
        match tree:
            case ("number", value):
                return self._number(value), ATOM
            case ("text", value):
                return self.typed(value), ATOM
            case ("name", name):
                return self._subscripted(name, ()), ATOM
            case ("...",):
                return self.dots(), ATOM
            case ("tuple", items):
                return self.fenced("(", self.listed([self.tree(item) for item in items], True), ")"), ATOM
            case ("read", name, items):
                return self._subscripted(name, items), ATOM
            case ("call", name, arguments):
                return self._call(name, arguments)
            case ("reduce", kind, binders, body):
                return self.reduction(kind, self.under(binders, body), self.tree(body, REDUCED)), REDUCED
            case ("binary", sign, left, right):
                return self._binary(sign, left, right)
            case ("negate", inner):
                return self.prefixed("-", self.tree(inner, REDUCED)), PRODUCT
            case ("not", inner):
                return self.prefixed("¬", self.tree(inner, NOT)), NOT
            case ("compare", first, chain):
                rest = [word for sign, part in chain for word in (self.sign(_SIGNS[sign]), self.tree(part, SUM))]
                return self.row(self.tree(first, SUM), *rest), COMPARED
            case ("logic", word, left, right):
                level = OR if word == "or" else AND
                return self.spoken(self.tree(left, level), word, self.tree(right, level)), level
            case ("if", condition, yes, no):
                return self._cases(condition, yes, no), ATOM
            case ("bracket", condition):
                return self.fenced("[", self.tree(condition), "]"), ATOM
        raise ValueError(f"formula: cannot show {tree!r}")

    def _subscripted(self, name: str, items: Sequence[Tree]) -> str:
        if name.startswith("∂L/∂"):
            return self.slope(self._subscripted(name[4:], items))
        if tuple(items) in ((), (("...",),)):  # all axes, in step: as good as none
            return self.name(symbol(name))
        return self.name(symbol(name), self.listed([self.tree(item) for item in items], False))

    def _number(self, value: float) -> str:
        digits, _, exponent = (f"{value:g}" if isinstance(value, float) else str(value)).partition("e")
        power = str(int(exponent)) if exponent else ""
        return self.number("" if power and digits == "1" else digits, power)

    def under(self, binders: Sequence[tuple[str, Tree | None]], body: Tree) -> str:
        """What stands below a sum: its indices, or nothing where it runs over all."""
        if [name for name, _ in binders] == ["..."] and not _mixes(body):
            return ""
        return self.listed([self._binder(*binder) for binder in binders], True)

    def _binder(self, name: str, limit: Tree | None) -> str:
        own = self.dots() if name == "..." else self.name(symbol(name))
        return self.row(own, self.sign("<"), self.tree(limit)) if limit else own

    def _cases(self, condition: Tree, yes: Tree, no: Tree) -> str:
        rows = [(self.tree(yes), self.tree(condition))]
        while no[0] == "if":
            rows.append((self.tree(no[2]), self.tree(no[1])))
            no = no[3]
        return self.cases([*rows, (self.tree(no), "")])

    def _call(self, name: str, arguments: Sequence[Tree]) -> tuple[str, int]:
        if name == "where":
            return self._cases(*arguments), ATOM
        if name == "pow":
            return self._binary("**", *arguments)
        if name == "square":
            return self._binary("**", arguments[0], ("number", 2))
        inside = [self.tree(argument) for argument in arguments]
        if name == "exp" and len(text(arguments[0])) < _LONG:
            return self.exponential(inside[0]), POWER
        if name in _AROUND:
            left, right = _AROUND[name]
            return self.fenced(left, inside[0], right), ATOM
        if name in ("sqrt", "rsqrt"):
            root = self.root(inside[0])
            return root if name == "sqrt" else self.fraction(self.tree(_ONE), root), ATOM
        if name == "reciprocal":
            return self.fraction(self.tree(_ONE), inside[0]), ATOM
        return self.called(_CALLED.get(name, name), inside), POWER

    def _binary(self, sign: str, left: Tree, right: Tree) -> tuple[str, int]:
        if sign in ("/", "//"):
            over = self.fraction(self.tree(left), self.tree(right))
            return (over, POWER) if sign == "/" else (self.fenced("⌊", over, "⌋"), ATOM)
        if sign == "**":
            return self.power(self.tree(left, ATOM), self.tree(right)), POWER
        if sign == "%":
            return self.row(self.tree(left, PRODUCT), self.sign("mod"), self.tree(right, POWER)), PRODUCT
        second = self.tree(right, ATOM if right[0] == "negate" else REDUCED)
        if sign == "*":
            dot = _ends_in_word(left) or _ends_in_word(right) or _begins_with_number(right)
            return self.product(self.tree(left, PRODUCT), second, dot), PRODUCT
        return self.row(self.tree(left, SUM), self.sign(sign), second), SUM


def _ends_in_word(tree: Tree) -> bool:
    """Whether a name of several letters stands in this product: it needs a sign between it and its neighbour."""
    if tree[:2] == ("binary", "*"):
        return _ends_in_word(tree[3])
    return tree[0] in ("name", "read") and symbol(tree[1]).word


def _begins_with_number(tree: Tree) -> bool:
    if tree[:2] == ("binary", "*"):
        return _begins_with_number(tree[2])
    return tree[0] == "number"


def _mixes(tree: Any) -> bool:
    """Whether something is read here by `...` beside other indices."""
    if not isinstance(tree, tuple):
        return False
    return tree[:1] == ("read",) and len(tree[2]) > 1 and ("...",) in tree[2] or any(map(_mixes, tree))
