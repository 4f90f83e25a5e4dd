"""Shows formulas as mathematics, and a function's formula beside its source."""

from __future__ import annotations

import inspect
import re
import sys
import unicodedata
from collections.abc import Iterable, Iterator
from typing import Any

from .grammar import Formula, Tree, formulas, parse
from .plain import plain_lines
from .source import Source

_LETTERS = (
    "α:alpha β:beta γ:gamma δ:delta ε:varepsilon ζ:zeta η:eta θ:theta ι:iota κ:kappa λ:lambda μ:mu ν:nu ξ:xi π:pi "
    "ρ:rho σ:sigma τ:tau υ:upsilon φ:varphi χ:chi ψ:psi ω:omega Γ:Gamma Δ:Delta Θ:Theta Λ:Lambda Ξ:Xi Π:Pi Σ:Sigma "
    "Φ:Phi Ψ:Psi Ω:Omega ℓ:ell ∞:infty"
)
_GREEK = dict(letter.split(":") for letter in _LETTERS.split())
_BREAK = r" \\ "
_ACCENTS = {"\u0302": "hat", "\u0303": "tilde", "\u0304": "bar", "\u0305": "bar", "\u0307": "dot"}
_FLAT = str.maketrans("₀₁₂₃₄₅₆₇₈₉²³", "012345678923")
_SIGNS = {"==": "=", "!=": r"\neq", "<": "<", "<=": r"\leq", ">": ">", ">=": r"\geq"}
_REDUCE = {"Σ": r"\sum", "Π": r"\prod", "max": r"\max", "min": r"\min", "mean": r"\operatorname*{mean}"}
_REDUCE |= {"argmax": r"\operatorname*{arg\,max}", "argmin": r"\operatorname*{arg\,min}"}
_KNOWN = {"exp", "log", "sin", "cos", "tan", "tanh", "sinh", "cosh", "max", "min"}
_RENAMED = {"maximum": r"\max", "minimum": r"\min", "eps": r"\varepsilon", "inf": r"\infty", "pi": r"\pi"}
_AROUND = {
    "sqrt": r"\sqrt{%s}", "abs": r"\left|%s\right|", "floor": r"\left\lfloor %s\right\rfloor", "exp": "e^{%s}",
    "ceil": r"\left\lceil %s\right\rceil", "rsqrt": r"\frac{1}{\sqrt{%s}}", "reciprocal": r"\frac{1}{%s}",
}  # fmt: skip

# How tightly each kind binds; whatever binds looser than its place asks for gets parentheses.
_LOOSE, _OR, _AND, _NOT, _COMPARE, _SUM, _REDUCED, _PRODUCT, _POWER, _ATOM = range(10)


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
        rows = f"{_BREAK.rstrip()}[4pt]\n".join(latex(line, align=True) for line in self.lines)
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


def latex(line: Formula | str, align: bool = False) -> str:
    """One formula line as LaTeX, without dollar signs; `align` puts the `&` before its sign."""
    line = parse(line) if isinstance(line, str) else line
    items: tuple[Tree, ...] = tuple(("...",) if name == "..." else ("name", name) for name in line.indices or ())
    sign = "=" if line.sign == "=" else r"\leftarrow"
    return f"{_subscripted(line.target, items)} {'&' if align else ''}{sign} {_latex(line.tree)}"


def _symbol(name: str) -> str:
    """`β1` -> \\beta_{1}, `m̂` -> \\hat{m}, `σ²` -> \\sigma^{2}, `lr` -> \\mathrm{lr}, `INPUT` -> \\mathrm{input}."""
    if name in _RENAMED:
        return _RENAMED[name]
    name = name.lower() if re.fullmatch(r"[A-Z]{2,}(_[A-Z]+)*", name) else name
    spelled = unicodedata.normalize("NFD", name)
    plain = "".join(letter for letter in spelled if letter not in _ACCENTS)
    match = re.fullmatch(r"([^\W\d_²³₀-₉]+)([₀-₉\d]*)([²³]?)(?:_(\w+))?('*)", plain)
    if not match or (match[4] and len(match[1]) > 1 < len(match[4])):  # step_size is one word
        return rf"\mathrm{{{plain}}}".replace("_", r"\_")
    base, low, high, tail, primes = match.groups()
    symbol = f"\\{_GREEK[base]}" if base in _GREEK else base if len(base) == 1 else rf"\mathrm{{{base}}}"
    for mark in (_ACCENTS[letter] for letter in spelled if letter in _ACCENTS):
        symbol = rf"\{mark}{{{symbol}}}"
    below = ",".join(part for part in (low.translate(_FLAT), tail) if part)
    return f"{symbol}{f'_{{{below}}}' if below else ''}{f'^{{{high.translate(_FLAT)}}}' if high else ''}{primes}"


def _subscripted(name: str, items: tuple[Tree, ...]) -> str:
    if name.startswith("∂L/∂"):
        return rf"\frac{{\partial L}}{{\partial {_subscripted(name[4:], items)}}}"
    symbol = _symbol(name.removesuffix(".flat")) + (r"^{\,\mathrm{flat}}" if name.endswith(".flat") else "")
    if items in ((), (("...",),)):  # all axes, in step: as good as none
        return symbol
    below = ",".join(r"\ldots" if item == ("...",) else _latex(item) for item in items)
    return f"{{{symbol}}}_{{{below}}}" if re.search(r"[_^]", symbol) else f"{symbol}_{{{below}}}"


def _number(value: float) -> str:
    digits, _, exponent = (f"{value:g}" if isinstance(value, float) else str(value)).partition("e")
    power = f"10^{{{int(exponent)}}}" if exponent else ""
    return power if power and digits == "1" else rf"{digits} \cdot {power}" if power else digits


def _cases(condition: Tree, yes: Tree, no: Tree) -> str:
    rows = [rf"{_latex(yes)} & \text{{if }} {_latex(condition)}"]
    while no[0] == "if":
        rows.append(rf"{_latex(no[2])} & \text{{if }} {_latex(no[1])}")
        no = no[3]
    rows.append(rf"{_latex(no)} & \text{{otherwise}}")
    return rf"\begin{{cases}} {_BREAK.join(rows)} \end{{cases}}"


def _latex(tree: Tree, place: int = _LOOSE) -> str:
    text, tightness = _piece(tree)
    return rf"\left({text}\right)" if tightness < place else text


def _piece(tree: Tree) -> tuple[str, int]:
    """(LaTeX, how tightly it binds)."""
    match tree:
        case ("number", value):
            return _number(value), _ATOM
        case ("text", value):
            return rf"\texttt{{{value}}}", _ATOM
        case ("name", name):
            return _subscripted(name, ()), _ATOM
        case ("tuple", items):
            return rf"\left({', '.join(map(_latex, items))}\right)", _ATOM
        case ("read", name, items):
            return _subscripted(name, items), _ATOM
        case ("call", name, arguments):
            return _call(name, arguments)
        case ("reduce", kind, binders, body):
            below = ", ".join(
                (r"\ldots" if name == "..." else _symbol(name)) + (f" < {_latex(limit)}" if limit else "")
                for name, limit in binders
            )
            every = below == r"\ldots" and not _mixes(body)
            sign = _REDUCE[kind] if every else f"{_REDUCE[kind]}_{{{below}}}"
            return f"{sign} {_latex(body, _REDUCED)}", _REDUCED
        case ("binary", sign, left, right):
            return _binary(sign, left, right)
        case ("negate", inner):
            return f"-{_latex(inner, _REDUCED)}", _PRODUCT
        case ("not", inner):
            return rf"\neg {_latex(inner, _NOT)}", _NOT
        case ("compare", first, chain):
            rest = " ".join(f"{_SIGNS[sign]} {_latex(part, _SUM)}" for sign, part in chain)
            return f"{_latex(first, _SUM)} {rest}", _COMPARE
        case ("logic", word, left, right):
            level = _OR if word == "or" else _AND
            return rf"{_latex(left, level)} \ \text{{{word}}}\  {_latex(right, level)}", level
        case ("if", condition, yes, no):
            return _cases(condition, yes, no), _ATOM
        case ("bracket", condition):
            return rf"\left[{_latex(condition)}\right]", _ATOM
    raise ValueError(f"latex: cannot show {tree!r}")


def _factor(tree: Tree) -> str:
    """The LaTeX of a name that stands in a product, "" for anything else: words need a sign between them."""
    if tree[:2] == ("binary", "*"):
        return _factor(tree[3])
    return _symbol(tree[1]) if tree[0] in ("name", "read") else ""


def _mixes(tree: Any) -> bool:
    """Whether something is read here by `...` beside other indices."""
    if not isinstance(tree, tuple):
        return False
    return tree[:1] == ("read",) and len(tree[2]) > 1 and ("...",) in tree[2] or any(map(_mixes, tree))


def _call(name: str, arguments: tuple[Tree, ...]) -> tuple[str, int]:
    if name == "where":
        return _cases(*arguments), _ATOM
    if name == "pow":
        return _binary("**", *arguments)
    if name == "square":
        return _binary("**", arguments[0], ("number", 2))
    if name in _AROUND:
        return _AROUND[name] % _latex(arguments[0]), _POWER if name == "exp" else _ATOM
    symbol = _RENAMED.get(name) or (f"\\{name}" if name in _KNOWN else rf"\operatorname{{{name}}}".replace("_", r"\_"))
    return rf"{symbol}\left({', '.join(map(_latex, arguments))}\right)", _POWER


def _binary(sign: str, left: Tree, right: Tree) -> tuple[str, int]:
    if sign == "/":
        return rf"\frac{{{_latex(left)}}}{{{_latex(right)}}}", _POWER
    if sign == "//":
        return rf"\left\lfloor \frac{{{_latex(left)}}}{{{_latex(right)}}}\right\rfloor", _ATOM
    if sign == "**":
        base = _latex(left, _ATOM)
        return f"{{{base}}}^{{{_latex(right)}}}", _POWER
    if sign == "%":
        return rf"{_latex(left, _PRODUCT)} \bmod {_latex(right, _POWER)}", _PRODUCT
    if sign == "*":
        second = _latex(right, _ATOM if right[0] == "negate" else _REDUCED)
        words = any("\\mathrm" in _factor(side) for side in (left, right))
        between = r" \cdot " if words or second[0].isdigit() else r" \, "
        return f"{_latex(left, _PRODUCT)}{between}{second}", _PRODUCT
    return f"{_latex(left, _SUM)} {sign} {_latex(right, _ATOM if right[0] == 'negate' else _REDUCED)}", _SUM
