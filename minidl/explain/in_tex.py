"""Formulas in LaTeX, as notebooks show them."""

from __future__ import annotations

from collections.abc import Sequence

from .grammar import Formula
from .mathematics import Notation, Symbol

_LETTERS = (
    "α:alpha β:beta γ:gamma δ:delta ε:varepsilon ζ:zeta η:eta θ:theta ι:iota κ:kappa λ:lambda μ:mu ν:nu ξ:xi π:pi "
    "ρ:rho σ:sigma τ:tau υ:upsilon φ:varphi χ:chi ψ:psi ω:omega Γ:Gamma Δ:Delta Θ:Theta Λ:Lambda Ξ:Xi Π:Pi Σ:Sigma "
    "Φ:Phi Ψ:Psi Ω:Omega ℓ:ell ∞:infty"
)
_GREEK = dict(letter.split(":") for letter in _LETTERS.split())
_SIGNS = {"≠": r"\neq", "≤": r"\leq", "≥": r"\geq", "←": r"\leftarrow", "~": r"\sim", "mod": r"\bmod"}
_FENCES = {"⌊": r"\lfloor ", "⌋": r"\rfloor", "⌈": r"\lceil ", "⌉": r"\rceil"}
_REDUCE = {"Σ": r"\sum", "Π": r"\prod", "max": r"\max", "min": r"\min", "mean": r"\operatorname*{mean}"}
_REDUCE |= {"argmax": r"\operatorname*{arg\,max}", "argmin": r"\operatorname*{arg\,min}"}
_BREAK = r" \\ "
_KNOWN = {"exp", "log", "sin", "cos", "tan", "tanh", "sinh", "cosh", "max", "min"}


def latex(line: Formula | str, align: bool = False) -> str:
    """One formula line as LaTeX, without dollar signs; `align` puts the `&` before its sign."""
    left, sign, right = _LATEX.sides(line)
    return f"{left} {'&' if align else ''}{sign} {right}"


class _Latex(Notation):
    def sign(self, sign: str) -> str:
        return _SIGNS.get(sign, sign)

    def number(self, digits: str, exponent: str) -> str:
        power = f"10^{{{exponent}}}" if exponent else ""
        return rf"{digits} \cdot {power}" if digits and power else digits or power

    def typed(self, text: str) -> str:
        return rf"\texttt{{{text}}}"

    def name(self, name: Symbol, below: str = "") -> str:
        written = f"\\{_GREEK[name.base]}" if name.base in _GREEK else name.base
        if len(name.base) > 1:
            written = rf"\mathrm{{{name.base}}}".replace("_", r"\_")
        for accent in name.accents:
            written = rf"\{accent}{{{written}}}"
        written += f"_{{{name.low}}}" if name.low else ""
        written += f"^{{{name.high}}}" if name.high else ""
        written += name.primes + (r"^{\,\mathrm{flat}}" if name.flat else "")
        if not below:
            return written
        return f"{{{written}}}_{{{below}}}" if "_" in written or "^" in written else f"{written}_{{{below}}}"

    def dots(self) -> str:
        return r"\ldots"

    def row(self, *parts: str) -> str:
        return " ".join(parts)

    def listed(self, parts: Sequence[str], space: bool) -> str:
        return (", " if space else ",").join(parts)

    def fenced(self, left: str, inside: str, right: str) -> str:
        return rf"\left{_FENCES.get(left, left)}{inside}\right{_FENCES.get(right, right)}"

    def prefixed(self, sign: str, inside: str) -> str:
        return rf"\neg {inside}" if sign == "¬" else f"{sign}{inside}"

    def product(self, left: str, right: str, dot: bool) -> str:
        return rf"{left} \cdot {right}" if dot else rf"{left} \, {right}"

    def spoken(self, left: str, word: str, right: str) -> str:
        return rf"{left} \ \text{{{word}}}\  {right}"

    def fraction(self, above: str, below: str) -> str:
        return rf"\frac{{{above}}}{{{below}}}"

    def slope(self, below: str) -> str:
        return rf"\frac{{\partial L}}{{\partial {below}}}"

    def root(self, inside: str) -> str:
        return rf"\sqrt{{{inside}}}"

    def power(self, base: str, exponent: str) -> str:
        return f"{{{base}}}^{{{exponent}}}"

    def exponential(self, exponent: str) -> str:
        return f"e^{{{exponent}}}"

    def reduction(self, kind: str, below: str, body: str) -> str:
        return f"{_REDUCE[kind]}_{{{below}}} {body}" if below else f"{_REDUCE[kind]} {body}"

    def called(self, function: str, arguments: Sequence[str]) -> str:
        name = f"\\{function}" if function in _KNOWN else rf"\operatorname{{{function}}}".replace("_", r"\_")
        return rf"{name}\left({', '.join(arguments)}\right)"

    def cases(self, rows: Sequence[tuple[str, str]]) -> str:
        written = [rf"{value} & \text{{if }} {condition}" for value, condition in rows[:-1]]
        written.append(rf"{rows[-1][0]} & \text{{otherwise}}")
        return rf"\begin{{cases}} {_BREAK.join(written)} \end{{cases}}"


_LATEX = _Latex()
