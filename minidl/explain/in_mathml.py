"""Formulas in MathML Core, which browsers render by themselves: no script, no font to fetch."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from .grammar import Formula, Tree, parse
from .mathematics import ATOM, LOOSE, PRODUCT, REDUCED, SUM, Notation, Symbol
from .plain import text

_REDUCE = {"Σ": "∑", "Π": "∏", "argmax": "arg max", "argmin": "arg min"}
_ACCENTS = {"hat": "^", "tilde": "~", "bar": "¯", "dot": "˙"}
_SIGNS = {"-": "−", "~": "∼"}
_TIMES = "<mo>&#x2062;</mo>"  # the sign that is meant and not seen, for screen readers

_WIDTH = 66  # signs of a docstring's line that fit into a row


def mathml(lines: Formula | str | Sequence[Formula]) -> str:
    """One formula line, or several below each other with their signs aligned, as one `<math>` element.

    A right side that would be wider than a page goes on in the next row, at a sign of its own level.
    """
    several = [lines] if isinstance(lines, (Formula, str)) else lines
    read = [parse(line) if isinstance(line, str) else line for line in several]
    rows = []
    for line in read:
        left, sign, right = _MATHML.sides(line)
        first, *more = _filled(_MATHML.parts(line.tree)) if len(text(line.tree)) > _WIDTH else [right]
        rows.append(f"<mtr><mtd>{left}</mtd><mtd>{sign}</mtd><mtd>{first}</mtd></mtr>")
        rows += [f"<mtr><mtd></mtd><mtd></mtd><mtd>{_space(1.5)}{part}</mtd></mtr>" for part in more]
    spoken = escape("; ".join(map(str, read)))
    return (
        f'<math display="block" alttext="{spoken}"><mtable displaystyle="true" columnalign="right center left">'
        f"{''.join(rows)}</mtable></math>"
    )


def _filled(parts: Sequence[tuple[str, int]]) -> list[str]:
    """The parts one after the other, a new row where the next would not fit."""
    rows = [""]
    taken = 0
    for part, width in parts:
        if taken and taken + width > _WIDTH:
            rows.append("")
            taken = 0
        rows[-1] += part
        taken += width
    return rows


class _MathML(Notation):
    def parts(self, tree: Tree) -> list[tuple[str, int]]:
        """The terms or factors of the outermost level, each with its sign before it, and how long it is in text."""
        match tree:
            case ("binary", ("+" | "-") as sign, left, right):
                before = self.parts(left) if left[:2] in (("binary", "+"), ("binary", "-")) else [self._one(left, SUM)]
                second, width = self._one(right, ATOM if right[0] == "negate" else REDUCED)
                return [*before, (self.row(self.sign(sign), second), width + 3)]
            case ("binary", "*", left, right):
                before = self.parts(left) if left[:2] == ("binary", "*") else [self._one(left, PRODUCT)]
                (first, width), *more = self._factor(right)
                return [*before, (self.row("<mo>·</mo>", first), width + 3), *more]
            case ("reduce", kind, binders, body):
                (first, width), *more = self.parts(body)
                sum_of = self.reduction(kind, self.under(binders, body), first)
                return [(sum_of, width + len(text(tree)) - len(text(body))), *more]
        return [self._one(tree, LOOSE)]

    def _factor(self, tree: Tree) -> list[tuple[str, int]]:
        """One part, or those of a long sum in parentheses."""
        if tree[:2] not in (("binary", "+"), ("binary", "-")) or len(text(tree)) < _WIDTH:
            return [self._one(tree, ATOM if tree[0] == "negate" else REDUCED)]
        (first, width), *more = self.parts(tree)
        *rest, (last, end) = more
        return [(f'<mo stretchy="false">(</mo>{first}', width), *rest, (f'{last}<mo stretchy="false">)</mo>', end)]

    def _one(self, tree: Tree, place: int) -> tuple[str, int]:
        return self.tree(tree, place), len(text(tree))

    def sign(self, sign: str) -> str:
        return f"<mo>{escape(_SIGNS.get(sign, sign))}</mo>"

    def number(self, digits: str, exponent: str) -> str:
        if not exponent:
            return f"<mn>{digits}</mn>"
        value = exponent.removeprefix("-")
        above = f"<mrow><mo>−</mo><mn>{value}</mn></mrow>" if value != exponent else f"<mn>{value}</mn>"
        power = f"<msup><mn>10</mn>{above}</msup>"
        return f"<mrow><mn>{digits}</mn><mo>·</mo>{power}</mrow>" if digits else power

    def typed(self, text: str) -> str:
        return f"<mtext class='typed'>{escape(text)}</mtext>"

    def name(self, name: Symbol, below: str = "") -> str:
        written = f"<mi>{escape(name.base)}</mi>"
        for accent in name.accents:
            written = f'<mover accent="true">{written}<mo stretchy="false">{_ACCENTS[accent]}</mo></mover>'
        above = f"<mn>{name.high}</mn>" if name.high else ""
        above += f"<mo>{'′' * len(name.primes)}</mo>" if name.primes else ""
        above += "<mi>flat</mi>" if name.flat else ""
        low = self.listed([_part(part) for part in name.low.split(",")], False) if name.low else ""
        if low and below:
            return f"<msub>{_scripts(written, low, above)}{below}</msub>"
        return _scripts(written, low or below, above)

    def dots(self) -> str:
        return "<mo>…</mo>"

    def row(self, *parts: str) -> str:
        return f"<mrow>{''.join(parts)}</mrow>"

    def listed(self, parts: Sequence[str], space: bool) -> str:
        return parts[0] if len(parts) == 1 else f"<mrow>{_comma(space).join(parts)}</mrow>"

    def fenced(self, left: str, inside: str, right: str) -> str:
        return (
            f'<mrow><mo form="prefix" fence="true" stretchy="true">{left}</mo>{inside}'
            f'<mo form="postfix" fence="true" stretchy="true">{right}</mo></mrow>'
        )

    def prefixed(self, sign: str, inside: str) -> str:
        return f'<mrow><mo form="prefix">{_SIGNS.get(sign, sign)}</mo>{inside}</mrow>'

    def product(self, left: str, right: str, dot: bool) -> str:
        return f"<mrow>{left}{'<mo>·</mo>' if dot else _TIMES + _space(0.17)}{right}</mrow>"

    def spoken(self, left: str, word: str, right: str) -> str:
        return f"<mrow>{left}{_space(0.5)}<mtext>{word}</mtext>{_space(0.5)}{right}</mrow>"

    def fraction(self, above: str, below: str) -> str:
        return f"<mfrac>{above}{below}</mfrac>"

    def slope(self, below: str) -> str:
        return f"<mfrac><mrow><mo>∂</mo><mi>L</mi></mrow><mrow><mo>∂</mo>{below}</mrow></mfrac>"

    def root(self, inside: str) -> str:
        return f"<msqrt>{inside}</msqrt>"

    def power(self, base: str, exponent: str) -> str:
        return f"<msup>{base}{exponent}</msup>"

    def exponential(self, exponent: str) -> str:
        return f"<msup><mi>e</mi>{exponent}</msup>"

    def reduction(self, kind: str, below: str, body: str) -> str:
        sign = _REDUCE.get(kind, kind)
        large = f'<mo largeop="true" movablelimits="false">{sign}</mo>' if len(sign) == 1 else f"<mi>{sign}</mi>"
        before = "" if len(sign) == 1 else _space(0.17)
        return f"<mrow>{before}{f'<munder>{large}{below}</munder>' if below else large}{_space(0.17)}{body}</mrow>"

    def called(self, function: str, arguments: Sequence[str]) -> str:
        inside = self.fenced("(", _comma(True).join(arguments), ")")
        return f"<mrow><mi>{escape(function)}</mi><mo>&#x2061;</mo>{inside}</mrow>"

    def cases(self, rows: Sequence[tuple[str, str]]) -> str:
        said = [f"<mtext>if&#160;</mtext>{condition}" for _, condition in rows[:-1]] + ["<mtext>otherwise</mtext>"]
        written = [
            f"<mtr><mtd>{value}</mtd><mtd>{when}</mtd></mtr>" for (value, _), when in zip(rows, said, strict=True)
        ]
        return (
            f'<mrow><mo form="prefix" fence="true" stretchy="true">{{</mo>'
            f'<mtable class="cases" displaystyle="true" columnalign="left left">{"".join(written)}</mtable></mrow>'
        )


def _scripts(written: str, low: str, high: str) -> str:
    high = f"<mrow>{high}</mrow>" if high.count("</m") > 1 else high
    if low and high:
        return f"<msubsup>{written}{low}{high}</msubsup>"
    return f"<msub>{written}{low}</msub>" if low else f"<msup>{written}{high}</msup>" if high else written


def _part(low: str) -> str:
    return f"<mn>{low}</mn>" if low.isdigit() else f"<mi>{escape(low)}</mi>"


def _space(width: float) -> str:
    return f'<mspace width="{width}em"></mspace>'


def _comma(space: bool) -> str:
    return '<mo separator="true">,</mo>' if space else '<mo separator="true" lspace="0" rspace="0.1em">,</mo>'


_MATHML = _MathML()
