"""The plain case of a formula: its options set, and what is off left out.

    formula(SGD)     g ← -g if maximize else g      g ← g + weight_decay * w      b ← ...      w ← w - lr * g
    plain(SGD)       w ← w - lr * g

Nothing is written anew: the docstring's own lines are read, the known options put in, and what follows is worked out.
"""

from __future__ import annotations

import inspect
import operator
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from .grammar import Formula, Tree, formulas

_TRUE, _FALSE, _NONE = ("name", "True"), ("name", "False"), ("name", "None")
_ZERO, _ONE = ("number", 0), ("number", 1)
_COMPARE: dict[str, Callable[[Any, Any], bool]] = {
    "==": operator.eq, "!=": operator.ne, "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge
}  # fmt: skip
_FOLD: dict[str, Callable[[Any, Any], Any]] = {
    "+": operator.add, "-": operator.sub, "*": operator.mul, "**": operator.pow
}  # fmt: skip


def plain_lines(owner: Any, options: Mapping[str, Any]) -> list[Formula]:
    """The formulas of `owner` with these options, and with its own defaults where they switch something off.

    A default of None, False, 0 or a word counts as given; other numbers (a learning rate) keep their name. An absent
    argument (None) leaves its factor or its term out.
    """
    known = {name: value for name, value in _defaults(owner).items() if not value or isinstance(value, str)}
    known |= options
    settled = {name: _literal(value) for name, value in known.items()}
    settled |= {name.upper(): tree for name, tree in settled.items()}  # tensors stand in formulas in capitals
    lines = formulas(owner)
    inner = _read(lines) - {"Y"}  # what only serves other lines
    while True:
        lines = [replace(line, tree=_simple(line.tree, settled)) for line in lines]
        found = {
            line.target: line.tree
            for line in lines
            if line.sign == "=" and line.target in inner and _is_literal(line.tree)
        }
        if not found:
            break
        settled |= found
        lines = [line for line in lines if line.target not in found]
    lines = [line for line in lines if line.tree != ("name", line.target)]  # g ← g
    while unused := (inner - _read(lines)) & {line.target for line in lines}:
        lines = [line for line in lines if line.target not in unused]
    return [replace(line, text=_line_text(line)) for line in lines]


def _defaults(owner: Any) -> dict[str, Any]:
    if not callable(owner):
        return {}
    parameters = inspect.signature(owner).parameters.values()
    return {p.name: p.default for p in parameters if p.default is not p.empty}


def _read(lines: list[Formula]) -> set[str]:
    """All names that the right sides mention."""
    return {name for line in lines for name in _names(line.tree)}


def _names(tree: Any) -> set[str]:
    if not isinstance(tree, tuple):
        return set()
    own = {tree[1].removesuffix(".flat")} if tree[:1] in (("name",), ("read",)) else set()
    return own.union(*map(_names, tree))


def _literal(value: Any) -> Tree:
    if value is None or isinstance(value, bool):
        return "name", str(value)
    if isinstance(value, str):
        return "text", value
    if isinstance(value, (int, float)):
        whole = int(value) if float(value).is_integer() and abs(value) < 1e6 else value
        return ("negate", ("number", -whole)) if whole < 0 else ("number", whole)
    kind = type(value).__name__
    raise TypeError(f"plain: an option of type {kind} cannot be put into a formula; give a number, a word or None")


def _is_literal(tree: Tree) -> bool:
    return tree[0] in ("number", "text") or tree in (_TRUE, _FALSE, _NONE)


# --------------------------------------------------------------------------------------------- working it out


def _simple(tree: Any, known: Mapping[str, Tree]) -> Any:
    """The tree with the known names put in, from the leaves up."""
    if not isinstance(tree, tuple) or tree[:1] in (("number",), ("text",)):
        return tree
    if tree[0] in ("name", "read") and tree[1] in known:
        return known[tree[1]]
    parts = tuple(_simple(part, known) for part in tree)
    match parts:
        case ("binary", sign, left, right):
            return _binary(sign, left, right)
        case ("negate", inner):
            return _ZERO if inner == _ZERO else inner[1] if inner[0] == "negate" else parts
        case ("compare", first, ((sign, second),)):
            return _compare(sign, first, second, parts)
        case ("not", inner):
            return _FALSE if inner == _TRUE else _TRUE if inner == _FALSE else parts
        case ("logic", word, left, right):
            stops, goes_on = (_FALSE, _TRUE) if word == "and" else (_TRUE, _FALSE)
            if stops in (left, right):
                return stops
            return right if left == goes_on else left if right == goes_on else parts
        case ("if", condition, yes, no):
            return _choose(condition, yes, no, parts)
        case ("call", "where", (condition, yes, no)):
            return _choose(condition, yes, no, parts)
        case ("bracket", condition):
            return _ONE if condition == _TRUE else _ZERO if condition == _FALSE else parts
        case ("reduce", "Σ", _, body) if body == _ZERO:
            return _ZERO
        case ("reduce", "mean", _, body) if _is_literal(body):
            return body
    return parts


def _choose(condition: Tree, yes: Tree, no: Tree, whole: Tree) -> Tree:
    if condition[0] == "number":
        condition = _TRUE if condition[1] else _FALSE
    return yes if condition == _TRUE or yes == no else no if condition in (_FALSE, _NONE) else whole


def _compare(sign: str, first: Tree, second: Tree, whole: Tree) -> Tree:
    if first[0] == second[0] == "number":
        return _TRUE if _COMPARE[sign](first[1], second[1]) else _FALSE
    words = [tree for tree in (first, second) if tree[0] == "text" or tree == _NONE]
    if words and (len(words) == 2 or words[0] == _NONE):  # nothing that is there equals None
        return _TRUE if (first == second) == (sign == "==") else _FALSE
    return whole


def _binary(sign: str, left: Tree, right: Tree) -> Tree:
    if sign in ("+", "-", "*") and _NONE in (left, right):  # an absent term or factor
        return right if left == _NONE else left
    if sign == "/" and right == _NONE:
        return left
    if left[0] == right[0] == "number" and sign in _FOLD and right[1] >= 0:
        return _literal(_FOLD[sign](left[1], right[1]))
    if sign == "*":
        if _ZERO in (left, right):
            return _ZERO
        return right if left == _ONE else left if right == _ONE else _negated_product(left, right)
    if sign == "+":
        return right if left == _ZERO else left if right == _ZERO else ("binary", sign, left, right)
    if sign == "-" and left == _ZERO:
        return "negate", right
    if sign in ("-", "/", "**") and right == (_ZERO if sign == "-" else _ONE):
        return left
    return _ZERO if sign == "/" and left == _ZERO else ("binary", sign, left, right)


def _negated_product(left: Tree, right: Tree) -> Tree:
    """-1 * x is -x."""
    return ("negate", right) if left == ("negate", _ONE) else ("binary", "*", left, right)


# ------------------------------------------------------------------------------------------------- as text

_CHOICE, _OR, _AND, _NOT, _COMPARED, _SUM, _PRODUCT, _SIGNED, _POWER, _ATOM = range(10)


def _line_text(line: Formula) -> str:
    indices = "" if line.indices is None else f"[{','.join(line.indices)}]"
    return f"{line.target}{indices} {line.sign} {text(line.tree)}"


def text(tree: Tree, place: int = _CHOICE) -> str:
    """A tree in the grammar's own words, with as few parentheses as it needs; reading it gives the tree again."""
    words, tightness = _words(tree)
    return f"({words})" if tightness < place else words


def _words(tree: Tree) -> tuple[str, int]:
    """(text, how tightly it binds)."""
    match tree:
        case ("number", value):
            return str(value), _ATOM
        case ("text", value):
            return f'"{value}"', _ATOM
        case ("name", name):
            return name, _ATOM
        case ("...",):
            return "...", _ATOM
        case ("tuple", items):
            return f"({', '.join(map(text, items))})", _ATOM
        case ("read", name, items):
            return f"{name}[{','.join(map(text, items))}]", _ATOM
        case ("call", name, arguments):
            return f"{name}({', '.join(map(text, arguments))})", _ATOM
        case ("bracket", condition):
            return f"[{text(condition)}]", _ATOM
        case ("reduce", kind, binders, body):
            names = ",".join(name + (f" < {text(limit, _SUM)}" if limit else "") for name, limit in binders)
            return f"{kind}[{names}] {text(body, _PRODUCT)}", _PRODUCT
        case ("binary", "**", left, right):
            return f"{text(left, _ATOM)} ** {text(right, _SIGNED)}", _POWER
        case ("binary", ("+" | "-") as sign, left, right):
            return f"{text(left, _SUM)} {sign} {text(right, _PRODUCT)}", _SUM
        case ("binary", sign, left, right):
            closed = text(left, _PRODUCT) if left[0] == "binary" else text(left, _SIGNED)
            return f"{closed} {sign} {text(right, _SIGNED)}", _PRODUCT
        case ("negate", inner):
            return f"-{text(inner, _SIGNED)}", _SIGNED
        case ("not", inner):
            return f"not {text(inner, _NOT)}", _NOT
        case ("compare", first, chain):
            return " ".join([text(first, _SUM), *(f"{sign} {text(part, _SUM)}" for sign, part in chain)]), _COMPARED
        case ("logic", word, left, right):
            level = _OR if word == "or" else _AND
            return f"{text(left, level)} {word} {text(right, level + 1)}", level
        case ("if", condition, yes, no):
            return f"{text(yes, _OR)} if {text(condition, _OR)} else {text(no)}", _CHOICE
    raise ValueError(f"plain: cannot write {tree!r}")
