"""Training, validation and test parts, drawn from a seed."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .. import random
from .encode import encode_labels
from .errors import DataError


def split_rows(
    count: int, fractions: Sequence[float] = (0.8, 0.1, 0.1), labels: np.ndarray | None = None, seed: int = 0
) -> tuple[np.ndarray, ...]:
    """The rows of each part, in ascending order: disjoint, drawn from the seed, stratified if labels are given.

    taken[i] = [floor((i + 1) * m / n) > floor(i * m / n)]

    The rows are put in a random order (Philox) and then, keeping it within a class, sorted by class. Of the n rows
    left, a part of m rows takes those that the formula says: exactly m, spread evenly, so that a class with n_k rows
    gives floor(n_k * m / n) or one more. A part without a row of some class gets one from the part that has most of
    them. The sizes m are the differences of the rounded running sums of count * fractions.

    count: rows. fractions: from 0 to 1, of sum 1. labels: (count,), of any type, or None for a plain random split.
    Raises DataError for fractions that do not fit, no rows, and a class with fewer rows than there are parts.
    """
    fractions = tuple(float(f) for f in fractions)
    if not fractions or min(fractions) < 0 or abs(sum(fractions) - 1) > 1e-9:
        raise DataError(f"split_rows: fractions={fractions}; expected numbers from 0 to 1 that add up to 1")
    if count <= 0:
        raise DataError("split_rows: there are no rows to split; check that the source is not empty")
    order = random.permutation(count, random.Generator(seed))
    names: tuple[str, ...] = ()
    if labels is not None:
        if len(labels) != count:
            raise DataError(f"split_rows: {len(labels)} labels for {count} rows; expected one a row")
        codes, names = encode_labels(labels)
        order = order[np.argsort(codes[order], kind="stable")]
    sizes = np.diff(np.rint(count * np.cumsum((0.0, *fractions))).astype(np.int64))
    wanted = [p for p, fraction in enumerate(fractions) if fraction > 0]
    for p in wanted:
        if sizes[p] == 0:
            raise DataError(
                f"split_rows: {count} rows are too few for a part of {fractions[p]:g}; "
                "use larger fractions or more data"
            )
    part_of = np.empty(count, np.int64)
    for p, m in enumerate(sizes):
        n = len(order)
        taken = np.diff(np.arange(n + 1) * m // max(n, 1)) > 0
        part_of[order[taken]] = p
        order = order[~taken]
    for k, name in enumerate(names):
        rows = np.flatnonzero(codes == k)
        if len(rows) < len(wanted):
            raise DataError(
                f"split_rows: class {name!r} has {len(rows)} rows, too few for each of the {len(wanted)} parts "
                "to get one; collect more, drop or merge the class, or split without labels (stratify=False)"
            )
        for p in wanted:
            if not (part_of[rows] == p).any():
                richest = np.bincount(part_of[rows]).argmax()
                part_of[rows[part_of[rows] == richest][0]] = p
    return tuple(np.flatnonzero(part_of == p) for p in range(len(fractions)))
