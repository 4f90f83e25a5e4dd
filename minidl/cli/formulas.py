"""minidl formulas: every formula and the place of its code, in the terminal or as one page."""

from __future__ import annotations

import argparse
import difflib
import re
import sys
import unicodedata
from collections.abc import Iterator, Sequence
from pathlib import Path

from minidl import __version__
from minidl.cli.options import UsageError
from minidl.explain.catalogue import Entry, catalogue, find, spoken

__all__ = ["run_formulas"]

WIDTH = 80
SIGN = re.compile(r"(==|!=|[<>]=?|[-+*/%≤≥≠]+|if|else|and|or) ")
LOOSEST = ("else", "if", "or", "and", "+", "-", "*", "/")


def run_formulas(options: argparse.Namespace) -> int:
    """Print formulas, or write their page; the exit code."""
    entries = chosen(options.names, catalogue())
    if hasattr(options, "html"):
        write_page(Path(options.html), entries)
    else:
        for line in listing(entries):
            print(line)
        sys.stdout.flush()  # here, where a reader that has gone is expected
    return 0


def chosen(names: Sequence[str], entries: list[Entry]) -> list[Entry]:
    """The entries of these names, in the catalogue's order; all of them without a name.

    Raises:
        UsageError: a name that does not exist.
    """
    found: list[Entry] = []
    for name in names:
        meant = find(name, entries)
        if not meant:
            raise UsageError(f"minidl formulas: there is no {name!r}; {nearest(name, entries)}")
        found += meant
    return [entry for entry in entries if entry in found] if names else entries


def nearest(name: str, entries: list[Entry]) -> str:
    """What may have been meant."""
    spelled: dict[str, list[str]] = {}
    for entry in entries:
        spelled.setdefault(spoken(entry.name), []).append(entry.name)
    given = spoken(name.rpartition(".")[2])
    near = [key for key in spelled if len(given) > 2 and given in key]
    near = near or difflib.get_close_matches(given, spelled, 3, 0.7)
    if not near:
        return "minidl formulas without a name prints all that there are"
    return f"did you mean {' or '.join(name for key in near[:3] for name in spelled[key])}?"


def listing(entries: Sequence[Entry]) -> Iterator[str]:
    """The lines to print, none wider than a terminal of 80 columns."""
    family = ""
    for entry in entries:
        if entry.family != family:
            family = entry.family
            yield from (family, "=" * len(family), "")
        place = entry.source.place
        yield f"{entry.name}{place:>{max(WIDTH - len(entry.name), len(place) + 2)}}"
        for line in entry.own:
            yield from wrapped(str(line))
        for name, lines in entry.operations.items():
            yield f"  computed by {name}:"
            for line in lines:
                yield from wrapped(str(line))
        if not entry.lines:
            yield from wrapped(entry.sentence, "    ")
        yield ""


def wrapped(text: str, hang: str = "        ") -> Iterator[str]:
    """Indented, cut at the blanks that stand outside most brackets, so that what belongs together stays so."""
    indent, rest = "    ", text
    while width(indent + rest) > WIDTH:
        cut = best_cut(rest, WIDTH - len(indent))
        if cut is None:
            break
        yield indent + rest[:cut].rstrip()
        indent, rest = hang, rest[cut:].lstrip()
    yield indent + rest


def best_cut(text: str, room: int) -> int | None:
    """Where to cut: before the loosest sign, or after a comma, in the fewest brackets, and late rather than early."""
    depth, best, least = 0, None, (len(text), 0)
    for place, letter in enumerate(text):
        depth += (letter in "([") - (letter in ")]")
        sign = SIGN.match(text, place + 1) if letter == " " else None
        if letter != " " or not (sign or text[place - 1] == ","):
            continue
        if width(text[:place]) > room:
            break
        looseness = depth, LOOSEST.index(sign[1]) if sign and sign[1] in LOOSEST else len(LOOSEST)
        if looseness <= least or width(text[:place]) < room // 2:
            best, least = place, looseness
    return best or max(text.rfind(" ", 0, room), 0) or None


def width(text: str) -> int:
    """In columns: a hat above a letter takes none."""
    return sum(not unicodedata.combining(letter) for letter in text)


def write_page(path: Path, entries: Sequence[Entry]) -> None:
    """The page, replaced in one step; what is no page of ours is left alone.

    Raises:
        UsageError: there is a folder or another file of that name, or no folder for it.
    """
    from minidl.explain.page import MARK, page
    from minidl.serialization import atomic_write

    if path.is_dir():
        raise UsageError(f"minidl formulas: {path} is a folder; give a file's name, such as {path / 'formulas.html'}")
    if not path.parent.is_dir():
        raise UsageError(f"minidl formulas: there is no folder {path.parent} for {path.name}; make it first")
    if path.exists() and path.stat().st_size and MARK.encode() not in path.read_bytes()[:4096]:
        raise UsageError(f"minidl formulas: {path} exists and is no page of formulas; choose another --html FILE")
    with atomic_write(path) as file:
        file.write(page(entries, __version__).encode())
    print(f"{len(entries)} names with their formulas and sources are in {path}")
