"""PyTorch's signatures, and where minidl's differ: by name, by default and by place.

Python's own `inspect` tells those of classes and Python functions. PyTorch's compiled functions have none: theirs stand
in the first lines of their docstrings, one for each way to call them.
"""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Callable
from typing import Any, NamedTuple

REQUIRED = "required"
Kind = inspect._ParameterKind
STARS = (Kind.VAR_POSITIONAL, Kind.VAR_KEYWORD)


class Argument(NamedTuple):
    """One argument: its name, its default as text, and whether it can be given by its place."""

    name: str
    default: str
    by_place: bool
    star: bool = False


def shown(default: Any) -> str:
    """A default as text: 1 and 1.0 are one, dtypes and modules lose their origin."""
    if isinstance(default, (int, float)) and not isinstance(default, bool):
        return f"{float(default):g}"
    if callable(default) and hasattr(default, "__name__"):
        return str(default.__name__)
    return (
        "default_generator" if type(default).__name__ == "Generator" else re.sub(r"torch\.|minidl\.", "", repr(default))
    )


def of_python(function: Callable[..., Any]) -> list[Argument]:
    """What `inspect` tells, without self."""
    found = []
    for p in inspect.signature(function).parameters.values():
        default = REQUIRED if p.default is p.empty else shown(p.default)
        found.append(Argument(p.name, default, p.kind != Kind.KEYWORD_ONLY, p.kind in STARS))
    return [a for a in found if a.name not in ("self", "cls")]


def of_docstring(function: Any, name: str) -> list[list[Argument]]:
    """Every `name(...) -> ...` that stands in the docstring, over one line or several."""
    text = (function.__doc__ or "").replace("\\*", "*")
    head = rf"^\s*(?:(?:torch\.)?{name}\(([^>]*?)\)\s*->|\.\. (?:function|method)::\s*(?:torch\.)?{name}\((.*)\))"
    return [_parsed(plain or marked) for plain, marked in re.findall(head, text, re.M)]


def _parsed(call: str) -> list[Argument]:
    """`input: Tensor, *size, dim=None, *, dtype=None` as arguments."""
    found: list[Argument] = []
    by_place = True
    for part in _split(call):
        left, _, default = (word.strip() for word in part.partition("="))
        name = left.partition(":")[0].rpartition(" ")[2]  # without a type, before or after it
        if name == "*":
            by_place = False
        elif name.startswith("*"):
            found.append(Argument(name[1:], REQUIRED, True, True))
        elif name not in ("", "...", "self"):
            found.append(Argument(name, _text(default) if default else REQUIRED, by_place))
    return found


def _split(call: str) -> list[str]:
    """At the commas outside brackets."""
    parts, depth = [""], 0
    for letter in call:
        depth += (letter in "([") - (letter in ")]")
        if letter == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += letter
    return parts


def of_schema(name: str) -> list[list[Argument]]:
    """What PyTorch's dispatcher knows of an operation, for those without a docstring."""
    import torch

    packet = getattr(torch.ops.aten, name, None)
    ways = [] if packet is None else [getattr(packet, overload)._schema for overload in packet.overloads()]
    return [
        [
            Argument(
                "input" if a.name == "self" else a.name,
                shown(a.default_value) if a.has_default_value() else REQUIRED,
                not a.kwarg_only,
            )
            for a in way.arguments
            if a.name != "out"
        ]
        for way in ways
    ]


def _text(default: str) -> str:
    try:
        return shown(ast.literal_eval(default))
    except (ValueError, SyntaxError):
        return default.replace("torch.", "")


def of_torch(function: Any, name: str) -> list[list[Argument]]:
    """All ways to call a function of PyTorch's; empty where nothing tells."""
    import torch

    chosen = getattr(torch.nn.functional, f"_{name}", None)  # max_pool2d and the like: one of two by an option
    try:
        if chosen is not None and getattr(torch.nn.functional, name) is function:
            return [of_python(chosen)]
        return [of_python(function)]
    except (TypeError, ValueError):
        return of_docstring(function, name) or of_schema(name)


def differences(mine: list[Argument], ways: list[list[Argument]], name: str) -> list[str]:
    """What a program written for PyTorch would notice, a few words each."""
    own = {a.name: a for a in mine}
    theirs: dict[str, list[Argument]] = {}
    for way in ways:
        for a in way:
            theirs.setdefault(a.name, []).append(a)
    also = {a.name for way in of_schema(name) for a in way}
    also |= set(own) if {"args", "kwargs"} <= set(theirs) else set()  # theirs takes anything
    stars = any(a.star for a in mine)
    wrong = [f"has {word}" for word, a in own.items() if word not in theirs and word not in also and not a.star]
    wrong += [f"lacks {word}" for word, of in theirs.items() if word not in own and not (stars or of[0].star)]
    for word, a in own.items():
        known = {other.default for other in theirs.get(word, [])}
        if known and all(word in [other.name for other in way] for way in ways):
            known |= {a.default} if a.star or any(other.star for other in theirs[word]) else set()
        elif a.default == "None":  # PyTorch can be called without it, too
            known.add("None")
        if known and a.default not in known:
            wrong.append(f"{word}={a.default}, not {' or '.join(sorted(known))}")
    places = [a.name for a in mine if a.by_place and not a.star and a.name in theirs]
    orders = [[a.name for a in way if a.by_place and not a.star] for way in ways]
    if places and not any(places[: len(order)] == order[: len(places)] for order in orders):
        wrong.append(f"order: {', '.join(places)}")
    return wrong
