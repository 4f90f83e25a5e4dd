"""CSV tables: numbers in columns, a label column, one example a line.

Understood without being told: a byte order mark, gzip, `,` `;` tab or `|` between fields, quoted fields, a
header line. Missing values (an empty field, ?, NA, N/A, NaN, null, none) are read as NaN and left to
`minidl.data.cleaning`.
"""

from __future__ import annotations

import csv
import io
import math
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np

from .errors import DataError
from .idx import read_bytes

_MISSING = frozenset(("", "?", "na", "n/a", "nan", "null", "none"))
_DELIMITERS = "\t;|,"


@dataclass(frozen=True)
class Table:
    """What a CSV file holds: x (N, F) float64, NaN where a value is missing, and the label column as text."""

    x: np.ndarray
    labels: tuple[str, ...] | None
    features: tuple[str, ...]
    label: str | None
    path: str
    lines: tuple[int, ...]  # the line of the file in which each row ends

    def missing(self) -> str:
        """Where the first missing value is, and how many there are; empty if there is none."""
        holes = np.isnan(self.x)
        if not holes.any():
            return ""
        row, column = (int(k) for k in np.argwhere(holes)[0])
        return (
            f"{self.path}: {int(holes.sum())} missing values, the first in line {self.lines[row]}, "
            f"column {self.features[column]!r}"
        )


def read_csv(
    path: str | os.PathLike[str],
    label: str | int | None = -1,
    header: bool | None = None,
    delimiter: str | None = None,
    columns: Sequence[str | int] | None = None,
    ignore: Sequence[str | int] = (),
) -> Table:
    """Read a table from a CSV file, plain or gzip.

    label: the label column, by its name in the header or by its number from 0 (negative: from the end; by
    default the last one); None if there is none, as in a table to predict. header: whether the first line
    holds the names; None decides: it does if it holds the label's name, or if none of its fields is a number
    and later lines hold some. columns: the feature columns to use, in this order; by default all but the
    label. ignore: columns to leave out.

    Raises DataNotFoundError (no file) and DataError, with line and column: not text, empty, rows of different
    lengths, text where a number belongs, an infinite value, no such column, a missing label.
    """
    name = os.fspath(path)
    records = _records(name, delimiter)
    if header is None:
        header = _looks_like_header([fields for _, fields in records[:100]], label)
    first_line, first = records[0]
    names = (
        [field.strip() or f"column {j + 1}" for j, field in enumerate(first)]
        if header
        else [f"column {j + 1}" for j in range(len(first))]
    )
    twice = {n for n in names if names.count(n) > 1}
    if twice:
        raise DataError(f"{name}: line {first_line}: two columns are called {min(twice)!r}; rename one of them")
    records = records[header:]
    if not records:
        raise DataError(f"{name}: the file has a header and no rows; add at least one row of data")
    for line, fields in records:
        if len(fields) != len(first):
            raise DataError(
                f"{name}: line {line} has {len(fields)} fields and line {first_line} has {len(first)}; "
                "give every line the same number of fields"
            )

    def find(key: str | int) -> int:
        return _column(name, names, key, bool(header))

    target = None if label is None else find(label)
    left_out = {find(key) for key in ignore} | {target}
    wanted = range(len(names)) if columns is None else [find(key) for key in columns]
    used = [j for j in wanted if j not in left_out]
    if not used:
        raise DataError(
            f"{name}: no feature columns are left among {_listed(names)}; "
            "a table needs at least one beside the label (is the delimiter right?)"
        )
    lines = tuple(line for line, _ in records)
    rows = [fields for _, fields in records]
    labels = None if target is None else _labels(name, rows, lines, target, names[target])
    x = _numbers(name, rows, lines, used, names)
    return Table(x, labels, tuple(names[j] for j in used), None if target is None else names[target], name, lines)


def _records(name: str, delimiter: str | None) -> list[tuple[int, list[str]]]:
    """(line number, fields) of every line that is not blank."""
    try:
        text = read_bytes(name).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{name}: not UTF-8 text (byte {error.start}); save the table as CSV in UTF-8") from None
    if "\0" in text:
        raise DataError(f"{name}: not text (it holds zero bytes); save the table as CSV in UTF-8")
    start = text.lstrip("\r\n")
    if not start.strip():
        raise DataError(f"{name}: the file is empty; expected one example a line, with its label")
    if delimiter is None:
        fields = {d: len(next(csv.reader(io.StringIO(start, newline=""), delimiter=d))) for d in _DELIMITERS}
        delimiter = max(fields, key=lambda d: fields[d])
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, skipinitialspace=True, strict=True)
    try:
        return [(reader.line_num, fields) for fields in reader if any(map(str.strip, fields)) or len(fields) > 1]
    except csv.Error as error:
        raise DataError(f"{name}: line {reader.line_num}: {error}; check the quotes and the delimiter") from None


def _number(field: str) -> float | None:
    """The number in a field, NaN if it is missing, None if it is text."""
    if field.strip().lower() in _MISSING:
        return math.nan
    try:
        return float(field)
    except ValueError:
        return None


def _looks_like_header(rows: Sequence[Sequence[str]], label: str | int | None) -> bool:
    if isinstance(label, str) and label in (field.strip() for field in rows[0]):
        return True

    def numbers(fields: Iterable[str]) -> bool:
        return any(value is not None and not math.isnan(value) for value in map(_number, fields))

    return not numbers(rows[0]) and any(map(numbers, islice(rows, 1, None)))


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(map(repr, names[:12]))
    return shown if len(names) <= 12 else f"{shown}, ... ({len(names)} in all)"


def _column(name: str, names: Sequence[str], key: str | int, header: bool) -> int:
    """The number of the column that is called `key` or, if none is, numbered so."""
    if isinstance(key, str):
        if key in names:
            return names.index(key)
        try:
            key = int(key)
        except ValueError:
            hint = (
                f"it has {_listed(names)}" if header else "it has no header line, so give the column's number, from 0"
            )
            raise DataError(f"{name}: there is no column {key!r}; {hint}") from None
    if not -len(names) <= key < len(names):
        raise DataError(
            f"{name}: there is no column number {key}; the {len(names)} columns are numbered from 0 to "
            f"{len(names) - 1} (or -{len(names)} to -1 from the end)"
        )
    return key % len(names)


def _labels(
    name: str, rows: Sequence[Sequence[str]], lines: Sequence[int], target: int, called: str
) -> tuple[str, ...]:
    labels = tuple(fields[target].strip() for fields in rows)
    for line, text in zip(lines, labels, strict=True):
        if text.lower() in _MISSING - {"none", "na"}:  # these two may be the name of a class
            raise DataError(
                f"{name}: line {line}, column {target + 1} ({called!r}): the label is missing; "
                "fill it in or delete the line"
            )
    return labels


def _numbers(
    name: str, rows: Sequence[Sequence[str]], lines: Sequence[int], used: Sequence[int], names: Sequence[str]
) -> np.ndarray:
    x = np.empty((len(rows), len(used)))
    for n, fields in enumerate(rows):
        try:
            x[n] = [float(fields[j]) for j in used]
        except ValueError:
            for k, j in enumerate(used):
                value = _number(fields[j])
                if value is None:
                    raise DataError(
                        f"{name}: line {lines[n]}, column {j + 1} ({names[j]!r}): {fields[j].strip()!r} is "
                        "not a number; correct it (decimals with a point), leave the column out "
                        "(ignore=), or name it as the label (label=)"
                    ) from None
                x[n, k] = value
    if np.isinf(x).any():
        n, k = (int(i) for i in np.argwhere(np.isinf(x))[0])
        raise DataError(
            f"{name}: line {lines[n]}, column {used[k] + 1} ({names[used[k]]!r}): the value is infinite; "
            "correct it or leave the field empty"
        )
    return x
